"""Widgets in a front end that is not Jupyter's, which loads them as Colab does.

The page stands in for Colab's output frame: each widget's script is one module from a blob URL, no
other script may load, nothing of JupyterLab is there, and the model tells no more than anywidget
promises (get, set, save_changes, on, off, send). What it saves reaches the real desk in Python,
whose new state comes back. Colab itself cannot be reached from a test.
"""

import base64
import json
import re

import pytest

import attnlab as al
from attnlab.show.widgets.desk import Desk

PAGE = """<!doctype html><html lang="en"><title>output frame</title>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline';
  img-src data: blob:; frame-src 'self' about: blob: data:">
<body><main></main><script>
class Model {
  constructor(state) { this.state = state; this.changes = {}; this.callbacks = []; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = this.changes[name] = value; this.fire(`change:${name}`); }
  on(name, callback) { this.callbacks.push([name, callback]); }
  off(name, callback) {
    this.callbacks = this.callbacks.filter(([n, c]) => n !== name || (callback && c !== callback));
  }
  fire(name, ...said) {
    for (const [wanted, callback] of [...this.callbacks]) if (wanted === name) callback(...said);
  }
  async save_changes() {
    const changes = this.changes; this.changes = {};
    this.take(JSON.parse(await window.save(JSON.stringify(changes))));
  }
  async send(content) {
    if (window.kernelGone) return;
    for (const reply of await window.message(content)) this.fire("msg:custom", reply, []);
  }
  take(state) {
    for (const [name, value] of Object.entries(state)) {
      if (JSON.stringify(this.state[name]) === JSON.stringify(value)) continue;
      this.state[name] = value; this.fire(`change:${name}`);
    }
  }
}
const binary = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
async function load(script) {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try { return (await import(url)).default; } finally { URL.revokeObjectURL(url); }
}
async function show(script, style, state, buffers) {
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  for (const [name, text] of Object.entries(buffers)) state[name] = binary(text);
  window.model = new Model(state);
  const el = document.querySelector("main");
  window.end = await (await load(script)).render({ model: window.model, el });
}
window.keys = [];
for (const type of ["keydown", "keyup"]) document.addEventListener(type, (e) => keys.push(e.key));
</script>"""


@pytest.fixture
def frame(context):
    """An empty output frame; its ``complaints`` are the errors of the page."""
    page = context.new_page()
    address = "https://frame.output.example/"
    page.route(address, lambda route: route.fulfill(content_type="text/html", body=PAGE))
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.complaints.append(said.text))
    page.goto(address)
    yield page
    assert page.complaints == []
    assert context.strangers == []


def state_of(desk):
    """What the view may know, as JSON, and what is binary, as base64."""
    state, buffers = {}, {}
    for name, value in desk.get_state().items():
        if name.startswith("_") or name == "layout":
            continue
        if isinstance(value, bytes | memoryview):
            buffers[name] = base64.b64encode(value).decode()
        else:
            state[name] = value
    return json.loads(json.dumps(state)), buffers


def shown(page, desk):
    """Show a desk in the frame, with Python at the other end of its model."""
    said = []

    def save(changes):
        desk.set_state(json.loads(changes))
        return json.dumps(state_of(desk)[0])

    def message(content):
        said.clear()
        desk.send = said.append
        desk._on_message(desk, content, [])
        return said

    page.expose_function("save", save)
    page.expose_function("message", message)
    page.evaluate(
        "([script, style, state, buffers]) => show(script, style, state, buffers)",
        [desk._esm, desk._css, *state_of(desk)],
    )
    return page.locator(".attnlab-widget")


def every_widget(kind=Desk):
    """The classes with a script; a desk at work has one of its own besides, with a trait there."""
    for below in kind.__subclasses__():
        if isinstance(vars(below).get("_esm"), str):
            yield below
        yield from every_widget(below)


def test_every_widget_loads_from_a_blob_and_has_something_to_render(frame):
    for name in dir(al):
        getattr(al, name)  # so that every desk is known
    at_work = al.SoftmaxDesk()
    assert at_work._esm
    widgets = {*every_widget()}
    assert len(widgets) >= 15
    for widget in widgets:
        assert not re.search(r"\bimport\s*\(|^\s*import\s", widget._esm, re.M), widget.__name__
        found = frame.evaluate("script => load(script).then(o => typeof o.render)", widget._esm)
        assert found == "function", widget.__name__


def test_a_fader_moves_the_desk_in_python_and_its_answer_comes_back(frame):
    desk = al.SoftmaxDesk()
    root = shown(frame, desk)
    before = root.get_attribute("data-stamp")
    fader = root.locator("input[type=range]").first
    fader.focus()
    frame.keyboard.press("ArrowRight")
    frame.wait_for_function(
        "before => document.querySelector('[data-stamp]').dataset.stamp !== before", arg=before
    )
    assert desk.settings["temperature"] > 1
    assert root.get_attribute("data-stamp").startswith(f"{desk.settings['temperature']:g} ")
    assert frame.evaluate("keys") == [], "Colab's shortcuts hear keys that are meant for a fader"


def test_the_mixing_desk_silences_a_head(frame, clf, some):
    desk = al.HeadMixer(clf, some).wait()
    root = shown(frame, desk)
    assert root.locator("input[type=range]").count() >= 72
    root.locator("input[type=range][aria-label]").first.focus()
    frame.keyboard.press("Home")
    frame.wait_for_function(
        "() => model.state.faders.scale?.flat().some((x) => x !== 1) || model.state.can_undo"
    )
    assert desk.settings.scale.min() == 0
    desk.close()


def test_it_says_when_nobody_answers_though_the_front_end_knows_nothing(frame):
    frame.clock.install()
    root = shown(frame, al.SoftmaxDesk())
    frame.evaluate("() => { window.kernelGone = true; }")
    root.locator("input[type=range]").first.press("ArrowRight")
    frame.clock.run_for(11_000)
    assert "does not answer" in root.inner_text()


def test_a_view_that_is_taken_off_the_page_listens_to_nothing(frame):
    shown(frame, al.SoftmaxDesk())
    frame.evaluate("() => end()")
    assert frame.evaluate("() => model.callbacks.length") == 0
