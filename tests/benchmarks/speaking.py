"""Language: models that speak like Grimm's tales, beside what counts instead of attending.

What is chosen is chosen on dev. Bits per character are of whole tales held out; Andersen's are
another author's, measured with what was learned from Grimm's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from rows import Row, row

import attnlab as al
from attnlab.language import BytePairs, Characters, KneserNey, measure_bits, packed_bits
from attnlab.language.vocabulary import Tokens

WINDOW = 64
PIECES = 1024
DISCOUNTS = (None, 0.6, 0.7, 0.8, 0.9)  # None: estimated, one for each count
RIVALS: dict[str, tuple[Callable[[Sequence[str]], Tokens], Sequence[int]]] = {  # tokens, orders
    "characters": (Characters.train, range(4, 11)),
    "pieces": (lambda texts: BytePairs.train(texts, PIECES), range(2, 7)),
}
DRAWS = 2000  # of the bootstrap


def measure() -> list[Row]:
    """All parts."""
    return measure_rivals()


def measure_rivals() -> list[Row]:
    """Kneser-Ney on characters and on pieces, and a packer; order and discount chosen on dev."""
    grimm, andersen = al.datasets.load_tales("grimm"), al.datasets.load_tales("andersen")
    rows = []
    for name, (train, orders) in RIVALS.items():
        tokens = train(grimm.train)
        ids = [tokens.encode(text) for text in grimm.train]
        tried = {
            (order, discount): _bits(
                measure_bits(
                    KneserNey(order, discount).fit(ids, len(tokens)), tokens, grimm.dev, WINDOW
                )
            )
            for order in orders
            for discount in DISCOUNTS
        }
        order, discount = min(tried, key=lambda each: tried[each])
        told = {"order": order, "discount": discount, "tokens": len(tokens)}
        start = f"language.kneser_ney.{name}"
        unit = f"bits per character, interpolated Kneser-Ney on {name}"
        rows.append(
            row(
                f"{start}.dev_bits",
                tried[order, discount],
                f"{unit}, dev; low and high are of all orders and discounts tried",
                list(tried.values()),
                **told,
            )
        )
        model = KneserNey(order, discount).fit(ids, len(tokens))
        for part, texts in (("test", grimm.test), ("andersen", andersen.test)):
            found = measure_bits(model, tokens, texts, WINDOW)
            unknown = int(found["unknown"].sum())
            rows.append(bits_row(f"{start}.{part}_bits", found, unit, unknown=unknown, **told))
    for part, texts in (("test", grimm.test), ("andersen", andersen.test)):
        found = pd.DataFrame(
            {"characters": [*map(len, texts)], "bits": packed_bits(grimm.train, texts)}
        )
        unit = "bits per character, LZMA after the training tales"
        rows.append(bits_row(f"language.lzma.{part}_bits", found, unit))
    return rows


def bits_row(name: str, found: pd.DataFrame, unit: str, **more: object) -> Row:
    """Bits per character of all texts together, with a bootstrap interval over the texts."""
    drawn = np.random.default_rng(0).integers(0, len(found), (DRAWS, len(found)))
    bits, characters = (found[column].to_numpy()[drawn] for column in ("bits", "characters"))
    low, high = np.quantile(bits.sum(1) / characters.sum(1), [0.025, 0.975])
    own = (found["bits"] / found["characters"]).round(4).tolist()
    return row(
        name,
        _bits(found),
        unit,
        low=float(low),
        high=float(high),
        n=len(found),
        characters=int(found["characters"].sum()),
        by_text=own,
        **more,
    )


def _bits(found: pd.DataFrame) -> float:
    return float(found["bits"].sum() / found["characters"].sum())


if __name__ == "__main__":
    for each in measure():
        print(each)
