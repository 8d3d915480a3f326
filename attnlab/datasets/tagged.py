"""Sentences whose words carry tags: what they are, reading your own, and cutting a text into words.

Tags say where things are named. They follow IOB2 (Ramshaw and Marcus 1995; Tjong Kim Sang and
Veenstra 1999): ``O`` for a word outside of everything, ``B-DATE`` for the first word of a date,
``I-DATE`` for each further one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnlab.errors import DataError

# a word: an abbreviation with its dots; or letters and digits, held together by what may stand
# inside a word or a number; or one sign by itself
_WORD = re.compile(
    r"(?:[^\W\d_]\.){2,}|\w+(?:(?:[-'’&]|(?<=\w)\.(?=\w)|(?<=\d)[,/:](?=\d))\w+)*|\S"
)


@dataclass(frozen=True)
class Entity:
    """Something named in a sentence: its kind, first word, and the word behind its last."""

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
    texts : the N sentences as they were written, where that is known; else None. Their words are
        those of `words_of`.
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
        for index, (words, tags) in enumerate(zip(self.words, self.tags, strict=True)):
            if len(words) != len(tags):
                raise DataError(
                    f"Sentence {index} has {len(words)} words and {len(tags)} tags. Give each "
                    "word one."
                )
            if any(not 0 <= tag < len(self.tag_names) for tag in tags):
                raise DataError(
                    f"Sentence {index} has a tag outside of 0 to {len(self.tag_names) - 1}, the "
                    f"indices into tag_names {self.tag_names}."
                )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def kinds(self) -> list[str]:
        """What is tagged, in alphabetical order."""
        return kinds_of(self.tag_names)

    def named(self, index: int) -> list[str]:
        """The tags of one sentence, by name."""
        return [self.tag_names[tag] for tag in self.tags[index]]

    def entities(self, index: int) -> list[Entity]:
        """What is named in one sentence, from left to right."""
        words, text = self.words[index], None if self.texts is None else self.texts[index]
        found = []
        for kind, start, end in spans(self.named(index)):
            if text is None:
                shown = " ".join(words[start:end])
            else:
                characters = [match.span() for match in _WORD.finditer(text)]
                shown = text[characters[start][0] : characters[end - 1][1]]
            found.append(Entity(kind, start, end, shown))
        return found

    def select(self, indices: Sequence[int] | np.ndarray) -> "TaggedDataset":
        """The sentences with these indices, in this order."""
        chosen = [int(index) for index in indices]
        return replace(
            self,
            words=[self.words[index] for index in chosen],
            tags=[self.tags[index] for index in chosen],
            texts=None if self.texts is None else [self.texts[index] for index in chosen],
        )

    def sample(self, n: int, seed: int = 0) -> "TaggedDataset":
        """At most ``n`` sentences, drawn at random from a seed; all of them if there are fewer."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(order[:n])

    def __repr__(self) -> str:
        named = sum(len(spans(self.named(index))) for index in range(len(self)))
        return (
            f"TaggedDataset({self.name!r}, {len(self):,} sentences, {named:,} entities of "
            f"{', '.join(self.kinds[:8])})"
        )


def words_of(text: str) -> list[tuple[str, int, int]]:
    """Cut a text into words, each with where it starts and ends in the text.

    Numbers, dates, names with a hyphen or an apostrophe and abbreviations stay whole; every other
    sign is a word of its own. Nothing but white space is left out.

    >>> [word for word, start, end in words_of("It paid $1.2 billion, or 4.5%, on 03/03/87.")]
    ['It', 'paid', '$', '1.2', 'billion', ',', 'or', '4.5', '%', ',', 'on', '03/03/87', '.']
    """
    return [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities that IOB2 tags name: kind, first word, and the word behind the last.

    Read strictly, as seqeval's strict mode does: an ``I-`` that continues nothing of its kind names
    nothing.

    >>> spans(["O", "B-DATE", "I-DATE", "B-AMOUNT", "I-DATE"])
    [('DATE', 1, 3), ('AMOUNT', 3, 4)]
    """
    found: list[tuple[str, int, int]] = []
    inside = False
    for index, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], index, index + 1))
            inside = True
        elif inside and tag == f"I-{found[-1][0]}":
            kind, start, _ = found[-1]
            found[-1] = (kind, start, index + 1)
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
            f"{', '.join(map(repr, odd[:4]))} {'are' if len(odd) > 1 else 'is'} no IOB2 tag. "
            "Expected 'O', and for each kind of entity 'B-kind' for its first word and 'I-kind' "
            "for the others."
        )
    alone = [kind for kind in kinds_of(tag_names) if not {f"B-{kind}", f"I-{kind}"} <= {*tag_names}]
    if "O" not in tag_names or alone or len({*tag_names}) != len(tag_names):
        raise DataError(
            f"The tags are {list(tag_names)}. Expected 'O' once, and each 'B-kind' and 'I-kind' "
            "once" + (f"; the kind {alone[0]!r} has only one of the two." if alone else ".")
        )


def iob2_names(kinds: Sequence[str]) -> list[str]:
    """The tags for these kinds of entity.

    >>> iob2_names(["DATE", "AMOUNT"])
    ['O', 'B-DATE', 'I-DATE', 'B-AMOUNT', 'I-AMOUNT']
    """
    return ["O", *(f"{side}-{kind}" for kind in kinds for side in "BI")]
