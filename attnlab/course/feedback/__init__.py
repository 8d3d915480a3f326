"""What lesson 00 says of a learner's predictions: they stand beside what the model does.

Nothing is graded. Each function measures at once, and prints what it found. Where nothing is filled
in, or what is filled in makes no sense, it prints what to write instead, and no cell fails.
"""

from attnlab.course.feedback.faders import repair, silenced
from attnlab.course.feedback.folded import folded
from attnlab.course.feedback.left_over import left_over
from attnlab.course.feedback.one_head import diagonal, mixture, weights
from attnlab.course.feedback.patching import patched, patches
from attnlab.course.feedback.ranked import ranking
from attnlab.course.feedback.sentences import designed, word

__all__ = [
    "designed",
    "diagonal",
    "folded",
    "left_over",
    "mixture",
    "patched",
    "patches",
    "ranking",
    "repair",
    "silenced",
    "weights",
    "word",
]


def __dir__() -> list[str]:
    return sorted(__all__)
