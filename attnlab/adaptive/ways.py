"""Ways in which one classifier may answer, by name: whole, leaving early, with fewer tokens."""

from collections.abc import Sequence
from typing import Any

from attnlab.adaptive.scoring import token_scorer
from attnlab.adaptive.tokens import drop_tokens
from attnlab.classification.classifier import Classifier
from attnlab.compression import EarlyExit, early_exit
from attnlab.datasets.splits import Splits
from attnlab.errors import SettingsError

__all__ = ["USUAL", "check_ways", "ways"]

USUAL = ("full", "exit-0.3", "exit-0.5", "exit-0.6")


def ways(
    clf: Classifier,
    names: Sequence[str],
    splits: Splits,
    most_texts: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what answers in each of these ways.

    Parameters
    ----------
    clf : its weights are shared
    names : "full"; "exit-0.3", where a text leaves at an entropy below .3 nats (see `early_exit`);
        "tokens-0.5", where half of the tokens go on after a third of the layers (see `drop_tokens`)
    splits : train is what exits and the scorer of tokens are fitted to
    most_texts : of train, drawn at random
    seed : of the draw of those texts

    Returns
    -------
    dict, name to something with ``predict(texts)``, in the order of names

    Raises
    ------
    SettingsError : another name, or one twice
    """
    found: dict[str, Any] = {}
    exits, scorer, layer = None, None, max(0, clf.layers // 3 - 1)
    for name, (kind, number) in check_ways(names).items():
        if kind == "full":
            found[name] = clf
        elif kind == "exit":
            if exits is None:
                exits = early_exit(clf, splits, threshold=number, most_texts=most_texts, seed=seed)
            shared = (exits.weights, exits.biases, exits.by, exits.pooling)
            found[name] = EarlyExit(clf, *shared, number)
        else:
            if scorer is None:
                texts = splits.train.sample(min(most_texts, len(splits.train)), seed).texts
                scorer = token_scorer(clf, texts, [layer], seed=seed)
            found[name] = drop_tokens(clf, {layer: number}, scorer)
    return found


def check_ways(names: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Return kind and number of each way; SettingsError as `ways`."""
    parsed = {name: _parsed(name) for name in names}
    if len(parsed) < len(names) or not parsed:
        raise SettingsError(f"The ways are {', '.join(names)}; expected one or more, each once.")
    return parsed


def _parsed(name: str) -> tuple[str, float]:
    kind, _, number = name.partition("-")
    try:
        value = float(number or "nan")
    except ValueError:
        value = float("nan")
    known = {"full": not number, "exit": value > 0, "tokens": 0 < value <= 1}
    if not known.get(kind, False):
        raise SettingsError(
            f"There is no way {name!r} to answer. There are full, exit-0.3 (or another entropy in "
            "nats) and tokens-0.5 (or another share)."
        )
    return kind, value


def __dir__() -> list[str]:
    return sorted(__all__)
