"""What can go wrong, said so that the reader knows what to do next."""

import difflib
from collections.abc import Iterable


class AttnlabError(Exception):
    """Base of all our errors: says what was given, what was expected, and what to do."""


class DataError(AttnlabError):
    """A data set cannot be fetched, read or used."""


class SettingsError(AttnlabError):
    """Head settings that do not fit the model, or hold values without a meaning."""


class ModelError(AttnlabError):
    """A model that cannot be loaded, or that lacks what was asked of it."""


class TensorError(AttnlabError):
    """A tensor whose shape, type or device does not fit; the message shows them."""


class AttnlabWarning(UserWarning):
    """Something was done that the caller may not expect, such as cutting a long text."""


def suggest(name: object, choices: Iterable[object]) -> str:
    """Return ``"Did you mean 'x'?"`` for the nearest choice, or the list of choices.

    >>> suggest("movie-sentimant", ["movie-sentiment", "digits"])
    "Did you mean 'movie-sentiment'?"
    """
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Choose one of: {', '.join(names)}."
