"""The reading desk in a real JupyterLab: a line of one's own, noise, fonts, characters by key."""

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = """import numpy as np
import attnlab as al
reader = al.applications.load_reader("printed")"""
DESK = """desk = al.ReadingDesk(reader, "the old king", noise=2.0)
desk"""
ROOT = ".jp-OutputArea .attnlab-reading"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-state='shown']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, *parts):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown*='{' '.join(map(str, parts))}']")


def read(desk):
    """What the buttons say, letter by letter."""
    letters = desk.locator(".read .letter").all_text_contents()
    return "".join(" " if one == "␣" else one for one in letters)


def test_a_line_of_ones_own_is_drawn_and_read(notebook, desk):
    box = desk.locator("input[type=text]")
    before = desk.locator(".print image").get_attribute("href")
    box.fill("a fine castle")
    shown(notebook, "a fine castle")
    said = notebook.run_cell(2, "print(desk.report['truth'], '|', desk.report['read'], sep='')")
    assert said.strip() == f"a fine castle|{read(desk)}"
    assert desk.locator(".print image").get_attribute("href") != before
    box.fill("wörter")
    desk.locator(".complaint:not(:empty)").wait_for()
    assert "does not know" in desk.locator(".complaint").text_content()
    box.fill("a mill")
    shown(notebook, "a mill")
    assert desk.locator(".complaint").text_content() == ""


def test_arrow_keys_go_from_character_to_character(notebook, desk):
    first = desk.locator(".read button[tabindex='0']")
    assert first.count() == 1
    first.focus()
    notebook.page.keyboard.press("Home")
    for _ in range(3):  # faster than any kernel answers
        notebook.page.keyboard.press("ArrowRight")
    shown(notebook, "DejaVuSerif 2 0 3")
    assert desk.get_attribute("data-character") == "3"
    chosen = desk.locator(".read [aria-checked=true]")
    assert chosen.get_attribute("data-index") == "3"
    assert chosen.evaluate("e => e === e.getRootNode().activeElement")
    told = notebook.run_cell(2, "print(desk.report['characters'][3]['told'])").strip()
    assert desk.locator(".told").text_content() == told
    names = notebook.run_cell(
        2, "print(*[one['name'] for one in desk.report['characters'][3]['alternatives']], sep='|')"
    ).strip("\n")
    listed = desk.locator(".bars [role=rowheader]").all_text_contents()
    assert listed == [{" ": "␣", "": "end"}.get(name, name) for name in names.split("|")]


def test_bands_and_centre_lie_over_the_picture_where_the_reader_looked(notebook, desk):
    button = desk.locator(".read button").nth(1)
    button.hover()
    notebook.page.wait_for_selector(f"{ROOT}[data-character='1']")
    where = float(notebook.run_cell(2, "print(desk.report['characters'][1]['where'])"))
    button.hover()
    assert float(desk.locator(".centre .ground").get_attribute("x1")) == pytest.approx(where)
    strength = "e => e.map(one => Number(one.getAttribute('fill-opacity')))"
    bands = desk.locator(".bands rect").evaluate_all(strength)
    weights = notebook.run_cell(2, "print(int(np.argmax(desk.report['attention'][1])))")
    assert bands[int(weights)] == max(bands) > 0.3
    scene = desk.locator(".print").bounding_box()
    line = desk.locator(".centre .ground").bounding_box()
    assert scene["x"] <= line["x"] <= scene["x"] + scene["width"]


def test_noise_can_be_turned_up_and_drawn_anew(notebook, desk):
    noise = desk.get_by_role("slider", name="noise of a scan")
    noise.focus()
    noise.press("End")
    shown(notebook, "DejaVuSerif 4 0 ")
    picture = desk.locator(".print image")
    before = picture.get_attribute("href")
    desk.locator("[data-action=anew]").click()
    shown(notebook, "DejaVuSerif 4 1 ")
    assert picture.get_attribute("href") != before
    wrong = desk.locator(".read .wrong").count()
    assert notebook.run_cell(2, "print(desk.report['wrong'])").strip() == str(wrong)
    noise.press("Home")
    shown(notebook, "DejaVuSerif 0 1 ")
    assert desk.locator("[data-action=anew]").is_disabled()
    desk.get_by_label("Font").select_option("cmtt10")
    shown(notebook, "cmtt10 0 1 ")


def test_a_picture_of_ones_own_and_back_to_it(notebook, desk):
    notebook.run_cell(
        1,
        "line, _ = al.datasets.printed.draw_line('a castle', 'STIXGeneral')\n"
        "desk = al.ReadingDesk(reader, image=line)\ndesk",
    )
    shown(notebook, "least picture")
    root = notebook.page.locator(ROOT).first
    assert root.locator(".read .wrong").count() == 0
    assert root.get_by_label("Font").is_disabled()
    root.locator("input[type=text]").fill("king")
    shown(notebook, "least king")
    root.locator("[data-action=picture]").click()
    shown(notebook, "least picture")
    notebook.run_cell(1, DESK)


def test_everyone_can_read_it(notebook, desk):
    everyone_can_read(notebook.page, desk, "reading", height=560, width=1000)
