"""Kneser-Ney against the formula written out with dictionaries, and as a distribution."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import DataError
from attnlab.language import KneserNey, packed_bits

TEXTS = st.lists(st.lists(st.integers(0, 4), max_size=30), min_size=1, max_size=4).filter(any)
CONTEXT = st.lists(st.integers(0, 4), max_size=6)


class Slow:
    """The definition with one discount: counted with dictionaries, mixed by recursion."""

    def __init__(self, texts, order, discount, vocabulary):
        self.order, self.discount, self.vocabulary = order, discount, vocabulary
        self.counts = [Counter() for _ in range(order + 1)]
        for text in texts:
            marked = [None] * (order - 1) + list(text)
            for end in range(order, len(marked) + 1):
                self.counts[order][tuple(marked[end - order : end])] += 1
        for n in range(order - 1, 0, -1):
            before = defaultdict(set)
            for gram in self.counts[n + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[n] = Counter({gram: len(found) for gram, found in before.items()})

    def probability(self, token, context):
        marked = [None] * (self.order - 1) + list(context)
        return self._mixed(token, tuple(marked[len(marked) - self.order + 1 :]))

    def _mixed(self, token, context):
        n = len(context) + 1
        shorter = self._mixed(token, context[1:]) if context else 1 / self.vocabulary
        here = {gram[-1]: count for gram, count in self.counts[n].items() if gram[:-1] == context}
        total = sum(here.values())
        if not total:
            return shorter
        taken = self.discount * len(here)
        return (max(here.get(token, 0) - self.discount, 0) + taken * shorter) / total


@given(TEXTS, CONTEXT, st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_every_probability_is_that_of_the_formula(texts, context, order):
    fast = KneserNey(order, 0.6).fit(texts, 5)
    slow = Slow(texts, order, 0.6, 5)
    wanted = [slow.probability(token, context) for token in range(5)]
    np.testing.assert_allclose(fast.distribution(context), wanted, rtol=1e-9)
    logs = fast.log_probabilities(context)
    expected = [
        math.log(slow.probability(token, context[:index])) for index, token in enumerate(context)
    ]
    np.testing.assert_allclose(logs, expected, rtol=1e-9)


@given(TEXTS, CONTEXT, st.integers(1, 6), st.sampled_from([None, 0.1, 0.9]))
@settings(deadline=None, max_examples=60)
def test_probabilities_are_positive_and_sum_to_one(texts, context, order, discount):
    model = KneserNey(order, discount).fit(texts, 7)  # two tokens never occur
    found = model.distribution(context)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    for token in range(7):
        chain = model.log_probabilities([*context[:4], token])[-1]
        assert chain == pytest.approx(math.log(model.distribution(context[:4])[token]))


@pytest.fixture(scope="module")
def sequence():
    """A text in which a token depends on the one two before it."""
    rng = np.random.default_rng(0)
    ids = [0, 1]
    for _ in range(3000):
        ids.append((ids[-2] + 1) % 6 if rng.random() < 0.8 else int(rng.integers(6)))
    return ids


def test_a_longer_context_helps_where_the_text_depends_on_it(sequence):
    def bits(order):
        model = KneserNey(order).fit([sequence[:2500]], 6)
        return -model.log_probabilities(sequence[2500:]).mean() / math.log(2)

    assert bits(3) < bits(2) - 0.5
    assert bits(3) < bits(8) < bits(2) - 0.4  # what did not occur backs off
    assert bits(1) == pytest.approx(math.log2(6), abs=0.05)


def test_a_window_does_not_know_what_stood_before_it(sequence):
    model = KneserNey(4).fit([sequence], 6)
    whole = model.log_probabilities(sequence)
    windows = model(np.array([sequence[10:30], sequence[40:60]]))
    assert windows.shape == (2, 19)
    np.testing.assert_allclose(windows[:, 2:], [whole[13:30], whole[43:60]])
    assert abs(windows[0, 0] - whole[11]) > 1e-6


def test_modified_discounts_grow_with_the_count(sequence):
    model = KneserNey(3).fit([sequence], 6)
    assert model.discounts.shape == (3, 3)
    assert (model.discounts[2] > 0).all() and (np.diff(model.discounts[2]) > 0).all()
    assert (KneserNey(3, 0.5).fit([sequence], 6).discounts == 0.5).all()


def test_a_sample_is_drawn_from_the_distribution_and_repeats_with_its_seed(sequence):
    model = KneserNey(3).fit([sequence], 6)
    first = model.sample(50, seed=1)
    assert len(first) == 50 and first == model.sample(50, seed=1) != model.sample(50, seed=2)
    likely = model.sample(40, prompt=[2, 3], temperature=0.01)
    assert likely[:4] == [3, 4, 4, 5]


def test_it_counts_a_long_text_in_seconds():
    import time

    ids = np.random.default_rng(0).integers(0, 70, 400_000)
    start = time.perf_counter()
    KneserNey(8).fit([ids], 72).log_probabilities(ids[:50_000])
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: KneserNey(0), "order is 0"),
        (lambda: KneserNey(2, 1.0), "between 0 and 1"),
        (lambda: KneserNey(2).fit([]), "no tokens"),
        (lambda: KneserNey(2).fit([[]]), "no tokens"),
        (lambda: KneserNey(2).fit([[0, 5]], 5), "no token 5"),
        (lambda: KneserNey(2).fit(["abc"]), "list of ids"),
        (lambda: KneserNey(2).fit([[0.5]]), "list of ids"),
        (lambda: KneserNey(2).log_probabilities([0]), "Call fit"),
        (lambda: KneserNey(2).fit([[0, 1]]).log_probabilities([2]), "no token 2"),
        (lambda: KneserNey(2).fit([[0, 1]]).distribution([-1]), "no token -1"),
        (lambda: KneserNey(2).fit([[0, 1]]).sample(3, temperature=0), "above 0"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_a_packer_is_good_at_what_it_has_seen():
    rng = np.random.default_rng(0)
    known, new = ("".join(rng.choice(list("abcdefgh"), 2000)) for _ in range(2))
    seen, unseen = packed_bits([known], [known, new])
    assert seen < 300 and 2000 * 3 <= unseen < 2000 * 3.6
