"""Folders of adapters: what an adapter adds to its base, and our record of what it belongs to."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

from attnlab import heads
from attnlab.classification.fingerprints import base_fingerprint, part_of
from attnlab.classification.merging_adapters import WEIGHTS, is_plain_lora, merge_lora, merged
from attnlab.classification.naming import RECORD, finetuning
from attnlab.classification.saving import quietly, whole_folder
from attnlab.errors import ModelError, needs
from attnlab.files import read_json, read_tensors


def read_record(folder: Path) -> dict[str, Any]:
    """Return what is noted beside an adapter.

    Raises
    ------
    ModelError : an adapter without the note, or without its weights
    """
    if not (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds adapter_config.json, but not {WEIGHTS} beside it. Make it again: "
            f"{finetuning(out=folder)}."
        )
    if not (folder / RECORD).exists():
        raise ModelError(
            f"{folder} holds an adapter that peft wrote, without {RECORD}, which says what its "
            "labels are and which base it belongs to. In Python, load it with peft and save it "
            "whole: al.Classifier(PeftModel.from_pretrained(base, folder), tokenizer, "
            f"label_names).save(new_folder). Or make it again: {finetuning(out=folder)}."
        )
    record = read_json(folder / RECORD)
    names = record.get("label_names")
    if not isinstance(record.get("base"), str) or not isinstance(names, list):
        raise ModelError(
            f"{folder / RECORD} does not name the base and the labels of the adapter "
            f'("base", "label_names"). Add them, or make the adapter again: {finetuning()}.'
        )
    return record


def refuse_another_base(
    folder: Path, record: dict[str, Any], model: Any, tokenizer: Any, fresh: list[str]
) -> None:
    """Raise ModelError unless a base is the one that an adapter was trained on.

    Parameters
    ----------
    folder, record : of the adapter. A record of an older version has no fingerprint; then only what
        the adapter must bring is checked.
    model, tokenizer : of the base that is there now
    fresh : names of its parameters that no file holds
    """
    tensors = read_tensors(folder / WEIGHTS)[1]
    was = record.get("base_fingerprint") or {}
    brought = {part_of(key) for key in [*tensors, *fresh] if "lora_" not in key} - {"encoder"}
    now = base_fingerprint(model, tokenizer) if was else {}
    other = [part for part in was if part not in brought and was[part] != now.get(part)]
    if other:
        told = " and ".join(f"{part} {was[part]}" for part in other)
        found = " and ".join(f"{part} {now.get(part, 'none')}" for part in other)
        raise ModelError(
            f"The adapter in {folder} was trained on {record['base']!r} with {told}; what is there "
            f"now has {found}. Put the old base back, or fine-tune again on the new one."
        )
    lacking = [name for name in fresh if not any(key.endswith(name) for key in tensors)]
    if lacking:
        raise ModelError(
            f"{folder / WEIGHTS} lacks {', '.join(lacking[:3])}, and the base {record['base']!r} "
            f"has none either: the answers would be random. Make the adapter again: {finetuning()}."
        )


def load_adapter_into(model: Any, folder: Path) -> Any:
    """Return the base with an adapter of any kind: merged, or wrapped if it cannot be merged."""
    config = read_json(folder / "adapter_config.json")
    if is_plain_lora(config):
        merge_lora(model, folder, config)
        return model
    with needs("lab"):
        from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # else they are random
        adapted = PeftModel.from_pretrained(model, str(folder))
    return adapted if heads.prefix(adapted) else merged(adapted)


def save_adapter(adapted: Any, record: dict[str, Any], folder: str | os.PathLike[str]) -> None:
    """Write what an adapter adds to its base, and our record beside it, whole or not at all."""
    with whole_folder(folder) as partial, quietly():
        adapted.active_peft_config.base_model_name_or_path = record["base"]
        adapted.save_pretrained(str(partial), save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)  # peft's template
        text = json.dumps(record, indent=1) + "\n"
        Path(partial / RECORD).write_text(text, encoding="utf-8")
