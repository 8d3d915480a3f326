"""When a text has been through enough layers."""

from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab.errors import SettingsError
from attnlab.statistics import paired_test

__all__ = [
    "ExitRule",
    "Rule",
    "check_most_lost",
    "check_threshold",
    "exit_layers",
    "never",
    "tried",
]

ExitRule = Literal["entropy", "patience"]


def exit_layers(answers: Tensor, by: ExitRule, threshold: float) -> np.ndarray:
    """Return after which layer each text would leave, int array (N,), from all layers' answers.

    Parameters
    ----------
    answers : logits (L, N, C) of `EarlyExit.every_layer`
    by, threshold : as for `early_exit`
    """
    layers, texts = answers.shape[:2]
    rule, exits, everyone = Rule(by, threshold, texts), np.full(texts, layers - 1), np.arange(texts)
    for layer, given in enumerate(answers[:-1]):
        leaving = rule.leaving(given, everyone)
        exits[leaving & (exits == layers - 1)] = layer
    return exits


class Rule:
    """Who leaves: asked after one layer after the other, about the texts that are left."""

    def __init__(self, by: ExitRule, threshold: float, texts: int):
        self.by, self.threshold = by, threshold
        self.before = np.full(texts, -1)  # the label that the layer before said
        self.agreed = np.zeros(texts, int)  # how many layers in a row said the same as before

    def leaving(self, answers: Tensor, texts: np.ndarray) -> np.ndarray:
        """Which of some texts leave, bool (B,), after a layer that answers them: logits (B, C)."""
        if self.by == "entropy":
            log = answers.log_softmax(-1)
            return (-(log.exp() * log).sum(-1) < self.threshold).numpy()
        labels = answers.argmax(-1).numpy()
        self.agreed[texts] = np.where(labels == self.before[texts], self.agreed[texts] + 1, 0)
        self.before[texts] = labels
        return self.agreed[texts] >= self.threshold


def never(by: ExitRule, layers: int) -> float:
    """Return the threshold at which no text leaves early a model of so many layers."""
    return 0.0 if by == "entropy" else float(layers)


def tried(answers: Tensor, labels: np.ndarray, by: ExitRule) -> pd.DataFrame:
    """Return what thresholds make of all layers' answers (L, N, C): accuracy, change, layers.

    ``labels`` are the right ones, (N,); the columns are those of `EarlyExit.choose`.
    """
    all_layers = answers[-1].argmax(-1).numpy() == labels
    rows = []
    for threshold in _thresholds(by, *answers.shape[::2]):
        exits = exit_layers(answers, by, threshold)
        given = answers[torch.from_numpy(exits), torch.arange(len(labels))].argmax(-1).numpy()
        test = paired_test(all_layers, given == labels)
        rows.append(
            {
                "threshold": threshold,
                "accuracy": float((given == labels).mean()),
                "delta": test.delta,
                "low": test.low,
                "high": test.high,
                "layers": float(exits.mean()) + 1,
            }
        )
    return pd.DataFrame(rows)


def _thresholds(by: ExitRule, layers: int, classes: int) -> list[float]:
    """The thresholds that are tried, `never` among them."""
    if by == "patience":
        return [float(row) for row in range(1, layers - 1)] + [never(by, layers)]
    return [round(float(share * np.log(classes)), 4) for share in np.arange(0, 1, 0.05)]


def check_threshold(by: str, value: float) -> None:
    """Raise SettingsError for a threshold without sense."""
    least = 0 if by == "entropy" else 1
    if not least <= value < float("inf"):
        what = "nats, 0 for never" if by == "entropy" else "layers in a row, from 1"
        raise SettingsError(f"threshold is {value}; by {by} it is a number of {what}.")


def check_most_lost(value: float) -> None:
    """Raise SettingsError for points of accuracy that are none."""
    if not 0 <= value <= 100:
        raise SettingsError(f"most_lost is {value}; it is points of accuracy, 0 to 100.")


def __dir__() -> list[str]:
    return sorted(__all__)
