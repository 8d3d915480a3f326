"""Adapters merged into the weights that they change."""

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnlab.errors import ModelError
from attnlab.files import read_tensors
from attnlab.heads import model_of

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # peft's name for the model that it wraps
# settings that describe a plain update, or only its training
_PLAIN = {
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
}


def is_plain_lora(config: dict[str, Any]) -> bool:
    """Say whether peft's ``adapter_config.json`` describes nothing but W + B A · alpha / r."""
    return (
        config.get("peft_type") == "LORA"
        and config.get("bias") == "none"
        and config.get("init_lora_weights") in (True, False)
        and not any(value for name, value in config.items() if name not in _PLAIN)
    )


@torch.no_grad()
def merge_lora(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """Add the updates of a plain LoRA adapter to a model's weights, in place.

    The sums have the same bits as peft's ``merge_and_unload`` gives, and are frozen, too.

    Parameters
    ----------
    model : the model that the adapter was trained on
    folder : holds ``adapter_model.safetensors``; layers that were trained whole are in it too
    config : what ``adapter_config.json`` says; see `is_plain_lora`

    Raises
    ------
    ModelError : the adapter changes a weight that the model does not have, or not in this shape

    References
    ----------
    Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2021, equation 3.
    """
    tensors = read_tensors(folder / WEIGHTS)[1]
    parameters = dict(model.named_parameters())
    scaling = config["lora_alpha"] / config["r"]
    for name, tensor in tensors.items():
        target = name.removeprefix(_PREFIX)
        if target.endswith(".lora_B.weight"):
            continue
        weight = parameters.get(target.replace(".lora_A.", "."))
        update = ".lora_A." in target
        up = tensors.get(name.replace(".lora_A.", ".lora_B."))
        if weight is None or up is None:
            raise ModelError(
                f"The adapter in {folder} does not fit this base: {target} has no counterpart. Use "
                "the base that it was trained on."
            )
        shape = (up.shape[0], tensor.shape[1]) if update else tensor.shape
        if weight.shape != torch.Size(shape):
            raise ModelError(
                f"The adapter in {folder} does not fit this base: {target} is for a weight of "
                f"shape {tuple(shape)}, and the base has {tuple(weight.shape)}. Use the base that "
                "it was trained on."
            )
        if update:
            weight.add_((up @ tensor) * scaling)
        else:
            weight.copy_(tensor)
    _refuse_gaps(model, folder, config, tensors)
    model.requires_grad_(False)  # as peft leaves it


def _refuse_gaps(
    model: nn.Module, folder: Path, config: dict[str, Any], tensors: dict[str, Any]
) -> None:
    """Raise ModelError if an adapter has no update for a layer that its configuration names."""
    targets, excluded = config.get("target_modules"), config.get("exclude_modules") or []
    if not isinstance(targets, list) or config.get("layers_to_transform"):
        return
    for name, module in model.named_modules():
        named = _ends_with(name, targets) and not _ends_with(name, excluded)
        kept = {f"{_PREFIX}{name}.lora_A.weight", f"{_PREFIX}{name}.weight"} & tensors.keys()
        if isinstance(module, nn.Linear) and named and not kept:
            raise ModelError(
                f"{folder / WEIGHTS} has no update for {name}, which adapter_config.json names. "
                "The file is not whole: copy it again, or make the adapter again."
            )


def _ends_with(name: str, endings: Any) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def is_adapted(model: nn.Module) -> bool:
    """Say whether peft has wrapped layers of a model."""
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    wrappers = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return any(isinstance(module, wrappers) for module in model.modules())


def merged(model: Any) -> Any:
    """Return a plain model that answers as one with adapters answers now; that one stays as it is.

    Of several adapters the active ones count, and none where they are disabled.

    Parameters
    ----------
    model : peft's wrapper, or a model whose layers peft has wrapped; a plain one is returned itself

    Raises
    ------
    ModelError : adapters that cannot be merged, such as those of quantised layers
    """
    if not is_adapted(model):
        return model_of(model)
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain: Any = copy.deepcopy(model_of(model))
    wrapped: list[str] = []
    for name, module in plain.named_modules():  # only outermost wrappers
        wrapper = hasattr(module, "unload_and_optionally_merge_module")
        if (wrapper or isinstance(module, BaseTunerLayer)) and not name.startswith(tuple(wrapped)):
            wrapped.append(f"{name}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that are merged already
            for name in wrapped:
                path, _, last = name[:-1].rpartition(".")
                parent = plain.get_submodule(path)
                setattr(parent, last, _without_wrapper(getattr(parent, last)))
    except Exception as error:  # peft's reasons are of many classes
        raise ModelError(
            f"The adapters of this model cannot be merged into its weights: {error} Save it with "
            "peft's own save_pretrained."
        ) from error
    plain._hf_peft_config_loaded = False
    for name in ("peft_config", "_prepare_inputs_hook"):
        vars(plain).pop(name, None)
    return plain.requires_grad_(True)


def _without_wrapper(module: Any) -> nn.Module:
    """The layer within a wrapper, with what the wrapper adds to it now."""
    disabled = bool(getattr(module, "disable_adapters", False))
    if hasattr(module, "unload_and_optionally_merge_module"):
        if disabled:
            return module.original_module
        return module.unload_and_optionally_merge_module(
            merge=True, safe_merge=False, adapter_names=None
        )
    if disabled and module.merged:
        module.unmerge()
    elif not disabled:
        module.merge()
    return module.get_base_layer()
