"""The patch desk in a real JupyterLab: pointing, keys, covering by hand, models and answers."""

import json

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = """import attnlab as al
models = [al.load_image_classifier(name) for name in ("mnist-5k", "mnist-5k-patch-14")]
data = al.datasets.load("mnist-5k").dev.sample(60)"""
DESK = """desk = al.PatchDesk(models, data)
desk"""
ROOT = ".jp-OutputArea .attnlab-patch"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook with two models; each test draws its desk in the second cell."""
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-shown='0 0 3 mean cls 0 mean own']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, words):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown='{words}']")


def looks_from(notebook, token):
    notebook.page.wait_for_selector(f"{ROOT}[data-from='{token}']")


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def test_pointing_shows_where_a_patch_looks_and_a_click_keeps_it(notebook, desk):
    page = notebook.page
    report = of_python(notebook, "desk.report")
    cells = desk.locator("[role=gridcell]")
    assert cells.count() == 16
    cells.nth(6).hover()
    looks_from(notebook, "1,2")
    words = desk.locator(".told").text_content()
    assert words == f"{report['looks'][7]} {report['counts'][6]}"
    assert desk.locator(".map .from").count() == 3, "the same patch is marked in every map"
    tips = cells.evaluate_all("all => all.map(one => Number(one.title.split(': ')[1]))")
    assert tips == pytest.approx(report["weights"][7][1:], abs=6e-4)
    page.mouse.move(5, 5)
    looks_from(notebook, "cls")
    cells.nth(6).click()
    shown(notebook, "0 0 3 mean 1,2 0 mean own")
    page.mouse.move(5, 5)
    desk.locator("[data-action=cls]").click()
    shown(notebook, "0 0 3 mean cls 0 mean own")
    looks_from(notebook, "cls")


def test_the_keyboard_goes_everywhere_and_covers(notebook, desk):
    page = notebook.page
    page.mouse.move(5, 5)
    desk.locator("[role=gridcell][tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    looks_from(notebook, "2,1")
    page.keyboard.press("Enter")
    shown(notebook, "0 0 3 mean 2,1 0 mean own")
    page.keyboard.press("ArrowRight")
    looks_from(notebook, "2,2")
    page.keyboard.press("c")
    shown(notebook, "0 0 3 mean 2,1 1 mean own")
    assert desk.locator(".large .covered").get_attribute("aria-label").startswith("Covered.")
    page.keyboard.press("Escape")
    shown(notebook, "0 0 3 mean cls 1 mean own")
    assert page.evaluate("() => document.activeElement.getAttribute('role')") == "gridcell"
    assert of_python(notebook, "desk.settings['covered']") == [[2, 2]]


def test_covering_by_hand_moves_the_answers_and_undo_takes_it_back(notebook, desk):
    page = notebook.page
    shares = desk.locator(".answers .share")
    before = shares.all_text_contents()
    desk.locator("[data-action=cover]").click()
    for count, at in enumerate((5, 6, 9, 10), 1):
        desk.locator("[role=gridcell]").nth(at).click()
        shown(notebook, f"0 0 3 mean cls {count} mean own")
    assert shares.all_text_contents() != before
    assert shares.all_text_contents() == of_python(
        notebook, "[answer['text'] for answer in desk.report['answers']]"
    )
    assert desk.locator(".was:visible").count() == 10
    assert desk.locator(".remark").text_content().startswith("With 4 patches covered")
    desk.locator("[role=gridcell]").nth(5).click()
    shown(notebook, "0 0 3 mean cls 3 mean own")
    desk.locator("[data-action=uncover]").click()
    shown(notebook, "0 0 3 mean cls 0 mean own")
    assert shares.all_text_contents() == before
    page.wait_for_timeout(800)
    desk.locator("[role=gridcell]").nth(0).click()
    shown(notebook, "0 0 3 mean cls 1 mean own")
    desk.locator("[data-action=undo]").click()
    shown(notebook, "0 0 3 mean cls 0 mean own")


def test_another_answer_picture_layer_head_and_model(notebook, desk):
    page = notebook.page
    desk.locator(".answers button").nth(8).click()
    shown(notebook, "0 0 3 mean cls 0 mean 8")
    assert "“8”" in desk.locator(".map.occlusion").text_content()
    desk.locator("[data-action=next]").click()
    shown(notebook, "0 1 3 mean cls 0 mean own")
    page.get_by_label("Number of the picture").fill("59")
    page.get_by_label("Number of the picture").press("Enter")
    shown(notebook, "0 59 3 mean cls 0 mean own")
    assert desk.locator("[data-action=next]").is_disabled()
    page.get_by_label("Layer", exact=True).select_option("1")
    page.get_by_label("Head", exact=True).select_option("2")
    shown(notebook, "0 59 1 2 cls 0 mean own")
    page.get_by_label("Patches are covered with").select_option("black")
    shown(notebook, "0 59 1 2 cls 0 black own")
    page.get_by_label("Model, by its patches").select_option("1")
    shown(notebook, "1 59 1 2 cls 0 black own")
    assert desk.locator("[role=gridcell]").count() == 4
    assert "rank agreement says nothing" in desk.locator(".remark").text_content()
    desk.locator("[data-action=mistake]").click()
    page.wait_for_function(
        "root => !root.dataset.shown.startsWith('1 59 ')"
        " || root.textContent.includes('answers all')",
        arg=desk.element_handle(),
    )
    desk.locator("[data-action=reset]").click()
    shown(notebook, "0 0 3 mean cls 0 mean own")


def test_everyone_can_read_and_work_it_in_both_themes(notebook, desk):
    desk.locator("[data-action=cover]").click()
    desk.locator("[role=gridcell]").nth(6).click()
    shown(notebook, "0 0 3 mean cls 1 mean own")
    everyone_can_read(notebook.page, desk, "patch", height=620, width=1000)
