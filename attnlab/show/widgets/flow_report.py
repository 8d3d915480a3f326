"""What the flow desk shows of a sentence in a model, as plain numbers, lists and texts."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import softmax
from attnlab.errors import AttnlabError, SettingsError, suggest
from attnlab.languages import later, tr
from attnlab.show.widgets.flow_reading import Flow
from attnlab.show.wording import spoken, strict_percent, with_minus

STEPS = {  # in their order, and how their buttons are called
    "tokens": later("Tokens"),
    "vectors": later("Vectors"),
    "projections": later("Query, key, value"),
    "weights": later("Weights"),
    "mixture": later("Mixture"),
    "update": later("New vector"),
    "answer": later("Answer"),
}
MOST_TOKENS = 24  # beyond this the rows no longer fit a screen
SHOWN = 32  # numbers of a token's vector that are drawn
_OF_VECTORS = 0.95  # of the numbers drawn of vectors, the share within the full colour
_NAMED = 3  # tokens that are looked at most

Settings = dict[str, Any]


def named_steps() -> list[list[str]]:
    """Each step and how its button is called."""
    return [[step, tr(name)] for step, name in STEPS.items()]


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def flow_report(flow: Flow, settings: Settings) -> dict[str, Any]:
    """Say all that the desk shows of a sentence, in every step and for every token.

    Parameters
    ----------
    flow : of `read_flow`
    settings : ``text``; ``layer`` and ``head`` that are looked into; ``token``, index of the one
        that looks; ``step``, one of `STEPS`

    Returns
    -------
    report : dict of plain numbers, lists and texts. With T tokens, L layers and heads of width D

        - ``settings``; ``tokens``, ``ids`` and ``notes``, what there is to say of each token
        - ``columns`` (`SHOWN`): the numbers of a vector that are drawn, those in which the vectors
          that enter the layer differ most
        - ``rows`` (T, `SHOWN`), numbers of each token's row in the table of learned vectors;
          ``vectors`` (T, `SHOWN`), of the ``width`` with which it enters the layer; ``queries``,
          ``keys``, ``values`` (T, D); ``largest``, of all numbers of these vectors the one furthest
          from 0: its ``token`` and ``text``, and whether it is ``drawn``
        - ``scores`` and ``weights`` (T, T): row i is of the token i that looks
        - ``mixtures`` (T, D): the sum of weights times values
        - ``update``: what makes a token's new vector, in its order: the ``sign`` before it, its
          ``name``, ``values`` (T, `SHOWN`), and ``times`` (T), how many times as strong as those
          of the vectors their colours are
        - ``limits``: for each strip of numbers the value that has the full colour; ``parts`` (T):
          likewise for weights times values and their sum, for each token that looks
        - ``names`` of layers, "before layer 0" and so on, and ``answers`` (L + 1): in each the
          ``share`` of the final answer, its ``text``, and the ``label`` that leads
        - ``label``: the final answer; ``removed``: heads that are not there
        - ``words``: for each step a text for each token that looks; ``alt``: the picture in words

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
    columns = _telling_columns(entering)
    table = flow.looked_up
    strips = {
        "rows": table[:, columns] if table.shape[-1] == entering.shape[-1] else table[:, :SHOWN],
        "vectors": entering[:, columns],
        "queries": query,
        "keys": key,
        "values": value,
        "mixtures": mixtures,
    }
    limits = {name: _limit(values) for name, values in strips.items()}
    limits["vectors"] = _limit(strips["vectors"], _OF_VECTORS)
    report: dict[str, Any] = {
        "settings": dict(settings)
        | {"layer": layer, "head": head, "token": int(settings["token"])},
        "tokens": flow.tokens,
        "ids": flow.ids,
        "notes": _notes(flow.tokens),
        "width": entering.shape[-1],
        "columns": columns,
        "largest": _largest(entering, flow.tokens, columns),
        **{name: _rounded(values) for name, values in strips.items()},
        "limits": limits | {"parts": [_limit(_parts(row, value)) for row in weights]},
        "update": [
            {
                "sign": sign,
                "name": name,
                "values": _rounded(values[:, columns]),
                "times": _stronger(sign, values[:, columns], limits["vectors"]),
            }
            for sign, name, values in _update(flow, layer, head)
        ],
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
    report["words"] = _words(flow, report)
    return report | {"alt": _alternative(report)}


def _rounded(values: Tensor, digits: int = 3) -> list[list[float]]:
    return [[round(value, digits) for value in row] for row in values.tolist()]


def _limit(values: Tensor, share: float = 0.98) -> float:
    """The value with the full colour: few numbers are larger, which would make all others pale."""
    return round(float(values.abs().flatten().quantile(share)), 3) or 1.0


def _telling_columns(entering: Tensor) -> list[int]:
    """The numbers in which vectors (T, width) differ most from token to token, in their order."""
    spread = entering.std(0, correction=0)
    return sorted(spread.topk(min(SHOWN, len(spread))).indices.tolist())


def _update(flow: Flow, layer: int, head: int) -> list[tuple[str, str, Tensor]]:
    """How a layer makes each token's new vector: sign, name, and values (T, width)."""
    others = flow.query.shape[1] - 1
    if others == 0:
        rest = tr("from a learned bias")
    elif others == 1:
        rest = tr("from the other head")
    else:
        rest = tr("from the {count} other heads", count=others)
    mine = flow.added[layer, head]
    return [
        ("", tr("vector that enters layer {layer}", layer=layer), flow.hidden[layer]),
        ("+", tr("from head {layer}.{head}", layer=layer, head=head), mine),
        ("+", rest, flow.attention[layer] - mine),
        ("=", tr("sum, in standard size"), flow.attended[layer]),
        ("+", tr("from the feed-forward network"), flow.fed[layer]),
        ("=", tr("new vector"), flow.hidden[layer + 1]),
    ]


def _stronger(sign: str, values: Tensor, limit: float) -> list[float]:
    """For each token how many times as strong its colours are: what is added may be small."""
    if sign != "+":
        return [1.0] * len(values)
    return [max(1.0, round(limit / _limit(row, _OF_VECTORS), 1)) for row in values]


def _largest(entering: Tensor, tokens: list[str], columns: list[int]) -> dict[str, Any]:
    """Where the number furthest from 0 is, in vectors (T, width)."""
    row, column = divmod(int(entering.abs().argmax()), entering.shape[-1])
    text = with_minus(f"{float(entering[row, column]):.1f}")
    return {"token": tokens[row], "text": text, "drawn": column in columns}


def _parts(weights: Tensor, value: Tensor) -> Tensor:
    """What each token gives to the mixture of the one that looks, and the mixture (T + 1, D)."""
    parts = weights[:, None] * value
    return torch.cat([parts, parts.sum(0, keepdim=True)])


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


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def _notes(tokens: list[str]) -> list[str]:
    """What there is to say of each token."""
    marks = {
        "[CLS]": tr("marks the beginning"),
        "[SEP]": tr("marks the end"),
        "[UNK]": tr("is not known"),
    }
    return [
        tr("continues a word") if token.startswith("##") else marks.get(token, "")
        for token in tokens
    ]


def _words(flow: Flow, report: dict[str, Any]) -> dict[str, list[str]]:
    """For each step what is to be noticed, for each token that looks."""
    settings, width, tokens = report["settings"], report["width"], report["tokens"]
    layer, head, limits = settings["layer"], settings["head"], report["limits"]
    _, heads, count, size = flow.query.shape
    pieces = (
        tr(" A piece that begins with ## continues a word.")
        if any(token.startswith("##") for token in tokens)
        else ""
    )
    cut = tr(
        "The text is cut into {count} tokens: words, pieces of rare words, punctuation, and two "
        "marks, {first} and {last}.{pieces} Each has a number in a vocabulary of {vocabulary:,}, "
        "and this number picks its row from a table of learned vectors: red above 0, blue below.",
        count=count,
        first=tokens[0],
        last=tokens[-1],
        pieces=pieces,
        vocabulary=flow.vocabulary,
    )
    enter = (
        tr(
            "Each token becomes a vector of {width} numbers, learned in training. It says which "
            "token this is, and where in the text it stands.",
            width=width,
        )
        if layer == 0
        else tr(
            "These vectors of {width} numbers enter layer {layer}. Each began as its token alone; "
            "the layers before have added what they took from the other tokens.",
            width=width,
            layer=layer,
        )
    )
    drawn = tr(
        "Drawn are the {shown} in which the tokens differ most: red above 0, blue below.",
        shown=len(report["columns"]),
    )
    largest = report["largest"]
    more = (
        tr("The largest number of all, {text}, is in “{token}”.", **_named(largest))
        if largest["drawn"]
        else tr(
            "The largest number of all, {text} in “{token}”, is not among them.", **_named(largest)
        )
    )
    drawn = f"{drawn} {more}"
    project = tr(
        "Head {head} of layer {layer} multiplies each vector by three learned matrices. The query "
        "says what a token looks for, the key what it can be found by, the value what it passes "
        "on. Each has {size} numbers: red above 0, blue below. Other tokens' queries are veiled.",
        head=head,
        layer=layer,
        size=size,
    )
    return {
        "tokens": [cut] * count,
        "vectors": [f"{enter} {drawn}"] * count,
        "projections": [project] * count,
        "weights": [_weights_in_words(report, token, size) for token in range(count)],
        "mixture": [
            tr(
                "Each value times its weight, all added up: that is what head {head} of layer "
                "{layer} passes to “{token}”, in colours {times:.1f} times as strong as those of "
                "the values. The layer's {heads} do this side by side.",
                head=head,
                layer=layer,
                token=token,
                times=limits["values"] / part,
                heads=tr("1 head") if heads == 1 else tr("{count} heads", count=heads),
            )
            for token, part in zip(tokens, limits["parts"], strict=True)
        ],
        "update": [_update_in_words(report, token) for token in range(count)],
        "answer": [_answer_in_words(report)] * count,
    }


def _named(largest: dict[str, Any]) -> dict[str, str]:
    return {name: largest[name] for name in ("text", "token")}


def _update_in_words(report: dict[str, Any], token: int) -> str:
    """How the layer makes one token's new vector, and where that goes."""
    layer, depth = report["settings"]["layer"], len(report["answers"]) - 1
    goes = (
        tr("Then layer {number} begins, with step 2.", number=layer + 1)
        if layer + 1 < depth
        else tr(
            "This is the last layer: the answer is read off {token}.", token=report["tokens"][0]
        )
    )
    told = tr(
        "Layer {layer} makes a new vector for “{token}”. Each head adds its mixture (step 5) times "
        "a learned matrix W_O; then the feed-forward network adds what it makes of the sum. "
        "LayerNorm brings each sum to a standard size. “× 3”: colours 3 times as strong.",
        layer=layer,
        token=report["tokens"][token],
    )
    return f"{told} {goes}"


def _weights_in_words(report: dict[str, Any], token: int, size: int) -> str:
    """Where one token looks most, and how the weights come about."""
    tokens, weights = report["tokens"], report["weights"][token]
    best = sorted(range(len(tokens)), key=weights.__getitem__, reverse=True)[:_NAMED]
    seen = [other for other in best if weights[other] >= 0.005]
    most = ", ".join(f"“{tokens[other]}” {weights[other]:.2f}" for other in seen)
    return tr(
        "“{token}” compares its query, at the bottom, with every key. Their dot product, divided "
        "by √{size}, is the score; softmax turns the scores into weights that sum to 1. Most "
        "weight: {most}.",
        token=tokens[token],
        size=size,
        most=most,
    )


def _answer_in_words(report: dict[str, Any]) -> str:
    """What the read-out says after each layer, and from which one on it is the final answer."""
    answers, label, names = report["answers"], report["label"], report["names"]
    since = len(answers) - 1
    while since and answers[since - 1]["label"] == label:
        since -= 1
    turn = (
        tr("“{label}” leads for good only {since}.", label=label, since=names[since])
        if since
        else tr("“{label}” leads throughout.", label=label)
    )
    told = tr(
        "The answer, “{label}” ({final}), is read off {token} after the last layer. Here the same "
        "read-out is tried earlier, too. It was trained for the last layer only, so its early "
        "answers are an approximation.",
        label=label,
        final=spoken(report["answers"][-1]["text"]),
        token=report["tokens"][0],
    )
    return f"{told} {turn}"


def _alternative(report: dict[str, Any]) -> str:
    """The whole flow in words."""
    settings, tokens = report["settings"], report["tokens"]
    token = settings["token"]
    shares = ", ".join(
        f"{name} {answer['text']}"
        for name, answer in zip(report["names"], report["answers"], strict=True)
    )
    return tr(
        "A sentence of {tokens} on its way through layer {layer}, head {head}: vectors, query, "
        "keys, values, weights, weighted values, new vector. {weights} Probability of “{label}”: "
        "{shares}.",
        tokens=tr("1 token") if len(tokens) == 1 else tr("{count} tokens", count=len(tokens)),
        layer=settings["layer"],
        head=settings["head"],
        weights=report["words"]["weights"][token],
        label=report["label"],
        shares=shares,
    )


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
