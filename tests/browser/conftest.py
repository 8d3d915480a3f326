"""A real JupyterLab in a real browser, cut off from every other machine."""

import shutil
from pathlib import Path

import pytest
from jupyter_page import FLAGS, ROOT, Notebook, chromium, jupyter, without_news

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield instance
        instance.close()


@pytest.fixture
def context(browser):
    """A fresh browser profile. ``context.strangers`` lists every request to another machine."""
    made = browser.new_context(viewport={"width": 1280, "height": 720})
    made.strangers = []

    def only_here(route):
        url = route.request.url
        if url.startswith(
            ("http://127.0.0.1", "http://localhost", "ws://127.0.0.1", "data:", "blob:")
        ):
            route.continue_()
        else:
            made.strangers.append(url)
            route.abort()

    made.route("**/*", only_here)
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture(scope="session")
def lab_url(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, so that nothing in the repository is changed."""
    chromium()
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(
        ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns("src", ".*")
    )
    without_news(folder)
    with jupyter(folder / "notebooks", folder) as (address_of, _):
        yield address_of


@pytest.fixture
def start_here(context, lab_url):
    """00_start_here, opened and run for the first time in this browser profile."""
    notebook = Notebook.open(context, lab_url("00_start_here.ipynb"))
    notebook.run_all()
    return notebook
