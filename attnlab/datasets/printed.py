"""Lines of print, rendered by code: what a reader of pictures learns from and is measured on.

The words are those of fairy tales, drawn in the fonts that Matplotlib brings. `make` draws lines,
`scan` makes one look scanned. Nobody ever printed them: figures on them say how well a reader does
on these fonts and this noise, not on books.
"""

import io
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from attnlab.datasets.own_tales import load_tales
from attnlab.errors import DataError, needs, suggest

__all__ = [
    "CHARACTERS",
    "FONTS",
    "HEIGHT",
    "HELD_OUT",
    "LONGEST",
    "PrintedDataset",
    "draw_line",
    "known_words",
    "make",
    "scan",
]

CHARACTERS = " " + string.ascii_letters + string.digits + ".,;:!?'\"-()&/%"
HEIGHT = 32  # pixels of a line
LONGEST = 24  # characters of a line
HELD_OUT = "Computer Modern"  # the family that training never shows
FONTS = {  # families and their files
    "DejaVu Sans": tuple(f"DejaVuSans{face}" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    "DejaVu Sans Mono": tuple(
        f"DejaVuSansMono{face}" for face in ("", "-Bold", "-Oblique", "-BoldOblique")
    ),
    "DejaVu Serif": tuple(f"DejaVuSerif{face}" for face in ("", "-Bold", "-Italic", "-BoldItalic")),
    "STIX": tuple(f"STIXGeneral{face}" for face in ("", "Bol", "Italic", "BolIta")),
    HELD_OUT: ("cmr10", "cmb10", "cmti10", "cmss10", "cmtt10"),
}
_WIDEST = 320  # pixels of ink
_REFERENCE = 64  # font size at which a line is measured first
_PARTS = ("train", "dev", "test")
_STREAM = 1  # so that others who draw from the same seed draw something else


@dataclass(frozen=True, eq=False, repr=False)
class PrintedDataset:
    """Pictures of lines, what stands there, and where each letter stands.

    Attributes
    ----------
    images : list of N uint8 arrays, shape (32, width) each, grey, 0 is black
    texts : list of N str
    boxes : list of N float32 arrays, shape (characters, 4): x, y, width, height in pixels of the
        cell of each character, whose sides are where its pen starts and where the next one's does
    fonts : list of N names of font files
    name : str
    """

    images: list[np.ndarray]
    texts: list[str]
    boxes: list[np.ndarray]
    fonts: list[str]
    name: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def widths(self) -> np.ndarray:
        """Columns of each picture, shape (N,)."""
        return np.array([image.shape[1] for image in self.images], dtype=int)

    def select(self, indices: Sequence[int] | np.ndarray) -> "PrintedDataset":
        """The lines with these indices, in this order."""
        return PrintedDataset(
            [self.images[index] for index in indices],
            [self.texts[index] for index in indices],
            [self.boxes[index] for index in indices],
            [self.fonts[index] for index in indices],
            self.name,
        )

    def padded(
        self, indices: Sequence[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of one width, for a batch.

        Parameters
        ----------
        indices : of the lines; default all

        Returns
        -------
        images : uint8 array, shape (N, 32, W), white behind the shorter ones
        mask : bool array, shape (N, W), True at columns that belong to the picture
        """
        chosen = self if indices is None else self.select(indices)
        width = int(max(chosen.widths, default=0))
        images = np.full((len(chosen), HEIGHT, width), 255, np.uint8)
        for row, image in enumerate(chosen.images):
            images[row, :, : image.shape[1]] = image
        return images, np.arange(width) < chosen.widths[:, None]

    def __repr__(self) -> str:
        families = len({_family(font) for font in self.fonts})
        return f"PrintedDataset({self.name!r}: {len(self)} lines, {families} font families)"


def make(
    count: int,
    part: str = "train",
    *,
    fonts: str = "seen",
    strength: float | tuple[float, float] = 0.0,
    shuffled: float = 0.0,
    stretch: float = 0.0,
    seed: int = 0,
) -> PrintedDataset:
    """Draw lines of one to four words of Grimm's tales, at most 24 characters each.

    Parameters
    ----------
    count : of lines
    part : "train", "dev" or "test": whose tales the words are from, in the order of the tale. One
        line in 12 is in capitals and one word in 12 is a number.
    fonts : "seen", the families that a reader learns from; "held-out", Computer Modern; or the name
        of a family
    strength : of `scan`, one for all lines or the lowest and the highest, between which it is drawn
        for each line
    shuffled : share of words whose letters are put in another order, so that a line cannot be
        guessed from its words
    stretch : share by which a line may be made wider or narrower, so that fonts vary more
    seed : of everything that is drawn. With one seed, the lines of a part are the same in all fonts
        and under all strengths, so that these can be compared line by line.

    Raises
    ------
    DataError : no such part or fonts, a share or strength that cannot be
    """
    files = _files_of(fonts)
    if part not in _PARTS:
        raise DataError(f"There is no part {part!r} of the tales. {suggest(part, _PARTS)}")
    if count < 0 or not 0 <= shuffled <= 1 or not 0 <= stretch <= 0.5:
        raise DataError(
            f"count is {count}, shuffled {shuffled}, stretch {stretch}. They are a number of "
            "lines, a share of words, from 0 to 1, and a share of the width, from 0 to 0.5."
        )
    low, high = (strength, strength) if isinstance(strength, int | float) else strength
    _check_strength(low, high)
    draw = np.random.default_rng([seed, _PARTS.index(part), _STREAM])
    words = [_readable(text) for text in getattr(load_tales("grimm"), part)]
    lengths = np.array([len(own) for own in words], dtype=float)
    images, texts, boxes, drawn = [], [], [], []
    for _ in range(count):
        own = words[int(draw.choice(len(words), p=lengths / lengths.sum()))]
        text = _line_of(own, draw, shuffled)
        file = files[int(draw.integers(len(files)))]
        clean, cells = draw_line(
            text,
            file,
            ink=float(draw.uniform(13, 28)),
            margin=tuple(draw.integers(1, 11, size=2).tolist()),
            lift=float(draw.uniform(0, 1)),
            paper=int(draw.integers(190, 256)),
            print_grey=int(draw.integers(0, 100)),
            stretch=1 + stretch * float(draw.uniform(-1, 1)),
        )
        noise = float(draw.uniform(low, high))
        images.append(scan(clean, noise, int(draw.integers(2**31))))
        texts.append(text)
        boxes.append(cells)
        drawn.append(file)
    return PrintedDataset(images, texts, boxes, drawn, f"{part}, {fonts} fonts")


def draw_line(
    text: str,
    font: str,
    *,
    ink: float = 22.0,
    margin: tuple[int, int] = (6, 6),
    lift: float = 0.5,
    paper: int = 255,
    print_grey: int = 0,
    stretch: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one line of print, clean.

    Parameters
    ----------
    text : of characters that the font has
    font : name of a font file of `FONTS`
    ink : pixels from the highest to the lowest ink, of 32; less where the line would get wider than
        320 pixels
    margin : empty columns before and behind
    lift : where the ink lies in what is free of the 32 rows, 0 at the top, 1 at the bottom
    paper, print_grey : greys, from 0 (black) to 255 (white)
    stretch : what widths are multiplied by

    Returns
    -------
    image : uint8 array, shape (32, width)
    boxes : float32 array, shape (characters, 4), as in `PrintedDataset`
    """
    if not text.strip():
        raise DataError(f"The line {text!r} has nothing to draw. Give at least one letter.")
    rough = _font(font, _REFERENCE).getbbox(text)
    share = min(ink / max(rough[3] - rough[1], 1), _WIDEST / max(rough[2] - rough[0], 1))
    size = max(6, round(_REFERENCE * share))
    while True:  # hinting may make it a little higher or wider than was reckoned
        face = _font(font, size)
        left, top, right, bottom = face.getbbox(text)
        if size <= 6 or (bottom - top <= HEIGHT and right - left <= _WIDEST + 8):
            break
        size -= 1
    x = margin[0] - left
    y = round(lift * (HEIGHT - (bottom - top))) - top
    width = int(np.ceil(right - left)) + sum(margin)
    cover = Image.new("L", (width, HEIGHT), 0)
    ImageDraw.Draw(cover).text((x, y), text, fill=255, font=face)
    wider = max(1, round(width * stretch))
    if wider != width:
        cover = cover.resize((wider, HEIGHT), Image.Resampling.BILINEAR)
    share_of_ink = np.asarray(cover, dtype=np.float32) / 255
    image = paper + (print_grey - paper) * share_of_ink
    pens = x + np.array([face.getlength(text[:end]) for end in range(len(text) + 1)])
    pens *= wider / width
    rows = np.array([face.getbbox(character)[1::2] for character in text], dtype=float) + y
    boxes = np.stack([pens[:-1], rows[:, 0], np.diff(pens), rows[:, 1] - rows[:, 0]], axis=1)
    return image.round().astype(np.uint8), boxes.astype(np.float32)


def scan(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Make a clean line look scanned: skewed, unevenly lit, blurred, speckled, packed as JPEG.

    Parameters
    ----------
    image : uint8 array, shape (H, W)
    strength : 0 leaves it as it is; 1 is a fair scan, 2 a poor one, 3 a bad fax
    seed : of what is drawn

    Returns
    -------
    uint8 array, shape (H, W). The skew moves columns up and down as turning by up to 0.8 degrees
    times the strength would, as far as ink and margin leave room; every column keeps its x.
    """
    _check_strength(strength, strength)
    if strength == 0:
        return image.copy()
    draw = np.random.default_rng(seed)
    grey = _skewed(image.astype(np.float32), draw.uniform(-0.8, 0.8) * strength)
    height, width = grey.shape
    shade = draw.uniform(0, 0.12) * strength
    along = np.cos(np.linspace(0, draw.uniform(0.5, 4.0), width) + draw.uniform(0, 2 * np.pi))
    across = draw.uniform(-0.3, 0.3) * np.linspace(-1, 1, height)
    grey *= 1 - shade * np.clip(0.5 + 0.5 * along + across[:, None], 0, 1)
    radius = draw.uniform(0.1, 0.5) * strength
    soft = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    grey = np.asarray(soft.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    grey = grey + draw.normal(0, draw.uniform(1, 7) * strength, grey.shape)
    dots = draw.random(grey.shape) < draw.uniform(0, 0.004) * strength
    grey[dots] = draw.integers(0, 256, int(dots.sum()))
    packed = io.BytesIO()
    quality = int(draw.uniform(90 - 25 * strength, 95 - 10 * strength))
    whole = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    whole.save(packed, "JPEG", quality=max(5, quality))
    return np.asarray(Image.open(packed).convert("L"))


@cache
def known_words() -> frozenset[str]:
    """The words of the training tales in small letters, to tell which of a test line are new."""
    return frozenset(
        _bare(word) for text in load_tales("grimm").train for word in _readable(text)
    ) - {""}


# ── words, fonts, skew ─────────────────────────────────────────────────────────────────────────


def _readable(text: str) -> list[str]:
    """The words of a text, without characters that are not in `CHARACTERS`."""
    known = set(CHARACTERS)
    told = ("".join(character for character in word if character in known) for word in text.split())
    return [word for word in told if 0 < len(word) <= LONGEST]


def _bare(word: str) -> str:
    """A word in small letters without the signs around it."""
    return word.strip(string.punctuation).lower()


def _line_of(words: list[str], draw: np.random.Generator, shuffled: float) -> str:
    """One to four neighbouring words, as many as fit."""
    start, wanted = int(draw.integers(len(words))), int(draw.integers(1, 5))
    line = ""
    for word in words[start : start + wanted]:
        if draw.random() < 1 / 12:
            word = _number(draw)
        if draw.random() < shuffled:
            word = "".join(draw.permutation(list(word)))
        longer = f"{line} {word}".strip()
        if len(longer) > LONGEST:
            break
        line = longer
    if draw.random() < 1 / 12:
        return line.upper()
    return line[:1].upper() + line[1:] if draw.random() < 1 / 12 else line


def _number(draw: np.random.Generator) -> str:
    """A year, a price, a share or the like."""
    whole = int(draw.integers(10 ** int(draw.integers(1, 5))))
    kinds = (f"{whole}", f"{whole}.{int(draw.integers(100)):02d}", f"{whole}%", f"({whole})")
    return kinds[int(draw.integers(len(kinds)))]


def _files_of(fonts: str) -> tuple[str, ...]:
    if fonts == "seen":
        return tuple(file for family in FONTS if family != HELD_OUT for file in FONTS[family])
    family = HELD_OUT if fonts == "held-out" else fonts
    if family not in FONTS:
        raise DataError(
            f"There are no fonts {fonts!r}. {suggest(fonts, ['seen', 'held-out', *FONTS])}"
        )
    return FONTS[family]


def _family(file: str) -> str:
    return next((family for family, files in FONTS.items() if file in files), file)


@lru_cache(maxsize=2048)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    with needs("lab"):
        import matplotlib
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{file}.ttf"
    if not path.is_file():
        raise DataError(
            f"There is no font {file!r}. "
            + suggest(file, [name for files in FONTS.values() for name in files])
        )
    # the same letters stand at the same places, whatever this Pillow was built with
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _skewed(grey: np.ndarray, degrees: float) -> np.ndarray:
    """Columns moved up and down by a straight line, with their ink kept inside."""
    height, width = grey.shape
    inked = np.flatnonzero((grey < (grey.min() + grey.max()) / 2).any(1))
    room = min(inked[0], height - 1 - inked[-1]) if len(inked) else 0
    most = np.tan(np.radians(degrees)) * width / 2
    shift = np.linspace(-1, 1, width) * np.clip(most, -room - 1, room + 1)
    rows = np.arange(height)[:, None] + shift
    lower = np.floor(rows).astype(int)
    part, columns = rows - lower, np.arange(width)
    above, below = (grey[np.clip(lower + step, 0, height - 1), columns] for step in (0, 1))
    return above * (1 - part) + below * part


def _check_strength(low: float, high: float) -> None:
    if not 0 <= low <= high <= 4:
        raise DataError(
            f"strength is {low if low == high else (low, high)!r}. Give a number from 0 (clean) to "
            "4, or the lowest and the highest."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
