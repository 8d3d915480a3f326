"""The exercise ``causal_loss``."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    FROM_NUMPY,
    NO_GRADIENT,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    not_finite,
    where,
)

WORDS = 7
TOKENS = 6

FOR_EACH_TOKEN = (
    "The result has shape {shape}: a number for each prediction.\n"
    "One is asked for: what is to be done with those that count?"
)
PLAIN_NUMBER = (
    "As loss came a plain number: nothing can be trained on it.\nIs there an .item() too many?"
)
LARGE_LOGITS = (
    "With large logits the loss is wrong.\nIs something added inside a logarithm, to save it?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``causal_loss(logits, ids, mask)``: mean cross-entropy in nats of each next token."""
    compared = Comparison(answer, _reference, MISTAKES, read=_loss, tolerance=2e-5)
    with where("For two texts without padding:"):
        compared.on(
            lambda: _telling(draw, [TOKENS] * 2),
            "The result is wrong.\nWhich logits are about which token?",
        )
    yield "the logits of a position are compared with the token after it"

    with where("For four texts without padding:"):
        compared.on(
            lambda: _telling(draw, [TOKENS] * 4),
            "The result is wrong.\nMinus the log-probability of each next token, and the mean over "
            "all predictions: which step differs?",
        )
    yield "several texts: a mean over all predictions"

    sides = itertools.cycle([False, True])  # is padding in front?

    def padded(lengths: Sequence[int]) -> Call:
        return _telling(draw, lengths, next(sides))

    with where("With padding, behind the texts or in front of them:"):
        for lengths in ([6, 2, 5, 3], [6, 1, 4, 1]):
            compared.on(
                partial(padded, lengths),
                "The result is wrong.\nA prediction counts where the token that was read and the "
                "token to be said are both real: what does the mask say of the two?",
            )
    yield "padding does not count, wherever it stands and whichever id it has"

    compared.on(
        lambda: _call(draw, [6, 2, 5, 3], scale=200.0),
        LARGE_LOGITS,
        facts=lambda call, loss: {"largest": call.arguments[0].max(), "loss": loss.item()},
        tolerance=1e-3,
    )
    answer.gradients(_reference, *_call(draw, [6, 2, 5, 1]).arguments)
    yield "however large the logits, and it can be trained"


def _reference(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Prediction by prediction."""
    surprises = []
    for row, said, real in zip(logits, ids.tolist(), mask.tolist(), strict=True):
        for place in range(1, len(said)):
            if real[place] and real[place - 1]:
                before = row[place - 1]
                surprises.append(before.logsumexp(0) - before[said[place]])
    return torch.stack(surprises).mean()


def _call(draw: Draw, lengths: Sequence[int], in_front: bool = False, scale: float = 2.0) -> Call:
    """Logits (B, T, V), ids (B, T) and mask (B, T); what stands at padding is any word."""
    mask = torch.arange(TOKENS) < torch.tensor(lengths)[:, None]
    ids = torch.randint(WORDS, mask.shape, generator=draw.generator)
    ids[~mask] = draw.whole(0, WORDS - 1)
    if in_front:
        mask = mask.flip(1)
    return Call(scale * draw.normal(*mask.shape, WORDS), ids, mask)


def _telling(draw: Draw, lengths: Sequence[int], in_front: bool = False) -> Call:
    """Arguments for which no mistake is right by chance."""
    while True:
        call = _call(draw, lengths, in_front)
        right = call.of(_reference)
        apart = torch.stack(
            [(call.of(mistake.wrong) - right).abs() for mistake in MISTAKES if mistake.compared]
        )
        if not ((apart > 1e-5) & (apart < 5e-3)).any():
            return call


def _loss(result: object, right: Tensor) -> Tensor:
    if isinstance(result, Tensor) and result.dim() and result.numel() in (10, 12, 20, 24):
        raise CheckFailed(FOR_EACH_TOKEN.format(shape=tuple(result.shape)))
    if isinstance(result, float):
        raise CheckFailed(PLAIN_NUMBER)
    return a_tensor(result, (), "loss")


# --- What learners write instead -----------------------------------------------------------------

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def _surprise(logits: Tensor, ids: Tensor) -> Tensor:
    """Minus the log-probability of each id, in nats."""
    return logits.logsumexp(-1) - logits.gather(-1, ids[..., None])[..., 0]


def _next(logits: Tensor, ids: Tensor) -> Tensor:
    """The surprise at each next token, (B, T - 1)."""
    return _surprise(logits[:, :-1], ids[:, 1:])


def _counts(mask: Tensor) -> Tensor:
    return mask[:, :-1] & mask[:, 1:]


def _right(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _next(logits, ids)[_counts(mask)].mean()


def _sum(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _next(logits, ids)[_counts(mask)].sum()


def _picked(values: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values at the next tokens."""
    return values[:, :-1].gather(-1, ids[:, 1:, None])[..., 0][_counts(mask)].mean()


def _slices(logits_from: int, logits_to: int | None, ids_from: int, ids_to: int | None) -> Loss:
    """Logits and ids cut in another way."""

    def answer(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        read, said = slice(logits_from, logits_to), slice(ids_from, ids_to)
        return _surprise(logits[:, read], ids[:, said])[mask[:, read] & mask[:, said]].mean()

    return answer


def _in_a_circle(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _surprise(logits, ids.roll(-1, 1))[mask].mean()


def _zeros_at_the_end(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _surprise(logits, F.pad(ids[:, 1:], (0, 1)))[mask].mean()


def _masked_by(real: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Other predictions count, given ids and mask."""
    return lambda logits, ids, mask: _next(logits, ids)[real(ids, mask)].mean()


def _divided_by(count: Callable[[Tensor], Tensor | int]) -> Loss:
    return lambda logits, ids, mask: _sum(logits, ids, mask) / count(mask)


def _mean_of_means(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    real = _counts(mask)
    return ((_next(logits, ids) * real).sum(-1) / real.sum(-1).clamp_min(1)).mean()


def _reshaped(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    batch, tokens, words = logits.shape
    torn = logits[:, :-1].reshape(batch, words, tokens - 1).mT
    return _surprise(torn, ids[:, 1:])[_counts(mask)].mean()


def _flattened_first(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The batch as one long text: the last of a text is to say the first of the next one."""
    flat, said, real = logits.flatten(0, 1), ids.flatten(), mask.flatten()
    return _surprise(flat[:-1], said[1:])[real[:-1] & real[1:]].mean()


def _zero_logits(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _next(logits * mask[..., None], ids).mean()


def _zero_ids(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    return _next(logits, ids * mask).mean()


def _unstable(logits: Tensor, ids: Tensor, mask: Tensor, added: float = 0.0) -> Tensor:
    powers = (logits - logits.amax(-1, keepdim=True) if added else logits).exp()
    return -_picked((powers / powers.sum(-1, keepdim=True) + added).log(), ids, mask)


def _log_softmax(axis: int) -> Loss:
    return lambda logits, ids, mask: -_picked(logits.log_softmax(axis), ids, mask)


MISTAKES = [
    Mistake(
        _slices(0, None, 0, None),
        "Each token is to say itself, which it has just read: there is no shift.\n"
        "The logits of position t are about which token?",
    ),
    Mistake(
        _slices(1, None, 1, None),
        "Logits and ids are cut at the same end, so each token is still to say itself.\n"
        "Which position has no next token? Which token is never to be said?",
    ),
    Mistake(
        _slices(0, -1, 0, -1),
        "The last position is cut off from logits and ids alike, so each token is still to say "
        "itself.\nWhich token is never to be said?",
    ),
    Mistake(
        _slices(1, None, 0, -1),
        "The shift goes the wrong way: each token is to say the one before it, which it can see.\n"
        "Which end of the logits, and which end of the ids, is cut off?",
    ),
    Mistake(
        _slices(0, -2, 2, None),
        "The shift is two places wide: is it made twice?\nWhich token comes right after t?",
    ),
    Mistake(
        _in_a_circle,
        "The last token is to say the first one.\nDoes `roll` go in a circle? What comes after "
        "the last token?",
    ),
    Mistake(
        _zeros_at_the_end,
        "The last token is to say the id 0, with which the ids are filled up.\n"
        "How many predictions can be checked in a text of T tokens?",
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits, ids, mask) / math.log(2),
        "It is in bits.\nWhich logarithm gives nats?",
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits.softmax(-1), ids, mask),
        "The softmax is taken twice: cross_entropy takes logits and does it itself.\n"
        "What do you give it?",
    ),
    Mistake(
        lambda logits, ids, mask: -_picked(logits.softmax(-1), ids, mask),
        "The logarithm is missing: that is the mean of minus the probability.\n"
        "What is the surprise at something that has probability p?",
    ),
    Mistake(
        lambda logits, ids, mask: -_right(logits, ids, mask),
        "It is negative: the log of a probability is below 0.\nWhere does the minus sign go?",
    ),
    Mistake(
        lambda logits, ids, mask: -_picked(logits, ids, mask),
        "The softmax is missing: that is the mean of minus the logits.\n"
        "What turns logits into log-probabilities?",
    ),
    Mistake(
        _log_softmax(1),
        "The softmax runs over the tokens.\n"
        "Probabilities of which things sum to 1? Which axis holds them?",
    ),
    Mistake(
        _reshaped,
        "The logits are reshaped to (B, V, T), which tears the rows apart.\n"
        "To let axes change places, what do you use instead of reshape or view?",
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits, ids, mask).exp(),
        "It is the perplexity, exp(loss).\nWhat is it before the exponential?",
    ),
    Mistake(
        _divided_by(lambda mask: 1),
        "The predictions are added up: a large batch would count for more than a small one.\n"
        "A mean: by what must the sum be divided?",
    ),
    Mistake(
        _divided_by(lambda mask: mask.sum()),
        "The sum is divided by the number of tokens.\nHow many predictions are there in a text of "
        "T tokens? The first one is never to be said.",
    ),
    Mistake(
        _divided_by(lambda mask: len(mask)),
        "The predictions of a text are added up, and the mean is over texts.\n"
        "A mean over predictions: by what must the sum be divided?",
    ),
    Mistake(
        _flattened_first,
        "The last token of a text is to say the first one of the next text.\n"
        "Is the batch flattened before the shift, or after it?",
    ),
    Mistake(
        _log_softmax(0),
        "The softmax runs over the texts.\nWhich axis holds the vocabulary?",
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits[:1], ids[:1], mask[:1]),
        "Only the first text counts.\nIs there an index [0] too many?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: torch.ones_like(_counts(mask))),
        "Padding counts like any token: a model that writes padding well gets a low loss.\n"
        "Where do you use `mask`?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: mask[:, :-1]),
        "The last real token of a text is to say padding: the mask of the tokens that were *read* "
        "is used.\nWhich tokens are to be said?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: mask[:, 1:]),
        "What is said at padding counts: it is the mask of the tokens *to be said*, and in front "
        "of the first real one nothing was read.\nWhich two tokens must be real?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: ~_counts(mask) | _counts(mask).all()),
        "It is padding that counts, and nothing else.\nIs the mask True at tokens or at padding?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: mask[:, :-1] | mask[:, 1:]),
        "A prediction counts where one of its two tokens is real.\n"
        "Both must: which sign joins the masks, `|` or `&`?",
    ),
    Mistake(
        _masked_by(lambda ids, mask: (ids[:, 1:] != 0) | (ids[:, 1:] == 0).all()),
        "The id 0 is taken for padding.\nWhat says which tokens are real?",
    ),
    Mistake(
        _divided_by(lambda mask: _counts(mask).numel()),
        "The sum is divided by the number of all positions, padding and all.\n"
        "How many numbers are in the sum?",
    ),
    Mistake(
        lambda logits, ids, mask: _next(logits, ids).sum() / _counts(mask).sum(),
        "The sum over all positions, padding and all, is divided by the number of those that "
        "count.\nWhich numbers belong in the sum?",
    ),
    Mistake(
        _mean_of_means,
        "It is the mean of the means of the texts: a word of a short text weighs more.\n"
        "If every prediction counts the same, how many means are there?",
    ),
    Mistake(
        _zero_logits,
        "The logits of padding are set to 0; that is a guess among all words, which has a loss, "
        "too.\nHow do you leave a prediction out, instead of changing it?",
    ),
    Mistake(
        _zero_ids,
        "Padding is to be said as the id 0, which has a loss, too.\n"
        "How do you leave a prediction out, instead of changing it?",
    ),
    Mistake(
        _unstable,
        "With large logits (here up to {largest:.0f}) the loss is {loss:g}: exp of such a number "
        "overflows, or a softmax gives 0 and its logarithm -inf.\n"
        "Which function gives log-probabilities in one step?",
        alike=not_finite,
    ),
    Mistake(partial(_unstable, added=1e-9), LARGE_LOGITS, compared=False),
    Mistake(lambda logits, ids, mask: _next(logits, ids), FOR_EACH_TOKEN, compared=False),
    Mistake(
        lambda logits, ids, mask: _right(logits, ids, mask).item(), PLAIN_NUMBER, compared=False
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits.detach(), ids, mask), NO_GRADIENT, compared=False
    ),
    Mistake(
        lambda logits, ids, mask: _right(logits, ids, mask).detach().numpy(),
        FROM_NUMPY,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "causal_loss",
    "language_model",
    2,
    check,
    frozenset({"attnlab.next_token_loss", "attnlab.causal_loss"}),
    MISTAKES,
    ours=_reference,
)
