"""How many operations an answer needs, and how large the largest tensor is that it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Effort:
    """What a call took: operations of torch, and numbers in the largest tensor that it made."""

    operations: int = 0
    largest: int = 0


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
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):  # a view holds no more numbers than what it looks at
                numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.effort.largest = max(self.effort.largest, numbers)
        return made


def effort_of(call: Callable[[], Any]) -> Effort:
    """What a call takes."""
    effort = Effort()
    with _Counting(effort):
        call()
    return effort
