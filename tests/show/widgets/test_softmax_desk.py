"""The softmax desk without a browser: what is drawn, what is said, and what is refused."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import SettingsError
from attnlab.show.widgets.softmax_desk import SoftmaxDesk
from attnlab.show.widgets.softmax_report import (
    DRAWS,
    LARGEST_GRADIENT,
    WIDTHS,
    gradient_size,
    softmax_report,
)

ANYWHERE = {
    "temperature": st.floats(0.1, 10),
    "width": st.sampled_from(WIDTHS),
    "keys": st.integers(2, 64),
    "scaled": st.booleans(),
    "seed": st.integers(0, 50),
}


def report(temperature=1.0, width=64, keys=12, scaled=True, seed=0):
    return softmax_report(temperature, width, keys, scaled, seed)


def jacobian_norm(scores):
    """The Frobenius norm as torch's automatic differentiation sees it."""
    function = torch.autograd.functional.jacobian
    return function(lambda x: torch.softmax(x, -1), scores).norm().item()


# ── the numbers ────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(**ANYWHERE)
def test_weights_entropy_and_gradient_are_those_of_plain_torch(**where):
    shown = softmax_report(**where)
    scores = torch.tensor(shown["scores"], dtype=torch.float64)
    weights = torch.softmax(scores, -1)
    entropy = torch.distributions.Categorical(logits=scores).entropy().item()
    assert shown["weights"] == pytest.approx(weights.tolist(), abs=1e-12)
    assert shown["std"] == pytest.approx(scores.std().item())
    assert shown["entropy"] == pytest.approx(entropy, abs=1e-9)
    assert shown["effective_keys"] == pytest.approx(math.exp(entropy), abs=1e-7)
    assert shown["gradient"] == pytest.approx(jacobian_norm(scores), abs=1e-7)
    assert shown["largest"] == weights.argmax().item()


@settings(max_examples=40, deadline=None)
@given(**ANYWHERE)
def test_every_bar_and_meter_stays_inside_its_axis(**where):
    shown = softmax_report(**where)
    assert max(map(abs, shown["scores"])) <= shown["limit"]
    assert all(0 <= meter["share"] <= 1 + 1e-12 for meter in shown["meters"])
    assert all(0 <= share <= 1 for name in ("divided", "plain") for share in shown["curve"][name])
    assert shown["remark"]


def test_the_largest_gradient_is_one_half_and_two_equal_weights_have_it():
    assert gradient_size(torch.tensor([0.5, 0.5, 0, 0])).item() == 0.5
    for keys in (2, 3, 12, 64):
        generator = torch.Generator().manual_seed(keys)
        scores = torch.randn(200, keys, generator=generator, dtype=torch.float64) * 3
        scores.requires_grad_()
        climber = torch.optim.Adam([scores], lr=0.1)
        for _ in range(400):  # climb from many places: none gets higher
            climber.zero_grad()
            size = gradient_size(torch.softmax(scores, -1))
            (-size.sum()).backward()
            climber.step()
        assert size.max().item() == pytest.approx(0.5, abs=1e-3)
        assert size.max().item() <= 0.5 + 1e-12


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("width", [1, 16, 512])
def test_over_many_draws_the_scores_spread_as_predicted(width, scaled):
    shown = [report(2.0, width, 64, scaled, seed) for seed in range(DRAWS)]
    measured = math.sqrt(sum(one["std"] ** 2 for one in shown) / len(shown))
    assert measured == pytest.approx(shown[0]["predicted"], rel=0.15)
    assert shown[0]["predicted"] == pytest.approx((1 if scaled else math.sqrt(width)) / 2)


def test_the_curve_is_the_mean_of_the_desks_own_draws():
    for scaled, name in ((True, "divided"), (False, "plain")):
        for width in (1, 64, 512):
            sizes = [report(0.7, width, 9, scaled, seed)["gradient"] for seed in range(DRAWS)]
            shares = torch.tensor(sizes) / 0.5
            curve = report(0.7, keys=9)["curve"]
            place = WIDTHS.index(width)
            assert curve[name][place] == pytest.approx(shares.mean().item(), abs=1e-6)
            error = shares.std().item() / math.sqrt(DRAWS)
            assert curve[f"{name}_error"][place] == pytest.approx(error, abs=1e-6)


def test_without_division_the_gradient_vanishes_as_keys_get_wider_and_with_it_does_not():
    curve = report()["curve"]
    assert curve["plain"][0] == curve["divided"][0]  # d_k = 1: the root is 1
    assert curve["plain"][-1] < 0.3 * curve["plain"][0]
    assert min(curve["divided"]) > 0.9 * curve["divided"][0]


@settings(max_examples=30, deadline=None)
@given(**ANYWHERE)
def test_what_reaches_the_query_is_what_autograd_says(temperature, width, keys, scaled, seed):
    shown = softmax_report(temperature, width, keys, scaled, seed)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, WIDTHS[-1], generator=generator).double()[0, :width]
    key = torch.randn(64, WIDTHS[-1], generator=generator).double()[:keys, :width]
    divisor = temperature * (math.sqrt(width) if scaled else 1)
    jacobian = torch.autograd.functional.jacobian(
        lambda q: torch.softmax(key @ q / divisor, -1), query
    )
    assert shown["query_gradient"] == pytest.approx(jacobian.norm().item(), rel=1e-6, abs=1e-12)
    assert f"{shown['query_gradient']:.2g}" in shown["remark"]


def test_undivided_some_queries_hear_more_and_wide_ones_mostly_less():
    """At 64 the typical query hears more without the division, at 512 less."""
    for width, more in ((64, True), (512, False)):
        shown = [report(width=width, keys=16, scaled=False, seed=seed) for seed in range(200)]
        plain, divided = (
            torch.tensor([one[name] for one in shown]).median()
            for name in ("query_gradient", "query_gradient_divided")
        )
        assert (plain > divided) == more


# ── the same draw ──────────────────────────────────────────────────────────────────────────────


def test_more_keys_leave_the_first_ones_where_they_were():
    assert report(keys=64)["scores"][:5] == report(keys=5)["scores"]


def test_a_wider_draw_continues_the_narrower_one():
    """Components are independent, so what the second half adds has the variance of its width."""
    narrow, wide = (
        torch.tensor([report(width=w, keys=64, scaled=False, seed=s)["scores"] for s in range(200)])
        for w in (64, 128)
    )
    assert (wide - narrow).var().item() == pytest.approx(64, rel=0.15)
    assert torch.corrcoef(torch.stack([narrow.flatten(), wide.flatten()]))[0, 1] > 0.6


def test_temperature_and_division_only_rescale_the_scores():
    plain = report(scaled=False)["scores"]
    assert report(0.25, scaled=False)["scores"] == pytest.approx([4 * one for one in plain])
    assert report()["scores"] == pytest.approx([one / 8 for one in plain])
    assert report(seed=1)["scores"] != report()["scores"]


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def percents(text):
    return [float(one) for one in re.findall(r"([\d.]+)\s%", text)]


def test_the_remark_names_the_key_that_takes_all_and_measures_the_cure():
    shown = report(scaled=False, seed=11)
    assert "of the largest gradient passes the softmax" in shown["remark"]
    assert f"Key {shown['largest']} takes" in shown["remark"]
    share, passed, cured = percents(shown["remark"])
    assert share == pytest.approx(100 * max(shown["weights"]), abs=0.5)
    assert passed == pytest.approx(100 * shown["gradient"] / LARGEST_GRADIENT, abs=0.1)
    assert "√64 = 8" in shown["remark"]
    assert cured == pytest.approx(200 * report(seed=11)["gradient"], abs=0.5)


def test_the_remark_tells_flat_weights_lucky_draws_and_useful_ones_apart():
    assert "nearly alike" in report(10.0)["remark"]
    assert "lower temperature" in report(10.0)["remark"]
    lucky = report(scaled=False, seed=0)  # two keys tie
    shares = percents(lucky["remark"])
    assert shares == pytest.approx(
        [200 * lucky["gradient"], 100 * lucky["curve"]["plain"][WIDTHS.index(64)]], abs=0.5
    )
    assert f"{report()['effective_keys']:.1f} of 12 keys" in report()["remark"]


def test_scores_and_weights_alone_are_told_without_the_gradient():
    for scaled in (True, False):
        shown = report(scaled=scaled, seed=11)
        apart = max(shown["scores"]) - min(shown["scores"])
        assert f"up to {apart:.3g} apart." in shown["seen"]
        assert f"Key {shown['largest']} takes" in shown["seen"]
        top, alike = percents(shown["seen"])
        assert top == pytest.approx(100 * max(shown["weights"]), abs=0.5)
        assert alike == pytest.approx(100 / 12, abs=0.5)
        assert "gradient" not in shown["seen"]


def test_each_picture_states_its_numbers_in_words():
    shown = report(0.5, 64, 12, False, 3)
    alt = shown["alt"]
    assert "√64 / 0.5 = 16" in alt["scores"]
    assert f"{shown['std']:.3g}" in alt["scores"]
    assert f"{min(shown['scores']):.3g} to {max(shown['scores']):.3g}" in alt["scores"]
    assert f"Key {shown['largest']}" in alt["weights"]
    assert f"{max(shown['weights']):.3f}" in alt["weights"]
    assert "0.083" in alt["weights"]
    place = WIDTHS.index(64)
    for name in ("divided", "plain"):
        wanted = 100 * shown["curve"][name][place]
        assert any(abs(one - wanted) <= 0.5 for one in percents(alt["curve"]))
    entropy, keys, gradient = shown["meters"]
    assert entropy["value"] == f"{shown['entropy']:.2f} nats"
    assert keys["note"] == "of 12"
    assert percents(gradient["note"])[0] == pytest.approx(200 * shown["gradient"], abs=0.5)


def test_no_share_is_called_all_or_nothing_where_something_is_left():
    shown = report(0.1, 512, 64, False, 11)
    assert "more than 99.9" in shown["remark"]
    assert "less than 0.1" in shown["meters"][2]["note"]


# ── what is refused ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"temperature": 0}, "temperature is 0; here it is a number from 0.1 to 10"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"width": 48}, "width is 48; here it is a power of two"),
        ({"width": 64.0}, "width is 64.0"),
        ({"width": True}, "width is True"),
        ({"keys": 1}, "A single key would always get the whole weight"),
        ({"keys": 65}, "whole number from 2 to 64"),
        ({"keys": None}, "keys is None"),
        ({"scaled": "yes"}, "scaled is 'yes'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_way_out(bad, words):
    with pytest.raises(SettingsError, match=re.escape(words)):
        report(**bad)
    with pytest.raises(SettingsError, match=re.escape(words)):
        SoftmaxDesk(**bad)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_desk_shows_what_it_was_asked_for():
    desk = SoftmaxDesk(temperature=0.5, width=32, keys=7, scaled=False, seed=4)
    assert desk.report == softmax_report(0.5, 32, 7, False, 4)
    assert desk.error == ""


def test_a_moved_control_redraws_the_pictures():
    desk = SoftmaxDesk()
    desk.settings = {**desk.settings, "temperature": 0.2}  # as the view sends it
    assert desk.report == softmax_report(**desk.settings)
    desk.set(width=512, keys=64)
    assert desk.report == softmax_report(0.2, 512, 64, True, desk.settings["seed"])


def test_reset_brings_back_where_the_desk_began():
    desk = SoftmaxDesk(keys=5, seed=2)
    before = desk.report
    desk.set(temperature=4, keys=9, seed=3, scaled=False)
    assert desk.report != before
    desk.reset()
    assert desk.report == before


def test_what_goes_wrong_is_shown_at_the_desk_and_then_forgotten():
    desk = SoftmaxDesk()
    before = desk.report
    desk.settings = {**desk.settings, "keys": 1}
    assert "keys is 1" in desk.error
    assert "Reset" in desk.error
    assert desk.report == before
    desk.reset()
    assert desk.error == ""


def test_a_control_that_is_not_there_is_refused_and_nothing_moves():
    desk = SoftmaxDesk()
    before = desk.settings
    for wrong in ({"heat": 2}, {"keys": 1}):
        with pytest.raises(SettingsError):
            desk.set(**wrong)
    assert desk.settings == before
    desk.settings = {"temperature": 0.5}
    assert "desk.set(temperature=1.0)" in desk.error


def test_reset_brings_back_the_start_whatever_was_done_to_the_settings():
    desk = SoftmaxDesk()
    desk.settings["keys"] = 3
    desk.reset()
    assert desk.report["settings"]["keys"] == desk.start["keys"] == 12
    desk.settings = {"keys": -1}
    assert desk.error
    desk.set(temperature=2.0)  # from what is drawn, not from what could not be
    assert not desk.error
    assert desk.report["settings"]["temperature"] == 2.0


def test_the_settings_as_code_bring_another_desk_to_the_same_place():
    desk, other = SoftmaxDesk(), SoftmaxDesk()
    desk.set(temperature=0.5, keys=7)
    exec(desk.code, {"desk": other})
    assert other.settings == desk.settings != other.start


def test_without_the_gradient_the_desk_shows_scores_and_weights_alone():
    desk, whole = SoftmaxDesk(gradient=False), SoftmaxDesk()
    assert [axes.get_title() for axes in desk.picture().figure.axes] == [
        "scores",
        "softmax: weights",
    ]
    assert len(whole.picture().figure.axes) == 3
    assert "gradient" not in desk.picture().alt.lower()
    assert "gradient" in whole.picture().alt.lower()
    assert desk.report == whole.report
    said = [desk.picture().figure.get_suptitle(), whole.picture().figure.get_suptitle()]
    assert ["entropy" in title for title in said] == [False, True]


@pytest.mark.parametrize("scaled", [True, False])
def test_the_small_still_says_how_much_of_the_weight_one_key_takes(scaled):
    desk = SoftmaxDesk(scaled=scaled, gradient=False)
    title, top = desk.picture().figure.get_suptitle(), max(desk.report["weights"])
    assert f"key {desk.report['largest']} gets {top:.2f}, an equal share (dashed) is 0.08" in title


def test_the_still_names_its_curves_as_the_lesson_does():
    picture = SoftmaxDesk(scaled=False).picture()
    axes = picture.figure.axes[2]
    assert [text.get_text() for text in axes.texts] == ["divided", "not divided"]
    assert axes.get_legend() is None, "the names stand at the curves"
