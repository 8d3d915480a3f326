"""Answers to dates, sorted by what became of them."""

import pytest

from attnlab.datasets.pairs import ParallelDataset
from attnlab.errors import AttnlabError
from attnlab.translation import answer_shares, date_answers, is_date


class Writes:
    """A translator that gives the answers it was made with."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def translate(self, sources):
        return self.answers


def _pairs(kinds, targets):
    return ParallelDataset([f"fr: {n}" for n in range(len(targets))], targets, "days", kinds=kinds)


@pytest.mark.parametrize(
    ("kind", "found", "outcome"),
    [
        ("new", "2021-03-04", "right"),
        ("new", "2021-04-03", "another day"),
        ("either-order", "2021-04-04", "another day"),
        ("borrowed", "2021-02-30", "no day"),
        ("borrowed", "", "no day"),
    ],
)
def test_each_answer_has_its_outcome(kind, found, outcome):
    answers = date_answers(Writes(found), _pairs([kind], ["2021-03-04"]))
    assert answers["outcome"].tolist() == [outcome]


@pytest.mark.parametrize(
    ("kind", "found", "by_tag"),
    [
        ("other-order", "2036-22-08", True),  # a month that does not exist
        ("other-order", "2036-02-08", True),  # another month
        ("other-order", "2036-08-22", False),  # right
        ("other-order", "2006-02-08", False),  # another year
        ("other-order", "2036-0008", False),
        ("borrowed", "2036-22-08", False),  # nothing was swapped
    ],
)
def test_of_a_swapped_date_the_tag_may_say_where_the_day_stands(kind, found, by_tag):
    answers = date_answers(Writes(found), _pairs([kind], ["2036-08-22"]))
    assert answers["day_by_tag"].tolist() == [by_tag]


def test_shares_sum_to_one_and_kinds_stand_in_the_order_of_the_lesson():
    pairs = _pairs(["new", "left-out", "new"], ["2021-03-04"] * 3)
    shares = answer_shares(date_answers(Writes("2021-03-04", "2021-03-04", "x"), pairs))
    assert shares.index.tolist() == ["left-out", "new"]
    assert shares.loc["new"].tolist() == [0.5, 0, 0.5]


def test_only_the_form_of_the_standard_is_a_date():
    assert is_date("2024-02-29")
    assert not any(map(is_date, ("2023-02-29", "20240229", "2024-2-9", "")))


def test_pairs_without_kinds_are_refused():
    with pytest.raises(AttnlabError, match="no kinds"):
        date_answers(Writes("2021-03-04"), _pairs(None, ["2021-03-04"]))
