"""Icons with their words: of a small file made here, and of the real one where it was fetched."""

import hashlib
import json
import zipfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import yaml

import attnlab as al
from attnlab.datasets import IconDataset, normalise
from attnlab.datasets import icons as reading
from attnlab.errors import DataError


@pytest.fixture(scope="module")
def icons():
    if not al.datasets.is_cached("icons"):
        pytest.skip("25 MB that nobody is made to fetch; `attnlab fetch icons` brings them")
    return al.datasets.load("icons")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Letters for icons, in families of two, with a brand and a thin one beside them."""
    names = [f"{family}-{side}" for family in "abcdefghijklmnopqrst" for side in ("up", "down")]
    records = {
        name: {
            "unicode": f"{65 + number:x}",
            "label": name.replace("-", " ").title(),
            "search": {
                "terms": [name[0], *(f"{name[0]}{word}" for word in range(8)), f"{name[0]}1"]
            },
            "familyStylesByLicense": {"free": [{"style": "solid"}]},
        }
        for number, name in enumerate(names)
    }
    for name, style in (("brand-x", "brands"), ("thin-x", "regular")):
        records[name] = records["a-up"] | {"familyStylesByLicense": {"free": [{"style": style}]}}
    categories = {"first": {"icons": ["a-up", "b-up", "brand-x"]}, "later": {"icons": ["a-up"]}}
    path = tmp_path_factory.mktemp("icons") / "small.whl"
    font = Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{reading._INSIDE}metadata/icon-families.json", json.dumps(records))
        archive.writestr(f"{reading._INSIDE}metadata/categories.yml", yaml.safe_dump(categories))
        archive.write(font, f"{reading._INSIDE}webfonts/fa-solid-900.ttf")
    return reading.icons("small", path, False)


def test_brands_and_thin_icons_stay_out_and_families_stay_together(small):
    parts = [small.train, small.dev, small.test]
    ids = [icon for part in parts for icon in part.ids]
    assert len(ids) == 40 and not {"brand-x", "thin-x"} & {*ids}
    for part in parts:
        assert len(part)
        assert all(
            part.ids.count(f"{icon[0]}-{side}") for icon in part.ids for side in ("up", "down")
        )
    found = dict(zip(ids, (known for part in parts for known in part.categories), strict=True))
    assert found["a-up"] == ["first", "later"] and found["b-up"] == ["first"]
    assert found["c-up"] == []


def test_a_quarter_of_the_terms_is_held_out_of_training_alone(small):
    for letter, terms, held_out in zip(
        small.train.ids, small.train.terms, small.train.held_out_terms, strict=True
    ):
        assert (
            len(terms) == 7 and len(held_out) == 2
        )  # of nine: the one that came twice counts once
        assert not {*terms} & {*held_out} and letter[0] in terms  # which is in the title
    assert not any(small.dev.held_out_terms + small.test.held_out_terms)
    assert all(len(terms) == 9 for terms in small.dev.terms)


def test_signs_of_any_shape_are_drawn_as_large_and_in_the_middle(small):
    images = np.concatenate([part.images for part in (small.train, small.dev, small.test)])
    assert images.shape == (40, 32, 32) and len({image.tobytes() for image in images}) == 40
    for image in images:
        inked = [np.flatnonzero(image.max(axis)) for axis in (0, 1)]
        assert 27 <= max(places[-1] - places[0] + 1 for places in inked) <= 28
        assert all(abs(places[0] + places[-1] - 31) <= 2 for places in inked)


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
