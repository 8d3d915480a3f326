"""The mask desk without a browser: what is drawn, what is said, and what is refused."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import AttnlabError, SettingsError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show.widgets.mask_desk import MaskDesk
from attnlab.show.widgets.mask_report import MOST_TOKENS, PLACES, mask_report

LAYERS, HEADS = 2, 3


def true_scores(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(LAYERS, HEADS, count, count, generator=generator, dtype=torch.float64)


def maps_of(weights, tokens=None):
    count = weights.shape[-1]
    return AttentionMaps(
        tokens=tokens or [f"t{place}" for place in range(count)],
        weights=weights,
        contributions=weights,
        special=torch.zeros(count, dtype=torch.bool),
        settings=HeadSettings(*weights.shape[:2]),
    )


def some_maps(count=6, seed=0, tokens=None):
    return maps_of(torch.softmax(true_scores(count, seed), -1), tokens)


def report(
    maps=None, layer=0, head=0, causal=False, window=None, padding=0, place="before", count=6
):
    window = count - 1 if window is None else window
    return mask_report(maps or some_maps(count), layer, head, causal, window, padding, place)


def written_out(count, causal, window, padding):
    """Who may look where, one pair at a time."""
    return torch.tensor(
        [
            [
                (key <= query or not causal)
                and abs(key - query) <= window
                and key < count - padding
                for key in range(count)
            ]
            for query in range(count)
        ]
    )


@st.composite
def anything(draw):
    count = draw(st.integers(1, 12))
    return {
        "count": count,
        "seed": draw(st.integers(0, 20)),
        "layer": draw(st.integers(0, LAYERS - 1)),
        "head": draw(st.integers(0, HEADS - 1)),
        "causal": draw(st.booleans()),
        "window": draw(st.integers(0, count - 1)),
        "padding": draw(st.integers(0, count)),
        "place": draw(st.sampled_from(PLACES)),
    }


# ── the numbers ────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=120, deadline=None)
@given(case=anything())
def test_weights_are_those_of_plain_torch_from_the_true_scores(case):
    count, seed = case.pop("count"), case.pop("seed")
    shown = mask_report(some_maps(count, seed), **case)
    scores = true_scores(count, seed)[case["layer"], case["head"]]
    mask = written_out(count, case["causal"], case["window"], case["padding"])
    if case["place"] == "before":
        expected = torch.softmax(scores.masked_fill(~mask, -math.inf), -1)
        expected = expected.nan_to_num(0)  # torch's rows without any visible key
    else:
        expected = torch.softmax(scores, -1) * mask
    assert torch.tensor(shown["visible"]).equal(mask)
    torch.testing.assert_close(
        torch.tensor(shown["weights"], dtype=torch.float64), expected, rtol=0, atol=1e-12
    )
    assert shown["sums"] == pytest.approx(expected.sum(-1).tolist(), abs=1e-12)
    assert all(math.isfinite(number) for name in ("sums", "effective") for number in shown[name])
    assert shown["remark"]
    assert shown["alt"]


@settings(max_examples=60, deadline=None)
@given(case=anything())
def test_before_the_softmax_each_row_sums_to_one_unless_it_may_look_nowhere(case):
    maps = some_maps(case.pop("count"), case.pop("seed"))
    shown = mask_report(maps, **case | {"place": "before"})
    for total, visible in zip(shown["sums"], shown["visible"], strict=True):
        assert total == pytest.approx(1 if any(visible) else 0, abs=1e-12)
    assert not any(shown["short"])


def test_after_the_softmax_a_row_has_left_what_lay_on_visible_keys_and_is_marked():
    maps = some_maps()
    shown = report(maps, causal=True, place="after")
    left = maps.weights[0, 0].tril().sum(-1)
    assert shown["sums"] == pytest.approx(left.tolist())
    assert shown["short"] == [True] * 5 + [False]  # the last token sees all
    assert shown["sum_texts"][-1] == "1.00"


def test_effective_keys_are_those_of_what_is_left_wherever_the_mask_acts():
    before, after = (report(causal=True, padding=2, place=place) for place in PLACES)
    weights = torch.tensor(before["weights"], dtype=torch.float64)
    expected = torch.distributions.Categorical(weights).entropy().exp()
    assert before["effective"] == pytest.approx(expected.tolist())
    assert after["effective"] == before["effective"]
    assert before["effective"][0] == 1
    assert before["effective_texts"][0] == "1.0"


def test_rows_that_may_look_nowhere_are_zeros_and_have_no_effective_keys():
    for place in PLACES:
        shown = report(window=1, padding=3, place=place)
        assert [any(row) for row in shown["visible"]] == [True] * 4 + [False] * 2
        assert shown["weights"][5] == [0.0] * 6
        assert shown["sums"][4:] == [0, 0]
        assert shown["effective"][4:] == [0, 0]
        assert shown["effective_texts"][4:] == ["–", "–"]
        assert shown["sum_texts"][4:] == ["0.00", "0.00"]
        assert shown["short"][4:] == [False, False]


def test_without_a_mask_the_head_is_shown_as_it_is():
    maps = some_maps()
    shown = report(maps, layer=1, head=2)
    torch.testing.assert_close(
        torch.tensor(shown["weights"], dtype=torch.float64), maps.weights[1, 2]
    )


def test_weights_in_single_precision_still_sum_to_one_as_it_is_written():
    shown = report(maps_of(torch.softmax(true_scores(6), -1).float()), place="after")
    assert not any(shown["short"])
    assert set(shown["sum_texts"]) == {"1.00"}


def test_a_head_that_was_removed_is_called_so():
    weights = some_maps().weights.clone()
    weights[1, 1] = 0
    for place in PLACES:
        shown = report(maps_of(weights), layer=1, head=1, causal=True, place=place)
        assert "all weights of layer 1, head 1 are 0" in shown["remark"]
        assert shown["sums"] == [0] * 6


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def numbers(text):
    return [float(one) for one in re.findall(r"\d+\.\d+", text)]


def test_the_remark_tells_what_each_mask_does_and_how_much_weight_it_moves():
    weights = some_maps().weights[0, 0]
    causal = report(causal=True)
    assert "first token can only look at itself, so its weight there is 1" in causal["remark"]
    assert causal["weights"][0][0] == 1
    moved = float(weights.triu(1).sum(-1).mean())
    assert numbers(causal["remark"]) == [pytest.approx(moved, abs=0.005)]
    assert "Window 0: each token can only look at itself" in report(window=0)["remark"]
    assert "no token sees more than 3 keys" in report(window=1)["remark"]
    assert "last token is hidden" in report(padding=1)["remark"]
    assert "last 2 tokens are hidden" in report(padding=2)["remark"]


def test_the_remark_names_the_row_that_loses_most_when_the_mask_comes_too_late():
    shown = report(causal=True, place="after")
    least = min(shown["sums"])
    assert "throws weight away" in shown["remark"]
    assert f"t{shown['sums'].index(least)}" in shown["remark"]
    assert numbers(shown["remark"]) == [pytest.approx(least, abs=0.005)]
    assert "wherever the mask acts" in report(place="after")["remark"]


def test_the_remark_counts_those_who_may_look_nowhere():
    assert report(window=1, padding=3)["remark"].startswith(
        "2 tokens may look nowhere; they get zeros, not NaN."
    )
    assert report(window=1, padding=2)["remark"].startswith("1 token may look nowhere; it gets")
    assert "2 tokens may look nowhere" in report(window=1, padding=3, place="after")["remark"]
    for place in PLACES:
        remark = report(padding=6, place=place)["remark"]
        assert "All 6 tokens are hidden" in remark
        assert "zeros, not NaN" in remark


def test_without_a_mask_the_remark_names_the_widest_and_the_narrowest_row():
    shown = report()
    effective = shown["effective"]
    assert numbers(shown["remark"]) == pytest.approx([max(effective), min(effective)], abs=0.05)
    assert f"“t{effective.index(max(effective))}” looks most widely" in shown["remark"]


def test_the_grid_and_each_row_are_told_in_words_with_their_numbers():
    shown = report(layer=1, head=2, causal=True, window=2, padding=1, place="after")
    hidden = sum(row.count(False) for row in shown["visible"])
    alt = shown["alt"]
    assert "layer 1, head 2" in alt
    assert "mask after the softmax: causal, window 2, padding 1" in alt
    assert f"{hidden} of 36 cells are hidden" in alt
    low, high, largest = numbers(alt)
    assert low == pytest.approx(min(shown["sums"]), abs=0.005)
    assert high == pytest.approx(max(shown["sums"]), abs=0.005)
    assert largest == pytest.approx(max(map(max, shown["weights"])), abs=0.005)
    for row, words in enumerate(shown["rows"]):
        assert words.startswith(f"“t{row}” looks most at ")
        assert (
            f"Sum {shown['sum_texts'][row]}, effective keys {shown['effective_texts'][row]}"
            in words
        )
        assert f"{shown['visible'][row].count(False)} keys hidden" in words
    assert "no mask" in report()["alt"]
    assert "“t5” may look nowhere" in report(window=1, padding=3)["rows"][5]


def test_no_amount_is_written_as_nothing_or_all_where_it_is_not():
    weights = torch.tensor([[0.998, 0.002], [0.002, 0.998]]).expand(1, 1, 2, 2)
    shown = report(maps_of(weights), causal=True, place="after", count=2)
    assert shown["sum_texts"] == ["> 0.99", "1.00"]
    assert "“t0” less than 0.01" in shown["rows"][1]
    assert "fall to more than 0.99 (“t0”)" in shown["remark"]


def test_markup_in_a_token_stays_text():
    tokens = ["<script>alert(1)</script>", "</g><img src=x>", "&amp;"]
    shown = report(some_maps(3, tokens=tokens), causal=True, count=3)
    assert shown["tokens"] == tokens
    assert "<script>alert(1)</script>" in shown["rows"][0]
    for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert markup not in MaskDesk._esm  # the view writes text nodes only


# ── what is refused ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"layer": 2}, "no layer 2, head 0: layers are 0 to 1, heads 0 to 2"),
        ({"head": -1}, "no layer 0, head -1"),
        ({"layer": "0"}, "layer is '0'"),
        ({"head": True}, "head is True"),
        ({"causal": 1}, "causal is 1"),
        ({"window": 6}, "window is 6; it counts places to either side, a whole number from 0 to 5"),
        ({"window": -1}, "window is -1"),
        ({"window": 2.0}, "window is 2.0"),
        ({"padding": 7}, "a whole number from 0 to 6 in this text of 6 tokens"),
        ({"padding": False}, "padding is False"),
        ({"place": "between"}, "place is 'between'; the mask acts 'before' the softmax"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_way_out(bad, words):
    with pytest.raises(AttnlabError, match=re.escape(words)):
        report(**bad)
    with pytest.raises(AttnlabError, match=re.escape(words)):
        MaskDesk(some_maps()).set(**bad)


def test_a_text_that_is_too_long_is_refused_with_the_way_to_shorten_it():
    assert MaskDesk(some_maps(MOST_TOKENS)).error == ""
    with pytest.raises(AttnlabError, match=r"31 tokens; the mask desk draws 30 .*text\.split"):
        MaskDesk(some_maps(MOST_TOKENS + 1))


def test_anything_but_maps_is_refused_with_the_call_that_makes_them():
    with pytest.raises(SettingsError, match=r"given a list; .*clf\.attend"):
        MaskDesk([[0.5, 0.5]])


def test_a_head_that_is_not_there_is_refused_at_once():
    with pytest.raises(AttnlabError, match="no layer 0, head 3"):
        MaskDesk(some_maps(), head=3)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_desk_shows_the_head_it_was_asked_for_without_a_mask():
    maps = some_maps()
    desk = MaskDesk(maps, layer=1, head=2)
    assert desk.report == mask_report(maps, 1, 2, False, 5, 0, "before")
    assert desk.size == {"layers": LAYERS, "heads": HEADS}
    assert desk.error == ""


def test_the_still_tells_small_weights_and_what_is_left_of_each_row():
    desk = MaskDesk(some_maps())
    desk.set(causal=True, place="after")
    (axes,) = desk.picture().figure.axes
    shades = axes.collections[0].norm
    assert shades(0.04) == pytest.approx(0.2)  # by the root, as the desk's own colours
    written = [text.get_text() for text in axes.texts]
    assert "row\nsum" in written
    assert "effective\nkeys of 6" in written
    for text in desk.report["sum_texts"] + desk.report["effective_texts"]:
        assert text in written
    weight = desk.report["weights"][2][1]
    assert f"{weight:.2f}".removeprefix("0") in written


def test_a_moved_control_redraws_the_grid():
    maps = some_maps()
    desk = MaskDesk(maps)
    desk.settings = {**desk.settings, "causal": True}  # as the view sends it
    assert desk.report == mask_report(maps, 0, 0, True, 5, 0, "before")
    desk.set(layer=1, window=2, padding=1, place="after")
    assert desk.report == mask_report(maps, 1, 0, True, 2, 1, "after")


def test_reset_brings_back_where_the_desk_began():
    desk = MaskDesk(some_maps(), head=1)
    before = desk.report
    desk.set(causal=True, head=2, place="after")
    assert desk.report != before
    desk.reset()
    assert desk.report == before


def test_what_goes_wrong_is_shown_at_the_desk_and_then_forgotten():
    desk = MaskDesk(some_maps())
    before = desk.report
    desk.settings = {**desk.settings, "padding": 9}
    assert "padding is 9" in desk.error
    assert "Reset" in desk.error
    assert desk.report == before
    desk.reset()
    assert desk.error == ""


def test_a_control_that_is_not_there_is_refused_and_nothing_moves():
    desk = MaskDesk(some_maps())
    before = desk.settings
    for wrong in ({"colour": 2}, {"window": 99}):
        with pytest.raises(SettingsError):
            desk.set(**wrong)
    assert desk.settings == before
    desk.settings = {"causal": True}
    assert "desk.set(layer=0)" in desk.error


def test_each_desk_keeps_its_own_maps():
    one, other = MaskDesk(some_maps(seed=1)), MaskDesk(some_maps(seed=2))
    one.set(causal=True)
    other.set(causal=True)
    assert one.report["weights"] != other.report["weights"]


def test_the_settings_as_code_bring_another_desk_to_the_same_place():
    desk, other = MaskDesk(some_maps()), MaskDesk(some_maps())
    desk.set(causal=True, window=1)
    exec(desk.code, {"desk": other})
    assert other.settings == desk.settings != other.start
