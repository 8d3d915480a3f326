"""Remove heads for good: cut their rows and columns out of the model's matrices."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import prune_linear_layer

from attnlab.errors import ModelError
from attnlab.heads.families import (
    PRUNED,
    Site,
    active_heads,
    model_of,
    refuse_prefix,
    removed,
    sharing_layers,
    sites,
    size,
)
from attnlab.heads.weights import is_plain


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
        goes from all of them; a model with a prefix, with an adapter that is not merged, or
        quantised
    """
    refuse_prefix(target, "Removing heads")
    model = model_of(target)
    wanted = {(int(layer), int(head)) for layer, head in heads}
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
    """Output projection of a layer without heads: its bias is all that is left."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.bias = linear.bias

    def forward(self, context: Tensor) -> Tensor:
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
    for layer, site in enumerate(all_sites):
        if id(site.module) not in done and after[layer] != before[layer]:
            done.add(id(site.module))
            _cut(site, before[layer], after[layer])
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


def _kept(linear: nn.Linear, index: Any, dim: int) -> nn.Linear:
    """A layer with these rows (0) or columns (1) only, in its own number format."""
    kept = prune_linear_layer(linear, index, dim).to(linear.weight.dtype)
    return kept.requires_grad_(linear.weight.requires_grad)


def _refuse_wrapped(site: Site) -> None:
    """Raise ModelError if a matrix is wrapped: cutting what is inside would lose the rest."""
    layers = {name: getattr(site.module, name) for name in (site.query, site.key, site.value)}
    for name, layer in [*layers.items(), (site.output_name, site.output)]:
        if not is_plain(layer):
            raise ModelError(
                f"Heads cannot be removed here: {name} is no plain Linear, but a "
                f"{type(layer).__module__}.{type(layer).__name__}, and what is around the weights "
                "would be lost. Merge an adapter first, with "
                "model.merge_and_unload(); remove heads before a model is quantised."
            )


def _cut(site: Site, before: list[int], after: list[int]) -> None:
    """Leave one layer only the rows and columns of the heads in ``after``."""
    width, output = site.head_width, site.output
    _refuse_wrapped(site)
    if after:
        rows = [torch.arange(width) + before.index(head) * width for head in after]
        index: Any = torch.cat(rows).to(site.output.weight.device)
        for name in (site.query, site.key, site.value):
            setattr(site.module, name, _kept(getattr(site.module, name), index, dim=0))
        output = _kept(output, index, dim=1)
    else:
        for name in (site.query, site.key, site.value):
            setattr(site.module, name, _NoHeads(width))
        output = _BiasOnly(output)
    setattr(site.output_parent, site.output_name, output)
    for name in ("num_attention_heads", "n_heads"):
        if hasattr(site.module, name):
            setattr(site.module, name, len(after))
    if hasattr(site.module, "all_head_size"):
        site.module.all_head_size = len(after) * width
