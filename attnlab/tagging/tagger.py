"""Taggers: a BERT-family encoder says of every word whether it belongs to something, and to what.

One score per word piece instead of one per text; the rest is as in classification. `synthetic` makes sentences to
learn from, `tagged.from_conll` reads your own.
"""

import itertools
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from attnlab import heads as _heads
from attnlab.classification.classifier import (
    BUNDLED,
    Classifier,
    Encoded,
    check_target,
    load_base,
    load_model,
)
from attnlab.classification.finetuning import prepared
from attnlab.datasets.splits import Splits
from attnlab.datasets.tagged import TaggedDataset, check_tag_names, kinds_of, spans, words_of
from attnlab.device import as_number_format, autocast, is_main_process, number_format
from attnlab.device import device as default_device
from attnlab.errors import AttnlabWarning, DataError, ModelError, needs, suggest
from attnlab.heads.settings import HeadSettings
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint
from attnlab.training.history import History
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

IGNORED = -100  # the label that torch's cross-entropy leaves out
RESAMPLES = 1000  # of the bootstrap

Method = Literal["full", "frozen-embeddings", "frozen", "lora"]

# the highest learning rate of each method, where none is given: above those for whole texts, as every word has its
# say in a step
LEARNING_RATES = {"full": 3e-4, "frozen-embeddings": 3e-4, "frozen": 1e-2, "lora": 2e-3}


@dataclass(frozen=True)
class Mention:
    """Something named in a text: ``text[start:end]`` is it, ``probability`` that of all its tags together."""

    text: str
    kind: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, eq=False)
class EncodedWords:
    """Tokenised sentences, and which word each piece comes from.

    Attributes
    ----------
    pieces : Encoded
    word_ids : for each sentence the word of each piece, None for special tokens
    counts : words in each sentence, pieces of which may have been cut off
    """

    pieces: Encoded
    word_ids: list[list[int | None]]
    counts: list[int]

    def __len__(self) -> int:
        return len(self.counts)

    def labels(self, tags: Sequence[Sequence[int]]) -> list[Tensor]:
        """The label of each piece of each sentence, from the tags of its words; see `align`."""
        both = zip(self.word_ids, tags, strict=True)
        return [torch.tensor(align(word_ids, own)) for word_ids, own in both]


def align(word_ids: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """Labels for word pieces from tags for words: the first piece has the word's tag, the others `IGNORED`.

    So a word counts once, in the loss and in the answer, into however many pieces a tokenizer breaks it. Further
    pieces need no answer of their own, as they never begin anything: with labels they would make a long word, or
    "1,234,567" (six pieces), weigh more than a short one, and there would be answers to reconcile. Special tokens
    are no words at all.

    Parameters
    ----------
    word_ids : for each of T pieces the place of its word, None for a special token, as a tokenizer's
        ``word_ids()`` says
    tags : the tag of each word

    Returns
    -------
    T labels

    Examples
    --------
    >>> align([None, 0, 1, 1, 1, None], [0, 3])
    [-100, 0, 3, -100, -100, -100]
    """
    labels, before = [], None
    for word in word_ids:
        if word is not None and not 0 <= word < len(tags):
            raise DataError(
                f"A piece belongs to word {word}, and there are tags for {len(tags)} words. Give the word_ids "
                "of the same sentence."
            )
        labels.append(IGNORED if word is None or word == before else int(tags[word]))
        before = word
    return labels


class Tagger:
    """A fine-tuned token classifier of the BERT family.

    Attributes
    ----------
    model : the plain Transformers model in float32, usable on its own. `heads.applied` and `heads.prune` take a
        Tagger as they take a Classifier.
    tokenizer : its tokenizer
    tag_names : list of C str: "O", and "B-kind", "I-kind" for each kind
    layers, heads : size of its attention; heads removed for good still count
    max_length : pieces a sentence may have; longer ones are cut, and that is said
    history : History of its training, if it was trained here
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        tag_names: list[str],
        history: History | None = None,
    ):
        check_tag_names(tag_names)
        # a classifier's care for attention, limits and files holds for taggers too
        self._plain = Classifier(model, tokenizer, tag_names, history)
        self.model, self.tokenizer, self.tag_names = self._plain.model, tokenizer, tag_names
        self.layers, self.heads = self._plain.layers, self._plain.heads
        self.max_length, self.history = self._plain.max_length, history

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: torch.device | str) -> "Tagger":
        """Move the model, in place."""
        self.model.to(device)
        return self

    def settings(self) -> HeadSettings:
        """Neutral head settings of this model's size."""
        return self._plain.settings()

    def with_model(self, model: PreTrainedModel) -> "Tagger":
        """The same tokenizer and tags around another model."""
        return Tagger(model, self.tokenizer, self.tag_names, self.history)

    def tag(self, texts: Sequence[str]) -> list[list[Mention]]:
        """What is named in each text, from left to right.

        Parameters
        ----------
        texts : list of N str; they are cut into words by `tagged.words_of`

        Returns
        -------
        N lists of Mention with text, kind, start and end (in characters) and probability. The model answers each
        word by itself, so the probability of a mention is the product of those of its words' tags.

        Raises
        ------
        DataError : no list, or a text that is empty or no string
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise DataError(
                f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single one."
            )
        for place, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                what = "is empty" if isinstance(text, str) else f"is a {type(text).__name__}"
                raise DataError(f"Text {place} {what}. Expected a str with some words.")
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
        return [[self.tag_names[tag] for tag in best_tags(one, self.tag_names)] for one in answers]

    def encode(self, words: Sequence[Sequence[str]]) -> EncodedWords:
        """Tokenise sentences that are words already.

        What lies behind ``max_length`` pieces is cut off, with an AttnlabWarning; these words get the tag O, so
        anything named there counts as missed.
        """
        words = words if isinstance(words, str) else list(words)
        if isinstance(words, str) or any(isinstance(one, str) for one in words):
            raise DataError(
                "Expected lists of words, such as [['On', 'March', '3']], and got a text. Use tag([text])."
            )
        words = [list(sentence) for sentence in words]
        for place, sentence in enumerate(words):
            if not sentence or any(not isinstance(one, str) or not one.strip() for one in sentence):
                raise DataError(
                    f"Sentence {place} is {sentence[:6]}: expected at least one word, and no empty ones."
                )
        fill = self._plain.columns()
        if not words:
            none = {name: np.empty(0, np.int32) for name in fill}
            return EncodedWords(Encoded(none, np.zeros(1, int), fill), [], [])
        rows = self.tokenizer(
            words, is_split_into_words=True, truncation=False, padding=False, verbose=False
        )
        cut = sum(len(ids) > self.max_length for ids in rows["input_ids"])
        if cut:
            warnings.warn(
                f"{cut} of {len(words)} sentences have more than {self.max_length} word pieces and were cut; "
                "nothing is found behind that.",
                AttnlabWarning,
                stacklevel=3,
            )
            rows = self.tokenizer(
                words,
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
            [rows.word_ids(place) for place in range(len(words))],
            [len(sentence) for sentence in words],
        )

    def log_probabilities(self, encoded: EncodedWords, fast: bool = False) -> list[np.ndarray]:
        """Log-probabilities of the tags of each word, an array (words, C) for each sentence.

        Read off at the first piece of a word. Words that were cut off, and signs that the tokenizer drops, have
        NaN. ``fast`` computes in the fastest number format of the device.
        """
        answers = [np.full((count, len(self.tag_names)), np.nan) for count in encoded.counts]
        dtype = number_format(self.device.type) if fast else torch.float32
        with torch.inference_mode(), autocast(self.device, dtype):
            for group in encoded.pieces.batches():
                batch = encoded.pieces.batch(group)
                inputs = {name: one.to(self.device) for name, one in batch.items()}
                logits = self.model(**inputs).logits.float()  # (B, T, C)
                scores = logits.log_softmax(-1).cpu().numpy()
                for row, place in enumerate(group.tolist()):
                    word = np.array(align(encoded.word_ids[place], range(encoded.counts[place])))
                    first = np.flatnonzero(word != IGNORED)
                    answers[place][word[first]] = scores[row, first]
        return answers

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and tokenizer to a folder that `load_tagger` reads; whole or not at all."""
        return self._plain.save(folder)

    def __repr__(self) -> str:
        gone = len(_heads.removed(self.model))
        return (
            f"Tagger({self.model.config.model_type}, {self.layers} layers x {self.heads} heads"
            f"{f', {gone} removed' if gone else ''}, {self._plain.parameters() / 1e6:.1f} M parameters, "
            f"finds {', '.join(kinds_of(self.tag_names))})"
        )


def best_tags(log_probabilities: np.ndarray, tag_names: Sequence[str]) -> list[int]:
    """The most probable tags among those that are valid IOB2, where ``I-kind`` continues its own kind.

    Parameters
    ----------
    log_probabilities : array (words, C); a word with NaN gets O

    Returns
    -------
    list of int, indices into tag_names. Where the most probable tag of each word gives a valid sequence, it is
    that; else it is found by the Viterbi algorithm.
    """
    scores = np.where(
        np.isnan(log_probabilities),
        np.where(np.array(tag_names) == "O", 0.0, -np.inf),
        log_probabilities,
    )  # (words, C)
    follows = np.array([[_may_follow(now, then) for now in tag_names] for then in tag_names])
    begins = np.array([_may_follow(now, "O") for now in tag_names])
    tags = scores.argmax(-1)
    if not len(tags) or (begins[tags[0]] and follows[tags[:-1], tags[1:]].all()):
        return tags.tolist()
    best = np.where(begins, scores[0], -np.inf)  # (C,) of the best way to end in each tag
    came = []
    for row in scores[1:]:
        ways = np.where(follows, best[:, None], -np.inf)  # (C before, C now)
        came.append(ways.argmax(0))
        best = ways.max(0) + row
    path = [int(best.argmax())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return path[::-1]


def _may_follow(tag: str, before: str) -> bool:
    return not tag.startswith("I-") or (before != "O" and before[2:] == tag[2:])


# ── loading ────────────────────────────────────────────────────────────────────────────────────


def load_tagger(name: str | os.PathLike[str], device: torch.device | str | None = None) -> Tagger:
    """Load a tagger.

    Parameters
    ----------
    name : a folder that `Tagger.save` or `finetune_tagger` wrote; or a name on the Hugging Face hub of any BERT,
        RoBERTa, DistilBERT, ELECTRA or ALBERT token classifier whose tags are IOB2. (One that was trained on IOB1
        has the same names of tags, and finds little here: it never says B- but between neighbours.)
    device : default: the first GPU, else the CPU

    Raises
    ------
    ModelError : no such model, one that does not tag words in IOB2, a family whose heads cannot be reached,
        weights not in safetensors
    """
    folder = Path(name)
    if not folder.exists() and ("/" not in str(name) or str(name).startswith((".", "/", "~"))):
        raise ModelError(
            f"There is no tagger {str(name)!r}: no folder of that name here. Make one with "
            "al.finetune_tagger(splits=al.datasets.news.splits(), out=...), or give a hub name such as "
            "'owner/model'."
        )
    model, tokenizer, missing = load_model(name, AutoModelForTokenClassification)
    config = model.config
    if missing:
        raise ModelError(
            f"{str(name)!r} is no finished tagger: its weights lack {', '.join(missing[:3])}. Fine-tune it on "
            f"your sentences first: al.finetune_tagger({str(name)!r}, splits)."
        )
    tag_names = [str(config.id2label[index]) for index in range(config.num_labels)]
    try:
        check_tag_names(tag_names)
    except DataError as error:
        raise ModelError(
            f"{str(name)!r} does not tag words in IOB2. {error} For classifiers of whole texts there is "
            "al.load_classifier."
        ) from error
    where = torch.device(device) if device is not None else default_device()
    return Tagger(model, tokenizer, tag_names).to(where)


# ── fine-tuning ────────────────────────────────────────────────────────────────────────────────


def finetune_tagger(
    base: str | os.PathLike[str] = BUNDLED,
    splits: Splits | None = None,
    method: Method = "lora",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int = 3,
    learning_rate: float | None = None,
    batch_size: int = 16,
    rank: int = 8,
    seed: int = 0,
    dtype: torch.dtype | str | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Tagger:
    """Fine-tune a BERT-family encoder on tagged sentences; return it at the epoch with the best F1 on dev.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    splits : with non-empty train and dev parts that are TaggedDatasets, such as `synthetic.splits()`
    method : "full", "frozen-embeddings", "frozen" or "lora", as for `finetune`
    out : folder for the result, which `load_tagger` reads: the whole model for every method, the updates of "lora"
        merged into it. While training it holds a checkpoint.
    learning_rate : default `LEARNING_RATES` of the method
    rank : rank of the updates of "lora"
    dtype : number format of what is computed; default what this kind of processor computes fastest
    resume : go on from the checkpoint in ``out``
    callbacks : of `training.Callback`, with the tagger as ``run.learner``
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm,
        micro_batches, patience

    Returns
    -------
    Tagger with ``.history``; its rows also have ``dev_f1``, over whole entities as `score` counts them

    Notes
    -----
    The loss is the mean cross-entropy over the words, each of which counts the same. `training.train` weighs the
    parts of a batch, when memory or processes divide it, by their texts, but parts of as many texts have more or
    fewer words. So the sum over the words of a part is divided by its number of texts times the mean number of
    words in a training text, a constant: that is a mean over texts, so a divided batch gives the same gradient,
    and over an epoch it is exactly the mean over words. A mean over each part's own words would be neither.
    """
    if method not in LEARNING_RATES:
        raise ModelError(
            f"There is no method {method!r} for taggers. {suggest(method, LEARNING_RATES)}"
        )
    splits = _usable(splits)
    if out is not None:
        check_target(out)  # before the work, not after it
    elif resume:
        raise ModelError("There is nothing to go on from: resume=True needs the folder, out=...")
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
        seed=seed,
        **recipe,
    )
    torch.manual_seed(seed)  # the new layer
    tag_names = splits.train.tag_names
    model, tokenizer, fresh = load_base(base, len(tag_names), kind=AutoModelForTokenClassification)
    model.to(default_device())
    tagger = Tagger(model, tokenizer, tag_names)
    data = tagger.encode(splits.train.words)
    labels = data.labels(splits.train.tags)
    words = sum(int((one != IGNORED).sum()) for one in labels)
    steps = epochs * -(-len(splits.train) // batch_size)
    trained, own = prepared(model, method, rank, steps, fresh)
    dtype = as_number_format(dtype, tagger.device.type)

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        rows = [labels[int(index)] for index in indices]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        return data.pieces.batch(indices) | {"labels": padded}  # (B, T)

    history = train(
        trained,
        data.pieces.lengths,
        batch,
        _measuring(tagger, splits.dev, dtype),
        recipe,
        dtype=dtype,
        folder=out,
        resume=resume,
        choose_by="dev_f1",
        identity={
            "method": method,
            "base": str(base),
            "training_sentences": fingerprint(vars(splits.train)),
            "dev_sentences": fingerprint(vars(splits.dev)),
        },
        objective=mean_over_words(words / len(labels)),
        callbacks=[*own, *callbacks],
        learner=tagger,
    )
    model.requires_grad_(True)
    if trained is not model:
        model = trained.merge_and_unload()
    tagger = Tagger(model, tokenizer, tag_names, history)
    if out is not None and is_main_process():
        tagger.save(out)
    return tagger


def mean_over_words(words_per_text: float) -> Callable[[Any, dict[str, Tensor]], Tensor]:
    """The loss of a batch: summed over its words, divided by how many so many texts have on average.

    ``words_per_text`` is a constant of the training set; the notes of `finetune_tagger` say why.
    """

    def objective(outputs: Any, inputs: dict[str, Tensor]) -> Tensor:
        logits, labels = outputs.logits.float(), inputs["labels"]  # (B, T, C), (B, T)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return losses / (words_per_text * len(labels))

    return objective


def _usable(splits: Splits | None) -> Splits:
    """The splits, or an error that says what is missing."""
    if splits is None or not len(splits.train) or not len(splits.dev):
        raise DataError(
            "finetune_tagger needs sentences to train on and sentences for dev. Use al.datasets.news.splits(), or "
            "al.datasets.split(your_data)."
        )
    for part in (splits.train, splits.dev):
        if not isinstance(part, TaggedDataset):
            raise DataError(
                f"{part!r} has no tags on its words. For labels on whole texts there is al.finetune."
            )
    _known(splits.dev, splits.train.tag_names, "the training sentences")
    _something(splits.train)
    return splits


def _something(data: TaggedDataset) -> None:
    """Raise DataError if nothing is tagged."""
    if not any(spans(data.named(place)) for place in range(len(data))):
        raise DataError(
            f"Nothing is tagged in the {len(data)} sentences of {data.name}. Give sentences with B- and I- tags."
        )


def _known(data: TaggedDataset, tag_names: Sequence[str], who: str) -> None:
    """Raise DataError for tags that somebody does not know."""
    unknown = sorted({*data.tag_names} - {*tag_names})
    if unknown:
        raise DataError(
            f"{data.name} has the tags {', '.join(unknown[:6])}, and {who} know "
            f"{', '.join(kinds_of(tag_names))}. Give sentences with the same kinds of entity."
        )


def _measuring(
    tagger: Tagger, dev: TaggedDataset, dtype: torch.dtype
) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch."""
    with needs("lab"):
        from seqeval.metrics import f1_score
        from seqeval.scheme import IOB2

    encoded = tagger.encode(dev.words)
    truth = [dev.named(place) for place in range(len(dev))]
    number = {tag: index for index, tag in enumerate(tagger.tag_names)}
    places = [np.array([number[tag] for tag in tags]) for tags in truth]

    def measure() -> dict[str, float]:
        with autocast(tagger.device, dtype):
            answers = tagger.log_probabilities(encoded)
        guess = [
            [tagger.tag_names[tag] for tag in best_tags(one, tagger.tag_names)] for one in answers
        ]
        right = [one[np.arange(len(one)), tags] for one, tags in zip(answers, places, strict=True)]
        return {
            "dev_accuracy": _accuracy(truth, guess),
            "dev_loss": float(-np.nanmean(np.concatenate(right))),
            "dev_f1": float(f1_score(truth, guess, mode="strict", scheme=IOB2, zero_division=0)),
        }

    return measure


def _accuracy(truth: list[list[str]], guess: list[list[str]]) -> float:
    pairs = [
        a == b for one, two in zip(truth, guess, strict=True) for a, b in zip(one, two, strict=True)
    ]
    return float(np.mean(pairs))


# ── scores ─────────────────────────────────────────────────────────────────────────────────────


class Predicts(Protocol):
    """Anything that tags sentences of words: a Tagger, or the `baseline`."""

    tag_names: list[str]

    def predict(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        """Give each word of each sentence a tag."""


@dataclass(frozen=True, eq=False)
class TagScore:
    """What a tagger scored on n sentences. An entity counts when its kind and both its ends are right.

    Attributes
    ----------
    f1 : harmonic mean of precision and recall over all entities (micro average), 0 to 1
    stderr : its standard error: the standard deviation of F1 over 1000 bootstrap samples of n sentences, drawn
        with replacement. Sentences are drawn, not entities, as those of one sentence are not independent.
    precision : share of what was found that is right; 0 if nothing was found
    recall : share of what is there that was found
    accuracy : share of words with the right tag; high for anybody, as most words name nothing
    n : number of sentences
    entities : number of entities in them
    kinds : DataFrame with a row per kind: kind, precision, recall, f1, entities
    predictions : n lists of tag names
    """

    f1: float
    stderr: float
    precision: float
    recall: float
    accuracy: float
    n: int
    entities: int
    kinds: pd.DataFrame
    predictions: list[list[str]]

    def __repr__(self) -> str:
        return (
            f"TagScore(F1 {self.f1:.1%} ± {self.stderr:.1%}, precision {self.precision:.1%}, recall "
            f"{self.recall:.1%}, {self.entities:,} entities, n {self.n:,})"
        )


def score(tagger: Predicts, data: TaggedDataset) -> TagScore:
    """Measure a tagger on held-out sentences, by whole entities.

    Precision, recall and F1 are seqeval's, in its strict mode for IOB2. Words that a sentence is too long for have
    the tag O, so what they name counts as missed.

    Parameters
    ----------
    tagger : Tagger, or the `baseline`
    data : TaggedDataset of kinds that the tagger knows

    Raises
    ------
    DataError : no sentences, nothing named in them, or kinds that the tagger does not know
    """
    with needs("lab"):
        from seqeval.metrics import classification_report
        from seqeval.scheme import IOB2

    if not isinstance(data, TaggedDataset):
        raise DataError(f"{data!r} has no tags on its words to measure against.")
    _known(data, tagger.tag_names, "this tagger")
    _something(data)
    truth = [data.named(place) for place in range(len(data))]
    guess = tagger.predict(data.words)
    report = classification_report(
        truth, guess, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    overall = report["micro avg"]
    rows = [
        {
            "kind": kind,
            "precision": float(report[kind]["precision"]),
            "recall": float(report[kind]["recall"]),
            "f1": float(report[kind]["f1-score"]),
            "entities": int(report[kind]["support"]),
        }
        for kind in kinds_of(data.tag_names)
        if kind in report
    ]
    return TagScore(
        f1=float(overall["f1-score"]),
        stderr=_bootstrap(truth, guess),
        precision=float(overall["precision"]),
        recall=float(overall["recall"]),
        accuracy=_accuracy(truth, guess),
        n=len(data),
        entities=int(overall["support"]),
        kinds=pd.DataFrame(rows),
        predictions=guess,
    )


def _bootstrap(truth: list[list[str]], guess: list[list[str]]) -> float:
    """Standard deviation of F1 over samples of sentences, drawn with replacement."""
    counts = []
    for one, two in zip(truth, guess, strict=True):
        there, found = {*spans(one)}, {*spans(two)}
        counts.append((2 * len(there & found), len(there) + len(found)))
    table = np.array(counts)  # (n, 2): F1 is the sum of the one over the sum of the other
    draw = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        right, all_of_them = table[draw.integers(len(table), size=len(table))].sum(0)
        values.append(right / max(all_of_them, 1))
    return float(np.std(values, ddof=1))


# ── what needs no neural network ───────────────────────────────────────────────────────────────


class LinearTagger:
    """Tags a word by how it and its neighbours are written, with a linear model: the tagger to beat.

    Attributes
    ----------
    pipeline : scikit-learn Pipeline from the features of a word to its tag: of the word and of two on either side
        the small letters with "#" for digits, and the form ("Xx" for a name, "0.0m"), and of the word itself the
        first and the last three letters. These are usual features of taggers before neural ones.
    tag_names : list of str
    """

    def __init__(self, pipeline: "Pipeline", tag_names: list[str]):
        self.pipeline, self.tag_names = pipeline, tag_names

    def predict(self, words: Sequence[Sequence[str]]) -> list[list[str]]:
        """Give each word of each sentence a tag; valid IOB2."""
        counts = np.cumsum([len(sentence) for sentence in words])
        features = [one for sentence in words for one in _features(sentence)]
        if not features:
            return []
        scores = np.full((len(features), len(self.tag_names)), -np.inf)
        scores[:, self.pipeline.classes_] = self.pipeline.predict_log_proba(features)
        return [
            [self.tag_names[tag] for tag in best_tags(one, self.tag_names)]
            for one in np.split(scores, counts[:-1])
        ]

    def __repr__(self) -> str:
        return f"LinearTagger(finds {', '.join(kinds_of(self.tag_names))})"


def _features(sentence: Sequence[str]) -> list[dict[str, str]]:
    """What the linear model sees of each word."""
    shapes = [re.sub(r"\d+", "#", word.casefold()) for word in sentence]
    letters = (
        re.sub(r"[^\W\d_]", lambda one: "X" if one[0].isupper() else "x", word) for word in sentence
    )
    forms = [re.sub(r"(.)\1+", r"\1", re.sub(r"\d", "0", word)) for word in letters]
    rows = []
    for place, shape in enumerate(shapes):
        row = {"first": shape[:3], "last": shape[-3:]}
        for step in range(-2, 3):
            inside = 0 <= place + step < len(shapes)
            row[f"shape {step}"] = shapes[place + step] if inside else "none"
            row[f"form {step}"] = forms[place + step] if inside else "none"
        rows.append(row)
    return rows


def baseline(train: TaggedDataset) -> LinearTagger:
    """Train the tagger to beat, in seconds: a logistic regression on how words and their neighbours are written.

    Raises DataError if nothing is tagged in the sentences.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    _something(train)
    features = [one for words in train.words for one in _features(words)]
    tags = [tag for own in train.tags for tag in own]
    pipeline = make_pipeline(DictVectorizer(), LogisticRegression(C=10, max_iter=1000))
    return LinearTagger(pipeline.fit(features, tags), train.tag_names)
