"""What attention maps measure, head by head and token by token, beside evidence that is no attention."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads as _heads
from attnlab.attention import entropy
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.errors import AttnlabError, DataError, ModelError, suggest
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.statistics import paired_bootstrap

EXPLANATIONS = ("attention", "rollout", "gradient", "ablation")
FEWEST_TOKENS = 3  # two tokens can only be ranked alike or the other way round
_TEXTS_AT_A_TIME = 32  # whose tokens are left out one by one


# ── heads ──────────────────────────────────────────────────────────────────────────────────────


def profiles(
    clf: Classifier, texts: Sequence[Text], settings: HeadSettings | None = None
) -> pd.DataFrame:
    """Measure where every head looks and what it adds, as means over all tokens of all texts.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str)
    settings : HeadSettings, one for all texts; None takes those of an `applied` block, else neutral ones

    Returns
    -------
    DataFrame, a row per head; NaN for heads removed for good

    - ``layer``, ``head``
    - ``entropy`` in nats, and ``entropy_share`` of the largest there can be, log T (Shannon 1948)
    - ``largest`` weight of a row ("confidence" in Voita et al. 2019)
    - share of the weight that falls on [CLS] (``cls``), on [SEP] (``sep``), on both and their like
      (``special``), on the token itself (``self``), on the ``previous`` and on the ``next`` one, for tokens
      that have one (Clark et al. 2019)
    - ``reads``: share of [CLS]'s own weight that falls on the text and not on special tokens
    - ``contribution``: lengths of the vectors that the head adds to a token, weight × scale × norm of the
      transformed value vector, summed over where it looks (Kobayashi et al. 2020); and
      ``contribution_special``, the share that comes from special tokens (NaN for a silent head)

    ``attrs`` hold ``texts``, ``tokens`` (both counts) and ``uniform_entropy``, the mean of log T.

    Raises
    ------
    DataError : no texts, or a text that is empty
    SettingsError : settings of another size, or a stack
    ModelError : a model with a prefix

    Notes
    -----
    Texts run in batches of like length, and nothing of a batch is kept but sums. Padding counts nowhere.
    """
    encoded = tokenised(clf, texts)
    settings = _heads.one_setting(clf, settings)
    scale = settings.scale.detach().double()
    sums: dict[str, Tensor] = {}  # name to (L, H)
    for places, ids, records in recorded(clf, encoded, settings):
        lengths, kinds = encoded.lengths[places], _kinds(clf, ids)
        for layer, one in enumerate(records):
            for name, part in _sums(one.weights, one.norms, lengths, *kinds).items():
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
        for place in _heads.removed(clf):
            mean[place] = torch.nan
    places = np.indices(scale.shape).reshape(2, -1)
    columns = {name: mean.flatten().numpy() for name, mean in means.items()}
    table = pd.DataFrame({"layer": places[0], "head": places[1], **columns})
    table.attrs = {"texts": count, "tokens": tokens, "uniform_entropy": most}
    return table


def _sums(
    weights: Tensor, norms: Tensor, lengths: np.ndarray, cls: Tensor, sep: Tensor, special: Tensor
) -> dict[str, Tensor]:
    """What `profiles` measures on one layer, summed over the tokens of a batch: name to (H,).

    ``weights`` (B, H, T, T), ``norms`` (B, H, T), ``lengths`` (B,), and which tokens are special, each (B, T).
    """
    lengths = torch.as_tensor(lengths, device=weights.device)
    real = torch.arange(weights.shape[-1], device=weights.device) < lengths[:, None]
    row = real[:, None].to(weights)  # (B, 1, T): padding looks somewhere, too
    spread = entropy(weights) * row  # (B, H, T)
    most = lengths.to(weights).log()[:, None, None]
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


# ── tokens: what attention says ────────────────────────────────────────────────────────────────


def rollout(maps: AttentionMaps | Tensor) -> Tensor:
    """Follow attention through all layers, as if every head handed on what it looks at.

    Parameters
    ----------
    maps : AttentionMaps, or weights as Tensor, shape (L, H, T, T). Of maps with settings, a head counts by
        its scale.

    Returns
    -------
    Tensor, shape (T, T); row i says from which tokens position i of the last layer is made up, and sums to 1

    Notes
    -----
    In each layer half is the mean over the heads and half the token itself, for the residual connection; the
    layers' matrices are multiplied. A layer whose heads are all gone hands on the tokens as they are.

    Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers", section 3.
    """
    mixed = _mean_of_heads(maps)  # (L, T, T)
    itself = torch.eye(mixed.shape[-1], dtype=mixed.dtype, device=mixed.device)
    flow = itself
    for layer in mixed:
        step = layer + itself
        flow = step / step.sum(-1, keepdim=True) @ flow
    return flow


def raw_attention(maps: AttentionMaps | Tensor, layer: int = -1) -> Tensor:
    """How much weight [CLS] gives each token in one layer, the mean over its heads: Tensor, shape (T,).

    Parameters
    ----------
    maps : as for `rollout`
    layer : counted from 0, or from the end: -1 is the last
    """
    mixed = _mean_of_heads(maps)
    if not -len(mixed) <= layer < len(mixed):
        raise AttnlabError(
            f"These maps have no layer {layer}: layers are 0 to {len(mixed) - 1}, or -1 for the last."
        )
    return mixed[layer, 0]


def _mean_of_heads(maps: AttentionMaps | Tensor) -> Tensor:
    """Mean over the heads that are there, shape (L, T, T); zeros in a layer without any."""
    weights = maps.of("scaled") if isinstance(maps, AttentionMaps) else maps
    if not isinstance(weights, Tensor) or weights.dim() != 4 or len({*weights.shape[2:]}) != 1:
        shape = tuple(getattr(weights, "shape", ())) or type(weights).__name__
        raise AttnlabError(
            f"Expected AttentionMaps or weights (L, H, T, T), got {shape}. Pass clf.attend(text)."
        )
    total = weights.sum(1)
    return total / total.sum(-1, keepdim=True).clamp_min(torch.finfo(total.dtype).tiny)


# ── tokens: what else there is to ask ──────────────────────────────────────────────────────────


def token_gradients(clf: Classifier, text: Text) -> np.ndarray:
    """Gradient × input: a first-order estimate of what each token adds to the answer.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)

    Returns
    -------
    array, shape (T,), for the tokens of ``clf.attend(text).tokens``; positive where a token speaks for the
    predicted label. The gradient is that of the margin, the predicted label's logit minus the next one's, with
    respect to the token's word embedding (before positions are added), multiplied with that and summed.

    Source: Ancona et al. 2018, "Towards better understanding of gradient-based attribution methods".
    """
    return _gradients(clf, tokenised(clf, [text]))[0]


def token_ablation(
    clf: Classifier, text: Text, how: Literal["mask", "remove"] = "mask"
) -> np.ndarray:
    """How far the predicted label's log-probability falls without each token, one at a time.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)
    how : "mask" puts [MASK] in the token's place; "remove" closes the gap

    Returns
    -------
    array, shape (T,), nats, for the tokens of ``clf.attend(text).tokens``; positive where a token speaks for
    the predicted label, NaN at special tokens

    Raises
    ------
    ModelError : how="mask" with a tokenizer that has no such token

    Source: Li et al. 2016, "Understanding neural networks through representation erasure".
    """
    return _ablation(clf, tokenised(clf, [text]), how)[0][0]


def explanations(clf: Classifier, text: Text) -> pd.DataFrame:
    """Four answers to the question which tokens of a text made the classifier say what it says.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)

    Returns
    -------
    DataFrame, a row per token of the text (special ones are left out), its index the place among all tokens:
    ``token``, ``attention`` (see `raw_attention`), ``rollout`` (to [CLS]), ``gradient`` (see `token_gradients`)
    and ``ablation`` (see `token_ablation`). The first two are shares of what [CLS] looks at and have no sign;
    the others are positive where a token speaks for the answer. ``attrs`` hold the predicted ``label`` and its
    ``probability``.
    """
    return next(_explained(clf, tokenised(clf, [text])))


def agreement(
    clf: Classifier, texts: Sequence[Text], draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Say how far explanations rank the tokens of a text alike: Spearman's correlation, mean over texts.

    Compared are the four of `explanations` and ``removal``, ablation that closes the gap instead of putting
    [MASK] there. How far these two ways of asking one question agree is a yardstick for all the others;
    unrelated rankings have a correlation of 0.

    Attention has no sign, so gradients and ablation are ranked by size, as in Jain and Wallace 2019 ("Attention
    is not explanation"). What low agreement proves is disputed: Wiegreffe and Pinter 2019 ("Attention is not
    not explanation").

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str); those with fewer than three tokens are left out
    draws, seed : of the bootstrap over texts

    Returns
    -------
    DataFrame, a row per pair: ``first``, ``second``, ``correlation``, ``ci_low``, ``ci_high`` (95 %, percentile
    bootstrap) and ``texts``, how many it is the mean of

    Raises
    ------
    DataError : no text with enough tokens
    """
    encoded = tokenised(clf, texts)
    removal, _ = _ablation(clf, encoded, "remove")
    names = [*EXPLANATIONS, "removal"]
    found = []
    for frame, without in zip(_explained(clf, encoded), removal, strict=True):
        if len(frame) >= FEWEST_TOKENS:
            measured = frame.assign(removal=without[frame.index])[names]
            found.append(measured.abs().corr(method="spearman").to_numpy())
    if not found:
        raise DataError(
            f"None of these {len(texts)} texts has {FEWEST_TOKENS} tokens or more, and fewer cannot be ranked. "
            "Give longer ones."
        )
    each = np.stack(found)  # (N, 5, 5)
    rows = []
    for one, other in itertools.combinations(range(len(names)), 2):
        values = each[:, one, other]
        values = values[np.isfinite(values)]  # where all tokens count alike there is no ranking
        low, high = paired_bootstrap(values, draws, seed) if len(values) else (np.nan, np.nan)
        mean = values.mean() if len(values) else np.nan
        rows.append((names[one], names[other], mean, float(low), float(high), len(values)))
    columns = ["first", "second", "correlation", "ci_low", "ci_high", "texts"]
    return pd.DataFrame(rows, columns=columns)


def _explained(clf: Classifier, encoded: Encoded) -> Iterator[pd.DataFrame]:
    """`explanations` of each text, in order."""
    settings = _heads.one_setting(clf, None)
    scale = settings.scale.detach()[:, :, None, None]
    attention: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for places, _, records in recorded(clf, encoded, settings):
        for row, place in enumerate(places.tolist()):
            size = encoded.lengths[place]
            maps = [layer.weights[row, :, :size, :size] for layer in records]
            each = torch.stack(maps).cpu() * scale
            attention[place] = (raw_attention(each).numpy(), rollout(each)[0].numpy())
    gradients = _gradients(clf, encoded)
    falls, answers = _ablation(clf, encoded, "mask")
    for place in range(len(encoded)):
        ids = encoded.ids(place)
        columns = (*attention[place], gradients[place], falls[place])
        frame = pd.DataFrame(dict(zip(EXPLANATIONS, columns, strict=True)))
        frame.insert(0, "token", clf.tokenizer.convert_ids_to_tokens(ids))
        frame = frame[~is_special(clf, np.array(ids))]
        best = int(answers[place].argmax())
        probability = float(np.exp(answers[place][best]))
        frame.attrs = {"label": clf.label_names[best], "probability": probability}
        yield frame


def _gradients(clf: Classifier, encoded: Encoded) -> list[np.ndarray]:
    """`token_gradients` of each text."""
    found: list[np.ndarray] = [np.zeros(0)] * len(encoded)
    embed = _heads.model_of(clf).get_input_embeddings()
    for places in encoded.batches():
        inputs = {name: one.to(clf.device) for name, one in encoded.batch(places).items()}
        with torch.enable_grad():
            words = embed(inputs.pop("input_ids")).detach().requires_grad_()  # (B, T, E)
            highest = clf.model(inputs_embeds=words, **inputs).logits.float().topk(2).values
            margin = (highest[:, 0] - highest[:, 1]).sum()  # texts do not see each other
            (slope,) = torch.autograd.grad(margin, words)
        each = (slope * words.detach()).sum(-1).cpu().numpy()  # (B, T)
        for row, place in enumerate(places):
            found[place] = each[row, : encoded.lengths[place]]
    return found


def _ablation(
    clf: Classifier, encoded: Encoded, how: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`token_ablation` of each text, and the log-probabilities (C,) of each with all its tokens."""
    if how not in ("mask", "remove"):
        raise AttnlabError(
            f"Tokens cannot be left out by {how!r}. {suggest(how, ('mask', 'remove'))}"
        )
    mask = clf.tokenizer.mask_token_id
    if how == "mask" and mask is None:
        raise ModelError("This tokenizer has no [MASK]. Leave tokens out with how='remove'.")
    falls, answers = [], []
    for start in range(0, len(encoded), _TEXTS_AT_A_TIME):
        places = range(start, min(start + _TEXTS_AT_A_TIME, len(encoded)))
        variants: dict[str, list[np.ndarray]] = {name: [] for name in encoded.columns}
        words = [np.flatnonzero(~is_special(clf, np.array(encoded.ids(place)))) for place in places]
        for place, left_out in zip(places, words, strict=True):
            text = slice(encoded.starts[place], encoded.starts[place + 1])
            for name, column in encoded.columns.items():
                variants[name].append(column[text])
                for word in left_out:
                    if how == "remove":
                        variants[name].append(np.delete(column[text], word))
                    else:
                        changed = column[text].copy()
                        changed[word] = mask if name == "input_ids" else changed[word]
                        variants[name].append(changed)
        ends = np.cumsum([0, *(len(one) for one in variants["input_ids"])])
        joined = {name: np.concatenate(one) for name, one in variants.items()}
        logits = clf.logits(Encoded(joined, ends, encoded.fill)).log_softmax(-1).numpy()
        at = 0
        for place, left_out in zip(places, words, strict=True):
            whole, without = logits[at], logits[at + 1 : at + 1 + len(left_out)]
            fall = np.full(encoded.lengths[place], np.nan, dtype=np.float32)
            fall[left_out] = whole.max() - without[:, whole.argmax()]
            falls.append(fall)
            answers.append(whole)
            at += 1 + len(left_out)
    return falls, answers


# ── shared ─────────────────────────────────────────────────────────────────────────────────────


def recorded(
    clf: Classifier, encoded: Encoded, settings: HeadSettings
) -> Iterator[tuple[np.ndarray, Tensor, list[_heads.LayerRecord]]]:
    """Run the texts in batches: their places, ids (B, T), and what each layer's heads did."""
    for places in encoded.batches():
        inputs = {name: one.to(clf.device) for name, one in encoded.batch(places).items()}
        yield places, inputs["input_ids"], _heads.record(clf, inputs, settings)


def tokenised(clf: Classifier, texts: Sequence[Text]) -> Encoded:
    """The texts in tokens; DataError if there are none."""
    encoded = clf.encode(texts)
    if not len(encoded):
        raise DataError("There are no texts to measure on. Give at least one.")
    return encoded


def _kinds(clf: Classifier, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens are [CLS], which [SEP], which special at all, each (B, T)."""
    special = torch.from_numpy(is_special(clf, ids.cpu().numpy())).to(ids.device)
    return ids == clf.tokenizer.cls_token_id, ids == clf.tokenizer.sep_token_id, special


def is_special(clf: Classifier, ids: np.ndarray) -> np.ndarray:
    """Which tokens the tokenizer put around the text; one that stands for an unknown word is text."""
    words = {clf.tokenizer.unk_token_id, clf.tokenizer.mask_token_id}
    return np.isin(ids, [one for one in clf.tokenizer.all_special_ids if one not in words])
