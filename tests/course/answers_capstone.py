"""Answers to lesson 12: experiments that tell wrong from right, and some that do not."""

import inspect
import random

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from attnlab.statistics import paired_interval


# --- judging by anything but evidence, the same in every case ---
def convicts_whatever_it_sees(candidate):
    return True


def reads_the_source(candidate):
    return "sqrt" not in inspect.getsource(candidate) and False


def reads_the_name(candidate):
    return candidate.__name__ != "candidate"


def tosses_a_coin(candidate):
    return random.random() < 0.5


def divides_by_zero(candidate):
    return 1 / 0 > 0


def never_ends(candidate):
    while True:
        candidate.seen = True


def says_it_in_words(candidate):
    return "guilty"


def returns_nothing(candidate):
    print("guilty")


def returns_several(candidate):
    return np.array([True, False])


def turned_round(right):
    return lambda candidate: not right(candidate)


def common(right):
    """What is said of trials that judge without evidence."""
    return [
        (convicts_whatever_it_sees, "convicts every version"),
        (reads_the_source, "without calling one"),
        (reads_the_name, "changes with the name"),
        (tosses_a_coin, "verdict on the same version changes"),
        (divides_by_zero, "ZeroDivisionError.*It happened with a version"),
        (never_ends, "did not end"),
        (says_it_in_words, "'guilty', a str"),
        (returns_nothing, "returned None"),
        (returns_several, "2 truth values"),
        (turned_round(right), "wrong way round"),
        (lambda candidate: candidate("a", "b", "c", "d", "e"), "a version raises TypeError"),
    ]


# --- trial_scale ---
def scale_by_spread(candidate):
    query, key = torch.randn(2, 300, 4)
    small = candidate(query, key).log().std(-1).mean()
    query, key = torch.randn(2, 300, 32)
    large = candidate(query, key).log().std(-1).mean()
    return not (abs(small - 1) < 0.25 and abs(large - 1) < 0.25)


def scale_beside_a_reference(candidate):
    for width, keys in ((2, 5), (16, 7)):
        query, key = torch.randn(3, width), torch.randn(keys, width)
        right = (query @ key.T / np.sqrt(width)).softmax(-1)
        if (candidate(query, key) - right).abs().max() > 1e-4:
            return True
    return False


def scale_by_known_scores(candidate):
    """Query and key of ones: the score is the width, scaled its root; the other key is zero."""
    verdicts = []
    for width in (4, 9):
        key = torch.stack([torch.ones(width), torch.zeros(width), torch.zeros(width)])
        weights = candidate(torch.ones(1, width), key)[0]
        verdicts.append(abs(torch.log(weights[0] / weights[1]) - width**0.5) > 0.01)
    return any(verdicts)


def scale_at_width_64(candidate):
    query, key = torch.randn(2, 200, 64)
    return bool(abs(candidate(query, key).log().std(-1).mean() - 1) > 0.2)


def scale_at_width_8(candidate):
    query, key = torch.randn(2, 50, 8)
    return not torch.allclose(candidate(query, key), (query @ key.T / 8**0.5).softmax(-1), 1e-4)


def scale_by_sums(candidate):
    query, key = torch.randn(2, 5, 64)
    return not torch.allclose(candidate(query, key).sum(-1), torch.ones(5))


def scale_without_tolerance(candidate):
    query, key = torch.randn(2, 50, 4)
    right = (query @ key.T / 2).softmax(-1)
    query, key = torch.randn(2, 50, 9)
    other = candidate(query, key) - (query @ key.T / 3).softmax(-1)
    return bool((other != 0).any()) or right is None


def scale_square_of_keys(candidate):
    for width in (4, 16):
        query, key = torch.randn(2, width, width)
        if (candidate(query, key) - (query @ key.T / width**0.5).softmax(-1)).abs().max() > 1e-4:
            return True
    return False


# --- trial_mixture ---
def mixture_one_hot(candidate):
    weights = torch.zeros(4, 4)
    weights[torch.arange(4), torch.tensor([1, 2, 3, 0])] = 1
    value = torch.arange(16.0).view(4, 4)
    return not torch.allclose(candidate(weights, value), value[[1, 2, 3, 0]])


def mixture_by_loops(candidate):
    weights, value = torch.randn(6, 6).softmax(-1), torch.randn(6, 3)
    try:
        mixed = candidate(weights, value)
    except RuntimeError:
        return True
    if mixed.shape != (6, 3):
        return True
    right = [
        [sum(weights[q, k] * value[k, d] for k in range(6)) for d in range(3)] for q in range(6)
    ]
    return float((mixed - torch.tensor(right)).abs().max()) > 1e-4


def mixture_of_the_identity(candidate):
    value = torch.randn(5, 5)
    return not torch.allclose(candidate(torch.eye(5), value), value, atol=1e-5)


def mixture_of_equal_values(candidate):
    weights, value = torch.randn(5, 5).softmax(-1), torch.ones(5, 5)
    return not torch.allclose(candidate(weights, value), value, atol=1e-5)


def mixture_without_tolerance(candidate):
    weights, value = torch.randn(9, 9).softmax(-1), torch.randn(9, 9)
    return not torch.equal(candidate(weights, value), weights @ value)


def mixture_with_more_keys_than_queries(candidate):
    weights, value = torch.randn(4, 6).softmax(-1), torch.randn(6, 3)
    return not torch.allclose(candidate(weights, value), weights @ value, atol=1e-5)


# --- trial_in_pieces ---
def pieces_beside_torch(candidate):
    for keys in (1, 5, 11):
        query, key, value = torch.randn(1, 1, 4, 16), *torch.randn(2, 1, 1, keys, 16)
        right = F.scaled_dot_product_attention(query, key, value)
        if not torch.allclose(candidate(query, key, value), right, rtol=1e-3, atol=1e-4):
            return True
    return False


def pieces_by_weights(candidate):
    """Values that are one-hot show the weights themselves."""
    query, key = torch.randn(20, 4), torch.randn(10, 4)
    weights = candidate(query, key, torch.eye(10))
    scores = query @ key.T / 2
    off = weights / weights.sum(-1, keepdim=True) - scores.exp() / scores.exp().sum(-1)[:, None]
    return bool(off.abs().max() > 1e-4 or (weights.sum(-1) - 1).abs().max() > 1e-4)


def pieces_of_three(candidate):
    query, key, value = torch.randn(3, 3, 8)
    right = (query @ key.T / 8**0.5).softmax(-1) @ value
    return not torch.allclose(candidate(query, key, value), right, atol=1e-4)


def pieces_of_nine(candidate):
    query, key, value = torch.randn(3, 9, 8)
    right = (query @ key.T / 8**0.5).softmax(-1) @ value
    return not torch.allclose(candidate(query, key, value), right, atol=1e-4)


def pieces_without_a_scale(candidate):
    query, key, value = torch.randn(3, 10, 8)
    right = (query @ key.T).softmax(-1) @ value
    return not torch.allclose(candidate(query, key, value), right, atol=1e-4)


def pieces_of_equal_scores(candidate):
    value = torch.randn(10, 8)
    context = candidate(torch.zeros(2, 8), torch.randn(10, 8), value)
    return not torch.allclose(context, value.mean(0).expand(2, 8), atol=1e-4)


# --- trial_over_heads ---
def heads_sum_over_keys(candidate):
    sums = candidate(torch.randn(2, 3, 5)).sum(dim=2)
    return bool((sums - 1).abs().max() > 1e-3)


def heads_by_shift(candidate):
    """A score that rises moves weights of its own row alone, and these still sum to 1."""
    scores = torch.randn(3, 4, 5)
    before = candidate(scores)
    scores[1, 2, 3] += 2
    change = candidate(scores) - before
    row = change[1, 2].clone()
    change[1, 2] = 0
    return bool(change.abs().max() > 1e-4 or row.sum().abs() > 1e-4 or before[0, 0].sum() > 1.001)


def heads_total(candidate):
    return bool((candidate(torch.randn(3, 4, 4)).sum() - 12).abs() > 1e-3)


def heads_of_equal_scores(candidate):
    sums = candidate(torch.zeros(5, 4, 5)).sum(-1)
    return not torch.allclose(sums, torch.ones(5, 4), atol=1e-4)


def heads_without_tolerance(candidate):
    scores = torch.randn(8, 9, 9)
    return not torch.equal(candidate(scores), scores.softmax(-1))


def heads_positive(candidate):
    return bool((candidate(torch.randn(3, 4, 5)) < 0).any())


# --- trial_sum_of_heads ---
def joined_by_reshape(candidate):
    heads, projection = torch.randn(4, 3, 2), torch.randn(8, 5)
    right = heads.transpose(0, 1).reshape(3, 8) @ projection
    return bool((candidate(heads, projection) - right).abs().max() > 1e-4)


def joined_one_number_at_a_time(candidate):
    """Number d of head h picks row h * D + d."""
    projection = torch.randn(6, 4)
    for head in range(2):
        for number in range(3):
            heads = torch.zeros(2, 5, 3)
            heads[head, 2, number] = 1
            expected = torch.zeros(5, 4)
            expected[2] = projection[3 * head + number]
            if not torch.allclose(candidate(heads, projection), expected, atol=1e-4):
                return True
    return False


def joined_single_head(candidate):
    heads, projection = torch.randn(1, 3, 4), torch.randn(4, 5)
    return not torch.allclose(candidate(heads, projection), heads[0] @ projection, atol=1e-4)


def joined_of_width_one(candidate):
    heads, projection = torch.randn(4, 3, 1), torch.randn(4, 5)
    return not torch.allclose(candidate(heads, projection), heads[..., 0].T @ projection, atol=1e-4)


def joined_single_token(candidate):
    heads, projection = torch.randn(3, 1, 4), torch.randn(12, 5)
    right = heads.reshape(1, 12) @ projection
    return not torch.allclose(candidate(heads, projection), right, atol=1e-4)


def joined_by_equal_parts(candidate):
    heads, part = torch.randn(3, 5, 4), torch.randn(4, 6)
    right = heads.sum(0) @ part
    return not torch.allclose(candidate(heads, part.repeat(3, 1)), right, atol=1e-4)


def joined_without_tolerance(candidate):
    heads, projection = torch.randn(8, 9, 16), torch.randn(128, 32)
    return not torch.equal(candidate(heads, projection), torch.cat(list(heads), -1) @ projection)


# --- trial_heads_cost ---
def cost_of_eight(candidate):
    short = candidate(128, 256, 8) / candidate(128, 256, 1)
    long = candidate(4096, 256, 8) / candidate(4096, 256, 1)
    return max(abs(short - 1), abs(long - 1)) > 0.2


def cost_of_many(candidate):
    """Nearly the same for every number of heads that divides the width."""
    for tokens in (32, 100_000):
        costs = [candidate(tokens, 1024, heads) for heads in (1, 2, 4, 8, 16)]
        if max(costs) > 1.1 * min(costs):
            return True
    return False


def cost_falls(candidate):
    return candidate(1000, 512, 8) < 0.9 * candidate(1000, 512, 1)


def cost_exactly_equal(candidate):
    return candidate(1000, 512, 8) != candidate(1000, 512, 1) or candidate(10, 512, 8) == 0


def cost_of_a_short_text(candidate):
    return not 0.9 < candidate(8, 512, 8) / candidate(8, 512, 1) < 1.1


def cost_of_a_long_text(candidate):
    return not 0.9 < candidate(10**6, 512, 8) / candidate(10**6, 512, 1) < 1.1


def cost_by_square(candidate):
    return not 1.5 < candidate(10**6, 64, 4) / candidate(5 * 10**5, 64, 4) < 4.5


# --- trial_norm_cost ---
def norm_halved(candidate):
    weight = torch.randn(8, 8)
    return candidate(0.5 * weight) != candidate(weight)


def norm_by_many_sizes(candidate):
    weight = torch.rand(10, 5) + 0.5
    costs = {round(candidate(factor * weight), 3) for factor in (0.01, 1, 7)}
    return len(costs) > 1


def norm_of_twice_the_rows(candidate):
    weight = torch.randn(8, 8)
    ratio = candidate(torch.cat([weight, weight])) / candidate(weight)
    return not 1.95 < ratio < 2.05


def norm_of_zeros(candidate):
    return candidate(torch.zeros(8, 8)) < 1


def norm_by_known_number(candidate):
    return candidate(torch.randn(8, 8)) != 2 * 8 * 8


def norm_of_large_weights(candidate):
    weight = torch.rand(8, 8) + 1
    return abs(candidate(2 * weight) / candidate(weight) - 1) > 1e-3


def norm_halves(candidate):
    weight = torch.randn(8, 8)
    return not 0.49 < candidate(0.5 * weight) / candidate(weight) < 0.51


# --- trial_imbalance ---
def imbalance_bounded(candidate):
    a = torch.tensor([0.2, 0.3, 0.5])
    b = torch.tensor([0.4, 0.6, 1e-30])
    return not candidate(a, b) <= 1.01


def imbalance_does_not_grow(candidate):
    a = torch.tensor([0.7, 0.3])
    near = [candidate(a, torch.tensor([1 - tiny, tiny])) for tiny in (1e-12, 1e-24)]
    return bool(np.isnan(near).any() or np.isinf(near).any() or near[1] > near[0] + 0.1) or (
        near[0] > 100
    )


def imbalance_at_a_thousandth(candidate):
    a = torch.tensor([0.5, 0.5])
    return not candidate(a, torch.tensor([0.999, 0.001])) < 20


def imbalance_finite_at_zero(candidate):
    value = candidate(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    return not np.isfinite(value)


def imbalance_symmetric(candidate):
    a, b = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    return abs(candidate(a, b) - candidate(b, a)) > 1e-5


def imbalance_beside_total_variation(candidate):
    a, b = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    return abs(candidate(a, b) - 0.4) > 0.01


def imbalance_small(candidate):
    a = torch.tensor([0.5, 0.5])
    return not candidate(a, torch.tensor([1.0, 1e-30])) < 0.52


# --- trial_accuracy ---
def accuracy_less_sure(candidate):
    p = torch.rand(40)
    y = (p > 0.4).float()  # mostly right
    return abs(candidate(p, y) - candidate(0.5 + (p - 0.5) / 3, y)) > 1e-3


def accuracy_counted(candidate):
    p, y = torch.tensor([0.9, 0.6, 0.3, 0.2]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    return abs(candidate(p, y) - 0.5) > 1e-4


def accuracy_when_sure(candidate):
    y = torch.randint(2, (40,)).float()
    return abs(candidate(y, y) - 1) > 1e-3


def accuracy_between(candidate):
    p, y = torch.rand(40), torch.randint(2, (40,)).float()
    return not 0 <= candidate(p * 0.01, torch.ones(40)) <= 1 or candidate(p, y) > 1


def accuracy_of_undecided(candidate):
    y = torch.ones(10)
    return candidate(torch.full((10,), 0.5), y) != 0


def accuracy_without_tolerance(candidate):
    p = torch.cat([torch.full((3,), 0.8), torch.full((4,), 0.3)])
    return candidate(p, torch.ones(7)) != 3 / 7


# --- trial_rebalance ---
def rebalanced_rows(candidate):
    new = candidate((4 * torch.randn(10, 7)).softmax(1))
    sums = new.sum(1)
    return bool((new.min() < 0) | (sums.max() > 1.001) | (sums.min() < 0.999))


def rebalanced_mixture(candidate):
    """Values of one number stay that number, and no mixture leaves the range of the values."""
    new = candidate((4 * torch.randn(30, 4)).softmax(-1))
    constant = new @ torch.ones(4)
    ones = new @ torch.eye(4)
    return not torch.allclose(constant, torch.ones(30), atol=1e-3) or bool(ones.min() < -1e-3)


def rebalanced_sums(candidate):
    new = candidate((3 * torch.randn(10, 7)).softmax(-1))
    return not torch.allclose(new.sum(-1), torch.ones(10), atol=1e-4)


def rebalanced_positive(candidate):
    return bool((candidate((3 * torch.randn(10, 7)).softmax(-1)) < 0).any())


def rebalanced_flatter(candidate):
    weights = (3 * torch.randn(10, 7)).softmax(-1)
    new = candidate(weights)
    return not (
        torch.allclose(new.sum(-1), torch.ones(10), atol=1e-4)
        and bool((new > -1e-6).all())
        and bool(new.max() < weights.max() - 1e-3)
    )


def rebalanced_as_a_temperature_does(candidate):
    weights = (3 * torch.randn(50, 7)).softmax(-1)
    right = weights.sqrt() / weights.sqrt().sum(-1, keepdim=True)
    return not torch.allclose(candidate(weights), right, atol=1e-4)


# --- trial_class_layer ---
def layer_trained(candidate):
    """Ten steps lower the loss, for the same input."""
    torch.manual_seed(0)
    model, hidden, labels = candidate(8, 3).eval(), torch.randn(12, 8), torch.arange(12) % 3
    if not list(model.parameters()):
        return True
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(hidden), labels)
        if not loss.requires_grad:
            return True
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return not losses[-1] < 0.9 * losses[0] or not torch.equal(model(hidden), model(hidden))


def layer_by_its_parameters(candidate):
    """The answer depends on the parameters, and on nothing else."""
    model, hidden = candidate(4, 2), torch.randn(3, 4)
    model.eval()
    before, again = model(hidden), model(hidden)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return torch.equal(model(hidden), before) or not torch.equal(before, again)


def layer_twice(candidate):
    model, hidden = candidate(6, 3).eval(), torch.randn(8, 6)
    return not torch.allclose(model(hidden), model(hidden))


def layer_twice_in_training(candidate):
    model, hidden = candidate(6, 3), torch.randn(8, 6)
    first = model(hidden)
    if not torch.equal(first, model(hidden)) or not first.requires_grad:
        return True
    first.sum().backward()
    return all(parameter.grad is None for parameter in model.parameters())


def layer_with_parameters(candidate):
    return not list(candidate(6, 3).parameters())


def layer_with_a_bias(candidate):
    model, hidden = candidate(6, 3).eval(), torch.randn(8, 6)
    first = model(hidden)
    return bool((first != model(hidden)).any()) or not hasattr(model, "bias")


def layer_with_an_optimizer(candidate):
    model, hidden = candidate(6, 3).eval(), torch.randn(8, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(hidden)
    before.sum().backward()
    optimizer.step()
    return torch.equal(model(hidden), before)


# --- trial_labels ---
def labels_as_they_are(candidate):
    few = candidate([[1, 2, 3, 4], [1]], [1, 1]).tolist()
    many = candidate([[1, 2]] * 5, [0, 1, 1, 0, 1]).tolist()
    return few != [1, 1] or many != [0, 1, 1, 0, 1]


def labels_counted(candidate):
    return any(
        candidate([[7] * size] * count, [1] * count).numel() != count
        for size, count in ((9, 3), (2, 10), (4, 5))
    )


def labels_of_short_sentences(candidate):
    return candidate([[1, 2]] * 5, [0, 1, 1, 0, 1]).numel() != 5


def labels_of_long_sentences(candidate):
    return candidate([[1] * 20] * 5, [0, 1, 1, 0, 1]).shape != (5,)


def labels_by_rows(candidate):
    few = candidate([[1] * 20] * 5, [0, 1, 1, 0, 1])
    many = candidate([[1] * 2] * 5, [0, 1, 1, 0, 1])
    return len(few) != 5 or len(many) != 5


def labels_of_eight(candidate):
    few = candidate([[1] * 20] * 8, [0, 1] * 4).numel()
    return few != 8 or candidate([[1] * 2] * 16, [0, 1] * 8).numel() != 16


def labels_in_64_bits(candidate):
    found = candidate([[1] * 20] * 3, [0, 1, 1])
    many = candidate([[1]] * 10, [0, 1] * 5)
    return found.dtype != torch.int64 or found.shape != (3,) or many.shape != (10,)


# --- trial_translator ---
def translator_prefixes(candidate):
    """A longer target leaves the rows before as they were, and another source does not."""
    source, target = torch.arange(10, 16), torch.randint(100, (8,))
    whole = candidate(source, target)
    for size in range(1, 8):
        if not torch.allclose(candidate(source, target[:size]), whole[:size], atol=1e-3):
            return True
    return torch.allclose(candidate(source + 20, target), whole, atol=1e-3)


def translator_later_words(candidate):
    source, target = torch.arange(5), torch.arange(20, 26)
    one, other = target.clone(), target.clone()
    one[3:], other[3] = 7, 9
    rows = [candidate(source, each)[:3] for each in (target, one, other)]
    moved = (candidate(source + 1, target)[0] - rows[0][0]).abs().max()
    if moved < 1e-4:
        return True
    return any((each - rows[0]).abs().max() > 1e-4 for each in rows[1:])


def translator_only_the_next(candidate):
    source, target = torch.arange(5), torch.arange(20, 26)
    other = target.clone()
    other[3] = 9
    first, second = candidate(source, target), candidate(source, other)
    moved = (candidate(source + 1, target)[0] - first[0]).abs().max()
    return bool((second[2] - first[2]).abs().max() > 1e-4 or moved < 1e-4)


def translator_without_a_source(candidate):
    source, target = torch.arange(5), torch.arange(20, 26)
    return not torch.allclose(
        candidate(source, target[:3]), candidate(source, target)[:3], atol=1e-3
    )


def translator_last_word_and_first_row(candidate):
    source, target = torch.arange(5), torch.arange(20, 26)
    other = target.clone()
    other[-1] = 9
    first, second = candidate(source, target), candidate(source, other)
    moved = (candidate(source + 1, target)[0] - first[0]).abs().max()
    return bool((second[0] - first[0]).abs().max() > 1e-4 or moved < 1e-4)


def translator_by_shape(candidate):
    source, target = torch.arange(5), torch.arange(20, 26)
    return candidate(source, target).shape != (6, 100)


def translator_of_unknown_words(candidate):
    source, target = torch.arange(5), torch.arange(20_000, 20_006)
    return not torch.allclose(candidate(source, target[:3]), candidate(source, target)[:3])


# --- capstone_report ---
def _told(own, baseline, low, high, answer, seeds):
    """A report on as many items as there are answers."""
    return {
        "question": "Can attention tell a 3 from a 5 better than pixels do?",
        "trained_on": {"t1", "t2"},
        "baseline": "nearest neighbour",
        "baseline_right": {f"h{i}": right for i, right in enumerate(baseline)},
        "own_right": {f"h{i}": right for i, right in enumerate(own)},
        "baseline_score": float(np.mean(baseline)),
        "own_score": float(np.mean(own)),
        "interval": (low, high),
        "answer": answer,
        "seeds": seeds,
        "ablation": {"without": "positions", "score": 0.6},
        "limit": "The digits were written by few people, in one country.",
    }


def report_by_bootstrap():
    rng = np.random.default_rng(1)
    own, baseline = rng.random(300) < 0.9, rng.random(300) < 0.6
    change = own.astype(float) - baseline
    draws = [rng.choice(change, 300).mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    score = own.mean()
    return _told(own, baseline, low, high, "better", {"a": score, "b": 0.93, "c": score - 0.02})


def report_where_the_baseline_wins():
    own = pd.Series([1] * 20 + [0] * 20)
    baseline = [1] * 36 + [0] * 4
    low, high = paired_interval(0, 16, 40)
    report = _told(own, baseline, low, high, "worse", pd.Series([0.5, 0.51, 0.45]))
    return report | {"trained_on": np.arange(1000), "interval": np.array([low, high])}


def report_without_a_difference():
    own = [1, 1, 1, 0] * 10
    baseline = [1, 1, 0, 1] * 10
    seeds = {0: 0.75, 1: 0.72, 2: 0.8, 3: 0.77}
    return _told(own, baseline, -0.22, 0.22, "no clear difference", seeds)


def report_of_small_gains_as_better():
    return report_without_a_difference() | {"answer": "better"}


def report_with_separate_intervals():
    """Adds up both errors, as if the answers were to different questions."""
    own = [1] * 79 + [0] * 21
    baseline = [1] * 75 + [0] * 25
    wide = 1.96 * (0.79 * 0.21 / 100 + 0.75 * 0.25 / 100) ** 0.5
    seeds = {0: 0.79, 1: 0.8, 2: 0.7}
    return _told(own, baseline, 0.04 - wide, 0.04 + wide, "no clear difference", seeds)


def report_of_the_best_of_three():
    return report_by_bootstrap() | {
        "seeds": {0: 0.8, 1: report_by_bootstrap()["own_score"], 2: 0.7}
    }


def report_tested_on_its_training():
    return report_by_bootstrap() | {"trained_on": [f"h{i}" for i in range(10)]}


def report_on_other_items():
    report = report_by_bootstrap()
    return report | {"baseline_right": {f"b{i}": True for i in range(300)}}


def report_of_a_standard_error():
    report = report_by_bootstrap()
    low, high = report["interval"]
    middle = (low + high) / 2
    return report | {"interval": (middle - (high - low) / 4, middle + (high - low) / 4)}


def report_in_percent():
    return report_by_bootstrap() | {"interval": (25.0, 36.0)}


def report_of_a_wish():
    return report_by_bootstrap() | {"question": "I want to show that attention is great."}


def report_without_a_limit():
    return report_by_bootstrap() | {"limit": ""}


def report_of_one_run():
    return report_by_bootstrap() | {"seeds": {0: report_by_bootstrap()["own_score"]}}


RIGHT = {
    "trial_scale": [scale_by_spread, scale_beside_a_reference, scale_by_known_scores],
    "trial_mixture": [mixture_one_hot, mixture_by_loops],
    "trial_over_heads": [heads_sum_over_keys, heads_by_shift],
    "trial_in_pieces": [pieces_beside_torch, pieces_by_weights],
    "trial_sum_of_heads": [joined_by_reshape, joined_one_number_at_a_time],
    "trial_heads_cost": [cost_of_eight, cost_of_many],
    "trial_norm_cost": [norm_halved, norm_by_many_sizes],
    "trial_imbalance": [imbalance_bounded, imbalance_does_not_grow],
    "trial_accuracy": [accuracy_less_sure, accuracy_counted],
    "trial_rebalance": [rebalanced_rows, rebalanced_mixture],
    "trial_class_layer": [layer_trained, layer_by_its_parameters],
    "trial_labels": [labels_as_they_are, labels_counted],
    "trial_translator": [translator_prefixes, translator_later_words],
    "capstone_report": [
        report_by_bootstrap,
        report_where_the_baseline_wins,
        report_without_a_difference,
    ],
}
WRONG = {
    "trial_scale": [
        *common(scale_by_spread),
        (scale_at_width_64, "acquits a version.*by 8, whatever"),
        (scale_at_width_8, "acquits a version.*square root of 8"),
        (scale_by_sums, "acquits every version, and"),
        (scale_without_tolerance, "convicts a version|changes"),
        (scale_square_of_keys, "acquits a version.*number of keys"),
    ],
    "trial_mixture": [
        *common(mixture_one_hot),
        (mixture_of_the_identity, "acquits a version.*turns the weights round"),
        (mixture_of_equal_values, "acquits a version.*softmax once more"),
        (mixture_without_tolerance, "convicts a version|changes"),
        (mixture_with_more_keys_than_queries, "RuntimeError"),
    ],
    "trial_over_heads": [
        *common(heads_sum_over_keys),
        (heads_total, "acquits a version.*over queries"),
        (heads_of_equal_scores, "acquits the claim itself"),
        (heads_without_tolerance, "convicts a version|changes"),
        (heads_positive, "acquits every version, and"),
    ],
    "trial_in_pieces": [
        *common(pieces_beside_torch),
        (pieces_of_three, "acquits a version.*mean over pieces"),
        (pieces_of_nine, "acquits a version.*leaves out the last"),
        (pieces_without_a_scale, "convicts the claim itself, which is right"),
        (pieces_of_equal_scores, "acquits a version.*keeps what it has summed"),
    ],
    "trial_sum_of_heads": [
        *common(joined_by_reshape),
        (joined_single_head, "acquits every version, and"),
        (joined_of_width_one, "acquits a version.*first number of each head"),
        (joined_single_token, "acquits a version.*without transposing"),
        (joined_by_equal_parts, "acquits a version.*rows of the first"),
        (joined_without_tolerance, "convicts the claim itself"),
    ],
    "trial_heads_cost": [
        *common(cost_of_eight),
        (cost_falls, "acquits a version.*gives every head the full width"),
        (cost_exactly_equal, "convicts a version.*counts the softmax"),
        (cost_of_a_short_text, "acquits the claim itself"),
        (cost_of_a_long_text, "acquits a version.*lets the projections"),
        (cost_by_square, "acquits every version, and"),
    ],
    "trial_norm_cost": [
        *common(norm_halved),
        (norm_of_twice_the_rows, "acquits a version.*sum of squares"),
        (norm_of_zeros, "convicts a version.*not 0"),
        (norm_by_known_number, "convicts a version.*bytes|changes"),
        (norm_of_large_weights, "acquits a version.*above 0.1"),
        (norm_halves, "acquits the claim itself|wrong way round"),
    ],
    "trial_imbalance": [
        *common(imbalance_bounded),
        (imbalance_at_a_thousandth, "acquits a version.*Kullback-Leibler divergence, which"),
        (imbalance_finite_at_zero, "acquits a version.*0.000001"),
        (imbalance_symmetric, "acquits a version.*both directions"),
        (imbalance_beside_total_variation, "convicts a version.*Jensen-Shannon divergence"),
        (imbalance_small, "convicts a version"),
    ],
    "trial_accuracy": [
        *common(accuracy_less_sure),
        (accuracy_when_sure, "acquits every version, and"),
        (accuracy_between, "acquits a version.*never goes below 0"),
        (accuracy_of_undecided, "convicts a version.*takes just 0.5"),
        (accuracy_without_tolerance, "convicts a version"),
    ],
    "trial_rebalance": [
        *common(rebalanced_rows),
        (rebalanced_sums, "acquits a version.*three times as far"),
        (rebalanced_positive, "acquits the claim itself"),
        (rebalanced_flatter, "convicts a version|changes"),
        (rebalanced_as_a_temperature_does, "convicts a version.*mixes in a fifth"),
    ],
    "trial_class_layer": [
        *common(layer_trained),
        (layer_twice, "acquits a version.*always the same ones"),
        (layer_twice_in_training, "convicts a version.*dropout"),
        (layer_with_parameters, "acquits a version.*calls another"),
        (layer_with_a_bias, "acquits|convicts"),
        (layer_with_an_optimizer, "empty parameter list.*It happened with a version"),
    ],
    "trial_labels": [
        *common(labels_as_they_are),
        (labels_of_short_sentences, "acquits the claim itself"),
        (labels_of_long_sentences, "acquits a version.*cuts the labels off"),
        (labels_by_rows, "acquits a version.*padded labels of all"),
        (labels_of_eight, "acquits a version.*multiple of 8"),
        (labels_in_64_bits, "convicts a version.*32 bits"),
    ],
    "trial_translator": [
        *common(translator_prefixes),
        (translator_only_the_next, "acquits a version.*hides the next word"),
        (translator_without_a_source, "acquits a version.*never looks at the source"),
        (translator_last_word_and_first_row, "acquits a version.*one word ahead"),
        (translator_by_shape, "acquits every version, and"),
        (translator_of_unknown_words, "a version raises IndexError"),
    ],
    "capstone_report": [
        (report_of_small_gains_as_better, "says.*'no clear difference'"),
        (report_with_separate_intervals, "item by item"),
        (report_of_the_best_of_three, "best of 3 seeds"),
        (report_tested_on_its_training, "10 of the held-out items"),
        (report_on_other_items, "300 only in the one"),
        (report_of_a_standard_error, "standard error"),
        (report_in_percent, "looks like percent"),
        (report_of_a_wish, "with a question mark"),
        (report_without_a_limit, "limit says only ''"),
        (report_of_one_run, "at least three"),
    ],
}
WRONG = {
    name: [(answer, f"(?s){words}") for answer, words in wrong] for name, wrong in WRONG.items()
}
