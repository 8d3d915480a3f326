"""The words a learner sees, in the learner's language: gettext, with English as its keys.

A text is written in English where it is said, inside `tr`, and looked up in the catalogue of the
language in use. What has no translation stays English, text by text. The catalogues are in
``attnlab/locale``; ``attnlab words`` keeps them (see docs/languages.md).
"""

import contextlib
import functools
import gettext
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

__all__ = [
    "DOMAIN",
    "ENGLISH",
    "LOCALE",
    "SCRIPTS",
    "VARIABLE",
    "current",
    "known",
    "later",
    "named",
    "speaking",
    "tr",
    "use",
    "words_of_scripts",
]

VARIABLE = "ATTNLAB_LANG"
ENGLISH = "en"
LOCALE = Path(__file__).parent / "locale"
DOMAIN, SCRIPTS = "attnlab", "desks"  # catalogues: of Python, and of the scripts of desks
_OF_THE_SYSTEM = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # asked for "auto" only
_NAMES = {ENGLISH: "English", "zh_CN": "简体中文"}  # of each language in itself

_chosen: str | None = None  # by `use`; None: what the environment says
_inside: ContextVar[str | None] = ContextVar("language", default=None)  # of `speaking`


def known() -> dict[str, str]:
    """Languages that there are, and what each calls itself.

    >>> known()["en"]
    'English'
    """
    return {name: _NAMES.get(name, name) for name in (ENGLISH, *_translated())}


def named(language: str) -> str | None:
    """The language that somebody means, or None if there is no such one.

    Parameters
    ----------
    language : such as "zh_CN"; "zh", "zh-CN" and "zh_CN.UTF-8" mean the same

    >>> named("zh"), named("zh-cn"), named("zh_CN.UTF-8"), named("C.UTF-8"), named("fr")
    ('zh_CN', 'zh_CN', 'zh_CN', 'en', None)
    """
    asked = language.partition(".")[0].partition("@")[0].replace("-", "_").casefold()
    if asked in ("", "c", "posix"):
        return ENGLISH
    choices = {name.casefold(): name for name in known()}
    if asked in choices:
        return choices[asked]
    root = asked.partition("_")[0]
    return next((name for folded, name in choices.items() if folded.split("_")[0] == root), None)


def current() -> str:
    """The language in use: of `speaking`, else chosen by `use` or ATTNLAB_LANG, else English.

    ``ATTNLAB_LANG=auto`` takes the first language of the system's settings that there is. A
    language that is not known is English.
    """
    return _inside.get() or _chosen or _of_environment(os.environ)


def use(language: str | None) -> None:
    """Say everything in this language from now on; None: as the environment says."""
    global _chosen
    _chosen = None if language is None else named(language) or ENGLISH


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Say everything inside the block in this language; other threads go on in theirs.

    >>> with speaking("en"):
    ...     current()
    'en'
    """
    before = _inside.set(named(language) or ENGLISH)
    try:
        yield
    finally:
        _inside.reset(before)


def tr(text: str, /, **values: Any) -> str:
    """Return a text in the language in use, with ``{names}`` filled in as `str.format` does.

    Without values nothing is filled in, and braces stay as they are. The name is not gettext's
    usual underscore, which is the name of what is not used.

    >>> with speaking("en"):
    ...     tr("{count} of {total:,} heads", count=3, total=1234), tr("a set {x}")
    ('3 of 1,234 heads', 'a set {x}')
    """
    language = current()
    said = text
    if language != ENGLISH and text:
        said = _catalogue(DOMAIN, language).gettext(text)
    return said.format(**values) if values else said


def later(text: str) -> str:
    """Return a text as it is: it is said later, by `tr` of a name, and found by its translators."""
    return text


def words_of_scripts() -> dict[str, str]:
    """What the scripts of desks say, from English to the language in use; empty for English."""
    language = current()
    return {} if language == ENGLISH else dict(_texts(_catalogue(SCRIPTS, language)))


def _of_environment(environment: Mapping[str, str]) -> str:
    asked = environment.get(VARIABLE, "")
    if asked != "auto":
        return named(asked) or ENGLISH
    for variable in _OF_THE_SYSTEM:
        for language in environment.get(variable, "").split(":"):
            if language and named(language):
                return named(language) or ENGLISH
    return ENGLISH


@functools.cache
def _translated() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in LOCALE.iterdir() if (path / "LC_MESSAGES").is_dir()))


@functools.cache
def _catalogue(domain: str, language: str) -> gettext.NullTranslations:
    return gettext.translation(domain, str(LOCALE), [language], fallback=True)


def _texts(catalogue: gettext.NullTranslations) -> dict[str, str]:
    """The whole catalogue; gettext has no public way to it."""
    found: dict[str, str] = getattr(catalogue, "_catalog", {})
    return {text: said for text, said in found.items() if text}


def __dir__() -> list[str]:
    return sorted(__all__)
