"""Remove heads for good: cut their rows and columns out of the model's matrices."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D, prune_linear_layer

from attnlab.errors import ModelError
from attnlab.heads.families import (
    PRUNED,
    active_heads,
    model_of,
    refuse_prefix,
    removed,
    sharing_layers,
    sites,
    size,
)
from attnlab.heads.own import own_model
from attnlab.heads.parts import Site
from attnlab.heads.weights import is_plain, is_plain_conv1d


def prune(target: Any, heads: Iterable[tuple[int, int]]) -> Any:
    """Remove heads for good and return a new, smaller model; the one given stays as it is.

    The rows of query, key and value and the columns of the output projection that belong to the
    heads are cut out, so the answer equals that of the same model with those heads at scale 0. All
    heads of a layer may go. Head numbers do not shift: the others keep theirs.

    Where several heads share keys and values (grouped attention, Ainslie et al. 2023), those go
    with the last head of their group; as Transformers' kernels know groups of one size only, every
    group of a layer must then keep the same number of heads, or none.

    Parameters
    ----------
    target : Classifier, LanguageModel or Transformers model
    heads : pairs (layer, head). Heads removed earlier may be named again.

    Raises
    ------
    ModelError : a head the model does not have; an ALBERT layer that others share, unless the head
        goes from all of them; groups that would keep different numbers of heads; a model with a
        prefix, with an adapter that is not merged, or quantised
    """
    refuse_prefix(target, "Removing heads")
    wanted = {(int(layer), int(head)) for layer, head in heads}
    own = own_model(target)
    if own is not None:
        without = own.without_heads(wanted)
        return without if own is target else target.with_model(without)
    model = model_of(target)
    _refuse_unknown(model, wanted)
    smaller = copy.deepcopy(model)
    _remove(smaller, wanted - set(removed(model)))
    return smaller if target is model else target.with_model(smaller)


def restore_structure(model: PreTrainedModel) -> None:
    """Cut the heads out of a freshly built model that its configuration says were removed.

    Raises
    ------
    ModelError : a head that the model does not have
    """
    gone = set(removed(model))
    if gone:
        _refuse_unknown(model, gone)
        setattr(model.config, PRUNED, None)
        _remove(model, gone)


def _refuse_unknown(model: PreTrainedModel, heads: set[tuple[int, int]]) -> None:
    """Raise ModelError for a head that a model does not have."""
    layers, per_layer = size(model)
    for layer, head in sorted(heads):
        if not (0 <= layer < layers and 0 <= head < per_layer):
            raise ModelError(
                f"There is no head ({layer}, {head}) to remove: layers are 0 to {layers - 1}, "
                f"heads 0 to {per_layer - 1}."
            )


class _NoHeads(nn.Module):
    """Stands for query, key and value of a layer without heads: one zero vector, no parameters."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.new_zeros(*hidden.shape[:-1], self.width)


class _BiasOnly(nn.Module):
    """Output projection of a layer without heads: its bias, if it has one, is all that is left."""

    def __init__(self, linear: nn.Linear | Conv1D):
        super().__init__()
        self.bias = linear.bias
        self.width = linear.nf if isinstance(linear, Conv1D) else linear.out_features

    def forward(self, context: Tensor) -> Tensor:
        if self.bias is None:
            return context.new_zeros(*context.shape[:-1], self.width)
        return self.bias.expand(*context.shape[:-1], -1).to(context.dtype)


def _remove(model: PreTrainedModel, heads: set[tuple[int, int]]) -> None:
    """Cut these heads out of the model, in place, and note it in the configuration."""
    all_sites, done = sites(model), set()
    before = [active_heads(model, layer) for layer in range(len(all_sites))]
    after = [
        [head for head in active if (layer, head) not in heads]
        for layer, active in enumerate(before)
    ]
    _refuse_to_split_shared_layers(model, after)
    _refuse_uneven_groups(model, before, after)
    for layer, site in enumerate(all_sites):
        if id(site.module) not in done and after[layer] != before[layer]:
            done.add(id(site.module))
            _cut(site, before[layer], after[layer], _whole_group(model))
    table: dict[str, list[int]] = {}
    for layer, head in sorted(heads | set(removed(model))):
        table.setdefault(str(layer), []).append(head)
    if table:
        setattr(model.config, PRUNED, table)


def _refuse_to_split_shared_layers(model: PreTrainedModel, after: list[list[int]]) -> None:
    """Raise ModelError if layers that share their parameters were to keep different heads."""
    for layer, active in enumerate(after):
        shared = sharing_layers(model, layer)
        if any(after[other] != active for other in shared):
            raise ModelError(
                f"Layers {', '.join(map(str, shared))} of this model share their parameters, so a "
                "head can only be removed from all of them at once. Name it for each of these "
                "layers."
            )


def _refuse_uneven_groups(
    model: PreTrainedModel, before: list[list[int]], after: list[list[int]]
) -> None:
    """Raise ModelError if heads that share keys and values were to leave groups of several sizes.

    A layer that does not change, or loses all its heads, is not looked at.
    """
    whole = _whole_group(model)
    for layer, active in enumerate(after):
        left = [len(group) for group in _by_group(active, whole)]
        if active != before[layer] and len(set(left)) > 1:
            groups = [list(group) for group in _by_group(range(size(model)[1]), whole)]
            gone = [str(head) for head in before[layer] if head not in active]
            raise ModelError(
                f"{'Head' if len(gone) == 1 else 'Heads'} {', '.join(gone)} cannot be removed from "
                f"layer {layer}: in this {model.config.model_type!r} model heads share keys and "
                f"values in groups ({', '.join(map(str, groups))}), which would keep different "
                f"numbers of heads ({', '.join(map(str, left))}). Remove whole groups, or the same "
                "number from each; a head at scale 0, in al.heads.applied, may be any."
            )


def _whole_group(model: PreTrainedModel) -> int:
    """How many heads share one head of keys and values where none was removed; 1 if none do."""
    config = model.config
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return config.num_attention_heads // shared


def _by_group(heads: Iterable[int], whole: int) -> list[list[int]]:
    """Some heads of a layer, by the group that they are of; groups without any are left out."""
    groups: dict[int, list[int]] = {}
    for head in heads:
        groups.setdefault(head // whole, []).append(head)
    return list(groups.values())


def _kept(linear: nn.Linear | Conv1D, index: Tensor, dim: int) -> nn.Linear | Conv1D:
    """A layer with these outputs (dim 0) or inputs (1) only, in its own number format."""
    index = index.to(linear.weight.device)
    kept: nn.Linear | Conv1D
    if isinstance(linear, Conv1D):
        weight = linear.weight.index_select(1 - dim, index)
        kept = Conv1D(weight.shape[1], weight.shape[0]).to(weight)
        with torch.no_grad():
            kept.weight.copy_(weight)
            kept.bias.copy_(linear.bias[index] if dim == 0 else linear.bias)
    else:
        rows: Any = index
        kept = prune_linear_layer(linear, rows, dim).to(linear.weight.dtype)
    return kept.requires_grad_(linear.weight.requires_grad)


def _refuse_wrapped(site: Site) -> None:
    """Raise ModelError if a matrix is wrapped: cutting what is inside would lose the rest."""
    names = [projection.name for projection in site.projections]
    layers = {name: getattr(site.module, name) for name in names}
    for name, layer in [*layers.items(), (site.output_name, site.output)]:
        if not (is_plain(layer) or is_plain_conv1d(layer)):
            raise ModelError(
                f"Heads cannot be removed here: {name} is no plain Linear, but a "
                f"{type(layer).__module__}.{type(layer).__name__}, and what is around the weights "
                "would be lost. Merge an adapter first, with "
                "model.merge_and_unload(); remove heads before a model is quantised."
            )


def _cut(site: Site, before: list[int], after: list[int], whole: int) -> None:
    """Leave one layer only the rows and columns of the heads in ``after``.

    ``whole`` heads share keys and values where none was removed.
    """
    width, output = site.head_width, site.output
    _refuse_wrapped(site)
    old, new = (
        [heads[0] // whole for heads in _by_group(heads, whole)] for heads in (before, after)
    )
    heads = {"query": (before, after), "key": (old, new), "value": (old, new)}
    for projection in site.projections:
        rows, start = [], 0
        for part in projection.parts:  # one above the other
            had, keeps = heads[part]
            rows += [torch.arange(width) + start + had.index(head) * width for head in keeps]
            start += len(had) * width
        linear = getattr(site.module, projection.name)
        nothing = _NoHeads(width * len(projection.parts))
        left = _kept(linear, torch.cat(rows), dim=0) if after else nothing
        setattr(site.module, projection.name, left)
    columns = [torch.arange(width) + before.index(head) * width for head in after]
    output = _kept(output, torch.cat(columns), dim=1) if after else _BiasOnly(output)
    setattr(site.output_parent, site.output_name, output)
    _note_sizes(site, len(after), len(new))


def _note_sizes(site: Site, count: int, shared: int) -> None:
    """Tell the module that attends how many heads it has, and how many of keys and values."""
    sizes = {
        **dict.fromkeys(("num_attention_heads", "n_heads", "num_heads"), count),
        "all_head_size": count * site.head_width,
        "split_size": max(count, 1) * site.head_width,  # of GPT-2, between queries, keys, values
        "num_key_value_groups": count // shared if shared else 1,
    }
    for name, number in sizes.items():
        if hasattr(site.module, name):
            setattr(site.module, name, number)
