"""A language model in one file: weights as safetensors, and what they belong to as JSON inside."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save as to_safetensors

from attnlab.errors import ModelError
from attnlab.files import atomic_write

if TYPE_CHECKING:
    from attnlab.language.writer import Writer

__all__ = ["FILE", "KEY", "save"]

FILE = "language_model.safetensors"
KEY = "language_model"  # of the metadata, under which all but the weights is written


def save(writer: "Writer", folder: str | os.PathLike[str]) -> Path:
    """Write a writer to `FILE` in a folder, which is made if need be; whole or not at all.

    Returns
    -------
    the file
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Give the name of a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder} cannot be made: {error.strerror}.") from error
    about = {
        "size": writer.model.size,
        "tokens": writer.tokens.to_json(),
        "name": writer.name,
        "block_length": writer.block_length,
        "history": None if writer.history is None else asdict(writer.history),
    }
    tensors = {  # a tied weight has one name
        name: weight.detach().cpu().contiguous() for name, weight in writer.model.named_parameters()
    }
    return atomic_write(folder / FILE, to_safetensors(tensors, {KEY: json.dumps(about)}))


def __dir__() -> list[str]:
    return sorted(__all__)
