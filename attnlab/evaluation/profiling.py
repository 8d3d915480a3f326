"""Where every head looks and what it adds, as means over many texts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.attention import entropy
from attnlab.classification.classifier import Classifier, Text
from attnlab.evaluation.inputs import is_special, recorded, tokenised
from attnlab.heads.settings import HeadSettings


def profiles(
    clf: Classifier, texts: Sequence[Text], settings: HeadSettings | None = None
) -> pd.DataFrame:
    """Measure where every head looks and what it adds, as means over all tokens of all texts.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str)
    settings : HeadSettings, one for all texts; None takes those of an `applied` block, else neutral
        ones

    Returns
    -------
    DataFrame, a row per head; NaN for heads removed for good

    - ``layer``, ``head``
    - ``entropy`` in nats, and ``entropy_share`` of the largest there can be, log T (Shannon 1948)
    - ``largest`` weight of a row ("confidence" in Voita et al. 2019)
    - share of the weight that falls on [CLS] (``cls``), on [SEP] (``sep``), on both and their like
      (``special``), on the token itself (``self``), on the ``previous`` and on the ``next`` one,
      for tokens that have one (Clark et al. 2019)
    - ``reads``: share of [CLS]'s own weight that falls on the text and not on special tokens
    - ``contribution``: lengths of the vectors that the head adds to a token, weight × scale × norm
      of the transformed value vector, summed over where it looks (Kobayashi et al. 2020); and
      ``contribution_special``, the share that comes from special tokens (NaN for a silent head)

    ``attrs`` hold ``texts``, ``tokens`` (both counts) and ``uniform_entropy``, the mean of log T.

    Raises
    ------
    DataError : no texts, or a text that is empty
    SettingsError : settings of another size, or a stack
    ModelError : a model with a prefix

    Notes
    -----
    Texts run in batches of like length, and nothing of a batch is kept but sums. Padding counts
    nowhere.
    """
    encoded = tokenised(clf, texts)
    settings = heads.one_setting(clf, settings)
    scale = settings.scale.detach().double()
    sums: dict[str, Tensor] = {}  # name to (L, H)
    for indices, ids, records in recorded(clf, encoded, settings):
        lengths, kinds = encoded.lengths[indices], _kinds(clf, ids)
        for layer, record in enumerate(records):
            for name, part in _sums(record.weights, record.norms, lengths, *kinds).items():
                total = sums.setdefault(name, torch.zeros_like(scale))
                total[layer] += part.cpu().double()
    tokens, count = int(encoded.lengths.sum()), len(encoded)
    most = float((encoded.lengths * np.log(encoded.lengths)).sum() / tokens)
    fetched, from_special = sums["contribution"], sums.pop("contribution_special")
    counts = {"previous": tokens - count, "next": tokens - count, "reads": count}
    means = {name: total / counts.get(name, tokens) for name, total in sums.items()}
    means["contribution"] = means["contribution"] * scale
    means["contribution_special"] = from_special * scale / (fetched * scale)  # 0 / 0: NaN
    for mean in means.values():
        for head_id in heads.removed(clf):
            mean[head_id] = torch.nan
    layers, head_numbers = np.indices(scale.shape).reshape(2, -1)
    columns = {name: mean.flatten().numpy() for name, mean in means.items()}
    table = pd.DataFrame({"layer": layers, "head": head_numbers, **columns})
    table.attrs = {"texts": count, "tokens": tokens, "uniform_entropy": most}
    return table


def _sums(
    weights: Tensor, norms: Tensor, lengths: np.ndarray, cls: Tensor, sep: Tensor, special: Tensor
) -> dict[str, Tensor]:
    """What `profiles` measures on one layer, summed over the tokens of a batch: name to (H,).

    ``weights`` (B, H, T, T), ``norms`` (B, H, T), ``lengths`` (B,), and which tokens are special,
    each (B, T).
    """
    count = torch.as_tensor(lengths, device=weights.device)
    real = torch.arange(weights.shape[-1], device=weights.device) < count[:, None]
    row = real[:, None].to(weights)  # (B, 1, T): padding looks somewhere, too
    spread = entropy(weights) * row  # (B, H, T)
    most = count.to(weights).log()[:, None, None]
    received = (row[:, :, None] @ weights).squeeze(-2)  # (B, H, T): what all tokens give this one
    fetched = received * norms
    from_cls = weights[:, :, 0] * (real & ~special)[:, None]
    per_row = {
        "entropy": spread,
        "entropy_share": spread / most.clamp_min(1e-9),
        "largest": weights.amax(-1) * row,
        "cls": received * cls[:, None],
        "sep": received * sep[:, None],
        "special": received * special[:, None],
        "self": weights.diagonal(0, -2, -1) * row,
        "previous": weights.diagonal(-1, -2, -1) * row[..., 1:],
        "next": weights.diagonal(1, -2, -1) * row[..., 1:],
        "reads": from_cls,
        "contribution": fetched,
        "contribution_special": fetched * special[:, None],
    }
    return {name: value.sum((0, 2)) for name, value in per_row.items()}


def _kinds(clf: Classifier, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens are [CLS], which [SEP], which special at all, each (B, T)."""
    special = torch.from_numpy(is_special(clf, ids.cpu().numpy())).to(ids.device)
    return ids == clf.tokenizer.cls_token_id, ids == clf.tokenizer.sep_token_id, special
