"""The budget explorer in a real JupyterLab."""

import pytest
from jupyter_page import (
    ASKED_FOR,
    SHOTS,
    everyone_can_read,
    nothing_jumped,
    opened_on_cells,
    watch,
)

MADE = """import pandas as pd
import attnlab as al
clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
shape = al.economics.shape_of(clf)
class Told:  # milliseconds that nobody has to measure
    def predict(self, shape, tokens=32, batch=1):
        return 0.5 + sum(0.02 * heads + 0.0003 * neurons for heads, neurons in shape.layers)
check = pd.DataFrame({"tokens": 32, "batch": 1, "predicted_ms": [1.0, 2.0, 4.0],
                      "ms_quiet": [1.1, 1.9, 4.2], "error": [-0.09, 0.05, -0.05]})
budget = al.economics.Budget(flops=0.6 * al.economics.flops(shape))"""
SEARCH = """desk = al.BudgetExplorer.search(clf, splits, budget, minutes=5, most=300, texts=40,
    importance_texts=20, latency=Told(), check=check)
desk"""
PARTS = ["svg.frontier", "svg.map", "svg.split", "svg.check", ".keep"]


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, "", ""]) as opened:
        yield opened


def test_limits_are_moved_by_keyboard_while_the_search_goes_on_and_nothing_jumps(notebook):
    page = notebook.page
    watch(page, ".attnlab-budget", PARTS)
    assert "Error" not in notebook.run_cell(1, SEARCH)
    root = page.locator(".jp-OutputArea .attnlab-budget").first
    stop = root.locator("[data-action=stop]")

    def count():
        return int(root.get_attribute("data-count"))

    def limits(state="searching"):
        assert root.get_attribute("data-state") == state
        return root.get_attribute("data-shown").split()

    def moved(before):
        page.wait_for_function(
            "before => document.querySelector('.attnlab-budget').dataset.shown !== before",
            arg=" ".join(before),
        )
        return limits(root.get_attribute("data-state"))

    # what was measured is drawn while more is on its way
    page.wait_for_function("() => document.querySelector('.attnlab-budget').dataset.count > 2")
    assert root.locator("svg.frontier .point").count() >= 3
    assert root.locator("svg.map .head").count() == 72
    assert stop.is_visible()
    first = limits()
    assert first[0] == first[2] == first[3] == "off" and first[4] == "flops"
    slider = root.locator("input[name=flops]")
    slider.focus()
    slider.press("ArrowRight")
    second = moved(first)
    assert float(second[1]) > float(first[1])
    root.locator("input[name=limit-parameters]").press("Space")
    third = moved(second)
    whole = float(notebook.run_cell(2, "print(al.economics.parameters(shape))"))
    assert float(third[0]) == pytest.approx(whole, rel=0.01) and float(third[0]) >= whole
    known = count()
    page.wait_for_function(
        "known => document.querySelector('.attnlab-budget').dataset.count > known", arg=known
    )
    assert limits() == third  # what arrives moves no slider
    stop.press("Enter")
    page.wait_for_selector(".attnlab-budget[data-state=stopped]")
    assert stop.is_hidden()
    assert "The search was stopped." in root.locator(".budget-progress").text_content()

    # down to where nothing fits: the last choice stays in view, grey
    kept = root.locator("svg.map").get_attribute("aria-label")
    slider.focus()
    slider.press("Home")
    page.wait_for_selector(".attnlab-budget[data-fits=false]")
    assert root.locator(".remark").text_content().startswith("Nothing that was measured fits")
    assert root.locator("svg.map .head").count() == 72
    assert root.locator("svg.frontier .chosen").count() == 0
    assert root.locator(".complaint").text_content() == ""
    root.locator("[data-action=undo]").click()
    page.wait_for_selector(".attnlab-budget[data-fits=true]")
    assert root.locator("svg.map").get_attribute("aria-label") == kept
    root.get_by_label("Cost that accuracy is drawn against").select_option("latency_ms")
    page.wait_for_selector(".attnlab-budget[data-shown$=latency_ms]")
    root.locator("[data-action=reset]").click()
    page.wait_for_selector(f".attnlab-budget[data-shown='{' '.join(first)}']")

    seen = nothing_jumped(page)
    assert {one["state"] for one in seen} >= {"searching", "stopped"}
    everyone_can_read(page, root, "budget")
    assert notebook.complaints == []

    notebook.run_cell(2, "desk.picture()")
    picture = notebook.show(f"img[alt*='What stays']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "budget-picture.png")
    still = page.locator("[data-attnlab-still] img")
    assert still.get_attribute("alt").startswith("Limits: FLOPs")
