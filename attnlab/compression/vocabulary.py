"""Word pieces that a corpus never uses: taken out of tokenizer and embedding matrix together."""

import copy
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoTokenizer

from attnlab.classification.classifier import Classifier, Text
from attnlab.classification.encoding import encode
from attnlab.classification.merging_adapters import merged
from attnlab.classification.saving import quietly
from attnlab.classification.structure import noted
from attnlab.errors import DataError, ModelError, SettingsError
from attnlab.heads import model_of, refuse_decoder, refuse_prefix

__all__ = ["check_vocabulary", "trim_vocabulary"]

_WORKS = "WordPiece (BERT), byte-level BPE (RoBERTa) and Unigram (ALBERT)"
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model")
_SPECIAL = ("pad", "bos", "eos", "cls", "sep", "unk", "mask", "decoder_start")


def trim_vocabulary(
    clf: Classifier, texts: Sequence[Text], keep: Iterable[str] = (), at_least: int = 1
) -> Classifier:
    """Keep only the word pieces that some texts use, in the tokenizer and in the embedding matrix.

    Texts all of whose pieces stay are cut as before, and get the same logits, bit for bit. Others
    are cut into smaller pieces where theirs are gone: special tokens and pieces of one character
    always stay, and so does each piece that smaller ones could not spell.

    Parameters
    ----------
    clf : stays as it is
    texts : list of str, or of (str, str): such as those of the training set. How long they are does
        not matter.
    keep : more words whose pieces stay, or pieces as the tokenizer writes them ("##ing")
    at_least : in how many of the texts a piece must occur to stay. With 1 all of them get the same
        logits; with more, some do not: train the smaller model afterwards.

    Returns
    -------
    Classifier, with fewer rows of word embeddings. `Classifier.save` writes what plain Transformers
    reads. Special tokens keep their numbers where there are still so many.

    Raises
    ------
    DataError : no texts, one that is empty or no string, or ``keep`` is no list of str
    SettingsError : ``at_least`` is no whole number from 1
    ModelError : a tokenizer that is not of the tokenizers library, or of another kind than
        WordPiece, byte-level BPE or Unigram; word embeddings that are no plain matrix; a prefix
    """
    if not isinstance(at_least, int) or at_least < 1:
        raise SettingsError(f"at_least is {at_least!r}; it is a number of texts, from 1.")
    check_vocabulary(clf)
    before = _model_of_tokenizer(clf.tokenizer)
    model = merged(clf.model)
    words = model.get_input_embeddings()
    used = _used(clf.tokenizer, texts, keep, at_least)
    fixed = _special_ids(clf.tokenizer, model.config)
    kept = _RULES[before["model"]["type"]](before["model"], used | fixed)
    order = _order(before, kept, fixed)  # the old id of every new one
    tokenizer = _rebuilt(clf.tokenizer, before, order)
    smaller = _with_rows(model, order)
    result = Classifier(smaller, tokenizer, clf.label_names, clf.history)
    _check_same_pieces(clf, result, texts, order)
    noted(
        smaller,
        "trim_vocabulary",
        pieces=len(order),
        before=words.num_embeddings,
        at_least=at_least,
    )
    return result


def check_vocabulary(clf: Classifier) -> None:
    """Raise ModelError for a vocabulary that `trim_vocabulary` cannot trim, before the work."""
    refuse_prefix(clf, "Trimming the vocabulary")
    refuse_decoder(clf, "Trimming the vocabulary")
    _model_of_tokenizer(clf.tokenizer)
    words = merged(clf.model).get_input_embeddings()
    if type(words) is not nn.Embedding:
        raise ModelError(
            f"The word embeddings of this model are a {type(words).__module__}."
            f"{type(words).__name__}, and rows can be taken out of a plain matrix (nn.Embedding) "
            "only. Trim the vocabulary before the model is changed in other ways."
        )


# ── what stays ─────────────────────────────────────────────────────────────────────────────────


def _model_of_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """What tokenizer.json says; ModelError for a kind that cannot be trimmed."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(
            f"The vocabulary of a {type(tokenizer).__name__} cannot be trimmed: it is not of the "
            f"tokenizers library (a fast tokenizer), or not one of its own. Works: {_WORKS}."
        )
    content = json.loads(backend.to_str())
    kind = content["model"]["type"]
    if kind not in _RULES:
        raise ModelError(
            f"The vocabulary of this {type(tokenizer).__name__} cannot be trimmed: it is a {kind} "
            f"tokenizer, which does not cut unknown words into smaller pieces. Works: {_WORKS}."
        )
    return content


def _used(tokenizer: Any, texts: Sequence[Text], keep: Iterable[str], at_least: int) -> set[int]:
    """Ids of the pieces that enough texts are cut into, and of those to keep besides."""
    encoded = encode(tokenizer, texts, sys.maxsize)
    if not len(encoded):
        raise DataError(
            "There are no texts, so no word pieces would be left. Give those that the vocabulary "
            "is to be kept of, such as splits.train.texts."
        )
    ids = encoded.columns["input_ids"].astype(np.int64)
    in_text = np.repeat(np.arange(len(encoded)), encoded.lengths)
    pairs = np.unique(in_text * (1 + ids.max()) + ids)  # each piece once a text
    pieces, texts_with_it = np.unique(pairs % (1 + ids.max()), return_counts=True)
    used = set(pieces[texts_with_it >= at_least].tolist())
    words = [keep] if isinstance(keep, str) else list(keep)
    if isinstance(keep, str) or not all(isinstance(word, str) for word in words):
        raise DataError(f"keep is {keep!r}; expected a list of words or word pieces.")
    vocabulary = tokenizer.get_vocab()
    used |= {vocabulary[word] for word in words if word in vocabulary}
    for text in (text for word in words if word.strip() for text in (word, f" {word}")):
        used |= set(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    unknown = np.flatnonzero(encoded.columns["input_ids"] == tokenizer.unk_token_id)
    holding = np.unique(np.searchsorted(encoded.starts, unknown, "right") - 1)
    parts = {part for index in holding for part in _parts(texts[index])}
    return used | _around_unknown_words(tokenizer, parts)


def _parts(text: Text) -> tuple[str, ...]:
    return text if isinstance(text, tuple) else (text,)


def _around_unknown_words(tokenizer: Any, texts: Iterable[str]) -> set[int]:
    """Ids of all pieces inside words that a WordPiece tokenizer cannot spell.

    Without them it could suddenly spell the word: it takes the longest piece, and another way is
    open once that one is gone.
    """
    backend, found = tokenizer.backend_tokenizer, set[int]()
    if type(backend.model).__name__ != "WordPiece":
        return found
    vocabulary, mark = backend.get_vocab(), backend.model.continuing_subword_prefix
    longest, unknown = max(map(len, vocabulary)), backend.model.unk_token
    for text in texts:
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        split = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer else ()
        for word in {word for word, _ in split}:
            if len(word) > backend.model.max_input_chars_per_word:
                continue  # unknown whatever is in the vocabulary
            if unknown not in (token.value for token in backend.model.tokenize(word)):
                continue
            for start in range(len(word)):
                ends = range(start + 1, min(len(word), start + longest) + 1)
                pieces = (("" if not start else mark) + word[start:end] for end in ends)
                found |= {vocabulary[piece] for piece in pieces if piece in vocabulary}
    return found


def _special_ids(tokenizer: Any, config: Any) -> set[int]:
    """Ids of all tokens that were added to the vocabulary, and those that the model knows."""
    named = (getattr(config, f"{name}_token_id", None) for name in _SPECIAL)
    ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    known = set(tokenizer.get_vocab().values())
    return (ids | {number for number in named if isinstance(number, int)}) & known


def _keep_word_pieces(model: dict[str, Any], used: set[int]) -> set[int]:
    """WordPiece takes the longest piece that fits: what is used, and all that spells the rest."""
    vocabulary, mark = model["vocab"], model["continuing_subword_prefix"]

    def letters(piece: str) -> list[str]:
        inside = piece.startswith(mark) and piece != mark
        word = piece[len(mark) :] if inside else piece
        first = mark + word[0] if inside else word[0]
        return [first, *(mark + letter for letter in word[1:])]

    return used | {
        number
        for piece, number in vocabulary.items()
        if piece
        and (letters(piece) == [piece] or any(one not in vocabulary for one in letters(piece)))
    }


def _keep_merged_pieces(model: dict[str, Any], used: set[int]) -> set[int]:
    """BPE builds pieces by merging two: what is used, all that it is built from, and letters."""
    vocabulary, built = model["vocab"], dict[int, list[tuple[int, int]]]()
    for left, right in _merges(model):
        result, parts = _merged_piece(model, left, right), (vocabulary[left], vocabulary[right])
        built.setdefault(vocabulary[result], []).append(parts)
    kept, waiting = set[int](), [*used, *(set(vocabulary.values()) - built.keys())]
    while waiting:
        number = waiting.pop()
        if number not in kept:
            kept.add(number)
            waiting += [part for parts in built.get(number, ()) for part in parts]
    return kept


def _keep_likely_pieces(model: dict[str, Any], used: set[int]) -> set[int]:
    """Unigram takes the likeliest pieces: what is used, and all that spells the rest.

    The least likely piece stays, too: an unknown letter is counted as a little less likely still.
    """
    scores = [score for _, score in model["vocab"]]
    single = {piece for piece, _ in model["vocab"] if len(piece) == 1}
    spelling = {
        number
        for number, (piece, _) in enumerate(model["vocab"])
        if len(piece) == 1 or not set(piece) <= single or _is_byte(piece)
    }
    return used | spelling | {scores.index(min(scores))}


def _is_byte(piece: str) -> bool:
    return piece.startswith("<0x") and piece.endswith(">")


_RULES = {
    "WordPiece": _keep_word_pieces,
    "BPE": _keep_merged_pieces,
    "Unigram": _keep_likely_pieces,
}


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return [(left, right) for left, right in pairs]


def _merged_piece(model: dict[str, Any], left: str, right: str) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _order(content: dict[str, Any], kept: set[int], fixed: set[int]) -> list[int]:
    """The old id of every new one: special tokens stay in place, the others close the gaps.

    Tokens that were added outside the vocabulary come last, where tokenizers expect them.
    """
    vocabulary = content["model"]["vocab"]
    is_list = isinstance(vocabulary, list)
    inside = set(range(len(vocabulary)) if is_list else vocabulary.values())
    own, count = sorted(kept & inside), len(kept & inside)
    places: list[int | None] = [
        number if number in fixed & kept else None for number in range(count)
    ]
    in_place = set(places)
    others = (number for number in own if number not in in_place)
    return [next(others) if place is None else place for place in places] + sorted(kept - inside)


# ── tokenizer and matrix without the rest ──────────────────────────────────────────────────────


def _rebuilt(tokenizer: Any, content: dict[str, Any], order: list[int]) -> Any:
    """The tokenizer with these pieces only, as it will be when it is saved and loaded."""
    new = {old: number for number, old in enumerate(order)}
    content = copy.deepcopy(content)
    model = content["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = [model["vocab"][old] for old in order if old < len(model["vocab"])]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        pairs = ((piece, new[old]) for piece, old in model["vocab"].items() if old in new)
        model["vocab"] = dict(sorted(pairs, key=lambda pair: pair[1]))
    if model["type"] == "BPE":
        model["merges"] = [
            [left, right]
            for left, right in _merges(model)
            if {left, right, _merged_piece(model, left, right)} <= model["vocab"].keys()
        ]
    for token in content["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber(content.get("post_processor"), new)
    with tempfile.TemporaryDirectory() as name, quietly():
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        for file in _VOCABULARIES:
            (folder / file).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        if "added_tokens_decoder" in settings:
            table = settings["added_tokens_decoder"]
            settings["added_tokens_decoder"] = {
                str(new[int(old)]): token for old, token in table.items() if int(old) in new
            }
            (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        trimmed = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    trimmed.model_input_names = list(tokenizer.model_input_names)
    trimmed.name_or_path = tokenizer.name_or_path  # not the temporary folder
    return trimmed


def _renumber(part: Any, new: dict[int, int]) -> None:
    """Give the special tokens of a post-processor their new numbers, in place."""
    if isinstance(part, list):
        for inner in part:
            _renumber(inner, new)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("sep", "cls") and isinstance(value, list):  # [token, id]
                part[name] = [value[0], new[value[1]]]
            elif name == "special_tokens":
                for token in value.values():
                    token["ids"] = [new[old] for old in token["ids"]]
            else:
                _renumber(value, new)


def _with_rows(model: Any, order: list[int]) -> Any:
    """A copy of the model with these rows of word embeddings, and special ids to match."""
    new = {old: number for number, old in enumerate(order)}
    words = model.get_input_embeddings()
    weight, padding = words.weight, words.padding_idx
    rows = nn.Embedding(
        len(order),
        words.embedding_dim,
        padding_idx=None if padding is None else new.get(padding),
        _weight=weight.detach()[torch.tensor(order, device=weight.device)],
    )
    rows.weight.requires_grad_(weight.requires_grad)
    smaller = copy.deepcopy(model, {id(words): rows})  # wherever the old matrix was, the new one is
    config = smaller.config
    config.vocab_size = len(order)
    for name in (f"{name}_token_id" for name in _SPECIAL):
        old = getattr(config, name, None)
        if isinstance(old, int):
            setattr(config, name, new.get(old))
    return smaller


def _check_same_pieces(
    clf: Classifier, trimmed: Classifier, texts: Sequence[Text], order: list[int]
) -> None:
    """Raise ModelError unless texts are cut into the same pieces as before, if those are there."""
    before = encode(clf.tokenizer, texts, sys.maxsize)
    gone = np.flatnonzero(~np.isin(before.columns["input_ids"], order))
    respelled = set((np.searchsorted(before.starts, gone, "right") - 1).tolist())
    texts = [text for index, text in enumerate(texts) if index not in respelled]
    if respelled:
        before = encode(clf.tokenizer, texts, sys.maxsize)
    after = encode(trimmed.tokenizer, texts, sys.maxsize)
    ids = np.asarray(order)[after.columns["input_ids"]]
    moved = model_of(clf).config.pad_token_id != trimmed.model.config.pad_token_id
    if not np.array_equal(before.starts, after.starts) or not np.array_equal(
        ids, before.columns["input_ids"]
    ):
        why = "its pieces depend on more than its vocabulary"
    elif moved and hasattr(model_of(clf).base_model.embeddings, "padding_idx"):
        why = "the model counts its positions from the number of the padding token, and that moved"
    else:
        return
    raise ModelError(
        f"The vocabulary of this {type(clf.tokenizer).__name__} cannot be trimmed: {why}. "
        f"Works: {_WORKS}."
    )


def __dir__() -> list[str]:
    return sorted(__all__)
