"""Tables whose numbers people can read: as many digits as mean something, and no more."""

import html
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnlab.errors import AttnlabError
from attnlab.show.plots.picture import need
from attnlab.show.wording import number
from attnlab.statistics import p_text

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_WORD = r"[^\W\d_]{2}|\d{4}-\d\d-\d\d"  # two letters, or a date
_MARKED = "background-color: #f8dcc4; color: #212121"
_P_VALUES = ("p", "p_value", "q_value")


def table(
    frame: pd.DataFrame, marked: pd.DataFrame | Iterable[bool] | None = None, **decimals: int
) -> "Styler":
    """A table with its numbers formatted column by column.

    Parameters
    ----------
    frame : what to show
    marked : for each row whether it gets a coloured ground, such as one whose answer is wrong; or
        a table of the same shape that says so for each cell, which is then bold, too
    decimals : for columns that are to have so many decimals; a name with spaces goes in as
        ``table(frame, **{"F1, %": 1})``

    Whole numbers have none and are grouped by thousands; others have as many as their largest
    needs to show three or four digits. p-values are never 0, and what is missing is a dash. Words
    stand to the left, and the name of the index beside those of the columns.
    """
    need(frame, (), "your numbers", rows=False)
    need(frame, tuple(decimals), "your numbers", rows=False)
    formats = {}
    for column in frame:
        if pd.api.types.is_bool_dtype(frame[column]):
            continue
        if str(column) in _P_VALUES:
            formats[column] = _p_value
        elif pd.api.types.is_numeric_dtype(frame[column]):
            values = frame[column].to_numpy(float)
            formats[column] = _writer(values, decimals.get(str(column)))
    if frame.index.name and not frame.columns.name:
        frame = frame.rename_axis(index=None, columns=frame.index.name)
    left = [{"selector": "", "props": "text-align: left"}]
    styles = {column: left for column in frame if _is_words(frame[column])}
    styler = frame.style.format(formats, na_rep="–", escape="html")
    if styles:
        styler.set_table_styles(styles, overwrite=False)
    if _is_words(frame.index.to_series()):
        names = [{"selector": "th.row_heading, th.index_name", "props": "text-align: left"}]
        styler.set_table_styles(names, overwrite=False)
    if marked is not None:
        styler.set_table_styles(_grounds(marked, frame.shape), overwrite=False)
    return styler


def _grounds(marked: pd.DataFrame | Iterable[bool], shape: tuple[int, int]) -> list[Any]:
    """Styles of the marked rows or cells, by number: names of rows may repeat."""
    if isinstance(marked, pd.DataFrame):
        if marked.shape != shape:
            raise AttnlabError(f"The marks have shape {marked.shape}, and the table {shape}.")
        cells = np.argwhere(marked.to_numpy(bool))
        bold = f"{_MARKED}; font-weight: bold"
        return [{"selector": f"td.row{row}.col{col}", "props": bold} for row, col in cells]
    rows = list(marked)
    if len(rows) != shape[0]:
        raise AttnlabError(f"Marked are {len(rows)} rows, and the table has {shape[0]}.")
    chosen = [row for row, chosen in enumerate(rows) if chosen]
    return [{"selector": f".row{row}", "props": _MARKED} for row in chosen]


def _is_words(column: pd.Series) -> bool:
    """Whether a column holds words or dates, and not numbers, written out or not."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return False
    return any(re.search(_WORD, str(value)) for value in column.dropna())


def _p_value(value: float) -> str:
    return html.escape(p_text(value).removeprefix("p ").removeprefix("= "))


def _writer(values: np.ndarray, decimals: int | None) -> Any:
    """How to write the numbers of a column."""
    values = np.abs(values[np.isfinite(values)])
    if decimals is None:
        largest = float(values.max(initial=0))
        if 0 < largest < 1e-3:
            return lambda value: f"{value:.1e}".replace("e-0", "e-") if value else "0"
        whole = bool((values == values.round()).all())
        decimals = 0 if whole else int(np.clip(2 - math.floor(math.log10(largest)), 0, 3))
    return lambda value: number(value, decimals)
