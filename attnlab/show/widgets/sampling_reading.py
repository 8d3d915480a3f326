"""A language model reads a text for the sampling desk: logits, weights, its cache and its time."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attnlab.heads.settings import HeadSettings
from attnlab.inference import evaluating

if TYPE_CHECKING:
    from attnlab.language.cache import LanguageCache
    from attnlab.language.model import LanguageModel


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model makes of a text.

    Attributes
    ----------
    ids : tokens of the text
    logits : Tensor, shape (V,), about the token that comes next
    weights : Tensor, shape (L, H, T): where the last token of the text looks, from which the next
        one is predicted; each row sums to 1, or is 0 for a head that was removed
    cached : whether the keys and values of earlier tokens were kept
    bytes : size of what is kept; 0 without a cache
    tokens_read : how many tokens the model had to read for these logits
    seconds : that it took for them
    """

    ids: tuple[int, ...]
    logits: Tensor
    weights: Tensor
    cached: bool
    bytes: int
    tokens_read: int
    seconds: float


class Reader:
    """Reads texts with a model, one after the other; the next may continue the one before.

    Parameters
    ----------
    model : LanguageModel; it stays as it is
    """

    def __init__(self, model: "LanguageModel"):
        self._model = model
        self._cache: LanguageCache | None = None
        self._kept: tuple[int, ...] = ()  # what is in the cache
        self._setting = ""  # that it was filled with

    def read(self, ids: tuple[int, ...], settings: HeadSettings, cached: bool = True) -> Reading:
        """Read a text.

        Parameters
        ----------
        ids : its tokens, at least one
        settings : (L, H), of the heads
        cached : keep keys and values, and read only what is new where the text continues the one
            before with the same settings; otherwise read all of it
        """
        model, setting = self._model, settings.to_json()
        device = model.embedding.weight.device
        new = ids
        if not cached:
            self._cache = None
        elif self._continues(ids, setting):
            new = ids[len(self._kept) :]
        else:
            self._cache, self._setting = model.cache(), setting
        cache, seen = self._cache, list[tuple[Tensor, Tensor]]()
        self._kept = ()  # until all went well
        began = time.perf_counter()
        with evaluating(model), torch.inference_mode():
            logits = model(torch.tensor([new], device=device), cache=cache, settings=settings)
            found = logits[0, -1].float().cpu()  # waits for a GPU
        seconds = time.perf_counter() - began
        with evaluating(model), torch.inference_mode():
            model(torch.tensor([ids], device=device), settings=settings, seen=seen)
        weights = torch.stack([layer[0, :, -1].float().cpu() for layer, _ in seen])
        if cache is not None:
            self._kept = ids
        size = 0 if cache is None else cache.bytes
        return Reading(ids, found, weights, cached, size, len(new), seconds)

    def _continues(self, ids: tuple[int, ...], setting: str) -> bool:
        """Whether what is kept is the beginning of this text, and read with these settings."""
        kept = len(self._kept)
        return 0 < kept < len(ids) and ids[:kept] == self._kept and setting == self._setting
