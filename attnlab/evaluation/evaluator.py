"""How well a classifier does on held-out texts or images, with its uncertainty, as heads move.

`Evaluator` asks "what does this head do to accuracy?" fast enough to play with:
`evaluation.forward` computes once what many settings share. Where a model is not one the engine
knows, the plain forward pass answers, and that is said. What is measured with an evaluator beyond
scores is a function of it: `ablation.ablate`, `gradients`, `pruning.pruning_curve`.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.base import BaseClassifier, Stopped
from attnlab.classification.belonging import labels_of
from attnlab.datasets.labelled import Labelled
from attnlab.device import number_format
from attnlab.errors import DataError
from attnlab.evaluation import gradients as head_gradients
from attnlab.evaluation.cache import HiddenStateCache
from attnlab.evaluation.forward import TOKENS_PER_BATCH, Engine, checked_engine
from attnlab.evaluation.measurement import FIRST, Measurement
from attnlab.evaluation.scores import Comparison, Score, compare_scores
from attnlab.heads.settings import HeadSettings


class Evaluator:
    """Measures a classifier on a data set, as it is or with head settings.

    Parameters
    ----------
    clf : Classifier, or ImageClassifier
    dataset : TextDataset, or ImageDataset, with the labels the classifier knows
    fast : compute in the fastest number format of the device (bfloat16 where that pays) instead of
        float32; a few predictions in a thousand may differ: `agreement` measures how many do not
    cache_mb : the hidden states before each layer are kept up to this size, so that after a change
        nothing below it is computed again. A thousand sentences of 27 tokens through a model of 6
        layers of width 384 take 250 MB, in bfloat16 half. What does not fit is computed anew.

    Attributes
    ----------
    labels : int array (N,), the right labels in the classifier's numbering
    encoded : the texts in tokens, or the images
    dtype : torch.dtype that is computed in; of an exported model, that of its weights
    cache : HiddenStateCache

    Raises
    ------
    DataError : no texts or images, or labels that the classifier does not know

    Notes
    -----
    Changing the model's weights, or switching an adapter, is noticed, and nothing computed before
    is used any more. Dropout is off while it measures, also of a model that is being trained. Hooks
    of your own on the model are not noticed: the forward pass is `attnlab.evaluation.forward`'s.
    One Evaluator serves one thread at a time.
    """

    def __init__(
        self,
        clf: BaseClassifier,
        dataset: Labelled,
        fast: bool = False,
        cache_mb: float = 1024,
    ):
        given = clf.inputs_of(dataset)
        if len(dataset) == 0:
            raise DataError(
                f"{dataset.name} has no {clf.reads} in this part. Sets for testing only have all "
                "in .test."
            )
        self.clf, self.dataset, self.fast = clf, dataset, fast
        self.dtype = number_format(clf.device.type) if fast else torch.float32
        if isinstance(clf, heads.WithoutWeights):
            self.dtype = clf.dtype
        self.labels = np.array(labels_of(clf.label_names, dataset))
        self.encoded = clf.encode(given)
        self.cache = HiddenStateCache(self.encoded, cache_mb)
        self._remembered: dict[str, Any] = {}
        self._fingerprint: tuple[object, ...] = ()
        self._engine: Engine | None = None
        self._why_no_engine = ""

    def score(self, settings: HeadSettings | None = None) -> Score:
        """Accuracy and loss on all texts. None takes the model as it stands."""
        *_, last = self.stream(settings)
        return last.score

    def compare(self, a: HeadSettings | Score | None, b: HeadSettings | Score | None) -> Comparison:
        """Compare two settings, or two scores of this evaluator, on the same texts."""
        before, after = (
            given if isinstance(given, Score) else self.score(given) for given in (a, b)
        )
        return compare_scores(before, after, self.dataset, self.labels, self.clf.label_names)

    def stream(self, settings: HeadSettings | None = None, first: int = FIRST) -> Measurement:
        """A measurement that can be advanced chunk by chunk, for desks.

        Parameters
        ----------
        settings : as for `score`
        first : texts in the first chunk; each further one is twice as large, up to 256
        """
        return Measurement(self, settings, first)

    def logits(
        self,
        settings: HeadSettings | None = None,
        indices: np.ndarray | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Logits (N, C), float32; nothing below the first change is computed again.

        Parameters
        ----------
        settings : as for `score`
        indices : int array (N,), which texts, in that order; default all
        stop : asked between batches; when it says True
            `classification.base.Stopped` is raised
        """
        settings = heads.one_setting(self.clf, settings)
        indices = np.arange(len(self.dataset)) if indices is None else np.asarray(indices)
        engine = self.current_engine()
        if engine is None:
            return self.clf.logits(self.encoded, indices, settings, self.fast, stop)
        changed = engine.first_change(settings)
        result = torch.empty(len(indices), len(self.clf.label_names))
        with torch.no_grad():
            for group in self.encoded.batches(indices, TOKENS_PER_BATCH):
                if stop is not None and stop():
                    raise Stopped
                mask, states = self.cache.states(engine, indices[group], changed)
                start = min(changed, len(states) - 1)
                result[group] = engine.logits(states[start], mask, settings, start).cpu()
        return result

    def agreement(self) -> float:
        """Share of texts on which the fast number format answers as float32 does, heads neutral."""

        def compute() -> float:
            other = Evaluator(self.clf, self.dataset, not self.fast, cache_mb=0)
            mine, theirs = (ev.score(self.clf.settings()).predictions for ev in (self, other))
            return float((mine == theirs).mean())

        return self.remember("agreement", compute)

    # --- first order: see `evaluation.gradients` ------------------------------------------------

    def gradients(
        self,
        of: Literal["scale", "temperature"] = "scale",
        objective: Literal["loss", "margin", "log_odds"] = "loss",
        per_sentence: bool = False,
    ) -> np.ndarray:
        """First-order importance of every head (L, H); see `evaluation.gradients.gradients`."""
        return head_gradients.gradients(self, of, objective, per_sentence)

    def estimate(self) -> np.ndarray:
        """How much silencing each head would raise the loss: `evaluation.gradients.estimate`."""
        return head_gradients.estimate(self)

    def preview(self, settings: HeadSettings) -> float:
        """Accuracy to first order, in milliseconds; see `evaluation.gradients.preview`."""
        return head_gradients.preview(self, settings)

    # --- what is computed once ------------------------------------------------------------------

    def current_engine(self) -> Engine | None:
        """The engine for the weights as they are now, checked against the model's own answers.

        Returns
        -------
        Engine; None where only the model's own forward pass will do, and `why_no_engine` says why
        """
        fingerprint = _fingerprint(self.clf)
        if fingerprint != self._fingerprint:
            self.cache.clear()
            self._remembered = {}
            self._fingerprint = fingerprint
            self._engine, self._why_no_engine = checked_engine(self.clf, self.encoded, self.dtype)
        return self._engine

    @property
    def why_no_engine(self) -> str:
        """Why `current_engine` gave None, a sentence; empty if it did not."""
        return self._why_no_engine

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """What ``compute`` returns for the weights as they are now, computed once."""
        self.current_engine()  # forgets what was of other weights
        if key not in self._remembered:
            self._remembered[key] = compute()
        return self._remembered[key]


def _fingerprint(clf: BaseClassifier) -> tuple[object, ...]:
    """What changes when a weight or buffer does, or how an adapter counts.

    These are sums, torch's version counts, and which adapters are on and how much.
    """
    if isinstance(clf, heads.WithoutWeights):
        return (clf.sha256,)
    tensors = [*clf.model.parameters(), *clf.model.buffers()]
    with torch.no_grad():
        sums = torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).tolist()
    wrapped = [module for module in clf.model.modules() if hasattr(module, "disable_adapters")]
    state = ("merged", "disable_adapters", "active_adapters", "scaling")
    adapters = [[str(getattr(module, name, "")) for name in state] for module in wrapped]
    versions = tuple(tensor._version for tensor in tensors)
    return tuple(sums), versions, str(clf.device), str(adapters)
