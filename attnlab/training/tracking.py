"""Experiment tracking: a run written down where TensorBoard shows it beside others, while it goes on."""

import os
from pathlib import Path

from attnlab.errors import AttnlabError
from attnlab.training.loop import History

MISSING = "TensorBoard is not installed. Type: pip install 'attnlab[tracking]'"


class TensorBoard:
    """Writes a history for TensorBoard: ``finetune(..., watch=TensorBoard("runs/lora"))``.

    ``tensorboard --logdir runs`` shows all runs under that folder. What an earlier run left in the same folder is
    hidden, so a run that is resumed shows once.

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
        self._writer = SummaryWriter(str(self.folder), purge_step=0)
        self._steps = self._rows = 0

    def __call__(self, history: History, steps: int) -> None:
        """Write what is new in the history: steps by their number, epochs by theirs."""
        for row in history.steps[self._steps :]:
            for name in set(row) - {"step", "seconds"}:
                self._writer.add_scalar(f"step/{name}", row[name], int(row["step"]))
        for row in history.rows[self._rows :]:
            for name in set(row) - {"epoch", "seconds"}:
                self._writer.add_scalar(f"epoch/{name}", row[name], int(row["epoch"]))
        self._steps, self._rows = len(history.steps), len(history.rows)
        self._writer.flush()
