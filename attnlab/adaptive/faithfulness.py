"""Does an explanation name the tokens that the answer rests on? Deletion and insertion curves.

Tokens are deleted from the one that is said to count most, and the answer is measured each time: a
faithful ranking makes it fall fast. Or all are deleted and come back in that order: it rises fast.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from attnlab.adaptive.attributions import integrated_gradients, margin_of
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.errors import AttnlabError, DataError, ModelError, suggest
from attnlab.evaluation.explaining import explained
from attnlab.evaluation.inputs import is_special, tokenised
from attnlab.statistics import paired_bootstrap

__all__ = ["RANKINGS", "areas", "deletion_curves"]

# by what tokens can be ranked; "random" is the yardstick
RANKINGS = ("attention", "rollout", "gradient", "integrated", "ablation", "random")
_MEASURES = ("margin", "probability")


def deletion_curves(
    clf: Classifier,
    texts: Sequence[Text],
    methods: Sequence[str] = RANKINGS,
    steps: int = 10,
    seed: int = 0,
    draws: int = 3,
) -> pd.DataFrame:
    """Measure the answer as tokens are masked, or come back, in the order of several explanations.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str); those with fewer than two tokens are left out
    methods : of `RANKINGS`: "attention" of [CLS] in the last layer, "rollout", "gradient" × input,
        "integrated" gradients from [MASK], "ablation" (each token masked alone), "random". Random
        orders are always measured, as `areas` compares with them.
    steps : into how many shares the tokens are cut
    seed, draws : of random orders, and how many; their mean is kept for each text

    Returns
    -------
    DataFrame, a row per text, method, kind and share: ``text`` (its index), ``method``, ``kind``
    ("deletion" or "insertion"), ``share`` of the tokens that are deleted or have come back (0 to
    1), and for the label that is predicted for the whole text its ``margin`` (logit minus the
    highest other) and ``probability``

    Notes
    -----
    A deleted token becomes [MASK]; special tokens stay. Signed explanations are ranked with their
    sign, what speaks for the answer first. Masked texts are not like those of the training, so part
    of any fall is surprise: that is why random orders stand beside.

    Costs, a text and order, 2 (steps - 1) forward passes; ablation one for each token, integrated
    gradients 32 with their way back.

    Raises
    ------
    AttnlabError : no such method
    DataError : no text with two tokens
    ModelError : a tokenizer without [MASK]

    Source: Petsiuk et al. 2018, "RISE: Randomized input sampling for explanation of black-box
    models", section 4.2.
    """
    wrong = [name for name in methods if name not in RANKINGS]
    if wrong or steps < 2 or draws < 1:
        what = f"No ranking {wrong[0]!r}. {suggest(wrong[0], RANKINGS)}" if wrong else ""
        raise AttnlabError(what or f"steps is {steps}, draws {draws}; give at least 2 and 1.")
    if clf.tokenizer.mask_token_id is None:
        raise ModelError("This tokenizer has no [MASK], by which tokens are deleted here.")
    encoded = tokenised(clf, texts)
    words = [
        np.flatnonzero(~is_special(clf, np.array(encoded.ids(index))))
        for index in range(len(encoded))
    ]
    usable = [index for index, own in enumerate(words) if len(own) > 1]
    if not usable:
        raise DataError(
            f"None of these {len(texts)} texts has two tokens or more, and one cannot be ranked."
        )
    orders = _orders(clf, texts, encoded, words, methods, seed, draws)
    labels = clf.logits(encoded).argmax(-1)
    parts = []
    for index in usable:
        own = [(name, order) for name, each in orders.items() for order in each[index]]
        variants = list(_variants(encoded, index, words[index], [o for _, o in own], steps, clf))
        logits = clf.logits(_joined(encoded, index, variants))
        margins = margin_of(logits, labels[index].expand(len(logits)))
        chances = logits.softmax(-1)[:, labels[index]]
        parts.append(_curves(index, [name for name, _ in own], steps, margins, chances))
    table = pd.concat(parts, ignore_index=True)
    keys = ["text", "method", "kind", "share"]
    return table.groupby(keys, sort=False, as_index=False)[[*_MEASURES]].mean()


def areas(
    curves: pd.DataFrame, measure: str = "margin", draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much better than chance each explanation is: areas under its curves, text by text.

    Parameters
    ----------
    curves : of `deletion_curves`
    measure : "margin" or "probability"
    draws, seed : of the paired bootstrap over texts

    Returns
    -------
    DataFrame, a row per kind and method: ``kind``, ``method``, ``area`` under the mean curve (a
    mean height, in the unit of the measure), ``better`` than random orders on the same texts by so
    much, with its 95 % interval ``ci_low``, ``ci_high``; and ``texts``. Deletion is better with a
    smaller area, insertion with a larger one; ``better`` is positive where the explanation wins.
    """
    if measure not in _MEASURES:
        raise AttnlabError(f"There is no measure {measure!r}. {suggest(measure, _MEASURES)}")
    wide = curves.pivot_table(
        index="text", columns=["kind", "method", "share"], values=measure, sort=False
    )
    rows = []
    for kind in ("deletion", "insertion"):
        own = {
            str(name): _area(wide[kind][name])
            for name in wide[kind].columns.get_level_values(0).unique()
        }
        for name, values in own.items():
            better = (own["random"] - values) * (1 if kind == "deletion" else -1)
            low, high = paired_bootstrap(better, draws, seed)
            rows.append(
                (kind, name, values.mean(), better.mean(), float(low), float(high), len(values))
            )
    columns = ["kind", "method", "area", "better", "ci_low", "ci_high", "texts"]
    return pd.DataFrame(rows, columns=columns)


def _area(curve: pd.DataFrame) -> np.ndarray:
    """The area under each text's curve, by the trapezoidal rule, shape (N,)."""
    curve = curve.sort_index(axis=1)
    return np.trapezoid(curve.to_numpy(), curve.columns.to_numpy(float), axis=1)


def _orders(
    clf: Classifier,
    texts: Sequence[Text],
    encoded: Encoded,
    words: list[np.ndarray],
    methods: Sequence[str],
    seed: int,
    draws: int,
) -> dict[str, list[list[np.ndarray]]]:
    """For each method and text one order of its tokens (several by chance), the first counts most.

    They are places among the tokens of the text that are not special.
    """
    found: dict[str, list[list[np.ndarray]]] = {}
    named = [name for name in methods if name not in ("integrated", "random")]
    frames = list(explained(clf, encoded)) if named else []
    for name in named:
        found[name] = [[_first(frame[name].to_numpy())] for frame in frames]
    if "integrated" in methods:
        each = integrated_gradients(clf, texts)
        found["integrated"] = [
            [_first(values[own])] for values, own in zip(each, words, strict=True)
        ]
    generator = np.random.default_rng(seed)
    found["random"] = [[generator.permutation(len(own)) for _ in range(draws)] for own in words]
    return found


def _first(values: np.ndarray) -> np.ndarray:
    return np.argsort(-values, kind="stable")


def _variants(
    encoded: Encoded,
    index: int,
    words: np.ndarray,
    orders: list[np.ndarray],
    steps: int,
    clf: Classifier,
) -> Iterator[np.ndarray]:
    """Token ids of the whole text and of all masked, and then along each order, both ways."""
    ids = np.array(encoded.ids(index))
    bare = ids.copy()
    bare[words] = clf.tokenizer.mask_token_id
    yield ids
    yield bare
    cuts = np.rint(np.arange(1, steps) / steps * len(words)).astype(int)
    for order in orders:
        for start, end in ((ids, bare), (bare, ids)):
            for cut in cuts:
                changed = start.copy()
                chosen = words[order[:cut]]
                changed[chosen] = end[chosen]
                yield changed


def _joined(encoded: Encoded, index: int, variants: list[np.ndarray]) -> Encoded:
    """Variants of one text, as `Encoded`."""
    own = slice(encoded.starts[index], encoded.starts[index + 1])
    columns = {name: np.tile(part[own], len(variants)) for name, part in encoded.columns.items()}
    columns["input_ids"] = np.concatenate(variants)
    ends = np.arange(len(variants) + 1) * len(variants[0])
    return Encoded(columns, ends, encoded.fill)


def _curves(index: int, names: list[str], steps: int, *measured: object) -> pd.DataFrame:
    """The table of one text, from what was measured on its `_variants`."""
    whole, bare = 0, 1
    rows, place = [], 2
    for name in names:
        for kind, ends in (("deletion", (whole, bare)), ("insertion", (bare, whole))):
            along = [ends[0], *range(place, place + steps - 1), ends[1]]
            rows += [(index, name, kind, step / steps, row) for step, row in enumerate(along)]
            place += steps - 1
    table = pd.DataFrame(rows, columns=["text", "method", "kind", "share", "row"])
    for name, values in zip(_MEASURES, measured, strict=True):
        table[name] = np.asarray(values)[table["row"].to_numpy()]
    return table.drop(columns="row")


def __dir__() -> list[str]:
    return sorted(__all__)
