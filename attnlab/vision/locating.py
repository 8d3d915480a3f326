"""What and where: one vision Transformer that answers with a class and a box.

In comments B is batch, C channels, H and W height and width in pixels, E d_model.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.device import is_main_process
from attnlab.errors import DataError, ModelError, TensorError
from attnlab.inference import check_finite, evaluating
from attnlab.training.checkpoint import begin_run, end_run
from attnlab.training.history import History
from attnlab.training.stepping import batches, hashed, train_steps
from attnlab.vision import storing
from attnlab.vision.bodies import body_record, picture_size, processor_for
from attnlab.vision.boxes import box_loss, crop, iou
from attnlab.vision.pixels import ImageProcessor
from attnlab.vision.training import untrained
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = [
    "Located",
    "LocatingScore",
    "Locator",
    "cut_out",
    "fit_locator",
    "joint_loss",
    "load_locator",
    "rolled",
    "score_located",
    "train_locator",
]

FILE = "locator.safetensors"


def joint_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    box_weight: float = 1.0,
    giou_weight: float = 1.0,
) -> Tensor:
    """Loss of saying what and where at once: cross-entropy plus box loss.

    Parameters
    ----------
    logits : Tensor, shape (B, classes)
    boxes : Tensor, shape (B, 4), predicted, in shares of the picture
    labels : Tensor of int, shape (B,)
    targets : Tensor, shape (B, 4), where the boxes should be
    box_weight : of the box loss beside the cross-entropy; 0 asks for the class alone
    giou_weight : inside the box loss: L1 distance + giou_weight * (1 - GIoU); see `boxes.box_loss`

    Returns
    -------
    Tensor, shape (), the mean over the batch
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or boxes.shape != targets.shape:
        raise TensorError(
            f"logits {shapes.shown(logits)}, boxes {shapes.shown(boxes)}, labels "
            f"{shapes.shown(labels)}, targets {shapes.shown(targets)} do not fit together. "
            "Expected (B, classes), (B, 4), (B,) and (B, 4)."
        )
    what = nn.functional.cross_entropy(logits, labels)
    return what + box_weight * box_loss(boxes, targets, giou_weight).mean()


@dataclass(frozen=True, eq=False)
class Located:
    """What is on N pictures and where: ``labels``, N names; ``probabilities``, array (N, classes);
    ``boxes``, float32 array (N, 4) of x, y, width, height in pixels.
    """

    labels: list[str]
    probabilities: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class LocatingScore:
    """How well N things were named and located.

    Attributes
    ----------
    accuracy : share of right labels
    mean_iou : of predicted and true boxes
    found : share of boxes with an IoU above one half
    both : share with the right label and such a box
    n : number of pictures
    """

    accuracy: float
    mean_iou: float
    found: float
    both: float
    n: int


class Locator(nn.Module):
    """A vision Transformer with two answers, read from the same vector: a class and a box.

    Parameters
    ----------
    body : VisionTransformer, whose classifier says what; its pool should be "mean" or "attention"
    label_names : one for each of its classes
    processor : what is done to pixels; default from -1 to 1

    Attributes
    ----------
    history : History of its training, or None

    Example
    -------
    >>> canvases = al.datasets.scenes.canvas(al.datasets.load("mnist-5k"))  # doctest: +SKIP
    >>> locator = train_locator(canvases, steps=2000)  # doctest: +SKIP
    >>> locator.locate(canvases.test.images[:1]).boxes  # doctest: +SKIP
    """

    history: History | None = None

    def __init__(
        self,
        body: VisionTransformer,
        label_names: Sequence[str],
        processor: ImageProcessor | None = None,
    ):
        super().__init__()
        size = body.size
        if len(label_names) != size["classes"]:
            raise ModelError(
                f"The model has {size['classes']} classes and there are {len(label_names)} label "
                "names. Give one for each class."
            )
        self.body, self.label_names = body, list(label_names)
        self.processor = processor or processor_for(body)
        width = size["d_model"]
        self.box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Answer pictures, (B, C, H, W): logits (B, classes), boxes (B, 4) in shares of them."""
        pooled = self.body.pool(self.body.encode(images))
        return self.body.classifier(pooled), self.box(pooled).sigmoid()

    @torch.no_grad()
    def locate(self, images: np.ndarray | Sequence[np.ndarray]) -> Located:
        """Say what is on each picture, and where.

        Parameters
        ----------
        images : uint8 array, (N, H, W) if grey or (N, H, W, 3) in colour

        Raises
        ------
        DataError : pictures of another size or kind than the model reads
        ModelError : a model whose answers are not finite
        """
        pixels = self.processor.checked(images)
        device = next(self.parameters()).device
        logits, boxes = [torch.empty(0, len(self.label_names))], [torch.empty(0, 4)]
        with evaluating(self):
            for rows in batches(len(pixels)):
                found = self(self.processor.pixels(pixels[rows]).to(device))
                logits.append(check_finite(self, found[0]).float().cpu())
                boxes.append(check_finite(self, found[1]).float().cpu())
        chances = torch.cat(logits).softmax(-1)
        names = [self.label_names[index] for index in chances.argmax(-1).tolist()]
        in_pixels = torch.cat(boxes) * picture_size(self.processor)
        return Located(names, chances.numpy(), in_pixels.numpy())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file that `load_locator` reads."""
        about = {
            "body": body_record(self.body),
            "label_names": self.label_names,
            "pixels": vars(self.processor),
        }
        return storing.write(path, self, about, self.history)

    def __repr__(self) -> str:
        size = self.body.size
        return (
            f"Locator({size['image'][0]} x {size['image'][1]} pixels, {size['layers']} layers x "
            f"{size['heads']} heads, labels {self.label_names[:10]})"
        )


def load_locator(path: str | os.PathLike[str]) -> Locator:
    """Load a locator from a file of `Locator.save`, or from the folder of `train_locator`."""

    def make(body: dict[str, Any], label_names: list[str], pixels: dict[str, Any]) -> Locator:
        return Locator(VisionTransformer(**body["size"]), label_names, ImageProcessor(**pixels))

    return storing.read(path, FILE, "Locator", make)


def score_located(found: Located, data: ImageDataset) -> LocatingScore:
    """Compare what was found with what is there."""
    _check_boxes(data)
    right = np.array(found.labels) == np.array(data.label_names)[data.labels]
    overlap = iou(torch.from_numpy(found.boxes), torch.from_numpy(data.boxes)).numpy()
    return LocatingScore(
        float(right.mean()),
        float(overlap.mean()),
        float((overlap > 0.5).mean()),
        float((right & (overlap > 0.5)).mean()),
        len(right),
    )


def cut_out(
    images: np.ndarray, boxes: np.ndarray, size: int | tuple[int, int], margin: float = 0.2
) -> np.ndarray:
    """Cut a box out of each picture, for a second look by another model.

    Parameters
    ----------
    images : uint8 array, (N, H, W) or (N, H, W, 3)
    boxes : array (N, 4), in pixels. Each is made a square around its middle first, so that what is
        in it keeps its shape.
    size : of the result, (height, width) or one number for both
    margin : how much is added on each side, as a share of the square

    Returns
    -------
    uint8 array, ``(N, *size)`` or ``(N, *size, 3)``
    """
    colour = images.ndim == 4
    pixels = torch.from_numpy(images).float()
    pixels = pixels.permute(0, 3, 1, 2) if colour else pixels[:, None]
    given = torch.as_tensor(boxes, dtype=torch.float32)
    side = given[:, 2:].amax(1, keepdim=True)
    squares = torch.cat([given[:, :2] + (given[:, 2:] - side) / 2, side, side], 1)
    cut = crop(pixels, squares, size, margin).round().clamp(0, 255).byte()
    return (cut.permute(0, 2, 3, 1) if colour else cut[:, 0]).numpy()


def rolled(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Move each picture so that its box lies anywhere; what leaves one side enters the other.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
    boxes : Tensor, shape (B, 4), in pixels, inside the picture

    Returns
    -------
    images, boxes : of the same shapes, moved by whole pixels, drawn from torch's generator
    """
    height, width = images.shape[-2:]
    whole = boxes[:, :2].floor()
    room = (torch.tensor([width, height]) - boxes[:, 2:] - (boxes[:, :2] - whole)).floor()
    by = (torch.rand(len(boxes), 2) * (room + 1)).floor() - whole  # (B, 2) to the right, down
    right, down = by.long().T[..., None]
    rows = ((torch.arange(height) - down) % height)[:, None, :, None].expand_as(images)
    columns = ((torch.arange(width) - right) % width)[:, None, None].expand_as(images)
    return images.gather(2, rows).gather(3, columns), torch.cat(
        [boxes[:, :2] + by, boxes[:, 2:]], 1
    )


def train_locator(
    splits: Splits,
    out: str | os.PathLike[str] | None = None,
    *,
    patch: int = 7,
    d_model: int = 64,
    heads: int = 4,
    layers: int = 4,
    pool: str = "mean",
    stem: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Locator:
    """Train a locator from nothing; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `ImageDataset` with boxes, such as `datasets.scenes.canvas` draws
    out : folder for the result and, while training, a checkpoint
    patch, d_model, heads, layers, pool, stem, dropout : of the `VisionTransformer`
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    **options : of `fit_locator`: steps, batch_size, learning_rate, box_weight, giou_weight, ...
    """
    _check(splits)
    folder = begin_run(out, FILE, "attnlab.vision.locating.load_locator", resume, overwrite)
    sizes: dict[str, Any] = {
        "patch": patch,
        "d_model": d_model,
        "heads": heads,
        "layers": layers,
        "pool": pool,
        "stem": stem,
        "dropout": dropout,
    }
    body = untrained(splits, seed=seed, **sizes)
    locator = Locator(body, splits.train.label_names).to(next(body.parameters()).device)
    fit_locator(locator, splits, folder=folder, seed=seed, resume=resume, **options)
    if folder is not None and is_main_process():
        locator.save(folder / FILE)
        end_run(folder)
    return locator


def fit_locator(
    locator: Locator,
    splits: Splits,
    *,
    box_weight: float = 1.0,
    giou_weight: float = 1.0,
    roll: bool = True,
    **options: Any,
) -> History:
    """Train a locator in place, new or trained before, and leave it at its best epoch on dev.

    Parameters
    ----------
    locator : Locator
    splits : of `ImageDataset` with boxes
    box_weight, giou_weight : of `joint_loss`
    roll : move each training picture at random (`rolled`)
    **options : of `stepping.train_steps`: steps, batch_size, learning_rate, dtype, seed, folder,
        resume, callbacks and fields of `training.Recipe`

    Returns
    -------
    History, whose rows have ``dev_accuracy``, ``dev_iou``, ``dev_found``, ``dev_both`` (by which
    the best epoch is chosen; see `LocatingScore`) and ``dev_loss``
    """
    _check(splits)
    train, dev = splits.train, splits.dev
    whole = picture_size(locator.processor)
    pixels = locator.processor.checked(train.images)
    labels = torch.tensor(train.labels_in(locator.label_names))
    boxes = torch.from_numpy(train.boxes)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        images, targets = locator.processor.pixels(pixels[indices]), boxes[indices]
        if roll:
            images, targets = rolled(images, targets)
        return {"images": images, "labels": labels[indices], "targets": targets / whole}

    def loss(model: nn.Module, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        logits, found = model(images)
        return joint_loss(logits, found, labels, targets, box_weight, giou_weight)

    dev_labels = torch.tensor(dev.labels_in(locator.label_names))
    dev_boxes = torch.from_numpy(dev.boxes)

    def measure() -> dict[str, float]:
        found = locator.locate(dev.images)
        score = score_located(found, dev)
        logits, boxes = torch.from_numpy(found.probabilities).log(), torch.from_numpy(found.boxes)
        return {
            "dev_accuracy": score.accuracy,
            "dev_iou": score.mean_iou,
            "dev_found": score.found,
            "dev_both": score.both,
            "dev_loss": joint_loss(
                logits, boxes / whole, dev_labels, dev_boxes / whole, box_weight, giou_weight
            ).item(),
        }

    locator.history = train_steps(
        locator,
        loss,
        len(train),
        batch,
        measure,
        choose_by="dev_both",
        tokens=locator.body.grid[0] * locator.body.grid[1],
        identity={
            "body": body_record(locator.body),
            "loss": [box_weight, giou_weight, roll],
            "training_images": hashed(train.images, train.labels, train.boxes),
            "dev_images": hashed(dev.images, dev.labels, dev.boxes),
        },
        **options,
    )
    return locator.history


def _check(splits: Splits) -> None:
    for part in ("train", "dev"):
        _check_boxes(getattr(splits, part))


def _check_boxes(data: Any) -> None:
    if not isinstance(data, ImageDataset) or data.boxes is None or not len(data):
        raise DataError(
            f"{data!r} has no pictures with a label and a box each. Use "
            "al.datasets.scenes.canvas(digits), or your own: al.datasets.boxes_from_csv."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
