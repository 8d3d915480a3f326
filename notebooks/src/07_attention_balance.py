# %% [markdown]
# # 07 Attention balance: is even good?
#
# **Some heads look at one token, others at all of them. Is either a fault? And when
# heads are broken, which repair is worth its price?** You measure heads, watch a
# training run go wrong, and compare repairs of a damaged model by what they bring and
# cost.
#
# Afterwards you can
#
# - say how evenly a head spreads its attention, whatever the padding;
# - compare two attention patterns by a divergence that is never infinite;
# - find unusual heads by a rule that works for ten values, and for skewed ones;
# - choose among repairs without fooling yourself, and say what share of the damage came
#   back, with its interval.
#
# Time: about 80 minutes, 43 of them for five exercises. Running all cells takes ten to
# twenty-five minutes, depending on the machine. You need lessons
# [01](01_attention_maths.ipynb), [05](05_finetune_bert.ipynb) and
# [06](06_head_mixing.ipynb). Choose **Run → Run All Cells** first; exercises that are
# not written yet only say so.

# %%
import copy
import dataclasses
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy import stats

import attnlab as al
from attnlab import balance
from attnlab.show import drawings

# %%
clf = al.load_classifier("movie-sentiment")
pretrained = al.classification.fresh_classifier(label_names=clf.label_names)
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()
dev, test = splits.dev.sample(size.sentences), splits.test.sample(size.sentences)
print(clf, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# In each of three heads a word may look at three tokens, and has one unit of attention
# to give:
#
# | head | weights | looks at | it is |
# | --- | --- | --- | --- |
# | A | 0.98, 0.01, 0.01 | about 1 token | sharp |
# | B | 0.6, 0.3, 0.1 | about 2½ tokens | in between |
# | C | ⅓, ⅓, ⅓ | all 3 tokens | even |
#
# How evenly attention is shared out is its **balance**. Below, each cell is a head of
# the classifier from lesson 05, bright if even, dark if sharp. **L3H9** is head 9 of
# layer 3, both counted from 0.
#
# Click on a dark cell: where does this head look in the sentence? Then choose *change
# since before*: which head did fine-tuning change most?
#
# <details><summary>What are the numbers, the reference and the dial?</summary>
#
# The number in a cell is the *entropy* of section 2, over words only, without [CLS] and
# [SEP]. The *reference* is the model before fine-tuning. The dial and its two bars wait
# until appendix B.
#
# </details>

# %%
text = "A slow start, yet the ending is worth every minute."
meter = al.BalanceMeter(clf, dev.sample(size.sweep_sentences), text, before=pretrained)
meter

# %% [markdown]
# ## 2. How even is a head?
#
# "Bright" and "dark" need a number. A row of attention weights shares out one unit
# among $n$ keys. In the drawing each bar is such a row, for four keys:

# %%
drawings.shared_attention()

# %% [markdown]
# The **entropy** $H = -\sum_j p_j \log p_j$ (lesson 01) is 0 if one key gets all, and
# $\log n$ if all get the same. For the third row it is
# $-0.7 \log 0.7 - 3 \cdot 0.1 \log 0.1 = 0.94$. It is read in two ways:
#
# - the **normalised entropy** $H / \log n$ lies between 0 and 1; here it is 0.68;
# - the **effective number of keys** is $e^H$: here the row is spread as 2.6 equal keys
#   would be (Hill 1973).
#
# In a picture of attention weights, *low* is a row with one bright cell, *high* a row
# of one even colour.

# %% [markdown]
# ### Exercise 1: how evenly does a head look?
#
# **Compute.** *Difficulty 3 of 5, 10 minutes.* Return one number for each head, its
# normalised entropy. Take the mean over the real queries of each text, then the mean
# over texts, so that long and short texts count the same. Padding must not count,
# neither as a key nor as a query. A text of a single token leaves a head no choice and
# is left out.
#
# *First step:* by hand, one head, one text of two real tokens and one of padding. Its
# rows are (1, 0, 0), (0.5, 0.5, 0) and the padded query's. The normalised entropies of
# the real ones are 0 and 1, so the head has 0.5. Which number of keys is in the
# logarithm, 2 or 3?


# %% exercise="normalised_entropy" points=3
def normalised_entropy(weights, mask):
    """(H,): mean over texts of (mean over real queries of entropy / log(real keys)).

    weights (B, H, T, T), exactly 0 at padded keys; mask (B, T), bool, True at real
    tokens, which come before the padding. A text with a single real token is left out.
    """
    ### BEGIN SOLUTION
    nats = -(weights * weights.clamp_min(1e-30).log()).sum(-1)  # (B, H, T)
    keys = mask.sum(-1, keepdim=True)  # (B, 1)
    texts = (nats * mask[:, None]).sum(-1) / keys  # (B, H), means over real queries
    several = keys[:, 0] > 1
    return (texts[several] / keys[several].log()).mean(0)
    ### END SOLUTION


# %% check="normalised_entropy"
al.checks.normalised_entropy(normalised_entropy)

# %% [markdown] hints="normalised_entropy"
# 2: only real keys count. Compute a number for each query first, `(B, H, T)`. Where a
# weight is 0, its logarithm is $-\infty$, and 0 times that is NaN. Keep the weights
# away from 0 inside the logarithm (`clamp_min` with something tiny), or use
# `torch.special.entr`.
#
# ---
# A mean over real queries is a sum over them, divided by their number. `mask[:, None]`
# is `(B, 1, T)`; multiplied with it, the other queries add 0. `mask.sum(-1)` is the
# number of real tokens, and so the number of keys of each query.
#
# ---
# Log 1 is 0, and 0 / 0 is NaN. `texts[several]`, with a mask `(B,)`, picks the texts
# with more than one token before the mean over texts is taken.

# %%
evenness = al.checks.yours_or_ours("normalised_entropy", normalised_entropy)

# %% [markdown]
# Now your function measures the real model, in the map. Below it is the sharpest head,
# on one sentence.


# %%
def attention_of(model, data):
    """Batch by batch: which texts, weights (L, B, H, T, T), real tokens (B, T)."""
    encoded = model.encode(data.texts)
    for indices in encoded.batches():
        batch = encoded.batch(indices)
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        layers = al.heads.record(model, inputs, model.settings())
        weights = torch.stack([layer.weights.float().cpu() for layer in layers])
        yield indices, weights, batch["attention_mask"].bool()


# %%
sums = sum(
    len(indices) * torch.stack([evenness(layer, mask) for layer in weights])
    for indices, weights, mask in attention_of(clf, dev)
)
entropy = (sums / len(dev)).numpy()
title = "How evenly does each head spread its attention?"
label = "normalised entropy\n(0: one key, 1: all alike)"
al.plots.head_map(entropy, title=title, label=label)

# %%
sharp = np.unravel_index(entropy.argmin(), entropy.shape)
picture = al.plots.attention_map(clf.attend(text), *sharp)
title = f"L{sharp[0]}H{sharp[1]}, the sharpest head"
picture.figure.axes[0].set_title(title, loc="left")
picture

# %% [markdown]
# The bright line runs one step beside the diagonal: L0H2 looks at the token before, a
# **previous-token head**, as in lesson 02.
#
# Many others look sharp because they put much of their weight on [CLS], the **attention
# sink** of lessons 02 and 06. So we count with and without the two special tokens
# ([SEP] gets little here):

# %%
tuned = balance.measure(clf, dev.texts, against=pretrained)
sinks = tuned.map("cls", "all") + tuned.map("sep", "all")
layers = pd.DataFrame(
    {
        "entropy, all tokens": tuned.map("entropy", "all").mean(1),
        "entropy, words only": tuned.map("entropy", "text").mean(1),
        "weight on [CLS] and [SEP]": sinks.mean(1),
    }
)
al.plots.table(layers.rename_axis("layer"), **dict.fromkeys(layers, 2))

# %%
rise = tuned.map("entropy", "text") - tuned.map("entropy", "all")  # (L, H)
print(
    "normalised entropy, words only minus all tokens, mean and 95 % interval of heads:"
)
for name, heads in {"all layers": rise.ravel(), **dict(enumerate(rise))}.items():
    low, high = al.statistics.paired_bootstrap(heads)
    print(f"{name:>10}: {heads.mean():+.2f} [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# Among the words alone the heads are more even. So say over which tokens an entropy was
# taken.

# %% [markdown]
# ## 3. How far did fine-tuning move a head?
#
# A row can stay as even as it was and look somewhere else, and entropy does not see it.
# So compare the row before with the row after. **Jensen-Shannon divergence** (Lin 1991)
# compares both with the middle between them:

# %%
drawings.divergence()

# %% [markdown]
# $$
# \text{JS}(p, q) = \tfrac{1}{2} \sum_j p_j \log_2 \frac{p_j}{m_j}
# + \tfrac{1}{2} \sum_j q_j \log_2 \frac{q_j}{m_j}, \qquad m = \tfrac{1}{2} (p + q)
# $$
#
# In the drawing only the first key adds to the first sum, $0.7 \log_2 (0.7 / 0.4) =
# 0.57$: the second is as in the middle, and a key with $p_j = 0$ adds nothing. The
# result lies between 0 and 1 bit. In a picture, *low* is two rows of the same colours,
# *high* two rows that are bright at different keys.
#
# <details><summary>Why not a simpler distance?</summary>
#
# Lesson 05 took half the sum of absolute differences. That counts a step from 0 to 0.1
# as much as one from 0.5 to 0.6; a divergence weighs the first more. The best-known
# divergence, Kullback-Leibler, $\sum_j p_j \log_2 (p_j / q_j)$, is infinite where
# $q_j = 0$ and $p_j$ is not. The middle is 0 only where both rows are.
#
# </details>

# %% [markdown]
# ### Exercise 2: a divergence that stays finite
#
# **Predict, then measure.** *Difficulty 2 of 5, 8 minutes.* First write down, without
# computing, the divergence of three pairs of rows:
#
# | pair | before | after |
# | --- | --- | --- |
# | same | 0.5, 0.5, 0 | 0.5, 0.5, 0 |
# | apart | 1, 0, 0 | 0, 0.5, 0.5 |
# | half | 1, 0, 0 | 0.5, 0.5, 0 |
#
# Then return the divergence of each pair of rows. Exact zeros are common: padding and
# causal masks make them. Rows may have any axes before them, as `(H, T, T)` does.
#
# *First step:* write down the middle of *apart*. What is its first term, in bits?


# %% exercise="js_divergence" points=2
def js_divergence(p, q):
    """(...): Jensen-Shannon divergence over the last axis of p and q (..., n), bits."""
    ### BEGIN SOLUTION
    middle = (p + q) / 2
    from_p = (torch.xlogy(p, p) - torch.xlogy(p, middle)).sum(-1)
    from_q = (torch.xlogy(q, q) - torch.xlogy(q, middle)).sum(-1)
    return (from_p + from_q) / 2 / math.log(2)
    ### END SOLUTION


# %% check="js_divergence"
al.checks.js_divergence(js_divergence)

# %% [markdown] hints="js_divergence"
# The middle is (0.5, 0.25, 0.25), the first term $1 \cdot \log_2 (1 / 0.5) = 1$. And
# $\log (a / b) = \log a - \log b$: then nothing is divided by 0. `torch.xlogy(a, b)` is
# $a \log b$, and 0 wherever $a$ is 0.
#
# ---
# Three lines: the middle; what $p$ adds; what $q$ adds. Take half of each, and a
# logarithm of base 2, or natural ones divided by `math.log(2)`.

# %%
divergence = al.checks.yours_or_ours("js_divergence", js_divergence)
before = torch.tensor([[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]])
after = torch.tensor([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0.5, 0]])
for name, bits in zip(
    ("same", "apart", "half"), divergence(before, after), strict=True
):
    print(f"{name:>5}: {bits:.2f} bits")

# %% [markdown]
# Is *half* what you predicted? Next, your function compares every head of the model
# before and after fine-tuning.


# %%
def moved(model, data):
    """(N, L, H): for each text, how far attention is from the pretrained model's."""
    found = np.zeros((len(data), clf.layers, clf.heads))
    both = zip(attention_of(pretrained, data), attention_of(model, data), strict=True)
    for (indices, old, mask), (_, new, _) in both:
        rows = divergence(old, new) * mask[:, None]  # (L, B, H, T)
        texts = rows.sum(-1) / mask.sum(-1)[:, None]  # (L, B, H)
        found[indices] = texts.transpose(0, 1).numpy()
    return found


on_dev = moved(clf, dev)
far = on_dev.mean(0)
label = "Jensen-Shannon divergence, bits"
al.plots.head_map(far, title="How far did fine-tuning move each head?", label=label)

# %% [markdown]
# Bright cells moved far. Attention moved more in the late layers, and hardly in the
# first. L3H9 leads.
#
# <details><summary>Why not L3H11, and why the late layers?</summary>
#
# The meter in section 1 named L3H11, whose *evenness* changed most. Only a divergence
# sees a row that stays about as even and looks elsewhere. And the weights did *not*
# change more in late layers (lesson 05): a changed input moves attention, too.
#
# </details>
#
# Is that lead more than noise? L3H9 was picked *because* it is ahead on these
# sentences, so ask once more on fresh ones, from the test set:


# %%
def name_of(head):
    return f"L{head[0]}H{head[1]}"


order = [np.unravel_index(i, far.shape) for i in far.argsort(axis=None)[::-1]]
farthest, second = order[:2]
for part, each in (("dev", on_dev), ("test, once", moved(clf, test))):
    lead = each[:, *farthest] - each[:, *second]
    low, high = al.statistics.paired_bootstrap(lead)
    print(f"{name_of(farthest)} ahead of {name_of(second)} on {part}:", end=" ")
    print(f"{lead.mean():.3f} bits, 95 % interval {low:.3f} to {high:.3f}")

# %%
maps = dataclasses.replace(clf.attend(text), neutral=pretrained.attend(text))
picture = al.plots.before_after(maps, *farthest)
titles = ("before fine-tuning", "after", "after minus before")
panels, bars = picture.figure.axes[:3], picture.figure.axes[3:]
for axes, bar, title in zip(panels, bars, titles, strict=True):
    axes.set_title(f"{name_of(farthest)} {title}", loc="left", fontsize=10)
    bar.set_ylabel("weight" if axes is not panels[2] else "change of weight")
picture

# %% [markdown]
# The lead holds on both: neither interval reaches 0. In the picture most words look at
# [CLS] before, and at *worth*, the word of praise, after (the red column). One sentence
# only illustrates; the finding is the interval.
#
# ### Which heads are needed: those that moved, or the sharp ones?
#
# Below, every head is silenced in turn. Each dot is a head. Its height is the change of
# the mean **margin** (the right label's logit minus the other's) without it, so the low
# ones are needed. *Predict first:* does this change follow evenness, or divergence?
#
# Late layers moved most, and are also near the answer. So we rank the heads twice: all
# 72, and the twelve of each layer among themselves.

# %%
few = dev.sample(min(300, size.sweep_sentences))
ablated = al.ablate(al.Evaluator(clf, few, fast=True), "head", "zero")
effect = ablated.pivot(index="layer", columns="head", values="margin_delta").to_numpy()
figures = {"normalised entropy": entropy, "divergence from before, bits": far}


# %%
def spearman(one, other, within_layers=False):
    """Rank correlation of two maps (L, H), its 95 % interval (Bonett, Wright 2000)."""
    axis = 1 if within_layers else None
    ranks = [stats.rankdata(values, axis=axis).ravel() for values in (one, other)]
    trend, lost = np.corrcoef(*ranks)[0, 1], len(one) - 1 if within_layers else 0
    error = math.sqrt((1 + trend**2 / 2) / (one.size - lost - 3))
    return trend, *np.tanh(np.arctanh(trend) + error * np.array([-1.96, 1.96]))


trends = {}
for name, values in figures.items():
    trends[name, "all heads"] = spearman(values, effect)
    trends[name, "within layers"] = spearman(values, effect, within_layers=True)

# %%
with sns.axes_style("ticks"):
    figure, panels = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True)
for axes, (name, values) in zip(panels, figures.items(), strict=True):
    dots = axes.scatter(values, effect, c=np.indices(values.shape)[0], cmap="cividis")
    axes.text(values[farthest], effect[farthest], f"{name_of(farthest)}  ", ha="right")
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel(name)
panels[0].set_title("Are even heads needed more?", fontsize=10.5)
panels[1].set_title("Are heads that moved needed more?", fontsize=10.5)
panels[0].set_ylabel(
    "change of the margin, logits,\nwithout the head (below 0: needed)"
)
figure.colorbar(dots, ax=panels, label="layer", ticks=range(clf.layers))
sns.despine(figure)
al.plots.show(figure, alt="Change of the margin without each head, over two figures.")

# %%
for (name, where), (trend, low, high) in trends.items():
    seen = "falls" if high < 0 else "rises" if low > 0 else "shows no clear trend"
    print(f"{name}, {where}: Spearman {trend:+.2f} [{low:+.2f}, {high:+.2f}]:", end=" ")
    print(f"the margin without a head {seen}")

# %% [markdown]
# **What we found:** heads that moved farther tend to be needed more, also within a
# layer (Spearman −0.34, interval −0.55 to −0.11). Evenness shows no clear trend.
#
# <details><summary>How is the interval within layers taken?</summary>
#
# Ranks within a layer leave out what differs *between* layers, and with it one degree
# of freedom for each layer but the first. Heads of one model are not independent draws:
# the intervals are rough.
#
# </details>

# %% [markdown]
# L3H9 is the lowest dot. Is it needed for where it looks now, or for what it *fetches*
# there? Put back its weights from before fine-tuning: those of query and key decide the
# first, those of value and output the second. Then put back all of them, because each
# half alone works with a partner it never trained with.


# %%
def put_back(head, parts):
    """The classifier, with these weights of one head as before fine-tuning."""
    model, (layer, number) = copy.deepcopy(clf.model), head
    now, then = (
        dict(each.bert.encoder.layer[layer].attention.named_parameters())
        for each in (model, pretrained.model)
    )
    width = now["self.query.bias"].numel() // clf.heads
    own = slice(number * width, (number + 1) * width)
    with torch.no_grad():
        for part in parts:
            where = (slice(None), own) if part.startswith("output") else own
            now[part][where] = then[part][where]
    return clf.with_model(model)


# %%
kinds = ("query.weight", "query.bias", "key.weight", "key.bias")
gaze = [f"self.{kind}" for kind in kinds]
fetch = ["self.value.weight", "self.value.bias", "output.dense.weight"]
judge, silent = al.Evaluator(clf, dev), clf.settings()
silent.scale[farthest] = 0
tries = {"silenced": judge.score(silent)}
restored = {"looks": gaze, "fetches": fetch, "looks and fetches": gaze + fetch}
for name, weights in restored.items():
    model = put_back(farthest, weights)
    tries[f"{name} as before"] = al.Evaluator(model, dev).score()

# %%
needed = [np.unravel_index(i, effect.shape) for i in effect.argsort(axis=None)]
rival = next(head for head in needed if head != farthest)
other, neutral = clf.settings(), judge.score()
other.scale[rival] = 0
pairs = {name: (neutral, score) for name, score in tries.items()}
both = f"{name_of(farthest)} silent, not {name_of(rival)}"
pairs[both] = (judge.score(other), tries["silenced"])
for name, (one, two) in pairs.items():
    change = judge.compare(one, two)
    low, high = change.margin_ci
    print(f"{name:>27}: margin {change.margin_delta:+.3f} [{low:+.3f}, {high:+.3f}]")

# %% [markdown]
# **What we found:** L3H9 is needed for both, where it looks and what it fetches. With
# all its weights from before fine-tuning the margin falls by 0.23, about half of the
# 0.43 that silencing it costs.
#
# <details><summary>How sure is that?</summary>
#
# No interval holds 0. Of all heads L3H9 costs the most margin when silenced; the last
# row holds that against the next one, L5H0. (Part of these sentences chose the two.)
# What L3H9 *reads* from the layers below stayed fine-tuned throughout.
#
# </details>

# %% [markdown]
# ## 4. Which heads are out of line?
#
# We found L3H9 by its rank. But some head always comes first. When is a head *unusual*?
# "More than three standard deviations from the mean" fails just when it is needed: a
# strange value moves the mean and stretches the standard deviation. Among ten values
# the rule can never fire.
#
# The **median** hardly moves, and nor does the **MAD** (median absolute deviation), the
# median of the distances from it. Take 1, 2, 3, 4 and 90: the median is 3, the
# distances are 2, 1, 0, 1 and 87, and their median, the MAD, is 1. Here are ten heads,
# one of them strange:

# %%
drawings.two_rulers(np.append(np.linspace(0.07, 0.13, 9), 0.6))

# %% [markdown]
# The upper band holds all ten, the lower leaves the strange one outside. For normally
# distributed values, 1.4826 MAD is one standard deviation. Iglewicz and Hoaglin (1993)
# flag what is more than 3.5 of these from the median.
#
# <details><summary>Why can the first rule never fire? And if the MAD is 0?</summary>
#
# Among $n$ values none can be more than $\sqrt{n - 1}$ standard deviations from the
# mean. For ten values that is 3. The MAD is 0 if more than half of the values are
# equal; then the unit is 1.2533 times the mean distance from the median.
#
# </details>

# %% [markdown]
# ### Exercise 3: which heads are out of line?
#
# **Find the faults.** *Difficulty 2 of 5, 8 minutes.* A colleague wrote the rule like
# this:
#
# ```
# distance = values - np.median(values)
# unit = 1.4826 * np.median(distance)
# return ~(distance <= threshold * unit)
# ```
#
# Four things are wrong. Find them, and write the rule right. `values` holds a number
# for each head, NaN for a removed one, which shows two of the faults.
#
# *First step:* go through the three lines by hand for 1, 2, 3, 4 and 90. What is
# `unit`, and what should it be?


# %% exercise="robust_outliers" points=2
def robust_outliers(values, threshold=3.5):
    """(N,), bool: more than threshold x 1.4826 MAD from the median, on either side.

    values (N,), NaN for removed heads: left out and never flagged. Where the MAD is 0,
    the unit is 1.2533 x the mean distance from the median.
    """
    ### BEGIN SOLUTION
    distance = np.abs(values - np.nanmedian(values))
    unit = 1.4826 * np.nanmedian(distance) or 1.2533 * np.nanmean(distance)
    return distance > threshold * unit
    ### END SOLUTION


# %% check="robust_outliers"
al.checks.robust_outliers(robust_outliers)

# %% [markdown] hints="robust_outliers"
# `unit` is 0: the median of signed differences is always 0. How far is each value from
# the median, on either side? The MAD is the median of these distances. `np.nanmedian`
# and `np.nanmean` leave NaN out.
#
# ---
# Compare distances with `threshold` units. Every comparison with NaN is false, so a
# removed head is not flagged by `>`; by "not `<=`" it would be.
#
# ---
# In Python `a or b` is `b` where `a` is 0. If all values are equal, the mean distance
# is 0, too, and 0 is not more than 0.

# %%
flag = al.checks.yours_or_ours("robust_outliers", robust_outliers)

# %% [markdown]
# Your rule will flag heads of the model. First a catch. Most heads give little to the
# token before; a few give a lot. Then the MAD is small, and the long tail passes for
# strange. Two remedies:
#
# - **straighten**: $\arcsin \sqrt{x}$ stretches the scale near 0 and 1, where shares
#   crowd together;
# - **give each side a unit of its own** (Kimber 1990): a long tail is then measured by
#   itself.
#
# <details><summary>How large is the unit of a side?</summary>
#
# Take the distance that three quarters of the values on that side do not exceed. For
# normal values that is 1.15 standard deviations, so divide by 1.15.
#
# </details>

# %%
tail = [0.01, 0.02, 0.03, 0.05, 0.06, 0.08, 0.11, 0.16, 0.22, 0.33]
drawings.two_sides(tail)


# %%
def straightened(values):
    return np.arcsin(np.sqrt(values.clip(0, 1)))


def band(x, threshold=3.5):
    """Lowest and highest expected value, with a unit for each side of the median."""
    away = x - np.median(x)
    up, down = (np.quantile(side[side >= 0], 0.75) / 1.15 for side in (away, -away))
    return np.median(x) - threshold * down, np.median(x) + threshold * up


def by_side(values):
    x = straightened(values)
    low, high = band(x)
    return (x < low) | (x > high)


# %%
rules = {
    "median and MAD": flag,
    "straightened": lambda values: flag(straightened(values)),
    "straightened + side units": by_side,
}

# %% [markdown]
# A trial. First, skewed shares of one kind: every flag is a false alarm. Then one is
# replaced by 0.97. Is it found?

# %%
generator = np.random.default_rng(0)
trial = pd.DataFrame(index=pd.Index(rules, name="rule"))
for heads in (10, 72):
    shares = generator.beta(0.5, 8, (500, heads))
    strange = shares.copy()
    strange[:, 0] = 0.97
    false = [np.mean([rule(one).mean() for one in shares]) for rule in rules.values()]
    found = [np.mean([rule(one)[0] for one in strange]) for rule in rules.values()]
    trial[f"{heads} heads: false alarms, %"] = 100 * np.array(false)
    trial[f"{heads} heads: 0.97 found, %"] = 100 * np.array(found)
al.plots.table(trial, **dict.fromkeys(trial, 1))

# %% [markdown]
# Each remedy takes false alarms away, but among ten heads side units also find less.
# Now the model, in all measures that are shares, each a mean over queries and texts:
#
# | measure of a head | low looks like | high looks like |
# | --- | --- | --- |
# | *entropy*: how even a row is | one bright cell a row | rows of one colour |
# | *largest* weight of a row | rows of one colour | one bright cell a row |
# | *gini*: how unevenly tokens *receive* | columns alike | one bright column |
# | *cls*, *sep*, *punctuation*: weight there | dark columns | bright columns |
# | *self*: weight on the token itself | dark diagonal | bright diagonal |
# | *previous*, *next*: on the neighbour | dark beside it | bright below / above it |
# | *js_uniform*: divergence from even | rows of one colour | one bright cell a row |
# | *js_before*: from before fine-tuning | the same picture | another picture |

# %%
names = [
    name for name in tuned.wide() if name not in ("layer", "head", "keys", "distance")
]
values = {name: tuned.map(name, "all").ravel() for name in names}
flagged = pd.DataFrame(
    {
        name: [int(rule(one).sum()) for one in values.values()]
        for name, rule in rules.items()
    },
    index=pd.Index(names, name="heads flagged in"),
)
for name, rule in rules.items():
    some = np.any([rule(one) for one in values.values()], axis=0)
    print(f"{name}: {some.sum()} of {some.size} heads flagged in some measure")
al.plots.table(flagged, **dict.fromkeys(flagged, 0))

# %%
most = flagged["median and MAD"].idxmax()
x = values[most]
reach = 3.5 * 1.4826 * stats.median_abs_deviation(x)
by_two_rules = {
    f"{most}, median and MAD": (x, np.median(x) - reach, np.median(x) + reach),
    f"arcsin √{most}, a unit for each side": (straightened(x), *band(straightened(x))),
}
al.plots.rug(by_two_rules)

# %% [markdown]
# **What we found:** straightening and side units together bring the flagged heads from
# 23 of 72 to 7, and most of what goes are long tails (red dots on the right, above). A
# flag says *look*, not *wrong*.
#
# <details><summary>Are the seven right?</summary>
#
# The plain rule can fire with ten values, but on skewed shares it fires too often. In
# the trial the strange value among 72 heads is still found every time. Among ten,
# straightening finds it in 99 % of the 500 sets, side units only in 87 % (within 3
# points, 95 times in 100): a side holds just five values, one of them the strange one.
#
# In the model straightening alone changes little (20 heads for 23). If more than a
# quarter of a side is far out, the unit grows with it: the rule takes such a group for
# a kind of head, and flags nobody. But three of the four flagged in *previous* lie
# below the median, two of them close to the bulk: on that narrow side the unit is tiny,
# and the rule flags too much.
#
# </details>
#
# `balance.outliers` does this for all measures (*distance* is that from query to key,
# in tokens). *Robust z* is the distance from the median in units of that side. Far out
# is not wrong: open a picture.

# %%
al.plots.anomaly_table(balance.outliers(tuned), tuned, most=5)

# %% [markdown]
# ## 5. A training run, watched
#
# So far we measured a finished model. When does a head go wrong in training, and how?
# Every other step, a recorder measures a few sentences, the *probe*. From what a head
# did so far it expects the next value within a **band**. A head that leaves its band is
# listed: as *collapse* (onto one token), *spread* (over all), *dead gradient*, *no
# effect*, or *jump* for anything else.
#
# <details><summary>How wide is the band, and where are the limits?</summary>
#
# After six measurements the band is the last value plus the usual change, give or take
# fifteen times the usual error of this guess. *Collapse* is 0.9 or more of a row on one
# token, *spread* nearly uniform, *dead gradient* under a fiftieth of the usual
# gradient. *Strength* is the distance from the middle of the band, in half widths.
# These limits are a choice.
#
# </details>
#
# Two runs follow: a good one, and an accident on purpose, in which the learning rate
# climbs to twenty times what is good. The picture shows the accident, a line for each
# head.

# %%
little = al.datasets.Splits(
    splits.train.sample(size.quick_sentences),
    splits.dev.sample(size.sweep_sentences),
    splits.test.sample(size.sweep_sentences),
)
probe = [one for one in splits.dev.texts if len(one.split()) < 20][:16]
run = {"epochs": 2, "batch_size": 8}
healthy, warned = (al.TrainingMonitor(balance.Recorder(probe, every=2)) for _ in "ab")
good = al.finetune("minilm", little, "full", callbacks=[healthy], **run)

# %%
warned

# %%
reckless = {"learning_rate": 2e-3, "warmup": 0.9, **run}
bad = al.finetune("minilm", little, "full", callbacks=[warned], **reckless)
table, found = warned.recorder.table, balance.episodes(warned.recorder.table)
normal = balance.episodes(healthy.recorder.table)
left = [len(one.groupby(["layer", "head"])) for one in (normal, found)]
began = found["start"].min() if len(found) else math.nan
print(f"heads that left their band: good run {left[0]}, reckless run {left[1]}")

# %% [markdown]
# *Predict first:* which shows the accident earlier, the heads or the loss?

# %%
runs = {"good": good, "reckless": bad}
curves = {name: one.history.steps_frame() for name, one in runs.items()}
smooth = {
    name: steps["loss"].rolling(9, min_periods=1).mean().to_numpy()
    for name, steps in curves.items()
}
of_heads = table[table["measure"] == "entropy"]
lines = of_heads.pivot_table("value", "step", ["layer", "head"])

# %%
with sns.axes_style("ticks"):
    figure, (top, below) = plt.subplots(2, 1, figsize=(7.4, 5.2), sharex=True)
for (name, steps), colour in zip(curves.items(), ("#1f5fa8", "#e06000"), strict=True):
    top.plot(steps["step"], steps["loss"], color=colour, alpha=0.3, linewidth=0.8)
    top.plot(steps["step"], smooth[name], color=colour, label=f"{name} run")
below.plot(lines, color="0.5", linewidth=0.6, alpha=0.6)
for axes in (top, below):
    axes.axvline(began, color="#c51b7d", ls="--", label="first head leaves its band")
top.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
top.set_ylabel("loss of a step, nats\n(strong: mean of nine)")
below.set(xlabel="step", ylabel="normalised entropy,\na line for each head")
below.set_title("the heads of the reckless run", loc="left", fontsize=10)
sns.despine(figure)
alt = f"Loss of both runs by step; entropy of all heads. First departure: step {began}."
al.plots.show(figure, alt=alt)

# %%
worse = np.flatnonzero(smooth["reckless"] > smooth["good"] + 0.1)
apart = worse[worse >= 1].min() + 1 if len(worse) else math.nan
same = max(np.bincount(little.dev.labels)) / len(little.dev)
print(f"first head out of its band (dashed line): step {began}")
print(f"smoothed loss 0.1 above the good run's: from step {apart}")
print(f"dev accuracy, good {good.history.best['dev_accuracy']:.0%},", end=" ")
print(f"reckless {bad.history.best['dev_accuracy']:.0%}, one answer for all {same:.0%}")

# %% [markdown]
# **What we found:** heads and loss show the accident at about the same time, steps 22
# and 26. The loss says *that* the run is lost: it stays at ln 2 = 0.69, what a coin
# toss costs. The heads say in what way: first many fall onto one token, then most
# spread over everything and stay there.
#
# <details><summary>How sure is that?</summary>
#
# Single losses of the reckless run jump first; then a head leaves its band; the mean of
# nine crosses our limit last. Which is first depends on the smoothing and the limit you
# choose. In the good run no head left its band, but one run gives no rate of false
# alarms.
#
# </details>
#
# Is even good? The lost run ends *more* even than it began (*balance* in the recorder),
# at the accuracy of one answer for all. **A high balance is no goal.**

# %%
al.plots.anomaly_table(found.sort_values("strength", ascending=False), table, most=4)

# %% [markdown]
# Open a picture: the grey band follows the head.
#
# <details><summary>Why is L4H11 counted twice, and does it matter where?</summary>
#
# In our run L4H11, in the second row, first collapses, then spreads. On the way back it
# gets a new band and leaves that, too, so it counts as two anomalies. *Where* says
# little in this run: 68 of 72 heads left their bands.
#
# </details>
#
# Does another training move the same head most? The good run is one, with fewer
# sentences:

# %%
each = moved(good, dev.sample(size.sweep_sentences))
again = each.mean(0)
first = np.unravel_index(again.argmax(), again.shape)
rank = int((again >= again[farthest]).sum())
low, high = al.statistics.paired_bootstrap(each[:, *first] - each[:, *farthest])
print(f"farthest in this run: {name_of(first)}; {name_of(farthest)} is number {rank}")
print(f"lead over it, 95 % interval: {low:.3f} to {high:.3f} bits")
for name, inside in (("all heads", False), ("within layers", True)):
    agree, low, high = spearman(far, again, inside)
    print(f"both trainings, {name}: Spearman {agree:+.2f} [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# In our run both trainings move the late layers, but not the same head most. L5H9
# leads, and its lead over L3H9 is clear.

# %% [markdown]
# ## 6. Repair without fooling yourself
#
# A damaged model can be repaired with the knobs of lesson 06, a scale and a temperature
# for each head. `balance.adjust` turns all 144 of them down the gradient of the loss,
# and leaves the weights alone. But 144 knobs can learn a handful of sentences by heart.
# So cut the development sentences in two:

# %%
drawings.guard()

# %% [markdown]
# - On **tune** the candidates are fitted and compete. The best of many is partly the
#   luckiest.
# - So **guard** is asked one question: is the winner better than the start? If not,
#   nothing changes.
# - **Test** is for the report.
#
# <details><summary>What the guard does not take away</summary>
#
# If you ask until the guard agrees, you have chosen by the guard. And a winner that is
# no better in truth still has the higher accuracy nearly every second time: the guard
# takes away the *bias* of choosing, not the noise. Against noise, ask for an interval
# of the difference above 0, as we do below.
#
# </details>

# %% [markdown]
# ### Exercise 4: a choice with a guard
#
# **Design the experiment.** *Difficulty 2 of 5, 8 minutes.* `score(settings, part)`
# gives the accuracy of settings on `"tune"`, `"guard"` or `"test"`. All candidates were
# fitted on tune. You may ask tune as often as you like, guard for two settings only,
# and test once. Return what is kept, a candidate or `start`, and a figure for the
# report.
#
# The choice among candidates must leave guard untouched (of equals take the first).
# What is not better than `start` on guard is not kept.
#
# *First step:* write a line for each part: which question does it answer, about which
# settings?


# %% exercise="guarded_choice" points=2
def guarded_choice(start, candidates, score):
    """(what is kept, its accuracy on test): a candidate or the start.

    score(settings, part) -> accuracy; part is "tune", "guard" or "test"
    """
    ### BEGIN SOLUTION
    best = max(candidates, key=lambda one: score(one, "tune"))  # the first of equals
    kept = best if score(best, "guard") > score(start, "guard") else start
    return kept, score(kept, "test")
    ### END SOLUTION


# %% check="guarded_choice"
al.checks.guarded_choice(guarded_choice)

# %% [markdown] hints="guarded_choice"
# Three steps, each with a part of its own: a winner among the candidates, on tune; the
# winner against `start`, on guard; one figure for what is kept, on test.
#
# ---
# `max(candidates, key=...)` gives the first of equals. Two figures can be compared only
# if they come from the same sentences, so ask guard for the start, too.

# %% [markdown]
# Now choose a real repair with it. The model is mildly damaged: every scale is
# multiplied by a random factor. Two candidates are fitted on only 64 sentences: *free*,
# with many passes and hardly any restraint, and *restrained*, with few passes and a
# penalty that keeps each knob near its start. *Predict:* does the winner on tune pass
# the guard?
#
# On guard, half a point more may be noise. So there we hand your function the lower end
# of the 95 % interval of *candidate minus start*, and 0 for the start: a candidate is
# "better" only if the whole interval is above 0.

# %%
choose = al.checks.yours_or_ours("guarded_choice", guarded_choice)


# %%
def spun(sigma, seed):
    """Settings with every scale multiplied by a random, log-normal factor."""
    settings, noise = clf.settings(), torch.Generator().manual_seed(seed)
    settings.scale *= torch.exp(
        sigma * torch.randn(clf.layers, clf.heads, generator=noise)
    )
    return settings


# %%
shuffled = np.random.default_rng(0).permutation(len(splits.dev))
few = min(64, size.sweep_sentences)
parts = {
    "tune": splits.dev.select(shuffled[:few]),
    "guard": splits.dev.select(shuffled[few:]).sample(size.sweep_sentences),
    "test": test,
}
judges = {name: al.Evaluator(clf, part, fast=True) for name, part in parts.items()}
free = {"epochs": 4 * size.passes, "scale_spread": 10, "temperature_spread": 10}
candidates = {"the start": spun(0.7, seed=0)}
for name, options in {"free": free, "restrained": {"epochs": size.passes}}.items():
    fitted = balance.adjust(
        clf, parts["tune"], start=candidates["the start"], **options
    )
    candidates[name] = fitted.settings

# %%
scores = {
    (name, part): judges[part].score(settings)
    for name, settings in candidates.items()
    for part in ("tune", "guard")
}
for name in ("free", "restrained"):
    for part in ("tune", "guard"):
        change = judges[part].compare(scores["the start", part], scores[name, part])
        low, high = (100 * end for end in change.ci)
        print(f"{name:>10}, {part:5}: {100 * change.delta:+5.1f} points", end=" ")
        print(f"[{low:+.1f}, {high:+.1f}]")


# %%
def figure_of(name, part):
    """Accuracy; on guard, the lower end of the interval of what was gained."""
    score = judges[part].score(candidates[name])
    if part != "guard":
        return score.accuracy
    start = judges[part].score(candidates["the start"])
    return 0.0 if name == "the start" else judges[part].compare(start, score).ci[0]


kept, figure = choose("the start", ["free", "restrained"], figure_of)
print(f"kept: {kept}, {figure:.1%} on test")

# %% [markdown]
# **What we found:** *free* wins 16 points on its own 64 sentences and loses 4 on
# others. It had learned the sentences, and the guard keeps the start.
#
# <details><summary>How sure is that?</summary>
#
# Both intervals of *free* leave 0 outside. *Restrained* wins 9 points on tune, and on
# guard its change is not clear. (We look at guard for both only to show you; `choose`
# may not.) Here little can be won, as the damage costs about 2 points, and 64 sentences
# teach little.
#
# </details>

# %% [markdown]
# ## 7. What does a repair bring, and what does it cost?
#
# You have pruned 60 % of the heads to save time: what brings the accuracy back? This
# damage is called *thinned*. The control, *spun*, multiplies the scales as above by
# factors that lie much further from 1, and can be set back exactly.
#
# The accuracy after a repair depends on how bad the damage was. Say instead what
# *share* of the damage came back (*restored* in lesson 06), in the drawing 24 of 30
# points:

# %%
damages = {"spun": spun(1.5, seed=0), "thinned": clf.settings()}
gone = np.random.default_rng(2).permutation(clf.layers * clf.heads)
gone = torch.as_tensor(gone[: round(0.6 * len(gone))])
damages["thinned"].scale.view(-1)[gone] = 0
final = al.Evaluator(clf, test)
whole = final.score()
hurt = {name: final.score(settings) for name, settings in damages.items()}
examples = {"whole": whole, **hurt}
print(
    "accuracy on test:", {name: f"{one.accuracy:.1%}" for name, one in examples.items()}
)

# %%
drawings.share_of_damage(whole=0.85, hurt=0.55, repaired=0.79)

# %% [markdown]
# How sure is such a share? Gain and cost come from the same sentences, and with others
# both would change. So they must come from the same draw: the **bootstrap** (lesson 06)
# draws the sentences again, with replacement, and computes the whole ratio each time.

# %% [markdown]
# ### Exercise 5: the share that came back
#
# **Compute, with its uncertainty.** *Difficulty 3 of 5, 9 minutes.* Return the share on
# all texts, and as ends of the interval the 2.5 % and 97.5 % quantiles (`np.quantile`)
# of the shares in the draws. Each row of `draws` holds the indices of one draw and
# serves all three models. Leave out draws in which the damage cost nothing (or less).
#
# *First step:* by hand, four texts. The whole model has all four right, the damaged one
# the first two, the repaired one the first three. What share came back? And in the draw
# of texts 0, 0, 1 and 2, counted from 0?


# %% exercise="share_recovered" points=3
def share_recovered(whole, hurt, repaired, draws):
    """(share, low, high): the part of the lost accuracy that came back, 1 is all of it.

    whole, hurt, repaired (N,), bool: which texts each model answers correctly
    draws (R, N), int: in each row N indices of texts, drawn with replacement
    """
    ### BEGIN SOLUTION
    gain = repaired.astype(float) - hurt  # of each text
    lost = whole.astype(float) - hurt
    gains, costs = gain[draws].mean(1), lost[draws].mean(1)  # of each draw
    low, high = np.quantile(gains[costs > 0] / costs[costs > 0], [0.025, 0.975])
    return gain.mean() / lost.mean(), low, high
    ### END SOLUTION


# %% check="share_recovered"
al.checks.share_recovered(share_recovered)

# %% [markdown] hints="share_recovered"
# The damage cost 2 of 4, and 1 came back: 0.5. In the draw it cost 1 of 4 (text 2), and
# that one came back: 1. So on all texts: what did the damage cost, as a difference of
# two accuracies? What did the repair bring? NumPy does not subtract bool arrays;
# `.astype(float)` makes numbers.
#
# ---
# `gain[draws]` picks the texts of every draw at once, `(R, N)`. The mean over the last
# axis is the gain in each draw. Do the same with the cost, and divide draw by draw.
#
# ---
# `costs > 0` says which draws have a share; index both arrays with it before dividing.

# %%
share_of = al.checks.yours_or_ours("share_recovered", share_recovered)

# %% [markdown]
# The ways to repair, from the least demanding to the most:
#
# | repair | what it does | what it needs |
# | --- | --- | --- |
# | **reset to 1** (spun) | turns the knobs back | to know what happened |
# | **random knobs** | keeps the best of some tries | labels |
# | **least squares** | brings each layer near its old output | the whole model |
# | **gradient's start** | where the next one begins | labels |
# | **gradient** | turns all knobs downhill from there | labels |
# | **least squares, gradient** (thinned) | one, then the other | model, labels |
# | **retraining** | trains all weights but the word embeddings | labels |
# | **retraining, more labels** | likewise, as many steps | more labels |
#
# All of them get the same sentences. Only the last gets four times as many, to show
# what more labels buy.
#
# <details><summary>The repairs in detail</summary>
#
# - Reset brings back no head that is gone.
# - Random knobs are what any method has to beat.
# - Least squares (Kwon et al. 2022) finds the scales at which what is left of a layer
#   comes nearest to what the whole layer gave. It needs no labels.
# - Gradient starts from the best of a few: the damage, and a version in which all heads
#   of a layer add alike, each at four strengths. A penalty holds it near its start. How
#   far this start comes without any turning has a row of its own.
# - Retraining keeps the damage in place, and changes millions of weights. It sees the
#   same sentences several times; with more labels it sees each once, so that both take
#   about as many steps.
#
# </details>
#
# *Predict first:* which of them comes first for each damage?

# %%
tune = dev.sample(size.sweep_sentences)
WAYS = {
    "random knobs": ("random", {"trials": size.trials}, len(tune)),
    "least squares": ("least-squares", {}, 0),
    "gradient's start": ("gradient", {"epochs": 0}, len(tune)),
    "gradient": ("gradient", {"epochs": size.passes}, len(tune)),
}


# %%
def repaired(name, start):
    """Model, settings, seconds and number of labels of each repair of a damage."""
    done = {"reset to 1": (clf, clf.settings(), 0.0, 0)} if name == "spun" else {}
    for title, (way, options, labels) in WAYS.items():
        each = balance.adjust(clf, tune, way, start, **options)
        done[title] = (clf, each.settings, each.seconds, labels)
    return done


repairs = {"spun": repaired("spun", damages["spun"])}

# %%
repairs["thinned"] = repaired("thinned", damages["thinned"])
_, close, before, _ = repairs["thinned"]["least squares"]
each = balance.adjust(clf, tune, "gradient", close, epochs=size.passes)
both = (clf, each.settings, before + each.seconds, len(tune))
repairs["thinned"]["least squares, gradient"] = both

# %%
many = splits.train.sample(2 * size.training_sentences)
for name, start in damages.items():
    for title, texts in {"retraining": tune, "retraining, more labels": many}.items():
        clock, passes = time.perf_counter(), max(1, round(len(many) / len(texts)))
        model = balance.retrain(clf, texts, tune, start, texts=None, epochs=passes)
        seconds = time.perf_counter() - clock
        repairs[name][title] = (model, start, seconds, len(texts))

# %% [markdown]
# Now the test sentences, which chose nothing, judge.

# %%
draws = np.random.default_rng(0).integers(0, len(test), (1000, len(test)))
rows, answers = [], {}
costly = {name: final.compare(whole, one).ci[1] < 0 for name, one in hurt.items()}
for damage, done in repairs.items():
    for name, (model, settings, seconds, labels) in done.items():
        score = al.Evaluator(model, test).score(settings)
        answers[damage, name] = score
        three = (whole.correct, hurt[damage].correct, score.correct)
        share = share_of(*three, draws) if costly[damage] else [math.nan] * 3
        rows.append((damage, name, labels, seconds, score.accuracy, *share))
columns = ["damage", "repair", "labels", "seconds", "accuracy", "share back"]
bill = pd.DataFrame(rows, columns=[*columns, "from", "to"])
digits = {"labels": 0, "accuracy": 3, "share back": 2, "from": 2, "to": 2, "seconds": 0}
al.plots.table(bill.set_index(["damage", "repair"]), **digits)

# %%
with sns.axes_style("ticks"):
    figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.4), layout="constrained")
for axes, (damage, some) in zip(panels, bill.groupby("damage"), strict=True):
    y, share = np.arange(len(some))[::-1], some["share back"].to_numpy()
    error = np.abs(some[["from", "to"]].to_numpy().T - share)
    axes.errorbar(share, y, xerr=error, fmt="o", color="#6a3d9a", capsize=3)
    pairs = zip(some["repair"], some["seconds"], strict=True)
    axes.set_yticks(y, [f"{name}, {seconds:.0f} s" for name, seconds in pairs])
    axes.grid(axis="x", linestyle=":")
    axes.set_xticks([0, 0.5, 1], ["0\ndamaged", "0.5", "1\nwhole"])
    axes.set(xlim=(-0.35, 1.2), xlabel="share of the damage")
    axes.set_title(f"How much of “{damage}” came back?", fontsize=10.5)
sns.despine(figure)
alt = "Share of the damage that each repair brings back, with intervals and seconds."
al.plots.show(figure, alt=alt)

# %% [markdown]
# Which repairs are not clearly behind the best? The interval of their difference says.

# %%
for damage, some in bill.groupby("damage"):
    best = some.loc[some["accuracy"].idxmax(), "repair"]
    level = []
    for name in some["repair"]:
        change = final.compare(answers[damage, name], answers[damage, best])
        level += [name] if change.ci[0] <= 0 else []
    costs = some.set_index("repair")["seconds"]
    print(f"{damage}: highest {best}; not clearly behind it: {', '.join(level)}")
    cheapest = costs[level].idxmin()
    print(f"  the quickest of these is {cheapest}, {costs[cheapest]:.0f} s")

# %%
questions = [
    ("least squares", "random knobs"),
    ("gradient's start", "random knobs"),
    ("gradient", "gradient's start"),
    ("least squares, gradient", "gradient"),
    ("retraining", "random knobs"),
    ("retraining", "gradient"),
    ("retraining, more labels", "retraining"),
]
rows = []
for damage in damages:
    for one, other in [pair for pair in questions if pair[0] in repairs[damage]]:
        change = final.compare(answers[damage, other], answers[damage, one])
        points = (100 * part for part in (change.delta, *change.ci))
        rows.append((damage, f"{one} − {other}", *points))

# %%
columns = ["damage", "difference", "points of accuracy", "from", "to"]
races = pd.DataFrame(rows, columns=columns).set_index(["damage", "difference"])
al.plots.table(races, **dict.fromkeys(races, 1))

# %% [markdown]
# **What we found: where you know what was turned, turn it back. Where heads are gone,
# retraining brings back most, 0.84 of the damage from the same 500 labels** (gradient
# 0.60). Four times as many labels brought no clear gain.
#
# <details><summary>How sure is that, and what is owed to the start?</summary>
#
# *Spun*: setting the knobs back costs nothing and undoes all the damage. Least squares
# finds the old scales, but needs the whole model, which one could copy. The gradient's
# start alone has 0.97: it can even the heads of a layer, which is close to undoing just
# this damage, and turning the knobs from there adds nothing clear. So the 0.99 says
# little about the gradient. Retraining (0.68) is clearly behind it.
#
# *Thinned*: here the start alone has 0.03, so the 0.60 is the gradient's own.
# Retraining is 3.5 points of accuracy ahead of it, interval 1.2 to 5.8. Least squares
# needs no labels and is quick, but not clearly ahead of random knobs, and before the
# gradient it brings no clear gain. Turning knobs has its use where weights must not
# change.
#
# The seconds were taken on a busy computer: compare only large differences. The highest
# is partly the luckiest (section 6), and each damage was drawn once here:
# [data/results.json](../data/results.json) has shares and seconds over three draws.
#
# </details>

# %% [markdown]
# ## What you know now
#
# - Normalised entropy says how evenly a head looks, over certain tokens. Even is
#   neither good nor bad: a ruined run can be very even.
# - Divergence from before shows whose *looking* changed, by its own weights or by its
#   input. Heads that moved are needed more; L3H9 leads in both. Another training moved
#   another head most.
# - Median and MAD find one strange value among ten. Skewed shares need straightening;
#   units for each side raise fewer false alarms, but find less among ten.
# - The loss says that a run went wrong; a recorder adds what the heads did.
# - Fit on one part, ask another once, report on a third. A repair has a share, an
#   interval, a number of labels and a price, and the simplest one stands beside it.
#
# Next: [08 Attention economics](08_attention_economics.ipynb), what attention costs in
# time and memory.
#
# <details><summary>Read on</summary>
#
# Clark et al. 2019, *What does BERT look at?* Kobayashi et al. 2020, *Attention is not
# only a weight.* Zhai et al. 2023, *Stabilizing Transformer training by preventing
# attention entropy collapse.* Kwon et al. 2022, *A fast post-training pruning framework
# for Transformers.*
#
# </details>

# %% [markdown]
# ## Appendix A: kinds of heads, and doubles
#
# Are there *kinds* of heads? **Clusters** sort them by all measures at once. The
# *silhouette* says how much nearer heads are to their own group than to the next; below
# about 0.25 there is hardly a group.
#
# <details><summary>How far can the groups and their names be trusted?</summary>
#
# k-means finds groups also where there are none, so look at the silhouette first. The
# names only compare: *high sep* may be little weight (2 % in all, lesson 06).
#
# </details>

# %%
al.plots.clusters(balance.clusters(tuned), clf, text)

# %% [markdown]
# Do any two heads do the same? The pairs that look most alike (*js*) fetch partly
# different things (*cka*, here .21 to .69; Kornblith et al. 2019: 1 is the same up to
# rotation and size):

# %%
alike = balance.similarity(clf, dev.texts[: size.sweep_sentences // 2])
doubles, sides = alike.doubles(5).copy(), ["first", "second"]
doubles[sides] = doubles[sides].map(name_of)
al.plots.table(doubles, js=3, cka=2)

# %% [markdown]
# ## Appendix B: the tuner's desk
#
# `balance.Tuner` automates section 6: it proposes, asks its guard after every round,
# and takes back what is not better beyond the interval of the loss. Many rounds use up
# the guard: report on test. (The verdict below is the guard's.)
#
# <details><summary>What does the meter's dial show?</summary>
#
# The dial of section 1, *overall balance*, is the root of *evenness over tokens* ×
# *evenness over heads*: the normalised entropy of what heads contribute, and the
# effective number of heads of a layer, as a share of those there are.
#
# </details>

# %%
data = al.datasets.Splits(splits.train, dev, test)
options = {"gradient": {"epochs": size.passes // 4 or 1}, "random": {"trials": 2}}
tuner = balance.Tuner(clf, data, damages["spun"], rounds=1, options=options)
desk = al.TunerDesk(tuner, text)
desk

# %%
result = tuner.run()
print(result.verdict)

# %%
al.checks.summary("attention_balance")
