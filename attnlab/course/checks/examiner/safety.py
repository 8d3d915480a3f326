"""An answer runs in limited time, on copies, and says nothing on stderr."""

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner.failures import (
    CHECKS_OWN,
    READY_MADE,
    CheckFailed,
    require,
)
from attnlab.files import PACKAGE
from attnlab.languages import tr

OURS = f"{PACKAGE}{os.sep}"  # code of ours is known by its file, wherever it was copied to
CHECKS = f"{PACKAGE / 'course' / 'checks'}{os.sep}"


HINTS = (  # words of an exception, and a question about what is likely behind it
    (
        "torch.return_types",
        "max, min, median and sort with an axis give two things, values and indices. "
        "Do you want `.values`, or amax and amin?",
    ),
    ("for ^", "In Python `^` is 'exclusive or'. The power is `**`: is that what you mean?"),
    ("bitwise_xor", "In Python `^` is 'exclusive or'. The power is `**`: is that what you mean?"),
    (
        "Boolean value of Tensor with more than one value",
        "`not`, `and`, `or` and `if` ask for a single truth value. Element by element it is `~`, "
        "`&`, `|` and torch.where: which of them do you need?",
    ),
    (
        "truth value of an array with more than one element",
        "`not`, `and`, `or` and `if` ask for a single truth value. Element by element it is `~`, "
        "`&`, `|` and np.where: which of them do you need?",
    ),
    (
        "Dimension out of range",
        "There are fewer axes than you count. Does your axis count from the end, as -1 and -2 do, "
        "so that it fits matrices and batches?",
    ),
    ("too many indices", "There are fewer axes than you index. Would `...` or -1 fit any number?"),
    (
        "shapes cannot be multiplied",
        "In a @ b the last axis of a is as long as the last but one of b. Do the last two axes of "
        "one of them have to change places, .transpose(-2, -1)?",
    ),
    (
        "Expected size for first two dimensions of batch2",
        "In a @ b the last axis of a is as long as the last but one of b. Do the last two axes of "
        "one of them have to change places, .transpose(-2, -1)?",
    ),
    (
        "must match",
        "Axes are paired from the last one backwards; paired ones are equally long, or one of "
        "them is 1. Is an axis of length 1 missing (keepdim=True, unsqueeze, [:, None]), or at "
        "the wrong place?",
    ),
    (
        "doesn't match the broadcast shape",
        "`+=` writes into the tensor at its left, which keeps its shape and is changed wherever "
        "else it is used. Does x = x + ... do?",
    ),
    (
        "could not be broadcast",
        "Axes are paired from the last one backwards; paired ones are equally long, or one of "
        "them is 1. Is an axis of length 1 missing (keepdims=True, [:, None])?",
    ),
    (
        "takes from 1 to 0 positional arguments",
        "With `stable` torch wants all arguments by name, the axis as well: is it dim=-1?",
    ),
    (
        "view size is not compatible",
        "`view` needs numbers that are in order in memory, which transpose and permute change. "
        "Does reshape do?",
    ),
    (
        "numpy() on Tensor that requires grad",
        "Gradients cannot flow through numpy. Can you write it with torch throughout?",
    ),
    ("must be Tensor, not", "Functions of torch take tensors. For a plain number, is it math's?"),
    (
        "can be converted to Python scalars",
        "Functions of math, float() and item() take a single number. For a tensor, is it torch's?",
    ),
    ("boolean masks", "A mask has to be bool. Is there a .bool(), == 0 or > 0 missing?"),
    (
        "operator.invert",
        "`~` turns round a mask of type bool. Is there a .bool(), == 0 or > 0 missing?",
    ),
    (
        "'torch.Size' object is not callable",
        "`shape` is indexed, shape[-1]; `size` is called, size(-1). Which of them is it?",
    ),
    (
        "object is not subscriptable",
        "Are there square brackets after a function that has to be called with round ones?",
    ),
)


class TimeUp(BaseException):
    """Raised inside an answer that takes too long; no ``except Exception`` ends it."""


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Keep everything off stderr: a grader would take it for a failure."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` in this thread after so many seconds."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():

        def ring(*_: Any) -> None:
            raise TimeUp

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
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeUp))
            wait = 0.1

    threading.Thread(target=remind, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def watched(forbidden: frozenset[str]) -> Iterator[None]:
    """Fail when a library function of a forbidden name is called, or one of the checks' own.

    A function of attnlab is known by the file of its code, so a copy of the code is known, too.
    """

    known: dict[Any, bool] = {}

    def watch(frame: Any, event: str, called: Any) -> None:
        if event == "call":
            code, caller = frame.f_code, frame.f_back and frame.f_back.f_code
            if _of_checks(code) and not _of_checks(caller):
                if code not in known:
                    known[code] = _is_named(frame)
                require(not known[code], CHECKS_OWN)
        if not forbidden or event not in ("call", "c_call"):
            return
        if event == "c_call":
            name, package = getattr(called, "__name__", ""), "torch"
        else:
            name, package = frame.f_code.co_name, _package_of(frame)
        if package in ("torch", "attnlab") and forbidden & {name, f"{package}.{name}"}:
            raise CheckFailed(tr(READY_MADE, name=name))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)


def _package_of(frame: Any) -> str:
    """The package that the running code belongs to, wherever it was copied to."""
    if frame.f_code.co_filename.startswith(OURS):
        return "attnlab"
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _of_checks(code: Any) -> bool:
    return code is not None and code.co_filename.startswith(CHECKS)


def _is_named(frame: Any) -> bool:
    """Whether its module holds the running function; what a check hands over stands in none."""
    held = frame.f_globals.values()
    return any(getattr(value, "__code__", None) is frame.f_code for value in held)


def is_checks_own(answer: Any) -> bool:
    """Whether an answer is a function or class of the checks, or runs a copy of its code."""
    answer = getattr(answer, "func", answer)
    code = getattr(getattr(answer, "forward", answer), "__code__", None)
    return _of_checks(code)


def copy_of(value: Any) -> Any:
    """A copy of a tensor, or of a list or tuple with what it holds; anything else as it is."""
    if type(value) in (list, tuple):
        return type(value)(copy_of(part) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value.clone() if value.requires_grad else value.detach().clone()


def unchanged(before: Any, after: Any) -> bool:
    """Whether a copy that was passed to an answer still equals what it was."""
    if type(before) in (list, tuple):
        return (
            type(before) is type(after)
            and len(before) == len(after)
            and all(map(unchanged, before, after))
        )
    if isinstance(before, Tensor):
        return isinstance(after, Tensor) and torch.equal(before.nan_to_num(), after.nan_to_num())
    return before is after


def is_hole(error: NotImplementedError) -> bool:
    """Whether a person raised it; torch raises it too, for what it cannot do."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return str(error) == "your turn" or (
        "raise NotImplementedError" in (last.line or "") and "site-packages" not in last.filename
    )


def exception_text(error: BaseException) -> str:
    """An exception inside the answer, with the line of the answer where it happened."""
    package = str(PACKAGE)
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith(package) and "site-packages" not in frame.filename
    ]
    where = (
        tr("line {number}: {code}", number=own[-1].lineno, code=own[-1].line)
        if own and own[-1].line
        else tr("inside your function")
    )
    try:
        reason = " ".join(str(error).split()) or tr("no message")
    except Exception:  # an answer may raise an exception of its own, whose text raises again
        reason = tr("a message that cannot be shown")
    reason = reason if len(reason) < 300 else reason[:300] + " ..."
    hint = next((f"\n{tr(hint)}" for words, hint in HINTS if words in reason), "")
    kind = type(error).__name__
    told = tr("Your function raised {kind}: {reason}", kind=kind, reason=reason)
    return f"{told}\n({where}){hint}"
