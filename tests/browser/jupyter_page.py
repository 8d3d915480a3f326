"""A Jupyter server, a browser, and a notebook worked as a person would."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).parents[2]
SHOTS = Path(__file__).parent / "shots"
# Milliseconds that a test waits for what has to come: it goes on as soon as it is there, so that
# only a busy machine ever needs them.
PATIENCE = 180_000
REQUIRED = os.environ.get("ATTNLAB_BROWSER_TESTS") == "required"
# threads that wait for each other crawl when something else needs the processor
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# a picture that a cell asked for, not the one that stands in for a desk without a kernel
ASKED_FOR = ":not([data-attnlab-still] *)"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Texts that stick out of their own frame, and words of charts that stick out of the widget.
CUT = """root => { const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), cut = [];
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.data.trim()) continue;
    if (text.parentElement.closest('svg, option, details:not([open]) > div')) continue;
    let frame = text.parentElement;
    while (getComputedStyle(frame).display === 'inline') frame = frame.parentElement;
    const range = document.createRange();
    range.selectNode(text);
    const [inner, outer] = [range.getBoundingClientRect(), frame.getBoundingClientRect()];
    if (inner.right > outer.right + 1 || inner.left < outer.left - 1) cut.push(text.data); }
  return cut; }"""
OUTSIDE = """root => { const edge = root.getBoundingClientRect();
  return [...root.querySelectorAll('svg text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < edge.left || box.right > edge.right
      || box.bottom > edge.bottom); }).map(text => text.textContent); }"""

SCROLLS = """root => [...root.querySelectorAll(':not(input)')].filter(element =>
  element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
  && getComputedStyle(element).overflowX !== 'visible').map(element => element.className)"""
# Where the parts of a desk stand whenever it says something new.
RECORD = """([desk, parts]) => { window.seen = [];
  const look = () => { const root = document.querySelector(`.jp-OutputArea ${desk}`);
    if (!root?.dataset.state) return;
    const from = root.getBoundingClientRect();
    const places = parts.map(part => { const box = root.querySelector(part).getBoundingClientRect();
      return [box.x - from.x, box.y - from.y, box.width, box.height].map(Math.round); });
    window.seen.push({ state: root.dataset.state, stamp: root.dataset.stamp ?? '', places }); };
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, attributes: true, attributeFilter:
      ['data-state', 'data-stamp', 'data-shown', 'data-rounds', 'data-count'] }); }"""


def chromium() -> str:
    """The browser's path; without one the tests are skipped loudly, or fail where required."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("ATTNLAB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        message = (
            "NO BROWSER: no Chromium found, browser tests did not run. "
            "Try: apt-get install chromium"
        )
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command, url, folder, env=None):
    """Run a Jupyter server with settings of its own, and end it with all its kernels.

    Yields its process.
    """
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "ATTNLAB_PROFILE": "ci",
        **(env or {}),
    }
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
    )
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url, timeout=2).read()
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.2)
        else:
            pytest.fail("the server did not answer: " + (folder / "server.log").read_text())
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


@dataclass(frozen=True)
class Jupyter:
    """A running Jupyter server, and the folder that its notebooks are in."""

    base: str
    token: str
    place: str
    notebooks: Path
    process: subprocess.Popen

    def address(self, name):
        """Where a browser finds a notebook."""
        return f"{self.base}/{self.place}/{name}?token={self.token}&reset"

    def end_kernels(self, name):
        """End the kernels of a notebook."""
        for session in json.loads(self._ask("sessions")):
            if session["path"] == name:
                self._ask(f"sessions/{session['id']}", "DELETE")

    def _ask(self, what, method="GET"):
        url = f"{self.base}/api/{what}?token={self.token}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as said:
            return said.read()


@contextlib.contextmanager
def jupyter(root, folder, env=None, app="jupyterlab"):
    """Run JupyterLab, or Notebook 7 ("notebook"), on the notebooks in ``root``; a `Jupyter`."""
    token, port = secrets.token_hex(8), free_port()
    options = [
        "--no-browser",
        f"--port={port}",
        "--ip=127.0.0.1",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}",
        "--allow-root",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        "--ServerApp.port_retries=0",
    ]
    base = f"http://127.0.0.1:{port}"
    place = {"jupyterlab": "lab/tree", "notebook": "notebooks"}[app]
    command = [sys.executable, "-m", app, *options]
    with server(command, f"{base}/api?token={token}", folder, env) as process:
        yield Jupyter(base, token, place, Path(root), process)


def without_news(folder):
    """Settings, in this folder, with which JupyterLab asks no other machine for news or updates."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )


@contextlib.contextmanager
def on_cells(lab, sources):
    """A new notebook with code cells of these sources on a `Jupyter`; the notebook's file.

    Its kernel ends with the block.
    """
    path = lab.notebooks / f"ours-{len([*lab.notebooks.glob('ours-*')])}.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    made = nbformat.v4.new_notebook(cells=cells, metadata=kernel)  # without, JupyterLab would ask
    nbformat.write(made, path)
    try:
        yield path
    finally:
        if lab.process.poll() is None:
            lab.end_kernels(path.name)


@contextlib.contextmanager
def opened_on_cells(browser, lab, sources):
    """A notebook with code cells of these sources, the first of which has run.

    Its ``complaints`` are the errors of the page, its ``server`` the server's process.
    """
    with on_cells(lab, sources) as path:
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        context.set_default_timeout(PATIENCE)
        notebook = Notebook.open(context, lab.address(path.name))
        notebook.server, notebook.complaints = lab.process, []
        notebook.page.on("pageerror", lambda error: notebook.complaints.append(str(error)))
        assert notebook.run_cell(0) == ""
        yield notebook
        context.close()


@contextlib.contextmanager
def drawn_anew(notebook, ready):
    """The desk of the second cell, run again, from when this selector is there; no complaints."""
    notebook.complaints.clear()
    assert "Error" not in notebook.run_cell(1)
    notebook.page.wait_for_selector(ready)
    yield
    assert notebook.complaints == []


def choose_theme(page, theme):
    """Switch JupyterLab to a theme such as "JupyterLab Dark"."""
    page.evaluate(
        f"() => {{ jupyterapp.commands.execute('apputils:change-theme', {{ theme: '{theme}' }}); }}"
    )
    page.wait_for_function(f"() => document.body.dataset.jpThemeName === '{theme}'")
    page.wait_for_timeout(500)


def watch(page, desk, parts):
    """Note, from now on, where these parts of a desk stand whenever it says something new."""
    page.evaluate(RECORD, [desk, parts])


def nothing_jumped(page):
    """Each part that is watched always stood in one place; return what was seen."""
    seen = page.evaluate("() => window.seen")
    assert len({json.dumps(one["places"]) for one in seen}) == 1, "something jumped"
    return seen


def everyone_can_read(page, root, shot, height=600, width=900):
    """Nothing is cut or sticks out, it fits the screen, and axe finds nothing, in both themes."""
    selector = "." + root.get_attribute("class").split()[1]
    root.evaluate("one => one.scrollIntoView({ block: 'start' })")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        choose_theme(page, theme)
        assert root.get_attribute("data-dark") == str("Dark" in theme).lower()
        found = Axe().run(page, context=selector)
        assert found.violations_count == 0, found.generate_report()
        if SHOTS.is_dir():
            root.screenshot(path=SHOTS / f"{shot}-{theme.split()[1].lower()}.png")
    assert root.evaluate(CUT) == []
    assert root.evaluate(OUTSIDE) == []
    assert root.evaluate(SCROLLS) == []
    box = root.bounding_box()
    assert box["height"] <= height
    assert box["width"] <= width
    fits_every_screen(page, root)


def fits_every_screen(page, root):
    """On a phone no word is cut or sticks out, and on a wide screen it takes the width it has."""
    before = page.viewport_size
    page.evaluate("() => jupyterapp.shell.collapseLeft()")
    for width in (390, 1920):
        page.set_viewport_size({"width": width, "height": 1400})
        page.wait_for_timeout(500)
        root.evaluate("one => one.scrollIntoView({ block: 'start' })")
        page.wait_for_timeout(500)
        words = root.evaluate(CUT) + root.evaluate(OUTSIDE)
        assert not words, f"at {width} pixels: {words}"
        assert root.evaluate("one => one.parentElement.clientWidth - one.offsetWidth") <= 1
        assert (width > 1000) == (root.bounding_box()["width"] > 1500)
    page.evaluate("() => jupyterapp.shell.expandLeft()")
    page.set_viewport_size(before)
    page.wait_for_timeout(500)


class Notebook:
    """One notebook in JupyterLab, worked as a person would."""

    def __init__(self, page):
        self.page = page

    @classmethod
    def open(cls, context, url):
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        notebook = cls(page)
        notebook.wait_idle()
        return notebook

    def wait_idle(self):
        self.page.wait_for_function(
            "() => jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status"
            " === 'idle'"
        )

    def command(self, name):
        # without the promise: page.evaluate has no time-out
        self.page.evaluate(f"() => {{ jupyterapp.commands.execute('{name}'); }}")

    def run_all(self, above=None):
        """Run all cells, or those above one; wait for the last, and fail with the first error."""
        self.page.evaluate(
            """above => { const nb = jupyterapp.shell.currentWidget.content; window.ran = false;
            if (above !== null) nb.activeCellIndex = above;
            jupyterapp.commands.execute(above === null ? 'notebook:run-all-cells'
              : 'notebook:run-all-above').finally(() => { window.ran = true; }); }""",
            above,
        )
        self.page.wait_for_function("() => window.ran", timeout=5 * PATIENCE)
        errors = self.page.evaluate(
            """() => jupyterapp.shell.currentWidget.content.widgets
            .filter(c => c.model.type === 'code')
            .flatMap(c => c.model.outputs.toJSON()).filter(o => o.output_type === 'error')
            .map(o => `${o.ename}: ${o.evalue}`)"""
        )
        assert errors == []

    def show(self, selector):
        """Bring an output into view (cells outside are not drawn) and return its locator."""
        found = self.page.locator(f".jp-OutputArea {selector}").first
        count = self.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")
        for cell in range(count):
            if found.count():
                break
            self.page.evaluate(
                f"() => {{ const nb = jupyterapp.shell.currentWidget.content;"
                f" nb.activeCellIndex = {cell}; nb.scrollToItem({cell}); }}"
            )
            self.page.wait_for_timeout(100)
        found.wait_for()
        found.scroll_into_view_if_needed()
        return found

    def run_cell(self, index, source=None):
        """Run one cell, with another source if given; return the text of its outputs."""
        self.page.evaluate(
            """([index, source]) => { const nb = jupyterapp.shell.currentWidget.content;
            window.ran = false;
            if (source !== null) nb.widgets[index].model.sharedModel.setSource(source);
            nb.deselectAll(); nb.activeCellIndex = index;
            jupyterapp.commands.execute('notebook:run-cell')
              .finally(() => { window.ran = true; }); }""",
            [index, source],
        )
        self.page.wait_for_function("() => window.ran", timeout=2 * PATIENCE)
        return self.page.evaluate(
            """(index) => jupyterapp.shell.currentWidget.content.widgets[index]
            .model.outputs.toJSON().map(o => o.text ?? (o.traceback ?? []).join('\\n')).join('')""",
            index,
        )

    def cell_with(self, code):
        """The number of the first code cell whose source holds this."""
        return self.page.evaluate(
            """code => jupyterapp.shell.currentWidget.content.widgets.findIndex(c =>
            c.model.type === 'code' && c.model.sharedModel.getSource().includes(code))""",
            code,
        )

    def cell(self, kind, name):
        """The number of the cell whose source marks it as the exercise, or check, of this name."""
        return self.page.evaluate(
            """([kind, name]) => jupyterapp.shell.currentWidget.content.widgets
            .findIndex(c => (c.model.sharedModel.metadata.attnlab ?? {})[kind] === name)""",
            [kind, name],
        )
