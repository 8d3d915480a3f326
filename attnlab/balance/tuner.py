"""The tuner: measure, find, adjust, retrain, measure again, and keep what helps on other texts.

The dev part is cut in two. Knobs are fitted to three quarters; the last quarter, the guard, says
whether a step is kept. The test part is looked at by `Tuned.report` alone.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from attnlab import heads
from attnlab.balance.anomalies import outliers
from attnlab.balance.guard import Guard, count_on, cut
from attnlab.balance.knobs import Way, adjust
from attnlab.balance.meter import measure
from attnlab.balance.plan import Plan
from attnlab.balance.retraining import retrain
from attnlab.balance.run_folder import RunFolder, State
from attnlab.balance.task import Objective
from attnlab.balance.tuned import Round, Tuned
from attnlab.classification.classifier import Classifier
from attnlab.classification.fingerprints import classifier_hash
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError
from attnlab.heads import HeadSettings, one_setting
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import CHECKPOINT, fingerprint
from attnlab.training.loop import Interrupted
from attnlab.training.run import Run


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
    retrain : keywords for `retraining.retrain`, such as ``{"texts": 2000}``: after the ways comes a
        short retraining, a round of its own. None for none.
    options : for each way keywords for `knobs.adjust`, such as ``{"gradient": {"epochs": 4}}``
    seed : of everything that is drawn
    out : folder where every finished round is kept. The same tuner with the same folder goes on
        there, and comes to the same result as one that was never stopped.

    Attributes
    ----------
    plan : Plan, the ways and what goes with them
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
    `guard.Guard.judged` says which steps are kept. One that brings nothing passes one time in
    forty. The run ends when two rounds, or as many as there are ways, brought nothing in a row.
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
        seed: int = 0,
        out: str | os.PathLike[str] | None = None,
    ):
        self.clf, self.start, self.splits = clf, one_setting(clf, start), splits
        self.plan = Plan(ways, objective or Objective(), rounds, retrain, options or {}, seed)
        if retrain is not None and not len(splits.train):
            raise DataError(f"{splits!r} has no training texts, and retraining needs some.")
        self.tune, self.guard = cut(splits.dev, seed)
        self.doing, self._stopped = "", False
        self._guard = Guard(clf, self.guard, self.plan.objective)
        self._state, self._folder = State(clf, self.start), None
        if out is not None:
            self._folder = RunFolder(out, _identity(self))
            self._state = self._folder.load(clf) or self._state
        self.guard_before = self._guard.score(clf, self.start)
        self.guard_now = self._guard.score(self.now, self.settings)

    @property
    def rounds(self) -> list[Round]:
        """Those that are finished."""
        return self._state.rounds

    @property
    def settings(self) -> HeadSettings:
        """Those that hold now."""
        return self._state.settings

    @property
    def now(self) -> Classifier:
        """The classifier that holds now."""
        return self._state.clf

    @property
    def finished(self) -> bool:
        """Whether the last rounds brought nothing, or there are as many as wanted."""
        return self.plan.finished(self.rounds)

    def run(self) -> Tuned:
        """Tune until it stops paying, or to the last round; return what came of it.

        Raises Interrupted after Ctrl-C or `stop`, with what to do to go on.
        """
        self._stopped = False
        try:
            while not self.finished:
                self.step()
            random = self._compared()
        except (KeyboardInterrupt, Interrupted) as error:
            where = "Call run() again to go on."
            if self._folder is not None:
                where = (
                    f"What is finished is in {self._folder.path}: the same Tuner, made anew, goes "
                    "on from there."
                )
            raise Interrupted(f"Stopped in {self.doing}. {where}") from error
        finally:
            self.doing = ""
        return Tuned(
            clf=self.now,
            settings=self.settings.copy(),
            rounds=list(self.rounds),
            before=self.clf,
            start=self.start.copy(),
            random=random.copy(),
            alone=self._state.alone,
            guard=self._guard.gain(self.guard_before, self.guard_now),
        )

    def step(self) -> Round:
        """Make one more round, whether the last ones paid or not."""
        began, number = time.perf_counter(), len(self.rounds) + 1
        way = self.plan.next_step(self.rounds)
        self.doing = f"round {number}: {way}"
        clf, settings = self.now, self.settings
        if way == "retrain":
            clf = self._retrained(clf, settings, number, f"retraining-{number}")
        else:
            settings = self._adjusted(clf, way, settings, number)
        return self._judge(way, clf, settings, began)

    def propose(self, settings: HeadSettings) -> Round:
        """Judge settings of your own, such as those of a `HeadMixer`, as a round "by hand"."""
        settings = one_setting(self.now, settings)
        return self._judge("by hand", self.now, settings, time.perf_counter())

    def stop(self) -> None:
        """Let a run in another thread end soon; what is under way is lost, finished rounds kept."""
        self._stopped = True

    def _judge(self, way: str, clf: Classifier, settings: HeadSettings, began: float) -> Round:
        """Measure a proposal on the guard part, keep it or roll it back, and note that."""
        number = len(self.rounds) + 1
        self.doing = f"round {number}: measuring"
        score, heads_on = self._guard.score(clf, settings), count_on(clf, settings)
        balance, anomalies = _metered(clf, self.guard, settings)
        change = self._guard.compare(self.guard_now, score)
        shares = [
            count / settings.scale.numel()
            for count in (count_on(self.now, self.settings), heads_on)
        ]
        accepted, why = self._guard.judged(self.guard_before, self.guard_now, score, *shares)
        if clf is self.now and settings == self.settings:
            accepted, why = False, "Nothing was changed."
        if accepted:
            self._state.clf, self._state.settings, self.guard_now = clf, settings, score
        finished = Round.of(
            score,
            change,
            number=number,
            way=way,
            settings=settings,
            accepted=accepted,
            why=why,
            balance=balance,
            heads_on=heads_on,
            anomalies=anomalies,
            retrained=way == "retrain",
            seconds=time.perf_counter() - began,
        )
        self.rounds.append(finished)
        self.doing = ""
        self._save()
        return finished

    def _adjusted(
        self, clf: Classifier, way: Way, settings: HeadSettings, number: int
    ) -> HeadSettings:
        """What a way of adjusting proposes."""
        return adjust(
            clf,
            self.tune,
            way,
            settings,
            objective=self.plan.objective,
            seed=self.plan.seed_of(number),
            progress=self._progress,
            **self.plan.options.get(way, {}),
        ).settings

    def _retrained(
        self, clf: Classifier, settings: HeadSettings, number: int, name: str
    ) -> Classifier:
        """What a retraining proposes; one that was stopped goes on."""
        folder = None if self._folder is None else self._folder.weights(name)
        return retrain(
            clf,
            self.splits.train,
            self.tune,
            settings,
            **{"seed": self.plan.seed_of(number)} | (self.plan.retrain or {}),
            folder=folder,
            resume=folder is not None and (folder / CHECKPOINT).exists(),
            callbacks=[_StepTold(self._progress)],
        )

    def _compared(self) -> HeadSettings:
        """What the tuner is compared with: the random knobs returned, and retraining alone."""
        state = self._state
        if state.random is None:
            self.doing = "random knobs, to compare"
            state.random = self._adjusted(self.clf, "random", self.start, 0)
        trained = [each.number for each in self.rounds if each.retrained and each.accepted]
        if trained and state.alone is None:
            self.doing = "retraining without tuning, to compare"
            alone = self.clf
            for number in trained:
                alone = self._retrained(alone, self.start, number, f"alone-{number}")
            state.alone = alone
        self._save()
        return state.random

    def _save(self) -> None:
        if self._folder is not None:
            self._folder.save(self._state, self.clf)

    def _progress(self, step: int, steps: int, status: str = "") -> None:
        self.doing = f"{self.doing.partition(', step')[0]}, step {step} of {steps}"
        if self._stopped:
            raise Interrupted("Stopped.")


def _identity(tuner: Tuner) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    train = None if tuner.plan.retrain is None else tuner.splits.train
    return {
        "weights": classifier_hash(tuner.clf),
        "start": tuner.start.to_json(),
        "dev": fingerprint(vars(tuner.splits.dev)),
        "train": "" if train is None else fingerprint(vars(train)),
    } | tuner.plan.identity()


class _StepTold(Callback):
    """Tells of each step of a retraining."""

    def __init__(self, tell: Callable[[int, int, str], None]):
        self.tell = tell

    def on_step(self, run: Run) -> None:
        """Tell how far it is."""
        self.tell(run.step, run.steps, run.status)


def _metered(clf: Classifier, data: TextDataset, settings: HeadSettings) -> tuple[float, int]:
    """The meter's overall figure and the number of outliers; it takes no model with a prefix."""
    if heads.prefix(clf):
        return math.nan, 0
    balance = measure(clf, data.texts, settings)
    return balance.overall, len(outliers(balance))
