"""What says which tokens matter: attention, lengths of hidden states, places, chance."""

import zlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.errors import SettingsError, suggest

__all__ = ["GUIDES", "Guide", "attention_of", "by_chance", "check_guide"]

Guide = Literal["cls", "received", "norm", "first", "random"]
GUIDES: tuple[str, ...] = get_args(Guide)
Read = Callable[[Tensor, Tensor | None], Tensor]


def check_guide(by: str) -> None:
    """Raise SettingsError for a guide that there is not."""
    if by not in GUIDES:
        raise SettingsError(
            f"There is no guide {by!r} to the tokens that matter. {suggest(by, GUIDES)}"
        )


def attention_of(clf: Classifier, layer: int, received: bool = False) -> Read:
    """Return what reads a layer's attention off the hidden states before it.

    Parameters
    ----------
    clf : Classifier of texts
    layer : counted from 0
    received : from all tokens instead of from [CLS] alone

    Returns
    -------
    from hidden states (B, T, E) and where tokens are, bool (B, 1, 1, T) or None for all, to the
    weight that each token gets, (B, T): a mean over heads, and over the tokens that look

    Source: Goyal et al. 2020 (PoWER-BERT), section 3.2, who sum over all tokens that look.
    """
    site: Any = heads.sites(heads.model_of(clf))[layer]
    width = heads.model_of(clf).config.hidden_size
    ask = getattr(site.module, site.query)
    # [CLS] asks alone: q · (W h) = (Wᵀ q) · h spares the keys of all tokens; their bias adds the
    # same to all scores of a head, and softmax does not see it
    key_weight = heads.effective_weight(getattr(site.module, site.key), width)
    per_head = key_weight.unflatten(0, (-1, site.head_width)).to(clf.device)  # (h, D, E)

    def read(hidden: Tensor, mask: Tensor | None) -> Tensor:
        asking = hidden if received else hidden[:, :1]
        query = ask(asking).float().unflatten(-1, (-1, site.head_width))  # (B, Q, h, D)
        toward = torch.einsum("bqhd,hde->bhqe", query, per_head) * site.head_width**-0.5
        scores = toward @ hidden.float().transpose(1, 2)[:, None]  # (B, h, Q, T)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1).mean(1)  # (B, Q, T)
        if received and mask is not None:
            weights = weights * mask[:, 0, 0, :, None]
        return weights.mean(1)

    return read


def by_chance(ids: np.ndarray, lengths: np.ndarray, seed: int) -> Tensor:
    """Return a random number for each token, (N,): the same for a text in whatever company.

    Parameters
    ----------
    ids : int array (N,), token ids of all texts, one text behind the other
    lengths : int array (B,)
    seed : another seed, other numbers
    """
    parts = [
        np.random.default_rng((seed, zlib.crc32(text.tobytes()))).random(len(text))
        for text in np.split(ids.astype(np.int64), np.cumsum(lengths)[:-1])
    ]
    return torch.from_numpy(np.concatenate(parts)).float()


def __dir__() -> list[str]:
    return sorted(__all__)
