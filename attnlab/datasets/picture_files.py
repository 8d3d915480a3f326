"""From a picture file to pixels: PNG and JPEG of any size and kind, and what can be wrong there.

Everything becomes grey or red-green-blue numbers from 0 to 255: 16-bit greys are divided by 257,
palettes looked up, transparency is laid on a background, and a picture that EXIF says was taken
with the camera turned is turned back.
"""

import io
import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from attnlab.datasets.reading import local_file
from attnlab.errors import DataError, option
from attnlab.files import damage

Size = int | tuple[int, int]  # height and width in pixels; one number for a square

LARGEST = 50_000_000  # pixels in a file; what holds more is refused before it is unpacked
_FORMATS = ("PNG", "JPEG")
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
_TURNS = {  # what undoes each value of EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = [_TURNS[value] for value in (5, 6, 7, 8)]


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of a file, fitted into a size, and where its parts went.

    Attributes
    ----------
    pixels : uint8 array, shape (H, W) or (H, W, 3)
    scale : how many pixels one of the file's became, along x and y
    offset : where the file's top left corner lies, x and y in pixels
    original : the file's width and height in pixels, as it is shown
    """

    pixels: np.ndarray
    scale: tuple[float, float]
    offset: tuple[int, int]
    original: tuple[int, int]


def read_picture(
    path: str | os.PathLike[str], size: Size = (28, 28), grey: bool = True, background: int = 255
) -> np.ndarray:
    """Read one picture, as `images_from_folder` reads many.

    Parameters
    ----------
    path : a PNG or JPEG file
    size : height and width in pixels. A picture of other proportions is fitted into it, in the
        middle.
    grey : one number for each pixel, else three: red, green, blue
    background : the grey, 0 (black) to 255 (white), that lies behind transparent parts and beside
        a picture of other proportions

    Returns
    -------
    uint8 array, shape (H, W), or (H, W, 3) if not grey

    Raises
    ------
    DataError : no such file, no PNG or JPEG, a file that is cut off or damaged, more than 50
        million pixels
    """
    path = local_file(path)
    return fitted(path, checked_size(size), grey, checked_background(background)).pixels


def fitted(
    path: Path,
    size: tuple[int, int] | None,
    grey: bool,
    background: int,
    shown: str | None = None,
) -> Picture:
    """Read a picture and fit it into (height, width); None leaves it at its own size.

    Raises
    ------
    DataError : what is wrong with the file, which is called ``shown``, or by its name
    """
    try:
        raw = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # about EXIF, whose parts may be odd
            return _decoded(raw, size, grey, background)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise DataError(f"{shown or path.name} {_reason(path, error)}.") from error


def looks_like_picture(path: Path) -> bool:
    """Whether a file is, or by its ending should be, a PNG or JPEG."""
    try:
        with path.open("rb") as file:
            begins = file.read(8).startswith(_BEGINNINGS)
    except OSError:
        begins = False
    return begins or path.suffix.lower() in _ENDINGS


def checked_size(size: Size) -> tuple[int, int]:
    """Height and width; DataError unless both are whole numbers from 1 to 1,024."""
    both = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    whole = [side for side in both if isinstance(side, int | np.integer)]
    if len(both) != 2 or len(whole) != 2 or not all(1 <= side <= 1024 for side in whole):
        raise DataError(
            f"size is {size!r}. Give height and width in pixels, from 1 to 1,024 each, such as "
            f"{option('size', (28, 28))}."
        )
    return int(both[0]), int(both[1])


def checked_background(background: int) -> int:
    """A grey; DataError unless it is a whole number from 0 to 255."""
    if background not in range(256):
        raise DataError(f"background is {background!r}. Give a grey from 0 (black) to 255 (white).")
    return int(background)


def _decoded(raw: bytes, size: tuple[int, int] | None, grey: bool, background: int) -> Picture:
    image = Image.open(io.BytesIO(raw), formats=_FORMATS)
    original = image.size
    if original[0] * original[1] > LARGEST:
        raise Image.DecompressionBombError
    if image.format == "PNG":  # loading does not look at its checksums
        image.verify()
        image = Image.open(io.BytesIO(raw), formats=_FORMATS)
    elif size is not None:  # a large photograph is unpacked at a fraction of its size
        image.draft(None, (4 * max(size), 4 * max(size)))
    image.load()
    turn = _turn(image)
    if turn in _ON_ITS_SIDE:
        original = original[::-1]
    shown = _plain(image if turn is None else image.transpose(turn), grey, background)
    if size is None:
        return Picture(np.array(shown), (1.0, 1.0), (0, 0), original)

    share = min(size[1] / original[0], size[0] / original[1])
    width, height = (max(1, round(share * side)) for side in original)
    offset = (size[1] - width) // 2, (size[0] - height) // 2
    canvas = Image.new(shown.mode, size[::-1], (background,) * len(shown.getbands()))
    canvas.paste(shown.resize((width, height), Image.Resampling.BILINEAR), offset)
    scale = width / original[0], height / original[1]
    return Picture(np.array(canvas), scale, offset, original)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a picture as EXIF says it should be shown; None if it stays."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, struct.error):  # the EXIF is broken, the picture is whole
        return None


def _plain(image: Image.Image, grey: bool, background: int) -> Image.Image:
    """The same picture in grey or red, green and blue, with nothing transparent."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    if image.mode not in ("1", "L", "P"):
        image = image.convert("RGB")
    return image.convert("L" if grey else "RGB")


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with a file that could not be read, to follow its name."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"has more than {LARGEST // 1_000_000} million pixels, so it is not unpacked; make it "
            "smaller first"
        )
    if trouble := damage(path):  # empty, a web page, a pointer of Git LFS
        return trouble
    if isinstance(error, Image.UnidentifiedImageError):
        return "is no PNG or JPEG inside; save it as one of these"
    if "truncated" in str(error).lower():
        return "is cut off; copy or download it again"
    return f"is damaged ({type(error).__name__}: {error!s:.80}); copy or download it again"
