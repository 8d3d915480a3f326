"""The vision models that come with attnlab: trains, judges and saves them with their cards."""

from pathlib import Path

import numpy as np
from rows import Row, accuracy

import attnlab as al
from attnlab.datasets import scenes
from attnlab.datasets.labelled import Labelled
from attnlab.datasets.splits import Splits
from attnlab.files import atomic_write
from attnlab.vision.answer_training import train_answerer
from attnlab.vision.asking import FILE, Answerer
from attnlab.vision.bodies import Windows
from attnlab.vision.training import fit, untrained
from attnlab.vision.vision_transformer import VisionTransformer

CLASSIFIERS = Path("data/image-classifiers")
ANSWERERS = Path("data/answerers")
RECIPES = {  # steps of batches of 64; four patches are soon learned, 49 late
    "mnist-5k": {"patch": 7, "steps": 5000},
    "mnist-5k-patch-4": {"patch": 4, "steps": 5000},
    "mnist-5k-patch-14": {"patch": 14, "steps": 3000},
}
READING = {"steps": 3000, "batch_size": 64, "learning_rate": 2e-3}
ASKING = {"steps": 8000, "batch_size": 64, "learning_rate": 1e-3}
MAKE = "Made with `make bench AREA=vision-models`, which runs"


def measure() -> list[Row]:
    """Train all of them, and judge each on test, once."""
    digits = al.datasets.load("mnist-5k")
    return [*(_classifier(name, digits) for name in RECIPES), *_answerer(digits)]


def _classifier(name: str, digits: Splits) -> Row:
    recipe = RECIPES[name]
    folder = CLASSIFIERS / name
    clf = al.vision.train_image_classifier(digits, **recipe)
    clf.save(folder)
    right = _right(clf.predict(digits.test.images).labels, digits.test)
    called = ", ".join(f"{key}={value}" for key, value in recipe.items())
    card = f"""# {name}

A vision Transformer of {clf.layers} layers x {clf.heads} heads with patches of
{clf.patch[0]} x {clf.patch[1]} pixels, trained from nothing on handwritten digits,
`al.datasets.load("mnist-5k")`. Load it with
`al.load_image_classifier("{name}")`.

{MAKE}

    clf = al.vision.train_image_classifier(al.datasets.load("mnist-5k"), {called})
    clf.save("data/image-classifiers/{name}")

Test accuracy: {right.mean():.1%} (n = {len(right)}).
"""
    atomic_write(folder / "README.md", card.encode())
    return accuracy(f"bundled.{name}.accuracy", right)


def reader(digits: Splits) -> VisionTransformer:
    """A vision Transformer that has learned to read one digit of any size, 28 x 28 pixels."""
    singles = scenes.canvas(digits, 28, clutter=0, sides=(15, 28), train=16000)
    body = untrained(singles, patch=7, d_model=64, heads=4, layers=2, pool="mean")
    fit(body, singles, **READING)
    return body


def _answerer(digits: Splits) -> list[Row]:
    asked = scenes.questions(digits, train=32000, dev=2000, test=2000, held_out=2000)
    model = train_answerer(asked, Windows(reader(digits)), **ASKING)
    path = ANSWERERS / "scenes" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    rows = []
    for part in ("test", "held_out"):
        rows += _by_kind(model, getattr(asked, part), part)
    table = "\n".join(
        f"| {row['name'].split('.')[-1]} | {row['name'].split('.')[-2]} | {row['value']:.1%} |"
        for row in rows
    )
    count = sum(weight.numel() for weight in model.parameters())
    card = f"""# scenes

{model!r}, {count:,} parameters.
It answers questions about digits in a picture, as `al.datasets.scenes.questions` draws them from
`al.datasets.load("mnist-5k")`. Load it with `al.vision.load_answerer("scenes")`.

{MAKE} `reader` and `_answerer` of `tests/benchmarks/seeing_models.py`: first a body learns to read
single digits, then both learn to answer. Right answers:

| kind of question | part | right |
| --- | --- | --- |
{table}

In `held_out` two digits stand in one picture that never did in training.
"""
    atomic_write(path.parent / "README.md", card.encode())
    return rows


def _by_kind(model: Answerer, data: scenes.QuestionDataset, part: str) -> list[Row]:
    right = _right(model.answer(data.images, data.questions).labels, data)
    kinds = np.array(data.kinds)
    return [
        accuracy(f"bundled.scenes.{part}.{kind}", right[kinds == kind]) for kind in scenes.KINDS
    ]


def _right(answers: list[str], data: Labelled) -> np.ndarray:
    return np.equal(answers, [data.label_names[label] for label in data.labels])
