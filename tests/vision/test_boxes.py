"""Boxes: overlap equals counted pixels, gradients point the right way, boxes without area too."""

import pytest
import torch

from attnlab.errors import TensorError
from attnlab.vision import boxes


def drawn(n, seed=0, most=12):
    """Whole-numbered boxes, some of them without width or height."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most, (n, 4), generator=generator).double()


def pixels(box, size=24):
    """Which pixels a box covers: bool (size, size)."""
    x, y, width, height = box.int().tolist()
    covered = torch.zeros(size, size, dtype=torch.bool)
    covered[y : y + height, x : x + width] = True
    return covered


def test_iou_and_giou_equal_counted_pixels():
    for a, b in zip(drawn(300), drawn(300, seed=1), strict=True):
        first, second = pixels(a), pixels(b)
        shared, covered = int((first & second).sum()), int((first | second).sum())
        expected = shared / covered if covered else 0.0
        assert boxes.iou(a, b).item() == pytest.approx(expected, abs=1e-12)
        if not first.any() or not second.any():
            continue  # the box around one without area cannot be counted
        rows, columns = (first | second).nonzero().T
        around = int(rows.max() - rows.min() + 1) * int(columns.max() - columns.min() + 1)
        expected -= (around - covered) / around
        assert boxes.giou(a, b).item() == pytest.approx(expected, abs=1e-12)


def test_iou_equals_a_formula_by_centres():
    a, b = (torch.rand(500, 4, dtype=torch.float64) + 0.01 for _ in range(2))
    (w, h), (v, k) = (x[:, 2:].T for x in (a, b))
    (cx, cy), (dx, dy) = ((x[:, :2] + x[:, 2:] / 2).T for x in (a, b))
    # two intervals share half their lengths less the distance of their centres, at most the shorter
    across = ((w + v) / 2 - (cx - dx).abs()).clamp(min=0).minimum(w.minimum(v))
    down = ((h + k) / 2 - (cy - dy).abs()).clamp(min=0).minimum(h.minimum(k))
    expected = 1 / ((w * h + v * k) / (across * down) - 1)
    torch.testing.assert_close(boxes.iou(a, b), expected)


def test_a_box_with_itself_has_1_and_the_order_does_not_matter():
    a, b = drawn(50) + 1, drawn(50, seed=1) + 1
    for measure in (boxes.iou, boxes.giou):
        torch.testing.assert_close(measure(a, a), torch.ones(50).double())
        torch.testing.assert_close(measure(a, b), measure(b, a))
        torch.testing.assert_close(measure(7 * a, 7 * b), measure(a, b))  # any unit
    assert (boxes.giou(a, b) <= boxes.iou(a, b)).all()


def test_all_pairs_by_broadcasting():
    a, b = drawn(5), drawn(3, seed=1)
    table = boxes.iou(a[:, None], b[None])
    assert table.shape == (5, 3)
    assert table[4, 2] == boxes.iou(a[4], b[2])


@pytest.mark.parametrize("measure", [boxes.iou, boxes.giou])
def test_gradients_agree_with_differences(measure):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(20, 4, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    assert torch.autograd.gradcheck(measure, (a.requires_grad_(), b.requires_grad_()))


def test_giou_tells_boxes_apart_which_way_to_move_and_iou_does_not():
    target = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for measure, moves in ((boxes.iou, False), (boxes.giou, True)):
        box = torch.tensor([5.0, 0.0, 1.0, 1.0], requires_grad=True)
        measure(box, target).backward()
        assert (box.grad[0] < 0) == moves  # nearer, to the left, is better
        assert bool(box.grad.any()) == moves


def test_boxes_without_area_give_finite_values_and_gradients():
    given = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 3], [1, 1, 2, 2], [1, 1, 0, 0]])
    others = torch.tensor([[4.0, 4, 0, 0], [1, 1, 0, 3], [1, 1, 0, 0], [1, 1, 0, 0]])
    box = given.clone().requires_grad_()
    assert boxes.iou(box, others).tolist() == [0, 0, 0, 0]
    assert boxes.giou(box, others).tolist() == [-1, 0, 0, 0]
    boxes.giou(box, others).sum().backward()
    assert torch.isfinite(box.grad).all()


def test_corners_there_and_back():
    given = drawn(20)
    assert torch.equal(boxes.from_corners(boxes.to_corners(given)), given)


def test_crop_of_whole_pixels_is_a_slice():
    images = torch.rand(2, 3, 10, 12)
    given = torch.tensor([[2.0, 1.0, 5.0, 4.0], [7.0, 6.0, 5.0, 4.0]])
    found = boxes.crop(images, given, (4, 5))
    torch.testing.assert_close(found[0], images[0, :, 1:5, 2:7])
    torch.testing.assert_close(found[1], images[1, :, 6:10, 7:12])


def test_crop_with_a_margin_shows_what_is_around_and_0_outside():
    images = torch.ones(1, 1, 8, 8)
    found = boxes.crop(images, torch.tensor([[0.0, 2.0, 4.0, 4.0]]), 6, margin=0.25)
    assert found[0, 0, :, 0].abs().max() == 0  # left of the picture
    assert found[0, 0, :, 1:].min() == 1


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: boxes.iou(torch.ones(3), torch.ones(4)), r"shape \(3,\)"),
        (lambda: boxes.iou(torch.ones(4).long(), torch.ones(4)), "int64"),
        (lambda: boxes.giou(torch.tensor([5.0, 5, -1, 2]), torch.ones(4)), "below 0"),
        (lambda: boxes.from_corners(torch.tensor([5.0, 5, 1, 8])), "below 0"),
        (lambda: boxes.iou(torch.ones(2, 4), torch.ones(3, 4)), "all pairs"),
        (lambda: boxes.crop(torch.ones(1, 8, 8), torch.ones(1, 4), 4), "one box for each"),
    ],
)
def test_what_are_no_boxes_is_refused(call, words):
    with pytest.raises(TensorError, match=words):
        call()
