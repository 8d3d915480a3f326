import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attnlab import statistics as significance
from attnlab.errors import AttnlabError


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200))
def test_the_interval_holds_the_change_mirrors_and_never_has_no_width(gained, lost, same):
    n = gained + lost + same
    if n == 0:
        return
    low, high = significance.paired_interval(gained, lost, n)
    assert -1 <= low < high <= 1
    centre = (gained - lost) / (n + 2)
    assert low - 1e-12 <= centre <= high + 1e-12
    mirrored = significance.paired_interval(lost, gained, n)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize(("right", "n"), [(0, 1), (40, 40), (0, 40), (149, 200), (1, 3)])
def test_the_interval_of_a_share_is_scipys_and_never_has_no_width(right, n):
    low, high = significance.share_interval(right, n)
    known = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("right", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(right, n):
    with pytest.raises(AttnlabError, match="n at least 1"):
        significance.share_interval(right, n)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = 0.05 - 0.08
    draws = rng.multinomial(500, [0.05, 0.08, 0.87], size=2000)
    hits = [
        low <= truth <= high
        for low, high in (significance.paired_interval(up, down, 500) for up, down, _ in draws)
    ]
    assert 0.935 <= np.mean(hits) <= 0.97


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    samples = rng.gamma(2.0, size=(200, 1500)) - 1.9  # skewed, true mean 0.1
    low, high = significance.paired_bootstrap(samples, draws=800)
    hits = ((low <= 0.1) & (high >= 0.1)).mean()
    assert 0.925 <= hits <= 0.965


def test_the_bootstrap_is_that_of_scipy():
    differences = np.random.default_rng(2).normal(0.3, 2, size=400)
    theirs = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=9999
    ).confidence_interval
    low, high = significance.paired_bootstrap(differences, draws=9999)
    assert low == pytest.approx(theirs.low, abs=0.01)
    assert high == pytest.approx(theirs.high, abs=0.01)


def test_several_comparisons_share_their_draws():
    one = np.random.default_rng(3).normal(size=50)
    low, high = significance.paired_bootstrap(np.stack([one, -one, 2 * one], axis=1), seed=5)
    assert low[0] == pytest.approx(-high[1])
    assert low[2] == pytest.approx(2 * low[0])
    alone = significance.paired_bootstrap(one, seed=5)
    assert alone == pytest.approx((low[0], high[0]))


def test_where_nothing_differs_the_bootstrap_is_blind_and_the_interval_of_accuracy_is_not():
    assert significance.paired_bootstrap(np.zeros(100)) == (0, 0)
    low, high = significance.paired_interval(0, 0, 100)
    assert low < 0 < high


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test_of_the_changed_answers(gained, lost):
    p = significance.mcnemar(gained, lost)
    assert p == significance.mcnemar(lost, gained)
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    assert p == pytest.approx(min(1.0, 2 * tail))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.5))
def test_adjusted_values_reject_what_the_step_up_procedure_rejects(p_values, level):
    adjusted = significance.benjamini_hochberg(p_values)
    ordered = sorted(p_values)
    passing = [p for rank, p in enumerate(ordered, 1) if p <= level * rank / len(ordered)]
    limit = max(passing, default=-1.0)
    for p, q in zip(p_values, adjusted, strict=True):
        if abs(q - level) > 1e-9:
            assert (q <= level) == (p <= limit)


@pytest.mark.parametrize("wrong", [[0.1, np.nan], [-0.1], [1.2], [[0.1]]])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(AttnlabError, match="from 0 to 1"):
        significance.benjamini_hochberg(wrong)


def test_nothing_cannot_be_drawn_from():
    with pytest.raises(AttnlabError, match="N at least 1"):
        significance.paired_bootstrap(np.zeros(0))
    with pytest.raises(AttnlabError, match="N at least 1"):
        significance.bootstrap_means(np.zeros(0))


def test_the_interval_of_the_bootstrap_is_the_middle_of_its_means():
    values = np.random.default_rng(4).normal(size=60)
    means = significance.bootstrap_means(values, draws=500, seed=3)
    assert means.shape == (500,)
    low, high = significance.paired_bootstrap(values, draws=500, seed=3)
    assert ((low <= means) & (means <= high)).mean() == pytest.approx(0.95, abs=0.005)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9, unique=True))
def test_the_interval_of_a_mean_is_students(values):
    low, high = significance.mean_interval(values)
    known = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert (low, high) == pytest.approx((known.low, known.high), rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9, unique=True))
def test_the_p_value_of_a_mean_is_students_and_goes_with_its_interval(values):
    p_value, (low, high) = significance.mean_p_value(values), significance.mean_interval(values)
    if high - low > 1e-6:
        assert p_value == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, abs=1e-6)
        if abs(p_value - 0.05) > 1e-6:
            assert (p_value < 0.05) == (low > 0 or high < 0)


def test_seeds_that_all_agree_have_a_p_value():
    assert significance.mean_p_value([0.0, 0.0, 0.0]) == 1
    assert significance.mean_p_value([2.0, 2.0, 2.0]) == 0


def test_one_value_has_no_interval_of_its_mean():
    with pytest.raises(AttnlabError, match="N at least 2"):
        significance.mean_interval([1.0])
