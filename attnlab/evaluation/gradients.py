"""What a first-order look says about heads: one pass forward and one back, nothing silenced."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab import heads
from attnlab.errors import AttnlabError, suggest
from attnlab.evaluation.forward import TOKENS_PER_BATCH, Engine
from attnlab.heads.settings import HeadSettings
from attnlab.inference import slopes

if TYPE_CHECKING:
    from attnlab.evaluation.evaluator import Evaluator

Objective = Literal["loss", "margin", "log_odds"]
KNOBS = ("scale", "temperature")
OBJECTIVES = ("loss", "margin", "log_odds")


def gradients(
    evaluator: "Evaluator",
    of: Literal["scale", "temperature"] = "scale",
    objective: Objective = "loss",
    per_sentence: bool = False,
) -> np.ndarray:
    """First-order importance of every head, from one pass forward and one back.

    Parameters
    ----------
    evaluator : Evaluator
    of : the knob whose gradient is taken, at neutral settings
    objective : "loss" gives minus the gradient of the loss, "margin" that of the margin, "log_odds"
        that of the right label's log-odds: always a positive number says that the head helps
    per_sentence : with True one for every text

    Returns
    -------
    array (L, H), signed, nats (or logits) per unit of the knob; with ``per_sentence`` (N, L, H).
    Heads removed for good have 0.

    Notes
    -----
    Michel et al. 2019 average absolute values over the texts, which says how much a head is *used*;
    signed, it tells how silencing changes the loss, to first order.
    """
    for value, allowed in ((of, KNOBS), (objective, OBJECTIVES)):
        if value not in allowed:
            raise AttnlabError(f"There is no {value!r} here. {suggest(value, allowed)}")
    found = getattr(_on_all_texts(evaluator, objective), of)
    return (found if per_sentence else found.mean(0)).copy()


def estimate(evaluator: "Evaluator") -> np.ndarray:
    """Say how much the mean loss would rise if a head alone were silenced, without silencing any.

    Returns
    -------
    array (L, H), nats: near the ``loss_delta`` of `ablate`, from one pass forward and one back; see
    `TextGradients.loss_rise`
    """
    return _on_all_texts(evaluator, "log_odds").loss_rise()


def preview(evaluator: "Evaluator", settings: HeadSettings) -> float:
    """Accuracy to first order: every margin moved along its gradient.

    The first call takes the gradients, as `gradients` does; later ones take milliseconds. Far from
    neutral it is a guess: measure.
    """
    settings.validate_single(evaluator.clf.layers, evaluator.clf.heads)
    found = _on_all_texts(evaluator, "margin")
    steps = {
        "scale": settings.scale.detach().cpu().numpy() - 1,
        "temperature": np.log(settings.temperature.detach().cpu().numpy()),
    }
    margins = found.value.copy()
    for knob, step in steps.items():
        if step.any():
            per_head = getattr(found, knob).reshape(len(margins), -1)
            margins += per_head @ step.ravel().astype(np.float32)
    return float((margins > 0).mean())


@dataclass(frozen=True, eq=False)
class TextGradients:
    """An objective and its gradients at neutral settings, text by text.

    Attributes
    ----------
    value : float array (N,), the objective
    scale, temperature : float arrays (N, L, H), its gradients by each head's knob
    """

    value: np.ndarray
    scale: np.ndarray
    temperature: np.ndarray

    @classmethod
    def joined(cls, parts: "list[TextGradients]") -> "TextGradients":
        """The gradients of all texts of several parts, in order."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("value", "scale", "temperature")
            )
        )

    def loss_rise(self) -> np.ndarray:
        """How much silencing each head would raise the mean loss (L, H), nats; of log-odds only.

        Notes
        -----
        The loss bends while a head is turned down; the right label's log-odds o hardly do. So each
        text's o is moved along its gradient to scale 0, and the loss, log(1 + exp(-o)), is taken
        there. Following the loss's own gradient (`gradients`) ranks heads less well;
        data/results.json has both.
        """
        odds = self.value[:, None, None]
        moved = np.logaddexp(0, self.scale - odds) - np.logaddexp(0, -odds)
        return moved.mean(0)

    def use(self) -> np.ndarray:
        """How much each head is used (L, H), nats: the mean |gradient| of the loss; log-odds only.

        A head that helps some texts and harms others is much used, though its mean effect may be 0.
        The loss is log(1 + exp(-o)), so its gradient is that of o times the wrong labels' share.

        Source: Michel et al. 2019, "Are sixteen heads really better than one?"
        """
        wrong = np.exp(-np.logaddexp(0, self.value))[:, None, None]
        return np.abs(wrong * self.scale).mean(0)


def text_gradients(
    evaluator: "Evaluator", objective: Objective, indices: np.ndarray | None = None
) -> TextGradients:
    """The gradients of each text, from one pass forward and one back.

    Parameters
    ----------
    evaluator : Evaluator
    objective : as for `gradients`
    indices : int array (N,), which texts; default all
    """
    encoded, engine = evaluator.encoded, evaluator.current_engine()
    indices = np.arange(len(encoded)) if indices is None else np.asarray(indices)
    shape = (len(indices), evaluator.clf.layers, evaluator.clf.heads)
    found = TextGradients(
        np.empty(len(indices), np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32)
    )
    model = heads.model_of(evaluator.clf)
    present = [heads.active_heads(model, layer) for layer in range(evaluator.clf.layers)]
    for group in encoded.batches(indices, max_tokens=TOKENS_PER_BATCH):
        texts = indices[group]
        scale, temperature = (
            torch.ones(len(group), *shape[1:], requires_grad=True) for _ in range(2)
        )
        with torch.enable_grad():
            logits = _logits(evaluator, engine, texts, HeadSettings.of(scale, temperature))
            value = _objective(logits, torch.as_tensor(evaluator.labels[texts]), objective)
            if not any(present):
                value = value + 0 * (scale.sum() + temperature.sum())
            by_knob = slopes(value.sum(), (scale, temperature))
        found.value[group] = value.detach().numpy()
        found.scale[group], found.temperature[group] = (slope.numpy() for slope in by_knob)
    return found


def _on_all_texts(evaluator: "Evaluator", objective: Objective) -> TextGradients:
    """`text_gradients` of the whole data set, taken once."""
    key = f"gradients of the {objective}"
    return evaluator.remember(key, lambda: text_gradients(evaluator, objective))


def _logits(
    evaluator: "Evaluator", engine: Engine | None, indices: np.ndarray, settings: HeadSettings
) -> Tensor:
    """Logits (B, C) with a path back to the settings."""
    if engine is None:
        clf = evaluator.clf
        batch = {
            name: column.to(clf.device) for name, column in evaluator.encoded.batch(indices).items()
        }
        return heads.run(clf, batch, settings).cpu()
    with torch.no_grad():
        hidden, mask = engine.start(evaluator.encoded, indices)
    return engine.logits(hidden, mask, settings).cpu()


def _objective(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    """What is differentiated (B,): minus the loss, the margin, or the right label's log-odds."""
    if objective == "loss":
        return -F.cross_entropy(logits, labels, reduction="none")
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - (others.amax(1) if objective == "margin" else others.logsumexp(1))
