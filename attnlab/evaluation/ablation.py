"""Change one head, one layer, or all of a layer but one head at a time, and measure."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.base import BaseClassifier, ModelInputs, Stopped
from attnlab.classification.fingerprints import classifier_hash
from attnlab.errors import (
    AttnlabError,
    AttnlabWarning,
    ModelError,
    SettingsError,
    option,
    suggest,
    worded,
)
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.forward import Ablation, AblationMethod, AblationTarget, Engine
from attnlab.evaluation.resuming import PartialLogits, rank_and_processes, summed_over_processes
from attnlab.evaluation.scores import Score, per_text
from attnlab.heads.settings import HeadSettings
from attnlab.inference import kept_memory
from attnlab.statistics import benjamini_hochberg, paired_bootstrap, paired_test

Row = tuple[int, int | None]  # layer and head; no head where a whole layer is meant
Progress = Callable[[int, int], None]
METHODS: tuple[AblationMethod, ...] = get_args(AblationMethod)
TARGETS: tuple[AblationTarget, ...] = get_args(AblationTarget)
_WITH_VALUE = ("scale", "temperature")
_SAVED_EVERY = 20.0  # seconds


def ablate(
    evaluator: Evaluator,
    target: AblationTarget = "head",
    method: AblationMethod = "zero",
    value: float | Sequence[float] | None = None,
    *,
    progress: Progress | bool = False,
    stop: Callable[[], bool] | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Change heads in turn and measure; every other head stays neutral.

    Parameters
    ----------
    evaluator : Evaluator; its number format is used, see its ``fast``
    target : what is changed together: each "head" alone, all heads of a "layer", or "all_but_one"
        of a layer (Michel et al. 2019, "Are sixteen heads really better than one?", section 3.3),
        a row for each head that stays
    method : "zero" silences. "mean" replaces a head's output by its mean over these texts ([CLS]
        and other tokens apart): what then is missing is only what the head says about *this* text.
        "uniform" makes a head look at all tokens alike. "scale" multiplies its output by ``value``,
        "temperature" divides its scores by ``value``.
    value : for "scale" and "temperature"; with several values each is measured, and the table has
        a column for them
    progress : True for a bar; or called as progress(batches done, batches in all)
    stop : asked between batches; when it says True `classification.base.Stopped` is raised
    resume : a file, such as "ablation.safetensors", in which finished batches are kept: the same
        ablation goes on there after it was stopped

    Returns
    -------
    DataFrame, a row per head or layer: layer, head, accuracy, delta, ci_low, ci_high, p_value
    (exact McNemar), q_value (the same, adjusted for the number of rows by Benjamini and Hochberg),
    loss, loss_delta, loss_low, loss_high, margin_delta, margin_low, margin_high (both intervals by
    paired bootstrap). Changes are against neutral settings, in shares of 1, nats and logits. Heads
    removed for good are left out. ``.attrs`` says n, accuracy, stderr and loss of the untouched
    model, target, method, number_format and, of a fast evaluator, its agreement with float32.

    Raises
    ------
    AttnlabError : an unknown target or method; a value that the method has no use for
    SettingsError : no value where the method needs one, or one out of range
    ModelError : "mean" or "uniform" with a model whose forward pass we do not know; no heads left

    Notes
    -----
    Of several processes (``accelerate launch``, ``torchrun``) each takes a part, and all get the
    whole table.
    """
    values = _checked_values(target, method, value)
    engine = evaluator.current_engine()
    if engine is None:
        if method in ("mean", "uniform"):
            raise ModelError(
                f"{option('method', method)} needs a model whose forward pass we know; "
                f"{option('method', 'zero')} works. {evaluator.why_no_engine}"
            )
        if evaluator.clf.reads == "texts":  # of images there is no faster one to wish for
            warnings.warn(
                "This ablation takes the model's plain forward pass, which is slower: "
                f"{evaluator.why_no_engine}",
                AttnlabWarning,
                stacklevel=2,
            )
    means = mean_head_outputs(engine, evaluator.encoded) if engine and method == "mean" else ()
    ablations = [Ablation(method, number, means) for number in values]
    run = AblationRun(evaluator.clf, evaluator.encoded, engine, evaluator.fast, target, ablations)
    with kept_memory():
        logits = run.logits(progress_callback(progress), stop, resume)
    table = compared(logits, evaluator.labels, run.rows * len(ablations))
    if len(set(values)) > 1:
        column = np.repeat(values, len(run.rows))
        table.insert(int(table.columns.get_indexer(["accuracy"])[0]), method, column)
    neutral = Score.of(logits[-1], evaluator.labels)
    table.attrs = {
        "n": neutral.n,
        "accuracy": neutral.accuracy,
        "stderr": neutral.stderr,
        "loss": neutral.loss,
        "target": target,
        "method": method,
        "number_format": str(evaluator.dtype).removeprefix("torch."),
    }
    if evaluator.fast:
        table.attrs["agreement"] = evaluator.agreement()
    return table


def _checked_values(
    target: AblationTarget, method: AblationMethod, value: float | Sequence[float] | None
) -> list[float]:
    """The values that are measured, one for a method that takes none; an error with its cure."""
    if target not in TARGETS:
        raise AttnlabError(f"There is no target {target!r}. {suggest(target, TARGETS)}")
    if method not in METHODS:
        raise AttnlabError(f"There is no method {method!r}. {suggest(method, METHODS)}")
    if method not in _WITH_VALUE:
        if value is not None:
            raise AttnlabError(
                f"{option('method', method)} has no use for {option('value', value)}. Leave it "
                f"out, or choose {option('method', 'scale')} or 'temperature'."
            )
        return [0.0]
    if value is None or not np.size(value):
        raise SettingsError(
            f"{option('method', method)} needs a value to set the {method} to"
            + worded(
                f", or several: such as ablate(ev, method={method!r}, value=0.5).",
                ", such as --value 0.5.",
            )
        )
    values = [float(number) for number in np.atleast_1d(value)]
    for number in values:
        settings = HeadSettings(1, 1)
        getattr(settings, method)[:] = number
        settings.validate(1, 1)
    return values


@dataclass(frozen=True)
class AblationRun:
    """What is to be measured: each row of every ablation, on all texts.

    Attributes
    ----------
    clf, encoded : the model and the texts, or images
    engine : of the model; None for its plain forward pass
    fast : number format of the plain forward pass
    target : what is changed together
    ablations : what happens to the heads that are changed
    """

    clf: BaseClassifier
    encoded: ModelInputs
    engine: Engine | None
    fast: bool
    target: AblationTarget
    ablations: list[Ablation]

    @property
    def rows(self) -> list[Row]:
        """The rows of each ablation, in order."""
        active = [heads.active_heads(self.clf, layer) for layer in range(self.clf.layers)]
        if self.target == "layer":
            return [(layer, None) for layer, there in enumerate(active) if there]
        return [(layer, head) for layer, there in enumerate(active) for head in there]

    def logits(
        self,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> Tensor:
        """Logits (V + 1, N, C): of every ablation and row, and last of the untouched model.

        What is finished is kept in ``file``, and the same ablation goes on from there. Of several
        processes each computes a part, and all get the whole.
        """
        rows, classes = len(self.rows), len(self.clf.label_names)
        if not rows:
            raise ModelError("Every head of this model was removed; there is nothing to ablate.")
        rank, processes = rank_and_processes()
        groups = list(self.encoded.batches(max_tokens=tokens_per_batch(self.clf)))[rank::processes]
        shape = (len(self.ablations) * rows + 1, len(self.encoded), classes)
        found = PartialLogits(file, rank, processes, self._identity() if file else "", shape)
        try:
            for count, group in enumerate(groups, start=1):
                if not found.finished[group].all():
                    if stop is not None and stop():
                        raise Stopped
                    with torch.no_grad():
                        found.add(group, self._of_batch(group), every=_SAVED_EVERY)
                if progress:
                    progress(count, len(groups))
        finally:
            found.save()
        if processes == 1:
            return found.logits
        others = np.ones(len(self.encoded), bool)
        others[np.concatenate([[], *groups]).astype(int)] = False
        found.logits[:, others] = 0  # a file may hold texts that another process computes now
        return summed_over_processes(found.logits)

    def _identity(self) -> str:
        """What a file must have been made with: weights, texts, format, and what is changed."""
        number_format = self.engine.dtype if self.engine else ("plain", self.fast)
        ablations = [(ablation.method, ablation.value) for ablation in self.ablations]
        batches = (tokens_per_batch(self.clf), self.clf.device.type)
        content = hashlib.sha256(repr((self.target, ablations, number_format, batches)).encode())
        content.update(classifier_hash(self.clf).encode())
        for array in self.encoded.arrays():
            content.update(array.tobytes())
        return content.hexdigest()

    def _of_batch(self, group: np.ndarray) -> Tensor:
        """Logits (V + 1, B, C) of one batch."""
        if self.engine is None:
            return self._plain(group)
        hidden, mask = self.engine.start(self.encoded, group)
        most, found, neutral = 2 * tokens_per_batch(self.clf), [], hidden
        for ablation in self.ablations:
            for layer, logits in self.engine.ablate(hidden, mask, ablation, self.target, most):
                if layer < len(self.engine.layers):
                    found.append(logits)
                else:
                    neutral = logits
        return torch.cat([*found, neutral]).cpu()

    def _plain(self, group: np.ndarray) -> Tensor:
        """The same through the model's own forward pass, a setting at a time."""
        found = []
        for ablation in self.ablations:
            knob = "temperature" if ablation.method == "temperature" else "scale"
            for layer, head in self.rows:
                changed = torch.ones(self.clf.heads, dtype=torch.bool)
                if head is not None:
                    changed = torch.arange(self.clf.heads) == head
                    changed = ~changed if self.target == "all_but_one" else changed
                settings = self.clf.settings()
                getattr(settings, knob)[layer, changed] = ablation.value
                found.append(self.clf.logits(self.encoded, group, settings, self.fast))
        neutral = self.clf.logits(self.encoded, group, self.clf.settings(), self.fast)
        return torch.stack([*found, neutral])


def mean_head_outputs(engine: Engine, encoded: ModelInputs) -> tuple[Tensor, ...]:
    """For each layer its heads' mean outputs before W_O: (2, h, D), at [CLS] and at other tokens.

    Of the last layer nothing but [CLS] is used, and the second is 0.
    """
    sums: list[Tensor | float] = [0.0] * len(engine.layers)
    counts = torch.zeros(2)
    for group in encoded.batches():
        with torch.no_grad():
            hidden, mask = engine.start(encoded, group)
            real = torch.ones(hidden.shape[:2]) if mask is None else mask[:, 0, 0].cpu().float()
            counts += torch.stack([real[:, 0].sum(), real[:, 1:].sum()])
            for layer, outputs in enumerate(engine.all_head_outputs(hidden, mask)):
                seen = outputs.float().cpu() * real[:, : outputs.shape[1], None, None]
                added = torch.stack([seen[:, 0].sum(0), seen[:, 1:].sum((0, 1))])
                sums[layer] = sums[layer] + added
    return tuple(total / counts.clamp(min=1)[:, None, None] for total in sums)


def compared(logits: Tensor, labels: np.ndarray, rows: Sequence[Row]) -> pd.DataFrame:
    """The table of an ablation: each row's logits (V, N, C) against the last, the neutral ones."""
    losses, margins, right = per_text(logits, labels)
    moved = (losses[:-1] - losses[-1]).T  # (N, V)
    low, high = paired_bootstrap(moved)
    shifted = (margins[:-1] - margins[-1]).T  # (N, V)
    margin_low, margin_high = paired_bootstrap(shifted)
    tests = [paired_test(right[-1], changed) for changed in right[:-1]]
    p_values = np.array([test.p_value for test in tests])
    table = pd.DataFrame(
        {
            "layer": [layer for layer, _ in rows],
            "head": [head for _, head in rows],
            "accuracy": right[:-1].mean(1),
            "delta": [test.delta for test in tests],
            "ci_low": [test.low for test in tests],
            "ci_high": [test.high for test in tests],
            "p_value": p_values,
            "q_value": benjamini_hochberg(p_values),
            "loss": losses[:-1].mean(1),
            "loss_delta": moved.mean(0),
            "loss_low": low,
            "loss_high": high,
            "margin_delta": shifted.mean(0),
            "margin_low": margin_low,
            "margin_high": margin_high,
        }
    )
    return table.drop(columns="head") if all(head is None for _, head in rows) else table


def progress_callback(progress: Progress | bool) -> Progress | None:
    """What is to be told of progress: the caller's function, a bar, or nothing."""
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return None
    from tqdm.auto import tqdm

    bar = tqdm()

    def show(done: int, in_all: int) -> None:
        bar.total = in_all
        bar.update(done - bar.n)
        if done == in_all:
            bar.close()

    return show


def tokens_per_batch(clf: BaseClassifier) -> int:
    """Tokens to a batch: enough for large products, on a GPU for full use, and few for memory."""
    return 16384 if clf.device.type == "cuda" else 2048
