"""Your own tagged sentences from a CoNLL file: a word and its tag on each line."""

import os
from pathlib import Path

from attnlab.datasets.reading import reading
from attnlab.datasets.tagged import TaggedDataset, iob2_names, kinds_of
from attnlab.errors import DataError


def from_conll(
    path: str | os.PathLike[str], encoding: str = "utf-8", name: str | None = None
) -> TaggedDataset:
    """Read your own tagged sentences: a word and its tag a line, empty lines between sentences.

    Parameters
    ----------
    path : the file. Word and tag are separated by a tab or by blanks; where a line has more
        columns, as in the files of CoNLL-2003, the first is the word and the last the tag. Lines
        that begin with -DOCSTART- are left out.
    encoding : how the file is encoded

    Returns
    -------
    TaggedDataset in IOB2. An ``I-kind`` that continues nothing of its kind becomes ``B-kind``: that
    turns IOB1, where ``B-`` is only used between neighbours, into IOB2, and leaves IOB2 as it is.

    Raises
    ------
    DataError : no such file, wrong encoding, a line without a tag or with one that is no IOB tag
        (with its number), nothing in it, or the same tag on every word
    """
    path = Path(path)
    with reading(path, encoding):
        lines = path.read_text(encoding=encoding).removeprefix("\ufeff").split("\n")
    sentences = _sentences(lines, path.name)
    if not sentences:
        raise DataError(
            f"{path.name} holds no words. Expected a word and its tag on each line, such as "
            "'March B-DATE', and an empty line between sentences."
        )
    named = [_to_iob2([tag for _, tag in sentence]) for sentence in sentences]
    seen = {tag for tags in named for tag in tags}
    if len(seen) == 1:
        raise DataError(
            f"All words of {path.name} have the tag {seen.pop()!r}, so there is nothing to tell "
            "apart. Tag what is to be found with 'B-kind' and 'I-kind', and all else with 'O'."
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
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise DataError(
                f"Line {number} of {name} is {line.strip()!r}: a word and its tag were expected, "
                "separated by a tab or a blank, such as 'March B-DATE'. Words that name nothing "
                "have the tag O."
            )
        tag = columns[-1]
        if tag != "O" and not (tag.startswith(("B-", "I-")) and tag[2:]):
            raise DataError(
                f"Line {number} of {name} has the tag {tag!r}. Expected 'O', 'B-kind' or "
                "'I-kind', such as 'B-DATE' for the first word of a date and 'I-DATE' for the "
                "others."
            )
        sentences[-1].append((columns[0], tag))
    return [sentence for sentence in sentences if sentence]


def _to_iob2(tags: list[str]) -> list[str]:
    """An ``I-`` that continues nothing of its kind begins something."""
    fixed: list[str] = []
    for index, tag in enumerate(tags):
        begins = tag.startswith("I-") and (index == 0 or tags[index - 1][2:] != tag[2:])
        fixed.append(f"B-{tag[2:]}" if begins else tag)
    return fixed
