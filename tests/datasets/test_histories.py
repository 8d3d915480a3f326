"""Histories keep the order of time, hold out what came last, and say where order is in doubt."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest

from attnlab import datasets
from attnlab.datasets.histories import _Tables
from attnlab.errors import DataError


def table(people=8, items=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{person}", f"i{item}", time)
        for person in range(people)
        for time, item in enumerate(rng.permutation(items))
    ]
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def test_a_history_is_in_order_of_time_whatever_the_order_of_the_table():
    frame = table()
    made = datasets.histories_from_frame(frame.sample(frac=1, random_state=1), fewest=2)
    for person, sequence in enumerate(made.sequences):
        own = frame[frame["user"] == f"p{person}"].sort_values("time")["item"]
        assert [made.items[number] for number in sequence] == own.tolist()
    assert not any(tied.any() for tied in made.tied)


def test_the_last_item_is_for_test_the_one_before_for_dev_and_neither_is_learned_from():
    made = datasets.histories_from_frame(table(), fewest=2)
    for part, known in (("dev", -2), ("test", -1)):
        for past, target, whole in zip(
            made.before(part), made.targets(part), made.sequences, strict=True
        ):
            assert past.tolist() == whole[:known].tolist() and target == whole[known]
    assert [past.tolist() for past in made.before("train")] == [
        whole[:-2].tolist() for whole in made.sequences
    ]
    with pytest.raises(DataError, match="dev, test"):
        made.targets("train")


def test_ties_are_marked_drawn_from_a_seed_and_put_the_last_items_in_doubt():
    frame = table().assign(time=lambda rows: rows["time"].replace({5: 4}))
    one, same, other = (
        datasets.histories_from_frame(frame, fewest=2, seed=seed) for seed in (0, 0, 1)
    )
    assert all(tied.tolist() == [False] * 5 + [True] for tied in one.tied)
    assert one.share_tied == pytest.approx(1 / 6)
    assert one.in_doubt("test").all() and one.in_doubt("dev").all()
    assert all(map(np.array_equal, one.sequences, same.sequences))
    assert not all(map(np.array_equal, one.sequences, other.sequences))


def test_only_the_first_time_counts_and_rare_people_and_items_are_left_out():
    frame = pd.concat(
        [
            table(),
            pd.DataFrame(
                {
                    "user": ["p0", "alone", "p1"],
                    "item": ["i0", "i0", "unheard"],
                    "time": [99, 1, 50],
                }
            ),
        ]
    )
    made = datasets.histories_from_frame(frame, fewest=2)
    assert len(made) == 8 and made.items == [f"i{number}" for number in range(6)]
    assert all(len(set(sequence)) == len(sequence) == 6 for sequence in made.sequences)
    with pytest.raises(DataError, match=r"Set fewest=\.\.\. lower"):
        datasets.histories_from_frame(frame, fewest=9)


def test_your_own_table_is_read_with_numbers_or_dates_and_a_wrong_cell_is_named(tmp_path):
    frame = table()
    numbers, dates = tmp_path / "numbers.csv", tmp_path / "dates.tsv"
    frame.to_csv(numbers, index=False)
    day = pd.Timestamp("2026-01-01") + pd.to_timedelta(frame["time"], unit="D")
    frame.assign(time=day.dt.strftime("%Y-%m-%d")).rename(columns={"user": "who"}).to_csv(
        dates, index=False, sep="\t"
    )
    made = datasets.load_histories(numbers, fewest=2)
    assert made.name == "numbers"
    other = datasets.load_histories(dates, user="who", fewest=2)
    assert all(map(np.array_equal, made.sequences, other.sequences))
    with pytest.raises(DataError, match=r"no column 'user'.*user"):
        datasets.load_histories(dates, fewest=2)
    numbers.write_text(numbers.read_text().replace(",3\n", ",yesterday\n", 1))
    with pytest.raises(DataError, match=r"Line \d+ of numbers.csv has the time 'yesterday'"):
        datasets.load_histories(numbers)
    numbers.write_text("user,item,time\na,,1\n")
    with pytest.raises(DataError, match=r"Line 2 of numbers.csv has an empty cell"):
        datasets.load_histories(numbers)


def test_a_pickle_that_holds_anything_but_a_table_is_refused():
    with pytest.raises(DataError, match="no part of a table"):
        _Tables(io.BytesIO(pickle.dumps(pytest.fail))).load()


@pytest.mark.slow
def test_the_films_that_people_rated():
    films = datasets.load_histories("films")
    assert (len(films), len(films.items)) == (671, 3496)
    assert sum(map(len, films.sequences)) == 90072
    assert len(set(films.items)) == len(films.items)
