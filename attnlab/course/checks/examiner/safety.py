"""An answer runs in limited time, on copies, and says nothing on stderr."""

import contextlib
import ctypes
import io
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner.failures import READY_MADE, CheckFailed
from attnlab.files import PACKAGE


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
            raise CheckFailed(READY_MADE.format(name=name))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)


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
