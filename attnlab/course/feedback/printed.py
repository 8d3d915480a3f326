"""Lines that are printed as they are found, also what is wrong with the input."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from attnlab.errors import AttnlabError


def printed(lines: Callable[..., Iterator[str]]) -> Callable[..., None]:
    """Print line by line, and what is wrong with the input as a line of its own."""

    @functools.wraps(lines)
    def said(*given: Any, **named: Any) -> None:
        try:
            for line in lines(*given, **named):
                print(line)
        except AttnlabError as error:
            print(error)

    return said
