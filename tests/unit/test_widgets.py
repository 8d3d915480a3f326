"""The mixing desk without a browser: what faders mean, what is computed, and what is dropped."""

import asyncio
import time

import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.errors import AttnlabError, SettingsError
from attnlab.show import widgets

TEXT = "A warm, funny film."


def at_the_desk(clf, data, scenario, **options):
    """Run ``await scenario(desk)`` as in a kernel, and return what it returns."""

    async def session():
        desk = al.HeadMixer(clf, data, TEXT, **options)
        await desk.settled()
        return await scenario(desk)

    return asyncio.run(session())


def move(desk, layer, head, value, table="scale", gesture=None):
    """What the view sends when a fader moves."""
    faders = {name: [list(row) for row in desk.faders[name]] for name in ("scale", "temperature")}
    faders[table][layer][head] = value
    desk.faders = faders | {
        "stamp": time.time(),
        "gesture": gesture if gesture is not None else time.time(),
    }


# ── pure functions ─────────────────────────────────────────────────────────────────────────────


def test_faders_and_settings_are_the_same_thing():
    settings = al.HeadSettings(2, 3)
    settings.scale[1, 2], settings.temperature[0, 0] = 0.35, 2.5
    assert widgets.from_faders(widgets.to_faders(settings), 2, 3) == settings


@pytest.mark.parametrize("faders", [{}, {"scale": [[1]]}, {"scale": "x", "temperature": [[1]]}])
def test_faders_that_make_no_sense_are_refused(faders):
    with pytest.raises(SettingsError):
        widgets.from_faders(faders, 1, 1)


def test_presets():
    start = al.HeadSettings(3, 4)
    start.temperature[0, 0] = 2
    silence = widgets.preset("silence", start, (1, 2))
    assert silence.changed() == [(0, 0), (1, 2)]
    keep = widgets.preset("keep-one", start, (1, 2))
    assert keep.scale.tolist() == [[0, 0, 1, 0]] * 3
    assert (keep.temperature == 1).all()
    halves = [widgets.preset("random-half", start, (0, 0), seed) for seed in (0, 0, 1)]
    assert [int((half.scale == 0).sum()) for half in halves] == [6, 6, 6]
    assert halves[0] == halves[1] != halves[2]
    assert widgets.preset("neutral", start, (0, 0)).is_neutral()
    assert start.changed() == [(0, 0)]  # presets make new settings
    with pytest.raises(AttnlabError, match="Did you mean 'silence'"):
        widgets.preset("silense", start, (0, 0))


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_desk_shows_the_model_as_it_is(clf, some):
    async def scenario(desk):
        return desk.accuracy, desk.sentence, desk.picture

    accuracy, sentence, picture = at_the_desk(clf, some, scenario)
    score = al.Evaluator(clf, some, fast=True).score()
    assert accuracy["state"] == "measured"
    assert accuracy["accuracy"] == pytest.approx(score.accuracy)
    assert accuracy["delta"] is None
    assert sentence["after"] == pytest.approx(
        clf.predict([TEXT]).probabilities[0].tolist(), abs=1e-5
    )
    assert picture["kind"] == "bertviz"


def test_a_moved_fader_changes_answer_picture_and_accuracy_as_measured_apart(clf, some):
    settings = clf.settings()
    settings.scale[5] = 0

    async def scenario(desk):
        desk.look = desk.look | {"layer": 5, "head": 2, "kind": "map", "what": "scaled"}
        desk.settings = settings
        await desk.settled()
        return desk.accuracy, desk.sentence, desk.picture

    accuracy, sentence, picture = at_the_desk(clf, some, scenario)
    evaluator = al.Evaluator(clf, some, fast=True)
    change = evaluator.compare(clf.settings(), settings)
    assert accuracy["delta"] == pytest.approx(change.delta)
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(change.ci)
    assert accuracy["p"] == pytest.approx(change.p_value)
    assert accuracy["gained"] - accuracy["lost"] == round(change.delta * len(some))
    assert len(accuracy["flips"]) == len(change.flips)
    assert sentence["after"] == pytest.approx(
        clf.predict([TEXT], settings).probabilities[0].tolist(), abs=1e-5
    )
    assert sentence["before"] == pytest.approx(
        clf.predict([TEXT]).probabilities[0].tolist(), abs=1e-5
    )
    assert np.abs(picture["values"]).max() == 0


def test_an_estimate_comes_first_and_tightens(clf, movies):
    seen = []

    async def scenario(desk):
        desk.observe(lambda change: seen.append(change["new"]), "accuracy")
        move(desk, 5, 0, 0.0)
        await desk.settled()

    at_the_desk(clf, movies.dev, scenario, sentences=100)
    assert [one["state"] for one in seen] == ["estimate", "estimate", "measured"]
    assert [one["n"] for one in seen] == [16, 48, 100]
    widths = [one["high"] - one["low"] for one in seen]
    assert widths == sorted(widths, reverse=True)


def test_the_newest_setting_wins_however_fast_faders_move(clf, movies):
    stamps = []

    async def scenario(desk):
        desk.observe(lambda change: stamps.append(change["new"]["stamp"]), "accuracy")
        for step in range(40):
            move(desk, 5, step % 12, step / 20)
            await asyncio.sleep(0.005)
        last = desk.faders["stamp"]
        await desk.settled()
        return desk, last

    desk, last = at_the_desk(clf, movies.dev, scenario, sentences=200)
    assert desk.accuracy["stamp"] == desk.sentence["stamp"] == desk.picture["stamp"] == last
    assert stamps == sorted(stamps), "a stale result came after a newer one"
    assert desk.accuracy["state"] == "measured"
    wanted = al.Evaluator(clf, movies.dev.sample(200), fast=True).score(desk.settings)
    assert desk.accuracy["accuracy"] == pytest.approx(wanted.accuracy)


def test_faders_moved_before_the_first_evaluation_is_done_lose_nothing(clf, movies):
    async def session():
        desk = al.HeadMixer(clf, movies.dev, TEXT, sentences=200)
        for value in (0.5, 0.2, 0.0):
            move(desk, 5, 0, value)
            await asyncio.sleep(0.05)
        desk.reset()
        await desk.settled()
        return desk.accuracy

    accuracy = asyncio.run(session())
    assert accuracy["n"] == 200
    wanted = al.Evaluator(clf, movies.dev.sample(200), fast=True).score()
    assert accuracy["accuracy"] == pytest.approx(wanted.accuracy)


def test_undo_takes_back_gestures_and_presets_one_by_one(clf, some):
    async def scenario(desk):
        assert not desk.can_undo
        for value in (0.9, 0.5, 0.1):  # one drag
            move(desk, 2, 3, value, gesture=1)
        move(desk, 4, 4, 0.0, gesture=2)
        desk.preset("random-half")
        assert len(desk.settings.changed()) == 36
        desk.undo()
        assert desk.settings.changed() == [(2, 3), (4, 4)]
        desk.undo()
        assert desk.settings.changed() == [(2, 3)]
        desk.undo()
        assert desk.settings.is_neutral()
        assert not desk.can_undo
        desk.undo()  # nothing left: nothing happens
        await desk.settled()
        return desk.accuracy

    assert at_the_desk(clf, some, scenario)["delta"] is None


def test_the_desk_never_changes_what_other_cells_see(clf, some, movies):
    async def scenario(desk):
        before = clf.predict([TEXT]).probabilities
        desk.preset("random-half")
        await asyncio.sleep(0.01)
        assert np.array_equal(clf.predict([TEXT]).probabilities, before)
        await desk.settled()
        return np.array_equal(clf.predict([TEXT]).probabilities, before)

    assert at_the_desk(clf, some, scenario)


def test_two_desks_on_one_model_keep_apart(clf, some):
    async def session():
        one, two = al.HeadMixer(clf, some, TEXT), al.HeadMixer(clf, some, TEXT)
        one.preset("keep-one", (0, 0))
        two.preset("silence", (5, 5))
        await one.settled()
        await two.settled()
        return one, two

    one, two = asyncio.run(session())
    evaluator = al.Evaluator(clf, some, fast=True)
    for desk in (one, two):
        assert desk.accuracy["accuracy"] == pytest.approx(evaluator.score(desk.settings).accuracy)


@pytest.mark.parametrize("kind", ["layer", "head", "map"])
@pytest.mark.parametrize("what", ["weights", "scaled", "contributions", "difference"])
def test_every_picture_can_be_chosen(clf, some, kind, what):
    async def scenario(desk):
        desk.look = {"layer": 1, "head": 7, "kind": kind, "what": what}
        move(desk, 1, 7, 2.0, "temperature")
        await desk.settled()
        assert desk.error == ""
        return desk.picture

    picture = at_the_desk(clf, some, scenario)
    assert picture["kind"] == ("map" if kind == "map" or what == "difference" else "bertviz")
    assert "layer 1" in picture["alt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  ", "Type a sentence"),
        ("good " * 600, "Only the first 512 tokens"),
        ("😀", ""),
        ("</script><b>电影 فيلم", ""),
    ],
)
def test_any_sentence_is_answered_or_explained(clf, some, text, words):
    async def scenario(desk):
        desk.text = text
        await desk.settled()
        return desk.sentence, desk.error

    sentence, error = at_the_desk(clf, some, scenario)
    assert words in sentence["error"]
    assert error == ""


def test_what_goes_wrong_is_shown_at_the_desk_and_then_forgotten(clf, some):
    async def scenario(desk):
        move(desk, 0, 0, -1.0)
        await desk.settled()
        shown = desk.error
        desk.undo()
        await desk.settled()
        return shown, desk.error

    shown, later = at_the_desk(clf, some, scenario)
    assert "scale is -1 at (0, 0)" in shown
    assert later == ""


def test_all_neutral_mends_faders_that_make_no_sense(clf, some):
    async def scenario(desk):
        move(desk, 0, 0, -1.0)
        desk._on_message(desk, {"action": "preset", "name": "neutral", "place": [0, 0]}, [])
        await desk.settled()
        return desk.error, desk.settings

    error, settings = at_the_desk(clf, some, scenario)
    assert error == ""
    assert settings.is_neutral()


def test_messages_of_the_view_are_understood(clf, some):
    async def scenario(desk):
        desk._on_message(desk, {"action": "preset", "name": "silence", "place": [3, 4]}, [])
        assert desk.settings.changed() == [(3, 4)]
        assert "settings.scale[3, 4] = 0" in desk.code
        desk._on_message(desk, {"action": "undo"}, [])
        assert desk.settings.is_neutral()
        desk._on_message(desk, {"action": "preset", "name": "nothing", "place": [0, 0]}, [])
        return desk.error

    assert "no preset 'nothing'" in at_the_desk(clf, some, scenario)


def test_removed_heads_have_no_fader(clf, some):
    async def scenario(desk):
        return desk.size

    smaller = al.heads.prune(clf, [(2, 5)])
    assert at_the_desk(smaller, some, scenario) == {"layers": 6, "heads": 12, "removed": [[2, 5]]}


def test_a_desk_works_in_a_plain_script(clf, some):
    desk = al.HeadMixer(clf, some, TEXT)
    desk.preset("silence", (5, 0))
    assert desk.accuracy["state"] == "measured"
    assert desk.accuracy["stamp"] == desk.faders["stamp"]


def test_settings_can_be_put_on_the_desk(clf, some):
    async def scenario(desk):
        settings = clf.settings()
        settings.scale[0, 0] = 1.5
        desk.settings = settings
        with pytest.raises(SettingsError):
            desk.settings = al.HeadSettings(2, 2)
        return desk.settings

    assert at_the_desk(clf, some, scenario).scale[0, 0] == torch.tensor(1.5)


def test_a_desk_is_not_disturbed_by_what_other_cells_do_to_the_model(clf, some):
    """self_check and applied() run in the kernel's main thread while a desk evaluates in its own."""

    async def session():
        desk = al.HeadMixer(clf, some, TEXT)
        silent = clf.settings()
        silent.scale[:] = 0
        for step in range(4):
            move(desk, 5, step, 0.0)
            await asyncio.sleep(0.01)
            al.heads.self_check(clf)
            with al.heads.applied(clf, silent):
                clf.predict([TEXT])
                await asyncio.sleep(0.05)
        await desk.settled()
        return desk

    desk = asyncio.run(session())
    assert desk.error == ""
    wanted = al.Evaluator(clf, some, fast=True).score(desk.settings)
    assert desk.accuracy["accuracy"] == pytest.approx(wanted.accuracy)
    assert desk.sentence["after"] == pytest.approx(
        clf.predict([TEXT], desk.settings).probabilities[0].tolist(), abs=1e-5
    )
