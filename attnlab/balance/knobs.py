"""Ways to adjust a classifier's heads: the scale and temperature of each, and whether it is on.

Every way moves knobs from where they start, by factors: none knows what a head once was, so damage that is hidden
in the weights is met like damage that the settings show.
"""

import copy
import inspect
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.balance.evenness import listened
from attnlab.balance.meter import measure
from attnlab.classification.classifier import Classifier, Encoded
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, ModelError, needs, suggest
from attnlab.evaluation.evaluator import Evaluator
from attnlab.evaluation.forward import Engine
from attnlab.heads import one_setting
from attnlab.heads.settings import HeadSettings
from attnlab.training.loop import shuffled_batches

Way = Literal["gradient", "even", "least-squares", "greedy", "optuna", "random"]
WAYS: tuple[Way, ...] = ("gradient", "even", "least-squares", "greedy", "optuna", "random")
# These and the priors below were chosen on dev sentences, of other random damage than the figures are of.
_SAMPLE = 256  # texts that are enough for statistics of heads and to compare far-apart settings
_POOL = 8  # batches that are ordered by length together
_FACTORS = (1 / 1.5, 1.0, 1.5, 1.5**2)  # of all scales, where gradient descent may begin


@dataclass(frozen=True)
class Objective:
    """What an adjustment makes small: a weighted sum of three figures.

    Attributes
    ----------
    loss : weight of the mean cross-entropy, nats
    balance : weight of 1 - ``overall`` of the balance meter
    heads : weight of the share of heads that are on, of all the model was built with
    """

    loss: float = 1.0
    balance: float = 0.0
    heads: float = 0.0

    def __post_init__(self):
        weights = (self.loss, self.balance, self.heads)
        if not all(0 <= one < math.inf for one in weights) or not any(weights):
            raise AttnlabError(
                f"{self} has no use: weights are 0 or more, and one is above 0. The plain one is Objective()."
            )

    def value(self, loss: float, balance: float, heads: float) -> float:
        """The weighted sum; a figure whose weight is 0 does not count, even if it is NaN."""
        figures = ((self.loss, loss), (self.balance, 1 - balance), (self.heads, heads))
        return float(sum(weight * figure for weight, figure in figures if weight))


@dataclass(frozen=True, eq=False)
class Adjustment:
    """What a way of adjusting came to.

    Attributes
    ----------
    way : its name
    settings : HeadSettings (L, H)
    history : DataFrame, a row per step or trial: ``step`` from 0, ``seconds`` since the start, ``loss`` and
        ``objective`` (of a batch for "gradient", of all texts for the others)
    seconds : it took
    """

    way: Way
    settings: HeadSettings
    history: pd.DataFrame
    seconds: float

    def __repr__(self) -> str:
        return f"Adjustment({self.way!r}, {self.seconds:.0f} s, {self.settings!r})"


def adjust(
    clf: Classifier,
    data: TextDataset,
    way: Way = "gradient",
    start: HeadSettings | None = None,
    *,
    objective: Objective | None = None,
    seed: int = 0,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Adjustment:
    """Look for head settings that make the objective small on these texts.

    Parameters
    ----------
    clf : Classifier, which stays as it is
    data : texts with labels, on which the objective is measured. What is found fits them better than any others:
        judge it on texts that were not among them, as `Tuner` does.
    way :
        - "gradient": Adam on the logarithms of scale and temperature of every head that is on, all at once. It
          begins where the objective is best among the start and its evened version, each with all scales times
          2/3, 1, 3/2 or 9/4; a penalty, that of a normal prior, keeps every knob near where it begins.
          Options: ``epochs`` (8), ``learning_rate`` (0.1, falling to 0 along a cosine), ``batch_size`` (32),
          ``scale_spread`` and ``temperature_spread`` (standard deviations of the prior, of the logarithms).
        - "even": scales at which all heads of a layer that are on add vectors of the same mean length, with the
          layer's geometric mean as it was. Looks at no label, and does not lower the objective on purpose.
        - "least-squares": layer after layer the scales, 0 or more, at which the sum of residual and attention,
          computed from what the layers below now bring, is nearest to that of the whole model (Kwon et al. 2022,
          section 3.3). Looks at no label. Options: ``whole``, the Classifier before heads were removed (default:
          ``clf`` with neutral settings), and ``ridge`` (0.001).
        - "greedy": one head at a time goes off, or on again at scale 1. Each step takes the best of a few that a
          first-order estimate proposes, as long as the objective falls. Options: ``candidates`` (4), ``most``
          steps (all).
        - "optuna": one factor for the scales and one for the temperatures of each layer, by TPE (Bergstra et al.
          2011). Option: ``trials`` (40).
        - "random": factors drawn for every head, the best of so many tries: what any way has to beat. Options:
          ``trials`` (40), ``spread`` (0.5, standard deviation of the logarithms).
    start : settings to begin with; None takes those of an `applied` block, else neutral ones. Heads at scale 0
        stay off, except for "greedy".
    objective : default: the loss alone. The share of heads is part of it for every way, but only "greedy" changes
        it.
    seed : of everything that is drawn
    seconds : stop searching after this time. A result that was cut short depends on the machine's speed.
    progress : called as progress(step, steps)

    Returns
    -------
    Adjustment. "greedy", "optuna" and "random" never are worse on ``data`` than the start; the others may be.

    Raises
    ------
    AttnlabError : an unknown way or option
    ModelError : "even" and "least-squares" with a model that `evaluation.forward` does not know; a model
        whose heads were all removed or are off
    """
    if way not in WAYS:
        raise AttnlabError(f"There is no way {way!r} to adjust heads. {suggest(way, WAYS)}")
    if seconds is not None and not seconds > 0:
        raise AttnlabError(f"seconds is {seconds}; give a time above 0, or None for no limit.")
    known = list(inspect.signature(_BY_NAME[way]).parameters)[1:]
    for name in options:
        if name not in known:
            told = suggest(name, known) if known else "It has none."
            raise AttnlabError(f"The way {way!r} has no option {name!r}. {told}")
    task = _Task(
        clf, data, one_setting(clf, start), objective or Objective(), seed, seconds, progress
    )
    settings = _BY_NAME[way](task, **options)
    history = pd.DataFrame(task.rows, columns=["step", "seconds", "loss", "objective"])
    return Adjustment(way, settings, history, task.elapsed)


# ── what all ways share ────────────────────────────────────────────────────────────────────────────


class _Task:
    """A classifier, texts, a start and an objective; and the record of what was tried."""

    def __init__(
        self,
        clf: Classifier,
        data: TextDataset,
        start: HeadSettings,
        objective: Objective,
        seed: int,
        seconds: float | None,
        progress: Callable[[int, int], None] | None,
    ):
        self.began = time.perf_counter()
        self.clf, self.data, self.start, self.objective = clf, data, start, objective
        self.seed, self.limit, self.progress = seed, seconds, progress
        self.evaluator = Evaluator(clf, data, fast=True)
        self.encoded, self.labels = (
            self.evaluator.encoded,
            torch.as_tensor(self.evaluator.labels),
        )
        self.whole: Engine | None = self.evaluator.current_engine()
        self.there = torch.ones(clf.layers, clf.heads, dtype=torch.bool)
        for place in heads.removed(clf):
            self.there[place] = False
        self.on = self.there & (start.scale > 0)
        if not self.on.any():
            raise ModelError(
                "Every head of this model is off or was removed; there is nothing to adjust."
            )
        self.engine = None if self.whole is None else _narrowed(self.whole, self.on)
        self.rows: list[dict[str, float]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.limit is not None and self.elapsed >= self.limit

    def generator(self, *more: int) -> np.random.Generator:
        """A source of random numbers that depends on the seed, and on numbers that say what for."""
        return np.random.default_rng([self.seed, *more])

    def sample(self) -> np.ndarray:
        """Places of a few texts, drawn at random."""
        return self.generator(0).permutation(len(self.data))[:_SAMPLE]

    def moved(self, scale: Tensor, temperature: Tensor) -> HeadSettings:
        """The start with the heads that are on multiplied by these factors, (L, H) or (L, 1)."""
        return HeadSettings.of(
            self.start.scale * torch.where(self.on, scale, 1.0),
            self.start.temperature * torch.where(self.on, temperature, 1.0),
        )

    def note(self, loss: float, value: float, steps: int) -> None:
        """Add a row to the history."""
        row = {"step": len(self.rows), "seconds": self.elapsed, "loss": loss, "objective": value}
        self.rows.append(row)
        if self.progress:
            self.progress(len(self.rows), steps)

    def measure(self, settings: HeadSettings) -> tuple[float, float]:
        """Mean loss and objective of settings on all texts."""
        loss = self.evaluator.score(settings).loss
        balance = math.nan
        if self.objective.balance:
            some = [self.data.texts[place] for place in self.sample()]
            balance = measure(self.clf, some, settings).overall
        return loss, self.objective.value(loss, balance, self.share_on(settings))

    def share_on(self, settings: HeadSettings) -> float:
        """Share of all heads that are on."""
        return float((self.there & (settings.scale > 0)).float().mean())

    def of_batch(
        self, places: np.ndarray, settings: HeadSettings, engine: Engine | None
    ) -> tuple[Tensor, Tensor]:
        """Mean loss and objective on some texts; gradients reach the settings."""
        if engine is not None and not self.objective.balance:
            with torch.no_grad():
                hidden, mask = engine.start(self.encoded, places)
            logits, balance = engine.logits(hidden, mask, settings), math.nan
        else:
            batch = self.encoded.batch(places)
            batch = {name: one.to(self.clf.device) for name, one in batch.items()}
            if self.objective.balance:
                outputs, balance = listened(self.clf.model, batch, settings)
            else:
                outputs = self.clf.model(**batch, **heads.keywords(self.clf.model, settings))
                balance = math.nan
            logits = outputs.logits
        loss = F.cross_entropy(logits.float().cpu(), self.labels[places])
        value = self.objective.loss * loss + self.objective.heads * self.share_on(settings)
        if self.objective.balance:
            value = value + self.objective.balance * (1 - balance.cpu())
        return loss, value

    def known_engine(self, way: str) -> Engine:
        """The engine, or an error that says that this way needs one."""
        if self.engine is None:
            raise ModelError(
                f"The way {way!r} needs a model whose forward pass we know: {self.evaluator.why_no_engine} "
                "'gradient' and the ways that search work with any."
            )
        return self.engine


def _narrowed(engine: Engine, on: Tensor) -> Engine:
    """The engine without the heads that are off, which takes less time and answers the same."""
    narrow = copy.copy(engine)
    narrow.layers = []
    for at, layer in enumerate(engine.layers):
        places = [place for place, head in enumerate(layer.kept) if on[at, head]]
        shape = (len(layer.kept), layer.width)
        narrow.layers.append(
            replace(
                layer,
                inward=layer.inward.unflatten(0, (3, *shape))[:, places].flatten(0, 2),
                inward_bias=layer.inward_bias.unflatten(0, (3, *shape))[:, places].flatten(),
                outward=layer.outward.unflatten(1, shape)[:, places].flatten(1),
                kept=[layer.kept[place] for place in places],
            )
        )
    return narrow


def _groups(encoded: Encoded, places: np.ndarray) -> list[np.ndarray]:
    """The places in batches of like length."""
    return [places[group] for group in encoded.batches(places, max_tokens=2048)]


def _brought(
    engine: Engine, at: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings
) -> tuple[Tensor, Tensor]:
    """What each head of a layer brings before it is scaled, (N, h, D), of the N tokens that are real.

    Of the last layer only that of [CLS]; and which of its tokens these are, (B, T).
    """
    context = engine.brought(at, hidden, mask, settings)  # (B, T, h, D)
    real = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
    if mask is not None:
        real = mask[:, 0, 0, : context.shape[1]]
    return context[real].float(), real


def _outward(engine: Engine, at: int) -> Tensor:
    """The output projection of each head of a layer, (h, D, E)."""
    layer = engine.layers[at]
    return layer.outward.float().unflatten(1, (len(layer.kept), layer.width)).permute(1, 2, 0)


# ── gradient ───────────────────────────────────────────────────────────────────────────────────────


def _by_gradient(
    task: _Task,
    epochs: int = 8,
    learning_rate: float = 0.1,
    batch_size: int = 32,
    scale_spread: float = 0.7,
    temperature_spread: float = 0.3,
) -> HeadSettings:
    positive = (epochs, learning_rate, batch_size, scale_spread, temperature_spread)
    if not all(one > 0 for one in positive):
        raise AttnlabError(
            f"epochs, learning_rate, batch_size and the spreads must be above 0, not {positive}."
        )
    start, on = _best_start(task), task.on
    knobs = {
        "scale": torch.zeros_like(start.scale, requires_grad=True),
        "temperature": torch.zeros_like(start.scale, requires_grad=True),
        "layer": torch.zeros(task.clf.layers, 1, requires_grad=True),  # a factor its heads share
    }

    def settings() -> HeadSettings:
        factor = (knobs["scale"] + knobs["layer"]).exp()
        moved = torch.where(on, start.scale * factor, start.scale)
        sharper = torch.where(on, knobs["temperature"].exp(), 1.0)
        return HeadSettings.of(moved, start.temperature * sharper)

    def penalty() -> Tensor:
        pairs = (("scale", scale_spread), ("temperature", temperature_spread))
        far = sum((knobs[name][on] / spread).square().sum() for name, spread in pairs)
        return far / (2 * len(task.data))

    optimizer = torch.optim.Adam(knobs.values(), lr=learning_rate, betas=(0.9, 0.99))
    steps = epochs * math.ceil(len(task.data) / batch_size)
    for places in _epochs(task, epochs, batch_size):
        done = len(task.rows) / steps
        if task.limit is not None:  # the rate has to have fallen when the time is up
            done = max(done, min(task.elapsed / task.limit, 1.0))
        optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * done)) / 2
        loss, value = task.of_batch(places, settings(), task.engine)
        gradients = torch.autograd.grad(value + penalty(), list(knobs.values()), allow_unused=True)
        for knob, gradient in zip(knobs.values(), gradients, strict=True):
            knob.grad = gradient
        optimizer.step()
        task.note(loss.item(), value.item(), steps)
        if task.over:
            break
    return settings().copy()


def _epochs(task: _Task, epochs: int, batch_size: int) -> Iterator[np.ndarray]:
    """Batches of so many epochs."""
    for epoch in range(epochs):
        generator = task.generator(1, epoch)
        yield from shuffled_batches(task.encoded.lengths, batch_size, generator, _POOL)


def _best_start(task: _Task) -> HeadSettings:
    """The best of the start, the evened start, and common factors of both, on a few texts.

    From scales far too large gradient descent does not find back: the layer's norm divides them out again, and the
    slope is flat.
    """
    starts = [task.start]
    if task.engine is not None:
        starts.append(_evened(task, task.engine))
    places, tried = task.sample(), []
    for one, factor in itertools.product(starts, _FACTORS):
        settings = HeadSettings.of(
            torch.where(task.on, one.scale * factor, one.scale), one.temperature
        )
        value, texts = 0.0, 0
        for group in _groups(task.encoded, places):
            with torch.no_grad():
                value += float(task.of_batch(group, settings, task.engine)[1]) * len(group)
            texts += len(group)
        tried.append((value / texts, settings))
    return min(tried, key=lambda pair: pair[0])[1].copy()


# ── without labels ─────────────────────────────────────────────────────────────────────────────────


def _by_evening(task: _Task) -> HeadSettings:
    settings = _evened(task, task.known_engine("even"))
    for one in (task.start, settings):
        task.note(*task.measure(one), 2)
    return settings


@torch.no_grad()
def _evened(task: _Task, engine: Engine) -> HeadSettings:
    """Scales at which every head of a layer that is on adds as much, computed from the evened layers below."""
    settings = task.start.copy()
    groups = _groups(task.encoded, task.sample())
    states = [engine.start(task.encoded, group) for group in groups]
    for at, layer in enumerate(engine.layers):
        squares, tokens = torch.zeros(len(layer.kept), device=task.clf.device), 0
        project = _outward(engine, at)
        gram = project @ project.transpose(1, 2)  # |c W|² = c (W Wᵀ) c
        for hidden, mask in states:
            context, _ = _brought(engine, at, hidden, mask, settings)
            squares += torch.einsum("nhd,hde,nhe->h", context, gram, context)
            tokens += len(context)
        scale = settings.scale[at, layer.kept]
        added = scale * (squares / tokens).sqrt().cpu()  # (h,)
        heard = added > 0
        if heard.any():
            mean = added[heard].log().mean().exp()
            factors = torch.where(heard, mean / added.clamp_min(1e-30), 1.0)
            settings.scale[at, layer.kept] = scale * factors
        states = [
            (engine.layer(at, hidden, mask, settings), mask) for hidden, mask in states
        ]  # the last layer's are not used
    return settings


def _by_least_squares(
    task: _Task, whole: Classifier | None = None, ridge: float = 1e-3
) -> HeadSettings:
    if not ridge > 0:
        raise AttnlabError(f"ridge is {ridge}; it must be above 0, such as 0.001.")
    engine, clf, whole = task.known_engine("least-squares"), task.clf, whole or task.clf
    if (whole.layers, whole.heads) != (clf.layers, clf.heads) or (
        whole.tokenizer.get_vocab() != clf.tokenizer.get_vocab()
    ):
        raise ModelError(
            f"whole is {whole}, of another size or vocabulary than {clf}. Give the classifier that heads were "
            "removed from."
        )
    settings = _nearest(task, engine, Engine(whole, engine.dtype), ridge)
    for one in (task.start, settings):
        task.note(*task.measure(one), 2)
    return settings


@torch.no_grad()
def _nearest(task: _Task, engine: Engine, target: Engine, ridge: float) -> HeadSettings:
    """Scales at which each layer's residual plus attention is nearest to that of the target.

    The squared distance is a quadratic form of the scales, whose coefficients are summed over the batches; the
    ridge draws toward the start.
    """
    settings, neutral = task.start.copy(), task.clf.settings()
    groups = _groups(task.encoded, task.sample())
    ours = [engine.start(task.encoded, group) for group in groups]
    theirs = [target.start(task.encoded, group) for group in groups]
    for at, layer in enumerate(engine.layers):
        on = settings.scale[at, layer.kept] > 0
        products, wanted = 0.0, 0.0
        for (hidden, mask), (goal, _) in zip(ours, theirs, strict=True) if on.any() else ():
            context, real = _brought(engine, at, hidden, mask, settings)
            parts = torch.einsum("nhd,hde->nhe", context[:, on], _outward(engine, at)[on])
            context, _ = _brought(target, at, goal, mask, neutral)
            attended = torch.einsum("nhd,hde->ne", context, _outward(target, at))
            behind = (goal - hidden)[:, : real.shape[1]][real].float()  # what lower layers lack
            products += torch.einsum("nhe,nge->hg", parts, parts).double().cpu()
            wanted += torch.einsum("nhe,ne->h", parts, attended + behind).double().cpu()
        if on.any():
            places = torch.tensor(layer.kept)[on]
            before = settings.scale[at, places].double()
            settings.scale[at, places] = _non_negative(products, wanted, before, ridge).float()
        ours = [(engine.layer(at, hidden, mask, settings), mask) for hidden, mask in ours]
        theirs = [(target.layer(at, goal, mask, neutral), mask) for goal, mask in theirs]
    return settings


def _non_negative(products: Tensor, wanted: Tensor, before: Tensor, ridge: float) -> Tensor:
    """Minimise m·P·m - 2 w·m + r |m - before|² over m of 0 or more, r a share of P's mean diagonal."""
    weight = ridge * products.diagonal().mean().clamp_min(1e-30)
    whole = products + weight * torch.eye(len(before), dtype=products.dtype)
    root = torch.linalg.cholesky(
        whole
    )  # P + r = root rootᵀ, so it is |rootᵀ m - root⁻¹ (w + r before)|²
    right = torch.linalg.solve_triangular(root, (wanted + weight * before)[:, None], upper=False)
    found, _ = nnls(root.T.numpy(), right[:, 0].numpy())
    return torch.from_numpy(found)


# ── search ─────────────────────────────────────────────────────────────────────────────────────────


def _by_greed(task: _Task, candidates: int = 4, most: int | None = None) -> HeadSettings:
    if candidates < 1:
        raise AttnlabError(f"candidates is {candidates}; at least 1 is measured at each step.")
    settings, steps = task.start, int(task.there.sum()) if most is None else most
    loss, value = task.measure(settings)
    task.note(loss, value, steps + 1)
    while len(task.rows) <= steps and not task.over:
        expected = _expected_changes(task, settings)
        tried = []
        for place in expected.flatten().argsort()[:candidates]:
            layer, head = divmod(int(place), task.clf.heads)
            if not torch.isfinite(expected[layer, head]):
                continue
            other = settings.copy()
            other.scale[layer, head] = 0.0 if settings.scale[layer, head] > 0 else 1.0
            tried.append((*task.measure(other), other))
        best = min(tried, key=lambda one: one[1])
        if best[1] >= value:
            break
        loss, value, settings = best
        task.note(loss, value, steps + 1)
    return settings.copy()


def _expected_changes(task: _Task, settings: HeadSettings) -> Tensor:
    """To first order, how much the objective changes when a head is switched, (L, H); infinite where none is."""
    scale = settings.scale.clone().requires_grad_()
    gradient, places = torch.zeros_like(scale), task.sample()
    for group in _groups(task.encoded, places):
        moved = HeadSettings.of(scale, settings.temperature)
        _, value = task.of_batch(group, moved, task.whole)
        if value.requires_grad:
            gradient += torch.autograd.grad(value, scale)[0] * len(group) / len(places)
    on = scale.detach() > 0
    change = torch.where(on, -scale.detach(), 1.0) * gradient
    change += task.objective.heads * torch.where(on, -1.0, 1.0) / on.numel()
    return change.where(task.there, torch.inf)


def _by_optuna(task: _Task, trials: int = 40) -> HeadSettings:
    with needs("lab"):
        import optuna

    _at_least_one(trials)
    found: list[tuple[float, HeadSettings]] = []

    def value_of(trial: optuna.Trial) -> float:
        factors = [
            [
                trial.suggest_float(f"{name} of layer {layer}", 1 / most, most, log=True)
                for layer in range(task.clf.layers)
            ]
            for name, most in (("scale", 4.0), ("temperature", 2.0))
        ]
        scale, temperature = torch.tensor(factors)[:, :, None]  # each (L, 1)
        settings = task.moved(scale, temperature)
        loss, value = task.measure(settings)
        found.append((value, settings))
        task.note(loss, value, trials)
        return value

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=task.seed))
        names = itertools.product(("scale", "temperature"), range(task.clf.layers))
        study.enqueue_trial({f"{name} of layer {layer}": 1.0 for name, layer in names})
        study.optimize(value_of, n_trials=trials, timeout=task.limit)
    finally:
        optuna.logging.set_verbosity(level)
    return min(found, key=lambda pair: pair[0])[1]


def _by_chance(task: _Task, trials: int = 40, spread: float = 0.5) -> HeadSettings:
    _at_least_one(trials)
    generator, best = task.generator(2), (math.inf, task.start)
    for trial in range(trials):
        drawn = torch.from_numpy(generator.standard_normal((2, *task.on.shape))).float()
        scale, temperature = (spread * drawn).exp()
        settings = task.start if trial == 0 else task.moved(scale, temperature)
        loss, value = task.measure(settings)
        task.note(loss, value, trials)
        if value < best[0]:
            best = (value, settings)
        if task.over:
            break
    return best[1].copy()


def _at_least_one(trials: int) -> None:
    if trials < 1:
        raise AttnlabError(f"trials is {trials}; at least 1 is needed.")


_BY_NAME: dict[str, Callable[..., HeadSettings]] = {
    "gradient": _by_gradient,
    "even": _by_evening,
    "least-squares": _by_least_squares,
    "greedy": _by_greed,
    "optuna": _by_optuna,
    "random": _by_chance,
}
