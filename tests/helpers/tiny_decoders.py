"""Tiny decoders of every family that is reached, with random weights, and padded batches."""

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

LAYERS, HEADS, WIDTH = 3, 4, 8
_SIZE = {
    "vocab_size": 60,
    "hidden_size": HEADS * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "num_labels": 3,
}
_GPT2 = {
    "vocab_size": 60,
    "n_embd": HEADS * WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "num_labels": 3,
}
DECODERS = {
    "gpt2": lambda: GPT2Config(**_GPT2),
    "llama": lambda: LlamaConfig(**_SIZE),  # two heads to a key
    "llama-bias": lambda: LlamaConfig(**_SIZE | {"attention_bias": True, "num_key_value_heads": 4}),
    "llama-wide": lambda: LlamaConfig(**_SIZE | {"head_dim": 12, "num_key_value_heads": 1}),
    "mistral": lambda: MistralConfig(**_SIZE, sliding_window=4),
    "qwen2": lambda: Qwen2Config(
        **_SIZE, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen3": lambda: Qwen3Config(**_SIZE, head_dim=8),
}
PLAIN = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


def tiny_decoder(name, kind=AutoModelForCausalLM, **changes):
    """A tiny decoder in which every head matters, its biases and norms no longer neutral."""
    config = DECODERS[name]()
    config.update(changes)
    torch.manual_seed(0)
    model = kind.from_config(config).eval()
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            if parameter.dim() > 1 and not any(part in place for part in ("wte", "wpe", "embed")):
                parameter.mul_(5)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def tiny_decoding_classifier(name, **changes):
    """The same with a classification layer on top."""
    return tiny_decoder(name, AutoModelForSequenceClassification, **changes)


def padded_batch(side="right", rows=3, tokens=11):
    """Arbitrary tokens; all rows but the first are padded, on the right or on the left."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        gone = slice(tokens - 2 * row, None) if side == "right" else slice(2 * row)
        ids[row, gone], mask[row, gone] = 0, 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if side == "left":  # as `generate` counts them
        batch["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
    return batch
