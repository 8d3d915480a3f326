"""Exercise ``js_divergence``: how different two distributions are, in bits, from 0 to 1."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    require,
    same_shape,
    some_numbers,
    where,
)

KEYS = 5
NOT_EXACT = (
    "Two distributions with {what} in common should give exactly {right:g}; yours is {value:.6f}.\n"
    "Is something added to the probabilities, or cut off from the result?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``js_divergence(p, q)``: how different two distributions are, in bits, from 0 to 1."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-6, loosely=3e-7)

    def two_distributions() -> Call:
        while True:
            p, q = draw.weights(2, KEYS).double()
            if reference(p, q) > 0.05:
                return Call(p, q)

    def with_zeros() -> Call:
        p, q = torch.zeros(2, 8, dtype=torch.double)
        p[:4], q[2:6] = draw.weights(2, 4)  # two keys are shared, the last is nobody's
        p[6], q[3] = 5e-5, 1e-3  # weights may be small
        return Call(p / p.sum(), q / q.sum())

    def many_keys() -> Call:
        """Thousands of keys share a thousandth of the weight."""
        p, q = torch.zeros(2, 2001, dtype=torch.double)
        p[1:], p[0], q[0] = 1e-3 / 2000, 1 - 1e-3, 1
        return Call(p, q) if draw.whole(0, 1) else Call(q, p)

    def maps() -> Call:
        p = draw.weights(2, 3, 4)
        p[0, 1, 2:] = 0
        return Call(p / p.sum(-1, keepdim=True), draw.weights(2, 3, 4))

    compared.on(
        two_distributions,
        "For two distributions without zeros the divergence is wrong.\n"
        "The middle m of p and q, then half of KL(p, m) and half of KL(q, m): which step differs?",
        facts=_facts,
    )
    yield "half from p to the middle, half from q, in bits"

    compared.on(
        with_zeros,
        "Right without zeros, wrong with them.\n"
        "What should a key add that gets no weight from p? And from q?",
        facts=_facts,
    )
    p, q = torch.zeros(2, 5, dtype=torch.double)
    p[:3], q[3:] = draw.weights(3).double(), torch.tensor([0.5, 0.5])
    for other, right in ((q, 1.0), (p, 0.0)):
        value = _read(answer(p, other), torch.tensor(right))
        what = "nothing" if right else "everything"
        told = NOT_EXACT.format(what=what, right=right, value=value.item())
        require(bool(abs(value - right) < 1e-5), told)
    compared.on(
        many_keys,
        "Where thousands of keys share a thousandth of the weight the divergence is wrong.\n"
        "Is a weight changed or left out that is small, but not 0?",
    )
    yield "keys without weight add nothing: 1 for nothing in common, 0 for equal ones"

    with where("Right for two rows, wrong for maps of several heads:"):
        compared.on(
            maps,
            "the numbers differ.\nIs every sum over the last axis?",
            facts=_facts,
            tolerance=1e-5,
        )
    yield "one number for each row, whatever axes come before"


def reference(p: Tensor, q: Tensor) -> Tensor:
    """The entropy of the middle minus the mean entropy, in bits."""
    middle, of_p, of_q = (torch.special.entr(each).sum(-1) for each in ((p + q) / 2, p, q))
    return (middle - (of_p + of_q) / 2) / math.log(2)


def _read(result: Any, right: Tensor) -> Tensor:
    return some_numbers(result, tuple(right.shape), "divergence", may_be_nan=True)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"shape": shape_of(result)}


# --- What learners write instead -----------------------------------------------------------------

Divergence = Callable[[Tensor, Tensor], Tensor]


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Kullback and Leibler's divergence over the last axis, in bits."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1) / math.log(2)


def _comparing(
    middle: Divergence = lambda p, q: (p + q) / 2,
    part: Divergence = _kl,
    join: Divergence = lambda from_p, from_q: (from_p + from_q) / 2,
    finish: Callable[[Tensor], Tensor] = lambda bits: bits,
) -> Divergence:
    """The divergence with a part exchanged."""

    def answer(p: Tensor, q: Tensor) -> Tensor:
        m = middle(p, q)
        return finish(join(part(p, m), part(q, m)))

    return answer


def _nats(bits: Tensor) -> Tensor:
    return bits * math.log(2)


def _each_key(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    each = torch.xlogy(p, p) + torch.xlogy(q, q) - torch.xlogy(p + q, m)
    return each / 2 / math.log(2)


def _without_care(p: Tensor, q: Tensor) -> Tensor:
    """0 times log 0."""
    m = (p + q) / 2
    return ((p * (p / m).log2()).sum(-1) + (q * (q / m).log2()).sum(-1)) / 2


def _turned_ratio(p: Tensor, q: Tensor) -> Tensor:
    """1 / 0 in the logarithm."""
    right = _comparing()(p, q)
    return torch.where((p == 0) | (q == 0), math.inf, 0.0).sum(-1) + right


def _added_in_logarithms(extra: float, p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    parts = [(each * ((each + extra).log2() - (m + extra).log2())).sum(-1) for each in (p, q)]
    return (parts[0] + parts[1]) / 2


def _least_in_logarithms(extra: float, p: Tensor, q: Tensor) -> Tensor:
    m = ((p + q) / 2).clamp_min(extra).log2()
    parts = [(each * (each.clamp_min(extra).log2() - m)).sum(-1) for each in (p, q)]
    return (parts[0] + parts[1]) / 2


def _moved(change: Callable[[float, Tensor], Tensor]) -> Callable[[float, Tensor, Tensor], Tensor]:
    """The divergence of probabilities that are changed first."""

    def answer(extra: float, p: Tensor, q: Tensor) -> Tensor:
        p, q = change(extra, p), change(extra, q)
        m = (p + q) / 2
        return ((p * (p / m).log2()).sum(-1) + (q * (q / m).log2()).sum(-1)) / 2

    return answer


def _added_and_divided(extra: float, p: Tensor) -> Tensor:
    return (p + extra) / (p + extra).sum(-1, keepdim=True)


def _with_nan(result: Any, mistaken: Any) -> bool:
    return bool(result.isnan().any() and mistaken.isnan().any())


def _infinite(result: Any, mistaken: Any) -> bool:
    return bool(result.isinf().any() and mistaken.isinf().any())


SAVED_BY = {
    "is added in the logarithms": _added_in_logarithms,
    "is added to all probabilities": _moved(lambda extra, p: p + extra),
    "is the least that the logarithms take": _least_in_logarithms,
    "is the least that a probability can be": _moved(lambda extra, p: p.clamp_min(extra)),
    "is added to all probabilities, which are divided by their sum again": _moved(
        _added_and_divided
    ),
}
BOTH = "With what are p and q both compared here?"
IN_FRONT = (
    "Which of the two stands in front of the logarithm? (F.kl_div takes it as its second argument.)"
)

MISTAKES = [
    Mistake(
        _kl,
        "That is the divergence of Kullback and Leibler, from p to q: it has another value from q "
        f"to p, and is infinite where q is 0.\n{BOTH}",
    ),
    Mistake(
        lambda p, q: _kl(q, p),
        "That is the divergence of Kullback and Leibler, from q to p: it has another value from p "
        f"to q, and is infinite where p is 0.\n{BOTH}",
    ),
    Mistake(
        lambda p, q: _nats(_kl(p, q)),
        f"That is the divergence of Kullback and Leibler, and in nats.\n{BOTH}",
    ),
    Mistake(
        lambda p, q: (_kl(p, q) + _kl(q, p)) / 2,
        "That is the mean of Kullback and Leibler's divergences from p to q and from q to p; where "
        f"only one is 0 it is infinite.\n{BOTH}",
    ),
    Mistake(
        lambda p, q: _kl(p, q) + _kl(q, p),
        "That is the sum of Kullback and Leibler's divergences from p to q and from q to p; where "
        f"only one is 0 it is infinite.\n{BOTH}",
    ),
    Mistake(_comparing(finish=_nats), "That is in nats.\nWhich logarithm gives bits?"),
    Mistake(
        _comparing(finish=torch.sqrt),
        "That is the square root: the distance, not the divergence. (SciPy's jensenshannon gives "
        "it.)\nIs there a root too many, or a square missing?",
    ),
    Mistake(
        _comparing(finish=lambda bits: _nats(bits).sqrt()),
        "That is the square root of the divergence in nats, which is SciPy's jensenshannon.\n"
        "How do you come from a distance to a divergence, and from nats to bits?",
    ),
    Mistake(
        _comparing(join=torch.add),
        "It is twice as large as it should be: the two parts are added up.\n"
        "What keeps the result from going beyond 1?",
    ),
    Mistake(
        _comparing(join=lambda from_p, from_q: from_p),
        "Only p is compared with the middle: p and q cannot be exchanged.\n"
        "Where is the other half?",
    ),
    Mistake(
        _comparing(join=lambda from_p, from_q: from_p / 2),
        "Only p is compared with the middle, and taken half.\nWhere is the other half?",
    ),
    Mistake(
        _comparing(middle=torch.add),
        "p and q are compared with their sum, which is no distribution.\n"
        "What lies in the middle between p and q?",
    ),
    Mistake(
        _comparing(finish=torch.neg),
        "It is negative.\nIn the logarithm, what is divided by what?",
    ),
    Mistake(
        _comparing(part=lambda p, m: _kl(m, p)),
        "The middle is compared with p and q, instead of each of these with the middle.\n"
        f"{IN_FRONT}",
    ),
    Mistake(
        _comparing(part=lambda p, m: _nats(_kl(m, p))),
        "The middle is compared with p and q, instead of each of these with the middle, and in "
        f"nats.\n{IN_FRONT}",
    ),
    Mistake(
        _comparing(finish=lambda bits: bits / KEYS),
        "The mean over the keys is taken where a sum is due.\n"
        "The probabilities weigh the keys already: what is left to divide by?",
    ),
    Mistake(
        _comparing(finish=lambda bits: _nats(bits) / KEYS),
        "The mean over the keys is taken where a sum is due, and in nats.\n"
        "F.kl_div does both, if nothing else is said: what can you say?",
    ),
    Mistake(
        _comparing(finish=lambda bits: 1 - bits),
        "The scale is reversed: 1 for equal distributions.\nWhat should equal ones have?",
    ),
    Mistake(
        lambda p, q: (p - q).abs().sum(-1) / 2,
        "That is the total variation, half the sum of all differences.\nWhere are the logarithms?",
    ),
    Mistake(
        _comparing(finish=lambda bits: bits / math.log2(KEYS)),
        "It is divided by the logarithm of the number of keys, as an entropy would be.\n"
        "How large can this divergence become, with many keys or few?",
    ),
    *(
        Mistake(
            functools.partial(answer, extra),
            f"The result is near, but not right: {extra:g} {how}.\n"
            "Can you leave keys without weight out, instead of moving all others? (torch.xlogy(0, "
            "0) is 0.)",
        )
        for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
        for how, answer in SAVED_BY.items()
        if answer is not _least_in_logarithms or extra >= 1e-3  # below, it does no harm
    ),
    Mistake(
        _without_care,
        "Where a probability is 0 there is NaN: 0 times log 0.\n"
        "What should a key add that gets no weight, and how do you keep its logarithm out?",
        alike=_with_nan,
    ),
    Mistake(
        _turned_ratio,
        "Where only one of the two is 0 the result is infinite.\n"
        "The middle is 0 only where both are: what do you divide by, and is it before or after the "
        "logarithm?",
        alike=_infinite,
    ),
    Mistake(
        lambda p, q: _each_key(p, q).sum() if p.dim() > 1 else _comparing()(p, q),
        "The result has shape {shape}. One number came back for all rows.\n"
        "Over which axis is the sum?",
        alike=same_shape,
    ),
    Mistake(
        lambda p, q: _each_key(p, q).sum(0),
        "The result has shape {shape}. The sum runs over the first axis.\n"
        "Which axis holds the keys?",
        alike=same_shape,
    ),
    Mistake(
        _each_key,
        "The result has shape {shape}. There is still a number for each key.\n"
        "Over what is the sum?",
        alike=same_shape,
    ),
    Mistake(
        lambda p, q: _comparing()(p, q).clamp_min(1e-3),
        NOT_EXACT,
        compared=False,
    ),
]


def _ours(p: Tensor, q: Tensor) -> Tensor:
    parts = [torch.xlogy(x, x) - torch.xlogy(x, (p + q) / 2) for x in (p, q)]
    return (parts[0] + parts[1]).sum(-1) / (2 * math.log(2))


EXERCISE = Exercise("js_divergence", "attention_balance", 2, check, mistakes=MISTAKES, ours=_ours)
