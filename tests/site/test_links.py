"""Faults of pages: what the book's command refuses to write."""

import pytest

from attnlab.site.links import faults

GOOD = """<!doctype html><link rel="stylesheet" href="looks.css?v=1"><link rel="canonical"
href="https://example.org/"><a href="https://example.org">web</a><a href="other.html#there">x</a>
<a href="#here">y</a><h2 id="here">z</h2><img src="data:image/png;base64,AA" alt="a map">
<iframe src="other.html" title="a frame"></iframe><script>let a = "https://example.org/x.js"</script>
"""


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text('<h2 id="there">x</h2>')
    (tmp_path / "looks.css").write_text("body { background: url(data:image/png;base64,AA) }")
    return tmp_path


def test_good_pages_have_none(pages):
    assert faults(pages) == []


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ('<a href="gone.html">x</a>', "gone.html leads nowhere"),
        ('<a href="../outside.html">x</a>', "../outside.html leads nowhere"),
        ('<a href="folder/">x</a>', "folder/ leads nowhere"),
        ('<a href="other.html#gone">x</a>', "other.html#gone leads to no place on that page"),
        ('<a href="#gone">x</a>', "#gone leads to no place on that page"),
        ('<script src="https://cdn/x.js"></script>', "https://cdn/x.js is loaded from the network"),
        ('<script src="//cdn/x.js"></script>', "//cdn/x.js is loaded from the network"),
        ('<script src="gone.js"></script>', "gone.js is not there"),
        ('<link rel="stylesheet" href="http://cdn/x.css">', "http://cdn/x.css is loaded from"),
        ('<link rel="preconnect" href="https://fonts">', "https://fonts is loaded from"),
        ('<img src="http://cdn/x.png" alt="x">', "http://cdn/x.png is loaded from the network"),
        ('<img src="other.html">', "a picture without a text (other.html)"),
        ('<img src="other.html" alt=" ">', "a picture without a text (other.html)"),
        ('<iframe src="other.html"></iframe>', "a picture without a text (other.html)"),
        ("<style>@import 'https://cdn/x.css';</style>", "https://cdn/x.css is loaded from"),
        ('<p style="background: url(http://cdn/x.png)">x</p>', "http://cdn/x.png is loaded from"),
    ],
)
def test_each_fault_is_found(pages, tag, why):
    (pages.parent / "outside.html").write_text("x")
    (pages / "folder").mkdir()
    with (pages / "index.html").open("a") as page:
        page.write(tag)
    (found,) = faults(pages)
    assert found.startswith("index.html: ") and why in found


def test_style_sheets_load_nothing_from_elsewhere(pages):
    (pages / "looks.css").write_text("@font-face { src: url('https://fonts/x.woff2') }")
    assert faults(pages) == ["looks.css: https://fonts/x.woff2 is loaded from the network"]


def test_what_a_theme_keeps_aside_is_no_page(pages):
    (pages / "_static").mkdir()
    (pages / "_static" / "macros.html").write_text('<a href="{{ x }}">x</a>')
    assert faults(pages) == []
