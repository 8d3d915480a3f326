"""The folder of a tuner's run: every finished round is kept there, and a stopped run goes on."""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.balance.tuned import Round
from attnlab.classification.classifier import Classifier
from attnlab.classification.loading import load_classifier
from attnlab.errors import AttnlabError
from attnlab.files import atomic_write, read_json, understood
from attnlab.heads import HeadSettings

_FILE = "tuning.json"
_WEIGHTS = "weights"  # folder of the classifiers and checkpoints


@dataclass
class State:
    """Where a run is: what would be lost if it were stopped.

    Attributes
    ----------
    clf, settings : what holds now
    rounds : those that are finished
    random, alone : what the tuner is compared with, once it is there: the best of random settings,
        and the classifier after the same retraining without tuning
    """

    clf: Classifier
    settings: HeadSettings
    rounds: list[Round] = field(default_factory=list)
    random: HeadSettings | None = None
    alone: Classifier | None = None


class RunFolder:
    """A folder in which the state of a run is kept.

    Parameters
    ----------
    path : it is made if it is not there
    identity : what must be the same for a run to go on
    """

    def __init__(self, path: str | os.PathLike[str], identity: dict[str, Any]):
        self.path, self.identity = Path(path), identity
        self.path.mkdir(parents=True, exist_ok=True)

    def weights(self, name: str) -> Path:
        """Where weights of this name are kept: classifiers, and checkpoints of a retraining."""
        return self.path / _WEIGHTS / name

    def save(self, state: State, first: Classifier) -> None:
        """Write down where the run is, a classifier first, then what names it.

        ``first`` is the classifier that the tuner was given, which is not written.
        """
        trained = sum(each.retrained and each.accepted for each in state.rounds)
        names: dict[str, str | None] = {}
        for name, clf in (("model", state.clf), ("alone", state.alone)):
            names[name] = None
            if clf is not None and clf is not first:
                names[name] = f"{name}-after-{trained}"
                target = self.weights(f"{name}-after-{trained}")
                if not target.exists():
                    clf.save(target)
        record = {
            "identity": self.identity,
            "rounds": [each.to_record() for each in state.rounds],
            "settings": state.settings.to_json(),
            "random": None if state.random is None else state.random.to_json(),
            **names,
        }
        atomic_write(self.path / _FILE, (json.dumps(record, indent=1) + "\n").encode())
        for old in (self.path / _WEIGHTS).glob("*"):
            if old.name not in names.values():
                shutil.rmtree(old, ignore_errors=True)

    def load(self, first: Classifier) -> State | None:
        """Where a run was when it stopped; None if none was begun here.

        Raises AttnlabError if it was another run.
        """
        if not (self.path / _FILE).exists():
            return None
        record = read_json(self.path / _FILE)
        with understood(self.path / _FILE, "Choose another folder, and begin again."):
            return self._state(record, first)

    def _state(self, record: dict[str, Any], first: Classifier) -> State:
        """What a record says; AttnlabError if it is of another run."""
        saved = record["identity"]
        other = [name for name in saved if saved[name] != self.identity.get(name)]
        if other:
            raise AttnlabError(
                f"The run in {self.path} was another one: it differs in {', '.join(other)}. Call "
                "it with the same classifier, data and settings, or choose another folder."
            )
        models = {
            name: load_classifier(self.weights(record[name]), first.device)
            for name in ("model", "alone")
            if record[name]
        }
        return State(
            clf=models.get("model", first),
            settings=HeadSettings.from_json(record["settings"]),
            rounds=[Round.from_record(each) for each in record["rounds"]],
            random=HeadSettings.from_json(record["random"]) if record["random"] else None,
            alone=models.get("alone"),
        )
