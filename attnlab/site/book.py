"""The book: the course as a folder of pages that need neither Python nor a network.

Sphinx makes it, with MyST-NB for the notebooks, whose saved outputs are shown and never computed
again. What it needs for that lies in a temporary folder.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab import __version__
from attnlab.datasets.fetching import Source
from attnlab.errors import AttnlabError, needs
from attnlab.files import PACKAGE, checkout
from attnlab.site.building import CARD as DESK_CARD
from attnlab.site.chapters import write_sources
from attnlab.site.docstrings import as_rst
from attnlab.site.links import faults
from attnlab.site.npm import npm_files
from attnlab.site.printing import find_chromium, print_pages

__all__ = ["MATHJAX", "Book", "build_book"]

STATIC = PACKAGE / "site" / "static"
CARD = "book-card.json"  # by which a folder of ours is known again
_REQUIREMENT = "mathjax@3.2.2"
MATHJAX = (  # what sets formulas, and its licence
    Source(
        _REQUIREMENT,
        "tex-svg.js",
        "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882",
        2_108_580,
        "Apache-2.0",
        (),
    ),
    Source(
        _REQUIREMENT,
        "LICENSE",
        "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
        11_358,
        "Apache-2.0",
        (),
    ),
)


@dataclass(frozen=True)
class Book:
    """A book that was written.

    Attributes
    ----------
    folder : Path
    lessons : their names, such as "01_attention_maths"
    pages : how many there are
    pdfs : one for each lesson, if wanted
    desk : whether the desk for browsers is in it
    """

    folder: Path
    lessons: list[str]
    pages: int
    pdfs: list[Path]
    desk: bool


def build_book(
    out: str | os.PathLike[str],
    names: Sequence[str] = (),
    *,
    solutions: bool = True,
    pdf: bool = False,
    mathjax: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Book:
    """Write the course as a book: lessons with what their cells gave, guides, an API reference.

    A desk for browsers that lies beside it, as a folder ``desk``, becomes a page of it.

    Parameters
    ----------
    out : folder; a book that is there is replaced
    names : lessons, such as "01"; default all
    solutions : whether those of exercises unfold; without, nothing in the folder holds them
    pdf : print each lesson to a file, which takes a Chromium
    mathjax : folder with the files of MathJax, got by hand; default: npm fetches them
    progress : called with a line before what takes a while

    Raises
    ------
    AttnlabError : ``out`` holds other files, or is not in a clone; no Chromium; a solution that is
        stale; a page with a warning, a dead link, or a picture without a text
    DataError : no npm and no files, or no network at the first use
    MissingPackage : Sphinx or MyST-NB is not installed
    """
    with needs("book"):
        import myst_nb  # noqa: F401
        import sphinx_book_theme  # noqa: F401
    clone = checkout()
    if clone is None:
        raise AttnlabError(
            "A book is made of README.md, docs and notebooks, which only a clone has. Clone the "
            "repository and run this there."
        )
    target = _target(out)
    chromium = find_chromium() if pdf else None
    scripts = npm_files(MATHJAX, None if mathjax is None else Path(mathjax), "mathjax")
    desk = target.parent / "desk"
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        source, made = Path(folder) / "source", Path(folder) / "book"
        has_desk = (desk / DESK_CARD).is_file()
        progress("writing the chapters")
        source.mkdir()
        lessons = write_sources(clone, source, names, solutions, has_desk)
        (source / "_static").mkdir()
        shutil.copyfile(STATIC / "book.css", source / "_static" / "book.css")
        shutil.copyfile(STATIC / "icon.svg", source / "_static" / "icon.svg")
        shutil.copyfile(scripts["tex-svg.js"], source / "_static" / "tex-svg.js")
        shutil.copyfile(scripts["LICENSE"], source / "_static" / "tex-svg.LICENSE")
        progress("making the pages")
        _run_sphinx(source, made, Path(folder) / "doctrees", lessons if pdf else [])
        if has_desk:
            shutil.copytree(desk, made / "desk")
        pdfs = []
        if chromium is not None:
            pages = [made / "notebooks" / f"{name}.html" for name in lessons]
            pdfs = print_pages(chromium, pages, made / "pdf", progress)
        _refuse_faults(made)
        (made / CARD).write_text(f'{{"attnlab": "{__version__}"}}\n', encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        made.replace(target)
    html = [path.relative_to(target) for path in target.rglob("*.html")]
    return Book(
        folder=target,
        lessons=lessons,
        pages=sum(path.parts[0] not in ("_static", "desk") for path in html),
        pdfs=[target / "pdf" / path.name for path in pdfs],
        desk=has_desk,
    )


def _target(out: str | os.PathLike[str]) -> Path:
    """The folder, if a book may be written there."""
    target = Path(out).resolve()
    ours = target.is_dir() and ((target / CARD).exists() or not any(target.iterdir()))
    if target.exists() and not ours:
        raise AttnlabError(
            f"{target} holds other files, and a book takes a folder of its own. Name a new one."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AttnlabError(
            f"{target.parent} cannot be made: {error.strerror}. Choose another place."
        ) from error
    return target


def _settings() -> dict[str, Any]:
    """What a conf.py would hold."""
    return {
        "project": "attnlab",
        "author": "attnlab",
        "copyright": "",
        "html_show_copyright": False,
        "html_show_sphinx": False,
        "version": __version__,
        "release": __version__,
        "language": "en",
        "root_doc": "index",
        "extensions": ["myst_nb", "sphinx.ext.autodoc"],
        "exclude_patterns": ["_static"],
        # lessons
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "nb_ipywidgets_js": {},
        "myst_enable_extensions": ["dollarmath", "amsmath"],
        "myst_heading_anchors": 4,
        "mathjax_path": "tex-svg.js",
        "mathjax3_config": {"options": {"enableMenu": False}},
        # reference
        "default_role": "py:obj",
        "add_module_names": False,
        "autodoc_typehints_format": "short",
        "maximum_signature_line_length": 88,
        "python_use_unqualified_type_names": True,
        # looks
        "html_theme": "sphinx_book_theme",
        "html_title": f"attnlab {__version__}",
        "html_context": {"default_mode": "auto"},
        "html_favicon": "_static/icon.svg",
        "html_static_path": ["_static"],
        "html_css_files": ["book.css"],
        "html_theme_options": {
            "home_page_in_toc": True,
            "show_navbar_depth": 1,
            "navbar_persistent": [],
            "footer_content_items": [],
            "use_fullscreen_button": False,
            "logo": {"text": f"attnlab {__version__}"},
        },
    }


def _run_sphinx(source: Path, made: Path, doctrees: Path, printed: Sequence[str]) -> None:
    """Make the pages; a warning is an error."""
    from sphinx.application import Sphinx

    said = io.StringIO()
    app = Sphinx(
        source, None, made, doctrees, "html", _settings(), status=None, warning=said, parallel=1
    )
    app.connect("autodoc-process-docstring", _in_rst)
    app.connect("autodoc-process-signature", _own_signature)
    app.connect("html-page-context", _buttons_for(printed), priority=900)
    app.build()
    warnings = [line for line in said.getvalue().splitlines() if line.strip()]
    if warnings or app.statuscode:
        shown = "\n".join(line.replace(f"{source}{os.sep}", "") for line in warnings[:40])
        raise AttnlabError(f"The book was not written, because Sphinx warns of this:\n{shown}")


def _in_rst(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [*as_rst("\n".join(lines)).splitlines(), ""]


def _own_signature(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str | None, returned: Any
) -> tuple[str, Any] | None:
    """That of a widget's ``__init__``, which traitlets hides behind a ``__new__`` of its own."""
    from sphinx.util import inspect

    if what != "class" or not (signature or "").startswith("(*args"):
        return None
    found = inspect.signature(value.__init__, bound_method=True)
    return inspect.stringify_signature(found, unqualified_typehints=True), returned


def _buttons_for(printed: Sequence[str]) -> Callable[..., None]:
    """The download button: the notebook, and the PDF where there is one."""

    def change(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
        groups = [each for each in context.get("header_buttons", ()) if "buttons" in each]
        for group in groups:
            for button in group["buttons"]:
                name = page.rpartition("/")[2]
                if button["label"] == "download-pdf-button" and name in printed:
                    del button["javascript"]
                    button["type"] = "link"
                    button["url"] = f"{context['pathto']('pdf', 1)}/{name}.pdf"

    return change


def _refuse_faults(made: Path) -> None:
    found = faults(made)
    if found:
        shown = "\n".join(found[:40])
        raise AttnlabError(f"The book was not written, because of this:\n{shown}")


def __dir__() -> list[str]:
    return sorted(__all__)
