"""Exercise ``ablate``: zero, uniform and mean ablation of one head."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    same_shape,
    where,
)

HEADS = 4
IN_FRONT = (
    "Right where padding stands at the end, wrong where it stands in front.\n"
    "Does `real` say which tokens are real, or only how many?"
)
Replacement = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # of all that is given


def check(answer: Answer, draw: Draw) -> Held:
    """``ablate(context, value, real, mean, head, how)``: one head's output replaced."""
    compared = Comparison(answer, reference, MISTAKES, read=_read)
    otherwise = (
        "For {how!r} the result is wrong.\n"
        "What should replace the output of this head, and do all others stay as they were?"
    )

    def several_texts(how: str) -> Callable[[], Call]:
        # the head's index is also that of a text, of a token and of a column
        return lambda: Call(*_contexts(draw, [4, 6, 3]), draw.whole(1, 2), how)

    for how, held in (
        ("zero", "zero: this head silent, and no other"),
        ("uniform", "uniform: the mean value of the text's real tokens"),
        ("mean", "mean: the head's average output over many texts"),
    ):
        compared.on(several_texts(how), otherwise, facts=_facts)
        yield held

    def padding_in_front() -> Call:
        context, value, real, mean = _contexts(draw, [4, 6, 3])
        return Call(context, value, real.roll(2, 1), mean, draw.whole(0, HEADS - 1), "uniform")

    compared.on(padding_in_front, IN_FRONT, facts=_facts)
    yield "wherever the padding is"

    with where("With a single text and no padding:"):
        for head, how in ((0, "zero"), (HEADS - 1, "uniform"), (0, "mean")):
            call = Call(*_contexts(draw, [5]), head, how)
            compared.on(functools.partial(_same, call), otherwise, facts=_facts)
    yield "a single text, too"


def reference(
    context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
) -> Tensor:
    """Text by text; NaN where anything may stand: at padding."""
    result = context.clone()
    for text, seen in enumerate(real):
        result[text, :, ~seen] = torch.nan
        if how == "uniform":
            result[text, head, seen] = value[text, head, seen].mean(0)
        else:
            result[text, head, seen] = mean[head] if how == "mean" else 0.0
    return result


def _contexts(draw: Draw, lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What ablate gets: contexts, values, which tokens are real, and means."""
    tokens, width = max(lengths), 5
    shape = (len(lengths), HEADS, tokens, width)
    real = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return draw.normal(*shape), 1 + draw.normal(*shape), real, 1 + draw.normal(HEADS, width)


def _same(call: Call) -> Call:
    return call


def _read(result: Any, right: Tensor) -> Tensor:
    """The result where it counts, and 0 elsewhere."""
    result = a_tensor(result, tuple(right.shape), "context", may_be_nan=result is right)
    return result.masked_fill(right.isnan(), 0.0)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    *_, head, how = call.arguments
    return {
        "head": head,
        "previous": head - 1,
        "how": how,
        "tokens": call.arguments[0].shape[2],
        "shape": tuple(result.shape) if isinstance(result, Tensor) else None,
    }


# --- What learners write instead -----------------------------------------------------------------


def _ablated(
    context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
) -> Tensor:
    """A right answer, of which mistakes change a part."""
    mask = real[:, None, :, None]
    new = {
        "zero": torch.zeros(()),
        "uniform": (value * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True),
        "mean": mean[:, None],
    }[how]
    return torch.where(_is(head), new, context)


def _is(head: int) -> Tensor:
    return (torch.arange(HEADS) == head)[:, None, None]


def _replacing(**methods: Replacement) -> Callable[..., Tensor]:
    """Ablation where, for one of the methods, something else replaces the head's output."""

    def answer(
        context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
    ) -> Tensor:
        if how not in methods:
            return _ablated(context, value, real, mean, head, how)
        return torch.where(_is(head), methods[how](context, value, real, mean, head), context)

    return answer


def _returning(**methods: Replacement) -> Callable[..., Tensor]:
    """Ablation whose whole result, for one of the methods, is another."""

    def answer(
        context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
    ) -> Tensor:
        if how not in methods:
            return _ablated(context, value, real, mean, head, how)
        return methods[how](context, value, real, mean, head)

    return answer


def _zeros_in(index: Callable[[int], Any]) -> Replacement:
    def zeroed(context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int) -> Tensor:
        changed = context.clone()
        changed[index(head)] = 0
        return changed

    return zeroed


def _sum_of_real(values: Tensor, real: Tensor) -> Tensor:
    """The sum over the real tokens, (B, H, 1, D)."""
    return (values * real[:, None, :, None]).sum(2, keepdim=True)


def _mean_of_real(values: Tensor, real: Tensor) -> Tensor:
    return _sum_of_real(values, real) / real.sum(-1)[:, None, None, None]


def _mean_of_batch(values: Tensor, real: Tensor) -> Tensor:
    return _sum_of_real(values, real).sum(0, keepdim=True) / real.sum()


def _in_place(
    context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
) -> Tensor:
    context[:, head] = _ablated(context, value, real, mean, head, how)[:, head]
    return context


ONLY_THIS_HEAD = "Should anything but this head change?"
WEIGHTS_RUN = "Over which axis of (B, H, T, D) do the weights of a head run?"
COUNTS_HEADS = "Which axis of (B, H, T, D) counts the heads?"
ROW_OF_MEAN = "Which row of `mean` belongs to this head?"
ALL_STAY = "All heads should stay where they are: what should replace the output of this one?"

ZERO = [
    Mistake(
        _returning(zero=lambda context, value, real, mean, head: context),
        "Nothing has changed.\nDo you return the new tensor, or the one that was given?",
    ),
    Mistake(
        _returning(zero=lambda context, value, real, mean, head: torch.zeros_like(context)),
        f"All heads are silent.\n{COUNTS_HEADS}",
    ),
    Mistake(
        _returning(
            zero=lambda context, value, real, mean, head: torch.where(_is(head), context, 0.0)
        ),
        "Only this head is left, and all others are silent.\nWhich of them was to be taken away?",
    ),
    Mistake(
        _returning(zero=_zeros_in(lambda head: head)),
        f"Text {{head}} is silent, with all its heads, and no other.\n{COUNTS_HEADS}",
    ),
    Mistake(
        _returning(zero=_zeros_in(lambda head: (..., head, slice(None)))),
        f"Token {{head}} is silent, in all heads.\n{COUNTS_HEADS}",
    ),
    Mistake(
        _returning(zero=_zeros_in(lambda head: (slice(None), head - 1))),
        "Head {previous} is silent, not head {head}.\nDo heads count from 0 or from 1?",
    ),
    Mistake(
        _returning(
            zero=lambda context, value, real, mean, head: (
                torch.where(_is(head), 0.0, context) * HEADS / (HEADS - 1)
            )
        ),
        f"The head is silent, and the others have become louder, as in dropout.\n{ONLY_THIS_HEAD}",
    ),
    Mistake(
        _returning(
            zero=lambda context, value, real, mean, head: torch.cat(
                [context[:, :head], context[:, head + 1 :]], 1
            )
        ),
        f"For {{how!r}} there is one head less in the result, of shape {{shape}}.\n{ALL_STAY}",
        alike=same_shape,
    ),
    Mistake(
        _returning(zero=lambda context, value, real, mean, head: 0 * context[:, head]),
        f"For {{how!r}} there is only this head in the result, of shape {{shape}}.\n{ALL_STAY}",
        alike=same_shape,
    ),
    Mistake(
        _returning(zero=lambda context, value, real, mean, head: 0 * context[:, head : head + 1]),
        "For {how!r} there is only this head in the result, of shape {shape}, with an axis of "
        f"length 1.\n{ALL_STAY}",
        alike=same_shape,
    ),
]
UNIFORM = [
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: torch.zeros(())),
        "For 'uniform' the head is silent, as for 'zero'.\nWhere does your function look at `how`?",
    ),
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: value.mean(2, keepdim=True)),
        "The padding is averaged, too: the head looks at tokens that are not there.\n"
        "Which tokens does `real` mark?",
    ),
    Mistake(
        _replacing(
            uniform=lambda context, value, real, mean, head: (
                _sum_of_real(value, real) / real.shape[1]
            )
        ),
        "The values of the real tokens are divided by {tokens}, the number of all tokens.\n"
        "By how many must they be divided, so that the weights sum to 1?",
    ),
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: _sum_of_real(value, real)),
        "The values of the real tokens are added up.\n"
        "How large is each weight, if they are equal and sum to 1?",
    ),
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: _mean_of_batch(value, real)),
        f"The real tokens of all texts are averaged: each text looks into the others.\n"
        f"{WEIGHTS_RUN}",
    ),
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: _mean_of_real(context, real)),
        "It is the context that is averaged, in which the head's own weights are still at work.\n"
        "What do weights mix?",
    ),
    Mistake(
        _returning(
            uniform=lambda context, value, real, mean, head: _mean_of_real(value, real).expand_as(
                context
            )
        ),
        f"All heads have uniform weights.\n{ONLY_THIS_HEAD}",
    ),
    Mistake(
        _replacing(uniform=lambda context, value, real, mean, head: value.mean(1, keepdim=True)),
        f"The values of all heads are averaged, at each token.\n{WEIGHTS_RUN}",
    ),
    Mistake(
        _replacing(
            uniform=lambda context, value, real, mean, head: (
                1 / real.sum(-1)[:, None, None, None].float()
            )
        ),
        "The weights themselves stand in the result.\nWhat do they mix, to become a context?",
    ),
]
MEAN = [
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: torch.zeros(())),
        "For 'mean' the head is silent, as for 'zero'; 'uniform' was right.\n"
        "What does `how` say for this third method?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: _mean_of_real(value, real)),
        "For 'mean' the head has uniform weights, as for 'uniform'.\n"
        "Where does your function look at `how`?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: mean.mean(0)),
        f"The mean is taken over the heads; it tells nothing of this one.\n{ROW_OF_MEAN}",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: context.mean(1, keepdim=True)),
        f"The mean of all heads at each token is there.\n{ROW_OF_MEAN}",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: _mean_of_real(context, real)),
        "The head has the mean of its own text, so it still tells something about it.\n"
        "What is `mean` for?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: context.mean(2, keepdim=True)),
        "The head has the mean of its own text, padding included.\nWhat is `mean` for?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: _mean_of_batch(context, real)),
        "The head has the mean of this batch: the answer would depend on the company a text is "
        "in.\nWhat is `mean` for?",
    ),
    Mistake(
        _replacing(
            mean=lambda context, value, real, mean, head: context.mean((0, 2), keepdim=True)
        ),
        "The head has the mean of this batch, padding included.\nWhat is `mean` for?",
    ),
    Mistake(
        _returning(mean=lambda context, value, real, mean, head: mean[:, None].expand_as(context)),
        f"All heads have their mean.\n{ONLY_THIS_HEAD}",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: context + mean[:, None]),
        "The mean is added to the head's own output.\nShould that not be gone?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: context - mean[:, None]),
        "The mean is subtracted from the head's output, so what is left is all that the text "
        "tells.\nWhich of the two should stay?",
    ),
    Mistake(
        _replacing(mean=lambda context, value, real, mean, head: mean[0]),
        f"The head has the mean of head 0.\n{ROW_OF_MEAN}",
    ),
]
MISTAKES = [*ZERO, *UNIFORM, *MEAN, Mistake(_in_place, CHANGES_TENSOR, compared=False)]


def _ours(
    context: Tensor, value: Tensor, real: Tensor, mean: Tensor, head: int, how: str
) -> Tensor:
    shares = (real / real.sum(-1, keepdim=True))[:, None, None]
    new = {"zero": 0 * context, "uniform": shares @ value, "mean": mean[:, None]}[how]
    this = torch.arange(context.shape[1], device=context.device) == head
    return torch.where(this[:, None, None], new, context)


EXERCISE = Exercise("ablate", "head_mixing", 2, check, mistakes=MISTAKES, ours=_ours)
