# %% [markdown]
# # 02 Attention from scratch
#
# **What exactly happens inside one layer of BERT, and can you rebuild it so that the
# same numbers come out?** You write the layer piece by piece in plain PyTorch, until
# your code gives the answers of a real BERT: MiniLM, a small one of 6 layers. Then you
# look at what its heads do, and find faults that we plant in it.
#
# Afterwards you can
#
# - write attention within one text and between two (*self-* and *cross-attention*), for
#   a *batch*, that is, several texts at once;
# - mask the future and the padding, even for a query that has no key left;
# - split a layer into heads, and say what a wrong reshape does;
# - rebuild the layers of a trained model, and find a fault by comparing part by part;
# - recognise and measure heads that look one token back, and *attention sinks*, tokens
#   that draw much weight whatever they mean;
# - send gradients back through attention (appendix A).
#
# Time: about two hours, 60 minutes of them for eight exercises; the last is in appendix
# A. You need lessons [00](00_start_here.ipynb) and [01](01_attention_maths.ipynb).
# Choose **Run → Run All Cells** first. Later cells use your answers once they are
# right, ours until then. Folded code need not be read; a click opens it.

# %% folded=true
# the libraries
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al
from attnlab.show import drawings

# %%
clf = al.load_classifier("movie-sentiment")
bert = clf.model.bert
width, heads = bert.config.hidden_size, clf.heads  # E and H
print(f"{clf.layers} layers; width {width} = {heads} heads x {width // heads}")

# %% [markdown]
# ## 1. Where does a head look?
#
# This BERT has 6 layers with 12 heads each. `clf.attend(text)` returns its **maps**,
# the weights of all heads. Here is one of them, for a film review.
#
# Each row is a token that asks (a *query*), each column a token that is looked at (a
# *key*). The weights of a row say where its token looks, and sum to 1; one below 0.005
# is left blank. `[CLS]` and `[SEP]` stand before and after every text.
#
# Choose other heads: where do they look? *Effective keys*, at the right of the desk,
# say over how many tokens a row spreads, as in lesson 01. The masks come in section 3.

# %%
text = "The second half is slow, but the ending stays with you."
maps = clf.attend(text)
al.MaskDesk(maps, layer=3, head=0)

# %% [markdown]
# ## 2. How does one head serve all words at once?
#
# Each row of the map is one look-up, as in lesson 01. Take three words, *not so bad*.
# Each is a row of the table X. Its three numbers say whether it negates (*neg.*), how
# good it is (below 0 is bad), and whether it modifies another word (*mod.*).
#
# Three matrices, set by hand, turn each row into a query, a key and a value:
#
# - the **query** is what it looks for: *bad* seeks a negation, *not* and *so* a bad
#   word;
# - the **key** is what others find it by;
# - the **value** is what it passes on.

# %%
words = ["not", "so", "bad"]
x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.0, -2.0, 0.0]])
w_query = torch.tensor([[0.0, 1.5], [-1.5, 0.0], [0.0, 1.5]])
w_key = torch.tensor([[1.0, 0.0], [0.0, -0.5], [0.0, 0.0]])
w_value = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]])

# %% folded=true
# the picture: X times each of the three matrices
meaning = {
    "x": ["neg.", "good", "mod."],
    "query": ["negation", "bad"],
    "key": ["negation", "bad"],
    "value": ["reverse", "good"],
}
matrices = {"query": w_query, "key": w_key, "value": w_value}
drawings.projections(words, x, matrices, meaning)

# %% [markdown]
# Why is the query of *bad* (3, 0)? *Bad* has good = −2. The middle row of $W_Q$
# multiplies this by −1.5, and gives 3 under *negation*: a bad word seeks a negation.
# The other two rows make a word that negates or modifies seek a bad word: for *not*
# that is 1 · 1.5 + 1 · 1.5 = 3, for *so* 2 · 1.5 = 3. In a trained model no column has
# a name.
#
# In all drawings queries are blue, keys orange, values green and weights purple. Below
# each table stands its shape.
#
# Three steps lead from Q, K and V to the *contexts*, what each word fetches. Follow
# *bad*, the framed row:

# %%
drawings.attention_steps(words, x @ w_query, x @ w_key, x @ w_value, follow=2)

# %% [markdown]
# 1. **Scores.** The query of *bad* is (3, 0), the key of *not* is (1, 0). The score is
#    $(3 \cdot 1 + 0 \cdot 0) / \sqrt 2 = 2.1$. The other two scores are 0.
# 2. **Softmax.** *Bad* gives *not* the weight 0.81.
# 3. **Mixture.** The context of *bad*, (0.8, −0.1), mostly says "reverse": *bad* has
#    found a *not*.
#
# The three steps are the formula of lesson 01. $A$ holds the weights, $C$ the contexts,
# and $D$ is how many numbers a query or key has, here 2:
#
# $$ A = \text{softmax}(Q K^\top / \sqrt{D}), \qquad C = A V $$

# %% [markdown]
# You write it for a whole batch of texts. The letters for sizes:
#
# - $B$, $T$: texts of a batch, tokens of a text;
# - $H$, $L$: heads of a layer ($n$ in lesson 01), layers of the model;
# - $T_q$, $T_k$: queries and keys; they differ if queries come from another text;
# - $D$, $D_v$: numbers in a query or key ($d_k$ in lesson 01), and in a value;
# - $E = H \cdot D$: numbers in the vector of a token ($d$ in lesson 01);
# - $W$, in names of shapes only: any width.
#
# In queries, keys, values and contexts the last two axes are tokens and width, `(...,
# T, D)`; in scores, weights and masks they are queries and keys. Address them as `-2`
# and `-1`, and the same code serves batches and heads.

# %% [markdown]
# ### Exercise 1: attention
#
# *Difficulty 2 of 5, 5 minutes.* Return the context and the weights, also for more keys
# than queries and for wider values. You may use PyTorch's softmax, but no ready-made
# attention.


# %% exercise="attention" points=2
def attention(query, key, value):
    """Context (..., T_q, D_v) and weights (..., T_q, T_k).

    query (..., T_q, D), key (..., T_k, D), value (..., T_k, D_v)
    """
    ### BEGIN SOLUTION
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5  # (..., T_q, T_k)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights
    ### END SOLUTION


# %% check="attention"
al.checks.attention(attention)

# %% [markdown] hints="attention"
# First the scores: a matrix product of queries with keys, whose last two axes must
# change places. They are divided by the root of the *width of a key*.
#
# ---
# The softmax runs over the keys, the last axis. Then each row of weights mixes the rows
# of `value`: again a matrix product. Return the context first.

# %% [markdown]
# Does your function give BERT's own weights? Try it in layer 3 head 0, the head of
# section 1. The layer makes queries, keys and values from **hidden states**, the token
# vectors that the layer before hands over.
#
# Two folded functions fetch them: `projected` gives a layer's queries, keys and values
# (`qkv`), `head` takes the columns of one head.

# %% folded=true
# reads out a layer, and cuts out a head
head_width = width // heads  # D


def projected(layer, *texts):
    """A layer's queries, keys, values, (B, T, E) each; real tokens, bool (B, T)."""
    batch = clf.tokenizer(list(texts), padding=True, return_tensors="pt")
    batch = batch.to(clf.device)
    bert_attention = bert.encoder.layer[layer].attention.self
    names = ("query", "key", "value")
    with torch.no_grad():
        states = bert(**batch, output_hidden_states=True).hidden_states[layer]
        qkv = [getattr(bert_attention, name)(states) for name in names]
    return *qkv, batch["attention_mask"].bool()


# %% folded=true
def head(number, qkv):
    """Of queries, keys and values, the columns of one head."""
    start = number * head_width
    return [part[..., start : start + head_width] for part in qkv]


# %% [markdown]
# Now your function computes the whole map of this head. It is called `my_attention`
# here. From here on this name is yours if it is right, ours if not; later exercises
# follow the same rule.

# %%
my_attention = al.checks.yours_or_ours(
    "attention", attention, al.attention.scaled_dot_product_attention
)
*qkv, _ = projected(3, text)  # (1, T, E) each
query, key, value = head(0, qkv)  # (1, T, D) each
context, weights = my_attention(query, key, value)
al.plots.rebuilt_map(maps, layer=3, head=0, weights=weights[0])

# %% [markdown]
# On the right each dot is one weight. All lie on the line: your map is BERT's, to
# rounding.
#
# On the left two columns are bright: that of `[CLS]`, in most rows, and that of the
# word *but*, in most rows above its own. Section 6 asks what the first means; the
# second we do not follow.

# %% [markdown]
# So far queries, keys and values came from one text: **self-attention**. In
# **cross-attention** keys and values come from another, as when a translation looks at
# its source.
#
# Your function does both. The next cells call it on one text, then on two. BERT never
# learned cross-attention, so only the shapes mean something here.

# %%
*other_qkv, _ = projected(3, "A slow start with a moving end.")  # (1, T_k, E) each
_, other_key, other_value = head(0, other_qkv)  # (1, T_k, D) each
results = {
    "self-attention": my_attention(query, key, value),
    "cross-attention": my_attention(query, other_key, other_value),
}

# %% folded=true
# the picture: the shapes of both, to scale
sizes = {
    name: (*weights.shape[1:], head_width, context.shape[-1])
    for name, (context, weights) in results.items()
}
drawings.attention_shapes(sizes)

# %% [markdown]
# The other text has fewer tokens, so there are fewer keys. The context still has one
# row for each *query*.
#
# There is a weight for each pair of query and key. So in self-attention a text twice as
# long has four times as many.

# %% [markdown]
# ## 3. Who may look where? Masks
#
# So far each query looks at every key. Three things may have to be hidden:
#
# - **the future**, if a model learns to predict the next token;
# - **distant tokens**, if a model is to look nearby only: in a *window of 1* a token
#   sees itself and a neighbour on either side;
# - **padding**: `[PAD]` only fills up the texts of a batch to one length.
#
# Why the future? A model that could see the next token would only learn to copy it.
# With the future hidden it has to predict, and one pass through a text trains it on all
# the predictions of this text (appendix B).
#
# A mask says for every pair of query and key: may this query look at this key? It is a
# tensor (PyTorch's array) of `bool`, **True where looking is allowed**. Each of the
# three masks takes one line of code. `i[:, None]` is a column of the queries'
# positions, `i` a row of the keys'; comparing them gives all pairs:
#
# <details><summary>For the expert: PyTorch's masks, and what a window saves</summary>
#
# `F.scaled_dot_product_attention` reads a mask the same way; for
# `nn.MultiheadAttention` True means *hidden*. A window saves work only if the rest is
# never computed; a mask alone saves nothing.
#
# </details>

# %%
i = torch.arange(5)  # the positions
causal = i[:, None] >= i  # (T, T): a query sees no key that is later
near = (i[:, None] - i).abs() <= 1  # (T, T): no key more than one place away
no_padding = (i < 3)[None]  # (1, T): the first three tokens are real

# %% [markdown]
# The functions that later cells call make the same masks:

# %%
assert causal.equal(al.attention.causal_mask(5))
assert near.equal(al.attention.local_mask(5, window=1))
assert no_padding.equal(al.attention.padding_mask(torch.tensor([3]), max_length=5)[0])

# %% [markdown]
# In the drawing the True squares are filled:

# %% folded=true
# the picture: the three masks over a short text
padded = ["a", "quiet", "film", "[PAD]", "[PAD]"]
drawings.mask_grids(
    {
        "causal: is it no later?": causal,
        "window of 1: a neighbour?": near,
        "padding: a real token?": no_padding.expand(5, 5),
    },
    padded,
)

# %% [markdown]
# Read a mask row by row. In the causal one *quiet* sees *a* and itself. In the padding
# mask all rows are alike: nobody looks at `[PAD]`.
#
# So one row is enough for padding. Masks **broadcast**: an axis of length 1 is
# repeated, here for every query. And `&` joins two masks:

# %%
drawings.joined_masks(near, no_padding, padded)

# %% [markdown]
# The last `[PAD]` may look nowhere: it and its neighbour are both padding.
#
# A batch has a padding mask `(B, 1, T)`, a row for each text. A mask `(T, T)` serves
# every text: axes that are missing in front are repeated too. Scores with heads have
# four axes, `(B, H, T, T)`; there the padding mask becomes `(B, 1, 1, T)`, one row for
# all heads and queries of a text.

# %% [markdown]
# ### Before the softmax, or after it?
#
# How does a mask act on scores? The weights of the keys that are *left* must sum to 1.
# So a hidden key gets the score $-\infty$ **before** the softmax. Its weight is then 0,
# as $e^{-\infty} = 0$.
#
# The drawing compares the right order with the wrong one:

# %% folded=true
# the picture: both orders, for one row of scores
drawings.mask_first(
    padded[:4],
    scores=torch.tensor([2.0, 1.0, 0.0, 3.0]),
    mask=torch.tensor([True, True, True, False]),
)

# %% [markdown]
# In the upper row the words share the whole weight. In the lower row `[PAD]` took most
# of it before it was hidden: the weights of the words sum to 0.36 only.
#
# Here is the desk again. It hides the future in BERT's map, but only *after* the
# softmax. Look at the row sums: those in red have lost weight. The first *the* keeps
# almost nothing, as it looked mostly at *but*, which comes later. (Its effective keys
# are counted as if what is left were scaled to 1.)
#
# Now put the mask *before* the softmax, and watch the sums. Then try the other masks:

# %%
masked = al.MaskDesk(maps, layer=3, head=0)
masked.set(causal=True, place="after")
masked

# %% [markdown]
# What if a query may look *nowhere*? All its scores are $-\infty$. The softmax first
# subtracts the largest score, and $-\infty - (-\infty)$ is NaN, "not a number". As $0
# \times$ NaN is NaN, the next layer spreads it to every query, even to those that may
# not look at this token. It also happens if a causal mask meets padding on the *left*,
# where language models, which write a text token by token, put it to write several
# texts at once: then the first query sees nothing but padding.
#
# The clean answer is a row of zeros.
#
# <details><summary>Why not mend the row sum? Why not a large negative score?</summary>
#
# Dividing by the sum would mend the lower row. But if a hidden score is larger than all
# visible ones by 110, the sum is 0 in float32, PyTorch's usual precision.
#
# With a large negative number instead of $-\infty$ a query with nothing to see still
# looks at hidden keys. If the number *replaces* the scores, all keys get the same
# weight. If a number such as −10,000 is *added*, the weights are those without a mask.
# The problem is hidden, not solved.
#
# </details>
#
# <details><summary>How far does a NaN spread, also backward?</summary>
#
# In the next layer to every real token of its text, then to the loss, and through
# gradients to almost every learned number. Going backward, `masked_fill` passes the
# gradient 0 to what it fills, even where NaN arrives; a product with 0 would pass on
# NaN.
#
# </details>

# %% [markdown]
# ### Exercise 2: masked softmax
#
# *Difficulty 3 of 5, 8 minutes.* Return weights over the last axis. Hidden keys get
# exactly 0, a row in which everything is hidden gets zeros, and gradients stay finite.
# The mask broadcasts.


# %% exercise="masked_softmax" points=3
def masked_softmax(scores, mask):
    """Weights (..., T_q, T_k); mask is bool, broadcastable, True where allowed."""
    ### BEGIN SOLUTION
    hidden = ~mask
    weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
    return weights.masked_fill(hidden, 0.0)  # mends rows of NaN, changes no other
    ### END SOLUTION


# %% check="masked_softmax"
al.checks.masked_softmax(masked_softmax)

# %% [markdown] hints="masked_softmax"
# Which score has the exponential 0? `masked_fill` writes it where a mask is True, into
# a new tensor; `masked_fill_` with an underscore would change the input.
#
# ---
# After the softmax a row with nothing to see is NaN everywhere, and hidden everywhere.
# All other hidden weights are 0 already. So what can you write into *all* hidden
# places?

# %% [markdown]
# The next cells put your softmax into your attention. `x.mT` exchanges the last two
# axes of `x`.

# %%
my_masked_softmax = al.checks.yours_or_ours(
    "masked_softmax", masked_softmax, al.attention.softmax
)


# %%
def masked_attention(query, key, value, mask=None):
    """Exercise 1 with a mask, broadcastable to (..., T_q, T_k); None hides nothing."""
    if mask is None:
        return my_attention(query, key, value)
    scores = query @ key.mT / key.shape[-1] ** 0.5  # (..., T_q, T_k)
    weights = my_masked_softmax(scores, mask)
    return weights @ value, weights


# %% [markdown]
# How much weight would padding take without a mask? BERT reads two texts in one batch,
# and the short one is padded. The next cell adds up what its words give to padding,
# without a mask and with yours.

# %%
two_texts = [text, "A joy."]
*batch_qkv, real = projected(3, *two_texts)  # (B, T, E) each; real (B, T)
masks = {"without a mask": None, "with your mask": real[:, None]}  # (B, 1, T)
for name, mask in masks.items():
    _, weights = masked_attention(*head(0, batch_qkv), mask)  # (B, T, T)
    of_words = weights[1, real[1]]  # the rows of the short text's real tokens
    share = of_words[:, ~real[1]].sum(-1).mean()  # their weight on padding
    print(f"{name}: {share:.0%} of the weight of the short text falls on padding")

# %% [markdown]
# Padding would take 43 % of the short text's weight in this head. Your mask leaves it
# nothing.

# %% [markdown]
# ## 4. Why several heads, and how are they cut?
#
# One softmax gives a word one set of weights, which sum to 1. But a word may ask two
# things. In *not so bad* let *bad* look for a negation, for a bad word, and then for
# both at once. Keys and values are those of section 2:

# %%
asked = {"negation": (3.0, 0.0), "bad word": (0.0, 3.0), "both at once": (3.0, 3.0)}
toy_queries = torch.tensor(list(asked.values()))  # (3, D)
toy_contexts, toy_weights = my_attention(toy_queries, x @ w_key, x @ w_value)

# %% folded=true
# the table: weights and contexts, and the context if both values shared one place
frame = pd.DataFrame(toy_weights, list(asked), [f"weight of {word}" for word in words])
frame[["context: reverse", "context: good"]] = toy_contexts
frame["if in one place"] = toy_contexts.sum(-1).round(decimals=6) + 0.0  # no −0
al.plots.table(frame.rename_axis("asked"), **dict.fromkeys(frame.columns, 2))

# %% [markdown]
# Asked alone, each question gives its answer the weight 0.81. Asked together they must
# share, and each answer comes with 0.47, little more than half its strength.
#
# Still both answers can be read, as each has a place of its own in the value. If they
# had to share one place, the two numbers would be added, as in the last column: asked
# together they cancel, as if nothing had been found. Two look-ups side by side keep
# both answers, at full strength.
#
# So a layer has several **heads**, each with queries, keys and values of its own. They
# are narrow: twelve heads of 32 numbers have as many parameters, learned numbers, as
# one of 384.
#
# One matrix product makes the queries of all heads: columns $0$ to $D - 1$ belong to
# head 0, the next $D$ to head 1, and so on. Keys and values are made likewise.
#
# First the slow way, with the two texts of section 3, in layer 3: take the heads one by
# one, and put their contexts side by side.

# %%
contexts = []
for number in range(heads):
    context, _ = masked_attention(*head(number, batch_qkv), real[:, None])  # (B, T, D)
    contexts.append(context)
by_loop = torch.cat(contexts, dim=-1)  # (B, T, H * D)
print(f"{heads} contexts side by side: {tuple(by_loop.shape)}")

# %% [markdown]
# All heads stand in one tensor: 2 texts, 15 tokens, 12 × 32 = 384 numbers for each.
#
# One call of attention can serve all heads, if they stand in front of the tokens, like
# a batch. Take the queries of three tokens and two heads. Each number is 100 × token +
# column, so you see where it came from. The columns of head 0 are shaded:

# %%
drawings.head_slices()

# %% [markdown]
# Right: head 0 has columns 0 and 1 of every token. Wrong: `reshape` alone gives the
# same shape and no error. But its head 0 holds pieces of token 0 as if they were two
# tokens, and nothing of token 2.

# %% [markdown]
# ### Exercise 3: split heads
#
# *Difficulty 2 of 5, 4 minutes.* Cut the width into heads and move them before the
# tokens, without a loop.


# %% exercise="split_heads" points=2
def split_heads(x, heads):
    """(B, T, H * D) to (B, H, T, D); head h holds columns h D to (h + 1) D - 1."""
    ### BEGIN SOLUTION
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
    ### END SOLUTION


# %% check="split_heads"
al.checks.split_heads(split_heads)

# %% [markdown] hints="split_heads"
# Two steps: cut the last axis in two, then transpose two axes.
#
# ---
# The cut gives `(B, T, H, D)`, in this order. Which axes must be swapped to reach
# `(B, H, T, D)`?

# %% [markdown]
# Does one cut give what the loop gave? `merge_heads` is the way back, the two steps in
# reverse order; in practice, call `al.attention.merge_heads`. The next cells cut,
# attend once and merge.


# %%
def merge_heads(x):
    """(B, H, T, D) to (B, T, H * D): puts the heads side by side again."""
    side_by_side = x.transpose(1, 2)  # (B, T, H, D)
    return side_by_side.flatten(2)


# %%
my_split_heads = al.checks.yours_or_ours(
    "split_heads", split_heads, al.attention.split_heads
)
q, k, v = (my_split_heads(part, heads) for part in batch_qkv)  # (B, H, T, D) each
context, _ = masked_attention(q, k, v, real[:, None, None])  # (B, H, T, D)
merged = merge_heads(context)  # (B, T, H * D)
largest = (merged - by_loop).abs().max()
print(f"one cut: differs from the loop by at most {largest:.0e}")
assert largest < 1e-4

# %% [markdown]
# The cut agrees with the loop. And a reshape alone? The next cell makes that mistake on
# purpose, first when it splits, then also when it merges. The *cosine* with the right
# result is 1 if both point the same way, and 0 at right angles.

# %%
texts, tokens = real.shape
shape = (texts, heads, tokens, head_width)  # (B, H, T, D)
wrong_q, wrong_k, wrong_v = (part.reshape(shape) for part in batch_qkv)  # no transpose
torn, _ = masked_attention(wrong_q, wrong_k, wrong_v, real[:, None, None])
wrong = {
    "split by reshape": merge_heads(torn),
    "split and merged by reshape": torn.reshape(by_loop.shape),  # no way back
}
for name, result in wrong.items():
    pair = result[real].flatten(), by_loop[real].flatten()
    print(f"{name}: cosine {F.cosine_similarity(*pair, dim=0):.2f}, no error, no NaN")
    assert not result.isnan().any()

# %% [markdown]
# Both are far from the right result, and PyTorch says nothing. With 15 tokens and 12
# heads, each wrong head holds the pieces of hardly more than one token, so tokens
# hardly see each other. Merged by a reshape too, the pieces at least return to their
# own token.
#
# Now all together, for a text of 15 tokens in BERT. To *project* is to multiply with a
# learned matrix. Three projections make Q, K and V. At the end the contexts of the
# heads are *merged*, that is, put side by side. A fourth, the **output projection**
# $W^O$, mixes them.
#
# The drawing shows self-attention, without the batch and most of the 12 heads.

# %%
drawings.multi_head(tokens=15, width=width, heads=heads)

# %% [markdown]
# Head $h$ meets only its own block of rows of $W^O$, called $W^O_h$. So up to a *bias*,
# a learned vector that is added at the end, the result is a sum over the heads,
# $\sum_h A_h V_h W^O_h$. Is it?

# %%
w_output = bert.encoder.layer[3].attention.output.dense.weight.T.detach()  # (E, E)
blocks = w_output.split(head_width)  # H of (D, E)
head_sum = sum(c @ block for c, block in zip(contexts, blocks, strict=True))
error = (head_sum - merged @ w_output).abs().max()
print(f"sum over heads, and merged then projected: differ by at most {error:.0e}")
assert error < 1e-4

# %% [markdown]
# ### Exercise 4: multi-head attention
#
# *Difficulty 3 of 5, 10 minutes.* Write the `forward` of the drawing from
# `my_split_heads` (exercise 3), `masked_attention` (exercises 1 and 2) and
# `merge_heads`. The four *linear layers* are there: each multiplies with a matrix and
# adds a learned vector, its *bias*. (An `nn.Module` is PyTorch's class for a part of a
# network. To run one, call it like a function: `self.query(query)` runs its `forward`.)
#
# `mask` is None, `(T_q, T_k)`, `(B, 1, T_k)`, or `(B, T_q, T_k)`, which section 6 uses.
# The scores of all heads are `(B, H, T_q, T_k)`. The check compares with PyTorch's
# `nn.MultiheadAttention`, forward and backward.


# %% exercise="MultiHead" points=4
class MultiHead(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query, key, value, mask=None):
        """Query (B, T_q, width), key and value (B, T_k, width) to (B, T_q, width)."""
        ### BEGIN SOLUTION
        projected = self.query(query), self.key(key), self.value(value)
        q, k, v = (my_split_heads(x, self.heads) for x in projected)
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        context, _ = masked_attention(q, k, v, mask)
        return self.output(merge_heads(context))
        ### END SOLUTION


# %% check="MultiHead"
al.checks.MultiHead(MultiHead)

# %% [markdown] hints="MultiHead"
# In this order: three projections, three splits, attention, one merge, the output
# projection. `masked_attention(q, k, v, mask)` returns context and weights, and divides
# by the root of the width it is given: after the split, that of one head.
#
# ---
# Which masks fit the scores as they are? `(T_q, T_k)` does. `(B, 1, T_k)` has its batch
# where the scores have their heads: `mask[:, None]` makes it `(B, 1, 1, T_k)`.

# %% [markdown]
# ## 5. From attention to a whole BERT
#
# What else is in a layer? It has two **sublayers**, attention and a feed-forward
# network. Each computes something, adds it to its input, and normalises the sum:

# %%
drawings.one_layer(width, heads, bert.config.intermediate_size)

# %% [markdown]
# - The **residual connection** adds the input itself. A sublayer only has to say what
#   should *change*; and gradients have a short way past it.
# - The **feed-forward network** works on each token alone. It makes the vector four
#   times as wide (`up`), applies a **GELU**, and makes it narrow again (`down`). A GELU
#   is a smooth form of $\max(0, x)$: large numbers pass, negative ones hardly.
# - The **layer norm** works on each token alone too. It brings the token's numbers to
#   the mean 0 and the variance 1:

# %%
drawings.norm_steps([1, 3, 5, 7])

# %% [markdown]
# A tiny $\varepsilon$, `eps`, is added to the variance before the root, so that nothing
# is divided by 0. Then the norm multiplies by a learned gain, and adds a learned bias.
#
# <details><summary>Which of the two sublayers is larger?</summary>
#
# Attention has four matrices $E \times E$; `up` and `down` are each as large as these
# four together. So attention has a third of a layer's learned numbers.
#
# </details>
#
# <details><summary>For the expert: linear or not, pre-norm, dropout</summary>
#
# Attention mixes values *between* tokens, linearly for given weights; the feed-forward
# network is not linear. BERT normalises after each addition (*post-norm*). Most later
# models, those of lessons 03 and 04 too, normalise the input of each sublayer instead
# (*pre-norm*): then no norm stands in the gradients' way past the sublayers, and deep
# models train more steadily (Xiong et al. 2020). **Dropout** is left out here: a model
# in use, after `eval()`, has none. In training it sets a random tenth of the attention
# weights and sublayer outputs to 0, and divides the rest by 0.9.
#
# </details>

# %% [markdown]
# ### Exercise 5: an encoder layer
#
# *Difficulty 3 of 5, 10 minutes.* Write the layer of the drawing. An *encoder* is a
# Transformer that reads a whole text at once, like BERT. `attend`, `up` and `down` are
# functions of one tensor; `attend` is a whole multi-head attention. Write the norms
# yourself, without PyTorch's `layer_norm`. Each norm is a pair (gain, bias). You may
# use `F.gelu`.


# %% exercise="encoder_layer" points=3
def encoder_layer(x, attend, up, down, norms, eps=1e-12):
    """One layer of BERT, (B, T, E) to (B, T, E).

    attend: (B, T, E) to (B, T, E); up to (B, T, 4 E), down back to (B, T, E)
    norms: two pairs (gain, bias), each (E,), after attention and after `down`
    """
    ### BEGIN SOLUTION

    def norm(y, gain, bias):
        mean = y.mean(-1, keepdim=True)
        variance = (y - mean).square().mean(-1, keepdim=True)
        return gain * (y - mean) / (variance + eps).sqrt() + bias

    x = norm(x + attend(x), *norms[0])
    return norm(x + down(F.gelu(up(x))), *norms[1])
    ### END SOLUTION


# %% check="encoder_layer"
al.checks.encoder_layer(encoder_layer)

# %% [markdown] hints="encoder_layer"
# Begin with the norm, as a small function of its own. Mean and variance run over the
# last axis, with `keepdim=True`. `var` divides by the width less 1 unless you tell it
# `correction=0`.
#
# ---
# Follow the arrows of the drawing: what goes into the first `+`? Its normalised sum is
# both the input of `up` and what is added after `down`.

# %% [markdown]
# Now the whole model: six of your layers, with BERT's **parameters**, the numbers that
# it has learned. The grey parts are short, and given below:
#
# - the **embeddings** look up a vector for each token, by its number in the vocabulary,
#   the list of all tokens (`input_ids`), and add one for its position (lesson 01 said
#   why) and one for its *segment*, which tells two texts apart; a norm follows;
# - the **pooler**, a linear map and a *tanh* (an S-shaped function that ends at −1 and
#   1), prepares the vector of `[CLS]` alone, and the **classifier** makes the
#   **logits** of it, one score for each label. The two are lesson 00's read-out.

# %%
drawings.rebuilt_model(clf.layers, list(clf.label_names))


# %%
def embed(tokens):
    """From token numbers (B, T) to the first token vectors, (B, T, E)."""
    table = bert.embeddings
    x = table.word_embeddings.weight[tokens]  # (B, T, E)
    x = x + table.position_embeddings.weight[: tokens.shape[1]]  # (T, E), for all texts
    return table.LayerNorm(x + table.token_type_embeddings.weight[0])  # one segment


def read_out(states):
    """From hidden states (B, T, E) to logits (B, 2)."""
    pooled = bert.pooler.dense(states[:, 0]).tanh()  # (B, E), of [CLS]
    return clf.model.classifier(pooled)


# %%
MyMultiHead = al.checks.yours_or_ours(
    "MultiHead", MultiHead, al.attention.MultiHeadAttention
)
my_encoder_layer = al.checks.yours_or_ours("encoder_layer", encoder_layer)

# %% [markdown]
# Your `encoder_layer` wants four things: `attend`, `up`, `down` and the norms.
# `parts_of` takes them from a layer of BERT. It makes an attention of your class, and
# copies BERT's four linear layers into it:


# %%
def parts_of(layer, attention_class, mask):
    """The parts of a BERT layer: attend, up, down, norms, as in exercise 5."""
    theirs, mine = layer.attention, attention_class(width, heads)
    for name in ("query", "key", "value"):
        getattr(mine, name).load_state_dict(getattr(theirs.self, name).state_dict())
    mine.output.load_state_dict(theirs.output.dense.state_dict())
    mine.eval().to(clf.device)
    both = theirs.output.LayerNorm, layer.output.LayerNorm
    norms = [(norm.weight, norm.bias) for norm in both]
    up, down = layer.intermediate.dense, layer.output.dense
    return lambda x: mine(x, x, x, mask), up, down, norms


# %% [markdown]
# `run` puts six of your layers one after the other:


# %%
def run(attention_class, x, mask):
    """From embeddings to the hidden states after the last layer, (B, T, E) each."""
    for layer in bert.encoder.layer:
        attend, up, down, norms = parts_of(layer, attention_class, mask)
        x = my_encoder_layer(x, attend, up, down, norms)
    return x


# %% [markdown]
# Are your logits BERT's? The next cells give both models the same two texts, and print
# the largest difference.

# %% folded=true
# the two texts as a batch, and its mask
batch = clf.tokenizer(two_texts, padding=True, return_tensors="pt")
batch = batch.to(clf.device)
visible = batch["attention_mask"].bool()[:, None]  # (B, 1, T): real tokens, no padding

# %%
with torch.no_grad():
    expected = clf.model(**batch).logits
    states = run(MyMultiHead, embed(batch["input_ids"]), visible)
    logits = read_out(states)
print(f"logits: largest difference {(logits - expected).abs().max():.0e}")
for review, row in zip(two_texts, logits.softmax(-1), strict=True):
    print(f"{clf.label_names[row.argmax()]} ({row.max():.0%}): {review}")
assert torch.allclose(logits, expected, atol=1e-4)

# %% [markdown]
# Your logits are BERT's, to rounding: the whole model is rebuilt, six layers by you.
# Appendix A rebuilds its gradients.
#
# Lesson 00 walked through BERT at a desk. You have now written its steps 3 to 5, save
# the linear layers, which PyTorch gave. Walk through it again, with a sentence of your
# own. At first *is* asks; follow its thick purple line to *but*:

# %%
al.FlowDesk(clf, text, layer=3, head=0, step="projections")

# %% [markdown]
# *A good place for a break.* The layers are rebuilt; the next two sections ask what
# they do, and how to find a fault in them.
#
# ## 6. What do the heads look at?
#
# You have BERT's numbers. What do they say? Here are three of its heads. Answer the
# question in the title before you read on:

# %%
short = clf.attend("Slow at first, but it stays with you.")
question = "Which head looks one token back, one ahead, and mostly at [CLS]?"
al.plots.chosen_heads(short, [(0, 2), (1, 8), (2, 9)], title=question)

# %% [markdown]
# - Layer 0 head 2 (L0H2 in lesson 00) has a line just below the diagonal. It looks at
#   the token before: a **previous-token head**.
# - Layer 1 head 8 (L1H8) has its line just above. It looks at the token after, less
#   strictly.
# - Layer 2 head 9 has a bright column. It looks mostly at `[CLS]`: it *rests* on it.
#
# Find more of each kind yourself. *Layer* chooses a layer. A double click on a coloured
# square shows one head alone, and pointing at a word shows its lines. The still picture
# is the mean of the heads of layer 2.

# %%
al.attention_view(maps, layers=[0, 1, 2], layer=2)

# %% [markdown]
# Here are the 36 heads of these layers at a glance, a layer in each row. In each small
# map queries go down and keys across. The colour scale is stretched, so that small
# weights show. Heads of one layer look at different things: L0H2 at the token before,
# its two neighbours at nearly everything.

# %%
al.plots.attention_grid(maps, layers=[0, 1, 2])

# %% [markdown]
# ### What does a bright column mean?
#
# The token may matter. Or it is an **attention sink**: queries of every kind look at
# it, whatever it means, and often it adds little. Is `[CLS]` a sink, or does it matter?
#
# First: do many heads look at it? Here is each head's mean weight on it, over all
# queries of four sentences. An even share would be about 0.07.

# %% folded=true
sentences = [  # the four sentences
    text,
    "Nobody in this story behaves like anybody you have met.",
    "A quiet film that trusts its actors and its silence.",
    "The jokes are old, the songs are new, and neither is good.",
]

# %%
readings = [clf.attend(sentence) for sentence in sentences]
columns = [reading.weights[..., 0] for reading in readings]  # of [CLS], (L, H, T)
means = [column.mean(-1) for column in columns]  # over the queries, (L, H)
on_cls = torch.stack(means).mean(0)  # over the sentences, (L, H)

# %% folded=true
# the picture: each head's mean weight on [CLS]
al.plots.head_map(
    on_cls.numpy(), label="mean weight on [CLS]", title="Who rests on [CLS]?"
)

# %% [markdown]
# Many do, above all in layer 2.
#
# Second: does so much weight carry much? For each query a head adds up *weight ×
# vector* over its keys. The vector is the key's value times $W^O_h$, the head's block
# of the output projection. So two things count, and what is added is the area.
# Kobayashi et al. 2020 introduced this measure for BERT.

# %%
drawings.weight_times_vector({"[CLS]": (0.6, 0.2), "a word": (0.1, 4.0)})

# %% [markdown]
# In this made-up example `[CLS]` has more weight, and yet adds less.
#
# And in BERT? On the left are two shares of `[CLS]`, over all heads of a layer: of the
# weight, and of these areas. On the right is the length of the vector, which a head
# would add with the weight 1.
#
# <details><summary>For the expert: lengths are not effects</summary>
#
# Lengths are added here, so vectors that cancel are counted twice. And what a layer
# adds is then added to its input and normalised.
#
# </details>

# %%
al.plots.sink(readings)

# %% [markdown]
# **For its weight `[CLS]` adds little**: in layers 1 to 5 it has 39 to 63 % of the
# weight, but only 3 to 7 % of what is added; an even share is 7 %. That is the mark of
# a sink. The reason is its short vector: in layer 2 its length is 0.2, against 4.2 for
# a word, on average.
#
# All this is about `[CLS]` as a *key*. As a query it gathers what the answer is read
# from (section 5).
#
# Third: would the answer miss it? A mask gives a first answer. In all six of your
# layers `[CLS]` is hidden from all other tokens; it still sees itself, and still
# gathers. That does two things at once: what `[CLS]` says is gone, and its weight goes
# to the other tokens. How many of 200 reviews does your model then classify correctly?
#
# Two more runs serve as a comparison: they hide `[SEP]`, which is in every text too,
# and the first word. The table says how much weight each of the three has in 50 of
# these reviews, the mean over all heads. The runs take about a minute.

# %% folded=true
# the reviews as a batch, their labels, and their mask
reviews = al.datasets.load("movie-sentiment").dev.sample(200)
many = clf.tokenizer(list(reviews.texts), padding=True, return_tensors="pt")
many = many.to(clf.device)
labels = torch.tensor(reviews.labels, device=clf.device)
allowed = many["attention_mask"].bool()[:, None]  # (B, 1, T)


# %% folded=true
# hides a token, and counts right answers
def hide(place):
    """A mask (B, T, T) that hides one token of each text from all others."""
    texts, _, tokens = allowed.shape
    mask, every = allowed.expand(-1, tokens, -1).clone(), torch.arange(texts)
    mask[every, :, place] = False  # no query may look there
    mask[every, place, place] = True  # but its own
    return mask


def is_right(mask):
    """Whether your model classifies each review correctly, bool (B,)."""
    with torch.no_grad():
        logits = read_out(run(MyMultiHead, embed(many["input_ids"]), mask))  # (B, 2)
    return logits.argmax(-1) == labels


# %%
first = torch.zeros(len(labels), dtype=int, device=clf.device)  # (B,), place of [CLS]
last = allowed.sum(-1)[:, 0] - 1  # that of [SEP], as padding follows
right = is_right(allowed)
still_right = {
    "[CLS]": is_right(hide(first)),
    "[SEP]": is_right(hide(last)),
    "first word": is_right(hide(first + 1)),
}

# %% folded=true
# the table, with the weight of each token: mean over heads, queries and 50 reviews
given = [clf.attend(review).weights.mean((0, 1, 2)) for review in reviews.texts[:50]]
none = float("nan")
rows = {"nothing": (none, 100 * float(right.float().mean()), none, none)}
for (name, still), column in zip(still_right.items(), (0, -1, 1), strict=True):
    share = sum(float(weights[column]) for weights in given) / len(given)
    lost, won = int((right & ~still).sum()), int((~right & still).sum())
    rows[name] = 100 * share, 100 * float(still.float().mean()), lost, won
decimals = {"its weight, %": 0, "right, %": 1, "lost": 0, "won": 0}
frame = pd.DataFrame(rows, index=list(decimals)).T.rename_axis("hidden")
al.plots.table(frame, **decimals)

# %% [markdown]
# With `[CLS]` hidden as a key, 87.5 % become 80.0 %: 17 right answers are lost, 2 won.
# If both were equally likely, so uneven a result would come up in fewer than 1 of 1,000
# cases. Hiding `[SEP]` costs nothing, hiding the first word 3 against 1, which is no
# finding. But both carry far less weight, so the comparison is weak: another token with
# as much weight as `[CLS]` might be missed as much.
#
# Do the answers miss what `[CLS]` says, or only a place to rest? That is the open
# problem.
#
# <details><summary>Why look at a token that adds little?</summary>
#
# One explanation: a softmax must put its weight somewhere, and a head that finds
# nothing can park it on a token that is always there. In the original BERT `[SEP]` is
# the larger sink (Clark et al. 2019). Xiao et al. 2024 found in language models, too,
# that a sink cannot simply be dropped.
#
# Our encoder was first trained to answer by the *mean* of all tokens; only our further
# training on reviews, its *fine-tuning*, reads `[CLS]` (lesson 05). Another BERT may
# rest elsewhere.
#
# </details>

# %% [markdown]
# That was a column. Now the diagonals. How much does a word look at the word before?
# *Words* are all tokens but the first and the last. These weights count:

# %%
drawings.neighbour_cells(["[CLS]", "a", "quiet", "film", ".", "[SEP]"], offset=-1)

# %% [markdown]
# ### Exercise 6: who looks at a neighbour?
#
# *Difficulty 2 of 5, 5 minutes.* Measure for each head how much a word looks at the
# word `offset` places away: −1 is the word before, 1 the word after. Take the mean over
# all pairs in which **both** are words.
#
# <details><summary>Why are the first and last token left out?</summary>
#
# A head that rests on `[CLS]` would otherwise seem to look one back from the first
# word.
#
# </details>


# %% exercise="neighbour_scores" points=2
def neighbour_scores(weights, offset):
    """Mean weight of words on the word `offset` places away, (L, H).

    weights (L, H, T, T): rows are queries, token 0 is [CLS] and token T - 1 [SEP]
    """
    ### BEGIN SOLUTION
    words = weights[..., 1:-1, 1:-1]
    return words.diagonal(offset, dim1=-2, dim2=-1).mean(-1)
    ### END SOLUTION


# %% check="neighbour_scores"
al.checks.neighbour_scores(neighbour_scores)

# %% [markdown] hints="neighbour_scores"
# In the map of a head, where are the weights on the word before? On a line beside the
# diagonal: below it or above it?
#
# ---
# First cut off the outer rows and columns. `x.diagonal(offset, dim1, dim2)` takes such
# a line from two axes; think about what a positive offset means.

# %% [markdown]
# *Predict first:* how many of the 72 heads give the word before more than half of their
# weight? `mean_scores` takes each head's mean over several texts.

# %%
my_neighbour_scores = al.checks.yours_or_ours("neighbour_scores", neighbour_scores)


def mean_scores(texts, offset):
    scores = [my_neighbour_scores(clf.attend(text).weights, offset) for text in texts]
    return torch.stack(scores).mean(0)  # (L, H)


before = mean_scores(sentences, -1)

# %% folded=true
# the picture: each head's mean weight on the word before
al.plots.head_map(
    before.numpy(), label="mean weight on the word before", title="Who looks one back?"
)

# %% [markdown]
# Only layer 0 head 2. Does it do so in fresh sentences too? And does it go by position
# or by words? To see that, shuffle the words of the fresh sentences:

# %% folded=true
fresh = [  # three other sentences
    "Three friends open a bakery, and everything that can burn burns.",
    "I have seen better plots on a bus ticket.",
    "Slow at first, then suddenly very funny indeed.",
]

# %%
torch.manual_seed(1)
shuffled = []
for sentence in fresh:
    in_order = sentence.split()
    order = torch.randperm(len(in_order))
    shuffled.append(" ".join(in_order[i] for i in order))

# %% [markdown]
# The table follows two heads, the one that looks most at the word before and the one
# that looks most at the word after:

# %% folded=true
rows = {}  # of the table: the best head for each offset, and its mean weight there
for offset, name in ((-1, "one back"), (1, "one ahead")):
    sets = sentences, fresh, shuffled
    here, there, mixed = (mean_scores(texts, offset) for texts in sets)
    best = divmod(int(here.argmax()), heads)
    rows[name] = {
        "the best head": f"layer {best[0]} head {best[1]}",
        "its mean weight there": float(here[best]),
        "in fresh sentences": float(there[best]),
        "with shuffled words": float(mixed[best]),
        "mean of all heads": float(here.mean()),
    }
frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("looks")
al.plots.table(frame, **dict.fromkeys(frame.columns[1:], 2))

# %% [markdown]
# Both heads do nearly the same on fresh sentences. With shuffled words the first stays
# at 1.00, and the second even rises a little. As far as three sentences show, they go
# by position.
#
# <details><summary>What is such a head good for?</summary>
#
# In a language model, which predicts the next token, a previous-token head is the first
# half of a mechanism that copies (lesson 04). Whether BERT's answer needs these two is
# another question (lesson 06).
#
# </details>

# %% [markdown]
# ## 7. How do you find a fault that raises no error?
#
# The wrong reshape of section 4 ran without an error, and an answer may even stay
# right. To find such a fault, run a good and a bad model on the *same input*. Compare
# their **activations**, the outputs of their parts, in order. An example, with one
# number for each part:

# %%
drawings.two_runs(["attention", "up", "down"], [0.5, 1.2, -0.3], [0.5, 0.9, -0.8])

# %% [markdown]
# Attention agrees, `up` does not: the fault first *shows* at `up`. The larger
# difference at `down` may be only a consequence.
#
# <details><summary>Is the fault inside the part where it shows?</summary>
#
# It lies after the last part that agrees: in this part, in a step before it that nobody
# watched (here a norm), or in what else this part is given, such as a mask.
#
# </details>

# %% [markdown]
# We will plant four faults in layers of BERT:
#
# - `reshape`: heads are split, and merged, by a reshape alone;
# - `divisor`: scores are divided by $\sqrt{384}$, not $\sqrt{32}$;
# - `padding`: padding is not hidden;
# - `bias`: the bias of `down` is forgotten.
#
# But first the good activations. We watch four parts of each layer: attention with its
# output projection, `up`, `down`, and the *output*, what the last norm gives.
#
# A **hook** is a function that PyTorch calls whenever a module, a part of the network,
# has computed something. Here each hook keeps what its part gave:

# %% folded=true
watched = {}  # the parts to watch, module to name
for number, layer in enumerate(bert.encoder.layer):
    watched[layer.attention.output.dense] = f"layer {number}, attention"
    watched[layer.intermediate.dense] = f"layer {number}, up"
    watched[layer.output.dense] = f"layer {number}, down"
    watched[layer.output] = f"layer {number}, output"


# %%
def activations():
    """BERT's logits (B, 2), and what each part gave, name to (B, T, W)."""
    outputs = {}

    def keep(module, inputs, output):
        outputs[watched[module]] = output

    hooks = [module.register_forward_hook(keep) for module in watched]
    with torch.no_grad():
        logits = clf.model(**batch).logits
    for hook in hooks:
        hook.remove()
    return logits, outputs


# %%
expected, good = activations()
print(f"{len(good)} activations:", *list(good)[:4], "...", list(good)[-1], sep="\n  ")

# %% [markdown]
# ### Exercise 7: the first part that is wrong
#
# *Difficulty 3 of 5, 7 minutes.* `good` and `bad` hold the output of every part by
# name, in the order of computation. The *scale* of a part is its largest absolute value
# in `good`, over the real tokens. A part is wrong if it differs at a real token by more
# than `tolerance` × its scale. Return the name of the first wrong part. Padding does
# not count, NaN does. If no part differs, return None.


# %% exercise="first_wrong" points=2
def first_wrong(good, bad, real, tolerance=1e-4):
    """Name of the first part whose output differs, or None.

    good, bad: name to output (B, T, W), W its width; real (B, T) bool, False at padding
    """
    ### BEGIN SOLUTION
    for name, right in good.items():
        apart = (bad[name] - right)[real].abs().max()
        if not apart <= tolerance * right[real].abs().max():  # NaN is never <=
            return name
    return None
    ### END SOLUTION


# %% check="first_wrong"
al.checks.first_wrong(first_wrong)

# %% [markdown] hints="first_wrong"
# `good.items()` goes through the parts in their order, and `return` inside the loop
# ends it. `x[real]` keeps the N real tokens of all texts, (N, W).
#
# ---
# Every comparison with NaN is False. Ask whether a part is *fine*, and turn the answer
# round with `not`.

# %% [markdown]
# Now find some. The folded functions plant a fault, and collect the *evidence*: where
# it first shows, how large the difference is there, and what else it changes.

# %%
my_first_wrong = al.checks.yours_or_ours("first_wrong", first_wrong)
real = batch["attention_mask"].bool()


# %% folded=true
# measures a difference, draws a case
def difference(outputs, name, row):
    """Largest difference of a part in one text, relative to its largest value."""
    right, bad = (which[name][row][real[row]] for which in (good, outputs))
    return float((bad - right).abs().max() / right.abs().max())


def draw_case(case):
    """One of the faults and a layer, at random."""
    generator = torch.Generator().manual_seed(case)
    number = int(torch.randint(clf.layers, (), generator=generator))
    names = list(al.heads.FAULTS)
    return names[torch.randint(len(names), (), generator=generator)], number


# %% folded=true
def evidence(fault, number):  # where a fault first shows, and what else it changes
    with al.heads.planted(clf, fault, number):  # while this block lasts
        logits, outputs = activations()
        spread = al.attention.effective_keys(clf.attend(text).weights[number]).mean()
    first = my_first_wrong(good, outputs, real)
    names = [first] if first else list(good)
    sizes = (max(difference(outputs, name, row) for name in names) for row in (0, 1))
    return {
        "first wrong part": first or "none",
        "difference, long text": f"{next(sizes):.1g}",
        "difference, short text": f"{next(sizes):.1g}",
        "answers changed": f"{(logits.argmax(-1) != expected.argmax(-1)).sum()} of 2",
        "effective keys": f"{spread:.1f}",
    }


# %% [markdown]
# Five cases. From each number the code draws a fault and a layer at random, and does
# not show which. A fault may come twice. Any other number is another case.

# %%
cases = [9, 10, 12, 14, 16]
found = {}
for case in cases:
    secret, number = draw_case(case)
    found[case] = evidence(secret, number)
    unharmed = evidence(None, number)["effective keys"]
    found[case]["effective keys without"] = unharmed
al.plots.table(pd.DataFrame(found).T.rename_axis("case"))

# %% [markdown]
# You know where each *shows*. A difference of 1 means: as large as the largest correct
# value of that part. The *effective keys* say over how many tokens a row of the long
# text spreads, at most 15; the last column gives those of the same layer without the
# fault.
#
# Now decide *what* each is. Write your guesses into the next cell, such as `9: "bias"`,
# and run it.
#
# <details><summary>Hints: which column points to which fault?</summary>
#
# Only one fault shows in another part than the others. Only the short text is padded:
# does the long one differ? And which fault makes rows *nearly* flat?
#
# The divisor is $\sqrt{12}$ times too large, so all scores shrink, and rows come close
# to flat in every layer. A reshape leaves them clearly less flat; in layer 0 it hardly
# changes the number at all.
#
# </details>

# %%
guess = {9: "", 10: "", 12: "", 14: "", 16: ""}  # reshape, divisor, padding or bias
for case in cases:
    secret, number = draw_case(case)
    if guess.get(case) not in list(al.heads.FAULTS):
        print(f"case {case}: not guessed yet")
    elif guess[case] == secret:
        print(f"case {case}: right, {secret} in layer {number}")
    else:
        print(f"case {case}: not {guess[case]}; look again")

# %% [markdown]
# Guessed? The next cell plants all four in layer 2, one after the other, beside BERT
# without a fault:

# %%
rows = {fault or "none": evidence(fault, 2) for fault in (None, *al.heads.FAULTS)}
al.plots.table(pd.DataFrame(rows).T.rename_axis("fault"))

# %% [markdown]
# Each fault leaves its own trace:
#
# - `padding` changes the padded text only;
# - `divisor` makes rows nearly flat: 12.1 effective keys of 15, against BERT's 3.4;
# - `reshape` makes them flatter too, 7.0;
# - `bias` first shows at `down`, the others at `attention`.
#
# The answers hardly tell: of eight (four faults, two texts) one changed.
#
# Do later layers mend a fault? The picture compares the *outputs* of the layers: the
# length of the difference, divided by the length of the correct output.

# %% folded=true
# measures each fault at the end of each layer
curves = {}  # fault to differences, NaN where there is none
names = [f"layer {number}, output" for number in range(clf.layers)]
for fault in al.heads.FAULTS:
    with al.heads.planted(clf, fault, 2):
        outputs = activations()[1]
    pairs = [(outputs[name][real], good[name][real]) for name in names]
    sizes = [float((bad - right).norm() / right.norm()) for bad, right in pairs]
    assert max(sizes[:2]) < 1e-5 and sizes[-1] > 0.05
    curves[fault] = sizes[2:]

# %% folded=true
# the picture: these differences, with the names at the ends of the curves
alt = (
    "Four curves from layer 2 to 5. All end far above 0: padding lower than it began, "
)
alt += "divisor about as high, reshape and bias higher."
names = {"xlabel": "output of layer", "ylabel": "difference ÷ output (lengths)"}
names |= {"title": "Do later layers mend a fault in layer 2?", "alt": alt}
picture = al.plots.lines(list(range(2, clf.layers)), curves, marks=True, **names)
axes = picture.figure.axes[0]
axes.get_legend().remove()
axes.set_xticks(range(2, clf.layers))
axes.set(xlim=(1.9, clf.layers - 0.5), ylim=(0, None))
for fault, curve in curves.items():
    axes.text(clf.layers - 0.9, curve[-1], fault, va="center")
picture

# %% [markdown]
# None of these four goes away: in layer 5 the smallest difference is still 9 % of the
# output. Nor must a fault grow: `padding` shrinks a little, `divisor` stays about the
# same, the other two end higher than they began. So the size of a later difference says
# little.
#
# The *first* difference tells where to look: at that part, and at what it was given.
# The later ones may all be its consequences.
#
# <details><summary>When does this search fail?</summary>
#
# If the input does not show the fault: without padding nobody sees a missing mask. And
# if the tolerance is not between rounding and the difference.
#
# </details>

# %% [markdown]
# ## What to take away
#
# - Attention is three lines: scores, softmax, mixture.
# - Masks go in before the softmax, as $-\infty$; a row with nothing to see gets zeros.
# - Heads are slices of one projection. A reshape alone mixes tokens without an error.
# - A layer is attention and a feed-forward network, each added to its input and
#   normalised.
# - A bright column may be an attention sink. By length `[CLS]` is one in this model:
#   much weight, a short vector. Yet with it hidden as a key, more answers are wrong.
# - The first activation that differs tells where to look for the fault.
#
# <details><summary>What to call in practice</summary>
#
# `F.scaled_dot_product_attention`: the same context, usually faster, but without the
# weights. Try an empty row in your version.
#
# </details>

# %% [markdown]
# ## An open problem
#
# Without a solution.
#
# **Does the answer miss what `[CLS]` says, or only a place to rest?** In section 6 it
# was hidden, so its weight went to other tokens. Now leave its weight where it is, and
# in every layer set its *value* to zero. Write a subclass of `MyMultiHead`, and hand it
# to `run`.
#
# You are right if the weights of layer 0 stay BERT's, and so do all logits while you
# set no value to zero; and if you report how many answers are then right, lost and won,
# beside those of section 6, whatever comes out.
#
# Next: [03 Translation](03_translation.ipynb) gives attention a second text, and [06
# Head mixing](06_head_mixing.ipynb) takes hold of the heads. The appendices go further
# here; the first holds exercise 8.

# %% [markdown]
# ## Appendix A. How do gradients come back?
#
# How do gradients get from the context back to queries, keys and values? Lesson 01 did
# it for one text, without a mask. Here come batches and masks. You need two rules.
#
# **Products.** If $C = A B$, and $G$ is the gradient of the loss with respect to $C$,
# then that of $A$ is $G B^\top$ and that of $B$ is $A^\top G$. In $C = A V$ every query
# may use value $j$. So the gradient of value $j$ adds up over all queries, down column
# $j$ of $A$. Hence the transpose.

# %% [markdown]
# **Softmax**, by example: two keys with the values 1 and 3 and equal weights mix to 2.
# To raise the result, move weight to the second key: its value lies above the mixture.
# So the gradient of a score is *weight × (value − mixture)*, here $-\tfrac12$ and
# $+\tfrac12$.
#
# Here the mixture itself was the loss. In general the loss is something later, and $G
# V^\top$, the gradient of the weights, says how much each weight is worth to it. It
# takes the place of the values: the gradient of a score is *weight × (gradient of the
# weight − mean)*, with the weighted mean of its row.
#
# And as scores are products divided by $\sqrt D$, divide by $\sqrt D$ on the way back
# too.
#
# Here is lesson 01's backward pass, carried over to batches and masks in a hurry. It
# raises no error, and three places are wrong:


# %%
def hurried(query, key, value, gradient, mask=None):
    """Gradients of query, key and value, (..., T, D) each; three places are wrong."""
    root = query.shape[-1] ** 0.5
    weights = (query @ key.mT / root).softmax(-1)
    weights = weights if mask is None else weights * mask
    d_value = weights @ gradient
    d_weights = gradient @ value.mT
    mean = (weights * d_weights).sum(-1, keepdim=True)
    d_scores = weights * (d_weights - mean) / root
    return d_scores @ key, d_scores @ query, d_value


# %% [markdown]
# The table compares it with autograd. An error near 0 is rounding; an error of 1 means:
# as large as the gradient itself.

# %% folded=true
torch.manual_seed(0)  # the table: how far each gradient is from autograd's
inputs = [torch.randn(2, 6, 8, requires_grad=True) for _ in range(3)]
gradient, rows = torch.randn(2, 6, 8), {}
for name, mask in (("no mask", None), ("causal mask", al.attention.causal_mask(6))):
    right = torch.autograd.grad(masked_attention(*inputs, mask)[0], inputs, gradient)
    with torch.no_grad():
        found = hurried(*inputs, gradient, mask)
    errors = [(a - b).norm() / b.norm() for a, b in zip(found, right, strict=True)]
    rows[name] = [f"{float(error):.2g}" for error in errors]
columns = ["error of d_query", "of d_key", "of d_value"]
al.plots.table(pd.DataFrame(rows, index=columns).T)

# %% [markdown]
# ### Exercise 8: attention, backward
#
# *Difficulty 3 of 5, 10 minutes.* Find the three places, then write the function
# without them, and without autograd. Read the table first:
#
# - `d_query` is the gradient of the loss for the query. Without a mask it is right.
#   Which lines does that clear?
# - `d_key` and `d_value` are wrong even then. Over what must they add up?
# - With a mask `d_query` is wrong too. Which line do all three share?
#
# It must also hold for more keys than queries, and for a query that may look nowhere.


# %% exercise="attention_backward" points=3
def attention_backward(query, key, value, gradient, mask=None):
    """Gradients of query, key and value, each of its own shape.

    gradient (..., T_q, D_v): of the context; query, key, value as in exercise 1
    mask: bool, as in exercise 2; None hides nothing
    """
    ### BEGIN SOLUTION
    root = query.shape[-1] ** 0.5
    scores = query @ key.mT / root
    weights = scores.softmax(-1) if mask is None else my_masked_softmax(scores, mask)
    d_value = weights.mT @ gradient
    d_weights = gradient @ value.mT
    mean = (weights * d_weights).sum(-1, keepdim=True)
    d_scores = weights * (d_weights - mean) / root
    return d_scores @ key, d_scores.mT @ query, d_value
    ### END SOLUTION


# %% check="attention_backward"
al.checks.attention_backward(attention_backward)

# %% [markdown] hints="attention_backward"
# The line of the weights: where did exercise 2 say that a mask goes, and what does it
# give a row in which everything is hidden?
#
# ---
# The context is `weights @ value`. What does the rule for products say about its second
# factor? In self-attention the weights are square, so a missing transpose raises no
# error.
#
# ---
# The scores are a product too, of `query` and `key.mT`. Key $j$ stands in column $j$ of
# the scores: which axis of `d_scores` must be summed over?
#
# ---
# Only the weights need the mask: a hidden key has the weight 0, and each way back to it
# is multiplied by this weight.

# %% [markdown]
# <details><summary>Which three places were wrong?</summary>
#
# The mask came after the softmax. And two transposes were missing: `weights.mT @
# gradient` and `d_scores.mT @ query` add up over the queries. No step after the weights
# needs the mask: a weight of 0 lets no gradient through.
#
# </details>
#
# ### Your backward pass inside BERT
#
# Does it give the gradients of the whole model? We differentiate the **margin**, the
# logit of the answer minus that of the other label, with respect to the token vectors.
# In all layers exercise 8 takes the place of PyTorch's rule for attention; the rest
# stays autograd's.
#
# <details><summary>How does your backward pass get into PyTorch?</summary>
#
# An `autograd.Function` tells PyTorch how to go back through one step; `ctx` keeps what
# it needs.
#
# </details>

# %%
my_attention_backward = al.checks.yours_or_ours(
    "attention_backward", attention_backward
)

# %% [markdown]
# `Attend` is attention as one step for PyTorch. Its forward pass is `masked_attention`,
# with your softmax; its backward pass is your exercise 8.


# %% folded=true
class Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, mask):
        ctx.save_for_backward(query, key, value, mask)
        return masked_attention(query, key, value, mask)[0]

    @staticmethod
    def backward(ctx, gradient):
        *qkv, mask = ctx.saved_tensors
        return *my_attention_backward(*qkv, gradient, mask), None


# %% [markdown]
# `ByHand` is your `MultiHead` with `Attend` as its core. `gradient_of` puts it into six
# of your layers, with BERT's parameters, as in section 5.


# %% folded=true
class ByHand(MyMultiHead):
    def forward(self, query, key, value, mask=None):
        projected = self.query(query), self.key(key), self.value(value)
        q, k, v = (my_split_heads(part, heads) for part in projected)
        context = Attend.apply(q, k, v, mask[:, None])
        return self.output(merge_heads(context))


def gradient_of(attention_class):
    """Of each text's margin with respect to the vectors of its tokens, (B, T, E)."""
    x = embed(batch["input_ids"]).detach().requires_grad_()
    states = run(attention_class, x, visible)
    logits = read_out(states).sort(descending=True).values
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)[0]


# %%
by_hand, by_autograd = gradient_of(ByHand), gradient_of(MyMultiHead)
error = (by_hand - by_autograd).norm() / by_autograd.norm()
print(f"by hand and by autograd differ by {error:.0e} of the gradient's length")
assert error < 1e-4

# %% folded=true
strongest = by_hand[0].norm(dim=-1).topk(3).indices.tolist()
print("the answer changes fastest with:", *(maps.tokens[i] for i in strongest))
print(f"largest gradient at padding: {by_hand[~visible[:, 0]].abs().max():.0e}")

# %% [markdown]
# By hand and by autograd agree, and padding gets no gradient. The answer changes
# fastest with *stays*, *ending* and *slow*. That is what a tiny change does, not what a
# word is worth.

# %% [markdown]
# ## Appendix B. Does a causal mask keep its promise?
#
# With a causal mask no token may depend on a later one. Change token 3 of six, counted
# from 0, and see whose context moves:

# %%
torch.manual_seed(0)
vectors = torch.randn(6, 16)
changed = vectors.clone()
changed[3] += 1.0  # token 3 is another one
for name, mask in (("no mask", None), ("causal", al.attention.causal_mask(6))):
    before, _ = masked_attention(vectors, vectors, vectors, mask)  # (T, D)
    after, _ = masked_attention(changed, changed, changed, mask)
    moved = (before != after).any(-1)  # (T,)
    print(f"{name:8} moved: {moved.nonzero().flatten().tolist()}")

# %% [markdown]
# Only token 3 and later ones move. All other parts of a layer work on each token alone
# (section 5), so the same holds for many layers, as in the language model of lesson 04.
#
# **Sources.** Vaswani et al. 2017 (sections 3.1 to 3.3) · Ba et al. 2016 (layer norm) ·
# Devlin et al. 2019 (BERT) · Wang et al. 2020 (MiniLM) · Clark et al. 2019 and Xiao et
# al. 2024 (sinks) · Xiong et al. 2020 (pre-norm) · Kobayashi et al. 2020 (weight ×
# value) · Vig 2019 (bertviz).

# %%
al.checks.summary("attention_from_scratch")
