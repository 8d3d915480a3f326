"""A desk's picture stands in its place where no kernel runs, and only there."""

import nbconvert
import nbformat
import pytest
from jupyter_page import SHOTS, Notebook, on_cells

DESK = """import attnlab as al
desk = al.SoftmaxDesk()
desk"""


@pytest.fixture
def path(lab):
    with on_cells(lab, [DESK, ""]) as made:
        yield made


def test_a_saved_desk_is_a_picture_until_its_cell_runs(context, lab, path):
    notebook = Notebook.open(context, lab.address(path.name))
    page = notebook.page
    assert notebook.run_cell(0) == ""
    notebook.show(".attnlab-softmax")
    still = page.locator("[data-attnlab-still]")
    assert still.count() == 1
    assert still.is_hidden()
    notebook.run_cell(1, "desk.set(temperature=0.5)")
    page.wait_for_timeout(2500)  # it is drawn anew when the desk is at rest
    assert "temperature 0.5" in still.locator("img").get_attribute("alt")
    assert still.is_hidden()

    notebook.command("docmanager:save")
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    again = Notebook(page)
    again.wait_idle()  # of a new kernel, in which nothing has run
    picture = again.show("[data-attnlab-still] img")
    assert picture.evaluate("e => e.naturalWidth") > 500
    page.wait_for_timeout(500)
    assert page.locator(".attnlab-softmax").count() == 0
    assert not page.get_by_text("Error displaying widget").is_visible()
    if SHOTS.is_dir():
        page.screenshot(path=SHOTS / "still.png")

    saved = nbformat.read(path, as_version=4)
    exported = context.new_page()
    exported.goto("about:blank")
    exported_text, _ = nbconvert.HTMLExporter().from_notebook_node(saved)
    exported.set_content(exported_text, wait_until="domcontentloaded")
    assert exported.locator("[data-attnlab-still] img").is_visible()
