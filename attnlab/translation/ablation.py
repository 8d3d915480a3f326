"""Which heads does a translator need? Silence one at a time and translate again."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from attnlab.datasets.pairs import ParallelDataset
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.statistics import paired_test

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator


def exact_match(
    translator: "Translator", pairs: ParallelDataset, settings: Seq2SeqSettings | None = None
) -> np.ndarray:
    """Which greedy translations are right to the letter: bool array (N,)."""
    found = translator.translate(pairs.sources, settings=settings)
    return np.array([a == b for a, b in zip(found, pairs.targets, strict=True)])


def ablate_heads(
    translator: "Translator", pairs: ParallelDataset, scale: float = 0.0
) -> pd.DataFrame:
    """Ablate every head of every kind that is there, one at a time, and translate again.

    Parameters
    ----------
    translator : Translator
    pairs : on which exact match is measured
    scale : what the head's output is multiplied by; 0 silences it (zero ablation)

    Returns
    -------
    DataFrame, a row per kind, layer and head: ``exact``; ``delta``, its change, with its paired
    95 % interval ``ci_low`` and ``ci_high`` and ``p_value`` (McNemar). The cost is a translation
    of all pairs for each head.
    """
    before, rows = exact_match(translator, pairs), []
    for kind, layers in translator.model.active.items():
        for layer, head in ((layer, head) for layer, own in enumerate(layers) for head in own):
            settings = translator.settings()
            getattr(settings, kind).scale[layer, head] = scale
            after = exact_match(translator, pairs, settings)
            change = paired_test(before, after)
            rows.append(
                {
                    "kind": kind,
                    "layer": layer,
                    "head": head,
                    "exact": after.mean(),
                    "delta": change.delta,
                    "ci_low": change.low,
                    "ci_high": change.high,
                    "p_value": change.p_value,
                }
            )
    return pd.DataFrame(rows)
