"""The exercise ``decoder_mask``."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    require,
    same_shape,
)
from attnlab.course.checks.translation.sentences import sentences

SHAPE = "The mask has shape {shape}. "
TO_BE_ADDED = (
    "The mask holds -inf, to be added to the scores.\n"
    "Here a mask is bool, True where looking is allowed: which comparison makes one?"
)
NOT_BOOL = (
    "The mask is of type {dtype}; here a mask is bool, True where looking is allowed.\n"
    "A .bool() missing, or a * where & is meant?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``decoder_mask(target, padding)``: the past and the token itself, and no padding as a key."""
    compared = Comparison(answer, _reference, MISTAKES, read=_mask)
    compared.on(
        lambda: Call(sentences(draw, [draw.whole(4, 7)], padding=0), 0),
        "Without padding row i should be True in columns 0 to i, and False beyond.\n"
        "Which place differs?",
        facts=_facts,
    )
    yield "without padding: itself and the past, never the future"

    for padding in (0, draw.whole(3, 9)):
        compared.on(
            partial(_with_padding, draw, padding),
            "With padding (here the id {padding}) the mask is wrong.\n"
            "Causal, and columns of padding False in each sentence: which of the two differs?",
            facts=_facts,
        )
    compared.on(
        lambda: Call(torch.randint(3, (1, draw.whole(130, 140)), generator=draw.generator), 2),
        "Right for a few tokens, wrong for a hundred.\nIs a largest length typed in?",
        draws=1,
    )
    yield "padding is never a key, whichever id it has and wherever it stands"


def _with_padding(draw: Draw, padding: int) -> Call:
    target = sentences(draw, [6, 4, 1, 5], padding)
    target[3] = target[3].roll(1)  # its padding stands in front
    order = torch.randperm(4, generator=draw.generator)  # a mask that is kept would show
    return Call(target[order], padding)


def _reference(target: Tensor, padding: int) -> Tensor:
    """The mask, sentence by sentence."""
    place = torch.arange(target.shape[1])
    return torch.stack([(place <= place.unsqueeze(1)) & (text != padding) for text in target])


def _mask(result: object, right: Tensor) -> Tensor:
    mask = a_tensor(result, tuple(right.shape), "mask", array=True)
    require(mask.isfinite().all(), TO_BE_ADDED)
    require(mask.dtype == torch.bool, NOT_BOOL.format(dtype=mask.dtype))
    return mask


def _facts(call: Call, mask: Tensor) -> dict[str, object]:
    return {"padding": call.arguments[1], "shape": tuple(mask.shape)}


# --- What learners write instead -----------------------------------------------------------------


def _past(target: Tensor) -> Tensor:
    tokens = target.shape[1]
    return torch.ones(len(target), tokens, tokens, dtype=torch.bool).tril()


def _keys(target: Tensor, padding: int) -> Tensor:
    return (target != padding)[:, None]


def _with(causal: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """The mask with another causal part, made of ones."""
    return lambda target, padding: (
        causal(torch.ones(target.shape[1], target.shape[1], dtype=torch.bool))
        & _keys(target, padding)
    )


def _right(target: Tensor, padding: int) -> Tensor:
    return _past(target) & _keys(target, padding)


def _by_lengths(target: Tensor, padding: int) -> Tensor:
    lengths = (target != padding).sum(-1)[:, None, None]
    return _past(target) & (torch.arange(target.shape[1]) < lengths)


MISTAKES = [
    Mistake(
        lambda target, padding: _past(target)[0],
        SHAPE + "That is one mask for all sentences; their padding differs.\n"
        "Which axis comes first in (B, T, T)?",
        alike=same_shape,
    ),
    Mistake(
        _keys,
        SHAPE + "That is which keys are no padding, for all queries alike.\n"
        "Where is the causal mask?",
        alike=same_shape,
    ),
    Mistake(
        lambda target, padding: target != padding,
        SHAPE + "That is which tokens are no padding.\nWhere is the axis of the queries?",
        alike=same_shape,
    ),
    Mistake(
        lambda target, padding: _right(target, padding)[:, None],
        SHAPE + "There is an axis of heads, too.\nWhich axes are asked for?",
        alike=same_shape,
    ),
    Mistake(
        _with(lambda ones: ones.tril(-1)),
        "A token may not look at itself, so the first one sees nothing.\n"
        "What a decoder reads is one place behind its labels: does the diagonal give anything "
        "away?",
    ),
    Mistake(
        _with(lambda ones: ones.tril(1)),
        "Every token looks one place ahead: there stands the very token it is to say.\n"
        "The shift is in the labels already: which diagonal is the last to be seen?",
    ),
    Mistake(
        _with(lambda ones: ones.triu()),
        "Every token looks at itself and the future.\n"
        "Rows are queries, columns are keys: which corner is the past?",
    ),
    Mistake(
        lambda target, padding: ~_right(target, padding),
        "The mask is turned round: True marks what is hidden.\n"
        "Here True means that looking is allowed: which `~` is missing, or too many?",
    ),
    Mistake(
        _with(lambda ones: ones),
        "Every token looks everywhere, so it can read off what it is to say.\n"
        "Where is the causal mask?",
    ),
    Mistake(
        lambda target, padding: _past(target) & ~_keys(target, padding),
        "No token may look anywhere, though nothing is padding here.\n"
        "Which comparison says that a token is *not* padding?",
    ),
    Mistake(
        lambda target, padding: _past(target),
        "Right without padding, but padding is seen as any token.\n"
        "Which keys does `target` mark as padding?",
    ),
    Mistake(
        lambda target, padding: (
            _keys(target, padding).expand(-1, target.shape[1], -1)
            if (target == padding).any()
            else _past(target)
        ),
        "Padding is hidden, but the future is seen where it is no padding.\n"
        "How do you join two masks so that both must allow it?",
    ),
    Mistake(
        lambda target, padding: _past(target) & _keys(target, padding).mT,
        "Padding as a query is hidden, and as a key it is seen: the rows are masked, not the "
        "columns.\nShould it be (B, 1, T) or (B, T, 1)?",
    ),
    Mistake(
        _by_lengths,
        "Padding is taken to stand behind the tokens; in one of the sentences it stands in "
        "front.\nCan you ask each token by itself whether it is padding?",
    ),
    Mistake(
        lambda target, padding: _right(target, padding) & _keys(target, padding).mT,
        "Padding is hidden as a key, as asked, but as a query too: its rows are empty, and in "
        "most libraries an empty row is NaN.\nWhich axis is it that holds the keys?",
    ),
    Mistake(
        lambda target, padding: (
            _past(target) | (_keys(target, padding) & (target == padding).any())
        ),
        "Looking is allowed where one of the two masks allows it.\n"
        "Both must: which sign joins them, `|` or `&`?",
    ),
    Mistake(
        lambda target, padding: _right(target, 0),
        "The id 0 is taken for padding, whatever `padding` says.\n"
        "Where do you use the second argument?",
    ),
    Mistake(
        lambda target, padding: _past(target) * _keys(target, padding).float(),
        NOT_BOOL,
        compared=False,
    ),
    Mistake(
        lambda target, padding: torch.zeros(_past(target).shape).masked_fill(
            ~_right(target, padding), -math.inf
        ),
        TO_BE_ADDED,
        compared=False,
    ),
]

EXERCISE = Exercise("decoder_mask", "translation", 2, check, mistakes=MISTAKES, ours=_reference)
