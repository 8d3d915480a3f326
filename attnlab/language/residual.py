"""What each part of a language model says about the next token: logit lens, logit attribution.

The residual stream is a sum: the embedding, and what each head and each feed-forward network adds.
Logits are linear in it up to the last norm. In comments L is layers, B batch, T tokens, H heads,
D head width, E d_model, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import TensorError
from attnlab.heads import HeadSettings, in_force
from attnlab.inference import check_finite, evaluating
from attnlab.transformer.cache import Seen
from attnlab.transformer.layers import through_norm

if TYPE_CHECKING:
    from attnlab.language.model import LanguageModel

__all__ = [
    "LogitAttribution",
    "direct_logit_attribution",
    "lens_table",
    "logit_lens",
    "token_losses",
]

_BITS = 1 / torch.log(torch.tensor(2.0)).item()  # in a nat


@torch.no_grad()
def token_losses(
    model: "LanguageModel",
    ids: Tensor,
    mask: Tensor | None = None,
    settings: HeadSettings | None = None,
) -> Tensor:
    """How many bits each next token costs: minus the base-2 logarithm of its probability.

    Parameters
    ----------
    model : LanguageModel; dropout is off meanwhile
    ids : Tensor of int, shape (B, T)
    mask : Tensor of bool, shape (B, T), False at padding
    settings : of heads, for this call only

    Returns
    -------
    Tensor, shape (B, T - 1), float32: [:, t] is about ``ids[:, t + 1]``, given those up to t; NaN
    where one of the two is padding

    Raises
    ------
    TensorError : texts of fewer than two tokens
    ModelError : logits that are not finite
    """
    _check_two(ids)
    with evaluating(model):
        logits = model(ids, mask, settings=settings).float()
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    check_finite(model, logits[real])
    losses = nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none"
    )
    return (_BITS * losses).masked_fill(~(real[:, 1:] & real[:, :-1]), torch.nan)


@torch.no_grad()
def logit_lens(
    model: "LanguageModel",
    ids: Tensor,
    mask: Tensor | None = None,
    settings: HeadSettings | None = None,
) -> Tensor:
    """What the model would predict if it stopped after each layer.

    The residual stream after the embedding and after each block goes through the last norm and the
    unembedding, which were trained for the last one only: what early layers "say" is an estimate,
    and that they say little is no proof that they know little (Belrose et al. 2023).

    Parameters
    ----------
    ids, mask, settings : as for `token_losses`

    Returns
    -------
    Tensor, shape (L + 1, B, T, V), logits; the last are the model's own

    Source: nostalgebraist 2020, "Interpreting GPT: the logit lens".
    """
    states: list[Tensor] = []
    with evaluating(model):
        model(ids, mask, settings=settings, states=states)
        return torch.stack([model.unembedding(model.norm(state)) for state in states]).float()


def lens_table(
    lens: Tensor, ids: Tensor | Sequence[int], pieces: Callable[[list[int]], list[str]]
) -> pd.DataFrame:
    """A logit lens over one text, in words.

    Parameters
    ----------
    lens : Tensor, shape (L + 1, 1, T, V) or (L + 1, T, V), of `logit_lens`
    ids : the T ids that were read
    pieces : how ids are written, such as ``tokens.pieces``

    Returns
    -------
    DataFrame, a row for each layer (0 is the embedding) and position: ``layer``, ``position``;
    ``token``, read there; ``top`` and ``probability``, the likeliest next token; ``next``, the one
    that came, with ``next_probability`` and ``rank`` (1 is the likeliest); of the last position,
    whose next token is not known, these are missing.
    """
    lens = lens[:, 0] if lens.dim() == 4 and lens.shape[1] == 1 else lens
    read = ids.flatten().tolist() if isinstance(ids, Tensor) else list(ids)
    if lens.dim() != 3 or lens.shape[1] != len(read):
        raise TensorError(
            f"lens {shapes.shown(lens)} is not that of one text of {len(read)} tokens: it needs "
            f"(layers + 1, {len(read)}, vocabulary). Take one row: lens[:, 0]."
        )
    shares = lens.softmax(-1)
    best, top = shares.max(-1)
    rows = []
    words = pieces(read)
    for layer in range(len(lens)):
        likeliest = pieces(top[layer].tolist())
        for position, word in enumerate(words):
            row: dict[str, Any] = {"layer": layer, "position": position, "token": word}
            row |= {"top": likeliest[position], "probability": float(best[layer, position])}
            if position + 1 < len(read):
                own = shares[layer, position]
                share = own[read[position + 1]]
                row |= {"next": words[position + 1], "next_probability": float(share)}
                row |= {"rank": 1 + int((own > share).sum())}
            rows.append(row)
    table = pd.DataFrame(rows)
    for name, kind in (("next", "object"), ("next_probability", "float"), ("rank", "Int64")):
        table[name] = (table[name] if name in table else pd.Series([None] * len(table))).astype(
            kind
        )
    return table


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """Logits of given tokens, split into what each part of the model adds to them.

    Attributes
    ----------
    embedding : Tensor, shape (B, T), of the token (and, if learned or sinusoidal, its position)
    heads : Tensor, shape (L, H, B, T)
    attention_bias : Tensor, shape (L, B, T), of the output projections, which no head owns
    feed_forward : Tensor, shape (L, B, T); 0 in a model without
    norm_bias : Tensor, shape (B, T), of the last norm; the same whatever is read
    logits : Tensor, shape (B, T), of the model itself; the parts sum to them
    """

    embedding: Tensor
    heads: Tensor
    attention_bias: Tensor
    feed_forward: Tensor
    norm_bias: Tensor
    logits: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of all parts, shape (B, T)."""
        layers = self.heads.sum((0, 1)) + self.attention_bias.sum(0) + self.feed_forward.sum(0)
        return self.embedding + layers + self.norm_bias

    @property
    def blocks(self) -> Tensor:
        """What each block adds, heads, bias and feed-forward together: shape (L, B, T)."""
        return self.heads.sum(1) + self.attention_bias + self.feed_forward

    def frame(self) -> pd.DataFrame:
        """Means over texts and positions: ``part``, ``layer``, ``head``, ``logits``.

        Parts are "embedding", "head", "attention bias", "feed-forward" and "norm bias".
        """
        rows: list[tuple[str, int | None, int | None, Tensor]] = [
            ("embedding", None, None, self.embedding)
        ]
        for layer, own in enumerate(self.heads):
            rows += [("head", layer, head, part) for head, part in enumerate(own)]
            rows.append(("attention bias", layer, None, self.attention_bias[layer]))
            rows.append(("feed-forward", layer, None, self.feed_forward[layer]))
        rows.append(("norm bias", None, None, self.norm_bias))
        table = pd.DataFrame(
            [(*names, float(part.mean())) for *names, part in rows],
            columns=["part", "layer", "head", "logits"],
        )
        return table.astype({"layer": "Int64", "head": "Int64"})


@torch.no_grad()
def direct_logit_attribution(
    model: "LanguageModel",
    ids: Tensor,
    targets: Tensor | None = None,
    against: Tensor | None = None,
    mask: Tensor | None = None,
    settings: HeadSettings | None = None,
) -> LogitAttribution:
    """Split the logit of a token into what the embedding, each head and each block add to it.

    The last norm divides the residual stream by its size. With that number held as it is (frozen),
    the logit is linear in the stream, so the parts sum to it exactly. What a head adds through
    later layers counts for those.

    Parameters
    ----------
    model : LanguageModel; dropout is off meanwhile
    ids : Tensor of int, shape (B, T)
    targets : Tensor of int, shape (B, T') with T' up to T: whose logits at the first T' positions;
        None for the token that comes next, T' = T - 1
    against : Tensor of int, shape (B, T'): split the difference to the logits of these tokens. Then
        what raises all logits alike drops out.
    mask, settings : as for `token_losses`

    Raises
    ------
    TensorError : targets of another shape, or that are no tokens of the vocabulary
    ModelError : logits that are not finite

    Source: Elhage et al. 2021; Wang et al. 2023, "Interpretability in the wild" (on differences).
    """
    if targets is None:
        _check_two(ids)
        targets = ids[:, 1:]
    for name, tokens in (("targets", targets), ("against", against)):
        if tokens is not None:
            _check_targets(name, tokens, ids if name == "targets" else targets, model)
    seen: Seen = []
    states: list[Tensor] = []
    settings, length = in_force(model) if settings is None else settings, targets.shape[1]
    with evaluating(model):
        logits = model(ids, mask, settings=settings, seen=seen, states=states).float()
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    check_finite(model, logits[real])
    direction = model.unembedding.weight.float()[targets]  # (B, T', E)
    wanted = logits[:, :length].gather(-1, targets[..., None])[..., 0]
    if against is not None:
        direction = direction - model.unembedding.weight.float()[against]
        wanted = wanted - logits[:, :length].gather(-1, against[..., None])[..., 0]
    reads, norm_bias = through_norm(model.norm, states[-1][:, :length].float(), direction)

    def say(part: Tensor) -> Tensor:
        """What an addition (B, T, E) to the residual stream says, (B, T')."""
        return (part[:, :length].float() * reads).sum(-1)

    heads, biases, feed_forward = [], [], []
    for layer, (weights, values) in enumerate(seen):
        outputs, bias = _head_additions(model, layer, weights, values, settings)
        added = states[layer + 1] - states[layer] - outputs.sum(1) - bias
        heads.append(torch.stack([say(part) for part in outputs.unbind(1)]))  # (H, B, T')
        biases.append(say(bias.expand_as(states[layer])))
        feed_forward.append(say(added))
    return LogitAttribution(
        say(states[0]),
        torch.stack(heads),
        torch.stack(biases),
        torch.stack(feed_forward),
        norm_bias,
        wanted,
    )


def _head_additions(
    model: "LanguageModel",
    layer: int,
    weights: Tensor,
    values: Tensor,
    settings: HeadSettings | None,
) -> tuple[Tensor, Tensor]:
    """What each head of a layer adds to the residual stream, (B, H, T, E), and its bias, (E,)."""
    context, attention = weights @ values, model.blocks[layer].attention  # (B, H, T, D)
    if settings is not None:
        context = context * settings.scale[..., layer, :].to(context)[..., None, None]
    batch, heads, tokens, _ = context.shape
    added = context.new_zeros(batch, heads, tokens, model.size["d_model"])
    active = model.active_heads(layer)
    output = attention.output if active else attention  # without heads only its bias is left
    if active:
        slices = output.weight.unflatten(1, (len(active), -1)).transpose(0, 1)  # (H, E, D)
        added[:, active] = torch.einsum("bhtd,hed->bhte", context[:, active], slices)
    return added, added.new_zeros(added.shape[-1]) if output.bias is None else output.bias


def _check_two(ids: Tensor) -> None:
    if ids.dim() != 2 or ids.shape[1] < 2:
        raise TensorError(
            f"ids {shapes.shown(ids)}: to judge a next token there must be two, (batch, tokens). "
            "Is the batch axis missing (ids[None])?"
        )


def _check_targets(name: str, tokens: Tensor, like: Tensor, model: "LanguageModel") -> None:
    vocabulary = model.unembedding.out_features
    fits = tokens.dim() == 2 and len(tokens) == len(like) and tokens.shape[1] <= like.shape[1]
    if not fits or (name == "against" and tokens.shape != like.shape):
        raise TensorError(
            f"{name} {shapes.shown(tokens)} do not fit {shapes.shown(like)}: give a token for each "
            "text and position, of the first positions if not of all."
        )
    if bool(((tokens < 0) | (tokens >= vocabulary)).any()):
        raise TensorError(f"{name} hold ids that are no tokens: they are 0 to {vocabulary - 1}.")


def __dir__() -> list[str]:
    return sorted(__all__)
