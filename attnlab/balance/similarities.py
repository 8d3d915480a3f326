"""How alike heads are: where they look, and what they fetch."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.balance.divergence import sum_of_logs
from attnlab.classification.classifier import Classifier, Text
from attnlab.evaluation.inputs import recorded, tokenised
from attnlab.heads import HeadSettings, one_setting, removed

_TOKENS = 2048  # pairs of heads are compared on so many, or the texts' if those are fewer


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike heads are, P = L × H of them.

    Attributes
    ----------
    js : array (P, P), mean Jensen-Shannon divergence of their rows, bits: 0 for heads that look
        alike
    cka : array (P, P), linear CKA of what they fetch, before the output projection: 1 for the same
        up to rotation and size (Kornblith et al. 2019)
    heads : (layer, head) of each
    """

    js: np.ndarray
    cka: np.ndarray
    heads: list[tuple[int, int]]

    def doubles(self, most: int = 10) -> pd.DataFrame:
        """Return the pairs of heads that look most alike: first, second, js, cka."""
        rows = [
            (self.heads[a], self.heads[b], self.js[a, b], self.cka[a, b])
            for a, b in itertools.combinations(range(len(self.heads)), 2)
        ]
        table = pd.DataFrame(rows, columns=["first", "second", "js", "cka"])
        return table.sort_values("js", ignore_index=True).head(most)


def similarity(
    clf: Classifier, texts: Sequence[Text], settings: HeadSettings | None = None
) -> Similarity:
    """Compare every head with every other: where they look, and what they fetch.

    Rows are compared for the first 2,048 tokens or so, whole batches, since every pair of heads
    costs a pass over them; CKA takes all texts. Heads removed for good are NaN. Errors as for
    `measure`.
    """
    encoded, settings = tokenised(clf, texts), one_setting(clf, settings)
    heads = list(itertools.product(range(clf.layers), range(clf.heads)))
    divergence, seen = torch.zeros(len(heads), len(heads), dtype=torch.float64), 0
    total = products = torch.zeros((), dtype=torch.float64, device=clf.device)
    tokens = 0
    for group, _, records in recorded(clf, encoded, settings):
        lengths = torch.as_tensor(encoded.lengths[group], device=clf.device)
        real = torch.arange(int(lengths.max()), device=clf.device) < lengths[:, None]  # (B, T)
        if seen < _TOKENS:
            weights = [layer.weights.transpose(0, 1)[:, real] for layer in records]
            rows = torch.cat(weights)  # (P, R, T)
            divergence += row_divergences(rows.float()).cpu()
            seen += rows.shape[1]
        fetched = [(layer.weights @ layer.values).transpose(0, 1)[:, real] for layer in records]
        flat = _side_by_side(fetched)
        total = total + flat.sum(0).double()
        products = products + (flat.T @ flat).double()
        tokens += len(flat)
    cka = linear_cka(products - total[:, None] * total / tokens, len(heads)).numpy()
    js = (divergence / seen).numpy()
    gone = [heads.index(head) for head in removed(clf)]
    for table in (js, cka):
        table[gone], table[:, gone] = np.nan, np.nan
    return Similarity(js, cka, heads)


def _side_by_side(fetched: list[Tensor]) -> Tensor:
    """What the heads of each layer fetch, L times (H, R, D), as (R, P D)."""
    widest = max(layer.shape[-1] for layer in fetched)  # a layer without heads has none
    padded = [nn.functional.pad(layer, (0, widest - layer.shape[-1])) for layer in fetched]
    return torch.cat(padded).transpose(0, 1).flatten(1).float()


def linear_cka(covariance: Tensor, heads: int) -> Tensor:
    """Linear CKA of every two heads (P, P), from the covariance of what they fetch (P D, P D)."""
    blocks = covariance.reshape(heads, -1, heads, covariance.shape[0] // heads)
    size = blocks.square().sum((1, 3)).cpu()  # (P, P)
    own = size.diagonal().sqrt()
    return size / (own[:, None] * own)


def row_divergences(rows: Tensor) -> Tensor:
    """Divergence of every head from every other, summed over rows (P, R, T): (P, P)."""
    own = sum_of_logs(rows).sum(1)  # (P,)
    found = rows.new_zeros(len(rows), len(rows))
    for number, head in enumerate(rows):
        middle = sum_of_logs((rows[number:] + head) / 2).sum(1)
        found[number, number:] = found[number:, number] = (own[number:] + own[number]) / 2 - middle
    return (found / math.log(2)).clamp_min(0).fill_diagonal_(0)
