# %% [markdown]
# # 12 Capstone: judge for yourself
#
# **Formulas are copied from article to article, numbers from slide to slide, and code
# from one repository to the next. Which of them are right, and how would you know
# without asking anybody?** In this lesson you are the judge: first of thirteen claims,
# then of small applications, and in the end of a question of your own.
#
# It is **a menu rather than a march**. The sections do not build on each other. Take
# the cases that you have met yourself, one or two applications, and the report at the
# end.
#
# Afterwards you can
#
# - turn a claim into an experiment that could prove it wrong;
# - acquit what only looks wrong;
# - say what a baseline, an interval and a protocol do to a result;
# - spread attention over several processes, and say what that saves;
# - report a result of your own so that others can check it.
#
# Time: about 55 minutes for all exercises, and as much as you like for the rest. You
# need lessons [01](01_attention_maths.ipynb), [02](02_attention_from_scratch.ipynb) and
# [05](05_finetune_bert.ipynb). Choose **Run → Run All Cells** first; exercises that are
# not written yet only say so.
# Two labs fetch their data when they first run (58 MB). For a room without a network
# type `attnlab fetch films appliances` before.

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

# %%
import attnlab as al
from attnlab import applications, datasets
from attnlab.statistics import paired_bootstrap, paired_interval

small_run = al.device.profile().name == "ci"
torch.manual_seed(0)
print("profile", al.device.profile().name, "on", al.device.device())

# %% [markdown]
# ## 1. How a case is tried
#
# Each case has a claim, in a sentence and as code that runs. You do not say whether it
# is right. You write an **experiment**: a function `trial_...(candidate)` that gets
# *some* version of the code, tries it on inputs of its own, and returns True (guilty:
# it is wrong) or False (innocent).
#
# A small example first. Somebody says: *add 3 to all scores of a row, and its attention
# moves.* What would one see if that were so? Other weights.


# %%
def shifted(scores):
    """The claim: these are other weights."""
    return (scores + 3).softmax(-1)


def doubled(scores):
    """A version for which it is true."""
    return (2 * scores).softmax(-1)


def trial_shift(candidate):
    """Guilty if the weights are not those of the scores as they were."""
    scores = torch.randn(4, 6)
    return not torch.allclose(candidate(scores), scores.softmax(-1), atol=1e-5)


# %%
for version in (shifted, doubled):
    print(version.__name__, "is", "guilty" if trial_shift(version) else "innocent")

# %% [markdown]
# The same experiment convicts one and acquits the other. That is what makes it
# evidence. Two numbers show how the softmax sees it: scores 1 and 2 give $e^1/(e^1+e^2)
# = 0.27$, and scores 4 and 5 give $e^4/(e^4+e^5) = 0.27$.
#
# The check of a case therefore tries your experiment on more than the claim: on other
# versions that are wrong in their own way, and on right ones that are written
# differently. All of them come under changing names, in any order, with other random
# numbers. An experiment that convicts everybody has proved nothing, nor has one that
# convicts for a rounding error in the seventh decimal. **Some claims are innocent.**
#
# After each check a cell tries the claim and a right version by your experiment, or by
# ours where yours is not right yet.


# %%
def judge(trial, **versions):
    """Print the verdict on each version."""
    trial = al.checks.yours_or_ours(trial.__name__, trial)
    for name, version in versions.items():
        print(f"{name:12}", "guilty" if trial(version) else "innocent")


# %% [markdown]
# ## 2. Formulas

# %% [markdown]
# ### No scale is needed
#
# *"Attention weights are the softmax of queries times keys: softmax(QKᵀ)."* Found in
# many introductions. Others divide by $\sqrt{d_k}$, and some explain that $d_k$ is the
# number of heads.


# %%
def unscaled(query, key):
    """The claim: weights (T_q, T_k) from queries (T_q, D) and keys (T_k, D)."""
    return (query @ key.mT).softmax(-1)


# %% [markdown]
# #### Exercise 1: a trial of the scale
#
# *Difficulty 2 of 5, 4 minutes.* `candidate(query, key)` takes tensors `(T_q, D)` and
# `(T_k, D)` of any sizes and returns weights `(T_q, T_k)`. Weights of a head should be
# about equally sharp whatever its width D, if queries and keys have variance 1. Convict
# a candidate that divides its scores by nothing, or by something that is not the square
# root of the width.


# %% exercise="trial_scale" points=1
def trial_scale(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    for width in (4, 64):
        query, key = torch.randn(2, 200, width)
        spread = candidate(query, key).log().std(-1).mean()  # of the scores in a row
        if not 0.8 < spread < 1.2:
            return True
    return False
    ### END SOLUTION


# %% check="trial_scale"
al.checks.trial_scale(trial_scale)

# %% [markdown] hints="trial_scale"
# What is the variance of a product of two vectors of D numbers, each of variance 1? And
# after a division by $\sqrt{D}$?
#
# ---
# Only weights come out. But `weights.log()` are the scores, less a number that is the
# same for a whole row: it does not change their standard deviation along the row.
#
# ---
# With enough keys that standard deviation is near 1 at any width. Try two widths that
# are far apart, and look at both sides: too large and too small.


# %%
def scaled(query, key):
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)


judge(trial_scale, claim=unscaled, scaled=scaled)

# %%
widths, largest = [2, 8, 32, 128, 512], {"softmax(QKᵀ)": [], "softmax(QKᵀ / √d)": []}
for width in widths:
    query, key = torch.randn(2, 100, width)
    for name, weigh in zip(largest, (unscaled, scaled), strict=True):
        largest[name].append(float(weigh(query, key).amax(-1).mean()))
al.plots.lines(
    widths,
    largest,
    log="x",
    xlabel="width of a key",
    ylabel="largest weight of a row",
    alt="Without a scale the largest of 100 weights nears 1 as keys get wider.",
)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. The variance of a score grows with the width, so wide heads put nearly all
# weight on one key, where softmax has hardly a gradient. $d_k$ is the width of one
# query or key; the number of heads does not occur.
#
# </details>

# %% [markdown]
# ### Values first
#
# *"The output is Y = VᵀA."* With vectors as columns one can write it so. With a row for
# each query and each value, as in all code of this course?


# %%
def mixed(weights, value):
    """The claim: the mixture of values (T, D) by weights (T, T)."""
    return value.mT @ weights


# %% [markdown]
# #### Exercise 2: a trial of the mixture
#
# *Difficulty 1 of 5, 3 minutes.* `candidate(weights, value)` takes weights `(T, T)`, a
# row for each query, and values `(T, D)`, and should return `(T, D)`: for each query
# the sum of values times its weights.


# %% exercise="trial_mixture" points=1
def trial_mixture(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    value, order = torch.randn(5, 5), [2, 0, 4, 1, 3]
    looks_at = torch.eye(5)[order]  # each query has all its weight on one key
    return not torch.allclose(candidate(looks_at, value), value[order], atol=1e-5)
    ### END SOLUTION


# %% check="trial_mixture"
al.checks.trial_mixture(trial_mixture)

# %% [markdown] hints="trial_mixture"
# Which result do you know without computing it? Give a query all its weight on one key.
#
# ---
# `torch.eye(5)` is too symmetric: turned round it is the same. Change the order of its
# rows, so that no two of them just change places.
#
# ---
# A version may give a result of another shape. With D = T all results can be compared.

# %%
weights = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
value = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
print("V^T A:", *mixed(weights, value).numpy().round(2))
print("A V:  ", *(weights @ value).numpy().round(2))
judge(trial_mixture, claim=mixed, right=lambda weights, value: weights @ value)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. $Y = AV$: row $i$ of the result is the sum of value rows, times the weights in
# row $i$ of $A$. $V^\top A$ has another shape wherever T and D differ; where they are
# equal it runs and is wrong.
#
# </details>

# %% [markdown]
# ### Heads share one weight
#
# *"Each head gets a score, and the scores are normalised across the heads."* So it
# stands in more than one article on multi-head attention.


# %%
def over_heads(scores):
    """The claim: weights from scores (H, T_q, T_k)."""
    return scores.softmax(0)


# %% [markdown]
# #### Exercise 3: a trial of shared weights
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(scores)` takes scores `(H, T_q, T_k)` and
# should return attention weights of that shape. What do you know of the weights of one
# query?


# %% exercise="trial_over_heads" points=1
def trial_over_heads(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    sums = candidate(torch.randn(3, 4, 6)).sum(-1)
    return not torch.allclose(sums, torch.ones(3, 4), atol=1e-4)
    ### END SOLUTION


# %% check="trial_over_heads"
al.checks.trial_over_heads(trial_over_heads)

# %% [markdown] hints="trial_over_heads"
# A query in a head hands out one whole of attention. Over which axis is it handed out?
#
# ---
# Choose H, T_q and T_k all different, and scores that are not all alike. Otherwise a
# sum over another axis may come out at 1 by luck.

# %%
scores = torch.randn(3, 4, 6)
for name, weigh in {
    "over heads": over_heads,
    "over keys": lambda s: s.softmax(-1),
}.items():
    print(
        f"{name}: sums over keys in head 0:", weigh(scores)[0].sum(-1).numpy().round(2)
    )
judge(trial_over_heads, claim=over_heads, right=lambda scores: scores.softmax(-1))

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. Weights are normalised over keys, inside each head. Heads do not compete: what
# they find is put side by side and projected. The same holds for translation: for each
# target position the softmax runs over the source positions.
#
# </details>

# %% [markdown]
# ### A softmax without the whole row
#
# *"You can compute attention while seeing only three keys at a time."* It sounds wrong:
# softmax divides by a sum over *all* keys, and the first pieces do not know it yet.


# %%
def in_pieces(query, key, value):
    """The claim: the context (T_q, D_v), three keys at a time."""
    top = torch.full_like(query[..., :1], -1e9)
    total, mixture = 0 * top, 0 * query[..., :1] * value[..., :1, :]
    for keys, values in zip(key.split(3, -2), value.split(3, -2), strict=True):
        scores = query @ keys.mT / math.sqrt(query.shape[-1])
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights, before = (scores - higher).exp(), (top - higher).exp()
        total = total * before + weights.sum(-1, keepdim=True)
        mixture, top = mixture * before + weights @ values, higher
    return mixture / total


# %% [markdown]
# #### Exercise 4: a trial of pieces
#
# *Difficulty 3 of 5, 4 minutes.* `candidate(query, key, value)` takes tensors `(T_q,
# D)`, `(T_k, D)`, `(T_k, D_v)` with any number of keys and should return `(T_q, D_v)`.
# Are these the numbers of attention?


# %% exercise="trial_in_pieces" points=2
def trial_in_pieces(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    for keys in (4, 7, 12):
        query, key, value = (torch.randn(n, 8) for n in (5, keys, keys))
        expected = (query @ key.mT / math.sqrt(8)).softmax(-1) @ value
        if not torch.allclose(candidate(query, key, value), expected, atol=1e-4):
            return True
    return False
    ### END SOLUTION


# %% check="trial_in_pieces"
al.checks.trial_in_pieces(trial_in_pieces)

# %% [markdown] hints="trial_in_pieces"
# Here you can compute the right result in one line: scaled scores, softmax, mixture.
# Write it beside the candidate.
#
# ---
# Other versions take pieces of three as well, and are wrong only for some numbers of
# keys. Try several numbers, some of which are no multiple of three.
#
# ---
# The two ways add in another order. `torch.allclose(..., atol=1e-4)` allows for that.

# %%
query, key, value = torch.randn(5, 8), torch.randn(100, 8), torch.randn(100, 6)
whole = (query @ key.mT / math.sqrt(8)).softmax(-1) @ value
apart = (in_pieces(query, key, value) - whole).abs().max()
print(f"largest difference between pieces and the whole: {apart:.1e}")
judge(trial_in_pieces, claim=in_pieces)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Innocent. When a higher score comes, `before` puts right what was summed so far. This
# is the online softmax of lesson 04, and the heart of FlashAttention. Further below it
# is spread over several processes.
#
# </details>

# %% [markdown]
# ### Heads need not be joined
#
# *"You can leave out the concatenation: let each head project its own result, and
# add."* Every drawing of multi-head attention shows a box named Concat.


# %%
def sum_of_heads(heads, projection):
    """The claim: heads (H, T, D) joined and projected by (H * D, E)."""
    parts = projection.split(heads.shape[-1])
    return sum(head @ part for head, part in zip(heads, parts, strict=True))


# %% [markdown]
# #### Exercise 5: a trial of heads that are not joined
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(heads, projection)` takes the results of H
# heads, `(H, T, D)`, and a projection `(H * D, E)`. It should return what joining the
# heads side by side and projecting them gives, `(T, E)`.


# %% exercise="trial_sum_of_heads" points=1
def trial_sum_of_heads(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    heads, projection = torch.randn(3, 5, 4), torch.randn(12, 6)
    expected = torch.cat(list(heads), -1) @ projection
    return not torch.allclose(candidate(heads, projection), expected, atol=1e-4)
    ### END SOLUTION


# %% check="trial_sum_of_heads"
al.checks.trial_sum_of_heads(trial_sum_of_heads)

# %% [markdown] hints="trial_sum_of_heads"
# Joining heads side by side is `torch.cat(list(heads), -1)`, with shape `(T, H * D)`.
#
# ---
# Take more than one head, more than one token, a width above 1 and a projection of
# random numbers: a version may be right where one of these is trivial.

# %%
heads, projection = torch.randn(3, 5, 4), torch.randn(12, 6)
joined = torch.cat(list(heads), -1) @ projection
apart = (sum_of_heads(heads, projection) - joined).abs().max()
print(f"largest difference: {apart:.1e}")
judge(trial_sum_of_heads, claim=sum_of_heads)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Innocent. Multiplying a concatenation by a matrix equals summing over its blocks. That
# is why one can ask what a single head adds to the answer (lesson 06).
#
# </details>

# %% [markdown]
# ## 3. Measures and benchmarks

# %% [markdown]
# ### More heads are cheaper
#
# *"Multi-head attention lowers the complexity: each head works on only d / h numbers."*


# %%
def heads_cost(tokens, width, heads):
    """The claim: operations of one attention layer."""
    head = width // heads
    return 8 * tokens * width**2 + 4 * tokens**2 * head


# %% [markdown]
# #### Exercise 6: a trial of the price of heads
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(tokens, width, heads)` returns the
# operations of an attention layer: four projections, scores and mixture. Does the
# number of heads matter? Allow for what is really there: the softmax of more heads
# costs a little more. Think of short texts and of long ones.


# %% exercise="trial_heads_cost" points=1
def trial_heads_cost(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    for tokens in (64, 8192):
        ratio = candidate(tokens, 512, 8) / candidate(tokens, 512, 1)
        if not 0.9 < ratio < 1.1:
            return True
    return False
    ### END SOLUTION


# %% check="trial_heads_cost"
al.checks.trial_heads_cost(trial_heads_cost)

# %% [markdown] hints="trial_heads_cost"
# Compare 8 heads with 1 by a ratio: it does not depend on the unit.
#
# ---
# On a short text the projections are nearly everything, on a long one the pairs of
# tokens. A version may be wrong in one of the two only. And a cost may also be too
# high.


# %%
def all_heads(tokens, width, heads):
    return 8 * tokens * width**2 + 4 * tokens**2 * (width / heads) * heads


counts = [1, 2, 4, 8, 16]
gigas = {"claim": heads_cost, "all heads counted": all_heads}
judge(trial_heads_cost, claim=heads_cost, right=all_heads)
al.plots.lines(
    counts,
    {name: [f(4096, 512, h) / 1e9 for h in counts] for name, f in gigas.items()},
    xlabel="heads",
    ylabel="billion operations",
    alt="The claim falls with the number of heads; all heads counted, it is flat.",
)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. There are $h$ heads of width $d/h$: $h \cdot n^2 \cdot d/h = n^2 d$. Heads let
# a layer look at several things at once, for the same price.
#
# </details>

# %% [markdown]
# ### Small weights are cheap
#
# *"We limit the L2 norm of the parameters, and so the cost of computing."*


# %%
def norm_cost(weight):
    """The claim: what a layer with this weight (out, in) costs."""
    return float(weight.square().sum().sqrt())


# %% [markdown]
# #### Exercise 7: a trial of the price of size
#
# *Difficulty 1 of 5, 2 minutes.* `candidate(weight)` takes a matrix and returns what it
# costs to multiply by it, in some unit. A cost may be lower where weights are exactly
# 0; is it lower where they are small?


# %% exercise="trial_norm_cost" points=1
def trial_norm_cost(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    weight = torch.randn(20, 30)
    before, after = candidate(weight), candidate(0.01 * weight)
    return not math.isclose(before, after, rel_tol=1e-3)
    ### END SOLUTION


# %% check="trial_norm_cost"
al.checks.trial_norm_cost(trial_norm_cost)

# %% [markdown] hints="trial_norm_cost"
# Halve all weights. How many multiplications are there now?
#
# ---
# Units differ: compare a candidate with itself, before and after. With weights much
# smaller even a version with a threshold gives itself away.

# %%
weight = torch.randn(512, 512)
for factor in (1, 0.5, 0.01):
    norm = norm_cost(factor * weight)
    print(f"weights x {factor:<4}: norm {norm:6.1f}, operations {2 * weight.numel():,}")
judge(trial_norm_cost, claim=norm_cost, right=lambda weight: 2 * weight.numel())

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. The norm says how large weights are. Cost is counted in parameters,
# operations, bytes and milliseconds (lesson 08). Fixing a budget of these and looking
# for the most accuracy is a well-posed task; "accuracy = 1 and efficiency = 1" is none.
#
# </details>

# %% [markdown]
# ### Imbalance in percent
#
# *"Imbalance is the relative difference (a - b) / b from the reference b."* A head's
# attention is to be compared with a reference distribution.


# %%
def imbalance(a, b):
    """The claim: how unlike two distributions (n,) are."""
    return float(((a - b).abs() / b).mean())


# %% [markdown]
# #### Exercise 8: a trial of a measure
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(a, b)` takes two distributions and returns
# a number: 0 if they are equal. A meter needs a measure with an upper bound; the sound
# ones here never exceed 1. Convict what grows without a bound.


# %% exercise="trial_imbalance" points=1
def trial_imbalance(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    a = torch.tensor([0.5, 0.5])
    for tiny in (1e-3, 1e-9, 1e-30, 0.0):
        if not candidate(a, torch.tensor([1 - tiny, tiny])) <= 1.001:
            return True
    return False
    ### END SOLUTION


# %% check="trial_imbalance"
al.checks.trial_imbalance(trial_imbalance)

# %% [markdown] hints="trial_imbalance"
# Where does a division by b explode? Attention weights of 1e-9 are common.
#
# ---
# Some versions grow only slowly: go much nearer to 0, and to 0 itself.
#
# ---
# There `inf` and `nan` may come out. `nan > 1` is False, and so is `nan <= 1`: which of
# the two do you want to ask?


# %%
def bounded(a, b):
    """The Jensen-Shannon divergence, in bits."""
    middle = (a + b) / 2
    nats = sum(torch.xlogy(p, p / middle).sum() for p in (a, b)) / 2
    return float(nats) / math.log(2)


judge(trial_imbalance, claim=imbalance, right=bounded)

# %%
near, a = [10.0**-k for k in range(1, 9)], torch.tensor([0.5, 0.5])
pairs = [(a, torch.tensor([1 - tiny, tiny])) for tiny in near]
values = {"(a - b) / b": imbalance, "Jensen-Shannon": bounded}
al.plots.lines(
    near,
    {name: [measure(*pair) for pair in pairs] for name, measure in values.items()},
    log="xy",
    xlabel="smallest reference weight",
    ylabel="imbalance",
    alt="The relative difference explodes near 0, the divergence stays below 1.",
)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. One reference weight near 0 outweighs everything else. The Jensen-Shannon
# divergence is bounded (1 bit), symmetric, and 0 only for equal distributions; lesson
# 07 uses it.
#
# </details>

# %% [markdown]
# ### A loss by another name
#
# *"Accuracy: 1 minus the mean binary cross-entropy."* A line found in training scripts;
# the number goes up when the model gets better.


# %%
def loss_as_accuracy(probabilities, labels):
    """The claim: accuracy from probabilities (N,) and labels (N,), 0.0 or 1.0."""
    given = torch.where(labels == 1, probabilities, 1 - probabilities)
    return 1 + float(given.clamp_min(1e-12).log().mean())


# %% [markdown]
# #### Exercise 9: a trial of an accuracy
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(probabilities, labels)` takes the
# probabilities of label 1 and the labels, as tensors of decimals, and should return the
# share of right answers. The answer is the likelier label.


# %% exercise="trial_accuracy" points=1
def trial_accuracy(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    probabilities = torch.rand(50)
    labels = torch.bernoulli(probabilities)
    less_sure = 0.5 + (probabilities - 0.5) / 3  # the same answers
    before, after = candidate(probabilities, labels), candidate(less_sure, labels)
    return not math.isclose(before, after, abs_tol=1e-4)
    ### END SOLUTION


# %% check="trial_accuracy"
al.checks.trial_accuracy(trial_accuracy)

# %% [markdown] hints="trial_accuracy"
# Change the probabilities so that every answer stays the same. What must an accuracy
# do?
#
# ---
# For example, make the model less sure: bring all probabilities nearer to one half.
# Take labels for which the model is mostly right: `torch.bernoulli(probabilities)`.

# %%
labels = torch.tensor([1.0, 1.0, 0.0, 0.0])
for sure in (0.55, 0.75, 0.99):
    answers = torch.tensor([sure, sure, 1 - sure, sure])  # three of four are right
    share = float(((answers > 0.5) == labels.bool()).float().mean())
    print(
        f"sure by {sure}: claim {loss_as_accuracy(answers, labels):5.2f}, share {share}"
    )
judge(
    trial_accuracy,
    claim=loss_as_accuracy,
    right=lambda p, y: float(((p > 0.5) == (y == 1)).float().mean()),
)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. Cross-entropy is a loss: it also counts how sure an answer is, has no lower
# bound when taken from 1, and can fall while accuracy rises. Accuracy counts answers.
#
# </details>

# %% [markdown]
# ### Balance by clusters
#
# *"Cluster the attention weights by k-means, and replace each by its distance from its
# centre: the heads are rebalanced."*


# %%
def rebalanced(weights):
    """The claim: adjusted attention weights, (T_q, T_k)."""
    low, high = weights.min(), weights.max()
    for _ in range(10):
        nearer = (weights - high).abs() < (weights - low).abs()
        low, high = weights[~nearer].mean(), weights[nearer].mean()
    return torch.minimum((weights - low).abs(), (weights - high).abs())


# %% [markdown]
# #### Exercise 10: a trial of balancing
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(weights)` takes attention weights `(T_q,
# T_k)` and returns adjusted ones. How much they should change is a matter of taste.
# What must they still be?


# %% exercise="trial_rebalance" points=1
def trial_rebalance(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    new = candidate((3 * torch.randn(20, 6)).softmax(-1))
    if (new < -1e-5).any():
        return True
    return not torch.allclose(new.sum(-1), torch.ones(20), atol=1e-4)
    ### END SOLUTION


# %% check="trial_rebalance"
al.checks.trial_rebalance(trial_rebalance)

# %% [markdown] hints="trial_rebalance"
# Values are mixed by these numbers. Which two properties make a mixture?
#
# ---
# Some versions have only one of the two. Try rows that are far from uniform, and many.


# %%
def flatter(weights):
    return weights.sqrt() / weights.sqrt().sum(-1, keepdim=True)


weights = torch.tensor([[0.70, 0.20, 0.06, 0.04], [0.10, 0.60, 0.20, 0.10]])
print("claim:         ", rebalanced(weights).sum(-1).numpy().round(2), "= sums of rows")
print("temperature 2: ", flatter(weights).sum(-1).numpy().round(2), "= sums of rows")
judge(trial_rebalance, claim=rebalanced, right=flatter)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. Clustering finds groups; it is no adjustment. What comes out here are
# distances: they do not sum to 1, and the typical weight becomes 0. A temperature
# flattens or sharpens a row and leaves it a row of weights.
#
# </details>

# %% [markdown]
# ## 4. Traps of real repositories
#
# The next three are known from real repositories, and were copied from there into
# others. None of them stops with an error, which would be the kinder thing to do.

# %% [markdown]
# ### A layer made where it is needed
#
# *"The class layer is made inside forward: there its size is known."*


# %%
class MadeInForward(nn.Module):
    """The claim: a class layer, from (N, width) to logits (N, classes)."""

    def __init__(self, width, classes):
        super().__init__()
        self.width, self.classes = width, classes

    def forward(self, hidden):
        return nn.Linear(self.width, self.classes)(hidden)


# %% [markdown]
# #### Exercise 11: a trial of a layer
#
# *Difficulty 3 of 5, 4 minutes.* `candidate(width, classes)` makes a module, which
# turns `(N, width)` into `(N, classes)`. Can it learn? Convict one whose answers do not
# depend on parameters that an optimizer finds. (Some modules have dropout, which is no
# crime.)


# %% exercise="trial_class_layer" points=2
def trial_class_layer(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    model, hidden = candidate(6, 3).eval(), torch.randn(8, 6)
    first, second = model(hidden), model(hidden)
    if not torch.allclose(first, second, atol=1e-5) or not first.requires_grad:
        return True
    first.square().sum().backward()
    with torch.no_grad():  # a step down the gradient
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return torch.allclose(model(hidden), second, atol=1e-5)
    ### END SOLUTION


# %% check="trial_class_layer"
al.checks.trial_class_layer(trial_class_layer)

# %% [markdown] hints="trial_class_layer"
# Ask the same thing twice. With `.eval()` dropout is off: what should come out?
#
# ---
# Weights may be random and yet the same every time. So take a step of training, over
# `model.parameters()`, and ask again.
#
# ---
# Without parameters `torch.optim.SGD` raises an error, and `backward` does where
# nothing needs a gradient. Look before you call them: `first.requires_grad`.

# %%
hidden = torch.randn(1, 6)
for made in (MadeInForward(6, 3), nn.Linear(6, 3)):
    count = sum(parameter.numel() for parameter in made.parameters())
    answers = [made(hidden)[0].detach().numpy().round(2) for _ in range(2)]
    print(f"{type(made).__name__:14} {count:2} parameters, two calls:", *answers)
judge(trial_class_layer, claim=MadeInForward, right=nn.Linear)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. Its weights are random at every call, and no optimizer ever sees them. The
# loss may fall all the same, as the layers below learn to live with noise. Layers are
# made in `__init__`.
#
# </details>

# %% [markdown]
# ### Labels as long as the text
#
# *"Labels are padded to the length of the longest sentence, like the tokens."*


# %%
def padded_labels(tokens, labels):
    """The claim: labels of a batch of sentences, as a tensor."""
    longest = max(len(sentence) for sentence in tokens)
    return torch.tensor(labels + [0] * (longest - len(labels)))


# %% [markdown]
# #### Exercise 12: a trial of labels
#
# *Difficulty 2 of 5, 3 minutes.* `candidate(tokens, labels)` takes a batch, a list of
# sentences, each a list of token numbers, and a list with one label for each sentence.
# It should return a tensor of the labels that a sentence classifier learns from.


# %% exercise="trial_labels" points=1
def trial_labels(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    few = candidate([[5, 6, 7, 8, 9], [5, 6]], [1, 0])
    many = candidate([[5, 6]] * 12, [1, 0] * 6)
    return few.shape != (2,) or many.shape != (12,)
    ### END SOLUTION


# %% check="trial_labels"
al.checks.trial_labels(trial_labels)

# %% [markdown] hints="trial_labels"
# How many labels should there be? `len` counts rows; is that enough?
#
# ---
# Some versions are right where there are more sentences than tokens in the longest, or
# fewer, or just 8. Try more than one batch.

# %%
batch, labels = [[5, 6, 7, 8, 9], [5, 6]], [1, 1]
print("claim:", padded_labels(batch, labels).tolist(), "for", len(batch), "sentences")
print("right:", torch.tensor(labels).tolist())
judge(
    trial_labels, claim=padded_labels, right=lambda tokens, labels: torch.tensor(labels)
)

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. A sentence has one label. The padding became labels of class 0 for sentences
# that do not exist. Where each *token* has a label (lesson 05), labels are padded along
# the tokens with -100, which the loss leaves out.
#
# </details>

# %% [markdown]
# ### BERT translates
#
# *"Feed BERT the source and the target, and train it to give the next word of the
# target: a translator."* Its training loss falls quickly, faster than that of any
# honest one. Here is its core, one attention with fixed weights:


# %%
def bert_as_translator(source, target):
    """The claim: logits (T, 100), row t for the word after target[t]."""
    table = torch.randn(100, 16, generator=torch.Generator().manual_seed(0)) / 2
    words = torch.cat([source, target])  # all words see all words
    place = torch.arange(len(words))[:, None] / 10 ** torch.linspace(0, 2, 16)
    hidden = table[words] + place.sin()
    scores = hidden[len(source) :] @ hidden.T / 4
    return scores.softmax(-1) @ hidden @ table.T


# %% [markdown]
# #### Exercise 13: a trial of a translator
#
# *Difficulty 4 of 5, 5 minutes.* `candidate(source, target)` takes word numbers from 0
# to 99, `(S,)` and `(T,)`, and returns logits `(T, 100)`; row t predicts the word after
# `target[t]`. When it translates, the rest of the target does not exist yet. So row t
# may know the source and `target[: t + 1]`, and it must make use of the source. Convict
# what knows more, or does not read the source.


# %% exercise="trial_translator" points=2
def trial_translator(candidate):
    """True if the candidate is wrong."""
    ### BEGIN SOLUTION
    source, target = torch.randint(100, (6,)), torch.randint(100, (7,))
    logits = candidate(source, target)
    for t in range(6):
        other = target.clone()
        other[t + 1] = (other[t + 1] + 1) % 100  # a later word
        if not torch.allclose(
            candidate(source, other)[: t + 1], logits[: t + 1], atol=1e-3
        ):
            return True
    other = (source + 1) % 100
    return torch.allclose(candidate(other, target), logits, atol=1e-3)
    ### END SOLUTION


# %% check="trial_translator"
al.checks.trial_translator(trial_translator)

# %% [markdown] hints="trial_translator"
# Change one word of the target. Which rows may change?
#
# ---
# Some versions look just one word ahead, others further. Change each later word, one at
# a time, or cut the target off at every length: the rows before must stay.
#
# ---
# A version that never reads the source passes that. What has to change with the source?

# %%
source, target = torch.arange(5), torch.arange(20, 26)
moved = torch.zeros(6, 6)
for word in range(6):
    other = target.clone()
    other[word] = 99
    change = bert_as_translator(source, other) - bert_as_translator(source, target)
    moved[:, word] = change.abs().amax(-1)
figure, axes = plt.subplots(figsize=(3.6, 3), layout="constrained")
image = axes.imshow(moved, cmap="cividis", norm="log")
figure.colorbar(image, label="change of the logits")
axes.set(xlabel="word of the target that changes", ylabel="row of the answer")
judge(trial_translator, claim=bert_as_translator)
al.plots.show(figure, alt="Every row changes with every word, later ones as well.")

# %% [markdown]
# <details><summary>What is true</summary>
#
# Guilty. Above the diagonal nothing should change; here row t sees the word that it is
# to predict. In training the answer is copied, and when translating there is nothing to
# copy. A causal mask, or a decoder with one (lesson 03), makes a translator.
#
# </details>

# %% [markdown]
# ### The other claims
#
# | what is said | what is true |
# | --- | --- |
# | $y_j = \text{softmax}(\sum_i A(x_i, y_j))\,M(x)$ | a softmax over the sources $i$ |
# | least cost with accuracy = 1 and efficiency = 1 | they trade off: fix a budget |
# | $d_k$ is the number of heads | it is the width of one query or key |
#
# Which claim have you met this week? Write it as code, and try it.

# %% [markdown]
# ## 5. Over several processes
#
# A text may be too long for one machine. In **ring attention** each process holds a
# part of the queries, keys and values. Queries stay where they are. Keys and values
# travel from neighbour to neighbour, and each process attends to the part that just
# came; the online softmax of exercise 4 merges what it finds. After n steps every query
# has met every key, and no process ever held all of them.
#
# Under a causal mask early queries see few keys and late ones many. If each process
# took one stretch of the text, the first would wait for the last. So each takes two,
# one from the front and one from the back: **zigzag** order. Below, colours are
# processes.

# %% folded=true
owners = {"contiguous": [0, 0, 1, 1, 2, 2, 3, 3], "zigzag": [0, 1, 2, 3, 3, 2, 1, 0]}
figure, both = plt.subplots(1, 2, figsize=(6.8, 3.2), layout="constrained")
for axes, (order, owner) in zip(both, owners.items(), strict=True):
    table = np.where(np.tri(8, dtype=bool), np.array(owner)[:, None], np.nan)
    axes.imshow(table, cmap="cividis", vmin=0, vmax=3)
    work = [int((table == process).sum()) for process in range(4)]
    axes.set(title=f"{order}: {work} blocks", xlabel="keys", ylabel="queries")
al.plots.show(figure, alt="Blocks of work of four processes, uneven and even.")


# %%
def work(rank, query, key, value):
    """In each process: its part, the seconds, and the bytes that it holds."""
    parts = [al.attention.ring_part(whole) for whole in (query, key, value)]
    start = time.perf_counter()
    context = al.attention.ring_attention(*parts, causal=True)
    seconds = time.perf_counter() - start
    parcel = sum(part.nbytes for part in parts[1:])  # a copy of keys and values
    parcels = 1 if parts[0].shape == query.shape else 2  # one goes while one comes
    held = sum(part.nbytes for part in (*parts, context)) + parcels * parcel
    return al.attention.ring_join(context), seconds, held


# %%
query, key, value = torch.randn(3, 1, 4, 128 if small_run else 4096, 32)
expected = al.attention.tiled_attention(query, key, value, causal=True)
rows = {}
for count in [2] if small_run else [1, 2, 4]:
    found = al.attention.in_processes(work, count, query, key, value)
    error = max(float((context - expected).abs().max()) for context, _, _ in found)
    seconds, held = (max(each[place] for each in found) for place in (1, 2))
    rows[count] = (f"{error:.0e}", held / 2**20, seconds)
columns = ["largest error", "held by one process (MiB)", "seconds"]
print(f"all weights at once: {4 * 4 * query.shape[-2] ** 2 / 2**20:.2f} MiB")
pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(2)

# %% [markdown]
# The numbers are those of one process, up to rounding. The memory is counted: its own
# part, the result, and what is on its way. From two processes on it falls as 1/n, and
# the table of all weights, printed above, is never made. The seconds are those of *one*
# machine, whose cores the processes share: there the ring saves memory, not time. It
# can save time where each process has a machine or a GPU of its own. The [guide for
# engineers](../docs/engineers.md) says how to start it with `torchrun`.

# %% [markdown]
# ## 6. Five applications
#
# Each lab is short and ends in a number with its interval, beside a baseline. Sometimes
# the baseline wins. Take the labs that interest you, in any order.

# %% [markdown]
# ### Lab: which message is read first?
#
# A shop gets more messages than its people can answer. A model sorts them: complaints
# first, praise last. Where it is not sure, it **abstains**, and a person decides.
# **Coverage** is the share of messages that it answers itself, **selective accuracy**
# its accuracy on those. Six answers, the surest first, and whether each was right:

# %%
sure = np.array([0.98, 0.95, 0.90, 0.80, 0.70, 0.60])
right = np.array([True, True, True, False, True, False])
al.applications.coverage_curve(sure, right, points=6).round(2)

# %% [markdown]
# All six answered: 67 % right. The surest three: all right, but `low` and `high`, the
# 95 % interval, show how little three answers say.
#
# Now product reviews. The **movie classifier** never saw a product. The **new head** is
# a logistic regression over the mean of its last hidden states, fitted to reviews. The
# **bag of words** (tf-idf) learns from the same reviews without attention.

# %%
apps, sizes = applications, (24, 12, 16) if small_run else (600, 300, 700)
reviews = al.datasets.split(al.datasets.load("product-sentiment").test, 500, 1400)
reviews = reviews.sample(*sizes)
mood = al.load_classifier("movie-sentiment")
names = [reviews.train.label_names[label] for label in reviews.train.labels]
head = apps.linear_head(apps.embed(mood, reviews.train.texts), names)
bag = al.evaluation.bag_of_words(reviews.train)
ways = {
    "movie classifier": lambda texts: mood.predict(texts).probabilities,
    "new head": lambda texts: head.predict_proba(apps.embed(mood, texts)),
    "bag of words": bag.predict_proba,
}

# %% [markdown]
# Each model's threshold is chosen on dev, so that 80 % of dev is answered. The test
# part is opened here, once. A coin that abstains at random stands beside them.
# *Predict first:* does abstaining help the better model, or the worse one?

# %%
dev, test = ({name: way(part.texts) for name, way in ways.items()}
             for part in (reviews.dev, reviews.test))  # fmt: skip
truth, threshold, rows, curves = np.array(reviews.test.labels), {}, {}, {}
for name, answers in test.items():
    correct, sure = answers.argmax(1) == truth, answers.max(1)
    threshold[name] = apps.threshold_for(dev[name].max(1), 0.8)
    rows[name] = vars(apps.selective(sure, correct, threshold[name]))
    curves[name] = apps.coverage_curve(sure, correct)
coin = np.random.default_rng(0).random(len(truth))
correct = test["new head"].argmax(1) == truth
rows["new head, by a coin"] = vars(apps.selective(coin, correct, 0.2))
pd.DataFrame(rows).T.round(3)

# %% folded=true
curve = curves["new head"]
picture = al.plots.lines(
    curve["coverage"],
    {name: each["accuracy"] for name, each in curves.items()},
    xlabel="coverage: share of messages answered",
    ylabel="accuracy on those",
    alt="Selective accuracy falls as more messages are answered, for three models.",
)
band = {"color": "#de8f05", "alpha": 0.2, "linewidth": 0}
axes = picture.figure.axes[0]
axes.fill_between(curve["coverage"], curve["low"], curve["high"], **band)
picture

# %% [markdown]
# The band is the 95 % interval of the new head.
#
# **The queue** is ordered by the probability of a complaint: sure complaints, then what
# is unsure, then sure praise. How many complaints are among the first?

# %%
urgency = {name: answers[:, 0] for name, answers in test.items()}
apps.queue_table(urgency, truth == 0, [10] if small_run else [100]).round(2)

# %% [markdown]
# **The nearest answer.** An answer book has 24 questions. The bundled encoder, as it
# was published, makes a vector of each text; texts of one meaning are near each other.
# The messages are **synthetic**, from templates of ours. The *unseen* ones avoid the
# words of the book on purpose. Intervals are over templates.

# %%
meaning, book = al.classification.fresh_classifier(), al.datasets.messages.answer_book()
questions, tables = book["question"].tolist(), {}
for part in ("seen", "unseen"):
    asked = al.datasets.messages.messages(24 if small_run else 144, part, seed=1)
    texts = asked["text"].tolist()
    near = apps.embed(meaning, texts) @ apps.embed(meaning, questions).T
    likeness = {"words": apps.word_overlap(questions, texts), "encoder": near}
    entries, groups = asked["entry"].to_numpy(), asked["template"].to_numpy()
    tables[part] = apps.answer_table(likeness, entries, groups)
pd.concat(tables, names=["templates", ""]).round(2)

# %% [markdown]
# Everything together. Change the messages:

# %%
examples = al.datasets.messages.messages(24 if small_run else 144)
texts = [*questions, *examples["text"]]
kinds = [*book["topic"], *examples["topic"]]
topics = apps.linear_head(apps.embed(meaning, texts), kinds)
triage = apps.Triage(mood, meaning, head, topics, book, threshold["new head"])
mine = ["The lamp came in pieces.", "What a lovely shop!", "I need a bill.", "Hm."]
triage.sort(mine).drop(columns="message").round(2)

# %% [markdown]
# **Has the domain changed?** If messages become of another kind, these figures no
# longer hold. A **permutation test** compares a window of messages with a reference: is
# it further away than windows dealt out at random from both? With an alarm at p ≤ 0.05,
# one usual window in twenty raises a false one. `share` says how much of a window is
# from elsewhere.

# %%
usual = apps.embed(meaning, reviews.train.texts)
others = {}
for name in ("tweet-sentiment", "editorial-sentiment")[: 1 if small_run else 2]:
    some = al.datasets.load(name).test.sample(6 if small_run else 200)
    others[name] = apps.embed(meaning, some.texts)
setting = {"sizes": (10, 25, 50), "shares": (0.2, 1.0), "trials": 50}
if small_run:
    setting = {"sizes": (4,), "reference": 16, "trials": 10}
apps.shift_rates(usual, others, **setting).round(2)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# A head fitted to reviews is better than the movie classifier. Abstaining helps each
# model by several points, and the coin gains nothing: the gain comes from confidence.
# Far more complaints are among the first of the queue than as they came.
#
# The encoder finds answers where the bag of words finds hardly any, but we wrote those
# templates: it works, and this does not say how well for your customers. On templates
# closer to the book the two are nearer.
#
# Look at "Hm." and at the lamp in pieces. The head learned from reviews, and can be
# sure and wrong about what is unlike them. That is what the last test is for.
#
# Ten tweets in a row are noticed. Two among ten mostly are not. An alarm says that
# messages *look* different, not that answers are wrong: only new labels tell that.
#
# </details>
#
# **Not for this.** Let it refuse nobody: some of its sure answers are wrong too, and a
# person must be within reach. Do not use it where minutes decide, as with threats.
#
# Your own file: `attnlab apps feedback messages.csv --book answers.csv`.

# %% [markdown]
# ### Lab: an alarm that rarely cries wolf
#
# A news desk wants an alarm when a topic becomes more frequent, and few false ones.
# **Bet on it.** You have one coin. You bet that a topic's share has left its usual
# value. If it has not, no bet gains on average. So the chance that your money *ever*
# becomes 20-fold is at most 1 in 20, however long you play (Ville's inequality). Six
# texts, 1 where the topic occurs; its usual share is 0.2:

# %%
hits = np.array([0, 1, 1, 0, 1, 1], dtype=bool)
money = al.applications.bets(hits, 0.2, 0.2)
print("money after each text:", money.round(2))
print("wanted for an alarm at 5 %:", 1 / 0.05)

# %% [markdown]
# The money enters bit by bit, as nobody knows when a change comes. Half of the 5 % pays
# for another doubt: the usual share is known from a sample only.
#
# **Proof by simulation**, on streams of 2,000 texts, 20 a day. Four alarms: a z-test
# *each day* at 5 %; 5 % for *all days* together; **CUSUM**, a running sum of evidence,
# its threshold simulated for just 2,000 texts; and the bets. *Predict first:* how often
# does the daily test cry wolf in a hundred days?

# %%
ways = {
    "each day": apps.by_day(0.05, day=20),
    "all days": apps.by_day(0.05, day=20, days=100),
    "CUSUM": apps.by_cusum(0.05),
    "bets": apps.by_bets(0.05),
}
texts_each, streams = (400, 60) if small_run else (2000, 500)
setting = {"texts": texts_each, "change_at": texts_each // 2, "streams": streams}
apps.alarm_table(ways, 0.2, (0.3, 0.4), **setting).round(3)

# %% [markdown]
# Where `share` is 0.2 nothing changed, and each alarm is false. Else it changed in the
# middle: `early` are false alarms before, and `delay` is the median number of texts
# from the change to the alarm.
#
# **Real texts.** A linear head over the encoder learns topics from the first twelve
# words of Reuters texts, like a headline. A bag of the same words stands beside it.

# %%
news = al.datasets.load("reuters-r52")
news = news.sample(*((48, 0, 60) if small_run else (1000, 0, 1500)))
monitor = apps.NewsMonitor.train(news.train, clf=meaning)
told, labels = monitor.topics(news.test.texts), np.array(news.test.labels)
short = [apps.first_words(each.texts, 12) for each in (news.train, news.test)]
names = news.train.label_names
plain = al.datasets.TextDataset(short[0], news.train.labels, names, "short")
words = al.evaluation.bag_of_words(plain).predict(short[1]) == labels
encoder = told == np.array(names)[labels]
paired = al.statistics.paired_test(words, encoder)
print(f"encoder {encoder.mean():.3f}, bag of words {words.mean():.3f}")
print(f"difference {paired.delta:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})")

# %% [markdown]
# The **order of our stream is ours**: shuffled texts, the first third of which says
# what is usual. From the middle of the rest on we keep only every fourth text that is
# not about `acq` (companies that buy others). Then try every second: `% 2`.

# %%
order = np.random.default_rng(0).permutation(len(told))
usual, calm, busy = np.array_split(told[order], 3)
kept = (busy == "acq") | (np.arange(len(busy)) % 4 == 0)
stream = np.concatenate([calm, busy[kept]])
kinds = [kind for kind in ("earn", "acq", "crude") if kind in usual]
alarms = apps.watch(usual, stream, kinds)
print(f"the change is planted at text {len(calm) + 1} of the stream")
alarms.round(3)

# %% folded=true
shares = apps.topic_shares(stream, kinds, 20 if small_run else 50)
picture = al.plots.lines(
    shares["text"],
    {name: shares[name] for name in kinds},
    xlabel="text of the stream",
    ylabel="share of the window",
    alt="Shares of three topics over the stream, with the change and the alarms.",
)
axes = picture.figure.axes[0]
axes.set_ylim(0, 1)
axes.axvline(len(calm), color="grey", linestyle=":")
for place in alarms["alarm_at"][alarms["alarm_at"] > 0]:
    axes.axvline(place, color="black")
picture

# %% [markdown]
# The dotted line is the planted change; full lines are alarms. **Sentiment** can be
# watched in the same way. But the movie classifier was trained on reviews, and nobody
# labelled the sentiment of this news, so nothing here says that it is right:

# %%
moods = np.array(mood.predict([short[1][place] for place in order]).labels)
usual, calm, busy = np.array_split(moods, 3)
apps.watch(usual, np.concatenate([calm, busy[kept]]), ["negative"]).round(3)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# A test each day cries wolf in almost every stream: a hundred chances of 5 % add up.
# With 5 % for all days together it still exceeds them: shares of 20 texts are not
# normal, and the usual share is only estimated. CUSUM stays near 5 %, the bets far
# below, and they keep that however long one watches. The price is delay: CUSUM, whose
# threshold was made for just this many texts, is quicker, and finds small changes that
# the bets miss. Watch on, and its promise is over.
#
# In our stream the bets notice that `acq` doubles. With every second text kept, it
# grows by half, and they mostly miss it. Other shares fall, so their alarms are true.
#
# The promise holds where texts come independently. Real news comes in bursts, with one
# event told in many texts; there, more alarms come.
#
# </details>
#
# **Not for this.** Do not trade on it: it says that a share has changed, not why. On a
# stream of your own, count the false alarms of a quiet time first.
#
# Your own file: `attnlab apps news headlines.csv --topics labelled.csv`.

# %% [markdown]
# ### Lab: recommend from a history
#
# Somebody has watched some films. Which one next? A history has an order, as a text
# has, and a decoder with causal attention (lesson [04](04_language_model.ipynb)) can
# read it: items are its words, and after each it says which may come next. This is
# *SASRec* (Kang and McAuley 2018).
#
# Two ways need no attention. **Popularity** gives everybody what most people had.
# **Neighbours** counts who had both of two films, and adds this up over the last ten
# films of a history. By hand, with four people and films A to D:


# %%
tiny = ["ABC", "ABD", "BC", "BCD"]
had = np.array([[film in one for film in "ABCD"] for one in tiny]).astype(int)
both = had.T @ had  # on the diagonal: how many had this film
alike = both / np.sqrt(np.outer(both.diagonal(), both.diagonal()))
print("popularity", dict(zip("ABCD", both.diagonal().tolist(), strict=True)))
print(pd.DataFrame(alike.round(2), [*"ABCD"], [*"ABCD"]))

# %% [markdown]
# Neither sees an order: *first A, then B* and *first B, then A* are the same to them.
#
# The films are real: ratings of 671 people (MovieLens), sorted by time. The last film
# of each person is the test, the one before it is for dev. Many people rate dozens of
# films in one evening, and events of one second have no order: here it is drawn by lot.

# %%
films = al.datasets.load_histories("films")
doubt = films.in_doubt("test").mean()
print(films)
print(f"whose last film is tied with the one before: {doubt:.0%} of people")

# %%
recommender = applications.Recommender.train(
    films, steps=4 if small_run else 1000, length=16 if small_run else 50
)
ways = {
    "popularity": applications.by_popularity(films),
    "neighbours": applications.by_neighbours(films, recent=10),
    "attention": recommender.scores,
}

# %% [markdown]
# How good is it? We ask for the film that came next and look at its place in the list.
# The **hit rate** at 10 is the share of people for whom it is among the first ten. The
# list can be made in more than one way, and papers differ in it:
#
# - **full**: all films that the person has not had;
# - **sampled**: a hundred of them, drawn by lot, and the right one;
# - **shuffled**: as *full*, but the history loses its order before it is read.
#
# Say what you expect. Which protocol gives the highest number? Which one tells you
# whether order matters?

# %%
table = applications.ranking_table(ways, films, part="dev")
shown = table.set_index(["protocol", "way"])
shown[["hit_rate", "low", "high", "more_hits", "more_low", "more_high"]].round(3)

# %% folded=true
figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
for number, (way, own) in enumerate(table.groupby("way", sort=False)):
    places = np.arange(len(own)) + (number - 1) * 0.2
    reach = np.array([own["hit_rate"] - own["low"], own["high"] - own["hit_rate"]])
    mark = "os^"[number]
    axes.errorbar(own["hit_rate"], places, xerr=reach, fmt=mark, label=way, capsize=3)
axes.set_yticks(range(3), table["protocol"].unique())
axes.set(xlabel="hit rate at 10, with 95 % interval", xlim=(0, 1), ylim=(2.5, -0.5))
axes.legend(frameon=False)
al.plots.show(figure, alt="Hit rate of three ways to recommend under three protocols.")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# One model, three numbers. Against a hundred drawn films the right one is found several
# times as often as against all of them, because most films are no rivals: hardly
# anybody has seen them. A number without its protocol says nothing. *Sampled* can also
# change who wins (Krichene and Rendle 2020).
#
# Compare *attention* with both ways below it, not with popularity alone. `more_hits` is
# the difference from popularity on the same people, with its interval. Compare *full*
# with *shuffled*: what falls is what the order was worth.
#
# </details>
#
# Which films of the past does an answer rest on? Attention is one candidate; the proof
# is to take a film out and see by how much the next film loses.

# %%
person = int(np.argsort([len(one) for one in films.sequences])[len(films) // 4])
past = [films.items[number] for number in films.before("dev")[person]]
best = recommender.recommend(past, 1)[0]
told = recommender.explain(past, best)
print("recommended:", best)
told.sort_values("missed", ascending=False).head(5).round(3)

# %%
ranks = told[["attention", "missed"]].corr("spearman").iloc[0, 1]
print(f"rank correlation of attention with what is missed: {ranks:+.2f}")

# %% [markdown]
# Take films out on the desk, or put one in that you like: the list follows, with the
# place that each film had before. Choose a film of the list to see what it rests on.

# %%
al.HistoryDesk(recommender, films, person)

# %% [markdown]
# **Not for:** deciding what people get to see. It repeats what was watched by the few
# who rate films, and the hit rate says nothing about what they would have liked. To
# test that, one shows the lists to people and compares at random.

# %% [markdown]
# ### Lab: read a line of print
#
# A reading aid speaks print aloud to people who cannot see it well. It will make
# mistakes. Does it know when? And where on the paper does it look?
#
# The model is the encoder-decoder of lesson [03](03_translation.ipynb) with another way
# in. Instead of words, the encoder gets **columns** of a picture: small convolutions
# make a vector of every 4 pixels. The decoder writes one character after the other, and
# its cross-attention looks at the columns. It learned from lines that code draws: words
# of fairy tales in four families of fonts. Nobody told the decoder where letters stand.

# %%
printed = datasets.printed
reader = applications.load_reader("printed")
line, _ = printed.draw_line("The wolf and the seven kids", "DejaVuSerif")
pictures = {"clean": line, "noise 3": printed.scan(line, 3.0, seed=3)}
readings = reader.read(list(pictures.values()))
figure, axes = plt.subplots(2, 1, figsize=(6, 2.4), layout="constrained")
for panel, name, one in zip(axes, pictures, readings, strict=True):
    panel.imshow(pictures[name], cmap="gray", vmin=0, vmax=255)
    panel.set_title(f"{name}, read as: {one.marked()}", loc="left", fontsize=10)
    panel.axis("off")
al.plots.show(figure, alt="A line of print, clean and noisy, with what was read.")

# %% [markdown]
# Characters in brackets are **unsure**: their probability is below 90 %.
#
# Attention can serve as a **pointer**. Its centre is the mean of the columns' places,
# weighted by attention. Weights 0.2, 0.6 and 0.2 on columns at 8, 12 and 16 pixels
# point at 0.2 · 8 + 0.6 · 12 + 0.2 · 16 = 12. In the picture a row shows where the
# reader looks as it writes a character, and the dot is the centre.

# %% folded=true
one, width = readings[0], line.shape[1]
rows, last = np.arange(len(one.text)), one.columns[-1] + 2
sizes = {"figsize": (7.5, 5), "height_ratios": (1, 7), "layout": "constrained"}
figure, axes = plt.subplots(2, 1, sharex=True, **sizes)
axes[0].imshow(line, cmap="gray", aspect="auto", extent=(0, width, 32, 0))
axes[0].set_yticks([])
shown = {"cmap": "Purples", "aspect": "auto", "vmin": 0}
image = axes[1].imshow(one.attention, extent=(-1.5, last, len(rows), 0), **shown)
axes[1].plot(one.where, rows + 0.5, "o", color="black", markersize=4)
axes[1].set_yticks(rows + 0.5, ["space" if c == " " else c for c in one.text])
axes[1].set(xlabel="x in the picture (pixels)", ylabel="character that is written")
figure.colorbar(image, ax=axes, label="attention")
al.plots.show(figure, alt="Where the reader looks as it writes each character.")

# %% [markdown]
# Does it point at the very letter that it writes? A chance hit is easier than it seems:
# letters stand in a row, so character *i* of *n* lies at about (i + ½) / n of the line.
# This **proportional** place is the baseline; *middle* is where even attention would
# point. Predict how often each lies in the letter's own box. The lines come from dev
# tales, and all sets hold the same lines, so that noise and fonts can be compared.

# %%
count = 12 if small_run else 200
kinds = {
    "clean": {},
    "noise 2": {"strength": 2.0},
    "noise 3": {"strength": 3.0},  # the reader learned with noise of up to 2
    "held-out font": {"fonts": "held-out"},
}
lines = {name: printed.make(count, "dev", seed=1, **own) for name, own in kinds.items()}
applications.pointer_table(reader, lines["clean"]).round(2)

# %% [markdown]
# Only lines that were read without a mistake count there, and no spaces. `above` is by
# how much a way beats *proportional*, with its 95 % interval.
#
# How well does it read? `exact` is the share of lines without a mistake, `errors` the
# characters to insert, delete or replace for each that is there, and `more` the errors
# beyond those on clean print, on the same lines.

# %%
read = {name: reader.read(own.images) for name, own in lines.items()}
told = {name: [one.text for one in own] for name, own in read.items()}
ways = {name: lambda _, own=own: own for name, own in told.items()}
table = applications.reading_table(ways, {"dev": lines["clean"]})
table.drop(columns=["lines", "n"]).set_index("way").round(3)

# %% [markdown]
# Do mistakes and doubt go together? Suppose that a person checks only the characters
# that are marked as unsure. `marked` is their share, and `caught` the share of wrong
# characters that are among them.

# %%
tables = {
    name: applications.calibration_table(own, lines[name].texts)
    for name, own in read.items()
}
rows = {}
for name, own in tables.items():
    doubt, wrong = own["from"] < 0.9, own["n"] * (1 - own["right"])
    marked = own["n"][doubt].sum() / own["n"].sum()
    rows[name] = {"marked": marked, "caught": wrong[doubt].sum() / max(wrong.sum(), 1)}
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# And can one trust the probabilities? Here are characters under noise 3, by the
# probability that the reader gave them: its mean, and the share that was right, with
# its 95 % interval over lines.

# %%
tables["noise 3"].round(3)

# %% [markdown]
# On the desk you type a line, choose a font and turn up the noise. Where does reading
# break first? Do the question marks come where the crosses are? Choose a character to
# see where the reader looked and what else it considered.

# %%
al.ReadingDesk(reader, "The wolf and the seven kids", noise=3.0, seed=3)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# On clean print most lines come out without a mistake. Type *The fisherman and his
# wife* on the desk to see one that does not. Noise beyond that of training costs
# characters, and so may a font that the reader never saw: see whether the
# interval of `more` holds 0.
#
# The dots run down the line letter by letter, though no loss ever asked for that: to
# write the right letter, the decoder has to look there. On these short lines they hit
# the letter's own box about as often as the proportional place, or a little more often:
# see whether the interval of `above` holds 0. (On 1,000 lines of test tales it did.) So
# the pointer says little that the place in the line does not, and it is no proof that
# the letter was read from just these pixels.
#
# Mistakes and doubt go together. What the reader is sure of is right far more often
# than what it is unsure of, so wrong characters are more common among the marked ones.
# That is no guarantee: some sure characters are wrong, and a letter that was **left
# out** has no probability and bears no mark. Where noise or font is new, compare
# `right` with `probability` before you trust a mark.
#
# </details>
#
# **Not for this.** No labels of medicine, no sums of money, no contracts: it can be
# sure and wrong, and a single digit counts there. It knows neither handwriting nor
# other alphabets, and code drew all that it learned from and was measured on.
#
# Your own file: `attnlab apps read page.png --alternatives`.

# %% [markdown]
# ### Lab: which appliance draws this current?
#
# A meter records the current that one appliance draws. Which appliance is it? The data
# set PLAID has 1,074 such recordings from 11 kinds of appliance. Each is a **series**:
# a row of numbers in order of time.
#
# A forest of decision trees makes a strong baseline. It reads only four numbers of each
# series: mean, spread (the standard deviation), minimum and maximum. What can these
# numbers not see? Here is a bump that comes early, and the same bump late.

# %%
early = np.array([0, 0, 3, 3, 0, 0, 0, 0, 0, 0], dtype=np.float32)
late = early[::-1].copy()
print(applications.appliances.summary([early, late]).round(2))

# %% [markdown]
# The four numbers are equal, so no forest can tell the two apart. Attention can. It
# cuts a series into **patches** of 20 values, as a vision Transformer cuts a picture. A
# **summary token** stands before the patches. It looks at all of them, and the answer
# is read from it. Each series is scaled to mean 0 and spread 1 first. That hides how
# strong the current is, so the model also gets the four numbers.

# %%
series = datasets.load_series("appliances")
if small_run:
    series = series.sample(train=64, dev=32, test=64)
steps = 4 if small_run else 400
model = applications.SeriesClassifier.train(series, steps=steps)
shape_only = applications.SeriesClassifier.train(
    series, steps=steps, model={"use_summary": False}
)
print(series)
runs = {"attention": model.history, "without the numbers": shape_only.history}
al.training.history_table(runs).round(2)

# %% [markdown]
# Two runs, one line each: every run keeps a `history`, and a table of histories tells
# months later what was tried. To watch runs as they go on, and to keep hundreds, hand
# them to a tracker: `al.training.TensorBoard`, `MLflow` and `WeightsAndBiases` are
# callbacks (`callbacks=[...]`), where these programs are installed.
#
# Predict before you run the next cell: which way is best? `nearest` gives the answer of
# the nearest training series. The last three columns compare each way with the forest
# on the same series, with a 95 % interval.

# %%
ways = {
    "forest": applications.by_forest(series.train),
    "nearest": applications.by_nearest(series.train),
    "attention": model.predict,
    "attention without the numbers": shape_only.predict,
}
table = applications.series_table(ways, series.test)
table.round(3)

# %% [markdown]
# Which moments decide? There are two ways to ask. The **attention** of the summary
# token says which patches it looks at. **Occlusion** hides one patch after the other.
# It measures how far the log-probability of the answer falls.

# %% folded=true
values = max(series.dev.series[:20], key=np.std)
told = model.explain(values)
figure, axes = plt.subplots(2, 1, figsize=(7, 3.6), sharex=True, layout="constrained")
axes[0].plot(values[: told["end"].max()], color="black", linewidth=0.6)
axes[0].set_ylabel("recorded value")
middle = (told["start"] + told["end"]) / 2
axes[1].bar(middle - 4, told["attention"], 8, label="attention", color="C0")
hidden = "missed when hidden (nats)"
axes[1].bar(middle + 4, told["missed"], 8, label=hidden, color="C1")
axes[1].set_xlabel("value")
axes[1].legend()
al.plots.show(figure, alt="A current, and for each patch attention and occlusion.")

# %% [markdown]
# One picture proves little. So hide the three most attended patches of every dev
# series, and compare with three patches drawn at random.

# %%
hidden = applications.removal_table(model, series.dev, count=3)
for name in ("changed", "missed"):
    attended, at_random = hidden[name], hidden[f"{name}_random"]
    more = attended - at_random
    low, high = paired_bootstrap(more.to_numpy())
    print(f"{name}: {attended.mean():.3f}, random {at_random.mean():.3f}")
    print(f"  difference {more.mean():+.3f} ({low:+.3f} to {high:+.3f})")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The forest wins or is not worse: four numbers say more than any shape here. The reason
# lies in the data. Each device was recorded several times, and its recordings stand in
# the training part and in the test part. How strong its current is gives a device away.
# Attention without the four numbers falls far behind the forest, to about where the
# nearest neighbour is: see the last row. With them it comes close to the forest, and it
# is better than the mean of the patches (`model={"use_attention": False}`).
#
# Hiding the most attended patches costs somewhat more than hiding random ones. See
# whether your interval of the difference holds 0 before you call attention an
# explanation.
#
# </details>
#
# **What it must not be used for.** Do not bill anyone by it, and do not conclude from
# it what people do at home: many answers are wrong, and nobody agreed to be watched.
# The same devices stand in the training and the test part of PLAID, so expect worse
# results for a device that it has never seen.

# %% [markdown]
# ## 7. A question of your own
#
# The last exercise is yours: **own data, own question**. A good question has an answer
# that could disappoint you. Here is an example, small enough to run in a minute. *With
# few labelled product reviews, does a reader built on BERT do better than one that
# counts words?*
#
# The plan comes before the numbers. Held-out reviews: the test part, opened once.
# Baseline: logistic regression on words. Own: logistic regression on the mean vector of
# a text, after all attention layers of a BERT tuned on *movie* reviews. Ablation: the
# same before any attention layer. Seeds draw which reviews are labelled.

# %%
clf = al.load_classifier("movie-sentiment")
reviews = al.datasets.load("product-sentiment", test_only=False)
pool = reviews.train.sample(80 if small_run else 800)
held_out = reviews.test.sample(min(len(reviews.test), 40 if small_run else 300))
few = 40 if small_run else 200  # labels


# %%
def vectors(texts, size=32):
    """Mean vectors before and after the attention layers, (N, 2, 384)."""
    found = []
    for start in range(0, len(texts), size):
        some = texts[start : start + size]
        batch = clf.tokenizer(some, padding=True, truncation=True, return_tensors="pt")
        batch = batch.to(clf.device)
        with torch.inference_mode():
            states = clf.model.bert(**batch, output_hidden_states=True).hidden_states
        mask = batch["attention_mask"][..., None]
        means = [
            (state * mask).sum(1) / mask.sum(1) for state in (states[0], states[-1])
        ]
        found.append(torch.stack(means, 1).cpu())
    return torch.cat(found).numpy()


# %%
seen, new = vectors(pool.texts), vectors(held_out.texts)
words, labels = np.array(pool.texts), np.array(pool.labels)
truth = np.array(held_out.labels)
right = {"words": {}, "own": {}, "without attention": {}}
for seed in range(3 if small_run else 5):
    rows = np.random.default_rng(seed).permutation(len(pool))[:few]
    counts = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    answers = counts.fit(words[rows], labels[rows]).predict(held_out.texts)
    right["words"][seed] = answers == truth
    for name, place in (("without attention", 0), ("own", 1)):
        reader = LogisticRegression(max_iter=3000).fit(seen[rows, place], labels[rows])
        right[name][seed] = reader.predict(new[:, place]) == truth

# %%
scores = pd.DataFrame(
    {name: {s: r.mean() for s, r in by.items()} for name, by in right.items()}
)
seed = scores["own"].sort_values().index[len(scores) // 2]  # the run in the middle
before, after = right["words"][seed], right["own"][seed]
gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
low, high = paired_interval(gained, lost, len(truth))
print(f"own minus words, seed {seed}: {low:+.3f} to {high:+.3f}")
scores.round(3)

# %% [markdown]
# <details><summary>How to read it</summary>
#
# Down a column only chance changes: which reviews were labelled. If two runs of one
# reader differ by as much as two readers do, a single run proves nothing. Along a row
# the readers had the same labels and answer the same reviews, so their difference is
# taken review by review. *Without attention* tells what the word vectors alone are
# worth; only what is above it can be the work of the layers. The interval belongs to
# one run, and to reviews like these.
#
# </details>

# %% [markdown]
# ### Exercise 14: the report
#
# *Difficulty 3 of 5, 12 minutes.* Return your report as a dict. Begin with the example
# above, then exchange data and question for your own. Its parts:
#
# - `question`, with a question mark; `baseline`, what the rival is;
# - `trained_on`: which items were trained on, or used for choosing;
# - `baseline_right`, `own_right`: `{item: True or False}` for each held-out item, at
#   least 30, the same for both;
# - `baseline_score`, `own_score`: shares of right answers, 0 to 1;
# - `interval`: low and high, 95 %, of own minus baseline on these items;
# - `answer`: "better", "worse" or "no clear difference", as the interval says;
# - `seeds`: `{seed: own score}`, three or more; the run that you report is not the
#   best;
# - `ablation`: a dict with `without` (what was taken away) and `score`;
# - `limit`: a sentence that says for what the result does not hold.
#
# An item is whatever names it: a number, a text, a file. The check marks what can be
# checked: whether the parts agree with each other. Whether the question was worth
# asking is for people to judge.


# %% exercise="capstone_report" points=4
def capstone_report():
    """Your report, as a dict."""
    ### BEGIN SOLUTION
    items, sign = held_out.texts, (low > 0) - (high < 0)
    return {
        "question": "With few labels, does a reader built on BERT beat counted words?",
        "trained_on": pool.texts,
        "baseline": "logistic regression on tf-idf of words",
        "baseline_right": dict(zip(items, before, strict=True)),
        "own_right": dict(zip(items, after, strict=True)),
        "baseline_score": before.mean(),
        "own_score": after.mean(),
        "interval": (low, high),
        "answer": ["no clear difference", "better", "worse"][sign],
        "seeds": scores["own"].to_dict(),
        "ablation": {
            "without": "attention layers: mean of the word vectors",
            "score": scores.loc[seed, "without attention"],
        },
        "limit": "Only product reviews; BERT had been tuned on movie reviews.",
    }
    ### END SOLUTION


# %% check="capstone_report"
al.checks.capstone_report(capstone_report)

# %% [markdown] hints="capstone_report"
# Go through the parts from top to bottom; all numbers of the example are in variables
# above. `dict(zip(items, before))` makes `{item: right}`.
#
# ---
# The interval is that of a *difference* on the same items: `paired_interval(gained,
# lost, n)`, where `gained` counts items that only your model answers rightly. Two
# separate intervals, one for each score, are too wide.
#
# ---
# `answer` follows from the interval: if it holds 0, there is no clear difference,
# whatever the scores look like.

# %%
report = al.checks.yours_or_ours("capstone_report", capstone_report)()
print(report["question"], "-", report["answer"])
print("limit:", report["limit"])
names = ["baseline_score", "own_score"]
low_high = dict(zip(("difference from", "to"), report["interval"], strict=True))
pd.Series({name: report[name] for name in names} | low_high).round(3).to_frame("share")

# %% [markdown]
# Would the answer change with another half of the held-out items? Hand the report to
# somebody else, who has not seen your notebook: can they say what was done?
#
# A checklist for people: Is the baseline the best simple one? Was the test part opened
# once? What was tried and left out of the report? Who could be harmed if the number is
# wrong?

# %% [markdown]
# ## What you know now
#
# - A claim becomes testable when you can say what you would see if it were wrong.
# - An experiment is judged by two errors: whom it lets go, and whom it convicts
#   wrongly.
# - Much that looks wrong is right: online softmax, heads that are never joined.
# - Numbers need a baseline, the same items for both, and an interval of the difference.
# - Attention can be spread over processes exactly. Memory falls; time depends on where
#   they run.
#
# Where to read on: Lipton and Steinhardt 2018, "Troubling Trends in Machine Learning
# Scholarship"; Dodge et al. 2019, "Show Your Work"; Liu, Zaharia and Abbeel 2023 (ring
# attention); Brandon et al. 2023 (balanced order).

# %%
al.checks.summary("capstone")
