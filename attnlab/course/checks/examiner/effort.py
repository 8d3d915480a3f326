"""How many operations an answer needs, and how large the tensors are that it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Effort:
    """What a call took: operations of torch, and numbers in the tensors that it made.

    ``largest`` counts those of the largest tensor, ``made`` those of all, views not among them.
    """

    operations: int = 0
    largest: int = 0
    made: int = 0


class _Counting(TorchDispatchMode):
    def __init__(self, effort: Effort):
        super().__init__()
        self.effort = effort

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.effort.operations += 1
        given = {_place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):  # a view holds no more numbers than what it looks at
                numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.effort.largest = max(self.effort.largest, numbers)
                self.effort.made += numbers if _place(tensor) not in given else 0
        return made


def _place(tensor: Tensor) -> int:
    """Where a tensor's numbers are in memory."""
    return tensor.untyped_storage().data_ptr()


def effort_of(call: Callable[[], Any]) -> Effort:
    """What a call takes."""
    effort = Effort()
    with _Counting(effort):
        call()
    return effort
