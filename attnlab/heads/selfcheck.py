"""Prove on a model of your own that the control of its heads is real."""

import contextlib
import copy
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnlab.errors import AttnlabError, ModelError
from attnlab.heads.control import applied, attach
from attnlab.heads.families import columns, model_of, removed, sharing_layers, sites, size
from attnlab.heads.recording import record
from attnlab.heads.settings import HeadSettings


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
        of_head = columns(model, site, layer, head)
        saved = site.output.weight[:, of_head].clone()
        site.output.weight[:, of_head] = 0
        without = answer()
        site.output.weight[:, of_head] = saved
    sharing = sharing_layers(model, layer)  # the same columns serve these layers
    silent.scale[sharing, head] = 0
    difference("scale 0 - columns removed", answer(silent), without, at_most=1e-5)
    difference("scale 0 - neutral", answer(silent), own, above=0)
    maps = {
        name: record(model, inputs, settings)[layer].weights
        for name, settings in (("neutral", neutral), ("silent", silent), ("sharp", sharp))
    }
    if sharing == [layer]:
        difference("own layer's weights under scale", maps["silent"], maps["neutral"], at_most=0)
    difference("own layer's weights under temperature", maps["sharp"], maps["neutral"], above=0)
    with contextlib.suppress(_Interrupted), applied(model, silent):
        raise _Interrupted
    difference("afterwards - before", answer(), own, at_most=0)
    return report


class _Interrupted(Exception):
    """Raised by self_check inside its own block."""


def _arbitrary_batch(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two rows of arbitrary tokens, one padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, model.config.vocab_size, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = model.config.pad_token_id or 0, 0
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
