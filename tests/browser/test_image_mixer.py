"""The mixing desk with images in a real JupyterLab."""

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = """import attnlab as al
clf = al.load_image_classifier("mnist-5k")
digits = al.datasets.load("mnist-5k").dev.sample(60)"""
DESK = """desk = al.HeadMixer(clf, digits)
desk"""
ROOT = ".jp-OutputArea .attnlab-desk"
LOADED = """address => new Promise((loaded, failed) => { const image = new Image();
  image.onload = () => loaded([image.naturalWidth, image.naturalHeight]);
  image.onerror = () => failed(new Error('no image')); image.src = address; })"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT} .desk-accuracy[data-state='measured']"):
        notebook.page.wait_for_selector(f"{ROOT} .desk-picture[data-kind='image']")
        yield notebook.page.locator(ROOT).first


def test_the_next_image_is_shown_with_its_label(notebook, desk):
    label = notebook.run_cell(2, "print(digits.label_names[digits.labels[1]])").strip()
    desk.locator("[data-action=next]").click()
    notebook.page.wait_for_selector(f"{ROOT} .desk-answer[data-text='1']")
    assert f"image 2 of 60, labelled {label}" in desk.text_content()
    assert desk.locator(".over-image rect").count() == 16
    address = desk.locator(".over-image image").get_attribute("href")
    assert notebook.page.evaluate(LOADED, address) == [28, 28]
    number = desk.get_by_label("Number of the image")
    number.fill("60")
    number.press("Enter")
    notebook.page.wait_for_selector(f"{ROOT} .desk-answer[data-text='59']")
    assert desk.locator("[data-action=next]").is_disabled()


def test_a_fader_moves_accuracy_and_the_map(notebook, desk):
    desk.locator("button[data-whole-layer='0']").click()
    notebook.page.wait_for_function(
        """root => { const panel = document.querySelector(`${root} .desk-accuracy`);
        const { state, stamp } = panel.dataset;
        return state === 'measured' && stamp === document.querySelector(root).dataset.stamp
          && stamp !== '0'; }""",
        arg=ROOT,
    )
    found = notebook.run_cell(
        2, "import numpy as np; print(desk.accuracy['n'], desk.accuracy['delta'] is not None)"
    )
    assert found.split() == ["60", "True"]
    assert "60 images" in desk.locator(".desk-status").text_content()


def test_everyone_can_read_it(notebook, desk):
    everyone_can_read(notebook.page, desk, "image-mixer", height=680, width=1000)
