"""What a teacher has to say about the training texts, and whether a student can learn it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, Text
from attnlab.device import autocast
from attnlab.errors import ModelError
from attnlab.inference import evaluating

HeadPairs = dict[int, tuple[list[int], list[int]] | None]


@dataclass
class Lessons:
    """What a teacher has to say about the training texts.

    Attributes
    ----------
    teacher : Classifier
    data : the training texts, as the teacher reads them
    layer_map : for each of the student's layers one of the teacher's
    head_pairs : for each of the student's layers the columns of its heads, and of the teacher's
        heads that they learn from; None for the means over heads; no entry for a layer without
    logits : (N, C), in the order of the student's labels, on its device
    """

    teacher: Classifier
    data: Encoded
    layer_map: list[int]
    head_pairs: HeadPairs
    logits: Tensor | None = None

    def shown(self, rows: Tensor, **wanted: bool) -> Any:
        """The teacher's outputs for texts, (B,) numbers, without gradients and with dropout off."""
        model = self.teacher.model
        batch = self.data.batch(rows.cpu().numpy())
        inputs = {name: tensor.to(self.teacher.device) for name, tensor in batch.items()}
        with torch.no_grad(), evaluating(model):
            return model(**inputs, **wanted)


def lessons_of(
    teacher: Classifier,
    student: Classifier,
    texts: Sequence[Text],
    data: Encoded,
    layer_map: Sequence[int] | None,
    *,
    dtype: torch.dtype,
    logits: bool,
    hidden: bool,
    attention: bool,
) -> Lessons:
    """Ask the teacher what can be asked once; see to it that the rest can be asked.

    Parameters
    ----------
    texts, data : the training texts, and as the student encodes them
    layer_map : as for `distil`
    dtype : number format of the teacher's logits
    logits, hidden, attention : what the student is to learn

    Raises
    ------
    ModelError : the two do not go together
    """
    if sorted(teacher.label_names) != sorted(student.label_names):
        raise ModelError(
            f"The teacher knows the labels {teacher.label_names}, the student "
            f"{student.label_names}. If they mean the same, in the same order, give one the names "
            "of the other: student.label_names = teacher.label_names."
        )
    theirs = teacher.encode(texts)
    chosen = _layer_map(teacher, student, layer_map)
    pairs: HeadPairs = {}
    if hidden or attention:
        _refuse_other_pieces(teacher, student, theirs, data)
    if hidden:
        widths = [heads.model_of(clf).config.hidden_size for clf in (teacher, student)]
        if widths[0] != widths[1]:
            raise ModelError(
                f"The teacher's hidden states have {widths[0]} numbers, the student's "
                f"{widths[1]}, so they cannot be compared: leave hidden out, or take a student of "
                "the same width."
            )
    if attention:
        pairs = _head_pairs(teacher, student, chosen)
    answers = _answers(teacher, student, theirs, dtype) if logits else None
    return Lessons(teacher, theirs, chosen, pairs, answers)


def _answers(teacher: Classifier, student: Classifier, data: Encoded, dtype: torch.dtype) -> Tensor:
    """The teacher's logits (N, C), in the order of the student's labels."""
    columns = [teacher.label_names.index(name) for name in student.label_names]
    with autocast(teacher.device, dtype):
        return teacher.logits(data)[:, columns].to(student.device)


def _layer_map(
    teacher: Classifier, student: Classifier, layer_map: Sequence[int] | None
) -> list[int]:
    """A layer of the teacher for each of the student's; ModelError for one it does not have."""
    if layer_map is None:
        share = teacher.layers / student.layers
        return [max(round((layer + 1) * share) - 1, 0) for layer in range(student.layers)]
    chosen = [int(layer) for layer in layer_map]
    if len(chosen) != student.layers or not all(0 <= layer < teacher.layers for layer in chosen):
        raise ModelError(
            f"layer_map is {list(layer_map)}; expected is for each of the student's "
            f"{student.layers} layers one of the teacher's, 0 to {teacher.layers - 1}."
        )
    return chosen


def _head_pairs(teacher: Classifier, student: Classifier, layer_map: list[int]) -> HeadPairs:
    """Which heads learn from which: those of the same number, else the mean from the mean."""
    if heads.prefix(teacher):
        raise ModelError(
            "The teacher has a prefix: its maps also hold keys that are no tokens. Leave attention "
            "out, or take a teacher fine-tuned by another method, such as 'lora'."
        )
    pairs: HeadPairs = {}
    for layer, other in enumerate(layer_map):
        mine = heads.active_heads(heads.model_of(student), layer)
        theirs = heads.active_heads(heads.model_of(teacher), other)
        common = [head for head in mine if head in theirs]
        if common and teacher.heads == student.heads:
            pairs[layer] = (
                [mine.index(head) for head in common],
                [theirs.index(head) for head in common],
            )
        elif mine and theirs:
            pairs[layer] = None
    if not pairs:
        raise ModelError(
            "No layer of the student has heads to learn the teacher's maps with. Leave attention "
            "out."
        )
    return pairs


def _refuse_other_pieces(
    teacher: Classifier, student: Classifier, theirs: Encoded, mine: Encoded
) -> None:
    """Raise ModelError unless both read the texts as the same pieces, whatever their numbers."""
    known = teacher.tokenizer.get_vocab()
    vocabulary = student.tokenizer.get_vocab()
    number = np.full(max(vocabulary.values()) + 1, -1)
    for piece, index in vocabulary.items():
        number[index] = known.get(piece, -1)
    renumbered = number[mine.columns["input_ids"]]
    if np.array_equal(mine.starts, theirs.starts) and np.array_equal(
        renumbered, theirs.columns["input_ids"]
    ):
        return
    different = next(
        index
        for index in range(len(mine))
        if renumbered[mine.starts[index] : mine.starts[index + 1]].tolist() != theirs.ids(index)
    )
    read = [
        " ".join(clf.tokenizer.convert_ids_to_tokens(data.ids(different))[:12])
        for clf, data in ((student, mine), (teacher, theirs))
    ]
    raise ModelError(
        f"Hidden states and maps are learned token by token, and training text {different} has "
        f"{mine.lengths[different]} tokens for the student ({read[0]} ...) and "
        f"{theirs.lengths[different]} for the teacher ({read[1]} ...). Take a student of the same "
        "word pieces and max_length, or learn from logits alone."
    )
