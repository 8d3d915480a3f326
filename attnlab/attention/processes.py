"""Several processes that compute together, started from a notebook or a script.

``torchrun`` does this from the command line. Here a function is enough, also one that was just
written in a cell: each process calls it with its rank, and the answers come back as a list.
"""

import contextlib
import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from attnlab.errors import AttnlabError

__all__ = ["in_processes"]

Answer = TypeVar("Answer")
_BEGIN = "from attnlab.attention.processes import _begin; _begin()"  # in each process
_PATIENCE = 0.5  # seconds for the others to say what they know, once one has failed


def in_processes(
    work: Callable[..., Answer],
    processes: int,
    *arguments: Any,
    timeout: float = 60.0,
    threads: int = 1,
) -> list[Answer]:
    """Call ``work(rank, *arguments)`` in several processes that know each other.

    Within ``work`` the collectives of ``torch.distributed`` (backend gloo, on the processor) and
    `attnlab.attention.ring_attention` work. What goes in and comes back is copied. Afterwards, and
    after an error, no process is left.

    Parameters
    ----------
    work : a function; it may be one of the notebook
    processes : how many
    arguments : what it gets besides the rank
    timeout : seconds for all of it
    threads : of each process

    Returns
    -------
    answers : what ``work`` returned in process 0, 1, ...

    Raises
    ------
    AttnlabError : a process raised an error, was killed, or did not finish; the others are stopped

    >>> in_processes(lambda rank, base: base + rank, 2, 10)
    [10, 11]
    """
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise AttnlabError(f"processes is {processes!r}; it is a whole number from 1 on.")
    if not (timeout > 0 and math.isfinite(timeout)):
        raise AttnlabError(f"timeout is {timeout!r}; it is a number of seconds above 0.")
    try:
        order = cloudpickle.dumps((work, arguments))
    except Exception as error:
        raise AttnlabError(
            f"The work cannot be sent to other processes: {error}. Open files, locks and running "
            "widgets stay at home: make them within the function."
        ) from error
    with tempfile.TemporaryDirectory(prefix="attnlab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "order").write_bytes(order)
        with _started(folder, processes, timeout, threads) as children:
            _wait(children, folder, timeout)
        return [pickle.loads((folder / f"answer{rank}").read_bytes()) for rank in range(processes)]


@contextlib.contextmanager
def _started(
    folder: Path, processes: int, timeout: float, threads: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, which end with the block whatever happens in it."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        "OMP_NUM_THREADS": str(threads),
        "WORLD_SIZE": str(processes),
    }
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback:  # no network is needed, and no name of this machine
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            command = [sys.executable, "-c", _BEGIN, str(folder), str(rank)]
            children.append(
                subprocess.Popen(
                    [*command, str(processes), str(timeout)],
                    env=environment | {"RANK": str(rank)},
                    stdin=subprocess.PIPE,  # closes when this process dies: so do the others then
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield children
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()


def _wait(children: list[subprocess.Popen[bytes]], folder: Path, timeout: float) -> None:
    """Until all have answered, or one cannot."""
    end = time.monotonic() + timeout
    while any(child.poll() is None for child in children):
        if any(child.returncode for child in children):
            break
        if time.monotonic() > end:
            running = [rank for rank, child in enumerate(children) if child.poll() is None]
            raise AttnlabError(
                f"{_counted(running)} of {len(children)} did not finish within {timeout:g} "
                "seconds, so all were stopped. Does one wait for a message that nobody sends? Or "
                "give more time: timeout=."
            )
        time.sleep(0.01)
    if not any(child.returncode for child in children):
        return
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience and any(child.poll() is None for child in children):
        time.sleep(0.01)
    killed = {rank: child.returncode for rank, child in enumerate(children) if child.returncode}
    raise AttnlabError(_what_happened(killed, len(children), folder))


def _what_happened(ended: dict[int, int], processes: int, folder: Path) -> str:
    """The first cause: who was killed, or else whose error came first."""
    told = {rank: folder / f"error{rank}" for rank in ended if (folder / f"error{rank}").exists()}
    silent = [rank for rank in ended if rank not in told]
    if silent:
        code = ended[silent[0]]
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return (
            f"{_counted(silent)} of {processes} ended {how} before the answer was there, so "
            "the others were stopped. Was it killed, or did memory run out?"
        )
    first = min(told, key=lambda rank: told[rank].stat().st_mtime_ns)
    return (
        f"Process {first} of {processes} raised an error; the others were stopped.\n"
        f"{told[first].read_text()}"
    )


def _counted(ranks: list[int]) -> str:
    return f"Process {ranks[0]}" if len(ranks) == 1 else f"Processes {', '.join(map(str, ranks))}"


# ── in each of the processes ───────────────────────────────────────────────────────────────────


def _work(folder: Path, rank: int, processes: int, timeout: float) -> None:
    """Do what is asked and write the answer, or the error."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        work, arguments = pickle.loads((folder / "order").read_bytes())
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=processes,
            timeout=timedelta(seconds=timeout),
        )
        answer = cloudpickle.dumps(work(rank, *arguments))
        dist.barrier()  # nobody leaves while another still waits for a message
        _write(folder / f"answer{rank}", answer)
        dist.destroy_process_group()
    except BaseException as error:
        import traceback

        lines = traceback.format_exception(error)
        _write(folder / f"error{rank}", "".join(lines)[-3000:].encode())
        raise SystemExit(1) from error


def _write(path: Path, content: bytes) -> None:
    whole = path.with_suffix(".part")
    whole.write_bytes(content)
    whole.replace(path)


def _end_with_the_parent() -> None:
    """The pipe from the process that started this one closes when that one dies."""
    os.read(0, 1)  # not through sys.stdin, whose lock Python would want when it ends
    os._exit(1)


def _begin() -> None:
    folder, rank, processes, timeout = sys.argv[1:]
    _work(Path(folder), int(rank), int(processes), float(timeout))


def __dir__() -> list[str]:
    return sorted(__all__)
