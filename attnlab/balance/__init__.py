"""Attention balance: measure how evenly heads attend, find what is out of line, and adjust it.

`measure` reads a model, a `Recorder` and a `ScoreRecorder` a training; `outliers`, `clusters` and
`episodes` find what is unusual, `faults` what is broken; `adjust` and `retrain` change it, and a
`Tuner` keeps only what helps on other texts.
"""

from attnlab.balance.anomalies import Clusters, clusters, outliers
from attnlab.balance.control_chart import bands, episodes
from attnlab.balance.faults import faults
from attnlab.balance.knobs import Adjustment, adjust
from attnlab.balance.meter import measure, relative_difference
from attnlab.balance.reading import MEASURES, Balance
from attnlab.balance.recorder import Recorder
from attnlab.balance.retraining import retrain
from attnlab.balance.scores import ScoreRecorder
from attnlab.balance.similarities import Similarity, similarity
from attnlab.balance.task import Objective
from attnlab.balance.tuned import Round, Tuned
from attnlab.balance.tuner import Tuner

__all__ = [
    "MEASURES",
    "Adjustment",
    "Balance",
    "Clusters",
    "Objective",
    "Recorder",
    "Round",
    "ScoreRecorder",
    "Similarity",
    "Tuned",
    "Tuner",
    "adjust",
    "bands",
    "clusters",
    "episodes",
    "faults",
    "measure",
    "outliers",
    "relative_difference",
    "retrain",
    "similarity",
]


def __dir__() -> list[str]:
    return sorted(__all__)
