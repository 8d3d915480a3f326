"""What the balance meter reads: measures of every head, and the overall figure with its parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab.balance.divergence import sum_of_logs
from attnlab.errors import AttnlabError, suggest

Tokens = Literal["all", "text"]
By = Literal["weights", "contributions"]
MEASURES: dict[str, str] = {
    "entropy": "entropy / log(keys), 0 to 1",
    "keys": "effective number of keys",
    "largest": "largest share of a row",
    "gini": "Gini of what tokens receive, 0 to 1",
    "cls": "share on [CLS]",
    "sep": "share on [SEP]",
    "punctuation": "share on punctuation",
    "self": "share on the token itself",
    "previous": "share on the token before",
    "next": "share on the token after",
    "distance": "mean distance, tokens",
    "js_uniform": "divergence from uniform, bits",
    "js_average": "divergence from the head's average, bits",
    "js_before": "divergence from before, bits",
    "contribution": "length of what is added to a token",
}
VARIANTS: tuple[tuple[Tokens, By], ...] = (
    ("all", "weights"),
    ("all", "contributions"),
    ("text", "weights"),
    ("text", "contributions"),
)
STANDARD_KEYS = 16  # of the text that `adjusted` is for
_STATISTICS = ("mean", "std", "adjusted", "slope")


@dataclass(frozen=True, eq=False)
class Balance:
    """What the meter read.

    Attributes
    ----------
    table : DataFrame, a row per layer, head, measure, tokens ("all", or "text" without special
        ones) and by ("weights" or "contributions"): ``mean`` and ``std`` over the ``n`` texts where
        it is defined; ``adjusted``, the mean at a text of 16 keys, and ``slope``, the change per
        doubling of the text's length, both by linear regression on the logarithm of the number of
        keys (NaN where all texts have one length)
    overall : √(tokens × heads), 0 to 1: how evenly attention is spread, over tokens and over heads
    parts : "tokens", the normalised entropy of contributions over all tokens, each head counted by
        what it adds; "heads", the effective number of heads of a layer (exponential of the entropy
        of what each adds), as a share of those there are, mean over layers. 1 is perfectly even;
        all on one is near 0.
    layers, heads, texts, tokens : sizes
    """

    table: pd.DataFrame
    overall: float
    parts: dict[str, float]
    layers: int
    heads: int
    texts: int
    tokens: int

    def map(
        self,
        measure: str = "entropy",
        tokens: Tokens = "text",
        by: By = "weights",
        value: str = "mean",
    ) -> np.ndarray:
        """One measure of every head: array (L, H), NaN for heads removed for good."""
        rows = self._rows(tokens, by)
        known = sorted(rows["measure"].unique(), key=list(MEASURES).index)
        _check(measure, known)
        _check(value, (*_STATISTICS, "n"))
        rows = rows[rows["measure"] == measure]
        values = np.full((self.layers, self.heads), np.nan)
        values[rows["layer"], rows["head"]] = rows[value]
        return values

    def wide(self, tokens: Tokens = "all", by: By = "weights", value: str = "mean") -> pd.DataFrame:
        """A row per head, with a column per measure."""
        _check(value, (*_STATISTICS, "n"))
        rows = self._rows(tokens, by)
        wide = rows.pivot(index=["layer", "head"], columns="measure", values=value)
        wide = wide[[name for name in MEASURES if name in wide]]
        return wide.rename_axis(None, axis=1).reset_index()

    def _rows(self, tokens: str, by: str) -> pd.DataFrame:
        _check(tokens, ("all", "text"))
        _check(by, ("weights", "contributions"))
        return self.table[(self.table["tokens"] == tokens) & (self.table["by"] == by)]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in self.parts.items())
        return f"Balance({self.overall:.2f}: {parts}; {self.texts:,} texts)"


def _check(value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise AttnlabError(f"There is no {value!r} here. {suggest(value, allowed)}")


# ── from sums over texts to figures ────────────────────────────────────────────────────────────


def from_sums(
    sums: dict[str, Tensor],
    scale: Tensor,
    removed: Sequence[tuple[int, int]],
    texts: int,
    tokens: int,
) -> Balance:
    """Make a Balance of sums over texts.

    Parameters
    ----------
    sums : for each measure (6, V, L, H): the number of texts where it is defined, and the sums of
        v, v², x, x² and x v over them, v the measure and x the logarithm of the number of keys
    scale : (L, H), by which contributions are multiplied
    removed : heads removed for good, which are NaN
    texts, tokens : how many there were
    """
    layer, head = (axis.ravel() for axis in np.indices(scale.shape))
    frames, means = [], {}
    for name in [name for name in MEASURES if name in sums]:
        values = _statistics(sums[name])
        if name == "contribution":
            values |= {statistic: values[statistic] * scale for statistic in _STATISTICS}
        # js_average is taken of one variant only
        for number, variant in enumerate(VARIANTS[: len(values["n"])]):
            columns = {key: value[number].flatten().numpy() for key, value in values.items()}
            if columns["n"].any():
                means[name, *variant] = values["mean"][number]
                about = {"layer": layer, "head": head, "measure": name}
                about |= dict(zip(("tokens", "by"), variant, strict=True))
                frames.append(pd.DataFrame(about | columns))
    table = pd.concat(frames, ignore_index=True).astype({"n": int})
    gone = pd.MultiIndex.from_frame(table[["layer", "head"]]).isin(removed)
    table.loc[gone, list(_STATISTICS)] = np.nan
    parts = _parts(
        means["entropy", "all", "contributions"],
        means["contribution", "all", "contributions"],
        removed,
    )
    overall = math.sqrt(parts["tokens"] * parts["heads"])
    layers, heads = scale.shape
    return Balance(table, overall, parts, layers, heads, texts, tokens)


def _statistics(sums: Tensor) -> dict[str, Tensor]:
    """Mean, spread and dependence on length, each (V, L, H), from sums (6, V, L, H)."""
    n, v, vv, x, xx, xv = sums
    mean, middle = v / n, x / n
    variance = ((vv - n * mean * mean) / (n - 1)).clamp_min(0)
    wide = xx - n * middle * middle
    slope = ((xv - n * mean * middle) / wide).where(wide > 1e-9 * n, torch.nan)
    step = math.log(STANDARD_KEYS) - middle
    return {
        "mean": mean,
        "std": variance.sqrt().where(n > 1, torch.nan),
        "adjusted": mean + slope * step,
        "slope": slope * math.log(2),
        "n": n,
    }


def _parts(entropy: Tensor, added: Tensor, removed: Sequence[tuple[int, int]]) -> dict[str, float]:
    """The two parts of the overall figure.

    ``entropy`` (L, H) is the normalised entropy of each head's contributions, ``added`` (L, H)
    their length.
    """
    there = torch.ones_like(added, dtype=torch.bool)
    for head in removed:
        there[head] = False
    added = added.where(there & torch.isfinite(added), torch.zeros_like(added))
    share = added / added.sum(1, keepdim=True).clamp_min(1e-30)  # of a layer
    effective = (-sum_of_logs(share)).exp() * (added.sum(1) > 0)
    present = there.sum(1).clamp_min(1)
    speaking = added > 0
    tokens = (entropy.where(speaking, torch.zeros_like(entropy)) * share).sum() / share.sum()
    return {
        "tokens": float(tokens.nan_to_num()),
        "heads": float((effective / present).mean()),
    }
