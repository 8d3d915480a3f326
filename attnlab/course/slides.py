"""Slides of a lesson: an executed solution through nbconvert's exporter for reveal.js.

Each section of a lesson is a column of slides. The first paragraph of a text stands on the slide,
the rest is in the speaker's notes; answers to exercises are left out. The page loads nothing from
the network: reveal.js and MathJax are copied beside it from a folder that npm made.
"""

import copy
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.course import notebooks as sources
from attnlab.errors import AttnlabError
from attnlab.files import atomic_write

__all__ = ["INSTALL", "Deck", "slides", "tagged"]

INSTALL = "npm install reveal.js@5 mathjax@3"
_BELONGS = ("$$", "- ", "1. ", "|", "![")  # a formula, list or table goes with what is before it
LINES = 14  # of an output, at most
_SCRIPTS = {  # what is copied of a folder node_modules, and to where
    "reveal.js/dist": "reveal.js/dist",
    "reveal.js/plugin/notes": "reveal.js/plugin/notes",
    "reveal.js/LICENSE": "reveal.js/LICENSE",
    "mathjax/es5/tex-svg.js": "mathjax/tex-svg.js",
    "mathjax/LICENSE": "mathjax/LICENSE",
}
_TEMPLATE = """\
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}
<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]}};</script>
{%- if resources.scripts %}
<script defer src="{{ resources.scripts }}/mathjax/tex-svg.js"></script>
{%- endif %}
{%- endblock html_head_js -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_css -%}
<style>
.reveal .slides { text-align: left; }
.reveal .slides :is(h1, h2, h3) { text-transform: none; }
.reveal .slides section { max-height: 100%; overflow-y: auto; }
.reveal .jp-OutputArea img, .reveal .jp-OutputArea svg { max-height: 60vh; width: auto; }
.reveal .jp-InputPrompt, .reveal .jp-OutputPrompt { display: none; }
.without-reveal { margin: 1em; padding: 1em; border: 2px solid #b45309; font-size: 18px; }
</style>
{%- endblock html_head_css -%}
{%- block body_footer -%}
{%- if not resources.scripts %}
<p class="without-reveal">This is the text of the slides, without reveal.js, which makes slides of
it. Type <code>{{ resources.install }}</code> in a folder of your own, then make the slides again
with <code>--reveal node_modules</code>.</p>
{%- endif %}
{{ super() }}
{%- endblock body_footer -%}
{%- block footer_js -%}
{%- if resources.scripts %}
<script src="{{ resources.scripts }}/reveal.js/dist/reveal.js"></script>
<script src="{{ resources.scripts }}/reveal.js/plugin/notes/notes.js"></script>
<script>
Reveal.initialize({hash: true, slideNumber: "c/t", width: 1280, height: 720, center: false,
  plugins: [RevealNotes]});
</script>
{%- endif %}
</html>
{%- endblock footer_js -%}
"""


@dataclass(frozen=True)
class Deck:
    """Slides as they were made.

    Attributes
    ----------
    page : the HTML file
    scripts : folder beside it with reveal.js and MathJax; None if the page is without
    sections, slides : how many columns there are, and how many slides in all
    """

    page: Path
    scripts: Path | None
    sections: int
    slides: int


def slides(
    lesson: str, out: Path, *, reveal: Path | None = None, notebooks: Path | None = None
) -> Deck:
    """Make slides of a lesson from its executed solution.

    Parameters
    ----------
    lesson : beginning of its name, such as "01"
    out : HTML file to write
    reveal : the folder ``node_modules`` that `INSTALL` makes; default none, and the page says so
    notebooks : folder with ``src`` and ``solutions``; default the course's

    Raises
    ------
    AttnlabError
        If the lesson has no solution, or the folder lacks a script.
    """
    from nbconvert import SlidesExporter

    place = notebooks or sources.folder()
    name = sources.sources(place, [lesson])[0].stem
    path = place / "solutions" / f"{name}.ipynb"
    if not path.is_file():
        raise AttnlabError(f"There is no {path}. Type: attnlab notebooks build {name[:2]}")
    book = tagged(_read(path))
    scripts = _copied(reveal, out.with_name(f"{out.stem}_scripts")) if reveal else None
    exporter = SlidesExporter(raw_template=_TEMPLATE, reveal_theme="white")
    exporter.reveal_url_prefix = f"{scripts.name}/reveal.js" if scripts else "."
    about = {"scripts": scripts.name if scripts else "", "install": INSTALL}
    page, _ = exporter.from_notebook_node(book, resources={**about, "metadata": {"name": name}})
    if not scripts:
        page = re.sub(r'<link [^>]*"\./dist/[^>]*>', "", page)
    atomic_write(out, page.encode())
    kinds = [cell.metadata["slideshow"]["slide_type"] for cell in book.cells]
    return Deck(out, scripts, kinds.count("slide"), kinds.count("slide") + kinds.count("subslide"))


def tagged(notebook: sources.Notebook) -> sources.Notebook:
    """A notebook whose cells say how they become slides, in ``metadata.slideshow.slide_type``.

    A heading of the first or second order begins a column, one of the third a slide below. The
    first code cell of a slide appears on it, each further one has a slide of its own. Answers,
    checks, imports and what comes before the first section are left out; of a folded cell only its
    output is shown.
    """
    book = copy.deepcopy(notebook)
    cells: list[Any] = []
    code_before, started = False, False
    for cell in book.cells:
        if cell.cell_type == "markdown":
            for part in _parts(cell.source):
                heading = re.match(r"(#+) ", part)
                shown, notes = _split(part)
                if heading:
                    kind = "slide" if len(heading[1]) <= 2 else "subslide"
                    code_before, started = False, started or len(heading[1]) > 1
                elif shown and not code_before:
                    kind = "fragment"
                else:
                    kind, shown, notes = "notes", part, ""
                cells.append(_with(cell, kind, shown))
                if notes:
                    cells.append(_with(cell, "notes", notes))
        elif cell.cell_type == "code":
            if not started or _is_left_out(cell):
                kind = "skip"
            else:
                kind, code_before = ("subslide" if code_before else "fragment"), True
            cells.append(_with(cell, kind, cell.source))
            cells[-1].outputs = [_cut(output) for output in cell.outputs]
            if "folded" in cell.metadata.get("attnlab", {}):
                cells[-1].metadata["transient"] = {"remove_source": True}
    for number, cell in enumerate(cells):
        cell.id = f"slide-{number:03d}"
    book.cells = cells
    return book


def _parts(text: str) -> list[str]:
    """A text, cut before each of its headings of the first three orders."""
    return [part.strip() for part in re.split(r"^(?=#{1,3} )", text, flags=re.M) if part.strip()]


def _split(text: str) -> tuple[str, str]:
    """What of a text stands on the slide, and what is said: the first paragraph, and the rest."""
    heading, _, rest = text.partition("\n\n") if text.startswith("#") else ("", "", text)
    if not heading and rest.lstrip().startswith("<details"):
        return "", text  # an answer, or how to read a picture
    paragraphs = rest.strip().split("\n\n")
    end = 0 if paragraphs[0].startswith("<details") else 1
    while end and end < len(paragraphs) and paragraphs[end].startswith(_BELONGS):
        end += 1
    shown = filter(None, (heading, *paragraphs[:end]))
    return "\n\n".join(shown), "\n\n".join(paragraphs[end:])


def _with(cell: sources.Notebook, kind: str, text: str) -> sources.Notebook:
    made = copy.deepcopy(cell)
    made.source, made.metadata["slideshow"] = text, {"slide_type": kind}
    return made


def _is_left_out(cell: sources.Notebook) -> bool:
    about = cell.metadata.get("attnlab", {})
    only_imports = all(
        re.match(r"(from|import) |$", line) for line in cell.source.splitlines() if line[:1] != " "
    )
    return (
        "exercise" in about
        or "check" in about
        or cell.source.startswith("al.checks.summary")
        or ((only_imports or "folded" in about) and not cell.outputs)
    )


def _cut(output: sources.Notebook) -> sources.Notebook:
    """An output of at most `LINES` lines or rows; pictures stay as they are."""
    if "text" in output:
        output["text"] = _first_lines(output["text"])
    data = output.get("data", {})
    if "text/html" in data and data["text/html"].count("<tr") > LINES:
        rows = re.split(r"(?=<tr\b)", data["text/html"])
        tail = rows[-1].partition("</tr>")[2]
        data["text/html"] = "".join(rows[: LINES + 1]) + tail + "<p>…</p>"
    elif "text/plain" in data and "text/html" not in data:
        data["text/plain"] = _first_lines(data["text/plain"])
    return output


def _first_lines(text: str) -> str:
    lines = text.splitlines()
    return text if len(lines) <= LINES else "\n".join([*lines[:LINES], "…"])


def _read(path: Path) -> sources.Notebook:
    import nbformat

    return nbformat.read(path, as_version=4)


def _copied(folder: Path, target: Path) -> Path:
    """Copy the scripts beside the page."""
    missing = [name for name in _SCRIPTS if not (folder / name).exists()]
    if missing:
        raise AttnlabError(
            f"{folder} has no {', '.join(missing)}. Make the folder node_modules by: {INSTALL}"
        )
    for name, there in _SCRIPTS.items():
        (target / there).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target / there, dirs_exist_ok=True)
        else:
            shutil.copy(folder / name, target / there)
    return target


def __dir__() -> list[str]:
    return sorted(__all__)
