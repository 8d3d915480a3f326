"""How well a language model predicts texts: bits per character, whatever its tokens are."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.errors import DataError
from attnlab.inference import check_finite, evaluating
from attnlab.language.vocabulary import Tokens

Source = Callable[[Tensor], Tensor | np.ndarray]
"""From ids (B, T) to natural logarithms (B, T - 1): of each token but the first, given those before
it in its row."""


def bits_per_character(
    source: Source | nn.Module,
    tokens: Tokens,
    texts: Sequence[str],
    window: int = 64,
    stride: int | None = None,
    *,
    batch_size: int = 64,
) -> float:
    """How many bits a model needs for a character of these texts; lower is better.

    Parameters
    ----------
    source : a model whose call gives logits (B, T, V) for ids (B, T), a `KneserNey`, or any
        callable that gives log-probabilities (B, T - 1) for ids (B, T)
    tokens : of the model
    texts : list of str, held out from training
    window : how many tokens the model sees before it predicts the next one, at most
    stride : how far a window lies behind the one before; by default half a window, so that a token
        (but at the beginning of a text) is predicted from at least half a window
    batch_size : windows that are computed at once

    Returns
    -------
    float : -log2 of the probability of all tokens, over the number of characters they write

    Raises
    ------
    DataError : no texts, a text of a single token, a window or stride that does not fit, a source
        that returns another shape or no log-probabilities

    Notes
    -----
    Characters are counted in the text, so that models with other tokens can be compared. Each token
    is counted once. The first one of a text has nothing before it: it is predicted from the start
    mark if the tokens have one; else neither its bits nor its characters count. Where tokens do not
    know a character, which of all others it is costs ``tokens.unknown_bits`` more.

    Examples
    --------
    A model to which the four tokens are equally likely needs two bits for each.

    >>> from attnlab.language.vocabulary import Characters
    >>> tokens = Characters.train(["abc"])
    >>> def equal(ids):
    ...     return np.full((len(ids), ids.shape[1] - 1), math.log(1 / 4))
    >>> bits_per_character(equal, tokens, ["abcabcabc"], window=4)
    2.0
    """
    found = measure_bits(source, tokens, texts, window, stride, batch_size=batch_size)
    return float(found["bits"].sum() / found["characters"].sum())


def measure_bits(
    source: Source | nn.Module,
    tokens: Tokens,
    texts: Sequence[str],
    window: int = 64,
    stride: int | None = None,
    *,
    batch_size: int = 64,
) -> pd.DataFrame:
    """What `bits_per_character` adds up, for each text.

    Parameters
    ----------
    source, tokens, texts, window, stride, batch_size : as for `bits_per_character`

    Returns
    -------
    DataFrame with a row for each text: ``characters`` and ``tokens`` that count, ``unknown`` (how
    many of the tokens stand for a character that is not in the vocabulary) and ``bits``

    Raises
    ------
    DataError : as `bits_per_character`
    """
    found = token_bits(source, tokens, texts, window, stride, batch_size=batch_size)
    rows = []
    for text, own in zip(texts, found, strict=True):
        ids = tokens.encode(text)
        first = ids[: len(ids) - len(own)]  # does not count
        unknown = 0 if tokens.unknown is None else ids[len(first) :].count(tokens.unknown)
        characters = len(text) - len(tokens.decode(first))
        rows.append((characters, len(own), unknown, float(own.sum())))
    return pd.DataFrame(rows, columns=["characters", "tokens", "unknown", "bits"])


def token_bits(
    source: Source | nn.Module,
    tokens: Tokens,
    texts: Sequence[str],
    window: int = 64,
    stride: int | None = None,
    *,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """Bits of every token that counts, an array for each text: float (tokens,).

    All tokens of a text count, but without a start mark the first.

    Parameters
    ----------
    source, tokens, texts, window, stride, batch_size : as for `bits_per_character`

    Raises
    ------
    DataError : as `bits_per_character`
    """
    stride = _checked_stride(window, stride)
    if isinstance(texts, str):
        raise DataError("texts is one text. Give a list of texts.")
    if not len(texts):
        raise DataError("There are no texts to measure on. Give at least one.")
    marks = [] if tokens.start is None else [tokens.start]
    encoded = [np.array([*marks, *tokens.encode(text)], dtype=np.int64) for text in texts]
    if short := [index for index, ids in enumerate(encoded) if len(ids) < 2]:
        raise DataError(
            f"Text {short[0]} (from 0), {texts[short[0]][:20]!r}, has {len(encoded[short[0]])} "
            "tokens. Two at least are needed: the first has nothing to be predicted from."
        )
    if isinstance(source, nn.Module):
        source = log_probabilities_of(source)
    logs = _in_windows(source, encoded, window, stride, batch_size)
    found = [-own / math.log(2) for own in logs]
    if tokens.unknown is not None:
        for bits, ids in zip(found, encoded, strict=True):
            bits += (ids[1:] == tokens.unknown) * tokens.unknown_bits
    return found


def log_probabilities_of(model: nn.Module, **options: Any) -> Source:
    """What `bits_per_character` asks, from a model whose call gives logits (B, T, V) for ids.

    Dropout is off in each call, and then as it was; ids go to where the model lies.

    Parameters
    ----------
    model : a language model
    options : what else to call it with, such as ``settings=`` of its heads

    Raises
    ------
    ModelError : with the call, for logits that are not finite
    """

    @torch.inference_mode()
    def source(ids: Tensor) -> Tensor:
        where = next(model.parameters()).device
        with evaluating(model):
            logits = check_finite(model, model(ids[:, :-1].to(where), **options).float(), "logits")
        chosen = logits.log_softmax(-1).gather(-1, ids[:, 1:, None].to(where))
        return chosen[..., 0].double().cpu()

    return source


def windows_of(length: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """How a text is cut so that each token but the first is predicted once.

    Parameters
    ----------
    length : tokens of the text
    window : tokens that are seen at most
    stride : tokens from one window to the next

    Yields
    ------
    start, end : where the window begins, and the position behind its last token: window + 1 tokens
        at most, of which all but the first are predicted
    count : how many of them, the last ones, count here

    Examples
    --------
    >>> list(windows_of(10, window=4, stride=2))
    [(0, 5, 4), (2, 7, 2), (4, 9, 2), (5, 10, 1)]
    """
    end, start = min(length, window + 1), 0
    yield 0, end, end - 1
    while end < length:
        following = min(length, end + stride)
        start = following - window - 1
        yield start, following, following - end
        end = following


def _in_windows(
    source: Source, texts: Sequence[np.ndarray], window: int, stride: int, batch_size: int
) -> list[np.ndarray]:
    """The log-probabilities of all tokens but the first of each text."""
    found = [np.zeros(len(ids) - 1) for ids in texts]
    by_length: dict[int, list[tuple[int, int, int, int]]] = {}
    for index, ids in enumerate(texts):
        for start, end, count in windows_of(len(ids), window, stride):
            by_length.setdefault(end - start, []).append((index, start, end, count))
    for places in by_length.values():
        for first in range(0, len(places), batch_size):
            rows = places[first : first + batch_size]
            read = np.stack([texts[index][start:end] for index, start, end, _ in rows])
            logs = np.asarray(source(torch.from_numpy(read)))
            _check_logs(logs, read.shape)
            for (index, _, end, count), own in zip(rows, logs, strict=True):
                found[index][end - 1 - count : end - 1] = own[len(own) - count :]
    return found


def _check_logs(logs: np.ndarray, shape: tuple[int, ...]) -> None:
    wanted = (shape[0], shape[1] - 1)
    if logs.shape != wanted:
        raise DataError(
            f"The source returned {logs.shape} for ids of {shape}; expected {wanted}: the "
            "log-probability of each token but the first."
        )
    if not (logs <= 1e-6).all():  # not a number is refused too
        raise DataError(
            f"The source returned {logs[~(logs <= 1e-6)][0]:.3g}, no logarithm of a probability. "
            "Apply log_softmax to the logits, and choose the entry of the token."
        )


def _checked_stride(window: int, stride: int | None) -> int:
    if window < 1:
        raise DataError(f"window is {window}. Give 1 or more.")
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window:
        raise DataError(
            f"stride is {stride} and window {window}. Give a stride from 1 to {window}: tokens "
            "between windows would not be counted."
        )
    return stride
