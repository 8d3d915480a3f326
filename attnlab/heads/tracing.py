"""A model whose heads can be scaled and sharpened where there is no Python: to be traced."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from attnlab.heads.control import KEYWORD
from attnlab.heads.families import (
    active_heads,
    model_of,
    refuse_decoder,
    refuse_prefix,
    sites,
    size,
)
from attnlab.heads.weights import effective_weight

_NAME = "attnlab-traced"
_HIDDEN = -1e30  # added to the scores of padding


class TraceableHeads(nn.Module):
    """A classifier whose head settings are inputs, and whose attention weights are outputs.

    What it computes is that of `running.run` and `recording.record`, in plain tensor operations
    without a choice that depends on the data, so that `torch.onnx.export` can write it down.

    Parameters
    ----------
    target : Classifier or Transformers model, of which a copy in float32 on the CPU is taken
    columns : names of the inputs that its tokenizer gives, ``input_ids`` among them

    Raises
    ------
    ModelError : a model with a prefix, a decoder, or a family whose attention cannot be reached
    """

    def __init__(self, target: Any, columns: list[str]):
        super().__init__()
        refuse_prefix(target, "Writing down its computation")
        refuse_decoder(target, "Writing down its computation")
        self.model = copy.deepcopy(model_of(target)).float().cpu()
        self.model.set_attn_implementation(_NAME)
        self.columns = columns
        self.layers, self.heads = size(self.model)
        self.active = [active_heads(self.model, layer) for layer in range(self.layers)]
        self.grams = [_gram(site, self.active[i]) for i, site in enumerate(sites(self.model))]
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the answers to a batch.

        Parameters
        ----------
        inputs : the columns, in order, each (B, T); attention_mask (B, T); scale and temperature,
            each (1, L, H), or (B, L, H) with one setting for each text

        Returns
        -------
        logits (B, C); attention weights (B, L, H, T, T); norms of the value vectors after the
        output projection (B, L, H, T). Heads removed for good have zeros.
        """
        *texts, mask, scale, temperature = inputs
        shape = (-1, self.layers, self.heads, 1, 1)
        added = (1 - mask[:, None, None, :].to(torch.float32)) * _HIDDEN  # (B, 1, 1, T)
        control = _TracedControl(
            self, added, scale.reshape(shape).unbind(1), temperature.reshape(shape).unbind(1)
        )
        output = self.model(**dict(zip(self.columns, texts, strict=True)), **{KEYWORD: control})
        return output.logits, torch.stack(control.weights, 1), torch.stack(control.norms, 1)


class _TracedControl:
    """What one traced pass does to its heads; layers are told apart by their order."""

    def __init__(
        self,
        traced: TraceableHeads,
        mask: Tensor,
        scale: tuple[Tensor, ...],
        temperature: tuple[Tensor, ...],
    ):
        self.traced, self.mask, self.scale, self.temperature = traced, mask, scale, temperature
        self.weights: list[Tensor] = []
        self.norms: list[Tensor] = []

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """The context (B, T, h, D) of the next layer, which is noted."""
        layer = len(self.weights)
        active = self.traced.active[layer]
        if not active:  # the output is a bias, which ignores this zero
            nothing = query @ key.transpose(-2, -1) * 0
            self._note(nothing, nothing[..., 0], active)
            return query.transpose(1, 2)
        scale, temperature = (
            knob[layer] if len(active) == self.traced.heads else knob[layer][:, active]
            for knob in (self.scale, self.temperature)
        )
        scores = (query * (scaling / temperature)) @ key.transpose(-2, -1) + self.mask
        weights = scores.softmax(-1)
        squares = (torch.einsum("bhtd,hde->bhte", value, self.traced.grams[layer]) * value).sum(-1)
        self._note(weights, squares.clamp_min(0).sqrt(), active)
        return (weights @ value * scale).transpose(1, 2)

    def _note(self, weights: Tensor, norms: Tensor, active: list[int]) -> None:
        """Keep what a layer's heads did, with zeros for heads that are gone."""
        heads = self.traced.heads
        for kept, found in ((self.weights, weights), (self.norms, norms)):
            if len(active) < heads:
                zeros = found[:, :1] * 0
                parts = [
                    found[:, active.index(head) : active.index(head) + 1]
                    if head in active
                    else zeros
                    for head in range(heads)
                ]
                found = torch.cat(parts, 1)
            kept.append(found)


def _gram(site: Any, active: list[int]) -> Tensor:
    """For each head W Wᵀ of its part of the output projection, (h, D, D): |v W|² = v (W Wᵀ) v."""
    if not active:
        return torch.empty(0)
    project = effective_weight(site.output, len(active) * site.head_width)
    project = project.unflatten(1, (len(active), -1))  # (E, h, D)
    return torch.einsum("ehc,ehd->hcd", project, project).clone()


def _attention(
    module: nn.Module,
    query: Tensor,  # (B, h, T, D)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    head_control: _TracedControl,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention for Transformers while a model is traced."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return head_control.attend(query, key, value, scaling), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The mask is added by `_TracedControl`."""


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _no_mask)
