"""Pictures of many heads: they draw the numbers given and their noise, and say what is to see."""

import itertools
import types

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from attnlab import evaluation
from attnlab.errors import AttnlabError
from attnlab.evaluation.explaining import EXPLANATIONS
from attnlab.show import plots
from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED

TEXT = "The plot is thin, but the two leads are warm and funny."


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a picture left its figure open: Jupyter would show it twice"


@pytest.fixture(scope="module")
def profiles(clf, some):
    return evaluation.profiles(clf, some.texts[:8])


def curves(axes):
    """Lines with a name, by name."""
    return {one.get_label(): one for one in axes.lines if not one.get_label().startswith("_")}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


# ── pruning ────────────────────────────────────────────────────────────────────────────────────


def path_of(order, accuracies, seeds=(0,), shifts=(0.0,)):
    rows = [
        {
            "order": order,
            "seed": seed,
            "heads_off": 2 * step,
            "heads_on": 8 - 2 * step,
            "accuracy": accuracy + (shift if step else 0),
            "stderr": 0.01,
            "loss": 0.4,
        }
        for seed, shift in zip(seeds, shifts, strict=True)
        for step, accuracy in enumerate(accuracies)
    ]
    return pd.DataFrame(rows)


def test_pruning_draws_each_order_and_a_band_for_the_random_one():
    path = pd.concat(
        [
            path_of("gradient", [0.85, 0.85, 0.84, 0.7, 0.5]),
            path_of("random", [0.85, 0.82, 0.7, 0.6, 0.5], (0, 1, 2), (-0.03, 0, 0.06)),
        ]
    )
    picture = plots.pruning(path, chance=0.5)
    axes = picture.figure.axes[0]
    lines = curves(axes)
    assert list(lines) == ["by gradient", "random, mean of 3 (band: lowest to highest)"]
    np.testing.assert_allclose(lines["by gradient"].get_xdata(), [0, 2, 4, 6, 8])
    np.testing.assert_allclose(lines["by gradient"].get_ydata(), [85, 85, 84, 70, 50])
    random = lines["random, mean of 3 (band: lowest to highest)"]
    np.testing.assert_allclose(random.get_ydata(), [85, 83, 71, 61, 51])
    band = axes.collections[0].get_paths()[0].vertices
    at_four = band[band[:, 0] == 4][:, 1]
    np.testing.assert_allclose((at_four.min(), at_four.max()), (67, 76))
    assert len(axes.collections) == 1, "an order of one seed has no band"
    assert "heads taken away, of 8" in axes.get_xlabel()
    assert "by gradient: from 6 heads off" in picture.alt
    assert "lowest to highest): from 2 heads off" in picture.alt
    assert "85.0% with all on (95 %: 83.0% to 87.0%)" in picture.alt


def test_the_neutral_band_is_its_95_percent_interval():
    path = path_of("weights", [0.85, 0.85, 0.84, 0.7, 0.5])
    neutral = types.SimpleNamespace(accuracy=0.86, stderr=0.02, ci=(0.81, 0.9))
    picture = plots.pruning(path[path["heads_off"] > 0], neutral, chance=0.55)
    axes = picture.figure.axes[0]
    band = axes.patches[0]
    assert (band.get_y(), band.get_height()) == pytest.approx((81, 9))
    assert "all heads on, 86.0 (95 %: 81.0 to 90.0)" in legend(axes)
    assert "always the most frequent answer, 55.0" in legend(axes)
    assert list(axes.lines[-1].get_ydata()) == pytest.approx([55, 55])
    alone = plots.pruning(path).figure.axes[0]
    assert alone.patches[0].get_y() == pytest.approx(83.04)  # of the row with all heads on
    assert not any("frequent" in words for words in legend(alone))


def test_orders_are_told_apart_by_more_than_colour():
    parts = [path_of(one, [0.8, 0.7, 0.5]) for one in ("gradient", "ablation", "weights", "mine $")]
    axes = plots.pruning(pd.concat([*parts, path_of("random", [0.8, 0.6, 0.5])])).figure.axes[0]
    lines = curves(axes)
    assert len(lines) == 5
    assert (
        len({(one.get_color(), one.get_linestyle(), one.get_marker()) for one in lines.values()})
        == 5
    )
    assert len({(one.get_linestyle(), one.get_marker()) for one in lines.values()}) == 5
    assert r"mine \$" in lines


# ── effects ────────────────────────────────────────────────────────────────────────────────────


def sweep_of(changes, half, q_values=None, name="loss_delta"):
    """A sweep of one layer after the other, four heads each."""
    changes, half = np.asarray(changes, dtype=float), np.broadcast_to(half, len(changes))
    ends = {"loss_delta": "loss_low loss_high", "delta": "ci_low ci_high"}
    low, high = ends.get(name, "margin_low margin_high").split()
    places = np.divmod(np.arange(len(changes)), 4)
    table = {"layer": places[0], "head": places[1], name: changes}
    table |= {low: changes - half, high: changes + half}
    return pd.DataFrame(
        table | {"q_value": np.ones(len(changes)) if q_values is None else q_values}
    )


def drawn_points(axes):
    """Heights and colour of the points, by their label in the legend."""
    found = {}
    for one in axes.containers:
        line, _, (bars,) = one.lines
        found[one.get_label()] = (line.get_ydata(), line.get_color(), bars.get_segments())
    return found


def test_a_head_is_needed_where_the_margin_falls_without_it():
    table = sweep_of([-0.5, 0.5, 0.01, -0.01], 0.05, name="margin_delta")
    picture = plots.effects(table, "margin_delta")
    found = drawn_points(picture.figure.axes[0])
    assert found["significant: needed"][0].tolist() == [-0.5]
    assert found["significant: better without"][0].tolist() == [0.5]
    assert "logits for layer 0 head" in picture.alt


def test_effects_sort_all_heads_and_draw_their_intervals():
    changes = np.array([0.01, -0.02, 0.003, 0.0, -0.001, 0.02, 0.004, -0.003])
    axes = plots.effects(sweep_of(changes, 0.05)).figure.axes[0]
    ((heights, _, bars),) = drawn_points(axes).values()
    np.testing.assert_allclose(heights, np.sort(changes))
    np.testing.assert_allclose(
        [bar[:, 1] for bar in bars], np.sort(changes)[:, None] + [-0.05, 0.05]
    )
    assert "0 intervals exclude 0" in axes.get_xlabel()
    assert "about 0.4" in axes.get_xlabel()


def test_heads_that_stay_significant_are_coloured_by_what_they_do_and_named():
    changes = np.zeros(16)
    changes[[6, 13]] = 0.09, -0.08  # layer 1 head 2, layer 3 head 1
    changes[9] = 0.0205  # its interval excludes 0, but not after correction for 16 heads
    picture = plots.effects(sweep_of(changes, 0.02))
    axes = picture.figure.axes[0]
    points = drawn_points(axes)
    worse, better = (points[f"significant: {how}"] for how in ("needed", "better without"))
    assert (list(worse[0]), worse[1]) == ([0.09], NEEDED)
    assert (list(better[0]), better[1]) == ([-0.08], BETTER_WITHOUT)
    assert len(points["not significant, 95 % interval"][0]) == 14
    names = {text.get_text(): text.xy for text in axes.texts}
    assert names["L1H2"] == pytest.approx((16, 0.11))  # from the upper end of its bar
    assert names["L3H1"] == pytest.approx((1, -0.1))  # from the lower end
    assert len(names) == 2
    assert "3 intervals exclude 0" in axes.get_xlabel()
    assert "2 are significant after correction" in picture.alt
    assert "+0.09 nats for layer 1 head 2" in picture.alt


def test_names_of_heads_with_like_effects_do_not_lie_on_one_another():
    changes = np.concatenate([[-0.5, -0.301, -0.3, -0.299], np.zeros(64), [0.1, 0.1, 0.1, 0.11]])
    figure = plots.effects(sweep_of(changes, 0.01, name="margin_delta"), "margin_delta").figure
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_for_accuracy_the_tables_q_values_decide_and_a_fall_is_worse():
    q_values = np.ones(8)
    q_values[3] = 0.04
    table = sweep_of([0, 0.002, 0, -0.04, 0, 0, 0.03, 0], 0.02, q_values, "delta")
    picture = plots.effects(table, "delta")
    points = drawn_points(picture.figure.axes[0])
    heights, colour, _ = points["significant: needed"]
    assert (list(heights), colour) == ([-4.0], NEEDED)  # in points
    assert "significant: better without" not in points
    assert "1 is significant" in picture.alt
    assert "-4 points for layer 0 head 3" in picture.alt


def test_the_band_is_where_sorted_noise_would_lie():
    """The oracle: many sweeps of heads that do nothing, each with its own noise."""
    error = np.geomspace(0.2, 5, 24)
    noise = np.sort(np.random.default_rng(3).normal(size=(20_000, 24)) * error, axis=1)
    low, high = np.quantile(noise, (0.025, 0.975), axis=0)
    table = sweep_of(np.linspace(9, -9, 24), stats.norm.ppf(0.975) * error)
    outline = plots.effects(table).figure.axes[0].collections[0].get_paths()[0].vertices
    ends = [outline[outline[:, 0] == rank][:, 1] for rank in range(1, 25)]
    np.testing.assert_allclose([one.min() for one in ends], low, rtol=0.1, atol=0.05)
    np.testing.assert_allclose([one.max() for one in ends], high, rtol=0.1, atol=0.05)


def test_a_sweep_of_several_scales_is_not_drawn_as_one():
    table = sweep_of([0.1, 0.2], 0.05)
    with pytest.raises(AttnlabError, match="several rows for a head"):
        plots.effects(pd.concat([table, table]))


# ── measures of heads ──────────────────────────────────────────────────────────────────────────


def measured_heads(layers=3, heads=4):
    rng = np.random.default_rng(0)
    places = np.indices((layers, heads)).reshape(2, -1)
    first = rng.normal(size=layers * heads)
    columns = {
        "gradient": first,
        "leave_one_out": np.exp(first),
        "norm $": -first,
        "mass": rng.random(12),
    }
    return pd.DataFrame({"layer": places[0], "head": places[1], **columns})


def test_agreement_is_the_rank_correlation_of_every_pair():
    picture = plots.agreement(measured_heads())
    axes = picture.figure.axes[0]
    values = axes.collections[0].get_array()
    shown = np.ma.filled(values.reshape(3, 3), np.nan)
    table = measured_heads()
    other = stats.spearmanr(table["gradient"], table["mass"]).statistic
    expected = [[1, np.nan, np.nan], [-1, -1, np.nan], [other, other, -other]]
    np.testing.assert_allclose(shown, expected, atol=1e-9)
    assert axes.collections[0].get_clim() == (-1, 1)
    words = [text.get_text() for text in axes.texts]
    assert words[:3] == ["1.00", "−1.00", "−1.00"]
    assert [one.get_text() for one in axes.get_yticklabels()] == [
        "leave\none out",
        "norm\n\\$",
        "mass",
    ]
    limit = stats.t.ppf(0.975, 10) / np.sqrt(10 + stats.t.ppf(0.975, 10) ** 2)
    assert f"±{limit:.2f}" in axes.get_xlabel()
    assert "highest 1.00 between gradient and leave one out" in picture.alt


def test_agreement_of_explanations_carries_its_intervals():
    rows = [
        ("a", "b", 0.5, 0.4, 0.6, 9),
        ("a", "c", -0.1, -0.3, 0.1, 9),
        ("b", "c", 0.2, 0.1, 0.3, 8),
    ]
    table = pd.DataFrame(
        rows, columns=["first", "second", "correlation", "ci_low", "ci_high", "texts"]
    )
    picture = plots.agreement(table)
    axes = picture.figure.axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == ["0.50\n[0.40, 0.60]", "−0.10\n[−0.30, 0.10]", "0.20\n[0.10, 0.30]"]
    assert "lowest -0.10 between a and c" in picture.alt
    assert "mean over 9 texts" in picture.alt


def test_importances_are_ranks_and_the_first_five_carry_theirs():
    table = measured_heads().sample(frac=1, random_state=0)  # in any order of rows
    table.loc[(table["layer"] == 2) & (table["head"] == 3), "mass"] = np.nan  # removed for good
    picture = plots.importances(table, title="Which heads?")
    panels = [axes for axes in picture.figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "gradient",
        "leave one out",
        r"norm \$",
        "mass",
    ]
    grid = measured_heads().pivot(index="layer", columns="head", values="gradient").to_numpy()
    expected = stats.rankdata(-grid).reshape(3, 4)
    first, second, opposite, last = (axes.collections[0].get_array() for axes in panels)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(opposite, 13 - expected)
    assert np.ma.getmaskarray(last).reshape(3, 4)[2, 3]
    for axes in panels:
        numbers = sorted(text.get_text() for text in axes.texts if text.get_text())
        assert numbers == ["1", "2", "3", "4", "5"]
    layer, head = np.argwhere(expected == 1)[0]
    assert f"First is layer {layer} head {head} by gradient" in picture.alt
    assert picture.png()


def test_an_odd_number_of_measures_leaves_its_place_empty():
    table = measured_heads().drop(columns="mass")
    figure = plots.importances(table).figure
    assert len([axes for axes in figure.axes if axes.axison]) == 4  # three, and the colour bar


# ── where heads look ───────────────────────────────────────────────────────────────────────────


def test_entropy_draws_every_head_the_mean_of_layers_and_uniform_attention(profiles):
    picture = plots.entropy(profiles)
    axes = picture.figure.axes[0]
    lines = curves(axes)
    np.testing.assert_allclose(lines["a head"].get_ydata(), profiles["entropy"])
    np.testing.assert_allclose(
        lines["mean of the layer"].get_ydata(), profiles.groupby("layer")["entropy"].mean()
    )
    uniform = profiles.attrs["uniform_entropy"]
    assert [uniform, uniform] in [list(line.get_ydata()) for line in axes.lines]
    lowest = profiles.loc[profiles["entropy"].idxmin()]
    head = f"layer {lowest['layer']:.0f} head {lowest['head']:.0f}"
    assert f"most pointed {head} with {lowest['entropy']:.2f}" in picture.alt
    assert f"alike would be {uniform:.2f}" in picture.alt


def test_shares_of_special_tokens_are_means_of_layers_in_percent(profiles):
    picture = plots.special_shares(profiles)
    left, right = picture.figure.axes
    means = 100 * profiles.groupby("layer").mean()
    lines = curves(left) | curves(right)
    np.testing.assert_allclose(lines["on [CLS]"].get_ydata(), means["cls"])
    np.testing.assert_allclose(lines["on [SEP]"].get_ydata(), means["sep"])
    np.testing.assert_allclose(lines["on the text"].get_ydata(), 100 - means["special"])
    np.testing.assert_allclose(lines["of the weight"].get_ydata(), means["special"], rtol=1e-5)
    added = lines["of what heads add (contributions)"].get_ydata()
    np.testing.assert_allclose(added, means["contribution_special"])
    assert f"{100 * profiles['cls'].mean():.0f} % on [CLS]" in picture.alt


def test_removed_heads_leave_gaps_and_no_more(profiles):
    gone = profiles.copy()
    gone.loc[(gone["layer"] == 1) | (gone["head"] == 0), gone.columns[2:]] = np.nan
    picture = plots.entropy(gone)
    assert "Entropy of 55 heads" in picture.alt
    line = curves(picture.figure.axes[0])["mean of the layer"]
    assert list(line.get_xdata()) == [0, 2, 3, 4, 5]
    assert "55 heads" in plots.special_shares(gone).alt


# ── explanations of one text ───────────────────────────────────────────────────────────────────


def test_explanations_colour_each_column_by_its_own_largest_and_write_its_numbers(clf):
    frame = evaluation.explanations(clf, TEXT)
    picture = plots.explanations(frame)
    left, right = picture.figure.axes
    for axes, names in ((left, ["attention", "rollout"]), (right, ["gradient", "ablation"])):
        values = frame[names].to_numpy()
        np.testing.assert_allclose(axes.collections[0].get_array(), values / np.abs(values).max(0))
        frames = [(one.get_x(), one.get_y()) for one in axes.patches]
        assert frames == [(column, row) for column, row in enumerate(np.abs(values).argmax(0))]
    assert left.collections[0].get_clim() == (0, 1)
    assert right.collections[0].get_clim() == (-1, 1)
    assert [one.get_text() for one in left.get_yticklabels()] == frame["token"].tolist()
    assert left.texts[0].get_text() == f"{100 * frame['attention'].iloc[0]:.1f}"
    top = frame.loc[frame["ablation"].abs().idxmax(), "token"]
    assert f"{top!r} by ablation" in picture.alt
    assert "answer 'positive'" in picture.alt


def some_explanation(**columns):
    size = len(next(iter(columns.values())))
    even = {name: np.full(size, 0.5) for name in EXPLANATIONS}
    return pd.DataFrame({"token": [f"w{at}" for at in range(size)], **even} | columns)


def test_small_numbers_keep_their_digits_and_none_is_minus_nothing():
    frame = some_explanation(ablation=[0.0123, -0.00001], gradient=[1.5, -0.25])
    words = [text.get_text() for text in plots.explanations(frame).figure.axes[1].texts]
    assert words == ["1.5", "0.012", "−0.2", "0.000"]


def test_long_texts_are_cut_and_that_is_said_and_dollars_are_no_formulas():
    token = ["$5", *["word"] * 69]
    picture = plots.explanations(some_explanation(token=token, ablation=np.arange(70.0)))
    assert "the first 60 of 70 tokens" in picture.alt
    assert len(picture.figure.axes[0].get_yticklabels()) == 60
    assert picture.png()


def test_no_measure_at_all_can_be_drawn():
    frame = some_explanation(gradient=np.zeros(3), ablation=np.zeros(3))
    assert (plots.explanations(frame).figure.axes[1].collections[0].get_array() == 0).all()


# ── what cannot be drawn ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.pruning(pd.DataFrame({"order": ["x"]})), "lacks 'seed', 'heads_off'"),
        (lambda: plots.pruning([0.8]), "a DataFrame, got list"),
        (lambda: plots.pruning(path_of("x", [0.8, 0.7])[1:]), "neutral=ev.score()"),
        (lambda: plots.effects(sweep_of([0.1], 0.1), "loss"), "margin_delta, loss_delta"),
        (lambda: plots.effects(sweep_of([0.1], 0.1), "delta"), "lacks 'delta', 'ci_low'"),
        (lambda: plots.effects(sweep_of([], 0.1)), "has no rows"),
        (lambda: plots.agreement(measured_heads()[["layer", "head", "mass"]]), "there is 1"),
        (lambda: plots.agreement(measured_heads().assign(name="x")), "'name' holds no numbers"),
        (lambda: plots.importances(measured_heads().assign(same=1)), "'same' is the same"),
        (lambda: plots.importances(measured_heads().drop(columns="head")), "lacks 'head'"),
        (lambda: plots.entropy(measured_heads()), "evaluation.profiles returns"),
        (lambda: plots.special_shares(measured_heads()), "lacks 'cls'"),
        (lambda: plots.explanations(measured_heads()), "lacks 'token'"),
    ],
)
def test_what_cannot_be_drawn_says_why(draw, words):
    with pytest.raises(AttnlabError, match=words):
        draw()
