"""Images with their labels and boxes, and maps over the patches of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import Picture, show, style

__all__ = ["image_maps", "images"]

_SIDE = 1.35  # of a small image, in inches


def images(
    images: np.ndarray | Sequence[np.ndarray],
    titles: Sequence[str] = (),
    boxes: Mapping[str, np.ndarray] | None = None,
    *,
    alt: str,
    columns: int = 8,
) -> Picture:
    """Draw images side by side, each with a title and boxes of its own.

    Parameters
    ----------
    images : N uint8 arrays, (H, W) if grey or (H, W, 3) in colour
    titles : one for each image
    boxes : what the boxes show, such as "true", and an array (N, 4) of them: x, y, width and height
        in pixels, from the top left; told apart by colour and by dashes
    alt : one or two sentences on what there is to see
    columns : images in a row

    Raises
    ------
    AttnlabError : no images, or not as many titles or boxes
    """
    boxes = boxes or {}
    given: dict[str, Any] = {"titles": titles, **boxes}
    wrong = [name for name, rows in given.items() if len(rows) not in (0, len(images))]
    if not len(images) or wrong:
        raise AttnlabError(
            f"There are {len(images)} images and "
            f"{', '.join(f'{len(given[name])} {name}' for name in wrong) or 'nothing to draw'}. "
            "Give at least one image, and one of everything for each."
        )
    across = min(columns, len(images))
    down = -(-len(images) // across)
    with style():
        figure, axes = plt.subplots(
            down,
            across,
            figsize=(_SIDE * across, (_SIDE + 0.22 * bool(len(titles))) * down + 0.3 * bool(boxes)),
            squeeze=False,
            layout="constrained",
        )
        for index, panel in enumerate(axes.flat):
            panel.axis("off")
            if index < len(images):
                _draw_image(panel, images[index])
                panel.set_title(titles[index] if len(titles) else "", fontsize=9)
                for (name, rows), looks in zip(boxes.items(), _looks(), strict=False):
                    _draw_box(panel, rows[index], name, looks)
        if boxes:
            handles, names = axes[0, 0].get_legend_handles_labels()
            figure.legend(
                handles, names, loc="outside lower center", ncols=len(names), frameon=False
            )
    return show(figure, alt)


def image_maps(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    alt: str,
    label: str = "weight",
    columns: int = 6,
) -> Picture:
    """Draw an image, and beside it maps that have one number for each of its patches.

    Parameters
    ----------
    image : uint8 array, (H, W) if grey or (H, W, 3) in colour
    maps : title of each map, and an array (rows, columns of patches); where any holds negative
        numbers, the colours are centred at 0
    alt : one or two sentences on what there is to see
    label : what the colours stand for. All maps share one scale.
    columns : panels in a row

    Raises
    ------
    AttnlabError : no maps, or one without rows and columns
    """
    if not maps or any(np.ndim(values) != 2 for values in maps.values()):
        shapes = {name: np.shape(values) for name, values in maps.items()}
        raise AttnlabError(
            f"Expected maps with a number for each row and column of patches, got {shapes}."
        )
    limit = max(float(np.abs(values).max()) for values in maps.values()) or 1.0
    signed = any((np.asarray(values) < 0).any() for values in maps.values())
    across = min(columns, 1 + len(maps))
    down = -(-(1 + len(maps)) // across)
    with style():
        figure, axes = plt.subplots(
            down,
            across,
            figsize=(_SIDE * across + 0.9, (_SIDE + 0.22) * down),
            squeeze=False,
            layout="constrained",
        )
        panels = list(axes.flat)
        for panel in panels:
            panel.axis("off")
        _draw_image(panels[0], image)
        panels[0].set_title("image", fontsize=9)
        for panel, (name, values) in zip(panels[1:], maps.items(), strict=False):
            _draw_image(panel, image)
            drawn = panel.imshow(
                np.asarray(values, dtype=float),
                cmap="vlag" if signed else "cividis",
                vmin=-limit if signed else 0,
                vmax=limit,
                alpha=0.75,
                extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5),
            )
            panel.set_title(name, fontsize=9)
        figure.colorbar(drawn, ax=axes, label=label, fraction=0.04, aspect=12 * down)
    return show(figure, alt)


def _draw_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)


def _looks() -> list[dict[str, Any]]:
    colours = sns.color_palette("colorblind")
    return [
        {"edgecolor": colours[2], "linestyle": "-"},
        {"edgecolor": colours[1], "linestyle": "--"},
        {"edgecolor": colours[0], "linestyle": ":"},
    ]


def _draw_box(axes: Axes, box: np.ndarray, name: str, looks: dict[str, Any]) -> None:
    x, y, width, height = (float(number) for number in box)
    axes.add_patch(
        Rectangle((x - 0.5, y - 0.5), width, height, fill=False, linewidth=1.8, label=name, **looks)
    )


def __dir__() -> list[str]:
    return sorted(__all__)
