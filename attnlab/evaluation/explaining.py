"""Which tokens made a classifier answer as it did: by attention, rollout, gradients, ablation."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.classification.encoding import shown
from attnlab.errors import AttnlabError, DataError, ModelError, suggest
from attnlab.evaluation.inputs import is_special, recorded, tokenised
from attnlab.heads.maps import AttentionMaps
from attnlab.inference import NO_GRADIENTS, slopes
from attnlab.statistics import paired_bootstrap

EXPLANATIONS = ("attention", "rollout", "gradient", "ablation")
FEWEST_TOKENS = 3  # two tokens can only be ranked alike or the other way round
_TEXTS_AT_A_TIME = 32  # whose tokens are left out one by one


# ── what attention says ────────────────────────────────────────────────────────────────────────


def rollout(maps: AttentionMaps | Tensor) -> Tensor:
    """Follow attention through all layers, as if every head handed on what it looks at.

    Parameters
    ----------
    maps : AttentionMaps, or weights as Tensor, shape (L, H, T, T). Of maps with settings, a head
        counts by its scale.

    Returns
    -------
    Tensor, shape (T, T); row i says from which tokens position i of the last layer is made up, and
    sums to 1

    Notes
    -----
    In each layer half is the mean over the heads and half the token itself, for the residual
    connection; the layers' matrices are multiplied. A layer whose heads are all gone hands on the
    tokens as they are.

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
    """How much weight [CLS] gives each token in one layer, the mean over its heads, shape (T,).

    Parameters
    ----------
    maps : as for `rollout`
    layer : counted from 0, or from the end: -1 is the last

    Raises
    ------
    AttnlabError : no such layer; maps of a decoder, where the first token sees itself alone
    """
    mixed = _mean_of_heads(maps)
    if not -len(mixed) <= layer < len(mixed):
        raise AttnlabError(
            f"These maps have no layer {layer}: layers are 0 to {len(mixed) - 1}, or -1 for the "
            "last."
        )
    if bool(mixed.tril(-1).any()) and not mixed.triu(1).any():
        raise AttnlabError(
            "In these maps each token looks at earlier ones only, as in a decoder: the first sees "
            "nothing but itself. Read what the last token looks at: "
            "maps.weights[layer].mean(0)[-1]."
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


# ── what else there is to ask ──────────────────────────────────────────────────────────────────


def token_gradients(clf: Classifier, text: Text) -> np.ndarray:
    """Gradient × input: a first-order estimate of what each token adds to the answer.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)

    Returns
    -------
    array, shape (T,), for the tokens of ``clf.attend(text).tokens``; positive where a token speaks
    for the predicted label. The gradient is that of the margin, the predicted label's logit minus
    the next one's, with respect to the token's word embedding (before positions are added),
    multiplied with that and summed.

    Source: Ancona et al. 2018, "Towards better understanding of gradient-based attribution
    methods".
    """
    return _gradients(clf, tokenised(clf, [text]))[0]


def token_ablation(
    clf: Classifier, text: Text, method: Literal["mask", "remove"] = "mask"
) -> np.ndarray:
    """How far the predicted label's log-probability falls without each token, one at a time.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)
    method : "mask" puts [MASK] in the token's place; "remove" closes the gap

    Returns
    -------
    array, shape (T,), nats, for the tokens of ``clf.attend(text).tokens``; positive where a token
    speaks for the predicted label, NaN at special tokens

    Raises
    ------
    ModelError : method="mask" with a tokenizer that has no such token

    Source: Li et al. 2016, "Understanding neural networks through representation erasure".
    """
    return _ablation(clf, tokenised(clf, [text]), method)[0][0]


def explanations(clf: Classifier, text: Text) -> pd.DataFrame:
    """Four answers to the question which tokens of a text made the classifier say what it says.

    Parameters
    ----------
    clf : Classifier
    text : str, or a pair (str, str)

    Returns
    -------
    DataFrame, a row per token of the text (special ones are left out), its index the position among
    all tokens: ``token``, ``attention`` (see `raw_attention`), ``rollout`` (to [CLS]), ``gradient``
    (see `token_gradients`) and ``ablation`` (see `token_ablation`). The first two are shares of
    what [CLS] looks at and have no sign; the others are positive where a token speaks for the
    answer.
    ``attrs`` hold the predicted ``label`` and its ``probability``.
    """
    encoded = tokenised(clf, [text])
    frame = next(explained(clf, encoded))
    tokens = shown(clf.tokenizer, text, encoded.ids(0), clf.max_length)
    frame["token"] = [tokens[index] for index in frame.index]
    return frame


def agreement(
    clf: Classifier, texts: Sequence[Text], draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Say how far explanations rank a text's tokens alike: Spearman's correlation, mean over texts.

    Compared are the four of `explanations` and ``removal``, ablation that closes the gap instead of
    putting [MASK] there. How far these two ways of asking one question agree is a yardstick for all
    the others; unrelated rankings have a correlation of 0.

    Attention has no sign, so gradients and ablation are ranked by size, as in Jain and Wallace 2019
    ("Attention is not explanation"). What low agreement proves is disputed: Wiegreffe and Pinter
    2019 ("Attention is not not explanation").

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str); those with fewer than three tokens are left out
    draws, seed : of the bootstrap over texts

    Returns
    -------
    DataFrame, a row per pair: ``first``, ``second``, ``correlation``, ``ci_low``, ``ci_high``
    (95 %, percentile bootstrap) and ``texts``, how many it is the mean of

    Raises
    ------
    DataError : no text with enough tokens
    """
    encoded = tokenised(clf, texts)
    removal, _ = _ablation(clf, encoded, "remove")
    names = [*EXPLANATIONS, "removal"]
    found = []
    for frame, without in zip(explained(clf, encoded), removal, strict=True):
        if len(frame) >= FEWEST_TOKENS:
            measured = frame.assign(removal=without[frame.index])[names]
            found.append(measured.abs().corr(method="spearman").to_numpy())
    if not found:
        raise DataError(
            f"None of these {len(texts)} texts has {FEWEST_TOKENS} tokens or more, and fewer "
            "cannot be ranked. Give longer ones."
        )
    each = np.stack(found)  # (N, 5, 5)
    rows = []
    for first, second in itertools.combinations(range(len(names)), 2):
        values = each[:, first, second]
        values = values[np.isfinite(values)]  # where all tokens count alike there is no ranking
        low, high = paired_bootstrap(values, draws, seed) if len(values) else (np.nan, np.nan)
        mean = values.mean() if len(values) else np.nan
        rows.append((names[first], names[second], mean, float(low), float(high), len(values)))
    columns = ["first", "second", "correlation", "ci_low", "ci_high", "texts"]
    return pd.DataFrame(rows, columns=columns)


def explained(clf: Classifier, encoded: Encoded) -> Iterator[pd.DataFrame]:
    """`explanations` of each text, in order."""
    settings = heads.one_setting(clf, None)
    scale = settings.scale.detach()[:, :, None, None]
    attention: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for indices, _, records in recorded(clf, encoded, settings):
        for row, index in enumerate(indices.tolist()):
            size = encoded.lengths[index]
            maps = [layer.weights[row, :, :size, :size] for layer in records]
            each = torch.stack(maps).cpu() * scale
            attention[index] = (raw_attention(each).numpy(), rollout(each)[0].numpy())
    gradients = _gradients(clf, encoded)
    falls, answers = _ablation(clf, encoded, "mask")
    for index in range(len(encoded)):
        ids = encoded.ids(index)
        columns = (*attention[index], gradients[index], falls[index])
        frame = pd.DataFrame(dict(zip(EXPLANATIONS, columns, strict=True)))
        frame.insert(0, "token", clf.tokenizer.convert_ids_to_tokens(ids))
        frame = frame[~is_special(clf, np.array(ids))]
        best = int(answers[index].argmax())
        probability = float(np.exp(answers[index][best]))
        frame.attrs = {"label": clf.label_names[best], "probability": probability}
        yield frame


def _gradients(clf: Classifier, encoded: Encoded) -> list[np.ndarray]:
    """`token_gradients` of each text."""
    found: list[np.ndarray] = [np.zeros(0)] * len(encoded)
    embed: Any = heads.model_of(clf).get_input_embeddings()
    settings = heads.one_setting(clf, None)
    if any("quantized" in type(module).__module__ for module in clf.model.modules()):
        raise ModelError(NO_GRADIENTS)  # they would come back past these layers, not through them
    for indices in encoded.batches():
        inputs = {name: column.to(clf.device) for name, column in encoded.batch(indices).items()}
        with torch.enable_grad():
            words = embed(inputs.pop("input_ids")).detach().requires_grad_()  # (B, T, E)
            highest = heads.run(clf, {"inputs_embeds": words, **inputs}, settings).topk(2).values
            margin = (highest[:, 0] - highest[:, 1]).sum()  # texts do not see each other
            (slope,) = slopes(margin, [words])
        each = (slope * words.detach()).float().sum(-1).cpu().numpy()  # (B, T)
        for row, index in enumerate(indices):
            found[index] = each[row, : encoded.lengths[index]]
    return found


def _ablation(
    clf: Classifier, encoded: Encoded, method: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`token_ablation` of each text, and the log-probabilities (C,) of each with all its tokens."""
    if method not in ("mask", "remove"):
        raise AttnlabError(
            f"Tokens cannot be left out by {method!r}. {suggest(method, ('mask', 'remove'))}"
        )
    if method == "mask" and clf.tokenizer.mask_token_id is None:
        raise ModelError("This tokenizer has no [MASK]. Leave tokens out with method='remove'.")
    falls, answers = [], []
    for start in range(0, len(encoded), _TEXTS_AT_A_TIME):
        indices = range(start, min(start + _TEXTS_AT_A_TIME, len(encoded)))
        words = [
            np.flatnonzero(~is_special(clf, np.array(encoded.ids(index)))) for index in indices
        ]
        variants = _without_each(encoded, indices, words, method, clf.tokenizer.mask_token_id)
        logits = clf.logits(variants).log_softmax(-1).numpy()
        row = 0
        for index, left_out in zip(indices, words, strict=True):
            whole, without = logits[row], logits[row + 1 : row + 1 + len(left_out)]
            fall = np.full(encoded.lengths[index], np.nan, dtype=np.float32)
            fall[left_out] = whole.max() - without[:, whole.argmax()]
            falls.append(fall)
            answers.append(whole)
            row += 1 + len(left_out)
    return falls, answers


def _without_each(
    encoded: Encoded, indices: range, words: list[np.ndarray], method: str, mask: int
) -> Encoded:
    """Of each text: all of it, and then without each of these tokens, one at a time."""
    variants: dict[str, list[np.ndarray]] = {name: [] for name in encoded.columns}
    for index, left_out in zip(indices, words, strict=True):
        text = slice(encoded.starts[index], encoded.starts[index + 1])
        for name, column in encoded.columns.items():
            variants[name].append(column[text])
            for word in left_out:
                if method == "remove":
                    variants[name].append(np.delete(column[text], word))
                else:
                    changed = column[text].copy()
                    changed[word] = mask if name == "input_ids" else changed[word]
                    variants[name].append(changed)
    ends = np.cumsum([0, *(len(ids) for ids in variants["input_ids"])])
    joined = {name: np.concatenate(parts) for name, parts in variants.items()}
    return Encoded(joined, ends, encoded.fill)
