"""How far something is: one progress bar for training, commands and downloads."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(last_column: str = "{task.completed:.0f}/{task.total:.0f}") -> "Progress":
    """Return a progress bar on stderr that ends with ``last_column`` and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(last_column),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
