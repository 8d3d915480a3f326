"""Which tokens of each text go on, and how two become one: texts packed one behind the other."""

import numpy as np
import torch
from torch import Tensor

from attnlab.errors import SettingsError

__all__ = ["counts_of", "merged", "most_important"]


def counts_of(lengths: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Return how many tokens of each text stay: a share of them, rounded up, int array (B,).

    >>> counts_of(np.array([10, 3]), 0.5).tolist()
    [5, 2]
    """
    return np.ceil(np.round(lengths * share, 6)).astype(int)


def most_important(
    importance: Tensor, lengths: np.ndarray, counts: np.ndarray, always: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Choose the most important tokens of each text; they stay in their order.

    Parameters
    ----------
    importance : (N,), of the tokens of all texts, one text behind the other; where two are equal
        the earlier goes first
    lengths : int array (B,), tokens of each text
    counts : int array (B,), how many of each may stay
    always : bool (N,), tokens that stay in any case, such as [CLS] and [SEP]; they count

    Returns
    -------
    rows : int Tensor (M,), which of the N tokens stay, in their order
    lengths : int array (B,), how many of each text

    Examples
    --------
    >>> importance = torch.tensor([0.0, 3.0, 1.0, 0.0, 5.0, 4.0])  # a text of four, one of two
    >>> cls = torch.tensor([True, False, False, False, True, False])
    >>> rows, left = most_important(importance, np.array([4, 2]), np.array([2, 1]), cls)
    >>> rows.tolist(), left.tolist()
    ([0, 1, 4], [2, 1])
    """
    _check(len(importance), lengths)
    owner = _owner(lengths, importance.device)
    fixed = torch.zeros(len(lengths), dtype=torch.long, device=owner.device)
    fixed.index_add_(0, owner, always.long())
    allowed = torch.from_numpy(np.asarray(counts)).to(owner.device).maximum(fixed)
    order = importance.masked_fill(always, torch.inf).argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]  # text by text, the most important first
    staying = _place(lengths, owner) < allowed[owner]
    return order[staying].sort().values, np.minimum(allowed.cpu().numpy(), lengths)


def merged(
    hidden: Tensor, lengths: np.ndarray, counts: np.ndarray, always: Tensor, sizes: Tensor
) -> tuple[Tensor, np.ndarray, Tensor, Tensor]:
    """Merge the tokens of each text that are most alike, until so many are left.

    Every other token looks for the token most like it (by cosine) among the rest of its text; the
    pairs most alike become one token each, the mean of all tokens in it. At most half of a text can
    go at once, and tokens that always stay are not merged.

    Parameters
    ----------
    hidden : (N, E), tokens of all texts, one text behind the other
    lengths, counts, always : as for `most_important`
    sizes : (N,), of how many tokens each is the mean

    Returns
    -------
    hidden : (M, E)
    lengths : int array (B,)
    rows : (M,), which of the N tokens each one stands at
    sizes : (M,)

    Source: the bipartite matching of Bolya et al. 2023, "Token merging", section 3, on hidden
    states instead of keys.
    """
    _check(len(hidden), lengths)
    owner = _owner(lengths, hidden.device)
    place = _place(lengths, owner)
    free = ~always
    leaving = free & (place % 2 == 1)  # tokens that may go into one of the others
    target = free & (place % 2 == 0)
    best, partner = _most_alike(hidden, owner, leaving, target)
    wanted = torch.from_numpy(lengths - np.minimum(counts, lengths)).to(owner.device)
    order = best.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    going = torch.zeros_like(leaving)
    going[order] = _place(lengths, owner) < wanted[owner]
    going &= best > -torch.inf
    sums = hidden * sizes[:, None]
    sums = sums.index_add(0, partner[going], sums[going])
    total = sizes.index_add(0, partner[going], sizes[going])
    rows = (~going).nonzero()[:, 0]
    left = torch.bincount(owner[rows], minlength=len(lengths)).cpu().numpy()
    return (sums / total[:, None])[rows], left, rows, total[rows]


def _most_alike(
    hidden: Tensor, owner: Tensor, leaving: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """For each token that may leave, cosine and row of its partner; minus infinity for others."""
    best = hidden.new_full((len(hidden),), -torch.inf)
    partner = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
    direction = torch.nn.functional.normalize(hidden, dim=-1)
    for text in range(int(owner[-1]) + 1 if len(owner) else 0):
        mine = owner == text
        sources, targets = (mine & leaving).nonzero()[:, 0], (mine & target).nonzero()[:, 0]
        if len(sources) and len(targets):
            alike = direction[sources] @ direction[targets].T
            best[sources], index = alike.max(-1)
            partner[sources] = targets[index]
    return best, partner


def _owner(lengths: np.ndarray, device: torch.device) -> Tensor:
    """Which text each token belongs to, (N,)."""
    return torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(device)


def _place(lengths: np.ndarray, owner: Tensor) -> Tensor:
    """Where each token stands in its text, (N,)."""
    starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(owner.device)
    return torch.arange(len(owner), device=owner.device) - starts[owner]


def _check(tokens: int, lengths: np.ndarray) -> None:
    if tokens != int(np.sum(lengths)):
        raise SettingsError(
            f"The texts have {int(np.sum(lengths))} tokens together, and {tokens} are given. "
            "Give all tokens, one text behind the other, without padding."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
