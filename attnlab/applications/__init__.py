"""Small real uses of attention, each an honest lab: real input, a baseline, an interval.

`recommending` says what a person may want next, from the order of what they had. `feedback` sorts
messages of customers, and `news` watches a stream of texts. `appliances` says which kind of device
draws a current, and which moments say so. `reading` reads lines of print, letter by letter, and
shows where it looks.
"""

from attnlab.applications.abstaining import Selective, coverage_curve, selective, threshold_for
from attnlab.applications.alarms import (
    alarm_table,
    bets,
    by_bets,
    by_cusum,
    by_day,
    first_alarms,
    usual_share,
)
from attnlab.applications.appliances import (
    SeriesClassifier,
    by_forest,
    by_nearest,
    removal_table,
    series_table,
)
from attnlab.applications.domain_shift import shift_rates, shift_test
from attnlab.applications.feedback import (
    Triage,
    answer_ranks,
    answer_table,
    queue_table,
    word_overlap,
)
from attnlab.applications.news import NewsMonitor, first_words, reading_ways, topic_shares, watch
from attnlab.applications.ppocr import by_ppocr
from attnlab.applications.reading import Reader, Reading, load_reader, readers
from attnlab.applications.reading_measures import (
    calibration_table,
    pointer_table,
    reading_table,
    word_table,
)
from attnlab.applications.recommending import (
    Recommender,
    by_neighbours,
    by_popularity,
    rank_targets,
    ranking_table,
)
from attnlab.applications.text_features import embed, linear_head

__all__ = [
    "NewsMonitor",
    "Reader",
    "Reading",
    "Recommender",
    "Selective",
    "SeriesClassifier",
    "Triage",
    "alarm_table",
    "answer_ranks",
    "answer_table",
    "bets",
    "by_bets",
    "by_cusum",
    "by_day",
    "by_forest",
    "by_nearest",
    "by_neighbours",
    "by_popularity",
    "by_ppocr",
    "calibration_table",
    "coverage_curve",
    "embed",
    "first_alarms",
    "first_words",
    "linear_head",
    "load_reader",
    "pointer_table",
    "queue_table",
    "rank_targets",
    "ranking_table",
    "readers",
    "reading_table",
    "reading_ways",
    "removal_table",
    "selective",
    "series_table",
    "shift_rates",
    "shift_test",
    "threshold_for",
    "topic_shares",
    "usual_share",
    "watch",
    "word_overlap",
    "word_table",
]


def __dir__() -> list[str]:
    return sorted(__all__)
