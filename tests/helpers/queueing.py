"""A service of one worker in simulated time, for tests of what controls it."""

import math
from collections import deque

import numpy as np

from attnlab.adaptive import LoadMonitor


class Simulated:
    """Requests at given seconds, answered one batch after another; ``at`` is the time."""

    def __init__(self, policy, arrivals, most=32, overhead_ms=1.0):
        self.policy, self.arrivals, self.most = policy, list(arrivals), most
        self.overhead = overhead_ms / 1000
        self.now = 0.0
        self.monitor = LoadMonitor(clock=lambda: self.now)
        self.refused = 0

    def clock(self):
        return self.now

    def run(self, until):
        """Answer everything; return (seconds of arrival, latencies in ms, points)."""
        waiting, coming, batch, done = deque(), deque(self.arrivals), [], []
        free, tick, point = 0.0, 1.0, self.policy.point
        while coming or waiting or batch or tick < until:
            arrival = coming[0] if coming else math.inf
            turn = free if batch else max(free, waiting[0]) if waiting else math.inf
            self.now = min(arrival, turn, tick)
            if self.now == tick:
                self.policy.observe(self.monitor.reading())
                tick += 1
            elif self.now == arrival:
                coming.popleft()
                self.monitor.arrived()
                if self.policy.admits(self.monitor.waiting - 1):
                    waiting.append(arrival)
                else:
                    self.monitor.refused("busy")
                    self.refused += 1
            elif batch:
                for at in batch:
                    self.monitor.answered(1000 * (free - at), point.kept, point.name)
                    done.append((at, free, point.name))
                batch = []
            else:
                batch = [waiting.popleft() for _ in range(min(len(waiting), self.most))]
                point = self.policy.point
                free = self.now + self.overhead + len(batch) * point.ms / 1000
        at, end, names = zip(*done, strict=True)
        return np.array(at), 1000 * (np.array(end) - np.array(at)), list(names)


def poisson(rates, seed=0):
    """Arrivals with these rates, one for each second."""
    draw = np.random.default_rng(seed)
    seconds = [at + draw.random(draw.poisson(rate)) for at, rate in enumerate(rates)]
    return np.sort(np.concatenate(seconds))
