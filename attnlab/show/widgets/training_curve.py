"""A curve that moves while a cell trains: loss, learning rate and dev accuracy.

The view is in static/curve.js; what it draws is made in curve_report.py.
"""

import math
from numbers import Integral

import traitlets

from attnlab.device import is_main_process
from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.curve_report import curve_report
from attnlab.show.widgets.live import LiveDesk
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.run import Run

MOST_RUNS = len(plots.RUN_COLOURS)


class TrainingCurve(LiveDesk, Callback):
    """A live curve of training loss, learning rate and dev accuracy, of one run or several.

    Of a translator the accuracy is the share of exact matches.

    Parameters
    ----------
    dev_texts : how many texts dev accuracy is measured on, as in ``len(splits.dev)``; adds its
        standard error
    guessing : loss of a model that guesses, such as ``math.log(2)`` for two classes; drawn as a
        grey line

    Attributes
    ----------
    report : dict, what is drawn: the `curve_report` of the runs
    error : str, why nothing new is drawn; empty if it is

    Notes
    -----
    Show it in the cell that trains, and give it as a callback::

        curve = al.TrainingCurve(len(splits.dev))
        display(curve)
        clf = al.finetune("minilm", splits, callbacks=[curve])

    or, to compare, ``callbacks=[curve.run("lora")]`` and then ``callbacks=[curve.run("full")]``.
    Where no kernel runs, as in an exported page, nothing is drawn: end with ``curve.picture()``,
    which stays.
    """

    _esm = script("curve")
    _css = style("charts", "curve")

    report = traitlets.Dict().tag(sync=True)

    def __init__(self, dev_texts: int | None = None, guessing: float | None = None):
        if dev_texts is not None and not (isinstance(dev_texts, Integral) and dev_texts > 0):
            raise AttnlabError(
                f"dev_texts is {dev_texts!r}; it is how many texts dev accuracy is measured on, "
                "such as len(splits.dev)."
            )
        if guessing is not None and not 0 < guessing < math.inf:
            raise AttnlabError(
                f"guessing is {guessing!r}; it is the loss of a model that guesses, such as "
                "math.log(2) for two classes."
            )
        self._dev_texts, self._guessing = dev_texts, guessing
        self._histories: dict[str, History] = {}
        self._steps: dict[str, int] = {}
        self._stopped: set[str] = set()
        super().__init__(report=curve_report({}, dev_texts=dev_texts, guessing=guessing))

    def __repr__(self) -> str:
        return f"TrainingCurve({self.report['remark']})"

    def on_step(self, run: Run) -> None:
        """Show how a run goes on. A new one takes the place of the one before."""
        if run.noted:
            self.show("training", run)

    def on_epoch(self, run: Run) -> None:
        """Show what was measured."""
        self.show("training", run)

    def run(self, name: str) -> Callback:
        """Return the callback of one of several runs; an earlier run of this name is replaced.

        Raises
        ------
        AttnlabError : more runs than can be told apart, or an empty name
        """
        if not isinstance(name, str) or not name.strip():
            raise AttnlabError(f"The name of a run is {name!r}. Give it a text, such as 'lora'.")
        if name not in self._histories and len(self._histories) >= MOST_RUNS:
            raise AttnlabError(
                f"This curve has {MOST_RUNS} runs already: {', '.join(self._histories)}. More "
                "could not be told apart. Begin another: al.TrainingCurve()."
            )
        return _NamedRun(self, name)

    def picture(self) -> plots.Picture:
        """The curve as a picture with its text alternative, which needs no kernel."""
        return plots.learning_curve(self._histories, self._dev_texts, self._guessing)

    # What happens when a history grows

    def show(self, name: str, run: Run) -> None:
        """Draw a run under this name."""
        if not is_main_process():
            return
        with self._lock:
            if run.history is not self._histories.get(name):
                self._stopped = set(self._histories)  # one run at a time: this one has just begun
            self._histories[name], self._steps[name] = run.history, run.steps
            self._stopped.discard(name)
            self._ask()

    def _draw_newest(self) -> None:
        self.report = curve_report(
            self._histories, self._steps, self._dev_texts, self._stopped, self._guessing
        )

    def _end(self) -> None:
        self._stopped |= set(self._histories)


class _NamedRun(Callback):
    """One of several runs of a curve."""

    def __init__(self, curve: TrainingCurve, name: str):
        self.curve, self.name = curve, name

    def on_step(self, run: Run) -> None:
        """Show a step."""
        if run.noted:
            self.curve.show(self.name, run)

    def on_epoch(self, run: Run) -> None:
        """Show what was measured."""
        self.curve.show(self.name, run)
