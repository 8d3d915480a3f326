"""The translation desk without a browser: what it draws and says, measures when, and survives."""

import copy
import json
import threading

import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.datasets.pairs import ParallelDataset
from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
from attnlab.heads.settings import HeadSettings, Seq2SeqSettings
from attnlab.show import plots
from attnlab.show.widgets.translation_desk import TranslationDesk
from attnlab.show.widgets.translation_report import (
    CANDIDATES,
    from_faders,
    score_report,
    to_faders,
    translation_report,
)
from attnlab.statistics import paired_interval

LETTERS = "abcdefgh"
VOCABULARY = ["[padding]", "[unknown]", "[start]", "[end]", *LETTERS.upper()]
SIZE = {"encoder": [3, 2], "decoder": [2, 2], "cross": [2, 2]}
LOOK = {"source": "abcd", "step": 0, "layer": 1, "head": 0}


class FakeTranslator:
    """Writes letters large, one by one; the last first where head 0 of layer 1 of cross is silent.

    Head 0 of each layer looks straight at the letter, head 1 at all alike.
    """

    def __init__(self):
        self.asked, self.gate = [], None

    def settings(self):
        return Seq2SeqSettings.neutral(3, 2, 2)

    def translate(self, texts, num_beams=1, settings=None, max_length=None):
        settings = settings or self.settings()
        if len(texts) > 1 or self.gate is None:
            self.asked.append((len(texts), settings))
        if self.gate is not None and len(texts) > 1:
            assert self.gate.acquire(timeout=10)
        if "!" in texts[0]:
            raise RuntimeError("no such letter")
        backwards = settings.cross.scale[1, 0] == 0
        return [one.upper()[:: -1 if backwards else 1] for one in texts]

    def attend(self, source, target=None, settings=None):
        settings = settings or self.settings()
        (said,) = self.translate([source], settings=settings)
        tokens, target = [*source, "[end]"], [*said, "[end]"]
        count = len(tokens)
        straight, alike = torch.eye(count), torch.full((count, count), 1 / count)
        fed = torch.ones(count, count).tril()
        fed /= fed.sum(1, keepdim=True)
        ends = torch.tensor([*[False] * (count - 1), True])
        heads = torch.stack([straight, alike])
        shares = torch.full((count, len(VOCABULARY)), 0.01)
        for step, token in enumerate(target):
            shares[step, VOCABULARY.index(token)] = 0.8
            shares[step, 4] += 0.15
        probabilities = shares / shares.sum(1, keepdim=True)
        encoder, decoder, cross = (
            heads.expand(3, 2, -1, -1),
            fed.expand(2, 2, -1, -1),
            heads.expand(2, 2, -1, -1),
        )
        return Seq2SeqMaps(
            AttentionMaps(tokens, encoder, encoder, ends, settings.encoder),
            AttentionMaps(["[start]", *target[:-1]], decoder, decoder, ends, settings.decoder),
            CrossMaps(tokens, target, cross, cross, settings.cross),
            probabilities,
            VOCABULARY,
        )


def pairs(n=60):
    rng = np.random.default_rng(1)
    sources = ["".join(rng.choice(list(LETTERS), 5)) for _ in range(n)]
    return ParallelDataset(sources, [one.upper() for one in sources], "letters")


@pytest.fixture
def desk():
    made = TranslationDesk(FakeTranslator(), pairs(), "abcd", n=40).wait(10)
    yield made
    made.close()


def silenced(*places):
    settings = FakeTranslator().settings()
    for kind, layer, head in places:
        getattr(settings, kind).scale[layer, head] = 0
    return settings


def report(source="abcd", knobs=None, **changes):
    knobs = knobs or FakeTranslator().settings()
    settings = LOOK | {"source": source, "faders": to_faders(knobs)} | changes
    made = translation_report(FakeTranslator().attend(source, settings=knobs), "ABCD", settings)
    json.dumps(made, allow_nan=False)
    return made


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_a_row_of_the_map_is_where_the_step_that_predicts_it_looks():
    made = report()
    assert made["tokens"] == ["a", "b", "c", "d", "[end]"]
    assert made["target"] == ["A", "B", "C", "D", "[end]"]
    assert made["start"] == "[start]"
    np.testing.assert_array_equal(made["weights"], np.eye(5))


def test_without_a_head_the_mean_over_heads_is_shown_and_without_a_layer_over_all():
    mean = (np.eye(5) + 0.2) / 2
    np.testing.assert_allclose(report(head=None)["weights"], mean, atol=1e-3)
    np.testing.assert_allclose(report(layer=None, head=None)["weights"], mean, atol=1e-3)
    assert report(head=None)["looked"] == "layer 1, mean over heads"
    assert report(layer=None, head=None)["looked"] == "mean over all heads"


def test_a_silent_head_is_dark_and_said_to_be_silent():
    made = report(knobs=silenced(("cross", 1, 0)))
    assert np.abs(made["weights"]).max() == 0
    assert "silent" in made["steps"][0]["words"]
    half = report(knobs=silenced(("cross", 1, 0)), head=None)
    np.testing.assert_allclose(half["weights"], np.full((5, 5), 0.1), atol=1e-3)


def test_each_step_has_the_likeliest_tokens_with_the_chosen_one_marked():
    steps = report()["steps"]
    assert len(steps) == 5
    for step, came in zip(steps, ["A", "B", "C", "D", "[end]"], strict=True):
        shares = [one["share"] for one in step["candidates"]]
        assert len(shares) == CANDIDATES
        assert shares == sorted(shares, reverse=True)
        assert [one["token"] for one in step["candidates"] if one["chosen"]] == [came]
        assert step["words"].startswith(f"Position {steps.index(step)}: “{came}” with")
    second = steps[1]["candidates"][1]
    assert (second["token"], second["chosen"]) == ("A", False)
    assert second["share"] == pytest.approx(0.16 / 1.06, rel=1e-2)


def test_a_token_that_came_but_is_unlikely_is_shown_last():
    knobs = FakeTranslator().settings()
    maps = FakeTranslator().attend("abcd")
    maps.probabilities[2] = torch.linspace(0.2, 0, len(VOCABULARY))
    settings = LOOK | {"faders": to_faders(knobs)}
    candidates = translation_report(maps, "ABCD", settings)["steps"][2]["candidates"]
    assert len(candidates) == CANDIDATES + 1
    assert candidates[-1]["token"] == "C"
    assert candidates[-1]["chosen"]
    assert candidates[-1]["share"] == pytest.approx(maps.probabilities[2, 6].item(), rel=1e-3)


def test_the_words_name_what_is_looked_at_most():
    assert "looks most at “c” (1.00)" in report()["steps"][2]["words"]


def test_a_step_beyond_the_last_is_the_last():
    assert report(step=99)["step"] == 4
    assert report(step=2)["step"] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1},
        {"step": 1.5},
        {"step": None},
        {"layer": 2},
        {"head": 7},
        {"head": True},
        {"layer": None},
    ],
)
def test_what_is_not_there_cannot_be_looked_at(changes):
    with pytest.raises(SettingsError):
        report(**changes)


def test_a_long_text_is_cut_and_that_is_said():
    made = report("ab" * 40)
    assert len(made["tokens"]) == len(made["target"]) == len(made["steps"]) == plots.MAX_TOKENS
    assert np.shape(made["weights"]) == (plots.MAX_TOKENS, plots.MAX_TOKENS)
    assert "81 source tokens" in made["note"]
    assert report(step=99, source="ab" * 40)["step"] == plots.MAX_TOKENS - 1
    assert report()["note"] == ""


# ── faders and settings ────────────────────────────────────────────────────────────────────────


def test_faders_and_settings_are_each_others_reverse():
    settings = silenced(("encoder", 2, 1), ("cross", 0, 1))
    settings.decoder.scale[1, 0] = 1.35
    assert from_faders(to_faders(settings), SIZE) == settings


@pytest.mark.parametrize(
    "faders",
    [
        {},
        {"encoder": [[1, 1]] * 3, "decoder": [[1, 1]] * 2, "cross": [[1, 1]] * 3},
        {"encoder": [[1, 1]] * 3, "decoder": [[1, "x"]] * 2, "cross": [[1, 1]] * 2},
        {"encoder": [[1, 1]] * 3, "decoder": [[1, -1]] * 2, "cross": [[1, 1]] * 2},
    ],
)
def test_faders_that_fit_no_head_are_refused(faders):
    with pytest.raises(SettingsError):
        from_faders(faders, SIZE)


def test_temperatures_have_no_fader_here():
    settings = FakeTranslator().settings()
    settings.cross.temperature[0, 0] = 2
    with pytest.raises(SettingsError, match="cross has temperatures"):
        to_faders(settings)


def test_one_setting_per_text_has_no_fader_here():
    two = Seq2SeqSettings.stack([FakeTranslator().settings()] * 2)
    with pytest.raises(SettingsError, match="one per text"):
        to_faders(two)


# ── exact match ────────────────────────────────────────────────────────────────────────────────


def test_exact_match_has_wilsons_interval():
    made = score_report([True] * 95 + [False] * 5, [True] * 100, 100)
    json.dumps(made, allow_nan=False)
    assert made["now"]["share"] == 0.95
    # Wilson 1927 by hand: 95 of 100 at z = 1.96
    assert (made["now"]["low"], made["now"]["high"]) == pytest.approx((0.8882, 0.9785), abs=2e-4)
    assert made["start"]["share"] == 1
    assert made["start"]["low"] < 0.97
    assert made["state"] == "measured"


def test_the_change_counts_gained_and_lost_of_the_same_texts():
    made = score_report([True, True, False, False, False], [False, True, True, True, False], 10)
    assert made["state"] == "partial"
    assert made["change"] == pytest.approx(-0.2)
    low, high = paired_interval(1, 2, 5)
    assert made["words"] == (
        f"−20.0 points (−{-100 * low:.1f} to +{100 * high:.1f}): 1 gained, 2 lost."
    )


def test_with_no_fader_moved_there_is_no_change_to_tell():
    made = score_report([True, False], [True, False], 2, moved=False)
    assert made["change"] is None
    assert "Move one" in made["words"]


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_desk_translates_and_measures(desk):
    assert desk.report["translation"] == "ABCD"
    assert desk.score["state"] == "measured"
    assert desk.score["n"] == desk.score["total"] == 40
    assert desk.score["now"] == desk.score["start"]
    assert desk.score["now"]["share"] == 1
    assert desk.error == ""


def test_a_desk_at_rest_keeps_no_thread(desk):
    desk.wait()
    for thread in threading.enumerate():
        if thread.name.startswith("attnlab-desk"):
            thread.join(10)
            assert not thread.is_alive()


def test_without_a_source_the_first_of_the_dataset_is_shown():
    data = pairs(3)
    made = TranslationDesk(FakeTranslator(), data)
    assert made.report["settings"]["source"] == data.sources[0]
    assert made.wait(10).score["total"] == 3
    made.close()


def test_a_fader_changes_the_translation_at_once_and_then_exact_match(desk):
    desk.head_settings = silenced(("cross", 1, 0))
    assert desk.report["translation"] == "DCBA"
    assert desk.report["target"][0] == "D"
    desk.wait(10)
    right = np.mean([one == one[::-1] for one in pairs().sample(40).sources])
    assert desk.score["now"]["share"] == pytest.approx(right)
    assert desk.score["start"]["share"] == 1
    assert desk.score["faders"]["cross"] == [[1, 1], [0, 1]]
    assert "lost" in desk.score["words"]


def test_the_code_makes_the_same_settings(desk):
    desk.head_settings = silenced(("cross", 1, 0), ("encoder", 2, 1))
    made = {"al": al}
    exec(desk.code, made)
    assert made["settings"] == desk.head_settings
    desk.reset()
    exec(desk.code, made)
    assert made["settings"].is_neutral()


def test_looking_elsewhere_measures_nothing_and_translates_nothing(desk, monkeypatch):
    before = len(desk._translator.asked)
    monkeypatch.setattr(desk._work, "start", lambda *_: pytest.fail("a measurement was dropped"))
    desk.set(step=3)
    desk.set(layer=0, head=1)
    assert desk.report["step"] == 3
    assert desk.report["looked"] == "layer 0, head 1"
    desk.wait(10)
    assert len(desk._translator.asked) == before


def test_settings_that_were_measured_are_not_measured_again(desk):
    desk.head_settings = silenced(("cross", 1, 0))
    desk.wait(10)
    before = [size for size, _ in desk._translator.asked].count(25)
    desk.reset()
    desk.wait(10)
    assert desk.score["now"]["share"] == 1
    desk.head_settings = silenced(("cross", 1, 0))
    desk.wait(10)
    assert desk.score["now"]["share"] < 1
    assert [size for size, _ in desk._translator.asked].count(25) == before


def test_the_newest_faders_win_and_older_work_is_dropped():
    translator = FakeTranslator()
    translator.gate = threading.Semaphore(2)  # as many chunks as 40 texts are
    desk = TranslationDesk(translator, pairs(), "abcd", n=40).wait(10)
    seen = []
    desk.observe(lambda change: seen.append(change["new"]["faders"]["cross"]), "score")
    for head in range(2):
        for layer in range(2):  # the first is under way, two are waiting
            desk.head_settings = silenced(("cross", layer, head))
    translator.gate.release(20)
    desk.wait(10)
    last = to_faders(silenced(("cross", 1, 1)))["cross"]
    assert seen
    assert all(one == last for one in seen), "a stale result was shown"
    chunks = {json.dumps(to_faders(one)["cross"]) for size, one in translator.asked[2:] if size > 1}
    assert len(chunks) <= 2, "work for faders that had moved on was done"
    desk.close()


def test_what_goes_wrong_is_said_in_the_desk_and_goes_away(desk):
    desk.settings = {**desk.settings, "source": "  "}
    assert "empty" in desk.error
    assert desk.report["translation"] == "ABCD"
    desk.settings = {**desk.settings, "source": "a!"}
    assert "no such letter" in desk.error
    desk.settings = {**desk.settings, "source": "bad"}
    assert desk.error == ""
    assert desk.report["translation"] == "BAD"


def test_a_measurement_that_fails_is_said_in_the_desk():
    data = ParallelDataset(["ab!", "cd"], ["AB", "CD"], "broken")
    made = TranslationDesk(FakeTranslator(), data, "abc").wait(10)
    assert "no such letter" in made.error
    made.set(step=1)
    assert "no such letter" in made.error, "another kind of work took the complaint back"
    made.close()


def test_settings_from_a_cell_are_refused_with_a_reason(desk):
    faders = copy.deepcopy(desk.settings["faders"])
    faders["cross"] = faders["cross"][:1]
    with pytest.raises(SettingsError, match="cross"):
        desk.set(faders=faders)
    with pytest.raises(SettingsError, match="needs exactly"):
        desk.set(nothing=1)
    with pytest.raises(SettingsError, match="empty"):
        desk.set(source="")
    assert desk.report["settings"]["source"] == "abcd"


@pytest.mark.parametrize("n", [0, True, 2.5])
def test_how_many_texts_is_a_number_from_one(n):
    with pytest.raises(SettingsError, match="n is"):
        TranslationDesk(FakeTranslator(), pairs(), n=n)


def test_a_desk_needs_texts_to_measure_on():
    with pytest.raises(AttnlabError, match="no texts"):
        TranslationDesk(FakeTranslator(), ParallelDataset([], [], "none"))


def test_without_a_kernel_the_picture_and_its_words_stay(desk):
    desk.set(head=0)
    assert "“abcd” becomes “ABCD”" in desk.picture().alt
    desk.set(step=2)
    assert desk.picture().alt.endswith("Framed: output position 2.")
    (frame,) = desk.picture().figure.axes[0].patches
    assert frame.get_y() == 2
    page = desk._repr_mimebundle_()[0]["text/html"]
    assert 'alt="“abcd” becomes “ABCD”. Heat map of cross-attention, layer 1, head 0' in page
    assert "data:image/png;base64," in page


def test_the_desk_leaves_the_callers_settings_alone(desk):
    mine = silenced(("cross", 0, 0))
    desk.head_settings = mine
    desk.head_settings.cross.scale[1, 1] = 0
    assert mine == silenced(("cross", 0, 0))
    assert desk.head_settings == mine
    assert isinstance(desk.head_settings.cross, HeadSettings)
