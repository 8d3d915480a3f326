"""Series are read from either form of table, whole, and what cannot be read is named."""

import numpy as np
import pandas as pd
import pytest

from attnlab import datasets
from attnlab.errors import DataError


def made(count=12, seed=0):
    rng = np.random.default_rng(seed)
    series = [rng.normal(size=8 + index).round(3).astype(np.float32) for index in range(count)]
    return series, ["kettle" if index % 2 else "lamp" for index in range(count)]


def as_long(path, series, labels):
    rows = [
        (f"s{number}", label, value)
        for number, (values, label) in enumerate(zip(series, labels, strict=True))
        for value in values
    ]
    pd.DataFrame(rows, columns=["series", "label", "value"]).to_csv(path, index=False)
    return path


def as_wide(path, series, labels):
    frame = pd.DataFrame([values.tolist() for values in series])
    frame.insert(2, "label", labels)  # it may stand anywhere
    frame.to_csv(path, index=False)
    return path


def sorted_series(splits):
    parts = (splits.train, splits.dev, splits.test)
    return sorted(
        (part.label_names[label], values.tolist())
        for part in parts
        for values, label in zip(part.series, part.labels, strict=True)
    )


def test_both_forms_of_a_table_give_the_same_series_of_unequal_lengths(tmp_path):
    series, labels = made()
    long = datasets.load_series(as_long(tmp_path / "long.csv", series, labels))
    wide = datasets.load_series(as_wide(tmp_path / "wide.csv", series, labels))
    given = sorted((label, values.tolist()) for values, label in zip(series, labels, strict=True))
    assert sorted_series(long) == sorted_series(wide) == given
    assert (len(long.train), len(long.dev), len(long.test)) == (8, 2, 2)
    assert long.train.name == "long" and "8 series of" in repr(long.train)


def test_copies_of_a_series_stand_on_one_side(tmp_path):
    series, labels = made()
    doubled = as_long(tmp_path / "twice.csv", series * 2, labels * 2)
    splits = datasets.load_series(doubled)
    sides = [
        {values.tobytes() for values in part.series}
        for part in (splits.train, splits.dev, splits.test)
    ]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("label,value", "kind,value"), "no column 'label'"),
        (("s3,kettle,", "s3,lamp,"), r"series 's3' the label"),
        (("s3,kettle,", "s3,,"), "has no label"),
    ],
)
def test_what_is_wrong_with_a_long_table_is_named(tmp_path, change, told):
    path = as_long(tmp_path / "long.csv", *made())
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(DataError, match=told):
        datasets.load_series(path)


@pytest.mark.parametrize("gap", ["", "NaN", "inf", "much"])
def test_a_gap_within_a_series_is_refused_with_its_line(tmp_path, gap):
    path = tmp_path / "wide.csv"
    header = "label," + ",".join(f"v{number}" for number in range(9))
    path.write_text(f"{header}\nlamp,1,2,3,{gap},5,6,7,8,9\n")
    with pytest.raises(DataError, match=rf"Line 2 of wide.csv has the value '{gap}'"):
        datasets.load_series(path)


def test_short_series_no_rows_and_numbers_that_are_none_are_refused(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("label,a,b\nlamp,1,2\n")
    with pytest.raises(DataError, match="holds 2 values; a series needs at least 8"):
        datasets.load_series(path)
    path.write_text("label,a,b\n")
    with pytest.raises(DataError, match="no rows"):
        datasets.load_series(path)
    with pytest.raises(DataError, match="Value 2 of series 1 of mine is nan"):
        datasets.SeriesDataset([np.array([1, np.nan, *range(8)])], [0], ["lamp"], "mine")
    with pytest.raises(DataError, match=r"shape \(2, 8\)"):
        datasets.SeriesDataset([np.zeros((2, 8))], [0], ["lamp"], "mine")


def test_the_current_of_appliances():
    splits = datasets.load_series("appliances")
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [426, 106, 537]
    assert len(splits.train.label_names) == 11 == len(set(splits.dev.labels))
    known = {values.tobytes() for part in (splits.train, splits.dev) for values in part.series}
    assert not known & {values.tobytes() for values in splits.test.series}
    counts = np.bincount(splits.test.labels)
    assert splits.test.label_names[counts.argmax()] == "compact fluorescent lamp"
    assert splits.test.label_names[counts.argmin()] == "washing machine"
