"""Catalogues of translations, and lessons in another language."""

import ast
import gettext
import re

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from attnlab.cli import app, main
from attnlab.course import catalogues, notebooks, translating
from attnlab.languages import DOMAIN, LOCALE, SCRIPTS, known

_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$", re.S)
OTHERS = [name for name in known() if name != "en"]
TRANSLATED = [
    (language, path)
    for language in OTHERS
    for path in sorted((notebooks.folder() / "src" / language).glob("*.po"))
]
LESSON = '''# %% [markdown]
# # A title
#
# A paragraph of
# two lines.
#
# $$ a = b $$

# %% exercise="double" points=1
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x  # twice
    ### END SOLUTION


# %% [markdown] hints="double"
# First hint.
#
# ---
# Second hint.
'''


@pytest.fixture
def lesson(tmp_path):
    """A lesson and its catalogue, with what is translated in it."""
    source = tmp_path / "src" / "20_doubling.py"
    source.parent.mkdir()
    source.write_text(LESSON)

    def translate(said):
        path = translating.catalogue_of(source, "zh_CN")
        path.parent.mkdir(exist_ok=True)
        catalogue = catalogues.fresh("zh_CN")
        for text, translation in said.items():
            catalogue.add(text, translation)
        path.write_bytes(catalogues.written(catalogue))
        return source

    return translate


# ── the catalogues that there are ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_lacks_a_placeholder_and_what_is_compiled_is_the_source(language):
    assert list(catalogues.problems(language)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_no_lesson_has_lost_a_formula_or_a_link(language):
    assert list(translating.problems(language)) == []


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("domain", [DOMAIN, SCRIPTS])
def test_gettext_reads_what_the_source_says(language, domain):
    source = catalogues.read(LOCALE / language / "LC_MESSAGES" / f"{domain}.po", language)
    said = gettext.translation(domain, LOCALE, [language])
    pairs = [(message.id, message.string) for message in source if message.id and message.string]
    assert pairs
    assert [(text, said.gettext(text)) for text, _ in pairs] == pairs


@pytest.mark.parametrize(("language", "path"), TRANSLATED)
def test_a_translated_lesson_has_the_code_of_the_english_one(language, path):
    source = notebooks.folder() / "src" / f"{path.stem}.py"
    english = notebooks.read(source.read_text(encoding="utf-8"))
    other = translating.translated(source, language)
    assert len(english.cells) == len(other.cells)
    for before, after in zip(english.cells, other.cells, strict=True):
        assert before.metadata == after.metadata
        if before.cell_type == "code":
            assert _plain(before.source) == _plain(after.source)


@pytest.mark.parametrize(("language", "path"), TRANSLATED)
def test_emphasis_is_drawn_in_the_translation_as_well(language, path):
    """Beside letters without spaces a * after a full stop ends no emphasis: it stays a star."""
    drawn = MarkdownIt("commonmark").enable("table")
    for message in catalogues.read(path, language):
        if message.id and message.string:
            stars = [
                re.sub(r"<code>.*?</code>", "", drawn.render(_FORMULA.sub("", text)), flags=re.S)
                for text in (message.id, message.string)
            ]
            assert stars[1].count("*") <= stars[0].count("*"), message.string


def _plain(code):
    """What code does, whatever its comments and docstrings say."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body.pop(0)
    return ast.dump(tree)


def _is_text(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# ── what holds of any ─────────────────────────────────────────────────────────────────────────


def test_a_placeholder_that_a_translation_lacks_is_found():
    wrong = list(catalogues.wrong("{count} of {total:,}", "{total} 个"))
    assert len(wrong) == 1 and "{count} of {total:,}" in wrong[0]
    assert not list(catalogues.wrong("{count} of {total:,}", "{total:,} 个中的 {count} 个"))


def test_a_lost_formula_link_or_tag_is_found():
    text = "See [lesson 02](02.ipynb): $x$ in `code`.<br>"
    assert translating.lost(text, "见[第 02 课](02.ipynb)：`code` 中的 $x$。<br>") == set()
    assert translating.lost(text, "见第 02 课。") == {"](02.ipynb)", "$x$", "`code`", "<br>"}


def test_what_is_not_translated_stays_english(lesson):
    source = lesson({"# A title": "# 标题", "Second hint.": "第二条提示。"})
    book = translating.translated(source, "zh_CN")
    assert book.cells[0].source.startswith("# 标题\n\nA paragraph of\ntwo lines.")
    assert book.cells[2].source == "First hint.\n\n---\n第二条提示。"
    assert book.metadata["attnlab"]["language"] == "zh_CN"


def test_a_translation_survives_new_lines_but_no_new_words(lesson):
    source = lesson({"A paragraph of\ntwo lines.": "两行的段落。"})
    source.write_text(LESSON.replace("A paragraph of\n# two lines.", "A paragraph of two lines."))
    assert "两行的段落。" in translating.translated(source, "zh_CN").cells[0].source
    source.write_text(LESSON.replace("two lines.", "two short lines."))
    assert "two short lines." in translating.translated(source, "zh_CN").cells[0].source


def test_comments_and_docstrings_are_translated_and_the_code_is_not(lesson):
    source = lesson({"Twice x.": "x 的两倍。", "twice": "两倍", "double": "加倍"})
    code = translating.translated(source, "zh_CN").cells[1].source
    assert '"""x 的两倍。"""' in code and "# 两倍" in code
    assert "def double(x):" in code and "### BEGIN SOLUTION" in code


def test_a_catalogue_follows_its_lesson_and_says_what_is_missing(lesson, tmp_path):
    source = lesson({"# A title": "# 标题", "A sentence that is gone.": "已删除的句子。"})
    path = translating.catalogue_of(source, "zh_CN")
    assert translating.build("zh_CN", tmp_path) == [path]
    text = path.read_text(encoding="utf-8")
    assert "标题" in text and "已删除的句子。" not in text and "First hint." in text
    assert translating.build("zh_CN", tmp_path) == []
    absent = [found.text for found in translating.missing("zh_CN", tmp_path)]
    assert "# A title" not in absent and "First hint." in absent


# ── commands ──────────────────────────────────────────────────────────────────────────────────


def test_a_course_can_be_started_in_chinese(tmp_path):
    typed = CliRunner().invoke(app, ["start", str(tmp_path / "own"), "--lang", "zh"])
    assert typed.exit_code == 0
    first = (tmp_path / "own" / "00_start_here.ipynb").read_text(encoding="utf-8")
    assert "注意力" in first and '"language": "zh_CN"' in first
    assert len(list((tmp_path / "own").glob("*.ipynb"))) == len(
        notebooks.sources(notebooks.folder())
    )


def test_a_language_that_there_is_not_is_refused_with_those_that_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["start", str(tmp_path / "own"), "--lang", "klingon"])
    assert "zh_CN" in capsys.readouterr().err
    assert not (tmp_path / "own").exists()


def test_check_says_how_much_is_translated():
    typed = CliRunner().invoke(app, ["words", "check"])
    assert typed.exit_code == 0
    assert "zh_CN: " in typed.stdout and "without a translation" in typed.stdout
