"""Plans: which layers, heads and neurons of a classifier stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.compression.removing import prune_heads, prune_layers, prune_neurons
from attnlab.economics.shapes import Shape
from attnlab.errors import AttnlabError

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What stays of a classifier.

    Attributes
    ----------
    layers : those that stay, in order
    heads : for each layer of the classifier, also those that go, the numbers of the heads that stay
    neurons : likewise, the feed-forward neurons
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.layers or not len(self.heads) == len(self.neurons) > max(self.layers):
            raise AttnlabError(
                f"A plan keeps one layer or more, and names heads and neurons for every layer; got "
                f"layers {self.layers}, heads for {len(self.heads)} and neurons for "
                f"{len(self.neurons)}."
            )

    def shape(self, whole: Shape) -> Shape:
        """Return the shape of what is left of a classifier that has the shape ``whole``."""
        kept = {layer: number for number, layer in enumerate(self.layers)}
        sizes = tuple((len(self.heads[layer]), len(self.neurons[layer])) for layer in self.layers)
        first: dict[int, int] = {}
        sharing = tuple(first.setdefault(whole.owner(layer), kept[layer]) for layer in self.layers)
        return replace(
            whole, layers=sizes, sharing=() if sharing == tuple(range(len(sizes))) else sharing
        )

    def apply(self, clf: Classifier, repair: Sequence[Text] | None = None) -> Classifier:
        """Return the smaller classifier; the one given stays as it is.

        Parameters
        ----------
        clf : the classifier that the plan is for
        repair : calibration texts; see `compression.prune_heads`

        Raises
        ------
        ModelError, AttnlabError : a plan for another classifier; see `compression.prune_layers`
        """
        smaller = clf
        if len(self.layers) < clf.layers:
            smaller = prune_layers(clf, keep=list(self.layers))
        kept = [set(self.heads[layer]) for layer in self.layers]
        gone = [
            (number, head)
            for number in range(smaller.layers)
            for head in range(clf.heads)
            if head not in kept[number]
        ]
        smaller = prune_heads(smaller, heads_gone=gone, repair=repair)
        return prune_neurons(
            smaller, keep=[self.neurons[layer] for layer in self.layers], repair=repair
        )

    def to_json(self, whole: "Plan") -> dict[str, Any]:
        """Return a short record; ``whole`` is the plan that keeps everything."""
        return {
            "layers": list(self.layers),
            "heads": [_hex(*pair) for pair in zip(self.heads, whole.heads, strict=True)],
            "neurons": [_hex(*pair) for pair in zip(self.neurons, whole.neurons, strict=True)],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], whole: "Plan") -> "Plan":
        """Return the plan of a record of `to_json`."""
        return cls(
            tuple(record["layers"]),
            tuple(_named(*pair) for pair in zip(record["heads"], whole.heads, strict=True)),
            tuple(_named(*pair) for pair in zip(record["neurons"], whole.neurons, strict=True)),
        )

    def __repr__(self) -> str:
        told = ", ".join(
            f"{layer}: {len(self.heads[layer])} heads + {len(self.neurons[layer])} neurons"
            for layer in self.layers
        )
        return f"Plan({told})"


def _hex(kept: tuple[int, ...], names: tuple[int, ...]) -> str:
    """Which of some numbers are kept, a bit each."""
    chosen = set(kept)
    return f"{sum(1 << place for place, name in enumerate(names) if name in chosen):x}"


def _named(bits: str, names: tuple[int, ...]) -> tuple[int, ...]:
    number = int(bits, 16)
    return tuple(name for place, name in enumerate(names) if number >> place & 1)


def __dir__() -> list[str]:
    return sorted(__all__)
