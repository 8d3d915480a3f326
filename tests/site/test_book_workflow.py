"""The workflow that publishes the book: its commands exist, and its script keeps every version."""

import re
import subprocess
from pathlib import Path

import yaml
from typer.testing import CliRunner

from attnlab.cli import app

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())


def script(job, words):
    (step,) = [one for one in WORKFLOW["jobs"][job]["steps"] if words in one.get("name", "")]
    return step["run"]


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_commands_and_their_options_exist():
    lines = [
        line.strip()
        for step in WORKFLOW["jobs"]["build"]["steps"]
        for line in step.get("run", "").splitlines()
        if line.strip().startswith("attnlab ")
    ]
    assert len(lines) == 3
    for line in lines:
        words = line.split()[1:]
        name = words[:2] if words[0] == "site" else words[:1]
        shown = CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, line
        for option in re.findall(r"--[a-z-]+", line):
            assert option in shown.output, line


def test_only_a_tag_is_published_and_it_must_be_the_version():
    assert WORKFLOW["jobs"]["publish"]["if"] == "github.ref_type == 'tag'"
    assert "attnlab.__version__" in script("build", "A tag and the version")


def test_each_tag_gets_a_folder_and_the_first_page_leads_to_the_newest(tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "work")
    (tmp_path / "work" / "README.md").write_text("the code")
    git(tmp_path / "work", "add", "README.md")
    git(tmp_path / "work", "commit", "--quiet", "-m", "the code")
    git(tmp_path / "work", "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(tmp_path / "work", "push", "--quiet", "origin", "main")
    for tag in ("v0.9.0", "v0.10.0", "v0.9.1"):
        clone = tmp_path / tag
        git(tmp_path, "clone", "--quiet", "--branch", "main", "origin.git", tag)
        (clone / "book").mkdir()
        (clone / "book" / "index.html").write_text(f"the book of {tag}")
        done = subprocess.run(
            ["bash", "-e", "-c", script("publish", "gh-pages")],
            cwd=clone,
            env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    shown = git(tmp_path / "origin.git", "ls-tree", "-r", "--name-only", "gh-pages").split()
    assert shown == [".nojekyll", "index.html"] + [
        f"{tag}/index.html" for tag in ("v0.10.0", "v0.9.0", "v0.9.1")
    ]
    assert "url=v0.10.0/" in git(tmp_path / "origin.git", "show", "gh-pages:index.html")
    assert "the book of v0.9.0" in git(
        tmp_path / "origin.git", "show", "gh-pages:v0.9.0/index.html"
    )
