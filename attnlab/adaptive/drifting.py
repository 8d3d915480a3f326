"""How far attention moves when a text or an image is disturbed, and what answers become of it.

In comments L is layers, H heads, T tokens, W words.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.adaptive.disturbing import IMAGE_KINDS, TEXT_KINDS, TURNING_KINDS, disturb
from attnlab.balance.divergence import jensen_shannon
from attnlab.classification.base import BaseClassifier
from attnlab.errors import AttnlabError, DataError
from attnlab.statistics import paired_test, share_interval

__all__ = ["aligned_tokens", "attention_drift", "robustness"]

_WORD = re.compile(r"\w+|[^\w\s]")
_AT_A_TIME = 64  # pairs whose attention is kept at once
Groups = list[list[int]]  # the tokens of each word


def robustness(
    clf: BaseClassifier, data: Any, kinds: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """What small changes do to answers, to attention and to contributions.

    Parameters
    ----------
    clf : Classifier or ImageClassifier
    data : labelled texts or images, such as ``al.datasets.load("movie-sentiment").dev``
    kinds : of `disturb`; default all that should change nothing, and then those that should
    seed : of the changes

    Returns
    -------
    DataFrame, a row per kind: ``kind``; ``should_flip``, whether the change turns the meaning;
    ``n``; ``changed``, share of texts that the change altered; ``accuracy`` after it, against the
    labels before it; ``flips``, share of answers that became another, with the 95 % interval
    ``flips_low``, ``flips_high`` (Wilson); ``change`` of accuracy with ``change_low`` and
    ``change_high`` (paired); ``attention`` and ``contributions``, their mean `attention_drift`; and
    ``aligned``, the share of words that have a partner in the other text.
    ``attrs["accuracy"]`` is that without any change.

    Costs four forward passes a kind and text: two answers, two recordings.
    """
    given = list(clf.inputs_of(data))
    images = getattr(clf, "reads", "texts") == "images"
    if kinds is None:
        kinds = IMAGE_KINDS if images else (*TEXT_KINDS, *TURNING_KINDS)
    labels = np.array(data.labels)
    before = clf.logits(clf.encode(given)).argmax(-1).numpy()
    rows = []
    for kind in kinds:
        disturbed: list[Any] = [disturb(one, kind, seed) for one in given]
        altered = [not np.array_equal(*pair) for pair in zip(given, disturbed, strict=True)]
        after = clf.logits(clf.encode(disturbed)).argmax(-1).numpy()
        flips, count = int((before != after).sum()), len(given)
        low, high = share_interval(flips, count)
        test = paired_test(before == labels, after == labels)
        drift = attention_drift(clf, given, disturbed)
        rows.append(
            {
                "kind": kind,
                "should_flip": kind in TURNING_KINDS,
                "n": count,
                "changed": float(np.mean(altered)),
                "accuracy": float((after == labels).mean()),
                "flips": flips / count,
                "flips_low": low,
                "flips_high": high,
                "change": test.delta,
                "change_low": test.low,
                "change_high": test.high,
                "attention": float(drift["attention"].mean()),
                "contributions": float(drift["contributions"].mean()),
                "aligned": drift.attrs["aligned"],
            }
        )
    table = pd.DataFrame(rows)
    table.attrs["accuracy"] = float((before == labels).mean())
    return table


def attention_drift(
    clf: BaseClassifier, clean: Sequence[Any], disturbed: Sequence[Any]
) -> pd.DataFrame:
    """How far each head's attention moves between texts, or images, and their disturbed versions.

    Parameters
    ----------
    clf : Classifier or ImageClassifier
    clean, disturbed : N texts each, or N images, in the same order

    Returns
    -------
    DataFrame, a row per head: ``layer``, ``head``, ``attention`` and ``contributions``, the
    Jensen-Shannon divergence in bits, 0 (the same) to 1, mean over aligned words and then over
    texts. ``attrs["aligned"]`` is the share of words that have a partner in the other text.

    Notes
    -----
    A disturbed word may have more tokens than before, so words are compared, and [CLS] and [SEP]
    as words of their own: what a word receives is the sum over its tokens, what it sends out the
    mean over them. Words without a partner send nothing that could be compared; what others send
    to them is added up as one more place. Contributions are weights times the length of the
    transformed value, as shares of their row. Patches of images are compared place by place.

    Raises DataError for lists of different lengths or without texts.
    """
    if len(clean) != len(disturbed) or not len(clean):
        raise DataError(
            f"There are {len(clean)} clean and {len(disturbed)} disturbed inputs. Give as many of "
            "the one as of the other, at least one."
        )
    total = torch.zeros(2, clf.layers, clf.heads, dtype=torch.float64)
    aligned, words = 0, 0
    for start in range(0, len(clean), _AT_A_TIME):
        sides = [list(side[start : start + _AT_A_TIME]) for side in (clean, disturbed)]
        records = [_recorded(clf, side) for side in sides]
        for index, pair in enumerate(zip(*sides, strict=True)):
            first, second, found, of = aligned_tokens(clf, *pair)
            aligned, words = aligned + found, words + of
            for what in range(2):
                both = (
                    _over_words(record[index][what], groups)
                    for record, groups in zip(records, (first, second), strict=True)
                )
                total[what] += jensen_shannon(*both).mean(-1)
    places = [(layer, head) for layer in range(clf.layers) for head in range(clf.heads)]
    table = pd.DataFrame(places, columns=["layer", "head"])
    for name, values in zip(("attention", "contributions"), total / len(clean), strict=True):
        table[name] = values.flatten().numpy()
    table.attrs["aligned"] = aligned / words if words else 1.0
    return table


def aligned_tokens(clf: Any, clean: Any, disturbed: Any) -> tuple[Groups, Groups, int, int]:
    """Return the tokens of each word that two texts share, and how many words do.

    Returns
    -------
    first, second : for each aligned word its tokens in the clean and in the disturbed text; the
        special tokens around a text are words of their own
    aligned, words : numbers of words with a partner, of both texts together, and of all words

    Words of the same letters are partners, and words that stand in each other's place between such
    (as a misspelt word does), if there are as many on both sides. Of images patches are aligned
    place by place.
    """
    if getattr(clf, "reads", "texts") == "images":
        count = int(clf.encode([clean]).lengths[0])
        groups = [[token] for token in range(count)]
        return groups, groups, 2 * count, 2 * count
    sides = [_words(clf, text) for text in (clean, disturbed)]
    (first, first_edges), (second, second_edges) = sides
    names = [[name for name, _ in words] for words in (first, second)]
    matcher = difflib.SequenceMatcher(a=names[0], b=names[1], autojunk=False)
    pairs = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal" or (kind == "replace" and b - a == d - c):
            pairs += [(first[a + step][1], second[c + step][1]) for step in range(b - a)]
    edges = [([one], [other]) for one, other in zip(first_edges, second_edges, strict=True)]
    both = [*edges, *pairs]
    return [a for a, _ in both], [b for _, b in both], 2 * len(pairs), len(first) + len(second)


def _words(clf: Any, text: str) -> tuple[list[tuple[str, list[int]]], list[int]]:
    """The words of a text in small letters with their tokens; and its special tokens."""
    if not isinstance(text, str):
        raise DataError(f"Expected a text (str), got {type(text).__name__}. Pairs are not aligned.")
    if not clf.tokenizer.is_fast:
        raise AttnlabError("Words are aligned by a fast tokenizer; this one is slow.")
    cut = clf.tokenizer(
        text, truncation=True, max_length=clf.max_length, return_offsets_mapping=True
    )
    words = [(found[0].lower(), *found.span()) for found in _WORD.finditer(text)]
    tokens: list[list[int]] = [[] for _ in words]
    edges, word = [], 0
    for token, ((start, end), part) in enumerate(
        zip(cut["offset_mapping"], cut.sequence_ids(0), strict=True)
    ):
        if part is None:
            edges.append(token)
            continue
        while word < len(words) - 1 and words[word][2] < end:
            word += 1
        if start < words[word][2] and end > words[word][1]:
            tokens[word].append(token)
    named = zip(words, tokens, strict=True)
    return [(name, own) for (name, _, _), own in named if own], edges


def _recorded(clf: BaseClassifier, given: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """Weights and contributions of each text, (L, H, T, T), rows of both with the sum 1."""
    encoded = clf.encode(given)
    settings = heads.one_setting(clf, None)
    found: list[Any] = [None] * len(given)
    for indices in encoded.batches():
        inputs = {name: part.to(clf.device) for name, part in encoded.batch(indices).items()}
        records = heads.record(clf, inputs, settings)
        weights = torch.stack([layer.weights for layer in records], 1).float().cpu()
        norms = torch.stack([layer.norms for layer in records], 1).float().cpu()
        for row, index in enumerate(indices.tolist()):
            size = int(encoded.lengths[index])
            own = weights[row, ..., :size, :size]
            added = own * norms[row, :, :, None, :size]
            tiny = torch.finfo(added.dtype).tiny
            found[index] = own, added / added.sum(-1, keepdim=True).clamp_min(tiny)
    return found


def _over_words(rows: Tensor, groups: Groups) -> Tensor:
    """From tokens (L, H, T, T) to aligned words (L, H, W, W + 1), the last for all the others."""
    members = torch.zeros(len(groups), rows.shape[-1])
    for word, tokens in enumerate(groups):
        members[word, tokens] = 1
    sent = members / members.sum(-1, keepdim=True) @ rows  # (L, H, W, T)
    received = sent @ members.T
    rest = (sent.sum(-1) - received.sum(-1)).clamp_min(0)
    return torch.cat([received, rest[..., None]], -1)


def __dir__() -> list[str]:
    return sorted(__all__)
