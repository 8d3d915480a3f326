"""A tiny language whose best sequence is known, to search in."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from attnlab.course.checks.examiner import Answer, CheckFailed, Draw, a_number, a_pair, require
from attnlab.course.checks.translation.sentences import ids_of

Result = tuple[list[int], float]

NOT_A_LIST = "next_log_probabilities takes a list of beginnings, each a list of ids; "
ONE_BEGINNING = (
    NOT_A_LIST + "what it got has {kind} where a list should be.\n"
    "Is one beginning given, where a list of them is asked for?"
)
WITHOUT_START = (
    "next_log_probabilities was asked what comes after {prefix}, without the start mark {start}.\n"
    "What does a decoder read first?"
)
ENDED_GOES_ON = (
    "A sequence that has ended is extended: next_log_probabilities was asked what comes after "
    "the end mark.\nWhich of those kept still go on?"
)
TOO_LONG = (
    "`longest` is {longest}, and a sequence that long is extended.\n"
    "When must the search end, even if no end mark comes?"
)
NO_WORD = (
    "There are {words} words; the beginning {prefix} holds another id.\n"
    "Is it an index into all candidates, from which row and word are still to be found?"
)
TOO_MANY = (
    "With width {width}, {count} different beginnings of {length} tokens are extended.\n"
    "Does each beam keep `width` of its own? How many are to be left of all together?"
)
NEVER_ASKED = (
    "With longest={longest} next_log_probabilities is never asked.\n"
    "How many tokens may be written, and how often does your loop run?"
)
SWAPPED = (
    "The log-probability comes first and the sequence second.\nWhich order does the docstring name?"
)
HOLDS_START = "The sequence holds the start mark.\nHow many places at the front are to be cut off?"
HOLDS_END = (
    "The sequence holds the end mark.\nIs it part of what is said? Not every sequence has one."
)


class Language:
    """What comes next depends on the whole beginning; there is no word for the start mark."""

    def __init__(self, draw: Draw, words: int = 5, longest: int = 4):
        self.words, self.longest = words, longest
        self.start, self.end = words, draw.whole(0, words - 1)
        logits = [draw.normal(words**length, words).double() for length in range(longest)]
        self.logs = [each.log_softmax(-1) for each in logits]

    def of_one_token(self, end_first: bool) -> "Language":
        """The same where one token is written, and the end mark is the likeliest or not."""
        first = self.logs[0].clone()
        first[0, self.end] = first.max() + 1 if end_first else first.median()
        self.logs, self.longest = [first.log_softmax(-1)], 1
        return self

    def of_a_late_winner(self) -> "Language":
        """The same where the best sequence is the last of all that go on, but for its last token.

        Only who keeps them all, some dozens, finds it.
        """
        words = [word for word in range(self.words) if word != self.end]
        place = 0
        for length, logs in enumerate(self.logs):
            last = length == self.longest - 1
            logs[:] = 0.01 * logs.softmax(-1)  # nearly alike
            logs[:, self.end] = -9
            logs[place, words[0]] += 9 if last else -0.1
            place = place * self.words + words[0]
            logs[:] = logs.log_softmax(-1)
        return self

    def row(self, prefix: Sequence[int]) -> list[float]:
        """The log-probabilities of what comes after a beginning without its start mark, (V,)."""
        place = functools.reduce(lambda sum_, token: sum_ * self.words + token, prefix, 0)
        return self.logs[len(prefix)][place].tolist()


class _Asked:
    """A language as the learner's function gets it, and what it must not be asked."""

    def __init__(self, language: Language, width: int):
        self.language, self.width = language, width
        self.known: dict[int, set[tuple[int, ...]]] = {}
        self.problem: CheckFailed | None = None

    def __call__(self, prefixes: object) -> Tensor:
        try:
            rows = [self._row(prefix) for prefix in self._listed(prefixes)]
        except CheckFailed as problem:
            self.problem = self.problem or problem
            raise
        return torch.tensor(rows, dtype=torch.float32)

    def _listed(self, prefixes: object) -> list[list[int]]:
        if isinstance(prefixes, Tensor) and prefixes.dim() == 2:
            prefixes = prefixes.tolist()
        if not isinstance(prefixes, list | tuple):
            raise CheckFailed(
                f"{NOT_A_LIST}it got a {type(prefixes).__name__}.\nA pair of [] missing?"
            )
        require(
            len(prefixes) > 0,
            f"{NOT_A_LIST}it got an empty one.\nIs there nothing left to go on with?",
        )
        for prefix in prefixes:
            if not isinstance(prefix, list | tuple | Tensor):
                raise CheckFailed(ONE_BEGINNING.format(kind=type(prefix).__name__))
        return [ids_of(prefix, "the beginning") for prefix in prefixes]

    def _row(self, prefix: list[int]) -> list[float]:
        language = self.language
        require(
            prefix[:1] == [language.start],
            WITHOUT_START.format(prefix=prefix, start=language.start),
        )
        rest = prefix[1:]
        require(language.end not in rest, ENDED_GOES_ON)
        require(len(rest) < language.longest, TOO_LONG.format(longest=language.longest))
        require(
            all(0 <= token < language.words for token in rest),
            NO_WORD.format(words=language.words, prefix=prefix),
        )
        known = self.known.setdefault(len(rest), set())
        known.add(tuple(rest))
        require(
            len(known) <= self.width,
            TOO_MANY.format(width=self.width, count=len(known), length=len(rest)),
        )
        return language.row(rest)


def found_by(answer: Answer, language: Language, width: int) -> Result:
    """The answer's sequence and log-probability."""
    asked = _Asked(language, width)
    result = answer(asked, language.start, language.end, width, language.longest)
    if asked.problem:  # the answer may have caught it
        raise asked.problem
    ids, total = a_pair(result, "the sequence", "its log-probability")
    require(bool(asked.known), NEVER_ASKED.format(longest=language.longest))
    if isinstance(ids, float) or (isinstance(ids, Tensor) and ids.is_floating_point()):
        raise CheckFailed(SWAPPED)
    found = ids_of(ids, "the sequence")
    require(language.start not in found, HOLDS_START)
    require(language.end not in found, HOLDS_END)
    return found, a_number(total, "log-probability")
