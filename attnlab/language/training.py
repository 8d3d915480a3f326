"""Train a language model from nothing on tales, or go on with one."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.datasets.own_tales import load_tales
from attnlab.datasets.splits import Splits
from attnlab.datasets.tales import Tales
from attnlab.device import as_number_format, is_main_process
from attnlab.device import device as default_device
from attnlab.device import profile as device_profile
from attnlab.errors import DataError, suggest
from attnlab.language.measuring import measure_bits
from attnlab.language.model import LanguageModel
from attnlab.language.storing import FILE
from attnlab.language.vocabulary import BytePairs, Characters, Tokens
from attnlab.language.writer import Writer, marked
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import begin_run, end_run
from attnlab.training.history import History
from attnlab.training.run import Run
from attnlab.training.stepping import hashed, train_steps

__all__ = ["RECIPES", "Samples", "fit", "recipe", "train_language_model", "untrained"]

# What is trained in the profiles "ci" and "cpu" of `al.device.profile`, and in a longer run.
RECIPES: dict[str, dict[str, Any]] = {
    "ci": {
        "vocabulary": 512,
        "d_model": 64,
        "layers": 2,
        "dropout": 0.0,
        "learning_rate": 5e-3,
        "weight_decay": 0.1,
        "steps": 1500,
    },
    "cpu": {
        "vocabulary": 1024,
        "d_model": 96,
        "layers": 4,
        "dropout": 0.1,
        "learning_rate": 5e-3,
        "weight_decay": 0.1,
        "steps": 2000,
    },
    "longer": {
        "vocabulary": 1024,
        "d_model": 128,
        "layers": 4,
        "dropout": 0.2,
        "learning_rate": 4e-3,
        "weight_decay": 0.1,
        "batch_size": 16,
        "steps": 2000,
    },
}
_KINDS = ("pieces", "characters")
_SAMPLE_TOKENS = 60
_BFLOAT16_PAYS = 128  # d_model from which products in bfloat16 are faster on a processor


def train_language_model(
    tales: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    tokens: Any = "pieces",
    vocabulary: int = 1024,
    d_model: int = 96,
    heads: int = 4,
    layers: int = 4,
    kv_heads: int | None = None,
    positions: str = "rope",
    window: int | None = None,
    dropout: float = 0.15,
    model: dict[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Writer:
    """Train a language model from nothing on tales; return it as it was when best on dev.

    Parameters
    ----------
    tales : `datasets.Tales`, or what `datasets.load_tales` takes, such as a list of texts, of which
        it holds some out
    out : folder for the result and, while training, a checkpoint
    tokens : "pieces", byte pairs learned from the training tales alone, or "characters", both with
        a mark of where a tale starts; or tokens that there are already
    vocabulary : how many byte pairs at most
    d_model, heads, layers, kv_heads, positions, window, dropout : of the `LanguageModel`
    model : other keywords of it, such as norm, feed_forward, sinks
    seed : of the weights and of everything that is drawn
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    **options : of `fit`: block_length, batch_size, steps, learning_rate, sample_every, ...

    Returns
    -------
    Writer with ``.history``

    Raises
    ------
    DataError : tales without a training or a dev part, or shorter than one block
    ModelError : a size that cannot be; a folder with a finished result; tokens of another model

    Examples
    --------
    >>> grimm = al.datasets.load_tales("grimm")  # doctest: +SKIP
    >>> writer = al.train_language_model(grimm, steps=2000)  # doctest: +SKIP
    >>> writer.write("Once upon a time")  # doctest: +SKIP
    """
    tales = _tales(tales)
    folder = begin_run(out, FILE, "al.load_language_model", resume, overwrite)
    block_length = options.get("block_length", 64)
    writer = untrained(
        tales,
        tokens=tokens,
        vocabulary=vocabulary,
        seed=seed,
        d_model=d_model,
        heads=heads,
        layers=layers,
        kv_heads=kv_heads,
        positions=positions,
        window=window,
        dropout=dropout,
        **({"max_length": block_length} if positions == "learned" else {}) | (model or {}),
    )
    fit(writer, tales, seed=seed, folder=folder, resume=resume, **options)
    if folder is not None and is_main_process():
        writer.save(folder)
        end_run(folder)
    return writer


def recipe(name: str | None = None) -> dict[str, Any]:
    """Return keywords for `train_language_model`.

    Parameters
    ----------
    name : "ci" (half a minute), "cpu" (a few minutes) or "longer"; None for what goes with
        `al.device.profile`

    Examples
    --------
    >>> recipe("ci")["vocabulary"]
    512
    """
    name = device_profile().name if name is None else name
    name = "longer" if name == "gpu" else name
    if name not in RECIPES:
        raise DataError(f"There is no recipe {name!r}. {suggest(name, RECIPES)}")
    return dict(RECIPES[name])


def untrained(
    tales: Any, *, tokens: Any = "pieces", vocabulary: int = 1024, seed: int = 0, **model: Any
) -> Writer:
    """Make a writer that knows its tokens and nothing else, for `fit`.

    Parameters
    ----------
    tales, tokens, vocabulary : as for `train_language_model`
    seed : of the weights
    **model : keywords of `LanguageModel`
    """
    tales = _tales(tales)
    if tokens == "pieces":
        tokens = BytePairs.train(tales.train, vocabulary, start=True)
    elif tokens == "characters":
        tokens = Characters.train(tales.train, start=True)
    elif isinstance(tokens, str) or not hasattr(tokens, "encode"):
        raise DataError(f"tokens is {tokens!r:.60}. {suggest(tokens, _KINDS)}")
    torch.manual_seed(seed)
    network = LanguageModel(len(tokens), **model).to(default_device())
    return Writer(network, tokens, tales.name)


def fit(
    writer: Writer,
    tales: Any,
    *,
    block_length: int = 64,
    batch_size: int = 8,
    steps: int = 2000,
    learning_rate: float = 3e-3,
    measure_every: int = 200,
    sample_every: int | None = None,
    prompt: str = "Once upon a time",
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> History:
    """Train a writer in place, new or trained before; leave it as it was when best on dev.

    Every step reads ``batch_size`` windows of ``block_length`` tokens, drawn at random from the
    training tales, which stand one behind the other; no window reaches into dev or test. The loss
    is the mean over all tokens, each predicted from those before it in its window.

    Parameters
    ----------
    writer : Writer
    tales : as for `train_language_model`
    block_length : tokens that are read at once
    batch_size : windows to a step
    steps : how many are taken
    learning_rate : at its highest; it rises over the first 6 % of the steps and falls to 0 linearly
    measure_every : steps after which dev is measured: an epoch of ``history.rows``
    sample_every : steps after which the writer goes on with ``prompt``, for ``history.samples``;
        None for never
    prompt : with which samples begin
    dtype : number format of what is computed; default that of `device.number_format`, on a CPU from
        a width of 128 on, below which float32 is as fast
    folder : where a checkpoint is kept while it is trained, and stays
    resume : go on from the checkpoint in ``folder``; the result has the same bits
    callbacks : of `training.Callback`, with the writer as ``run.learner``
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm,
        micro_batches, patience

    Returns
    -------
    History, whose rows have ``train_loss`` and ``dev_loss`` in nats a token and
    ``dev_bits_per_character``, by which the best is chosen
    """
    tales = _tales(tales)
    if block_length < 2:
        raise DataError(f"block_length is {block_length}; a window needs at least 2 tokens.")
    stream = _stream(writer.tokens, tales.train, block_length)
    if measure_every < 1:
        raise DataError(f"measure_every is {measure_every}; it counts steps, so 1 or more.")
    if sample_every is not None:
        callbacks = [*callbacks, Samples(sample_every, prompt)]
    inside = torch.arange(block_length + 1)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        # the loop seeds torch from the seed and the step: a run that goes on draws the same
        starts = torch.randint(len(stream) - block_length, (len(indices), 1))
        windows = stream[starts + inside]
        return {"ids": windows[:, :-1], "targets": windows[:, 1:]}

    def loss(model: LanguageModel, ids: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())

    writer.block_length = block_length
    writer.history = train_steps(
        writer.model,
        loss,
        batch_size * measure_every,
        batch,
        _measuring(writer, tales.dev, block_length),
        tokens=block_length,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dtype=_format(writer, dtype),
        seed=seed,
        choose_by="dev_bits_per_character",
        folder=folder,
        resume=resume,
        identity={
            "size": writer.model.size,
            "training_tales": hashed(stream.numpy()),
            "dev_tales": hashed(_stream(writer.tokens, tales.dev).numpy()),
            "sample_every": sample_every,
        },
        callbacks=callbacks,
        learner=writer,
        **recipe,
    )
    return writer.history


class Samples(Callback):
    """Lets a writer go on with a prompt now and then, and notes in the history what it wrote.

    Parameters
    ----------
    every : steps between two samples; the first is from before training, the last from its end
    prompt : with which they begin
    """

    def __init__(self, every: int, prompt: str):
        if every < 1:
            raise DataError(f"sample_every is {every}; it counts steps, so 1 or more, or None.")
        self.every, self.prompt = every, prompt

    def on_start(self, run: Run) -> None:
        """Write before anything was learned, unless a run goes on."""
        if not run.step:
            writer: Any = run.learner
            writer.encode(self.prompt)  # a prompt that cannot be read is told at once
            self._note(run)

    def on_step(self, run: Run) -> None:
        """Write if it is time."""
        if run.step % self.every == 0 or run.step == run.steps:
            self._note(run)

    def _note(self, run: Run) -> None:
        writer: Any = run.learner
        text = writer.write(self.prompt, max_new_tokens=_SAMPLE_TOKENS, seed=run.recipe.seed)
        run.history.samples.append({"step": run.step, "text": text})


def _measuring(
    writer: Writer, dev: Sequence[str], block_length: int
) -> Callable[[], dict[str, float]]:
    """What is measured on dev every so many steps."""

    def measure() -> dict[str, float]:
        found = measure_bits(writer.model, writer.tokens, dev, block_length)
        bits = float(found["bits"].sum())
        return {
            "dev_bits_per_character": bits / float(found["characters"].sum()),
            "dev_loss": bits * math.log(2) / float(found["tokens"].sum()),
        }

    return measure


def _stream(tokens: Tokens, texts: Sequence[str], block_length: int = 0) -> Tensor:
    """All tales one behind the other as ids, each behind its mark; DataError if too short."""
    stream = torch.tensor([id for text in texts for id in marked(tokens, text)], dtype=torch.long)
    if len(stream) <= block_length:
        raise DataError(
            f"The training tales have {len(stream):,} tokens, and a window needs "
            f"{block_length + 1}. Give more text, or a smaller block_length."
        )
    return stream


def _format(writer: Writer, dtype: torch.dtype | str | None) -> torch.dtype:
    """The number format of a run: chosen by what the hardware can do, and by the width."""
    kind = writer.device.type
    narrow = writer.model.size["d_model"] < _BFLOAT16_PAYS
    if dtype is None and kind == "cpu" and narrow:
        return torch.float32
    return as_number_format(dtype, kind)


def _tales(tales: Any) -> Tales:
    """Tales with a training and a dev part, from those or from what `load_tales` takes."""
    if isinstance(tales, Splits) and not isinstance(tales, Tales):
        raise DataError(
            f"{tales!r:.80} holds no tales. Use al.datasets.load_tales('grimm'), or a list of "
            "texts of your own."
        )
    tales = tales if isinstance(tales, Tales) else load_tales(tales)
    for part in ("train", "dev"):
        if not getattr(tales, part):
            raise DataError(
                f"{tales!r} has nothing for {part}. Give al.datasets.load_tales('grimm'), or at "
                "least three texts of your own."
            )
    return tales


def __dir__() -> list[str]:
    return sorted(__all__)
