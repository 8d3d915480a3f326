"""A mistake is a wrong answer with its diagnosis; a comparison finds the one that was made."""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attnlab.course.checks.examiner.answer import Answer
from attnlab.course.checks.examiner.failures import CheckFailed, Unwritten
from attnlab.course.checks.examiner.results import a_tensor, same

Alike = Callable[[Any, Any], bool]

FURTHER_DRAWS = 2  # on which a mistake must fit, besides the one where the answer differs


@dataclass(frozen=True)
class Mistake:
    """A wrong answer to an exercise, and what is said to a learner who gives it.

    Attributes
    ----------
    wrong : what a learner might write, with the signature that the exercise asks for
    diagnosis : what happens, and a question about the likely cause. ``{names}`` in it are filled
        in by the check.
    alike : says whether the answer's result is the one of this mistake, given both; by default
        they must be equal
    compared : False where the check or the examiner finds the mistake in another way, say by its
        gradients. A comparison never runs such a mistake: it may be endless.
    """

    wrong: Callable[..., Any]
    diagnosis: str
    alike: Alike | None = None
    compared: bool = True

    def is_named_in(self, message: str) -> bool:
        """Whether a failure says this diagnosis, whatever is filled in."""
        between = re.split(r"\{[^{}]+\}", " ".join(self.diagnosis.split()))
        return bool(re.search(".+".join(map(re.escape, between)), " ".join(message.split())))


class Call:
    """The arguments of one call, for the answer, the reference and the mistakes alike."""

    def __init__(self, *arguments: Any, **keywords: Any):
        self.arguments, self.keywords = arguments, keywords

    def of(self, function: Callable[..., Any]) -> Any:
        """The result of a function with these arguments."""
        return function(*self.arguments, **self.keywords)


class Comparison:
    """Compares an answer with a reference on one kind of input after the other.

    Where the two differ, the first mistake is named that gives the answer's results on this input,
    on further draws of the same kind, and on all inputs before, where the answer was right.

    Parameters
    ----------
    answer : of the learner
    reference : a right implementation, independent of what learners import
    mistakes : in the order in which they are tried
    what : the result in a word
    read : makes of a result, given the right one too, what is compared, or fails in words; default
        `a_tensor` with the right shape
    tolerance : relative and absolute, between answer and reference
    loosely : the same between answer and mistake, where rounding weighs more
    """

    def __init__(
        self,
        answer: Answer,
        reference: Callable[..., Any],
        mistakes: Sequence[Mistake] = (),
        *,
        what: str = "result",
        read: Callable[[Any, Any], Any] | None = None,
        tolerance: float = 1e-5,
        loosely: float | None = None,
    ):
        self.answer, self.reference, self.mistakes = answer, reference, mistakes
        self.what, self.read = what, read
        self.tolerance, self.loosely = tolerance, loosely
        self._right: list[tuple[Call, Any, float]] = []  # right results, and to what tolerance

    def on(
        self,
        draw_call: Callable[[], Call],
        otherwise: str,
        *,
        facts: Callable[[Call, Any], Mapping[str, Any]] | None = None,
        tolerance: float | None = None,
    ) -> Any:
        """Return the answer's result for what ``draw_call`` draws; fail unless it is right.

        Parameters
        ----------
        draw_call : draws the input; in case of a difference it is called again, for further draws
        otherwise : what is said where no mistake explains the difference
        facts : of a call and the answer's result, what is filled in where ``otherwise`` and the
            diagnoses have {braces}
        tolerance : for this input, if not the comparison's
        """
        call = draw_call()
        right = call.of(self.reference)
        expected = self._read(right, right)
        result = call.of(self.answer)
        problem, found = None, result
        try:
            found = self._read(result, right)
        except Unwritten:
            raise
        except CheckFailed as failure:
            problem = failure
        tolerance = tolerance or self.tolerance
        if problem is None and agree(found, expected, tolerance):
            self._right.append((call, found, tolerance))
            return found
        wrong = [(call, found), *self._further(draw_call)]

        def filled(text: str) -> str:
            return text.format_map(facts(call, result)) if facts else text

        for mistake in self.mistakes:
            if mistake.compared and self._explains(mistake, wrong, tolerance):
                raise CheckFailed(filled(mistake.diagnosis))
        raise problem or CheckFailed(filled(otherwise) + _difference(found, expected))

    def _read(self, result: Any, right: Any) -> Any:
        if self.read is not None:
            return self.read(result, right)
        return a_tensor(result, tuple(right.shape), self.what)

    def _further(self, draw_call: Callable[[], Call]) -> list[tuple[Call, Any]]:
        """Further draws, with what the answer makes of them; an exception fits no mistake."""
        draws: list[tuple[Call, Any]] = []
        for _ in range(FURTHER_DRAWS):
            call = draw_call()
            try:
                draws.append((call, self._read_if_possible(call, self.answer)))
            except CheckFailed as failure:
                draws.append((call, failure))
        return draws

    def _read_if_possible(self, call: Call, function: Callable[..., Any]) -> Any:
        result = call.of(function)
        with contextlib.suppress(CheckFailed):
            return self._read(result, call.of(self.reference))
        return result

    def _explains(self, mistake: Mistake, wrong: list[tuple[Call, Any]], tolerance: float) -> bool:
        """Whether a mistake gives what the answer gave, everywhere."""

        def alike_at(call: Call, result: Any, tolerance: float, alike: Alike | None) -> bool:
            mistaken = self._read_if_possible(call, mistake.wrong)
            if alike is not None:
                return alike(result, mistaken)
            return agree(result, mistaken, self.loosely or tolerance)

        try:
            return all(
                alike_at(call, result, tolerance, mistake.alike) for call, result in wrong
            ) and all(alike_at(*case, None) for case in self._right)
        except Exception:  # a mistake may not even be possible here
            return False


# --- What is alike --------------------------------------------------------------------------------


def agree(result: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Whether two results are equal up to rounding: tensors, numbers, text, or lists of these."""
    if isinstance(result, Tensor) and isinstance(expected, Tensor):
        return same(result, expected, tolerance)
    if isinstance(result, list | tuple) and isinstance(expected, list | tuple):
        return len(result) == len(expected) and all(
            agree(*pair, tolerance) for pair in zip(result, expected, strict=True)
        )
    if isinstance(result, Mapping) and isinstance(expected, Mapping):
        return result.keys() == expected.keys() and all(
            agree(result[key], expected[key], tolerance) for key in expected
        )
    if isinstance(result, float) or isinstance(expected, float):
        return math.isclose(result, expected, rel_tol=tolerance, abs_tol=tolerance)
    return type(result) is type(expected) and bool(result == expected)


def same_shape(result: Any, mistaken: Any) -> bool:
    """Whether both are tensors of one shape, whatever is in them."""
    both = isinstance(result, Tensor) and isinstance(mistaken, Tensor)
    return both and result.shape == mistaken.shape


def not_finite(result: Any, mistaken: Any) -> bool:
    """Whether there is NaN or infinity in both."""
    both = isinstance(result, Tensor) and isinstance(mistaken, Tensor)
    return both and not result.isfinite().all() and not mistaken.isfinite().all()


def _difference(found: Any, expected: Any) -> str:
    """A line with the largest difference of two tensors."""
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return ""
    apart = (found.double() - expected.double()).abs().max().item()
    return f"\nThe largest difference from the right result is {apart:.3g}."


def compare(
    result: Tensor,
    expected: Tensor,
    mistakes: dict[str, Callable[[], Tensor]],
    otherwise: str,
    tolerance: float = 1e-5,
    loosely: float | None = None,
) -> None:
    """Fail unless result and expected agree; name the first mistake that gives this result.

    ``mistakes`` maps a diagnosis to a function that computes what that mistake would give, compared
    with the tolerance ``loosely`` where rounding weighs more.
    """
    if same(result, expected, tolerance):
        return
    for diagnosis, mistaken in mistakes.items():
        # a mistake may not even be possible here
        with contextlib.suppress(RuntimeError, IndexError):
            if same(result, mistaken(), loosely or tolerance):
                raise CheckFailed(diagnosis)
    apart = (result.double() - expected.double()).abs().max().item()
    raise CheckFailed(f"{otherwise}\nThe largest difference from the right result is {apart:.3g}.")
