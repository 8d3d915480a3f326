"""A latency table: what a layer takes by heads and neurons, and from it what any sub-network takes.

Layers are not timed by themselves, where their weights would stay in the cache: whole models of a
few sizes are, and what one block takes follows by non-negative least squares.
"""

import itertools
import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from attnlab.compression.hardware import hardware
from attnlab.economics.shapes import Shape
from attnlab.economics.sub_networks import Cell, largest, random_shapes, timed_shapes, uniform
from attnlab.economics.timing import check_timing, warn_of_noise
from attnlab.errors import AttnlabError, AttnlabWarning, option, worded
from attnlab.files import atomic_write, read_json, understood

__all__ = ["LatencyTable", "how_far_off"]

_PARTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # of all heads or neurons, besides 0 and 1


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
        times = timed_shapes(shape, designs, cells, rounds, seconds, threads, seed)
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
        _refuse_others(self.shape, shape)
        low, high = _around(self.cells, tokens, batch)
        first, last = (self._predicted(shape, (length, batch)) for length in (low, high))
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
        is a DataFrame with, for each length and number of texts:

        - ``median`` and ``p95`` (95th percentile) of the absolute error;
        - ``drift``, the time of the largest model now over its time when the table was measured: a
          machine is not always equally fast;
        - ``factor``, the median of ``ms_quiet`` over ``predicted_ms``;
        - ``relative``, the median absolute error that is left when predictions are multiplied by
          ``factor``: how well the table compares sub-networks, however fast the machine is now.
        """
        if isinstance(shapes, int):
            shapes = random_shapes(self.shape, shapes, seed)
        if not shapes:
            raise AttnlabError("There are no shapes to check. Say how many, from 1, or give some.")
        for shape in shapes:
            _refuse_others(self.shape, shape)
        tables, errors = [], []
        threads = self.about["threads"]
        times = timed_shapes(self.shape, shapes, list(self.cells), rounds, seconds, threads, seed)
        warn_of_noise(max(table.attrs["spread"] for table in times.values()))
        for (tokens, batch), table in times.items():
            table["predicted_ms"] = [self.predict(one, tokens, batch) for one in shapes]
            table["error"] = table["predicted_ms"] / table["ms_quiet"] - 1
            cell = {"tokens": tokens, "batch": batch}
            tables.append(table.assign(**cell)[[*cell, *table.columns]])
            before = self.measured.query("tokens == @tokens and batch == @batch").iloc[0]
            drift = table.attrs["whole_ms"] / before["ms_quiet"]
            errors.append(cell | how_far_off(table) | {"drift": drift})
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
        _warn_of_another_machine(path, table.about)
        return table

    def _predicted(self, shape: Shape, cell: Cell) -> float:
        rest, constant, *curves = self._curves[cell]
        ms = rest + constant * len(shape.layers)
        sizes = zip(*shape.layers, strict=True)
        for counts, knots, curve in zip(sizes, _knots(self.shape), curves, strict=True):
            ms += np.interp(counts, knots, curve).sum()
        return float(ms)

    @cached_property
    def _curves(self) -> dict[Cell, tuple[Any, ...]]:
        """For each cell the rest, a layer's constant, and what it takes more at each size."""
        split = len(_knots(self.shape)[0]) + 1
        return {
            cell: (
                *fitted[:2],
                *(np.cumsum([0, *steps]) for steps in (fitted[2:split], fitted[split:])),
            )
            for cell, fitted in self.cells.items()
        }


# --- what is refused ----------------------------------------------------------------------------


def _refuse_products(shape: Shape) -> None:
    if shape.ranks:
        raise AttnlabError(
            "A latency table is for plain matrices, and some of this shape's are products of thin "
            "ones (factorize). "
            + worded(
                "Measure such a model itself: al.economics.latency.",
                f"Leave {option('latency_ms')} out.",
            )
        )


def _refuse_others(whole: Shape, shape: Shape) -> None:
    """Raise AttnlabError for a shape that the table of another one does not cover."""
    _refuse_products(shape)
    for name in ("family", "width", "head_width", "embedding_width"):
        mine, other = getattr(whole, name), getattr(shape, name)
        if mine != other:
            raise AttnlabError(
                f"This latency table is for {name} {mine!r}, the shape has {other!r}. Measure "
                "another: LatencyTable.measure(shape)."
            )
    most, size = largest(whole), largest(shape)
    if any(count > limit for count, limit in zip(size, most, strict=True)):
        raise AttnlabError(
            f"This latency table goes up to {most[0]} layers with {most[1]} heads and {most[2]} "
            f"neurons; the shape has {size[0]} layers with up to {size[1]} and {size[2]}."
        )


def _around(cells: Iterable[Cell], tokens: int, batch: int) -> tuple[int, int]:
    """The measured lengths below and above."""
    lengths = sorted(length for length, texts in cells if texts == batch)
    if not lengths or not lengths[0] <= tokens <= lengths[-1]:
        known = ", ".join(f"{length} x {texts}" for length, texts in cells)
        raise AttnlabError(
            f"{tokens} tokens in {batch} texts: this latency table was measured for {known} "
            "(tokens x texts). Give tokens= and batches= to LatencyTable.measure."
        )
    low = max(length for length in lengths if length <= tokens)
    return low, min(length for length in lengths if length >= tokens)


def _warn_of_another_machine(path: object, about: dict[str, Any]) -> None:
    here = hardware()
    other = [name for name in here if here[name] != about.get(name)]
    if other:
        warnings.warn(
            f"{path} was measured elsewhere ({', '.join(other)} differ): its milliseconds are not "
            "this machine's. Measure again: LatencyTable.measure(shape).",
            AttnlabWarning,
            stacklevel=3,
        )


def how_far_off(table: pd.DataFrame) -> dict[str, float]:
    """Median, p95, factor and relative error of rows of `LatencyTable.check`, as it names them."""
    off = table["error"].abs()
    factor = float((table["ms_quiet"] / table["predicted_ms"]).median())
    left = (factor * table["predicted_ms"] / table["ms_quiet"] - 1).abs()
    return {
        "median": float(off.median()),
        "p95": float(off.quantile(0.95)),
        "factor": factor,
        "relative": float(left.median()),
    }


# --- what is measured, and fitted ----------------------------------------------------------------


def _knots(shape: Shape) -> tuple[list[int], list[int]]:
    """The numbers of heads and of neurons between which time is taken to be linear."""
    _, heads, neurons = largest(shape)
    some = {round(part * heads) for part in _PARTS} | {0, 1} if heads else {0}
    few = {max(1, round(part * neurons)) for part in _PARTS} | {1}
    return sorted(some), sorted(few)


def _designs(shape: Shape) -> list[Shape]:
    """Shapes that tell all blocks apart; the largest comes first."""
    depth, most, widest = largest(shape)
    heads, neurons = _knots(shape)
    middle, few = heads[len(heads) // 2], neurons[min(2, len(neurons) - 1)]
    sizes = [(depth, most, widest)]
    sizes += [(depth, count, few) for count in heads]
    sizes += [(depth, middle, count) for count in neurons]
    sizes += [(depth, 0, 1), (1, most, widest), (1, 0, 1), (-(-depth // 2), middle, widest)]
    return [uniform(shape, *size) for size in dict.fromkeys(sizes)]


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
