"""One matrix for several, and products of two thin matrices for one."""

import math
from collections.abc import Sequence

import torch

from attnlab import heads
from attnlab.classification import structure
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.compression.calibration import moments
from attnlab.compression.copies import copied
from attnlab.errors import AttnlabError, ModelError, option


def share_layers(clf: Classifier, groups: Sequence[Sequence[int]]) -> Classifier:
    """Let all layers of a group have the weights of its first, as in ALBERT.

    The model keeps its depth and its time; parameters and file are those of the layers that are
    left. Train it afterwards, such as with `distil`: weights that were not made for it are poor.

    Parameters
    ----------
    clf : stays as it is
    groups : such as [[0, 1], [2, 3]]; layers that are in none keep their own

    Raises
    ------
    AttnlabError : a layer that does not exist, or in two groups
    ModelError : layers of different sizes
    """
    sets = [[int(layer) for layer in group] for group in groups]
    named = [layer for group in sets for layer in group]
    if len(set(named)) < len(named) or any(not 0 <= layer < clf.layers for layer in named):
        raise AttnlabError(
            f"groups={sets}: expected layers from 0 to {clf.layers - 1}, each in one group at most."
        )
    smaller = copied(clf)
    structure.share_layers(smaller.model, [group for group in sets if len(group) > 1])
    structure.noted(smaller.model, "share_layers", groups=sets)
    return smaller


def factorize(
    clf: Classifier,
    rank: int | None = None,
    *,
    share: float | None = None,
    parts: Sequence[str] = ("up", "down"),
    texts: Sequence[Text] | None = None,
) -> Classifier:
    """Replace matrices of the layers by products of two thin ones (singular value decomposition).

    Parameters
    ----------
    clf : stays as it is
    rank : R, the inner width of every product
    share : instead of ``rank``: the share of each matrix' weights that the product may have
    parts : which matrices of each layer: "query", "key", "value", "output", "up", "down"
    texts : calibration texts: then the error of the *outputs* on their tokens is smallest, else
        that of the weights. With M = mean of x xᵀ, the product is the best approximation of W M^½,
        times M^-½ (as in Wang et al. 2024, "SVD-LLM").

    Raises
    ------
    AttnlabError : a rank that saves nothing, or below 1; unknown parts
    """
    within = ("query", "key", "value", "output", "up", "down")
    if not parts or any(part not in within for part in parts):
        raise AttnlabError(f"parts={list(parts)}: expected some of {', '.join(within)}.")
    if (rank is None) == (share is None):
        raise AttnlabError("Say either rank=, or which share of the weights may stay: share=.")
    smaller = copied(clf)
    places = {
        name: place.module
        for name, place in structure.matrices(smaller.model).items()
        if name[0].isdigit() and name.partition(".")[2] in parts
    }
    factors = {}
    for name, module in places.items():
        if not heads.is_plain(module):
            raise ModelError(f"{name} is a {type(module).__name__}, and no plain matrix any more.")
    found = moments(clf, texts, list(places)) if texts is not None else {}
    for name, module in places.items():
        outputs, inputs = module.weight.shape
        wanted = rank if rank is not None else int(share * outputs * inputs / (outputs + inputs))
        if not wanted >= 1 or wanted * (outputs + inputs) >= outputs * inputs:
            most = math.ceil(outputs * inputs / (outputs + inputs)) - 1
            raise AttnlabError(
                f"{option('rank', wanted)} does not make {name} ({outputs} x {inputs}) smaller: "
                f"expected 1 to {most}."
            )
        weight = module.weight.detach().double().cpu()
        root = inverse = torch.eye(inputs, dtype=torch.float64)
        if name in found:
            values, vectors = torch.linalg.eigh(found[name][:-1, :-1].cpu())
            values = values.clamp_min(1e-6 * values.max()).sqrt()
            root, inverse = ((vectors * one) @ vectors.T for one in (values, 1 / values))
        left, singular, right = torch.linalg.svd(weight @ root, full_matrices=False)
        up = left[:, :wanted] * singular[:wanted].sqrt()
        down = singular[:wanted, None].sqrt() * right[:wanted] @ inverse
        factors[name] = (down.float(), up.float())
    structure.factorized(smaller.model, factors)
    structure.noted(
        smaller.model,
        "factorize",
        parts=list(parts),
        rank=rank,
        share=share,
        calibrated=texts is not None,
    )
    return smaller
