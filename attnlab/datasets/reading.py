"""What can go wrong when a file of somebody's own is read, with the cure."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnlab.errors import DataError


@contextmanager
def reading(path: Path, encoding: str, cure: str | None = None) -> Iterator[None]:
    """Turn errors of opening and decoding a file into a DataError.

    Parameters
    ----------
    path : the file
    encoding : how it is read
    cure : what to do if it is encoded otherwise; by default to give the encoding
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}. Check the path; you are in {Path.cwd()}."
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder. Give a file in it.") from error
    except UnicodeError as error:
        where = ""
        if isinstance(error, UnicodeDecodeError):
            where = f" (byte {error.object[error.start]:#04x} at {error.start})"
        cure = cure or (
            "Files saved by a spreadsheet are often encoding='cp1252' or 'utf-16'; give that."
        )
        raise DataError(f"{path.name} is not {encoding}{where}. {cure}") from error
    except LookupError as error:
        raise DataError(
            f"There is no encoding {encoding!r}. Try 'utf-8', 'cp1252', 'utf-16'."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give a file.") from error
