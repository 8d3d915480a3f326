"""Exercise ``benchmark``: a comparison of speed that is fair."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_number,
    require,
    where,
)

Clock = Callable[[], float]
Models = Mapping[str, Any]

TICK = 1 / 4096  # seconds; sums of such numbers are exact
OTHER_CLOCK = (
    "`clock` was never read.\n"
    "Which clock do you read instead? On a busy machine it would be another figure each time."
)
NO_TABLE = "As result came a {kind}; a dictionary is asked for.\nWhich name has which milliseconds?"
OTHER_NAMES = "The result is for {found}; the models are {right}.\nWhich names does `models` have?"
UNLIKE = (
    "Two equal models came out as {first:.0f} and {second:.0f} ms, on a machine that becomes "
    "slower and slower: whichever is measured last loses.\n"
    "Which loop is the outer one: that over the models, or that over the rounds?"
)
TWO_LISTS = "Where `texts` can be gone through only once, as a generator:"


class Machine:
    """Models that take time on a clock of their own; nothing here is left to chance.

    A text's time is the model's cost times its length. The first answer of a model takes longer,
    preparing a text costs time, too, and a few answers are interrupted or hurried. With ``slowing``
    everything takes longer the later it comes.
    """

    def __init__(self, slowing: float = 0.0, interrupted: int | None = None):
        self.now, self.reads, self.answers = 17.0, 0, 0
        self.slowing, self.interrupted = slowing, interrupted

    def clock(self) -> float:
        """Seconds."""
        self.reads += 1
        return self.now

    def spend(self, ticks: float) -> None:
        """Let time pass."""
        self.now += ticks * TICK


class Model:
    """What the learner's function times."""

    def __init__(self, machine: Machine, cost: int):
        self.machine, self.cost, self.answers = machine, cost, 0

    def encode(self, text: str) -> list[str]:
        """Prepare a text, which takes time that does not count."""
        self.machine.spend(700)
        return text.split()

    def run(self, inputs: list[str]) -> float:
        """Answer."""
        machine = self.machine
        if not isinstance(inputs, list):
            raise CheckFailed(
                "`run` was given a text that is not encoded.\nWhat comes out of `encode`?"
            )
        ticks = self.cost * len(inputs) * (1 + machine.slowing * machine.answers)
        ticks += 5000 * self.cost if self.answers == 0 else 0
        if machine.interrupted is not None and self.answers - machine.interrupted in (0, 4):
            ticks += 3000
        if machine.interrupted is not None and machine.interrupted - self.answers in (3, 4):
            ticks /= 3
        self.answers += 1
        machine.answers += 1
        machine.spend(ticks)
        return 0.0


@dataclass(frozen=True)
class Run:
    """What a function returned, and how often it read the clock."""

    result: Any
    reads: int


class Comparing(Call):
    """Models to be compared on some texts."""

    def __init__(
        self,
        costs: Mapping[str, int],
        lengths: list[int],
        repeats: int,
        *,
        once: bool = False,
        **machine: Any,
    ):
        self.costs, self.lengths, self.repeats = dict(costs), lengths, repeats
        self.once, self.machine = once, machine
        super().__init__(lengths)

    def of(self, function: Callable[..., Any]) -> Run:
        """What a function makes of models on a new machine."""
        machine = Machine(**self.machine)
        models = {name: Model(machine, cost) for name, cost in self.costs.items()}
        texts: Iterable[str] = [" ".join(["word"] * length) for length in self.lengths]
        if self.once:
            texts = (text for text in texts)
        if function is reference:
            return Run(reference(self.costs, self.lengths), 1)
        return Run(function(models, texts, machine.clock, self.repeats), machine.reads)


def check(answer: Answer, draw: Draw) -> Held:
    """``benchmark(models, texts, clock, repeats)``: fair milliseconds for each model."""
    compared = Comparison(answer, reference, MISTAKES, read=_table, draws=3)
    otherwise = (
        "The milliseconds are {found}; they should be {right}.\n"
        "What happens between the two readings of the clock, and what is made of them?"
    )

    def drawn(models: int, texts: int, repeats: int, **more: Any) -> Comparing:
        names = ["teacher", "student", "int8"][:models]
        lengths = (3 + torch.randperm(20, generator=draw.generator)[:texts]).tolist()
        longest = lengths.index(max(lengths))
        middle = texts // 2
        lengths[middle], lengths[longest] = lengths[longest], lengths[middle]
        costs = {name: draw.whole(3, 6) + 5 * i for i, name in enumerate(names)}
        return Comparing(costs, lengths, repeats, **more)

    with where("For one model, one text and one round:"):
        compared.on(lambda: drawn(1, 1, 1), otherwise, facts=_facts)
    yield "only the answer is timed, and not the first one"

    with where("For one model, several texts and one round:"):
        compared.on(lambda: drawn(1, 4, 1), otherwise, facts=_facts)
    yield "all texts, short and long"

    with where("For several models and one round:"):
        compared.on(lambda: drawn(3, 3, 1), otherwise, facts=_facts)
    yield "each model by itself"

    with where("For several rounds, of which a few are interrupted:"):
        compared.on(
            lambda: drawn(2, 3, 7, interrupted=8 + draw.whole(0, 6)), otherwise, facts=_facts
        )
    yield "the median of the rounds"

    with where(TWO_LISTS):
        compared.on(lambda: drawn(2, 4, 3, once=True), otherwise, facts=_facts)
    yield "the same texts for all"

    twins = Comparing({"one": 4, "other": 4}, [9, 5, 12], 9, slowing=0.02)
    run = twins.of(answer)
    first, second = _table(run, run).values()
    like = abs(first - second) < 0.08 * (first + second) / 2
    require(like, UNLIKE.format(first=first, second=second))
    yield "in turns, so that a machine that slows down treats all alike"


def reference(costs: Mapping[str, int], lengths: list[int]) -> dict[str, float]:
    """What it must come to: the mean length, times what a word costs."""
    return {name: 1000 * TICK * cost * sum(lengths) / len(lengths) for name, cost in costs.items()}


def _table(run: Run, right: Run) -> dict[str, float]:
    """Names with milliseconds."""
    if isinstance(run.result, Mapping):
        names, known = list(run.result), list(right.result)
        require(
            sorted(map(str, names)) == sorted(map(str, known)),
            OTHER_NAMES.format(found=names, right=known),
        )
        require(run.reads > 0, OTHER_CLOCK)
        return {name: a_number(run.result[name], f"time of {name!r}") for name in known}
    a_number(0.0 if run.result is not None and run.result is not Ellipsis else run.result)
    raise CheckFailed(NO_TABLE.format(kind=type(run.result).__name__))


def _facts(call: Call, run: Run) -> dict[str, Any]:
    def told(table: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in table.items())

    return {"found": told(run.result), "right": told(call.of(reference).result)}


# --- What learners write instead -----------------------------------------------------------------


def _warm_all(models: Models, inputs: Any) -> None:
    for name, model in models.items():
        for each in inputs[name][:1]:
            model.run(each)


def _timing(
    listed: Callable[[Iterable[str]], Any] = list,
    warm: Callable[[Models, Any], Any] = _warm_all,
    chosen: Callable[[list[Any]], list[Any]] = lambda inputs: inputs,
    middle: Callable[[list[float]], float] = statistics.median,
    scale: Callable[[int], float] = lambda texts: 1000 / texts,
    encoded_inside: bool = False,
    started_once: str = "",
    per_text: bool = False,
) -> Callable[..., dict[str, float]]:
    """A fair benchmark with a part exchanged."""

    def answer(models: Models, texts: Iterable[str], clock: Clock, repeats: int) -> Any:
        texts = listed(texts)
        inputs = {name: [model.encode(t) for t in texts] for name, model in models.items()}
        warm(models, inputs)
        seconds: dict[str, list[float]] = {name: [] for name in models}
        start = clock()
        for _ in range(repeats):
            start = clock() if started_once == "round" else start
            for name, model in models.items():
                start = start if started_once else clock()
                for each in chosen(inputs[name]):
                    model.run(model.encode(" ".join(each)) if encoded_inside else each)
                    if per_text:
                        seconds[name].append((clock() - start) * len(inputs[name]))
                        start = clock()
                if not per_text:
                    seconds[name].append(clock() - start)
        return {
            name: scale(max(len(inputs[name]), 1)) * (middle(times) if times else 0.0)
            for name, times in seconds.items()
        }

    return answer


_right = _timing()


def _one_after_the_other(
    models: Models, texts: Iterable[str], clock: Clock, repeats: int
) -> dict[str, float]:
    texts, result = list(texts), {}
    for name, model in models.items():
        result.update(_right({name: model}, texts, clock, repeats))
    return result


def _only_the_first_is_warm(models: Models, inputs: Any) -> None:
    name = next(iter(models))
    models[name].run(inputs[name][0])


def _real_clock(models: Models, texts: Iterable[str], clock: Clock, repeats: int) -> Any:
    return _right(models, texts, iter(range(10**6)).__next__, repeats)


def _longest_first(inputs: list[Any]) -> list[Any]:
    return [max(inputs, key=len)] * len(inputs)


BEFORE_IT = (
    "The clock is started once for all models: a model's time holds that of those before it.\n"
    "Whose work lies between the two readings of the clock?"
)
WARM = "How does a model become ready before the clock starts?"
SHORT_AND_LONG = "Do all texts take the same time?"
MISTAKES = [
    Mistake(
        _timing(encoded_inside=True),
        "The encoding is timed, too: it is the same for all models and hides how they differ.\n"
        "What happens between the two readings of the clock?",
    ),
    Mistake(
        _timing(encoded_inside=True, warm=lambda models, inputs: None),
        "The encoding is timed, and so is the first answer of the model.\n"
        "What happens between the two readings of the clock, and what before the first?",
    ),
    Mistake(
        _timing(warm=lambda models, inputs: None),
        f"The first answer of a model counts, in which it gets ready.\n{WARM}",
    ),
    Mistake(
        _timing(warm=_only_the_first_is_warm),
        f"The first model is warmed up, the others are not.\n{WARM}",
    ),
    Mistake(
        _timing(scale=lambda texts: 1 / texts),
        "The result is in seconds.\nHow many milliseconds has a second?",
    ),
    Mistake(
        _timing(scale=lambda texts: 1000),
        "The result is for all texts together.\nBy what should you divide?",
    ),
    Mistake(
        _timing(chosen=lambda inputs: inputs[:1] * len(inputs)),
        f"Only the first text is measured, again and again.\n{SHORT_AND_LONG}",
    ),
    Mistake(
        _timing(chosen=lambda inputs: inputs[-1:] * len(inputs)),
        f"Only the last text is measured, again and again.\n{SHORT_AND_LONG}",
    ),
    Mistake(
        _timing(chosen=_longest_first),
        f"All texts take as long as the longest, as if they were padded to it.\n{SHORT_AND_LONG}",
    ),
    Mistake(
        _timing(chosen=lambda inputs: inputs[:1]),
        f"Only the first text is measured, but you divide by all.\n{SHORT_AND_LONG}",
    ),
    Mistake(
        _timing(started_once="round"),
        BEFORE_IT,
    ),
    Mistake(_timing(started_once="all"), BEFORE_IT),
    Mistake(
        _timing(middle=statistics.fmean),
        "The mean of the rounds is taken, which a single interruption moves.\n"
        "Which middle does not care how far off a few rounds are?",
    ),
    Mistake(
        _timing(middle=min),
        "The quickest round is taken, in which the machine hurried.\n"
        "Which middle does not care how far off a few rounds are?",
    ),
    Mistake(
        _timing(middle=max),
        "The slowest round is taken, which is the interrupted one.\n"
        "Which middle does not care how far off a few rounds are?",
    ),
    Mistake(
        _timing(middle=sum),
        "The rounds are added up.\nWhat is asked for, of several rounds?",
    ),
    Mistake(
        _timing(per_text=True),
        "The median is taken over single texts, so that long ones hardly count.\n"
        "What is the time of a round?",
    ),
    Mistake(
        _timing(listed=lambda texts: texts),
        "the first model gets all texts and the others none.\n"
        "What is left of a generator after a loop over it?",
    ),
    Mistake(_one_after_the_other, UNLIKE, compared=False),
    Mistake(_real_clock, OTHER_CLOCK, compared=False),
]

EXERCISE = Exercise("benchmark", "compression", 3, check, mistakes=MISTAKES)
