"""Records of benchmarks, fair ones and others, for the exercise ``audit``."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch

from attnlab.course.checks.examiner import Call, Draw, require

Record: TypeAlias = pd.DataFrame
Trick: TypeAlias = Callable[[Record, Draw], Record]

CHANGES_RECORD = (
    "Your function changes the record that it was given.\n"
    "Is there an inplace=True, or a new column in it? What do merge, query and assign return?"
)


class Audited(Call):
    """A record, which must be the same afterwards. What was found once is kept."""

    def __init__(self, record: Record):
        super().__init__(record)
        self.record = record
        self._found: dict[int, Any] = {}

    def of(self, function: Callable[..., Any]) -> Any:
        """What a function finds in it."""
        if id(function) not in self._found:
            self._found[id(function)] = self.again(function)
        return self._found[id(function)]

    def again(self, function: Callable[..., Any]) -> Any:
        """What a function finds when it is asked once more."""
        copy = self.record.copy(deep=True)
        result = function(copy)
        require(copy.equals(self.record), CHANGES_RECORD)
        return result


class Several(Call):
    """Several records: chance counts less in the mean of their intervals."""

    def __init__(self, calls: Sequence[Audited]):
        super().__init__(calls)
        self.calls = calls

    def of(self, function: Callable[..., Any]) -> Any:
        """What a function finds in each."""
        return [call.of(function) for call in self.calls]


def a_record(draw: Draw, *tricks: Trick) -> Audited:
    """A fair record, then some tricks."""
    rounds, texts = range(1, 13), [f"text {letter}" for letter in "ABCDEFGHI"]
    lengths = {text: 2.0 + 3 * draw.uniform() for text in texts}
    faster = 1.2 + 0.5 * draw.uniform()
    own = {text: faster * (0.85 + 0.3 * draw.uniform()) for text in texts}
    rows = []
    for number in rounds:
        quiet = 1 + 0.3 * draw.uniform()
        for text in texts:
            for model in ("old", "new"):
                noise = float((0.1 * draw.normal(1)).exp())
                ms = lengths[text] * quiet * noise * (own[text] if model == "old" else 1)
                ms *= 4 if draw.uniform() < 0.06 else 1  # interrupted
                rows.append((number, model, text, 1, round(ms, 3)))
    record = pd.DataFrame(rows, columns=["round", "model", "text", "threads", "ms"])
    for trick in tricks:
        record = trick(record, draw)
    return Audited(record.reset_index(drop=True))


def cold(record: Record, draw: Draw) -> Record:
    """Round 0: the old model is not warm yet, the new one is."""
    first = record[record["round"] == 1].assign(round=0)
    slow = np.where(first["model"] == "old", 2.5 + draw.uniform(), 1.0)
    return pd.concat([first.assign(ms=(first["ms"] * slow).round(3)), record])


def other_texts(record: Record, draw: Draw) -> Record:
    """The new model reads some shorter texts, which the old one does not, and leaves out others."""
    new = record["model"] == "new"
    short = record["text"].isin(["text A", "text B", "text C"])
    named = record["text"].where(~(new & short), record["text"] + ", short")
    ms = record["ms"].where(~(new & short), record["ms"] * (0.3 + 0.1 * draw.uniform()))
    return record.assign(text=named, ms=ms.round(3))


def other_rounds(record: Record, draw: Draw) -> Record:
    """Later the machine is busy, and only the old model is measured."""
    late, new = record["round"] > 9, record["model"] == "new"
    busy = record["ms"] * np.where(late, 2 + draw.uniform(), 1)
    return record.assign(ms=busy.round(3))[~(late & new)]


def other_threads(record: Record, draw: Draw) -> Record:
    """In some rounds both have 4 threads, in others the new model, on some texts."""
    both, only = record["round"].isin([3, 4]), record["round"].isin([5, 6])
    some = record["text"].isin(["text C", "text D", "text G", "text I"])
    many = both | (only & some & (record["model"] == "new"))
    ms = record["ms"] * np.where(many, 0.4 + 0.1 * draw.uniform(), 1)
    return record.assign(threads=np.where(many, 4, 1), ms=ms.round(3))


def shuffled(record: Record, draw: Draw) -> Record:
    """Rows in any order."""
    order = torch.randperm(len(record), generator=draw.generator).numpy()
    return record.iloc[order]


TRICKS = (cold, other_texts, other_rounds, other_threads, shuffled)


def without_pairs(draw: Draw) -> list[tuple[str, Record]]:
    """Records in which nothing can be compared, and why."""
    fair = a_record(draw).record
    new = fair["model"] == "new"
    return [
        ("no text was read by both", fair.assign(text=fair["text"] + fair["model"])),
        ("threads always differ", fair.assign(threads=np.where(new, 4, 1))),
        ("there is only round 0", fair[fair["round"] == 1].assign(round=0)),
        ("one model was never measured", fair[new].reset_index(drop=True)),
    ]
