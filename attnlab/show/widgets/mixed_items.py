"""What the mixing desk shows one of: sentences that are typed, or the images of a data set."""

from typing import Any, Protocol

import numpy as np

from attnlab.classification.base import BaseClassifier
from attnlab.datasets.pictures import ImageDataset
from attnlab.heads.maps import WHATS, AttentionMaps
from attnlab.languages import tr
from attnlab.show.widgets.attention_report import BARS, fitting, look_report, map_report
from attnlab.show.widgets.image_data import png_address

SENTENCE = "A warm, funny and beautifully acted film."


class Items(Protocol):
    """What a desk needs to know of what it shows; ``key`` is the view's text for one of them."""

    noun: str
    count: int
    first: str
    look: dict[str, Any]

    def problem(self, key: str) -> str:
        """Why there is nothing to show; empty if there is."""

    def shown(self, key: str) -> Any:
        """What the classifier is asked with."""

    def remark(self, key: str) -> str:
        """What is to be said of it."""

    def title(self, key: str) -> str:
        """What it is called in a picture of the desk."""

    def report(self, key: str, maps: AttentionMaps, look: dict[str, Any]) -> dict[str, Any]:
        """What the view draws of attention."""


class Sentences:
    """Sentences that are typed into the desk; the key is the sentence."""

    noun, count = "sentences", 0

    def __init__(self, clf: Any, text: str | None):
        self._clf, self.first = clf, SENTENCE if text is None else text
        self.look = {"kind": "layer"}

    def problem(self, key: str) -> str:
        """That it is empty."""
        return "" if key.strip() else tr("Type a sentence.")

    def shown(self, key: str) -> str:
        """As much of its beginning as the model can read."""
        return fitting(self._clf, key)

    def remark(self, key: str) -> str:
        """That it is too long."""
        cut = tr("Only the first {most} tokens of this sentence count.", most=self._clf.max_length)
        return "" if self.shown(key) == key else cut

    def title(self, key: str) -> str:
        """The sentence itself."""
        return key

    def report(self, key: str, maps: AttentionMaps, look: dict[str, Any]) -> dict[str, Any]:
        """Bertviz or a map of its words."""
        return look_report(maps, look)


class Images:
    """The images of a data set; the key is the number of one, from 0."""

    noun = "images"

    def __init__(self, clf: Any, dataset: ImageDataset, text: str | None):
        self._clf, self._data = clf, dataset
        self.count, self.first = len(dataset), "0" if text is None else text
        self.look = {"kind": "image"}

    def problem(self, key: str) -> str:
        """That there is no such number."""
        if key.isdecimal() and int(key) < self.count:
            return ""
        return f"There is no image {key!r}; they are numbered from 0 to {self.count - 1}."

    def shown(self, key: str) -> np.ndarray:
        """The image, uint8."""
        return self._data.images[int(key)]

    def remark(self, key: str) -> str:
        """Nothing."""
        return ""

    def title(self, key: str) -> str:
        """Its number, from 1, and its label."""
        label = self._data.label_names[self._data.labels[int(key)]]
        return f"image {int(key) + 1} of {self.count}, labelled {label}"

    def report(self, key: str, maps: AttentionMaps, look: dict[str, Any]) -> dict[str, Any]:
        """Where the head looks, over the image, or its map."""
        if look["kind"] == "map":
            return map_report(maps, look["layer"], look["head"], look["what"])
        return image_report(self.shown(key), maps, look, self._clf.grid)


def items_of(clf: BaseClassifier, dataset: Any, text: str | None) -> Items:
    """What a desk of this classifier shows."""
    if clf.reads == "images":
        clf.inputs_of(dataset)  # raises for texts
        return Images(clf, dataset, text)
    return Sentences(clf, text)


def image_report(
    image: np.ndarray, maps: AttentionMaps, look: dict[str, Any], grid: tuple[int, int]
) -> dict[str, Any]:
    """Where one head looks from the first token, [CLS], over the image.

    Parameters
    ----------
    image : uint8 array, (H, W) or (H, W, 3)
    look : ``layer``, ``head`` and ``what``
    grid : rows and columns of patches, the last tokens of the maps

    Returns
    -------
    dict of ``image`` (as data: address), its ``size`` (width, height), ``grid``, ``values`` by row,
    ``limit``, ``signed``, ``label``, ``alt`` and ``note``
    """
    layer, head, what = look["layer"], look["head"], look["what"]
    whole = map_report(maps, layer, head, what)
    rows, columns = grid
    values = maps.of(what)[layer, head, 0, -rows * columns :]
    limit = max(float(values.abs().max()), 1e-6)
    most = int(values.abs().argmax())
    row, column = divmod(most, columns)
    return whole | {
        "kind": "image",
        "image": png_address(image),
        "size": [image.shape[1], image.shape[0]],
        "grid": [rows, columns],
        "values": [round(value, 4) for value in values.tolist()],
        "limit": round(limit, 4),
        "alt": f"{WHATS[what]} from {maps.tokens[0]} to the patches, layer {layer}, head {head}; "
        f"the strongest is row {row + 1}, column {column + 1} ({float(values[most]):.2f}).",
        "note": f"From {maps.tokens[0]}, which the answer is read from, to the patches: "
        f"{tr(BARS[what])}.",
    }
