"""What can go wrong, said so that the reader knows what to do next."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


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

    >>> suggest("movie-sentimant", ["movie-sentiment", "digits"])
    "Did you mean 'movie-sentiment'?"
    """
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Choose one of: {', '.join(names)}."


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
