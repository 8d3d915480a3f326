"""Heads, neurons and layers that go for good: what is left is smaller, with no masks behind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.classification.structure import cut_neurons, neurons, noted
from attnlab.compression.calibration import moments
from attnlab.compression.choices import (
    HeadScore,
    LayerScore,
    NeuronScore,
    head_scores,
    layer_scores,
    neuron_scores,
)
from attnlab.compression.copies import copied, with_layers
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, option

RIDGE = 1e-4  # of the mean square of the inputs, so that what hardly occurs is not inverted


def prune_heads(
    clf: Classifier,
    share: float | None = None,
    heads_gone: Sequence[tuple[int, int]] | None = None,
    *,
    by: HeadScore = "margin",
    data: TextDataset | None = None,
    scores: np.ndarray | None = None,
    repair: Sequence[Text] | None = None,
    seed: int = 0,
) -> Classifier:
    """Remove the heads that matter least, over all layers, or those that are named.

    Parameters
    ----------
    clf : stays as it is
    share : of the heads that are there, 0 to 1; all may go
    heads_gone : pairs (layer, head), instead of ``share``
    by, data, seed : see `head_scores`
    scores : (L, H) of `head_scores`, where several shares are tried; then ``by`` is only noted
    repair : calibration texts: the output projection is fitted anew, by least squares, so that the
        heads that stay say what all of them said (Kwon et al. 2022)

    Raises
    ------
    AttnlabError : neither or both of ``share`` and ``heads_gone``, a share out of range
    ModelError : see `heads.prune`
    """
    if (share is None) == (heads_gone is None):
        raise AttnlabError("Say either how large a share of the heads goes, or which: heads_gone=.")
    model = heads.model_of(clf)
    if heads_gone is None:
        assert share is not None
        wanted = []
        if check_share(share, all_may_go=True):
            given = head_scores(clf, by, data, seed) if scores is None else np.asarray(scores)
            _check_scores(np.shape(given), (clf.layers, clf.heads))
            wanted = _lowest(model, given, share)
    else:
        wanted = sorted({(int(layer), int(head)) for layer, head in heads_gone})
    smaller = heads.prune(clf, wanted)
    if repair is not None and wanted:
        gone_from = {heads.sharing_layers(model, layer)[0] for layer, _ in wanted}
        layers = sorted(gone_from & set(_with_heads(smaller)))
        found = moments(clf, repair, [f"{layer}.output" for layer in layers])
        for layer in layers:
            before = heads.active_heads(model, layer)
            left = heads.active_heads(smaller.model, layer)
            width = heads.sites(model)[layer].head_width
            rows = [torch.arange(width) + before.index(head) * width for head in left]
            old, new = heads.sites(model)[layer].output, heads.sites(smaller.model)[layer].output
            _repair(new, old.weight, old.bias, found[f"{layer}.output"], torch.cat(rows))
    gone = [[int(layer), int(head)] for layer, head in wanted]
    noted(
        smaller.model,
        "prune_heads",
        gone=gone,
        by=by if heads_gone is None else "named",
        repaired=repair is not None,
    )
    return smaller


def prune_neurons(
    clf: Classifier,
    share: float | None = None,
    *,
    keep: Sequence[Sequence[int]] | None = None,
    by: NeuronScore = "activation",
    data: TextDataset | Sequence[Text] | None = None,
    scores: Sequence[np.ndarray] | None = None,
    everywhere_alike: bool = True,
    repair: Sequence[Text] | None = None,
    seed: int = 0,
) -> Classifier:
    """Remove the feed-forward neurons that matter least: a row of one matrix, a column of the next.

    Parameters
    ----------
    clf : stays as it is
    share : of the neurons, from 0 to below 1
    keep : for each layer the neurons that stay, instead of ``share``
    by, data, seed : see `neuron_scores`
    scores : of `neuron_scores`, where several shares are tried; then ``by`` is only noted
    everywhere_alike : each layer loses the same share; else the share is taken over all layers, and
        each scores in parts of its own layer's sum
    repair : calibration texts: the second matrix is fitted anew, as in `prune_heads`

    Raises
    ------
    AttnlabError : a share out of range, a layer that would be left with no neuron
    """
    if (share is None) == (keep is None):
        raise AttnlabError(
            "Say either how large a share of the neurons goes, or which stay: keep=."
        )
    model = heads.model_of(clf)
    counts = neurons(model)
    if keep is None:
        assert share is not None
        if not check_share(share, all_may_go=False):
            kept = [torch.arange(count) for count in counts]
        else:
            given = neuron_scores(clf, by, data, seed) if scores is None else list(scores)
            _check_scores([len(score) for score in given], counts)
            kept = _best_neurons(given, share, everywhere_alike)
            kept = [kept[heads.sharing_layers(model, layer)[0]] for layer in range(len(kept))]
    else:
        kept = [torch.tensor(sorted({int(neuron) for neuron in layer})) for layer in keep]
        _check_neurons(kept, counts)
    smaller = copied(clf)
    changed = [layer for layer, left in enumerate(kept) if len(left) < counts[layer]]
    cut_neurons(smaller.model, kept)
    if repair is not None and changed:
        own = {id(heads.feed_forwards(model)[layer].down): layer for layer in reversed(changed)}
        layers = sorted(own.values())
        found = moments(clf, repair, [f"{layer}.down" for layer in layers])
        for layer in layers:
            old = heads.feed_forwards(model)[layer].down
            new = heads.feed_forwards(smaller.model)[layer].down
            _repair(new, old.weight, old.bias, found[f"{layer}.down"], kept[layer])
    noted(
        smaller.model,
        "prune_neurons",
        kept=[len(left) for left in kept],
        by=by if keep is None else "named",
        repaired=repair is not None,
    )
    return smaller


def prune_layers(
    clf: Classifier,
    count: int | None = None,
    *,
    keep: Sequence[int] | None = None,
    by: LayerScore = "ablation",
    data: TextDataset | None = None,
    scores: np.ndarray | None = None,
    seed: int = 0,
) -> Classifier:
    """Remove whole layers: the hidden states go from the one before to the one after.

    Parameters
    ----------
    clf : stays as it is
    count : how many go, those that matter least
    keep : the layers that stay, in order, instead of ``count``
    by, data, seed : see `layer_scores`
    scores : (L,) of `layer_scores`, where several counts are tried; then ``by`` is only noted

    Raises
    ------
    AttnlabError : no layer left, or one that the model does not have
    ModelError : ALBERT, whose layers are one
    """
    if (count is None) == (keep is None):
        raise AttnlabError("Say either how many layers go, or which stay: keep=[0, 2, 5].")
    heads.layer_list(heads.model_of(clf))  # raises for ALBERT, before the work
    if keep is None:
        assert count is not None
        if not 0 <= count < clf.layers:
            raise AttnlabError(
                f"{option('count', count)} layers cannot go: the model has {clf.layers}, and "
                "one at least must stay."
            )
        left = list(range(clf.layers))
        if count:
            given = layer_scores(clf, by, data, seed) if scores is None else np.asarray(scores)
            _check_scores(np.shape(given), (clf.layers,))
            left = sorted(np.argsort(-given, kind="stable")[: clf.layers - count])
    else:
        left = [int(layer) for layer in keep]
        if not left or left != sorted(set(left)) or not 0 <= left[0] <= left[-1] < clf.layers:
            raise AttnlabError(
                f"{option('keep', list(keep))}: expected layers from 0 to {clf.layers - 1}, each "
                "once and in order, such as [0, 2, 5]."
            )
    smaller = with_layers(clf, [int(layer) for layer in left])
    noted(
        smaller.model,
        "prune_layers",
        kept=[int(layer) for layer in left],
        by=by if keep is None else "named",
    )
    return smaller


def check_share(share: float, all_may_go: bool, name: str = "share") -> float:
    """The share, if it is one; AttnlabError in the words of the option ``name`` if it is not."""
    if not 0 <= share <= 1 or (share == 1 and not all_may_go):
        upto = "0 to 1" if all_may_go else "0 to below 1: something must stay"
        raise AttnlabError(f"{option(name, share)} is out of range: it is a share, from {upto}.")
    return share


def _check_scores(given: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(given) != tuple(expected):
        raise AttnlabError(
            f"scores= are for {tuple(given)}, and this classifier has {tuple(expected)}. Compute "
            "them for this one."
        )


def _lowest(model: Any, scores: np.ndarray, share: float) -> list[tuple[int, int]]:
    """The lowest share of the heads with a score, in order; of shared layers from all at once."""
    groups = [heads.sharing_layers(model, layer) for layer in range(len(scores))]
    own = np.array([group[0] == layer for layer, group in enumerate(groups)])
    places = np.argwhere(~np.isnan(scores) & own[:, None])
    order = np.argsort(scores[tuple(places.T)], kind="stable")
    chosen = places[order[: round(share * len(places))]]
    return sorted((layer, int(head)) for first, head in chosen for layer in groups[first])


def _best_neurons(scores: list[np.ndarray], share: float, alike: bool) -> list[Tensor]:
    if alike:
        counts = [max(1, len(score) - round(share * len(score))) for score in scores]
    else:
        parts = np.concatenate([score / max(score.sum(), 1e-30) for score in scores])
        layer_of = np.repeat(np.arange(len(scores)), [len(score) for score in scores])
        stay = np.argsort(-parts, kind="stable")[: len(parts) - round(share * len(parts))]
        counts = np.bincount(layer_of[stay], minlength=len(scores)).clip(1).tolist()
    return [
        torch.tensor(np.sort(np.argsort(-score, kind="stable")[:count]))
        for score, count in zip(scores, counts, strict=True)
    ]


def _check_neurons(kept: list[Tensor], counts: list[int]) -> None:
    if len(kept) != len(counts):
        raise AttnlabError(f"keep= names neurons for {len(kept)} layers; there are {len(counts)}.")
    for layer, (left, count) in enumerate(zip(kept, counts, strict=True)):
        if not len(left) or left[0] < 0 or left[-1] >= count:
            raise AttnlabError(
                f"keep= for layer {layer}: expected one or more neurons from 0 to {count - 1}."
            )


def _with_heads(clf: Classifier) -> list[int]:
    model = heads.model_of(clf)
    return [layer for layer in range(clf.layers) if heads.active_heads(model, layer)]


def _repair(new: Any, weight: Tensor, bias: Tensor, moment: Tensor, kept: Tensor) -> None:
    """Fit a matrix of fewer columns to what the whole one gave, in place.

    With x the inputs and a 1 behind them, the new [W' b'] minimises the mean of
    |[W b] x - [W' b'] x_kept|²: [W' b'] = [W b] M[:, kept] M[kept, kept]⁻¹, M the mean of x xᵀ.
    A small multiple of the identity keeps W' near W where the texts say nothing.
    """
    moment = moment.cpu()
    index = torch.cat([kept.cpu(), torch.tensor([len(moment) - 1])])  # and the bias
    whole = torch.cat([weight, bias[:, None]], 1).detach().double().cpu()
    ridge = RIDGE * moment.diagonal()[:-1].mean() * torch.eye(len(index), dtype=moment.dtype)
    ridge[-1, -1] = 0
    target = whole @ moment[:, index] + whole[:, index] @ ridge
    fitted = torch.linalg.solve(moment[index][:, index] + ridge, target.T).T
    with torch.no_grad():
        new.weight.copy_(fitted[:, :-1])
        new.bias.copy_(fitted[:, -1])
