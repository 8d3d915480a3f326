"""Reading aid: our reader beside PP-OCR, on seen and held-out fonts and under scan-like noise.

``python tests/benchmarks/applying_reading.py train`` makes data/readers/printed, in under half an
hour on one thread. The test tales and the held-out fonts are opened by `measure`, and nowhere else.
"""

import sys
import time
from pathlib import Path

import numpy as np
from rows import Row, not_measured, row

from attnlab import applications
from attnlab.applications.edits import right_characters
from attnlab.datasets.printed import PrintedDataset, make
from attnlab.errors import AttnlabError
from attnlab.files import atomic_write
from attnlab.training import Callback

READER = Path("data/readers/printed/reader.safetensors")
RUN = Path("runs/reading")  # the checkpoint
TRAINING_LINES, DEV_LINES, TEST_LINES = 25_000, 400, 1_000
STRENGTH = (0.0, 2.0)  # of training and dev
STRENGTHS = (1.0, 2.0, 3.0)  # of test; the last is more than training shows
SHUFFLED, STRETCH = 0.15, 0.15
STEPS, BATCH = 4_000, 32
SURE = 0.9
TIMED = 40  # lines that are read one by one


def train() -> applications.Reader:
    """Train the reader that comes with attnlab, and write it."""
    lines = make(TRAINING_LINES, strength=STRENGTH, shuffled=SHUFFLED, stretch=STRETCH)
    dev = make(DEV_LINES, "dev", strength=STRENGTH)
    RUN.mkdir(parents=True, exist_ok=True)
    resume = any(RUN.iterdir())  # a run that was stopped goes on
    reader = applications.Reader.train(
        lines,
        dev,
        steps=STEPS,
        batch_size=BATCH,
        folder=RUN,
        resume=resume,
        callbacks=[_Told()],
    )
    reader.pointer = best_pointer(reader, dev)
    READER.parent.mkdir(parents=True, exist_ok=True)
    reader.save(READER)
    return reader


def best_pointer(reader: applications.Reader, dev: PrintedDataset) -> int:
    """The layer of the decoder whose attention lies in the letter's own box most often."""
    inside = []
    for layer in range(len(reader.model.decoder)):
        table = applications.pointer_table(
            applications.Reader(reader.model, reader.characters, layer), dev
        )
        inside.append(float(table.set_index("way").loc["attention", "inside"]))
    print(f"letters that each layer points into, on dev: {inside}", flush=True)
    return int(np.argmax(inside))


class _Told(Callback):
    """Prints what was measured after each epoch."""

    def on_epoch(self, run):
        print({name: round(value, 4) for name, value in run.history.rows[-1].items()}, flush=True)


def test_lines() -> dict[str, PrintedDataset]:
    """Lines of the test tales, the same ones under each noise."""
    return {
        "clean": make(TEST_LINES, "test"),
        "held_out_font": make(TEST_LINES, "test", fonts="held-out"),
        **{f"noise_{s:g}": make(TEST_LINES, "test", strength=s) for s in STRENGTHS},
        "held_out_font_noise_2": make(TEST_LINES, "test", fonts="held-out", strength=2.0),
        "shuffled_letters": make(TEST_LINES, "test", shuffled=1.0),
    }


def measure() -> list[Row]:
    """All parts."""
    reader, lines = applications.load_reader("printed"), test_lines()
    read = {name: reader.read(data.images) for name, data in lines.items()}
    texts = {name: [one.text for one in found] for name, found in read.items()}
    ways = {"attention": texts}
    try:
        ways["ppocr"] = {name: applications.by_ppocr(data.images) for name, data in lines.items()}
    except AttnlabError as error:
        print(f"Without the peer: {error}")
    rows = []
    for name, data in lines.items():
        rows += _compared(name, data, {way: told[name] for way, told in ways.items()})
    for name in ("clean", "noise_2", "noise_3", "held_out_font"):
        rows += _sure(name, read[name], lines[name])
    for name in ("clean", "noise_2", "held_out_font"):
        rows += _pointed(name, reader, lines[name])
    rows += _speed(reader, lines["clean"])
    atomic_write(READER.parent / "README.md", _card(reader, rows).encode())
    return rows


def _compared(name: str, data: PrintedDataset, texts: dict[str, list[str]]) -> list[Row]:
    """Exact lines, characters, and words that training never had, of each way."""
    start, given = f"applications.reading.{name}", {name: data}
    ways = {way: lambda images, own=own: own for way, own in texts.items()}
    rows = []
    tables = {
        spaces: applications.reading_table(ways, given, spaces=spaces) for spaces in (True, False)
    }
    for one, without in zip(tables[True].itertuples(), tables[False].itertuples(), strict=True):
        unit = "share of lines without a mistake, test tales"
        rows.append(_row(f"{start}.{one.way}.exact", one, "exact", unit))
        unit = "character error rate, test tales"
        without_spaces = {"without_spaces": without.errors}
        rows.append(_row(f"{start}.{one.way}.errors", one, "errors", unit) | without_spaces)
        if one.way == "ppocr":
            unit = "character error rate of PP-OCR minus ours, same lines"
            rows.append(
                _row(f"{start}.ppocr.more", one, "more", unit) | {"without_spaces": without.more}
            )
    for one in applications.word_table(ways, given).itertuples():
        if one.n:
            unit = f"share of words read without a mistake, {one.words} to the training tales"
            rows.append(_row(f"{start}.{one.way}.{one.words}_words", one, "right", unit))
    return rows


def _row(name: str, found: object, column: str, unit: str) -> Row:
    value, low, high = (getattr(found, column + end) for end in ("", "_low", "_high"))
    return row(name, value, unit, n=found.n, low=low, high=high)


def _sure(name: str, read: list[applications.Reading], data: PrintedDataset) -> list[Row]:
    """How often characters that it is sure of are right, and how many these are."""
    table = applications.calibration_table(read, data.texts)
    sure = table[table["from"] >= SURE]
    there = table.loc[table["n"] > 0, ["from", "to", "n", "probability", "right"]]
    right, low, high = _sure_right(read, data)
    start = f"applications.reading.{name}"
    return [
        row(
            f"{start}.sure_right",
            right,
            f"share right of characters with a probability of {SURE:g} or more",
            n=int(sure["n"].sum()),
            low=low,
            high=high,
            share_of_characters=float(sure["n"].sum() / table["n"].sum()),
            by_probability=there.astype(float).round(4).to_numpy().tolist(),
        )
    ]


def _sure_right(
    read: list[applications.Reading], data: PrintedDataset
) -> tuple[float, float, float]:
    """The share, and its interval over lines."""
    good, count = [], []
    for one, text in zip(read, data.texts, strict=True):
        right = right_characters(one.text, text)
        good.append((right & (one.probabilities >= SURE)).sum())
        count.append((one.probabilities >= SURE).sum())
    good, count = np.array(good), np.array(count)
    drawn = np.random.default_rng(0).integers(0, len(good), (2000, len(good)))
    low, high = np.quantile(good[drawn].sum(1) / count[drawn].sum(1), [0.025, 0.975])
    return float(good.sum() / count.sum()), float(low), float(high)


def _pointed(name: str, reader: applications.Reader, data: PrintedDataset) -> list[Row]:
    """Does the attention point into the letter's own box, and do cheaper pointers?"""
    rows, start = [], f"applications.reading.{name}.pointer"
    for one in applications.pointer_table(reader, data).itertuples():
        unit = "share of letters whose own box it points into; lines read without a mistake"
        rows.append(_row(f"{start}.{one.way}", one, "inside", unit) | {"pixels": one.pixels})
        if one.way == "attention":
            unit = "share of letters, attention minus place i of n in the line"
            rows.append(_row(f"{start}.attention_over_proportional", one, "above", unit))
    return rows


def _speed(reader: applications.Reader, data: PrintedDataset) -> list[Row]:
    """Milliseconds a line, one by one, on this thread."""
    ways = {"attention": lambda image: reader.read([image])}
    try:
        applications.by_ppocr(data.images[:1])
        ways["ppocr"] = lambda image: applications.by_ppocr([image])
    except AttnlabError as error:
        ppocr = not_measured("applications.reading.ppocr.ms", "ms a line", str(error))
        return [*_timed("attention", ways["attention"], data), ppocr]
    return [each for way, read in ways.items() for each in _timed(way, read, data)]


def _timed(way, read, data: PrintedDataset) -> list[Row]:
    took = []
    for image in data.images[:TIMED]:
        start = time.perf_counter()
        read(image)
        took.append(1000 * (time.perf_counter() - start))
    name = f"applications.reading.{way}.ms"
    return [row(name, float(np.median(took)), "ms a line, median", took)]


def _card(reader: applications.Reader, rows: list[Row]) -> str:
    """The card of the reader, with its figures."""
    found = {str(one["name"]).removeprefix("applications.reading."): one for one in rows}
    sets = {
        "clean": "clean",
        "held_out_font": "clean, Computer Modern (held out)",
        "noise_1": "noise 1, a fair scan",
        "noise_2": "noise 2, a poor scan",
        "noise_3": "noise 3, more than in training",
        "held_out_font_noise_2": "noise 2, Computer Modern",
        "shuffled_letters": "clean, letters of each word shuffled",
    }
    table = []
    for name, told in sets.items():
        cells = [told]
        for way in ("attention", "ppocr"):
            if f"{name}.{way}.exact" not in found:
                cells += ["not measured"] * 2
                continue
            for what in ("exact", "errors"):
                one = found[f"{name}.{way}.{what}"]
                cells.append(f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%})")
        table.append("| " + " | ".join(cells) + " |")
    sure = [found[f"{name}.sure_right"]["value"] for name in ("clean", "noise_3")]
    pointer = [found[f"clean.pointer.{way}"]["value"] for way in ("attention", "proportional")]
    above = found["clean.pointer.attention_over_proportional"]
    without = [
        [found[f"{name}.{way}.errors"]["without_spaces"] for name in ("clean", "noise_2")]
        for way in ("attention", "ppocr")
        if f"clean.{way}.errors" in found
    ]
    spaceless = "; ".join(
        f"{way}: {clean:.1%} clean, {noisy:.1%} under noise 2"
        for way, (clean, noisy) in zip(("ours", "PP-OCR"), without, strict=False)
    )
    more = f"{above['value']:+.1%} ({above['low']:+.1%} to {above['high']:+.1%})"
    weights = sum(parameter.numel() for parameter in reader.model.parameters())
    return f"""# printed

{reader!r}, {weights:,} parameters in float16.
It reads lines of printed English. Load it with `al.applications.load_reader("printed")`.

Made with `python tests/benchmarks/applying_reading.py train` on one thread, from {TRAINING_LINES:,}
lines of `al.datasets.printed`: words of the training tales of Grimm in DejaVu Sans, Sans Mono,
Serif and STIX, noise from {STRENGTH[0]:g} to {STRENGTH[1]:g}, {SHUFFLED:.0%} of the words
with their letters shuffled. The best epoch on {DEV_LINES} lines of the dev tales was kept. A second
loss asks the encoder for the letter in each column; the decoder is not told where letters stand.

Test tales, {TEST_LINES:,} lines each, opened once; in brackets 95 % intervals over lines:

| lines | ours, exact | ours, wrong characters | PP-OCR, exact | PP-OCR, wrong characters |
| --- | --- | --- | --- | --- |
{chr(10).join(table)}

The noise is the kind that ours learned from, and the clean fonts are those it saw; PP-OCR learned
from other data. Most of its mistakes under noise are in spaces. Wrong characters when these do not
count, {spaceless}.

Characters with a probability of {SURE:g} or more are right in {sure[0]:.2%} of cases on clean
lines and in {sure[1]:.2%} under noise 3. The centre of the cross-attention lies in the letter's
own box for {pointer[0]:.1%} of letters (clean lines). Character i of n at (i + 1/2) / n of the
line, which takes no attention, does for {pointer[1]:.1%}; the difference is
{more}. On short lines the pointer
shows little that the place in the line does not.

Everything it saw was rendered by code. It knows no handwriting, no other alphabet and no page
layout, and may be sure of a wrong letter: not for medicine, money, contracts or names on a list.

Card written by `make bench AREA=applications`.
"""


if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        began = time.perf_counter()
        train()
        print(f"{time.perf_counter() - began:.0f} s")
    else:
        for each in measure():
            print(each)
