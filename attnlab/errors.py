"""What can go wrong, said so that the reader knows what to do next."""

import difflib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable


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


def needs(*modules: str) -> None:
    """Check that optional packages are installed; call it just before importing them.

    Parameters
    ----------
    modules : names as they are imported, such as "peft"

    Raises
    ------
    MissingPackage : one of them is not installed; the message names the extra that brings it

    Examples
    --------
    >>> needs("numpy")
    >>> needs("no_such_package")
    Traceback (most recent call last):
        ...
    attnlab.errors.MissingPackage: no_such_package is not installed. Type: pip install "attnlab[lab]"
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingPackage(
                f'{module} is not installed. Type: pip install "attnlab[{_extra(module)}]"'
            )


def _extra(module: str) -> str:
    """Name the extra that brings a module, as the metadata of the installed attnlab has it."""
    try:
        requirements = importlib.metadata.requires("attnlab") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*; extra == ['\"](\w+)['\"]", requirement)
        if found and found[1].replace("-", "_").lower() == module.lower():
            return found[2]
    return "lab"
