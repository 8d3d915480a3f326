"""A service under load: how much it answers in time, and whether a controller keeps a promise.

Everything is real but the arrivals: a process serves over HTTP, this one asks. Rates are set by
what this machine can do, so that figures are shares and ratios of one run. Twenty minutes on two
cores that have nothing else to do.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from rows import Row, row

import attnlab as al
from attnlab.adaptive import serving
from attnlab.adaptive.controller import OperatingPoint
from attnlab.adaptive.ways import USUAL

TARGET = 25  # texts that the whole model answers over HTTP in the time that is promised
FIRST, STEP, MOST_STEPS = 0.15, 1.25, 16  # of the ladder of rates, in what the whole model can
PROBE_S, SETTLED_S = 12.0, 6.0  # for each; after so long a controller has seen the rate
SECONDS, WINDOW_S = 60.0, 10.0
LOAD = 0.55  # of what the whole model can answer over HTTP, before the rush
ASKING, ASKED_S, WARM_S = 64, 10.0, 5.0  # users who ask all the time; how long; before a trace
TRACES = {"doubling": 2.2, "rush hour": 2.6, "bursts": 3.0}  # with their peaks
GIVEN_UP = 0.015  # of accuracy that the controller may give up: its floor, on dev
STRATEGIES = ("controller", "fixed", "shedding", "oracle")


def measure() -> list[Row]:
    """Both parts."""
    return [*measure_service(), *measure_controller()]


# --- what is served ------------------------------------------------------------------------------


@cache
def points() -> list[OperatingPoint]:
    """The usual ways to answer, measured on dev."""
    torch.set_num_threads(1)
    clf, splits = al.load_classifier("movie-sentiment"), al.datasets.load("movie-sentiment")
    found = al.adaptive.measure_points(al.adaptive.ways(clf, USUAL, splits), splits.dev)
    print(*found, sep="\n", flush=True)
    for point in found:
        point.classifier.predict(splits.dev.texts[:32])  # layers are copied at the first call
    return found


@cache
def capacity() -> float:
    """Requests/s that the whole model answers over HTTP while 64 users ask all the time.

    A request costs more than its text: the quicker the model, the larger a part HTTP is of it.
    """
    full = points()[0]
    texts = al.datasets.load("movie-sentiment").dev.texts
    with served(lambda clock: al.adaptive.FixedPoint(full)) as (url, _):
        at = np.linspace(0, 0.01, int(2 * ASKED_S * 1000 / full.ms))  # more than can be answered
        frame = al.adaptive.closed_loop(url, texts, at, users=ASKING)
    done = frame["answered_s"].sort_values()
    found = float(len(done) / done.max())
    print(f"{found:.0f} requests/s at most, target {TARGET * 1000 / found:.0f} ms", flush=True)
    return found


def target_ms() -> float:
    """What is promised for 95 % of requests, milliseconds: so the figures are of any machine."""
    return TARGET * 1000 / capacity()


@contextmanager
def served(policy: Callable[[Any], Any], batch: int = 32) -> Iterator[tuple[str, Any]]:
    """Where a service with such a policy listens; and a clock, to be set to the start of a load."""
    context = multiprocessing.get_context("fork")  # so that models are there already
    begun = context.Value("d", time.monotonic())
    bound = serving.listen(port=0)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"

    def serve() -> None:
        torch.set_num_threads(1)
        controller = policy(lambda: time.monotonic() - begun.value)
        service = al.adaptive.BatchingService(
            controller, most_waiting=256, most_batch=batch, timeout_s=5.0
        )
        serving.run(service, bound)

    process = context.Process(target=serve)
    process.start()
    bound.close()
    try:
        while set(al.adaptive.send(url, ["A start."], [0.0])["outcome"]) != {"answered"}:
            time.sleep(0.2)
        yield url, begun
    finally:
        process.terminate()
        process.join(30)
        process.kill()


# --- how much is answered in time ----------------------------------------------------------------


def measure_service() -> list[Row]:
    """The highest rate at which 95 % of answers come within the target, of three services."""
    capacity()  # before any service is forked from this process
    data = al.datasets.load("movie-sentiment").test
    full = points()[0]
    services = {
        "one_at_a_time": (lambda clock: al.adaptive.FixedPoint(full), 1),
        "batches": (lambda clock: al.adaptive.FixedPoint(full), 32),
        "controller": (lambda clock: al.adaptive.Controller(points(), target_ms()), 32),
    }
    rows, rates = [], {}
    for name, (policy, batch) in services.items():
        with served(policy, batch) as (url, _):
            rates[name], p95 = held_rate(url, data.texts, capacity())
        what = f"requests/s, p95 {p95:.0f} ms of {target_ms():.0f} allowed"
        rows.append(row(f"adaptive.service.{name}_requests_per_second", rates[name], what))
        print(rows[-1], flush=True)
    for name in ("batches", "controller"):
        ratio = rates[name] / rates["one_at_a_time"]
        rows.append(row(f"adaptive.service.{name}_ratio", ratio, "x one request at a time"))
    return rows


def held_rate(url: str, texts: list[str], capacity: float) -> tuple[float, float]:
    """The highest rate of a ladder before two in a row that are missed, each twice; its p95."""
    held, p95, missed = 0.0, float("nan"), 0
    for step in range(MOST_STEPS):
        rate, tried = FIRST * capacity * STEP**step, []
        for attempt in range(2):  # another process may have had the core
            at = al.adaptive.arrivals(rate, PROBE_S, seed=100 * step + attempt)
            frame = al.adaptive.send(url, texts, at)
            late = frame[frame["meant_s"] >= SETTLED_S]
            tried.append(float(al.adaptive.by_window(late, target_ms(), PROBE_S)["p95_ms"][0]))
            if tried[-1] <= target_ms():
                break
            time.sleep(5)  # what waits is answered
        print(f"  {rate:.1f} requests/s: p95 {tried}", flush=True)
        if tried[-1] <= target_ms():
            held, p95, missed = rate, tried[-1], 0
            continue
        missed += 1
        if missed == 2:
            break
    return held, p95


# --- whether a promise is kept -------------------------------------------------------------------


def measure_controller() -> list[Row]:
    """Shares of windows in which the promise is kept, and accuracy, of four strategies."""
    capacity()  # before any service is forked from this process
    data = al.datasets.load("movie-sentiment").test
    full = points()[0]
    names = np.array(data.label_names)[data.labels]
    whole = np.array(full.classifier.predict(data.texts).labels)
    seen: dict[str, list[pd.DataFrame]] = {name: [] for name in STRATEGIES}
    rows = []
    for kind, peak in TRACES.items():
        at = al.adaptive.trace(kind, LOAD * capacity(), SECONDS, peak)
        places = np.arange(len(at)) % len(data)
        for strategy in STRATEGIES:
            with served(policy_of(strategy, at)) as (url, begun):
                warm = al.adaptive.arrivals(LOAD * capacity(), WARM_S, seed=1)
                al.adaptive.send(url, data.texts, warm)
                begun.value = time.monotonic()
                frame = al.adaptive.send(url, data.texts, at)
            frame = frame.assign(
                right=frame["label"].to_numpy() == names[places],
                right_whole=whole[places] == names[places],
            )
            windows = al.adaptive.by_window(frame, target_ms(), WINDOW_S)
            seen[strategy].append(frame)
            kept = f"adaptive.controller.{kind.replace(' ', '_')}.{strategy}_kept"
            what = f"share of windows of {WINDOW_S:.0f} s with p95 within {target_ms():.0f} ms"
            rows.append(row(kept, float(windows["kept"].mean()), what, n=len(windows)))
            print(kind, strategy, windows.round(3).to_string(), sep="\n", flush=True)
            print(frame["point"].value_counts().to_dict(), flush=True)
    return [*rows, *together(seen)]


def policy_of(strategy: str, at: np.ndarray) -> Callable[[Any], Any]:
    """What makes the policy of this name, from a clock."""
    full = points()[0]
    http_ms = max(1000 / capacity() - full.ms, 0.0)  # of a request, beside its text
    floor = full.accuracy - GIVEN_UP
    known = [replace(point, ms=point.ms + http_ms) for point in points()]
    known = [point for point in known if point.accuracy >= floor]
    return {
        "controller": lambda clock: al.adaptive.Controller(points(), target_ms(), floor),
        "fixed": lambda clock: al.adaptive.FixedPoint(full),
        "shedding": lambda clock: al.adaptive.Shedding(full, target_ms()),
        "oracle": lambda clock: al.adaptive.Oracle(known, at, clock),
    }[strategy]


def together(seen: dict[str, list[pd.DataFrame]]) -> list[Row]:
    """Over all traces: windows that kept the promise, requests answered, accuracy beside full."""
    rows = []
    for strategy, frames in seen.items():
        name = f"adaptive.controller.{strategy}"
        windows = pd.concat([al.adaptive.by_window(f, target_ms(), WINDOW_S) for f in frames])
        every = pd.concat(frames)
        answered = every[every["outcome"] == "answered"]
        difference = answered["right"].astype(float) - answered["right_whole"]
        error = float(difference.std() / len(difference) ** 0.5)
        delta = float(difference.mean())
        interval = {"low": delta - 1.96 * error, "high": delta + 1.96 * error}
        size = len(answered)
        rows += [
            row(f"{name}.kept", float(windows["kept"].mean()), "share of windows", n=len(windows)),
            row(f"{name}.answered", size / len(every), "share of requests", n=len(every)),
            row(f"{name}.accuracy", float(answered["right"].mean()), "share", n=size),
            row(f"{name}.accuracy_delta", delta, "against full, same texts", n=size, **interval),
        ]
    return rows


if __name__ == "__main__":
    for part in sys.argv[1:] or ("service", "controller"):
        for figure in {"service": measure_service, "controller": measure_controller}[part]():
            print(figure, flush=True)
