"""What the flow desk says of each step, and of the picture as a whole."""

import itertools
from typing import Any

from attnlab.languages import tr
from attnlab.show.widgets.flow_reading import Flow
from attnlab.show.wording import spoken

_NAMED = 3  # tokens that are looked at most
_ONLY_ASKED = ("mixture", "update")  # steps whose words have no room for what is found


def notes(tokens: list[str]) -> list[str]:
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


def words(flow: Flow, report: dict[str, Any]) -> dict[str, list[str]]:
    """For each step what it shows and what is to be noticed, for each token that looks."""
    return {
        step: [
            shown if step in _ONLY_ASKED else f"{shown} {found}".strip() for shown, found in pairs
        ]
        for step, pairs in _shown_and_found(flow, report).items()
    }


def asked(flow: Flow, report: dict[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """For each step and token that looks what is shown, a question, and what is found."""
    return {
        step: [
            (shown, _question(step, report, token), found or _order())
            for token, (shown, found) in enumerate(pairs)
        ]
        for step, pairs in _shown_and_found(flow, report).items()
    }


def _question(step: str, report: dict[str, Any], token: int) -> str:
    """What can be found out from the picture of a step."""
    settings, tokens = report["settings"], report["tokens"]
    looks = tokens[token]
    if step == "model" and settings["lines"] != "weights":
        return tr("In which layer does “{token}” get most from other tokens?", token=looks)
    return {
        "model": tr("In which layer does “{token}” look most at other tokens?", token=looks),
        "tokens": tr("What would be lost without the positions?"),
        "vectors": tr("Which token has the number with the strongest colour?"),
        "projections": tr("Which token's value is the shortest, and so can pass on least?"),
        "weights": tr("At which tokens does “{token}” look most?", token=looks),
        "mixture": tr("Which tokens' parts have the strongest colours?"),
        "update": tr(
            "Which adds more to “{token}”: L{layer}H{head}, the other heads, or the feed-forward "
            "network?",
            token=looks,
            layer=settings["layer"],
            head=settings["head"],
        ),
        "answer": tr("After which layer does the answer appear?"),
    }[step]


def _order() -> str:
    return tr(
        "The order of the words: the same words in another order would start with the same "
        "vectors, each at another place."
    )


def _shown_and_found(flow: Flow, report: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """For each step and token that looks what is shown, and what is found in it."""
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
        "and this number picks its row from a table of learned vectors: red above 0, blue below. A "
        "vector for its position is added. LayerNorm rescales the sum, each number differently.",
        count=count,
        first=tokens[0],
        last=tokens[-1],
        pieces=pieces,
        vocabulary=flow.vocabulary,
    )
    enter = (
        tr(
            "Each token enters layer 0 as a vector of {width} numbers: its row of the table, plus "
            "a learned vector for its position in the text, rescaled by LayerNorm.",
            width=width,
        )
        if layer == 0
        else tr(
            "These vectors of {width} numbers enter layer {layer}. Each began as its token and its "
            "position; then heads and feed-forward networks of the layers before have added to it.",
            width=width,
            layer=layer,
        )
    )
    every = next((second - first for first, second in itertools.pairwise(report["columns"])), 1)
    drawn = tr("Red is above 0, blue below.")
    if every > 1:
        drawn = tr("One number in {every} is drawn. {colours}", every=every, colours=drawn)
    largest = tr("The largest number, {text}, is in “{token}”.", **report["largest"])
    lengths = flow.value[layer, head].norm(dim=-1)
    project = tr(
        "Head {head} of layer {layer} multiplies each vector by three learned matrices (some rows "
        "are drawn; each column makes the number below it). The query says what a token looks "
        "for, the key what it can be found by, the value what it passes on. Other tokens' queries "
        "are drawn thin.",
        head=head,
        layer=layer,
    )
    ends = tr(
        "Shortest value: “{short}”, {least:.1f}; longest: “{long}”, {most:.1f}.",
        short=tokens[int(lengths.argmin())],
        long=tokens[int(lengths.argmax())],
        least=float(lengths.min()),
        most=float(lengths.max()),
    )
    return {
        "model": [_model_in_words(report, token) for token in range(count)],
        "tokens": [(cut, "")] * count,
        "vectors": [(f"{enter} {drawn}", largest)] * count,
        "projections": [(project, ends)] * count,
        "weights": [_weights_in_words(report, token, size) for token in range(count)],
        "mixture": [
            (
                tr(
                    "Each value times its weight (the wider the line, the more) is its part, drawn "
                    "in colours {times:.1f} times as strong. The sum of all parts is what head "
                    "{head} of layer {layer} passes to “{token}”. The layer's {heads} do this side "
                    "by side.",
                    head=head,
                    layer=layer,
                    token=name,
                    times=limits["values"] / part,
                    heads=tr("1 head") if heads == 1 else tr("{count} heads", count=heads),
                ),
                _longest_parts(report, token, lengths.tolist()),
            )
            for token, (name, part) in enumerate(zip(tokens, limits["parts"], strict=True))
        ],
        "update": [_update_in_words(flow, report, token) for token in range(count)],
        "answer": [_answer_in_words(report, token) for token in range(count)],
    }


def _longest_parts(report: dict[str, Any], token: int, lengths: list[float]) -> str:
    """Whose parts of a mixture are longest: weight times length of value."""
    weights = report["weights"][token]
    parts = [weight * length for weight, length in zip(weights, lengths, strict=True)]
    best = sorted(range(len(parts)), key=parts.__getitem__, reverse=True)[:2]
    return tr(
        "Longest parts: {parts}.",
        parts=", ".join(
            tr("“{token}” {length:.1f}", token=report["tokens"][other], length=parts[other])
            for other in best
        ),
    )


def _model_in_words(report: dict[str, Any], token: int) -> tuple[str, str]:
    """How one token's way through all layers is drawn, and where it looks most at others."""
    lines = report["settings"]["lines"]
    tokens, between = report["tokens"], report["between"][lines]
    others = [sum(layer[token]) - layer[token][token] for layer in between]
    layer = max(range(len(between)), key=others.__getitem__)
    told, found = (
        (
            tr(
                "Purple lines lead to “{token}” from each token that it looks at, as wide as the "
                "weight, the mean of a layer's heads.",
                token=tokens[token],
            ),
            tr(
                "In layer {layer} “{token}” gives {share:.2f} of its weight to other tokens, more "
                "than in any other layer.",
                token=tokens[token],
                layer=layer,
                share=others[layer],
            ),
        )
        if lines == "weights"
        else (
            tr(
                "Purple lines are now as wide as the weight times the length of value × W_O; a "
                "value near 0 brings nothing, whatever its weight."
            ),
            tr(
                "“{token}” gets most from others in layer {layer}: {share:.2f}.{then} (1 is the "
                "most that any token gets in a layer.)",
                token=tokens[token],
                then=_next_layer(others),
                layer=layer,
                share=others[layer],
            ),
        )
    )
    shown = tr(
        "Each row is a token: its vector goes from left to right, through {layers}. {lines} The "
        "answer is read off {first}. Click a layer to open it.",
        lines=told,
        layers=tr("1 layer") if len(between) == 1 else tr("{count} layers", count=len(between)),
        first=tokens[0],
    )
    return shown, found


def _next_layer(others: list[float]) -> str:
    """The layer in which a token gets most from others but for one, if there are two."""
    _, *rest = sorted(range(len(others)), key=others.__getitem__, reverse=True)
    if not rest:
        return ""
    return tr(" Next: layer {layer}, {share:.2f}.", layer=rest[0], share=others[rest[0]])


def _update_in_words(flow: Flow, report: dict[str, Any], token: int) -> tuple[str, str]:
    """How the layer makes one token's new vector and where that goes; what adds most."""
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
        "a learned matrix; then the feed-forward network, with {inside:,} numbers inside, adds "
        "what it makes of the sum. LayerNorm rescales each sum.",
        layer=layer,
        token=report["tokens"][token],
        inside=flow.neurons.shape[-1],
    )
    times = report["update"][1]["times"][token]
    if times > 1:
        shown = f"{times:.{int(times < 10)}f}"
        more = tr("“× {times}”: the colours are {times} times as strong.", times=shown)
        told = f"{told} {more}"
    return f"{told} {goes}", _most_added(report, token)


def _most_added(report: dict[str, Any], token: int) -> str:
    """Which of the parts that are added is longest."""
    added = [part for part in report["update"] if part["sign"] == "+"]
    longest = max(added, key=lambda part: part["lengths"][token])
    return tr(
        "Longest: {part}, {length:.1f}. The old vector: {old:.1f}.",
        part=longest["name"],
        length=longest["lengths"][token],
        old=report["update"][0]["lengths"][token],
    )


def _weights_in_words(report: dict[str, Any], token: int, size: int) -> tuple[str, str]:
    """How the weights of one token come about, and where it looks most."""
    tokens, weights = report["tokens"], report["weights"][token]
    best = sorted(range(len(tokens)), key=weights.__getitem__, reverse=True)[:_NAMED]
    seen = [other for other in best if weights[other] >= 0.005]
    most = ", ".join(f"“{tokens[other]}” {weights[other]:.2f}" for other in seen)
    shown = tr(
        "“{token}” compares its query, at the bottom, with every key. Their dot product, divided "
        "by √{size}, is the score; softmax turns the scores into weights that sum to 1.",
        token=tokens[token],
        size=size,
    )
    found = tr(
        "Most weight: {most}. An even share would be {even:.2f}.", most=most, even=1 / len(tokens)
    )
    return shown, found


def _answer_in_words(report: dict[str, Any], token: int) -> tuple[str, str]:
    """What the read-out says after each layer, and from which one on it is the final answer."""
    answers, label, names = report["answers"], report["label"], report["names"]
    since = len(answers) - 1
    while since and answers[since - 1]["label"] == label:
        since -= 1
    turn = (
        tr("“{label}” takes the lead for good {since}.", label=label, since=names[since])
        if since
        else tr("“{label}” leads throughout.", label=label)
    )
    told = tr(
        "The answer, “{label}” ({final}), is read off {token} after the last layer. Here the same "
        "read-out is tried earlier, too. It was trained for the last layer only: before it, these "
        "are not answers that the model has learned to give.",
        label=label,
        final=spoken(report["answers"][-1]["text"]),
        token=report["tokens"][0],
    )
    if token:
        more = tr(
            "“{token}” itself is not read: what it holds has to reach {first} through heads.",
            token=report["tokens"][token],
            first=report["tokens"][0],
        )
        return f"{told} {more}", turn
    return told, turn


def alternative(report: dict[str, Any]) -> str:
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
