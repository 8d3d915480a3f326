"""Which heads, neurons and layers matter: scores that a choice is made by, chance among them."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.compression.calibration import watched
from attnlab.compression.copies import with_layers
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, DataError, option, suggest
from attnlab.evaluation.ablation import ablate
from attnlab.evaluation.evaluator import Evaluator
from attnlab.inference import evaluating

HeadScore = Literal["gradient", "margin", "random"]
NeuronScore = Literal["activation", "magnitude", "gradient", "random"]
LayerScore = Literal["ablation", "random"]


def head_scores(
    clf: Classifier, by: HeadScore, data: TextDataset | None = None, seed: int = 0
) -> np.ndarray:
    """How much each head matters, (L, H); heads that were removed have NaN.

    Parameters
    ----------
    by :
        - "margin": by how much the mean margin of the right label over the next falls when the head
          alone is silenced, which repeats from one sample of texts to another;
        - "gradient": mean absolute gradient of the loss with respect to the head's scale, one pass
          forward and one back (Michel et al. 2019);
        - "random": chance, the baseline
    data : labelled texts, for all but "random"
    """
    _check(by, HeadScore)
    found = np.full((clf.layers, clf.heads), np.nan)
    if by == "random":
        chance = np.random.default_rng(seed).random(found.shape)
        for layer in range(clf.layers):
            active = heads.active_heads(heads.model_of(clf), layer)
            found[layer, active] = chance[layer, active]
        return np.array(_as_shared(clf, found))
    evaluator = Evaluator(clf, _labelled(data, by), fast=True)
    if by == "margin":
        table = ablate(evaluator)
        found[table["layer"].to_numpy(), table["head"].to_numpy()] = -table["margin_delta"]
        return np.array(_as_shared(clf, found))
    used = np.abs(evaluator.gradients(per_sentence=True)).mean(0)
    for layer in range(clf.layers):
        active = heads.active_heads(heads.model_of(clf), layer)
        found[layer, active] = used[layer, active]
    return np.array(_as_shared(clf, found))


def neuron_scores(
    clf: Classifier,
    by: NeuronScore,
    data: TextDataset | Sequence[Text] | None = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """How much each feed-forward neuron matters, for each layer (n,).

    Parameters
    ----------
    by :
        - "activation": its root mean square output times the length of its column in the second
          matrix: how much it adds to the hidden state of a token;
        - "gradient": mean absolute product of its output and the gradient of the loss with respect
          to it, summed over a text's tokens: how much the loss would move, to first order;
        - "magnitude": the length of its row in the first matrix times that of its column in the
          second, which needs no texts;
        - "random": chance, the baseline
    data : texts for "activation", labelled ones for "gradient"
    """
    _check(by, NeuronScore)
    model = heads.model_of(clf)
    blocks = heads.feed_forwards(model)
    if by == "random":
        generator = np.random.default_rng(seed)
        return _as_shared(clf, [generator.random(block.up.out_features) for block in blocks])
    lengths = [block.down.weight.detach().norm(dim=0).cpu() for block in blocks]
    if by == "magnitude":
        return [
            (block.up.weight.detach().norm(dim=1).cpu() * length).numpy()
            for block, length in zip(blocks, lengths, strict=True)
        ]
    if by == "gradient":
        slopes = gate_gradients(clf, _labelled(data, by), [block.down for block in blocks])
        return _as_shared(clf, [layer.abs().mean(0).double().numpy() for layer in slopes])
    texts = data.texts if isinstance(data, TextDataset) else data
    names = [f"{layer}.down" for layer in sorted(set(_owner(model)))]
    squares, count = dict.fromkeys(names, torch.zeros(())), dict.fromkeys(names, 0)

    def add(name: str, inputs: Tensor) -> None:
        squares[name] = squares[name] + inputs.double().square().sum(0).cpu()
        count[name] += len(inputs)

    watched(clf, texts, names, add)
    return [
        ((squares[name] / count[name]).sqrt() * length).numpy()
        for name, length in zip((f"{layer}.down" for layer in _owner(model)), lengths, strict=True)
    ]


def layer_scores(
    clf: Classifier, by: LayerScore, data: TextDataset | None = None, seed: int = 0
) -> np.ndarray:
    """How much each layer matters, (L,).

    Parameters
    ----------
    by : "ablation": by how much the mean margin falls when the layer alone is left out; "random"
    data : labelled texts, for "ablation"
    """
    _check(by, LayerScore)
    if by == "random":
        return np.random.default_rng(seed).random(clf.layers)
    data = _labelled(data, by)
    whole = _margin(clf, data)
    everything = range(clf.layers)
    return np.array(
        [
            whole - _margin(with_layers(clf, [one for one in everything if one != gone]), data)
            for gone in everything
        ]
    )


def _margin(clf: Classifier, data: TextDataset) -> float:
    logits = clf.logits(clf.encode(data.texts), fast=True)
    labels = torch.tensor(data.labels_in(clf.label_names))
    own = logits.gather(1, labels[:, None])[:, 0]
    return float((own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)).mean())


def gate_gradients(
    clf: Classifier, data: TextDataset, modules: Sequence[nn.Module]
) -> list[Tensor]:
    """The slope of each text's loss by a gate of 1 on each input of some linear layers.

    Parameters
    ----------
    data : N labelled texts
    modules : linear layers of the model, inside its layers

    Returns
    -------
    (N, I) for each time that one of them is run, in that order, float32: Σ over tokens of the input
    times the gradient of the loss with respect to it. A gate on several inputs has their sum.
    """
    model = heads.model_of(clf)
    flowed: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: flowed.append(inputs[0]))
        for module in {id(module): module for module in modules}.values()
    ]
    encoded, labels = clf.encode(data.texts), torch.tensor(data.labels_in(clf.label_names))
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    found: list[Tensor] = []
    try:
        model.requires_grad_(True)
        for group in encoded.batches():
            flowed.clear()
            batch = {key: column.to(clf.device) for key, column in encoded.batch(group).items()}
            with torch.enable_grad(), evaluating(model):
                logits = model(**batch).logits
                loss = F.cross_entropy(logits, labels[group].to(logits.device), reduction="sum")
                slopes = torch.autograd.grad(loss, flowed) if flowed else ()
            found = found or [torch.zeros(len(data), value.shape[-1]) for value in flowed]
            for rows, value, slope in zip(found, flowed, slopes, strict=True):
                rows[group] = (value.detach() * slope).sum(1).float().cpu()
    finally:
        for handle in handles:
            handle.remove()
        for parameter, was in zip(model.parameters(), frozen, strict=True):
            parameter.requires_grad_(was)
    return found


def _as_shared(clf: Classifier, scores: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Scores by layer, averaged over layers that share their weights: they lose the same."""
    model = heads.model_of(clf)
    return [
        np.mean([scores[other] for other in heads.sharing_layers(model, layer)], axis=0)
        for layer in range(len(scores))
    ]


def _owner(model: object) -> list[int]:
    """For each layer the first one with the same feed-forward block."""
    first: dict[int, int] = {}
    blocks = heads.feed_forwards(heads.model_of(model))
    return [first.setdefault(id(block.down), layer) for layer, block in enumerate(blocks)]


def _check(by: str, kind: object) -> None:
    if by not in get_args(kind):
        raise AttnlabError(f"There is no {option('by', by)}. {suggest(by, get_args(kind))}")


def _labelled(data: object, by: str) -> TextDataset:
    if not isinstance(data, TextDataset) or not len(data):
        raise DataError(
            f"{option('by', by)} needs labelled texts, such as some hundred of "
            "al.datasets.load(...).train: give them as data=."
        )
    return data
