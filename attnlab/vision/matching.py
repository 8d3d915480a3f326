"""Which prediction answers for which object: Hungarian matching, and the loss of learned queries.

In comments B is batch, Q queries, M objects, C classes. Class C, the last, is "nothing here".
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import TensorError
from attnlab.vision.boxes import box_loss

__all__ = ["ABSENT", "match", "match_cost", "set_loss"]

ABSENT = -1  # label of a row that only pads a list of objects


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Give each object a query of its own so that the sum of costs is smallest.

    Parameters
    ----------
    cost : Tensor, shape (Q, M), of query q answering for object m; Q at least M

    Returns
    -------
    queries, objects : Tensor of int, shape (M,), the pairs

    Raises
    ------
    TensorError : more objects than queries, or costs that are not finite

    Source: Kuhn 1955; scipy's ``linear_sum_assignment``.

    >>> match(torch.tensor([[4.0, 1.0], [2.0, 3.0], [0.0, 9.0]]))
    (tensor([0, 2]), tensor([1, 0]))
    """
    if cost.dim() != 2 or cost.shape[0] < cost.shape[1]:
        raise TensorError(
            f"cost has shape {shapes.shown(cost)}; expected (queries, objects), at least as many "
            "queries as objects. Make the model with more queries."
        )
    if not bool(torch.isfinite(cost).all()):
        raise TensorError(
            f"Some costs {shapes.shown(cost)} are not finite. Does the model return NaN? Try a "
            "lower learning rate."
        )
    queries, objects = linear_sum_assignment(cost.detach().float().cpu().numpy())
    pairs = torch.as_tensor(queries), torch.as_tensor(objects)
    return pairs[0].to(cost.device), pairs[1].to(cost.device)


@torch.no_grad()
def match_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    box_weight: float = 1.0,
    giou_weight: float = 1.0,
) -> Tensor:
    """Cost of each query answering for each object of its picture, shape (..., Q, M).

    Parameters
    ----------
    logits : Tensor, shape (..., Q, C + 1)
    boxes : Tensor, shape (..., Q, 4), in shares of the picture
    labels : Tensor of int, shape (..., M); costs of `ABSENT` ones mean nothing
    targets : Tensor, shape (..., M, 4)
    box_weight, giou_weight : as for `set_loss`

    The cost is `boxes.box_loss` times its weight, less the probability of the object's class.
    Source: Carion et al. 2020 (DETR), section 3.1.
    """
    far = box_loss(boxes[..., :, None, :], targets[..., None, :, :], giou_weight)
    classes = labels.clamp(min=0)[..., None, :].expand(far.shape)
    return box_weight * far - logits.softmax(-1).gather(-1, classes)


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    box_weight: float = 1.0,
    giou_weight: float = 1.0,
    nothing_weight: float = 0.1,
) -> Tensor:
    """Loss of a set of predictions against a set of objects, in whatever order.

    Queries are matched to objects (`match`). Cross-entropy asks matched queries for their object's
    class and the others for "nothing here"; the box loss is that of matched queries alone.

    Parameters
    ----------
    logits : Tensor, shape (B, Q, C + 1)
    boxes : Tensor, shape (B, Q, 4), in shares of the picture
    labels : Tensor of int, shape (B, M), `ABSENT` behind the last object of a picture
    targets : Tensor, shape (B, M, 4); what stands at an absent object does not count
    box_weight : of `boxes.box_loss` beside the cross-entropy
    giou_weight : of the GIoU loss inside it
    nothing_weight : of queries for which nothing is there: they are many

    Returns
    -------
    Tensor, shape (): weighted mean of cross-entropies plus mean box loss of an object

    Source: Carion et al. 2020 (DETR), section 3.1.
    """
    _check(logits, boxes, labels, targets)
    cost = match_cost(logits, boxes, labels, targets, box_weight, giou_weight).cpu()
    pairs = []
    for picture, there in enumerate((labels != ABSENT).cpu()):
        columns = there.nonzero()[:, 0]
        queries, numbers = match(cost[picture, :, columns])
        pairs.append(torch.stack([torch.full_like(queries, picture), queries, columns[numbers]]))
    pictures, queries, objects = torch.cat(pairs, 1).to(logits.device)
    wanted = torch.full_like(logits[..., 0], logits.shape[-1] - 1, dtype=torch.long)  # (B, Q)
    wanted[pictures, queries] = labels[pictures, objects]
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = nothing_weight
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weights)
    far = box_loss(boxes[pictures, queries], targets[pictures, objects], giou_weight)
    return loss + box_weight * far.sum() / max(len(far), 1)


def _check(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> None:
    fits = (
        logits.dim() == 3
        and labels.dim() == 2
        and boxes.shape == (*logits.shape[:2], 4)
        and targets.shape == (*labels.shape, 4)
        and len(logits) == len(labels)
    )
    if not fits:
        raise TensorError(
            f"logits {shapes.shown(logits)}, boxes {shapes.shown(boxes)}, labels "
            f"{shapes.shown(labels)}, targets {shapes.shown(targets)} do not fit together. "
            "Expected (B, Q, C + 1), (B, Q, 4), (B, M) and (B, M, 4)."
        )
    classes = logits.shape[-1] - 1
    if bool(((labels < ABSENT) | (labels >= classes)).any()):
        raise TensorError(
            f"Labels run from {int(labels.min())} to {int(labels.max())}; with {classes} classes "
            f"they are 0 to {classes - 1}, and {ABSENT} where there is no object."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
