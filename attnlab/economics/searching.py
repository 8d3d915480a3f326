"""A search for the best sub-network inside a budget: real smaller models, measured on dev.

Nothing is trained, so that a sub-network is measured in seconds. Test is not touched: the result
looks at it once, for the one that was chosen.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from filelock import FileLock, Timeout

from attnlab.classification.base import Stopped
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.classification.fingerprints import classifier_hash
from attnlab.classification.studies import Direction, opened
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.economics.budgets import Budget, NothingFits, Predicts, costs_of
from attnlab.economics.choosing import Choice, Chooser, InTurn
from attnlab.economics.formats import (
    NumberFormat,
    Scaled,
    check_formats,
    in_format,
    measured_ms,
)
from attnlab.economics.importances import By, Importance, importance
from attnlab.economics.latency import LatencyTable
from attnlab.economics.memory import require_memory
from attnlab.economics.plans import Plan
from attnlab.economics.points import Point
from attnlab.economics.price_list import STEPS
from attnlab.economics.prices import Market
from attnlab.economics.results import SearchResult
from attnlab.economics.shapes import Shape, megabytes, shape_of
from attnlab.economics.timing import latency as times_of
from attnlab.errors import AttnlabError, DataError, option, suggest
from attnlab.evaluation.evaluator import Evaluator
from attnlab.training.checkpoint import fingerprint

__all__ = ["forget", "in_rounds", "is_there", "latency_table", "loop", "search"]

Strategy = Literal["all", "random"]
_LOG, _LOCK, _LATENCY = "sub-networks.log", "sub-networks.lock", "latency.json"
_IN_ANY_CASE = 2  # measured however short the time: the whole classifier, and one inside the budget
_NOTHING_NEW = 30  # choices in a row that were measured before


def search(
    clf: Classifier,
    splits: Splits,
    budget: Budget,
    *,
    minutes: float = 3.0,
    most: int | None = None,
    texts: int | None = 1000,
    importance_texts: int = 500,
    by: By = "fisher",
    steps: int = STEPS,
    latency: Predicts | None = None,
    repair: Sequence[Text] | None = None,
    formats: Sequence[NumberFormat] = ("float32",),
    strategy: Strategy = "all",
    fast: bool = True,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    seed: int = 0,
    callback: Callable[[SearchResult], None] | None = None,
) -> SearchResult:
    """Search the best sub-network inside a budget, for so many minutes; nothing is trained.

    Parameters
    ----------
    clf : Classifier, stays as it is
    splits : importance is measured on train, sub-networks are compared on dev
    budget : Budget
    minutes : no sub-network begins after this time; the one under way is finished. The whole
        classifier and one inside the budget are measured in any case.
    most : stop after so many sub-networks, however fast
    texts : of dev, drawn at random; None for all
    importance_texts : of train, likewise
    by : see `importance`
    steps : into so many parts the neurons of each layer are cut
    latency : a `LatencyTable`; by default one is measured where the budget limits milliseconds
    repair : calibration texts: each sub-network is repaired by least squares, see
        `compression.prune_heads`; better, and several times slower
    formats : number formats that may be chosen, which take turns: "float32", and "int8" as
        `Classifier.export` writes it. Each sub-network is measured in its own: really quantised,
        and where the budget limits milliseconds these are measured, too, one by one.
    strategy : "all", or "random": chance alone, to compare with
    fast : compute in the fastest number format; see `Evaluator`
    folder : where all is written down, so that a search can go on
    resume : go on with what is in the folder; the same seed then finds the same as without a stop
    seed : of all that is drawn
    callback : called with the SearchResult so far after each sub-network; raising
        `classification.base.Stopped` in it ends the search, as Ctrl+C does

    Raises
    ------
    AttnlabError : a budget that nothing fits, with the least that is possible; options without
        sense; a model whose copies do not fit into memory; a folder that another search uses, or in
        which there is one and ``resume`` is False
    DataError : no texts in train or dev
    ModelError : a classifier that cannot be taken apart
    """
    end = time.perf_counter() + 60 * minutes
    _check(minutes, most, strategy, splits)
    check_formats(formats)
    dev = splits.dev if not texts or len(splits.dev) <= texts else splits.dev.sample(texts, seed)
    learned = splits.train.sample(importance_texts, seed)
    about = {
        "model": classifier_hash(clf),
        "budget": repr(budget),
        "dev_texts": fingerprint(vars(dev)),
        "train_texts": fingerprint(vars(learned)),
        "repair": None if repair is None else fingerprint({"texts": list(repair)}),
        **{"by": by, "steps": steps, "strategy": strategy, "fast": fast, "seed": seed},
        "formats": list(formats),
    }
    shape = shape_of(clf)
    _require_memory(shape, clf.device, formats)
    file = None if folder is None else Path(folder) / _LOG
    objectives: list[Direction] = ["maximize"]
    objectives.extend("minimize" for _ in budget.limits)
    with _alone(folder, resume), opened(file, about, objectives) as study:
        if latency is None and budget.latency_ms is not None:
            latency = latency_table(shape, budget.tokens, budget.batch, folder)
        first = importance(clf, learned, by)
        choosers = []
        for market in _markets(study, clf, shape, first, budget, latency, steps, formats):
            if strategy == "all":
                market.importance = in_rounds(clf, learned, market, by)
            choosers.append(Chooser(market, first, study, seed, strategy == "random"))
        chooser = InTurn(choosers)
        points = _taken_up(study, chooser.whole)
        whole_costs = costs_of(shape, budget.tokens, budget.batch, latency)
        told = list(points)

        def result(interrupted: bool = False) -> SearchResult:
            return SearchResult(clf, splits, dev, budget, tuple(points), interrupted, repair)

        def measure(choice: Choice) -> Point:
            return _measured(clf, dev, choice, whole_costs, budget, repair, fast)

        def goes_on(number: int) -> bool:
            if callback is not None and len(points) > len(told):
                told[:] = points
                callback(result())
            in_time = time.perf_counter() < end or len(points) < _IN_ANY_CASE
            return in_time and (most is None or number < most)

        try:
            loop(study, chooser, points, measure, goes_on)
        except (KeyboardInterrupt, Stopped):
            if len(points) < _IN_ANY_CASE:
                raise
            return result(interrupted=True)
    return result()


def latency_table(
    shape: Shape, tokens: int, batch: int, folder: str | os.PathLike[str] | None = None
) -> LatencyTable:
    """Return the latency table that is in a search's folder, or measure one and keep it there.

    Parameters
    ----------
    shape : of the whole classifier
    tokens, batch : what a forward pass reads
    folder : of the search; None keeps nothing

    Raises
    ------
    AttnlabError : the folder's is of other texts
    """
    file = None if folder is None else Path(folder) / _LATENCY
    if file is not None and file.exists():
        table = LatencyTable.load(file)
        if (tokens, batch) not in table.cells:
            known = " and ".join(f"{batch} texts of {tokens}" for tokens, batch in table.cells)
            raise AttnlabError(
                f"The search in {folder} is another one: its milliseconds are of {known} tokens, "
                f"and {batch} of {tokens} were asked for. Choose a new folder."
            )
        return table
    table = LatencyTable.measure(shape, tokens=(tokens,), batches=(batch,))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        table.save(file)
    return table


def is_there(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a search that can go on."""
    return (Path(folder) / _LOG).exists()


def forget(folder: str | os.PathLike[str]) -> None:
    """Delete what a search wrote into a folder, so that another can begin there.

    Raises
    ------
    AttnlabError : a search is at work there
    """
    with _alone(folder, resume=True):
        for name in (_LOG, _LATENCY):
            (Path(folder) / name).unlink(missing_ok=True)


def in_rounds(
    clf: Classifier, data: TextDataset, market: Market, by: By = "fisher", rounds: int = 4
) -> Importance:
    """Measure importance anew as parts go, since what is left matters more then.

    Parameters
    ----------
    clf, data, by : as for `importance`
    market : of the whole classifier; parts go down to its budget, by the same factor each round
    rounds : in so many

    Returns
    -------
    Importance : of each part when it was there last
    """
    found, spent = market.importance, market.budget.spent(market.costs(market.whole))
    for number in range(1, rounds):
        if spent <= 1:
            break
        plan = market.greedy(found, spent ** (1 - number / rounds))
        found = found.updated(importance(plan.apply(clf), data, by, layers=False), plan)
    return found


def loop(
    study: Any,
    chooser: InTurn,
    points: list[Point],
    measure: Callable[[Choice], Point],
    goes_on: Callable[[int], bool],
) -> None:
    """Choose, limit, optimise, evaluate, adjust, and again: the loop that the course keeps.

    Parameters
    ----------
    study : of Optuna, which keeps what came out
    chooser : says what to try next
    points : those measured; new ones are added
    measure : builds a sub-network and measures it
    goes_on : asked before each with its number
    """
    known = {point.key: point for point in points}
    number, nothing_new = len(_complete(study)), 0
    while goes_on(number) and nothing_new < _NOTHING_NEW:
        # choose: the parts of the model bid; limit and optimise: the best that the budget buys
        choice = chooser.choose(number, points)
        # evaluate: a real smaller model on dev
        new = choice.key not in known
        point = measure(choice) if new else known[choice.key]
        # adjust: the next choice knows of it
        _note(study, chooser, choice, point, new)
        if new:
            points.append(point)
            known[point.key] = point
        # and again
        number, nothing_new = number + 1, 0 if new else nothing_new + 1


def _markets(
    study: Any,
    clf: Classifier,
    shape: Shape,
    importances: Importance,
    budget: Budget,
    latency: Predicts | None,
    steps: int,
    formats: Sequence[NumberFormat],
) -> list[Market]:
    """A market for each number format in which anything fits; NothingFits where nothing does."""
    markets, refused = [], list[NothingFits]()
    for each in formats:
        predicts = latency if each == "float32" else None
        if each != "float32" and latency is not None and budget.latency_ms is not None:
            ratio = study.user_attrs.get(f"{each} ratio") or _ratio(clf, budget, each)
            study.set_user_attr(f"{each} ratio", ratio)  # a search that goes on goes by the same
            predicts = Scaled(latency, ratio)
        try:
            markets.append(Market(shape, importances, budget, predicts, steps, each))
        except NothingFits as error:
            refused.append(error)
    if not markets:
        raise min(refused, key=lambda error: error.spent)
    return markets


def _ratio(clf: Classifier, budget: Budget, number_format: NumberFormat) -> float:
    """The time of a whole classifier in a number format, as a multiple of its time as it is."""
    with in_format(clf, number_format) as other:
        both = {"": clf, number_format: other}  # that on its own device, as in a latency table
        ms = times_of(both, budget.tokens, budget.batch, seconds=10).set_index("name")["ms_quiet"]
    return float(ms[number_format] / ms[""])


def _measured(
    clf: Classifier,
    dev: TextDataset,
    choice: Choice,
    whole_costs: Mapping[str, float],
    budget: Budget,
    repair: Sequence[Text] | None,
    fast: bool,
) -> Point:
    """Build a sub-network and ask it all dev texts."""
    start = time.perf_counter()
    whole, known = choice.origin == "whole", choice.number_format
    market = None if choice.chooser is None else choice.chooser.market
    costs = dict(whole_costs) if market is None else market.costs(choice.plan)
    smaller = clf if whole else choice.plan.apply(clf, repair)
    with in_format(smaller, known) as ready:
        score = Evaluator(ready, dev, fast, cache_mb=0).score()
        if known != "float32":  # the milliseconds that it was chosen by are a guess
            limited = budget.latency_ms is not None
            tokens, batch = budget.tokens, budget.batch
            costs["latency_ms"] = measured_ms(ready, tokens, batch) if limited else math.nan
    costs = {name: cost for name, cost in costs.items() if cost == cost}
    seconds = time.perf_counter() - start
    bids = None if choice.bids is None else choice.bids.to_json()
    return Point(choice.origin, choice.plan, costs, score.loss, score.correct, seconds, bids, known)


# --- what is written down -----------------------------------------------------------------------


def _note(study: Any, asked: InTurn, choice: Choice, point: Point, new: bool) -> None:
    """Tell Optuna what came out, and with it the folder."""
    import optuna

    values = [point.accuracy, *(point.costs[name] for name in asked.budget.limits)]
    record = point.to_json(asked.whole) if new else None
    if choice.trial is not None:
        choice.trial.set_user_attr("point", record)
        study.tell(choice.trial, values)
        return
    told: dict[str, Any] = {}
    if choice.bids is not None and choice.chooser is not None:
        told["params"] = choice.chooser.parameters(choice.bids)
        told["distributions"] = choice.chooser.distributions()
    study.add_trial(optuna.create_trial(values=values, user_attrs={"point": record}, **told))


def _complete(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _taken_up(study: Any, whole: Plan) -> list[Point]:
    """The points that are written down; what was under way when a search was killed is dropped."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    records = [trial.user_attrs["point"] for trial in _complete(study)]
    return [Point.from_json(record, whole) for record in records if record is not None]


@contextlib.contextmanager
def _alone(folder: str | os.PathLike[str] | None, resume: bool) -> Iterator[None]:
    """See to it that a folder has one search at a time, and that none is taken up unasked."""
    if folder is None:
        if resume:
            raise AttnlabError(
                f"There is nothing to go on from: {option('resume', True)} needs "
                f"{option('folder')}."
            )
        yield
        return
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AttnlabError(
            f"Another search is at work in {folder}. Wait until it is over, or choose another "
            "folder."
        ) from error
    try:
        if is_there(folder) and not resume:
            raise AttnlabError(
                f"There is a search in {folder}. Add {option('resume', True)} to go on with it, or "
                "choose a new folder."
            )
        yield
    finally:
        lock.release()


# --- what is given ------------------------------------------------------------------------------


def _require_memory(shape: Shape, where: torch.device, formats: Sequence[NumberFormat]) -> None:
    """Raise AttnlabError where the copies of a model do not fit that a search surely holds at once.

    With MiniLM a search took 4.0 times the model or more beside it, activations included, and with
    int8 8.4 times.
    """
    model = 1e6 * megabytes(shape)
    needed = {where: 2 * model}  # a sub-network, and the weights that an `Evaluator` puts together
    if "int8" in formats:  # a graph, and what is written of it
        cpu = torch.device("cpu")
        needed[cpu] = needed.get(cpu, 0) + 2 * model
    for device, size in needed.items():
        require_memory(size, "Beside the model, a search", device)


def _check(minutes: float, most: int | None, strategy: str, splits: Splits) -> None:
    if not minutes > 0 or (most is not None and most < _IN_ANY_CASE):
        raise AttnlabError(
            f"minutes is {minutes}, most is {most}: expected minutes above 0, and {_IN_ANY_CASE} "
            "sub-networks at least, or None."
        )
    if strategy not in get_args(Strategy):
        raise AttnlabError(
            f"There is no {option('strategy', strategy)}. {suggest(strategy, get_args(Strategy))}"
        )
    for name in ("train", "dev"):
        part = getattr(splits, name)
        if not isinstance(part, TextDataset) or not len(part):
            raise DataError(
                f"{name} has no labelled texts. A search measures importance on train and compares "
                "on dev."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
