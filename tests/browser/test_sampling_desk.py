"""The sampling desk in a real JupyterLab: sliders, draws, the run, keys, faders, the cache."""

import json

import pytest
from jupyter_page import ASKED_FOR, ROOT, SHOTS, drawn_anew, everyone_can_read, opened_on_cells

MADE = f"""import sys
sys.path.insert(0, {str(ROOT / "tests" / "helpers")!r})
import attnlab as al
from tiny_writer import tiny_writer
writer = tiny_writer()"""
DESK = """desk = al.SamplingDesk(writer)
desk"""
DESK_ROOT = ".jp-OutputArea .attnlab-sampling"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, DESK_ROOT):
        written(notebook, 0)
        yield notebook.page.locator(DESK_ROOT).first


def written(notebook, count):
    """Wait until so many tokens follow the prompt."""
    notebook.page.wait_for_selector(
        f"{DESK_ROOT}[data-shown^='{count} '][data-state=shown][data-run=stopped]"
    )


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def bars(desk):
    """Of each candidate its token, its width in percent of the track, and what is written."""
    return desk.locator(".candidate").evaluate_all(
        """all => all.map(one => [Number(one.dataset.token),
        Number.parseFloat(one.querySelector('.after').style.width),
        one.querySelector('.number').textContent])"""
    )


def start_cell(notebook, source):
    """Run the third cell, and do not wait for it."""
    notebook.page.evaluate(
        """source => { const nb = jupyterapp.shell.currentWidget.content; window.ran = false;
        nb.widgets[2].model.sharedModel.setSource(source);
        nb.deselectAll(); nb.activeCellIndex = 2;
        jupyterapp.commands.execute('notebook:run-cell')
          .finally(() => { window.ran = true; }); }""",
        source,
    )


def move(desk, name, *keys):
    slider = desk.locator(f"input[name={name}]")
    slider.focus()
    for key in keys:
        slider.press(key)


def test_sliders_reshape_the_candidates_as_python_would(notebook, desk):
    before = of_python(notebook, "desk.report")
    assert [token for token, _, _ in bars(desk)] == before["shown"]
    move(desk, "temperature", *["ArrowLeft"] * 12)
    move(desk, "top_k", "Home", *["ArrowRight"] * 4)
    move(desk, "min_p", *["ArrowRight"] * 5)
    notebook.page.wait_for_selector(f"{DESK_ROOT}[data-answered='0.4 5  0.05']")
    after = of_python(notebook, "desk.report")
    told = of_python(notebook, "[al.show.wording.percent(share) for share in desk.report['after']]")
    for (token, width, number), id, share, words in zip(
        bars(desk), after["shown"], after["after"], told, strict=True
    ):
        assert token == id
        assert number == ("cut" if share == 0 else words)
        assert (width > 0) == (share > 0)
    assert int(desk.get_attribute("data-next")) == after["next"]
    assert int(desk.get_attribute("data-kept")) == 5
    assert desk.locator(".candidate.cut").count() == len(after["shown"]) - 5
    assert "5 of 33 tokens can come" in desk.locator(".others").last.text_content()
    desk.locator("[data-action=reset]").click()
    notebook.page.wait_for_selector(f"{DESK_ROOT}[data-sampling='1   ']")
    assert desk.locator(".candidate.cut").count() == 0


def test_sliders_are_answered_while_the_kernel_is_busy(notebook, desk):
    before = bars(desk)
    start_cell(notebook, "import time; time.sleep(20)")
    move(desk, "temperature", "Home")
    now = bars(desk)  # without any wait
    assert now != before
    assert now[0][2] == "100\u00a0%"
    assert {words for _, _, words in now[1:]} == {"cut"}
    assert desk.get_attribute("data-next") == str(now[0][0])
    assert not notebook.page.evaluate("() => window.ran")
    notebook.command("notebook:interrupt-kernel")
    notebook.page.wait_for_function("() => window.ran")


def test_step_take_back_and_start_over(notebook, desk):
    page = notebook.page
    assert desk.locator("[data-action=back]").is_disabled()
    drawn = int(desk.get_attribute("data-next"))
    desk.locator("[data-action=step]").click()
    written(notebook, 1)
    assert of_python(notebook, "desk.settings['taken']") == [drawn]
    third = desk.locator(".candidate").nth(2)
    token = int(third.get_attribute("data-token"))
    third.click()
    written(notebook, 2)
    assert of_python(notebook, "desk.settings['taken']") == [drawn, token]
    assert desk.locator(".written .new").count() == 2
    desk.locator("[data-action=back]").click()
    written(notebook, 1)
    desk.locator("[data-action=over]").click()
    written(notebook, 0)
    page.get_by_label("Prompt", exact=True).fill("The king")
    page.wait_for_function(
        "() => document.querySelectorAll('.attnlab-sampling .written > span:not(.here)')"
        ".length === 8"
    )
    page.get_by_label("Prompt", exact=True).fill("")
    page.locator(".attnlab-sampling .complaint", has_text="The prompt is empty").wait_for()
    page.get_by_label("Prompt", exact=True).fill("The king")
    page.wait_for_function(
        "() => !document.querySelector('.attnlab-sampling .complaint').textContent"
    )


def test_a_run_writes_what_python_writes_and_stops_when_asked(notebook, desk):
    page = notebook.page
    run = desk.locator("[data-action=run]")
    run.click()
    assert run.text_content() == "Stop"
    page.wait_for_function(
        "() => Number(document.querySelector('.attnlab-sampling').dataset.shown.split(' ')[0]) > 4"
    )
    run.click()
    page.wait_for_selector(f"{DESK_ROOT}[data-run=stopped][data-state=shown]")
    taken = of_python(notebook, "desk.settings['taken']")
    page.wait_for_timeout(500)
    assert of_python(notebook, "desk.settings['taken']") == taken
    again = of_python(notebook, f"al.SamplingDesk(writer).step({len(taken)}).settings['taken']")
    assert taken == again
    desk.locator("[data-action=undo]").click()
    written(notebook, 0)


def test_the_keyboard_walks_the_candidates_and_takes_one(notebook, desk):
    page = notebook.page
    desk.locator(".candidate").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End", "Home", "ArrowDown"):
        page.keyboard.press(key)
    token = page.evaluate("() => document.activeElement.dataset.token")
    assert token == desk.locator(".candidate").nth(1).get_attribute("data-token")
    page.keyboard.press("Enter")
    written(notebook, 1)
    assert page.evaluate("() => document.activeElement.className").startswith("candidate")
    assert of_python(notebook, "desk.settings['taken']") == [int(token)]  # runs a cell


def test_heads_cache_and_seed(notebook, desk):
    page = notebook.page
    desk.locator("[data-action=step]").click()
    written(notebook, 1)
    page.get_by_label("Layer", exact=True).select_option("1")
    page.get_by_label("Head", exact=True).select_option("2")
    page.wait_for_selector(f"{DESK_ROOT}[data-shown='1 1 2 true 0']")
    weights = of_python(notebook, "desk.report['weights']")
    tips = desk.locator(".written > span:not(.here)").evaluate_all(
        "all => all.map(one => Number(one.title.split(': ').at(-1)))"
    )
    assert tips == pytest.approx(weights, abs=6e-4)
    assert "With cache: 1 token read in" in desk.locator(".cache").text_content()
    desk.locator("input[name=cache]").click()
    page.wait_for_selector(f"{DESK_ROOT}[data-shown='1 1 2 false 0']")
    told = desk.locator(".cache").text_content()
    assert "Nothing is kept" in told
    assert "Without: 17 tokens read in" in told
    assert "not a measurement" in told
    draw = desk.locator(".fell b").first.text_content()
    desk.locator("[data-action=reseed]").click()
    page.wait_for_selector(f"{DESK_ROOT}[data-shown='1 1 2 false 1']")
    assert desk.locator(".fell b").first.text_content() != draw


def test_a_fader_moves_the_candidates_and_says_so(notebook, desk):
    page = notebook.page
    before = bars(desk)
    fader = desk.locator(".fader input").first
    fader.focus()
    fader.press("0")
    page.wait_for_selector(f"{DESK_ROOT}.moved[data-state=shown]")
    assert of_python(notebook, "desk.head_settings.scale[0, 0].item()") == 0
    assert bars(desk) != before
    assert desk.locator(".candidate .track b:visible").count() == 12
    assert "of 100 points of probability" in desk.locator(".remark").text_content()
    fader.press("1")
    page.wait_for_selector(f"{DESK_ROOT}:not(.moved)[data-state=shown]")
    assert bars(desk) == before


def test_everyone_can_read_and_work_it_in_both_themes(notebook, desk):
    page = notebook.page
    notebook.run_cell(2, "desk.step(30)")
    written(notebook, 30)
    desk.locator(".fader input").nth(5).press("0")
    move(desk, "top_k", "Home", *["ArrowRight"] * 6)
    page.wait_for_selector(f"{DESK_ROOT}.moved[data-state=shown]")
    everyone_can_read(page, desk, "sampling", height=600, width=1000)
    notebook.run_cell(2, "desk.picture()")
    picture = notebook.show(f"img[alt*='Sampling desk after']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "sampling-picture.png")
