"""The query desk in a real JupyterLab: arrows and points that are dragged, keys, and buttons."""

import json

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = "import attnlab as al"
DESK = """desk = al.QueryDesk()
desk"""
ROOT = ".jp-OutputArea .attnlab-query"
START = "2,1 1,1 0,1 1,0 2,0 0,3 1,0"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-shown='{START}']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, stamp):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown^='{stamp}']")


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(notebook, tip, plane, by):
    """Drag a tip by so many units of its plane, over some places on the way."""
    ticks = [middle(plane.get_by_text(mark, exact=True).first)[0] for mark in ("1", "2")]
    unit = abs(ticks[1] - ticks[0])
    (x, y), mouse = middle(tip.locator(".dot")), notebook.page.mouse
    mouse.move(x, y)
    mouse.down()
    for part in range(1, 6):
        mouse.move(x + unit * by[0] * part / 5, y - unit * by[1] * part / 5)
    mouse.up()


def test_the_query_is_dragged_and_weights_and_mixture_follow(notebook, desk):
    drag(notebook, desk.locator(".tip.query"), desk.locator("svg.asks"), (-1, 1))
    shown(notebook, "1,2 1,1")
    assert desk.locator(".share b").all_text_contents() == ["0.58", "0.28", "0.14"]
    report = of_python(notebook, "desk.report")
    assert report["settings"]["query"] == [1, 2]
    assert desk.locator(".remark").text_content() == report["remark"]
    mixed = ", ".join(f"{number:.2f}".rstrip("0") for number in report["mixture"])
    assert desk.locator("svg.mixes .sum").all_text_contents() == ["mixture", f"({mixed})"]


def test_keys_and_values_are_dragged_too_and_stay_inside_their_plane(notebook, desk):
    drag(notebook, desk.locator("[data-tip='key 1']"), desk.locator("svg.asks"), (2, 1))
    shown(notebook, "2,1 1,1 2,2 1,0")
    notebook.page.wait_for_timeout(800)  # what follows at once is taken back with it
    drag(notebook, desk.locator("[data-tip='value 0']"), desk.locator("svg.mixes"), (3, 0))
    shown(notebook, "2,1 1,1 2,2 1,0 4,0")
    desk.locator("[data-action=undo]").click()
    shown(notebook, "2,1 1,1 2,2 1,0 2,0")
    desk.locator("[data-action=reset]").click()
    shown(notebook, START)


def test_a_line_from_each_value_is_as_wide_as_its_weight(notebook, desk):
    widths = desk.locator(".pull").evaluate_all(
        "all => all.map(one => one.getAttribute('stroke-width') - 1)"
    )
    weights = of_python(notebook, "desk.report['weights']")
    assert [width / sum(widths) for width in widths] == pytest.approx(weights, abs=0.01)


def test_the_arrow_keys_move_a_tip_by_halves_and_with_shift_by_tenths(notebook, desk):
    tip = desk.locator(".tip.query")
    tip.focus()
    tip.press("ArrowRight")
    shown(notebook, "2.5,1 ")
    tip.press("Shift+ArrowUp")
    shown(notebook, "2.5,1.1 ")
    assert tip.get_attribute("aria-valuetext") == "(2.5, 1.1)"
    for _ in range(4):
        tip.press("ArrowRight")
    shown(notebook, "4,1.1 ")


def test_the_query_is_doubled_and_halved_as_far_as_the_plane_reaches(notebook, desk):
    twice, half = (desk.locator(f"[data-action={name}]") for name in ("twice", "half"))
    twice.click()
    shown(notebook, "4,2 ")
    assert desk.locator(".share b").all_text_contents() == ["0.77", "0.05", "0.19"]
    assert twice.is_disabled()
    half.click()
    half.click()
    shown(notebook, "1,0.5 ")
    assert twice.is_enabled()


def test_a_name_stays_inside_wherever_its_point_is(notebook, desk):
    for corner in ([4, 4], [-1, -1], [4, -1], [-1, 4]):
        notebook.run_cell(
            2, f"desk.set(query={corner}, keys=[{corner}] * 3, values=[{corner}] * 3)"
        )
        shown(notebook, f"{corner[0]},{corner[1]} {corner[0]},{corner[1]}")
        for name in ("asks", "mixes"):
            plane = desk.locator(f"svg.{name}").bounding_box()
            for text in desk.locator(f"svg.{name} .name").all():
                box = text.bounding_box()
                assert plane["x"] <= box["x"], (corner, text.text_content())
                assert box["x"] + box["width"] <= plane["x"] + plane["width"] + 1


def test_everyone_can_read_and_work_it_in_both_themes(notebook, desk):
    everyone_can_read(notebook.page, desk, "query", height=460, width=1000)
