"""What a search found: the best model inside the budget, the frontier, and what more would buy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.classification.saving import refuse_finished
from attnlab.classification.structure import noted
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.economics.budgets import COSTS, Budget
from attnlab.economics.formats import FORMATS, NumberFormat, in_format, on_cpu
from attnlab.economics.frontier import frontier, shadow_prices
from attnlab.economics.plans import Plan
from attnlab.economics.points import Point
from attnlab.economics.variants import variants
from attnlab.errors import AttnlabError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.scores import Comparison, compare_scores
from attnlab.statistics import paired_bootstrap, share_interval

__all__ = ["SearchResult"]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    clf : Classifier that was searched, whole
    splits : its data; test is looked at by `on_test` alone
    dev : those texts of dev that sub-networks were compared on
    budget : Budget
    points : list of Point, those measured, the whole classifier first
    interrupted : whether it was stopped before its time
    repair : calibration texts that every sub-network was repaired with, or None
    """

    clf: Classifier
    splits: Splits
    dev: TextDataset
    budget: Budget
    points: Sequence[Point]
    interrupted: bool = False
    repair: Sequence[Text] | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """What was measured, a DataFrame with a row per sub-network, in order.

        ``origin`` (who chose it), ``number_format``, ``accuracy`` on dev with ``ci_low`` and
        ``ci_high`` (95 %, Wilson 1927), ``loss``, the costs by name,
        ``spent`` (share of the budget), ``inside`` (the budget), ``layers``, ``heads`` and
        ``neurons`` that stay, ``seconds``
        """
        rows = []
        for point in self.points:
            n = len(point.correct)
            low, high = share_interval(int(point.correct.sum()), n)
            spent, plan = self.budget.spent(point.costs), point.plan
            rows.append(
                {
                    "origin": point.origin,
                    "number_format": point.number_format,
                    "accuracy": point.accuracy,
                    "ci_low": low,
                    "ci_high": high,
                    "loss": point.loss,
                    **{name: point.costs.get(name, np.nan) for name in COSTS},
                    "spent": spent,
                    "inside": self.budget.allows(point.costs),
                    "layers": len(plan.layers),
                    "heads": sum(map(len, plan.heads)),
                    "neurons": sum(map(len, plan.neurons)),
                    "seconds": point.seconds,
                }
            )
        return pd.DataFrame(rows)

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer on ``dev`` is right, (P, N), bool, a row for each of the table."""
        return np.array([point.correct for point in self.points])

    @cached_property
    def chosen(self) -> int:
        """The row of the table that is chosen: the most accurate inside the budget.

        Of several as accurate, the one with the lowest loss.
        """
        inside = self.table[self.table["inside"]]
        if inside.empty:
            raise AttnlabError(
                "No sub-network inside the budget was measured yet. Give the search more minutes."
            )
        order = inside.sort_values(["accuracy", "loss"], ascending=[False, True], kind="stable")
        return int(order.index[0])

    @property
    def plan(self) -> Plan:
        """What stays of the classifier in the chosen sub-network."""
        return self.points[self.chosen].plan

    @cached_property
    def best(self) -> Classifier:
        """The chosen sub-network: a smaller classifier, which predicts and saves like any other.

        Its weights are in float32 here; `save` writes it in the ``number_format`` that was chosen.
        `compression.steps` of it ends with the budget that it was searched for.
        """
        best, budget = self.plan.apply(self.clf, self.repair), self.budget
        noted(best.model, "search", **budget.limits, tokens=budget.tokens, batch=budget.batch)
        return best

    @property
    def number_format(self) -> NumberFormat:
        """That of the chosen sub-network, "float32" or "int8"."""
        return self.points[self.chosen].number_format

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the chosen sub-network, in its number format, for `load_classifier`.

        Parameters
        ----------
        folder : for the model; with int8 an export for ONNX Runtime, whose card tells accuracy
            before and after on ``dev``
        overwrite : put it in the place of a finished model
        """
        refuse_finished(folder, resume=False, overwrite=overwrite)
        if self.number_format == "float32":
            return self.best.save(folder)
        return on_cpu(self.best).export(folder, "int8", overwrite=True, data=self.dev)

    def variants(
        self, formats: Sequence[NumberFormat] = FORMATS, most_lost: float | None = 0.5, **how: Any
    ) -> pd.DataFrame:
        """Measure the chosen one and the frontier in every number format, and with early exits.

        See `economics.variants`.
        """
        rows = list(dict.fromkeys([self.chosen, *self.frontier().index]))
        plans = {row: self.points[row].plan.apply(self.clf, self.repair) for row in rows}
        splits = replace(self.splits, dev=self.dev)
        return variants(self.clf, plans, splits, formats, most_lost, **how)

    def frontier(self, cost: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Return the sub-networks that are better than all that cost no more.

        Parameters
        ----------
        cost : of "parameters", "flops", "megabytes", "latency_ms", or several; default the first
            that the budget limits

        See `economics.frontier`; the index is that of ``table``.
        """
        return frontier(self.table, self.correct, cost or self._first_cost)

    def prices(self, cost: str | None = None) -> pd.DataFrame:
        """Return what one more unit of a cost buys along the frontier; see `shadow_prices`."""
        return shadow_prices(self.table, self.correct, cost or self._first_cost)

    def above_chance(self) -> tuple[float, float, float]:
        """Return by how much the chosen one beats chance on dev, with its 95 % interval.

        Chance is the mean accuracy of the random sub-networks that spend no less than 95 % of the
        budget; the interval is a paired bootstrap over texts.

        Raises
        ------
        AttnlabError : none was drawn yet
        """
        rows = self.table.query("origin == 'random' and inside and spent >= 0.95").index
        if not len(rows):
            raise AttnlabError(
                "No random sub-network that spends the budget was measured yet. Give the search "
                "more minutes."
            )
        correct = self.correct.astype(float)
        difference = correct[self.chosen] - correct[rows].mean(0)
        low, high = paired_bootstrap(difference)
        return float(difference.mean()), float(low), float(high)

    def on_test(self) -> Comparison:
        """Compare the whole classifier with the chosen one on test, once: later calls repeat it."""
        return self._on_test

    @cached_property
    def _on_test(self) -> Comparison:
        test = self.splits.test
        whole = Evaluator(self.clf, test)
        with in_format(self.best, self.number_format) as best:
            scores = whole.score(), Evaluator(best, test).score()
        return compare_scores(*scores, test, whole.labels, self.clf.label_names)

    @property
    def _first_cost(self) -> str:
        return next(iter(self.budget.limits))

    def __repr__(self) -> str:
        row = self.table.loc[self.chosen]
        return (
            f"SearchResult({len(self.points)} sub-networks{', interrupted' * self.interrupted}, "
            f"best inside {self.budget!r}: dev accuracy {row['accuracy']:.1%}, whole classifier "
            f"{self.table['accuracy'].iloc[0]:.1%}, {self.plan!r})"
        )


def __dir__() -> list[str]:
    return sorted(__all__)
