"""Vision: icons found by words that were never said of them: by name, by looks, and by both.

Queries are the search terms of test icons, which stand in none of the families of training; an icon
is right if the term is among its own. Needs `attnlab fetch icons`. Some minutes on one thread.
"""

from functools import cache

import numpy as np
import torch
from rows import Row, not_measured
from seeing import SEEDS, Outcome, difference, kept, mean_accuracy
from torch import Tensor, nn
from transformers import AutoModel

import attnlab as al
from attnlab.classification.loading import load_base
from attnlab.datasets.icons import IconDataset
from attnlab.datasets.texts import normalise
from attnlab.inference import evaluating
from attnlab.training.stepping import train_steps
from attnlab.vision.pixels import ImageProcessor
from attnlab.vision.retrieval import SharedSpace, contrastive_loss
from attnlab.vision.training import USUAL

STEPS, BATCH, AT = 1000, 64, 10
WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of looks beside names
NEIGHBOURS = (1, 3, 5, 10)
PIXELS = ImageProcessor(32, 32, 1)


def measure() -> list[Row]:
    """Recall at ten of random order, names, pixels, a shared space, and names with it."""
    if not al.datasets.is_cached("icons"):
        why = "not measured: it needs `attnlab fetch icons`"
        return [not_measured("vision.icons.both.recall", f"recall at {AT}", why)]
    looks = [kept(f"icons.{seed}", lambda seed=seed: _looks(seed)) for seed in SEEDS]
    runs = {
        "random": [kept("icons.random", _random)],
        "names": [kept("icons.names", _names)],
        "pixels": [kept("icons.pixels", _pixels)],
        "shared-space": looks,
        "both": [run | {"right": run["both"]} for run in looks],
    }
    what = {"unit": f"recall at {AT} of {len(_icons().test)} icons"}
    rows = [mean_accuracy(f"vision.icons.{name}.recall", own) | what for name, own in runs.items()]
    for name in ("names", "pixels"):
        start, ours = f"vision.icons.both.over_{name}", runs["both"]
        rows.append(difference(start, ours, runs[name], f"recall at {AT}, both minus {name}"))
    return rows


@cache
def _icons() -> al.datasets.splits.Splits:
    return al.datasets.load("icons")


# ── ways to find ───────────────────────────────────────────────────────────────────────────────


def _random() -> Outcome:
    """How often ten icons drawn at random hold a right one: a mean of many draws."""
    right = _right(_icons().test)
    draws = torch.rand(200, *right.shape, generator=torch.Generator().manual_seed(0))
    return {"right": np.mean([_hits(one, right) for one in draws], axis=0)}


def _names() -> Outcome:
    return {"right": _hits(_by_name(_icons().test), _right(_icons().test))}


def _by_name(data: IconDataset) -> Tensor:
    """Similarities of the queries to the titles, (queries, icons)."""
    return _embedded(_queries(data)) @ _embedded(data.titles).T


def _pixels() -> Outcome:
    """An icon stands for what is said of its nearest ones in training; how many, dev says."""
    dev, test = _icons().dev, _icons().test
    best = max(NEIGHBOURS, key=lambda count: _hits(_by_neighbours(dev, count), _right(dev)).mean())
    return {
        "right": _hits(_by_neighbours(test, best), _right(test)),
        "neighbours": np.array(best),
    }


def _by_neighbours(data: IconDataset, count: int) -> Tensor:
    train = _icons().train
    distances = torch.cdist(*(_scaled(one).flatten(1) for one in (data, train)))
    nearest = distances.topk(count, largest=False).indices  # (icons, count)
    said = torch.stack([_embedded(terms).mean(0) for terms in _said(train)])
    stands_for = nn.functional.normalize(said[nearest].mean(1), dim=-1)
    return _embedded(_queries(data)) @ stands_for.T


def _looks(seed: int) -> Outcome:
    """Train a shared space; found by it alone, and by names and it, weighed on dev."""
    dev, test = _icons().dev, _icons().test
    model = _trained(seed)
    best = max(
        WEIGHTS,
        key=lambda weight: _hits(
            _by_name(dev) + weight * _by_looks(model, dev), _right(dev)
        ).mean(),
    )
    found, right = _by_looks(model, test), _right(test)
    return {
        "right": _hits(found, right),
        "both": _hits(_by_name(test) + best * found, right),
        "weight": np.array(best),
    }


class _Looks(nn.Module):
    """A small convolutional network, and a space that it shares with words."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)]
        self.network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.GELU())
        self.space = SharedSpace(128, 384)

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (B, 1, 32, 32) and of embedded texts (C, 384)."""
        return self.space(self.network(images), texts)


def _trained(seed: int) -> _Looks:
    torch.manual_seed(seed)
    model, train, dev = _Looks(), _icons().train, _icons().dev
    images, said = _scaled(train), [_embedded(terms) for terms in _said(train)]

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        texts = [said[index][int(torch.randint(len(said[index]), ()))] for index in indices]
        return {"images": USUAL(images[indices]), "texts": torch.stack(texts)}

    def loss(model: _Looks, images: Tensor, texts: Tensor) -> Tensor:
        return contrastive_loss(*model(images, texts), model.space.temperature)

    def evaluate() -> dict[str, float]:
        return {"dev_recall": float(_hits(_by_looks(model, dev), _right(dev)).mean())}

    train_steps(
        model,
        loss,
        len(train),
        batch,
        evaluate,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=1e-3,
        seed=seed,
        choose_by="dev_recall",
    )
    return model


@torch.inference_mode()
def _by_looks(model: _Looks, data: IconDataset) -> Tensor:
    with evaluating(model):
        images, texts = model(_scaled(data), _embedded(_queries(data)))
    return texts @ images.T


# ── queries ────────────────────────────────────────────────────────────────────────────────────


def _said(data: IconDataset) -> list[list[str]]:
    """Titles and terms of each icon."""
    return [[title, *terms] for title, terms in zip(data.titles, data.terms, strict=True)]


def _queries(data: IconDataset) -> list[str]:
    """The terms of all icons, each once."""
    return sorted({normalise(term) for terms in data.terms for term in terms})


def _right(data: IconDataset) -> Tensor:
    """Which icons have which term, bool, (queries, icons)."""
    own = [{normalise(term) for term in terms} for terms in data.terms]
    return torch.tensor([[query in terms for terms in own] for query in _queries(data)])


def _hits(similarities: Tensor, right: Tensor) -> np.ndarray:
    return right.gather(1, similarities.topk(AT).indices).any(1).numpy()


def _scaled(data: IconDataset) -> Tensor:
    return PIXELS.pixels(PIXELS.checked(data.images))


def _embedded(texts: list[str]) -> Tensor:
    """Unit vectors of texts by the bundled encoder, (N, 384): the mean over their tokens."""
    _embed(tuple(sorted({*texts} - _vectors.keys())))
    return torch.stack([_vectors[text] for text in texts])


_vectors: dict[str, Tensor] = {}


@torch.inference_mode()
def _embed(texts: tuple[str, ...]) -> None:
    model, tokenizer = _encoder()
    for start in range(0, len(texts), 256):
        some = texts[start : start + 256]
        given = tokenizer(list(some), padding=True, return_tensors="pt")
        states, mask = model(**given).last_hidden_state, given["attention_mask"][..., None]
        means = nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        _vectors.update(zip(some, means.clone(), strict=True))


@cache
def _encoder() -> tuple[nn.Module, object]:
    model, tokenizer, _ = load_base("minilm", 2, kind=AutoModel)
    return model.eval(), tokenizer
