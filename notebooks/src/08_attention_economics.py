# %% [markdown]
# # 08 Attention economics: the best model inside a budget
#
# **You can afford so many megabytes, operations or milliseconds. Which heads, neurons
# and layers should they be spent on?** Every part of a model costs something, and some
# parts give far more than others. You learn to read the prices, to write down what you
# want so that an optimiser cannot cheat, and to let a search find the best classifier
# that a budget allows.
#
# Afterwards you can
#
# - say what a model costs, in parameters, operations, memory and time, and which part
#   of it costs what;
# - say when the length of a text matters, and why operations are not milliseconds;
# - write down a goal for an optimiser: one quantity to maximise, limits for the others;
# - find the frontier of accuracy and cost, say how certain it is, and what one more
#   unit of a cost buys;
# - train gates that close heads for good, and audit a benchmark that claims too much.
#
# Time: about 150 minutes, 60 of them for six exercises. The cells together compute for
# some eight minutes on two processor cores. You need lessons
# [05](05_finetune_bert.ipynb) and [06](06_head_mixing.ipynb). Choose **Run → Run All
# Cells** first; exercises that are not written yet only say so.

# %%
import inspect
import math
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# %%
import attnlab as al
from attnlab import compression, economics
from attnlab.economics.flops import crossing, growth
from attnlab.economics.passes import build, forward_pass
from attnlab.economics.sub_networks import random_shapes
from attnlab.economics.timing import interleaved

# %%
clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()
small_run = size.name == "ci"
shape = economics.shape_of(clf)
print(clf, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# The next cell runs a search. It builds **sub-networks**, smaller classifiers made of
# the whole one by leaving out heads, neurons and layers, and measures the accuracy of
# each on held-out (dev) sentences. Nothing is trained. The budget is half of the
# operations that the whole classifier needs.

# %%
half = economics.Budget(flops=0.5 * economics.flops(shape, tokens=32))
result = economics.search(
    clf,
    splits,
    half,
    most=6 if small_run else 30,  # tries; a choice that comes twice is measured once
    minutes=30,  # at most
    texts=size.sentences,
    importance_texts=min(200, size.sweep_sentences),
)
print(result)

# %%
desk = al.BudgetExplorer(result)
desk

# %% [markdown]
# Lower the limit on FLOPs (operations). Where does accuracy begin to fall? What goes
# first, heads or neurons, and in which layers? Then draw accuracy against *parameters*
# (the menu above the chart). One part of the model has as many of them as before,
# however small the budget. Which?
#
# ## 2. What is paid
#
# A model has several prices. **Parameters** are what you download and keep in memory;
# the number of those that are not 0 is called the **L0 norm**. **FLOPs**
# (floating-point operations) are the work of one forward pass: the product of an
# $(n, k)$ and a $(k, m)$ matrix takes $2nkm$ of them, a multiplication and an addition
# for each term. Milliseconds are what a user waits for.

# %%
whole = economics.cost(clf, tokens=32, measured=False)
print(whole)
parts = whole.parts.set_index("part")[["parameters", "flops"]]
(100 * parts / parts.sum()).round(1).add_suffix(" (%)")

# %% [markdown]
# The embedding table has about half of the parameters and needs no operations: its rows
# are only looked up. Attention scores are the opposite, operations without parameters,
# and for a text of 32 tokens they are a small part of the work. Where do these numbers
# come from?
#
# ### Exercise 1: the FLOPs of a layer
#
# *Difficulty 2 of 5, 7 minutes.* Count the operations of one encoder layer for one text
# of `tokens` tokens. Only matrix products count; biases, softmax, GELU, layer norms and
# residual connections do not. The layer has
#
# - the projections to queries, keys and values, and the output projection;
# - for each head, the scores and the weighted sums of the values;
# - a feed-forward block with `neurons` neurons.
#
# `width` is the length of a token's vector before and after the layer. Each of the
# `heads` heads is `head_width` wide; where heads were pruned, `heads * head_width` is
# less than `width`. Every token attends to every token.


# %% exercise="layer_flops" points=2
def layer_flops(tokens, width, heads, head_width, neurons):
    """Floating-point operations (int) of one encoder layer for one text."""
    ### BEGIN SOLUTION
    inner = heads * head_width  # how wide all heads are together
    projections = 4 * (2 * tokens * width * inner)
    scores_and_sums = 2 * (2 * tokens * tokens * inner)
    feed_forward = 2 * (2 * tokens * width * neurons)
    return projections + scores_and_sums + feed_forward
    ### END SOLUTION


# %% check="layer_flops"
al.checks.layer_flops(layer_flops)

# %% [markdown] hints="layer_flops"
# List the products first: four projections, two products for each head, two for the
# feed-forward. What are the three sizes of each?
#
# ---
# A projection takes `(tokens, width)` to `(tokens, heads * head_width)`, and the output
# projection goes back. Is `width` the same as `heads * head_width` here?
#
# ---
# For each head the scores are `(tokens, head_width)` times `(head_width, tokens)`, and
# the weighted sum is `(tokens, tokens)` times `(tokens, head_width)`.

# %%
try:
    for tokens in (1, 32, 512):
        heads, neurons = shape.layers[0]
        own = layer_flops(tokens, shape.width, heads, shape.head_width, neurons)
        share = 4 * tokens**2 * heads * shape.head_width / own
        print(f"{tokens:3} tokens: {own / 1e6:8.1f} MFLOPs, {share:.0%} for scores")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# PyTorch can count the operations of a forward pass while it runs. The formulas give
# the same number without running anything, so that a search knows the operations of a
# sub-network before it is built.

# %%
counter = FlopCounterMode(display=False)
ids = torch.ones(1, 32, dtype=torch.long)
with counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():  # as plain products
    clf.model(input_ids=ids, attention_mask=torch.ones_like(ids))
print(f"counted by PyTorch: {counter.get_total_flops():,}")
print(f"by the formulas:    {economics.flops(shape, tokens=32):,}")

# %% [markdown]
# ## 3. When does the length of a text matter?
#
# Products with weight matrices grow in proportion to the number of tokens $T$.
# Attention scores grow with $T^2$, since every token attends to every token. From which
# length on do they dominate?

# %%
by_length = growth(shape, tokens=(32, 128, 512, 2048, 8192)).set_index("tokens")
names = ["attention scores", "attention projections", "feed-forward"]
by_length[names].div(by_length["flops"], axis=0).mul(100).round(1).add_suffix(" (%)")

# %%
long = crossing(shape)
print(f"scores cost as much as everything else from {long:,} tokens on;")
print(f"the longest text that this model can read has {shape.positions} tokens")

# %% [markdown]
# Those were formulas. To see it on a machine, hold the number of tokens fixed and cut
# them into texts: many short ones, or a single long one. Products with weight matrices
# are then the same work each time, and only attention differs. Our classifier cannot
# read such long texts, but time depends on the shape of a model, not on the values of
# its weights. A model of the same shape with random weights and more positions will do.

# %%
tokens = 256 if small_run else 2048  # in all
lengths = (16, 64, 256) if small_run else (32, 128, 512, 2048)
stand_in = build(replace(shape, positions=tokens))
calls = {one: forward_pass(stand_in, one, tokens // one) for one in lengths}
times = interleaved(calls, rounds=3, seconds=20).summary()["ms_quiet"].to_numpy()
work = np.array([economics.flops(shape, one, tokens // one) for one in lengths])
more = {"FLOPs": work / work[0], "time": times / times[0]}

# %% folded=true
al.plots.lines(
    lengths,
    more,
    xlabel="tokens in each text",
    ylabel="times as much as for the shortest",
    alt=f"FLOPs and time of {tokens} tokens, cut into texts of {lengths[0]} to {tokens}"
    " tokens, relative to the shortest texts; for the longest "
    + " and ".join(f"{name} {curve[-1]:.1f}" for name, curve in more.items())
    + " times as much.",
    log="x",
)

# %% [markdown]
# FLOPs and time need not agree, but both say: for reviews of some 30 tokens the
# quadratic term hardly counts, and savings must come from the weight matrices. For long
# articles it is another matter.
#
# ## 4. Operations are not milliseconds
#
# A processor is fast at large matrix products and slow at everything in between: small
# products, norms, moving numbers about. So the same number of operations takes
# different times in few wide layers and in many narrow ones, for one text and for 32 at
# once. A **latency table** holds how long a layer with $h$ heads and $n$ neurons takes
# on *this* machine. The predicted time of a sub-network is a sum over its layers.

# %%
many = 4 if small_run else 32  # texts at once
timing = {"rounds": 3, "seconds": 0.2} if small_run else {"rounds": 10, "seconds": 20}
if small_run:  # too brief to tell a busy machine from a quiet one
    warnings.filterwarnings("ignore", "A forward pass took")
table = economics.LatencyTable.measure(shape, tokens=(32,), batches=(1, many), **timing)
print(f"{len(table.blocks)} building blocks, {table.about['threads']} thread")

# %%
shapes = {
    "whole": shape,
    "3 whole layers": replace(shape, layers=((12, 1536),) * 3),
    "6 layers, half as wide": replace(shape, layers=((6, 768),) * 6),
}
rows = []
for name, one in shapes.items():
    ms = [table.predict(one, 32, batch) for batch in (1, many)]
    rows.append((name, economics.flops(one, 32) / 1e6, *ms))
columns = ["model", "million FLOPs", "ms, 1 text", f"ms, {many} texts"]
pd.DataFrame(rows, columns=columns).round(2)

# %% [markdown]
# The last two models do the same work. Compare their times for a single text: each
# layer has costs that do not depend on its width, and six layers pay them six times.
# With many texts at once these costs weigh less, and the order may turn round.
#
# A prediction has to be checked. Here are sub-networks that were *not* used to make the
# table, drawn at random, predicted and measured:

# %%
checked = table.check(4 if small_run else 20, **timing)
errors = checked.attrs["errors"].drop(columns="drift")
print(errors.round(3).to_string(index=False))

# %% [markdown]
# *median* and *p95* (95th percentile) are errors of the prediction, as shares of the
# measured time. But a machine is not always equally fast: it grows warm, or other
# programs use its caches. *factor* is the median of measured / predicted, and
# *relative* the median error that is left once predictions are multiplied by it. For a
# choice among sub-networks *relative* matters, for a promise in milliseconds *median*
# and *p95*.

# %%
one_text = checked[checked["batch"] == 1]
ms = one_text["ms_quiet"].to_numpy()  # what the processor itself took
predicted = errors["factor"].iloc[0] * one_text["predicted_ms"].to_numpy()
drawn = random_shapes(shape, len(ms), seed=1)
work = np.array([economics.flops(one, 32) / 1e6 for one in drawn])
line = np.polyval(np.polyfit(work, ms, 1), work)  # the best line through these points
off = [np.median(np.abs(told / ms - 1)) for told in (line, predicted)]
print(f"a line through FLOPs is off by {off[0]:.1%} (median)")
print(f"the table is off by {off[1]:.1%} (median)")

# %% folded=true
figure, both = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
both[0].plot(np.sort(work), np.sort(line), color="grey", label="best line")
both[0].set(xlabel="million FLOPs", ylabel="measured (ms)")
both[1].axline((ms.min(), ms.min()), slope=1, color="grey", label="equal")
both[1].set(xlabel="predicted by the table (ms)")
for axes, given in zip(both, (work, predicted), strict=True):
    axes.plot(given, ms, "o")
    axes.legend(frameon=False)
al.plots.show(
    figure,
    alt=f"Measured time of {len(ms)} sub-networks against FLOPs, {off[0]:.1%} off a"
    f" line (median), and against the prediction, {off[1]:.1%} off.",
)

# %% [markdown]
# The line was fitted to these very points, with two free numbers; the prediction of the
# table had one, *factor*. For shapes drawn at random both may do. But a line through
# FLOPs knows nothing of depth: it gives the two models above, which do the same work,
# the same time. A search looks for just such differences. So if milliseconds are what
# you pay, predict milliseconds, and check the prediction.
#
# ## 5. What do you want?
#
# "As accurate as possible, and as small as possible" is a wish, not yet a goal: an
# optimiser has to know how much of one is worth how much of the other. Here are three
# ways to tell it, and all three go wrong.
#
# **"Keep the weights small."** Every optimiser offers a penalty on the squares of the
# weights, and the **L2 norm** is the root of their sum. But the norm of a matrix is no
# cost. Divide all value matrices by 10 and multiply the output matrices by 10:

# %%
with torch.no_grad():
    changed = al.load_classifier("movie-sentiment")
    for layer in changed.model.bert.encoder.layer:
        layer.attention.self.value.weight /= 10
        layer.attention.self.value.bias /= 10
        layer.attention.output.dense.weight *= 10
some = splits.dev.sample(min(64, size.sentences)).texts
apart = clf.predict(some).probabilities - changed.predict(some).probabilities
for name, one in (("before", clf), ("after", changed)):
    bill = economics.cost(one, measured=False)
    print(f"{name:>6}: L2 norm {bill.l2:,.0f}, {bill.flops:,} FLOPs")
print(f"largest difference of a probability: {np.abs(apart).max():.0e}")

# %% [markdown]
# Another norm, but the same answers and the same work. And shrinking a weight saves
# nothing: 0.001 takes the same multiplication as 1. Only what is *removed* is free.
#
# **"Accuracy 1 and efficiency 1."** Take the model that is nearest to the ideal, which
# is always right and costs nothing. Beside two real models, the table has one that
# costs nothing, since it gives every text the same answer.

# %%
found = result.table
labels = np.array(result.dev.labels_in(clf.label_names))
spent = found["flops"] / found["flops"][0]  # 1 is the whole classifier
models = {
    "whole": (found["accuracy"][0], 1.0),
    "half of the work": (found["accuracy"][result.chosen], spent[result.chosen]),
    "always the same answer": (np.bincount(labels).max() / len(labels), 0.0),
}
rows = {
    name: [np.hypot(1 - right, scale * cost) for scale in (1, 0.1)]
    for name, (right, cost) in models.items()
}
columns = ["distance", "distance, costs drawn ten times shorter"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(2)

# %% [markdown]
# By the first column, the useless model is nearer to the ideal than the whole
# classifier. By the second, it is the farthest away. The distance depends on the scale
# of the cost axis, and nothing says what that should be.
#
# **"One weighted sum."** Maximise accuracy $- \lambda \cdot$ cost, for a $\lambda$ that
# you choose. Nobody knows it beforehand, so one tries many. Which models can win at
# all, of those that no other one beats?


# %%
def unbeaten(cost, right):
    """Indices, by cost, of models such that none is better for as little or less."""
    better = (right[:, None] > right) & (cost[:, None] <= cost)
    cheaper = (right[:, None] == right) & (cost[:, None] < cost)
    rows = np.flatnonzero(~(better | cheaper).any(0))
    return rows[np.argsort(cost[rows])]


# %%
points = result.table[["flops", "accuracy"]].to_numpy()
cost, right = 100 * (points / points[0]).T  # % of the whole classifier
best = unbeaten(cost, right)
rates = np.geomspace(0.001, 1000, 5001)  # lambda
winners = {int(np.argmax(right - rate * cost)) for rate in rates}
winners = sorted(winners, key=lambda row: cost[row])
print(f"{len(best)} of {len(cost)} models are beaten by no other;")
print(f"a weighted sum finds {len(winners)} of these, whatever the weight")

# %% folded=true
figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axes.plot(cost, right, "o", color="lightgrey", label="sub-networks")
axes.plot(cost[best], right[best], "o", label="that no other one beats")
axes.plot(cost[winners], right[winners], "s--", mfc="none", label="of a weighted sum")
axes.set(xlabel="FLOPs (% of the whole)", ylabel="accuracy (% of the whole's)")
axes.legend(frameon=False)
al.plots.show(
    figure,
    alt=f"Accuracy against FLOPs: {len(best)} sub-networks that no other one beats; the"
    f" {len(winners)} that a weighted sum finds are the corners of their convex hull.",
)

# %% [markdown]
# A weighted sum finds only corners of the **convex hull**, the line of a string that is
# pulled tight over the points. A model in a dent below the string may be the best that
# your budget allows, and no weight will ever choose it.
#
# **Right: one quantity is maximised, and the others are limited.**
#
# $$ \max_{\text{sub-networks}} \; \text{accuracy} \qquad \text{subject to} \qquad
#    \text{cost}_k \le b_k \quad \text{for every limit } b_k . $$
#
# Each limit is something that you know: the memory of a device, the patience of a user.
# And if you cannot name a limit, ask for all answers at once:
#
# ## 6. The frontier
#
# The best model for *every* budget: the **Pareto frontier**. A model is on it if no
# other is as accurate and costs no more. But accuracies are measured on a sample of
# sentences. Of many similar models, one gets a few more right by luck, and then seems
# to be worth its price.
#
# ### Exercise 2: which models are on the frontier
#
# *Difficulty 3 of 5, 12 minutes.* `cost`, an array `(P,)`, holds the costs of P models.
# `correct`, `(P, N)`, is `True` where a model answers a text correctly. Go through the
# models from the cheapest to the most expensive. Where costs are equal, the one with
# more right answers comes first; where these are equal as well, the one with the
# smaller index. A model is on the frontier if
#
# - it has more right answers than *every* model before it, and
# - for every model before it that is *on the frontier*, the 95 % interval of the
#   difference lies above 0: `al.statistics.paired_test(before, after).low > 0`, where
#   `before` and `after` are the rows of the two models in `correct`.
#
# The first model is always on it. Return a bool array `(P,)`, in the order in which the
# models were given.


# %% exercise="on_frontier" points=3
def on_frontier(cost, correct):
    """Bool array (P,): True for each model that is worth its cost."""
    ### BEGIN SOLUTION
    right = correct.sum(axis=1)
    found, most = [], -1
    for model in np.lexsort([-right, cost]):  # by cost, then by right answers
        pairs = [(correct[one], correct[model]) for one in found]
        holds = all(al.statistics.paired_test(*pair).low > 0 for pair in pairs)
        if holds and right[model] > most:
            found.append(model)
        most = max(most, right[model])
    marks = np.zeros(len(cost), dtype=bool)
    marks[found] = True
    return marks
    ### END SOLUTION


# %% check="on_frontier"
al.checks.on_frontier(on_frontier)

# %% [markdown] hints="on_frontier"
# `np.lexsort([-right, cost])` gives the order: the last key counts most, and equals
# keep their order. Keep a list of the models that are on the frontier.
#
# ---
# Two things are remembered while you go on: who is on the frontier, and the most right
# answers that any model before had, also one that is not on the frontier.
#
# ---
# Begin with `np.zeros(P, dtype=bool)` and write `True` at the indices that you found:
# then each mark stands at the place of its model.

# %% [markdown]
# Your filter on the sub-networks of the search, beside one that believes every
# accuracy as it stands:

# %%
cost, correct = result.table["flops"].to_numpy(), result.correct
print(f"{len(best)} of {len(cost)} are beaten by no other, if accuracies are believed")
try:
    print(f"{np.sum(on_frontier(cost, correct))} are on the frontier by your filter")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")
print(f"{len(result.frontier())} by attnlab's, with the same rule")

# %%
frontier = result.frontier().assign(MFLOPs=lambda table: table["flops"] / 1e6)
shown = ["origin", "MFLOPs", "accuracy", "ci_low", "ci_high", "gain", "gain_low"]
frontier[shown].round(3)

# %% [markdown]
# *origin* is the method that proposed a sub-network (they come in the next section),
# `ci_low` to `ci_high` the 95 % interval of its accuracy. *gain* compares it with the
# row above, on the same sentences, and `gain_low` is the lower end of the interval of
# this difference. Two intervals of accuracy may overlap although the difference holds.
#
# ## 7. The market
#
# What should go? Let every part bid. A head, or a group of neurons, gives something:
# without it the loss would rise. **Fisher importance** estimates by how much. Think of
# a gate on each part, a factor of 1, and take the derivative of a text's loss with
# respect to it. The importance is the mean of its square over texts, and a single
# backward pass over them serves all parts. Each part also has a price, its share of the
# budget.
#
# In the table below, *neurons* are a sixteenth of the neurons of a layer, *share* is
# the price, and *per_share* importance divided by price.

# %%
market = economics.Market(
    shape,
    economics.importance(
        clf, splits.train.sample(min(200, size.sweep_sentences), seed=1)
    ),
    half,
)
prices = economics.price_table(market)
prices[["layer", "part", "head", "importance", "share", "per_share"]].round(4).head(8)


# %%
def bought(order):
    """% of all importance that 0, 2, ..., 100 % of the whole price buy, in an order."""
    paid, given = (
        np.append(0, prices[name].to_numpy()[order].cumsum())
        for name in ("share", "importance")
    )
    return 100 * np.interp(np.linspace(0, 1, 51), paid / paid[-1], given / given[-1])


# %% folded=true
best_first = bought(np.arange(len(prices)))  # the table is in order of per_share
at_random = bought(np.random.default_rng(0).permutation(len(prices)))
al.plots.lines(
    np.linspace(0, 100, 51),
    {"most for its price first": best_first, "in random order": at_random},
    xlabel="spent (% of the price of all parts)",
    ylabel="bought (% of all importance)",
    alt="Share of all importance against the share of the price of all parts. Half of"
    f" the price buys {best_first[25]:.0f} % of it where what gives most for its price"
    f" comes first, {at_random[25]:.0f} % in random order.",
)

# %%
low, high = (prices[["share", "importance"]].quantile(one) for one in (0.05, 0.95))
print("from the 5th to the 95th percentile of the parts")
for name, times in (high / low).items():
    print(f"{name:>11} grows {times:,.1f} times")

# %% [markdown]
# Parts differ little in price and much more in what they give. That is why something
# can be saved at all.
#
# **Greedy**: sell what gives least for its price, until the rest is affordable. This
# works well with small parts. With large ones it can go wrong. Say A gives 7 and costs
# 6, B and C give 5 and cost 5 each, and the budget is 10. A gives most for its price,
# but beside A nothing else fits: 7. B and C together give 10. To find the best set is
# the **knapsack problem**.
#
# ### Exercise 3: what to buy
#
# *Difficulty 4 of 5, 12 minutes.* Each part has a value and a price, and may be bought
# once or not at all. Find the parts that give most together and cost no more than the
# budget. `value` is a list of floats, `price` a list of whole numbers of at least 0,
# `budget` a whole number of at least 0. Return the indices of the parts that you buy,
# in any order; if several sets are equally good, any of them. A part with a negative
# value does harm. The budget need not be spent. Do not change the lists.
#
# Each further part doubles the number of sets, and 72 heads are too many to try them
# all. *Dynamic programming* is quick: part by part, and for each amount from 0 to the
# budget, it computes the most that the parts so far can give for this amount.


# %% exercise="knapsack" points=3
def knapsack(value, price, budget):
    """Indices of the parts that give most together, for no more than the budget."""
    ### BEGIN SOLUTION
    best, rows = [0.0] * (budget + 1), []
    for worth, cost in zip(value, price, strict=True):
        rows.append(best)
        best = [
            max(old, rows[-1][amount - cost] + worth) if cost <= amount else old
            for amount, old in enumerate(best)
        ]
    chosen = []
    for part in reversed(range(len(value))):
        if best[budget] > rows[part][budget]:  # it is better with this part
            chosen.append(part)
            budget -= price[part]
        best = rows[part]
    return chosen
    ### END SOLUTION


# %% check="knapsack"
al.checks.knapsack(knapsack)

# %% [markdown] hints="knapsack"
# Without any part all amounts give 0. With one part more, an amount gives either what
# it gave without this part, or the value of the part plus what *the rest of the amount*
# gave without it. Which is larger?
#
# ---
# Keep the table of amounts before each part, and make a new one: in one and the same
# list a part would be bought twice.
#
# ---
# Go back from the last part to the first, with the whole budget. Is the best of this
# amount larger with the part than before it? Then it was bought, and what is left is
# less by its price.

# %% [markdown]
# Your knapsack at work, with prices rounded to thousandths of the budget, beside greedy
# buying, which takes what gives most for its price as long as it fits. First single
# parts are for sale, then whole blocks: all heads of a layer, or all of its neurons.


# %%
def greedy(value, price, budget):
    """Indices of the parts that give most for their price, as long as they fit."""
    chosen = []
    for part in np.argsort(-np.divide(value, price)):
        if price[part] <= budget:
            chosen.append(part)
            budget -= price[part]
    return chosen


blocks = prices.groupby(["layer", "part"])[["importance", "share"]].sum()
budget = int(1000 * (1 - market.prices.base.max()))  # some things are paid in any case

# %%
try:
    for name, parts in (("single parts", prices), ("whole blocks", blocks)):
        value = parts["importance"].tolist()
        price = (1000 * parts["share"]).round().astype(int).tolist()
        for how, buy in (("greedy", greedy), ("your knapsack", knapsack)):
            chosen = list(buy(value, price, budget))
            gives = sum(value[part] for part in chosen) / sum(value)
            left = budget - sum(price[part] for part in chosen)
            print(f"{name}, {how:>13}: {len(chosen):2} of {len(value)},", end=" ")
            print(f"{gives:.2%} of all importance, {left} thousandths left")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# Greedy buying falls short of the best by no more than the value of the first part that
# does not fit. Single parts are small beside the budget, and that is little. Blocks are
# large, and the better choice need not be the one that spends more.
#
# Importance adds up on paper only. In the model one part can stand in for another, so
# the worth of a plan has to be measured. That is what the search did: first the plans
# of greedy and knapsack; then the same, with importance measured anew after some parts
# have gone (*in rounds*); then it changed the bids, by *evolution* (small random
# changes of the best so far) and by *Optuna* (lesson 05), and drew some plans at
# *random*.

# %%
inside = result.table.query("inside and spent >= 0.95")
by_origin = inside.groupby("origin")["accuracy"].agg(["count", "mean", "max"])
by_origin.sort_values("max", ascending=False).round(3)

# %% [markdown]
# A row with few models says little about its method, and the best of many tries is
# better by luck alone. So compare with chance properly: sell parts at random (some
# layers, then heads and neurons) until the rest is affordable, several times, and set
# them against the one that the search chose. Same budget, same sentences.

# %%
generator = np.random.default_rng(0)
drawn = [market.random(generator) for _ in range(3 if small_run else 10)]
models = [al.Evaluator(plan.apply(clf), result.dev, fast=True) for plan in drawn]
random_right = np.array([model.score().correct for model in models])
chosen_right = result.correct[result.chosen]
ahead = chosen_right - random_right.mean(0)
low, high = al.statistics.paired_bootstrap(ahead)
print("at random:", " ".join(f"{right:.1%}" for right in random_right.mean(1)))
print(f"the chosen one: {chosen_right.mean():.1%}", end=", ")
print(f"{100 * ahead.mean():+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")

# %% [markdown]
# The chosen one was picked on these sentences and the random ones were not, so the
# difference flatters it a little. Its worth on new sentences is for the test below.
#
# ## 8. What one unit more buys
#
# Each step along the frontier has a **shadow price**: how much accuracy one more unit
# of the cost buys there.

# %%
steps = result.prices()
per_cent = half.flops / 50  # 1 % of the whole classifier
told = pd.DataFrame()
for end in ("from", "to"):
    told[f"{end} (% of the FLOPs)"] = steps[f"cost_{end}"] / per_cent
told["points for 1 % more"] = 100 * steps["price"] * per_cent
told["at least"] = 100 * steps["price_low"] * per_cent
told.round(2)

# %% [markdown]
# Read it from top to bottom: where the frontier is steep, one per cent more buys much,
# and where it is flat, little. Where the steps end, more work buys nothing that these
# sentences can show.
#
# **Buying back.** So far nothing was trained. A short training with the whole
# classifier as teacher (lesson 09 explains how) is paid once, and the smaller model
# stays as cheap to use as before. Two models are trained: the best inside the budget,
# and the cheapest on the frontier.

# %%
taught_by = al.datasets.Splits(
    splits.train.sample(min(size.distilled_sentences, len(splits.train))),
    splits.dev.sample(size.sentences),
    splits.test,
)
cheapest = result.points[frontier.index[0]].plan.apply(clf)
cut = {"best inside": result.best, "cheapest": cheapest}
retrained = {
    name: compression.distil(clf, one, taught_by, epochs=size.epochs)
    for name, one in cut.items()
}

# %%
dev = splits.dev.sample(size.sentences)
evaluator = al.Evaluator(clf, dev, fast=True)
for name, one in cut.items():
    part = economics.cost(one, measured=False).flops / whole.flops
    before, after = (
        al.Evaluator(each, dev, fast=True).score() for each in (one, retrained[name])
    )
    print(f"{name}, {part:.0%} of the FLOPs:", end=" ")
    print(f"{before.accuracy:.1%} as it was cut, {after.accuracy:.1%} retrained")
    print(f"  {evaluator.compare(before, after)}")

# %% [markdown]
# Where a cut has cost little, there is little to buy back. Where it has cost much,
# compare what training gives with the shadow prices above.
#
# All of that was chosen on dev sentences, and the best of many looks better than it is.
# So the test sentences are asked once, for the one model that we would ship:

# %%
test = splits.test.sample(size.sentences)
evaluator, chosen = al.Evaluator(clf, test), retrained["best inside"]
print(evaluator.compare(evaluator.score(), al.Evaluator(chosen, test).score()))
bill = economics.cost(chosen, measured=False)
for name in ("parameters", "flops"):
    print(f"{name}: {getattr(bill, name) / getattr(whole, name):.0%} of the whole")

# %% [markdown]
# ## 9. Gates that close
#
# So far heads were taken out of a model that had not been trained for it. A head can
# also learn to switch itself off: put a **gate** on each, and charge for open gates. A
# gate is a factor on the head's output. This kind is drawn anew in each step of
# training, and is often exactly 0 or exactly 1, with a slope in between:

# %% folded=true
noise, curves = torch.linspace(0.001, 0.999, 400), {}
for openness in (0.3, 0.8, 0.99):  # how likely it is not 0
    gate = economics.HardConcrete(1, openness=openness)
    drawn = gate(noise[:, None]).detach()[:, 0]
    curves[f"log α = {gate.log_alpha.item():.1f}"] = drawn
al.plots.lines(
    noise,
    curves,
    xlabel="noise u",
    ylabel="gate z",
    alt="A gate against the noise it is drawn with, for three values of log alpha: 0 up"
    " to a point, then a slope, then 1. The larger log alpha, the earlier it rises.",
)

# %% [markdown]
# ### Exercise 4: a gate that learns to close
#
# *Difficulty 3 of 5, 10 minutes.* A gate that can only be 0 or 1 has no gradient. The
# **hard concrete** gate (Louizos et al. 2018) is often exactly 0 or 1, and has one. It
# learns $\log\alpha$, which is large for a gate that is mostly open. With noise $u$,
# drawn uniformly between 0 and 1,
#
# $$ s = \sigma\big((\log u - \log(1 - u) + \log\alpha) \,/\, \tfrac23\big), \qquad
#    z = \mathrm{clip}\big(1.2\, s - 0.1,\; 0,\; 1\big), $$
#
# so the sigmoid $\sigma$ is stretched from between 0 and 1 to between -0.1 and 1.1, and
# then clipped. Return two tensors: the gates $z$, and for each $\log\alpha$ the
# probability $P(z > 0)$ that its gate is open at all, over all $u$. `log_alpha` has any
# shape, and the probabilities have the same. `noise` holds $u$, in that shape or with
# more axes in front of it, for several draws, and the gates have the shape of `noise`.
# Both results must have gradients, and stay right where $\log\alpha$ is very small or
# very large. No loop.


# %% exercise="hard_concrete" points=3
def hard_concrete(log_alpha, noise):
    """Gates (shape of noise), and the probability that each is open (of log_alpha)."""
    ### BEGIN SOLUTION
    temperature, low, high = 2 / 3, -0.1, 1.1
    logistic = noise.log() - (1 - noise).log()
    soft = torch.sigmoid((logistic + log_alpha) / temperature)
    gates = (soft * (high - low) + low).clamp(0, 1)
    shift = temperature * math.log(-low / high)
    return gates, torch.sigmoid(log_alpha - shift)
    ### END SOLUTION


# %% check="hard_concrete"
al.checks.hard_concrete(hard_concrete)

# %% [markdown] hints="hard_concrete"
# The gates are the formula, line by line. `clamp(0, 1)` clips, and its gradient is 0
# where it clips. `torch.sigmoid` copes with large numbers, `exp` does not.
#
# ---
# For the probability: a gate is above 0 where $1.2\, s > 0.1$. So $s$ is larger than a
# number that you know, and $\sigma$ can be undone: $\sigma(x) > p$ where $x > \log p -
# \log(1 - p)$.
#
# ---
# That leaves $\log u - \log(1 - u) > \tfrac23 \log\tfrac{0.1}{1.1} - \log\alpha$. The
# left side is larger than $-t$ with probability $\sigma(t)$.

# %%
try:
    log_alpha = torch.tensor([-3.0, -1.0, 0.0, 2.0], requires_grad=True)
    gates, opened = hard_concrete(log_alpha, torch.rand(10_000, 4) * 0.999 + 0.0005)
    for alpha, column, formula in zip(log_alpha, gates.T, opened, strict=True):
        open_, one = (column > 0).double().mean(), (column == 1).double().mean()
        told = f"open {open_:.3f} (formula {formula:.3f}), exactly 1 {one:.3f}"
        print(f"log alpha {alpha:4.1f}: {told}")
    gates.mean(0).sum().backward()
    print("gradient of the mean gate:", log_alpha.grad.numpy().round(3))
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# The sum of these probabilities is the expected number of open gates: an **L0 norm**
# with a gradient. It becomes a term of the loss, so that a head stays open only if the
# task gains more by it than the price $\lambda$:
#
# $$ L = \text{cross-entropy} + \lambda \sum_h P(z_h > 0) . $$
#
# ### Three routes to fewer heads, one of them a dead end
#
# The translator of lesson 03 has heads to spare. **L0 gates**: weights and gates learn
# together, and the heads whose gates have closed are removed. **Removed afterwards**:
# the head that the loss misses least goes, again and again, until as few are left; then
# the rest is trained on. **Weight decay** keeps the weights small (L2). Each way trains
# on the same pairs, for as many epochs. Which columns of the table will weight decay
# change?

# %%
pairs = al.datasets.load("dates").sample(size.pairs // 6, size.sweep_sentences, 20)
translator = al.load_translator("dates")


# %%
def price_of(one):
    """What a translator costs for 15 tokens to 11, and how many dates are right."""
    bill = economics.cost(one, tokens=15, target_tokens=11, measured=False)
    active = [len(heads) for layers in one.model.active.values() for heads in layers]
    return {
        "heads": sum(active),
        "parameters": bill.parameters,
        "MFLOPs a pair": round(bill.flops / 1e6, 2),
        "L2 norm": round(bill.l2, 1),
        "exact match": al.translation.exact_match(one, pairs.dev).mean().round(3),
    }


# %%
how = {"epochs": 2, "batch_size": 32}
gated = economics.close_heads(translator, pairs, penalty=0.03, gate_rate=200.0, **how)
left = price_of(gated)["heads"]
removed = economics.keep_heads(translator, pairs.train.sample(60), left)

# %%
models = {
    "whole": translator,
    "L0 gates": gated,
    "heads removed": removed,
    "… and trained on": al.translation.fit(removed, pairs, **how),
    "weight decay": al.translation.fit(translator, pairs, weight_decay=10.0, **how),
}
al.plots.table(pd.DataFrame({name: price_of(one) for name, one in models.items()}).T)

# %% [markdown]
# Weight decay makes the weights smaller and leaves heads, parameters and operations as
# they are: a bound on the L2 norm bounds no cost. Gates and removal both cut. Which of
# them is more accurate with as many heads depends on how long each is trained; one run
# of each does not decide it.
#
# Both take heads out of a large model. If you train from nothing, you can choose the
# sizes instead: `economics.train_within(splits, budget)` tries several that a budget
# allows, for a short time each, and trains the best.
#
# ## 10. The loop
#
# Choose, limit, optimise, evaluate, adjust, repeat. Every search for a cheaper model
# has this form, whatever is chosen and whatever is paid. Here is the loop of
# `economics.search`, as it stands in the package. `chooser` holds the market and
# proposes a plan, `measure` builds the sub-network and asks it the dev sentences,
# `goes_on` watches the clock, and `study` keeps a record of everything.

# %%
print(inspect.cleandoc(inspect.getsource(economics.loop).split('"""')[2]))

# %% [markdown]
# ## 11. Who is telling the truth?
#
# "The new model is several times as fast", says a report, and its author has sent the
# raw record of the measurements. (The next cell makes it up. The tricks are real.)

# %%
true_speedup, noise, rows = 1.2, np.random.default_rng(8), []
for number in range(13):  # round 0: the first answers of the old model, cold
    for text in range(16):
        for model, faster in (("old", 1.0), ("new", true_speedup)):
            threads = 4 if model == "new" and number % 3 == 1 else 1
            if model == "new" and (text < 4 or number > 9):
                continue  # the long texts, and the hours when the machine was busy
            ms = 3 * (20 - text) / faster * (1 + 0.8 * (number > 9))
            ms *= (0.5 if threads == 4 else 1) * np.exp(0.1 * noise.normal())
            ms *= 4 if number == 0 and model == "old" else 1
            rows.append((number, model, f"text {text}", threads, round(ms, 2)))

# %%
record = pd.DataFrame(rows, columns=["round", "model", "text", "threads", "ms"])
times = record.groupby("model")["ms"]
claim = times.mean()["old"] / times.min()["new"]
print(f"The report: {claim:.1f} times as fast. Five rows of the record:")
print(record.sample(5, random_state=0).to_string(index=False))

# %% [markdown]
# ### Exercise 5: audit a report
#
# *Difficulty 3 of 5, 12 minutes.* Compute an honest speed-up from the raw record of a
# benchmark. The record is a table with the columns `round`, `model` ("old" or "new"),
# `text`, `threads` and `ms`, a row for each answer. No model reads a text twice in a
# round.
#
# - Round 0, if it was recorded, is a warm-up and does not count.
# - All other rows count that have a partner: the other model in the same round, on the
#   same text, with as many threads. Long times count, too.
# - The *ratio* is the median `ms` of old divided by the median `ms` of new, each over
#   all pairs.
# - For its 95 % interval, draw as many pairs as there are, with replacement, a thousand
#   times, from a fixed seed. *low* and *high* are the 2.5 % and 97.5 % quantiles of the
#   thousand ratios of medians.
# - Where there is no pair at all, raise a `ValueError`.
#
# Return ratio, low and high. Do not change the record.


# %% exercise="audit" points=3
def audit(record):
    """How many times as fast new is, and its 95 % interval: ratio, low, high."""
    ### BEGIN SOLUTION
    warm = record[record["round"] > 0]
    old, new = (warm[warm["model"] == model] for model in ("old", "new"))
    pairs = old.merge(new, on=["round", "text", "threads"], suffixes=("_old", "_new"))
    if pairs.empty:
        raise ValueError("no row has a partner that was measured in the same way")
    times = pairs[["ms_old", "ms_new"]].to_numpy()
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(times), size=(1000, len(times)))
    medians = np.median(times[drawn], axis=1)  # (1000, 2)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [0.025, 0.975])
    return np.median(times[:, 0]) / np.median(times[:, 1]), low, high
    ### END SOLUTION


# %% check="audit"
al.checks.audit(audit)

# %% [markdown] hints="audit"
# First the rows: which of them count, and who is the partner of each? Then figures.
#
# ---
# `old.merge(new, on=[...], suffixes=("_old", "_new"))` puts rows side by side that have
# the same entries in the columns named, and leaves out the others. Which three columns?
#
# ---
# Draw numbers of *pairs*, `generator.integers(n, size=(1000, n))`, so that the two
# times of a pair stay together. For each row of numbers there are two medians and one
# ratio.

# %%
try:
    ratio, low, high = audit(record)
    print(f"reported: {claim:.1f} times as fast")
    print(f"audited: {ratio:.2f} times as fast [{low:.2f}, {high:.2f}]")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")
print(f"the record was made with a model {true_speedup} times as fast")

# %% [markdown]
# Does the interval hold the truth? The report used five tricks. It counted the cold
# first round of the old model; it gave the new one four threads in every third round;
# it spared the new one the longest texts, and the rounds on a busy machine; and it
# divided the *mean* of one by the *best* of the other.
#
# ## 12. The limits of a phone
#
# ### Exercise 6: a budget for a phone
#
# *Difficulty 2 of 5, 7 minutes.* Turn what is known of a phone, the dictionary `phone`,
# into an `al.economics.Budget` for the model in an app. An entry that is missing limits
# nothing, or has the value in brackets.
#
# - `megabytes`: the app may take `app_megabytes`, of which `other_megabytes` (0) are
#   not the model. There a weight takes `bytes_per_weight` (4) bytes; a Budget counts 4.
# - `latency_ms`: an answer may take `ms_per_answer`, of which `ms_elsewhere` (0) are
#   not the model. What takes 1 ms here takes `slower` (1) ms there; a Budget counts
#   milliseconds here.
# - `flops`: one battery charge pays for `gflops_per_charge` times $10^9$ operations,
#   and has to last for `answers_per_charge` answers.
# - `tokens` (32): the smallest length in the list `lengths` that at least 95 % of them
#   do not exceed.
#
# Where nothing is left for the model, or nothing is limited, an error is due: a
# `ValueError`, or the `AttnlabError` that a Budget raises by itself for limits of 0 or
# less, and for no limit at all.


# %% exercise="phone_budget" points=2
def phone_budget(phone):
    """The al.economics.Budget of a model on this phone."""
    ### BEGIN SOLUTION
    limits, get = {}, phone.get
    if "app_megabytes" in phone:
        left = phone["app_megabytes"] - get("other_megabytes", 0)
        limits["megabytes"] = left / get("bytes_per_weight", 4) * 4
    if "ms_per_answer" in phone:
        left = phone["ms_per_answer"] - get("ms_elsewhere", 0)
        limits["latency_ms"] = left / get("slower", 1)
    if "gflops_per_charge" in phone:
        total = 1e9 * phone["gflops_per_charge"]
        limits["flops"] = total / phone["answers_per_charge"]
    if "lengths" in phone:
        enough = np.quantile(phone["lengths"], 0.95, method="inverted_cdf")
        limits["tokens"] = int(enough)
    return al.economics.Budget(**limits)
    ### END SOLUTION


# %% check="phone_budget"
al.checks.phone_budget(phone_budget)

# %% [markdown] hints="phone_budget"
# Begin with an empty dictionary of limits, fill in what the phone has, and end with
# `al.economics.Budget(**limits)`. `phone.get("slower", 1)` is 1 where it is missing.
#
# ---
# Memory in two steps: how many weights fit into what is left, and what would they weigh
# with 4 bytes each? Time in two steps: what is left of the patience on the phone, and
# how many milliseconds of this machine are that?
#
# ---
# `np.quantile(lengths, 0.95, method="inverted_cdf")` takes a length that occurs;
# without `method` it may lie between two. `tokens` has to be an `int`.

# %%
phone = {"app_megabytes": 22, "other_megabytes": 6, "bytes_per_weight": 1}
phone |= {"ms_per_answer": 60, "ms_elsewhere": 20, "slower": 4}
phone |= {"lengths": clf.encode(dev.texts).lengths.tolist()}
try:
    wanted = phone_budget(phone)
    fits = result.table[result.table["megabytes"] <= wanted.megabytes]
    print(wanted)
    print(f"{len(fits)} of {len(result.table)} sub-networks fit its memory")
    if len(fits):
        print(f"the best of them has {fits['accuracy'].max():.1%} on dev")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# ## What you have seen
#
# - A model has several prices. Parameters, operations and milliseconds are spent on
#   different parts, and none stands in for another.
# - Maximise one quantity and limit the others. A penalty on the L2 norm limits no cost.
# - Compare every choice with chance: random parts at the same price.
# - A frontier is uncertain. A model is worth its price if the *difference* holds.
# - Measure time on the machine that will do the work, and check every prediction.
#
# Further reading: Kwon et al. 2022, *A Fast Post-Training Pruning Framework for
# Transformers*; Louizos et al. 2018, *Learning Sparse Neural Networks through L0
# Regularization*; Voita et al. 2019, *Analyzing Multi-Head Self-Attention*; Cai et al.
# 2019, *ProxylessNAS* (latency as a goal of a search). Next: lesson
# [09](09_compression.ipynb), what can be taken away, and whether it is really faster.

# %%
al.checks.summary("attention_economics")
