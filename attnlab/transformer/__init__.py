"""The encoder-decoder Transformer of lesson 03, its key-value cache, decoding, and sub-words."""

from attnlab.transformer.decoding import Hypothesis, beam, greedy, sample
from attnlab.transformer.encoder_decoder import (
    DecoderLayer,
    EncoderLayer,
    Seq2SeqTransformer,
    flops_of,
    parameters_of,
)
from attnlab.transformer.subwords import Subwords

__all__ = [
    "DecoderLayer",
    "EncoderLayer",
    "Hypothesis",
    "Seq2SeqTransformer",
    "Subwords",
    "beam",
    "flops_of",
    "greedy",
    "parameters_of",
    "sample",
]
