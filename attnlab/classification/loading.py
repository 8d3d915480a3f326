"""Classifiers by name: ours, a folder's or from the Hugging Face hub; what training starts from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from attnlab import heads
from attnlab.classification.adapter_files import load_adapter_into, read_record, refuse_another_base
from attnlab.classification.belonging import label_names_of, refuse_other_tasks
from attnlab.classification.classifier import Classifier
from attnlab.classification.export_card import is_export
from attnlab.classification.failures import (
    explained,
    explained_tokenizer,
    fresh_parameters,
    refuse_missing_files,
    refuse_without_tokenizer,
)
from attnlab.classification.naming import BUNDLED, located
from attnlab.classification.onnx_classifier import OnnxClassifier
from attnlab.classification.saving import quietly
from attnlab.classification.structure import is_changed, restore, unpacked
from attnlab.device import device as default_device
from attnlab.errors import ModelError
from attnlab.files import read_json, read_tensors
from attnlab.training.history import History

_ADAPTER = "adapter_config.json"
_INDEX = "model.safetensors.index.json"


def load_classifier(
    name: str | os.PathLike[str], device: torch.device | str | None = None
) -> Classifier:
    """Load a sentence classifier.

    Parameters
    ----------
    name : one of ours ("movie-sentiment": the bundled BERT with our adapter, no network, seconds);
        a folder that `Classifier.save` or `finetune` wrote; or a name on the Hugging Face hub of
        any BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT sequence classifier, or of a
        GPT-2 or Llama-type one. A folder that `Classifier.export` wrote gives an `OnnxClassifier`,
        which predicts without PyTorch.
    device : default: the first GPU, else the CPU; exported ones run on the CPU

    Raises
    ------
    ModelError : no such model, a family whose heads cannot be reached, weights not in safetensors;
        parts that do not belong together: weights, tokenizer, labels, adapter and base; a model
        that does not choose one label of several
    """
    where = torch.device(device) if device is not None else default_device()
    place = located(name)
    if is_export(Path(place)):
        return OnnxClassifier(place).to("cpu" if device is None else where)
    if (Path(place) / _ADAPTER).exists():
        clf = _load_adapter(Path(place))
    else:
        model, tokenizer = load_model(place, AutoModelForSequenceClassification)
        with explained(place):
            clf = Classifier(model, tokenizer, label_names_of(model.config))
    clf.loaded_from = str(name)
    return clf.to(where)


def fresh_classifier(
    base: str | os.PathLike[str] = BUNDLED,
    label_names: Sequence[str] = ("negative", "positive"),
    pretrained: bool = True,
) -> Classifier:
    """Return what fine-tuning starts from: an encoder, and a classification layer at random.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    pretrained : with False the encoder has random weights too

    Notes
    -----
    Random weights are drawn from torch's generator: call ``torch.manual_seed`` before, to have the
    same again.
    """
    model, tokenizer, _ = load_base(base, len(label_names), pretrained)
    return Classifier(model, tokenizer, list(label_names)).to(default_device())


def load_model(name: str | os.PathLike[str], kind: Any) -> tuple[Any, Any]:
    """Load a finished model; heads that were removed for good stay removed.

    Parameters
    ----------
    name : a folder or a hub name, as `naming.located` returns it
    kind : one of Transformers' Auto classes

    Returns
    -------
    the model in float32, and its tokenizer

    Raises
    ------
    ModelError : see `load_classifier`
    """
    with explained(name), quietly():
        config = read_configuration(name, weights=True)
        if kind is AutoModelForSequenceClassification:
            refuse_other_tasks(config)
        tokenizer = _tokenizer(name, config, kind)
        return load_weights(name, config, kind), tokenizer


def load_weights(name: str | os.PathLike[str], config: Any, kind: Any) -> Any:
    """Load a finished model in float32 whose configuration was read; errors as for `load_model`."""
    if is_changed(config):
        return _load_changed(name, config, kind)
    model, loading = kind.from_pretrained(
        name,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # they are refused in our own words
        output_loading_info=True,
    )
    fresh_parameters(name, model, loading, finished=True)
    return model


def read_configuration(name: str | os.PathLike[str], weights: bool, **changes: Any) -> Any:
    """Return a model's configuration; heads that version 4 of Transformers removed are noted."""
    if Path(name).is_dir():
        refuse_missing_files(Path(name), weights)
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **changes)
    if removed := getattr(config, "pruned_heads", None):
        table = {str(layer): sorted(gone) for layer, gone in removed.items() if gone}
        setattr(config, heads.PRUNED, table or None)
        config.pruned_heads = {}
    return config


def load_base(
    name: str | os.PathLike[str],
    labels: int,
    pretrained: bool = True,
    kind: Any = AutoModelForSequenceClassification,
) -> tuple[Any, Any, list[str]]:
    """Load an encoder with a fresh layer on top.

    Parameters
    ----------
    name : "minilm" (bundled), a folder or a hub name
    labels : outputs of the layer
    pretrained : with False the encoder has random weights too
    kind : one of Transformers' Auto classes

    Returns
    -------
    the model in float32, its tokenizer, and the names of the parameters that are fresh
    """
    place = located(name)
    if (Path(place) / _ADAPTER).exists():
        raise ModelError(
            f"{str(name)!r} is an adapter, and fine-tuning starts from a whole model, such as "
            "'minilm'. In Python al.load_classifier(...).save(folder) makes one of it."
        )
    with explained(place), quietly():
        config = read_configuration(place, pretrained, num_labels=labels)
        config.problem_type = None  # of a base that was fine-tuned before
        heads.refuse_decoder(config, "Fine-tuning")
        tokenizer = _tokenizer(place, config, kind)
        if is_changed(config):
            raise ModelError(
                f"{str(name)!r} was compressed, or has heads removed for good, and fine-tuning "
                "starts from whole models. Fine-tune first, then compress; or let it learn from "
                "what it came from, in Python: al.compression.distil(teacher, student, splits)."
            )
        if not pretrained:
            model = kind.from_config(config, dtype=torch.float32)
            return model, tokenizer, sorted(parameter for parameter, _ in model.named_parameters())
        model, loading = kind.from_pretrained(
            place,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        return model, tokenizer, fresh_parameters(name, model, loading, finished=False)


def _tokenizer(name: str | os.PathLike[str], config: Any, kind: Any) -> Any:
    options: dict[str, Any] = {"trust_remote_code": False}
    if kind is AutoModelForTokenClassification and config.model_type == "roberta":
        # texts that are words already; its pieces hold the blank before a word
        options["add_prefix_space"] = True
    with explained_tokenizer(name):
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    refuse_without_tokenizer(name, tokenizer)
    return tokenizer


def _load_changed(name: str | os.PathLike[str], config: Any, kind: Any) -> Any:
    """A model that is no longer as its family has it: changed first, then filled."""
    model = kind.from_config(config, dtype=torch.float32)
    restore(model)
    folder = Path(name)
    if not folder.is_dir():
        wanted = ["*.safetensors", "*.json"]
        folder = Path(huggingface_hub.snapshot_download(str(name), allow_patterns=wanted))
    files = [folder / "model.safetensors"]
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX)
        files = [folder / file for file in sorted(set(index["weight_map"].values()))]
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)[1]
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    expected = model.state_dict()
    given = {name: tensor for name, tensor in unpacked(model, tensors).items() if tensor.numel()}
    report = {
        "missing_keys": expected.keys() - given.keys(),
        "unexpected_keys": given.keys() - expected.keys(),
        "mismatched_keys": {
            (name, tensor.shape, expected[name].shape)
            for name, tensor in given.items()
            if name in expected and tensor.shape != expected[name].shape
        },
    }
    fresh_parameters(folder, model, report, finished=True)
    model.load_state_dict({name: given[name] for name in expected})
    return model


def _load_adapter(folder: Path) -> Classifier:
    with explained(folder), quietly():
        record = read_record(folder)
        try:
            model, tokenizer, fresh = load_base(record["base"], len(record["label_names"]))
        except ModelError as error:
            raise ModelError(
                f"The adapter in {folder} was trained on {record['base']!r}, and that cannot be "
                f"loaded. {error}"
            ) from error
        refuse_another_base(folder, record, model, tokenizer, fresh)
        tokenizer.model_max_length = record.get("max_length") or tokenizer.model_max_length
        model = load_adapter_into(model, folder)
        history = History(
            record.get("history", []), trainable=record.get("trainable_parameters", 0)
        )
        return Classifier(model, tokenizer, record["label_names"], history)
