"""Where each family of Transformers models keeps the parts of its layers; which heads are there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from attnlab.errors import ModelError

PRUNED = "attnlab_pruned_heads"  # where a model's configuration keeps what was removed for good


@dataclass(frozen=True)
class Site:
    """One attention layer: the module that attends, and where its four projections are."""

    module: Any
    query: str
    key: str
    value: str
    output_parent: Any
    output_name: str

    @property
    def output(self) -> Any:
        """The output projection, a Linear unless a model has been quantised or has an adapter."""
        return getattr(self.output_parent, self.output_name)

    @property
    def head_width(self) -> int:
        """Width of a head, D."""
        return getattr(self.module, "attention_head_size", None) or self.module.head_dim


@dataclass(frozen=True)
class FeedForward:
    """One feed-forward block: where its two projections are, and what stands around them.

    BERT and its like normalise after attention and after the block (post-norm), vision Transformers
    before each (pre-norm): then ``attention_norm`` stands between the two all the same, and
    ``norm`` before attention.
    """

    attention_norm: Any
    up_parent: Any
    up_name: str
    activation: Callable[[Any], Any]
    down_parent: Any
    down_name: str
    norm: Any
    pre_norm: bool = False

    @property
    def up(self) -> Any:
        """The first projection, to the neurons."""
        return getattr(self.up_parent, self.up_name)

    @property
    def down(self) -> Any:
        """The second projection, from the neurons."""
        return getattr(self.down_parent, self.down_name)


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
    """Where each layer's feed-forward block is; ModelError for a family we do not know."""
    return _family(model).feed_forwards(model.base_model)


def layer_list(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, one module each; ModelError for ALBERT, whose layers are one module."""
    family = _family(model)
    if family.layer_list is None:
        raise ModelError(
            f"The layers of a {model.config.model_type!r} model share their weights: there is no "
            "layer that could go or be shared on its own. Heads and neurons can go."
        )
    return family.layer_list(model.base_model)


def size(target: Any) -> tuple[int, int]:
    """Layers and heads per layer (heads removed for good still count: numbers never shift)."""
    if isinstance(target, WithoutWeights):
        return target.layers, target.heads
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
    if isinstance(target, WithoutWeights):
        return sorted(target.removed_heads)
    table = getattr(model_of(target).config, PRUNED, None) or {}
    return sorted((int(layer), head) for layer, heads in table.items() for head in heads)


def sharing_layers(model: PreTrainedModel, layer: int) -> list[int]:
    """The layers that share this layer's parameters (in ALBERT, several), itself among them."""
    modules = [site.module for site in sites(model)]
    return [index for index, module in enumerate(modules) if module is modules[layer]]


def active_heads(target: Any, layer: int) -> list[int]:
    """The heads of a layer that were not removed, in order."""
    gone = {head for gone_from, head in removed(target) if gone_from == layer}
    if isinstance(target, WithoutWeights):
        count = target.heads
    else:
        count = model_of(target).config.num_attention_heads
    return [head for head in range(count) if head not in gone]


def columns(model: PreTrainedModel, site: Site, layer: int, head: int) -> slice:
    """The input columns of the output projection that belong to one head."""
    width = site.head_width
    start = active_heads(model, layer).index(head) * width
    return slice(start, start + width)


# ── family by family ───────────────────────────────────────────────────────────────────────────


def _like_bert(base: Any) -> list[Site]:
    return [
        Site(layer.attention.self, "query", "key", "value", layer.attention.output, "dense")
        for layer in base.encoder.layer
    ]


def _like_distilbert(base: Any) -> list[Site]:
    attentions = [layer.attention for layer in base.transformer.layer]
    return [
        Site(attention, "q_lin", "k_lin", "v_lin", attention, "out_lin") for attention in attentions
    ]


def _like_albert(base: Any) -> list[Site]:
    return [
        Site(layer.attention, "query", "key", "value", layer.attention, "dense")
        for layer in _layers_of_albert(base)
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
    return [Site(module, "q_proj", "k_proj", "v_proj", module, "o_proj") for module in attentions]


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
    sites: Callable[[Any], list[Site]]
    feed_forwards: Callable[[Any], list[FeedForward]]
    layer_list: Callable[[Any], nn.ModuleList] | None


_BERT = _Family(_like_bert, _feed_forwards_like_bert, lambda base: base.encoder.layer)
_VIT = _Family(_like_vit, _feed_forwards_like_vit, lambda base: base.layers)
_FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": _Family(
        _like_distilbert, _feed_forwards_like_distilbert, lambda base: base.transformer.layer
    ),
    "albert": _Family(_like_albert, _feed_forwards_like_albert, None),
    "vit": _VIT,
    "deit": _VIT,
}
