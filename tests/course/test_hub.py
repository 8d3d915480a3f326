"""The hub's configuration does what docs/hub.md says, as far as that needs no JupyterHub."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config

import attnlab as al
from attnlab.datasets.named import names
from attnlab.errors import DataError

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "hub.md").read_text()


@pytest.fixture
def spawner():
    """The part of the configuration that is about a student's server."""
    code = (ROOT / "docs" / "jupyterhub_config.py").read_text()
    made = Config()
    known = {"get_config": lambda: made}
    exec(compile(code, "jupyterhub_config.py", "exec"), known)
    return made.Spawner


@pytest.fixture
def start_server(spawner, tmp_path):
    """What the hub does for a student, with a server that only says what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = f'#!/bin/sh\nexec "{sys.executable}" -m attnlab "$@"\n'
    (programs / "attnlab").write_text(command)
    (programs / "jupyterhub-singleuser").write_text('#!/bin/sh\necho "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)

    def start():
        environment = {"HOME": str(tmp_path / "home"), "PATH": f"{programs}:{os.environ['PATH']}"}
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        run = subprocess.run(
            [*spawner.cmd, *spawner.args], env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    return start


def test_the_server_finds_the_lessons_in_the_student_s_folder_and_keeps_their_work(
    spawner, start_server, tmp_path
):
    assert start_server() == " ".join(spawner.args) + "\n"
    opened = tmp_path / "home" / spawner.default_url.removeprefix("/lab/tree/")
    assert nbformat.read(opened, as_version=4).cells
    opened.write_text("my work")
    (opened.parent / "03_translation.ipynb").unlink()  # as if a new version had brought it
    start_server()
    assert opened.read_text() == "my work"
    assert (opened.parent / "03_translation.ipynb").exists()


def test_where_nothing_can_be_copied_the_server_starts_all_the_same(
    spawner, start_server, tmp_path
):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "attnlab").write_text("a file in the way")
    assert start_server() == " ".join(spawner.args) + "\n"


def test_what_the_guide_says_to_fetch_is_all_there_is():
    named = re.search(r"attnlab fetch && \S+attnlab fetch (.*)", GUIDE)[1].split()
    assert {*names(usual=True), *named} == {*names()}


def test_guide_and_configuration_speak_of_the_same_places(spawner):
    (cache,) = re.findall(r"export ATTNLAB_CACHE=(\S+)\n\S+attnlab fetch", GUIDE)
    assert spawner.environment["ATTNLAB_CACHE"] == cache
    (environment,) = re.findall(r"python3 -m venv (\S+)", GUIDE)
    assert spawner.environment["PATH"].startswith(f"{environment}/bin:")
    assert "[jupyterhub_config.py](jupyterhub_config.py)" in GUIDE
    for name in ("cmd", "environment", "mem_limit"):
        assert name in spawner


READ_ALL = """
import attnlab as al
from attnlab.datasets.named import names
from attnlab.errors import DataError
al.load_classifier("movie-sentiment").predict(["A warm and funny film."])
for name in ("movie-sentiment", "reuters-r8", "interface-fr", "mnist-5k", "grimm"):
    al.datasets.load(name)  # of each file one
"""


@pytest.mark.slow
def test_nobody_writes_where_the_data_lies(tmp_path):
    """So it may belong to another user, or be mounted read-only."""
    cache = al.datasets.cache_dir()

    def state():
        return {path: path.stat().st_mtime_ns for path in [cache, *cache.rglob("*")]}

    before = state()
    environment = os.environ | {"ATTNLAB_CACHE": str(cache)}
    subprocess.run([sys.executable, "-c", READ_ALL], check=True, env=environment, cwd=tmp_path)
    assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_who_asks_for_data_that_the_class_does_not_have_is_told_whom_to_ask(tmp_path, monkeypatch):
    (tmp_path / "shared").write_text("a folder that cannot be written to, also for root")
    monkeypatch.setenv("ATTNLAB_CACHE", str(tmp_path / "shared" / "cache"))
    with pytest.raises(DataError, match=r"vaderSentiment-0.5.zip is not in .*`attnlab fetch`"):
        al.datasets.load("movie-sentiment")
