"""Random changes of training images: more pictures out of few."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attnlab.errors import AttnlabError

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Random shifts and turns, which leave the label of an image as it is.

    Attributes
    ----------
    shift : at most, to each side, as a share of the image's height and width
    degrees : turned by at most so many, to either side

    Raises
    ------
    AttnlabError : a shift that is no share, or a turn beyond half a circle

    Notes
    -----
    Pixels are interpolated; what comes in from outside repeats the edge. Draws come from torch's
    own generator, so `training.train` draws the same in a run that was stopped and goes on.
    """

    shift: float = 0.08
    degrees: float = 12.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1 or not 0 <= self.degrees <= 180:
            raise AttnlabError(
                f"shift is {self.shift} and degrees {self.degrees}; expected a share of the image "
                "from 0 to below 1, such as 0.08, and an angle from 0 to 180."
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Change each image by itself: (B, C, H, W) to the same shape."""
        count, _, height, width = images.shape
        turn, right, down = (2 * torch.rand(3, count) - 1).to(images)
        angle = turn * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        # from a place in the new image to where its pixel comes from, both from -1 to 1
        rows = [
            torch.stack([cos, -sin * height / width, 2 * self.shift * right], dim=-1),
            torch.stack([sin * width / height, cos, 2 * self.shift * down], dim=-1),
        ]
        places = nn.functional.affine_grid(
            torch.stack(rows, dim=1), list(images.shape), align_corners=False
        )
        return nn.functional.grid_sample(images, places, padding_mode="border", align_corners=False)


def __dir__() -> list[str]:
    return sorted(__all__)
