# %% [markdown]
# # 04 A language model from nothing
#
# **How does a machine that only ever guesses the next piece of text come to tell a
# story, and what happens inside it while it does?** You train a small GPT on the fairy
# tales of the brothers Grimm until it begins to speak like them, and put it beside an
# honest rival that only counts. Then you open it: what it looks at, how it knows where
# a word stands, what its heads may share, what its cache saves, and how two heads
# together learn to copy.
#
# Afterwards you can
#
# - say what a language model is trained for, and measure it in bits per character
#   beside a model that counts;
# - draw text from it with temperature, top-k and top-p, and say what each does to the
#   probabilities;
# - write parts that most large language models have, or are run with: the causal loss,
#   rotary positions, the key-value cache, a softmax that is computed in pieces;
# - find the heads that look one token back and those that copy, and test by intervening
#   what they need.
#
# Time: about 150 minutes, 60 of them for seven exercises. The cells together compute
# for some six minutes on two processor cores. You need lessons
# [02](02_attention_from_scratch.ipynb) and [03](03_translation.ipynb). Choose **Run →
# Run All Cells** first; exercises that are not written yet only say so.

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import attnlab as al
from attnlab import language
from attnlab.attention import merge_heads, split_heads
from attnlab.show import drawings

# %%
size = al.device.profile()
small_run = size.name == "ci"
tales = al.datasets.load_tales("grimm")
ready = al.load_language_model("grimm")
print(tales)
print(ready, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# Below is a model that was trained on 42 of Grimm's tales, as you will train one in
# section 4. It reads the text so far and gives every piece it knows a probability of
# coming next. Bars show the likeliest. Click on one to take it, or press *Step* to draw
# one. Then move the sliders: what do *temperature* and *top-p* do to the bars?

# %%
desk = al.SamplingDesk(ready, prompt="Once upon a time there was a")
desk

# %% [markdown]
# ## 2. Guessing by counting
#
# A language model gives each text a probability, piece by piece. That is what
# **autoregressive** means: each is guessed from those before it.
#
# $$ p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_1, \dots, x_{t-1}) $$
#
# All it needs is the probability of the next piece. The plain way is to **count** in
# the training tales: after "once upo", how often did each letter come? A model that
# counts runs of n letters, an *n-gram* model, so guesses from the n - 1 letters before.
#
# Most long runs never occurred. **Kneser-Ney smoothing** (1995) takes a little off
# every count and spreads it by what the shorter context says. There a letter weighs by
# how many *different* contexts it has followed: "Francisco" may be frequent, but as it
# follows "San" only, it is a bad guess anywhere else.

# %%
letters = language.Characters.train(tales.train)
train_ids = [letters.encode(tale) for tale in tales.train]
orders = (2, 4, 6, 8) if small_run else (1, 2, 3, 4, 5, 6, 8, 10)
counted = {
    order: language.KneserNey(order).fit(train_ids, len(letters)) for order in orders
}
for order in (2, 4, 8):
    sample = letters.decode(counted[order].sample(160, seed=1))
    print(f"{order} letters: {sample!r}\n")

# %% [markdown]
# Longer contexts turn letters into syllables, words and turns of phrase. How good is
# such a guess? The measure is **bits per character**: the sum of $-\log_2 p$ of what
# really came, over the number of characters, in tales that were held out whole. A guess
# among 26 equally likely letters costs 4.7 bits, a coin toss 1. (2 to the power of the
# bits *per piece* is the perplexity of lesson 03.) Since it is characters that are
# counted, models that cut the text into other pieces can stand in the same table.


# %%
def bits(model, tokens, texts):
    """Bits per character, read in windows of 64 tokens that overlap by half."""
    return language.bits_per_character(model, tokens, texts, window=64)


by_order = pd.DataFrame(
    {
        "training tales": [bits(counted[n], letters, tales.train[:4]) for n in orders],
        "held-out tales": [bits(counted[n], letters, tales.dev) for n in orders],
    },
    index=orders,
)

# %% folded=true
figure, axes = plt.subplots(figsize=(6, 3.2))
for (name, column), style in zip(by_order.items(), ("o--", "o-"), strict=True):
    axes.plot(column.index, column, style, label=name)
axes.set(xlabel="letters that are counted together", ylabel="bits per character")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
al.plots.show(figure, alt="Bits per character of n-gram models by order.")

# %% [markdown]
# On tales it has counted the model gets better and better with longer contexts; on new
# tales it stops getting better. That gap is **overfitting** (lesson 03). The best order
# on these held-out *dev* tales is one rival to beat.
#
# ## 3. The model, the loss, and the loop
#
# A **GPT** is the decoder of lesson 03 without a source. Each piece has a row in the
# embedding table: the vector that starts its **residual stream**. Each block adds to
# the stream twice, first what causal attention finds in earlier pieces, `x +
# attention(norm(x))`, then what a feed-forward network makes of each piece alone, `x +
# feed_forward(norm(x))`. A last norm, and the embedding table once more, now as the
# **unembedding** (embedding and output share their weights: *weight tying*): the dot
# product with each row is the logit of that piece.

# %%
parts = dict.fromkeys(["embedding", "attention", "feed-forward", "norms"], 0)
for name, weight in ready.model.named_parameters():
    kind = "norms" if "norm" in name else "attention" if ".attention" in name else name
    kind = "feed-forward" if "feed_forward" in kind else kind.removesuffix(".weight")
    parts[kind] += weight.numel()
drawings.gpt(len(ready.tokens), ready.model.size["d_model"], ready.layers, parts)

# %% [markdown]
# In code that is all. Take `angles`, the positions, as given until section 7:

# %%
with torch.no_grad():
    model, ids = ready.model, ready.encode("Once upon a time there was")
    head_width = model.size["d_model"] // model.heads
    angles = al.attention.rotary_angles(torch.arange(ids.shape[1]), head_width)
    x = model.embedding(ids)
    for block in model.blocks:
        y = block.around_attention.norm(x)
        x = x + block.attention(y, causal=True, angles=angles)
        x = x + block.feed_forward(block.around_feed_forward.norm(x))
    logits = model.unembedding(model.norm(x))  # (1, T, V)
    print(f"differs from the model by {(logits - model(ids)).abs().max():.0e}")

# %% [markdown]
# At each place the model gives a logit to every piece of the vocabulary, and the loss
# is the cross-entropy with the piece that came. All places of a text are trained at
# once, since the causal mask of lesson 02 hides what comes after each of them.

# %% [markdown]
# ### Exercise 1: the loss, one token ahead
#
# *Difficulty 2 of 5, 6 minutes.* In lesson 03 the labels came ready and padding stood
# behind. Now `ids` are both: the model has read them, and its logits at position $t$
# say what it expects at $t + 1$. Return one number: the mean cross-entropy in nats
# over all predictions that can be checked. A text of T tokens has T - 1 of them.
#
# Texts of different length are filled up with padding, behind or, so that all can be
# continued at the same column, in front; `mask` is True at real tokens. A prediction
# counts only if the token that was read *and* the token to be predicted are both real.
# Padding may have any id. The mean is over predictions, not over texts.


# %% exercise="causal_loss" points=2
def causal_loss(logits, ids, mask):
    """Mean cross-entropy of each next token in nats, a tensor with one number.

    logits (B, T, V); ids (B, T); mask (B, T) bool, False at padding
    """
    ### BEGIN SOLUTION
    labels = ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    nats = F.cross_entropy(logits[:, :-1].mT, labels, reduction="none")  # (B, T - 1)
    return nats[counts].mean()
    ### END SOLUTION


# %% check="causal_loss"
al.checks.causal_loss(causal_loss)

# %% [markdown] hints="causal_loss"
# Write a text of four tokens down, and below each the token that its logits are about.
# Which logits have nothing to be compared with? Which token is never predicted?
#
# ---
# `logits[:, :-1]` belong to `ids[:, 1:]`. `log_softmax` gives log-probabilities in one
# step, and `F.cross_entropy(..., reduction="none")` one number for each prediction; it
# wants the vocabulary on axis 1, which `.mT` does.
#
# ---
# `mask[:, :-1] & mask[:, 1:]` says which predictions count. Index with it, and take the
# mean of what is left.

# %%
loss_of = al.checks.yours_or_ours("causal_loss", causal_loss)

# %%
short, long = (
    ready.encode(t) for t in ("The king slept.", "Then the queen came home.")
)
missing = long.shape[1] - short.shape[1]
for side, pad in {"behind": (0, missing), "in front": (missing, 0)}.items():
    mask = F.pad(torch.ones_like(short), pad) > 0
    ids = torch.cat([F.pad(short, pad), long])
    mask = torch.cat([mask, torch.ones_like(long) > 0])
    with torch.no_grad():
        loss = loss_of(ready.model(ids, mask), ids, mask)
    print(f"padding {side}: {loss:.4f} nats a piece")

# %% [markdown]
# The two agree, if the loss leaves padding out on either side.
#
# Pieces are **byte pairs** (lesson 03): frequent strings of letters, learned from the
# training tales alone.

# %%
pieces = language.BytePairs.train(tales.train, 512 if small_run else 1024)
example = "Once upon a time there lived a queen."
print(" ".join(pieces.pieces(pieces.encode(example))))
text = torch.tensor([token for tale in tales.train for token in pieces.encode(tale)])
print(f"{len(text):,} pieces to learn from, {len(pieces):,} different ones")

# %% [markdown]
# Here is the whole training of a language model, with the loss of exercise 1. Each step
# cuts eight windows of 64 pieces out of the tales.

# %%
torch.manual_seed(0)
small = al.LanguageModel(len(pieces), d_model=64, heads=4, layers=2)
optimizer = torch.optim.AdamW(small.parameters(), lr=3e-3, weight_decay=0.1)
losses = []
for _ in range(30 if small_run else 400):
    starts = torch.randint(len(text) - 64, (8, 1))
    window = text[starts + torch.arange(64)]
    loss = loss_of(small(window), window, torch.ones_like(window).bool())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

# %% folded=true
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(losses, lw=1, label="loss of each step")
axes.axhline(np.log(len(pieces)), color="0.4", ls="--", label="ln V: uniform")
axes.set(xlabel="step", ylabel="loss (nats per piece)", ylim=(0, None))
axes.legend(frameon=False, loc="lower left")
axes.spines[["top", "right"]].set_visible(False)
al.plots.show(figure, alt="Loss over the steps: it starts at ln V and falls.")

# %%
tale = language.Writer(small, pieces)
print(f"loss {losses[0]:.2f} (ln V = {np.log(len(pieces)):.2f}) -> {losses[-1]:.2f}")
print(tale.write("Once upon a time", max_new_tokens=60))

# %% [markdown]
# At first all pieces are equally likely to it, and the loss is $\ln V$. (The spike: the
# full learning rate from the first step on, probably; section 4 lets it rise.) Read
# what it writes now: which of letters, words and sentences has it got right?
#
# ## 4. Train it in earnest
#
# What is missing you know from lesson 03: a learning rate that rises and falls,
# dropout, a measurement on held-out tales now and then, and the best state kept.
# `al.train_language_model` is the same loop with these. While it learns, it writes.

# %%
recipe = dict(language.RECIPES["ci" if small_run else "cpu"])
if small_run:
    recipe |= {"steps": 60, "measure_every": 30}
began = time.perf_counter()
writer = al.train_language_model(tales, sample_every=recipe["steps"] // 4, **recipe)
print(f"{writer} after {time.perf_counter() - began:.0f} s")

# %%
for sample in writer.history.samples:
    print(f"step {sample['step']:5}: {sample['text']!r}\n")

# %% [markdown]
# Now beside those that count: on the *test* tales, which nothing was chosen by, and on
# three tales by Andersen, another author. One counts letters, one the GPT's own pieces.

# %%
andersen = al.datasets.load_tales("andersen").test
order = min(orders, key=lambda n: by_order.loc[n, "held-out tales"])
word_ids = [writer.tokens.encode(tale) for tale in tales.train]
by_pieces = language.KneserNey(5).fit(word_ids, len(writer.tokens))
models = {
    f"counting, {order} letters": (counted[order], letters),
    "counting, 5 pieces": (by_pieces, writer.tokens),
    "GPT, trained above": (writer.model, writer.tokens),
    "GPT of the course": (ready.model, ready.tokens),
}

# %%
both = (tales.test[:1], andersen[:1]) if small_run else (tales.test, andersen)
rows = {
    name: [bits(model, tokens, texts) for texts in both]
    for name, (model, tokens) in models.items()
}
table = pd.DataFrame(rows, index=["Grimm, test", "Andersen"]).T
al.plots.table(table.sort_values("Grimm, test"), **{"Grimm, test": 2, "Andersen": 2})

# %% [markdown]
# Is the lead real? Compare tale by tale; the interval draws the tales again.

# %%
few = tales.test[:1] if small_run else tales.test
rival = language.measure_bits(by_pieces, writer.tokens, few, window=64)
for name in ("GPT, trained above", "GPT of the course"):
    own = language.measure_bits(*models[name], few, window=64)
    ahead = (own["bits"] - rival["bits"]) / rival["characters"].mean()
    low, high = al.statistics.paired_bootstrap(ahead.to_numpy())
    print(f"{name}, minus counting: {ahead.mean():+.3f} ({low:+.3f} to {high:+.3f})")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The GPT supplied with the course, larger and trained for longer, is ahead of counting.
# The lead of the one trained above is within its interval: after a few minutes of
# training on so little text the two are about even.
#
# </details>
#
# Where does a lead come from? *Predict first:* how many pieces back must the GPT see to
# overtake the model that counts runs of five? Let it see fewer.

# %%
sights = (4, 64) if small_run else (2, 4, 8, 16, 32, 64, 128)
sight = [
    language.bits_per_character(ready.model, ready.tokens, few, window=seen)
    for seen in sights
]
counting = rival["bits"].sum() / rival["characters"].sum()
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.semilogx(sights, sight, "o-", base=2, label="GPT")
axes.axhline(counting, color="0.4", ls="--", label="counting, 5 pieces")
axes.set(xlabel="pieces in sight, at most", ylabel="bits per character")
axes.set_xticks(sights, sights)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
print(*(f"{seen}: {value:.3f}" for seen, value in zip(sights, sight, strict=True)))
al.plots.show(figure, alt="Bits per character of the GPT by the pieces in sight.")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# With two to four pieces in sight the GPT is behind the counter, which always has four;
# with four to eight it is ahead. With sixteen it has most of its lead, and what stood
# more than thirty pieces back is worth about a thousandth of a bit. What *this* model
# adds is no long memory, but a better use of the last twenty or thirty pieces. And with
# 128, twice the 64 that it was trained on, it falls behind counting: at such distances
# it has never looked. (Windows overlap by half: of 16 pieces in sight, 8 to 16 are
# seen.)
#
# </details>

# %% [markdown]
# ## 5. Drawing the next piece
#
# A model gives probabilities; to write, one must choose. Always the likeliest piece
# (*greedy*) tends to go round in circles. Drawing by the probabilities now and then
# takes an unlikely one, and the text derails. Between the two:
#
# - **temperature** $\tau$ divides the logits $z$, $\text{softmax}(z / \tau)$: below 1
#   what is likely becomes likelier, above 1 the choice becomes more even;
# - **top-k** draws among the k likeliest only;
# - **top-p** (*nucleus*) draws among the fewest that together have probability p: many
#   where the model hesitates, few where it is sure.


# %%
def percent(shares):
    """Two digits, however small: 8.7, 0.0031, and 0 only for what cannot be drawn."""
    return [
        np.format_float_positional(100 * share, 2, fractional=False, trim="-")
        for share in shares.tolist()
    ]


# %%
ways = {
    "greedy": {"temperature": 0},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 1": {},
    "temperature 1.5": {"temperature": 1.5},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
}
logits = ready.probabilities("Once upon a time there was a").log()
likely = logits.argsort(descending=True)[[0, 1, 2, 3, 4, 5, 9, 399]].tolist()
after = {name: language.adjust(logits, **own) for name, own in ways.items()}
print("pieces left:", {name: int((own > 0).sum()) for name, own in after.items()})
table = {name: percent(own[likely]) for name, own in after.items()}
table = pd.DataFrame(table, index=ready.tokens.pieces(likely))
al.plots.table(table.rename_axis("per cent"))

# %% [markdown]
# The rows are the six likeliest pieces, the tenth and the four hundredth. Top-k and
# top-p cut the tail off; temperature moves all.

# %% [markdown]
# ### Exercise 2: the likely ones only (top-p)
#
# *Difficulty 3 of 5, 8 minutes.* Top-p, or nucleus sampling, draws among the **fewest**
# tokens whose probabilities add up to at least `p`, from the most likely one down. All
# others get exactly 0, and those that stay keep their proportions and sum to 1.
#
# At least one token stays, even if `p` is 0. Of equally likely tokens those with
# smaller ids come first. Each row of `logits` is a distribution of its own; a logit of
# -inf means probability 0.


# %% exercise="top_p" points=3
def top_p(logits, p):
    """The probabilities that the next token is drawn with, of the shape of logits.

    logits (..., V); p: a number from 0 to 1
    """
    ### BEGIN SOLUTION
    ranked, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked  # what the likelier ones add up to
    stay = before < p
    stay[..., 0] = True
    kept = torch.zeros_like(ranked).scatter(-1, order, ranked * stay)
    return kept / kept.sum(-1, keepdim=True)
    ### END SOLUTION


# %% check="top_p"
al.checks.top_p(top_p)

# %% [markdown] hints="top_p"
# By hand: with probabilities .5, .3, .2 and p = .6, which tokens stay? With p = .5? Ask
# of each token what the likelier ones add up to *without* it.
#
# ---
# `sort(dim=-1, descending=True, stable=True)` gives the probabilities in order and the
# ids they belong to; `cumsum` adds up. A token stays if what comes before it has not
# reached p. The first one always stays.
#
# ---
# The result must be in the order of the ids again.
# `torch.zeros_like(ranked).scatter(-1, order, kept)` writes number i of a row to place
# `order[i]`. In the end divide by the sum.

# %%
choose = al.checks.yours_or_ours("top_p", top_p)


# %%
@torch.no_grad()
def go_on(prompt, p, tokens=40, seed=0):
    """Write on, drawing each token from what `choose` leaves."""
    generator = torch.Generator().manual_seed(seed)
    ids = new = torch.tensor([writer.tokens.encode(prompt)])
    # what was computed for earlier pieces: section 10
    cache = writer.model.eval().cache()
    for _ in range(tokens):
        logits = writer.model(new, cache=cache)[:, -1]
        new = torch.multinomial(choose(logits, p), 1, generator=generator)
        ids = torch.cat([ids, new], 1)
    return writer.tokens.decode(ids[0].tolist())


# %%
for p in (0.05, 0.5, 0.9, 1.0):
    print(f"p = {p:<4} {go_on('Once upon a time there was a', p)!r}")

# %%
for name, options in ways.items():
    said = ready.write("The old woman said", 10 if small_run else 50, seed=3, **options)
    print(f"{name:16} {said!r}\n")

# %% [markdown]
# `write` shows the model the last 64 pieces only, its **context length**: the length of
# the windows it was trained on.
#
# ## 6. Where it looks
#
# The pictures are those of BERT, but lower triangular: no piece looks at a later one.
# Open layer 2, head 2: a bright line just below the diagonal, each piece looks at the
# one before. Does the second *daughter* look at the first, or at what followed it?

# %%
maps = ready.attend("The king had a daughter, and the daughter of the king")
al.attention_view(maps)

# %% [markdown]
# One sentence is an anecdote; many tales are not. The simplest habit is to look at the
# **piece just before**: its mean weight, for each head, over the beginnings of the test
# tales. (`seen` is a list that the model adds the weights of each layer to;
# `HeadScores` holds a score for each head.)

# %%
ids = torch.cat([ready.encode(tale[:400])[:, :64] for tale in tales.test])
seen = []
with torch.no_grad():
    ready.model(ids, seen=seen)
previous = language.previous_token_scores(seen)
print(previous)
al.plots.head_scores({"weight on the piece before": previous})

# %% [markdown]
# *Uniform* is the score of a head that spreads its weight evenly. Does the model *need*
# the heads that look one back? Zero ablation asks: what does each head cost when its
# output is multiplied by 0, in bits per character, with the 95 % interval over windows?

# %%
ablated = language.ablate_language_model(ready, few)
most = ablated.sort_values("delta", ascending=False).head(6)
most = most.assign(
    before=previous.scores[most["layer"].tolist(), most["head"].tolist()].numpy()
)
shown = ["layer", "head", "before", "delta", "ci_low", "ci_high"]
print(f"all heads: {ablated.attrs['bits']:.3f} bits per character")
al.plots.table(most[shown], before=2, delta=3, ci_low=3, ci_high=3)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The head that looks one back most is among those missed most. (All heads have 1.743
# bits here, not 1.729: tales are cut into rows of 64 that do not overlap.) But that is
# about a hundredth of a bit, and the second in cost looks one back far less: what a
# head looks at does not say what it is worth. Single heads of this model are hardly
# missed.
#
# </details>
#
# Every layer adds to the same residual stream. So one can apply the last norm and the
# embedding table to the stream after any layer and see what the model would say by now:
# the **logit lens** (nostalgebraist 2020). Rows are layers, from the bare embedding
# upwards; each cell is the likeliest next piece after the piece below.

# %%
ids_said = ready.encode("There was once upon a time a king who")
lens = language.logit_lens(ready.model, ids_said)
al.plots.logit_lens(language.lens_table(lens, ids_said, ready.tokens.pieces))

# %% [markdown]
# At the bottom the guess is the piece itself: with tied weights each vector is most
# like its own. From layer to layer more of the text comes in. (Early layers were never
# trained to be read like this: what they seem to say is a hint, no proof.)
#
# ## 7. Where a piece stands
#
# Attention sees a set (lesson 01), so positions have to be told. Lesson 03 *added* a
# vector to each token. Most models of today **turn** queries and keys instead (rotary
# positions, RoPE; Su et al. 2021). Two numbers of a query, $(q_1, q_2)$, are a point in
# the plane, turned by the angle $m\theta$, where $m$ is its position; the key at
# position $n$ is turned by $n\theta$. The dot product of two points depends on their
# lengths and on the angle between them, which has changed by $(n - m)\theta$:
#
# $$ \langle R_{m\theta}\, q,\; R_{n\theta}\, k \rangle =
# \langle q,\; R_{(n - m)\theta}\, k \rangle $$
#
# So the score depends on how far apart the two stand, and not on where. Each pair of
# numbers turns at a speed of its own, from one radian per token down to almost nothing.

# %% [markdown]
# ### Exercise 3: turn by the position (RoPE)
#
# *Difficulty 3 of 5, 9 minutes.* Take the numbers of a query or key in pairs of
# **neighbours**, $(x_{2i}, x_{2i+1})$, and turn pair $i$ by the angle $p \cdot
# b^{-2i/D}$, where $p$ is the token's position and $b$ the base. The first pair turns
# by $p$ radians, the later ones ever more slowly. A turn by $\alpha$, counter-
# clockwise, is
#
# $$(x, y) \mapsto (x \cos\alpha - y \sin\alpha,\; x \sin\alpha + y \cos\alpha).$$
#
# `rotate` and `rotary_angles` of `attnlab` are not allowed.


# %% exercise="rotary" points=3
def rotary(x, positions, base):
    """x with each pair of neighbouring numbers turned, (B, H, T, D).

    x (B, H, T, D), D even; positions (T,) whole numbers, in any order; base: a number
    """
    ### BEGIN SOLUTION
    width = x.shape[-1]
    speed = base ** (-torch.arange(0, width, 2) / width)  # (D / 2,)
    angles = positions[:, None] * speed  # (T, D / 2)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., 0::2], x[..., 1::2]  # (B, H, T, D / 2)
    turned = first * cos - second * sin, first * sin + second * cos
    return torch.stack(turned, dim=-1).flatten(-2)
    ### END SOLUTION


# %% check="rotary"
al.checks.rotary(rotary)

# %% [markdown] hints="rotary"
# The angles are a table (T, D / 2): a position for each row, a speed for each column.
# Which product of `positions` and the speeds gives it?
#
# ---
# `x[..., 0::2]` are the first numbers of all pairs, `x[..., 1::2]` the second ones,
# both (B, H, T, D / 2): the table fits as it is.
#
# ---
# `torch.stack([first, second], dim=-1)` makes (B, H, T, D / 2, 2), and `.flatten(-2)`
# puts neighbours side by side again. `cat` would put all first numbers before all
# second ones.

# %%
turn = al.checks.yours_or_ours("rotary", rotary)
torch.manual_seed(0)
query, key = torch.randn(2, 1, 1, 1, 32).unbind()
scores, apart = {}, range(60)
for place in (60, 1000):
    scores[f"query at {place:,}"] = [
        float(
            (
                turn(query, torch.tensor([place]), 1e4)
                * turn(key, torch.tensor([place - distance]), 1e4)
            ).sum()
        )
        for distance in apart
    ]

# %% folded=true
al.plots.lines(
    apart,
    scores,
    xlabel="distance from query to key, tokens",
    ylabel="score",
    alt="The score over the distance, for a query at 60 and one at 1,000: the curves "
    "lie on each other.",
)

# %% [markdown]
# One random query and key, at two places of a text: the two curves lie on each other.
# (That the score falls here is chance: another query and key may rise.) Your function
# turns the model of section 10.
#
# **ALiBi** (Press et al. 2022) neither turns nor adds vectors: it subtracts from each
# score a number that grows with the distance, faster in some heads than in others.
#
# ## 8. Heads that share keys
#
# While a model writes, keys and values of all earlier pieces are kept; queries are not
# (section 10). If several query heads share one head of keys and values (*grouped-query
# attention*; *multi-query*, if all share one), what is kept shrinks by that factor: H
# heads of queries, K heads of keys, and g = H / K neighbours share one.
#
# What is better, and what does sharing cost? The model of section 4 (4 layers of
# width 96) is trained anew with one thing changed, over three seeds. Eighteen models
# take about an hour, so the figures come along with the course (`make bench
# AREA=language-models` makes them anew). *difference*: bits per character *more* than
# the first row, the model with RoPE and a head of keys for each head of queries (its
# own difference is 0 by construction). *low*, *high*: its 95 % interval; seeds and
# pieces of text are drawn again. *cache_bytes*: keys and values of 64 pieces.

# %%
variants = language.variants()
al.plots.table(variants, bits=3, difference=4, low=4, high=4)

# %% [markdown]
# Hold each interval against 0.
#
# <details><summary>What we saw</summary>
#
# Vectors that are added, learned or sinusoidal, cost about a tenth of a bit; perhaps so
# short a training does not teach the model what turning has built in. ALiBi, which
# knows nothing but distances, is behind RoPE by less than .02 of a bit, and its
# interval leaves 0 out. Sharing keys costs less than .02 of a bit, if anything: both
# intervals hold 0, that of a single head of keys only just. All of this is about a
# model of this size, after so many steps, on these tales; three seeds are few, too.
#
# </details>
#
# ## 9. Windows, and attention that has nothing to do
#
# With an **attention window** a piece looks at the last $w$ pieces only, itself
# included, in each layer. What those took in from further back comes along, so L layers
# reach L(w - 1) pieces back: here 60. That a window of 16 costs so little does not mean
# that 16 pieces are enough. Only $w$ rows are kept (a *ring*: a new piece takes the row
# of the oldest). Large models that were trained without a window break when it is put
# on, unless the first few tokens stay in sight: these have become **sinks**, on which
# heads unload weight that they have no use for (Xiao et al. 2024). BERT has such sinks
# (lesson 02). Has our tale-teller? Its first piece is `<start>`, the mark of a tale's
# start.

# %%
sinks = language.sink_shares(seen)
print(f"weight on the first piece: {sinks}")
print("by layer:", *(f"{value:.2f}" for value in sinks.scores.mean(1)))


# %%
def seeing(own, window, sinks=0):
    """The same weights in a model that sees so many pieces, and so many first ones."""
    other = al.LanguageModel(**own.size | {"window": window, "sinks": sinks})
    other.load_state_dict(own.state_dict())
    return other.eval()


print(f"no window {bits(ready.model, ready.tokens, few):.3f} bits per character")
for first in (0, 1):
    found = bits(seeing(ready.model, 16, first), ready.tokens, few)
    print(f"window of 16, {first} sinks: {found:.3f}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# On average over a layer's heads the mark gets what a uniform head would give; one
# head, L2H0, gives it three times that. A window of 16 costs a few thousandths of a
# bit. Keeping the first of the 64 pieces that are read at once in sight (the mark only
# where they open a tale) changes nothing in the third decimal.
#
# </details>
#
# ## 10. The cache
#
# To write piece 200 the model attends to 199 earlier ones. Their keys and values do not
# change, whatever is appended; that is what the causal mask means. So they can be kept,
# in the **key-value cache**. The prompt is read at once (*prefill*); then each step
# computes one token only, one new row (*decode*).

# %%
drawings.cache_step(
    ["once", "upon", "a", "time"],
    keys=[[1, 0], [0, 2], [1, 1], [2, 0]],
    values=[[1, 0], [0, 1], [2, 1], [0, 3]],
    query=[2, 1],
)

# %% [markdown]
# ### Exercise 4: one step with a cache
#
# *Difficulty 3 of 5, 10 minutes.* Write one step of *decode*. The query of **one** new
# token sees every key in the cache and its own; scores are divided by $\sqrt{D}$.
#
# Keys and values may have fewer heads than the queries, H = g K: then g *neighbouring*
# query heads share one, heads 0 to g - 1 the first, and so on. The cache keeps K heads.
#
# Return the context and both caches, one token longer. They are new tensors: the caches
# that came in stay as they are. Ready-made attention is not allowed.


# %% exercise="cached_step" points=3
def cached_step(query, key, value, cache_keys, cache_values):
    """(context, cache_keys, cache_values) after one more token.

    query (B, H, 1, D); key, value (B, K, 1, D); caches (B, K, T, D), T may be 0
    context (B, H, 1, D); new caches (B, K, T + 1, D)
    """
    ### BEGIN SOLUTION
    keys = torch.cat([cache_keys, key], dim=2)
    values = torch.cat([cache_values, value], dim=2)
    shared = query.shape[1] // keys.shape[1]  # query heads for each head of keys
    all_keys = keys.repeat_interleave(shared, dim=1)  # (B, H, T + 1, D)
    all_values = values.repeat_interleave(shared, dim=1)
    scores = query @ all_keys.mT / math.sqrt(query.shape[-1])  # (B, H, 1, T + 1)
    return scores.softmax(-1) @ all_values, keys, values
    ### END SOLUTION


# %% check="cached_step"
al.checks.cached_step(cached_step)

# %% [markdown] hints="cached_step"
# First put the new key and value behind those in the cache; then it is ordinary
# attention with one query. Is a mask needed? What comes after the newest token?
#
# ---
# `torch.cat([cache_keys, key], dim=2)`. The scores are (B, H, 1, T + 1), and the
# softmax runs over the last axis.
#
# ---
# For shared heads, `keys.repeat_interleave(H // K, dim=1)` gives 0 0 1 1 2 2; `repeat`
# would give 0 1 2 0 1 2. Repeat for the scores only, and return the caches as they were
# before.

# %%
step = al.checks.yours_or_ours("cached_step", cached_step)

# %% [markdown]
# With *your* step and *your* `rotary` the whole model is a dozen lines:


# %%
@torch.no_grad()
def read_token(model, token, position, caches):
    """Logits (1, 1, V) after one more token; `caches`, a pair for each layer, grow."""
    x, base = model.embedding(token), model.size["rope_base"]
    place = torch.tensor([position])
    for layer, block in enumerate(model.blocks):
        own, y = block.attention, block.around_attention.norm(x)
        query = turn(split_heads(own.query(y), own.heads), place, base)
        key = turn(split_heads(own.key(y), own.kv_heads), place, base)
        value = split_heads(own.value(y), own.kv_heads)
        context, *caches[layer] = step(query, key, value, *caches[layer])
        x = x + own.output(merge_heads(context))
        x = x + block.feed_forward(block.around_feed_forward.norm(x))
    return model.unembedding(model.norm(x))


# %%
def compare(prompt="Once upon a time there was a poor miller"):
    """How far token by token is from all at once."""
    model, ids = writer.model.eval(), torch.tensor([writer.tokens.encode(prompt)])
    width = model.size["d_model"] // model.heads
    none = [torch.zeros(1, b.attention.kv_heads, 0, width) for b in model.blocks]
    caches = [[empty, empty] for empty in none]
    places = enumerate(ids[0])
    rows = [read_token(model, one[None, None], at, caches) for at, one in places]
    with torch.no_grad():
        apart = (torch.cat(rows, 1) - model(ids)).abs().max()
    print(f"{len(rows)} tokens, one by one and at once: logits differ by {apart:.0e}")


compare()


# %%
def seconds(cache, tokens):
    """Time to write so many tokens, with or without a cache."""
    prompt = [ready.encode("The")[0].tolist()]
    began = time.perf_counter()
    language.generate(ready.model, prompt, tokens, temperature=0, cache=cache)
    return time.perf_counter() - began


many = 40 if small_run else 200
times = {cache: min(seconds(cache, many) for _ in range(3)) for cache in (True, False)}
print(f"{many} pieces without a cache take {times[False] / times[True]:.1f} x as long")

# %% [markdown]
# Without a cache the model reads 1, 2, 3, ... and so 20,100 pieces for a text of 200, a
# hundred times as many. (For the clock we let it see all 200; `write` crops to 64. A
# cropped context is no cache that forgets: the oldest piece is gone from *all* layers,
# so every kept row is out of date and must be computed again.) It does not take a
# hundred times as long: at this width a step's fixed costs outweigh its arithmetic. The
# wider the model and the longer the text, the more the cache saves.
#
# The cache is paid for in memory: keys and values, for each layer, head and token.

# %%
cache = ready.model.cache()
with torch.no_grad():
    ready.model(ready.encode(tales.test[0])[:, :64], cache=cache)
formula = 2 * ready.layers * ready.model.size["d_model"] * 64 * 4
print(f"{cache.bytes:,} bytes for 64 pieces")
print(f"{formula:,} = 2 x layers x width x pieces x 4 bytes")

# %% [markdown]
# For a model of 32 layers of width 4,096 in 16-bit numbers the same formula gives half
# a megabyte for every token of every user. Shared keys, windows and numbers of fewer
# bits all make it smaller.

# %% [markdown]
# ### Exercise 5: find the bug in a cache
#
# *Difficulty 4 of 5, 13 minutes.* Caches go wrong in silence: the text still looks like
# text. Somebody hands you a few implementations, and you can only try them out. Which
# of them are faulty?
#
# `caches` is a dict: `caches[name]()` makes an empty cache. All serve the same small
# model, which has RoPE and sees a **window** of a few tokens, fewer than half of the
# given text. A cache can do two things:
#
# - `cache.read(new)` reads further tokens, (B, n) of them with n at least 1, and
#   returns their logits, (B, n, V);
# - `cache.reorder(rows)` puts the texts of the batch in another order, as beam search
#   does: afterwards row i goes on with what row `rows[i]` was.
#
# `full(texts)` is the truth: the logits (B, T, V) of whole texts (B, T), without a
# cache. `ids` (B, T) are texts to try with.
#
# Return a dict with each **faulty** cache and the step at which it goes wrong in your
# experiment: the position, counted from 0, of the first token whose logits are not
# those of `full`. Right caches are left out. They differ from `full` by rounding, about
# 0.000001; a fault moves logits by more than 0.001.
#
# Design the experiment before you write it: a fault shows only where it matters. In
# which ways is a cache used, while many texts are written, or somebody puts in a whole
# sentence?


# %% exercise="find_faulty" points=4
def find_faulty(full, caches, ids):
    """{name: step} of the faulty caches, step: the first position that differs."""
    ### BEGIN SOLUTION
    tokens, order = ids.shape[1], torch.arange(len(ids)).roll(1)  # every row moves
    half = tokens // 2
    sizes = [3, *[1] * half, tokens - 3 - half]  # several, single ones, several
    faulty = {}
    for name, make in caches.items():
        cache, seen = make(), ids[:, :0]
        for new in ids.split(sizes, dim=1):
            start = seen.shape[1]
            if start == half:
                cache.reorder(order)
                seen = seen[order]
            seen = torch.cat([seen, new], dim=1)
            wrong = (cache.read(new) - full(seen)[:, start:]).abs().amax((0, 2)) > 1e-3
            if wrong.any():
                faulty[name] = start + int(wrong.int().argmax())
                break
    return faulty
    ### END SOLUTION


# %% check="find_faulty"
al.checks.find_faulty(find_faulty)

# %% [markdown] hints="find_faulty"
# Begin with the simplest experiment: read `ids[:, t : t + 1]` for t = 0, 1, 2 ..., and
# compare each result with row t of `full(ids)`. Allow for rounding.
#
# ---
# What does that experiment never do? It never reorders rows, and it never reads several
# tokens at once. Some faults show only when several tokens come *behind others* that
# are in the cache already. And a window matters only when more tokens were read than it
# is wide.
#
# ---
# Keep a tensor `seen` of what each row has read so far. After `cache.reorder(order)` it
# is `seen[order]`, with an order that moves every row; after a read it grows by the new
# tokens. At any time the logits of a read must be the last rows of `full(seen)`.

# %%
find = al.checks.yours_or_ours("find_faulty", find_faulty)

# %% [markdown]
# Now the trained model, made to see a window of eight tokens. *Predict first:* four
# caches, which of them will your experiment call faulty?
#
# - `ours`, as it is;
# - `one token more`: the cache of a window of nine;
# - `rows forgotten`: `reorder` does nothing;
# - `half precision`: right, but keys and values are kept in bfloat16, numbers of 16
#   bits.


# %%
class Tried:
    """A model's cache with the two methods of the exercise."""

    def __init__(self, model, dtype=torch.float32, forgets=False):
        self.model, self.dtype, self.forgets, self.cache = model, dtype, forgets, None

    @torch.no_grad()
    def read(self, new):
        self.cache = self.cache or self.model.cache(len(new), dtype=self.dtype)
        return self.model(new, cache=self.cache)

    def reorder(self, rows):
        if not self.forgets:
            self.cache = self.cache.select(torch.as_tensor(rows))


# %%
narrow = {window: seeing(writer.model, window) for window in (8, 9)}
caches = {
    "ours": lambda: Tried(narrow[8]),
    "one token more": lambda: Tried(narrow[9]),
    "rows forgotten": lambda: Tried(narrow[8], forgets=True),
    "half precision": lambda: Tried(narrow[8], dtype=torch.bfloat16),
}
with torch.no_grad():
    found = find(narrow[8], caches, text[: 3 * 24].view(3, 24))
for name in caches:
    told = f"differs from step {found[name]} on" if name in found else "as it should be"
    print(f"{name:15} {told}")

# %%
with torch.no_grad():
    some = text[: 3 * 24].view(3, 24)
    cache = caches["half precision"]()
    halves = [cache.read(some[:, :12]), cache.read(some[:, 12:])]
    apart = (torch.cat(halves, 1) - narrow[8](some)).abs().max()
print(f"in half precision logits move by up to {apart:.4f}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The cache of a wider window goes wrong as soon as the ninth token comes, and the
# forgotten rows at the first read after the rows have moved. Half precision is no bug,
# but a choice: its keys and values have two to three digits. (Step 3, since our
# experiment reads three tokens at once first: within a read keys are still exact, only
# what comes back from the cache is rounded.) Whether that counts as a fault is for you
# to say, by your tolerance.
#
# </details>

# %% [markdown]
# ## 11. A softmax in pieces
#
# Attention over $T$ tokens makes a table of $T \times T$ scores, which need never exist
# as a whole. In lesson 01 you saw the keys taken tile by tile; now you write the step
# that puts two tiles together: *online softmax* (Milakov and Gimelshein 2018). With it
# FlashAttention (Dao et al. 2022) computes exact attention in the small, fast memory of
# a GPU.

# %% [markdown]
# ### Exercise 6: merge two tiles of softmax
#
# *Difficulty 3 of 5, 8 minutes.* Take the keys in two tiles, and keep of each tile, for
# each query, three things: its largest score $m$, the sum $s = \sum e^{x - m}$, and the
# mixture $o = \sum e^{x - m}\,v$, **not** divided by the sum. From two such triples
# make the one of both tiles together. At the very end $o / s$ is attention.
#
# It must be exact for scores in the thousands, positive or negative. A tile in which a
# mask hides everything has $m = -\infty$, $s = 0$, $o = 0$; two of them merge into
# another one, without NaN.


# %% exercise="merge_tiles" points=2
def merge_tiles(max_a, sum_a, mix_a, max_b, sum_b, mix_b):
    """(max, sum, mix) of two tiles together.

    max, sum (..., T); mix (..., T, D), relative to the maximum of its own tile
    """
    ### BEGIN SOLUTION
    largest = torch.maximum(max_a, max_b)
    safe = largest.masked_fill(largest == -torch.inf, 0)  # nothing was seen at all
    share_a, share_b = (max_a - safe).exp(), (max_b - safe).exp()
    total = share_a * sum_a + share_b * sum_b
    mixture = share_a[..., None] * mix_a + share_b[..., None] * mix_b
    return largest, total, mixture
    ### END SOLUTION


# %% check="merge_tiles"
al.checks.merge_tiles(merge_tiles)

# %% [markdown] hints="merge_tiles"
# The new maximum $m$ is the larger of the two. What was $e^{x - m_a}$ should be
# $e^{x - m}$: by which factor do they differ? It is the same for all keys of the tile.
#
# ---
# Multiply the sum *and* the mixture of each tile by $e^{m_a - m}$ or $e^{m_b - m}$, and
# add. No exponent is above 0, so nothing overflows. The mixture has one axis more:
# `share[..., None]`.
#
# ---
# $-\infty - (-\infty)$ is NaN. Where the new maximum is $-\infty$, subtract 0 instead:
# $e^{-\infty}$ is 0, as it should be.

# %%
merge = al.checks.yours_or_ours("merge_tiles", merge_tiles)


# %%
def in_tiles(query, key, value, tile=32):
    """Causal attention, some keys at a time; no table of all scores is ever made."""
    tokens, width = query.shape[-2:]
    place, state = torch.arange(tokens), None
    for start in range(0, tokens, tile):
        some = slice(start, start + tile)
        scores = query @ key[..., some, :].mT / math.sqrt(width)
        scores = scores.masked_fill(place[some] > place[:, None], -torch.inf)
        largest = scores.amax(-1)
        safe = largest.masked_fill(largest == -torch.inf, 0)
        powers = (scores - safe[..., None]).exp()
        tile_of = largest, powers.sum(-1), powers @ value[..., some, :]
        state = tile_of if state is None else merge(*state, *tile_of)
    return state[2] / state[1][..., None]


# %%
with torch.no_grad():
    first = writer.model.eval().blocks[0]
    y = first.around_attention.norm(writer.model.embedding(text[None, :300]))
    query = split_heads(first.attention.query(y), first.attention.heads)
    key, value = map(first.attention.for_queries, first.attention.project(y))
    tiled = in_tiles(query, key, value)
    whole = F.scaled_dot_product_attention(query, key, value, is_causal=True)
print(f"300 tokens in tiles of 32: differs by {(tiled - whole).abs().max():.0e}")
print(f"largest table: {300 * 32:,} scores a head instead of {300 * 300:,}")

# %% [markdown]
# ## 12. Two heads that learn to copy
#
# Now a task where attention does what counting cannot. A random sequence is said once
# and then again; no token occurs twice in a half, and halves are 16 to 32 tokens long.
# Nothing predicts the first half, nor where it ends. From the second token of the
# second half on, whoever **copies** can predict all: after "… A B … A" find the earlier
# A, and say what came after it. Two models are trained on this, one of two layers and
# one of a single layer. They have attention only, no feed-forward networks, and one
# head in a layer.

# %%
steps = 10 if small_run else 450
runs = {
    f"{layers} layer{'s' * (layers > 1)}": language.train_induction(layers, steps)
    for layers in (2, 1)
}
al.plots.induction({name: history for name, (_, history) in runs.items()})

# %% [markdown]
# How does the single layer guess? 24 tokens, then the same again:

# %%
twice = language.repeated_sequences(256, 64, shortest=24, longest=24, seed=5)


def losses_of(model, drawn):
    """Nats of each next token, (B, T - 1)."""
    with torch.no_grad():
        logits = model(drawn.ids, drawn.mask)
    return F.cross_entropy(logits[:, :-1].mT, drawn.ids[:, 1:], reduction="none")


# %%
single, _ = runs["1 layer"]
with torch.no_grad():
    shares = single(twice.ids).softmax(-1)[:, 24:]  # from the second half
read = shares.gather(-1, twice.ids[:, None, :24].expand(-1, 24, -1)).sum(-1).mean()
loss = losses_of(single, twice)[twice.second].mean()
print(f"1 layer: {read:.2f} of its probability is on tokens it has read")
print(f"loss {loss:.2f}; guessing among 64: {np.log(64):.2f}", end=", ")
print(f"among 24: {np.log(24):.2f}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# With two layers nothing happens for a while, and then the loss collapses. The single
# layer is ahead at first, and then falls slowly: most of its probability is on tokens
# that it has read, but *which* of them comes next it hardly knows better than by
# guessing among all 24.
#
# </details>
#
# Why two layers? To find "what came after the last A" a head must look at a place
# *because of what stood before it*. So a first head writes into each place what stood
# one back (a **previous-token head**), and a second, in a later layer, looks for that
# (an **induction head**; Elhage et al. 2021, Olsson et al. 2022). Its value path then
# copies: value, output projection and unembedding turn the token it looks at into the
# logit of that token.

# %%
drawings.copying()

# %% [markdown]
# ### Exercise 7: find the induction head
#
# *Difficulty 2 of 5, 6 minutes.* A model reads random tokens and then the same ones
# again: $a\,b\,c\,d\;a\,b\,c\,d$. At the second $b$, what comes next can only be known
# by looking at what came after the *first* $b$.
#
# `weights` are those of one such sequence, T = 2 `half`. The score of a head is the
# mean over **all** queries of the second half of its weight on the token **after** the
# earlier copy of the query's own token. Return the scores, and the head that has the
# highest, as layer and head.


# %% exercise="induction_head" points=2
def induction_head(weights, half):
    """(scores, (layer, head)): scores (L, H), and the head with the highest.

    weights (L, H, T, T), rows are queries; half: tokens before the repetition
    """
    ### BEGIN SOLUTION
    queries = torch.arange(half, 2 * half)
    scores = weights[:, :, queries, queries - half + 1].mean(-1)  # (L, H)
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return scores, (layer, head)
    ### END SOLUTION


# %% check="induction_head"
al.checks.induction_head(induction_head)

# %% [markdown] hints="induction_head"
# With half = 4, the query at place 5 has its earlier copy at place 1. At which place is
# the token after that? And for a query at place t?
#
# ---
# The key is t - half + 1. With two index tensors of the same length,
# `weights[:, :, queries, keys]` picks one weight for each pair, (L, H, half).
#
# ---
# `argmax` without an axis counts through all heads of all layers. How many whole layers
# fit into it, and what is left? `divmod(number, heads)` says both.

# %%
find_head = al.checks.yours_or_ours("induction_head", induction_head)

# %%
copier, _ = runs["2 layers"]
for half in (16, 24, 32):
    drawn = language.repeated_sequences(64, 64, half, half, seed=5)
    weights = []
    with torch.no_grad():
        copier(drawn.ids, seen=weights)
    weights = torch.stack([layer.mean(0) for layer, _ in weights])  # (L, H, T, T)
    scores, best = find_head(weights, half)
    print(
        f"halves of {half}: layer {best[0]}, head {best[1]}, score {scores[best]:.2f}"
    )

# %% [markdown]
# For one sequence, 16 tokens twice: layer 0 looks one back; layer 1, in the second
# half, along a stripe 15 back, at what followed the earlier copy.

# %% folded=true
looks = []
with torch.no_grad():
    copier(language.repeated_sequences(1, 64, 16, 16, seed=5).ids, seen=looks)
figure, panels = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
for layer, (axes, (own, _)) in enumerate(zip(panels, looks, strict=True)):
    shown = axes.imshow(own[0, 0], cmap="cividis", vmin=0, vmax=1)
    axes.axhline(15.5, color="white", lw=0.8, ls=":")
    axes.set(title=f"layer {layer}", xlabel="position looked at", xticks=[0, 8, 16, 24])
    axes.set(yticks=[0, 8, 16, 24])
panels[0].set_ylabel("position that looks")
figure.colorbar(shown, ax=panels, label="weight")
al.plots.show(figure, alt="Weights of both layers; in layer 1 a stripe 15 back.")

# %%
sequences = language.repeated_sequences(128, seed=5)  # halves of 16 to 32
seen = []
with torch.no_grad():
    copier(sequences.ids, sequences.mask, seen=seen)
habits = {
    "weight on the token before": language.previous_token_scores(seen, sequences.mask),
    "weight on what followed the earlier copy": language.induction_scores(
        seen, sequences.ids, sequences.mask
    ),
}
al.plots.head_scores(habits)

# %% [markdown]
# The story demands the first sign in layer 0 and the second in layer 1. But a picture
# is no proof. Silence either head, and measure the change of bits per token of what the
# first half tells:

# %%
ablated = language.ablate_language_model(
    copier, sequences.ids, mask=sequences.mask, counted=sequences.second
)
shown = ["layer", "head", "delta", "ci_low", "ci_high"]
ordered = ablated.sort_values("delta", ascending=False)[shown]
al.plots.table(ordered, delta=2, ci_low=2, ci_high=2)

# %% [markdown]
# Both exceed $\log_2 64 = 6$ bits, which a blind guess costs: the other layer goes on
# as if nothing had happened, and is sure of wrong tokens. With one head in a layer,
# silencing it removes the layer. So this shows that both *layers* are needed, and not
# yet that layer 0 has to look *one back*. That can be tested: a *hook*, a function
# whose result replaces the block's output, replaces its weights altogether. Let each
# place take the value of exactly the token `back` places before it, and nothing else,
# and leave layer 1 as it is. *Predict:* which `back` lets the model copy?


# %%
def fixed_look(back):
    """A hook: the block's head gives all weight to the token so many places back."""

    def hook(block, inputs, output):
        value = block.attention.value(block.around_attention.norm(inputs[0]))
        moved = torch.cat([value[:, :back], value[:, : value.shape[1] - back]], 1)
        return inputs[0] + block.attention.output(moved)

    return hook


# %%
def copied():
    """Bits per token of what the first half tells."""
    return losses_of(copier, sequences)[sequences.second].mean() / math.log(2)


print(f"as trained {copied():6.2f} bits")
for back in (0, 1, 2):
    handle = copier.blocks[0].register_forward_hook(fixed_look(back))
    print(f"{back} back     {copied():6.2f} bits")
    handle.remove()

# %% [markdown]
# <details><summary>What we saw</summary>
#
# With weights of exactly one back the model copies nearly as well as before. With each
# token itself, or the one two places back, it fails completely. So looking one back is
# what layer 0's *attention* has to do, and nearly all: 0.06 bits for 0.02. What it
# fetches and writes was left as trained.
#
# </details>
#
# *Predict first:* suppose all halves have the same length, 24. Could a single layer
# learn to copy then?

# %%
shortcut, fixed = language.train_induction(1, steps, fixed=24)
al.plots.induction({"1 layer, halves of 24": fixed})

# %%
tried = {"2 layers": copier, "1 layer, halves of 24": shortcut}
rows = {}
for half in (16, 20, 24, 28, 32):
    drawn = language.repeated_sequences(128, 64, half, half, seed=9)
    rows[f"halves of {half}"] = {
        name: float(losses_of(model, drawn)[drawn.second].mean())
        for name, model in tried.items()
    }
table = pd.DataFrame(rows).T
al.plots.table(table, **dict.fromkeys(table, 2))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# It can, for halves of 24, and for no others. What comes next then stands 23 places
# back, always, and with rotary positions a single head can look a fixed distance back.
# It copies, but it has not learned to *find*. Look at the lower panel: its induction
# score is 1.00, higher than that of the two layers. With halves of one length your
# function of exercise 7 cannot tell the two apart. Only sequences of other lengths can.
#
# </details>
#
# And the tale-teller? Nobody asked it to copy. Give it random pieces twice over, look
# for the same sign among its 16 heads with your function, and compare the second half
# with the *first half of the same sequences*: has reading it once helped?

# %%
twice = language.repeated_sequences(64, len(ready.tokens), 24, 24, seed=6)
seen = []
with torch.no_grad():
    ready.model(twice.ids, seen=seen)
weights = torch.stack([layer.mean(0) for layer, _ in seen])
scores, best = find_head(weights, half=24)
uniform = (1 / torch.arange(25.0, 49.0)).mean()
print(f"best of {scores.numel()} heads: layer {best[0]}, head {best[1]},", end=" ")
print(f"score {scores[best]:.3f} (a uniform head {uniform:.3f})")

# %%
nats = losses_of(ready.model, twice)
first, second = nats[:, :23].mean(), nats[twice.second].mean()
print(f"first half {first:.2f} nats a piece, second half {second:.2f}", end=" ")
print(f"(blind guessing {np.log(len(ready.tokens)):.2f})")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# No head looks for what followed the earlier copy: the best one gives it no more than a
# uniform head would. And having read the sequence once does not help: the second half
# costs as much as the first. Both cost far more than blind guessing, as the model is
# sure of the wrong things on text unlike any it has read. Large models do have
# induction heads (Olsson et al. 2022).
#
# </details>
#
# ## What to take away
#
# - A language model guesses the next piece. Bits per character on held-out text say how
#   well, and a model that counts belongs beside it.
# - The causal mask lets all places be trained at once; the same fact makes the cache
#   exact.
# - Turned positions and shared keys were judged by the interval of the difference.
# - Two heads in two layers learned to find and copy; one layer learned to copy only
#   from a fixed distance. Scores find such heads; putting other weights in their place
#   tests what they have to do.
#
# Lesson 05 takes a model that has read far more than fairy tales, and makes it answer
# your question.

# %%
al.checks.summary("language_model")
