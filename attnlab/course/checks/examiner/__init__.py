"""What a check is made of: the answer, called safely; what came back; mistakes and their diagnoses.

How to write an exercise
------------------------
1. ``MISTAKES``: what learners write instead, as functions with the exercise's signature, each with
   a diagnosis in the lesson's words. The order matters: the first that fits is named.
2. A reference of its own: plain code or torch, nothing that learners import.
3. The check, a generator ``check(answer, draw)`` that yields a line for each thing that held. It
   goes from the simplest input up, one mechanism at a time::

       def check(answer: Answer, draw: Draw) -> Held:
           compared = Comparison(answer, reference, MISTAKES, what="weights")
           compared.on(lambda: Call(draw.normal(6)), "For a single row the weights are wrong.")
           yield "one row: positive, and sums to 1"
           compared.on(lambda: Call(draw.normal(4, 6)), "For several rows the weights are wrong.")
           yield "each row by itself"

   A mistake is named where it gives the answer's result on several draws, and is right where the
   answer was right. ``alike=same_shape`` or ``alike=not_finite`` say what to look at where the
   result as a whole need not be equal.
4. What no comparison can see (gradients, edits in place, ready-made calls) is found by `Answer`,
   or by a ``require`` in the check. The wrong answer stands in the list all the same, with
   ``compared=False`` and the sentence that is said (`failures`, or a constant beside the check).
5. ``EXERCISE = Exercise(name, lesson, points, check, forbidden, MISTAKES)``.

``tests/course/test_checks.py`` gives every mistake to its check and expects its diagnosis. Right
answers, and a few wrong ones that know nothing of the check, stand in ``tests/course/answers_*``.
"""

from attnlab.course.checks.examiner.answer import Answer, backward
from attnlab.course.checks.examiner.arrays import ArrayCall, ArrayCalls
from attnlab.course.checks.examiner.exercise import Check, Draw, Exercise, Held
from attnlab.course.checks.examiner.failures import (
    BACKWARD_FAILS,
    CHANGES_ARRAY,
    CHANGES_LIST,
    CHANGES_TENSOR,
    CHECKS_OWN,
    FROM_NUMPY,
    GRADIENT_LOST,
    GRADIENT_MISSING,
    LOOP,
    NO_GRADIENT,
    OTHER_DTYPE,
    READY_MADE,
    SWITCHED_OFF,
    WRONG_GRADIENT,
    CheckFailed,
    Unwritten,
    require,
    where,
)
from attnlab.course.checks.examiner.mistakes import (
    Call,
    Comparison,
    Mistake,
    agree,
    not_finite,
    same_shape,
)
from attnlab.course.checks.examiner.results import (
    a_list,
    a_number,
    a_pair,
    a_tensor,
    same,
    some_numbers,
)

__all__ = [
    "BACKWARD_FAILS",
    "CHANGES_ARRAY",
    "CHANGES_LIST",
    "CHANGES_TENSOR",
    "CHECKS_OWN",
    "FROM_NUMPY",
    "GRADIENT_LOST",
    "GRADIENT_MISSING",
    "LOOP",
    "NO_GRADIENT",
    "OTHER_DTYPE",
    "READY_MADE",
    "SWITCHED_OFF",
    "WRONG_GRADIENT",
    "Answer",
    "ArrayCall",
    "ArrayCalls",
    "Call",
    "Check",
    "CheckFailed",
    "Comparison",
    "Draw",
    "Exercise",
    "Held",
    "Mistake",
    "Unwritten",
    "a_list",
    "a_number",
    "a_pair",
    "a_tensor",
    "agree",
    "backward",
    "not_finite",
    "require",
    "same",
    "same_shape",
    "some_numbers",
    "where",
]


def __dir__() -> list[str]:
    return sorted(__all__)
