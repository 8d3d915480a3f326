"""Notebooks are built from their source, and every cell of them runs."""

import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from attnlab.course import notebooks
from attnlab.errors import AttnlabError

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted((FOLDER / "src").glob("*.py"))
sources = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def test_notebooks_match_their_source():
    assert notebooks.build(FOLDER, check=True) == []


def test_a_changed_source_is_noticed_and_built(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n")
    assert notebooks.build(tmp_path, check=True) == [tmp_path / "a.ipynb"]
    assert not (tmp_path / "a.ipynb").exists()
    notebooks.build(tmp_path)
    first = (tmp_path / "a.ipynb").read_bytes()
    assert notebooks.build(tmp_path, check=True) == []
    (tmp_path / "a.ipynb").unlink()
    notebooks.build(tmp_path)
    assert (tmp_path / "a.ipynb").read_bytes() == first
    assert [cell["cell_type"] for cell in json.loads(first)["cells"]] == ["markdown", "code"]
    with pytest.raises(AttnlabError, match="no notebook sources"):
        notebooks.build(tmp_path / "none")


@sources
def test_every_cell_runs(source, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLAB_PROFILE", "ci")
    notebook = nbformat.reads(notebooks.convert(source.read_text()), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "<img" in output.get("data", {}).get("text/html", "")
    ]
    assert pictures
    assert all(
        re.search(r'<img[^>]* alt="[^"]{20,}"', one["data"]["text/html"]) for one in pictures
    )


@sources
def test_the_style_of_a_lesson(source):
    cells = nbformat.reads(notebooks.convert(source.read_text()), as_version=4).cells
    words = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert sum(bool(re.match(r"# ", text)) for text in words) == 1
    for cell in cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 15, cell.source
    for line in source.read_text().splitlines():
        assert len(line) <= 88, line
    for link in re.findall(r"\]\(([^)#]+)\)", "\n".join(words)):
        assert link.startswith("http") or (FOLDER / link).exists(), link
