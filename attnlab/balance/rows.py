"""The rows of attention in a batch of texts, and what they measure.

B texts, T tokens, H heads, and V = 4 variants: all tokens or those of the text alone, by weights or
by contributions.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.balance.divergence import jensen_shannon
from attnlab.balance.reading import VARIANTS
from attnlab.heads import LayerRecord

MARKS = ("cls", "sep", "punctuation")
OFFSETS = {"self": 0, "previous": -1, "next": 1}  # of the key from the query
WHERE = ("cls", "sep", "self", "previous", "next", "punctuation", "before", "after")


class BatchRows:
    """The texts of a batch, and what their attention measures.

    Parameters
    ----------
    ids : (B, T)
    lengths : (B,), tokens of each text
    special, cls, sep, punctuation : (B, T), bool, which tokens are what
    """

    def __init__(
        self,
        ids: Tensor,
        lengths: Tensor,
        special: Tensor,
        cls: Tensor,
        sep: Tensor,
        punctuation: Tensor,
    ):
        position = torch.arange(ids.shape[1], device=ids.device)
        real = position < lengths[:, None]
        word = real & ~special
        self.visible = torch.stack([real, real, word, word], 1).float()  # (B, V, T)
        self.keys = self.visible.sum(-1)  # (B, V)
        marked = torch.stack([cls, sep, punctuation], -1)
        self.marked = marked * real[..., None].float()  # (B, T, marks)
        self.step = position - position[:, None]  # (T, T), key minus query
        self.distance = self.step.abs().float()
        self._buffers: dict[str, Tensor] = {}  # that all layers share: new memory is slow

    def where(self, weights: list[Tensor]) -> Tensor:
        """Shares of each text's weight that fall where: (B, L, H, kinds), from L (B, H, T, T)."""
        kinds = torch.where(self.step < 0, WHERE.index("before"), WHERE.index("after"))
        kinds = kinds.expand(len(self.keys), -1, -1)
        for name in ("punctuation", "next", "previous", "sep", "cls", "self"):  # the last one wins
            mark = self.marked[:, None, :, MARKS.index(name)] > 0 if name in MARKS else None
            here = self.step == OFFSETS[name] if mark is None else mark
            kinds = kinds.masked_fill(here, WHERE.index(name))
        one_hot = nn.functional.one_hot(kinds, len(WHERE)) * self.visible[:, 0, :, None, None]
        shares = [layer.float().flatten(2) @ one_hot.flatten(1, 2) for layer in weights]
        return torch.stack(shares, 1) / self.keys[:, :1, None, None]

    def measured(self, record: LayerRecord, other: LayerRecord | None) -> dict[str, Tensor]:
        """Each measure of a layer's heads on each text: name to (B, V, H), NaN where undefined.

        With w the weights of a row, and k which keys are visible, times the norms for
        contributions, the row is x = w k. All sums over keys of x, of x log x and of x × distance
        are products of the matrices w, w log w and w × distance with k and k log k, so that four
        variants cost little more than one.
        """
        weights, norms = record.weights.float(), record.norms.float()
        keys = self.visible[:, None].repeat(1, weights.shape[1], 1, 1)  # (B, H, V, T)
        keys[:, :, 1::2] *= norms[:, :, None]
        total = keys @ weights.mT  # (B, H, V, T)
        row = self.visible[:, None] * (total > 0)  # queries that count
        queries = row.sum(-1)  # (B, H, V)
        total *= row
        share = row / total.clamp_min(1e-30)
        entropy = self._entropy(weights, keys, total, row, share)
        received = (share @ weights).mul_(keys)  # (B, H, V, T)
        fallen = received @ self.marked[:, None]  # (B, H, V, marks)
        turned = weights.permute(3, 0, 1, 2)  # keys first: to run over them is much faster
        turned = self._buffer("turned", turned).copy_(turned)  # (T, B, H, T)
        far = torch.mul(weights, self.distance, out=self._buffer("logs", weights))
        sums = {  # over queries, (B, H, V): all that follow are 0 for those that do not count
            "entropy": entropy.sum(-1) / self.keys[:, None].log(),
            "keys": entropy.exp().sum(-1) - (row.shape[-1] - queries),
            "largest": (self._largest(turned, norms) * share).sum(-1),
            "distance": (keys @ far.mT).mul_(share).sum(-1),
            "js_uniform": self._from_uniform(turned, share, entropy).sum(-1),
        }
        sums |= dict(zip(MARKS, fallen.unbind(-1), strict=True))
        if other is not None:
            sums["js_before"] = (self._between(weights, other.weights.float()) * row).sum(-1)
        measured = {name: (summed / queries).transpose(1, 2) for name, summed in sums.items()}
        # a head that adds nothing has no rows of contributions, and this is how much it adds
        measured["contribution"] = (total.sum(-1) / self.keys[:, None]).transpose(1, 2)
        measured["contribution"][:, ::2] = torch.nan  # of weights it is 1
        for name in ("cls", "sep"):
            measured[name][:, 2:] = torch.nan  # the text has none
        measured["gini"] = self._gini(received)
        for name, offset in OFFSETS.items():
            measured[name] = self._beside(weights, keys, share, row, offset)
        return measured

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """Memory of this shape, whose content is lost when the name is asked for again."""
        if name not in self._buffers or self._buffers[name].shape != like.shape:
            self._buffers[name] = torch.empty(like.shape, device=like.device, dtype=like.dtype)
        return self._buffers[name]

    def _entropy(
        self, weights: Tensor, keys: Tensor, total: Tensor, row: Tensor, share: Tensor
    ) -> Tensor:
        """Entropy of each row, nats, (B, H, V, T); 0 for rows that do not count."""
        logs = torch.clamp_min(weights, 1e-30, out=self._buffer("logs", weights))
        logs.log_().mul_(weights)
        spread = keys @ logs.mT + (keys * keys.clamp_min(1e-30).log()) @ weights.mT
        return (total.clamp_min(1e-30).log() * row - spread * share).clamp_min(0)

    def _over_keys(self, number: int) -> Tensor:
        """Which keys are visible in a variant, beside (T, B, H, T) with keys first."""
        return self.visible[:, number].T[:, :, None, None]

    def _largest(self, turned: Tensor, norms: Tensor) -> Tensor:
        """The largest of each row before it is divided, (B, H, V, T)."""
        buffer, words = self._buffer("middle", turned), self._over_keys(2)
        added = torch.mul(turned, norms.permute(2, 0, 1)[..., None], out=buffer)
        largest = [turned.amax(0), added.amax(0), added.mul_(words).amax(0)]
        largest.insert(2, torch.mul(turned, words, out=buffer).amax(0))
        return torch.stack(largest, 2)

    def _gini(self, received: Tensor) -> Tensor:
        """Gini of what visible tokens receive, from (B, H, V, T), times n / (n - 1): (B, V, H)."""
        width, n = received.shape[-1], self.keys[:, None]  # (B, 1, V)
        ordered = _sorted(received)  # invisible ones are 0 and come first
        rank = torch.arange(1, width + 1, device=received.device).to(received)
        gini = 2 * (ordered @ rank) / ordered.sum(-1) - 2 * (width - n) - n - 1
        return (gini / (n - 1)).where(n > 1, torch.nan).transpose(1, 2)

    def _from_uniform(self, turned: Tensor, share: Tensor, entropy: Tensor) -> Tensor:
        """Divergence of each row from the uniform one, bits, (B, H, V, T); of weights only."""
        found = torch.full_like(entropy, torch.nan)
        middle, logs = self._buffer("middle", turned), self._buffer("middle logs", turned)
        for number in range(0, len(VARIANTS), 2):
            visible, keys = self._over_keys(number), self.keys[:, None, None, number]
            even = visible / (2 * keys) + 1e-30
            if number:
                torch.mul(turned, share[:, :, number] / 2, out=middle).mul_(visible).add_(even)
            else:  # rows of all tokens sum to 1
                torch.add(even, turned, alpha=0.5, out=middle)
            middles = -torch.log(middle, out=logs).mul_(middle).sum(0)
            between = middles - entropy[:, :, number] / 2 - keys.log() / 2
            seen = share[:, :, number] > 0
            found[:, :, number] = (between / math.log(2)).clamp(0, 1) * seen
        return found

    def _between(self, weights: Tensor, other: Tensor) -> Tensor:
        """Divergence of rows from another model's, bits, (B, H, V, T); of weights only."""
        found = weights.new_full((*weights.shape[:2], len(VARIANTS), weights.shape[2]), torch.nan)
        for number in range(0, len(VARIANTS), 2):
            visible = self.visible[:, None, None, number]
            rows = [each * visible for each in (weights, other)]
            shares = [each / each.sum(-1, keepdim=True).clamp_min(1e-30) for each in rows]
            found[:, :, number] = jensen_shannon(*shares)
        return found

    def _beside(
        self, weights: Tensor, keys: Tensor, share: Tensor, row: Tensor, offset: int
    ) -> Tensor:
        """Share of the token at an offset, mean over queries that have one there, (B, V, H)."""
        before, after = max(0, -offset), max(0, offset)
        width = weights.shape[-1]
        queries, looked_at = slice(before, width - after), slice(after, width - before)
        weight = weights.diagonal(offset, -2, -1)[:, :, None]
        part = weight * keys[..., looked_at] * share[..., queries]
        there = row[..., queries] * self.visible[:, None, :, looked_at]
        return (part.sum(-1) / there.sum(-1)).transpose(1, 2)


def _sorted(rows: Tensor) -> Tensor:
    """Rows in ascending order; NumPy sorts short ones eight times as fast as torch."""
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=-1))
    return rows.sort(-1).values
