"""From a file of somebody's own to its text; whatever can go wrong on the way, with the cure."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path

from attnlab.errors import AttnlabWarning, DataError, option, worded

_PACKED = (".gz", ".bz2", ".xz", ".zip")
_AS_CSV = "Save it as 'CSV UTF-8' there, and give that file."
_AS_TEXT = "Save it as plain text in UTF-8, and give that file."
_FOREIGN = {  # what other kinds of file begin with, what they are, and what to do
    b"\xd0\xcf\x11\xe0": ("a workbook or document of an older Office", _AS_CSV),
    b"%PDF": ("a PDF document", "Give a table as text: CSV, tab-separated or JSON Lines."),
    b"PAR1": ("a Parquet file", "Give it the ending .parquet."),
    b"ARROW1": ("an Arrow file", "Save it as CSV, JSON Lines or Parquet."),
    b"SQLite format 3": ("a database", "Save the table as CSV."),
    b"\x80\x04\x95": ("a pickle, which may hold programs", "Save the table as CSV."),
    b"\x80\x05\x95": ("a pickle, which may hold programs", "Save the table as CSV."),
    b"\x89PNG": ("a picture", "Give a table as text."),
    b"\xff\xd8\xff": ("a picture", "Give a table as text."),
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file itself",
        "Type git lfs pull where it comes from.",
    ),
}


def local_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there; ``~`` is your home.

    Raises
    ------
    DataError : an address, no such file, a folder
    """
    try:
        given = os.fsdecode(path)
    except TypeError as error:
        raise DataError(
            f"Expected the path of a file, got {type(path).__name__}."
            + worded(" A DataFrame is for from_frame.", "")
        ) from error
    if re.match(r"[a-z][a-z0-9+.-]+:/", given, re.I):
        raise DataError(f"{given} is an address. Download the file first, and give its path here.")
    path = Path(given).expanduser()
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder. Give a file in it.")
        if not path.exists():
            raise DataError(f"There is no file {path}. Check the path; you are in {Path.cwd()}.")
        if not path.is_file():
            raise DataError(f"{path} is no ordinary file. Give a file.")
    except (OSError, ValueError) as error:  # too long, or with a zero byte: perhaps a text
        raise DataError(f"{given[:60]!r} is no path of a file ({error!s:.60}).") from error
    return path


def name_of(path: Path) -> str:
    """The name of a data set that lies in a file: without endings of format and packing.

    >>> name_of(Path("my.reviews.csv.gz"))
    'my.reviews'
    """
    return Path(path.stem).stem if path.suffix.lower() in _PACKED else path.stem


def ending_of(path: Path) -> str:
    """The ending that says the format, in lower case: ``.tsv`` of ``Reviews.TSV.gz``."""
    return (Path(path.stem) if path.suffix.lower() in _PACKED else path).suffix.lower()


def read_text(path: Path, encoding: str, plain: bool = False) -> str:
    """Return the text of a file, unpacked where it is packed, without a byte order mark.

    Parameters
    ----------
    path : of a file that is there
    encoding : such as "UTF-8"
    plain : what is wanted is plain text, not a table; this changes only what errors advise

    Raises
    ------
    DataError : a file that cannot be read, is no text, or is encoded otherwise
    """
    raw = _read(path, plain)
    for beginning, (what, cure) in _FOREIGN.items():
        if raw.startswith(beginning):
            cure = _AS_TEXT if plain and "LFS" not in what else cure
            raise DataError(f"{path.name} is {what}, and no text. {cure}")
    if raw[257:262] == b"ustar":
        raise DataError(f"{path.name} is an archive. Unpack it, and give one file.")
    text = _decoded(raw, path.name, encoding, plain)
    if "\ufffd" in text:
        warnings.warn(
            f"{path.name} holds {text.count(chr(0xFFFD)):,} signs \ufffd: characters that an "
            "earlier conversion lost. They stay as they are.",
            AttnlabWarning,
            stacklevel=3,
        )
    if text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        wanted = "plain text" if plain else "a table"
        raise DataError(f"{path.name} is a web page, not {wanted}. Download the file itself.")
    return text


def _read(path: Path, plain: bool) -> bytes:
    """The bytes of a file, unpacked by what it begins with, whatever it is called."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give a file.") from error
    try:
        if raw.startswith(b"\x1f\x8b"):
            return gzip.decompress(raw)
        if raw.startswith(b"BZh"):
            return bz2.decompress(raw)
        if raw.startswith(b"\xfd7zXZ"):
            return lzma.decompress(raw)
        return _only_member(raw, path.name, plain) if raw.startswith(b"PK\x03\x04") else raw
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError) as error:
        raise _broken(path.name, error) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _broken(path.name, error) from error


def _broken(name: str, error: Exception) -> DataError:
    return DataError(f"{name} cannot be unpacked ({error}). Unpack it yourself, or get it again.")


def _only_member(raw: bytes, name: str, plain: bool) -> bytes:
    """The one file in a zip archive."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        inside = archive.namelist()
        if any(member.startswith("xl/") for member in inside):
            raise DataError(f"{name} is an Excel workbook. {_AS_TEXT if plain else _AS_CSV}")
        if "mimetype" in inside or "[Content_Types].xml" in inside:
            raise DataError(f"{name} is an office document. {_AS_TEXT if plain else _AS_CSV}")
        files = [
            member
            for member in inside
            if not member.endswith("/") and not member.startswith("__MACOSX/")
        ]
        if len(files) != 1:
            few = ", ".join(files[:4]) + (", ..." if len(files) > 4 else "")
            raise DataError(
                f"{name} holds {len(files)} files ({few or 'none'}). Unpack it, and give one file."
            )
        return archive.read(files[0])


def _decoded(raw: bytes, name: str, encoding: str, plain: bool) -> str:
    """The text of these bytes, if this encoding is theirs."""
    try:
        text = raw.decode(encoding)
    except UnicodeError as error:
        where = ""
        if isinstance(error, UnicodeDecodeError):
            where = f" (byte {error.object[error.start]:#04x} at {error.start})"
        raise DataError(
            f"{name} is not {encoding}{where}. {_other_encoding(raw, plain)}"
        ) from error
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"There is no encoding {encoding!r}. Try 'utf-8', 'cp1252', 'utf-16'."
        ) from error
    if "\0" in text:
        raise DataError(
            f"{name} holds zero bytes, so it is no {encoding}. {_other_encoding(raw, plain)}"
        )
    _doubt(raw, name, encoding)
    return text.removeprefix("\ufeff")


def _other_encoding(raw: bytes, plain: bool) -> str:
    """What to do about bytes that are not encoded as was thought."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return f"Its first bytes are the mark of UTF-32: give {option('encoding', 'utf-32')}."
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"Its first bytes are the mark of UTF-16: give {option('encoding', 'utf-16')}."
    zeros = [raw[:1000:2].count(0), raw[1:1000:2].count(0)]
    if max(zeros) > 0.4 * len(raw[:1000]) / 2:
        order = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return f"It looks like UTF-16: give {option('encoding', order)}."
    if 0 in raw:
        wanted = "plain text" if plain else "a table as text: CSV, tab-separated"
        return f"It seems to be no text at all. Give {wanted}."
    likely = "utf-8" if _is_utf8(raw) else "cp1252"
    whose = "" if likely == "utf-8" else ", as many programs on Windows write"
    hint = "" if plain else " (a spreadsheet offers 'CSV UTF-8')"
    return f"Save it as UTF-8{hint}, or say how it is encoded: {option('encoding', likely)}{whose}."


def _doubt(raw: bytes, name: str, encoding: str) -> None:
    """Refuse, or warn about, an encoding that reads anything, where the bytes say UTF-8."""
    known = codecs.lookup(encoding).name
    if known.startswith(("utf-8", "ascii")) or b"\0" in raw:
        return
    if not _is_utf8(raw):
        return
    if known.startswith(("utf-16", "utf-32")):
        raise DataError(f"{name} is not {encoding}: it reads as UTF-8. Give no encoding.")
    if not raw.isascii():
        warnings.warn(
            f"{name} is read as {encoding}, but its bytes are valid UTF-8. If words look strange, "
            f"give {option('encoding', 'utf-8')}.",
            AttnlabWarning,
            stacklevel=5,
        )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
