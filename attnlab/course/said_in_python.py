"""What our Python code says, found in its source: the texts inside `languages.tr` and `later`.

Checks have no `tr` around each text: they yield texts, and hand them to `CheckFailed`, `require`
and others, and the examiner translates what is said. So in checks each text counts that is yielded
or stands in such a call, put together from the constants of its module.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnlab.files import PACKAGE

__all__ = ["CHECKED", "texts"]

# whose checks are translated
CHECKED = ("examiner", "attention_maths", "attention_from_scratch")
_SAY = {"later": 0, "tr": 0}  # which argument of a call is a text
_CHECKS_SAY = _SAY | {"CheckFailed": 0, "Unwritten": 0, "on": 1, "require": 1, "where": 0}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all that the code in this file says; 0 where the line is not known."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    source = path.read_text(encoding="utf-8")
    if parts[:2] == ("course", "checks") and parts[2:] and parts[2] in CHECKED:
        yield from _of_checks(".".join(("attnlab", *parts)).removesuffix(".__init__"), source)
    elif "tr(" in source or "later(" in source:
        for node in ast.walk(ast.parse(source)):
            for part in _arguments(node, _SAY):
                text = _value(part, {})
                if text:
                    yield part.lineno, text


def _of_checks(name: str, source: str) -> Iterator[tuple[int, str]]:
    module = importlib.import_module(name)
    tree = ast.parse(source)
    names = dict(vars(module))
    for node in ast.walk(tree):  # texts that have a name inside a function, too
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.setdefault(node.targets[0].id, _value(node.value, names))
    for node in ast.walk(tree):
        for part in _said(node):
            text = _value(part, names)
            if text:
                yield part.lineno, text
    for mistake in getattr(getattr(module, "EXERCISE", None), "mistakes", ()):
        if mistake.compared:  # others are found, and named, in another way
            yield 0, mistake.diagnosis
    for _, hint in getattr(module, "HINTS", ()):  # about exceptions
        yield 0, hint


def _said(node: ast.AST) -> Iterator[ast.expr]:
    """What of the code of a check is a text that is said."""
    if isinstance(node, ast.Yield) and node.value is not None:
        yield node.value
    yield from _arguments(node, _CHECKS_SAY)
    if isinstance(node, ast.Call):
        yield from (word.value for word in node.keywords if word.arg == "what")


def _arguments(node: ast.AST, say: dict[str, int]) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        place = say.get(getattr(node.func, "attr", getattr(node.func, "id", "")))
        if place is not None and len(node.args) > place:
            yield node.args[place]


def _value(node: ast.expr, names: dict[str, Any]) -> str | None:
    """The text that an expression of constants is; None for any other."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        found = names.get(node.id)
        return found if isinstance(found, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, names), _value(node.right, names)
        return None if left is None or right is None else left + right
    return None


def __dir__() -> list[str]:
    return sorted(__all__)
