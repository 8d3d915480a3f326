"""The learner's function or class, called safely."""

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.course.checks.examiner.effort import Effort, effort_of
from attnlab.course.checks.examiner.failures import (
    BACKWARD_FAILS,
    CHANGES_LIST,
    CHANGES_TENSOR,
    GRADIENT_LOST,
    GRADIENT_MISSING,
    LOOP,
    NO_GRADIENT,
    OTHER_DTYPE,
    SWITCHED_OFF,
    WRONG_GRADIENT,
    CheckFailed,
    Unwritten,
    require,
)
from attnlab.course.checks.examiner.results import a_tensor, kind_of, same
from attnlab.course.checks.examiner.safety import (
    TimeUp,
    copy_of,
    exception_text,
    is_hole,
    time_limit,
    unchanged,
    watched,
)
from attnlab.languages import tr

SECONDS = 10.0  # for one check as a whole; a right answer needs a small part of one


@dataclass
class Answer:
    """The learner's function or class, called with copies and in limited time.

    Raises `CheckFailed` where it raises, ends without a result, takes too long, edits its inputs
    or calls what the exercise asks to write.
    """

    given: Any
    name: str
    forbidden: frozenset[str] = frozenset()
    seconds_left: float = field(default_factory=lambda: SECONDS)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it; the inputs must be the same afterwards."""
        if not callable(self.given):
            raise CheckFailed(
                tr(
                    "Expected the function {name} itself; this is {kind}.\n"
                    "Did you pass its result, or forget to run the cell that defines it?",
                    name=self.name,
                    kind=kind_of(self.given),
                )
            )
        copies = [copy_of(argument) for argument in arguments]
        result = self._run(lambda: self.given(*copies, **keywords))
        for before, after in zip(arguments, copies, strict=True):
            if not unchanged(before, after):
                raise CheckFailed(CHANGES_TENSOR if isinstance(before, Tensor) else CHANGES_LIST)
        return result

    def tensor(
        self,
        *arguments: Any,
        shape: tuple[int, ...],
        what: str = "result",
        may_be_nan: bool = False,
        **keywords: Any,
    ) -> Tensor:
        """Call it; the result must be one tensor of this shape, without NaN unless allowed."""
        return a_tensor(self(*arguments, **keywords), shape, what, may_be_nan)

    def gradients(
        self,
        reference: Callable[..., Tensor],
        *arguments: Any,
        pick: int | None = None,
        **keywords: Any,
    ) -> None:
        """Require the reference's gradients, for every tensor of numbers that it depends on.

        ``pick`` says which of several results is meant.
        """
        leaves = [
            argument.detach().clone().requires_grad_() if _is_float(argument) else argument
            for argument in arguments
        ]
        wanted = [leaf for leaf in leaves if _is_float(leaf)]
        expected = reference(*leaves, **keywords)
        result = self(*leaves, **keywords)
        result = result if pick is None else result[pick]
        result = a_tensor(result, tuple(expected.shape))
        backwards = torch.randn_like(expected)
        right = torch.autograd.grad(expected, wanted, backwards, allow_unused=True)
        names = self._names(leaves)
        for name, mine, theirs in zip(
            names, backward(result, wanted, backwards), right, strict=True
        ):
            if theirs is None:
                continue
            if mine is None:
                raise CheckFailed(tr(GRADIENT_MISSING, name=name))
            require(mine.isfinite().all(), GRADIENT_LOST)
            require(same(mine, theirs, 1e-3), WRONG_GRADIENT)

    def catching(self, *errors: type[Exception]) -> tuple["Answer", list[Exception]]:
        """The same answer, which returns None where it raises one of these errors, and a list.

        Each error that it raises is appended to the list.
        """
        raised: list[Exception] = []

        def given(*arguments: Any, **keywords: Any) -> Any:
            try:
                return self.given(*arguments, **keywords)
            except errors as error:
                raised.append(error)
                return None

        return replace(self, given=given), raised

    def effort(self, *arguments: Any, **keywords: Any) -> Effort:
        """How many operations a call takes, and how large the largest tensor is that it makes."""
        return effort_of(lambda: self(*arguments, **keywords))

    def without_loop(self, small: Sequence[Any], large: Sequence[Any]) -> None:
        """Require as many operations for a large input as for a small one."""
        few, many = self.effort(*small).operations, self.effort(*large).operations
        require(many <= few + 2, tr(LOOP, few=few, many=many))

    def _names(self, arguments: Sequence[Any]) -> list[str]:
        """What the learner calls the tensors of numbers among the arguments."""
        names = [tr("input {number}", number=number) for number in range(1, len(arguments) + 1)]
        function = getattr(self.given, "forward", self.given)
        with contextlib.suppress(ValueError, TypeError):  # not everything has a signature
            parameters = list(inspect.signature(function).parameters)
            names[: len(parameters)] = [f"`{name}`" for name in parameters[: len(names)]]
        return [
            name for name, argument in zip(names, arguments, strict=True) if _is_float(argument)
        ]

    def _run(self, call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            with _left_as_it_was(), time_limit(self.seconds_left), watched(self.forbidden):
                return call()
        except CheckFailed:
            raise
        except NotImplementedError as error:
            if not is_hole(error):
                raise CheckFailed(exception_text(error)) from None
            raise Unwritten("Not written yet: the hole still raises NotImplementedError.") from None
        except TimeUp:
            raise CheckFailed(
                tr(
                    "Your function did not end within {seconds:.0f} seconds on a small input.\n"
                    "Is there a loop whose condition never becomes false?",
                    seconds=SECONDS,
                )
            ) from None
        except (Exception, SystemExit) as error:
            raise CheckFailed(exception_text(error)) from None
        finally:
            self.seconds_left = max(self.seconds_left - (time.monotonic() - started), 0.01)

    def module(self, *arguments: Any, **keywords: Any) -> "Answer":
        """Make the module that the learner's class describes, to be called like a function."""
        made = self._run(lambda: self.given(*arguments, **keywords))
        if made is Ellipsis:
            raise Unwritten(tr("Not written yet: {what} is still `...`.", what=self.name))
        if not isinstance(made, nn.Module):
            raise CheckFailed(
                tr(
                    "{name}(...) gave {kind}, not a torch.nn.Module.\n"
                    "Is it `class {name}(nn.Module)`?",
                    name=self.name,
                    kind=kind_of(made),
                )
            )
        return Answer(made, self.name, self.forbidden, self.seconds_left)


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Fail where torch's switches are not what they were; put them back."""
    gradients, kind = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
        now = torch.get_default_dtype()
        require(torch.is_grad_enabled() == gradients, SWITCHED_OFF)
        require(now == kind, tr(OTHER_DTYPE, now=now, before=kind))
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(kind)


def backward(
    result: Tensor, inputs: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of the inputs, or a failure that says why there are none."""
    require(result.requires_grad, NO_GRADIENT)
    try:
        return torch.autograd.grad(
            result, inputs, gradient.to(result.dtype), allow_unused=True, retain_graph=True
        )
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise CheckFailed(exception_text(error)) from None
        raise CheckFailed(BACKWARD_FAILS) from None


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
