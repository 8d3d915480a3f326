"""Integrated gradients: how much each token adds to a margin, and the sum is the whole of it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.errors import AttnlabError, ModelError, suggest
from attnlab.evaluation.inputs import is_special, tokenised
from attnlab.inference import slopes

__all__ = ["BASELINES", "Baseline", "integrated_gradients", "margin_of"]

Baseline = Literal["mask", "zero"]
BASELINES: dict[str, str] = {
    "mask": "the embedding of [MASK]",
    "zero": "a vector of zeros",
}


def integrated_gradients(
    clf: Classifier, texts: Sequence[Text], baseline: Baseline = "mask", steps: int = 32
) -> list[np.ndarray]:
    """What each token adds to the margin, on the way from a text without words to the text itself.

    Parameters
    ----------
    clf : Classifier
    texts : list of N str, or of (str, str)
    baseline : what words are replaced with at the start: "mask" or "zero". Special tokens stay.
        The answer depends on it, as it says what is being compared with what.
    steps : points of the way at which gradients are taken, spaced as in Gauss and Legendre's rule

    Returns
    -------
    list of N arrays, shape (T,), for the tokens of ``clf.attend(text).tokens``: what the token
    adds to the margin, the predicted label's logit minus the next one's. Positive where it speaks
    for the answer; 0 at special tokens. They sum to the margin of the text minus that of the
    baseline (completeness), up to an error of the numerical integral, which more steps make small.

    Costs ``steps`` forward and backward passes a text.

    Raises
    ------
    AttnlabError : no such baseline, or no step
    ModelError : quantised layers, which pass no gradients; "mask" with a tokenizer without [MASK]

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks".
    """
    if baseline not in BASELINES:
        raise AttnlabError(f"There is no baseline {baseline!r}. {suggest(baseline, BASELINES)}")
    if steps < 1:
        raise AttnlabError(
            f"steps is {steps}; at least one point of the way is needed, such as 32."
        )
    if any("quantized" in type(module).__module__ for module in clf.model.modules()):
        raise ModelError(
            "No gradients come back through this model, as quantised layers pass none. Ask the "
            "model as it was before it was quantised."
        )
    encoded = tokenised(clf, texts)
    logits = clf.logits(encoded)
    best = logits.topk(2).indices  # (N, 2)
    return [
        _integrated(clf, encoded, index, best[index], baseline, steps)
        for index in range(len(encoded))
    ]


def margin_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of a label minus the highest of the others, of each row: (N, C), (N,) to (N,)."""
    own = logits.gather(-1, labels[:, None])[:, 0]
    others = logits.scatter(-1, labels[:, None], -torch.inf)
    return own - others.max(-1).values


def _integrated(
    clf: Classifier, encoded: Encoded, index: int, best: Tensor, baseline: str, steps: int
) -> np.ndarray:
    """`integrated_gradients` of one text."""
    embed: Any = heads.model_of(clf).get_input_embeddings()
    inputs = {name: part.to(clf.device) for name, part in encoded.batch([index]).items()}
    ids = inputs.pop("input_ids")
    start_ids = ids.clone()
    words = torch.from_numpy(~is_special(clf, ids[0].cpu().numpy())).to(clf.device)  # (T,)
    if baseline == "mask":
        if clf.tokenizer.mask_token_id is None:
            raise ModelError("This tokenizer has no [MASK]. Choose baseline='zero'.")
        start_ids[0, words] = clf.tokenizer.mask_token_id
    with torch.no_grad():
        end, start = embed(ids)[0], embed(start_ids)[0].clone()  # (T, E)
        if baseline == "zero":
            start[words] = 0
    points, weights = np.polynomial.legendre.leggauss(steps)
    along = torch.tensor((points + 1) / 2, dtype=end.dtype, device=end.device)
    share = torch.tensor(weights / 2, dtype=end.dtype, device=end.device)
    settings = heads.one_setting(clf, None)
    total = torch.zeros_like(end)
    most = max(1, 1024 // len(end))  # points in one batch
    for part, of in zip(along.split(most), share.split(most), strict=True):
        many = {name: column.expand(len(part), -1) for name, column in inputs.items()}
        with torch.enable_grad():
            place = (start + part[:, None, None] * (end - start)).requires_grad_()
            logits = heads.run(clf, {"inputs_embeds": place, **many}, settings)
            margin = (logits[:, best[0]] - logits[:, best[1]]).sum()
            (slope,) = slopes(margin, [place])
        total += (slope * of[:, None, None]).sum(0)
    return (total * (end - start)).sum(-1).float().cpu().numpy()


def __dir__() -> list[str]:
    return sorted(__all__)
