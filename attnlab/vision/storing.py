"""A model of this room in one file: written whole, read only if its parts belong together."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from attnlab.device import device as default_device
from attnlab.errors import ModelError, suggest
from attnlab.files import atomic_write, damage, read_tensors, understood
from attnlab.training.history import History

__all__ = ["read", "write"]

Model = TypeVar("Model", bound=nn.Module)


def write(
    path: str | os.PathLike[str],
    model: nn.Module,
    about: Mapping[str, Any],
    history: History | None,
    dtype: torch.dtype | None = None,
    kind: str | None = None,
) -> Path:
    """Write a model to one .safetensors file, whole or not at all.

    Parameters
    ----------
    about : what the model is made from again, whatever JSON can hold
    dtype : number format in the file; default that of the model
    kind : what `read` must be asked for; default the name of the model's class
    """
    record = {
        "kind": kind or type(model).__name__,
        "about": about,
        "history": None if history is None else asdict(history),
    }
    tensors = {
        name: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    return atomic_write(path, to_safetensors(tensors, {"vision": json.dumps(record)}))


def read(
    path: str | os.PathLike[str],
    file: str,
    kind: str,
    make: Callable[..., Model],
    names: Mapping[str, Path] | None = None,
) -> Model:
    """Read what `write` wrote, with its history.

    Parameters
    ----------
    path : the file, a folder with one of this name, or one of ``names``
    file : the name
    kind : name of the model's class, or what `write` was given
    make : makes the model from ``about``, given as keywords
    names : of models that come with attnlab, and their folders

    Raises
    ------
    ModelError : no such file, another one, or parts that do not belong together
    """
    names = names or {}
    path = Path(names.get(str(path), path))
    path = path / file if path.is_dir() else path
    if not path.is_file():
        ours = f" {suggest(str(path), names)}" if names else ""
        raise ModelError(f"There is no file {str(path)!r}.{ours} Give one that {kind}.save wrote.")
    if trouble := damage(path):
        raise ModelError(f"{path} holds no {kind}: it {trouble}.")
    metadata, tensors = read_tensors(path)
    cure = f"Give a file that {kind}.save wrote."
    if "vision" not in metadata:
        raise ModelError(f"{path} holds no {kind}. {cure}")
    with understood(path, cure):
        record = json.loads(metadata["vision"])
        found, about, history = record["kind"], record["about"], record["history"]
        if found == kind:
            model = make(**about)
            past = None if history is None else History(**history)
    if found != kind:
        raise ModelError(f"{path} holds a {found}, not a {kind}. {cure}")
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    given = {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != given:
        name = min(name for name in wanted | given if wanted.get(name) != given.get(name))
        raise ModelError(
            f"The weights in {path} are not those of the {kind} it describes: {name} has the shape "
            f"{given.get(name)}, expected {wanted.get(name)}. Save the model again."
        )
    model.load_state_dict(tensors)
    trained: Any = model.to(default_device()).eval()
    trained.history = past
    return trained


def __dir__() -> list[str]:
    return sorted(__all__)
