"""Pictures of the inside of a language model: they draw the numbers given, and say them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.language.looking import HeadScores
from attnlab.show import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    assert not plt.get_fignums(), "a picture left its figure open: Jupyter would show it twice"


def scores(seed=0, layers=2, heads=4):
    drawn = torch.rand(layers, heads, generator=torch.Generator().manual_seed(seed))
    return HeadScores(drawn, 0.12, 100)


def history(low=0.1):
    step = np.arange(0, 110, 10)
    return pd.DataFrame(
        {
            "step": step,
            "loss": np.where(step < 60, 4.0, low),
            "induction": step / 100,
            "previous_token": step / 200,
        }
    )


def test_scores_are_drawn_side_by_side_on_one_scale_with_what_a_uniform_head_has():
    first, second = scores(0), scores(1)
    picture = plots.head_scores({"previous token": first, "induction": second})
    for axes, own in zip(picture.figure.axes, (first, second), strict=False):
        mesh = axes.collections[0]
        np.testing.assert_allclose(mesh.get_array().reshape(2, 4), own.scores)
        assert mesh.get_clim() == (0, 1) and mesh.get_cmap().name == "cividis"
        assert "uniform 0.12" in axes.get_title(loc="left")
    layer, head = second.best
    assert (
        f"induction: highest {second.scores.max():.2f} at layer {layer} head {head}" in picture.alt
    )
    assert plots.head_scores(first).png().startswith(b"\x89PNG")
    with pytest.raises(AttnlabError, match="no scores"):
        plots.head_scores({})


def test_ablation_is_red_where_bits_rise():
    table = pd.DataFrame(
        {"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "delta": [2.0, -0.5, 0.1, 0.0]}
    ).assign(ci_low=0.0, ci_high=0.1)
    table.attrs["unit"] = "bits per token"
    picture = plots.head_ablation(table)
    mesh = picture.figure.axes[0].collections[0]
    assert mesh.get_cmap().name == "vlag" and mesh.get_clim() == (-2, 2)
    assert "bits per token" in picture.figure.axes[1].get_ylabel()
    with pytest.raises(AttnlabError, match="ablate_language_model"):
        plots.head_ablation(table.drop(columns="delta"))


def test_the_course_of_induction_says_when_the_loss_fell():
    picture = plots.induction({"two layers": history(), "one layer": history(3.2)})
    assert (
        "two layers: loss from 4.00 to 0.10 nats in 100 steps, below half after 60" in picture.alt
    )
    assert "one layer: loss from 4.00 to 3.20 nats in 100 steps, never below half" in picture.alt
    left, right = picture.figure.axes
    assert left.lines[0].get_ydata().tolist() == history()["loss"].tolist()
    assert len(right.lines) == 4
    assert "loss from 4.00" in plots.induction(history()).alt


def lens(layers=3, tokens=4):
    rows = []
    for layer in range(layers):
        for position in range(tokens):
            come = f"t{position + 1}" if position + 1 < tokens else None
            top = come if layer == 2 and position < 2 else "x$"
            own = {"layer": layer, "position": position, "token": f"t{position}"}
            rows.append(own | {"top": top, "probability": 0.2 * layer, "next": come})
    return pd.DataFrame(rows)


def test_the_lens_frames_what_came_next_and_counts_it():
    picture = plots.logit_lens(lens(), title="A tale")
    axes = picture.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "0", "embedding"]
    frames = [patch.get_xy() for patch in axes.patches if not patch.get_fill()]
    assert frames == [(0.05, 0.07), (1.05, 0.07)]  # the last layer, positions 0 and 1
    told = "Right of 3 that came next: 0 after the embedding, 0 after layer 0, 2 after layer 1."
    assert told in picture.alt
    assert axes.collections[0].get_clim() == (0, 1)
    assert picture.png().startswith(b"\x89PNG")


def test_a_long_lens_is_cut_and_says_so():
    axes = plots.logit_lens(lens(tokens=20)).figure.axes[0]
    assert axes.get_xlabel() == "read, first 16 of 20"
    with pytest.raises(AttnlabError, match="lens_table"):
        plots.logit_lens(lens().drop(columns="top"))
