"""Sampling: equal to Transformers', and true at the edges."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from attnlab.errors import AttnlabError, TensorError
from attnlab.language.sampling import adjust, candidates, draw

temperatures = st.floats(0.05, 20)
counts = st.none() | st.integers(1, 60)
nuclei = st.none() | st.floats(0.01, 0.999)
shares = st.none() | st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)


def random_logits(seed, *shape, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def by_transformers(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """What ``generate`` of Transformers draws from, in its order."""
    logits = TemperatureLogitsWarper(float(temperature))(None, logits)
    if top_k is not None:
        logits = TopKLogitsWarper(top_k)(None, logits)
    if top_p is not None:
        logits = TopPLogitsWarper(top_p)(None, logits)
    if min_p is not None:
        logits = MinPLogitsWarper(min_p)(None, logits)
    return logits.softmax(-1)


# --- Against Transformers ------------------------------------------------------------------------


@given(seeds, temperatures, counts, nuclei, shares)
def test_the_probabilities_are_those_of_transformers(seed, temperature, top_k, top_p, min_p):
    logits = random_logits(seed, 3, 50)
    ours = adjust(logits, temperature, top_k, top_p, min_p)
    theirs = by_transformers(logits, temperature, top_k, top_p, min_p)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert torch.equal(ours > 0, theirs > 0)


def test_the_order_is_temperature_top_k_top_p_min_p():
    """Another order of any two neighbours keeps other tokens, at some logits."""
    options = {"temperature": 2.0, "top_k": 6, "top_p": 0.8, "min_p": 0.2}
    logits = random_logits(0, 400, 20)
    ours = adjust(logits, **options)
    assert torch.equal(ours > 0, by_transformers(logits, **options) > 0)
    for first, second in (("temperature", "top_p"), ("top_k", "top_p"), ("top_p", "min_p")):
        others = {name: one for name, one in options.items() if name not in (first, second)}
        swapped = adjust(
            adjust(logits, **{second: options[second]}).log(), **{first: options[first]}
        )
        straight = adjust(
            adjust(logits, **{first: options[first]}).log(), **{second: options[second]}
        )
        assert not torch.equal(swapped > 0, straight > 0), (first, second, others)


@given(seeds, st.integers(1, 12))
def test_top_k_keeps_ties_of_the_last_as_transformers_does(seed, top_k):
    logits = random_logits(seed, 4, 10).round()
    ours = adjust(logits, top_k=top_k)
    assert torch.equal(ours > 0, by_transformers(logits, top_k=top_k) > 0)
    assert bool(((ours > 0).sum(-1) >= min(top_k, 10)).all())


@given(seeds, nuclei.filter(bool))
def test_top_p_keeps_as_many_of_ties_as_transformers_does_and_the_first(seed, top_p):
    logits = random_logits(seed, 4, 10).round()
    ours, theirs = adjust(logits, top_p=top_p), by_transformers(logits, top_p=top_p)
    assert torch.allclose(ours.sort(-1).values, theirs.sort(-1).values)
    for row, kept in zip(logits.tolist(), (ours > 0).tolist(), strict=True):
        least = min(value for value, stays in zip(row, kept, strict=True) if stays)
        edge = [stays for value, stays in zip(row, kept, strict=True) if value == least]
        assert edge == sorted(edge, reverse=True)


# --- What each option means ----------------------------------------------------------------------


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = torch.tensor([0.125, 0.5, 0.25, 0.125]).log()
    assert (adjust(logits, top_p=0.5) > 0).tolist() == [False, True, False, False]
    assert (adjust(logits, top_p=0.501) > 0).tolist() == [False, True, True, False]
    assert (adjust(logits, top_p=0.75) > 0).tolist() == [False, True, True, False]
    assert (adjust(logits, top_p=0.8) > 0).tolist() == [True, True, True, False]


@given(seeds, st.floats(0.01, 1))
def test_top_p_is_the_smallest_set_by_trying_all(seed, top_p):
    ranked = sorted(random_logits(seed, 8).softmax(-1).tolist(), reverse=True)
    fewest = next(n for n in range(1, 9) if math.fsum(ranked[:n]) >= top_p - 1e-12)
    kept = int((adjust(torch.tensor(ranked).double().log(), top_p=top_p) > 0).sum())
    assert kept == fewest


def test_min_p_keeps_tokens_at_least_so_likely_beside_the_likeliest():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    assert (adjust(logits, min_p=0.5) > 0).tolist() == [True, True, False, False]
    assert (adjust(logits, min_p=0.51) > 0).tolist() == [True, False, False, False]
    assert (adjust(logits, min_p=0.25) > 0).all()


def test_temperature_divides_the_logits():
    logits = random_logits(0, 5, 9)
    assert torch.allclose(adjust(logits, 0.7), (logits / 0.7).softmax(-1))
    spread = [float(adjust(logits, t).amax()) for t in (0.2, 1.0, 5.0)]
    assert spread == sorted(spread, reverse=True)


def test_temperature_0_is_greedy_and_takes_the_first_of_the_likeliest():
    logits = torch.tensor([[0.0, 2.0, 2.0], [3.0, -math.inf, 1.0]])
    assert adjust(logits, temperature=0).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert torch.equal(adjust(logits, 0, top_k=3, top_p=0.9, min_p=0.1), adjust(logits, 0))


@given(seeds, temperatures, counts, nuclei, shares)
def test_what_is_kept_keeps_its_proportions_and_sums_to_1(seed, temperature, top_k, top_p, min_p):
    logits = random_logits(seed, 20)
    alone, kept = adjust(logits, temperature), adjust(logits, temperature, top_k, top_p, min_p)
    assert float(kept.sum()) == pytest.approx(1, abs=1e-12)
    where = kept > 0
    ratios = kept[where] / alone[where]
    assert where[logits.argmax()]
    assert torch.allclose(ratios, ratios[:1])


@given(seeds, temperatures, counts, nuclei, shares)
def test_each_row_is_adjusted_by_itself(seed, temperature, top_k, top_p, min_p):
    logits = random_logits(seed, 2, 3, 11)
    whole = adjust(logits, temperature, top_k, top_p, min_p)
    for i in range(2):
        for j in range(3):
            alone = adjust(logits[i, j], temperature, top_k, top_p, min_p)
            assert torch.allclose(whole[i, j], alone)


def test_options_left_out_and_options_that_keep_all_change_nothing():
    logits = random_logits(1, 4, 1000).float()
    plain = adjust(logits)
    assert torch.allclose(plain, logits.softmax(-1))
    for options in ({"top_k": 5000}, {"top_p": 1}, {"top_p": 1.0}, {"min_p": 0}):
        kept = adjust(logits, **options)
        assert torch.equal(kept > 0, plain > 0)
        assert torch.allclose(kept, plain)


# --- Degenerate values ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-40, 1e-9, 1e9, 3e38])
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.3}])
def test_no_temperature_gives_nan(dtype, temperature, options):
    logits = torch.tensor([[5.0, -math.inf, 4.9, -60000.0], [60000.0] * 3 + [-math.inf]]).to(dtype)
    adjusted = adjust(logits, temperature, **options)
    assert adjusted.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.isfinite(adjusted).all()
    assert torch.allclose(adjusted.sum(-1), torch.ones(2, dtype=adjusted.dtype))
    assert adjusted[0, 1] == 0
    assert adjusted[1, 3] == 0


def test_a_forbidden_token_stays_forbidden():
    logits = torch.tensor([1.0, -math.inf, 0.0])
    for options in ({}, {"top_k": 3}, {"top_p": 1}, {"min_p": 0}, {"temperature": 1e30}):
        assert adjust(logits, **options)[1] == 0


def test_a_vocabulary_of_one_token():
    for options in ({}, {"temperature": 0}, {"top_k": 1}, {"top_p": 0.1}, {"min_p": 1}):
        assert adjust(torch.tensor([[3.0], [-9.0]]), **options).tolist() == [[1], [1]]


def test_no_rows_are_no_probabilities():
    assert adjust(torch.zeros(0, 5), 0.5, 2, 0.5, 0.1).shape == (0, 5)


def test_the_logits_are_left_as_they_are():
    logits = random_logits(0, 3, 9)
    before = logits.clone()
    adjust(logits, 0.5, 3, 0.5, 0.1)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"temperature": -1}, "greedy"),
        ({"temperature": math.nan}, "positive"),
        ({"temperature": math.inf}, "positive"),
        ({"temperature": "hot"}, "positive"),
        ({"temperature": True}, "positive"),
        ({"top_k": 0}, "leave top_k"),
        ({"top_k": -5}, "at least 1"),
        ({"top_k": 2.5}, "whole"),
        ({"top_k": True}, "whole"),
        ({"top_p": 0}, "temperature=0"),
        ({"top_p": 1.1}, "at most 1"),
        ({"top_p": math.nan}, "at most 1"),
        ({"top_p": "0.9"}, "at most 1"),
        ({"min_p": -0.1}, "from 0 to 1"),
        ({"min_p": 2}, "from 0 to 1"),
    ],
)
def test_options_outside_their_range_are_refused_with_the_cure(options, cure):
    with pytest.raises(AttnlabError, match=cure):
        adjust(torch.zeros(5), **options)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.tensor([1.0, math.nan]), r"nan at \(1,\)"),
        (torch.tensor([[1.0, math.inf]]), r"inf at \(0, 1\)"),
        (torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]), "no token is allowed"),
        (torch.tensor([1, 2]), "floating-point"),
        ([1.0, 2.0], "torch.as_tensor"),
        (torch.tensor(1.0), "each token"),
        (torch.zeros(3, 0), "each token"),
    ],
)
def test_logits_that_give_no_probabilities_are_refused(logits, words):
    with pytest.raises(TensorError, match=words):
        adjust(logits)


# --- The draw ------------------------------------------------------------------------------------


def test_tokens_are_drawn_as_often_as_their_probability_says():
    probabilities = adjust(random_logits(2, 6, scale=1.0))
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn = draw(probabilities.expand(100_000, 6), uniform)
    shares = torch.bincount(drawn, minlength=6) / 100_000
    assert torch.allclose(shares.double(), probabilities, atol=2e-5)


@given(seeds, st.sampled_from([0.0, 1e-300, 0.5, 1 - 2**-53]))
def test_a_token_of_probability_0_is_never_drawn(seed, uniform):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(7, generator=generator)
    probabilities[torch.rand(7, generator=generator) < 0.6] = 0
    probabilities[int(torch.randint(7, (), generator=generator))] += 1e-9
    drawn = int(draw(probabilities, torch.tensor(uniform, dtype=torch.float64)))
    assert drawn < 7
    assert probabilities[drawn] > 0


# --- Candidates ----------------------------------------------------------------------------------


class Letters:
    def pieces(self, ids):
        return [chr(97 + token) for token in ids]


def test_candidates_show_the_likeliest_tokens_before_and_after():
    logits = torch.tensor([0.125, 0.5, 0.25, 0.125]).log()
    table = candidates(logits, Letters(), top_p=0.75, rows=3)
    assert list(table.columns) == ["id", "piece", "before", "after"]
    assert table["piece"].tolist() == ["b", "c", "a"]
    assert table["before"].tolist() == pytest.approx([0.5, 0.25, 0.125])
    assert table["after"].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert len(candidates(logits, Letters())) == 4


def test_candidates_of_a_batch_are_refused_with_the_cure():
    with pytest.raises(TensorError, match=r"logits\[0, -1\]"):
        candidates(torch.zeros(1, 3, 4), Letters())
