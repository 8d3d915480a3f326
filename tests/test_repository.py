"""The repository agrees with itself: dependencies, layers, README and the commands it names."""

import ast
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import attnlab as al

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/engineers.md",
        "docs/teachers.md",
        "docs/design.md",
        "docs/hub.md",
        "docs/platforms.md",
        "data/README.md",
    )
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
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
    return [
        Requirement(line) for group in lists for line in group if not line.startswith("attnlab")
    ]


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
    known = {canonicalize_name(requirement.name) for requirement in wanted()}
    assert known >= SIX
    assert project["requires-python"] == ">=3.11"
    assert "python>=3.11" in environment["dependencies"]


def test_the_version_is_stated_once_and_has_its_changes():
    assert project["dynamic"] == ["version"]
    release = al.__version__.partition(".dev")[0]
    assert f"## [{release}]" in (ROOT / "CHANGELOG.md").read_text()


def test_ls_shows_the_plan():
    entries = [path for path in (ROOT / "attnlab").iterdir() if path.name != "__pycache__"]
    small_things = [path.stem for path in entries if path.suffix == ".py"]
    assert len(small_things) <= 9, "a room is where a module belongs"
    readme = (ROOT / "README.md").read_text()
    for room in entries:
        if (room / "__init__.py").exists():  # locale/ holds words, no code
            assert f"`{room.name}/`" in readme, f"{room.name} is not on the README's map"


def test_nothing_that_was_downloaded_lies_at_the_top():
    foreign = (".whl", ".gz", ".zip", ".ipynb", ".png", ".log")
    assert [path.name for path in ROOT.iterdir() if path.suffix in foreign] == []


def test_exercises_stand_in_the_order_of_their_lesson():
    """So `checks.summary()` and `attnlab check` count them as the notebook asks them."""
    from attnlab.course.checks import EXERCISES, LESSONS

    for topic, number in LESSONS.items():
        (source,) = (ROOT / "notebooks" / "src").glob(f"{number}_*.py")
        asked = re.findall(r'exercise="(\w+)"', source.read_text())
        assert [name for name in EXERCISES if EXERCISES[name].lesson == topic] == asked


PUBLIC_MODULES = """
import types
import attnlab as al

def walk(module):
    yield module
    for name in dir(module):
        value = getattr(module, name)
        if isinstance(value, types.ModuleType) and value.__name__.startswith("attnlab."):
            yield from walk(value)

for module in {found.__name__: found for found in walk(al)}.values():
    for name in dir(module):
        value = getattr(module, name)
        where = value.__name__ if isinstance(value, types.ModuleType) else getattr(
            value, "__module__", None if isinstance(value, type) else "attnlab"
        )
        ours = where is None or where.startswith("attnlab") or name == "__version__"
        ours = ours or name in getattr(module, "__all__", ())
        if not ours or name.startswith("_") and name != "__version__":
            print(module.__name__, name)
"""


@pytest.mark.slow
def test_completion_lists_what_is_public_and_nothing_else():
    """Behind the dot stand neither imported modules nor other people's functions."""
    run = subprocess.run([sys.executable, "-c", PUBLIC_MODULES], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""


MODULES = [path for path in (ROOT / "attnlab").rglob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if re.search("^__all__ = ", path.read_text(), re.M)],
    ids=lambda path: path.stem,
)
def test_what_a_module_defines_is_on_its_list(path):
    tree = ast.parse(path.read_text())
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
    }
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert defined <= {*listed}
    assert any(getattr(node, "name", "") == "__dir__" for node in tree.body)


@pytest.mark.slow
@pytest.mark.parametrize(
    "package",
    [
        path
        for path in (ROOT / "attnlab").rglob("__init__.py")
        if "__all__ = " in path.read_text() and path.parent.name != "checks"
    ],
    ids=lambda path: path.parent.name,
)
def test_every_package_lists_its_public_names(package):
    name = ".".join(package.parent.relative_to(ROOT).parts)
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def optional_imports(tree, guard=None):
    """Names of packages that are imported, with the extra of the ``needs`` block around them."""
    for node in ast.iter_child_nodes(tree):
        inner = guard
        if isinstance(node, ast.With):
            call = node.items[0].context_expr
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "needs":
                inner = call.args[0].value
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, guard) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, guard
        yield from optional_imports(node, inner)


def test_extras_bring_what_their_imports_say():
    extras = {
        name: {canonicalize_name(Requirement(line).name) for line in lines}
        for name, lines in project["optional-dependencies"].items()
    }
    for path in (ROOT / "attnlab").rglob("*.py"):
        for module, extra in optional_imports(ast.parse(path.read_text())):
            if extra:
                package = {"torch": "tensorboard"}.get(module.split(".")[0], module.split(".")[0])
                assert canonicalize_name(package) in extras[extra], (
                    f"{path.name}: {module} is not in [{extra}]"
                )


ONLY_THE_CORE = """
import importlib.machinery, importlib.metadata, sys
EXTRAS = set(sys.argv[1:])

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in EXTRAS else super().find_spec(name, path, target)

def version(name, found=importlib.metadata.version):
    if name in EXTRAS:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path = [
    Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path
]
importlib.metadata.version = version
import attnlab as al

for name in dir(al):
    try:
        getattr(al, name)
    except al.errors.MissingPackage as error:
        assert 'Type: pip install "attnlab[' in str(error), error
        print(name)
"""


@pytest.mark.slow
def test_without_the_extras_every_public_name_loads_or_names_the_line_to_type():
    """The quick half; `test_the_core_is_enough_for_the_engineers_example` installs for real."""
    extras = {requirement.name for requirement in wanted()} | {"traitlets", "IPython", "nbformat"}
    extras -= {Requirement(line).name for line in project["dependencies"]} | {"tokenizers"}
    run = subprocess.run(
        [sys.executable, "-c", ONLY_THE_CORE, *extras], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    missing = set(run.stdout.split())
    assert {"HeadMixer", "plots", "attention_view"} <= missing
    for name in ("load_classifier", "Evaluator", "heads", "datasets", "attention", "checks"):
        assert name not in missing


def test_the_layers_hold():
    lint = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def python_examples(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


def brought_by(requirements):
    """Distributions that pip installs for these, all that they need in turn included."""
    found, wanted = {}, list(requirements)
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (not requirement.marker or requirement.marker.evaluate()):
            found[name] = importlib.metadata.distribution(name)
            more = map(Requirement, found[name].requires or [])
            wanted += [one for one in more if "extra" not in str(one.marker)]
    return found.values()


@pytest.mark.slow
def test_the_core_is_enough_for_the_engineers_example(wheel, tmp_path):
    """In a new environment with `attnlab` and what pip brings along: links, which are quicker."""
    venv.create(tmp_path / "venv", symlinks=True)
    scripts = tmp_path / "venv" / "bin"
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for distribution in brought_by(map(Requirement, project["dependencies"])):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(distribution.locate_file(name))
    install = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    subprocess.run([*map(str, install), "--no-deps", "--no-compile", wheel], check=True)

    environment = os.environ | {"ATTNLAB_CACHE": str(al.datasets.cache_dir())}
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is imported is compiled, and no more

    def run(*command):
        return subprocess.run(
            [str(scripts / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    done = run("python", "-c", python_examples(ROOT / "docs/engineers.md")[0])
    assert done.returncode == 0, done.stderr
    assert "array" in done.stdout or "[" in done.stdout
    for package in ("peft", "accelerate", "matplotlib", "jupyterlab"):
        assert run("python", "-c", f"import {package}").returncode == 1

    line = 'pip install "attnlab[lab]"'
    assert line in run("python", "-c", "import attnlab as al; al.HeadMixer").stderr
    for command in (
        ["attnlab", "finetune", "movie-sentiment", "--out", "runs"],
        ["attnlab", "start", "mine"],
        ["attnlab", "check", "mine/01_attention_maths.ipynb"],
        ["attnlab", "doctor"],
        ["attnlab", "assignment", "01", "--out", "course"],
    ):
        done = run(*command)
        assert "Traceback" not in done.stderr, done.stderr
        if command[1] != "start":
            assert done.returncode == 1
            said = done.stdout + done.stderr
            assert line in said or 'pip install "attnlab[grading]"' in said, said


@pytest.mark.parametrize("page", PAGES[:-1], ids=lambda page: page.name)
def test_every_make_target_of_a_page_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make\s([a-z]+)", page.read_text(), re.M))
    if page.name == "README.md":
        assert targets >= {"lab", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def commands_of(page):
    blocks = re.findall(r"```\n(.*?)```|`([^`\n]+)`", page.read_text(), re.S)
    code = "\n".join(block or span for block, span in blocks)
    return set(re.findall(r"(?:^|[/ ])attnlab ((?:notebooks )?[a-z]+)\b", code, re.M)) - {
        "is",
        "as",
    }


def test_every_command_of_the_pages_exists():
    from typer.testing import CliRunner

    from attnlab.cli import app

    commands = set().union(*map(commands_of, PAGES))
    assert commands >= {"doctor", "fetch", "lab", "start", "check", "assignment", "grade"}
    for command in commands:
        run = CliRunner().invoke(app, [*command.split(), "--help"])
        assert run.exit_code == 0, command


def folder_of_pictures(folder):
    """Digits as somebody might have them: PNG and JPEG, of several sizes, grey and in colour."""
    digits = al.datasets.load("mnist-5k").train.sample(300)
    for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image)
        if number % 3 == 1:
            picture = picture.resize((40, 56))
        if number % 3 == 2:
            picture = picture.convert("RGB")
        picture.save(folder / str(label) / f"{number}.{'jpg' if number % 2 else 'png'}")


@pytest.mark.slow
@pytest.mark.thorough
def test_six_lines_of_the_guide_take_a_folder_of_pictures_from_disk_to_desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_pictures(tmp_path / "pictures")
    (example,) = [
        code for code in python_examples(ROOT / "docs/engineers.md") if "images_from_folder" in code
    ]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 6
    known = {}
    exec(compile("\n".join([*lines[:-1], f"desk = {lines[-1]}"]), "six lines", "exec"), known)
    splits = known["pictures"]
    assert sum(len(part) for part in (splits.train, splits.dev, splits.test)) == 300
    desk = known["desk"].wait()
    assert desk.error == ""
    assert desk.accuracy["accuracy"] > 0.25  # ten classes
    again = al.load_image_classifier("runs/pictures")
    assert (
        again.predict(splits.test.images).labels == known["clf"].predict(splits.test.images).labels
    )


@pytest.mark.slow
@pages
def test_python_examples_run(page, tmp_path, monkeypatch):
    """Letter by letter, on a hundred texts of each data set: training on all takes minutes."""
    monkeypatch.chdir(tmp_path)
    load = al.datasets.load
    monkeypatch.setattr(al.datasets, "load", lambda name: load(name).sample(100, 100, 50))
    for example in python_examples(page):
        if "images_from_folder" not in example:  # which needs a folder, and is tested above
            exec(compile(example, page.name, "exec"), {})


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_names_of_the_package_in_the_pages_exist(page):
    """``al.heads.prune`` in running text is a name that exists."""
    for package, path in set(re.findall(r"`(al|attnlab)\.([a-z]\w*[\w.]*)", page.read_text())):
        found = al
        for name in path.rstrip(".").split("."):
            if package == "attnlab" and not hasattr(found, name):  # a module, to be imported first
                importlib.import_module(f"{found.__name__}.{name}")
            assert hasattr(found, name), f"{package}.{path}"
            found = getattr(found, name)


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if workflow := re.match(r"\.\./\.\./actions/(workflows/\w+\.yml)", target):
            assert (ROOT / ".github" / workflow[1]).exists(), target  # a badge of the repository
        elif not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_files_on_the_map_exist():
    """Every `module` that the README's map names beside a folder is in that folder."""
    for row in re.findall(r"^\| (`\w+/`.*?) \| (.*) \|$", (ROOT / "README.md").read_text(), re.M):
        rooms = [ROOT / "attnlab" / room for room in re.findall(r"`(\w+)/`", row[0])]
        assert all(room.is_dir() for room in rooms), row[0]
        for name in re.findall(r"`(\w+)/?`", row[1]):
            assert any(
                (room / name).is_dir() or list(room.rglob(f"{name}.py")) for room in rooms
            ), f"{row[0]}: {name}"


def test_ci_runs_the_readmes_own_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_hooks_before_a_commit_use_the_tools_of_make_lint():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    for repository in config["repos"]:
        assert repository["repo"] == "local", "the versions are those of constraints.txt"
        for hook in repository["hooks"]:
            assert hook["entry"].split(" --")[0].replace(" check", "") in makefile.replace(
                " check", ""
            ), hook["id"]


def test_the_design_page_names_the_rooms_in_the_order_that_lint_holds():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    held = [set(re.findall(r"attnlab\.(\w+)", layer)) - {"__main__"} for layer in layers]
    page = (ROOT / "docs" / "design.md").read_text()
    told = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\d+\. (`.*)$", page, re.M)]
    assert told == [rooms for rooms in reversed(held) if rooms]
