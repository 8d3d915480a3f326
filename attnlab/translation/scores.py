"""How good are translations? BLEU, chrF and exact match, with intervals, and two baselines.

BLEU and chrF are sacrebleu's own (Post 2018), with its signatures, so they can be compared with
published ones.
"""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from attnlab.datasets.duplicates import trigram_cosine
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import normalise
from attnlab.errors import AttnlabWarning, DataError, needs, suggest
from attnlab.statistics import paired_test, share_interval

__all__ = [
    "DRAWS",
    "Tokenizer",
    "TranslationScore",
    "compare",
    "copy_source",
    "nearest_string",
    "score",
]

Tokenizer = Literal["13a", "zh", "intl", "char", "none"]  # how sacrebleu finds the words for BLEU

_SCRIPTS = {  # in which no spaces stand between words, and how BLEU can count there
    "zh": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]",
    # Japanese kana; Thai, Lao, Tibetan, Burmese, Khmer
    "char": r"[\u3040-\u30ff\uff66-\uff9f\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]",
}

DRAWS = 1000  # of the bootstrap, as sacrebleu does


@dataclass(frozen=True)
class TranslationScore:
    """Scores of N translations, with 95 % intervals.

    Attributes
    ----------
    bleu, chrf : float, 0 to 100, and their intervals ``bleu_ci``, ``chrf_ci`` (low, high) by
        bootstrap
    exact : float, 0 to 1, share of translations that are the reference to the letter; ``exact_ci``
        by Wilson
    n : int, translations
    signature : dict from "bleu" and "chrf" to what sacrebleu calls the way of counting
    """

    bleu: float
    bleu_ci: tuple[float, float]
    chrf: float
    chrf_ci: tuple[float, float]
    exact: float
    exact_ci: tuple[float, float]
    n: int
    signature: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each measure: ``score``, ``low`` and ``high``."""
        rows = {name: (getattr(self, name), *getattr(self, f"{name}_ci")) for name in _MEASURES}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=["score", "low", "high"])
        return frame.rename_axis("measure")


_MEASURES = ("bleu", "chrf", "exact")


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    seed: int = 0,
    tokenize: Tokenizer | None = None,
) -> TranslationScore:
    """Compare translations with references, one for each.

    Parameters
    ----------
    predictions, references : N texts each
    seed : of the bootstrap
    tokenize : how BLEU finds words. Default: by the script of the references, "zh" for Chinese and
        "char" for Japanese, Thai and others in which no spaces stand between words, else "13a"; the
        signature says which it was.

    Raises
    ------
    DataError : not as many of both, none at all, something that is no text, an unknown tokenizer

    Notes
    -----
    Where hardly any reference has four words, BLEU is 0 even for perfect translations, as it counts
    sequences of up to four; that is said with an AttnlabWarning.

    The intervals are those between which 95 % of 1,000 resampled sets of sentences score, as
    sacrebleu's ``--confidence`` finds them with ``SACREBLEU_SEED`` set to the seed.

    Examples
    --------
    >>> found = score(["the cat sat", "a dog"], ["the cat sat", "the dog"])
    >>> found.exact, found.n, found.signature["bleu"].split("|version")[0]
    (0.5, 2, 'nrefs:1|bs:1000|seed:0|case:mixed|eff:no|tok:13a|smooth:exp')
    """
    _check(predictions, references, tokenize)
    tokenize = _tokenizer(references, tokenize)
    chosen = _resampled(len(references), seed)
    values, intervals, signature = {}, {}, {}
    for name, metric in _metrics(tokenize).items():
        statistics = _statistics(metric, predictions, references)
        values[name] = _value(metric, statistics)
        scores = np.sort([_value(metric, statistics[sentences]) for sentences in chosen])
        intervals[name] = (float(scores[DRAWS // 40]), float(scores[-DRAWS // 40 - 1]))
        metric.n_bootstrap, metric.seed = DRAWS, str(seed)  # its signature says so
        signature[name] = str(metric.get_signature())
    hits = _exact(predictions, references)
    return TranslationScore(
        values["bleu"],
        intervals["bleu"],
        values["chrf"],
        intervals["chrf"],
        float(hits.mean()),
        share_interval(int(hits.sum()), len(hits)),
        len(hits),
        signature,
    )


def compare(
    predictions_a: Sequence[str],
    predictions_b: Sequence[str],
    references: Sequence[str],
    seed: int = 0,
    tokenize: Tokenizer | None = None,
) -> pd.DataFrame:
    """Is ``b`` better than ``a``, by more than chance? Both are scored on the same resamples.

    Parameters
    ----------
    predictions_a, predictions_b, references : N texts each
    seed, tokenize : as in `score`, which says the errors too

    Returns
    -------
    DataFrame with rows bleu, chrf, exact and columns a, b, difference (b minus a), low, high (95 %
    interval of the difference) and p_value: for bleu and chrf by the paired bootstrap of sacrebleu
    (but 1, not 1/1001, where both are the same), for exact by McNemar's exact test with the
    interval of Agresti and Min

    Source: Koehn 2004, *Statistical Significance Tests for Machine Translation Evaluation*.
    """
    _check(predictions_a, references, tokenize)
    _check(predictions_b, references, tokenize)
    tokenize = _tokenizer(references, tokenize)
    chosen = _resampled(len(references), seed)
    rows = {}
    for name, metric in _metrics(tokenize).items():
        both = [_statistics(metric, texts, references) for texts in (predictions_a, predictions_b)]
        a, b = (_value(metric, statistics) for statistics in both)
        drawn = [[_value(metric, counts[sentences]) for sentences in chosen] for counts in both]
        differences = np.subtract(drawn[1], drawn[0])
        sizes = np.abs(differences)
        as_large = int((sizes - sizes.mean() >= abs(b - a)).sum())
        low, high = np.sort(differences)[[DRAWS // 40, -DRAWS // 40 - 1]]
        rows[name] = (a, b, b - a, low, high, (as_large + 1) / (DRAWS + 1))
    hits_a, hits_b = (_exact(texts, references) for texts in (predictions_a, predictions_b))
    change = paired_test(hits_a, hits_b)
    rows["exact"] = (
        hits_a.mean(),
        hits_b.mean(),
        change.delta,
        change.low,
        change.high,
        change.p_value,
    )
    columns = ["a", "b", "difference", "low", "high", "p_value"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("measure")


# ── baselines ──────────────────────────────────────────────────────────────────────────────────


def copy_source(splits: Splits) -> list[str]:
    """The sources of the test part themselves: the score of translating nothing."""
    return list(_pairs(splits.test).sources)


def nearest_string(splits: Splits) -> list[str]:
    """For each test source, the translation of the training source that is most like it.

    Likeness is the cosine of the sets of character trigrams, case and spacing aside. Of several
    training sources that are equally near, the first.

    Raises
    ------
    DataError : no training part, or a data set without translations
    """
    train, test = _pairs(splits.train), _pairs(splits.test)
    if not len(train):
        raise DataError(
            f"{train.name} has no training part to look in. Take test from it and train from the "
            "set that the model learned from: Splits(train, dev, test)."
        )
    known = [normalise(text) for text in train.sources]
    found = []
    for start in range(0, len(test), 256):  # all at once would need memory for each pair
        texts = [normalise(text) for text in test.sources[start : start + 256]]
        near = np.asarray(trigram_cosine(texts, known).argmax(axis=1)).ravel()
        found += [train.targets[index] for index in near]
    return found


def _pairs(dataset: object) -> ParallelDataset:
    if not isinstance(dataset, ParallelDataset):
        raise DataError(f"{dataset!r} has no translations. Load one such as 'interface-fr'.")
    return dataset


# ── with sacrebleu ─────────────────────────────────────────────────────────────────────────────


def _check(predictions: Sequence[str], references: Sequence[str], tokenize: str | None) -> None:
    if tokenize is not None and tokenize not in get_args(Tokenizer):
        raise DataError(
            f"There is no tokenizer {tokenize!r}. {suggest(tokenize, get_args(Tokenizer))}"
        )
    for name, texts in (("predictions", predictions), ("references", references)):
        if isinstance(texts, str):
            raise DataError(f"{name} is one text. Give a list of texts.")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{name}[{index}] is {text!r}, which is no text. Give '' for none.")
    if len(predictions) != len(references) or not len(references):
        raise DataError(
            f"There are {len(predictions)} predictions and {len(references)} references. Give one "
            "reference for each prediction, and at least one."
        )


def _tokenizer(references: Sequence[str], tokenize: Tokenizer | None) -> Tokenizer:
    """The tokenizer asked for, or the one for the script; a warning where BLEU means nothing."""
    text = "".join(references)
    letters = max(sum(map(str.isalpha, text)), 1)
    counts = {name: len(re.findall(signs, text)) for name, signs in _SCRIPTS.items()}
    fitting: Tokenizer = "13a"
    if sum(counts.values()) > letters / 5:  # beside names and terms in Latin letters
        fitting = "zh" if counts["char"] < counts["zh"] / 20 else "char"  # kana: Japanese
    chosen = tokenize or fitting
    whole = chosen in ("13a", "intl", "none") and fitting != "13a"
    metric = _metrics(chosen)["bleu"]
    perfect = _value(metric, _statistics(metric, references, references))
    if whole or perfect < 99:
        why = (
            f"{chosen!r} finds no words in a script without spaces: write tokenize={fitting!r}, or "
            "leave it out"
            if whole
            else "hardly any reference has four words, and BLEU counts sequences of up to four: "
            "compare chrF and exact matches"
        )
        warnings.warn(
            f"BLEU of a perfect translation would be {perfect:.0f} here, so it says nothing; "
            f"{why}.",
            AttnlabWarning,
            stacklevel=3,
        )
    return chosen


def _metrics(tokenize: str) -> dict[str, Any]:
    with needs("lab"):
        from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU(tokenize=tokenize, force=True), "chrf": CHRF()}


def _resampled(n: int, seed: int) -> np.ndarray:
    """Indices of the sentences of each resampled set, (DRAWS, N), drawn as sacrebleu does."""
    return np.random.default_rng(seed).choice(n, size=(DRAWS, n), replace=True)


def _statistics(metric: Any, predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What sacrebleu counts in each sentence, (N, K): their sum is what a score is made of."""
    found = metric._extract_corpus_statistics(list(predictions), [list(references)])
    return np.array(found, dtype=float)


def _value(metric: Any, statistics: np.ndarray) -> float:
    return float(metric._compute_score_from_stats(statistics.sum(axis=0)).score)


def _exact(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Whether each prediction equals its reference in NFC, bool array (N,)."""

    def form(text: str) -> str:
        return unicodedata.normalize("NFC", text).strip()

    return np.array([form(a) == form(b) for a, b in zip(predictions, references, strict=True)])


def __dir__() -> list[str]:
    return sorted(__all__)
