"""Scale and sharpen attention heads of Transformers models.

One mechanism: an attention function registered as ``"attnlab"`` with Transformers, with the mask
function that belongs to it (without that the padding mask is lost silently). Without settings it is
PyTorch's own attention. Settings travel as a keyword of the forward call, so two passes through one
model, in two threads, never see each other's. Where nothing was said with the call, the `applied`
block around it holds, and a call that may mean either way is refused.
"""

import contextlib
import sys
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from attnlab.errors import ModelError, SettingsError
from attnlab.heads.families import WithoutWeights, active_heads, model_of, sites, size
from attnlab.heads.narrowing import KERNEL
from attnlab.heads.own import OwnModel, own_model
from attnlab.heads.settings import HeadSettings
from attnlab.heads.with_weights import attention_with_weights, causal_mask, per_query_head

NAME = "attnlab"
KEYWORD = "head_control"  # how one forward pass hands its settings to the attention function
_lock = threading.RLock()


@contextlib.contextmanager
def applied(target: Any, settings: HeadSettings) -> Iterator[Any]:
    """Change the model inside the block: its heads are scaled and sharpened; leave nothing behind.

    Parameters
    ----------
    target : Classifier, ImageClassifier, LanguageModel, or a Transformers model (BERT, RoBERTa,
        DistilBERT, ELECTRA, ALBERT, ViT, GPT-2, Llama and their like, with any head on top or
        none), also compiled or in a wrapper
    settings : HeadSettings of shape (L, H), or (B, L, H) with one setting per batch row.
        Gradients reach both tensors. Inside another block the inner settings hold.

    Raises
    ------
    SettingsError : wrong shape, NaN, negative scale, temperature not above 0
    ModelError : a model whose attention cannot be reached. Later, a forward pass that the block
        cannot answer for: one of another thread (also those of DataParallel), or one that
        `torch.utils.checkpoint` will compute again when the block may be over. Give settings with
        such a call: ``clf.predict(texts, settings)``, ``model(**inputs, **keywords(...))``.

    Notes
    -----
    What is asked for with settings of its own, as desks do in their threads, neither disturbs a
    block nor is disturbed by it. A copy made inside is another model, and answers as it stands.
    """
    _checked(settings).validate(*size(target))
    own = own_model(target)
    if own is not None:
        with _Block(own, settings):
            yield target
        return
    model = model_of(target)
    with _Block(model.base_model, settings), attached(model):
        yield target


def current(target: Any) -> HeadSettings | None:
    """The settings of the innermost `applied` block around this call; None outside of any."""
    block = _innermost(_base_of(target))
    return None if block is None else block.settings


def in_force(target: Any) -> HeadSettings | None:
    """As `current`, and ModelError where a block of another thread leaves open what is meant."""
    if isinstance(target, WithoutWeights):  # no block can change it
        return None
    block = _block_for(_base_of(target))
    return None if block is None else block.settings


def _base_of(target: Any) -> Any:
    """The module that a block is for."""
    own = own_model(target)
    return model_of(target).base_model if own is None else own


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
    ModelError : None, while another thread is in a block
    """
    layers, heads = size(target)
    found = in_force(target) if settings is None else _checked(settings)
    found = HeadSettings(layers, heads) if found is None else found
    return found.copy().validate_single(layers, heads)


def _checked(settings: object) -> HeadSettings:
    """The settings; SettingsError for anything else."""
    if not isinstance(settings, HeadSettings):
        raise SettingsError(
            f"Expected HeadSettings, got {type(settings).__name__}. Start from "
            "HeadSettings(clf.layers, clf.heads), or clf.settings()."
        )
    return settings


def keywords(
    target: Any, settings: HeadSettings | None, record: bool = False
) -> dict[str, "HeadControl | None"]:
    """Keyword arguments that make one forward call use these settings, and no other call.

    ``model(**inputs, **keywords(model, settings))`` is for a model that `attach` prepared (every
    Classifier's is). None is for the model as it stands, whatever block is around the call. With
    ``record`` the control keeps each layer's weights and values. A control serves one forward pass;
    for `generate`, which makes many, there is an `applied` block.

    Raises ModelError for a model whose attention does not go through ours, as it would not listen.
    """
    model = model_of(target)
    if settings is None:
        return {KEYWORD: None}
    if model.config._attn_implementation != NAME:
        raise ModelError(
            "These settings would not act: the attention of this model is "
            f"{model.config._attn_implementation!r}, not ours. Call heads.attach(model) first."
        )
    return {KEYWORD: HeadControl(model, settings, record)}


def attach(target: Any) -> Any:
    """Let a model's attention go through ours. Without settings that is PyTorch's own attention."""
    model = model_of(target)
    for layer, site in enumerate(sites(model)):  # raises for a model that cannot
        site.module.attnlab_layer = layer  # by which DataParallel's replicas are known
    if model.config._attn_implementation != NAME:
        model.set_attn_implementation(NAME)
    return target


@dataclass
class _Attached:
    """A model inside `attached` blocks, of any thread."""

    before: str
    blocks: int = 0
    needed_later: bool = False  # a layer will be computed again when gradients are asked for


_attached: weakref.WeakKeyDictionary[nn.Module, _Attached] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def attached(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block a model's attention goes through ours; after the last one as before."""
    with _lock:
        base, before = model.base_model, model.config._attn_implementation
        entry = _attached.setdefault(base, _Attached(before))
        entry.blocks += 1
        attach(model)
    try:
        yield
    finally:
        with _lock:
            entry.blocks -= 1
            if not entry.blocks:
                del _attached[base]
                if entry.before != NAME and not entry.needed_later:
                    model.set_attn_implementation(entry.before)


# ── blocks ─────────────────────────────────────────────────────────────────────────────────────

# the blocks around a call, the innermost last; asyncio's tasks have each their own
_around: ContextVar[tuple["_Block", ...]] = ContextVar("applied blocks", default=())
# the blocks of all threads, and the hooks that speak for them
_open: weakref.WeakKeyDictionary[nn.Module, list["_Block"]] = weakref.WeakKeyDictionary()
_hooks: weakref.WeakKeyDictionary[nn.Module, list[Any]] = weakref.WeakKeyDictionary()
_encoder_of: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


class _Block:
    """One `applied` block: the encoder whose heads it sets, and to what."""

    def __init__(self, base: Any, settings: HeadSettings):
        self.base, self.settings, self.open = base, settings, False

    def __enter__(self) -> None:
        self.open = True
        _around.set((*_around.get(), self))
        with _lock:
            blocks = _open.setdefault(self.base, [])
            if not blocks:
                own = isinstance(self.base, OwnModel)
                _hooks[self.base] = _hooked_own(self.base) if own else _hooked(self.base)
            blocks.append(self)
            if not isinstance(self.base, OwnModel):
                for site in sites(self.base):
                    _encoder_of[site.module] = weakref.ref(self.base)

    def __exit__(self, *error: Any) -> None:
        self.open = False
        _around.set(tuple(block for block in _around.get() if block is not self))
        with _lock:
            _open[self.base].remove(self)
            if not _open[self.base]:
                del _open[self.base]
                for hook in _hooks.pop(self.base):
                    hook.remove()


def _innermost(base: nn.Module) -> _Block | None:
    """The block around this call that sets the heads of this encoder; None if there is none."""
    around = reversed(_around.get())
    return next((block for block in around if block.open and block.base is base), None)


def _block_for(base: nn.Module) -> _Block | None:
    """The block that holds for a call without settings; ModelError where it cannot be told."""
    block = _innermost(base)
    if block is None and _open.get(base):
        raise ModelError(
            "This model is inside an `applied` block, but of another thread (or cell), so whether "
            "its settings are meant here cannot be told. Give settings with the call, neutral ones "
            "for the model as it stands: clf.predict(texts, settings), or "
            "model(**inputs, **heads.keywords(model, settings))."
        )
    return block


def _hooked(base: Any) -> list[Any]:
    """Hooks that hand the settings of the block to each forward pass, and see that they acted."""
    mine = weakref.ref(base)

    @torch.compiler.disable
    def add_control(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        base = mine()
        replica = getattr(module, "_is_replica", False)  # of DataParallel; a copy is another model
        if KEYWORD in kwargs or base is None or not (module is base or replica):
            return None
        block = _block_for(base)
        if block is None:
            return None
        if _in_checkpoint():
            raise ModelError(
                "torch.utils.checkpoint will compute this forward pass again when gradients are "
                "asked for, and the `applied` block around it may be over by then. Give the "
                "settings with the call: model(**inputs, **heads.keywords(model, settings))."
            )
        return args, kwargs | {KEYWORD: HeadControl(base, block.settings)}

    @torch.compiler.disable
    def check_control(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if isinstance(control := kwargs.get(KEYWORD), HeadControl):
            control.check_acted()

    return [
        base.register_forward_pre_hook(add_control, with_kwargs=True),
        base.register_forward_hook(check_control, with_kwargs=True),
    ]


def _hooked_own(base: OwnModel) -> list[Any]:
    """A hook that hands the settings of the block to each forward pass that was given none."""
    mine = weakref.ref(base)

    def add_settings(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        base = mine()
        if kwargs.get("settings") is not None or module is not base:
            return None
        block = _block_for(module)
        return None if block is None else (args, kwargs | {"settings": block.settings})

    return [base.register_forward_pre_hook(add_settings, with_kwargs=True)]


def _control_of_block(module: nn.Module) -> "HeadControl | None":
    """The control for an attention whose forward pass came past our hook, as compiled ones do."""
    base = _encoder_of[module]() if module in _encoder_of else None
    block = None if base is None else _block_for(base)
    return None if base is None or block is None else HeadControl(base, block.settings, alone=True)


def _in_checkpoint() -> bool:
    """Whether this runs inside `torch.utils.checkpoint`, and so will run again."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == checkpoint.__file__:
            return True
        frame = frame.f_back
    return False


# ── the attention function ─────────────────────────────────────────────────────────────────────


@dataclass
class HeadControl:
    """What one forward pass does to its heads. Made afresh for every pass, never shared.

    Attributes
    ----------
    settings : as they are now: changing them later changes no pass that was begun
    record : keep each layer's weights and values
    alone : made for one layer only, as nothing is known of the pass
    """

    model: PreTrainedModel
    settings: HeadSettings
    record: bool = False
    alone: bool = False
    records: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    acted: set[int] = field(default_factory=set)

    def __post_init__(self):
        self.sites = sites(self.model)
        given = _checked(self.settings)
        given.validate(len(self.sites), self.model.config.num_attention_heads)
        self.settings = HeadSettings.of(given.scale.clone(), given.temperature.clone())
        self.active_heads = [active_heads(self.model, layer) for layer in range(len(self.sites))]
        modules = [id(site.module) for site in self.sites]
        # layers that share their module (ALBERT) are told apart by the order of the calls
        self._shared = len(set(modules)) < len(modules)
        self._by_module = {module: layer for layer, module in enumerate(modules)}
        self._calls = 0

    def layer_of(self, module: nn.Module) -> int | None:
        """Which layer this call of the attention function is; None for other attention."""
        layer: int | None
        if self._shared:
            self._calls += 1
            if self.alone or _in_checkpoint():
                raise ModelError(
                    "The layers of this model share their parameters and are told apart by their "
                    "order, which a compiled or checkpointed forward pass does not keep. Take the "
                    "model as it was before torch.compile, without gradient checkpointing."
                )
            layer = (self._calls - 1) % len(self.sites)
        elif getattr(module, "_is_replica", False):
            layer = getattr(module, "attnlab_layer", None)
        else:
            layer = self._by_module.get(id(module))
        if layer is not None:
            self.acted.add(layer)
            if (entry := _attached.get(self.model.base_model)) and _in_checkpoint():
                entry.needed_later = True
        return layer

    def check_acted(self) -> None:
        """Raise ModelError unless every layer's attention asked for its settings."""
        deaf = sorted(set(range(len(self.sites))) - self.acted)
        if deaf:
            raise ModelError(
                f"The head settings did not act in {len(deaf)} of {len(self.sites)} layers: their "
                f"attention is {self.model.config._attn_implementation!r}, or something else took "
                "its place. Call heads.attach(model), and leave set_attn_implementation alone."
            )

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


class _Unsaid:
    """Stands for settings where a forward call said nothing of them, not even None."""


_UNSAID = _Unsaid()


@torch.compiler.disable(reason="head settings of attnlab act outside of compiled code")
def _attention(
    module: nn.Module,
    query: Tensor,  # (B, h, T, D)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    head_control: HeadControl | _Unsaid | None = _UNSAID,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for Transformers: context (B, T, h, D), and weights (B, h, T, T) when asked for."""
    if isinstance(head_control, _Unsaid):
        head_control = _control_of_block(module) if _open else None
    layer = head_control.layer_of(module) if head_control else None
    with_weights = bool(kwargs.pop("output_attentions", False))
    control = None if layer is None else head_control
    scale = None
    if control is not None and layer is not None:
        if not control.active_heads[layer]:  # the output is a bias, which ignores this zero
            if control.record:
                nothing = query.new_zeros(query.shape[0], 0, query.shape[2], key.shape[2])
                control.note(nothing, value)
            return query.transpose(1, 2), None
        scale, inverse_temperature = control.factors(layer, query)
        query = query * inverse_temperature[:, :, None, None]
        with_weights = with_weights or control.record
    weights: Tensor | None
    kernel = getattr(module, KERNEL, None)
    if kernel is not None:
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        context, weights = kernel(query, key, value, attention_mask, scaling, dropout, with_weights)
    elif with_weights:
        key, value = per_query_head(query, key, value)
        mask = (
            causal_mask(module, query, key, kwargs.get("is_causal"))
            if attention_mask is None
            else attention_mask
        )
        context, weights = attention_with_weights(query, key, value, mask, dropout, scaling)
    else:
        context, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if scale is not None:
        context = context * scale[:, None, :, None]  # (B, T, h, D)
    if control is not None and control.record and weights is not None:
        control.note(weights, value)
    return context, weights


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
