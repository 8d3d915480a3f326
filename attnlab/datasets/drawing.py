"""Drawing on black canvases: things cut out of pictures, scaled, put somewhere, and clutter."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from attnlab.datasets.pictures import ImageDataset
from attnlab.errors import DataError

Box = tuple[int, int, int, int]  # x, y, width, height in pixels

_INK = 32  # what is brighter than this belongs to a thing
_PIECE = 8  # side of a piece of clutter, in pixels of the pictures it is cut from


@dataclass(frozen=True, eq=False)
class Stencils:
    """The things in a data set of grey pictures, bright on black, cut out along their ink.

    Raises
    ------
    DataError : colour, no pictures, a picture without ink
    """

    data: ImageDataset
    cut_out: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        if self.data.images.ndim != 3 or not len(self.data):
            raise DataError(
                f"Scenes are drawn from grey pictures, bright on black, and {self.data!r} has "
                + ("none." if not len(self.data) else "colours.")
            )
        object.__setattr__(self, "cut_out", [self._cut(index) for index in range(len(self.data))])

    def _cut(self, index: int) -> np.ndarray:
        image = self.data.images[index]
        rows, columns = (np.flatnonzero((image > _INK).any(axis)) for axis in (1, 0))
        if not len(rows):
            raise DataError(
                f"Picture {index} of {self.data.name} has nothing brighter than {_INK} in it. "
                "Scenes are drawn from things that are bright on black."
            )
        return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    def scaled(self, index: int, side: int) -> np.ndarray:
        """A thing whose longer side is so many pixels, shape (height, width)."""
        thing = Image.fromarray(self.cut_out[index])
        share = side / max(thing.size)
        width, height = (max(1, round(share * length)) for length in thing.size)
        return np.asarray(thing.resize((width, height), Image.Resampling.BILINEAR))

    def clutter(self, canvas: np.ndarray, pieces: int, draw: np.random.Generator) -> None:
        """Strew so many pieces of things over a canvas, in place."""
        for index in draw.integers(len(self.cut_out), size=pieces):
            thing = self.cut_out[index]
            y, x = (int(draw.integers(max(1, length - _PIECE + 1))) for length in thing.shape)
            piece = thing[y : y + _PIECE, x : x + _PIECE]
            y, x = (
                int(draw.integers(side - length + 1))
                for side, length in zip(canvas.shape, piece.shape, strict=True)
            )
            paste(canvas, piece, x, y)


def paste(canvas: np.ndarray, thing: np.ndarray, x: int, y: int) -> Box:
    """Lay a thing on a canvas, in place, the brighter of both counting; returns its box."""
    height, width = thing.shape
    part = canvas[y : y + height, x : x + width]
    np.maximum(part, thing, out=part)
    return x, y, width, height
