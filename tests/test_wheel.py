"""The package without a clone: what the wheel carries, and a course that is started from it.

The wheel is unpacked into a folder and used from an empty one; what it depends on is that of the
tests. `test_the_core_is_enough_for_the_engineers_example` installs for real.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

import attnlab as al

ROOT = Path(__file__).parents[1]
PACKED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    """The folder into which the wheel was unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture
def environment(unpacked):
    """Variables with which Python finds the unpacked package, and the data that is here."""
    return os.environ | {
        "PYTHONPATH": str(unpacked),
        "ATTNLAB_CACHE": str(al.datasets.cache_dir()),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def tracked(folder):
    """Files of a folder that git keeps or would keep, relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name]


def test_the_wheel_carries_whatever_the_repository_has_for_learners(wheel):
    """Every module, script, notebook and model of ours that is kept, and no file beside them."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = PACKED["wheel"]["force-include"] | {"attnlab": "attnlab"}
    wanted = {
        inside + name.removeprefix(outside)
        for outside, inside in folders.items()
        for name in tracked(outside)
    }
    assert wanted - names == set(), "missing: is the folder in [tool.hatch] of pyproject.toml?"
    assert names - wanted == set(), "this is not in the repository"
    # what `bundled` may be asked for, so that a new folder of data/ cannot be forgotten
    models = {path.parent.name for path in (ROOT / "data").glob("*/*") if path.is_dir()}
    assert {f"data/{name}" for name in models - {"cache"}} <= folders.keys()


def test_the_source_archive_has_what_the_wheel_is_built_from():
    """pip builds a wheel from it where there is none."""
    packed = PACKED["sdist"]["include"]
    for folder in PACKED["wheel"]["force-include"]:
        assert folder in packed
    assert "LICENSE" in packed


def attnlab(environment, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "attnlab", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_course_is_started_and_examined_without_a_clone(environment, unpacked, tmp_path):
    done = attnlab(environment, tmp_path, "start", "my-course")
    assert done.returncode == 0, done.stderr
    there = {path.name for path in (tmp_path / "my-course").iterdir()}
    assert there == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}

    done = attnlab(environment, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing" not in done.stdout
    assert "its heads can be controlled" in done.stdout
    assert "runs in" in done.stdout

    code = "import attnlab as al; print(al.__file__, al.datasets.cache_dir())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={name: value for name, value in environment.items() if name != "ATTNLAB_CACHE"},
        capture_output=True,
        text=True,
        check=True,
    )
    package, cache = run.stdout.split()
    assert Path(package).is_relative_to(unpacked)
    assert not Path(cache).is_relative_to(unpacked), "an upgrade would delete the data"


ANSWERS = """
import json, sys
import attnlab as al
from attnlab import applications, vision

clf = al.load_classifier("movie-sentiment")
print(json.dumps(clf.predict(json.load(sys.stdin)).probabilities.tolist()))
for name in ("dates", "interface-fr"):
    al.load_translator(name)
al.load_image_classifier("mnist-5k")
al.load_language_model("grimm")
applications.load_reader("printed")
vision.load_answerer("scenes")
"""


def test_models_of_ours_answer_without_a_clone_as_they_do_in_one(environment, tmp_path, clf):
    texts = ["A warm and funny film.", "Two hours of my life that I would like to have back."]
    run = subprocess.run(
        [sys.executable, "-c", ANSWERS],
        input=json.dumps(texts),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    for theirs, here in zip(said, clf.predict(texts).probabilities, strict=True):
        assert theirs == pytest.approx(list(here), abs=1e-4)


@contextlib.contextmanager
def lab(environment, folder, port):
    """``attnlab lab`` in a folder; yields what fetches from it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "attnlab", "lab", "--no-browser", "--port", str(port)],
        cwd=folder,
        env=environment | {"JUPYTER_TOKEN": "t", "JUPYTER_CONFIG_DIR": str(folder / "config")},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def fetch(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}?token=t").read().decode()

    try:
        for _ in range(300):
            assert process.poll() is None
            with contextlib.suppress(urllib.error.URLError):
                fetch("api")
                break
            time.sleep(0.2)
        yield fetch
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_lab_finds_the_course_that_was_started_here(environment, tmp_path):
    assert attnlab(environment, tmp_path, "lab").returncode == 1  # nothing is here yet
    assert attnlab(environment, tmp_path, "start", "my-course").returncode == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with lab(environment, tmp_path, port) as fetch:
        listed = {entry["name"] for entry in json.loads(fetch("api/contents"))["content"]}
        assert "00_start_here.ipynb" in listed
        assert "my-course" not in listed

    assert attnlab(environment, tmp_path, "start", "other course").returncode == 0
    done = attnlab(environment, tmp_path, "lab")
    assert done.returncode == 1
    assert "my-course, 'other course'" in done.stderr
