"""Budgets: what may be spent, in parameters, operations, megabytes and milliseconds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from attnlab.economics.flops import flops
from attnlab.economics.shapes import Shape, megabytes, parameters
from attnlab.errors import AttnlabError, option, worded

__all__ = ["COSTS", "Budget", "NothingFits", "Predicts", "amount", "costs_of"]

COSTS = ("parameters", "flops", "megabytes", "latency_ms")
_UNITS = {"parameters": "parameters", "flops": "FLOPs", "megabytes": "MB", "latency_ms": "ms"}


class Predicts(Protocol):
    """What predicts milliseconds, such as a `LatencyTable`."""

    def predict(self, shape: Shape, tokens: int = 32, batch: int = 1) -> float:
        """Milliseconds of one forward pass."""


class NothingFits(AttnlabError):
    """Not even the smallest model is inside a budget.

    Attributes
    ----------
    spent : share of the budget that the smallest takes, above 1
    """

    def __init__(self, message: str, spent: float):
        super().__init__(message)
        self.spent = spent


@dataclass(frozen=True)
class Budget:
    """What a model may cost at most; what is None is not limited.

    Attributes
    ----------
    parameters : of the model
    flops : of one forward pass
    megabytes : 10^6 bytes, of its weights in their number format
    latency_ms : milliseconds of one forward pass, on the machine of a `LatencyTable`
    tokens, batch : what a forward pass reads: so many texts of so many tokens

    Raises
    ------
    AttnlabError : no limit at all, or one that is no number above 0

    Examples
    --------
    >>> budget = Budget(flops=2e9, parameters=20_000_000)
    >>> budget.spent({"flops": 1e9, "parameters": 15_000_000, "megabytes": 60.0})
    0.75
    >>> budget.allows({"flops": 3e9, "parameters": 15_000_000})
    False
    """

    parameters: float | None = None
    flops: float | None = None
    megabytes: float | None = None
    latency_ms: float | None = None
    tokens: int = 32
    batch: int = 1

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            if not _is_number(limit) or not math.isfinite(limit) or limit <= 0:
                raise AttnlabError(
                    f"{name}={limit!r} is no limit: expected a number above 0, or None for no "
                    "limit."
                )
        if not self.limits:
            raise AttnlabError(
                f"This budget limits nothing. Give one or more of {', '.join(COSTS)}, such as "
                "Budget(flops=1e9)."
            )
        for name in ("tokens", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise AttnlabError(f"{name}={value!r}: expected a whole number of at least 1.")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that there are, by name of the cost."""
        every = {name: getattr(self, name) for name in COSTS}
        return {name: limit for name, limit in every.items() if limit is not None}

    def spent(self, costs: Mapping[str, float]) -> float:
        """Return the share of the budget that some costs take, of the limit that is nearest.

        Parameters
        ----------
        costs : by name; those without a limit do not matter

        Raises
        ------
        AttnlabError : the cost of a limit is missing, or not known (NaN)
        """
        shares = []
        for name, limit in self.limits.items():
            cost = costs.get(name, math.nan)
            if math.isnan(cost):
                raise AttnlabError(
                    f"The budget limits {name}, and this cost is not known. "
                    + (
                        "Give latency=, a LatencyTable that was measured."
                        if name == "latency_ms"
                        else f"Give costs with {name!r}."
                    )
                )
            shares.append(cost / limit)
        return max(shares)

    def allows(self, costs: Mapping[str, float]) -> bool:
        """Whether some costs are inside all limits; see `spent`."""
        return self.spent(costs) <= 1 + 1e-9

    def scaled(self, share: float) -> "Budget":
        """Return the budget with each limit times ``share``."""
        limits: dict[str, Any] = {name: share * limit for name, limit in self.limits.items()}
        return replace(self, **limits)

    def require(self, least: Mapping[str, float], hint: str = "") -> None:
        """Raise NothingFits, with the least that is possible, if not even that is inside.

        Parameters
        ----------
        least : costs of the smallest model that there can be
        hint : a sentence on what else would help
        """
        if self.allows(least):
            return
        beyond = [name for name, limit in self.limits.items() if least[name] > limit]
        told = " and ".join(f"{amount(name, self.limits[name])}" for name in beyond)
        needed = ", ".join(
            worded(f"{name}={_enough(least[name])}", f"{option(name)} {_enough(least[name])}")
            for name in beyond
        )
        smallest = " and ".join(amount(name, least[name]) for name in beyond)
        raise NothingFits(
            f"Nothing fits this budget: it allows {told}, and the smallest model that is possible "
            f"here has {smallest}. Give at least {needed}.{hint and ' ' + hint}",
            self.spent(least),
        )

    def __repr__(self) -> str:
        given = [
            f"{field.name}={getattr(self, field.name):,.6g}"
            for field in fields(self)
            if getattr(self, field.name) is not None
        ]
        return f"Budget({', '.join(given)})"


def costs_of(
    shape: Shape,
    tokens: int = 32,
    batch: int = 1,
    latency: Predicts | None = None,
    number_format: str = "float32",
) -> dict[str, float]:
    """Return what a classifier of a shape costs, by name, one of `COSTS` each.

    Parameters
    ----------
    shape : Shape
    tokens, batch : what a forward pass reads
    latency : predicts the milliseconds; without it they are NaN
    number_format : of the weights, "float32" or "int8"; see `megabytes`
    """
    return {
        "parameters": float(parameters(shape)),
        "flops": float(flops(shape, tokens, batch)),
        "megabytes": megabytes(shape, number_format),
        "latency_ms": math.nan if latency is None else latency.predict(shape, tokens, batch),
    }


def amount(name: str, value: float) -> str:
    """Return a cost with its unit, as text.

    >>> amount("parameters", 22_713_986), amount("latency_ms", 3.25)
    ('22,713,986 parameters', '3.25 ms')
    """
    digits = f"{value:,.0f}" if name in ("parameters", "flops") else f"{value:,.3g}"
    return f"{digits} {_UNITS[name]}"


def _enough(value: float) -> str:
    """A limit that is not below a value, short."""
    size = 10 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / size) * size:.6g}".replace("e+0", "e").replace("e+", "e")


def _is_number(value: Any) -> bool:
    return (
        not isinstance(value, bool)
        and hasattr(value, "__float__")
        and not hasattr(value, "__len__")
    )


def __dir__() -> list[str]:
    return sorted(__all__)
