"""What the README promises, in a real browser: all draws the first time, and the desk is real."""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_page import SHOTS, Notebook
from live_desk import ONE_HEAD, lines_drawn, reading, silence_last_layer, wait_measured


@pytest.fixture(scope="module")
def start_here(shared_context, lab):
    """00_start_here, opened and run for the first time in this browser profile."""
    notebook = Notebook.open(shared_context, lab.address("00_start_here.ipynb"))
    notebook.run_all()
    yield notebook
    lab.end_kernels("00_start_here.ipynb")


@pytest.fixture
def page(start_here):
    """Its page, with a desk that nobody has touched."""
    start_here.run_cell(start_here.cell_with("al.HeadMixer("))
    start_here.show(".attnlab-desk[data-simple=true]").locator("[data-action=more]").click()
    wait_measured(start_here.page)
    return start_here.page


def test_run_all_shows_everything_the_first_time_with_no_network(start_here, shared_context):
    page = start_here.page
    view = start_here.show("iframe[title^='Attention']")
    assert lines_drawn(page, view) > ONE_HEAD
    start_here.show("img[alt*='Clearest column']")
    start_here.show(".attnlab-flow[data-shown^='model 3 9 ']")
    desk = start_here.show(".attnlab-desk")
    wait_measured(page)
    assert page.locator(".attnlab-desk input[type=range]").count() == 72
    assert lines_drawn(page, page.locator(".desk-picture iframe").first) > 100
    assert "%" in reading(page)["big"]
    box = desk.bounding_box()
    assert box["width"] <= 900
    assert box["height"] <= 590, "the desk does not fit a screen of 1280 x 720"
    overflow = desk.evaluate(
        "e => [...e.querySelectorAll('*')].filter(x => x.scrollWidth > x.clientWidth + 2"
        " && x.clientWidth > 0 && getComputedStyle(x).overflowX === 'visible'"
        " && getComputedStyle(x).display !== 'inline'"
        " && !x.closest('svg')).map(x => x.className)"
    )
    assert overflow == [], "something is cut or sticks out"
    assert shared_context.strangers == []


def test_a_fader_moved_with_the_keyboard_changes_the_model_and_undo_brings_it_back(page):
    before = reading(page)
    silence_last_layer(page)
    wait_measured(page)
    after = reading(page)
    assert after["big"] != before["big"]
    assert after["answer"] != before["answer"]
    assert "−" in after["change"]
    assert "lost" in after["change"]
    assert page.locator(".desk-flips li").count() > 0
    frame = page.locator(".desk-picture iframe").first
    page.wait_for_function("() => document.querySelectorAll('.desk-picture iframe').length === 1")
    # a fader does not change where a head looks; what a silent one carries is drawn "scaled", below
    assert lines_drawn(page, frame) > ONE_HEAD
    undo = page.locator(".attnlab-desk [data-action=undo]")
    for _ in range(12):  # presses that came while the kernel was busy are one step
        if undo.is_enabled():
            undo.click()
            page.wait_for_timeout(200)
    page.wait_for_function(
        "() => document.querySelector('.desk-change').textContent.startsWith('Neutral')"
    )
    wait_measured(page)
    assert reading(page) == before
    assert page.locator(".attnlab-desk [data-action=undo]").is_disabled()


def test_arrow_keys_move_a_fader_and_shift_goes_to_another(page):
    fader = page.locator("input[data-layer='2'][data-head='3']")
    fader.focus()
    for _ in range(4):
        fader.press("ArrowLeft")
    page.wait_for_function(
        "() => document.querySelector(\"input[data-layer='2'][data-head='3']\").value === '0.8'"
    )
    page.keyboard.press("Shift+ArrowRight")
    focused = page.evaluate("() => ({ ...document.activeElement.dataset })")
    assert focused == {"layer": "2", "head": "4"}
    page.keyboard.press("Shift+ArrowDown")
    assert page.evaluate("() => document.activeElement.dataset.layer") == "3"
    page.locator(".attnlab-desk [data-action=undo]").click()  # the run of presses is one step
    page.wait_for_function(
        "() => document.querySelector(\"input[data-layer='2'][data-head='3']\").value === '1'"
    )


def test_every_control_does_what_it_says(page):
    page.locator("[data-preset=random-half]").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.fader input')]"
        ".filter(input => input.value === '0').length === 36"
    )
    page.locator("[data-preset=keep-one]").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.fader input')]"
        ".filter(input => input.value === '0').length === 66"
    )
    page.get_by_label("Kind of picture").select_option("map")
    page.get_by_label("What is drawn").select_option("scaled")
    page.get_by_label("Head shown").select_option("1")
    page.wait_for_function(
        "() => document.querySelector('.desk-picture svg')?.textContent.includes('silent: all 0')"
    )
    if SHOTS.is_dir():
        page.locator(".attnlab-desk").screenshot(path=SHOTS / "silent.png")
    page.locator("[data-preset=neutral]").click()
    page.wait_for_function(
        "() => !document.querySelector('.desk-picture svg')?.textContent.includes('silent')"
    )
    page.locator("[data-mode=temperature]").click()
    fader = page.locator("input[data-layer='1'][data-head='1']")
    assert fader.get_attribute("aria-label") == "layer 1 head 1 temperature"
    fader.focus()
    fader.press("End")
    page.get_by_label("Kind of picture").select_option("map")
    page.get_by_label("What is drawn").select_option("difference")
    page.locator(".desk-picture svg[aria-label*='layer 1, head 1']").wait_for()
    page.locator(".attnlab-desk").get_by_role("button", name="Copy as code").click()
    page.wait_for_function(
        "() => document.querySelector('.desk-code textarea')"
        ".value.includes('settings.temperature[1, 1] = 8')"
    )
    text = page.get_by_label("Sentence to classify")
    text.fill("A boring, endless </script><b>mess</b>.")
    page.wait_for_function(
        "() => document.querySelector('.desk-picture svg')?.textContent.includes('boring')"
    )
    text.fill("")
    page.wait_for_function(
        "() => document.querySelector('.desk-sentence').textContent.includes('Type a sentence.')"
    )
    if SHOTS.is_dir():
        page.locator(".attnlab-desk").screenshot(path=SHOTS / "map.png")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_everyone_can_use_the_desk(page, start_here, theme):
    page.evaluate(
        f"() => {{ jupyterapp.commands.execute('apputils:change-theme', {{ theme: '{theme}' }}); }}"
    )
    page.wait_for_function(f"() => document.body.dataset.jpThemeName === '{theme}'")
    page.wait_for_selector(".attnlab-desk[data-estimates=ready]")  # the heat map is there
    page.locator("[data-preset=random-half]").click()
    wait_measured(page)
    page.wait_for_timeout(500)
    found = Axe().run(page, context=".attnlab-desk").response["violations"]
    serious = [
        (one["id"], one["nodes"][0]["html"])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    start_here.show(".attnlab-desk").evaluate("e => e.scrollIntoView({ block: 'start' })")
    if SHOTS.is_dir():
        page.screenshot(path=SHOTS / f"{theme.split()[1].lower()}.png")
    if os.environ.get("ATTNLAB_SAVE_PICTURE") and "Light" in theme:
        # other people's sentences
        page.add_style_tag(content=".desk-flips li { filter: blur(4px) }")
        page.locator(".attnlab-desk").screenshot(path=Path(__file__).parent / "desk.png")


def test_after_save_reload_and_run_all_it_works_again(start_here, shared_context):
    page = start_here.page
    start_here.show(".attnlab-desk")
    start_here.command("docmanager:save")
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    again = Notebook(page)
    again.wait_idle()
    # the still pictures are there before anything runs
    again.show("img[alt*='Clearest column']")
    again.run_all(above=again.cell_with("al.HeadMixer(") + 1)
    assert lines_drawn(page, again.show("iframe[title^='Attention']")) > ONE_HEAD
    again.show(".attnlab-desk")
    wait_measured(page)
    assert shared_context.strangers == []
