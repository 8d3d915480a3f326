"""Figures on translators trained from nothing, of dates and interface strings; saves both."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rows import Row, accuracy, not_measured, row

import attnlab as al
from attnlab.files import atomic_write
from attnlab.translation import scores
from attnlab.translation.scores import TranslationScore
from attnlab.translation.translator import FILE

FOLDER = Path("data/translators")
DATES = FOLDER / "dates"
RECIPE = {"epochs": 8, "learning_rate": 2e-3, "dropout": 0.0}
STRINGS = {"epochs": 20, "batch_size": 16, "learning_rate": 2e-3, "label_smoothing": 0.1}
LARGE = {
    "d_model": 256,
    "heads": 8,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "feed_forward": 2048,
    "epochs": 3,
    "dtype": torch.bfloat16,
}


def measure() -> list[Row]:
    """Train both, and judge them on test."""
    return [*_dates(), *_strings("interface-fr")]


def measure_gpu() -> list[Row]:
    """The speed of a larger Transformer in bfloat16 on a GPU: an epoch of interface strings."""
    name, unit = "translation.gpu.tokens_per_second", "source and target tokens a second, median"
    if not torch.cuda.is_available():
        return [not_measured(name, unit, "no CUDA GPU at hand")]
    translator = al.train_translator(al.datasets.load("interface-fr"), **LARGE)
    speeds = translator.history.steps_frame()["tokens_per_second"].iloc[10:]
    return [row(name, float(speeds.median()), unit, speeds.tolist(), model=repr(translator))]


def _dates() -> list[Row]:
    splits, held_out = (al.datasets.load(one) for one in ("dates", "dates-held-out"))
    began = time.perf_counter()
    translator = al.train_translator(splits, **RECIPE)
    seconds = time.perf_counter() - began
    right = al.translation.exact_match(translator, splits.test)
    others = al.translation.exact_match(translator, held_out.test)
    kinds = pd.Series(others).groupby(held_out.test.kinds).mean().to_dict()
    # nothing tells the readings of these apart
    others = others[np.array(held_out.test.kinds) != "either-order"]
    DATES.mkdir(parents=True, exist_ok=True)
    translator.save(DATES / FILE)
    rows = [
        accuracy("dates.exact_match", right),
        row("dates.train_seconds", seconds, "s, sub-words and dev measurements included"),
        accuracy("dates.unseen_formats.exact_match", others, kinds=kinds),
    ]
    atomic_write(DATES / "README.md", _card(translator, right, others, kinds).encode())
    return rows


def _card(translator: al.Translator, right: np.ndarray, others: np.ndarray, kinds: dict) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in RECIPE.items())
    lines = [
        "# dates",
        "",
        f'{translator!r}, trained on `al.datasets.load("dates")`: dates of '
        f"{len(al.datasets.dates.LOCALES)} languages to ISO 8601. Load it with "
        '`al.load_translator("dates")`.',
        "",
        "Made with `make bench AREA=translation`, which runs",
        "",
        f'    al.train_translator(al.datasets.load("dates"), {options}).save("{DATES}/{FILE}")',
        "",
        "| | exact match |",
        "| --- | --- |",
        f"| test, ways of writing that training has | {right.mean():.1%} (n = {len(right):,}) |",
        f"| ways that it lacks | {others.mean():.1%} (n = {len(others):,}) |",
        *(f"| – {kind} | {share:.1%} |" for kind, share in kinds.items()),
        "",
        "What the kinds are stands in `attnlab/dates.py`.",
        "",
    ]
    return "\n".join(lines)


def _strings(name: str) -> list[Row]:
    splits = al.datasets.load(name)
    translator = al.train_translator(splits, **STRINGS)
    found = {
        "": translator.translate(splits.test.sources),
        "beam.": translator.translate(splits.test.sources, num_beams=4),
        "copy.": scores.copy_source(splits),
        "nearest.": scores.nearest_string(splits),
    }
    reports = {system: scores.score(texts, splits.test.targets) for system, texts in found.items()}
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    translator.save(FOLDER / name / FILE)
    atomic_write(FOLDER / name / "README.md", _card_of_strings(translator, reports).encode())
    rows = []
    for system, report in reports.items():
        rows += _scored(f"{name}.{system}", report)
    return rows


def _card_of_strings(translator: al.Translator, reports: dict[str, TranslationScore]) -> str:
    name, options = translator.name, ", ".join(f"{key}={value!r}" for key, value in STRINGS.items())
    systems = {
        "greedy": "",
        "4 beams": "beam.",
        "the source itself": "copy.",
        "nearest training string": "nearest.",
    }
    lines = [
        f"# {name}",
        "",
        f'{translator!r}, trained on `al.datasets.load("{name}")`: strings of JupyterLab\'s user '
        "interface (its language packs, BSD-3-Clause). It is meant to be looked into, not to "
        f'translate for anybody. Load it with `al.load_translator("{name}")`.',
        "",
        "Made with `make bench AREA=translation`, which runs",
        "",
        f'    al.train_translator(al.datasets.load("{name}"), {options})'
        f'.save("{FOLDER}/{name}/{FILE}")',
        "",
        f"| on {reports[''].n} test strings | chrF (95 % interval) | BLEU |",
        "| --- | --- | --- |",
    ]
    for told, system in systems.items():
        chrf, (low, high), bleu = (
            reports[system].chrf,
            reports[system].chrf_ci,
            reports[system].bleu,
        )
        lines.append(f"| {told} | {chrf:.1f} ({low:.1f} to {high:.1f}) | {bleu:.1f} |")
    return "\n".join([*lines, ""])


def _scored(name: str, one: TranslationScore) -> list[Row]:
    rows = []
    for measure, unit in (("bleu", "BLEU"), ("chrf", "chrF"), ("exact", "share, exact match")):
        low, high = getattr(one, f"{measure}_ci")
        more = {"signature": one.signature[measure]} if measure in one.signature else {}
        value = getattr(one, measure)
        rows.append(row(name + measure, value, unit, n=one.n, low=low, high=high, **more))
    return rows
