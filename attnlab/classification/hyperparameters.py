"""A search for a good recipe within so many minutes, by Optuna over `finetune`; it can be resumed.

Choosing happens on dev. The test part is not touched, so that it can still tell how good the choice
is.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from attnlab.classification.finetuning import finetune
from attnlab.classification.fingerprints import base_fingerprint
from attnlab.classification.fitting import usable
from attnlab.classification.loading import load_base
from attnlab.classification.methods import LEARNING_RATES
from attnlab.classification.naming import BUNDLED
from attnlab.classification.studies import opened
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, needs, suggest
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint
from attnlab.training.loop import Interrupted

RANKS = (4, 8, 16, 32)
BATCH_SIZES = (16, 32, 64)


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found.

    Attributes
    ----------
    best : keywords for `finetune`: method, learning_rate, batch_size and, for adapters, rank
    dev_accuracy : what they reached. The best of many looks better than it is; measure it on test.
    trials : DataFrame with a row per trial: number, state, dev_accuracy, seconds and what was tried
    """

    best: dict[str, Any]
    dev_accuracy: float
    trials: pd.DataFrame

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.best.items())
        return (
            f"Search({len(self.trials)} trials, best dev accuracy {self.dev_accuracy:.1%}: {told})"
        )


def search(
    splits: Splits,
    base: str | os.PathLike[str] = BUNDLED,
    *,
    minutes: float = 10.0,
    methods: Sequence[str] = ("lora", "frozen-embeddings"),
    texts: int | None = 2000,
    epochs: int = 2,
    most_trials: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Search:
    """Try recipes for so many minutes, each where the ones before promise most.

    The next recipe is chosen by a tree-structured Parzen estimator (TPE: Bergstra et al. 2011).

    Parameters
    ----------
    splits : as for `finetune`; trials learn from train and are compared on dev
    base : as for `finetune`
    minutes : no trial begins after this time; the one under way is finished
    methods : which methods may be tried
    texts : how many training texts a trial learns from, drawn at random; None for all. Fewer are
        faster, and prefer methods that learn fast.
    epochs : of each trial
    most_trials : stop after so many, however fast
    folder : where the trials are written down; called again with the same folder, the search goes
        on with them
    seed : of the texts drawn, of what is tried and of every trial
    callbacks : of `training.Callback`, told how each trial goes on

    Raises
    ------
    DataError : as `finetune`
    AttnlabError : unknown methods, no time, or a search in which every trial failed
    """
    with needs("lab"):
        import optuna
        from optuna.trial import TrialState

    for name in methods:
        if name not in LEARNING_RATES:
            raise AttnlabError(f"There is no method {name!r}. {suggest(name, LEARNING_RATES)}")
    if not methods or not minutes > 0:
        raise AttnlabError(f"minutes is {minutes}, methods {list(methods)}: both are needed.")
    usable(splits, "search")  # said once, and not by every trial
    known_by = _fingerprints(base, splits)
    few = splits if texts is None else replace(splits, train=splits.train.sample(texts, seed))

    def trial_accuracy(trial: optuna.Trial) -> float:
        chosen = _suggested(trial, methods)
        trial.set_user_attr("chosen", chosen)
        began = time.perf_counter()
        try:
            clf = finetune(base, few, epochs=epochs, seed=seed, callbacks=callbacks, **chosen)
        except Interrupted:  # Ctrl-C ends the search; what was found is not lost
            trial.study.stop()
            raise optuna.TrialPruned from None
        trial.set_user_attr("seconds", time.perf_counter() - began)
        assert clf.history is not None
        return clf.history.best["dev_accuracy"]

    about = known_by | {"texts": texts, "epochs": epochs, "methods": list(methods)}
    file = None if folder is None else Path(folder) / "search.log"
    with opened(file, about, ["maximize"]) as study:
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        # Ctrl+C outside of training: what was found is not lost
        with contextlib.suppress(KeyboardInterrupt):
            study.optimize(
                trial_accuracy, timeout=60 * minutes, n_trials=most_trials, catch=(AttnlabError,)
            )
    done = study.get_trials(states=(TrialState.COMPLETE,))
    if not done:
        raise AttnlabError(
            "No trial came to an end. Give the search more minutes, fewer texts, or other methods."
        )
    rows = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "dev_accuracy": trial.value,
            "seconds": trial.user_attrs.get("seconds"),
            **trial.user_attrs.get("chosen", {}),
        }
        for trial in study.trials
    ]
    return Search(study.best_trial.user_attrs["chosen"], study.best_value, pd.DataFrame(rows))


def _suggested(trial: Any, methods: Sequence[str]) -> dict[str, Any]:
    """What a trial tries: a learning rate within a factor of ten of the method's usual one."""
    method = trial.suggest_categorical("method", list(methods))
    factor = trial.suggest_float("times the usual learning rate", 0.1, 10, log=True)
    chosen = {
        "method": method,
        "learning_rate": float(f"{LEARNING_RATES[method] * factor:.2g}"),
        "batch_size": trial.suggest_categorical("batch_size", list(BATCH_SIZES)),
    }
    if method in ("lora", "adalora"):
        chosen["rank"] = trial.suggest_categorical("rank", list(RANKS))
    return chosen


def _fingerprints(base: str | os.PathLike[str], splits: Splits) -> dict[str, Any]:
    """What is searched for: names, and what was behind them."""
    model, tokenizer, _ = load_base(base, len(splits.train.label_names))
    parts = base_fingerprint(model, tokenizer)
    return {
        "base": str(base),
        "base_encoder": parts["encoder"],
        "base_tokenizer": parts["tokenizer"],
        "data": splits.train.name,
        "training_texts": fingerprint(vars(splits.train)),
        "dev_texts": fingerprint(vars(splits.dev)),
    }
