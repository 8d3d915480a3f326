"""Adaptive span: each head learns how far it looks, and pays for looking far."""

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.attention.soft import softmax
from attnlab.errors import TensorError

__all__ = ["AdaptiveSpan", "span_mask"]


def span_mask(tokens: int, span: float | Tensor, ramp: float) -> Tensor:
    """Count keys fully up to a distance of ``span``, and ever less over the next ``ramp`` tokens.

    Parameters
    ----------
    tokens : T
    span : z, in tokens; a number, or Tensor (...) with one for each head
    ramp : R, above 0: the width over which the mask falls from 1 to 0, in tokens

    Returns
    -------
    mask : Tensor, shape (..., T, T): ``min(max((R + z - distance) / R, 0), 1)``. Gradients reach
        the span where the mask is between 0 and 1.

    Source: Sukhbaatar et al. 2019, eq. 3, here to both sides.

    >>> span_mask(5, span=1.0, ramp=2.0)[0].tolist()
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    shapes.check_count("tokens", tokens, 0)
    _check_above_zero("ramp", ramp)
    span = torch.as_tensor(span)
    span = span if span.is_floating_point() else span.float()
    position = torch.arange(tokens, device=span.device)
    distance = (position - position[:, None]).abs()  # (T, T)
    return ((ramp + span[..., None, None] - distance) / ramp).clamp(0, 1)


class AdaptiveSpan(nn.Module):
    """Softmax within a span that each head learns.

    Parameters
    ----------
    heads : H
    longest : the largest span, in tokens. Where it is at least T - 1, a head may see all, which is
        also how all begin.
    ramp : see `span_mask`

    Attributes
    ----------
    span : Parameter (H,), z of each head, in tokens

    Source: Sukhbaatar et al. 2019, eq. 4 to 6.
    """

    def __init__(self, heads: int, longest: int, ramp: float = 8.0):
        super().__init__()
        shapes.check_count("heads", heads, 1)
        shapes.check_count("longest", longest, 1)
        _check_above_zero("ramp", ramp)
        self.longest, self.ramp = longest, float(ramp)
        self.span = nn.Parameter(torch.full((heads,), float(longest)))

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn scores into weights that sum to 1, and are 0 beyond a head's span.

        Parameters
        ----------
        scores : Tensor, shape (..., H, T, T)
        mask : Tensor of bool, broadcastable to the scores; True where attention is allowed

        Returns
        -------
        weights : Tensor, shape of the scores. A row that sees no key within its span gets zeros.
        """
        shapes.check_float("scores", scores)
        heads, tokens = len(self.span), scores.shape[-1]
        if scores.dim() < 3 or scores.shape[-3:] != (heads, tokens, tokens):
            raise TensorError(
                f"scores have shape {shapes.shown(scores)}; a span for each of {heads} heads needs "
                f"(..., {heads}, T, T), of a text that attends to itself."
            )
        reach = span_mask(tokens, self._limited().to(scores), self.ramp)  # (H, T, T)
        seen = reach > 0
        if mask is not None:
            shapes.check_mask(mask, scores.shape)
            seen = seen & mask
        weights = softmax(scores, seen) * reach
        total = weights.sum(-1, keepdim=True)
        return weights / total.masked_fill(total == 0, 1)

    def penalty(self) -> Tensor:
        """Mean span of the heads, in tokens: add it to the loss, times what a token may cost."""
        return self._limited().mean()

    @torch.no_grad()
    def clamp_(self) -> "AdaptiveSpan":
        """Bring spans back between 0 and ``longest``, in place; call it after each step."""
        self.span.clamp_(0, self.longest)
        return self

    def _limited(self) -> Tensor:
        """The spans between 0 and the longest; a gradient passes, so one outside can return."""
        return self.span + (self.span.clamp(0, self.longest) - self.span).detach()


def _check_above_zero(name: str, given: float) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < torch.inf:
        raise TensorError(f"{name} is {given!r}; it is a width in tokens: a number above 0.")


def __dir__() -> list[str]:
    return sorted(__all__)
