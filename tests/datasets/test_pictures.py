"""Labelled pictures: the named sets, what a data set of pictures refuses, and splits."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

import attnlab as al
from attnlab.datasets import SceneDataset
from attnlab.datasets.splits import picture_hash
from attnlab.errors import DataError


def pictures(n=4, size=(6, 5), colours=(), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, *colours), np.uint8)


def toy(images, **more):
    labels = [index % 2 for index in range(len(images))]
    return al.ImageDataset(images, labels, ["cat", "dog"], "toy", **more)


# ── named sets ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "size", "golden", "right"),
    [("mnist-5k", 28, "1600ee2f98767a26", 0.91), ("digits", 8, "e1687564fe0faff3", 0.97)],
)
def test_digits_are_split_alike_everywhere_and_can_be_told_apart(name, size, golden, right):
    splits = al.datasets.load(name)
    parts = [splits.train, splits.dev, splits.test]
    hashes = [{picture_hash(image) for image in part.images} for part in parts]
    assert sum(map(len, hashes)) == len(set.union(*hashes)) == sum(map(len, parts))
    for part in parts:
        assert part.images.shape[1:] == (size, size)
        assert part.label_names == list("0123456789")
        counts = np.bincount(part.labels)
        assert counts.max() - counts.min() <= 0.03 * len(part)
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
    digest = hashlib.sha256(splits.test.images.tobytes()).hexdigest()
    assert digest.startswith(golden), "the test pictures changed: published scores no longer hold"
    nearest = KNeighborsClassifier(1).fit(splits.train.images.reshape(-1, size**2), parts[0].labels)
    assert nearest.score(splits.test.images.reshape(-1, size**2), splits.test.labels) > right


# ── what a data set of pictures is ─────────────────────────────────────────────────────────────


def test_everything_that_belongs_to_a_picture_goes_with_it():
    images = pictures(5)
    boxes = np.array([[0, 0, index + 1, 6 - index] for index in range(5)])
    data = toy(images, boxes=boxes, files=list("abcde"))
    assert data.boxes.dtype == np.float32
    for part in (data.select([3, 1]), data.sample(3, seed=1)):
        for image, label, box, file in zip(
            part.images, part.labels, part.boxes, part.files, strict=True
        ):
            index = "abcde".index(file)
            assert (image == images[index]).all()
            assert label == index % 2
            assert (box == boxes[index]).all()
    assert data.select([]).images.shape == (0, 6, 5)
    assert data.labels_in(["dog", "cat"]) == [1, 0, 1, 0, 1]
    assert len(data.sample(99)) == 5
    assert repr(toy(pictures(2, (3, 4), (3,)))) == (
        "ImageDataset('toy', 2 colour 3 x 4 pictures, labels ['cat', 'dog'])"
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (pictures() / 255, r"are float64 numbers.*\(255 \* images\)\.round\(\)"),
        (pictures().astype(np.int64), "are int64 numbers"),
        (pictures().tolist(), "are list"),
        (pictures(colours=(1,)), r"images\[\.\.\., 0\]"),
        (pictures(size=(3, 6), colours=(5,)), r"images\.transpose\(0, 2, 3, 1\)"),
        (pictures(colours=(4,)), "Leave out transparency"),
        (pictures(size=()), r"the shape \(4,\)"),
        (pictures(size=(0, 5)), r"the shape \(4, 0, 5\)"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_cure(images, words):
    for make in (toy, lambda images: SceneDataset(images, [[]], [[]], ["a"], "toy")):
        with pytest.raises(DataError, match=words):
            make(images)


def test_the_cures_for_shapes_work():
    shares = pictures() / 255
    assert (toy((255 * shares).round().astype("uint8")).images == pictures()).all()
    assert len(toy(pictures(colours=(1,))[..., 0])) == 4
    first = pictures(size=(3, 6), colours=(5,))
    assert toy(first.transpose(0, 2, 3, 1)).images.shape == (4, 6, 5, 3)


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        ([0, 1, 0], {}, "4 pictures and 3 labels"),
        ([0, 1, 0, 2], {}, "label 2"),
        ([0, 1, 0, 0.5], {}, "label 0.5.*one label for each picture"),
        ([0, 1, 0, 1], {"files": ["a"]}, "4 pictures and 1 files"),
        ([0, 1, 0, 1], {"boxes": np.ones((3, 4))}, "4 pictures and 3 boxes"),
        ([0, 1, 0, 1], {"boxes": np.ones((4, 3))}, r"of the shape \(4, 3\)"),
    ],
)
def test_what_belongs_to_no_picture_is_refused(labels, more, words):
    with pytest.raises(DataError, match=words):
        al.ImageDataset(pictures(), labels, ["cat", "dog"], "toy", **more)


@pytest.mark.parametrize(
    "box",
    [[-1, 0, 2, 2], [0, 0, 6, 2], [0, 0, 2, 7], [1, 1, 0, 2], [1, 1, 2, -1], [0, 0, np.nan, 1]],
)
def test_a_box_outside_of_its_picture_or_without_area_is_refused(box):
    boxes = [[0, 0, 5, 6], box, [0, 0, 1, 1], [4, 5, 1, 1]]
    with pytest.raises(DataError, match=r"has the box .*inside of 5 x 6"):
        toy(pictures(), boxes=boxes)
    with pytest.raises(DataError, match=r"Picture 1 of .*has the box .*inside of 5 x 6"):
        SceneDataset(pictures(2), [[], [0]], [[], [box]], ["a"], "toy")


# ── several objects ────────────────────────────────────────────────────────────────────────────


def test_objects_go_with_their_picture_and_single_ones_are_labelled_pictures():
    boxes = [[[0, 0, 1, 1], [1, 2, 3, 4]], [], [[2, 2, 2, 2]], [[0, 0, 5, 6]]]
    data = SceneDataset(pictures(), [[1, 0], [], [1], [0]], boxes, ["a", "b"], "toy", list("wxyz"))
    part = data.select([2, 1])
    assert (part.labels, part.files) == ([[1], []], ["y", "x"])
    assert [given.tolist() for given in part.boxes] == [[[2, 2, 2, 2]], []]
    assert repr(data).startswith("SceneDataset('toy', 4 grey 6 x 5 pictures, 4 objects")
    single = data.select([3, 2]).single()
    assert (single.labels, single.files) == ([0, 1], ["z", "y"])
    assert single.boxes.tolist() == [[0, 0, 5, 6], [2, 2, 2, 2]]
    with pytest.raises(DataError, match="w of toy has 2 objects"):
        data.single()
    assert len(data.select([]).single()) == 0


@pytest.mark.parametrize(
    ("labels", "boxes", "words"),
    [
        ([[0]], [[], []], "2 pictures, 1 lists of labels and 2 arrays of boxes"),
        ([[0], []], [[], []], "Picture 0 of toy has 1 labels and 0 boxes"),
        ([[], [1]], [[], [[0, 0, 1, 1]]], "Picture 1 of toy has the label 1"),
    ],
)
def test_objects_that_lack_something_are_refused(labels, boxes, words):
    with pytest.raises(DataError, match=words):
        SceneDataset(pictures(2), labels, boxes, ["a"], "toy")


# ── splits ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=8, max_size=60),
    st.floats(0.05, 0.3),
)
def test_a_split_of_pictures_is_a_stratified_partition_without_copies(rows, share):
    images = np.array([np.full((2, 3), value, np.uint8) for value, _ in rows])
    labels = [label for _, label in rows]
    data = al.ImageDataset(images, labels, ["a", "b", "c"], "toy", files=list(map(str, rows)))
    splits = al.datasets.split(data, dev=share, test=share)
    parts = [splits.train, splits.dev, splits.test]
    assert sorted(file for part in parts for file in part.files) == sorted(data.files)
    values = [{*part.images[:, 0, 0].tolist()} for part in parts]
    assert not (values[0] & values[1] or values[0] & values[2] or values[1] & values[2])
    if len({value for value, _ in rows}) == len(rows):
        again = al.datasets.split(data.select(range(len(data))[::-1]), dev=share, test=share)
        assert sorted(again.test.files) == sorted(splits.test.files)
        for label in range(3):
            assert abs(splits.test.labels.count(label) - share * labels.count(label)) <= 1.5


def test_scenes_are_split_too_and_a_split_that_does_not_fit_speaks_of_pictures():
    data = SceneDataset(pictures(10), [[]] * 10, [[]] * 10, ["a"], "toy", list("abcdefghij"))
    splits = al.datasets.split(data, dev=2, test=3)
    assert re.fullmatch(r"Splits\('toy': 5 train, 2 dev, 3 test\)", repr(splits))
    with pytest.raises(DataError, match="do not fit 10 pictures"):
        al.datasets.split(data, dev=5, test=5)
