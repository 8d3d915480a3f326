"""Which patches count for an answer: what attention says, and what covering them says.

Attention shows where a model looks. Whether the answer rests on a patch is another question, and
`occlusion` asks it: cover the patch, and see what the answer becomes. `rank_agreement` says how
well a map of attention foretells that.

In comments L is layers, H heads, T tokens, R and K rows and columns of patches, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from attnlab.attention import shapes
from attnlab.datasets.pictures import check_images
from attnlab.errors import DataError, TensorError, suggest
from attnlab.vision.image_classifier import ImageClassifier

__all__ = [
    "COVERS",
    "Cover",
    "Occlusion",
    "attention_rollout",
    "cover_patches",
    "occlusion",
    "over_patches",
    "rank_agreement",
]

Cover = Literal["mean", "black", "white"]
COVERS: dict[str, str] = {
    "mean": "the mean of the picture's pixels",
    "black": "black",
    "white": "white",
}
Patch = tuple[int, int]  # row and column, from 0


# ── what attention says ────────────────────────────────────────────────────────────────────────


def attention_rollout(weights: Tensor) -> Tensor:
    """Follow attention through the layers, from the last one's tokens to the input's.

    Parameters
    ----------
    weights : Tensor, shape (L, H, T, T), as in `AttentionMaps.weights`; a removed head's rows are
        zeros and do not count

    Returns
    -------
    Tensor, shape (T, T): row i says how much of token i after layer L - 1 came from each token of
    the input, and sums to 1

    Raises
    ------
    TensorError : another shape, or no layers

    Source: Abnar and Zuidema 2020, "Quantifying attention flow in Transformers", section 3. Each
    layer is the mean A of its heads; half of what leaves it is taken to come through the residual
    connection: 0.5 A + 0.5 I. Their product over the layers is the rollout. Values and feed-forward
    networks are left out, so it is a model of the model, not a measurement.

    >>> weights = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(2, 3, 2, 2)
    >>> attention_rollout(weights)[0]
    tensor([0.2500, 0.7500])
    """
    shapes.check_float("weights", weights)
    if weights.dim() != 4 or not len(weights) or weights.shape[2] != weights.shape[3]:
        raise TensorError(
            f"weights has shape {shapes.shown(weights)}; it needs (layers, heads, tokens, tokens): "
            "attention_rollout(clf.attend(image).weights)."
        )
    identity = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    rolled = identity
    for layer in weights:
        mixed = layer.mean(0)  # (T, T)
        sums = mixed.sum(-1, keepdim=True)
        # without any head a layer passes on what it got
        mixed = torch.where(
            sums > 0, mixed / sums.clamp_min(torch.finfo(sums.dtype).tiny), identity
        )
        rolled = (0.5 * mixed + 0.5 * identity) @ rolled
    return rolled


def over_patches(row: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """The numbers of the patches among those of all tokens: (T,) to an array (R, K).

    Parameters
    ----------
    row : one number for each token; [CLS] and its like stand before the patches
    grid : rows and columns of patches, as `ImageClassifier.grid`
    """
    patches = grid[0] * grid[1]
    if row.dim() != 1 or len(row) < patches:
        raise TensorError(
            f"row has shape {shapes.shown(row)}; it needs one number for each token, of which "
            f"{patches} are the patches of a grid of {grid[0]} x {grid[1]}."
        )
    return row[len(row) - patches :].reshape(grid).detach().cpu().double().numpy()


# ── what covering says ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What an answer becomes when one patch is covered, for each patch in turn.

    Attributes
    ----------
    label : index of the answer that was asked about
    before : its probability with no patch covered
    after : float64 array, shape (R, K), its probability with that patch covered
    answers : int array, shape (R, K), index of the label that is answered then
    """

    label: int
    before: float
    after: np.ndarray
    answers: np.ndarray

    @property
    def drop(self) -> np.ndarray:
        """Shape (R, K): by how much the probability falls; negative where it rises."""
        return self.before - self.after


def cover_patches(
    image: np.ndarray, patches: Iterable[Patch], patch: Patch, cover: Cover | int = "mean"
) -> np.ndarray:
    """Return a copy of an image in which some patches have one colour.

    Parameters
    ----------
    image : uint8 array, (H, W) if grey or (H, W, 3) in colour
    patches : row and column of each patch, from 0
    patch : height and width of a patch in pixels, as `ImageClassifier.patch`
    cover : what they are covered with: the "mean" of the image's pixels (of each colour), "black",
        "white", or a number from 0 to 255

    Raises
    ------
    DataError : a patch that is not there, or another cover
    """
    image = np.asarray(image)
    return _covered_with(image, patches, patch, _colour(image, cover))


def occlusion(
    clf: ImageClassifier,
    image: np.ndarray,
    label: int | None = None,
    cover: Cover | int = "mean",
    covered: Iterable[Patch] = (),
) -> Occlusion:
    """Cover each patch in turn, and measure what becomes of an answer.

    All covered images are answered in one call.

    Parameters
    ----------
    clf : ImageClassifier
    image : uint8 array, (H, W) if grey or (H, W, 3) in colour
    label : index of the answer that is asked about; default the one that the classifier gives
    cover : what a patch is covered with, as in `cover_patches`. It matters: a black patch covered
        with black stays as it is, and what comes instead of a patch is evidence, too.
    covered : patches that are covered from the beginning; covering them again changes nothing

    Raises
    ------
    DataError : an image that the classifier does not read, a label, patch or cover that is not
        there

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks",
    section 4.2, who slide a grey square over the image.
    """
    rows, columns = clf.grid
    image = np.asarray(image)
    colour = _colour(image, cover)  # of the whole image, whatever is covered already
    start = _covered_with(image, covered, clf.patch, colour)
    each = [
        _covered_with(start, [(row, column)], clf.patch, colour)
        for row in range(rows)
        for column in range(columns)
    ]
    logits = clf.logits(clf.encode([start, *each]))
    # a softmax of double precision tells 0.999999 from 0.9999999
    probabilities = logits.double().softmax(-1).numpy()
    if label is None:
        label = int(probabilities[0].argmax())
    elif label not in range(len(clf.label_names)):
        raise DataError(
            f"There is no label {label!r}: labels are 0 to {len(clf.label_names) - 1}, "
            f"{list(clf.label_names)[:10]}."
        )
    # the same picture twice can be answered with 1e-8 between them, and ranks would notice
    unchanged = [index for index, one in enumerate(each, 1) if np.array_equal(one, start)]
    probabilities[unchanged] = probabilities[0]
    return Occlusion(
        int(label),
        float(probabilities[0, label]),
        probabilities[1:, label].reshape(rows, columns),
        probabilities[1:].argmax(-1).reshape(rows, columns),
    )


def rank_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two maps of one shape; NaN where one is the same everywhere.

    >>> round(rank_agreement(np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[1, 2], [4, 3]])), 2)
    0.8
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or not first.size:
        raise TensorError(
            f"The maps have the shapes {first.shape} and {second.shape}; two maps of the same "
            "patches are needed."
        )
    ranks = [stats.rankdata(values.ravel()) for values in (first, second)]
    if any(np.ptp(order) == 0 for order in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _colour(image: np.ndarray, cover: Cover | int) -> np.ndarray:
    """The colour of a cover: one number, or one for red, green and blue."""
    check_images(image[None], "this call")
    if isinstance(cover, str):
        if cover not in COVERS:
            raise DataError(
                f"There is no cover {cover!r}. {suggest(cover, COVERS)} A number from 0 to 255 "
                "is one, too."
            )
        if cover == "mean":
            return image.mean((0, 1)).round().astype(np.uint8)
        return np.array(255 if cover == "white" else 0, np.uint8)
    if isinstance(cover, bool) or not isinstance(cover, Integral) or not 0 <= cover <= 255:
        raise DataError(
            f"cover is {cover!r}; it is one of {', '.join(COVERS)}, or a whole number from 0 "
            "(black) to 255 (white)."
        )
    return np.array(int(cover), np.uint8)


def _covered_with(
    image: np.ndarray, patches: Iterable[Patch], patch: Patch, colour: np.ndarray
) -> np.ndarray:
    covered = image.copy()
    rows, columns = image.shape[0] // patch[0], image.shape[1] // patch[1]
    for row, column in patches:
        if not (0 <= row < rows and 0 <= column < columns):
            raise DataError(
                f"There is no patch in row {row}, column {column}: rows are 0 to {rows - 1}, "
                f"columns 0 to {columns - 1}."
            )
        top, left = row * patch[0], column * patch[1]
        covered[top : top + patch[0], left : left + patch[1]] = colour
    return covered


def __dir__() -> list[str]:
    return sorted(__all__)
