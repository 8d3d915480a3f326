"""Check of ``ablate``."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_tensor,
    compare,
    where,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``ablate(context, value, real, mean, head, how)``: what a head brings, replaced in one of "
    "three ways."""
    given = _contexts(draw, lengths=[6, 4, 3])
    context, value, real, mean = given
    texts, heads, tokens, _ = context.shape
    head = draw.whole(1, texts - 1)  # also the number of a text, of a token and of a column
    this = (torch.arange(heads) == head)[:, None, None]

    def only(replaced: Tensor | float) -> Tensor:
        """The head replaced, every other left as it is."""
        return torch.where(this, replaced, context)

    def at(*place: slice | int) -> Tensor:
        """Zeros at another place than the head's."""
        other = context.clone()
        other[place] = 0
        return other

    zero = only(0.0)
    _same_contexts(
        answer,
        given,
        head,
        "zero",
        {
            "Nothing has changed.\nDo you return the new tensor, or the one that was given?": context,
            "All heads are silent.\nWhich axis of (B, H, T, D) counts the heads?": (
                torch.zeros_like(context)
            ),
            "Only this head is left, and all others are silent.\n"
            "Which of them was to be taken away?": torch.where(this, context, 0.0),
            f"Text {head} is silent, with all its heads, and no other.\n"
            "Which axis of (B, H, T, D) counts the heads?": at(head),
            f"Token {head} is silent, in all heads.\n"
            "Which axis of (B, H, T, D) counts the heads?": at(slice(None), slice(None), head),
            f"Head {head - 1} is silent, not head {head}.\nDo heads count from 0 or from 1?": (
                at(slice(None), head - 1)
            ),
            "The head is silent, and the others have become louder, as in dropout.\n"
            "Should anything but this head change?": zero * heads / (heads - 1),
        },
    )
    yield "zero: this head silent, and no other"

    count = real.sum(-1)[:, None, None, None]  # (B, 1, 1, 1)
    seen = (value * real[:, None, :, None]).sum(2, keepdim=True)  # (B, H, 1, D)
    right = seen / count
    _same_contexts(
        answer,
        given,
        head,
        "uniform",
        {
            "The head is silent, as for 'zero'.\nWhere does your function look at `how`?": zero,
            "The padding is averaged, too: the head looks at tokens that are not there.\n"
            "Which tokens does `real` mark?": only(value.mean(2, keepdim=True)),
            f"The values of the real tokens are divided by {tokens}, the number of all tokens.\n"
            "By how many must they be divided, so that the weights sum to 1?": only(seen / tokens),
            "The values of the real tokens are added up.\n"
            "How large is each weight, if they are equal and sum to 1?": only(seen),
            "The real tokens of all texts are averaged: each text looks into the others.\n"
            "Over which axis of (B, H, T, D) do the weights of a head run?": (
                only(seen.sum(0, keepdim=True) / real.sum())
            ),
            "It is the context that is averaged, in which the head's own weights are still at "
            "work.\n"
            "What do weights mix?": only(
                (context * real[:, None, :, None]).sum(2, keepdim=True) / count
            ),
            "All heads have uniform weights.\nShould anything but this head change?": (
                right.expand_as(context)
            ),
            "The values of all heads are averaged, at each token.\n"
            "Over which axis of (B, H, T, D) do the weights of a head run?": (
                only(value.mean(1, keepdim=True))
            ),
            "The weights themselves stand in the result.\n"
            "What do they mix, to become a context?": only((1 / count).float()),
        },
    )
    yield "uniform: the mean value of the text's real tokens"

    own = mean[:, None]  # (H, 1, D)
    mine = real[:, None, :, None]
    nearest = (context * mine).sum(2, keepdim=True)
    _same_contexts(
        answer,
        given,
        head,
        "mean",
        {
            "The head is silent, as for 'zero'; 'uniform' was right.\n"
            "What does `how` say for this third way?": zero,
            "The head has uniform weights, as for 'uniform'.\n"
            "Where does your function look at `how`?": only(right),
            "The mean is taken over the heads; it tells nothing of this one.\n"
            "Which row of `mean` belongs to it?": only(mean.mean(0)),
            "The mean of all heads at each token is there.\n"
            "Which row of `mean` belongs to this head?": only(context.mean(1, keepdim=True)),
            "The head has the mean of its own text, so it still tells something about it.\n"
            "What is `mean` for?": only(nearest / count),
            "The head has the mean of its own text, padding and all.\nWhat is `mean` for?": (
                only(context.mean(2, keepdim=True))
            ),
            "The head has the mean of this batch: the answer would depend on the company a text "
            "is in.\n"
            "What is `mean` for?": only(nearest.sum(0, keepdim=True) / real.sum()),
            "The head has the mean of this batch, padding and all.\nWhat is `mean` for?": (
                only(context.mean((0, 2), keepdim=True))
            ),
            "All heads have their mean.\nShould anything but this head change?": (
                own.expand_as(context)
            ),
            "The mean is added to what the head brings.\nShould that not be gone?": (
                only(context + own)
            ),
            "The mean is taken off what the head brings, so what is left is all that the text "
            "tells.\n"
            "Which of the two should stay?": only(context - own),
            "The head has the mean of head 0.\nWhich row of `mean` belongs to it?": only(own[:1]),
        },
    )
    yield "mean: what the head brings on average over many texts"

    with where("With a single text and no padding:"):
        single = _contexts(draw, lengths=[5])
        for head, how in ((0, "zero"), (heads - 1, "uniform"), (0, "mean")):
            _same_contexts(answer, single, head, how, {})
    yield "a single text, too"


def _contexts(draw: Draw, lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What ablate gets: contexts, values, which tokens are real, and means."""
    heads, tokens, width = 4, max(lengths), 5
    shape = (len(lengths), heads, tokens, width)
    real = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return draw.normal(*shape), 1 + draw.normal(*shape), real, 1 + draw.normal(heads, width)


def _same_contexts(
    answer: Answer,
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    head: int,
    how: str,
    mistakes: dict[str, Tensor],
) -> None:
    """Fail unless the head is replaced and nothing else; what stands at its padding does not "
    "count."""
    context, value, real, mean = given
    texts, heads, tokens, width = context.shape
    uniform = [
        one[:, seen].mean(1) for one, seen in zip(value, real, strict=True)
    ]  # B times (H, D)
    there = {
        "zero": torch.zeros(texts, width),
        "uniform": torch.stack(uniform)[:, head],
        "mean": mean[head].expand(texts, width),
    }[how]
    right = torch.stack(
        [
            there[:, None].expand(-1, tokens, -1) if h == head else context[:, h]
            for h in range(heads)
        ],
        1,
    )
    ignored = torch.zeros(texts, heads, tokens, 1, dtype=torch.bool)
    ignored[:, head, :, 0] = ~real

    result = answer(*given, head, how)
    if isinstance(result, Tensor) and tuple(result.shape) in (
        (texts, heads - 1, tokens, width),
        (texts, tokens, width),
        (texts, 1, tokens, width),
    ):
        what = "one head less" if result.dim() == 4 and result.shape[1] > 1 else "only this head"
        raise CheckFailed(
            f"For {how!r} there is {what} in the result, of shape {tuple(result.shape)}.\n"
            "All heads should stay in their places: what should stand in the place of this one?"
        )
    result = a_tensor(result, tuple(context.shape), "context")
    compare(
        torch.where(ignored, right, result.to(right.dtype)),
        right,
        {
            diagnosis: (lambda one=one: torch.where(ignored, right, one))
            for diagnosis, one in mistakes.items()
        },
        f"For {how!r} the result is wrong.\n"
        "What should stand in the place of this head, and do all others stay as they were?",
    )


EXERCISE = Exercise("ablate", "head_mixing", 2, check)
