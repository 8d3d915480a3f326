"""Near-duplicates: texts so alike that they must not stand in both train and test."""

import re
import unicodedata
from collections.abc import Sequence

from scipy import sparse
from scipy.sparse.csgraph import connected_components

from attnlab.datasets.pairs import PLACEHOLDER
from attnlab.datasets.texts import text_hash

NEAR = 0.7  # cosine of letter trigrams from which two texts are near-duplicates


def fold(text: str) -> str:
    """What is left of a text without placeholders, digits, punctuation and case.

    >>> fold("&Delete %1 files?") == fold("delete files")
    True
    """
    text = re.sub(PLACEHOLDER, lambda found: "" if found[0] == "&" else " ", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = (letter if unicodedata.category(letter)[0] in "LM" else " " for letter in text)
    return " ".join("".join(kept).split())


def near_duplicates(texts: Sequence[str]) -> list[str]:
    """A key for each text; near-duplicates, and near-duplicates of those, have the same.

    Two texts are near-duplicates if they are equal after `fold`, or if the sets of their letter
    trigrams have a cosine of at least `NEAR`. A key is a hash of letters alone, so it is the same
    in every order of the texts. All pairs are compared: 3,000 texts take under a second, 30,000 too
    much memory.

    >>> texts = ["Close the file", "close file", "Close the files!", "Open a terminal"]
    >>> keys = near_duplicates(texts)
    >>> keys[0] == keys[2], keys[0] == keys[3]
    (True, False)
    """
    folded = [fold(text) for text in texts]
    near = trigram_cosine(folded, folded) >= NEAR
    _, group = connected_components(near, directed=False)
    first: dict[int, str] = {}
    for number, text in zip(group.tolist(), folded, strict=True):
        first[number] = min(first.get(number, text), text)
    return [text_hash(first[number]) for number in group.tolist()]


def trigram_cosine(texts: Sequence[str], others: Sequence[str]) -> sparse.csr_matrix:
    """Cosines of the sets of character trigrams of N texts and M others, a sparse matrix (N, M)."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

    vectorizer = TfidfVectorizer(analyzer=_trigrams, binary=True, use_idf=False)
    vectorizer.fit([*texts, *others])
    return vectorizer.transform(texts) @ vectorizer.transform(others).T


def _trigrams(text: str) -> list[str]:
    """The trigrams of a text with a space on either side; that of an empty text is two spaces."""
    text = f" {text} "
    return [text[start : start + 3] for start in range(max(len(text) - 2, 1))]
