# %% [markdown]
# # 01 The mathematics of attention
#
# **How can a machine look something up when no entry matches exactly, and learn where
# to look?** You follow three words through attention with small numbers, and see where
# each part of the Transformer's formula comes from:
#
# $$
# \text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V
# $$

# %% [markdown]
# Afterwards you can
#
# - compute attention by hand, with queries, keys and values;
# - explain the dot product, the softmax and the $\sqrt{d_k}$;
# - send a gradient back through attention;
# - tell a model where its tokens stand, and say what attention costs.
#
# Time: about 180 minutes in two sittings (sections 1 to 6, then the rest), 50 of them
# for six exercises, the last in appendix A; appendices B to E can wait. You need
# vectors, matrices, partial derivatives, the chain rule, variance, and a little PyTorch
# with `backward`.
#
# [Lesson 00](00_start_here.ipynb) shows a Transformer at work. Choose **Run → Run All
# Cells** first. Folded code need not be read. Once your function is right, later cells
# use it; until then, ours.

# %% folded=true
# what the lesson needs, and a small BERT to try things on
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AttentionInterface

import attnlab as al
from attnlab.show import drawings

size = al.device.profile()
clf = al.load_classifier("movie-sentiment")

# %% [markdown]
# The parts of attention, with their sections:

# %% folded=true
# the picture: the parts of attention, with their sections
drawings.lesson_map()

# %% [markdown]
# ## 1. What does *bank* mean in this sentence?
#
# *Bank* can mean a river's edge or a place for money. Its neighbours decide which.
#
# Describe each word by three numbers: how much it has to do with water, with money, and
# whether its meaning is open. *River* is (2, 0, 0), *bank* is (1, 1, 1).
#
# Call such a row of numbers $x$. Three matrices turn it into three shorter rows:
#
# - a **query** $x W^Q$, what the word looks for: *river* gets (2, 0), water, and *bank*
#   (2, 2), water or money;
# - a **key** $x W^K$, what it can be found by: *river* gets (2, 0), water;
# - a **value** $x W^V$, what it passes on: $W^V$ copies water and money and drops
#   *open*, so *river* passes on (2, 0).

# %% [markdown]
# How does *bank* get (2, 2)? Here $W^Q$ copies water and money and adds *open* to both:
#
# $$ x W^Q = \begin{pmatrix} 1 & 1 & 1 \end{pmatrix}
# \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ 1 & 1 \end{pmatrix}
# = \begin{pmatrix} 2 & 2 \end{pmatrix} $$
#
# <details><summary>And how does “bank” get its key?</summary>
#
# The matrix $W^K$ of the keys copies water and money, and takes *open* away from both.
# So a word that is open itself has the key (0, 0), and nothing to be found by:
#
# $$ x W^K = \begin{pmatrix} 1 & 1 & 1 \end{pmatrix}
# \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ -1 & -1 \end{pmatrix}
# = \begin{pmatrix} 0 & 0 \end{pmatrix} $$
#
# </details>
#
# All words and matrices:

# %%
about = {  # water, money, open
    "wet": [1, 0, 0],
    "muddy": [1, 0, 0],
    "rainy": [1, 0, 0],
    "river": [2, 0, 0],
    "savings": [0, 2, 0],
    "new": [0, 0, 0],
    "bank": [1, 1, 1],
}
w_query = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
w_key = torch.tensor([[1.0, 0], [0, 1], [-1, -1]])
w_value = torch.tensor([[1.0, 0], [0, 1], [0, 0]])

# %% [markdown]
# In the picture, from left to right, each row is a word, and *bank* asks.
#
# 1. **Score** each key: its dot product with the query, divided by $\sqrt{d_k}$. Here
#    $d_k = 2$, the *width* of a key: how many numbers it has. (Why divide? Section 6.)
#    *River* scores $(2 \cdot 2 + 2 \cdot 0) / \sqrt 2 = 2.83$.
# 2. Turn the scores into **weights** with a **softmax**: take $e$ to the power of each
#    score, 4.1, 16.9 and 1. Divide by their sum, 22.0. *River* gets 0.77.
# 3. The **output** is the mean of the values with these weights, (1.77, 0.05): nearly
#    all water.

# %% folded=true
# the picture: "bank" asks in "muddy river bank"
words = ["muddy", "river", "bank"]
vectors = [about[word] for word in words]
drawings.one_query(words, vectors, w_query, w_key, w_value, asking=2)

# %% [markdown]
# **On paper** first: (1) *Muddy* has the query (1, 0). Which weights and which output
# does it get? (2) Which do *river* and *bank* get in *river savings bank*?
#
# <details><summary>Answers</summary>
#
# (1) The scores are 0.71, 1.41 and 0, their exponentials 2.0, 4.1 and 1, the weights
# 0.28, 0.58 and 0.14, and the output is (1.58, 0.14).
#
# (2) *River* asks with (2, 0): the exponentials are 16.9, 1 and 1, the weights 0.89,
# 0.05 and 0.05, and the output is (1.84, 0.16). For *bank* the exponentials are 16.9,
# 16.9 and 1, the weights 0.49, 0.49 and 0.03, and the output is (1, 1): its meaning
# stays open.
#
# </details>
#
# In code, with six look-ups:


# %%
def look_up(word, sentence, w_query=w_query, w_key=w_key):
    """One word's weights on all words of its sentence, its output, the plain mean."""
    others = sentence.split()
    x = torch.tensor([about[other] for other in others]).float()
    query = x[others.index(word)] @ w_query
    key, value = x @ w_key, x @ w_value
    weights = torch.softmax(key @ query / 2**0.5, dim=-1)
    return weights, weights @ value, value.mean(dim=0)


# %% folded=true
# the table: six look-ups
asked = [("bank", "muddy river bank"), ("bank", "new savings bank")]
asked += [("bank", "wet muddy rainy savings bank")]
asked += [(word, "river savings bank") for word in ("river", "savings", "bank")]
rows = []
for word, sentence in asked:
    numbers = [[f"{number:.2f}" for number in part] for part in look_up(word, sentence)]
    rows.append([word, sentence, *(f"({', '.join(part)})" for part in numbers)])
columns = ["asks", "in", "weights", "output", "plain mean"]
al.plots.table(pd.DataFrame(rows, columns=columns)).hide(axis="index")

# %% [markdown]
# In the third row three weak hints at water meet one strong hint at money. The plain
# mean says water, attention money: the softmax favours the larger score out of
# proportion. In the last three rows three queries get three answers from the same keys:
# that is what $W^Q$ and $W^K$ are for.
#
# We chose the matrices by hand; a Transformer **learns** them (section 7). Ours is
# MiniLM, a small BERT, trained on general text and then adapted to film reviews. It
# reads **tokens**, words or pieces of words.
#
# From here on $d$ is the width of a token's vector (here 3, in our BERT 384), and $d_k$
# that of a query and key, and here of a value too (2, in our BERT 32).

# %% [markdown]
# ### All words at once
#
# All $T$ words ask at once if their vectors are the rows of a matrix $X$:
#
# $$ \begin{gathered}
# Q = X W^Q, \qquad K = X W^K, \qquad V = X W^V \\
# \text{output} = \text{softmax}\big(Q K^\top / \sqrt{d_k}\big) \, V
# \end{gathered} $$
#
# Row $i$ of $Q K^\top$ scores all keys for word $i$. Here are the last three look-ups:

# %% folded=true
# the picture: attention for all words, as products of matrices
three = ["river", "savings", "bank"]
drawings.all_at_once(three, [about[word] for word in three], w_query, w_key, w_value)

# %% [markdown]
# Here the words of a sentence ask each other: **self-attention**. If they ask another
# text (**cross-attention**, as in translation), $Q$ has $T_q$ rows, and $K$ and $V$
# have $T_k$.
#
# <details><summary>Is this a linear layer, a matrix times its input?</summary>
#
# Only in the values: each output is a mean of them and lies between them. But the
# weights of that mean are not fixed after training, as a linear layer's are: the words
# themselves make them.
#
# </details>
#
# <details><summary>Why one matrix for queries and another for keys?</summary>
#
# Let $W^K$ be $W^Q$. Then *bank* has the key (2, 2) and scores itself $8 / \sqrt 2 =
# 5.66$, twice *river*'s 2.83. In *muddy river bank* its weights become 0.01, 0.06 and
# 0.93: it looks at itself, and learns nothing. And any two words would score each other
# alike. What a word seeks is not what it offers.
#
# </details>

# %% [markdown]
# ## 2. What makes one key take everything?
#
# When does a key get nearly all of the weight? Compare two pairs of keys:
#
# - scores 1 and 0 have the exponentials 2.7 and 1: the first gets 2.7 / 3.7 = 0.73;
# - scores 5 and 0 have 148.4 and 1: the first gets 148.4 / 149.4 = 0.99.
#
# What drives scores apart?
#
# The desk, a picture with sliders, scores random keys for a random query. Two numbers
# divide the scores: $\sqrt{d_k}$, and one of your choice, the *temperature*. The orange
# bar is the key with the most weight.
#
# 1. Switch the division by $\sqrt{d_k}$ off. What happens to the scores, and what to
#    the orange bar? Then move $d_k$ from 1 to 512.
# 2. Go back to $d_k = 64$ and switch the division on again. Which temperature gives the
#    same picture as without it?

# %% folded=true
# the desk: scores and weights of random keys
desk = al.SoftmaxDesk(gradient=False)
desk

# %% [markdown]
# <details><summary>Answers</summary>
#
# (1) All scores grow by the factor $\sqrt{64} = 8$. So do their differences, and one
# key takes nearly everything. By and large, wider queries drive it further. (2) 1/8,
# about 0.126 on the slider: dividing by 8 and by 1/8 is dividing by 1.
#
# The softmax sees only differences. Each unit by which one key leads another, after
# both divisions, multiplies the ratio of their weights by $e$.
#
# </details>

# %% [markdown]
# ## 3. Why score with a dot product?
#
# Begin with a simpler look-up: a table of visitors at 6, 9, ... 21 o'clock. Asked for
# 13 o'clock, you would take a mean in which nearer hours count more.
#
# So let your hour $q$ score each hour $k$ by $-\tfrac{1}{2}(q - k)^2$: 0 at the same
# hour, lower further away. Divide by a temperature $\tau$, here 2, which says how
# widely to look. A softmax makes the weights:

# %% folded=true
# the picture: a look-up by the hour
visitors_at = {6: 8.0, 9: 12.0, 12: 19.0, 15: 21.0, 18: 16.0, 21: 11.0}
drawings.bell_look_up(visitors_at, query=13, temperature=2)

# %% [markdown]
# <details><summary>Has this look-up a name?</summary>
#
# This is **kernel regression** (Nadaraya and Watson 1964); the *kernel* is the bell
# $e^{-(q-k)^2/(2\tau)}$ by which weights fall.
#
# </details>

# %% [markdown]
# ### From distance to dot product
#
# Words are vectors, so the distance becomes $|q - k|$. One fact helps: a softmax does
# not change if all its scores grow by the same number, since then all exponentials grow
# by the same factor. Line by line:
#
# $$ \begin{aligned}
# -\tfrac{1}{2} |q - k|^2
# &= -\tfrac{1}{2} (q - k) \cdot (q - k)
# && \text{the square of a length} \\
# &= q \cdot k - \tfrac{1}{2} |k|^2 - \tfrac{1}{2} |q|^2
# && \text{multiplied out} \\
# &\to q \cdot k - \tfrac{1}{2} |k|^2
# && |q|^2 \text{ is the same for every key} \\
# &\to q \cdot k
# && \text{so is } |k|^2, \text{ if all keys have the same length}
# \end{aligned} $$
#
# Four keys of length 1 around a query:

# %% folded=true
# the picture: four keys on a circle, scored in both ways
drawings.nearest_key(query=[1.2, 0.5], degrees=[10, 75, 150, 260])

# %% [markdown]
# The scores differ, the weights do not.
#
# A model's keys differ in length, and attention drops $|k|^2$ all the same. What does
# that change? Let *b* be twice as long:

# %% folded=true
# the picture: the same keys, one of them twice as long
drawings.nearest_key([1.2, 0.5], degrees=[10, 75, 150, 260], lengths=[1, 2, 1, 1])

# %% [markdown]
# By the dot product *b* overtakes *a*; by the distance it falls back. So nearness is
# not the aim: **a key's length says how strongly it takes sides**, for queries that
# point its way and against those that point away.
#
# <details><summary>Would the distance be dearer?</summary>
#
# Hardly (and the bare product lets $W^Q$ and $W^K$ join into one matrix, section 8):
# with $-\tfrac{1}{2} |k|^2$ as one more column of the keys, and a 1 in each query, one
# matrix product scores all pairs, as it does without.
#
# </details>

# %% [markdown]
# ## 4. Why a softmax?
#
# Weights should be positive, sum to 1, and follow the scores $s_i$ of the keys
# smoothly. Many rules do that: $f(s_i) / \sum_j f(s_j)$ with any positive, smoothly
# rising $f$. One demand singles out the exponential: only differences of scores may
# count. (Section 3 needs it to drop $|q|^2$; no other of these rules allows it.) So the
# same $c$ added to all scores leaves the ratio of two weights as it was:
#
# $$ \log f(s_1 + c) - \log f(s_2 + c) \;\text{ does not depend on } c . $$
#
# Take the slope in $c$ at 0: $f'(s_1)/f(s_1) = f'(s_2)/f(s_2)$ for any two scores. It
# is one constant; call it $1/\tau$. Only $e^{s/\tau}$ and its multiples have it.
#
# The same weights answer a second question. Let two keys score 1 and 0. All weight on
# the first gives the largest mean score, 1. But scores may be wrong, and a key without
# weight can never show that it would have been better.
#
# Key $i$ gets the weight $w_i$. The **entropy** $H$ measures
# how evenly the weights are spread: 0 if one key has all, and most if all have the
# same. Let a unit of it be worth $\tau > 0$. We look for the weights, with the sum 1,
# that make this the largest:
#
# $$ \underbrace{\textstyle\sum_i w_i s_i}_{\text{mean score}} \;+\;
# \tau \, \underbrace{H(w)}_{\text{entropy}}\,, \qquad
# H(w) = -\textstyle\sum_i w_i \log w_i $$
#
# ($0 \log 0$ counts as 0.) At $\tau = 1$, all weight on
# the first key gives $1 + 0 = 1$. Half each gives $0.5 + 0.69 = 1.19$. The picture
# shows all ways to share:

# %% folded=true
# the picture: all ways to share the weight between two keys
drawings.best_spread(scores=(1, 0), temperature=1)

# %% [markdown]
# The best weights, 0.73 and 0.27, are the softmax of 1 and 0. So it is for any scores:
#
# $$ \boxed{w_i = \frac{e^{s_i/\tau}}{\sum_j e^{s_j/\tau}}} $$
#
# In words: a key that leads another by $\tau$ in score is $e$ times as heavy.
#
# <details><summary>The derivation</summary>
#
# At the best weights, moving a little weight from one key to another gains nothing. So
# the slope of the whole, its partial derivative in $w_i$, is the same number $\lambda$
# for every key. Of $w_i s_i$ it is $s_i$, and of $-\tau w_i \log w_i$ it is
# $-\tau (\log w_i + 1)$. Therefore
#
# $$ s_i - \tau (\log w_i + 1) = \lambda
# \quad\Longrightarrow\quad w_i = e^{s_i/\tau} \cdot e^{-1-\lambda/\tau} . $$
#
# The weights' sum of 1 fixes the second factor, the same for all keys.
#
# </details>
#
# <details><summary>How large is the best?</summary>
#
# Put the weights in: $\tau \log \sum_j e^{s_j/\tau}$, the **log-sum-exp**. For 1 and 0
# it is $\log (e + 1) = 1.31$, the top of the curve. Its slope in $s_j$ is the weight
# $w_j$.
#
# </details>
#
# <details><summary>Is there no other maximum, and no other rule?</summary>
#
# Another measure of spread gives another rule: with $\tfrac{1}{2}(1 - \sum_i w_i^2)$
# weights can be exactly 0 (*sparsemax*, Martins and Astudillo 2016).
#
# The sum to be made largest curves downward everywhere (it is *strictly concave*), as
# entropy does: there is no other maximum. Entropy's slope at $w = 0$ is infinite, which
# keeps all weights positive.
#
# </details>

# %% [markdown]
# ### Exercise 1: softmax
#
# *Difficulty 2 of 5, 10 minutes.* Write the softmax over the last axis, with a
# temperature (in shapes, `...` stands for any axes before it). It must survive scores
# in the thousands, where an exponential overflows; section 3 says what leaves the
# weights unchanged. Ready-made functions such as `torch.softmax` do not count.
#
# **Your first line:** `scores = scores / temperature`.


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
# last axis, with `keepdim=True`.
#
# ---
# Which number can you subtract from a row so that its largest exponential is
# $e^0 = 1$? Each row needs its own: `scores.amax(-1, keepdim=True)`.

# %% [markdown]
# Your softmax of the scores 1 and 0, at three temperatures:

# %%
softmax_of = al.checks.yours_or_ours("softmax", softmax, al.attention.softmax)
for tau in (1.0, 0.4, 0.1):
    first, second = softmax_of(torch.tensor([1.0, 0.0]), temperature=tau)
    print(f"τ = {tau}: weights {first:.2f} and {second:.2f}")

# %% [markdown]
# The smaller $\tau$, the more weight goes to the better key. As $\tau \to 0$ the one
# with the largest score, the *arg-max*, gets all. And how far must a key lead $T - 1$
# equal others to get 0.9?

# %% folded=true
# the weight of one key that leads all others, at three leads
for t in (16, 4096):
    for lead in (2.0, float(np.log(t - 1)), float(np.log(9 * (t - 1)))):
        scores = torch.zeros(t)
        scores[0] = lead
        print(f"T = {t:4}, lead {lead:5.2f}: weight {softmax_of(scores)[0]:.2f}")

# %% [markdown]
# <details><summary>How far must it lead?</summary>
#
# From $e^s / (e^s + T - 1) = 0.9$ follows $e^s = 9 (T - 1)$, so $s = \log 9(T - 1)$:
# 4.91 for 16 keys, 10.51 for 4096. The longer the text, the farther a key has to lead;
# with a lead of 2 it gets 0.33 of the weight among 16 keys and 0.00 among 4096.
#
# </details>

# %% [markdown]
# ## 5. How widely does a query look?
#
# Is a query's weight on one key or on many? The entropy says that, too. The weights
# (0.5, 0.5, 0, 0) have
#
# $$ H = -0.5 \log 0.5 - 0.5 \log 0.5 = \log 2 = 0.69 . $$
#
# With natural logarithms the unit is the *nat*. Easier to read is $e^{H}$, the
# **effective number of keys**: here 2.

# %% folded=true
# the picture: four rows of weights, and how widely they spread
drawings.spreads([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.25] * 4])

# %% [markdown]
# For a weight of 0 PyTorch gives $0 \log 0$ as NaN, not a number. Here `nan_to_num`
# puts a 0 in its place. Look at the gradient:


# %%
def faulty_entropy(weights):
    return -(weights * weights.log()).nan_to_num().sum(dim=-1)


w = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
value = faulty_entropy(w)
(slope,) = torch.autograd.grad(value, w)  # PyTorch works it out by itself
slopes = ", ".join(f"{s:.2f}" for s in slope).replace("-", "−")
print(f"entropy {value:.3f}, gradient ({slopes})")

# %% [markdown]
# ### Exercise 2: mend an entropy
#
# *Difficulty 2 of 5, 5 minutes.* The value is right, but training would break. Where
# does the NaN in the gradient come from? Write an entropy, in nats, in which $0 \log 0$
# counts as 0, no gradient is NaN, and small weights are kept: a thousand of 0.001
# have entropy $\log 1000$.
#
# **Begin with** what you would write if no weight were 0, `return -(weights *
# weights.log()).sum(dim=-1)`, and mend it.
#
# <details><summary>Which slope should it have at 0?</summary>
#
# The true one is infinite. But a weight of 0 belongs to a key that is hidden on
# purpose, or so far behind that its exponential was rounded to 0. The softmax
# multiplies the slope by this 0, so any finite slope will do.
#
# </details>


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
# The slope of the logarithm at 0 is infinite. Going backward `nan_to_num` sends 0 to
# it, and $0 \cdot \infty$ is NaN again: mending the product afterwards comes too late.
#
# ---
# Keep the 0 away from the logarithm, by something whose logarithm does no harm:
# `torch.where(weights > 0, weights, 1.0)`, or, inside the logarithm alone, with
# `.clamp(min=1e-30)`, which lifts what is smaller to this tiny number.

# %% [markdown]
# Our BERT has 6 layers of 12 **heads**, each a look-up with matrices of its own
# (section 8). How widely do its tokens look in a short review?

# %%
entropy_of = al.checks.yours_or_ours("entropy", entropy, al.attention.entropy)
text = "A slow first half, but what a warm and clever ending."
maps = clf.attend(text)
looks = entropy_of(maps.weights)  # (layers, heads, T)
print(f"effective keys, mean: {looks.exp().mean():.1f} of {len(maps.tokens)}")

# %% folded=true
# the picture: the head that looks most narrowly, and the one that looks most widely
keys_of = looks.exp().mean(-1).numpy()  # (layers, heads)
ends = [
    np.unravel_index(at, keys_of.shape) for at in (keys_of.argmin(), keys_of.argmax())
]
ends = [(int(layer), int(head)) for layer, head in ends]
told = " and ".join(f"{keys_of[place]:.1f}" for place in ends)
al.plots.chosen_heads(
    maps, ends, title=f"effective keys, mean over the queries: {told}"
)

# %% [markdown]
# In the left head all but the first look at **the token before** (section 9: how it
# can). In the right one nearly all spread widely.

# %% [markdown]
# ## 6. Why divide by $\sqrt{d_k}$?
#
# Toss a coin for each number of a query and a key: +1 or −1. Their dot product adds
# $d_k$ products, each +1 or −1 too. Of 64 most cancel; the sum is typically about 8
# away from 0, the root of 64 (shaded):

# %% folded=true
# the picture: dot products of random signs, at three widths
drawings.growing_scores([4, 16, 64])

# %% [markdown]
# Let all components be *independent* (knowing one tells nothing about another), with
# mean 0 and variance 1 (the mean of the squared distance from the mean). Write $E$ for
# a mean. The variance of a score, line by line:
#
# $$ \begin{aligned}
# \text{Var}(q \cdot k)
# &= \textstyle\sum_i \text{Var}(q_i k_i)
# && \text{independent: variances add} \\
# &= \textstyle\sum_i E[q_i^2 k_i^2]
# && \text{the mean of } q_i k_i \text{ is } E[q_i] E[k_i] = 0 \\
# &= \textstyle\sum_i E[q_i^2] \, E[k_i^2]
# && \text{independent: means multiply} \\
# &= d_k
# && \text{each mean is a variance, 1}
# \end{aligned} $$
#
# So **the scores of such random vectors grow like $\sqrt{d_k}$**. Divided by it, they
# have variance 1 at any width.
#
# <details><summary>On paper: let the numbers of q have variance 4, those of k still 1.
# What would you divide by?</summary>
#
# In the third line each product is now $4 \cdot 1$. The sum is $4 d_k$, and dividing by
# its root, $2 \sqrt{d_k}$, gives variance 1. (Real models often start with less,
# appendix E. What the division buys is that the width does not matter.)
#
# </details>

# %% [markdown]
# Only gaps count. The gap between two such scores has the variance $2 d_k$: at width 64
# it is typically $\sqrt{128} = 11.3$, which gives one key $e^{11.3} \approx 80{,}000$
# times the weight of the other; divided, 1.4, or 4 times. Here is the largest of 16
# weights, averaged over 1000 random queries:

# %%
widths = [2**n for n in range(10)]
generator = torch.Generator().manual_seed(0)


def largest_weight(d_k, scale):
    """Mean over 1000 random queries of the largest of 16 weights."""
    q = torch.randn(1000, 1, d_k, generator=generator)
    k = torch.randn(1000, 16, d_k, generator=generator)
    scores = q @ k.mT / scale  # .mT exchanges the last two axes
    return float(softmax_of(scores).amax(-1).mean())


# %%
largest = {
    "not divided": [largest_weight(d_k, 1) for d_k in widths],
    "divided by √d_k": [largest_weight(d_k, d_k**0.5) for d_k in widths],
}
drawings.largest_weights(widths, largest, keys=16)

# %% [markdown]
# Divided, the largest stays near a quarter from width 4 on. Undivided, it climbs
# towards 1: the softmax **saturates**.

# %% [markdown]
# ### Keys that must not be seen
#
# A **mask** is `True` where a query may see a key. The **causal** mask hides later
# tokens, for a model that is to predict them. Another hides padding, which fills up
# short texts. Filled cells are `True`:

# %%
causal = al.attention.causal_mask(4)
no_padding = torch.tensor([True, True, True, False]).expand(4, 4)
masks = {"causal": causal, "padding hidden": no_padding, "both": causal & no_padding}
drawings.mask_grids(masks, ["good", "old", "film", "[PAD]"])

# %% [markdown]
# ### Exercise 3: scaled and masked scores
#
# *Difficulty 2 of 5, 5 minutes.* Score every key for every query, with a variance that
# does not depend on the width. Where a mask is given and
# `False`, hide the key: what score gives it $e^s = 0$?
#
# **Your first line:** `width = key.shape[-1]`, the $d_k$ under the root.
#
# <details><summary>What if a mask has fewer axes, or hides a whole row?</summary>
#
# It is *broadcast*: along an axis that it lacks, or of length 1, it is repeated. A row
# that hides all its keys would have the weights $0 / 0$, NaN.
#
# </details>


# %% exercise="scaled_dot_scores" points=1
def scaled_dot_scores(query, key, mask=None):
    """Scores (..., T_q, T_k) of queries (..., T_q, d_k) and keys (..., T_k, d_k).

    mask: bool, broadcastable to the scores; hidden keys (False) score -inf
    """
    ### BEGIN SOLUTION
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    ### END SOLUTION


# %% check="scaled_dot_scores"
al.checks.scaled_dot_scores(scaled_dot_scores)

# %% [markdown] hints="scaled_dot_scores"
# A matrix product gives all dot products of rows with columns: make the keys columns.
#
# ---
# `.T` turns *all* axes round; with a batch (several texts at once) only the last two
# should change places: `key.transpose(-2, -1)`. The width is `key.shape[-1]`.
#
# ---
# `scores.masked_fill(where, number)` writes a number where `where` is True. Which of
# `mask` and `~mask` is that, and what if there is no mask?

# %% [markdown]
# The formula at the top of the lesson is now two lines, made of your own functions:


# %%
scores_of = al.checks.yours_or_ours("scaled_dot_scores", scaled_dot_scores)


def attention(query, key, value, mask=None):
    weights = softmax_of(scores_of(query, key, mask))
    return weights @ value, weights


# %% folded=true
# the picture: your weights under both masks, for vectors of all zeros
x = torch.zeros(4, 2)
masked = attention(x, x, x, masks["both"])[1]
words = ["good", "old", "film", "[PAD]"]
titles = [f"“{word}” asks" for word in words]
drawings.spreads(masked.tolist(), words, titles)


# %% [markdown]
# With equal scores, each query shares its weight among the keys that it may see.
#
# Put your attention into BERT in place of its own, and compare the *logits*, BERT's
# scores for the two labels:


# %% folded=true
# BERT, with a function in the place of its own attention
def inside_bert(attend, **inputs):
    """BERT's logits, and each layer's weights, with this function at work."""
    seen = []

    def own(module, query, key, value, mask, **_):  # (1, heads, T, d_k)
        context, weights = attend(query, key, value)
        seen.append(weights)
        return context.transpose(1, 2), weights

    AttentionInterface.register("yours", own)
    clf.model.set_attn_implementation("yours")
    logits = clf.model(**inputs).logits[0]
    al.heads.attach(clf)  # its own attention again
    return logits, torch.cat(seen).detach()


# %%
inputs = clf.tokenizer(text, return_tensors="pt").to(clf.device)
logits, weights = inside_bert(attention, **inputs)
off = (logits - clf.model(**inputs).logits[0]).abs().max()
print(f"BERT says {clf.label_names[int(logits.argmax())]}; off by at most {off:.0e}")

# %% [markdown]
# Only rounding is left: all 72 heads of BERT run on your attention.

# %% [markdown]
# ## 7. How does attention learn?
#
# Gradients have to pass the softmax. How does a weight answer when a score grows?
#
# Take two keys, and raise the score of the first by 0.1. A weight of 0.5 becomes 0.525,
# one of 0.99 only 0.991: near 0 or 1, a weight hardly moves.
#
# In general, raise score $s_j$ alone (∂ marks a slope when only one number changes).
# Its own weight grows, all others shrink:
#
# $$ \frac{\partial w_j}{\partial s_j} = w_j - w_j^2 , \qquad
# \frac{\partial w_i}{\partial s_j} = - w_i w_j \quad \text{for } i \ne j $$
#
# <details><summary>The derivation, line by line</summary>
#
# Write $w_i = e^{s_i} / Z$ with $Z = \sum_k e^{s_k}$. For another key's weight,
# $i \ne j$:
#
# $$ \begin{aligned}
# \frac{\partial w_i}{\partial s_j}
# &= -\frac{e^{s_i}}{Z^2} \, \frac{\partial Z}{\partial s_j}
# && \text{only } Z \text{ moves} \\
# &= -\frac{e^{s_i} e^{s_j}}{Z^2}
# && \text{in } Z \text{ only } e^{s_j} \text{ depends on } s_j \\
# &= -w_i w_j
# && \text{by the definition of } w
# \end{aligned} $$
#
# For its own weight, $i = j$, the numerator moves as well, which adds
# $e^{s_j} / Z = w_j$.
#
# </details>
#
# Together they form a matrix, the **Jacobian** $J = \text{diag}(w) - w^\top w$ ($w$ is
# a row): $w_i$ on the diagonal, minus all products $w_i w_j$. Here four keys score 2,
# 1, 0 and −1, and each column raises one score:

# %% folded=true
# the picture: the Jacobian of four keys
w = torch.softmax(torch.tensor([2.0, 1.0, 0.0, -1.0]), dim=-1)
drawings.jacobian(torch.diag(w) - torch.outer(w, w), w)

# %% [markdown]
# Each column sums to 0: the raised score's own weight grows (red), the others shrink
# (blue).

# %% [markdown]
# ### Exercise 4: the gradient of the softmax
#
# *Difficulty 3 of 5, 10 minutes.* A score moves the **loss** $L$, the number that
# training makes small, through every weight, and these effects add up. With
# $g_i = \partial L / \partial w_i$,
#
# $$ \frac{\partial L}{\partial s_j} = \sum_i g_i \frac{\partial w_i}{\partial s_j}
# = (g J)_j $$
#
# Multiply the row $g$ by $J$ on paper, and write what is left: no *autograd* (in
# `backward`, PyTorch works gradients out by itself), no matrix of size $T \times T$.
#
# **Your first line:** `weighted = weights * gradient`, all $w_i g_i$.


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
# $g\, \text{diag}(w)$ has the entries $w_i g_i$. And $g\, w^\top w = (g\, w^\top)\, w$:
# what is in brackets is a single number for each row.
#
# ---
# Together $w_i (g_i - \bar g)$ with $\bar g = \sum_j w_j g_j$. Keep the axis in the
# sum.

# %%
gradient_of = al.checks.yours_or_ours("softmax_gradient", softmax_gradient)

# %% [markdown]
# <details><summary>What does the result say in words?</summary>
#
# Gradient descent raises the scores of keys whose $g_i$ is below the mean of all $g$,
# weighted by $w$. It lowers the others.
#
# </details>

# %% [markdown]
# ### Back through all of attention
#
# A small case: *bank* asks only *river* and *savings*. Both get half the weight, and
# the output is (1, 1). Let the loss be its first number: training wants less water.
#
# Let $S$ be the table of scores, $A$ that of weights, and $C = A V$ the outputs, the
# **contexts**. Write $\nabla A$ for the table of all $\partial L / \partial A_{ij}$.
# From the loss comes $G = \nabla C$, here $(1, 0)$. Arrows lead forward; each gradient
# (pink) stands under its matrix, to be read from right to left:

# %% folded=true
# the picture: attention forward, with the gradient below each matrix
river_savings = [[2, 0], [0, 2]]
drawings.backward([[2, 2]], river_savings, river_savings, gradient=[[1, 0]])

# %% [markdown]
# In numbers, one step in each line:
#
# $$ \begin{aligned}
# \nabla V &= A^\top G
# = \begin{pmatrix} 0.5 \\ 0.5 \end{pmatrix} \begin{pmatrix} 1 & 0 \end{pmatrix}
# = \begin{pmatrix} 0.5 & 0 \\ 0.5 & 0 \end{pmatrix}
# && (1) \\
# \nabla A &= G V^\top
# = \begin{pmatrix} 1 & 0 \end{pmatrix} \begin{pmatrix} 2 & 0 \\ 0 & 2 \end{pmatrix}
# = \begin{pmatrix} 2 & 0 \end{pmatrix}
# && (2) \\
# \nabla S &= \begin{pmatrix} 0.5 \, (2 - 1) & 0.5 \, (0 - 1) \end{pmatrix}
# = \begin{pmatrix} 0.5 & -0.5 \end{pmatrix}
# && (3) \\
# \nabla Q &= \frac{\nabla S \, K}{\sqrt{d_k}}
# = \frac{1}{\sqrt 2} \begin{pmatrix} 0.5 & -0.5 \end{pmatrix}
# \begin{pmatrix} 2 & 0 \\ 0 & 2 \end{pmatrix}
# = \begin{pmatrix} 0.71 & -0.71 \end{pmatrix}
# && (4) \\
# \nabla K &= \frac{\nabla S^\top Q}{\sqrt{d_k}}
# = \frac{1}{\sqrt 2} \begin{pmatrix} 0.5 \\ -0.5 \end{pmatrix}
# \begin{pmatrix} 2 & 2 \end{pmatrix}
# = \begin{pmatrix} 0.71 & 0.71 \\ -0.71 & -0.71 \end{pmatrix}
# && (5)
# \end{aligned} $$
#
# 1. Each value counts with its weight, 0.5.
# 2. Only weight on *river* brings water.
# 3. The softmax, exercise 4: the mean of 2 and 0 under the weights is 1. (In the
#    picture $\odot$ multiplies entry by entry, and the bar is this mean.)
# 4. A score $q \cdot k / \sqrt{d_k}$ has the slope $k / \sqrt{d_k}$ in $q$,
# 5. and $q / \sqrt{d_k}$ in $k$.
#
# Training steps *against* a gradient. So the query turns from water to money: it learns
# where to look.
#
# <details><summary>On paper: with many queries, what gradient does one value get from
# those of all contexts?</summary>
#
# The value $v_j$ enters each context $c_i$, multiplied by $A_{ij}$. By the chain rule
# these effects add up: $\nabla v_j = \sum_i A_{ij} \nabla c_i$. The sum runs down
# column $j$ of $A$, so all of them together are $\nabla V = A^\top G$.
#
# </details>
#
# <details><summary>And the other formulas?</summary>
#
# - $A_{ij}$ multiplies $v_j$ in $c_i$. So
#   $\partial L / \partial A_{ij} = \nabla c_i \cdot v_j$, the entry $ij$ of $G V^\top$.
# - $q_i$ enters all scores of row $i$, $S_{ij} = q_i \cdot k_j / \sqrt{d_k}$. So
#   $\nabla q_i = \sum_j \nabla S_{ij} \, k_j / \sqrt{d_k}$, row $i$ of
#   $\nabla S \, K / \sqrt{d_k}$.
# - $k_j$ enters the scores of *column* $j$. So
#   $\nabla k_j = \sum_i \nabla S_{ij} \, q_i / \sqrt{d_k}$, and $S$ is transposed.
#
# In $\nabla S = A \odot (\nabla A - \overline{\nabla A})$ the bar is the mean of each
# row, weighted by $A$, and $\odot$ multiplies entry by entry.
#
# </details>
#
# <details><summary>On paper: how does a context c move if its query q does?</summary>
#
# By the chain rule through scores and weights, with $\bar k = \sum_j w_j k_j$:
#
# $$ \frac{\partial c}{\partial q} = \frac{V^\top J K}{\sqrt{d_k}}
# = \frac{1}{\sqrt{d_k}} \sum_j w_j \, (v_j - c)^\top (k_j - \bar k) $$
#
# This is the *covariance* of values and keys under the weights, how far they rise and
# fall together: a query moves its context only where keys and values vary together.
#
# </details>
#
# Five random queries, your gradient of exercise 4, and autograd:

# %%
q, k, v = (torch.randn(5, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
context, a = al.attention.scaled_dot_product_attention(q, k, v)
g = torch.randn_like(context)
ds = gradient_of(a, g @ v.T)
by_hand = ds @ k / 8**0.5, ds.T @ q / 8**0.5, a.T @ g
from_autograd = torch.autograd.grad(context, (q, k, v), g)

# %% folded=true
# how far apart are the two?
for name, mine, theirs in zip("QKV", by_hand, from_autograd, strict=True):
    print(f"{name}: largest difference {(mine - theirs).abs().max():.0e}")
    assert torch.allclose(mine, theirs)

# %% [markdown]
# They agree.
#
# <details><summary>And the matrices, and the layer below?</summary>
#
# As $Q = X W^Q$, the matrix has the gradient $\nabla W^Q = X^\top \nabla Q$. $W^K$ and
# $W^V$ get theirs in the same way.
#
# $X$ feeds all three products, so its gradient is a sum of three, $\nabla X =
# \nabla Q \, W^{Q\top} + \nabla K \, W^{K\top} + \nabla V \, W^{V\top}$.
#
# </details>
#
# ### Learning where to look
#
# Keep $W^V$, let $W^Q$ and $W^K$ begin as small random numbers, and descend their
# gradients. Seven examples say whether the word that asks means water or money: the
# softmax of its output is to give the right one all weight, and the loss is minus the
# logarithm of that weight. *Predict first:* where will *bank* and *river* look in three
# sentences held back?


# %%
water = [("bank", "muddy river bank"), ("bank", "new river bank")]
water += [("river", "river savings bank")]
money = [("bank", "new savings bank"), ("bank", "wet savings bank")]
money += [("bank", "muddy rainy savings bank"), ("savings", "river savings bank")]
right = torch.tensor([0] * len(water) + [1] * len(money))
held_back = [("bank", "wet muddy rainy savings bank")]
held_back += [("river", "muddy river savings bank"), ("bank", "river savings bank")]
start, looked = torch.Generator().manual_seed(0), []
learned = [(torch.randn(3, 2, generator=start) / 10).requires_grad_() for _ in "QK"]

# %%
for _ in range(201):
    looked.append([look_up(*asked, *learned)[0].tolist() for asked in held_back])
    outputs = torch.stack([look_up(*asked, *learned)[1] for asked in water + money])
    loss = torch.nn.functional.cross_entropy(outputs, right)
    for matrix, slope in zip(learned, torch.autograd.grad(loss, learned), strict=True):
        matrix.data -= slope  # a step as long as the slope: a learning rate of 1


# %% folded=true
# the picture: "bank" in a sentence held back
def before_and_after(place):
    word, sentence = held_back[place]
    rows = [looked[step][place] for step in (0, 200)]
    told = [f"“{word}” asks, {when}" for when in ("at the start", "after 200 steps")]
    return drawings.spreads(rows, sentence.split(), told)


before_and_after(0)

# %% folded=true
# the picture: "river" in another
before_and_after(1)

# %% folded=true
# the picture: "bank" between "river" and "savings"
before_and_after(2)

# %% [markdown]
# *Bank* finds *savings* among three words of weather, and *river* finds itself. Nobody
# told them where to look, only what they mean. But between *river* and *savings*, where
# our own matrices left *bank* in doubt, these choose: no example asked for doubt.
# **Attention learns where to look, as far as its examples tell it.**
#
# **And without the division?** At width 64 the typical gap, 11.3, makes the weights
# 0.99999 and 0.00001, with a slope $w (1 - w)$ of 0.000012. Divided, the gap is 1.4,
# and the slope 0.16. A query with small gaps learns even faster undivided. That spread
# is the harm: a step is the slope times one number, the **learning rate**, and none
# suits both (appendix E).

# %% [markdown]
# ## 8. Why several heads?
#
# One softmax gives one mean. Let *praises* ask two things: who stands before it, and
# who after? (Let the keys say where a word stands; section 9 shows how.) *Ann* has the
# value (2, 0), *Bob* (0, 2). One head with half its weight on each passes on (1, 1),
# for *Ann praises Bob* and *Bob praises Ann* alike: who did it is lost.
#
# Two heads keep it: the first looks before, the second after. In *Ann praises Bob* they
# pass on (2, 0) and (0, 2), in *Bob praises Ann* (0, 2) and (2, 0). Side by side they
# make the row (2, 0, 0, 2), which a matrix $W^O$ mixes. Here two columns say what Ann
# and Bob do (above 0 praise, below 0 get praised); one adds both:

# %% folded=true
# the picture: two heads, side by side and as a sum
w_output = [[1, 0, 1], [0, 1, 1], [-1, 0, 1], [0, -1, 1]]
drawings.heads_add_up([[2, 0], [0, 2]], w_output, ["Ann", "Bob", "both"])

# %% [markdown]
# In the output Ann praises, 2, and Bob gets praised, −2. Each head $h$ meets only its
# own rows of $W^O$, its block $W^O_h$. So **the layer's output is a sum over heads**:
#
# $$ \big[ C_1 \cdots C_n \big] W^O = \sum_{h=1}^{n} C_h W^O_h , \qquad
# C_h = \text{softmax}\big(Q_h K_h^\top / \sqrt{d_k}\big) V_h $$
#
# with $Q_h = X W^Q_h$, and likewise $K_h$ and $V_h$. Usually $d_k = d / n$, in our BERT
# 384 / 12 = 32: twelve narrow heads cost about as much as one wide one.
#
# <details><summary>On paper: (1) What is the output if head 2 passes on (0, 0)? (2)
# With which matrix could the layer not tell which head passed on what?</summary>
#
# (1) Its term of the sum goes, and (2, 0, 2) is left. (2) For instance if both blocks
# are the same, $W^O_1 = W^O_2$, as in the third column: the output is $(c_1 + c_2)
# W^O_1$, and only the sum of the two contexts counts.
#
# </details>
#
# <details><summary>Could one head do it with uneven weights?</summary>
#
# They would tell the two apart, but then a strong value with little weight looks like a
# weak one with much.
#
# </details>

# %% [markdown]
# ### A head is two matrices
#
# Let token $i$ ask token $j$ in head $h$, and put the formulas of section 1 into one
# another:
#
# $$ \begin{aligned}
# \text{score} &= x_i \big[W^Q_h W_h^{K\top}\big] x_j^\top / \sqrt{d_k}
# && \textbf{QK}: \text{ where to look} \\
# \text{part of } i\text{'s output} &= A^h_{ij}\; x_j \big[W^V_h W^O_h\big]
# && \textbf{OV}: \text{ what to carry over}
# \end{aligned} $$

# %% folded=true
# the picture: the two matrices of a head, framed
drawings.two_circuits(clf.model.config.hidden_size, 32)

# %% [markdown]
# So a head is the two matrices in brackets, framed in the picture (Elhage et al. 2021).
#
# <details><summary>What is the first of them in section 1?</summary>
#
# $$ W^Q W^{K\top} = \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ 1 & 1 \end{pmatrix}
# \begin{pmatrix} 1 & 0 & -1 \\ 0 & 1 & -1 \end{pmatrix}
# = \begin{pmatrix} 1 & 0 & -1 \\ 0 & 1 & -1 \\ 1 & 1 & -2 \end{pmatrix} $$
#
# Row by row: water looks for water, money for money, *open* for both, and none of them
# for open words. *Bank*, (1, 1, 1), adds up the rows, $(2, 2, -4)$. With *river* that
# makes $(2, 2, -4) \cdot (2, 0, 0) / \sqrt 2 = 2.83$, the score of section 1.
#
# </details>
#
# <details><summary>What do the formulas leave out, and how large are the two?</summary>
#
# Biases: vectors that BERT adds after each matrix. Both matrices are $d \times d$, but
# of *rank* at most $d_k$: they pass through $d_k$ numbers, and no more independent
# directions come out.
#
# </details>

# %% [markdown]
# ## 9. Attention does not know the order
#
# Nothing so far says where a token stands. Does *bank* notice if its neighbours change
# places?

# %%
for sentence in ("muddy river bank", "river bank muddy"):
    of_water, of_money = look_up("bank", sentence)[1]
    print(f"bank in {sentence}: water {of_water:.2f}, money {of_money:.2f}")

# %% [markdown]
# No. Shuffle the tokens, and their outputs are shuffled the same way, if each token
# sees all: attention is **permutation-equivariant**. So positions must be put in.
#
# <details><summary>Proof, and what a causal mask changes</summary>
#
# A permutation matrix $P$ shuffles queries, keys and values alike, the softmax works
# row by row, and $P^\top P = I$ (shuffled and put back: $I$ changes nothing):
#
# $$ \text{softmax}\big(PQ (PK)^\top / \sqrt{d_k}\big) PV
# = P\,\text{softmax}(Q K^\top / \sqrt{d_k}) P^\top P V = P A V $$
#
# Under a causal mask a shuffled token sees other keys, and its output may change. Yet
# the last token of one layer still cannot tell the order of those before it.
#
# </details>

# %% [markdown]
# The first Transformer adds waves: $p_{t,c}$ is added to number $c$ of the token at
# position $t$. Each pair $i$ of numbers, $2i$ and $2i + 1$, has a frequency of its own:
#
# $$ p_{t,\,2i} = \sin\!\big(t / 10000^{2i/d}\big), \qquad
# p_{t,\,2i+1} = \cos\!\big(t / 10000^{2i/d}\big) $$
#
# Each pair is a clock hand (cosine across, sine up) with its own speed (here 0.7 and
# 0.2). The shade, the turn in two positions, is the same along a row:

# %% folded=true
# the picture: positions as clock hands
drawings.clock_hands(8, (0.7, 0.2))

# %% [markdown]
# So a shift by $m$ positions turns each hand by the same angle, wherever it starts: it
# is a **rotation**. With it a head can look back. Let $W^Q W^{K\top}$ turn the hands of
# the query at $t$ back by $m$. Then they match the hands of the key at $t - m$, and
# this key scores highest.
#
# <details><summary>The rotation as a matrix, and the score</summary>
#
# For a hand of speed $\omega$ and a shift by $m$, the sine and cosine of a sum give a
# matrix without $t$:
#
# $$ \begin{pmatrix} \sin (t+m)\omega \\ \cos (t+m)\omega \end{pmatrix} =
# \begin{pmatrix} \cos m\omega & \sin m\omega \\ -\sin m\omega & \cos m\omega
# \end{pmatrix}
# \begin{pmatrix} \sin t\omega \\ \cos t\omega \end{pmatrix} $$
#
# If $W^Q W^{K\top}$ turns hands back by $m$, a query at $t$ and a key at $s$ have
# the score $\sum_i \cos \omega_i (t - m - s)$, before the division, since two hands at
# the angles $a$ and $b$ have the dot product $\sin a \sin b + \cos a \cos b = \cos(a -
# b)$. It is largest at $s = t - m$. (The sum runs over the hands that are turned: at
# most $d_k / 2$, as the rank is at most $d_k$. And it holds if only positions count.)
#
# </details>

# %% [markdown]
# ### Exercise 5: positions
#
# *Difficulty 2 of 5, 10 minutes.* Write these positions: sines in even columns, cosines
# in odd ones.
#
# **Your first line:** `position = torch.arange(length)[:, None]`, a column.


# %% exercise="sinusoidal_positions" points=2
def sinusoidal_positions(length, width):
    """A tensor, PyTorch's array, of shape (length, width); width is even."""
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
# There are width / 2 frequencies: `torch.arange(0, width, 2)` gives 2i for all of them.
#
# ---
# Positions down, frequencies across: a column `(length, 1)` times a row `(width / 2,)`
# is a table of angles. `table[:, 0::2]` are the even columns.

# %% [markdown]
# Your table for 64 positions, laid on its side. A black mark ends the first full turn:

# %%
positions_of = al.checks.yours_or_ours(
    "sinusoidal_positions", sinusoidal_positions, al.attention.sinusoidal_positions
)
drawings.position_table(positions_of(64, 16))

# %% [markdown]
# At the top the hands turn fast, and tell neighbours apart; at the bottom they hardly
# move.
#
# BERT's positions are learned. Do they make its head 2 of layer 0 look at the token
# before (section 5, left)? Give it the positions alone, then the words alone
# (`LayerNorm`: lesson 02):

# %%
embed, layer = clf.model.bert.embeddings, clf.model.bert.encoder.layer[0].attention.self
both = embed.token_type_embeddings.weight[0]  # added at each token alike
alone = {"positions": embed.position_embeddings.weight[: len(maps.tokens)] + both}
alone["words"] = embed.word_embeddings(inputs["input_ids"])[0] + both
head = slice(2 * 32, 3 * 32)  # its columns

for name, vectors in alone.items():
    x = embed.LayerNorm(vectors).detach()
    scores = scores_of(layer.query(x)[:, head], layer.key(x)[:, head])
    before = softmax_of(scores).diagonal(-1).mean()
    print(f"{name} alone: {before:.2f} of the weight goes to the token before")
print(f"an equal share: {1 / len(maps.tokens):.2f}")

# %% [markdown]
# **It looks back by the positions.** The words are not needed; alone they give the
# token before hardly more than an equal share.
#
# <details><summary>On paper: which columns make a full turn within these 64
# positions?</summary>
#
# Pair $i$ turns by $10^{-i/2}$ a position, and $2\pi$ is a full turn. So columns 0 to
# 5, the first three pairs. Pair $i$ needs $2\pi \cdot 10^{i/2}$ positions: 6.3, 19.9
# and 62.8, where the marks stand. The next would need 199. The last pair, $i = 7$, has
# not made a hundredth of a turn by the end: the 10000 in the formula sets how slow the
# slowest hands are.
#
# </details>

# %% [markdown]
# ## 10. What does attention buy, and what does it cost?
#
# How many steps from the first token to the last? A *recurrent* network reads token
# after token; a *convolution* of width 5 sees two neighbours on either side, and each
# hop is a layer:

# %% folded=true
# the picture: from the first token to the last
drawings.path_lengths()

# %% [markdown]
# Attention needs one layer, however long the text. And in training it computes all $T$
# outputs at once, where a classical recurrent network must wait for the token before.
# The price of one layer with all its heads (the *feed-forward network* follows in
# lesson 02):
#
# | forward | multiplications and additions | $T = 512$, $d = 384$ |
# | :--- | :--- | ---: |
# | $Q K^\top$: $T^2$ dot products of width $d_k$ a head | $2 T^2 d$ | 201 million |
# | $A V$ | $2 T^2 d$ | 201 million |
# | products with $W^Q$, $W^K$, $W^V$, $W^O$ | $8 T d^2$ | 604 million |
# | feed-forward network, $4d$ wide inside | $16 T d^2$ | 1208 million |
#
# **Twice the text, four times the cost** of the first two rows, but only twice that of
# the others.
#
# <details><summary>On paper: from which length do the first two cost more?</summary>
#
# When $4 T^2 d > 24 T d^2$, which is $T > 6 d$. For our BERT that is 2304 tokens, far
# beyond its limit of 512. (They cost more than the third row alone from $T = 2d = 768$
# on.)
#
# </details>
#
# <details><summary>What would a linear layer over the whole text need?</summary>
#
# It would need $(T d)^2$ learned numbers, and for one fixed $T$. Attention has $4 d^2$
# for any.
#
# </details>
#
# <details><summary>Do heads make attention cheaper?</summary>
#
# No. Each of $n = d / d_k$ heads is $n$ times narrower than $d$, but there are $n$,
# with $n$ times the score tables and softmaxes.
#
# </details>
#
# <details><summary>And the way back?</summary>
#
# The backward pass takes twice as many operations. Plain attention keeps a table of
# $T^2$ numbers for each head until then; appendix C does without.
#
# </details>

# %% [markdown]
# ## What to take away
#
# - Attention is a weighted mean of values; the words themselves set the weights,
#   through learned matrices.
# - Scores of random vectors grow like $\sqrt{d_k}$. Divided, attention begins alike at
#   every width.
# - Heads add up. QK says where a head looks, OV what it carries over.
# - Attention reaches any token in one step, and for long texts pays with $T^2$.
#
# [Lesson 02](02_attention_from_scratch.ipynb) builds a whole layer of these parts.

# %% [markdown]
# ## Appendix A. Another way to score: additive attention
#
# Attention began with a small network as score (Bahdanau et al. 2015). Its hidden layer
# has width $a$. A query has $d_q$ numbers, which need not be as many as a key's $d_k$:
#
# $$ s(q, k) = \tanh(q W_q + k W_k) \cdot u $$
#
# In words: matrices $W_q$ ($d_q \times a$) and $W_k$ ($d_k \times a$) read both
# vectors, $\tanh$, an S-shaped function that ends at −1 and 1, bends each number of
# their sum, and the vector $u$ makes one number of the result.
#
# The price: the hidden layer exists for every *pair* of query and key, $T_q T_k a$
# numbers instead of $T_q T_k$.
#
# <details><summary>What can it do that a dot product cannot?</summary>
#
# It can learn comparisons that a dot product of the bare numbers cannot. Are two
# numbers equal? $\tanh(q - k + 1) - \tanh(q - k - 1)$ is largest where they are (append
# a 1 to $q$ for the $\pm 1$); $q k$ is a straight line in $k$.
#
# </details>

# %% [markdown]
# ### Exercise 6: additive scores
#
# *Difficulty 3 of 5, 10 minutes.* Write this score without loops; let broadcasting form
# all pairs.
#
# **Your first line:** `from_query = query @ query_weight`, of shape (..., T_q, a).


# %% exercise="additive_scores" points=2
def additive_scores(query, key, query_weight, key_weight, vector):
    """Scores (..., T_q, T_k).

    query (..., T_q, d_q), key (..., T_k, d_k), query_weight (d_q, a),
    key_weight (d_k, a), vector (a,)
    """
    ### BEGIN SOLUTION
    from_query = (query @ query_weight).unsqueeze(-2)  # (..., T_q, 1, a)
    from_key = (key @ key_weight).unsqueeze(-3)  # (..., 1, T_k, a)
    return torch.tanh(from_query + from_key) @ vector
    ### END SOLUTION


# %% check="additive_scores"
al.checks.additive_scores(additive_scores)

# %% [markdown] hints="additive_scores"
# The two products with matrices have shapes (..., T_q, a) and (..., T_k, a). For every
# pair you need their sum, of shape (..., T_q, T_k, a).
#
# ---
# Give the queries an axis of length 1 where the keys have T_k, and the other way round:
# `unsqueeze(-2)` and `unsqueeze(-3)`. Then tanh, then `@ vector`.

# %% folded=true
# both scores, counted and timed
additive_of = al.checks.yours_or_ours(
    "additive_scores", additive_scores, al.attention.additive_scores
)
d_k, t = 64, 256
q, k = torch.randn(t, d_k), torch.randn(t, d_k)
w, u = torch.randn(d_k, d_k), torch.randn(d_k)  # a = d_k
print(f"{t} x {t} scores: the dot product makes {t * t:,} numbers,")
print(f"the hidden layer of additive scores {t * t * d_k:,}")
dot = al.device.seconds(lambda: al.attention.scaled_dot_scores(q @ w, k @ w))
additive = al.device.seconds(lambda: additive_of(q, k, w, w, u))
print(f"time on one thread, shortest of five: {1000 * dot:.2f} ms and", end=" ")
print(f"{1000 * additive:.2f} ms, {additive / dot:.1f} times as long")

# %% [markdown]
# Additive scores make 64 times the numbers, with a tanh for each. Historically they did
# better than *undivided* dot products at large widths; $\sqrt{d_k}$ was meant as the
# remedy (Vaswani et al.).

# %% [markdown]
# ## Appendix B. Soft or hard?
#
# How does the answer of section 3 move with the hour, and with the temperature?


# %%
keys = torch.tensor(list(visitors_at), dtype=torch.float32)
values = torch.tensor(list(visitors_at.values()))


def soft_lookup(hour, temperature):
    scores = -((hour - keys) ** 2) / 2
    return torch.softmax(scores / temperature, dim=-1) @ values


# %%
hours, curves = torch.linspace(4, 23, 200), {}
for tau in (0.05, 2, 50):
    curves[f"temperature {tau:g}"] = [float(soft_lookup(hour, tau)) for hour in hours]

# %% folded=true
# the picture: the answer over the hours
picture = drawings.named_curves(
    hours,
    curves,
    points=(keys, values),
    xlabel="hour of the day (query)",
    ylabel="answer, visitors",
    alt="Soft look-up over the hours: steps from value to value at temperature 0.05, a "
    "smooth curve at 2, nearly a flat mean at 50.",
)
picture.figure.axes[0].set_xticks(range(6, 24, 3))
picture

# %% [markdown]
# At temperature 0.05 the curve is a staircase: the nearest key takes all. At 50 it
# comes near the plain mean. At 2 it slopes. On a stair the slope is nearly 0, and says
# next to nothing about where to look instead.

# %% [markdown]
# **Hard** attention takes the value of one key. A choice has no useful gradient: move
# the query a little, and the chosen key stays (gradient 0) or jumps. Two remedies draw
# a key at random, key $i$ with probability $w_i$:
#
# - **straight-through** (Bengio et al. 2013): forward with the sampled key, backward as
#   if attention had been *soft*, with the mean of all values, as in the lesson. Samples
#   spread little, but are *biased*: wrong on average.
# - **score function** (REINFORCE, Williams 1992): take $L_i \nabla \log w_i$, where key
#   $i$ was drawn and $L_i$ is its loss. It is *unbiased*, right on average, but samples
#   spread widely. Subtracting a constant **baseline** near the mean loss from $L_i$
#   as a rule narrows the spread.

# %% [markdown]
# <details><summary>Why is one right on average, and the other not?</summary>
#
# The expected loss, $\sum_i w_i L_i$, is the mean over all draws. Its gradient is
# $\sum_i L_i \nabla w_i = \sum_i w_i L_i \nabla \log w_i$, the mean of the score
# function's samples. A constant baseline changes nothing on average, as
# $\sum_i \nabla w_i = 0$.
#
# With a square loss, as here, the mean of straight-through is exactly the gradient of
# the *soft* loss $|\sum_i w_i v_i - \text{target}|^2$, not of the expected loss of a
# choice.
#
# </details>
#
# Compare them where a sum over all keys gives the truth:

# %%
torch.manual_seed(3)
query, key = torch.randn(1, 4), torch.randn(6, 4)
value, target = torch.randn(6, 2), torch.tensor([1.0, 0.0])
draws = 20_000

q = query.clone().requires_grad_()
w = al.attention.softmax(al.attention.scaled_dot_scores(q, key))[0]
losses = ((value - target) ** 2).sum(-1)  # of each key, if it is chosen
expected = (w * losses).sum()
truth = torch.autograd.grad(expected, q, retain_graph=True)[0][0]
soft_loss = ((w @ value - target) ** 2).sum()  # of the mixture
of_soft = torch.autograd.grad(soft_loss, q)[0][0]


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

# %% folded=true
# the table: what each method gives for the query's gradient
rows = [["expected loss of a choice, exact", truth, None, None, None]]
for name, samples in estimates.items():
    spread = float(samples.std(0).norm() / truth.norm())
    rows.append([name, samples.mean(0), None, spread / draws**0.5, spread])
rows.append(["soft loss, exact", of_soft, None, None, None])
for row in rows:
    row[2] = float((row[1] - truth).norm() / truth.norm())
    listed = ", ".join(f"{number:.2f}" for number in row[1])
    row[1] = f"({listed})".replace("-", "−")
columns = ["gradient", "mean", "off by", "expected from chance", "spread of one sample"]
frame = pd.DataFrame(rows, columns=columns)
al.plots.table(frame, **{columns[2]: 3, columns[3]: 3}).hide(axis="index")

# %% [markdown]
# The last three columns are shares of the true gradient's length. Straight-through
# settles on the gradient of the soft loss: right for soft attention, wrong for a
# choice. The score function errs only by chance, and pays with the spread of its
# samples.

# %% [markdown]
# ## Appendix C. Attention without the tables
#
# First the count, for one head. PyTorch can count the first two rows of section 10's
# table, with $d_k$ for $d$, and the tables of $T \times T$ numbers that the backward
# pass needs beside $Q$, $K$ and $V$:


# %% folded=true
# operations forward and backward, and numbers kept in between
def cost(method, t, d_k=64):
    q, k, v = (torch.randn(t, d_k, requires_grad=True) for _ in range(3))
    kept = {}
    forward, backward = (FlopCounterMode(display=False) for _ in range(2))

    def note(x):
        kept[x.untyped_storage().data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x), forward:
        context = method(q, k, v)
    with backward:
        context.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops(), sum(kept.values())


# %%
def plain(q, k, v):
    return al.attention.scaled_dot_product_attention(q, k, v)[0]


def with_torch_softmax(q, k, v):
    return torch.softmax(al.attention.scaled_dot_scores(q, k), -1) @ v


# %% folded=true
# the count, beside the formula
rows = []
for t in (128, 256, 512):
    operations, _, ours = cost(plain, t)
    assert operations == 4 * t * t * 64
    torchs = cost(with_torch_softmax, t)[2]
    tables = [(kept - 3 * t * 64) / t**2 for kept in (ours, torchs)]
    rows.append([t, operations, 4 * t * t * 64, *tables])
columns = ["T", "operations", "formula", "tables, our softmax", "tables, torch.softmax"]
decimals = dict.fromkeys(columns[3:], 1)
al.plots.table(pd.DataFrame(rows, columns=columns), **decimals).hide(axis="index")

# %% [markdown]
# The counts match the formula.
#
# <details><summary>Which tables does the backward pass need?</summary>
#
# Our softmax keeps two, exponentials and weights. PyTorch's keeps the weights; exercise
# 4 needs no more. What follows does without the tables.
#
# </details>

# %% [markdown]
# Take the keys **tile by tile**: a *tile* is a block of neighbouring keys. For each
# query keep three things: the largest score so far, $m$; the sum $\ell$ of $e^{s_j -
# m}$ over the keys seen; and the mixture $o$, the sum of $e^{s_j - m}\, v_j$. At the
# end the context is $o / \ell$. Two tiles add up exactly, once both are rescaled to the
# larger $m$:

# %% folded=true
# the picture: two tiles, put together
drawings.two_tiles(scores=[2, 1, 4, 3], values=[10, 20, 30, 40], tile=2)

# %% [markdown]
# That is *online softmax* (Milakov and Gimelshein 2018), the idea behind FlashAttention
# (Dao et al. 2022), which computes attention on GPUs. You write it in [lesson
# 04](04_language_model.ipynb); ours is `al.attention.tiled_attention`. In the backward
# pass a tiled layer computes the scores again instead of keeping them: $2 T^2 d_k$
# more, a sixth of $12 T^2 d_k$. Ours repeats the whole forward pass, and pays a third.
# Either way memory grows as $T$, not $T^2$.
#
# Timed beside them, the shortest of many runs: plain attention in blocks of 128
# queries, the same operations with small tables.


# %%
def in_blocks(q, k, v):
    return torch.cat([plain(block, k, v) for block in q.split(128)])


methods = {"plain": plain, "tiled": al.attention.tiled_attention}
methods["in blocks"] = in_blocks

# %% folded=true
# the times, and the numbers kept for the backward pass
lengths = np.array(size.lengths)
times, memory = ({name: [] for name in methods} for _ in range(2))
for t in lengths:
    q, k, v = (torch.randn(t, 64) for _ in range(3))
    repeats = int(np.clip(16_000 // t, 5, 100))  # short calls are disturbed more
    for name, method in methods.items():
        shortest = al.device.seconds(partial(method, q, k, v), repeats)
        times[name].append(1e3 * shortest)
        memory[name].append(cost(method, t)[2])

# %% folded=true
# the table of times
for name in ("plain", "tiled"):
    share = sum(cost(methods[name], 512)[:2]) / (512**2 * 64)
    print(f"{name}: {share:.0f} T² d_k operations, forward and backward")
frame = pd.DataFrame(times, index=lengths).add_suffix(", ms")
frame = frame.rename_axis("T").reset_index()
for name in ("tiled", "in blocks"):
    frame[f"{name} / plain"] = frame[f"{name}, ms"] / frame["plain, ms"]
frame["plain / half the T"] = frame["plain, ms"] / frame["plain, ms"].shift()
decimals = {name: 2 if "ms" in name else 1 for name in frame.columns[1:]}
al.plots.table(frame, **decimals).hide(axis="index")

# %% folded=true
# the picture: time over the number of tokens
anchor = f"$T^2$, from {lengths[-3]}"
times[anchor] = times["plain"][-3] * (lengths / lengths[-3]) ** 2
drawings.named_curves(
    lengths,
    times,
    log="xy",
    guides=[anchor],
    xlabel="tokens $T$",
    ylabel="time forward, ms",
    alt="Time over the number of tokens on logarithmic axes, plain, tiled and in "
    "blocks: nearly level for short texts, then rising like T squared or faster.",
)

# %% folded=true
# the picture: memory over the number of tokens
del memory["in blocks"]
memory["slope of $T^2$"] = memory["plain"][-1] * (lengths / lengths[-1]) ** 2
memory["slope of $T$"] = memory["tiled"][-1] * lengths / lengths[-1]
drawings.named_curves(
    lengths,
    memory,
    log="xy",
    guides=["slope of $T^2$", "slope of $T$"],
    xlabel="tokens $T$",
    ylabel="numbers kept for backward",
    alt="Numbers kept over the number of tokens on logarithmic axes: plain attention "
    "grows with the square of T, tiled attention along a straight line of slope 1.",
)

# %% [markdown]
# At each doubling of $T$ the operations grow four times, as the grey line $T^2$. For
# short texts the time grows less, as each call has a fixed cost. For long ones plain
# attention's time may grow more, as fetching large tables costs time too.
#
# Tiles save memory, not operations. Ours are a loop in Python, and mostly slower: they
# win only where the large table costs plain attention more than the loop (*tiled /
# plain* below 1). *In blocks* avoids that table too, without an online softmax: what
# saves time is the small table. As one program on a GPU, tiles were several times
# faster (Dao et al. 2022).

# %% [markdown]
# ## Appendix D. More on positions
#
# ### Do positions tell attention the order?
#
# Attention that knows no order gives the same whether you shuffle before it or after
# it. *Predict first:* is there a difference without positions, with a causal mask, with
# positions?

# %%
x, order = torch.randn(6, 16), torch.tensor([3, 0, 5, 1, 4, 2])
places = torch.as_tensor(positions_of(6, 16))


def mixed(x, mask=None):  # each vector is query, key and value
    return softmax_of(scores_of(x, x, mask=mask)) @ x


# %% folded=true
# the three comparisons
causal = al.attention.causal_mask(6)
print("largest difference between shuffling before attention and after it")
for name, y, shuffled, mask in (
    ("no positions", x, x[order], None),
    ("no positions, causal mask", x, x[order], causal),
    ("positions added", x + places, x[order] + places, None),
):
    apart = mixed(shuffled, mask) - mixed(y, mask)[order]
    print(f"  {name:25}: {apart.abs().max():.1g}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Without positions there is no difference, up to rounding. A causal mask makes one, and
# so do positions.
#
# </details>

# %% [markdown]
# ### Rotated positions
#
# If a shift is a rotation, why not rotate queries and keys themselves? Let $R_s$ turn
# each pair of numbers by $s$ times its hand's speed, as on the clocks of section 9.
# Apply $R_t$ to $q$ at position $t$, and $R_s$ to $k$ at position $s$ (both are columns
# here). Rotating back by
# $t$ and on by $s$ is rotating by $s - t$:
#
# $$ (R_t q) \cdot (R_s k) = q \cdot (R_t^\top R_s\, k) = q \cdot (R_{s-t}\, k) $$
#
# So positions enter the score only through $s - t$. Most language models of today do
# this (**RoPE**, rotary position embedding, Su et al. 2021):


# %%
def rope(x, position):
    """Turn each pair of numbers of a vector x as far as its position says."""
    angles = position * 10000.0 ** (-torch.arange(0, len(x), 2) / len(x))
    a, b, cos, sin = x[0::2], x[1::2], angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten()


# %%
q, k = torch.randn(2, 16)
for place in (0, 10, 100):
    print(f"query at {place + 3:3}, key at {place:3}: score", end=" ")
    print(f"{rope(q, place + 3) @ rope(k, place):.4f}".replace("-", "−"))

# %% folded=true
# your table of exercise 5, turned
table = torch.as_tensor(positions_of(20, 16))
shifted = torch.stack([rope(table[t], -5) for t in range(15)])
off = (shifted - table[5:]).abs().max()
print(f"rows 0 to 14 of your table, turned by 5, are rows 5 to 19, to {off:.0e}")

# %% [markdown]
# For this query and key, the score is set by the offset $s - t$, here −3, and not by
# where they stand. In the table a pair is (sine, cosine), the hand mirrored, so it
# turns backward: the folded code says −5. You write RoPE for batches in [lesson
# 04](04_language_model.ipynb).

# %% [markdown]
# ### How alike are two learned positions?
#
# BERT *learned* its position vectors. How alike are two positions? Take the cosine of
# their vectors, with the mean of all subtracted: 1 if both point the same way, 0 at
# right angles. *Predict first:* how does that change as
# they move apart?


# %%
def similarity(table, furthest=40):
    """Mean cosine of two positions, by distance."""
    table = torch.as_tensor(table)[:128].float()
    table = torch.nn.functional.normalize(table - table.mean(0), dim=-1)
    cosines = table @ table.T
    return [float(cosines.diagonal(apart).mean()) for apart in range(furthest)]


# %% folded=true
# the picture: similarity over distance
of_bert = clf.model.bert.embeddings.position_embeddings.weight.detach().cpu()
drawings.named_curves(
    range(40),
    {
        "sines and cosines": similarity(positions_of(128, of_bert.shape[1])),
        "learned by BERT": similarity(of_bert),
    },
    xlabel="distance of two positions, tokens",
    ylabel="cosine of their vectors",
    alt="Similarity of two positions over their distance, for sinusoids and for BERT.",
)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The curve of the sines and cosines falls all the way. BERT's falls in waves to a
# distance of about 20, and then swings, mostly below 0.
#
# </details>

# %% [markdown]
# ## Appendix E. More on BERT, gradients and the division
#
# ### How widely does each head look?
#
# Each cell of the picture is one head reading the review of section 5. To compare texts
# of any length, take the entropy as a share of the largest it can have, $H / \log T$,
# here averaged over the tokens that ask. Which heads *point*, and give nearly all
# weight to one token?

# %%
share = looks.mean(-1) / np.log(len(maps.tokens))
al.plots.head_map(share, label="entropy / log T", title="How widely each head looks")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Only layer 0, head 2 (0.00): there every token gives nearly all weight to one. The
# next darkest, 0.19 (layer 2, head 9), already spreads over about $15^{0.19} = 1.7$
# effective keys of 15. A dark cell does not say that the head matters; [lesson
# 06](06_head_mixing.ipynb) measures that.
#
# </details>

# %% [markdown]
# ### What does BERT do without the division?
#
# *Predict first:* what happens to this trained BERT if you leave the division out? Does
# its answer change, and how many keys do its heads still use?


# %%
def undivided(query, key, value):
    weights = softmax_of(query @ key.mT)
    return weights @ value, weights


without, sharp = inside_bert(undivided, **inputs)

# %% folded=true
# the answer, and the effective keys of each layer
for name, scored in {"divided": logits, "not divided": without}.items():
    print(f"{name:12} {clf.label_names[1]} {scored.softmax(-1)[1]:.0%}")
keys_used = {
    name: entropy_of(weighed.cpu()).exp().mean((1, 2))
    for name, weighed in {"divided": weights, "not divided": sharp}.items()
}

# %% folded=true
# the picture: effective keys of each layer
drawings.named_curves(
    range(clf.layers),
    keys_used,
    xlabel="layer",
    ylabel=f"effective keys, of {len(maps.tokens)}",
    alt="Effective number of keys by layer in BERT, with and without the division.",
)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# BERT's heads are 32 wide, so its scores grow by a factor of $\sqrt{32} \approx 5.7$.
# Heads that mixed many tokens now pick one or two. The answer stays positive, but less
# surely: 84 % instead of 99 %.
#
# </details>

# %% [markdown]
# ### How does BERT react to each token?
#
# BERT goes backward through your gradient of exercise 4. How strongly does its
# *margin*, the positive logit minus the negative, react if a token's vector changes a
# little?


# %% folded=true
# the softmax, with your gradient on its way back
class Yours(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores):
        ctx.save_for_backward(weights := softmax_of(scores))
        return weights

    @staticmethod
    def backward(ctx, gradient):
        return gradient_of(ctx.saved_tensors[0], gradient)


# %%
def with_yours(query, key, value):
    weights = Yours.apply(scores_of(query, key))
    return weights @ value, weights


def reaction(attend):
    """Size of the gradient of the answer's margin at each token."""
    x = clf.model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits, _ = inside_bert(attend, inputs_embeds=x)
    return torch.autograd.grad(logits[1] - logits[0], x)[0][0].norm(dim=-1).cpu()


# %%
yours, automatic = reaction(with_yours), reaction(attention)
print(f"largest difference from autograd's: {(yours - automatic).abs().max():.0e}")

# %% folded=true
# the picture: the gradient at each token
drawings.token_bars(maps.tokens, yours, "size of gradient")

# %% [markdown]
# *Warm* has the largest gradient. That is not importance: it says what a tiny change
# does, not what the word is worth. [Lesson 06](06_head_mixing.ipynb) takes parts away.

# %% [markdown]
# ### Can attention learn without the division?
#
# Let 200 random queries learn, in 100 steps, to give one of 16 keys more than half of
# their weight. Each query is a vector whose own numbers are learned, and the loss is
# minus the weight of its key; another loss could end otherwise. The line *small start*
# belongs to queries that start 16 times smaller. *Predict first:* does one learning
# rate suit all widths?
#
# <details><summary>Why this loss?</summary>
#
# Attention uses its weights linearly. With $-\log w_0$, where $w_0$ is the weight of
# the query's own key, the gradient would not vanish, but inside a network the weights
# have no labels.
#
# </details>


# %% folded=true
# 200 queries learn by gradient descent, and are counted
def share_found(d_k, scale, rate, start=1.0, method=torch.optim.SGD):
    """Share of 200 queries with more than half of their weight on their key."""
    generator = torch.Generator().manual_seed(1)
    q = start * torch.randn(200, 1, d_k, generator=generator)
    k = torch.randn(200, 16, d_k, generator=generator)
    g = torch.zeros(200, 1, 16)
    g[..., 0] = -1  # the loss is minus the weight of key 0
    optimizer = method([q], lr=rate)
    for _ in range(100):
        q.grad = gradient_of(softmax_of(q @ k.mT / scale), g) @ k / scale
        optimizer.step()
    return float((softmax_of(q @ k.mT / scale)[..., 0] > 0.5).float().mean())


# %% folded=true
# divided or not, at three widths and nine learning rates
rates = [10.0**power for power in range(-3, 6)]
reached = {}
for d_k in (32, 64, 256):
    divided = [share_found(d_k, d_k**0.5, rate) for rate in rates]
    plainly = [share_found(d_k, 1, rate) for rate in rates]
    both = {r"divided by $\sqrt{d_k}$": divided, "not divided": plainly}
    reached[f"$d_k$ = {d_k}"] = both
small = [share_found(256, 1, rate, start=1 / 16) for rate in rates]
reached["$d_k$ = 256"]["not divided, small start"] = small

# %% folded=true
# the picture: share found over the learning rate
al.plots.panels(
    rates,
    reached,
    log=True,
    xlabel="learning rate",
    ylabel="share of queries\nthat found their key",
    alt="Share of queries that found their key over the learning rate, a panel for "
    "each width. The divided curve is alike in all; the wider, the lower the other.",
)

# %% [markdown]
# Divided, yes: all find their key at rate 10, at every width. Undivided, no rate here
# finds all keys, and the wider the queries, the fewer find theirs, at every rate above
# the smallest. A small enough start does without the division (dotted).
#
# <details><summary>What we saw, in detail</summary>
#
# Undivided, about 0.07 have their key even at the smallest rate: with scores so far
# apart, some begin with most of their weight on it, or nearly, by luck. At rate 0.1 the
# 32 wide are ahead of the divided all the same; the 64 wide, without the lucky ones,
# are about level. But no rate here rescues the rest. Most begin with nearly all weight
# on another key, and their gradient has $w_0$, the weight of their own key, as a
# factor. That factor spreads over orders of magnitude, and for many it is next to
# nothing.
#
# </details>

# %% folded=true
# how far apart are scores of this width at the start, by BERT's recipe?
own = clf.model.config
start = own.initializer_range**2 * own.hidden_size  # variance of a query's numbers
told = f"{start * 32**0.5:.2f} undivided, {start:.2f} divided"
print(f"by BERT's recipe such scores start with a standard deviation of {told}")

# %% [markdown]
# BERT's recipe draws new matrices with standard deviation 0.02 (the *standard
# deviation* is the root of the variance). At our small BERT's width that is enough:
# even undivided, scores would begin below 1 (0.87, printed above, for tokens of
# variance 1). By the same count BERT-base, the original in its usual size, 768 wide
# with heads of 64, would begin at 2.5.
#
# <details><summary>Why do some divide by the whole width?</summary>
#
# After training, query and key may point the same way, and a score can grow like $d_k$
# itself. For such scaling of width some divide by $d_k$ (Yang et al. 2022).
#
# </details>

# %% [markdown]
# ### How much gradient passes the softmax?
#
# Here is the desk again, undivided, with one more picture, *gradient that passes the
# softmax alone*. It shows the size of $J$ (the root of its summed squares) over the
# width, as a share of the largest that it can have: 1/2, when two keys have half of the
# weight each. *Predict first:* how does it change as queries get wider?

# %% folded=true
# the desk again, with one more picture
whole_desk = al.SoftmaxDesk(scaled=False)
whole_desk

# %% [markdown]
# Undivided, the share falls at large widths; divided, it stays level.
#
# <details><summary>Why is the undivided share large at small widths?</summary>
#
# There two keys can share the weight. (Each line is the mean over 256 draws.)
#
# </details>
#
# But the gradient goes on to the query: $\partial w / \partial q = J K / \sqrt{d_k}$.
# Call the size of this matrix the query's **sensitivity**. Undivided, $J$ is small, but
# the small factor $1 / \sqrt{d_k}$ is gone too. *Predict first:* which wins at $d_k =
# 64$? Here are quartiles over 2000 random queries (a quarter of them lies below the
# lower, a quarter above the upper):


# %%
def sensitivities(d_k, scale):
    """Quartiles of the size of J K / scale, over 2000 random queries."""
    q = torch.randn(2000, 1, d_k, generator=generator)
    k = torch.randn(2000, 16, d_k, generator=generator)
    w = softmax_of(q @ k.mT / scale).mT  # (2000, 16, 1)
    sizes = (w * (k - w.mT @ k)).norm(dim=(1, 2)) / scale
    return sizes.quantile(torch.tensor([0.25, 0.5, 0.75]))


with_it = torch.stack([sensitivities(d_k, d_k**0.5) for d_k in widths[3:]])
without_it = torch.stack([sensitivities(d_k, 1) for d_k in widths[3:]])

# %% folded=true
# the table: quartiles at three widths
rows = []
for d_k in (32, 64, 256):
    for name, sizes in (("divided", with_it), ("not divided", without_it)):
        found = sizes[widths[3:].index(d_k)]
        rows.append([d_k, name, *(f"{size:#.2g}" for size in found)])
columns = ["width", "scores", "lower quartile", "median", "upper quartile"]
al.plots.table(pd.DataFrame(rows, columns=columns)).hide(axis="index")

# %% folded=true
# the picture: sensitivity over the width
low, middle, high = without_it.T
drawings.named_curves(
    widths[3:],
    {"divided, median": with_it[:, 1], "not divided, median": middle},
    bands={"not divided, median": (low, high)},
    log="xy",
    xlabel="width $d_k$ of query and key",
    ylabel="sensitivity of a query",
    alt="A query's sensitivity over the width. Divided, the median stays level. "
    "Undivided, it falls at large widths, and the quartiles fan out, the lower fast.",
)

# %% [markdown]
# At 64 the missing factor wins: the median query is *more* sensitive without the
# division. By 256 it is less. But the median alone misleads. **What harms is the
# spread:** undivided, queries lie orders of magnitude apart (the shaded area holds the
# middle half of them), and a learning rate that suits some is far too small for others.
#
# <details><summary>How far apart?</summary>
#
# At the three widths of the table, the upper quartile has about seven times the divided
# sensitivity, or more. The lower has as much at 32, about a quarter at 64, next to
# nothing at 256. From quartile to quartile that is a factor of 7 at 32, about 40 at 64,
# and above 2000 at 256. Divided, all are about alike, at any width.
#
# </details>

# %% [markdown]
# ### Does another optimizer replace the division?
#
# An **optimizer** makes steps of gradients. The plainest multiplies them by the
# learning rate. BERT is trained with **Adam**, which makes small gradients larger. Does
# that replace the division?

# %%
rows, adam = [], torch.optim.Adam
for d_k in (32, 64, 256):
    for way, scale in (("divided", d_k**0.5), ("not divided", 1)):
        found = [share_found(d_k, scale, rate, method=adam) for rate in (0.01, 1, 100)]
        rows.append([d_k, way, *found])

# %% folded=true
# the table: share of queries that found their key, by learning rate
columns = ["width", "scores", "rate 0.01", "rate 1", "rate 100"]
decimals = dict.fromkeys(columns[2:], 2)
al.plots.table(pd.DataFrame(rows, columns=columns), **decimals).hide(axis="index")

# %% [markdown]
# In part. Undivided, Adam helps: it finds nearly all keys at width 32 and most at 64.
# But at 256 about half are still missed, or more. Divided, it finds all at each width
# and rate.
#
# <details><summary>Does BERT need the division, then?</summary>
#
# What harms is to *begin* far above 1. Started 16 times smaller, undivided queries
# learn as the divided do (at rates $16^2$ times smaller). T5, another Transformer,
# starts $W^Q$ so, $\sqrt{d_k}$ times smaller, and divides by nothing.
#
# By BERT's recipe the scores of a model as wide as ours start below 1 even undivided
# (printed above). The division makes the start independent of the heads' width.
#
# </details>

# %% [markdown]
# ## Two open problems
#
# Without a solution; each says how you know that you are right.
#
# 1. **Back without the table.** Write attention's backward pass one tile of keys at a
#    time (appendix C), without any $T \times T$ table. You are right if it agrees with
#    autograd on random input, under a causal mask too.
# 2. **Learn all three.** Section 7 learned $W^Q$ and $W^K$. Learn $W^V$ too, from
#    sentences of your own; give money weak words first (*cheap*, *paid*, *dear*: 0, 1,
#    0). You are right if sentences that you held back come out right, *savings* among
#    three weak words for water and *river* among three for money, but not with all
#    weights set to $1/T$.
#
# <details><summary>A hint for the first</summary>
#
# Exercise 4 needs the mean $\bar g$ of a whole row. Show that it is
# $\nabla c_i \cdot c_i$.
#
# </details>

# %% [markdown]
# **Sources.** Vaswani et al. 2017 (the formula, heads, sinusoids: *Attention is all you
# need*) · Nadaraya 1964 and Watson 1964 (kernel regression) · Martins and Astudillo
# 2016 (sparsemax) · Su et al. 2021 (RoPE: *RoFormer*) · Elhage et al. 2021 (QK and OV:
# *A mathematical framework for Transformer circuits*) · Raffel et al. 2020 (T5) · Yang
# et al. 2022 (dividing by $d_k$). For the appendices: Bahdanau et al. 2015 (additive
# scores) · Williams 1992 (score function) · Bengio et al. 2013 (straight-through) · Xu
# et al. 2015 (hard attention) · Milakov and Gimelshein 2018 (online softmax) · Dao et
# al. 2022 (*FlashAttention*).

# %%
al.checks.summary("attention_maths")
