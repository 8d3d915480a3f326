"""Entropy and divergence of rows of attention, which may hold exact zeros."""

import math

from torch import Tensor


def sum_of_logs(rows: Tensor) -> Tensor:
    """Sum of p log p over the last axis, which is minus the entropy in nats; 0 log 0 is 0."""
    return (rows * rows.clamp_min(1e-30).log()).sum(-1)


def jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last axis, bits, 0 to 1 (Lin 1991)."""
    between = sum_of_logs(a) / 2 + sum_of_logs(b) / 2 - sum_of_logs((a + b) / 2)
    return (between / math.log(2)).clamp(0, 1)
