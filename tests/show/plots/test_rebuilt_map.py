"""A rebuilt map beside its distance from the model's own."""

import numpy as np
import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show import plots


def maps(count=4):
    weights = torch.rand(2, 3, count, count, generator=torch.Generator().manual_seed(0))
    weights = weights / weights.sum(-1, keepdim=True)
    padding = torch.zeros(count, dtype=torch.bool)
    tokens = [f"t{at}" for at in range(count)]
    return AttentionMaps(tokens, weights, weights, padding, HeadSettings(2, 3))


def test_each_weight_is_a_dot_against_the_model_s_own_and_the_title_says_how_far_they_are():
    given = maps()
    mine = given.weights[1, 2].clone()
    mine[3, 0] += 0.3
    picture = plots.rebuilt_map(given, 1, 2, mine)
    left, right = picture.figure.axes[:2]
    np.testing.assert_allclose(left.images[0].get_array(), mine)
    dots = right.collections[0].get_offsets()
    np.testing.assert_allclose(dots[:, 0], given.weights[1, 2].flatten(), rtol=1e-6)
    np.testing.assert_allclose(dots[:, 1], mine.flatten(), rtol=1e-6)
    assert right.get_title(loc="left") == r"largest difference $3 \times 10^{-1}$"
    assert "layer 1 head 2, 4 tokens" in picture.alt and "16 weights" in picture.alt


def test_equal_weights_differ_by_0():
    picture = plots.rebuilt_map(maps(), 0, 1, maps().weights[0, 1])
    assert picture.figure.axes[1].get_title(loc="left") == "largest difference 0"


def test_weights_of_another_shape_are_refused():
    with pytest.raises(AttnlabError, match=r"shape \(1, 4, 4\)"):
        plots.rebuilt_map(maps(), 0, 0, maps().weights[0, :1])
