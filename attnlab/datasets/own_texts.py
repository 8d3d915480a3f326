"""Your own texts without labels, one a row, from a table."""

import os

from attnlab.datasets.columns import cells_of
from attnlab.datasets.reading import local_file
from attnlab.errors import DataError


def texts_from_file(
    path: str | os.PathLike[str],
    text: str = "text",
    *,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> list[str]:
    """Read the texts of a table, in the order of its rows; labels are not needed.

    Parameters
    ----------
    path : a table with a header line, as `from_csv` reads it
    text : name of the column of texts
    encoding, delimiter : as for `from_csv`

    Raises
    ------
    DataError : no such file or column, a row without a text, no rows
    """
    texts = []
    for where, (cell,) in cells_of(local_file(path), (text,), encoding, delimiter, ("text",)):
        if not cell:
            raise DataError(f"{where} has no text. Give it one, or leave the row out.")
        texts.append(cell)
    if not texts:
        raise DataError("The table has no rows. Give at least one text.")
    return texts
