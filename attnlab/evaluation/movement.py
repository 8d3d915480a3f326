"""How far fine-tuning moved the weights of an encoder: layer by layer, matrix by matrix."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import Tensor, nn

from attnlab.errors import ModelError

# what BERT, RoBERTa and ELECTRA, then DistilBERT, then ALBERT call the matrices of a layer
KINDS = {
    "query": ("attention.self.query", "attention.q_lin", "attention.query"),
    "key": ("attention.self.key", "attention.k_lin", "attention.key"),
    "value": ("attention.self.value", "attention.v_lin", "attention.value"),
    "attention output": ("attention.output.dense", "attention.out_lin", "attention.dense"),
    "feed-forward up": ("intermediate.dense", "ffn.lin1", "ffn"),
    "feed-forward down": ("output.dense", "ffn.lin2", "ffn_output"),
}
OUTSIDE = {
    "word embeddings": ("embeddings.word_embeddings",),
    "position embeddings": ("embeddings.position_embeddings",),
    "pooler": ("pooler.dense", "pooler"),
}
_LAYER = re.compile(
    r"(?:^|\.)(?:layer|layers|albert_layer_groups)\.(\d+)\.(?:albert_layers\.0\.)?(.+)\.weight$"
)
_WRAPPED = re.compile(
    r"\.(base_layer|lora_\w+|ia3_l|parametrizations|weight_orig|_packed_params)(\.|$)"
)
_IN_LAYERS = {name: kind for kind, names in KINDS.items() for name in names}
_ELSEWHERE = {name: kind for kind, names in OUTSIDE.items() for name in names}


def layer_movement(before: Any, after: Any) -> pd.DataFrame:
    """Compare the matrices of two encoders of one architecture: before and after training.

    Parameters
    ----------
    before, after : a Classifier, a model of the BERT family, or a state dict; adapters merged. They
        may have different heads on top, as an encoder and a classifier made from it have: what both
        have is compared.

    Returns
    -------
    DataFrame with a row per matrix: ``layer`` (from 0; missing for embeddings and pooler), ``kind``
    (one of `KINDS` or `OUTSIDE`), ``norm`` (Frobenius norm before), ``moved`` (norm of the change)
    and ``relative``, the second divided by the first

    Raises
    ------
    ModelError : if a matrix has two shapes, or is wrapped, or there is nothing to compare
    """
    first, second = _matrices(before), _matrices(after)
    both = sorted(first.keys() & second.keys(), key=_order)
    # or adapters that are not merged would seem to move nothing
    if all(layer is None for layer, _ in both):
        raise ModelError(
            "These two have no layer of a BERT-family encoder in common. Give two models such as "
            "al.load_classifier('movie-sentiment') and what it was trained from, adapters merged."
        )
    rows = []
    for place in both:
        old, new = first[place], second[place]
        if old.shape != new.shape:
            raise ModelError(
                f"{_words(*place)} has the shape {tuple(old.shape)} before and {tuple(new.shape)} "
                "after. Compare models of one size, with all their heads."
            )
        old, new = (matrix.detach().double().cpu() for matrix in (old, new))
        norm, moved = float(old.norm()), float((new - old).norm())
        relative = moved / norm if norm else float("nan")
        rows.append((*place, norm, moved, relative))
    table = pd.DataFrame(rows, columns=["layer", "kind", "norm", "moved", "relative"])
    return table.astype({"layer": "Int64"})


def _matrices(given: Any) -> dict[tuple[int | None, str], Tensor]:
    """The matrices that have a name here, by layer and kind."""
    if not isinstance(given, Mapping):
        model = given if isinstance(given, nn.Module) else getattr(given, "model", None)
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"{type(given).__name__} has no weights to compare. Give a Classifier, a model or "
                "a state dict."
            )
        given = model.state_dict()
    wrapped = [name for name in given if _WRAPPED.search(name)]
    if wrapped:
        raise ModelError(
            f"{wrapped[0]} belongs to an adapter that is not merged, or to a quantised or "
            "parametrized layer, whose matrix is not the one that is stored. Merge an adapter "
            "first: model.merge_and_unload()."
        )
    placed = ((_place(name), tensor) for name, tensor in given.items())
    return {place: tensor for place, tensor in placed if place is not None}


def _place(name: str) -> tuple[int | None, str] | None:
    """Layer and kind of a parameter, or None if it is none of those compared."""
    in_layer = _LAYER.search(name)
    if in_layer:
        kind = _IN_LAYERS.get(in_layer[2])
        return None if kind is None else (int(in_layer[1]), kind)
    parts = name.removesuffix(".weight").split(".")
    # "embeddings.word_embeddings" with or without the name of the encoder before it
    kind = _ELSEWHERE.get(".".join(parts[-2:])) or _ELSEWHERE.get(parts[-1])
    return None if kind is None or not name.endswith(".weight") else (None, kind)


def _order(place: tuple[int | None, str]) -> tuple[float, int]:
    """Embeddings, layers, pooler."""
    layer, kind = place
    if layer is not None:
        return float(layer), list(KINDS).index(kind)
    return (float("inf") if kind == "pooler" else -1.0), list(OUTSIDE).index(kind)


def _words(layer: int | None, kind: str) -> str:
    return f"The {kind} matrix" + ("" if layer is None else f" of layer {layer}")
