"""Attention maps of a language model over one text."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attnlab.heads.control import in_force
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.heads.weights import effective_weight, value_norms
from attnlab.inference import check_finite, evaluating
from attnlab.transformer.cache import Seen

if TYPE_CHECKING:
    from attnlab.language.writer import Writer

__all__ = ["attention_maps"]


def attention_maps(writer: "Writer", ids: Tensor, settings: HeadSettings | None) -> AttentionMaps:
    """Read one text and return the attention of every layer and head.

    Parameters
    ----------
    writer : Writer
    ids : Tensor of int, shape (1, T)
    settings : of the heads, (L, H); None takes those of a `heads.applied` block around the call.
        With some that are not neutral the result carries the maps of neutral ones along.
    """
    found = in_force(writer.model) if settings is None else settings
    neutral = writer.settings()
    if found is None or found.is_neutral():
        return _read(writer, ids, neutral, None)
    found = found.copy().validate_single(writer.layers, writer.heads)
    return _read(writer, ids, found, _read(writer, ids, neutral, None))


@torch.no_grad()
def _read(
    writer: "Writer", ids: Tensor, settings: HeadSettings, neutral: AttentionMaps | None
) -> AttentionMaps:
    model = writer.model
    seen: Seen = []
    with evaluating(model):
        check_finite(model, model(ids, settings=settings, seen=seen), "logits")
    weights = torch.stack([layer[0][0] for layer in seen]).float().cpu()  # (L, H, T, T)
    norms = torch.stack([_norms(writer, layer, values) for layer, (_, values) in enumerate(seen)])
    scaled = weights * settings.scale.detach().cpu()[:, :, None, None]
    special = ids[0].cpu() == (-1 if writer.tokens.start is None else writer.tokens.start)
    return AttentionMaps(
        writer.tokens.pieces(ids[0].tolist()),
        weights,
        scaled * norms[:, :, None].cpu(),
        special,
        settings,
        neutral,
    )


def _norms(writer: "Writer", layer: int, values: Tensor) -> Tensor:
    """`value_norms` of a layer's heads, (H, T); 0 for heads that were removed."""
    attention, active = writer.model.blocks[layer].attention, writer.model.active_heads(layer)
    norms = values.new_zeros(values.shape[1:3])
    if active:
        out_proj = effective_weight(attention.output, attention.output.in_features)
        norms[active] = value_norms(out_proj, values[:, active])[0].to(norms)
    return norms


def __dir__() -> list[str]:
    return sorted(__all__)
