"""Commands for translators: catalogues brought up to date, and what is missing in them."""

from typing import Annotated

import typer

from attnlab.cli.output import say
from attnlab.errors import AttnlabError, suggest
from attnlab.languages import ENGLISH, known, named

Language = Annotated[
    str | None, typer.Option("--lang", help="Such as zh_CN. Default: all that there are.")
]
_SHOWN = 60  # letters of a text that has no translation


def build(language: Language = None) -> None:
    """Bring the catalogues of translations up to date with the sources, and compile them.

    Example: [bold]attnlab words build[/]
    """
    from attnlab.course import catalogues, translating

    for name in _asked(language):
        for path in [*catalogues.build(name), *translating.build(name)]:
            say(f"built: {path}")


def check(
    language: Language = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Name each text without a translation.")
    ] = False,
) -> None:
    """Say how much is translated; exit 1 if a translation is wrong or not compiled.

    What is missing stays English, and is no error.

    Examples: [bold]attnlab words check[/], [bold]attnlab words check --lang zh_CN --missing[/]
    """
    from attnlab.course import catalogues, translating

    wrong = []
    for name in _asked(language):
        absent = [*catalogues.missing(name), *translating.missing(name)]
        for found in absent if missing else ():
            text = " ".join(found.text.split())
            say(f"{found.place}: {text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}")
        say(f"{name}: {len(absent)} texts without a translation")
        wrong += [*catalogues.problems(name), *translating.problems(name)]
    if wrong:
        raise AttnlabError("\n".join(wrong))


def _asked(language: str | None) -> list[str]:
    """The languages that are meant, without English, which needs no catalogue."""
    others = [name for name in known() if name != ENGLISH]
    return others if language is None else [language_of(language)]


def language_of(text: str) -> str:
    """The language that somebody typed, or an AttnlabError with those that there are."""
    found = named(text)
    if found is None:
        raise AttnlabError(f"There is no language {text!r}. {suggest(text, known())}")
    return found
