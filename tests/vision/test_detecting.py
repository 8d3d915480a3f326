"""Several objects: scores by hand, a detector that finds more than one, errors."""

import numpy as np
import pytest
import torch
from tiny_scenes import rectangles, several, single, tiny_body

from attnlab.datasets.pictures import SceneDataset
from attnlab.errors import DataError, ModelError
from attnlab.vision.detecting import (
    Detections,
    Detector,
    load_detector,
    padded,
    score_detections,
    train_detector,
)
from attnlab.vision.matching import ABSENT

OPTIONS = {"patch": 4, "d_model": 32, "layers": 1, "batch_size": 32, "learning_rate": 4e-3}


def found(labels, boxes):
    chances = np.linspace(0.9, 0.6, len(labels)).astype(np.float32)
    return Detections(labels, chances, np.array(boxes, np.float32).reshape(-1, 4))


def test_scores_by_hand():
    images = np.zeros((2, 10, 10), np.uint8)
    there = [np.array([[0, 0, 4, 4], [6, 6, 4, 4]], np.float32), np.zeros((0, 4), np.float32)]
    data = SceneDataset(images, [[0, 1], []], there, ["a", "b"], "two")
    right, wrong_label = found(["a"], [[0, 0, 4, 4]]), found(["b"], [[0, 0, 4, 4]])
    nothing = found([], [])
    assert score_detections([right, nothing], data).precision == 1
    assert score_detections([right, nothing], data).recall == 0.5
    assert score_detections([right, nothing], data).f1 == pytest.approx(2 / 3)
    assert score_detections([wrong_label, nothing], data).recall == 0
    twice = found(["a", "a"], [[0, 0, 4, 4], [0, 0, 4, 4]])  # the second one is wrong
    assert score_detections([twice, nothing], data).precision == 0.5
    assert score_detections([right, right], data).precision == 0.5
    assert score_detections([nothing, nothing], data).f1 == 0
    with pytest.raises(DataError, match="same pictures"):
        score_detections([right], data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    splits = several(train=320, most=3)
    return train_detector(splits, folder, queries=5, steps=350, **OPTIONS), folder


@pytest.mark.thorough
def test_a_detector_finds_several_objects(trained):
    detector, _ = trained
    data = rectangles(100, most=3, seed=99)
    score = score_detections(detector.detect(data.images), data)
    assert score.objects > 150
    assert score.f1 > 0.6


def test_detections_come_with_the_surest_first_and_above_the_threshold(trained):
    detector, _ = trained
    images = rectangles(20, most=3, seed=99).images
    for one in detector.detect(images, threshold=0.3):
        assert (np.diff(one.probabilities) <= 0).all() and (one.probabilities >= 0.3).all()
        assert len(one.labels) == len(one.probabilities) == len(one.boxes)
    counts = [
        sum(len(one.labels) for one in detector.detect(images, threshold))
        for threshold in (0.0, 0.5, 0.9)
    ]
    assert counts[0] == 20 * 5 and counts[0] > counts[1] >= counts[2]


def test_a_saved_detector_answers_alike(trained, tmp_path):
    detector, folder = trained
    images = rectangles(9, most=3, seed=5).images
    expected = detector.detect(images)
    for path in (folder, detector.save(tmp_path / "one.safetensors")):
        for one, other in zip(load_detector(path).detect(images), expected, strict=True):
            assert one.labels == other.labels
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_a_finished_detector_is_not_written_over_unasked(trained):
    with pytest.raises(ModelError, match="holds a finished detector"):
        train_detector(several(), trained[1], steps=1, **OPTIONS)


def test_the_body_given_stays_as_it_is():
    body = tiny_body()
    detector = Detector(body, ["a", "b"])
    images = torch.randn(2, 1, 16, 16)
    assert body(images).shape == (2, 2)
    torch.testing.assert_close(detector.body.encode(images), body.encode(images))
    detector.body.embedding.linear.weight.data.zero_()
    assert body.embedding.linear.weight.any()


def test_objects_are_padded_and_labels_matched_by_name():
    data = rectangles(5, most=3)
    labels, boxes = padded(data, ["bright", "dark"])
    for index, own in enumerate(data.labels):
        assert labels[index, : len(own)].tolist() == [1 - label for label in own]
        assert (labels[index, len(own) :] == ABSENT).all()
        np.testing.assert_array_equal(boxes[index, : len(own)], data.boxes[index])


def test_what_cannot_be_detected_is_refused():
    with pytest.raises(ModelError, match="more queries"):
        train_detector(several(most=4), queries=2, steps=1, **OPTIONS)
    with pytest.raises(DataError, match="objects in boxes"):
        train_detector(single(), steps=1, **OPTIONS)
