"""A notebook knows where it runs and says what differs there; first cells and badges fit."""

import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

import attnlab as al
from attnlab.course import hosts, notebooks
from attnlab.errors import AttnlabError

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = {
    "voila": {"VOILA_APP_PORT": "8866", "JUPYTERHUB_API_URL": "http://hub"},
    "colab": {"COLAB_RELEASE_TAG": "release-colab"},
    "kaggle": {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"},
    "binder": {"BINDER_LAUNCH_HOST": "https://binder", "JUPYTERHUB_API_URL": "http://hub"},
    "jupyterhub": {"JUPYTERHUB_API_URL": "http://hub"},
    "terminal": {},
}


@pytest.fixture
def nowhere(monkeypatch):
    """No mark of any host in the environment, and no kernel."""
    for mark in ("MEM_LIMIT", *sum(hosts._MARKS.values(), ())):
        monkeypatch.delenv(mark, raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    return monkeypatch


def in_kernel(monkeypatch, parents=(), **variables):
    shell = SimpleNamespace(kernel=object(), user_ns=variables)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    processes = [SimpleNamespace(cmdline=lambda line=line: line.split()) for line in parents]
    monkeypatch.setattr(psutil.Process, "parents", lambda process: processes)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_tells_the_host(nowhere, name):
    for mark, value in ENVIRONMENTS[name].items():
        nowhere.setenv(mark, value)
    assert hosts.host().name == name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/venv/bin/python /venv/bin/jupyter-lab --no-browser", "lab"),
        ("python -m jupyterlab --port=8888", "lab"),
        ("python -m notebook", "notebook"),
        ("python /bin/jupyter-notebook", "notebook"),
        ("bash -c true", "jupyter"),
    ],
)
def test_the_server_that_started_the_kernel_tells_the_host(nowhere, command, name):
    in_kernel(nowhere, ["/bin/sh -c x", command])
    assert hosts.host().name == name


def test_vs_code_is_known_by_its_variable_and_not_by_its_terminal(nowhere):
    nowhere.setenv("VSCODE_PID", "7")  # JupyterLab, started from VS Code's terminal
    in_kernel(nowhere, ["jupyter-lab"])
    assert hosts.host().name == "lab"
    in_kernel(nowhere, ["code"], __vsc_ipynb_file__="/a.ipynb")
    assert hosts.host().name == "vscode"


def test_only_what_differs_is_said_and_in_one_line():
    silent = {host.name for host in hosts.HOSTS.values() if not host.differs}
    assert silent == {"jupyterhub", "notebook", "lab", "jupyter", "ipython", "terminal"}
    for host in hosts.HOSTS.values():
        assert "\n" not in host.differs
        assert host.differs or not host.loses_files


@pytest.mark.parametrize(("name", "said"), [("colab", True), ("terminal", False)])
def test_who_counts_points_on_colab_is_told_to_save_them(nowhere, tmp_path, capsys, name, said):
    for mark, value in ENVIRONMENTS[name].items():
        nowhere.setenv(mark, value)
    nowhere.setenv("ATTNLAB_PROGRESS", str(tmp_path / "progress.json"))
    nowhere.setitem(al.checks._done, "softmax", True)
    al.checks.summary("01")
    assert ("drive.mount" in capsys.readouterr().out) == said


def test_a_hub_s_limit_of_memory_is_known(nowhere):
    nowhere.setenv("MEM_LIMIT", "1000000000")
    assert hosts.memory_limit() <= 1_000_000_000
    nowhere.setenv("MEM_LIMIT", "9223372036854771712")  # how "no limit" is written
    assert (hosts.memory_limit() or 0) < 1 << 50


@pytest.mark.parametrize("host", ["colab", "kaggle"])
def test_notebooks_for_colab_and_kaggle_begin_by_installing(tmp_path, host):
    plain, made = tmp_path / "plain", tmp_path / "made"
    notebooks.start(plain)
    added, _ = notebooks.start(made, host=host)
    assert len(added) == len(list(plain.iterdir()))
    for path in added:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert '%pip install --quiet "attnlab[lab]' in notebook.cells[0].source
        assert notebook.cells[1:] == nbformat.read(plain / path.name, as_version=4).cells


def test_a_host_that_needs_no_first_cell_is_refused(tmp_path):
    with pytest.raises(AttnlabError, match="Those that need one: colab, kaggle"):
        notebooks.start(tmp_path / "made", host="binder")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("address", [None, "https://github.com/someone/attnlab"])
def test_links_out_of_the_folder_lead_to_the_repository_or_nowhere(tmp_path, monkeypatch, address):
    monkeypatch.setattr(hosts, "repository", lambda: address)
    notebooks.start(tmp_path)
    (guide,) = re.findall(
        r"the (\[?guide\S*)", (tmp_path / "10_beyond_text.ipynb").read_text(encoding="utf-8")
    )
    linked = f"[guide]({address}/blob/HEAD/docs/engineers.md)"
    assert guide.startswith(linked if address else "guide")
    for path in tmp_path.iterdir():
        assert "](../" not in path.read_text(encoding="utf-8")
        json.loads(path.read_text(encoding="utf-8"))


def test_the_address_of_the_repository_comes_from_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert hosts.repository() == project.get("urls", {}).get("Repository")


def test_badges_open_the_notebook_or_say_why_they_cannot(monkeypatch):
    said = hosts.badges("00_start_here.ipynb", "v1.0", "https://github.com/some/lab")
    place = "some/lab/blob/v1.0/notebooks/00_start_here.ipynb"
    assert f"(https://colab.research.google.com/github/{place})" in said
    assert f"src=https://github.com/{place})" in said
    assert "/v2/gh/some/lab/v1.0?urlpath=lab%2Ftree%2Fnotebooks%2F00_start_here.ipynb)" in said
    with pytest.raises(AttnlabError, match="no repository at GitHub"):
        hosts.badges("00_start_here.ipynb", "v1.0", "https://example.org/some/lab")
    monkeypatch.setattr(hosts, "repository", lambda: None)
    with pytest.raises(AttnlabError, match=r"\[project.urls\]"):
        hosts.badges("00_start_here.ipynb", "v1.0")
