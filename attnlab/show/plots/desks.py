"""Still pictures of desks, drawn from what the desks show."""

import base64
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from attnlab.show.plots.picture import BETTER_WITHOUT, NEEDED, ROLES, Picture, heatmap, style
from attnlab.show.wording import signed_points, with_interval, with_minus

_BLUE, _GREY, _INK = "#2166ac", "#8c8c8c", "#212121"
_HEADING: dict[str, Any] = {"fontsize": 11, "fontweight": "bold"}
_COLOURS = {  # of the mixing desk: what red and blue say, and the unit
    "loss": ("red rises, blue falls", "nat"),
    "margin": ("red falls, blue rises", "logits"),
}


# ── mixing desk ────────────────────────────────────────────────────────────────────────────────


def mixing_desk(
    faders: dict[str, Any],
    importance: tuple[Sequence[Sequence[float]] | None, str],
    sentence: tuple[str, dict[str, Any]],
    accuracy: dict[str, Any],
) -> Picture:
    """Draw a mixing desk: its faders, the answer to its sentence, and accuracy.

    Parameters
    ----------
    faders : ``scale`` and ``temperature`` of every head, layers by heads
    importance : what silencing a head costs, layers by heads, None if not known; and of what,
        "loss" or "margin"
    sentence : the text, and ``labels`` with their probabilities ``after`` and ``before``; what is
        not known yet is left out
    accuracy : as `mixing.accuracy_report` makes it; empty before the first
    """
    scale = np.array(faders["scale"], dtype=float)
    temperature = np.array(faders["temperature"], dtype=float)
    layers, heads = scale.shape
    with style():
        size = (8.8, max(3.3, 1.4 + 0.36 * layers))
        figure = plt.figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12))
        grid = figure.add_gridspec(2, 2, width_ratios=(1.6, 1), height_ratios=(1, 1.25))
        _draw_faders(figure.add_subplot(grid[:, 0]), scale, temperature, importance)
        _draw_answer(figure.add_subplot(grid[0, 1]), *sentence)
        _draw_accuracy(figure.add_subplot(grid[1, 1]), accuracy)
    told = _mixing_words(int((scale > 0).sum()), layers * heads, sentence, accuracy)
    return Picture(figure, told)


def mixing_readings(sentence: tuple[str, dict[str, Any]], accuracy: dict[str, Any]) -> Picture:
    """Draw what a mixing desk says without its faders: the answer to its sentence, and accuracy.

    Both arguments are those of `mixing_desk`.
    """
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(8.8, 2.3), layout="constrained")
        _draw_answer(axes[0], *sentence)
        _draw_accuracy(axes[1], accuracy)
    return Picture(figure, " ".join(_readings_in_words(sentence, accuracy)))


def _draw_faders(
    axes: Axes,
    scale: np.ndarray,
    temperature: np.ndarray,
    importance: tuple[Sequence[Sequence[float]] | None, str],
) -> None:
    """A cell for each head with its fader of scale, on the colour of its importance."""
    layers, heads = scale.shape
    estimated, colour = importance
    known = np.zeros(scale.shape) if estimated is None else np.array(estimated, dtype=float)
    part = known / max(float(np.abs(known).max()), 1e-9)
    for layer, head in np.ndindex(layers, heads):
        value, share = scale[layer, head], 0.6 * abs(part[layer, head])
        hue = np.array(_rgb(NEEDED if part[layer, head] > 0 else BETTER_WITHOUT))
        ground = share * hue + (1 - share) * 0.95
        place = (head + 0.04, layer + 0.04)
        axes.add_patch(Rectangle(place, 0.92, 0.92, facecolor=ground, edgecolor="none"))
        at = head + 0.18 + 0.64 * min(float(value), 2.0) / 2
        moved = value != 1
        words = [f"{value:g}"] if moved else []
        if temperature[layer, head] != 1:
            words.append(f"t {temperature[layer, head]:g}")
        middle = layer + (0.3 if words else 0.5)
        axes.plot([head + 0.18, head + 0.82], [middle] * 2, color=_GREY, lw=1.2, zorder=2)
        handle: dict[str, Any] = {
            "facecolor": _INK if moved else ROLES["weights"],
            "edgecolor": "none",
            "zorder": 3,
        }
        axes.add_patch(Rectangle((at - 0.07, middle - 0.2), 0.14, 0.4, **handle))
        if words:
            looks: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10}
            axes.text(head + 0.5, layer + 0.74, " ".join(words), color="black", zorder=4, **looks)
    axes.set(xlim=(0, heads), ylim=(layers, 0), xlabel="head")
    axes.set_xticks(np.arange(heads) + 0.5, [str(head) for head in range(heads)])
    axes.set_yticks(np.arange(layers) + 0.5, [f"layer {layer}" for layer in range(layers)])
    axes.tick_params(length=0, labelsize=10)
    for side in axes.spines.values():
        side.set_visible(False)
    title = f"{int((scale > 0).sum())} of {scale.size} heads on"
    axes.set_title(title, loc="left", pad=24 if estimated is None else 38, **_HEADING)
    note = "Fader: left 0, silent; middle 1, as trained; right 2."
    if estimated is not None:
        most = float(np.abs(known).max())
        ways, unit = _COLOURS[colour]
        note += f"\nColour: estimated {colour} without it; {ways}; darkest: {most:.2g} {unit}."
    axes.annotate(note, (0, 1), (0, 6), "axes fraction", "offset points", fontsize=9.5)


def _draw_accuracy(axes: Axes, accuracy: dict[str, Any]) -> None:
    """Held-out accuracy, and its change with the interval."""
    axes.set_yticks([])
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    if not accuracy:
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_title("Held-out accuracy: not measured yet", loc="left", **_HEADING)
        return
    known = with_interval(accuracy["accuracy"], tuple(accuracy["interval"]))
    so_far = "" if accuracy["state"] == "measured" else " so far"
    axes.set_title(f"Held-out accuracy{so_far}\n{known}", loc="left", **_HEADING)
    still = accuracy["delta"] is None
    # it ends where words pass
    axes.axvline(0, ymin=0 if still else 0.24, ymax=0.52 if still else 0.66, color=_GREY, lw=1)
    axes.xaxis.set_major_formatter(lambda value, _: with_minus(f"{value:g}"))
    axes.tick_params(labelsize=10)
    if still:  # as it will look: what moves finds its place
        same = "A and B are the same." if accuracy.get("side") else "All faders are at 1."
        axes.plot(0, 0.35, "o", color="white", markeredgecolor="#595959", ms=9, zorder=3)
        told = f"{same} No change,\nmeasured on {accuracy['n']:,}."
        axes.text(0.0, 0.98, told, transform=axes.transAxes, fontsize=10, va="top")
        axes.set(xlim=(-2.5, 2.5), ylim=(0, 1.15))
        axes.set_xlabel("change, percentage points", fontsize=10)
        return
    low, at, high = (100 * accuracy[name] for name in ("low", "delta", "high"))
    reach = max(2.5, 1.15 * max(abs(low), abs(high)))
    colour = NEEDED if high < 0 else "#2b7a4b" if low > 0 else "#595959"
    axes.plot([low, high], [0.6, 0.6], color=colour, lw=4, solid_capstyle="butt")
    axes.plot(at, 0.6, "o", color=colour, ms=9)
    told = f"{signed_points(accuracy['delta'])} points"
    axes.text(at, 0.85, told, ha="center", fontsize=10)
    counts = f"{accuracy['gained']} gained, {accuracy['lost']} lost of {accuracy['n']:,}"
    axes.text(0.0, 0.12, counts, transform=axes.transAxes, fontsize=10)
    axes.set(xlim=(-reach, reach), ylim=(0, 1.15))
    whose = " (B against A)" if accuracy.get("side") else ""
    label = f"change{whose}, percentage points\n(bar: 95 % interval)"
    axes.set_xlabel(label, fontsize=10)


def _draw_answer(axes: Axes, text: str, answer: dict[str, Any]) -> None:
    """Probabilities of the labels, and a mark where they were."""
    for side in axes.spines.values():
        side.set_visible(False)
    short = "\n".join(textwrap.wrap(f"“{text}”", 36, max_lines=2, placeholder=" …”"))
    axes.set_title(short.replace("$", r"\$"), loc="left", fontsize=10.5)
    axes.set_xticks([])
    labels = answer.get("labels", [])[:6]
    axes.set_yticks(range(len(labels)), [label.replace("$", r"\$") for label in labels])
    axes.tick_params(length=0, labelsize=10)
    axes.set(xlim=(0, 1.35), ylim=(max(len(labels), 2) - 0.4, -0.6))
    for row, _label in enumerate(labels):
        after, before = answer["after"][row], answer["before"][row]
        axes.barh(row, 1, 0.5, color="#eeeeee")
        axes.barh(row, after, 0.5, color=_GREY)
        axes.plot([before, before], [row - 0.32, row + 0.32], color=_INK, lw=2)
        axes.text(1.03, row, f"{after:.0%}".replace("%", " %"), va="center_baseline", fontsize=10)


def _mixing_words(
    on: int,
    heads: int,
    sentence: tuple[str, dict[str, Any]],
    accuracy: dict[str, Any],
) -> str:
    told = [f"Mixing desk of {heads} attention heads, {on} of them on."]
    return " ".join([*told, *_readings_in_words(sentence, accuracy)])


def _readings_in_words(sentence: tuple[str, dict[str, Any]], accuracy: dict[str, Any]) -> list[str]:
    text, answer = sentence
    told = []
    if answer.get("labels"):
        best = int(np.argmax(answer["after"]))
        told.append(f"“{text}” is {answer['labels'][best]} with {answer['after'][best]:.1%}.")
    if accuracy:
        interval = tuple(accuracy["interval"])
        told.append(f"Held-out accuracy {with_interval(accuracy['accuracy'], interval)}.")
        if accuracy["delta"] is not None:
            low, high = signed_points(accuracy["low"]), signed_points(accuracy["high"])
            change = signed_points(accuracy["delta"])
            told.append(f"The change is {change} points (95\u00a0%: {low} to {high}).")
    return told


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red / 255, green / 255, blue / 255


# ── softmax and masks ──────────────────────────────────────────────────────────────────────────


def softmax_desk(report: dict[str, Any], gradient: bool = True) -> Picture:
    """Draw a softmax desk: scores, weights, and with ``gradient`` how it shrinks with the width."""
    settings, largest = report["settings"], report["largest"]
    keys = np.arange(len(report["scores"]))
    count = 3 if gradient else 2
    with style():
        size = (8.4 if gradient else 7.2, 2.9)  # wider, its type would shrink on a page
        figure, axes = plt.subplots(1, count, figsize=size, layout="constrained")
        colours = ["#ca5a14" if key == largest else _BLUE for key in keys]
        axes[0].bar(keys, report["scores"], color=colours)
        axes[0].set(title="scores", xlabel="key", ylim=(-report["limit"], report["limit"]))
        axes[0].axhline(0, color=_GREY, lw=0.8)
        axes[1].bar(keys, report["weights"], color=colours)
        axes[1].axhline(1 / len(keys), color=_INK, lw=1, ls="--")
        axes[1].set(title="softmax: weights", xlabel="key", ylim=(0, 1.08), yticks=(0, 0.5, 1))
        top = report["weights"][largest]
        axes[1].text(largest, top + 0.02, f"{top:.2f}", ha="center", color="#ca5a14", fontsize=10)
        if gradient:
            _draw_gradient(axes[2], report["curve"], settings["width"])
        for panel in axes:
            panel.title.set_fontsize(10)
            panel.spines[["top", "right"]].set_visible(False)
        how = r"divided by $\sqrt{d_k}$" if settings["scaled"] else "not divided"
        told = f"Temperature {settings['temperature']:g}, $d_k$ {settings['width']}, {how}"
        if gradient:
            spread = f"{report['entropy']:.2f} nats, {report['effective_keys']:.1f} effective keys"
            told = f"{told}: entropy {spread}"
        else:
            told = f"{told}: key {largest} gets {top:.2f}, an equal share (dashed) is "
            told = f"{told}{1 / len(keys):.2f}"
        figure.suptitle(told, x=0.01, ha="left", fontsize=10)
    alt = report["alt"]
    return Picture(figure, " ".join(alt[name] for name in alt if gradient or name != "curve"))


def _draw_gradient(axes: Axes, curve: dict[str, Any], width: int) -> None:
    """Size of the softmax's Jacobian over the width, divided and not, with names at the curves."""
    for name, words, colour, dashes, at in (
        ("divided", "divided", _BLUE, "-", -1),
        ("plain", "not divided", "#ca5a14", "--", len(curve["widths"]) // 2),
    ):
        axes.plot(curve["widths"], curve[name], color=colour, lw=2, ls=dashes, label=words)
        place, move = (curve["widths"][at], curve[name][at]), (0, 5) if at < 0 else (-6, -14)
        looks: dict[str, Any] = {"ha": "right", "textcoords": "offset points"}
        axes.annotate(words, place, move, color=colour, **looks)
    axes.axvline(width, color=_INK, lw=1, ls=":")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(title="gradient that passes\nthe softmax alone", xlabel="width $d_k$")
    axes.set(ylabel="share of the largest", ylim=(0, 1.08), yticks=(0, 0.5, 1))


def mask_desk(report: dict[str, Any]) -> Picture:
    """Draw a mask desk: the weights of a head, what is hidden, and what is left of each row.

    Colours follow the square root, as on the desk: small weights must be told apart.
    """
    tokens = [token.replace("$", r"\$") for token in report["tokens"]]
    count, settings = len(tokens), report["settings"]
    weights = np.array(report["weights"])
    hidden = ~np.array(report["visible"])
    with style():
        size = (4.2 + 0.36 * count, 1.7 + 0.28 * count)
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        heatmap(
            weights,
            axes,
            cmap="cividis",
            norm=PowerNorm(0.5, 0, 1),
            mask=hidden,
            annot=np.array([[_in_cell(weight) for weight in row] for row in weights.tolist()]),
            annot_kws={"fontsize": 8},
            fmt="",
            linewidths=0.6,
            xticklabels=tokens,
            yticklabels=tokens,
            cbar=False,  # the weights stand in the cells
        )
        for row, column in np.argwhere(hidden):
            looks: dict[str, Any] = {"facecolor": "#f5f5f5", "edgecolor": "#9a9a9a", "linewidth": 0}
            axes.add_patch(Rectangle((column, row), 1, 1, hatch="////", **looks))
        _draw_rows(axes, report)
        axes.set_xlabel("key (is looked at)", loc="left")
        axes.set_ylabel("query (looks)")
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=60)
        axes.tick_params(axis="y", rotation=0)
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
        where = f"mask {settings['place']} the softmax" if hidden.any() else "no mask"
        title = f"Weights of layer {settings['layer']}, head {settings['head']}, {where}"
        axes.set_title(title, loc="left", fontsize=11)
    return Picture(figure, report["alt"])


def _draw_rows(axes: Axes, report: dict[str, Any]) -> None:
    """Beside the grid what each row sums to, and over how many keys that is spread."""
    count, track = len(report["tokens"]), 2.2  # the longest bar, in cells
    for at, name, parts in (
        (count + 0.5, "row\nsum", report["sums"]),
        (count + 4.6, f"effective\nkeys of {count}", [n / count for n in report["effective"]]),
    ):
        axes.text(at, -0.2, name, fontsize=9)
        for row, part in enumerate(parts):
            colour = "#4d4d4d" if at < count + 1 else _BLUE
            if at < count + 1 and report["short"][row]:
                colour = "#b5452c"
            for length, fill in ((track, "#e8e8e8"), (part * track, colour)):
                bar = Rectangle((at, row + 0.3), length, 0.4, facecolor=fill, linewidth=0)
                axes.add_patch(bar)
    place: dict[str, Any] = {"va": "center", "ha": "right", "fontsize": 9}
    for row, short in enumerate(report["short"]):
        looks: dict[str, Any] = {"color": "#b5452c", "weight": "bold"} if short else {}
        axes.text(count + 4.1, row + 0.5, report["sum_texts"][row], **looks, **place)
        axes.text(count + 8.1, row + 0.5, report["effective_texts"][row], **place)
    axes.set_xlim(0, count + 8.3)


def _in_cell(weight: float) -> str:
    """A weight in a cell, empty where it would only say 0."""
    written = f"{weight:.2f}"
    return "" if weight < 0.005 else written.removeprefix("0").removesuffix(".00")


# ── a question about a picture ─────────────────────────────────────────────────────────────────


def ask_desk(report: dict[str, Any]) -> Picture:
    """Draw an ask desk: the picture, where a word looks, and the answers."""
    settings, (rows, columns) = report["settings"], report["grid"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(report["image"].split(",")[1]))))
    weights = np.array(report["weights"][settings["word"]]).reshape(rows, columns)
    width, height = report["size"]
    with style():
        figure, axes = plt.subplots(
            1, 3, figsize=(9.6, 3.1), width_ratios=(1, 1, 1.3), layout="constrained"
        )
        for panel in axes[:2]:
            panel.imshow(image, cmap="gray", vmin=0, vmax=255)
            panel.axis("off")
        axes[0].set_title(f"“{settings['question']}”", fontsize=10)
        axes[1].imshow(
            weights,
            cmap="cividis",
            vmin=0,
            vmax=report["limit"],
            alpha=0.7,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        axes[1].set_title(f"where “{report['words'][settings['word']]}” looks", fontsize=10)
        names = [
            f"{answer['name']} ✓" if answer["right"] else answer["name"]
            for answer in report["answers"]
        ]
        shares = [100 * answer["share"] for answer in report["answers"]]
        axes[2].barh(names, shares, color=[_BLUE, *[_GREY] * (len(shares) - 1)])
        axes[2].invert_yaxis()
        axes[2].set(xlabel="probability (%)", xlim=(0, 100), title="answers")
        axes[2].title.set_fontsize(10)
        axes[2].spines[["top", "right"]].set_visible(False)
    return Picture(figure, f"“{settings['question']}” {report['remark']} {report['alt']}")


# ── a history, and what is recommended ─────────────────────────────────────────────────────────


def history_desk(report: dict[str, Any]) -> Picture:
    """Draw a history desk: what the chosen item rests on, and what is recommended."""
    past, listed = report["past"], report["list"]
    missed = [one["missed"] or 0.0 for one in past]
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
        names = [_short(one["item"], one["out"]) for one in past]
        colours = [_BLUE if value >= 0 else _GREY for value in missed]
        axes[0].barh(range(len(past)), missed, color=colours)
        axes[0].set_yticks(range(len(past)), names, fontsize=8)
        axes[0].set_title(f"what “{_short(report['choice'])}” loses without it", fontsize=10)
        axes[0].set_xlabel("nats")
        shares = [100 * one["share"] for one in listed]
        axes[1].barh(range(len(listed)), shares, color=_BLUE)
        ranks = [f"{_short(one['item'])}  {one['rank']}" for one in listed]
        axes[1].set_yticks(range(len(listed)), ranks, fontsize=8)
        axes[1].set_title("recommended next", fontsize=10)
        axes[1].set_xlabel("probability (%)")
        for panel in axes:
            panel.invert_yaxis()
            panel.spines[["top", "right"]].set_visible(False)
    return Picture(figure, report["alt"])


def _short(item: str, out: bool = False) -> str:
    """A name that fits beside a bar."""
    name = item if len(item) <= 30 else f"{item[:28]}…"
    return f"{name.replace('$', chr(92) + '$')}{' (out)' if out else ''}"
