"""The softmax desk: what temperature, d_k and the number of keys do to weights and their gradient.

The view is in static/softmax.js; what it draws is made in softmax_report.py.
"""

from typing import Any

import traitlets

from attnlab.show import plots
from attnlab.show.plots.desks import softmax_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.softmax_report import softmax_report
from attnlab.show.widgets.spoken import SpokenDesk


class SoftmaxDesk(SpokenDesk, ReportDesk):
    """A desk for the softmax of one query: scores, weights, entropy and gradient size.

    Parameters
    ----------
    temperature, width, keys, scaled, seed : what the controls stand at first, and after "reset";
        see `softmax_report`
    gradient : whether entropy, effective keys and the gradient are shown beside scores and weights

    Attributes
    ----------
    settings : dict, what the controls say now. `set` changes some of them.
    report : dict, what is drawn: the `softmax_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Example
    -------
    >>> desk = SoftmaxDesk(scaled=False)
    >>> desk.set(width=512)
    >>> round(desk.report["predicted"], 1)  # √512
    22.6
    """

    _esm = script("softmax")
    _css = style("charts", "softmax")
    gradient = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        temperature: float = 1.0,
        width: int = 64,
        keys: int = 12,
        scaled: bool = True,
        # an ordinary draw: in some, as in 0, two keys tie and hide what division is good for
        seed: int = 11,
        gradient: bool = True,
    ):
        super().__init__(softmax_report(temperature, width, keys, scaled, seed), gradient=gradient)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return softmax_desk(self._report_to_draw(), self.gradient)

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `softmax_report` of these settings."""
        return softmax_report(**settings)
