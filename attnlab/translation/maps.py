"""Attention maps of a translator over one pair of texts."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attnlab.attention import MultiHeadAttention
from attnlab.heads.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.heads.weights import effective_weight, value_norms
from attnlab.inference import check_finite, evaluating
from attnlab.transformer.encoder_decoder import Seq2SeqOutput, Seq2SeqTransformer
from attnlab.transformer.subwords import Subwords

if TYPE_CHECKING:
    from attnlab.translation.translator import Translator

MARKS = (Subwords.padding, Subwords.start, Subwords.end)


def attention_maps(
    translator: "Translator",
    source: list[int],
    target: list[int],
    settings: Seq2SeqSettings,
    neutral: Seq2SeqMaps | None = None,
) -> Seq2SeqMaps:
    """Read one pair and return the attention of every kind, layer and head.

    Parameters
    ----------
    translator : Translator
    source, target : ids of the pair, both with the end mark
    settings : of the heads
    neutral : maps of the same pair with neutral settings, which the result carries along
    """
    source_words, target_words = translator.source_words, translator.target_words
    decoder_input = [target_words.start, *target[:-1]]
    ids, input_ids = (
        torch.tensor([row], device=translator.device) for row in (source, decoder_input)
    )
    output = read(translator.model, ids, input_ids, settings)
    never_written = [translator.model.padding, target_words.start]
    output.logits[..., never_written] = -torch.inf

    source_tokens, target_tokens = source_words.tokens(source), target_words.tokens(target)
    special = [torch.tensor([token in MARKS for token in row]) for row in (source, decoder_input)]
    pictures = {}
    for kind, modules in translator.model.attention_modules().items():
        active = translator.model.active[kind]
        heads = getattr(settings, kind)
        weights = torch.stack([layer[0][0] for layer in output.attention[kind]]).float().cpu()
        norms = torch.stack(
            [
                _value_norms(module, layer[1], present)[0]
                for module, layer, present in zip(
                    modules, output.attention[kind], active, strict=True
                )
            ]
        ).cpu()  # (L, H, keys)
        contributions = weights * heads.scale.detach()[:, :, None, None] * norms[:, :, None]
        pictures[kind] = (weights, contributions, heads)

    input_tokens = [target_words.tokens([decoder_input[0]])[0], *target_tokens[:-1]]

    def within(kind: str, tokens: list[str], special: Tensor) -> AttentionMaps:
        weights, contributions, heads = pictures[kind]
        before = None if neutral is None else getattr(neutral, kind)
        return AttentionMaps(tokens, weights, contributions, special, heads, before)

    return Seq2SeqMaps(
        encoder=within("encoder", source_tokens, special[0]),
        decoder=within("decoder", input_tokens, special[1]),
        cross=CrossMaps(
            source_tokens,
            target_tokens,
            *pictures["cross"],
            None if neutral is None else neutral.cross,
        ),
        probabilities=output.logits[0].float().softmax(-1).cpu(),
        vocabulary=target_words.vocabulary,
    )


@torch.no_grad()
def read(
    model: Seq2SeqTransformer, source: Tensor, target: Tensor, settings: Seq2SeqSettings | None
) -> Seq2SeqOutput:
    """Logits and the attention of every layer for given pairs, with dropout off.

    Raises ModelError if they are not finite.
    """
    with evaluating(model):
        output = model(source, target, settings=settings, return_weights=True)
    weights = [seen[0] for layers in output.attention.values() for seen in layers]
    sums = [part.sum(dtype=torch.float32) for part in weights]
    check_finite(model, torch.stack([*sums, output.logits.sum(dtype=torch.float32)]))
    return output


def _value_norms(module: MultiHeadAttention, values: Tensor, active: list[int]) -> Tensor:
    """`value_norms` of all heads, (B, H, T), adapters included; 0 for heads that were removed."""
    norms = values.new_zeros(values.shape[:3])
    if active:
        out_proj = effective_weight(module.output, module.output.in_features)
        norms[:, active] = value_norms(out_proj, values[:, active]).to(norms)
    return norms
