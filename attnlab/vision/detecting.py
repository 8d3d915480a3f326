"""Several objects on one picture: learned queries, each of which answers for one object or none.

DETR (Carion et al. 2020) in small. In comments B is batch, Q queries, M objects, C classes.
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
from attnlab.datasets.pictures import SceneDataset
from attnlab.datasets.splits import Splits
from attnlab.device import is_main_process
from attnlab.errors import DataError, ModelError
from attnlab.inference import check_finite, evaluating
from attnlab.training.checkpoint import begin_run, end_run
from attnlab.training.history import History
from attnlab.training.stepping import batches, hashed, train_steps
from attnlab.transformer import DecoderLayer
from attnlab.vision import storing
from attnlab.vision.bodies import (
    Windows,
    body_record,
    headless,
    make_body,
    picture_size,
    processor_for,
)
from attnlab.vision.boxes import iou
from attnlab.vision.matching import ABSENT, set_loss
from attnlab.vision.pixels import ImageProcessor
from attnlab.vision.training import untrained
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = [
    "DetectionScore",
    "Detections",
    "Detector",
    "fit_detector",
    "load_detector",
    "padded",
    "score_detections",
    "train_detector",
]

FILE = "detector.safetensors"


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found on one picture, the surest first: ``labels``, n names; ``probabilities``,
    array (n,); ``boxes``, float32 array (n, 4) of x, y, width, height in pixels.
    """

    labels: list[str]
    probabilities: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class DetectionScore:
    """How many objects were found.

    Attributes
    ----------
    precision : share of what was found that is right
    recall : share of the objects that were found
    f1 : harmonic mean of both
    objects : number of objects
    """

    precision: float
    recall: float
    f1: float
    objects: int


class Detector(nn.Module):
    """Queries that are learned look at the patches and say what they see: a class and a box each.

    Parameters
    ----------
    body : VisionTransformer, or `Windows` of one, of which a copy without its classifier is taken
    label_names : of C classes
    queries : number Q of queries, at least as many as there are objects on a picture
    layers : decoder layers, of the body's width and heads
    processor : what is done to pixels; default from -1 to 1

    Attributes
    ----------
    history : History of its training, or None

    Source: Carion et al. 2020 (DETR).
    """

    history: History | None = None

    def __init__(
        self,
        body: VisionTransformer | Windows,
        label_names: Sequence[str],
        queries: int = 8,
        layers: int = 2,
        processor: ImageProcessor | None = None,
    ):
        super().__init__()
        shapes.check_count("queries", queries, 1)
        shapes.check_count("layers", layers, 1)
        size = body.size
        self.body, self.label_names = headless(body), list(label_names)
        self.processor = processor or processor_for(body)
        width = size["d_model"]
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers: Any = nn.ModuleList(
            DecoderLayer(width, size["heads"], size["feed_forward"], size["dropout"], fused=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, len(self.label_names) + 1)
        self.box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Answer pictures, (B, C, H, W): logits (B, Q, classes + 1) and boxes (B, Q, 4).

        The last class is "nothing here"; boxes are in shares of the picture.
        """
        return self.of_each_layer(images)[-1]

    def of_each_layer(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What `forward` returns, read after each layer: for losses that reach all of them."""
        patches = self.body.encode(images)
        x = self.queries.expand(len(images), -1, -1)
        read = []
        for layer in self.layers:
            x = layer(x, layer.cross_attention.project(patches))
            normed = self.norm(x)
            read.append((self.classifier(normed), self.box(normed).sigmoid()))
        return read

    @torch.no_grad()
    def detect(
        self, images: np.ndarray | Sequence[np.ndarray], threshold: float = 0.5
    ) -> list[Detections]:
        """Find the objects on each picture.

        Parameters
        ----------
        images : uint8 array, (N, H, W) if grey or (N, H, W, 3) in colour
        threshold : the least probability of a class that counts as an object

        Raises
        ------
        DataError : pictures of another size or kind than the model reads
        ModelError : a model whose answers are not finite
        """
        pixels = self.processor.checked(images)
        device, whole = next(self.parameters()).device, picture_size(self.processor)
        found = []
        with evaluating(self):
            for rows in batches(len(pixels)):
                logits, boxes = self(self.processor.pixels(pixels[rows]).to(device))
                chances = check_finite(self, logits).float().softmax(-1).cpu()[..., :-1]
                in_pixels = check_finite(self, boxes).float().cpu() * whole
                found += [
                    self._chosen(*picture, threshold)
                    for picture in zip(chances, in_pixels, strict=True)
                ]
        return found

    def _chosen(self, chances: Tensor, boxes: Tensor, threshold: float) -> Detections:
        """What one picture's queries are sure enough of, from (Q, C) and (Q, 4)."""
        best, label = chances.max(-1)
        order = best.argsort(descending=True)
        order = order[best[order] >= threshold]
        names = [self.label_names[index] for index in label[order].tolist()]
        return Detections(names, best[order].numpy(), boxes[order].numpy())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file that `load_detector` reads."""
        about = {
            "body": body_record(self.body),
            "label_names": self.label_names,
            "queries": len(self.queries),
            "layers": len(self.layers),
            "pixels": vars(self.processor),
        }
        return storing.write(path, self, about, self.history)

    def __repr__(self) -> str:
        return (
            f"Detector({len(self.queries)} queries, {self.body.size['layers']} + "
            f"{len(self.layers)} layers, labels {self.label_names[:10]})"
        )


def load_detector(path: str | os.PathLike[str]) -> Detector:
    """Load a detector from a file of `Detector.save`, or from the folder of `train_detector`."""

    def make(body: dict[str, Any], pixels: dict[str, Any], **rest: Any) -> Detector:
        return Detector(make_body(**body), processor=ImageProcessor(**pixels), **rest)

    return storing.read(path, FILE, "Detector", make)


def score_detections(
    found: Sequence[Detections], data: SceneDataset, least: float = 0.5
) -> DetectionScore:
    """Compare what was found with what is there.

    Parameters
    ----------
    found : of each picture of ``data``
    least : IoU that a box must have with an object of its label. Each object counts once: of
        several boxes on it all but the surest are wrong.
    """
    if len(found) != len(data):
        raise DataError(
            f"There are detections of {len(found)} pictures, and {data!r}. Give those of the same "
            "pictures."
        )
    right = 0
    for one, labels, boxes in zip(found, data.labels, data.boxes, strict=True):
        left = set(range(len(labels)))
        overlaps = iou(torch.from_numpy(one.boxes)[:, None], torch.from_numpy(boxes)[None])
        for name, overlap in zip(one.labels, overlaps.tolist(), strict=True):
            hits = [
                number
                for number in left
                if data.label_names[labels[number]] == name and overlap[number] > least
            ]
            if hits:
                left.remove(max(hits, key=overlap.__getitem__))
                right += 1
    proposed, objects = sum(len(one.labels) for one in found), sum(map(len, data.labels))
    precision, recall = right / max(proposed, 1), right / max(objects, 1)
    return DetectionScore(precision, recall, 2 * right / max(proposed + objects, 1), objects)


def train_detector(
    splits: Splits,
    out: str | os.PathLike[str] | None = None,
    *,
    queries: int = 8,
    decoder_layers: int = 2,
    patch: int = 7,
    d_model: int = 64,
    heads: int = 4,
    layers: int = 2,
    stem: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Detector:
    """Train a detector from nothing; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `SceneDataset`, such as `datasets.scenes.several` draws
    out : folder for the result and, while training, a checkpoint
    queries, decoder_layers : of the `Detector`
    patch, d_model, heads, layers, stem, dropout : of its `VisionTransformer`
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    **options : of `fit_detector`: steps, batch_size, learning_rate, box_weight, giou_weight, ...
    """
    _check(splits, queries)
    folder = begin_run(out, FILE, "attnlab.vision.detecting.load_detector", resume, overwrite)
    body = untrained(
        splits,
        seed=seed,
        patch=patch,
        d_model=d_model,
        heads=heads,
        layers=layers,
        pool="mean",
        stem=stem,
        dropout=dropout,
    )
    detector = Detector(body, splits.train.label_names, queries, decoder_layers)
    detector.to(next(body.parameters()).device)
    fit_detector(detector, splits, folder=folder, seed=seed, resume=resume, **options)
    if folder is not None and is_main_process():
        detector.save(folder / FILE)
        end_run(folder)
    return detector


def fit_detector(
    detector: Detector,
    splits: Splits,
    *,
    box_weight: float = 5.0,
    giou_weight: float = 0.4,
    nothing_weight: float = 0.1,
    **options: Any,
) -> History:
    """Train a detector in place, new or trained before, and leave it at its best epoch on dev.

    The loss is `matching.set_loss`, averaged over the decoder layers: each is asked.

    Parameters
    ----------
    detector : Detector
    splits : of `SceneDataset`
    box_weight, giou_weight, nothing_weight : of `matching.set_loss`; by default those of DETR
    **options : of `stepping.train_steps`: steps, batch_size, learning_rate, ...

    Returns
    -------
    History, whose rows have ``dev_f1`` (by which the best epoch is chosen), ``dev_precision`` and
    ``dev_recall``, all at a threshold of one half
    """
    train, dev = splits.train, splits.dev
    _check(splits, len(detector.queries))
    whole = picture_size(detector.processor)
    pixels = detector.processor.checked(train.images)
    labels, boxes = padded(train, detector.label_names)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        images, targets = detector.processor.pixels(pixels[indices]), boxes[indices] / whole
        return {"images": images, "labels": labels[indices], "targets": targets}

    def loss(model: Detector, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        weights = (box_weight, giou_weight, nothing_weight)
        read = model.of_each_layer(images)
        return torch.stack([set_loss(*part, labels, targets, *weights) for part in read]).mean()

    def measure() -> dict[str, float]:
        score = score_detections(detector.detect(dev.images), dev)
        return {
            "dev_f1": score.f1,
            "dev_precision": score.precision,
            "dev_recall": score.recall,
        }

    detector.history = train_steps(
        detector,
        loss,
        len(train),
        batch,
        measure,
        choose_by="dev_f1",
        tokens=detector.body.grid[0] * detector.body.grid[1],
        identity={
            "body": body_record(detector.body),
            "loss": [box_weight, giou_weight, nothing_weight],
            "training_images": hashed(train.images, labels, boxes),
            "dev_images": hashed(dev.images),
        },
        **options,
    )
    return detector.history


def padded(data: SceneDataset, label_names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Objects of each picture as tensors: labels (N, M) and boxes (N, M, 4) in pixels.

    Behind the last object of a picture labels are `ABSENT`.
    """
    most = max(map(len, data.labels))
    labels = torch.full((len(data), most), ABSENT)
    boxes = torch.zeros(len(data), most, 4)
    numbers = [label_names.index(name) for name in data.label_names]
    for index, (own, places) in enumerate(zip(data.labels, data.boxes, strict=True)):
        labels[index, : len(own)] = torch.tensor([numbers[label] for label in own])
        boxes[index, : len(own)] = torch.from_numpy(places)
    return labels, boxes


def _check(splits: Splits, queries: int) -> None:
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, SceneDataset) or not len(data):
            raise DataError(
                f"{data!r} has no pictures with objects in boxes. Use "
                "al.datasets.scenes.several(digits, 8000), or your own: "
                "al.datasets.boxes_from_csv."
            )
        if max(map(len, data.labels)) > queries:
            raise ModelError(
                f"{data.name} has a picture of {max(map(len, data.labels))} objects and the "
                f"detector {queries} queries: some could never be found. Give it more queries."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
