"""How an answer is examined: safely, step by step, with a diagnosis when it fails.

A check is a generator function ``check(answer, draw)``. It calls the learner's function through `Answer`,
compares with a reference of its own, and yields one line for each thing that held. What goes wrong becomes a
`CheckFailed` whose message names the likely mistake.
"""

import contextlib
import ctypes
import io
import math
import numbers
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.errors import AttnlabError
from attnlab.files import PACKAGE

SECONDS = 10.0  # for one check as a whole; a right answer needs a small part of one

Check = Callable[["Answer", "Draw"], Generator[str, None, None]]


class CheckFailed(AttnlabError):
    """An answer that is not right yet; the message says what was seen and asks the likely question."""

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback through the package."""
        return f"CheckFailed: {self}".splitlines()


class Unwritten(CheckFailed):
    """The hole in the exercise has not been filled in."""


class _TimeUp(BaseException):
    """Raised inside an answer that takes too long; a BaseException, so that no ``except Exception`` ends it."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: what may be asked of an answer, and what it is worth.

    Attributes
    ----------
    name : the name of the function or class to write
    lesson : number of the notebook, "01"
    points : what a right answer is worth
    check : generator function that examines an answer
    forbidden : names of library functions that would be the answer itself
    """

    name: str
    lesson: str
    points: int
    check: Check
    forbidden: frozenset[str] = frozenset()

    def examine(self, answer: object, seed: int | None = None) -> list[str]:
        """Return what held; raise `CheckFailed` with the first thing that did not."""
        seed = int.from_bytes(os.urandom(2), "little") if seed is None else seed
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise AttnlabError(
                f"seed is {seed!r}; it is a whole number, 0 or more, as a failure printed it."
            )
        held: list[str] = []
        try:
            with _still(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                examined = Answer(answer, self.name, self.forbidden)
                for line in self.check(examined, Draw(seed)):
                    held.append(line)
        except Unwritten as problem:
            raise Unwritten(f"{self.name}\n  {problem}") from None
        except CheckFailed as problem:
            raise CheckFailed(self._report(str(problem), held, seed)) from None
        except Exception as problem:  # a result so strange that it cannot even be compared
            told = f"What came back cannot be examined. {_told(problem)}"
            raise CheckFailed(self._report(told, held, seed)) from None
        return held

    def _report(self, problem: str, held: list[str], seed: int) -> str:
        lines = [self.name, *("  " + line for line in problem.splitlines())]
        if held:
            lines.append(f"  Right so far: {'; '.join(held)}.")
        lines.append(f"  The same numbers again: al.checks.{self.name}({self.name}, seed={seed})")
        return "\n".join(lines)


class Draw:
    """Random inputs of a check, from a seed."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and variance 1."""
        return torch.randn(*shape, generator=self.generator)

    def weights(self, *shape: int) -> Tensor:
        """Rows of positive numbers that sum to 1."""
        return torch.softmax(self.normal(*shape), -1)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


@dataclass
class Answer:
    """The learner's function or class, called with copies, in limited time, and with stderr put away.

    Raises `CheckFailed` where it raises, ends without a result, takes too long, edits its inputs or calls what the
    exercise asks to write.
    """

    given: Any
    name: str
    forbidden: frozenset[str] = frozenset()
    seconds_left: float = field(default_factory=lambda: SECONDS)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it; the inputs must be the same afterwards."""
        if not callable(self.given):
            raise CheckFailed(
                f"Expected the function {self.name} itself; this is {_kind(self.given)}.\n"
                f"Did you pass its result, or forget to run the cell that defines it?"
            )
        copies = [_copy(one) for one in arguments]
        result = self._run(lambda: self.given(*copies, **keywords))
        for before, after in zip(arguments, copies, strict=True):
            if not _unchanged(before, after):
                raise CheckFailed(
                    "Your function changes its input in place.\n"
                    "Is there an assignment into it, `+=`, or a method that ends in `_`? Work on a new tensor."
                    if isinstance(before, Tensor)
                    else "Your function changes a list that it was given.\n"
                    "Is there an append, pop, sort or `+=` on it, or on what it holds? Make a new list."
                )
        return result

    def tensor(
        self,
        *arguments: Any,
        shape: tuple[int, ...],
        what: str = "result",
        may_be_nan: bool = False,
        **keywords: Any,
    ) -> Tensor:
        """Call it; the result must be one tensor of this shape, without NaN unless told otherwise."""
        return a_tensor(self(*arguments, **keywords), shape, what, may_be_nan)

    def gradients(
        self,
        reference: Callable[..., Tensor],
        *arguments: Any,
        pick: int | None = None,
        **keywords: Any,
    ) -> None:
        """Going backward the answer must give what the reference gives, for every tensor of numbers.

        ``pick`` says which of several results is meant.
        """
        leaves = [
            one.detach().clone().requires_grad_() if _is_float(one) else one for one in arguments
        ]
        wanted = [one for one in leaves if _is_float(one)]
        expected = reference(*leaves, **keywords)
        result = self(*leaves, **keywords)
        result = result if pick is None else result[pick]
        result = a_tensor(result, tuple(expected.shape))
        backwards = torch.randn_like(expected)
        right = torch.autograd.grad(expected, wanted, backwards)
        for mine, theirs in zip(backward(result, wanted, backwards), right, strict=True):
            require(
                mine is not None and mine.isfinite().all(),
                "The result is right, but a gradient is NaN or infinite, or missing: one such row would ruin a "
                "whole training.\nIs there a log(0), a 0 / 0 that is mended afterwards, or a detach()?",
            )
            require(
                same(mine, theirs, 1e-3),
                "The result is right, but its gradient is not.\n"
                "Is a part of it computed under detach() or no_grad()?",
            )

    def _run(self, call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            with _time_limit(self.seconds_left), _watched(self.forbidden):
                return call()
        except CheckFailed:
            raise
        except NotImplementedError as error:
            if not _is_hole(error):
                raise CheckFailed(_told(error)) from None
            raise Unwritten("Not written yet: the hole still raises NotImplementedError.") from None
        except _TimeUp:
            raise CheckFailed(
                f"Your function did not end within {SECONDS:.0f} seconds on a small input.\n"
                "Is there a loop whose condition never becomes false?"
            ) from None
        except (Exception, SystemExit) as error:
            raise CheckFailed(_told(error)) from None
        finally:
            self.seconds_left = max(self.seconds_left - (time.monotonic() - started), 0.01)

    def module(self, *arguments: Any, **keywords: Any) -> "Answer":
        """Make the module that the learner's class describes; the result is called like a function."""
        made = self._run(lambda: self.given(*arguments, **keywords))
        if not isinstance(made, nn.Module):
            raise CheckFailed(
                f"{self.name}(...) gave {_kind(made)}, not a torch.nn.Module.\n"
                f"Is it `class {self.name}(nn.Module)`?"
            )
        return Answer(made, self.name, self.forbidden, self.seconds_left)


# --- What a check says ---------------------------------------------------------------------------


def require(condition: bool | Tensor, problem: str) -> None:
    """Fail with ``problem`` unless the condition holds."""
    if not condition:
        raise CheckFailed(problem)


@contextlib.contextmanager
def where(place: str) -> Iterator[None]:
    """Put before every failure inside the block where it happens."""
    try:
        yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        raise CheckFailed(f"{place}\n{problem}") from None


def backward(
    result: Tensor, inputs: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of the inputs, or a failure that says why there are none."""
    require(
        result.requires_grad,
        "No gradient comes back through your result.\n"
        "Is there a detach(), .data, .item(), no_grad() or torch.tensor(...) on the way?",
    )
    try:
        return torch.autograd.grad(
            result, inputs, gradient.to(result.dtype), allow_unused=True, retain_graph=True
        )
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise CheckFailed(_told(error)) from None
        raise CheckFailed(
            "The result is right, but going backward fails: you change something in place that is still needed.\n"
            "Is there an assignment such as w[...] = 0, or a method that ends in `_`? masked_fill and where "
            "make a new tensor."
        ) from None


def a_tensor(
    result: object, shape: tuple[int, ...], what: str = "result", may_be_nan: bool = False
) -> Tensor:
    """The result as a tensor of this shape without NaN, or a failure that says what it is instead."""
    _something(result, what)
    if isinstance(result, np.ndarray | np.generic):
        raise CheckFailed(
            f"A numpy array came back as {what}; gradients cannot flow through numpy.\n"
            "Can you write it with torch throughout?"
        )
    if not isinstance(result, Tensor):
        raise CheckFailed(
            f"As {what} came {_kind(result)}, not a tensor.\n"
            "Does your function return just what the docstring says?"
        )
    if tuple(result.shape) != tuple(shape):
        hint = "Is one axis summed or missing, or one too many?"
        if sorted(result.shape) == sorted(shape):
            hint = "The sizes are right, their order is not: which axis is which?"
        raise CheckFailed(
            f"Expected shape {tuple(shape)} for the {what}; it is {tuple(result.shape)}.\n{hint}"
        )
    if not may_be_nan and result.is_floating_point() and result.isnan().any():
        raise CheckFailed(
            f"There is NaN in the {what}.\nIs something 0 / 0, log(0), inf - inf, or an overflow?"
        )
    return result


def some_numbers(
    result: object, shape: tuple[int, ...], what: str = "result", may_be_nan: bool = False
) -> Tensor:
    """The result as `a_tensor` in float64, whether it came as a tensor, an array, lists or a plain number."""
    plain = isinstance(result, numbers.Real) and not isinstance(result, bool)
    if plain or isinstance(result, np.ndarray | list | tuple):
        with contextlib.suppress(ValueError, TypeError, RuntimeError):
            result = torch.from_numpy(np.array(result, dtype=float))
    return a_tensor(result, shape, what, may_be_nan).detach().double()


def a_number(result: object, what: str = "result") -> float:
    """The result as a plain finite number, or a failure that says what it is instead."""
    _something(result, what)
    if isinstance(result, Tensor) and result.requires_grad:
        raise CheckFailed(
            f"As {what} came a tensor with its graph: who keeps it keeps everything it was computed from.\n"
            "A plain number is asked for: which method of a tensor gives one?"
        )
    if isinstance(result, bool) or not isinstance(result, numbers.Real):
        raise CheckFailed(
            f"As {what} came {_kind(result)}, not a plain number.\n"
            "Is there an .item() or float() missing, or is more returned than the docstring says?"
        )
    number = float(result)
    if not math.isfinite(number):
        raise CheckFailed(f"The {what} is {number}.\nIs something 0 / 0, or an overflow?")
    return number


def a_list(result: object, what: str = "result") -> list[Any]:
    """The result as a list, which a tuple or tensor may become, or a failure that says what it is instead."""
    _something(result, what)
    if isinstance(result, Tensor) and result.dim() == 1:
        return result.tolist()
    if not isinstance(result, list | tuple):
        raise CheckFailed(
            f"As {what} came {_kind(result)}, not a list.\n"
            "Does your function return just what the docstring says?"
        )
    return list(result)


def a_pair(result: object, first: str, second: str) -> tuple[Any, Any]:
    """The result as two things, or a failure that says what came instead."""
    both = f"{first} and {second}"
    _something(result, both)
    if not isinstance(result, list | tuple):
        raise CheckFailed(
            f"As {both} came {_kind(result)}; two things are asked for.\n"
            "Does it end in `return ..., ...`?"
        )
    if len(result) != 2:
        raise CheckFailed(
            f"As {both} came {_kind(result)}; two things are asked for.\n"
            "Does your function return just what the docstring says?"
        )
    return result[0], result[1]


def _something(result: object, what: str) -> None:
    """Fail where nothing was returned, or the dots of a hole."""
    if result is None:
        raise CheckFailed(
            f"Your function returned None where {what} was expected.\nDoes it end in `return`?"
        )
    if result is Ellipsis:
        raise Unwritten(f"Not written yet: {what} is still `...`.")


def same(result: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether two tensors have one shape and are equal up to rounding."""
    if result.shape != expected.shape:
        return False
    return torch.allclose(result.double(), expected.double(), rtol=tolerance, atol=tolerance)


def compare(
    result: Tensor,
    expected: Tensor,
    mistakes: dict[str, Callable[[], Tensor]],
    otherwise: str,
    tolerance: float = 1e-5,
    loosely: float | None = None,
) -> None:
    """Fail unless result and expected agree; the first mistake that gives this very result is named.

    ``mistakes`` maps a diagnosis to a function that computes what that mistake would give, compared with the
    tolerance ``loosely`` where rounding weighs more.
    """
    if same(result, expected, tolerance):
        return
    for diagnosis, mistaken in mistakes.items():
        with contextlib.suppress(
            RuntimeError, IndexError
        ):  # a mistake may not even be possible here
            if same(result, mistaken(), loosely or tolerance):
                raise CheckFailed(diagnosis)
    apart = (result.double() - expected.double()).abs().max().item()
    raise CheckFailed(f"{otherwise}\nThe largest difference from the right result is {apart:.3g}.")


# --- Safety ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _still() -> Iterator[None]:
    """Nothing reaches stderr: a grader would take it for a failure."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TimeUp` in this thread after so many seconds."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():

        def ring(*_: Any) -> None:
            raise _TimeUp

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)  # again and again: it may be caught
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return
    thread = ctypes.c_ulong(threading.get_ident())  # elsewhere Python can only be asked to raise it
    ended = threading.Event()

    def remind() -> None:
        wait = seconds
        while not ended.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TimeUp))
            wait = 0.1

    threading.Thread(target=remind, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def _watched(forbidden: frozenset[str]) -> Iterator[None]:
    """Fail when a library function of a forbidden name is called."""
    if not forbidden:
        yield
        return

    def watch(frame: Any, event: str, called: Any) -> None:
        if event == "c_call":
            name, module = getattr(called, "__name__", ""), "torch"
        elif event == "call":
            name, module = frame.f_code.co_name, str(frame.f_globals.get("__name__", ""))
        else:
            return
        package = module.partition(".")[0]
        if package in ("torch", "attnlab") and forbidden & {name, f"{package}.{name}"}:
            raise CheckFailed(
                f"Your answer calls a ready-made {name}; here the point is to write it.\n"
                "Can you do it with sums, products and exponentials?"
            )

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)


def _copy(one: Any) -> Any:
    """A copy of a tensor, or of a list or tuple with what it holds; anything else is given as it is."""
    if type(one) in (list, tuple):
        return type(one)(_copy(part) for part in one)
    if not isinstance(one, Tensor):
        return one
    return one.clone() if one.requires_grad else one.detach().clone()


def _unchanged(before: Any, after: Any) -> bool:
    """Whether a copy that was given away is still what it was."""
    if type(before) in (list, tuple):
        return (
            type(before) is type(after)
            and len(before) == len(after)
            and all(map(_unchanged, before, after))
        )
    if isinstance(before, Tensor):
        return isinstance(after, Tensor) and torch.equal(before.nan_to_num(), after.nan_to_num())
    return before is after


def _is_float(one: Any) -> bool:
    return isinstance(one, Tensor) and one.is_floating_point()


def _is_hole(error: NotImplementedError) -> bool:
    """Whether a person raised it; torch raises it too, for what it cannot do."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return str(error) == "your turn" or (
        "raise NotImplementedError" in (last.line or "") and "site-packages" not in last.filename
    )


def _told(error: BaseException) -> str:
    """An exception inside the answer, with the line of the answer where it happened."""
    package = str(PACKAGE)
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        one
        for one in frames
        if not one.filename.startswith(package) and "site-packages" not in one.filename
    ]
    where = (
        f"line {own[-1].lineno}: {own[-1].line}" if own and own[-1].line else "inside your function"
    )
    try:
        reason = " ".join(str(error).split()) or "no message"
    except Exception:  # an answer may raise an exception of its own, whose text raises again
        reason = "a message that cannot be shown"
    reason = reason if len(reason) < 300 else reason[:300] + " ..."
    hint = ""
    if "must match" in reason or "cannot be multiplied" in reason:
        hint = "\nWhich axes meet here? A sum loses its axis unless keepdim=True."
    return f"Your function raised {type(error).__name__}: {reason}\n({where}){hint}"


def _kind(one: object) -> str:
    if isinstance(one, Tensor):
        return f"a tensor of shape {tuple(one.shape)}"
    if isinstance(one, tuple | list):
        return f"a {type(one).__name__} of {len(one)}"
    return f"{type(one).__name__}" if one is None else f"a {type(one).__name__}"
