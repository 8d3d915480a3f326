"""Sub-words: pieces of words that occur often, so that a small vocabulary can write any text.

Byte pair encoding merges the pair of neighbours that occurs most often, again and again (Sennrich
et al. 2016); the `tokenizers` library does it. Train it on the training split only.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from attnlab.datasets.pairs import PLACEHOLDER, Span
from attnlab.errors import DataError

SPECIAL = ("[padding]", "[unknown]", "[start]", "[end]")


class Subwords:
    """A vocabulary of sub-words, and the way from text to their ids and back.

    A piece never reaches over the end of a word; a space belongs to the word behind it, and is
    shown as ``▁``. Every digit is a piece of its own, and so is every placeholder that training
    saw, such as ``%1``; one that it did not see is written by its characters. Other characters that
    training never saw become ``[unknown]``. Text is normalised to NFC first.

    Attributes
    ----------
    padding, unknown, start, end : int, ids of the four special tokens
    vocabulary : list of V str, tokens as people read them, by id

    Examples
    --------
    >>> words = Subwords.train(["Copy %1 files", "Copy file"], size=40)
    >>> words.tokens(words.encode("Copy %1 file"))
    ['Copy', '▁', '%1', '▁file']
    >>> words.decode(words.encode("Copy %1 file"))
    'Copy %1 file'
    """

    padding, unknown, start, end = range(4)

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        found = tokenizer.get_vocab()
        self._pieces = sorted(found, key=lambda piece: found[piece])
        self.vocabulary = [_readable(piece) for piece in self._pieces]

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int = 1000, protect: str = PLACEHOLDER
    ) -> "Subwords":
        """Learn sub-words from texts.

        Parameters
        ----------
        texts : str
        size : how many tokens at most, the four special ones, placeholders and single characters
            included. A vocabulary holds all characters of the texts, even if that makes it larger.
        protect : regular expression of what stays whole; "" for nothing

        Raises
        ------
        DataError : no texts, a size that is too small to hold anything, or a regular expression
            that is none
        """
        if isinstance(texts, str):
            raise DataError("texts is one text. Give a list of texts.")
        texts = [unicodedata.normalize("NFC", text) for text in texts]
        if not any(texts):
            raise DataError("There is no text to learn sub-words from. Give at least one.")
        if size < len(SPECIAL) + 1:
            raise DataError(f"size is {size}. Give at least {len(SPECIAL) + 1}; 1000 is usual.")
        protect = f"(?:{protect})" if protect else "(?!)"
        try:
            whole = re.compile(protect)
        except re.error as error:
            raise DataError(
                f"protect={protect!r} is no regular expression: {error}. Escape (, [, "
                f"{{ and + with \\."
            ) from error
        if whole.fullmatch(""):
            raise DataError(
                f"protect={protect!r} matches no character at all. Write '' for nothing."
            )
        placeholders = sorted({found[0] for text in texts for found in whole.finditer(text)})
        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[cls.unknown]))
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_words(protect)), "isolated")
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            show_progress=False,
            special_tokens=[*SPECIAL, *placeholders],
            initial_alphabet=sorted({*"0123456789", *"".join(placeholders)}),
        )
        between = (piece for text in texts for piece in _between(whole, text))
        tokenizer.train_from_iterator(between, trainer)
        facts = json.loads(tokenizer.to_str())
        facts["added_tokens"] = []  # a text that says "[end]" does not end there
        facts["model"]["ignore_merges"] = True  # a placeholder is found whole, no merge makes it
        return cls(Tokenizer.from_str(json.dumps(facts)))

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end."""
        return self._tokenizer.encode(text).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, faster than one by one."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; padding, start and end are left out.

        Raises
        ------
        DataError : an id that the vocabulary does not have
        """
        silent = {self.padding, self.start, self.end}
        return "".join(self._pieces[token] for token in self._checked(ids) if token not in silent)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids as people read them, a space as ``▁``; errors as `decode`."""
        return [self.vocabulary[token] for token in self._checked(ids)]

    def spans(self, text: str) -> list[Span]:
        """Where each token of `encode` stands: its first character, and the one behind its last."""
        return self._tokenizer.encode(text).offsets

    def to_json(self) -> str:
        """All there is to know, as `from_json` reads it (and the `tokenizers` library)."""
        return self._tokenizer.to_str()

    @classmethod
    def from_json(cls, text: str) -> "Subwords":
        """Sub-words as `to_json` wrote them.

        Raises
        ------
        DataError : a text that `to_json` did not write
        """
        try:
            words = cls(Tokenizer.from_str(text))
        except Exception as error:  # the library raises Exception itself
            raise DataError(
                f"These are no sub-words ({error}). Give the text that to_json() wrote."
            ) from error
        if tuple(words._pieces[: len(SPECIAL)]) != SPECIAL:
            raise DataError(
                f"This vocabulary starts with {words._pieces[: len(SPECIAL)]}, not with "
                f"{list(SPECIAL)}. Give the text that to_json() wrote."
            )
        return words

    def _checked(self, ids: Iterable[int]) -> list[int]:
        ids = [int(token) for token in ids]
        for token in ids:
            if not 0 <= token < len(self):
                raise DataError(
                    f"There is no token {token}: this vocabulary has {len(self)}, counted from 0. "
                    "Decode with the sub-words that encoded."
                )
        return ids

    def __repr__(self) -> str:
        return f"Subwords({len(self):,} tokens)"


def _words(protect: str) -> str:
    """The pieces within which merges are learned; a space goes with what stands behind it."""
    letters, marks = r"[\p{L}\p{M}]", r"[^\s\p{L}\p{M}\p{N}]"
    runs = "|".join(f" ?(?:(?!{protect}){kind})+" for kind in (letters, marks))
    return rf"{protect}|\p{{N}}|{runs}|\s"


def _between(whole: re.Pattern[str], text: str) -> Iterator[str]:
    """The stretches of a text between its placeholders, from which merges are learned."""
    start = 0
    for found in whole.finditer(text):
        yield text[start : found.start()]
        start = found.end()
    yield text[start:]


def _readable(piece: str) -> str:
    return piece.replace(" ", "▁").replace("\n", "↵").replace("\t", "⇥")
