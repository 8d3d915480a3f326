"""Icons with the words that people search for them by, drawn from the font that brings them."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attnlab.datasets.pictures import check_images
from attnlab.datasets.splits import Splits, split_by
from attnlab.datasets.texts import normalise, text_hash
from attnlab.errors import DataError

_INSIDE = "fontawesomefree/static/fontawesomefree/js-packages/@fortawesome/fontawesome-free/"
_SIDE, _INK = 32, 28  # pixels of a picture, and of the longer side of what is drawn in it


@dataclass(frozen=True, eq=False)
class IconDataset:
    """Icons, white on black, with their words.

    Attributes
    ----------
    images : uint8 array, shape (N, 32, 32)
    ids : list of N str, what the font calls each icon: "mug-hot"
    titles : list of N str: "Mug Hot"
    terms : N lists of str: words to search for it by
    held_out_terms : N lists of str: more such words, kept out of training; none of them is in the
        title. Empty outside of train, where all words are new to the icon.
    categories : N lists of str: "food-beverage"
    name : str

    Raises
    ------
    DataError : no pictures, or other than one of everything for each
    """

    images: np.ndarray
    ids: list[str]
    titles: list[str]
    terms: list[list[str]]
    held_out_terms: list[list[str]]
    categories: list[list[str]]
    name: str

    def __post_init__(self) -> None:
        check_images(self.images, self.name)
        sizes = {field: len(getattr(self, field)) for field in ("images", *_LISTS)}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{size} {field}" for field, size in sizes.items())
            raise DataError(f"{self.name} has {told}. Give as many of each.")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Sequence[int] | np.ndarray) -> "IconDataset":
        """The icons with these indices, in this order."""
        chosen = [int(index) for index in indices]
        lists: dict[str, Any] = {
            field: [getattr(self, field)[index] for index in chosen] for field in _LISTS
        }
        return replace(self, images=self.images[np.asarray(chosen, dtype=int)], **lists)

    def sample(self, n: int, seed: int = 0) -> "IconDataset":
        """At most ``n`` icons, drawn at random from a seed; all of them if there are fewer."""
        return self.select(np.random.default_rng(seed).permutation(len(self))[:n])

    def __repr__(self) -> str:
        words = sum(map(len, self.terms))
        return f"IconDataset({self.name!r}, {len(self):,} icons, {words:,} terms)"


_LISTS = ("ids", "titles", "terms", "held_out_terms", "categories")


def icons(name: str, path: Path, test_only: bool) -> Splits:
    """Parse Font Awesome's free icons without those of brands: a font, terms and categories."""
    import yaml

    with zipfile.ZipFile(path) as archive:
        records = json.loads(archive.read(f"{_INSIDE}metadata/icon-families.json"))
        categories = yaml.safe_load(archive.read(f"{_INSIDE}metadata/categories.yml"))
        font = ImageFont.truetype(
            io.BytesIO(archive.read(f"{_INSIDE}webfonts/fa-solid-900.ttf")), 96
        )
    found = {icon: record for icon, record in sorted(records.items()) if _is_solid(record)}
    of_icon: dict[str, list[str]] = {icon: [] for icon in found}
    for category, members in sorted(categories.items()):
        for icon in members["icons"]:
            of_icon.get(icon, []).append(category)
    data = IconDataset(
        np.stack([_drawn(font, chr(int(record["unicode"], 16))) for record in found.values()]),
        list(found),
        [record["label"] for record in found.values()],
        [_terms(record) for record in found.values()],
        [[] for _ in found],
        list(of_icon.values()),
        name,
    )
    # arrow-up and arrow-down are alike: what shares its first word stays together
    splits = split_by([text_hash(icon.split("-")[0]) for icon in found], data, 0.1, 0.1)
    return replace(splits, train=_without_some_terms(splits.train))


def _is_solid(record: dict[str, Any]) -> bool:
    """Whether an icon is there as a filled drawing, and is of no brand."""
    styles = {kind["style"] for kind in record["familyStylesByLicense"]["free"]}
    return "solid" in styles and "brands" not in styles


def _terms(record: dict[str, Any]) -> list[str]:
    """The words to search for an icon by, each once."""
    return list({normalise(term): term for term in record["search"]["terms"]}.values())


def _drawn(font: ImageFont.FreeTypeFont, sign: str) -> np.ndarray:
    """A sign in the middle of a picture, its longer side always the same."""
    left, top, right, bottom = font.getbbox(sign)
    large = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(large).text((-left, -top), sign, 255, font)
    large = large.crop(large.getbbox())
    share = _INK / max(large.size)
    size = [max(1, round(share * side)) for side in large.size]
    picture = Image.new("L", (_SIDE, _SIDE))
    small = large.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    picture.paste(small, ((_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2))
    return np.array(picture)


def _without_some_terms(data: IconDataset) -> IconDataset:
    """Keep a quarter of each icon's terms out of training, chosen by a hash, none of the title."""
    terms, held_out = [], []
    for icon, title, found in zip(data.ids, data.titles, data.terms, strict=True):
        new = [term for term in found if normalise(term) not in normalise(title)]
        by_hash = sorted((text_hash(f"{icon} {term}"), term) for term in new)
        held_out.append(sorted(term for _, term in by_hash[: len(found) // 4]))
        terms.append([term for term in found if term not in held_out[-1]])
    return replace(data, terms=terms, held_out_terms=held_out)
