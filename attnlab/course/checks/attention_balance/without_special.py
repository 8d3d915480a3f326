"""Check of ``without_special``."""

import functools
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    compare,
    require,
    some_numbers,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``without_special(weights, special)``: one text's weights among its words, as if nothing "
    "else were there."""
    special = torch.tensor([True, False, False, False, False, True])
    weights = draw.weights(3, 6, 6)
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    words = part.shape[-1]
    compare(
        _words(answer, weights, special),
        part / total,
        {
            "The rows do not sum to 1 any more: what fell on special tokens is missing.\n"
            "By what must a row be divided?": lambda: part,
            "The columns sum to 1, not the rows.\nOver which axis do you add up?": lambda: (
                part / part.sum(-2, keepdim=True)
            ),
            "Each map as a whole sums to 1, not its rows.\nOver which axis do you add up?": lambda: (
                part / part.sum((-2, -1), keepdim=True)
            ),
            "The rows sum to 1, but they have become nearly equal: a softmax of weights is taken.\n"
            "It turns scores into weights. What do weights need, so that they sum to 1 again?": (
                lambda: part.softmax(-1)
            ),
            "What fell on special tokens is dealt out to all words alike.\n"
            "Should two weights that were as 3 to 1 not stay so?": lambda: (
                part + (1 - total) / words
            ),
            "As many tokens as there are words, but the first ones of the text.\n"
            "Which tokens does `special` mark?": lambda: _window(weights, 0, words),
            "The maps are transposed.\nRow i belongs to the word that looks: which axis is that?": lambda: (
                (part / total).mT
            ),
        },
        "The shape is right, the weights are not.\n"
        "Rows of words, columns of words, each row divided by its sum: which step differs?",
        tolerance=1e-4,
    )
    yield "special tokens out of rows and columns, each row divided by what is left of it"

    special = torch.tensor([True, False, False, True, False, False, True, True])
    special = special.roll(draw.whole(0, 1))
    weights = draw.weights(3, 8, 8)
    part = _among(weights, ~special)
    compare(
        _words(answer, weights, special, inner=True),
        part / part.sum(-1, keepdim=True),
        {
            "As many tokens as there are words, all those behind the first token.\n"
            "Here special tokens stand in the middle, too: what does `special` mark?": lambda: (
                _window(weights, 1, part.shape[-1])
            ),
        },
        "Where special tokens stand in the middle, too, as in a pair of sentences, the weights "
        "are wrong.\n"
        "Do you pick the words by `special`?",
        tolerance=1e-4,
    )
    yield "wherever the special tokens stand"

    special = torch.tensor([True, False, False, False, False, True])
    left = 1e-4  # of a row, for all words together
    weights = draw.weights(3, 6, 6)
    row = draw.whole(1, 4)
    inside = draw.weights(3, 4)
    weights[:, row] = torch.cat(
        [torch.full((3, 1), 0.5), left * inside, torch.full((3, 1), 0.5 - left)], 1
    )
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    told = (
        "A word looks nearly only at special tokens: {left:g} is left for words, and the row does "
        "not sum to 1.\n"
        "{asked}"
    )
    result = _words(answer, weights, special)
    small: dict[str, Callable[[], Tensor]] = {}
    for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        asked = f"Is {extra:g} added to the sum, to save the division? What could be done instead?"
        small[told.format(left=left, asked=asked)] = functools.partial(
            lambda extra: part / (total + extra), extra
        )
        asked = f"Is the sum never taken smaller than {extra:g}? Which sums are really in danger?"
        small[told.format(left=left, asked=asked)] = functools.partial(
            lambda extra: part / total.clamp_min(extra), extra
        )
    compare(
        result,
        part / total,
        small,
        told.format(left=left, asked="By what is it divided?"),
        tolerance=1e-3,
    )
    yield "a row that looks at words only faintly sums to 1, too"

    head = draw.whole(0, 2)
    weights = draw.weights(3, 6, 6)
    weights[head, row] = torch.tensor([0.25, 0.0, 0.0, 0.0, 0.0, 0.75])
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    right = torch.where(total > 0, part / total.clamp_min(1e-30), 0.0)

    def instead(new: Tensor) -> Tensor:
        changed = right.clone()
        changed[head, row - 1] = new
        return changed

    result = _words(answer, weights, special, may_be_nan=True)
    require(
        result.isfinite().all(),
        "A word looks at special tokens only: 0 is left for words, and 0 / 0 is no number.\n"
        "The docstring says what such a row should be: where do you see to it?",
    )
    compare(
        result,
        right,
        {
            "A word that looks at special tokens only is said to look at all words alike.\n"
            "The docstring asks for another row: which?": lambda: instead(torch.full((4,), 0.25)),
            "A word that looks at special tokens only is said to look at itself.\n"
            "The docstring asks for another row: which?": lambda: instead(torch.eye(4)[row - 1]),
        },
        "A word looks at special tokens only, and the result is wrong.\n"
        "Is its row zeros, and every other as it should be?",
        tolerance=1e-4,
    )
    yield "zeros for a word that looks at special tokens only"


def _among(weights: Tensor, keep: Tensor) -> Tensor:
    """The weights (H, n, n) among the tokens to keep."""
    places = keep.nonzero().flatten().tolist()
    rows = [torch.stack([weights[:, i, j] for j in places], -1) for i in places]
    return torch.stack(rows, -2)


def _window(weights: Tensor, start: int, count: int) -> Tensor:
    """Neighbouring tokens instead of those asked for, each row divided by its sum."""
    part = weights[:, start : start + count, start : start + count]
    return part / part.sum(-1, keepdim=True)


def _words(
    answer: Answer, weights: Tensor, special: Tensor, inner: bool = False, may_be_nan: bool = False
) -> Tensor:
    """The answer's maps (H, n, n)."""
    heads, tokens, _ = weights.shape
    words = int((~special).sum())
    result = answer(weights, special)
    shapes = {
        (heads, tokens, tokens): "All tokens are still there; zeros are weights, too.\n"
        "How do you leave rows and columns out, instead of setting them to 0?",
        (heads, tokens, words): "Special tokens have no columns any more, but still rows.\n"
        "Do they not look, too?",
        (heads, words, tokens): "Special tokens have no rows any more, but still columns.\n"
        "Are they not looked at, too?",
        (heads, words): "Two masks at once pick pairs of places: that is the diagonal.\n"
        "Can you pick the rows first, and the columns of that?",
        (heads, words * words): "The maps are flattened: a mask (T, T) picks single weights.\n"
        "Can you pick the rows first, and the columns of that?",
        (words, words): "There is one map only.\nWhich axis of (H, T, T) must stay as it is?",
        (heads, tokens - words, tokens - words): "It is the special tokens that are left.\n"
        "Which of the two does True mark?",
    }
    if inner:
        shapes[heads, tokens - 2, tokens - 2] = (
            "The first and the last token are left out, and no other; in a pair of sentences one "
            "stands in the "
            "middle, too.\nWhat does `special` mark?"
        )
    shapes.pop((heads, words, words), None)
    told = shapes.get(shape_of(result))
    require(told is None, f"The result has shape {shape_of(result)}. {told}")
    return some_numbers(result, (heads, words, words), "weights among words", may_be_nan)


EXERCISE = Exercise("without_special", "attention_balance", 2, check)
