"""A full search for garbage stops every thread; where requests are answered, it stays short."""

import gc

import pytest

from attnlab.adaptive import load, serving
from attnlab.adaptive.controller import FixedPoint, OperatingPoint
from attnlab.adaptive.pauses import short_pauses
from attnlab.adaptive.service import BatchingService

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
