"""How an answer fails: the exceptions, and what is said of mistakes that any exercise may meet."""

import contextlib
from collections.abc import Iterator

from torch import Tensor

from attnlab.errors import AttnlabError
from attnlab.languages import tr

# Sentences that stand here are also the diagnoses of mistakes that the examiner finds by itself.
NO_GRADIENT = (
    "No gradient comes back through your result.\n"
    "Is there a detach(), .data, .item(), no_grad() or torch.tensor(...) on the way?"
)
GRADIENT_LOST = (
    "The result is right, but a gradient is NaN or infinite: one such row would ruin a whole "
    "training.\nIs there a log(0) or a 0 / 0 that is mended afterwards?"
)
GRADIENT_MISSING = (
    "The result is right, but {name} gets no gradient.\n"
    "Is there a detach(), .data, no_grad() or a conversion between it and the result?"
)
LOOP = (
    "The result is right, but a larger input takes {many} operations where a small one takes "
    "{few}: there is a loop.\nWhich axes would let one operation do it all?"
)
WRONG_GRADIENT = (
    "The result is right, but its gradient is not.\n"
    "Is a part of it computed under detach() or no_grad()?"
)
BACKWARD_FAILS = (
    "The result is right, but going backward fails: you change something in place that is still "
    "needed.\nIs there an assignment such as w[...] = 0, or a method that ends in `_`? "
    "masked_fill and where make a new tensor."
)
CHANGES_TENSOR = (
    "Your function changes its input in place.\n"
    "Is there an assignment into it, `+=`, or a method that ends in `_`? Work on a new tensor."
)
CHANGES_LIST = (
    "Your function changes a list that it was given.\n"
    "Is there an append, pop, sort or `+=` on it, or on what it holds? Make a new list."
)
CHANGES_ARRAY = (
    "Your function changes an array that it was given; np.sort(x) and x - y make a new one.\n"
    "Is there an assignment into it, a `-=`, or a .sort()?"
)
FROM_NUMPY = (
    "A numpy array came back as {what}; gradients cannot flow through numpy.\n"
    "Can you write it with torch throughout?"
)
READY_MADE = (
    "Your answer calls a ready-made {name}; here the point is to write it.\n"
    "Which simpler operations does it consist of?"
)

CHECKS_OWN = (
    "Your answer calls or copies a function of the checks themselves; here the point is to write "
    "it.\nWhich steps would you take without it?"
)
SWITCHED_OFF = (
    "Gradients are switched off afterwards, for everything that comes next: no training any more.\n"
    "Does torch.no_grad() stand in a `with` of its own?"
)
OTHER_DTYPE = (
    "Afterwards all new tensors are {now} where they were {before}.\n"
    "Is there a set_default_dtype? `dtype=` and .to() change a single tensor."
)


class CheckFailed(AttnlabError):
    """An answer that is not right yet: what was seen, and a question about the likely cause."""

    def __init__(self, problem: str = ""):
        super().__init__(tr(problem))

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback through the package."""
        return f"CheckFailed: {self}".splitlines()


class Unwritten(CheckFailed):
    """The hole in the exercise has not been filled in."""


def require(condition: bool | Tensor, problem: str) -> None:
    """Fail with ``problem`` unless the condition holds."""
    if not condition:
        raise CheckFailed(problem)


@contextlib.contextmanager
def where(place: str) -> Iterator[None]:
    """Put before every failure inside the block where it happens."""
    try:
        yield
    except Unwritten:
        raise
    except CheckFailed as problem:
        raise CheckFailed(f"{tr(place)}\n{problem}") from None
