"""A real JupyterLab in a real browser, cut off from every other machine."""

import shutil
from pathlib import Path

import pytest
from jupyter_page import FLAGS, ONE_THREAD, PATIENCE, ROOT, chromium, jupyter, without_news

HERE = Path(__file__).parent


# Files that take longest, which begin first: each runs on one worker, and none should be alone at
# the end.
LONGEST = ["site_desk", "desk", "desk_elsewhere", "every_desk", "balance_desks", "lessons"]


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.stem.removeprefix("test_")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker("browser")
    if len(ours) == len(items):
        items.sort(key=place)


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield instance
        instance.close()


def only_here(browser):
    """A fresh browser profile. ``strangers`` of it lists every request to another machine."""
    made = browser.new_context(viewport={"width": 1280, "height": 720})
    made.strangers = []

    def pass_or_block(route):
        url = route.request.url
        if url.startswith(
            ("http://127.0.0.1", "http://localhost", "ws://127.0.0.1", "data:", "blob:")
        ):
            route.continue_()
        else:
            made.strangers.append(url)
            route.abort()

    made.route("**/*", pass_or_block)
    made.set_default_timeout(PATIENCE)
    return made


@pytest.fixture
def context(browser):
    """A browser profile of the test's own; see `only_here`."""
    made = only_here(browser)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_context(browser):
    """A browser profile that the tests of a file share; see `only_here`."""
    made = only_here(browser)
    yield made
    made.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, so that nothing in the repository is changed."""
    chromium()
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("src", ".*")
    )
    without_news(folder)
    with jupyter(folder / "notebooks", folder, ONE_THREAD) as running:
        yield running
