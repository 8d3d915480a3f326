"""Answers to lesson 07: right ones in several styles, and wrong ones, with what is said to them."""

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


def evenness_by_distance_from_uniform(weights, mask):
    """1 minus the divergence from uniform weights, as a share of the largest."""
    keys = mask.sum(-1).double()
    uniform = (mask / keys[:, None])[:, None, None].clamp_min(1e-30)
    far = (torch.xlogy(weights, weights) - torch.xlogy(weights, uniform)).sum(-1)
    share = (1 - far / keys.log()[:, None, None]).masked_fill(~mask[:, None], 0)
    return (share.sum(-1) / keys[:, None])[keys > 1].mean(0)


def real_queries(share, mask):
    return (share * mask[:, None]).sum(2) / mask.sum(-1, keepdim=True)


def several_keys(texts, mask):
    return texts[mask.sum(-1) > 1].mean(0)


def by_the_packages_entropy(weights, mask):
    share = attention.entropy(weights, mask[:, None, None], normalised=True)
    return several_keys(real_queries(share, mask), mask)


def evenness_with_a_mean_over_texts(weights, mask):
    real = mask[:, None].float()
    nats = (torch.special.entr(weights).sum(-1) * real).sum(-1) / real.sum(-1)
    return (nats / mask.sum(-1, keepdim=True).log()).mean(0)


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


def js_with_nan_for_nothing(p, q):
    m = (p + q) / 2
    return ((p * (p / m).log2()).nan_to_num(0) + (q * (q / m).log2()).nan_to_num(0)).sum(-1) / 2


def js_by_shares_of_a_key(p, q):
    """Of each key, the bits by which its share of p tells who drew it."""
    both = p + q
    share = torch.where(both > 0, p / both, 0.5)
    bits = (torch.special.entr(share) + torch.special.entr(1 - share)) / math.log(2)
    return (both / 2 * (1 - bits)).sum(-1)


def js_of_shared_keys(p, q):
    shared = (p > 0) & (q > 0)
    return js_by_parts(torch.where(shared, p, 0.0), torch.where(shared, q, 0.0))


def js_without_care(p, q):
    m = (p + q) / 2
    return ((p * (p / m).log2()).sum(-1) + (q * (q / m).log2()).sum(-1)) / 2


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


def by_torchs_median(values, threshold=3.5):
    x = torch.from_numpy(values)
    far = (x - x.nanmedian()).abs()
    return far > threshold * 1.4826 * far.nanmedian()


def nan_asked_the_other_way(values, threshold=3.5):
    far = np.abs(values - np.median(values))
    return ~(far <= threshold * 1.4826 * np.median(far))


def divided_and_turned_round(values, threshold=3.5):
    far = np.abs(values - np.nanmedian(values))
    with np.errstate(all="ignore"):
        return ~(far / (1.4826 * np.nanmedian(far)) <= threshold) & ~np.isnan(values)


def needs_a_threshold(values, threshold):
    return outliers_by_numpy(values, threshold)


# --- leaves_band ---
def leaving_in_a_loop(values, z=15.0, least=0.02):
    distances = []
    for t in range(4, len(values)):
        middle = values[t - 1] + np.median(np.diff(values[t - 4 : t]))
        distance = abs(values[t] - middle)
        if len(distances) >= 4 and distance > max(z * 1.4826 * np.median(distances), least):
            return t
        distances.append(distance)
    return None


def leaving_by_pandas(values, z=15.0, least=0.02):
    """All distances first, and of them running medians."""
    series = pd.Series(values)
    usual = series.diff().rolling(3).median()
    far = (series - (series + usual).shift()).abs()
    width = (z * 1.4826 * far.expanding(4).median().shift()).clip(lower=least)
    outside = far > width
    return int(outside.idxmax()) if outside.any() else None


def leaving_by_windows(values, z=15.0, least=0.02):
    """All distances at once; the index is NumPy's."""
    if len(values) < 9:
        return None
    changes = np.diff(values)
    usual = np.median(np.lib.stride_tricks.sliding_window_view(changes, 3), axis=1)[:-1]
    far = np.abs(changes[3:] - usual)
    widths = [z * 1.4826 * np.median(far[:known]) for known in range(4, len(far))]
    (where,) = np.nonzero(far[4:] > np.maximum(widths, least))
    return where[0] + 8 if len(where) else None


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


def guarded_by_pandas(start, candidates, score):
    best = pd.Series({one: score(one, "tune") for one in candidates}).idxmax()
    guard = pd.Series({one: score(one, "guard") for one in (start, best)})
    kept = guard.idxmax()
    return kept, np.float64(score(kept, "test"))


def start_takes_part(start, candidates, score):
    best = max([*candidates, start], key=lambda one: score(one, "tune"))
    kept = best if best != start and score(best, "guard") > score(start, "guard") else start
    return kept, score(kept, "test")


def all_but_the_last(start, candidates, score):
    return guarded_by_max(start, candidates[:-1], score)


def rounded_figure(start, candidates, score):
    kept, figure = guarded_by_max(start, candidates, score)
    return kept, round(figure, 2)


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


# --- share_recovered ---
def recovered_by_gains(whole, hurt, repaired, draws):
    gain, lost = repaired.astype(float) - hurt, whole.astype(float) - hurt
    gains, costs = gain[draws].mean(1), lost[draws].mean(1)
    low, high = np.quantile(gains[costs > 0] / costs[costs > 0], [0.025, 0.975])
    return gain.mean() / lost.mean(), low, high


def recovered_in_a_loop(whole, hurt, repaired, draws):
    """Counts of right answers, and percentiles."""
    shares = []
    for row in [np.arange(len(whole)), *draws]:
        a, b, c = (int(model[row].sum()) for model in (whole, hurt, repaired))
        shares.append((c - b) / (a - b) if a > b else None)
    first, *others = shares
    others = [share for share in others if share is not None]
    return [first, *np.percentile(others, [2.5, 97.5])]


def recovered_by_counting_texts(whole, hurt, repaired, draws):
    """How often each draw holds each text, times gains and losses of the texts; torch."""
    counts = np.stack([np.bincount(row, minlength=len(whole)) for row in draws])
    texts = np.stack([repaired * 1.0 - hurt, whole * 1.0 - hurt], 1)
    both = torch.from_numpy(counts @ texts)
    shares = (both[:, 0] / both[:, 1])[both[:, 1] > 0]
    low, high = shares.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return np.divide(*texts.sum(0)), (low, high)


def recovered_with_infinite_shares(whole, hurt, repaired, draws):
    gain, lost = repaired.astype(float) - hurt, whole.astype(float) - hurt
    with np.errstate(all="ignore"):
        shares = gain[draws].mean(1) / lost[draws].mean(1)
    return (gain.mean() / lost.mean(), *np.quantile(shares, [0.025, 0.975]))


def recovered_text_by_text(whole, hurt, repaired, draws):
    with np.errstate(all="ignore"):
        share = (repaired.astype(float) - hurt) / (whole.astype(float) - hurt)
    return (np.nanmean(share), *np.nanquantile(share, [0.025, 0.975]))


RIGHT = {
    "normalised_entropy": [
        by_the_packages_entropy,
        evenness_at_once,
        evenness_text_by_text,
        evenness_row_by_row,
        evenness_by_nan,
        evenness_by_distance_from_uniform,
    ],
    "js_divergence": [
        js_by_parts,
        js_by_entropies,
        js_by_scipy,
        js_by_torchs_kl,
        js_in_a_loop,
        js_with_nan_for_nothing,
        js_by_shares_of_a_key,
    ],
    "robust_outliers": [
        outliers_by_numpy,
        outliers_by_pandas,
        outliers_by_scipy,
        outliers_in_a_loop,
        outliers_by_torch,
    ],
    "leaves_band": [leaving_in_a_loop, leaving_by_pandas, leaving_by_windows],
    "guarded_choice": [guarded_by_max, guarded_by_a_loop, guarded_by_sorting, guarded_by_pandas],
    "share_recovered": [
        recovered_by_gains,
        recovered_in_a_loop,
        recovered_by_counting_texts,
    ],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "normalised_entropy": [
        (
            lambda weights, mask: special.entr(weights.numpy()).sum(-1).mean((0, 2)),
            "entropy in nats, as it is",
        ),
        (
            lambda weights, mask: evenness_text_by_text(weights, torch.ones_like(mask)),
            "Padding is counted as keys, and its rows",
        ),
        (evenness_with_a_mean_over_texts, "0 / 0 is no number"),
        (lambda weights, mask: evenness_at_once(weights, ~mask), "mask turned round"),
    ],
    "js_divergence": [
        (lambda p, q: distance.jensenshannon(p, q, axis=-1), "root of the divergence in nats"),
        (js_without_care, "there is NaN"),
        (js_rounded_up, "everything in common"),
        (js_of_shared_keys, "Right without zeros, wrong with them"),
    ],
    "robust_outliers": [
        (by_torchs_median, "lower of the two in the middle"),
        (nan_asked_the_other_way, "NaN, everything is flagged"),
        (divided_and_turned_round, "MAD is 0, and everything"),
        (needs_a_threshold, "TypeError"),
    ],
    "leaves_band": [
        (lambda values, z=15.0, least=0.02: leaving_in_a_loop(values, z), "`least` is 0.02"),
        (
            lambda values, z=15.0, least=0.02: leaving_in_a_loop(values, z, least) or 0,
            "The index is wrong",
        ),
        (lambda values: leaving_in_a_loop(values), "TypeError"),
    ],
    "guarded_choice": [
        (next_that_passes, "kept another that does"),
        (guard_for_all, "guard was asked for 11 settings"),
        (start_takes_part, "start is ahead of all candidates on tune"),
        (rounded_figure, "not its figure"),
        (all_but_the_last, "Where the last is best"),
        (lambda *given: guarded_by_max(*given)[0], "two things are asked for"),
        (
            lambda start, candidates, score: guarded_by_max(
                start, candidates, lambda one, part: score(part, one)
            ),
            "the part first",
        ),
    ],
    "share_recovered": [
        (recovered_with_infinite_shares, "draws"),
        (recovered_text_by_text, "share"),
        (lambda whole, hurt, repaired, draws: (repaired - hurt) / (whole - hurt), "TypeError"),
        (lambda whole, hurt, repaired, draws: None, "None"),
    ],
}
