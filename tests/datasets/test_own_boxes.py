"""Pictures of one's own with boxes, from a table."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnlab.datasets import boxes_from_csv
from attnlab.errors import AttnlabWarning, DataError


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(image, np.uint8)).save(path, **options)


def table(path, lines, header="file,label,x,y,width,height"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.png", np.zeros((40, 80)))
    return tmp_path


def test_every_row_is_an_object_and_boxes_fit_the_new_size(folder):
    lines = ["b.png,dog,0,0,80,40", "a.png,cat,8,4,20,10", "b.png,cat,40,20,40,20", "c.png,,,,,"]
    data = boxes_from_csv(table(folder / "things.csv", lines), size=(20, 20))
    assert (data.name, data.label_names) == ("things", ["cat", "dog"])
    assert data.files == ["b.png", "a.png", "c.png"]
    assert data.labels == [[1, 0], [0], []]
    assert [boxes.tolist() for boxes in data.boxes] == [
        [[0, 5, 20, 10], [10, 10, 10, 5]],
        [[2, 6, 5, 2.5]],
        [],
    ]
    assert data.images.shape == (3, 20, 20)
    single = data.select([1]).single()
    assert (single.labels, single.boxes.tolist()) == ([0], [[2, 6, 5, 2.5]])


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(60, 160), st.integers(60, 160)),
    st.tuples(st.integers(30, 60), st.integers(30, 60)),
    st.sampled_from([1, 3, 6, 8]),
    st.randoms(use_true_random=False),
)
def test_the_box_is_around_the_thing_in_the_new_picture(
    tmp_path_factory, given_size, size, turn, draw
):
    height, width = given_size
    x, y = draw.randrange(width - 30), draw.randrange(height - 30)
    box = (x, y, draw.randint(20, width - x), draw.randint(20, height - y))
    shown = np.zeros(given_size)
    shown[y : y + box[3], x : x + box[2]] = 255
    exif = Image.Exif()
    exif[274] = turn
    stored = np.rot90(shown, {1: 0, 3: 2, 6: 1, 8: -1}[turn])
    folder = tmp_path_factory.mktemp("boxes")
    save(folder / "a.png", np.ascontiguousarray(stored), exif=exif)
    path = table(folder / "a.csv", [f"a.png,x,{','.join(map(str, box))}"])
    data = boxes_from_csv(path, size=size, background=0)
    rows, columns = (np.flatnonzero(data.images[0].max(axis) > 127) for axis in (1, 0))
    found = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    left, top, *sides = data.boxes[0][0]
    assert np.abs(np.subtract(found, (left, top, left + sides[0], top + sides[1]))).max() <= 1


def test_columns_may_have_other_names_and_boxes_be_corners(folder):
    (folder / "tables").mkdir()
    path = table(
        folder / "tables" / "a.csv", ["cat;1;2;11;22;a.png"], "class;xmin;ymin;xmax;ymax;picture"
    )
    data = boxes_from_csv(
        path,
        folder,
        size=(40, 80),
        file="picture",
        label="class",
        box=("xmin", "ymin", "xmax", "ymax"),
        corners=True,
    )
    assert data.boxes[0].tolist() == [[1, 2, 10, 20]]


def test_records_are_read_too(folder):
    frame = pd.DataFrame(
        [["a.png", "cat", 1, 2, 3.5, 4]], columns=["file", "label", "x", "y", "width", "height"]
    )
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    data = boxes_from_csv(folder / "a.jsonl", size=(40, 80))
    assert data.boxes[0].tolist() == [[1, 2, 3.5, 4]]


def test_a_box_drawn_a_pixel_too_far_is_cut_to_its_picture(folder):
    data = boxes_from_csv(table(folder / "a.csv", ["a.png,x,-1,0,82,41"]), size=(40, 80))
    assert data.boxes[0].tolist() == [[0, 0, 80, 40]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a.png,cat,1,2,3"], r"Line 2 of a\.csv has 5 cells; the header names 6"),
        (["none.png,cat,1,2,3,4"], r"Line 2 .* names the picture 'none\.png'"),
        ([",cat,1,2,3,4"], "Line 2 .* names the picture ''"),
        (["a.png,cat,1,2,3,4", "", "a.png,cat,1,b,3,4"], "Line 4 .*Expected four numbers"),
        (["a.png,cat,1,2,,4"], "Expected four numbers"),
        (["a.png,cat,,,,"], "Expected four numbers"),
        (["a.png,,1,2,3,4"], "a box without a label"),
        (["a.png,cat,1,2,0,4"], "a box 0 wide and 4 high.*corners=True"),
        (["a.png,cat,1,2,3,-4"], "a box 3 wide and -4 high"),
        (["a.png,cat,1,2,nan,4"], "a box nan wide"),
        (["a.png,cat,1,2,inf,4"], "a box inf wide"),
        (["a.png,cat,70,2,20,4"], "leaves its picture of 80 x 40 pixels"),
        (["a.png,cat,1,-9,20,4"], "leaves its picture"),
        (["a.png,,,,,"], "no object in a picture"),
        ([], "no object in a picture"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(folder, lines, words):
    with pytest.raises(DataError, match=words):
        boxes_from_csv(table(folder / "a.csv", lines))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"file": "picture"}, r"no column 'picture' in a\.csv"),
        ({"box": ("xmin", "y", "width", "height")}, "no column 'xmin'"),
        ({"box": ("x", "y", "width")}, "Name four columns"),
        ({"label": "file"}, "'file' of .* twice"),
        ({"folder": "none"}, "There is no folder none"),
        ({"size": -1}, "size is -1"),
    ],
)
def test_options_that_do_not_fit_the_table_are_named(folder, options, words):
    path = table(folder / "a.csv", ["a.png,cat,1,2,3,4"])
    with pytest.raises(DataError, match=words):
        boxes_from_csv(path, **options)


def test_broken_pictures_take_their_objects_with_them_on_request(folder):
    (folder / "b.png").write_bytes(b"broken")
    lines = ["a.png,cat,1,2,3,4", "b.png,dog,1,2,3,4", "c.png,cat,1,2,3,4", "c.png,dog,0,0,1,1"]
    path = table(folder / "a.csv", lines)
    with pytest.raises(DataError, match=r"1 of 3 pictures .*b\.png is no PNG"):
        boxes_from_csv(path)
    with pytest.warns(AttnlabWarning, match="1 of 3 pictures"):
        data = boxes_from_csv(path, skip_broken=True)
    assert (data.files, data.labels) == (["a.png", "c.png"], [[0], [0, 1]])
    (folder / "a.png").write_bytes(b"broken")
    (folder / "c.png").write_bytes(b"broken")
    with warnings.catch_warnings(), pytest.raises(DataError, match="no object in a picture"):
        warnings.simplefilter("ignore", AttnlabWarning)
        boxes_from_csv(path, skip_broken=True)
