"""What each head, neuron and layer gives, by one look forward and back."""

import contextlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.compression.choices import gate_gradients, layer_scores
from attnlab.datasets.texts import TextDataset
from attnlab.economics.plans import Plan
from attnlab.errors import AttnlabError, DataError, ModelError, option, suggest

__all__ = ["By", "Importance", "importance"]

_LAYER_TEXTS = 200  # margins repeat from one sample of texts to another

By = Literal["fisher", "gradient"]


@dataclass(frozen=True, eq=False)
class Importance:
    """What the parts of a classifier give; larger is more.

    Attributes
    ----------
    heads : (L, H); NaN for heads that were removed
    neurons : for each layer (n,), in the unit of ``heads``
    layers : (L,), by how much the mean margin falls without the layer; NaN where none can go
    """

    heads: np.ndarray
    neurons: list[np.ndarray]
    layers: np.ndarray

    def scaled(self, heads: np.ndarray, neurons: np.ndarray) -> "Importance":
        """Return importance with other bids: times 2 to the power of these numbers.

        Parameters
        ----------
        heads : (L, H)
        neurons : (L,), one for all neurons of a layer
        """
        return replace(
            self,
            heads=self.heads * np.exp2(heads),
            neurons=[own * 2.0**bid for own, bid in zip(self.neurons, neurons, strict=True)],
        )

    def updated(self, later: "Importance", plan: Plan) -> "Importance":
        """Return importance with what was measured later, on what a plan leaves.

        Parts that are gone keep what they had.
        """
        found, neurons = self.heads.copy(), [own.copy() for own in self.neurons]
        for number, layer in enumerate(plan.layers):
            kept = list(plan.heads[layer])
            found[layer, kept] = later.heads[number, kept]
            neurons[layer][list(plan.neurons[layer])] = later.neurons[number]
        return replace(self, heads=found, neurons=neurons)


def importance(
    clf: Classifier, data: TextDataset, by: By = "fisher", layers: bool = True
) -> Importance:
    """Measure what the parts of a classifier give, in one unit for heads and neurons.

    Parameters
    ----------
    clf : Classifier
    data : some hundred labelled texts; not those that the choice is judged on
    by : what is done with the slopes of each text's loss by a gate on each part:
        - "fisher": their mean square, which to second order is twice the loss that it costs to
          close the gate (Kwon et al. 2022, "A Fast Post-Training Pruning Framework")
        - "gradient": their mean absolute value (Michel et al. 2019)
    layers : whether to leave out each layer, too; 200 of the texts are asked for that

    Raises
    ------
    AttnlabError : another ``by``
    DataError : no labelled texts
    """
    if by not in get_args(By):
        raise AttnlabError(f"There is no {option('by', by)}. {suggest(by, get_args(By))}")
    if not isinstance(data, TextDataset) or not len(data):
        raise DataError(
            "Importance needs labelled texts, such as some hundred of al.datasets.load(...).train."
        )
    model = heads.model_of(clf)
    present = [heads.active_heads(model, layer) for layer in range(clf.layers)]
    outputs = [site.output for site in heads.sites(model)]
    downs = [block.down for block in heads.feed_forwards(model)]
    asked = [module for module, active in zip(outputs, present, strict=True) if active]
    slopes = iter(gate_gradients(clf, data, [*asked, *downs]))
    of_heads, of_neurons = [], []  # for each layer (N, h) and (N, n)
    for active in present:
        width = model.config.hidden_size // clf.heads
        whole = next(slopes) if active else torch.zeros(len(data), 0)
        of_heads.append(whole.unflatten(1, (len(active), width)).sum(-1).double().numpy())
        of_neurons.append(next(slopes).double().numpy())
    found, neurons = np.full((clf.layers, clf.heads), np.nan), []
    size = np.square if by == "fisher" else np.abs
    for layer, active in enumerate(present):
        shared = heads.sharing_layers(model, layer)  # one gate in all of these layers
        found[layer, active] = size(sum(of_heads[other] for other in shared)).mean(0)
        neurons.append(size(sum(of_neurons[other] for other in shared)).mean(0))
    without = np.full(clf.layers, np.nan)
    if layers and clf.layers > 1:
        with contextlib.suppress(ModelError):  # ALBERT, whose layers are one
            without = layer_scores(clf, "ablation", data.sample(_LAYER_TEXTS))
    return Importance(found, neurons, without)


def __dir__() -> list[str]:
    return sorted(__all__)
