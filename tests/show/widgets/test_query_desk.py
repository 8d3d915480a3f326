"""The query desk: what it draws, what it says of it, and what it refuses."""

import re

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from attnlab.errors import SettingsError
from attnlab.show import drawings
from attnlab.show.widgets.query_desk import QueryDesk
from attnlab.show.widgets.query_report import LIMITS, query_report

WORDS = ["hours", "life", "back"]
START = QueryDesk().start


def report(**changes):
    return query_report(WORDS, **START | changes)


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_weights_and_mixture_are_those_of_attention(seed):
    generator = torch.Generator().manual_seed(seed)
    query, keys, values = (
        torch.rand(rows, 2, generator=generator).double() * 3 - 1 for rows in (1, 3, 3)
    )
    found = report(query=query[0].tolist(), keys=keys.tolist(), values=values.tolist())
    expected = scaled_dot_product_attention(query, keys, values)
    weights = scaled_dot_product_attention(query, keys, torch.eye(3).double())
    torch.testing.assert_close(torch.tensor(found["mixture"]).double(), expected[0])
    torch.testing.assert_close(torch.tensor(found["weights"]).double(), weights[0])


@pytest.mark.parametrize("query", [(2, 1), (-1, 0.5), (0, 3)])
def test_a_key_reaches_as_far_in_the_direction_of_the_query_as_their_dot_product_says(query):
    found = report(query=query)
    length = torch.tensor(query).double().norm()
    for key, foot, dot in zip(START["keys"], found["feet"], found["dots"], strict=True):
        along = torch.tensor(foot).double() @ torch.tensor(query).double() / length
        assert along.item() == pytest.approx(dot / length.item())
        across = sum((k - f) * q for k, f, q in zip(key, foot, query, strict=True))
        assert across == pytest.approx(0)


def test_a_query_of_zeros_has_no_direction_and_gets_the_mean_of_the_values():
    found = report(query=(0, 0))
    assert found["feet"] == []
    assert found["weights"] == pytest.approx([1 / 3] * 3)
    assert found["mixture"] == pytest.approx([1, 1])
    assert "the mean of the values" in found["remark"]


def test_the_desk_begins_with_the_numbers_of_the_drawing():
    alt = drawings.head_by_hand().alt
    found = QueryDesk().report
    for word, weight in zip(found["words"], found["weights"], strict=True):
        assert f"“{word}” {weight:.2f}" in alt
    assert ", ".join(f"{number:.2f}" for number in found["mixture"]) in alt


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "“hours” gets most weight, 0.58: its key reaches furthest"),
        ({"query": (4, 4), "keys": [(4, 4), (0, 1), (1, 0)]}, "“hours” gets 1.00 of the weight"),
        ({"query": (1, 0)}, "“hours” and “back” get the same weight, 0.40"),
        ({"keys": [(1, 1)] * 3}, "each weight is 0.33"),
        ({"query": (-1, -1)}, "“life” and “back” get the same weight, 0.40"),
    ],
)
def test_it_says_what_is_to_be_noticed(changes, words):
    assert words in report(**changes)["remark"]


def test_both_planes_are_told_in_words():
    alt = report(query=(2, -0.5))["alt"]
    assert alt["asks"].startswith("The query (2, −0.5) among the keys: “hours” (1, 1), “life” (0,")
    assert "among the values: “hours” (2, 0)" in alt["mixes"]


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_moved_tip_redraws_the_desk():
    desk = QueryDesk()
    desk.settings = {**desk.settings, "query": [1, 2]}  # as the view sends it
    assert desk.report == report(query=[1, 2])
    desk.set(values=[[0, 0], [1, 1], [3, 3]])
    assert desk.report == report(query=[1, 2], values=[[0, 0], [1, 1], [3, 3]])
    desk.reset()
    assert desk.report == report()


def test_other_words_and_as_many_keys():
    desk = QueryDesk(["a", "b"], (1, 0), [(1, 0), (0, 1)], [(0, 0), (2, 2)])
    assert len(desk.report["weights"]) == 2
    exec(desk.code, {"desk": desk})
    assert desk.settings == desk.start


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": (1, 2, 3)}, "query is (1, 2, 3); here it is two numbers"),
        ({"query": "up"}, "query is 'up'; here it is two numbers"),
        ({"query": (5, 0)}, "query is (5, 0); here each number is from −2 to 4"),
        ({"query": (float("nan"), 0)}, "here each number is from −2 to 4"),
        ({"keys": [(1, 1)]}, "here it is 3 pairs of numbers, one for each word"),
        ({"keys": None}, "keys is None; here it is 3 pairs of numbers"),
        ({"values": [(9, 0), (0, 0), (1, 1)]}, "here each number is from −1 to 4"),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused_with_the_way_out(changes, words):
    with pytest.raises(SettingsError, match=re.escape(words)):
        report(**changes)
    desk = QueryDesk()
    with pytest.raises(SettingsError, match=re.escape(words)):
        desk.set(**changes)
    assert desk.settings == desk.start


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("hours", "it is a list of tokens"),
        ([1, 2, 3], "it is a list of tokens"),
        (["hours"], "There are 1 words; the desk has room for 2 to 5"),
        (list("abcdef"), "There are 6 words"),
    ],
)
def test_words_that_cannot_be_drawn_are_refused(words, told):
    with pytest.raises(SettingsError, match=re.escape(told)):
        QueryDesk(words)


@pytest.mark.parametrize("query", [(2, 1), (0, 0), (-1, 4), (4, -1)])
def test_the_still_shows_weights_and_mixture(query):
    desk = QueryDesk()
    desk.set(query=query)
    picture = desk.picture()
    told = [text.get_text() for axes in picture.figure.axes for text in axes.texts]
    for weight in desk.report["weights"]:
        assert f"{weight:.2f}" in told
    mixed = ", ".join(f"{number:.2f}" for number in desk.report["mixture"])
    assert f"mixture\n({mixed})" in told
    assert desk.report["remark"] in picture.alt
    low, high = LIMITS["asks"]
    assert picture.figure.axes[0].get_xlim() == (low, high)
