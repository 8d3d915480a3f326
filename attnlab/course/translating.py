"""Lessons in other languages: a catalogue for each, whose texts are the paragraphs of the source.

The code of a translated notebook is that of the English one; its comments and docstrings are
translated. A paragraph that has changed in English stays English until it is translated again;
where only its lines are cut otherwise the translation still holds.
"""

import copy
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attnlab.course import catalogues, notebooks
from attnlab.files import atomic_write
from attnlab.languages import ENGLISH, speaking

__all__ = [
    "build",
    "catalogue_of",
    "copy_of",
    "lost",
    "missing",
    "paragraphs",
    "problems",
    "translated",
]

_BETWEEN = re.compile(r"(\n[ \t]*\n(?:[ \t]*\n)*(?:---\n+)?)")
_NAMES = re.compile(r"\\text\{(?:Attention|Var|diag|softmax)\}")  # in formulas
_SILENT = re.compile(  # what needs no translation: formulas without words, links, tags, code
    r"\$\$(?:(?!\\text\b).)*?\$\$|\$[^$]*\$|<[^>]*>|`[^`]*`|\\[a-z]+", re.S
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_KINDS = (tokenize.COMMENT, tokenize.STRING)


def catalogue_of(source: Path, language: str) -> Path:
    """The catalogue of a lesson, which may not be there: ``src/zh_CN/00_start_here.po``."""
    return source.parent / language / f"{source.stem}.po"


def translated(source: Path, language: str) -> notebooks.Notebook:
    """A lesson as `notebooks.read` returns it, in another language as far as it is translated."""
    notebook = notebooks.read(source.read_text(encoding="utf-8"))
    if language == ENGLISH:
        return notebook
    found = _folded(catalogue_of(source, language), language)
    notebook.metadata["attnlab"]["language"] = language
    return _replaced(notebook, lambda text: found.get(_key(text), text))


def copy_of(notebook: Path, language: str) -> bytes:
    """The file of a student notebook in another language; in English where there is no catalogue.

    Parameters
    ----------
    notebook : the English one, beside ``src``
    language : such as "zh_CN"
    """
    source = notebook.parent / "src" / f"{notebook.stem}.py"
    if language == ENGLISH or not catalogue_of(source, language).exists():
        return notebook.read_bytes()
    with speaking(language):
        return notebooks.as_text(notebooks.student(translated(source, language))).encode()


def paragraphs(source: Path) -> list[str]:
    """All texts of a lesson that can be translated, in their order, each once."""
    found: dict[str, str] = {}

    def note(text: str) -> str:
        found.setdefault(_key(text), text)
        return text

    _replaced(notebooks.read(source.read_text(encoding="utf-8")), note)
    return list(found.values())


def build(language: str, folder: Path | None = None) -> list[Path]:
    """Bring the catalogues of the lessons that have one up to date; return what has changed."""
    changed = []
    for source in notebooks.sources(folder or notebooks.folder()):
        path = catalogue_of(source, language)
        if not path.exists():
            continue
        before, after = _folded(path, language), catalogues.fresh(language)
        for text in paragraphs(source):
            after.add(text, before.get(_key(text), ""))
        data = catalogues.written(after)
        if path.read_bytes() != data:
            changed.append(atomic_write(path, data))
    return changed


def missing(language: str, folder: Path | None = None) -> Iterator[catalogues.Missing]:
    """Paragraphs without a translation, of the lessons that have a catalogue."""
    for source in notebooks.sources(folder or notebooks.folder()):
        path = catalogue_of(source, language)
        if path.exists():
            found = _folded(path, language)
            for text in paragraphs(source):
                if _key(text) not in found:
                    yield catalogues.Missing(path, text, source.name)


def problems(language: str, folder: Path | None = None) -> Iterator[str]:
    """Translations that have lost a formula, a piece of code, a link or a tag."""
    for source in notebooks.sources(folder or notebooks.folder()):
        path = catalogue_of(source, language)
        for message in catalogues.read(path, language) if path.exists() else ():
            if message.id and message.string:
                gone = lost(message.id, message.string)
                if gone:
                    yield f"{path.name}: {message.id[:60]!r} has lost {', '.join(sorted(gone))}"


def lost(text: str, translation: str) -> set[str]:
    """Formulas, code, links and tags of a paragraph that its translation lacks."""
    return set(_kept(text)) - set(_kept(translation))


def _kept(text: str) -> list[str]:
    """What of a paragraph a translation must hold, too: formulas, code, links, tags."""
    plain = re.sub(r"\s+", " ", text)
    formulas = re.findall(r"\$\$.*?\$\$|(?<!\$)\$[^$]+\$", plain)
    formulas = [re.sub(r"\s|\\text\{[^}]*\}", "", formula) for formula in formulas]
    return [*formulas, *re.findall(r"`[^`]+`|\]\([^)]+\)|</?\w+>", plain)]


def _replaced(notebook: notebooks.Notebook, translate: Callable[[str], str]) -> notebooks.Notebook:
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            pieces = _BETWEEN.split(cell.source)
            pieces[::2] = [translate(part) if _speaks(part) else part for part in pieces[::2]]
            cell.source = "".join(pieces)
        elif cell.cell_type == "code":
            cell.source = _code(cell.source, translate)
    return notebook


def _code(source: str, translate: Callable[[str], str]) -> str:
    """Code with other comments and docstrings: strings in three quotes."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    made, end = [], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _KINDS:
            continue
        first, last = (starts[line - 1] + column for line, column in (token.start, token.end))
        mark = "# " if token.type == tokenize.COMMENT else '"""'
        text = token.string.removeprefix(mark).removesuffix(mark.strip(" #"))
        if token.string.startswith(mark) and _speaks(text):
            said = token.string.replace(text, translate(text))
            made += [source[end:first], said]
            end = last
    return "".join(made) + source[end:]


def _speaks(text: str) -> bool:
    """Whether there is anything to translate."""
    return bool(_WORD.search(_SILENT.sub(" ", _NAMES.sub("", text))))


def _key(text: str) -> str:
    """A text as it is looked up, however its lines are cut."""
    return " ".join(text.split())


def _folded(path: Path, language: str) -> Mapping[str, str]:
    return {
        _key(message.id): message.string
        for message in catalogues.read(path, language)
        if message.id and message.string
    }


def __dir__() -> list[str]:
    return sorted(__all__)
