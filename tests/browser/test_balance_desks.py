"""The balance meter, the training monitor and the tuner's desk in a real JupyterLab."""

import json

import pytest
from jupyter_page import (
    ASKED_FOR,
    SHOTS,
    everyone_can_read,
    nothing_jumped,
    opened_on_cells,
    watch,
)

DATA = """import attnlab as al
movies = al.datasets.load("movie-sentiment")
clf = al.load_classifier("movie-sentiment")"""
METER = """import copy, torch
other = clf.with_model(copy.deepcopy(clf.model))
for layer in other.model.bert.encoder.layer:
    layer.attention.self.query.weight.data.mul_(0.5)
meter = al.BalanceMeter(clf, movies.dev.sample(300), before=other)
meter"""
MONITOR = """from attnlab.balance.recorder import Recorder
few = al.datasets.Splits(movies.train.sample(200), movies.dev.sample(20), movies.test)
monitor = al.TrainingMonitor(Recorder(few.dev.texts[:6], every=2))
display(monitor)
trained = al.finetune("minilm", few, "full", epochs=1, batch_size=8, learning_rate=6e-3,
                      callbacks=[monitor])"""
TUNER = """import time, types
class Slow:  # rounds as a Tuner makes them, without its work
    clf, now, start, rounds, doing = clf, clf, clf.settings(), [], ""
    guard_before = types.SimpleNamespace(accuracy=0.55, stderr=0.03, n=250)
    going = False
    finished = property(lambda self: len(self.rounds) >= 4)
    def run(self):
        self.going, self.doing = True, "adjusting"
        while self.going and not self.finished:
            self.step()
        self.doing = ""
    def step(self):
        time.sleep(0.8)
        ways = ("gradient", "random", "greedy", "least-squares")
        self.add(ways[len(self.rounds) % 4], clf.settings())
    def stop(self):
        self.going = False
    def propose(self, settings):
        self.add("by hand", settings)
    def add(self, way, settings):
        number = len(self.rounds) + 1
        settings.scale[:, number] *= 2
        accuracy = (0.7, 0.5, 0.74, 0.73, 0.6, 0.6)[number - 1]
        self.rounds.append(types.SimpleNamespace(
            number=number, way=way, settings=settings, accepted=number in (1, 3), accuracy=accuracy,
            delta=0.05, ci=(0.01, 0.09), balance=0.8, heads_on=72, anomalies=2, retrained=False,
            seconds=1.0,
            why="the change on the guard part is 5.0 points, its interval above 0."))
desk = al.TunerDesk(Slow())
desk"""


@pytest.fixture(scope="module")
def shared(browser, lab):
    """One notebook with its data loaded; each test draws its widget in the second cell."""
    with opened_on_cells(browser, lab, [DATA, "", ""]) as opened:
        yield opened


@pytest.fixture
def notebook(shared):
    shared.complaints.clear()
    yield shared
    assert shared.complaints == []


def shown(page, selector, states):
    """Wait for the widget to be in one of these states, and return it."""
    page.wait_for_function(
        "([selector, states]) => states.includes("
        "document.querySelector(`.jp-OutputArea ${selector}`)?.dataset.state)",
        arg=[selector, states],
    )
    return page.locator(f".jp-OutputArea {selector}").first


def wait_shown(page, selector, words):
    page.wait_for_function(
        "([selector, words]) => "
        "document.querySelector(`.jp-OutputArea ${selector}`).dataset.shown === words",
        arg=[selector, words],
    )


def test_the_meter_shows_a_sample_then_all_and_is_worked_by_keyboard(notebook):
    page = notebook.page
    parts = [".balance-dial", ".head-grid", ".balance-numbers", ".balance-picture", ".keep"]
    watch(page, ".attnlab-balance", parts)
    assert "Error" not in notebook.run_cell(1, METER)
    root = shown(page, ".attnlab-balance", ["measured"])
    page.wait_for_selector(".balance-picture svg")
    seen = nothing_jumped(page)
    assert {one["state"] for one in seen} >= {"partial", "measured"}
    assert page.locator(".head-grid .cell").count() == 72
    assert float(page.locator("svg.dial .figure").text_content()) > 0.5
    assert "before" in page.locator("svg.dial").text_content()

    cell = page.locator(".head-grid .cell.chosen")
    cell.focus()
    cell.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    wait_shown(page, ".attnlab-balance", "entropy text weights mean 4 1")
    assert page.evaluate("() => document.activeElement.ariaLabel").startswith("layer 4 head 1: 0.")
    page.wait_for_selector(".balance-picture[data-stamp='4 1']")
    assert page.locator(".balance-name b").text_content() == "Layer 4, head 1"
    page.get_by_label("Measure", exact=True).select_option("cls")
    wait_shown(page, ".attnlab-balance", "cls all weights mean 4 1")
    page.get_by_label("What is shown").select_option("change")
    wait_shown(page, ".attnlab-balance", "cls all weights change 4 1")
    page.get_by_label("Sentence whose attention is shown").fill("A boring </script><b>mess</b>.")
    page.wait_for_function(
        "() => document.querySelector('.balance-picture svg').textContent.includes('boring')"
    )
    page.get_by_label("Sentence whose attention is shown").fill("")
    page.wait_for_function(
        "() => document.querySelector('.attnlab-balance .complaint')"
        ".textContent.includes('Type one')"
    )
    page.locator("[data-action=reset]").click()
    wait_shown(page, ".attnlab-balance", "entropy text weights mean 5 0")
    page.locator("[data-action=undo]").click()
    page.get_by_label("What is shown").select_option("change")
    everyone_can_read(page, root, "meter")
    notebook.run_cell(2, "meter.picture()")
    picture = notebook.show(f"img[alt*='Overall balance']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "meter-picture.png")


def test_the_monitor_moves_while_the_cell_trains_and_names_what_is_out_of_line(notebook):
    page = notebook.page
    parts = ["svg.lines", "svg.spans", "svg.overall", ".monitor-grid", ".monitor-table", ".keep"]
    watch(page, ".attnlab-monitor", parts)
    assert "Error" not in notebook.run_cell(1, MONITOR)
    root = shown(page, ".attnlab-monitor", ["finished"])
    seen = nothing_jumped(page)
    stamps = [int(one["stamp"]) for one in seen if one["stamp"]]  # none before the first
    assert stamps == sorted(stamps)
    assert len(set(stamps)) >= 4, "it did not move while the cell was running"
    assert page.locator("svg.lines path.faint").count() == 71
    assert page.locator("svg.spans rect").count() > 0, "so high a learning rate leaves its mark"

    page.locator(".head-grid .cell").first.click()  # it ended at that of the strongest anomaly
    wait_shown(page, ".attnlab-monitor", "entropy all 0 0")
    cell = page.locator(".head-grid .cell.chosen")
    cell.focus()
    cell.press("ArrowDown")
    wait_shown(page, ".attnlab-monitor", "entropy all 1 0")
    page.locator("[data-action=pin]").click()
    page.wait_for_selector("[data-action=unpin]:enabled")
    others = page.locator(".monitor-table tbody tr").filter(has_not_text="L1H0")
    row = others.first.locator("button")
    row.focus()
    row.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('svg.lines path.strong').length === 2")
    page.wait_for_selector(".monitor-table tr.now")
    assert "L1H0" in page.locator(".monitor-strong").text_content()
    assert page.locator("svg.lines rect.span").count() > 0
    page.get_by_label("Which layers").select_option("2")
    page.wait_for_function("() => document.querySelectorAll('svg.lines path.faint').length <= 12")
    page.get_by_label("Which layers").select_option("all")
    everyone_can_read(page, root, "monitor")
    notebook.run_cell(2, "monitor.picture()")
    notebook.show(f"img[alt*='of 72 heads over training']{ASKED_FOR}")
    notebook.run_cell(2, "al.plots.anomaly_table(monitor.found, monitor.recorder.table)")
    summary = notebook.show("details summary")
    summary.click()
    notebook.show("details img[alt*='expected']")


def test_the_tuners_desk_runs_stops_and_takes_settings_by_hand(notebook):
    page = notebook.page
    parts = ["svg.rounds", ".tuner-table", ".tuner-knobs", ".tuner-picture", ".tuner-bar"]
    watch(page, ".attnlab-tuner", parts)
    assert "Error" not in notebook.run_cell(1, TUNER)
    root = shown(page, ".attnlab-tuner", ["ready"])
    page.locator("[data-action=run]").click()
    page.wait_for_selector(".attnlab-tuner[data-rounds='1']")
    page.locator("[data-action=stop]").click()
    shown(page, ".attnlab-tuner", ["stopped"])
    assert int(root.get_attribute("data-rounds")) < 4
    page.locator("[data-action=run]").click()
    page.wait_for_selector(".attnlab-tuner[data-rounds='4'][data-state=finished]")
    assert page.locator(".tuner-table tbody tr").count() == 5
    nothing_jumped(page)

    row = page.locator(".tuner-table tbody button").nth(2)
    row.focus()
    row.press("Enter")
    wait_shown(page, ".attnlab-tuner", "2 5 0 change")
    assert page.locator(".tuner-chosen b").text_content() == "Round 2"
    assert "its interval above 0" in page.locator(".tuner-why").text_content()
    assert (
        page.locator(".head-grid").first.locator("[data-layer='5'][data-head='2']").text_content()
        == "2.00"
    )
    cell = page.locator(".head-grid .cell.chosen").first
    cell.focus()
    cell.press("ArrowUp")
    wait_shown(page, ".attnlab-tuner", "2 4 0 change")
    page.get_by_label("Kind of picture").select_option("bertviz after")
    page.wait_for_selector(".tuner-picture[data-stamp='2 4 0 bertviz after'] iframe")
    frame = page.locator(".tuner-picture iframe").content_frame
    frame.locator("#vis line").first.wait_for(state="attached")
    page.get_by_label("Kind of picture").select_option("change")
    page.wait_for_selector(".tuner-picture svg")

    page.locator(".tuner-hand summary").click()
    page.get_by_label("Settings as JSON").fill("nothing")
    page.locator("[data-action=propose]").click()
    page.wait_for_function(
        "() => document.querySelector('.attnlab-tuner .complaint')"
        ".textContent.includes('no head settings')"
    )
    table = [[1.0] * 12] * 6
    page.get_by_label("Settings as JSON").fill(json.dumps({"scale": table, "temperature": table}))
    page.locator("[data-action=propose]").click()
    page.wait_for_selector(".attnlab-tuner[data-rounds='5']")
    assert "by hand" in page.locator(".tuner-table tbody").text_content()
    page.wait_for_function(
        "() => document.querySelector('.attnlab-tuner .complaint').textContent === ''"
    )
    page.locator(".tuner-hand summary").click()
    everyone_can_read(page, root, "tuner")
    notebook.run_cell(2, "desk.picture()")
    notebook.show(f"img[alt*='rounds of the tuner']{ASKED_FOR}")
