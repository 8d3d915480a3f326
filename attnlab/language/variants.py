"""What each part of a language model brings: variants that were trained alike, and compared."""

import json

import pandas as pd

from attnlab.files import bundled

__all__ = ["variants"]

FILE = "variants.json"
COLUMNS = ["bits", "difference", "low", "high", "cache_bytes"]


def variants() -> pd.DataFrame:
    """Return what variants of one small model reached on the test tales; nothing is trained.

    Each changes one thing of the model that `recipe` "cpu" trains, and was trained for as many
    steps with the same three seeds; ``make bench AREA=language-models`` trains them anew.

    Returns
    -------
    DataFrame, a row per variant: ``bits`` per character of the test tales, mean of the seeds;
    ``difference`` from the plain model on the same text (above 0: the variant is worse), with its
    95 % interval ``low`` and ``high``, seeds and windows of text drawn again; ``cache_bytes``, keys
    and values of 64 tokens
    """
    rows = json.loads((bundled("language-models") / FILE).read_text(encoding="utf-8"))
    return pd.DataFrame(rows).set_index("variant")[COLUMNS]


def __dir__() -> list[str]:
    return sorted(__all__)
