# %% [markdown]
# # 01 The mathematics of attention
#
# **How can a machine look something up when no entry matches exactly, and learn where
# to look?** You start from a look-up table, make it soft, and derive every part of the
# formula that runs in each head of a Transformer:
#
# $$
# \text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V
# $$
#
# Afterwards you can
#
# - say why the softmax is there, why the scores are divided by $\sqrt{d_k}$, and what
#   happens to learning without it;
# - send a gradient through attention by hand, and check it;
# - tell soft from hard and additive from dot-product attention, and what each costs;
# - explain why attention does not know the order of its tokens, and what repairs that.
#
# Time: about two hours, 50 minutes of them for six exercises. You need school calculus,
# vectors and matrices, and a little PyTorch. Choose **Run → Run All Cells** first;
# exercises that are not written yet only say so.

# %%
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al

size = al.device.profile()

# %% [markdown]
# ## 1. Move something first
#
# One **query** is compared with $T$ **keys**. Each key gets a **score**; the softmax
# turns scores into **weights** that sum to 1. Move the sliders, with the mouse or the
# arrow keys, and watch the weights. Then switch *divide scores by √d_k* off and on.
#
# What makes one key take everything? When is hardly any gradient left? By the end of
# this lesson you will have derived what you see here.

# %%
desk = al.SoftmaxDesk()
desk

# %% [markdown]
# ## 2. From a look-up table to a soft look-up
#
# A Python dictionary is attention in its crudest form: a query either equals a key, and
# you get its value, or it does not, and you get nothing. Here, the visitors of a museum
# at some hours of the day:

# %%
visitors_at = {6: 8.0, 9: 12.0, 12: 19.0, 15: 21.0, 18: 16.0, 21: 11.0}
print(visitors_at[12])
print(visitors_at.get(13, "no such key"))

# %% [markdown]
# You would answer the question for 13 o'clock all the same: it is *near* 12 and not far
# from 15, so take a mean of their values in which the nearer key counts more. That is
# the whole idea of attention:
#
# 1. **score** every key by how well it answers the query;
# 2. turn the scores into positive **weights** that sum to 1;
# 3. return the **mean of the values**, weighted.
#
# Here the score is minus the squared distance in hours, and a number called the
# *temperature* says how far around the query you look.

# %%
keys = torch.tensor(list(visitors_at), dtype=torch.float32)
values = torch.tensor(list(visitors_at.values()))


def soft_lookup(hour, temperature):
    scores = -((hour - keys) ** 2)
    weights = torch.softmax(scores / temperature, dim=-1)
    return weights @ values


print(f"13 o'clock: {soft_lookup(13.0, temperature=4.0):.1f} visitors")

# %%
hours = torch.linspace(4, 23, 200)
curves = {
    f"temperature {t:g}": [float(soft_lookup(hour, t)) for hour in hours]
    for t in (0.1, 4, 100)
}
al.plots.lines(
    hours,
    curves,
    points=(keys, values),
    xlabel="hour of the day (query)",
    ylabel="answer, visitors",
    alt="Soft look-up over the hours: steps from value to value at temperature 0.1, a "
    "smooth curve at 4, nearly a flat mean at 100.",
)

# %% [markdown]
# At a low temperature the curve is a staircase: one key takes all, a **hard** look-up.
# At a high one all keys count the same, and the answer hardly depends on the query. In
# between is the useful part. And unlike a dictionary, the result changes *smoothly*
# with the query, so that a gradient can say how to ask better.
#
# In a Transformer nobody chooses keys and values by hand. Query, key and value are
# vectors computed from the tokens by learned matrices, and the score is a dot product.
# The three steps stay the same. With the step before (tokens become vectors) and after
# (the result becomes an answer) they are the four-step view of this course: *encode,
# score and normalise, aggregate, decode*.

# %% [markdown]
# ## 3. Why a softmax?
#
# Many functions turn scores into weights. Here is a reason for this one. Suppose you
# may choose any weights $w_i \ge 0$ with $\sum_i w_i = 1$, and you want two things at
# once: a high mean score, and not to bet everything on one key. Measure the second by
# the **entropy** $H(w) = -\sum_i w_i \log w_i$, which is largest when all weights are
# equal, and let $\tau > 0$ say how much it is worth:
#
# $$ \max_w \;\; \sum_i w_i s_i + \tau H(w) \qquad \text{subject to} \sum_i w_i = 1 $$
#
# Without the bonus ($\tau = 0$) the best choice puts all weight on the largest score:
# the arg-max. With it, move a little weight $\varepsilon$ from key $j$ to key $i$. At
# the maximum that gains nothing, so the slope of the objective is the same number, call
# it $\lambda$, for every key (in other words: $\lambda$ is the Lagrange multiplier of
# the constraint). As $\frac{d}{dw}(-w \log w) = -\log w - 1$, that says
#
# $$ s_i - \tau (\log w_i + 1) = \lambda
# \quad\Longrightarrow\quad w_i = e^{s_i / \tau} \cdot e^{-1 - \lambda / \tau} . $$
#
# The second factor is the same for all keys; that the weights sum to 1 fixes it:
#
# $$ \boxed{\; w_i = \frac{e^{s_i/\tau}}{\sum_j e^{s_j/\tau}} \;} $$
#
# That is the softmax, and $\tau$ is the **temperature** of the desk. No weight stops at
# 0, since the slope of $-w \log w$ is infinite there; and as the objective is concave
# (a straight part plus a concave one), there is only this one maximum. Write $Z$ for
# the sum in the denominator: then $\tau \log w_i = s_i - \tau \log Z$, and the value of
# the maximum is $\sum_i w_i s_i - \tau \sum_i w_i \log w_i = \tau \log Z$, the
# *log-sum-exp*, a smooth version of $\max_j s_j$.
#
# Now numerically: for two keys, draw what is maximised over all possible weights.

# %%
scores = torch.tensor([1.0, 0.0])
w = torch.linspace(0.001, 0.999, 400)
both = torch.stack([w, 1 - w], dim=-1)  # (400, 2)


def objective(weights, tau):
    return weights @ scores + tau * al.attention.entropy(weights)


curves, best = {}, []
for tau in (0.4, 0.6, 1.0):
    curves[f"τ = {tau}"] = objective(both, tau)
    top = torch.softmax(scores / tau, -1)
    best.append((float(top[0]), float(objective(top, tau))))
    assert abs(w[objective(both, tau).argmax()] - top[0]) < 0.003

# %%
al.plots.lines(
    w,
    curves,
    points=tuple(zip(*best, strict=True)),
    xlabel="weight of the better key",
    ylabel="mean score + τ · entropy",
    alt="For three temperatures the objective rises and falls over the weight; the dot "
    "of the softmax sits on each maximum.",
)

# %% [markdown]
# The dots are the softmax: each sits on its maximum. The lower $\tau$, the further it
# moves towards the arg-max at 1. For many keys, a random search cannot beat it either:

# %%
scores = torch.randn(8, generator=torch.Generator().manual_seed(0))
anything = torch.distributions.Dirichlet(torch.ones(8)).sample((100_000,))
searched = (anything @ scores + al.attention.entropy(anything)).max()
print(f"best of 100,000 random weights: {searched:.4f}")
print(f"softmax: {torch.logsumexp(scores, -1):.4f}  (log-sum-exp, τ = 1)")
assert searched < torch.logsumexp(scores, -1)

# %% [markdown]
# ### Exercise 1: softmax
#
# *Difficulty 2 of 5, 10 minutes.* Write the softmax over the last axis, with a
# temperature. It must survive scores in the thousands, where a plain exponential
# overflows: adding the same number to all scores of a row changes none of its weights,
# so you are free to choose a better one. Here as in every exercise, a ready-made
# function for the whole task, such as `torch.softmax`, does not count.


# %% exercise="softmax" points=2
def softmax(scores, temperature=1.0):
    """Weights of shape (..., T) from scores of shape (..., T); rows sum to 1."""
    ### BEGIN SOLUTION
    scores = scores / temperature
    scores = scores - scores.amax(dim=-1, keepdim=True)
    exponentials = scores.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %% check="softmax"
al.checks.softmax(softmax)

# %% [markdown] hints="softmax"
# Divide by the temperature first. Then exponentials, then divide by their sum over the
# last axis; `keepdim=True` keeps the axis, so that shapes fit.
#
# ---
# Which number can you subtract from a row so that its largest exponential is
# $e^0 = 1$ and nothing overflows? Each row needs its own: `scores.amax(-1,
# keepdim=True)`.

# %% [markdown]
# ## 4. How widely is a query looking?
#
# The entropy that served as bonus is a measuring instrument as well. It is 0 when one
# key has all the weight, and $\log T$ when all $T$ weights are equal. Two relatives are
# easier to read: $e^{H}$ is the **effective number of keys**, and $H / \log T$ runs
# from 0 to 1 whatever the length of the text.

# %%
rows = torch.tensor(
    [[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.25] * 4]
)
for row in rows:
    raw = al.attention.entropy(row)
    share = al.attention.entropy(row, normalised=True)
    effective = al.attention.effective_keys(row)
    print(f"{np.round(row.numpy(), 2)}  {raw:.2f} nats, ", end="")
    print(f"{share:.0%} of log 4, {effective:.1f} keys")

# %% [markdown]
# ### Exercise 2: entropy
#
# *Difficulty 2 of 5, 5 minutes.* Write the entropy, in nats, of each row of weights.
# Mind a weight of exactly 0: its logarithm is $-\infty$, yet $0 \log 0$ counts as 0,
# the limit of $w \log w$, and the gradient must not be NaN there either. Small weights
# count, however many they are.


# %% exercise="entropy" points=1
def entropy(weights):
    """Entropy, shape (...), of weights of shape (..., T)."""
    ### BEGIN SOLUTION
    logarithms = torch.where(weights > 0, weights, 1.0).log()  # log 1 = 0
    return -(weights * logarithms).sum(dim=-1)
    ### END SOLUTION


# %% check="entropy"
al.checks.entropy(entropy)

# %% [markdown] hints="entropy"
# It is one sum over the last axis, with a minus sign in front.
#
# ---
# The product `0 * log(0)` is NaN. Keep the 0 away from the logarithm, by something
# whose logarithm does no harm: `torch.where(weights > 0, weights, 1.0)`, or, inside the
# logarithm alone, a clamp at a tiny number such as 1e-30. (Mending the NaN afterwards
# gives the same value, but its gradient stays NaN. And small weights count: many of
# them together are much.)

# %% [markdown]
# ## 5. Why divide by $\sqrt{d_k}$?
#
# Query and key are vectors of width $d_k$, scored by $q \cdot k = \sum_{i=1}^{d_k} q_i
# k_i$. How large is that, before anything is learned? Say all components are
# independent with mean 0 and variance 1. (A real layer starts with some other constant
# variance; how scores grow with $d_k$ is the same.) For independent numbers the mean of
# a product is the product of the means, and with mean 0 the variance is the mean of the
# square. So for one term
#
# $$ E[q_i k_i] = E[q_i]\,E[k_i] = 0, \qquad
# \text{Var}(q_i k_i) = E[q_i^2 k_i^2] = E[q_i^2]\,E[k_i^2] = 1 . $$
#
# Variances of independent terms add, so $\text{Var}(q \cdot k) = d_k$, and the standard
# deviation is $\sqrt{d_k}$. **Scores grow with the width of the vectors**, for no
# reason that has to do with meaning. Divided by $\sqrt{d_k}$ they have variance 1 at
# any width. Simulate it:

# %%
widths = [2**n for n in range(10)]
generator = torch.Generator().manual_seed(0)
spread, largest = {"q · k": [], "√d_k": [], "q · k / √d_k": []}, []
for d in widths:
    q = torch.randn(1000, 1, d, generator=generator)
    k = torch.randn(1000, 16, d, generator=generator)
    plain, scaled = al.attention.dot_scores(q, k), al.attention.scaled_dot_scores(q, k)
    for name, number in zip(spread, (plain.std(), d**0.5, scaled.std()), strict=True):
        spread[name].append(float(number))
    largest.append([torch.softmax(s, -1).amax(-1).mean() for s in (plain, scaled)])

# %%
al.plots.lines(
    widths,
    spread,
    log="xy",
    xlabel="width d_k of query and key",
    ylabel="standard deviation of the scores",
    alt="The standard deviation of the dot product follows the square root of d_k; "
    "divided by it, it stays at 1.",
)

# %% [markdown]
# Simulated and derived lie on each other. What do large scores do? The softmax puts
# their differences into an *exponential*. At $d_k = 64$, undivided, two scores that are
# one standard deviation apart differ by 8, and their weights by a factor of $e^8
# \approx 3000$; divided, by a factor of $e$. The softmax saturates: one key takes all.

# %%
plain, scaled = np.array(largest).T
al.plots.lines(
    widths,
    {"not divided": plain, "divided by √d_k": scaled},
    log="x",
    xlabel="width d_k of query and key",
    ylabel="mean largest weight of 16 keys",
    alt="Without division the largest of 16 weights climbs towards 1 as d_k grows; "
    "divided it stays about the same.",
)

# %% [markdown]
# ### Exercise 3: scaled scores
#
# *Difficulty 1 of 5, 5 minutes.* Stack queries as rows of a matrix $Q$, keys as rows of
# $K$ and values as rows of $V$. Then row $i$ of $Q K^\top$ holds all scores of query
# $i$. Score every key for every query, with a variance that does not depend on the
# width. Batches and heads may come before the last two axes.


# %% exercise="scaled_dot_scores" points=1
def scaled_dot_scores(query, key):
    """Scores (..., T_q, T_k) of queries (..., T_q, D) and keys (..., T_k, D)."""
    ### BEGIN SOLUTION
    return query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    ### END SOLUTION


# %% check="scaled_dot_scores"
al.checks.scaled_dot_scores(scaled_dot_scores)

# %% [markdown] hints="scaled_dot_scores"
# A matrix product gives all dot products of rows with columns at once. The keys must
# be turned so that they are columns.
#
# ---
# `.T` turns *all* axes round; with a batch only the last two should change places:
# `key.transpose(-2, -1)`. The width is `key.shape[-1]`.

# %% [markdown]
# ## 6. How does it learn? The gradient
#
# What happens to weight $w_i$ when score $s_j$ grows a little? Differentiate
# $w_i = e^{s_i} / Z$ with $Z = \sum_k e^{s_k}$. The quotient rule gives, with
# $\partial Z / \partial s_j = e^{s_j}$,
#
# $$ \frac{\partial w_i}{\partial s_j} = \frac{[i = j]\, e^{s_i} Z - e^{s_i}
# e^{s_j}}{Z^2} = w_i \left( [i = j] - w_j \right), $$
#
# where $[i = j]$ is 1 if $i = j$, else 0. As a matrix that is the **Jacobian** $J =
# \text{diag}(w) - w w^\top$: on the diagonal $w_i (1 - w_i)$, elsewhere $-w_i w_j$.
# Raise one score, and its own weight grows at the expense of all others. Every column
# sums to 0, since the weights go on summing to 1; every row too, since raising all
# scores alike changes nothing. Autograd agrees:

# %%
scores = torch.tensor([2.0, 1.0, 0.0, -1.0])
w = torch.softmax(scores, -1)
jacobian = torch.diag(w) - torch.outer(w, w)
found = torch.autograd.functional.jacobian(lambda s: torch.softmax(s, -1), scores)
assert torch.allclose(jacobian, found, atol=1e-6)
al.plots.matrix(
    jacobian,
    xlabel="score that is raised",
    ylabel="weight that answers",
    label="change of weight per score",
    digits=3,
    alt="Jacobian of a softmax over four scores: positive on the diagonal, negative "
    "elsewhere, and small for the keys with little weight.",
)

# %% [markdown]
# Now look at a saturated row, $w \approx (1, 0, 0, \dots)$. On the diagonal stands $1
# \cdot (1 - 1)$ and $0 \cdot (1 - 0)$, elsewhere $-1 \cdot 0$: **every entry is nearly
# 0**. Whatever the loss asks for, next to nothing reaches the scores of that query, and
# it cannot learn to look elsewhere. Take the Frobenius norm of the Jacobian (the root
# of the sum of its squared entries) as its size, for the typical query, that is, the
# median of many. And follow the gradient one step further: a query moves the scores
# through the keys, so that the weights change with it by $J K$, divided by $\sqrt{d_k}$
# if the scores are.

# %%
sizes = {"not divided": [], "divided by √d_k": []}
quarters = {"not divided": [], "divided by √d_k": []}
for d in widths:
    q = torch.randn(1000, 1, d, generator=generator)
    k = torch.randn(1000, 16, d, generator=generator)
    for name, scale in zip(sizes, (1, d**0.5), strict=True):
        w = torch.softmax(al.attention.dot_scores(q, k) / scale, -1)[:, 0]
        jacobians = torch.diag_embed(w) - w[:, :, None] * w[:, None, :]
        sizes[name].append(float(jacobians.norm(dim=(1, 2)).median()))
        at_query = (jacobians @ k / scale).norm(dim=(1, 2))
        quarters[name].append(at_query.quantile(torch.tensor([0.25, 0.5, 0.75])))

# %%
al.plots.lines(
    widths,
    sizes,
    log="x",
    xlabel="width d_k of query and key",
    ylabel="median size of the Jacobian",
    alt="Median size of the softmax Jacobian over d_k: undivided it rises a little at "
    "first and then falls to 0; divided it stays level.",
)

# %% [markdown]
# (The largest possible size is 1/2: two keys with half the weight each.) For narrow
# vectors the division does no good: sharper scores even let a little more through.
# Beyond that the softmax of the typical query passes on less and less, until next to
# nothing is left.
#
# That is the softmax by itself. What arrives at the *query* is $J K$, and undivided
# scores hand it on $\sqrt{d_k}$ times as strongly, which makes up for a part:

# %%
for place, d in enumerate(widths):
    if d in (8, 64, 512):
        for name, found in quarters.items():
            low, middle, high = found[place].tolist()
            print(f"d_k = {d:3}, {name + ':':16} median {middle:.2g},", end=" ")
            print(f"half of the queries between {low:.2g} and {high:.2g}")
low, middle, high = torch.stack(quarters["not divided"]).T
divided = torch.stack(quarters["divided by √d_k"])[:, 1]

# %%
al.plots.lines(
    widths,
    {
        "upper quartile, not divided": high,
        "median, not divided": middle,
        "lower quartile, not divided": low,
        "median, divided by √d_k": divided,
    },
    log="xy",
    xlabel="width d_k of query and key",
    ylabel="change of weights with the query",
    alt="Quartiles of the size of JK over d_k: undivided they fan out, the upper stays "
    "high and the lower falls fast; the median divided by the root of d_k stays level.",
)

# %% [markdown]
# Divided, nearly every query hears the same. Undivided, queries drift apart as vectors
# grow wider: some hear several times as much as they would with the division, others
# hardly anything, and in the end the typical query is among those. No single learning
# rate suits both kinds.

# %% [markdown]
# ### Exercise 4: the gradient of the softmax
#
# *Difficulty 3 of 5, 10 minutes.* In training nobody builds the Jacobian. Given $g =
# \partial L / \partial w$, what is needed is $\partial L / \partial s$. The chain rule
# adds up all ways from $s_j$ to the loss, $\partial L / \partial s_j = \sum_i g_i \,
# \partial w_i / \partial s_j$, which is $J^\top g$, and $J g$ as $J$ is symmetric.
# Multiply $\text{diag}(w) - w w^\top$ by $g$ on paper, and write what comes out; no
# autograd, no matrix of size $T \times T$.


# %% exercise="softmax_gradient" points=3
def softmax_gradient(weights, gradient):
    """dLoss/dscores from weights and dLoss/dweights, all of shape (..., T)."""
    ### BEGIN SOLUTION
    mean = (weights * gradient).sum(dim=-1, keepdim=True)
    return weights * (gradient - mean)
    ### END SOLUTION


# %% check="softmax_gradient"
al.checks.softmax_gradient(softmax_gradient)

# %% [markdown] hints="softmax_gradient"
# $\text{diag}(w)\, g$ has the entries $w_i g_i$. And $w w^\top g = w \,(w^\top g)$:
# what is in brackets is a single number for each row.
#
# ---
# Together $w_i (g_i - \bar g)$ with $\bar g = \sum_j w_j g_j$. Keep the axis in the
# sum.

# %% [markdown]
# Read it as an instruction: gradient descent raises the score of every key whose $g_i$
# lies *below* the weighted mean, that is, whose weight raises the loss less than
# average, and lowers the others.
#
# With that, all of attention can be differentiated. Write $S = Q K^\top / \sqrt{d_k}$,
# $A = \text{softmax}(S)$, $C = A V$, and let $G = \partial L / \partial C$ come from
# above. For a product $Y = X W$ the rule is $\partial L / \partial X = (\partial L /
# \partial Y) W^\top$ and $\partial L / \partial W = X^\top (\partial L / \partial Y)$.
# Use it for $C = A V$, then exercise 4 row by row (the bar is its weighted mean, and
# $\odot$ multiplies entry by entry), then the rule again for $S$:
#
# $$ \frac{\partial L}{\partial V} = A^\top G, \quad
# \frac{\partial L}{\partial A} = G V^\top, \quad
# \frac{\partial L}{\partial S} = A \odot \left( G V^\top - \overline{G V^\top} \right),
# \quad \frac{\partial L}{\partial Q} = \frac{1}{\sqrt{d_k}}
# \frac{\partial L}{\partial S} K, \quad \frac{\partial L}{\partial K} =
# \frac{1}{\sqrt{d_k}} \Big(\frac{\partial L}{\partial S}\Big)^{\!\top} Q . $$
#
# Check the three that reach the inputs:

# %%
q, k, v = (torch.randn(5, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
context, a = al.attention.scaled_dot_product_attention(q, k, v)
g = torch.randn_like(context)
from_autograd = torch.autograd.grad(context, (q, k, v), g)

da = g @ v.T
ds = a * (da - (a * da).sum(-1, keepdim=True))
by_hand = ds @ k / 8**0.5, ds.T @ q / 8**0.5, a.T @ g
for name, mine, theirs in zip("qkv", by_hand, from_autograd, strict=True):
    print(f"{name}: largest difference {(mine - theirs).abs().max():.0e}")
    assert torch.allclose(mine, theirs)

# %% [markdown]
# ## 7. Soft or hard?
#
# Soft attention reads *all* values to return one mixture. **Hard** attention takes the
# value of one key: only one value is read (all keys must still be scored), and it is
# easy to say where it looked. But a choice has no useful gradient. Move the query a
# little, and the chosen key mostly stays the same (gradient 0), or jumps.
#
# Two ways round it *sample* the key, key $i$ with probability $w_i$:
#
# - **straight-through**: go forward with the sampled key, and backward as if the soft
#   weights had been used. Little noise, but the gradient is *biased*: it belongs to
#   another function.
# - **score function** (REINFORCE): let $L_i$ be the loss if key $i$ is chosen, and
#   $\nabla$ the gradient with respect to the query. The expected loss is $\sum_i w_i
#   L_i$, its gradient $\sum_i L_i \nabla w_i = \sum_i w_i \, L_i \nabla \log w_i$, as
#   $\nabla \log w = \nabla w / w$. That is again an expectation: $L_i \nabla \log w_i$
#   of the sampled key is right on average, *unbiased*, but noisy. As $\sum_i w_i \nabla
#   \log w_i = \nabla \sum_i w_i = \nabla 1 = 0$, a constant **baseline** may be taken
#   off $L$ without changing the average; one near the mean loss calms it.
#
# Compare them where the truth can be computed, by summing over all keys. (The baseline
# here is the true expected loss; in practice you would use the mean loss so far.)

# %%
torch.manual_seed(3)
query, key = torch.randn(1, 4), torch.randn(6, 4)
value, target = torch.randn(6, 2), torch.tensor([1.0, 0.0])
draws = 20_000

q = query.clone().requires_grad_()
w = al.attention.softmax(al.attention.scaled_dot_scores(q, key))[0]
losses = ((value - target) ** 2).sum(-1)  # of each key, if it is chosen
expected = (w * losses).sum()
truth = torch.autograd.grad(expected, q)[0][0]


# %%
def estimate(method, baseline=0.0):
    """The gradient for the query from each of many samples, shape (draws, 4)."""
    many = query.expand(draws, 1, 4).clone().requires_grad_()
    hard = al.attention.hard_attention(many, key, value, method=method)
    loss = ((hard.context[:, 0] - target) ** 2).sum(-1)
    if method == "score-function":
        loss = (loss.detach() - baseline) * hard.log_probability[:, 0]
    return torch.autograd.grad(loss.sum(), many)[0][:, 0]


estimates = {
    "straight-through": estimate("straight-through"),
    "score function": estimate("score-function"),
    "score function, baseline": estimate("score-function", expected.item()),
}

# %%
print(f"{'truth':26}", np.round(truth.numpy(), 2))
for name, samples in estimates.items():
    mean, noise = samples.mean(0), samples.std(0).norm() / truth.norm()
    error = (mean - truth).norm() / truth.norm()
    print(f"{name:26} {np.round(mean.numpy(), 2)}  off by {error:.1%}; chance alone")
    print(f"{'':26} gives about {noise / draws**0.5:.1%}; noise of one: {noise:.1f}")

# %% [markdown]
# Compare *off by* with what chance explains. Straight-through settles on a wrong value:
# its error is many times what chance could do. The score function errs only by chance,
# and pays with noise; a baseline removes a part of it. Soft attention needs neither:
# its gradient is exact.

# %% [markdown]
# ## 8. Another way to score: additive attention
#
# Queries and keys need not even have the same width. A learned matrix between them,
# $s(q, k) = q \, W k^\top$, compares vectors of any two widths (Luong et al. 2015 call
# it *general*; in a Transformer the projections of query and key play its part). And
# attention came into translation (Bahdanau et al. 2015) with a small network as score.
# With $q$ and $k$ as rows, a hidden layer of width $a$, and a vector $u$:
#
# $$ s(q, k) = \tanh\!\left( q \, W_q + k \, W_k \right) \cdot u $$
#
# Being a network, it can learn comparisons that one dot product cannot. The price: the
# hidden layer exists for every *pair* of query and key, $T_q \times T_k \times a$
# numbers, where a dot product needs $T_q \times T_k$ and runs as one matrix product.
#
# ### Exercise 5: additive scores
#
# *Difficulty 3 of 5, 10 minutes.* Write it without loops: project queries and keys, and
# let broadcasting form all pairs.


# %% exercise="additive_scores" points=2
def additive_scores(query, key, query_weight, key_weight, vector):
    """Scores (..., T_q, T_k).

    query (..., T_q, D_q), key (..., T_k, D_k), query_weight (D_q, a),
    key_weight (D_k, a), vector (a,)
    """
    ### BEGIN SOLUTION
    from_query = (query @ query_weight).unsqueeze(-2)  # (..., T_q, 1, a)
    from_key = (key @ key_weight).unsqueeze(-3)  # (..., 1, T_k, a)
    return torch.tanh(from_query + from_key) @ vector
    ### END SOLUTION


# %% check="additive_scores"
al.checks.additive_scores(additive_scores)

# %% [markdown] hints="additive_scores"
# The two projections have shapes (..., T_q, a) and (..., T_k, a). For every pair you
# need their sum, of shape (..., T_q, T_k, a).
#
# ---
# Give the queries an axis of length 1 where the keys have T_k, and the other way round:
# `unsqueeze(-2)` and `unsqueeze(-3)`. Then tanh, then `@ vector`.


# %%
d, t = 64, 256
q, k = torch.randn(t, d), torch.randn(t, d)
u, v = torch.randn(d, d), torch.randn(d)
print(f"{t} x {t} scores: the dot product makes {t * t:,} numbers,", end=" ")
print(f"the hidden layer of additive scores {t * t * d:,}")
dot = al.device.seconds(lambda: al.attention.scaled_dot_scores(q @ u, k @ u))
additive = al.device.seconds(lambda: al.attention.additive_scores(q, k, u, u, v))
print(f"time on one thread, shortest of five: {1000 * dot:.2f} ms and", end=" ")
print(f"{1000 * additive:.2f} ms, {additive / dot:.1f} times as long")

# %% [markdown]
# ## 9. Heads: several soft look-ups side by side
#
# One softmax has one mean to give. If a token needs the subject of its sentence *and*
# the word before it, a single head can only blend the two. So a layer holds several
# heads. Head $h$ projects tokens $x$, vectors of width $d$, into a narrow space of its
# own, attends there, and returns its context $C_h$. The contexts are put side by side
# and projected back. Without biases, for $n$ heads of width $d_k = d / n$:
#
# $$ \text{score}_h(x, y) = \frac{(x W^Q_h)(y W^K_h)^\top}{\sqrt{d_k}}
# = \frac{x \, \big[ W^Q_h W_h^{K\top} \big] \, y^\top}{\sqrt{d_k}}, \qquad
# \text{output} = [C_1 \dots C_n]\, W^O = \sum_h C_h W^O_h . $$
#
# In brackets stands a $d \times d$ matrix of rank at most $d_k$: a head compares tokens
# in a **subspace** of few directions and is blind to the rest. The last equation says
# that putting side by side and projecting is the same as *adding up* what each head
# brings through its own slice of $W^O$. That is why a mixing desk with one fader a head
# makes sense at all.

# %%
d, heads = 48, 4
layer = al.attention.MultiHeadAttention(d, heads)
x = torch.randn(1, 6, d)
w_q = layer.query.weight.T.unflatten(1, (heads, -1))  # (d, H, d / H)
w_k = layer.key.weight.T.unflatten(1, (heads, -1))
ranks = [torch.linalg.matrix_rank(w_q[:, h] @ w_k[:, h].T).item() for h in range(heads)]
print(f"{d} x {d} matrices, of rank {ranks}")
alone = [layer(x, scale=torch.eye(heads)[h]) - layer.output.bias for h in range(heads)]
together = sum(alone) + layer.output.bias
print(f"sum of heads against layer: {(together - layer(x)).abs().max():.0e}")
assert torch.allclose(together, layer(x), atol=1e-6)

# %% [markdown]
# Heads do **not** make attention cheaper: each is $n$ times narrower, but there are $n$
# of them, and they keep $n$ tables of weights instead of one. The order of cost stays
# what section 11 finds.

# %% [markdown]
# ## 10. Attention does not know the order
#
# Shuffle the tokens with a permutation matrix $P$. Queries, keys and values are
# computed token by token, so they are shuffled alike, and
#
# $$ \text{softmax}\!\big( P Q (P K)^\top \big)\, P V
# = \text{softmax}\!\big( P\, Q K^\top P^\top \big)\, P V
# = P\, \text{softmax}(Q K^\top)\, P^\top P\, V = P \, A V , $$
#
# because the softmax works row by row and does not care about the order of columns, and
# $P^\top P = I$. The output is shuffled in the same way and *nothing else happens*:
# self-attention is **permutation equivariant**. "Dog bites man" and "man bites dog"
# give each word the same vector.

# %%
layer, x = al.attention.MultiHeadAttention(16, 4), torch.randn(1, 6, 16)
order = torch.tensor([3, 0, 5, 1, 4, 2])
print(f"without positions: {(layer(x[:, order]) - layer(x)[:, order]).abs().max():.0e}")

places = al.attention.sinusoidal_positions(6, 16)
shuffled = layer(x[:, order] + places)
print(f"with positions:    {(shuffled - layer(x + places)[:, order]).abs().max():.2f}")

# %% [markdown]
# So positions must be put in. The Transformer adds to each token a vector of waves,
# fast ones first:
#
# $$ p_{t,\,2i} = \sin\!\big(t / 10000^{2i/d}\big), \qquad
# p_{t,\,2i+1} = \cos\!\big(t / 10000^{2i/d}\big) $$
#
# Like the hands of a clock, fast waves tell neighbours apart and slow ones tell early
# from late. And as $\sin a \sin b + \cos a \cos b = \cos(a - b)$, the dot product of
# the vectors of two positions $s$ and $t$ is $\sum_i \cos\big((s -
# t)\,/\,10000^{2i/d}\big)$, which depends on their **distance** alone. (What a head
# then computes from them goes through $W^Q$ and $W^K$ first.)

# %%
positions = al.attention.sinusoidal_positions(64, 32)
al.plots.matrix(
    positions.T,
    xlabel="position",
    ylabel="column",
    label="value",
    alt="Sinusoidal positions: the upper columns swing fast along the text, the lower "
    "ones hardly change.",
)

# %% [markdown]
# The lower columns seem constant here; they move over thousands of tokens.

# %%
products = positions @ positions.T
al.plots.lines(
    range(32),
    {
        f"from position {start}": products[start, start : start + 32]
        for start in (0, 16, 31)
    },
    xlabel="distance to the other position, tokens",
    ylabel="dot product of positions",
    alt="Three curves that lie on each other: the dot product of two positions falls "
    "with their distance, in waves, wherever the first one is.",
)

# %% [markdown]
# ### Exercise 6: positions
#
# *Difficulty 2 of 5, 10 minutes.* Write them: sines in even columns, cosines in odd
# ones.


# %% exercise="sinusoidal_positions" points=2
def sinusoidal_positions(length, width):
    """A tensor of shape (length, width); width is even."""
    ### BEGIN SOLUTION
    position = torch.arange(length)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, width, 2) / width)
    table = torch.empty(length, width)
    table[:, 0::2] = (position * frequency).sin()
    table[:, 1::2] = (position * frequency).cos()
    return table
    ### END SOLUTION


# %% check="sinusoidal_positions"
al.checks.sinusoidal_positions(sinusoidal_positions)

# %% [markdown] hints="sinusoidal_positions"
# Each *pair* of columns, a sine and a cosine, shares one frequency. There are width / 2
# frequencies: `torch.arange(0, width, 2)` gives 2i for all of them.
#
# ---
# Positions down, frequencies across: a column `(length, 1)` times a row `(width / 2,)`
# is a table of angles. `table[:, 0::2]` are the even columns.

# %% [markdown]
# ## 11. What does it cost?
#
# $Q K^\top$ takes $T \cdot T$ dot products of width $d$, so $T^2 d$ multiplications and
# as many additions; $A V$ the same again: $4 T^2 d$ operations. The softmax adds a few
# for each of the $T^2$ scores, little beside that. And going backward needs tables of
# $T^2$ numbers that must be kept. **Twice the text, four times the cost** of attention,
# in operations and in memory. Let PyTorch count its matrix products, and what it keeps:


# %%
def cost(attend, t, d=64):
    """Operations forward and backward, and numbers kept in between."""
    q, k, v = (torch.randn(t, d, requires_grad=True) for _ in range(3))
    kept = {}
    forward, backward = (FlopCounterMode(display=False) for _ in range(2))

    def note(x):
        kept[x.untyped_storage().data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x), forward:
        context = attend(q, k, v)
    with backward:
        context.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops(), sum(kept.values())


# %%
def plain(q, k, v):
    return al.attention.scaled_dot_product_attention(q, k, v)[0]


def with_torch_softmax(q, k, v):
    return torch.softmax(al.attention.scaled_dot_scores(q, k), -1) @ v


for t in (128, 256, 512):
    operations, _, numbers = cost(plain, t)
    print(f"T = {t}: {operations:,} operations, formula {4 * t * t * 64:,};", end=" ")
    assert operations == 4 * t * t * 64
    torchs = cost(with_torch_softmax, t)[2]
    ours, torchs = ((kept - 3 * t * 64) / t**2 for kept in (numbers, torchs))
    print(f"keeps Q, K, V and {ours:.1f} x T², with torch's softmax {torchs:.1f} x T²")

# %% [markdown]
# Our softmax is written out step by step and keeps two tables of $T^2$ numbers, the
# exponentials and the weights; PyTorch's keeps only the weights, and exercise 4 needs
# no more. The $3\,T d$ numbers of $Q$, $K$ and $V$ weigh less the longer the text. And
# the clock? On a small text it mostly measures the overhead of calling PyTorch; the
# square shows when $T$ is large.
#
# The $T \times T$ tables can be avoided. The softmax can be computed in **tiles**:
# keep, for each query, the largest score so far, the sum of exponentials and the sum of
# weighted values, and rescale both sums whenever a larger score turns up. That is
# `al.attention.tiled_attention`, the idea behind FlashAttention. Forward it needs the
# same matrix products; going backward it computes the scores once more, instead of
# keeping them. Going backward takes $8 T^2 d$ operations, two products for each of the
# two going forward; the scores once more are $2 T^2 d$, a sixth of the $12 T^2 d$ of
# both ways. Ours is simpler and computes each tile's whole forward pass again, which is
# a third. Either buys *linear* memory.


# %%
def measure(attend, t):
    """Milliseconds forward, and numbers kept for going backward."""
    q, k, v = (torch.randn(t, 64) for _ in range(3))
    return 1000 * al.device.seconds(lambda: attend(q, k, v)), cost(attend, t)[2]


lengths, times, memory = np.array(size.lengths), {}, {}
for name, attend in {"plain": plain, "tiled": al.attention.tiled_attention}.items():
    times[name], memory[name] = zip(*(measure(attend, t) for t in lengths), strict=True)
times["slope of T²"] = times["plain"][-1] * (lengths / lengths[-1]) ** 2
memory["slope of T²"] = memory["plain"][-1] * (lengths / lengths[-1]) ** 2
memory["slope of T"] = memory["tiled"][-1] * lengths / lengths[-1]

# %%
for name, attend in {"plain": plain, "tiled": al.attention.tiled_attention}.items():
    ways = sum(cost(attend, 512)[:2]) / (512**2 * 64)
    print(f"{name}: {ways:.0f} T² d operations, forward and backward")
for place in (0, -1):
    ratio = times["tiled"][place] / times["plain"][place]
    print(f"T = {lengths[place]}: tiled takes {ratio:.1f} times as long as plain")

# %%
al.plots.lines(
    lengths,
    times,
    log="xy",
    xlabel="tokens T",
    ylabel="time forward, ms",
    alt="Time over the number of tokens on logarithmic axes, plain and tiled: nearly "
    "level for short texts, then rising about as steeply as the line of T squared.",
)

# %%
al.plots.lines(
    lengths,
    memory,
    log="xy",
    xlabel="tokens T",
    ylabel="numbers kept for backward",
    alt="Numbers kept over the number of tokens on logarithmic axes: plain attention "
    "grows with the square of T, tiled attention along a straight line of slope 1.",
)

# %% [markdown]
# Read the slopes: where a curve climbs two decades while $T$ climbs one, the cost goes
# with $T^2$. Tiles save memory, not operations. Ours are a loop in Python, and each
# tile pays for its calls: where the ratio above is larger than 1, they cost time. They
# can win only where a large table has to travel to slow memory and a small tile need
# not, so the ratio depends on the machine and on $T$. On a GPU, written as one kernel,
# tiles were several times faster (Dao et al. 2022).

# %% [markdown]
# ## 12. What entropy says, and what it does not
#
# To end with, a real model. How widely do the heads of a BERT look? Raw entropy depends
# on the length of the text, as there are more keys to look at. Divided by $\log T$ it
# runs from 0 to 1 at any length. That makes texts easier to compare, but not free of
# their length: a head that always shares its weight between three neighbours falls as
# $T$ grows.

# %%
clf = al.load_classifier("movie-sentiment")
for text in (
    "A quiet, clever film.",
    "A quiet, clever film about two sisters who inherit a cinema by the sea and, over "
    "one long winter, argue about whether to sell it or to fill it again.",
):
    weights = clf.attend(text).weights  # (layers, heads, T, T)
    raw = al.attention.entropy(weights).mean()
    share = al.attention.entropy(weights, normalised=True).mean()
    print(f"{weights.shape[-1]} tokens: {raw:.2f} nats, {share:.0%} of the largest")

# %% [markdown]
# Head by head, for the longer text:

# %%
spread = al.attention.entropy(weights, normalised=True).mean(-1)  # (layers, heads)
al.plots.head_map(spread, label="entropy / log T", title="How widely each head looks")

# %% [markdown]
# Careful with conclusions. Low entropy says that a head *points*, not that it matters:
# a head that rests on `[CLS]` for lack of anything better to do is as pointed as one
# that finds the word before. (Which of the two is the darkest cell? Lesson 02 looks.)
# And the same entropy can belong to quite different patterns. Whether a head matters is
# a question about answers, not about weights; [lesson 06](06_head_mixing.ipynb) asks it
# by silencing heads.

# %% [markdown]
# ## What to take along
#
# - Attention is a soft look-up: score, normalise, aggregate. The softmax is the arg-max
#   with an entropy bonus; the temperature says how much spreading is worth.
# - Dot products of width $d_k$ have a standard deviation of $\sqrt{d_k}$. Without the
#   division more and more queries saturate, and hear next to nothing of the loss.
# - The gradient of a softmax is $w_i (g_i - \bar g)$: descent moves weight to the keys
#   that raise the loss less than the weighted mean.
# - Hard attention makes a choice, and pays with a gradient that is biased or noisy.
#   Additive scores are one small network, run for each pair. Heads are subspaces whose
#   contributions add up.
# - Attention is blind to order until positions are added, and its cost goes with $T^2$.
#
# **Sources.** Bahdanau et al. 2015 (additive attention) · Luong et al. 2015 (dot,
# general) · Xu et al. 2015 (hard attention) · Williams 1992 (score function) · Bengio
# et al. 2013 (straight-through) · Vaswani et al. 2017 (scaling, heads, positions) ·
# Milakov and Gimelshein 2018, Dao et al. 2022 (tiles).

# %%
al.checks.summary("attention_maths")
