"""Words and their pieces: labels for pieces from tags for words, and valid tags from scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnlab.classification.encoding import Encoded
from attnlab.errors import DataError

IGNORED = -100  # the label that torch's cross-entropy leaves out


@dataclass(frozen=True, eq=False)
class EncodedWords:
    """Tokenised sentences, and which word each piece comes from.

    Attributes
    ----------
    pieces : Encoded
    word_ids : for each sentence the word of each piece, None for special tokens
    counts : words in each sentence, pieces of which may have been cut off
    """

    pieces: Encoded
    word_ids: list[list[int | None]]
    counts: list[int]

    def __len__(self) -> int:
        return len(self.counts)

    def labels(self, tags: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the label of each piece of each sentence from the tags of its words: `align`."""
        both = zip(self.word_ids, tags, strict=True)
        return [torch.tensor(align(word_ids, own)) for word_ids, own in both]


def align(word_ids: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """Return labels for word pieces: the first has its word's tag, the others `IGNORED`.

    So a word counts once, in the loss and in the answer, into however many pieces a tokenizer
    breaks it. Further pieces need no answer of their own, as they never begin anything: with labels
    they would make a long word, or "1,234,567" (six pieces), weigh more than a short one, and there
    would be answers to reconcile. Special tokens are no words at all.

    Parameters
    ----------
    word_ids : for each of T pieces the index of its word, None for a special token, as a
        tokenizer's ``word_ids()`` says
    tags : the tag of each word

    Returns
    -------
    T labels

    Examples
    --------
    >>> align([None, 0, 1, 1, 1, None], [0, 3])
    [-100, 0, 3, -100, -100, -100]
    """
    labels: list[int] = []
    before = None
    for word in word_ids:
        if word is not None and not 0 <= word < len(tags):
            raise DataError(
                f"A piece belongs to word {word}, and there are tags for {len(tags)} words. Give "
                "the word_ids of the same sentence."
            )
        labels.append(IGNORED if word is None or word == before else int(tags[word]))
        before = word
    return labels


def best_tags(log_probabilities: np.ndarray, tag_names: Sequence[str]) -> list[int]:
    """Return the most probable tags among valid ones: in IOB2 ``I-kind`` continues its own kind.

    Parameters
    ----------
    log_probabilities : array (words, C); a word with NaN gets O

    Returns
    -------
    list of int, indices into tag_names. Where the most probable tag of each word gives a valid
    sequence, it is that; else it is found by the Viterbi algorithm.
    """
    outside = np.where(np.array(tag_names) == "O", 0.0, -np.inf)  # (C,)
    scores = np.where(np.isnan(log_probabilities), outside, log_probabilities)  # (words, C)
    follows = np.array([[_may_follow(now, then) for now in tag_names] for then in tag_names])
    begins = np.array([_may_follow(now, "O") for now in tag_names])
    tags = scores.argmax(-1)
    if not len(tags) or (begins[tags[0]] and follows[tags[:-1], tags[1:]].all()):
        return tags.tolist()
    best = np.where(begins, scores[0], -np.inf)  # (C,) of the best way to end in each tag
    came = []
    for row in scores[1:]:
        ways = np.where(follows, best[:, None], -np.inf)  # (C before, C now)
        came.append(ways.argmax(0))
        best = ways.max(0) + row
    path = [int(best.argmax())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return path[::-1]


def _may_follow(tag: str, before: str) -> bool:
    return not tag.startswith("I-") or (before != "O" and before[2:] == tag[2:])
