"""The browser's side of the widgets: scripts and style sheets of static/, each as one text."""

import re
from pathlib import Path

from attnlab.files import PACKAGE

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
# a desk's own name at the start of a selector
_OWN = re.compile(r"(?<![\w-])\.attnlab-(?!widget)")
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


def script(name: str, folder: Path | None = None) -> str:
    """Return a script and all that it imports as one module, which is what anywidget takes.

    Parameters
    ----------
    name : of the script
    folder : where a module is looked for before static/, for pages that share modules with widgets

    Every imported module becomes the value of a function of its own, so none can redefine another's
    names. Understood are lines such as ``import { make, line as drawLine } from "./elements.js";``
    and ``export`` before a function, constant or class.
    """
    bundled: list[str] = []
    whole = _resolved(name, bundled, [], folder)
    return "".join(bundled) + whole


def style(*names: str, folder: Path | None = None) -> str:
    """Return elements.css and then the style sheets of these names, looked for as for `script`.

    What a sheet says of one desk (``.attnlab-curve``) outranks what is said of all of them
    (``.attnlab-widget``), also when another desk has brought the sheets of all once more.
    """
    sheets = "".join(_read(f"{name}.css", folder) for name in ("elements", *names))
    return _OWN.sub(".attnlab-widget.attnlab-", sheets)


def _resolved(name: str, bundled: list[str], above: list[str], folder: Path | None) -> str:
    """A module's text with constants for its imports; those modules are added to ``bundled``."""
    if name in above:
        raise ValueError(f"Modules import each other: {' → '.join([*above, name])}.")
    source = _read(f"{name}.js", folder)
    for imported in _IMPORT.findall(source):
        _bundle(imported[1], bundled, [*above, name], folder)
    return _IMPORT.sub(
        lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};\n",
        source,
    )


def _bundle(name: str, bundled: list[str], above: list[str], folder: Path | None) -> None:
    """Add a module, once, as the constant that holds what it exports."""
    opening = f"const {_variable(name)} = (() => {{\n"
    if any(text.startswith(opening) for text in bundled):
        return
    source = _resolved(name, bundled, above, folder)
    exports = ", ".join(_EXPORT.findall(source))
    bundled.append(f"{opening}{_EXPORT.sub('', source)}return {{ {exports} }};\n}})();\n\n")


def _variable(name: str) -> str:
    """The name of a module's constant, which no module uses itself."""
    return "$" + name.replace("-", "_")


def _read(name: str, folder: Path | None = None) -> str:
    own = PACKAGE / "show" / "static" / name
    if folder is not None and (folder / name).exists():
        own = folder / name
    return own.read_text(encoding="utf-8") + "\n"
