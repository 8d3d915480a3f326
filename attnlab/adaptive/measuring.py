"""What each way to answer is worth and costs, measured beforehand, for a controller."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlab.adaptive.controller import OperatingPoint
from attnlab.compression.comparing import measured
from attnlab.datasets.texts import TextDataset
from attnlab.errors import SettingsError

__all__ = ["measure_points"]

_BATCH = 32


def measure_points(
    models: Mapping[str, Any], data: TextDataset, seconds: float = 20.0
) -> list[OperatingPoint]:
    """Measure accuracy and cost of each way to answer; return them, the dearest first.

    Parameters
    ----------
    models : one or more, by name, the whole classifier first, with ``predict(texts)`` and
        ``label_names``: classifiers, early exits, classifiers that go on with fewer tokens
    data : labelled texts
    seconds : that timing takes; all models take turns, on one thread

    Returns
    -------
    points, without those that cost as much as another and answer no better; the first stays, as on
    these texts another may be better by chance

    Raises
    ------
    DataError, ModelError : as `compression.compare`
    """
    if not models:
        raise SettingsError("There is no way to answer. Give one or more, by name.")
    table = measured(models, data, seconds=seconds, memory=False).set_index("name")
    most = max(getattr(model, "layers", 0) for model in models.values())
    points = [
        OperatingPoint(
            name,
            accuracy=float(table.loc[name, "accuracy"]),
            ms=float(table.loc[name, "ms_batch_32"]) / _BATCH,
            kept=_kept(model, data, most),
            classifier=model,
        )
        for name, model in models.items()
    ]
    first = points[0]
    points.sort(key=lambda point: -point.ms)
    return [
        point
        for place, point in enumerate(points)
        if point is first or all(point.accuracy > other.accuracy for other in points[place + 1 :])
    ]


def _kept(model: Any, data: TextDataset, most: int) -> float:
    """The share of attention that a model computes, of that of the deepest."""
    if hasattr(model, "kept"):
        return float(model.kept(data.texts))
    if hasattr(model, "every_layer"):  # early exits
        exits = model.predict(data.texts).exits
        return float(np.mean(exits + 1) / model.clf.layers)
    return getattr(model, "layers", most) / most if most else 1.0


def __dir__() -> list[str]:
    return sorted(__all__)
