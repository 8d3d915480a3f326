"""The exercise ``first_wrong``."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    Unwritten,
    where,
)
from attnlab.course.checks.examiner.results import kind_of
from attnlab.languages import later, tr

NOT_A_NAME = "As the part came {found}; the name of a part is asked for, or None.\n{hint}"
PARTS = ("attention", "up", "down", "output")
TOLERANCE = 1e-4
ROUNDING = "All parts are equal but for rounding, and `{found}` came; None is asked for.\n"
SCALE = "A part whose numbers are {size}:"

Outputs = dict[str, Tensor]


def check(answer: Answer, draw: Draw) -> Held:
    """``first_wrong(good, bad, real, tolerance)``: the first part whose output differs."""
    compared = Comparison(answer, _reference, MISTAKES, read=_name)
    compared.on(
        lambda: _broken(draw, draw.whole(0, 5)),
        "`{found}` came, but `{right}` is the first part that differs: everything after it\n"
        "differs only because its input does.",
        facts=_facts,
    )
    yield "the first part that differs, not the last or the worst"
    compared.on(
        lambda: _outputs(draw, noise=3e-6),
        ROUNDING + "How far apart may two numbers be that were computed in another order?",
        facts=_facts,
    )
    yield "None, where nothing but rounding differs"
    compared.on(
        lambda: _broken(draw, draw.whole(0, 7), one_token=True),
        "One token of one text is wrong in `{right}`, and `{found}` came.\n"
        "Does a mean over all tokens hide it?",
        facts=_facts,
    )
    yield "a single wrong token is enough"
    compared.on(
        lambda: _broken(draw, draw.whole(2, 7), padding=True),
        "Only padding differs before `{right}`, and `{found}` came.\n"
        "Nobody uses the output at padding: what does `real` say?",
        facts=_facts,
    )
    yield "padding does not count"
    compared.on(
        lambda: _broken(draw, draw.whole(1, 7), value=torch.nan),
        "From `{right}` on the outputs are NaN, and `{found}` came.\n"
        "A comparison with NaN is False, whichever way round: how do you notice it?",
        facts=_facts,
    )
    yield "NaN is wrong, too"
    for size, factor, at in ((later("in the thousands"), 3e3, None), (later("tiny"), 1e-4, 5)):
        with where(tr(SCALE, size=tr(size))):
            compared.on(
                partial(_scaled, draw, factor, at),
                "`{found}` came, it should be `{right}`.\nLarge numbers are rounded more coarsely "
                "than small ones: relative to what should a difference be large?",
                facts=_facts,
            )
    yield "differences count in relation to the size of a part's numbers"
    compared.on(
        lambda: _broken(draw, draw.whole(9, 44), layers=12),
        "With 12 layers `{found}` came, it should be `{right}`.\n"
        "In which order do you go through the parts? Sorted by name, layer 10 comes before "
        "layer 2.",
        facts=_facts,
    )
    yield "in the order of computation"


def _outputs(draw: Draw, layers: int = 2, noise: float = 1e-6) -> Call:
    """Twice the outputs of every part, equal up to rounding, with padding in the second text."""
    texts, tokens = 3, draw.whole(6, 9)
    real = torch.arange(tokens) < torch.tensor([tokens, tokens - 2, tokens - 1])[:, None]
    good: Outputs = {}
    bad: Outputs = {}
    for layer in range(layers):
        for part in PARTS:
            made = draw.normal(texts, tokens, 16 if part == "up" else 4)
            good[f"layer {layer}, {part}"] = made
            bad[f"layer {layer}, {part}"] = made + noise * draw.normal(*made.shape)
    return Call(good, bad, real)


def _broken(
    draw: Draw,
    first: int,
    layers: int = 2,
    one_token: bool = False,
    padding: bool = False,
    value: float | None = None,
) -> Call:
    """From part number ``first`` on the outputs differ."""
    call = _outputs(draw, layers)
    good, bad, real = call.arguments
    for number, name in enumerate(good):
        if padding:
            bad[name] = bad[name].where(real[..., None], 5.0)
        if number < first:
            continue
        if value is not None:
            bad[name] = bad[name].where(~real[..., None], value)
        elif one_token:
            bad[name] = bad[name].clone()
            bad[name][1, 2] += 0.002
        else:
            size = 3.0 if number == len(good) - 2 else 0.1  # the worst is not the last
            bad[name] = bad[name] + size * draw.normal(*bad[name].shape)
    return call


def _scaled(draw: Draw, factor: float, first: int | None) -> Call:
    """All numbers so many times larger; from part number ``first`` on the outputs differ."""
    call = _outputs(draw) if first is None else _broken(draw, first)
    good, bad, real = call.arguments
    scaled = ({name: factor * made for name, made in outputs.items()} for outputs in (good, bad))
    return Call(*scaled, real)


def _reference(good: Outputs, bad: Outputs, real: Tensor, tolerance: float = TOLERANCE) -> Any:
    """Part by part and token by token."""
    for name, right in good.items():
        largest = right[real].abs().max()
        for mine, theirs in zip(bad[name][real], right[real], strict=True):
            if not bool(((mine - theirs).abs() <= tolerance * largest).all()):
                return name
    return None


def _name(result: Any, right: Any) -> str | None:
    if result is Ellipsis:
        raise Unwritten("Not written yet: the part is still `...`.")
    if result is None or isinstance(result, str):
        return result
    hint = (
        tr("Is it a number where `good` has a name?")
        if hasattr(result, "__index__")
        else tr("Does your function return just what the docstring says?")
    )
    raise CheckFailed(tr(NOT_A_NAME, found=kind_of(result), hint=hint))


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"found": result, "right": call.of(_reference)}


# --- What learners write instead -----------------------------------------------------------------


def _with(
    differs: Callable[[Tensor, Tensor, float], Any] = lambda mine, right, tolerance: (
        not bool(((mine - right).abs() <= tolerance * right.abs().max()).all())
    ),
    cut: Callable[[Tensor, Tensor], Tensor] = lambda made, real: made[real],
    order: Callable[[Sequence[str]], Sequence[str]] = lambda names: names,
    none: str | None = None,
) -> Callable[..., Any]:
    """The search with a part exchanged."""

    def answer(good: Outputs, bad: Outputs, real: Tensor, tolerance: float = TOLERANCE) -> Any:
        for name in order(list(good)):
            if differs(cut(bad[name], real), cut(good[name], real), tolerance):
                return name
        return none

    return answer


def _worst(good: Outputs, bad: Outputs, real: Tensor, tolerance: float = TOLERANCE) -> Any:
    apart = {name: float((bad[name] - good[name])[real].abs().max()) for name in good}
    worst = max(apart, key=lambda name: apart[name])
    return worst if apart[worst] > tolerance else None


MISTAKES = [
    Mistake(
        _with(order=lambda names: names[::-1]),
        "You name the *last* part that differs.\n"
        "A wrong part spoils everything after it: which one had a right input?",
    ),
    Mistake(
        _worst,
        "You name the part with the *largest* difference.\n"
        "Differences grow on the way through the model: which one comes first?",
    ),
    Mistake(
        _with(differs=lambda mine, right, tolerance: not torch.equal(mine, right)),
        "You name the first part that is not bit for bit the same.\n"
        "Sums in another order round differently: how large is a difference that means nothing?",
    ),
    Mistake(
        _with(
            differs=lambda mine, right, tolerance: (
                (mine - right).abs().max() > tolerance * right.abs().max()
            )
        ),
        "From some part on the outputs are NaN, and you do not notice.\n"
        "A comparison with NaN is False: can you ask whether all is *well*, and turn that round?",
    ),
    Mistake(
        _with(
            differs=lambda mine, right, tolerance: not bool((mine - right).abs().max() <= tolerance)
        ),
        "You compare the difference itself with the tolerance.\n"
        "In the thousands rounding alone exceeds it, and among tiny numbers nothing ever does: "
        "relative to what is a difference large?",
    ),
    Mistake(
        _with(
            differs=lambda mine, right, tolerance: (
                not bool((mine - right).abs().mean() <= tolerance * right.abs().max())
            )
        ),
        "A mean over all numbers hides that one token is wrong.\nWhat do you take instead of it?",
    ),
    Mistake(
        _with(cut=lambda made, real: made),
        "Padding counts as well: the outputs differ there first.\nWhich tokens does `real` leave?",
    ),
    Mistake(
        _with(order=sorted),
        "You go through the parts in the order of the alphabet, where layer 10 comes before "
        "layer 2.\nA dictionary keeps the order in which it was filled.",
    ),
    Mistake(
        lambda *given: None if (name := _with()(*given)) is None else list(given[0]).index(name),
        "Is it a number where `good` has a name",
        compared=False,
    ),
    Mistake(_with(none="nothing"), ROUNDING, compared=False),
]

EXERCISE = Exercise(
    "first_wrong", "attention_from_scratch", 2, check, frozenset(), MISTAKES, ours=_reference
)
