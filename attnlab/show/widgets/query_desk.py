"""The query desk: one head with two numbers to a vector, in which everything can be dragged.

The view is in static/query.js; what it draws is made in query_report.py.
"""

from collections.abc import Sequence
from typing import Any

from attnlab.show import plots
from attnlab.show.plots.query import query_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.query_report import Pairs, query_report
from attnlab.show.widgets.spoken import SpokenDesk


class QueryDesk(SpokenDesk, ReportDesk):
    """A desk for one head by hand: drag a query among keys, and see weights and mixture follow.

    Parameters
    ----------
    words : tokens that the query meets
    query, keys, values : where they stand at first, and after "reset"; see `query_report`

    Attributes
    ----------
    settings : dict, where query, keys and values are now. `set` moves some of them.
    report : dict, what is drawn: the `query_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Example
    -------
    >>> desk = QueryDesk()
    >>> [round(weight, 2) for weight in desk.report["weights"]]
    [0.58, 0.14, 0.28]
    >>> desk.set(query=[0, 0])  # equally far from all keys
    >>> [round(weight, 2) for weight in desk.report["weights"]]
    [0.33, 0.33, 0.33]
    """

    _esm = script("query")
    _css = style("query")

    def __init__(
        self,
        words: Sequence[str] = ("hours", "life", "back"),
        query: Sequence[float] = (2, 1),
        keys: Pairs = ((1, 1), (0, 1), (1, 0)),
        values: Pairs = ((2, 0), (0, 3), (1, 0)),
    ):
        self._words = words
        super().__init__(query_report(words, query, keys, values))

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return query_desk(self._report_to_draw())

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `query_report` of these settings."""
        return query_report(self._words, **settings)
