"""What many tests share: the bundled classifier and its data."""

import os

os.environ.setdefault("ATTNLAB_PROFILE", "ci")
# threads that wait for each other without spinning: on a busy machine spinning ones make everything crawl
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib
import pytest

import attnlab as al

matplotlib.use("agg")


@pytest.fixture(scope="session")
def clf():
    return al.load_classifier("movie-sentiment")


@pytest.fixture(scope="session")
def movies():
    return al.datasets.load("movie-sentiment")


@pytest.fixture(scope="session")
def some(movies):
    """A few held-out sentences."""
    return movies.dev.sample(40)
