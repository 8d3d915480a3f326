"""From probabilities to sentences: greedy, beam and sampled decoding.

All rows of a batch are written side by side, one token a step. Keys and values of earlier tokens
are cached, so that a step costs one token and not the whole sentence again; a row that is done
leaves the batch. Neither padding nor the start mark is ever written. Dropout is off meanwhile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import AttnlabError
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.inference import check_finite, evaluating
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
    temperature : divides the logits; below 1 what is likely gets likelier, above 1 less so
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
    uniform = torch.rand(
        len(source), max_length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )

    def drawn(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        few = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
        best, ids = logits.cpu().double().topk(few, dim=-1)  # not every device has double precision
        sums = (best / temperature).softmax(-1).cumsum(-1)  # (rows, few), from 0 to 1
        rank = torch.searchsorted(sums, uniform[rows.cpu(), step, None] * sums[:, -1:], right=True)
        return ids.gather(-1, rank.clamp_max(few - 1)).squeeze(-1).to(logits.device)

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
    with evaluating(model):
        beams = _Beams(model, source, start, end, num_beams, length_penalty, settings)
        for _ in range(_steps(model, max_length)):
            if not len(beams.rows):
                break
            beams.step()
    return beams.ranked()


class _Beams:
    """Beginnings of R rows that go on, W of each, and the hypotheses that were found.

    Attributes
    ----------
    rows : Tensor, shape (R,), which rows of the batch go on
    ids : Tensor of int, shape (R, W, tokens), the start mark first
    total : Tensor, shape (R, W), log-probability of each beginning; -inf for none
    memory : Memory of the R x W beginnings
    found : for each of the B rows the hypotheses that reached the end mark
    """

    def __init__(
        self,
        model: Seq2SeqTransformer,
        source: Tensor,
        start: int,
        end: int,
        num_beams: int,
        length_penalty: float,
        settings: Seq2SeqSettings | None,
    ):
        self.model, self.start, self.end = model, start, end
        self.num_beams, self.length_penalty = num_beams, length_penalty
        self.found: list[list[Hypothesis]] = [[] for _ in source]
        self.rows = torch.arange(len(source), device=source.device)
        memory = model.encode(source, settings)
        self.memory = memory.select(self.rows.repeat_interleave(num_beams)).with_cache()
        self.ids = torch.full((len(source), num_beams, 1), start, device=source.device)
        self.total = torch.full((len(source), num_beams), -math.inf, device=source.device)
        self.total[:, 0] = 0  # all beams of a row begin alike: one is enough

    def step(self) -> None:
        """Write one more token."""
        newest = self.ids.flatten(0, 1)[:, -1:]
        logs = _logits(self.model, newest, self.memory, self.start, normalise=True)
        vocabulary = logs.shape[-1]
        candidates = self.total[..., None] + logs.unflatten(0, (-1, self.num_beams))
        # each beam can end in one way only, so of twice as many at least enough go on
        best, flat = candidates.flatten(1).topk(2 * self.num_beams, dim=-1)
        parents, tokens = flat // vocabulary, flat % vocabulary  # (R, 2 W)
        self._note_ended(best, parents, tokens)
        # those that go on first
        order = (tokens == self.end).int().argsort(dim=-1, stable=True)[:, : self.num_beams]
        self.total = best.gather(-1, order)
        parents, tokens = parents.gather(-1, order), tokens.gather(-1, order)
        self.ids = self.ids.gather(1, parents[..., None].expand(-1, -1, self.ids.shape[-1]))
        self.ids = torch.cat([self.ids, tokens[..., None]], -1)
        self._drop_done(parents)

    def _note_ended(self, best: Tensor, parents: Tensor, tokens: Tensor) -> None:
        """Keep those of the best candidates that have reached the end mark."""
        ended = (tokens == self.end) & (best > -math.inf)
        for row, rank in ended[:, : self.num_beams].nonzero().tolist():
            ids = self.ids[row, parents[row, rank], 1:].tolist()
            hypothesis = _hypothesis(ids, float(best[row, rank]), self.length_penalty)
            self.found[self.rows[row]].append(hypothesis)

    def _drop_done(self, parents: Tensor) -> None:
        """Give each beginning its parent's cache; rows with enough hypotheses leave the batch."""
        enough = [len(self.found[row]) >= self.num_beams for row in self.rows.tolist()]
        full = torch.tensor(enough).to(self.total.device)
        on = ~full & (self.total > -math.inf).any(-1)
        first = torch.arange(len(self.rows), device=parents.device)[:, None] * self.num_beams
        if on.all():
            self.memory = self.memory.reorder((first + parents).flatten())
        else:
            self.memory = self.memory.select((first + parents)[on].flatten())
            self.rows, self.ids, self.total = self.rows[on], self.ids[on], self.total[on]

    def ranked(self) -> list[list[Hypothesis]]:
        """The hypotheses of each of the B rows, best first; unfinished ones last."""
        unfinished = zip(self.rows.tolist(), self.ids.tolist(), self.total.tolist(), strict=True)
        for row, beams, logs in unfinished:
            self.found[row] += [
                _hypothesis(ids[1:], log, self.length_penalty, finished=False)
                for ids, log in zip(beams, logs, strict=True)
                if log > -math.inf
            ]
        return [
            sorted(
                hypotheses,
                key=lambda hypothesis: (hypothesis.finished, hypothesis.score),
                reverse=True,
            )[: self.num_beams]
            for hypotheses in self.found
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
    """Write one token a step until every row has ended.

    ``choose`` picks the tokens from (logits, rows, step).
    """
    written: list[list[int]] = [[] for _ in source]
    with evaluating(model):
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
    """Logits (or log-probabilities) of the next token, (rows, V); -inf for forbidden marks."""
    logits = check_finite(model, model.decode(decoder_input, memory)[:, -1].float())
    logits = logits.log_softmax(-1) if normalise else logits
    logits[:, [model.padding, start]] = -math.inf
    return logits


def _steps(model: Seq2SeqTransformer, max_length: int) -> int:
    shapes.check_count("max_length", max_length, 1)
    return min(max_length, model.size["max_length"])
