"""The peeler in a real JupyterLab."""

import pytest
from jupyter_page import (
    ASKED_FOR,
    SHOTS,
    everyone_can_read,
    nothing_jumped,
    opened_on_cells,
    watch,
)

MADE = """import attnlab as al
clf = al.load_classifier("movie-sentiment")
dev = al.datasets.load("movie-sentiment").dev.sample(40)"""
PARTS = ["svg.model", "svg.times", "table", ".remark", ".keep"]


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, "", ""]) as opened:
        yield opened


def test_the_peeler_is_worked_by_keyboard_and_nothing_jumps(notebook):
    page = notebook.page
    watch(page, ".attnlab-peeler", PARTS)
    assert "Error" not in notebook.run_cell(1, "desk = al.Peeler(clf, dev)\ndesk")
    root = page.locator(".jp-OutputArea .attnlab-peeler").first

    def shown(words, state="measured"):
        page.wait_for_selector(f".attnlab-peeler[data-shown='{words}'][data-state={state}]")

    shown("neurons 50 activation false parameters")
    assert root.locator("svg.model .part").count() == 3 + 2 * 6
    assert root.locator("svg.times .part").count() == 2 + 2 * 6
    half = root.locator("svg.model .feed-forward").first
    heights = [float(half.locator(part).get_attribute("height")) for part in (".left", ".gone")]
    assert heights[0] == pytest.approx(heights[1] / 2, rel=0.01)
    # areas are parameters: the words' against those of a layer's attention
    areas = [
        float(part.get_attribute("width")) * float(part.get_attribute("height"))
        for part in (
            root.locator(f"svg.model .{kind} .gone").first for kind in ("words", "attention")
        )
    ]
    model = "clf.model.bert"
    asked = f"""print({model}.embeddings.word_embeddings.weight.numel() / sum(
        weight.numel() for weight in {model}.encoder.layer[0].attention.parameters()))"""
    assert areas[0] / areas[1] == pytest.approx(float(notebook.run_cell(2, asked)), rel=0.01)

    slider = root.locator("input[name=amount]")
    slider.focus()
    slider.press("ArrowLeft")
    shown("neurons 40 activation false parameters")
    root.get_by_label("Chosen by").select_option("random")
    shown("neurons 40 random false parameters")
    root.locator("input[name=repaired]").press("Space")
    shown("neurons 40 random true parameters")
    root.get_by_label("What is removed").select_option("weights")
    shown("weights 50 magnitude false parameters")
    assert root.locator("svg.model .zeros").count() == 2 * 6
    assert "are 0" in root.locator("table").text_content()
    root.get_by_label("What areas stand for").select_option("bytes")
    shown("weights 50 magnitude false bytes")
    root.locator("[data-action=undo]").click()
    shown("weights 50 magnitude false parameters")
    root.locator("[data-action=reset]").click()
    shown("neurons 50 activation false parameters")
    seen = nothing_jumped(page)
    assert {one["state"] for one in seen} >= {"building", "measured"}
    everyone_can_read(page, root, "peeler")
    assert notebook.complaints == []

    notebook.run_cell(2, "desk.picture()")
    picture = notebook.show(f"img[alt*='The model drawn by parameters']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "peeler-picture.png")
    still = page.locator("[data-attnlab-still] img")
    assert "feed-forward neurons 50" in still.get_attribute("alt")
