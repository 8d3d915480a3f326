"""A language model with its tokens: it writes, says what comes next, and shows where it looks."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from attnlab.errors import DataError, ModelError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.inference import check_finite, evaluating
from attnlab.language import generating, storing
from attnlab.language.maps import attention_maps
from attnlab.language.measuring import bits_per_character, log_probabilities_of, token_bits
from attnlab.language.model import LanguageModel
from attnlab.language.vocabulary import Tokens
from attnlab.training.history import History

__all__ = ["Writer", "marked"]

_HALF = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that are no whole character yet


class Writer:
    """A language model and the tokens it was trained with.

    Attributes
    ----------
    model : LanguageModel
    tokens : `BytePairs` or `Characters`
    name : of the tales it was trained on
    block_length : tokens that it read at once while it was trained
    history : History of its training, or None

    Raises
    ------
    ModelError : more or fewer tokens than the model has embeddings

    Example
    -------
    >>> writer = al.load_language_model("grimm")  # doctest: +SKIP
    >>> writer.write("There was once a king", max_new_tokens=40)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LanguageModel,
        tokens: Tokens,
        name: str = "",
        block_length: int = 64,
        history: History | None = None,
    ):
        rows = model.size["vocabulary"]
        if len(tokens) != rows:
            raise ModelError(
                f"There are {len(tokens):,} tokens, and the model has {rows:,} rows of "
                "embeddings: they do not belong together. Give the tokens that the model was "
                "trained with."
            )
        self.model, self.tokens, self.name = model.eval(), tokens, name
        self.block_length, self.history = block_length, history

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return self.model.size["layers"]

    @property
    def heads(self) -> int:
        """Number of heads H in a layer."""
        return self.model.size["heads"]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def with_model(self, model: LanguageModel) -> "Writer":
        """Return the same tokens around another model, such as one with fewer heads."""
        return Writer(model, self.tokens, self.name, self.block_length, self.history)

    def settings(self) -> HeadSettings:
        """Neutral settings of every head."""
        return HeadSettings(self.layers, self.heads)

    def encode(self, text: str) -> Tensor:
        """Ids of a text as the model reads it, shape (1, T), behind the mark of a start if any.

        Raises DataError for what is no text, or leaves nothing to read.
        """
        if not isinstance(text, str):
            raise DataError(f"The text is a {type(text).__name__}; expected a str.")
        ids = marked(self.tokens, text)
        if not ids:
            raise DataError("The text is empty. Give at least one character to go on from.")
        return torch.tensor([ids], device=self.device)

    def write(self, prompt: str, max_new_tokens: int = 100, **options: Any) -> str:
        """Go on with a text; return it with what was added.

        Parameters
        ----------
        prompt : str
        max_new_tokens : how many tokens are added, at most: the mark of a start, where the tokens
            have one, ends a tale
        **options : of `language.generate`: temperature, top_k, top_p, min_p, seed, settings, ...;
            ``context`` is ``block_length`` unless given, as dense attention reads texts that are
            longer than those it learned from less and less well
        """
        return prompt + "".join(self.stream(prompt, max_new_tokens, **options))

    def stream(self, prompt: str, max_new_tokens: int = 100, **options: Any) -> Iterator[str]:
        """As `write`, but yield what is added piece by piece, while it is written."""
        ids = self.encode(prompt)[0].tolist()
        stop = () if self.tokens.start is None else (self.tokens.start,)
        usual: dict[str, Any] = {"context": self.block_length, "stop": stop}
        return self._decoded(generating.stream(self.model, ids, max_new_tokens, **usual | options))

    def _decoded(self, ids: Iterator[int]) -> Iterator[str]:
        """The text of ids, each as soon as it is sure: a character may take several of them."""
        read: list[int] = []
        told = 0
        for token in ids:
            read.append(token)
            text = self.tokens.decode(read)
            if not text.endswith(_HALF):
                yield text[told:]
                told = len(text)
        if rest := self.tokens.decode(read)[told:]:
            yield rest

    @torch.no_grad()
    def probabilities(self, prompt: str, settings: HeadSettings | None = None) -> Tensor:
        """Probability of each token to come next after a text, shape (V,), float32, on the CPU.

        Parameters
        ----------
        prompt : str
        settings : of heads; None takes those of an `al.heads.applied` block around the call
        """
        ids = self.encode(prompt)
        with evaluating(self.model):
            logits = self.model(ids, settings=settings)[0, -1].float()
        return check_finite(self.model, logits, "logits").softmax(-1).cpu()

    def bits_per_character(
        self, texts: Sequence[str], settings: HeadSettings | None = None
    ) -> float:
        """Bits per character that texts cost the model, read in windows with half overlap.

        Parameters
        ----------
        texts : list of str
        settings : as for `probabilities`

        Raises
        ------
        DataError : no texts, or one without tokens

        See Also
        --------
        language.bits_per_character : which tokens count, and how windows lie
        """
        source = log_probabilities_of(self.model, settings=settings)
        return bits_per_character(source, self.tokens, texts, self.block_length)

    def token_losses(self, text: str, settings: HeadSettings | None = None) -> pd.DataFrame:
        """What each token of a text costs: a row per token, ``token`` and ``bits``.

        Where tokens have no mark of a start, the first one has nothing to be predicted from: NaN.
        """
        self.encode(text)  # what is no text is refused
        source = log_probabilities_of(self.model, settings=settings)
        bits = token_bits(source, self.tokens, [text], self.block_length)[0].tolist()
        ids = self.tokens.encode(text)
        unknown = [math.nan] * (len(ids) - len(bits))
        return pd.DataFrame({"token": self.tokens.pieces(ids), "bits": [*unknown, *bits]})

    def attend(self, text: str, settings: HeadSettings | None = None) -> AttentionMaps:
        """Attention of every layer and head over a text; no token looks at a later one.

        Parameters
        ----------
        text : str
        settings : of heads; with some that are not neutral the maps carry the neutral ones of the
            same text. None takes those of an `al.heads.applied` block around the call.
        """
        return attention_maps(self, self.encode(text), settings)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything to a folder that `al.load_language_model` reads; return the file."""
        return storing.save(self, folder)

    def __repr__(self) -> str:
        count = sum(weight.numel() for weight in self.model.parameters())
        return (
            f"Writer({self.name!r}, {self.layers} layers x {self.heads} heads, "
            f"{len(self.tokens):,} tokens, {count / 1e6:.1f} M parameters)"
        )


def marked(tokens: Tokens, text: str) -> list[int]:
    """Ids of a text, behind the mark of its start where the tokens have one."""
    ids = tokens.encode(text)
    return ids if tokens.start is None else [tokens.start, *ids]


def __dir__() -> list[str]:
    return sorted(__all__)
