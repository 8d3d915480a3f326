"""The exercise ``trial_translator``: BERT fed as a translator."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise

WORDS, WIDTH = 100, 16


def bert_as_translator(source: Tensor, target: Tensor) -> Tensor:
    """The claim."""
    return _read(source, target, torch.ones(len(target), len(target)).bool())


def _read(source: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
    """Attention from target words to the source, and to target words where allowed."""
    table = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(0)) / 2
    words = torch.cat([source, target])
    place = torch.arange(len(words))[:, None] / 10 ** torch.linspace(0, 2, WIDTH)
    hidden = table[words] + place.sin()
    scores = hidden[len(source) :] @ hidden.T / WIDTH**0.5
    scores[:, len(source) :].masked_fill_(~allowed, -torch.inf)
    return (scores.softmax(-1) @ hidden) @ table.T


def _causal(target: Tensor, ahead: int = 0) -> Tensor:
    return torch.ones(len(target), len(target)).tril(ahead).bool()


def _masked(source: Tensor, target: Tensor) -> Tensor:
    return _read(source, target, _causal(target))


def _word_by_word(source: Tensor, target: Tensor) -> Tensor:
    rows = [bert_as_translator(source, target[: t + 1])[-1] for t in range(len(target))]
    return torch.stack(rows)


def _hides_the_next(source: Tensor, target: Tensor) -> Tensor:
    size = len(target)
    return _read(source, target, ~torch.diag(torch.ones(size).bool()[1:], 1))


def _two_parts(source: Tensor, target: Tensor) -> Tensor:
    """An encoder for the source, and a decoder that reads it and its own past."""
    seen = _read(source, source, torch.ones(len(source), len(source)).bool()).mean(0)
    return _masked(source[:0], target) + seen


def ours(candidate: Callable[..., Tensor]) -> bool:
    """No row knows a later word of the target; all know the source."""
    source, target = torch.randint(100, (6,)), torch.randint(100, (7,))
    logits = candidate(source, target)
    for t in range(6):
        other = target.clone()
        other[t + 1] = (other[t + 1] + 1) % 100
        if not torch.allclose(candidate(source, other)[: t + 1], logits[: t + 1], atol=1e-3):
            return True
    return torch.allclose(candidate((source + 1) % 100, target), logits, atol=1e-3)


CASE = Case(
    name="trial_translator",
    about="could `candidate(source, target)` write a translation word by word?",
    claim=Version(
        bert_as_translator,
        "reads the whole target, with the words that it should predict",
        "Change a later word of the target. Which rows may change, and which may not?",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda source, target: _read(source, target, _causal(target, 1)),
            "sees one word ahead, just the one that it should predict",
            "Which word of the target do you change, and in which row do you look?",
        ),
        Version(
            _hides_the_next,
            "hides the next word, and shows those after it",
            "Do you change only the next word, or the later ones, too?",
        ),
        Version(
            lambda source, target: _masked(source[:0], target),
            "never looks at the source: a language model",
            "What must happen to the answers when the source is another?",
        ),
    ],
    right=[
        Version(
            _masked,
            "reads the source, and of the target what is written already",
            "Row t predicts the word after target[t]. May it know target[t]?",
        ),
        Version(
            _word_by_word,
            "is asked anew for every word, with BERT's view of what there is so far",
            "What it cannot be given, it cannot see. Do you allow for rounding?",
        ),
        Version(
            _two_parts,
            "reads the source with an encoder of its own",
            "Row t predicts the word after target[t]. May it know target[t]?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE, points=2)
