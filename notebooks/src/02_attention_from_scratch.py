# %% [markdown]
# # 02 Attention from scratch
#
# **What exactly happens inside one layer of BERT, and can you rebuild it so that the
# same numbers come out?** You write attention, masks and heads in plain PyTorch, a few
# lines at a time, and each piece is checked before the next stands on it. In the end
# the same lines run with BERT's own weights and give BERT's own answer.
#
# Afterwards you can
#
# - write self-attention and cross-attention for batches, without a loop;
# - hide the future and the padding, also where nothing is left to see;
# - cut a layer into heads and put them together again, and say what a wrong reshape
#   does;
# - show that an attention layer equals PyTorch's, forward and backward.
#
# Time: about 100 minutes, 55 of them for six exercises. You need
# [lesson 01](01_attention_maths.ipynb), or its formula. Choose **Run → Run All Cells**
# first; exercises that are not written yet only say so.

# %%
import torch
from torch import nn

import attnlab as al

clf = al.load_classifier("movie-sentiment")

# %% [markdown]
# ## 1. Move something first
#
# Here are the weights of a real head, for a sentence of ours. Each row is a query, each
# column a key; a row says where that token looks, and sums to 1. Choose heads and see
# how differently they look. Then move the masks: *causal* hides the future, *window*
# hides what is far away, *padding* pretends that the last tokens are only filling.
#
# Last, apply the mask **after** the softmax instead of before it and watch the row
# sums. What goes wrong? You will meet this mistake again in exercise 3.

# %%
text = "The second half is slow, but the ending stays with you."
maps = clf.attend(text)
desk = al.MaskDesk(maps, layer=3, head=0)
desk

# %% [markdown]
# ## 2. Attention in three lines
#
# Lesson 01 derived the formula
#
# $$ A = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right), \qquad C = A V $$
#
# with one row of $Q$ for each query, one row of $K$ and one of $V$ for each key. In the
# code of this course the last two axes of a tensor are always *tokens* and *width*:
# `(..., T, D)`. Whatever stands before, batches or heads, just comes along, if you
# count axes from the end, `-1` and `-2`. $A$ are the **weights**; the mixture $C$ is
# the **context**.
#
# ### Exercise 1: attention
#
# *Difficulty 2 of 5, 10 minutes.* Return the context and the weights. `softmax` of
# PyTorch or of lesson 01 may be used; it is the rest that counts here, and a
# ready-made attention does not.


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
# of `value`: again a matrix product. Two things are returned, the context first.

# %% [markdown]
# If queries, keys and values come from the same text, that is **self-attention**; if
# the queries come from one text and keys and values from another, **cross-attention**:
# a translation asking its source, a question asking a document. The function is the
# same:

# %%
french, english = torch.randn(1, 4, 16), torch.randn(1, 7, 16)  # tokens as vectors
for name, source in (("self-attention", french), ("cross-attention", english)):
    context, weights = al.attention.scaled_dot_product_attention(french, source, source)
    print(f"{name}: weights {tuple(weights.shape)}, context {tuple(context.shape)}")

# %% [markdown]
# Notice that the context always has one row for each *query*, in the width of the
# values. The shape of the result does not depend on the number of keys.
#
# ## 3. Who may look where: masks
#
# Three reasons to hide keys from a query:
#
# - **the future**: a model that learns to predict the next token must not see it;
# - **padding**: texts of a batch are filled up to the same length, and the filling
#   means nothing;
# - **distance**: looking only at neighbours is cheaper, if the rest is never computed
#   (a mask alone saves nothing).
#
# In this course a mask is a tensor of `bool`, **True where looking is allowed**.
# (Beware: some libraries mean the opposite, `nn.MultiheadAttention` for one.) Masks
# combine with *and*, and broadcast: a mask `(T, T)` serves every text, a mask `(B, 1,
# T)` every query.

# %%
causal = al.attention.causal_mask(5)
local = al.attention.local_mask(5, window=1)
padding = al.attention.padding_mask(torch.tensor([3]), max_length=5)  # 3 real tokens
for name, mask in {
    "causal": causal,
    "local": local,
    "causal and local": causal & local,
    "causal and padding": (causal & padding)[0],
}.items():
    print(
        name, *("".join(" ■" if see else " ·" for see in row) for row in mask), sep="\n"
    )

# %% [markdown]
# ### Exercise 2: the causal mask
#
# *Difficulty 1 of 5, 5 minutes.* Token `i` may look at tokens `0` to `i`.


# %% exercise="causal_mask" points=1
def causal_mask(length):
    """Bool, (length, length): may the query (row) look at the key (column)?"""
    ### BEGIN SOLUTION
    position = torch.arange(length)
    return position[None, :] <= position[:, None]
    ### END SOLUTION


# %% check="causal_mask"
al.checks.causal_mask(causal_mask)

# %% [markdown] hints="causal_mask"
# Rows are queries, columns are keys. In the row of token 2, columns 0, 1 and 2 are
# True.
#
# ---
# `torch.ones(length, length).tril()` keeps the lower triangle with its diagonal. Or
# compare positions: a key's (as a row) with a query's (as a column).

# %% [markdown]
# How do you *use* a mask? The rule that weights sum to 1 must hold over the keys that
# are left. So hidden keys have to be out **before** the softmax, and the score that
# does it is $-\infty$, since $e^{-\infty} = 0$. Then they take no weight and have no
# share in the sum either. Compare with cutting weights off afterwards:

# %%
scores = torch.tensor([[2.0, 1.0, 0.0, 3.0]])
mask = torch.tensor([[True, True, True, False]])
after = scores.softmax(-1) * mask
before = al.attention.softmax(scores, mask)
print(f"mask after the softmax:  {after.numpy().round(3)}, sum {after.sum():.2f}")
print(f"mask before the softmax: {before.numpy().round(3)}, sum {before.sum():.2f}")

# %% [markdown]
# A trap sits at the edge: a query that may look *nowhere*, such as the row of a padding
# token in some libraries. All its scores are $-\infty$, and the softmax computes $0 /
# 0$. One NaN is enough: it spreads to every parameter in the next step of training. A
# large finite number instead of $-\infty$ hides the problem, but then that query
# attends evenly to what it must not see. The clean answer: its weights are all 0.
#
# ### Exercise 3: masked softmax
#
# *Difficulty 3 of 5, 15 minutes.* Weights over the last axis; hidden keys get exactly
# 0; a row in which all is hidden gets zeros; gradients stay finite. The mask
# broadcasts.


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
# Does the causal mask keep its promise? Change one token, and see whose output moves.

# %%
x = torch.randn(1, 6, 16)
changed = x.clone()
changed[0, 3] += 1.0  # token 3 is another one
for name, mask in (("no mask", None), ("causal", al.attention.causal_mask(6))):
    before, after = (
        al.attention.scaled_dot_product_attention(one, one, one, mask)[0]
        for one in (x, changed)
    )
    moved = (before - after).abs().amax(-1)[0] > 0
    print(f"{name:8} moved: {[i for i, yes in enumerate(moved.tolist()) if yes]}")
assert not moved[:3].any()

# %% [markdown]
# With the causal mask tokens before the change know nothing of it. That is what lets a
# Transformer learn all next-token predictions of a text in one pass.
#
# ## 4. Queries, keys and values are learned
#
# A token comes in as one vector $x$. To ask, to be found and to tell are different
# jobs, so each gets a matrix of its own: $Q = X W^Q$, $K = X W^K$, $V = X W^V$. With
# one matrix for $Q$ and $K$ the *scores* would be symmetric: token 2 suits token 5 as 5
# suits 2. And for random vectors most tokens would score highest with themselves, where
# one in six would by chance:

# %%
x = torch.randn(200, 6, 16)  # 200 texts of 6 tokens
w, another = torch.randn(2, 200, 16, 16) / 4  # matrices drawn anew for each text
itself = torch.arange(6)
for name, keys in (("one matrix", x @ w), ("a matrix each", x @ another)):
    scores = al.attention.scaled_dot_scores(x @ w, keys)
    lopsided = (scores - scores.transpose(-2, -1)).abs().mean()
    share = (scores.argmax(-1) == itself).float().mean()
    print(
        f"{name:14}: scores and their mirror image differ by {lopsided:.2f} on average;"
    )
    print(f"{'':16}{share:.0%} of tokens score highest with themselves", end=" ")
    print(f"(by chance {1 / 6:.0%})")

# %% [markdown]
# ## 5. Heads
#
# A layer with $H$ heads does not make $H$ small projections. It makes one large one, of
# width $H \cdot D$, and *cuts* the result: columns $0$ to $D - 1$ belong to head 0, the
# next $D$ to head 1, and so on. Then the heads move in front of the tokens, where they
# come along like a batch, and one call of attention serves them all:
#
# $$ (B, T, H \cdot D) \;\to\; (B, T, H, D) \;\to\; (B, H, T, D) $$
#
# The numbers of this small example say where they come from: 100 x token + column.

# %%
tokens, heads, width = 3, 2, 2
x = 100 * torch.arange(tokens)[:, None] + torch.arange(heads * width)
print("before, token by token:", *x.tolist(), sep="\n  ")
for head, part in enumerate(al.attention.split_heads(x[None].float(), heads)[0]):
    print(f"head {head}:", *part.int().tolist(), sep="\n  ")

# %% [markdown]
# A reshape straight to `(B, H, T, D)` has the right shape as well, and raises no error:

# %%
wrong = x.reshape(heads, tokens, width)
print("head 0 after a reshape alone:", *wrong[0].tolist(), sep="\n  ")

# %% [markdown]
# Head 0 now holds both halves of token 0 and the first half of token 1, as if they were
# three tokens; token 2 is missing. It is an easy mistake to make, because nothing
# complains.
#
# ### Exercise 4: split heads
#
# *Difficulty 2 of 5, 5 minutes.* Cut the width into heads and move them before the
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
# Two steps: cut the last axis in two, then let two axes change places.
#
# ---
# The cut gives `(B, T, H, D)`, in this order. Which axes must change places to reach
# `(B, H, T, D)`?

# %% [markdown]
# ### Exercise 5: merge heads
#
# *Difficulty 2 of 5, 5 minutes.* The way back: put the heads of each token side by
# side.


# %% exercise="merge_heads" points=2
def merge_heads(x):
    """(B, H, T, D) to (B, T, H * D), the heads side by side."""
    ### BEGIN SOLUTION
    batch, heads, tokens, width = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * width)
    ### END SOLUTION


# %% check="merge_heads"
al.checks.merge_heads(merge_heads)

# %% [markdown] hints="merge_heads"
# The same two steps, the other way round: first change places, then join.
#
# ---
# After `transpose` a tensor's numbers are no longer in order in memory, so `view`
# refuses to join axes. `reshape` copies them first.

# %% [markdown]
# ### Exercise 6: multi-head attention
#
# *Difficulty 3 of 5, 15 minutes.* Put it together: project, split, attend with the
# mask, merge, project. The layers are there; write `forward`. `mask` is None, `(T_q,
# T_k)`, or `(B, 1, T_k)`; the scores of all heads are `(B, H, T_q, T_k)`. You may use
# everything in `al.attention` but `MultiHeadAttention`.


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
        q, k, v = (al.attention.split_heads(x, self.heads) for x in projected)
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        context, _ = al.attention.scaled_dot_product_attention(q, k, v, mask)
        return self.output(al.attention.merge_heads(context))
        ### END SOLUTION


# %% check="MultiHead"
al.checks.MultiHead(MultiHead)

# %% [markdown] hints="MultiHead"
# In this order: three projections, three splits, attention, one merge, the output
# projection. `al.attention.scaled_dot_product_attention(q, k, v, mask)` returns context
# and weights; it divides by the root of the width it is given, which after the split is
# the width of one head, as it should be.
#
# ---
# Which masks fit the scores as they are? `(T_q, T_k)` does. `(B, 1, T_k)` has its batch
# where the scores have their heads: `mask[:, None]` makes it `(B, 1, 1, T_k)`.

# %% [markdown]
# ## 6. Is it right? Ask PyTorch
#
# The package's `MultiHeadAttention` is this exercise with a little more: dropout on the
# weights, a scale and a temperature for each head, weights on request. Give it the
# weights of `nn.MultiheadAttention` and compare, forward and backward.

# %%
theirs = nn.MultiheadAttention(48, 4, batch_first=True)
ours = al.attention.MultiHeadAttention(48, 4)
projections = ours.query, ours.key, ours.value  # theirs are stacked into one matrix
weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
for mine, weight, bias in zip(projections, weights, biases, strict=True):
    mine.weight.data, mine.bias.data = weight.data.clone(), bias.data.clone()
ours.output.weight.data = theirs.out_proj.weight.data.clone()
ours.output.bias.data = theirs.out_proj.bias.data.clone()

# %%
x = torch.randn(2, 9, 48, requires_grad=True)
padding = al.attention.padding_mask(torch.tensor([9, 5]))
mine, weights = ours(x, mask=padding, return_weights=True)
reference = theirs(x, x, x, key_padding_mask=~padding[:, 0])[0]  # theirs: True hides
gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (mine, reference)]
print(f"output:   largest difference {(mine - reference).abs().max():.0e}")
print(f"gradient: largest difference {(gradients[0] - gradients[1]).abs().max():.0e}")
assert torch.allclose(mine, reference, atol=1e-6)
assert torch.allclose(*gradients, atol=1e-5)

# %% [markdown]
# ## 7. Rebuild BERT
#
# Now with weights that mean something. The classifier of lesson 00 is a
# `BertForSequenceClassification` of the Transformers library. Take one of its layers,
# copy the four projections into our attention, and leave the library's own attention
# out.


# %%
def rebuilt(layer):
    """Our attention with the weights of one BERT layer."""
    attention = al.attention.MultiHeadAttention(clf.model.config.hidden_size, clf.heads)
    for name in ("query", "key", "value"):
        copied = getattr(layer.attention.self, name).state_dict()
        getattr(attention, name).load_state_dict(copied)
    attention.output.load_state_dict(layer.attention.output.dense.state_dict())
    return attention.eval().to(clf.device)


bert = clf.model.bert
attentions = [rebuilt(layer) for layer in bert.encoder.layer]

# %% [markdown]
# What else is in a layer? Twice the same pattern: compute something, add it to what
# came in (the *residual* connection), normalise. First attention, which moves
# information *between* tokens; then a feed-forward network, which works on each token
# by itself.


# %%
def layer_of_ours(layer, attention, hidden, mask):
    """One layer of BERT, with our attention in it: hidden states and weights."""
    mixed, weights = attention(hidden, mask=mask, return_weights=True)
    hidden = layer.attention.output.LayerNorm(hidden + mixed)
    wide = nn.functional.gelu(layer.intermediate.dense(hidden))  # 4 times the width
    return layer.output.LayerNorm(hidden + layer.output.dense(wide)), weights


# %%
batch = clf.tokenizer([text, "A joy."], padding=True, return_tensors="pt").to(
    clf.device
)
mask = batch["attention_mask"].bool()[:, None]  # (B, 1, T): the padding of "A joy."
with torch.no_grad():
    theirs = bert(**batch, output_hidden_states=True).hidden_states
    ours, _ = layer_of_ours(bert.encoder.layer[3], attentions[3], theirs[3], mask)
real = mask[:, 0]  # outputs at padding are not used
print(f"layer 3: largest difference {(ours - theirs[4])[real].abs().max():.0e}")

# %% [markdown]
# And all layers one after another, from the tokens to the answer:

# %%
with torch.no_grad():
    hidden = bert.embeddings(batch["input_ids"])
    weights = []
    for layer, attention in zip(bert.encoder.layer, attentions, strict=True):
        hidden, looked = layer_of_ours(layer, attention, hidden, mask)
        weights.append(looked)
    logits = clf.model.classifier(bert.pooler(hidden))  # read off [CLS]
    expected = clf.model(**batch).logits
print(f"logits: largest difference {(logits - expected).abs().max():.0e}")
for row in logits.softmax(-1):
    print(f"{clf.label_names[row.argmax()]} ({row.max():.0%})")
assert torch.allclose(logits, expected, atol=1e-4)

# %% [markdown]
# The same answer, from attention built as in exercise 6. Does your own `MultiHead` give
# it too? Once it is written, this cell asks it for one layer:

# %%
try:
    own = MultiHead(clf.model.config.hidden_size, clf.heads).to(clf.device)
    own.load_state_dict(attentions[3].state_dict())
    with torch.no_grad():
        mine, built = (
            own(hidden, hidden, hidden, mask),
            attentions[3](hidden, mask=mask),
        )
    print(f"yours: largest difference {(mine - built).abs().max():.0e}")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# ## 8. What do its heads look at?
#
# The weights computed on the way are BERT's: they equal what `clf.attend` reports. Look
# at them. The list *Layer* chooses a layer, a double click on a coloured square shows
# one head alone, and pointing at a word shows its lines. Can you find a head that looks
# at the word before, one that looks at the word after, and one that rests on `[CLS]`?

# %%
maps = clf.attend(text)
ours = torch.stack([looked[0] for looked in weights]).cpu()  # (layers, heads, T, T)
print(f"largest difference: {(ours - maps.weights).abs().max():.0e}")
al.attention_view(maps, layers=[0, 1, 2])

# %% [markdown]
# A small search finds the first of them: how much weight does each head put on the
# token before, on average over this sentence? (For the token after, take `offset=1`;
# for `[CLS]`, the column `maps.weights[..., 0]`.)

# %%
before = maps.weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(-1)  # (layers, heads)
al.plots.head_map(
    before, label="mean weight on the token before", title="Who looks one back?"
)

# %%
layer, head = divmod(int(before.argmax()), clf.heads)
al.plots.attention_map(maps, layer, head)

# %% [markdown]
# One sentence proves little about a head; but now you know what to look for, and that
# what you see is what the model computes.
#
# ## What to take along
#
# - Attention is three lines: scores, softmax, mixture. Count axes from the end, and
#   batches and heads come along.
# - Masks go in before the softmax, as $-\infty$, and a row with nothing to see gets
#   zeros.
# - Heads are slices of one projection. First `(B, T, H, D)`, then change places; a
#   reshape alone mixes tokens and nothing complains.
# - With BERT's weights this is BERT, to rounding.
#
# Next: [03 Translation](03_translation.ipynb) gives attention a second text to look at,
# and [06 Head mixing](06_head_mixing.ipynb) takes hold of the heads you have just seen.
#
# **Sources.** Vaswani et al. 2017 (sections 3.1 and 3.2) · Devlin et al. 2019 (BERT) ·
# Vig 2019 (bertviz).

# %%
al.checks.summary("attention_from_scratch")
