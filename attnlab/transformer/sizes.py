"""What a Transformer costs, by formula: parameters and floating-point operations of each part."""

from typing import Any

import pandas as pd

from attnlab.heads.settings import KINDS


def active_heads(size: dict[str, Any]) -> dict[str, list[list[int]]]:
    """Return which heads a model of this size has: by kind, for each layer those not removed."""
    encoders, decoders = size["encoder_layers"], size["decoder_layers"]
    gone = {tuple(head) for head in size.get("removed", ())}
    return {
        kind: [
            [head for head in range(size["heads"]) if (kind, layer, head) not in gone]
            for layer in range(layers)
        ]
        for kind, layers in zip(KINDS, (encoders, decoders, decoders), strict=True)
    }


def parameters_of(size: dict[str, Any]) -> pd.DataFrame:
    """Count the parameters of a model of this size by formula.

    Parameters
    ----------
    size : dict, as ``model.size`` holds it

    Returns
    -------
    frame with columns part, parameters; they add up to what the model has
    """
    d, wide = size["d_model"], size["feed_forward"]
    encoders, decoders = size["encoder_layers"], size["decoder_layers"]
    active, head_width = active_heads(size), d // size["heads"]

    def attention(kind: str) -> int:  # query, key, value, output, each with its bias
        inside = sum(map(len, active[kind])) * head_width
        return 3 * (d * inside + inside) + inside * d + len(active[kind]) * d

    network = d * wide + wide + wide * d + d
    norm = 2 * d
    positions = size["max_length"] * d if size["positions"] == "learned" else 0
    last = norm if size["norm"] == "pre" else 0
    source, target = size["source_vocabulary"] * d, size["target_vocabulary"] * d
    return _frame(
        "parameters",
        {
            "source embedding": (0 if size["tie"] == "all" else source) + positions,
            "target embedding": target + positions,
            "encoder self-attention": attention("encoder"),
            "encoder feed-forward": encoders * network,
            "decoder self-attention": attention("decoder"),
            "decoder cross-attention": attention("cross"),
            "decoder feed-forward": decoders * network,
            "norms": (2 * encoders + 3 * decoders) * norm + 2 * last,
            "output": target if size["tie"] == "none" else 0,
        },
    )


def flops_of(
    size: dict[str, Any], source_tokens: int, target_tokens: int, batch: int = 1
) -> pd.DataFrame:
    """Count the floating-point operations of matrix products in one forward pass by formula.

    Parameters
    ----------
    size : dict, as ``model.size`` holds it
    source_tokens, target_tokens : S and T
    batch : B

    Returns
    -------
    frame with columns part, flops; a multiplication with its addition counts as 2

    torch's FlopCounterMode gives the same sum, except that it does not see a CPU's fused attention
    kernel.
    """
    d, wide = size["d_model"], size["feed_forward"]
    encoders, decoders = size["encoder_layers"], size["decoder_layers"]
    s, t = source_tokens, target_tokens
    active, head_width = active_heads(size), d // size["heads"]

    def attention(kind: str, queries: int, keys: int) -> int:
        inside = sum(map(len, active[kind])) * head_width
        projections = 2 * (queries + keys) * d * inside  # query and output; key and value
        return 2 * (projections + 2 * queries * keys * inside)  # scores, and weights times values

    def network(tokens: int) -> int:
        return 2 * 2 * tokens * d * wide

    counts = {
        "encoder self-attention": attention("encoder", s, s),
        "encoder feed-forward": encoders * network(s),
        "decoder self-attention": attention("decoder", t, t),
        "decoder cross-attention": attention("cross", t, s),
        "decoder feed-forward": decoders * network(t),
        "output": 2 * t * d * size["target_vocabulary"],
    }
    return _frame("flops", {part: batch * count for part, count in counts.items()})


def _frame(column: str, counts: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"part": list(counts), column: list(counts.values())})
