"""Sentences as token ids, with and without padding."""

import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from attnlab.course.checks.examiner import CheckFailed, Draw, a_list


def ids_of(result: object, what: str) -> list[int]:
    """The result as a list of ids, or a failure that says what is among them."""
    found = a_list(result, what)
    for token in found:
        whole = isinstance(token, numbers.Integral) or (
            isinstance(token, Tensor) and token.dim() == 0 and not token.is_floating_point()
        )
        if not whole or isinstance(token, bool):
            raise CheckFailed(
                f"{what[0].upper() + what[1:]}: there is a {type(token).__name__} among the ids; "
                "an id is a whole number.\nIs a list put into the list, where its tokens belong?"
            )
    return [int(token) for token in found]


def sentences(draw: Draw, lengths: Sequence[int], padding: int, words: int = 10) -> Tensor:
    """Ids (B, T) with padding behind; any other id may be a token."""
    ids = torch.randint(words - 1, (len(lengths), max(lengths)), generator=draw.generator)
    ids = torch.where(ids >= padding, ids + 1, ids)
    if padding:  # in each sentence the id 0 is a token like any other
        ids[:, 0] = 0
    columns = torch.arange(max(lengths))
    return ids.masked_fill(columns >= torch.tensor(lengths)[:, None], padding)
