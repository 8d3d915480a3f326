"""The history desk: take items out of a history or put others in, and see what is recommended.

The view is in static/history.js; what it draws is made in history_report.py.
"""

from typing import TYPE_CHECKING, Any

import traitlets

from attnlab.errors import DataError
from attnlab.show import plots
from attnlab.show.plots.desks import history_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.history_report import MOST_ADDED, history_report

if TYPE_CHECKING:
    from attnlab.applications.recommending import Recommender
    from attnlab.datasets.histories import Histories


class HistoryDesk(ReportDesk):
    """A desk for a recommender that reads histories.

    Take items out of a person's history, or put others in: the list of recommended items follows,
    with the rank that each had before. Choose a recommended item to see which items of the history
    it looks at, and how much it would lose without each.

    Parameters
    ----------
    recommender : `applications.Recommender`
    histories : whose last items are shown; its items are those of the recommender
    person : whose history is shown first

    Attributes
    ----------
    settings : dict of ``person``, ``out``, ``added`` and ``choice``, as in `history_report`; `set`
        changes some of them, as in ``desk.set(out=[0, 3])``
    report : dict, what is drawn: the `history_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Raises
    ------
    DataError : histories of other items
    """

    _esm = script("history")
    _css = style("history")

    items: traitlets.List[str] = traitlets.List().tag(sync=True)
    most_added = traitlets.Int(MOST_ADDED).tag(sync=True)

    def __init__(self, recommender: "Recommender", histories: "Histories", person: int = 0):
        if list(histories.items) != list(recommender.items):
            raise DataError(
                f"{histories!r} has other items than the recommender. Give the histories that it "
                "was trained on."
            )
        self._recommender, self._histories = recommender, histories
        super().__init__(
            self.compute(person=person, out=[], added=[], choice=None),
            items=list(recommender.items),
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `history_report` of these settings."""
        return history_report(self._recommender, self._histories, **settings)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return history_desk(self.report)
