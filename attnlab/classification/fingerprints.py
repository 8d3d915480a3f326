"""Fingerprints of models: what was trained or measured on one can tell whether it is the same."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attnlab.heads import WithoutWeights, model_of

_ON_TOP = ("pooler", "pre_classifier", "classifier")
_PROBE = "Fine, said the Dogs: 3 naïve tests, un-read!"


def weights_hash(model: Any) -> str:
    """Return a hash of all weights of a model, by which it is known again."""
    return _hash(item for pair in model.state_dict().items() for item in pair)


def classifier_hash(clf: Any) -> str:
    """Return a hash of all that a classifier computes with, exported or not."""
    return clf.sha256 if isinstance(clf, WithoutWeights) else weights_hash(clf.model)


def base_fingerprint(model: Any, tokenizer: Any) -> dict[str, str]:
    """Return what identifies the model that an adapter belongs to, part by part.

    Parameters
    ----------
    model : of Transformers, without the adapter
    tokenizer : its own

    Returns
    -------
    name of a part ("encoder", "pooler", "classifier", ..., "tokenizer") to a hash. An adapter may
    replace whole parts above the encoder, and those need not be the same.
    """
    plain = model_of(model)
    parts: dict[str, list[Any]] = defaultdict(list)
    for name, parameter in plain.named_parameters():
        parts[part_of(name)].append(parameter)
    config = plain.config.to_dict()
    settings = ("model_type", "num_attention_heads", "n_heads", "hidden_act", "layer_norm_eps")
    parts["encoder"] += [str(config.get(name)) for name in settings]
    vocabulary = sorted(tokenizer.get_vocab().items())
    parts["tokenizer"] = [str(vocabulary), str(tokenizer(_PROBE, verbose=False)["input_ids"])]
    return {part: _hash(content) for part, content in parts.items()}


def part_of(name: str) -> str:
    """Return the part that a parameter belongs to: above the encoder, or "encoder"."""
    return next((part for part in _ON_TOP if part in name.split(".")), "encoder")


def _hash(content: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for item in content:
        if isinstance(item, Tensor) and not item.is_quantized:
            flat = item.detach().cpu().contiguous().view(-1).view(torch.uint8)
            found.update(flat.numpy().data)
        else:
            found.update(str(item).encode())
    return found.hexdigest()[:16]
