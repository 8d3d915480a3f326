"""Language models that were saved, and those that come along."""

import json
import os
from pathlib import Path
from typing import Any

from attnlab.device import device as default_device
from attnlab.errors import AttnlabError, ModelError, suggest
from attnlab.files import bundled, damage, read_tensors
from attnlab.language.model import LanguageModel
from attnlab.language.storing import FILE, KEY
from attnlab.language.vocabulary import tokens_from_json
from attnlab.language.writer import Writer
from attnlab.training.history import History

__all__ = ["language_models", "load_language_model"]

_CURE = "Save the writer again with Writer.save."


def load_language_model(name: str | os.PathLike[str]) -> Writer:
    """Load a language model that was saved.

    Parameters
    ----------
    name : one of ours ("grimm"), a folder of `Writer.save` or `train_language_model`, or the file
        in it

    Raises
    ------
    ModelError : no such model, a file that holds none, or weights, size and tokens that do not
        belong together
    """
    path = Path(language_models().get(str(name), name))
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f"There is no language model {str(name)!r}. {suggest(str(name), language_models())} "
            "Or train one: al.train_language_model."
        )
    if trouble := damage(path):
        raise ModelError(f"{path} holds no language model: it {trouble}.")
    metadata, tensors = read_tensors(path)
    if KEY not in metadata:
        raise ModelError(
            f"{path} holds no language model of ours. Give a folder of Writer.save; decoders of "
            "the hub are loaded by Transformers."
        )
    try:
        return _assembled(json.loads(metadata[KEY]), tensors)
    except AttnlabError as error:
        raise ModelError(f"{path} holds no whole language model. {error}") from error
    except Exception as error:  # of json, torch, or a description that lacks something
        raise ModelError(
            f"{path} holds no whole language model: what it says of itself cannot be read "
            f"({type(error).__name__}: {error}). {_CURE}"
        ) from error


def language_models() -> dict[str, Path]:
    """Return the folders of the language models that come with attnlab, by name."""
    files = sorted(bundled("language-models").glob(f"*/{FILE}"))
    return {file.parent.name: file.parent for file in files}


def _assembled(about: dict[str, Any], tensors: dict[str, Any]) -> Writer:
    """The writer that a file describes; ModelError unless its parts belong together."""
    model = LanguageModel(**about["size"])
    wanted = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != given:
        name = min(name for name in wanted | given if wanted.get(name) != given.get(name))
        raise ModelError(
            f"The weights are not those of the model it describes: {name} has the shape "
            f"{given.get(name)}, expected {wanted.get(name)}. {_CURE}"
        )
    model.load_state_dict(tensors, strict=False)
    history = None if about["history"] is None else History(**about["history"])
    return Writer(
        model.to(default_device()),
        tokens_from_json(about["tokens"]),
        about["name"],
        about["block_length"],
        history,
    )


def __dir__() -> list[str]:
    return sorted(__all__)
