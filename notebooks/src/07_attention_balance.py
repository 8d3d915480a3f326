# %% [markdown]
# # 07 Attention balance: is even good?
#
# **Some heads look at one token, others at all of them. Is either a fault? And when
# heads are broken, which repair is worth its price?** You measure the heads of a sound
# model (sections 1 to 5), watch a training go wrong (6), and repair a damaged model (7
# and 8).
#
# Afterwards you can
#
# - say how evenly a head spreads its attention, whatever the padding;
# - compare two attention patterns by a divergence that is never infinite;
# - find unusual heads by a rule that works for ten values, and say where it errs;
# - write a monitor that says when a head goes astray in a training;
# - choose among repairs without fooling yourself, and say what share of the damage came
#   back, with its interval.
#
# Time: about 80 minutes, 50 of them for six exercises. The appendices can wait. Running
# all cells takes ten to thirty minutes, depending on the machine. You need lessons
# [01](01_attention_maths.ipynb), [05](05_finetune_bert.ipynb) and
# [06](06_head_mixing.ipynb). Choose **Run → Run All Cells** first. Folded code need not
# be read.

# %% folded=true
# what this lesson imports
import copy
import dataclasses
import math
import time

import numpy as np
import pandas as pd
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
# In a head, each token has one unit of attention to share out. The token that looks is
# the **query**, the tokens it looks at are the **keys**. A head whose queries give 0.98
# to a single key is *sharp*. One whose queries give every key of the sentence the same
# is *even*. How evenly attention is shared out is the **balance** of a head.
#
# The map shows the classifier from lesson 05, which tells good film reviews from bad
# ones. Each cell is a head, bright if even and dark if sharp. **L3H9** is head 9 of
# layer 3, both counted from 0.
#
# Click on a dark cell. Where does this head look in the sentence? Then choose *change
# since before*: what did the training on reviews change? Remember for section 3 which
# head's evenness changed most. (The dial at the left can wait.)
#
# <details><summary>What are the numbers, the reference and the dial?</summary>
#
# The number in a cell is the *entropy* of section 2, over words only: [CLS] and [SEP]
# are left out, and what is left of a row is divided by its sum. The *reference* is the
# model before fine-tuning. Appendix F explains the dial and its two bars.
#
# </details>

# %%
text = "A slow start, yet the ending is worth every minute."
meter = al.BalanceMeter(clf, dev.sample(size.sweep_sentences), text, before=pretrained)
meter

# %% [markdown]
# ## 2. How even is a head?
#
# To compare 72 heads we need a number for *even*. Each bar is a row of attention
# weights: a query shares out one unit among four keys.

# %%
drawings.shared_attention()

# %% [markdown]
# The **entropy** of lesson 01 says how even such a row is. If key $j$ gets the weight
# $p_j$, it is
#
# $$
# H = -\sum_j p_j \log p_j .
# $$
#
# It is 0 if one key gets everything, and at most $\log n$, if all $n$ keys get the
# same. For the third bar
#
# $$
# H = -0.7 \log 0.7 - 3 \cdot 0.1 \log 0.1 = 0.94 .
# $$
#
# There are two ways to read that:
#
# - The **normalised entropy** $H / \log n$ is between 0, sharp, and 1, even. Here it is
#   $0.94 / \log 4 = 0.68$.
# - The **effective number of keys** $e^H$ says how many equal keys would be as even
#   (Hill 1973). Here it is $e^{0.94} = 2.6$.

# %% [markdown]
# ### Exercise 1: how evenly does a head look?
#
# **Compute.** *Difficulty 3 of 5, 10 minutes.* A head has a row for each token of each
# text, but we want one number. And padding must not change it: a text must not look
# sharper only because it shares a batch with a longer one.
#
# Return each head's normalised entropy, the mean over the real queries of a text, then
# over texts. Padding counts neither as a key nor as a query. Leave out texts of a
# single token, where a head has no choice.
#
# *First step:* by hand, a text of two real tokens and one of padding. Its rows are (1,
# 0, 0), (0.5, 0.5, 0) and the padded query's. The real rows have the normalised
# entropies 0 and 1, so the head has 0.5. Which number of keys is in the logarithm, 2 or
# 3?
#
# *Predict, too:* which layers look most evenly, the early, the middle or the late ones?
# Your function draws the map.


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
# Now your function measures the real model. For each batch of texts it gets the weights
# of every layer, `(B, H, T, T)`.


# %% folded=true
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

# %% folded=true
# the picture: a cell for each head
title = "How evenly does each head spread its attention?"
label = "normalised entropy\n(0: one key, 1: all alike)"
al.plots.head_map(entropy, title=title, label=label)

# %% [markdown]
# The first and the last layer look most evenly. The layers between put about half of
# their weight on [CLS] and [SEP], mostly on [CLS], the **attention sink** of lessons 02
# and 06. Among the words alone, heads are more even (appendix A). So say over which
# tokens an entropy was taken.
#
# One cell is almost black. Here are its weights for one sentence, a row for each query:

# %% folded=true
# the picture: weights of the sharpest head
sharp = np.unravel_index(entropy.argmin(), entropy.shape)
picture = al.plots.attention_map(clf.attend(text), *sharp)
title = f"L{sharp[0]}H{sharp[1]}, the sharpest head"
picture.figure.axes[0].set_title(title, loc="left")
picture

# %% [markdown]
# The bright line runs one step beside the diagonal. L0H2 looks at the token before: it
# is a **previous-token head**, as in lesson 02. It is as sharp as can be, and has a
# clear job. Does the model need it? Section 4 will tell.
#
# *On paper:* a head always looks at three keys alike. Is its number the same in texts
# of ten and of fifty tokens?
#
# <details><summary>Answer</summary>
#
# No: it is $\log 3 / \log 10 = 0.48$ and $\log 3 / \log 50 = 0.28$, though the head
# does the same. So compare heads on the same texts only, or by the effective number of
# keys, here 3 in both.
#
# </details>

# %% [markdown]
# ## 3. How far did fine-tuning move a head?
#
# A head can stay as even as it was and look somewhere else. Take a row of three keys.
# It was (0.7, 0.3, 0) before fine-tuning and is (0, 0.3, 0.7) after it. Its entropy is
# the same. So we compare the two rows key by key.
#
# The **Jensen-Shannon divergence** (Lin 1991) takes the middle between the two rows,
# and asks how far each row is from it:

# %%
drawings.divergence((0.7, 0.3, 0), (0, 0.3, 0.7))

# %% [markdown]
# Let $p$ be the row before, $q$ the row after, and $m = \tfrac{1}{2} (p + q)$ the
# middle. The divergence is
#
# $$
# \text{JS}(p, q) = \tfrac{1}{2} \sum_j p_j \log_2 \frac{p_j}{m_j}
# + \tfrac{1}{2} \sum_j q_j \log_2 \frac{q_j}{m_j} .
# $$
#
# In the drawing only key 1 adds to the first sum:
#
# $$
# 0.7 \log_2 (0.7 / 0.35) = 0.7 \log_2 2 = 0.70 .
# $$
#
# Key 2 is the same in the middle. Key 3 has $p_j = 0$, and such a key adds nothing. The
# second sum is 0.70, too, so the divergence is 0.70 bits.
#
# The result is 0 bits for two equal rows. It is 1 bit, the most there can be, for two
# rows that share no key.
#
# <details><summary>On paper: why is it never more than 1 bit?</summary>
#
# The middle is at least half of each row: $m_j \ge p_j / 2$. So $p_j / m_j$ is at most
# 2, and its logarithm at most 1. The weights $p_j$ sum to 1, so the first sum is at
# most 1, and so is the second.
#
# </details>
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
# **Predict, then measure.** *Difficulty 2 of 5, 7 minutes.* Real rows hold exact zeros,
# from padding and causal masks. There the formula meets log 0, and one such key makes a
# whole mean NaN. First write down, without computing, the divergence of three pairs:
#
# | pair | before | after |
# | --- | --- | --- |
# | same | 0.5, 0.5, 0 | 0.5, 0.5, 0 |
# | apart | 1, 0, 0 | 0, 0.5, 0.5 |
# | half | 1, 0, 0 | 0.5, 0.5, 0 |
#
# Then return the divergence of each pair of rows, zeros or not. Rows may have any axes
# before them, as `(H, T, T)` does.
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

# %% folded=true
# the three pairs
for name, bits in zip(
    ("same", "apart", "half"), divergence(before, after), strict=True
):
    print(f"{name:>5}: {bits:.2f} bits")

# %% [markdown]
# Is *half* what you predicted? It is less than 0.5: the middle, (0.75, 0.25, 0), is
# close to both rows, as they share key 1.
#
# Next, your function compares every head before and after fine-tuning, as a mean over
# the rows of all texts.


# %% folded=true
def moved(model, data):
    """(N, L, H): for each text, how far attention is from the pretrained model's."""
    found = np.zeros((len(data), clf.layers, clf.heads))
    both = zip(attention_of(pretrained, data), attention_of(model, data), strict=True)
    for (indices, old, mask), (_, new, _) in both:
        rows = divergence(old, new) * mask[:, None]  # (L, B, H, T)
        texts = rows.sum(-1) / mask.sum(-1)[:, None]  # (L, B, H)
        found[indices] = texts.transpose(0, 1).numpy()
    return found


# %%
on_dev = moved(clf, dev)
far = on_dev.mean(0)

# %% folded=true
# the picture: a cell for each head
label = "Jensen-Shannon divergence, bits"
al.plots.head_map(far, title="How far did fine-tuning move each head?", label=label)

# %% [markdown]
# Bright cells moved far. Attention moved more in the late layers, and hardly in the
# first. L3H9 stands out.
#
# In section 1 another head was ahead: L3H11 changed its *evenness* most, and has only
# 0.07 here. L5H4, the second here, stayed nearly as even and looks elsewhere. That is
# what entropy cannot see. (The evenness there is over words only, the divergence over
# all tokens.)
#
# <details><summary>Why the late layers?</summary>
#
# The weights did *not* change more in late layers (lesson 05). But a changed input
# moves attention, too, and a late layer's input went through all changes below it. That
# may be why; we did not test it.
#
# </details>
#
# What changed in L3H9? Here are its weights for one sentence:


# %% folded=true
def name_of(head):
    return f"L{head[0]}H{head[1]}"


order = [np.unravel_index(i, far.shape) for i in far.argsort(axis=None)[::-1]]
farthest, second = order[:2]
maps = dataclasses.replace(clf.attend(text), neutral=pretrained.attend(text))
names = ("before fine-tuning", "after", "after minus before")
picture = al.plots.before_after(maps, *farthest, names)
picture.figure.set_size_inches(11, 3.9)
picture

# %% [markdown]
# Before, most words look at [CLS]. After, most look at *worth*, the word of praise: the
# red column on the right. One sentence only illustrates. (On fresh sentences L3H9 leads
# again, in another training another head does: appendix A.)

# %% [markdown]
# ## 4. Which heads does the model need?
#
# Every head now has two numbers: how even it is, and how far it moved. Does either tell
# which heads the model needs?
#
# As in lesson 06, we silence a head (zero ablation) and watch the **margin**, the right
# label's logit minus the other's. Logits of 1.9 and −0.6 make a margin of 2.5. If it is
# 2.1 without the head, it has changed by −0.4: the model needs the head. The next cell
# measures the mean change for each of the 72 heads.

# %%
few = dev.sample(min(300, size.sweep_sentences))
ablated = al.ablate(al.Evaluator(clf, few, fast=True), "head", "zero")
effect = ablated.pivot(index="layer", columns="head", values="margin_delta").to_numpy()

# %% [markdown]
# *Predict first:* are the needed heads among the even ones? Among those that moved far?
#
# A **rank correlation** tells how clear such a trend is. It compares ranks, with 1 for
# the lowest number. It is −1 if one rank falls whenever the other rises, and near 0 if
# there is no trend. We rank each head *within its layer*, from 1 to 12. The picture
# draws these ranks, and the slope of the grey line is the rank correlation.


# %% folded=true
def spearman(one, other, within_layers=False):
    """Rank correlation of two maps (L, H), its 95 % interval (Bonett, Wright 2000)."""
    axis = 1 if within_layers else None
    ranks = [stats.rankdata(values, axis=axis).ravel() for values in (one, other)]
    trend, lost = np.corrcoef(*ranks)[0, 1], len(one) - 1 if within_layers else 0
    error = math.sqrt((1 + trend**2 / 2) / (one.size - lost - 3))
    return trend, *np.tanh(np.arctanh(trend) + error * np.array([-1.96, 1.96]))


# %% folded=true
# the picture: both numbers against the need
both = {"normalised entropy": entropy, "divergence from before": far}
titles = {}
for name, values in both.items():
    trend, low, high = spearman(values, effect, within_layers=True)
    titles[name] = f"rank correlation within layers {trend:+.2f}\n"
    titles[name] += f"95 % interval {low:+.2f} to {high:+.2f}"
most = np.unravel_index(effect.argmin(), effect.shape)
print(f"needed most of all heads: {name_of(most)}, change {effect.min():+.2f}")
label = "rank of the change of margin without the head\n(1: needed most in its layer)"
al.plots.layer_scatter(both, effect, label, titles, marked=[farthest, sharp])

# %% [markdown]
# **What we found: heads that moved farther tend to be needed more.** The right line
# falls, and the interval of its slope, −0.52 to −0.08, does not hold 0. The left line
# is nearly flat: evenness shows no clear trend. L0H2, the sharpest head, is the most
# needed of its layer. **So sharp is no fault.** It moved least of its layer, too: a
# trend has exceptions.
#
# In the lower right corner stands L3H9. Of its layer it moved farthest, and is needed
# most. No head of the whole model is needed more. Appendix A takes it apart. (*Needed*
# means here: for a large margin, with this head alone at zero. Another head may stand
# in for it, and a trend is no cause. Lesson 06, appendix A, asks how much of a margin
# is mere confidence.)
#
# <details><summary>Why within layers? And how is the interval taken?</summary>
#
# Late layers moved most, and are also nearest to the answer. That alone would make a
# trend. Ranks within a layer leave out what differs *between* layers, and with it one
# degree of freedom for each layer but the first. Heads of one model are not independent
# draws: the intervals are rough.
#
# </details>
#
# *On paper:* take two layers of three heads. What is the rank correlation between both
# columns within layers, and what over all six heads?
#
# | layer | divergences | changes of margin |
# | --- | --- | --- |
# | early | 0.01, 0.02, 0.03 | −0.03, −0.02, −0.01 |
# | late | 0.11, 0.12, 0.13 | −0.13, −0.12, −0.11 |
#
# <details><summary>Answer</summary>
#
# Within layers it is +1: a head that moved farther is needed *less*. Over all six it is
# −0.54, only because the late layer moved more and is needed more. `stats.spearmanr`
# agrees.
#
# </details>

# %% [markdown]
# ## 5. Which heads are out of line?
#
# L3H9 caught our eye because it comes first. But some head always does. When is one
# *unusual*?
#
# A common rule flags what is more than three standard deviations from the mean. But a
# strange value moves the mean and stretches the standard deviation. Among ten values
# the rule can never fire, among twelve hardly.
#
# The **median**, the middle value, hardly moves. Nor does the **MAD** (median absolute
# deviation), the median of all distances from the median. Take 1, 2, 3, 4 and 90:
#
# - The median is 3.
# - The distances from it are 2, 1, 0, 1 and 87.
# - The MAD, their median, is 1. The 90 has not stretched it.
#
# Here are both rules, on ten heads of which one is strange:

# %%
drawings.two_rulers(np.append(np.linspace(0.07, 0.13, 9), 0.6))

# %% [markdown]
# The upper band holds all ten heads, the lower leaves the strange one outside. The unit
# of the lower rule is 1.4826 MAD, one standard deviation if values are normally
# distributed. The rule flags what is more than 3.5 units from the median (Iglewicz and
# Hoaglin 1993).
#
# <details><summary>Why can the first rule never fire? And if the MAD is 0?</summary>
#
# Among $n$ values none can be more than $\sqrt{n - 1}$ standard deviations $s$ from the
# mean. For ten values that is 3. Let one be $d$ away. The others are $-d$ away in all,
# so their squares sum to at least $d^2 / (n - 1)$. Hence $n s^2 \ge d^2 n / (n - 1)$,
# that is $d \le s \sqrt{n - 1}$. The MAD is 0 if more than half of the values are
# equal. Then the unit is 1.2533 times the mean distance from the median, which is also
# one standard deviation of normally distributed values.
#
# </details>

# %% [markdown]
# ### Exercise 3: which heads are out of line?
#
# **Find the faults.** *Difficulty 2 of 5, 8 minutes.* A rule like this runs without an
# error even when it is wrong, and flags too little or too much. A colleague wrote:
#
# ```
# distance = values - np.median(values)
# unit = 1.4826 * np.median(distance)
# return ~(distance <= threshold * unit)
# ```
#
# Four things are wrong. Find them, and write the rule right. `values` holds a number
# for each head, and NaN for a removed one. Also try values of which more than half are
# equal. The unit is then 1.2533 times the mean distance (see the fold above).
#
# *First step:* go through the three lines by hand for 1, 2, 3, 4 and 90. What is
# `unit`, and what should it be?


# %% exercise="robust_outliers" points=2
def robust_outliers(values, threshold=3.5):
    """(N,), bool: which values are more than threshold x 1.4826 MAD from the median.

    values (N,), an array of float, NaN for a removed head
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
# First the head we follow. Did L3H9 move unusually far? Your rule and the common one
# judge the divergences of section 3, once among all 72 heads and once within layers, as
# in section 4:


# %%
def by_mean(values):
    return np.abs(values - values.mean()) > 3 * values.std()


for title, rule in {"your rule": flag, "mean ± 3 sd": by_mean}.items():
    of_all = rule(far.ravel()).reshape(far.shape)
    within = np.array([rule(layer) for layer in far])
    for among, flags in {"among all": of_all, "within layers": within}.items():
        found = [name_of(head) for head in np.argwhere(flags)]
        print(f"{title}, {among}: {', '.join(found) or 'none'}")

# %% folded=true
# how far the heads are that your rule flags
for layer, head in np.argwhere([flag(row) for row in far]):
    away = [
        (far[layer, head] - np.median(others))
        / stats.median_abs_deviation(others, axis=None, scale="normal")
        for others in (far, far[layer])
    ]
    print(f"{name_of((layer, head))} moved by {far[layer, head]:.2f} bits:", end=" ")
    print(f"{away[0]:+.1f} units among all, {away[1]:+.1f} in its layer")

# %% [markdown]
# **Say unusual *among what*.** Among all 72 heads, only L3H9 is flagged, and it is a
# borderline case: 3.7 units from the median, where the limit is 3.5. (The other two
# rules of appendix B let it pass.) In its layer it is 4.3 units away, and a second head
# appears. L0H9 moved by 0.02 bits only, but its layer hardly moved at all.
#
# The common rule agrees among 72 values, where one head stretches the deviation little.
# In a layer of twelve it finds neither.
#
# Next, your rule judges another measure: the share of its weight that a head gives to
# the token before the query. The red dots are what it flags. *Predict first:* how many
# of the 72?

# %%
tuned = balance.measure(clf, dev.texts, against=pretrained)
previous = tuned.map("previous", "all").ravel()

# %% folded=true
# the picture: all heads, and the band of the rule
reach = 3.5 * 1.4826 * stats.median_abs_deviation(previous)
middle = np.median(previous)
by_mad = (previous, middle - reach, middle + reach)
strange = np.argwhere(by_mean(previous.reshape(far.shape)))
print("mean ± 3 sd flags:", ", ".join(map(name_of, strange)) or "none")
al.plots.rug({"weight on the token before": by_mad}, flagged=flag(previous))

# %% [markdown]
# **What we found:** 15 of 72 heads are flagged, a fifth of all. So many are no
# oddities. Most heads give little to the token before, so the MAD is small. The others
# make a long tail, and the rule takes all of it for strange. Here mean ± 3 sd does
# better: it flags only L0H2. The median rule is for few values, or for several strange
# ones. (Appendix B tries two remedies, and 4 flags are left. Appendix E asks whether
# the tail is a kind of head.)
#
# The dot on the far right is L0H2, the previous-token head. It is unusual, and nothing
# is wrong with it. A flag says *look*, not *wrong*.
#
# *On paper:* when does the rule break down? Suppose that not one but $k$ of the ten
# heads in the drawing have 0.6. Up to which $k$ are they flagged?
#
# <details><summary>Answer</summary>
#
# Up to 4; ask your rule. With five the median lies between the two groups, all
# distances are large, and nobody is flagged. With eight it flags the two *others*. A
# rule by the median goes with the majority.
#
# </details>

# %% [markdown]
# ## 6. When does a training run go wrong?
#
# While a model learns, every head moves. When is a move too large? Take a head whose
# entropy was 0.39, 0.40, 0.41 and so on, up to 0.46.
#
# - Its usual change is 0.01. So we expect 0.46 + 0.01 = 0.47.
# - Such guesses were right so far, so we allow only $w = 0.02$ on either side, the
#   least there is. The **band** is 0.45 to 0.49.
# - The next value is 0.60. The head leaves its band.
#
# The worse the guesses were so far, the larger the half width $w$:

# %%
drawings.two_bands()

# %% [markdown]
# The same 0.60 is an alarm for the calm head, and none for the restless one, whose $w$
# is $15 \cdot 1.4826 \cdot 0.01 = 0.22$. Exercise 4 explains the factors. Your function
# will give 8 for the values of the calm head, and None for those of the other.
#
# *On paper:* an entropy falls by 0.02 from each measurement to the next, from 0.80 to
# 0.04. When does this head leave its band?
#
# <details><summary>Answer</summary>
#
# Never. The usual change is −0.02, so each guess is right. A monitor that only compares
# with the last values misses what comes slowly. The monitor of appendix C also compares
# with the first values, but only in a few measures. It would report this head only if
# nearly all its weight came to rest on [CLS] or [SEP].
#
# </details>
#
# ### Exercise 4: when does a head leave its band?
#
# **Write the monitor.** *Difficulty 3 of 5, 10 minutes.* Go through the values of one
# head in their order, and return the index of the first one outside its band, or None.
# The band of a value is known before it comes:
#
# - Its middle is the last value plus the median of the last three changes.
# - How far an earlier value was from its middle is a *distance*. Half the width is `z`
#   times 1.4826 times the median of the distances so far, but at least `least`.
#
# Judge a value only once four distances are known. (The large `z` is a choice: 72 heads
# are judged dozens of times each, and none should give a false alarm. It has a price,
# as you will see.)
#
# *First step:* by hand, the values 0.1, 0.2, 0.2, 0.3 and 0.5. Where is the middle of
# the band of the 0.5, and what is its distance?


# %% exercise="leaves_band" points=3
def leaves_band(values, z=15.0, least=0.02):
    """Index of the first value outside its band; None if there is none.

    values (T,), an array: one measure of one head, measurement by measurement
    """
    ### BEGIN SOLUTION
    distances = []
    for t in range(4, len(values)):
        middle = values[t - 1] + np.median(np.diff(values[t - 4 : t]))
        distance = abs(values[t] - middle)
        if len(distances) >= 4:
            half_width = max(z * 1.4826 * np.median(distances), least)
            if distance > half_width:
                return t
        distances.append(distance)
    return None
    ### END SOLUTION


# %% check="leaves_band"
al.checks.leaves_band(leaves_band)

# %% [markdown] hints="leaves_band"
# The changes are 0.1, 0 and 0.1, their median is 0.1, so the middle is 0.4 and the
# distance 0.1. `np.diff(values[t - 4 : t])` gives the three changes that are known
# before `values[t]` comes. So the first value with a middle is `values[4]`.
#
# ---
# Keep a list of distances, and one loop over `t`: the middle; the distance; if the list
# has four or more, the comparison; and only then `append`, or the new distance would
# widen the band that judges it.
#
# ---
# `max(a, b)` is the larger of two numbers. Return inside the loop for the first value
# that is too far out, and None after the loop.

# %%
watch = al.checks.yours_or_ours("leaves_band", leaves_band)

# %% [markdown]
# Now two trainings, a good one and a *reckless* one. The learning rate of the reckless
# run climbs, over nine tenths of the steps, to twenty times what is good. A recorder
# notes the entropy of every head at every second step, and a second one the scores.
#
# *Predict first:* will heads of the reckless run look more sharply, or more evenly?

# %% folded=true
# few sentences to learn from, and 16 to watch the heads on
little = al.datasets.Splits(
    splits.train.sample(size.quick_sentences),
    splits.dev.sample(size.sweep_sentences),
    splits.test.sample(size.sweep_sentences),
)
probe = [one for one in splits.dev.texts if len(one.split()) < 20][:16]

# %%
healthy, warned = (balance.Recorder(probe, every=2) for _ in "ab")
calm, wild = (balance.ScoreRecorder(probe, every=2) for _ in "ab")
run = {"epochs": 2, "batch_size": 8}
reckless = {"learning_rate": 2e-3, "warmup": 0.9, **run}
good = al.finetune("minilm", little, "full", callbacks=[healthy, calm], **run)
bad = al.finetune("minilm", little, "full", callbacks=[warned, wild], **reckless)

# %% [markdown]
# Your function watches the entropy of all heads. It can speak from step 16 on, the
# ninth measurement. The last line says when the loss of the reckless run is first
# higher by 0.1. (Single losses jump, so both are means of nine steps.)


# %%
def first_out(table):
    """For each head the step at which its entropy leaves its band; NaN for never."""
    rows = table[table["measure"] == "entropy"]
    lines = rows.pivot(index="step", columns=["layer", "head"], values="value")
    found = [watch(lines[head].to_numpy()) for head in lines]
    return np.array([math.nan if t is None else lines.index[t] for t in found])


runs = {
    "good run": (good.history, healthy.table),
    "reckless run": (bad.history, warned.table),
}
out = {name: first_out(table) for name, (_, table) in runs.items()}

# %% folded=true
# how many heads left their bands, and when the first did
alarms = {}
for name, steps in out.items():
    left = steps[np.isfinite(steps)]
    alarms[name] = min(left, default=math.nan)
    told = f", the first at step {alarms[name]:.0f}" if len(left) else ""
    print(f"{name}: {len(left)} of {len(steps)} heads left their bands{told}")
apart = bad.history.first_above(good.history, by=0.1, window=9)
print(f"reckless loss first higher by 0.1: step {apart:.0f}")

# %% [markdown]
# The picture: losses above, and below the entropy of every head.

# %%
al.plots.loss_and_heads(runs, alarms, guessing=math.log(2))

# %% [markdown]
# **What we found: both.** Some heads of the reckless run fall onto one token for a
# while (orange), others spread over everything (blue). In the end those that fell have
# spread, too. In the good run no head does either. The loss says *that* the run is
# lost: it stays near $\ln 2 = 0.69$, what a coin toss costs. The heads say *how*.
#
# **To give no false alarm has a price.** Your monitor names 7 heads of the reckless
# run, the picture, which knows the end, colours 45. With `z=15`, guesses that are
# usually off by 0.045 make $w = 1$, as much as there is between sharp and even: such a
# head can hardly ever leave its band. And one that speeds up step by step widens it.
#
# A head leaves its band at step 16, and the loss is clearly higher some ten steps
# later. That does not settle which was first: the monitor cannot speak before step 16,
# and a mean of nine losses is late.
#
# <details><summary>How sure is that?</summary>
#
# Neither alarm is sure. Which is first depends on the smoothing and the limits you
# choose. Single losses and the gradient jump at step 14 already (next picture), before
# a head can be judged. And after the alarm the losses of both runs are alike again, for
# a while. Where one head of a good run leaves its band, that is a false alarm, and one
# run gives no rate of them. Watch both runs with `z=5`, too.
#
# </details>
#
# ### What makes a head collapse?
#
# A weight is the softmax of scores $q^\top k / \sqrt{d}$. A softmax sees differences
# only. So how sharp a row is depends mostly on the **lead** of its largest score over
# the mean of the row. Take ten keys, one with the score 4, the others 0. The lead is
# $4 - 0.4 = 3.6$, and the largest weight $e^4 / (e^4 + 9) = 0.86$. With 8 instead of 4
# the lead is 7.2 and the weight 0.997. A lead can grow in two ways: the matrices $W_Q$
# and $W_K$ change, or the token vectors that enter them do.
#
# Are the vectors enough? The last panel has the vectors of each step, but $W_Q$ and
# $W_K$ of the start. *Predict first:* will it look like the panel above it?

# %%
noted = {
    "good run": (good.history, calm.table),
    "reckless run": (bad.history, wild.table),
}
al.plots.scores_and_gradients(noted, alarms)

# %% [markdown]
# **What we found: the vectors are enough.** The two lower panels look much alike: with
# the vectors of each step, the matrices of the start give much the same leads. (Would
# new matrices with the old vectors be enough, too? We did not test that half.)
#
# In the good run (grey) the leads move little. In the reckless run some rise for a
# while (orange), that of layer 4 to 7, enough for a very sharp row. In the end four
# leads fall to about 1 or below: such rows are far more even. The gradient jumps only
# for a short time. After that it is mostly *shorter* than in the good run: the lost run
# does not explode, it stops learning.
#
# <details><summary>What can one run show, and what not?</summary>
#
# It shows that leads can rise so far without new matrices. (A training with fixed
# matrices might have made other vectors, though.) The first lead leaves that of the
# good run near step 10, just before single losses and the gradient jump. A line is the
# mean of twelve heads, and not every head follows it.
#
# It does not show what changed the vectors. In the end the leads of some layers are
# near 0 even with the matrices of the start: there a query can hardly tell its keys
# apart. Token vectors that become alike would do that (*rank collapse*, Dong et al.
# 2021); we did not measure it. And what comes first need not be the cause: for that,
# change it and train again, as in open problem 4. A short training of a small,
# pretrained model also says little about a long one of a large model from scratch.
#
# </details>
#
# <details><summary>What do the papers find, and what helps?</summary>
#
# Zhai et al. 2023 find low entropy where training is unstable, and prove a tight lower
# bound of the entropy that falls exponentially with the spectral norm of the scores.
# Wortsman et al. 2023 make scores grow in small models, too, by a high learning rate.
# Besides a lower rate or a longer warm-up, two cures hold the scores: a norm on queries
# and keys (QK norm: Henry et al. 2020 by their length, Dehghani et al. 2023 by
# LayerNorm), or the weights of all linear layers divided by their spectral norm, times
# a learned factor (Zhai et al.). The second also holds the layers that make the
# vectors. Would it have helped here?
#
# </details>

# %% [markdown]
# **So is even good?** The lost run ends *more* even than it began: most lines end
# higher. And its accuracy?

# %% folded=true
# accuracies, and that of one answer for all texts
same = max(np.bincount(little.dev.labels)) / len(little.dev)
for name, (history, _) in runs.items():
    print(f"{name}: best dev accuracy {history.best['dev_accuracy']:.0%}")
print(f"one answer for all texts: {same:.0%}")

# %% [markdown]
# The reckless run is about as good as one answer for all texts. **A high balance is no
# goal.**

# %% [markdown]
# ## 7. Repair without fooling yourself
#
# Even is no goal. So we do not judge a repair by how even the heads are after it. We
# judge it by the accuracy that comes back.
#
# Can damaged heads be repaired? (The lost run of section 6 is better trained anew.)
# Lesson 06 gave each head two knobs: a *scale* for what it adds, and a *temperature*
# for how evenly it looks. `balance.adjust` turns them along the gradient of the loss,
# and leaves the weights alone.
#
# We try several repairs and keep the best. But how good is the best? An accuracy $a$
# measured on $n$ sentences is typically off by
#
# $$
# \sqrt{a (1 - a) / n} , \quad \text{for example} \quad
# \sqrt{0.8 \cdot 0.2 / 64} = 0.05 .
# $$
#
# Suppose that three repairs truly have 0.80. On 64 sentences they may show 0.77, 0.80
# and 0.84. The best *seems* to have 0.84, and four points of that are luck. Fitting 144
# knobs, two per head, on these very sentences makes it worse. So we cut the development
# sentences in two:

# %%
drawings.guard()

# %% [markdown]
# - On **tune** the candidates are fitted and compete. The best is partly the luckiest.
# - So **guard** is asked one question: is the winner better than the start? If not,
#   nothing changes.
# - **Test** is for the report.
#
# <details><summary>What the guard does not take away</summary>
#
# If you ask until the guard agrees, you have chosen by the guard. And a winner that is
# no better in truth still has the higher accuracy nearly every second time: the guard
# takes away the *bias* of choosing, not the noise. Against noise, ask for an interval
# of the difference above 0, as in the picture below.
#
# </details>

# %% [markdown]
# ### Exercise 5: a choice with a guard
#
# **Write the rule.** *Difficulty 2 of 5, 7 minutes.* If you choose and report on the
# same sentences, you report luck, too. Write a choice that does not. `score(settings,
# part)` gives an accuracy on `"tune"`, `"guard"` or `"test"`. Ask tune as often as you
# like, guard for two settings only, and test once. Return what is kept, a candidate or
# `start`, and its accuracy on test.
#
# Of equal candidates take the first. If the winner is not better than `start` on guard,
# keep `start`.
#
# *First step:* by hand. Which settings are kept here, and which figure is reported?
#
# | settings | tune | guard | test |
# | --- | --- | --- | --- |
# | start | 0.78 | 0.80 | 0.79 |
# | A | 0.86 | 0.77 | 0.78 |
# | B | 0.82 | 0.83 | 0.84 |


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
# The start is kept, and 0.79 reported. A wins on tune, and guard says no. B would do
# better on guard, but who looks for that has chosen by guard. So there are three steps,
# each with a part of its own: a winner among the candidates, on tune; the winner
# against `start`, on guard; one figure for what is kept, on test.
#
# ---
# `max(candidates, key=...)` gives the first of equals. Two figures can be compared only
# if they come from the same sentences, so ask guard for the start, too.

# %%
choose = al.checks.yours_or_ours("guarded_choice", guarded_choice)

# %% [markdown]
# Now your function chooses a real repair. Every scale of the model is multiplied by a
# random factor, a mild damage. Two candidates are fitted on only 64 sentences:
#
# - *free*, with many passes and hardly any restraint;
# - *restrained*, with few passes and a penalty that keeps each knob near its start.
#
# *Predict first:* does the better one on tune also win on guard?


# %% folded=true
def spun(sigma, seed):
    """Settings with every scale multiplied by a random, log-normal factor."""
    settings, noise = clf.settings(), torch.Generator().manual_seed(seed)
    settings.scale *= torch.exp(
        sigma * torch.randn(clf.layers, clf.heads, generator=noise)
    )
    return settings


# %% folded=true
# the three parts, and both candidates, fitted on tune
shuffled = np.random.default_rng(0).permutation(len(splits.dev))
few = min(64, size.sweep_sentences)
parts = {
    "tune": splits.dev.select(shuffled[:few]),
    "guard": splits.dev.select(shuffled[few:]).sample(size.sweep_sentences),
    "test": test,
}
judges = {name: al.Evaluator(clf, part, fast=True) for name, part in parts.items()}
free = {"epochs": 4 * size.passes, "scale_spread": 10, "temperature_spread": 10}
start = spun(0.7, seed=0)
candidates = {"the start": start}
for name, options in {"free": free, "restrained": {"epochs": size.passes}}.items():
    fitted = balance.adjust(clf, parts["tune"], start=start, **options)
    candidates[name] = fitted.settings


# %%
def accuracy_of(name, part):
    return judges[part].score(candidates[name]).accuracy


kept, accuracy = choose("the start", ["free", "restrained"], accuracy_of)

# %% [markdown]
# Your function has chosen. The picture shows what each candidate gained over the start.

# %% folded=true
# the picture: what each candidate gained, on tune and on guard
gains = {}
for name in ("free", "restrained"):
    for part in ("tune", "guard"):
        judge = judges[part]
        old, new = (judge.score(candidates[one]) for one in ("the start", name))
        gains[f"{name}, {part}"] = judge.compare(old, new)
title = f"Gain over the start. Your function keeps: {kept}, {accuracy:.1%} on test"
al.plots.forest(gains, ["accuracy"], title=title)

# %% [markdown]
# **What we found: no.** *Free* wins 14 points on its own 64 sentences and loses 4 on
# the guard's. What it learned holds for those 64 only. So the guard says no, and the
# start is kept.
#
# <details><summary>How sure is that?</summary>
#
# Both intervals of *free* leave 0 outside, but the one on tune is no evidence: *free*
# was fitted on those very sentences. *Restrained* changes nothing clearly, on tune or
# on guard. (We look at guard for both only to show you; `choose` may not.) Here little
# can be won, as the damage costs about 2 points, and 64 sentences teach little.
#
# </details>

# %% [markdown]
# ## 8. How much does a repair bring back?
#
# The guard says whether a repair helps, but not how much. Suppose you have pruned 60 %
# of the heads to save time. You drew them at random and not, as in lesson 06, in a good
# order. What brings the accuracy back? First, what is lost:

# %% folded=true
# 60 % of the heads are silent, drawn at random
thinned = clf.settings()
gone = np.random.default_rng(2).permutation(clf.layers * clf.heads)
gone = torch.as_tensor(gone[: round(0.6 * len(gone))])
thinned.scale.view(-1)[gone] = 0
final = al.Evaluator(clf, test)
whole, hurt = final.score(), final.score(thinned)
print(f"accuracy on test: whole {whole.accuracy:.1%}, thinned {hurt.accuracy:.1%}")

# %% [markdown]
# The accuracy after a repair also depends on how bad the damage was. So we ask what
# *share* of the damage came back:
#
# $$
# \text{share} = \frac{a_\text{repaired} - a_\text{damaged}}
# {a_\text{whole} - a_\text{damaged}} , \quad \text{for example} \quad
# \frac{0.79 - 0.55}{0.85 - 0.55} = \frac{0.24}{0.30} = 0.80 .
# $$

# %%
drawings.share_of_damage(whole=0.85, hurt=0.55, repaired=0.79)

# %% [markdown]
# With other test sentences both differences would change. The **bootstrap** of lesson
# 06 imitates that: it draws our sentences again and again, with replacement. In each
# draw we compute the whole ratio.

# %% [markdown]
# ### Exercise 6: the share that came back
#
# **Compute, with its uncertainty.** *Difficulty 3 of 5, 8 minutes.* Without an interval
# nobody knows what a share is worth. Return the share on all texts, and as ends of the
# interval the 2.5 % and 97.5 % quantiles (`np.quantile`) of the shares in the draws.
# Each draw serves all three models. Leave out those in which the damage cost nothing
# (or less).
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
# Now four repairs compete for the thinned model. Three turn knobs, and the last changes
# weights:
#
# | repair | what it does | what it needs |
# | --- | --- | --- |
# | **random knobs** | keeps the best of some tries | labels |
# | **least squares** | brings each layer near its old output | the whole model |
# | **gradient** | turns all knobs downhill | labels |
# | **retraining** | changes 11 million weights | labels |
#
# <details><summary>The repairs in detail</summary>
#
# - Random knobs are what any method has to beat.
# - Least squares (Kwon et al. 2022) finds the scales at which what is left of a layer
#   comes nearest to what the whole layer gave. It needs no labels.
# - Gradient starts from the best of a few: the damage, and a version in which all heads
#   of a layer add alike, each at four strengths. A penalty holds it near its start.
# - A head that is gone stays gone, whatever the repair. So less than half of the knobs
#   can be turned here.
# - Retraining trains all weights but the word embeddings, and keeps the damage in
#   place. It sees the same sentences several times, and chooses its best pass by them,
#   too; only test is fresh. Appendix D gives it four times as many, each seen once.
#
# </details>
#
# All get the same sentences. *Predict first:* which brings back most?

# %% folded=true
# three ways of turning knobs
tune = dev.sample(size.sweep_sentences)
KNOBS = {
    "random knobs": ("random", {"trials": size.trials}),
    "least squares": ("least-squares", {}),
    "gradient": ("gradient", {"epochs": size.passes}),
}


def by_knobs(start, ways=KNOBS):
    """What each way of turning knobs found on the tune sentences, and its seconds."""
    adjust = balance.adjust
    return {name: adjust(clf, tune, way, start, **o) for name, (way, o) in ways.items()}


# %% folded=true
SEEN = 2 * size.training_sentences  # texts that a retraining sees, repetitions included


def retrained(start, texts):
    """The model, trained further on these texts with the damage in place."""
    passes = max(1, round(SEEN / len(texts)))
    return balance.retrain(clf, texts, tune, start, texts=None, epochs=passes)


# %%
repairs = by_knobs(thinned)
clock = time.perf_counter()
model = retrained(thinned, tune)
seconds = {name: one.seconds for name, one in repairs.items()}
seconds["retraining"] = time.perf_counter() - clock

# %% [markdown]
# Now the test sentences judge, which chose nothing. Your function gives each repair its
# share. The picture also has the price, in labels and seconds.


# %%
draws = np.random.default_rng(0).integers(0, len(test), (1000, len(test)))


# %% folded=true
def shares_back(scores, hurt):
    """For each repair (share, low, high) on test; hurt is the damaged model's score."""
    if final.compare(whole, hurt).ci[1] >= 0:  # no clear damage, so no shares
        return dict.fromkeys(scores, (math.nan,) * 3)
    return {
        name: share_of(whole.correct, hurt.correct, score.correct, draws)
        for name, score in scores.items()
    }


# %%
answers = {name: final.score(one.settings) for name, one in repairs.items()}
answers["retraining"] = al.Evaluator(model, test).score(thinned)
shares = shares_back(answers, hurt)

# %% folded=true
# the picture: each share, with labels and seconds
priced = {}
for name, share in shares.items():
    labels = 0 if name == "least squares" else len(tune)
    priced[f"{name}\n{labels} labels, {seconds[name]:.0f} s"] = share
label = "share of the damage that came back, with its 95 % interval"
al.plots.intervals(priced, label, {0: "0\nthinned", 0.5: "0.5", 1: "1\nwhole"})

# %% [markdown]
# Do gradient and retraining differ? Two overlapping intervals do not answer that. The
# interval of the *difference* does:

# %%
change = final.compare(answers["gradient"], answers["retraining"])

# %% folded=true
# the difference, in points
low, high = (100 * end for end in change.ci)
print(f"retraining minus gradient: {100 * change.delta:+.1f} points of accuracy")
print(f"95 % interval: {low:+.1f} to {high:+.1f}")

# %% [markdown]
# **What we found: retraining brings back most, 0.83 of the damage.** From the same 500
# labels the gradient brings back 0.62, and is clearly behind. So where heads are gone,
# try retraining first if you have labels and may change weights. Least squares needs no
# labels, and brings back 0.27. (With the whole model at hand one can also retrain on
# its answers, lesson 09; we did not try that here.) After another damage the order can
# turn round (appendix D).
#
# <details><summary>How sure is that?</summary>
#
# The gradient is 5.1 points of accuracy ahead of least squares (interval 2.4 to 7.8).
# Least squares needs no labels, but is not clearly ahead of random knobs (appendix D).
#
# The seconds depend on the machine and on what else it does, so read only large ratios
# from them. The damage was drawn once here, and another draw may give much less. In
# another test, with three draws and four to five times as many labels, retraining
# brought back 0.69 to 0.85, on average 0.78, and the gradient 0.48 to 0.78, on average
# 0.63 ([data/results.json](../data/results.json)). And the repair with the highest
# figure is partly the luckiest (section 7).
#
# </details>

# %% [markdown]
# ## What you know now
#
# - Normalised entropy says how evenly a head looks. Even is neither good nor bad.
# - Divergence from before shows whose *looking* changed. In this classifier the heads
#   that moved farther tend to be needed more.
# - Median and MAD find one strange value among ten. They flag too many where values are
#   skewed. What is unusual depends on the heads one compares with.
# - In one broken run the heads say what happened: their scores moved, and for that the
#   change of the token vectors is enough. A monitor that gives no false alarm may miss
#   many heads. Whether heads or loss gave the alarm first, that run cannot say.
# - A repair is judged by the accuracy that comes back, not by how even the heads are.
#   It has a share, an interval and a price.
# - Fit on one part, ask another once, report on a third.
#
# ## Four open problems
#
# 1. **How lucky is the luckiest?** Draw accuracies on 64 sentences for candidates that
#    all have 0.80 in truth, the start, too, and let your `guarded_choice` choose. How
#    high does the winner seem on tune? You are right if it is 0.84 for three candidates
#    and 0.87 for ten, on average, while the reported figure stays 0.80.
# 2. **Are moved heads needed in another training, too?** Repeat section 4 with `moved`
#    and `spearman` for `good`, the model of section 6. You are right if your code gives
#    about −0.3 for `clf`, and you report the interval for `good`, whatever it holds.
# 3. **Can heads give the alarm before the loss does?** Start from your `leaves_band`,
#    and fix its limits and the loss's before you look. You are right if you report in
#    how many of ten new broken runs the heads are first, and in how many of ten good
#    ones there is a false alarm, whatever comes out.
# 4. **Do growing leads cause the collapse?** Train anew with capped scores $s$:
#    $c \tanh(s / c)$, with a $c$ that costs the good run nothing. First make sure that
#    the softmax of your scores gives the recorded entropy to 0.001. You are right if
#    you can say, over five seeds each, how many heads still fall under 0.05.
#
# Next: [08 Attention economics](08_attention_economics.ipynb), what attention costs in
# time and memory.
#
# <details><summary>Read on</summary>
#
# Clark et al. 2019, *What does BERT look at?* Kobayashi et al. 2020, *Attention is not
# only a weight.* Zhai et al. 2023, *Stabilizing Transformer training by preventing
# attention entropy collapse.* Wortsman et al. 2023, *Small-scale proxies for
# large-scale Transformer training instabilities.* Henry et al. 2020, *Query-key
# normalization for Transformers.* Dehghani et al. 2023, *Scaling vision Transformers to
# 22 billion parameters.* Kwon et al. 2022, *A fast post-training pruning framework for
# Transformers.*
#
# </details>

# %% [markdown]
# ## Appendix A: more about evenness, and L3H9
#
# **How much does the attention sink change an evenness?** The table has the mean over
# the heads of each layer, over all tokens and over the words alone.

# %% folded=true
# a table: evenness with and without special tokens
sinks = tuned.map("cls", "all") + tuned.map("sep", "all")
layers = pd.DataFrame(
    {
        "entropy, all tokens": tuned.map("entropy", "all").mean(1),
        "entropy, words only": tuned.map("entropy", "text").mean(1),
        "weight on [CLS] and [SEP]": sinks.mean(1),
    }
)
al.plots.table(layers.rename_axis("layer"), **dict.fromkeys(layers, 2))

# %% folded=true
# the mean rise, with its interval
rise = tuned.map("entropy", "text") - tuned.map("entropy", "all")  # (L, H)
low, high = al.statistics.paired_bootstrap(rise.ravel())
print("normalised entropy, words only minus all tokens, mean over heads:", end=" ")
print(f"{rise.mean():+.2f}, 95 % interval {low:+.2f} to {high:+.2f}")

# %% [markdown]
# Among the words alone the heads are more even. The difference is smallest in the first
# and the last layer, where the special tokens get least.
#
# **Is the lead of L3H9 more than luck?** We picked it *because* it is ahead on our
# sentences. So we measure its lead over the second head on fresh ones, too:

# %% folded=true
for part, each in (("dev", on_dev), ("test", moved(clf, test))):
    lead = each[:, *farthest] - each[:, *second]
    low, high = al.statistics.paired_bootstrap(lead)
    print(f"{name_of(farthest)} ahead of {name_of(second)} on {part}:", end=" ")
    print(f"{lead.mean():.3f} bits, 95 % interval {low:.3f} to {high:.3f}")

# %% [markdown]
# Neither interval reaches 0, so L3H9 is ahead on fresh sentences, too.
#
# **Does the model need where L3H9 looks, or what it fetches there?** We put back its
# weights from before fine-tuning. Those of query and key decide where the head looks.
# Those of value and output decide what it fetches. Each half alone works with a partner
# it never trained with, so in a third try we put back both.


# %% folded=true
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


# %% folded=true
# which weights decide where it looks, and what it fetches
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

# %% folded=true
# each try against the whole model, with intervals
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
# **What we found:** what fine-tuning changed in L3H9 is needed in both, where it looks
# and what it fetches. With all its weights from before fine-tuning the margin falls by
# 0.23, about half of the 0.43 that silencing it costs (0.39 on the fewer sentences of
# section 4).
#
# <details><summary>How sure is that?</summary>
#
# No interval holds 0. Of all heads L3H9 costs the most margin when silenced; the last
# row holds that against the next one, L5H0. Part of these sentences chose the two
# heads. What L3H9 *reads* from the layers below stayed fine-tuned throughout.
#
# </details>
#
# **Does another training move the same head most?** The good run of section 6 is one,
# with fewer sentences:

# %% folded=true
# the farthest head of the good run, and its lead
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
# **What we found:** both trainings move the late layers, but not the same head most.
# Here L5H9 leads, and its lead over L3H9 is clear.

# %% [markdown]
# ## Appendix B: unusual among skewed shares
#
# **What helps the rule of section 5 where values are skewed?** Give each side of the
# median a unit of its own (Kimber 1990). A long tail is then measured by itself:

# %%
tail = [0.01, 0.02, 0.03, 0.05, 0.06, 0.08, 0.11, 0.16, 0.22, 0.33]
drawings.two_sides(tail)

# %% [markdown]
# <details><summary>How large is the unit of a side?</summary>
#
# Take the distance that three quarters of the values on that side do not exceed. For
# normal values that is 1.15 standard deviations, so divide by 1.15.
#
# </details>
#
# A second remedy is to **straighten** shares: $\arcsin \sqrt{x}$ stretches the scale
# near 0 and 1, where they crowd together. Here are the heads of section 5 with the
# plain rule, and with both remedies:


# %%
def straightened(values):
    return np.arcsin(np.sqrt(values.clip(0, 1)))


def band(x, threshold=3.5):
    """Lowest and highest expected value, with a unit for each side of the median."""
    away = x - np.median(x)
    up, down = (np.quantile(side[side >= 0], 0.75) / 1.15 for side in (away, -away))
    return np.median(x) - threshold * down, np.median(x) + threshold * up


# %%
x = straightened(previous)
both_rules = {
    "previous, median and MAD": by_mad,
    "arcsin √previous, a unit for each side": (x, *band(x)),
}
al.plots.rug(both_rules)

# %% [markdown]
# Of the long tail on the right, only L0H2 is still flagged. Of the three flagged on the
# left, two lie close to the bulk. On that narrow side the unit is tiny, and the rule
# flags too much.
#
# **What do the remedies bring, and cost?** With made-up heads we know what is strange.
# First, all shares come from one skewed distribution, so every flag is a false alarm.
# Then one of them is replaced by 0.97. Is it found?


# %% folded=true
def by_side(values):
    x = straightened(values)
    low, high = band(x)
    return (x < low) | (x > high)


rules = {
    "median and MAD": flag,
    "straightened": lambda values: flag(straightened(values)),
    "straightened + side units": by_side,
}

# %% folded=true
# 500 sets of made-up heads
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
# In this trial each remedy takes false alarms away. Among ten heads, side units also
# find less: a side holds just five values, and one of them is the strange one.
#
# **And in the other measures of the model?** The cell counts flags in all measures from
# 0 to 1.
#
# <details><summary>What are the measures, and how do they look in a picture?</summary>
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
#
# Each is a mean over queries and texts.
#
# </details>

# %% folded=true
# flags of all measures, rule by rule
leave_out = ("layer", "head", "keys", "distance")
names = [name for name in tuned.wide() if name not in leave_out]
values = {name: tuned.map(name, "all").ravel() for name in names}
counts = {}
for name, rule in rules.items():
    flags = np.array([rule(one) for one in values.values()])  # (measures, heads)
    some = flags.any(axis=0)
    print(f"{name}: {some.sum()} of {some.size} heads flagged in some measure")
    counts[name] = flags.sum(axis=1)
table_of_flags = pd.DataFrame(counts, pd.Index(names, name="heads flagged in"))
al.plots.table(table_of_flags, **dict.fromkeys(counts, 0))

# %% [markdown]
# Both remedies together bring the flagged heads from 23 of 72 to 7. Straightening alone
# changes little.
#
# <details><summary>How sure is that?</summary>
#
# In the trial the strange value among 72 heads is found every time. Among ten,
# straightening finds it in 99 % of the 500 sets, side units only in 87 % (within 3
# points, 95 times in 100). If more than a quarter of a side is far out, the unit grows
# with it: the rule takes such a group for a kind of head, and flags nobody.
#
# </details>
#
# `balance.outliers` asks all measures in this way. These are the five farthest.
# *Distance* is how many tokens the key is away, *robust z* the distance from the median
# in units of that side.

# %%
al.plots.anomaly_table(balance.outliers(tuned), tuned, most=5)

# %% [markdown]
# ## Appendix C: what the recorder noted
#
# **How did the heads of the reckless run leave their bands?** `balance.episodes` is
# your monitor with more measures and more care. The desk draws what it finds. (In
# `callbacks`, and shown before a training, it fills while the model learns.)

# %%
monitor = al.TrainingMonitor(warned)
monitor

# %% [markdown]
# Below the lines stand the heads that were farthest out, and the balance of the whole
# model (appendix F). The table shows the four strongest cases. Open a picture: the grey
# band follows the head.

# %%
events = balance.episodes(warned.table)
strongest = events.sort_values("strength", ascending=False)
al.plots.anomaly_table(strongest, warned.table, most=4)

# %% [markdown]
# <details><summary>How wide is the band, and where are the limits?</summary>
#
# After six measurements the band is the last value plus the median of the last three
# changes, give or take fifteen times the usual error of this guess, the head's own or
# that of the median head if it is larger. Of a share this is at least 0.02 and at most
# 0.25. Every measure that is noted has such a band. A head counts as out only if it is
# outside in one of them *and* four times as far out as the median of its layer's other
# heads, or collapses, spreads or loses its gradient. *Collapse* is 0.9 or more of a row
# on one token, *spread* nearly uniform, *dead gradient* under a fiftieth of the usual
# gradient. *No effect* is a head that adds next to nothing, and *jump* is anything
# else. What comes slowly is reported by its distance from the first values: weight on
# [CLS] or [SEP] that rises to 0.99, a head that spreads over everything, one that adds
# next to nothing any more. *Strength* is the distance from the middle of the band, in
# half widths. These limits are a choice.
#
# </details>
#
# <details><summary>Why are some heads counted twice? Does it matter where?</summary>
#
# A head may first collapse, then spread. On the way back it gets a new band and leaves
# that, too, so it counts as two anomalies. *Where* says little in this run, because so
# many heads are out of line.
#
# </details>

# %% [markdown]
# ## Appendix D: the same repairs, another damage
#
# **Which repair is best if the damage can be undone?** The damage *spun* multiplies
# every scale by a random factor, as in section 7, but by far larger and smaller ones.
#
# One row is new. The gradient does not begin at the damage, but at the best of a few
# starts. *Gradient's start* says how far that start comes without any turning.


# %% folded=true
def bill(scores, hurt):
    """A table of accuracies on test, and shares of the damage with their intervals."""
    found = shares_back(scores, hurt).items()
    rows = {name: (scores[name].accuracy, *share) for name, share in found}
    columns = {"accuracy": 3, "share back": 2, "from": 2, "to": 2}
    table = pd.DataFrame.from_dict(rows, "index", columns=list(columns))
    return al.plots.table(table.rename_axis("repair"), **columns)


# %% folded=true
# all repairs of the damage
spun_far = spun(1.5, seed=0)
start_only = {"gradient's start": ("gradient", {"epochs": 0})}
turned = by_knobs(spun_far, start_only | KNOBS)
spun_answers = {"reset to 1": whole}
spun_answers |= {name: final.score(one.settings) for name, one in turned.items()}
model = retrained(spun_far, tune)
spun_answers["retraining"] = al.Evaluator(model, test).score(spun_far)
hurt_too = final.score(spun_far)
print(f"accuracy on test: whole {whole.accuracy:.1%}, spun {hurt_too.accuracy:.1%}")
bill(spun_answers, hurt_too)


# %% folded=true
def differences(scores, pairs):
    """A picture of differences of accuracy on test, with their 95 % intervals."""
    changes = {
        f"{one} − {other}": final.compare(scores[other], scores[one])
        for one, other in pairs
    }
    return al.plots.forest(changes, ["accuracy"])


pairs = [
    ("least squares", "random knobs"),
    ("gradient", "gradient's start"),
    ("retraining", "gradient"),
]
differences(spun_answers, pairs)

# %% [markdown]
# **What we found:** setting the scales back costs nothing and undoes all the damage.
# And here the gradient is clearly ahead of retraining, mostly by its start: that alone
# brings back 0.97.
#
# <details><summary>What does the start of the gradient explain?</summary>
#
# The gradient's start alone has 0.97: it can even the heads of a layer, which is close
# to undoing just this damage, and turning the knobs from there adds nothing clear. So
# the 0.99 says little about the gradient. Least squares finds the old scales, but needs
# the whole model, which one could copy. Retraining (0.69) is clearly behind the
# gradient.
#
# </details>
#
# **And in section 8?** How far does the gradient's start come on the thinned model? Is
# least squares a better start? Does retraining gain by four times as many labels, in
# about as many steps?

# %% folded=true
# more repairs of the thinned model
close = repairs["least squares"].settings
both, more = "least squares, gradient", "retraining, more labels"
extra = by_knobs(thinned, start_only)
extra[both] = balance.adjust(clf, tune, "gradient", close, epochs=size.passes)
extra = {name: final.score(one.settings) for name, one in extra.items()}
model = retrained(thinned, splits.train.sample(SEEN))
extra[more] = al.Evaluator(model, test).score(thinned)
bill(answers | extra, hurt)

# %% folded=true
# pairs of repairs, and their differences
pairs = [
    ("least squares", "random knobs"),
    ("gradient", "least squares"),
    ("gradient", "gradient's start"),
    (both, "gradient"),
    (more, "retraining"),
]
differences(answers | extra, pairs)

# %% [markdown]
# On the thinned model the start alone has 0.03, so the 0.62 of section 8 is the
# gradient's own. Least squares before it brings no clear gain, and nor do more labels.

# %% [markdown]
# ## Appendix E: kinds of heads, and doubles
#
# **Are there *kinds* of heads?** **Clusters** sort them by all measures of appendix B
# at once. The *silhouette* says how much nearer heads are to their own group than to
# the next. Below about 0.25 there is hardly a group.
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
# (Two loose groups: 15 heads that look near, often at the token before, and all the
# others.) **Do any two heads do the same?** The next table has the pairs that look most
# alike, by the divergence *js* of section 3. *cka* compares what they fetch: 1 is the
# same up to rotation and size (Kornblith et al. 2019).

# %%
alike = balance.similarity(clf, dev.texts[: size.sweep_sentences // 2])
doubles, sides = alike.doubles(5).copy(), ["first", "second"]
doubles[sides] = doubles[sides].map(name_of)
al.plots.table(doubles, js=3, cka=2).hide()

# %% [markdown]
# The pairs that look most alike fetch partly different things: *cka* is between 0.21
# and 0.69.

# %% [markdown]
# ## Appendix F: the tuner's desk
#
# `balance.Tuner` automates section 7, here for the damage of appendix D. It proposes,
# asks its guard after every round, and takes back what is not better beyond the
# interval of the loss. Many rounds use up the guard, so report on test. The verdict
# below is the guard's.
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
tuner = balance.Tuner(clf, data, spun_far, rounds=1, options=options)
desk = al.TunerDesk(tuner, text)
desk

# %%
result = tuner.run()
print(result.verdict)

# %%
al.checks.summary("attention_balance")
