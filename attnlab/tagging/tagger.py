"""A tagger: it says of every word whether it belongs to something named, and to what."""

import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification

from attnlab import heads as _heads
from attnlab.classification.belonging import label_names_of
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, fill_values
from attnlab.classification.failures import explained
from attnlab.classification.loading import load_model
from attnlab.classification.naming import located
from attnlab.datasets.tagged import check_tag_names, kinds_of, spans, words_of
from attnlab.device import autocast, number_format
from attnlab.device import device as default_device
from attnlab.errors import AttnlabWarning, DataError, ModelError
from attnlab.heads.settings import HeadSettings
from attnlab.tagging.alignment import IGNORED, EncodedWords, align, best_tags
from attnlab.training.history import History


@dataclass(frozen=True)
class Mention:
    """Something named in a text.

    Attributes
    ----------
    text, kind : what is named, and what it is
    start, end : where it stands, in characters: it is ``text[start:end]`` of the whole text
    probability : of all its tags together
    """

    text: str
    kind: str
    start: int
    end: int
    probability: float


class _Words(Classifier):
    """A classifier's care for parts, attention, limits and files, for a model that labels words."""

    task = "ForTokenClassification"


class Tagger:
    """A fine-tuned token classifier of the BERT family.

    Attributes
    ----------
    model : the plain Transformers model in float32, usable on its own. `heads.applied` and
        `heads.prune` take a Tagger as they take a Classifier.
    tokenizer : its tokenizer
    tag_names : list of C str: "O", and "B-kind", "I-kind" for each kind
    layers, heads : size of its attention; heads removed for good still count
    max_length : pieces a sentence may have; longer ones are cut, and that is said
    history : History of its training, if it was trained here
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        tag_names: list[str],
        history: History | None = None,
    ):
        check_tag_names(tag_names)
        if not getattr(tokenizer, "is_fast", True):
            raise ModelError(
                f"A {type(tokenizer).__name__} does not say which word a piece is of, which a "
                "tagger needs. Use a tokenizer of the tokenizers library."
            )
        self._plain = _Words(model, tokenizer, tag_names, history)
        self.model, self.tokenizer, self.tag_names = self._plain.model, tokenizer, tag_names
        self.layers, self.heads = self._plain.layers, self._plain.heads
        self.max_length, self.history = self._plain.max_length, history

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: torch.device | str) -> "Tagger":
        """Move the model, in place, and return the same tagger."""
        self.model.to(device)
        return self

    def settings(self) -> HeadSettings:
        """Return neutral head settings of this model's size."""
        return self._plain.settings()

    def with_model(self, model: Any) -> "Tagger":
        """Return the same tokenizer and tags around another model."""
        return Tagger(model, self.tokenizer, self.tag_names, self.history)

    def tag(self, texts: Sequence[str]) -> list[list[Mention]]:
        """Return what is named in each text, from left to right.

        Parameters
        ----------
        texts : list of N str; they are cut into words by `tagged.words_of`

        Returns
        -------
        N lists of Mention. The model answers each word by itself, so the probability of a mention
        is the product of those of its words' tags.

        Raises
        ------
        DataError : no list, or a text that is empty or no string
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise DataError(
                f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single "
                "one."
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                what = "is empty" if isinstance(text, str) else f"is a {type(text).__name__}"
                raise DataError(f"Text {index} {what}. Expected a str with some words.")
        cut = [words_of(text) for text in texts]
        encoded = self.encode([[word for word, _, _ in words] for words in cut])
        answers = self.log_probabilities(encoded)
        return [
            self._mentions(text, words, answer)
            for text, words, answer in zip(texts, cut, answers, strict=True)
        ]

    def _mentions(
        self, text: str, words: list[tuple[str, int, int]], answer: np.ndarray
    ) -> list[Mention]:
        tags = best_tags(answer, self.tag_names)
        found = []
        for kind, first, last in spans([self.tag_names[tag] for tag in tags]):
            start, end = words[first][1], words[last - 1][2]
            sure = np.exp(sum(answer[word, tags[word]] for word in range(first, last)))
            found.append(Mention(text[start:end], kind, start, end, float(sure)))
        return found

    def predict(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tag sentences that are words already: a tag name for each word, always valid IOB2.

        Parameters
        ----------
        words : N lists of str

        Raises
        ------
        DataError : not lists of words, or an empty sentence or word
        """
        answers = self.log_probabilities(self.encode(words))
        return [
            [self.tag_names[tag] for tag in best_tags(answer, self.tag_names)] for answer in answers
        ]

    def encode(self, words: Sequence[Sequence[str]]) -> EncodedWords:
        """Tokenise sentences that are words already.

        What lies behind ``max_length`` pieces is cut off, with an AttnlabWarning; these words get
        the tag O, so anything named there counts as missed.
        """
        sentences = _checked(words)
        fill = fill_values(self.tokenizer)
        if not sentences:
            none = {name: np.empty(0, np.int32) for name in fill}
            return EncodedWords(Encoded(none, np.zeros(1, int), fill), [], [])
        rows = self.tokenizer(
            sentences, is_split_into_words=True, truncation=False, padding=False, verbose=False
        )
        cut = sum(len(ids) > self.max_length for ids in rows["input_ids"])
        if cut:
            warnings.warn(
                f"{cut} of {len(sentences)} sentences have more than {self.max_length} word pieces "
                "and were cut; nothing is found behind that.",
                AttnlabWarning,
                stacklevel=3,
            )
            rows = self.tokenizer(
                sentences,
                is_split_into_words=True,
                truncation=True,
                max_length=self.max_length,
                padding=False,
            )
        starts = np.cumsum([0, *map(len, rows["input_ids"])])
        columns = {
            name: np.fromiter(itertools.chain.from_iterable(rows[name]), np.int32) for name in fill
        }
        return EncodedWords(
            Encoded(columns, starts, fill),  # padded at the end, as its labels are
            [rows.word_ids(index) for index in range(len(sentences))],
            [len(sentence) for sentence in sentences],
        )

    def log_probabilities(self, encoded: EncodedWords, fast: bool = False) -> list[np.ndarray]:
        """Return log-probabilities of the tags of each word, an array (words, C) for each sentence.

        Read off at the first piece of a word. Words that were cut off, and signs that the tokenizer
        drops, have NaN. ``fast`` computes in `device.number_format`, else it is float32.
        """
        answers = [np.full((count, len(self.tag_names)), np.nan) for count in encoded.counts]
        short = fast and self.model.dtype == torch.float32
        dtype = number_format(self.device.type) if short else torch.float32
        settings = _heads.in_force(self)
        if settings is not None:
            settings.validate_single(self.layers, self.heads)
        with torch.inference_mode(), autocast(self.device, dtype):
            for group in encoded.pieces.batches():
                batch = encoded.pieces.batch(group)
                inputs = {name: tensor.to(self.device) for name, tensor in batch.items()}
                logits = _heads.run(self, inputs, settings)  # (B, T, C)
                scores = logits.log_softmax(-1).cpu().numpy()
                for row, index in enumerate(group.tolist()):
                    word = np.array(align(encoded.word_ids[index], range(encoded.counts[index])))
                    first = np.flatnonzero(word != IGNORED)
                    answers[index][word[first]] = scores[row, first]
        return answers

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and tokenizer to a folder that `load_tagger` reads; whole or not at all."""
        return self._plain.save(folder)

    def __repr__(self) -> str:
        gone = len(_heads.removed(self.model))
        return (
            f"Tagger({self.model.config.model_type}, {self.layers} layers x {self.heads} heads"
            f"{f', {gone} removed' if gone else ''}, {self._plain.parameters() / 1e6:.1f} M "
            f"parameters, finds {', '.join(kinds_of(self.tag_names))})"
        )


def _checked(words: Sequence[Sequence[str]]) -> list[list[str]]:
    """Sentences as lists of words; DataError for a text, and for empty sentences or words."""
    words = words if isinstance(words, str) else list(words)
    if isinstance(words, str) or any(isinstance(sentence, str) for sentence in words):
        raise DataError(
            "Expected lists of words, such as [['On', 'March', '3']], and got a text. Use "
            "tag([text])."
        )
    sentences = [list(sentence) for sentence in words]
    for index, sentence in enumerate(sentences):
        if not sentence or any(not isinstance(word, str) or not word.strip() for word in sentence):
            raise DataError(
                f"Sentence {index} is {sentence[:6]}: expected at least one word, and no empty "
                "ones."
            )
    return sentences


def load_tagger(name: str | os.PathLike[str], device: torch.device | str | None = None) -> Tagger:
    """Load a tagger.

    Parameters
    ----------
    name : a folder that `Tagger.save` or `finetune_tagger` wrote; or a name on the Hugging Face hub
        of any BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT token classifier whose tags are IOB2.
        (One that was trained on IOB1 has the same names of tags, and finds little here: it never
        says B- but between neighbours.)
    device : default: the first GPU, else the CPU

    Raises
    ------
    ModelError : no such model, one that does not tag words in IOB2, a family whose heads cannot be
        reached, weights not in safetensors
    """
    cure = "Make one with al.finetune_tagger(splits=al.datasets.news.splits(), out=...)."
    place = located(name, "tagger", cure)
    if (Path(place) / "adapter_config.json").exists():
        raise ModelError(
            f"{str(name)!r} is an adapter of a classifier. al.load_classifier loads it."
        )
    model, tokenizer = load_model(place, AutoModelForTokenClassification)
    with explained(place):
        tag_names = label_names_of(model.config)
        try:
            check_tag_names(tag_names)
        except DataError as error:
            raise ModelError(
                f"{str(name)!r} does not tag words in IOB2. {error} For classifiers of whole texts "
                "there is al.load_classifier."
            ) from error
        where = torch.device(device) if device is not None else default_device()
        return Tagger(model, tokenizer, tag_names).to(where)
