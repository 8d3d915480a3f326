"""Figures on the measuring engine: how much faster than a plain loop it says the same."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rows import Row, not_measured, row
from scipy import stats
from transformers import BertConfig, BertForSequenceClassification

import attnlab as al
from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset

TIMED = [
    (0, 3),
    (2, 7),
    (5, 1),
    (1, 4),
    (3, 9),
]  # heads of the plain loop that are timed; each costs the same
REPEATS = 5


def measure() -> list[Row]:
    """The engine against the plain loop on 1,000 movie sentences and all 72 heads."""
    clf = al.load_classifier("movie-sentiment")
    data = al.datasets.load("movie-sentiment").dev
    heads = clf.layers * clf.heads
    times: dict[str, list[float]] = {}
    agree: dict[str, list[float]] = {"exact": [], "fast": []}
    with_plain: list[float] = []
    for repeat in range(REPEATS):
        layer, head = TIMED[repeat]
        seconds, wanted = _timed(lambda at=layer, one=head: plain(clf, data, at, one))
        with_plain.append(seconds * heads)
        for mode in ("exact", "fast"):
            ev = al.Evaluator(clf, data, fast=mode == "fast")
            seconds, table = _timed(lambda ev=ev: al.ablate(ev))
            times.setdefault(mode, []).append(seconds)
            if mode == "exact":
                exact = table
            agree[mode].append(_agreement(clf, data, mode, layer, head, wanted))
        ev = al.Evaluator(clf, data, fast=True)
        seconds, gradients = _timed(ev.gradients)
        ready, estimate = _timed(ev.estimate)
        times.setdefault("gradients", []).append(seconds)
        times.setdefault("estimate", []).append(ready)
    rows = []
    for mode in ("exact", "fast"):
        rows += [
            _ratio(f"sweep.{mode}.speedup", with_plain, times[mode]),
            row(
                f"sweep.{mode}.seconds", statistics.median(times[mode]), "s, 72 heads", times[mode]
            ),
            row(
                f"sweep.{mode}.agreement",
                statistics.mean(agree[mode]),
                "share of predictions equal to the plain loop's",
                agree[mode],
            ),
        ]
    for name, found in (("estimate", estimate), ("gradients", gradients)):
        rank = stats.spearmanr(found.ravel(), exact["loss_delta"]).statistic
        unit = f"rank correlation of Evaluator.{name} with exact changes of the loss"
        rows += [
            _ratio(f"{name}.speedup", with_plain, times[name]),
            row(f"{name}.spearman", rank, unit),
        ]
    rows += _preview(ev) + _memory(clf, data)
    rows.append(_nnsight(clf, data, times["exact"]))
    return rows


def plain(clf: Classifier, data: TextDataset, layer: int, head: int) -> np.ndarray:
    """Answers with one head silenced as a good user would do it: a hook, batches of 32, float32."""
    output = clf.model.bert.encoder.layer[layer].attention.output.dense
    width = clf.model.config.hidden_size // clf.heads

    def silence(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        context = inputs[0].clone()
        context[..., head * width : (head + 1) * width] = 0
        return (context,)

    hook, answers = output.register_forward_pre_hook(silence), []
    try:
        with torch.inference_mode():
            for start in range(0, len(data), 32):
                texts = data.texts[start : start + 32]
                inputs = clf.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
                logits = clf.model(**inputs.to(clf.device)).logits
                answers.append(logits.argmax(-1).cpu())
    finally:
        hook.remove()
    return torch.cat(answers).numpy()


def _agreement(
    clf: Classifier, data: TextDataset, mode: str, layer: int, head: int, wanted: np.ndarray
) -> float:
    settings = clf.settings()
    settings.scale[layer, head] = 0
    score = al.Evaluator(clf, data, fast=mode == "fast").score(settings)
    return float((score.predictions == wanted).mean())


def _preview(ev: al.Evaluator) -> list[Row]:
    """Milliseconds of `Evaluator.preview`, for settings in which every head has moved."""
    settings = ev.clf.settings()
    settings.scale[:], settings.temperature[:] = 0.8, 1.2
    ev.preview(settings)
    times = [1000 * _timed(lambda: ev.preview(settings))[0] for _ in range(50)]
    return [
        row("preview.ms", statistics.median(times), "ms, 1,000 sentences, all heads moved", times)
    ]


def _memory(clf: Classifier, data: TextDataset) -> list[Row]:
    """What is kept, against the hidden states before each layer without any padding."""
    ev = al.Evaluator(clf, data)
    ev.score(clf.settings())
    tokens = int(ev.encoded.lengths.sum())
    least = 4 * tokens * clf.layers * clf.model.config.hidden_size
    return [
        row("cache.share", ev.cache.nbytes / least, "x of the hidden states before all layers"),
        row("cache.mb", ev.cache.nbytes / 2**20, "MB, 1,000 sentences in float32"),
    ]


def _nnsight(clf: Classifier, data: TextDataset, ours: list[float]) -> Row:
    """The exact sweep against the same with nnsight, as its users would write it."""
    name, unit = "sweep.nnsight.speedup", "x of nnsight, one head at a time, batches of 32"
    try:
        from nnsight import NNsight
    except ImportError:
        return not_measured(name, unit, "nnsight is not installed")
    watched, width = NNsight(clf.model), clf.model.config.hidden_size // clf.heads

    def silenced(layer: int, head: int) -> np.ndarray:
        answers = []
        for start in range(0, len(data), 32):
            inputs = clf.tokenizer(
                data.texts[start : start + 32], padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode(), watched.trace(**inputs.to(clf.device)):
                context = watched.bert.encoder.layer[layer].attention.self.output[0]
                context[..., head * width : (head + 1) * width] = 0
                logits = watched.classifier.output.save()
            answers.append(logits.argmax(-1).cpu())
        return torch.cat(answers).numpy()

    theirs = []
    for layer, head in TIMED:
        seconds, found = _timed(lambda at=layer, one=head: silenced(at, one))
        assert (found == plain(clf, data, layer, head)).mean() > 0.999
        theirs.append(seconds * clf.layers * clf.heads)
    return _ratio(name, theirs, ours, unit)


def measure_gpu() -> list[Row]:
    """All 144 heads of a BERT-base of random weights on 872 texts of sentence length, on a GPU."""
    name, unit = (
        "sweep.gpu.speedup",
        "x of the plain loop on the same card, BERT-base, 144 heads, 872 texts",
    )
    if not torch.cuda.is_available():
        return [not_measured(name, unit, "no CUDA GPU at hand")]
    small = al.load_classifier("movie-sentiment")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(small.tokenizer), num_labels=2)
    clf = Classifier(BertForSequenceClassification(config), small.tokenizer, small.label_names)
    clf.to("cuda")
    data = al.datasets.load("movie-sentiment").dev.sample(872)
    plain(clf, data, 0, 0)
    loop = [_timed(lambda at=at: plain(clf, data, at, 3))[0] * 144 for at in (0, 6, 11)]
    ours = [_timed(lambda: al.ablate(al.Evaluator(clf, data)))[0] for _ in range(REPEATS)]
    return [
        _ratio(name, loop, ours, unit),
        row("sweep.gpu.seconds", statistics.median(ours), "s, float32", ours),
    ]


def _ratio(
    name: str, slow: list[float], quick: list[float], unit: str = "x of the plain loop"
) -> Row:
    ratios = [one / other for one, other in zip(slow, quick, strict=True)]
    return row(name, statistics.median(ratios), unit, ratios)


def _timed(call: Callable) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result
