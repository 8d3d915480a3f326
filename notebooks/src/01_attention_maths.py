# %% [markdown]
# # 01 The mathematics of attention
#
# **How can a machine look something up when no entry matches exactly, and learn where
# to look?** You follow three words through attention with small numbers, and derive the
# formula that runs in each head of a Transformer:
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
# for six exercises. You need vectors, matrices, partial derivatives, the chain rule,
# variance, and a little PyTorch with `backward`.
#
# [Lesson 00](00_start_here.ipynb) shows a Transformer at work; it helps to have seen
# it. Choose **Run → Run All Cells** first. Once your function is right, later cells use
# it; until then, ours.

# %%
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
# ## 1. What does *bank* mean in this sentence?
#
# *Bank* can mean a river's edge or a place for money. Its neighbours decide which. How
# can a machine let them?
#
# Describe each word by three numbers: how much it has to do with water, with money, and
# whether its meaning is open. *River* is (2, 0, 0), *bank* is (1, 1, 1).
#
# Call such a row of numbers $x$. Three matrices turn it into three shorter rows:
#
# - a **query** $x W^Q$, what the word looks for: *bank* gets (2, 2), water or money;
# - a **key** $x W^K$, what it can be found by: *river* gets (2, 0), water;
# - a **value** $x W^V$, what it passes on: $W^V$ copies water and money and drops
#   *open*, so *river* passes on (2, 0).

# %% [markdown]
# How does *bank* get (2, 2)? Here $W^Q$ reads only the third number, *open*, and writes
# it twice, doubled:
#
# $$ x W^Q = \begin{pmatrix} 1 & 1 & 1 \end{pmatrix}
# \begin{pmatrix} 0 & 0 \\ 0 & 0 \\ 2 & 2 \end{pmatrix}
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

# %% [markdown]
# In the picture each row is a word, and *bank* asks. Read it from left to right.
#
# 1. **Score** each key: its dot product with the query, divided by $\sqrt{d_k}$, where
#    $d_k = 2$ is the width of a key. *River* scores
#    $(2 \cdot 2 + 2 \cdot 0) / \sqrt 2 = 2.83$.
# 2. Turn the scores into **weights** with a **softmax**: take $e$ to the power of each
#    score, 4.1, 16.9 and 1. Divide by their sum, 22.0. *River* gets .77.
# 3. The **output** is the mean of the values with these weights, (1.77, .05): nearly
#    all water.

# %%
about = {  # water, money, open
    "muddy": [1, 0, 0],
    "river": [2, 0, 0],
    "savings": [0, 2, 0],
    "new": [0, 0, 0],
    "bank": [1, 1, 1],
}
w_query = [[0, 0], [0, 0], [2, 2]]  # only words that are open ask for anything
w_key = [[1, 0], [0, 1], [-1, -1]]
w_value = [[1, 0], [0, 1], [0, 0]]
words = ["muddy", "river", "bank"]
vectors = [about[word] for word in words]
drawings.one_query(words, vectors, w_query, w_key, w_value, asking=2)

# %% [markdown]
# **On paper** first: (1) *Muddy* has the query (0, 0). Which weights and which output
# does it get? (2) Which does *bank* get in *river savings bank*?
#
# <details><summary>Answers</summary>
#
# (1) All scores are 0, so each weight is 1/3, and the output is the plain mean of the
# values, (4/3, 1/3). (2) The exponentials are 16.9, 16.9 and 1, the weights .49, .49
# and .03, and the output is (1, 1): the meaning stays open.
#
# </details>
#
# The same three steps in code, and then four look-ups:


# %%
def look_up(word, sentence):
    """Weights (T,) and output (2,) for one word of a sentence."""
    x = torch.tensor([about[other] for other in sentence.split()]).float()
    query = torch.tensor(about[word]) @ torch.tensor(w_query)
    key, value = (x @ torch.tensor(w).float() for w in (w_key, w_value))
    weights = torch.softmax(key @ query.float() / 2**0.5, dim=-1)
    return weights, weights @ value


# %%
asked = [("bank", "muddy river bank"), ("muddy", "muddy river bank")]
asked += [("bank", "river savings bank"), ("bank", "new savings bank")]
rows = []
for word, sentence in asked:
    weights, output = look_up(word, sentence)
    rows.append([word, sentence, " ".join(f"{w:.2f}" for w in weights)])
    rows[-1] += output.tolist()
frame = pd.DataFrame(rows, columns=["asks", "in", "weights", "water", "money"])
al.plots.table(frame, water=2, money=2).hide(axis="index")

# %% [markdown]
# The same matrices give *bank* water in the first row, money in the last.
#
# We chose them by hand. A Transformer **learns** them, for longer vectors: our BERT has
# $d = 384$ numbers for each **token**, a word or a piece of one.

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
# Row $i$ of $Q K^\top$ scores all keys for word $i$. *Bank* is the last row:

# %%
drawings.all_at_once(words, vectors, w_query, w_key, w_value)

# %% [markdown]
# Here the words of a sentence ask each other: **self-attention**.
#
# <details><summary>Could they ask another text?</summary>
#
# Yes. In **cross-attention** the keys and values come from another sequence, such as
# the sentence to translate.
#
# </details>
#
# <details><summary>Why one matrix for queries and another for keys?</summary>
#
# With $W^Q = W^K$, word $i$ would score word $j$ exactly as $j$ scores $i$: the two
# would always score each other alike, however different their roles.
#
# </details>

# %% [markdown]
# ## 2. What makes one key take everything?
#
# *River* got .77 of the weight. When does a key get nearly all of it? Compare two pairs
# of keys:
#
# - scores 1 and 0 have the exponentials 2.7 and 1: the first gets 2.7 / 3.7 = .73;
# - scores 5 and 0 have 148.4 and 1: the first gets 148.4 / 149.4 = .99.
#
# So it takes scores that lie far apart. What drives them apart?
#
# The desk scores random keys for a random query. *Temperature* divides the scores. Move
# the sliders, then switch *divide scores by √d_k* off and on. Which settings give one
# key nearly everything?

# %%
desk = al.SoftmaxDesk(gradient=False)
desk

# %% [markdown]
# <details><summary>Answer</summary>
#
# A low temperature, or a large width undivided. (Fewer keys raise the largest weight,
# too, but divided and at temperature 1 hardly to everything.) The softmax sees only
# differences; each unit more, after both divisions, means $e$ times the weight.
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

# %%
visitors_at = {6: 8.0, 9: 12.0, 12: 19.0, 15: 21.0, 18: 16.0, 21: 11.0}
drawings.bell_look_up(visitors_at, query=13, temperature=2)

# %% [markdown]
# The hours 12 and 15 get nearly all of the weight. And the answer moves smoothly with
# the query, so its slope can say which way to move the query (appendix B).
#
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
# not change if all its scores grow by the same number. Line by line:
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
# **Only the dot product is left.** In the picture four keys of length 1 lie around a
# query:

# %%
drawings.nearest_key(query=[1.2, 0.5], degrees=[10, 75, 150, 260])

# %% [markdown]
# The scores differ, the weights do not. For keys of equal length the dot product asks
# the same as the distance: how near?
#
# <details><summary>What if the keys differ in length?</summary>
#
# A model's keys do, and attention drops $|k|^2$ all the same. Then a longer key wins
# more weight from every query that points its way. Two more reasons speak for the dot
# product: one matrix product scores all pairs; and as $W^Q$ and $W^K$ are learned, so
# is what counts as near.
#
# </details>

# %% [markdown]
# ## 4. Why a softmax?
#
# Let two keys score 1 and 0. All weight on the first gives the largest mean score, 1.
# But scores may be wrong, and a key without weight can never show that it would have
# been better. So an even spread should count as well.
#
# The **entropy** $H$ measures how evenly the weights $w_i$ are spread. It is 0 if one
# key has all the weight, and largest if all have the same. Let $\tau > 0$ say how much
# it is worth. We look for the weights, with the sum 1, that make this the largest:
#
# $$ \underbrace{\textstyle\sum_i w_i s_i}_{\text{mean score}} \;+\;
# \tau \, \underbrace{H(w)}_{\text{entropy}}\,, \qquad
# H(w) = -\textstyle\sum_i w_i \log w_i $$
#
# Try three ways to share the weight, at $\tau = 1$:
#
# - all weight on the first key gives $1 + 0 = 1$;
# - half each gives $.5 + .69 = 1.19$, with natural logarithms;
# - .73 and .27 give $.73 + .58 = 1.31$.
#
# The picture shows all ways:

# %%
drawings.best_spread(scores=(1, 0), temperature=1)

# %% [markdown]
# The best weights, .73 and .27, are the softmax of 1 and 0. That holds for any scores:
#
# $$ \boxed{w_i = \frac{e^{s_i/\tau}}{\sum_j e^{s_j/\tau}}} $$
#
# <details><summary>The derivation, in three lines</summary>
#
# At the best weights, moving a little weight from one key to another gains nothing. So
# the slope is the same number $\lambda$ for every key (a *Lagrange multiplier*). The
# slope of $w_i s_i$ is $s_i$, and that of $-w_i \log w_i$ is $-\log w_i - 1$. Therefore
#
# $$ s_i - \tau (\log w_i + 1) = \lambda
# \quad\Longrightarrow\quad w_i = e^{s_i/\tau} \cdot e^{-1-\lambda/\tau} . $$
#
# The second factor is the same for all keys. The weights' sum of 1 fixes it, and the
# softmax is left.
#
# </details>
#
# <details><summary>Is there no other maximum, and no other rule?</summary>
#
# The objective is strictly concave, as entropy is: there is no other maximum. Entropy's
# slope at $w = 0$ is infinite, which keeps all weights positive. Another measure of
# spread gives another rule: with $\tfrac{1}{2}(1 - \sum_i w_i^2)$ some weights can
# become exactly 0 (*sparsemax*).
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
# The smaller $\tau$, the more weight goes to the better key. As $\tau \to 0$ it gets
# all: the *arg-max*.

# %% [markdown]
# ## 5. How widely does a query look?
#
# Is a query's weight on one key or on many? The entropy measures that, too. The
# weights (.5, .5, 0, 0) have
#
# $$ H = -.5 \log .5 - .5 \log .5 = \log 2 = .69 . $$
#
# With natural logarithms the unit is the *nat*. Easier to read is $e^{H}$, the
# **effective number of keys**: here 2.

# %%
drawings.spreads([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.25] * 4])

# %% [markdown]
# The third uses all four keys, but spreads no wider than 2.6 equal ones.
#
# One trap: for a weight of 0 PyTorch's $0 \log 0$ is NaN (not a number). The entropy
# below replaces NaN by 0. Look at its gradient:


# %%
def faulty_entropy(weights):
    return -(weights * weights.log()).nan_to_num().sum(dim=-1)


w = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
value = faulty_entropy(w)
(slope,) = torch.autograd.grad(value, w)
print(f"entropy {value:.3f}, gradient {slope.numpy().round(2)}")

# %% [markdown]
# ### Exercise 2: mend an entropy
#
# *Difficulty 2 of 5, 5 minutes.* The value is right, but training would break. Where
# does the NaN in the gradient come from? Write an entropy, in nats, in which $0 \log 0$
# counts as 0, no gradient is NaN, and small weights are kept: a thousand of .001 have
# entropy $\log 1000$.
#
# **Your first line:** what you would write if no weight were 0,
# `return -(weights * weights.log()).sum(dim=-1)`.
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
# `torch.where(weights > 0, weights, 1.0)`, or, inside the logarithm alone, a clamp at a
# tiny number such as 1e-30.

# %% [markdown]
# Our BERT has 6 layers of 12 **heads**, each a look-up with matrices of its own
# (section 8). How widely do its tokens look in a short review?

# %%
entropy_of = al.checks.yours_or_ours("entropy", entropy, al.attention.entropy)
text = "A slow first half, but what a warm and clever ending."
maps = clf.attend(text)
looks = entropy_of(maps.weights)  # (layers, heads, T)
print(f"a token looks at {looks.exp().mean():.1f} effective keys", end=" ")
print(f"of {len(maps.tokens)}, mean over tokens and heads")

# %% [markdown]
# The mean hides much: appendix E shows each head.

# %% [markdown]
# ## 6. Why divide by $\sqrt{d_k}$?
#
# On the desk of section 2, wide queries let one key take all unless their scores were
# divided. Why?
#
# Let each number of a query and a key be +1 or -1, by the toss of a coin. Their dot
# product adds $d_k$ products, each +1 or -1 too. Of 64 most cancel; the sum is
# typically about 8 away from 0, the root of 64 (shaded):

# %%
drawings.growing_scores([4, 16, 64])

# %% [markdown]
# In general, let all components be independent, with mean 0 and variance 1. Write $E$
# for a mean. The variance of a score, line by line:
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
# have variance 1 at any width. So $\sqrt{d_k}$ is a temperature (section 4) that grows
# with the width.
#
# **On paper:** the numbers of $q$ have variance 4, those of $k$ variance 1. What is the
# variance of a score, and what would you divide by?
#
# <details><summary>Answer</summary>
#
# In the third line each product is now $4 \cdot 1$. The sum is $4 d_k$, and dividing by
# its root, $2 \sqrt{d_k}$, gives variance 1.
#
# </details>
#
# <details><summary>Why do some divide by the whole width?</summary>
#
# After training, query and key may point the same way, and a score can grow like $d_k$
# itself. For such scaling of width some divide by $d_k$ (Yang et al. 2022).
#
# </details>

# %% [markdown]
# What does that do to the weights? At $d_k = 64$ two undivided scores that lie 8 apart
# give one key $e^8 \approx 3000$ times the weight of the other. Divided, they lie 1
# apart, and it is $e$ times.
#
# The next cell measures the largest of 16 weights, averaged over 1000 random queries:

# %%
widths = [2**n for n in range(10)]
generator = torch.Generator().manual_seed(0)
largest = {"not divided": [], "divided by √d_k": []}
for d in widths:
    q = torch.randn(1000, 1, d, generator=generator)
    k = torch.randn(1000, 16, d, generator=generator)
    for name, scale in zip(largest, (1, d**0.5), strict=True):
        scores = q @ k.mT / scale  # .mT exchanges the last two axes
        largest[name].append(float(softmax_of(scores).amax(-1).mean()))
drawings.largest_weights(widths, largest, keys=16)

# %% [markdown]
# Divided it stays near a quarter, undivided it climbs towards 1: the softmax
# **saturates**.

# %% [markdown]
# ### Keys that must not be seen
#
# A **mask** is `True` where a query may see a key. The **causal** mask hides later
# tokens, for a model that is to predict them. Another hides padding, which fills up
# short texts:

# %%
causal = al.attention.causal_mask(4)
no_padding = torch.tensor([True, True, True, False]).expand(4, 4)
masks = {"causal mask": causal, "padding hidden": no_padding}
drawings.mask_grids(masks, ["good", "old", "film", "[PAD]"])

# %% [markdown]
# ### Exercise 3: scaled and masked scores
#
# *Difficulty 2 of 5, 5 minutes.* Score every key for every query, with a variance that
# does not depend on the width. Batches and heads may come before the last two axes:
# $T_q$ queries or $T_k$ keys, each with $D = d_k$ numbers. Where a mask is given and
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
    """Scores (..., T_q, T_k) of queries (..., T_q, D) and keys (..., T_k, D).

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
# `.T` turns *all* axes round; with a batch only the last two should change places:
# `key.transpose(-2, -1)`. The width is `key.shape[-1]`.
#
# ---
# `scores.masked_fill(where, number)` writes a number where `where` is True. Which of
# `mask` and `~mask` is that, and what if there is no mask?

# %% [markdown]
# Put your scores and weights into BERT in place of its own, and compare the *logits*,
# BERT's scores for the two labels. (Cells marked *plumbing* need not be read.)


# %%
def inside_bert(scores_of, weights_of, **inputs):  # plumbing
    """BERT's logits, and each layer's weights, with these two functions at work."""
    seen = []

    def attention(module, query, key, value, mask, **_):  # (1, H, T, d_k)
        seen.append(weights_of(scores_of(query, key)))
        return (seen[-1] @ value).transpose(1, 2), seen[-1]

    AttentionInterface.register("yours", attention)
    clf.model.set_attn_implementation("yours")
    logits = clf.model(**inputs).logits[0]
    al.heads.attach(clf)  # its own attention again
    return logits, torch.cat(seen).detach()


# %%
scores_of = al.checks.yours_or_ours("scaled_dot_scores", scaled_dot_scores)
inputs = clf.tokenizer(text, return_tensors="pt").to(clf.device)
expected = clf.model(**inputs).logits[0]
logits, weights = inside_bert(scores_of, softmax_of, **inputs)
print(f"BERT says {clf.label_names[int(logits.argmax())]}; its logits differ", end=" ")
print(f"from the original by {(logits - expected).abs().max():.0e}")

# %% [markdown]
# Only rounding is left: BERT runs on your attention.

# %% [markdown]
# ## 7. How does attention learn?
#
# Training changes the matrices by gradients, and on the way to $W^Q$ and $W^K$ they
# have to pass the softmax. So first: how does a weight answer when a score grows?
#
# Take two keys, and raise the score of the first by .1. If its weight was .5, it
# becomes .525. If it was .99, it becomes only .991. A softmax that is sure hardly
# moves.
#
# In general, raise score $s_j$ alone. Write $w_i = e^{s_i} / Z$ with
# $Z = \sum_k e^{s_k}$. For another key's weight, $i \ne j$:
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

# %% [markdown]
# For its own weight, $i = j$, the numerator moves as well, which adds
# $e^{s_i} / Z = w_i$:
#
# $$ \frac{\partial w_i}{\partial s_i} = w_i - w_i^2 $$
#
# At $w_i = .5$ that is .25. So .1 more score gives about .025 more weight, as above.
#
# Together they form a matrix, the **Jacobian** $J = \text{diag}(w) - w w^\top$: $w_i$
# on the diagonal, minus all products $w_i w_j$. The cell checks it for four scores, 2
# to -1, and draws it. Each column raises one score.

# %%
scores = torch.tensor([2.0, 1.0, 0.0, -1.0])
w = torch.softmax(scores, -1)
jacobian = torch.diag(w) - torch.outer(w, w)
by_torch = torch.autograd.functional.jacobian(lambda s: torch.softmax(s, -1), scores)
assert torch.allclose(jacobian, by_torch, atol=1e-6)
drawings.jacobian(jacobian)

# %% [markdown]
# In each column the raised score's own weight grows (red), at the others' expense
# (blue). A key with little weight, as in the last column, moves little.

# %% [markdown]
# ### Exercise 4: the gradient of the softmax
#
# *Difficulty 3 of 5, 10 minutes.* A score moves the **loss** $L$, the number that
# training makes small, through every weight, and these effects add up. With
# $g_i = \partial L / \partial w_i$,
#
# $$ \frac{\partial L}{\partial s_j} = \sum_i g_i \frac{\partial w_i}{\partial s_j}
# = (J g)_j , \quad\text{as } J \text{ is symmetric.} $$
#
# Multiply $J g$ out on paper, and write what is left: no autograd (PyTorch's
# `backward`), no matrix of size $T \times T$.
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
# $\text{diag}(w)\, g$ has the entries $w_i g_i$. And $w w^\top g = w \,(w^\top g)$:
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
# How does the gradient reach queries, keys and values? Let $S$ be the table of scores,
# $A$ that of weights, and $C = A V$ the outputs, the **contexts**. Write $\nabla A$ for
# the table of all $\partial L / \partial A_{ij}$, of the same shape as $A$. The rest of
# the network sends in $G = \nabla C$.
#
# **On paper,** before you read on: write small letters for rows, so row $i$ of $C$ is
# $c_i = \sum_j A_{ij} v_j$. Given all $\nabla c_i$, derive the gradient of one value,
# $\nabla v_j$.
#
# <details><summary>Answer</summary>
#
# The value $v_j$ enters each context $c_i$, multiplied by $A_{ij}$. By the chain rule
# these effects add up: $\nabla v_j = \sum_i A_{ij} \nabla c_i$. The sum runs down
# column $j$ of $A$, so all of them together are $\nabla V = A^\top G$.
#
# </details>

# %% [markdown]
# A small case: *bank* asks only *river* and *savings*. Both get half the weight, and
# the context is (1, 1). Let the loss be its first number, so that training wants less
# water: $G = (1, 0)$. Each gradient (pink) stands under its matrix. Read from right to
# left:

# %%
river_savings = [[2, 0], [0, 2]]
drawings.backward([[2, 2]], river_savings, river_savings, gradient=[[1, 0]])

# %% [markdown]
# A step a line:
#
# $$ \begin{aligned}
# \nabla V &= A^\top G
# = \begin{pmatrix} .5 \\ .5 \end{pmatrix} \begin{pmatrix} 1 & 0 \end{pmatrix}
# = \begin{pmatrix} .5 & 0 \\ .5 & 0 \end{pmatrix}
# && \text{each value counted with weight .5} \\
# \nabla A &= G V^\top
# = \begin{pmatrix} 1 & 0 \end{pmatrix} \begin{pmatrix} 2 & 0 \\ 0 & 2 \end{pmatrix}
# = \begin{pmatrix} 2 & 0 \end{pmatrix}
# && \text{only weight on } \textit{river} \text{ brings water} \\
# \nabla S &= \begin{pmatrix} .5 \, (2 - 1) & .5 \, (0 - 1) \end{pmatrix}
# = \begin{pmatrix} .5 & -.5 \end{pmatrix}
# && \text{exercise 4; the mean is 1} \\
# \nabla Q &= \frac{\nabla S \, K}{\sqrt{d_k}}
# = \frac{1}{\sqrt 2} \begin{pmatrix} .5 & -.5 \end{pmatrix}
# \begin{pmatrix} 2 & 0 \\ 0 & 2 \end{pmatrix}
# = \begin{pmatrix} .71 & -.71 \end{pmatrix}
# && \text{a score } q \cdot k / \sqrt{d_k} \text{ has slope } k / \sqrt{d_k} \\
# \nabla K &= \frac{\nabla S^\top Q}{\sqrt{d_k}}
# = \frac{1}{\sqrt 2} \begin{pmatrix} .5 \\ -.5 \end{pmatrix}
# \begin{pmatrix} 2 & 2 \end{pmatrix}
# = \begin{pmatrix} .71 & .71 \\ -.71 & -.71 \end{pmatrix}
# && \text{likewise, with slope } q / \sqrt{d_k}
# \end{aligned} $$
#
# Training steps *against* a gradient. So the query turns from water to money: attention
# learns where to look.
#
# <details><summary>Why do these formulas hold for any number of queries?</summary>
#
# Each comes from one row:
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
# The next cell takes five random queries and your gradient, and compares with autograd:

# %%
q, k, v = (torch.randn(5, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
context, a = al.attention.scaled_dot_product_attention(q, k, v)
g = torch.randn_like(context)
from_autograd = torch.autograd.grad(context, (q, k, v), g)
ds = gradient_of(a, g @ v.T)
by_hand = ds @ k / 8**0.5, ds.T @ q / 8**0.5, a.T @ g
for name, mine, theirs in zip("QKV", by_hand, from_autograd, strict=True):
    print(f"{name}: largest difference {(mine - theirs).abs().max():.0e}")
    assert torch.allclose(mine, theirs)

# %% [markdown]
# By hand and by autograd agree. One step more reaches what training changes: as
# $Q = X W^Q$, the gradient of the matrix is $\nabla W^Q = X^\top \nabla Q$, and so for
# $W^K$ and $W^V$.
#
# **And without the division?** If queries and keys begin with variance 1, as in section
# 6, most wide ones are saturated, with weights $w \approx (1, 0, 0, \dots)$. Then every
# entry of $J$ is nearly 0, and a key with hardly any weight can barely call for more.
#
# <details><summary>Does less gradient reach the query, then?</summary>
#
# Not always. That was the softmax alone: $\nabla Q$ loses the small factor
# $1 / \sqrt{d_k}$ as well, and up to middling widths that can outweigh it. Appendix E
# measures both, and shows that a small enough start helps too.
#
# </details>

# %% [markdown]
# ## 8. Why several heads?
#
# One softmax gives one mean. Let a token need two things: the subject of its sentence,
# whose value is (2, 0), and the word before it, with (0, 2). One head that gives half
# its weight to each passes on (1, 1). Swap the two values, and it passes on the same:
# which came from where is lost. (Uneven weights would tell the two apart, but only by
# passing on less of one.)
#
# Two heads keep them apart. One passes on (2, 0), the other (0, 2). Side by side they
# make the row (2, 0, 0, 2), which a matrix $W^O$ mixes:

# %%
w_output = [[1, 0, 2, 0], [0, 1, 0, 1], [0, 2, 1, 0], [1, 1, 0, 0]]
drawings.heads_add_up([[2, 0], [0, 2]], w_output)

# %% [markdown]
# Each head meets only its own rows of $W^O$. So **the layer's output is a sum over
# heads**, each context times its own block $W^O_h$. Our BERT has 12 heads of width 32
# in each layer; [lesson 06](06_head_mixing.ipynb) turns them up and down.
#
# **On paper:** (1) What is the output if head 2 is silent, and passes on (0, 0)?
# (2) For which $W^O$ could the layer not tell which head passed on what?
#
# <details><summary>Answers</summary>
#
# (1) Its term of the sum goes, and (2, 0, 4, 0) is left. (2) For instance if both
# blocks are the same, $W^O_1 = W^O_2$: the output is $(c_1 + c_2) W^O_1$, and only the
# sum of the two contexts counts.
#
# </details>
#
# <details><summary>Do heads make attention cheaper?</summary>
#
# No. Each of $n$ heads is $n$ times narrower, but there are $n$, with $n$ times the
# score tables and softmaxes.
#
# </details>

# %% [markdown]
# ### A head is two matrices
#
# What does one head do? Let token $i$ ask token $j$ in head $h$, and put the formulas
# of section 1 into one another:
#
# $$ \begin{aligned}
# \text{score} &= x_i \big[W^Q_h W_h^{K\top}\big] x_j^\top / \sqrt{d_k}
# && \textbf{QK}: \text{ where to look} \\
# \text{added to } i &= A^h_{ij}\; x_j \big[W^V_h W^O_h\big]
# && \textbf{OV}: \text{ what to carry over}
# \end{aligned} $$

# %%
drawings.two_circuits(clf.model.config.hidden_size, 32)

# %% [markdown]
# So a head is two matrices, in brackets (Elhage et al. 2021). In section 1 the first is
#
# $$ W^Q W^{K\top} = \begin{pmatrix} 0 & 0 \\ 0 & 0 \\ 2 & 2 \end{pmatrix}
# \begin{pmatrix} 1 & 0 & -1 \\ 0 & 1 & -1 \end{pmatrix}
# = \begin{pmatrix} 0 & 0 & 0 \\ 0 & 0 & 0 \\ 2 & 2 & -4 \end{pmatrix} . $$
#
# Its last row says: an open word looks for water and money, and not for other open
# words. For *bank* and *river*, $(2, 2, -4) \cdot (2, 0, 0) / \sqrt 2 = 2.83$, the
# score of section 1.
#
# <details><summary>What do the formulas leave out, and how large are the two?</summary>
#
# Biases: vectors that BERT adds after each matrix. Both matrices are $d \times d$, but
# of rank at most $d_k$, as they pass through $d_k$ numbers.
#
# </details>

# %% [markdown]
# ## 9. Attention does not know the order
#
# Nothing so far says where a token stands. Does *bank* notice if its neighbours change
# places?

# %%
for sentence in ("muddy river bank", "river bank muddy"):
    water, money = look_up("bank", sentence)[1]
    print(f"bank in {sentence}: water {water:.2f}, money {money:.2f}")

# %% [markdown]
# No. Shuffle the tokens, and the outputs are shuffled the same way. (Under a causal
# mask they are not, as a token then sees other keys. Yet the last token still cannot
# tell the order of those before it.) So positions must be put in.
#
# <details><summary>Proof</summary>
#
# A permutation matrix $P$ shuffles queries, keys and values alike, the softmax works
# row by row, and $P^\top P = I$:
#
# $$ \text{softmax}\big(PQ (PK)^\top / \sqrt{d_k}\big) PV
# = P\,\text{softmax}(Q K^\top / \sqrt{d_k}) P^\top P V = P A V $$
#
# </details>

# %% [markdown]
# The first Transformer adds waves to the $d$ numbers of the token at position $t$, one
# frequency for each pair $i$ of columns:
#
# $$ p_{t,\,2i} = \sin\!\big(t / 10000^{2i/d}\big), \qquad
# p_{t,\,2i+1} = \cos\!\big(t / 10000^{2i/d}\big) $$
#
# Each pair is a clock hand (cosine across, sine up) with its own speed. Here are two,
# with invented speeds. The shaded angle is the turn over two positions. It is the same
# all along a row.

# %%
drawings.clock_hands(8, (0.7, 0.2))

# %% [markdown]
# So a shift by $m$ positions is a **rotation** of each hand by $m$ times its speed, the
# same from everywhere.
#
# <details><summary>The rotation as a matrix</summary>
#
# For a hand of speed $\omega$ and a shift by $m$, the sine and cosine of a sum give a
# matrix without $t$:
#
# $$ \begin{pmatrix} \cos (t+m)\omega \\ \sin (t+m)\omega \end{pmatrix} =
# \begin{pmatrix} \cos m\omega & -\sin m\omega \\ \sin m\omega & \cos m\omega
# \end{pmatrix}
# \begin{pmatrix} \cos t\omega \\ \sin t\omega \end{pmatrix} $$
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
# There are width / 2 frequencies: `torch.arange(0, width, 2)` gives 2i for all of them.
#
# ---
# Positions down, frequencies across: a column `(length, 1)` times a row `(width / 2,)`
# is a table of angles. `table[:, 0::2]` are the even columns.

# %% [markdown]
# Your table for 64 positions, laid on its side:

# %%
positions_of = al.checks.yours_or_ours(
    "sinusoidal_positions", sinusoidal_positions, al.attention.sinusoidal_positions
)
drawings.position_table(positions_of(64, 16))

# %% [markdown]
# At the top the hands turn fast, and tell neighbours apart; at the bottom they hardly
# move. Appendix D shows what later models do instead.

# %% [markdown]
# ## 10. What does attention buy, and what does it cost?
#
# How many steps lead from the first token to the last? A *recurrent* network reads
# token after token; a *convolution* of width 5 sees two neighbours on either side:

# %%
drawings.path_lengths()

# %% [markdown]
# Attention needs one step, however long the text. What does it cost? The table counts
# one layer with all its heads, $d$ numbers a token. (The *feed-forward network* is the
# layer's other half, lesson 02.)
#
# | forward | multiplications and additions | $T = 512$, $d = 384$ |
# | :--- | :--- | ---: |
# | $Q K^\top$: $T^2$ dot products of width $d$ | $2 T^2 d$ | 201 million |
# | $A V$ | $2 T^2 d$ | 201 million |
# | products with $W^Q$, $W^K$, $W^V$, $W^O$ | $8 T d^2$ | 604 million |
# | feed-forward network, $4d$ wide inside | $16 T d^2$ | 1208 million |
#
# **Twice the text, four times the cost** of the first two rows, but only twice that of
# the others. In our BERT, the last column, the first two are not yet a fifth of the
# whole.
#
# **On paper:** from which length $T$ do the first two rows cost more than the other
# two?
#
# <details><summary>Answer</summary>
#
# When $4 T^2 d > 24 T d^2$, which is $T > 6 d$. For our BERT that is 2304 tokens, far
# beyond its limit of 512. (More than these products they cost from $2d = 768$.)
#
# </details>
#
# <details><summary>And the way back?</summary>
#
# The backward pass takes twice as many operations, and needs a table of $T^2$ numbers
# for each head. Like a convolution, and unlike a recurrent network, attention computes
# all $T$ outputs at once, forward and back.
#
# </details>

# %% [markdown]
# ## What to take away
#
# - Attention is a weighted mean of values. Scores, made by learned matrices, set the
#   weights.
# - The softmax makes mean score plus $\tau$ times entropy the largest. It turns a
#   gradient $g$ of the weights into one of the scores, $w_i (g_i - \bar g)$, with $\bar
#   g$ the mean weighted by $w$.
# - Scores of random vectors grow like $\sqrt{d_k}$. Divided, attention begins alike at
#   every width.
# - Heads add up. QK says where a head looks, OV what it carries over.
# - Without a causal mask attention is blind to order, until positions are put in.
# - It reaches any token in one step, and for long texts pays with $T^2$.
#
# [Lesson 02](02_attention_from_scratch.ipynb) builds a whole layer of these parts.
# Exercise 6 follows in appendix A.

# %% [markdown]
# ## Appendix A. Another way to score: additive attention
#
# Attention began with a small network as score (Bahdanau et al. 2015). With a hidden
# layer of width $a$, a vector $u$, and $q$ and $k$ of any widths:
#
# $$ s(q, k) = \tanh(q W_q + k W_k) \cdot u $$
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
additive_of = al.checks.yours_or_ours(
    "additive_scores", additive_scores, al.attention.additive_scores
)
d, t = 64, 256
q, k = torch.randn(t, d), torch.randn(t, d)
w, u = torch.randn(d, d), torch.randn(d)
print(f"{t} x {t} scores: the dot product makes {t * t:,} numbers,", end=" ")
print(f"the hidden layer of additive scores {t * t * d:,}")
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
hours = torch.linspace(4, 23, 200)
curves = {
    f"temperature {t:g}": [float(soft_lookup(hour, t)) for hour in hours]
    for t in (0.05, 2, 50)
}

# %%
picture = al.plots.lines(
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
#   if the soft weights had been used. Samples spread little, but are *biased*: wrong on
#   average.
# - **score function** (REINFORCE, Williams 1992): take $L_i \nabla \log w_i$, where key
#   $i$ was drawn and $L_i$ is its loss. It is *unbiased*, right on average, but samples
#   spread widely. Subtracting a constant **baseline** near the mean loss from $L_i$
#   narrows the spread.

# %% [markdown]
# <details><summary>Why is one right on average, and the other not?</summary>
#
# The gradient of the expected loss is
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

# %%
rows = [["expected loss of a choice, exact", truth, None, None, None]]
for name, samples in estimates.items():
    spread = float(samples.std(0).norm() / truth.norm())
    rows.append([name, samples.mean(0), None, spread / draws**0.5, spread])
rows.append(["soft loss, exact", of_soft, None, None, None])
for row in rows:
    row[2] = float((row[1] - truth).norm() / truth.norm())
    row[1] = " ".join(f"{number:.2f}" for number in row[1]).replace("-", "−")
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
# First the count. PyTorch can count the first two rows of section 10's table, and what
# the backward pass needs:


# %%
def cost(method, t, d=64):  # plumbing
    """Operations forward and backward, and numbers kept in between."""
    q, k, v = (torch.randn(t, d, requires_grad=True) for _ in range(3))
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


for t in (128, 256, 512):
    operations, _, numbers = cost(plain, t)
    print(f"T = {t}: {operations:,} operations, formula {4 * t * t * 64:,};", end=" ")
    assert operations == 4 * t * t * 64
    torchs = cost(with_torch_softmax, t)[2]
    ours, torchs = ((kept - 3 * t * 64) / t**2 for kept in (numbers, torchs))
    print(f"backward needs Q, K, V and {ours:.1f} T²; torch's softmax {torchs:.1f} T²")

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
# Take the keys **tile by tile**. For each query keep three things: the largest score so
# far, $m$; the sum $\ell$ of $e^{s_j - m}$ over the keys seen; and the mixture $o$, the
# sum of $e^{s_j - m}\, v_j$. Two tiles add up exactly, once both are rescaled to the
# larger $m$:

# %%
drawings.two_tiles(scores=[2, 1, 4, 3], values=[10, 20, 30, 40], tile=2)

# %% [markdown]
# That is *online softmax* (Milakov and Gimelshein 2018), the idea behind FlashAttention
# (Dao et al. 2022). You write it in [lesson 04](04_language_model.ipynb); ours is
# `al.attention.tiled_attention`. In the backward pass a tiled layer computes the scores
# again instead of keeping them: $2 T^2 d$ more, a sixth of $12 T^2 d$. Ours repeats the
# whole forward pass, and pays a third. Either way memory is *linear*.
#
# Timed beside them, the shortest of many runs: plain attention in blocks of 128
# queries, the same operations with small tables.


# %%
def in_blocks(q, k, v):
    return torch.cat([plain(block, k, v) for block in q.split(128)])


methods = {"plain": plain, "tiled": al.attention.tiled_attention}
methods["in blocks"] = in_blocks
lengths = np.array(size.lengths)
times, memory = ({name: [] for name in methods} for _ in range(2))
for t in lengths:
    q, k, v = (torch.randn(t, 64) for _ in range(3))
    repeats = int(np.clip(16_000 // t, 5, 100))  # short calls are disturbed more
    for name, method in methods.items():
        shortest = al.device.seconds(partial(method, q, k, v), repeats)
        times[name].append(1e6 * shortest)
        memory[name].append(cost(method, t)[2])

# %%
for name in ("plain", "tiled"):
    share = sum(cost(methods[name], 512)[:2]) / (512**2 * 64)
    print(f"{name}: {share:.0f} T² d operations, forward and backward")
frame = pd.DataFrame(times, index=lengths).add_suffix(", µs")
frame = frame.rename_axis("T").reset_index()
for name in ("tiled", "in blocks"):
    frame[f"{name} / plain"] = frame[f"{name}, µs"] / frame["plain, µs"]
frame["plain / half the T"] = frame["plain, µs"] / frame["plain, µs"].shift()
decimals = {name: 0 if "µs" in name else 1 for name in frame.columns[1:]}
al.plots.table(frame, **decimals).hide(axis="index")

# %%
anchor = f"T², through plain at {lengths[-3]}"
times[anchor] = times["plain"][-3] * (lengths / lengths[-3]) ** 2
al.plots.lines(
    lengths,
    times,
    log="xy",
    xlabel="tokens T",
    ylabel="time forward, µs",
    alt="Time over the number of tokens on logarithmic axes, plain, tiled and in "
    "blocks: nearly level for short texts, then rising like T squared or faster.",
)

# %%
del memory["in blocks"]
memory["slope of T²"] = memory["plain"][-1] * (lengths / lengths[-1]) ** 2
memory["slope of T"] = memory["tiled"][-1] * lengths / lengths[-1]
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
# At each doubling of $T$ the operations grow four times. For short texts the time grows
# less, as each call has a fixed cost. For long ones plain attention's time may grow
# more, as fetching large tables costs time too.
#
# Tiles save memory, not operations. Ours are a loop in Python: *tiled / plain* above 1
# is its price in time; below 1, the large table costs plain attention more than that.
# *In blocks* avoids that table too, without an online softmax: what saves time is the
# small table. As one GPU kernel, tiles were several times faster (Dao et al. 2022).

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


# %%
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
# If a shift is a rotation, why not rotate queries and keys themselves? Let $R_s$ be the
# rotation of section 9 with $m = s$. Rotate each pair of numbers of $q$ at position $s$
# by $R_s$, of $k$ at position $t$ by $R_t$. Rotating back by $s$ and on by $t$ is
# rotating by $t - s$:
#
# $$ (R_s q) \cdot (R_t k) = q \cdot (R_s^\top R_t\, k) = q \cdot (R_{t-s}\, k) $$
#
# So positions enter the score only through $t - s$. Most language models of today do
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
    print(f"{rope(q, place + 3) @ rope(k, place):.4f}")
table = torch.as_tensor(positions_of(20, 16))
shifted = torch.stack([rope(table[t], -5) for t in range(15)])
off = (shifted - table[5:]).abs().max()
print(f"rows 0 to 14 of your table, turned by 5, are rows 5 to 19, to {off:.0e}")

# %% [markdown]
# For this query and key, the score is set by the offset $t - s$, here -3, and not by
# where they stand. In the table a pair is (sine, cosine), the hand mirrored, so it
# turns backward: hence -5. You write RoPE for batches in [lesson
# 04](04_language_model.ipynb).

# %% [markdown]
# ### How alike are two learned positions?
#
# BERT *learned* its position vectors. How alike are two positions (cosine of their
# vectors, with the mean of all subtracted)? *Predict first:* how does that change as
# they move apart?


# %%
def similarity(table, furthest=40):
    """Mean cosine of two positions, by distance."""
    table = torch.as_tensor(table)[:128].float()
    table = torch.nn.functional.normalize(table - table.mean(0), dim=-1)
    cosines = table @ table.T
    return [float(cosines.diagonal(apart).mean()) for apart in range(furthest)]


# %%
of_bert = clf.model.bert.embeddings.position_embeddings.weight.detach().cpu()
al.plots.lines(
    range(40),
    {
        "sinusoids": similarity(positions_of(128, of_bert.shape[1])),
        "learned by BERT": similarity(of_bert),
    },
    xlabel="distance of two positions, tokens",
    ylabel="cosine of their vectors",
    alt="Similarity of two positions over their distance, for sinusoids and for BERT.",
)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The sinusoids' curve falls all the way. BERT's falls in waves to a distance of about
# 20, and then swings, mostly below 0.
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
title = "How widely each head looks, mean over the tokens"
al.plots.head_map(share, label="entropy / log T", title=title)

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
def undivided(query, key):
    return query @ key.mT


without, sharp = inside_bert(undivided, softmax_of, **inputs)
for name, scored in {"divided": logits, "not divided": without}.items():
    print(f"{name:12} {clf.label_names[1]} {scored.softmax(-1)[1]:.0%}")
keys_used = {
    name: entropy_of(weighed.cpu()).exp().mean((1, 2))
    for name, weighed in {"divided": weights, "not divided": sharp}.items()
}

# %%
al.plots.lines(
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


# %%
class Yours(torch.autograd.Function):  # plumbing
    @staticmethod
    def forward(ctx, scores):
        ctx.save_for_backward(weights := softmax_of(scores))
        return weights

    @staticmethod
    def backward(ctx, gradient):
        return gradient_of(ctx.saved_tensors[0], gradient)


# %%
def reaction(weights_of):
    """Size of the gradient of the answer's margin at each token."""
    x = clf.model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits, _ = inside_bert(scores_of, weights_of, inputs_embeds=x)
    return torch.autograd.grad(logits[1] - logits[0], x)[0][0].norm(dim=-1).cpu()


# %%
yours, torchs = reaction(Yours.apply), reaction(lambda s: s.softmax(-1))
print(f"largest difference from PyTorch's: {(yours - torchs).abs().max():.0e}")
al.plots.matrix(
    yours[None],
    columns=maps.tokens,
    rows=[""],
    xlabel="token",
    ylabel="",
    label="size of gradient",
    alt="How strongly the answer reacts to each token, as a row of cells.",
)

# %% [markdown]
# *Warm* has the largest gradient. That is not importance: it says what a tiny change
# does, not what the word is worth. [Lesson 06](06_head_mixing.ipynb) takes parts away.

# %% [markdown]
# ### Can attention learn without the division?
#
# Take 200 random queries, vectors whose own numbers are learned. By plain gradient
# descent each learns to give its weight to one of 16 keys. (The loss is minus that
# weight; another loss could end otherwise.) The picture shows what share of them give
# it more than half after 100 steps, divided (left) and not (right). *Predict first:*
# does one learning rate suit all widths?
#
# <details><summary>Why this loss?</summary>
#
# Attention uses its weights linearly. With $-\log w_0$ the gradient would not vanish,
# but inside a network the weights have no labels.
#
# </details>


# %%
def share_found(d, scale, rate, start=1.0, method=torch.optim.SGD):
    """Share of 200 queries with more than half of their weight on their key."""
    generator = torch.Generator().manual_seed(1)
    q = start * torch.randn(200, 1, d, generator=generator)
    k = torch.randn(200, 16, d, generator=generator)
    g = torch.zeros(200, 1, 16)
    g[..., 0] = -1  # the loss is minus the weight of key 0
    optimizer = method([q], lr=rate)
    for _ in range(100):
        q.grad = gradient_of(softmax_of(q @ k.mT / scale), g) @ k / scale
        optimizer.step()
    return float((softmax_of(q @ k.mT / scale)[..., 0] > 0.5).float().mean())


# %%
rates = [10.0**power for power in range(-3, 6)]
reached = {"divided by √d_k": {}, "not divided": {}}
for d in (32, 64, 256):
    for way, scale in zip(reached, (d**0.5, 1), strict=True):
        reached[way][f"{d} wide"] = [share_found(d, scale, rate) for rate in rates]
small = [share_found(256, 1, rate, start=1 / 16) for rate in rates]
reached["not divided"]["256 wide, small start"] = small
own = clf.model.config
start = own.initializer_range**2 * own.hidden_size  # variance of a query's numbers
print(f"BERT's scores start with a standard deviation of {start * 32**0.5:.2f}", end="")
print(f" undivided, {start:.2f} divided")

# %%
al.plots.panels(
    rates,
    reached,
    log=True,
    xlabel="learning rate",
    ylabel="share of queries with their key found",
    alt="Share of queries that found their key over the learning rate, in two panels: "
    "divided and not, a line for each width.",
)

# %% [markdown]
# Divided, all queries find their key at rate 10, at every width. Undivided, at every
# rate above the smallest, the wider they are, the fewer find it.
#
# The line *small start* is the exception. Its queries start 16 times smaller, and they
# find their key without the division.
#
# **The division lets attention begin alike at every width.** So does a start made
# smaller as the width grows. At BERT's width its fixed small start is enough: even
# undivided its scores would begin below 1 (0.87, printed above).
#
# <details><summary>What we saw, in detail</summary>
#
# Divided, the three lines nearly coincide: all queries find their key at rate 10,
# whatever the width. Undivided, about .07 have theirs even at the smallest rate: with
# scores so far apart, some begin with most of their weight on it, or nearly, by luck.
# At rate 0.1 the 32 wide are ahead of the divided all the same; the 64 wide, without
# the lucky ones, are about level. But no rate here rescues the rest, and the wider they
# are, the fewer succeed. Most begin saturated on another key, and their gradient has
# $w_0$, the weight of their own key, as a factor: next to nothing.
#
# </details>

# %% [markdown]
# ### How much gradient passes the softmax?
#
# Here is the desk again, undivided, with one more picture, *gradient that passes the
# softmax alone*. It shows the size of $J$ (the root of its summed squares) over the
# width, as a share of the largest that it can have: 1/2, when two keys have half of the
# weight each. *Predict first:* how does it change as queries get wider?

# %%
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
# the small factor $1 / \sqrt{d_k}$ is gone too. *Predict first:* which wins at
# $d_k = 64$? Here are quartiles over 2000 random queries:

# %%
ways = {"divided": [], "not divided": []}
for d in widths[3:]:
    q = torch.randn(2000, 1, d, generator=generator)
    k = torch.randn(2000, 16, d, generator=generator)
    for name, scale in (("divided", d**0.5), ("not divided", 1)):
        w = softmax_of(q @ k.mT / scale).mT  # (2000, 16, 1)
        sensitivity = (w * (k - w.mT @ k)).norm(dim=(1, 2)) / scale  # of J K / scale
        ways[name].append(sensitivity.quantile(torch.tensor([0.25, 0.5, 0.75])))
        if d in (32, 64, 256):
            shown = ", ".join(f"{quartile:.2g}" for quartile in ways[name][-1])
            print(f"sensitivity, quartiles, {d} wide, {name}: {shown}")

# %%
low, middle, high = torch.stack(ways["not divided"]).T
al.plots.lines(
    widths[3:],
    {
        "upper quartile, not divided": high,
        "median, not divided": middle,
        "lower quartile, not divided": low,
        "median, divided by √d_k": torch.stack(ways["divided"])[:, 1],
    },
    log="xy",
    xlabel="width d_k of query and key",
    ylabel="sensitivity of a query",
    alt="Quartiles of a query's sensitivity over d_k: undivided they fan out, the "
    "upper stays high and the lower falls fast; the divided median stays level.",
)

# %% [markdown]
# At 64 the missing factor wins: the median query is *more* sensitive without the
# division. By 256 it is less. And undivided, queries drift far apart.
#
# <details><summary>How far apart?</summary>
#
# At the three widths printed, the upper quartile has about seven times the divided
# sensitivity, or more. The lower has as much at 32, about a quarter at 64, next to
# nothing at 256. Divided, all are about alike, at any width.
#
# </details>

# %% [markdown]
# ### Does another optimizer replace the division?
#
# BERT is trained with **Adam**, which makes small gradients larger. Does that replace
# the division?

# %%
print("share found by Adam, at learning rates 0.01, 1 and 100")
for d in (32, 64, 256):
    for way, scale in (("divided", d**0.5), ("not divided", 1)):
        shares = [
            share_found(d, scale, rate, method=torch.optim.Adam)
            for rate in (0.01, 1, 100)
        ]
        print(f"  {d:3} wide, {way:11}:", ", ".join(f"{share:.2f}" for share in shares))

# %% [markdown]
# In part. Undivided, Adam helps: it finds nearly all keys at width 32 and most at 64.
# But at 256 about half are still missed, or more. Divided, it finds all at each width
# and rate.
#
# <details><summary>Does BERT need the division, then?</summary>
#
# What harms is to *begin* far above 1. Started 16 times smaller, undivided queries
# learn as the divided do (at rates $16^2$ times smaller). T5 starts $W^Q$ so,
# $\sqrt{d_k}$ times smaller, and divides by nothing.
#
# BERT's matrices start random, with standard deviation 0.02. For tokens of 384 numbers
# of variance 1 even undivided scores then start below 1 (printed above). The
# division makes the start independent of the heads' width.
#
# </details>

# %% [markdown]
# **Sources.** Vaswani et al. 2017 (the formula, heads, sinusoids: *Attention is all you
# need*) · Nadaraya 1964 and Watson 1964 (kernel regression) · Su et al. 2021 (RoPE:
# *RoFormer*) · Elhage et al. 2021 (QK and OV: *A mathematical framework for Transformer
# circuits*) · Raffel et al. 2020 (T5) · Yang et al. 2022 (dividing by $d_k$). For the
# appendices: Bahdanau et al. 2015 (additive scores) · Williams 1992 (score function) ·
# Bengio et al. 2013 (straight-through) · Xu et al. 2015 (hard attention) · Milakov and
# Gimelshein 2018 (online softmax) · Dao et al. 2022 (*FlashAttention*).

# %%
al.checks.summary("attention_maths")
