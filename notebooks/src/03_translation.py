# %% [markdown]
# # 03 Translation
#
# **How does a model read one text and write another?** This lesson follows one small
# translator, from the first character that it reads to the last one that it writes. It
# turns dates like `3 mars 2021` into `2021-03-03`, and is nearly always right. Yet it
# fails on a date that looks easier. You will find out why.
#
# Afterwards you can
#
# - write the parts that make a Transformer (Vaswani et al. 2017) a decoder;
# - train it, and judge it by the loss, the perplexity, and the share that comes out
#   right;
# - find out what it has *not* learned, and which heads it needs;
# - search with beams, and tell a fault of the search from one of the model.
#
# Sections 1 to 5 build the decoder, section 6 trains it, and 7 to 9 look for the cause
# of its mistakes.
#
# Time: about 120 minutes. Six exercises take 50 of them, and a seventh, in appendix A,
# takes 10. You need [lesson 02](02_attention_from_scratch.ipynb). The other appendices
# are extra; D goes from English to French.
#
# Choose **Run → Run All Cells** first. It takes two to three minutes on one processor
# core. Folded code need not be read; a click on its first line opens it.

# %% folded=true
# what this lesson imports
import itertools
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab.show import drawings
from attnlab.statistics import paired_bootstrap, share_interval
from attnlab.translation import padded, scores

# %% [markdown]
# The next cell loads a set of dates and a trained translator, `ready`.

# %%
size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
dates = al.datasets.load("dates")
ready = al.load_translator("dates")
print(dates, "| profile", size.name, "on", al.device.device())
print(ready)

# %% [markdown]
# On a CPU nothing is trained for more than a few seconds, unless you set
# `train = True`:

# %%
train = size.name != "cpu" or "ATTNLAB_TRAIN" in os.environ

# %% [markdown]
# ## 1. A small translator: where does it look?
#
# People write the same day in many ways. Turning `3 mars 2021` into `2021-03-03` (the
# standard ISO 8601) is a small translation with just one right answer.
#
# The text that goes in is the **source**, the text that comes out the **target**. A
# **tag** in front of the source names the language, and sometimes the country. It
# matters: `03/04/2021` is 3 April in London and 4 March in New York. Here are six
# pairs:

# %% folded=true
# six pairs of the test part
shown = dates.test.select(range(6))
frame = pd.DataFrame({"source": shown.sources, "target": shown.targets})
al.plots.table(frame).hide(axis="index")

# %% [markdown]
# The translator below was trained on 20,000 such pairs in 18 languages. It writes the
# target one character at a time. Try two things:
#
# 1. Move the slider **output position**. The line *looks at* shades where one attention
#    head (layer 1, head 3) looks in the source while this character is written.
# 2. Pull the fader of that head, in the group *Cross*, to 0 (or double-click it). Does
#    the date still come out right? Do others? The desk counts them.
#
# A static page shows a map instead: each row is a character that is written, and the
# frame is the output position. The dates that the desk counts are *dev* pairs. They are
# kept out of training, and serve for choosing settings.

# %%
desk = al.TranslationDesk(
    ready,
    dates.dev.sample(size.sweep_sentences // 5),
    source="fr: mercredi 3 mars 2021",
)
desk.set(step=2, layer=1, head=3)  # the third character, of the year
desk

# %% [markdown]
# While the model writes the year (output positions 0 to 3) this head looks at the end
# of the source, where the year stands. For the month (positions 5 and 6) it looks at
# `mars`. Nobody told it to: the model was given pairs of texts, no more. Yet with this
# head at 0 the date still comes out right. Section 8 comes back to that.
#
# Now ask for the same day twice. The second source below only has to be copied:

# %%
sources = ["fr: mercredi 3 mars 2021", "fr: 2021-03-03"]
for source, answer in zip(sources, ready.translate(sources), strict=True):
    print(f"{source:25} becomes {answer}")

# %% [markdown]
# The first answer is right. The second is far off. Why? **That is the riddle.** For an
# answer we must first know how the model works.
#
# ## 2. How do two texts meet?
#
# BERT (lesson 02) reads *one* text, and the tokens of this text look at each other. A
# translator has two texts, and a part for each:
#
# - The **encoder** reads the source, once. It leaves one vector for each source token.
#   These vectors together are called the **memory**.
# - The **decoder** writes the target token by token; here each character is a token. At
#   each step it looks into the memory. This look is called **cross-attention**.
#
# Attention was made for this. Before, the whole source had to pass through *one*
# vector, and long sentences suffered. Bahdanau et al. (2015) let the decoder look back
# at a vector for each source token.

# %%
drawings.encoder_decoder(["fr", "3", "mars", "2021"], ["2", "0", "2", "1"])

# %% [markdown]
# Follow the orange arrow: cross-attention takes its keys and values from the memory.
#
# <details><summary>The three attentions side by side</summary>
#
# | | queries from | keys and values from | may look at |
# | --- | --- | --- | --- |
# | self-attention of the encoder | source | source | the source, not its padding |
# | self-attention of the decoder | target | target | what has been written |
# | **cross-attention** | target | memory of the source | the source, not its padding |
#
# </details>
#
# How does such a look work? Suppose the decoder has written `2021-` and needs a month.
#
# Its **query** says what it looks for. Each source token has a **key**, which is
# compared with the query, and a **value**, which can be fetched. The cell draws an
# example with three source tokens, and two numbers in each vector:

# %%
query = torch.tensor([0.5, 3.0])
keys = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]])  # of 3, mars, 2021
values = torch.tensor([[3.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
words = ["3", "mars", "2021"]
drawings.cross_attention_by_hand(query, keys, values, words, "looks for the month")

# %% [markdown]
# Read it from left to right:
#
# 1. The key of `mars` fits the query best, so `mars` gets the highest score.
# 2. The softmax gives it most of the weight, 0.95.
# 3. So the mixture, (0.09, 2.89), is nearly its value, (0, 3).
#
# As in lesson 02 each head makes queries, keys and values by learned projections: $Q$
# from the decoder's vectors $X$, $K$ and $V$ from the memory $M$. (So in code the
# memory is handed over twice, as key and as value.)
#
# $$ Q = X W_Q, \quad K = M W_K, \quad V = M W_V; \qquad
# A = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right), \quad C = A V . $$
#
# Here $d_k$ is the width of a head's keys, 2 in the example. $A$ holds the weights, and
# $C$, the *context*, what is fetched. With $Q$, $K$ and $V$ at hand it takes two lines:

# %%
weights = (query @ keys.T / query.shape[0] ** 0.5).softmax(-1)  # (S,)
context = weights @ values
print("weights", weights.numpy().round(2), "context", context.numpy().round(2))

# %% [markdown]
# These are the numbers of the picture, one row of $A$. All of $A$ has a row for each
# target token and a column for each source token. So it can be read as an
# **alignment**: which source tokens belong to which target token?
#
# The next cell draws it for the trained model, averaged over all heads. The brighter a
# cell, the more weight. The columns are **sub-words**, frequent pieces of text:
# `mercredi` with its space (␣) is one, and so is each digit. (They are found by *byte
# pair encoding*: it joins the commonest neighbours, again and again.)

# %%
maps = ready.attend("fr: mercredi 3 mars 2021")
fields = {  # rows (written) and columns (source), first and last
    "year": ((0, 3), (7, 10)),
    "month": ((5, 6), (5, 5)),
    "day": ((8, 9), (4, 4)),
}
title = "Year, month, day: it looks in the order of writing"
al.plots.alignment(maps, frames=fields, title=title)

# %% [markdown]
# From top to bottom the frames are year, month and day, as in the target. From left to
# right they are day, month and year, as in the source. (The colon is bright, too:
# perhaps it is a *sink*, as in lesson 02.)
#
# ## 3. What does the decoder read?
#
# When the decoder writes on its own, it reads at each step what it has said so far, and
# says one token more:

# %%
drawings.writing_steps(["2", "0", "2", "1"])

# %% [markdown]
# It begins with a *start mark*. When it says the *end mark*, it is done. (Elsewhere
# they are called BOS and EOS.)
#
# In training the right translation is known. So the decoder reads the *right* tokens,
# whatever it said. At each position it is asked for the next one. This is called
# **teacher forcing**:

# %%
drawings.teacher_forcing(list("2021-03-03"))

# %% [markdown]
# Both rows hold the same text, shifted by one place. All positions work at once, since
# nothing that is read depends on what was said.

# %% [markdown]
# ### Exercise 1: teacher forcing
#
# *Difficulty 2 of 5, 6 minutes.* A target comes as a list of *ids*, the numbers of its
# tokens. Given several targets, return two tensors: what the decoder reads, and what it
# should say at each position (the *labels*). It reads the start mark first, and says
# the end mark last. Targets differ in length, so fill the shorter rows with padding
# **at their end**, in both tensors.


# %% exercise="teacher_forcing" points=2
def teacher_forcing(targets, start, end, padding):
    """(fed, labels): what the decoder reads and what it should say, (B, T) each.

    targets: B lists of ids without marks, the longest has T - 1 of them
    start, end, padding: ids
    """
    ### BEGIN SOLUTION
    width = 1 + max(map(len, targets))
    fed = torch.full((len(targets), width), padding)
    labels = fed.clone()
    for row, ids in enumerate(targets):
        fed[row, : len(ids) + 1] = torch.tensor([start, *ids])
        labels[row, : len(ids) + 1] = torch.tensor([*ids, end])
    return fed, labels
    ### END SOLUTION


# %% check="teacher_forcing"
al.checks.teacher_forcing(teacher_forcing)

# %% [markdown] hints="teacher_forcing"
# Write one sentence down with its two marks: `[start, *ids, end]`. Which of its tokens
# is never said? Which is never read?
#
# ---
# What is read is that sentence without its last token; the labels are the sentence
# without its first. Add the marks before you add padding.
#
# ---
# `torch.full((B, T), padding)` is a tensor with nothing but padding. Then write each
# sentence into the beginning of its row: `fed[row, :n] = torch.tensor(...)`.

# %% [markdown]
# From now on your functions work in a real model. Until one of them is right, ours
# takes its place.

# %%
forced = al.checks.yours_or_ours("teacher_forcing", teacher_forcing)

# %% [markdown]
# The next cell lets a translator read pairs in your way. For each position it returns
# the label and the **logits**: a score for each of the $V$ tokens of the vocabulary,
# which the softmax turns into probabilities. In shapes $B$ counts texts, $T$ target
# tokens and $S$ source tokens.


# %%
def logits_and_labels(translator, pairs):
    """(logits (B, T, V), labels (B, T)): what the model says and what it should say."""
    words, where = translator.target_words, translator.device
    ids = [words.encode(text) for text in pairs.targets]
    fed, labels = forced(ids, words.start, words.end, 0)  # your teacher forcing
    source = padded(translator.encode(pairs.sources)).to(where)
    return translator.model(source, fed.to(where)).logits, labels.to(where)


# %% [markdown]
# How probable does the model find each right token of `2021-03-03`? We ask once with
# each source of section 1. A single pass gives all eleven probabilities.

# %%
rows = []
for text in sources:
    pair = SimpleNamespace(sources=[text], targets=["2021-03-03"])
    with torch.no_grad():
        logits, labels = logits_and_labels(ready, pair)
    rows.append(logits.softmax(-1).gather(-1, labels[..., None])[0, :, 0].cpu().numpy())

# %% folded=true
# the picture: a row for each source, a column for each right token
al.plots.matrix(
    np.array(rows),
    xlabel="right token, after all right tokens before it",
    ylabel="source",
    label="probability",
    rows=[text[4:] for text in sources],
    columns=[*"2021-03-03", "end"],
    alt="Probabilities of the right tokens: all near 1 above, six near 0 below.",
)

# %% [markdown]
# With the first source each right token is nearly certain. With the second, six of the
# eleven are nearly impossible, although the decoder has read only right tokens. So it
# is not one wrong character that leads to the next: the source misleads the model.
#
# <details><summary>What does teacher forcing not teach?</summary>
#
# A model that writes on its own goes on from its mistakes. In training it never does.
# This gap is called **exposure bias**.
#
# </details>
#
# ## 4. What may the decoder see?
#
# Teacher forcing puts the whole right answer before the decoder. So it could cheat, and
# copy. A **mask** (lesson 02) must hide two things from it:
#
# - **The future.** After `start 2 0` the right answer is `2`, the next token in the
#   row. A position that saw it would only learn to copy.
# - **Padding**, which only fills up shorter texts. If it were seen, the answer could
#   depend on the other texts in the batch.
#
# One mask hides both. In the drawing a row is a query, the token that looks. A column
# is a key, the token that is looked at. A filled square means "may look".

# %%
drawings.decoder_masks(["start", "2", "0", "2", "pad"])

# %% [markdown]
# The left mask is called **causal**: a token sees itself and what came before. The
# right one allows what both others allow.
#
# <details><summary>Left and right are nearly the same. Why take both masks?</summary>
#
# The left and the right mask differ only in the bottom right corner: padding at the end
# lies in the future of every real token, so the causal mask alone hides it from them.
# But texts to be continued are often padded in front, and then only the second mask
# helps. (A padding query in front then sees nothing: lesson 02's row of zeros.)
#
# </details>

# %% [markdown]
# ### Exercise 2: the mask of the decoder
#
# *Difficulty 2 of 5, 6 minutes.* Return one mask for each sentence, True where looking
# is allowed. Rows are queries, columns are keys. A token may look at itself and at what
# came before, but never at padding, wherever the padding stands.


# %% exercise="decoder_mask" points=2
def decoder_mask(target, padding):
    """Bool, (B, T, T): may the query (row) look at the key (column)?

    target (B, T): ids that the decoder reads; padding: the id that fills up
    """
    ### BEGIN SOLUTION
    position = torch.arange(target.shape[1])
    causal = position[None, :] <= position[:, None]  # (T, T)
    return causal & (target != padding)[:, None, :]  # (B, 1, T)
    ### END SOLUTION


# %% check="decoder_mask"
al.checks.decoder_mask(decoder_mask)

# %% [markdown] hints="decoder_mask"
# Two masks, joined with `&`. The causal one, `(T, T)`, is that of lesson 02, and the
# same for all sentences. The other says which keys are not padding, and differs from
# sentence to sentence.
#
# ---
# `target != padding` is `(B, T)`. As *keys* its tokens belong on the last axis; the
# axis of the queries goes between: `(B, 1, T)`. Then it broadcasts against `(T, T)`.

# %% [markdown]
# ## 5. What happens in a layer of the decoder?
#
# A layer gets $x$, a vector for each target token. It has $E$ numbers, the width of the
# model, as in lesson 02. Three parts add something to it:
#
# 1. **self-attention**, under your mask: what has been written?
# 2. **cross-attention**: what does the source say?
# 3. **feed-forward**, a small network that sees each token alone.
#
# In the picture $x$ runs along the top:

# %%
drawings.decoder_layer()

# %% [markdown]
# Each part reads a *norm* of $x$ (layer norm, lesson 02), while $x$ itself runs on as
# it is. This order is called **pre-norm**.
#
# <details><summary>Why does the norm stand before each part?</summary>
#
# So x passes through all layers without being rescaled, and its gradients back. In the
# original paper the norm stood after the sum, and training needed a careful warm-up of
# the learning rate (Xiong et al. 2020).
#
# </details>

# %% [markdown]
# ### Exercise 3: a layer of the decoder
#
# *Difficulty 3 of 5, 10 minutes.* Write the three parts, in this order: self-attention
# under `target_mask`, attention to the source (`memory`) under `source_mask` (it hides
# the padding of the source), feed-forward. Each part reads *its own* norm of x
# (`layer.norms[0]`, `[1]`, `[2]`), and its result is added to x. The encoder has
# normalised the memory already.
#
# Attention is called as `layer.attention(query, key, value, mask=...)`, and returns the
# output.


# %% exercise="decoder_layer" points=3
def decoder_layer(x, memory, layer, target_mask, source_mask):
    """x of the next layer, (B, T, E).

    x (B, T, E); memory (B, S, E); masks bool, (B, T, T) and (B, 1, S)
    layer.norms: a sequence of three functions of x, as layer.feed_forward is one
    layer.attention, layer.cross_attention: f(query, key, value, mask=...)
    """
    ### BEGIN SOLUTION
    first, second, third = layer.norms
    y = first(x)
    x = x + layer.attention(y, y, y, mask=target_mask)
    y = second(x)
    x = x + layer.cross_attention(y, memory, memory, mask=source_mask)
    return x + layer.feed_forward(third(x))
    ### END SOLUTION


# %% check="decoder_layer"
al.checks.decoder_layer(decoder_layer)

# %% [markdown] hints="decoder_layer"
# Three lines of one form: `x = x + part(norm(x))`. Each goes on with the x that the one
# before has made.
#
# ---
# In cross-attention the target asks and the source answers. So the queries are `y`, the
# normed x, and keys and values are `memory`. The mask is about the keys: whose padding
# must not be seen?

# %% [markdown]
# Now the decoder of the trained model runs on your mask and your layer. It has two
# layers of four heads, and both look into the same memory. `decode` looks up a vector
# for each token, with its position. After the layers it normalises x once more, and
# computes the logits.

# %%
mask_of = al.checks.yours_or_ours("decoder_mask", decoder_mask)
layer_of = al.checks.yours_or_ours("decoder_layer", decoder_layer)


# %% folded=true
# a layer of the model, with its three norms in a row
def with_norms(layer):
    """Its attentions and its feed-forward network, with `norms` for your layer."""
    parts = (
        layer.around_attention,
        layer.around_cross_attention,
        layer.around_feed_forward,
    )
    norms = [part.norm for part in parts]
    return SimpleNamespace(**dict(layer.named_children()), norms=norms)


# %%
@torch.no_grad()
def decode(model, target, memory):
    """Logits (B, T, V): the model's decoder, by your mask and your layer."""
    x = model.target_embedding(target)  # a vector for each token, with its position
    mask = mask_of(target.cpu(), model.padding).to(target.device)
    for layer in map(with_norms, model.decoder):
        x = layer_of(x, memory.states, layer, mask, memory.mask)  # your layer
    return model.output(model.decoder_norm(x))


# %% [markdown]
# Let it write a date, taking the likeliest token at each step. Then compare its logits
# with those of the model's own code:

# %%
source = torch.tensor(ready.encode(sources[:1]))
words, ids = ready.target_words, [ready.target_words.start]
memory = ready.model.encode(source.to(ready.device))
while ids[-1] != words.end and len(ids) < 12:
    fed = torch.tensor([ids], device=ready.device)
    ids.append(int(decode(ready.model, fed, memory)[0, -1].argmax()))  # likeliest
with torch.no_grad():
    apart = decode(ready.model, fed, memory) - ready.model.decode(fed, memory)
print("your decoder writes", words.decode(ids[1:-1]))
print(f"largest difference of a logit: {float(apart.abs().max()):.1g}")

# %% [markdown]
# A difference of 0, or one as small as a rounding error, says that both compute the
# same.
#
# Does your decoder really never see ahead? Change one token that it reads: at which
# positions do the logits change? The cell tries this with each of six tokens:

# %%
seven, eight = (words.encode(digit)[-1] for digit in "78")
begun = fed[:, :6]  # start 2 0 2 1 -
before, moved = decode(ready.model, begun, memory), []
for column in range(begun.shape[1]):
    other = begun.clone()  # the same text, but for one token
    other[0, column] = eight if begun[0, column] == seven else seven
    change = (decode(ready.model, other, memory) - before).abs().amax(-1)[0]
    moved.append(change.cpu().numpy())
moved = np.array(moved).T

# %% folded=true
# the picture: a column for each changed token
read = words.tokens(begun[0].tolist())
al.plots.matrix(
    np.where(moved == 0, np.nan, moved),  # exactly 0: left blank
    xlabel="token that is changed",
    ylabel="read where the logits change",
    label="largest change of a logit (no unit)",
    rows=read,
    columns=read,
    digits=1,
    alt="Changing a token moves logits at its own position and later ones only.",
)

# %% [markdown]
# Above the diagonal nothing changes, so the cells are blank: no position notices a
# later token. With teacher forcing (section 3) this lets all positions be trained in a
# single pass.
#
# ## 6. How does it learn?
#
# Training needs a number that says how wrong the model is, the **loss**. A right token
# that got the probability $p$ costs $-\ln p$ *nats*. Suppose a text has three tokens:
#
# | right token | first | second | third |
# | --- | --- | --- | --- |
# | probability $p$ | 0.5 | 0.25 | 0.8 |
# | cost $-\ln p$, in nats | 0.69 | 1.39 | 0.22 |
#
# The less likely the right token, the more it costs. The loss is the mean cost, here
# 0.77 nats. (It is a *cross-entropy*. Padding does not count.)
#
# How much is 0.77 nats? Its exponential, $e^{0.77} \approx 2.2$, is the **perplexity**:
# the right tokens are as surprising, on average, as in an even choice among 2.2 tokens.
# It measures surprise, not doubt: a model that is sure of wrong tokens has a high
# perplexity.

# %% [markdown]
# ### Exercise 4: the loss
#
# *Difficulty 2 of 5, 7 minutes.* How surprised is the model at the right tokens? Return
# the mean of minus their log-probabilities, in nats, over all tokens of the batch that
# are not padding. Every token counts the same, in a long sentence or a short one.


# %% exercise="sequence_loss" points=2
def sequence_loss(logits, labels, padding=0):
    """Mean cross-entropy in nats over the labels that are not padding, a scalar tensor.

    logits (B, T, V); labels (B, T), ids; padding: the id that fills up
    """
    ### BEGIN SOLUTION
    logs = logits.log_softmax(-1)  # (B, T, V)
    right = logs.gather(-1, labels[:, :, None])[:, :, 0]  # (B, T)
    return -right[labels != padding].mean()
    ### END SOLUTION


# %% check="sequence_loss"
al.checks.sequence_loss(sequence_loss)

# %% [markdown] hints="sequence_loss"
# Take `log_softmax` over the vocabulary; of each row only the entry of the label is
# needed. `gather(-1, index)` picks it, if the index has as many axes as the logs:
# `labels[:, :, None]`. Or use `torch.nn.functional.cross_entropy`: it takes logits, not
# probabilities.
#
# ---
# A mask as an index, `right[labels != padding]`, keeps the real tokens of all sentences
# in one row. `cross_entropy` wants the vocabulary on axis 1, so flatten the first two
# axes, or swap two axes; `ignore_index` leaves padding out of sum *and* count.

# %% [markdown]
# Your loss now judges a model with random weights and the trained one. The last row is
# an even choice among all $V$ tokens of the vocabulary, with the loss $\ln V$.

# %%
loss_of = al.checks.yours_or_ours("sequence_loss", sequence_loss)
untaught = al.translation.untrained(dates, dropout=0.0)
few, losses = dates.test.sample(100), {}
untied = al.translation.untrained(dates, dropout=0.0, tie="none")
judged = {"untrained": untaught, "untrained, untied": untied, "trained": ready}
for name, translator in judged.items():
    with torch.no_grad():
        losses[name] = float(loss_of(*logits_and_labels(translator, few)))
losses["even choice"] = np.log(len(ready.target_words))

# %% folded=true
# the table: losses, and the perplexities that go with them
frame = pd.DataFrame({"loss (nats)": losses})
frame["perplexity"] = np.exp(frame["loss (nats)"])
al.plots.table(frame, **{"loss (nats)": 3, "perplexity": 2})

# %% [markdown]
# The trained model finds the right tokens nearly certain. The untrained one is *worse*
# than an even choice: its perplexity is far above the number of tokens.
#
# <details><summary>How can it be worse than an even choice?</summary>
#
# It is nearly sure of wrong tokens. It scores tokens by the same vectors that it reads
# them by (*weight tying*, Press and Wolf 2017), so it tends to say again the token that
# it has just read. The row *untied* has other vectors for the scores, and comes nearer
# to the even choice.
#
# </details>
#
# ### Training it
#
# How does the one become the other? By many small steps around this circle:

# %%
drawings.training_circle()

# %% [markdown]
# In PyTorch three objects share the work:
#
# - the *loss* computes a gradient for each weight (`backward()`), and *adds* it to the
#   one that is stored there;
# - the *optimizer* moves the weights by their gradients (`step()`), and can clear these
#   (`zero_grad()`);
# - the *schedule* moves the **learning rate** on (`step()`). It first rises, a
#   *warm-up*, while the optimizer has seen few gradients, then falls.

# %% [markdown]
# ### Exercise 5: a step of training
#
# *Difficulty 2 of 5, 6 minutes.* Write one step for one batch. No gradient of an
# earlier batch may count, and the step is made at the learning rate that holds now.
# Only then does the rate move on. Return the loss that led to the step, as a plain
# number.


# %% exercise="training_step" points=2
def training_step(loss_of, batch, optimizer, schedule):
    """One step of training; returns the loss of the batch before it, a float.

    loss_of(batch): the loss, a scalar tensor
    optimizer: a torch.optim optimizer; schedule: a scheduler of its learning rate
    """
    ### BEGIN SOLUTION
    loss = loss_of(batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.item()
    ### END SOLUTION


# %% check="training_step"
al.checks.training_step(training_step)

# %% [markdown] hints="training_step"
# Five calls and a `return`. Which of the calls needs what another one has made?
#
# ---
# `backward()` adds to what is there, so clear the gradients at some moment before it.
# The optimizer needs the new ones, so it comes after it.
#
# ---
# The schedule comes last: the optimizer has then used the present rate. `loss.item()`
# is the loss as a plain number.

# %% [markdown]
# Your step goes to work, too:

# %%
step_of = al.checks.yours_or_ours("training_step", training_step)

# %% [markdown]
# The loop around it draws pairs and calls it:


# %%
def learn(new, pairs, steps):
    """Train a translator on pairs; yields (step, loss in nats) after each step."""
    optimizer = torch.optim.AdamW(new.model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)

    def loss_on(batch):
        return loss_of(*logits_and_labels(new, batch))  # your teacher forcing and loss

    for step in range(1, steps + 1):
        batch = pairs.select(torch.randint(len(pairs), (64,)).tolist())
        yield step, step_of(loss_on, batch, optimizer, schedule)


# %% [markdown]
# A quick test of any such loop: a few steps on the same few pairs must lower the loss.

# %%
torch.manual_seed(0)
pupil = al.translation.untrained(dates, dropout=0.0)
losses = [loss for _, loss in learn(pupil, dates.train.select(range(8)), 20)]
print(f"loss: {losses[0]:.2f} nats at the first step, {losses[-1]:.2f} at the last")

# %% [markdown]
# It does. A second measure is easier to picture: the share of dev dates that come out
# right.


# %%
def right_share(translator):
    """Share of dev dates that come out right to the character, from 0 to 1."""
    few = dates.dev.sample(size.sweep_sentences // 2)
    return al.translation.exact_match(translator, few).mean()


# %% [markdown]
# The bundled translator was trained for eight *epochs*, passes through all pairs. If
# `train` is True, another one is now trained with your functions, for 800 steps. It
# takes two to four minutes. Do it once.
#
# *Predict first:* the loss soon falls. Does the share of right dates rise as evenly?

# %% folded=true
# the curves of the bundled translator
history = ready.history
ends = zip(al.plots.epoch_ends(history), history.rows, strict=True)
bundled = history.steps_frame()
runs = {
    "bundled": (
        bundled["step"],
        bundled["loss"],
        [(end, row["dev_accuracy"]) for end, row in ends],
    )
}

# %%
if train:
    torch.manual_seed(0)
    steps = 4 if size.name == "ci" else 800
    losses, marks = [], []
    for step, loss in learn(untaught, dates.train, steps):
        losses.append(loss)
        if step % (steps // 4) == 0:
            marks.append((step, right_share(untaught)))
    runs["trained here"] = (range(1, steps + 1), losses, marks)
else:
    print("not trained: set train = True at the top to train for 800 steps")

# %%
al.plots.loss_and_share(runs, share="dev dates right")

# %% [markdown]
# No. The share lags: it is still below one half when the loss has lost most of its
# height. (The logarithmic axis hides that.)
#
# <details><summary>Why does the share lag?</summary>
#
# A date is right only if all ten characters are. Suppose each is right with the same
# probability, independently of the others. With 0.9 for each character, $0.9^{10}
# \approx 35$ % of the dates are right; with 0.99 it is $0.99^{10} \approx 90$ %.
#
# </details>

# %% [markdown]
# ## 7. What has it learned, and what not?
#
# Is the riddle an exception? Ask the model about the *test* part. No source text of it
# is in training, but its day may be, written in another way. So the cell counts days
# never seen separately. The range behind each share is its 95 % interval.

# %%
tested = dates.test.sample(size.sentences)
right = al.translation.exact_match(ready, tested)
known = set(dates.train.targets)
new = np.array([day not in known for day in tested.targets])

# %% folded=true
# the shares, with their intervals
for name, hits in {"all dates": right, "days never seen": right[new]}.items():
    low, high = share_interval(hits.sum(), len(hits))
    share = f"{100 * hits.mean():.1f} % of {len(hits):,}"
    print(f"{name}: {share} right ({100 * low:.1f} to {100 * high:.1f} %)")
starts = [text[4:8] for text in dates.train.sources if text.startswith("fr: ")]
years = sum(start.isdigit() for start in starts)
print(f"French dates in training: {len(starts)}, {years} of them begin with the year")

# %% [markdown]
# That looks nearly perfect, on new days too. But these dates are written in the same
# *ways* as those of training. The riddle is not: no French date in training begins with
# the year.
#
# ### How common are such mistakes?
#
# Here are four kinds of dates that training has left out. Each has one right answer.
# The riddle is of the second kind:
#
# | kind | what is new | for instance |
# | --- | --- | --- |
# | *left-out* | a usual form or separator, but not after this tag | `fr: 17.2.1918` |
# | *borrowed* | the order: year first, not so after this tag | `de: 2028-09-09` |
# | *new* | an unusual form: not in training after any tag | `en-GB: 3-Mar-2021` |
# | *other-order* | the order: day and month swapped, one > 12 | `en-GB: 08/22/2036` |
#
# The *order* of *left-out* dates is known: training has it after the same tag.
#
# An answer is *right*, *another day* of the calendar (of any year), or *no day* at all,
# such as `1973-15-09`. The number of dates of a kind stands in brackets. *Predict
# first:* on which kinds will it fail?

# %%
held_out = al.datasets.load("dates-held-out").test.sample(size.sentences)
answers = al.translation.date_answers(ready, held_out)
clear = answers[answers["kind"] != "either-order"]  # these have two readings; see below
shares = al.translation.answer_shares(clear)

# %% folded=true
# the picture: a bar for each kind
counts = clear["kind"].value_counts()
told = ", ".join(f"{kind} {share:.0%}" for kind, share in shares["right"].items())
al.plots.share_bars(
    shares.rename(index=lambda kind: f"{kind} ({counts[kind]})"),
    xlabel="answers to the dates of a kind",
    alt=f"Shares of right answers: {told}.",
)

# %% [markdown]
# In our run all *left-out* dates come out right: another form is no problem. Another
# *order* is: *borrowed* and *other-order* dates never come out right, so the riddle is
# no exception. Most wrong answers are days of the calendar: nothing warns the reader.
#
# The bar of the *new* ones mixes three ways of writing. Which go wrong?

# %%
new_ones = clear[clear["kind"] == "new"]
hyphens = new_ones["source"].str.contains(r"\d-.+-\d")
for name, some in {"with hyphens": hyphens, "the others": ~hyphens}.items():
    found = new_ones.loc[some, "outcome"] == "right"
    print(f"new, {name}: {found.sum()} of {len(found)} right")

# %% [markdown]
# Months between hyphens nearly always go wrong, the other ways mostly come out right.
# Is it the hyphen? The cell puts spaces for these hyphens, then hyphens with a space
# behind them. It also prints the tokens of an example, where `▁` is a space.

# %%
between = r"(?<=\d)-|-(?=\d)"  # beside a digit, so not in a tag
hyphened = new_ones[hyphens]
for mark in ("-", " ", "- "):
    texts = hyphened["source"].str.replace(between, mark, regex=True).tolist()
    hits = np.array(ready.translate(texts)) == hyphened["wanted"].to_numpy()
    example = "fr: 24-oct.-2021".replace("-", mark)
    print(f"{hits.sum()} of {len(hits)} right, such as {example}:")
    print("   ", *ready.source_words.tokens(ready.encode([example])[0]))
beside = pd.Series(dates.train.sources).str.contains(r": .*(?:-\D|\D-)")
print(f"training dates with a hyphen that is not between digits: {beside.sum()}")

# %% [markdown]
# The hyphen does little harm if a space follows. Then `▁oct` is one token, which the
# model knows from training. Without the space the month falls into pieces, and in
# training no such pieces stand beside a hyphen (last line).
#
# <details><summary>How sure are these shares?</summary>
#
# With about 200 dates of a kind, the 95 % interval of a share near 0 or 1 is about 2
# points wide, that of the *new* ones 13 points. The test dates are used many times, in
# sections 6 to 9; in 8 also to pick the heads that align best, which flatters these.
#
# </details>
#
# Here are three wrong answers of each kind that has any. A coloured *field* (year,
# month or day) is wrong:

# %%
wrong = clear[clear["outcome"] != "right"].sort_values("kind", kind="stable")
al.plots.date_fields(wrong.groupby("kind").head(3))

# %% [markdown]
# In the *borrowed* ones all fields are wrong, in the *new* ones the month, in the
# *other-order* ones month and day.
#
# ### What does it go by?
#
# Our guess is the tag. To test it, the cell keeps the characters and changes the tag.
# In training, French and Hebrew have the day before the month, American English the
# month before the day, and Japanese the year first. Each row has one right answer.
# Where the model gives it, the cell is filled:

# %%
tags = ["fr", "he", "en-US", "ja"]
written = ["2021-03-03", "12/19/2001", "19/12/2001"]
wanted = ["2021-03-03", "2001-12-19", "2001-12-19"]
rows = [ready.translate([f"{tag}: {text}" for tag in tags]) for text in written]
grid = pd.DataFrame(rows, index=written, columns=tags)
al.plots.answer_grid(grid, wanted, xlabel="tag", ylabel="characters")

# %% [markdown]
# In each row the same characters come out right after one tag and wrong after another.
# Does the tag always decide? The cell writes `ja` for the tag of every *borrowed* date.
# Then it takes the *other-order* dates, and some with two readings that are both dates,
# such as `en-GB: 03/04/2021` (*either-order*). Of these it counts the answers whose day
# comes from where the language of the tag has it.

# %%
borrowed = wrong[wrong["kind"] == "borrowed"]
retagged = borrowed["source"].str.replace(r"^.*?:", "ja:", regex=True).tolist()
hits = np.array(ready.translate(retagged)) == borrowed["wanted"].to_numpy()
print(f"borrowed, all wrong; after ja: {hits.sum()} of {len(hits)} right")
for kind in ("other-order", "either-order"):
    by_tag = answers.loc[answers["kind"] == kind, "day_by_tag"]
    print(f"{kind}: {by_tag.sum()} of {len(by_tag)} days as the tag has them")

# %% [markdown]
# In our run it always does. With two readings that is sensible: `en-GB: 03/04/2021` is
# read as 3 April. But `en-GB: 08/22/2036`, read so, has 8 for the day and 22 for the
# month. What does it write for a month that does not exist?

# %%
other = answers[answers["kind"] == "other-order"]
month, number = other["found"].str[5:7], other["wanted"].str[8:]  # such as 02 and 22
ways = {
    "the number, as it is": month == number,
    "0 and its last digit": month == "0" + number.str[1],
    "0 and its first digit": month == "0" + number.str[0],
}
way = np.select(list(ways.values()), list(ways), "another month")
print(pd.Series(way).value_counts().to_string())

# %% [markdown]
# In a third of its answers it writes the number all the same. In nearly all others it
# keeps one of the two digits behind a 0: the answer looks like a date, and is wrong.

# %% [markdown]
# ### Where does it look?
#
# But why exactly `2003-10-20`? The map shows the weights while the model writes it,
# averaged over all heads. We drew a frame where we think that it looks for a field:

# %%
looks = {"year": ((2, 3), (11, 12)), "month": ((5, 6), (6, 8)), "day": ((8, 9), (3, 4))}
title = "It looks for the year at the end, for the day in front"
al.plots.alignment(ready.attend(sources[1]), frames=looks, title=title)

# %% [markdown]
# From top to bottom (the colon apart):
#
# 1. For the last digits of the year, `03`, it looks at the end of the source.
# 2. For the month, `10`, it looks first at the `1` of `2021`, then at the `0` of the
#    first `03`.
# 3. For the day, `20`, it looks at the beginning.
#
# So it looks as one would look at a French date, day first and year last. (Where the
# first two digits of the year come from, the map does not show.)
#
# If that is what happens, the digits of other *borrowed* dates should show it. The cell
# counts answers whose day is the first two digits of the source, and answers whose year
# ends with the last two. The second line counts the same in the right dates.

# %%
digits = borrowed["source"].str.replace(r"\D", "", regex=True)
for name in ("found", "wanted"):
    day = (borrowed[name].str[8:] == digits.str[:2]).sum()
    year = (borrowed[name].str[2:4] == digits.str[-2:]).sum()
    print(f"{name:6} of {len(borrowed)}: day {day}, year {year}")

# %% [markdown]
# Most answers agree, and hardly any right date does. That fits: the model reads the day
# at the beginning and the year at the end.

# %% [markdown]
# ## 8. Which heads does it need?
#
# The maps so far were means over all heads. Has each field a head of its own?
#
# While the model writes a field (year, month or day), a head that aligns looks at that
# field in the source. The **accuracy** of a head is how often its largest weight lies
# in the right field. *Chance* is the share of the source that the field takes up: a
# head that looked at random would be right that often.
#
# The cell counts this on the test dates. Each field has a map; layers go down, heads
# across, and a frame marks the best head.

# %%
aligned = al.translation.alignment_accuracy(ready, tested)
al.plots.alignment_accuracy(aligned)

# %% [markdown]
# In our run head 1.1 (layer 1, head 1) is nearly always right for the day, and head 1.3
# for the month. The year has no head of its own: its best, 0.2, is better at months.
#
# <details><summary>How strong a rival is chance?</summary>
#
# A weak one for the year. Most of these dates end with it, so a head that always looked
# at the end would do far better than chance.
#
# </details>
#
# A head that looks at the right place may still not matter. To see what the model
# needs, **silence** heads: multiply their output by 0, and translate again. The next
# cell does this on dev dates.

# %%
layers, heads_each = ready.settings().cross.scale.shape
heads = list(itertools.product(range(layers), range(heads_each)))
searched = dates.dev.sample(size.sweep_sentences // 2)


def right_without(silenced, pairs=searched):
    """Bool array (N,): which dates come out right without these heads."""
    settings = ready.settings()
    for layer, head in silenced:
        settings.cross.scale[layer, head] = 0
    return al.translation.exact_match(ready, pairs, settings)


# %% [markdown]
# Now silence the best head of each field, one at a time. In the last row all heads of
# cross-attention are silent. One *point* is 1 of 100 dates.

# %%
best = aligned.loc[aligned.groupby("field")["accuracy"].idxmax()]
groups = {
    f"{row.layer}.{row.head}, best for {row.field}": [(row.layer, row.head)]
    for row in best.itertuples()
} | {"all heads": heads}
whole = right_without([]).astype(float)
changes = {name: 100 * (right_without(group) - whole) for name, group in groups.items()}

# %% folded=true
# the table: dates right, and the change with its interval
rows = {"no head": [100 * whole.mean(), "–", "–"]}
for name, own in changes.items():
    low, high = paired_bootstrap(own)
    interval = f"{low:+.1f} to {high:+.1f}" if own.std() else "the same for every date"
    change = f"{own.mean():+.1f}" if own.any() else "0"
    rows[name] = [100 * whole.mean() + own.mean(), change, interval]
columns = ["dates right (%)", "change (points)", "95 % interval"]
table = pd.DataFrame(rows, index=columns).T.infer_objects().rename_axis("silent")
al.plots.table(table.replace("-", "−", regex=True), **{columns[0]: 1})

# %% [markdown]
# These heads look at the right place, yet each can be silenced at a cost of few points
# or none. In our run 1.3, the head of the desk in section 1, costs nothing. With all
# heads silent every date goes wrong. So a map shows where a head looks, not
# whether the model can do without it.
#
# <details><summary>Is a head that can be spared not used?</summary>
#
# It may well be: appendix A silences heads in pairs. And a 0 is something that the
# later parts never met in training; lesson 06 tries other replacements.
#
# </details>

# %% [markdown]
# ## 9. Is it the fault of the search?
#
# So far we blamed the model. But the *search* may be at fault, too. It took the
# likeliest token at each step, and never went back. This is called **greedy**. Yet the
# likeliest *sentence* may begin with a less likely token. Did the search miss the right
# date?
#
# First a small case from French. Suppose *le* is likelier than *la*. But after *le* the
# model hesitates, while after *la* it is sure:
#
# | sentence | first token | second token | both |
# | --- | --- | --- | --- |
# | *le noyau* | 0.5 | 0.4 | 0.5 × 0.4 = 0.20 |
# | *la cellule* | 0.4 | 0.9 | 0.4 × 0.9 = 0.36 |
#
# Greedy takes *le*, and never finds the likelier sentence. **Beam search** keeps
# several beginnings alive, the *beams*. At each step it
#
# 1. continues each beam with every token;
# 2. adds up the log-probabilities of the tokens of each;
# 3. keeps the best few of all, whichever beam they come from.
#
# The tree shows this with two beams. In each column the likelier beginnings stand
# higher. Dashed boxes are dropped.

# %% folded=true
# the picture: two steps of the search
first = {"le": 0.5, "la": 0.4, "un": 0.1}
second = {"le": {"noyau": 0.4, "fichier": 0.3}, "la": {"cellule": 0.9, "page": 0.05}}
steps = [[(word, 0, np.log(p), word != "un") for word, p in first.items()], []]
for parent, word in enumerate(second):
    for following, p in second[word].items():
        kept = following in ("noyau", "cellule")
        steps[1].append((following, parent, np.log(first[word] * p), kept))
drawings.beam_tree(steps)

# %% [markdown]
# The heavy line leads to the likeliest sentence, *la cellule*, with a log-probability
# of $\ln 0.36 = -1.02$. After the first step *la* was only second.
#
# Comparing all texts of $T$ tokens would find the likeliest for sure, but there are
# $V^T$: for dates $15^{11}$, about $9 \cdot 10^{12}$. A beam search of width $k$ scores
# at most $k V T$ beginnings, with three beams 495, but may miss the likeliest.

# %% [markdown]
# ### Exercise 6: beam search
#
# *Difficulty 4 of 5, 15 minutes.* Begin with `[start]`, log-probability 0. At each step
# extend every beginning that has not ended by every token. Of all these *and* those
# that have ended, keep the `width` with the largest log-probability: the sum over the
# tokens, the end mark included, not divided by the length. Stop when all have ended, or
# after `longest` tokens. What has not ended by then counts as it is.


# %% exercise="beam_search" points=4
def beam_search(next_log_probabilities, start, end, width, longest):
    """(ids without start and end, log-probability as a float) of the best sequence.

    next_log_probabilities(prefixes) -> (n, V), for n lists of ids that begin with start
    and have not ended
    """
    ### BEGIN SOLUTION
    beams = [(0.0, [start])]
    for _ in range(longest):
        alive = [beam for beam in beams if beam[1][-1] != end]
        if not alive:
            break
        beams = [beam for beam in beams if beam[1][-1] == end]
        logs = next_log_probabilities([ids for _, ids in alive]).tolist()
        for (total, ids), row in zip(alive, logs, strict=True):
            beams += [(total + log, [*ids, token]) for token, log in enumerate(row)]
        beams = sorted(beams, reverse=True)[:width]
    total, ids = beams[0]
    return [token for token in ids if token not in (start, end)], total
    ### END SOLUTION


# %% check="beam_search"
al.checks.beam_search(beam_search)

# %% [markdown] hints="beam_search"
# Keep a list of pairs (log-probability, ids with start mark). One step: split the pairs
# into those whose last id is the end mark and the others; ask for the others only; make
# a new pair for each beginning and each token; sort all, and cut off after `width`.
#
# ---
# Log-probabilities of tokens are *added*: `total + log`. The cut comes after all ways
# have been put into one list together with those that have ended, not beam by beam.
#
# ---
# `sorted(pairs, reverse=True)` compares the first number of each pair. Leave the loop
# when all have ended, or as soon as the best pair has: the others can only fall. At the
# end leave out the marks, of the start and of the end.

# %%
search = al.checks.yours_or_ours("beam_search", beam_search)

# %% [markdown]
# Now your search gets the riddle, with three beams. `asking` makes the function that it
# asks for log-probabilities, out of the `decode` of section 5. The tree shows the
# beginnings that it kept, up to the sixth character; again the likelier stand higher.

# %%
marks = ready.target_words.start, ready.target_words.end
next_log_probabilities, asked = al.translation.asking(ready, sources[1], decode)
search(next_log_probabilities, *marks, 3, 12)
drawings.search_tree(asked, lambda id: ready.target_words.tokens([id])[0], depth=6)

# %% [markdown]
# The log-probability along the heavy line is nearly 0: the model is all but certain of
# a wrong year. The right one, `2021-`, is not in the tree.
#
# A **search error** is to miss an answer that is *likelier* than the one found
# (Stahlberg and Byrne 2019). So the search is to blame for a wrong answer only if the
# right one is likelier. If the right one is less likely, the model itself prefers a
# wrong one: a **model error**.
#
# Teacher forcing tells the log-probability of any answer in a single pass:


# %%
def log_probability(sources, targets):
    """Log-probability of each target with its end mark, in nats, an array (N,)."""
    with torch.no_grad():
        pairs = SimpleNamespace(sources=list(sources), targets=list(targets))
        logits, labels = logits_and_labels(ready, pairs)
    logs = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    return (logs * (labels != 0)).sum(-1).cpu().numpy()


# %% [markdown]
# *Predict first:* how many of the wrong answers of section 7 come out right with four
# beams? In how many is the right date likelier than what the model wrote?

# %%
beams = np.array(ready.translate(list(wrong["source"]), num_beams=4))
print(f"four beams: {(beams == wrong['wanted']).sum()} of {len(wrong)} come out right")

# %% [markdown]
# None. In the next picture a dot is a wrong answer. Its *gap* says by how much the
# right date is less likely. Where the search is to blame, it lies left of 0.

# %%
gaps = {
    kind: log_probability(own["source"], own["found"])
    - log_probability(own["source"], own["wanted"])
    for kind, own in wrong.groupby("kind")
}
for kind, own in gaps.items():
    print(f"{kind}: the smallest gap is {own.min():.2f} nats")
xlabel = "gap: log-probability of found − wanted (nats)"
sides = "search errors", "model errors"
al.plots.dots_beside_zero(gaps, xlabel=xlabel, sides=sides)

# %% [markdown]
# No dot lies left of 0: not even an exact search could have corrected a wrong answer.
# So for these mistakes the model is at fault, not the search. (It may still have missed
# a likelier answer that is wrong, too.)
#
# <details><summary>How sure is the model of its wrong dates?</summary>
#
# A gap of 9 nats, the smallest of the three means, stands for a wrong date
# $e^9 \approx 8{,}100$ times as likely. But the smallest gap of a *new* date is near 0:
# there the two are nearly as likely.
#
# </details>
#
# **The riddle is solved, as far as tests of the input can solve it.** Why does
# `fr: 2021-03-03` become `2003-10-20`?
#
# - *The tag.* After `fr` the model expects the day in front and the year at the end;
#   after `ja` the same characters come out right, as do all *borrowed* dates.
# - *The map* fits that, and so do the digits of most *borrowed* dates.
# - *The search* is not at fault. The model is sure of its wrong date, so one must
#   change the model, or the tag.
#
# **An open question.** Would training change it? Mix French dates that begin with the
# year into training, and let `learn` go on with a copy of `ready`. How many different
# ones suffice? Do German ones come out right then, too? And the ordinary dates?
#
# <details><summary>How to begin</summary>
#
# ```python
# import copy
# days = [f"{year}-10-24" for year in range(1950, 1960)]  # vary all of it
# extra = 100 * days  # each many times, since they are few
# sources_of = dates.train.sources[:9000] + [f"fr: {day}" for day in extra]
# targets_of = dates.train.targets[:9000] + extra
# mixed = al.datasets.ParallelDataset(sources_of, targets_of, "mixed")
# pupil = ready.with_model(copy.deepcopy(ready.model))
# for step, loss in learn(pupil, mixed, 100):
#     pass
# print(pupil.translate(sources))
# ```
#
# </details>

# %% [markdown]
# ## What to take away
#
# - In training the decoder reads the right answer one position late, behind a mask. So
#   all positions are trained in a single pass.
# - Cross-attention is attention with queries from the target. Its weights can be read
#   as an alignment, but a head that looks at the right place need not be needed.
# - A near-perfect score on a test set that looks like training says little about other
#   ways of writing.
# - A head that costs little alone may cost much together with another (appendix A).
# - A wider search can find likelier answers. Where the model itself prefers a wrong
#   one, they are no better.
#
# Next: [04 Language model](04_language_model.ipynb) keeps the decoder alone, and lets
# it tell stories.

# %% [markdown]
# ## Appendix A. What do two heads cost together?
#
# Single heads of cross-attention cost little (section 8), all of them everything.
# Perhaps one of two is enough.
#
# Suppose head A costs 2 points and head B costs 1. If the two did unrelated things,
# both together would cost about 3. Now suppose they cost 20. The 17 points beyond 3 are
# the **surplus**: about so many answers survive the loss of either head, but not of
# both. We call the two **stand-ins**, though the surplus alone does not show that one
# does the other's work.

# %%
drawings.surplus(alone=(2, 1), together=20)

# %% [markdown]
# ### Exercise 7: what do two heads cost together?
#
# *Difficulty 3 of 5, 10 minutes.* `right_without(silenced)` silences the heads in a
# list, translates all texts, and returns a bool array: which translations are right.
# `right_without([])` silences none. A head, or a pair, *costs* the share that is right
# with all heads minus the share that is right without it, in points.
#
# Return the **surplus** of each pair: what the two cost together, minus the sum of what
# each costs alone. Each call translates all texts, so measure nothing twice.


# %% exercise="stand_ins" points=3
def stand_ins(right_without, heads):
    """{(a, b): surplus in points} for each pair of heads, a before b in the list.

    right_without(silenced): bool array (N,); heads: list of (layer, head)
    """
    ### BEGIN SOLUTION
    whole = right_without([]).mean()
    cost = {head: whole - right_without([head]).mean() for head in heads}
    surplus = {}
    for a, b in itertools.combinations(heads, 2):
        together = whole - right_without([a, b]).mean()
        surplus[a, b] = 100 * (together - cost[a] - cost[b])
    return surplus
    ### END SOLUTION


# %% check="stand_ins"
al.checks.stand_ins(stand_ins)

# %% [markdown] hints="stand_ins"
# Three kinds of measurement are needed: with all heads, without each head, without each
# pair. Which of them does a pair share with other pairs?
#
# ---
# First measure the whole and each head alone, and keep what each costs in a dict. Then
# go through `itertools.combinations(heads, 2)` with one measurement for each pair.
#
# ---
# The mean of a bool array is the share that is right. A cost is `whole - share`; the
# surplus is `together - cost[a] - cost[b]`, times 100.

# %%
surplus_of = al.checks.yours_or_ours("stand_ins", stand_ins)

# %% [markdown]
# Now your function measures every pair of heads of cross-attention:

# %%
surplus = surplus_of(right_without, heads)
table = np.full((len(heads), len(heads)), np.nan)
for (a, b), points in surplus.items():
    column, row = sorted((heads.index(a), heads.index(b)))
    table[row, column] = points

# %% folded=true
# the picture: a cell for each pair
labels = [f"{layer}.{head}" for layer, head in heads]
al.plots.matrix(
    table[1:, :-1],  # the other row and column hold no pair
    xlabel="one head of cross-attention (layer.head)",
    ylabel="the other head (layer.head)",
    label="surplus of the pair (points)",
    rows=labels[1:],
    columns=labels[:-1],
    digits=0,
    alt="For each pair of heads, what they cost together beyond the sum of each.",
)

# %% [markdown]
# Red means that the two cost more together than one by one. In our run the three
# darkest are pairs of layer 1.
#
# The darkest pair may be so partly by luck, since it is picked for that. So the next
# cell measures it again, on *fresh* dates that took no part in the choice.
#
# <details><summary>For the expert: what does a dark cell not say?</summary>
#
# It does not say *how* two heads serve the same answers. Heads of one layer work side
# by side and cannot react to each other's loss; only a later head could step in. And
# exact match is a threshold: two small, unrelated losses may turn a character only
# together.
#
# </details>

# %%
first, second = max(surplus, key=surplus.get)
fresh = dates.test.sample(size.sentences)
silent = [], [first], [second], [first, second]
shares = [right_without(group, fresh).astype(float) for group in silent]
whole, one, two, both = shares
beyond = 100 * (one + two - whole - both)

# %% folded=true
# the shares, and the surplus with its interval
names = ["no head", *("{}.{}".format(*head) for head in (first, second)), "both"]
for name, right in zip(names, shares, strict=True):
    print(f"{name} silent: {100 * right.mean():.1f} % right")
low, high = paired_bootstrap(beyond)
print(f"surplus: {beyond.mean():.1f} points ({low:.1f} to {high:.1f}, 95 %)")

# %% [markdown]
# Nearly all dates survive the loss of either head, and far fewer the loss of both. The
# interval of the surplus stays clear of 0. So silencing single heads would have misled
# us. Lesson 06 finds the same for the heads of BERT's last layer.

# %% [markdown]
# ## Appendix B. What need not be computed twice?
#
# Writing takes a step for each token. Done naively, each step computes the keys and
# values of all earlier tokens again. But these do not change, since no position sees a
# later one (section 5). So they can be kept, in a **cache**. The same is true of the
# keys and values of the source. The picture counts what is new at each step:

# %%
drawings.kept_keys(["start", "2", "0", "2", "1"])

# %% [markdown]
# What does that save? The cell translates 100 dates without and with a cache. It counts
# the operations of matrix products, and takes the time on one thread.


# %%
def write(cache):
    """Ids of the translations of `batch`, written with or without a cache."""
    marks = ready.target_words.start, ready.target_words.end
    return al.transformer.greedy(ready.model, batch, *marks, 12, cache=cache)


# %% folded=true
# operations and seconds, without and with a cache
batch, cost = padded(ready.encode(dates.test.sources[:100])).to(ready.device), {}
for cache in (False, True):
    with FlopCounterMode(display=False) as counter:
        write(cache)
    shortest = al.device.seconds(lambda cache=cache: write(cache), repeats=3)
    cost[cache] = np.array([counter.get_total_flops(), shortest])
operations, time_share = (100 * cost[True] / cost[False]).round()
print(f"with a cache: {operations:.0f} % of the operations, {time_share:.0f} % of time")

# %% [markdown]
# The cache saves about two thirds of the operations. Of the time it saves less, and not
# the same in each run: in so small a model much of a step is not matrix products. And
# what is kept takes memory. Lesson 04 builds a cache.
#
# ## Appendix C. What is each kind of attention for?
#
# The view shows all three kinds for the first date, in maps that are means over all
# heads. A row looks at the columns. (Where the view is live, bertviz draws it, too:
# choose a kind and a layer, and hover over a token.)

# %%
al.translation_view(maps)

# %% [markdown]
# The decoder only looks back, and cross-attention shows the alignment of section 2.
# What is lost without one of the three? The cell silences all heads of a kind. *Predict
# first:* what will the decoder write without cross-attention?

# %%
few = dates.test.sample(size.sweep_sentences // 2)
whole = {"nothing": ready.settings()}
for kind in al.heads.settings.KINDS:
    whole[f"all of {kind}"] = ready.settings()
    getattr(whole[f"all of {kind}"], kind).scale[:] = 0  # silences all of them

# %% folded=true
# the table: what the translator writes with these settings
rows = {}
for name, settings in whole.items():
    found = ready.translate(few.sources, settings=settings)
    hits = [a == b for a, b in zip(found, few.targets, strict=True)]
    dated = np.mean([al.translation.is_date(text) for text in found])
    rows[name] = [np.mean(hits), dated, len(set(found)), found[0]]
shares = ["right (share)", "a date (share)"]
columns = [*shares, "different answers", "for instance"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table, **dict.fromkeys(shares, 2))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# - Without cross-attention every answer is the same well-formed date, whatever the
#   source. The decoder knows that much from targets alone.
# - Without its self-attention the decoder sees only the source, its position and the
#   last character, and hardly ever writes a date.
# - Without the encoder's self-attention each source token is read alone. Still 30 %
#   came out right.
#
# </details>
#
# Each kind is needed. Which single heads are? The cell silences one head at a time, and
# shows the six that cost most.

# %%
alone = al.translation.ablate_heads(ready, few)

# %% folded=true
# the table: the six heads that cost most
shown = ["kind", "layer", "head", "delta", "ci_low", "ci_high"]
points = alone.sort_values("delta")[shown].head(6)
points[shown[3:]] *= 100
names = {"delta": "change (points)", "ci_low": "from", "ci_high": "to (95 %)"}
points = points.rename(columns=names)
al.plots.table(points, **dict.fromkeys(names.values(), 1)).hide(axis="index")

# %% [markdown]
# In our run all six are heads of self-attention. Yet without cross-attention nothing is
# right: its heads cost much only together (appendix A).
#
# <details><summary>How far can the intervals be trusted?</summary>
#
# The six were picked from many on these dates; the intervals do not allow for that.
#
# </details>

# %% [markdown]
# ## Appendix D. How far does it get on real language?
#
# Real language is harder than dates, and here we have far fewer examples. The data set
# `interface-fr` has about 3,000 strings of JupyterLab's user interface, with French
# translations by volunteers. (The original English-German model had 4.5 million pairs.)
# A translator trained on these strings comes along:

# %%
strings = al.datasets.load("interface-fr")
real = strings.sample(size.strings, size.sentences, size.sentences)
french = al.load_translator("interface-fr")
print(strings, french, sep="\n")

# %% [markdown]
# Here is what it makes of four texts:

# %%
own = [
    "Open the file",
    "Delete all cells",
    "The kernel is restarting",
    "I love my old bicycle",
]
frame = pd.DataFrame({"English": own, "French": french.translate(own)})
al.plots.table(frame).hide(axis="index")

# %% [markdown]
# The first two are right. The others should be *Le noyau redémarre* and *J'aime mon
# vieux vélo*.
#
# How good is it on many texts? Exact match is harsh here, since a text may have several
# right translations. Two scores, from 0 to 100, count what a translation shares with a
# given right one, the *reference*:
#
# - **BLEU** (Papineni et al. 2002) counts words: how many of the translation's words,
#   and of its pairs, triples and fours of words, are also in the reference?
# - **chrF** (Popović 2015) counts runs of one to six characters, in both directions:
#   how many of the translation's are in the reference, and the other way round?
#
# <details><summary>BLEU by hand</summary>
#
# For *le noyau redémarre vite* against *le noyau redémarre maintenant* the shares are
# 3/4, 2/3, 1/2, 0/1. (Each word of the reference counts once.) BLEU is the fourth root
# of their product (a 0 is smoothed), reduced if the translation is too short.
#
# </details>
#
# Both add up the counts of all texts before they divide, so long texts weigh more. The
# cell scores strings that it was trained on (*train*), and others (*dev*). The last two
# columns are mean lengths of references:

# %% folded=true
# the table: scores on train and dev
rows = {}
for name, pairs in (("train", real.train.sample(len(real.dev))), ("dev", real.dev)):
    found = french.translate(pairs.sources)
    report, right = scores.score(found, pairs.targets), np.equal(found, pairs.targets)
    low, high = report.chrf_ci
    rows[name] = [report.chrf, f"{low:.1f} to {high:.1f}", 100 * report.exact]
    long = pd.Series([len(text) for text in pairs.targets]).groupby(right).mean()
    rows[name] += long.reindex([True, False]).tolist()
columns = ["chrF", "chrF, 95 % interval", "exact match (%)"]
columns += ["characters, right", "characters, wrong"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table, **dict.fromkeys([columns[0], *columns[2:]], 1))

# %% [markdown]
# The gap between the rows shows **overfitting**: what was learned by heart helps much
# less with new strings. On *train* exact match is above chrF, since the wrong strings
# are long, and in chrF long strings weigh more.
#
# ### Compared with what?
#
# Alone the second score says little. Two simple systems stand beside ours, now on test
# strings:
#
# - *copy* leaves the English as it is;
# - *nearest string* finds the training string that is most like the source, and gives
#   its translation.

# %%
systems = {
    "copy": scores.copy_source(real),
    "nearest string": scores.nearest_string(real),
    "ours, greedy": french.translate(real.test.sources),
    "ours, 4 beams": french.translate(real.test.sources, num_beams=4),
}
reports = {
    name: scores.score(texts, real.test.targets) for name, texts in systems.items()
}

# %% folded=true
# the table: scores of the four systems
rows = {}
for name, report in reports.items():
    low, high = report.chrf_ci
    exact = 100 * report.exact
    rows[name] = [report.bleu, report.chrf, f"{low:.1f} to {high:.1f}", exact]
columns = ["BLEU", "chrF", "chrF, 95 % interval", "exact match (%)"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table, **{"BLEU": 1, "chrF": 1, "exact match (%)": 1})

# %% [markdown]
# Ours scores highest, but some intervals overlap. That does not say whether two systems
# differ. The interval of the *difference* on the same strings does. Here it is for
# ours, greedy, minus the nearest string:

# %%
nearest, ours = systems["nearest string"], systems["ours, greedy"]
row = scores.compare(nearest, ours, real.test.targets).loc["chrf"]
row = row[["difference", "low", "high"]].astype(float)
print("chrF {difference:+.1f}, from {low:+.1f} to {high:+.1f} (95 %)".format(**row))
for name, settings in reports["ours, greedy"].signature.items():
    print(f"settings of {name} (Post 2018): {settings}")

# %% [markdown]
# Ours is ahead, but the lower end of the interval is near 0.
#
# ### Do more beams help?
#
# Now your search of section 9 runs in the French translator. It gets the two texts that
# came out wrong, with one beam and with four:

# %%
marks = french.target_words.start, french.target_words.end
french.model.cpu()
rows = []
for text in own[2:]:
    ask, _ = al.translation.asking(french, text, decode)
    for width in (1, 4):
        ids, total = search(ask, *marks, width, 20)
        rows.append((text, width, french.target_words.decode(ids), total))
columns = ["source", "beams", "translation", "log-probability"]
table = pd.DataFrame(rows, columns=columns)
al.plots.table(table, **{columns[3]: 2}).hide(axis="index")

# %% [markdown]
# Four beams find likelier sentences, but no better ones: the first even has a word that
# does not exist. On the test strings, too, the scores of one beam and of four hardly
# differ (table above; there the search divides by a length, yours does not).
#
# <details><summary>Why are long translations at a disadvantage?</summary>
#
# Each token makes a sentence less likely, so the likeliest one tends to be short. In
# practice scores are therefore divided by a number that grows with the length (Wu et
# al. 2016), as in `al.transformer.beam`.
#
# </details>
#
# ### Would more pairs help?
#
# We have no more, but we can take some away and see what that costs. If `train` is
# True, the cell trains on a quarter of the pairs. Each is seen four times as often, so
# that both trainings have as many *updates* (steps). This takes a few minutes.

# %%
recipe = {"batch_size": 16, "learning_rate": 2e-3, "label_smoothing": 0.1}
full = min(size.string_epochs, 20)  # 20 is what the bundled one had
quarter = strings.sample(len(real.train) // 4, size.sentences)
amounts = {f"{len(strings.train):,} pairs": french.history.best["dev_chrf"]}
if train:
    small = al.train_translator(quarter, epochs=4 * full, **recipe)
    amounts[f"{len(quarter.train):,} pairs"] = small.history.best["dev_chrf"]
al.plots.table(pd.DataFrame({"chrF on dev": amounts}), **{"chrF on dev": 1})

# %% [markdown]
# In our run three quarters of the pairs are worth several points of chrF. So more pairs
# would probably help.
#
# <details><summary>For the expert: how fair is the comparison?</summary>
#
# The sub-words are learned from the pairs, so they change with them. Each figure is
# from the best epoch on dev; the quarter has more to choose from. In the recipe,
# `label_smoothing` asks for only 90 % on the right token, so that the model does not
# grow too sure.
#
# </details>
#
# **Sources.** Bahdanau et al. 2015 (attention) · Vaswani et al. 2017 (Transformer) ·
# Sennrich et al. 2016 (byte pair encoding) · Press and Wolf 2017 (weight tying) ·
# Ranzato et al. 2016 (exposure bias) · Xiong et al. 2020 (pre-norm) · Papineni et al.
# 2002 (BLEU) · Popović 2015 (chrF) · Post 2018 (settings of scores) · Wu et al. 2016
# (length) · Stahlberg and Byrne 2019 (search and model errors) · Vig 2019 (bertviz).

# %%
al.checks.summary("translation")
