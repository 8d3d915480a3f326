"""Peak memory of predicting, measured in a process of its own."""

import importlib
import json
import operator
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attnlab.errors import AttnlabError
from attnlab.files import PACKAGE

__all__ = ["LOAD_CLASSIFIER", "peak_memory"]

LOAD_CLASSIFIER = "attnlab.classification:load_classifier"
_MINUTES = 10


def peak_memory(
    folder: Path, texts: Sequence[str], threads: int, loader: str = LOAD_CLASSIFIER
) -> tuple[float, float]:
    """Return the peak memory of a new process that loads a model and predicts.

    Parameters
    ----------
    folder : of a saved model
    texts : list of str, or of (str, str), answered twice in one call each
    threads : of the process
    loader : "module:function" that reads the folder

    Returns
    -------
    peak, before : 10^6 bytes of resident memory, at most and before the model is loaded, both with
        Python and its libraries

    Raises
    ------
    AttnlabError : the process fails, or the system does not say how much memory it took

    Notes
    -----
    In this process it could not be measured: freed memory is kept and used again, and other models
    lie beside. Linux says it as VmHWM. Its ru_maxrss would be that of the parent, where larger.
    """
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",  # memory of the computer, not of a GPU
    }
    asked = json.dumps(
        {"folder": str(folder), "texts": list(texts), "threads": threads, "loader": loader}
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=asked,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            timeout=60 * _MINUTES,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise AttnlabError(f"Peak memory: no answer within {_MINUTES} minutes.") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise AttnlabError(f"Peak memory cannot be measured: {said[-1]}") from error
    peak, before = json.loads(done.stdout.splitlines()[-1])
    return peak, before


def _high_water_mark() -> float:
    """The most memory that this process has had, in 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _measure() -> None:
    """What the new process does: read what is asked, load, predict, and print two numbers."""
    import torch

    asked = json.load(sys.stdin)
    texts = [tuple(text) if isinstance(text, list) else text for text in asked["texts"]]
    torch.set_num_threads(asked["threads"])
    module, _, name = asked["loader"].partition(":")
    load = operator.attrgetter(name)(importlib.import_module(module))
    before = _high_water_mark()
    model = load(asked["folder"])
    for _ in range(2):
        model.predict(texts)
    print(json.dumps([_high_water_mark(), before]))


def __dir__() -> list[str]:
    return sorted(__all__)


if __name__ == "__main__":
    _measure()
