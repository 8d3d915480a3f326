"""From pictures as files hold them to the numbers that a model reads, kept small until then."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.classification.encoding import TOKENS_PER_BATCH, Indices, batches
from attnlab.datasets.pictures import check_images
from attnlab.errors import DataError, ModelError

__all__ = ["EncodedImages", "ImageProcessor", "image_size"]

_SCALE = 1 / 255


@dataclass(frozen=True)
class ImageProcessor:
    """What a model was trained to read: pictures of one size, their pixels shifted and scaled.

    Attributes
    ----------
    height, width : in pixels
    channels : 1 for grey pictures, 3 for colour
    mean, std : of each channel, by which pixels from 0 to 1 are shifted and scaled
    scale : by which pixels from 0 to 255 are multiplied first
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    scale: float = _SCALE

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            given = tuple(float(number) for number in getattr(self, name))
            given = given * self.channels if len(given) == 1 else given
            if len(given) != self.channels or (name == "std" and min(given) <= 0):
                raise ModelError(
                    f"The {name} of pixels is {list(given)}; expected is one number for each of "
                    f"{self.channels} channels{', above 0' if name == 'std' else ''}."
                )
            object.__setattr__(self, name, given)

    def checked(self, images: Any) -> np.ndarray:
        """Return pictures as uint8, shape (N, C, H, W); grey ones three times for a colour model.

        Raises
        ------
        DataError : no pictures, of another size, or in colour for a model that reads grey ones
        """
        if isinstance(images, Sequence) and not isinstance(images, str):
            shapes = {np.shape(image) for image in images}
            if len(shapes) > 1:
                raise DataError(
                    f"The pictures have different shapes: {', '.join(map(str, sorted(shapes)))}. "
                    f"Bring all to {self.height} x {self.width} pixels."
                )
            none = np.empty((0, self.height, self.width), np.uint8)
            images = np.stack(images) if len(images) else none
        check_images(images, "this call")
        if images.shape[1:3] != (self.height, self.width):
            raise DataError(
                f"The pictures are {images.shape[1]} x {images.shape[2]} pixels and this model "
                f"reads {self.height} x {self.width}. Bring them to that size, such as with "
                f"al.datasets.images_from_folder(folder, size=({self.height}, {self.width}))."
            )
        grey = images.ndim == 3
        if self.channels == 1 and not grey:
            raise DataError(
                "The pictures are in colour and this model reads grey ones. Give them as (N, H, "
                "W): al.datasets.images_from_folder(folder, grey=True) reads them so."
            )
        if grey:
            return np.broadcast_to(images[:, None], (len(images), self.channels, *images.shape[1:]))
        return images.transpose(0, 3, 1, 2)

    def pixels(self, images: np.ndarray) -> Tensor:
        """Return what the model reads, (B, C, H, W) of float32, of what `checked` returned."""
        values = torch.from_numpy(np.require(images, requirements=("C", "W"))).float() * self.scale
        mean, std = (torch.tensor(given)[:, None, None] for given in (self.mean, self.std))
        return (values - mean) / std

    def record(self) -> dict[str, Any]:
        """Return what Transformers' image processor is made from (preprocessor_config.json)."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.height, "width": self.width},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    @classmethod
    def of_record(cls, record: dict[str, Any], config: Any) -> "ImageProcessor":
        """Read what `record` or Transformers wrote; ModelError if it is not of this model.

        Parameters
        ----------
        record : of preprocessor_config.json
        config : of the model
        """
        height, width = image_size(config)
        cropped = record.get("do_center_crop", False)
        size = record.get("crop_size" if cropped else "size", {})
        size = {"height": size, "width": size} if isinstance(size, int) else size
        given = (size.get("height", height), size.get("width", width))
        if given != (height, width):
            raise ModelError(
                f"preprocessor_config.json says {given[0]} x {given[1]} pixels and config.json "
                f"{height} x {width}: they are of different models. Put the files of one model "
                "together."
            )
        normal = record.get("do_normalize", True)
        return cls(
            height,
            width,
            config.num_channels,
            tuple(record.get("image_mean", (0.5,))) if normal else (0.0,),
            tuple(record.get("image_std", (0.5,))) if normal else (1.0,),
            record.get("rescale_factor", _SCALE) if record.get("do_rescale", True) else 1.0,
        )


def image_size(config: Any) -> tuple[int, int]:
    """Return height and width of the pictures that a model reads."""
    size = config.image_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Pictures for one model, of a byte for each number until a batch is made.

    Attributes
    ----------
    images : uint8 array, shape (N, C, H, W)
    tokens : of each picture, for its patches and what stands before them
    processor : makes numbers of pixels
    """

    images: np.ndarray
    tokens: int
    processor: ImageProcessor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each picture, shape (N,)."""
        return np.full(len(self.images), self.tokens)

    def batch(self, indices: Indices) -> dict[str, Tensor]:
        """Return the model's input, ``pixel_values`` (B, C, H, W), of pictures by their indices."""
        return {"pixel_values": self.processor.pixels(self.images[np.asarray(indices, int)])}

    def batches(
        self, indices: Indices | None = None, max_tokens: int = TOKENS_PER_BATCH
    ) -> Iterator[np.ndarray]:
        """Cut pictures into batches of at most ``max_tokens``: positions in ``indices``."""
        count = len(self) if indices is None else len(indices)
        return batches(np.full(count, self.tokens), max_tokens)

    def arrays(self) -> Iterator[np.ndarray]:
        """Return everything there is, by which the same pictures are known again."""
        yield np.ascontiguousarray(self.images)


def __dir__() -> list[str]:
    return sorted(__all__)
