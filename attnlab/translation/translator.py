"""Translate with an encoder-decoder Transformer that was trained from nothing, and see where it looks.

A `Translator` is a `Seq2SeqTransformer` with the sub-words of both languages; `train_translator` makes one from
pairs of texts. Everything a learner may want to change, sizes included, is a keyword.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sacrebleu.metrics import CHRF
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from attnlab.attention.functions import MultiHeadAttention
from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.texts import Splits
from attnlab.device import device as default_device
from attnlab.device import number_format as fastest_format
from attnlab.errors import AttnlabWarning, DataError, ModelError, suggest
from attnlab.files import atomic_write, bundled
from attnlab.heads.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
from attnlab.heads.settings import KINDS, Seq2SeqSettings
from attnlab.statistics import mcnemar, paired_interval
from attnlab.training.loop import CHECKPOINT, History, Recipe, fingerprint, is_main_process, train
from attnlab.transformer import decoding
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer
from attnlab.transformer.subwords import Subwords

FILE = "translator.safetensors"
MARKS = (Subwords.padding, Subwords.start, Subwords.end)
_AT_ONCE = 100  # texts that are translated in one batch


class Translator:
    """A model and the sub-words it was trained with.

    Attributes
    ----------
    model : Seq2SeqTransformer
    source_words, target_words : Subwords, in which texts are cut
    name : of the data it was trained on
    usual : tokens of the longest translation it learned from, the end mark included: it writes no more, unless
        asked to
    history : History of its training, or None

    Example
    -------
    >>> dates = al.datasets.load("dates")  # doctest: +SKIP
    >>> translator = al.train_translator(dates, epochs=8)  # doctest: +SKIP
    >>> translator.translate(["de: 3. März 2021"])  # doctest: +SKIP
    ['2021-03-03']
    """

    def __init__(
        self,
        model: Seq2SeqTransformer,
        source_words: Subwords,
        target_words: Subwords,
        name: str = "",
        usual: int | None = None,
        history: History | None = None,
    ):
        self.model, self.name, self.history = model.eval(), name, history
        self.usual = usual or model.size["longest"]
        self.source_words, self.target_words = source_words, target_words

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def longest(self) -> int:
        """Tokens a text may have, the end mark included."""
        return self.model.size["longest"]

    def settings(self) -> Seq2SeqSettings:
        """Neutral settings of every head: encoder, decoder and cross-attention."""
        return self.model.neutral_settings()

    # ── answers ────────────────────────────────────────────────────────────────────────────────

    def translate(
        self,
        texts: Sequence[str],
        width: int = 1,
        settings: Seq2SeqSettings | None = None,
        longest: int | None = None,
    ) -> list[str]:
        """Translate texts.

        Parameters
        ----------
        texts : list of N str
        width : beams; 1 takes the likeliest token at every step (greedy)
        settings : of heads; None for neutral ones
        longest : tokens of a translation, at most; default ``usual``, and when greedy, which may run on for ever,
            three times those of the text and ten

        Returns
        -------
        list of N str

        Raises
        ------
        DataError : a text that is empty or no string; texts that are too long are cut, with an AttnlabWarning
        SettingsError : settings of another size
        """
        rows = self.encode(texts)
        found: list[str] = [""] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE]
            source = padded([rows[place] for place in places]).to(self.device)
            for place, ids in zip(
                places, self._decoded(source, width, settings, longest), strict=True
            ):
                found[place] = self.target_words.decode(ids)
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of source texts with the end mark; errors as for `translate`."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise DataError(
                f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single one."
            )
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"Text {place} is a {type(text).__name__}; expected a str.")
            if not text.strip():
                raise DataError(f"Text {place} is empty. Leave it out, or give it some words.")
        return self._cut(self.source_words.encode_all(list(texts)), "texts")

    def attend(
        self, source: str, target: str | None = None, settings: Seq2SeqSettings | None = None
    ) -> Seq2SeqMaps:
        """Attention of every kind, layer and head over a pair, and what is considered at each step.

        Parameters
        ----------
        source : text to translate
        target : its translation, which the model is made to read; None for its own, greedy
        settings : of heads; with some that are not neutral the maps carry the neutral ones of the same pair

        Returns
        -------
        Seq2SeqMaps. One pass is enough for all steps: what comes later changes nothing before it.
        """
        neutral = self.settings()
        settings = neutral if settings is None else settings.copy()
        asked = self.encode([source])[0]
        if target is None:
            target_ids = self._decoded(padded([asked]).to(self.device), 1, settings, None)[0]
        else:
            target_ids = self.target_words.encode(target)
        (target_ids,) = self._cut([target_ids], "translations")
        before = self._maps(asked, target_ids, neutral, None)
        return before if settings.is_neutral() else self._maps(asked, target_ids, settings, before)

    def _maps(
        self,
        source: list[int],
        target: list[int],
        settings: Seq2SeqSettings,
        before: Seq2SeqMaps | None,
    ) -> Seq2SeqMaps:
        """Maps of a pair of ids that end with the end mark."""
        fed = [self.target_words.start, *target[:-1]]
        ids = [torch.tensor([one], device=self.device) for one in (source, fed)]
        with torch.no_grad():
            output = self.model(*ids, settings=settings, return_weights=True)
        output.logits[
            ..., [self.model.padding, self.target_words.start]
        ] = -torch.inf  # never written
        read, said = self.source_words.tokens(source), self.target_words.tokens(target)
        marks = [torch.tensor([one in MARKS for one in row]) for row in (source, fed)]
        pictures = {}
        for kind, modules in attentions(self.model).items():
            one = getattr(settings, kind)
            weights = torch.stack([layer[0][0] for layer in output.attention[kind]]).float().cpu()
            norms = torch.stack(
                [
                    added_lengths(module.output.weight, layer[1])[0]
                    for module, layer in zip(modules, output.attention[kind], strict=True)
                ]
            ).cpu()  # (L, H, keys)
            added = weights * one.scale.detach()[:, :, None, None] * norms[:, :, None]
            pictures[kind] = (weights, added, one)
        encoder, decoder, cross = (pictures[kind] for kind in ("encoder", "decoder", "cross"))
        fed_tokens = [self.target_words.tokens([fed[0]])[0], *said[:-1]]
        earlier = [None] * 3 if before is None else [before.encoder, before.decoder, before.cross]
        return Seq2SeqMaps(
            encoder=AttentionMaps(read, *encoder[:2], marks[0], encoder[2], earlier[0]),
            decoder=AttentionMaps(fed_tokens, *decoder[:2], marks[1], decoder[2], earlier[1]),
            cross=CrossMaps(read, said, *cross, earlier[2]),
            probabilities=output.logits[0].float().softmax(-1).cpu(),
            vocabulary=self.target_words.vocabulary,
        )

    def _decoded(
        self, source: Tensor, width: int, settings: Seq2SeqSettings | None, longest: int | None
    ) -> list[list[int]]:
        start, end = self.target_words.start, self.target_words.end
        most = self.usual if longest is None else longest
        if width == 1:
            lengths = (source != self.model.padding).sum(1).tolist()
            limits = [min(most, 3 * length + 10) if longest is None else most for length in lengths]
            rows = decoding.greedy(self.model, source, start, end, max(limits), settings)
            return [row[:limit] for row, limit in zip(rows, limits, strict=True)]
        beams = decoding.beam(self.model, source, start, end, width, most, settings=settings)
        return [row[0].ids for row in beams]

    def _cut(self, rows: list[list[int]], what: str) -> list[list[int]]:
        """Rows with the end mark, at most so long as the model takes."""
        most = self.longest - 1
        longer = sum(len(row) > most for row in rows)
        if longer:
            warnings.warn(
                f"{longer} of {len(rows)} {what} are longer than {most} tokens and were cut.",
                AttnlabWarning,
                stacklevel=4,
            )
        end = self.source_words.end
        return [[*row[:most], end] for row in rows]

    # ── keeping ────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file that `load_translator` reads."""
        about = {
            "size": self.model.size,
            "source_words": self.source_words.to_json(),
            "target_words": self.target_words.to_json(),
            "name": self.name,
            "usual": self.usual,
            "history": None if self.history is None else asdict(self.history),
        }
        tensors = {name: one.detach().cpu() for name, one in self.model.named_parameters()}
        data = to_safetensors(
            {name: one.contiguous() for name, one in tensors.items()},
            {"translator": json.dumps(about)},
        )
        return atomic_write(path, data)

    def __repr__(self) -> str:
        size = self.model.size
        count = sum(one.numel() for one in self.model.parameters())
        return (
            f"Translator({self.name!r}, {size['encoder_layers']} + {size['decoder_layers']} layers x "
            f"{size['heads']} heads, {count / 1e6:.1f} M parameters)"
        )


def translators() -> dict[str, Path]:
    """The translators that come with attnlab, by name."""
    return {file.parent.name: file for file in sorted(bundled("translators").glob(f"*/{FILE}"))}


def load_translator(name: str | os.PathLike[str]) -> Translator:
    """Load a translator: one of ours ("dates"), a file of `Translator.save`, or a folder of `train_translator`.

    Raises ModelError where there is none.
    """
    path = Path(translators().get(str(name), name))
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f"There is no translator {str(name)!r}. {suggest(str(name), translators())} Or train one: "
            "al.train_translator."
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["translator"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except Exception as error:
        raise ModelError(
            f"{path} holds no translator: {error}. Give a file of Translator.save."
        ) from error
    model = Seq2SeqTransformer(**about["size"])
    model.load_state_dict(tensors, strict=False)
    words = [Subwords.from_json(about[one]) for one in ("source_words", "target_words")]
    history = None if about["history"] is None else History(**about["history"])
    return Translator(model.to(default_device()), *words, about["name"], about["usual"], history)


# ── training ───────────────────────────────────────────────────────────────────────────────────


def train_translator(
    splits: Splits,
    out: str | os.PathLike[str] | None = None,
    *,
    vocabulary: int = 1000,
    d_model: int = 128,
    heads: int = 4,
    encoder_layers: int = 2,
    decoder_layers: int = 2,
    feed_forward: int = 512,
    dropout: float = 0.1,
    label_smoothing: float = 0.0,
    model: dict[str, Any] | None = None,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    number_format: torch.dtype | None = None,
    seed: int = 0,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    progress: Callable[[int, int, str], None] | None = None,
    watch: Callable[[History, int], None] | None = None,
    after_step: Callable[[Translator, int], None] | None = None,
    **recipe: Any,
) -> Translator:
    """Train a Transformer from nothing on pairs of texts; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `ParallelDataset`, with train and dev parts
    out : folder for the result and, while training, a checkpoint
    vocabulary : sub-words of each language, at most; they are learned from the training texts alone
    d_model, heads, encoder_layers, decoder_layers, feed_forward, dropout, label_smoothing : of the model
    model : other keywords of `Seq2SeqTransformer`: norm, positions, longest, tie, fused (True here: faster)
    learning_rate : at its highest; it rises over the first 6 % of the steps and falls to 0 linearly
    number_format : of what is computed; default bfloat16 on a GPU that has it, else float32
    resume : go on from the checkpoint in ``out``
    progress : called as progress(step, steps, text) after every step
    watch : called as watch(history, steps) whenever the history has grown
    after_step : called as after_step(translator, step) after every step, with 0 before the first
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm, accumulation, pool, patience

    Returns
    -------
    Translator with ``.history``. An epoch's row has ``dev_accuracy``, the share of dev texts whose translation is
    right to the letter, ``dev_chrf`` (0-100), by which the best epoch is chosen, and ``dev_loss`` in nats a token.
    """
    _check(splits)
    if resume and out is None:
        raise ModelError("There is nothing to go on from: resume=True needs the folder, out=...")
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(epochs, batch_size, learning_rate, seed=seed, **recipe)
    words = [
        Subwords.train(texts, vocabulary) for texts in (splits.train.sources, splits.train.targets)
    ]
    torch.manual_seed(seed)
    network = Seq2SeqTransformer(
        *map(len, words),
        d_model=d_model,
        heads=heads,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        feed_forward=feed_forward,
        dropout=dropout,
        label_smoothing=label_smoothing,
        **{"fused": True} | (model or {}),
    )
    translator = Translator(network.to(default_device()), *words, splits.train.name)
    data = _Pairs(translator, splits.train)
    translator.usual = max(map(len, data.labels))
    if number_format is None:
        cuda = translator.device.type == "cuda"
        number_format = fastest_format("cuda") if cuda else torch.float32
    if after_step and not resume:
        after_step(translator, 0)
    translator.history = train(
        network,
        data.lengths,
        data.batch,
        _measuring(translator, splits.dev),
        recipe,
        number_format=number_format,
        folder=folder,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        choose_by="dev_chrf",
        identity={
            "size": network.size,
            "training_texts": fingerprint(vars(splits.train)),
            "dev_texts": fingerprint(vars(splits.dev)),
        },
        after_step=None if after_step is None else lambda done: after_step(translator, done + 1),
        progress=progress,
        watch=watch,
    )
    network.eval()
    if folder is not None and is_main_process():
        translator.save(folder / FILE)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return translator


class _Pairs:
    """Pairs as ids, ready to be put into batches.

    The decoder is fed the right answer, one token late (teacher forcing): it reads start, y₁, y₂ and is to say
    y₁, y₂, end.
    """

    def __init__(self, translator: Translator, pairs: ParallelDataset):
        words = translator.target_words
        self.sources = translator.encode(pairs.sources)
        self.labels = translator._cut(words.encode_all(pairs.targets), "translations")
        self.fed = [[words.start, *row[:-1]] for row in self.labels]
        self.lengths = [len(a) + len(b) for a, b in zip(self.sources, self.labels, strict=True)]

    def batch(self, places: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Tensors of the pairs at these places: source (B, S), target and labels (B, T)."""
        rows = {"source": self.sources, "target": self.fed, "labels": self.labels}
        return {name: padded([one[place] for place in places]) for name, one in rows.items()}

    def batches(self, size: int = _AT_ONCE) -> Iterator[dict[str, Tensor]]:
        """All pairs in batches of like length."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


def padded(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Rows of ids as one tensor (B, T), the shorter ones filled up."""
    filled = np.full((len(rows), max(map(len, rows))), padding)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(filled)


def _measuring(translator: Translator, dev: ParallelDataset) -> Callable[[], dict[str, float]]:
    """What to measure after every epoch."""
    pairs = _Pairs(translator, dev)

    def measure() -> dict[str, float]:
        found = translator.translate(dev.sources)
        right = np.mean([a == b for a, b in zip(found, dev.targets, strict=True)])
        chrf = CHRF().corpus_score(found, [dev.targets]).score
        return {
            "dev_accuracy": float(right),
            "dev_chrf": chrf,
            "dev_loss": _loss(translator, pairs),
        }

    return measure


def _loss(translator: Translator, pairs: _Pairs) -> float:
    """Mean loss of a token, nats, without label smoothing."""
    total = count = 0.0
    for batch in pairs.batches():
        inputs = {name: one.to(translator.device) for name, one in batch.items()}
        with torch.no_grad():
            logits = translator.model(inputs["source"], inputs["target"]).logits
        labels = inputs["labels"]
        total += float(
            nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=0, reduction="sum"
            )
        )
        count += float((labels != 0).sum())
    return total / count


def _check(splits: Splits) -> None:
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, ParallelDataset):
            raise DataError(
                f"{data!r} has labels and no translations. Use al.datasets.load('dates'), or pairs of your own: "
                "al.datasets.pairs_from_file."
            )
        if not len(data):
            raise DataError(f"{splits!r} leaves nothing for {part}.")


# ── where it looks ─────────────────────────────────────────────────────────────────────────────


def attentions(model: Seq2SeqTransformer) -> dict[str, list[MultiHeadAttention]]:
    """The attention of every layer, by kind: "encoder", "decoder" and "cross"."""
    return {
        "encoder": [layer.attention for layer in model.encoder],
        "decoder": [layer.attention for layer in model.decoder],
        "cross": [layer.cross_attention for layer in model.decoder],
    }


def added_lengths(output: Tensor, values: Tensor) -> Tensor:
    """Length of each value vector after the output projection, what a weight of 1 would add: (B, H, T).

    Parameters
    ----------
    output : Tensor, shape (d_model, H D), weight of the output projection
    values : Tensor, shape (B, H, T, D)
    """
    project = output.detach().float().unflatten(1, (values.shape[1], -1))  # (E, H, D)
    return torch.einsum("bhtd,ehd->bhte", values.float(), project).norm(dim=-1)


def alignment_accuracy(
    translator: Translator, pairs: ParallelDataset, settings: Seq2SeqSettings | None = None
) -> pd.DataFrame:
    """How often a head of the cross-attention looks at the field that is being written.

    For every token of a year, month or day that the decoder is to say next, the head is right if the source token
    it weighs most lies in that field of the source. The right answers are fed.

    Parameters
    ----------
    pairs : with ``spans``, as `datasets.load("dates")` has

    Returns
    -------
    DataFrame, a row per layer, head and field: ``accuracy``; ``chance``, the mean share of source tokens, marks
    left out, that lie in the field; ``n`` target tokens
    """
    if pairs.spans is None:
        raise DataError(f"{pairs!r} has no spans to compare with. al.datasets.load('dates') has.")
    data, rows = _Pairs(translator, pairs), []
    for start in range(0, len(pairs), _AT_ONCE):
        places = range(start, min(start + _AT_ONCE, len(pairs)))
        inputs = {name: one.to(translator.device) for name, one in data.batch(places).items()}
        with torch.no_grad():
            found = translator.model(
                inputs["source"], inputs["target"], settings=settings, return_weights=True
            )
        most = torch.stack(
            [one[0].argmax(-1) for one in found.attention["cross"]]
        ).cpu()  # (L, B, H, T)
        for row, place in enumerate(places):
            rows += _judged(translator, pairs, place, most[:, row].numpy())
    table = pd.DataFrame(rows, columns=["layer", "head", "field", "accuracy", "chance"])
    grouped = table.groupby(["layer", "head", "field"], sort=True)
    means = grouped.mean()
    means["n"] = grouped.size()
    return means.reset_index()


def exact(
    translator: Translator, pairs: ParallelDataset, settings: Seq2SeqSettings | None = None
) -> np.ndarray:
    """Which translations are right to the letter: bool array (N,)."""
    found = translator.translate(pairs.sources, settings=settings)
    return np.array([a == b for a, b in zip(found, pairs.targets, strict=True)])


def silence_each(
    translator: Translator, pairs: ParallelDataset, scale: float = 0.0
) -> pd.DataFrame:
    """Silence every head of every kind, one at a time, and translate again.

    Parameters
    ----------
    pairs : on which exact match is measured
    scale : that the head gets instead

    Returns
    -------
    DataFrame, a row per kind, layer and head: ``exact``; ``delta``, its change, with its paired 95 % interval
    ``ci_low`` and ``ci_high`` and ``p_value`` (McNemar). The cost is a translation of all pairs for each head.
    """
    before, rows = exact(translator, pairs), []
    for kind, one in zip(KINDS, translator.settings(), strict=True):
        for layer, head in np.ndindex(*one.scale.shape):
            settings = translator.settings()
            getattr(settings, kind).scale[layer, head] = scale
            after = exact(translator, pairs, settings)
            gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
            low, high = paired_interval(gained, lost, len(pairs))
            rows.append(
                {
                    "kind": kind,
                    "layer": layer,
                    "head": head,
                    "exact": after.mean(),
                    "delta": (gained - lost) / len(pairs),
                    "ci_low": low,
                    "ci_high": high,
                    "p_value": mcnemar(gained, lost),
                }
            )
    return pd.DataFrame(rows)


def _judged(
    translator: Translator, pairs: ParallelDataset, place: int, most: np.ndarray
) -> Iterator[tuple[int, int, str, bool, float]]:
    """For each head and each token of a field: whether the place it weighs most (L, H, T) is right."""
    source, target = pairs.sources[place], pairs.targets[place]
    tokens = translator.source_words.spans(source)
    said = translator.target_words.spans(target)
    for field, where in ISO_FIELDS.items():
        wanted = {n for n, span in enumerate(tokens) if _overlap(span, pairs.spans[place][field])}
        for step in (n for n, span in enumerate(said) if _overlap(span, where)):
            for (layer, head), at in np.ndenumerate(most[:, :, step]):
                yield layer, head, field, int(at) in wanted, len(wanted) / len(tokens)


ISO_FIELDS = {"year": (0, 4), "month": (5, 7), "day": (8, 10)}  # characters of 2021-03-03


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])
