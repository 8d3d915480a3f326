"""What commands print: lines, tables and how far they are."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd

OUT = Console()
ERR = Console(stderr=True)


def say(line: str) -> None:
    """Print a line that may contain file names: unbroken, and without markup."""
    OUT.print(line, highlight=False, soft_wrap=True, markup=False)


def print_frame(frame: "pd.DataFrame") -> None:
    """Print every row and column of a table."""
    say(frame.to_string(index=False))


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; yield the function ``(step, steps, text)`` that moves it.

    Of several processes only the main one shows it.
    """
    from attnlab.device import is_main_process
    from attnlab.progress import progress_bar

    if not is_main_process():
        yield lambda step, steps, text: None
        return
    with progress_bar() as bar:
        task = bar.add_task(title, total=1)
        yield lambda step, steps, text: bar.update(
            task, completed=step, total=steps, description=text
        )
