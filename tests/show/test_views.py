"""Pictures and views: what they hold, that they say it, and that they need nothing else."""

import copy
import dataclasses
import html
import json
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import tiny

import attnlab as al
from attnlab.errors import AttnlabError
from attnlab.evaluation.reports import Report
from attnlab.show import plots, views
from attnlab.training import History

TEXT = "A slow start, but what an ending."


@pytest.fixture(scope="module")
def maps(clf):
    settings = clf.settings()
    settings.scale[3, 2] = 0
    settings.temperature[1, 1] = 3
    return clf.attend(TEXT, settings)


def numbers(view):
    """The parameters that bertviz's script is given."""
    found = re.search(r"const params = thousandths\((.*)\);", view._frame)
    return json.loads(found[1])


# ── views ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["head", "model"])
@pytest.mark.parametrize("what", ["weights", "scaled", "contributions"])
def test_a_view_holds_the_numbers_asked_for_rounded_once(maps, kind, what):
    view = al.attention_view(maps, kind, layers=[1, 3], what=what)
    attention = np.array(numbers(view)["attention"][0]["attn"]) / 1000
    wanted = maps.of(what)[[1, 3]].double().numpy()
    if what == "contributions":
        wanted = wanted / wanted.max()
    assert attention.shape == wanted.shape
    assert np.abs(attention - wanted).max() <= 0.0005 + 1e-9
    assert numbers(view)["include_layers"] == [1, 3]


@pytest.mark.parametrize("heads", [[9], None, [3, 9]])
def test_the_lines_of_a_single_head_are_purple_as_attention_is_elsewhere(maps, heads):
    frame = al.attention_view(maps, layer=3, heads=heads)._frame
    assert ('d3.schemeCategory10[9]="#54278f";' in frame) == (heads == [9])


def test_a_view_needs_no_network(maps):
    page = html.unescape(al.attention_view(maps)._repr_html_())
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "cdnjs" not in page.split("require.config = ")[-1].split("paths")[0]
    assert "window.require=window.requirejs=" in page


@pytest.mark.parametrize(
    "text", ["</script><b>bold", 'it\'s "quoted" & <i>', "a \u2028 b $x$", "😀 电影"]
)
def test_tokens_cannot_break_out_of_the_page(clf, text):
    view = al.attention_view(clf.attend(text), layers=[0])
    assert numbers(view)["attention"][0]["left_text"] == plots.readable(clf.attend(text).tokens)
    page = view._repr_html_()
    frame = re.search(r"srcdoc='([^']*)'", page)[1]
    assert html.unescape(frame) == view._frame
    assert view._frame.count("</script>") == 4  # d3, jQuery, the shim, bertviz


def test_sixty_four_tokens_in_one_layer_stay_small(clf):
    maps = clf.attend(
        "It was a good film, and then it was not so much. " * 4 + "The end, at last, my friends."
    )
    assert len(maps.tokens) >= 60
    assert len(al.attention_view(maps, layers=[3])._repr_html_()) < 700_000


def test_a_pair_can_be_looked_at_side_by_side(clf):
    view = al.attention_view(clf.attend(("A film.", "It is good.")), layers=[0])
    names = [part["name"] for part in numbers(view)["attention"]]
    assert names == [
        "All",
        "Text A → Text A",
        "Text A → Text B",
        "Text B → Text A",
        "Text B → Text B",
    ]
    part = numbers(view)["attention"][2]
    assert (len(part["left_text"]), len(part["right_text"])) == (5, 5)


def test_a_still_picture_with_words_stands_beside_it(maps):
    page = al.attention_view(maps, layers=[3])._repr_html_()
    alt = re.search(r'<img [^>]*alt="([^"]*)"', page)[1]
    assert "layer 3" in alt
    assert "Strongest" in alt
    assert re.search(r'<iframe title="[^"]+"', page)


def test_the_still_picture_of_several_layers_shows_all_their_heads(maps):
    view = al.attention_view(maps, layers=[1, 3])
    assert view.twin.alt.startswith(f"Maps of 2 layers by {maps.heads} heads")
    assert "flex:1 1 480px" in view._repr_html_()  # below the frame where there is no room
    assert "L1H7" in [text.get_text() for text in view.twin.figure.axes[0].texts]  # larger, named
    many = al.attention_view(maps, layers=[0, 1, 2, 3])
    assert many.twin.figure.get_figwidth() > view.twin.figure.get_figwidth()  # in one row
    assert "flex:1 1 560px" in many._repr_html_()
    assert "layer 3" in al.attention_view(maps, layers=[1, 3], layer=3).twin.alt
    assert "head 2" in al.attention_view(maps, layers=[1, 3], heads=[2]).twin.alt


def test_a_difference_has_a_sign_so_it_is_a_map_only(maps):
    page = al.attention_view(maps, what="difference", layers=[3])._repr_html_()
    assert "<iframe" not in page
    assert "minus the neutral" in page


def test_a_view_can_be_saved_as_a_page(maps, tmp_path):
    path = al.attention_view(maps, layers=[0]).save_html(tmp_path / "view.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(AttnlabError, match="no folder"):
        al.attention_view(maps, layers=[0]).save_html(tmp_path / "none" / "view.html")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "heads"}, "Did you mean 'head'"),
        ({"what": "weight"}, "Did you mean 'weights'"),
        ({"layers": [6]}, "no layer 6: layers are 0 to 5"),
        ({"layers": []}, "empty list"),
        ({"layers": [1], "layer": 2}, "not among the layers"),
    ],
)
def test_what_is_not_there_cannot_be_viewed(maps, options, words):
    with pytest.raises(AttnlabError, match=words):
        al.attention_view(maps, **options)


def test_too_long_a_text_says_how_long_is_fine(clf):
    long = clf.attend("good " * 150)
    with pytest.raises(AttnlabError, match=r"152 tokens make 277,248 lines.*about 100 tokens"):
        al.attention_view(long)
    with pytest.raises(AttnlabError, match="too many for a browser"):
        al.attention_view(clf.attend("good " * 60), "model")


# ── plots ──────────────────────────────────────────────────────────────────────────────────────


def sweep_table():
    rows = [(layer, head, 0.001 * (layer - head)) for layer in range(2) for head in range(3)]
    table = pd.DataFrame(rows, columns=["layer", "head", "delta"])
    table["ci_low"], table["ci_high"] = table["delta"] - 0.004, table["delta"] + 0.004
    table.loc[5, ["delta", "ci_low", "ci_high"]] = -0.05, -0.06, -0.04
    return table


def test_a_map_of_a_sweep_marks_its_noise_and_what_is_outside():
    picture = plots.head_map(sweep_table(), title="Silencing")
    axes = picture.figure.axes[0]
    frames = [patch for patch in axes.patches if not patch.get_fill()]
    assert [(patch.get_x(), patch.get_y()) for patch in frames] == [(2, 1)]
    assert "noise of ±0.5 points" in axes.texts[-1].get_text()
    assert "1 head has an interval that excludes 0" in picture.alt
    assert "lowest -5.00 at layer 1 head 2" in picture.alt


def test_small_numbers_of_heads_stay_legible():
    picture = plots.head_map(np.array([[0.004, -0.0123], [0.0, 0.001]]), label="loss, nats")
    axes, bar = picture.figure.axes
    assert [text.get_text() for text in axes.texts] == ["4.0", "−12.3", "0.0", "1.0"]
    assert bar.get_ylabel() == "loss, nats, thousandths"


def test_a_map_of_heads_draws_every_number():
    values = np.arange(6.0).reshape(2, 3)
    axes = plots.head_map(values, label="x").figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [f"{value:.1f}" for value in range(6)]


def test_an_attention_map_names_its_tokens(maps):
    picture = plots.attention_map(maps, 3, 2)
    labels = [label.get_text() for label in picture.figure.axes[0].get_xticklabels()]
    assert labels == maps.tokens
    assert "layer 3, head 2" in picture.alt
    assert "weights × scale" not in picture.alt


def test_a_stretched_map_shows_the_same_weights_on_the_scale_of_all_heads(maps):
    axes, bar = plots.attention_map(maps, 3, 2, stretched=True).figure.axes
    cells = axes.collections[0]
    assert np.allclose(cells.get_array(), maps.weights[3, 2])
    assert cells.norm(0.25) == pytest.approx(0.5)  # by the square root
    assert bar.get_ylabel() == "weight (stretched scale)"
    view = al.attention_view(maps, layers=[3], heads=[2], stretched=True)
    assert view.twin.figure.axes[1].get_ylabel() == "weight (stretched scale)"


def test_before_and_after_show_the_silenced_head(maps):
    picture = plots.before_after(maps, 3, 2)
    before, after, difference = (
        axes.collections[0].get_array() for axes in picture.figure.axes[:3]
    )
    assert np.allclose(before, maps.neutral.weights[3, 2])
    assert (np.asarray(after) == 0).all()
    assert np.allclose(difference, -maps.neutral.weights[3, 2])
    scales = [axes.collections[0].get_clim() for axes in picture.figure.axes[:2]]
    assert scales[0] == scales[1]  # one scale, or the two could not be compared
    bars = [bar.get_ylabel() for bar in picture.figure.axes[3:]]
    assert bars == ["weight × scale", "change of weight × scale"]  # one for the two alike


def test_before_and_after_may_be_two_models_with_names_of_their_own(maps):
    both = dataclasses.replace(maps.neutral, neutral=maps.neutral)
    picture = plots.before_after(both, 3, 2, ("first", "second", "second minus first"))
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes[:3]]
    assert titles[2] == "layer 3, head 2: second minus first"
    bars = [bar.get_ylabel() for bar in picture.figure.axes[3:]]
    assert bars == ["weight", "change of weight"]


def test_before_and_after_alone_have_no_difference_beside_them(maps):
    picture = plots.before_after(maps, 3, 2, ("neutral", "with settings"))
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    assert [title for title in titles if title] == [
        "layer 3, head 2: neutral",
        "layer 3, head 2: with settings",
    ]
    assert picture.alt.startswith("Before and after. ")


def test_dollars_and_long_texts_can_be_drawn(clf):
    plots.attention_map(clf.attend("It cost $5 and $6_x^2$."), 0).png()
    picture = plots.attention_map(clf.attend("good " * 80), 0)
    assert "first 60 of 82 tokens" in picture.figure.axes[0].get_xlabel()


def test_a_learning_curve_says_the_best_epoch():
    rows = [
        {"epoch": 1, "train_loss": 0.6, "dev_loss": 0.5, "dev_accuracy": 0.7, "seconds": 1.0},
        {"epoch": 2, "train_loss": 0.3, "dev_loss": 0.4, "dev_accuracy": 0.8, "seconds": 2.0},
    ]
    assert "best dev accuracy 80.0% at epoch 2" in plots.learning_curve(History(rows)).alt


def steps_of(losses):
    return [
        {"step": at, "loss": loss, "learning_rate": 1e-3 / at, "seconds": float(at)}
        for at, loss in enumerate(losses, 1)
    ]


def epoch_row(epoch, accuracy, seconds):
    measured = {"dev_loss": 0.5, "dev_accuracy": accuracy, "seconds": seconds}
    return {"epoch": epoch, "train_loss": 0.4, **measured}


def test_a_learning_curve_of_steps_draws_them_all_and_the_smoothed_line():
    losses = [0.9, 0.5, float("nan"), 0.4]
    history = History([epoch_row(1, 0.8, 2.5), epoch_row(2, 0.9, 4.5)], steps_of(losses))
    picture = plots.learning_curve(history, dev_texts=100)
    left, right, below = picture.figure.axes
    raw, smooth, dev = left.lines
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    assert smooth.get_ydata()[0] == pytest.approx(0.9)
    assert list(dev.get_xdata()) == [2, 4], "epochs do not end where their steps do"
    assert left.get_ylim()[0] == 0
    assert [text.get_text() for text in right.texts][:2] == ["80.0", "90.0"]
    assert right.get_ylim()[1] - right.get_ylim()[0] >= 5
    bar = right.collections[0].get_segments()[0]
    assert tuple(bar[:, 1]) == pytest.approx((71.1, 86.7), abs=0.1)  # Wilson, 80 of 100
    assert [text.get_text() for text in below.get_yticklabels()] == ["0", "1e-3"]
    assert "90.0% (95 %: 82.6 to 94.5) at epoch 2" in picture.alt


def test_guessing_is_a_line_and_the_losses_fill_the_axis():
    history = History([epoch_row(1, 0.8, 9.0)], steps_of([0.7, 0.68, 0.66]))
    picture = plots.learning_curve(history, guessing=0.693)
    left = picture.figure.axes[0]
    *_, level = left.lines
    assert set(level.get_ydata()) == {0.693}
    assert left.get_ylim()[0] == pytest.approx(0.4)  # the dev loss is 0.5
    assert [text.get_text() for text in left.get_legend().get_texts()][-1] == "guessing"
    assert picture.alt.endswith("Guessing: loss 0.69.")


def test_learning_curves_of_several_runs_look_different_and_say_their_names():
    runs = {
        name: History([epoch_row(1, 0.8, 9.0)], steps_of([0.5, 0.4])) for name in ("lora", "a $1")
    }
    picture = plots.learning_curve(runs)
    left, right, below = picture.figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in left.lines[1::3]}
    assert len(looks) == 2
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["lora", r"a \$1"]
    assert below.get_ylim()[1] >= 100
    assert picture.png()
    assert "lora: over 1 epoch training" in picture.alt


def test_a_run_before_its_first_epoch_and_one_without_steps_can_be_drawn():
    begun = History([], steps_of([0.7]))
    assert "no epoch has ended; last loss 0.70" in plots.learning_curve(begun).alt
    read = History([epoch_row(1, 0.8, 9.0)])  # as an adapter's card keeps it
    mixed = plots.learning_curve({"begun": begun, "read": read})
    assert "over 1 epoch" in mixed.alt
    assert len(mixed.figure.axes) == 2


def a_report(counts, ceiling=float("nan"), calibration=None):
    """A report with these confusions."""
    names = [f"label {place}" for place in range(len(counts))]
    table = calibration or {"confidence": [0.55, 0.95], "accuracy": [0.5, 1.0], "texts": [20, 80]}
    rows = [
        {"name": "this classifier", "accuracy": 0.9, "stderr": 0.03},
        {
            "name": "majority",
            "accuracy": 0.5,
            "stderr": 0.05,
            "delta": 0.4,
            "ci_low": 0.3,
            "ci_high": 0.5,
        },
    ]
    return Report(
        score=SimpleNamespace(n=100),
        classes=pd.DataFrame(),
        confusion=pd.DataFrame(counts, index=names, columns=names),
        calibration=pd.DataFrame(table),
        calibration_error=0.05,
        comparison=pd.DataFrame(rows),
        ceiling=ceiling,
    )


def test_calibration_draws_intervals_the_diagonal_and_how_many_texts_there_are():
    picture = plots.calibration(a_report([[50, 0], [0, 50]]))
    above, below = picture.figure.axes
    assert "5.0%" in above.get_title(loc="left")
    diagonal = above.lines[0]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    low, high = above.collections[0].get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((95.42, 100), abs=0.01)  # Wilson, 80 of 80
    assert [(bar.get_x(), bar.get_height()) for bar in below.patches] == [(50, 20), (90, 80)]
    assert "mean confidence of 95%, of which 100% are right" in picture.alt


def test_calibration_of_an_answer_that_is_always_certain_can_be_drawn():
    sure = {"confidence": [1.0], "accuracy": [0.9], "texts": [10]}
    picture = plots.calibration(a_report([[5, 5], [0, 0]], calibration=sure))
    assert picture.figure.axes[1].patches[0].get_x() == 90
    assert picture.png()


def test_confusions_are_counts_coloured_by_the_share_of_their_row():
    picture = plots.confusion(a_report([[30, 10], [0, 60]]))
    axes = picture.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["30", "10", "", "60"]
    np.testing.assert_allclose(axes.collections[0].get_array(), [[75, 25], [0, 100]])
    assert "90 of 100 texts are right" in picture.alt
    assert "'label 0' for 'label 1' 10 times" in picture.alt
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_of_many_labels_the_most_confused_are_drawn_and_the_rest_as_one():
    counts = np.diag(np.full(52, 7))
    counts[3, 40], counts[40, 5], counts[11, 12] = 9, 8, 1
    picture = plots.confusion(a_report(counts), most=4)
    axes = picture.figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["label 3", "label 5", "label 40", "49 others"]
    shown = [int(text.get_text() or 0) for text in axes.texts]
    assert sum(shown) == counts.sum()
    assert shown[2] == 9  # label 3 for label 40
    assert shown[-1] == 49 * 7 + 1
    assert "most confused of 52" in axes.get_title(loc="left")


def test_a_label_that_no_text_has_leaves_an_empty_row():
    shares = plots.confusion(a_report([[0, 0], [4, 4]])).figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(shares, [[0, 0], [50, 50]])


def test_comparison_draws_intervals_and_the_raters_where_there_are_some():
    picture = plots.comparison(a_report([[45, 5], [5, 45]], ceiling=0.95))
    axes = picture.figure.axes[0]
    low, high = axes.collections[0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((82.56, 94.48), abs=0.01)  # Wilson, 90 of 100
    words = [text.get_text() for text in axes.texts]
    assert "+40.0 points, [+30.0, +50.0]" in words
    assert "single raters agree with the label: 95.0%" in words
    assert "majority 50.0%" in picture.alt
    none = plots.comparison(a_report([[45, 5], [5, 45]]))
    assert not any("raters" in text.get_text() for text in none.figure.axes[0].texts)
    assert "raters" not in none.alt


def test_movement_draws_every_layer_and_kind_in_percent():
    before = tiny("bert")
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.bert.encoder.layer[2].attention.self.value.weight.mul_(1.5)
    picture = plots.movement(before, after)
    axes = picture.figure.axes[0]
    values = np.asarray(axes.collections[0].get_array())
    assert values.shape == (3, 6)
    assert values[2, 2] == pytest.approx(50)
    assert values.sum() == pytest.approx(50)
    assert "most 50 % for value of layer 2" in picture.alt
    assert "word embeddings 0.0 %" in axes.get_xlabel()
    assert plots.movement(before, before).png()


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1e-4, "1e-4"), (2.5e-05, "2.5e-5"), (0.1, "1e-1"), (0.0, "0"), (2.0, "2e0")],
)
def test_learning_rates_are_written_briefly(rate, words):
    assert plots.brief(rate) == words


def test_lines_draw_every_curve_with_a_name_of_its_own():
    picture = plots.lines(
        [1, 10, 100],
        {"plain": [1, 2, 3], "tiled": [3, 2, 1]},
        points=([1], [2]),
        xlabel="tokens",
        ylabel="time, ms",
        title="Cost",
        log="xy",
        alt="Two crossing lines.",
    )
    axes = picture.figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain", "tiled"]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens", "time, ms")
    assert len({line.get_linestyle() for line in axes.lines if len(line.get_xdata()) == 3}) == 2
    assert picture.alt == "Two crossing lines."


def test_a_matrix_shows_its_numbers_where_it_is_small_and_centres_signs_at_zero():
    words = {"xlabel": "key", "ylabel": "query", "label": "weight", "alt": "A small matrix."}
    signed = plots.matrix(
        np.array([[1.0, -2.0]]), columns=["a", "b"], rows=["c"], title="T", **words
    )
    axes = signed.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "−2.00"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]
    assert axes.collections[0].get_clim() == (-2, 2)
    large = plots.matrix(np.ones((20, 20)), **words).figure.axes[0]
    assert not list(large.texts)
    assert large.collections[0].get_clim() == (0, 1)
    with pytest.raises(AttnlabError, match=r"\(3,\)"):
        plots.matrix(np.ones(3), **words)


def test_a_picture_is_an_image_with_words_and_shows_once(tmp_path):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    picture = plots.show(figure, alt='A line that "rises" < 3')
    assert 'alt="A line that &quot;rises&quot; &lt; 3"' in picture._repr_html_()
    assert not plt.fignum_exists(figure.number)
    assert picture.save(tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda maps: plots.attention_map(maps, 9), "no layer 9"),
        (lambda maps: plots.attention_map(maps, 0, 12), "no layer 0, head 12"),
        (lambda maps: plots.before_after(maps.neutral, 0), "nothing to compare"),
        (lambda maps: plots.head_map(np.zeros(3)), r"shape \(3,\)"),
        (lambda maps: plots.head_map(sweep_table(), column="x"), "no column 'x'"),
        (lambda maps: plots.learning_curve(History()), "history is empty"),
        (lambda maps: plots.learning_curve({}), "history is empty"),
        (lambda maps: plots.confusion(a_report([[1, 0], [0, 1]]), most=1), "at least 2 labels"),
        (lambda maps: plots.show(plt.figure(), alt=" "), "alt text"),
    ],
)
def test_what_cannot_be_drawn_says_why(maps, draw, words):
    with pytest.raises(AttnlabError, match=words):
        draw(maps)
    plt.close("all")


def test_a_packages_file_that_is_missing_is_named():
    with pytest.raises(AttnlabError, match="no_such_package is missing"):
        views._packaged("no_such_package", "x.js")


def test_a_token_that_is_a_tag_shows_as_text(maps):
    """BERT cuts tags into pieces; other tokenizers keep them whole."""
    tag = "</script><b>"
    whole = dataclasses.replace(maps, tokens=[tag, *maps.tokens[1:]])
    view = al.attention_view(whole, layers=[0])
    assert numbers(view)["attention"][0]["left_text"][0] == tag
    assert tag not in view._frame
    assert view._frame.count("</script>") == 4
