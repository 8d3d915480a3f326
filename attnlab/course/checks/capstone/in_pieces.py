"""The exercise ``trial_in_pieces``: attention that never sees all keys together."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.course.checks.capstone.court import Case, Version, exercise, noisy

PIECE = 3  # keys


def in_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The claim."""
    return _online(query, key, value)


def _online(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    corrected: bool = True,
    scaled: bool = True,
    whole: bool = False,
    total_of_last: bool = False,
) -> Tensor:
    top = torch.full_like(query[..., :1], -1e9)
    total, mixture = torch.zeros_like(top), torch.zeros_like(query[..., :1] * value[..., :1, :])
    scale = math.sqrt(query.shape[-1]) if scaled else 1.0
    for start in range(0, key.shape[-2], PIECE):
        keys, values = (given[..., start : start + PIECE, :] for given in (key, value))
        if whole and keys.shape[-2] < PIECE:
            break
        scores = query @ keys.mT / scale
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights = (scores - higher).exp()
        before = (top - higher).exp() if corrected else (top > -1e9).float()
        total = total * (0 if total_of_last else before) + weights.sum(-1, keepdim=True)
        mixture, top = mixture * before + weights @ values, higher
    return mixture / total


def _right(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value


def _by_logarithms(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key) / query.shape[-1] ** 0.5
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return torch.einsum("...qk,...kd->...qd", weights, value)


def _mean_of_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    pairs = zip(key.split(PIECE, -2), value.split(PIECE, -2), strict=True)
    return torch.stack([_right(query, *pair) for pair in pairs]).mean(0)


def ours(candidate: Callable[..., Tensor]) -> bool:
    """Beside the plain formula, for some numbers of keys."""
    for keys in (4, 7, 12):
        query, key, value = torch.randn(5, 8), torch.randn(keys, 8), torch.randn(keys, 6)
        expected = (query @ key.mT / 8**0.5).softmax(-1) @ value
        if not torch.allclose(candidate(query, key, value), expected, atol=1e-4):
            return True
    return False


CASE = Case(
    name="trial_in_pieces",
    about="is this attention, for any number of keys?",
    claim=Version(
        in_pieces,
        "takes a few keys at a time, and corrects sum and mixture when a higher score comes",
        "Softmax is exp(score) over the sum of all. Where do you expect another result, and how "
        "much is rounding?",
    ),
    guilty=False,
    wrong=[
        Version(
            _mean_of_pieces,
            "takes the softmax within each piece of three keys, and the mean over pieces",
            "It is right with three keys. With how many do you try?",
        ),
        Version(
            lambda query, key, value: _online(query, key, value, corrected=False),
            "keeps what it has summed as it is when a higher score comes",
            "Its result is still a mean of values. What else do you know of it?",
        ),
        Version(
            lambda query, key, value: _online(query, key, value, scaled=False),
            "forgets the square root of the width",
            "Is the width of your keys 1, or are all your scores alike?",
        ),
        Version(
            lambda query, key, value: _online(query, key, value, whole=key.shape[-2] > PIECE),
            "leaves out the last keys where their number is no multiple of three",
            "Which numbers of keys do you try?",
        ),
        Version(
            lambda query, key, value: _online(query, key, value, total_of_last=True),
            "divides by the sum over the last piece alone",
            "It is right with three keys. With how many do you try?",
        ),
    ],
    right=[
        Version(
            _right,
            "takes one softmax over all keys, by the book",
            "What does your trial expect, if not this?",
        ),
        Version(
            _by_logarithms,
            "takes the logarithm of the sum off each score, with einsum",
            "It is the same softmax. Do you allow for rounding?",
        ),
        noisy(_right),
    ],
    ours=ours,
)
EXERCISE = exercise(CASE, points=2)
