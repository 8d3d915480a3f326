"""Exercise ``pad_batch``: texts of different lengths in one batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from attnlab.course.checks.examiner import (
    CHANGES_LIST,
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
    require,
)

Rows = Sequence[list[int]]
Batch = tuple[Tensor, Tensor]

CUT_SHORT = (
    "All texts are cut to the length of the shortest, {shortest}: their ends are lost.\n"
    "Which length must the batch have so that every text fits?"
)
TOO_WIDE = (
    "The batch is {width} tokens wide, its longest text {longest}. Padding costs as much time as "
    "real tokens.\nWhich length is enough for this batch?"
)
TURNED = "The mask comes first and the ids second.\nIn which order does the docstring name the two?"
NOT_LONG = (
    "The ids are of type {dtype}; the model looks each one up in a table, by its number.\n"
    "Which type do whole numbers have in torch?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``pad_batch(rows, pad_id)``: ids and mask of texts of different lengths, two tensors."""
    ids = Comparison(answer, reference, MISTAKES, read=_ids)
    both = Comparison(answer, reference, MISTAKES, read=_ids_and_mask)

    def texts(*lengths: int) -> Callable[[], Call]:
        def call() -> Call:
            rows = [[draw.whole(1000, 9000) for _ in range(length)] for length in lengths]
            return Call(rows, draw.whole(1, 9))

        return call

    def texts_with_padding_inside(pad_id: int) -> Callable[[], Call]:
        def call() -> Call:
            rows = [[draw.whole(1000, 9000) for _ in range(draw.whole(3, 6))] for _ in range(3)]
            return Call([[*row[:1], pad_id, *row[1:], pad_id] for row in rows], pad_id)

        return call

    ids.on(
        texts(5),
        "A single text should stay as it is.\nWhat happens to a text that needs no padding?",
        facts=_facts,
    )
    both.on(
        texts(5),
        "A text without padding should have a mask of ones.\nWhich tokens are real?",
        facts=_facts,
    )
    yield "a single text needs no padding"

    ids.on(
        texts(5, 3, 7, 4),
        "The shape is right, the ids are not.\n"
        "Each row: the ids of the text, then pad_id. Which differs?",
        facts=_facts,
    )
    both.on(
        texts(5, 3, 7, 4),
        "The ids are right, the mask is not.\n"
        "Does each row have as many ones as the text has tokens, and zeros after them?",
        facts=_facts,
    )
    yield "shorter texts are padded at the end, and the mask says where"

    for lengths in ((5, 0, 3), (4, 600)):
        both.on(
            texts(*lengths),
            f"Right for a few tokens, wrong for texts of {lengths} tokens.\n"
            "Is a length typed in, or taken for granted?",
            draws=1,
        )
    yield "texts of any length"

    for pad_id in (0, draw.whole(1000, 9000)):
        ids.on(
            texts_with_padding_inside(pad_id),
            "Where real tokens have the id {pad_id}, as padding does, the ids are wrong.\n"
            "Do you look for the padding in the ids?",
            facts=_facts,
        )
        both.on(
            texts_with_padding_inside(pad_id),
            "Where real tokens have the id {pad_id}, as padding does, the mask is wrong.\n"
            "What is it made from?",
            facts=_facts,
        )
    yield "real tokens stay real, whatever their id"


def reference(rows: Rows, pad_id: int) -> Batch:
    """Row by row into tensors of padding and zeros."""
    ids = torch.full((len(rows), max(map(len, rows))), pad_id)
    mask = torch.zeros(ids.shape)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask


def _facts(call: Call, result: Any) -> dict[str, int]:
    return {"pad_id": call.arguments[1]}


def _ids(result: Any, right: Batch) -> list[Tensor]:
    return [_ids_and_mask(result, right)[0]]


def _ids_and_mask(result: Any, right: Batch) -> Batch:
    """The answer's ids and mask, of the right shape."""
    ids, mask = a_pair(result, "input_ids", "attention_mask")
    shape = tuple(right[0].shape)
    lengths = [int(length) for length in right[1].sum(-1)]
    if isinstance(ids, Tensor) and ids.dim() == 2 and len(ids) == len(lengths) > 1:
        if ids.shape[1] == min(lengths) < max(lengths):
            raise CheckFailed(CUT_SHORT.format(shortest=min(lengths)))
        if ids.shape[1] > max(lengths):
            raise CheckFailed(TOO_WIDE.format(width=ids.shape[1], longest=max(lengths)))
    if isinstance(ids, Tensor) and isinstance(mask, Tensor) and ids.shape == mask.shape == shape:
        require(ids.max() > 1 or mask.max() <= 1, TURNED)
    ids, mask = a_tensor(ids, shape, "input_ids"), a_tensor(mask, shape, "attention_mask")
    require(ids.dtype == torch.long, NOT_LONG.format(dtype=ids.dtype))
    return ids, mask


# --- What learners write instead -----------------------------------------------------------------


def _padded(rows: Rows, pad_id: int, width: int | None = None) -> Batch:
    """Padded with lists; to a width that is given, what is longer is cut."""
    width = width or max(map(len, rows))
    ids = torch.tensor([(row + [pad_id] * width)[:width] for row in rows])
    mask = torch.tensor([([1] * len(row) + [0] * width)[:width] for row in rows])
    return ids, mask


def _with_mask(change: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[Rows, int], Batch]:
    """The ids are right, the mask is changed."""

    def answer(rows: Rows, pad_id: int) -> Batch:
        ids, mask = _padded(rows, pad_id)
        return ids, change(ids, mask, pad_id)

    return answer


def _padded_on_the_left(rows: Rows, pad_id: int) -> Batch:
    ids, mask = _padded([row[::-1] for row in rows], pad_id)
    return ids.flip(1), mask.flip(1)


def _padded_as_floats(rows: Rows, pad_id: int) -> Batch:
    ids, mask = _padded(rows, pad_id)
    return ids.float(), mask


def _padded_in_place(rows: Rows, pad_id: int) -> Batch:
    _, mask = _padded(rows, pad_id)
    for row in rows:
        row += [pad_id] * (mask.shape[1] - len(row))
    return torch.tensor(rows), mask


MISTAKES = [
    Mistake(
        _padded_on_the_left,
        "The padding stands before the texts, so [CLS] is no longer in column 0.\n"
        "To which end of a row do you add it?",
    ),
    Mistake(
        lambda rows, pad_id: _padded(rows, 0),
        "The texts are padded with 0, not with pad_id, which is {pad_id} here.\n"
        "Which number does this tokenizer use for padding?",
    ),
    Mistake(
        lambda rows, pad_id: _padded(sorted(rows, key=len), pad_id),
        "The texts have changed their order: they are sorted by length.\n"
        "Which text do the labels of the batch belong to now?",
    ),
    Mistake(
        lambda rows, pad_id: _padded(sorted(rows, key=len, reverse=True), pad_id),
        "The texts have changed their order: the longest comes first.\n"
        "Which text do the labels of the batch belong to now?",
    ),
    Mistake(
        _with_mask(lambda ids, mask, pad_id: torch.ones_like(ids)),
        "The mask is 1 everywhere, so the model attends to the padding.\nWhere does each text end?",
    ),
    Mistake(
        _with_mask(lambda ids, mask, pad_id: 1 - mask),
        "The mask is inverted: it marks padding with 1 and real tokens with 0.\n"
        "In Transformers' masks, which tokens get a 1?",
    ),
    Mistake(
        _with_mask(lambda ids, mask, pad_id: mask.flip(1)),
        "The ids are padded at the end, but the mask has its zeros at the beginning.\n"
        "Do both have the padding at the same end?",
    ),
    Mistake(
        _with_mask(lambda ids, mask, pad_id: (ids != pad_id).long()),
        "A real token that happens to have the id {pad_id} is taken for padding. Some tokenizers "
        "use one token for the end of a text and for padding.\n"
        "What tells you for certain where a text ends, if not the ids?",
    ),
    Mistake(
        lambda rows, pad_id: _padded(rows, pad_id, min(map(len, rows))), CUT_SHORT, compared=False
    ),
    Mistake(
        lambda rows, pad_id: _padded(rows, pad_id, 32 if len(rows) > 1 else None),
        TOO_WIDE,
        compared=False,
    ),
    Mistake(lambda rows, pad_id: _padded(rows, pad_id)[::-1], TURNED, compared=False),
    Mistake(
        lambda rows, pad_id: _padded([row[:512] for row in rows], pad_id),
        "Expected shape",
        compared=False,
    ),
    Mistake(_padded_as_floats, NOT_LONG, compared=False),
    Mistake(_padded_in_place, CHANGES_LIST, compared=False),
]


def _ours(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True, padding_value=pad_id), mask


EXERCISE = Exercise("pad_batch", "finetune_bert", 2, check, mistakes=MISTAKES, ours=_ours)
