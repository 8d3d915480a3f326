"""The exercise ``patchify``."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    LOOP,
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    same_shape,
    where,
)


def check(answer: Answer, draw: Draw) -> Held:
    """``patchify(images, patch)``: (B, C, H, W) to (B, N, C * patch * patch)."""
    compared = Comparison(answer, _reference, MISTAKES)
    otherwise = (
        "The shape is right, the numbers are not in their places.\n"
        "Patch 0 should be images[:, :, :patch, :patch], flattened, and patch 1 lies to its right."
    )

    def grey() -> Call:
        patch, rows, columns = draw.whole(2, 3), draw.whole(2, 3), draw.whole(4, 5)
        return Call(draw.normal(2, 1, patch * rows, patch * columns), patch)

    with where("For grey pictures:"):
        compared.on(grey, otherwise, facts=_facts)
    yield "grey pictures: row after row of patches, and of pixels in them"

    def coloured() -> Call:
        patch, rows, columns = draw.whole(4, 5), draw.whole(2, 3), draw.whole(4, 5)
        return Call(draw.normal(2, 3, patch * rows, patch * columns), patch)

    with where("For pictures in colour:"):
        compared.on(coloured, otherwise, facts=_facts)
    yield "colours: channel after channel"
    for batch, channels, height, width, patch in (
        (1, 1, 5, 5, 5),
        (1, 2, 3, 4, 1),
        (3, 1, 8, 2, 2),
    ):
        images = draw.normal(batch, channels, height, width)
        Comparison(answer, _reference).on(
            partial(Call, images, patch),
            f"Wrong for images of shape {tuple(images.shape)} and patches of {patch}.",
            draws=1,
        )
    yield "any sizes: the whole picture as one patch, a patch for each pixel"
    answer.gradients(_reference, draw.normal(2, 2, 4, 6), 2)
    answer.without_loop((draw.normal(1, 1, 4, 4), 2), (draw.normal(5, 4, 16, 20), 4))
    yield "without a loop, and gradients reach the pixels"


def _reference(images: Tensor, patch: int) -> Tensor:
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def _facts(call: Call, result: Tensor) -> dict[str, Any]:
    return {"shape": tuple(result.shape)}


# --- What learners write instead -----------------------------------------------------------------


def _cells(images: Tensor, patch: int) -> Tensor:
    """Shape (B, C, rows, patch, columns, patch)."""
    return images.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))


def _in_order(*axes: int) -> Any:
    """The first three of these axes count patches, except for one that is the channels."""

    def answer(images: Tensor, patch: int) -> Tensor:
        return _cells(images, patch).permute(*axes).flatten(3).flatten(1, 2)

    return answer


def _by_loops(images: Tensor, patch: int) -> Tensor:
    height, width = images.shape[-2:]
    return torch.stack(
        [
            images[:, :, y : y + patch, x : x + patch].flatten(1)
            for y in range(0, height, patch)
            for x in range(0, width, patch)
        ],
        1,
    )


SHAPE = "The result has shape {shape}.\n"

MISTAKES = [
    Mistake(
        lambda images, patch: _reference(images, patch).unflatten(-1, (-1, patch, patch)),
        SHAPE + "Channels and pixels of a patch are still axes of their own.\nA patch should be "
        "one list of numbers.",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: _cells(images, patch).permute(0, 2, 4, 1, 3, 5).flatten(3),
        SHAPE + "Rows and columns of patches are still two axes.\nA Transformer reads one row of "
        "tokens.",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: _reference(images, patch).transpose(1, 2),
        SHAPE + "Each patch is a column.\nWhich axis counts tokens in (B, T, E)?",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: _reference(images, patch).flatten(0, 1),
        SHAPE + "The patches of all pictures stand in one row.\nWhere is the batch?",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: F.unfold(images, patch).transpose(1, 2),
        SHAPE + "There are too many patches: they overlap.\nBy how many pixels does a patch move "
        "on?",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: (
            _cells(images, patch).permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(1, 3)
        ),
        SHAPE + "Every channel has patches of its own.\nA patch should hold all channels.",
        alike=same_shape,
    ),
    Mistake(
        lambda images, patch: images.reshape(len(images), -1, images.shape[1] * patch * patch),
        "A patch holds pixels from across the whole picture: `reshape` alone reads row after row.\n"
        "Which axes must change places before the last reshape?",
    ),
    Mistake(
        _in_order(0, 4, 2, 1, 3, 5),
        "The second patch is the one below the first.\nPatches come row after row: which axis "
        "should run faster, rows or columns?",
    ),
    Mistake(
        _in_order(0, 2, 4, 1, 5, 3),
        "Inside of a patch, pixels come column after column.\nDid two axes of a patch change "
        "places?",
    ),
    Mistake(
        _in_order(0, 4, 2, 1, 5, 3),
        "Pictures are turned over: rows and columns have changed places everywhere.\nIs there a "
        "transpose too many?",
    ),
    Mistake(
        _in_order(0, 2, 4, 3, 5, 1),
        "The channels of a pixel stand side by side.\nIn a patch the whole first channel should "
        "come first.",
    ),
    Mistake(
        _in_order(0, 2, 4, 3, 1, 5),
        "Channels stand between the rows and the columns of a patch.\nIn a patch the whole first "
        "channel should come first.",
    ),
    Mistake(
        lambda images, patch: (
            images.unflatten(-1, (patch, -1))
            .unflatten(-3, (patch, -1))
            .permute(0, 3, 5, 1, 2, 4)
            .flatten(3)
            .flatten(1, 2)
        ),
        "A patch holds pixels that lie far apart.\nWhen a side is cut, which comes first: the "
        "number of patches, or their size?",
    ),
    Mistake(
        lambda images, patch: _reference(images, patch).flip(1),
        "The patches come in reverse order.",
    ),
    Mistake(
        lambda images, patch: _reference(images[:1], patch).expand(len(images), -1, -1),
        "Every picture gets the patches of the first.\nIs there a [0] or a [:1]?",
    ),
    Mistake(_by_loops, LOOP, compared=False),
]

EXERCISE = Exercise(
    "patchify",
    "beyond_text",
    2,
    check,
    frozenset({"patchify"}),
    MISTAKES,
)
