"""Remove heads of an encoder-decoder for good, and build settings of heads into its weights."""

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnlab.attention import MultiHeadAttention
from attnlab.errors import ModelError, suggest
from attnlab.heads.settings import KINDS, Seq2SeqSettings

if TYPE_CHECKING:
    from attnlab.transformer.encoder_decoder import Seq2SeqTransformer

__all__ = ["NoHeads", "build_in", "by_number", "cut", "prune", "remove"]

Head = tuple[str, int, int]  # kind, layer, head


class NoHeads(nn.Module):
    """Stands for an attention without heads: the bias of its output projection is all it adds.

    Parameters
    ----------
    attention : MultiHeadAttention that it takes the place of
    """

    heads = kv_heads = 0

    def __init__(self, attention: MultiHeadAttention):
        super().__init__()
        self.bias = attention.output.bias
        self.head_width = attention.query.out_features // attention.heads

    def project(
        self, key: Tensor, value: Tensor | None = None, angles: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of no head, shape (B, 0, T_k, D)."""
        empty = key.new_empty(len(key), 0, key.shape[1], self.head_width)
        return empty, empty

    def for_queries(self, part: Tensor) -> Tensor:
        """Keys or values for no head."""
        return part

    def forward(
        self,
        query: Tensor,
        *,
        projected: tuple[Tensor, Tensor] | None = None,
        return_weights: bool = False,
        **settings: Any,
    ) -> Any:
        """Return the bias for each query, shape (B, T_q, E), and the weights of no head."""
        output = torch.zeros_like(query) if self.bias is None else self.bias.expand_as(query)
        if not return_weights:
            return output
        keys, _ = self.project(query) if projected is None else projected
        return output, query.new_empty(len(query), 0, query.shape[1], keys.shape[2])


def prune(model: "Seq2SeqTransformer", heads: Iterable[Head]) -> "Seq2SeqTransformer":
    """Remove heads for good and return a new, smaller model; the one given stays as it is.

    The rows of query, key and value and the columns of the output projection that belong to the
    heads are cut out, so the answer equals that of the same model with those heads at scale 0. All
    heads of a layer may go. Head numbers do not shift: the others keep theirs.

    Parameters
    ----------
    model : Seq2SeqTransformer
    heads : triples (kind, layer, head), kind "encoder", "decoder" or "cross". Heads removed earlier
        may be named again.

    Raises
    ------
    ModelError : a head that the model does not have

    Examples
    --------
    >>> from attnlab.transformer import Seq2SeqTransformer
    >>> model = Seq2SeqTransformer(20, 30, d_model=16, heads=4)
    >>> smaller = prune(model, [("cross", 0, 1), ("cross", 0, 3)])
    >>> smaller.active["cross"], smaller.size["removed"]
    ([[0, 2], [0, 1, 2, 3]], [['cross', 0, 1], ['cross', 0, 3]])
    """
    smaller = copy.deepcopy(model)
    remove(smaller, [*smaller.size["removed"], *heads])
    return smaller


@torch.no_grad()
def build_in(model: "Seq2SeqTransformer", settings: Seq2SeqSettings) -> "Seq2SeqTransformer":
    """Return a new model that answers without settings as the one given does with them.

    Heads at scale 0 are removed, see `prune`. Any other scale is multiplied into the columns of the
    output projection, and a temperature divides the rows of the query.

    Parameters
    ----------
    model : Seq2SeqTransformer, stays as it is
    settings : of the heads, one for all texts

    Raises
    ------
    SettingsError : settings of another size, or one for each row of a batch
    """
    layers = (len(model.encoder), len(model.decoder))
    settings.validate(*layers, model.size["heads"])
    for part in settings:
        part.validate_single(*part.scale.shape[-2:])
    built = copy.deepcopy(model)
    for kind, modules in built.attention_modules().items():
        part = getattr(settings, kind)
        for layer, module in enumerate(modules):
            if not isinstance(module, NoHeads):
                width = module.query.out_features // module.heads
                active = model.active[kind][layer]
                scale, temperature = (
                    values[layer, active].repeat_interleave(width).to(module.query.weight)
                    for values in (part.scale, part.temperature)
                )
                module.output.weight *= scale
                module.query.weight /= temperature[:, None]
                module.query.bias /= temperature
    silent = [
        (kind, *head)
        for kind, part in zip(KINDS, settings, strict=True)
        for head in (part.scale == 0).nonzero().tolist()
    ]
    return prune(built, silent)


def remove(model: "Seq2SeqTransformer", removed: Iterable[Sequence[Any]]) -> None:
    """Cut heads out of a model, in place; ``removed`` names those that went earlier, too."""
    wanted = sorted({(str(kind), int(layer), int(head)) for kind, layer, head in removed})
    _refuse_unknown(model, wanted)
    before, model.size["removed"] = model.active, [list(head) for head in wanted]
    parents = {kind: (model.encoder if kind == "encoder" else model.decoder) for kind in KINDS}
    for kind, layers in model.active.items():
        name = "cross_attention" if kind == "cross" else "attention"
        for layer, kept in enumerate(layers):
            there = before[kind][layer]
            if kept != there:
                module, positions = getattr(parents[kind][layer], name), map(there.index, kept)
                setattr(parents[kind][layer], name, cut(module, list(positions)))


def by_number(part: Tensor, active: Sequence[int], heads: int) -> Tensor:
    """Give each head its number again: (B, active heads, ...) to (B, H, ...), zeros where none is.

    Parameters
    ----------
    part : Tensor with the heads that are left on axis 1
    active : their numbers
    heads : H, with those that were removed
    """
    if len(active) == heads:
        return part
    whole = part.new_zeros(len(part), heads, *part.shape[2:])
    whole[:, list(active)] = part
    return whole


@torch.no_grad()
def cut(attention: Any, kept: Sequence[int]) -> nn.Module:
    """Leave an attention only the rows and columns of some of the heads it has, in place.

    Keys and values that a group of heads shares go with the last head of the group.

    Parameters
    ----------
    attention : MultiHeadAttention
    kept : positions of the heads that stay among those that are there

    Returns
    -------
    the attention, or `NoHeads` that takes its place
    """
    if not kept:
        return NoHeads(attention)
    width = attention.query.out_features // attention.heads
    groups = [attention.groups[head] for head in kept]
    shared = sorted(set(groups))
    rows, shared_rows = _rows(kept, width), _rows(shared, width)
    for linear, index in (
        (attention.query, rows),
        (attention.key, shared_rows),
        (attention.value, shared_rows),
    ):
        linear.weight, linear.out_features = _part(linear.weight, index, 0), len(index)
        if linear.bias is not None:
            linear.bias = _part(linear.bias, index, 0)
    output = attention.output
    output.weight, output.in_features = _part(output.weight, rows, 1), len(rows)
    attention.heads, attention.kv_heads = len(kept), len(shared)
    attention.groups = [shared.index(group) for group in groups]
    return attention


def _rows(heads: Sequence[int], width: int) -> Tensor:
    return torch.cat([torch.arange(width) + width * head for head in heads])


def _part(weight: nn.Parameter, index: Tensor, dim: int) -> nn.Parameter:
    picked = weight.index_select(dim, index.to(weight.device))
    return nn.Parameter(picked, weight.requires_grad)


def _refuse_unknown(model: "Seq2SeqTransformer", heads: list[Head]) -> None:
    """Raise ModelError for a head that a model does not have."""
    layers = dict(zip(KINDS, (len(model.encoder), *2 * [len(model.decoder)]), strict=True))
    for kind, layer, head in heads:
        if kind not in KINDS:
            raise ModelError(f"There is no kind {kind!r} of heads. {suggest(kind, KINDS)}")
        if not (0 <= layer < layers[kind] and 0 <= head < model.size["heads"]):
            raise ModelError(
                f"There is no head ({kind!r}, {layer}, {head}) to remove: layers are 0 to "
                f"{layers[kind] - 1}, heads 0 to {model.size['heads'] - 1}."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
