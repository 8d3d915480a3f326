"""The sampling desk without a browser: candidates, draws, where a head looks, cache, faders."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from tiny_writer import tiny_writer

import attnlab as al
from attnlab.errors import AttnlabError, SettingsError
from attnlab.language.generating import generate
from attnlab.language.sampling import adjust, draw
from attnlab.show.widgets import assets
from attnlab.show.widgets.sampling_reading import Reader, Reading
from attnlab.show.widgets.sampling_report import (
    most_focused,
    number_of,
    place,
    sampling_report,
    to_faders,
)

NAMES = ["▁the", "▁king", "▁wolf", "s"]
SETTINGS = {
    "prompt": "the",
    "taken": [1],
    "seed": 0,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "layer": 0,
    "head": 1,
    "faders": [[1.0, 1.0]],
    "cache": True,
}
TWIN = "process.stdout.write(JSON.stringify(cases.map(run)));"


def reading(**changes):
    made = {
        "ids": (0, 1),
        "logits": torch.tensor([0.4, 0.3, 0.2, 0.1]).log(),
        "weights": torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]),
        "cached": True,
        "bytes": 256,
        "tokens_read": 1,
        "seconds": 0.0021,
    }
    return Reading(**made | changes)


@pytest.fixture(scope="module")
def writer():
    return tiny_writer()


@pytest.fixture
def desk(writer):
    made = al.SamplingDesk(writer)
    yield made
    made.close()


# ── the numbers ────────────────────────────────────────────────────────────────────────────────


def test_bars_stand_before_and_after_the_settings_the_likeliest_first():
    shown = sampling_report(reading(), SETTINGS | {"top_k": 2}, NAMES)
    assert shown["shown"] == [0, 1, 2, 3]
    assert shown["before"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert shown["after"] == pytest.approx([4 / 7, 3 / 7, 0, 0], rel=1e-4)
    assert shown["untouched"] is None
    assert shown["tokens"] == ["▁the", "▁king"]
    assert shown["given"] == 1
    json.dumps(shown, allow_nan=False)


def test_the_number_falls_on_a_token_where_all_lie_side_by_side_in_their_order():
    shown = sampling_report(reading(), SETTINGS, NAMES)
    number = number_of(0, 1)
    assert shown["draw"] == number
    assert shown["next"] == int(np.searchsorted(np.cumsum([0.4, 0.3, 0.2, 0.1]), number, "right"))
    assert [part[2] for part in shown["parts"]] == [0, 1, 2, 3]
    assert [part[0] for part in shown["parts"]] == pytest.approx([0, 0.4, 0.7, 0.9])
    greedy = sampling_report(reading(), SETTINGS | {"temperature": 0}, NAMES)
    assert greedy["next"] == 0
    assert greedy["parts"] == [[0.0, 1.0, 0]]


def test_weights_are_those_of_the_heads_looked_at_times_their_scale():
    weights = torch.rand(2, 3, 2)
    given = reading(weights=weights)
    faders = [[1.0, 0.5, 1.0], [1.0, 0.0, 2.0]]
    scaled = weights * torch.tensor(faders)[..., None]
    for layer, head, expected in (
        (0, 1, scaled[0, 1]),
        (1, None, scaled[1].mean(0)),
        (None, 2, scaled[:, 2].mean(0)),
        (None, None, scaled.mean((0, 1))),
    ):
        settings = SETTINGS | {"layer": layer, "head": head, "faders": faders}
        shown = sampling_report(given, settings, NAMES, given.logits)
        assert shown["weights"] == pytest.approx(expected.tolist(), abs=6e-4)
        assert shown["looked"] == place(layer, head)
    silent = SETTINGS | {"layer": 1, "head": 1, "faders": faders}
    assert "silent" in sampling_report(given, silent, NAMES, given.logits)["alt"]


def test_the_remark_says_how_far_faders_move_the_candidates():
    plain = torch.tensor([0.1, 0.6, 0.2, 0.1]).log()
    shown = sampling_report(reading(), SETTINGS | {"faders": [[0.0, 1.0]]}, NAMES, plain)
    assert shown["untouched"] == pytest.approx([0.1, 0.6, 0.2, 0.1], rel=1e-4)
    assert shown["remark"] == (
        "The faders move 30 of 100 points of probability; the likeliest was “▁king” and is “▁the”."
    )
    same = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()
    shown = sampling_report(reading(), SETTINGS | {"faders": [[0.0, 1.0]]}, NAMES, same)
    assert "“▁the” stays the likeliest: 70\u00a0% before, 40\u00a0% now" in shown["remark"]


def test_what_is_kept_and_what_it_took_is_said_for_both_ways():
    without = reading(cached=False, bytes=0, tokens_read=2, seconds=0.005)
    slow = reading(seconds=0.9)
    times = {True: [slow, reading(), reading()], False: [without]}
    shown = sampling_report(reading(), SETTINGS, NAMES, times=times)["cache"]
    assert shown["kept"] == "256 bytes kept: keys and values of 2 tokens, 128 bytes each."
    assert shown["time"] == "With cache: 1 token read in 2.1 ms (median of 3)."
    assert shown["other"] == "Without: 2 tokens read in 5.0 ms."
    shown = sampling_report(without, SETTINGS | {"cache": False}, NAMES)["cache"]
    assert shown["kept"].startswith("Nothing is kept: all 2 tokens are read")
    assert shown["other"] == ""
    anew = reading(tokens_read=2, seconds=0.003)
    shown = sampling_report(anew, SETTINGS, NAMES, times=times)["cache"]
    assert shown["time"] == "With cache: all 2 tokens read in 3.0 ms."


def test_the_most_focused_head_looks_hardest_at_neither_end():
    weights = torch.full((2, 3, 5), 0.1)
    weights[0, 0, 0] = weights[1, 1, 4] = 0.99
    weights[1, 2, 2] = 0.6
    assert most_focused(weights) == (1, 2)


# ── the twin in the browser ────────────────────────────────────────────────────────────────────


def random_cases(count=400):
    """Logits and settings of all kinds, away from where rounding decides."""
    source = np.random.default_rng(7)
    cases = []
    for _ in range(count):
        size = int(source.integers(1, 60))
        logits = source.normal(0, source.choice([0.1, 2, 8]), size).round(6)
        if source.random() < 0.2:  # ties
            logits = logits.round(0)
        cases.append(
            {
                "logits": logits.tolist(),
                "temperature": float(source.choice([0, 0.05, 0.5, 1, 1.35, 2])),
                "top_k": source.choice([None, 1, 3, 10, 200]),
                "top_p": source.choice([None, 0.05, 0.33, 0.9, 0.99, 1]),
                "min_p": source.choice([None, 0.0, 0.03, 0.5, 1.0]),
                "number": float(source.random()),
            }
        )
    return cases


@pytest.mark.skipif(
    shutil.which("node") is None, reason="needs node; a browser test compares both, too"
)
def test_the_browser_adjusts_and_draws_as_python_does():
    cases = random_cases()
    run = """const run = ({ logits, number, ...settings }) => {
      const after = adjusted(logits, settings);
      return { before: softmax(logits), after, id: partsOf(after, number).id }; };"""
    module = assets.script("sampling-adjust").replace("export ", "")
    source = f"{module}{run}const cases = {json.dumps(cases)};{TWIN}"
    ran = subprocess.run(["node"], input=source, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for case, found in zip(cases, json.loads(ran.stdout), strict=True):
        logits = torch.tensor(case["logits"], dtype=torch.float64)
        options = {name: case[name] for name in ("temperature", "top_k", "top_p", "min_p")}
        after = adjust(logits, **options)
        number = torch.tensor(case["number"], dtype=torch.float64)
        assert found["before"] == pytest.approx(logits.softmax(0).tolist(), abs=1e-12)
        assert found["after"] == pytest.approx(after.tolist(), abs=1e-12), case
        assert found["id"] == int(draw(after, number)), case


# ── reading ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"window": 4}, {"window": 4, "sinks": 2}, {"kv_heads": 1}])
def test_a_reader_reads_only_what_is_new_and_finds_the_same(options):
    model = tiny_writer(**options).model
    settings = model.neutral_settings()
    ids = tuple(range(3, 12))
    kept, without = Reader(model), Reader(model)
    for end in range(5, 10):
        one, other = kept.read(ids[:end], settings), without.read(ids[:end], settings, cached=False)
        assert one.tokens_read == (5 if end == 5 else 1)
        assert other.tokens_read == end
        torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(one.weights, other.weights)
        assert one.bytes > other.bytes == 0
        assert one.weights.sum(-1) == pytest.approx(1, abs=1e-5)
        if options.get("window"):
            hidden = max(0, end - 4)
            assert not one.weights[..., options.get("sinks", 0) : hidden].any()


def test_a_reader_begins_again_where_the_text_or_the_heads_are_others():
    model = tiny_writer().model
    settings = model.neutral_settings()
    reader = Reader(model)
    reader.read((3, 4, 5), settings)
    assert reader.read((3, 4, 5, 6), settings).tokens_read == 1
    assert reader.read((3, 4), settings).tokens_read == 2  # someone went back
    assert reader.read((3, 9, 5), settings).tokens_read == 3
    settings.scale[0, 1] = 0
    moved = reader.read((3, 9, 5, 6), settings)
    assert moved.tokens_read == 4
    torch.testing.assert_close(
        moved.logits, Reader(model).read((3, 9, 5, 6), settings, cached=False).logits
    )


def test_a_model_stays_as_it_is():
    writer = tiny_writer()
    writer.model.train()
    before = [parameter.clone() for parameter in writer.model.parameters()]
    al.SamplingDesk(writer).step(2).close()
    assert writer.model.training
    for parameter, was in zip(writer.model.parameters(), before, strict=True):
        assert parameter.equal(was)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6}, {"top_k": 5}, {"top_p": 0.7}])
def test_it_writes_what_generate_writes_with_the_same_seed(writer, options):
    desk = al.SamplingDesk(writer, "Once upon", seed=3)
    desk.set(**options)
    desk.step(25)
    ids = writer.tokens.encode("Once upon")
    assert desk.settings["taken"] == generate(writer.model, [ids], 25, seed=3, **options)[0]
    assert desk.text == writer.write("Once upon", 25, seed=3, **options)
    desk.close()


def test_the_cache_changes_the_time_and_not_the_text(writer):
    desks = [al.SamplingDesk(writer) for _ in range(2)]
    desks[1].set(cache=False)
    assert desks[0].step(20).text == desks[1].step(20).text
    assert "512 bytes each" in desks[0].report["cache"]["kept"]  # 2 x 2 layers x 32 x 4 bytes
    assert "With cache: 1 token read" in desks[0].report["cache"]["time"]
    assert "Without: 36 tokens read" in desks[1].report["cache"]["time"]
    assert "With cache: 1 token read" not in desks[1].report["cache"]["other"]
    desks[1].set(cache=True)
    assert "With cache: all 36 tokens read" in desks[1].report["cache"]["time"]
    assert "Without: 36 tokens read" in desks[1].report["cache"]["other"]
    for desk in desks:
        desk.close()


def test_back_and_on_again_comes_to_the_same_text_and_a_token_may_be_taken(desk, writer):
    whole = desk.step(6).text
    desk.back()
    assert desk.text == whole[:-1]
    assert desk.step().text == whole
    desk.set(taken=[*desk.settings["taken"][:2], *writer.tokens.encode(".")])
    assert desk.text == whole[:18] + "."
    assert desk.start_over().text == "Once upon a time"
    assert desk.back().text == "Once upon a time"


def test_the_weights_drawn_are_those_of_the_last_token(desk, writer):
    seen = []
    ids = torch.tensor([writer.tokens.encode("Once upon a time")])
    writer.model(ids, seen=seen)
    for layer, head in ((0, 3), (1, 0)):
        desk.set(layer=layer, head=head)
        expected = seen[layer][0][0, head, -1].tolist()
        assert desk.report["weights"] == pytest.approx(expected, abs=6e-4)


def test_faders_move_the_candidates_as_the_same_settings_do(desk, writer):
    settings = writer.model.neutral_settings()
    settings.scale[0] = 0
    settings.scale[1, 2] = 0.5
    desk.head_settings = settings
    ids = torch.tensor([writer.tokens.encode("Once upon a time")])
    logits = writer.model(ids, settings=settings)[0, -1]
    torch.testing.assert_close(torch.tensor(desk.report["logits"]), logits, rtol=0, atol=1e-4)
    plain = writer.model(ids)[0, -1].softmax(0)[desk.report["shown"]]
    assert desk.report["untouched"] == pytest.approx(plain.tolist(), abs=1e-4)
    assert desk.report["remark"].startswith("The faders move")
    assert (desk.head_settings.scale == settings.scale).all()
    desk.reset()
    assert desk.head_settings.is_neutral()
    assert desk.report["untouched"] is None


def test_sampling_settings_and_looking_elsewhere_read_nothing_anew(desk, monkeypatch):
    monkeypatch.setattr(Reader, "read", lambda *_: pytest.fail("the model was asked"))
    desk.set(temperature=0.3, top_k=3, top_p=0.5, min_p=0.1)
    desk.set(layer=None, head=None, seed=5)
    assert sum(share > 0 for share in desk.report["after"]) <= 3


def test_a_full_text_takes_no_more_tokens():
    desk = al.SamplingDesk(tiny_writer(positions="learned", max_length=18), "Once upon a time")
    desk.step(2)
    assert desk.report["full"].startswith("The text has 18 tokens, as many as the desk reads.")
    with pytest.raises(AttnlabError, match="Go back, or start over"):
        desk.step()
    desk.settings = desk.settings | {"prompt": "Once upon a time too", "taken": []}
    assert "The text has 20 tokens; at most 18 are read" in desk.error
    desk.close()


def test_a_mark_of_the_start_stands_before_the_prompt_which_may_then_be_empty():
    desk = al.SamplingDesk(tiny_writer(start=True), "")
    assert desk.report["tokens"] == ["<start>"]
    assert desk.size["start"] == 1
    desk.set(prompt="a", taken=[1])
    assert desk.text == "a"
    desk.close()


def test_a_text_longer_than_those_it_learned_from_is_called_so(desk):
    desk.step(48)
    assert len(desk.report["tokens"]) == 64
    assert desk.report["remark"] == ""
    desk.step()
    assert "It learned from 64 tokens at once" in desk.report["remark"]


def test_what_is_typed_wrongly_is_told_and_nothing_is_lost(desk):
    before = desk.report
    desk.settings = desk.settings | {"prompt": ""}
    assert "The prompt is empty. Type one letter at least." in desk.error
    assert desk.report == before
    desk.settings = desk.settings | {"prompt": "the king"}
    assert desk.error == ""
    assert len(desk.report["tokens"]) == 8


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt": 3}, "prompt is 3; it is a text"),
        ({"taken": [99]}, "by their numbers, 0 to 32"),
        ({"taken": "the"}, "taken is 'the'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"layer": 2}, "layer is 2; it is a whole number from 0 to 1, or None"),
        ({"head": "0"}, "head is '0'"),
        ({"cache": 1}, "cache is 1; it is True or False"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0}, "top_p is 0"),
        ({"min_p": 2}, "min_p is 2"),
        ({"faders": [[1.0]]}, "scale has shape"),
        ({"faders": "loud"}, "cannot be read"),
        ({"faders": [[-1.0] * 4] * 2}, "must be 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_nothing_moves(desk, change, told):
    before = desk.settings
    with pytest.raises(AttnlabError, match=told):
        desk.set(**change)
    assert desk.settings == before


def test_settings_of_heads_that_the_desk_has_no_faders_for_are_refused(writer):
    warm = writer.model.neutral_settings()
    warm.temperature[0, 0] = 2
    with pytest.raises(SettingsError, match="faders for scales alone"):
        to_faders(warm)
    with pytest.raises(SettingsError, match="one setting, not 2"):
        to_faders(al.HeadSettings.stack([writer.model.neutral_settings()] * 2))


def test_a_model_without_its_tokens_is_refused_with_the_call_that_makes_both(writer):
    with pytest.raises(SettingsError, match=r"given a LanguageModel; .*al\.load_language_model"):
        al.SamplingDesk(writer.model)


def test_its_code_brings_it_back_and_its_picture_says_what_it_shows(desk, writer):
    desk.step(5)
    desk.set(temperature=0.7, top_k=6, layer=1, head=None)
    other = al.SamplingDesk(writer)
    exec(desk.code, {"desk": other})
    for name in ("settings", "tokens", "shown", "next", "weights"):
        assert other.report[name] == desk.report[name]
    assert other.report["after"] == pytest.approx(desk.report["after"], abs=1e-4)
    alt = desk.picture().alt
    assert "after 21 tokens" in alt
    assert "temperature 0.7, top-k 6" in alt
    assert desk.report["alt"] in alt
    other.close()


def test_markup_in_a_token_stays_text():
    for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert markup not in al.SamplingDesk._esm
