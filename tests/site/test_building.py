"""What the desk's folder holds, and what is refused before any work is done."""

import gzip
import json
import re

import numpy as np
import pytest

from attnlab import datasets
from attnlab.errors import AttnlabError, DataError
from attnlab.show.widgets.assets import script, style
from attnlab.site import building, contents
from attnlab.site.building import build_desk


@pytest.fixture(autouse=True)
def no_fetching(monkeypatch, tmp_path_factory):
    """ONNX Runtime's files are stand-ins: nothing here runs them."""
    folder = tmp_path_factory.mktemp("runtime")
    files = {file.file: folder / file.file for file in (building.SCRIPT, building.WASM)}
    for path in files.values():
        path.write_bytes(b"stand-in")
    monkeypatch.setattr(building, "runtime_files", lambda given: files)


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(AttnlabError, match="holds other files"):
        build_desk(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("sentences", [0, -3, 1001])
def test_more_sentences_than_there_are_are_refused(tmp_path, sentences):
    with pytest.raises(DataError, match=r"has 1,000\. Give a number from 1"):
        build_desk(tmp_path / "desk", sentences=sentences)
    assert not (tmp_path / "desk").exists()


@pytest.mark.slow
def test_the_folder_is_whole_and_made_alike_each_time(tmp_path):
    built = build_desk(tmp_path / "desk", sentences=12)
    files = {path.name: path.read_bytes() for path in built.folder.iterdir()}
    again = build_desk(tmp_path / "desk", sentences=12)  # takes its place
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == files
    assert [path.name for path in tmp_path.iterdir()] == ["desk"]  # nothing is left beside it
    page = files["index.html"].decode()
    build = json.loads(re.search(r'id="build">(.*?)</script>', page)[1])
    for name, size in build["bytes"].items():
        assert len(files[name]) == size
    worker = json.loads(files["service-worker.js"].decode().split(";\n")[0].split(" = ", 1)[1])
    assert worker["version"] == build["version"]
    known = {*worker["files"], "service-worker.js", building.CARD} - {"./"}
    assert known == set(files)
    desk = json.loads(gzip.decompress(files["desk.json.gz"]))
    sample = datasets.load("movie-sentiment").dev.sample(12)
    assert desk["sentences"]["texts"] == sample.texts
    assert sorted(index for group in desk["groups"] for index in group) == list(range(12))
    slopes = np.frombuffer(gzip.decompress(files["slopes.f32.gz"]), "<f4")
    assert slopes.size == 12 * (1 + 2 * 72)
    notice = files["NOTICE.txt"].decode()
    for owed in (
        "vaderSentiment==0.5",
        "Copyright (c) 2014",
        "Microsoft",
        "Permission is hereby granted",
    ):
        assert owed in notice
    assert built.accuracy == pytest.approx(built.accuracy_before, abs=0.1)


def test_groups_hold_each_sentence_once_and_are_of_like_length():
    lengths = np.random.default_rng(1).integers(3, 60, 101)
    found = contents.groups(lengths)
    assert sorted(index for group in found for index in group) == list(range(101))
    assert max(map(len, found)) == contents.AT_ONCE
    padding = sum(max(lengths[group]) * len(group) - lengths[group].sum() for group in found)
    assert padding < 0.05 * lengths.sum()
    first = [lengths[group].mean() for group in found[:13]]
    assert abs(np.mean(first) - lengths.mean()) < lengths.std() / 2  # not the short ones first


def test_the_page_is_made_of_the_parts_of_the_notebooks_desk():
    page = script("page", building.STATIC)
    for part in ("elements", "mixer-faders", "mixer-accuracy", "mixer-sentence", "pictures"):
        shared = script(part).split("\n")[-5]
        assert f"const ${part.replace('-', '_')} = " in page
        assert shared in page
    sheet = style("grids", "mixer", "page", folder=building.STATIC)
    assert sheet.startswith(style("grids", "mixer"))
    assert ".attnlab-widget.attnlab-page .page-chosen" in sheet


def test_the_page_asks_nobody_else_for_anything():
    for path in building.STATIC.iterdir():
        text = path.read_text()
        found = {*re.findall(r"https?://[\w./-]+", text)} - {"http://www.w3.org/2000/svg"}
        assert not found, f"{path.name}: {found}"
    page = (building.STATIC / "index.html").read_text()
    assert "default-src 'self'" in page
