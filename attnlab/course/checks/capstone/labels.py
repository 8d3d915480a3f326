"""The exercise ``trial_labels``: labels of sentences, padded as if they were tokens."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise

Tokens = Sequence[Sequence[int]]


def padded_labels(tokens: Tokens, labels: Sequence[int]) -> Tensor:
    """The claim."""
    longest = max(len(sentence) for sentence in tokens)
    return torch.tensor(list(labels) + [0] * (longest - len(labels)))


def _for_each(tokens: Tokens, labels: Sequence[int]) -> Tensor:
    return padded_labels(tokens, labels).repeat(len(tokens), 1)


def _cut(tokens: Tokens, labels: Sequence[int]) -> Tensor:
    return torch.tensor(list(labels)[: max(len(sentence) for sentence in tokens)])


def _by_token(tokens: Tokens, labels: Sequence[int]) -> Tensor:
    return torch.cat(
        [torch.full((len(s),), label) for s, label in zip(tokens, labels, strict=True)]
    )


def ours(candidate: Callable[..., Tensor]) -> bool:
    """Few long sentences, and many short ones."""
    few = candidate([[5, 6, 7, 8, 9], [5, 6]], [1, 0])
    many = candidate([[5, 6]] * 12, [1, 0] * 6)
    return few.shape != (2,) or many.shape != (12,)


CASE = Case(
    name="trial_labels",
    about="is this one label for each sentence of a batch?",
    claim=Version(
        padded_labels,
        "pads the list of all labels to the length of the longest sentence",
        "Is your longest sentence longer than there are sentences? Else there is nothing to pad.",
    ),
    guilty=True,
    wrong=[
        Version(
            lambda tokens, labels: torch.tensor(list(labels) + [0] * (-len(labels) % 8)),
            "pads the labels up to a multiple of 8",
            "With 8 sentences, or 16, nobody sees that. How many are yours?",
        ),
        Version(
            _for_each,
            "gives each sentence the padded labels of all",
            "It has as many rows as there are sentences. How many numbers are in a row?",
        ),
        Version(
            _cut,
            "cuts the labels off at the length of the longest sentence",
            "Have you a batch with more sentences than its longest one has tokens?",
        ),
        Version(
            _by_token,
            "gives every token the label of its sentence",
            "Are your sentences longer than one token?",
        ),
    ],
    right=[
        Version(
            lambda tokens, labels: torch.tensor(list(labels)),
            "makes a tensor of the labels as they are",
            "How many labels should there be?",
        ),
        Version(
            lambda tokens, labels: torch.stack([torch.tensor(label) for label in labels]),
            "stacks the labels one by one",
            "How many labels should there be?",
        ),
        Version(
            lambda tokens, labels: torch.tensor(list(labels), dtype=torch.int32),
            "keeps them in 32 bits",
            "Does your trial ask for a type of number?",
        ),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE)
