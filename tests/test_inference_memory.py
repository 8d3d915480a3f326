"""What the process's memory does: no searches that stop everybody, no pages cleared for nothing."""

import gc
import json
import platform
import subprocess
import sys
import textwrap

import pytest

from attnlab.adaptive import load, serving
from attnlab.adaptive.controller import FixedPoint, OperatingPoint
from attnlab.adaptive.service import BatchingService
from attnlab.inference import no_collection, short_pauses

A_PROCESS = 10_000  # objects, at the least, that are left alone


def test_what_was_there_is_left_alone_within_the_block_only():
    assert gc.get_freeze_count() == 0
    with pytest.raises(ValueError, match="on the way"), short_pauses():
        assert gc.get_freeze_count() > A_PROCESS
        raise ValueError("on the way")
    assert gc.get_freeze_count() == 0


def test_a_service_is_not_stopped_by_what_was_loaded_before(monkeypatch):
    seen = []

    class Web:
        def run(self, sockets):
            seen.append(gc.get_freeze_count())

    monkeypatch.setattr(serving, "_server", lambda *given: Web())
    serving.run(BatchingService(FixedPoint(OperatingPoint("full", 0.9, 1.0))), bound=None)
    assert seen[0] > A_PROCESS
    assert gc.get_freeze_count() == 0


def test_a_load_generator_is_not_late_for_that_reason():
    async def left_alone():
        return gc.get_freeze_count()

    assert load._finished(left_alone()) > A_PROCESS


@pytest.mark.parametrize("before", [True, False])
def test_no_garbage_is_collected_inside_the_block_and_all_is_as_before_afterwards(before):
    collecting = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(KeyError), no_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == before
    finally:
        (gc.enable if collecting else gc.disable)()


# --- tensors that come and go ---------------------------------------------------------------------

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only glibc has these limits; with another C library kept_memory changes nothing",
)


COUNTING = """
import json, resource
import psutil, torch
from attnlab.inference import kept_memory

def pages_cleared(numbers=10_000_000, times=20):
    # that the system has handed out, per tensor, while one is made and dropped again and again
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(numbers)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times

def resident():
    return psutil.Process().memory_info().rss

seen = {}
"""


def counted(steps):
    """What these steps note in ``seen``, in a process of their own.

    After thousands of tests the heap of this one has holes that a tensor fits into, whatever the
    limits are.
    """
    program = COUNTING + textwrap.dedent(steps) + "\nprint(json.dumps(seen))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@glibc
def test_large_tensors_that_come_and_go_get_the_same_pages_inside_the_block_only():
    seen = counted("""
        seen["before"] = pages_cleared()
        try:
            with kept_memory():
                torch.ones(10_000_000)
                seen["inside"] = pages_cleared()
                raise KeyError
        except KeyError:  # larger than what may have stayed free between two other blocks
            seen["after"] = pages_cleared(100_000_000, times=3)
    """)
    assert seen["inside"] < seen["before"] / 2
    assert seen["after"] > 9 * seen["before"]


@glibc
def test_memory_is_given_back_at_the_end_of_the_outermost_block():
    seen = counted("""
        before = resident()
        with kept_memory():
            with kept_memory():
                torch.ones(50_000_000)
            seen["kept"] = resident() - before
        seen["in the end"] = resident() - before
    """)
    assert seen["kept"] > 150e6
    assert seen["in the end"] < 50e6
