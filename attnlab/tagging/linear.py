"""A tagger without a neural network, to be beaten: how words and their neighbours are written."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attnlab.datasets.tagged import TaggedDataset, kinds_of
from attnlab.tagging.alignment import best_tags
from attnlab.tagging.scores import refuse_untagged

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def baseline(train: TaggedDataset) -> "LinearTagger":
    """Train the tagger to beat, in seconds: a logistic regression on how words are written.

    Raises
    ------
    DataError : nothing is tagged in the sentences
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    refuse_untagged(train)
    features = [row for words in train.words for row in _features(words)]
    tags = [tag for own in train.tags for tag in own]
    pipeline = make_pipeline(DictVectorizer(), LogisticRegression(C=10, max_iter=1000))
    return LinearTagger(pipeline.fit(features, tags), train.tag_names)


class LinearTagger:
    """Tags a word by how it and its neighbours are written, with a linear model.

    Attributes
    ----------
    pipeline : scikit-learn Pipeline from the features of a word to its tag: of the word and of two
        on either side the small letters with "#" for digits, and the form ("Xx" for a name,
        "0.0m"), and of the word itself the first and the last three letters. These are usual
        features of taggers before neural ones.
    tag_names : list of str
    """

    def __init__(self, pipeline: "Pipeline", tag_names: list[str]):
        self.pipeline, self.tag_names = pipeline, tag_names

    def predict(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        """Give each word of each sentence a tag; valid IOB2."""
        counts = np.cumsum([len(sentence) for sentence in words])
        features = [row for sentence in words for row in _features(sentence)]
        if not features:
            return []
        scores = np.full((len(features), len(self.tag_names)), -np.inf)
        scores[:, self.pipeline.classes_] = self.pipeline.predict_log_proba(features)
        return [
            [self.tag_names[tag] for tag in best_tags(sentence, self.tag_names)]
            for sentence in np.split(scores, counts[:-1])
        ]

    def __repr__(self) -> str:
        return f"LinearTagger(finds {', '.join(kinds_of(self.tag_names))})"


def _features(sentence: Sequence[str]) -> list[dict[str, str]]:
    """What the linear model sees of each word."""
    shapes = [re.sub(r"\d+", "#", word.casefold()) for word in sentence]
    letters = (
        re.sub(r"[^\W\d_]", lambda letter: "X" if letter[0].isupper() else "x", word)
        for word in sentence
    )
    forms = [re.sub(r"(.)\1+", r"\1", re.sub(r"\d", "0", word)) for word in letters]
    rows = []
    for index, shape in enumerate(shapes):
        row = {"first": shape[:3], "last": shape[-3:]}
        for step in range(-2, 3):
            inside = 0 <= index + step < len(shapes)
            row[f"shape {step}"] = shapes[index + step] if inside else "none"
            row[f"form {step}"] = forms[index + step] if inside else "none"
        rows.append(row)
    return rows
