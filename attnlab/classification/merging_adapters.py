"""LoRA adapters, merged into the weights that they change."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

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
    KeyError : the adapter changes a weight that the model does not have

    References
    ----------
    Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2021, equation 3.
    """
    tensors = load_file(folder / WEIGHTS)
    parameters = dict(model.named_parameters())
    scaling = config["lora_alpha"] / config["r"]
    for name, tensor in tensors.items():
        target = name.removeprefix(_PREFIX)
        if target.endswith(".lora_A.weight"):
            up = tensors[name.replace(".lora_A.", ".lora_B.")]
            parameters[target.replace(".lora_A.", ".")].add_((up @ tensor) * scaling)
        elif not target.endswith(".lora_B.weight"):
            parameters[target].copy_(tensor)
    model.requires_grad_(False)  # as peft leaves it
