"""Small classifiers of every family with a tokenizer of whole words, and texts for them."""

import numpy as np
import torch
from tiny_models import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from attnlab.classification.classifier import Classifier
from attnlab.datasets.texts import TextDataset

# of like length, so that they share padded batches; and a short one
TEXTS = [
    "A slow start, yet the ending is worth every minute.",
    "Clumsy, loud and far too long.",
    "What a film: funny, warm and sad at once, and never false.",
    "Dull.",
]

WORDS = ["a", "slow", "start", "but", "what", "an", "ending", "the", "film", "is", "worth", "it"]

WORDS += ["never", "dull", "and", "loud"]


def words_to_ids(pad, words=WORDS):
    """A tokenizer of whole words, with this id for padding."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names[0], names[pad] = names[pad], names[0]
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate([*names, *words])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = [(name, names.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.BertProcessing(around[1], around[0])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=40,
        **{f"{name.strip('[]').lower()}_token": name for name in names},
    )


def tiny_classifier(family, **changes):
    model = tiny(family, **changes)
    tokenizer = words_to_ids(model.config.pad_token_id or 0)
    return Classifier(model, tokenizer, ["bad", "fair", "good"])


LITTLE = ["a slow start", "what an ending the film is worth it", "but never dull and loud", "dull"]


def random_settings(clf, seed=0):
    generator = torch.Generator().manual_seed(seed)
    settings = clf.settings()
    settings.scale[:] = 2 * torch.rand(settings.scale.shape, generator=generator)
    settings.temperature[:] = 0.5 + torch.rand(settings.scale.shape, generator=generator)
    return settings


def answering(family, count=240, seed=0):
    """A tiny classifier, and texts that it answers rightly: their labels are its own answers."""
    clf, generator = tiny_classifier(family), np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, generator.integers(3, 14))) for _ in range(count)]
    return clf, its_own_answers(clf, texts)


def its_own_answers(clf, texts):
    """Texts with what a classifier answers to them, once it gives all three answers, and surely."""
    logits = clf.logits(clf.encode(texts))
    linear = [one for one in clf.model.modules() if isinstance(one, torch.nn.Linear)]
    (last,) = [one for one in linear if one.out_features == 3]
    with torch.no_grad():
        gain = 1.5 / logits.std(0)
        last.weight.mul_(gain[:, None])
        last.bias.copy_((last.bias - logits.mean(0)) * gain)
    labels = clf.logits(clf.encode(texts)).argmax(-1).tolist()
    return TextDataset(texts, labels, clf.label_names, "made up")


def damage(clf, seed=1, sigma=1.5):
    settings = clf.settings()
    drawn = np.random.default_rng(seed).standard_normal(settings.scale.shape)
    settings.scale = torch.from_numpy(np.exp(sigma * drawn)).float()
    return settings
