"""What the decoder keeps between steps: the encoded source and the key-value caches."""

from dataclasses import dataclass, replace

from torch import Tensor

from attnlab.heads.settings import HeadSettings, Seq2SeqSettings

Seen = list[tuple[Tensor, Tensor]]  # for each layer weights (B, H, T_q, T_k), values (B, H, T_k, D)


@dataclass
class KVCache:
    """Keys and values of the tokens that a decoder layer has read so far, with room for more.

    Attributes
    ----------
    keys, values : Tensor, shape (B, H, room, D), of which the first ``length`` positions are filled
    """

    keys: Tensor | None = None
    values: Tensor | None = None
    length: int = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens; returns all, shape (B, H, T, D)."""
        start, end = self.length, self.length + keys.shape[2]
        if self.keys is None or self.values is None or end > self.keys.shape[2]:
            # twice the room: copying everything at every step would cost more than attention does
            self.keys = self._grown(self.keys, keys, end)
            self.values = self._grown(self.values, values, end)
        self.keys[:, :, start:end], self.values[:, :, start:end] = keys, values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grown(self, old: Tensor | None, new: Tensor, end: int) -> Tensor:
        batch, heads, _, width = new.shape
        room = new.new_empty(batch, heads, max(16, 2 * end), width)
        if old is not None:
            room[:, :, : self.length] = old[:, :, : self.length]
        return room

    def select(self, rows: Tensor) -> "KVCache":
        """Those of these rows of the batch."""
        if self.keys is None or self.values is None:
            return KVCache()
        return KVCache(self.keys[rows], self.values[rows], self.length)


@dataclass
class Memory:
    """What the decoder knows: the encoded source, and in `caches` what it has read so far.

    Attributes
    ----------
    states : Tensor, shape (B, S, E), what the encoder made of the source
    mask : Tensor of bool, shape (B, 1, S), False at padding
    keys_values : for each decoder layer keys and values of the source, shape (B, H, S, D)
    settings : of all rows, or one for each; None for neutral ones
    caches : for each decoder layer keys and values of what it has read; None without a cache
    length : how many tokens the caches hold
    seen : weights and values of the encoder, for maps; None unless asked for
    """

    states: Tensor
    mask: Tensor
    keys_values: list[tuple[Tensor, Tensor]]
    settings: Seq2SeqSettings | None = None
    caches: list[KVCache] | None = None
    length: int = 0
    seen: Seen | None = None

    def with_cache(self) -> "Memory":
        """The same with an empty key-value cache for each decoder layer."""
        return replace(
            self,
            # laid out as attention reads them, step after step
            keys_values=[
                (keys.contiguous(), values.contiguous()) for keys, values in self.keys_values
            ],
            caches=[KVCache() for _ in self.keys_values],
            length=0,
        )

    def reorder(self, rows: Tensor) -> "Memory":
        """Give each row the cache of another row that has the same source."""
        caches = None if self.caches is None else [cache.select(rows) for cache in self.caches]
        return replace(self, caches=caches)

    def select(self, rows: Tensor) -> "Memory":
        """What is known about these rows of the batch, in this order; a row may come repeatedly."""
        return replace(
            self.reorder(rows),
            states=self.states[rows],
            mask=self.mask[rows],
            keys_values=[(keys[rows], values[rows]) for keys, values in self.keys_values],
            settings=None if self.settings is None else _settings_of(self.settings, rows),
            seen=None,
        )


def _settings_of(settings: Seq2SeqSettings, rows: Tensor) -> Seq2SeqSettings:
    """The settings of some rows; of each kind there is one for all rows, or one for each."""
    return Seq2SeqSettings(
        *(
            HeadSettings.of(kind.scale[rows], kind.temperature[rows])
            if kind.scale.dim() == 3
            else kind
            for kind in settings
        )
    )
