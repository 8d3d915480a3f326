"""What was seen while training: a row an epoch, and a row every few steps."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from attnlab.errors import AttnlabError
from attnlab.files import atomic_write, read_json, understood

_LOWER_IS_BETTER = ("dev_loss", "dev_bits_per_character")


@dataclass
class History:
    """What was seen while training.

    Attributes
    ----------
    rows : one an epoch: ``epoch`` (from 1), ``train_loss``, ``dev_accuracy`` or another figure of
        dev, ``dev_loss`` and ``seconds`` since the start
    steps : one every few steps: ``step`` (from 1), ``loss``, ``gradient_norm``, the length of the
        gradient before it was clipped, ``learning_rate``, ``tokens_per_second``, ``memory_mb`` and
        ``seconds``
    trainable : number of weights that were trained
    epochs : how many were planned
    chosen_by : the column of ``rows`` by which the best epoch is chosen: the highest, or the lowest
        of losses and of bits per character
    samples : of a language model: ``step`` and ``text``, what it wrote by then
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    trainable: int = 0
    epochs: int = 0
    chosen_by: str = "dev_accuracy"
    samples: list[dict[str, Any]] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return the epochs as a table."""
        return pd.DataFrame(self.rows)

    def steps_frame(self) -> pd.DataFrame:
        """Return the steps as a table."""
        return pd.DataFrame(self.steps)

    def losses(self, window: int = 1) -> pd.Series:
        """Return the loss by step, each the mean of the last ``window`` noted; NaN before that."""
        loss = pd.DataFrame(self.steps, columns=["step", "loss"]).set_index("step")["loss"]
        return loss.rolling(window).mean()

    def first_above(self, other: "History", by: float, window: int = 1) -> float:
        """Return the first step at which this run's loss is higher than another's.

        Parameters
        ----------
        other : a run with the same steps
        by : how much higher it must be
        window : of both, the mean of so many losses is compared, see `losses`

        Returns
        -------
        float, a step; NaN if that never happens. A later step may have the losses alike again.
        """
        higher = self.losses(window) - other.losses(window) > by
        return float(higher.idxmax()) if higher.any() else float("nan")

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch that is best by ``chosen_by``.

        Of equals, the one with the lowest ``dev_loss``: it goes on falling where few dev texts
        leave accuracy on a plateau. Of equals in that too, the first.
        """
        if not self.rows:
            raise AttnlabError("This history is empty: nothing was trained.")
        return max(self.rows, key=self.merit)

    def merit(self, row: dict[str, float]) -> tuple[float, float]:
        """What makes one row better than another: the higher, the better; see `best`."""
        sign = -1 if self.chosen_by in _LOWER_IS_BETTER else 1
        return sign * row[self.chosen_by], -row.get("dev_loss", 0.0)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write epochs and steps to a .json file, or the epochs to a .csv file."""
        path = Path(path)
        if path.suffix == ".csv":
            return atomic_write(path, self.to_frame().to_csv(index=False).encode())
        if path.suffix == ".json":
            return atomic_write(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
        raise AttnlabError(f"{path} is neither .csv nor .json. Choose one of the two.")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "History":
        """Read what `save` wrote as .json; ModelError if it is something else."""
        record = read_json(path)
        with understood(path, "Give a .json file that History.save wrote."):
            return cls(**record)


def history_table(histories: Mapping[str, History]) -> pd.DataFrame:
    """Put runs side by side, each by its best epoch.

    Parameters
    ----------
    histories : by the name of the run

    Returns
    -------
    DataFrame, a row per run in the order given: ``run``, ``epoch``, the best of ``epochs``; what
    was measured on dev then; ``train_loss`` then; ``trainable``, how many weights were trained; and
    ``seconds`` until then. NaN is what a run did not measure.

    Raises
    ------
    AttnlabError : no run, or one that trained nothing
    """
    if not histories:
        raise AttnlabError("There is no history to show. Give one or more, by name.")
    rows = []
    for name, history in histories.items():
        best = dict(history.best)
        seconds, train_loss = best.pop("seconds", None), best.pop("train_loss", None)
        row = {"run": name, "epoch": int(best.pop("epoch")), "epochs": history.epochs, **best}
        more = {"train_loss": train_loss, "trainable": history.trainable, "seconds": seconds}
        rows.append(row | more)
    table = pd.DataFrame(rows)
    last = ["train_loss", "trainable", "seconds"]
    return table[[column for column in table if column not in last] + last]
