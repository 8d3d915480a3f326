"""The patch desk: where a vision Transformer looks in a picture, and what its answer needs.

The view is in static/patch.js; what it draws is made in patch_report.py.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from attnlab.classification.belonging import labels_of
from attnlab.datasets.pictures import ImageDataset
from attnlab.errors import AttnlabError, SettingsError
from attnlab.show import plots
from attnlab.show.plots.patches import patch_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.patch_report import (
    Look,
    check_covered,
    is_index,
    look_at,
    patch_report,
)
from attnlab.vision.image_classifier import ImageClassifier

MOST_PATCHES = 400  # of a picture: beyond it they are too small to point at
_REMEMBERED = 64  # looks that are kept, so that going back costs nothing


class PatchDesk(ReportDesk):
    """A desk for one picture: where each patch looks, and which patches the answer needs.

    Three maps answer the same question, which patches count: the attention of [CLS], attention
    rollout, and occlusion, which covers each patch and measures the answer. Patches can be covered
    by hand, too.

    Parameters
    ----------
    models : ImageClassifier, or several that differ, such as in the size of their patches
    data : ImageDataset whose pictures they read
    index : of the picture that is shown at first
    layer, head : whose attention is shown at first: default the last layer, which the answer is
        read from, and the mean of its heads

    Attributes
    ----------
    settings : dict, what the controls say now: ``model``, ``index``, ``layer``, ``head``,
        ``patch``, ``covered``, ``cover`` and ``answer``, as in `patch_report`. `set` changes some
        of them, as in ``desk.set(layer=2, covered=[[0, 1]])``.
    report : dict, what is drawn: the `patch_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can
    code : str, the settings as Python code

    Raises
    ------
    SettingsError : no models, something else, or a setting that makes no sense
    DataError : pictures that a model does not read, or labels that it does not know
    AttnlabError : more than `MOST_PATCHES` patches
    """

    _esm = script("patch")
    _css = style("grids", "patch")

    models: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    pictures = traitlets.Int().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        models: ImageClassifier | Sequence[ImageClassifier],
        data: ImageDataset,
        index: int = 0,
        layer: int | None = None,
        head: int | None = None,
    ):
        self._models = _checked_models(models)
        _check_data(data)
        self._data = data
        self._truths = []
        for clf in self._models:
            clf.encode(clf.inputs_of(data)[:1])  # refused now, rather than at the desk
            self._truths.append(labels_of(clf.label_names, data))
        self._look = functools.lru_cache(maxsize=_REMEMBERED)(self._looked)
        self._wrong = functools.cache(self._mistakes)
        first: dict[str, Any] = {
            "model": 0,
            "index": index,
            "layer": self._models[0].layers - 1 if layer is None else layer,
            "head": head,
            "patch": None,
            "covered": [],
            "cover": "mean",
            "answer": None,
        }
        super().__init__(
            self.compute(**first),
            models=[
                {"name": name, "layers": clf.layers, "heads": clf.heads}
                for name, clf in zip(_names(self._models), self._models, strict=True)
            ],
            pictures=len(data),
            palette=palettes(),
        )

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `patch_report` of these settings."""
        for name, size in (("model", len(self._models)), ("index", len(self._data))):
            if not is_index(settings[name], size):
                raise SettingsError(
                    f"{name} is {settings[name]!r}; it is a whole number from 0 to {size - 1}."
                )
        clf = self._models[settings["model"]]
        check_covered(clf.grid, settings)
        answers = len(clf.label_names)
        if settings["answer"] is not None and not is_index(settings["answer"], answers):
            raise SettingsError(
                f"answer is {settings['answer']!r}; it is the index of a label, from 0 to "
                f"{answers - 1}, or None for the answer that the model gives."
            )
        return patch_report(self._look_of(settings), settings)

    def set(self, **changes: Any) -> None:
        """Move some of the controls, as in ``desk.set(layer=2, patch=[0, 1])``.

        Another picture or model begins with no patch covered, and with the model's own answer.

        Raises
        ------
        AttnlabError : if there is no such control, or it cannot stand there; nothing moves then
        """
        fresh: dict[str, Any] = {}
        if {"model", "index"} & set(changes):
            fresh |= {"covered": [], "answer": None}
        if "model" in changes and is_index(changes["model"], len(self._models)):
            clf, settings = self._models[changes["model"]], self.report["settings"]
            fresh |= {"patch": None, "layer": min(settings["layer"], clf.layers - 1)}
            if settings["head"] is not None and settings["head"] >= clf.heads:
                fresh["head"] = None
        super().set(**fresh | changes)

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        with self._lock:
            report = self.report
            return patch_desk(report, self._look_of(report["settings"]).image)

    def _look_of(self, settings: dict[str, Any]) -> Look:
        covered = tuple(sorted({(int(row), int(column)) for row, column in settings["covered"]}))
        names = ("model", "index", "cover", "answer")
        return self._look(*(settings[name] for name in names), covered)

    def _looked(
        self,
        model: int,
        index: int,
        cover: str,
        answer: int | None,
        covered: tuple[tuple[int, int], ...],
    ) -> Look:
        truth = self._truths[model][index]
        image = np.asarray(self._data.images[index])
        return look_at(self._models[model], image, truth, covered, cover, answer)

    def _obey(self, content: dict[str, Any]) -> None:
        if content.get("action") == "mistake":
            self.set(index=self._next_mistake())

    def _next_mistake(self) -> int:
        """The next picture after this one that the model answers wrongly."""
        settings = self.report["settings"]
        wrong = self._wrong(settings["model"])
        if not len(wrong):
            raise SettingsError(
                f"This model answers all {len(self._data):,} pictures right. Give harder ones."
            )
        later = wrong[wrong > settings["index"]]
        return int(later[0] if len(later) else wrong[0])

    def _mistakes(self, model: int) -> np.ndarray:
        """Indices of all pictures that a model answers wrongly."""
        clf = self._models[model]
        answers = clf.logits(clf.encode(clf.inputs_of(self._data))).argmax(-1).numpy()
        return np.flatnonzero(answers != np.array(self._truths[model]))


def _checked_models(
    models: ImageClassifier | Sequence[ImageClassifier],
) -> list[ImageClassifier]:
    given = [models] if isinstance(models, ImageClassifier) else models
    if not isinstance(given, list | tuple) or not given:
        raise SettingsError(_NEEDED.format(f"a {type(models).__name__}" if given else "no model"))
    for clf in given:
        if not isinstance(clf, ImageClassifier):
            raise SettingsError(_NEEDED.format(f"a {type(clf).__name__}"))
        if clf.grid[0] * clf.grid[1] > MOST_PATCHES:
            raise AttnlabError(
                f"This model cuts a picture into {clf.grid[0] * clf.grid[1]} patches; the patch "
                f"desk draws {MOST_PATCHES} at most, so that one can be pointed at. Take a model "
                "with larger patches, or draw its maps with al.plots.image_maps."
            )
    return list(given)


_NEEDED = (
    "The patch desk was given {}; it needs an ImageClassifier, or a list of them, and pictures: "
    "PatchDesk(al.load_image_classifier('mnist-5k'), al.datasets.load('mnist-5k').dev)."
)


def _check_data(data: ImageDataset) -> None:
    if not isinstance(data, ImageDataset) or not len(data):
        given = "no pictures" if isinstance(data, ImageDataset) else f"a {type(data).__name__}"
        raise SettingsError(
            f"The patch desk was given {given}; it needs an ImageDataset with some, such as "
            "al.datasets.load('mnist-5k').dev."
        )


def _names(models: Sequence[ImageClassifier]) -> list[str]:
    """What the models are called: by their patches, and if that is not enough by their origin."""
    names = []
    for clf in models:
        (height, width), (rows, columns) = clf.patch, clf.grid
        size = f"{height}" if height == width else f"{height} x {width}"
        names.append(f"{size} pixels ({rows} x {columns} patches)".replace(" x ", " × "))
    if len(set(names)) == len(names):
        return names
    origins = [Path(clf.loaded_from or "").name or f"model {at}" for at, clf in enumerate(models)]
    return [f"{name}, {origin}" for name, origin in zip(names, origins, strict=True)]
