"""Load a model with heads removed for good, which Transformers alone cannot build."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from attnlab.errors import ModelError
from attnlab.files import read_json, read_tensors
from attnlab.heads.families import PRUNED
from attnlab.heads.pruning import restore_structure

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


def load_pruned(folder: str | os.PathLike[str], kind: Any) -> PreTrainedModel:
    """Load a model that `prune` made and its ``save_pretrained`` wrote.

    Classifiers need it not: `load_classifier` knows what was removed.

    Parameters
    ----------
    folder : with config.json and the weights in safetensors
    kind : class of the model, such as GPT2LMHeadModel, or AutoModelForCausalLM

    Returns
    -------
    the model in the number format that it was saved in, without dropout

    Raises
    ------
    ModelError : no such files; a model that has all its heads, which ``kind.from_pretrained``
        loads; weights that do not fit config.json
    """
    folder = Path(folder)
    for name in ("config.json", _WEIGHTS):
        if not any((folder / file).exists() for file in (name, name.replace(_WEIGHTS, _INDEX))):
            raise ModelError(
                f"{folder} holds no {name}. Give the folder that model.save_pretrained wrote."
            )
    config = AutoConfig.from_pretrained(folder)
    if not getattr(config, PRUNED, None):
        raise ModelError(
            f"The model in {folder} has all its heads. {kind.__name__}.from_pretrained loads it."
        )
    # Auto classes have the one, classes of models the other
    build = getattr(kind, "from_config", None) or kind._from_config
    model: PreTrainedModel = build(config, dtype=config.dtype or torch.float32)
    restore_structure(model)
    _fill(model, _tensors(folder), folder)
    if model.can_generate() and (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def _tensors(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder, of one file or several."""
    names = [_WEIGHTS]
    if (folder / _INDEX).exists():
        names = sorted(set(read_json(folder / _INDEX)["weight_map"].values()))
    return {name: part for file in names for name, part in read_tensors(folder / file)[1].items()}


def _fill(model: PreTrainedModel, tensors: dict[str, Tensor], folder: Path) -> None:
    """Put weights into a model; ModelError unless they are all that it needs, and nothing else."""
    expected = model.state_dict()
    # parameters that share their numbers (weight tying) are written once
    given = {expected[name].data_ptr() for name in tensors if name in expected}
    missing = [name for name, one in expected.items() if one.data_ptr() not in given]
    wrong = [
        name
        for name, tensor in tensors.items()
        if name not in expected or tensor.shape != expected[name].shape
    ]
    if missing or wrong:
        raise ModelError(
            f"The weights in {folder} do not fit its config.json: "
            f"{(missing or wrong)[0]} is {'missing' if missing else 'unknown or of another shape'} "
            f"({len(missing) + len(wrong)} in all). They belong to another model, or to the model "
            "before heads were removed."
        )
    model.load_state_dict(tensors, strict=False)
