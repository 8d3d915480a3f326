"""The sources of the book: lessons with their saved outputs, guides, pages of an API reference.

They are written into a folder that mirrors a clone, so that links between pages stay as they are. A
link to what is not in the book keeps its words only.
"""

import posixpath
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from attnlab.course import notebooks
from attnlab.errors import AttnlabError
from attnlab.site.reference import write_reference

__all__ = ["lesson", "write_sources"]

_FIRST = "README.md"  # the page that a clone and the book begin with
GUIDES = (
    "docs/engineers.md",
    "docs/teachers.md",
    "docs/platforms.md",
    "docs/hub.md",
    "docs/languages.md",
    "docs/glossary.md",
    "docs/design.md",
)
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "data/README.md")
_CARDS = "data/*/*/README.md"
_STILL = "In the notebook, this can be moved."
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.M | re.S)  # where nothing is a link
_DESK = """\
# The mixing desk in your browser

A fader for each head of the film classifier. It runs in this page, on your own machine; what you
type is sent nowhere. A browser allows that only for a book that a web server hands out, which
`attnlab site book --serve` does as well, and not for one that was opened as a file.

<iframe class="desk" src="desk/index.html" title="The mixing desk" loading="lazy"></iframe>

<p><a href="desk/index.html">The desk on a page of its own</a></p>
"""


def write_sources(
    clone: Path, target: Path, names: Sequence[str] = (), solutions: bool = True, desk: bool = False
) -> list[str]:
    """Write the book's sources into an empty folder; return the lessons, as names of files.

    Parameters
    ----------
    clone : with README.md, docs and notebooks
    target : to write to
    names : lessons, such as "01"; default all
    solutions : whether they unfold
    desk : whether there is a page for the desk for browsers

    Raises
    ------
    AttnlabError : no such lesson, or a solution that does not match its source
    """
    sources = notebooks.sources(clone / "notebooks", names)
    pages = [
        *GUIDES,
        *PROJECT,
        *(path.relative_to(clone).as_posix() for path in clone.glob(_CARDS)),
    ]
    lessons = [source.stem for source in sources]
    inside = {_FIRST, *pages, *(f"notebooks/{name}.ipynb" for name in lessons)}
    for source in sources:
        made = lesson(source, clone / "notebooks" / "solutions" / f"{source.stem}.ipynb", solutions)
        for cell in made.cells:
            if cell.cell_type == "markdown":
                cell.source = _linked(cell.source, "notebooks", inside, clone, target)
        path = target / "notebooks" / f"{source.stem}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebooks.as_text(made), encoding="utf-8")
    for page in (_FIRST, *pages):
        text = (clone / page).read_text(encoding="utf-8")
        text = _linked(text, posixpath.dirname(page), inside, clone, target)
        path = target / ("index.md" if page == _FIRST else page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if desk:
        (target / "desk.md").write_text(_DESK, encoding="utf-8")
    with (target / "index.md").open("a", encoding="utf-8") as first:
        first.write(_contents("Lessons", [f"notebooks/{name}" for name in lessons]))
        first.write(_contents("To play with", ["desk"] if desk else []))
        first.write(_contents("Guides", GUIDES))
        first.write(_contents("Reference", write_reference(target / "api")))
        first.write(_contents("Project", PROJECT))
    cards = sorted(page for page in pages if page.count("/") > 2)
    with (target / "data/README.md").open("a", encoding="utf-8") as data:
        data.write(_contents("", [page.removeprefix("data/") for page in cards]))
    return lessons


def lesson(source: Path, solved: Path, solutions: bool = True) -> notebooks.Notebook:
    """Return a lesson as a chapter: holes, folded hints and solutions, and the saved outputs.

    Parameters
    ----------
    source : percent-format file
    solved : its executed solution
    solutions : whether they unfold after the hints; if not, what exercises, checks and cells with
        the learner's own function gave is left out as well

    Raises
    ------
    AttnlabError : the solution is not there, or not of this source
    """
    text = source.read_text(encoding="utf-8")
    kept = notebooks.read_solution(solved)
    if kept is None or not notebooks.is_solution_of(solved, text):
        raise AttnlabError(
            f"{solved} does not match its source. Type: attnlab notebooks build {source.stem[:2]}"
        )
    made = notebooks.student(notebooks.read(text), solutions=solutions)
    executed = {cell.id: cell for cell in kept.cells}
    for cell in made.cells:
        if cell.cell_type == "code" and (solutions or not _is_own_work(cell)):
            cell.outputs = [_as_read(output) for output in executed[cell.id].outputs]
    return made


def _is_own_work(cell: notebooks.Notebook) -> bool:
    """Whether a cell holds a learner's answer, judges it, or runs it."""
    about = cell.metadata.get("attnlab", {})
    return "exercise" in about or "check" in about or "yours_or_ours" in cell.source


def _as_read(output: notebooks.Notebook) -> notebooks.Notebook:
    """An output as it stands in a book, where nothing can be run."""
    for kind, shown in output.get("data", {}).items():
        output["data"][kind] = shown.replace(notebooks.MOVABLE.strip("*"), _STILL)
    return output


def _linked(text: str, folder: str, inside: set[str], clone: Path, target: Path) -> str:
    """A page's text whose links lead somewhere in the book; files that it names are copied."""

    def mended(link: re.Match[str]) -> str:
        picture, words, address = link.groups()
        words = _LINK.sub(mended, words)  # a picture that is a link, such as a badge
        whole = f"{picture}[{words}]({address})"
        if re.match(r"[a-z]+:|#", address):
            return whole
        place = posixpath.normpath(posixpath.join(folder, address.partition("#")[0]))
        if place == _FIRST:
            return f"{picture}[{words}]({address.replace('README.md', 'index.md')})"
        if place in inside:
            return whole
        found = clone / place
        if found.is_file() and found.suffix not in (".ipynb", ".md"):
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target / place)
            return whole
        return "" if picture else words

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(mended, part) for part in parts[::2]]
    return "".join(parts)


def _contents(caption: str, pages: Sequence[str]) -> str:
    """A table of contents for the side bar; nothing where there are no pages."""
    if not pages:
        return ""
    head = f":caption: {caption}\n" if caption else ""
    return "\n```{toctree}\n:hidden:\n" + head + "\n" + "\n".join(pages) + "\n```\n"


def __dir__() -> list[str]:
    return sorted(__all__)
