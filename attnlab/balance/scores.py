"""Attention scores while a model trains: are they what makes a head collapse?"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab import heads
from attnlab.balance.probing import Probing
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.device import is_main_process
from attnlab.evaluation.inputs import tokenised

_MEASURES = ("score", "lead", "input_lead", "norm")
Pair = tuple[nn.Module, nn.Module]  # what makes queries and keys of a layer
_COLUMNS = ("step", "layer", "head", "measure", "value")


class ScoreRecorder(Probing):
    """Notes how large the scores of each head are, every few steps of a training.

    A score is q·k / √D, what the softmax makes a weight of. Give this to a training:
    ``finetune(..., callbacks=[ScoreRecorder(texts)])``. Dropout is off meanwhile, no random number
    is drawn and gradients stay as they are.

    Parameters
    ----------
    texts : list of str, or of (str, str); some 16 do
    every : steps between two measurements

    Raises
    ------
    DataError : no texts
    AttnlabError : ``every`` below 1
    ModelError, in a training : a decoder, or a model whose queries and keys come from one matrix

    References
    ----------
    Zhai et al. 2023, "Stabilizing Transformer training by preventing attention entropy collapse":
    scores that grow make a row sharp. Dehghani et al. 2023 and Wortsman et al. 2023 watch the
    largest.
    """

    def __init__(self, texts: Sequence[Text], every: int = 25):
        super().__init__(texts, every, enough=16)
        self._noted: dict[int, np.ndarray] = {}  # step to (measures, L, H)
        self._first: list[Pair] = []  # projections as they were at the first measurement

    def __call__(self, clf: Classifier, step: int) -> None:
        """Measure, if it is time; what was noted at this step or later is taken away."""
        self._noted = {known: found for known, found in self._noted.items() if known < step}
        if is_main_process() and step % self.every == 0:
            if not self._noted:
                self._first = copy.deepcopy(_projections(clf))
            scores = _scores(clf, tokenised(clf, self.texts), self._first)
            self._noted[step] = np.stack([*scores, _norms(clf)])

    @property
    def table(self) -> pd.DataFrame:
        """What was noted: ``step``, ``layer``, ``head``, ``measure`` and ``value``.

        The measures, NaN for heads removed for good:

        - ``score``, the largest of all texts, by size and whatever its sign
        - ``lead``, how far the largest score of a row is ahead of the mean of that row, the mean
          over real tokens and over texts. A softmax sees differences only, so this, and not
          ``score``, says how sharp a row must be.
        - ``input_lead``, what the lead would be if only the vectors that enter the layer had
          changed: the matrices of queries and keys are those of the first measurement
        - ``norm``, the spectral norm of W_Q W_Kᵀ / √D: no score of two vectors of length 1 is
          larger, but for the biases
        """
        parts = []
        for step, found in self._noted.items():
            measure, layer, head = (axis.ravel() for axis in np.indices(found.shape))
            names = np.array(_MEASURES)[measure]
            values = (step, layer, head, names, found.ravel())
            parts.append(pd.DataFrame(dict(zip(_COLUMNS, values, strict=True))))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)

    def __repr__(self) -> str:
        return (
            f"ScoreRecorder({len(self.texts)} texts every {self.every} steps: "
            f"{len(self._noted)} measurements)"
        )


def _scores(clf: Classifier, encoded: Encoded, first: list[Pair]) -> tuple[np.ndarray, ...]:
    """The largest score of each head, and the mean leads with its matrices now and at first."""
    largest, *leads = np.zeros((3, clf.layers, clf.heads))
    for indices in encoded.batches():
        inputs = {name: part.to(clf.device) for name, part in encoded.batch(indices).items()}
        real = inputs["attention_mask"].bool()  # (B, T)
        key, count = real[:, None, None], real.sum(-1)[:, None]  # (B, 1, 1, T), (B, 1)
        for layer, present, *both in _by_head(clf, inputs, first):
            for lead, scores in zip(leads, both, strict=True):  # (B, h, T, T)
                top = scores.masked_fill(~key, -torch.inf).amax(-1)
                mean = scores.masked_fill(~key, 0).sum(-1) / count[..., None]
                ahead = ((top - mean) * real[:, None]).sum(-1) / count  # (B, h)
                lead[layer, present] += ahead.sum(0).cpu().numpy()
            size = both[0].abs().masked_fill(~(key & real[:, None, :, None]), 0)
            most = size.amax((0, 2, 3)).cpu().numpy()
            largest[layer, present] = np.maximum(largest[layer, present], most)
    gone = np.array(heads.removed(clf), dtype=int).reshape(-1, 2)
    for measured in (largest, *leads):
        measured[tuple(gone.T)] = np.nan
    return largest, *(lead / len(encoded) for lead in leads)


def _projections(clf: Classifier) -> list[Pair]:
    """What makes queries and keys of each layer."""
    return [
        (getattr(site.module, site.query), getattr(site.module, site.key))
        for site in heads.sites(heads.model_of(clf))
    ]


@contextlib.contextmanager
def _entering(projections: Sequence[nn.Module]) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """What enters projections in the block, (B, T, E), once for each layer that shares them."""
    seen: dict[nn.Module, list[Tensor]] = {projection: [] for projection in projections}

    def note(projection: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen[projection].append(arguments[0])

    handles = [projection.register_forward_pre_hook(note) for projection in seen]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _by_head(
    clf: Classifier, inputs: dict[str, Tensor], first: list[Pair]
) -> Iterator[tuple[Any, ...]]:
    """Each layer with heads: its number, theirs, and scores (B, h, T, T) now and by ``first``."""
    now = _projections(clf)
    with _entering([one for pair in now for one in pair]) as seen:
        heads.run(clf, inputs)
    for layer, pair in enumerate(now):
        if present := heads.active_heads(heads.model_of(clf), layer):
            vectors = [seen[projection].pop(0) for projection in pair]
            yield (
                layer,
                present,
                *(_scores_of(two, vectors, len(present)) for two in (pair, first[layer])),
            )


def _scores_of(pair: Pair, vectors: list[Tensor], count: int) -> Tensor:
    """Scores (B, h, T, T) of the heads of a layer."""
    query, key = (
        projection(entering).float().unflatten(-1, (count, -1)).transpose(1, 2)
        for projection, entering in zip(pair, vectors, strict=True)
    )
    return torch.as_tensor(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5)


def _norms(clf: Classifier) -> np.ndarray:
    """Spectral norm of W_Q W_Kᵀ / √D of each head (L, H), by a product of D × D."""
    found, model = np.full((clf.layers, clf.heads), np.nan), heads.model_of(clf)
    for layer, site in enumerate(heads.sites(model)):
        present, factors = heads.active_heads(model, layer), []
        if not present:
            continue
        for name in (site.query, site.key):
            weight = heads.effective_weight(getattr(site.module, name), _width(clf))
            own = weight.unflatten(0, (len(present), -1))  # (h, D, E)
            factors.append(torch.linalg.qr(own.transpose(1, 2)).R)  # (h, D, D)
        product = factors[0] @ factors[1].transpose(1, 2) * site.head_width**-0.5
        found[layer, present] = torch.linalg.matrix_norm(product, 2).cpu().numpy()
    return found


def _width(clf: Classifier) -> int:
    """How many numbers a token is inside the model."""
    config = heads.model_of(clf).config
    return int(getattr(config, "hidden_size", None) or config.dim)
