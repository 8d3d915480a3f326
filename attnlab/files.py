"""Files: the package's own, one written whole or not at all, and models' as they come."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnlab.errors import AttnlabError, ModelError

PACKAGE = Path(__file__).parent  # the only path that depends on where a module lies
_LFS = b"version https://git-lfs"
_PAGES = (b"<!doctype", b"<html", b"<?xml")
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")


def checkout() -> Path | None:
    """Return the clone that this package is run from; None when it was installed as a wheel."""
    return PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else None


def bundled(name: str) -> Path:
    """Return a folder that comes with attnlab, such as "notebooks", "adapters" or "answerers".

    In a clone they lie beside the package; a wheel carries them inside it.
    """
    clone = checkout()
    if clone is None:
        return PACKAGE / f"_{name}"
    return clone / name if name == "notebooks" else clone / "data" / name


def atomic_write(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file through a temporary one beside it, so that nobody meets half of it."""
    path = Path(path)
    if not path.parent.is_dir():
        raise AttnlabError(f"There is no folder {path.parent}. Make it first, or choose another.")
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            whole = Path(file.name)
            try:
                file.write(data)
                file.close()
                whole.chmod(0o644)
                whole.replace(path)
            except BaseException:  # a full disk would stay full
                whole.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise AttnlabError(
            f"{path} cannot be written: {error.strerror}. Choose another place."
        ) from error
    return path


# ── files of models ────────────────────────────────────────────────────────────────────────────


def damage(path: str | os.PathLike[str]) -> str | None:
    """Say what is wrong with a file, as far as its beginning and its size tell; None if nothing.

    Parameters
    ----------
    path : a file of a model: safetensors, JSON, or a vocabulary
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if size == 0:
        return "is empty; copy or download it again"
    if head.startswith(_LFS):
        return (
            "is a Git LFS pointer, which stands for the file and is not the file; "
            "type `git lfs pull` where it came from"
        )
    if head.lstrip().lower().startswith(_PAGES):
        return "is a web page, as a failed download leaves it; download it again"
    if path.suffix == ".safetensors":
        return _damaged_tensors(path, head, size)
    if path.suffix == ".json":
        return _damaged_json(path)
    return None


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata of a safetensors file, and its tensors by name.

    Raises
    ------
    ModelError : the file is damaged, or no safetensors; the message says in what way
    """
    from safetensors import safe_open  # brings torch

    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # a list: the file is no dict
            # cloned: else they would lie in the file, and change or break with it
            tensors = {name: file.get_tensor(name).clone() for name in names}
            return file.metadata() or {}, tensors
    except Exception as error:  # safetensors has an error class of its own for each version
        raise ModelError(f"{path} {damage(path) or f'cannot be read: {error}'}.") from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a JSON file holds; ModelError if it is damaged or holds no object."""
    if trouble := damage(path):
        raise ModelError(f"{path} {trouble}.")
    return json.loads(Path(path).read_text(encoding="utf-8-sig"))


@contextlib.contextmanager
def understood(path: str | os.PathLike[str], cure: str) -> Iterator[None]:
    """Turn what fails inside, where a record of ours is taken apart, into a ModelError.

    Parameters
    ----------
    path : of the record, for the message
    cure : a sentence that says what to do
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} lacks something, or is of another version ({type(error).__name__}: {error}). "
            f"{cure}"
        ) from error


def _damaged_tensors(path: Path, head: bytes, size: int) -> str | None:
    """What is wrong with a safetensors file: eight bytes of length, a JSON header, the numbers."""
    if head.startswith(_PICKLED):
        return "is a pickled file under another name; attnlab reads safetensors only"
    length = int.from_bytes(head[:8], "little")
    if size < 8 or (head[8:9] != b"{" and length > size):
        return "is no safetensors file; copy or download it again"
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(length)) if length + 8 <= size else None
    except ValueError:
        return "is no safetensors file: its header cannot be read; copy or download it again"
    if header is None:
        return f"is cut off after {size:,} bytes, within its header; copy or download it again"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        return f"holds {size:,} bytes and should hold {whole:,}; copy or download it again"
    return None


def _damaged_json(path: Path) -> str | None:
    """What is wrong with a JSON file that should hold an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        return f"is no valid JSON ({error}); it is cut off or was edited"
    return None if isinstance(content, dict) else "is JSON, but holds no {...}"
