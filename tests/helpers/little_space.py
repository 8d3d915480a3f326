"""A disk that is full, for real: the system refuses to write files beyond a size."""

import contextlib

import pytest


@contextlib.contextmanager
def little_space(bytes_of_a_file):
    """Files cannot grow beyond so many bytes inside the block."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_of_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
