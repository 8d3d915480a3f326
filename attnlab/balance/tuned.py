"""What a tuner did and came to: its rounds, its result, a report, and a folder to keep it."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnlab.classification.classifier import Classifier
from attnlab.classification.loading import load_classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError
from attnlab.evaluation.evaluator import Comparison, Evaluator, Score
from attnlab.files import atomic_write, read_json, understood
from attnlab.heads import HeadSettings

_FILE = "tuned.json"


@dataclass(frozen=True, eq=False)
class Round:
    """One step of the tuner, kept or rolled back.

    Attributes
    ----------
    number : from 1
    way : how heads were adjusted, one of `knobs.WAYS`; "retrain" where weights were, "by hand"
        where the settings came from a person
    settings : what was proposed
    accepted : whether it was kept
    why : the reason, a sentence
    accuracy, loss : with the proposal, on the guard part
    delta, ci : change of the guard accuracy against what was there before the step, and its 95 %
        interval for paired answers
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

    @classmethod
    def of(cls, score: Score, change: Comparison, **others: Any) -> "Round":
        """Make a Round of the guard's score, its change, and all other attributes."""
        return cls(
            accuracy=score.accuracy,
            loss=score.loss,
            delta=change.delta,
            ci=change.ci,
            loss_delta=change.loss_delta,
            loss_ci=change.loss_ci,
            **others,
        )

    def to_record(self) -> dict[str, Any]:
        """The round as it is written to a JSON file."""
        return vars(self) | {"settings": self.settings.to_json()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Round":
        """Read what `to_record` gave."""
        pairs = {name: tuple(record[name]) for name in ("ci", "loss_ci")}
        settings = HeadSettings.from_json(record["settings"])
        return cls(**record | pairs | {"settings": settings})

    def __repr__(self) -> str:
        kept = "kept" if self.accepted else "rolled back"
        return f"Round({self.number}: {self.way}, {kept}: {self.why})"


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a tuner came to.

    Attributes
    ----------
    clf, settings : the classifier and the settings it is to be used with
    rounds : list of Round
    before, start : the classifier and the settings as they were
    random : the best of random settings, to compare
    alone : the classifier after the same retraining without tuning, to compare; None if no
        retraining was kept
    guard : on the guard part: ``n`` texts, accuracy ``before`` and ``after``, ``delta`` with
        ``ci_low`` and ``ci_high``. The guard chose among steps, so the gain may look a little
        better than it is; `report` asks other texts.
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
        kept, count = sum(each.accepted for each in self.rounds), len(self.rounds)
        steps = f"{count} step{'' if count == 1 else 's'}"
        if not kept:
            return (
                f"It did not pay: of {steps} none was better beyond noise on "
                f"{self.guard['n']:,} guard texts, and all is as it was."
            )
        return f"{_told(self.guard)} ({kept} of {steps} kept, {self.guard['n']:,} guard texts)."

    def rounds_frame(self) -> pd.DataFrame:
        """The rounds as a table; intervals as columns ci_low, ci_high, loss_low and loss_high."""
        rows = []
        for each in self.rounds:
            row = {name: value for name, value in vars(each).items() if name != "settings"}
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
        DataFrame: name, accuracy, stderr, delta, ci_low, ci_high, p_value, loss. Rows: "nothing
        done", "tuned", "random knobs", and "retrained only" if weights were changed. Changes are
        against "nothing done", with 95 % intervals for paired answers and exact McNemar tests.
        ``.attrs`` hold ``n``, the number of texts, and ``verdict``, a sentence on whether it paid.
        """
        evaluator = Evaluator(self.before, test)
        nothing = evaluator.score(self.start)
        rows = [{"name": "nothing done", "accuracy": nothing.accuracy, "loss": nothing.loss}]
        for name, clf, settings in (
            ("tuned", self.clf, self.settings),
            ("random knobs", self.before, self.random),
            ("retrained only", self.alone, self.start),
        ):
            if clf is None:
                continue
            score = (evaluator if clf is self.before else Evaluator(clf, test)).score(settings)
            change = evaluator.compare(nothing, score)
            row = {"name": name, "accuracy": score.accuracy, "loss": score.loss}
            row |= {"delta": change.delta, "p_value": change.p_value}
            rows.append(row | {"ci_low": change.ci[0], "ci_high": change.ci[1]})
        table = pd.DataFrame(rows)
        table["stderr"] = np.sqrt(table["accuracy"] * (1 - table["accuracy"]) / nothing.n)
        tuned = table.iloc[1]
        change_of_tuned = {name: tuned[name] for name in ("delta", "ci_low", "ci_high")}
        told = _told({"before": nothing.accuracy, "after": tuned["accuracy"]} | change_of_tuned)
        columns = ["name", "accuracy", "stderr", "delta", "ci_low", "ci_high", "p_value", "loss"]
        table = table[columns]
        table.attrs |= {"n": nothing.n, "verdict": f"{told} ({nothing.n:,} test texts)."}
        return table

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write settings, rounds and classifiers to a folder for `load`; whole or not at all."""
        folder = Path(folder).resolve()
        if folder.exists() and not (folder / _FILE).exists() and any(folder.iterdir()):
            raise AttnlabError(
                f"{folder} holds other files. Give the name of a new folder, or of one that save() "
                "wrote."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self._write(partial)
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

    def _write(self, folder: Path) -> None:
        """Write all there is to a folder that is there."""
        self.before.save(folder / "before")
        if self.clf is not self.before:
            self.clf.save(folder / "model")
        if self.alone is not None:
            self.alone.save(folder / "alone")
        record = {
            "settings": self.settings.to_json(),
            "start": self.start.to_json(),
            "random": self.random.to_json(),
            "guard": self.guard,
            "rounds": [each.to_record() for each in self.rounds],
        }
        atomic_write(folder / _FILE, (json.dumps(record, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Tuned":
        """Read what `save` wrote."""
        folder = Path(folder)
        if not (folder / _FILE).exists():
            raise AttnlabError(f"{folder} has no {_FILE}. Give a folder that Tuned.save wrote.")
        record = read_json(folder / _FILE)
        with understood(folder / _FILE, "Give a folder that Tuned.save wrote."):
            models = {
                name: load_classifier(folder / name)
                for name in ("before", "model", "alone")
                if (folder / name).exists()
            }
            settings = {
                name: HeadSettings.from_json(record[name])
                for name in ("settings", "start", "random")
            }
            return cls(
                clf=models.get("model", models["before"]),
                before=models["before"],
                alone=models.get("alone"),
                rounds=[Round.from_record(each) for each in record["rounds"]],
                guard=record["guard"],
                **settings,
            )

    def __repr__(self) -> str:
        return f"Tuned({self.verdict})"


def _told(found: dict[str, float]) -> str:
    """What became of accuracy, without the full stop."""
    low, high = found["ci_low"], found["ci_high"]
    paid = "It paid" if low > 0 else "It did harm" if high < 0 else "It made no sure difference"
    return (
        f"{paid}: accuracy {100 * found['before']:.1f} % before, {100 * found['after']:.1f} % "
        f"after, change {100 * found['delta']:+.1f} points, 95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f}"
    )
