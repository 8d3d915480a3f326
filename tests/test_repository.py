"""The repository agrees with itself: dependencies, layers, README and the commands it names."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SIX = {"torch", "transformers", "jupyterlab", "ipywidgets", "bertviz", "seaborn"}

project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
constraints = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(
        Requirement,
        (
            line
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if line and line[0] != "#"
        ),
    )
}
environment = yaml.safe_load((ROOT / "environment.yml").read_text())


def wanted():
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(one) for group in lists for one in group if not one.startswith("attnlab")]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_every_dependency_is_pinned_inside_its_range(requirement):
    pin = constraints[canonicalize_name(requirement.name)]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert requirement.specifier.contains(exact.version), f"{pin} is outside {requirement}"


def test_pins_work_on_every_platform():
    for pin in constraints.values():
        assert "+" not in str(pin.specifier), f"{pin} is one machine's build"
    assert str(constraints["torch"].specifier) == "==2.13.0"


def test_the_installed_packages_are_the_pinned_ones():
    from importlib.metadata import version

    for requirement in wanted():
        (exact,) = constraints[canonicalize_name(requirement.name)].specifier
        assert version(requirement.name).split("+")[0] == exact.version


def test_the_conda_environment_names_the_six_and_installs_the_same_set():
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "-c constraints.txt" in pip
    assert "-e .[lab]" in pip
    assert {line for line in pip if not line.startswith("-")} == SIX
    known = {canonicalize_name(one.name) for one in wanted()}
    assert known >= SIX
    assert project["requires-python"] == ">=3.11"
    assert "python>=3.11" in environment["dependencies"]


def test_the_layers_hold():
    lint = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_the_wheel_carries_the_adapters(tmp_path):
    """A plain pip install must be able to load our classifier."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        str(tmp_path),
        ".",
    ]
    subprocess.run(build, cwd=ROOT, check=True, timeout=240)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for name in (
        "attnlab/_adapters/movie-sentiment/adapter_model.safetensors",
        "attnlab/_adapters/movie-sentiment/attnlab.json",
        "attnlab/_translators/dates/translator.safetensors",
        "attnlab/show/static/mixer.js",
        "attnlab/show/static/mixer.css",
        "attnlab/show/static/softmax.js",
        "attnlab/show/static/mask.js",
        "attnlab/show/static/grids.js",
        "attnlab/show/static/charts.js",
        "attnlab/show/static/tuner.css",
        "attnlab/_notebooks/01_attention_maths.ipynb",
        "attnlab/_notebooks/src/01_attention_maths.py",
    ):
        assert name in names


def test_every_make_target_of_the_readme_exists():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make\s([a-z]+)", readme, re.M))
    assert targets >= {"lab", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def test_every_command_of_the_readme_exists():
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"(?:^|[`/ ])attnlab ((?:notebooks )?[a-z]+)\b", readme, re.M))
    commands -= {"as", "is"}  # import attnlab as al
    assert commands >= {"doctor", "fetch", "lab", "start", "check", "assignment", "grade"}
    for command in commands:
        run = subprocess.run(
            [sys.executable, "-m", "attnlab", *command.split(), "--help"], capture_output=True
        )
        assert run.returncode == 0, command


def test_the_readmes_python_example_runs():
    readme = (ROOT / "README.md").read_text()
    for example in re.findall(r"```python\n(.*?)```", readme, re.S):
        exec(compile(example, "README.md", "exec"), {})


def test_links_of_the_readme_lead_somewhere():
    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_ci_runs_the_readmes_own_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
