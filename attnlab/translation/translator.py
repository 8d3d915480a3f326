"""Translate with an encoder-decoder Transformer, and see what it attends to.

A `Translator` is a `Seq2SeqTransformer` with the sub-words of both languages; `train_translator`
makes one from pairs of texts, `load_translator` reads one.
"""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from attnlab.device import device as default_device
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError, suggest
from attnlab.files import atomic_write, bundled, damage, read_tensors
from attnlab.heads.maps import Seq2SeqMaps
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.training.history import History
from attnlab.transformer import decoding
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer
from attnlab.transformer.subwords import Subwords
from attnlab.translation.batches import BATCH_SIZE, padded
from attnlab.translation.maps import attention_maps

FILE = "translator.safetensors"


class Translator:
    """A model and the sub-words it was trained with.

    Attributes
    ----------
    model : Seq2SeqTransformer
    source_words, target_words : Subwords, in which texts are cut
    name : of the data it was trained on
    default_max_length : tokens of the longest translation it learned from, the end mark included:
        it writes no more unless asked to
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
        default_max_length: int | None = None,
        history: History | None = None,
    ):
        for side, words in (("source", source_words), ("target", target_words)):
            rows = model.size[f"{side}_vocabulary"]
            if len(words) != rows:
                raise ModelError(
                    f"{side}_words has {len(words)} tokens and the model {rows} rows of {side} "
                    "embeddings: they do not belong together. Give the sub-words that the model "
                    "was trained with."
                )
        self.model, self.name, self.history = model.eval(), name, history
        self.source_words, self.target_words = source_words, target_words
        self.default_max_length = default_max_length or self.max_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def max_length(self) -> int:
        """Tokens a text may have, the end mark included."""
        return self.model.size["max_length"]

    def with_model(self, model: Seq2SeqTransformer) -> "Translator":
        """Return the same sub-words around another model, such as one with fewer heads."""
        words = (self.source_words, self.target_words)
        return Translator(model, *words, self.name, self.default_max_length, self.history)

    def settings(self) -> Seq2SeqSettings:
        """Neutral settings of every head: encoder, decoder and cross-attention."""
        return self.model.neutral_settings()

    def translate(
        self,
        texts: Sequence[str],
        num_beams: int = 1,
        settings: Seq2SeqSettings | None = None,
        max_length: int | None = None,
    ) -> list[str]:
        """Translate texts.

        Parameters
        ----------
        texts : list of N str
        num_beams : 1 takes the most probable token at every step (greedy); more is beam search
        settings : of heads; None for neutral ones
        max_length : most tokens of a translation. By default ``default_max_length``, and when
            greedy, which may never stop, at most three times the tokens of the text plus ten.

        Returns
        -------
        list of N str

        Raises
        ------
        DataError : a text that is empty or no string; texts that are too long are cut, with an
            AttnlabWarning
        SettingsError : settings of another size
        """
        rows = self.encode(texts)
        translations: list[str] = [""] * len(rows)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        for start in range(0, len(order), BATCH_SIZE):
            indices = order[start : start + BATCH_SIZE]
            source = padded([rows[index] for index in indices]).to(self.device)
            decoded = self._decoded(source, num_beams, settings, max_length)
            for index, ids in zip(indices, decoded, strict=True):
                translations[index] = self.target_words.decode(ids)
        return translations

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of source texts with the end mark; errors as for `translate`."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise DataError(
                f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single "
                "one."
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"Text {index} is a {type(text).__name__}; expected a str.")
            if not text.strip():
                raise DataError(f"Text {index} is empty. Leave it out, or give it some words.")
        return self._with_end(self.source_words.encode_all(list(texts)), "texts")

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of translations with the end mark; cut, with a warning, if they are too long."""
        return self._with_end(self.target_words.encode_all(list(texts)), "translations")

    def attend(
        self, source: str, target: str | None = None, settings: Seq2SeqSettings | None = None
    ) -> Seq2SeqMaps:
        """Attention of every kind, layer and head over a pair, and what is considered at each step.

        Parameters
        ----------
        source : text to translate
        target : its translation, which the model is made to read; None for its own, greedy
        settings : of heads; with some that are not neutral the maps carry the neutral ones of the
            same pair

        Returns
        -------
        Seq2SeqMaps. One pass is enough for all steps: what comes later changes nothing before it.
        """
        neutral = self.settings()
        settings = neutral if settings is None else settings.copy()
        source_ids = self.encode([source])[0]
        if target is None:
            target_ids = self._decoded(padded([source_ids]).to(self.device), 1, settings, None)[0]
        else:
            target_ids = self.target_words.encode(target)
        (target_ids,) = self._with_end([target_ids], "translations")
        before = attention_maps(self, source_ids, target_ids, neutral)
        if settings.is_neutral():
            return before
        return attention_maps(self, source_ids, target_ids, settings, before)

    def _decoded(
        self,
        source: Tensor,
        num_beams: int,
        settings: Seq2SeqSettings | None,
        max_length: int | None,
    ) -> list[list[int]]:
        start, end = self.target_words.start, self.target_words.end
        most = self.default_max_length if max_length is None else max_length
        if num_beams != 1:
            beams = decoding.beam(
                self.model, source, start, end, num_beams, most, settings=settings
            )
            return [hypotheses[0].ids for hypotheses in beams]
        lengths = (source != self.model.padding).sum(1).tolist()
        limits = [min(most, 3 * length + 10) if max_length is None else most for length in lengths]
        rows = decoding.greedy(self.model, source, start, end, max(limits), settings)
        return [row[:limit] for row, limit in zip(rows, limits, strict=True)]

    def _with_end(self, rows: list[list[int]], what: str) -> list[list[int]]:
        """Rows with the end mark, cut to what the model takes."""
        most = self.max_length - 1
        longer = sum(len(row) > most for row in rows)
        if longer:
            warnings.warn(
                f"{longer} of {len(rows)} {what} are longer than {most} tokens and were cut.",
                AttnlabWarning,
                stacklevel=4,
            )
        end = self.source_words.end
        return [[*row[:most], end] for row in rows]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file that `load_translator` reads."""
        metadata = {
            "size": self.model.size,
            "source_words": self.source_words.to_json(),
            "target_words": self.target_words.to_json(),
            "name": self.name,
            "default_max_length": self.default_max_length,
            "history": None if self.history is None else asdict(self.history),
        }
        tensors = {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in self.model.named_parameters()
        }
        return atomic_write(path, to_safetensors(tensors, {"translator": json.dumps(metadata)}))

    def __repr__(self) -> str:
        size = self.model.size
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"Translator({self.name!r}, {size['encoder_layers']} + {size['decoder_layers']} layers "
            f"x {size['heads']} heads, {count / 1e6:.1f} M parameters)"
        )


def translators() -> dict[str, Path]:
    """The translators that come with attnlab, by name."""
    return {file.parent.name: file for file in sorted(bundled("translators").glob(f"*/{FILE}"))}


def load_translator(name: str | os.PathLike[str]) -> Translator:
    """Load a translator that was saved.

    Parameters
    ----------
    name : one of ours ("dates"), a file of `Translator.save`, or a folder of `train_translator`

    Raises
    ------
    ModelError : no such translator, a file that holds none, or parts that do not belong together
    """
    path = Path(translators().get(str(name), name))
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelError(
            f"There is no translator {str(name)!r}. {suggest(str(name), translators())} Or train "
            "one: al.train_translator."
        )
    if trouble := damage(path):
        raise ModelError(f"{path} holds no translator: it {trouble}.")
    about, tensors = read_tensors(path)
    if "translator" not in about:
        raise ModelError(f"{path} holds no translator. Give a file of Translator.save.")
    try:
        metadata, tensors = _with_todays_names(json.loads(about["translator"]), tensors)
        return _assembled(metadata, tensors)
    except AttnlabError as error:
        raise ModelError(f"{path} holds no whole translator. {error}") from error
    except Exception as error:  # of json, torch, or a description that lacks something
        raise ModelError(
            f"{path} holds no whole translator: what it says of itself cannot be read "
            f"({type(error).__name__}: {error}). Save the translator again with Translator.save."
        ) from error


def _assembled(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> Translator:
    """The translator that a file describes; ModelError unless its parts belong together."""
    model = Seq2SeqTransformer(**metadata["size"])
    parameters = {name for name, _ in model.named_parameters()}  # a tied weight has one name
    if differing := parameters ^ tensors.keys():
        raise ModelError(
            f"The weights are not those of the model it describes: {min(differing)} is missing or "
            "unexpected. Save the translator again with Translator.save."
        )
    for name, parameter in model.named_parameters():
        if parameter.shape != tensors[name].shape:
            raise ModelError(
                f"The weights are not those of the model it describes: {name} has shape "
                f"{tuple(tensors[name].shape)}, not {tuple(parameter.shape)}. Save the translator "
                "again with Translator.save."
            )
    model.load_state_dict(tensors, strict=False)
    return Translator(
        model.to(default_device()),
        Subwords.from_json(metadata["source_words"]),
        Subwords.from_json(metadata["target_words"]),
        metadata["name"],
        metadata["default_max_length"],
        None if metadata["history"] is None else History(**metadata["history"]),
    )


def _with_todays_names(
    metadata: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Rename what older files call otherwise: the bundled translator of dates is such a file."""
    if "usual" in metadata:
        metadata["default_max_length"] = metadata.pop("usual")
    if "longest" in metadata["size"]:
        metadata["size"]["max_length"] = metadata["size"].pop("longest")
    tensors = {
        name.replace("embedding.places", "embedding.positions"): tensor
        for name, tensor in tensors.items()
    }
    return metadata, tensors
