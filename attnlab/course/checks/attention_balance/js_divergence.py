"""Check of ``js_divergence``."""

import functools
import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    compare,
    require,
    some_numbers,
    where,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``js_divergence(p, q)``: how different two distributions are, in bits, from 0 to 1."""
    keys = 5
    while True:
        p, q = draw.weights(2, keys).double()
        right = _js(p, q)
        if right > 0.05:
            break
    middle = (p + q) / 2
    to_q, to_p = _kl(p, q), _kl(q, p)
    from_p = _kl(p, middle)
    turned = (_kl(middle, p) + _kl(middle, q)) / 2
    compare(
        _divergence(answer, p, q),
        right,
        {
            "That is the divergence of Kullback and Leibler, from p to q: it has another value "
            "from q to p, and "
            "without end where q is 0.\nWith what are p and q both compared here?": lambda: to_q,
            "That is the divergence of Kullback and Leibler, from q to p: it has another value "
            "from p to q, and "
            "without end where p is 0.\nWith what are p and q both compared here?": lambda: to_p,
            "That is the divergence of Kullback and Leibler, and in nats.\n"
            "With what are p and q both compared here?": lambda: to_q * math.log(2),
            "That is the mean of Kullback and Leibler's divergences from p to q and from q to p; "
            "where only one "
            "is 0 it has no end.\nWith what are p and q both compared here?": lambda: (
                (to_q + to_p) / 2
            ),
            "That is the sum of Kullback and Leibler's divergences from p to q and from q to p; "
            "where only one "
            "is 0 it has no end.\nWith what are p and q both compared here?": lambda: to_q + to_p,
            "That is in nats.\nWhich logarithm gives bits?": lambda: right * math.log(2),
            "That is the square root: the distance, not the divergence. (SciPy's jensenshannon "
            "gives it.)\n"
            "Is there a root too many, or a square missing?": lambda: right.sqrt(),
            "That is the square root of the divergence in nats, which is SciPy's jensenshannon.\n"
            "How do you come from a distance to a divergence, and from nats to bits?": lambda: (
                right * math.log(2)
            ).sqrt(),
            "It is twice as large as it should be: the two parts are added up.\n"
            "What keeps the result from going beyond 1?": lambda: 2 * right,
            "Only p is compared with the middle: p and q cannot be exchanged.\n"
            "Where is the other half?": lambda: from_p,
            "Only p is compared with the middle, and taken half.\nWhere is the other half?": lambda: (
                from_p / 2
            ),
            "p and q are compared with their sum, which is no distribution.\n"
            "What lies in the middle between p and q?": lambda: right - 1,
            "It is negative.\nIn the logarithm, what is divided by what?": lambda: -right,
            "The middle is compared with p and q, instead of each of these with the middle.\n"
            "Which of the two stands in front of the logarithm? (F.kl_div takes it as its second "
            "argument.)": (lambda: turned),
            "The middle is compared with p and q, instead of each of these with the middle, and "
            "in nats.\n"
            "Which of the two stands in front of the logarithm? (F.kl_div takes it as its second "
            "argument.)": (lambda: turned * math.log(2)),
            "The mean over the keys is taken where a sum is due.\n"
            "The probabilities weigh the keys already: what is left to divide by?": lambda: (
                right / keys
            ),
            "The mean over the keys is taken where a sum is due, and in nats.\n"
            "F.kl_div does both, if nothing else is said: what can you say?": lambda: (
                right * math.log(2) / keys
            ),
            "It is turned round: 1 for equal distributions.\nWhat should equal ones have?": lambda: (
                1 - right
            ),
            "That is the total variation, half the sum of all differences.\n"
            "Where are the logarithms?": lambda: (p - q).abs().sum() / 2,
            "It is divided by the logarithm of the number of keys, as an entropy would be.\n"
            "How large can this divergence become, with many keys or few?": lambda: (
                right / math.log2(keys)
            ),
            **_near(p, q),
        },
        "For two distributions without zeros the divergence is wrong.\n"
        "The middle m of p and q, then half of KL(p, m) and half of KL(q, m): which step differs?",
        tolerance=1e-6,
        loosely=3e-7,
    )
    yield "half from p to the middle, half from q, in bits"

    p, q = torch.zeros(2, 8, dtype=torch.double)
    p[:4], q[2:6] = draw.weights(2, 4)  # two keys are shared, the last is nobody's
    p[6], q[3] = 5e-5, 1e-3  # weights may be small
    p, q = p / p.sum(), q / q.sum()
    result = _divergence(answer, p, q)
    require(
        not result.isnan().any(),
        "Where a probability is 0 there is NaN: 0 times log 0.\n"
        "What should a key add that gets no weight, and how do you keep its logarithm out?",
    )
    require(
        result.isfinite().all(),
        "Where only one of the two is 0 the result has no end.\n"
        "The middle is 0 only where both are: what do you divide by, and is it before or after "
        "the logarithm?",
    )
    compare(
        result,
        _js(p, q),
        _near(p, q),
        "Right without zeros, wrong with them.\nWhat should a key add that gets no weight from p? "
        "And from q?",
        tolerance=1e-6,
        loosely=3e-7,
    )
    apart = draw.weights(3).double()
    p, q = torch.zeros(2, 5, dtype=torch.double)
    p[:3], q[3:] = apart, torch.tensor([0.5, 0.5])
    for one, other, wanted in ((p, q, 1.0), (p, p, 0.0)):
        what = "nothing in common" if wanted else "everything in common"
        value = _divergence(answer, one, other)
        require(
            bool(abs(value - wanted) < 1e-5),
            f"Two distributions with {what} should give exactly {wanted:g}; yours is {value:.6f}.\n"
            "Is something added to the probabilities, or cut off from the result?",
        )
    yield "keys without weight add nothing: 1 for nothing in common, 0 for equal ones"

    p = draw.weights(2, 3, 4)
    p[0, 1, 2:] = 0
    p = p / p.sum(-1, keepdim=True)
    q = draw.weights(2, 3, 4)
    with where("Right for two rows, wrong for maps of several heads:"):
        compare(
            _divergence(answer, p, q),
            _js(p, q),
            {},
            "the numbers differ.\nIs every sum over the last axis?",
        )
    yield "one number for each row, whatever axes stand before"


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Kullback and Leibler's divergence over the last axis, in bits."""
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1) / math.log(2)


def _js(p: Tensor, q: Tensor) -> Tensor:
    """Jensen and Shannon's divergence, as entropy of the middle minus the mean entropy, in bits."""
    entropies = [torch.special.entr(one).sum(-1) for one in ((p + q) / 2, p, q)]
    return (entropies[0] - (entropies[1] + entropies[2]) / 2) / math.log(2)


def _js_of_logs(p: Tensor, q: Tensor, logs: Callable[[Tensor], Tensor]) -> Tensor:
    """The same with another logarithm."""
    middle = (p + q) / 2
    parts = [(one * (logs(one) - logs(middle))).sum(-1) for one in (p, q)]
    return sum(parts) / 2 / math.log(2)


_ADDED = {
    "is added in the logarithms": lambda p, q, extra: _js_of_logs(
        p, q, lambda one: (one + extra).log()
    ),
    "is added to all probabilities": lambda p, q, extra: _js_of_logs(
        p + extra, q + extra, torch.log
    ),
    "is the least that the logarithms take": lambda p, q, extra: _js_of_logs(
        p, q, lambda one: one.clamp_min(extra).log()
    ),
    "is the least that a probability can be": lambda p, q, extra: _js_of_logs(
        p.clamp_min(extra), q.clamp_min(extra), torch.log
    ),
    "is added to all probabilities, which are divided by their sum again": lambda p, q, extra: (
        _js_of_logs(
            (p + extra) / (1 + len(p) * extra), (q + extra) / (1 + len(q) * extra), torch.log
        )
    ),
}


def _near(p: Tensor, q: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What comes of saving the logarithm by something that is too large."""
    return {
        f"The result is near, but not right: {extra:g} {how}.\n"
        "Can you leave keys without weight out, instead of moving all others? (torch.xlogy(0, 0) "
        "is 0.)": (functools.partial(change, p, q, extra))
        for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
        for how, change in _ADDED.items()
    }


def _divergence(answer: Answer, p: Tensor, q: Tensor) -> Tensor:
    """The answer's divergences, one for each row; they may be NaN or infinite where a row has "
    "zeros."""
    result = answer(p, q)
    if p.dim() == 1:
        shapes = {(len(p),): "There is still a number for each key.\nOver what is the sum?"}
    else:
        shapes = {
            (): "One number came back for all rows.\nOver which axis is the sum?",
            tuple(p.shape[1:]): "The sum runs over the first axis.\nWhich axis holds the keys?",
            tuple(p.shape): "There is still a number for each key.\nOver which axis is the sum?",
        }
    told = shapes.get(shape_of(result))
    require(told is None, f"The result has shape {shape_of(result)}. {told}")
    zeros = bool((p == 0).any() or (q == 0).any())
    return some_numbers(result, tuple(p.shape[:-1]), "divergence", may_be_nan=zeros)


EXERCISE = Exercise("js_divergence", "attention_balance", 2, check)
