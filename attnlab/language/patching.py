"""Which heads carry an answer: what they said of a clean text is put into a corrupted one.

In comments N is pairs of texts, L layers, H heads, T tokens, D head width.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import DataError, TensorError
from attnlab.heads import HeadSettings, in_force
from attnlab.inference import check_finite, evaluating
from attnlab.statistics import paired_bootstrap

if TYPE_CHECKING:
    from attnlab.language.model import LanguageModel

__all__ = ["patch_activations"]

_SMALLEST = 1e-3  # mean difference of clean and corrupted runs of which a share can be told, logits


@torch.no_grad()
def patch_activations(
    model: "LanguageModel",
    clean: Tensor,
    corrupted: Tensor,
    answers: Tensor,
    against: Tensor,
    positions: Sequence[int] | None = None,
    settings: HeadSettings | None = None,
) -> pd.DataFrame:
    """Put each head's output on the clean text into the corrupted run; measure what comes back.

    The measure is the logit of the answer minus that of a rival, at the last position.

    Parameters
    ----------
    model : LanguageModel; dropout is off meanwhile
    clean, corrupted : Tensor of int, shape (N, T): pairs of texts of one length, without padding,
        that differ in what decides the answer and in nothing else
    answers : Tensor of int, shape (N,), the token that should follow the clean text
    against : Tensor of int, shape (N,), a rival, such as what should follow the corrupted text
    positions : where outputs are replaced, from 0, or from the end if negative; None for all
    settings : of heads, in all runs

    Returns
    -------
    DataFrame, a row per head: ``layer``, ``head``; ``restored``, the share of the difference
    between the two runs that comes back (0: as corrupted, 1: as clean; it may lie outside), with
    its 95 % interval ``ci_low`` and ``ci_high`` (bootstrap over pairs; the difference as it is);
    ``pairs``. ``attrs``: ``clean`` and ``corrupted``, the mean measure of the two runs.

    A head's output is its mixture of values, before the output projection.

    Raises
    ------
    TensorError : shapes that do not fit
    DataError : the two runs answer alike, so that there is nothing to restore

    Source: Vig et al. 2020, "Causal mediation analysis"; Meng et al. 2022 (causal tracing); on
    logit differences as the measure, Zhang and Nanda 2024.
    """
    _check_pairs(clean, corrupted, answers, against)
    tokens = clean.shape[1]
    places = range(tokens) if positions is None else positions
    if any(not -tokens <= place < tokens for place in places) or not len(places):
        raise TensorError(
            f"positions are {list(places)}; a text of {tokens} tokens has 0 to {tokens - 1}, or "
            f"from the end -1 to {-tokens}."
        )
    where = torch.zeros(tokens, dtype=torch.bool, device=clean.device)
    where[list(places)] = True

    def measure(ids: Tensor, copies: int = 1) -> Tensor:
        """Logit differences, (copies, N)."""
        chosen = in_force(model) if settings is None else settings
        if chosen is not None and chosen.scale.dim() == 3:
            chosen = HeadSettings.of(
                chosen.scale.repeat(copies, 1, 1), chosen.temperature.repeat(copies, 1, 1)
            )
        logits = model(ids.repeat(copies, 1), settings=chosen)[:, -1].float()
        check_finite(model, logits)
        logits = logits.unflatten(0, (copies, -1))
        index = torch.stack([answers, against], -1).expand(copies, -1, -1)
        answer, rival = logits.gather(-1, index).unbind(-1)
        return answer - rival

    with evaluating(model):
        outputs: list[Tensor] = []  # of each layer, (N, T, H * D)
        with contextlib.ExitStack() as stack:
            for layer in range(model.layers):
                stack.enter_context(_at_outputs(model, layer, outputs.append))
            before = measure(clean)[0]
        worse = measure(corrupted)[0]
        gap = float((before - worse).mean())
        if abs(gap) < _SMALLEST:
            raise DataError(
                f"Clean and corrupted texts are answered alike (mean logit differences "
                f"{float(before.mean()):.3f} and {float(worse.mean()):.3f}), so there is nothing "
                "to restore. Corrupt what decides the answer."
            )
        rows = []
        for layer in range(model.layers):
            active = model.active_heads(layer)
            patched = worse.repeat(model.heads, 1)  # (H, N); a head that was removed restores 0
            if active:
                with _at_outputs(model, layer, _replacing(outputs[layer], where, len(active))):
                    patched[active] = measure(corrupted, copies=len(active))
            share = ((patched - worse) / gap).cpu().double().numpy()  # (H, N)
            low, high = paired_bootstrap(share.T)
            rows += [
                {
                    "layer": layer,
                    "head": head,
                    "restored": share[head].mean(),
                    "ci_low": low[head],
                    "ci_high": high[head],
                    "pairs": len(clean),
                }
                for head in range(len(share))
            ]
    table = pd.DataFrame(rows)
    table.attrs = {"clean": float(before.mean()), "corrupted": float(worse.mean())}
    return table


@contextlib.contextmanager
def _at_outputs(
    model: "LanguageModel", layer: int, act: Callable[[Tensor], Tensor | None]
) -> Iterator[None]:
    """Hand what the heads of a layer put out to ``act``; what that returns takes its place.

    It is (B, T, H * D), which enters the output projection: after the heads' scales.
    """

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        changed = act(inputs[0])
        return None if changed is None else (changed, *inputs[1:])

    attention = model.blocks[layer].attention
    handle = getattr(attention, "output", attention).register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def _replacing(clean: Tensor, where: Tensor, heads: int) -> Callable[[Tensor], Tensor]:
    """In the h-th of H copies of a batch, give head h its clean output (N, T, H * D) ``where``."""

    def replace(outputs: Tensor) -> Tensor:
        copies = outputs.unflatten(0, (heads, -1)).unflatten(-1, (heads, -1)).clone()
        own = clean.unflatten(-1, (heads, -1))  # (N, T, H, D)
        for head in range(heads):
            copies[head, :, where, head] = own[:, where, head]
        return copies.flatten(-2).flatten(0, 1)

    return replace


def _check_pairs(clean: Tensor, corrupted: Tensor, answers: Tensor, against: Tensor) -> None:
    if clean.dim() != 2 or not clean.numel() or clean.shape != corrupted.shape:
        raise TensorError(
            f"clean {shapes.shown(clean)}, corrupted {shapes.shown(corrupted)}: both hold the same "
            "number of texts of one length, (pairs, tokens)."
        )
    for name, tokens in (("answers", answers), ("against", against)):
        if tokens.shape != clean.shape[:1]:
            raise TensorError(
                f"{name} {shapes.shown(tokens)}: it needs one token for each of the {len(clean)} "
                "pairs."
            )


def __dir__() -> list[str]:
    return sorted(__all__)
