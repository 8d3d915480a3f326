"""How well a classifier does on held-out texts, with its uncertainty, as its heads are moved.

`Evaluator` asks "what does this head do to accuracy?" fast enough to play with: `evaluation.forward` computes once
what many settings share. Where a model is not one the engine knows, the plain forward pass answers, and that is
said.
"""

import itertools
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.classifier import Classifier, Stopped
from attnlab.datasets.texts import TextDataset
from attnlab.device import number_format
from attnlab.errors import (
    AttnlabError,
    AttnlabWarning,
    DataError,
    ModelError,
    SettingsError,
    suggest,
)
from attnlab.evaluation import ablation as sweeps
from attnlab.evaluation.forward import Change, Engine, How, Which
from attnlab.heads.settings import HeadSettings
from attnlab.statistics import paired_bootstrap, paired_test

Mode = Literal["exact", "fast"]
Place = tuple[int, int]
OBJECTIVES = ("loss", "margin", "log_odds")
HOWS = ("scale", "uniform", "mean")
ORDERS = ("use", "gradient", "ablation", "weights", "random")
_FIRST = 16  # texts in the first chunk of a running estimate
_TOKENS_PER_BATCH = (
    2048  # in smaller batches the products are too small for a processor's matrix units
)


@dataclass(frozen=True, eq=False)
class Score:
    """What a classifier scored on N texts.

    Attributes
    ----------
    accuracy : share of right answers, 0 to 1
    stderr : its standard error, sqrt(p (1 - p) / n)
    loss : mean cross-entropy, nats
    n : number of texts
    predictions : int array (N,)
    seconds : time taken
    correct : bool array (N,)
    losses : float array (N,)
    margins : float array (N,), logit of the right label minus the largest of the others; above 0 where it is right
    """

    accuracy: float
    stderr: float
    loss: float
    n: int
    predictions: np.ndarray
    seconds: float
    correct: np.ndarray
    losses: np.ndarray
    margins: np.ndarray

    def __repr__(self) -> str:
        return f"Score({self.accuracy:.1%} ± {self.stderr:.1%}, loss {self.loss:.3f}, n {self.n:,})"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two settings on the same texts: ``b`` minus ``a``.

    Attributes
    ----------
    delta : change of accuracy
    ci : its 95 % interval for paired answers (Agresti and Min 2005)
    p_value : exact McNemar test that neither is better
    flips : DataFrame with a row per text whose prediction changed: text, label, before, after
    loss_change, margin_change : float arrays (N,), for each text
    loss_delta, loss_ci : change of the mean loss with its 95 % interval (paired bootstrap)
    margin_delta, margin_ci : likewise of the mean margin
    """

    delta: float
    ci: tuple[float, float]
    p_value: float
    flips: pd.DataFrame
    loss_change: np.ndarray
    margin_change: np.ndarray

    @property
    def loss_delta(self) -> float:
        """Change of the mean loss, nats."""
        return float(self.loss_change.mean())

    @property
    def margin_delta(self) -> float:
        """Change of the mean margin, logits."""
        return float(self.margin_change.mean())

    @cached_property
    def loss_ci(self) -> tuple[float, float]:
        """95 % interval of `loss_delta`."""
        low, high = paired_bootstrap(self.loss_change)
        return float(low), float(high)

    @cached_property
    def margin_ci(self) -> tuple[float, float]:
        """95 % interval of `margin_delta`."""
        low, high = paired_bootstrap(self.margin_change)
        return float(low), float(high)

    def __repr__(self) -> str:
        low, high = (100 * end for end in self.ci)
        return (
            f"Comparison({100 * self.delta:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}], "
            f"p = {self.p_value:.2g}, {len(self.flips)} answers changed)"
        )


@dataclass(frozen=True)
class Running:
    """An evaluation under way: the score on the texts seen so far, and how far it is."""

    score: Score
    places: np.ndarray
    total: int

    @property
    def finished(self) -> bool:
        """Whether every text was seen."""
        return len(self.places) == self.total


class Evaluator:
    """Measures a classifier on a data set, as it is or with head settings.

    Parameters
    ----------
    clf : Classifier
    dataset : TextDataset with the labels the classifier knows
    fast : compute in the fastest number format of the device (bfloat16 where that pays) instead of
        float32; a few predictions in a thousand may differ: `agreement` measures how many do not
    cache_mb : the hidden states before each layer are kept up to this size, so that after a change nothing below
        it is computed again. A thousand sentences of 27 tokens through a model of 6 layers of width 384 take
        250 MB, in bfloat16 half. What does not fit is computed anew each time.

    Raises
    ------
    DataError : no texts, or labels that the classifier does not know

    Notes
    -----
    Changing the model's weights is noticed, and nothing computed before is used any more. Hooks of your own on the
    model are not: the forward pass is `attnlab.evaluation.forward`'s. One Evaluator serves one thread at a time.
    """

    def __init__(
        self,
        clf: Classifier,
        dataset: TextDataset,
        fast: bool = False,
        cache_mb: float = 1024,
    ):
        if not isinstance(dataset, TextDataset):
            raise DataError(
                f"{dataset!r} has no labels to measure against. Use a labelled data set."
            )
        if len(dataset) == 0:
            raise DataError(
                f"{dataset.name} has no texts in this part. Sets for testing only have all in .test."
            )
        self.clf, self.dataset, self.fast, self.cache_mb = clf, dataset, fast, cache_mb
        self.labels = np.array(_labels_of(clf, dataset))
        self.encoded = clf.encode(dataset.texts)
        # a running estimate must not see the short texts first: they are easier
        self._order = np.random.default_rng(0).permutation(len(dataset))
        self._forget()

    # --- scores --------------------------------------------------------------------------------------

    def score(self, settings: HeadSettings | None = None) -> Score:
        """Accuracy and loss on all texts. None takes the model as it stands."""
        *_, running = self.running(settings)
        return running.score

    def running(
        self,
        settings: HeadSettings | None = None,
        first: int = _FIRST,
        known: list[tuple[Tensor, float]] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Running]:
        """Evaluate in chunks, and yield the score so far after each.

        Every chunk is a random sample of the texts, the same at each call, so that the score so far
        is an unbiased estimate, and two settings can be compared on the texts both have seen.

        Parameters
        ----------
        settings : as for `score`
        first : texts in the first chunk; each further one is twice as long, up to 256
        known : chunks' logits and seconds from a run that was stopped; they are not computed again,
            and what is computed is added
        stop : asked between batches; when it says True the run raises `bert.Stopped`
        """
        settings = heads.one_setting(self.clf, settings)
        if first < 1:
            raise AttnlabError(f"first is {first}; a chunk holds at least 1 text.")
        at, known = 0, [] if known is None else known
        for step, chunk in enumerate(self._chunks(first)):
            if step == len(known):
                start = time.perf_counter()
                logits = self._logits(chunk, settings, stop)
                known.append((logits, time.perf_counter() - start))
            at += len(chunk)
            places, done = self._order[:at], known[: step + 1]
            logits = torch.cat([part for part, _ in done])
            if at == len(self.dataset):  # all seen: back into the order of the data set
                back = np.argsort(places)
                places, logits = places[back], logits[back]
            score = _score(logits, self.labels[places], sum(seconds for _, seconds in done))
            yield Running(score, places, len(self.dataset))

    def compare(self, a: HeadSettings | Score | None, b: HeadSettings | Score | None) -> Comparison:
        """Compare two settings, or two scores of this evaluator, on the same texts."""
        first, second = (one if isinstance(one, Score) else self.score(one) for one in (a, b))
        return self.compare_on(np.arange(len(self.dataset)), first, second)

    def compare_on(self, places: np.ndarray, a: Score, b: Score) -> Comparison:
        """Compare two scores whose texts are those at ``places``, in that order."""
        if not len(places) == a.n == b.n:
            raise AttnlabError(
                f"These scores are of {a.n} and {b.n} texts; to compare them pairwise, score both on the "
                f"same {len(places)}."
            )
        test = paired_test(a.correct, b.correct)
        names = self.clf.label_names
        changed = np.flatnonzero(a.predictions != b.predictions)
        flips = pd.DataFrame(
            {
                "text": [self.dataset.texts[places[index]] for index in changed],
                "label": [names[self.labels[places[index]]] for index in changed],
                "before": [names[a.predictions[index]] for index in changed],
                "after": [names[b.predictions[index]] for index in changed],
            },
            index=places[changed],
        )
        return Comparison(
            delta=test.delta,
            ci=(test.low, test.high),
            p_value=test.p_value,
            flips=flips,
            loss_change=b.losses - a.losses,
            margin_change=b.margins - a.margins,
        )

    def agreement(self) -> float:
        """Share of texts on which the fast number format answers as float32 does, heads untouched."""
        self.current_engine()  # forgets what was of other weights
        if "agreement" not in self._known:
            neutral = self.clf.settings()
            fast, exact = (
                self._like(mode).score(neutral).predictions for mode in ("fast", "exact")
            )
            self._known["agreement"] = float((fast == exact).mean())
        return self._known["agreement"]

    # --- head by head --------------------------------------------------------------------------------

    def sweep(
        self,
        scale: float | Sequence[float] = 0.0,
        mode: Mode = "exact",
        *,
        temperature: float | Sequence[float] = 1.0,
        how: How = "scale",
        progress: Callable[[int, int], None] | bool = False,
        stop: Callable[[], bool] | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> pd.DataFrame:
        """Change one head at a time and measure; every other head stays neutral.

        Parameters
        ----------
        scale, temperature : what each head is set to; a scale of 0 silences it. With several values every
            combination is measured, and the table has columns for them.
        mode : "exact" computes in float32, "fast" in the fastest number format of the device
        how : "scale" uses the two above. "uniform" makes a head look at all tokens alike, and "mean" replaces
            what it brings by its mean over these texts ([CLS] and other tokens apart): what then is missing is
            only what the head says about *this* text.
        progress : True for a bar; or called as progress(batches done, batches in all)
        stop : asked between batches; when it says True the sweep raises `bert.Stopped`
        resume : a file, such as "sweep.safetensors", in which finished batches are kept: the same sweep goes on
            there after it was stopped

        Returns
        -------
        DataFrame, a row per head: layer, head, accuracy, delta, ci_low, ci_high, p_value (exact McNemar),
        q_value (the same, adjusted for the number of heads by Benjamini and Hochberg), loss, loss_delta, loss_low,
        loss_high (paired bootstrap), margin_delta. Changes are against neutral settings, in shares of 1 and
        nats. Heads removed for good are left out. ``.attrs`` says n, accuracy, stderr, mode, how and, for
        "fast", the agreement with float32.

        Notes
        -----
        Of several processes (``accelerate launch``, ``torchrun``) each takes a part, and all get the whole table.
        """
        return self._sweep("head", scale, mode, temperature, how, progress, stop, resume)

    def sweep_layers(
        self,
        scale: float | Sequence[float] = 0.0,
        mode: Mode = "exact",
        *,
        temperature: float | Sequence[float] = 1.0,
        how: How = "scale",
        progress: Callable[[int, int], None] | bool = False,
        stop: Callable[[], bool] | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> pd.DataFrame:
        """Change all heads of one layer at a time: as `sweep`, with a row per layer."""
        return self._sweep("layer", scale, mode, temperature, how, progress, stop, resume)

    def keep_one(
        self,
        mode: Mode = "exact",
        *,
        how: How = "scale",
        progress: Callable[[int, int], None] | bool = False,
        stop: Callable[[], bool] | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> pd.DataFrame:
        """Silence all heads of a layer but one: as `sweep`, a row per head, the one that is kept.

        Source: Michel et al. 2019, "Are sixteen heads really better than one?", section 3.3.
        """
        return self._sweep("others", 0.0, mode, 1.0, how, progress, stop, resume)

    def gradients(
        self,
        of: Literal["scale", "temperature"] = "scale",
        objective: Literal["loss", "margin", "log_odds"] = "loss",
        per_sentence: bool = False,
    ) -> np.ndarray:
        """First-order importance of every head, from one pass forward and one back.

        Parameters
        ----------
        of : the knob whose gradient is taken, at neutral settings
        objective : "loss" gives minus the gradient of the loss, "margin" that of the margin, "log_odds" that of
            the right label's log-odds: always a positive number says that the head helps
        per_sentence : with True one for every text

        Returns
        -------
        array (L, H), signed, nats (or logits) per unit of the knob; with ``per_sentence`` (N, L, H). Heads removed
        for good have 0.

        Notes
        -----
        Michel et al. 2019 average absolute values over the texts, which says how much a head is *used*; signed, it
        tells how silencing changes the loss, to first order.
        """
        for value, allowed in ((of, ("scale", "temperature")), (objective, OBJECTIVES)):
            if value not in allowed:
                raise AttnlabError(f"There is no {value!r} here. {suggest(value, allowed)}")
        found = self._gradients(objective)[of]
        return (found if per_sentence else found.mean(0)).copy()

    def estimate(self) -> np.ndarray:
        """Say how much the mean loss would rise if a head alone were silenced, without silencing any.

        Returns
        -------
        array (L, H), nats: near the ``loss_delta`` of `sweep`, from one pass forward and one back

        Notes
        -----
        The loss bends while a head is turned down; the right label's log-odds o hardly do. So each text's o is
        moved along its gradient to scale 0, and the loss, log(1 + exp(-o)), is taken there. Following the loss's
        own gradient (`gradients`) ranks heads less well; data/results.json has both.
        """
        found = self._gradients("log_odds")
        odds = found["value"][:, None, None]
        moved = np.logaddexp(0, found["scale"] - odds) - np.logaddexp(0, -odds)
        return moved.mean(0)

    def preview(self, settings: HeadSettings) -> float:
        """Accuracy to first order: every margin moved along its gradient. Milliseconds, once that is known.

        The first call takes the gradients, as `gradients` does. Far from neutral it is a guess: measure.
        """
        settings.validate_single(self.clf.layers, self.clf.heads)
        found = self._gradients("margin")
        steps = {
            "scale": settings.scale.detach().cpu().numpy() - 1,
            "temperature": np.log(settings.temperature.detach().cpu().numpy()),
        }
        margins = found["value"].copy()
        for name, step in steps.items():
            if step.any():
                margins += found[name].reshape(len(margins), -1) @ step.ravel().astype(np.float32)
        return float((margins > 0).mean())

    def prune_path(
        self,
        order: str | Sequence[Place] = "use",
        *,
        seeds: Sequence[int] = (0,),
        steps: int = 12,
        chosen_on: "Evaluator | None" = None,
        mode: Mode = "fast",
        progress: Callable[[int, int], None] | bool = False,
    ) -> pd.DataFrame:
        """Accuracy as heads go, one after the other.

        Parameters
        ----------
        order : which goes first: "use", the one with the smallest mean of absolute gradients (Michel et al.
            2019); "gradient" and "ablation", the one that helps least by `gradients` or by `sweep`; "weights",
            the one with the smallest value and output matrices; "random"; or a list of all or some places
            (layer, head)
        seeds : for "random": an order for each
        steps : at how many numbers of heads it is measured, beside all of them there
        chosen_on : Evaluator that the first three ask; a choice looks better on the texts it was made
            with, so give one of other texts. Default: this one.
        mode : "exact" or "fast"
        progress : True for a bar; or called as progress(measured, to be measured)

        Returns
        -------
        DataFrame: order, seed, heads_off, heads_on, accuracy, stderr, loss
        """
        worker, name = self._like(mode), order if isinstance(order, str) else "given"
        present = _present(self.clf)
        if isinstance(order, str):
            if order not in ORDERS:
                raise AttnlabError(f"There is no order {order!r}. {suggest(order, ORDERS)}")
            paths = [
                self._ordered(order, seed, chosen_on or self, mode)
                for seed in (seeds if order == "random" else seeds[:1])
            ]
        else:
            path = [(int(layer), int(head)) for layer, head in order]
            strange = [place for place in path if place not in present]
            if strange or len(set(path)) != len(path) or not path:
                raise AttnlabError(
                    f"An order names heads that are there, (layer, head), each once; {strange or path} does not."
                )
            paths = [path]
        if steps < 1 or not len(seeds):
            raise AttnlabError(
                f"It takes at least 1 step and 1 seed, not {steps} and {len(seeds)}."
            )
        rows, tell = [], _shown(progress)
        for seed, path in zip(seeds, paths, strict=False):
            counts = np.unique(np.linspace(0, len(path), steps + 1).round().astype(int))
            settings, done = self.clf.settings(), 0
            for count in counts:
                for layer, head in path[done:count]:
                    settings.scale[layer, head] = 0
                done = count
                score = worker.score(settings)
                rows.append(
                    {
                        "order": name,
                        "seed": seed,
                        "heads_off": int(count),
                        "heads_on": len(present) - int(count),
                        "accuracy": score.accuracy,
                        "stderr": score.stderr,
                        "loss": score.loss,
                    }
                )
                if tell:
                    tell(len(rows), len(counts) * len(paths))
        return pd.DataFrame(rows)

    def _chunks(self, first: int = _FIRST) -> Iterator[np.ndarray]:
        """Random samples of the texts, growing, that together are all of them."""
        at, size = 0, first
        while at < len(self._order):
            yield self._order[at : at + size]
            at, size = at + size, min(2 * size, 256)

    # --- what is computed once -----------------------------------------------------------------------

    def _forget(self) -> None:
        self._hidden: dict[bytes, tuple[Tensor | None, list[Tensor]]] = {}
        self._known: dict[object, object] = {}
        self._weights: tuple[object, ...] = ()
        self._engine: Engine | None = None
        self._why = ""  # there is no engine

    def current_engine(self) -> Engine | None:
        """The engine for the weights as they are now, checked against the model's own answers.

        Returns
        -------
        Engine; None where only the model's own forward pass will do, and `why_no_engine` says why

        Raises
        ------
        ModelError : a model in training mode
        """
        if self.clf.model.training:
            raise ModelError(
                "This model is in training mode, and its dropout would be measured with it. Call clf.model.eval()."
            )
        weights = _weights_now(self.clf)
        if weights != self._weights:
            if self._weights:
                self._forget()
            self._weights = weights
            self._engine = self._checked()
        return self._engine

    @property
    def why_no_engine(self) -> str:
        """Why `current_engine` gave None, a sentence; empty if it did not."""
        return self._why

    @property
    def cache_bytes(self) -> int:
        """Bytes of the hidden states kept now."""
        return sum(
            one.numel() * one.element_size() for _, kept in self._hidden.values() for one in kept
        )

    def _dtype(self) -> torch.dtype:
        return number_format(self.clf.device.type) if self.fast else torch.float32

    def _like(self, mode: Mode) -> "Evaluator":
        """This evaluator, or one on the same texts in the other mode."""
        if mode not in ("exact", "fast"):
            raise AttnlabError(f"There is no mode {mode!r}. {suggest(mode, ('exact', 'fast'))}")
        if self.fast == (mode == "fast"):
            return self
        if "other" not in self._known:
            self._known["other"] = Evaluator(self.clf, self.dataset, not self.fast, self.cache_mb)
        return self._known["other"]

    def _checked(self) -> Engine | None:
        """An engine that answers as the model does on a few of the texts; None if there is none, and why."""
        try:
            places = np.unique(np.linspace(0, len(self.dataset) - 1, 3).astype(int))
            with torch.inference_mode(False), torch.no_grad():
                engine = Engine(self.clf, self._dtype())
                mine = engine.logits(*engine.start(self.encoded, places)).cpu()
            theirs = self.clf.logits(self.encoded, places, self.clf.settings())
            off = float((mine - theirs).abs().max() / (1 + theirs.abs().max()))
            if not off <= (1e-4 if engine.dtype == torch.float32 else 0.2):  # nor may it be NaN
                raise ModelError(f"Its answers differ by {off:.2g} from what was expected.")
        except ModelError as error:
            self._why = str(error)
            return None
        return engine

    def _logits(
        self,
        places: np.ndarray,
        settings: HeadSettings,
        stop: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Logits (N, C) of the texts at these places; nothing below the first change is computed again."""
        engine = self.current_engine()
        if engine is None:
            return self.clf.logits(self.encoded, places, settings, self.fast, stop)
        changed = self._first_change(engine, settings)
        result = torch.empty(len(places), len(self.clf.label_names))
        with torch.no_grad():
            for group in self.encoded.batches(places, _TOKENS_PER_BATCH):
                if stop is not None and stop():
                    raise Stopped
                mask, kept = self._kept(engine, places[group], changed)
                at = min(changed, len(kept) - 1)
                result[group] = engine.logits(kept[at], mask, settings, start=at).cpu()
        return result

    def _first_change(self, engine: Engine, settings: HeadSettings) -> int:
        """The lowest layer with a head that is not neutral; the number of layers if there is none."""
        moved = (settings.scale != 1) | (settings.temperature != 1)  # (L, H)
        for at, layer in enumerate(engine.layers):
            if moved[at, layer.kept].any():
                return at
        return len(engine.layers)

    def _kept(
        self, engine: Engine, places: np.ndarray, upto: int
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Where the tokens of these texts are, and their neutral hidden states before layers 0 to ``upto``."""
        key = places.tobytes()
        mask, kept = self._hidden.get(key, (None, []))
        if not kept:
            hidden, mask = engine.start(self.encoded, places)
            kept = [hidden]
        last = min(upto, len(engine.layers) - 1)
        new = [*kept]
        while len(new) <= last:
            new.append(engine.layer(len(new) - 1, new[-1], mask, None))
        size = sum(one.numel() * one.element_size() for one in new)
        before = sum(one.numel() * one.element_size() for one in kept) if key in self._hidden else 0
        if self.cache_bytes - before + size <= self.cache_mb * 2**20:
            self._hidden[key] = mask, new
        return mask, new

    def _gradients(self, objective: str) -> dict[str, np.ndarray]:
        """Per text: the objective's value (N,) and its gradients "scale" and "temperature" (N, L, H)."""
        engine = self.current_engine()
        if objective in self._known:
            return self._known[objective]
        layers, per_layer = self.clf.layers, self.clf.heads
        found = {
            "value": np.empty(len(self.dataset), np.float32),
            "scale": np.empty((len(self.dataset), layers, per_layer), np.float32),
            "temperature": np.empty((len(self.dataset), layers, per_layer), np.float32),
        }
        labels = torch.as_tensor(self.labels)
        for group in self.encoded.batches(max_tokens=_TOKENS_PER_BATCH):
            knobs = [
                torch.ones(len(group), layers, per_layer, requires_grad=True) for _ in range(2)
            ]
            settings = HeadSettings.of(*knobs)
            with torch.enable_grad():
                if engine is None:
                    logits = self._plain_logits(group, settings)
                else:
                    with torch.no_grad():
                        hidden, mask = engine.start(self.encoded, group)
                    logits = engine.logits(hidden, mask, settings).cpu()
                value = _objective(logits, labels[group], objective)
                if not value.requires_grad:  # every head was removed
                    value = value + 0 * sum(knob.sum() for knob in knobs)
                gradients = torch.autograd.grad(value.sum(), knobs)
            found["value"][group] = value.detach().numpy()
            for name, one in zip(("scale", "temperature"), gradients, strict=True):
                found[name][group] = one.numpy()
        self._known[objective] = found
        return found

    def _plain_logits(self, places: np.ndarray, settings: HeadSettings) -> Tensor:
        """Logits (B, C) with a path back to the settings, through the model's own forward pass."""
        batch = {name: one.to(self.clf.device) for name, one in self.encoded.batch(places).items()}
        return self.clf.model(**batch, **heads.keywords(self.clf.model, settings)).logits.cpu()

    # --- sweeps --------------------------------------------------------------------------------------

    def _ordered(self, order: str, seed: int, chooser: "Evaluator", mode: Mode) -> list[Place]:
        """All heads, the least important first."""
        present = _present(self.clf)
        if order == "random":
            return [present[one] for one in np.random.default_rng(seed).permutation(len(present))]
        if order == "use":
            value = np.abs(chooser.gradients(per_sentence=True)).mean(0)
        elif order == "gradient":
            value = chooser.gradients()
        elif order == "weights":
            value = sweeps.weight_sizes(self.clf)
        else:
            table = chooser.sweep(mode=mode)
            value = np.zeros((self.clf.layers, self.clf.heads))
            value[table["layer"], table["head"]] = table["loss_delta"]
        return sorted(present, key=lambda place: value[place])

    def _sweep(
        self,
        which: Which,
        scales: float | Sequence[float],
        mode: Mode,
        temperatures: float | Sequence[float],
        how: How,
        progress: Callable[[int, int], None] | bool,
        stop: Callable[[], bool] | None,
        resume: str | os.PathLike[str] | None,
    ) -> pd.DataFrame:
        """The table of a sweep: for every value of the knobs a row per head or layer."""
        if how not in HOWS:
            raise AttnlabError(f"There is no way {how!r} to change a head. {suggest(how, HOWS)}")
        if how != "scale" and not (
            np.size(scales) == np.size(temperatures) == 1 == temperatures and scales == 0
        ):
            raise AttnlabError(
                f"how={how!r} has no use for a scale or a temperature. Leave them out."
            )
        if not np.size(scales) or not np.size(temperatures):
            raise SettingsError("There is no value to set a head to. Give a scale, such as 0.")
        worker = self._like(mode)
        engine = worker.current_engine()
        if engine is None:
            warnings.warn(
                f"This sweep takes the model's plain forward pass, which is slower: {worker.why_no_engine}",
                AttnlabWarning,
                stacklevel=3,
            )
        knobs = [
            (float(scale), float(temperature))
            for scale, temperature in itertools.product(
                np.atleast_1d(scales), np.atleast_1d(temperatures)
            )
        ]
        for one in knobs:
            HeadSettings.of(*(torch.tensor([[value]]) for value in one)).validate(1, 1)
        if how == "scale":
            changes = [Change("scale", *one) for one in knobs]
        elif engine is None:
            raise ModelError(
                f"how={how!r} needs a model whose forward pass we know; how='scale' works."
            )
        else:
            knobs = knobs[:1]
            found = sweeps.means(engine, self.encoded) if how == "mean" else ()
            changes = [Change(how, means=found)]
        plan = sweeps.Sweep(self.clf, self.encoded, engine, worker.fast, which, changes)
        logits = plan.logits(_shown(progress), stop, resume)
        table = sweeps.compared(logits, self.labels, plan.rows * len(changes))
        for at, name in enumerate(("scale", "temperature")):
            values = np.repeat([one[at] for one in knobs], len(plan.rows))
            if len(set(values)) > 1:
                table.insert(table.columns.get_loc("accuracy"), name, values)
        neutral = _score(logits[-1], self.labels, 0.0)
        table.attrs = {"n": neutral.n, "accuracy": neutral.accuracy, "stderr": neutral.stderr}
        table.attrs |= {"loss": neutral.loss, "mode": mode, "how": how}
        if mode == "fast":
            table.attrs["agreement"] = self.agreement()
        return table


def _score(logits: Tensor, labels: np.ndarray, seconds: float) -> Score:
    losses, margins, correct = sweeps.measures(logits, labels)
    accuracy = float(correct.mean())
    return Score(
        accuracy=accuracy,
        stderr=math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        loss=float(losses.mean()),
        n=len(labels),
        predictions=logits.argmax(-1).numpy(),
        seconds=seconds,
        correct=correct,
        losses=losses,
        margins=margins,
    )


def _shown(progress: Callable[[int, int], None] | bool) -> Callable[[int, int], None] | None:
    """What is to be told of progress: to the caller's function, to a bar, or nothing."""
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


def _objective(logits: Tensor, labels: Tensor, objective: str) -> Tensor:
    """Per text what is differentiated (B,): minus the loss, the margin, or the log-odds of the right label."""
    if objective == "loss":
        return -F.cross_entropy(logits, labels, reduction="none")
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - (others.amax(1) if objective == "margin" else others.logsumexp(1))


def _present(clf: Classifier) -> list[Place]:
    """The heads that were not removed for good."""
    gone = set(heads.removed(clf))
    places = itertools.product(range(clf.layers), range(clf.heads))
    return [place for place in places if place not in gone]


def _weights_now(clf: Classifier) -> tuple[object, ...]:
    """Numbers that change when a weight or buffer does: the versions torch counts, and a sum of each tensor."""
    tensors = [*clf.model.parameters(), *clf.model.buffers()]
    with torch.no_grad():
        sums = torch.stack([one.sum().float() for one in tensors]).tolist()
    return tuple(sums), tuple(one._version for one in tensors), str(clf.device)


def _labels_of(clf: Classifier, dataset: TextDataset) -> list[int]:
    """The data set's labels in the classifier's numbering, matched by name."""
    ours, theirs = clf.label_names, dataset.label_names
    unnamed = all(name.startswith("LABEL_") for name in ours)
    if unnamed and len(ours) == len(theirs) and not set(theirs) <= set(ours):
        return list(dataset.labels)
    return dataset.labels_in(ours)
