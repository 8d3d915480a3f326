"""From our language model to GPT-2 and Llama of Transformers, and back: the same numbers."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from attnlab.errors import ModelError
from attnlab.language.model import FeedForwardKind, LanguageModel

__all__ = ["from_transformers", "to_transformers"]

_GPT2_ACTIVATIONS: dict[str, FeedForwardKind] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
Pair = tuple[Tensor, Tensor]  # ours, theirs


def from_transformers(model: Any) -> LanguageModel:
    """Return our language model with the weights of a GPT-2 or Llama, which stays as it is.

    Parameters
    ----------
    model : GPT2LMHeadModel or LlamaForCausalLM

    Raises
    ------
    ModelError : another model; one with an activation, rotary scaling or scores of its own that our
        language model does not have
    """
    if isinstance(model, GPT2LMHeadModel):
        ours = _like_gpt2(model.config)
    elif isinstance(model, LlamaForCausalLM):
        ours = _like_llama(model.config)
    else:
        raise ModelError(
            f"Expected a GPT2LMHeadModel or a LlamaForCausalLM, got {type(model).__name__}. "
            "al.heads.applied takes other decoders of Transformers as they are."
        )
    with torch.no_grad():
        for own, other in _pairs(ours, model):
            own.copy_(other)
    return ours.to(model.device).train(model.training)


def to_transformers(model: LanguageModel) -> Any:
    """Return a GPT-2 or Llama of Transformers that computes the same; ours stays as it is.

    Parameters
    ----------
    model : LanguageModel with learned positions, layer norm, a GELU and biases (GPT-2), or with
        rotary positions, RMS norm and SwiGLU, without biases (Llama)

    Raises
    ------
    ModelError : a mixture of parts that neither of them has; a window; heads removed for good
    """
    size = model.size
    parts = size["positions"], size["norm"], size["feed_forward"], size["bias"]
    trouble = {
        f"a window of {size['window']} tokens": size["window"] is not None,
        f"{len(size['removed'])} heads removed for good": bool(size["removed"]),
    }
    found = [what for what, so in trouble.items() if so]
    if found:
        raise ModelError(
            f"GPT-2 and Llama have no place for {' and '.join(found)}. Keep the LanguageModel."
        )
    theirs: Any
    if parts == ("rope", "rms", "swiglu", False):
        theirs = LlamaForCausalLM(_llama_config(size))
    elif parts in (("learned", "layer", kind, True) for kind in ("gelu", "gelu_tanh")):
        if size["kv_heads"] != size["heads"]:
            raise ModelError(
                f"GPT-2 has no heads that share keys ({size['heads']} query heads, "
                f"{size['kv_heads']} of keys and values). Llama has: it needs positions='rope', "
                "norm='rms', feed_forward='swiglu', bias=False."
            )
        theirs = GPT2LMHeadModel(_gpt2_config(size))
    else:
        raise ModelError(
            "Transformers has no such mixture: positions={!r}, norm={!r}, feed_forward={!r}, "
            "bias={!r}. GPT-2 is 'learned', 'layer', 'gelu' or 'gelu_tanh', True; Llama is 'rope', "
            "'rms', 'swiglu', False.".format(*parts)
        )
    with torch.no_grad():
        for own, other in _pairs(model, theirs):
            other.copy_(own)
    return theirs.to(model.embedding.weight.device).train(model.training)


# --- sizes ---------------------------------------------------------------------------------------


def _like_gpt2(config: Any) -> LanguageModel:
    _refuse(
        {
            f"its activation is {config.activation_function!r}, and ours the GELU": (
                config.activation_function not in _GPT2_ACTIVATIONS
            ),
            "its scores are scaled by layer": config.scale_attn_by_inverse_layer_idx,
            "its scores are not divided by the root of the width": not config.scale_attn_weights,
        }
    )
    ours = LanguageModel(
        config.vocab_size,
        config.n_embd,
        config.n_head,
        config.n_layer,
        positions="learned",
        feed_forward=_GPT2_ACTIVATIONS[config.activation_function],
        feed_forward_width=config.n_inner,
        tied=config.tie_word_embeddings,
        max_length=config.n_positions,
        dropout=config.resid_pdrop,
    )
    return _with_eps(ours, config.layer_norm_epsilon)


def _like_llama(config: Any) -> LanguageModel:
    rope = config.rope_parameters
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    _refuse(
        {
            f"its activation is {config.hidden_act!r}, and ours the SiLU": (
                config.hidden_act != "silu"
            ),
            f"its rotary positions are scaled ({rope.get('rope_type')!r})": (
                rope.get("rope_type", "default") != "default"
            ),
            "some of its linear maps have a bias": config.attention_bias or config.mlp_bias,
            "its heads together are not as wide as the model": (
                width * config.num_attention_heads != config.hidden_size
            ),
        }
    )
    ours = LanguageModel(
        config.vocab_size,
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        kv_heads=config.num_key_value_heads,
        norm="rms",
        feed_forward="swiglu",
        feed_forward_width=config.intermediate_size,
        tied=config.tie_word_embeddings,
        bias=False,
        max_length=config.max_position_embeddings,
        rope_base=rope["rope_theta"],
    )
    return _with_eps(ours, config.rms_norm_eps)


def _gpt2_config(size: dict[str, Any]) -> GPT2Config:
    activations = {ours: theirs for theirs, ours in _GPT2_ACTIVATIONS.items()}
    return GPT2Config(
        vocab_size=size["vocabulary"],
        n_positions=size["max_length"],
        n_embd=size["d_model"],
        n_layer=size["layers"],
        n_head=size["heads"],
        n_inner=size["feed_forward_width"],
        activation_function=activations[size["feed_forward"]],
        resid_pdrop=size["dropout"],
        embd_pdrop=size["dropout"],
        attn_pdrop=size["dropout"],
        tie_word_embeddings=size["tied"],
        bos_token_id=None,
        eos_token_id=None,
    )


def _llama_config(size: dict[str, Any]) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=size["vocabulary"],
        hidden_size=size["d_model"],
        intermediate_size=size["feed_forward_width"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["kv_heads"],
        max_position_embeddings=size["max_length"],
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": size["rope_base"]},
        tie_word_embeddings=size["tied"],
        attention_dropout=size["dropout"],
        bos_token_id=None,
        eos_token_id=None,
    )


def _refuse(trouble: dict[str, Any]) -> None:
    for what, so in trouble.items():
        if so:
            raise ModelError(
                f"This model cannot become a LanguageModel: {what}. al.heads.applied takes it as "
                "it is."
            )


def _with_eps(model: LanguageModel, eps: float) -> LanguageModel:
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            module.eps = eps
    return model


# --- weights -------------------------------------------------------------------------------------


def _pairs(ours: LanguageModel, theirs: Any) -> Iterator[Pair]:
    """Each tensor of ours beside theirs of the same numbers, as views of both."""
    yield from _gpt2(ours, theirs) if isinstance(theirs, GPT2LMHeadModel) else _llama(ours, theirs)
    if not ours.size["tied"]:
        yield ours.unembedding.weight, theirs.lm_head.weight


def _gpt2(ours: LanguageModel, theirs: Any) -> Iterator[Pair]:
    base = theirs.transformer
    yield ours.embedding.weight, base.wte.weight
    assert ours.positions.table is not None  # learned
    yield ours.positions.table, base.wpe.weight
    for block, layer in zip(ours.blocks, base.h, strict=True):
        attention = block.attention
        # theirs multiplies from the other side, and has query, key and value in one matrix
        weights, biases = layer.attn.c_attn.weight.chunk(3, 1), layer.attn.c_attn.bias.chunk(3)
        own = (attention.query, attention.key, attention.value)
        for linear, weight, bias in zip(own, weights, biases, strict=True):
            yield linear.weight.T, weight
            yield linear.bias, bias
        for linear, conv in (
            (attention.output, layer.attn.c_proj),
            (block.feed_forward[0], layer.mlp.c_fc),
            (block.feed_forward[-1], layer.mlp.c_proj),
        ):
            yield linear.weight.T, conv.weight
            yield linear.bias, conv.bias
        yield from _norms(block.around_attention.norm, layer.ln_1)
        yield from _norms(block.around_feed_forward.norm, layer.ln_2)
    yield from _norms(ours.norm, base.ln_f)


def _llama(ours: LanguageModel, theirs: Any) -> Iterator[Pair]:
    base = theirs.model
    yield ours.embedding.weight, base.embed_tokens.weight
    width = ours.size["d_model"] // ours.heads
    for block, layer in zip(ours.blocks, base.layers, strict=True):
        attention, other = block.attention, layer.self_attn
        # we turn neighbours, they turn a number of the first half with one of the second
        for own, theirs_ in ((attention.query, other.q_proj), (attention.key, other.k_proj)):
            yield (
                own.weight.unflatten(0, (-1, width // 2, 2)),
                theirs_.weight.unflatten(0, (-1, 2, width // 2)).transpose(1, 2),
            )
        yield attention.value.weight, other.v_proj.weight
        yield attention.output.weight, other.o_proj.weight
        for name in ("gate", "up", "down"):
            yield (
                getattr(block.feed_forward, name).weight,
                getattr(layer.mlp, f"{name}_proj").weight,
            )
        yield block.around_attention.norm.weight, layer.input_layernorm.weight
        yield block.around_feed_forward.norm.weight, layer.post_attention_layernorm.weight
    yield ours.norm.weight, base.norm.weight


def _norms(ours: Any, theirs: Any) -> Iterator[Pair]:
    yield ours.weight, theirs.weight
    yield ours.bias, theirs.bias


def __dir__() -> list[str]:
    return sorted(__all__)
