"""What the ask desk shows of a picture and a question, as plain numbers and texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnlab.datasets.grammar import QUESTIONS, QuestionDataset, answer, parse
from attnlab.errors import DataError, SettingsError, suggest
from attnlab.heads.maps import CrossMaps
from attnlab.heads.settings import HeadSettings
from attnlab.show.widgets.image_data import png_address
from attnlab.show.wording import counted
from attnlab.vision.modality import REPLACED

if TYPE_CHECKING:
    from attnlab.vision.asking import Answerer

SHOWN = 5  # answers, the likeliest first
OTHERS = 20  # scenes whose picture or question takes the place of one's own
EXAMPLES = [question.text for question in QUESTIONS]

_NAMES = {"image": "picture", "question": "question", "both": "picture and question"}

Table = list[list[float]]
Cover = list[int]


def to_faders(settings: HeadSettings) -> dict[str, Table]:
    """Scales ("faders") and temperatures ("temperatures") as tables, layers by heads.

    Raises SettingsError for several settings at once.
    """
    if settings.scale.dim() != 2:
        raise SettingsError(
            f"A desk shows one setting, not {len(settings.scale)}. Give one of them."
        )
    return {
        name: [[round(value, 4) for value in row] for row in table.tolist()]
        for name, table in (("faders", settings.scale), ("temperatures", settings.temperature))
    }


def from_faders(faders: Table, temperatures: Table, layers: int, heads: int) -> HeadSettings:
    """The tables as settings; SettingsError where they do not fit."""
    try:
        tables = [torch.tensor(table, dtype=torch.float32) for table in (faders, temperatures)]
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The faders cannot be read: {error}. Give a table.") from error
    return HeadSettings.of(*tables).validate_single(layers, heads)


def covered(image: np.ndarray, covers: Sequence[Cover]) -> np.ndarray:
    """The picture with black rectangles.

    Parameters
    ----------
    image : uint8 array, (H, W) or (H, W, 3)
    covers : of each rectangle x, y, width and height, in pixels

    Raises SettingsError for rectangles outside of the picture, or without area.
    """
    image = image.copy()
    height, width = image.shape[:2]
    for cover in covers:
        whole = isinstance(cover, list | tuple) and len(cover) == 4
        if not whole or not all(isinstance(number, int) for number in cover):
            raise SettingsError(f"A cover is x, y, width and height in pixels; got {cover!r}.")
        x, y, w, h = cover
        if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
            raise SettingsError(
                f"The cover {cover} does not lie in the picture of {width} x {height} pixels."
            )
        image[y : y + h, x : x + w] = 0
    return image


def ask_report(
    model: "Answerer", data: QuestionDataset, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say all that the desk shows.

    Parameters
    ----------
    settings : ``index`` of the picture, ``question``, ``word`` that is looked at (its number),
        ``layer`` and ``head`` (None for the mean), ``covers`` (see `covered`), ``faders`` and
        ``temperatures`` (layers by heads), ``replaced`` ("image", "question" or "both" to ask with
        those of other scenes instead, or None)

    Returns
    -------
    report : dict of plain numbers, lists and texts

        - ``image``, a PNG as data: address, ``size`` (width, height), ``grid`` (rows, columns) of
          patches
        - ``words`` of the question; ``weights`` (words, patches), weight × scale of the heads
          looked at; ``limit`` of their colours
        - ``answers``, the likeliest first: name, ``share`` (the mean over the other scenes where
          something is replaced), ``before`` (untouched model and picture), whether it is
          ``right``; ``said``, ``truth`` (None if the question has no
          answer here), ``certain``
        - ``remark`` and ``alt`` in words

    Raises
    ------
    SettingsError : an index, word, layer, head or cover that cannot be
    DataError : a question that is not of the grammar
    """
    _check(model, data, settings)
    question = parse(settings["question"])
    shape = model.settings().scale.shape
    knobs = from_faders(settings["faders"], settings["temperatures"], *shape)
    plain = data.images[settings["index"]]
    image = covered(plain, settings["covers"])
    maps = model.attend(image, question.text, knobs)
    own = model.answer([image], [question.text], knobs).probabilities[0]
    before = model.answer([plain], [question.text]).probabilities[0]
    others = replaced(model, data, settings, image, knobs)
    now = own if others is None else others.mean(0)
    scene = data.scenes
    truth = answer(
        question,
        [int(scene.label_names[label]) for label in scene.labels[settings["index"]]],
        scene.boxes[settings["index"]],
        plain.shape[:2],
    )
    word = min(settings["word"], len(maps.target) - 1)
    weights = looked_at(maps, settings["layer"], settings["head"])
    order = np.argsort(-now, kind="stable")[:SHOWN].tolist()
    if truth in model.answers and model.answers.index(truth) not in order:
        order[-1] = model.answers.index(truth)
    answers = [
        {
            "name": model.answers[index],
            "share": round(float(now[index]), 4),
            "before": round(float(before[index]), 4),
            "right": others is None and model.answers[index] == truth,
        }
        for index in order
    ]
    said, earlier = model.answers[int(now.argmax())], model.answers[int(before.argmax())]
    rows, columns = model.body.grid
    changed = bool(settings["covers"]) or not knobs.is_neutral()
    return {
        "settings": settings | {"word": word},
        "image": png_address(image),
        "size": [plain.shape[1], plain.shape[0]],
        "grid": [rows, columns],
        "words": maps.target,
        "weights": [[round(weight, 3) for weight in row] for row in weights.tolist()],
        "limit": max(round(float(weights.max()), 3), 2 / (rows * columns)),
        "answers": answers,
        "said": said,
        "truth": truth,
        "certain": round(float(now.max()), 4),
        "remark": _remark(said, truth, float(now.max()), earlier if changed else None)
        if others is None
        else _remark_without(settings["replaced"], model.answers[own.argmax()], own, others),
        "alt": _alt(maps.target[word], weights[word], rows, columns),
    }


def replaced(
    model: "Answerer",
    data: QuestionDataset,
    settings: dict[str, Any],
    image: np.ndarray,
    knobs: HeadSettings,
) -> np.ndarray | None:
    """Probabilities (n, A) with what other scenes have in place of one's own.

    Up to `OTHERS` scenes are drawn at random, always the same ones; as in `vision.modality_use`
    only those whose picture or question is another one. None where nothing is replaced.

    Raises SettingsError for another word than the modalities', or no other scene.
    """
    which = settings["replaced"]
    if which is None:
        return None
    if which not in REPLACED:
        raise SettingsError(f"replaced is {which!r}. {suggest(str(which), REPLACED)}")
    asked, plain = parse(settings["question"]), data.images[settings["index"]]
    picture, question = REPLACED[which]
    found = []
    for other in np.random.default_rng(settings["index"]).permutation(len(data)).tolist():
        alike = picture and np.array_equal(data.images[other], plain)
        if not alike and not (question and parse(data.questions[other]) == asked):
            found.append(other)
        if len(found) == OTHERS:
            break
    if not found:
        raise SettingsError(
            f"No other scene has another {_NAMES[which]}. Give the desk data with more scenes."
        )
    return model.answer(
        data.images[found] if picture else np.stack([image] * len(found)),
        [data.questions[other] if question else asked.text for other in found],
        knobs,
    ).probabilities


def looked_at(maps: CrossMaps, layer: int | None, head: int | None) -> np.ndarray:
    """Weight × scale of the heads looked at, the mean over them: (words, patches)."""
    scaled = maps.weights * maps.settings.scale[:, :, None, None]
    chosen = scaled if layer is None else scaled[layer : layer + 1]
    chosen = chosen if head is None else chosen[:, head : head + 1]
    patches = [not name.startswith("[") for name in maps.source]
    return chosen.mean((0, 1)).numpy()[:, patches]


def most_focused(maps: CrossMaps, image: np.ndarray) -> dict[str, int]:
    """The word, layer and head most concentrated on one patch with something drawn in it.

    Heads that have nothing to say rest on an empty corner, and are of little interest.
    """
    patches = [not name.startswith("[") for name in maps.source]
    side = round(sum(patches) ** 0.5)
    size = len(image) // side
    drawn = image.reshape(side, size, side, size).max((1, 3)).ravel() > 64  # of 255
    weights = maps.weights[..., torch.tensor(patches)]
    peaks = weights.masked_fill(~torch.from_numpy(drawn), 0).amax(-1)  # (L, H, T)
    layer, head, word = np.unravel_index(int(peaks.argmax()), peaks.shape)
    return {"layer": int(layer), "head": int(head), "word": int(word)}


def _check(model: "Answerer", data: QuestionDataset, settings: dict[str, Any]) -> None:
    layers, heads = model.settings().scale.shape
    for name, most, none in (
        ("index", len(data), False),
        ("word", 64, False),
        ("layer", layers, True),
        ("head", heads, True),
    ):
        number = settings[name]
        if none and number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < most:
            raise SettingsError(f"{name} is {number!r}; it is a whole number from 0 to {most - 1}.")
    if not isinstance(settings["question"], str) or not settings["question"].strip():
        raise DataError(f"The question is empty. Type one, such as “{EXAMPLES[0]}”.")


def _remark(said: str, truth: str | None, certain: float, before: str | None) -> str:
    """The answer in words."""
    told = f"“{said}”, {100 * certain:.0f} % sure"
    if truth is None:
        told += "; this question has no answer here"
    else:
        told += ", and right" if said == truth else f"; “{truth}” would be right"
    if before is not None:
        told += f". Before: “{before}”" if before != said else ". The answer is the same as before"
    return f"{told}."


def _remark_without(which: str, said: str, own: np.ndarray, others: np.ndarray) -> str:
    """Whether the answer stays with another picture, question, or both."""
    stays, count = int((others.argmax(-1) == own.argmax()).sum()), len(others)
    what = _NAMES[which]
    counts = "count" if which == "both" else "counts"
    told = f"The {what} {counts} here."
    if stays == count:
        told = f"No sign that the {what} {counts} here."
    return (
        f"With the {what} of {counted(count, 'other scene')} instead, “{said}” stays the answer "
        f"in {stays} of {count}. {told}"
    )


def _alt(word: str, weights: np.ndarray, rows: int, columns: int) -> str:
    most = int(weights.argmax())
    if weights[most] == 0:
        return f"“{word}” looks nowhere: the heads looked at are silent."
    row, column = divmod(most, columns)
    return (
        f"“{word}” looks most at row {row + 1} of {rows}, column {column + 1} of {columns} "
        f"({weights[most]:.2f})."
    )
