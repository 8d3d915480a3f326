"""Scale, sharpen and remove attention heads of Transformers models, which no longer do it themselves.

One mechanism: an attention function registered as ``"attnlab"`` with Transformers, with the mask
function that belongs to it (without that the padding mask is lost silently). Without settings it is
PyTorch's own attention. Settings travel as a keyword of the forward call, so two passes through one
model, in two threads, never see each other's.
"""

import contextlib
import copy
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import prune_linear_layer

from attnlab.errors import AttnlabError, ModelError, SettingsError
from attnlab.heads.settings import HeadSettings

NAME = "attnlab"
KEYWORD = "head_control"  # how one forward pass hands its settings to the attention function
PRUNED = "attnlab_pruned_heads"  # where a model's configuration keeps what was removed for good


# ── public ─────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def applied(target: Any, settings: HeadSettings) -> Iterator[Any]:
    """Change the model inside the block: its heads are scaled and sharpened; leave nothing behind.

    Parameters
    ----------
    target : Classifier, or a Transformers model (BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT and
        their like, with any head on top or none)
    settings : HeadSettings of shape (L, H), or (B, L, H) with one setting per batch row.
        Gradients reach both tensors. Inside another block the inner settings hold. A block holds for
        calls of its own thread: a desk that measures meanwhile is not disturbed, nor does it disturb.

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
        with _attached(model):
            yield target
    finally:
        hook.remove()
        blocks.pop()


# for each model, the settings of the blocks that each thread is in, the innermost last
_blocks: weakref.WeakKeyDictionary[nn.Module, dict[int, list[HeadSettings]]] = (
    weakref.WeakKeyDictionary()
)


def current(target: Any) -> HeadSettings | None:
    """The settings of the innermost `applied` block of this thread around this call; None outside of any."""
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
def _attached(model: PreTrainedModel) -> Iterator[None]:
    before = model.config._attn_implementation
    attach(model)
    try:
        yield
    finally:
        if before != NAME:
            model.set_attn_implementation(before)


def size(target: Any) -> tuple[int, int]:
    """Layers and heads per layer (heads removed for good still count: numbers never shift)."""
    model = model_of(target)
    return len(sites(model)), model.config.num_attention_heads


def prefix(target: Any) -> int:
    """Keys that prefix tuning puts before those of the tokens, in every layer; 0 for other models."""
    wrapper = target if hasattr(target, "active_peft_config") else getattr(target, "model", None)
    config = getattr(wrapper, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def _refuse_prefix(target: Any, what: str) -> None:
    if count := prefix(target):
        raise ModelError(
            f"{what} is not for a model with a prefix: each of its layers also looks at {count} keys that "
            "are no tokens. Fine-tune with another method, such as 'lora'."
        )


def removed(target: Any) -> list[tuple[int, int]]:
    """The (layer, head) places that were taken out for good, in order."""
    table = getattr(model_of(target).config, PRUNED, None) or {}
    return sorted((int(layer), head) for layer, heads in table.items() for head in heads)


def prune(target: Any, heads: Iterable[tuple[int, int]]) -> Any:
    """Remove heads for good and return a new, smaller model; the one given stays as it is.

    The rows of query, key and value and the columns of the output projection that belong to the
    heads are cut out, so the answer equals that of the same model with those heads at scale 0. All
    heads of a layer may go. Head numbers do not shift: the others keep theirs.

    Parameters
    ----------
    target : Classifier or Transformers model
    heads : pairs (layer, head). Heads removed earlier may be named again.

    Raises
    ------
    ModelError : a head the model does not have; an ALBERT layer that others share, unless the head
        goes from all of them; a model with a prefix
    """
    _refuse_prefix(target, "Removing heads")
    model = model_of(target)
    layers, per_layer = size(model)
    wanted = {(int(layer), int(head)) for layer, head in heads}
    for layer, head in sorted(wanted):
        if not (0 <= layer < layers and 0 <= head < per_layer):
            raise ModelError(
                f"There is no head ({layer}, {head}) to remove: layers are 0 to {layers - 1}, "
                f"heads 0 to {per_layer - 1}."
            )
    smaller = copy.deepcopy(model)
    _remove(smaller, wanted - set(removed(model)))
    return smaller if target is model else target.with_model(smaller)


def self_check(target: Any, inputs: dict[str, Tensor] | None = None) -> dict[str, float]:
    """Prove on this very model that the control is real; return the measured differences.

    Raises AttnlabError, with the number, if one of these does not hold (in float32, on a padded
    batch): neutral settings change nothing, bit for bit; our attention equals PyTorch's to 1e-5;
    scale 0 equals removing the head's columns from the output projection; scale leaves its own
    layer's weights alone; temperature moves them; afterwards all is as before, also after an error.

    Parameters
    ----------
    target : Classifier or Transformers model
    inputs : tensors for its forward call; by default a padded batch of arbitrary tokens
    """
    # on a copy: something else, such as a desk, may be using the model meanwhile
    model = copy.deepcopy(model_of(target)).eval()
    layers, heads = size(model)
    inputs = inputs or _arbitrary_batch(model)
    present = [(layer, head) for layer in range(layers) for head in range(heads)]
    present = [place for place in present if place not in set(removed(model))]
    if not present:
        raise ModelError("Every head of this model was removed; there is nothing to check.")
    layer, head = present[len(present) // 2]
    report: dict[str, float] = {}

    def answer(settings: HeadSettings | None = None) -> Tensor:
        with torch.no_grad(), applied(model, settings) if settings else contextlib.nullcontext():
            return model(**inputs)[0].float()

    def difference(name: str, a: Tensor, b: Tensor, at_most: float = torch.inf, above: float = -1):
        report[name] = float((a - b).abs().max())
        if not above < report[name] <= at_most:
            raise AttnlabError(
                f"self_check: {name} is {report[name]:.2e}; expected "
                + (f"at most {at_most:g}." if above < 0 else f"more than {above:g}.")
                + " The control of this model's heads is not to be trusted."
            )

    neutral = HeadSettings(layers, heads)
    silent, sharp = neutral.copy(), neutral.copy()
    sharp.temperature[layer, head] = 0.5
    model.set_attn_implementation("sdpa")
    plain = answer()
    attach(model)
    own = answer()
    difference("own attention - sdpa", own, plain, at_most=1e-5)
    difference("neutral - untouched", answer(neutral), own, at_most=0)
    with torch.no_grad():
        site = sites(model)[layer]
        columns = _columns(model, site, layer, head)
        saved = site.output.weight[:, columns].clone()
        site.output.weight[:, columns] = 0
        without = answer()
        site.output.weight[:, columns] = saved
    partners = _partners(model, layer)  # the same columns serve these layers
    silent.scale[partners, head] = 0
    difference("scale 0 - columns removed", answer(silent), without, at_most=1e-5)
    difference("scale 0 - neutral", answer(silent), own, above=0)
    maps = {
        name: record(model, inputs, one)[layer].weights
        for name, one in (("neutral", neutral), ("silent", silent), ("sharp", sharp))
    }
    if partners == [layer]:
        difference("own layer's weights under scale", maps["silent"], maps["neutral"], at_most=0)
    difference("own layer's weights under temperature", maps["sharp"], maps["neutral"], above=0)
    with contextlib.suppress(_Interrupted), applied(model, silent):
        raise _Interrupted
    difference("afterwards - before", answer(), own, at_most=0)
    return report


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What one layer's heads did in a forward pass; zeros for heads removed for good.

    Attributes
    ----------
    weights : Tensor, shape (B, H, T, T)
    values : Tensor, shape (B, H, T, D)
    norms : Tensor, shape (B, H, T), of the value vectors after the output projection: the length of what a head
        adds when it looks at that token with weight 1
    """

    weights: Tensor
    values: Tensor
    norms: Tensor


def record(target: Any, inputs: dict[str, Tensor], settings: HeadSettings) -> list[LayerRecord]:
    """Run one forward pass and return what each layer's heads did. ModelError for a model with a prefix."""
    _refuse_prefix(target, "A map of token to token")
    model = model_of(target)
    with torch.no_grad():
        control = HeadControl(model, settings, record=True)
        with _attached(model), contextlib.suppress(_Recorded):
            model(**inputs, **{KEYWORD: control})
        places = zip(control.records, control.sites, control.kept, strict=True)
        count = size(model)[1]
        return [_layer_record(*attended, *place, count) for attended, *place in places]


def _layer_record(
    weights: Tensor, values: Tensor, site: "Site", kept: list[int], heads: int
) -> LayerRecord:
    """The record of a layer from the weights (B, h, T, T) and values (B, h, T, D) of the heads that are there."""
    if kept:
        project = _weight(site.output).float().unflatten(1, (len(kept), -1))  # (E, h, D)
        # |v W|² = v (W Wᵀ) v: D numbers a vector instead of E
        gram = torch.einsum("ehc,ehd->hcd", project, project)
        flat = values.float().transpose(0, 1).flatten(1, 2)  # (h, B T, D)
        squares = (flat @ gram).mul_(flat).sum(-1).unflatten(1, values.shape[::2])  # (h, B, T)
        norms = squares.clamp_min(0).sqrt().transpose(0, 1)  # (B, h, T)
        if len(kept) == heads:
            return LayerRecord(weights, values, norms)
    else:
        values = values.new_zeros(weights.shape[0], 0, weights.shape[-1], 1)
        norms = values.new_zeros(values.shape[:-1])
    whole = []
    for some in (weights, values, norms):
        filled = some.new_zeros(some.shape[0], heads, *some.shape[2:])
        filled[:, kept] = some
        whole.append(filled)
    return LayerRecord(*whole)


def _weight(linear: nn.Module) -> Tensor:
    """The matrix that a linear layer multiplies by, an adapter that is not merged included."""
    weight = linear.weight.detach()
    if hasattr(linear, "get_delta_weight") and not linear.merged:
        for name in linear.active_adapters:
            weight = weight + linear.get_delta_weight(name).detach()
    return weight


# ── where a model keeps its attention ──────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Site:
    """One attention layer: the module that attends, and where its four projections are."""

    module: nn.Module
    query: str
    key: str
    value: str
    output_parent: nn.Module
    output_name: str

    @property
    def output(self) -> nn.Linear:
        """The output projection."""
        return getattr(self.output_parent, self.output_name)


def _like_bert(base: PreTrainedModel) -> list[Site]:
    return [
        Site(layer.attention.self, "query", "key", "value", layer.attention.output, "dense")
        for layer in base.encoder.layer
    ]


def _like_distilbert(base: PreTrainedModel) -> list[Site]:
    attentions = [layer.attention for layer in base.transformer.layer]
    return [Site(one, "q_lin", "k_lin", "v_lin", one, "out_lin") for one in attentions]


def _like_albert(base: PreTrainedModel) -> list[Site]:
    config, groups = base.config, base.encoder.albert_layer_groups
    return [
        Site(layer.attention, "query", "key", "value", layer.attention, "dense")
        for index in range(config.num_hidden_layers)
        for layer in groups[
            index * config.num_hidden_groups // config.num_hidden_layers
        ].albert_layers
    ]


_FAMILIES: dict[str, Callable[[PreTrainedModel], list[Site]]] = {
    "bert": _like_bert,
    "roberta": _like_bert,
    "xlm-roberta": _like_bert,
    "camembert": _like_bert,
    "electra": _like_bert,
    "distilbert": _like_distilbert,
    "albert": _like_albert,
}


def model_of(target: Any) -> PreTrainedModel:
    """The Transformers model in a Classifier or an adapter wrapper, or the model itself."""
    model = target
    if not isinstance(model, PreTrainedModel) and hasattr(model, "get_base_model"):
        model = model.get_base_model()  # a peft wrapper
    elif not isinstance(model, PreTrainedModel):
        model = getattr(target, "model", None)
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"Expected a Classifier or a Transformers model, got {type(target).__name__}. "
            "Load one with al.load_classifier(...)."
        )
    return model


def sites(model: PreTrainedModel) -> list[Site]:
    """Where each layer's attention is; ModelError for a family whose attention we cannot reach."""
    family = getattr(model.config, "model_type", "?")
    if family not in _FAMILIES:
        raise ModelError(
            f"The heads of a {family!r} model cannot be reached: its attention does not go through "
            f"Transformers' attention interface in a way we know. Works: {', '.join(_FAMILIES)}."
        )
    return _FAMILIES[family](model.base_model)


def _partners(model: PreTrainedModel, layer: int) -> list[int]:
    """The layers that share this layer's parameters (in ALBERT, several), itself among them."""
    modules = [site.module for site in sites(model)]
    return [index for index, module in enumerate(modules) if module is modules[layer]]


def kept(model: PreTrainedModel, layer: int) -> list[int]:
    """The heads of a layer that were not removed, in order."""
    gone = {head for at, head in removed(model) if at == layer}
    return [head for head in range(model.config.num_attention_heads) if head not in gone]


def _columns(model: PreTrainedModel, site: Site, layer: int, head: int) -> slice:
    """The input columns of the output projection that belong to one head."""
    width = site.module.attention_head_size
    start = kept(model, layer).index(head) * width
    return slice(start, start + width)


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
        self.kept = [kept(self.model, layer) for layer in range(len(self.sites))]
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
            raise _Recorded

    def factors(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and 1 / temperature of a layer's heads, shape (1 or B, h), as `like` is stored."""
        scale = self.settings.scale[..., layer, :][..., self.kept[layer]]
        temperature = self.settings.temperature[..., layer, :][..., self.kept[layer]]
        for one in (scale, temperature):
            if one.dim() == 2 and one.shape[0] != like.shape[0]:
                raise SettingsError(
                    f"There are {one.shape[0]} settings for a batch of {like.shape[0]} texts. "
                    "Stack one setting per text."
                )
        shape = (-1, len(self.kept[layer]))
        return scale.to(like).view(shape), (1 / temperature).to(like).view(shape)


class _Recorded(Exception):
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
    ask = bool(kwargs.pop("output_attentions", False))
    if layer is None:
        scale, keep = None, ask
    else:
        if not head_control.kept[layer]:  # all heads gone: a zero that the bias-only output ignores
            if head_control.record:
                head_control.note(query.new_zeros(query.shape[0], 0, *[query.shape[2]] * 2), value)
            return query.transpose(1, 2), None
        scale, sharpness = head_control.factors(layer, query)
        query = query * sharpness[:, :, None, None]
        keep = ask or head_control.record
    if keep:
        context, weights = _with_weights(query, key, value, attention_mask, dropout, scaling)
    else:
        context, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if scale is not None:
        context = context * scale[:, None, :, None]  # (B, T, h, D)
    if layer is not None and head_control.record:
        head_control.note(weights, value)
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


# ── taking heads out for good ──────────────────────────────────────────────────────────────────


class _NoHeads(nn.Module):
    """Stands for query, key and value of a layer without heads: one zero vector, no parameters."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.new_zeros(*hidden.shape[:-1], self.width)


class _BiasOnly(nn.Module):
    """Output projection of a layer without heads: its bias is all that is left."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.bias = linear.bias

    def forward(self, context: Tensor) -> Tensor:
        return self.bias.expand(*context.shape[:-1], -1).to(context.dtype)


def _remove(model: PreTrainedModel, heads: set[tuple[int, int]]) -> None:
    """Cut these heads out of the model, in place, and note it in the configuration."""
    done: set[int] = set()
    all_sites = sites(model)
    before = [kept(model, layer) for layer in range(len(all_sites))]
    after = [[h for h in kept if (layer, h) not in heads] for layer, kept in enumerate(before)]
    for layer in range(len(all_sites)):
        partners = _partners(model, layer)
        if any(after[partner] != after[layer] for partner in partners):
            raise ModelError(
                f"Layers {', '.join(map(str, partners))} of this model share their parameters, so a "
                "head can only be removed from all of them at once. Name it for each of these layers."
            )
    for layer, site in enumerate(all_sites):
        if id(site.module) in done or after[layer] == before[layer]:
            continue
        done.add(id(site.module))
        width = site.module.attention_head_size
        if after[layer]:
            index = torch.cat(
                [torch.arange(width) + before[layer].index(head) * width for head in after[layer]]
            ).to(site.output.weight.device)
            for name in (site.query, site.key, site.value):
                setattr(site.module, name, prune_linear_layer(getattr(site.module, name), index))
            setattr(
                site.output_parent, site.output_name, prune_linear_layer(site.output, index, dim=1)
            )
        else:
            for name in (site.query, site.key, site.value):
                setattr(site.module, name, _NoHeads(width))
            setattr(site.output_parent, site.output_name, _BiasOnly(site.output))
        for name in ("num_attention_heads", "n_heads"):
            if hasattr(site.module, name):
                setattr(site.module, name, len(after[layer]))
        if hasattr(site.module, "all_head_size"):
            site.module.all_head_size = len(after[layer]) * width
    table: dict[str, list[int]] = {}
    for layer, head in sorted(heads | set(removed(model))):
        table.setdefault(str(layer), []).append(head)
    if table:
        setattr(model.config, PRUNED, table)


def restore_structure(model: PreTrainedModel) -> None:
    """Give a freshly built model the shape its configuration says: heads removed for good are cut."""
    gone = set(removed(model))
    if gone:
        setattr(model.config, PRUNED, None)
        _remove(model, gone)


class _Interrupted(Exception):
    """Raised by self_check inside its own block."""


def _arbitrary_batch(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two rows of arbitrary tokens, one padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, model.config.vocab_size, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = model.config.pad_token_id or 0, 0
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
