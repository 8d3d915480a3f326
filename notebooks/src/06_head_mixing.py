# %% [markdown]
# # 06 Head mixing: which heads matter?
#
# **If you silence an attention head and the model still answers well, was the head of
# no use?** You scale, sharpen and silence the heads of a fine-tuned BERT, measure on
# sentences it was not trained on, and learn to tell an effect from chance. At the end
# you take half of the heads out for good.
#
# Afterwards you can
#
# - write down where scale and temperature enter the formula of attention, and predict
#   what each can and cannot move;
# - rank heads in several ways, say how far the rankings agree, and what each one asks;
# - attach an honest uncertainty to "this head matters", for one head and for many;
# - say what attention weights do and do not explain.
#
# Time: about 100 minutes, 50 of them for six exercises. The cells together compute for
# a few minutes on two processor cores. You need [lesson
# 02](02_attention_from_scratch.ipynb), or to have seen multi-head attention. Choose
# **Run → Run All Cells** first; exercises that are not written yet only say so.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy import stats

import attnlab as al

clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()
print(clf, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# The classifier of lesson 05, and a fader for each of its heads. Arrow keys move the
# one you clicked; 0 silences it. The colours are an estimate (section 6 derives it):
# red heads are needed, without blue ones the model would do better. All maps of heads
# in this lesson keeps to that.
#
# Silence the reddest head, then the least important twenty, then a whole layer, and
# watch the interval of the change. When does it leave 0? *Compare: keep this as A*
# keeps a setting, so that you can measure the next one against it.

# %%
text = "A slow start, yet the ending is worth every minute."
desk = al.HeadMixer(clf, splits.dev, text, sentences=size.sentences)
desk

# %% [markdown]
# ## 2. Two knobs in one formula
#
# Head $h$ mixes value vectors with weights that come from a softmax, and the layer adds
# up what its heads bring, each through its own slice $W^O_h$ of the output projection:
#
# $$
# \text{attention}(x) = \sum_h s_h \;
# \underbrace{\text{softmax}\!\Big(\frac{1}{\tau_h}
# \frac{Q_h K_h^\top}{\sqrt{d_k}}\Big)}_{A_h} \, V_h \, W^O_h + b^O
# $$
#
# **Scale** $s_h$ stands in front: it makes the head louder or softer, and at 0 the head
# is gone. **Temperature** $\tau_h$ stands inside: below 1 it sharpens the weights
# $A_h$, above 1 it flattens them. At 1 both are as trained.
#
# From the formula follows something that is easy to get wrong. *Scale cannot change the
# weights of its own layer*: $A_h$ does not contain $s_h$. Later layers read another
# input, so their weights may move. Temperature changes its own layer's weights at once.

# %%
silent, flat = clf.settings(), clf.settings()
silent.scale[2, 4] = 0
flat.temperature[2, 4] = 4

found = {"scale 0": clf.attend(text, silent), "temperature 4": clf.attend(text, flat)}
print("largest change of a weight, layer by layer, after a move in layer 2")
moved = {}
for name, maps in found.items():
    moved[name] = (maps.weights - maps.neutral.weights).abs().amax(dim=(1, 2, 3))
    print(f"{name:>13}:", "  ".join(f"{one:.4f}" for one in moved[name]))
assert (moved["scale 0"][:3] == 0).all()  # up to and with its own layer
assert (moved["scale 0"][3:] > 0).all() and moved["temperature 4"][2] > 0

# %% [markdown]
# The head under temperature 4: what stood on few tokens is spread out (mind the two
# colour scales). Under scale 0 the picture in the middle would be all dark, because it
# shows weight × scale: that is how much of each value vector the head adds to its
# layer's sum. The weights themselves would not have moved.

# %%
al.plots.before_after(found["temperature 4"], layer=2, head=4)

# %% [markdown]
# The layer is a *sum* over heads. It is seldom written as one: the contexts of all
# heads are concatenated and go through one matrix, $W^O$. But multiplying a
# concatenation by a matrix equals summing over its blocks. In `nn.Linear` the weight is
# stored as `(E, H * D)`, one row for each number that comes out, so head $h$ owns the
# *columns* $hD$ to $(h + 1)D - 1$. Only as a sum is there a place to turn each head up
# or down by itself.
#
# ### Exercise 1: one layer on the mixing desk
#
# *Difficulty 3 of 5, 10 minutes.* Return the output of the layer, `(B, T, E)`, with
# $s_h$ and $\tau_h$ where the formula has them. There is no mask. A loop over heads is
# fine.


# %% exercise="mix_heads" points=3
def mix_heads(query, key, value, output_weight, output_bias, scale, temperature):
    """A layer's output (B, T, E): the sum of what its heads bring, and the bias.

    query, key, value (B, H, T, D), output_weight (E, H * D), output_bias (E,), scale
    (H,), temperature (H,)
    """
    ### BEGIN SOLUTION
    width, output = query.shape[-1], output_bias
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head].transpose(-2, -1) / width**0.5
        weights = (scores / temperature[head]).softmax(dim=-1)  # (B, T, T)
        columns = output_weight[:, head * width : (head + 1) * width]  # (E, D)
        output = output + scale[head] * (weights @ value[:, head]) @ columns.T
    return output
    ### END SOLUTION


# %% check="mix_heads"
al.checks.mix_heads(mix_heads)

# %% [markdown] hints="mix_heads"
# Take one head: `query[:, head]` is `(B, T, D)`. Scores, weights, context as in lesson
# 02; the temperature divides the *scores*. What comes out is `(B, T, D)`.
#
# ---
# Then the head's own slice of the projection: `D` columns of `output_weight`, turned
# round, take `(B, T, D)` to `(B, T, E)`. There the scale is a plain factor. Add up over
# the heads.
#
# ---
# The bias belongs to the layer, not to a head: it comes once, and no scale touches it.
# `output += ...` would write into the tensor you began with; `output = output + ...`
# does not.

# %% [markdown]
# In the package the two knobs are a few lines in the attention function that every
# model of BERT's family is made to use. `clf.logits`, `clf.predict` and the desk take
# settings for a single call; `al.heads.applied(clf, settings)` is for a whole block.
#
# ## 3. Louder, softer, and whole layers
#
# Before single heads, the large moves. All heads at once, times a factor. Every score
# comes from the same held-out sentences, so the changes are *paired*: only sentences
# whose answer changed count. As most answers stay, the interval is narrower than the
# intervals of two single scores suggest. All intervals are 95 %. And *p*: had the
# change no effect, each changed answer would be a coin toss, from right to wrong or
# from wrong to right; p is how often tosses come out this lopsided or more (McNemar's
# exact test, as in lesson 05).

# %%
dev = al.Evaluator(clf, splits.dev.sample(size.sentences), fast=True)
neutral = dev.score()
print("as trained", neutral)
for factor in (0.25, 0.5, 2, 3):
    settings = clf.settings()
    settings.scale[:] = factor
    print(f"all heads x {factor:<4g}", dev.compare(neutral, settings))

# %% [markdown]
# Twice as loud is not twice as good. LayerNorm takes the size of the sum out again, so
# what a factor changes is the balance between the token itself and what the heads add.
#
# Now silence one whole layer at a time, and next to it the opposite: keep a single head
# of the layer and silence the others. Which head that is, is chosen on dev sentences,
# and the result measured on test sentences: the best of twelve noisy numbers would
# flatter itself. The third column compares the two directly, since two intervals that
# overlap do not say that there is no difference.

# %%
one_left = al.ablate(dev, target="all_but_one")
best = one_left.loc[one_left.groupby("layer")["accuracy"].idxmax()]


# %%
def points(change):
    """A change of accuracy in points, with its 95 % interval."""
    low, high = (100 * end for end in change.ci)
    return f"{100 * change.delta:+.1f} [{low:+.1f}, {high:+.1f}]"


unseen = al.Evaluator(clf, splits.test.sample(size.sentences), fast=True)
base = unseen.score()

# %%
rows = {}
for layer, head in best[["layer", "head"]].to_numpy():
    settings = clf.settings()
    settings.scale[layer] = 0
    silent = unseen.score(settings)
    settings.scale[layer, head] = 1
    alone = unseen.score(settings)
    rows[f"layer {layer}"] = {
        "silent": points(unseen.compare(base, silent)),
        "one head left": f"head {head}: {points(unseen.compare(base, alone))}",
        "what it brings": points(unseen.compare(silent, alone)),
    }
print("change in points, with its 95 % interval")
pd.DataFrame(rows).T

# %% [markdown]
# If silencing the whole layer has no clear effect, a single head doing as well proves
# nothing. Look at a layer where it has one: if the single head brings most of it back,
# the layer has spare heads. Michel et al. (2019) found most layers of BERT and of a
# translator to be like that, with a few that are not.
#
# ## 4. One head at a time
#
# Now systematically: silence each head in turn. This is 72 evaluations, so it matters
# how they are made. What lies below a silenced head does not change, and is computed
# once; a head is a summand of its layer, so the others are not computed again; and of
# the last layer only [CLS] is read. The answers are those of a plain loop. With
# `fast=True`, used here, it computes in a shorter number format where that pays; how
# often the untouched model then answers the same is printed.

# %%
ev = al.Evaluator(clf, splits.dev.sample(size.sweep_sentences))
fast = al.Evaluator(clf, ev.dataset, fast=True)
sweep = al.ablate(fast)
print(f"{len(sweep)} heads on {sweep.attrs['n']} sentences each")
print(f"bfloat16 or float32, the answers agree on {sweep.attrs['agreement']:.1%}")

# %%
al.plots.head_map(sweep, title="Silencing one head at a time")

# %% [markdown]
# Frames mark heads whose interval excludes 0; changes inside the hatched band are
# within the noise of a typical head. Blue means that the model is *better* without the
# head. Would you believe that of a framed one? Michel et al. (2019, figure 1) drew the
# same for BERT on pairs of sentences as a histogram. Most heads, one at a time, make no
# difference to see, and some seem to do harm:

# %%
answers = (sweep["delta"] * sweep.attrs["n"]).round().astype(int)  # whole ones
figure, axes = plt.subplots(figsize=(5.6, 2.6), layout="constrained")
sns.histplot(answers, discrete=True, ax=axes)
axes.axvline(0, color="black", linestyle="--")
axes.set(xlabel=f"right answers gained or lost, of {sweep.attrs['n']}", ylabel="heads")
sns.despine(figure)
told = f"from {answers.min()} to {answers.max()}, median {answers.median():.0f}"
al.plots.show(figure, alt=f"Histogram of right answers gained without a head: {told}.")

# %%
heads = len(sweep)
outside = ((sweep["ci_low"] > 0) | (sweep["ci_high"] < 0)).sum()
print(f"intervals that exclude 0: {outside} of {heads}. If no head did anything, some")
print(f"{0.05 * heads:.0f} would (fewer with few sentences, as answers come whole)")

# %% [markdown]
# Two questions stand behind these lines: where does such an interval come from, and
# what to do about looking at so many heads? They are the next two exercises.

# %% [markdown]
# A score on $N$ sentences would come out differently on $N$ others. How differently?
# There are no others, but the ones at hand stand for all that could have been drawn. So
# draw $N$ of them **with replacement**, some twice, some never, take the mean, and do
# that a few thousand times: this **bootstrap** (Efron 1979) shows how the mean varies.
# The middle 95 % of the means are an interval.
#
# To compare two settings, keep the sentences **paired**. A hard sentence is hard before
# and after, and so hardness cancels in the difference. If you drew separately for each
# side, it would not, and the interval would be far too wide.
#
# ### Exercise 2: is the change more than luck?
#
# *Difficulty 2 of 5, 5 minutes.* `before` and `after` hold a number for each sentence,
# in the same order: its loss, or 1.0 where the answer is right and 0.0 where it is
# wrong. Return the ends of the interval of the mean change, after minus before. Take
# all random numbers from `generator`, which is NumPy's.


# %% exercise="paired_bootstrap" points=2
def paired_bootstrap(before, after, draws, generator):
    """(low, high): quantiles 2.5 % and 97.5 % of the means of resampled changes."""
    ### BEGIN SOLUTION
    change = after - before  # (N,)
    places = generator.integers(0, len(change), (draws, len(change)))
    means = change[places].mean(axis=1)  # (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high
    ### END SOLUTION


# %% check="paired_bootstrap"
al.checks.paired_bootstrap(paired_bootstrap)

# %% [markdown] hints="paired_bootstrap"
# First one number for each sentence: its change. Then it is these that are drawn, `len`
# of them each time, and `draws` times.
#
# ---
# `generator.integers(0, n, (draws, n))` gives `draws` rows of places. An array can be
# indexed with them, `change[places]`. Along which axis is the mean of one draw?
#
# ---
# 95 % inside leave 5 % outside, half of it on each side. `np.quantile` wants shares of
# 1, `np.percentile` per cent.

# %% [markdown]
# An interval of 95 % misses in one case of twenty, so with 72 heads some will look
# special by chance. Two ways to say how strict you want to be:
#
# - **Bonferroni** multiplies each p-value by their number $m$. Then even *one* false
#   find is unlikely; but many true ones are lost.
# - **Benjamini and Hochberg** (1995) allow a share. If you keep all heads with an
#   adjusted value of at most 0.05, then at most 5 % of those you keep are false, on
#   average. (That is proved for tests that are independent or lean the same way.) They
#   sort the p-values, multiply the one of rank $i$ by $m / i$, and see to it that no
#   value exceeds that of a larger p-value:
#
# $$ q_{(i)} = \min_{j \ge i} \frac{m}{j} \, p_{(j)} $$
#
# | p-value | 0.010 | 0.030 | 0.032 | 0.600 |
# | --- | --- | --- | --- | --- |
# | rank $i$ | 1 | 2 | 3 | 4 |
# | $p \, m / i$ | 0.040 | 0.060 | 0.043 | 0.600 |
# | adjusted | 0.040 | 0.043 | 0.043 | 0.600 |
#
# ### Exercise 3: many heads, many looks
#
# *Difficulty 3 of 5, 10 minutes.* `p_values` come in any order, and each adjusted value
# belongs in the place of its p-value. The array that you are given stays as it is.


# %% exercise="adjust_for_many" points=2
def adjust_for_many(p_values):
    """Adjusted values (N,) of p-values (N,), by Benjamini and Hochberg."""
    ### BEGIN SOLUTION
    count = len(p_values)
    order = np.argsort(p_values)
    raw = p_values[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum.accumulate(raw[::-1])[::-1]  # from the largest down
    return adjusted
    ### END SOLUTION


# %% check="adjust_for_many"
al.checks.adjust_for_many(adjust_for_many)

# %% [markdown] hints="adjust_for_many"
# `order = np.argsort(p_values)` says where the smallest stands, the second, and so on;
# `p_values[order]` is sorted. Ranks begin at 1.
#
# ---
# The minimum of a value and all that come *after* it: `np.minimum.accumulate` runs from
# the left, so turn the array round with `[::-1]`, and turn the result round again.
#
# ---
# `result[order] = ...` writes into the places from which `x[order]` reads.

# %%
print(f"p below 0.05: {(sweep['p_value'] < 0.05).sum()}")
print(f"still, after Benjamini-Hochberg: {(sweep['q_value'] < 0.05).sum()}")

# %% [markdown]
# Accuracy moves in whole answers, so small effects hide in its noise. The **loss**
# moves with every probability and sees more: here are all heads, sorted, with their
# intervals (bootstrap, as in exercise 2) and the band in which sorted changes would lie
# if they were nothing but noise. (Its correction for many uses p-values made from these
# intervals.)

# %%
al.plots.effects(sweep, "loss_delta")

# %% [markdown]
# Colour would mark heads that stay significant after the correction. Are there any? The
# note below counts intervals that exclude 0, beside how many chance alone would give.
#
# Whether few or many heads pass, one question is stricter than any test on one set of
# sentences: do heads that look important *stay* important on others? The same sweep on
# test sentences, by accuracy, by loss, and by **margin**, the logit of the right label
# minus that of the other:

# %%
test = al.Evaluator(clf, splits.test.sample(size.sweep_sentences), fast=True)
again = al.ablate(test)
limit = 1.96 / np.sqrt(heads - 1)
print(f"rank correlation, dev with test sentences (by chance alone up to ±{limit:.2f})")
for name in ("delta", "loss_delta", "margin_delta"):
    rank = stats.spearmanr(sweep[name], again[name]).statistic
    answer = "the ranking repeats" if rank > limit else "no ranking is shown to repeat"
    print(f"{name:>12}: {rank:+.2f}, {answer}")

# %% [markdown]
# A correlation of 1 would be the same order, 0 none; within the limit of chance it
# comes out 95 times in 100 if there is none. Where it lies inside, one sweep has not
# shown that a ranking by *this* measure repeats itself, and a list of "the five most
# important heads" by it may be a list of accidents. More sentences help: the noise
# falls with the square root of their number, the effects stay. (On a GPU this notebook
# takes twice as many.)
#
# It also helps to measure something that moves with every sentence. The margin does: a
# head that makes the model surer of the right label shows on all sentences, while its
# accuracy moves only where the answer was close. So a ranking can be real and yet be
# one of *confidence*. Whether a head is needed for the *answer* is another question, on
# which other heads may cover for it.
#
# ## 5. What does it mean to take a head away?
#
# Something has to stand where the head was, and there are at least three honest
# choices:
#
# - **zero**: the head brings nothing. Later layers never met such a sum in training, so
#   part of the damage may come from the strange sum, not from what is missing.
# - **uniform**: the head still reads the text but has no choice, since all real tokens
#   get the same weight. This asks whether *where it looks* matters (Wiegreffe and
#   Pinter 2019 train a model with such weights as a baseline).
# - **mean**: the head always brings what it brings on average over many texts. The sum
#   stays where it usually is; gone is only what the head tells about *this* text.
#
# If the three disagree about a head, that is no fault of the measurement: they are
# three questions.
#
# ### Exercise 4: three ways to take a head away
#
# *Difficulty 2 of 5, 10 minutes.* Return the contexts with one head replaced. All other
# heads stay as they are, and so does the tensor that you were given. What stands at
# padding does not matter, but what is *read* there does.


# %% exercise="ablate" points=2
def ablate(context, value, real, mean, head, how):
    """Contexts (B, H, T, D) with one head replaced; how: "zero", "uniform" or "mean".

    context and value (B, H, T, D), real (B, T), bool, False at padding, mean (H, D)
    """
    ### BEGIN SOLUTION
    context = context.clone()
    if how == "zero":
        context[:, head] = 0
    elif how == "uniform":
        weights = real / real.sum(-1, keepdim=True)  # (B, T), the same for every query
        context[:, head] = weights[:, None] @ value[:, head]  # (B, 1, D)
    else:
        context[:, head] = mean[head]
    return context
    ### END SOLUTION


# %% check="ablate"
al.checks.ablate(ablate)

# %% [markdown] hints="ablate"
# Begin with `context.clone()`: into a copy you may write. The head is on axis 1, so
# `context[:, head]` is `(B, T, D)`.
#
# ---
# Uniform weights over $n$ real tokens are $1/n$ there and 0 at padding, for every
# query. So each text has one mixture of *values*, its mean over real tokens, and every
# token of the text gets it. Texts of a batch have different $n$.
#
# ---
# `mean` has a row for each head, measured beforehand on many texts. Nothing of this
# batch should go into it.

# %%
ways = {"zero": 1000 * sweep["loss_delta"]}
for method in ("uniform", "mean"):
    ways[method] = 1000 * al.ablate(fast, method=method)["loss_delta"]
ways = pd.DataFrame(ways, dtype=float)
print("rise of the loss, thousandths of a nat: on average, and for the worst head")
print(ways.agg(["mean", "max"]).T.round(1))

# %%
for a, b in (("zero", "uniform"), ("zero", "mean"), ("uniform", "mean")):
    change = (ways[b] - ways[a]).to_numpy()  # the same head, taken away in two ways
    low, high = al.statistics.paired_bootstrap(change)
    found = "a difference" if low > 0 or high < 0 else "none to be seen"
    print(f"{b} - {a}: {change.mean():+.2f} [{low:+.2f}, {high:+.2f}], {found}")
al.plots.agreement(ways)

# %% [markdown]
# (The package keeps two means for each head, one for [CLS] and one for other tokens.)
# You might expect zero to do the most damage, since it is the strangest sum, and
# uniform the least, since the head still reads the text. The three ways are *paired*:
# each row takes away the same head on the same sentences. So look at the intervals of
# the differences (over heads; other sentences would add their own noise), and not at
# whether the errors of two means overlap. Do they bear out what you expected? Then the
# correlations: how much of "which heads matter" depends on what stands in their place?
# (The three share their sentences, so they also share their luck.)
#
# ## 6. Which heads matter? Several measures
#
# Silencing every head in turn takes one run over the data for each of them. Is there a
# cheaper way? The loss $L$ depends on the scales as smoothly as on any weight, and near
# $s = 1$ it is nearly a straight line:
#
# $$
# L(s_h = 0) - L(s_h = 1) \;\approx\; - \frac{\partial L}{\partial s_h}\Big|_{s=1},
# \qquad L = \frac{1}{N} \sum_{i=1}^{N} \ell_i
# $$
#
# The left side is what silencing the head costs. The right side comes for *all* heads
# out of one pass forward and one backward. Positive: the head helps. Negative: to first
# order the model would be better off without it, on these sentences. Michel et al.
# (2019) average *absolute* values, sentence by sentence. Then a head that helps here
# and harms there looks important, though silencing it would cost nothing on average; we
# keep the sign.
#
# ### Exercise 5: all heads in one pass
#
# *Difficulty 3 of 5, 10 minutes.* `loss_of(scale, batch)` runs a model whose heads are
# scaled by `scale (layers, heads)`, and returns the mean loss of the `len(batch)`
# sentences, as a tensor that gradients flow through. Batches need not be equally large.
# Call it once for each.


# %% exercise="head_importance" points=3
def head_importance(loss_of, batches, layers, heads):
    """What silencing each head would cost, to first order: (layers, heads), signed."""
    ### BEGIN SOLUTION
    sentences = sum(len(batch) for batch in batches)
    importance = torch.zeros(layers, heads)
    for batch in batches:
        scale = torch.ones(layers, heads, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss_of(scale, batch), scale)
        importance -= gradient * len(batch) / sentences
    return importance
    ### END SOLUTION


# %% check="head_importance"
al.checks.head_importance(head_importance)

# %% [markdown] hints="head_importance"
# The scales are a tensor of ones that requires gradients. After `loss_of(scale,
# batch).backward()` the gradient is in `scale.grad`; `torch.autograd.grad(loss, scale)`
# returns it instead.
#
# ---
# Which way does the loss go if the scale goes *down*, from 1 to 0? And by what must a
# batch's mean be multiplied so that all sentences count the same?
#
# ---
# `backward()` *adds* to `.grad`. Either let everything collect there, or begin each
# batch with a new tensor of scales; not half of each.

# %%
importance = ev.gradients()  # (layers, heads), signed, nats
rank = stats.spearmanr(importance.ravel(), sweep["loss_delta"]).statistic
print(f"rank correlation with the sweep: {rank:.2f}")
rise = "rise of the loss, nats"
al.plots.head_map(importance, title="First-order importance", label=rise)

# %% [markdown]
# How far from $s = 1$ does a straight line hold? The loss bends: it can rise without
# end, but it cannot fall below 0. What bends less is the **log-odds** of the right
# label, from which the loss follows, $\ell = \log(1 + e^{-o})$. (With two labels $o$ is
# also the *margin*, the right logit minus the wrong one.) So let every sentence's $o$
# move along its own gradient, and take the loss *there*. It costs the same one pass.

# %%
estimate = ev.estimate()  # the loss after moving each sentence's log-odds
rank = stats.spearmanr(estimate.ravel(), sweep["loss_delta"]).statistic
print(f"rank correlation with the sweep: {rank:.2f}")

# %% [markdown]
# This is what the desk draws behind its faders. Its first estimate of accuracy is made
# the same way: each sentence's margin moves along its gradients, and those that fall
# below 0 count as wrong. How good is that for large moves, of all heads at once?

# %%
rows = []
for factor in (0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0):
    settings = clf.settings()
    settings.scale[:] = factor
    rows.append((factor, dev.preview(settings), dev.score(settings).accuracy))

# %%
factors, guessed, measured = map(np.array, zip(*rows, strict=True))
gap = 100 * np.abs(guessed - measured)
near, far = gap[factors >= 0.6].max(), gap[factors < 0.6].max()
al.plots.lines(
    factors,
    {"first-order estimate": guessed, "measured": measured},
    xlabel="scale of all heads",
    ylabel="accuracy",
    alt=f"Estimate and measurement are at most {near:.1f} points apart for scales of"
    f" 0.6 and more, {far:.1f} below.",
)

# %% [markdown]
# From which scale on do they part by more than a point or two? There, trust only the
# measurement. (Both are of the same sentences, so a gap is an error of the estimate and
# no luck of the draw.)

# %% [markdown]
# Two more measures, beside silencing by loss and by margin, are read off the attention
# maps, without asking for any answer:
#
# - **attention mass**: how much [CLS], from which the answer is read, looks at the
#   *text* through this head, instead of at itself and [SEP];
# - **contribution**: how long the vectors are that the head adds, $\lVert A_{ij} \, v_j
#   W^O_h \rVert$ (Kobayashi et al. 2020).

# %%
profile = al.evaluation.profiles(clf, ev.dataset.texts)
measures = profile[["layer", "head"]].assign(
    attention=profile["reads"],
    contribution=profile["contribution"],
    gradient=importance[profile["layer"], profile["head"]],
    silencing=sweep["loss_delta"],
    margin=-sweep["margin_delta"],  # how far it falls
)
al.plots.importances(measures, title="Five rankings of the same heads")

# %%
al.plots.agreement(measures)

# %% [markdown]
# Gradient and silencing ask one question of the *same* sentences here, luck included. A
# fairer comparison takes silencing from others:

# %%
ranked = measures.drop(columns=["layer", "head"]).add_suffix(" on dev")
found = {
    "loss on test": ranked.corrwith(again["loss_delta"], method="spearman"),
    "margin on test": ranked.corrwith(-again["margin_delta"], method="spearman"),
}
pd.DataFrame(found).style.format("{:+.2f}")

# %% [markdown]
# Rows are measured on dev; columns say what silencing does on test. The row *silencing*
# in the column of the loss and the row *margin* in that of the margin are how far
# silencing agrees with itself. A measure well below that asks another question; where
# even that is near 0, the sentences are too few to tell. By margin they are enough: do
# the measures that look at maps, or the gradient of the loss, foretell it?
#
# What can be said without statistics: attention mass asks *where* a head looks,
# contribution *how much* it writes, and neither asks what becomes of the answer.
# Whoever says "the important heads" has to say by which measure, and on how many
# sentences.
#
# ## 7. A place to rest
#
# What do heads look at? Clark et al. (2019) drew two pictures of BERT-base that are
# easily drawn again: how much weight falls on special tokens, and how widely each head
# spreads its weight (entropy, in nats).

# %%
al.plots.special_shares(profile)

# %%
al.plots.entropy(profile)

# %% [markdown]
# Clark et al. found that in BERT-base more than half of the weight of the layers in the
# middle falls on [SEP], and took it for a place to look at when there is nothing to
# fetch. They fed pairs of paragraphs to a model of twelve layers that was not
# fine-tuned. Ours has six, was distilled from a larger one, trained to encode single
# sentences, and fine-tuned to answer from [CLS]. Here the same in numbers:

# %%
share, made = profile["special"].mean(), profile["contribution_special"].mean()
print(
    f"special tokens get {share:.0%} of the weight, [CLS] {profile['cls'].mean():.0%},"
)
print(f"[SEP] {profile['sep'].mean():.0%}; they make {made:.0%} of what heads add")
mean = profile.groupby("layer")["entropy"].mean()
print(f"widest heads in layer {mean.idxmax()}, narrowest in layer {mean.idxmin()}")

# %% [markdown]
# So there is a resting place here as well, but is it the same token? And do special
# tokens *contribute* as much as they are looked at? If the value vectors fetched there
# are short, much weight is little effect (Kobayashi et al. 2020). Clark et al. found
# wide heads in the lowest layers; compare.
#
# If looking there is resting, then heads that mostly look there should cost little when
# they are silenced:

# %%
for name in ("loss_delta", "margin_delta"):
    rank = stats.spearmanr(profile["special"], sweep[name].abs())
    print(f"share on [CLS] and [SEP] against size of {name}:", end=" ")
    print(f"{rank.statistic:+.2f}, {al.statistics.p_text(rank.pvalue)}")

# %% [markdown]
# A large p does not say that the idea is wrong. By loss the effects are mostly noise
# (section 4), so even a true link would hardly show there. By margin they repeat, so
# that line is the better test.

# %% [markdown]
# ## 8. Attention is not explanation?
#
# Looking at a map one is tempted to read off *why* the model answered. Test it: for one
# sentence, four answers to "which words decided?".
#
# - **attention**: what [CLS] looks at in the last layer, heads averaged;
# - **rollout**: the same followed through all layers, which you write first;
# - **gradient**: that of the margin (this label's logit minus the other's) with respect
#   to the word's vector, times that vector, summed;
# - **ablation**: how far the answer's log-probability falls when the word is masked.

# %% [markdown]
# The weights of a late layer say at which *tokens of that layer* a token looks. But
# those are no words any more: each was mixed out of many in the layers before. How much
# of each word is in them? **Attention rollout** (Abnar and Zuidema 2020) follows it
# through, roughly. The heads of a layer are averaged. A layer adds what its heads bring
# to what was there, so half is taken to come through the weights and half straight from
# the token itself. How long the values are, and what the feed-forward part does, is
# left out:
#
# $$
# A_l = \frac{1}{2} \Big( \frac{1}{H} \sum_h W_{l,h} \Big) + \frac{1}{2} I,
# \qquad \text{rollout} = A_L \cdots A_2 A_1
# $$
#
# Row $i$ of the result says out of which input tokens token $i$ of the last layer is
# made. The first layer, which looks at the input, stands on the right.
#
# ### Exercise 6: attention rollout
#
# *Difficulty 2 of 5, 5 minutes.* Each row of the result sums to 1 again. Can you see
# why?


# %% exercise="rollout" points=1
def rollout(weights):
    """(T, T): the share of each input token (column) in each last token (row).

    weights (L, H, T, T), every row of which sums to 1
    """
    ### BEGIN SOLUTION
    itself = torch.eye(weights.shape[-1])
    result = itself
    for layer in weights:
        result = (layer.mean(0) + itself) / 2 @ result
    return result
    ### END SOLUTION


# %% check="rollout"
al.checks.rollout(rollout)

# %% [markdown] hints="rollout"
# One matrix for each layer: the mean over its heads, half of it, and half of
# `torch.eye(T)`.
#
# ---
# Before the first layer every token is only itself: begin with `torch.eye(T)`. Each
# layer is then multiplied *from the left*, since its columns are the rows of what was
# there before.

# %%
clear = "The plot is thin, but the acting is a joy."
frame = al.evaluation.explanations(clf, clear)
print(f"{frame.attrs['label']}, {frame.attrs['probability']:.0%} sure")
al.plots.explanations(frame)

# %% [markdown]
# Special tokens are left out, so the first two columns do not add up to 100 %.
#
# One sentence proves nothing. Over many: how far do the four rank the words alike?
# (Gradients and ablations by size, since attention has no sign.) *Removal* is ablation
# done another way, by closing the gap; how far two versions of *one* question agree is
# the yardstick for all others.

# %%
texts = splits.test.sample(max(size.sweep_sentences // 5, 8)).texts
alike = al.evaluation.agreement(clf, texts)
al.plots.agreement(alike)

# %% [markdown]
# Jain and Wallace (2019) found two things in recurrent networks with one attention
# layer: weights agree little with gradients and with leaving words out, and quite
# different weights can give the same answer. They concluded: *Attention is not
# Explanation*. Wiegreffe and Pinter (2019), *Attention is not not Explanation*, replied
# that this depends on what one calls an explanation, and proposed four tests. The
# simplest *trains* a model with uniform weights: if it does as well, the task did not
# need attention. Here is a cheaper relative of it, uniform weights in a model that was
# trained with its own:

# %%
settings, total = clf.settings(), 0.0
for layer in range(clf.layers):
    settings.temperature[:] = 1
    settings.temperature[layer] = 1e6  # all weights of this layer alike
    change = dev.compare(neutral, settings)
    total += 100 * change.delta
    print(f"uniform weights in layer {layer}:", change)
settings.temperature[:] = 1e6
print("uniform weights everywhere:  ", dev.compare(neutral, settings))
print(f"sum of the layers one by one: {total:+.1f} points")

# %% [markdown]
# Where the interval holds 0, no loss of accuracy was found, so nothing shows that the
# *score* needs what that layer looks at. Read "answers changed" as well: for those
# sentences it did matter, in both directions. Where accuracy is lost, the weights may
# matter, or only be missed by what was trained around them. And look at the last layer,
# whose weights the first column of the picture above showed.
#
# ## 9. Many heads at once
#
# If most single heads can go, how many can go *together*? Take them away one after the
# other, in an order chosen on *dev* sentences, and measure on *test* sentences, which
# had no part in the choice. The yardstick is random order, several times.

# %%
by_sweep = sweep.sort_values("loss_delta")[["layer", "head"]].to_numpy()
judge = al.Evaluator(clf, splits.test.sample(size.sweep_sentences), fast=True)
seeds = range(3 if size.name == "ci" else 5)
paths = [
    al.pruning_curve(judge, "gradient", chosen_on=ev),
    al.pruning_curve(judge, by_sweep).assign(order="silencing"),
    al.pruning_curve(judge, "use", chosen_on=ev),  # mean |gradient|
    al.pruning_curve(judge, "weights"),
    al.pruning_curve(judge, "random", seeds=seeds),
]
path = pd.concat(paths)
whole = judge.score()
al.plots.pruning(path, whole, chance=max(np.bincount(judge.labels)) / whole.n)

# %% [markdown]
# Michel et al. (2019) drew this for BERT-base on pairs of sentences, in the order of
# *use*, the mean of absolute gradients (theirs is normalised layer by layer, ours is
# not), and found that about two fifths of the heads can go without a loss they would
# notice. Look at four things here:
#
# - where the curves leave the band, the 95 % interval of the untouched model. It is of
#   a single score; which losses are more than luck, the *paired* intervals below say;
# - *which* orders beat *random*, and which do worse;
# - whether *gradient*, which keeps the sign, does better or worse than *use*. A sign
#   says what happens if one head goes while all others stay. Take thirty away together,
#   and that question is no longer the one you asked;
# - that every order ends with a constant answer, though by accuracy hardly a head on
#   the way could be told from one that does nothing. Heads cover for each other:
#   *redundant given the others* is not *useless*.

# %%
print("accuracy with half of the heads, %")
for order, rows in path[path["heads_off"] == heads // 2].groupby("order", sort=False):
    some, ends = rows["accuracy"], (rows["accuracy"].min(), rows["accuracy"].max())
    if len(rows) == 1:
        ends = al.statistics.share_interval(round(some.iloc[0] * whole.n), whole.n)
    what = "95 %" if len(rows) == 1 else f"{len(rows)} draws"
    print(f"{order:>10}: {some.mean():.1%} ({what}: {ends[0]:.1%} to {ends[1]:.1%})")

# %%
use = np.abs(ev.gradients(per_sentence=True)).mean(axis=0)  # (layers, heads)
order = [divmod(int(one), clf.heads) for one in use.ravel().argsort()]
print("the least used heads gone, change in points with its paired interval:")
for count in (heads // 6, heads // 3, heads // 2, 2 * heads // 3):
    settings = clf.settings()
    for layer, head in order[:count]:
        settings.scale[layer, head] = 0
    print(f"  {count} of {heads}: {points(judge.compare(whole, settings))}")

# %% [markdown]
# ## 10. From fader to structure
#
# A head at scale 0 still costs its multiplications. `al.heads.prune` cuts it out of the
# weight matrices: the same answers, fewer parameters. Here the half goes that is used
# least, on dev sentences; the comparison is on test sentences. Is it faster, too?

# %%
least = order[: heads // 2]
smaller = al.heads.prune(clf, least)
settings = clf.settings()
for layer, head in least:
    settings.scale[layer, head] = 0
some = splits.test.sample(64).texts
silenced, cut = clf.predict(some, settings), smaller.predict(some)
difference = np.abs(silenced.probabilities - cut.probabilities).max()
print(f"silenced against cut out: largest difference {difference:.1e}")
assert difference < 1e-4
print(judge.compare(whole, settings))

# %%
encoded, models = smaller.encode(some), {"all heads": clf, "half": smaller}
times = {name: [] for name in models}
for _ in range(9):  # in turn, so that a busy moment hits both
    for name, one in models.items():
        start = time.perf_counter()
        one.logits(encoded)
        times[name].append(1000 * (time.perf_counter() - start))
for name, one in models.items():
    size_mb, fastest = 4e-6 * one.parameters(), min(times[name])
    print(f"{name:>9}: {one.parameters():,} parameters, {size_mb:.1f} MB,", end=" ")
    print(f"{fastest:.0f} ms at best")

# %%
ratio = np.array(times["half"]) / np.array(times["all heads"])  # of each round
faster, p = (ratio < 1).sum(), stats.binomtest((ratio < 1).sum(), len(ratio)).pvalue
print(f"round by round: {np.median(ratio):.2f} of the time (median)", end=", ")
print(f"faster in {faster} of {len(ratio)}, {al.statistics.p_text(p)}:", end=" ")
won = p < 0.05 and faster > len(ratio) / 2
print("a gain" if won else "no gain is shown")

# %% [markdown]
# Single timings vary with whatever else the machine does, and a median or a range keeps
# its outliers. So the rounds are *paired*, like the sentences: each compares the two
# models within the same moment. If halving the heads gained nothing, each round would
# be a coin toss.
#
# Half of the heads are not half of the model: feed-forward layers and word embeddings
# stay. Michel et al. gained up to 17.5 % speed from half of BERT-base's heads at large
# batches, and almost nothing for one sentence at a time.
#
# ## What you know now
#
# - Scale acts on what leaves a head, temperature on where it looks.
# - One head silenced is mostly noise in accuracy. Say so, with the interval; count how
#   many heads you looked at; look again on other sentences; and measure the margin,
#   which moves with every sentence.
# - One gradient a sentence foretells what silencing a head would do on the same
#   sentences, if you follow something that hardly bends. Many heads at once are another
#   question.
# - "Important" has several meanings, and they rank heads differently. Gradient and
#   silencing ask what becomes of the answer, the maps do not.
# - Redundant is not useless: how many heads can go depends on which, and an obvious
#   order can do worse than a random one.
# - A large weight is not a large contribution, and a map is not an explanation until it
#   has been tested.

# %%
al.checks.summary("head_mixing")
