"""A sheet to draw boxes, arrows and small tables of numbers on, in the course's colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from attnlab.show.plots.picture import ROLES, Picture, ink_on, show
from attnlab.show.wording import with_minus

INK, PALE = "#212121", 0.14  # of lines and letters; how much of a colour fills its box
MARGIN = 0.08  # inches above and below what is drawn


@dataclass(frozen=True)
class Box:
    """Where a box is: its centre, width and height, in inches from the lower left corner."""

    x: float
    y: float
    width: float
    height: float

    def side(self, name: str) -> tuple[float, float]:
        """The middle of its "left", "right", "top" or "bottom" side."""
        dx, dy = {"left": (-0.5, 0), "right": (0.5, 0), "top": (0, 0.5), "bottom": (0, -0.5)}[name]
        return self.x + dx * self.width, self.y + dy * self.height


class Sketch:
    """A sheet of this many inches, without axes; x goes to the right and y goes up.

    Parameters
    ----------
    width, height : inches; a notebook shows about 7.5 in a row

    Examples
    --------
    >>> sheet = Sketch(4, 1)
    >>> word = sheet.box(1, 0.5, "film")
    >>> vector = sheet.box(3, 0.5, "query", role="query")
    >>> sheet.arrow(word, vector, "times W")
    >>> sheet.picture("A word becomes a query.")
    Picture(A word becomes a query.)
    """

    def __init__(self, width: float, height: float):
        self.figure = plt.figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float = 1.0,
        height: float = 0.42,
        role: str = "text",
        size: float = 10,
        filled: bool = True,
        dashed: bool = False,
    ) -> Box:
        """Draw a rounded box round (x, y), in the colour of its role; returns where it is."""
        colour = ROLES[role]
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2 + 0.06, y - height / 2 + 0.06),
                width - 0.12,
                height - 0.12,
                boxstyle="round,pad=0.06",
                fc=_pale(colour) if filled else "white",
                ec=colour,
                ls="--" if dashed else "-",
                lw=1.2,
            )
        )
        self.text(x, y, text, size=size)
        return Box(x, y, width, height)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        role: str | None = None,
        size: float = 10,
        align: str = "center",
        bold: bool = False,
    ) -> None:
        """Write at (x, y), in ink or in the colour of a role; align: left, center or right."""
        self.axes.text(
            x,
            y,
            text,
            color=ROLES[role] if role else INK,
            fontsize=size,
            ha=align,
            va="center",
            weight="bold" if bold else "normal",
        )

    def arrow(
        self,
        start: Box | tuple[float, float],
        end: Box | tuple[float, float],
        label: str = "",
        *,
        role: str = "output",
        bend: float = 0.0,
        weight: float = 1.2,
        dashed: bool = False,
    ) -> None:
        """Draw an arrow between boxes (from the sides that face each other) or points.

        Parameters
        ----------
        label : written beside its middle
        bend : 0 is straight, 0.3 a clear bow
        weight : width of the line in points
        """
        first, last = _ends(start, end)
        self.axes.add_patch(
            FancyArrowPatch(
                first,
                last,
                arrowstyle="-|>",
                mutation_scale=10,
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=1,
                shrinkB=1,
                color=ROLES[role],
                lw=weight,
                ls="--" if dashed else "-",
            )
        )
        if label:
            across = abs(last[0] - first[0]) >= abs(last[1] - first[1])
            x, y = (first[0] + last[0]) / 2, (first[1] + last[1]) / 2
            move = (0, 0.13) if across else (0.08, 0)
            self.text(
                x + move[0],
                y + move[1],
                label,
                size=9,
                align="center" if across else "left",
            )

    def numbers(
        self,
        x: float,
        y: float,
        values: Sequence[Sequence[float | str]] | np.ndarray,
        *,
        role: str = "output",
        cell: tuple[float, float] = (0.42, 0.3),
        digits: int = 1,
        shaded: bool = False,
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
        size: float = 9,
    ) -> Box:
        """Draw a table of numbers (or words) round (x, y); returns where its cells are.

        Parameters
        ----------
        values : rows of numbers or words
        cell : width and height of a cell, inches
        digits : after the point; a negative zero is written as zero
        shaded : colour cells by their value, from 0 (pale) to 1 (dark), as attention maps are
        rows, columns : words at the left and above
        """
        wide, high = len(values[0]) * cell[0], len(values) * cell[1]
        left, top = x - wide / 2, y + high / 2
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                corner = (left + j * cell[0], top - (i + 1) * cell[1])
                fill = to_hex(colormaps["cividis"](float(value))) if shaded else _pale(ROLES[role])
                self.axes.add_patch(Rectangle(corner, *cell, fc=fill, ec="white", lw=1))
                written = (
                    value
                    if isinstance(value, str)
                    else with_minus(f"{round(value, digits) + 0:.{digits}f}")
                )
                self.axes.text(
                    corner[0] + cell[0] / 2,
                    corner[1] + cell[1] / 2,
                    written,
                    color=ink_on(fill),
                    fontsize=size,
                    ha="center",
                    va="center",
                )
        for i, word in enumerate(rows):
            self.text(left - 0.08, top - (i + 0.5) * cell[1], word, size=size, align="right")
        for j, word in enumerate(columns):
            self.text(left + (j + 0.5) * cell[0], top + 0.13, word, size=size)
        return Box(x, y, wide, high)

    def picture(self, alt: str) -> Picture:
        """The finished drawing, without empty bands above and below; alt says what it shows."""
        drawn = [*self.axes.patches, *self.axes.lines, *self.axes.texts]
        if drawn and len(self.figure.axes) == 1:
            extents = [artist.get_window_extent() for artist in drawn]
            low, high = self.axes.get_ylim()
            bottom = max(low, min(part.y0 for part in extents) / self.figure.dpi - MARGIN)
            top = min(high, max(part.y1 for part in extents) / self.figure.dpi + MARGIN)
            self.figure.set_figheight(top - bottom)
            self.axes.set_ylim(bottom, top)
        return show(self.figure, alt)


def _ends(
    start: Box | tuple[float, float], end: Box | tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow begins and ends: at the sides of boxes that face each other."""
    first = (start.x, start.y) if isinstance(start, Box) else start
    last = (end.x, end.y) if isinstance(end, Box) else end
    across, up = last[0] - first[0], last[1] - first[1]
    if isinstance(start, Box) and isinstance(end, Box):
        apart_x = abs(across) - (start.width + end.width) / 2
        apart_y = abs(up) - (start.height + end.height) / 2
        sideways = apart_x >= apart_y
    else:
        sideways = abs(across) >= abs(up)
    if sideways:
        sides = ("right", "left") if across >= 0 else ("left", "right")
    else:
        sides = ("top", "bottom") if up >= 0 else ("bottom", "top")
    return (
        start.side(sides[0]) if isinstance(start, Box) else first,
        end.side(sides[1]) if isinstance(end, Box) else last,
    )


def _pale(colour: str) -> str:
    """The colour thinned with white."""
    red, green, blue = (1 - PALE * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))
