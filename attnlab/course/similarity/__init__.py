"""Which answers of a class are more alike than usual: pairs to read, and no accusation.

What two answers share counts for more the fewer others have it. Names, comments, white space, type
hints, the order of statements and that of the terms of a sum play no part; neither does what the
exercise itself gives. A short answer shares too little to stand out, and so does what everybody
writes.
"""

from attnlab.course.similarity.comparing import (
    ALIKE,
    PIECES,
    WHOLE,
    Pair,
    compare,
    similar,
    together,
    write,
)
from attnlab.course.similarity.reading import SOLUTION, Submitted, collect, holes, side_by_side
from attnlab.course.similarity.tokens import pieces

__all__ = [
    "ALIKE",
    "PIECES",
    "SOLUTION",
    "WHOLE",
    "Pair",
    "Submitted",
    "collect",
    "compare",
    "holes",
    "pieces",
    "side_by_side",
    "similar",
    "together",
    "write",
]


def __dir__() -> list[str]:
    return sorted(__all__)
