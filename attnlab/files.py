"""Where the package keeps its own files, and files written whole or not at all."""

import os
import tempfile
from pathlib import Path

from attnlab.errors import AttnlabError

PACKAGE = Path(__file__).parent  # the only path that depends on where a module lies


def checkout() -> Path | None:
    """Return the clone that this package is run from; None when it was installed as a wheel."""
    return PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else None


def bundled(name: str) -> Path:
    """Return a folder that comes with attnlab: "notebooks", "adapters" or "translators".

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
            file.write(data)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise AttnlabError(
            f"{path} cannot be written: {error.strerror}. Choose another place."
        ) from error
    return path
