"""Experiment tracking: a run written for TensorBoard, MLflow or Weights & Biases as it goes on."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnlab.device import is_main_process
from attnlab.errors import AttnlabError
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.run import Run

__all__ = ["MLflow", "TensorBoard", "WeightsAndBiases"]


class _Tracker(Callback):
    """Hands a history on, row by row, in the first process only; subclasses say to whom."""

    def __init__(self) -> None:
        self._steps = self._rows = 0
        self._open = False

    def on_start(self, run: Run) -> None:
        """Open a record, into which the history goes from its first row."""
        if is_main_process():
            self._begin(run)
            self._open, self._steps, self._rows = True, 0, 0

    def on_step(self, run: Run) -> None:
        """Write a step that was noted."""
        if run.noted:
            self._write(run.history)

    def on_epoch(self, run: Run) -> None:
        """Write an epoch."""
        self._write(run.history)

    def on_end(self, run: Run) -> None:
        """Close the record."""
        if self._open:
            self._open = False
            self._close()

    def _write(self, history: History) -> None:
        """Write what is new in the history: steps by their number, epochs by theirs."""
        if not self._open:
            return
        for kind, rows in (
            ("step", history.steps[self._steps :]),
            ("epoch", history.rows[self._rows :]),
        ):
            for row in rows:
                values = {
                    f"{kind}/{name}": value
                    for name, value in row.items()
                    if name not in (kind, "seconds")
                }
                self._log(values, kind, int(row[kind]))
        self._steps, self._rows = len(history.steps), len(history.rows)

    def _begin(self, run: Run) -> None:
        raise NotImplementedError

    def _log(self, values: dict[str, float], kind: str, number: int) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class TensorBoard(_Tracker):
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
        super().__init__()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("TensorBoard", "attnlab[tracking]") from error
        self.folder = Path(folder)
        self._new_writer = SummaryWriter
        self._writer: Any = None

    def _begin(self, run: Run) -> None:
        self._writer = self._new_writer(str(self.folder), purge_step=0)

    def _log(self, values: dict[str, float], kind: str, number: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def _close(self) -> None:
        self._writer.close()


class MLflow(_Tracker):
    """Writes a history and its recipe to MLflow, where one is set up (``MLFLOW_TRACKING_URI``).

    A run that is resumed becomes a run of its own, which shows all of the history.

    Parameters
    ----------
    experiment : name of the experiment; it is made if there is none
    name : of the run; by default MLflow chooses one

    Raises
    ------
    AttnlabError : mlflow is not installed
    """

    def __init__(self, experiment: str = "attnlab", name: str | None = None):
        super().__init__()
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise _missing("MLflow", "mlflow-skinny") from error
        self.experiment, self.name = experiment, name
        self._client: Any = MlflowClient()
        self._id = ""

    def _begin(self, run: Run) -> None:
        found = self._client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else self._client.create_experiment(self.experiment)
        self._id = self._client.create_run(place, run_name=self.name).info.run_id
        for name, value in asdict(run.recipe).items():
            self._client.log_param(self._id, name, value)

    def _log(self, values: dict[str, float], kind: str, number: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=number)

    def _close(self) -> None:
        self._client.set_terminated(self._id)


class WeightsAndBiases(_Tracker):
    """Writes a history and its recipe for Weights & Biases, to a server or, offline, to a folder.

    A run that is resumed becomes a run of its own, which shows all of the history.

    Parameters
    ----------
    project : that the run belongs to
    **options : of ``wandb.init``, such as ``name`` or ``mode="offline"``

    Raises
    ------
    AttnlabError : wandb is not installed
    """

    def __init__(self, project: str = "attnlab", **options: Any):
        super().__init__()
        try:
            import wandb
        except ImportError as error:
            raise _missing("Weights & Biases", "wandb") from error
        self.project, self.options = project, options
        self._wandb: Any = wandb
        self._run: Any = None

    def _begin(self, run: Run) -> None:
        config = asdict(run.recipe)
        self._run = self._wandb.init(project=self.project, config=config, **self.options)
        for kind in ("step", "epoch"):
            self._run.define_metric(f"{kind}/*", step_metric=kind)

    def _log(self, values: dict[str, float], kind: str, number: int) -> None:
        self._run.log(values | {kind: number})

    def _close(self) -> None:
        self._run.finish()


def _missing(what: str, package: str) -> AttnlabError:
    return AttnlabError(f"{what} is not installed. Type: pip install '{package}'")


def __dir__() -> list[str]:
    return sorted(__all__)
