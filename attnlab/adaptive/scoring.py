"""A scorer of tokens: learns from gradients which hidden states matter to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnlab.adaptive.padded import PaddedLayers
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, Text
from attnlab.errors import DataError, SettingsError
from attnlab.evaluation.inputs import is_special, tokenised
from attnlab.inference import evaluating, slopes

__all__ = ["TokenScorer", "importance_by_gradient", "token_scorer"]

_PENALTY = 1.0  # of the squared weights, beside the mean squared error, on standardised features


@dataclass(frozen=True, eq=False)
class TokenScorer:
    """A weight for each number of a hidden state: what it says about how much the token matters.

    Attributes
    ----------
    weights : layer to Tensor (E,)
    """

    weights: dict[int, Tensor]

    def scores(self, hidden: Tensor, layer: int) -> Tensor:
        """Return a score for each token, (..., N), from hidden states (..., N, E) after a layer."""
        if layer not in self.weights:
            raise SettingsError(
                f"This scorer knows the layers {sorted(self.weights)}, and tokens are to go after "
                f"layer {layer}. Fit it to that: token_scorer(clf, texts, layers=[{layer}])."
            )
        return hidden.float() @ self.weights[layer].to(hidden.device)


def token_scorer(
    clf: Classifier, texts: Sequence[Text], layers: Sequence[int], most: int = 500, seed: int = 0
) -> TokenScorer:
    """Fit a scorer of tokens: a linear guess, within each text, of the logarithm of `importance`.

    Parameters
    ----------
    clf : Classifier of texts
    texts : without labels; not those that the result is measured on
    layers : after which it is to score
    most : texts that are fitted to, drawn at random
    seed : of that draw

    Raises
    ------
    DataError : no texts
    """
    encoded = tokenised(clf, texts)
    chosen = np.random.default_rng(seed).permutation(len(encoded))[:most]
    few = clf.encode([texts[index] for index in chosen])
    weights = {}
    for layer in layers:
        features, targets = [], []
        for index, (hidden, importance) in enumerate(_by_gradient(clf, few, layer)):
            words = ~is_special(clf, np.array(few.ids(index)))
            if words.sum() > 1:  # within one text the mean does not matter
                hidden, target = hidden[words].double(), importance[words].double().log()
                features.append(hidden - hidden.mean(0))
                targets.append(target - target.mean())
        if not features:
            raise DataError("No text has two words or more, so there is nothing to rank.")
        weights[layer] = _ridge(torch.cat(features), torch.cat(targets)).float()
    return TokenScorer(weights)


def importance_by_gradient(clf: Classifier, text: Text, layer: int) -> Tensor:
    """Return how much each token's hidden state after a layer matters to the answer, (T,).

    The length of gradient × hidden state, of the margin between the highest logit and the next: an
    estimate, to first order, of how far the margin moves when parts of the state go.
    """
    return next(iter(_by_gradient(clf, tokenised(clf, [text]), layer)))[1]


def _by_gradient(clf: Classifier, encoded: Encoded, layer: int) -> list[tuple[Tensor, Tensor]]:
    """Of each text: hidden states after a layer (T, E), and how much each matters, (T,)."""
    steps = PaddedLayers(clf)
    found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(encoded)
    for indices in encoded.batches():
        inputs = {name: part.to(clf.device) for name, part in encoded.batch(indices).items()}
        with evaluating(clf.model), torch.enable_grad():
            with torch.no_grad():
                hidden, real = steps.start(inputs)
                for index in range(layer + 1):
                    hidden = steps.layer(index, hidden, real)
            state = hidden = hidden.detach().requires_grad_()
            for index in range(layer + 1, clf.layers):
                hidden = steps.layer(index, hidden, real)
            highest = steps.answer(hidden).float().topk(2).values
            (slope,) = slopes((highest[:, 0] - highest[:, 1]).sum(), [state])
        matters = (slope * state.detach()).float().norm(dim=-1).clamp_min(1e-12).cpu()  # (B, T)
        for row, index in enumerate(indices.tolist()):
            size = encoded.lengths[index]
            found[index] = state.detach()[row, :size].float().cpu(), matters[row, :size]
    return found


def _ridge(features: Tensor, targets: Tensor) -> Tensor:
    """Weights (E,) of the features (N, E), whose mean is 0, that guess the targets (N,)."""
    spread = features.std(0).clamp_min(1e-9)
    scaled = features / spread
    gram = scaled.T @ scaled / len(scaled) + _PENALTY * torch.eye(scaled.shape[1]).double() / 100
    return torch.linalg.solve(gram, scaled.T @ targets / len(scaled)) / spread


def __dir__() -> list[str]:
    return sorted(__all__)
