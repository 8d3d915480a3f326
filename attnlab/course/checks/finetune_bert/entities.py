"""Exercise ``entities``: from a tag for each word to the entities that the tags name."""

from collections.abc import Callable, Sequence
from typing import Any

from attnlab.course.checks.examiner import (
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_list,
)

Tags = Sequence[str]
Entities = list[Any]

KINDS = ("DATE", "AMOUNT", "NAME")
NO_TRIPLE = (
    "An entity came back as {entity!r}; three things are asked for.\n"
    "Kind, first word, and the word behind the last: is one missing?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``entities(tags)``: (kind, first, end) of each entity that IOB2 tags name."""

    def kind() -> str:
        return KINDS[draw.whole(0, 2)]

    def named(length: int, kind: str) -> list[str]:
        return [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)

    def outside(least: int = 1) -> list[str]:
        return ["O"] * draw.whole(least, least + 2)

    def one_word() -> Call:
        return Call([*outside(2), *named(1, kind()), *outside()])

    def longer() -> Call:
        first, second = named(draw.whole(2, 4), kind()), named(draw.whole(2, 3), kind())
        return Call([*outside(), *first, *outside(), *second, *outside()])

    def at_the_end() -> Call:
        return Call([*named(2, kind()), *outside(), *named(draw.whole(1, 3), kind())])

    def neighbours() -> Call:
        same = kind()
        return Call([*outside(), *named(2, same), *named(2, same), *named(1, kind()), *outside()])

    def stray() -> Call:
        alone = [f"I-{kind()}"] * draw.whole(1, 2)
        return Call([*outside(), *alone, *outside(), "B-DATE", *outside(), "I-DATE"])

    def another_kind() -> Call:
        tags = ["B-DATE", "I-AMOUNT", "I-DATE", "O", "B-AMOUNT", *["I-AMOUNT"] * draw.whole(1, 2)]
        return Call([*outside(0), *tags, *outside(0)])

    compared = Comparison(answer, reference, MISTAKES, read=_read)
    for situation, otherwise, held in (
        (
            one_word,
            "For an entity of one word the result is wrong.\nWhere does it begin and end?",
            "one word",
        ),
        (
            longer,
            "For entities of several words the result is wrong.\nWhich words go on with one?",
            "several words, several entities",
        ),
        (
            at_the_end,
            "For entities at the ends of a text the result is wrong.\n"
            "What happens when the tags are over?",
            "at the beginning and at the end",
        ),
        (
            neighbours,
            "Where entities stand side by side the result is wrong.\nWhat does B- say?",
            "neighbours stay two",
        ),
        (
            stray,
            "Where an I- stands alone the result is wrong.\nWhat does it go on with?",
            "an I- that goes on with nothing names nothing",
        ),
        (
            another_kind,
            "Where an I- of another kind comes the result is wrong.\n"
            "Does it go on with the entity before?",
            "an I- of another kind ends an entity",
        ),
    ):
        given = "\nFor {tags} it should be {right}; you return {found}."
        compared.on(situation, otherwise + given, facts=_facts)
        yield held
    compared.on(lambda: Call([]), "A text without words names nothing.\nWhat do you return?")
    compared.on(lambda: Call(outside()), "Where all is O nothing is named.\nWhat do you return?")
    yield "nothing at all"


def reference(tags: Tags) -> Entities:
    """From each B- on, as far as its own I- go."""
    found = []
    for first, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = first + 1
            while tags[end : end + 1] == [f"I-{tag[2:]}"]:
                end += 1
            found.append((tag[2:], first, end))
    return found


def _read(result: Any, right: Entities) -> Entities:
    """The entities as tuples, in the order of the text."""
    found = []
    for entity in a_list(result, "entities"):
        if not isinstance(entity, list | tuple) or len(entity) != 3:
            raise CheckFailed(NO_TRIPLE.format(entity=entity))
        found.append(tuple(entity))
    return found


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"tags": call.arguments[0], "found": result, "right": call.of(reference)}


# --- What learners write instead -----------------------------------------------------------------


def _reading(
    begins: Callable[[str, str | None], bool] = lambda tag, open_: tag.startswith("B-"),
    goes_on: Callable[[str, str | None], bool] = lambda tag, open_: tag == f"I-{open_}",
    entity: Callable[[str, int, int], Any] = lambda kind, first, end: (kind, first, end),
    last: bool = True,
) -> Callable[[Tags], Entities]:
    """Reading word by word, with a part exchanged."""

    def answer(tags: Tags) -> Entities:
        found, kind, first = [], None, 0
        for number, tag in enumerate(tags):
            if kind is not None and goes_on(tag, kind) and not begins(tag, kind):
                continue
            if kind is not None:
                found.append(entity(kind, first, number))
            kind = None
            if begins(tag, kind):
                kind, first = tag[2:], number
        if kind is not None and last:
            found.append(entity(kind, first, len(tags)))
        return found

    return answer


def _any_run(tags: Tags) -> Entities:
    """Whatever is not O, as long as the kind stays the same."""
    found: Entities = []
    for number, tag in enumerate(tags):
        if tag == "O":
            continue
        if found and found[-1][2] == number and found[-1][0] == tag[2:]:
            found[-1] = (tag[2:], found[-1][1], number + 1)
        else:
            found.append((tag[2:], number, number + 1))
    return found


def _goes_on_after_a_gap(tags: Tags) -> Entities:
    """An I- of another kind is left out, and its entity goes on behind it."""
    found: Entities = []
    for number, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((tag[2:], number, number + 1))
        elif found and tag == f"I-{found[-1][0]}":
            found[-1] = (*found[-1][:2], number + 1)
    return found


MISTAKES = [
    Mistake(
        _reading(entity=lambda kind, first, end: (kind, first, end - 1)),
        "The last number is the last word; asked for is the word behind it: tags[first:end].\n"
        "How many words has an entity with first 3 and end 4?",
    ),
    Mistake(
        _reading(entity=lambda kind, first, end: (kind, first, end - first)),
        "The last number is how many words there are; asked for is the word behind the last.\n"
        "Where does tags[first:end] end?",
    ),
    Mistake(
        _reading(entity=lambda kind, first, end: (kind, first + 1, end + 1)),
        "Words are counted from 1; tags[0] is the first.\nDoes enumerate begin at 1?",
    ),
    Mistake(
        _reading(entity=lambda kind, first, end: (f"B-{kind}", first, end)),
        "The kind still has its B- in front.\nWhich part of a tag names the kind?",
    ),
    Mistake(
        _reading(last=False),
        "An entity at the end of the text is lost.\nWho closes it when no further tag comes?",
    ),
    Mistake(
        _reading(goes_on=lambda tag, kind: False),
        "Each entity has one word: what goes on with it is left out.\nWhat does I- say?",
    ),
    Mistake(
        _any_run,
        "Words of one kind side by side become one entity.\n"
        "What is the difference between B- and I-?",
    ),
    Mistake(
        _reading(
            begins=lambda tag, kind: tag.startswith("B-") or (kind is None and tag.startswith("I-"))
        ),
        "An I- that goes on with nothing begins an entity; in strict reading it names nothing.\n"
        "What must stand before an I-?",
    ),
    Mistake(
        _reading(goes_on=lambda tag, kind: tag.startswith("I-")),
        "An I- of another kind goes on with the entity before.\nWhat must two tags have in common?",
    ),
    Mistake(
        _goes_on_after_a_gap,
        "An entity goes on behind a word that does not belong to it.\n"
        "Which tag must an I- stand right behind?",
    ),
    Mistake(
        _reading(entity=lambda kind, first, end: (first, end)),
        NO_TRIPLE,
        compared=False,
    ),
]

EXERCISE = Exercise("entities", "finetune_bert", 2, check, mistakes=MISTAKES)
