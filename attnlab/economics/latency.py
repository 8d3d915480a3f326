"""A latency table: what a layer takes by heads and neurons, and from it what any sub-network takes.

Layers are not timed by themselves, where their weights would stay in the cache: whole models of a
few sizes are, and what one block takes follows by non-negative least squares.
"""

import itertools
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from attnlab.compression.hardware import hardware
from attnlab.economics.passes import build, forward_pass
from attnlab.economics.shapes import Shape, megabytes
from attnlab.economics.timing import Times, check_timing, interleaved, warn_of_noise
from attnlab.errors import AttnlabError, AttnlabWarning
from attnlab.files import atomic_write, read_json, understood

__all__ = ["LatencyTable", "random_shapes"]

_WORDS = 2000  # rows of the word embeddings while measuring: a lookup takes the same in any number
_TOGETHER = 1e9  # bytes of models that are in memory at once
_PARTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
Cell = tuple[int, int]  # tokens, batch


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Milliseconds of the building blocks of a classifier, on this machine.

    A layer with h heads and n neurons takes a constant, plus a function of h, plus one of n, both
    linear between the sizes that were measured; the rest of the model, embeddings and classifier, a
    constant. Make one with `LatencyTable.measure`.

    Attributes
    ----------
    shape : the largest that it can predict
    cells : for each (tokens, batch) the milliseconds: of the rest, of a layer with the smallest
        sizes, and of each step to the next size of heads and of neurons
    measured : DataFrame of the models that it was fitted to: ``tokens``, ``batch``, ``layers``,
        ``heads``, ``neurons`` (those of all layers), ``ms`` (median), ``ms_p95``, ``ms_quiet``,
        ``rounds``, ``fitted_ms``
    about : ``threads``, and what `hardware` says
    """

    shape: Shape
    cells: dict[Cell, list[float]]
    measured: pd.DataFrame
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def measure(
        cls,
        shape: Shape,
        tokens: Sequence[int] = (32,),
        batches: Sequence[int] = (1, 32),
        *,
        rounds: int = 15,
        seconds: float = 30.0,
        threads: int = 1,
        seed: int = 0,
    ) -> "LatencyTable":
        """Measure whole models of about twenty sizes, with random weights, in turn.

        Parameters
        ----------
        shape : of the classifier before anything was taken away, see `shape_of`
        tokens, batches : each length T with each number of texts B
        rounds, seconds : for each T and B; see `latency`
        threads : of torch
        seed : of the weights

        Raises
        ------
        AttnlabError : no lengths, numbers without sense, more tokens than positions, matrices that
            are products of thin ones

        Warns
        -----
        AttnlabWarning : a machine that is busy meanwhile

        Notes
        -----
        What else a machine does only adds to a time, so that the table is of the time on the
        processor alone (``ms_quiet``), where that can be told. Models that do not fit into memory
        together are measured in groups, each with the largest one, and brought to its speed, so
        that a slower minute is no slower model.
        """
        check_timing(rounds, seconds, threads)
        _refuse_products(shape)
        if not tokens or not batches:
            raise AttnlabError("Give one length or more, and one number of texts or more.")
        designs, tables = _designs(shape), []
        cells = sorted(set(itertools.product(tokens, batches)))
        times = _measured(shape, designs, cells, rounds, seconds, threads, seed)
        warn_of_noise(max(table.attrs["spread"] for table in times.values()))
        fitted = {}
        for cell, table in times.items():
            rows = np.array([_row(shape, design) for design in designs])
            fitted[cell] = _fitted(rows, table["ms_quiet"].to_numpy())
            table["fitted_ms"] = rows @ fitted[cell]
            both = dict(zip(("tokens", "batch"), cell, strict=True))
            tables.append(table.assign(**both)[[*both, *table.columns]])
        about = {"threads": threads, **hardware()}
        table = pd.concat(tables, ignore_index=True)
        return cls(shape, {cell: row.tolist() for cell, row in fitted.items()}, table, about)

    @property
    def blocks(self) -> pd.DataFrame:
        """The building blocks: ``tokens``, ``batch``, ``block``, ``heads``, ``neurons``, ``ms``.

        ``block`` is "layer", or "rest", which has no heads and neurons (<NA>).
        """
        rows: list[tuple[Any, ...]] = []
        heads, neurons = _knots(self.shape)
        for (tokens, batch), fitted in self.cells.items():
            rows.append((tokens, batch, "rest", None, None, fitted[0]))
            for pair in itertools.product(heads, neurons):
                ms = float(np.dot(_layer_row(self.shape, *pair), fitted[1:]))
                rows.append((tokens, batch, "layer", *pair, ms))
        columns = ["tokens", "batch", "block", "heads", "neurons", "ms"]
        return pd.DataFrame(rows, columns=columns).astype({"heads": "Int64", "neurons": "Int64"})

    def predict(self, shape: Shape, tokens: int = 32, batch: int = 1) -> float:
        """Return the milliseconds that a classifier of this shape takes for B texts of T tokens.

        It is the time where the machine does nothing else. Between two lengths that were measured
        it is a straight line.

        Raises
        ------
        AttnlabError : a shape of another kind, or larger than what was measured; lengths outside of
            those measured, and other numbers of texts
        """
        self._check(shape)
        row, (low, high) = _row(self.shape, shape), self._around(tokens, batch)
        first, last = (float(row @ self.cells[length, batch]) for length in (low, high))
        return first if low == high else first + (last - first) * (tokens - low) / (high - low)

    def check(
        self,
        shapes: int | Sequence[Shape] = 30,
        *,
        rounds: int = 10,
        seconds: float = 30.0,
        seed: int = 1,
    ) -> pd.DataFrame:
        """Measure sub-networks that were not used to fit, and compare with what is predicted.

        Parameters
        ----------
        shapes : how many to draw by chance, see `random_shapes`; or those
        rounds, seconds : for each length and number of texts
        seed : of drawing, and of the weights

        Returns
        -------
        DataFrame, a row for each shape, length and number of texts: ``tokens``, ``batch``,
        ``layers``, ``heads``, ``neurons`` (those of all layers), ``ms``, ``ms_p95``, ``ms_quiet``,
        ``rounds``, ``predicted_ms``, and ``error``: predicted / quiet - 1. ``attrs["errors"]``
        is a DataFrame with the median and the 95th percentile of its absolute value for each length
        and number of texts, and with ``drift``: the time of the largest model now, in parts of its
        time when the table was measured.
        """
        if isinstance(shapes, int):
            shapes = random_shapes(self.shape, shapes, seed)
        for shape in shapes:
            self._check(shape)
        tables, errors = [], []
        threads = self.about["threads"]
        times = _measured(self.shape, shapes, list(self.cells), rounds, seconds, threads, seed)
        warn_of_noise(max(table.attrs["spread"] for table in times.values()))
        for (tokens, batch), table in times.items():
            table["predicted_ms"] = [self.predict(one, tokens, batch) for one in shapes]
            table["error"] = table["predicted_ms"] / table["ms_quiet"] - 1
            cell = {"tokens": tokens, "batch": batch}
            tables.append(table.assign(**cell)[[*cell, *table.columns]])
            before = self.measured.query("tokens == @tokens and batch == @batch").iloc[0]
            off = table["error"].abs()
            errors.append(
                cell
                | {"median": off.median(), "p95": off.quantile(0.95)}
                | {"drift": table.attrs["whole_ms"] / before["ms_quiet"]}
            )
        result = pd.concat(tables, ignore_index=True)
        result.attrs = {"errors": pd.DataFrame(errors), **self.about}
        return result

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table to a JSON file, whole or not at all."""
        shape = {name: getattr(self.shape, name) for name in self.shape.__dataclass_fields__}
        content = {
            "shape": shape,
            "cells": [[*cell, fitted] for cell, fitted in self.cells.items()],
            "measured": self.measured.to_dict("list"),
            "about": self.about,
        }
        return atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LatencyTable":
        """Read what `save` wrote; AttnlabWarning where it was measured on another machine."""
        with understood(path, "Measure again: LatencyTable.measure(shape)."):
            content = read_json(path)
            pairs = {
                name: tuple(tuple(one) if isinstance(one, list) else one for one in value)
                for name, value in content["shape"].items()
                if isinstance(value, list)
            }
            shape = Shape(**content["shape"] | pairs)
            cells = {(tokens, batch): fitted for tokens, batch, fitted in content["cells"]}
            table = cls(shape, cells, pd.DataFrame(content["measured"]), content["about"])
        here = hardware()
        other = [name for name in here if here[name] != table.about.get(name)]
        if other:
            warnings.warn(
                f"{path} was measured elsewhere ({', '.join(other)} differ): its milliseconds are "
                "not this machine's. Measure again: LatencyTable.measure(shape).",
                AttnlabWarning,
                stacklevel=2,
            )
        return table

    def _check(self, shape: Shape) -> None:
        _refuse_products(shape)
        for name in ("family", "width", "head_width", "embedding_width"):
            mine, other = getattr(self.shape, name), getattr(shape, name)
            if mine != other:
                raise AttnlabError(
                    f"This latency table is for {name} {mine!r}, the shape has {other!r}. Measure "
                    "another: LatencyTable.measure(shape)."
                )
        most = _most(self.shape)
        size = (len(shape.layers), *_most(shape)[1:])
        if any(count > limit for count, limit in zip(size, most, strict=True)):
            raise AttnlabError(
                f"This latency table goes up to {most[0]} layers with {most[1]} heads and {most[2]}"
                f" neurons; the shape has {size[0]} layers with up to {size[1]} and {size[2]}."
            )

    def _around(self, tokens: int, batch: int) -> tuple[int, int]:
        """The measured lengths below and above."""
        lengths = sorted(length for length, texts in self.cells if texts == batch)
        if not lengths or not lengths[0] <= tokens <= lengths[-1]:
            known = ", ".join(f"{length} x {texts}" for length, texts in self.cells)
            raise AttnlabError(
                f"{tokens} tokens in {batch} texts: this latency table was measured for {known} "
                "(tokens x texts). Give tokens= and batches= to LatencyTable.measure."
            )
        low = max(length for length in lengths if length <= tokens)
        return low, min(length for length in lengths if length >= tokens)


def random_shapes(shape: Shape, count: int = 30, seed: int = 0) -> list[Shape]:
    """Draw sub-networks by chance: at least half of the layers, each with any heads and neurons.

    Where layers share their weights, as in ALBERT, all stay and have the same.
    """
    generator = np.random.default_rng(seed)
    depth, heads, neurons = _most(shape)
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


# --- what is measured ---------------------------------------------------------------------------


def _most(shape: Shape) -> tuple[int, int, int]:
    """Layers, and the most heads and neurons of any."""
    return len(shape.layers), *(max(sizes) for sizes in zip(*shape.layers, strict=True))


def _refuse_products(shape: Shape) -> None:
    if shape.ranks:
        raise AttnlabError(
            "A latency table is for plain matrices, and some of this shape's are products of thin "
            "ones (factorize). Measure such a model itself: al.economics.latency."
        )


def _knots(shape: Shape) -> tuple[list[int], list[int]]:
    """The numbers of heads and of neurons between which time is taken to be linear."""
    _, heads, neurons = _most(shape)
    some = {round(part * heads) for part in _PARTS} | {0, 1} if heads else {0}
    few = {max(1, round(part * neurons)) for part in _PARTS} | {1}
    return sorted(some), sorted(few)


def _designs(shape: Shape) -> list[Shape]:
    """Shapes that tell all blocks apart; the largest comes first."""
    depth, most, widest = _most(shape)
    heads, neurons = _knots(shape)
    middle, few = heads[len(heads) // 2], neurons[min(2, len(neurons) - 1)]
    sizes = [(depth, most, widest)]
    sizes += [(depth, count, few) for count in heads]
    sizes += [(depth, middle, count) for count in neurons]
    sizes += [(depth, 0, 1), (1, most, widest), (1, 0, 1), (-(-depth // 2), middle, widest)]
    return [_uniform(shape, *size) for size in dict.fromkeys(sizes)]


def _uniform(shape: Shape, depth: int, heads: int, neurons: int) -> Shape:
    sharing = (0,) * depth if shape.sharing else ()
    return replace(shape, layers=((heads, neurons),) * depth, sharing=sharing)


def _measured(
    whole: Shape,
    shapes: Sequence[Shape],
    cells: Iterable[Cell],
    rounds: int,
    seconds: float,
    threads: int,
    seed: int,
) -> dict[Cell, pd.DataFrame]:
    """Times of models of these shapes, a row each, in parts of the time of the largest one."""
    largest = _uniform(whole, *_most(whole))
    found: dict[Cell, list[Times]] = {cell: [] for cell in cells}
    for group in _groups(shapes):
        models = [build(replace(one, vocabulary=_WORDS), seed) for one in (largest, *group)]
        for cell, tables in found.items():
            calls = {str(number): forward_pass(one, *cell) for number, one in enumerate(models)}
            share = seconds * len(group) / len(shapes)
            tables.append(interleaved(calls, rounds=rounds, seconds=share, threads=threads))
    return {cell: _together(shapes, tables) for cell, tables in found.items()}


def _groups(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Groups of shapes whose models fit into memory together."""
    group: list[Shape] = []
    for shape in shapes:
        small = [replace(one, vocabulary=_WORDS) for one in (*group, shape)]
        if group and 1e6 * sum(map(megabytes, small)) > _TOGETHER:
            yield group
            group = []
        group.append(shape)
    yield group


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


# --- what is fitted -----------------------------------------------------------------------------


def _row(whole: Shape, shape: Shape) -> np.ndarray:
    """How often each block is in a model: the rest, the constant of a layer, steps of size."""
    layers = sum(_layer_row(whole, *pair) for pair in shape.layers)
    return np.concatenate([[1.0], layers])


def _layer_row(whole: Shape, heads: int, neurons: int) -> np.ndarray:
    """Of a layer: its constant 1, and how much of each step to the next size it has, 0 to 1."""
    steps = [1.0]
    for count, knots in zip((heads, neurons), _knots(whole), strict=True):
        for low, high in itertools.pairwise(knots):
            steps.append(min(1.0, max(0.0, (count - low) / (high - low))))
    return np.array(steps)


def _fitted(rows: np.ndarray, ms: np.ndarray) -> np.ndarray:
    """The milliseconds of each block, none below 0, with the least relative error."""
    if not all(math.isfinite(one) and one > 0 for one in ms):
        raise AttnlabError(f"These are no times in milliseconds: {ms.tolist()}.")
    return nnls(rows / ms[:, None], np.ones(len(ms)))[0]


def __dir__() -> list[str]:
    return sorted(__all__)
