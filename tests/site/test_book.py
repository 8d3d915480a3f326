"""The book: lessons as chapters, an API reference, and what must hold of every page."""

import ast
import html
import json
import os
import re
import sys
from pathlib import Path

import pytest

from attnlab.course import notebooks
from attnlab.errors import AttnlabError, DataError, MissingPackage, on_the_command_line
from attnlab.site import book, chapters, printing, reference
from attnlab.site.docstrings import as_rst

ROOT = Path(__file__).parents[2]
LESSONS = ("01_attention_maths", "12_capstone")
WITH_EXERCISES = [path.stem for path in sorted((ROOT / "notebooks" / "src").glob("*.py"))][1:]


def source(name):
    return ROOT / "notebooks" / "src" / f"{name}.py"


def chapter(name, solutions):
    solved = ROOT / "notebooks" / "solutions" / f"{name}.ipynb"
    return chapters.lesson(source(name), solved, solutions)


def secrets(name):
    """Lines and strings of a lesson that only its solutions hold."""
    text = source(name).read_text()
    regions = notebooks._REGION.findall(text)
    public = notebooks._REGION.sub("", text)
    lines = {line.strip() for _, region in regions for line in region.splitlines()}
    for _, region in regions:
        for node in ast.walk(ast.parse("if True:\n" + re.sub(r"^", "    ", region, flags=re.M))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.add(node.value)
    found = {line for line in lines if len(line) >= 25 and line not in public}
    assert len(found) > 10
    return found


# ── chapters ───────────────────────────────────────────────────────────────────────────────────


def test_a_chapter_has_holes_folded_solutions_and_the_saved_outputs():
    made = chapter("01_attention_maths", True)
    (hole,) = [cell for cell in made.cells if cell.metadata.get("attnlab", {}).get("points") and
               cell.metadata["attnlab"]["exercise"] == "softmax"]  # fmt: skip
    assert "your turn" in hole.source
    folded = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert folded.count("<summary>Solution</summary>") == 6
    pictures = re.findall(r"<img\b[^>]*>", notebooks.as_text(made))
    assert len(pictures) > 15
    assert all(re.search(r'alt=\\"[^"\\]{20,}', picture) for picture in pictures)


@pytest.mark.parametrize("name", WITH_EXERCISES)
def test_without_solutions_a_chapter_keeps_hints_and_pictures_and_holds_no_solution(name):
    made = chapter(name, False)
    text = "\n".join(
        json.dumps(output, ensure_ascii=False) for cell in made.cells for output in
        cell.get("outputs", ())
    )  # fmt: skip
    text += "\n".join(cell.source for cell in made.cells)
    assert "<summary>Hint 1</summary>" in text and "<summary>Solution</summary>" not in text
    assert text.count("<img") >= 5
    hidden, solved = secrets(name), notebooks.as_text(chapter(name, True))
    assert not [line for line in hidden if line in text]
    assert [line for line in hidden if line in solved]


def test_nothing_in_a_book_asks_to_run_a_cell():
    text = notebooks.as_text(chapter("01_attention_maths", True))
    assert "un this cell to" not in text
    assert "In the notebook, this can be moved." in text


def test_a_stale_solution_is_refused(tmp_path):
    changed = tmp_path / "01_attention_maths.py"
    changed.write_text(source("01_attention_maths").read_text() + "\n# %%\n1 + 1\n")
    solved = ROOT / "notebooks" / "solutions" / "01_attention_maths.ipynb"
    with pytest.raises(AttnlabError, match="Type: attnlab notebooks build 01"):
        chapters.lesson(changed, solved)


def clone(folder):
    """A clone of two lessons whose guides link to a page, a file, a folder and a lesson."""
    for page in (*chapters.GUIDES, *chapters.PROJECT, "README.md"):
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text("# A page\n")
    (folder / "notebooks" / "solutions").mkdir(parents=True)
    (folder / "data" / "results.json").write_text("[]")
    (folder / "docs" / "design.md").write_text(
        "[first](../README.md#start) [data](../data/results.json) [all](../notebooks/solutions)\n"
        "[left out](../notebooks/02.ipynb) `[code](nowhere.md)` [web](https://example.org)\n"
        "[![badge](../../../runs/badge.svg)](../../../runs) "
        "[![picture](../data/results.json)](../README.md)\n"
    )
    for name in ("00_one", "01_two"):
        text = '# %% [markdown]\n# # A lesson\n# [the other](01_two.ipynb)\n\n# %%\nprint("said")\n'
        (folder / "notebooks" / "src").mkdir(exist_ok=True)
        (folder / "notebooks" / "src" / f"{name}.py").write_text(text)
        solved = notebooks.as_text(notebooks.solution(notebooks.read(text)))
        (folder / "notebooks" / "solutions" / f"{name}.ipynb").write_text(solved)
    return folder


@pytest.fixture
def no_reference(monkeypatch):
    monkeypatch.setattr(chapters, "write_reference", lambda folder: [])


def test_links_stay_where_they_lead_into_the_book_and_keep_their_words_elsewhere(
    tmp_path, no_reference
):
    target = tmp_path / "book"
    target.mkdir()
    assert chapters.write_sources(clone(tmp_path), target, ["00"]) == ["00_one"]
    assert (target / "docs" / "design.md").read_text() == (
        "[first](../index.md#start) [data](../data/results.json) all\n"
        "left out `[code](nowhere.md)` [web](https://example.org)\n"
        " [![picture](../data/results.json)](../index.md)\n"
    )
    assert (target / "data" / "results.json").read_text() == "[]"
    lesson = (target / "notebooks" / "00_one.ipynb").read_text()
    assert "the other" in lesson and "01_two.ipynb" not in lesson


def test_the_desk_is_a_page_where_there_is_one(tmp_path, no_reference):
    for number, desk in enumerate((False, True)):
        target = tmp_path / str(number)
        target.mkdir()
        chapters.write_sources(clone(tmp_path / f"clone{number}"), target, desk=desk)
        assert (target / "desk.md").exists() == desk
        assert ("\ndesk\n" in (target / "index.md").read_text()) == desk


# ── the reference ──────────────────────────────────────────────────────────────────────────────


def test_every_public_name_stands_in_the_reference(tmp_path):
    import attnlab as al

    pages = reference.write_reference(tmp_path / "api")
    text = "\n".join((tmp_path / f"{page}.rst").read_text() for page in pages)
    for name in dir(al):
        if name != "__version__":
            assert f"``al.{name}``" in text
    for room in ("attention", "heads", "site", "errors", "show.plots"):
        module = sys.modules[f"attnlab.{room}"]
        for name in module.__all__:
            shown = (f"attnlab.{room}.{name}", f"py:data:: {name}", f"module:: {room}.{name}")
            assert any(words in text for words in shown), f"{room}.{name}"
    assert ".. autoclass:: attnlab.HeadMixer" in text


@pytest.mark.parametrize(
    ("docstring", "wanted"),
    [
        ("Add.\n\nRaises\n------\nValueError\n    If b is 0.", "``ValueError``\n    If b is 0."),
        ("Add.\n\nReturns\n-------\nThe sum, a float", ".. rubric:: Returns\n\nThe sum, a float"),
        (
            "Add.\n\nParameters\n----------\nby :\n    - one\n      way\n    - two\nb : last",
            "``by``\n\n    - one\n      way\n    - two\n\n``b``\n    last",
        ),
        (
            "Add.\n\nParameters\n----------\na : first,\n    a number\n\nMore of it.",
            "``a``\n    first,\n    a number\n\n\nMore of it.",
        ),
    ],
)
def test_docstrings_become_lists_of_names_with_what_they_mean(docstring, wanted):
    made = as_rst(docstring)
    assert wanted in made
    assert "---" not in made


# ── what the command refuses ───────────────────────────────────────────────────────────────────


def test_a_missing_extra_names_the_line_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    with pytest.raises(MissingPackage, match=r'Type: pip install "attnlab\[book\]"'):
        book.build_book(tmp_path / "book")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(AttnlabError, match="holds other files"):
        book.build_book(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_a_clone_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "checkout", lambda: None)
    with pytest.raises(AttnlabError, match="Clone the repository"):
        book.build_book(tmp_path / "book")


def test_pdf_files_without_a_chromium_are_refused_before_anything_takes_long(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(printing, "_PLACES", ())
    with pytest.raises(AttnlabError, match="Install Chromium or Chrome"):
        book.build_book(tmp_path / "book", pdf=True)
    assert not list(tmp_path.iterdir())


def test_without_npm_it_names_the_option(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ATTNLAB_CACHE", str(tmp_path / "cache"))
    with on_the_command_line(), pytest.raises(AttnlabError, match="--mathjax FOLDER"):
        book.build_book(tmp_path / "book")
    assert not (tmp_path / "book").exists()


def test_the_command_passes_on_what_was_asked_and_says_what_was_made(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    import attnlab.site
    from attnlab.cli import app

    asked = {}

    def made(out, names, **options):
        asked.update(options, out=out, names=names)
        return book.Book(out, list(names), 40, [], False)

    monkeypatch.setattr(attnlab.site, "build_book", made)
    out = tmp_path / "book"
    words = ["site", "book", "01", "06", "--out", str(out), "--without-solutions", "--pdf"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert asked["names"] == ["01", "06"] and asked["out"] == out
    assert asked["pdf"] and not asked["solutions"]
    assert "40 pages" in run.output and "attnlab site desk --out" in run.output


def test_a_book_that_is_there_is_handed_out_and_not_built_anew(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from attnlab.cli import app
    from attnlab.site import serving

    handed = []
    monkeypatch.setattr(serving, "hand_out", lambda folder, *where: handed.append(folder))
    monkeypatch.setattr(book, "npm_files", lambda *_: pytest.fail("it was built"))
    (tmp_path / book.CARD).write_text("{}")
    run = CliRunner().invoke(app, ["site", "book", "--out", str(tmp_path), "--serve"])
    assert run.exit_code == 0, run.output
    assert handed == [tmp_path]


def test_what_a_book_consists_of_is_sent_as_what_it_is():
    from attnlab.site.serving import _KINDS

    assert {".png", ".woff2", ".pdf", ".json", ".ipynb"} <= set(_KINDS)


# ── a small book ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two lessons without their solutions; the folder of a desk lies beside it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "desk").mkdir()
    (folder / "desk" / "desk-card.json").write_text("{}")
    (folder / "desk" / "index.html").write_text("<!doctype html>the desk")
    try:
        return book.build_book(folder / "book", ["01", "12"], solutions=False)
    except DataError as error:
        message = f"NO MATHJAX: the book could not be built, so it was not tested. {error}"
        if os.environ.get("ATTNLAB_BROWSER_TESTS") == "required":
            pytest.fail(message)
        pytest.skip(message)


def words_of(path):
    """The text of a page or of a notebook, without tags."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return text.encode().decode("unicode_escape", "ignore")
    return html.unescape(re.sub(r"<[^>]+>", "", text))


@pytest.mark.slow
def test_a_small_book_has_lessons_guides_reference_and_search(small):
    """That it was written says that Sphinx had no warning, and that no link or picture is bad."""
    assert small.lessons == list(LESSONS)
    assert small.desk
    for page in (
        "index.html",
        "notebooks/01_attention_maths.html",
        "docs/engineers.html",
        "docs/teachers.html",
        "docs/design.html",
        "api/heads.html",
        "desk.html",
        "desk/index.html",
        "search.html",
    ):
        assert (small.folder / page).is_file(), page
    assert 'id="attnlab.heads.prune"' in (small.folder / "api/heads.html").read_text()
    assert "softmax" in (small.folder / "searchindex.js").read_text()
    lesson = (small.folder / "notebooks/01_attention_maths.html").read_text()
    assert lesson.count("<details>") > 10 and lesson.count('class="math') > 50
    assert not re.search(r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css|woff2?)"', lesson)
    assert "pdf/01_attention_maths.pdf" not in lesson


@pytest.mark.slow
def test_without_solutions_no_file_of_the_book_holds_one(small):
    files = [path for path in small.folder.rglob("*") if path.suffix in (".html", ".ipynb", ".md")]
    assert len(files) > 50
    hidden = secrets("01_attention_maths") | secrets("12_capstone")
    for path in files:
        text = words_of(path)
        assert not [line for line in hidden if line in text], path


@pytest.mark.slow
def test_a_book_that_is_there_is_replaced(small, monkeypatch):
    """And is left as it was when the new one has a fault."""
    monkeypatch.setattr(book, "_run_sphinx", lambda source, made, *rest: made.mkdir())
    monkeypatch.setattr(book, "faults", lambda folder: ["index.html: x leads nowhere"])
    with pytest.raises(AttnlabError, match="x leads nowhere"):
        book.build_book(small.folder, ["01"])
    assert (small.folder / "docs" / "design.html").is_file()
    assert sorted(path.name for path in small.folder.parent.iterdir()) == ["book", "desk"]
