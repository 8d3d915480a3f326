"""Pictures: with a label each, and with several objects each, every object in its box."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnlab.datasets.labelled import Labelled
from attnlab.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageDataset(Labelled):
    """Labelled pictures, all of one size.

    Attributes
    ----------
    images : uint8 array, shape (N, H, W) if grey, (N, H, W, 3) if red, green and blue
    labels : list of N int, indices into label_names
    label_names : list of str
    name : str
    boxes : float32 array, shape (N, 4), or None: where the labelled thing is, as (x, y, width,
        height) in pixels; x and y are its top left corner, y counts from the top
    files : list of N str, or None: where each picture was read from

    Raises
    ------
    DataError : other numbers or shapes than these, other than one label for each picture, a box
        without an area or not inside the picture
    """

    images: np.ndarray
    labels: list[int]
    label_names: list[str]
    name: str
    boxes: np.ndarray | None = None
    files: list[str] | None = None

    examples = "pictures"

    def __post_init__(self) -> None:
        check_images(self.images, self.name)
        self.check_labels(len(self.images))
        for what in ("boxes", "files"):
            given = getattr(self, what)
            if given is not None and len(given) != len(self):
                raise DataError(
                    f"{self.name} has {len(self)} pictures and {len(given)} {what}. Give each "
                    "picture one."
                )
        if self.boxes is not None:
            boxes = checked_boxes(self.boxes, self.images.shape[1:3], self.name)
            object.__setattr__(self, "boxes", boxes)

    def select(self, indices: Sequence[int] | np.ndarray) -> "ImageDataset":
        """The pictures with these indices, in this order."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            images=_rows(self.images, chosen),
            labels=[self.labels[index] for index in chosen],
            boxes=None if self.boxes is None else _rows(self.boxes, chosen),
            files=None if self.files is None else [self.files[index] for index in chosen],
        )

    def __repr__(self) -> str:
        return (
            f"ImageDataset({self.name!r}, {len(self):,} {_told_size(self.images)} pictures, "
            f"labels {self.label_names[:10]})"
        )


@dataclass(frozen=True, eq=False)
class SceneDataset:
    """Pictures of one size with any number of objects, each with a label and a box.

    Attributes
    ----------
    images : uint8 array, shape (N, H, W) if grey, (N, H, W, 3) if red, green and blue
    labels : N lists of int, indices into label_names, one for each object
    boxes : N float32 arrays, shape (objects, 4): (x, y, width, height) in pixels, as in
        `ImageDataset`
    label_names : list of str
    name : str
    files : list of N str, or None: where each picture was read from

    Raises
    ------
    DataError : other numbers or shapes than these, other than one label for each box, a box
        without an area or not inside the picture
    """

    images: np.ndarray
    labels: list[list[int]]
    boxes: list[np.ndarray]
    label_names: list[str]
    name: str
    files: list[str] | None = None

    def __post_init__(self) -> None:
        check_images(self.images, self.name)
        sizes = {len(self.images), len(self.labels), len(self.boxes)}
        if self.files is not None:
            sizes.add(len(self.files))
        if len(sizes) > 1:
            raise DataError(
                f"{self.name} has {len(self.images)} pictures, {len(self.labels)} lists of labels "
                f"and {len(self.boxes)} arrays of boxes"
                + ("" if self.files is None else f" from {len(self.files)} files")
                + ". Give as many of each."
            )
        boxes = []
        for index, (labels, given) in enumerate(zip(self.labels, self.boxes, strict=True)):
            where = f"Picture {index} of {self.name}"
            boxes.append(checked_boxes(given, self.images.shape[1:3], where))
            if len(labels) != len(boxes[-1]):
                raise DataError(
                    f"{where} has {len(labels)} labels and {len(boxes[-1])} boxes. Give each "
                    "object both."
                )
            wrong = [label for label in labels if label not in range(len(self.label_names))]
            if wrong:
                raise DataError(
                    f"{where} has the label {wrong[0]!r}, which is no index into its label names "
                    f"{list(self.label_names)[:8]}. Labels are numbers from 0."
                )
        object.__setattr__(self, "boxes", boxes)

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Sequence[int] | np.ndarray) -> "SceneDataset":
        """The pictures with these indices, in this order."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            images=_rows(self.images, chosen),
            labels=[self.labels[index] for index in chosen],
            boxes=[self.boxes[index] for index in chosen],
            files=None if self.files is None else [self.files[index] for index in chosen],
        )

    def sample(self, n: int, seed: int = 0) -> "SceneDataset":
        """At most ``n`` pictures, drawn at random from a seed; all of them if there are fewer."""
        return self.select(np.random.default_rng(seed).permutation(len(self))[:n])

    def single(self) -> ImageDataset:
        """The same pictures as an `ImageDataset` with boxes, where each has exactly one object.

        Raises
        ------
        DataError : a picture with no object, or with several
        """
        for index, labels in enumerate(self.labels):
            if len(labels) != 1:
                which = f"picture {index}" if self.files is None else self.files[index]
                raise DataError(
                    f"{which} of {self.name} has {len(labels)} objects. Expected one in each "
                    "picture; leave out the others with select."
                )
        boxes = np.concatenate([np.empty((0, 4)), *self.boxes])
        labels = [labels[0] for labels in self.labels]
        return ImageDataset(
            self.images, labels, self.label_names, self.name, boxes, files=self.files
        )

    def __repr__(self) -> str:
        objects = sum(map(len, self.labels))
        return (
            f"SceneDataset({self.name!r}, {len(self):,} {_told_size(self.images)} pictures, "
            f"{objects:,} objects, labels {self.label_names[:10]})"
        )


# ── checks ─────────────────────────────────────────────────────────────────────────────────────


def check_images(images: Any, name: str) -> None:
    """Raise DataError unless these are pictures: uint8, shape (N, H, W) or (N, H, W, 3)."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = f"{images.dtype} numbers" if hasattr(images, "dtype") else type(images).__name__
        raise DataError(
            f"The pictures of {name} are {kind}. Expected a numpy array of uint8, from 0 (black) "
            "to 255 (white): shares of 1 become that by (255 * images).round().astype('uint8')."
        )
    shape = images.shape
    if len(shape) not in (3, 4) or 0 in shape[1:] or shape[3:] not in ((), (3,)):
        cure = "Expected (N, H, W) for grey and (N, H, W, 3) for colour."
        if len(shape) == 4 and shape[3] == 1:
            cure += " Leave out the last axis: images[..., 0]."
        elif len(shape) == 4 and shape[1] in (1, 3):
            cure += " Put the colours last: images.transpose(0, 2, 3, 1)."
        elif len(shape) == 4 and shape[3] in (2, 4):
            cure += " Leave out transparency, the last number of each pixel."
        raise DataError(f"The pictures of {name} have the shape {shape}. {cure}")


def checked_boxes(boxes: Any, size: Sequence[int], where: str) -> np.ndarray:
    """Return boxes as float32, shape (n, 4).

    Raises
    ------
    DataError : not four finite numbers a box, no area, a box that leaves the picture of this
        (height, width)
    """
    height, width = size
    try:
        found = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has boxes that are no numbers ({error}).") from error
    found = found.reshape(0, 4) if found.size == 0 else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise DataError(
            f"{where} has boxes of the shape {found.shape}. Expected (boxes, 4): x, y, width, "
            "height, in pixels."
        )
    corner = found[:, :2] + found[:, 2:]
    inside = np.isfinite(found).all(1) & (found[:, :2] >= -_SLACK).all(1)
    inside &= (corner <= np.array([width, height]) + _SLACK).all(1)
    if not (inside & (found[:, 2:] > 0).all(1)).all():
        wrong = found[~(inside & (found[:, 2:] > 0).all(1))][0]
        raise DataError(
            f"{where} has the box {wrong.tolist()}. Expected x, y, width and height in pixels, "
            f"with an area and inside of {width} x {height}."
        )
    return found


_SLACK = 0.01  # pixels, for boxes whose numbers were rounded


def _rows(array: np.ndarray, indices: list[int]) -> np.ndarray:
    return array[np.asarray(indices, dtype=int)]


def _told_size(images: np.ndarray) -> str:
    height, width = images.shape[1:3]
    return f"{'grey' if images.ndim == 3 else 'colour'} {height} x {width}"
