"""Pictures and views: what they hold, that they say it in words, and that they need nothing else."""

import dataclasses
import html
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import attnlab as al
from attnlab.errors import AttnlabError
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
    assert "1 heads have an interval that excludes 0" in picture.alt
    assert "lowest -5.00 at layer 1 head 2" in picture.alt


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


def test_before_and_after_show_the_silenced_head(maps):
    picture = plots.before_after(maps, 3, 2)
    before, after, difference = (
        axes.collections[0].get_array() for axes in picture.figure.axes[:3]
    )
    assert np.allclose(before, maps.neutral.weights[3, 2])
    assert (np.asarray(after) == 0).all()
    assert np.allclose(difference, -maps.neutral.weights[3, 2])


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
    assert [text.get_text() for text in axes.texts] == ["1.00", "-2.00"]
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
