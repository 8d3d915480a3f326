"""A tag becomes a release only as CONTRIBUTING.md says. The workflow itself is not run here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner

from attnlab.cli import app

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
JOBS = WORKFLOW["jobs"]


def scripts(job):
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_nothing_is_published_that_was_not_built_from_a_signed_tag_and_tried():
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as a truth value
    order = ["build", "try", "publish", "announce"]
    assert [*JOBS] == order
    assert [JOBS[job].get("needs") for job in order[1:]] == order[:-1]
    assert "verification.verified" in scripts("build")
    assert ".ci/release_notes.py" in scripts("build")


def test_only_the_job_that_publishes_may_prove_who_it_is_and_there_is_no_password():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert JOBS["publish"]["permissions"] == {"id-token": "write"}
    assert JOBS["announce"]["permissions"] == {"contents": "write"}
    assert "permissions" not in JOBS["build"]
    assert "permissions" not in JOBS["try"]
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "secrets." not in text
    assert "password" not in re.sub(r"#.*", "", text)


def test_the_wheel_is_tried_as_a_learner_uses_it():
    text = scripts("try")
    assert "actions/checkout" not in str(JOBS["try"])  # without a clone
    commands = re.findall(r"^attnlab ([a-z]+)", text, re.M)
    assert commands == ["start", "fetch", "doctor"]
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    assert "-c dist/constraints.txt" in text
    for version in JOBS["try"]["strategy"]["matrix"]["python"]:
        assert version in SpecifierSet(">=3.11")


@pytest.mark.parametrize("job", JOBS)
def test_every_script_is_one_that_a_shell_understands(job):
    script = re.sub(r"\$\{\{.*?\}\}", "x", scripts(job))
    run = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    shlex.split(script)


@pytest.fixture
def release(tmp_path):
    """A repository with this version and changelog; runs the script in it."""

    def make(tag, version="1.2.0", heading="## [1.2.0] - 2027-01-31"):
        (tmp_path / ".ci").mkdir()
        (tmp_path / "attnlab").mkdir()
        script = tmp_path / ".ci" / "release_notes.py"
        script.write_text((ROOT / ".ci" / "release_notes.py").read_text())
        (tmp_path / "attnlab" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        before = "## [1.1.0] - 2026-01-01\n\n- Old.\n"
        changelog = f"# Changelog\n\n{heading}\n\n### Added\n\n- A thing.\n\n{before}"
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        return subprocess.run([sys.executable, str(script), tag], capture_output=True, text=True)

    return make


def test_the_notes_are_the_section_of_this_release_alone(release):
    run = release("v1.2.0")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "### Added\n\n- A thing.\n"


@pytest.mark.parametrize(
    ("tag", "changes", "said"),
    [
        ("v1.3.0", {}, "expected v1.2.0"),
        ("1.2.0", {}, "expected v1.2.0"),
        ("v1.2.0", {"version": "1.2.0.dev0"}, "expected v1.2.0.dev0"),
        ("v1.2.0", {"heading": "## [1.2.0] - unreleased"}, "YYYY-MM-DD"),
        ("v1.2.0", {"heading": "## [1.2] - 2027-01-31"}, "YYYY-MM-DD"),
    ],
)
def test_a_tag_without_its_version_or_day_is_refused(release, tag, changes, said):
    run = release(tag, **changes)
    assert run.returncode == 1
    assert said in run.stderr


def test_the_changelog_keeps_its_form():
    """Releases from the newest down, each with a day but the one in work, under known headings."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[?([\d.]+)\]?(?: - (\S+))?$", text, re.M)
    assert len(releases) == len(re.findall(r"^## ", text, re.M))
    versions = [tuple(map(int, version.split("."))) for version, _ in releases]
    assert versions == sorted(versions, reverse=True)
    assert [day for _, day in releases[1:]].count("unreleased") == 0
    headings = set(re.findall(r"^### (.*)$", text, re.M))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
