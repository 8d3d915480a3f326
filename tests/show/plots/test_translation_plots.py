"""Pictures and views of translation: they hold the numbers, say them, and name what is wrong."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

import attnlab as al
from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.show import plots, views
from attnlab.training import History

SOURCE = ["fr", ":", "▁3", "▁mars", "</script><b>", "[end]"]
TARGET = ["0", "3", "$", "[end]"]
VOCABULARY = ["[padding]", "[unknown]", "[start]", "[end]", "0", "3", "$"]


def made(source=SOURCE, target=TARGET, encoder_layers=3, layers=2, heads=4, silent=()):
    """Maps of random weights with rows that sum to 1."""
    generator = torch.Generator().manual_seed(0)
    settings = Seq2SeqSettings.neutral(encoder_layers, layers, heads)
    for place in silent:
        settings.cross.scale[place] = 0

    def rows(count, down, across):
        return torch.randn(count, heads, down, across, generator=generator).mul(2).softmax(-1)

    def ends(count):
        return torch.arange(count) == count - 1

    fed = ["[start]", *target[:-1]]
    encoder = rows(encoder_layers, len(source), len(source))
    decoder = rows(layers, len(target), len(target)).tril()
    decoder = decoder / decoder.sum(-1, keepdim=True)
    cross = rows(layers, len(target), len(source))
    return Seq2SeqMaps(
        AttentionMaps(source, encoder, encoder, ends(len(source)), settings.encoder),
        AttentionMaps(fed, decoder, decoder, ends(len(fed)), settings.decoder),
        CrossMaps(source, target, cross, cross, settings.cross),
        torch.randn(len(target), len(VOCABULARY), generator=generator).mul(2).softmax(-1),
        VOCABULARY,
    )


@pytest.fixture(scope="module")
def maps():
    return made()


def drawn(picture, axes=0):
    return np.asarray(picture.figure.axes[axes].collections[0].get_array()).ravel()


def labels(axis):
    return [one.get_text() for one in axis.get_ticklabels()]


# ── alignment ──────────────────────────────────────────────────────────────────────────────────


def test_an_alignment_draws_one_head_with_predicted_tokens_down_and_the_source_across(maps):
    picture = plots.alignment(maps, 1, 2)
    np.testing.assert_allclose(drawn(picture), maps.cross.weights[1, 2].ravel())
    axes = picture.figure.axes[0]
    assert labels(axes.yaxis) == ["0", "3", r"\$", "[end]"]
    assert labels(axes.xaxis) == [name.replace("▁", "␣") for name in SOURCE]  # a space, as seen
    row, column = np.unravel_index(maps.cross.weights[1, 2].argmax(), (4, 6))
    assert f"Strongest: {TARGET[row]!r} to {SOURCE[column]!r}" in picture.alt
    assert "layer 1, head 2" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


def test_without_a_head_it_is_the_mean_over_heads_and_without_a_layer_over_all(maps):
    mean = maps.cross.weights.mean(1)
    np.testing.assert_allclose(drawn(plots.alignment(maps, 0)), mean[0].ravel(), rtol=1e-5)
    np.testing.assert_allclose(drawn(plots.alignment(maps)), mean.mean(0).ravel(), rtol=1e-5)
    assert "mean over all heads" in plots.alignment(maps).alt


def test_frames_point_at_cells_of_an_alignment(maps):
    picture = plots.alignment(maps, frames={"day": ((0, 1), (2, 2)), "end": ((3, 3), (5, 5))})
    axes = picture.figure.axes[0]
    boxes = [patch.get_bbox().bounds for patch in axes.patches]
    assert boxes == [(2, 0, 1, 2), (5, 3, 1, 1)]
    assert [text.get_text() for text in axes.texts] == ["day", "end"]
    assert picture.alt.endswith("Framed: day, end.")


@pytest.mark.parametrize("frame", [((0, 4), (0, 0)), ((0, 0), (6, 6)), ((2, 1), (0, 0))])
def test_a_frame_outside_the_map_is_refused(maps, frame):
    with pytest.raises(AttnlabError, match="does not lie within 4 x 6"):
        plots.alignment(maps, frames={"day": frame})


def test_an_alignment_says_in_its_title_what_there_is_to_see(maps):
    title = plots.alignment(maps, title="It looks ahead").figure.axes[0].get_title(loc="left")
    assert title == "It looks ahead"
    assert "mean over all heads" in plots.alignment(maps).figure.axes[0].get_title(loc="left")


def test_three_kinds_of_attention_are_drawn_and_the_future_is_blank(maps):
    picture = plots.attention_kinds(maps)
    for axes, own in enumerate((maps.encoder, maps.decoder, maps.cross)):
        mean = own.weights.mean((0, 1)).numpy()
        found = np.ma.filled(picture.figure.axes[axes].collections[0].get_array(), np.nan)
        if own is maps.decoder:
            mean = np.where(np.tri(len(mean)), mean, np.nan)
        np.testing.assert_allclose(found.reshape(mean.shape), mean, rtol=1e-5)
    assert "decoder: written looks at written, strongest '[start]' to '[start]'" in picture.alt


def test_a_silent_head_is_dark_in_an_alignment():
    maps = made(silent=[(1, 2)])
    assert np.abs(drawn(plots.alignment(maps, 1, 2))).max() == 0
    assert np.abs(drawn(plots.alignments(maps, 1), 2)).max() == 0


@pytest.mark.parametrize(
    ("place", "words"), [((2, 0), "no layer 2"), ((0, 4), "head 4"), ((None, 1), "which layer")]
)
def test_a_head_that_is_not_there_cannot_be_drawn(maps, place, words):
    with pytest.raises(AttnlabError, match=words):
        plots.alignment(maps, *place)


def test_all_heads_of_a_layer_are_drawn_with_the_same_colours(maps):
    picture = plots.alignments(maps, 1)
    for head in range(4):
        np.testing.assert_allclose(drawn(picture, head), maps.cross.weights[1, head].ravel())
        assert f"head {head}: " in picture.alt
    limits = {axes.collections[0].get_clim() for axes in picture.figure.axes[:4]}
    assert len(limits) == 1
    with pytest.raises(AttnlabError, match="no layer 2"):
        plots.alignments(maps, 2)


def test_heads_that_do_not_fill_the_last_line_leave_no_empty_map():
    picture = plots.alignments(made(heads=5), 0)
    shown = [axes for axes in picture.figure.axes[:-1] if axes.axison]  # the last is the colour bar
    assert [axes.get_title(loc="left") for axes in shown] == [f"head {one}" for one in range(5)]


def test_of_a_long_text_the_beginning_is_drawn_and_that_is_said():
    maps = made(["a"] * 70, ["0"] * 65, 1, 1, 2)
    picture = plots.alignment(maps, 0, 0)
    assert len(drawn(picture)) == plots.MAX_TOKENS**2
    assert "first 60 of 70" in picture.figure.axes[0].get_xlabel()
    assert "first 60 of 65" in picture.figure.axes[0].get_ylabel()


# ── alignment accuracy ─────────────────────────────────────────────────────────────────────────


def accuracies():
    return pd.DataFrame(
        [
            {"layer": layer, "head": head, "field": field, "accuracy": value, "chance": chance}
            for field, chance, grid in (
                ("year", 0.25, [[0.1, 0.9], [0.3, 0.2]]),
                ("day", 0.1, [[0.05, 0.1], [0.6, 0.4]]),
            )
            for layer, row in enumerate(grid)
            for head, value in enumerate(row)
        ]
    )


def test_alignment_accuracy_has_a_map_for_each_field_with_its_numbers():
    picture = plots.alignment_accuracy(accuracies())
    first, second = picture.figure.axes[:2]
    np.testing.assert_allclose(drawn(picture, 0), [10, 90, 30, 20])
    np.testing.assert_allclose(drawn(picture, 1), [5, 10, 60, 40])
    assert [one.get_text() for one in first.texts] == ["10", "90", "30", "20"]
    assert first.get_title(loc="left") == "year\nbest 0.1, chance 25 %"
    assert second.get_title(loc="left") == "day\nbest 1.0, chance 10 %"
    assert [axes.patches[0].get_xy() for axes in (first, second)] == [(1, 0), (0, 1)]  # framed
    assert "year: best is layer 0 head 1 with 90 %, chance 25 %" in picture.alt
    assert "day: best is layer 1 head 0 with 60 %" in picture.alt


def test_a_table_of_something_else_is_refused():
    with pytest.raises(AttnlabError, match="lacks chance"):
        plots.alignment_accuracy(accuracies().drop(columns="chance"))
    with pytest.raises(AttnlabError, match="no rows"):
        plots.alignment_accuracy(accuracies().iloc[:0])


# ── next tokens ────────────────────────────────────────────────────────────────────────────────


def test_next_tokens_are_the_likeliest_with_the_chosen_one_marked(maps):
    for step, came in enumerate(TARGET):
        picture = plots.next_tokens(maps, step, k=len(VOCABULARY))
        axes = picture.figure.axes[0]
        shares = [bar.get_width() / 100 for bar in axes.patches]
        expected = maps.probabilities[step].sort(descending=True).values
        np.testing.assert_allclose(shares, expected, rtol=1e-3)
        chosen = [one.get_text().endswith("chosen") for one in axes.texts]
        tokens = [one.replace("\\", "") for one in labels(axes.yaxis)]
        assert [token for token, mark in zip(tokens, chosen, strict=True) if mark] == [came]
        assert f"at step {step}, after " in picture.alt
        assert f"Chosen: {came!r}" in picture.alt


def test_what_came_is_shown_even_if_it_is_not_among_the_likeliest(maps):
    least = int(maps.probabilities[0].argmin())
    other = made(target=[VOCABULARY[least], *TARGET[1:]])
    axes = plots.next_tokens(other, 0, k=2).figure.axes[0]
    assert len(axes.patches) == 3
    assert axes.texts[-1].get_text().endswith("chosen")


@pytest.mark.parametrize("step", [-1, 4])
def test_a_step_that_is_not_there_cannot_be_drawn(maps, step):
    with pytest.raises(AttnlabError, match="steps are 0 to 3"):
        plots.next_tokens(maps, step)


# ── bertviz ────────────────────────────────────────────────────────────────────────────────────


def parts(view):
    found = re.search(r"const parts = (\[.*\])\.map\(thousandths\);", view._frame)
    return json.loads(found[1])


@pytest.mark.parametrize("kind", ["head", "model"])
def test_a_view_holds_all_three_kinds_of_attention(maps, kind):
    cross, decoder, encoder = parts(al.translation_view(maps, kind))
    for part, own in ((cross, maps.cross), (decoder, maps.decoder), (encoder, maps.encoder)):
        np.testing.assert_allclose(
            np.array(part["attention"][0]["attn"]) / 1000, own.weights, atol=5.1e-4
        )
        assert part["include_layers"] == list(range(own.layers))
        assert part["total_heads"] == 4
    assert (cross["attention"][0]["left_text"], cross["attention"][0]["right_text"]) == (
        TARGET,
        SOURCE,
    )
    assert decoder["attention"][0]["left_text"] == ["[start]", *TARGET[:-1]]
    assert encoder["attention"][0]["right_text"] == SOURCE


def test_a_token_cannot_end_the_script(maps):
    view = al.translation_view(maps)
    assert view._frame.count("</script>") == 4  # d3, jQuery, the shim, bertviz
    assert "<b>" not in view._frame
    page = view._repr_html_()
    frame = re.search(r"srcdoc='([^']*)'", page)[1]
    assert html.unescape(frame) == view._frame


def test_a_view_needs_no_network_and_has_a_still_twin(maps):
    page = html.unescape(al.translation_view(maps)._repr_html_())
    assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']https?://""", page)
    assert 'alt="Heat maps, mean over all heads. encoder: source looks at source' in page


def test_a_view_that_a_browser_would_choke_on_is_refused(maps):
    long = made(["a"] * 400, ["0"] * 100, 1, 1, 4)
    with pytest.raises(AttnlabError, match="lines, too many"):
        al.translation_view(long)
    deep = made(["a"] * 100, ["0"] * 100, 6, 6, 4)
    assert al.translation_view(deep)._height <= 900
    with pytest.raises(AttnlabError, match="240,000 lines"):
        al.translation_view(deep, "model")
    with pytest.raises(AttnlabError, match="Did you mean 'model'"):
        al.translation_view(maps, "modell")
    assert views.MAX_LINES < 240_000


def test_a_translators_learning_curve_says_exact_match_and_draws_chrf_by_which_it_is_chosen():
    rows = [
        {"epoch": epoch, "train_loss": 1.0, "dev_loss": 1.0, "seconds": epoch}
        | {"dev_accuracy": 0.1 * epoch, "dev_chrf": 20.0 + epoch}
        for epoch in (1, 2, 3)
    ]
    picture = plots.learning_curve(History(rows=rows, epochs=3, chosen_by="dev_chrf"))
    right = picture.figure.axes[1]
    assert right.get_ylabel() == "dev exact match, % (thin: chrF)"
    assert right.lines[-1].get_ydata().tolist() == [21, 22, 23]
    assert "best dev chrF 23.0 and exact match 30.0% at epoch 3" in picture.alt
    assert "highest" not in picture.alt
    rows[0]["dev_accuracy"] = 0.5  # a peak that is drawn, in an epoch that was not chosen
    picture = plots.learning_curve(History(rows=rows, epochs=3, chosen_by="dev_chrf"))
    assert "exact match 30.0% at epoch 3; highest exact match 50.0% at epoch 1" in picture.alt
