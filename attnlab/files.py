"""Files written whole or not at all."""

import os
import tempfile
from pathlib import Path

from attnlab.errors import AttnlabError


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
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
