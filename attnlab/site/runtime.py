"""ONNX Runtime for browsers: two files of an npm package, verified by their sha256."""

from pathlib import Path

from attnlab.datasets.fetching import Source
from attnlab.site.npm import npm_files

__all__ = ["FILES", "REQUIREMENT", "runtime_files"]

REQUIREMENT = "onnxruntime-web@1.30.0"


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
    return npm_files(FILES, folder, "runtime")


def __dir__() -> list[str]:
    return sorted(__all__)
