"""The exercise ``sequence_loss``."""

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
)
from attnlab.course.checks.translation.sentences import sentences

WORDS = 7

IN_FRONT = (
    "Right where padding stands at the end, wrong where it stands in front.\n"
    "Can you ask each label by itself whether it is padding?"
)
FOR_EACH_TOKEN = (
    "The result has shape {shape}: a number for each token.\n"
    "One is asked for: what is to be done with those of real tokens?"
)
PLAIN_NUMBER = (
    "As loss came a plain number: nothing can be trained on it.\nIs there an .item() too many?"
)
LARGE_LOGITS = (
    "With large logits the loss is wrong.\nIs something added inside a logarithm, to save it?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``sequence_loss(logits, labels, padding=0)``: mean cross-entropy in nats without padding."""
    compared = Comparison(answer, _reference, MISTAKES, read=_loss, tolerance=2e-5)
    compared.on(
        lambda: _telling(draw, [6] * 4, 0),
        "Without padding the result is wrong.\n"
        "The log-probability of each label, minus their mean over all tokens: which step differs?",
    )
    yield "without padding: minus the mean log-probability of the labels"

    for padding in (0, WORDS - 1):
        compared.on(
            partial(_telling, draw, [6, 2, 5, 1], padding),
            f"Right without padding, wrong with it (here the id {padding}).\n"
            "Whose numbers are in the sum, and by how many is it divided?",
        )
    yield "padding does not count, whichever id it has"

    def padding_in_front() -> Call:
        labels = sentences(draw, [6, 2, 5, 1], 0, WORDS)
        return Call(2 * draw.normal(4, 6, WORDS), labels.roll(draw.whole(1, 5), 1))

    compared.on(padding_in_front, IN_FRONT)
    compared.on(
        lambda: _call(
            200 * draw.normal(4, 6, WORDS), sentences(draw, [6, 2, 5, 1], padding, WORDS), padding
        ),
        LARGE_LOGITS,
        facts=lambda call, loss: {"largest": call.arguments[0].max(), "loss": loss.item()},
        tolerance=1e-3,
    )
    answer.gradients(
        _reference,
        2 * draw.normal(4, 6, WORDS),
        sentences(draw, [6, 2, 5, 1], padding, WORDS),
        padding,
    )
    yield "however large the logits, and it can be trained"


def _reference(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    return _surprise(logits, labels)[labels != padding].mean()


def _surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability of each label, in nats, shape of the labels."""
    return logits.logsumexp(-1) - logits.gather(-1, labels[..., None])[..., 0]


def _call(logits: Tensor, labels: Tensor, padding: int) -> Call:
    """Without ``padding`` where it is the default."""
    return Call(logits, labels, padding) if padding else Call(logits, labels)


def _telling(draw: Draw, lengths: Sequence[int], padding: int) -> Call:
    """Logits (B, T, V) and labels (B, T) for which no mistake is right by chance."""
    while True:
        labels = sentences(draw, lengths, padding, WORDS)
        call = _call(2 * draw.normal(*labels.shape, WORDS), labels, padding)
        right = call.of(_reference)
        apart = torch.stack(
            [(call.of(mistake.wrong) - right).abs() for mistake in MISTAKES if mistake.compared]
        )
        if not ((apart > 1e-5) & (apart < 5e-3)).any():
            return call


def _loss(result: object, right: Tensor) -> Tensor:
    if isinstance(result, Tensor) and result.dim() and result.numel() == 4 * 6:
        raise CheckFailed(FOR_EACH_TOKEN.format(shape=tuple(result.shape)))
    if isinstance(result, float):
        raise CheckFailed(PLAIN_NUMBER)
    return a_tensor(result, (), "loss")


# --- What learners write instead -----------------------------------------------------------------


def _real_mean(values: Tensor, labels: Tensor, padding: int) -> Tensor:
    return values[labels != padding].mean()


def _picked(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(-1, labels[..., None])[..., 0]


def _real_sum(logits: Tensor, labels: Tensor, padding: int) -> Tensor:
    return _surprise(logits, labels)[labels != padding].sum()


def _by_lengths(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    """As many tokens count as there are, the first ones."""
    lengths = (labels != padding).sum(-1, keepdim=True)
    return _surprise(logits, labels)[torch.arange(labels.shape[1]) < lengths].mean()


def _mean_of_means(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    nats, real = _surprise(logits, labels), labels != padding
    return ((nats * real).sum(-1) / real.sum(-1)).mean()


def _only_padding(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    padded = labels == padding
    return _surprise(logits, labels)[padded if padded.any() else ~padded].mean()


def _word_of_padding_silenced(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    silent = torch.arange(logits.shape[-1]) == padding
    return _reference(logits.masked_fill(silent, -1e9), labels, padding)


def _reshaped(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    batch, tokens, words = logits.shape
    return F.cross_entropy(logits.reshape(batch, words, tokens), labels, ignore_index=padding)


def _flattened_apart(logits: Tensor, labels: Tensor, padding: int = 0) -> Tensor:
    flat = logits.transpose(0, 1).reshape(-1, logits.shape[-1])
    return _reference(flat, labels.flatten(), padding)


def _unstable(logits: Tensor, labels: Tensor, padding: int = 0, added: float = 0.0) -> Tensor:
    powers = (logits - logits.amax(-1, keepdim=True) if added else logits).exp()
    probabilities = powers / powers.sum(-1, keepdim=True)
    return -_real_mean(_picked((probabilities + added).log(), labels), labels, padding)


def _log_softmax(axis: int) -> Callable[..., Tensor]:
    return lambda logits, labels, padding=0: (
        -_real_mean(_picked(logits.log_softmax(axis), labels), labels, padding)
    )


MISTAKES = [
    Mistake(
        lambda logits, labels, padding=0: _real_sum(logits, labels, padding),
        "The tokens are added up: a large batch would count for more than a small one.\n"
        "A mean over tokens: by what must the sum be divided?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _real_sum(logits, labels, padding) / len(labels),
        "The tokens of a sentence are added up, and the mean is over sentences.\n"
        "A mean over tokens: by what must the sum be divided?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _real_sum(logits, labels, padding) / labels.shape[1],
        "The sentences are added up.\nA mean over all tokens: by what must the sum be divided?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits, labels, padding) / math.log(2),
        "It is in bits.\nWhich logarithm gives nats?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits.softmax(-1), labels, padding),
        "The softmax is taken twice: cross_entropy takes logits and does it itself.\n"
        "What do you give it?",
    ),
    Mistake(
        lambda logits, labels, padding=0: (
            -_real_mean(_picked(logits.softmax(-1), labels), labels, padding)
        ),
        "The logarithm is missing: that is the mean of minus the probability.\n"
        "What is the surprise at something that has probability p?",
    ),
    Mistake(
        lambda logits, labels, padding=0: -_reference(logits, labels, padding),
        "It is negative: the log of a probability is below 0.\nWhere does the minus sign go?",
    ),
    Mistake(
        lambda logits, labels, padding=0: -_real_mean(_picked(logits, labels), labels, padding),
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
        lambda logits, labels, padding=0: _reference(logits, labels, padding).exp(),
        "It is the perplexity, exp(loss).\nWhat is it before the exponential?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits, labels, padding) / logits.shape[-1],
        "The sum is divided by tokens times words.\n"
        "Each token has one label: how many numbers are there in the mean?",
    ),
    Mistake(
        lambda logits, labels, padding=0: -logits.log_softmax(-1).mean(),
        "It is the mean over all words of minus the log-probability, right ones and wrong ones.\n"
        "Which one of each row is asked for?",
    ),
    Mistake(
        _log_softmax(0),
        "The softmax runs over the sentences.\nWhich axis holds the words?",
    ),
    Mistake(
        _flattened_apart,
        "Logits and labels are flattened in different orders.\nDid one of them change axes before?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits[:1], labels[:1], padding),
        "Only the first sentence counts.\nIs there an index [0] too many?",
    ),
    Mistake(
        _word_of_padding_silenced,
        "The word with the id of padding is taken out of the softmax.\n"
        "Is it words that are to be left out, or tokens? Where?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits, labels, 0),
        "The id 0 is taken for padding, whatever `padding` says.\n"
        "Where do you use the third argument?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _surprise(logits, labels).mean(),
        "Padding counts like any token: a model that writes padding well gets a low loss.\n"
        "Which labels are to be left out?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _real_sum(logits, labels, padding) / labels.numel(),
        "The real tokens are added up and divided by the number of all, padding and all.\n"
        "How many numbers are in the sum?",
    ),
    Mistake(
        _mean_of_means,
        "It is the mean of the means of the sentences: a word of a short sentence weighs more.\n"
        "If every token counts the same, how many means are there?",
    ),
    Mistake(
        lambda logits, labels, padding=0: _surprise(
            logits * (labels != padding)[..., None], labels
        ).mean(),
        "The logits of padding are set to 0; that is a guess among all words, which has a loss, "
        "too.\nHow do you leave a token out, instead of changing it?",
    ),
    Mistake(
        _only_padding,
        "It is padding that counts, and nothing else.\nWhich comparison marks real tokens?",
    ),
    Mistake(
        lambda logits, labels, padding=0: (
            _surprise(logits, labels).sum() / (labels != padding).sum()
        ),
        "The sum over all tokens, padding and all, is divided by the number of real ones.\n"
        "Which numbers belong in the sum?",
    ),
    Mistake(
        _unstable,
        "With large logits (here up to {largest:.0f}) the loss is {loss:g}: exp of such a number "
        "overflows, or a softmax gives 0 and its logarithm -inf.\n"
        "Which function gives log-probabilities in one step?",
        alike=not_finite,
    ),
    Mistake(partial(_unstable, added=1e-9), LARGE_LOGITS, compared=False),
    Mistake(_by_lengths, IN_FRONT, compared=False),
    Mistake(
        lambda logits, labels, padding=0: _surprise(logits, labels),
        FOR_EACH_TOKEN,
        compared=False,
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits, labels, padding).item(),
        PLAIN_NUMBER,
        compared=False,
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits.detach(), labels, padding),
        NO_GRADIENT,
        compared=False,
    ),
    Mistake(
        lambda logits, labels, padding=0: _reference(logits, labels, padding).detach().numpy(),
        FROM_NUMPY,
        compared=False,
    ),
]

EXERCISE = Exercise("sequence_loss", "translation", 2, check, mistakes=MISTAKES, ours=_reference)
