"""The scripts of the widgets as one module each, in which no file can disturb another."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import attnlab as al
from attnlab.show.widgets import assets

STATIC = Path(assets.__file__).parents[1] / "static"
WIDGETS = [
    al.BalanceMeter,
    al.BudgetExplorer,
    al.ControlRoom,
    al.FlowDesk,
    al.HeadMixer,
    al.MaskDesk,
    al.PatchDesk,
    al.Peeler,
    al.QueryDesk,
    al.ReadingDesk,
    al.SamplingDesk,
    al.SoftmaxDesk,
    al.TrainingCurve,
    al.TrainingMonitor,
    al.TranslationDesk,
    al.TunerDesk,
]


@pytest.fixture
def scripts(monkeypatch):
    """Take these scripts instead of those of the package."""
    texts = {}
    monkeypatch.setattr(assets, "_read", lambda name, folder=None: texts[name])
    return texts


@pytest.mark.parametrize("widget", WIDGETS, ids=lambda widget: widget.__name__)
def test_every_widget_is_one_module_with_one_way_in(widget):
    assert widget._esm.count("export ") == widget._esm.count("export default { render") == 1
    assert not re.search(r"^import ", widget._esm, re.MULTILINE)


def test_a_module_is_bundled_once_and_before_those_that_need_it(scripts):
    scripts["a.js"] = "export const one = 1;\n"
    scripts["b.js"] = 'import { one } from "./a.js";\nexport const two = 2 * one;\n'
    scripts["c.js"] = 'import { one as first } from "./a.js";\nimport { two } from "./b.js";\n'
    made = assets.script("c")
    assert made.count("const one = 1;") == 1
    assert made.index("const $a =") < made.index("const $b =")
    assert made.endswith("const { one: first } = $a;\nconst { two } = $b;\n")


def test_modules_that_need_each_other_are_refused(scripts):
    scripts["a.js"] = 'import { two } from "./b.js";\n'
    scripts["b.js"] = 'import { one } from "./a.js";\n'
    with pytest.raises(ValueError, match="a → b → a"):
        assets.script("a")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_modules_cannot_redefine_each_others_names(scripts):
    scripts["a.js"] = "const size = 1;\nexport const ours = () => size;\n"
    scripts["b.js"] = "const size = 2;\nexport const theirs = () => size;\n"
    scripts["c.js"] = (
        'import { ours } from "./a.js";\nimport { theirs } from "./b.js";\n'
        "const size = 3;\nconsole.log(ours(), theirs(), size);\n"
    )
    run = subprocess.run(["node", "-e", assets.script("c")], capture_output=True, text=True)
    assert run.stdout.split() == ["1", "2", "3"], run.stderr


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.stem)
def test_only_one_module_listens_to_keys(path):
    """Another's listener would never be called: keys go to handlers that `onKey` was given."""
    listens = re.search(r"onkey(?:down|press|up)|Listener\(\s*[\"']key", path.read_text())
    assert path.stem == "keys" or not listens


def test_the_linter_finds_nothing_in_the_scripts_and_would_find_an_unknown_name(tmp_path):
    lint = [
        str(Path(sys.executable).parent / "oxlint"),
        "-c",
        str(STATIC.parents[2] / ".oxlintrc.json"),
    ]
    run = subprocess.run([*lint, str(STATIC)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    (tmp_path / "broken.js").write_text("export const broken = () => unheardOf + 1;\n")
    run = subprocess.run([*lint, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 1
    assert "unheardOf" in run.stdout
