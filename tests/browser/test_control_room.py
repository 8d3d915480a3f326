"""The control room in a real JupyterLab, before a real service."""

import pytest
from jupyter_page import (
    ASKED_FOR,
    PATIENCE,
    ROOT,
    SHOTS,
    everyone_can_read,
    nothing_jumped,
    opened_on_cells,
    watch,
)

# each text takes 15 ms, so 66 a second are too many
MADE = f"""import subprocess, sys
import attnlab as al
command = [sys.executable, {str(ROOT / "tests" / "helpers" / "tiny_service.py")!r}]
server = al.adaptive.Server.__new__(al.adaptive.Server)  # the same, around a tiny classifier
server.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
server.url = server.process.stdout.readline().strip()
data = al.TextDataset(["sleep 0.015"] * 3, [0, 1, 2], ["bad", "fair", "good"], "ours")"""
ROOM = """room = al.ControlRoom(server, data)
room"""
PARTS = ["svg.p95", "svg.points", "svg.kept", "svg.accuracy", "svg.requests", ".control-bar"]
PARTS += [".control-log", ".remark"]
P95 = """() => { const found = document.querySelector('.control-numbers div:nth-child(2) dd');
  return Number.parseFloat(found.textContent.replace(',', '')) || 0; }"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, "", ""]) as opened:
        yield opened


def test_the_load_rises_the_controller_steps_down_and_the_end_of_the_service_is_told(notebook):
    page = notebook.page
    watch(page, ".attnlab-control", PARTS)
    assert "Error" not in notebook.run_cell(1, ROOM)
    root = page.locator(".jp-OutputArea .attnlab-control").first
    page.wait_for_selector(".attnlab-control[data-state=idle][data-point=full]")
    assert root.locator("[data-action=rush]").is_disabled()

    load = root.locator("input[name=load]")
    load.focus()
    load.press("Home")
    load.press("ArrowRight")
    page.wait_for_selector(".attnlab-control[data-shown='1 200 false'][data-state=sending]")
    page.wait_for_function(f"() => ({P95})() > 0", timeout=PATIENCE)
    calm = page.evaluate(P95)
    load.fill("100")
    page.wait_for_selector(".attnlab-control[data-shown='100 200 false']")
    root.locator("[data-action=rush]").click()
    page.wait_for_selector(".attnlab-control[data-state=rush]")
    page.wait_for_selector(".attnlab-control[data-point='half']")
    page.wait_for_function(f"calm => ({P95})() > calm", arg=calm)
    assert "full → half" in root.locator(".control-log").text_content()
    page.wait_for_function(
        "() => document.querySelectorAll('.attnlab-control svg.points .span').length === 2"
    )
    assert root.locator("svg.accuracy .interval").count() > 0

    target = root.locator("input[name=target]")
    target.fill("900")
    page.wait_for_selector(".attnlab-control[data-shown='100 900 false']")
    page.wait_for_function(
        "() => document.querySelector('.attnlab-control svg.p95').ariaLabel.includes('target 900')"
    )
    target.fill("0")
    root.locator(".control-wrong", has_text="1 to 60,000").wait_for()
    assert root.get_attribute("data-shown") == "100 900 false"
    target.fill("900")
    page.wait_for_function(
        "() => !document.querySelector('.attnlab-control .control-wrong').textContent"
    )
    root.locator("[data-action=pause]").click()
    page.wait_for_selector(".attnlab-control[data-state=paused]")
    stamp = root.get_attribute("data-stamp")
    nothing_jumped(page)
    everyone_can_read(page, root, "control")
    assert root.get_attribute("data-stamp") == stamp
    root.locator("[data-action=pause]").click()
    page.wait_for_function(
        "stamp => document.querySelector('.attnlab-control').dataset.stamp !== stamp", arg=stamp
    )
    root.locator("[data-action=stop]").click()
    page.wait_for_selector(".attnlab-control[data-shown='0 900 false']")

    notebook.run_cell(2, "room.picture()")
    picture = notebook.show(f"img[alt*='95th percentile of latency']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "control-picture.png")
    notebook.run_cell(2, "server.process.kill()")
    page.wait_for_selector(".attnlab-control[data-state=ended]")
    assert root.locator(".remark").text_content() == ("The service has ended. Run the cell again.")
    assert load.is_disabled()
    assert notebook.complaints == []
