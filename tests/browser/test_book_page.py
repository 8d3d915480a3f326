"""The book as a reader sees it: in a browser without a network, on a phone, as a file, in print."""

import pytest
from jupyter_page import PATIENCE, REQUIRED, chromium

from attnlab.errors import DataError
from attnlab.site import book, reference

PHONE = {"width": 390, "height": 844}
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
SET = "() => window.MathJax?.startup?.promise ? MathJax.startup.promise.then(() => true) : true"
LESSON = "notebooks/01_attention_maths.html"
PAGES = ("index.html", LESSON, "docs/teachers.html", "docs/engineers.html", "api/errors.html")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A book of one lesson, with its PDF file and a reference of one room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "ROOMS", ("errors",))
        patch.setattr(reference, "_NAMES", ["AttnlabError"])
        patch.setattr(book, "find_chromium", chromium)
        try:
            made = book.build_book(tmp_path_factory.mktemp("site") / "book", ["01"], pdf=True)
        except DataError as error:
            message = f"NO MATHJAX: the book could not be built, so it was not tested. {error}"
            if REQUIRED:
                pytest.fail(message)
            pytest.skip(message)
    return made.folder


@pytest.fixture
def page(browser):
    """A page of a phone that is in flight mode; it opens files."""
    context = browser.new_context(viewport=PHONE, offline=True)
    context.set_default_timeout(PATIENCE)
    made = context.new_page()
    made.wrong = []
    made.on("requestfailed", lambda request: made.wrong.append(request.url[:200]))
    made.on("pageerror", lambda error: made.wrong.append(str(error)))
    yield made
    context.close()


def opened(page, folder, name):
    page.goto((folder / name).as_uri())
    assert page.evaluate(SET)
    return page


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_fit_a_phone_and_ask_for_nothing_from_elsewhere(page, folder, mode):
    page.add_init_script(f"localStorage.setItem('mode', '{mode}')")
    for name in PAGES:
        opened(page, folder, name)
        assert page.evaluate(SIDEWAYS) <= 0, name
        assert page.locator("html").get_attribute("data-theme") == mode
    assert page.wrong == []


def test_formulas_are_set_and_pictures_fit_the_column(page, folder):
    opened(page, folder, LESSON)
    assert page.locator("mjx-container").count() > 100
    assert page.locator("mjx-merror").count() == 0
    widths = page.locator(".cell_output img").evaluate_all(
        "images => images.map(image => [image.clientWidth, image.naturalWidth])"
    )
    assert len(widths) > 15
    assert all(0 < width <= PHONE["width"] and natural > 0 for width, natural in widths)


def test_hints_and_solutions_unfold(page, folder):
    opened(page, folder, LESSON)
    fold = page.locator("details", has=page.get_by_text("Solution", exact=True)).first
    code = fold.locator("pre")
    assert not code.is_visible()
    fold.locator("summary").click()
    assert code.is_visible()


def test_search_finds_a_word_of_a_lesson(page, folder):
    page.goto((folder / "search.html").as_uri() + "?q=Nadaraya")
    page.locator("#search-results a", has_text="The mathematics of attention").first.wait_for()


def test_in_print_everything_is_unfolded_and_the_file_is_linked(page, folder):
    opened(page, folder, LESSON)
    page.emulate_media(media="print")
    folded = page.locator("details pre").evaluate_all(
        "parts => parts.map(part => part.getBoundingClientRect().height)"
    )
    assert len(folded) >= 6 and all(height > 10 for height in folded)
    made = folder / "pdf" / "01_attention_maths.pdf"
    assert made.read_bytes().startswith(b"%PDF") and made.stat().st_size > 300_000
    link = page.locator('a[href="../pdf/01_attention_maths.pdf"]')
    assert link.count() == 1
