"""A classifier that knows fewer word pieces, so that it is small enough to be sent to a phone."""

import copy
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.merging_adapters import is_adapted, merged
from attnlab.errors import ModelError

__all__ = ["browser_tokenizer", "needed_pieces", "with_pieces"]

_INSIDE = "##"  # before a piece that does not begin a word


def needed_pieces(tokenizer: Any, texts: Sequence[str], most: int = 0) -> list[int]:
    """Return the ids of the pieces that texts are made of, and of those any text can be made of.

    Those are the special tokens and all pieces of a single character: a word whose own pieces are
    not kept is cut into shorter ones, down to its letters.

    Parameters
    ----------
    tokenizer : of a classifier
    texts : whose pieces are kept
    most : as long as these are fewer, the pieces with the lowest ids are added; WordPiece numbers
        them by how frequent they were in what it learned from

    Returns
    -------
    ids in ascending order
    """
    vocabulary = tokenizer.get_vocab()
    letters = (id for piece, id in vocabulary.items() if len(piece.removeprefix(_INSIDE)) == 1)
    used = tokenizer(list(texts), add_special_tokens=False, truncation=False, padding=False)
    kept = {*tokenizer.all_special_ids, *letters, *itertools.chain.from_iterable(used["input_ids"])}
    others = (
        id
        for piece, id in sorted(vocabulary.items(), key=lambda item: item[1])
        if id not in kept and not piece.startswith("[unused")
    )
    return sorted(kept.union(itertools.islice(others, max(0, most - len(kept)))))


def with_pieces(clf: Classifier, pieces: Iterable[int], max_length: int) -> Classifier:
    """Return a classifier that knows these pieces only.

    A text whose pieces are all kept is answered as before: a longer piece, which would be taken
    first, cannot have been added.

    Parameters
    ----------
    clf : of BERT's family, in float32; stays as it is
    pieces : ids of its tokenizer, special tokens among them
    max_length : tokens that a text may have

    Raises
    ------
    ModelError : a tokenizer that `browser_tokenizer` refuses
    """
    kept = sorted(pieces)
    browser_tokenizer(clf.tokenizer)
    plain = clf.with_model(merged(clf.model)) if is_adapted(clf.model) else clf
    model: Any = copy.deepcopy(heads.model_of(plain)).cpu()
    tokenizer = _tokenizer(clf.tokenizer, kept, min(max_length, clf.max_length))
    before = model.get_input_embeddings()
    words = nn.Embedding(len(kept), before.embedding_dim, padding_idx=tokenizer.pad_token_id)
    with torch.no_grad():
        words.weight.copy_(before.weight[kept])
    model.set_input_embeddings(words)
    model.config.vocab_size = len(kept)
    model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(model, tokenizer, clf.label_names)


def browser_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Return what wordpiece.js needs to cut texts as a tokenizer of BERT does.

    Returns
    -------
    dict of ``pieces`` (in the order of their ids), ``special`` (names of special tokens), ``cls``,
    ``sep``, ``pad`` and ``unknown`` (ids), ``lowercase``, ``without_accents``, ``apart`` (whether
    Chinese characters stand alone) and ``longest`` (letters of a word that is cut at all)

    Raises
    ------
    ModelError : any other kind of tokenizer
    """
    state = _state(tokenizer)
    model, normalizer = state["model"], state.get("normalizer") or {}
    kinds = (normalizer.get("type"), (state.get("pre_tokenizer") or {}).get("type"), model["type"])
    if (
        kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece")
        or model["continuing_subword_prefix"] != _INSIDE
        or not normalizer["clean_text"]
    ):
        raise ModelError(
            f"A page can cut texts as BERT does, and this tokenizer works otherwise "
            f"({', '.join(str(kind) for kind in kinds)}). Choose a classifier whose tokenizer is "
            "BERT's WordPiece, such as movie-sentiment."
        )
    vocabulary = model["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ModelError(
            "The numbers of the tokenizer's pieces have gaps, or tokens were added to it. Choose a "
            "classifier whose tokenizer is as it was trained, such as movie-sentiment."
        )
    strip = normalizer["strip_accents"]
    return {
        "pieces": sorted(vocabulary, key=vocabulary.__getitem__),
        "special": [token["content"] for token in state["added_tokens"]],
        "cls": tokenizer.cls_token_id,
        "sep": tokenizer.sep_token_id,
        "pad": tokenizer.pad_token_id,
        "unknown": tokenizer.unk_token_id,
        "lowercase": normalizer["lowercase"],
        "without_accents": normalizer["lowercase"] if strip is None else strip,
        "apart": normalizer["handle_chinese_chars"],
        "longest": model["max_input_chars_per_word"],
    }


def _state(tokenizer: Any) -> dict[str, Any]:
    """How a tokenizer works, as the tokenizers library writes it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"{type(tokenizer).__name__} is no tokenizer of the tokenizers library, and a page "
            "can be given no other. Choose a classifier such as movie-sentiment."
        )
    return json.loads(backend.to_str())


def _tokenizer(tokenizer: Any, kept: list[int], max_length: int) -> PreTrainedTokenizerFast:
    """The same tokenizer with these pieces only, numbered anew in the same order."""
    state = _state(tokenizer)
    names = {id: piece for piece, id in state["model"]["vocab"].items()}
    numbers = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {names[old]: new for old, new in numbers.items()}
    state["truncation"] = state["padding"] = None
    for token in state["added_tokens"]:
        token["id"] = numbers[token["id"]]
    for token in state["post_processor"]["special_tokens"].values():
        token["ids"] = [numbers[id] for id in token["ids"]]
    roles = ("pad", "unk", "cls", "sep", "mask")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_input_names=tokenizer.model_input_names,
        model_max_length=max_length,
        **{f"{role}_token": getattr(tokenizer, f"{role}_token") for role in roles},
    )


def __dir__() -> list[str]:
    return sorted(__all__)
