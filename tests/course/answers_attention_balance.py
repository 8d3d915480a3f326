"""Answers to lesson 07: right ones in several styles, and the mistakes people make, each with its diagnosis."""

import math

import numpy as np
import pandas as pd
import torch
from scipy import special, stats
from scipy.spatial import distance
from torch.nn import functional as F

from attnlab import attention


# --- normalised_entropy ---
def evenness_at_once(weights, mask):
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)  # (B, H, T)
    keys = mask.sum(-1, keepdim=True)  # (B, 1)
    texts = (entropy * mask[:, None]).sum(-1) / keys  # (B, H)
    several = keys[:, 0] > 1
    return (texts[several] / keys[several].log()).mean(0)


def evenness_text_by_text(weights, mask):
    """Padding is cut off, so nothing of it can count; NumPy."""
    found = []
    for text, length in zip(weights.numpy(), mask.sum(-1).tolist(), strict=True):
        if length > 1:
            nats = special.entr(text[:, :length, :length]).sum(-1)
            found.append(nats.mean(-1) / np.log(length))
    return np.mean(found, axis=0)


def evenness_row_by_row(weights, mask):
    """Only loops, in double precision; a list of plain numbers."""
    result = []
    for head in range(weights.shape[1]):
        means = []
        for text in range(len(weights)):
            keys = [place for place, real in enumerate(mask[text].tolist()) if real]
            shares = []
            for query in keys[: len(keys) if len(keys) > 1 else 0]:
                row = weights[text, head, query, keys].tolist()
                entropy = -sum(one * math.log(one) for one in row if one > 0)
                shares.append(entropy / math.log(len(keys)))
            means += [sum(shares) / len(shares)] if shares else []
        result.append(sum(means) / len(means))
    return result


def evenness_by_nan(weights, mask):
    """What does not count becomes NaN, and is left out of the means."""
    share = torch.special.xlogy(weights, weights).sum(-1).neg() / mask.sum(-1).log()[:, None, None]
    return share.masked_fill(~mask[:, None], math.nan).nanmean(-1).nanmean(0)


def nats_of(weights):
    return torch.special.entr(weights).sum(-1)


def log_of_keys(mask):
    return mask.sum(-1).log()[:, None, None]


def real_queries(share, mask):
    return (share * mask[:, None]).sum(2) / mask.sum(-1, keepdim=True)


def several_keys(texts, mask):
    return texts[mask.sum(-1) > 1].mean(0)


def spreading(
    entropy=nats_of,
    most=log_of_keys,
    queries=real_queries,
    texts=several_keys,
    result=lambda figures: figures,
):
    """Normalised entropy with a part exchanged."""

    def answer(weights, mask):
        return result(texts(queries(entropy(weights) / most(mask), mask), mask))

    return answer


def width_of(mask):
    return math.log(mask.shape[1])


def every_query(share, mask):
    return share.mean(2)


def over_all_queries(most=log_of_keys):
    """Every query of the batch counts the same."""

    def answer(weights, mask):
        share = nats_of(weights) / most(mask) * mask[:, None]
        return share.sum((0, 2)) / mask.sum()

    return answer


def ratio_of_means(weights, mask):
    return real_queries(nats_of(weights), mask).mean(0) / log_of_keys(mask).mean()


def ratio_of_sums(weights, mask):
    most = log_of_keys(mask).expand(weights.shape[:3]) * mask[:, None]
    return (nats_of(weights) * mask[:, None]).sum((0, 2)) / most.sum((0, 2))


def alone_as(figure):
    def texts(means, mask):
        return torch.where(mask.sum(-1, keepdim=True) > 1, means, figure).mean(0)

    return texts


def by_the_packages_entropy(weights, mask):
    share = attention.entropy(weights, mask[:, None, None], normalised=True)
    return several_keys(real_queries(share, mask), mask)


def entropy_with(extra):
    return lambda weights: -(weights * (weights + extra).log()).sum(-1)


# --- without_special ---
def words_by_masks(weights, special):
    inner = weights[:, ~special][:, :, ~special]
    total = inner.sum(-1, keepdim=True)
    return torch.where(total > 0, inner / total, 0.0)


def words_by_places(weights, special):
    """Double precision; where nothing is left, 0 is divided by 1."""
    places = torch.nonzero(~special)[:, 0]
    inner = weights.double()[:, places[:, None], places]
    total = inner.sum(-1, keepdim=True)
    return inner / (total + (total == 0))


def words_by_numpy(weights, special):
    keep = ~special.numpy()
    inner = np.stack([head[np.ix_(keep, keep)] for head in weights.numpy()])
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(inner / inner.sum(-1, keepdims=True))


def words_in_loops(weights, special):
    words = [place for place, one in enumerate(special.tolist()) if not one]
    result = torch.zeros(len(weights), len(words), len(words))
    for head in range(len(weights)):
        for row, query in enumerate(words):
            left = sum(float(weights[head, query, key]) for key in words)
            for column, key in enumerate(words):
                if left > 0:
                    result[head, row, column] = weights[head, query, key] / left
    return result


def among_words(weights, special):
    return weights[:, ~special][:, :, ~special]


def by_rows(one):
    total = one.sum(-1, keepdim=True)
    return one / (total + (total == 0))


def leaving_out(pick=among_words, divide=by_rows):
    """Words only, with a part exchanged."""
    return lambda weights, special: divide(pick(weights, special))


def set_to_zero(weights, special):
    return weights * ~special * ~special[:, None]


def zeroed_in_place(weights, special):
    weights[:, special] = 0
    return by_rows(among_words(weights, special))


def first_and_last_left_out(weights, special):
    return weights[:, 1:-1, 1:-1]


def as_many_from(start):
    def pick(weights, special):
        window = slice(start, start + int((~special).sum()))
        return weights[:, window, window]

    return pick


def dealt_out(inner):
    left = 1 - inner.sum(-1, keepdim=True)
    return inner + left / inner.shape[-1]


def or_uniform(inner):
    return torch.where(inner.sum(-1, keepdim=True) > 0, by_rows(inner), 1 / inner.shape[-1])


def or_itself(inner):
    return torch.where(inner.sum(-1, keepdim=True) > 0, by_rows(inner), torch.eye(inner.shape[-1]))


# --- js_divergence ---
def js_by_parts(p, q):
    m = (p + q) / 2
    to_m = [(torch.xlogy(one, one) - torch.xlogy(one, m)).sum(-1) for one in (p, q)]
    return (to_m[0] + to_m[1]) / 2 / math.log(2)


def js_by_entropies(p, q):
    """Entropy of the middle, minus the mean of the two entropies."""

    def bits(one):
        return -torch.where(one > 0, one * one.clamp_min(1e-30).log2(), 0.0).sum(-1)

    return bits((p + q) / 2) - (bits(p) + bits(q)) / 2


def js_by_scipy(p, q):
    """What another library gives, squared: an oracle for our own reference."""
    return distance.jensenshannon(p.numpy(), q.numpy(), base=2, axis=-1) ** 2


def js_by_torchs_kl(p, q):
    m = ((p + q) / 2).clamp_min(1e-30).log()
    both = F.kl_div(m, p, reduction="none") + F.kl_div(m, q, reduction="none")
    return both.sum(-1) / (2 * math.log(2))


def js_in_a_loop(p, q):
    """Plain numbers; keys without weight are left out."""
    if p.dim() > 1:
        return [js_in_a_loop(*pair) for pair in zip(p, q, strict=True)]
    total = 0.0
    for one, other in zip(p.tolist(), q.tolist(), strict=True):
        m = (one + other) / 2
        total += sum(x / 2 * math.log2(x / m) for x in (one, other) if x > 0)
    return total


def kl(p, q):
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1) / math.log(2)


def comparing(
    middle=lambda p, q: (p + q) / 2,
    part=kl,
    join=lambda one, other: (one + other) / 2,
    result=lambda bits: bits,
):
    """The divergence with a part exchanged."""

    def answer(p, q):
        m = middle(p, q)
        return result(join(part(p, m), part(q, m)))

    return answer


def in_nats(bits):
    return bits * math.log(2)


def js_without_care(p, q):
    m = (p + q) / 2
    return ((p * (p / m).log2()).sum(-1) + (q * (q / m).log2()).sum(-1)) / 2


def turned_ratio(p, q):
    """1 / 0 in the logarithm."""
    m = (p + q) / 2
    parts = [-(one * (m / one).log2().clamp_max(1e9)).nan_to_num(0).sum(-1) for one in (p, q)]
    return torch.where((p == 0) | (q == 0), math.inf, 0.0).sum(-1) + sum(parts) / 2


def js_with(change, logarithm=torch.log2):
    """The divergence with something added against zeros."""

    def answer(p, q):
        p, q = change(p), change(q)
        m = (p + q) / 2
        return sum((one * (logarithm(one) - logarithm(m))).sum(-1) for one in (p, q)) / 2

    return answer


def js_over_the_first_axis(p, q):
    return js_by_parts(p.transpose(0, -1), q.transpose(0, -1)) if p.dim() < 3 else js_over(0)(p, q)


def js_over(axis):
    """The sums over one axis, or over all for None."""

    def answer(p, q):
        each = js_each(p, q)
        return each.sum() if axis is None else each.sum(axis)

    return answer


def js_each(p, q):
    m = (p + q) / 2
    each = torch.xlogy(p, p) + torch.xlogy(q, q) - torch.xlogy(p + q, m)
    return each / 2 / math.log(2)


def js_rounded_up(p, q):
    """A result kept from falling to 0, so that a root has a gradient."""
    return js_by_parts(p, q).clamp_min(1e-3)


# --- robust_outliers ---
def outliers_by_numpy(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    unit = 1.4826 * np.nanmedian(far) or 1.2533 * np.nanmean(far)
    return far > threshold * unit


def outliers_by_pandas(values, threshold=3.5):
    """Medians and means of pandas leave NaN out."""
    series = pd.Series(values)
    far = (series - series.median()).abs()
    unit = 1.4826 * far.median() if far.median() > 0 else 1.2533 * far.mean()
    return far / unit > threshold


def outliers_by_scipy(values, threshold=3.5):
    """The MAD of another library: an oracle for our own reference."""
    far = np.abs(values - np.nanmedian(values))
    unit = stats.median_abs_deviation(values, nan_policy="omit", scale="normal")
    unit = unit if unit else np.sqrt(np.pi / 2) * np.nanmean(far)
    return far > threshold * unit


def outliers_in_a_loop(values, threshold=3.5):
    there = sorted(float(one) for one in values if one == one)

    def middle(ordered):
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    centre = middle(there)
    far = [abs(one - centre) for one in there]
    unit = 1.4826 * middle(sorted(far))
    if unit == 0:
        unit = 1.2533 * math.fsum(far) / len(far)
    return [unit > 0 and abs(float(one) - centre) / unit > threshold for one in values]


def outliers_by_torch(values, threshold=3.5):
    x = torch.from_numpy(values)
    far = (x - x.nanquantile(0.5)).abs()
    unit = 1.4826 * far.nanquantile(0.5)
    return far > threshold * torch.where(unit > 0, unit, 1.2533 * far.nanmean())


def judging(
    centre=np.nanmedian,
    around=None,
    unit=lambda far: 1.4826 * np.nanmedian(far),
    instead=lambda far: 1.2533 * np.nanmean(far),
    distance=np.abs,
    flag=lambda far, limit: far > limit,
    limit=lambda threshold: threshold,
    spread=None,
):
    """Robust outliers with a part exchanged."""

    def answer(values, threshold=3.5):
        far = np.abs(values - (around or centre)(values))
        one = spread(values) if spread else unit(far) or instead(far)
        return flag(distance(values - centre(values)), limit(threshold) * one)

    return answer


def beyond_tukeys_fences(values, threshold=3.5):
    low, high = np.nanquantile(values, [0.25, 0.75])
    reach = 1.5 * (high - low)
    return (values < low - reach) | (values > high + reach)


def by_torchs_median(values, threshold=3.5):
    x = torch.from_numpy(values)
    far = (x - x.nanmedian()).abs()
    return far > threshold * 1.4826 * far.nanmedian()


def by_the_upper_middle(values, threshold=3.5):
    def middle(x):
        there = np.sort(x[~np.isnan(x)])
        return there[len(there) // 2]

    return judging(centre=middle, unit=lambda far: 1.4826 * middle(far))(values, threshold)


def nan_in_the_median(values, threshold=3.5):
    far = np.abs(values - np.median(values))
    return far > threshold * 1.4826 * np.median(far)


def nan_asked_the_other_way(values, threshold=3.5):
    far = np.abs(values - np.median(values))
    return ~(far <= threshold * 1.4826 * np.median(far))


def removed_heads_flagged(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    return ~(far <= threshold * 1.4826 * np.nanmedian(far))


def removed_heads_as_zero(values, threshold=3.5):
    return outliers_by_numpy(np.nan_to_num(values), threshold)


def removed_heads_as_zero_unflagged(values, threshold=3.5):
    return outliers_by_numpy(np.nan_to_num(values), threshold) & ~np.isnan(values)


def removed_heads_dropped(values, threshold=3.5):
    return outliers_by_numpy(values[~np.isnan(values)], threshold)


def removed_heads_set_in_place(values, threshold=3.5):
    values[np.isnan(values)] = np.nanmedian(values)
    return outliers_by_numpy(values, threshold)


def nothing_at_mad_zero(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    unit = 1.4826 * np.nanmedian(far)
    return (far > threshold * unit) & (unit > 0)


def divided_and_turned_round(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    with np.errstate(all="ignore"):
        return ~(far / (1.4826 * np.nanmedian(far)) <= threshold) & ~np.isnan(values)


def std_at_mad_zero(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    return far > threshold * (1.4826 * np.nanmedian(far) or np.nanstd(values))


def needs_a_threshold(values, threshold):
    return outliers_by_numpy(values, threshold)


def another_default(values, threshold=3.0):
    return outliers_by_numpy(values, threshold)


# --- guarded_choice ---
def guarded_by_max(start, candidates, score):
    best = max(candidates, key=lambda one: score(one, "tune"))
    kept = best if score(best, "guard") > score(start, "guard") else start
    return kept, score(kept, "test")


def guarded_by_a_loop(start, candidates, score):
    best, highest = None, -1.0
    for candidate in candidates:
        accuracy = score(candidate, "tune")
        if accuracy > highest:
            best, highest = candidate, accuracy
    before, after = (score(one, "guard") for one in (start, best))
    if after <= before:
        best = start
    return [best, score(best, "test")]


def guarded_by_sorting(start, candidates, score):
    """Sorting keeps the order of equals; the start is measured on tune, too."""
    order = np.argsort([-score(one, "tune") for one in [*candidates, start]][:-1], kind="stable")
    pair = [start, candidates[order[0]]]
    kept = pair[int(np.argmax([score(one, "guard") for one in pair]))]
    return kept, torch.tensor(score(kept, "test"), dtype=torch.double).item()


def by_figure(part):
    return lambda candidates, score: max(candidates, key=lambda one: score(one, part))


best_on_tune = by_figure("tune")


def guarding(
    choose=best_on_tune,
    agrees=lambda best, start, score: score(best, "guard") > score(start, "guard"),
    figure=lambda kept, other, score: score(kept, "test"),
):
    """The guarded choice with a part exchanged."""

    def answer(start, candidates, score):
        best = choose(candidates, score)
        kept, other = (best, start) if agrees(best, start, score) else (start, best)
        return kept, figure(kept, other, score)

    return answer


def next_that_passes(start, candidates, score):
    for one in sorted(candidates, key=lambda one: -score(one, "tune")):
        if score(one, "guard") > score(start, "guard"):
            return one, score(one, "test")
    return start, score(start, "test")


def guard_for_all(start, candidates, score):
    guard = {one: score(one, "guard") for one in [start, *candidates]}
    best = max(candidates, key=lambda one: score(one, "tune"))
    kept = best if guard[best] > guard[start] else start
    return kept, score(kept, "test")


def test_for_all(start, candidates, score):
    test = {one: score(one, "test") for one in [start, *candidates]}
    kept, _ = guarded_by_max(
        start, candidates, lambda one, part: part == "test" or score(one, part)
    )
    return kept, test[kept]


test_for_all.__test__ = False


def asked_twice(start, candidates, score):
    kept, figure = guarded_by_max(start, candidates, score)
    return kept, (figure + score(kept, "test")) / 2


def highest_on_test(start, candidates, score):
    kept, _ = guarded_by_max(start, candidates, score)
    return kept, max(score(one, "test") for one in candidates)


def start_on_test_too(start, candidates, score):
    """Both are measured on test where the guard says no."""
    kept, figure = guarded_by_max(start, candidates, score)
    if kept == start:
        score(by_figure("tune")(candidates, score), "test")
    return kept, figure


# --- tune_rounds ---
def tuned_in_a_loop(start, propose, compare, rounds):
    kept, refused = start, 0
    for _ in range(rounds):
        proposed = propose(kept)
        _, low, _ = compare(kept, proposed)
        if low > 0:
            kept, refused = proposed, 0
        else:
            refused += 1
        if refused == 2:
            break
    return kept


def tuned_with_a_history(start, propose, compare, rounds):
    """What was kept after each round, and which rounds were gains."""
    states, gains = [start.clone()], []
    while len(gains) < rounds and gains[-2:] != [False, False]:
        new = propose(states[-1])
        gains.append(min(compare(states[-1], new)) > 0)
        states.append(new.clone() if gains[-1] else states[-1])
    return states[-1]


def tuned_by_recursion(start, propose, compare, rounds, refused=0):
    if rounds == 0 or refused == 2:
        return start
    new = propose(start)
    delta, low, high = compare(start, new)
    if delta > 0 and low > 0 and high > 0:
        return tuned_by_recursion(new, propose, compare, rounds - 1)
    return tuned_by_recursion(start, propose, compare, rounds - 1, refused + 1)


def tuning(
    propose_from=lambda state: state["kept"],
    compare_with=lambda state: state["kept"],
    keep=lambda delta, low, high: low > 0,
    back_to=lambda state: state["kept"],
    count=lambda refused, kept, delta, high: 0 if kept else refused + 1,
    patience=2,
    rounds_of=range,
    result=lambda state: state["kept"],
):
    """Tuning with a part exchanged."""

    def answer(start, propose, compare, rounds):
        state = dict.fromkeys(("start", "kept", "last", "best", "first"), start)
        refused, highest = 0, -math.inf
        for number in rounds_of(rounds):
            new = propose(propose_from(state))
            delta, low, high = compare(compare_with(state), new)
            kept = keep(delta, low, high)
            state["last"] = new
            state["kept"] = new if kept else back_to(state)
            if number == 0:
                state["first"] = new
            if delta > highest:
                state["best"], highest = new, delta
            refused = count(refused, kept, delta, high)
            if refused >= patience:
                break
        return result(state)

    return answer


def compared_the_other_way(start, propose, compare, rounds):
    return tuned_in_a_loop(start, propose, lambda one, other: compare(other, one), rounds)


def proposed_again(start, propose, compare, rounds):
    kept = start
    for _ in range(rounds):
        if compare(kept, propose(kept))[1] > 0:
            kept = propose(kept)
    return kept


def never_compared(start, propose, compare, rounds):
    return propose(start)


def returns_in_the_loop(start, propose, compare, rounds):
    return tuned_in_a_loop(start, propose, compare, min(rounds, 1))


def compared_three_times(start, propose, compare, rounds):
    def all_of_them(kept, new):
        return tuple(compare(kept, new)[place] for place in range(3))

    return tuned_in_a_loop(start, propose, all_of_them, rounds)


def copied_into_the_start(start, propose, compare, rounds):
    kept = start
    for _ in range(rounds):
        new = propose(kept)
        if compare(kept, new)[1] > 0:
            kept.copy_(new)
    return kept


def averaged(start, propose, compare, rounds):
    new = propose(start)
    compare(start, new)
    return (start + new) / 2


def asks_for_rounds_at_the_end(start, propose, compare, rounds):
    return tuned_in_a_loop(start, propose, compare, max(rounds, 1))


def until_something_is_better(start, propose, compare, rounds):
    while True:
        new = propose(start)
        if compare(start, new)[1] > 1:
            return new


def with_a_log(start, propose, compare, rounds):
    return tuned_in_a_loop(start, propose, compare, rounds), rounds


def never_ends(*arguments):
    while True:
        pass


RIGHT = {
    "normalised_entropy": [
        evenness_at_once,
        evenness_text_by_text,
        evenness_row_by_row,
        evenness_by_nan,
    ],
    "without_special": [words_by_masks, words_by_places, words_by_numpy, words_in_loops],
    "js_divergence": [js_by_parts, js_by_entropies, js_by_scipy, js_by_torchs_kl, js_in_a_loop],
    "robust_outliers": [
        outliers_by_numpy,
        outliers_by_pandas,
        outliers_by_scipy,
        outliers_in_a_loop,
        outliers_by_torch,
    ],
    "guarded_choice": [guarded_by_max, guarded_by_a_loop, guarded_by_sorting],
    "tune_rounds": [tuned_in_a_loop, tuned_with_a_history, tuned_by_recursion],
}

WRONG = {
    "normalised_entropy": [
        (spreading(most=lambda mask: 1), "entropy in nats, as it is"),
        (
            spreading(entropy=lambda w: nats_of(w) / math.log(2), most=lambda mask: 1),
            "entropy in bits, as it is",
        ),
        (spreading(result=lambda one: one / math.log(2)), "entropy is in bits, and what"),
        (spreading(result=lambda one: one * math.log(2)), "entropy is in nats, and what"),
        (spreading(result=torch.neg), "It is negative"),
        (spreading(most=lambda mask: mask.sum(-1)[:, None, None]), "divided by the number of keys"),
        (
            spreading(most=lambda mask: (mask.sum(-1) + 1).log()[:, None, None]),
            r"divide by log\(n \+ 1\)",
        ),
        (
            spreading(
                entropy=lambda w: nats_of(w).exp(), most=lambda mask: mask.sum(-1)[:, None, None]
            ),
            "effective number of keys, .*, as a share",
        ),
        (
            spreading(entropy=lambda w: nats_of(w).exp(), most=lambda mask: 1),
            r"effective number of keys, exp\(entropy\)\.",
        ),
        (spreading(result=lambda one: 1 - one), "reversed: 1 for a head"),
        (spreading(queries=lambda share, mask: share.sum(2)), "The queries are added up"),
        (
            spreading(entropy=lambda w: torch.special.entr(w).mean(-1)),
            "mean over the keys is taken",
        ),
        (spreading(entropy=entropy_with(0.01)), "0.01 is added to the weights"),
        (spreading(result=lambda one: one.mean()), "One number came back for all heads"),
        (
            spreading(queries=lambda share, mask: share.mean((1, 2)), texts=lambda one, mask: one),
            "for each text\\.",
        ),
        (spreading(texts=lambda one, mask: one), "number for each text and head"),
        (
            spreading(queries=lambda share, mask: share, texts=lambda one, mask: one),
            r"\(1, 3, 6\). There is still a number for each",
        ),
        (spreading(entropy=lambda w: -(w * w.log()).sum(-1)), "With padding there is NaN"),
        (spreading(most=width_of), "Padding is counted as keys: "),
        (spreading(queries=every_query), "rows of padding go into the mean"),
        (
            spreading(most=width_of, queries=every_query),
            "Padding is counted as keys, and its rows",
        ),
        (
            spreading(queries=lambda share, mask: (share * mask[:, None]).mean(2)),
            "divided by the number of all, padding",
        ),
        (
            spreading(queries=lambda share, mask: share.sum(2) / mask.sum(-1, keepdim=True)),
            "rows of padding are added up",
        ),
        (over_all_queries(), "mean over all real queries of the batch"),
        (over_all_queries(width_of), "counted as keys, and a long text counts"),
        (ratio_of_means, "mean of its largest values"),
        (ratio_of_sums, "sum of their largest values"),
        (
            spreading(most=lambda mask: mask.sum(-1).float().mean().log()),
            "text of mean length",
        ),
        (spreading(most=lambda mask: mask.sum().log()), "over all real tokens of the batch"),
        (spreading(texts=lambda means, mask: means.sum(0)), "The texts are added up"),
        (spreading(texts=lambda means, mask: means.mean(0)), "0 / 0 is no number"),
        (spreading(texts=alone_as(0.0)), "single token counts as 0"),
        (spreading(texts=alone_as(1.0)), "single token counts as 1"),
        (by_the_packages_entropy, "ready-made entropy"),
        (never_ends, "did not end"),
    ],
    "without_special": [
        (leaving_out(pick=set_to_zero), "All tokens are still there"),
        (leaving_out(pick=lambda w, s: w[:, :, ~s]), "no columns any more, but still rows"),
        (leaving_out(pick=lambda w, s: w[:, ~s]), "no rows any more, but still columns"),
        (lambda w, s: w[:, ~s, ~s], "the diagonal"),
        (lambda w, s: w[:, ~s & ~s[:, None]], "maps are flattened"),
        (lambda w, s: words_by_masks(w, s).mean(0), "one map only"),
        (lambda w, s: words_by_masks(w, ~s), "special tokens that are left"),
        (leaving_out(divide=lambda inner: inner), "rows do not sum to 1 any more"),
        (leaving_out(divide=lambda inner: inner / inner.sum(-2, keepdim=True)), "columns sum to 1"),
        (
            leaving_out(divide=lambda inner: inner / inner.sum((-2, -1), keepdim=True)),
            "Each map as a whole",
        ),
        (leaving_out(divide=lambda inner: inner.softmax(-1)), "softmax of weights"),
        (leaving_out(divide=dealt_out), "evenly over all words"),
        (leaving_out(divide=lambda inner: by_rows(inner).mT), "maps are transposed"),
        (leaving_out(pick=first_and_last_left_out), "first and the last token are left out"),
        (leaving_out(pick=as_many_from(1)), "all those after the first"),
        (leaving_out(pick=as_many_from(0)), "but the first ones"),
        (
            leaving_out(divide=lambda inner: inner / (inner.sum(-1, keepdim=True) + 1e-6)),
            "1e-06 added to the sum",
        ),
        (
            leaving_out(divide=lambda inner: inner / inner.sum(-1, keepdim=True).clamp_min(1e-3)),
            "never taken smaller than 0.001",
        ),
        (
            leaving_out(divide=lambda inner: inner / inner.sum(-1, keepdim=True)),
            "0 / 0 is no number",
        ),
        (leaving_out(divide=or_uniform), "said to look at all words alike"),
        (leaving_out(divide=or_itself), "said to look at itself"),
        (zeroed_in_place, "in place"),
        (never_ends, "did not end"),
    ],
    "js_divergence": [
        (kl, "Kullback and Leibler, from p to q"),
        (lambda p, q: kl(q, p), "Kullback and Leibler, from q to p"),
        (lambda p, q: in_nats(kl(p, q)), "Kullback and Leibler, and in nats"),
        (lambda p, q: (kl(p, q) + kl(q, p)) / 2, "mean of Kullback"),
        (lambda p, q: kl(p, q) + kl(q, p), "sum of Kullback"),
        (comparing(result=in_nats), "That is in nats"),
        (comparing(result=torch.sqrt), r"the distance, not the divergence"),
        (lambda p, q: distance.jensenshannon(p, q, axis=-1), "root of the divergence in nats"),
        (comparing(join=lambda one, other: one + other), "twice as large"),
        (comparing(join=lambda one, other: one), "Only p is compared with the middle: "),
        (comparing(join=lambda one, other: one / 2), "Only p is compared with the middle, and"),
        (comparing(middle=lambda p, q: p + q), "compared with their sum"),
        (comparing(result=torch.neg), "It is negative"),
        (comparing(part=lambda one, m: kl(m, one)), "instead of each of these with the middle\\."),
        (
            comparing(part=lambda one, m: F.kl_div(one.log(), m, reduction="none").sum(-1)),
            "with the middle, and in nats",
        ),
        (
            comparing(result=lambda bits: bits / 5),
            "mean over the keys is taken where a sum is due\\.",
        ),
        (
            comparing(part=lambda one, m: F.kl_div(m.log(), one)),
            "where a sum is due, and in nats",
        ),
        (comparing(result=lambda bits: 1 - bits), "1 for equal distributions"),
        (lambda p, q: (p - q).abs().sum(-1) / 2, "total variation"),
        (comparing(result=lambda bits: bits / math.log2(5)), "logarithm of the number of keys"),
        (js_without_care, "there is NaN"),
        (turned_ratio, "the result is infinite"),
        (js_with(lambda one: one, lambda one: (one + 1e-3).log2()), "0.001 is added in the log"),
        (js_with(lambda one: one + 1e-4), "0.0001 is added to all probabilities\\."),
        (
            js_with(lambda one: one, lambda one: one.clamp_min(1e-2).log2()),
            "0.01 is the least that the logarithms",
        ),
        (js_with(lambda one: one.clamp_min(1e-3)), "0.001 is the least that a probability"),
        (
            js_with(lambda one: (one + 1e-5) / (one + 1e-5).sum(-1, keepdim=True)),
            "divided by their sum again",
        ),
        (js_rounded_up, "everything in common"),
        (js_over(None), "One number came back for all rows"),
        (js_over(0), "sum runs over the first axis"),
        (js_each, "still a number for each key"),
        (never_ends, "did not end"),
    ],
    "robust_outliers": [
        (lambda values, threshold=3.5: np.zeros(len(values), bool), "Nothing is flagged\\."),
        (judging(centre=np.nanmean, spread=np.nanstd), "Mean and standard deviation judge"),
        (judging(spread=np.nanstd), "measured in standard deviations"),
        (judging(unit=np.nanmedian), "1.4826 is missing: "),
        (judging(unit=lambda far: np.nanmedian(far) / 1.4826), "divide by 1.4826"),
        (judging(distance=lambda apart: apart), "Only values above"),
        (judging(distance=np.negative), "Only values below"),
        (judging(centre=np.nanmean), "distances are taken from the mean"),
        (judging(around=np.nanmean), "MAD is made of distances from the mean"),
        (judging(centre=np.nanmean, around=np.nanmedian), "MAD is right, but"),
        (judging(unit=lambda far: 1.4826 * np.nanmean(far)), "averaged: that is the mean absolute"),
        (judging(unit=np.nanmean), "averaged, and 1.4826 is missing"),
        (judging(flag=lambda far, limit: far < limit), "in line are flagged"),
        (judging(spread=lambda values: 1.0), "distance itself is compared"),
        (beyond_tukeys_fences, "Tukey's rule"),
        (by_torchs_median, "lower of the two in the middle"),
        (by_the_upper_middle, "upper of the two in the middle"),
        (judging(limit=lambda threshold: 3.5), "threshold is 3.5, whatever"),
        (judging(limit=lambda threshold: 3), "threshold is 3, whatever"),
        (needs_a_threshold, "TypeError"),
        (another_default, "With no threshold given"),
        (nan_in_the_median, "NaN, nothing is flagged any more"),
        (nan_asked_the_other_way, "NaN, everything is flagged"),
        (removed_heads_flagged, "Removed heads, whose value is NaN, are flagged"),
        (removed_heads_as_zero, "count as 0 in the median\\."),
        (removed_heads_as_zero_unflagged, "count as 0 in the median, though"),
        (removed_heads_dropped, "missing from the result"),
        (removed_heads_set_in_place, "changes the array"),
        (nothing_at_mad_zero, "MAD is 0, and nothing is flagged"),
        (judging(instead=lambda far: 0.0), "differs by a hair"),
        (divided_and_turned_round, "MAD is 0, and everything"),
        (judging(instead=np.nanmean), "without the factor 1.2533"),
        (judging(instead=lambda far: 1.4826 * np.nanmean(far)), "with the factor of the MAD"),
        (std_at_mad_zero, "standard deviation replaces it"),
        (judging(flag=lambda far, limit: far >= limit), "All values are equal"),
        (lambda values, threshold=3.5: np.abs(values), "These are distances"),
        (
            lambda values, threshold=3.5: np.flatnonzero(outliers_by_numpy(values, threshold)),
            "the indices of values",
        ),
        (
            lambda values, threshold=3.5: values[outliers_by_numpy(values, threshold)],
            "the values themselves",
        ),
        (never_ends, "did not end"),
    ],
    "guarded_choice": [
        (guarding(choose=by_figure("test"), agrees=lambda *_: True), "kept what is best on test"),
        (guarding(choose=by_figure("guard")), "kept what is best on guard,"),
        (
            guarding(
                choose=lambda candidates, score: max(
                    candidates, key=lambda one: score(one, "tune") + score(one, "guard")
                ),
                agrees=lambda *_: True,
            ),
            "tune and guard together",
        ),
        (
            guarding(
                choose=lambda candidates, score: min(
                    candidates, key=lambda one: score(one, "tune")
                ),
                agrees=lambda *_: True,
            ),
            "lowest accuracy on tune",
        ),
        (
            guarding(choose=lambda c, score: c[0], agrees=lambda *_: True),
            "kept the first candidate",
        ),
        (
            guarding(choose=lambda c, score: c[-1], agrees=lambda *_: True),
            "kept the last candidate",
        ),
        (
            guarding(choose=lambda c, score: max(c), agrees=lambda *_: True),
            "last name in the alphabet",
        ),
        (
            guarding(agrees=lambda best, start, score: score(best, "guard") > score(best, "tune")),
            "You stayed with the start, though",
        ),
        (guarding(agrees=lambda *_: True), "Where do you ask guard"),
        (
            guarding(
                agrees=lambda best, start, score: score(best, "guard") > score(start, "guard") - 1
            ),
            "You asked guard, and yet",
        ),
        (next_that_passes, "kept another that does"),
        (guard_for_all, "guard was asked for 11 settings"),
        (test_for_all, "test was asked for 11 settings"),
        (asked_twice, "test was asked 2 times"),
        (start_on_test_too, "more was asked for it than needed"),
        (
            guarding(figure=lambda kept, other, score: score(kept, "tune")),
            "It is that of tune",
        ),
        (
            guarding(figure=lambda kept, other, score: score(kept, "guard")),
            "It is that of guard",
        ),
        (highest_on_test, "highest on test"),
        (guarding(figure=lambda kept, other, score: score(other, "test")), "of what was not kept"),
        (
            guarding(figure=lambda kept, other, score: score(kept, "test") - score(other, "test")),
            "change on test",
        ),
        (
            guarding(
                agrees=lambda best, start, score: score(best, "guard") >= score(start, "guard")
            ),
            "exactly as good as the start",
        ),
        (
            guarding(choose=lambda c, score: max(reversed(c), key=lambda one: score(one, "tune"))),
            "are equally good on tune",
        ),
        (lambda *given: guarded_by_max(*given)[::-1], "settings come second"),
        (lambda *given: guarded_by_max(*given)[0], "two things are asked for"),
        (
            lambda start, candidates, score: (
                candidates.index(guarded_by_max(start, candidates, score)[0]),
                0.5,
            ),
            "index of a candidate came back",
        ),
        (
            lambda start, candidates, score: guarded_by_max(
                start, candidates, lambda one, part: score(part, one)
            ),
            "the part first",
        ),
        (guarding(choose=by_figure("dev")), "asked for the part 'dev'"),
        (
            lambda start, candidates, score: guarded_by_max(start, range(len(candidates)), score),
            "neither the start nor a candidate",
        ),
        (never_ends, "did not end"),
    ],
    "tune_rounds": [
        (tuning(result=lambda state: state["start"]), "the start came back"),
        (compared_the_other_way, "in the wrong order"),
        (proposed_again, "propose is asked once more"),
        (tuning(rounds_of=lambda rounds: range(rounds + 1)), "and two are made"),
        (tuning(rounds_of=lambda rounds: range(1, rounds)), "and none is made"),
        (never_compared, "never compared"),
        (
            tuning(propose_from=lambda state: state["start"]),
            "Every proposal is made from the start",
        ),
        (tuning(compare_with=lambda state: state["start"]), "compared with the start, not"),
        (tuning(keep=lambda delta, low, high: True), "Nothing is rolled back"),
        (tuning(result=lambda state: state["last"]), "last proposal comes back"),
        (tuning(result=lambda state: state["best"]), "largest change come back"),
        (tuning(result=lambda state: state["first"]), "settings of the first round"),
        (tuning(propose_from=lambda state: state["last"]), "begins from the refused settings"),
        (tuning(back_to=lambda state: state["start"]), "go on from the start"),
        (tuning(compare_with=lambda state: state["last"]), "compared with the refused settings"),
        (tuning(patience=1), "stop at the first refusal"),
        (
            tuning(count=lambda refused, kept, delta, high: refused + (not kept)),
            "there was a gain between the two",
        ),
        (returns_in_the_loop, "You stop after the first round\\."),
        (tuning(keep=lambda delta, low, high: high >= 0), "because it might be none"),
        (tuning(keep=lambda delta, low, high: delta > 0), "`delta` is judged"),
        (tuning(keep=lambda delta, low, high: low >= 0), "begins at 0 counts as a gain"),
        (tuning(patience=99), "and you go on to the last"),
        (tuning(patience=3), "stop after three refusals"),
        (
            tuning(count=lambda refused, kept, delta, high: 0 if kept else refused + (high < 0)),
            "Only losses beyond noise are counted",
        ),
        (
            tuning(count=lambda refused, kept, delta, high: 0 if kept else refused + (delta < 0)),
            "Only changes downwards are counted",
        ),
        (compared_three_times, "asked more than once about the same"),
        (copied_into_the_start, "in place"),
        (averaged, "neither the start nor ever proposed"),
        (asks_for_rounds_at_the_end, "With rounds=0"),
        (until_something_is_better, "there is no end"),
        (with_a_log, "A tuple of 2 came back"),
        (never_ends, "did not end"),
    ],
}
