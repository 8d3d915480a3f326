"""Slides of a lesson: sections in columns, answers left out, nothing loaded from the network."""

import re

import nbformat
import pytest
from course_commands import run

from attnlab.course import notebooks
from attnlab.course.slides import LINES, slides, tagged
from attnlab.errors import AttnlabError

SCRIPTS = (
    *("reveal.js/dist/reveal.js", "reveal.js/dist/reveal.css", "reveal.js/dist/theme/white.css"),
    *("reveal.js/plugin/notes/notes.js", "reveal.js/LICENSE"),
    *("mathjax/es5/tex-svg.js", "mathjax/LICENSE"),
)
v4 = nbformat.v4


def code(source, text="", **metadata):
    outputs = [v4.new_output("stream", text=text)] if text else []
    return v4.new_code_cell(source, outputs=outputs, metadata={"attnlab": metadata})


BOOK = v4.new_notebook(
    cells=[
        v4.new_markdown_cell("# A lesson\n\nIts question:\n\n$$ x $$\n\nMore to say."),
        code("import torch\n\nclf = 1"),
        v4.new_markdown_cell("Before.\n\n## First\n\nA thought."),
        code("1 + 1", "2\n" * 40),
        v4.new_markdown_cell("What to notice."),
        code("2 + 2", "4"),
        v4.new_markdown_cell("<details><summary>What we saw</summary>\n\nFour.\n\n</details>"),
        v4.new_markdown_cell("### Exercise 1: add\n\nWrite it."),
        code("def add(a, b):\n    return a + b", exercise="add"),
        code("al.checks.add(add)", "right", check="add"),
        code("class Plain:\n    pass", folded=True),
        code("picture(labels)", "drawn", folded=True),
    ]
)


def test_headings_begin_columns_and_slides_and_answers_are_left_out():
    made = tagged(BOOK)
    assert [(cell.metadata.slideshow.slide_type, cell.source[:9]) for cell in made.cells] == [
        ("slide", "# A lesso"),
        ("notes", "More to s"),
        ("skip", "import to"),
        ("fragment", "Before."),
        ("slide", "## First\n"),
        ("fragment", "1 + 1"),
        ("notes", "What to n"),
        ("subslide", "2 + 2"),
        ("notes", "<details>"),
        ("subslide", "### Exerc"),
        ("skip", "def add(a"),
        ("skip", "al.checks"),
        ("skip", "class Pla"),
        ("fragment", "picture(l"),
    ]
    hidden = [cell.metadata.get("transient", {}).get("remove_source") for cell in made.cells]
    assert hidden == [None] * 12 + [True] * 2
    assert made.cells[0].source == "# A lesson\n\nIts question:\n\n$$ x $$"
    assert made.cells[5].outputs[0].text == "2\n" * LINES + "…"
    nbformat.validate(made)


def test_long_tables_are_cut_and_stay_whole():
    book = v4.new_notebook(cells=[v4.new_markdown_cell("## A"), code("frame")])
    table = f"<table>{'<tr><td>1</td></tr>' * 50}</table>"
    book.cells[1].outputs = [v4.new_output("display_data", {"text/html": table})]
    cut = tagged(book).cells[1].outputs[0].data["text/html"]
    assert cut.count("<tr") == LINES
    assert cut.endswith("</table><p>…</p>")


@pytest.fixture
def node_modules(tmp_path):
    for name in SCRIPTS:
        path = tmp_path / "node_modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("// script")
    return tmp_path / "node_modules"


@pytest.mark.slow
def test_the_page_holds_all_sections_and_loads_nothing_from_afar(tmp_path, node_modules, capsys):
    run("slides", "01", "--out", tmp_path / "deck.html", "--reveal", node_modules)
    page = (tmp_path / "deck.html").read_text()
    book = nbformat.read(notebooks.folder() / "solutions" / "01_attention_maths.ipynb", 4)
    titles = re.findall(
        r"^##? (.*)$", "\n".join(c.source for c in book.cells if c.cell_type != "code"), re.M
    )
    assert len(titles) > 10
    for title in titles:
        assert re.split(r"[$*`]", title)[0] in page  # up to a formula or emphasis
    assert f"in {len(titles)} sections" in capsys.readouterr().out
    loaded = re.findall(r"""<(?:script|link|img)[^>]*?(?:src|href)=["']([^"']*)""", page)
    local = [name for name in loaded if not name.startswith("data:")]
    assert local
    for name in local:
        assert (tmp_path / name).is_file(), name
    assert "This is the text of the slides" not in page
    assert "powers / powers.sum" not in page  # our answer to the first exercise


def test_without_reveal_the_page_says_what_to_type(tmp_path):
    deck = slides("00", tmp_path / "deck.html")
    page = deck.page.read_text()
    assert deck.scripts is None
    assert "npm install reveal.js@5 mathjax@3" in page
    assert not re.search(r"""<(?:script|link)[^>]*(?:src|href)=["'](?!data:)""", page)


def test_a_missing_script_or_solution_is_named(tmp_path, node_modules):
    (node_modules / "mathjax/es5/tex-svg.js").unlink()
    with pytest.raises(AttnlabError, match=r"has no mathjax/es5/tex-svg\.js.*npm install"):
        slides("00", tmp_path / "deck.html", reveal=node_modules)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "01_own.py").write_text("# %%\n1\n")
    with pytest.raises(AttnlabError, match="attnlab notebooks build 01"):
        slides("01", tmp_path / "deck.html", notebooks=tmp_path)
