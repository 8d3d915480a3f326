"""The training curve in a real JupyterLab: it moves while the cell is running, in its place."""

import json

import pytest
from jupyter_page import ASKED_FOR, SHOTS, Notebook, everyone_can_read, on_cells

DATA = """import attnlab as al
movies = al.datasets.load("movie-sentiment")
few = al.datasets.Splits(movies.train.sample(160), movies.dev.sample(100), movies.test)"""
ONE = """curve = al.TrainingCurve(len(few.dev))
display(curve)
clf = al.finetune("minilm", few, epochs=2, batch_size=8, callbacks=[curve])"""
TWO = """both = al.TrainingCurve(len(few.dev), guessing=0.693)
display(both)
for method in ("lora", "frozen"):
    al.finetune("minilm", few, method=method, epochs=2, batch_size=8,
        callbacks=[both.run(method)])"""
STOPPED = """late = al.TrainingCurve()
display(late)
class Stop(al.training.Callback):
    def on_step(self, run):
        if run.step > 14:
            raise RuntimeError("no more")
try:
    al.finetune("minilm", few, epochs=2, batch_size=16, callbacks=[late, Stop()])
except RuntimeError:
    pass"""

# What was on the page whenever something was drawn, and whether its cell was running: "[*]" stands
# before it then. The kernel's own status would not tell: messages of widgets are answered beside
# the cell, and set it to idle.
RECORD = """() => { window.seen = [];
  const look = () => { const root = document.querySelector('.jp-OutputArea .attnlab-curve');
    if (!root?.dataset.state && !root?.querySelector('.empty')) return;
    const place = (name) => { const box = root.querySelector(name).getBoundingClientRect();
      const top = root.getBoundingClientRect().y;
      return [box.x, box.y - top, box.width, box.height].map(Math.round); };
    const prompt = root.closest('.jp-Cell').querySelector('.jp-InputPrompt').textContent;
    window.seen.push({ stamp: root.dataset.stamp, state: root.dataset.state,
      running: prompt.includes('*') && !window.ran,
      empty: root.querySelector('svg.loss .empty')?.textContent ?? '',
      ticks: [...root.querySelectorAll('svg.loss > text, svg.rate > text')]
        .map(text => text.textContent).join(' '),
      columns: [...root.querySelectorAll('thead th')]
        .map(heading => Math.round(heading.getBoundingClientRect().x)),
      places: ['svg.loss', 'svg.rate', 'svg.accuracy', '.curve-table', '.curve-remark']
        .map(place) }); };
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, attributes: true,
      attributeFilter: ['data-stamp', 'data-state'] }); }"""


ROOT = ".jp-OutputArea .attnlab-curve"


@pytest.fixture(scope="module")
def address(lab):
    """A notebook of our own."""
    with on_cells(lab, [DATA, "", ""]) as path:
        yield lab.address(path.name)


@pytest.fixture
def notebook(context, address):
    """The notebook with its data loaded and the recorder running."""
    opened = Notebook.open(context, address)
    assert opened.run_cell(0) == ""
    opened.page.evaluate(RECORD)
    return opened


def moved(page):
    """What was seen, each different drawing once."""
    seen = page.evaluate("() => window.seen")
    return [one for at, one in enumerate(seen) if at == 0 or one != seen[at - 1]]


def wait_for_states(page, states):
    page.wait_for_function(
        "states => "
        "document.querySelector('.jp-OutputArea .attnlab-curve')?.dataset.state === states",
        arg=states,
    )


def test_the_curve_moves_while_the_cell_is_running_and_ends_in_the_last_state(notebook, context):
    page = notebook.page
    assert "Error" not in notebook.run_cell(1, ONE)
    wait_for_states(page, "finished")
    seen = moved(page)
    busy = [one for one in seen if one["running"]]
    assert busy[0]["empty"] == "waiting for the first step", "the first paint came too late"
    steps = [int(one["stamp"]) for one in busy if one["stamp"]]
    assert steps == sorted(steps)
    assert len(set(steps)) >= 5, f"drawn only at steps {steps} while the cell was running"
    assert {one["state"] for one in busy} >= {"", "training"}
    places = {json.dumps([one["places"], one["columns"]]) for one in seen}
    assert len(places) == 1, "something jumped"
    started = [one for one in seen if one["state"] == "training"]
    assert len({one["ticks"] for one in started}) <= 2, "the axes jumped"

    remark = page.locator(".curve-remark").first
    assert remark.text_content().startswith("Finished after 2 epochs: best dev accuracy")
    assert remark.get_attribute("role") == "status"
    assert page.locator(".attnlab-curve svg.accuracy path.mark").count() == 2
    cells = page.locator(".attnlab-curve tbody tr").first.locator("th, td").all_text_contents()
    assert cells[:3] == ["training", "2 of 2", "40 of 40"]
    assert cells[-1] == "finished"
    words = page.locator(".attnlab-curve svg.loss").first.get_attribute("aria-label")
    assert "at step 40 of 40" in words
    everyone_can_read(page, page.locator(ROOT).first, "curve", height=470, width=980)
    assert context.strangers == []


def test_runs_are_compared_in_one_curve_and_the_picture_stays(notebook):
    page = notebook.page
    assert "Error" not in notebook.run_cell(1, TWO)
    wait_for_states(page, "finished finished")
    names = page.locator(".attnlab-curve tbody th").all_text_contents()
    assert names == ["lora", "frozen"]
    colours = page.evaluate(
        "() => [...document.querySelectorAll('.attnlab-curve svg.loss .smooth')]"
        ".map(one => getComputedStyle(one)).map(one => one.stroke + one.strokeDasharray)"
    )
    assert len(set(colours)) == 2
    assert page.locator(".attnlab-curve svg.loss path.guessing").count() == 1
    heights = {json.dumps(one["places"][:3]) for one in moved(page)}
    assert len(heights) == 1, "the second run moved the pictures of the first"
    everyone_can_read(page, page.locator(ROOT).first, "curves", height=470, width=980)
    notebook.run_cell(2, "both.picture()")
    picture = notebook.show(f"img[alt*='Learning curve. lora: over 2 epochs']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "curve-picture.png")


def test_a_run_that_stops_early_says_so_when_its_cell_has_ended(notebook):
    page = notebook.page
    assert "Error" not in notebook.run_cell(1, STOPPED)
    wait_for_states(page, "stopped")
    assert "topped at step 15 of 20" in page.locator(".curve-remark").first.text_content()
    assert page.locator(".attnlab-curve tbody td").last.text_content() == "stopped"
