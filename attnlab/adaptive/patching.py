"""Which heads carry a flip: what they said of the clean text is put into the disturbed one.

In comments L is layers, H heads, T tokens, D head width.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.adaptive.attributions import margin_of
from attnlab.adaptive.drifting import aligned_tokens
from attnlab.classification.base import BaseClassifier
from attnlab.errors import AttnlabError, DataError, suggest
from attnlab.statistics import paired_bootstrap

__all__ = ["Positions", "patch_heads", "patching_curve", "patching_effects"]

Positions = Literal["aligned", "cls"]
_POSITIONS: dict[str, str] = {
    "aligned": "all tokens that both texts share",
    "cls": "the first token, from which the answer is read",
}
_TOKENS_AT_A_TIME = 4096
_SMALLEST = 1e-4  # difference of two margins of which a share can be told


def patch_heads(
    clf: BaseClassifier, clean: Any, disturbed: Any, positions: Positions = "aligned"
) -> pd.DataFrame:
    """Put each head's output on the clean text into the disturbed run, and measure what comes back.

    Parameters
    ----------
    clf : Classifier or ImageClassifier
    clean, disturbed : two texts (or images), such as a text and `disturb` of it
    positions : where a head's output is replaced: at "aligned" tokens (of words that both texts
        have, or that stand in each other's place, if they have as many tokens), or only at the
        first, "cls"

    Returns
    -------
    DataFrame, a row per head: ``layer``, ``head``, ``restored``, the share of the margin that
    comes back: 0 is the disturbed text's margin, 1 the clean one's, and it may lie outside. The
    margin is the logit of the clean answer minus the highest other. Heads removed for good restore
    0. ``attrs``: ``clean`` and ``disturbed``, the two margins; ``patched``, the share of the
    disturbed text's tokens at which outputs were replaced.

    A head's output is its mixture of values, before the output projection. One forward pass for
    each head, many in a batch.

    Raises
    ------
    DataError : the two texts have the same margin, so that there is nothing to restore

    Source: Meng et al. 2022, "Locating and editing factual associations in GPT" (causal tracing);
    on margins as the measure, Zhang and Nanda 2024, "Towards best practices of activation patching
    in language models".
    """
    places = _places(clf)
    chosen = torch.eye(len(places), dtype=torch.bool).view(-1, clf.layers, clf.heads)
    run = _Run.of(clf, clean, disturbed, positions)
    table = pd.DataFrame(places, columns=["layer", "head"])
    table["restored"] = run.restored(clf, chosen)
    table.attrs = {"clean": run.clean, "disturbed": run.disturbed, "patched": run.share}
    return table


def patching_effects(
    clf: BaseClassifier,
    pairs: Sequence[tuple[Any, Any]],
    positions: Positions = "aligned",
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean of `patch_heads` over many pairs of a clean and a disturbed text.

    Returns
    -------
    DataFrame, a row per head: ``layer``, ``head``, ``restored`` (mean), ``ci_low``, ``ci_high``
    (95 %, percentile bootstrap over pairs, for each head alone) and ``pairs``
    """
    if not pairs:
        raise DataError("There are no pairs to patch. Give at least one (clean, disturbed).")
    each = np.stack(
        [patch_heads(clf, *pair, positions)["restored"].to_numpy() for pair in pairs]
    )  # (N, L * H)
    table = pd.DataFrame(_places(clf), columns=["layer", "head"])
    low, high = paired_bootstrap(each, draws, seed)
    return table.assign(restored=each.mean(0), ci_low=low, ci_high=high, pairs=len(each))


def patching_curve(
    clf: BaseClassifier,
    clean: Any,
    disturbed: Any,
    order: Sequence[tuple[int, int]],
    positions: Positions = "aligned",
) -> pd.DataFrame:
    """Patch the first heads of an order together: none, one, two, and so on up to all of them.

    Parameters
    ----------
    order : heads (layer, head), such as those of `patching_effects`, sorted. An order chosen on the
        same pair flatters itself; choose it on others.

    Returns
    -------
    DataFrame: ``heads``, how many are patched, and ``restored``
    """
    wrong = [one for one in order if tuple(one) not in set(_places(clf))]
    if wrong:
        raise AttnlabError(
            f"There is no head {wrong[0]!r}: layers are 0 to {clf.layers - 1}, heads 0 to "
            f"{clf.heads - 1}."
        )
    chosen = torch.zeros(len(order) + 1, clf.layers, clf.heads, dtype=torch.bool)
    for count, (layer, head) in enumerate(order, 1):
        chosen[count:, layer, head] = True
    run = _Run.of(clf, clean, disturbed, positions)
    return pd.DataFrame({"heads": range(len(order) + 1), "restored": run.restored(clf, chosen)})


def _places(clf: BaseClassifier) -> list[tuple[int, int]]:
    return [(layer, head) for layer in range(clf.layers) for head in range(clf.heads)]


@dataclass(frozen=True, eq=False)
class _Run:
    """A disturbed input, and what the heads said of the clean one.

    Attributes
    ----------
    inputs : of one disturbed text, (1, T)
    outputs : of each layer on the clean text, (P, h * D), at the P patched positions
    to : those positions in the disturbed text
    label : answer to the clean text
    clean, disturbed : margins
    """

    inputs: dict[str, Tensor]
    outputs: list[Tensor]
    to: Tensor
    label: Tensor
    clean: float
    disturbed: float
    share: float

    @classmethod
    def of(cls, clf: BaseClassifier, clean: Any, disturbed: Any, positions: str) -> "_Run":
        """Run both texts once."""
        if positions not in _POSITIONS:
            raise AttnlabError(
                f"Outputs cannot be replaced at {positions!r}. {suggest(positions, _POSITIONS)}"
            )
        first, second = (_inputs(clf, given) for given in (clean, disturbed))
        source, to = _positions(clf, clean, disturbed, positions)
        outputs: list[Tensor] = []
        with torch.inference_mode():
            with _at_output(clf, lambda layer, given: outputs.append(given)):
                logits = heads.run(clf, first)
            label = logits.argmax(-1)
            before = float(margin_of(logits, label))
            after = float(margin_of(heads.run(clf, second), label))
        if abs(before - after) < _SMALLEST:
            raise DataError(
                f"Clean and disturbed text have nearly the same margin, {before:.5f} and "
                f"{after:.5f}, so there is nothing to restore. Choose a pair that flips."
            )
        kept = [output[0, source] for output in outputs]
        length = next(iter(clf.encode([disturbed]).lengths))
        return cls(second, kept, to, label, before, after, len(to) / int(length))

    def restored(self, clf: BaseClassifier, chosen: Tensor) -> np.ndarray:
        """The share of the margin that comes back with each set of heads, (R, L, H) to (R,)."""
        tokens = max(part.shape[1] for part in self.inputs.values())
        margins = [
            self._margins(clf, part) for part in chosen.split(max(1, _TOKENS_AT_A_TIME // tokens))
        ]
        whole = self.clean - self.disturbed
        return (torch.cat(margins).double().numpy() - self.disturbed) / whole

    def _margins(self, clf: BaseClassifier, chosen: Tensor) -> Tensor:
        """Margins with these sets of heads, (R, L, H), patched."""
        rows = len(chosen)
        active = [heads.active_heads(clf.model, layer) for layer in range(clf.layers)]

        def patch(layer: int, given: Tensor) -> Tensor | None:
            which = chosen[:, layer, active[layer]]  # (R, h)
            if not which.any():
                return None
            patched = given.clone()
            width = given.shape[-1] // which.shape[-1]
            columns = which.repeat_interleave(width, -1).to(given.device)[:, None]  # (R, 1, h D)
            patched[:, self.to] = torch.where(columns, self.outputs[layer], given[:, self.to])
            return patched

        inputs = {name: part.expand(rows, *part.shape[1:]) for name, part in self.inputs.items()}
        with torch.inference_mode(), _at_output(clf, patch):
            return margin_of(heads.run(clf, inputs), self.label.expand(rows)).cpu()


def _inputs(clf: BaseClassifier, given: Any) -> dict[str, Tensor]:
    batch = clf.encode([given]).batch([0])
    return {name: part.to(clf.device) for name, part in batch.items()}


def _positions(
    clf: BaseClassifier, clean: Any, disturbed: Any, positions: str
) -> tuple[Tensor, Tensor]:
    """Which tokens of the clean text go where in the disturbed one."""
    if positions == "cls":
        heads.refuse_decoder(clf, "Replacing what heads say at [CLS]")
        return torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    first, second, _, _ = aligned_tokens(clf, clean, disturbed)
    found = sorted(
        (to, token)
        for own, other in zip(first, second, strict=True)
        if len(own) == len(other)  # tokens of one word stand for its parts, in order
        for token, to in zip(own, other, strict=True)
    )
    to, source = torch.tensor(found).T
    return source, to


@contextlib.contextmanager
def _at_output(clf: BaseClassifier, act: Any) -> Iterator[None]:
    """Show what goes into each layer's output projection, and let it be replaced.

    Only in this thread: what other threads ask the same model goes on undisturbed.
    """
    mine, calls = threading.get_ident(), iter(range(clf.layers))
    modules = {id(site.output): site.output for site in heads.sites(heads.model_of(clf))}

    def hook(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if threading.get_ident() != mine:
            return None
        found = act(next(calls), args[0])  # layers that share their module come in order, too
        return (found, *args[1:]) if isinstance(found, Tensor) else None

    hooks = [module.register_forward_pre_hook(hook) for module in modules.values()]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def __dir__() -> list[str]:
    return sorted(__all__)
