"""Which heads does a language model need? Silence one at a time and read the same texts again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab.errors import DataError
from attnlab.heads.settings import HeadSettings
from attnlab.language.residual import token_losses
from attnlab.statistics import paired_bootstrap

if TYPE_CHECKING:
    from attnlab.language.model import LanguageModel
    from attnlab.language.writer import Writer

__all__ = ["ablate_language_model", "token_losses_in_parts"]

_ROWS_AT_A_TIME = 64


def ablate_language_model(
    target: "LanguageModel | Writer",
    data: Tensor | Sequence[str],
    *,
    mask: Tensor | None = None,
    counted: Tensor | None = None,
    length: int = 64,
    scale: float = 0.0,
) -> pd.DataFrame:
    """Ablate every head, one at a time, and measure again what the same tokens cost.

    Parameters
    ----------
    target : a LanguageModel with ids, or a Writer with texts or ids
    data : Tensor of int, shape (N, T), rows of tokens; or texts, which are cut into rows of
        ``length`` tokens, shorter rests left out
    mask : Tensor of bool, shape (N, T), False at padding; with ids only
    counted : Tensor of bool, shape (N, T - 1), for which next tokens losses count, such as those of
        the second half of repeated sequences; None for all
    length : of a row that texts are cut into, tokens
    scale : what the head's output is multiplied by; 0 silences it (zero ablation)

    Returns
    -------
    DataFrame, a row per head: ``layer``, ``head``; ``bits`` without it; ``delta``, the change of
    bits (above 0: the model needs the head), with its paired 95 % interval ``ci_low`` and
    ``ci_high`` (bootstrap over rows, which are drawn together for all heads, for each head alone).
    ``attrs``: ``bits`` with all heads, ``unit`` ("bits per token" of ids, "bits per character" of
    texts), ``rows``. The cost is a forward pass of everything for each head.

    Raises
    ------
    DataError : texts too short for a single row; nothing that counts
    """
    whole: Any = target
    model: LanguageModel = getattr(whole, "model", whole)
    ids, unit, units = _rows(target, data, length)
    every = token_losses_in_parts(model, ids, mask)  # (N, T - 1)
    counts = ~every.isnan() if counted is None else ~every.isnan() & counted.cpu()
    units = float(counts.sum()) if units is None else units
    if not units:
        raise DataError("No token counts here. Mark at least one in counted.")
    before = _sums(every, counts)
    rows: list[dict[str, Any]] = []
    changes = []
    for layer in range(model.layers):
        for head in range(model.heads):
            settings = model.neutral_settings()
            settings.scale[layer, head] = scale
            after = _sums(token_losses_in_parts(model, ids, mask, settings), counts)
            changes.append(after - before)
            rows.append({"layer": layer, "head": head, "bits": after.sum() / units})
    change = np.stack(changes, 1) * len(ids) / units  # (N, L * H), whose mean is that of all bits
    low, high = paired_bootstrap(change)
    table = pd.DataFrame(rows).assign(delta=change.mean(0), ci_low=low, ci_high=high)
    table.attrs = {"bits": before.sum() / units, "unit": unit, "rows": len(ids)}
    return table


def token_losses_in_parts(
    model: "LanguageModel",
    ids: Tensor,
    mask: Tensor | None = None,
    settings: HeadSettings | None = None,
) -> Tensor:
    """`token_losses` of many rows, a batch at a time, on the CPU."""
    device = model.embedding.weight.device
    parts = []
    for start in range(0, len(ids), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        real = None if mask is None else mask[rows].to(device)
        parts.append(token_losses(model, ids[rows].to(device), real, settings).cpu())
    return torch.cat(parts)


def _sums(losses: Tensor, counts: Tensor) -> np.ndarray:
    """Bits of each row, (N,)."""
    return losses.where(counts, 0.0).double().sum(1).numpy()


def _rows(
    target: Any, data: Tensor | Sequence[str], length: int
) -> tuple[Tensor, str, float | None]:
    """Rows of tokens (N, T), the unit of their loss, and how many characters they predict."""
    if isinstance(data, Tensor):
        return data, "bits per token", None
    if not hasattr(target, "tokens"):
        raise DataError(
            "Texts need the tokens of the model: give the Writer that has both, or ids of the "
            "texts."
        )
    texts = [data] if isinstance(data, str) else data
    rows = []
    for text in texts:
        ids = target.tokens.encode(text)
        rows += [ids[start : start + length] for start in range(0, len(ids), length)]
    rows = [row for row in rows if len(row) == length]
    if not rows:
        raise DataError(
            f"No text has {length} tokens, which make a row. Give longer texts or a smaller length."
        )
    characters = sum(len(target.tokens.decode(row[1:])) for row in rows)
    return torch.tensor(rows), "bits per character", float(characters)


def __dir__() -> list[str]:
    return sorted(__all__)
