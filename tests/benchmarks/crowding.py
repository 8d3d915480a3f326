"""Many students on one machine: what each kernel and each server costs, when all start at once.

Every kernel runs what lesson 00 begins with: the film classifier, its data, an answer and a
picture. Memory is the proportional set size (PSS) of Linux, in which a page that n processes share
counts as 1/n in each: the sum over processes is what the machine really holds. Some minutes, and up
to 20 GB; sizes for which there is no room are left out, and say so.
"""

import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from rows import Row, not_measured, row

from attnlab import datasets

SIZES = (1, 10, 30)  # kernels that start at the same moment
ROOM_MB, SPARE_MB = 550, 1500  # for a kernel; what the rest of the machine keeps
PATIENCE_S = 540.0
SERVERS = 5
STUDENT = """
import matplotlib.pyplot as plt
import attnlab as al

clf = al.load_classifier("movie-sentiment")
data = al.datasets.load("movie-sentiment").dev.sample(40)
clf.predict(data.texts)
maps = clf.attend("A warm and funny film.")
plt.imshow(maps.weights[0, 0])
plt.close()
"""


@dataclass(frozen=True)
class Started:
    """A kernel of one student: seconds from the common start, and where its memory is."""

    ready_s: float
    answered_s: float
    pss_mb: float
    private_mb: float
    weights_mb: float  # of the weights' file, read and shared


def measure() -> list[Row]:
    """Kernels that start together, in several sizes, and idle JupyterLab servers."""
    rows = []
    for size in SIZES:
        wanted, free = size * ROOM_MB + SPARE_MB, psutil.virtual_memory().available / 1e6
        if free < wanted:
            why = f"{size} kernels want {wanted / 1000:.0f} GB; {free / 1000:.0f} GB were free"
            rows.append(not_measured(f"hub.kernel_pss_mb.{size}", "MB", why))
            continue
        rows += _rows(size, started(size))
    return [*rows, *measure_servers()]


def _rows(size: int, kernels: list[Started]) -> list[Row]:
    def figure(name: str, unit: str, runs: list[float], value: float | None = None) -> Row:
        value = statistics.median(runs) if value is None else value
        return row(f"hub.{name}.{size}", value, unit, runs, n=size)

    pss = [kernel.pss_mb for kernel in kernels]
    answered = [kernel.answered_s for kernel in kernels]
    return [
        figure("kernel_pss_mb", "MB a kernel, lesson 00 loaded", pss),
        figure("kernels_mb", "MB, all kernels together", [sum(pss)]),
        figure("private_mb", "MB a kernel, not shared", [kernel.private_mb for kernel in kernels]),
        figure("weights_mb", "MB of mapped weights", [kernel.weights_mb for kernel in kernels]),
        figure(
            "ready_s",
            "s until a kernel answers, the last of those that start together",
            [kernel.ready_s for kernel in kernels],
            max(kernel.ready_s for kernel in kernels),
        ),
        figure(
            "answered_s",
            "s until the model has answered, the last of those that start together",
            answered,
            max(answered),
        ),
    ]


# --- Kernels -------------------------------------------------------------------------------------


def started(size: int) -> list[Started]:
    """Start this many kernels at once and run the beginning of lesson 00 in each."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "ATTNLAB_CACHE": str(datasets.cache_dir()),
        "ATTNLAB_PROFILE": "cpu",
    }
    with ExitStack() as ending, tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        managers = []
        for _ in range(size):
            manager = KernelManager()
            manager.start_kernel(env=environment, cwd=folder)
            ending.callback(manager.shutdown_kernel, now=True)
            managers.append(manager)

        def run(manager: KernelManager) -> tuple[float, float]:
            client: BlockingKernelClient = manager.blocking_client()
            client.start_channels()
            try:
                client.wait_for_ready(timeout=PATIENCE_S)
                ready = time.perf_counter() - start
                reply = client.execute_interactive(
                    STUDENT, timeout=PATIENCE_S, output_hook=lambda message: None
                )
                if reply["content"]["status"] != "ok":
                    raise RuntimeError("\n".join(reply["content"]["traceback"]))
                return ready, time.perf_counter() - start
            finally:
                client.stop_channels()

        with ThreadPoolExecutor(size) as students:
            seconds = list(students.map(run, managers))
        pids = [manager.provisioner.pid for manager in managers]
        return [Started(*times, *memory(pid)) for times, pid in zip(seconds, pids, strict=True)]


def memory(pid: int) -> tuple[float, float, float]:
    """Return a process's PSS, its private memory, and what it shares of weights' files, in MB."""
    whole = dict(_kilobytes(Path(f"/proc/{pid}/smaps_rollup")))
    private = whole["Private_Clean"] + whole["Private_Dirty"]
    weights, mapped = 0.0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            mapped = rest[-1] if len(rest) == 5 else ""
        elif first == "Shared_Clean:" and mapped.endswith(".safetensors"):
            weights += int(rest[0]) / 1024
    return whole["Pss"] / 1024, private / 1024, weights


def _kilobytes(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_text().splitlines()[1:]:
        name, number, _ = line.split()
        yield name.rstrip(":"), int(number)


# --- Servers -------------------------------------------------------------------------------------


def measure_servers() -> list[Row]:
    """JupyterLab servers, each of which has shown its page once and has no kernel."""
    with ExitStack() as ending:
        pids = [ending.enter_context(_server()) for _ in range(SERVERS)]
        found = [memory(pid)[0] for pid in pids]
    return [row("hub.server_pss_mb", statistics.median(found), "MB a JupyterLab server", found)]


@contextmanager
def _server() -> Iterator[int]:
    """A JupyterLab server whose page was loaded; its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        token = secrets.token_hex(8)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += [
            f"--port={port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={folder}",
        ]
        process = subprocess.Popen(
            [*command, f"--IdentityProvider.token={token}"],
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/lab?token={token}", process)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=30).read()
            return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended with {process.returncode}.") from None
            time.sleep(0.2)
    raise TimeoutError(f"{address} did not answer in two minutes.")
