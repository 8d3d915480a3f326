"""Matching is the cheapest of all permutations; the loss does not depend on any order."""

from itertools import permutations, product

import pytest
import torch

from attnlab.errors import TensorError
from attnlab.vision.boxes import box_loss
from attnlab.vision.matching import ABSENT, match, match_cost, set_loss


def drawn(batch=3, queries=5, objects=4, classes=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, queries, classes + 1, generator=generator)
    boxes = torch.rand(batch, queries, 4, generator=generator)
    labels = torch.randint(0, classes, (batch, objects), generator=generator)
    targets = torch.rand(batch, objects, 4, generator=generator)
    return logits, boxes, labels, targets


@pytest.mark.parametrize("queries, objects", [(1, 1), (4, 4), (6, 3), (5, 1), (3, 0)])
def test_no_permutation_is_cheaper(queries, objects):
    for seed in range(20):
        cost = torch.randn(queries, objects, generator=torch.Generator().manual_seed(seed))
        ours = match(cost)
        cheapest = min(
            sum(cost[query, number].item() for number, query in enumerate(chosen))
            for chosen in permutations(range(queries), objects)
        )
        assert cost[ours].sum().item() == pytest.approx(cheapest, abs=1e-5)
        assert sorted(ours[1].tolist()) == list(range(objects))
        assert len(set(ours[0].tolist())) == objects


def by_brute_force(logits, boxes, labels, targets, box_weight, giou_weight, nothing_weight):
    """The loss from its definition, by trying every permutation, one picture at a time."""
    weighed, weights, distances = [], [], []
    nothing = logits.shape[-1] - 1
    for picture in range(len(logits)):
        objects = [number for number, label in enumerate(labels[picture]) if label != ABSENT]
        far = {
            (query, number): box_loss(boxes[picture, query], targets[picture, number], giou_weight)
            for query, number in product(range(boxes.shape[1]), objects)
        }
        chances = logits[picture].softmax(-1)
        prices = {
            (query, number): box_weight * far[query, number]
            - chances[query, labels[picture, number]]
            for query, number in far
        }
        best = min(
            permutations(range(boxes.shape[1]), len(objects)),
            key=lambda chosen, at=objects, prices=prices: sum(
                prices[pair] for pair in zip(chosen, at, strict=True)
            ),
        )
        for query in range(boxes.shape[1]):
            number = objects[best.index(query)] if query in best else None
            label = nothing if number is None else labels[picture, number]
            weights.append(nothing_weight if number is None else 1.0)
            weighed.append(-weights[-1] * logits[picture, query].log_softmax(-1)[label])
            if number is not None:
                distances.append(far[query, number])
    return sum(weighed) / sum(weights) + box_weight * sum(distances) / len(distances)


@pytest.mark.parametrize("knobs", [(1.0, 1.0, 0.1), (5.0, 0.4, 1.0), (0.0, 1.0, 0.5)])
def test_the_loss_equals_its_definition_by_brute_force(knobs):
    logits, boxes, labels, targets = drawn()
    labels[0, 2:], labels[2, :1] = ABSENT, ABSENT
    expected = by_brute_force(logits, boxes, labels, targets, *knobs)
    torch.testing.assert_close(set_loss(logits, boxes, labels, targets, *knobs), expected)


def test_the_order_of_queries_and_of_objects_does_not_matter():
    logits, boxes, labels, targets = drawn()
    labels[1, 3] = ABSENT
    loss = set_loss(logits, boxes, labels, targets)
    order, other = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 3, 1, 0])
    moved = set_loss(logits[:, order], boxes[:, order], labels[:, other], targets[:, other])
    torch.testing.assert_close(moved, loss)


def test_only_matched_queries_get_a_gradient_for_their_box():
    logits, boxes, labels, targets = drawn(batch=1, queries=5, objects=2)
    boxes.requires_grad_()
    set_loss(logits, boxes, labels, targets).backward()
    matched, _ = match(match_cost(logits[0], boxes[0].detach(), labels[0], targets[0]))
    moved = boxes.grad[0].abs().sum(-1).nonzero()[:, 0]
    assert moved.tolist() == sorted(matched.tolist())


def test_pictures_without_objects_ask_all_queries_for_nothing():
    logits, boxes, labels, targets = drawn(batch=2)
    labels[:] = ABSENT
    logits[..., -1] = 50
    assert set_loss(logits, boxes, labels, targets).item() == pytest.approx(0, abs=1e-6)


def test_what_does_not_fit_is_refused():
    logits, boxes, labels, targets = drawn(queries=3, objects=4)
    with pytest.raises(TensorError, match="more queries"):
        set_loss(logits, boxes, labels, targets)
    with pytest.raises(TensorError, match="do not fit together"):
        set_loss(logits, boxes[:, :2], labels, targets)
    with pytest.raises(TensorError, match="0 to 5"):
        set_loss(logits, boxes, labels + 6, targets)
    with pytest.raises(TensorError, match="not finite"):
        match(torch.tensor([[float("nan")]]))
