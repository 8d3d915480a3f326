"""Slides in a real browser."""

from attnlab.course.slides import slides

FILES = (
    *("reveal.js/dist/reveal.js", "reveal.js/plugin/notes/notes.js", "reveal.js/LICENSE"),
    *("mathjax/es5/tex-svg.js", "mathjax/LICENSE"),
)
# as reveal.js's own theme says it; it is loaded after the styles of the page
THEME = ".reveal h1, .reveal h2, .reveal h3, .reveal h4 { text-transform: uppercase; }"


def test_a_heading_keeps_its_small_letters(browser, tmp_path):
    for name in FILES:
        path = tmp_path / "node_modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    dist = tmp_path / "node_modules" / "reveal.js" / "dist"
    (dist / "theme").mkdir()
    (dist / "theme" / "white.css").write_text(THEME)
    (dist / "reveal.css").write_text("")
    deck = slides("00", tmp_path / "deck.html", reveal=tmp_path / "node_modules")
    page = browser.new_page()
    page.goto(deck.page.as_uri())
    found = page.locator(".slides h2").evaluate_all(
        "headings => headings.map(heading => getComputedStyle(heading).textTransform)"
    )
    page.close()
    assert found
    assert set(found) == {"none"}
