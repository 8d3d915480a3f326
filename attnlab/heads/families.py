"""Where each family of Transformers models keeps the parts of its layers; which heads are there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attnlab.errors import ModelError
from attnlab.heads.own import OwnModel, own_model
from attnlab.heads.parts import FeedForward, Projection, Site, separate

PRUNED = "attnlab_pruned_heads"  # where a model's configuration keeps what was removed for good


class WithoutWeights:
    """A classifier that is not run by PyTorch, such as an exported one: its heads and its answers.

    Attributes
    ----------
    layers, heads : size of its attention; heads removed for good still count
    removed_heads : list of (layer, head), those removed for good
    dtype : torch.dtype, in which most of it is computed
    sha256 : of the file that it computes with

    Its ``model`` raises a ModelError that says which classifier to use instead, so that whatever
    needs weights, gradients or hidden states is refused in the same words.
    """

    layers: int
    heads: int
    removed_heads: list[tuple[int, int]]
    dtype: torch.dtype
    sha256: str


def model_of(target: Any) -> PreTrainedModel:
    """The Transformers model in a Classifier or a wrapper, such as peft's, or the model itself."""
    if own_model(target) is not None:
        raise ModelError(
            "This works on models of Transformers, and here is a language model of our own. "
            "al.language.to_transformers makes a GPT-2 or a Llama of one with the same parts."
        )
    model = _unwrapped(target)
    if not isinstance(model, PreTrainedModel):
        model = _unwrapped(getattr(target, "model", None))
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"Expected a Classifier or a Transformers model, got {type(target).__name__}. "
            "Load one with al.load_classifier(...)."
        )
    return model


def _unwrapped(model: Any) -> Any:
    """What is inside wrappers: of torch.compile, of parallel training, of peft."""
    while issubclass(type(model), nn.Module) and not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            break
    return model


def sites(model: PreTrainedModel) -> list[Site]:
    """Where each layer's attention is; ModelError for a family whose attention we cannot reach."""
    return _family(model).sites(model.base_model)


def feed_forwards(model: PreTrainedModel) -> list[FeedForward]:
    """Where each layer's feed-forward block is; ModelError for decoders and unknown families."""
    family = _family(model)
    if family.feed_forwards is None:
        refuse_decoder(model, "What works on feed-forward blocks and whole layers")
        raise AssertionError("every family of encoders has feed-forward blocks")
    return family.feed_forwards(model.base_model)


def is_decoder(target: Any) -> bool:
    """Whether each token looks at earlier ones only, as in GPT-2, Llama and BERT as a decoder.

    ``target`` is a Classifier, a Transformers model, or the configuration of one.
    """
    if isinstance(target, WithoutWeights):
        return False
    config = _config_of(target)
    family = _FAMILIES.get(config.model_type)
    return bool(getattr(config, "is_decoder", False) or (family and family.decoder))


def _config_of(target: Any) -> PreTrainedConfig:
    return target if isinstance(target, PreTrainedConfig) else model_of(target).config


def refuse_decoder(target: Any, what: str) -> None:
    """Raise ModelError for a decoder, which ``what`` is not for."""
    if is_decoder(target):
        raise ModelError(
            f"{what} is for encoders, and this {_config_of(target).model_type!r} model is a "
            "decoder: its tokens look at earlier ones only, and it answers from the last one. "
            "Decoders take al.heads.applied, run, record, prune and self_check, and "
            "al.Evaluator(...) with al.ablate(method='zero' or 'scale' or 'temperature')."
        )


def layer_list(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, one module each; ModelError for decoders and for ALBERT.

    ALBERT's layers are one module.
    """
    family = _family(model)
    if family.decoder:
        refuse_decoder(model, "Removing or sharing whole layers")
    if family.layer_list is None:
        raise ModelError(
            f"The layers of a {model.config.model_type!r} model share their weights: there is no "
            "layer that could go or be shared on its own. Heads and neurons can go."
        )
    return family.layer_list(model.base_model)


def _known(target: Any) -> WithoutWeights | OwnModel | None:
    """What says itself which heads it has; None for models of Transformers."""
    return target if isinstance(target, WithoutWeights) else own_model(target)


def size(target: Any) -> tuple[int, int]:
    """Layers and heads per layer (heads removed for good still count: numbers never shift)."""
    known = _known(target)
    if known is not None:
        return known.layers, known.heads
    model = model_of(target)
    return len(sites(model)), model.config.num_attention_heads


def prefix(target: Any) -> int:
    """Keys that prefix tuning puts before those of the tokens in every layer; else 0."""
    wrapper: Any = target if isinstance(target, nn.Module) else getattr(target, "model", None)
    while hasattr(wrapper, "_orig_mod"):  # of torch.compile
        wrapper = wrapper._orig_mod
    config = getattr(wrapper, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def refuse_prefix(target: Any, what: str) -> None:
    """Raise ModelError for a model with a prefix, which ``what`` is not for."""
    if count := prefix(target):
        raise ModelError(
            f"{what} is not for a model with a prefix: each of its layers also looks at {count} "
            "keys that are no tokens. Fine-tune with another method, such as 'lora'."
        )


def removed(target: Any) -> list[tuple[int, int]]:
    """The heads (layer, head) that were removed for good, in order."""
    known = _known(target)
    if known is not None:
        return sorted(known.removed_heads)
    table = getattr(model_of(target).config, PRUNED, None) or {}
    return sorted((int(layer), head) for layer, heads in table.items() for head in heads)


def sharing_layers(model: PreTrainedModel, layer: int) -> list[int]:
    """The layers that share this layer's parameters (in ALBERT, several), itself among them."""
    modules = [site.module for site in sites(model)]
    return [index for index, module in enumerate(modules) if module is modules[layer]]


def active_heads(target: Any, layer: int) -> list[int]:
    """The heads of a layer that were not removed, in order."""
    gone = {head for gone_from, head in removed(target) if gone_from == layer}
    count = size(target)[1]
    return [head for head in range(count) if head not in gone]


def columns(model: PreTrainedModel, site: Site, layer: int, head: int) -> slice:
    """The input columns of the output projection that belong to one head."""
    width = site.head_width
    start = active_heads(model, layer).index(head) * width
    return slice(start, start + width)


# ── family by family ───────────────────────────────────────────────────────────────────────────

_QKV = separate("query", "key", "value")
_QKV_PROJ = separate("q_proj", "k_proj", "v_proj")


def _like_bert(base: Any) -> list[Site]:
    return [
        Site(layer.attention.self, _QKV, layer.attention.output, "dense")
        for layer in base.encoder.layer
    ]


def _like_distilbert(base: Any) -> list[Site]:
    attentions = [layer.attention for layer in base.transformer.layer]
    names = separate("q_lin", "k_lin", "v_lin")
    return [Site(attention, names, attention, "out_lin") for attention in attentions]


def _like_albert(base: Any) -> list[Site]:
    return [
        Site(layer.attention, _QKV, layer.attention, "dense") for layer in _layers_of_albert(base)
    ]


def _layers_of_albert(base: Any) -> list[Any]:
    """A module for each layer; the same one again where layers share their weights."""
    config, groups = base.config, base.encoder.albert_layer_groups
    return [
        layer
        for index in range(config.num_hidden_layers)
        for layer in groups[
            index * config.num_hidden_groups // config.num_hidden_layers
        ].albert_layers
    ]


def _feed_forwards_like_bert(base: Any) -> list[FeedForward]:
    return [
        FeedForward(
            layer.attention.output.LayerNorm,
            layer.intermediate,
            "dense",
            layer.intermediate.intermediate_act_fn,
            layer.output,
            "dense",
            layer.output.LayerNorm,
        )
        for layer in base.encoder.layer
    ]


def _feed_forwards_like_distilbert(base: Any) -> list[FeedForward]:
    return [
        FeedForward(
            layer.sa_layer_norm,
            layer.ffn,
            "lin1",
            layer.ffn.activation,
            layer.ffn,
            "lin2",
            layer.output_layer_norm,
        )
        for layer in base.transformer.layer
    ]


def _feed_forwards_like_albert(base: Any) -> list[FeedForward]:
    return [
        FeedForward(
            layer.attention.LayerNorm,
            layer,
            "ffn",
            layer.activation,
            layer,
            "ffn_output",
            layer.full_layer_layer_norm,
        )
        for layer in _layers_of_albert(base)
    ]


def _like_vit(base: Any) -> list[Site]:
    attentions = [layer.attention for layer in base.layers]
    return [Site(module, _QKV_PROJ, module, "o_proj") for module in attentions]


def _feed_forwards_like_vit(base: Any) -> list[FeedForward]:
    return [
        FeedForward(
            layer.layernorm_after,
            layer.mlp,
            "fc1",
            layer.mlp.activation_fn,
            layer.mlp,
            "fc2",
            layer.layernorm_before,
            pre_norm=True,
        )
        for layer in base.layers
    ]


def _like_gpt2(base: Any) -> list[Site]:
    fused = (Projection("c_attn", ("query", "key", "value")),)
    return [Site(layer.attn, fused, layer.attn, "c_proj") for layer in base.h]


def _like_llama(base: Any) -> list[Site]:
    attentions = [layer.self_attn for layer in base.layers]
    return [Site(module, _QKV_PROJ, module, "o_proj") for module in attentions]


def _family(model: PreTrainedModel) -> "_Family":
    family = getattr(model.config, "model_type", "?")
    if family not in _FAMILIES:
        raise ModelError(
            f"The heads of a {family!r} model cannot be reached: its attention does not go through "
            f"Transformers' attention interface in a way we know. Works: {', '.join(_FAMILIES)}."
        )
    return _FAMILIES[family]


@dataclass(frozen=True)
class _Family:
    """How to reach the parts of a family's models; None for parts that nothing here works on."""

    sites: Callable[[Any], list[Site]]
    feed_forwards: Callable[[Any], list[FeedForward]] | None = None
    layer_list: Callable[[Any], nn.ModuleList] | None = None
    decoder: bool = False


_BERT = _Family(_like_bert, _feed_forwards_like_bert, lambda base: base.encoder.layer)
_VIT = _Family(_like_vit, _feed_forwards_like_vit, lambda base: base.layers)
_LLAMA = _Family(_like_llama, decoder=True)
_FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": _Family(
        _like_distilbert, _feed_forwards_like_distilbert, lambda base: base.transformer.layer
    ),
    "albert": _Family(_like_albert, _feed_forwards_like_albert),
    "vit": _VIT,
    "deit": _VIT,
    "gpt2": _Family(_like_gpt2, decoder=True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
