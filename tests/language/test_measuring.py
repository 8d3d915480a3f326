"""Bits per character: every token once, characters of the text, whatever the tokens are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnlab.errors import DataError
from attnlab.language import BytePairs, Characters, KneserNey, bits_per_character, measure_bits
from attnlab.language.measuring import log_probabilities_of, windows_of

TEXTS = ["the fox and the geese", "a cat and a mouse lived together"]


def equal(size):
    """Every token is equally likely."""
    return lambda ids: np.full((len(ids), ids.shape[1] - 1), -math.log(size))


@given(st.integers(2, 200), st.integers(1, 40), st.data())
def test_windows_predict_each_token_but_the_first_once(length, window, data):
    stride = data.draw(st.integers(1, window))
    counted = []
    for start, end, count in windows_of(length, window, stride):
        assert 0 <= start < end <= length and count <= end - start - 1 <= window
        counted += range(end - count, end)
        if start:  # each has at least so many tokens before it in its window
            assert end - count - start >= window + 1 - stride
    assert counted == [*range(1, length)]


def test_a_fair_die_needs_its_logarithm_for_each_character():
    tokens = Characters.train(TEXTS)
    found = measure_bits(equal(len(tokens)), tokens, TEXTS, window=5)
    assert found["characters"].tolist() == [len(text) - 1 for text in TEXTS]
    assert found["tokens"].tolist() == found["characters"].tolist()
    assert found["unknown"].tolist() == [0, 0]
    whole = bits_per_character(equal(len(tokens)), tokens, TEXTS, window=5)
    assert whole == pytest.approx(math.log2(len(tokens)))


def test_characters_are_counted_in_the_text_and_not_in_tokens():
    tokens = BytePairs.train(TEXTS * 3, 270)
    found = measure_bits(equal(len(tokens)), tokens, TEXTS)
    for text, row in zip(TEXTS, found.itertuples(), strict=True):
        ids = tokens.encode(text)
        assert row.tokens == len(ids) - 1 < row.characters
        assert row.characters == len(text) - len(tokens.decode(ids[:1]))
        assert row.bits == pytest.approx(row.tokens * math.log2(len(tokens)))


def test_with_a_start_mark_the_first_token_counts_too():
    tokens = Characters.train(TEXTS, start=True)
    found = measure_bits(equal(4), tokens, TEXTS)
    assert found["characters"].tolist() == found["tokens"].tolist() == [*map(len, TEXTS)]


def test_an_unknown_character_costs_more_than_its_token():
    tokens = Characters.train(["abc"])
    known, unknown = measure_bits(equal(4), tokens, ["abc", "ab☃"])["bits"]
    assert unknown == pytest.approx(known + tokens.unknown_bits)
    assert measure_bits(equal(4), tokens, ["ab☃"])["unknown"].tolist() == [1]


@pytest.mark.parametrize(("window", "stride"), [(8, None), (8, 1), (8, 5), (6, 3), (100, None)])
def test_windows_give_what_whole_texts_give_where_the_context_suffices(window, stride):
    tokens = Characters.train(TEXTS)
    model = KneserNey(3).fit([tokens.encode(text) for text in TEXTS], len(tokens))
    ids = tokens.encode(TEXTS[0])
    found = measure_bits(model, tokens, TEXTS[:1], window, stride)["bits"][0]
    whole = model.log_probabilities(ids)
    start = model(np.array([ids[:3]]))[0]  # windows do not know that a text begins
    wanted = -(whole[3:].sum() + start.sum()) / math.log(2)
    assert found == pytest.approx(wanted)


class Repeats(torch.nn.Module):
    """Predicts the token it reads, from its own position alone; drops in training."""

    def __init__(self, size):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.size = size

    def forward(self, ids, louder=1.0):
        assert not self.training
        return louder * self.scale * torch.nn.functional.one_hot(ids, self.size).float()


def test_a_model_is_measured_in_evaluation_mode_by_its_logits():
    tokens, model = Characters.train(["ab"]), Repeats(3).train()
    found = measure_bits(model, tokens, ["aabb"], window=2)["bits"][0]
    same, other = (math.log(math.exp(2) + 2) - logit for logit in (2, 0))
    assert found == pytest.approx((2 * same + other) / math.log(2))
    assert model.training
    louder = log_probabilities_of(model, louder=0.0)
    assert bits_per_character(louder, tokens, ["aabb"]) == pytest.approx(math.log2(3))


def test_the_batch_size_changes_nothing():
    tokens = Characters.train(TEXTS)
    model = KneserNey(2).fit([tokens.encode(text) for text in TEXTS], len(tokens))
    one, many = (bits_per_character(model, tokens, TEXTS, 4, batch_size=size) for size in (1, 64))
    assert one == pytest.approx(many)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"texts": []}, "no texts"),
        ({"texts": "one"}, "list of texts"),
        ({"texts": ["abc", "a"]}, r"Text 1 .*has 1 tokens"),
        ({"window": 0}, "window is 0"),
        ({"stride": 9}, "stride is 9"),
        ({"stride": 0}, "stride is 0"),
        ({"source": lambda ids: np.zeros(ids.shape)}, r"expected \(2, 2\)"),
        ({"source": lambda ids: np.ones((2, 2))}, "no logarithm"),
        ({"source": lambda ids: np.full((2, 2), np.nan)}, "no logarithm"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, words):
    usual = {"source": equal(4), "texts": ["abc", "cab"], "window": 8} | change
    with pytest.raises(DataError, match=words):
        measure_bits(
            usual["source"],
            Characters.train(["abc"]),
            usual["texts"],
            usual["window"],
            usual.get("stride"),
        )
