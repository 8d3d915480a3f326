"""Forward passes to measure: models of any shape with random weights, and texts of any length."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from attnlab import heads
from attnlab.classification.encoding import Encoded, fill_values
from attnlab.classification.onnx_classifier import OnnxClassifier
from attnlab.classification.structure import STRUCTURE, LowRankLinear, restore
from attnlab.device import autocast, device
from attnlab.economics.memory import require_memory
from attnlab.economics.shapes import Shape, megabytes, parameters, shape_of
from attnlab.errors import AttnlabError, ModelError
from attnlab.inference import evaluating
from attnlab.transformer import Seq2SeqTransformer

__all__ = ["build", "encoder_decoder_in", "forward_pass"]

_POSITIONS_BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert")


def build(shape: Shape, seed: int = 0) -> Any:
    """Build a model of this shape with random weights: as fast and as large as a trained one.

    Parameters
    ----------
    shape : Shape
    seed : of the weights

    Returns
    -------
    Transformers model that classifies texts, on the device that `device.device` names

    Raises
    ------
    ModelError : a shape that no model of its family has, such as heads that do not divide the width
    AttnlabError : a model that does not fit into memory
    """
    require_memory(1e6 * megabytes(shape), f"A model of {parameters(shape):,} weights", device())
    config = AutoConfig.for_model(shape.family)
    config.update(_sizes(shape, config))
    gone = {
        str(layer): list(range(count, config.num_attention_heads))
        for layer, (count, _) in enumerate(shape.layers)
        if count < config.num_attention_heads
    }
    shares = shape.sharing and shape.family != "albert"
    setattr(config, heads.PRUNED, gone or None)
    table = {
        "neurons": [neurons for _, neurons in shape.layers],
        "layers_as": list(shape.sharing) if shares else None,
        "low_rank": dict(shape.ranks),
    }
    setattr(config, STRUCTURE, {name: value for name, value in table.items() if value})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_config(config)
        restore(model)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, LowRankLinear):  # made empty, for weights from a file
                    module.down.weight.normal_(std=0.02)
                    module.up.weight.normal_(std=0.02)
    found = shape_of(model)
    if found != shape:
        raise ModelError(f"No model of this shape can be built: wanted {shape}, got {found}.")
    return heads.attach(model.eval().requires_grad_(False)).to(device())


def _sizes(shape: Shape, config: Any) -> dict[str, Any]:
    """The settings of a configuration that give a shape with all heads and most neurons."""
    owners = [shape.owner(layer) for layer in range(len(shape.layers))]
    sizes = {
        "num_hidden_layers": len(shape.layers),
        "num_attention_heads": shape.width // shape.head_width,
        "hidden_size": shape.width,
        "intermediate_size": max(neurons for _, neurons in shape.layers),
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "embedding_size": shape.embedding_width,
        "num_hidden_groups": len(set(owners)),
        "num_labels": shape.classes,
        "pad_token_id": 1 if shape.family in _POSITIONS_BEHIND_PADDING else 0,
    }
    if shape.family == "distilbert":
        sizes |= {"hidden_dim": sizes["intermediate_size"]}
    unknown = {"embedding_size", "num_hidden_groups", "type_vocab_size"}
    return {name: n for name, n in sizes.items() if hasattr(config, name) or name not in unknown}


def encoder_decoder_in(model: Any) -> Seq2SeqTransformer | None:
    """The encoder-decoder in a Translator, or the model itself; None for anything else."""
    for inner in (model, getattr(model, "__dict__", {}).get("model")):
        if isinstance(inner, Seq2SeqTransformer):
            return inner
    return None


def forward_pass(
    model: Any, tokens: int = 32, batch: int = 1, target_tokens: int | None = None
) -> Callable[[], Tensor]:
    """Return a call that answers a batch of texts of this length, as `Classifier.predict` does.

    Tokenisation does not count. Ids are random, and no text has padding.

    Parameters
    ----------
    model : Classifier, also an exported one, Transformers model, Translator or Seq2SeqTransformer
    tokens : T, of each text, special tokens included
    batch : B, texts
    target_tokens : of the translation, for an encoder-decoder; default ``tokens``

    Returns
    -------
    function without arguments that returns logits, (B, C) or (B, T, V)

    Raises
    ------
    AttnlabError : numbers of tokens or texts that are none, or more tokens than positions
    """
    for name, count in (("tokens", tokens), ("batch", batch), ("target_tokens", target_tokens)):
        wrong = isinstance(count, bool) or not isinstance(count, int) or count < 1
        if wrong and not (name == "target_tokens" and count is None):
            raise AttnlabError(f"{name} is {count!r}; expected a whole number of at least 1.")
    translator = encoder_decoder_in(model)
    if translator is not None:
        return _translation(translator, tokens, batch, target_tokens or tokens)
    if target_tokens is not None:
        raise AttnlabError(
            "target_tokens is for an encoder-decoder; a classifier reads tokens= of each text."
        )
    exported = isinstance(model, OnnxClassifier)
    inner: Any = model if exported else heads.model_of(model)
    config = inner.config
    most = config.max_position_embeddings
    if config.model_type in _POSITIONS_BEHIND_PADDING:
        most -= config.pad_token_id + 1
    _check_length(tokens, most)
    ids = _ids(config.vocab_size, (batch, tokens), config.pad_token_id).to(inner.device)
    if exported:
        encoded = _encoded(model, ids)
        return lambda: model.logits(encoded)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def answer() -> Tensor:
        with torch.inference_mode(), autocast(inner.device, torch.float32):
            return heads.run(model, inputs)

    return answer


def _translation(
    model: Seq2SeqTransformer, tokens: int, batch: int, target_tokens: int
) -> Callable[[], Tensor]:
    size, where = model.size, next(model.parameters()).device
    _check_length(max(tokens, target_tokens), size["max_length"])
    source = _ids(size["source_vocabulary"], (batch, tokens), size["padding"]).to(where)
    target = _ids(size["target_vocabulary"], (batch, target_tokens), size["padding"]).to(where)

    def answer() -> Tensor:
        with torch.inference_mode(), evaluating(model), autocast(where, torch.float32):
            return model(source, target).logits

    return answer


def _encoded(clf: Any, ids: Tensor) -> Encoded:
    """Texts of these ids (B, T), and 0 in every other input."""
    fill, (texts, tokens) = fill_values(clf.tokenizer), ids.shape
    columns = {name: np.zeros(texts * tokens, np.int32) for name in fill}
    columns["input_ids"] = ids.flatten().numpy().astype(np.int32)
    return Encoded(columns, np.arange(texts + 1) * tokens, fill)


def _check_length(tokens: int, most: int) -> None:
    if tokens > most:
        raise AttnlabError(
            f"A text of {tokens} tokens does not fit: this model has positions for {most}."
        )


def _ids(vocabulary: int, shape: tuple[int, int], padding: int | None) -> Tensor:
    """Random ids, none of them padding (unless there is nothing else)."""
    ids = torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0))
    return ids if padding is None else torch.where(ids == padding, (ids + 1) % vocabulary, ids)


def __dir__() -> list[str]:
    return sorted(__all__)
