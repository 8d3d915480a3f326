"""What became of dates: is an answer right, another day, or no day at all?"""

import datetime
import re
from typing import TYPE_CHECKING

import pandas as pd

from attnlab.datasets.pairs import ParallelDataset
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

OUTCOMES = ("right", "another day", "no day")
_SWAPPED = ("other-order", "either-order")
_KINDS = ("left-out", "borrowed", "new", *_SWAPPED)


def is_date(text: str) -> bool:
    """Whether a text is a day of the calendar, written as ISO 8601 asks.

    >>> is_date("2021-03-03"), is_date("2021-19-12")
    (True, False)
    """
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text))


def date_answers(translator: "Translator", pairs: ParallelDataset) -> pd.DataFrame:
    """Translate dates of several kinds, and sort the answers.

    Parameters
    ----------
    translator : Translator
    pairs : with kinds, such as ``al.datasets.load("dates-held-out").test``

    Returns
    -------
    DataFrame, a row per pair: ``kind``, ``source``, ``found``, ``wanted``; ``outcome``, one of
    "right", "another day" of the calendar and "no day"; and ``day_by_tag``: whether day and month
    were swapped against the tag and the answer's day stands where the tag's language has it. (Its
    month may be another one, as in "en-GB: 08/22/2036", where that leaves month 22.)

    Raises
    ------
    AttnlabError : the pairs have no kinds
    """
    if pairs.kinds is None:
        raise AttnlabError(f"{pairs.name} has no kinds. Load 'dates-held-out'.")
    found = translator.translate(pairs.sources)
    rows = list(zip(pairs.kinds, pairs.sources, found, pairs.targets, strict=True))
    frame = pd.DataFrame(rows, columns=["kind", "source", "found", "wanted"])
    frame["outcome"] = [_outcome(found, wanted) for _, _, found, wanted in rows]
    frame["day_by_tag"] = [_day_by_tag(kind, found, wanted) for kind, _, found, wanted in rows]
    return frame


def answer_shares(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each outcome (columns) among the answers to each kind (rows)."""
    shares = pd.crosstab(answers["kind"], answers["outcome"], normalize="index")
    known = [kind for kind in _KINDS if kind in shares.index]
    others = [kind for kind in shares.index if kind not in known]
    return shares.reindex(index=known + others, columns=list(OUTCOMES), fill_value=0.0)


def _outcome(found: str, wanted: str) -> str:
    if found == wanted:
        return "right"
    return "another day" if is_date(found) else "no day"


def _day_by_tag(kind: str, found: str, wanted: str) -> bool:
    """Whether a swapped date's month was taken for its day, with the year right."""
    year, month, _ = wanted.split("-")
    return kind in _SWAPPED and bool(re.fullmatch(rf"{year}-\d\d-{month}", found))
