"""Weights in fewer bits: numbers that repeat, whole numbers times a step, and zeros."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.classification.structure import LowRankLinear, matrices, noted, packed_as
from attnlab.compression.calibration import watched
from attnlab.compression.copies import copied
from attnlab.errors import AttnlabError, ModelError, option, suggest

WeightScore = Literal["magnitude", "activation", "random"]
_ROUNDS = 25  # of k-means


def quantize(clf: Classifier, bits: int = 8) -> Classifier:
    """Round every matrix, embeddings included, to whole multiples of a step for each row.

    The weights are written in ``bits`` bits each, and computed with in float32: the file becomes
    small, the answer hardly changes, and the time stays. Faster products of whole numbers come with
    ``clf.export(folder, quantize="int8")``.

    Parameters
    ----------
    clf : stays as it is
    bits : of a weight, 2 to 8

    Returns
    -------
    Classifier, a few kilobytes larger in memory than before and smaller when it is saved
    """
    _check_bits(bits, 2)
    smaller = copied(clf)
    names = _weights(smaller)
    for name in names:
        weight = matrices(smaller.model)[name].module.weight
        with torch.no_grad():
            weight.copy_(fake_quantized(weight, bits))
    packed_as(smaller.model, names, "integer", bits)
    noted(smaller.model, "quantize", bits=bits)
    return smaller


def fake_quantized(weight: Tensor, bits: int) -> Tensor:
    """Round a matrix to multiples of a step for each row, and return it as float32.

    The largest absolute weight of a row is 2^(bits-1) - 1 steps. A step has 16 significant bits, so
    that its multiples are exact in float32 and a file can be read back to the last bit.

    Parameters
    ----------
    weight : (O, I)
    bits : 2 to 8

    Returns
    -------
    Tensor (O, I); no weight moves by more than half a step
    """
    _check_bits(bits, 2)
    top = 2 ** (bits - 1) - 1
    largest = weight.detach().abs().amax(1, keepdim=True).double()
    mantissa, exponent = torch.frexp(largest / top)
    steps = torch.ldexp((mantissa * 2**16).ceil() / 2**16, exponent)
    codes = (weight.double() / torch.where(steps > 0, steps, 1.0)).round().clamp(-top, top)
    return (codes * steps).to(weight.dtype)


def share_weights(clf: Classifier, bits: int = 4, seed: int = 0) -> Classifier:
    """Let the weights of each matrix be 2^bits different numbers, its codebook (k-means).

    Parameters
    ----------
    clf : stays as it is
    bits : of a weight, 1 to 8
    seed : k-means starts from evenly spaced quantiles, so that only ties depend on it

    Notes
    -----
    Han et al. 2016, "Deep Compression", without the fine-tuning. As with `quantize` the file is
    what becomes small.
    """
    _check_bits(bits, 1)
    smaller = copied(clf)
    names = _weights(smaller)
    for name in names:
        weight = matrices(smaller.model)[name].module.weight
        with torch.no_grad():
            weight.copy_(clustered(weight, bits))
    packed_as(smaller.model, names, "codebook", bits)
    noted(smaller.model, "share_weights", bits=bits)
    return smaller


def clustered(weight: Tensor, bits: int) -> Tensor:
    """Each weight replaced by the nearest of 2^bits means (k-means in one dimension)."""
    numbers = weight.detach().cpu().numpy().ravel().astype(np.float64)
    order = np.sort(numbers)
    total = np.concatenate([[0.0], np.cumsum(order)])
    means = np.unique(np.quantile(order, (np.arange(2**bits) + 0.5) / 2**bits))
    for _ in range(_ROUNDS):
        ends = np.searchsorted(order, (means[1:] + means[:-1]) / 2)
        edges = np.concatenate([[0], ends, [len(order)]])
        counts = np.diff(edges)
        sums = total[edges[1:]] - total[edges[:-1]]
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), means)
        if np.array_equal(moved, means):
            break
        means = np.unique(moved)
    nearest = means[np.searchsorted((means[1:] + means[:-1]) / 2, numbers)]
    return torch.from_numpy(nearest.astype(np.float32).reshape(weight.shape)).to(weight)


def prune_weights(
    clf: Classifier,
    share: float = 0.5,
    *,
    by: WeightScore = "magnitude",
    pattern: Literal["model", "row", "2:4"] = "row",
    texts: Sequence[Text] | None = None,
    seed: int = 0,
) -> Classifier:
    """Set the weights of the layers' matrices that matter least to zero.

    Nothing becomes faster by it here: a processor multiplies zeros as fast as other numbers. In the
    file a zero takes one bit.

    Parameters
    ----------
    clf : stays as it is
    share : of the weights, from 0 to below 1; "2:4" is one half
    by :
        - "magnitude": the absolute weight;
        - "activation": that times the root mean square of the input it meets, from ``texts``
          (Wanda, Sun et al. 2023);
        - "random": chance
    pattern : what is compared: all weights of the "model", those of a "row" (what one output is
        summed from), or of each four neighbours in a row the two largest stay, "2:4", which some
        GPUs multiply faster
    texts : calibration texts, for "activation"
    """
    for value, allowed in ((by, get_args(WeightScore)), (pattern, ("model", "row", "2:4"))):
        if value not in allowed:
            raise AttnlabError(f"There is no {value!r} here. {suggest(value, allowed)}")
    if not 0 <= share < 1:
        raise AttnlabError(
            f"{option('share', share)} is out of range: it is a share, from 0 to below 1."
        )
    if pattern == "2:4" and share != 0.5:
        raise AttnlabError("Of four weights two stay: the pattern 2:4 goes with share=0.5 only.")
    smaller = copied(clf)
    places = {name: place for name, place in matrices(smaller.model).items() if name[0].isdigit()}
    places = {name: place for name, place in places.items() if name in set(_weights(smaller))}
    scores = _weight_scores(smaller, by, list(places), texts, seed)
    if pattern == "model":
        everything = torch.cat([score.flatten() for score in scores.values()])
        gone = _smallest(everything[None], share)[0]
        parts = gone.split([score.numel() for score in scores.values()])
        zeros = {n: part.view_as(scores[n]) for n, part in zip(scores, parts, strict=True)}
    elif pattern == "row":
        zeros = {name: _smallest(score, share) for name, score in scores.items()}
    else:
        zeros = {name: _two_of_four(name, score) for name, score in scores.items()}
    with torch.no_grad():
        for name, zero in zeros.items():
            places[name].module.weight.masked_fill_(zero.to(places[name].module.weight.device), 0)
    packed_as(smaller.model, list(places), "sparse")
    noted(smaller.model, "prune_weights", share=share, by=by, pattern=pattern)
    return smaller


def _weight_scores(
    clf: Classifier, by: WeightScore, names: list[str], texts: Sequence[Text] | None, seed: int
) -> dict[str, Tensor]:
    weights = {name: matrices(clf.model)[name].module.weight.detach().abs().cpu() for name in names}
    if by == "magnitude":
        return weights
    if by == "random":
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.rand(one.shape, generator=generator) for name, one in weights.items()}
    squares, count = dict.fromkeys(names, torch.zeros(())), dict.fromkeys(names, 0)

    def add(name: str, inputs: Tensor) -> None:
        squares[name] = squares[name] + inputs.square().sum(0).cpu()
        count[name] += len(inputs)

    watched(clf, texts, names, add)
    return {name: one * (squares[name] / count[name]).sqrt() for name, one in weights.items()}


def _smallest(scores: Tensor, share: float) -> Tensor:
    """In each row the smallest share, as a mask; of equal ones those that come first."""
    count = round(share * scores.shape[1])
    order = scores.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, order, True)


def _two_of_four(name: str, scores: Tensor) -> Tensor:
    if scores.shape[1] % 4:
        raise ModelError(
            f"{name} has rows of {scores.shape[1]} weights, which is no multiple of 4."
        )
    return _smallest(scores.reshape(-1, 4), 0.5).view_as(scores)


def _weights(clf: Classifier) -> list[str]:
    """The matrices that can be rounded; of a product both factors stay as they are."""
    found = []
    for name, place in matrices(clf.model).items():
        module = place.module
        if isinstance(module, torch.nn.Embedding) or heads.is_plain(module):
            if module.weight.numel():
                found.append(name)
        elif not isinstance(module, LowRankLinear) and any(
            parameter.dim() > 1 for parameter in module.parameters()
        ):
            raise ModelError(
                f"{name} is a {type(module).__name__}, whose numbers are not its weights alone. "
                "Merge adapters first, and compress before another library quantises."
            )
    return found


def _check_bits(bits: int, least: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not least <= bits <= 8:
        raise AttnlabError(
            f"{option('bits', bits)} of a weight: expected a whole number from {least} to 8."
        )
