"""Multi30k: captions of pictures in German and English, from a folder or the Hugging Face hub."""

import json
import os
from pathlib import Path

from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, worded


def multi30k(folder: str | os.PathLike[str] | None = None) -> Splits:
    """Captions of pictures in German and English: 29,000 pairs to train on, 1,014 dev, 1,000 test.

    Parameters
    ----------
    folder : where train.jsonl, val.jsonl and test.jsonl are, each line ``{"de": ..., "en": ...}``.
        Without it they come from the Hugging Face hub, if it can be reached, which keeps them in a
        cache of its own.

    Raises
    ------
    DataError : no hub, or files that are not these

    Source: Elliott, Frank, Sima'an and Specia, *Multi30K: Multilingual English-German Image
    Descriptions*, 2016.
    """
    files = {"train": "train.jsonl", "dev": "val.jsonl", "test": "test.jsonl"}
    try:
        paths = {
            part: _from_hub(file) if folder is None else Path(folder) / file
            for part, file in files.items()
        }
        return Splits(**{part: _captions(path) for part, path in paths.items()})
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {error.filename}. multi30k(folder) needs "
            f"{', '.join(files.values())}, as they are in {_HUB} on the Hugging Face hub."
        ) from error


_HUB = "bentrevett/multi30k"


def _from_hub(file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(_HUB, file, repo_type="dataset", etag_timeout=10))
    except Exception as error:  # the library and what it stands on raise many kinds
        last = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{file} of {_HUB} could not be fetched from the Hugging Face hub ({last}). "
            + worded(
                "Where there is a network, get the three .jsonl files of it, put them into one "
                "folder, and write datasets.multi30k(folder). Without them, load('interface-fr') "
                "is a small set of real pairs.",
                "Try again where there is a network, or use interface-fr, a small set of real "
                "pairs.",
            )
        ) from error


def _captions(path: Path) -> ParallelDataset:
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return ParallelDataset(
            [row["de"].strip() for row in rows],
            [row["en"].strip() for row in rows],
            "multi30k-de-en",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a file of Multi30k ({type(error).__name__}: {error}). Each line must "
            "be "
            '{"de": "...", "en": "..."}.'
        ) from error
