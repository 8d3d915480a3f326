"""The encoder-decoder Transformer of lesson 03, its key-value cache, decoding, and sub-words.

`layers` and `encoder_decoder` are the model, `cache` what the decoder keeps between steps,
`decoding` turns probabilities into sentences, `sizes` counts parameters and FLOPs, `pruning`
removes heads.
"""

from attnlab.transformer.cache import KVCache
from attnlab.transformer.decoding import Hypothesis, beam, greedy, sample
from attnlab.transformer.encoder_decoder import Seq2SeqTransformer
from attnlab.transformer.layers import DecoderLayer, EncoderLayer, through_norm
from attnlab.transformer.pruning import NoHeads, build_in, prune
from attnlab.transformer.sizes import active_heads, flops_of, parameters_of
from attnlab.transformer.subwords import Subwords

__all__ = [
    "DecoderLayer",
    "EncoderLayer",
    "Hypothesis",
    "KVCache",
    "NoHeads",
    "Seq2SeqTransformer",
    "Subwords",
    "active_heads",
    "beam",
    "build_in",
    "flops_of",
    "greedy",
    "parameters_of",
    "prune",
    "sample",
    "through_norm",
]


def __dir__() -> list[str]:
    return sorted(__all__)
