"""What the flow desk shows of a sentence in a model, as plain numbers, lists and texts."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import softmax
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.languages import later, tr
from attnlab.show.widgets.flow_reading import PARTS, SHOWN, Flow, every_so_many
from attnlab.show.widgets.flow_words import alternative, asked, notes, words
from attnlab.show.wording import strict_percent, with_minus

STEPS = {  # in their order, from 0, and how their buttons are called
    "model": later("Model"),
    "tokens": later("Tokens"),
    "vectors": later("Vectors"),
    "projections": later("Query, key, value"),
    "weights": later("Weights"),
    "mixture": later("Mixture"),
    "update": later("New vector"),
    "answer": later("Answer"),
}
LINES = {  # of the whole model: what their width is
    "weights": later("weight"),
    "carried": later("weight × length of (value × W_O)"),
}
MOST_TOKENS = 24  # beyond this the rows no longer fit a screen
_OF_EACH_LAYER = 8  # numbers of a token's vector in the picture of the whole model
_OF_VECTORS = 0.95  # of the numbers drawn of vectors, the share within the full colour

Settings = dict[str, Any]


def named(choices: dict[str, str]) -> list[list[str]]:
    """Each of `STEPS` or `LINES`, and how it is called."""
    return [[choice, tr(name)] for choice, name in choices.items()]


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def flow_report(flow: Flow, settings: Settings) -> dict[str, Any]:
    """Say all that the desk shows of a sentence, in every step and for every token.

    Parameters
    ----------
    flow : of `read_flow`
    settings : ``text``; ``layer`` and ``head`` that are looked into; ``token``, index of the one
        that looks; ``step``, one of `STEPS`; ``lines`` of the
        whole model, one of `LINES`

    Returns
    -------
    report : dict of plain numbers, lists and texts. With T tokens, L layers and heads of width D

        - ``settings``; ``tokens``, ``ids`` and ``notes``, what there is to say of each token
        - ``columns`` (`SHOWN` or fewer): numbers of a vector that are drawn, in equal steps, the
          largest of all among them
        - ``rows`` (T, `SHOWN`), numbers of each token's row in the table of learned vectors;
          ``positions``, what is added for its position; ``starts``, the sum, rescaled;
          ``vectors`` (T, `SHOWN`), of the ``width`` with which it enters the layer; ``queries``,
          ``keys``, ``values`` (T, D); ``largest``, of all numbers of these vectors the one furthest
          from 0: its ``token`` and ``text``
        - ``between``: for each of `LINES` how wide they are (L, T, T): the weights of each layer,
          the mean of its heads; or each weight times the length of the value that it is given to,
          after the output projection, the sum of the heads, as a share of the most that a token
          gets in any layer (Kobayashi et al. 2020)
        - ``states`` (L + 1, T, `_OF_EACH_LAYER`): a few numbers of each token's vector before
          layer 0 and after each layer
        - ``matrices``, the ``query``, ``key`` and ``value`` of the head: rows of W_Q, W_K and W_V
          (`SHOWN`, D), for the numbers of ``columns``
        - ``scores`` and ``weights`` (T, T): row i is of the token i that looks
        - ``mixtures`` (T, D): the sum of weights times values
        - ``update``: what makes a token's new vector, in its order: the ``sign`` before it, its
          ``name``, ``values`` (T, `SHOWN`; inside the network as many more as there are),
          ``times`` (T), how many times as strong as those of the vectors their colours are, and
          ``lengths`` (T), the root of the sum of all squares
        - ``by_head`` (T, H): the length of what each head of the layer adds to a token
        - ``limits``: for each strip of numbers the value that has the full colour; ``parts`` (T):
          likewise for weights times values, for each token that looks
        - ``read`` (L + 1, `SHOWN`): the first token's vector before layer 0 and after each layer,
          of which the answer is read off
        - ``names`` of layers, "before layer 0" and so on, and ``answers`` (L + 1): in each the
          ``share`` of the final answer, its ``text``, and the ``label`` that leads
        - ``label``: the final answer; ``removed``: heads that are not there
        - ``words``: for each step a text for each token that looks; ``asked``: the same in three
          parts, what is shown, a question, and what is found; ``alt``: the picture in words

    Raises
    ------
    SettingsError : a layer, head, token or step that is not there
    AttnlabError : more than `MOST_TOKENS` tokens
    """
    check(flow, settings)
    layer, head = int(settings["layer"]), int(settings["head"])
    query, key, value = (part[layer, head] for part in (flow.query, flow.key, flow.value))  # (T, D)
    scores = query @ key.T / query.shape[-1] ** 0.5  # (T, T)
    weights = softmax(scores)
    mixtures = weights @ value  # (T, D)
    entering = flow.hidden[layer]
    columns = flow.columns[layer]
    same = flow.looked_up.shape[-1] == entering.shape[-1]  # not so in ELECTRA and ALBERT
    table_columns = columns if same else list(range(min(SHOWN, flow.looked_up.shape[-1])))
    strips = {
        "rows": flow.looked_up[:, table_columns],
        "positions": flow.positions[:, table_columns],
        "starts": flow.hidden[0][:, columns],
        "vectors": entering[:, columns],
        "queries": query,
        "keys": key,
        "values": value,
        "mixtures": mixtures,
    }
    limits = {name: _limit(values) for name, values in strips.items()}
    limits["vectors"] = _limit(strips["vectors"], _OF_VECTORS)
    for part, matrix in zip(PARTS, flow.matrices[:, layer, head], strict=True):
        limits[f"{part} matrix"] = _limit(matrix)
    states = flow.hidden[..., every_so_many(flow.hidden, _OF_EACH_LAYER)]
    limits["states"] = _limit(states, _OF_VECTORS)
    read = flow.hidden[:, 0, columns]
    limits["read"] = min(limits["vectors"], _limit(read, _OF_VECTORS))
    report: dict[str, Any] = {
        "settings": dict(settings)
        | {"layer": layer, "head": head, "token": int(settings["token"])},
        "tokens": flow.tokens,
        "ids": flow.ids,
        "notes": notes(flow.tokens),
        "width": entering.shape[-1],
        "columns": columns,
        "largest": _largest(entering, flow.tokens),
        **{name: _rounded(values) for name, values in strips.items()},
        "limits": limits | {"parts": [_limit(row[:, None] * value) for row in weights]},
        "between": {
            lines: [_rounded(layer) for layer in shares]
            for lines, shares in zip(LINES, _between(flow), strict=True)
        },
        "states": [_rounded(state) for state in states],
        "matrices": {
            part: _rounded(matrix)
            for part, matrix in zip(PARTS, flow.matrices[:, layer, head], strict=True)
        },
        "update": _update(flow, layer, head, columns),
        "by_head": _rounded(flow.added[layer].norm(dim=-1).T, 2),
        "read": _rounded(read),
        "scores": _rounded(scores),
        "weights": _rounded(weights, 4),
        "names": [
            tr("before layer 0"),
            *(tr("after layer {number}", number=number) for number in range(len(flow.query))),
        ],
        "label": flow.label_names[int(flow.answers[-1].argmax())],
        "answers": _answers(flow),
        "removed": flow.removed,
    }
    report["words"], report["asked"] = words(flow, report), asked(flow, report)
    return report | {"alt": alternative(report)}


def _rounded(values: Tensor, digits: int = 3) -> list[list[float]]:
    return [[round(value, digits) for value in row] for row in values.tolist()]


def _limit(values: Tensor, share: float = 0.98) -> float:
    """The value with the full colour: few numbers are larger, which would make all others pale."""
    return round(float(values.abs().flatten().quantile(share)), 3) or 1.0


def _between(flow: Flow) -> tuple[Tensor, Tensor]:
    """How much each token gets from each other in each layer (L, T, T), for each of `LINES`."""
    depth, count, _, size = flow.query.shape
    there = torch.ones(depth, count, 1, 1)  # 0 for a head that was removed
    for layer, head in flow.removed:
        there[layer, head] = 0
    weights = softmax(flow.query @ flow.key.transpose(-1, -2) / size**0.5) * there  # (L, H, T, T)
    carried = (weights * flow.offered[:, :, None]).sum(1)
    most = carried.sum(-1).max().clamp(min=1e-12)
    return weights.sum(1) / there.sum(1).clamp(min=1), carried / most


def _update(flow: Flow, layer: int, head: int, columns: list[int]) -> list[dict[str, Any]]:
    """How a layer makes each token's new vector, part by part."""
    others = flow.query.shape[1] - 1
    if others == 0:
        rest = tr("from a learned bias")
    elif others == 1:
        rest = tr("from the other head")
    else:
        rest = tr("from {count} other heads", count=others)
    mine, neurons = flow.added[layer, head], flow.neurons[layer]
    inside = tr("{count:,} numbers inside", count=neurons.shape[-1])
    limit = _limit(flow.hidden[layer][:, columns], _OF_VECTORS)
    most = SHOWN * neurons.shape[-1] // flow.hidden.shape[-1]  # as large a share as of a vector

    def part(sign: str, name: str, values: Tensor, added: bool = True) -> dict[str, Any]:
        shown = values[:, every_so_many(values, most) if sign == "→" else columns]
        own = [max(1.0, round(limit / _limit(row, _OF_VECTORS), 1)) for row in shown]
        return {
            "sign": sign,
            "name": name,
            "values": _rounded(shown),
            "lengths": [round(value, 2) for value in values.norm(dim=-1).tolist()],
            "times": own if added else [1.0] * len(own),
        }

    return [
        part("", tr("vector that enters layer {layer}", layer=layer), flow.hidden[layer], False),
        part("+", tr("from L{layer}H{head}", layer=layer, head=head), mine),
        part("+", rest, flow.attention[layer] - mine),
        part("=", tr("sum, rescaled (LayerNorm)"), flow.attended[layer], False),
        part("→", inside, neurons),
        part("+", tr("from feed-forward"), flow.fed[layer]),
        part("=", tr("new vector"), flow.hidden[layer + 1], False),
    ]


def _largest(entering: Tensor, tokens: list[str]) -> dict[str, str]:
    """The number furthest from 0 in vectors (T, width), and whose it is."""
    row, column = divmod(int(entering.abs().argmax()), entering.shape[-1])
    return {"token": tokens[row], "text": with_minus(f"{float(entering[row, column]):.1f}")}


def _answers(flow: Flow) -> list[dict[str, Any]]:
    """Before the first layer and after each: how sure of the final answer, and what leads."""
    final = int(flow.answers[-1].argmax())
    return [
        {
            "share": round(float(row[final]), 4),
            "text": strict_percent(float(row[final]), 0),
            "label": flow.label_names[int(row.argmax())],
        }
        for row in flow.answers
    ]


# ── what is refused ────────────────────────────────────────────────────────────────────────────


def check(flow: Flow, settings: Settings) -> None:
    """Raise an AttnlabError unless there are this layer, head, token and step to show."""
    depth, heads, count, _ = flow.query.shape
    if count > MOST_TOKENS:
        raise AttnlabError(
            tr(
                "This text has {count} tokens; the flow desk draws {most} at most, so that each "
                "can be read. Take a shorter sentence.",
                count=count,
                most=MOST_TOKENS,
            )
        )
    for name, size in (("layer", depth), ("head", heads), ("token", count)):
        given = settings[name]
        whole = isinstance(given, Integral) and not isinstance(given, bool)
        if not whole or not 0 <= int(given) < size:
            raise SettingsError(
                tr(
                    "{name} is {given!r}; it is a whole number from 0 to {most}.",
                    name=name,
                    given=given,
                    most=size - 1,
                )
            )
    if settings["step"] not in STEPS:
        raise SettingsError(
            f"There is no step {settings['step']!r}. {suggest(settings['step'], STEPS)}"
        )
    if settings["lines"] not in LINES:
        raise SettingsError(
            f"There are no lines {settings['lines']!r}. {suggest(settings['lines'], LINES)}"
        )
    if [settings["layer"], settings["head"]] in flow.removed:
        raise SettingsError(
            tr(
                "Head {head} of layer {layer} was removed from this model. Choose another one.",
                head=settings["head"],
                layer=settings["layer"],
            )
        )


def telling_token(flow: Flow, layer: int, head: int) -> int:
    """The token that gives most of its weight to another word; the first where there is none."""
    count = len(flow.tokens)
    weights = softmax(
        flow.query[layer, head] @ flow.key[layer, head].T / flow.query.shape[-1] ** 0.5
    )
    weights[[0, -1]] = 0
    weights[:, [0, -1]] = 0
    weights.fill_diagonal_(0)
    return int(weights.argmax()) // count


def first_head(flow: Flow, layer: int) -> int:
    """The first head of a layer that was not removed; 0 if all were, or there is no such layer."""
    gone = {head for place, head in flow.removed if place == layer}
    return next((head for head in range(flow.query.shape[1]) if head not in gone), 0)
