"""Where a notebook runs, what differs there, and what to do about it."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from attnlab.errors import AttnlabError


@dataclass(frozen=True)
class Host:
    """A program that runs notebooks.

    Attributes
    ----------
    name : in one word, such as "colab"
    title : as people call it
    differs : what is not as in JupyterLab, with the cure, in one line; empty if nothing
    loses_files : whether the notebook's folder goes when the session ends
    """

    name: str
    title: str
    differs: str = ""
    loses_files: bool = False


_HOSTS = (
    Host("voila", "Voila", "Voila shows no code: to work on exercises type attnlab lab."),
    Host(
        "colab",
        "Google Colab",
        "Colab: files are lost when the runtime ends. Run `from google.colab import drive; "
        'drive.mount("/content/drive")`, then `%cd /content/drive/MyDrive`.',
        loses_files=True,
    ),
    Host(
        "kaggle",
        "Kaggle",
        "Kaggle: files are kept only by Save Version, and data sets arrive only with Internet on "
        "(in the notebook's settings).",
        loses_files=True,
    ),
    Host(
        "vscode",
        "VS Code",
        "VS Code: if a desk stays blank, allow the scripts of widgets (setting "
        "jupyter.widgetScriptSources).",
    ),
    Host(
        "binder",
        "Binder",
        "Binder: the machine is deleted when you are idle. Download your notebooks first (File → "
        "Download).",
        loses_files=True,
    ),
    Host("jupyterhub", "JupyterHub"),
    Host("notebook", "Notebook 7"),
    Host("lab", "JupyterLab"),
    Host("jupyter", "a Jupyter kernel"),
    Host("ipython", "IPython in a terminal"),
    Host("terminal", "a terminal"),
)
HOSTS = {host.name: host for host in _HOSTS}

# what the environment of a kernel holds on each; the first that fits
_MARKS = {
    "voila": ("VOILA_APP_PORT",),
    "colab": ("COLAB_RELEASE_TAG", "COLAB_JUPYTER_IP"),
    "kaggle": ("KAGGLE_KERNEL_RUN_TYPE",),
    "binder": ("BINDER_LAUNCH_HOST", "BINDER_SERVICE_HOST"),
    "jupyterhub": ("JUPYTERHUB_API_URL",),
}
_SERVERS = {  # words of the command that started the kernel
    "jupyterhub-singleuser": "jupyterhub",
    "jupyter-notebook": "notebook",
    "notebook": "notebook",
    "jupyter-lab": "lab",
    "jupyterlab": "lab",
    "labhub": "jupyterhub",
}


def host() -> Host:
    """Return what runs this process; outside a notebook that is a terminal."""
    return HOSTS[_name()]


def memory_limit() -> int | None:
    """Return the bytes that a hub or a container allows this process; None without a limit."""
    given = [os.environ.get("MEM_LIMIT", "")]  # set by JupyterHub
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            given.append(Path(file).read_text().strip())
        except OSError:
            continue
    limits = [int(text) for text in given if text.isdigit() and 0 < int(text) < 1 << 50]
    return min(limits, default=None)


def _name() -> str:
    for name, marks in _MARKS.items():
        if any(mark in os.environ for mark in marks):
            return name
    if "IPython" not in sys.modules:
        return "terminal"
    shell: Any = sys.modules["IPython"].get_ipython()
    if not hasattr(shell, "kernel"):
        return "ipython" if shell else "terminal"
    if "__vsc_ipynb_file__" in shell.user_ns:  # set by its Jupyter extension
        return "vscode"
    return next(_names_of_parents(), "jupyter")


def _names_of_parents() -> Iterator[str]:
    """The servers among the processes that started this one, the nearest first."""
    try:
        import psutil

        for parent in psutil.Process().parents():
            for word in parent.cmdline()[:4]:
                name = _SERVERS.get(Path(word).name)
                if name and not word.startswith("-"):  # an option may name such a folder
                    yield name
    except (ImportError, OSError, psutil.Error):
        return


# --- First cells and badges ----------------------------------------------------------------------

_FIRST_CELL = """\
# {title}: run this cell first, once in a session.
%pip install --quiet "{requirement}"
!attnlab fetch"""


def first_cell(name: str) -> str:
    """Return the code with which a notebook begins on Colab or Kaggle.

    Raises
    ------
    AttnlabError
        If the notebooks need no such cell there.
    """
    needed = ("colab", "kaggle")
    if name not in needed:
        raise AttnlabError(
            f"{name} needs no first cell: attnlab is installed there before notebooks run. Those "
            f"that need one: {', '.join(needed)}."
        )
    return _FIRST_CELL.format(title=HOSTS[name].title, requirement=_requirement())


def _requirement() -> str:
    """What pip shall install: this release, or the newest where this is none."""
    import attnlab

    version = attnlab.__version__
    return "attnlab[lab]" if "dev" in version else f"attnlab[lab]=={version}"


def repository() -> str | None:
    """Return the repository's address, as ``[project.urls]`` names it; None if it names none."""
    try:
        urls = metadata.metadata("attnlab").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return None
    named = dict(url.split(", ", 1) for url in urls)
    return named["Repository"].rstrip("/") if "Repository" in named else None


def badges(notebook: str, version: str, address: str | None = None) -> str:
    """Return Markdown links that open a notebook on Colab, Kaggle and Binder.

    Parameters
    ----------
    notebook : its file name
    version : the branch or tag that is opened
    address : of a repository at GitHub; default `repository`

    Raises
    ------
    AttnlabError
        If no address is known, or it is not at GitHub.
    """
    address = address or repository()
    if address is None:
        raise AttnlabError(
            "The address of the repository is not known. Write it into pyproject.toml, under "
            '[project.urls], as Repository = "https://github.com/...", and install again.'
        )
    parts = urlsplit(address)
    owner = parts.path.strip("/").removesuffix(".git")
    if parts.hostname != "github.com" or owner.count("/") != 1:
        raise AttnlabError(
            f"{address} is no repository at GitHub, from where Colab, Kaggle and Binder open "
            "notebooks. Upload the notebooks there instead: attnlab start my-course --for colab."
        )
    file = f"{owner}/blob/{quote(version)}/notebooks/{quote(notebook)}"
    binder = quote(f"lab/tree/notebooks/{notebook}", safe="")
    links = {
        "Colab": f"https://colab.research.google.com/github/{file}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{owner}/{quote(version, safe='')}?urlpath={binder}",
    }
    return " ".join(f"[Open in {title}]({link})" for title, link in links.items())
