"""Customer feedback: what is a message about, is it a complaint, who reads it first?

Sentiment is told by a linear head over the bundled movie classifier's encoder, topic and answer by
the bundled encoder as it was published. What the first is not sure of goes to a person.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.applications.abstaining import threshold_for
from attnlab.applications.domain_shift import shift_test
from attnlab.applications.text_features import embed, linear_head
from attnlab.classification import fresh_classifier, load_classifier
from attnlab.classification.classifier import Classifier
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError
from attnlab.statistics import paired_bootstrap, share_interval

__all__ = ["Triage", "answer_ranks", "answer_table", "queue_table", "word_overlap"]

_NEGATIVE = "negative"


class Triage:
    """Sorts messages, and says what it is not sure of.

    Attributes
    ----------
    mood : Classifier whose encoder sentiment is told from; ``meaning``, that of topics and answers
    sentiment, topics : heads over their features, see `linear_head`
    book : DataFrame with ``topic``, ``question``, ``answer``
    threshold : sentiments less sure than this go to a person
    """

    def __init__(
        self,
        mood: Classifier,
        meaning: Classifier,
        sentiment: Any,
        topics: Any,
        book: pd.DataFrame,
        threshold: float,
    ):
        self.mood, self.meaning = mood, meaning
        self.sentiment, self.topics = sentiment, topics
        self.book, self.threshold = book.reset_index(drop=True), threshold
        self._book_features = embed(meaning, self.book["question"].tolist())

    @classmethod
    def train(
        cls,
        sentiment: Splits,
        book: pd.DataFrame,
        examples: pd.DataFrame | None = None,
        *,
        coverage: float = 0.8,
        mood: Classifier | None = None,
        meaning: Classifier | None = None,
    ) -> "Triage":
        """Fit both heads; encoders stay as they are.

        Parameters
        ----------
        sentiment : texts labelled "negative" and "positive": train for the head, dev for the
            threshold
        book : answer book with ``topic``, ``question`` and ``answer``, as
            ``al.datasets.messages.answer_book()``
        examples : messages with ``text`` and ``topic``, beside the questions of the book
        coverage : share of dev that is sure enough
        mood, meaning : classifiers whose encoders read; default the bundled ones

        Raises
        ------
        DataError : other labels, or columns that are missing
        """
        _need(book, ("topic", "question", "answer"), "book")
        names = sentiment.train.label_names
        if _NEGATIVE not in names:
            raise DataError(f"The labels are {names}; one must be {_NEGATIVE!r}.")
        mood = load_classifier("movie-sentiment") if mood is None else mood
        meaning = fresh_classifier() if meaning is None else meaning
        words = [names[label] for label in sentiment.train.labels]
        head = linear_head(embed(mood, sentiment.train.texts), words)
        sure = head.predict_proba(embed(mood, sentiment.dev.texts)).max(1)
        texts, topics = book["question"].tolist(), book["topic"].tolist()
        if examples is not None:
            _need(examples, ("text", "topic"), "examples")
            texts, topics = texts + examples["text"].tolist(), topics + examples["topic"].tolist()
        about = linear_head(embed(meaning, texts), topics)
        return cls(mood, meaning, head, about, book, threshold_for(sure, coverage))

    def sort(self, messages: Sequence[str]) -> pd.DataFrame:
        """Read messages, and put those first that are surest to be complaints.

        Returns
        -------
        DataFrame in order of urgency, a row for each message: ``message``, its place in what was
        given; ``text``; ``sentiment``, "a person decides" where it is not sure; ``negative``, the
        probability of a complaint, by which the queue is ordered: sure complaints, then what is
        unsure, then sure praise; ``topic``; ``answer``, of the nearest question in the book;
        ``likeness``, the cosine to that
        """
        moods = self.sentiment.predict_proba(embed(self.mood, messages))
        meanings = embed(self.meaning, messages)
        likeness = meanings @ self._book_features.T
        nearest = likeness.argmax(1)
        names = np.array(self.sentiment.classes_)
        said = np.where(moods.max(1) >= self.threshold, names[moods.argmax(1)], "a person decides")
        table = pd.DataFrame(
            {
                "message": np.arange(len(messages)),
                "text": list(messages),
                "sentiment": said,
                "negative": moods[:, names.tolist().index(_NEGATIVE)],
                "topic": self.topics.predict(meanings),
                "answer": self.book["answer"].to_numpy()[nearest],
                "likeness": likeness.max(1),
            }
        )
        return table.sort_values("negative", ascending=False, kind="stable", ignore_index=True)

    def unlike(self, reference: Sequence[str], messages: Sequence[str]) -> float:
        """P-value that messages are of the kind of a reference, see `shift_test`."""
        return shift_test(embed(self.meaning, reference), embed(self.meaning, messages))


def _need(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing or table.empty:
        why = f"no column {missing[0]!r}" if missing else "no rows"
        raise DataError(f"{what} has {why}; it needs {', '.join(columns)}.")


# ── how it is measured ─────────────────────────────────────────────────────────────────────────


def word_overlap(questions: Sequence[str], messages: Sequence[str]) -> np.ndarray:
    """Likeness by the words that two texts share, tf-idf: (messages, questions). No attention."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True).fit([*questions, *messages])
    return (vectors.transform(messages) @ vectors.transform(questions).T).toarray()


def answer_ranks(likeness: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The place of the right answer of each message: 1 is best; equals share their places.

    Parameters
    ----------
    likeness : (messages, questions)
    entries : (messages,) which question is the right one
    """
    own = likeness[np.arange(len(entries)), entries][:, None]
    return 1 + (likeness > own).sum(1) + ((likeness == own).sum(1) - 1) / 2


def answer_table(
    likeness: dict[str, np.ndarray], entries: np.ndarray, groups: np.ndarray
) -> pd.DataFrame:
    """How often the right answer comes first, or among three, and beside the first way named.

    Parameters
    ----------
    likeness : of each way, (messages, questions)
    entries : (messages,) which question is the right one
    groups : (messages,) messages of one group, such as a template, are alike: each group counts
        once, and groups are drawn again for the intervals

    Returns
    -------
    DataFrame with ``way``, ``first``, ``low``, ``high``, ``among_three``, and ``more``,
    ``more_low``, ``more_high``: ``first`` beside that of the first way
    """
    rows, base = [], None
    for name, found in likeness.items():
        ranks = pd.Series(answer_ranks(found, np.asarray(entries)))
        first = ranks.le(1).astype(float).groupby(np.asarray(groups)).mean().to_numpy()
        three = ranks.le(3).astype(float).groupby(np.asarray(groups)).mean().mean()
        base = first if base is None else base
        low, high = paired_bootstrap(first)
        more_low, more_high = paired_bootstrap(first - base)
        more = (first - base).mean()
        rows.append((name, first.mean(), low, high, three, more, more_low, more_high))
    columns = ["way", "first", "low", "high", "among_three", "more", "more_low", "more_high"]
    return pd.DataFrame(rows, columns=columns)


def queue_table(
    urgency: dict[str, np.ndarray], urgent: np.ndarray, firsts: Sequence[int] = (25, 50, 100)
) -> pd.DataFrame:
    """Precision among the first of a queue: the share of them that are urgent.

    Parameters
    ----------
    urgency : of each way, (N,), high goes first; with equals the first that came
    urgent : bool (N,)
    firsts : how many are read

    Returns
    -------
    DataFrame with ``way``, "as they came" first; ``first``; ``precision``, with its 95 % interval
    ``low``, ``high`` (Wilson)
    """
    urgent, rows = np.asarray(urgent, dtype=bool), []
    for name, values in {"as they came": np.zeros(len(urgent)), **urgency}.items():
        order = np.argsort(-np.asarray(values, dtype=float), kind="stable")
        for count in firsts:
            hits, count = int(urgent[order[:count]].sum()), min(count, len(urgent))
            rows.append((name, count, hits / count, *share_interval(hits, count)))
    return pd.DataFrame(rows, columns=["way", "first", "precision", "low", "high"])


def __dir__() -> list[str]:
    return sorted(__all__)
