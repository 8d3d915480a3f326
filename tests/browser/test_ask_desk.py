"""The ask desk in a real JupyterLab: a typed question, words pointed at, covers, faders."""

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = """import attnlab as al
answerer = al.vision.load_answerer("scenes")
data = al.datasets.scenes.ask(al.datasets.load("mnist-5k").dev, 30, seed=1)"""
DESK = """desk = al.AskDesk(answerer, data)
desk"""
ROOT = ".jp-OutputArea .attnlab-ask"
LOADED = """address => new Promise((loaded, failed) => { const image = new Image();
  image.onload = () => loaded([image.naturalWidth, image.naturalHeight]);
  image.onerror = () => failed(new Error('no image')); image.src = address; })"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook with an answerer; each test draws its desk in the second cell."""
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-state='shown']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, *parts):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown*='{' '.join(map(str, parts))}']")


def test_a_typed_question_is_answered(notebook, desk):
    address = desk.locator(".scene image").get_attribute("href")
    assert notebook.page.evaluate(LOADED, address) == [56, 56]
    box = desk.locator("input[type=text]")
    box.fill("how many 3s?")
    shown(notebook, "how many 3s?")
    said = notebook.run_cell(2, "print(desk.report['said'], desk.report['words'])")
    assert said.strip().endswith("['how', 'many', '3', 's']")
    assert desk.locator(".remark").text_content().startswith(f"“{said.split()[0]}”")
    box.fill("what is love?")
    desk.locator(".complaint:not(:empty)").wait_for()
    assert "Ask, for example" in desk.locator(".complaint").text_content()
    box.fill("is there a 7?")
    shown(notebook, "is there a 7?")
    assert desk.locator(".complaint").text_content() == ""


def test_pointing_at_a_word_shows_where_it_looks_without_the_kernel(notebook, desk):
    words = desk.locator(".chips button")
    count = words.count()
    told = set()
    for index in range(count):
        words.nth(index).hover()
        notebook.page.wait_for_selector(f"{ROOT}[data-word='{index}']")
        told.add(desk.locator(".looks-at").text_content())
    assert len(told) == count
    words.nth(1).click()
    notebook.page.mouse.move(5, 5)
    assert notebook.run_cell(2, "print(desk.settings['word'])").strip() == "1"


def test_a_drag_covers_a_part_and_undo_takes_it_back(notebook, desk):
    box = desk.locator(".scene").bounding_box()
    mouse = notebook.page.mouse
    mouse.move(box["x"] + 1, box["y"] + 1)
    mouse.down()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    mouse.up()
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 1']")
    ((x, y, width, height),) = eval(notebook.run_cell(2, "print(desk.settings['covers'])"))
    assert (x, y) == (0, 0)
    assert abs(width - 28) <= 1 and abs(height - 28) <= 1
    desk.locator("[data-action=undo]").click()
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 0']")
    desk.locator("select[aria-label='Cover a quarter']").select_option("bottom right")
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 1']")
    assert notebook.run_cell(2, "print(desk.settings['covers'])").strip() == "[[28, 28, 28, 28]]"
    desk.locator("[data-action=uncover]").click()
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 0']")


def test_faders_and_the_next_picture(notebook, desk):
    fader = desk.locator(".fader input").first
    fader.focus()
    fader.press("0")
    notebook.page.wait_for_timeout(600)
    assert notebook.run_cell(2, "print(desk.head_settings.scale[0, 0].item())").strip() == "0.0"
    desk.locator("[data-action=next]").click()
    notebook.page.wait_for_selector(f"{ROOT}[data-shown^='1 ']")
    assert "picture 2 of 30" in desk.text_content()
    desk.locator("[data-action=reset]").click()
    notebook.page.wait_for_selector(f"{ROOT}[data-shown^='0 ']")
    assert notebook.run_cell(2, "print(desk.head_settings.is_neutral())").strip() == "True"


def test_patches_are_covered_from_the_keyboard(notebook, desk):
    desk.locator(".scene").focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        notebook.page.keyboard.press(key)
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 1']")
    assert "Patch in row 2, column 2" in desk.locator(".looks-at").text_content()
    assert notebook.run_cell(2, "print(desk.settings['covers'])").strip() == "[[7, 7, 7, 7]]"
    assert desk.locator(".hidden-parts rect").count() == 1
    desk.locator(".scene").focus()
    notebook.page.keyboard.press("Backspace")
    notebook.page.wait_for_selector(f"{ROOT}[data-shown$=' 0']")


def test_the_picture_or_the_question_is_taken_away_and_given_back(notebook, desk):
    for action, state in (("image", "image"), ("question", "both"), ("image", "question")):
        desk.locator(f"[data-action=without-{action}]").click()
        shown(notebook, "", state, "0")
        assert "of 20" in desk.locator(".remark").text_content()
    desk.locator("[data-action=without-question]").click()
    shown(notebook, "", "own", "0")
    assert notebook.run_cell(2, "print(desk.settings['replaced'])").strip() == "None"


def test_temperatures_have_faders_too(notebook, desk):
    desk.locator("[data-action=mode-temperature]").click()
    fader = desk.get_by_label("cross-attention layer 0 head 1 temperature", exact=True)
    fader.focus()
    fader.press("ArrowRight")
    notebook.page.wait_for_function(
        "root => JSON.parse(document.querySelector(root).dataset.faders)[1][0][1] > 1", arg=ROOT
    )
    told = notebook.run_cell(2, "print(desk.head_settings.temperature[0, 1].item() > 1)")
    assert told.strip() == "True"
    desk.locator("[data-action=mode-scale]").click()
    assert desk.locator(".fader.moved").count() == 0


def test_everyone_can_read_it(notebook, desk):
    everyone_can_read(notebook.page, desk, "ask", height=640, width=1000)
