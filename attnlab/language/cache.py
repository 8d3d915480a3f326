"""What a language model keeps of the tokens it has read: their keys and values, layer by layer.

In comments B is batch, T new tokens, S slots of the cache, K heads of keys and values, D head
width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import TensorError

__all__ = ["LanguageCache", "positions_of", "visible"]

_LEAST_ROOM = 16


def visible(queries: Tensor, keys: Tensor, window: int | None = None, sinks: int = 0) -> Tensor:
    """Which tokens may each token look at, by their positions?

    Parameters
    ----------
    queries : Tensor of int, shape (B, T), positions counted from 0; -1 at padding
    keys : Tensor of int, shape (B, S), likewise; -1 where there is none
    window : a token sees itself and so many less one before it; None for all
    sinks : the first tokens of a text, which are seen from everywhere. Source: Xiao et al. 2024,
        "Efficient streaming language models with attention sinks".

    Returns
    -------
    mask : Tensor of bool, shape (B, T, S)
    """
    distance = queries[:, :, None] - keys[:, None]  # (B, T, S)
    allowed = (distance >= 0) & (keys >= 0)[:, None]
    if window is not None:
        allowed &= (distance < window) | (keys < sinks)[:, None]
    return allowed


class LanguageCache:
    """Keys and values of earlier tokens, so that a step costs one token and not the whole text.

    Each token has a slot: that of its position or, with a window, one of a ring of ``window`` slots
    where it takes the place of a token that nobody sees any more, behind ``sinks`` slots that are
    never given away. Padding has none. So memory grows with the text, or stops at the window.

    Attributes
    ----------
    keys, values : list over layers of Tensor, shape (B, K, S + 1, D); the last slot is a waste bin
    positions : Tensor of int, shape (B, S + 1), whose token is in each slot; -1 for none
    lengths : Tensor of int, shape (B,), how many tokens of each text have been read
    """

    def __init__(
        self,
        kv_heads: Sequence[int],
        head_width: int,
        batch: int = 1,
        *,
        window: int | None = None,
        sinks: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.window, self.sinks = window, sinks
        room = _LEAST_ROOM if window is None else window + sinks
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.positions = torch.full((batch, room + 1), -1, device=device)
        self.keys = [
            torch.zeros(batch, heads, room + 1, head_width, device=device, dtype=dtype)
            for heads in kv_heads
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self._used = 0  # slots up to the last that holds a token, in any row
        self._padded = False  # whether any text was ever shorter than the others

    @property
    def batch(self) -> int:
        """Number of texts, B."""
        return len(self.lengths)

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values that are kept, without room for more."""
        return sum(
            part[:, :, : self._used].numel() * part.element_size()
            for part in (*self.keys, *self.values)
        )

    def begin(self, tokens: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Make room for new tokens of every text.

        Parameters
        ----------
        tokens : how many, T
        mask : Tensor of bool, shape (B, T), False at padding

        Returns
        -------
        queries : Tensor of int, shape (B, T), positions of the new tokens; -1 at padding
        keys : Tensor of int, shape (B, S'), positions of what `extend` will return
        """
        queries = _count(self.lengths, tokens, mask)
        self._padded |= mask is not None
        self._after = torch.maximum(self.lengths, queries.amax(1) + 1)
        longest = int(self._after.max())
        if self.window is None and longest >= self.positions.shape[1]:
            self._grow(2 * longest)
        slots = queries
        if self.window is not None:
            in_ring = self.sinks + (queries - self.sinks) % self.window
            slots = torch.where(queries < self.sinks, queries, in_ring)
            old = (queries >= self.sinks) & (queries < (self._after - self.window)[:, None])
            slots = slots.masked_fill(old, -1)  # gone before this step is over
        bin_slot = self.positions.shape[1] - 1
        self._slots = slots.masked_fill((slots < 0) | (queries < 0), bin_slot)
        self._used = min(longest, bin_slot)
        # one new token pushes out one that it does not see: it can be written before it looks
        self._in_place = self.window is None or tokens == 1
        before = self.positions[:, :bin_slot]
        self.positions = self.positions.scatter(1, self._slots, queries)
        self.positions[:, bin_slot] = -1
        if self._in_place:
            return queries, self.positions[:, : self._used]
        return queries, torch.cat([before, queries], 1)

    @property
    def of_one_length(self) -> bool:
        """Whether all texts have the same number of tokens, and none was ever padded."""
        return not self._padded

    @property
    def all_visible(self) -> bool:
        """Whether the new tokens may look at all that `extend` returns, so that no mask is needed.

        One new token of texts of one length may: a window's ring holds nothing older than it sees.
        """
        return self._slots.shape[1] == 1 and not self._padded

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of the new tokens in a layer; returns all that they may look at.

        Parameters
        ----------
        keys, values : Tensor, shape (B, K, T, D)

        Returns
        -------
        keys, values : Tensor, shape (B, K, S', D), of the tokens whose positions `begin` returned
        """
        both = []
        for kept, new in ((self.keys[layer], keys), (self.values[layer], values)):
            index = self._slots[:, None, :, None].expand_as(new)
            if self._in_place:
                kept.scatter_(2, index, new.to(kept.dtype))
                both.append(kept[:, :, : self._used].to(new.dtype))
            else:
                both.append(torch.cat([kept[:, :, :-1].to(new.dtype), new], 2))
                kept.scatter_(2, index, new.to(kept.dtype))
        return both[0], both[1]

    def advance(self) -> int:
        """Make room for one token of every text, and return its slot, the same for all.

        Of texts of one length without a window it does what `begin` and `finish` do, and quicker.
        """
        slot = self._used
        if slot + 1 >= self.positions.shape[1]:
            self._grow(2 * (slot + 1))
        self.positions[:, slot] = slot
        self.lengths = self.lengths + 1
        self._used = slot + 1
        return slot

    def put(self, layer: int, slot: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of a token in this slot, (B, K, 1, D); returns all up to it, (B, K, S, D)."""
        both = []
        for kept, new in ((self.keys[layer], keys), (self.values[layer], values)):
            kept[:, :, slot : slot + 1] = new
            both.append(kept[:, :, : slot + 1])
        return both[0], both[1]

    def finish(self) -> None:
        """Count the new tokens as read; all layers have them."""
        self.lengths = self._after

    def select(self, rows: Tensor) -> "LanguageCache":
        """Return the cache of some texts, in this order; a row may come repeatedly."""
        chosen = object.__new__(LanguageCache)
        chosen.__dict__ |= self.__dict__
        chosen.lengths, chosen.positions = self.lengths[rows], self.positions[rows]
        chosen.keys = [part[rows] for part in self.keys]
        chosen.values = [part[rows] for part in self.values]
        return chosen

    def _grow(self, room: int) -> None:
        """Give every text so many slots; copying everything at every step would cost more."""
        more = room + 1 - self.positions.shape[1]
        pad = torch.nn.functional.pad
        self.positions = pad(self.positions, (0, more), value=-1)
        self.keys = [pad(part, (0, 0, 0, more)) for part in self.keys]
        self.values = [pad(part, (0, 0, 0, more)) for part in self.values]

    def __repr__(self) -> str:
        return f"LanguageCache({self.lengths.tolist()} tokens, {self.bytes:,} bytes)"


def positions_of(ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Position of each token of texts that begin here, shape (B, T); -1 at padding."""
    return _count(ids.new_zeros(len(ids), dtype=torch.long), ids.shape[1], mask)


def _count(before: Tensor, tokens: int, mask: Tensor | None) -> Tensor:
    """Positions of tokens that follow so many others: before (B,) to (B, T), -1 at padding."""
    if mask is None:
        return before[:, None] + torch.arange(tokens, device=before.device)
    shapes.check_bool(mask)
    if tuple(mask.shape) != (len(before), tokens):
        raise TensorError(
            f"The mask has shape {shapes.shown(mask)}, the ids ({len(before)}, {tokens}). Give one "
            "True for every token and one False for every place of padding."
        )
    return (before[:, None] + mask.cumsum(1) - 1).masked_fill(~mask, -1)


def __dir__() -> list[str]:
    return sorted(__all__)
