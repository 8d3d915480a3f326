"""The budget explorer: move the limits, and see the best model inside them, and what it keeps.

The view is in static/budget.js; what it draws is made in budget_report.py.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from attnlab import economics
from attnlab.classification.base import Stopped
from attnlab.classification.classifier import Classifier
from attnlab.compression.copies import copied
from attnlab.datasets.splits import Splits
from attnlab.economics.budgets import Budget
from attnlab.economics.results import SearchResult
from attnlab.economics.shapes import shape_of
from attnlab.errors import AttnlabError
from attnlab.show import plots
from attnlab.show.plots.budgets import explored_budget
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.budget_report import (
    budget_report,
    checked_table,
    first_settings,
    limits_of,
    scales_of,
    within,
)
from attnlab.show.widgets.budget_words import as_budget
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.live import LiveDesk
from attnlab.show.widgets.worker import Current
from attnlab.show.wording import counted


class BudgetExplorer(LiveDesk, ReportDesk):
    """A desk for a search inside a budget: other limits, the frontier, and what stays.

    Parameters
    ----------
    result : economics.SearchResult, finished or as far as it is
    check : DataFrame of `LatencyTable.check`, predicted and measured milliseconds to show, too

    Attributes
    ----------
    settings : dict of ``parameters``, ``flops``, ``megabytes``, ``latency_ms``, a limit or None
        each, and ``cost``, which accuracy is drawn against; `set` changes some of them
    report : dict, what is drawn: the `budget_report`
    code : str, the limits as Python code
    error : str, what went wrong; empty if nothing did

    Notes
    -----
    Nothing is measured when a limit moves: of what the search has measured, the most accurate
    inside the limits is chosen, as `SearchResult.chosen` has it. `BudgetExplorer.search` searches
    beside the cell; a search in a cell takes ``callback=desk.take``.

    Raises
    ------
    AttnlabError : no SearchResult, or another table than `LatencyTable.check` returns
    """

    _esm = script("budget")
    _css = style("charts", "budget")
    _unforeseen = "This cannot be drawn: {}. The search goes on."

    def __init__(self, result: SearchResult, check: pd.DataFrame | None = None):
        if not isinstance(result, SearchResult):
            raise AttnlabError(
                f"The budget explorer shows a SearchResult, got a {type(result).__name__}. "
                "al.economics.search(clf, splits, budget) returns one."
            )
        self._searched, self._shape = result, shape_of(result.clf)
        self._check = None if check is None else checked_table(check)
        self._state, self._doing = "stopped" if result.interrupted else "finished", ""
        self._limited: SearchResult | None = None
        self._last: int | None = None  # the row that was chosen when something fitted
        super().__init__(self._report(first_settings(result.budget)))
        self._keep()

    @classmethod
    def search(
        cls,
        clf: Classifier,
        splits: Splits,
        budget: Budget,
        *,
        minutes: float = 3.0,
        check: pd.DataFrame | None = None,
        callback: Callable[[SearchResult], None] | None = None,
        **options: Any,
    ) -> "BudgetExplorer":
        """Search beside the cell, and return the desk that shows what is found meanwhile.

        Parameters
        ----------
        clf, splits, budget, minutes : as for `economics.search`; it works on a copy of ``clf``
        check : as for the class
        callback : called with the SearchResult so far, as by the search
        options : others of `economics.search`, such as ``latency=`` and ``folder=``
        """
        desk = cls(SearchResult(clf, splits, splits.dev, budget, ()), check)
        desk._begin(clf, minutes, callback, options)
        return desk

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the report of these settings on what is measured so far."""
        return self._report(settings)

    def take(self, result: SearchResult) -> None:
        """Show this, as far as a search is: for its ``callback=``."""
        with self._lock:
            self._searched = result
            if self._state in ("finished", "stopped"):  # a search in a cell
                self._state = "stopped" if result.interrupted else "finished"
            self._ask()

    def stop(self) -> None:
        """Let the search end with the sub-network under way; what is measured stays."""
        with self._lock:
            if self._state == "searching":
                self._state, self._doing = "stopping", "the sub-network under way is finished"
                self._redraw()

    @property
    def budget(self) -> Budget | None:
        """The limits as they stand; None where all are off."""
        return self.result.budget if limits_of(self.report["settings"]) else None

    @property
    def result(self) -> SearchResult:
        """The search inside these limits, with its ``best``, ``frontier()`` and ``on_test()``."""
        with self._lock:
            settings, searched = self.report["settings"], self._searched
            limited = within(searched, settings, scales_of(searched, self._shape))
            if (
                self._limited is None
                or self._limited.points is not limited.points
                or self._limited.budget != limited.budget
            ):
                self._limited = limited
            return self._limited

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel.

        Raises
        ------
        AttnlabError : nothing is measured yet
        """
        if not self.report["count"]:
            raise AttnlabError("Nothing is measured yet. Wait for the search: desk.wait().")
        return explored_budget(self.report)

    def __repr__(self) -> str:
        return f"BudgetExplorer({self.report['remark']})"

    # What happens when something moves, or was measured

    def _report(self, settings: dict[str, Any]) -> dict[str, Any]:
        return budget_report(
            self._searched, self._shape, settings, self._last, self._state, self._doing, self._check
        )

    def _draw(self) -> None:
        super()._draw()
        self._keep()

    def _keep(self) -> None:
        if self.report["row"] is not None:
            self._last = self.report["row"]

    def _draw_newest(self) -> None:
        self._draw()

    def _end(self) -> None:
        """All of a search in a cell was taken."""

    def _as_code(self) -> str:
        budget = self._searched.budget
        return as_budget(limits_of(self.report["settings"]), budget.tokens, budget.batch)

    def _obey(self, content: dict[str, Any]) -> None:
        if content == {"action": "stop"}:
            self.stop()

    # The search, in the desk's thread

    def _begin(
        self,
        clf: Classifier,
        minutes: float,
        callback: Callable[[SearchResult], None] | None,
        options: dict[str, Any],
    ) -> None:
        # a copy: gradients are taken, while others may ask the classifier
        searched, began = copied(clf), time.monotonic()
        splits, budget = self._searched.splits, self._searched.budget
        self._state, self._doing = "searching", "measuring importance"
        self._redraw()

        def search(current: Current) -> None:
            def take(found: SearchResult) -> None:
                if not current():
                    raise Stopped
                found = replace(found, clf=clf)
                with self._lock:
                    passed = (time.monotonic() - began) / 60
                    if self._state == "searching":
                        self._doing = (
                            f"{counted(len(found.points), 'sub-network')}, "
                            f"{passed:.1f} of {minutes:g} minutes"
                        )
                    self.take(found)
                if callback is not None:
                    callback(found)
                if self._state == "stopping":
                    raise Stopped

            interrupted = True
            try:
                found = economics.search(
                    searched, splits, budget, minutes=minutes, callback=take, **options
                )
                interrupted = found.interrupted
                self._searched = replace(found, clf=clf)
            finally:
                with self._lock:
                    self._state, self._doing = "stopped" if interrupted else "finished", ""
                    self._redraw()

        self._work.start("search", search)
