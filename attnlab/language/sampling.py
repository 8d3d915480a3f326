"""From logits to the next token: temperature, top-k, top-p and min-p, and the draw.

>>> logits = torch.tensor([4.0, 3.0, 1.0, 0.0]).log()  # probabilities 1/2, 3/8, 1/8 and 0
>>> adjust(logits, top_k=2)
tensor([0.5714, 0.4286, 0.0000, 0.0000])
>>> adjust(logits, temperature=0)
tensor([1., 0., 0., 0.])
"""

import math
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import pad

from attnlab.attention import shapes
from attnlab.errors import AttnlabError, TensorError, option

__all__ = ["Pieces", "adjust", "candidates", "check_sampling", "draw"]


def adjust(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Turn logits into the probabilities that the next token is drawn with.

    In this order, each step on what the one before left: the temperature divides the logits; top-k,
    then top-p, then min-p set unlikely tokens to 0, and what is left sums to 1 again.

    Parameters
    ----------
    logits : Tensor, shape (..., V); -inf for a token that must not come
    temperature : below 1 what is likely gets likelier, above 1 the choice is more even; 0 is
        greedy: all probability on the likeliest token, of several on the first
    top_k : keep this many likeliest tokens, and those as likely as the last of them
    top_p : keep the fewest likeliest tokens that together have at least this probability, above 0
        and at most 1 (nucleus sampling); of equally likely ones the first
    min_p : keep tokens at least this share, from 0 to 1, as likely as the likeliest

    Returns
    -------
    probabilities : Tensor, shape (..., V), of the type of the logits, float32 at least

    Raises
    ------
    AttnlabError : an option outside its range
    TensorError : logits that are NaN or +inf, or of which a row allows no token

    Source: Fan et al. 2018 (top-k); Holtzman et al. 2020 (top-p); Nguyen et al. 2024 (min-p).
    """
    check_sampling(temperature, top_k, top_p, min_p)
    logits = _checked(logits)
    logits = logits - logits.amax(-1, keepdim=True)  # no quotient overflows
    if temperature < torch.finfo(logits.dtype).tiny:  # 0, or as good as 0 in this format
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    probabilities = (logits / temperature).softmax(-1)
    if top_k is not None:
        probabilities = _only(probabilities, _among_top_k(probabilities, top_k))
    if top_p is not None and top_p < 1:  # 1 keeps all, which rounded sums might miss
        probabilities = _only(probabilities, _among_top_p(probabilities, top_p))
    if min_p is not None:
        probabilities = _only(probabilities, _above_min_p(probabilities, min_p))
    return probabilities


def _among_top_k(probabilities: Tensor, top_k: int) -> Tensor:
    """Where a token is at least as likely as the k-th, (..., V)."""
    best = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1).values
    return probabilities >= best[..., -1:]


def _among_top_p(probabilities: Tensor, top_p: float) -> Tensor:
    """Where the likelier tokens together fall short of p, (..., V)."""
    ranked, ids = probabilities.sort(stable=True, dim=-1, descending=True)
    likelier = pad(ranked.cumsum(-1)[..., :-1], (1, 0))  # what those before it have together
    return torch.zeros_like(ids, dtype=torch.bool).scatter(-1, ids, likelier < top_p)


def _above_min_p(probabilities: Tensor, min_p: float) -> Tensor:
    """Where a token is likely enough beside the likeliest, (..., V)."""
    return probabilities >= min_p * probabilities.amax(-1, keepdim=True)


def _only(probabilities: Tensor, kept: Tensor) -> Tensor:
    """0 where not kept, and the rest in proportion, so that each row sums to 1 again."""
    probabilities = probabilities.where(kept, 0.0)
    return probabilities / probabilities.sum(-1, keepdim=True)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw tokens: that at which the running sum of the probabilities first exceeds a number.

    Parameters
    ----------
    probabilities : Tensor, shape (..., V)
    uniform : Tensor, shape (...), of numbers at least 0 and below 1, one for each draw

    Returns
    -------
    ids : Tensor of int64, shape (...), on the device of the probabilities. A token of probability
        0 is never drawn.
    """
    sums = probabilities.cpu().double().cumsum(-1)  # not every device has double precision
    reached = uniform.cpu().double()[..., None] * sums[..., -1:]
    return torch.searchsorted(sums, reached, right=True).squeeze(-1).to(probabilities.device)


class Pieces(Protocol):
    """What shows ids as readable pieces of text."""

    def pieces(self, ids: list[int]) -> list[str]:
        """One piece for each id."""
        ...


def candidates(
    logits: Tensor,
    tokens: Pieces,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    rows: int = 10,
) -> pd.DataFrame:
    """The likeliest next tokens, before and after `adjust`.

    Parameters
    ----------
    logits : Tensor, shape (V,), of the next token
    tokens : the vocabulary, which shows ids as pieces
    temperature, top_k, top_p, min_p : see `adjust`
    rows : of the table, at most

    Returns
    -------
    DataFrame, likeliest first: ``id``, ``piece``, ``before`` (probability by the model alone),
    ``after`` (probability it is drawn with)
    """
    if logits.dim() != 1:
        raise TensorError(
            f"logits has shape {shapes.shown(logits)}; a table shows one next token, (V,). Take "
            "one text and its last position: logits[0, -1]."
        )
    shapes.check_count("rows", rows, 1)
    before, after = adjust(logits), adjust(logits, temperature, top_k, top_p, min_p)
    ids = before.argsort(stable=True, descending=True)[:rows]
    return pd.DataFrame(
        {
            "id": ids.tolist(),
            "piece": tokens.pieces(ids.tolist()),
            "before": before[ids].tolist(),
            "after": after[ids].tolist(),
        }
    )


def check_sampling(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    """Raise AttnlabError for an option of `adjust` outside its range."""
    if not _is_number(temperature, 0, torch.finfo(torch.float32).max):
        raise AttnlabError(
            f"temperature is {temperature!r}; it divides the logits, so it is a positive number, "
            "or 0 for the likeliest token at every step (greedy)."
        )
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise AttnlabError(
            f"top_k is {top_k!r}; so many tokens are kept: a whole number, at least 1. To keep "
            f"all, leave {option('top_k')} out."
        )
    if top_p is not None and (not _is_number(top_p, 0, 1) or top_p == 0):
        raise AttnlabError(
            f"top_p is {top_p!r}; it is the probability that the kept tokens have together, above "
            f"0 and at most 1. For the likeliest token alone set {option('temperature', 0)}."
        )
    if min_p is not None and not _is_number(min_p, 0, 1):
        raise AttnlabError(
            f"min_p is {min_p!r}; it is a share of the likeliest token's probability, from 0 to 1."
        )


def _is_number(given: Any, least: float, most: float) -> bool:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return number and least <= given <= most  # NaN is not


def _checked(logits: Tensor) -> Tensor:
    """The logits in float32 at least; TensorError where a row gives no probabilities."""
    shapes.check_float("logits", logits)
    if not logits.dim() or not logits.shape[-1]:
        raise TensorError(
            f"logits has shape {shapes.shown(logits)}; expected (..., V), a number for each token "
            "of the vocabulary."
        )
    wrong = logits.isnan() | (logits == math.inf)
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        raise TensorError(
            f"logits is {logits[where].item()} at {where}. Logits are finite, or -inf for a token "
            "that must not come: look for NaN in the weights, or compute in float32."
        )
    if (logits == -math.inf).all(-1).any():
        raise TensorError("All logits of a row are -inf: no token is allowed. Leave one finite.")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def __dir__() -> list[str]:
    return sorted(__all__)
