"""Exercise ``hard_concrete``: gates that are exactly 0 or 1, and yet have a gradient."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    CHANGES_TENSOR,
    GRADIENT_LOST,
    GRADIENT_MISSING,
    NO_GRADIENT,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_pair,
    a_tensor,
    backward,
    require,
    where,
)

WHAT = ("gates", "chances")  # what is returned, in this order
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
SHIFT = TEMPERATURE * math.log(-LOW / HIGH)

NOT_EXACT = (
    "A gate that should be exactly {end} is {found:.9g}: then no head can be cut out, or none is "
    "left as it is.\nTo which range is it clipped, and is something added for safety?"
)
WRONG_SLOPE = (
    "The {what} are right, but not their gradient: at log_alpha = {place:.2f} a small step changes "
    "them by {right:.4f} of it, and autograd says {found:.4f}.\n"
    "Is a part of it computed under detach() or no_grad(), or does the gradient go past the clip?"
)
VERY_SURE = (
    "At log_alpha = {place:.0f} the {what} should be {right:.0f}; you return {found:.5g}.\n"
    "Is there an exp() that overflows, or a clamp() for safety? Which function of torch does it "
    "without?"
)
TURNED = "The gates come second.\nIn which order does the docstring name the two?"
ONLY_OPEN = "Are they computed from log_alpha alone, without noise?"


def check(answer: Answer, draw: Draw) -> Held:
    """``hard_concrete(log_alpha, noise)``: gates, and the chance that each is open."""
    gates = Comparison(answer, reference, MISTAKES, read=_read(0))
    opened = Comparison(answer, reference, MISTAKES, read=_read(1))
    otherwise = (
        "At log_alpha = {log_alpha:.3f} and noise {noise:.3f} the gate is {found:.5f}; it should "
        "be {right:.5f}.\nSigmoid, stretch, clip: what do you get after each of them?"
    )

    def given(*draws: int, gates: int = 6) -> Call:
        noise = torch.rand(*draws, gates, generator=draw.generator) * 0.96 + 0.02
        return Call(1.5 * draw.normal(gates), noise)

    def with_axes() -> Call:
        noise = torch.rand(4, 2, 3, generator=draw.generator) * 0.96 + 0.02
        return Call(draw.normal(2, 3), noise)

    with where("For a single gate that is neither open nor closed:"):
        gates.on(lambda: _half_open(draw), otherwise, facts=_facts)
    yield "a single gate, before it is clipped"

    with where("For several gates:"):
        gates.on(lambda: given(gates=30), otherwise, facts=_facts)
    with where("For noise close to 0 or 1:"):
        gates.on(lambda: _extreme(draw), otherwise, facts=_facts)
    for end in (0, 1):
        log_alpha, noise = given(gates=200).arguments
        right = reference(log_alpha + (0.001 if end == 0 else -0.001), noise)  # not by rounding
        found = _read(0)(answer(log_alpha, noise), right)
        ends = found[right[0] == end]
        wrong = ends[(ends - end).abs().argmax()].item()
        require(wrong == end, NOT_EXACT.format(end=end, found=wrong))
    yield "several gates, some of them exactly 0 and some exactly 1"

    with where("For noise of several draws, (draws, gates):"):
        gates.on(lambda: given(5), otherwise, facts=_facts)
    answer.without_loop(given(2).arguments, given(9, gates=11).arguments)
    yield "many draws at once"

    with where("For log_alpha and noise with several axes:"):
        gates.on(with_axes, otherwise, facts=_facts)
    yield "gates of any shape"

    told = (
        "At log_alpha = {log_alpha:.3f} you say that a gate is open with probability {chance:.4f}; "
        "of 20,000 drawn gates a share of {share:.4f} is.\n"
        "For which noise is the gate just not 0? How likely is more?"
    )
    with where("The chance that a gate is not 0:"):
        opened.on(lambda: given(3, gates=5), told, facts=_facts)
        opened.on(with_axes, told, facts=_facts)
    yield "the chance that each gate is open, from log_alpha alone"

    for pick in range(2):
        _gradient(answer, given(3, gates=8), pick)
    yield "gradients as small steps have them, 0 where a gate is clipped"

    log_alpha, middle = torch.tensor([-90.0, 90.0, -200.0, 200.0]), torch.full((4,), 0.5)
    for pick, sure in enumerate(reference(log_alpha, middle)):
        leaf = log_alpha.clone().requires_grad_()
        result = a_pair(answer(leaf, middle), *WHAT)[pick]
        result = a_tensor(result, (4,), may_be_nan=True)
        with where("For gates that are very surely open or closed:"):
            for place, found, right in zip(log_alpha, result, sure, strict=True):
                told = VERY_SURE.format(place=place, what=WHAT[pick], right=right, found=found)
                require((found - right).abs() < 1e-5, told)
            (slope,) = backward(result, [leaf], torch.ones_like(result))
            require(slope is not None and bool(slope.isfinite().all()), GRADIENT_LOST)
    yield "gates that are very surely open or closed"


def reference(log_alpha: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Number by number, by the equations 10 to 12 of Louizos et al. (2018)."""

    def sigmoid(number: float) -> float:
        return 1 / (1 + math.exp(-number)) if number > -700 else 0.0

    def gate(alpha: float, uniform: float) -> float:
        soft = sigmoid((math.log(uniform / (1 - uniform)) + alpha) / TEMPERATURE)
        return min(1.0, max(0.0, soft * (HIGH - LOW) + LOW))

    alphas = log_alpha.double().expand(noise.shape).flatten().tolist()
    pairs = zip(alphas, noise.double().flatten().tolist(), strict=True)
    chances = [sigmoid(alpha - SHIFT) for alpha in log_alpha.double().flatten().tolist()]
    found = torch.tensor([gate(*pair) for pair in pairs], dtype=torch.float64)
    opened = torch.tensor(chances, dtype=torch.float64)
    return found.view(noise.shape), opened.view(log_alpha.shape)


def _half_open(draw: Draw) -> Call:
    """A gate that is not clipped, far from the middle and from both ends."""
    while True:
        alpha, noise = draw.normal(1), torch.rand(1, generator=draw.generator)
        if min(noise, 1 - noise) < 0.02 or abs(noise - 0.5) < 0.05 or abs(alpha) < 0.2:
            continue
        gate = float(reference(alpha, noise)[0])
        if 0.05 < gate < 0.95 and abs(gate - 0.5) > 0.05:
            return Call(alpha, noise)


def _extreme(draw: Draw) -> Call:
    """Noise within 0.001 to 0.01 of 0 or 1, and gates that are between 0 and 1 in spite of it."""
    ends = torch.rand(8, generator=draw.generator) * 0.009 + 0.001
    noise = torch.cat([ends[:4], 1 - ends[4:]])
    return Call(0.5 * draw.normal(8) - noise.logit(), noise)


def _read(pick: int) -> Callable[[Any, Any], Tensor]:
    """Reads the gates, 0, or the chances, 1."""

    def read(result: Any, right: Any) -> Tensor:
        both = a_pair(result, *WHAT)
        shapes = [tuple(part.shape) for part in right]
        if all(isinstance(part, Tensor) for part in both) and shapes[0] != shapes[1]:
            require([tuple(part.shape) for part in both] != shapes[::-1], TURNED)
        return a_tensor(both[pick], shapes[pick], WHAT[pick]).detach().double()

    return read


def _gradient(answer: Answer, call: Call, pick: int) -> None:
    """Require the gradient that small steps have."""
    log_alpha, noise = (argument.double() for argument in call.arguments)
    leaf = log_alpha.clone().requires_grad_()
    result = answer(leaf, noise)[pick]
    part = a_tensor(result, tuple(reference(log_alpha, noise)[pick].shape), WHAT[pick])
    slopes = torch.randn_like(part.double())
    (found,) = backward(part, [leaf], slopes)
    if found is None:
        raise CheckFailed(GRADIENT_MISSING.format(name="`log_alpha`"))
    require(found.isfinite().all(), GRADIENT_LOST)
    step = 1e-7
    up, down = (reference(log_alpha + sign * step, noise)[pick] for sign in (1, -1))
    change = slopes * (up - down) / (2 * step)
    right = change.sum(0) if pick == 0 else change
    worst = int((found.double() - right).abs().argmax())
    require(
        torch.allclose(found.double(), right, rtol=1e-3, atol=1e-4),
        WRONG_SLOPE.format(
            what=WHAT[pick],
            place=float(log_alpha[worst]),
            right=float(right[worst]),
            found=float(found[worst]),
        ),
    )


def _facts(call: Call, result: Any) -> dict[str, Any]:
    """About the gate and the chance that are furthest from right."""
    log_alpha, noise = call.arguments
    gates, chances = (_read(pick)(result, call.of(reference)).flatten() for pick in (0, 1))
    right, right_chances = (part.flatten() for part in call.of(reference))
    worst = int((gates - right).abs().argmax())
    worst_chance = int((chances - right_chances).abs().argmax())
    by_chance = not torch.allclose(chances, right_chances, atol=1e-5) and torch.allclose(
        gates, right, atol=1e-5
    )
    alpha = log_alpha.expand(noise.shape).flatten()[worst]
    alpha = log_alpha.flatten()[worst_chance] if by_chance else alpha
    drawn = torch.rand(20_000, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    share = ((drawn.logit() + alpha) / TEMPERATURE).sigmoid() * (HIGH - LOW) + LOW > 0
    return {
        "log_alpha": float(alpha),
        "noise": float(noise.flatten()[worst]),
        "found": float(gates[worst]),
        "right": float(right[worst]),
        "chance": float(chances[worst_chance]),
        "share": float(share.double().mean()),
    }


# --- What learners write instead -----------------------------------------------------------------


def _logit(noise: Tensor) -> Tensor:
    return noise.log() - (1 - noise).log()


def _stretched(soft: Tensor) -> Tensor:
    return soft * (HIGH - LOW) + LOW


def _gating(
    before: Callable[[Tensor, Tensor], Tensor] = lambda alpha, noise: (
        (_logit(noise) + alpha) / TEMPERATURE
    ),
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
    after: Callable[[Tensor], Tensor] = lambda soft: _stretched(soft).clamp(0, 1),
    chance: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda alpha, noise, gates: torch.sigmoid(
        alpha - SHIFT
    ),
    out: Callable[[Tensor, Tensor], Any] = lambda gates, opened: (gates, opened),
) -> Callable[[Tensor, Tensor], Any]:
    """Hard concrete gates with a part exchanged."""

    def answer(log_alpha: Tensor, noise: Tensor) -> Any:
        gates = after(squash(before(log_alpha, noise)))
        return out(gates, chance(log_alpha, noise, gates))

    return answer


_right = _gating()


def _one_by_one(log_alpha: Tensor, noise: Tensor) -> Any:
    drawn = [_right(log_alpha, row)[0] for row in noise] if noise.dim() > log_alpha.dim() else []
    gates, opened = _right(log_alpha, noise)
    return (torch.stack(drawn) if drawn else gates), opened


def _in_place(log_alpha: Tensor, noise: Tensor) -> Any:
    noise.clamp_(0.05, 0.9)
    return _right(log_alpha, noise)


def _straight_through(soft: Tensor) -> Tensor:
    stretched = _stretched(soft)
    return stretched + (stretched.clamp(0, 1) - stretched).detach()


def _by_exp(number: Tensor) -> Tensor:
    return number.exp() / (1 + number.exp())


def _share_open(alpha: Tensor, noise: Tensor, gates: Tensor) -> Tensor:
    return (gates > 0).to(alpha).reshape(-1, *alpha.shape).mean(0) + 0 * alpha


NOT_CLIPPED = (
    "Some gates are below 0 or above 1: they are not clipped, or before they are stretched.\n"
    "What makes a gate exactly 0?"
)
STRETCH = "From 0 and 1 to which two numbers is a gate stretched?"
ZERO_AT = "For which noise is the gate just not 0? How likely is more?"
MISTAKES = [
    Mistake(_gating(out=lambda gates, opened: (opened, gates)), TURNED),
    Mistake(
        _gating(before=lambda alpha, noise: (_logit(noise) + alpha) * TEMPERATURE),
        "The temperature multiplies.\nWhat should make the gates harder, a low temperature or a "
        "high one?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: _logit(noise) + alpha),
        "The temperature is missing.\nWhat is divided by it, before the sigmoid?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: _logit(noise) / TEMPERATURE + alpha),
        "Only the noise is divided by the temperature.\nWhat else stands within the brackets?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: _logit(noise) + alpha / TEMPERATURE),
        "Only log_alpha is divided by the temperature.\nWhat else stands within the brackets?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: (noise + alpha) / TEMPERATURE),
        "The noise is added as it is, between 0 and 1.\nWhat becomes of it first?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: (noise.log() + alpha) / TEMPERATURE),
        "Only log u is added, which is never above 0.\nWhat is subtracted from it?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: (alpha - _logit(noise)) / TEMPERATURE),
        "The noise has the other sign.\nWhich of the two logarithms is subtracted?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: (_logit(noise) + alpha.exp()) / TEMPERATURE),
        "The noise is added to alpha; it should be added to its logarithm.\nWhat is it that you "
        "are given?",
    ),
    Mistake(
        _gating(before=lambda alpha, noise: alpha.expand(noise.shape) / TEMPERATURE),
        "The noise is missing.\nWhere does `noise` come in?",
    ),
    Mistake(
        _gating(after=lambda soft: soft),
        f"The gates are not stretched, so that none is ever 0.\n{STRETCH}",
    ),
    Mistake(
        _gating(after=lambda soft: (soft * HIGH + LOW).clamp(0, 1)),
        f"The gates are stretched to a range that begins at -0.1 and ends at 1.\n{STRETCH}",
    ),
    Mistake(
        _gating(after=lambda soft: (soft * HIGH).clamp(0, 1)),
        f"The gates are stretched to a range that begins at 0 and ends at 1.1.\n{STRETCH}",
    ),
    Mistake(_gating(after=_stretched), NOT_CLIPPED),
    Mistake(_gating(after=lambda soft: _stretched(soft.clamp(0, 1))), NOT_CLIPPED),
    Mistake(
        _gating(after=lambda soft: _stretched(soft).clamp_min(0)),
        "Some gates are above 1.\nAt which two ends are they clipped?",
    ),
    Mistake(
        _gating(after=lambda soft: (_stretched(soft) > 0.5).to(soft)),
        "The gates are 0 or 1 and nothing between.\nHow can a step be learned through? What does "
        "the clip leave?",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: alpha.sigmoid()),
        f"This is the chance that the noisy number lies above one half, before the gate is "
        f"stretched.\n{ZERO_AT}",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: (alpha + SHIFT).sigmoid()),
        f"The shift has the other sign, so that a gate seems more often closed than it is.\n"
        f"{ZERO_AT}",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: (alpha - SHIFT / TEMPERATURE).sigmoid()),
        f"The temperature is missing in the shift.\n{ZERO_AT}",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: ((alpha - SHIFT) / TEMPERATURE).sigmoid()),
        f"The sum is divided by the temperature once more.\n{ZERO_AT}",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: (SHIFT - alpha).sigmoid()),
        "This is the chance that a gate is 0.\nWhich is asked for?",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: _stretched(alpha.sigmoid()).clamp(0, 1)),
        "This is the gate for the middle of the noise.\nA chance is asked for: over all noise, how "
        "often is the gate not 0?",
    ),
    Mistake(
        _gating(
            chance=lambda alpha, noise, gates: (
                alpha - TEMPERATURE * math.log(-LOW * HIGH)
            ).sigmoid()
        ),
        f"The logarithm is that of a product of the two ends.\n{ZERO_AT}",
    ),
    Mistake(
        _gating(chance=_share_open),
        "This is the share of the drawn gates that are open. It is another for other noise, and "
        f"has no gradient.\n{ONLY_OPEN}",
    ),
    Mistake(
        _gating(chance=lambda alpha, noise, gates: (alpha - SHIFT).sigmoid().sum()),
        "Expected shape",
        compared=False,
    ),
    Mistake(_gating(after=lambda soft: _stretched(soft).clamp(1e-6, 1)), NOT_EXACT, compared=False),
    Mistake(
        _gating(after=lambda soft: _stretched(soft).clamp(0, 1 - 1e-6)),
        NOT_EXACT,
        compared=False,
    ),
    Mistake(_one_by_one, "there is a loop", compared=False),
    Mistake(
        _gating(out=lambda gates, opened: (gates.detach(), opened)), NO_GRADIENT, compared=False
    ),
    Mistake(
        _gating(out=lambda gates, opened: (gates, opened.detach())), NO_GRADIENT, compared=False
    ),
    Mistake(_gating(after=_straight_through), WRONG_SLOPE, compared=False),
    Mistake(_gating(squash=_by_exp), VERY_SURE, compared=False),
    Mistake(_in_place, CHANGES_TENSOR, compared=False),
]

EXERCISE = Exercise(
    "hard_concrete",
    "attention_economics",
    3,
    check,
    frozenset({"attnlab.forward", "attnlab.probability"}),
    MISTAKES,
)
