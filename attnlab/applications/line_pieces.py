"""Pictures of lines made ready for the reader: one height, and no wider than what it learned on."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from attnlab.datasets.pages import ink_box, ink_of
from attnlab.datasets.printed import HEIGHT
from attnlab.errors import DataError

__all__ = ["Piece", "pieces_of"]

_INK_HEIGHT = 22  # pixels from the highest to the lowest ink, of 32, for pictures of other heights
_MARGIN = 6  # empty columns before and behind
_AS_IT_IS = 352  # columns of the widest line that training shows, more or less
_WIDEST = 230  # of a piece of a longer line: about 20 characters
_NARROWEST = 110
_GAP = 5  # columns without ink that are a space, where the ink is 22 pixels high
_FAINT = 0.08  # less than this share of the ink of a full column is none


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a line as the reader takes it.

    Attributes
    ----------
    ink : float32 array, shape (32, W), 0 on paper and 1 on print
    left : x of its first column in the picture that was given, in pixels
    scale : pixels of that picture for one of its own
    space : whether a space stands before it, where a long line was cut
    """

    ink: np.ndarray
    left: float
    scale: float
    space: bool = False


def pieces_of(image: np.ndarray, name: str = "The picture") -> list[Piece]:
    """Make a picture of one line ready: scaled, and cut at gaps between words if it is long.

    Parameters
    ----------
    image : uint8 array (H, W), grey, or (H, W, 3) in colour. One that is 32 pixels high is taken
        as it is; any other is scaled so that its ink is 22 pixels high.
    name : for messages

    Raises
    ------
    DataError : no such array, nothing on it
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        image = np.asarray(Image.fromarray(image).convert("L"))
    try:
        ink = ink_of(image)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    whole = Piece(ink, 0.0, 1.0)
    if len(ink) != HEIGHT:
        box = ink_box(ink)
        if box is None:
            raise DataError(f"{name} has nothing on it that could be a letter, only specks.")
        whole = _scaled(ink, box)
    return [whole] if whole.ink.shape[1] <= _AS_IT_IS else _cut(whole)


def _scaled(ink: np.ndarray, box: tuple[int, int, int, int]) -> Piece:
    """The ink in a box, 22 pixels high in the middle of 32, with a margin on each side."""
    x, y, width, height = box
    share = _INK_HEIGHT / height
    new = max(1, round(width * share)), _INK_HEIGHT
    inside = Image.fromarray(ink[y : y + height, x : x + width])
    filled = np.zeros((HEIGHT, new[0] + 2 * _MARGIN), np.float32)
    top = (HEIGHT - _INK_HEIGHT) // 2
    small = inside.resize(new, Image.Resampling.BOX if share < 1 else Image.Resampling.BICUBIC)
    filled[top : top + _INK_HEIGHT, _MARGIN:-_MARGIN] = np.asarray(small).clip(-0.5, 1)
    scale = width / new[0]
    return Piece(filled, x - _MARGIN * scale, scale)


def _cut(line: Piece) -> list[Piece]:
    """Pieces of a long line, cut in the widest gap that is near enough."""
    empty = _is_empty(line.ink)
    found, start, space = [], 0, False
    width = line.ink.shape[1]
    while width - start > _WIDEST:
        middle, gap = _widest_gap(line.ink, empty, start + _NARROWEST, start + _WIDEST)
        found.append(_part(line, start, middle, space))
        start, space = middle, gap >= _GAP
    found.append(_part(line, start, width, space))
    return [piece for piece in found if not _is_empty(piece.ink, line.ink).all()]


def _is_empty(ink: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
    """Which columns have hardly any ink, beside the fuller ones of a line."""
    full = np.quantile((ink if beside is None else beside).clip(0).sum(0), 0.9)
    return ink.clip(0).sum(0) < _FAINT * full


def _widest_gap(ink: np.ndarray, empty: np.ndarray, low: int, high: int) -> tuple[int, int]:
    """Middle and width of the widest run of empty columns; of the faintest column without one."""
    edges = np.flatnonzero(np.diff(np.r_[False, empty[low:high], False].astype(int))) + low
    if not len(edges):
        return low + int(ink[:, low:high].sum(0).argmin()), 0
    starts, ends = edges[::2], edges[1::2]
    widest = int((ends - starts).argmax())
    return int(starts[widest] + ends[widest]) // 2, int(ends[widest] - starts[widest])


def _part(line: Piece, start: int, end: int, space: bool) -> Piece:
    left = line.left + start * line.scale
    padded = np.pad(line.ink[:, start:end], ((0, 0), (_MARGIN, _MARGIN)))
    return Piece(padded, left - _MARGIN * line.scale, line.scale, space)


def __dir__() -> list[str]:
    return sorted(__all__)
