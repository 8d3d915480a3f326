"""The patch desk as a still picture."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attnlab.show.plots.picture import Picture, style

_BLUE, _GREY, _INK, _ORANGE = "#2166ac", "#9a9a9a", "#212121", "#ca5a14"
_VEIL = 0.72  # how much of a map's colour hides the picture


def patch_desk(report: dict[str, Any], image: np.ndarray) -> Picture:
    """Draw a patch desk: the picture, what the three maps say of its patches, and the answers.

    Parameters
    ----------
    report : of `patch_report`
    image : uint8 array, (H, W) or (H, W, 3), as it is shown, with its covered patches
    """
    settings, patch = report["settings"], report["settings"]["patch"]
    row = 0 if patch is None else report["before"] + patch[0] * report["grid"][1] + patch[1]
    looks = np.array(report["weights"])[row, report["before"] :].reshape(report["grid"])
    with style():
        figure = plt.figure(figsize=(10.6, 4.7), layout="constrained")
        left, right = _beside(figure.subfigures(1, 2, width_ratios=(1, 2.05)))
        axes = left.subplots()
        whose = "[CLS]" if patch is None else f"patch {patch[0]},{patch[1]}"
        whole = {"low": 0.0, "high": report["limit"], "signed": False, "label": "weight"}
        _draw_map(axes, image, looks, whole, settings["covered"])
        head = "mean of heads" if settings["head"] is None else f"head {settings['head']}"
        axes.set_title(f"Where {whose} looks: layer {settings['layer']}, {head}", fontsize=9)
        if patch is not None:
            _frame(axes, image.shape, report["grid"], patch)
        top, bottom = _beside(right.subfigures(2, 1, height_ratios=(1.6, 1)))
        for panel, drawn in zip(top.subplots(1, 3), report["maps"], strict=True):
            _draw_map(panel, image, np.array(drawn["values"]), drawn, settings["covered"])
            panel.set_title(drawn["title"], fontsize=9)
            panel.set_xlabel(drawn["agreement"], fontsize=9)
        _draw_answers(bottom.subplots(), report)
    return Picture(figure, report["alt"])


def _beside(figures: Any) -> Any:
    """Figures in a figure; matplotlib's types do not say that there are several."""
    return figures


def _draw_map(
    axes: Axes, image: np.ndarray, values: np.ndarray, drawn: dict[str, Any], covered: Any
) -> None:
    """A map over the picture, and what its colours stand for."""
    height, width = image.shape[:2]
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    mesh = axes.imshow(
        values,
        cmap="vlag" if drawn["signed"] else "cividis",
        vmin=drawn["low"],
        vmax=drawn["high"],
        alpha=_VEIL,
        extent=edges,
    )
    for patch in covered:
        _frame(axes, image.shape, values.shape, patch, hatch="////")
    axes.set(xticks=[], yticks=[])
    colours = axes.figure.colorbar(mesh, ax=axes, location="bottom", shrink=0.8, aspect=24)
    if colours.solids is not None:
        colours.solids.set_alpha(1)
    colours.set_label(_plain(drawn["label"]), fontsize=8)
    colours.ax.tick_params(labelsize=8)
    colours.ax.locator_params(nbins=4)


def _frame(axes: Axes, shape: Any, grid: Any, patch: Any, hatch: str = "") -> None:
    height, width = shape[0] / grid[0], shape[1] / grid[1]
    corner = (patch[1] * width - 0.5, patch[0] * height - 0.5)
    looks: dict[str, Any] = (
        {"hatch": hatch, "edgecolor": _GREY, "linewidth": 0}
        if hatch
        else {"edgecolor": _ORANGE, "linewidth": 2.4}
    )
    axes.add_patch(Rectangle(corner, width, height, fill=False, **looks))


def _draw_answers(axes: Axes, report: dict[str, Any]) -> None:
    """Probabilities of the answers, and a mark where they were with no patch covered."""
    answers = report["answers"]
    places = range(len(answers))
    axes.bar(places, [answer["now"] for answer in answers], color=_BLUE, width=0.7)
    for place, answer in zip(places, answers, strict=True):
        if report["settings"]["covered"]:
            axes.plot([place - 0.42, place + 0.42], [answer["whole"]] * 2, color=_INK, lw=2)
        if answer["asked"]:
            text: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8}
            axes.text(place, max(answer["now"], answer["whole"]) + 0.03, answer["text"], **text)
    axes.set_xticks(
        list(places),
        [_plain(f"{answer['name']}{' (true)' * answer['true']}") for answer in answers],
        fontsize=9,
    )
    axes.set(ylim=(0, 1.18), yticks=[0, 0.5, 1])
    axes.set_ylabel("probability", fontsize=9)
    axes.tick_params(labelsize=9, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
