"""Write on: one token a step, for several prompts side by side or as a stream.

Prompts of different length are padded on the left, so that all end in the same column. Keys and
values of what was read are cached: a step costs one token and not the whole text again. A text that
has met a stop id leaves the batch. Dropout is off meanwhile.
"""

import contextlib
import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnlab.attention import shapes
from attnlab.device import as_number_format, autocast
from attnlab.errors import AttnlabError, DataError, SettingsError, option
from attnlab.heads.control import in_force
from attnlab.heads.settings import HeadSettings
from attnlab.inference import check_finite, evaluating
from attnlab.language.model import LanguageModel
from attnlab.language.sampling import adjust, check_sampling, draw
from attnlab.language.stepping import can_step, one_more

__all__ = ["generate", "stream"]


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop: Collection[int] = (),
    seed: int = 0,
    cache: bool = True,
    context: int | None = None,
    settings: HeadSettings | None = None,
    dtype: torch.dtype | str | None = None,
) -> list[list[int]]:
    """Write on after each of several prompts.

    Parameters
    ----------
    model : LanguageModel
    prompts : B lists of ids, each of its own length, none empty
    max_new_tokens : most tokens to write after each
    temperature, top_k, top_p, min_p : see `adjust`; temperature 0 is greedy
    stop : ids that end a text; they are not part of it
    seed : the same seed draws the same. What a prompt draws depends on the seed and on its place in
        the list, neither on the other prompts nor on when they end.
    cache : keep keys and values; without, everything is computed again at every step: the same
        tokens, only slower
    context : at each step read the last so many tokens only, with positions that begin there.
        With learned positions that is how a text outgrows the model's max_length. Once it is
        longer, every step computes its whole context again, cached or not.
    settings : scale and temperature of heads for this call only, one for all or one per prompt;
        None takes those of an `applied` block around the call, if any
    dtype : number format of what is computed; by default that of the weights. In bfloat16 or
        float16 rounding turns the text away from that of float32 sooner or later.

    Returns
    -------
    B lists of ids, those that were written, without the prompt

    Raises
    ------
    DataError : prompts that are no lists of ids of the vocabulary, or empty; stop ids likewise
    SettingsError : settings of another size
    AttnlabError : an option outside its range; more tokens than the model has positions for

    Notes
    -----
    A cropped context is not a cache that forgets. In a cache each kept key was computed while
    earlier tokens were still in view, so something of them lives on in it; a crop computes all keys
    anew without them. Texts of both differ, and neither is wrong.
    """
    options = _Options(
        max_new_tokens,
        (temperature, top_k, top_p, min_p),
        stop,
        seed,
        cache,
        context,
        settings,
        dtype,
    )
    steps = _steps(model, prompts, options)
    written: list[list[int]] = [[] for _ in prompts]
    for rows, tokens in steps:
        for row, token in zip(rows, tokens, strict=True):
            written[row].append(token)
    return written


def stream(
    model: LanguageModel,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop: Collection[int] = (),
    seed: int = 0,
    cache: bool = True,
    context: int | None = None,
    settings: HeadSettings | None = None,
    dtype: torch.dtype | str | None = None,
) -> Iterator[int]:
    """Write on after one prompt; yield each id as soon as it is drawn.

    Parameters and errors as for `generate`, which writes the same ids; errors come with the call,
    not with the first id. Between two ids the model is as it was: whoever reads the stream may stop
    at any time.
    """
    options = _Options(
        max_new_tokens,
        (temperature, top_k, top_p, min_p),
        stop,
        seed,
        cache,
        context,
        settings,
        dtype,
    )
    steps = _steps(model, [prompt], options)
    return (token for _, tokens in steps for token in tokens)


@dataclass(frozen=True)
class _Options:
    """The options of `generate`; ``sampling`` are temperature, top_k, top_p and min_p."""

    max_new_tokens: int
    sampling: tuple[float, int | None, float | None, float | None]
    stop: Collection[int]
    seed: int
    cache: bool
    context: int | None
    settings: HeadSettings | None
    dtype: torch.dtype | str | None

    def __post_init__(self) -> None:
        check_sampling(*self.sampling)
        shapes.check_count("max_new_tokens", self.max_new_tokens, 1)
        shapes.check_count("seed", self.seed, 0)
        if self.context is not None:
            shapes.check_count("context", self.context, 1)

    def uniform(self, rows: int) -> Tensor:
        """Random numbers (rows, max_new_tokens); the first of a row do not depend on how many."""
        sources = [np.random.default_rng((self.seed, row)) for row in range(rows)]
        return torch.tensor(np.array([source.random(self.max_new_tokens) for source in sources]))


def _steps(
    model: LanguageModel, prompts: Sequence[Sequence[int]], options: _Options
) -> Iterator[tuple[list[int], list[int]]]:
    """Check all that was given, and return the steps: rows that go on, and their next tokens."""
    checked = _checked_prompts(model, prompts)
    stop = _checked_stop(model, options.stop)
    _check_room(model, checked, options)
    return _written(_Texts(model, checked, options), stop, options) if checked else iter(())


def _written(
    texts: "_Texts", stop: Tensor, options: _Options
) -> Iterator[tuple[list[int], list[int]]]:
    """One token for each row, until every row has ended."""
    uniform = options.uniform(len(texts.ids))
    rows = torch.arange(len(texts.ids))
    for step in range(options.max_new_tokens):
        logits = texts.next_logits().cpu().double()  # not every device has double precision
        tokens = draw(adjust(logits, *options.sampling), uniform[rows, step])
        on = ~torch.isin(tokens, stop)
        rows, tokens = rows[on], tokens[on]
        yield rows.tolist(), tokens.tolist()
        if not len(rows):
            return
        texts.go_on(on, tokens)


class _Texts:
    """Texts that go on, R of them, and what the model has read of them.

    Attributes
    ----------
    ids : Tensor of int64, shape (R, T), padding on the left
    mask : Tensor of bool, shape (R, T), False at padding
    cache : of all columns but the last ``unread``; None: all are read at every step
    """

    def __init__(self, model: LanguageModel, prompts: list[list[int]], options: _Options):
        self.model, self.context = model, options.context
        self.modules = list(model.modules())  # to walk through them at every step takes its time
        device = model.embedding.weight.device
        longest = max(map(len, prompts))
        self.ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts]).to(device)
        lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        self.mask = torch.arange(longest, device=device) >= longest - lengths[:, None]
        self.settings = _checked_settings(model, options.settings, len(prompts))
        self.dtype = None if options.dtype is None else as_number_format(options.dtype, device.type)
        self.cache = model.cache(len(prompts), self.dtype) if options.cache else None
        self.unread = longest
        self.can_step = self.settings is None and self.dtype is None and can_step(model)

    @torch.inference_mode()  # a third faster than no_grad: a step is many small operations
    def next_logits(self) -> Tensor:
        """Logits (R, V) of the next token."""
        columns = self.ids.shape[1]
        if self.context is not None and columns > self.context:
            self.cache = None  # its keys know tokens that are out of view
            columns = self.context
        unread = columns if self.cache is None else self.unread
        with self._evaluating(), self._computing():
            logits = self._read(self.ids[:, -unread:], self.mask[:, -unread:])
        self.unread = 0
        return check_finite(self.model, logits.float())

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (R, V) after these tokens, which the cache, if there is one, then knows."""
        cache, one = self.cache, ids.shape[1] == 1 and self.can_step and not self._hooked()
        if cache is not None and one and cache.of_one_length:
            return one_more(self.model, ids[:, 0], cache)
        no_padding = None if bool(mask.all()) else mask
        return self.model(ids, no_padding, cache=self.cache, settings=self.settings)[:, -1]

    def go_on(self, rows: Tensor, tokens: Tensor) -> None:
        """Keep those rows, (R,) of bool, each with one more token."""
        rows, tokens = rows.to(self.ids.device), tokens.to(self.ids.device)
        if not rows.all():
            self.ids, self.mask = self.ids[rows], self.mask[rows]
            self.cache = None if self.cache is None else self.cache.select(rows)
            if self.settings is not None and self.settings.scale.dim() == 3:
                scale, temperature = self.settings.scale, self.settings.temperature
                self.settings = HeadSettings.of(scale[rows], temperature[rows])
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)
        self.unread += 1

    def _hooked(self) -> bool:
        """Whether somebody listens to a part of the model, which then has to be called."""
        return any(part._forward_hooks or part._forward_pre_hooks for part in self.modules)

    def _evaluating(self) -> contextlib.AbstractContextManager:
        """Dropout is off in the block."""
        training = any(module.training for module in self.modules)
        return evaluating(self.model) if training else contextlib.nullcontext()

    def _computing(self) -> contextlib.AbstractContextManager:
        """The number format that was asked for; by default that of the weights."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return autocast(self.ids.device, self.dtype)


def _checked_prompts(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The prompts as lists of int; DataError, with the cure, unless they are ids of this model."""
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise DataError(
            f"prompts is a {type(prompts).__name__}; expected a list of lists of ids. One text: "
            "[tokens.encode(text)]. A tensor: ids.tolist()."
        )
    checked = []
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str) or not isinstance(prompt, Sequence):
            raise DataError(
                f"Prompt {number} is a {type(prompt).__name__}; expected a list of ids. A text: "
                "tokens.encode(text). A single prompt: in a list of its own, [ids]."
            )
        if not prompt:
            raise DataError(
                f"Prompt {number} is empty, and there is nothing to go on from. Begin with a "
                "token, such as tokens.start, the mark of a beginning."
            )
        checked.append(_ids(model, f"Prompt {number}", prompt))
    return checked


def _checked_stop(model: LanguageModel, stop: Collection[int]) -> Tensor:
    """The stop ids, (any number,); DataError unless they are ids of this model."""
    if isinstance(stop, str) or not isinstance(stop, Collection):
        raise DataError(
            f"stop is {stop!r}; expected a list of ids that end a text, such as [tokens.start]."
        )
    return torch.tensor(_ids(model, "stop", stop), dtype=torch.long)


def _ids(model: LanguageModel, what: str, given: Collection[int]) -> list[int]:
    """As a list of int; DataError unless all are ids of this model."""
    try:
        ids = [operator.index(token) for token in given]
    except TypeError:
        raise DataError(
            f"{what} holds something that is no id. Ids are whole numbers, as tokens.encode(text) "
            "returns them."
        ) from None
    vocabulary = model.size["vocabulary"]
    wrong = [token for token in ids if not 0 <= token < vocabulary]
    if wrong:
        raise DataError(
            f"{what} holds id {wrong[0]}; this model knows ids 0 to {vocabulary - 1}. Take the "
            "tokens that the model was trained with."
        )
    return ids


def _checked_settings(
    model: LanguageModel, settings: HeadSettings | None, prompts: int
) -> HeadSettings | None:
    """A copy of the settings that hold; SettingsError unless they fit model and prompts."""
    settings = in_force(model) if settings is None else settings
    if settings is None:
        return None
    if not isinstance(settings, HeadSettings):
        raise SettingsError(
            f"Expected HeadSettings, got {type(settings).__name__}. Start from "
            "model.neutral_settings()."
        )
    return settings.copy().validate(model.layers, model.heads, prompts)


def _check_room(model: LanguageModel, prompts: list[list[int]], options: _Options) -> None:
    """AttnlabError if more tokens are to be read than there are learned positions."""
    if model.size["positions"] != "learned" or not prompts:
        return
    most, longest = model.size["max_length"], max(map(len, prompts))
    reads = longest + options.max_new_tokens - 1  # nobody reads the last one
    if options.context is not None and options.context > most:
        raise AttnlabError(
            f"context is {options.context}; this model has {most} learned positions. Set "
            f"{option('context', most)} or less."
        )
    if options.context is None and reads > most:
        cure = f"Set {option('context', most)}, so that only the last {most} tokens are read"
        if longest <= most:
            cure += f", or write at most {most - longest + 1}"
        raise AttnlabError(
            f"The longest prompt has {longest} tokens, and {options.max_new_tokens} are to be "
            f"written; this model has {most} learned positions. {cure}."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
