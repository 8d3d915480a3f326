"""Tokens of a language model: single characters, or byte pairs.

Both have one interface (`Tokens`). Byte pairs are learned by merging the most frequent pair of
neighbours again and again (Sennrich et al. 2016, Neural Machine Translation of Rare Words with
Subword Units), of bytes, so that every text can be written (Radford et al. 2019, Language Models
are Unsupervised Multitask Learners); the `tokenizers` library does it. Learn them on train only.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from attnlab.errors import DataError

_UNICODE = 0x110000 - 0x800  # characters that a text can hold: code points without surrogates
_UNKNOWN = "\ufffd"


class Tokens(Protocol):
    """What turns texts into ids and back."""

    @property
    def start(self) -> int | None:
        """The id of the mark that begins a text, or None."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id that stands for every character not in the vocabulary, or None."""
        ...

    @property
    def unknown_bits(self) -> float:
        """What it takes to say which character such an id stands for, in bits."""
        ...

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without the start mark."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; the start mark is left out."""
        ...

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each token as people read it: a space as ``▁``, a new line as ``↵``."""
        ...

    def to_json(self) -> str:
        """All there is to know, as `tokens_from_json` reads it."""
        ...


def tokens_from_json(text: str) -> "Characters | BytePairs":
    """Tokens as their `to_json` wrote them.

    Raises
    ------
    DataError : a text that `to_json` did not write
    """
    facts = _facts(text)
    kinds: dict[str, type[Characters] | type[BytePairs]] = {
        kind.kind: kind for kind in (Characters, BytePairs)
    }
    if facts.get("kind") not in kinds:
        raise DataError(
            f"These are tokens of the kind {facts.get('kind')!r}; known are {', '.join(kinds)}. "
            "Give the text that to_json() wrote."
        )
    return kinds[facts["kind"]].from_json(text)


class Characters:
    """A token for each character that a text to learn from holds, and one for all others.

    Parameters
    ----------
    characters : in the order of their ids
    start : have a mark that begins a text

    Attributes
    ----------
    start : its id, or None
    unknown : the id that stands for every other character; `decode` writes it as U+FFFD

    Examples
    --------
    >>> tokens = Characters.train(["a cat"])
    >>> tokens.encode("a act!"), tokens.decode(tokens.encode("a act!"))
    ([2, 1, 2, 3, 4, 0], 'a act�')
    >>> tokens.unknown_characters("a act!")
    Counter({'!': 1})
    """

    kind = "characters"

    def __init__(self, characters: str, start: bool = False) -> None:
        if len({*characters}) != len(characters):
            twice = next(each for each in characters if characters.count(each) > 1)
            raise DataError(f"The character {twice!r} stands there twice. Give each once.")
        marks = [_UNKNOWN, ""] if start else [_UNKNOWN]
        self.unknown, self.start = 0, (1 if start else None)
        self._signs = [*marks, *characters]
        self._ids = {sign: index for index, sign in enumerate(self._signs) if index >= len(marks)}

    @classmethod
    def train(cls, texts: Iterable[str], start: bool = False) -> "Characters":
        """Take the characters of these texts, in the order of Unicode.

        Parameters
        ----------
        texts : list of str; those that a model is trained on, and no others
        start : have a mark that begins a text

        Raises
        ------
        DataError : no texts, or something that is none
        """
        return cls("".join(sorted({*"".join(_checked_texts(texts))})), start)

    def __len__(self) -> int:
        return len(self._signs)

    @property
    def unknown_bits(self) -> float:
        """Bits to say which of the characters outside the vocabulary is meant, all being equal."""
        return math.log2(_UNICODE - len(self._ids))

    def unknown_characters(self, text: str) -> Counter[str]:
        """The characters of a text that are not in the vocabulary, and how often each occurs."""
        return Counter(each for each in text if each not in self._ids)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, one a character, without the start mark."""
        return [self._ids.get(each, self.unknown) for each in _checked_text(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; the start mark is left out, and an unknown character is U+FFFD.

        Raises
        ------
        DataError : an id that the vocabulary does not have
        """
        return "".join(self._signs[token] for token in _checked_ids(ids, len(self)))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each token as people read it: a space as ``▁``, a new line as ``↵``."""
        return [_readable(self._signs[token]) for token in _checked_ids(ids, len(self))]

    def to_json(self) -> str:
        """All there is to know, as `from_json` reads it."""
        start = self.start is not None
        return _written({"kind": self.kind, "start": start, "characters": "".join(self._ids)})

    @classmethod
    def from_json(cls, text: str) -> "Characters":
        """Tokens as `to_json` wrote them; DataError for anything else."""
        facts = _facts(text, cls.kind)
        if not isinstance(facts.get("characters"), str):
            raise DataError("These tokens lack their characters. Give what to_json() wrote.")
        return cls(facts["characters"], bool(facts.get("start")))

    def __repr__(self) -> str:
        return f"Characters({len(self):,} tokens)"


class BytePairs:
    """Pieces of words, learned from texts, of bytes: every text is written, and read back exactly.

    A space belongs to the word behind it, as in GPT-2. Made by `train` or `from_json`.

    Attributes
    ----------
    start : the id of the mark that begins a text, behind all others, or None
    unknown : None; bytes write every character

    Examples
    --------
    >>> tokens = BytePairs.train(["the fox and the geese, the fox and the cat"], size=264)
    >>> tokens.pieces(tokens.encode("the fox"))
    ['the', '▁fo', 'x']
    >>> tokens.decode(tokens.encode("çà et là ☃")), len(tokens)
    ('çà et là ☃', 264)
    """

    kind = "byte pairs"
    unknown: int | None = None
    unknown_bits = 0.0

    def __init__(self, tokenizer: Tokenizer, start: bool = False) -> None:
        self._tokenizer = tokenizer
        by_id = sorted((token, piece) for piece, token in tokenizer.get_vocab().items())
        if [token for token, _ in by_id] != [*range(len(by_id))]:
            raise DataError("The ids of these byte pairs have gaps. Give what to_json() wrote.")
        try:
            self._bytes = [bytes(_BYTES[sign] for sign in piece) for _, piece in by_id]
        except KeyError as error:
            raise DataError(f"These pieces are not of bytes: {error} is none.") from error
        self.start = len(by_id) if start else None

    @classmethod
    def train(cls, texts: Iterable[str], size: int = 1024, start: bool = False) -> "BytePairs":
        """Learn byte pairs; the same texts give the same ones.

        Parameters
        ----------
        texts : list of str; those that a model is trained on, and no others
        size : how many tokens at most, the start mark not counted; 256 are the bytes. There are
            fewer if no pair is left that occurs twice.
        start : have a mark that begins a text

        Raises
        ------
        DataError : no texts, something that is none, or fewer than 256 tokens
        """
        texts = _checked_texts(texts)
        if size < 256:
            raise DataError(f"size is {size}. Give at least 256, one for each byte; 1024 is usual.")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer, start)

    def __len__(self) -> int:
        return len(self._bytes) + (self.start is not None)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without the start mark."""
        return self._tokenizer.encode(_checked_text(text)).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; the start mark is left out.

        Bytes that are no whole character are written as U+FFFD: a model may write such, and so
        may a part of what `encode` returned.

        Raises
        ------
        DataError : an id that the vocabulary does not have
        """
        found = [
            self._bytes[token] for token in _checked_ids(ids, len(self)) if token != self.start
        ]
        return b"".join(found).decode("utf-8", errors="replace")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each token as people read it: a space as ``▁``, a new line as ``↵``.

        Bytes that are no whole character are written as numbers in base 16, as ``<E2 80>``.
        """
        return [self._piece(token) for token in _checked_ids(ids, len(self))]

    def _piece(self, token: int) -> str:
        if token == self.start:
            return _readable("")
        try:
            return _readable(self._bytes[token].decode())
        except UnicodeDecodeError:
            return f"<{self._bytes[token].hex(' ').upper()}>"

    def to_json(self) -> str:
        """All there is to know, as `from_json` reads it."""
        start, facts = self.start is not None, json.loads(self._tokenizer.to_str())
        return _written({"kind": self.kind, "start": start, "tokenizer": facts})

    @classmethod
    def from_json(cls, text: str) -> "BytePairs":
        """Tokens as `to_json` wrote them; DataError for anything else."""
        facts = _facts(text, cls.kind)
        try:
            tokenizer = Tokenizer.from_str(json.dumps(facts.get("tokenizer")))
        except Exception as error:  # the library raises Exception itself
            raise DataError(
                f"These are no byte pairs ({error}). Give the text that to_json() wrote."
            ) from error
        return cls(tokenizer, bool(facts.get("start")))

    def __repr__(self) -> str:
        return f"BytePairs({len(self):,} tokens)"


def _byte_signs() -> dict[str, int]:
    """The sign that the library writes for each byte, as GPT-2 does: none is blank or invisible."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    signs = {chr(byte): byte for byte in visible}
    return signs | {chr(256 + index): byte for index, byte in enumerate(hidden)}


_BYTES = _byte_signs()


def _readable(piece: str) -> str:
    """A piece with what cannot be seen made visible; the start mark is empty text."""
    if not piece:
        return "<start>"
    return piece.replace(" ", "▁").replace("\n", "↵").replace("\t", "⇥")


def _checked_text(text: str) -> str:
    if not isinstance(text, str):
        raise DataError(f"Expected a text to encode, got {type(text).__name__}. Give a str.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"Character {error.start} of the text, {text[error.start]!r}, is half of one (a "
            "surrogate). Read the file with its own encoding."
        ) from error
    return text


def _checked_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise DataError("texts is one text. Give a list of texts.")
    found = [_checked_text(text) for text in texts]
    if not any(found):
        raise DataError("There is no text to learn tokens from. Give at least one.")
    return found


def _checked_ids(ids: Iterable[int], size: int) -> list[int]:
    found = [int(token) for token in ids]
    for token in found:
        if not 0 <= token < size:
            raise DataError(
                f"There is no token {token}: this vocabulary has {size}, counted from 0. Decode "
                "with the tokens that encoded."
            )
    return found


def _written(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False)


def _facts(text: str, kind: str | None = None) -> dict[str, Any]:
    """What a JSON text says, if it is an object that says it is of this kind."""
    try:
        facts = json.loads(text)
    except (TypeError, ValueError) as error:
        raise DataError(f"These are no tokens ({error}). Give what to_json() wrote.") from error
    if not isinstance(facts, dict) or (kind is not None and facts.get("kind") != kind):
        raise DataError(f"These are no {kind or 'tokens'}. Give the text that to_json() wrote.")
    return facts
