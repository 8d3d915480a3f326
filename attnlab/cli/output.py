"""What commands print: lines, tables and how far they are."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

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


def new_table(*columns: str, **options: Any) -> Table:
    """Return an empty table without lines, for `OUT` to print; options are those of rich."""
    return Table(*columns, box=None, pad_edge=False, **options)


def points(delta: float, low: float, high: float, unit: str = "") -> str:
    """Return a difference of two shares, with its interval, in percentage points.

    >>> points(0.012, -0.005, 0.029, " points")
    '+1.2 points (−0.5 to +2.9)'
    """
    from attnlab.show.wording import signed_points

    return f"{signed_points(delta)}{unit} ({signed_points(low)} to {signed_points(high)})"


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
