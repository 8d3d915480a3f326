"""Accuracy as heads go, one after the other, the least important first."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from attnlab import heads
from attnlab.classification.base import BaseClassifier
from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.ablation import ablate, progress_callback
from attnlab.evaluation.evaluator import Evaluator

HeadId = tuple[int, int]  # layer and head
Order = Literal["use", "gradient", "ablation", "weights", "random"]
ORDERS = ("use", "gradient", "ablation", "weights", "random")


def pruning_curve(
    evaluator: Evaluator,
    order: Order | Sequence[HeadId] = "use",
    *,
    seeds: Sequence[int] = (0,),
    steps: int = 12,
    chosen_on: Evaluator | None = None,
    progress: Callable[[int, int], None] | bool = False,
) -> pd.DataFrame:
    """Accuracy as heads go, one after the other.

    Parameters
    ----------
    evaluator : Evaluator
    order : which goes first: "use", the one with the smallest mean of absolute gradients (Michel et
        al. 2019); "gradient" and "ablation", the one that helps least by `Evaluator.gradients` or
        by `ablate`; "weights", the one with the smallest value and output matrices; "random"; or a
        list of all or some heads (layer, head)
    seeds : for "random": an order for each
    steps : at how many numbers of heads it is measured, beside all of them there
    chosen_on : Evaluator that the first three ask; a choice looks better on the texts it was made
        with, so give one of other texts. Default: ``evaluator``.
    progress : True for a bar; or called as progress(measured, to be measured)

    Returns
    -------
    DataFrame: order, seed, heads_off, heads_on, accuracy, stderr, loss

    Raises
    ------
    AttnlabError : an unknown order, heads that are not there or named twice, no step or no seed
    """
    if steps < 1 or not len(seeds):
        raise AttnlabError(f"It takes at least 1 step and 1 seed, not {steps} and {len(seeds)}.")
    present = present_heads(evaluator.clf)
    if not isinstance(order, str):
        name, paths = "given", [_checked(order, present)]
    elif order not in ORDERS:
        raise AttnlabError(f"There is no order {order!r}. {suggest(order, ORDERS)}")
    else:
        name = order
        paths = [
            _ordered(order, seed, chosen_on or evaluator)
            for seed in (seeds if order == "random" else seeds[:1])
        ]
    rows: list[dict[str, object]] = []
    tell = progress_callback(progress)
    for seed, path in zip(seeds, paths, strict=False):
        counts = np.unique(np.linspace(0, len(path), steps + 1).round().astype(int))
        settings = evaluator.clf.settings()
        for previous, count in itertools.pairwise([0, *counts.tolist()]):
            for layer, head in path[previous:count]:
                settings.scale[layer, head] = 0
            score = evaluator.score(settings)
            rows.append(
                {
                    "order": name,
                    "seed": seed,
                    "heads_off": count,
                    "heads_on": len(present) - count,
                    "accuracy": score.accuracy,
                    "stderr": score.stderr,
                    "loss": score.loss,
                }
            )
            if tell:
                tell(len(rows), len(counts) * len(paths))
    return pd.DataFrame(rows)


def weight_sizes(clf: BaseClassifier) -> np.ndarray:
    """How large each head's map from hidden state to what it adds is.

    Returns
    -------
    array (L, H), the Frobenius norm of its value matrix times its output matrix; 0 for heads
    removed for good
    """
    sizes = np.zeros((clf.layers, clf.heads))
    model = heads.model_of(clf)
    for layer, site in enumerate(heads.sites(model)):
        active = heads.active_heads(model, layer)
        if active:
            value = heads.value_weight(site, len(active), model.config.hidden_size)
            width = len(active) * site.head_width
            output = heads.effective_weight(site.output, width)
            output = output.unflatten(1, (len(active), -1)).transpose(0, 1)
            norms = (output @ value).flatten(1).norm(dim=1)  # (h, E, E)
            sizes[layer, active] = norms.cpu().numpy()
    return sizes


def present_heads(clf: BaseClassifier) -> list[HeadId]:
    """The heads (layer, head) that were not removed for good."""
    gone = set(heads.removed(clf))
    every = itertools.product(range(clf.layers), range(clf.heads))
    return [head_id for head_id in every if head_id not in gone]


def _checked(order: Sequence[HeadId], present: list[HeadId]) -> list[HeadId]:
    """A given order in Python's own numbers, or an AttnlabError."""
    path = [(int(layer), int(head)) for layer, head in order]
    strange = [head_id for head_id in path if head_id not in present]
    if strange or len(set(path)) != len(path) or not path:
        raise AttnlabError(
            "An order names heads that are there, (layer, head), each once; "
            f"{strange or path} does not."
        )
    return path


def _ordered(order: str, seed: int, chooser: Evaluator) -> list[HeadId]:
    """All heads, the least important first."""
    present = present_heads(chooser.clf)
    if order == "random":
        drawn = np.random.default_rng(seed).permutation(len(present))
        return [present[index] for index in drawn]
    if order == "use":
        value = np.abs(chooser.gradients(per_sentence=True)).mean(0)
    elif order == "gradient":
        value = chooser.gradients()
    elif order == "weights":
        value = weight_sizes(chooser.clf)
    else:
        table = ablate(chooser)
        value = np.zeros((chooser.clf.layers, chooser.clf.heads))
        value[table["layer"], table["head"]] = table["loss_delta"]
    return sorted(present, key=lambda head_id: value[head_id])
