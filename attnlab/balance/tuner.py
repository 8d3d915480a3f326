"""The tuner: measure, find, adjust, retrain, measure again, and keep what helps on texts nothing was fitted to.

The dev part is cut in two. Knobs are fitted to three quarters; the last quarter, the guard, says whether a step is
kept. The test part is looked at by `Tuned.report` alone.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.balance.anomalies import outliers
from attnlab.balance.knobs import WAYS, Objective, Way, adjust
from attnlab.balance.meter import measure
from attnlab.balance.reading import Balance
from attnlab.balance.retraining import retrain
from attnlab.classification.classifier import Classifier, load_classifier
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError, suggest
from attnlab.evaluation.evaluator import Comparison, Evaluator, Score
from attnlab.files import atomic_write
from attnlab.heads import one_setting
from attnlab.heads.settings import HeadSettings
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import CHECKPOINT, fingerprint
from attnlab.training.loop import Interrupted
from attnlab.training.run import Run

RETRAIN = "retrain"  # the name of a step that trains weights, in `Round.way`
BY_HAND = "by hand"
_FEWEST = 16  # dev texts
_FILE = "tuned.json"
_UNDER_WAY = "tuning.json"
_WEIGHTS = "weights"  # folder of the classifiers and checkpoints of a run under way


@dataclass(frozen=True, eq=False)
class Round:
    """One step of the tuner, kept or rolled back.

    Attributes
    ----------
    number : from 1
    way : how heads were adjusted, one of `knobs.WAYS`; "retrain" where weights were
    settings : what was proposed
    accepted : whether it was kept
    why : the reason, a sentence
    accuracy, loss : with the proposal, on the guard part
    delta, ci : change of the guard accuracy against what was there before the step, and its 95 % interval for
        paired answers
    loss_delta, loss_ci : likewise of the guard loss, nats (paired bootstrap)
    balance : the meter's overall figure with the proposal, on the guard texts
    heads_on : heads that are on
    anomalies : rows of `anomalies.outliers`
    retrained : whether weights were changed
    seconds : it took
    """

    number: int
    way: str
    settings: HeadSettings
    accepted: bool
    why: str
    accuracy: float
    loss: float
    delta: float
    ci: tuple[float, float]
    loss_delta: float
    loss_ci: tuple[float, float]
    balance: float
    heads_on: int
    anomalies: int
    retrained: bool
    seconds: float

    def __repr__(self) -> str:
        kept = "kept" if self.accepted else "rolled back"
        return f"Round({self.number}: {self.way}, {kept}: {self.why})"


class Tuner:
    """Adjusts the heads of a classifier round by round, and keeps only what helps.

    Parameters
    ----------
    clf : Classifier, which stays as it is
    splits : its dev part is tuned on, its train part retrained on; the test part is not looked at
    start : settings to begin with; None takes those of an `applied` block, else neutral ones
    ways : of adjusting, one after the other; see `knobs.adjust`
    objective : what is to become small; default: the loss
    rounds : most steps
    retrain : keywords for `retraining.retrain`, such as ``{"texts": 2000, "balance": 0.5}``: after the ways comes
        a short retraining, a round of its own. None for none.
    options : for each way keywords for `knobs.adjust`, such as ``{"gradient": {"epochs": 4}}``
    seconds : time limit of each adjustment
    seed : of everything that is drawn
    out : folder where every finished round is kept. The same tuner with the same folder goes on there, and comes
        to the same result as one that was never stopped.
    watch : called as watch(tuner) after every round

    Attributes
    ----------
    rounds : list of Round
    settings, now : what holds now: the settings, and the Classifier
    tune, guard : the two parts of dev
    guard_before, guard_now : Score on the guard part, at the start and now
    doing : what is under way, a few words

    Raises
    ------
    AttnlabError : ways or options without sense; a folder that holds another run
    DataError : fewer than 16 dev texts, or no training texts although there is to be retraining

    Notes
    -----
    A step is kept if the objective on the guard part is better beyond its 95 % interval (paired bootstrap of the
    loss; the other parts count as they are), and the guard accuracy is not worse beyond its paired interval than
    before the step, nor than at the start. So a step that brings nothing passes one time in forty. The run ends
    when two rounds, or as many as there are ways, brought nothing in a row.
    """

    def __init__(
        self,
        clf: Classifier,
        splits: Splits,
        start: HeadSettings | None = None,
        *,
        ways: Sequence[Way] = ("gradient",),
        objective: Objective | None = None,
        rounds: int = 6,
        retrain: dict[str, Any] | None = None,
        options: dict[Way, dict[str, Any]] | None = None,
        seconds: float | None = None,
        seed: int = 0,
        out: str | os.PathLike[str] | None = None,
        watch: "Callable[[Tuner], None] | None" = None,
    ):
        for way in () if isinstance(ways, str) else ways:
            if way not in WAYS:
                raise AttnlabError(f"There is no way {way!r} to adjust heads. {suggest(way, WAYS)}")
        if isinstance(ways, str) or not (ways or retrain is not None) or rounds < 1:
            raise AttnlabError(
                f"ways is {ways!r}, rounds {rounds}: give a list of ways, or retrain, and at least 1 round."
            )
        for way in options or {}:
            if way not in (*ways, "random"):
                raise AttnlabError(f"There are options for {way!r}, which is none of {ways}.")
        if retrain is not None and not len(splits.train):
            raise DataError(f"{splits!r} has no training texts, and retraining needs some.")
        self.clf = self.now = clf
        self.start = self.settings = one_setting(clf, start)
        self.splits, self.ways, self.most = splits, ways, rounds
        self.objective = objective or Objective()
        self.retrain, self.options, self.seconds = retrain, options or {}, seconds
        self.seed, self.watch = seed, watch
        self.tune, self.guard = _cut(splits.dev, seed)
        self.rounds: list[Round] = []
        self.doing, self._stopped = "", False
        self._guard = Evaluator(clf, self.guard)
        self.guard_before = self.guard_now = self._score(clf, self.start)
        balance, _ = _figures(_balance(clf, self.guard, self.start))
        self._figures_now = (_share_on(clf, self.start), balance)
        self._random: HeadSettings | None = None
        self._alone: Classifier | None = None
        self.out = None if out is None else Path(out)
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            if (self.out / _UNDER_WAY).exists():
                self._load()

    def run(self) -> "Tuned":
        """Tune until it stops paying, or to the last round; return what came of it.

        Raises Interrupted after Ctrl-C or `stop`, with what to do to go on.
        """
        self._stopped = False
        try:
            while not self.finished:
                self.step()
            self._compare()
        except (KeyboardInterrupt, Interrupted) as error:
            where = (
                "Call run() again to go on."
                if self.out is None
                else f"What is finished is in {self.out}: the same Tuner, made anew, goes on from there."
            )
            raise Interrupted(f"Stopped in {self.doing}. {where}") from error
        finally:
            self.doing = ""
        change = self._guard.compare(self.guard_before, self.guard_now)
        return Tuned(
            clf=self.now,
            settings=self.settings.copy(),
            rounds=list(self.rounds),
            before=self.clf,
            start=self.start.copy(),
            random=self._random.copy(),
            alone=self._alone,
            guard={
                "n": len(self.guard),
                "before": self.guard_before.accuracy,
                "after": self.guard_now.accuracy,
                "delta": change.delta,
                "ci_low": change.ci[0],
                "ci_high": change.ci[1],
            },
        )

    def step(self) -> Round:
        """Make one more round, whether the last ones paid or not."""
        began, number = time.perf_counter(), len(self.rounds) + 1
        way = self._plan[len(self._own) % len(self._plan)]
        self.doing = f"round {number}: {way}"
        clf, settings = self.now, self.settings
        if way == RETRAIN:
            clf = self._retrained(clf, settings, number, f"retraining-{number}")
        else:
            settings = self._adjusted(clf, way, settings, number)
        return self._judge(way, clf, settings, began)

    def propose(self, settings: HeadSettings) -> Round:
        """Judge settings of your own, such as those of a `HeadMixer`, as all others: a round "by hand"."""
        settings = one_setting(self.now, settings)
        return self._judge(BY_HAND, self.now, settings, time.perf_counter())

    def stop(self) -> None:
        """Let a run in another thread end soon; what is under way is lost, finished rounds are kept."""
        self._stopped = True

    @property
    def finished(self) -> bool:
        """Whether the last rounds brought nothing, or there are as many as wanted."""
        patience = max(2, len(self._plan))
        last = self._own[-patience:]
        idle = len(last) == patience and not any(one.accepted for one in last)
        return idle or len(self._own) >= self.most

    @property
    def _own(self) -> list[Round]:
        """The rounds that were not made by hand."""
        return [one for one in self.rounds if one.way != BY_HAND]

    @property
    def _plan(self) -> list[str]:
        return [*self.ways, *([RETRAIN] if self.retrain is not None else [])]

    # --- a round -----------------------------------------------------------------------------------

    def _judge(self, way: str, clf: Classifier, settings: HeadSettings, began: float) -> Round:
        """Measure a proposal on the guard part, keep it or roll it back, and note that."""
        number = len(self.rounds) + 1
        self.doing = f"round {number}: measuring"
        score, balance = self._score(clf, settings), _balance(clf, self.guard, settings)
        even, anomalies = _figures(balance)
        change = self._guard.compare(self.guard_now, score)
        proposal = (_share_on(clf, settings), even)
        accepted, why = self._judged(score, change, proposal)
        if clf is self.now and settings == self.settings:
            accepted, why = False, "Nothing was changed."
        if accepted:
            self.now, self.settings, self.guard_now = clf, settings, score
            self._figures_now = proposal
        self.rounds.append(
            Round(
                number=number,
                way=way,
                settings=settings,
                accepted=accepted,
                why=why,
                accuracy=score.accuracy,
                loss=score.loss,
                delta=change.delta,
                ci=change.ci,
                loss_delta=change.loss_delta,
                loss_ci=change.loss_ci,
                balance=even,
                heads_on=_heads_on(clf, settings),
                anomalies=anomalies,
                retrained=way == RETRAIN,
                seconds=time.perf_counter() - began,
            )
        )
        self.doing = ""
        self._save()
        if self.watch:
            self.watch(self)
        return self.rounds[-1]

    def _judged(
        self, score: Score, change: Comparison, proposal: tuple[float, float]
    ) -> tuple[bool, str]:
        """Whether a proposal is kept, and why."""
        since = self._guard.compare(self.guard_before, score)
        for when, one in (("before the step", change), ("at the start", since)):
            if one.ci[1] < 0:
                return False, (
                    f"Guard accuracy is {-100 * one.delta:.1f} points below that {when}, beyond its interval "
                    f"({100 * one.ci[0]:+.1f} to {100 * one.ci[1]:+.1f})."
                )
        # the share of heads and the balance figure are taken as they are, the loss with its noise
        moved = self.objective.value(0.0, proposal[1], proposal[0])
        moved -= self.objective.value(0.0, self._figures_now[1], self._figures_now[0])
        delta, low, high = (
            self.objective.loss * one + moved for one in (change.loss_delta, *change.loss_ci)
        )
        what = "loss" if self.objective == Objective() else "objective"
        told = f"guard {what} {delta:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if high < 0:
            return True, f"Better beyond noise: {told}; accuracy {100 * change.delta:+.1f} points."
        return False, f"Not better beyond noise: {told}."

    def _adjusted(
        self, clf: Classifier, way: Way, settings: HeadSettings, number: int
    ) -> HeadSettings:
        return adjust(
            clf,
            self.tune,
            way,
            settings,
            objective=self.objective,
            seed=1000 * self.seed + number,
            seconds=self.seconds,
            progress=self._progress,
            **self.options.get(way, {}),
        ).settings

    def _retrained(
        self, clf: Classifier, settings: HeadSettings, number: int, name: str
    ) -> Classifier:
        folder = None if self.out is None else self.out / _WEIGHTS / name
        return retrain(
            clf,
            self.splits.train,
            self.tune,
            settings,
            **{"seed": 1000 * self.seed + number} | (self.retrain or {}),
            folder=folder,
            resume=folder is not None and (folder / CHECKPOINT).exists(),
            callbacks=[_Telling(self._progress)],
        )

    def _compare(self) -> None:
        """What the tuner is compared with: random knobs, and the same retraining without tuning."""
        if self._random is None:
            self.doing = "random knobs, to compare"
            self._random = self._adjusted(self.clf, "random", self.start, 0)
        trained = [one.number for one in self.rounds if one.retrained and one.accepted]
        if trained and self._alone is None:
            self.doing = "retraining without tuning, to compare"
            alone = self.clf
            for number in trained:
                alone = self._retrained(alone, self.start, number, f"alone-{number}")
            self._alone = alone
        self._save()

    def _progress(self, step: int, steps: int, text: str = "") -> None:
        self.doing = f"{self.doing.partition(', step')[0]}, step {step} of {steps}"
        if self._stopped:
            raise Interrupted("Stopped.")

    def _score(self, clf: Classifier, settings: HeadSettings) -> Score:
        return (self._guard if clf is self.clf else Evaluator(clf, self.guard)).score(settings)

    # --- what is kept ------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {
            "weights": _hash(self.clf),
            "start": self.start.to_json(),
            "dev": fingerprint(vars(self.splits.dev)),
            "train": fingerprint(vars(self.splits.train)) if self.retrain is not None else "",
            "ways": list(self.ways),
            "objective": asdict(self.objective),
            "retrain": repr(self.retrain),
            "options": repr(self.options),
            "seconds": self.seconds,
            "seed": self.seed,
        }

    def _save(self) -> None:
        """Write down where the run is; a classifier first, then what names it."""
        if self.out is None:
            return
        state = {
            "identity": self._identity(),
            "rounds": [_to_record(one) for one in self.rounds],
            "settings": self.settings.to_json(),
            "random": self._random.to_json() if self._random is not None else None,
        }
        models = {"model": self.now, "alone": self._alone}
        for name, clf in models.items():
            state[name] = None
            if clf is not None and clf is not self.clf:
                trained = sum(one.retrained and one.accepted for one in self.rounds)
                state[name] = f"{name}-after-{trained}"
                if not (self.out / _WEIGHTS / state[name]).exists():
                    clf.save(self.out / _WEIGHTS / state[name])
        atomic_write(self.out / _UNDER_WAY, (json.dumps(state, indent=1) + "\n").encode())
        for old in (self.out / _WEIGHTS).glob("*"):
            if old.name not in (state["model"], state["alone"]):
                shutil.rmtree(old, ignore_errors=True)

    def _load(self) -> None:
        """Take up a run where its folder says it was."""
        state = json.loads((self.out / _UNDER_WAY).read_text(encoding="utf-8"))
        mine = self._identity()
        other = [name for name, one in state["identity"].items() if one != mine.get(name)]
        if other:
            raise AttnlabError(
                f"The run in {self.out} was another one: it differs in {', '.join(other)}. Call it with the same "
                "classifier, data and settings, or choose another folder."
            )
        self.rounds = [_from_record(one) for one in state["rounds"]]
        self.settings = HeadSettings.from_json(state["settings"])
        weights = self.out / _WEIGHTS
        if state["model"]:
            self.now = load_classifier(weights / state["model"], self.clf.device)
        if state["alone"]:
            self._alone = load_classifier(weights / state["alone"], self.clf.device)
        if state["random"]:
            self._random = HeadSettings.from_json(state["random"])
        self.guard_now = self._score(self.now, self.settings)
        balance, _ = _figures(_balance(self.now, self.guard, self.settings))
        self._figures_now = (_share_on(self.now, self.settings), balance)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a tuner came to.

    Attributes
    ----------
    clf, settings : the classifier and the settings it is to be used with
    rounds : list of Round
    before, start : the classifier and the settings as they were
    random : the best of random settings, to compare
    alone : the classifier after the same retraining without tuning, to compare; None if no retraining was kept
    guard : on the guard part: ``n`` texts, accuracy ``before`` and ``after``, ``delta`` with ``ci_low`` and
        ``ci_high``. The guard chose among steps, so the gain may look a little better than it is; `report` asks
        other texts.
    """

    clf: Classifier
    settings: HeadSettings
    rounds: list[Round]
    before: Classifier
    start: HeadSettings
    random: HeadSettings
    alone: Classifier | None
    guard: dict[str, float]

    @property
    def verdict(self) -> str:
        """Whether it paid, on the guard part: one sentence."""
        kept = sum(one.accepted for one in self.rounds)
        if not kept:
            return (
                f"It did not pay: of {_counted(len(self.rounds), 'step')} none was better beyond noise on "
                f"{self.guard['n']:,} guard texts, and all is as it was."
            )
        steps = f"{kept} of {_counted(len(self.rounds), 'step')} kept"
        return f"{_told(self.guard)} ({steps}, {self.guard['n']:,} guard texts)."

    def rounds_frame(self) -> pd.DataFrame:
        """The rounds as a table; intervals as columns ci_low, ci_high, loss_low and loss_high."""
        rows = []
        for one in self.rounds:
            row = {name: value for name, value in vars(one).items() if name != "settings"}
            row["ci_low"], row["ci_high"] = row.pop("ci")
            row["loss_low"], row["loss_high"] = row.pop("loss_ci")
            rows.append(row)
        return pd.DataFrame(rows)

    def report(self, test: TextDataset) -> pd.DataFrame:
        """Measure once, on texts that nothing was chosen by.

        Parameters
        ----------
        test : TextDataset, such as ``splits.test``

        Returns
        -------
        DataFrame: name, accuracy, stderr, delta, ci_low, ci_high, p_value, loss. Rows: "nothing done", "tuned",
        "random knobs", and "retrained only" if weights were changed. Changes are against "nothing done", with 95 %
        intervals for paired answers and exact McNemar tests. ``.attrs["verdict"]`` says in a sentence whether it
        paid.
        """
        others = {
            "tuned": (self.clf, self.settings),
            "random knobs": (self.before, self.random),
            "retrained only": (self.alone, self.start),
        }
        evaluator = Evaluator(self.before, test)
        nothing = evaluator.score(self.start)
        rows = [{"name": "nothing done", "accuracy": nothing.accuracy, "loss": nothing.loss}]
        for name, (clf, settings) in others.items():
            if clf is not None:
                used = evaluator if clf is self.before else Evaluator(clf, test)
                score = used.score(settings)
                change = evaluator.compare(nothing, score)
                row = {"name": name, "accuracy": score.accuracy, "loss": score.loss}
                row |= {"delta": change.delta, "p_value": change.p_value}
                rows.append(row | {"ci_low": change.ci[0], "ci_high": change.ci[1]})
        table = pd.DataFrame(rows)
        table["stderr"] = np.sqrt(table["accuracy"] * (1 - table["accuracy"]) / nothing.n)
        tuned = table.iloc[1]
        found = {"before": nothing.accuracy, "after": tuned["accuracy"]}
        found |= {name: tuned[name] for name in ("delta", "ci_low", "ci_high")}
        columns = ["name", "accuracy", "stderr", "delta", "ci_low", "ci_high", "p_value", "loss"]
        table = table[columns]
        table.attrs["verdict"] = f"{_told(found)} ({nothing.n:,} test texts)."
        return table

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write settings, rounds and classifiers to a folder that `load` reads; whole or not at all."""
        folder = Path(folder).resolve()
        if folder.exists() and not (folder / _FILE).exists() and any(folder.iterdir()):
            raise AttnlabError(
                f"{folder} holds other files. Give the name of a new folder, or of one that save() wrote."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self.before.save(partial / "before")
            if self.clf is not self.before:
                self.clf.save(partial / "model")
            if self.alone is not None:
                self.alone.save(partial / "alone")
            record = {
                "settings": self.settings.to_json(),
                "start": self.start.to_json(),
                "random": self.random.to_json(),
                "guard": self.guard,
                "rounds": [_to_record(one) for one in self.rounds],
            }
            atomic_write(partial / _FILE, (json.dumps(record, indent=1) + "\n").encode())
            partial.chmod(0o755)
            if folder.exists():
                old = partial.with_name(partial.name + "-old")
                folder.rename(old)
                partial.rename(folder)
                shutil.rmtree(old)
            else:
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Tuned":
        """Read what `save` wrote."""
        folder = Path(folder)
        if not (folder / _FILE).exists():
            raise AttnlabError(f"{folder} has no {_FILE}. Give a folder that Tuned.save wrote.")
        record = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        found = {
            name: load_classifier(folder / name)
            for name in ("before", "model", "alone")
            if (folder / name).exists()
        }
        settings = {
            name: HeadSettings.from_json(record[name]) for name in ("settings", "start", "random")
        }
        return cls(
            clf=found.get("model", found["before"]),
            before=found["before"],
            alone=found.get("alone"),
            rounds=[_from_record(one) for one in record["rounds"]],
            guard=record["guard"],
            **settings,
        )

    def __repr__(self) -> str:
        return f"Tuned({self.verdict})"


# ── parts ──────────────────────────────────────────────────────────────────────────────────────────


class _Telling(Callback):
    """Tells the tuner of each step of a retraining."""

    def __init__(self, tell: Callable[[int, int, str], None]):
        self.tell = tell

    def on_step(self, run: Run) -> None:
        """Tell it how far the retraining is."""
        self.tell(run.step, run.steps, run.status)


def _cut(dev: TextDataset, seed: int) -> tuple[TextDataset, TextDataset]:
    """Three quarters to tune on and a quarter as guard, of every label alike."""
    if not isinstance(dev, TextDataset) or len(dev) < _FEWEST:
        raise DataError(
            f"Tuning needs labelled dev texts, at least {_FEWEST}, better a thousand; got {dev!r}."
        )
    order = np.random.default_rng([seed, 5]).permutation(len(dev))
    order = order[np.argsort(np.array(dev.labels)[order], kind="stable")]
    guard = np.zeros(len(dev), bool)
    guard[order[3::4]] = True
    return dev.select(np.flatnonzero(~guard)), dev.select(np.flatnonzero(guard))


def _balance(clf: Classifier, data: TextDataset, settings: HeadSettings) -> Balance | None:
    """What the meter reads; None for a model with a prefix, which it does not take."""
    return None if heads.prefix(clf) else measure(clf, data.texts, settings)


def _figures(balance: Balance | None) -> tuple[float, int]:
    """The overall figure, and the number of outliers."""
    return (math.nan, 0) if balance is None else (balance.overall, len(outliers(balance)))


def _heads_on(clf: Classifier, settings: HeadSettings) -> int:
    on = settings.scale > 0
    for place in heads.removed(clf):
        on[place] = False
    return int(on.sum())


def _share_on(clf: Classifier, settings: HeadSettings) -> float:
    return _heads_on(clf, settings) / (clf.layers * clf.heads)


def _hash(clf: Classifier) -> str:
    """A hash of all weights."""
    content = hashlib.sha256()
    for name, one in clf.model.state_dict().items():
        content.update(name.encode())
        if isinstance(one, Tensor) and not one.is_quantized:
            content.update(one.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        else:
            content.update(str(one).encode())
    return content.hexdigest()[:16]


def _to_record(one: Round) -> dict[str, Any]:
    return vars(one) | {"settings": one.settings.to_json()}


def _from_record(record: dict[str, Any]) -> Round:
    pairs = {name: tuple(record[name]) for name in ("ci", "loss_ci")}
    return Round(**record | pairs | {"settings": HeadSettings.from_json(record["settings"])})


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _told(found: dict[str, float]) -> str:
    """What became of accuracy, without the full stop."""
    low, high = found["ci_low"], found["ci_high"]
    paid = "It paid" if low > 0 else "It did harm" if high < 0 else "It made no sure difference"
    return (
        f"{paid}: accuracy {100 * found['before']:.1f} % before, {100 * found['after']:.1f} % after, change "
        f"{100 * found['delta']:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    )
