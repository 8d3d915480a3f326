"""Boxes (x, y, width, height): how much two overlap, a loss for them, and cutting one out.

x and y are the top left corner, y counts from the top; all four have one unit, pixels or shares of
the picture. In comments B is batch, C channels.
"""

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import TensorError

__all__ = [
    "box_loss",
    "check_boxes",
    "crop",
    "from_corners",
    "giou",
    "iou",
    "to_corners",
]


def to_corners(boxes: Tensor) -> Tensor:
    """Turn (x, y, width, height) into (left, top, right, bottom), shape (..., 4).

    >>> to_corners(torch.tensor([2.0, 3.0, 10.0, 20.0])).tolist()
    [2.0, 3.0, 12.0, 23.0]
    """
    check_boxes("boxes", boxes)
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def from_corners(corners: Tensor) -> Tensor:
    """Turn (left, top, right, bottom) into (x, y, width, height), shape (..., 4)."""
    _check_four("corners", corners)
    boxes = torch.cat([corners[..., :2], corners[..., 2:] - corners[..., :2]], -1)
    check_boxes("boxes", boxes)
    return boxes


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union: the area that two boxes share, as a share of what they cover.

    Parameters
    ----------
    first, second : Tensor, shape (..., 4), broadcast together: ``iou(a[:, None], b[None])`` is the
        table of all pairs

    Returns
    -------
    Tensor, shape (...), from 0 to 1. Where neither box has an area it is 0, with a gradient of 0.

    Raises
    ------
    TensorError : other than four numbers a box, or a width or height below 0

    >>> iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 2.0, 2.0])).item()
    0.3333333432674408
    """
    intersection, union, _ = _areas(first, second)
    return _ratio(intersection, union)


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU: IoU minus the share of the smallest box around both that neither covers.

    Unlike IoU it has a gradient where boxes do not touch: it tells which way to move.

    Parameters
    ----------
    first, second : Tensor, shape (..., 4), as for `iou`

    Returns
    -------
    Tensor, shape (...), above -1 and at most 1, and never above IoU; -1 for two boxes without area
    in different places, 0 where the box around both has no area either

    Source: Rezatofighi et al. 2019.
    """
    intersection, union, hull = _areas(first, second)
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def box_loss(boxes: Tensor, targets: Tensor, giou_weight: float = 1.0) -> Tensor:
    """How far boxes are from where they should be: L1 distance plus GIoU loss, shape (...).

    Parameters
    ----------
    boxes, targets : Tensor, shape (..., 4), broadcast together, in shares of the picture, so that
        the L1 distance does not depend on its size
    giou_weight : of the GIoU loss, 1 - GIoU, beside the L1 distance, summed over the four numbers

    Source: Carion et al. 2020 (DETR), section 3.1.
    """
    overlap = giou(boxes, targets)
    return (boxes - targets).abs().sum(-1) + giou_weight * (1 - overlap)


def crop(images: Tensor, boxes: Tensor, size: int | tuple[int, int], margin: float = 0.0) -> Tensor:
    """Cut a box out of each picture and resize it (bilinear); what lies outside is 0.

    Parameters
    ----------
    images : Tensor, shape (B, C, height, width)
    boxes : Tensor, shape (B, 4), in pixels
    size : of the result, (height, width) or one number for both
    margin : how much is added on each side, as a share of the box's width and height

    Returns
    -------
    Tensor, shape ``(B, C, *size)``; gradients flow to pictures and boxes
    """
    check_boxes("boxes", boxes)
    if images.dim() != 4 or boxes.shape != (len(images), 4):
        raise TensorError(
            f"images {shapes.shown(images)}, boxes {shapes.shown(boxes)}: to cut out, give "
            "(B, channels, height, width) and one box for each picture, (B, 4)."
        )
    height, width = (size, size) if isinstance(size, int) else size
    whole = boxes.new_tensor([images.shape[-1], images.shape[-2]])
    middle = (2 * boxes[:, :2] + boxes[:, 2:]) / whole - 1  # (B, 2) from -1 to 1
    half = boxes[:, 2:] * (1 + 2 * margin) / whole
    maps = torch.cat([torch.diag_embed(half), middle[..., None]], -1)  # (B, 2, 3)
    grid = nn.functional.affine_grid(maps, [len(images), 1, height, width], align_corners=False)
    return nn.functional.grid_sample(images, grid.to(images), align_corners=False)


def check_boxes(name: str, boxes: Tensor) -> None:
    """Boxes (x, y, width, height) with sizes of at least 0."""
    _check_four(name, boxes)
    if bool((boxes.detach()[..., 2:] < 0).any()):
        raise TensorError(
            f"{name} {shapes.shown(boxes)}: some have a width or height below 0. A box is (x, y, "
            "width, height); are these corners in another order?"
        )


def _check_four(name: str, boxes: Tensor) -> None:
    if not isinstance(boxes, Tensor) or not boxes.is_floating_point() or boxes.shape[-1:] != (4,):
        kind = getattr(boxes, "dtype", type(boxes).__name__)
        raise TensorError(
            f"{name} has shape {shapes.shown(boxes)} and type {kind}; expected floating-point "
            "numbers, (..., 4)."
        )


def _areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of what two boxes share, of what they cover, and of the smallest box around both."""
    a, b = to_corners(first), to_corners(second)
    try:
        shared = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    except RuntimeError:
        raise TensorError(
            f"Boxes {shapes.shown(first)} and {shapes.shown(second)} do not fit together. For all "
            "pairs: first[:, None], second[None]."
        ) from None
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    intersection = shared.clamp(min=0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - intersection
    return intersection, union, around.prod(-1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part of a whole; 0, with a gradient of 0, where there is no whole."""
    nothing = whole <= 0
    return torch.where(nothing, 0.0, part / torch.where(nothing, 1.0, whole))


def __dir__() -> list[str]:
    return sorted(__all__)
