"""Characters and byte pairs: what is encoded comes back, and what cannot be is said."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import DataError
from attnlab.language import BytePairs, Characters, tokens_from_json

TEXTS = [
    "Once upon a time there was a fox, and the fox had a den.",
    "‘Ah,’ said the fox,\n‘what fine fat geese there are in the meadow!’",
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all but halves of characters


@pytest.fixture(scope="module")
def pairs():
    return BytePairs.train(TEXTS, 300)


@pytest.fixture(scope="module")
def characters():
    return Characters.train(TEXTS)


@given(ANY_TEXT)
@settings(deadline=None)
def test_byte_pairs_write_every_text_and_read_it_back(text):
    tokens = _trained()
    assert tokens.decode(tokens.encode(text)) == text
    assert all(0 <= token < len(tokens) for token in tokens.encode(text))


_kept = []


def _trained():
    if not _kept:
        _kept.append(BytePairs.train(TEXTS, 300))
    return _kept[0]


@given(ANY_TEXT)
def test_characters_give_back_all_but_the_unknown_ones(text):
    tokens = Characters.train(TEXTS)
    ids, unknown = tokens.encode(text), tokens.unknown_characters(text)
    assert len(ids) == len(text)
    assert ids.count(tokens.unknown) == sum(unknown.values())
    assert tokens.decode(ids) == "".join("\ufffd" if each in unknown else each for each in text)


@given(st.text("".join(TEXTS)))
def test_known_characters_come_back_exactly(text):
    tokens = Characters.train(TEXTS)
    assert tokens.decode(tokens.encode(text)) == text
    assert not tokens.unknown_characters(text)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("kind", [Characters, BytePairs])
def test_json_keeps_everything(kind, start):
    tokens = kind.train(TEXTS, start=start)
    again = tokens_from_json(tokens.to_json())
    assert type(again) is kind
    assert again.to_json() == tokens.to_json() and len(again) == len(tokens)
    assert again.encode(TEXTS[1]) == tokens.encode(TEXTS[1])
    assert (again.start, again.unknown) == (tokens.start, tokens.unknown)


@pytest.mark.parametrize("kind", [Characters, BytePairs])
def test_a_start_mark_is_one_more_token_that_no_text_writes(kind):
    without, tokens = kind.train(TEXTS), kind.train(TEXTS, start=True)
    assert without.start is None and len(tokens) == len(without) + 1
    ids = tokens.encode("a <start> of a fox")
    assert tokens.start not in ids
    assert tokens.decode([tokens.start, *ids]) == tokens.decode(ids)
    assert tokens.pieces([tokens.start]) == ["<start>"]


def test_training_twice_gives_the_same_byte_pairs(pairs):
    assert BytePairs.train(TEXTS, 300).to_json() == pairs.to_json()
    assert BytePairs.train(iter(TEXTS), 300).to_json() == pairs.to_json()


def test_a_space_belongs_to_the_word_behind_it(pairs):
    ids = pairs.encode("the fox, the fox")
    assert pairs.pieces(ids) == ["t", "he", "▁fox", ",", "▁the", "▁fox"]
    assert pairs.pieces(pairs.encode("a\nfox\t")) == ["a", "↵", "f", "ox", "⇥"]


def test_parts_of_a_character_are_shown_as_bytes(pairs):
    ids = pairs.encode("☃")
    assert pairs.pieces(ids) == ["<E2>", "<98>", "<83>"]
    assert pairs.decode(ids[:2]) == "\ufffd"


def test_the_vocabulary_has_the_size_asked_for_or_all_pairs_there_are():
    assert len(BytePairs.train(TEXTS, 260)) == 260
    assert 256 < len(BytePairs.train(TEXTS, 5000)) < 400
    assert len(BytePairs.train(["x"], 256)) == 256


def test_an_unknown_character_costs_saying_which():
    tokens = Characters.train(["ab"])
    assert tokens.unknown_bits == pytest.approx(math.log2(0x110000 - 0x800 - 2))
    assert BytePairs.train(["ab"]).unknown is None


@pytest.mark.parametrize("kind", [Characters, BytePairs])
@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one text", "list of texts"),
        ([], "no text to learn"),
        (["", ""], "no text to learn"),
        (["a", None], "got NoneType"),
        (["half \ud800"], "Character 5"),
    ],
)
def test_what_is_no_text_is_refused(kind, texts, words):
    with pytest.raises(DataError, match=words):
        kind.train(texts)


@pytest.mark.parametrize("kind", [Characters, BytePairs])
def test_ids_outside_the_vocabulary_are_refused(kind):
    tokens = kind.train(TEXTS)
    for call in (tokens.decode, tokens.pieces):
        for wrong in (len(tokens), -1):
            with pytest.raises(DataError, match=f"no token {wrong}"):
                call([0, wrong])
    with pytest.raises(DataError, match="got int"):
        tokens.encode(3)
    with pytest.raises(DataError, match="surrogate"):
        tokens.encode("\udc00")


def test_too_few_byte_pairs_and_a_character_twice_are_refused():
    with pytest.raises(DataError, match="at least 256"):
        BytePairs.train(TEXTS, 255)
    with pytest.raises(DataError, match="'a' stands there twice"):
        Characters("aba")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kind": "words"}',
        '{"kind": "characters"}',
        '{"kind": "characters", "characters": "aa"}',
        '{"kind": "byte pairs"}',
        '{"kind": "byte pairs", "tokenizer": {}}',
    ],
)
def test_what_to_json_did_not_write_is_refused(text):
    with pytest.raises(DataError):
        tokens_from_json(text)


def test_one_kind_does_not_read_the_other(pairs, characters):
    with pytest.raises(DataError, match="no characters"):
        Characters.from_json(pairs.to_json())
    with pytest.raises(DataError, match="no byte pairs"):
        BytePairs.from_json(characters.to_json())


def test_pieces_that_are_not_of_bytes_are_refused(pairs):
    facts = json.loads(pairs.to_json())
    vocabulary = facts["tokenizer"]["model"]["vocab"]
    vocabulary["€"] = len(vocabulary)
    with pytest.raises(DataError, match="not of bytes"):
        BytePairs.from_json(json.dumps(facts))
