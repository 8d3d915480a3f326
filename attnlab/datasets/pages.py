"""Pictures of print of people's own: a page or a line from a file, and a page cut into its lines.

Lines are found where rows without ink lie between them (a projection profile). That works for one
column of straight lines with white between them. It does not for several columns, which are read
across; for lines that touch, or a page so tilted that no row between two lines is free of ink; for
drawings, rules and frames, which count as ink.
"""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from attnlab.datasets.picture_files import fitted
from attnlab.datasets.reading import local_file
from attnlab.errors import DataError

__all__ = ["LinePicture", "cut_lines", "ink_box", "ink_of", "read_page"]

Box = tuple[int, int, int, int]  # x, y, width, height in pixels

_INK = 0.4  # what is at least so dark, from 0 for paper to 1, counts as ink
_FAINT = 16  # greys between paper and ink; with less there is nothing to read
_WORD = 60  # pixels of ink that a page has at least: a single short word on it
_BLOCK = 8  # pixels that become one where the light of a page is estimated
_AROUND = 15  # blocks of which the median is taken there
_SMALLEST = 5  # pixels that a line is high at least


@dataclass(frozen=True, eq=False)
class LinePicture:
    """A line of a page: ``image``, uint8 array (H, W), dark on white; ``box``, where it lies on
    the page: x, y, width, height in pixels.
    """

    image: np.ndarray
    box: Box


def read_page(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a PNG or JPEG as it is: uint8 array (H, W), grey, at its own size.

    Raises
    ------
    DataError : no such file, no PNG or JPEG, a file that is cut off or damaged, more than 50
        million pixels
    """
    return fitted(local_file(path), None, True, 255).pixels


def ink_of(image: np.ndarray, least: float = 0.01) -> np.ndarray:
    """How much ink there is at each pixel: float32 array (H, W), about 0 on paper and 1 on print.

    Whether the print is dark on light or light on dark is told by which is more.

    Parameters
    ----------
    image : uint8 array, shape (H, W)
    least : share of the pixels that is ink, at least

    Raises
    ------
    DataError : no grey picture, or one in which nothing stands out
    """
    grey = _checked(image).astype(np.float32)
    dark, paper, light = np.quantile(grey, [least, 0.5, 1 - least])
    if max(light - paper, paper - dark) < _FAINT:
        raise DataError(
            f"Nothing stands out in this picture of {grey.shape[1]} x {grey.shape[0]} pixels: its "
            f"greys lie between {dark:.0f} and {light:.0f}. Give one with print on it."
        )
    darkest = dark if paper - dark >= light - paper else light
    return np.clip((paper - grey) / (paper - darkest), -0.5, 1.0)


def ink_box(ink: np.ndarray) -> Box | None:
    """The smallest box around the ink, without specks: x, y, width, height; None if there is none.

    Parameters
    ----------
    ink : float array, shape (H, W), of `ink_of`
    """
    there = _without_specks(ink > _INK)
    rows, columns = (np.flatnonzero(there.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def cut_lines(page: np.ndarray) -> list[LinePicture]:
    """Cut a page, or a picture of one line, into its lines, from top to bottom.

    Parameters
    ----------
    page : uint8 array, shape (H, W), grey; dark on light or light on dark. Slow changes of the
        light are taken out.

    Returns
    -------
    list of LinePicture; empty where no line was found

    Raises
    ------
    DataError : no grey picture, or one in which nothing stands out
    """
    page = _checked(page)
    ink = ink_of(_evenly_lit(page), min(0.01, _WORD / page.size))
    there = _without_specks(ink > _INK)
    white = (255 * (1 - ink.clip(0, 1))).round().astype(np.uint8)
    found = []
    for top, bottom in _runs_of_rows(np.asarray(there.any(1))):
        columns = np.flatnonzero(there[top:bottom].any(0))
        margin = max(2, (bottom - top) // 6)
        y, below = max(0, top - margin), min(len(page), bottom + margin)
        x, behind = max(0, columns[0] - margin), min(page.shape[1], columns[-1] + 1 + margin)
        box = (int(x), int(y), int(behind - x), int(below - y))
        found.append(LinePicture(white[y:below, x:behind], box))
    return found


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"A picture of print is a uint8 array (height, width) of greys; got {image.dtype} of "
            f"shape {image.shape}. datasets.pages.read_page(path) reads one from a file."
        )
    return image


def _evenly_lit(page: np.ndarray) -> np.ndarray:
    """The page without slow changes of its light: each pixel minus the median far around it."""
    height, width = page.shape
    if min(height, width) < _BLOCK * _AROUND:
        return page
    small = Image.fromarray(page).resize((width // _BLOCK, height // _BLOCK), Image.Resampling.BOX)
    paper = small.filter(ImageFilter.MedianFilter(_AROUND))
    light = np.asarray(paper.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    middle = float(np.median(page))
    return (page - light + middle).clip(0, 255).round().astype(np.uint8)


def _without_specks(there: np.ndarray) -> np.ndarray:
    """Ink without pieces that are tiny beside the others."""
    pieces, count = ndimage.label(there, structure=np.ones((3, 3)))
    if not count:
        return there
    sides = np.array(
        [
            max(rows.stop - rows.start, columns.stop - columns.start)
            for rows, columns in ndimage.find_objects(pieces)
        ]
    )
    areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    usual = float(np.quantile(sides, 0.9))  # specks may be more than letters
    kept = (areas > 2) & (sides > usual / 8)
    return np.r_[False, kept][pieces]


def _runs_of_rows(inked: np.ndarray) -> list[tuple[int, int]]:
    """Rows from and to which there is ink; a dot or an accent is put to the line beside it."""
    edges = np.flatnonzero(np.diff(np.r_[False, inked, False].astype(int)))
    runs = [(int(top), int(bottom)) for top, bottom in zip(edges[::2], edges[1::2], strict=True)]
    if not runs:
        return []
    usual = float(
        np.median([bottom - top for top, bottom in runs if bottom - top >= _SMALLEST] or [0])
    )
    lines: list[tuple[int, int]] = []
    for top, bottom in runs:
        low = lines[-1][1] - lines[-1][0] if lines else 0
        near = bool(lines) and top - lines[-1][1] <= 0.3 * usual
        if near and min(low, bottom - top) < 0.4 * usual:
            lines[-1] = lines[-1][0], bottom
        else:
            lines.append((top, bottom))
    return [(top, bottom) for top, bottom in lines if bottom - top >= max(_SMALLEST, usual / 4)]


def __dir__() -> list[str]:
    return sorted(__all__)
