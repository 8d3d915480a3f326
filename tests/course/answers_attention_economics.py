"""Answers to lesson 08: right ones in several styles, and wrong ones, with what is said to them."""

import contextlib
import itertools
import math
from functools import cache

import numpy as np
import pandas as pd
import torch

import attnlab as al
import attnlab.economics  # not while a check watches: it takes seconds
from attnlab.statistics import paired_interval, paired_test, share_interval


# --- layer_flops ---
def flops_by_formula(tokens, width, heads, head_width, neurons):
    inner = heads * head_width
    projections = 4 * tokens * width * inner
    scores = 2 * tokens * tokens * inner
    feed_forward = 2 * tokens * width * neurons
    return 2 * (projections + scores + feed_forward)


def flops_by_products(tokens, width, heads, head_width, neurons):
    inner = heads * head_width
    products = [(tokens, width, inner)] * 3 + [(tokens, inner, width)]
    products += heads * [(tokens, head_width, tokens), (tokens, tokens, head_width)]
    products += [(tokens, width, neurons), (tokens, neurons, width)]
    return sum(2 * math.prod(sizes) for sizes in products)


def flops_token_by_token(tokens, width, heads, head_width, neurons):
    """An array with one number, which was a float on the way."""
    weights = 4 * width * heads * head_width + 2 * width * neurons
    return np.sum(np.full(tokens, 2.0 * weights + 4.0 * tokens * heads * head_width))


def flops_with_residuals(tokens, width, heads, head_width, neurons):
    return flops_by_formula(tokens, width, heads, head_width, neurons) + 2 * tokens * width


def flops_of_square_heads(tokens, width, heads, head_width, neurons):
    return flops_by_formula(tokens, width, heads, width // heads, neurons)


def flops_in_millions(tokens, width, heads, head_width, neurons):
    return flops_by_formula(tokens, width, heads, head_width, neurons) / 1e6


def flops_of_short_texts(tokens, width, heads, head_width, neurons):
    """No text is longer than 512, it thinks."""
    return flops_by_formula(min(tokens, 512), width, heads, head_width, neurons)


def flops_rounded(tokens, width, heads, head_width, neurons):
    return float(f"{flops_by_formula(tokens, width, heads, head_width, neurons):.6g}")


def flops_of_pytorch_heads(tokens, width, heads, head_width, neurons):
    """Queries, keys and values as one product, the softmax as two operations a score."""
    right = flops_by_formula(tokens, width, heads, head_width, neurons)
    return right + 2 * heads * tokens * tokens


# --- on_frontier ---
def frontier_in_a_loop(cost, correct):
    right = correct.sum(axis=1)
    chosen, most = [], -1
    for model in np.lexsort((np.arange(len(cost)), -right, cost)):
        if right[model] > most:
            most = right[model]
            if all(paired_test(correct[other], correct[model]).low > 0 for other in chosen):
                chosen.append(model)
    result = np.zeros(len(cost), bool)
    result[chosen] = True
    return result


def frontier_by_its_last(cost, correct):
    """Better than the last on the frontier is better than all before it, and a list will do."""
    right = correct.sum(1).tolist()
    order = sorted(range(len(cost)), key=lambda model: (cost[model], -right[model]))
    result, last, most = [False] * len(cost), None, -1
    for model in order:
        more, most = right[model] > most, max(most, right[model])
        if more and last is not None:
            before, after = correct[last], correct[model]
            gained, lost = (after & ~before).sum(), (before & ~after).sum()
            more = paired_interval(int(gained), int(lost), len(before))[0] > 0
        if more:
            result[model], last = True, model
    return result


def frontier_by_tables(cost, correct):
    """Tables of models by models, and then a few rounds until nothing changes."""
    models = range(len(cost))
    right = correct.sum(1)
    low = np.array([[paired_test(a, b).low for b in correct] for a in correct])
    before = cost[:, None] < cost
    before |= (cost[:, None] == cost) & (right[:, None] > right)
    same = (cost[:, None] == cost) & (right[:, None] == right)
    before |= same & (np.arange(len(cost))[:, None] < np.arange(len(cost)))
    leads = ~(before & (right[:, None] >= right)).any(0)
    found = leads.copy()
    for _ in models:
        found = np.array([leads[i] and (low[found & before[:, i], i] > 0).all() for i in models])
    return torch.tensor(found)


def frontier_of_accuracies(cost, correct):
    accuracy = correct.mean(1)
    return np.array(
        [not ((cost <= c) & (accuracy >= a)).sum() > 1 for c, a in zip(cost, accuracy, strict=True)]
    )


def frontier_of_lower_ends(cost, correct):
    """Beats the accuracy of the best before it with the lower end of its own interval."""
    right, n = correct.sum(1), correct.shape[1]
    result, most = np.zeros(len(cost), bool), -1.0
    for model in np.lexsort((-right, cost)):
        if share_interval(int(right[model]), n)[0] > most:
            result[model], most = True, right[model] / n
    return result


def frontier_with_zero_inside(cost, correct):
    """The interval must not lie below 0."""
    chosen, result = [], np.zeros(len(cost), bool)
    for model in np.lexsort((-correct.sum(1), cost)):
        if all(paired_test(correct[other], correct[model]).high > 0 for other in chosen):
            chosen.append(model)
    result[chosen] = True
    return result


def frontier_of_all_pairs(cost, correct):
    """Each model against all that cost no more, on the frontier or not."""
    order = np.lexsort((-correct.sum(1), cost))
    result = np.zeros(len(cost), bool)
    for place, i in enumerate(order):
        lows = [paired_test(correct[j], correct[i]).low for j in order[:place]]
        result[i] = all(low > 0 for low in lows)
    return result


def frontier_of_one_standard_error(cost, correct):
    chosen, result, most = [], np.zeros(len(cost), bool), -1
    for model in np.lexsort((-correct.sum(1), cost)):
        change = correct[model].astype(float) - correct[chosen].astype(float)
        error = change.std(1) / math.sqrt(correct.shape[1]) if chosen else np.zeros(0)
        if correct[model].sum() > most and (change.mean(1) > error).all():
            chosen.append(model)
        most = max(most, correct[model].sum())
    result[chosen] = True
    return result


def frontier_by_the_package(cost, correct):
    table = pd.DataFrame({"cost": cost})
    return np.isin(np.arange(len(cost)), al.economics.frontier(table, correct, "cost").index)


# --- knapsack ---
def bought_by_rows(value, price, budget):
    best = [[0.0] * (budget + 1)]
    for worth, cost in zip(value, price, strict=True):
        last = best[-1]
        row = [
            max(last[left], last[left - cost] + worth) if cost <= left else last[left]
            for left in range(budget + 1)
        ]
        best.append(row)
    left, chosen = budget, []
    for part in range(len(value) - 1, -1, -1):
        if best[part + 1][left] != best[part][left]:
            chosen.append(part)
            left -= price[part]
    return chosen


def bought_by_remembering(value, price, budget):
    @cache
    def best(part, left):
        if part < 0:
            return 0.0, ()
        without = best(part - 1, left)
        if price[part] > left or value[part] <= 0:
            return without
        given, chosen = best(part - 1, left - price[part])
        return max(without, (given + value[part], (*chosen, part)))

    return best(len(value) - 1, budget)[1]


def bought_by_a_dictionary(value, price, budget):
    """The best set for each sum of prices that occurs."""
    best = {0: (0.0, frozenset())}
    for part, cost in enumerate(price):
        for spent, (given, chosen) in list(best.items()):
            new = spent + cost
            if new <= budget and given + value[part] > best.get(new, (-math.inf,))[0]:
                best[new] = given + value[part], chosen | {part}
    return set(max(best.values(), key=lambda pair: pair[0])[1])


def bought_by_shifted_arrays(value, price, budget):
    best, taken = np.zeros(budget + 1), np.zeros((len(value), budget + 1), bool)
    for part, (worth, cost) in enumerate(zip(value, price, strict=True)):
        if cost > budget:
            continue
        shifted = np.append(np.full(cost, -np.inf), best[: budget + 1 - cost]) + worth
        taken[part] = shifted > best
        best = np.maximum(best, shifted)
    chosen = []
    for part in range(len(value))[::-1]:
        if taken[part, budget]:
            chosen.append(part)
            budget -= price[part]
    return np.array(chosen, int)


def bought_by_swapping(value, price, budget):
    """By value for the price, and then one part is exchanged while that helps."""
    order = sorted(range(len(value)), key=lambda part: -value[part] / max(price[part], 1e-9))
    chosen = set()
    for part in order:
        if value[part] > 0 and sum(price[one] for one in chosen) + price[part] <= budget:
            chosen.add(part)
    improved = True
    while improved:
        improved = False
        for out, new in itertools.product(sorted(chosen), range(len(value))):
            if new not in chosen and value[new] > value[out]:
                trial = chosen - {out} | {new}
                if sum(price[part] for part in trial) <= budget:
                    chosen, improved = trial, True
                    break
    return sorted(chosen)


def bought_once_too_often(value, price, budget):
    best, chosen = [0.0] * (budget + 1), [[] for _ in range(budget + 1)]
    for part, (worth, cost) in enumerate(zip(value, price, strict=True)):
        for left in range(cost, budget + 1):
            if best[left - cost] + worth > best[left]:
                best[left] = best[left - cost] + worth
                chosen[left] = [*chosen[left - cost], part]
    return chosen[budget]


def bought_with_free_parts_last(value, price, budget):
    """Skips what costs nothing."""
    paid = [part for part in range(len(value)) if price[part]]
    some = bought_by_rows([value[part] for part in paid], [price[part] for part in paid], budget)
    return [paid[part] for part in some]


def bought_in_tens(value, price, budget):
    """Prices rounded up to tens, so that there is less to compute."""
    if budget < 100:
        return bought_by_rows(value, price, budget)
    return bought_by_rows(value, [-(-cost // 10) for cost in price], budget // 10)


def bought_what_it_gives(value, price, budget):
    return sum(value[part] for part in bought_by_rows(value, price, budget))


def bought_by_all_masks(value, price, budget):
    """Plain numbers, all sets."""
    value, best = [float(one) for one in value], (0.0, 0)
    for mask in range(1 << len(value)):
        parts = [part for part in range(len(value)) if mask >> part & 1]
        if sum(price[part] for part in parts) <= budget:
            best = max(best, (sum(value[part] for part in parts), mask))
    return [part for part in range(len(value)) if best[1] >> part & 1]


# --- hard_concrete ---
SHIFT = 2 / 3 * math.log(0.1 / 1.1)


def gates_at_once(log_alpha, noise):
    soft = torch.sigmoid((noise.log() - (1 - noise).log() + log_alpha) / (2 / 3))
    return (1.2 * soft - 0.1).clamp(0, 1), torch.sigmoid(log_alpha - SHIFT)


def gates_by_hard_tanh(log_alpha, noise):
    low, high, temperature = -0.1, 1.1, 2 / 3
    soft = torch.special.expit((torch.logit(noise) + log_alpha).div(temperature))
    gates = torch.nn.functional.hardtanh(low + (high - low) * soft, 0, 1)
    just_zero = math.log(-low / high)
    return gates, 1 - torch.sigmoid(temperature * just_zero - log_alpha)


def gates_by_where(log_alpha, noise):
    """A logistic noise, a stretch in double precision, and where for the ends."""
    soft = ((torch.log(noise / (1 - noise)) + log_alpha) * 1.5).sigmoid()
    stretched = soft * (1.1 - -0.1) + -0.1
    stretched = torch.where(stretched < 0, 0.0, stretched)
    gates = torch.where(stretched > 1, 1.0, stretched)
    return gates, (log_alpha + 2 / 3 * math.log(11)).sigmoid()


def gates_of_half(log_alpha, noise):
    """The temperature of another paper."""
    soft = torch.sigmoid((torch.logit(noise) + log_alpha) / 0.5)
    return (1.2 * soft - 0.1).clamp(0, 1), gates_at_once(log_alpha, noise)[1]


def gates_by_numpy(log_alpha, noise):
    gates, opened = gates_at_once(log_alpha.detach(), noise)
    return gates.numpy(), opened.numpy()


def gates_with_a_leak(log_alpha, noise):
    """A gradient where there is none, so that closed gates may open again."""
    soft = torch.sigmoid((torch.logit(noise) + log_alpha) / (2 / 3))
    stretched = 1.2 * soft - 0.1
    gates = stretched.clamp(0, 1)
    leak = 0.01 * (stretched - gates)
    return gates + (leak - leak.detach()), gates_at_once(log_alpha, noise)[1]


def chances_for_each_draw(log_alpha, noise):
    gates, opened = gates_at_once(log_alpha, noise)
    return gates, opened.expand(noise.shape)


def chances_from_draws(log_alpha, noise):
    """Two thousand draws of its own."""
    drawn = torch.rand(2000, *log_alpha.shape).clamp(1e-4, 1 - 1e-4)
    share = (gates_at_once(log_alpha, drawn)[0] > 0).float().mean(0)
    return gates_at_once(log_alpha, noise)[0], share + 0 * log_alpha


# --- audit ---
def audited_by_merging(record):
    warm = record.query("round > 0")
    old, new = (warm[warm["model"] == model] for model in ("old", "new"))
    pairs = old.merge(new, on=["round", "text", "threads"])
    if pairs.empty:
        raise ValueError("There is no row with a partner.")
    times = pairs[["ms_x", "ms_y"]].to_numpy()
    rows = np.random.default_rng(0).integers(len(times), size=(1000, len(times)))
    drawn = np.median(times[rows], axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    old, new = np.median(times, axis=0)
    return old / new, low, high


def audited_by_pivot(record):
    table = record[record["round"] != 0].pivot_table(
        index=["round", "text", "threads"], columns="model", values="ms"
    )
    pairs = table.reindex(columns=["old", "new"]).dropna()
    if not len(pairs):
        raise ValueError("no pairs")
    drawn = np.random.default_rng(5).choice(len(pairs), (len(pairs), 1000))
    ratios = np.divide(*(np.median(pairs[name].to_numpy()[drawn], 0) for name in ("old", "new")))
    medians = pairs.median()
    ends = np.percentile(ratios, [2.5, 97.5])
    return [float(medians["old"] / medians["new"]), *map(float, ends)]


def audited_by_a_dictionary(record):
    """Row by row, and torch for the rest."""
    found = {}
    for row in record.itertuples():
        if row.round:
            found.setdefault((row.round, row.text, row.threads), {})[row.model] = row.ms
    both = [pair for pair in found.values() if len(pair) == 2]
    if not both:
        raise ValueError(f"None of {len(record)} rows has a partner.")
    times = torch.tensor([[pair["old"], pair["new"]] for pair in both], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    drawn = times[torch.randint(len(times), (1000, len(times)), generator=generator)]
    medians = drawn.quantile(0.5, dim=1)
    low, high = (medians[:, 0] / medians[:, 1]).quantile(torch.tensor([0.025, 0.975]).double())
    old, new = times.quantile(0.5, dim=0)
    return np.array([old / new, low, high])


def audited_as_a_speed_up_in_per_cent(record):
    return tuple(100 * (number - 1) for number in audited_by_merging(record))


def audited_around_the_ratio(record):
    """Mean and 1.96 standard errors of the logarithms."""
    ratio, _, _ = audited_by_merging(record)
    warm = record[record["round"] > 0]
    old, new = (warm[warm["model"] == model] for model in ("old", "new"))
    pairs = old.merge(new, on=["round", "text", "threads"])
    logs = np.log(pairs["ms_x"] / pairs["ms_y"])
    error = 1.96 * logs.std() / math.sqrt(len(logs))
    return ratio, ratio * math.exp(-error), ratio * math.exp(error)


def audited_without_all_threads(record):
    """Drops every round in which threads differ anywhere."""
    counts = record.groupby("round")["threads"].nunique()
    return audited_by_merging(record[record["round"].isin(counts.index[counts == 1])])


def audited_in_the_order_of_rows(record):
    warm = record[record["round"] > 0]
    old, new = (warm["ms"][warm["model"] == model].to_numpy() for model in ("old", "new"))
    if min(len(old), len(new)) == 0:
        raise ValueError("nothing")
    return (*[np.median(old) / np.median(new)] * 3,)


def audited_with_nan(record):
    try:
        return audited_by_merging(record)
    except ValueError:
        return math.nan, math.nan, math.nan


def audited_with_an_assertion(record):
    try:
        return audited_by_merging(record)
    except ValueError:
        raise AssertionError("nothing to compare") from None


# --- phone_budget ---
def budget_by_get(phone):
    limits = {}
    if "app_megabytes" in phone:
        left = phone["app_megabytes"] - phone.get("other_megabytes", 0)
        limits["megabytes"] = left * 4 / phone.get("bytes_per_weight", 4)
    if "ms_per_answer" in phone:
        left = phone["ms_per_answer"] - phone.get("ms_elsewhere", 0)
        limits["latency_ms"] = left / phone.get("slower", 1)
    if "gflops_per_charge" in phone:
        limits["flops"] = phone["gflops_per_charge"] * 1e9 / phone["answers_per_charge"]
    if "lengths" in phone:
        lengths = np.array(phone["lengths"])
        limits["tokens"] = int(np.quantile(lengths, 0.95, method="inverted_cdf"))
    return al.economics.Budget(**limits)


def budget_by_defaults(phone):
    """Everything at once, and an error of its own."""
    given = {
        "app_megabytes": None,
        "other_megabytes": 0,
        "bytes_per_weight": 4,
        "ms_per_answer": None,
        "ms_elsewhere": 0,
        "slower": 1,
        "gflops_per_charge": None,
        "answers_per_charge": None,
        "lengths": None,
    } | phone
    megabytes = time = flops = None
    if given["app_megabytes"] is not None:
        weights = (given["app_megabytes"] - given["other_megabytes"]) / given["bytes_per_weight"]
        if weights <= 0:
            raise ValueError("The app has no room for a model.")
        megabytes = 4 * weights
    if given["ms_per_answer"] is not None:
        time = (given["ms_per_answer"] - given["ms_elsewhere"]) / given["slower"]
        if time <= 0:
            raise ValueError("There is no time for a model.")
    if given["gflops_per_charge"] is not None:
        flops = given["gflops_per_charge"] / given["answers_per_charge"] * 1_000_000_000
    tokens = 32
    if given["lengths"] is not None:
        lengths = sorted(given["lengths"])
        tokens = lengths[-(-95 * len(lengths) // 100) - 1]
    return al.economics.Budget(
        megabytes=megabytes, latency_ms=time, flops=flops, tokens=tokens, batch=1
    )


def budget_by_trying(phone):
    """Errors of dictionaries are caught; lengths are counted up."""
    limits = {}
    with_default = {"other_megabytes": 0, "bytes_per_weight": 4, "ms_elsewhere": 0, "slower": 1.0}
    phone = with_default | phone
    with contextlib.suppress(KeyError):
        room = phone["app_megabytes"] - phone["other_megabytes"]
        limits["megabytes"] = room / (phone["bytes_per_weight"] / 4)
    with contextlib.suppress(KeyError):
        limits["latency_ms"] = (phone["ms_per_answer"] - phone["ms_elsewhere"]) / phone["slower"]
    if {"gflops_per_charge", "answers_per_charge"} <= phone.keys():
        limits["flops"] = int(phone["gflops_per_charge"] * 10**9) / phone["answers_per_charge"]
    if phone.get("lengths"):
        tokens = 1
        while sum(length <= tokens for length in phone["lengths"]) / len(phone["lengths"]) < 0.95:
            tokens += 1
        limits["tokens"] = tokens
    return al.economics.Budget(**limits)


def budget_of_what_is_true(phone):
    """A rest of 0 counts as no limit."""
    left = phone.get("app_megabytes", 0) - phone.get("other_megabytes", 0)
    time = phone.get("ms_per_answer", 0) - phone.get("ms_elsewhere", 0)
    budget = budget_by_get({**phone, "app_megabytes": 999, "ms_per_answer": 999})
    limits = {
        "megabytes": (left * 4 / phone.get("bytes_per_weight", 4)) or None,
        "latency_ms": (time / phone.get("slower", 1)) or None,
        "flops": budget.flops,
    }
    return al.economics.Budget(**limits, tokens=budget.tokens)


def budget_that_never_fails(phone):
    try:
        return budget_by_get(phone)
    except al.AttnlabError:
        return al.economics.Budget(megabytes=1.0)


def budget_without_words(phone):
    try:
        return budget_by_get(phone)
    except al.AttnlabError:
        raise ValueError from None


def budget_of_the_longest(phone):
    budget = budget_by_get({k: v for k, v in phone.items() if k != "lengths"})
    if "lengths" not in phone:
        return budget
    return al.economics.Budget(**budget.limits, tokens=max(phone["lengths"]))


def budget_in_parameters(phone):
    """Parameters in place of megabytes."""
    limits = dict(budget_by_get(phone).limits)
    if "megabytes" in limits:
        limits["parameters"] = limits.pop("megabytes") / 4 * 1e6
    return al.economics.Budget(**limits)


def budget_with_both(phone):
    """Parameters and megabytes."""
    budget = budget_by_get(phone)
    if budget.megabytes is None:
        return budget
    return al.economics.Budget(
        **budget.limits, parameters=budget.megabytes / 4 * 1e6, tokens=budget.tokens
    )


def budget_of_a_shared_time(phone):
    """The slower phone also spends more time elsewhere."""
    if "ms_per_answer" not in phone:
        return budget_by_get(phone)
    slower = phone.get("slower", 1)
    elsewhere = phone.get("ms_elsewhere", 0) / slower
    return budget_by_get(phone | {"ms_elsewhere": elsewhere})


RIGHT = {
    "layer_flops": [flops_by_formula, flops_by_products, flops_token_by_token],
    "on_frontier": [frontier_in_a_loop, frontier_by_its_last, frontier_by_tables],
    "knapsack": [
        bought_by_rows,
        bought_by_remembering,
        bought_by_a_dictionary,
        bought_by_shifted_arrays,
    ],
    "hard_concrete": [gates_at_once, gates_by_hard_tanh, gates_by_where],
    "audit": [audited_by_merging, audited_by_pivot, audited_by_a_dictionary],
    "phone_budget": [budget_by_get, budget_by_defaults, budget_by_trying],
}

# wrong answers that know nothing of the checks, and words of what they are told
WRONG = {
    "layer_flops": [
        (flops_with_residuals, "you count"),
        (flops_of_square_heads, "as if no head were gone|you count"),
        (flops_in_millions, "whole numbers"),
        (flops_of_short_texts, "BERT-base and 4,096 tokens"),
        (flops_rounded, "whole numbers|you count"),
        (flops_of_pytorch_heads, "you count"),
    ],
    "on_frontier": [
        (frontier_of_accuracies, "differ on so many|cost the same"),
        (frontier_of_lower_ends, "be on the frontier|not overlap|different texts"),
        (frontier_with_zero_inside, "unless another is better beyond doubt"),
        (frontier_of_all_pairs, "not on the frontier.|than every one before it"),
        (frontier_of_one_standard_error, "be on the frontier"),
        (frontier_by_the_package, "ready-made frontier"),
    ],
    "knapsack": [
        (bought_by_swapping, "together worth"),
        (bought_once_too_often, "more than once"),
        (bought_with_free_parts_last, "costs nothing is left out"),
        (bought_in_tens, "72 parts and a budget"),
        (bought_what_it_gives, "not a list"),
        (bought_by_all_masks, "not end"),
    ],
    "hard_concrete": [
        (gates_of_half, "the gate is"),
        (gates_by_numpy, "numpy"),
        (gates_with_a_leak, "past the clip"),
        (chances_for_each_draw, "Expected shape"),
        (chances_from_draws, "you say that a gate is open"),
    ],
    "audit": [
        (audited_as_a_speed_up_in_per_cent, "times as fast"),
        (audited_around_the_ratio, "but not its interval"),
        (audited_without_all_threads, "times as fast"),
        (audited_in_the_order_of_rows, "different texts"),
        (audited_with_nan, "Nothing in this record"),
        (audited_with_an_assertion, "AssertionError"),
    ],
    "phone_budget": [
        (budget_of_what_is_true, "needs all of them, and yet a budget"),
        (budget_that_never_fails, "yet a budget comes back"),
        (budget_without_words, "no words"),
        (budget_of_the_longest, "longest of all messages"),
        (budget_in_parameters, "no limit of"),
        (budget_with_both, "no limit of"),
        (budget_of_a_shared_time, "you return"),
    ],
}
