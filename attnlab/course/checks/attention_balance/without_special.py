"""Exercise ``without_special``: a text's attention among its words, without special tokens."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    not_finite,
    same_shape,
    some_numbers,
)

LEFT = 1e-4  # of a row, for all words together, where it looks at words only faintly


def check(answer: Answer, draw: Draw) -> Held:
    """``without_special(weights, special)``: weights among words, as if nothing else were there."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)

    def at_both_ends() -> Call:
        return Call(draw.weights(3, 6, 6), _ends(6))

    def in_the_middle() -> Call:
        special = torch.tensor([True, False, False, True, False, False, True, True])
        return Call(draw.weights(3, 8, 8), special.roll(draw.whole(0, 1)))

    def anywhere() -> Call:
        """The first token is a word, or the last."""
        special = torch.tensor([True, True, False, True, False, False, False])
        return Call(draw.weights(3, 7, 7), special if draw.whole(0, 1) else special.flip(0))

    def nowhere() -> Call:
        return Call(draw.weights(3, 5, 5), torch.zeros(5, dtype=torch.bool))

    def a_faint_row() -> Call:
        weights, inside = draw.weights(3, 6, 6), LEFT * draw.weights(3, 4)
        first, last = torch.full((3, 1), 0.5), torch.full((3, 1), 0.5 - LEFT)
        weights[:, draw.whole(1, 4)] = torch.cat([first, inside, last], 1)
        return Call(weights, _ends(6))

    def a_fainter_row() -> Call:
        """What words lose the last token gets, so that all rows still sum to 1."""
        weights, special = a_faint_row().arguments
        weights = weights * torch.where(special, 1.0, 1e-6)
        weights[..., -1] = 1 - weights[..., :-1].sum(-1)
        return Call(weights, special)

    def an_empty_row() -> Call:
        weights = draw.weights(3, 6, 6)
        weights[draw.whole(0, 2), draw.whole(1, 4)] = torch.tensor([0.25, 0, 0, 0, 0, 0.75])
        return Call(weights, _ends(6))

    situations: list[tuple[Callable[[], Call], str, str]] = [
        (
            at_both_ends,
            "The shape is right, the weights are not.\n"
            "Rows of words, columns of words, each row divided by its sum: which step differs?",
            "special tokens out of rows and columns, each row divided by what is left of it",
        ),
        (
            in_the_middle,
            "Where special tokens stand in the middle, too, as in a pair of sentences, the weights "
            "are wrong.\nDo you pick the words by `special`?",
            "wherever the special tokens are",
        ),
        (
            anywhere,
            "Where the first token is a word, or the last, the weights are wrong.\n"
            "Do you pick the words by `special`, and by nothing else?",
            "words at either end",
        ),
        (
            nowhere,
            "Where no token is special the weights are wrong.\nWhat changes then?",
            "texts without special tokens",
        ),
        (
            a_faint_row,
            f"{FAINT_ROW}\nBy what is it divided?",
            "a row that looks at words only faintly sums to 1, too",
        ),
        (
            a_fainter_row,
            "Where next to nothing, but not 0, is left for words, the rows do not sum to 1.\n"
            "Is something added to the sum, a small sum taken for 0, or the sum found as 1 minus "
            "the rest, which rounding eats?",
            "however little is left",
        ),
        (
            an_empty_row,
            "A word looks at special tokens only, and the result is wrong.\n"
            "Is its row zeros, and every other as it should be?",
            "zeros for a word that looks at special tokens only",
        ),
    ]
    for situation, otherwise, held in situations:
        tolerance = 1e-3 if situation in (a_faint_row, a_fainter_row) else None
        compared.on(situation, otherwise, facts=_facts, tolerance=tolerance)
        yield held


def reference(weights: Tensor, special: Tensor) -> Tensor:
    """Weight by weight, in double precision."""
    words = [token for token, is_special in enumerate(special.tolist()) if not is_special]
    rows = [torch.stack([weights[:, i, j] for j in words], -1) for i in words]
    inner = torch.stack(rows, -2).double()
    total = inner.sum(-1, keepdim=True)
    return torch.where(total > 0, inner / total.clamp_min(1e-30), 0.0)


def _ends(tokens: int) -> Tensor:
    """The first and the last token are special."""
    special = torch.zeros(tokens, dtype=torch.bool)
    special[[0, -1]] = True
    return special


def _read(result: Any, right: Tensor) -> Tensor:
    return some_numbers(result, tuple(right.shape), "weights among words")


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"shape": shape_of(result)}


# --- What learners write instead -----------------------------------------------------------------


def _among_words(weights: Tensor, special: Tensor) -> Tensor:
    return weights[:, ~special][:, :, ~special]


def _by_rows(inner: Tensor) -> Tensor:
    total = inner.sum(-1, keepdim=True)
    return inner / (total + (total == 0))


def _leaving_out(
    pick: Callable[[Tensor, Tensor], Tensor] = _among_words,
    divide: Callable[[Tensor], Tensor] = _by_rows,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Words only, with a part exchanged."""
    return lambda weights, special: divide(pick(weights, special))


_right = _leaving_out()


def _window(start: int, weights: Tensor, special: Tensor) -> Tensor:
    """As many neighbouring tokens as there are words."""
    window = slice(start, start + int((~special).sum()))
    return weights[:, window, window]


def _spread_evenly(inner: Tensor) -> Tensor:
    return inner + (1 - inner.sum(-1, keepdim=True)) / inner.shape[-1]


def _added(extra: float, inner: Tensor) -> Tensor:
    total = inner.sum(-1, keepdim=True) + extra
    return inner / total


def _at_least(least: float, inner: Tensor) -> Tensor:
    return inner / inner.sum(-1, keepdim=True).clamp_min(least)


def _or(instead: Callable[[int], Any], inner: Tensor) -> Tensor:
    return torch.where(inner.sum(-1, keepdim=True) > 0, _by_rows(inner), instead(inner.shape[-1]))


def _zeroed_in_place(weights: Tensor, special: Tensor) -> Tensor:
    weights[:, special] = 0
    return _right(weights, special)


FAINT_ROW = (
    f"A word looks nearly only at special tokens: {LEFT:g} is left for words, and the row does not "
    "sum to 1."
)


MISTAKES = [
    Mistake(
        _leaving_out(divide=lambda inner: inner),
        "The rows do not sum to 1 any more: what fell on special tokens is missing.\n"
        "By what must a row be divided?",
    ),
    Mistake(
        _leaving_out(divide=lambda inner: inner / inner.sum(-2, keepdim=True)),
        "The columns sum to 1, not the rows.\nOver which axis do you add up?",
    ),
    Mistake(
        _leaving_out(divide=lambda inner: inner / inner.sum((-2, -1), keepdim=True)),
        "Each map as a whole sums to 1, not its rows.\nOver which axis do you add up?",
    ),
    Mistake(
        _leaving_out(divide=lambda inner: inner.softmax(-1)),
        "The rows sum to 1, but they have become nearly equal: a softmax of weights is taken.\n"
        "It turns scores into weights. What do weights need, so that they sum to 1 again?",
    ),
    Mistake(
        _leaving_out(divide=_spread_evenly),
        "What fell on special tokens is spread evenly over all words.\n"
        "Should two weights that were as 3 to 1 not stay so?",
    ),
    Mistake(
        _leaving_out(pick=functools.partial(_window, 0)),
        "As many tokens as there are words, but the first ones of the text.\n"
        "Which tokens does `special` mark?",
    ),
    Mistake(
        _leaving_out(divide=lambda inner: _by_rows(inner).mT),
        "The maps are transposed.\nRow i belongs to the word that looks: which axis is that?",
    ),
    Mistake(
        _leaving_out(pick=functools.partial(_window, 1)),
        "As many tokens as there are words, all those after the first token.\n"
        "Here special tokens stand in the middle, too: what does `special` mark?",
    ),
    *(
        Mistake(
            _leaving_out(divide=functools.partial(_added, extra)),
            f"{FAINT_ROW}\n"
            f"Is {extra:g} added to the sum, to save the division? What could be done instead?",
        )
        for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    ),
    *(
        Mistake(
            _leaving_out(divide=functools.partial(_at_least, least)),
            f"{FAINT_ROW}\nIs the sum never taken smaller than {least:g}? "
            "Which sums are really in danger?",
        )
        for least in (1e-1, 1e-2, 1e-3)  # below 0.0001 it would do no harm here
    ),
    Mistake(
        _leaving_out(divide=lambda inner: inner / inner.sum(-1, keepdim=True)),
        "A word looks at special tokens only: 0 is left for words, and 0 / 0 is no number.\n"
        "The docstring says what such a row should be: where do you see to it?",
        alike=not_finite,
    ),
    Mistake(
        _leaving_out(divide=functools.partial(_or, lambda words: 1 / words)),
        "A word that looks at special tokens only is said to look at all words alike.\n"
        "The docstring asks for another row: which?",
    ),
    Mistake(
        _leaving_out(divide=functools.partial(_or, torch.eye)),
        "A word that looks at special tokens only is said to look at itself.\n"
        "The docstring asks for another row: which?",
    ),
    Mistake(
        lambda weights, special: weights * ~special * ~special[:, None],
        "The result has shape {shape}. All tokens are still there; zeros are weights, too.\n"
        "How do you leave rows and columns out, instead of setting them to 0?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: weights[:, :, ~special],
        "The result has shape {shape}. Special tokens have no columns any more, but still rows.\n"
        "Do they not look, too?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: weights[:, ~special],
        "The result has shape {shape}. Special tokens have no rows any more, but still columns.\n"
        "Are they not looked at, too?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: weights[:, ~special, ~special],
        "The result has shape {shape}. Two masks at once pick pairs of tokens: the diagonal.\n"
        "Can you pick the rows first, and the columns of that?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: weights[:, ~special & ~special[:, None]],
        "The result has shape {shape}. The maps are flattened: a mask (T, T) picks single "
        "weights.\nCan you pick the rows first, and the columns of that?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: _right(weights, special).mean(0),
        "The result has shape {shape}. There is one map only.\n"
        "Which axis of (H, T, T) must stay as it is?",
        alike=same_shape,
    ),
    Mistake(
        lambda weights, special: _right(weights, ~special),
        "The result has shape {shape}. It is the special tokens that are left.\n"
        "Which of the two does True mark?",
        alike=same_shape,
    ),
    Mistake(
        _leaving_out(pick=lambda weights, special: weights[:, 1:-1, 1:-1]),
        "The result has shape {shape}. The first and the last token are left out, and no other; in "
        "a pair of sentences one stands in the middle, too.\nWhat does `special` mark?",
        alike=same_shape,
    ),
    Mistake(_zeroed_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise("without_special", "attention_balance", 2, check, mistakes=MISTAKES)
