"""What and where: the joint loss, moved and cut pictures, a locator that learns both."""

import numpy as np
import pytest
import torch
from tiny_scenes import SIDE, rectangles, single, tiny_body

from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, ModelError, TensorError
from attnlab.vision import boxes
from attnlab.vision.detecting import Detector
from attnlab.vision.locating import (
    Located,
    Locator,
    cut_out,
    joint_loss,
    load_locator,
    rolled,
    score_located,
    train_locator,
)

OPTIONS = {"patch": 4, "d_model": 32, "layers": 1, "batch_size": 32, "learning_rate": 5e-3}


def drawn(n=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator, requires_grad=True)
    found = torch.rand(n, 4, generator=generator).requires_grad_()
    labels = torch.randint(0, classes, (n,), generator=generator)
    return logits, found, labels, torch.rand(n, 4, generator=generator)


def test_the_joint_loss_is_its_three_parts():
    logits, found, labels, targets = drawn()
    what = -logits.log_softmax(-1)[range(6), labels].mean()
    distance = (found - targets).abs().sum() / 6
    apart = 1 - boxes.giou(found, targets).mean()
    loss = joint_loss(logits, found, labels, targets, box_weight=2.5, giou_weight=0.3)
    torch.testing.assert_close(loss, what + 2.5 * (distance + 0.3 * apart))


def test_the_box_weight_is_the_knob_between_what_and_where():
    slopes = {}
    for weight in (0.0, 1.0, 3.0):
        logits, found, labels, targets = drawn()
        joint_loss(logits, found, labels, targets, box_weight=weight).backward()
        slopes[weight] = found.grad
        torch.testing.assert_close(logits.grad.abs().sum() > 0, torch.tensor(True))
    assert not slopes[0.0].any()
    torch.testing.assert_close(slopes[3.0], 3 * slopes[1.0])


def test_the_loss_refuses_what_does_not_fit():
    logits, found, labels, targets = drawn()
    with pytest.raises(TensorError, match="do not fit together"):
        joint_loss(logits, found, labels[:3], targets)


def test_a_rolled_picture_carries_its_box_along():
    torch.manual_seed(0)
    data = rectangles(200, seed=3).single()
    images = torch.from_numpy(data.images).float()[:, None]
    moved, to = rolled(images, torch.from_numpy(data.boxes))
    before, after = (
        boxes.crop(pictures, where, 8)
        for pictures, where in ((images, torch.from_numpy(data.boxes)), (moved, to))
    )
    torch.testing.assert_close(before, after)
    torch.testing.assert_close(images.sum((1, 2, 3)), moved.sum((1, 2, 3)))
    corners = boxes.to_corners(to)
    assert corners.min() == 0 and corners.max() == SIDE  # up to all edges, never beyond
    assert len(to[:, 0].unique()) > 8


def test_a_cut_out_keeps_the_shape_of_what_is_in_it():
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, 4:16, 8:11] = 200  # a bar, 12 high and 3 wide
    cut = cut_out(image, np.array([[8, 4, 3, 12]]), 24, margin=0.0)[0]
    assert cut.shape == (24, 24) and cut.dtype == np.uint8
    assert (cut[:, 12] > 140).all()  # from top to bottom
    assert 5 <= (cut[12] > 100).sum() <= 7  # and still a quarter as wide
    coloured = cut_out(np.repeat(image[..., None], 3, -1), np.array([[8, 4, 3, 12]]), 24, 0.0)
    assert coloured.shape == (1, 24, 24, 3) and (coloured[0, ..., 1] == cut).all()


def test_scores_by_hand():
    images = np.zeros((4, 10, 10), np.uint8)
    there = np.array([[0, 0, 4, 4]] * 4, np.float32)
    data = ImageDataset(images, [0, 1, 1, 0], ["a", "b"], "four", boxes=there)
    found = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 4, 1], [5, 5, 2, 2]], np.float32)
    score = score_located(Located(["a", "a", "b", "a"], np.zeros((4, 2)), found), data)
    assert score.accuracy == 0.75
    assert score.mean_iou == pytest.approx((1 + 0.75 + 0.25 + 0) / 4)
    assert (score.found, score.both, score.n) == (0.5, 0.25, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locator")
    return train_locator(single(), folder, steps=200, **OPTIONS), folder


def test_a_locator_learns_what_and_where(trained):
    locator, _ = trained
    data = rectangles(100, seed=99).single()
    score = score_located(locator.locate(data.images), data)
    mean = np.repeat(data.boxes.mean(0, keepdims=True), 100, 0)
    blind = score_located(Located(["dark"] * 100, np.zeros((100, 2)), mean), data)
    assert score.accuracy > 0.9
    assert score.mean_iou > blind.mean_iou + 0.3
    assert locator.history.best["dev_both"] > 0.5


def test_with_a_box_weight_of_0_it_learns_what_and_not_where():
    locator = train_locator(single(), steps=100, box_weight=0.0, **OPTIONS)
    data = rectangles(100, seed=99).single()
    score = score_located(locator.locate(data.images), data)
    assert score.accuracy > 0.9 and score.found < 0.2


def test_a_saved_locator_answers_alike(trained, tmp_path):
    locator, folder = trained
    images = rectangles(9, seed=5).images
    expected = locator.locate(images)
    for path in (folder, locator.save(tmp_path / "one.safetensors")):
        loaded = load_locator(path)
        found = loaded.locate(images)
        assert found.labels == expected.labels
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        assert loaded.history.rows == locator.history.rows


def test_another_file_is_refused(tmp_path):
    path = Detector(tiny_body(), ["a", "b"]).save(tmp_path / "detector.safetensors")
    with pytest.raises(ModelError, match="holds a Detector, not a Locator"):
        load_locator(path)
    with pytest.raises(ModelError, match="There is no file"):
        load_locator(tmp_path / "none.safetensors")


def test_a_finished_locator_is_not_written_over_unasked(tmp_path):
    first = train_locator(single(), tmp_path, steps=4, **OPTIONS)
    with pytest.raises(ModelError, match=r"finished locator, .* overwrite=True"):
        train_locator(single(), tmp_path, steps=4, seed=1, **OPTIONS)
    assert torch.equal(load_locator(tmp_path).box[0].weight, first.box[0].weight)
    with pytest.raises(ModelError, match=r"is finished\. attnlab.vision.locating.load_locator"):
        train_locator(single(), tmp_path, steps=4, resume=True, **OPTIONS)
    other = train_locator(single(), tmp_path, steps=4, seed=1, overwrite=True, **OPTIONS)
    assert torch.equal(load_locator(tmp_path).box[0].weight, other.box[0].weight)
    assert not torch.equal(other.box[0].weight, first.box[0].weight)


def test_the_same_seed_gives_the_same_locator():
    first, second = (train_locator(single(), steps=6, **OPTIONS) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    other = train_locator(single(), steps=6, seed=1, **OPTIONS)
    assert not torch.equal(other.box[0].weight, first.box[0].weight)


def test_dropout_is_off_when_asked():
    locator = Locator(tiny_body(dropout=0.5), ["a", "b"]).train()
    images = rectangles(3).images
    np.testing.assert_array_equal(locator.locate(images).boxes, locator.locate(images).boxes)
    assert locator.training


def test_what_cannot_be_located_is_refused():
    plain = rectangles(8).single()
    plain = ImageDataset(plain.images, plain.labels, plain.label_names, "no boxes")
    with pytest.raises(DataError, match="label and a box"):
        train_locator(Splits(plain, plain, plain), steps=1)
    locator = Locator(tiny_body(), ["a", "b"])
    with pytest.raises(DataError, match="16 x 16"):
        locator.locate(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(ModelError, match="2 classes and there are 3"):
        Locator(tiny_body(), ["a", "b", "c"])
    assert locator.locate(np.zeros((0, 16, 16), np.uint8)).labels == []
