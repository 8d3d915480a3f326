"""Vision: a vision Transformer beside what is simpler, and what is where on a cluttered canvas.

All steps are fixed before; what is chosen is chosen on dev. Test is opened once for each run, whose
outcome is kept in runs/bench/vision and not measured again: delete it to begin anew. Parts can be
called alone. Half an hour on one thread.
"""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetuning import RUNS
from rows import Row, accuracy, row
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

import attnlab as al
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.files import atomic_write
from attnlab.statistics import paired_bootstrap
from attnlab.training.stepping import batches, train_steps
from attnlab.vision import boxes, locating
from attnlab.vision.hub import to_transformers
from attnlab.vision.patches import patchify, unpatchify
from attnlab.vision.training import USUAL, fit, processor_of, untrained

KEPT = RUNS / "vision"
SEEDS = (0, 1, 2)
VIT = {"patch": 7, "d_model": 64, "heads": 4, "layers": 4}
STEPS = 2000
DIGITS: dict[str, tuple[Sequence[int], dict[str, Any]]] = {  # seeds, what is other than usual
    "vit": (SEEDS, {}),
    "no-augmentation": ((0,), {"augment": None}),
    "stem": ((0,), {"stem": True}),
    "no-positions": ((0,), {"positions": "none"}),
    "patch-4": ((0,), {"patch": 4}),
}
CNN_SEEDS = SEEDS
ROUNDS, A_ROUND, BATCH = 15, 10, 64  # of timing: rounds, steps of each in a round, images in a step
CANVASES = {"train": 16000, "dev": 1000, "test": 1000}
LOCATOR = {"patch": 8, "batch_size": 32}
FEWER = 800  # steps of the locators that are only compared with one another
LOCATORS: dict[str, tuple[Sequence[int], int, dict[str, Any]]] = {  # seeds, steps, what is other
    "usual": (SEEDS, STEPS, {}),
    "fewer-steps": ((0,), FEWER, {}),
    "box-weight-0.3": ((0,), FEWER, {"box_weight": 0.3}),
    "box-weight-5": ((0,), FEWER, {"box_weight": 5.0}),
    "attention-pooling": ((0,), FEWER, {"pool": "attention"}),
    "no-stem": ((0,), FEWER, {"stem": False}),
}
Outcome = dict[str, np.ndarray]


def measure() -> list[Row]:
    """All parts."""
    return [*read_digits(), *speed(), *what_and_where()]


def kept(name: str, make: Callable[[], Outcome], folder: Path = KEPT) -> Outcome:
    """The arrays of this name as they were saved; made and saved if there are none."""
    path = folder / f"{name}.npz"
    if not path.exists():
        start, whole = time.process_time(), io.BytesIO()
        np.savez_compressed(whole, **make(), cpu_seconds=time.process_time() - start)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, whole.getvalue())
        print(f"{name}: {time.process_time() - start:.0f} s", flush=True)
    with np.load(path) as found:
        return dict(found)


def mean_accuracy(name: str, runs: Sequence[Outcome], key: str = "right", **more: object) -> Row:
    """The mean over seeds, with the interval over the same items, and each seed by itself."""
    right = [run[key].astype(float) for run in runs]
    told = {"by_seed": [float(one.mean()) for one in right]}
    seconds = statistics.mean(float(run["cpu_seconds"]) for run in runs)
    return accuracy(name, np.mean(right, axis=0), cpu_seconds=round(seconds, 1), **told, **more)


def difference(
    name: str, after: Sequence[Outcome], before: Sequence[Outcome], what: str, key: str = "right"
) -> Row:
    """How much better the first runs are than the second ones on the same items: means of both."""
    sides = [np.mean([run[key] for run in runs], axis=0) for runs in (after, before)]
    change = sides[0] - sides[1]
    low, high = paired_bootstrap(change)
    return row(name, float(change.mean()), what, low=float(low), high=float(high), n=len(change))


# ── digits ─────────────────────────────────────────────────────────────────────────────────────


def read_digits() -> list[Row]:
    """Digits of mnist-5k, read by vision Transformers and by what is simpler."""
    splits = al.datasets.load("mnist-5k")
    runs: dict[str, list[Outcome]] = {
        name: [kept(f"digits.{name}", lambda read=read: read(splits))]
        for name, read in (("nearest", _nearest), ("logistic", _logistic))
    }
    for name, (seeds, other) in DIGITS.items():
        runs[name] = [
            kept(f"digits.{name}.{seed}", lambda other=other, seed=seed: _vit(splits, seed, other))
            for seed in seeds
        ]
    runs["cnn"] = [
        kept(f"digits.cnn.{seed}", lambda seed=seed: _cnn(splits, seed)) for seed in CNN_SEEDS
    ]
    rows = [mean_accuracy(f"vision.mnist.{name}.accuracy", own) for name, own in runs.items()]
    for name in ("vit", "no-positions"):
        rows.append(mean_accuracy(f"vision.mnist.{name}.shuffled.accuracy", runs[name], "shuffled"))
    for name in ("nearest", "logistic", "cnn"):
        own = runs["vit"][: len(runs[name]) if name == "cnn" else None]  # the same seeds
        what = f"test accuracy, vision Transformer of {len(own)} seeds minus {name}"
        rows.append(difference(f"vision.mnist.vit.over_{name}", own, runs[name], what))
    for name in [name for name in DIGITS if name != "vit"]:
        what = f"test accuracy, {name} minus the usual one, seed 0"
        rows.append(difference(f"vision.mnist.{name}.change", runs[name], runs["vit"][:1], what))
    return rows


def _nearest(splits: Splits) -> Outcome:
    train, test = splits.train, splits.test
    found = KNeighborsClassifier(1).fit(_flat(train), train.labels)
    return {"right": found.predict(_flat(test)) == test.labels}


def _logistic(splits: Splits) -> Outcome:
    """Logistic regression of the pixels; how strongly it is regularised is chosen on dev."""
    train, dev, test = splits.train, splits.dev, splits.test
    tried = [
        LogisticRegression(C=c, max_iter=1000).fit(_flat(train), train.labels)
        for c in (0.01, 0.1, 1.0)
    ]
    best = max(tried, key=lambda one: one.score(_flat(dev), dev.labels))
    return {"right": best.predict(_flat(test)) == test.labels}


def _flat(data: ImageDataset) -> np.ndarray:
    return data.images.reshape(len(data), -1) / 255


def _vit(splits: Splits, seed: int, other: dict[str, Any]) -> Outcome:
    """Train a vision Transformer; right answers to test, and to test with its patches shuffled."""
    size = VIT | {name: value for name, value in other.items() if name != "augment"}
    model = untrained(splits, seed=seed, **size)
    fit(model, splits, steps=STEPS, seed=seed, augment=other.get("augment", USUAL))
    mixed = _shuffled(splits.test.images, size["patch"])
    return {
        "right": _right(model, splits, splits.test.images),
        "shuffled": _right(model, splits, mixed),
        "parameters": np.array(_parameters(model)),
    }


def _cnn(splits: Splits, seed: int) -> Outcome:
    """Train a small convolutional network by the same steps."""
    torch.manual_seed(seed)
    model, processor = _convolutions(len(splits.train.label_names)), processor_of(splits)
    pixels = processor.checked(splits.train.images)
    labels = torch.tensor(splits.train.labels)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        return {"images": USUAL(processor.pixels(pixels[indices])), "labels": labels[indices]}

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images), labels)

    def evaluate() -> dict[str, float]:
        right = _answers(model, splits, splits.dev.images) == splits.dev.labels
        return {"dev_accuracy": float(right.mean())}

    train_steps(
        model, loss, len(labels), batch, evaluate, steps=STEPS, learning_rate=2e-3, seed=seed
    )
    return {
        "right": _right(model, splits, splits.test.images),
        "parameters": np.array(_parameters(model)),
    }


def _convolutions(classes: int) -> nn.Module:
    """Three convolutions, for grey images of 28 x 28 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 3 * 3, classes))


def _right(model: nn.Module, splits: Splits, images: np.ndarray) -> np.ndarray:
    return _answers(model, splits, images) == splits.test.labels


@torch.inference_mode()
def _answers(model: nn.Module, splits: Splits, images: np.ndarray) -> np.ndarray:
    """The class of each image; the model goes on in the mode in which it was."""
    processor, mode = processor_of(splits), model.training
    pixels = processor.checked(images)
    model.eval()
    logits = [model(processor.pixels(pixels[rows])) for rows in batches(len(pixels))]
    model.train(mode)
    return torch.cat(logits).argmax(-1).numpy()


def _shuffled(images: np.ndarray, patch: int) -> np.ndarray:
    """Each image with its patches in another order, drawn for each."""
    height, width = images.shape[1:]
    patches = patchify(torch.from_numpy(images)[:, None].float(), patch)
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(patches.shape[:2], generator=generator).argsort(1)
    patches = patches.gather(1, order[..., None].expand_as(patches))
    return unpatchify(patches, height, width, patch)[:, 0].byte().numpy()


def _parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


# ── speed ──────────────────────────────────────────────────────────────────────────────────────


def speed() -> list[Row]:
    """Training steps of our model and of the same out of Transformers, in turn."""
    splits = al.datasets.load("mnist-5k")
    ours = untrained(splits, **VIT).train()
    theirs = to_transformers(ours, splits.train.label_names).train()
    processor = processor_of(splits)
    pixels = processor.pixels(processor.checked(splits.train.images[:BATCH]))
    labels = torch.tensor(splits.train.labels[:BATCH])
    sides = {
        "ours": _stepping(ours, lambda: ours(pixels), labels),
        "transformers": _stepping(theirs, lambda: theirs(pixel_values=pixels).logits, labels),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(ROUNDS + 2):
        for name in sorted(sides, reverse=index % 2 == 1):
            start = time.perf_counter()
            for _ in range(A_ROUND):
                sides[name]()
            if index > 1:  # the first rounds warm up
                times[name].append(time.perf_counter() - start)
    rates = {name: [BATCH * A_ROUND / one for one in own] for name, own in times.items()}
    ratios = [own / other for own, other in zip(rates["ours"], rates["transformers"], strict=True)]
    return [
        row(
            "vision.training.speedup",
            statistics.median(ratios),
            f"x images/s of Transformers' ViT with the same weights, {torch.get_num_threads()} "
            "threads; low and high are the quartiles",
            low=float(np.quantile(ratios, 0.25)),
            high=float(np.quantile(ratios, 0.75)),
            n=ROUNDS,
        ),
        *(
            row(f"vision.training.{name}", statistics.median(own), "training images/s", own)
            for name, own in rates.items()
        ),
    ]


def _stepping(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits(), labels).backward()
        optimizer.step()

    return step


# ── what and where ─────────────────────────────────────────────────────────────────────────────


@cache
def canvases() -> Splits:
    """Cluttered canvases with one digit each."""
    return al.datasets.scenes.canvas(al.datasets.load("mnist-5k"), **CANVASES)


def what_and_where() -> list[Row]:
    """Locators: the usual one, with other losses and parts, and a second look at what was found."""
    runs: dict[str, list[Outcome]] = {"mean-box": [kept("where.mean-box", _mean_box)]}
    for name, (seeds, steps, other) in LOCATORS.items():
        runs[name] = [
            kept(
                f"where.{name}.{seed}",
                lambda seed=seed, steps=steps, other=other: _located(seed, steps, other),
            )
            for seed in seeds
        ]
    again = [
        kept(f"where.second-look.{seed}", lambda first=first: _second_look(first))
        for seed, first in zip(LOCATORS["usual"][0], runs["usual"], strict=True)
    ]
    rows = []
    for name, own in runs.items():
        start = f"vision.where.{name}"
        steps = LOCATORS[name][1] if name in LOCATORS else 0
        rows += [
            mean_accuracy(f"{start}.accuracy", own, steps=steps),
            mean_accuracy(f"{start}.iou", own, "iou", steps=steps) | {"unit": "mean IoU"},
            mean_accuracy(f"{start}.found", own, "found", steps=steps)
            | {"unit": "share of boxes with an IoU above 0.5"},
        ]
    rows += [
        mean_accuracy("vision.where.second-look.accuracy", again),
        mean_accuracy("vision.where.second-look.true_box", again[:1], "true_box"),
        difference(
            "vision.where.second-look.gain",
            again,
            runs["usual"],
            "test accuracy, second look minus first",
        ),
    ]
    for name in [name for name in LOCATORS if name not in ("usual", "fewer-steps")]:
        for key in ("right", "iou"):
            what = f"{'accuracy' if key == 'right' else 'mean IoU'}, against fewer-steps"
            own = (f"vision.where.{name}.{key}_change", runs[name], runs["fewer-steps"], what, key)
            rows.append(difference(*own))
    return rows


def _mean_box() -> Outcome:
    """Always the most frequent digit, in the mean box of training."""
    train, test = canvases().train, canvases().test
    always = np.bincount(train.labels).argmax()
    return _judged(np.array(test.labels) == always, np.tile(train.boxes.mean(0), (len(test), 1)))


def _located(seed: int, steps: int, other: dict[str, Any]) -> Outcome:
    locator = locating.train_locator(canvases(), seed=seed, steps=steps, **LOCATOR | other)
    test = canvases().test
    found = locator.locate(test.images)
    names = np.array(test.label_names)[test.labels]
    return _judged(np.array(found.labels) == names, found.boxes)


def _judged(right: np.ndarray, found: np.ndarray) -> Outcome:
    found = found.astype(np.float32)
    overlap = boxes.iou(torch.from_numpy(found), torch.from_numpy(canvases().test.boxes)).numpy()
    return {"right": right, "iou": overlap, "found": overlap > 0.5, "boxes": found}


def _second_look(first: Outcome) -> Outcome:
    """What a reader says to the boxes that were found, and to the true ones."""
    splits, reader = _reader()
    found = _inside("test", first["boxes"]).images
    return {
        "right": _right(reader, splits, found),
        "true_box": _right(reader, splits, splits.test.images),
    }


@cache
def _reader() -> tuple[Splits, nn.Module]:
    """What is in the true boxes, and a vision Transformer that learned to read it."""
    splits = Splits(*map(_inside, ("train", "dev", "test")))
    reader = untrained(splits, **VIT)
    fit(reader, splits, steps=STEPS)
    return splits, reader


def _inside(part: str, where: np.ndarray | None = None) -> ImageDataset:
    """What is in the boxes of canvases, each brought to the size of a digit."""
    data = getattr(canvases(), part)
    cut = locating.cut_out(data.images, data.boxes if where is None else where, 28)
    return ImageDataset(cut, data.labels, data.label_names, data.name)
