"""From probabilities to sentences: greedy, beam and sampled decoding.

All rows of a batch are written side by side, one token a step. Keys and values of earlier tokens
are cached, so that a step costs one token and not the whole sentence again; a row that is done
leaves the batch. Neither padding nor the start mark is ever written. Dropout is off meanwhile.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import AttnlabError
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.transformer.encoder_decoder import Memory, Seq2SeqTransformer


@dataclass(frozen=True)
class Hypothesis:
    """One way to write the target.

    Attributes
    ----------
    ids : without start and end mark
    log_probability : natural logarithm of what the model gives these ids and the end mark
    score : log_probability / ((5 + len(ids)) / 6) ** length_penalty; the higher, the better
    finished : whether the end mark was reached; without it the log-probability is that of the ids
        alone
    """

    ids: list[int]
    log_probability: float
    score: float
    finished: bool = True


def greedy(
    model: Seq2SeqTransformer,
    source: Tensor,
    start: int,
    end: int,
    max_length: int = 64,
    settings: Seq2SeqSettings | None = None,
    cache: bool = True,
) -> list[list[int]]:
    """Write the most probable token at every step.

    Parameters
    ----------
    model : encoder-decoder model
    source : Tensor of int, shape (B, S), ids with padding
    start, end : ids of the marks
    max_length : most tokens to write; never more than the model has positions for
    settings : scale and temperature of heads, for this call only
    cache : keep keys and values; without, everything is computed again at every step: the same
        result, only slower

    Returns
    -------
    ids of each of the B rows, without start and end
    """

    def likeliest(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        return logits.argmax(-1)

    return _write(model, source, start, end, max_length, settings, cache, likeliest)


def sample(
    model: Seq2SeqTransformer,
    source: Tensor,
    start: int,
    end: int,
    max_length: int = 64,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    settings: Seq2SeqSettings | None = None,
) -> list[list[int]]:
    """Draw each token by chance, with the probability that the model gives it.

    Parameters
    ----------
    temperature : divides the logits; below 1 bolder, above 1 more varied
    top_k : draw among this many likeliest tokens only; None for all
    seed : the same seed draws the same; what a row draws does not depend on when others end

    The others, and what is returned, as in `greedy`.
    """
    if not temperature > 0:
        raise AttnlabError(
            f"temperature is {temperature}; it divides the logits, so it must be positive. For the "
            "likeliest token at every step use greedy."
        )
    if top_k is not None:
        shapes.check_count("top_k", top_k, 1)
    chances = torch.rand(
        len(source), max_length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )

    def drawn(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        few = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
        best, ids = logits.cpu().double().topk(few, dim=-1)  # not every device has double precision
        sums = (best / temperature).softmax(-1).cumsum(-1)  # (rows, few), from 0 to 1
        place = torch.searchsorted(sums, chances[rows.cpu(), step, None] * sums[:, -1:], right=True)
        return ids.gather(-1, place.clamp_max(few - 1)).squeeze(-1).to(logits.device)

    return _write(model, source, start, end, max_length, settings, True, drawn)


@torch.no_grad()
def beam(
    model: Seq2SeqTransformer,
    source: Tensor,
    start: int,
    end: int,
    num_beams: int = 4,
    max_length: int = 64,
    length_penalty: float = 0.6,
    settings: Seq2SeqSettings | None = None,
) -> list[list[Hypothesis]]:
    """Beam search: keep the ``num_beams`` most probable beginnings of each row at every step.

    Parameters
    ----------
    num_beams : beginnings that are kept. A row is done once as many of its best have reached the
        end mark.
    length_penalty : 0 ranks by log-probability, which prefers short sentences; larger values favour
        long ones

    The others as in `greedy`.

    Returns
    -------
    for each of the B rows at most ``num_beams`` hypotheses, best first, those that reached
    the end mark before others

    Source: Wu et al. 2016, eq. 14.
    """
    shapes.check_count("num_beams", num_beams, 1)
    found: list[list[Hypothesis]] = [[] for _ in source]
    with _evaluating(model):
        memory = model.encode(source, settings)
        rows = torch.arange(len(source), device=source.device)  # R rows that go on
        memory = memory.select(
            rows.repeat_interleave(num_beams)
        ).with_cache()  # R x W beams, W = num_beams
        ids = torch.full((len(rows), num_beams, 1), start, device=source.device)
        total = torch.full((len(rows), num_beams), -math.inf, device=source.device)
        total[:, 0] = 0  # all beams of a row begin alike: one is enough
        for _ in range(_steps(model, max_length)):
            if not len(rows):
                break
            step = _logits(model, ids.flatten(0, 1)[:, -1:], memory, start, normalise=True)
            words = step.shape[-1]
            candidates = (total[..., None] + step.unflatten(0, (-1, num_beams))).flatten(1)
            # each beam can end in one way only, so of twice as many at least enough go on
            best, places = candidates.topk(2 * num_beams, dim=-1)
            parents, tokens = places // words, places % words  # (R, 2 W)
            ended = tokens == end
            for row, rank in (ended & (best > -math.inf))[:, :num_beams].nonzero().tolist():
                written = ids[row, parents[row, rank], 1:].tolist()
                found[rows[row]].append(
                    _hypothesis(written, float(best[row, rank]), length_penalty)
                )
            order = ended.int().argsort(dim=-1, stable=True)[
                :, :num_beams
            ]  # those that go on first
            total = best.gather(-1, order)
            parents, tokens = parents.gather(-1, order), tokens.gather(-1, order)
            ids = ids.gather(1, parents[..., None].expand(-1, -1, ids.shape[-1]))
            ids = torch.cat([ids, tokens[..., None]], -1)
            full = torch.tensor([len(found[row]) >= num_beams for row in rows.tolist()])
            on = ~full.to(total.device) & (total > -math.inf).any(-1)
            first = torch.arange(len(rows), device=source.device)[:, None] * num_beams
            if on.all():
                memory = memory.reorder((first + parents).flatten())
            else:
                memory = memory.select((first + parents)[on].flatten())
                rows, ids, total = rows[on], ids[on], total[on]
    for row, beams, logs in zip(rows.tolist(), ids.tolist(), total.tolist(), strict=True):
        found[row] += [
            _hypothesis(beam_ids[1:], log, length_penalty, finished=False)
            for beam_ids, log in zip(beams, logs, strict=True)
            if log > -math.inf
        ]
    return [
        sorted(
            hypotheses,
            key=lambda hypothesis: (hypothesis.finished, hypothesis.score),
            reverse=True,
        )[:num_beams]
        for hypotheses in found
    ]


def _hypothesis(
    ids: list[int], log_probability: float, length_penalty: float, finished: bool = True
) -> Hypothesis:
    score = log_probability / ((5 + len(ids)) / 6) ** length_penalty
    return Hypothesis(ids, log_probability, score, finished)


@torch.no_grad()
def _write(
    model: Seq2SeqTransformer,
    source: Tensor,
    start: int,
    end: int,
    max_length: int,
    settings: Seq2SeqSettings | None,
    cache: bool,
    choose: Callable[[Tensor, Tensor, int], Tensor],
) -> list[list[int]]:
    """Write one token a step, as ``choose`` picks it from (logits, rows, step), until every row has
    ended."""
    written: list[list[int]] = [[] for _ in source]
    with _evaluating(model):
        memory = model.encode(source, settings)
        memory = memory.with_cache() if cache else memory
        rows = torch.arange(len(source), device=source.device)
        ids = torch.full((len(rows), 1), start, device=source.device)
        for step in range(_steps(model, max_length)):
            if not len(rows):
                break
            logits = _logits(model, ids[:, -1:] if cache else ids, memory, start)
            token = choose(logits, rows, step)
            ids = torch.cat([ids, token[:, None]], 1)
            on = token != end
            if not on.all():
                for row, done in zip(rows[~on].tolist(), ids[~on, 1:-1].tolist(), strict=True):
                    written[row] = done
                rows, ids, memory = rows[on], ids[on], memory.select(on)
    for row, cut in zip(rows.tolist(), ids[:, 1:].tolist(), strict=True):
        written[row] = cut
    return written


def _logits(
    model: Seq2SeqTransformer,
    decoder_input: Tensor,
    memory: Memory,
    start: int,
    normalise: bool = False,
) -> Tensor:
    """Logits, or log-probabilities, of the next token, shape (rows, V); marks that must not be
    written at -inf."""
    logits = model.decode(decoder_input, memory)[:, -1].float()
    logits = logits.log_softmax(-1) if normalise else logits
    logits[:, [model.padding, start]] = -math.inf
    return logits


def _steps(model: Seq2SeqTransformer, max_length: int) -> int:
    shapes.check_count("max_length", max_length, 1)
    return min(max_length, model.size["max_length"])


@contextmanager
def _evaluating(model: Seq2SeqTransformer) -> Iterator[None]:
    """Dropout off, and back to what it was."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
