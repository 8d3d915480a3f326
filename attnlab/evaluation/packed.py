"""Hidden states of several texts, one text behind the other, so that no product meets padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from attnlab.classification.encoding import batches

__all__ = ["Group", "Packed"]


@dataclass(frozen=True)
class Group:
    """Texts of like length, which attend together.

    Attributes
    ----------
    texts : int array (b,), which of the texts that are packed
    rows : (b, T), where each of their tokens stands; at padding the text's first
    mask : bool (b, 1, 1, T), where tokens are; None without padding
    whole : whether these are all texts as they stand, without padding
    """

    texts: np.ndarray
    rows: Tensor
    mask: Tensor | None
    whole: bool

    def read(self, tokens: Tensor) -> Tensor:
        """Return what belongs to their tokens, (b, T, ...), of all of them, (N, ...)."""
        return tokens.unflatten(0, self.rows.shape) if self.whole else tokens[self.rows]

    def write(self, padded: Tensor, target: Tensor) -> None:
        """Write what belongs to their tokens, (b, T, ...), to its rows (N, ...)."""
        if self.mask is None:
            target[self.rows] = padded
        else:
            real = self.mask[:, 0, 0]
            target[self.rows[real]] = padded[real]


@dataclass(frozen=True)
class Packed:
    """Hidden states of B texts with N tokens together.

    Attributes
    ----------
    hidden : (N, E), the tokens of the first text, then those of the second, and so on
    lengths : int array (B,), tokens of each text
    """

    hidden: Tensor
    lengths: np.ndarray

    @classmethod
    def of(cls, hidden: Sequence[Tensor], lengths: np.ndarray, order: np.ndarray) -> "Packed":
        """Pack batches of padded hidden states, (b, T, E) each.

        Parameters
        ----------
        hidden : the batches; together they hold all texts
        lengths : (B,)
        order : which text each row is, through all batches, (B,)
        """
        rows: list[Tensor] = [torch.empty(0)] * len(order)
        padded = (row for batch in hidden for row in batch)
        for text, row in zip(order.tolist(), padded, strict=True):
            rows[text] = row[: int(lengths[text])]
        return cls(torch.cat(rows), lengths)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each text begins, int array (B,)."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def groups(self) -> list[Group]:
        """All texts, in groups of like length."""
        found = []
        for texts in batches(self.lengths):
            lengths = self.lengths[texts][:, None]
            along = np.arange(lengths.max(initial=0))
            real = along < lengths
            rows = torch.from_numpy(self.starts[texts][:, None] + along * real)
            mask = None if real.all() else torch.from_numpy(real)[:, None, None]
            whole = mask is None and np.array_equal(texts, np.arange(len(self.lengths)))
            device = self.hidden.device
            mask = mask if mask is None else mask.to(device)
            found.append(Group(texts, rows.to(device), mask, whole))
        return found

    def in_groups(
        self, tokens: Tensor, compute: Callable[[Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        """Compute group by group, and put the results together.

        Parameters
        ----------
        tokens : (N, ...), something about each token
        compute : from that of a group, (b, T, ...), and its mask to (b, T, ...)

        Returns
        -------
        Tensor (N, ...)
        """
        result: Tensor | None = None
        for group in self.groups:
            found = compute(group.read(tokens), group.mask)
            if group.whole:
                return found.flatten(0, 1)
            if result is None:
                result = found.new_empty(len(tokens), *found.shape[2:])
            group.write(found, result)
        assert result is not None, "there is no group without texts"
        return result

    def with_hidden(self, hidden: Tensor) -> "Packed":
        """Return the same texts with other hidden states, (N, E)."""
        after = Packed(hidden, self.lengths)
        after.__dict__.update(starts=self.starts, groups=self.groups)
        return after

    def kept(self, staying: np.ndarray) -> "Packed":
        """Return some of the texts, bool (B,)."""
        if staying.all():
            return self
        rows = torch.from_numpy(np.repeat(staying, self.lengths)).to(self.hidden.device)
        return Packed(self.hidden[rows], self.lengths[staying])

    def pooled(self, pooling: str) -> Tensor:
        """Return one vector for each text, (B, E): "cls", or the "mean" of its tokens."""
        device = self.hidden.device
        if pooling == "cls":
            return self.hidden[torch.from_numpy(self.starts).to(device)]
        lengths = torch.from_numpy(self.lengths).to(device)
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
        sums = self.hidden.new_zeros(len(lengths), self.hidden.shape[1])
        return sums.index_add_(0, owner, self.hidden) / lengths[:, None]


def __dir__() -> list[str]:
    return sorted(__all__)
