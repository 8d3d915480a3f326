"""A picture cut into patches, and positions in a grid."""

import pytest
import torch
from torch import nn

import attnlab as al
from attnlab.attention import (
    MultiHeadAttention,
    rotary_angles_2d,
    rotate,
    scaled_dot_scores,
    sinusoidal_positions,
    sinusoidal_positions_2d,
)
from attnlab.errors import TensorError
from attnlab.vision import PatchEmbedding, patchify, unpatchify


def test_a_patch_holds_the_pixels_of_its_square_channel_by_channel():
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6).float()
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            square = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 3 * row + column], square.flatten(1))


@pytest.mark.parametrize(
    "shape, patch", [((1, 1, 28, 28), 7), ((3, 3, 8, 12), 4), ((2, 2, 5, 3), 1)]
)
def test_patches_put_together_again_are_the_picture(shape, patch):
    images = torch.randn(shape)
    assert torch.equal(unpatchify(patchify(images, patch), *shape[2:], patch), images)


def test_a_linear_map_of_patches_is_a_convolution_with_the_stride_of_a_patch():
    torch.manual_seed(0)
    embedding = PatchEmbedding(4, 3, 16)
    convolution = nn.Conv2d(3, 16, kernel_size=4, stride=4)
    with torch.no_grad():
        convolution.weight.copy_(embedding.linear.weight.view(16, 3, 4, 4))
        convolution.bias.copy_(embedding.linear.bias)
    images = torch.randn(2, 3, 8, 12)
    wanted = convolution(images).flatten(2).transpose(1, 2)
    assert torch.allclose(embedding(images), wanted, atol=1e-6)


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 7, 8, 14])
def test_a_stem_has_a_vector_for_each_patch_and_looks_over_its_edges(patch):
    torch.manual_seed(0)
    embedding = PatchEmbedding(patch, 1, 16, stem=True)
    images = torch.randn(1, 1, 2 * patch, 3 * patch, requires_grad=True)
    vectors = embedding(images)
    assert vectors.shape == (1, 6, 16)
    (slopes,) = torch.autograd.grad(embedding.stem[0](images)[0, :, 0, patch - 1].sum(), images)
    assert slopes[0, 0, :, patch:].abs().sum() > 0  # the neighbour's pixels


@pytest.mark.parametrize("patch", [2, 3, 4, 7, 8, 14])
def test_a_stem_gives_vectors_row_after_row_of_patches(patch):
    """With every weight 1 and no norms a vector depends most on the pixels of its own patch."""
    embedding = PatchEmbedding(patch, 1, 16, stem=True).double()
    embedding.stem = nn.Sequential(*(one for one in embedding.stem if isinstance(one, nn.Conv2d)))
    for parameter in embedding.parameters():
        nn.init.ones_(parameter)
    images = torch.randn(1, 1, 2 * patch, 3 * patch, dtype=torch.float64, requires_grad=True)
    vectors = embedding(images)
    for place in range(6):
        (slopes,) = torch.autograd.grad(vectors[0, place].sum(), images, retain_graph=True)
        assert patchify(slopes, patch).sum(-1).argmax() == place


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: patchify(torch.randn(1, 1, 28, 28), 5), "28 x 28 pixels .* 5 x 5: 5 must divide"),
        (lambda: patchify(torch.randn(28, 28), 7), r"\(28, 28\); it needs \(batch, channels"),
        (lambda: patchify(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 2), "floating-point"),
        (lambda: patchify(torch.randn(1, 1, 4, 4), 0), "patch is 0"),
        (lambda: unpatchify(torch.randn(1, 5, 4), 4, 4, 2), "has 4 patches of 4 numbers"),
        (lambda: unpatchify(torch.randn(1, 4, 5), 4, 4, 2), "has 4 patches of 4 numbers"),
        (lambda: PatchEmbedding(2, 3, 8)(torch.randn(1, 1, 4, 4)), "reads 3 channels"),
    ],
)
def test_what_cannot_be_cut_is_refused(call, told):
    with pytest.raises(TensorError, match=told):
        call()


# ── positions ──────────────────────────────────────────────────────────────────────────────────


def test_a_cell_has_the_waves_of_its_row_and_of_its_column():
    table = sinusoidal_positions_2d(3, 5, 16).view(3, 5, 16)
    lines = sinusoidal_positions(5, 8)
    for row in range(3):
        for column in range(5):
            wanted = torch.cat([lines[row], lines[column]])
            assert torch.equal(table[row, column], wanted)


def test_scores_of_turned_vectors_depend_on_the_distance_alone():
    """Rows and columns each: the oracle is the score of the same two vectors elsewhere."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 8, dtype=torch.float64)
    angles = rotary_angles_2d(6, 7, 8)
    turned = [rotate(x.expand(42, -1), angles).view(6, 7, 8) for x in (query, key)]

    def score(a, b):
        return float(turned[0][a] @ turned[1][b])

    for step in ((0, 1), (1, 0), (2, 3)):
        far = [
            score((row, column), (row + step[0], column + step[1]))
            for row in range(6 - step[0])
            for column in range(7 - step[1])
        ]
        assert max(far) - min(far) < 1e-6  # the angles are float32
        assert abs(far[0] - score((0, 0), (0, 0))) > 1e-3


def test_turning_keeps_lengths_and_turns_by_the_angle():
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0]])
    turned = rotate(x, torch.tensor([[torch.pi / 2, torch.pi]]))
    assert torch.allclose(turned, torch.tensor([[0.0, 1.0, 0.0, -2.0]]), atol=1e-6)


def test_attention_turns_queries_and_keys_and_not_values():
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2).eval()
    x, angles = torch.randn(1, 6, 16), rotary_angles_2d(2, 3, 8)
    _, weights = attention(x, angles=angles, return_weights=True)
    query, key, value = (
        layer(x).view(1, 6, 2, 8).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    wanted = scaled_dot_scores(rotate(query, angles), rotate(key, angles)).softmax(-1)
    assert torch.allclose(weights, wanted, atol=1e-6)
    mixed = attention.output((wanted @ value).transpose(1, 2).flatten(2))
    assert torch.allclose(attention(x, angles=angles), mixed, atol=1e-6)
    projected = attention.project(x, angles=angles)
    assert torch.allclose(attention(x, projected=projected, angles=angles), mixed, atol=1e-6)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: sinusoidal_positions_2d(2, 2, 6), "multiple of 4"),
        (lambda: rotary_angles_2d(2, 0, 8), "columns is 0"),
        (lambda: rotate(torch.randn(3, 8), torch.randn(3, 8)), r"\(T, D / 2\)"),
        (lambda: rotate(torch.randn(3, 7), torch.randn(3, 3)), "even D"),
        (lambda: al.transformer.EncoderLayer(8, 2, 8, activation="tanh"), "There is no activation"),
    ],
)
def test_positions_that_cannot_be_are_refused(call, told):
    with pytest.raises(al.AttnlabError, match=told):
        call()
