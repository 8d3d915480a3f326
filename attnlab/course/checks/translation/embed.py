"""The exercise ``embed``."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    GRADIENT_MISSING,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    where,
)

WORDS, WIDTH, LONGEST, BATCH, TOKENS = 13, 8, 9, 3, 5

WRITTEN_SIZE = "The result is wrong.\nIs a size written as a number, that should come from a shape?"


def check(answer: Answer, draw: Draw) -> Held:
    """``embed(ids, table, positions)``: embeddings times the root of their width, and positions."""
    compared = Comparison(answer, _reference, MISTAKES)

    def inputs(positions: Tensor) -> Call:
        ids = torch.randint(WORDS, (BATCH, TOKENS), generator=draw.generator)
        return Call(ids, draw.normal(WORDS, WIDTH), positions)

    compared.on(
        lambda: inputs(torch.zeros(LONGEST, WIDTH)),
        "With positions that are all 0 the result is wrong.\n"
        "A row of the table for each id, times the square root of the width: which step differs?",
    )
    yield "embeddings, times the root of their width"
    compared.on(
        lambda: inputs(draw.normal(LONGEST, WIDTH)),
        "The embeddings are right, but with positions the result is wrong.\n"
        "Is it row t of `positions` that is added to token t, once?",
    )
    yield "plus positions 0 to T - 1, once"

    for batch, tokens, width in ((1, 1, 6), (5, 5, 4), (2, 40, 16)):
        ids = torch.randint(WORDS, (batch, tokens), generator=draw.generator)
        table, positions = draw.normal(WORDS, width), draw.normal(max(LONGEST, tokens), width)
        with where(f"With ids of shape {(batch, tokens)} and the width {width}:"):
            Comparison(answer, _reference).on(partial(Call, ids, table, positions), WRITTEN_SIZE)
    ids[0, 0] = 0  # no padding: its row is trained, too
    answer.gradients(_reference, ids, table, positions)
    yield "any sizes, and it can be trained"


def _reference(ids: Tensor, table: Tensor, positions: Tensor) -> Tensor:
    return F.embedding(ids, table) * table.shape[1] ** 0.5 + positions[: ids.shape[1]]


# --- What learners write instead -----------------------------------------------------------------


def _scaled(ids: Tensor, table: Tensor) -> Tensor:
    return table[ids] * table.shape[1] ** 0.5


def _first(positions: Tensor, ids: Tensor) -> Tensor:
    """The positions of the tokens."""
    return positions[: ids.shape[1]]


MISTAKES = [
    Mistake(
        lambda ids, table, positions: table[ids] + _first(positions, ids),
        "The embeddings are not scaled. They are small, and positions would drown them.\n"
        "By the root of what are they multiplied?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] / table.shape[1] ** 0.5 + _first(positions, ids),
        "The embeddings are divided by the root of the width, as scores are.\n"
        "These are to become larger: is it * for /?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] * table.shape[1] + _first(positions, ids),
        "The embeddings are multiplied by the width.\nDid you forget the square root?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] / table.shape[1] + _first(positions, ids),
        "The embeddings are divided by the width.\nTimes its square root: what is missing?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] * len(table) ** 0.5 + _first(positions, ids),
        "The embeddings are multiplied by the root of the size of the vocabulary.\n"
        "The table is (V, E): which axis is the width?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] * ids.shape[1] ** 0.5 + _first(positions, ids),
        "The embeddings are multiplied by the root of the number of tokens.\n"
        "Should what a token is depend on how many there are? Which axis is the width?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) * _first(positions, ids),
        "Where the positions are 0, all is 0: embeddings are multiplied with them.\n"
        "Is there a * for a +?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + 2 * _first(positions, ids),
        "Positions are added twice.\nIs there a `+=`, or a second `+`?",
    ),
    Mistake(
        lambda ids, table, positions: (table[ids] + _first(positions, ids)) * table.shape[1] ** 0.5,
        "The positions are multiplied as well.\n"
        "Only embeddings are scaled: where does the bracket close?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table),
        "The positions are missing: all orders of the words look alike.\n"
        "What do you do with `positions`?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + positions[: len(ids), None],
        "Each *sentence* has a position of its own, and all tokens of it the same.\n"
        "Which axis counts the tokens: the first or the second of (B, T, E)?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + positions[1 : ids.shape[1] + 1],
        "The first token has position 1.\nAt which number do rows of a tensor begin?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + positions[ids % len(positions)],
        "Each token has the position that its id names: the same word has the same one "
        "everywhere.\nWhat should a position depend on?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + positions[-ids.shape[1] :],
        "The positions are the last rows of `positions`, not the first.\n"
        "Which row belongs to the first token?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + positions[0],
        "All tokens have position 0.\nWhich rows of `positions` are needed for T tokens?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) - _first(positions, ids),
        "The positions are subtracted.\nIs there a - for a +?",
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table) + _first(positions, ids).flip(0),
        "The positions come in reverse order.\nWhich row belongs to the first token?",
    ),
    Mistake(
        lambda ids, table, positions: table[ids] * 8**0.5 + _first(positions, ids),
        WRITTEN_SIZE,
        compared=False,
    ),
    Mistake(
        lambda ids, table, positions: _scaled(ids, table.detach()) + _first(positions, ids),
        GRADIENT_MISSING,
        compared=False,
    ),
    Mistake(
        lambda ids, table, positions: (
            table.mul_(table.shape[1] ** 0.5)[ids] + _first(positions, ids)
        ),
        CHANGES_TENSOR,
        compared=False,
    ),
]

EXERCISE = Exercise("embed", "translation", 1, check, mistakes=MISTAKES)
