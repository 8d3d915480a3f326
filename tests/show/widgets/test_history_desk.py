"""The history desk without a browser: what is recommended, what moves, and what is refused."""

import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.applications import Recommender
from attnlab.datasets import Histories
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.show.widgets.history_report import LATEST, LISTED

ITEMS = [f"film {number:02}" for number in range(30)]


@pytest.fixture(scope="module")
def histories():
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(len(ITEMS))[:count] for count in (6, 18, 9)]
    tied = [np.zeros(len(one), dtype=bool) for one in sequences]
    return Histories(ITEMS, sequences, tied, "few")


@pytest.fixture(scope="module")
def recommender():
    torch.manual_seed(0)
    model = al.LanguageModel(len(ITEMS) + 1, 16, 2, 2, positions="learned", max_length=20)
    with torch.no_grad():  # so that answers differ from item to item
        for parameter in model.parameters():
            parameter.mul_(6)
    return Recommender(model.eval(), ITEMS, 20)


@pytest.fixture
def desk(recommender, histories):
    return al.HistoryDesk(recommender, histories)


def test_it_shows_the_last_items_before_the_one_that_is_asked_for(desk, histories):
    desk.set(person=1)
    numbers = histories.sequences[1]
    assert [one["item"] for one in desk.report["past"]] == [ITEMS[n] for n in numbers[-13:-1]]
    assert len(desk.report["past"]) == LATEST
    assert desk.report["next"] == ITEMS[numbers[-1]]


def test_the_list_is_that_of_the_model(desk, recommender, histories):
    past = [one["item"] for one in desk.report["past"]]
    assert [one["item"] for one in desk.report["list"]] == recommender.recommend(past, LISTED)
    assert [one["rank"] for one in desk.report["list"]] == [*range(1, LISTED + 1)]
    assert all(one["before"] == one["rank"] for one in desk.report["list"])
    scores = torch.as_tensor(recommender.scores([histories.sequences[0][:-1]])[0])
    scores[histories.sequences[0][:-1]] = -torch.inf  # what was had is not recommended
    shares = scores.softmax(-1)
    for one in desk.report["list"]:
        assert one["share"] == pytest.approx(float(shares[ITEMS.index(one["item"])]), rel=1e-4)


def test_what_is_out_is_not_read_and_ranks_are_told_beside_those_before(desk, recommender):
    past = [one["item"] for one in desk.report["past"]]
    desk.set(out=[1, 3])
    left = [item for place, item in enumerate(past) if place not in (1, 3)]
    assert [one["item"] for one in desk.report["list"]] == recommender.recommend(left, LISTED)
    assert [one["out"] for one in desk.report["past"]] == [n in (1, 3) for n in range(len(past))]
    assert desk.report["past"][1]["missed"] is None
    whole = recommender.recommend(past, len(ITEMS))
    for one in desk.report["list"]:
        assert one["before"] == (None if one["item"] in past else whole.index(one["item"]) + 1)


def test_reasons_are_those_of_explain_for_the_chosen_item(desk, recommender):
    past = [one["item"] for one in desk.report["past"]]
    item = desk.report["list"][4]["item"]
    desk.set(choice=item)
    told = recommender.explain(past, item)
    assert [one["missed"] for one in desk.report["past"]] == pytest.approx(list(told["missed"]))
    assert [one["attention"] for one in desk.report["past"]] == pytest.approx(
        list(told["attention"])
    )
    assert f"“{item}”" in desk.report["remark"]


def test_an_item_that_is_put_in_comes_last(desk, recommender):
    past = [one["item"] for one in desk.report["past"]]
    new = next(item for item in ITEMS if item not in past and item != desk.report["next"])
    desk.set(added=[new])
    assert desk.report["past"][-1] | {"attention": 0, "missed": 0} == {
        "item": new, "out": False, "added": True, "attention": 0, "missed": 0
    }  # fmt: skip
    assert [one["item"] for one in desk.report["list"]] == recommender.recommend(
        [*past, new], LISTED
    )
    desk.set(added=[desk.report["next"]])
    assert desk.report["next_rank"] is None
    assert "which is in this history now" in desk.report["remark"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"person": 3}, "from 0 to 2"),
        ({"person": True}, "from 0 to 2"),
        ({"out": [99]}, "places in the history"),
        ({"out": 2}, "places in the history"),
        ({"out": [*range(5)]}, "Nothing is left"),
        ({"added": ["film 0"]}, "Did you mean"),
        ({"added": "film 01"}, "a list of at most"),
        ({"added": ITEMS[:5]}, "a list of at most"),
        ({"choice": "film 99"}, "no item"),
    ],
)
def test_settings_that_make_no_sense_are_refused(desk, changes, words):
    before = desk.report
    with pytest.raises(AttnlabError, match=words):
        desk.set(**changes)
    assert desk.report == before


def test_an_item_cannot_come_twice(desk):
    had = desk.report["past"][0]["item"]
    with pytest.raises(SettingsError, match="already"):
        desk.set(added=[had])


def test_histories_of_other_items_are_refused(recommender):
    other = Histories(["a", "b", "c"], [np.arange(3)], [np.zeros(3, dtype=bool)], "other")
    with pytest.raises(DataError, match="trained on"):
        al.HistoryDesk(recommender, other)


def test_its_picture_says_what_is_recommended(desk):
    picture = desk.picture()
    assert desk.report["list"][0]["item"] in picture.alt
    assert desk.code == "desk.set(person=0, out=[], added=[], choice=None)"
