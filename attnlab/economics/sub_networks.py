"""Sub-networks of a classifier, drawn at random, built and timed in turn."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from attnlab.economics.passes import build, forward_pass
from attnlab.economics.shapes import Shape, megabytes
from attnlab.economics.timing import Times, interleaved
from attnlab.errors import AttnlabError

__all__ = ["largest", "random_shapes", "timed_shapes", "uniform"]

Cell = tuple[int, int]  # tokens, batch
_WORDS = 2000  # rows of the word embeddings while measuring: a lookup takes the same in any number
_TOGETHER = 1e9  # bytes of models that are in memory at once


def random_shapes(shape: Shape, count: int = 30, seed: int = 0) -> list[Shape]:
    """Draw sub-networks at random: at least half of the layers, each with any heads and neurons.

    Where layers share their weights, as in ALBERT, all stay and have the same.

    Raises
    ------
    AttnlabError : a number of shapes that is none
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise AttnlabError(f"count is {count!r}; expected a whole number of at least 1.")
    generator = np.random.default_rng(seed)
    depth, heads, neurons = largest(shape)
    found = []
    for _ in range(count):
        layers = depth if shape.sharing else int(generator.integers((depth + 1) // 2, depth + 1))
        pairs = [
            (int(generator.integers(0, heads + 1)), int(generator.integers(1, neurons + 1)))
            for _ in range(layers)
        ]
        if shape.sharing:
            pairs = [pairs[owner] for owner in shape.sharing]
        found.append(replace(shape, layers=tuple(pairs)))
    return found


def largest(shape: Shape) -> tuple[int, int, int]:
    """Layers, and the most heads and neurons of any."""
    return len(shape.layers), *(max(sizes) for sizes in zip(*shape.layers, strict=True))


def uniform(shape: Shape, depth: int, heads: int, neurons: int) -> Shape:
    """The same with so many layers that are alike."""
    sharing = (0,) * depth if shape.sharing else ()
    return replace(shape, layers=((heads, neurons),) * depth, sharing=sharing)


def timed_shapes(
    whole: Shape,
    shapes: Sequence[Shape],
    cells: Iterable[Cell],
    rounds: int,
    seconds: float,
    threads: int,
    seed: int,
) -> dict[Cell, pd.DataFrame]:
    """Build models of these shapes and time them in turn.

    Parameters
    ----------
    whole : shape whose largest model runs along with each group that fits into memory
    shapes : of the models
    cells : (tokens, batch) to time each for
    rounds, seconds, threads : for each cell, see `interleaved`
    seed : of the weights

    Returns
    -------
    for each cell a DataFrame, a row per shape: ``layers``, ``heads``, ``neurons`` (those of all
    layers), ``ms``, ``ms_p95``, ``ms_quiet``, ``rounds``. ``attrs`` hold ``whole_ms``, the quiet
    time of the largest model, and ``spread``, see `Times`.
    """
    whole = uniform(whole, *largest(whole))
    found: dict[Cell, list[Times]] = {cell: [] for cell in cells}
    for group in _groups(shapes):
        models = [build(_small(one), seed) for one in (whole, *group)]
        for cell, tables in found.items():
            calls = {str(number): forward_pass(one, *cell) for number, one in enumerate(models)}
            share = seconds * len(group) / len(shapes)
            tables.append(interleaved(calls, rounds=rounds, seconds=share, threads=threads))
    return {cell: _together(shapes, tables) for cell, tables in found.items()}


def _groups(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Groups of shapes whose models fit into memory together."""
    group: list[Shape] = []
    for shape in shapes:
        if group and sum(map(_bytes, (*group, shape))) > _TOGETHER:
            yield group
            group = []
        group.append(shape)
    yield group


def _small(shape: Shape) -> Shape:
    return replace(shape, vocabulary=min(_WORDS, shape.vocabulary))


def _bytes(shape: Shape) -> float:
    return 1e6 * megabytes(_small(shape))


def _together(shapes: Sequence[Shape], groups: list[Times]) -> pd.DataFrame:
    """One table of several groups, brought to the same speed of the largest model, its row "0"."""
    tables = [group.summary() for group in groups]
    whole = float(np.median([table.loc["0", "ms_quiet"] for table in tables]))
    for table in tables:
        table[["ms", "ms_p95", "ms_quiet"]] *= whole / table.loc["0", "ms_quiet"]
    result = pd.concat([table.iloc[1:] for table in tables], ignore_index=True)
    result.insert(0, "layers", [len(shape.layers) for shape in shapes])
    for place, name in ((1, "heads"), (2, "neurons")):
        result.insert(place, name, [sum(pair[place - 1] for pair in one.layers) for one in shapes])
    result.attrs = {"whole_ms": whole, "spread": max(group.spread for group in groups)}
    return result


def __dir__() -> list[str]:
    return sorted(__all__)
