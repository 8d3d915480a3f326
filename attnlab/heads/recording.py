"""What each layer's heads did in a forward pass: weights, values and their lengths."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnlab.heads.control import KEYWORD, HeadControl, Recorded
from attnlab.heads.families import model_of, refuse_prefix, size
from attnlab.heads.parts import Site
from attnlab.heads.running import ready
from attnlab.heads.settings import HeadSettings
from attnlab.heads.weights import effective_weight
from attnlab.inference import check_finite


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What one layer's heads did in a forward pass; zeros for heads removed for good.

    Attributes
    ----------
    weights : Tensor, shape (B, H, T, T)
    values : Tensor, shape (B, H, T, D); heads that share keys and values have the same
    norms : Tensor, shape (B, H, T), of the value vectors after the output projection: the length
        of what a head adds when it looks at that token with weight 1
    """

    weights: Tensor
    values: Tensor
    norms: Tensor


def record(target: Any, inputs: dict[str, Tensor], settings: HeadSettings) -> list[LayerRecord]:
    """Run one forward pass and return what each layer's heads did.

    Dropout is off meanwhile, as in `running.run`.

    Raises
    ------
    ModelError : a model with a prefix; weights, values or norms that are not finite; a layer after
        attention that is not linear
    """
    refuse_prefix(target, "A map of token to token")
    model = model_of(target)
    with torch.no_grad():
        control = HeadControl(model, settings, record=True)
        with ready(model), contextlib.suppress(Recorded):
            model(**inputs, **{KEYWORD: control})
        control.check_acted()
        layers = zip(control.records, control.sites, control.active_heads, strict=True)
        count = size(model)[1]
        found = [_layer_record(*attended, site, active, count) for attended, site, active in layers]
        parts = [part for layer in found for part in (layer.weights, layer.norms)]
        sums = torch.stack([part.sum(dtype=torch.float32) for part in parts])
        check_finite(model, sums, "attention weights")
        return found


def _layer_record(
    weights: Tensor, values: Tensor, site: Site, active: list[int], heads: int
) -> LayerRecord:
    """The record of a layer from its active heads' weights (B, h, T, T) and values (B, h, T, D)."""
    if active:
        width = len(active) * site.head_width
        project = effective_weight(site.output, width)
        project = project.to(values.device).unflatten(1, (len(active), -1))  # (E, h, D)
        # |v W|² = v (W Wᵀ) v: D numbers a vector instead of E
        gram = torch.einsum("ehc,ehd->hcd", project, project)
        flat = values.float().transpose(0, 1).flatten(1, 2)  # (h, B T, D)
        squares = (flat @ gram).mul_(flat).sum(-1).unflatten(1, values.shape[::2])  # (h, B, T)
        norms = squares.clamp_min(0).sqrt().transpose(0, 1)  # (B, h, T)
        if len(active) == heads:
            return LayerRecord(weights, values, norms)
    else:
        values = values.new_zeros(weights.shape[0], 0, weights.shape[-1], 1)
        norms = values.new_zeros(values.shape[:-1])
    whole = []
    for part in (weights, values, norms):
        filled = part.new_zeros(part.shape[0], heads, *part.shape[2:])
        filled[:, active] = part
        whole.append(filled)
    return LayerRecord(*whole)
