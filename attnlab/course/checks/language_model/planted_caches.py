"""A tiny language model and caches for it, right ones and faulty ones, for ``find_faulty``.

In comments B is batch, n the tokens of a read, N those read so far, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import Draw

__all__ = ["FAULTS", "Cache", "Run", "Tiny", "World", "world"]

WORDS, WIDTH, LONGEST = 9, 8, 200  # tokens that can be read
FAULTS = (
    "positions begin anew",
    "rows stay",
    "values of rows stay",
    "the last row stays",
    "window too short",
    "window too long",
    "no mask among new tokens",
)


class Tiny:
    """One layer of attention with RoPE and a window, and random weights."""

    def __init__(self, draw: Draw, window: int):
        self.window = window
        self.embedding = draw.normal(WORDS, WIDTH).double()
        weights = (draw.normal(WIDTH, WIDTH).double() / 2 for _ in range(3))
        self.query, self.key, self.value = (self.embedding @ weight for weight in weights)
        self.unembedding = draw.normal(WIDTH, WORDS).double() / 2
        angles = torch.arange(LONGEST)[:, None] / 30.0 ** (2 * torch.arange(WIDTH // 2) / WIDTH)
        self.turns = torch.polar(torch.ones_like(angles), angles)

    def full(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of texts (B, T), without a cache."""
        ids = _ids(ids, "full")
        place = torch.arange(ids.shape[1])
        allowed = self.allowed(place, place, self.window)
        return self.logits(*self.project(ids, place), allowed, ids)

    def project(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, n, D) of tokens at their positions."""
        turns = self.turns[positions]
        query, key = (
            torch.view_as_real(torch.view_as_complex(part[ids].unflatten(-1, (-1, 2))) * turns)
            for part in (self.query, self.key)
        )
        return query.flatten(-2), key.flatten(-2), self.value[ids]

    def allowed(self, queries: Tensor, keys: Tensor, window: int) -> Tensor:
        """Whether each key is at most ``window`` - 1 tokens back, and not ahead."""
        distance = queries[:, None] - keys
        return (distance >= 0) & (distance < window)

    def logits(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, ids: Tensor
    ) -> Tensor:
        """Logits (B, n, V) of queries (B, n, D) with keys and values (B, N, D)."""
        scores = (query @ key.mT / WIDTH**0.5).masked_fill(~allowed, -torch.inf)
        x = self.embedding[ids] + 2 * scores.softmax(-1) @ value
        return (x @ self.unembedding).float()


@dataclass
class Run:
    """One use of a cache: what was read in each row, and what came out of it."""

    history: Tensor  # (B, N), as rows are now
    reads: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # history and logits (B, n, V)
    orders: list[tuple[int, bool]] = field(default_factory=list)  # after how many; were rows moved?


class Cache:
    """Keys and values of what was read; empty at first.

    ``read(ids)`` reads further tokens (B, n) and returns their logits (B, n, V). ``reorder(rows)``
    lets row i go on with what row ``rows[i]`` was.
    """

    def __init__(self, model: Tiny, fault: str, runs: list[Run]):
        def read(ids: Tensor) -> Tensor:
            return self._read(model, fault, ids)

        def reorder(rows: Any) -> None:
            self._reorder(fault, rows)

        self.read, self.reorder = read, reorder
        self._runs = runs
        self._run: Run | None = None

    def _read(self, model: Tiny, fault: str, ids: Tensor) -> Tensor:
        ids = _ids(ids, "read")
        if self._run is None:
            self._run = Run(ids[:, :0])
            self._runs.append(self._run)
            self._keys = self._values = torch.zeros(len(ids), 0, WIDTH, dtype=torch.float64)
        run = self._run
        if len(ids) != len(run.history):
            raise ValueError(
                f"read() was given {len(ids)} rows; this cache was begun with {len(run.history)}."
            )
        before, new = run.history.shape[1], ids.shape[1]
        if before + new > LONGEST:
            raise ValueError(f"A cache holds {LONGEST} tokens at most; these are {before + new}.")
        places, keys_at = before + torch.arange(new), torch.arange(before + new)
        turned_by = torch.arange(new) if fault == "positions begin anew" else places
        query, key, value = model.project(ids, turned_by)
        self._keys = torch.cat([self._keys, key], 1)
        self._values = torch.cat([self._values, value], 1)
        window = model.window + {"window too short": -1, "window too long": 1}.get(fault, 0)
        allowed = model.allowed(places, keys_at, window)
        if fault == "no mask among new tokens" and before:
            allowed = allowed | (keys_at >= before)
        found = model.logits(query, self._keys, self._values, allowed, ids)
        found = found + 1e-6 * torch.sin(57 * found)  # as if summed in another order
        run.history = torch.cat([run.history, ids], 1)
        run.reads.append((run.history, found))
        return found.clone()

    def _reorder(self, fault: str, rows: Any) -> None:
        run = self._run
        if run is None:
            return
        order = torch.as_tensor(rows)
        if order.shape != (len(run.history),) or order.is_floating_point():
            raise ValueError(
                f"reorder() takes one whole number for each of the {len(run.history)} rows, and "
                f"was given a tensor of shape {tuple(order.shape)}."
            )
        moved = not torch.equal(run.history[order], run.history)
        run.orders.append((run.history.shape[1], moved))
        run.history = run.history[order]
        if fault == "rows stay":
            return
        if fault == "the last row stays":
            order = torch.cat([order[:-1], torch.tensor([len(order) - 1])])
        self._keys = self._keys[order]
        self._values = self._values if fault == "values of rows stay" else self._values[order]


@dataclass
class World:
    """A model, texts, and caches of which is known which fault each has ("" for none)."""

    model: Tiny
    ids: Tensor
    faults: dict[str, str]
    runs: dict[str, list[Run]]

    def caches(self) -> dict[str, Callable[[], Cache]]:
        """For each name a function that makes an empty cache."""

        def maker(name: str) -> Callable[[], Cache]:
            return lambda: Cache(self.model, self.faults[name], self.runs[name])

        return {name: maker(name) for name in self.faults}


def world(draw: Draw, faults: Sequence[str]) -> World:
    """Caches with these faults, in random order and under names that say nothing."""
    names = [chr(ord("A") + index) for index in range(len(faults))]
    order = torch.randperm(len(faults), generator=draw.generator).tolist()
    rows, tokens = draw.whole(3, 4), draw.whole(13, 16)
    return World(
        Tiny(draw, draw.whole(4, 6)),
        torch.randint(WORDS, (rows, tokens), generator=draw.generator),
        {name: faults[index] for name, index in zip(names, order, strict=True)},
        {name: [] for name in names},
    )


def _ids(ids: Any, name: str) -> Tensor:
    """Token ids (B, n) with at least one token, or an error that says what came."""
    if isinstance(ids, Tensor):
        fits = ids.dim() == 2 and ids.numel() and ids.dtype in (torch.int64, torch.int32)
        came = f"a tensor of shape {tuple(ids.shape)}, {ids.dtype}"
    else:
        fits, came = False, f"a {type(ids).__name__}"
    if not fits:
        raise ValueError(
            f"{name}() takes ids of shape (B, n), whole numbers, n at least 1; it was given {came}."
            " A single column is ids[:, t : t + 1]."
        )
    if ids.min() < 0 or ids.max() >= WORDS:
        raise ValueError(f"{name}() takes ids from 0 to {WORDS - 1}.")
    return ids.long().clone()


def __dir__() -> list[str]:
    return sorted(__all__)
