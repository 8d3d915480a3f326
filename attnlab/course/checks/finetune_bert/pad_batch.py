"""Check of ``pad_batch``."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_pair,
    a_tensor,
    compare,
    require,
    same,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``pad_batch(rows, pad_id)``: token ids and mask of texts of different lengths, as two "
    "tensors."""
    row, pad_id = [draw.whole(1000, 9000) for _ in range(5)], draw.whole(1, 9)
    ids, mask = _padded(answer, [row], pad_id, (1, 5))
    require(
        ids.dtype == torch.long,
        f"The ids are of type {ids.dtype}; the model looks each one up in a table, by its number.\n"
        "Which type do whole numbers have in torch?",
    )
    require(
        same(ids, torch.tensor([row])),
        "A single text should stay as it is.\nWhat happens to a text that needs no padding?",
    )
    compare(
        mask,
        torch.ones(1, 5),
        {
            "The mask is turned round: it marks a text that is all real with 0.\n"
            "Which of the two numbers says that a token is real?": lambda: torch.zeros(1, 5),
        },
        "A text without padding should have a mask of ones.\nWhich tokens are real?",
    )
    yield "a single text needs no padding"

    lengths = [5, 3, 7, 4]
    rows = [[draw.whole(1000, 9000) for _ in range(length)] for length in lengths]
    ids, mask = _padded(answer, rows, pad_id, (4, 7))
    right, real = _reference_ids(rows, pad_id)
    ordered = sorted(rows, key=len)
    compare(
        ids,
        right,
        {
            "The padding stands before the texts, so [CLS] is no longer in column 0.\n"
            "To which end of a row do you add it?": lambda: _reference_ids(rows, pad_id, left=True)[
                0
            ],
            f"The texts are filled up with 0, not with pad_id, which is {pad_id} here.\n"
            "Which number does this tokenizer use for padding?": (
                lambda: _reference_ids(rows, 0)[0]
            ),
            "The texts have changed their order: they are sorted by length.\n"
            "Which text do the labels of the batch belong to now?": (
                lambda: _reference_ids(ordered, pad_id)[0]
            ),
            "The texts have changed their order: the longest comes first.\n"
            "Which text do the labels of the batch belong to now?": (
                lambda: _reference_ids(ordered[::-1], pad_id)[0]
            ),
        },
        "The shape is right, the ids are not.\nEach row: the ids of the text, then pad_id. Which "
        "differs?",
    )
    compare(
        mask,
        real,
        {
            "The mask is 1 everywhere, so the model attends to the padding.\n"
            "Where does each text end?": lambda: torch.ones(4, 7),
            "The mask is turned round: 1 marks the padding.\n"
            "In Transformers' masks, which tokens get a 1?": lambda: 1 - real,
            "The ids are padded behind, but the mask has its zeros in front.\n"
            "Do both fill up at the same end?": lambda: real.flip(1),
        },
        "The ids are right, the mask is not.\nIs it 1 as often as the text has tokens, and 0 "
        "after that?",
    )
    yield "shorter texts are filled up behind, and the mask says where"

    for pad_id in (0, draw.whole(1000, 9000)):
        rows = [[draw.whole(1000, 9000) for _ in range(draw.whole(3, 6))] for _ in range(3)]
        rows = [[*row[:1], pad_id, *row[1:], pad_id] for row in rows]
        right, real = _reference_ids(rows, pad_id)
        ids, mask = _padded(answer, rows, pad_id, tuple(right.shape))
        compare(
            mask,
            real,
            {
                f"A real token that happens to have the id {pad_id} is taken for padding. Some "
                f"tokenizers use one "
                "token for the end of a text and for padding.\n"
                "What tells you for certain where a text ends, if not the ids?": (
                    lambda right=right, pad_id=pad_id: (right != pad_id).float()
                ),
            },
            f"Where real tokens have the id {pad_id}, as padding does, the mask is wrong.\nWhat "
            f"is it made from?",
        )
        require(
            same(ids, right),
            f"Where real tokens have the id {pad_id}, as padding does, the ids are wrong.\n"
            "Do you look for the padding in the ids?",
        )
    yield "real tokens stay real, whatever their id"


def _padded(
    answer: Answer, rows: list[list[int]], pad_id: int, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The answer's ids and mask, of the right shape."""
    ids, mask = a_pair(answer(rows, pad_id), "input_ids", "attention_mask")
    lengths = [len(row) for row in rows]
    if isinstance(ids, Tensor) and ids.dim() == 2 and len(ids) == len(rows) > 1:
        if ids.shape[1] == min(lengths) < max(lengths):
            raise CheckFailed(
                f"All texts are cut to the length of the shortest, {min(lengths)}: their ends are "
                f"lost.\n"
                "Which length must the batch have so that every text fits?"
            )
        if ids.shape[1] > max(lengths):
            raise CheckFailed(
                f"The batch is {ids.shape[1]} tokens wide, its longest text {max(lengths)}. "
                f"Padding costs "
                "as much time as real tokens.\nWhich length is enough for this batch?"
            )
    return a_tensor(ids, shape, "input_ids"), a_tensor(mask, shape, "attention_mask")


def _reference_ids(
    rows: Sequence[Sequence[int]], pad_id: int, left: bool = False
) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(rows), max(map(len, rows))), pad_id)
    real = torch.zeros(ids.shape)
    for place, row in enumerate(rows):
        columns = slice(-len(row), None) if left else slice(len(row))
        ids[place, columns], real[place, columns] = torch.tensor(row), 1
    return ids, real


EXERCISE = Exercise("pad_batch", "finetune_bert", 2, check)
