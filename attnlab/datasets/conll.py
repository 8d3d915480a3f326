"""Your own tagged sentences from a CoNLL file: a word and its tag on each line."""

import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass

from attnlab.datasets.reading import local_file, name_of, read_text
from attnlab.datasets.tagged import TaggedDataset, iob2_names, kinds_of
from attnlab.errors import AttnlabWarning, DataError

# kinds of phrases: a column of these cuts sentences up (chunking), and names no entities
_PHRASES = frozenset(
    ["NP", "VP", "PP", "ADJP", "ADVP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"]
)
_LONG = 300  # words in the only sentence of a file from which empty lines seem to be missing


def from_conll(
    path: str | os.PathLike[str],
    encoding: str = "utf-8",
    name: str | None = None,
    *,
    word: int | None = None,
    tag: int | None = None,
) -> TaggedDataset:
    """Read your own tagged sentences: a word and its tag a line, empty lines between sentences.

    Parameters
    ----------
    path : the file, packed or not. Columns are separated by tabs or blanks.
    encoding : how the file is encoded
    word, tag : which columns they are, from 0; below 0 counted from the last. By default they are
        recognised: the tag column is the one that holds IOB tags throughout (of phrases such as NP
        only if there is no other), the word is the first of the others that does not count words.

    Returns
    -------
    TaggedDataset in IOB2. An ``I-kind`` that continues nothing of its kind becomes ``B-kind``: that
    turns IOB1, where ``B-`` is only used between neighbours, into IOB2, and leaves IOB2 as it is.

    Raises
    ------
    DataError : no such file, wrong encoding, lines with different numbers of columns, columns that
        cannot be told apart (with the argument to write), a line without a tag or with one that is
        no IOB tag (with its number), nothing in it, or the same tag on every word

    Notes
    -----
    Lines that begin with -DOCSTART- are left out, and so are comments, which begin with #. Where a
    column counts the words, as in CoNLL-U, lines such as 1-2 and 3.1 are no words of their own.
    """
    path = local_file(path)
    lines = _numbered_lines(read_text(path, encoding))
    rows = _rows(lines, path.name)
    if not rows:
        raise DataError(
            f"{path.name} holds no words. Expected a word and its tag on each line, such as "
            "'March B-DATE', and an empty line between sentences."
        )
    rows = _without_ranges(_without_header(rows, path.name))
    sentences = _sentences(rows, path.name, *_columns(rows, path.name, word, tag))
    if len(sentences) == 1 and len(sentences[0]) > _LONG:
        warnings.warn(
            f"{path.name} is one sentence of {len(sentences[0]):,} words. Are the empty lines "
            "between sentences missing?",
            AttnlabWarning,
            stacklevel=2,
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
        name or name_of(path),
    )


@dataclass(frozen=True)
class _Row:
    """A line of a file: its number, the number of its sentence, and its columns."""

    line: int
    sentence: int
    columns: list[str]


# --- Lines into columns ---------------------------------------------------------------------------


def _numbered_lines(text: str) -> list[tuple[int, int, str]]:
    """Lines that hold words, with their number and that of their sentence."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    found, sentence = [], 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip(" \r")
        if line.startswith("-DOCSTART-") or not line.strip():
            sentence += 1
        else:
            found.append((number, sentence, line))
    return found


def _rows(lines: list[tuple[int, int, str]], name: str) -> list[_Row]:
    """The lines in columns, all of as many, without comments."""
    plain = [line for _, _, line in lines if not line.startswith("#")] or [
        line for _, _, line in lines
    ]
    tabs = Counter(line.count("\t") + 1 for line in plain)
    blanks = Counter(len(_at_blanks(line)) for line in plain)
    # tabs separate, unless some lines have none, or all lines have blanks beside them
    at_tabs = min(tabs, default=1) > 1 and not (len(blanks) == 1 and max(blanks) > max(tabs))
    if at_tabs and all(line.endswith("\t") for line in plain):
        lines = [(number, sentence, line.removesuffix("\t")) for number, sentence, line in lines]
        tabs = Counter({columns - 1: count for columns, count in tabs.items()})
    width = (tabs if at_tabs else blanks).most_common(1)[0][0] if plain else 0
    counted = all(line[0].isdigit() for line in plain)
    rows = []
    for number, sentence, line in lines:
        columns = [cell.strip() for cell in line.split("\t")] if at_tabs else _at_blanks(line)
        row = len(columns) == width > 1 and any(map(_is_tag, columns)) and not counted
        if line.startswith("#") and not row:
            continue  # a comment; else the word is # or #that
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise DataError(
                f"Line {number} of {name} is {line.strip()!r}: a word and its tag were expected, "
                "separated by a tab or a blank, such as 'March B-DATE'. Words that name nothing "
                "have the tag O."
            )
        if len(columns) != width:
            raise DataError(
                f"Line {number} of {name} has {len(columns)} columns, and most lines have {width}: "
                f"{line.strip()[:60]!r}. Separate them by tabs alone, if words hold blanks."
            )
        rows.append(_Row(number, sentence, columns))
    return rows


def _at_blanks(line: str) -> list[str]:
    return re.split(r"[ \t]+", line.strip(" \t"))  # other white space is part of words


# --- Which column is which ------------------------------------------------------------------------


def _is_tag(cell: str) -> bool:
    return cell == "O" or (cell.startswith(("B-", "I-")) and len(cell) > 2)


def _without_header(rows: list[_Row], name: str) -> list[_Row]:
    """The rows without a first one that names the columns, which is said."""
    first = [cell.casefold() for cell in rows[0].columns]
    named = {"word", "words", "token", "tokens", "form", "text"} & {*first}
    if len(rows) < 2 or any(map(_is_tag, rows[0].columns)) or not named:
        return rows
    warnings.warn(
        f"Line {rows[0].line} of {name} is {' '.join(rows[0].columns)!r}. It is taken as the names "
        "of the columns and left out.",
        AttnlabWarning,
        stacklevel=3,
    )
    return rows[1:]


def _without_ranges(rows: list[_Row]) -> list[_Row]:
    """The rows without those that CoNLL-U numbers 1-2 and 3.1, if a column counts the words."""
    whole = [row for row in rows if not re.fullmatch(r"\d+[-.]\d+", row.columns[0])]
    return whole if len(whole) < len(rows) and _counts_words(whole) else rows


def _counts_words(rows: list[_Row]) -> bool:
    """Whether the first column counts the words of each sentence, or of the file."""
    before = None
    for row in rows:
        if not re.fullmatch(r"\d+", row.columns[0]):
            return False
        number = int(row.columns[0])
        goes_on = before is not None and number == int(before.columns[0]) + 1
        begins = before is None or row.sentence != before.sentence
        if not goes_on and not (begins and number in (0, 1)):
            return False
        before = row
    return len(rows) > 1


def _columns(rows: list[_Row], name: str, word: int | None, tag: int | None) -> tuple[int, int]:
    """Which columns hold words and tags, as given or recognised; DataError where that fails."""
    width = len(rows[0].columns)
    for role, given in (("word", word), ("tag", tag)):
        if given is not None and not -width <= given < width:
            raise DataError(
                f"{role} is {given}, and {name} has the columns 0 to {width - 1}: "
                f"{' '.join(rows[0].columns)!r}."
            )
    counted = _counts_words(rows)
    tag = _tag_column(rows, name, counted) if tag is None else tag % width
    if word is None:
        word = _word_column(rows, name, tag, counted)
    elif word % width == tag:
        raise DataError(f"Word and tag are both column {tag} of {name}. Name two.")
    return word % width, tag


def _tag_column(rows: list[_Row], name: str, counted: bool) -> int:
    """The column that holds IOB tags throughout; of several, one that names more than phrases."""
    columns = list(zip(*(row.columns for row in rows), strict=True))
    full = [  # but for what an error names by its line
        column
        for column in range(counted, len(columns))
        if sum(map(_is_tag, columns[column])) > len(rows) / 2
    ]
    if not full:
        return len(columns) - 1
    kinds = {
        column: {cell[2:] for cell in columns[column] if _is_tag(cell) and cell != "O"}
        for column in full
    }
    entities = [column for column in full if not kinds[column] or not kinds[column] <= _PHRASES]
    some = [column for column in entities if kinds[column]] or entities or full
    if len(some) > 1:
        told = ", ".join(
            f"column {column} ({', '.join(sorted(kinds[column])[:3]) or 'O alone'})"
            for column in some
        )
        raise DataError(
            f"{name} has tags in several columns: {told}, counted from 0. Say which are meant: "
            f"tag={some[0]} or tag={some[-1]}."
        )
    return some[0]


def _word_column(rows: list[_Row], name: str, tag: int, counted: bool) -> int:
    """The first column that is neither the tags nor a count, if it looks like words."""
    columns = list(zip(*(row.columns for row in rows), strict=True))
    others = [column for column in range(len(columns)) if column != tag]
    others = [column for column in others if not (counted and column == 0)]
    if not others:
        raise DataError(
            f"{name} counts in column 0 and has tags in column {tag}, and no words. If column 0 "
            "holds words, write word=0."
        )
    words = [re.search(r"[^\W\d_]", "".join(columns[column])) is not None for column in others]
    if len(others) > 1 and not words[0] and any(words):
        likely = others[words.index(True)]
        raise DataError(
            f"Column {others[0]} of {name} holds no letters, only the like of "
            f"{columns[others[0]][0]!r}; column {likely} does. Say which are the words: "
            f"word={others[0]} or word={likely}."
        )
    varied = [len({cell.casefold() for cell in columns[column]}) for column in others]
    if 2 * varied[0] < max(varied) and 5 * varied[0] < len(rows) and varied[0] < 60:
        likely = others[varied.index(max(varied))]
        raise DataError(
            f"Column {others[0]} of {name} holds few different words ({varied[0]} in {len(rows):,} "
            f"lines), such as {columns[others[0]][0]!r}; column {likely} holds {max(varied)}. Say "
            f"which are the words: word={others[0]} or word={likely}."
        )
    return others[0]


# --- Sentences ------------------------------------------------------------------------------------


def _sentences(rows: list[_Row], name: str, word: int, tag: int) -> list[list[tuple[str, str]]]:
    """Words with their tags, sentence by sentence."""
    sentences: dict[int, list[tuple[str, str]]] = {}
    for row in rows:
        if not row.columns[word]:
            raise DataError(f"Line {row.line} of {name} has no word in column {word}.")
        if not _is_tag(row.columns[tag]):
            raise DataError(
                f"Line {row.line} of {name} has the tag {row.columns[tag]!r}. Expected 'O', "
                "'B-kind' or 'I-kind', such as 'B-DATE' for the first word of a date and 'I-DATE' "
                "for the others."
            )
        sentences.setdefault(row.sentence, []).append((row.columns[word], row.columns[tag]))
    return list(sentences.values())


def _to_iob2(tags: list[str]) -> list[str]:
    """An ``I-`` that continues nothing of its kind begins something."""
    fixed: list[str] = []
    for index, tag in enumerate(tags):
        begins = tag.startswith("I-") and (index == 0 or tags[index - 1][2:] != tag[2:])
        fixed.append(f"B-{tag[2:]}" if begins else tag)
    return fixed
