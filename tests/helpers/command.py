"""Run `attnlab` as a shell does, without waiting for the imports of libraries each time."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# A process that has imported these is forked for each command. Nothing of ours is among them.
LIBRARIES = [
    "pandas",
    "torch",
    "torch.distributed",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "transformers.modeling_utils",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LIBRARIES)


def attnlab(*arguments, timeout=240, **environment):
    """Run a command in a process of its own; what it said, and its exit code.

    Parameters
    ----------
    arguments : what is typed behind ``attnlab``
    timeout : seconds after which it is killed, and `subprocess.TimeoutExpired` raised
    environment : variables in which it differs from ours
    """
    typed = [str(one) for one in arguments]
    environment = os.environ | {"COLUMNS": "200", **environment}
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _context.Process(target=_run, args=(typed, Path.cwd(), environment, said))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(typed, timeout)
        texts = [path.read_text(encoding="utf-8") for path in said]
    return subprocess.CompletedProcess(typed, process.exitcode, *texts)


def _run(typed, place, environment, said):
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in zip(said, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = ["attnlab", *typed]
    from attnlab.cli import main

    main(typed)
