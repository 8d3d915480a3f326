"""Tokenizers of sub-words of every kind, learned from a few sentences, and classifiers."""

import json

import torch
from tiny_models import tiny
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    CamembertTokenizer,
    DistilBertTokenizer,
    ElectraTokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from attnlab.classification.classifier import Classifier

CORPUS = [
    "A slow start, yet the ending is worth every minute of it.",
    "Clumsy, loud and far too long; nothing in it works.",
    "What a film: funny, warm and sad at once, and never false!",
    "The actors are wonderful, the story is worthless and the music unbearable.",
    "An unforgettable evening, wonderfully acted and beautifully filmed.",
    "Dull. Duller. The dullest film that was ever filmed, and unbearably long.",
    "She smiles, he weeps, they dance; 1,234 people laughed and 567 cried?",
    "It's not bad: the working title was better, though (much better).",
] * 4


def pieces(size=220):
    """The pieces that WordPiece learns from the corpus, in order."""
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=True)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", *(f"[unused{n}]" for n in range(9)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, show_progress=False
    )
    learner.train_from_iterator(CORPUS, trainer)
    vocabulary = learner.get_vocab()
    letters = {piece.removeprefix("##") for piece in vocabulary if len(piece) in (1, 3)}
    for letter in sorted(letter for letter in letters if len(letter) == 1):
        for piece in (letter, f"##{letter}"):  # as BERT's has them
            vocabulary.setdefault(piece, len(vocabulary))
    return vocabulary


def merged_bytes(size=500):
    """Vocabulary and merges of byte-level BPE, with RoBERTa's special tokens and their places."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(CORPUS, trainer)
    vocabulary = learner.get_vocab()
    vocabulary["<mask>"] = len(vocabulary)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return dict(sorted(vocabulary.items(), key=lambda pair: pair[1])), [tuple(m) for m in merges]


def likely_pieces(special, size=150):
    """Pieces with their log probabilities, as Unigram learns them."""
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    learner.train_from_iterator([text.lower() for text in CORPUS], trainer)
    learned = json.loads(learner.to_str())["model"]["vocab"][1:]
    return [(name, 0.0) for name in special] + [tuple(pair) for pair in learned]


MAKE = {
    "bert": lambda: BertTokenizer(vocab=pieces(), model_max_length=40),
    "distilbert": lambda: DistilBertTokenizer(vocab=pieces(), model_max_length=40),
    "electra": lambda: ElectraTokenizer(vocab=pieces(), model_max_length=40),
    "roberta": lambda: RobertaTokenizer(
        **dict(zip(("vocab", "merges"), merged_bytes(), strict=True)), model_max_length=38
    ),
    "albert": lambda: AlbertTokenizer(
        vocab=likely_pieces(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=40
    ),
    "camembert": lambda: CamembertTokenizer(
        vocab=likely_pieces(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]),
        model_max_length=38,
    ),
    "xlm-roberta": lambda: XLMRobertaTokenizer(
        vocab=[*likely_pieces(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)],
        model_max_length=38,
    ),
}


def subword_classifier(family):
    """A tiny classifier with random weights and a tokenizer of its family's kind."""
    tokenizer = MAKE[family]()
    torch.manual_seed(1)
    model = tiny(family)
    model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(model, tokenizer, ["bad", "fair", "good"])
