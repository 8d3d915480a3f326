"""The last step: what sub-networks become in other number formats, and with early exits."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.classification.classifier import Classifier
from attnlab.compression.comparing import compare
from attnlab.compression.early_exits import early_exit
from attnlab.datasets.splits import Splits
from attnlab.economics.formats import FORMATS, NumberFormat, check_formats, in_format

__all__ = ["variants"]


def variants(
    whole: Classifier,
    smaller: Mapping[Any, Classifier],
    splits: Splits,
    formats: Sequence[NumberFormat] = FORMATS,
    most_lost: float | None = 0.5,
    **how: Any,
) -> pd.DataFrame:
    """Measure classifiers in every number format, and with early exits, side by side on dev.

    Parameters
    ----------
    whole : what all are compared with
    smaller : classifiers by name, such as the row of a `SearchResult`
    splits : early exits are fitted to train; their thresholds are chosen on dev
    formats : "float32", "int8" as ``clf.export(folder, "int8")`` writes it
    most_lost : points of accuracy that early exits may cost, see `compression.early_exit`, which
        compute in float32; None leaves them out
    how : for `compression.compare`, such as ``seconds``

    Returns
    -------
    DataFrame, a row for the whole classifier and one for each variant: ``row`` (its name),
    ``number_format``, ``threshold`` (of early exit, 0 where nothing leaves; NaN without), ``exits``
    (layers that a text goes through on average), and what `compression.compare` tells: accuracy
    with its interval, the difference from the whole, megabytes of the files, milliseconds

    Notes
    -----
    Thresholds are chosen and measured on the same texts: measure what you choose on test.
    """
    check_formats(formats)
    models: dict[str, Any] = {"whole": whole}
    about: list[dict[str, Any]] = [{"row": "whole", "number_format": "float32"}]
    with contextlib.ExitStack() as open_ones:
        for name, clf in smaller.items():
            for each in formats:
                models[f"{name} {each}"] = open_ones.enter_context(in_format(clf, each))
                about.append({"row": name, "number_format": each})
            if most_lost is not None and clf.layers > 1:
                leaving = early_exit(clf, splits, most_lost=most_lost)
                exits = leaving.predict(splits.dev.texts).exits
                models[f"{name} early exit"] = leaving
                left = {"threshold": leaving.threshold, "exits": float(np.mean(exits)) + 1}
                about.append({"row": name, "number_format": "float32", **left})
        table = compare(models, splits.dev, **{"memory": False} | how)
    first = pd.DataFrame(about, columns=["row", "number_format", "threshold", "exits"])
    for position, name in enumerate(first):
        table.insert(position, name, first[name])
    return table


def __dir__() -> list[str]:
    return sorted(__all__)
