"""Figures on fine-tuning: how fast, how accurate, and how much of a GPU it uses."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rows import Row, accuracy, not_measured, row
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import attnlab as al
from attnlab.classification.classifier import Classifier
from attnlab.classification.loading import load_base
from attnlab.classification.naming import RECORD
from attnlab.datasets.splits import Splits
from attnlab.training import CHECKPOINT, Recipe, train

RUNS = Path(__file__).parents[2] / "runs" / "bench"

# what is trained for data/results.json: data set, method, seeds, options
TRAINED = [
    ("movie-sentiment", "full", (0, 1, 2), {"epochs": 3}),
    ("movie-sentiment", "lora", (0, 1, 2), {"epochs": 4, "rank": 32}),
    (
        "reuters-r8",
        "full",
        (0,),
        {"epochs": 2, "learning_rate": 3e-4, "head_lr_multiplier": 1, "max_length": 128},
    ),
    (
        "reuters-r52",
        "full",
        (0,),
        {
            "epochs": 4,
            "learning_rate": 2e-4,
            "batch_size": 16,
            "bucket_batches": 4,
            "max_length": 128,
        },
    ),
]


def measure_scores() -> list[Row]:
    """Test accuracy after training on all texts; two hours on two cores.

    A run that was stopped goes on. Finished runs are kept in runs/bench and not trained again:
    delete it to begin anew.
    """
    rows = []
    for name, method, seeds, options in TRAINED:
        splits = al.datasets.load(name)
        right, seen = [], []
        for seed in seeds:
            score = al.Evaluator(trained(name, method, seed), splits.test).score()
            right.append(score.predictions == np.array(splits.test.labels))
            seen.append(score.accuracy)
        told = {"seeds": list(seeds), "by_seed": seen, "options": options}
        rows.append(accuracy(f"{name}.{method}.test_accuracy", np.mean(right, axis=0), **told))
        if name.startswith("reuters"):
            words = al.evaluation.bag_of_words(splits.train).predict(splits.test.texts)
            hits = (words == np.array(splits.test.labels)).astype(float)
            rows.append(accuracy(f"{name}.tfidf.test_accuracy", hits))
    return rows


def trained(name: str, method: str, seed: int) -> Classifier:
    """The classifier of a line of TRAINED; trained unless it is in runs/bench."""
    (options,) = (more for *key, _, more in TRAINED if key == [name, method])
    folder = RUNS / f"{name}.{method}.{seed}"
    if not any((folder / file).exists() for file in ("config.json", RECORD)):
        al.finetune(
            "minilm",
            al.datasets.load(name),
            method,
            folder,
            seed=seed,
            resume=(folder / CHECKPOINT).exists(),
            **options,
        )
    return al.load_classifier(folder)


def measure_speed(sentences: int = 512, repeats: int = 3) -> list[Row]:
    """Sentences a second of `finetune`, and of Hugging Face's Trainer on the same batches."""
    splits = al.datasets.load("movie-sentiment")
    few = Splits(splits.train.sample(sentences), splits.dev.sample(8), splits.test.sample(8))
    ways = {
        "ours": lambda: _our_seconds(few),
        "max_padding": lambda: _trainer_seconds(few, padding="max_length"),
        "dynamic_padding": lambda: _trainer_seconds(few, padding=False),
        "dynamic_padding_bf16": lambda: _trainer_seconds(few, padding=False, bf16=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
    ours = [sentences / one for one in seconds["ours"]]
    rows = [row("finetune.sentences_per_second", statistics.median(ours), "sentences/s", ours)]
    for name in list(ways)[1:]:
        ratios = [slow / quick for slow, quick in zip(seconds[name], seconds["ours"], strict=True)]
        unit = f"x of Trainer, batch 32, {name.replace('_', ' ')}" + (
            " to 128 tokens" if name == "max_padding" else ""
        )
        rows.append(row(f"finetune.speedup_vs_{name}", statistics.median(ratios), unit, ratios))
    return rows


def _our_seconds(few: Splits) -> float:
    return al.finetune("minilm", few, "full", epochs=1).history.rows[-1]["seconds"]


def _trainer_seconds(few: Splits, padding: str | bool, bf16: bool = False) -> float:
    """Trainer as it comes (float32, batches as they fall), but for the batch size."""
    model, tokenizer, _ = load_base("minilm", 2)
    model.to(al.device.device())
    encoded = tokenizer(few.train.texts, padding=padding, truncation=True, max_length=128)
    rows = [
        {name: column[at] for name, column in encoded.items()} | {"labels": few.train.labels[at]}
        for at in range(len(few.train))
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def measure_gpu() -> list[Row]:
    """Share of the card's own bfloat16 matrix rate that training a random BERT-base reaches."""
    name, unit = "finetune.gpu.mfu", "share of the measured bfloat16 matrix rate"
    if not torch.cuda.is_available():
        why = "no CUDA GPU at hand"
        lesson = not_measured("lesson-04.gpu_seconds", "s, all cells in profile gpu", why)
        return [not_measured(name, unit, why), lesson]
    reached = training_rate(
        BertConfig(num_labels=2), "cuda", texts=4096, tokens=128, batch_size=128
    )
    possible = product_rate("cuda", torch.bfloat16, 8192)
    return [
        row(name, reached / possible, unit),
        row("finetune.gpu.tflops", reached / 1e12, "TFLOP/s, training BERT-base"),
        row("gpu.matrix_tflops", possible / 1e12, "TFLOP/s, bfloat16 product of 8192 x 8192"),
    ]


def training_rate(
    config: BertConfig, device: str, texts: int, tokens: int, batch_size: int
) -> float:
    """Floating-point operations a second: 6 a weight and token, 12 L T d for attention."""
    model = BertForSequenceClassification(config).to(device)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (texts, tokens), generator=generator)
    labels = torch.arange(texts) % 2
    history = train(
        model,
        [tokens] * texts,
        lambda places: {"input_ids": ids[places], "labels": labels[places]},
        lambda: {"dev_accuracy": 0.0},
        Recipe(epochs=2, batch_size=batch_size),
        dtype=al.device.number_format(device),
    )
    seconds = history.rows[1]["seconds"] - history.rows[0]["seconds"]  # the first warms up
    weights = sum(one.numel() for one in model.bert.encoder.parameters())
    attention = 12 * config.num_hidden_layers * tokens * config.hidden_size
    return texts * tokens * (6 * weights + attention) / seconds


def product_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of a square product, the best of ten."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        product = a @ a
        if product.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
