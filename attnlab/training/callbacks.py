"""Callbacks: what is told how a run goes on, such as a progress bar, a live curve or a recorder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attnlab.device import is_main_process
from attnlab.progress import progress_bar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from attnlab.training.run import Run


class Callback:
    """Is told how a run goes on: ``finetune(..., callbacks=[...])``. Override what you need.

    Each method gets the run, of which it may read

    - ``learner``, what is trained: a Classifier, Tagger or Translator; for `training.train` the
      model it was given,
    - ``step`` of ``steps``, ``epoch`` of ``recipe.epochs``: how many are over,
    - ``status``, where it stands, in words; ``history``; ``recipe``,
    - ``noted``, whether the last step has a row in ``history.steps``,
    - ``left_out``, whether the last step was left out as its gradients overflowed float16.

    Of several processes each calls its callbacks; those that write or draw do so in the first one.
    What a callback raises ends the run.

    Examples
    --------
    >>> class Words(Callback):
    ...     def on_epoch(self, run):
    ...         print(run.status, run.history.rows[-1]["dev_accuracy"])
    """

    def on_start(self, run: "Run") -> None:
        """Before the first step; of a run that goes on, before the next one (``run.step`` > 0)."""

    def on_step(self, run: "Run") -> None:
        """After each step, while the gradients that made it are still there."""

    def on_epoch(self, run: "Run") -> None:
        """After the measurement on dev at the end of each epoch."""

    def on_end(self, run: "Run") -> None:
        """When the run is over, whether it came to its end or was stopped by an error."""


class CallbackList(Callback):
    """Tells several callbacks, in their order."""

    def __init__(self, callbacks: Sequence[Callback]):
        self.callbacks = list(callbacks)

    def on_start(self, run: "Run") -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_start(run)

    def on_step(self, run: "Run") -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_step(run)

    def on_epoch(self, run: "Run") -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_epoch(run)

    def on_end(self, run: "Run") -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_end(run)


class ProgressBar(Callback):
    """A bar on the terminal, with the epoch, the loss and the time that is left.

    Parameters
    ----------
    title : shown until the first step is over
    """

    def __init__(self, title: str = "training"):
        self.title = title
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_start(self, run: "Run") -> None:
        """Begin a bar as long as the run."""
        if is_main_process():
            self._bar = progress_bar()
            self._task = self._bar.add_task(self.title, total=run.steps, completed=run.step)
            self._bar.start()

    def on_step(self, run: "Run") -> None:
        """Move it."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=run.step, description=run.status)

    def on_end(self, run: "Run") -> None:
        """Leave it as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
