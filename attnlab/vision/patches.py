"""A picture as a row of patches: cut up, put together again, and turned into vectors.

In comments B is batch, C channels, H and W height and width in pixels, P the side of a patch, N the
number of patches, E d_model.
"""

from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import TensorError

__all__ = ["PatchEmbedding", "grid_of", "patchify", "unpatchify"]


def grid_of(height: int, width: int, patch: int) -> tuple[int, int]:
    """Return how many patches lie below and beside each other; TensorError if they do not fit."""
    for name, given in (("height", height), ("width", width), ("patch", patch)):
        shapes.check_count(name, given, 1)
    if height % patch or width % patch:
        raise TensorError(
            f"A picture of {height} x {width} pixels cannot be cut into patches of {patch} x "
            f"{patch}: {patch} must divide both. Use another patch size, or resize the picture."
        )
    return height // patch, width // patch


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut pictures into square patches that do not overlap.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
    patch : side P of a patch, in pixels; it must divide H and W

    Returns
    -------
    Tensor, shape (B, N, C * P * P): row after row of patches, and the numbers of a patch channel
    after channel, row after row

    Source: Dosovitskiy et al. 2021, section 3.1.
    """
    _check_images(images)
    height, width = images.shape[-2:]
    rows, columns = grid_of(height, width, patch)
    cells = images.unflatten(-1, (columns, patch))
    cells = cells.unflatten(-3, (rows, patch))  # (B, C, rows, P, columns, P)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, height: int, width: int, patch: int) -> Tensor:
    """Put patches together again: (B, N, C * P * P) to (B, C, H, W), undoing `patchify`."""
    rows, columns = grid_of(height, width, patch)
    numbers = patch * patch
    if patches.dim() != 3 or patches.shape[1] != rows * columns or patches.shape[2] % numbers:
        raise TensorError(
            f"patches has shape {shapes.shown(patches)}; a picture of {height} x {width} has "
            f"{rows * columns} patches of {numbers} numbers a channel: (batch, {rows * columns}, "
            f"channels * {numbers})."
        )
    cells = patches.unflatten(1, (rows, columns)).unflatten(3, (-1, patch, patch))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class PatchEmbedding(nn.Module):
    """A vector for each patch, from its pixels.

    Without a stem it is one linear map, which every patch goes through by itself. That is the same
    as a convolution whose kernel and stride are the side of a patch.

    Parameters
    ----------
    patch : side P of a patch, in pixels
    channels : 1 for grey pictures, 3 for colour
    d_model : width of the vectors
    stem : let small convolutions look over the edges of the patches first; source: Xiao et al.
        2021, "Early convolutions help Transformers see better", who report steadier training
    """

    def __init__(self, patch: int, channels: int, d_model: int, stem: bool = False):
        super().__init__()
        for name, given in (("patch", patch), ("channels", channels), ("d_model", d_model)):
            shapes.check_count(name, given, 1)
        self.patch, self.channels = patch, channels
        self.stem = _convolutions(patch, channels, d_model) if stem else None
        self.linear = nn.Linear(d_model if stem else channels * patch * patch, d_model)

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures: (B, C, H, W) to (B, N, E), row after row of patches."""
        _check_images(images)
        if images.shape[1] != self.channels:
            raise TensorError(
                f"images has shape {shapes.shown(images)}; this model reads {self.channels} "
                "channels: (batch, channels, height, width)."
            )
        height, width = images.shape[-2:]
        grid_of(height, width, self.patch)
        if self.stem is None:
            return self.linear(patchify(images, self.patch))
        return self.linear(self.stem(images).flatten(2).transpose(1, 2))


def _convolutions(patch: int, channels: int, d_model: int) -> nn.Sequential:
    """From (B, C, H, W) to (B, E, H / P, W / P): a convolution, then one for each factor of P."""
    strides = [1, *_prime_factors(patch)]
    layers: list[nn.Module] = []
    before = channels
    for index, stride in enumerate(strides):
        after = max(8, d_model >> (len(strides) - 1 - index))
        after = d_model if index == len(strides) - 1 else after
        kernel = max(3, stride)
        padding = (kernel - stride + 1) // 2  # so that the size is divided by the stride exactly
        layers += [
            nn.Conv2d(before, after, kernel, stride, padding),
            nn.GroupNorm(1, after),
            nn.GELU(),
        ]
        before = after
    return nn.Sequential(*layers)


def _prime_factors(number: int) -> list[int]:
    """Prime factors in order.

    >>> _prime_factors(14), _prime_factors(8), _prime_factors(1)
    ([2, 7], [2, 2, 2], [])
    """
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


def _check_images(images: Tensor) -> None:
    shapes.check_float("images", images)
    if images.dim() != 4:
        raise TensorError(
            f"images has shape {shapes.shown(images)}; it needs (batch, channels, height, width). "
            "Grey pictures without that axis: images[:, None]."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
