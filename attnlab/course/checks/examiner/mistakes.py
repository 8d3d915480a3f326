"""A mistake is a wrong answer with its diagnosis; a comparison finds the one that was made."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from attnlab.course.checks.examiner.answer import Answer
from attnlab.course.checks.examiner.failures import CheckFailed, Unwritten
from attnlab.course.checks.examiner.results import a_tensor, same
from attnlab.languages import tr

Alike = Callable[[Any, Any], bool]

DRAWS = 4  # of each kind of input
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
    answer : the learner's answer
    reference : a right implementation, independent of what learners import
    mistakes : in the order in which they are tried
    what : the result in a word
    read : ``read(result, right)`` turns a result into what is compared, or raises `CheckFailed`;
        default `a_tensor` with the shape of the right result
    tolerance : relative and absolute, between answer and reference
    loosely : the same between answer and mistake, where rounding matters more
    draws : of each kind of input
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
        draws: int = DRAWS,
    ):
        self.answer, self.reference, self.mistakes = answer, reference, mistakes
        self.read = read or (lambda result, right: a_tensor(result, tuple(right.shape), what))
        self.tolerance, self.loosely, self.draws = tolerance, loosely, draws
        self._right: list[_Seen] = []

    def on(
        self,
        draw_call: Callable[[], Call],
        otherwise: str,
        *,
        facts: Callable[[Call, Any], Mapping[str, Any]] | None = None,
        read: Callable[[Any, Any], Any] | None = None,
        tolerance: float | None = None,
        draws: int | None = None,
    ) -> Any:
        """Return the answer's result for what ``draw_call`` draws; fail unless it is right.

        It draws several times, so that no decisive case is missed and nothing may be carried over
        from one call to the next.

        Parameters
        ----------
        draw_call : draws the input; where results differ it is called again, for further draws
        otherwise : what is said where no mistake explains the difference
        facts : ``facts(call, result)`` gives what fills the {braces} in ``otherwise`` and in the
            diagnoses
        read, tolerance, draws : for this kind of input, in place of the comparison's own
        """
        for _ in range(draws or self.draws):
            seen = _Seen(draw_call(), read or self.read, tolerance or self.tolerance)
            result = self._examine(seen, draw_call, otherwise, facts)
        return result

    def _examine(
        self,
        seen: "_Seen",
        draw_call: Callable[[], Call],
        otherwise: str,
        facts: Callable[[Call, Any], Mapping[str, Any]] | None,
    ) -> Any:
        """The answer's result on one draw; a failure with its diagnosis unless it is right."""
        right = seen.call.of(self.reference)
        expected = seen.read(right, right)
        result = seen.result = seen.call.of(self.answer)
        problem = None
        try:
            seen.result = seen.read(result, right)
        except Unwritten:
            raise
        except CheckFailed as failure:
            problem = failure
        if problem is None and agree(seen.result, expected, seen.tolerance):
            self._right.append(seen)
            return seen.result

        def filled(text: str) -> str:
            said = tr(text)
            return said.format_map(facts(seen.call, result)) if facts else said

        wrong = [seen, *self._further(seen, draw_call)]
        for mistake in self.mistakes:
            if mistake.compared and self._explains(mistake, wrong):
                raise CheckFailed(filled(mistake.diagnosis))
        raise problem or CheckFailed(filled(otherwise) + _difference(seen.result, expected))

    def _further(self, first: "_Seen", draw_call: Callable[[], Call]) -> Iterator["_Seen"]:
        """Further draws, with what the answer makes of them; an exception fits no mistake."""
        for _ in range(FURTHER_DRAWS):
            seen = replace(first, call=draw_call())
            try:
                seen.result = self._of(self.answer, seen)
            except CheckFailed as failure:
                seen.result = failure
            yield seen

    def _of(self, function: Callable[..., Any], seen: "_Seen") -> Any:
        """A function's result for the same call, as it is read where that is possible."""
        result = seen.call.of(function)
        with contextlib.suppress(CheckFailed):
            return seen.read(result, seen.call.of(self.reference))
        return result

    def _explains(self, mistake: Mistake, wrong: Sequence["_Seen"]) -> bool:
        """Whether a mistake gives what the answer gave, where that was wrong and where right."""

        def fits(seen: _Seen, alike: Alike | None) -> bool:
            mistaken = self._of(mistake.wrong, seen)
            if alike is not None:
                return alike(seen.result, mistaken)
            return agree(seen.result, mistaken, self.loosely or seen.tolerance)

        def is_right(seen: _Seen) -> bool:
            return agree(
                self._of(mistake.wrong, seen), self._of(self.reference, seen), seen.tolerance
            )

        try:
            return (
                all(fits(seen, mistake.alike) for seen in wrong)
                and all(fits(seen, None) for seen in self._right)
                and not is_right(wrong[0])  # where the answer is right but for its type
            )
        except Exception:  # a mistake may not even be possible here
            return False


@dataclass
class _Seen:
    """A call, how its results are read and compared, and what the answer gave."""

    call: Call
    read: Callable[[Any, Any], Any]
    tolerance: float
    result: Any = None


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
    said = tr("The largest difference from the right result is {apart:.3g}.", apart=apart)
    return f"\n{said}"
