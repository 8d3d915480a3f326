"""The report on a finished classifier: by class, calibrated, and between floors and a ceiling."""

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from attnlab.classification.base import BaseClassifier
from attnlab.datasets.labelled import Labelled
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError
from attnlab.evaluation.evaluator import Evaluator, Score
from attnlab.statistics import p_text, paired_test

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

BINS = 10  # of the calibration curve


@dataclass(frozen=True, eq=False)
class Report:
    """What there is to say about a classifier on a test set.

    Attributes
    ----------
    score : Score
    classes : DataFrame with a row per label: precision, recall, f1, texts. A class that is never
        predicted has precision NaN, one that never occurs recall NaN.
    confusion : DataFrame, true labels down, predicted ones across, counts
    calibration : DataFrame with a row per bin of confidence that holds texts: confidence, accuracy,
        texts
    calibration_error : mean distance of confidence from accuracy over the bins, weighted by texts,
        0 to 1 (expected calibration error: Naeini et al. 2015; Guo et al. 2017)
    comparison : DataFrame: the classifier beside what needs no neural network, on the same texts:
        name, accuracy, stderr; and for each of the others delta (classifier minus other), ci_low,
        ci_high (95 %, paired) and p_value (exact McNemar)
    ceiling : share of single raters who agree with the label, where the data say how raters
        differed; else NaN. From mean and standard deviation of the ratings, taken to be normal.
    """

    score: Score
    classes: pd.DataFrame
    confusion: pd.DataFrame
    calibration: pd.DataFrame
    calibration_error: float
    comparison: pd.DataFrame
    ceiling: float

    def __repr__(self) -> str:
        best = self.comparison.iloc[1:].nlargest(1, "accuracy").iloc[0]
        return (
            f"Report({self.score}; {100 * best.delta:+.1f} points on {best['name']}, "
            f"{p_text(best.p_value)}; calibration error {self.calibration_error:.1%})"
        )


def report(clf: BaseClassifier, test: Labelled, train: Labelled | None = None) -> Report:
    """Measure a classifier on a test set, class by class, and beside simpler ones.

    Parameters
    ----------
    clf : Classifier, or ImageClassifier
    test : TextDataset or ImageDataset that it never saw
    train : what it learned from. With it the simpler ones are trained: the majority label; for
        texts tf-idf of words and pairs of words with a logistic regression; for images a logistic
        regression of pixels, and the label of the nearest image. Without it the majority is that of
        ``test``.

    Raises
    ------
    DataError : no texts, images or labels, or labels that the classifier does not know
    """
    evaluator = Evaluator(clf, test)
    logits = clf.logits(evaluator.encoded).float()
    probabilities = torch.softmax(logits, -1).numpy()
    predictions, labels = probabilities.argmax(-1), evaluator.labels
    score = evaluator.score()
    curve, error = calibration(probabilities, labels)
    return Report(
        score=score,
        classes=by_class(predictions, labels, clf.label_names),
        confusion=confusion(predictions, labels, clf.label_names),
        calibration=curve,
        calibration_error=error,
        comparison=_comparison(clf, test, train, predictions == labels),
        ceiling=rater_agreement(test),
    )


def by_class(predictions: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of texts of every class."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        labels, predictions, labels=range(len(names)), zero_division=math.nan
    )
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "texts"), columns, strict=True)))
    table.insert(0, "label", names)
    return table


def confusion(predictions: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """How often each label (down) was taken for each other (across)."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(labels, predictions, labels=range(len(names)))
    return pd.DataFrame(
        counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted")
    )


def calibration(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> tuple[pd.DataFrame, float]:
    """The calibration curve, and the expected calibration error.

    Parameters
    ----------
    probabilities : array (N, C)
    labels : int array (N,)
    bins : of equal width, over the confidence in the answer given
    """
    confidence, correct = probabilities.max(-1), probabilities.argmax(-1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    table = (
        pd.DataFrame({"place": place, "confidence": confidence, "accuracy": correct})
        .groupby("place")
        .agg(
            confidence=("confidence", "mean"),
            accuracy=("accuracy", "mean"),
            texts=("accuracy", "size"),
        )
        .reset_index(drop=True)
    )
    gaps = (table["confidence"] - table["accuracy"]).abs() * table["texts"]
    return table, float(gaps.sum() / len(labels))


def rater_agreement(data: Labelled) -> float:
    """Share of single raters who agree with the label, from the mean and spread of the ratings.

    NaN without ratings.
    """
    ratings = getattr(data, "ratings", None)
    if ratings is None or not {"mean", "std"} <= set(ratings.columns):
        return math.nan
    distance = ratings["mean"].abs() / ratings["std"].clip(lower=1e-9)
    return float(stats.norm.cdf(distance).mean())


def bag_of_words(train: TextDataset) -> "Pipeline":
    """Tf-idf of words and pairs of words with a logistic regression: what networks have to beat."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if len(set(train.labels)) < 2:
        raise DataError(
            f"{train.name} has texts of one label only, so there is nothing to tell apart. "
            "Add texts of others."
        )
    # what occurs in one text only teaches little and costs much
    rarest = 2 if len(train) >= 500 else 1
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=rarest),
        LogisticRegression(C=10, max_iter=1000),
    )
    with warnings.catch_warnings():
        # of few texts every other may have a label of its own; they are labels all the same
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return model.fit(train.texts, train.labels)


def _comparison(
    clf: BaseClassifier, test: Labelled, train: Labelled | None, correct: np.ndarray
) -> pd.DataFrame:
    names = clf.label_names
    labels = np.array(test.labels_in(names))
    known = (train or test).labels_in(names)
    others = {"majority": labels == np.bincount(known).argmax()}
    if train is not None:
        given = _features(clf, clf.inputs_of(test))
        for name, model in _simpler(clf, train, known).items():
            others[name] = model.predict(given) == labels
    rows = [_entry("this classifier", correct)]
    for name, right in others.items():
        paired = paired_test(right, correct)
        rows.append(
            {
                **_entry(name, right),
                "delta": paired.delta,
                "ci_low": paired.low,
                "ci_high": paired.high,
                "p_value": paired.p_value,
            }
        )
    return pd.DataFrame(rows)


def _simpler(clf: BaseClassifier, train: Labelled, labels: list[int]) -> dict[str, Any]:
    """What a classifier is set beside, trained on the same data, by name."""
    given = clf.inputs_of(train)
    if isinstance(train, TextDataset):
        renamed = replace(train, labels=labels, label_names=clf.label_names)
        return {"tf-idf + logistic regression": bag_of_words(renamed)}
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    models = {
        "logistic regression of pixels": LogisticRegression(max_iter=1000),
        "nearest image": KNeighborsClassifier(1),
    }
    features = _features(clf, given)
    return {name: model.fit(features, labels) for name, model in models.items()}


def _features(clf: BaseClassifier, given: Any) -> Any:
    """What simpler classifiers are given: texts as they are, of images all pixels from 0 to 1.

    Images have as many channels as the classifier reads, so grey and colour ones fit together.
    """
    if not isinstance(given, np.ndarray):
        return given
    (pixels,) = clf.encode(given).arrays()
    return pixels.reshape(len(given), -1) / 255


def _entry(name: str, right: np.ndarray) -> dict[str, float | str]:
    accuracy = float(right.mean())
    stderr = math.sqrt(accuracy * (1 - accuracy) / len(right))
    return {"name": name, "accuracy": accuracy, "stderr": stderr}
