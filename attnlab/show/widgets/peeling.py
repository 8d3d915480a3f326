"""What the peeler can take away from a classifier: kinds, amounts, scores, and how it is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from torch import nn

from attnlab import compression, heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.structure import LowRankLinear, matrices, neurons, steps
from attnlab.compression.numbers import WeightScore
from attnlab.datasets.texts import TextDataset
from attnlab.errors import ModelError

SHARES = tuple(range(0, 100, 10))  # percent
BITS = (32, 8, 7, 6, 5, 4, 3, 2)
EVERY = "all"  # the score of a kind that treats all weights alike


@dataclass(frozen=True)
class Kind:
    """A way to make a model smaller.

    Attributes
    ----------
    words : its name on the desk
    scores : what a choice can be made by, with its name on the desk
    repairs : whether what is left can be fitted to what all of it said
    start : the amount it begins with
    """

    words: str
    scores: Mapping[str, str]
    repairs: bool = False
    start: int = 50


RANDOM = {"random": "at random"}
KINDS = {
    "heads": Kind(
        "attention heads",
        {"margin": "margin without it", "gradient": "gradient of the loss"} | RANDOM,
        repairs=True,
    ),
    "neurons": Kind(
        "feed-forward neurons",
        {
            "activation": "size of what it adds",
            "gradient": "activation × gradient",
            "magnitude": "size of its weights",
        }
        | RANDOM,
        repairs=True,
    ),
    "layers": Kind("layers", {"ablation": "margin without it"} | RANDOM, start=1),
    "weights": Kind(
        "weights to zero",
        {"magnitude": "size", "activation": "size × input (Wanda)"} | RANDOM,
    ),
    "quantize": Kind("bits: even steps", {EVERY: "every weight alike"}, start=8),
    "codebook": Kind("bits: codebook", {EVERY: "every weight alike"}, start=4),
    "low rank": Kind(
        "low rank (SVD)",
        {"outputs": "least error of outputs", "weights": "least error of weights"},
    ),
}


@dataclass(frozen=True)
class Choice:
    """What is taken away: the controls of the desk."""

    kind: str
    amount: int
    by: str
    repaired: bool = False

    @property
    def nothing(self) -> bool:
        """Whether all stays as it is."""
        return self.amount == (32 if self.kind in ("quantize", "codebook") else 0)


def amounts(kind: str, layers: int) -> list[tuple[int, str]]:
    """The steps of a kind, from nothing to most, with their words."""
    if kind == "layers":
        return [(count, f"{count} of {layers}") for count in range(layers)]
    if kind in ("quantize", "codebook"):
        return [(bits, f"{bits} bits") for bits in BITS]
    return [(share, f"{share}\u00a0%") for share in SHARES]


def first_choice(kind: str, layers: int) -> Choice:
    """Where a kind begins."""
    amount = KINDS[kind].start
    return Choice(kind, min(amount, layers - 1) if kind == "layers" else amount, _first(kind))


def _first(kind: str) -> str:
    return next(iter(KINDS[kind].scores))


def why_not(clf: Classifier) -> dict[str, str]:
    """The kinds that a model does not have, each with the reason in a few words."""
    model, reasons = heads.model_of(clf), {}
    try:
        heads.layer_list(model)
        if clf.layers < 2:
            reasons["layers"] = "there is one only"
    except ModelError:
        reasons["layers"] = "all share their weights"
    places = {name: place.module for name, place in matrices(model).items()}
    wrapped = [
        name
        for name, module in places.items()
        if not (isinstance(module, nn.Embedding | LowRankLinear) or heads.is_plain(module))
        and any(parameter.dim() > 1 for parameter in module.parameters())
    ]
    if wrapped:
        reasons |= dict.fromkeys(KINDS, "its matrices are wrapped") | reasons
    try:
        neurons(model)
    except ModelError:
        reasons |= dict.fromkeys(("neurons", "low rank"), "its matrices are products") | reasons
    return {kind: reasons[kind] for kind in KINDS if kind in reasons}


# ── doing it ───────────────────────────────────────────────────────────────────────────────────


_SCORES: dict[str, Callable[..., Any]] = {
    "heads": compression.head_scores,
    "neurons": compression.neuron_scores,
    "layers": compression.layer_scores,
}


class Scores:
    """How much each head, neuron and layer matters, computed once for each kind and score.

    Parameters
    ----------
    clf : Classifier
    calibration : the labelled texts that scores are taken from
    """

    def __init__(self, clf: Classifier, calibration: TextDataset):
        self.clf, self.calibration = clf, calibration
        self._known: dict[tuple[str, str], Any] = {}

    def of(self, kind: str, by: str) -> Any:
        """The scores of a kind: (L, H) of heads, a list of (n,) of neurons, (L,) of layers."""
        if (kind, by) not in self._known:
            self._known[kind, by] = _SCORES[kind](self.clf, by, self.calibration)
        return self._known[kind, by]


def peeled(clf: Classifier, choice: Choice, scores: Scores) -> Classifier:
    """Take this away and return the smaller classifier; ``clf`` itself where that is nothing."""
    if choice.nothing:
        return clf
    texts = scores.calibration.texts
    repair = texts if choice.repaired else None
    share, by = choice.amount / 100, cast("Any", choice.by)  # one of the kind's own
    known = scores.of(choice.kind, by) if choice.kind in _SCORES else None
    match choice.kind:
        case "heads":
            return compression.prune_heads(clf, share, by=by, scores=known, repair=repair)
        case "neurons":
            return compression.prune_neurons(clf, share, by=by, scores=known, repair=repair)
        case "layers":
            return compression.prune_layers(clf, choice.amount, by=by, scores=known)
        case "weights":
            score = next(known for known in get_args(WeightScore) if known == by)
            return compression.prune_weights(clf, share, by=score, texts=texts)
        case "quantize":
            return compression.quantize(clf, choice.amount)
        case "codebook":
            return compression.share_weights(clf, choice.amount)
    calibrated = texts if by == "outputs" else None
    return compression.factorize(clf, share=1 - share, texts=calibrated)


def kept_layers(clf: Classifier, choice: Choice) -> list[int] | None:
    """What the layers of a smaller classifier were called before; None where all are left."""
    if choice.kind != "layers" or choice.nothing:
        return None
    return list(steps(heads.model_of(clf))[-1]["kept"])


def as_code(choice: Choice) -> str:
    """The choice as Python code, with `clf`, and `calibration` where texts are needed."""
    if choice.nothing:
        return "smaller = clf"
    given: dict[str, str] = {}
    share = f"{choice.amount / 100:g}"
    scored = choice.kind in ("heads", "neurons", "layers")
    if scored or choice.kind == "weights":
        given["by"] = repr(choice.by)
    if scored and choice.by not in ("random", "magnitude"):
        given["data"] = "calibration"
    if choice.kind == "weights" and choice.by == "activation":
        given["texts"] = "calibration.texts"
    if choice.repaired:
        given["repair"] = "calibration.texts"
    match choice.kind:
        case "heads" | "neurons" | "layers":
            call = f"prune_{choice.kind}"
            first = share if choice.kind != "layers" else str(choice.amount)
        case "weights":
            call, first = "prune_weights", share
        case "quantize":
            call, first = "quantize", f"bits={choice.amount}"
        case "codebook":
            call, first = "share_weights", f"bits={choice.amount}"
        case _:
            call, first = "factorize", f"share={1 - choice.amount / 100:g}"
            if choice.by == "outputs":
                given["texts"] = "calibration.texts"
    rest = "".join(f", {name}={value}" for name, value in given.items())
    return f"smaller = al.compression.{call}(clf, {first}{rest})"
