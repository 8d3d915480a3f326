"""What lesson 00 says of predictions: beside the measured numbers, and never a stopped notebook."""

import numpy as np
import pytest

import attnlab as al
from attnlab.course import feedback
from attnlab.languages import speaking
from attnlab.show.widgets import first_order

WORDS = ["Two", "of", "life", "two"]
CHANGES = [14.0, -10.0, -46.2, 3.0]


def told(capsys, function, *given):
    """What is printed; a result would be shown below it."""
    assert function(*given) is None
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def desk(clf, movies):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_order, "_ESTIMATED_ON", 8)
        desk = al.HeadMixer(clf, movies.dev.sample(40), "A warm, funny film.").wait()
        yield desk
    desk.close()


def test_a_word_is_ranked_by_the_size_of_its_change(capsys):
    said = told(capsys, feedback.word, "two", WORDS, CHANGES)  # the larger of two that are alike
    assert "“Two”: +14 points, number 2 of 4" in said
    assert "“life”: −46 points" in said
    assert "number 1 of 4" in told(capsys, feedback.word, " LIFE ", WORDS, CHANGES)


@pytest.mark.parametrize(
    ("said", "cure"),
    [("", "have not said"), ("live", "Did you mean 'life'"), (7, "in quotation marks")],
)
def test_what_is_no_word_is_told_with_its_cure(capsys, said, cure):
    assert cure in told(capsys, feedback.word, said, WORDS, CHANGES)


def test_the_diagonal_of_a_head_is_named_by_where_its_weights_lie(clf, capsys):
    maps = clf.attend("Two hours of my life that I would like to have back.")
    before = maps.weights[0, 2].diagonal(-1).mean()
    said = told(capsys, feedback.diagonal, maps, "0.2")
    assert f"the token before {before:.2f}" in said
    assert "goes to the token before" in said
    assert "goes to the next token" in told(capsys, feedback.diagonal, maps, "1.8")
    assert "no clear diagonal" in told(capsys, feedback.diagonal, maps, "5.9")
    assert "Name a head above" in told(capsys, feedback.diagonal, maps, "")
    assert "whole layer" in told(capsys, feedback.diagonal, maps, "3")


def test_a_silent_head_and_a_silent_layer_cost_what_the_evaluator_measures(
    desk, clf, movies, capsys
):
    lines = told(capsys, feedback.silenced, desk, {"5": -50, "5.9": 0, "0": None}).splitlines()
    evaluator = al.Evaluator(clf, movies.dev.sample(40))
    for line, places in zip(lines, (5, (5, 9)), strict=False):
        settings = clf.settings()
        settings.scale[places] = 0
        delta = 100 * evaluator.compare(clf.settings(), settings).delta
        assert f": {delta:+.1f} points".replace("-", "−").replace("+0.0", "0.0") in line
    assert "You said −50.0: outside" in lines[0]
    assert "You said 0.0: inside" in lines[1]
    assert "place of None" in lines[2]


def test_every_half_is_measured_and_the_desk_stays_as_it_was_without_a_prediction(desk, capsys):
    desk.reset()
    assert "place of None" in told(capsys, feedback.halves, desk, None)
    assert desk.settings.is_neutral()
    said = told(capsys, feedback.halves, desk, -5, 2)
    assert [line.split(":")[0] for line in said.splitlines()] == ["Half 1 of 2", "Half 2 of 2"]
    assert (desk.settings.scale == 0).sum() == desk.settings.scale.numel() // 2


def test_a_repair_is_told_with_the_sum_of_the_map_and_what_it_costs(desk, clf, capsys):
    desk.reset()
    alone = np.zeros((6, 12))
    alone[5, 0], alone[1, 11] = -4.0, 3.0
    said = told(capsys, feedback.repair, desk, {"5.0": 0, "1.11": 2}, -1, alone)
    settings = clf.settings()
    settings.scale[5, 0], settings.scale[1, 11] = 0, 2
    assert desk.settings == settings
    after = clf.predict([desk.text], settings).probabilities[0].max()
    before = clf.predict([desk.text]).probabilities[0].max()
    share, sum_of_map, measured = (f"{value:.0%}"[:-1] for value in (before, before - 0.07, after))
    assert f"from {share}\u00a0% to {sum_of_map}\u00a0%; measured: {measured}\u00a0%" in said
    assert "still “positive”" in said
    assert "Held-out reviews: " in said
    assert "You said −1.0" in said


def test_an_answer_that_turns_is_said_to_turn(desk, clf, capsys):
    desk.text = "Two hours of my life that I would like to have back."
    said = told(
        capsys,
        feedback.repair,
        desk,
        {"3.2": 0, "4.3": 0, "1.11": 2},
        None,
        np.zeros((6, 12)),
    )
    assert clf.predict([desk.text]).labels == ["positive"]
    assert clf.predict([desk.text], desk.settings).labels == ["negative"]
    assert "turns to “negative”, with head 3.9 as it was" in said
    assert "You said" not in said


@pytest.mark.parametrize(
    ("faders", "expected", "cure"),
    [
        ({}, None, "Fill in at least one fader"),
        ("1.11", None, "between braces"),
        ({"3.9": 0}, None, "do without it"),
        ({"9.1": 0}, None, "from '0.0' to '5.11'"),
        ({"1.12": 0}, None, "from '0.0' to '5.11'"),
        ({1.11: 0}, None, "in quotation marks"),
        ({"1": 0}, None, "whole layer"),
        ({"1.11": "2"}, None, "number from 0 to 2"),
        ({"1.11": 3}, None, "number from 0 to 2"),
        ({"1.11": 2}, "-2", "without quotation marks"),
        ({"1.11": 2}, float("nan"), "no change in points"),
    ],
)
def test_faders_that_make_no_sense_move_nothing_and_are_told(desk, capsys, faders, expected, cure):
    desk.reset()
    assert cure in told(capsys, feedback.repair, desk, faders, expected, np.zeros((6, 12)))
    assert desk.settings.is_neutral()


def test_names_and_points_that_make_no_sense_are_told(desk, capsys):
    for expected, cure in (
        ({"6": -1}, "There is no head '6'"),
        ({"-1": -1}, "There is no head '-1'"),
        ({5: -1}, "in quotation marks"),
        ({"5": "much"}, "without quotation marks"),
        ("5.9", "between braces"),
    ):
        assert cure in told(capsys, feedback.silenced, desk, expected)
    assert "no change in points" in told(capsys, feedback.halves, desk, "5")


def test_feedback_speaks_chinese(capsys):
    with speaking("zh_CN"):
        assert "你选的是“life”" in told(capsys, feedback.word, "life", WORDS, CHANGES)
