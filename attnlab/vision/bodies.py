"""What a model of this room reads a picture with: a vision Transformer without its answer.

In comments B is batch, C channels, H and W height and width in pixels, T tokens, E d_model.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import ModelError, TensorError
from attnlab.vision.pixels import ImageProcessor
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = ["Windows", "body_record", "headless", "make_body", "picture_size", "processor_for"]


class Windows(nn.Module):
    """Reads a large picture window by window, each with the same small vision Transformer.

    So what has learned to read one thing reads several: patches attend to those of their own
    window only, and it is left to what stands above to put windows together. Source: Liu et al.
    2021 (Swin), section 3.2, without the shift.

    Parameters
    ----------
    body : VisionTransformer whose pictures have the size of a window, without a token "cls"
    rows, columns : of windows

    Attributes
    ----------
    size : that of the body, for a picture of all windows
    grid : rows and columns of patches, of all windows
    """

    cls = None

    def __init__(self, body: VisionTransformer, rows: int = 2, columns: int = 2):
        super().__init__()
        for name, given in (("rows", rows), ("columns", columns)):
            shapes.check_count(name, given, 1)
        if body.cls is not None:
            raise ModelError(
                'Windows need a body without a token "cls", which would stand in each of them. '
                'Train one with pool="mean" or pool="attention".'
            )
        self.body, self.windows = body, (rows, columns)
        height, width = body.size["image"]
        self.size: dict[str, Any] = body.size | {"image": (rows * height, columns * width)}
        self.grid = rows * body.grid[0], columns * body.grid[1]

    def encode(self, images: Tensor) -> Tensor:
        """Tokens of all windows: (B, C, H, W) to (B, T, E), row after row of the whole picture."""
        if tuple(images.shape[-2:]) != self.size["image"]:
            raise TensorError(
                f"images has shape {shapes.shown(images)}; these windows make up pictures of "
                f"{self.size['image'][0]} x {self.size['image'][1]} pixels."
            )
        rows, columns = self.windows
        cut = images.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))  # (B, C, r, h, c, w)
        read = self.body.encode(cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2))  # (B r c, t, E)
        patches = read.unflatten(1, self.body.grid).unflatten(0, (-1, rows, columns))
        return patches.transpose(2, 3).flatten(1, 4)  # from (B, r, y, c, x, E)


def headless(body: VisionTransformer | Windows) -> Any:
    """A copy of a body without its classifier, for a model that reads its tokens."""
    copied = copy.deepcopy(body)
    reader: Any = copied.body if isinstance(copied, Windows) else copied
    reader.classifier = nn.Identity()
    return copied


def body_record(body: VisionTransformer | Windows) -> dict[str, Any]:
    """What `make_body` makes a body from again, whatever JSON can hold."""
    size = body.body.size if isinstance(body, Windows) else body.size
    record = {**size, "image": list(size["image"])}
    return {
        "size": record,
        "windows": list(body.windows) if isinstance(body, Windows) else None,
    }


def make_body(size: dict[str, Any], windows: list[int] | None) -> VisionTransformer | Windows:
    """A body with new weights, from `body_record`."""
    body = VisionTransformer(**size)
    return body if windows is None else Windows(body, *windows)


def processor_for(body: VisionTransformer | Windows) -> ImageProcessor:
    """How pixels become numbers from -1 to 1, for the pictures that a body reads."""
    height, width = body.size["image"]
    return ImageProcessor(height, width, body.size["channels"])


def picture_size(processor: ImageProcessor) -> Tensor:
    """What shares of a picture are multiplied by to give pixels: (width, height) twice."""
    return torch.tensor([processor.width, processor.height] * 2).float()


def __dir__() -> list[str]:
    return sorted(__all__)
