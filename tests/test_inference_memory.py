"""What the process's memory does: no searches that stop everybody, no pages cleared for nothing."""

import gc
import platform
import resource

import psutil
import pytest
import torch

from attnlab.adaptive import load, serving
from attnlab.adaptive.controller import FixedPoint, OperatingPoint
from attnlab.adaptive.service import BatchingService
from attnlab.inference import kept_memory, no_collection, short_pauses

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


def pages_cleared(times=20):
    """Pages that the system has handed out while a tensor of 40 MB is made and dropped."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@glibc
def test_large_tensors_that_come_and_go_get_the_same_pages():
    outside = pages_cleared()
    with pytest.raises(ValueError, match="on the way"), kept_memory():
        torch.ones(10_000_000)
        inside = pages_cleared()
        raise ValueError("on the way")
    assert inside < outside / 4
    assert pages_cleared() > outside / 2


@glibc
def test_memory_is_given_back_at_the_end_of_the_outermost_block():
    def resident():
        return psutil.Process().memory_info().rss

    before = resident()
    with kept_memory():
        with kept_memory():
            torch.ones(50_000_000)
        assert resident() - before > 150e6
    assert resident() - before < 50e6
