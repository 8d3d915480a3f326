"""Your own pictures with boxes: a table that says which thing is where in which picture."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnlab.datasets.columns import cells_of
from attnlab.datasets.labels import numbered, says_nothing
from attnlab.datasets.own_pictures import local_folder, read_all, seen_from
from attnlab.datasets.picture_files import Picture, Size, checked_background, checked_size
from attnlab.datasets.pictures import SceneDataset
from attnlab.datasets.reading import local_file, name_of
from attnlab.errors import DataError, option

_OVERSHOOT = 1  # pixels by which a box drawn by hand may leave its picture


def boxes_from_csv(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    size: Size = (56, 56),
    grey: bool = True,
    skip_broken: bool = False,
    name: str | None = None,
    *,
    file: str = "file",
    label: str = "label",
    box: Sequence[str] = ("x", "y", "width", "height"),
    corners: bool = False,
    background: int = 255,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> SceneDataset:
    """Read your own pictures with the boxes of what is in them, from a table with a header line.

    Parameters
    ----------
    path : a table as for `from_csv`: one row for each object. A picture without any has one row,
        with no label and no box.
    folder : where the pictures lie; by default beside the table
    size, grey, skip_broken, background : as for `images_from_folder`
    name : of the data set; that of the table if not given
    file, label : the columns of the picture's file and of the label
    box : the four columns of the box, in pixels of the file as it is shown: the top left corner's
        x and y (from the top), width, height
    corners : the four are left, top, right, bottom: ``box=("xmin", "ymin", "xmax", "ymax")``
    encoding, delimiter : as for `from_csv`

    Returns
    -------
    SceneDataset, in the order of the table, whose boxes fit the pictures in their new size;
    ``.single()`` of it is an ImageDataset, where every picture has one object

    Raises
    ------
    DataError : as `from_csv` and `images_from_folder`; a box that is no four numbers, has no area,
        or leaves its picture by more than a pixel; only one of label and box; no such picture
    """
    size, background = checked_size(size), checked_background(background)
    path = local_file(path)
    folder = path.resolve().parent if folder is None else local_folder(folder)
    if len(box) != 4:
        raise DataError(f"box is {box!r}. Name four columns, as in {option('box')}.")
    files: dict[Path, list[_Object]] = {}
    for where, cells in cells_of(
        path, (file, label, *box), encoding, delimiter, ("file", "label", "box")
    ):
        picture = folder / cells[0]
        if not cells[0] or not picture.is_file():
            raise DataError(
                f"{where} names the picture {cells[0]!r}, and there is no file {picture}. Say "
                f"where pictures lie with {option('folder')}"
            )
        objects = files.setdefault(picture, [])
        if not says_nothing(cells[1]) or any(cells[2:]):
            objects.append(_object(where, cells[1], cells[2:], corners))
    read = read_all(list(files), size, grey, background, skip_broken, folder)
    objects = [found for picture in read for found in files[picture]]
    if not objects:
        raise DataError(f"{path.name} has no object in a picture that can be read.")
    name = name or name_of(path)
    labels, label_names = numbered([found.label for found in objects], name, "objects")
    ends = np.cumsum([len(files[picture]) for picture in read])
    return SceneDataset(
        np.stack([picture.pixels for picture in read.values()]),
        [part.tolist() for part in np.split(np.array(labels), ends[:-1])],
        [
            np.array([_fitted(found, picture) for found in files[where]]).reshape(-1, 4)
            for where, picture in read.items()
        ],
        label_names,
        name,
        [seen_from(folder, picture) for picture in read],
    )


@dataclass(frozen=True)
class _Object:
    """A row of the table: where it stands, the label, and x, y, width and height."""

    where: str
    label: str
    box: tuple[float, float, float, float]


def _object(where: str, label: str, cells: Sequence[str], corners: bool) -> _Object:
    if says_nothing(label):
        raise DataError(
            f"{where} has a box without a label. Give it one; in a picture without any object both "
            "stay empty."
        )
    try:
        x, y, width, height = (float(cell) for cell in cells)
    except ValueError as error:
        raise DataError(
            f"{where} has the box {', '.join(cells)!r}. Expected four numbers, in pixels."
        ) from error
    if corners:
        width, height = width - x, height - y
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise DataError(
            f"{where} has a box {width:g} wide and {height:g} high. Expected an area"
            + ("." if corners else f"; if these are two corners, say {option('corners', True)}.")
        )
    return _Object(where, label, (x, y, width, height))


def _fitted(found: _Object, picture: Picture) -> tuple[float, float, float, float]:
    """The box in pixels of the fitted picture."""
    x, y, width, height = found.box
    right, bottom = x + width, y + height
    over = max(-x, -y, right - picture.original[0], bottom - picture.original[1])
    if over > _OVERSHOOT:
        raise DataError(
            f"{found.where} has the box {x:g}, {y:g}, {width:g}, {height:g} (x, y, width, height), "
            f"which leaves its picture of {picture.original[0]} x {picture.original[1]} pixels. "
            f"Boxes are given in pixels of the file; {option('corners', True)} if they are two "
            "corners."
        )
    left, right = np.clip([x, right], 0, picture.original[0]) * picture.scale[0] + picture.offset[0]
    top, bottom = (
        np.clip([y, bottom], 0, picture.original[1]) * picture.scale[1] + picture.offset[1]
    )
    return left, top, right - left, bottom - top
