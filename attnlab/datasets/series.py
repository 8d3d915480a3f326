"""Series with a label each, such as the current that an appliance draws."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnlab.datasets.labelled import Labelled
from attnlab.datasets.splits import Splits, split_by
from attnlab.errors import DataError

SHORTEST = 8  # values of a series
_APPLIANCES = [
    "air conditioner",
    "compact fluorescent lamp",
    "fan",
    "fridge",
    "hairdryer",
    "heater",
    "incandescent light bulb",
    "laptop",
    "microwave",
    "vacuum",
    "washing machine",
]


@dataclass(frozen=True, eq=False, repr=False)
class SeriesDataset(Labelled):
    """Labelled series of any lengths.

    Attributes
    ----------
    series : list of N float32 arrays, shape (length,) each, oldest value first
    labels : list of N int, indices into label_names
    label_names : list of str
    name : str

    Raises
    ------
    DataError : a series that is no row of at least 8 finite numbers, other than one label for each
    """

    series: list[np.ndarray]
    labels: list[int]
    label_names: list[str]
    name: str

    examples = "series"

    def __post_init__(self) -> None:
        for number, values in enumerate(self.series, 1):
            if np.ndim(values) != 1 or len(values) < SHORTEST:
                raise DataError(
                    f"Series {number} of {self.name} has the shape {np.shape(values)}. Expected a "
                    f"row of at least {SHORTEST} values. Leave shorter ones out."
                )
            if not np.isfinite(values).all():
                place = int((~np.isfinite(values)).argmax())
                raise DataError(
                    f"Value {place + 1} of series {number} of {self.name} is {values[place]}. Fill "
                    "such gaps, or leave the series out."
                )
        self.check_labels(len(self.series))

    def select(self, indices: Sequence[int] | np.ndarray) -> "SeriesDataset":
        """The series with these indices, in this order."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            series=[self.series[index] for index in chosen],
            labels=[self.labels[index] for index in chosen],
        )

    def __repr__(self) -> str:
        lengths = [len(values) for values in self.series] or [0]
        return (
            f"SeriesDataset({self.name!r}, {len(self):,} series of {min(lengths):,} to "
            f"{max(lengths):,} values, labels {self.label_names})"
        )


def appliances(name: str, path: Path, test_only: bool) -> Splits:
    """Parser of PLAID, in the package sktime: a fifth of its training part becomes dev."""
    with zipfile.ZipFile(path) as archive:
        whole, test = (
            _from_ts(
                archive.read(f"sktime/datasets/data/PLAID/PLAID_{part}.ts").decode("utf-8"), name
            )
            for part in ("TRAIN", "TEST")
        )
    known = set(series_hashes(test))
    apart = [row for row, key in enumerate(series_hashes(whole)) if key not in known]
    learned = split_by(series_hashes(whole.select(apart)), whole.select(apart), dev=0.2, test=0)
    return Splits(learned.train, learned.dev, test)


def _from_ts(text: str, name: str) -> SeriesDataset:
    """Read the format ``.ts``: after "@data" a line for each series, its label behind a colon."""
    lines = text.split("@data", 1)[1].splitlines()
    rows = [line.rsplit(":", 1) for line in lines if line.strip()]
    series = [np.array(values.split(","), dtype=np.float32) for values, _ in rows]
    return SeriesDataset(series, [int(label) for _, label in rows], _APPLIANCES, name)


def series_hashes(data: SeriesDataset) -> list[str]:
    """A hash of each series: copies have the same, and it orders them alike everywhere."""
    return [hashlib.sha256(values.tobytes()).hexdigest() for values in data.series]
