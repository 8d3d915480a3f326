"""Gates on heads that learn to close: the number of open ones is what is paid for.

A gate that is exactly 0 half of the time has no gradient; stretched, noisy and clipped it has one,
and the chance that it is open has a formula: so the expected number of open gates (L0) can be a
term of the loss. Sources: Louizos et al. 2018, "Learning Sparse Neural Networks through L0
Regularization"; Voita et al. 2019, "Analyzing Multi-Head Self-Attention".
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError
from attnlab.heads.settings import HeadSettings, Seq2SeqSettings
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer

__all__ = ["HardConcrete", "HeadGates", "l2_penalty", "learn_gates"]


class HardConcrete(nn.Module):
    """Gates from 0 to 1 that are often exactly 0 or 1, and have a gradient.

    Parameters
    ----------
    *shape : of the gates
    openness : chance at the start that a gate is not 0
    temperature : of the noise; towards 0 gates are 0 or 1 only
    low, high : a gate is stretched from 0-1 to this range, and then clipped

    Attributes
    ----------
    log_alpha : Parameter of that shape; the larger, the more a gate is open

    Notes
    -----
    With u uniform, ``s = sigmoid((log u - log(1 - u) + log_alpha) / temperature)``, and the gate is
    ``clip(s * (high - low) + low, 0, 1)``. It is not 0 with probability
    ``sigmoid(log_alpha - temperature * log(-low / high))``. Louizos et al. 2018, equations 10-12.
    """

    def __init__(
        self,
        *shape: int,
        openness: float = 0.9,
        temperature: float = 2 / 3,
        low: float = -0.1,
        high: float = 1.1,
    ):
        super().__init__()
        if not (0 < openness < 1 and temperature > 0 and low < 0 and high > 1):
            raise AttnlabError(
                f"openness {openness}, temperature {temperature}, low {low}, high {high}: expected "
                "openness between 0 and 1, a temperature above 0, low below 0 and high above 1."
            )
        self.temperature, self.low, self.high = temperature, low, high
        self._shift = temperature * math.log(-low / high)
        start = math.log(openness / (1 - openness)) + self._shift
        self.log_alpha = nn.Parameter(torch.full(shape, start))

    def forward(self, uniform: Tensor | None = None) -> Tensor:
        """Return gates: drawn while training, else those of the noise's middle.

        Parameters
        ----------
        uniform : numbers between 0 and 1, of the shape of the gates or with more axes before it, to
            draw with; default new ones
        """
        if not self.training and uniform is None:
            opened = self.log_alpha.sigmoid()
        else:
            drawn = torch.rand_like(self.log_alpha) if uniform is None else uniform
            drawn = drawn.clamp(1e-6, 1 - 1e-6)
            opened = ((drawn.logit() + self.log_alpha) / self.temperature).sigmoid()
        return (opened * (self.high - self.low) + self.low).clamp(0, 1)

    def probability(self) -> Tensor:
        """Return the chance that each gate is not 0; its sum is the expected L0."""
        return (self.log_alpha - self._shift).sigmoid()


class HeadGates(nn.Module):
    """A gate on each head of a classifier or of an encoder-decoder.

    Parameters
    ----------
    model : Classifier or Seq2SeqTransformer
    openness, temperature : see `HardConcrete`

    Examples
    --------
    A step of training, of the weights and of the gates:

    >>> import torch
    >>> model = Seq2SeqTransformer(9, 9, d_model=8, heads=2, feed_forward=16)
    >>> gates = HeadGates(model)
    >>> ids = torch.tensor([[1, 4, 2]])
    >>> loss = model(ids, ids, labels=ids, settings=gates.settings()).loss
    >>> (loss + 0.01 * gates.expected()).backward()
    """

    def __init__(self, model: Any, openness: float = 0.9, temperature: float = 2 / 3):
        super().__init__()
        if isinstance(model, Seq2SeqTransformer):
            present = {}
            for kind, layers in model.active.items():
                present[kind] = torch.zeros(len(layers), model.size["heads"])
                for layer, active in enumerate(layers):
                    present[kind][layer, active] = 1
        else:
            own = torch.ones(heads.size(model))
            for layer, head in heads.removed(model):
                own[layer, head] = 0
            present = {"heads": own}
        options = {"openness": openness, "temperature": temperature}
        self.gates: Any = nn.ModuleDict(
            {kind: HardConcrete(*there.shape, **options) for kind, there in present.items()}
        )
        self._present = present

    def settings(self) -> Any:
        """Return HeadSettings, or Seq2SeqSettings, whose scales are the gates, with gradients."""
        parts = {}
        for kind, gate in self.gates.items():
            scale = gate()
            parts[kind] = HeadSettings.of(scale, torch.ones_like(scale))
        return parts["heads"] if "heads" in parts else Seq2SeqSettings(**parts)

    def expected(self) -> Tensor:
        """Return the expected number of heads that are open (L0), with a gradient."""
        parts = [
            (gate.probability() * self._present[kind].to(gate.log_alpha)).sum()
            for kind, gate in self.gates.items()
        ]
        return torch.stack(parts).sum()

    def closed(self) -> list[tuple[Any, ...]]:
        """Return the heads whose gate is 0 without noise: (layer, head), or (kind, layer, head)."""
        found: list[tuple[Any, ...]] = []
        for kind, gate in self.gates.items():
            middle = (gate.log_alpha.sigmoid() * (gate.high - gate.low) + gate.low) <= 0
            for place in (middle.cpu() & (self._present[kind] > 0)).nonzero().tolist():
                found.append((*place,) if kind == "heads" else (kind, *place))
        return found


def learn_gates(
    clf: Classifier,
    data: TextDataset,
    *,
    penalty: float = 0.005,
    epochs: int = 3,
    learning_rate: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> HeadGates:
    """Learn which heads of a classifier may close; its weights stay as they are.

    Parameters
    ----------
    clf : Classifier, stays as it is; `heads.prune` removes what `HeadGates.closed` names
    data : labelled texts to learn from, not those that the result is judged on
    penalty : nats of loss that an open head costs: a head that saves less is closed
    epochs : times that all texts are read
    learning_rate : of Adam
    seed : of the order of texts and of the noise
    progress : called after each epoch with its number and the expected number of open heads

    Raises
    ------
    DataError : no labelled texts
    AttnlabError : a penalty below 0, no epochs
    """
    if not isinstance(data, TextDataset) or not len(data):
        raise DataError(
            "Gates learn from labelled texts, such as some hundred of al.datasets.load(...).train."
        )
    if not (math.isfinite(penalty) and penalty >= 0 and epochs >= 1 and learning_rate > 0):
        raise AttnlabError(
            f"penalty {penalty}, epochs {epochs}, learning_rate {learning_rate}: expected a penalty"
            " of 0 or more, at least 1 epoch, and a rate above 0."
        )
    encoded, labels = clf.encode(data.texts), torch.tensor(data.labels_in(clf.label_names))
    generator = np.random.default_rng(seed)
    gates = HeadGates(clf).train()
    optimizer = torch.optim.Adam(gates.parameters(), lr=learning_rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            batches = list(encoded.batches())
            for number in generator.permutation(len(batches)):
                rows = batches[number]
                batch = {name: part.to(clf.device) for name, part in encoded.batch(rows).items()}
                with torch.enable_grad():
                    logits = heads.run(clf, batch, gates.settings()).cpu()
                    loss = nn.functional.cross_entropy(logits, labels[rows])
                    total = loss + penalty * gates.expected()
                    parameters = list(gates.parameters())
                    slopes = torch.autograd.grad(total, parameters)
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.grad = slope
                optimizer.step()
            if progress is not None:
                progress(epoch, float(gates.expected().detach()))
    return gates.eval()


def l2_penalty(model: nn.Module) -> Tensor:
    """Return the sum of the squares of all weights, with a gradient; it bounds no cost.

    Halve the value projection of a head and double its output projection, and nothing changes but
    this number: it says how large weights are, not how many are computed with.
    """
    return torch.stack([weight.square().sum() for weight in model.parameters()]).sum()


def __dir__() -> list[str]:
    return sorted(__all__)
