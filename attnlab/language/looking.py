"""Where a language model looks: previous-token heads, induction heads, attention sinks.

In comments L is layers, B batch, H heads, T tokens. Every measure is a mean over queries of the
weight that a head gives to one key of each, beside what a head would give that looks at all the
tokens it may see alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import TensorError
from attnlab.heads.maps import AttentionMaps
from attnlab.transformer.cache import Seen

__all__ = ["HeadScores", "Weights", "induction_scores", "previous_token_scores", "sink_shares"]

Weights = AttentionMaps | Tensor | Sequence[Tensor] | Seen
_NOTHING = -1  # in place of a key: this query does not count


@dataclass(frozen=True, eq=False)
class HeadScores:
    """One number for each head: the mean weight on one key of each query.

    Attributes
    ----------
    scores : Tensor, shape (L, H), from 0 to 1; 0 for a head that was removed for good
    uniform : float, what a head would score that looks at all tokens it may see alike
    queries : how many queries of the batch counted
    """

    scores: Tensor
    uniform: float
    queries: int

    @property
    def above(self) -> Tensor:
        """Scores minus what a uniform head would have, shape (L, H)."""
        return self.scores - self.uniform

    @property
    def best(self) -> tuple[int, int]:
        """The head (layer, head) with the highest score."""
        layer, head = divmod(int(self.scores.argmax()), self.scores.shape[1])
        return layer, head

    def frame(self) -> pd.DataFrame:
        """A row per head: ``layer``, ``head``, ``score``, ``above``."""
        layers, heads = self.scores.shape
        places = [(layer, head) for layer in range(layers) for head in range(heads)]
        table = pd.DataFrame(places, columns=["layer", "head"])
        return table.assign(score=self.scores.flatten().tolist(), above=self.above.flatten())

    def __repr__(self) -> str:
        layer, head = self.best
        return (
            f"HeadScores(best {float(self.scores.max()):.2f} at layer {layer} head {head}, "
            f"uniform {self.uniform:.2f})"
        )


def previous_token_scores(weights: Weights, mask: Tensor | None = None) -> HeadScores:
    """How much each head looks at the token before.

    The mean over all queries but the first of the weight on the key just before. A previous-token
    head is near 1.

    Parameters
    ----------
    weights : AttentionMaps; the list ``seen`` of a forward pass; or weights as a Tensor, shape
        (L, H, T, T) or (L, B, H, T, T), or a list over layers of (B, H, T, T)
    mask : Tensor of bool, shape (B, T), False at padding; None for none

    Raises
    ------
    TensorError : weights that are not of queries to the same tokens, as with a cache; a mask of
        another shape; no text with two tokens

    Source: Elhage et al. 2021, "A mathematical framework for Transformer circuits".

    >>> weights = torch.eye(4).roll(-1, 1).tril()  # each token but the first looks one back
    >>> weights[0, 0] = 1
    >>> previous_token_scores(weights[None, None])
    HeadScores(best 1.00 at layer 0 head 0, uniform 0.36)
    """
    layers, real = _prepared(weights, mask)
    before = torch.arange(real.shape[1], device=real.device) - 1
    keys = before.expand_as(real)
    counts = real & (before >= 0) & real.roll(1, 1)
    return _mean_weight(layers, real, keys.where(counts, torch.tensor(_NOTHING).to(keys)))


def induction_scores(weights: Weights, ids: Tensor, mask: Tensor | None = None) -> HeadScores:
    """How much each head looks at the token that followed the latest earlier copy of this one.

    After "… A B … A" such a head looks at B, which so can be predicted again. Queries whose token
    did not occur before do not count, nor those whose copy stands right before them. On random
    sequences that are repeated (`repeated_sequences`) nothing but induction finds that key; in a
    text it may be reached for other reasons.

    Parameters
    ----------
    weights, mask : as for `previous_token_scores`
    ids : Tensor of int, shape (B, T) or (T,)

    Raises
    ------
    TensorError : as `previous_token_scores`; or no token occurs twice

    Source: Elhage et al. 2021; Olsson et al. 2022, "In-context learning and induction heads"
    (prefix matching score).

    >>> ids = torch.tensor([[5, 7, 9, 5, 7, 9]])
    >>> weights = torch.zeros(1, 1, 6, 6)
    >>> weights[..., [3, 4, 5], [1, 2, 3]] = 1
    >>> induction_scores(weights, ids).scores
    tensor([[1.]])
    """
    layers, real = _prepared(weights, mask)
    ids = ids[None] if ids.dim() == 1 else ids
    if ids.shape != real.shape:
        raise TensorError(
            f"ids {shapes.shown(ids)} and weights of {real.shape[0]} rows of {real.shape[1]} "
            "tokens do not belong together: give the ids that were read."
        )
    return _mean_weight(layers, real, _after_earlier_copy(ids, real))


def sink_shares(weights: Weights, position: int = 0, mask: Tensor | None = None) -> HeadScores:
    """How much each head looks at one position, whatever stands there: an attention sink.

    The mean weight that later queries give to the token at this position; of a model that sees both
    sides, such as BERT, of all queries. ``above`` is what exceeds a uniform head. Of a causal one
    that is much at first: its second token sees two.

    Parameters
    ----------
    weights, mask : as for `previous_token_scores`
    position : of the token within its text, counted from 0; negative from the end, so that -1 is
        BERT's [SEP]

    Raises
    ------
    TensorError : as `previous_token_scores`; or no query may see that position

    Source: Xiao et al. 2024, "Efficient streaming language models with attention sinks"; of BERT
    Clark et al. 2019, "What does BERT look at?".

    >>> causal = torch.ones(3, 3).tril() / torch.arange(1, 4)[:, None]  # looks at all alike
    >>> shares = sink_shares(causal[None, None])
    >>> round(shares.uniform, 3), abs(round(float(shares.above), 3))
    (0.417, 0.0)
    """
    layers, real = _prepared(weights, mask)
    number = real.cumsum(-1) - 1  # of each token within its text
    wanted = position if position >= 0 else real.sum(-1, keepdim=True) + position
    found = real & (number == wanted)  # (B, T), at most one in a row
    keys = found.int().argmax(-1, keepdim=True).expand_as(real)
    sees = real & found.any(-1, keepdim=True)
    if _is_causal(layers):
        sees &= number > wanted
    return _mean_weight(layers, real, keys.where(sees, torch.tensor(_NOTHING).to(keys)))


# ── what they share ────────────────────────────────────────────────────────────────────────────


def _prepared(weights: Weights, mask: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Weights of each layer, (B, H, T, T), 0 of padding, and where tokens are, bool (B, T)."""
    if isinstance(weights, AttentionMaps):
        weights = weights.weights
    layers = [layer if isinstance(layer, Tensor) else layer[0] for layer in weights]
    layers = [layer[None] if layer.dim() == 3 else layer for layer in layers]
    if not layers or any(
        layer.dim() != 4 or layer.shape[-1] != layer.shape[-2] or layer.shape != layers[0].shape
        for layer in layers
    ):
        shown = ", ".join(shapes.shown(layer) for layer in layers) or "none"
        raise TensorError(
            f"Expected weights (L, B, H, T, T) from each token to all, got layers of {shown}. "
            "Read the whole text in one forward pass, without a cache."
        )
    batch, _, tokens, _ = layers[0].shape
    if mask is None:
        return layers, torch.ones(batch, tokens, dtype=torch.bool, device=layers[0].device)
    shapes.check_bool(mask)
    if tuple(mask.shape) != (batch, tokens):
        raise TensorError(
            f"mask {shapes.shown(mask)} does not fit weights of {batch} rows of {tokens} tokens: "
            f"it needs ({batch}, {tokens}), False at padding."
        )
    return [layer.masked_fill(~mask[:, None, :, None], 0) for layer in layers], mask


def _mean_weight(layers: list[Tensor], real: Tensor, keys: Tensor) -> HeadScores:
    """Mean weight on ``keys`` (B, T), one of each query; `_NOTHING` where none counts."""
    counts = keys != _NOTHING
    queries = int(counts.sum())
    if not queries:
        raise TensorError(
            f"No query counts in {real.shape[0]} rows of at most {int(real.sum(-1).max())} tokens: "
            "none may see the token that is asked for. Give longer texts."
        )
    index = keys.clamp_min(0)[:, None, :, None]  # (B, 1, T, 1)
    scores = []
    for layer in layers:
        at = layer.gather(-1, index.expand(-1, layer.shape[1], -1, -1))[..., 0]  # (B, H, T)
        scores.append((at * counts[:, None]).sum((0, 2), dtype=torch.float32) / queries)
    seen = real.cumsum(-1) if _is_causal(layers) else real.sum(-1, keepdim=True).expand_as(real)
    uniform = float((1 / seen[counts]).mean())
    return HeadScores(torch.stack(scores).detach().cpu(), uniform, queries)


def _is_causal(layers: list[Tensor]) -> bool:
    """Whether no query gives weight to a later key."""
    return not any(bool(layer.detach().triu(1).any()) for layer in layers)


def _after_earlier_copy(ids: Tensor, real: Tensor) -> Tensor:
    """For each query the key after the latest earlier copy of its token, (B, T)."""
    places = torch.arange(ids.shape[1], device=ids.device)
    same = (ids[:, :, None] == ids[:, None]) & real[:, :, None] & real[:, None]  # (B, T, T)
    earlier = same & (places[:, None] > places[None])
    latest = torch.where(earlier, places, _NOTHING).amax(-1)  # (B, T)
    return torch.where((latest >= 0) & (latest < places - 1), latest + 1, _NOTHING)


def __dir__() -> list[str]:
    return sorted(__all__)
