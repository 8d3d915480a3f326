"""The Dockerfile, read without a daemon: what it copies and runs is there, and nobody is root.

Nothing is built here; see docs/design.md.
"""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner

from attnlab.cli import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = 1  # the second stage is the image


def instructions():
    """Every instruction as (stage, name, arguments), lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    stage, found = -1, []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            name, arguments = line.split(maxsplit=1)
            stage += name == "FROM"
            found.append((stage, name, arguments))
    return found


def arguments(wanted, stage=None):
    return [
        text for place, name, text in instructions() if name == wanted and stage in (None, place)
    ]


def test_stages_start_from_one_python_that_is_pinned_and_wide_enough():
    images = {text.split()[0] for text in arguments("FROM")}
    assert len(images) == 1
    (version,) = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", images.pop()).groups()
    assert version in SpecifierSet(PROJECT["project"]["requires-python"])


def test_what_it_runs_is_not_run_as_root():
    names = [name for stage, name, _ in instructions() if stage == RUNTIME]
    assert arguments("USER", RUNTIME)[-1] not in ("root", "0")
    after = names[names.index("USER") :]
    assert "RUN" not in after, "what is installed must not belong to the learner"
    assert "CMD" in after


def copied(stage):
    """Sources of COPY that come from the repository."""
    for text in arguments("COPY", stage):
        parts = shlex.split(text)
        if not parts[0].startswith("--from"):
            yield from parts[:-1]


def ignored(name):
    """What .dockerignore says of a path: the last rule that fits it decides."""
    result = False
    for rule in (ROOT / ".dockerignore").read_text().split():
        pattern = rule.removeprefix("!").removeprefix("**/")
        parents = [name, *map(str, Path(name).parents)][:-1] or [name]
        if any(fnmatch.fnmatch(path, pattern) for path in parents):
            result = not rule.startswith("!")
    return result


@pytest.mark.parametrize("stage", [0, 1])
def test_what_it_copies_is_in_the_repository_and_reaches_the_build(stage):
    assert {*copied(stage)}
    for name in copied(stage):
        assert (ROOT / name).exists(), name
        assert not ignored(name), name


def test_data_sets_and_settings_of_a_developer_stay_out():
    for name in ("data/cache", "data/cache/file.whl", ".venv", ".git", "runs", "tests"):
        assert ignored(name), name


def test_the_wheel_is_built_from_all_that_it_holds():
    there = {*copied(0)}
    wanted = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in [*wanted["packages"], *wanted["force-include"]]:
        assert there & {name, name.split("/")[0]}, name
        assert not ignored(name), name
    assert {"pyproject.toml", PROJECT["project"]["readme"], "LICENSE"} <= there


def test_the_versions_installed_are_those_that_passed_the_tests():
    (install,) = [text for text in arguments("RUN", RUNTIME) if "pip install" in text]
    assert "-c /tmp/build/constraints.txt" in install
    assert "constraints.txt /tmp/build/" in arguments("COPY", RUNTIME)
    (extras,) = (text for text in arguments("ARG") if text.startswith("EXTRAS"))
    known = PROJECT["project"]["optional-dependencies"]
    named = shlex.split(extras.partition("=")[2])[0].split(",")
    assert {"lab", "grading"} <= {*named} <= {*known}


def test_every_command_that_it_runs_exists():
    text = " ".join([*arguments("RUN"), *arguments("CMD")])
    commands = set(re.findall(r"(?<![/\w])attnlab ([a-z]+)", text))
    assert commands == {"fetch", "start", "lab"}
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    names = [(name, text) for _, name, text in instructions()]
    cache = next(n for n, (name, text) in enumerate(names) if text.startswith("ATTNLAB_CACHE="))
    fetch = next(n for n, (name, text) in enumerate(names) if "attnlab fetch" in text)
    assert names[cache][0] == "ENV"
    assert cache < fetch


def test_the_guide_grades_in_this_image_with_one_command():
    guide = (ROOT / "docs" / "teachers.md").read_text()
    (command,) = re.findall(r"^docker run .*?attnlab grade /course$", guide, re.M | re.S)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[-4:] == ["attnlab-image", "attnlab", "grade", "/course"]
    assert words[words.index("--network") + 1] == "none"
    assert "--read-only" in words
    assert "docker build -t attnlab-image" in guide


@pytest.mark.slow
def test_the_wheel_of_the_image_is_the_wheel_of_the_repository(wheel, tmp_path):
    """The first stage, by hand: nothing but what it copies, through .dockerignore."""
    sent = tmp_path / "sent"
    for name in copied(0):
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            place = path.relative_to(ROOT).as_posix()
            if path.is_file() and not ignored(place) and "__pycache__" not in place:
                (sent / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, sent / place)
    assert not list(sent.rglob("*.lock")), "data sets are in the image's sources"
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*command, "."], cwd=sent, check=True, timeout=240)
    (built,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())
