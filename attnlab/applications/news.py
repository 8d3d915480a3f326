"""News monitor: what a stream of texts is about, and an alarm when a topic's share changes.

A linear head over the bundled encoder reads the first words of a text, as one would a headline. The
order of the texts is taken for their order in time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.applications.alarms import bets, first_alarms, usual_share
from attnlab.applications.text_features import embed, linear_head
from attnlab.classification import fresh_classifier
from attnlab.classification.base import Predictions
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, suggest

__all__ = ["NewsMonitor", "first_words", "reading_ways", "topic_shares", "watch"]


_ENOUGH, _OTHERS = 10, "others"  # texts of a topic in the reference, to watch it by itself


class NewsMonitor:
    """Says what texts are about, and whether their mix has changed.

    Attributes
    ----------
    clf : Classifier whose encoder reads
    head : logistic regression over its features, see `linear_head`; its classes are topics
    words : how many words of each text are read; None for all
    label_names : all topics, also such as it met no text of
    """

    def __init__(
        self, clf: Classifier, head: Any, words: int | None, label_names: Sequence[str] = ()
    ):
        self.clf, self.head, self.words = clf, head, words
        self.label_names = list(label_names or head.classes_)

    @classmethod
    def train(
        cls, data: TextDataset, clf: Classifier | None = None, words: int | None = 12
    ) -> "NewsMonitor":
        """Fit the head; the encoder stays as it is.

        Parameters
        ----------
        data : texts labelled by topic
        clf : whose encoder reads; default the bundled one as it was published
        words : first words of each text that are read; None for all
        """
        clf = fresh_classifier() if clf is None else clf
        topics = [data.label_names[label] for label in data.labels]
        head = linear_head(embed(clf, first_words(data.texts, words)), topics)
        return cls(clf, head, words, data.label_names)

    def topics(self, texts: Sequence[str]) -> np.ndarray:
        """The topic of each text, an array of str."""
        return self.head.predict(embed(self.clf, first_words(texts, self.words)))

    def predict(self, texts: Sequence[str]) -> Predictions:
        """The topic of each text with the probabilities of all, as classifiers answer.

        So `adaptive.BatchingService` can serve it; see `reading_ways`.
        """
        found = self.head.predict_proba(embed(self.clf, first_words(texts, self.words)))
        probabilities = np.zeros((len(texts), len(self.label_names)))
        columns = [self.label_names.index(topic) for topic in self.head.classes_]
        probabilities[:, columns] = found
        return Predictions(self.head.classes_[found.argmax(1)].tolist(), probabilities)

    def kept(self, texts: Sequence[str]) -> float:
        """The share of the words of these texts that is read, 0 to 1."""
        lengths = np.array([len(text.split()) for text in texts])
        read = lengths if self.words is None else np.minimum(lengths, self.words)
        return float(read.sum() / max(lengths.sum(), 1))


def reading_ways(
    data: TextDataset,
    clf: Classifier | None = None,
    words: Sequence[int | None] = (None, 40, 12),
) -> dict[str, NewsMonitor]:
    """Monitors that read more or less of a text, for a service that reads less under load.

    ``adaptive.Controller(adaptive.measure_points(reading_ways(news.train), news.dev), 200)`` keeps
    200 ms for 95 % of texts that `adaptive.BatchingService` reads together as they come.

    Parameters
    ----------
    data : texts labelled by topic; each monitor fits a head of its own to them
    clf : whose encoder reads; default the bundled one as it was published
    words : first words that each reads; None for all, which comes first

    Returns
    -------
    monitors by name, such as "whole" and "40 words"
    """
    clf = fresh_classifier() if clf is None else clf
    return {
        "whole" if count is None else f"{count} words": NewsMonitor.train(data, clf, count)
        for count in words
    }


def first_words(texts: Sequence[str], words: int | None) -> list[str]:
    """The first words of each text; None for all.

    >>> first_words(["oil prices rise in london", "oil"], 2)
    ['oil prices', 'oil']
    """
    return [" ".join(text.split()[:words]) for text in texts]


def topic_shares(
    topics: Sequence[str] | np.ndarray, names: Sequence[str], window: int
) -> pd.DataFrame:
    """The share of each topic in one window of texts after the other.

    Returns
    -------
    DataFrame with ``text``, the number of the window's last one, and a column for each name. What
    is left behind the last whole window is left out.
    """
    found = np.asarray(topics)
    whole = len(found) // window
    if not whole:
        raise AttnlabError(f"{len(found)} texts do not fill one window of {window}.")
    table: dict[str, Any] = {"text": window * np.arange(1, whole + 1)}
    for name in names:
        table[name] = (found[: whole * window] == name).reshape(whole, window).mean(1)
    return pd.DataFrame(table)


def watch(
    reference: Sequence[str] | np.ndarray,
    stream: Sequence[str] | np.ndarray,
    names: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Raise an alarm for each topic whose share left what the reference knows.

    If nothing changes, the chance that any alarm is ever raised is at most ``alpha``, over all
    topics and however long the stream is; see `bets`.

    Parameters
    ----------
    reference, stream : topics of texts, as `NewsMonitor.topics` returns them; those of the
        reference stand for what is usual
    names : topics to watch; default those with 10 texts or more in the reference, and all "others"
        together, so that one which was rare is noticed, too
    alpha : shared equally by the topics

    Returns
    -------
    DataFrame with ``topic``; ``usual``, its share in the reference; ``now``, in the last 100 texts;
    ``alarm_at``, the text of the stream (counted from 1) at which the alarm was raised, 0 for none;
    ``evidence``, the highest wealth as a share of what raises an alarm

    Raises
    ------
    AttnlabError : no texts, or a topic that the reference does not have

    Notes
    -----
    The bound is for texts that come independently of each other; news that comes in bursts raises
    more alarms. It is proved for ``names`` that were chosen without looking at the reference.
    """
    usual, found = np.asarray(reference), np.asarray(stream)
    if not len(usual) or not len(found):
        raise AttnlabError(f"The reference has {len(usual)} texts, the stream {len(found)}.")
    if names is None:
        kinds, counted = np.unique(usual, return_counts=True)
        kinds = kinds[counted >= _ENOUGH]
        usual, found = (np.where(np.isin(x, kinds), x, _OTHERS) for x in (usual, found))
        names = [*kinds.tolist(), _OTHERS]
    counts = {name: int((usual == name).sum()) for name in {*usual.tolist(), _OTHERS}}
    for name in names:
        if name not in counts:
            raise AttnlabError(f"No text of the reference is {name!r}. {suggest(name, counts)}")
    rows = []
    for name in names:
        level = alpha / len(names) / 2  # half for the reference, half for the bets
        wealth = level * bets(found == name, *usual_share(counts[name], len(usual), level))
        rows.append(
            {
                "topic": str(name),
                "usual": counts[name] / len(usual),
                "now": float((found[-100:] == name).mean()),
                "alarm_at": int(first_alarms(wealth >= 1)),
                "evidence": float(wealth.max()),
            }
        )
    table = pd.DataFrame(rows, columns=["topic", "usual", "now", "alarm_at", "evidence"])
    return table.sort_values("evidence", ascending=False, kind="stable", ignore_index=True)


def __dir__() -> list[str]:
    return sorted(__all__)
