"""Where the parts of one layer of a Transformers model are, whatever its family calls them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attnlab.errors import ModelError


@dataclass(frozen=True)
class Projection:
    """One matrix that makes queries, keys or values, or several of them side by side.

    Attributes
    ----------
    name : of the module within the one that attends
    parts : of "query", "key" and "value", those that it makes, in the order of its outputs
    """

    name: str
    parts: tuple[str, ...]


def separate(query: str, key: str, value: str) -> tuple[Projection, ...]:
    """Projections of queries, keys and values that have these names, a matrix each."""
    parts = {"query": query, "key": key, "value": value}
    return tuple(Projection(name, (part,)) for part, name in parts.items())


@dataclass(frozen=True)
class Site:
    """One attention layer: the module that attends, and where its projections are.

    Attributes
    ----------
    module : that attends
    projections : what makes queries, keys and values
    output_parent, output_name : where the output projection is
    """

    module: Any
    projections: tuple[Projection, ...]
    output_parent: Any
    output_name: str

    @property
    def query(self) -> str:
        """Name of the matrix that makes queries; ModelError if it makes keys and values, too."""
        return self._alone("query")

    @property
    def key(self) -> str:
        """Name of the matrix that makes keys; see `query`."""
        return self._alone("key")

    @property
    def value(self) -> str:
        """Name of the matrix that makes values; see `query`."""
        return self._alone("value")

    def _alone(self, part: str) -> str:
        for projection in self.projections:
            if projection.parts == (part,):
                return projection.name
        raise ModelError(
            f"There is no matrix of {part} weights alone in a {type(self.module).__name__}: "
            f"{self.projections[0].name} makes queries, keys and values at once. What asks for it "
            "is for models that have three matrices, such as those of the BERT family."
        )

    @property
    def output(self) -> Any:
        """The output projection, a Linear unless a model has been quantised or has an adapter.

        In GPT-2 it is a Conv1D of Transformers, a Linear with its weight transposed.
        """
        return getattr(self.output_parent, self.output_name)

    @property
    def head_width(self) -> int:
        """Width of a head, D."""
        return getattr(self.module, "attention_head_size", None) or self.module.head_dim


@dataclass(frozen=True)
class FeedForward:
    """One feed-forward block: where its two projections are, and what stands around them.

    BERT and its like normalise after attention and after the block (post-norm), vision Transformers
    before each (pre-norm): then ``attention_norm`` stands between the two all the same, and
    ``norm`` before attention.
    """

    attention_norm: Any
    up_parent: Any
    up_name: str
    activation: Callable[[Any], Any]
    down_parent: Any
    down_name: str
    norm: Any
    pre_norm: bool = False

    @property
    def up(self) -> Any:
        """The first projection, to the neurons."""
        return getattr(self.up_parent, self.up_name)

    @property
    def down(self) -> Any:
        """The second projection, from the neurons."""
        return getattr(self.down_parent, self.down_name)
