"""A language model from nothing, as lesson 04 builds it: train it, sample from it, look inside.

`model` is the Transformer, `positions` and `cache` parts of it, `hub` trades weights with GPT-2 and
Llama. `vocabulary` cuts text into tokens, `ngrams` are the rivals that count, `measuring` says how
well either foretells a text. `training` makes a `Writer`, a model with its tokens, which `storing`
keeps and `loading` brings back; `sampling` draws the next token, `generating` writes on. `looking`,
`residual`, `patching` and `ablation` look inside, `induction` grows the two heads that copy.
`variants` holds what other positions, shared keys and windows reached.
"""

from attnlab.language.ablation import ablate_language_model
from attnlab.language.cache import LanguageCache
from attnlab.language.generating import generate, stream
from attnlab.language.hub import from_transformers, to_transformers
from attnlab.language.induction import Repeated, repeated_sequences, train_induction
from attnlab.language.loading import language_models, load_language_model
from attnlab.language.looking import (
    HeadScores,
    induction_scores,
    previous_token_scores,
    sink_shares,
)
from attnlab.language.measuring import bits_per_character, measure_bits
from attnlab.language.model import LanguageModel
from attnlab.language.ngrams import KneserNey, packed_bits
from attnlab.language.patching import patch_activations
from attnlab.language.residual import (
    LogitAttribution,
    direct_logit_attribution,
    lens_table,
    logit_lens,
    token_losses,
)
from attnlab.language.sampling import adjust, candidates, draw
from attnlab.language.training import RECIPES, fit, recipe, train_language_model, untrained
from attnlab.language.variants import variants
from attnlab.language.vocabulary import BytePairs, Characters, Tokens, tokens_from_json
from attnlab.language.writer import Writer

__all__ = [
    "RECIPES",
    "BytePairs",
    "Characters",
    "HeadScores",
    "KneserNey",
    "LanguageCache",
    "LanguageModel",
    "LogitAttribution",
    "Repeated",
    "Tokens",
    "Writer",
    "ablate_language_model",
    "adjust",
    "bits_per_character",
    "candidates",
    "direct_logit_attribution",
    "draw",
    "fit",
    "from_transformers",
    "generate",
    "induction_scores",
    "language_models",
    "lens_table",
    "load_language_model",
    "logit_lens",
    "measure_bits",
    "packed_bits",
    "patch_activations",
    "previous_token_scores",
    "recipe",
    "repeated_sequences",
    "sink_shares",
    "stream",
    "to_transformers",
    "token_losses",
    "tokens_from_json",
    "train_induction",
    "train_language_model",
    "untrained",
    "variants",
]


def __dir__() -> list[str]:
    return sorted(__all__)
