"""What a smaller model costs and saves: one table for any number of models, on the same texts."""

import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from attnlab.compression.hardware import hardware
from attnlab.compression.peak_memory import LOAD_CLASSIFIER, peak_memory
from attnlab.datasets.texts import TextDataset
from attnlab.device import pinned_threads
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError
from attnlab.evaluation.reports import calibration
from attnlab.inference import no_collection
from attnlab.statistics import paired_test, share_interval

__all__ = ["compare", "measured"]

_BATCH = 32
_FEWEST = 3  # rounds of timing, however long they take
_TURNS = {1: (2, 6), _BATCH: (1, 1)}  # batches of a model's turn: those that warm up, those timed
_WEIGHTS = (".safetensors", ".onnx", ".data", ".ort")
_LONGEST = 128  # texts that peak memory is measured on


def compare(
    models: Mapping[str, Any],
    data: TextDataset,
    *,
    seconds: float = 20.0,
    repeats: int = 100,
    threads: int | None = None,
    memory: bool = True,
) -> pd.DataFrame:
    """Measure models side by side on the same texts: accuracy, size, memory and time.

    Parameters
    ----------
    models : two or more, by name; the first is what the others are compared with. Anything with
        ``predict(texts)``, which returns Predictions, and ``label_names``.
    data : labelled texts, of the same labels; their order does not matter
    seconds : after so long no new round of timing begins, half of it for each size of batch; there
        are at least 3 rounds of each
    repeats : rounds of timing at most, for each size of batch
    threads : of torch, and of exported models with it. Default 1: where models of both take turns,
        threads of the one that wait keep the processor from those of the other
    memory : False leaves out the peak memory, which takes a new process for each model

    Returns
    -------
    DataFrame, a row per model, in the order given. NaN is what a model cannot say.

    - ``name``
    - ``accuracy``, ``ci_low``, ``ci_high``: 0 to 1, with the 95 % interval (Wilson 1927)
    - ``delta``, ``delta_low``, ``delta_high``: accuracy minus that of the first, with the 95 %
      interval of paired answers (Agresti and Min 2005)
    - ``parameters``, ``nonzero``: how many, and how many of them are not 0
    - ``megabytes``: 10^6 bytes, of the files with weights as `save` writes them; the tokenizer does
      not count
    - ``ms_batch_1``, ``ms_batch_1_p95``: milliseconds for one text, median and 95th percentile over
      different texts
    - ``ms_batch_32``, ``texts_per_second_32``: milliseconds for a batch of 32 texts (median), and
      what that makes
    - ``calibration_error``: expected calibration error, 0 to 1, as in `al.report`
    - ``peak_mb``: largest memory of a new process that loads the model and answers the longest 128
      texts, libraries included, in 10^6 bytes; those alone are ``attrs["libraries_mb"]``

    ``attrs`` hold ``texts``, ``rounds`` (of timing, by size of batch), ``threads``, ``cpu``,
    ``cpu_flags``, ``float32_kernel``, ``torch``, ``onnxruntime`` and ``not_measured``: by name of a
    model and column, why a number is missing.

    Raises
    ------
    AttnlabError : fewer than two models, or something that does not predict; a time, number of
        rounds or of threads that is none
    DataError : no texts, or labels that the models do not know
    ModelError : a model with other labels than the first

    Notes
    -----
    What is timed is what a user waits for: ``predict(texts)``, with tokenisation. All models run in
    turn, in each round the same texts: what else the machine does meets all alike. The models
    before it have taken the place of a model's weights in the processor's caches, where some of
    them may stay while one model answers text after text. So in its turn a model answers two other
    texts before its time counts, and then six, one by one; of batches of 32, one and then one.
    """
    _check_several(models)
    return measured(models, data, seconds=seconds, repeats=repeats, threads=threads, memory=memory)


def measured(
    models: Mapping[str, Any],
    data: TextDataset,
    *,
    seconds: float,
    repeats: int = 100,
    threads: int | None = None,
    memory: bool = True,
) -> pd.DataFrame:
    """Measure as `compare` does, one model or more."""
    _check(models, data, seconds, repeats, threads)
    count = 1 if threads is None else threads
    with pinned_threads(count):
        answers = pd.DataFrame(_answers(models, data))
        missing: dict[str, dict[str, str]] = {name: {} for name in models}
        longest = sorted(data.texts, key=len, reverse=True)[:_LONGEST] if memory else None
        sizes = [_size(model, longest, count, missing[name]) for name, model in models.items()]
        with no_collection(), warnings.catch_warnings():
            warnings.simplefilter("ignore", AttnlabWarning)  # of cut texts: said with the answers
            single = _timed(models, data.texts, 1, repeats, seconds / 2)
            batched = _timed(models, data.texts, _BATCH, repeats, seconds / 2)
    table = pd.concat([answers, pd.DataFrame(sizes)], axis=1).assign(
        ms_batch_1=np.median(single, axis=0),
        ms_batch_1_p95=np.quantile(single, 0.95, axis=0),
        ms_batch_32=np.median(batched, axis=0),
        texts_per_second_32=1000 * _BATCH / np.median(batched, axis=0),
    )
    libraries = float(table["libraries_mb"].min())
    table = table[list(_COLUMNS)]
    table.attrs = {
        "texts": len(data),
        "rounds": {
            batch: len(times) // _TURNS[batch][1]
            for batch, times in ((1, single), (_BATCH, batched))
        },
        "threads": count,
        "libraries_mb": libraries,
        "not_measured": {name: why for name, why in missing.items() if why},
        **hardware(),
    }
    return table


_COLUMNS = (
    "name",
    "accuracy",
    "ci_low",
    "ci_high",
    "delta",
    "parameters",
    "megabytes",
    "ms_batch_1",
    "ms_batch_32",
    "delta_low",
    "delta_high",
    "calibration_error",
    "nonzero",
    "peak_mb",
    "ms_batch_1_p95",
    "texts_per_second_32",
)


# ── what is given ──────────────────────────────────────────────────────────────────────────────


def _check_several(models: Mapping[str, Any]) -> None:
    """Refuse what cannot be compared."""
    if not isinstance(models, Mapping) or len(models) < 2:
        given = f"{len(models)}" if isinstance(models, Mapping) else f"a {type(models).__name__}"
        raise AttnlabError(
            f"Expected two or more models by name, got {given}. Put the one that the others are "
            'compared with first: {"untouched": clf, "pruned": smaller}.'
        )


def _check(
    models: Mapping[str, Any], data: TextDataset, seconds: float, repeats: int, threads: int | None
) -> None:
    """Refuse what cannot be measured."""
    for name, model in models.items():
        if not callable(getattr(model, "predict", None)) or not hasattr(model, "label_names"):
            raise AttnlabError(
                f"{name!r} is a {type(model).__name__}; expected a model with predict(texts) and "
                "label_names, such as a Classifier. al.load_classifier(...) loads one."
            )
    if not isinstance(data, TextDataset) or not len(data):
        given = "no texts" if isinstance(data, TextDataset) else f"a {type(data).__name__}"
        raise DataError(
            f"Expected labelled texts to compare on, got {given}. Give a TextDataset, such as "
            'al.datasets.load("movie-sentiment").dev.'
        )
    (first, reference), *others = models.items()
    for name, model in others:
        if sorted(model.label_names) != sorted(reference.label_names):
            raise ModelError(
                f"{name!r} has the labels {list(model.label_names)}, and {first!r} "
                f"{list(reference.label_names)}. Models are compared on the same question: give "
                "those with the same labels, in any order."
            )
    for what, value in (("seconds", seconds), ("repeats", repeats), ("threads", threads)):
        whole = what == "seconds" or isinstance(value, int)
        if value is not None and not (whole and math.isfinite(value) and value > 0):
            raise AttnlabError(f"{what} is {value!r}; expected a number above 0.")


# ── answers ────────────────────────────────────────────────────────────────────────────────────


def _answers(models: Mapping[str, Any], data: TextDataset) -> Iterator[dict[str, Any]]:
    """Accuracy, paired difference from the first, and calibration of each model."""
    reference: np.ndarray | None = None
    for name, model in models.items():
        labels = np.array(data.labels_in(list(model.label_names)))
        predictions = model.predict(data.texts)
        probabilities = np.asarray(predictions.probabilities, dtype=float)
        expected = (len(data), len(model.label_names))
        if len(predictions.labels) != len(data) or probabilities.shape != expected:
            raise ModelError(
                f"{name!r} gave {len(predictions.labels)} labels and probabilities of shape "
                f"{probabilities.shape} for {len(data)} texts; expected {expected}."
            )
        names = np.array(model.label_names)
        right = np.array(predictions.labels) == names[labels]
        reference = right if reference is None else reference
        paired = paired_test(reference, right)
        low, high = share_interval(int(right.sum()), len(right))
        same = right is reference
        yield {
            "name": name,
            "accuracy": float(right.mean()),
            "ci_low": low,
            "ci_high": high,
            "delta": paired.delta,
            "delta_low": 0.0 if same else paired.low,  # the same answers are no sample
            "delta_high": 0.0 if same else paired.high,
            "calibration_error": calibration(probabilities, labels)[1],
        }


# ── size ───────────────────────────────────────────────────────────────────────────────────────


def _size(
    model: Any, texts: list[str] | None, threads: int, missing: dict[str, str]
) -> dict[str, float]:
    """Parameters, those that are not 0, megabytes on disk, and with texts the peak memory."""
    columns = ("parameters", "nonzero", "megabytes", "peak_mb", "libraries_mb")
    found = dict.fromkeys(columns, math.nan)
    module = model
    with contextlib.suppress(ModelError):  # an exported model says that it has no weights here
        module = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    if isinstance(module, nn.Module):
        weights = list(module.parameters())  # each once, however many layers share it
        found["parameters"] = sum(weight.numel() for weight in weights)
        found["nonzero"] = sum(int(weight.detach().count_nonzero()) for weight in weights)
    for column in ("parameters", "nonzero"):
        count = getattr(model, column, None)
        if callable(count) and not isinstance(model, nn.Module):
            found[column] = count()
        elif math.isnan(found[column]):
            missing[column] = f"{type(model).__name__} does not say"
    with _saved(model) as folder:
        if folder is None:
            why = f"{type(model).__name__} is in no folder, and has no save"
            missing.update(megabytes=why, peak_mb=why)
            return found
        files = [file for file in folder.rglob("*") if file.suffix in _WEIGHTS]
        if files:
            found["megabytes"] = sum(file.stat().st_size for file in files) / 1e6
        else:
            missing["megabytes"] = f"no file of weights ({', '.join(_WEIGHTS)}) in its folder"
        if texts is None:
            missing["peak_mb"] = "memory=False"
            return found
        try:
            loader = _loader(model)
            found["peak_mb"], found["libraries_mb"] = peak_memory(folder, texts, threads, loader)
        except AttnlabError as error:
            missing["peak_mb"] = str(error)
    return found


@contextlib.contextmanager
def _saved(model: Any) -> Iterator[Path | None]:
    """A folder that the model is in: its own, or one that it is saved to; None if neither is."""
    own = getattr(model, "folder", None)
    if own is not None and Path(own).is_dir():
        yield Path(own)
    elif callable(getattr(model, "save", None)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "model"
            model.save(folder)
            yield folder
    else:
        yield None


def _loader(model: Any) -> str:
    """What reads the folder of a model: its class's own ``load`` if it has one."""
    kind = type(model)
    if callable(getattr(kind, "load", None)):
        return f"{kind.__module__}:{kind.__qualname__}.load"
    return LOAD_CLASSIFIER


# ── time ───────────────────────────────────────────────────────────────────────────────────────


def _timed(
    models: Mapping[str, Any], texts: list[str], batch: int, rounds: int, seconds: float
) -> np.ndarray:
    """Milliseconds of ``predict``, (batches, models): all models in turn, warm, on the same."""
    order = np.random.default_rng(0).permutation(len(texts))
    names, (warm, timed) = list(models), _TURNS[batch]
    times: list[tuple[float, ...]] = []
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= _FEWEST and time.perf_counter() > end:
            break
        starts = batch * (number * timed + np.arange(-warm, timed))
        groups = [
            [texts[index] for index in np.take(order, start + np.arange(batch), mode="wrap")]
            for start in starts
        ]
        found: dict[str, list[float]] = {}
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:  # nobody is always the first
            for group in groups[:warm]:
                models[name].predict(group)  # brings its weights back into the caches
            found[name] = [_milliseconds(models[name], group) for group in groups[warm:]]
        times += zip(*(found[name] for name in names), strict=True)
    return np.array(times)


def _milliseconds(model: Any, texts: list[str]) -> float:
    start = time.perf_counter()
    model.predict(texts)
    return 1000 * (time.perf_counter() - start)


def __dir__() -> list[str]:
    return sorted(__all__)
