"""bertviz in a self-contained frame: drawn the first time, with no network, wherever HTML is shown.

bertviz loads its JavaScript libraries from the network and hands them over through require.js,
which JupyterLab does not have. Here its script runs unchanged inside a frame that already holds d3
and jQuery, taken from packages that carry them.
"""

import functools
import html
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnlab.errors import AttnlabError, suggest
from attnlab.files import atomic_write
from attnlab.heads.maps import WHATS, AttentionMaps, CrossMaps, Seq2SeqMaps, What
from attnlab.show import plots

Kind = Literal["head", "model"]
MAX_LINES = 120_000  # a browser draws one line per pair of tokens and head; more than this is slow

_FEW_LAYERS = 3  # whose small maps may stand in several rows for each layer
_STRONGEST = 0.75  # opacity of the strongest pair of tokens, its heads' lines over each other
_COLOURS = [  # d3's ten repeat from the eleventh head on
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
    "#00005c",
    "#006d2c",
    "#e6ab02",
    "#67001f",
    "#5ab4ac",
    "#c51b7d",
]
_ALONE = "#54278f"  # the lines of a single head: purple, as attention is in drawings and desks


class AttentionView:
    """An interactive picture of attention with a still one beside it.

    ``_repr_html_`` shows it in a notebook; `save_html` writes it as a page of its own. The still
    picture stays where scripts are dropped, as in a saved notebook that is not trusted.
    """

    def __init__(
        self,
        frame: str | None,
        twin: plots.Picture,
        width: int,
        height: int,
        title: str,
        still: int = 320,
    ):
        self._frame, self.twin, self._title, self._still = frame, twin, title, still
        self._width, self._height = width, height

    def _repr_html_(self) -> str:
        still = self.twin._repr_html_().replace("<img ", '<img style="max-width:100%" ')
        if self._frame is None:
            return still
        # in single quotes, as scripts are full of double ones: fewer characters to escape
        page = self._frame.replace("&", "&amp;").replace("'", "&#39;")
        return (
            '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">'
            f'<iframe title="{html.escape(self._title)}" sandbox="allow-scripts" '
            f'style="border:0;background:#fff;width:{self._width}px;max-width:100%;'
            f'height:{self._height}px" '
            f"srcdoc='{page}'></iframe>"
            f'<div style="flex:1 1 {self._still}px;max-width:560px">{still}</div></div>'
        )

    def __repr__(self) -> str:
        return f"AttentionView({self._title})"

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a page that any browser opens, with no network."""
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{html.escape(self._title)}</title><body>{self._repr_html_()}</body></html>"
        )
        return atomic_write(path, page.encode("utf-8"))


def attention_view(
    maps: AttentionMaps,
    kind: Kind = "head",
    layers: list[int] | None = None,
    what: What = "weights",
    layer: int | None = None,
    heads: list[int] | None = None,
    stretched: bool = False,
    cmap: str = "cividis",
) -> AttentionView:
    """Show attention in bertviz.

    Parameters
    ----------
    maps : from clf.attend(text)
    kind : "head" draws the heads of one layer over each other, with a layer to choose; "model"
        draws all heads of the layers as thumbnails
    layers : which layers to put in; default all. Fewer make a smaller notebook.
    what : "weights", "scaled" (weights × scale), "contributions" (strongest drawn as 1), or
        "difference", which has a sign and is therefore drawn as a heat map only
    layer, heads : what is selected at first, for "head"; default: the first layer given, all heads
    stretched : whether the still picture shows small weights on a stretched scale, as
        `plots.attention_map` does
    cmap : of the still picture, a colour map of matplotlib's

    The still picture shows the head that is selected at first, or the mean of its layer; where
    nothing is selected among several layers, all heads as small maps, larger ones of few layers.

    Raises
    ------
    AttnlabError : unknown kind or layer; a text so long that the browser would choke on it
    """
    if kind not in ("head", "model"):
        raise AttnlabError(f"There is no kind {kind!r}. {suggest(kind, ('head', 'model'))}")
    if what not in WHATS:
        raise AttnlabError(f"There is no picture {what!r}. {suggest(what, WHATS)}")
    layers = list(range(maps.layers)) if layers is None else list(layers)
    if not layers:
        raise AttnlabError("layers is an empty list. Name at least one layer, or leave it out.")
    for number in layers:
        maps.check_place(number)
    several = len(layers) > 1 and layer is None and heads is None and what == "weights"
    layer = layers[0] if layer is None else layer
    if layer not in layers:
        raise AttnlabError(f"Layer {layer} is not among the layers put in, {layers}.")
    title = f"Attention ({WHATS[what]}) of {len(maps.tokens)} tokens"
    if several:
        few = len(layers) <= _FEW_LAYERS
        twin = plots.attention_grid(
            maps, layers=layers, across=_across(maps.heads) if few else None, cmap=cmap
        )
    else:
        single = heads[0] if heads and len(heads) == 1 else None
        twin = plots.attention_map(maps, layer, single, what, stretched, cmap)
    if what == "difference":
        return AttentionView(None, twin, 0, 0, title)
    check_budget(maps, kind, layers)
    width, height = _size(kind, len(maps.tokens), len(layers), maps.heads)
    frame = library() + drawing(maps, kind, layers, what, layer, heads)
    # narrower than that, small maps can no longer be told apart: they stand below, then
    still = 320 if not several else 480 if few else 560
    return AttentionView(frame, twin, width, min(height, 900), title, still)


def translation_view(maps: Seq2SeqMaps, kind: Kind = "head") -> AttentionView:
    """Show the attention of an encoder-decoder model in bertviz, cross-attention first.

    Parameters
    ----------
    maps : from translator.attend(source)
    kind : "head" draws the heads of one layer over each other, with a layer to choose; "model"
        draws all heads of all layers as thumbnails

    Cross-attention has the predicted tokens on the left and the source on the right; the decoder's
    own attention is between the tokens that are fed to it.

    Raises
    ------
    AttnlabError : unknown kind; texts so long that the browser would choke on them
    """
    if kind not in ("head", "model"):
        raise AttnlabError(f"There is no kind {kind!r}. {suggest(kind, ('head', 'model'))}")
    # rows look at columns
    parts: dict[str, tuple[AttentionMaps | CrossMaps, list[str], list[str]]] = {
        "cross: output → source": (maps.cross, maps.cross.target, maps.cross.source),
        "decoder: fed → fed": (maps.decoder, maps.decoder.tokens, maps.decoder.tokens),
        "encoder: source → source": (maps.encoder, maps.encoder.tokens, maps.encoder.tokens),
    }
    source, target = maps.cross.source, maps.cross.target
    lines = max(
        part.heads * len(rows) * len(columns) * (part.layers if kind == "model" else 1)
        for part, rows, columns in parts.values()
    )
    if lines > MAX_LINES:
        raise AttnlabError(
            f"{len(source)} source and {len(target)} output tokens make {lines:,} lines, too many "
            "for a browser. "
            "Shorten the text, or draw one head with al.plots.alignment(maps, layer, head)."
        )
    layers = max(maps.encoder.layers, maps.cross.layers)
    heads = min(part.heads for part, _, _ in parts.values())
    width, height = _size(kind, max(len(source), len(target)), layers, heads)
    title = f"Attention of a translation, {len(source)} to {len(target)} tokens"
    frame = library() + _chosen_drawing(parts, kind)
    return AttentionView(frame, plots.attention_kinds(maps), width, min(height + 24, 900), title)


def _across(heads: int) -> int:
    """How many small maps stand in a row: at most eight, and as many in each row."""
    rows = -(-heads // 8)
    return -(-heads // rows)


def _size(kind: Kind, tokens: int, layers: int, heads: int) -> tuple[int, int]:
    """Width and height in pixels of what bertviz draws."""
    if kind == "head":
        return 360, round(22.5 * tokens + 30 + 50)
    thumbnail = tokens * 7 * 12 / heads + 10
    detail = tokens * 18 + 55
    return 1000, round(max(layers * thumbnail + 38, detail) + 40)


def check_budget(maps: AttentionMaps, kind: Kind, layers: list[int]) -> None:
    """Raise AttnlabError if the picture has more lines than a browser draws quickly."""
    drawn = maps.heads * len(maps.tokens) ** 2 * (len(layers) if kind == "model" else 1)
    if drawn > MAX_LINES:
        most = int((MAX_LINES / (drawn / len(maps.tokens) ** 2)) ** 0.5)
        raise AttnlabError(
            f"{len(maps.tokens)} tokens make {drawn:,} lines, too many for a browser; about "
            f"{most} tokens "
            "would do. Shorten the text, name fewer layers, or draw one head with "
            "al.plots.attention_map(maps, layer, head)."
        )


@functools.cache
def library() -> str:
    """The part of a frame that never changes: d3, jQuery, and the shim that hands them over."""
    d3 = _packaged("mpld3", "js/d3.v5.min.js")
    jquery = _packaged("sphinxcontrib.jquery", "jquery.js")
    shim = (
        "window.require=window.requirejs=(names,f)=>f(window.jQuery,window.d3);require.config=()=>{};"
        f"console.log=()=>{{}};d3.schemeCategory10={json.dumps(_COLOURS)};"
        # numbers travel as whole thousandths, which are shorter
        "window.thousandths=p=>{const f=x=>Array.isArray(x)?x.map(f):x/1000;"
        "p.attention.forEach(a=>{a.attn=f(a.attn)});return p};"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Attention</title>'
        "<style>body{margin:4px;background:#fff;color:#000;font-family:system-ui,sans-serif}</style>"
        f"<script>{d3}</script><script>{jquery}</script><script>{shim}</script>"
    )


def drawing(
    maps: AttentionMaps,
    kind: Kind,
    layers: list[int],
    what: What,
    layer: int,
    heads: list[int] | None,
    stronger: float = 1.0,
) -> str:
    """The part of a frame that changes: the numbers, so much stronger, and bertviz's script."""
    values = maps.of(what)[layers].double().numpy()
    if what == "contributions":
        values = values / max(values.max(), 1e-12)
    values = values * stronger
    values = _in_thousandths(values)
    tokens = plots.readable(maps.tokens)
    parts = {"All": (slice(None), slice(None))}
    if maps.second_start is not None:
        first, second = slice(0, maps.second_start), slice(maps.second_start, None)
        parts |= {
            "Text A → Text A": (first, first),
            "Text A → Text B": (first, second),
            "Text B → Text A": (second, first),
            "Text B → Text B": (second, second),
        }
    attention = [
        {
            "name": name,
            "attn": values[:, :, rows, columns].tolist(),
            "left_text": tokens[rows],
            "right_text": tokens[columns],
        }
        for name, (rows, columns) in parts.items()
    ]
    params = _params(attention, layers, maps.heads, layer, heads)
    script = _script(kind, f"thousandths({_embedded(params)})")
    if heads is not None and len(heads) == 1:
        script = f"d3.schemeCategory10[{heads[0] % len(_COLOURS)}]={json.dumps(_ALONE)};{script}"
    choices = "".join(
        f'<option value="{index}">{name}</option>' for index, name in enumerate(parts)
    )
    select = (
        f'Attention: <select id="filter" aria-label="Attention">{choices}</select>'
        if len(parts) > 1
        else ""
    )
    choose = 'Layer: <select id="layer" aria-label="Layer"></select> ' if kind == "head" else ""
    return (
        f'<body><div id="view"><span>{choose}{select}</span><div id="vis"></div></div>'
        f"<script>{script}</script>"
    )


def opacity(maps: AttentionMaps, layer: int, what: What, heads: list[int] | None) -> float:
    """How much stronger lines must be for the strongest to be seen well.

    bertviz draws a line with the opacity weight / heads, which leaves nothing to be seen of twelve
    heads that are turned down.
    """
    values = maps.of(what)[layer].double()
    if what == "contributions":
        values = values / max(float(values.max()), 1e-12)
    drawn = values if heads is None else values[heads]
    strongest = float(drawn.mean(0).max()) if len(drawn) else 0.0
    return max(1.0, _STRONGEST / strongest) if strongest > 0 else 1.0


def _chosen_drawing(
    parts: dict[str, tuple[AttentionMaps | CrossMaps, list[str], list[str]]], kind: Kind
) -> str:
    """As `drawing`, of one part at a time: bertviz's own choice needs parts of the same depth."""
    all_params = []
    for name, (maps, rows, columns) in parts.items():
        values = _in_thousandths(maps.weights.double().numpy()).tolist()
        part = {"name": name, "attn": values, "left_text": rows, "right_text": columns}
        all_params.append(_params([part], list(range(maps.layers)), maps.heads, 0, None))
    choices = "".join(
        f'<option value="{index}">{name}</option>' for index, name in enumerate(parts)
    )
    choose = 'Layer: <select id="layer" aria-label="Layer"></select>' if kind == "head" else ""
    return (
        f'<body><span>Attention: <select id="part" aria-label="Attention">{choices}</select></span>'
        f'<div id="view"></div><script>const parts = {_embedded(all_params)}.map(thousandths);'
        f"const bertviz = shown => {{{_script(kind, 'shown')}}};"
        "const draw = index => {document.getElementById('view').innerHTML = "
        f"'<span>{choose}</span><div id=\"vis\"></div>'; bertviz(parts[index]);}};"
        "document.getElementById('part').onchange = event => draw(event.target.value); "
        "draw(0);</script>"
    )


def _params(
    attention: list[dict[str, Any]],
    layers: list[int],
    total_heads: int,
    layer: int,
    heads: list[int] | None,
) -> dict[str, Any]:
    """What bertviz's script reads."""
    return {
        "attention": attention,
        "default_filter": "0",
        "root_div_id": "view",
        "layer": layer,
        "heads": heads,
        "include_layers": layers,
        "include_heads": list(range(total_heads)),
        "total_heads": total_heads,
        "display_mode": "light",
    }


def _in_thousandths(values: np.ndarray) -> np.ndarray:
    return np.rint(1000 * values).astype(int)


def _embedded(data: Any) -> str:
    """JSON that may stand in a script: a token may hold "</script>", and only strings hold "<"."""
    data = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return data.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _script(kind: Kind, params: str) -> str:
    """bertviz's script, which gets its numbers from this expression."""
    script, count = re.subn(
        r"const params = PYTHON_PARAMS;.*",
        lambda _: f"const params = {params};",
        _packaged("bertviz", f"{kind}_view.js"),
        count=1,
    )
    if count != 1:
        raise AttnlabError(
            "This version of bertviz has another script than the one attnlab knows. "
            "Install the pinned one: pip install bertviz==1.4.1."
        )
    return script


@functools.cache
def _packaged(package: str, file: str) -> str:
    """A file that an installed package carries, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AttnlabError(
            f"The package {package} is missing; the view needs {file} of it. Install attnlab again."
        )
    return (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")
