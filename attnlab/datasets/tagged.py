"""Sentences whose words carry tags: what they are, reading your own, and cutting a text into words.

Tags say where things are named. They follow IOB2 (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999):
``O`` for a word outside of everything, ``B-DATE`` for the first word of a date, ``I-DATE`` for each further one.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnlab.datasets.texts import Splits, normalise
from attnlab.errors import DataError

# a word: an abbreviation with its dots; or letters and digits, held together by what may stand inside a word or a
# number; or one sign by itself
_WORD = re.compile(
    r"(?:[^\W\d_]\.){2,}|\w+(?:(?:[-'’&]|(?<=\w)\.(?=\w)|(?<=\d)[,/:](?=\d))\w+)*|\S"
)


@dataclass(frozen=True)
class Entity:
    """Something named in a sentence: ``kind``, and its words ``start`` to ``end`` (behind the last)."""

    kind: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, eq=False)
class TaggedDataset:
    """Sentences with a tag for each word.

    Attributes
    ----------
    words : N lists of str
    tags : N lists of int, indices into tag_names, one for each word
    tag_names : list of str: "O", and "B-kind", "I-kind" for each kind
    name : str
    texts : the N sentences as they were written, where that is known; else None. Their words are those of
        `words_of`.
    """

    words: list[list[str]]
    tags: list[list[int]]
    tag_names: list[str]
    name: str
    texts: list[str] | None = None

    def __post_init__(self):
        check_tag_names(self.tag_names)
        if len(self.words) != len(self.tags):
            raise DataError(
                f"There are {len(self.words)} sentences and {len(self.tags)} lists of tags. "
                "Give each sentence one."
            )
        for place, (words, tags) in enumerate(zip(self.words, self.tags, strict=True)):
            if len(words) != len(tags):
                raise DataError(
                    f"Sentence {place} has {len(words)} words and {len(tags)} tags. Give each word one."
                )
            if any(not 0 <= tag < len(self.tag_names) for tag in tags):
                raise DataError(
                    f"Sentence {place} has a tag outside of 0 to {len(self.tag_names) - 1}, the places "
                    f"in tag_names {self.tag_names}."
                )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def kinds(self) -> list[str]:
        """What is tagged, in alphabetical order."""
        return kinds_of(self.tag_names)

    def named(self, place: int) -> list[str]:
        """The tags of one sentence, by name."""
        return [self.tag_names[tag] for tag in self.tags[place]]

    def entities(self, place: int) -> list[Entity]:
        """What is named in one sentence, from left to right."""
        words, text = self.words[place], None if self.texts is None else self.texts[place]
        found = []
        for kind, start, end in spans(self.named(place)):
            if text is None:
                shown = " ".join(words[start:end])
            else:
                at = [(match.start(), match.end()) for match in _WORD.finditer(text)]
                shown = text[at[start][0] : at[end - 1][1]]
            found.append(Entity(kind, start, end, shown))
        return found

    def select(self, indices: Sequence[int] | np.ndarray) -> "TaggedDataset":
        """The sentences at these places, in this order."""
        places = [int(index) for index in indices]
        return replace(
            self,
            words=[self.words[place] for place in places],
            tags=[self.tags[place] for place in places],
            texts=None if self.texts is None else [self.texts[place] for place in places],
        )

    def sample(self, n: int, seed: int = 0) -> "TaggedDataset":
        """At most ``n`` sentences, drawn at random from a seed; all of them if there are fewer."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(order[:n])

    def __repr__(self) -> str:
        named = sum(len(spans(self.named(place))) for place in range(len(self)))
        return (
            f"TaggedDataset({self.name!r}, {len(self):,} sentences, {named:,} entities of "
            f"{', '.join(self.kinds[:8])})"
        )


def words_of(text: str) -> list[tuple[str, int, int]]:
    """Cut a text into words, each with where it starts and ends in the text.

    Numbers, dates, names with a hyphen or an apostrophe and abbreviations stay whole; every other sign is a word
    of its own. Nothing but white space is left out.

    >>> [word for word, start, end in words_of("It paid $1.2 billion, or 4.5%, on 03/03/87.")]
    ['It', 'paid', '$', '1.2', 'billion', ',', 'or', '4.5', '%', ',', 'on', '03/03/87', '.']
    """
    return [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities that IOB2 tags name: kind, first word, and the word behind the last.

    Read strictly, as seqeval's strict mode does: an ``I-`` that continues nothing of its kind names nothing.

    >>> spans(["O", "B-DATE", "I-DATE", "B-AMOUNT", "I-DATE"])
    [('DATE', 1, 3), ('AMOUNT', 3, 4)]
    """
    found: list[tuple[str, int, int]] = []
    inside = False
    for place, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], place, place + 1))
            inside = True
        elif inside and tag == f"I-{found[-1][0]}":
            kind, start, _ = found[-1]
            found[-1] = (kind, start, place + 1)
        else:
            inside = False
    return found


def kinds_of(tag_names: Sequence[str]) -> list[str]:
    """The kinds of entity that these tags tell apart, in alphabetical order."""
    return sorted({tag[2:] for tag in tag_names if tag != "O"})


def check_tag_names(tag_names: Sequence[str]) -> None:
    """Raise DataError unless the tags are "O" and pairs "B-kind", "I-kind"."""
    odd = [tag for tag in tag_names if tag != "O" and (tag[:2] not in ("B-", "I-") or not tag[2:])]
    if odd:
        raise DataError(
            f"{', '.join(map(repr, odd[:4]))} {'are' if len(odd) > 1 else 'is'} no IOB2 tag. Expected 'O', "
            "and for each kind of entity 'B-kind' for its first word and 'I-kind' for the others."
        )
    alone = [kind for kind in kinds_of(tag_names) if not {f"B-{kind}", f"I-{kind}"} <= {*tag_names}]
    if "O" not in tag_names or alone or len({*tag_names}) != len(tag_names):
        raise DataError(
            f"The tags are {list(tag_names)}. Expected 'O' once, and each 'B-kind' and 'I-kind' once"
            + (f"; the kind {alone[0]!r} has only one of the two." if alone else ".")
        )


def iob2_names(kinds: Sequence[str]) -> list[str]:
    """The tags for these kinds of entity.

    >>> iob2_names(["DATE", "AMOUNT"])
    ['O', 'B-DATE', 'I-DATE', 'B-AMOUNT', 'I-AMOUNT']
    """
    return ["O", *(f"{side}-{kind}" for kind in kinds for side in "BI")]


# ── your own ───────────────────────────────────────────────────────────────────────────────────


def from_conll(
    path: str | os.PathLike[str], encoding: str = "utf-8", name: str | None = None
) -> TaggedDataset:
    """Read your own tagged sentences: a word and its tag on each line, an empty line between sentences.

    Parameters
    ----------
    path : the file. Word and tag are separated by a tab or by blanks; where a line has more columns, as in the
        files of CoNLL-2003, the first is the word and the last the tag. Lines that begin with -DOCSTART- are left
        out.
    encoding : how the file is encoded

    Returns
    -------
    TaggedDataset in IOB2. An ``I-kind`` that continues nothing of its kind becomes ``B-kind``: that turns IOB1,
    where ``B-`` is only used between neighbours, into IOB2, and leaves IOB2 as it is.

    Raises
    ------
    DataError : no such file, wrong encoding, a line without a tag or with one that is no IOB tag (with its
        number), nothing in it, or the same tag on every word
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding=encoding).removeprefix("\ufeff").split("\n")
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}. Check the path; you are in {Path.cwd()}."
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder. Give the name of a file in it.") from error
    except UnicodeError as error:
        raise DataError(
            f"{path.name} is not {encoding} ({error}). Give its encoding=..., such as 'cp1252' or 'utf-16'."
        ) from error
    except LookupError as error:
        raise DataError(
            f"There is no encoding {encoding!r}. Try 'utf-8', 'cp1252', 'utf-16'."
        ) from error
    sentences = _sentences(lines, path.name)
    if not sentences:
        raise DataError(
            f"{path.name} holds no words. Expected a word and its tag on each line, such as 'March B-DATE', "
            "and an empty line between sentences."
        )
    named = [_to_iob2([tag for _, tag in sentence]) for sentence in sentences]
    seen = {tag for tags in named for tag in tags}
    if len(seen) == 1:
        raise DataError(
            f"All words of {path.name} have the tag {seen.pop()!r}, so there is nothing to tell apart. "
            "Tag what is to be found with 'B-kind' and 'I-kind', and all else with 'O'."
        )
    tag_names = iob2_names(kinds_of([*seen]))
    number = {tag: index for index, tag in enumerate(tag_names)}
    return TaggedDataset(
        [[word for word, _ in sentence] for sentence in sentences],
        [[number[tag] for tag in tags] for tags in named],
        tag_names,
        name or path.stem,
    )


def _sentences(lines: list[str], name: str) -> list[list[tuple[str, str]]]:
    """Words with their tags, sentence by sentence."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(lines, 1):
        if line.startswith("-DOCSTART-") or not line.strip():
            sentences.append([])
            continue
        columns = [one.strip() for one in line.split("\t")] if "\t" in line else line.split()
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise DataError(
                f"Line {number} of {name} is {line.strip()!r}: a word and its tag were expected, separated by a "
                "tab or a blank, such as 'March B-DATE'. Words that name nothing have the tag O."
            )
        tag = columns[-1]
        if tag != "O" and not (tag.startswith(("B-", "I-")) and tag[2:]):
            raise DataError(
                f"Line {number} of {name} has the tag {tag!r}. Expected 'O', 'B-kind' or 'I-kind', such as "
                "'B-DATE' for the first word of a date and 'I-DATE' for the others."
            )
        sentences[-1].append((columns[0], tag))
    return [sentence for sentence in sentences if sentence]


def _to_iob2(tags: list[str]) -> list[str]:
    """An ``I-`` that continues nothing of its kind begins something."""
    fixed: list[str] = []
    for place, tag in enumerate(tags):
        begins = tag.startswith("I-") and (place == 0 or tags[place - 1][2:] != tag[2:])
        fixed.append(f"B-{tag[2:]}" if begins else tag)
    return fixed


def split(dataset: TaggedDataset, dev: int | float = 0.1, test: int | float = 0.1) -> Splits:
    """Split tagged sentences into train, dev and test, the same way on every machine.

    Parameters
    ----------
    dev, test : how many sentences, or which share of them if below 1

    Sentences are ordered by a hash of their words; copies of one sentence stay together, so that a part may
    be larger by a few.
    """
    count = {
        part: round(size * len(dataset)) if 0 < size < 1 else int(size)
        for part, size in (("test", test), ("dev", dev))
    }
    if min(count.values()) < 0 or sum(count.values()) >= len(dataset):
        raise DataError(
            f"dev={dev} and test={test} do not fit {len(dataset)} sentences. Give numbers of sentences, or "
            "shares below 1, that leave something for training."
        )
    copies: dict[str, list[int]] = {}
    for place, words in enumerate(dataset.words):
        key = hashlib.sha256(normalise(" ".join(words)).encode()).hexdigest()
        copies.setdefault(key, []).append(place)
    parts: dict[str, list[int]] = {"test": [], "dev": [], "train": []}
    for key in sorted(copies):
        part = next((one for one in count if len(parts[one]) < count[one]), "train")
        parts[part] += copies[key]
    return Splits(**{part: dataset.select(places) for part, places in parts.items()})
