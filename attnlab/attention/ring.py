"""Attention over several processes: each holds a part of the tokens, and keys travel in a ring."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from attnlab.attention import shapes
from attnlab.errors import AttnlabError, TensorError, suggest

__all__ = ["ring_attention", "ring_join", "ring_part"]

Order = Literal["zigzag", "contiguous"]


def ring_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool = False,
    order: Order = "zigzag",
    tile: int = 128,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Attend to the tokens of all processes, each of which holds a part of them.

    Queries stay where they are. Keys and values travel: at each of n steps a process attends to the
    part it has, merges the result with what it had (the online softmax of `tiled_attention`), and
    hands the part to its neighbour. Nobody ever holds all keys, or all weights. Going backward the
    parts travel once more, and their gradients with them, until they are home again.

    All processes of the group call it together, as any collective of ``torch.distributed``.

    Parameters
    ----------
    query, key, value : this process's part, (..., T/n, D) and (..., T/n, D_v), as `ring_part` cuts
        it; parts are equally long in all processes
    causal : let no query attend past itself
    order : which tokens a part holds, as in `ring_part`
    tile : keys that are scored at a time, for each chunk of queries
    group : the processes; by default all. Without ``torch.distributed`` there is one process, which
        holds all tokens

    Returns
    -------
    context : Tensor, shape (..., T/n, D_v), of this process's queries

    Raises
    ------
    TensorError : parts that do not fit together
    AttnlabError : a neighbour ended or did not answer in the time that the group allows

    Source: Liu, Zaharia and Abbeel 2023, "Ring Attention with Blockwise Transformers"; Brandon et
    al. 2023, "Striped Attention", on the balance of causal work.
    """
    ring = _Ring.of(group, order)
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    shapes.check_value(query, key, value)
    shapes.check_count("tile", tile, 1)
    ring.check_parts(query, key, value, causal)
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    with torch.autocast(query.device.type, enabled=False):  # sums stay exact
        context: Tensor = _RingAttention.apply(
            *(given.expand(*batch, *given.shape[-2:]) for given in (query, key, value)),
            causal,
            ring,
            tile,
        )
    return context


def ring_part(
    whole: Tensor, dim: int = -2, order: Order = "zigzag", group: dist.ProcessGroup | None = None
) -> Tensor:
    """Cut out the tokens that this process holds.

    Parameters
    ----------
    whole : all tokens, along ``dim``
    order : "contiguous", a stretch for each process; or "zigzag", two stretches for each, of 2n:
        process r takes number r and number 2n - 1 - r. A late query sees many keys and an early one
        few, so in causal attention zigzag gives each process the same work, where contiguous parts
        would let the first wait for the last.

    Returns
    -------
    part : Tensor, shape of ``whole`` with T/n tokens along ``dim``; use the same for positions,
        ``ring_part(torch.arange(T), dim=0)``

    >>> import torch
    >>> ring_part(torch.arange(4), dim=0).tolist()  # one process holds everything
    [0, 1, 2, 3]
    """
    ring = _Ring.of(group, order)
    tokens, chunks = whole.shape[dim], ring.chunks
    if tokens % chunks:
        raise TensorError(
            f"{tokens} tokens do not part evenly into {chunks} stretches ({ring.size} processes, "
            f"order {order}). Pad them to {math.ceil(tokens / chunks) * chunks}."
        )
    stretches = whole.tensor_split(chunks, dim)
    return torch.cat([stretches[number] for number in ring.numbers(ring.rank)], dim)


def ring_join(
    part: Tensor, dim: int = -2, order: Order = "zigzag", group: dist.ProcessGroup | None = None
) -> Tensor:
    """Gather the parts of all processes, in the order of the tokens: `ring_part` undone.

    For results and tests; gradients do not pass.
    """
    ring = _Ring.of(group, order)
    if ring.size == 1:
        return part.detach()
    parts = [
        torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(ring.size)
    ]
    with _neighbours(ring):
        dist.all_gather(parts, part.detach().contiguous(), group=group)
    stretches: dict[int, Tensor] = {}
    for rank, given in enumerate(parts):
        numbers = ring.numbers(rank)
        stretches |= dict(zip(numbers, given.tensor_split(len(numbers), dim), strict=True))
    return torch.cat([stretches[number] for number in range(ring.chunks)], dim)


# ── the mathematics of one process ─────────────────────────────────────────────────────────────


class _RingAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, causal: bool, ring: "_Ring", tile: int
    ) -> Tensor:
        exact = torch.promote_types(query.dtype, torch.float32)
        context = torch.zeros(*query.shape[:-1], value.shape[-1], dtype=exact, device=query.device)
        log_total = torch.full_like(context[..., :1], -math.inf)
        for owner, (keys, values) in ring.visits(key, value):
            for rows, columns, allowed in ring.blocks(query, keys, owner, causal, tile):
                scores = _scores(query, keys, rows, columns, allowed, exact)
                block_total = scores.logsumexp(-1, keepdim=True)
                weights = (scores - _finite(block_total)).exp()
                both = torch.logaddexp(log_total[..., rows, :], block_total)
                before = (log_total[..., rows, :] - _finite(both)).exp()
                now = (block_total - _finite(both)).exp()
                mixture = weights @ values[..., columns, :].to(exact)
                context[..., rows, :] = context[..., rows, :] * before + mixture * now
                log_total[..., rows, :] = both
        result = context.to(value.dtype)
        ctx.save_for_backward(query, key, value, result, log_total)
        ctx.causal, ctx.ring, ctx.tile = causal, ring, tile
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, context, log_total = ctx.saved_tensors
        exact, width = log_total.dtype, query.shape[-1]
        gradient = gradient.to(exact)
        inner = (gradient * context).sum(-1, keepdim=True)  # what the softmax takes off each score
        to_query = torch.zeros_like(query, dtype=exact)
        sums = _pack(torch.zeros_like(given, dtype=exact) for given in (key, value))
        for owner, (keys, values) in ctx.ring.visits(key, value):
            to_key, to_value = _unpack(sums, (key, value))  # for the owner's keys, so far
            for rows, columns, allowed in ctx.ring.blocks(query, keys, owner, ctx.causal, ctx.tile):
                scores = _scores(query, keys, rows, columns, allowed, exact)
                weights = (scores - _finite(log_total[..., rows, :])).exp()
                part = gradient[..., rows, :]
                to_value[..., columns, :] += weights.mT @ part
                to_weights = part @ values[..., columns, :].to(exact).mT
                to_scores = weights * (to_weights - inner[..., rows, :]) / math.sqrt(width)
                to_query[..., rows, :] += to_scores @ keys[..., columns, :].to(exact)
                to_key[..., columns, :] += to_scores.mT @ query[..., rows, :].to(exact)
            sums = ctx.ring.pass_on(sums)()  # follows the keys, and after the last step is home
        to_key, to_value = _unpack(sums, (key, value))
        return (
            to_query.to(query.dtype),
            to_key.to(key.dtype),
            to_value.to(value.dtype),
            *(None, None, None),
        )


def _scores(
    query: Tensor, key: Tensor, rows: slice, columns: slice, allowed: Tensor | None, exact: Any
) -> Tensor:
    """Scaled scores of some queries for some keys, -inf where attention is not allowed."""
    scores = query[..., rows, :].to(exact) @ key[..., columns, :].to(exact).mT
    scores = scores / math.sqrt(query.shape[-1])
    return scores if allowed is None else scores.masked_fill(~allowed, -math.inf)


def _finite(log_total: Tensor) -> Tensor:
    """0 for queries that have seen no key yet, so that no -inf is taken from another."""
    return log_total.masked_fill(log_total == -math.inf, 0)


# ── who holds what, and the ring ───────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Ring:
    """A process's place among the others, and which tokens each holds."""

    rank: int
    size: int
    order: Order
    group: dist.ProcessGroup | None

    @classmethod
    def of(cls, group: dist.ProcessGroup | None, order: Order) -> "_Ring":
        if order not in ("zigzag", "contiguous"):
            known = ("zigzag", "contiguous")
            raise AttnlabError(f"There is no order {order!r}. {suggest(order, known)}")
        if dist.is_available() and dist.is_initialized():
            rank = dist.get_rank(group)
            if rank < 0:
                raise AttnlabError("This process is not in the group it was given.")
            return cls(rank, dist.get_world_size(group), order, group)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise AttnlabError(
                f"{os.environ['WORLD_SIZE']} processes were started, and they do not know each "
                'other yet. Type first: torch.distributed.init_process_group("gloo"), or "nccl" '
                "where each has a GPU."
            )
        return cls(0, 1, order, None)

    @property
    def chunks(self) -> int:
        """Stretches that the tokens are cut into."""
        return 2 * self.size if self.order == "zigzag" and self.size > 1 else self.size

    def numbers(self, rank: int) -> list[int]:
        """Numbers of the stretches that a process holds."""
        return [rank] if self.chunks == self.size else [rank, self.chunks - 1 - rank]

    def check_parts(self, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> None:
        """All processes hold equally much and ask for the same."""
        stretches = len(self.numbers(self.rank))
        if causal and query.shape[-2] != key.shape[-2]:
            raise TensorError(
                f"query {shapes.shown(query)}, key {shapes.shown(key)}: causal attention over "
                "several processes needs as many keys as queries."
            )
        for name, given in (("query", query), ("key", key)):
            if given.shape[-2] % stretches:
                raise TensorError(
                    f"{name} {shapes.shown(given)}: in zigzag order a part is two stretches of one "
                    "length. Cut parts with ring_part."
                )
        if self.size == 1:
            return
        mine = {
            "query": shapes.shown(query),
            "key": shapes.shown(key),
            "value": shapes.shown(value),
            "types": f"{query.dtype}, {value.dtype}",
            "causal": causal,
            "order": self.order,
        }
        theirs: list[Any] = [None] * self.size
        with _neighbours(self):
            dist.all_gather_object(theirs, mine, group=self.group)
        for name, own in mine.items():
            if len({str(other[name]) for other in theirs}) > 1:
                listed = ", ".join(str(other[name]) for other in theirs)
                raise TensorError(
                    f"{name} differs between the processes: {listed}. All parts must be equally "
                    f"long, and all processes ask for the same. Here it is {own}; cut parts with "
                    "ring_part."
                )

    def blocks(
        self, query: Tensor, key: Tensor, owner: int, causal: bool, tile: int
    ) -> Iterator[tuple[slice, slice, Tensor | None]]:
        """Rows of queries here, columns of the owner's keys, and who may see whom (None: all)."""
        mine, theirs = self.numbers(self.rank), self.numbers(owner)
        long, wide = query.shape[-2] // len(mine), key.shape[-2] // len(theirs)
        for place, number in enumerate(mine):
            rows = slice(place * long, (place + 1) * long)
            for other_place, other in enumerate(theirs):
                if (causal and other > number) or not long:
                    continue  # all of these keys come later than all of these queries
                for start in range(0, wide, tile):
                    end = min(start + tile, wide)
                    columns = slice(other_place * wide + start, other_place * wide + end)
                    allowed = None
                    if causal and other == number:
                        row = torch.arange(long, device=query.device)[:, None]
                        allowed = torch.arange(start, end, device=query.device) <= row
                    yield rows, columns, allowed

    def visits(self, *given: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
        """Each process's tensors once: whose they are, and they; the next travel meanwhile."""
        parcel = _pack(given)
        for step in range(self.size):
            arrival = self.pass_on(parcel) if step < self.size - 1 else None
            yield (self.rank - step) % self.size, _unpack(parcel, given)
            if arrival is not None:
                parcel = arrival()

    def pass_on(self, parcel: Tensor) -> Callable[[], Tensor]:
        """Send to the next process, receive from the one before; the call waits for what comes."""
        if self.size == 1:
            return lambda: parcel
        coming = torch.empty_like(parcel)
        neighbours = ((self.rank + step) % self.size for step in (1, -1))
        next_one, one_before = (
            rank if self.group is None else dist.get_global_rank(self.group, rank)
            for rank in neighbours
        )
        with _neighbours(self):
            requests = dist.batch_isend_irecv(
                [
                    dist.P2POp(dist.isend, parcel, next_one, self.group),
                    dist.P2POp(dist.irecv, coming, one_before, self.group),
                ]
            )

        def arrival() -> Tensor:
            with _neighbours(self):
                for request in requests:
                    request.wait()
            return coming

        return arrival


def _pack(given: Iterable[Tensor]) -> Tensor:
    """Tensors of one type as one, which travels in one go."""
    return torch.cat([tensor.reshape(-1) for tensor in given])


def _unpack(parcel: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of the tensors in a parcel, in the shapes of these."""
    parts = parcel.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


@contextlib.contextmanager
def _neighbours(ring: _Ring) -> Iterator[None]:
    """Turn what the connection says of a lost neighbour into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise AttnlabError(
            f"Process {ring.rank} of {ring.size} (counted from 0) lost a neighbour in the ring: "
            "one of the others ended with an error, was stopped, ran out of memory, or did not "
            f"answer in time. Look at what the others say. The connection says: {str(error)[:200]}"
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
