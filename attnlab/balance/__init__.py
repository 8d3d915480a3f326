"""Attention as something that can be in or out of balance: measure it, find what is out of line, adjust."""

from attnlab.balance.meter import (
    MEASURES,
    Balance,
    Similarity,
    measure,
    relative_difference,
    similarity,
)
