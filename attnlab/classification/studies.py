"""Optuna studies: what is tried is written down in a folder, and belongs to one search."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnlab.errors import AttnlabError, needs

if TYPE_CHECKING:
    import optuna

Direction = Literal["maximize", "minimize"]


@contextlib.contextmanager
def opened(
    file: str | os.PathLike[str] | None, about: Mapping[str, Any], directions: Sequence[Direction]
) -> "Iterator[optuna.Study]":
    """Open a study, new or as it was left; Optuna says nothing but errors meanwhile.

    Parameters
    ----------
    file : where it is written down, also if its folder is not there yet; None keeps it in memory
    about : what is searched, in values that JSON knows; a file with another search is refused
    directions : for each objective

    Raises
    ------
    AttnlabError : the file holds another search
    MissingPackage : Optuna is not installed
    """
    with needs("lab"):
        import optuna
        from optuna.storages.journal import JournalFileBackend

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = None
        if file is not None:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(
            storage=storage, study_name="search", load_if_exists=True, directions=list(directions)
        )
        _same_search(study, about)
        yield study
    finally:
        optuna.logging.set_verbosity(level)


def _same_search(study: "optuna.Study", about: Mapping[str, Any]) -> None:
    """Note what is searched, or refuse to mix it with another search."""
    known = study.user_attrs
    changed = {name: known[name] for name in about if name in known and known[name] != about[name]}
    if changed:
        told = ", ".join(f"{name} was {old!r}, is {about[name]!r}" for name, old in changed.items())
        raise AttnlabError(
            f"The search in this folder is another one: {told}. Choose a new folder."
        )
    for name, value in about.items():
        study.set_user_attr(name, value)
