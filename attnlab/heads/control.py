"""Scale and sharpen attention heads of Transformers models.

One mechanism: an attention function registered as ``"attnlab"`` with Transformers, with the mask
function that belongs to it (without that the padding mask is lost silently). Without settings it is
PyTorch's own attention. Settings travel as a keyword of the forward call, so two passes through one
model, in two threads, never see each other's.
"""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from attnlab.errors import SettingsError
from attnlab.heads.families import active_heads, model_of, sites, size
from attnlab.heads.settings import HeadSettings

NAME = "attnlab"
KEYWORD = "head_control"  # how one forward pass hands its settings to the attention function


@contextlib.contextmanager
def applied(target: Any, settings: HeadSettings) -> Iterator[Any]:
    """Change the model inside the block: its heads are scaled and sharpened; leave nothing behind.

    Parameters
    ----------
    target : Classifier, or a Transformers model (BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT and
        their like, with any head on top or none)
    settings : HeadSettings of shape (L, H), or (B, L, H) with one setting per batch row.
        Gradients reach both tensors. Inside another block the inner settings hold. A block holds
        for calls of its own thread: a desk that measures meanwhile is not disturbed, nor does it
        disturb.

    Raises
    ------
    SettingsError : wrong shape, NaN, negative scale, temperature not above 0
    ModelError : a model whose attention cannot be reached
    """
    model = model_of(target)
    settings.validate(*size(model))
    base, thread = model.base_model, threading.get_ident()

    def add_settings(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if KEYWORD not in kwargs and threading.get_ident() == thread:
            kwargs[KEYWORD] = HeadControl(model, settings)
        return args, kwargs

    blocks = _blocks.setdefault(base, {}).setdefault(thread, [])
    blocks.append(settings)
    # prepended: of two nested blocks the inner one speaks first, and the outer finds it said
    hook = base.register_forward_pre_hook(add_settings, with_kwargs=True, prepend=True)
    try:
        with attached(model):
            yield target
    finally:
        hook.remove()
        blocks.pop()


# for each model, the settings of the blocks that each thread is in, the innermost last
_blocks: weakref.WeakKeyDictionary[nn.Module, dict[int, list[HeadSettings]]] = (
    weakref.WeakKeyDictionary()
)


def current(target: Any) -> HeadSettings | None:
    """The settings of this thread's innermost `applied` block; None outside of any."""
    blocks = _blocks.get(model_of(target).base_model, {}).get(threading.get_ident())
    return blocks[-1] if blocks else None


def one_setting(target: Any, settings: HeadSettings | None) -> HeadSettings:
    """A copy of the one setting for all texts that holds: given, of a block, or neutral.

    Parameters
    ----------
    target : Classifier or Transformers model
    settings : HeadSettings; None takes those of the `applied` block around the call, if any, and
        otherwise neutral ones

    Raises
    ------
    SettingsError : settings of another size, or a stack with one setting per text
    """
    layers, heads = size(target)
    found = settings or current(target) or HeadSettings(layers, heads)
    return found.copy().validate_single(layers, heads)


def keywords(target: Any, settings: HeadSettings, record: bool = False) -> dict[str, "HeadControl"]:
    """Keyword arguments that make one forward call use these settings, and no other call.

    ``model(**inputs, **keywords(model, settings))`` is for a model that `attach` prepared (every
    Classifier's is). With ``record`` the control keeps each layer's weights and values. A control
    serves one forward pass.
    """
    return {KEYWORD: HeadControl(model_of(target), settings, record)}


def attach(target: Any) -> Any:
    """Let a model's attention go through ours. Without settings that is PyTorch's own attention."""
    model = model_of(target)
    sites(model)  # raises for a model that cannot
    if model.config._attn_implementation != NAME:
        model.set_attn_implementation(NAME)
    return target


@contextlib.contextmanager
def attached(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block a model's attention goes through ours; afterwards as before."""
    before = model.config._attn_implementation
    attach(model)
    try:
        yield
    finally:
        if before != NAME:
            model.set_attn_implementation(before)


# ── the attention function ─────────────────────────────────────────────────────────────────────


@dataclass
class HeadControl:
    """What one forward pass does to its heads. Made afresh for every pass, never shared."""

    model: PreTrainedModel
    settings: HeadSettings
    record: bool = False
    records: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self):
        self.sites = sites(self.model)
        self.settings.validate(len(self.sites), self.model.config.num_attention_heads)
        self.active_heads = [active_heads(self.model, layer) for layer in range(len(self.sites))]
        modules = [id(site.module) for site in self.sites]
        # layers that share their module (ALBERT) are told apart by the order of the calls
        self._by_module = (
            {module: layer for layer, module in enumerate(modules)}
            if len(set(modules)) == len(modules)
            else None
        )
        self._calls = 0

    def layer_of(self, module: nn.Module) -> int | None:
        """Which layer this call of the attention function is; None for other attention."""
        if self._by_module is not None:
            return self._by_module.get(id(module))
        self._calls += 1
        return (self._calls - 1) % len(self.sites)

    def note(self, weights: Tensor, values: Tensor) -> None:
        """Keep what a layer did; after the last one the rest of the pass is not wanted."""
        self.records.append((weights, values))
        if len(self.records) == len(self.sites):
            raise Recorded

    def factors(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and 1 / temperature of a layer's heads, shape (1 or B, h), as `like` is stored."""
        scale = self.settings.scale[..., layer, :][..., self.active_heads[layer]]
        temperature = self.settings.temperature[..., layer, :][..., self.active_heads[layer]]
        for factor in (scale, temperature):
            if factor.dim() == 2 and factor.shape[0] != like.shape[0]:
                raise SettingsError(
                    f"There are {factor.shape[0]} settings for a batch of {like.shape[0]} texts. "
                    "Stack one setting per text."
                )
        shape = (-1, len(self.active_heads[layer]))
        return scale.to(like).view(shape), (1 / temperature).to(like).view(shape)


class Recorded(Exception):
    """All layers are on record."""


def _attention(
    module: nn.Module,
    query: Tensor,  # (B, h, T, D)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    head_control: HeadControl | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for Transformers: context (B, T, h, D), and weights (B, h, T, T) when asked for."""
    layer = head_control.layer_of(module) if head_control else None
    with_weights = bool(kwargs.pop("output_attentions", False))
    control = None if layer is None else head_control
    scale = None
    if control is not None and layer is not None:
        if not control.active_heads[layer]:  # the output is a bias, which ignores this zero
            if control.record:
                control.note(query.new_zeros(query.shape[0], 0, *[query.shape[2]] * 2), value)
            return query.transpose(1, 2), None
        scale, inverse_temperature = control.factors(layer, query)
        query = query * inverse_temperature[:, :, None, None]
        with_weights = with_weights or control.record
    weights: Tensor | None
    if with_weights:
        context, weights = _with_weights(query, key, value, attention_mask, dropout, scaling)
    else:
        context, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if scale is not None:
        context = context * scale[:, None, :, None]  # (B, T, h, D)
    if control is not None and control.record and weights is not None:
        control.note(weights, value)
    return context, weights


def _with_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
) -> tuple[Tensor, Tensor]:
    """The same attention written out, for when the weights are wanted."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query @ key.transpose(-2, -1) * scaling).float()  # (B, h, T, T)
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    weights = scores.softmax(-1).to(value.dtype)
    if mask is not None:
        visible = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
        if not visible.any(-1).all():
            weights = weights.nan_to_num()  # a row that sees nothing: zeros
    dropped = nn.functional.dropout(weights, p=dropout, training=dropout > 0)
    return (dropped @ value).transpose(1, 2), weights


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
