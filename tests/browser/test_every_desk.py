"""What all desks promise, in JupyterLab and in Notebook 7: keys, a busy kernel, a kernel gone."""

import signal

import pytest
from jupyter_page import (
    ONE_THREAD,
    PATIENCE,
    ROOT,
    chromium,
    jupyter,
    opened_on_cells,
    without_news,
)

MADE = f"import sys; sys.path.insert(0, {str(ROOT / 'tests' / 'helpers')!r})"
MADE += """
import time, types
import numpy as np
import attnlab as al
from attnlab.balance.recorder import Recorder
from attnlab.economics.points import Point
from attnlab.translation import Translator
from tiny_writer import tiny_writer
clf = al.load_classifier("movie-sentiment")
dev = al.datasets.load("movie-sentiment").dev.sample(40)
dates = [f"{day}.{month}.1987" for day in range(1, 9) for month in range(1, 5)]
words = al.transformer.Subwords.train(dates, 30)
model = al.transformer.Seq2SeqTransformer(
    len(words), len(words), d_model=16, heads=2, encoder_layers=1, decoder_layers=1,
    feed_forward=16)
pairs = al.datasets.ParallelDataset(dates, dates, "dates")
tuner = types.SimpleNamespace(  # what a desk looks at, without its work
    clf=clf, now=clf, start=clf.settings(), rounds=[], doing="", finished=False,
    run=lambda: None, step=lambda: None, stop=lambda: None,
    guard_before=types.SimpleNamespace(accuracy=0.55, stderr=0.03, n=250))
recorder = Recorder(dev.texts[:4], every=1)
shape = al.economics.shape_of(clf)
budget = al.economics.Budget(flops=0.6 * al.economics.flops(shape))
everything = al.economics.Plan(
    tuple(range(6)), (tuple(range(12)),) * 6, (tuple(range(1536)),) * 6)
costs = al.economics.costs_of(shape)
del costs["latency_ms"]
point = Point("whole", everything, costs, 0.7, np.arange(40) % 2 == 0, 1.0)
found = al.economics.SearchResult(clf, None, dev, budget, (point,))
images = al.datasets.load("mnist-5k").dev.sample(20)
asked = al.datasets.scenes.ask(al.datasets.load("mnist-5k").dev, 20)
watched = al.datasets.Histories(
    [f"film {n}" for n in range(30)], [np.arange(n, n + 9) for n in range(20)],
    [np.zeros(9, dtype=bool)] * 20, "watched")
recommender = al.applications.Recommender(
    al.LanguageModel(31, 16, 2, 1, positions="learned", max_length=12).eval(), watched.items, 12)
reading = dict.fromkeys(["p95_ms", "kept", "accuracy", "accuracy_low", "accuracy_high"])
reading |= {"waiting": 0, "answers_per_second": 0.0, "refusals_per_second": 0.0}
full = {"name": "full", "accuracy": 0.9, "ms": 5.0, "kept": 1.0}
served = types.SimpleNamespace(url="http://127.0.0.1:9", state=lambda: {
    "point": "full", "target_ms": 100.0, "points": [full], "reading": reading, "log": []})"""
DESKS = """desks = [
    al.SoftmaxDesk(), al.MaskDesk(clf.attend("A fine film.")), al.HeadMixer(clf, dev),
    al.BalanceMeter(clf, dev), al.TranslationDesk(Translator(model, words, words), pairs, n=20),
    al.TunerDesk(tuner), al.TrainingMonitor(recorder), al.TrainingCurve(), al.Peeler(clf, dev),
    al.BudgetExplorer(found), al.AskDesk(al.vision.load_answerer("scenes"), asked),
    al.PatchDesk(al.load_image_classifier("mnist-5k"), images),
    al.ControlRoom(served, dev), al.SamplingDesk(tiny_writer()), al.FlowDesk(clf), al.QueryDesk(),
    al.HistoryDesk(recommender, watched),
    al.ReadingDesk(al.applications.load_reader("printed"), noise=1.0)]
for desk in desks:
    display(desk)"""
NAMES = ["softmax", "mask", "desk:not(.attnlab-translation)", "balance", "translation", "tuner"]
NAMES += ["monitor", "curve", "peeler", "budget", "ask", "patch", "control", "sampling", "flow"]
NAMES += ["history", "reading", "query"]
KEYS = [*"001xcvddabmziif", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "PageDown"]
KEYS += ["Backspace", "Escape", "Shift+ArrowDown", "Shift+Enter", "Control+Enter", "Control+z"]
# what there is to work in the desks
SORTS = [
    "input[type=range]",
    "input[type=text]",
    "input[type=number]",
    "input[type=checkbox]",
    "textarea",
    "select:not(.language)",  # the menu of languages would change what the tests look for
    "button:enabled",
    "[role=gridcell][tabindex='0']",
    "g[tabindex='0']",
    "[role=region]",
]
# Whoever listens where the two front ends do, and a step further.
SPY = """() => { window.leaked = [];
  for (const where of [document, document.body, document.querySelector('.jp-Notebook')])
    for (const type of ['keydown', 'keypress', 'keyup'])
      for (const capture of [true, false])
        where.addEventListener(type, event => {
          if (event.target.closest('.attnlab-widget')) window.leaked.push(event.key); }, capture);
  window.cells = () => jupyterapp.shell.currentWidget.content.widgets
    .map(cell => cell.model.type + cell.model.sharedModel.getSource()); }"""
# For each desk: something to press, and what has changed when its answer has been drawn.
WORKED = [
    ("softmax", "input[name=temperature]", "data-stamp"),
    ("mask", "input[name=window]", "data-stamp"),
    ("balance", ".head-grid .chosen", "data-shown"),
    ("tuner", ".head-grid .chosen", "data-shown"),
    ("peeler", "input[name=amount]", "data-shown"),
    ("budget", "input[name=flops]", "data-shown"),
    ("ask", "select[aria-label=Layer]", "data-shown"),
    ("sampling", "select[aria-label=Layer]", "data-shown"),
    ("flow", "select[aria-label=Layer]", "data-shown"),
    ("query", ".tip.query", "data-shown"),
    ("history", ".listed [aria-checked=true]", "data-shown"),
    ("reading", "input[name=noise]", "data-shown"),
]


@pytest.fixture(scope="module")
def notebook_7(tmp_path_factory):
    """Notebook 7 on a folder of its own."""
    chromium()
    folder = tmp_path_factory.mktemp("notebook-7")
    without_news(folder)
    (folder / "notebooks").mkdir()
    with jupyter(folder / "notebooks", folder, ONE_THREAD, "notebook") as running:
        yield running


@pytest.fixture(
    scope="module", params=["lab", pytest.param("notebook_7", marks=pytest.mark.thorough)]
)
def notebook(request, browser):
    """Every desk there is, below one cell."""
    running = request.getfixturevalue(request.param)
    with opened_on_cells(browser, running, [MADE, DESKS, "", ""]) as opened:
        shown(opened)
        yield opened


def shown(notebook):
    """Show every desk, and wait until each is drawn and measured."""
    assert "Error" not in notebook.run_cell(1, DESKS)
    page = notebook.page
    for name in NAMES:
        page.locator(f".attnlab-{name}").first.wait_for()
    page.wait_for_selector(".desk-accuracy[data-state=measured]")
    page.wait_for_selector(".score[data-state=measured]")
    page.wait_for_selector(".attnlab-balance[data-state=measured]")
    page.wait_for_selector(".attnlab-peeler[data-state=measured]")


def start_cell(page, source):
    """Run the third cell, and do not wait for it."""
    page.evaluate(
        """source => { const nb = jupyterapp.shell.currentWidget.content; window.ran = false;
        nb.widgets[2].model.sharedModel.setSource(source);
        nb.deselectAll(); nb.activeCellIndex = 2;
        jupyterapp.commands.execute('notebook:run-cell')
          .finally(() => { window.ran = true; }); }""",
        source,
    )


def gone(page, words):
    """Wait until every desk says this, and nothing in any claims to be under way."""
    page.wait_for_function(
        """([names, words]) => names.every(name => {
          const root = document.querySelector(`.attnlab-${name}`);
          return root?.querySelector('.kernel-gone:not([hidden])')?.textContent.includes(words)
            && [...root.children].every(child => child.inert || child.matches('.kernel-gone'))
            && !/measuring|being computed|under way/.test(root.textContent); })""",
        arg=[NAMES, words],
        timeout=PATIENCE,
    )


def test_the_kernel_knows_which_of_the_two_it_runs_in(notebook, request):
    said = notebook.run_cell(2, "from attnlab.course.hosts import host; print(host().name)")
    front_end = request.node.callspec.params["notebook"]
    assert said.strip() == {"lab": "lab", "notebook_7": "notebook"}[front_end]


def test_keys_pressed_in_a_desk_reach_nobody_else(notebook):
    page = notebook.page
    page.evaluate(SPY)
    page.locator(".tuner-hand summary").click()  # for the text to paste into
    before = page.evaluate("() => cells()")
    pressed = set()
    for name in NAMES:
        root = page.locator(f".attnlab-{name}").first
        there = [sort for sort in SORTS if root.locator(f"{sort}:visible").count()]
        # what no desk before it had, and something in any case
        for sort in [sort for sort in there if sort not in pressed] or there[:1]:
            control = root.locator(f"{sort}:visible").first
            pressed.add(sort)
            for key in KEYS:
                control.evaluate("one => one.focus({ preventScroll: true })")
                page.keyboard.press(key)
    assert pressed == set(SORTS)
    page.locator(".attnlab-softmax").click(position={"x": 2, "y": 2})  # beside all controls
    for key in "00xdd":
        page.keyboard.press(key)
    assert page.evaluate("() => leaked.filter(key => !/Control|Shift|Alt/.test(key))") == []
    assert page.evaluate("() => cells()") == before
    assert page.locator(".jp-Dialog").count() == 0
    assert notebook.complaints == []


def test_keys_still_do_their_work_and_commands_of_the_page_pass(notebook):
    page = notebook.page
    fader = page.locator("input[data-layer='2'][data-head='3']").first
    fader.focus()
    page.keyboard.press("0")
    assert fader.input_value() == "0"
    page.keyboard.press("1")
    page.keyboard.press("ArrowLeft")
    assert fader.input_value() == "0.95"
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.head") == "4"
    text = page.get_by_label("Text to translate")
    text.fill("")
    text.press_sequentially("xdd00")
    assert text.input_value() == "xdd00"
    page.evaluate("() => { window.leaked = []; }")
    page.keyboard.press("Control+s")
    assert "s" in page.evaluate("() => leaked")
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")


def test_every_desk_works_while_another_cell_runs(notebook):
    shown(notebook)
    page = notebook.page
    start_cell(page, "time.sleep(300)")  # it is interrupted below
    for name, control, drawn in WORKED:
        root = page.locator(f".attnlab-{name}").first
        before = root.get_attribute(drawn)
        root.locator(control).first.press("ArrowRight" if "grid" in control else "ArrowLeft")
        page.wait_for_function(
            "([name, drawn, before]) => "
            "document.querySelector(`.attnlab-${name}`).getAttribute(drawn) !== before",
            arg=[name, drawn, before],
        )
    page.locator(".attnlab-translation input[type=range]").nth(1).press("0")
    page.locator("input[data-layer='5'][data-head='1']").first.press("0")
    page.wait_for_selector(".attnlab-translation .score[data-state=measured]")
    page.wait_for_function(
        """() => { const root = document.querySelector('.attnlab-desk:not(.attnlab-translation)');
        const { state, stamp } = root.querySelector('.desk-accuracy').dataset;
        return state === 'measured' && stamp === root.dataset.stamp; }"""
    )
    page.get_by_label("Which layers").first.select_option(index=0)
    assert not page.evaluate("() => window.ran"), "the cell ended before the desks had answered"
    page.evaluate("() => { jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    page.wait_for_function("() => window.ran")
    assert notebook.complaints == []


def test_every_desk_says_when_its_kernel_is_gone(notebook):
    page = notebook.page
    if "/lab/" not in page.url:  # in Notebook 7 the server goes, and with it the connection
        notebook.server.send_signal(signal.SIGKILL)
        gone(page, "The connection to the kernel was lost. Run this cell again.")
        return
    page.evaluate(
        "() => { jupyterapp.shell.currentWidget.context.sessionContext.restartKernel(); }"
    )
    gone(page, "The kernel was restarted. Run this cell again.")
    notebook.wait_idle()
    notebook.run_cell(1, "import attnlab as al\nal.SoftmaxDesk()")
    page.wait_for_selector(".attnlab-softmax[data-stamp]")
    assert not page.locator(".kernel-gone").is_visible()
    start_cell(page, "import os; os._exit(1)")  # it dies, and Jupyter starts it again
    page.locator(".kernel-gone", has_text="The kernel was restarted. Run this cell").wait_for()
