# %% [markdown]
# # 03 Translation
#
# **How does a model read one text and write another, and what has it learned?** You
# write the parts that make a Transformer (Vaswani et al. 2017) a decoder, until the
# decoder of a trained translator runs on your code. Then you examine this translator:
# where it looks, where it fails, and which of its parts it needs.
#
# Afterwards you can
#
# - write the parts of a decoder that are easy to get wrong;
# - train such a model and read its curves;
# - find out what it has *not* learned, and which heads it needs;
# - search for a translation with beams, and compare two systems.
#
# The lesson has three parts. Sections 1 to 4 build a decoder, 5 to 8 examine the
# translator of dates, and 9 and 10 turn to real language.
#
# Time: about 120 minutes, 59 of them for six exercises. You need [lesson
# 02](02_attention_from_scratch.ipynb). The third part can wait for a second sitting.
# The two appendices are extra.
#
# Choose **Run → Run All Cells** first. It takes two to three minutes on one processor
# core. The first cells load a set of dates and a trained translator, `ready`.

# %%
import datetime
import itertools
import os
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al

# %%
from attnlab.show import drawings
from attnlab.statistics import paired_bootstrap, share_interval
from attnlab.translation import padded, scores

size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
dates = al.datasets.load("dates")
ready = al.load_translator("dates")
print(dates, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# On a CPU nothing is trained unless you set `train = True` here.

# %%
train = size.name != "cpu" or "ATTNLAB_TRAIN" in os.environ

# %% [markdown]
# ## 1. A small translator: where does it look?
#
# People write the same day in many ways. Turning `3 mars 2021` into `2021-03-03` (the
# standard ISO 8601) is a small translation. It has just one right answer, so we can
# always tell whether a model is right.
#
# The text that goes in is the **source**, the text that comes out the **target**. A tag
# in front of the source names the language, and sometimes the country. It matters:
# `03/04/2021` is 3 April in London and 4 March in New York. Here are six pairs:

# %%
shown = dates.test.select(range(6))
frame = pd.DataFrame({"source": shown.sources, "target": shown.targets})
al.plots.table(frame).hide(axis="index")

# %% [markdown]
# The translator below was trained on 20,000 such pairs in 18 languages. It writes the
# target one character at a time. Try three things:
#
# 1. Move the **step**. The shading shows where one attention head looks in the source
#    while the model writes this character. The bars show which characters it considers.
#    (A static page shows a map of all steps: each row is a character that is written.)
# 2. Pull the fader of that head down to 0. Does the date still come out right?
# 3. How many other dates still come out right? The desk counts. (It uses *dev* pairs,
#    which are kept out of training and serve for choosing settings.)

# %%
desk = al.TranslationDesk(
    ready,
    dates.dev.sample(size.sweep_sentences // 5),
    source="fr: mercredi 3 mars 2021",
)
desk.set(step=6, layer=1, head=3)
desk

# %% [markdown]
# In its first four steps this head looks at the end of the source, where the year
# stands. Nobody told it to. The model was given pairs of texts, no more.
#
# Now a source that looks easier: `fr: 2021-03-03` only has to be copied.

# %%
for text in ("fr: mercredi 3 mars 2021", "fr: 2021-03-03"):
    print(text, "->", *ready.translate([text]))

# %% [markdown]
# The first answer is right. The second is far off. Section 6 finds out why. For that we
# must first know how the model works.
#
# ## 2. How do two texts meet?
#
# BERT (lesson 02) reads *one* text, and the tokens of this text look at each other. A
# translator has two texts, and a part for each:
#
# - The **encoder** reads the source, once. It leaves one vector for each source token.
#   These vectors together are called the **memory**.
# - The **decoder** writes the target token by token. (Here each character is a token.)
#   At each step it looks into the memory. This look is called **cross-attention**. It
#   is the orange arrow.

# %%
drawings.encoder_decoder(["fr", "3", "mars", "2021"], ["2", "0", "2", "1"])

# %% [markdown]
# On the left the source goes in once. On the right the target grows, a token at a time.
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
# example with two numbers in each vector. (To keep it small, a whole word or year is
# one token here.)

# %%
query = torch.tensor([0.5, 3.0])
keys = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]])  # of 3, mars, 2021
values = torch.tensor([[3.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
words = ["3", "mars", "2021"]
drawings.cross_attention_by_hand(query, keys, values, words, "looks for the month")

# %% [markdown]
# Read it from left to right. The key of `mars` fits the query best, so `mars` gets the
# highest score, and by the softmax most of the weight. So the mixture is nearly its
# value, (0, 3).
#
# This is the attention of lesson 01. One thing is new: queries come from one text, keys
# and values from the other.
#
# $$ A = \text{softmax}\!\left(
# \frac{Q_{\text{target}}\, K_{\text{source}}^\top}{\sqrt{d_k}}\right), \qquad
# C = A\, V_{\text{source}} . $$
#
# $Q$ has a row for each of the $T$ target tokens. $K$ and $V$ have a row for each of
# the $S$ source tokens. A key has $d_k$ numbers ($d$ in the picture, $D$ in lesson 02).
# $A$ holds the weights, and $C$, the *context*, holds what is fetched. The example
# again, in PyTorch:

# %%
weights = (query @ keys.T / query.shape[0] ** 0.5).softmax(-1)  # (S,)
context = weights @ values
print("weights", weights.numpy().round(2), "context", context.numpy().round(2))

# %% [markdown]
# These are the weights and the mixture of the picture.
#
# $A$ has a row for each target token and a column for each source token. So it can be
# read as an **alignment**: which source tokens belong to which target token?
#
# Here it is in the trained model, averaged over all heads. The brighter a cell, the
# more weight. The columns are **sub-words**, frequent pieces of text (found by *byte
# pair encoding*): `mercredi` with its space (␣) is one, and so is each digit.

# %%
maps = ready.attend("fr: mercredi 3 mars 2021")
al.plots.alignment(maps)

# %% [markdown]
# The first four rows write the year, and are bright at `2021`. Then the month is bright
# at `mars`, and the day at `3`. So the model looks at the parts in the order of the
# target, not of the source. (The colon is bright, too. A picture cannot say why.)
#
# How does a decoder learn to say the right *next* character?
#
# ## 3. What does the decoder read while it learns?
#
# When the model writes, it reads what it has written so far. An untrained model would
# read its own nonsense. But in training the right translation is known. So the decoder
# reads the *right* tokens, and at each position it is asked for the next one. This is
# called **teacher forcing**.
#
# For `2021` it reads `start 2 0 2 1` and should say `2 0 2 1 end`. The *start mark* is
# read before the first token. With the *end mark* the decoder says that it is done.
# (Elsewhere they are called BOS and EOS.) Here is a whole date:

# %%
drawings.teacher_forcing(list("2021-03-03"))

# %% [markdown]
# Both rows hold the same text, shifted by one place. And all positions work at once, as
# nothing that is read depends on what was said.

# %% [markdown]
# ### Exercise 1: teacher forcing
#
# *Difficulty 2 of 5, 8 minutes.* A target comes as a list of *ids*, the numbers of its
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
# From now on your functions go to work in a real model. Until one of them is right,
# ours takes its place.

# %%
forced = al.checks.yours_or_ours("teacher_forcing", teacher_forcing)

# %% [markdown]
# The next cell lets a translator read pairs in your way. For each position it returns
# the label and the **logits**: a score for each token of the vocabulary. The softmax
# turns these scores into probabilities.


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
target, sources = "2021-03-03", ["fr: mercredi 3 mars 2021", "fr: 2021-03-03"]
said = [*target, "end"]
frame = pd.DataFrame({"has read": ["start", *said[:-1]], "should say": said})
for text in sources:
    pair = SimpleNamespace(sources=[text], targets=[target])
    with torch.no_grad():
        logits, labels = logits_and_labels(ready, pair)
    chances = logits.softmax(-1).gather(-1, labels[..., None])[0, :, 0]
    frame[f"probability, {text}"] = chances.cpu()
al.plots.table(frame, **dict.fromkeys(frame.columns[2:], 4)).hide(axis="index")

# %% [markdown]
# With the first source each right token is nearly certain. With the second, six of the
# eleven are nearly impossible, although all that the decoder has read of the target is
# right. So the trouble is the source (section 6).
#
# <details><summary>What does teacher forcing not teach?</summary>
#
# When the model writes on its own, it would say a wrong token there, and go on from
# that mistake. In training it never goes on from its own mistakes. This gap is called
# **exposure bias**.
#
# </details>
#
# ## 4. What may the decoder see?
#
# Teacher forcing puts the whole right answer before the decoder. So it could cheat, and
# copy. A **mask** (lesson 02) must hide two things from it:
#
# - **The future.** After `start 2 0` the right answer is `2`, the next token in the
#   row. A position that saw it would learn nothing: when the model writes on its own,
#   there is no next token yet.
# - **Padding**, which only fills up shorter texts. If it were seen, the answer could
#   depend on the other texts in the batch.
#
# One mask hides both. A row is a query, the token that looks. A column is a key, the
# token that is looked at. A 1 means "may look".

# %%
drawings.decoder_masks(["start", "2", "0", "2", "pad"])

# %% [markdown]
# The left mask is called **causal**: a token sees itself and what came before. The
# right one allows what both others allow. The source is padded, too, and has a mask of
# its own, `source_mask`, for the encoder and for cross-attention.
#
# <details><summary>Left and right are nearly the same. Why take both masks?</summary>
#
# The left and the right mask differ only in the bottom right corner: padding at the end
# lies in the future of every real token, so the causal mask alone hides it from them.
# But texts to be continued are often padded in front, and then only the second mask
# helps. (A padding query in front then sees nothing: lesson 02's row of zeros.)
#
# </details>
#
# ### Exercise 2: the mask of the decoder
#
# *Difficulty 2 of 5, 8 minutes.* Return one mask for each sentence, True where looking
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
# ### A layer of the decoder
#
# Your mask works inside a *layer*. A layer gets $x$, a vector for each target token,
# and three parts add something to it:
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
# under `target_mask`, attention to the source (`memory`) under `source_mask`,
# feed-forward. Each part reads *its own* norm of x (`layer.norms[0]`, `[1]`, `[2]`),
# and its result is added to x. The encoder has normalised the memory already. Attention
# is called as `layer.attention(query, key, value, mask=...)`, and returns the output.


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
# Now the decoder of the trained model runs on your mask and your layer. `decode` looks
# up a vector for each token and adds its position. After the layers it normalises x
# once more, and computes the logits.

# %%
mask_of = al.checks.yours_or_ours("decoder_mask", decoder_mask)
layer_of = al.checks.yours_or_ours("decoder_layer", decoder_layer)


@torch.no_grad()
def decode(model, target, memory):
    """Logits (B, T, V): the model's decoder, by your mask and your layer."""
    x = model.target_embedding(target)  # a vector for each token, with its position
    mask = mask_of(target.cpu(), model.padding).to(target.device)
    for own in model.decoder:
        around = own.around_attention, own.around_cross_attention
        norms = [part.norm for part in (*around, own.around_feed_forward)]
        layer = SimpleNamespace(**dict(own.named_children()), norms=norms)
        x = layer_of(x, memory.states, layer, mask, memory.mask)  # your layer
    return model.output(model.decoder_norm(x))


# %% [markdown]
# Let it write a date, taking the likeliest token at each step. Then compare its logits
# with those of the model's own code:

# %%
source = torch.tensor(ready.encode(["fr: mercredi 3 mars 2021"]))
words, ids = ready.target_words, [ready.target_words.start]
memory = ready.model.encode(source.to(ready.device))
while ids[-1] != words.end and len(ids) < 12:
    fed = torch.tensor([ids], device=ready.device)
    ids.append(int(decode(ready.model, fed, memory)[0, -1].argmax()))  # likeliest
print("your decoder writes", words.decode(ids[1:-1]))
with torch.no_grad():
    apart = decode(ready.model, fed, memory) - ready.model.decode(fed, memory)
print(f"its logits differ from the model's own by {apart.abs().max():.1g}")

# %% [markdown]
# A difference of 0, or one as small as a rounding error, says that this decoder
# computes what the original does.
#
# Does it really never see ahead? Change one token that it reads: at which positions do
# the logits change? The next cell tries this with each token, the one after it draws
# the result.

# %%
seven, eight = (words.encode(digit)[-1] for digit in "78")
before, moved = decode(ready.model, fed, memory), []
for column in range(fed.shape[1]):
    other = fed.clone()  # the same text, but for one token
    other[0, column] = eight if fed[0, column] == seven else seven
    change = (decode(ready.model, other, memory) - before).abs().amax(-1)[0]
    moved.append(change.cpu().numpy())
moved = np.array(moved).T
print(f"largest change above the diagonal: {np.triu(moved, 1).max():.1g}")

# %%
read = words.tokens(fed[0].tolist())
al.plots.matrix(
    np.where(moved == 0, np.nan, moved),  # exactly 0: left blank
    xlabel="token that is changed",
    ylabel="token read at the position whose logits change",
    label="largest change of a logit (no unit)",
    rows=read,
    columns=read,
    digits=1,
    alt="Changing a token moves logits at its own position and later ones only.",
)

# %% [markdown]
# Each column is one changed token, each row a position, named by the token that it
# reads. Above the diagonal nothing changes: no position notices a later token. So all
# positions can be trained in a single pass.
#
# ## 5. How wrong is it, and how does it learn?
#
# So far the weights came ready. Training them needs a number that says how wrong the
# model is, the **loss**. A right token that got the probability $p$ costs $-\ln p$
# *nats*. Suppose a text has three tokens:
#
# | right token | first | second | third |
# | --- | --- | --- | --- |
# | probability $p$ | 0.5 | 0.25 | 0.8 |
# | cost $-\ln p$, in nats | 0.69 | 1.39 | 0.22 |
#
# The less likely the right token, the more it costs. The loss is the mean cost, here
# 0.77 nats. (It is a *cross-entropy*. Padding does not count.)
#
# How much is 0.77 nats? Its exponential, $e^{0.77} \approx 2.2$, is the **perplexity**.
# The model is as uncertain as if it chose evenly among 2.2 tokens. Choosing evenly
# among all $V$ tokens of the vocabulary has the loss $\ln V$.

# %% [markdown]
# ### Exercise 4: the loss
#
# *Difficulty 2 of 5, 8 minutes.* How surprised is the model at the right tokens? Return
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
# Your loss now judges two models: one with random weights, and the trained one.

# %%
loss_of = al.checks.yours_or_ours("sequence_loss", sequence_loss)
untaught = al.translation.untrained(dates, dropout=0.0)
few = dates.test.sample(100)
for name, translator in {"untrained": untaught, "trained": ready}.items():
    with torch.no_grad():
        loss = float(loss_of(*logits_and_labels(translator, few)))
    print(f"{name:9} loss {loss:.4f} nats, perplexity {np.exp(loss):.2f}")
print(f"ln V = {np.log(len(ready.target_words)):.2f}")

# %% [markdown]
# The trained model finds the right tokens nearly certain. The untrained one is *worse*
# than an even choice, because its first logits lie too far apart. In a model of your
# own, check that the first loss is near $\ln V$.
#
# ### Training it
#
# How does the one become the other? Here is the training loop, with your teacher
# forcing and your loss. Each step draws 64 pairs, computes the loss and its gradients,
# and moves the weights a little. The **learning rate** says how far. It first rises, a
# *warm-up*, then falls (`OneCycleLR`).


# %%
def learn(new, pairs, steps):
    """Train a translator on pairs; yields (step, loss in nats) after each step."""
    optimizer = torch.optim.AdamW(new.model.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(1, steps + 1):
        batch = pairs.select(torch.randint(len(pairs), (64,)).tolist())
        loss = loss_of(*logits_and_labels(new, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        yield step, loss.item()


# %% [markdown]
# A second measure is easier to picture: the share of dev dates that come out right.


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
# (The first cell fetches the bundled curves, the second trains, the third draws.)

# %%
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
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
for (name, (step, loss, marks)), colour in zip(
    runs.items(), al.plots.RUN_COLOURS, strict=False
):
    left.plot(step, loss, color=colour, linewidth=1, label=name)
    right.plot(*zip(*marks, strict=True), "o-", color=colour, label=name)
left.set(
    yscale="log", xlabel="training step", ylabel="loss (nats per token), log scale"
)
right.set(ylim=(0, 1.03), xlabel="training step", ylabel="dev dates right (share)")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
al.plots.show(figure, alt="Loss on a log scale falls; the share of right dates rises.")

# %% [markdown]
# No. On the right the share climbs steeply, then flattens. A date is right only if all
# ten characters are. Suppose each is right with the same probability, independently of
# the others:
#
# - with 0.9 for each character, $0.9^{10} \approx 35$ % of the dates are right;
# - with 0.99 for each character, $0.99^{10} \approx 90$ %.
#
# So the share lags behind the loss. It is still below one half when the loss has
# already lost most of its height, which the logarithmic axis hides.
#
# ## 6. What has it learned, and what not?
#
# The model gets nearly all dev dates right. Can it now read dates? Ask it about the
# *test* part. No source text of it is in training, but its day may be, written in
# another way. So days never seen are counted separately.

# %%
tested = dates.test.sample(size.sentences)
answers = ready.translate(tested.sources)
known = set(dates.train.targets)
both = list(zip(answers, tested.targets, strict=True))
new_days = [each for each in both if each[1] not in known]
for name, pairs in {"all": both, "days never seen": new_days}.items():
    hits = sum(found == wanted for found, wanted in pairs)
    low, high = share_interval(hits, len(pairs))
    print(f"{name}: {hits:,} of {len(pairs):,} right, {hits / len(pairs):.1%}", end=" ")
    print(f"(95 % interval {low:.1%} to {high:.1%})")

# %% [markdown]
# That looks perfect. But every *way* of writing a date in the test part also occurs in
# training. What about ways that do not? Here are five kinds:
#
# | kind | compared with training | for instance |
# | --- | --- | --- |
# | *left-out* | seen in other languages, but not in this one | `fr: 17.2.1918` |
# | *borrowed* | year first, in a language that never has it so | `de: 2028-09-09` |
# | *new* | a shape that no language has | `3-Mar-2021` |
# | *other-order* | day and month swapped, one reading is a date | `en-GB: 08/22/2036` |
# | *either-order* | day and month swapped, both readings dates | `en-GB: 03/04/2021` |
#
# *Swapped* means against the tag. In the last row the swapped reading counts as right,
# here 4 March. So a model that follows the tag counts as wrong.
#
# *Predict first:* on which kinds will it fail?
#
# <details><summary>For the expert: how often are the test dates used?</summary>
#
# Many times, in sections 5 to 8; in 7 and 8 also to pick the heads shown, which
# flatters these. Exercise 5 chooses on dev.
#
# </details>
#
# The next two cells translate dates of all five kinds and judge each answer.


# %%
def is_date(text):
    """True if a text is a day of the calendar, written as ISO 8601 asks, else False."""
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


# %%
held_out = al.datasets.load("dates-held-out").test.sample(size.sentences)
frame = pd.DataFrame({"kind": held_out.kinds, "source": held_out.sources})
frame["found"], frame["wanted"] = ready.translate(held_out.sources), held_out.targets
frame["right"] = frame["found"] == frame["wanted"]
exchanged = frame["wanted"].str.replace(r"(..)-(..)$", r"\2-\1", regex=True)
frame["exchanged"] = frame["found"] == exchanged
frame["a date"] = frame["found"].map(is_date)

# %% [markdown]
# The table has a row for each kind, with *n* dates. All other columns are shares:
#
# - *right*, with the ends of its 95 % interval, *low* and *high*;
# - *exchanged*: day and month have changed places, as the tag asks in the last two
#   rows;
# - *a date*: the answer is a day of the calendar, right or wrong.

# %%
order = ["left-out", "borrowed", "new", "other-order", "either-order"]
groups = frame.groupby(pd.Categorical(frame["kind"], order), observed=True)
table = groups[["right", "exchanged", "a date"]].mean()
counts = groups["right"].agg(["sum", "size"])
table[["low", "high"]] = [share_interval(*row) for row in counts.to_numpy().tolist()]
table["n"] = counts["size"]
columns = ["right", "low", "high", "exchanged", "a date"]
table = table[["n", *columns]].rename_axis("kind")
al.plots.table(table, **dict.fromkeys(columns, 2))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# - *Left-out* ways are no trouble. The model joins what it knows of the language with a
#   shape it knows from others.
# - *New* shapes mostly come out right. Where they do not, the answers below miss the
#   month.
# - *Borrowed* ones, with the year first, fail every time.
# - With day and month swapped it follows the tag wherever both readings are dates, else
#   in a third of the answers.
#
# (A right answer counts as *exchanged*, too, where day and month are equal.)
#
# </details>
#
# What do its mistakes look like? Here are some wrong answers, at most three of a kind:

# %%
wrong = frame[~frame["right"] & (frame["kind"] != "either-order")]
wrong = wrong.groupby("kind").head(3).sort_values("kind", kind="stable")
al.plots.table(wrong[["kind", "source", "found", "wanted"]]).hide(axis="index")

# %% [markdown]
# Most are real days, only the wrong ones.
#
# ### What does it go by?
#
# Keep the characters and change the tag. In training, French and Hebrew have the day
# before the month, American English the month before the day, and Japanese the year
# first.

# %%
tags = ["fr", "he", "en-US", "ja"]
written = ["2021-03-03", "1921-11-19", "12/19/2001", "19/12/2001"]
rows = [ready.translate([f"{tag}: {text}" for tag in tags]) for text in written]
al.plots.table(pd.DataFrame(rows, index=written, columns=tags))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The tag decides: the same characters are read correctly after one tag and wrongly
# after another. `he: 1921-11-19` becomes `1919-11-19`, as if the year were taken from
# the end, where Hebrew has it; after `ja` it comes out right. Some answers have a month
# that does not exist: `fr: 12/19/2001` becomes `2001-19-12`. Others, as *a date* shows,
# are real days, but wrong ones.
#
# </details>
#
# And if the text is no date, or half a one?

# %%
own = ["en-GB: 31 February 2021", "en-GB: the third of March 2021", "fr: le 3 mars"]
for text, found in zip(own, ready.translate(own), strict=True):
    print(f"{text} -> {found}{'' if is_date(found) else '  (no such day)'}")

# %% [markdown]
# It has no token for "I cannot read this". So it answers all the same.
#
# What has it learned, then?
#
# - It knows in which order each tag writes year, month and day. It goes by this order
#   wherever both readings are dates. Where only the other reading is one, it does so in
#   a third of the answers, and the rest are days that neither reading gives.
# - It carries shapes from one language to another (*left-out*).
# - It does not check its answer against the text.
#
# This fits the riddle of section 1. No French date in training begins with the year,
# and `fr: 2021-03-03` fails like every other *borrowed* one. After `ja` the same
# characters come out right.
#
# Does the model also *look* for the year where the tag has it? Answers cannot say,
# alignments may. Try `al.plots.alignment(ready.attend("he: 1921-11-19"))`.

# %% [markdown]
# ## 7. Where does each head look?
#
# We have seen *what* the model does with a date, right or wrong. Now we ask *how*:
# which of its heads find year, month and day in the source? Section 2 showed one date
# and the mean of all heads. Here we count, head by head, on many dates. We can, because
# the right place is known. While the model writes a *field* (year, month or day), a
# head that aligns looks at that field in the source.
#
# The **accuracy** of a head is how often its largest weight lies in the right field.
# *Chance* is the share of the source that the field takes up: a head that looked at
# random would be right that often. Each field has a map. Layers go down, heads across,
# and the numbers are percent.

# %%
aligned = al.translation.alignment_accuracy(ready, tested)
al.plots.alignment_accuracy(aligned)

# %% [markdown]
# Here is the best head for each field:

# %%
best = aligned.loc[aligned.groupby("field")["accuracy"].idxmax()]
columns = ["field", "layer", "head", "accuracy", "chance", "n"]
table = best[columns].rename(columns={"n": "characters"})
al.plots.table(table).hide(axis="index")

# %% [markdown]
# In our run head 1.1 (layer 1, head 1) is nearly always right for the day, and head 1.3
# for the month. The year has no head of its own: its best, 0.2, is better at months.
#
# <details><summary>How strong a rival is chance?</summary>
#
# A weak one for the year: 71 % of these dates end with it.
#
# </details>
#
# To look at single heads, choose *cross* in the view below (bertviz), and hover over
# the target. A static page shows only the mean.

# %%
al.translation_view(maps)

# %% [markdown]
# ## 8. Which heads does it need?
#
# Some heads look at just the right place. But looking is not yet using. To see what the
# model needs, **silence** heads: multiply their output by 0, and translate again.
#
# First silence all heads of a kind: the self-attention of the *encoder*, that of the
# *decoder*, or *cross*-attention. *Predict first:* what will the decoder write without
# cross-attention?

# %%
few = dates.test.sample(size.sweep_sentences // 2)
whole = {"nothing": ready.settings()}
for kind in al.heads.settings.KINDS:
    whole[f"all of {kind}"] = ready.settings()
    getattr(whole[f"all of {kind}"], kind).scale[:] = 0  # silences all of them
rows = {}
for name, settings in whole.items():
    found = ready.translate(few.sources, settings=settings)
    hits = [a == b for a, b in zip(found, few.targets, strict=True)]
    dated = np.mean([is_date(text) for text in found])
    rows[name] = [np.mean(hits), dated, len(set(found)), found[0]]
shares = ["right (share)", "a date (share)"]
columns = [*shares, "different answers", "for instance"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table.rename_axis("silenced"), **dict.fromkeys(shares, 2))

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
# Each kind is needed. Which single heads are? Silence one head at a time. Here are the
# six that cost most. The change is in *points*: 1 point is 1 of 100 dates.

# %%
alone = al.translation.ablate_heads(ready, few)
shown = ["kind", "layer", "head", "delta", "ci_low", "ci_high"]
points = alone.sort_values("delta")[shown].head(6)
points[shown[3:]] *= 100
names = {"delta": "change (points)", "ci_low": "from", "ci_high": "to (95 %)"}
points = points.rename(columns=names)
al.plots.table(points, **dict.fromkeys(names.values(), 1)).hide(axis="index")

# %% [markdown]
# All six are heads of self-attention, yet silencing all of cross-attention leaves
# nothing right. So look at the cross-attention heads that align best (section 7). What
# does each of them cost?
#
# <details><summary>How far can the intervals be trusted?</summary>
#
# The six were picked from many on these dates; the intervals do not allow for that.
#
# </details>

# %%
needed = best.merge(alone[alone["kind"] == "cross"], on=["layer", "head"])
needed[shown[3:]] *= 100
columns = ["field", "layer", "head", "accuracy", *shown[3:]]
needed = needed[columns].rename(columns=names | {"accuracy": "aligns (share)"})
al.plots.table(needed, **dict.fromkeys(names.values(), 1)).hide(axis="index")

# %% [markdown]
# They look at the right place, yet each can be silenced at little or no cost. Perhaps
# they are not needed. Or perhaps one of two is enough.
#
# ### Two heads at once
#
# To find out, silence two heads together.
#
# Suppose head A costs 2 points and head B costs 1. If the two did unrelated things,
# both together would cost about 3. Now suppose they cost 20. The 17 points beyond 3 are
# the **surplus**: about so many answers survive the loss of either head, but not of
# both. We call the two **stand-ins**, though the surplus alone does not show that one
# does the other's work.

# %%
drawings.surplus(alone=(2, 1), together=20)

# %% [markdown]
# ### Exercise 5: what do two heads cost together?
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
# Now measure every pair of heads of cross-attention, on dev dates. The first cell
# defines `right_without`, the second calls your function, the third draws.

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


# %%
surplus = surplus_of(right_without, heads)
table = np.full((len(heads), len(heads)), np.nan)
for (a, b), points in surplus.items():
    row, column = sorted((heads.index(a), heads.index(b)))
    table[column, row] = table[row, column] = points

# %%
labels = [f"{layer}.{head}" for layer, head in heads]
al.plots.matrix(
    table,
    xlabel="one head of cross-attention (layer.head)",
    ylabel="the other head (layer.head)",
    label="surplus of the pair (points)",
    rows=labels,
    columns=labels,
    digits=0,
    alt="For each pair of heads, what they cost together beyond the sum of each.",
)

# %% [markdown]
# Each cell is a pair of heads. Red means that the two cost more together than one by
# one. In our run the three darkest are pairs of layer 1.
#
# The darkest pair may be so partly by luck, since it is picked for that. So measure it
# again, on *fresh* dates that took no part in the choice.
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
groups = ([], [first], [second], [first, second])  # what is silenced
whole, one, two, both = (right_without(group, fresh).astype(float) for group in groups)
low, high = paired_bootstrap(100 * (one + two - whole - both))
print(f"heads {first} and {second}, {len(fresh):,} fresh dates")
print(f"right: {whole.mean():.1%}, without either {one.mean():.1%} and", end=" ")
print(f"{two.mean():.1%}, without both {both.mean():.1%}")
print(f"surplus {100 * (one + two - whole - both).mean():.1f} points", end=" ")
print(f"(95 % interval {low:.1f} to {high:.1f})")

# %% [markdown]
# Nearly all dates survive the loss of either head, and far fewer the loss of both. The
# interval of the surplus stays clear of 0. Which part of the date goes wrong without
# the two?

# %%
settings = ready.settings()
for layer, head in (first, second):
    settings.cross.scale[layer, head] = 0
found = ready.translate(fresh.sources, settings=settings)
for name, field in (("year", slice(4)), ("month", slice(5, 7)), ("day", slice(8, 10))):
    wrong = [a[field] != b[field] for a, b in zip(found, fresh.targets, strict=True)]
    print(f"the {name} is wrong in {np.mean(wrong):.1%} of the dates")

# %% [markdown]
# In our run the year and the day go wrong, the month seldom.
#
# So silencing single heads would have misled us. Alone, each head of cross-attention
# costs little or nothing. Together they are needed. Lesson 06 finds the same for the
# heads of BERT's last layer.
#
# <details><summary>How do the two share the work?</summary>
#
# Perhaps head 1.3 still finds the month (not tested). The two share layer 1, so neither
# can react when the other falls silent. Either both carry the same thing all along, or
# their small losses add up.
#
# </details>
#
# ## 9. How far does it get on real language?
#
# We now know how this model reads a date. Does the same model cope with language? Dates
# are easy: there is one right answer, and there were 20,000 examples. Real language is
# harder, and here we have far fewer. The data set `interface-fr` has about 3,000
# strings of JupyterLab's user interface, with French translations by volunteers. That
# is far too little: the original English-German model had 4.5 million pairs. A
# translator trained on these strings comes along:

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
# - **BLEU** counts words. What share of the translation's words, and of its pairs,
#   triples and fours of words, is also in the reference?
# - **chrF** counts runs of one to six characters. How many of the translation's runs
#   are in the reference, and how many of the reference's were found?
#
# <details><summary>BLEU by hand, and the two halves of chrF</summary>
#
# For *le noyau redémarre vite* against *le noyau redémarre maintenant* the shares are
# 3/4, 2/3, 1/2, 0/1. (Each word of the reference counts once.) BLEU (Papineni et al.
# 2002) is the fourth root of their product (a 0 is smoothed), reduced if the
# translation is too short. In chrF (Popović 2015) the first half is the *precision*,
# the second the *recall*, which counts more. Both scores are for comparing systems on
# one test set, with equal settings: the two lines printed with the systems below note
# ours. No test string is a near copy of a training string.
#
# </details>
#
# On strings that it was trained on (*train*), and on others (*dev*):

# %%
rows = {}
for name, pairs in (("train", real.train.sample(len(real.dev))), ("dev", real.dev)):
    report = scores.score(french.translate(pairs.sources), pairs.targets)
    low, high = report.chrf_ci
    rows[name] = [report.chrf, low, high, 100 * report.exact]
columns = ["chrF", "from", "to (95 %)", "exact match (%)"]
al.plots.table(pd.DataFrame(rows, index=columns).T, **dict.fromkeys(columns, 1))

# %% [markdown]
# The gap between the rows is **overfitting**: what was learned by heart helps much less
# with new strings.
#
# <details><summary>How can exact match exceed chrF in the first row?</summary>
#
# chrF pools the characters of all strings, so long strings count most, and short ones
# were learned better: in our run 97 % of the shorter half match, 57 % of the longer.
#
# </details>
#
# ### Compared with what?
#
# Is the second score good? Alone it says little. Two systems that know no French stand
# beside ours, now on test strings:
#
# - *copy* leaves the English as it is;
# - *nearest string* finds the training string that is most like the source, and gives
#   its translation.
#
# *Greedy* takes the likeliest token at each step, as so far. *Beams* are explained in
# section 10. The first cell translates, and prints the settings of the scores. The
# second shows the scores.

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
print(*reports["ours, greedy"].signature.values(), sep="\n")

# %%
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
# differ. The interval of the *difference* on the same strings does. For each measure,
# here is ours minus the better of the two others:

# %%
ours = systems["ours, greedy"]
for measure in ("bleu", "chrf", "exact"):
    rivals = {name: getattr(reports[name], measure) for name in list(reports)[:2]}
    rival = max(rivals, key=rivals.get)
    row = scores.compare(systems[rival], ours, real.test.targets).loc[measure]
    unit = 100 if measure == "exact" else 1
    difference, low, high = unit * row[["difference", "low", "high"]]
    print(f"{measure:5} {difference:+5.1f}, from {low:+.1f} to {high:+.1f}:", end=" ")
    clear = low > 0 or high < 0
    print("a difference" if clear else "these strings cannot tell", f"({rival})")

# %% [markdown]
# By BLEU and chrF ours is ahead, by about 4 points each; the lower ends of the
# intervals are near 0. By exact match these strings cannot tell.
#
# <details><summary>How sure is that?</summary>
#
# The better of the two others is picked by these same scores, which favours that one.
# Exact matches are in points. The intervals are over strings; how much another seed
# would move the scores, a single run cannot say.
#
# </details>
#
# Appendix B looks at a simple thing that it gets wrong, and asks whether more pairs
# would help.

# %% [markdown]
# ## 10. Which translation should it choose?
#
# Can the translations get better without more training? So far the model took the
# likeliest token at each step, and never went back. But the likeliest *sentence* may
# begin with a less likely token. Suppose *le* is likelier than *la*. But after *le* the
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
# Here it is with two beams. A box holds a token, and the log-probability of the
# beginning that ends with it. Dashed boxes are dropped.

# %%
first = {"le": 0.5, "la": 0.4, "un": 0.1}
second = {"le": {"noyau": 0.4, "fichier": 0.3}, "la": {"cellule": 0.9, "page": 0.05}}
steps = [[(word, 0, np.log(p), word != "un") for word, p in first.items()], []]
for parent, word in enumerate(second):
    for following, p in second[word].items():
        kept = following in ("noyau", "cellule")
        steps[1].append((following, parent, np.log(first[word] * p), kept))
drawings.beam_tree(steps)

# %% [markdown]
# The heavy line is the likeliest sentence, *la cellule*. Its log-probability is $\ln
# 0.36 = -1.02$.

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
# end cut off the marks: the first id always, the last one only if it is the end mark.

# %%
search = al.checks.yours_or_ours("beam_search", beam_search)

# %% [markdown]
# The next cell makes the function that your search asks for log-probabilities, out of
# the `decode` of section 4. It keeps what was asked, so that the search can be drawn.
# (It is plumbing, and need not be read.)


# %%
def asking(translator, text):
    """(next_log_probabilities for one source, dict of all it was asked for)."""
    memory = translator.model.encode(padded(translator.encode([text])))
    never = [translator.model.padding, translator.target_words.start]
    asked = {}

    def next_log_probabilities(prefixes):
        for ids in prefixes:
            logits = decode(translator.model, torch.tensor([list(ids)]), memory)[0, -1]
            logits[never] = -torch.inf
            asked[tuple(map(int, ids))] = logits.log_softmax(-1)
        return torch.stack([asked[tuple(map(int, ids))] for ids in prefixes])

    return next_log_probabilities, asked


# %% [markdown]
# Now your search runs in the French translator, with 1 to 8 beams. It gets the two
# texts that came out wrong:

# %%
marks = french.target_words.start, french.target_words.end
french.model.cpu()
rows = []
for text in own[2:]:
    for width in (1, 2, 4, 8):
        ids, total = search(asking(french, text)[0], *marks, width, 20)
        written = french.target_words.decode(ids)
        rows.append((text, width, written, total, len(ids)))
columns = ["source", "beams", "translation", "log-probability (nats)", "tokens"]
table = pd.DataFrame(rows, columns=columns)
al.plots.table(table, **{columns[3]: 2}).hide(axis="index")

# %% [markdown]
# With 4 beams the first sentence is likelier, but has a word that does not exist. Where
# more beams found a *less* likely one, a beginning that would have led to a likelier
# sentence was crowded out.
#
# A picture shows how beams compete. The first cell is plumbing again. The second draws
# your search with three beams, up to the fourth token of the first sentence.


# %%
def tree_of(asked, depth=4):
    """A list of steps: for each beginning (token, parent, log-probability, kept)."""
    steps, known = [], {(marks[0],): (0, 0.0)}
    for length in range(2, depth + 2):
        level = []
        own = [ids for ids in asked if len(ids) == length]
        for ids in sorted(own, key=lambda ids: known[ids[:-1]][0]):
            parent, total = known[ids[:-1]]
            known[ids] = (len(level), total + float(asked[ids[:-1]][ids[-1]]))
            (token,) = french.target_words.tokens([ids[-1]])
            level.append((token.replace("▁", " ").strip(), parent, known[ids][1], True))
        steps.append(level)
    return [level for level in steps if level]


# %%
next_log_probabilities, asked = asking(french, own[2])
search(next_log_probabilities, *marks, 3, 20)
drawings.beam_tree(tree_of(asked))

# %% [markdown]
# A box in the middle that leads nowhere was crowded out: the three that were kept were
# all likelier than its continuations.
#
# Do more beams find likelier sentences in general, and are these *better*? The first
# cell translates the test strings with 1 to 8 beams. Each row of the table compares
# with one beam, which is greedy.
#
# <details><summary>Why does this use another search than yours?</summary>
#
# Each token makes a sentence less likely, so the likeliest one tends to be short. In
# practice scores are therefore divided by a number that grows with the length (Wu et
# al. 2016), as in `al.transformer.beam`.
#
# </details>

# %%
batch = padded(french.encode(real.test.sources)).to(french.device)
texts, logs = {}, {}
for beams in (1, 2, 4, 8):
    found = al.transformer.beam(
        french.model, batch, *marks, beams, french.default_max_length
    )
    texts[beams] = [french.target_words.decode(each[0].ids) for each in found]
    logs[beams] = np.array([each[0].log_probability for each in found])

# %%
rows = {}
for beams in (2, 4, 8):
    gain = logs[beams] - logs[1]
    row = scores.compare(texts[1], texts[beams], real.test.targets).loc["chrf"]
    likelier, less = 100 * (gain > 1e-4).mean(), 100 * (gain < -1e-4).mean()
    rows[beams] = [gain.mean(), likelier, less, *row[["difference", "low", "high"]]]
shares = ["likelier (%)", "less likely (%)"]
columns = ["gain (nats)", *shares, "change of chrF", "from", "to (95 %)"]
table = pd.DataFrame(rows, index=columns).T.rename_axis("beams")
al.plots.table(table, **dict.fromkeys(columns, 2) | dict.fromkeys(shares, 0))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Beams found likelier translations for about half of the strings, and seldom a less
# likely one (crowded out, or a longer one was preferred). That changed chrF by less
# than these strings can tell.
#
# </details>
#
# ## What to take away
#
# - The decoder reads the right answer one position late, behind a mask. So all
#   positions are trained in a single pass.
# - Cross-attention is attention with queries from the target. Its weights can be read
#   as an alignment, but a head that looks at the right place need not be needed.
# - A near-perfect score on a test set that looks like training says little about other
#   ways of writing.
# - A head that costs little alone may cost much together with another.
# - Likelier sentences need not be better. Compare systems by the interval of their
#   difference, beside a baseline that knows no French.
#
# Next: [04 Language model](04_language_model.ipynb) keeps the decoder alone, and lets
# it tell stories.
#
# ## Appendix A. What need not be computed twice?
#
# Writing takes a step for each token. Done naively, each step computes the keys and
# values of all earlier tokens again. But these do not change, since no position sees a
# later one (section 4). So they can be kept, in a **cache**. The same is true of the
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


batch, cost = padded(ready.encode(dates.test.sources[:100])).to(ready.device), {}
for cache in (False, True):
    with FlopCounterMode(display=False) as counter:
        write(cache)
    shortest = al.device.seconds(lambda cache=cache: write(cache), repeats=3)
    cost[cache] = np.array([counter.get_total_flops(), shortest])
operations, time_share = cost[True] / cost[False]
print(f"with a cache {operations:.0%} of the operations, {time_share:.0%} of the time")

# %% [markdown]
# In our run the cache saved more than half of both. Lesson 04 builds such a cache.
#
# ## Appendix B. What would help the French translator?
#
# Section 9 compared our translator with *copy*, which leaves the English as it is.
# Copying has exact hits because some strings are the same in both languages. How many
# of our exact hits are such strings?

# %%
texts = zip(real.test.sources, ours, real.test.targets, strict=True)
hits = [source == wanted for source, found, wanted in texts if found == wanted]
print(f"{sum(hits)} of {len(hits)} exact hits are copies of the English")

# %% [markdown]
# In our run copying alone gets 13 exact hits. Ours keeps 2 of these and spoils 11.
#
# ### Would more pairs help?
#
# The translator overfits (section 9). With more pairs it should do better. We have no
# more, but we can take some away and see what that costs.
#
# A quarter of the pairs, seen as often, also means a quarter of the *updates* (training
# steps). So the quarter is also seen four times as often. If `train` is True, this
# takes five to ten minutes. Otherwise the table has only its last row.

# %%
recipe = {"batch_size": 16, "learning_rate": 2e-3, "label_smoothing": 0.1}
full = min(size.string_epochs, 20)  # 20 is what the bundled one had
quarter = strings.sample(len(real.train) // 4, size.sentences)
count, amounts = f"{len(quarter.train):,} pairs", {}
if train:
    small = al.train_translator(quarter, epochs=full, **recipe)
    amounts[f"{count}, as many epochs"] = small.history.best["dev_chrf"]

# %%
if train:
    small = al.train_translator(quarter, epochs=4 * full, **recipe)
    amounts[f"{count}, as many updates"] = small.history.best["dev_chrf"]
amounts[f"{len(strings.train):,} pairs"] = french.history.best["dev_chrf"]
al.plots.table(pd.DataFrame({"chrF on dev": amounts}), **{"chrF on dev": 1})

# %% [markdown]
# From the first row to the second only the updates change. From the second to the third
# the pairs change, and with them the sub-words. In our run each step helped.
#
# <details><summary>For the expert: how fair is the comparison?</summary>
#
# The sub-words are learned from the pairs, so they change with them. Each figure is
# from the best epoch on dev; the second run has more to choose from. In the recipe,
# `label_smoothing` asks for only 90 % on the right token, so that the model does not
# grow too sure.
#
# </details>
#
# Does this hold on the test strings as well? The cell prints the score with all pairs
# minus that with the quarter and as many updates:

# %%
if train:
    found = small.translate(real.test.sources)
    row = scores.compare(found, systems["ours, greedy"], real.test.targets).loc["chrf"]
    print("chrF {difference:+.1f}, from {low:+.1f} to {high:+.1f}".format(**row))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# With more updates the quarter did better, yet all pairs did better still: the interval
# of the difference is clear of 0.
#
# </details>
#
# **Sources.** Vaswani et al. 2017 (Transformer) · Ranzato et al. 2016 (exposure bias) ·
# Xiong et al. 2020 (pre-norm) · Papineni et al. 2002 (BLEU) · Popović 2015 (chrF) · Wu
# et al. 2016 (length) · Vig 2019 (bertviz).

# %%
al.checks.summary("translation")
