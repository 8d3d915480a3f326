"""Contrastive loss by its definition, a temperature that is learned, recall by counting."""

import math

import pytest
import torch

from attnlab.errors import TensorError
from attnlab.vision.retrieval import SharedSpace, contrastive_loss, recall_at


def units(n, width, seed=0):
    vectors = torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).double()
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_the_loss_is_the_mean_of_both_directions():
    images, texts = units(5, 3), units(5, 3, seed=1)
    total = 0.0
    for i in range(5):
        alike = [math.exp(float(images[i] @ texts[j]) / 0.2) for j in range(5)]
        total -= math.log(alike[i] / sum(alike))
        alike = [math.exp(float(images[j] @ texts[i]) / 0.2) for j in range(5)]
        total -= math.log(alike[i] / sum(alike))
    assert contrastive_loss(images, texts, 0.2).item() == pytest.approx(total / 10)


def test_the_loss_is_symmetric_and_log_b_where_nothing_tells_pairs_apart():
    images, texts = units(6, 4), units(6, 4, seed=1)
    swapped = contrastive_loss(texts, images, 0.1)
    torch.testing.assert_close(contrastive_loss(images, texts, 0.1), swapped)
    assert contrastive_loss(images[:1].expand(6, 4), texts, 0.1).item() > math.log(6)
    same = images[:1].expand(6, 4)
    assert contrastive_loss(same, same, 0.1).item() == pytest.approx(math.log(6))


def test_gradients_agree_with_differences():
    images, texts = units(4, 3).requires_grad_(), units(4, 3, seed=1).requires_grad_()
    temperature = torch.tensor(0.3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(contrastive_loss, (images, texts, temperature))


def test_training_brings_pairs_together_and_sharpens_the_temperature():
    torch.manual_seed(0)
    things = torch.randn(40, 6)
    images, texts = things @ torch.randn(6, 12), things @ torch.randn(6, 9)
    space = SharedSpace(12, 9, width=8, temperature=0.5)
    optimizer = torch.optim.Adam(space.parameters(), lr=0.02)
    for _ in range(150):
        loss = contrastive_loss(*space(images, texts), space.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    first, second = space(images, texts)
    assert recall_at(first @ second.T, torch.eye(40, dtype=torch.bool), 1) > 0.9
    assert space.temperature < 0.3


def test_vectors_are_of_length_1_and_the_temperature_has_a_floor():
    space = SharedSpace(5, 4)
    for vectors in space(torch.randn(3, 5), torch.randn(2, 4)):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    assert space.temperature.item() == pytest.approx(0.07)
    space.log_scale.data.fill_(50.0)
    assert space.temperature.item() == pytest.approx(0.01)


def test_recall_counts_queries_that_find_a_right_item():
    similarities = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.9], [0.4, 0.3, 0.2]])
    right = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).bool()
    assert [recall_at(similarities, right, k) for k in (1, 2, 3)] == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(TensorError, match="at least two"):
        contrastive_loss(units(1, 3), units(1, 3), 0.1)
    with pytest.raises(TensorError, match="pairs"):
        contrastive_loss(units(3, 3), units(4, 3), 0.1)
    with pytest.raises(TensorError, match="k from 1"):
        recall_at(torch.ones(2, 3), torch.ones(2, 3).bool(), 4)
