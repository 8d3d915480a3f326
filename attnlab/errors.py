"""What can go wrong, said so that the reader knows what to do next."""

import contextlib
import difflib
import shlex
from collections.abc import Iterable, Iterator

__all__ = [
    "AttnlabError",
    "AttnlabWarning",
    "DataError",
    "MissingPackage",
    "ModelError",
    "SettingsError",
    "TensorError",
    "needs",
    "on_the_command_line",
    "option",
    "suggest",
    "worded",
]


class AttnlabError(Exception):
    """Base of all our errors: says what was given, what was expected, and what to do."""


class DataError(AttnlabError):
    """A data set cannot be fetched, read or used."""


class SettingsError(AttnlabError):
    """Head settings that do not fit the model, or that hold meaningless values."""


class ModelError(AttnlabError):
    """A model that cannot be loaded, or that lacks what was asked of it."""


class TensorError(AttnlabError):
    """A tensor whose shape, type or device does not fit; the message shows them."""


class MissingPackage(AttnlabError, ImportError):
    """An optional package is not installed; the message holds the line to type."""


class AttnlabWarning(UserWarning):
    """Something happened that the caller may not expect, such as cutting a long text."""


def suggest(name: object, choices: Iterable[object]) -> str:
    """Return ``"Did you mean 'x'?"`` for the closest choice, or the list of choices.

    Case does not matter.

    >>> suggest("movie-sentimant", ["movie-sentiment", "digits"])
    "Did you mean 'movie-sentiment'?"
    >>> suggest("text", ["id", "TEXT"])
    "Did you mean 'TEXT'?"
    """
    names = [str(choice) for choice in choices]
    folded = [choice.casefold() for choice in names]
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {names[folded.index(near[0])]!r}?"
    return f"Choose one of: {', '.join(names)}."


# --- The words of the place where an error is met -------------------------------------------------

_command_line = False


@contextlib.contextmanager
def on_the_command_line() -> Iterator[None]:
    """Word errors for a reader who types commands; put around what a command runs."""
    global _command_line
    before, _command_line = _command_line, True
    try:
        yield
    finally:
        _command_line = before


def worded(python: str, command_line: str) -> str:
    """Return one of two wordings, by where the reader will meet it.

    >>> worded("Write load('dates').", "Type attnlab fetch.")
    "Write load('dates')."
    >>> with on_the_command_line():
    ...     worded("Write load('dates').", "Type attnlab fetch.")
    'Type attnlab fetch.'
    """
    return command_line if _command_line else python


def option(name: str, value: object = None) -> str:
    """Return how to set an option where the reader is: a keyword, or an option of a command.

    Parameters
    ----------
    name : of the keyword; the command's option has the same, with hyphens
    value : what to set it to; True is a switch; None leaves it to the reader

    >>> option("encoding", "cp1252"), option("resume", True), option("text")
    ("encoding='cp1252'", 'resume=True', 'text=...')
    >>> with on_the_command_line():
    ...     option("encoding", "cp1252"), option("max_length", 64), option("resume", True)
    ('--encoding cp1252', '--max-length 64', '--resume')
    """
    flag = "--" + name.replace("_", "-")
    if value is None:
        return worded(f"{name}=...", flag)
    if value is True:
        return worded(f"{name}=True", flag)
    return worded(f"{name}={value!r}", f"{flag} {shlex.quote(str(value))}")


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Say which line installs a package that is missing; put around the import of an optional one.

    Parameters
    ----------
    extra : the extra of attnlab that brings what the block imports, such as "lab"

    Raises
    ------
    MissingPackage : a package is not installed

    Examples
    --------
    >>> with needs("lab"):
    ...     import no_package
    Traceback (most recent call last):
        ...
    attnlab.errors.MissingPackage: no_package is not installed. Type: pip install "attnlab[lab]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "attnlab":
            raise
        raise MissingPackage(
            f'{package} is not installed. Type: pip install "attnlab[{extra}]"'
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
