"""Icons with their words; the file is large, so these tests run where it has been fetched."""

import hashlib

import numpy as np
import pytest

import attnlab as al
from attnlab.datasets import IconDataset, normalise
from attnlab.errors import DataError


@pytest.fixture(scope="module")
def icons():
    if not al.datasets.is_cached("icons"):
        pytest.skip("type: attnlab fetch icons")
    return al.datasets.load("icons")


def test_icons_of_no_brand_are_split_by_family(icons):
    parts = [icons.train, icons.dev, icons.test]
    assert [len(part) for part in parts] == [1114, 139, 140]
    families = [{icon.split("-")[0] for icon in part.ids} for part in parts]
    assert not (families[0] & families[1] or families[0] & families[2] or families[1] & families[2])
    known = {icon for part in parts for icon in part.ids}
    assert len(known) == 1393
    assert {"cat", "mug-hot", "arrow-up"} <= known
    assert not known & {"github", "python", "font-awesome"}
    assert (
        len({category for part in parts for found in part.categories for category in found}) == 68
    )
    digest = hashlib.sha256("\n".join(icons.test.ids).encode()).hexdigest()
    assert digest.startswith(GOLDEN), "the test icons changed: published scores no longer hold"


GOLDEN = "9ca1634a4e212a44"


def test_words_kept_out_of_training_are_new_to_their_icon(icons):
    train = icons.train
    for title, terms, held_out in zip(train.titles, train.terms, train.held_out_terms, strict=True):
        known = {normalise(term) for term in terms}
        assert terms
        assert not known & {normalise(term) for term in held_out}
        assert not any(normalise(term) in normalise(title) for term in held_out)
        assert len(held_out) <= (len(terms) + len(held_out)) / 4
    assert sum(map(len, train.held_out_terms)) > 1000
    for part in (icons.dev, icons.test):
        assert not any(part.held_out_terms)
        assert all(part.terms)


def test_every_icon_is_drawn_in_the_middle_as_large_as_the_others(icons):
    for image in icons.train.images:
        rows, columns = (np.flatnonzero(image.max(axis)) for axis in (1, 0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert 27 <= max(height, width) <= 28
        assert abs(rows[0] + rows[-1] - 31) <= 2
        assert abs(columns[0] + columns[-1] - 31) <= 2
    by_pixels = {image.tobytes() for image in icons.train.images}
    assert len(by_pixels) > 0.98 * len(icons.train)
    assert icons.train.images.max() == 255


def toy(**changed):
    fields = {
        "images": np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2),
        "ids": ["a", "b", "c"],
        "titles": ["A", "B", "C"],
        "terms": [["x"], ["y", "z"], []],
        "held_out_terms": [[], ["w"], []],
        "categories": [["one"], [], ["two"]],
        "name": "toy",
    }
    return IconDataset(**(fields | changed))


def test_everything_that_belongs_to_an_icon_goes_with_it():
    part = toy().select([1, 0])
    assert (part.ids, part.titles, part.terms) == (["b", "a"], ["B", "A"], [["y", "z"], ["x"]])
    assert (part.held_out_terms, part.categories) == ([["w"], []], [[], ["one"]])
    assert part.images[:, 0, 0].tolist() == [4, 0]
    assert len(toy().sample(2, seed=1)) == 2
    assert repr(toy()) == "IconDataset('toy', 3 icons, 3 terms)"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"titles": ["A"]}, "3 ids, 1 titles"),
        ({"categories": []}, "0 categories"),
        ({"images": np.zeros((3, 2, 2))}, "float64"),
    ],
)
def test_icons_that_lack_something_are_refused(changed, words):
    with pytest.raises(DataError, match=words):
        toy(**changed)
