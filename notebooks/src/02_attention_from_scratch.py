# %% [markdown]
# # 02 Attention from scratch
#
# **What exactly happens inside one layer of BERT, and can you rebuild it so that the
# same numbers come out?** You write the layer piece by piece in plain PyTorch, until
# your code gives the answers of a real BERT (MiniLM, 6 layers). Then you look at what
# its heads do, and find a bug that we plant in it.
#
# Afterwards you can
#
# - write self- and cross-attention for batches, without a loop;
# - mask the future and the padding, even for a query that has no key left;
# - split a layer into heads, and say what a wrong reshape does;
# - rebuild the layers of a trained model, and find a bug by comparing part by part;
# - recognise and measure attention sinks and previous-token heads;
# - send gradients back through attention (appendix A).
#
# Time: about two hours, 60 minutes of them for eight exercises; the last is in appendix
# A. You need [lesson 01](01_attention_maths.ipynb). Choose **Run → Run All Cells**
# first. Later cells use your answers once they are right, ours until then. Cells called
# *plumbing* need not be read.

# %%
from dataclasses import replace

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al
from attnlab.show import drawings

clf = al.load_classifier("movie-sentiment")
bert = clf.model.bert
width, heads = bert.config.hidden_size, clf.heads  # E and H
print(f"{clf.layers} layers; width {width} = {heads} heads x {width // heads}")

# %% [markdown]
# ## 1. Where does a head look?
#
# This BERT has 6 layers with 12 heads each. Here is one of its heads, reading a film
# review.
#
# Each row of the map is a token that asks (a *query*), each column a token that is
# looked at (a *key*). The weights of a row say where its token looks, and sum to 1.
# (`[CLS]` and `[SEP]` stand before and after every text.) Choose other heads: where do
# they look? (*Effective keys*, at the right of the desk, are lesson 01's. Its masks
# come in section 3.)

# %%
text = "The second half is slow, but the ending stays with you."
maps = clf.attend(text)
desk = al.MaskDesk(maps, layer=3, head=0)
desk

# %% [markdown]
# ## 2. How does one head serve all words at once?
#
# Each row of the map is one look-up, as in lesson 01. Take three words, *not so bad*.
# Each is a row of the table X. Its three numbers say whether it negates, how good it is
# (below 0 is bad), and whether it modifies another word.
#
# Three matrices, set by hand, turn each row into a query, a key and a value:
#
# - the **query** is what it looks for: *bad* seeks a negation, *not* and *so* a bad
#   word;
# - the **key** is what it is found by;
# - the **value** is what it passes on.

# %%
words = ["not", "so", "bad"]
x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.0, -2.0, 0.0]])
w_query = torch.tensor([[0.0, 1.5], [-1.5, 0.0], [0.0, 1.5]])
w_key = torch.tensor([[1.0, 0.0], [0.0, -0.5], [0.0, 0.0]])
w_value = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
meaning = {
    "x": ["neg.", "good", "mod."],
    "query": ["negation", "bad"],
    "key": ["negation", "bad"],
    "value": ["reverse", "good"],
}
matrices = {"query": w_query, "key": w_key, "value": w_value}
drawings.projections(words, x, matrices, meaning)

# %% [markdown]
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
# You write it for a batch of texts at once. These letters count:
#
# | letter | counts |
# | --- | --- |
# | $B$, $T$ | texts of a batch, tokens of a text |
# | $H$, $L$ | heads of a layer ($n$ in lesson 01), layers of the model |
# | $T_q$, $T_k$ | queries and keys; they differ if queries come from another text |
# | $D$, $D_v$ | numbers in a query or key ($d_k$ in lesson 01), and in a value |
# | $E = H \cdot D$ | numbers in the vector of a token ($d$ in lesson 01) |
#
# The last two axes are always tokens and width, `(..., T, D)`. Count them as `-2` and
# `-1`, and the same code serves batches and heads.

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
# vectors that the layer before hands over. (Two cells of plumbing: one reads out a
# layer, one cuts out a head.)


# %%
def projected(layer, *texts):
    """A layer's queries, keys, values, (B, T, E) each; real tokens, bool (B, T)."""
    batch = clf.tokenizer(list(texts), padding=True, return_tensors="pt")
    batch = batch.to(clf.device)
    made_by = bert.encoder.layer[layer].attention.self
    with torch.no_grad():
        states = bert(**batch, output_hidden_states=True).hidden_states[layer]
        sides = [f(states) for f in (made_by.query, made_by.key, made_by.value)]
    return *sides, batch["attention_mask"].bool()


# %%
head_width = width // heads  # D


def head(number, sides):
    """Of queries, keys and values, the columns of one head."""
    start = number * head_width
    return [side[..., start : start + head_width] for side in sides]


# %% [markdown]
# Now your function computes the whole map of this head:

# %%
attend = al.checks.yours_or_ours(
    "attention", attention, al.attention.scaled_dot_product_attention
)
*sides, _ = projected(3, text)
query, key, value = head(0, sides)  # (1, T, D)
context, weights = attend(query, key, value)
mine = replace(maps, weights=maps.weights.clone(), neutral=maps)
mine.weights[3, 0] = weights[0].cpu()
print(f"they differ by {(mine.weights - maps.weights).abs().max():.0e}")
al.plots.before_after(mine, layer=3, head=0, names=("BERT's", "yours"))

# %% [markdown]
# Your map is BERT's, to rounding. Two columns are bright: `[CLS]`, and *but* for the
# tokens that stand before it. (Section 6 asks what the first means.)
#
# So far queries, keys and values came from one text: **self-attention**. In
# **cross-attention** keys and values come from another, as when a translation looks at
# its source. Your function does both. Here are the shapes of its tensors, to scale.
# (Only the shapes: BERT never learned cross-attention.)

# %%
other = head(0, projected(3, "A slow start with a moving end.")[:3])
sizes = {}
for name, source in (("self-attention", (key, value)), ("cross-attention", other[1:])):
    context, weights = attend(query, *source)
    sizes[name] = (*weights.shape[1:], head_width, context.shape[-1])
drawings.attention_shapes(sizes)

# %% [markdown]
# The other text has fewer tokens, so there are fewer keys. (The weights have a number
# for each pair of query and key: twice as long a text has four times as many.) The
# context still has one row for each *query*.

# %% [markdown]
# ## 3. Who may look where? Masks
#
# So far each query looks at every key. Three things may have to be hidden:
#
# - **the future**, if a model learns to predict the next token (tested in appendix B);
# - **distant tokens**, if a model is to look nearby only: in a *window of 1* a token
#   sees itself and a neighbour on either side;
# - **padding**: `[PAD]` only fills up the texts of a batch to one length.
#
# A mask says for every pair of query and key: may this query look at this key? It is a
# tensor of `bool`, **True where looking is allowed**; in the drawing these squares are
# filled.
#
# <details><summary>For the expert: PyTorch's masks, and what a window saves</summary>
#
# `F.scaled_dot_product_attention` reads a mask the same way; for
# `nn.MultiheadAttention` True means *hidden*. A window saves work only if the rest is
# never computed; a mask alone saves nothing.
#
# </details>

# %%
padded = ["a", "quiet", "film", "[PAD]", "[PAD]"]
near = al.attention.local_mask(5, window=1)
no_padding = al.attention.padding_mask(torch.tensor([3]), max_length=5)[0]  # (1, T)
drawings.mask_grids(
    {
        "causal: is it no later?": al.attention.causal_mask(5),
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
# every text: axes that are missing in front are repeated too.

# %% [markdown]
# ### Before the softmax, or after it?
#
# How does a mask act on scores? The weights of the keys that are *left* must sum to 1.
# So a hidden key gets the score $-\infty$ **before** the softmax. Its weight is then 0,
# as $e^{-\infty} = 0$. Here are both orders:

# %%
drawings.mask_first(
    padded[:4],
    scores=torch.tensor([2.0, 1.0, 0.0, 3.0]),
    mask=torch.tensor([True, True, True, False]),
)

# %% [markdown]
# In the upper row the words share the whole weight. In the lower row `[PAD]` took most
# of it before it was hidden, and what is left sums to 0.36.
#
# Here is the desk of section 1 again. Choose a mask, then try both orders on BERT's
# map:

# %%
desk

# %% [markdown]
# What if a query may look *nowhere*? All its scores are $-\infty$. The softmax first
# subtracts the largest score, and $-\infty - (-\infty)$ is NaN, "not a number". A NaN
# spreads, as $0 \times$ NaN is NaN. The clean answer is a row of zeros.
#
# <details><summary>Why not mend the row sum? Why not a large negative score?</summary>
#
# Dividing by the sum would mend the lower row. But if a hidden score is larger by 110,
# the sum is 0 in float32.
#
# With a large negative number instead of $-\infty$ a query with nothing to see still
# looks at hidden keys: at all alike if the number replaces the scores, as if nothing
# were masked if a number such as −10,000 is added. The problem is hidden, not solved.
#
# </details>
#
# <details><summary>How far does a NaN spread, also backward?</summary>
#
# In the next layer to every real token of its text, then to the loss, and through
# gradients to almost every parameter. Going backward, `masked_fill` passes the gradient
# 0 to what it fills, even where NaN arrives; a product with 0 would pass on NaN.
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
# The next cells put your softmax into your attention. (`x.mT` exchanges the last two
# axes of `x`.)

# %%
softmax_of = al.checks.yours_or_ours(
    "masked_softmax", masked_softmax, al.attention.softmax
)


# %%
def masked_attention(query, key, value, mask=None):
    """Exercise 1 with a mask, broadcastable to (..., T_q, T_k); None hides nothing."""
    if mask is None:
        return attend(query, key, value)
    weights = softmax_of(query @ key.mT / key.shape[-1] ** 0.5, mask)
    return weights @ value, weights


# %% [markdown]
# How much weight would padding take without a mask? BERT reads two texts in one batch,
# and the short one is padded.

# %%
*sides, real = projected(3, text, "A joy.")
for name, mask in (("without a mask", None), ("with your mask", real[:, None])):
    _, weights = masked_attention(*head(0, sides), mask)  # (B, T, T)
    share = weights[1, real[1]][:, ~real[1]].sum(-1).mean()
    print(f"{name}: {share:.0%} of the weight of the short text falls on padding")

# %% [markdown]
# Padding would take 43 % of the short text's weight in this head. Your mask leaves it
# nothing.

# %% [markdown]
# ## 4. Why several heads, and how are they cut?
#
# One softmax gives a word one set of weights. But *bad* may ask two things: is there a
# negation, and which noun do I describe? A weight that goes to the one is missing for
# the other. So a layer has several **heads**, each with queries, keys and values of its
# own.
#
# One matrix product makes the queries of all heads: columns $0$ to $D - 1$ belong to
# head 0, the next $D$ to head 1, and so on. Keys and values are made likewise.
#
# First the slow way: take the heads one by one, and put their contexts side by side.

# %%
one_by_one = torch.cat(
    [
        masked_attention(*head(number, sides), real[:, None])[0]
        for number in range(heads)
    ],
    dim=-1,
)
print(f"{heads} contexts side by side: {tuple(one_by_one.shape)}")

# %% [markdown]
# One call of attention can serve all heads, if they stand in front of the tokens, like
# a batch. Take the queries of three tokens and two heads. Each number is 100 × token +
# column, so you see where it came from. What is head 0's is filled:

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
# Does one cut give what the loop gave? (`al.attention.merge_heads` undoes the split.
# With four axes, a padding mask is `(B, 1, 1, T)`.)

# %%
split = al.checks.yours_or_ours("split_heads", split_heads, al.attention.split_heads)
seen_mask, right = real[:, None, None], one_by_one.flatten()
context, _ = masked_attention(*(split(side, heads) for side in sides), seen_mask)
apart = (al.attention.merge_heads(context).flatten() - right).abs().max()
print(f"one cut: differs from the loop by at most {apart:.0e}")
assert apart < 1e-4

# %% [markdown]
# The cut agrees with the loop. And a reshape alone? Its *cosine* with the right result
# is 1 if both point the same way, and 0 at right angles.

# %%
shape = (len(real), heads, real.shape[1], head_width)
context, _ = masked_attention(*(side.reshape(shape) for side in sides), seen_mask)
cosine = F.cosine_similarity(context.flatten(), right, dim=0)
print(f"reshape: cosine {cosine:.2f}, no error, no NaN")
assert not context.isnan().any()

# %% [markdown]
# The reshape is nearly at right angles to the right result, and PyTorch says nothing.
#
# Now all together, for a text of 15 tokens in BERT. (The drawing shows self-attention,
# without the batch and most of the 12 heads.) At the end the contexts of the heads are
# *merged*, that is, put side by side, and a last *projection*, a product with a matrix,
# mixes them.

# %%
drawings.multi_head(tokens=15, width=width, heads=heads)

# %% [markdown]
# ### Exercise 4: multi-head attention
#
# *Difficulty 3 of 5, 10 minutes.* Write the `forward` of the drawing from `split` (your
# exercise 3), `masked_attention` (your exercises 1 and 2) and
# `al.attention.merge_heads`; the four linear layers are there. `mask` is None, `(T_q,
# T_k)`, or `(B, 1, T_k)`; the scores of all heads are `(B, H, T_q, T_k)`. The check
# compares with PyTorch's `nn.MultiheadAttention`, forward and backward.


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
        q, k, v = (split(x, self.heads) for x in projected)
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        context, _ = masked_attention(q, k, v, mask)
        return self.output(al.attention.merge_heads(context))
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
#   should *change*; and gradients have a way past it (here still through the layer
#   norm, explained below).
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
# (*pre-norm*). **Dropout** is left out here, as `eval()` turns it off. In training it
# sets a random tenth of the attention weights and sublayer outputs to 0, and divides
# the rest by 0.9.
#
# </details>

# %% [markdown]
# ### Exercise 5: an encoder layer
#
# *Difficulty 3 of 5, 10 minutes.* Write the layer of the drawing. (An *encoder* is a
# Transformer that reads a whole text at once, like BERT.) `attend`, `up` and `down` are
# functions of one tensor (this `attend` is a whole multi-head attention); write the
# norms yourself, without PyTorch's `layer_norm`. Each norm is a pair (gain, bias). You
# may use `F.gelu`.


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
# it has learned. The grey parts stay BERT's own. (The *embeddings* look up a vector for
# each token, and add one for its position; lesson 01 said why. The *pooler* and the
# *classifier* are lesson 00's read-out: the pooler prepares the vector of `[CLS]`
# alone, and the classifier turns it into a number for each label.)

# %%
drawings.rebuilt_model(clf.layers, list(clf.label_names))

# %% [markdown]
# The *logits* are one score for each class.
#
# <details><summary>What do embeddings and pooler do?</summary>
#
# The embeddings make the first token vectors. They add up vectors for token, position
# and *segment* (which tells two texts apart), then a norm follows. The pooler is a
# linear map and a tanh of `[CLS]`.
#
# </details>

# %%
Attention = al.checks.yours_or_ours(
    "MultiHead", MultiHead, al.attention.MultiHeadAttention
)
layer_of = al.checks.yours_or_ours("encoder_layer", encoder_layer)

# %% [markdown]
# (Two cells of plumbing: one copies BERT's parameters into *your* attention, one runs
# six of your layers.)


# %%
def copied(attention, kind):
    """Multi-head attention of this kind, with the parameters of one in BERT."""
    mine = kind(width, heads).eval().to(clf.device)
    for name in ("query", "key", "value"):
        getattr(mine, name).load_state_dict(getattr(attention.self, name).state_dict())
    mine.output.load_state_dict(attention.output.dense.state_dict())
    return mine


# %%
def run(kind, x, mask):
    """From embeddings to the hidden states after the last layer, (B, T, E) each."""
    for layer in bert.encoder.layer:
        mine = copied(layer.attention, kind)
        up, down = layer.intermediate.dense, layer.output.dense
        norms = layer.attention.output.LayerNorm, layer.output.LayerNorm
        pairs = [(norm.weight, norm.bias) for norm in norms]
        x = layer_of(x, lambda y, look=mine: look(y, y, y, mask), up, down, pairs)
    return x


# %% [markdown]
# Are your logits BERT's? Both models read two texts:

# %%
batch = clf.tokenizer([text, "A joy."], padding=True, return_tensors="pt")
batch = batch.to(clf.device)
visible = batch["attention_mask"].bool()[:, None]  # (B, 1, T): real tokens, no padding
with torch.no_grad():
    expected = clf.model(**batch).logits
    states = run(Attention, bert.embeddings(batch["input_ids"]), visible)
    logits = clf.model.classifier(bert.pooler(states))  # read off [CLS]
print(f"logits: largest difference {(logits - expected).abs().max():.0e}")
for row in logits.softmax(-1):
    print(f"{clf.label_names[row.argmax()]} ({row.max():.0%})")
assert torch.allclose(logits, expected, atol=1e-4)

# %% [markdown]
# Your logits are BERT's, to rounding: you have rebuilt its six layers. (Appendix A
# rebuilds its gradients.)

# %% [markdown]
# ## 6. What do the heads look at?
#
# You have BERT's numbers. What do they say? Here are three of its heads. Decide before
# you read on.

# %%
short = clf.attend("Slow at first, but it stays with you.")
question = "Which head looks one token back, which one ahead, and which rests on [CLS]?"
al.plots.chosen_heads(short, [(0, 2), (1, 8), (2, 9)], title=question)

# %% [markdown]
# - Layer 0 head 2 has a line just below the diagonal. It looks at the token before: it
#   is head 0.2 of lesson 00, the **previous-token head**.
# - Layer 1 head 8 (1.8 in lesson 00) has its line just above. It looks at the token
#   after, less strictly.
# - Layer 2 head 9 has a bright column. It rests on `[CLS]`.
#
# Find more of each kind yourself. *Layer* chooses a layer, a double click on a coloured
# square shows one head alone, and pointing at a word its lines. The small maps are the
# same 36 heads at a glance.

# %%
al.attention_view(maps, layers=[0, 1, 2])

# %% [markdown]
# ### What does a bright column mean?
#
# The token may matter. Or it is an **attention sink**: queries of every kind look at
# it, whatever it means, and often it adds little. Which is `[CLS]`?
#
# First: do many heads look at it? Here is each head's mean weight on it, over all
# queries of four sentences.

# %%
sentences = [
    text,
    "Nobody in this story behaves like anybody you have met.",
    "A quiet film that trusts its actors and its silence.",
    "The jokes are old, the songs are new, and neither is good.",
]
readings = [clf.attend(sentence) for sentence in sentences]
# (L, H, T, T): the column of [CLS], its mean over the queries, then over the sentences
on_cls = torch.stack([one.weights[..., 0].mean(-1) for one in readings]).mean(0)
al.plots.head_map(
    on_cls.numpy(), label="mean weight on [CLS]", title="Who rests on [CLS]?"
)

# %% [markdown]
# Many do, above all in layer 2. Second: does so much weight carry much? For each query
# a head adds up *weight × vector* over its keys. The vector is the key's value times
# the head's own block of the last projection of section 4 (lesson 01's $W^O_h$). So two
# things count, and what is added is the area:

# %%
drawings.weight_times_vector({"[CLS]": (0.6, 0.2), "a word": (0.1, 4.0)})

# %% [markdown]
# In this made-up example `[CLS]` has more weight, and yet adds less. And in BERT? On
# the left are two shares of `[CLS]`, over all heads of a layer: of the weight, and of
# these areas. On the right is the length of the vector, which a head would add with the
# weight 1.
#
# <details><summary>For the expert: effort, not effect</summary>
#
# Lengths are added here, so vectors that cancel are counted twice (Kobayashi et al.
# 2020 introduced the measure).
#
# </details>

# %%
al.plots.sink(readings)

# %% [markdown]
# **`[CLS]` is a sink**: in layers 1 to 5 it has 39 to 63 % of the weight, and yet adds
# about an even share or less, 3 to 7 %. Take layer 2:
#
# - it has 63 % of the weight, nine times an even share;
# - but 7 % of what is added, about an even share;
# - for its vector is short: 0.18, against 4.21 for the mean word.
#
# All this is about `[CLS]` as a *key*. As a query it gathers what the answer is read
# from (section 5).
#
# <details><summary>Why look at a token that adds little?</summary>
#
# A softmax must put its weight somewhere; a head that finds nothing can park it on a
# token that is always there. In the original BERT `[SEP]` is the larger sink (Clark et
# al. 2019). So a bright column is no proof that what the token says matters. But the
# token cannot simply be hidden: its weight would go to the words (Xiao et al. 2024).
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
# weight? (`over` takes each head's mean over several texts.)

# %%
neighbours = al.checks.yours_or_ours("neighbour_scores", neighbour_scores)


# %%
def over(texts, offset):
    found = [neighbours(clf.attend(one).weights, offset) for one in texts]
    return torch.stack(found).mean(0)  # (L, H)


# %%
before = over(sentences, -1)
al.plots.head_map(
    before.numpy(), label="mean weight on the word before", title="Who looks one back?"
)

# %% [markdown]
# Only layer 0 head 2. Does it do so in fresh sentences too? And does it go by position
# or by words? To see that, shuffle the words of the fresh sentences:

# %%
fresh = [
    "Three friends open a bakery, and everything that can burn burns.",
    "I have seen better plots on a bus ticket.",
    "Slow at first, then suddenly very funny indeed.",
]
torch.manual_seed(1)
shuffled = []
for one in fresh:
    given = one.split()
    shuffled.append(" ".join(given[i] for i in torch.randperm(len(given))))

# %% [markdown]
# The table follows two heads, the one that looks most at the word before and the one
# that looks most at the word after:

# %%
rows = {}
for offset, name in ((-1, "one back"), (1, "one ahead")):
    here, there, mixed = (over(some, offset) for some in (sentences, fresh, shuffled))
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
# Both heads do nearly the same on fresh sentences and with shuffled words. As far as
# three sentences show, they go by position.
#
# <details><summary>What is such a head good for?</summary>
#
# In a language model a previous-token head is the first half of a mechanism that copies
# (lesson 04). Whether BERT's answer needs these two is another question (lesson 06).
#
# </details>

# %% [markdown]
# ## 7. How do you find a bug that raises no error?
#
# The wrong reshape of section 4 ran without an error, and an answer may even stay
# right. To find such a bug, run a good and a bad model on the *same input*. Compare
# their **activations**, the outputs of their parts, in order. An example, with one
# number for each part:

# %%
drawings.two_runs(["attention", "up", "down"], [0.5, 1.2, -0.3], [0.5, 0.9, -0.8])

# %% [markdown]
# Attention agrees, `up` does not: the bug first *shows* at `up`. The larger difference
# at `down` may be only a consequence.
#
# <details><summary>Is the bug inside the part where it shows?</summary>
#
# It lies after the last part that agrees: in this part, in a step before it that nobody
# watched (here a norm), or in what else this part is given, such as a mask.
#
# </details>

# %% [markdown]
# We will plant one of four faults in a layer of BERT:
#
# | name | fault |
# | --- | --- |
# | `reshape` | heads are split by a reshape alone |
# | `divisor` | scores are divided by $\sqrt{384}$, not $\sqrt{32}$ |
# | `padding` | padding is not hidden |
# | `bias` | the bias of `down` is forgotten |
#
# But first the good activations. A **hook** is a function that PyTorch calls whenever a
# module has computed something. Here each hook keeps what its part gave:

# %%
name_of = {}  # the parts to watch
for number, layer in enumerate(bert.encoder.layer):
    name_of[layer.attention.output.dense] = f"layer {number}, attention"
    name_of[layer.intermediate.dense] = f"layer {number}, up"
    name_of[layer.output.dense] = f"layer {number}, down"
    name_of[layer.output] = f"layer {number}, output"


# %%
def activations():
    """BERT's logits (B, 2), and what each part gave, name to (B, T, W)."""
    made = {}

    def keep(module, given, output):
        made[name_of[module]] = output

    hooks = [module.register_forward_hook(keep) for module in name_of]
    with torch.no_grad():
        logits = clf.model(**batch).logits
    for hook in hooks:
        hook.remove()
    return logits, made


# %%
expected, good = activations()
print(f"{len(good)} activations:", *list(good)[:4], "...", list(good)[-1], sep="\n  ")

# %% [markdown]
# ### Exercise 7: the first part that is wrong
#
# *Difficulty 3 of 5, 7 minutes.* `good` and `bad` hold the output of every part by
# name, in the order of computation. Return the name of the first part in which a real
# token differs by more than `tolerance` × the largest absolute value among the real
# tokens of that part in `good`. Padding does not count, NaN does. If no part differs,
# return None.


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
# ends it. `x[real]` keeps the real tokens of all texts, (N, W).
#
# ---
# Every comparison with NaN is False. Ask whether a part is *fine*, and turn the answer
# round with `not`.

# %% [markdown]
# Now find one. (Two cells of plumbing collect the evidence; `al.heads.planted` plants a
# fault while its `with` block lasts.)

# %%
find = al.checks.yours_or_ours("first_wrong", first_wrong)
real = batch["attention_mask"].bool()


def difference(made, name, row):
    """Largest difference of a part in one text, relative to its largest value."""
    right, bad = (outputs[name][row][real[row]] for outputs in (good, made))
    return float((bad - right).abs().max() / right.abs().max())


# %%
def evidence(fault, number):
    """Where a fault first shows, how much, and what else it changes."""
    with al.heads.planted(clf, fault, number):
        logits, made = activations()
        spread = al.attention.effective_keys(clf.attend(text).weights[number]).mean()
    first = find(good, made, real)
    names = [first] if first else list(good)
    long, short = (max(difference(made, one, row) for one in names) for row in (0, 1))
    return {
        "first wrong part": first or "none",
        "difference, long text": f"{long:.1g}",
        "difference, short text": f"{short:.1g}",
        "effective keys": f"{spread:.1f}",
        "answers changed": f"{(logits.argmax(-1) != expected.argmax(-1)).sum()} of 2",
    }


# %% [markdown]
# A fault and a layer are drawn, unseen. Change the seed for another.

# %%
seed = 10
draw = torch.Generator().manual_seed(seed)
number = int(torch.randint(clf.layers, (), generator=draw))
secret = list(al.heads.FAULTS)[torch.randint(len(al.heads.FAULTS), (), generator=draw)]
bad, fine = evidence(secret, number), evidence(None, number)
part = "down" if secret == "bias" else "attention"
assert bad["first wrong part"] == f"layer {number}, {part}"
al.plots.table(pd.DataFrame({"with the fault": bad, "without": fine}))

# %% [markdown]
# You know where it *shows*. (The differences are those in this first part: 1 is as
# large as its largest right number.) Now decide *what* it is.
#
# - Which fault shows in another part than the other three?
# - Only the short text is padded. Does the long one differ?
# - The *effective keys* say over how many tokens a row of the long text spreads (lesson
#   01), at most 15. Which fault makes rows *nearly* flat?
#
# Then set `reveal = True`.
#
# <details><summary>Which number of effective keys points to which fault?</summary>
#
# On this text a divisor that is far too large gives about 12 to 14 in every layer, the
# reshape 6 to 11. Compare with the column *without*: the last layer has 7.4 even
# unharmed.
#
# </details>

# %%
reveal = False
print(f"It was: {secret}, in layer {number}." if reveal else "Decide first.")

# %% [markdown]
# Compare all four in layer 2:

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
# The answers hardly tell: one of the eight changed.
#
# How does a difference spread from part to part? (The vertical axis is logarithmic.)

# %%
curves = {}
for fault in al.heads.FAULTS:
    with al.heads.planted(clf, fault, 2):
        made = activations()[1]
    apart = [max(difference(made, name, row) for row in (0, 1)) for name in good]
    curves[fault] = [max(one, 1e-8) for one in apart]

# %%
picture = al.plots.lines(
    [step / 4 for step in range(len(good))],
    curves,
    xlabel="layer; each has four parts: attention, up, down, output",
    ylabel="largest difference (relative)",
    title="Where does a fault in layer 2 first show?",
    log="y",
    alt="No difference up to layer 2, then a jump by orders of magnitude.",
)
axes = picture.figure.axes[0]
axes.set_xticks(range(clf.layers))
axes.axvline(2, color="0.4", linestyle=":", linewidth=1)
axes.text(1.65, 1e-2, "fault", ha="right")
picture

# %% [markdown]
# Before the fault nothing differs (drawn as $10^{-8}$). At the fault the difference
# jumps by orders of magnitude, and then stays far above rounding. So the *first*
# difference tells where to look: at that part, and at what it was given. The later ones
# say nothing about the place.
#
# <details><summary>When does this search fail?</summary>
#
# If the input does not show the bug: without padding nobody sees a missing mask. And if
# the tolerance is not between rounding and the difference. (And two texts are too few
# to say how often a fault changes the answer.)
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
# - A bright column may be an attention sink. `[CLS]` is one in this model: its vector
#   is short, so for all its weight it adds no more than about an even share.
# - The first activation that differs tells where to look for the bug.
#
# <details><summary>What to call in practice</summary>
#
# `F.scaled_dot_product_attention`: the same context, usually faster, but without the
# weights. (Try an empty row in your version.)
#
# </details>
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
# weight − mean)*, with the weighted mean of its row. And as scores are products divided
# by $\sqrt D$, divide by $\sqrt D$ on the way back too.
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
# The table compares it with autograd. 0 means equal; an error of 1 is as long as the
# right gradient.

# %%
given = [torch.randn(2, 6, 8, requires_grad=True) for _ in range(3)]
coming, rows = torch.randn(2, 6, 8), {}
for name, allowed in (("no mask", None), ("causal mask", al.attention.causal_mask(6))):
    right = torch.autograd.grad(masked_attention(*given, allowed)[0], given, coming)
    with torch.no_grad():
        found = hurried(*given, coming, allowed)
    errors = [(a - b).norm() / b.norm() for a, b in zip(found, right, strict=True)]
    rows[name] = [f"{float(error):.1g}" for error in errors]
columns = ["error of d_query", "of d_key", "of d_value"]
al.plots.table(pd.DataFrame(rows, index=columns).T)

# %% [markdown]
# ### Exercise 8: attention, backward
#
# *Difficulty 3 of 5, 10 minutes.* Find the three places, then write the function
# without them, and without autograd. Read the table first:
#
# - Without a mask `d_query` is right. Which lines does that clear?
# - `d_key` and `d_value` are wrong even then. Over what must they add up?
# - With a mask all three are wrong. Which line do they share?
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
    weights = scores.softmax(-1) if mask is None else softmax_of(scores, mask)
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
# logit of the answer minus that of the other class, with respect to the token vectors.
# In all layers exercise 8 takes the place of PyTorch's rule for attention; the rest
# stays autograd's. (Three cells of plumbing; look at the fourth.)
#
# <details><summary>How does your backward pass get into PyTorch?</summary>
#
# An `autograd.Function` tells PyTorch how to go back through one step; `ctx` keeps what
# it needs.
#
# </details>

# %%
backward_of = al.checks.yours_or_ours("attention_backward", attention_backward)

# %% [markdown]
# `Attend` is attention as one step for PyTorch. Its forward pass is `masked_attention`,
# with your softmax; its backward pass is your exercise 8.


# %%
class Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, mask):
        ctx.save_for_backward(query, key, value, mask)
        return masked_attention(query, key, value, mask)[0]

    @staticmethod
    def backward(ctx, gradient):
        *given, mask = ctx.saved_tensors
        return *backward_of(*given, gradient, mask), None


# %% [markdown]
# `ByHand` is your `MultiHead` with `Attend` as its core. `gradient_of` puts it into six
# of your layers, with BERT's parameters; the rest is BERT's own, as in section 5.


# %%
class ByHand(Attention):
    def forward(self, query, key, value, mask=None):
        projected = self.query(query), self.key(key), self.value(value)
        q, k, v = (split(side, heads) for side in projected)
        context = Attend.apply(q, k, v, mask[:, None])
        return self.output(al.attention.merge_heads(context))


def gradient_of(kind):
    """Of each text's margin with respect to the vectors of its tokens, (B, T, E)."""
    x = bert.embeddings(batch["input_ids"]).detach().requires_grad_()
    states = run(kind, x, visible)
    logits = clf.model.classifier(bert.pooler(states)).sort(descending=True).values
    return torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)[0]


# %%
by_hand, by_autograd = gradient_of(ByHand), gradient_of(Attention)
apart = (by_hand - by_autograd).norm() / by_autograd.norm()
print(f"by hand and by autograd differ by {apart:.0e} of the gradient's length")
strongest = by_hand[0].norm(dim=-1).topk(3).indices.tolist()
print("the answer changes fastest with:", *(maps.tokens[i] for i in strongest))
print(f"largest gradient at padding: {by_hand[~visible[:, 0]].abs().max():.0e}")
assert apart < 1e-4

# %% [markdown]
# By hand and by autograd agree, and padding gets no gradient. The answer changes
# fastest with *stays*, *ending* and *slow*. (That is what a tiny change does, not what
# a word is worth.)

# %% [markdown]
# ## Appendix B. Does a causal mask keep its promise?
#
# With a causal mask no token may depend on a later one. Change token 3 of six, counted
# from 0, and see whose context moves:

# %%
x = torch.randn(6, 16)
changed = x.clone()
changed[3] += 1.0  # token 3 is another one
for name, mask in (("no mask", None), ("causal", al.attention.causal_mask(6))):
    before, after = (masked_attention(y, y, y, mask)[0] for y in (x, changed))
    moved = (before - after).abs().amax(-1) > 0
    print(f"{name:8} moved: {moved.nonzero().flatten().tolist()}")

# %% [markdown]
# Only token 3 and later ones move. So a language model can learn all next-token
# predictions of a text in one pass (lesson 04).
#
# **Sources.** Vaswani et al. 2017 (sections 3.1 to 3.3) · Ba et al. 2016 (layer norm) ·
# Devlin et al. 2019 (BERT) · Wang et al. 2020 (MiniLM) · Clark et al. 2019 and Xiao et
# al. 2024 (sinks) · Kobayashi et al. 2020 (weight × value) · Vig 2019 (bertviz).

# %%
al.checks.summary("attention_from_scratch")
