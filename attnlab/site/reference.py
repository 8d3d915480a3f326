"""Pages of an API reference for Sphinx: a page for each room, a directive for each public name."""

import importlib
import inspect
import textwrap
from pathlib import Path
from types import ModuleType

import attnlab

__all__ = ["ROOMS", "write_reference"]

ROOMS = (  # in the order of the lessons
    "attention",
    "transformer",
    "datasets",
    "training",
    "translation",
    "language",
    "classification",
    "tagging",
    "heads",
    "evaluation",
    "balance",
    "economics",
    "compression",
    "vision",
    "adaptive",
    "applications",
    "show.plots",
    "show.drawings",
    "show.views",
    "show.widgets",
    "course.checks",
    "site",
    "device",
    "statistics",
    "errors",
)

_LONGEST = 200  # characters of a constant
_NAMES = [name for name in dir(attnlab) if name != "__version__"]


def write_reference(folder: Path) -> list[str]:
    """Write the pages; return them as the table of contents names them, relative to the parent."""
    folder.mkdir(parents=True)
    for room in ROOMS:
        module = importlib.import_module(f"attnlab.{room}")
        text = "\n".join([*_heading(room), *_module(module, _public(module))])
        (folder / f"{room}.rst").write_text(text, encoding="utf-8")
    (folder / "index.rst").write_text("\n".join(_index()), encoding="utf-8")
    return [f"{folder.name}/{name}" for name in ("index", *ROOMS)]


def _public(module: ModuleType) -> list[str]:
    """The public names of a room; where it has no list, those of ``al`` that come from it."""
    if hasattr(module, "__all__"):
        return [f"{module.__name__}.{name}" for name in sorted(module.__all__)]
    return [f"attnlab.{name}" for name in _NAMES if f"{_home(name)}.".startswith(module.__name__)]


def _module(module: ModuleType, names: list[str]) -> list[str]:
    """What a page says of a module: its docstring, and a directive for each name."""
    lines = [f".. automodule:: {module.__name__}", ""]
    for name in names:
        place, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(place), last)
        if isinstance(value, ModuleType):
            lines += ["", *_heading(last, "-"), *_module(value, _public(value))]
        elif inspect.isclass(value):
            kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
            lines += [f".. {kind}:: {name}", "   :members:", ""]
        elif inspect.isroutine(value):
            lines += [f".. autofunction:: {name}", ""]
        else:
            shown = textwrap.shorten(repr(value), _LONGEST, placeholder=" ...")
            lines += [f".. py:data:: {last}", f"   :module: {place}", f"   :value: {shown}", ""]
    return lines


def _heading(words: str, line: str = "=") -> list[str]:
    return [words, line * len(words), ""]


def _home(name: str) -> str:
    """The module that a name of ``al`` comes from."""
    value = getattr(attnlab, name)
    return value.__name__ if isinstance(value, ModuleType) else value.__module__


def _index() -> list[str]:
    """The page of ``import attnlab as al``: each name, the room it is from, and what it is for."""
    lines = [*_heading("import attnlab as al"), ".. list-table::", "   :widths: 30 20 50", ""]
    for name in _NAMES:
        room = next(room for room in ROOMS if f"{_home(name)}.".startswith(f"attnlab.{room}."))
        summary = (inspect.getdoc(getattr(attnlab, name)) or "").partition("\n\n")[0]
        lines += [f"   * - ``al.{name}``", f"     - :doc:`{room}`"]
        lines += [f"     - {' '.join(summary.split())}"]
    return lines


def __dir__() -> list[str]:
    return sorted(__all__)
