"""The mixing desk without a browser: what faders mean, what is computed, and what is dropped."""

import base64
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import answered, tiny_image_classifier

import attnlab as al
from attnlab.classification.base import Stopped
from attnlab.errors import AttnlabError, SettingsError
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.measurement import Measurement
from attnlab.show.widgets import first_order, mixing

TEXT = "A warm, funny film."


@pytest.fixture(autouse=True)
def few_gradients(monkeypatch):
    """Most tests are not about the estimate: its gradients need not take their time."""
    monkeypatch.setattr(first_order, "_ESTIMATED_ON", 8)


@pytest.fixture
def all_gradients(few_gradients, monkeypatch):
    monkeypatch.setattr(first_order, "_ESTIMATED_ON", 1000)


def at_the_desk(clf, data, **options):
    """A desk at which everything is drawn and measured."""
    return al.HeadMixer(clf, data, TEXT, **options).wait()


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
    assert mixing.from_faders(mixing.to_faders(settings), 2, 3) == settings


@pytest.mark.parametrize("faders", [{}, {"scale": [[1]]}, {"scale": "x", "temperature": [[1]]}])
def test_faders_that_make_no_sense_are_refused(faders):
    with pytest.raises(SettingsError):
        mixing.from_faders(faders, 1, 1)


def test_presets():
    start = al.HeadSettings(3, 4)
    start.temperature[0, 0] = 2
    silence = mixing.preset("silence", start, (1, 2))
    assert silence.changed() == [(0, 0), (1, 2)]
    keep = mixing.preset("keep-one", start, (1, 2))
    assert keep.scale.tolist() == [[0, 0, 1, 0]] * 3
    assert (keep.temperature == 1).all()
    halves = [mixing.preset("random-half", start, (0, 0), seed) for seed in (0, 0, 1)]
    assert [int((half.scale == 0).sum()) for half in halves] == [6, 6, 6]
    assert halves[0] == halves[1] != halves[2]
    assert mixing.preset("neutral", start, (0, 0)).is_neutral()
    assert start.changed() == [(0, 0)]  # presets make new settings
    order = [(2, 3), (0, 1), (1, 1)]
    least = mixing.preset("least-important", start, (0, 0), order=order, count=2)
    assert least.changed() == [(0, 1), (2, 3)]
    for count in (4, -1, 1.5, None):
        with pytest.raises(AttnlabError, match="there are 3"):
            mixing.preset("least-important", start, (0, 0), order=order, count=count)
    with pytest.raises(AttnlabError, match="Did you mean 'silence'"):
        mixing.preset("silense", start, (0, 0))


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_desk_shows_the_model_as_it_is(clf, some):
    desk = at_the_desk(clf, some)
    accuracy, sentence, picture = desk.accuracy, desk.sentence, desk.attention
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

    desk = at_the_desk(clf, some)
    desk.look = desk.look | {"layer": 5, "head": 2, "kind": "map", "what": "scaled"}
    desk.settings = settings
    desk.wait()
    accuracy, sentence, picture = desk.accuracy, desk.sentence, desk.attention
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


def test_the_picture_shows_an_interval_once_something_has_changed(clf, some):
    desk = at_the_desk(clf, some)

    axes = desk.wait().picture().figure.axes
    before = " ".join(text.get_text() for one in axes for text in one.texts)
    assert "All faders are at 1." in before
    assert any("change" in one.get_xlabel() for one in axes)  # where it will stand
    assert not any("95 % interval" in one.get_xlabel() for one in axes)
    move(desk, 5, 0, 0.0)
    axes = desk.wait().picture().figure.axes
    after = " ".join(text.get_text() for one in axes for text in one.texts)
    assert "All faders are at 1." not in after
    assert any("95 % interval" in one.get_xlabel() for one in axes)


def test_a_picture_without_faders_says_what_comes_of_them(clf, some):
    desk = at_the_desk(clf, some)
    move(desk, 5, 0, 0.0)
    whole, alone = desk.wait().picture(), desk.picture(faders=False)
    assert len(alone.figure.axes) == len(whole.figure.axes) - 1
    assert whole.alt == f"Mixing desk of 72 attention heads, 71 of them on. {alone.alt}"
    assert any("95 % interval" in one.get_xlabel() for one in alone.figure.axes)


def test_the_picture_shows_each_moved_fader_with_its_number_and_frames_no_head(clf, some):
    desk = at_the_desk(clf, some)
    desk.look = desk.look | {"layer": 5, "head": 0}
    move(desk, 5, 0, 0.0)
    move(desk, 2, 3, 1.5)
    picture = desk.wait().picture()
    faders = picture.figure.axes[0]
    written = {tuple(int(x) for x in text.get_position()): text.get_text() for text in faders.texts}
    assert (written[0, 5], written[3, 2]) == ("0", "1.5")
    assert all(patch.get_fill() for patch in faders.patches)  # a frame says "more than luck"
    assert "71 of 72 heads on" in faders.get_title(loc="left")
    assert "71 of them on" in picture.alt


def test_what_is_measured_so_far_comes_first_and_tightens(clf, movies):
    seen = []

    desk = at_the_desk(clf, movies.dev, sentences=100)
    neutral = desk.accuracy
    desk.observe(lambda change: seen.append(change["new"]), "accuracy")
    move(desk, 5, 0, 0.0)
    desk.wait()
    assert [one["state"] for one in seen] == ["partial", "partial", "measured"]
    assert [one["n"] for one in seen] == [16, 48, 100]
    widths = [one["high"] - one["low"] for one in seen]
    assert widths == sorted(widths, reverse=True)
    for one in seen:  # the untouched model is known on all: the change is what is uncertain
        assert one["accuracy"] == pytest.approx(neutral["accuracy"] + one["delta"])


def test_a_picture_does_not_wait_for_a_chunk_of_sentences(clf, movies, monkeypatch):
    """A chunk under way is given up for another picture, and measured afterwards."""
    desk = al.HeadMixer(clf, movies.dev.sample(60), TEXT)
    given_up = []
    advance = Measurement.advance

    def observed(measurement, stop=None):
        if len(measurement.snapshots) == 1 and not given_up:  # somebody chooses another head now
            desk.look = desk.look | {"layer": 2, "kind": "map"}
            given_up.append(stop())
        return advance(measurement, stop)

    monkeypatch.setattr(Measurement, "advance", observed)
    desk.wait()
    assert given_up == [True]
    assert desk.attention["look"]["layer"] == 2
    assert desk.accuracy["state"] == "measured"


def test_accuracy_so_far_has_an_interval_within_bounds_that_narrows(clf, some):
    evaluator = Evaluator(clf, some, fast=True)
    other, mine = evaluator.stream(clf.settings()), evaluator.stream(clf.settings())
    mine.settings.scale[5] = 0
    list(other)
    list(mine)
    widths = []
    for step in range(len(mine.snapshots)):
        report = mixing.accuracy_report(mine, other, step)
        low, high = report["interval"]
        assert 0 <= low <= report["accuracy"] <= high <= 1
        widths.append(high - low)
    assert widths[-1] < widths[0]
    assert (low, high) == mine.score.ci


def test_the_newest_setting_wins_however_fast_faders_move(clf, movies):
    stamps = []

    desk = at_the_desk(clf, movies.dev, sentences=200)
    desk.observe(lambda change: stamps.append(change["new"]["stamp"]), "accuracy")
    for step in range(40):
        move(desk, 5, step % 12, step / 20)
        time.sleep(0.005)
    last = desk.faders["stamp"]
    desk.wait()
    assert desk.accuracy["stamp"] == desk.sentence["stamp"] == desk.attention["stamp"] == last
    assert stamps == sorted(stamps), "a stale result came after a newer one"
    assert desk.accuracy["state"] == "measured"
    wanted = al.Evaluator(clf, movies.dev.sample(200), fast=True).score(desk.settings)
    assert desk.accuracy["accuracy"] == pytest.approx(wanted.accuracy)


def test_faders_moved_before_the_first_evaluation_is_done_lose_nothing(clf, movies):
    desk = al.HeadMixer(clf, movies.dev, TEXT, sentences=200)
    for value in (0.5, 0.2, 0.0):
        move(desk, 5, 0, value)
        time.sleep(0.05)
    desk.reset()
    desk.wait()
    accuracy = desk.accuracy
    assert accuracy["n"] == 200
    wanted = al.Evaluator(clf, movies.dev.sample(200), fast=True).score()
    assert accuracy["accuracy"] == pytest.approx(wanted.accuracy)


def test_undo_takes_back_gestures_and_presets_one_by_one(clf, some):
    desk = at_the_desk(clf, some)
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
    desk.wait()
    assert desk.accuracy["delta"] is None


def test_the_desk_never_changes_what_other_cells_see(clf, some, movies):
    desk = at_the_desk(clf, some)
    before = clf.predict([TEXT]).probabilities
    desk.preset("random-half")
    time.sleep(0.01)
    assert np.array_equal(clf.predict([TEXT]).probabilities, before)
    desk.wait()
    assert np.array_equal(clf.predict([TEXT]).probabilities, before)


def test_two_desks_on_one_model_keep_apart(clf, some):
    one, two = al.HeadMixer(clf, some, TEXT), al.HeadMixer(clf, some, TEXT)
    one.preset("keep-one", (0, 0))
    two.preset("silence", (5, 5))
    one.wait()
    two.wait()
    evaluator = al.Evaluator(clf, some, fast=True)
    for desk in (one, two):
        assert desk.accuracy["accuracy"] == pytest.approx(evaluator.score(desk.settings).accuracy)


@pytest.mark.parametrize("kind", ["layer", "head", "map"])
@pytest.mark.parametrize("what", ["weights", "scaled", "contributions", "difference"])
def test_every_picture_can_be_chosen(clf, some, kind, what):
    desk = at_the_desk(clf, some)
    desk.look = {"layer": 1, "head": 7, "kind": kind, "what": what}
    move(desk, 1, 7, 2.0, "temperature")
    desk.wait()
    assert desk.error == ""
    picture = desk.attention
    assert picture["kind"] == ("map" if kind == "map" or what == "difference" else "bertviz")
    assert "layer 1" in picture["alt"]


def test_a_silent_head_is_said_to_have_no_lines(clf, some):
    desk = at_the_desk(clf, some)
    desk.look = desk.look | {"layer": 1, "head": 7, "kind": "head", "what": "scaled"}
    assert "the darkest line is the strongest" in desk.wait().attention["note"]
    move(desk, 1, 7, 0.0)
    assert "L1H7 is silent, so it has no lines." in desk.wait().attention["note"]
    desk.look = desk.look | {"kind": "layer"}
    assert "silent" not in desk.wait().attention["note"]  # the other heads have theirs


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
    desk = at_the_desk(clf, some)
    desk.text = text
    desk.wait()
    sentence, error = desk.sentence, desk.error
    assert words in sentence["error"]
    assert error == ""


def test_what_goes_wrong_is_shown_at_the_desk_and_then_forgotten(clf, some):
    desk = at_the_desk(clf, some)
    move(desk, 0, 0, -1.0)
    desk.wait()
    shown = desk.error
    desk.undo()
    desk.wait()
    later = desk.error
    assert "scale is -1 at (0, 0)" in shown
    assert later == ""


def test_all_neutral_mends_faders_that_make_no_sense(clf, some):
    desk = at_the_desk(clf, some)
    move(desk, 0, 0, -1.0)
    desk._on_message(desk, {"action": "preset", "name": "neutral", "place": [0, 0]}, [])
    desk.wait()
    error, settings = desk.error, desk.settings
    assert error == ""
    assert settings.is_neutral()


def test_messages_of_the_view_are_understood(clf, some):
    desk = at_the_desk(clf, some)
    desk._on_message(desk, {"action": "preset", "name": "silence", "place": [3, 4]}, [])
    assert desk.settings.changed() == [(3, 4)]
    assert "settings.scale[3, 4] = 0" in desk.code
    desk._on_message(desk, {"action": "undo"}, [])
    assert desk.settings.is_neutral()
    desk._on_message(desk, {"action": "preset", "name": "nothing", "place": [0, 0]}, [])
    assert "no preset 'nothing'" in desk.error


def test_removed_heads_have_no_fader(clf, some):
    smaller = al.heads.prune(clf, [(2, 5)])
    desk = at_the_desk(smaller, some)
    assert desk.size | {"layers": 6, "heads": 12, "removed": [[2, 5]]} == desk.size


def test_a_simple_desk_says_so_and_its_picture_has_no_colours(clf, some):
    desk = at_the_desk(clf, some, simple=True)
    assert desk.size["simple"]
    notes = [text.get_text() for text in desk.picture().figure.axes[0].texts]
    assert not any("Colour" in note for note in notes)
    assert not at_the_desk(clf, some).size["simple"]


def test_a_desk_works_in_a_plain_script(clf, some):
    desk = al.HeadMixer(clf, some, TEXT)
    desk.preset("silence", (5, 0))
    desk.wait()
    assert desk.accuracy["state"] == "measured"
    assert desk.accuracy["stamp"] == desk.faders["stamp"]


def test_settings_can_be_put_on_the_desk(clf, some):
    desk = at_the_desk(clf, some)
    settings = clf.settings()
    settings.scale[0, 0] = 1.5
    desk.settings = settings
    with pytest.raises(SettingsError):
        desk.settings = al.HeadSettings(2, 2)
    assert desk.settings.scale[0, 0] == torch.tensor(1.5)


def test_a_desk_is_not_disturbed_by_what_other_cells_do_to_the_model(clf, some):
    """self_check and applied() run in the main thread while a desk evaluates in its own."""
    desk = al.HeadMixer(clf, some, TEXT)
    silent = clf.settings()
    silent.scale[:] = 0
    for step in range(4):
        move(desk, 5, step, 0.0)
        time.sleep(0.01)
        al.heads.self_check(clf)
        with al.heads.applied(clf, silent):
            clf.predict([TEXT])
            time.sleep(0.05)
    desk.wait()
    assert desk.error == ""
    wanted = al.Evaluator(clf, some, fast=True).score(desk.settings)
    assert desk.accuracy["accuracy"] == pytest.approx(wanted.accuracy)
    assert desk.sentence["after"] == pytest.approx(
        clf.predict([TEXT], desk.settings).probabilities[0].tolist(), abs=1e-5
    )


# ── first order ────────────────────────────────────────────────────────────────────────────────


def shares_right(desk, settings):
    """What the view computes from the desk's bytes, in numpy."""
    table = np.frombuffer(desk.slopes, "<f4").reshape(-1, desk.first_order["n"])
    steps = torch.cat([(settings.scale - 1).ravel(), settings.temperature.log().ravel()]).numpy()
    return [float((margins > 0).mean()) for margins in (table[0], table[0] + steps @ table[1:])]


def test_the_view_can_estimate_what_preview_estimates(clf, movies, all_gradients):
    data = movies.dev.sample(100)

    desk = at_the_desk(clf, data)
    evaluator = Evaluator(clf, data)
    rng = np.random.default_rng(0)
    for heads in (1, 5, 20):
        settings = clf.settings()
        places = torch.as_tensor(rng.permutation(72)[:heads])
        settings.scale.view(-1)[places] = 0
        settings.temperature.view(-1)[places.flip(0) // 2] = 2
        neutral, moved = shares_right(desk, settings)
        # margins are of the fast number format here: a sentence on the edge may change sides
        assert moved == pytest.approx(evaluator.preview(settings), abs=0.021)
        assert neutral == pytest.approx(desk.first_order["accuracy"])
    assert np.array(desk.first_order["importance"]) == pytest.approx(evaluator.estimate(), abs=5e-4)


def test_colours_may_estimate_the_margin_that_a_head_is_worth(clf, some, all_gradients):
    desk = at_the_desk(clf, some, colour="margin")
    worth = Evaluator(clf, some).gradients(objective="margin")
    assert np.array(desk.first_order["importance"]) == pytest.approx(worth, abs=1e-3)
    assert desk.first_order["colour"] == "margin"
    notes = [text.get_text() for axes in desk.picture().figure.axes for text in axes.texts]
    assert any("estimated margin" in note and "red falls" in note for note in notes)


def test_colours_of_something_else_are_refused(clf, some):
    with pytest.raises(AttnlabError, match="no colour 'accuracy'"):
        al.HeadMixer(clf, some, TEXT, colour="accuracy")


def test_at_most_so_many_sentences_are_estimated_on(clf, some, monkeypatch):
    monkeypatch.setattr(first_order, "_ESTIMATED_ON", 16)

    desk = at_the_desk(clf, some)
    assert (desk.first_order["n"], len(desk.slopes)) == (16, 16 * 4 * (1 + 2 * 72))


def test_importances_of_a_few_sentences_are_shown_while_the_others_follow(clf, some, monkeypatch):
    for name, number in (("_ESTIMATED_ON", 30), ("_SHOWN_FIRST", 10), ("_GRADIENTS_AT_ONCE", 8)):
        monkeypatch.setattr(first_order, name, number)
    evaluator = Evaluator(clf, some)
    neutral = evaluator.stream(clf.settings())
    steps = list(first_order.first_order(evaluator, neutral, lambda: False))
    assert None in steps, "it never gives way"
    reports = [step["first_order"] for step in steps if step]
    assert [report["done"] for report in reports] == [0, 5, 10, 10, 17, 24, 30, 30]
    assert {report["total"] for report in reports} == {30}
    assert [report.get("n") for report in reports] == [None, None, None, 10, 10, 10, 10, 30]
    few, all_ = (step for step in steps if step and "slopes" in step)
    assert few["first_order"]["importance"] != all_["first_order"]["importance"]
    assert [len(step["slopes"]) for step in (few, all_)] == [n * 4 * (1 + 2 * 72) for n in (10, 30)]


def test_the_least_important_heads_are_silenced(clf, some, all_gradients):
    smaller = al.heads.prune(clf, [(2, 5)])

    desk = at_the_desk(smaller, some)
    message = {"action": "preset", "name": "least-important", "place": [0, 0], "count": 7}
    desk._on_message(desk, message, [])
    seven = desk.settings.changed()
    desk.preset("least-important", count=71)
    all_there = desk.settings.changed()
    with pytest.raises(AttnlabError, match="there are 71"):
        desk.preset("least-important", count=72)
    desk.wait()
    use = np.abs(Evaluator(smaller, some).gradients(per_sentence=True)).mean(0)
    use[2, 5] = np.inf
    lowest = np.argsort(use.ravel())[:7]
    assert seven == sorted(divmod(int(place), 12) for place in lowest)
    assert len(all_there) == 71
    assert (2, 5) not in all_there


def test_before_the_gradients_are_there_the_desk_says_so(clf, movies):
    desk = al.HeadMixer(clf, movies.dev, TEXT, sentences=200)
    with pytest.raises(AttnlabError, match="still being computed"):
        desk.preset("least-important")
    desk.close()


def test_without_gradients_the_desk_works_as_before(clf, some, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no way back through this model")

    monkeypatch.setattr(first_order, "text_gradients", refuse)

    desk = at_the_desk(clf, some)
    desk.preset("silence", (5, 0))
    desk.wait()
    assert desk.error == ""
    desk._on_message(
        desk, {"action": "preset", "name": "least-important", "place": [0, 0], "count": 3}, []
    )
    assert desk.accuracy["state"] == "measured"
    assert desk.slopes == b""
    assert "no way back through this model" in desk.first_order["error"]
    assert "no way back through this model" in desk.error


# ── A and B ────────────────────────────────────────────────────────────────────────────────────


def test_b_is_shown_against_a_whichever_is_on_the_faders(clf, some):
    desk = at_the_desk(clf, some)
    desk.preset("keep-one", (0, 3))
    desk.keep_as_a()
    desk.wait()
    same = desk.accuracy
    move(desk, 5, 3, 0.0)
    desk.wait()
    b = desk.settings, desk.accuracy, desk.sentence
    desk.switch("A")
    desk.wait()
    a = desk.settings, desk.accuracy, desk.sentence
    assert same["delta"] is None
    evaluator = Evaluator(clf, some, fast=True)
    wanted = evaluator.compare(a[0], b[0])
    for _, accuracy, _ in (a, b):
        assert accuracy["delta"] == pytest.approx(wanted.delta)
        assert (accuracy["low"], accuracy["high"]) == pytest.approx(wanted.ci)
        assert len(accuracy["flips"]) == len(wanted.flips)
    for settings, accuracy, _ in (a, b):
        assert accuracy["accuracy"] == pytest.approx(evaluator.score(settings).accuracy)
    assert a[2]["after"] == pytest.approx(b[2]["before"], abs=1e-5)
    assert a[2]["before"] == pytest.approx(b[2]["after"], abs=1e-5)


def test_going_back_to_what_was_measured_costs_nothing(clf, some, monkeypatch):
    computed = []
    plain = Evaluator.logits

    def counted(self, settings=None, indices=None, stop=None):
        computed.append(len(indices))
        return plain(self, settings, indices, stop)

    monkeypatch.setattr(Evaluator, "logits", counted)

    desk = at_the_desk(clf, some)
    desk.keep_as_a()
    move(desk, 5, 3, 0.0)
    desk.wait()
    computed.clear()
    desk.switch("A")
    desk.wait()
    desk.switch("B")
    desk.wait()
    desk.reset()
    desk.wait()
    desk.undo()
    desk.wait()
    assert desk.accuracy["state"] == "measured"
    assert computed == []


def test_each_side_has_its_own_undo(clf, some):
    desk = at_the_desk(clf, some)
    move(desk, 0, 0, 0.0)
    desk.keep_as_a()
    move(desk, 1, 1, 0.0)
    desk.switch("A")
    assert not desk.can_undo
    move(desk, 2, 2, 0.0)
    desk.switch("B")
    desk.undo()
    assert desk.settings.changed() == [(0, 0)]
    desk.switch("A")
    assert desk.settings.changed() == [(0, 0), (2, 2)]
    desk.undo()
    assert desk.settings.changed() == [(0, 0)]
    desk.stop_comparing()
    desk.wait()
    assert (desk.settings.changed(), desk.side, desk.other) == ([(0, 0)], "", {})


def test_there_is_nothing_to_switch_to_before_a_is_kept(clf, some):
    desk = at_the_desk(clf, some)
    desk._on_message(desk, {"action": "switch", "side": "A"}, [])
    assert "Press “Compare: keep this as A” first" in desk.error


# ── settings as text ───────────────────────────────────────────────────────────────────────────


def test_json_of_settings_can_be_loaded_and_taken_back(clf, some):
    settings = clf.settings()
    settings.scale[1, 2], settings.temperature[3, 4] = 0.35, 2.5

    desk = at_the_desk(clf, some)
    desk._on_message(desk, {"action": "load", "text": settings.to_json()}, [])
    loaded = desk.settings
    desk.undo()
    desk.wait()
    loaded, undone, error = loaded, desk.settings, desk.error
    assert loaded == settings
    assert undone.is_neutral()
    assert error == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "These are no head settings"),
        ("{'scale': 1}", "These are no head settings"),
        ("[]", "These are no head settings"),
        ('{"scale": [[1]], "temperature": [[1]]}', "6 layers of 12 heads"),
        ('{"scale": [[1], [1, 2]], "temperature": [[1]]}', "These are no head settings"),
        (
            al.HeadSettings.stack([al.HeadSettings(6, 12)] * 2).to_json(),
            "one setting for all texts, not a stack",
        ),
        (al.HeadSettings(6, 12).to_json().replace("1.0", "-1.0"), "must be 0 (silent) or more"),
        (al.HeadSettings(6, 12).to_json().replace("1.0", "NaN"), "not a finite number"),
        (al.HeadSettings(6, 12).to_json().replace("1.0", "1" * 400), "These are no head settings"),
        (None, "These are no head settings"),
    ],
)
def test_bad_json_gives_a_clear_error_and_moves_nothing(clf, some, text, words):
    desk = at_the_desk(clf, some)
    desk._on_message(desk, {"action": "load", "text": text}, [])
    settings, error, can_undo = desk.settings, desk.error, desk.can_undo
    assert error != ""
    assert words in error
    assert settings.is_neutral()
    assert not can_undo


# ── the end ────────────────────────────────────────────────────────────────────────────────────


def test_a_desk_closed_during_an_evaluation_stops_working(clf, some, monkeypatch):
    def endless(self, settings=None, indices=None, stop=None):
        for _ in range(300):
            if stop():
                raise Stopped
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    monkeypatch.setattr(Evaluator, "logits", endless)

    desk = al.HeadMixer(clf, some, TEXT)
    while not desk.sentence:  # then accuracy is under way
        time.sleep(0.01)
    desk.close()
    closed = time.perf_counter()
    desk.wait()
    desk.wait()  # the worker has come to the end of what it was at
    took, sentence = time.perf_counter() - closed, desk.sentence
    move(desk, 0, 0, 0.0)  # a message that was under way
    time.sleep(0.3)
    desk.wait()
    took, same, accuracy, error = took, desk.sentence == sentence, desk.accuracy, desk.error
    assert took < 1
    assert same
    assert accuracy == {}
    assert error == ""


# ── images ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pictured():
    """A tiny image classifier, and images most of which it answers rightly."""
    clf = tiny_image_classifier()
    return clf, answered(clf, 40)


@pytest.fixture
def image_desk(pictured):
    desk = al.HeadMixer(*pictured).wait()
    yield desk
    desk.close()


def test_an_image_is_shown_with_where_a_head_looks(image_desk, pictured):
    clf, data = pictured
    assert image_desk.error == ""
    assert image_desk.size["items"] == "images"
    assert image_desk.sentence["after"] == pytest.approx(
        clf.predict(data.images[:1]).probabilities[0], abs=1e-6
    )
    assert (
        image_desk.sentence["title"]
        == f"image 1 of 40, labelled {data.label_names[data.labels[0]]}"
    )
    shown = image_desk.attention
    assert shown["kind"] == "image"
    assert shown["grid"] == [2, 3]
    picture = Image.open(io.BytesIO(base64.b64decode(shown["image"].split(",")[1])))
    assert (np.asarray(picture) == data.images[0]).all()
    weights = clf.attend(data.images[0]).weights[clf.layers - 1, 0, 0, 1:]
    assert shown["values"] == pytest.approx(weights.tolist(), abs=1e-4)
    assert shown["size"] == list(data.images[0].shape[1::-1])
    row, column = divmod(int(weights.argmax()), 3)
    assert row != column, "else the test could not tell them apart"
    assert f"row {row + 1}, column {column + 1} ({float(weights.max()):.2f})" in shown["alt"]
    image_desk.look = image_desk.look | {"kind": "map"}
    assert image_desk.wait().attention["tokens"][:2] == ["[CLS]", "0,0"]


def test_accuracy_on_images_follows_the_faders(image_desk, pictured):
    clf, data = pictured
    settings = clf.settings()
    settings.scale[0] = 0
    image_desk.settings = settings
    image_desk.wait()
    right = np.equal(
        clf.predict(data.images, settings).labels, [data.label_names[i] for i in data.labels]
    )
    assert image_desk.accuracy["accuracy"] == pytest.approx(right.mean())
    assert image_desk.accuracy["state"] == "measured"
    assert all(flip["text"].startswith("image ") for flip in image_desk.accuracy["flips"])
    assert np.shape(image_desk.first_order["importance"]) == (clf.layers, clf.heads)


def test_another_image_is_chosen_by_its_number_and_one_that_is_not_there_is_told(image_desk):
    image_desk.text = "39"
    assert image_desk.wait().sentence["title"].startswith("image 40 of 40")
    for wrong in ("40", "-1", "first"):
        image_desk.text = wrong
        assert f"There is no image {wrong!r}" in image_desk.wait().sentence["error"]
    with pytest.raises(AttnlabError, match="There is no image 'first'"):
        image_desk.picture()
    image_desk.text = "3"
    assert "image 4 of 40" in image_desk.wait().picture().alt


def test_images_for_texts_and_texts_for_images_are_refused(pictured, clf, movies):
    reader, data = pictured
    with pytest.raises(AttnlabError, match="holds no texts"):
        al.HeadMixer(clf, data)
    with pytest.raises(AttnlabError, match="holds no labelled images"):
        al.HeadMixer(reader, movies.dev)


def test_of_a_sample_the_images_are_those_that_are_measured(pictured):
    clf, data = pictured
    desk = al.HeadMixer(clf, data, sentences=10).wait()
    assert desk.accuracy["n"] == desk.size["images"] == 10
    sample = data.sample(10)
    assert desk.sentence["title"].endswith(sample.label_names[sample.labels[0]])
    desk.close()
