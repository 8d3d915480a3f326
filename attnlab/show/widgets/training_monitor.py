"""A monitor of attention while a cell trains: every head over steps, and what is out of line.

The view is in static/monitor.js; what it draws is made in monitor_report.py.
"""

from typing import Any

import pandas as pd
import traitlets
from transformers import TrainerCallback

from attnlab.balance.control_chart import episodes
from attnlab.balance.reading import MEASURES
from attnlab.balance.recorder import ForTrainer, Recorder
from attnlab.errors import AttnlabError, suggest
from attnlab.show import plots
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.live import LiveDesk
from attnlab.show.widgets.monitor_report import GRADIENT, monitor_report
from attnlab.training.callbacks import Callback


class TrainingMonitor(LiveDesk, ReportDesk, Callback):
    """A live picture of attention in training: measures of all heads, and what is out of line.

    Parameters
    ----------
    recorder : balance.Recorder, or texts for one of its own that measures every 25 steps
    measure : shown at first

    Attributes
    ----------
    settings : dict of ``measure``, ``layers``, ``layer``, ``head`` and ``pinned``; `set` changes
        some of them, as in ``monitor.set(measure="largest", layer=5, head=4)``
    recorder : what it shows
    found : DataFrame, of `balance.episodes`
    report : dict, what is drawn: the `monitor_report`
    error : str, why nothing new is drawn; empty if it is

    Notes
    -----
    When a run has ended, the head drawn strong is that of the strongest anomaly, unless another was
    chosen before.

    Show it in the cell that trains, and give it as a callback; it calls the recorder itself::

        monitor = al.TrainingMonitor(al.balance.Recorder(splits.dev.sample(32).texts))
        display(monitor)
        clf = al.finetune("minilm", splits, callbacks=[monitor])

    For `transformers.Trainer` pass ``callbacks=[monitor.callback()]``. Where no kernel runs,
    nothing is drawn: end with ``monitor.picture()``.
    """

    _esm = script("monitor")
    _css = style("grids", "charts", "monitor")

    palette = traitlets.Dict().tag(sync=True)

    def __init__(self, recorder: Recorder | list[str], measure: str = "entropy"):
        self.recorder = recorder if isinstance(recorder, Recorder) else Recorder(recorder)
        self._table, self._overall = self.recorder.table, self.recorder.overall
        self._total: int | None = None
        self._state = "training" if self._table.empty else "finished"
        if measure not in (*MEASURES, GRADIENT):
            raise AttnlabError(
                f"There is no measure {measure!r}. {suggest(measure, (*MEASURES, GRADIENT))}"
            )
        layers = 1 if self._table.empty else int(self._table["layer"].max()) + 1
        first = {"measure": measure, "layers": "all", "layer": layers - 1, "head": 0, "pinned": []}
        super().__init__(self._report(first), palette=palettes())
        if self._state == "finished":
            self._look_at_the_strongest()

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on what was recorded so far."""
        return self._report(settings)

    def on_start(self, run: Any) -> None:
        """Record and show what there is before the first step."""
        self._total = run.steps
        self.recorder.on_start(run)
        self._show(run)

    def on_step(self, run: Any) -> None:
        """Record and show a step."""
        self.recorder.on_step(run)
        self._show(run)

    def _show(self, run: Any) -> None:
        with self._lock:
            self._state = "finished" if run.step == self._total else "training"
            self._hear_of_the_cells_end()
            if run.step % self.recorder.every and self._state == "training":
                return
            # here and not in the thread that draws: the recorder may add to it meanwhile
            self._table, self._overall = self.recorder.table, self.recorder.overall
            self._ask()

    def callback(self) -> TrainerCallback:
        """Record and show the steps of `transformers.Trainer`, which must know the tokenizer."""
        return ForTrainer(self)

    @property
    def found(self) -> pd.DataFrame:
        """What was out of line so far: `balance.episodes` of the recorder's table."""
        return episodes(self.recorder.table)

    def picture(self) -> plots.Picture:
        """What the monitor shows as a picture with its text alternative, which needs no kernel.

        Raises
        ------
        AttnlabError : nothing is recorded yet
        """
        table = self.recorder.table
        if table.empty:
            raise AttnlabError(
                "Nothing is recorded yet. Train with it first: "
                "al.finetune(..., callbacks=[monitor])."
            )
        settings = self.report["settings"]
        heads = [(settings["layer"], settings["head"]), *map(tuple, settings["pinned"])]
        layer = None if settings["layers"] == "all" else settings["layers"]
        heads = [place for place in heads if layer in (None, place[0])]
        return plots.recording(
            table, settings["measure"], episodes(table), heads, self.recorder.overall, layer
        )

    def __repr__(self) -> str:
        return f"TrainingMonitor({self.report['remark']})"

    # What happens when something was recorded

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        return monitor_report(self._table, self._overall, settings, self._total, self._state)

    def _draw_newest(self) -> None:
        if self._state != "training":
            self._look_at_the_strongest()
        self._draw()

    def _look_at_the_strongest(self) -> None:
        """Choose the head of the strongest anomaly, if nobody has chosen a head."""
        chosen = ("layers", "layer", "head", "pinned")
        if any(self.settings[name] != self.start[name] for name in chosen):
            return
        found = episodes(self._table)
        if len(found):
            strongest = found.loc[found["strength"].idxmax()]
            place = {name: int(strongest[name]) for name in ("layer", "head")}
            self.settings = self.settings | place

    def _end(self) -> None:
        if self._state == "training":
            self._state = "finished" if self._total is None else "stopped"
        self._table, self._overall = self.recorder.table, self.recorder.overall
