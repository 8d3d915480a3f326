"""`attnlab site desk` as a shell sees it."""

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from command import attnlab

ROOT = Path(__file__).parents[2]


def environment(**more):
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([before] if before else [])])
    return os.environ | {"PYTHONPATH": path, "COLUMNS": "200"} | more


def command(*arguments):
    return [sys.executable, "-m", "attnlab", "site", "desk", *map(str, arguments)]


@pytest.fixture
def built(tmp_path):
    """A folder that looks like a desk."""
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "index.html").write_text("<!doctype html>the desk")
    (tmp_path / "desk" / "desk-card.json").write_text(json.dumps({}))
    return tmp_path / "desk"


@pytest.mark.slow
def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    done = attnlab("site", "desk", "--out", tmp_path)
    assert done.returncode == 1
    assert "holds other files" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "dear"


@pytest.mark.slow
def test_without_npm_the_command_says_what_to_do(tmp_path):
    out = tmp_path / "desk"
    done = attnlab("site", "desk", "--out", out, PATH="", ATTNLAB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "Install Node.js" in done.stderr
    assert "--runtime FOLDER" in done.stderr
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_serving_says_where_and_hands_out_what_was_built(built, host):
    arguments = command("--out", built, "--serve", "--host", host, "--port", 0)
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env=environment(PYTHONUNBUFFERED="1")
    )
    try:
        assert select.select([process.stdout], [], [], 60)[0], "it did not start"
        lines = [process.stdout.readline().rstrip()]
        while not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline().rstrip())
        here = next(line for line in lines if line.startswith("http://127.0.0.1:"))
        assert b"the desk" in urllib.request.urlopen(here, timeout=10).read()
        if host == "127.0.0.1":
            assert "--host 0.0.0.0 hands it to the room" in lines[1]
        elif lines[0] != here:  # it has a network
            assert any("█" in line or "▀" in line for line in lines), "no QR code"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.slow
def test_serving_without_segno_says_so_and_goes_on(built, tmp_path):
    hide = tmp_path / "hide" / "segno.py"
    hide.parent.mkdir()
    hide.write_text("raise ModuleNotFoundError('No module named segno', name='segno')")
    paths = os.pathsep.join([str(hide.parent), str(ROOT)])
    script = (
        "from attnlab.cli.site import _say_where\n"
        "_say_where(['http://192.168.0.2:8800/', 'http://127.0.0.1:8800/'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert 'no QR code: segno is not installed. Type: pip install "attnlab[site]"' in done.stdout
    assert "http://192.168.0.2:8800/" in done.stdout
