"""Tokenised texts, kept small, and padded batches of them."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.errors import AttnlabWarning, DataError

Text = str | tuple[str, str]  # one text, or a pair
Indices = Sequence[int] | np.ndarray

TOKENS_PER_BATCH = 1024
_PADDING_PER_BATCH = 64
_TEXTS_AT_A_TIME = 1000  # tokenised


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenised texts, ready to be put into padded batches.

    All texts stand one behind the other in one array for each column, so that a token costs the
    bytes of its numbers: 5 for BERT (id and segment), against nearly 70 in lists of Python numbers.
    A hundred thousand texts of 30 tokens take 15 MB.

    Attributes
    ----------
    columns : name of a model input (``input_ids``, ``token_type_ids``) to its numbers, shape
        (tokens,)
    starts : where each text begins, and where the last ends, shape (N + 1,)
    fill : what each column is padded with, behind the text: the positions of BERT's family count
        from its start
    """

    columns: dict[str, np.ndarray]
    starts: np.ndarray
    fill: dict[str, int]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each text, shape (N,)."""
        return np.diff(self.starts)

    def ids(self, index: int) -> list[int]:
        """Return the token ids of one text."""
        return self.columns["input_ids"][self.starts[index] : self.starts[index + 1]].tolist()

    def batch(self, indices: Indices) -> dict[str, Tensor]:
        """Return tensors (B, T) of the texts with these indices, padded to the longest of them."""
        starts = self.starts[:-1][np.asarray(indices, dtype=int)]
        lengths = self.lengths[np.asarray(indices, dtype=int)]
        along = np.arange(lengths.max(initial=0))
        real = along < lengths[:, None]  # (B, T)
        tokens = (starts[:, None] + along)[real]
        tensors = {"attention_mask": torch.from_numpy(real.astype(np.int64))}
        for name, column in self.columns.items():
            padded = np.full(real.shape, self.fill[name], dtype=np.int64)
            padded[real] = column[tokens]
            tensors[name] = torch.from_numpy(padded)
        return tensors

    def arrays(self) -> Iterator[np.ndarray]:
        """Return everything there is, by which the same texts are known again."""
        yield from (self.starts, *self.columns.values())

    def batches(
        self, indices: Indices | None = None, max_tokens: int = TOKENS_PER_BATCH
    ) -> Iterator[np.ndarray]:
        """Cut texts into batches of like length, at most ``max_tokens`` each.

        A batch also ends where one more text would bring more padding than a batch of its own
        costs. Yields positions in ``indices``, so that a text may be asked for twice.
        """
        return batches(
            self.lengths if indices is None else self.lengths[np.asarray(indices, int)], max_tokens
        )


def batches(lengths: np.ndarray, max_tokens: int = TOKENS_PER_BATCH) -> Iterator[np.ndarray]:
    """Cut texts of these lengths (N,) into batches; see `Encoded.batches`."""
    order = np.argsort(lengths, kind="stable")
    start = tokens = 0
    for end in range(1, len(order) + 1):
        tokens += lengths[order[end - 1]]
        longest = lengths[order[end]] if end < len(order) else np.inf
        padded = (end + 1 - start) * longest
        if padded > max_tokens or padded - longest - tokens > _PADDING_PER_BATCH:
            yield order[start:end]
            start, tokens = end, 0


def encode(tokenizer: Any, texts: Sequence[Text], max_length: int) -> Encoded:
    """Tokenise texts, or pairs of texts.

    Parameters
    ----------
    tokenizer : of Transformers
    texts : list of N str, or of (str, str)
    max_length : tokens a text may have; longer ones are cut, with an AttnlabWarning that says how
        many

    Raises
    ------
    DataError : a text that is empty or no string, or some pairs among single texts
    """
    _check(texts)
    fill = fill_values(tokenizer)
    cut, lengths = 0, [0]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in fill}
    for start in range(0, len(texts), _TEXTS_AT_A_TIME):
        rows, longer = _tokenised(tokenizer, texts[start : start + _TEXTS_AT_A_TIME], max_length)
        cut += longer
        lengths += [len(ids) for ids in rows["input_ids"]]
        for name, column in parts.items():
            small = np.int8 if name == "token_type_ids" else np.int32
            column.append(np.fromiter(itertools.chain.from_iterable(rows[name]), small))
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} texts are longer than {max_length} tokens and were cut.",
            AttnlabWarning,
            stacklevel=4,
        )
    empty = np.empty(0, np.int32)
    columns = {name: np.concatenate(column or [empty]) for name, column in parts.items()}
    return Encoded(columns, np.cumsum(lengths), fill)


def fill_values(tokenizer: Any) -> dict[str, int]:
    """Return the columns that a tokenizer gives besides the mask, and what pads each."""
    fill = {
        "input_ids": tokenizer.pad_token_id,
        "token_type_ids": tokenizer.pad_token_type_id,
    }
    return {name: value for name, value in fill.items() if name in tokenizer.model_input_names}


def special_ids(tokenizer: Any) -> list[int]:
    """Return the ids of tokens that stand around a text: [CLS], [SEP], padding and their like.

    The tokens for an unknown word and for a mask stand for something in the text, and are not among
    them; nor are special tokens that somebody added to write them into texts.
    """
    around = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    edges = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    words = {tokenizer.unk_token_id, tokenizer.mask_token_id}
    return sorted((around | edges - words) - {None})


def shown(tokenizer: Any, text: Text, ids: list[int], max_length: int) -> list[str]:
    """Return the tokens of a text, or a pair, as people read them.

    Where tokens are made of bytes ("schÃ¶n"), the characters that each stands for are shown,
    without the blank before them; a character that several tokens share stands at each of them.

    Parameters
    ----------
    text, ids : the text, and the ids it was cut into
    max_length : where it was cut off
    """
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if not _of_bytes(tokenizer):
        return tokens
    parts = text if isinstance(text, tuple) else (text,)
    cut = tokenizer(*parts, truncation=True, max_length=max_length, return_offsets_mapping=True)
    places = zip(tokens, cut["offset_mapping"], cut.sequence_ids(0), strict=True)
    return [
        token if part is None else parts[part][start:end].strip() or "␣"
        for token, (start, end), part in places
    ]


def characters(tokenizer: Any, token_id: int) -> str:
    """Return what a token stands for, without marks of blanks and of word parts."""
    token = tokenizer.convert_ids_to_tokens(token_id)
    if _of_bytes(tokenizer):
        return tokenizer.convert_tokens_to_string([token]).strip()
    token = token.lstrip("▁")
    return token.removeprefix("##") or token


def _of_bytes(tokenizer: Any) -> bool:
    """Whether a tokenizer's tokens are written with a sign for each byte, as RoBERTa's are."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return decoder is not None and b"ByteLevel" in decoder.__getstate__()


def _check(texts: Sequence[Text]) -> None:
    """Raise DataError for what is no list of texts, or of pairs."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise DataError(
            f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single one."
        )
    for index, text in enumerate(texts):
        parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
        if any(not isinstance(part, str) for part in parts):
            raise DataError(
                f"Text {index} is a {type(text).__name__}; expected a str, or a pair (str, str)."
            )
        if any(not part.strip() for part in parts if isinstance(part, str)):
            raise DataError(f"Text {index} is empty. Leave it out, or give it some words.")
    if len({isinstance(text, tuple) for text in texts}) > 1:
        raise DataError("Some texts are pairs and some are not. Give one kind at a time.")


def _tokenised(
    tokenizer: Any, texts: Sequence[Text], max_length: int
) -> tuple[dict[str, list[list[int]]], int]:
    """Token ids and the like of a few texts, and how many of them had to be cut."""
    pairs = isinstance(texts[0], tuple)
    columns = [list(side) for side in zip(*texts, strict=True)] if pairs else [list(texts)]
    rows = tokenizer(*columns, truncation=False, padding=False, verbose=False)
    cut = sum(len(ids) > max_length for ids in rows["input_ids"])
    if cut:
        rows = tokenizer(*columns, truncation=True, max_length=max_length, padding=False)
    return rows, cut
