"""Student notebooks, built from the percent-format files in notebooks/src."""

import hashlib
from pathlib import Path

from attnlab.errors import AttnlabError
from attnlab.show.plots import write_whole

_FOLDER = Path(__file__).parent.parent.parent / "notebooks"


def build(folder: Path = _FOLDER, check: bool = False) -> list[Path]:
    """Build every notebook of ``folder``/src into ``folder``; return those that had to change.

    With ``check`` nothing is written. The result is the same byte for byte each time: cells are
    numbered by position, and there are no outputs.
    """
    sources = sorted((folder / "src").glob("*.py"))
    if not sources:
        raise AttnlabError(
            f"There are no notebook sources in {folder / 'src'}. Run this in a clone."
        )
    changed = []
    for source in sources:
        target = folder / f"{source.stem}.ipynb"
        text = convert(source.read_text(encoding="utf-8"))
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            changed.append(target)
            if not check:
                write_whole(target, text.encode("utf-8"))
    return changed


def convert(source: str) -> str:
    """One percent-format source as the text of a notebook without outputs."""
    import jupytext
    import nbformat

    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
        "attnlab": {"source_sha256": hashlib.sha256(source.encode()).hexdigest()},
    }
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:03d}"
        cell.metadata = {}
    notebook.nbformat_minor = 5
    return nbformat.writes(notebook) + "\n"
