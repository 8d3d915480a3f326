"""Docstrings in the house's style as reStructuredText.

It is numpydoc's style but for one thing: what follows ``name :`` is a description, not a type, as
types stand in the signature.
"""

import re
from collections.abc import Iterator

__all__ = ["as_rst"]

_ENTRIES = ("Attributes", "Parameters", "Raises", "Returns", "Yields")


def as_rst(docstring: str) -> str:
    """Return a docstring whose sections are headings and lists that reStructuredText knows.

    >>> print(as_rst("Add.\\n\\nParameters\\n----------\\na, b : numbers, of any\\n    size"))
    Add.
    <BLANKLINE>
    .. rubric:: Parameters
    <BLANKLINE>
    ``a, b``
        numbers, of any
        size
    """
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", docstring, flags=re.M)
    made = [parts[0].rstrip()]
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        lines = "\n".join(_entries(text)) if title in _ENTRIES else text
        made += ["", f".. rubric:: {title}", "", lines.strip("\n")]
    return "\n".join(made)


def _entries(text: str) -> Iterator[str]:
    """The lines of a section of entries as a list of definitions, and prose as it is."""
    lines = text.strip("\n").splitlines()
    before = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        entry = re.match(r"([\w`*., ]+?) :(?: (.*)|$)", line)
        if entry or (re.fullmatch(r"[\w.]+", line) and following.startswith("    ")):
            name, told = entry.groups() if entry else (line, "")
            yield from ("", f"``{name.strip('`')}``")
            if told:
                yield f"    {told}"
        else:
            starts = line.startswith("    - ") and not before.startswith(("    - ", "      "))
            if starts or (line[:1] not in (" ", "") and before[:1] in (" ", "")):
                yield ""  # before a list, and before prose
            yield line
        before = line


def __dir__() -> list[str]:
    return sorted(__all__)
