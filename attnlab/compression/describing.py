"""Where the weights of a model are, part by part."""

from typing import Any

import pandas as pd
from torch import nn

from attnlab.classification.classifier import Classifier
from attnlab.heads import model_of, refuse_decoder, refuse_prefix, sites

__all__ = ["PARTS", "describe"]

PARTS = (
    "word embeddings",
    "other embeddings",
    "attention",
    "feed-forward",
    "norms",
    "pooler and classifier",
)


def describe(clf: Classifier) -> pd.DataFrame:
    """Count the parameters of a classifier, part by part.

    Parameters
    ----------
    clf : Classifier of any family

    Returns
    -------
    DataFrame, a row per part from the bottom up

    - ``part``: one of `PARTS`. "attention" is its four projections, "other embeddings" are those of
      positions and segments and what carries embeddings to the width of the layers.
    - ``layer``: 0 to L - 1 for attention and feed-forward, else missing (<NA>). What several layers
      share stands at the first of them, and counts once.
    - ``parameters``, ``nonzero``: how many, and how many of them are not 0
    - ``share`` of all parameters, 0 to 1

    Raises
    ------
    ModelError : a family whose layers we do not know, a decoder, or a model with a prefix
    """
    refuse_prefix(clf, "Counting weights part by part")
    refuse_decoder(clf, "Counting weights part by part")
    layers = _layers(clf.model, model_of(clf))
    words = {id(weight) for weight in model_of(clf).get_input_embeddings().parameters()}
    rows: dict[tuple[str, int | None], list[int]] = {}
    for name, parameter in clf.model.named_parameters():  # each once, however many layers share it
        layer = next((layers[start] for start in layers if name.startswith(start)), None)
        part = "word embeddings" if id(parameter) in words else _part(name, layer)
        counts = rows.setdefault((part, None if part == "norms" else layer), [0, 0])
        counts[0] += parameter.numel()
        counts[1] += int(parameter.detach().count_nonzero())
    order = sorted(rows, key=lambda row: _height(*row))
    table = pd.DataFrame(
        {
            "part": [part for part, _ in order],
            "layer": pd.array([layer for _, layer in order], dtype="Int64"),
            "parameters": [rows[row][0] for row in order],
            "nonzero": [rows[row][1] for row in order],
        }
    )
    return table.assign(share=table["parameters"] / table["parameters"].sum())


def _layers(wrapper: nn.Module, model: Any) -> dict[str, int]:
    """How the names of each layer's parameters begin, and which layer it is."""
    names = {id(module): name for name, module in wrapper.named_modules()}
    found: dict[str, int] = {}
    for layer, site in enumerate(sites(model)):
        start = names[id(site.module)].rpartition(".attention")[0] + "."
        found.setdefault(start, layer)
    return found


def _part(name: str, layer: int | None) -> str:
    if "norm" in name.lower():
        return "norms"
    if layer is not None:
        return "attention" if ".attention." in name else "feed-forward"
    return "other embeddings" if "embedding" in name else "pooler and classifier"


def _height(part: str, layer: int | None) -> tuple[float, int]:
    """Where a part is in the model, from the bottom up; norms are everywhere and come last."""
    if layer is not None:
        return layer, PARTS.index(part)
    above = {"word embeddings": -2, "other embeddings": -1, "pooler and classifier": 10_000}
    return above.get(part, 10_001), 0


def __dir__() -> list[str]:
    return sorted(__all__)
