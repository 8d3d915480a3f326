"""A desk on a page of its own: its view and a model that nobody answers, with no Jupyter."""

import json

import numpy as np

import attnlab as al
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import BARS, palettes
from attnlab.show.widgets.mixing import to_faders

THEMES = {  # JupyterLab's own colours
    "light": "--jp-ui-font-color1: rgba(0,0,0,.87); --jp-ui-font-color2: rgba(0,0,0,.54);"
    "--jp-layout-color1: white; --jp-layout-color2: #eee; --jp-border-color2: #e0e0e0",
    "dark": "--jp-ui-font-color1: white; --jp-ui-font-color2: rgba(255,255,255,.7);"
    "--jp-layout-color1: #111; --jp-layout-color2: #424242; --jp-border-color2: #616161",
}
PAGE = """<!doctype html><meta charset="utf-8">
<style>body {{ margin: 0; {theme}; background: {paper} }}
{style}</style><div id="here"></div><script type="module">
const state = {state}, hooks = {{}};
window.sent = [];
window.model = {{ get: (name) => state[name], save_changes() {{}}, off() {{}},
  set(name, value) {{ state[name] = value; hooks[`change:${{name}}`]?.forEach((f) => f()); }},
  on: (name, f) => (hooks[name] ??= []).push(f),
  send(message) {{ window.sent.push(message);
    hooks["msg:custom"]?.forEach((f) => f({{ pong: true }})); }} }};
const source = new Blob([{source}], {{ type: "text/javascript" }});
const view = await import(URL.createObjectURL(source));
view.default.render({{ model: window.model, el: document.getElementById("here") }});
window.ready = true;</script>"""
# Contrast of an element's text with what is behind it (WCAG 2.1).
CONTRAST = """element => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const grounds = [];
  for (let at = element; at; at = at.parentElement)
    grounds.unshift(getComputedStyle(at).backgroundColor);
  const paint = (colours) => { canvas.fillStyle = 'white'; canvas.fillRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const [a, b] = [paint(grounds), paint([...grounds, getComputedStyle(element).color])];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }"""


def open_desk(page, widget, sheets, state, theme="light"):
    """Show a view on this page with this state of its model."""
    made = PAGE.format(
        theme=THEMES[theme],
        paper={"light": "white", "dark": "#111"}[theme],
        style=style(*sheets),
        state=json.dumps(state).replace("</", "<\\/"),
        source=json.dumps(script(widget)).replace("</", "<\\/"),
    )
    page.goto("about:blank")
    page.set_content(made)
    page.wait_for_function("() => window.ready")


def mixer(page, theme="light", **changes):
    """A mixing desk of 6 layers and 12 heads that has measured half of its heads silenced."""
    settings = al.HeadSettings(6, 12)
    settings.scale[:, ::2] = 0
    tokens = [
        "[CLS]",
        *[
            "a",
            "warm",
            ",",
            "funny",
            "and",
            "beautifully",
            "acted",
            "film",
            "without",
            "an",
            "end",
            ".",
        ],
        "[SEP]",
    ]
    look = {"layer": 5, "head": 1, "kind": "map", "what": "scaled"}
    text = "A warm film."
    state = {
        "size": {"layers": 6, "heads": 12, "removed": []},
        "faders": to_faders(settings) | {"stamp": 1},
        "other": {},
        "side": "",
        "text": text,
        "look": look,
        "palette": palettes(),
        "can_undo": True,
        "code": "settings",
        "error": "",
        "library": "",
        "first_order": {
            "importance": np.linspace(-1, 1, 72).reshape(6, 12).tolist(),
            "use": np.ones((6, 12)).tolist(),
            "n": 0,
            "accuracy": 0.8,
        },
        "sentence": {
            "labels": ["negative", "positive"],
            "after": [0.3, 0.7],
            "before": [0.1, 0.9],
            "stamp": 1,
            "text": text,
        },
        "attention": {
            "kind": "map",
            "tokens": tokens,
            "values": np.linspace(0, 0.4, len(tokens) ** 2).reshape(len(tokens), -1).tolist(),
            "signed": False,
            "limit": 0.5,
            "label": BARS["scaled"],
            "alt": "Map",
            "note": "Rows look at columns.",
            "look": look,
            "text": text,
            "stamp": 1,
        },
        "accuracy": {
            "state": "measured",
            "accuracy": 0.745,
            "interval": [0.681, 0.8],
            "n": 200,
            "total": 200,
            "seconds": 1.0,
            "format": "",
            "side": "",
            "stamp": 1,
            "delta": -0.1,
            "low": -0.15,
            "high": -0.05,
            "p": 0.0004,
            "gained": 1,
            "lost": 21,
            "flips": [
                {"text": "Good.", "after": "negative", "label": "positive", "right": False},
                {"text": "Bad.", "after": "negative", "label": "negative", "right": True},
            ],
        },
    }
    open_desk(page, "mixer", ("grids", "mixer"), state | changes, theme)
