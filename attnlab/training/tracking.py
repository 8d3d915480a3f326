"""Experiment tracking: a run written for TensorBoard while it goes on."""

import os
from pathlib import Path
from typing import Any

from attnlab.device import is_main_process
from attnlab.errors import AttnlabError
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.run import Run

MISSING = "TensorBoard is not installed. Type: pip install 'attnlab[tracking]'"


class TensorBoard(Callback):
    """Writes a history for TensorBoard: ``finetune(..., callbacks=[TensorBoard("runs/lora")])``.

    ``tensorboard --logdir runs`` shows all runs under that folder. What an earlier run left in the
    same folder is hidden, so a run that is resumed shows once.

    Parameters
    ----------
    folder : one for each run

    Raises
    ------
    AttnlabError : tensorboard is not installed
    """

    def __init__(self, folder: str | os.PathLike[str]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise AttnlabError(MISSING) from error
        self.folder = Path(folder)
        self._new_writer = SummaryWriter
        self._writer: Any = None
        self._steps = self._rows = 0

    def on_start(self, run: Run) -> None:
        """Open a file; of what an earlier run left in the folder nothing is shown."""
        if is_main_process():
            self._writer = self._new_writer(str(self.folder), purge_step=0)
            self._steps = self._rows = 0

    def on_step(self, run: Run) -> None:
        """Write a step that was noted."""
        if run.noted:
            self._write(run.history)

    def on_epoch(self, run: Run) -> None:
        """Write an epoch."""
        self._write(run.history)

    def on_end(self, run: Run) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, history: History) -> None:
        """Write what is new in the history: steps by their number, epochs by theirs."""
        if self._writer is None:
            return
        for row in history.steps[self._steps :]:
            for name in set(row) - {"step", "seconds"}:
                self._writer.add_scalar(f"step/{name}", row[name], int(row["step"]))
        for row in history.rows[self._rows :]:
            for name in set(row) - {"epoch", "seconds"}:
                self._writer.add_scalar(f"epoch/{name}", row[name], int(row["epoch"]))
        self._steps, self._rows = len(history.steps), len(history.rows)
        self._writer.flush()
