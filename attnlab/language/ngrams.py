"""Language models that count, the rivals of attention: n-grams, and a packer of files.

Interpolated Kneser-Ney smoothing with the modified discounts of S. F. Chen and J. Goodman, An
Empirical Study of Smoothing Techniques for Language Modeling, 1998.
"""

import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from attnlab.errors import DataError

_USUAL = 0.75  # a discount that suits most texts


class KneserNey:
    """An n-gram model: the next token given the ``order`` - 1 before it.

    The probability of a token w after a context h mixes what was counted there with what the
    shorter context h' (without its first token) says::

        p(w | h) = (c(h w) - D) / c(h) + back_off(h) p(w | h')

    D, the discount, is above 0 and at most the count; ``back_off(h)`` is the sum of all discounts
    over c(h), so that probabilities sum to 1. n-grams of the full order are counted as they occur.
    The count of a shorter one is the number of *different* tokens that stand before it: "Francisco"
    is frequent, but only after "San". Below the shortest context, none at all, each token has
    1 / vocabulary.

    Parameters
    ----------
    order : tokens in an n-gram, 1 or more; 8 suits characters, 4 or 5 pieces of words
    discount : D, between 0 and 1; None for modified Kneser-Ney, where counts 1, 2 and more have
        each their own, estimated for each order

    Attributes
    ----------
    vocabulary : how many tokens there are; known after `fit`
    discounts : array (order, 3): D of counts 1, 2, and 3 or more, for n = 1, 2, ...

    Notes
    -----
    A text begins with ``order`` - 1 marks, which are never predicted. n-grams are numbered so that
    all is done in numpy for whole texts: the n-gram that ends at a position is the (n-1)-gram that
    ends at the position before it, followed by a token; its suffix is the (n-1)-gram that ends at
    the position itself.

    Examples
    --------
    >>> model = KneserNey(order=3).fit([[0, 1, 0, 1, 0, 1, 2]], vocabulary=4)
    >>> model.distribution([0, 1]).round(2)
    array([0.65, 0.08, 0.22, 0.05])
    """

    vocabulary: int
    discounts: np.ndarray

    def __init__(self, order: int = 8, discount: float | None = None) -> None:
        if order < 1:
            raise DataError(f"order is {order}. Give 1 or more; 8 suits characters.")
        if discount is not None and not 0 < discount < 1:
            raise DataError(
                f"discount is {discount}. Give a number between 0 and 1, such as 0.75, or None."
            )
        self.order, self.discount = order, discount

    def fit(self, texts: Iterable[Sequence[int]], vocabulary: int | None = None) -> "KneserNey":
        """Count the n-grams of these texts.

        Parameters
        ----------
        texts : lists of ids, as ``tokens.encode`` returns
        vocabulary : how many tokens there are; by default up to the largest id

        Returns
        -------
        the model itself

        Raises
        ------
        DataError : no tokens, or an id outside the vocabulary
        """
        rows = [_ids(text) for text in texts]
        ids = np.concatenate([*rows, np.empty(0, np.int64)])
        if not len(ids):
            raise DataError("There are no tokens to count. Give at least one text.")
        self.vocabulary = int(ids.max()) + 1 if vocabulary is None else vocabulary
        self._check(ids)
        padded = np.concatenate([self._with_marks(row) for row in rows])
        keys, suffixes, numbers = _number(padded, self.order, self.vocabulary + 1)
        counts = np.bincount(numbers[padded < self.vocabulary], minlength=len(keys[-1]))
        self._orders: list[Any] = []
        discounts: list[Any] = []
        for n in range(self.order, 0, -1):
            contexts = len(keys[n - 2]) if n > 1 else 1
            own = _discounts_of(counts) if self.discount is None else [self.discount] * 3
            self._orders.insert(0, _weigh(keys[n - 1], self.vocabulary + 1, counts, own, contexts))
            discounts.insert(0, own)
            # the count of a shorter one: of how many of these it is the suffix
            counts = np.bincount(suffixes[n - 1][counts > 0], minlength=contexts)
        self.discounts = np.array(discounts)
        return self

    def log_probabilities(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The natural logarithm of each token's probability given those before it.

        Parameters
        ----------
        ids : a whole text, from its beginning

        Returns
        -------
        array (T,)

        Raises
        ------
        DataError : not fitted, or an id outside the vocabulary
        """
        ids = self._check(_ids(ids))
        return np.log(self._probabilities(self._with_marks(ids)[None])[0, self.order - 1 :])

    def __call__(self, ids: np.ndarray | Tensor) -> np.ndarray:
        """What `bits_per_character` asks: log-probabilities in windows cut out of texts.

        Parameters
        ----------
        ids : (B, T); what stood before a window is not known

        Returns
        -------
        array (B, T - 1), natural logarithms, of each token but the first
        """
        ids = self._check(np.asarray(ids, dtype=np.int64))
        return np.log(self._probabilities(ids)[:, 1:])

    def distribution(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """The probability of each token after these, at the beginning of a text if there are none.

        Returns
        -------
        array (vocabulary,) that sums to 1
        """
        marked = self._with_marks(self._check(_ids(context)))
        history = marked[len(marked) - self.order + 1 :]
        found = np.full(self.vocabulary, 1 / self.vocabulary)
        for n, grams in enumerate(self._orders, 1):
            number = np.zeros(1, np.int64)  # of the n - 1 tokens that the context ends with
            for shorter, token in zip(self._orders, history[self.order - n :], strict=False):
                number = shorter.find(number, token)
            if number[0] < 0:
                break  # longer contexts did not occur either
            first, last = np.searchsorted(
                grams.keys, number[0] * grams.base + np.array([0, self.vocabulary])
            )
            found *= grams.back_off[number[0]]
            found[grams.keys[first:last] % grams.base] += grams.weights[first:last]
        return found

    def sample(
        self,
        length: int,
        prompt: Sequence[int] = (),
        temperature: float = 1.0,
        seed: int = 0,
    ) -> list[int]:
        """Go on from a prompt, token by token, each drawn at random.

        Parameters
        ----------
        length : how many tokens to write
        prompt : ids to go on from, which are not returned
        temperature : above 0; below 1 likely tokens become likelier
        seed : of the draws

        Returns
        -------
        list of ``length`` ids
        """
        if temperature <= 0:
            raise DataError(f"temperature is {temperature}. Give a number above 0; 1 is neutral.")
        rng = np.random.default_rng(seed)
        ids = list(prompt)
        for _ in range(length):
            weights = self.distribution(ids[-self.order :]) ** (1 / temperature)
            ids.append(int(rng.choice(self.vocabulary, p=weights / weights.sum())))
        return ids[len(prompt) :]

    def _with_marks(self, ids: np.ndarray) -> np.ndarray:
        """A text behind the marks that begin it."""
        return np.concatenate([np.full(self.order - 1, self.vocabulary), ids])

    def _probabilities(self, ids: np.ndarray) -> np.ndarray:
        """The probability of each token (B, T) given those before it in its row."""
        found = np.full(ids.shape, 1 / self.vocabulary)
        numbers = np.zeros_like(ids)
        for n, grams in enumerate(self._orders, 1):
            before = np.full((len(ids), 1), -1)
            prefixes = numbers if n == 1 else np.concatenate([before, numbers[:, :-1]], 1)
            numbers = grams.find(prefixes, ids)
            counted = np.where(numbers >= 0, grams.weights[numbers], 0)
            mixed = counted + grams.back_off[prefixes] * found
            found = np.where(prefixes >= 0, mixed, found)
        return found

    def _check(self, ids: np.ndarray) -> np.ndarray:
        if not hasattr(self, "vocabulary"):
            raise DataError("This model has counted nothing yet. Call fit(texts) first.")
        if len(wrong := ids[(ids < 0) | (ids >= self.vocabulary)]):
            raise DataError(
                f"There is no token {wrong[0]}: this vocabulary has {self.vocabulary}, counted "
                "from 0. Give ids of the tokens that it was fitted on."
            )
        return ids

    def __repr__(self) -> str:
        grams = f", {len(self._orders[-1].keys):,} n-grams" if hasattr(self, "_orders") else ""
        return f"KneserNey(order={self.order}{grams})"


# ── counting ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Grams:
    """The n-grams of one order.

    Attributes
    ----------
    keys : ascending; an n-gram's is the number of its first n - 1 tokens (the place of their key)
        times ``base``, plus its last token
    base : vocabulary + 1, for the mark before a text
    weights : (c(h w) - D) / c(h) of each
    back_off : of each context, which is an (n-1)-gram
    """

    keys: np.ndarray
    base: int
    weights: np.ndarray
    back_off: np.ndarray

    def find(self, prefixes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The numbers of those with these first n - 1 tokens and last ones; -1 for none."""
        wanted = prefixes * self.base + tokens
        numbers = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where((prefixes >= 0) & (self.keys[numbers] == wanted), numbers, -1)


def _number(
    padded: np.ndarray, order: int, base: int
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Number the n-grams of all orders that end at the positions of a text.

    Returns the keys of each order, the suffix of each n-gram (the number of its last n - 1 tokens),
    and the number of the longest one at each position.
    """
    keys, suffixes, numbers = [], [], np.zeros(len(padded), np.int64)
    for n in range(1, order + 1):
        prefixes = numbers if n == 1 else np.concatenate([numbers[:1], numbers[:-1]])
        found, first, inverse = np.unique(
            prefixes * base + padded, return_index=True, return_inverse=True
        )
        keys.append(found)
        suffixes.append(numbers[first])
        numbers = inverse
    return keys, suffixes, numbers


def _discounts_of(counts: np.ndarray) -> list[float]:
    """D of counts 1, 2, and 3 or more (Chen and Goodman 1998, equation 17)."""
    once, twice, thrice, four_times = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not once * twice * thrice:
        return [_USUAL] * 3  # too few n-grams to estimate from
    share = once / (once + 2 * twice)
    return [
        float(np.clip(count - (count + 1) * share * more / fewer, 0.01, count))
        for count, fewer, more in ((1, once, twice), (2, twice, thrice), (3, thrice, four_times))
    ]


def _weigh(
    keys: np.ndarray, base: int, counts: np.ndarray, discounts: Sequence[float], contexts: int
) -> _Grams:
    """What the counts of n-grams say once the discounts are taken."""
    taken = np.array([0, *discounts])[counts.clip(max=3)]
    context = keys // base
    totals = np.bincount(context, weights=counts, minlength=contexts)
    back_off = np.bincount(context, weights=taken, minlength=contexts) / np.maximum(totals, 1)
    weights = (counts - taken) / np.maximum(totals, 1)[context]
    return _Grams(keys, base, weights, np.where(totals > 0, back_off, 1.0))  # 1: nothing follows


# ── packing ────────────────────────────────────────────────────────────────────────────────────


def packed_bits(training: Iterable[str], texts: Iterable[str]) -> list[int]:
    """What a packer needs for each text after it has packed the training texts, in bits.

    The packer is LZMA (of 7-Zip and xz) at its strongest setting. It looks for repetitions only,
    and whole bytes are counted: a bound that every language model should beat.

    Parameters
    ----------
    training, texts : lists of str

    Returns
    -------
    list of int, one a text

    Examples
    --------
    >>> tale = "The fox once came to a meadow in which was a flock of fine fat geese."
    >>> packed_bits([tale], [tale, "Schneeweißchen und Rosenrot."])
    [48, 232]
    """
    known = "\n".join(training).encode() + b"\n"
    alone = _packed(known)
    return [8 * (_packed(known + text.encode()) - alone) for text in texts]


def _packed(raw: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return len(lzma.compress(raw, format=lzma.FORMAT_RAW, filters=filters))


def _ids(ids: Sequence[int] | np.ndarray) -> np.ndarray:
    found = np.asarray(ids)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise DataError(
            f"Expected a list of ids, got {found.dtype} of shape {found.shape}. Give what "
            "tokens.encode(text) returned."
        )
    return found.astype(np.int64)
