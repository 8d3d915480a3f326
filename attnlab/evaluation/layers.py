"""The encoder layers of each model family as plain matrices, for `evaluation.forward`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab import heads
from attnlab.device import FixedLinear
from attnlab.errors import ModelError

Norm = tuple[Tensor, Tensor, float]  # weight, bias and epsilon

_SAMPLE = torch.linspace(-4, 4, 33)  # where activation functions differ


@dataclass(frozen=True)
class Layer:
    """One encoder layer: its weights in the number format of the engine, and the heads it has.

    E is the model's width, h the number of active heads and D the width of a head.
    """

    qkv: FixedLinear  # query, key and value, one above the other, (3 h D, E)
    out_proj: FixedLinear  # (E, h D)
    attention_norm: Norm
    ffn_up: FixedLinear
    activation: Callable[[Tensor], Tensor]
    is_gelu: bool  # whether it is the exact one, which can be computed with the product before it
    ffn_down: FixedLinear
    ffn_norm: Norm
    active_heads: list[int]
    head_dim: int  # D


def copied_layers(model: Any, dtype: torch.dtype) -> list[Layer]:
    """The encoder layers, their weights copied in ``dtype``; ModelError for other parts."""

    def copied(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype, copy=True)

    def linear(module: nn.Module) -> FixedLinear:
        if not heads.is_plain(module) or module.bias is None:
            raise ModelError(f"{module} stands where a Linear with a bias was expected.")
        return FixedLinear(copied(module.weight), copied(module.bias))

    def norm(module: nn.LayerNorm) -> Norm:
        return copied(module.weight), copied(module.bias), module.eps

    heads.refuse_narrowing(model, "The fast forward pass")
    heads.refuse_decoder(model, "The fast forward pass")
    blocks = heads.feed_forwards(model)
    if any(block.pre_norm for block in blocks):
        raise ModelError(
            f"The layers of a {model.config.model_type!r} model normalise before attention and not "
            "after it, which the fast forward pass does not know."
        )
    layers = []
    for index, (site, block) in enumerate(zip(heads.sites(model), blocks, strict=True)):
        active = heads.active_heads(model, index)
        if active:
            qkv = [
                linear(getattr(site.module, name)) for name in (site.query, site.key, site.value)
            ]
            out_proj = linear(site.output)
        else:  # all heads were removed: the bias is left
            bias = copied(site.output.bias)
            out_proj = FixedLinear(bias.new_zeros(len(bias), 0), bias)
            qkv = [FixedLinear(out_proj.weight.T, bias[:0])] * 3
        layers.append(
            Layer(
                qkv=FixedLinear(
                    torch.cat([part.weight for part in qkv]), torch.cat([part.bias for part in qkv])
                ),
                out_proj=out_proj,
                attention_norm=norm(block.attention_norm),
                ffn_up=linear(block.up),
                activation=block.activation,
                is_gelu=torch.equal(block.activation(_SAMPLE), F.gelu(_SAMPLE)),
                ffn_down=linear(block.down),
                ffn_norm=norm(block.norm),
                active_heads=active,
                head_dim=site.head_width,
            )
        )
    return layers


def embedded(base: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Hidden states before the first layer (B, T, E)."""
    if base.config.model_type == "distilbert":
        inputs = {"input_ids": inputs["input_ids"]}
    hidden = base.embeddings(**inputs)
    if base.config.model_type == "albert":
        return base.encoder.embedding_hidden_mapping_in(hidden)
    return base.embeddings_project(hidden) if hasattr(base, "embeddings_project") else hidden


def classification_head(model: Any) -> Callable[[Tensor], Tensor]:
    """From the last hidden state of [CLS], (B, 1, E), to the logits (B, C)."""
    base, family, classifier = model.base_model, model.config.model_type, model.classifier
    if family == "distilbert":
        return lambda hidden: classifier(F.relu(model.pre_classifier(hidden[:, 0])))
    if family == "albert":
        return lambda hidden: classifier(base.pooler_activation(base.pooler(hidden[:, 0])))
    if family == "bert":
        return lambda hidden: classifier(base.pooler(hidden))
    return classifier  # RoBERTa and ELECTRA: it takes [CLS] itself
