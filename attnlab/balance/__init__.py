"""Attention as something that can be in or out of balance: measure it, find what is out of line, adjust."""

from attnlab.balance.anomalies import Clusters, bands, clusters, episodes, outliers
from attnlab.balance.knobs import Adjustment, Objective, adjust
from attnlab.balance.meter import measure, relative_difference
from attnlab.balance.reading import MEASURES, Balance
from attnlab.balance.recorder import Recorder
from attnlab.balance.retraining import retrain
from attnlab.balance.similarities import Similarity, similarity
from attnlab.balance.tuner import Round, Tuned, Tuner

__all__ = [
    "MEASURES",
    "Adjustment",
    "Balance",
    "Clusters",
    "Objective",
    "Recorder",
    "Round",
    "Similarity",
    "Tuned",
    "Tuner",
    "adjust",
    "bands",
    "clusters",
    "episodes",
    "measure",
    "outliers",
    "relative_difference",
    "retrain",
    "similarity",
]
