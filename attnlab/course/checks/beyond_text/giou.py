"""The exercise ``giou``."""

from functools import partial
from typing import Any

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
    require,
    same,
    same_shape,
    where,
)

CORNER_MEETING = (
    "For boxes of which one is empty there should be no NaN: their IoU is 0.\n"
    "What is divided by 0? Divide by at least torch.finfo(...).tiny."
)


def check(answer: Answer, draw: Draw) -> Held:
    """``giou(boxes, targets)``: generalised IoU of pairs of boxes, (N, 4) and (N, 4) to (N,)."""
    compared = Comparison(answer, _reference, MISTAKES)
    otherwise = (
        "For {first} and {second} the GIoU is {right:.3f}; yours is {found:.3f}.\n"
        "Here IoU is {iou:.3f}, and the smallest box around both has an area of {around:.2f}."
    )

    def inside() -> Call:
        """The first box around the second."""
        corner, size = 4 * draw.normal(3, 2), 2 + draw.normal(3, 2).abs()
        inner = 0.2 + 0.5 * torch.tensor([[draw.uniform(), draw.uniform()]])
        outer = torch.cat([corner, size], 1)
        return Call(outer, torch.cat([corner + 0.2 * size, inner * size], 1))

    with where("For a box inside of another:"):
        compared.on(inside, otherwise, facts=_facts)
    yield "a box inside of another: areas, and their ratio"

    def meeting() -> Call:
        size = 1.5 + torch.tensor([[draw.uniform() for _ in range(4)] for _ in range(5)])
        corner = 4 * draw.normal(5, 2)
        shift = 0.2 + 0.8 * torch.tensor([[draw.uniform(), draw.uniform()] for _ in range(5)])
        signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [1, 1]])
        first = torch.cat([corner, size[:, :2]], 1)
        return Call(first, torch.cat([corner + signs * shift, size[:, 2:]], 1))

    with where("For boxes that meet:"):
        compared.on(meeting, otherwise, facts=_facts)
    yield "boxes that meet: IoU, less what the box around both holds besides"

    def small() -> Call:
        """A single pair, in shares of a picture."""
        first, second = (boxes / 10 for boxes in meeting().arguments)
        return Call(first[:1], second[:1])

    with where("For a single pair of small boxes, in shares of a picture:"):
        compared.on(small, otherwise, facts=_facts, tolerance=1e-4)
    yield "boxes of any size"

    def apart(x: bool, y: bool) -> Call:
        size = 1 + torch.tensor([[draw.uniform() for _ in range(4)] for _ in range(4)])
        corner = 4 * draw.normal(4, 2)
        far = torch.tensor([[2.5 if x else 0.3, 2.5 if y else 0.3]]) + 0.4 * draw.uniform()
        signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
        first = torch.cat([corner, size[:, :2]], 1)
        return Call(first, torch.cat([corner + signs * far, size[:, 2:]], 1))

    for x, y, how in ((True, False, "side by side"), (True, True, "apart in both directions")):
        with where(f"For boxes {how}:"):
            compared.on(partial(apart, x, y), otherwise, facts=_facts)
    yield "boxes apart: below 0, and the less the farther"
    for call in (meeting(), apart(True, False), apart(True, True), inside()):
        answer.gradients(_reference, *call.arguments)
    yield "gradients reach both, also where boxes do not meet"
    box = torch.tensor([[0.0, 0, 2, 2], [1.0, 1, 0, 0], [3.0, 1, 2, 1]])
    other = torch.tensor([[1.0, 1, 0, 0], [1.0, 1, 0, 0], [3.0, 1, 2, 1]])
    found = answer.tensor(box, other, shape=(3,), may_be_nan=True)
    require(found.isfinite().all(), CORNER_MEETING)
    require(
        same(found[0], torch.tensor(0.0)),
        "An empty box inside of one of area 4: the box around both is the large one, so that GIoU "
        f"is 0; yours is {found[0]:.3f}.",
    )
    require(same(found[2], torch.tensor(1.0)), f"Equal boxes have GIoU 1; yours is {found[2]:.3f}.")
    yield "empty boxes give no NaN"


def _reference(boxes: Tensor, targets: Tensor) -> Tensor:
    """Pair by pair, side by side."""
    values = []
    for (x, y, w, h), (u, v, p, q) in zip(boxes, targets, strict=True):
        across = torch.minimum(x + w, u + p) - torch.maximum(x, u)
        down = torch.minimum(y + h, v + q) - torch.maximum(y, v)
        meet = bool(across > 0) and bool(down > 0)
        shared = across * down if meet else torch.zeros_like(x)
        union = w * h + p * q - shared
        around = (torch.maximum(x + w, u + p) - torch.minimum(x, u)) * (
            torch.maximum(y + h, v + q) - torch.minimum(y, v)
        )
        values.append(shared / union - (around - union) / around)
    return torch.stack(values)


def _parts(boxes: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Corners and areas of pairs, for the mistakes."""
    first, second = boxes[:, :2], targets[:, :2]
    ends = first + boxes[:, 2:], second + targets[:, 2:]
    sides = torch.minimum(*ends) - torch.maximum(first, second)
    around = torch.maximum(*ends) - torch.minimum(first, second)
    areas = boxes[:, 2:].prod(-1), targets[:, 2:].prod(-1)
    shared = sides.clamp_min(0).prod(-1)
    return {
        "sides": sides,
        "shared": shared,
        "first": areas[0],
        "second": areas[1],
        "union": areas[0] + areas[1] - shared,
        "around": around.prod(-1),
        "sum_around": around.sum(-1),
    }


def _facts(call: Call, result: Any) -> dict[str, Any]:
    right = call.of(_reference)
    found = result.detach().flatten()
    row = 0
    if found.shape == right.shape:
        row = int((found - right).abs().nan_to_num(9).argmax())
    part = {name: values[row] for name, values in _parts(*call.arguments).items()}
    shown = [
        "(" + ", ".join(f"{number:.2f}" for number in boxes[row].tolist()) + ")"
        for boxes in call.arguments
    ]
    return {
        "first": shown[0],
        "second": shown[1],
        "right": float(right[row]),
        "found": float(found[row]) if len(found) > row else float("nan"),
        "iou": float(part["shared"] / part["union"]),
        "around": float(part["around"]),
        "shape": tuple(result.shape),
    }


# --- What learners write instead -----------------------------------------------------------------


def _with(formula: Any) -> Any:
    """GIoU from a formula of the areas."""
    return lambda boxes, targets: formula(_parts(boxes, targets))


def _right(p: dict[str, Tensor]) -> Tensor:
    return p["shared"] / p["union"] - (p["around"] - p["union"]) / p["around"]


def _as_corners(boxes: Tensor, targets: Tensor) -> Tensor:
    """As if the last two numbers were the lower right corner."""

    def turned(given: Tensor) -> Tensor:
        return torch.cat([given[:, :2], given[:, 2:] - given[:, :2]], 1)

    return _right(_parts(turned(boxes), turned(targets)))


def _as_middles(boxes: Tensor, targets: Tensor) -> Tensor:
    """As if the first two numbers were the middle."""

    def moved(given: Tensor) -> Tensor:
        return torch.cat([given[:, :2] - given[:, 2:] / 2, given[:, 2:]], 1)

    return _right(_parts(moved(boxes), moved(targets)))


def _unclamped(p: dict[str, Tensor]) -> Tensor:
    shared = p["sides"].prod(-1)
    union = p["first"] + p["second"] - shared
    return shared / union - (p["around"] - union) / p["around"]


def _clamped_late(p: dict[str, Tensor]) -> Tensor:
    shared = p["sides"].prod(-1).clamp_min(0)
    union = p["first"] + p["second"] - shared
    return shared / union - (p["around"] - union) / p["around"]


def _of_absolute_sides(p: dict[str, Tensor]) -> Tensor:
    shared = p["sides"].abs().prod(-1)
    union = p["first"] + p["second"] - shared
    return shared / union - (p["around"] - union) / p["around"]


def _with_at_least(p: dict[str, Tensor], least: float) -> Tensor:
    around = p["around"].clamp_min(least)
    return p["shared"] / p["union"].clamp_min(least) - (p["around"] - p["union"]) / around


def _union_is_a_sum(p: dict[str, Tensor]) -> Tensor:
    union = p["first"] + p["second"]
    return p["shared"] / union - (p["around"] - union) / p["around"]


def _all_pairs(boxes: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([_reference(boxes, one.expand_as(boxes)) for one in targets], 1)


MISTAKES = [
    Mistake(
        _all_pairs,
        "Shape {shape}: every box is compared with every target.\nHere box i belongs to target i.",
        alike=same_shape,
    ),
    Mistake(
        lambda boxes, targets: _reference(boxes, targets).mean(),
        "Shape {shape}: one number for all pairs.\nA mean comes later, in the loss.",
        alike=same_shape,
    ),
    Mistake(
        lambda boxes, targets: _reference(boxes, targets)[:, None],
        "Shape {shape}: there is an axis of length 1 too many.",
        alike=same_shape,
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["union"]),
        "That is IoU alone.\nWhat is subtracted, so that boxes apart have a slope?",
    ),
    Mistake(
        _with(lambda p: 1 - _right(p)),
        "That is 1 - GIoU, the loss.\nHere the value itself is asked for: 1 for equal boxes.",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["union"] + (p["around"] - p["union"]) / p["around"]),
        "The second term is added.\nShould a pair with much empty space around it score higher?",
    ),
    Mistake(
        _as_corners,
        "The last two numbers of a box are taken for its lower right corner.\nThey are width and "
        "height.",
    ),
    Mistake(
        _as_middles,
        "The first two numbers of a box are taken for its middle.\nThey are the upper left corner.",
    ),
    Mistake(
        _with(_union_is_a_sum),
        "The union is the sum of both areas.\nHow often does that count what they share?",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["union"] - (p["around"] - p["union"]) / p["union"]),
        "The second term is divided by the union.\nOf which area is the empty space a share?",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["union"] - (p["around"] - p["shared"]) / p["around"]),
        "From the box around both, the shared part is subtracted.\nWhich area is covered by at "
        "least one of the two?",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["union"] - (p["around"] - p["union"])),
        "The empty space is subtracted as an area.\nDivide it by the area of the box around both.",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["around"] - (p["around"] - p["union"]) / p["around"]),
        "The shared area is divided by the box around both.\nIn IoU, what is it divided by?",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["first"] - (p["around"] - p["union"]) / p["around"]),
        "The shared area is divided by that of the first box.\nIn IoU, what is it divided by?",
    ),
    Mistake(
        _with(lambda p: p["shared"] / p["second"] - (p["around"] - p["union"]) / p["around"]),
        "The shared area is divided by that of the target.\nIn IoU, what is it divided by?",
    ),
    Mistake(
        _with(_unclamped),
        "Boxes that are apart get an area in common, by sides that are negative.\nWhere should "
        "they be set to 0?",
    ),
    Mistake(
        _with(_of_absolute_sides),
        "Boxes that are apart get an area in common: the sign of their distance is dropped.\nWhat "
        "is shared where one box ends before the other begins?",
    ),
    Mistake(
        _with(lambda p: (1 + _right(p)) / 2),
        "The values are moved to the range from 0 to 1.\nGIoU itself is asked for, from -1 to 1.",
    ),
    Mistake(
        _with(lambda p: _with_at_least(p, 1.0)),
        "Areas below 1 count as 1.\nBoxes may be in shares of a picture: divide by at least a tiny "
        "number, not by at least 1.",
    ),
    Mistake(
        _with(_clamped_late),
        "Boxes apart in both directions get an area in common: minus times minus.\nSet each side "
        "to at least 0 before you multiply.",
    ),
    Mistake(
        _with(lambda p: _right(p).clamp_min(0)),
        "Values below 0 are cut off, and with them the slope for boxes apart.\nWhat is the least "
        "value that GIoU can have?",
    ),
    Mistake(
        lambda boxes, targets: _reference(boxes, targets.detach()),
        "The result is right, but `targets` gets no gradient.",
        compared=False,
    ),
    Mistake(
        _with(_right),
        CORNER_MEETING,
        compared=False,
    ),
]

EXERCISE = Exercise(
    "giou",
    "beyond_text",
    3,
    check,
    frozenset(
        {"giou", "iou", "box_loss", "generalized_box_iou", "box_iou", "attnlab.giou", "attnlab.iou"}
    ),
    MISTAKES,
)
