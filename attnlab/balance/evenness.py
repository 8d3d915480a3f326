"""The meter's overall figure as a function that gradients pass through, for tuning and retraining."""

from typing import Any

import torch
from torch import Tensor

from attnlab import heads
from attnlab.errors import ModelError
from attnlab.heads.control import KEYWORD, HeadControl
from attnlab.heads.settings import HeadSettings

_LEAST = 1e-12


class Listening(HeadControl):
    """What one forward pass does to its heads, and what they did; the pass goes on to its end."""

    def note(self, weights: Tensor, values: Tensor) -> None:
        """Keep what a layer did."""
        self.records.append((weights, values))


def listened(model: Any, batch: dict[str, Tensor], settings: HeadSettings) -> tuple[Any, Tensor]:
    """What a model answers to a batch with these settings, and how even its attention is there.

    Parameters
    ----------
    model : Transformers model whose attention is ours (that of a Classifier is)
    batch : tensors for its forward call, ``attention_mask`` among them
    settings : HeadSettings (L, H); they and the weights may require gradients

    Returns
    -------
    outputs, evenness : what the call returns; and a tensor (), 0 to 1, that is ``overall`` of `balance.measure` on
        these texts

    Raises
    ------
    ModelError : a model with a prefix
    """
    if heads.prefix(model):
        raise ModelError("A model with a prefix looks at keys that are no tokens. Leave balance=0.")
    control = Listening(heads.model_of(model), settings, record=True)
    outputs = model(**batch, **{KEYWORD: control})
    return outputs, _evenness(control, batch["attention_mask"].bool())


def _evenness(control: Listening, real: Tensor) -> Tensor:
    """√(tokens × heads) as in `meter.Balance`, from what a pass has recorded; real tokens are (B, T)."""
    pairs = []
    for layer, (weights, values) in enumerate(control.records):
        kept = control.active_heads[layer]
        if kept:
            project = control.sites[layer].output.weight.unflatten(1, (len(kept), -1))  # (E, h, D)
            scale = control.settings.scale[layer, kept].to(weights.device)
            pairs.append(_of_layer(weights.float(), values.float(), project.float(), scale, real))
    if not pairs:  # every head was removed
        return real.new_zeros((), dtype=torch.float32)
    # what each head adds, as a share of its layer
    shares = [added / added.sum().clamp_min(_LEAST) for _, added in pairs]
    spread = sum((entropy * share).sum() for (entropy, _), share in zip(pairs, shares, strict=True))
    tokens = spread / sum(share.sum() for share in shares).clamp_min(_LEAST)
    speaking = [_entropy(one).exp() * (one.sum() > 0) / len(one) for one in shares]
    return (tokens * sum(speaking) / len(control.records)).clamp_min(_LEAST).sqrt()


def _of_layer(
    weights: Tensor, values: Tensor, project: Tensor, scale: Tensor, real: Tensor
) -> tuple[Tensor, Tensor]:
    """For each head (h,): the normalised entropy of its contributions, and how much it adds."""
    gram = torch.einsum("ehc,ehd->hcd", project, project)
    norms = ((values @ gram) * values).sum(-1).clamp_min(_LEAST).sqrt()  # (B, h, T)
    added = weights * norms[:, :, None]  # (B, h, T, T)
    total = added.sum(-1)
    keys = real.sum(1).float()  # (B,)

    def mean(rows: Tensor) -> Tensor:
        """Over the rows of each text, then over texts, (h,)."""
        return ((rows * real[:, None]).sum(-1) / keys[:, None]).mean(0)

    entropy = _entropy(added / total.clamp_min(_LEAST)[..., None]) / keys.log()[:, None, None]
    return mean(entropy), mean(total) * scale


def _entropy(shares: Tensor) -> Tensor:
    """Entropy over the last axis, nats; a share of 0 adds 0."""
    return -(shares * shares.clamp_min(1e-30).log()).sum(-1)
