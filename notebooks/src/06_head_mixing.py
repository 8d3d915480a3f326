# %% [markdown]
# # 06 Head mixing: which heads matter?
#
# **If you silence an attention head and the model still answers well, was the head of
# no use?** Here you turn the heads of a fine-tuned BERT louder, softer and off, and
# measure what the model loses. At the end you remove half of them.
#
# Afterwards you can
#
# - say what a head's two knobs, scale and temperature, can each change;
# - attach an honest interval to "this head matters";
# - tell where a head looks from what it fetches;
# - find the way by which a head's work reaches the answer;
# - estimate in one pass what each head is worth.
#
# Time: about 150 minutes, 60 of them for seven exercises. The nine sections take about
# 110 of them: 1 to 4 make a first sitting, 5 to 9 a second one. The appendices, with
# two of the exercises, can wait. You need [lesson 02](02_attention_from_scratch.ipynb),
# or to have seen multi-head attention.
#
# Choose **Run → Run All Cells** first. The cells compute for fifteen to thirty
# minutes on two processor cores. Folded code need not be read. Where an exercise is
# still empty, our function is used. Numbers in the text are from a run on a processor;
# on a GPU more sentences are used, and yours differ a little.
#
# Three samples of sentences have one task each: **dev** chooses, **test** checks what
# was chosen, and **fresh** (appendix G) has seen no choice at all.

# %% folded=true
# imports
import time

import numpy as np
import pandas as pd
import torch
from scipy import stats

import attnlab as al
from attnlab import adaptive, statistics
from attnlab.show import drawings

# %%
clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()
dev_texts = splits.dev.sample(size.sentences)
mixed, half = splits.test.sample(len(splits.test)), len(splits.test) // 2
test_texts = mixed.select(range(min(size.sweep_sentences, half)))
fresh_texts = mixed.select(range(half, half + len(test_texts)))  # seen by no choice
print(clf, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# Lesson 05's classifier says whether a sentence about a film is positive or negative.
# It has six layers of twelve attention heads, and each of the 72 heads has a fader. At
# 1 a head works as trained. At 0 it is **silent**: it adds nothing.
#
# The colours estimate how sure of the right label the model would be without the
# head: red is less sure, blue is surer. (In every picture of a change red is worse
# and blue is better.) Click a fader and move it with the arrow keys.
#
# Silence the reddest head, then the bluest one, then all of layer 5 (press 0 on its
# name). The change of accuracy appears with an interval of plausible values. Which of
# the three moves that interval away from 0?

# %%
text = "A slow start, yet the ending is worth every minute."
desk = al.HeadMixer(clf, splits.dev, text, sentences=size.sentences, colour="margin")
desk

# %% [markdown]
# <details><summary>What we saw</summary>
#
# (*Margin* and *logits*, which the desk names, are explained in section 3.)
#
# Layer 5 does, at once. The reddest head, number 9 of layer 3, does not, and neither
# does the bluest: a model that is less sure may still give the same answers. Section 3
# tells the two apart.
#
# </details>
#
# ## 2. What can each knob change?
#
# Each head has two knobs, and the fader was one of them. Here both are turned, for a
# head that looks at two tokens. Read from left to right.

# %%
drawings.mixing_desk()

# %% [markdown]
# - The scores of the two tokens are 2 and 0. As trained, they become the weights 0.88
#   and 0.12.
# - The **temperature** $\tau_h$ divides the scores *before* the softmax. At
#   $\tau_h = 2$ the weights are 0.73 and 0.27. Above 1 it flattens them, below 1 it
#   sharpens them.
# - The head mixes the values 1 and −1 of the two tokens: $0.73 - 0.27 = 0.46$.
# - The **scale** $s_h$ multiplies what *comes out*: $0.5 \cdot 0.46 = 0.23$.
#
# As trained, both knobs stand at 1. The layer adds up what its heads bring:
#
# $$
# \text{attention}(x) = \sum_h s_h \;
# \underbrace{\text{softmax}\!\Big(\frac{1}{\tau_h}
# \frac{Q_h K_h^\top}{\sqrt{d_k}}\Big)}_{A_h} \, V_h \, W^O_h + b^O
# $$
#
# $A_h$ are the attention weights of head $h$, from its queries $Q_h$ and keys $K_h$ of
# width $d_k$. $V_h$ are its values, $W^O_h$ is its slice of the layer's output
# projection, and $b^O$ the layer's bias.

# %% [markdown]
# ### Exercise 1: one layer on the mixing desk
#
# *Difficulty 3 of 5, 10 minutes.*
#
# **Why.** Lesson 02 put the heads side by side and multiplied the long vector by one
# matrix $W^O$. The formula above *adds* the heads instead, so that each has a part of
# the output that is its own. Are the two really the same?
#
# **Given** are the queries, keys and values of all heads, the layer's output
# projection, and a scale and a temperature for each head. There is no mask. `nn.Linear`
# stores $W^O$ as `(E, H * D)`, so head $h$ owns *columns* $hD$ to $(h + 1)D - 1$.
#
# **Write** the layer's output, `(B, T, E)`, with $s_h$ and $\tau_h$ where the formula
# has them. A loop over heads is fine.
#
# **It is right if** the head of the drawing, alone and with its two knobs, adds 0.23.
#
# **Then** your function stands in for layer 2 of BERT. With all knobs at 1 it must give
# what BERT gives, up to rounding.


# %% exercise="mix_heads" points=3
def mix_heads(query, key, value, output_weight, output_bias, scale, temperature):
    """A layer's output (B, T, E): the sum of what its heads bring, and the bias.

    query, key, value (B, H, T, D), output_weight (E, H * D), output_bias (E,), scale
    (H,), temperature (H,)
    """
    ### BEGIN SOLUTION
    width, output = query.shape[-1], output_bias
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head].transpose(-2, -1) / width**0.5
        weights = (scores / temperature[head]).softmax(dim=-1)  # (B, T, T)
        columns = output_weight[:, head * width : (head + 1) * width]  # (E, D)
        output = output + scale[head] * (weights @ value[:, head]) @ columns.T
    return output
    ### END SOLUTION


# %% check="mix_heads"
al.checks.mix_heads(mix_heads)

# %% [markdown] hints="mix_heads"
# Take one head: `query[:, head]` is `(B, T, D)`. Scores, weights and context are as in
# lesson 02; the temperature divides the *scores*.
#
# ---
# Then apply the head's own slice of the projection: `D` columns of `output_weight`,
# transposed, take `(B, T, D)` to `(B, T, E)`. The scale is a plain factor here.
#
# ---
# The bias belongs to the layer, not to a head, so add it once and unscaled.
# `output += ...` would write into the tensor you began with; `output = output + ...`
# does not.

# %% [markdown]
# Your function gets the queries, keys and values of BERT's layer 2 on our sentence.

# %% folded=true
# queries, keys and values of layer 2 on our sentence
mix = al.checks.yours_or_ours("mix_heads", mix_heads)
layers = clf.model.bert.encoder.layer
batch = {
    name: part.to(clf.device) for name, part in clf.encode([text]).batch([0]).items()
}
with torch.inference_mode():
    states = clf.model.bert(**batch, output_hidden_states=True).hidden_states
    attend, dense = layers[2].attention.self, layers[2].attention.output.dense
    parts = [getattr(attend, name)(states[2]) for name in ("query", "key", "value")]
    qkv = [part.unflatten(-1, (clf.heads, -1)).transpose(1, 2) for part in parts]
one = torch.ones(clf.heads, device=clf.device)
norm = layers[2].attention.output.LayerNorm

# %%
with torch.inference_mode():
    mine = mix(*qkv, dense.weight, dense.bias, one, one)
    wanted = layers[2].attention(states[2])[0]
    gap = (norm(mine + states[2]) - wanted).abs().max()
print(f"largest difference from BERT's own layer 2: {gap:.1e}")
assert gap < 1e-4

# %% [markdown]
# So a layer really is a sum over heads, and a head can be taken out of it.
#
# **Predict, then look** (cover the next output). We turn head 4 of layer 2 in two ways:
# silent, with scale 0, or flattened, with temperature 4. In which of the six layers do
# attention *weights* change? A hint: only one of the two knobs stands inside $A_h$.

# %%
silent, flat = clf.settings(), clf.settings()
silent.scale[2, 4] = 0
flat.temperature[2, 4] = 4
found = {"scale 0": clf.attend(text, silent), "temperature 4": clf.attend(text, flat)}

# %% folded=true
print("largest change of a weight, layer by layer, after a move in layer 2")
moved = {}
for name, maps in found.items():
    moved[name] = (maps.weights - maps.neutral.weights).abs().amax(dim=(1, 2, 3))
    print(f"{name:>13}:", "  ".join(f"{one:.4f}" for one in moved[name]))
assert (moved["scale 0"][:3] == 0).all()  # up to and with its own layer
assert (moved["scale 0"][3:] > 0).all() and moved["temperature 4"][2] > 0

# %% [markdown]
# With scale 0, weights change only in the layers after layer 2, because their input has
# changed. With temperature 4 they change in layer 2 itself, too.
#
# Here is the head as trained, then flattened. Each row is a token that looks, each
# column a token that is looked at. (BERT puts the token [CLS] in front of every text,
# and the classifier reads its answer there.)

# %%
names = ("as trained", "temperature 4")
al.plots.before_after(found["temperature 4"], layer=2, head=4, names=names)

# %% [markdown]
# The bright column at [CLS] is spread over all tokens. **Temperature acts on where a
# head looks, scale on what it adds.**
#
# ## 3. The measure decides the story
#
# What does a silent head cost? That depends on how we measure.
#
# The model outputs two numbers for a sentence, the **logits** of *positive* and
# *negative*, and answers with the larger one. The **margin** is the logit of the right
# label minus that of the wrong one. If the right label has 3 and the wrong one 1, the
# margin is 2. Above 0, the answer is right.
#
# Each arrow is a sentence. It goes from the margin with all heads to the margin with
# one head silent.

# %%
drawings.margins()

# %% [markdown]
# Every margin falls, yet no arrow crosses 0. So no answer changes.
#
# - **Accuracy** is the share of right answers. It changes only by answers gained and
#   lost, so only sentences near 0 count.
# - The **margin** says how much less the model favours the right label. Every sentence
#   counts.
#
# We try both on all heads at once, made softer or louder, and compare the *same*
# sentences before and after.
#
# The picture is a **forest plot**. Each dot is a change, and the line through it is its
# 95 % interval: the changes that are plausible given these sentences. Grey means that
# the interval contains 0.

# %%
dev = al.Evaluator(clf, dev_texts, fast=True)
neutral = dev.score()
print("as trained", neutral)
louder = {}
for factor in (0.25, 0.5, 2, 3):
    settings = clf.settings()
    settings.scale[:] = factor
    louder[f"all heads × {factor:g}"] = dev.compare(neutral, settings)
al.plots.forest(louder, title="All heads at once")

# %% [markdown]
# Look at × 2. The mean margin *rises* while accuracy falls: on average the model
# favours the right label more, and yet it is more often wrong.
#
# <details><summary>Why does a common factor matter, if a LayerNorm follows?</summary>
#
# LayerNorm removes the size of the *sum*. What the factor changes is the balance inside
# the sum, between the token itself and what the heads add.
#
# </details>
#
# ## 4. Which single heads matter?
#
# Now we silence each of the 72 heads in turn, on sentences of the dev split. These
# serve for choosing, and test sentences for checking what was chosen.
#
# The map shows the change of accuracy. The hatched part of its colour bar is how far an
# average head's change would stray by the choice of sentences alone. A frame marks a
# head whose own interval excludes 0.

# %% folded=true
# sentences for choosing, and their margins
few = al.Evaluator(clf, splits.dev.sample(size.sweep_sentences))  # in float32
labels = torch.as_tensor(few.labels, device=clf.device)
batches, last = list(few.encoded.batches()), clf.layers - 1


def margin(logits, labels):
    """Right logit minus wrong one."""
    right, wrong = (logits.gather(1, one[:, None]) for one in (labels, 1 - labels))
    return (right - wrong)[:, 0]


# %%
fast = al.Evaluator(clf, few.dataset, fast=True)
sweep = al.ablate(fast)
print(f"{len(sweep)} heads on {sweep.attrs['n']} sentences each")
al.plots.head_map(sweep, title="Silencing one head at a time")

# %% [markdown]
# Nearly all changes lie inside the noise: by accuracy most single heads make no visible
# difference. But one head is framed. Without it the model gave *more* right answers.
# Can that be?
#
# ### More than luck?
#
# On other sentences we would have seen another change. How different? The **bootstrap**
# (Efron 1979) draws many samples from the one that we have:
#
# 1. Compute each sentence's change. There are $N$ of them.
# 2. Draw $N$ of the changes **with replacement**, some twice and some never, and take
#    their mean. (From the two changes 0 and 1 come the means 0, 0.5 and 1.)
# 3. Repeat a few thousand times. The middle 95 % of the means are the interval.
#
# If the interval excludes 0, we call the change more than luck. Of 72 heads without any
# effect up to about four would pass, too, so the framed head may be one of these
# (appendix A). (The bootstrap serves any measure. For accuracy the map uses a formula
# that gives nearly the same.)

# %% [markdown]
# ### Exercise 2: is the change more than luck?
#
# *Difficulty 2 of 5, 5 minutes.*
#
# **Why.** Without some head the margin falls by 0.4 on average. Would it fall on other
# sentences? A mean alone cannot say. An interval can.
#
# **Given** are `before` and `after`: a number for each sentence, in the same order.
# `draws` says how many new samples to draw, and `generator` is NumPy's.
#
# **Write** the two ends of the interval of the mean change, after minus before. Take
# all random numbers from `generator`.
#
# **It is right if** the two changes 0 and 1 give the interval from 0 to 1, the same
# seed gives the same interval, and no end ever lies beyond the smallest or largest
# change.
#
# **Then** your function judges six heads. In our run the first gets −0.43, with the
# interval from −0.49 to −0.37 logits.


# %% exercise="paired_bootstrap" points=2
def paired_bootstrap(before, after, draws, generator):
    """(low, high): quantiles 2.5 % and 97.5 % of the means of resampled changes."""
    ### BEGIN SOLUTION
    change = after - before  # (N,)
    indices = generator.integers(0, len(change), (draws, len(change)))
    means = change[indices].mean(axis=1)  # (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high
    ### END SOLUTION


# %% check="paired_bootstrap"
al.checks.paired_bootstrap(paired_bootstrap)

# %% [markdown] hints="paired_bootstrap"
# First compute one number for each sentence: its change. Draw from these, `len` of them
# each time, and do so `draws` times.
#
# ---
# `generator.integers(0, n, (draws, n))` gives `draws` rows of indices, and
# `change[indices]` the changes. Along which axis is the mean of one draw?
#
# ---
# 95 % inside leaves 5 % outside, half of it on each side. `np.quantile` takes fractions
# of 1, `np.percentile` takes per cent.

# %% [markdown]
# The six heads that cost most margin on dev are partly chosen by luck. So your function
# judges them on *test* sentences.

# %% folded=true
# your function
bootstrap = al.checks.yours_or_ours(
    "paired_bootstrap",
    paired_bootstrap,
    lambda before, after, draws, generator: statistics.paired_bootstrap(
        after - before, draws
    ),
)


# %%
def without(*chosen):
    """Settings in which these heads, (layer, head), are silent."""
    settings = clf.settings()
    for layer, head in chosen:
        settings.scale[layer, head] = 0
    return settings


# %%
test = al.Evaluator(clf, test_texts, fast=True)
base = test.score()
top = sweep.sort_values("margin_delta")[["layer", "head"]].to_numpy()[:6]
judged, margins_without = {}, {}
for layer, head in top:
    after = test.score(without((layer, head))).margins
    ends = bootstrap(base.margins, after, 2000, np.random.default_rng(0))
    judged[f"without L{layer}H{head}"] = (after - base.margins).mean(), *ends
    margins_without[f"L{layer}H{head}"] = after

# %% folded=true
# the picture: the mean change of the margin without each head, and its interval
small = np.mean(np.abs(base.margins) < 0.5)
print(f"with all heads {small:.0%} of the margins are smaller than 0.5")
al.plots.intervals(judged, "change of the margin on test, logits", zero=True)

# %% [markdown]
# All six intervals exclude 0 by far. Head 9 of layer 3, in short **L3H9**, costs most.
# We follow it from here on.
#
# By accuracy none of the six had an interval without 0. Few margins are as small as
# what a head costs, so few answers turn. **Single heads matter to the margin, and most
# margins are too large for one of them to turn an answer.** From here on we mostly
# measure by margin.
#
# ### Is the model only less sure?
#
# A fall of the mean margin can be read in two ways. Multiply all margins by 0.8: right
# answers lose, wrong ones gain, and no answer turns. Such a model is *less sure* of
# everything, and misses nothing. So we fit one factor for each of the six heads. What
# it leaves on single sentences is what the head does beyond that.

# %% folded=true
# for each head the factor that fits best, and the size of what it leaves
rows = {}
for name, after in margins_without.items():
    factor = after @ base.margins / (base.margins @ base.margins)  # least squares
    left = after - factor * base.margins
    rows[name] = factor, np.sqrt((left**2).mean())
columns = ["factor", "left on single sentences, logits"]
table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
al.plots.table(table.rename_axis("without"), **dict.fromkeys(columns, 2))

# %% [markdown]
# The factor explains nearly all of the *mean* fall (appendix A). But L3H9 also moves
# single sentences by about half a logit (the root of the mean square of what is left).
# L5H9 comes next, with 0.3; the other four stay below 0.2. So L3H9, and perhaps L5H9,
# do more than make the answer louder.
#
# ### Does the ranking repeat?
#
# We silence all 72 heads once more, on test. In the picture each dot is a head, and
# L3H9 is the large one. If the ranking repeats, the dots lie along a rising line.
#
# **Spearman's ρ**, the correlation of the ranks, is 1 for the same order. Two orders of
# 72 heads that have nothing to do with each other stay between −0.23 and 0.23 in 95 of
# 100 cases.

# %%
again = al.ablate(test)
followed = (sweep["layer"] == 3) & (sweep["head"] == 9)

# %% folded=true
al.plots.head_scatter(
    {
        "accuracy, points": (100 * sweep["delta"], 100 * again["delta"]),
        "margin, logits": (sweep["margin_delta"], again["margin_delta"]),
    },
    xlabel="change on dev",
    ylabel="change on test",
    marked={"L3H9": followed},
)

# %% [markdown]
# Only by margin do the dots lie along a line.
#
# ## 5. Where it looks, or what it fetches?
#
# L3H9 costs the most margin. Here is where it looks in our sentence:

# %%
maps = clf.attend(text)
al.plots.attention_map(maps, layer=3, head=9)

# %% [markdown]
# Most tokens look at *worth*, the word of praise. One sentence is an anecdote. Which
# words draw L3H9 on all dev sentences? We take the weight that a word gets on average
# from the tokens of its sentence, as a multiple of an even share. Beside it stands
# L5H0, another of the six. (It is in the last layer, of which the answer needs only
# what [CLS] fetches: there we take the weight from [CLS].)


# %% folded=true
# the words that draw a head most, with multiples of an even share
def shares_of(inputs, layer, head):
    """Each token of a batch, and its mean weight from those that the answer needs."""
    weights = al.heads.record(clf, inputs, clf.settings())[layer].weights[:, head]
    lengths = inputs["attention_mask"].sum(1).tolist()
    for ids, given, n in zip(inputs["input_ids"], weights, lengths, strict=True):
        last = layer == clf.layers - 1
        looking = slice(0, 1) if last else slice(1, n - 1)  # [CLS], or all words
        shares = n * given[looking, :n].mean(0)
        yield from zip(ids[:n].tolist(), shares.tolist(), strict=True)


# %% folded=true
def drawn_to(layer, head, least):
    """Ten tokens seen at least so often, with their mean share."""
    found = {}
    for indices in batches:
        inputs = few.encoded.batch(indices)
        inputs = {name: part.to(clf.device) for name, part in inputs.items()}
        for token, share in shares_of(inputs, layer, head):
            found.setdefault(token, []).append(share)
    mean = {token: np.mean(each) for token, each in found.items() if len(each) >= least}
    return sorted(mean.items(), key=lambda pair: -pair[1])[:10]


# %% folded=true
# ten words for each head
for layer, head in ((3, 9), (5, 0)):
    ten = drawn_to(layer, head, least=1 if size.name == "ci" else 5)
    names = clf.tokenizer.convert_ids_to_tokens([token for token, _ in ten])
    shares = (share for _, share in ten)
    told = [f"{name} {share:.1f}" for name, share in zip(names, shares, strict=True)]
    print(f"L{layer}H{head}: {', '.join(told)}")

# %% [markdown]
# L3H9 goes to words of praise and blame, to words that negate, and to [CLS]. L5H0 goes
# to [CLS] and to words that limit or deny, but no word draws it half as much as the
# first ones draw L3H9.
#
# But a head does two things: it chooses tokens, by its weights, and it fetches their
# values. For which of the two is L3H9 needed?
#
# No map can tell. So we put something else in the head's place. Three **ablation
# methods** ask three questions:
#
# - **zero** (silencing): the head adds nothing. *Is it needed at all?*
# - **uniform**: all real tokens get the same weight. *Does it matter where it looks?*
# - **mean**: the head always adds its average over many texts. *Does it matter what it
#   says about this one?*
#
# Take a text of three tokens with values 5, 2 and 2, and a head that looks mostly at
# the first:
#
# | | weights | the head fetches |
# | --- | --- | --- |
# | as trained | 0.8, 0.1, 0.1 | 4.4 |
# | zero | | 0 |
# | uniform | ⅓, ⅓, ⅓ | 3 |
# | mean | | the same number for every text, say 2.5 |
#
# <details><summary>Why this head? Were we lucky?</summary>
#
# It cost most on dev, and lesson 05 found that its attention moved most in fine-tuning.
# So it was picked with hindsight. Appendix G tests it on sentences that no choice of
# this lesson has seen.
#
# </details>

# %% [markdown]
# ### Exercise 3: three ways to take a head away
#
# *Difficulty 2 of 5, 8 minutes.*
#
# **Why.** Is L3H9 needed for where it looks, for what it says about this text, or for
# both?
#
# **Given** is what every head has fetched at every token, its **context**: the weighted
# mixture of values, before $W^O_h$. You also get the values, which tokens are real (not
# padding), and the mean context of each head over many other texts.
#
# **Write** the contexts with one head replaced. All other heads stay as they are, and
# so does the tensor that you were given. Padding tokens may receive anything, but
# nothing may be read from them.
#
# **It is right if** the table comes out: with values 5, 2 and 2, *uniform* gives every
# token 3, however much padding follows.
#
# **Then** your function replaces L3H9 inside BERT. Which of the three will cost least?


# %% exercise="ablate" points=2
def ablate(context, value, real, mean, head, how):
    """Contexts (B, H, T, D) with one head replaced; how: "zero", "uniform" or "mean".

    context and value (B, H, T, D), real (B, T), bool, False at padding, mean (H, D)
    """
    ### BEGIN SOLUTION
    context = context.clone()
    if how == "zero":
        context[:, head] = 0
    elif how == "uniform":
        weights = real / real.sum(-1, keepdim=True)  # (B, T), the same for every query
        context[:, head] = weights[:, None] @ value[:, head]  # (B, 1, D)
    else:
        context[:, head] = mean[head]
    return context
    ### END SOLUTION


# %% check="ablate"
al.checks.ablate(ablate)

# %% [markdown] hints="ablate"
# Begin with `context.clone()`: you may write into a copy. The head is on axis 1, so
# `context[:, head]` is `(B, T, D)`.
#
# ---
# Uniform weights over $n$ real tokens are $1/n$ there and 0 at padding, for every
# query. So each text has one mixture of *values*, its mean over real tokens, and every
# token of the text gets it. The texts of a batch differ in $n$.
#
# ---
# `mean` has a row for each head, measured beforehand on many texts. Nothing of this
# batch should enter it.

# %% [markdown]
# Your contexts go into BERT's layer 3. The mean context comes from *other* sentences.

# %% folded=true
# values and contexts of layer 3
replace = al.checks.yours_or_ours("ablate", ablate)


def contexts_of(indices, layer=3):
    """Inputs, real tokens (B, T), values and contexts (B, H, T, D)."""
    inputs = few.encoded.batch(indices)
    inputs = {name: part.to(clf.device) for name, part in inputs.items()}
    record = al.heads.record(clf, inputs, clf.settings())[layer]
    real = inputs["attention_mask"].bool()
    return inputs, real, record.values, record.weights @ record.values


# %% folded=true
# L3H9's mean context
count = min(len(few.labels) // 2, 100)
_, real, _, context = contexts_of(range(count, 2 * count))  # other sentences
weight = real[:, None, :, None]
mean = (context * weight).sum((0, 2)) / weight.sum((0, 2))  # (H, D)
some, real, values, context = contexts_of(range(count))
own = labels[:count]


# %% folded=true
def margins_with(contexts):
    """Margins if these contexts, (B, H, T, D), leave the heads of layer 3."""
    new = contexts.transpose(1, 2).flatten(2)
    hook = layers[3].attention.output.dense.register_forward_pre_hook(lambda *_: (new,))
    found = margin(al.heads.run(clf, some), own).detach().cpu().numpy()
    hook.remove()
    return found


# %%
before, costs = margins_with(context), {}
for how in ("zero", "uniform", "mean"):
    change = margins_with(replace(context, values, real, mean, 9, how)) - before
    costs[how] = change.mean(), *statistics.paired_bootstrap(change)
print(f"{count} dev sentences")
al.plots.intervals(costs, "change of the margin, logits", zero=True)

# %% [markdown]
# The mean costs as much as silence: what L3H9 says about *this* sentence counts.
# Uniform weights keep this sentence's values, and cost less, but not nothing. So where
# it looks counts. Whether what it fetches counts more, these three cannot say: *zero*
# and *mean* replace weights and values at once. The next section exchanges them one at
# a time.
#
# <details><summary>A doubt, and where it is tested</summary>
#
# An even mixture can also do harm of its own: appendix B compares the three methods
# on all heads, and finds one that silence does not hurt and uniform weights do.
#
# </details>
#
# ## 6. How does its work reach the answer?
#
# L3H9 works in layer 3, but the answer is read at [CLS] after layer 5. How does its
# work get there? There are two kinds of route.

# %%
drawings.two_routes()

# %% [markdown]
# The vector of a token travels up through the layers, and each part adds something to
# it. This is the **residual stream**.
#
# - Thick, the **direct route**: the head adds something at [CLS] itself, and the stream
#   carries it to the end.
# - Dashed, the **detours**: later heads or feed-forward networks read what it adds, and
#   add something of their own.
#
# From *other* tokens only a detour leads to [CLS], through later heads. So we ask:
# **does L3H9 leave its work at [CLS], or at other tokens?**
#
# ### Give one head back
#
# We change one word, in the drawing *joy* into *mess*, so that the answer turns. Then
# we give back to the second run what one head had in the first. This is **activation
# patching** (Vig et al. 2020, Wang et al. 2022).

# %%
drawings.patching()

# %% [markdown]
# How much of the margin comes back? Here the margin of *both* runs is measured towards
# the first answer: it is the logit of *positive* minus that of *negative*. So a
# sentence that is rightly called negative has a margin below 0.
#
# $$
# \text{restored} = \frac{m_{\text{patched}} - m_{\text{second}}}
# {m_{\text{first}} - m_{\text{second}}}
# $$
#
# An example: the first run has the margin 4, the second −4. With one head patched the
# second has −3. The head brings back $(-3 + 4) / (4 + 4)$, 1 of 8.
#
# Now patch the head at [CLS] alone. If that brings back as much, its work lies there.
# If it brings back nothing, its work lies at other tokens.

# %% [markdown]
# ### Exercise 4: patch one head
#
# *Difficulty 4 of 5, 12 minutes.*
#
# **Why.** So one can ask any head of any model what it carries, and where.
#
# **Given** is `run(sentence, hook=None)`. It returns this margin, a number. In every
# layer it calls `hook(layer, contexts)`, if there is a hook; `contexts` is `(T, H, D)`.
# A tensor that the hook returns takes their place; if it returns `None`, they stay. You
# also get two sentences of equally many tokens, a layer, a head, and a list of tokens.
#
# **Write** the share of the margin that comes back. Run the first sentence and keep
# what the head fetches. Run the second with that put in, at the given tokens only. All
# other heads, layers and tokens are left alone.
#
# **It is right if** the margins 4, −4 and −3 of the example give 1 of 8. (Where a head
# makes things worse, the share is below 0.)
#
# **Then** your function patches all 72 heads of BERT.


# %% exercise="patch_head" points=3
def patch_head(run, first, second, layer, head, tokens):
    """The share of the margin that one head brings back, from first into second.

    run(sentence, hook=None) is a margin, calls hook(layer, contexts) in every layer;
    contexts (T, H, D); tokens: a list of the positions that are patched
    """
    ### BEGIN SOLUTION
    kept = {}

    def record(index, contexts):
        kept[index] = contexts

    def replace(index, contexts):
        if index == layer:
            contexts = contexts.clone()
            contexts[tokens, head] = kept[layer][tokens, head]
        return contexts

    whole, broken = run(first, record), run(second)
    return (run(second, replace) - broken) / (whole - broken)
    ### END SOLUTION


# %% check="patch_head"
al.checks.patch_head(patch_head)

# %% [markdown] hints="patch_head"
# You need three runs: the first sentence with a hook that keeps something, the second
# sentence as it is, and the second sentence with a hook that puts something in.
#
# ---
#
# A hook is a function that you define inside yours. The first one writes into a
# dictionary of yours, `kept[index] = contexts`, and returns nothing. Do so for every
# layer, or only if `index == layer`.
#
# ---
#
# The second hook acts only if `index == layer`. It clones `contexts`, overwrites
# `contexts[tokens, head]` with the same part of what was kept, and *returns* the
# tensor.

# %% [markdown]
# We make pairs of sentences that differ in one word. The words are one token each, so
# all tokens keep their places.

# %% folded=true
# your function, and hooks: functions that PyTorch calls when a module gets its input
patch = al.checks.yours_or_ours("patch_head", patch_head)


def showing(hook, index):
    """Let hook(index, contexts) see and replace what the heads of a layer fetch."""

    def shown(module, given):
        contexts = given[0][0].unflatten(-1, (clf.heads, -1)).clone()  # (T, H, D)
        new = hook(index, contexts)
        return None if new is None else (new.flatten(1)[None],)

    return layers[index].attention.output.dense.register_forward_pre_hook(shown)


# %% folded=true
# a sentence's margin, while hooks look on or change what passes
@torch.inference_mode()
def run(sentence, hook=None):
    """The margin of a sentence, positive minus negative, for exercise 4."""
    inputs = clf.encode([sentence]).batch([0])
    inputs = {name: part.to(clf.device) for name, part in inputs.items()}
    hooks = [showing(hook, index) for index in range(clf.layers)] if hook else []
    try:
        logits = al.heads.run(clf, inputs)[0]
    finally:
        for one in hooks:
            one.remove()
    return float(logits[1] - logits[0])


# %%
frames = (
    "The plot is thin, but the acting is {}.",
    "The second half of the film was {}.",
    "What a truly {} way to spend an evening.",
    "The dialogue is {} from the first scene on.",
)
words = (("superb", "awful"), ("wonderful", "terrible"), ("charming", "boring"))
pairs = [(one.format(good), one.format(bad)) for one in frames for good, bad in words]

# %% folded=true
# only pairs whose answers differ
turned = [pair for pair in pairs if run(pair[0]) > 0 > run(pair[1])]
print(f"{len(turned)} of {len(pairs)} pairs get opposite answers; only these are used")
pairs = turned[: 2 if size.name == "ci" else None]
lengths = clf.encode([good for good, _ in pairs]).lengths
everywhere = [list(range(int(length))) for length in lengths]  # tokens of each pair

# %% [markdown]
# Your function patches each head in turn, at all tokens. The map shows the mean over
# the pairs. Purple heads bring the first answer back, orange ones push it further away.

# %%
rows = []
for layer, head in np.ndindex(clf.layers, clf.heads):
    shares = [
        patch(run, *pair, layer, head, tokens)
        for pair, tokens in zip(pairs, everywhere, strict=True)
    ]
    rows.append((layer, head, np.mean(shares)))
patched = pd.DataFrame(rows, columns=["layer", "head", "restored"])
al.plots.patching(patched, f"Mean of {len(pairs)} pairs of sentences")

# %% [markdown]
# No single head brings back more than a part. In the mean of our pairs L3H9 leads.
# Now the best six, patched at [CLS] alone:

# %%
best = patched.nlargest(6, "restored")
for row in best.itertuples():
    only = np.mean([patch(run, *pair, row.layer, row.head, [0]) for pair in pairs])
    print(f"L{row.layer}H{row.head}: {row.restored:+.0%}, at [CLS] only {only:+.0%}")

# %% [markdown]
# The heads of layer 5 bring back as much at [CLS] alone. (They must: no later head
# could fetch anything.) L3H9 brings back nothing there. (In the map of section 5 it
# looks, from [CLS], almost only at [CLS] itself.) It leaves its work at other tokens,
# so it reaches the answer by a detour.
#
# ### Weights or values?
#
# Now we can answer section 5. In the second run L3H9 gets either the weights of the
# first sentence, or its values, or both. The intervals are over the pairs (Student's
# $t$).


# %% folded=true
# L3H9 with weights of one sentence and values of the other
def parts_of(sentence, layer=3, head=9):
    """Weights (T, T) and values (T, D) of one head."""
    inputs = clf.encode([sentence]).batch([0])
    inputs = {name: part.to(clf.device) for name, part in inputs.items()}
    record = al.heads.record(clf, inputs, clf.settings())[layer]
    return record.weights[0, head], record.values[0, head]


# %% folded=true
def share_with(pair, context, layer=3, head=9):
    """The share of the margin that comes back with this context (T, D) of the head."""

    def hook(index, contexts):
        if index == layer:
            contexts[:, head] = context
        return contexts

    whole, broken = (run(sentence) for sentence in pair)
    return 100 * (run(pair[1], hook) - broken) / (whole - broken)


# %%
brought = {"weights": [], "values": [], "weights and values": []}
for pair in pairs:
    (looks, fetched), (its_looks, its_fetched) = map(parts_of, pair)
    brought["weights"].append(share_with(pair, looks @ its_fetched))
    brought["values"].append(share_with(pair, its_looks @ fetched))
    brought["weights and values"].append(share_with(pair, looks @ fetched))

# %% folded=true
# the picture: what comes back with each
found = {
    f"the first sentence's {name}": (np.mean(each), *statistics.mean_interval(each))
    for name, each in brought.items()
}
al.plots.intervals(found, "margin restored, %", zero=True)

# %% [markdown]
# **Here what L3H9 fetches carries most of its share.** Its values alone bring back
# nearly as much as both. Its weights alone bring back little, if anything. (The pairs
# share words and frames, so all intervals of this section are somewhat too narrow.)

# %% folded=true
# how alike the weights of L3H9 are in the two sentences of a pair
alike = [
    torch.minimum(*(parts_of(sentence)[0] for sentence in pair)).sum(-1).mean().item()
    for pair in pairs
]
print(f"its weights in both sentences overlap by {np.mean(alike):.0%}, on average")

# %% [markdown]
# That is one reason: in both sentences of a pair it looks mostly at the same tokens,
# where one word praises and the other blames. On real sentences uniform weights did
# cost margin (section 5).
#
# ### Where does the opinion lie?
#
# One more use of the same idea: put back not one head, but the whole vectors of some
# tokens, after each layer. So one sees where in the sentence the difference between the
# two runs is kept, from layer to layer. *Predict first:* in which layer does it reach
# [CLS]?


# %% folded=true
# the tokens of a pair by their place
def places_of(pair):
    """The word that differs, [CLS], and all other tokens."""
    ids = [clf.encode([sentence]).ids(0) for sentence in pair]
    differ = [
        place for place, two in enumerate(zip(*ids, strict=True)) if len({*two}) > 1
    ]
    others = [place for place in range(1, len(ids[0])) if place not in differ]
    return {"the word": differ, "other tokens": others, "[CLS]": [0]}


# %% folded=true
def stream_share(pair, layer, tokens):
    """Margin restored, %, with the first run's vectors at tokens after a layer."""
    kept = []

    def patched(module, given, output):
        kept.append(output.clone())
        if len(kept) == 2:  # the second run
            kept[1][0, tokens] = kept[0][0, tokens]
        return kept[-1]

    broken, hook = run(pair[1]), layers[layer].output.register_forward_hook(patched)
    whole, mended = (run(sentence) for sentence in pair)
    hook.remove()
    return 100 * (mended - broken) / (whole - broken)


# %% folded=true
# the picture: where the difference is kept after each layer
stream = {name: [] for name in places_of(pairs[0])}
for name, layer in np.ndindex(len(stream), clf.layers):
    place = list(stream)[name]
    shares = [stream_share(pair, layer, places_of(pair)[place]) for pair in pairs]
    stream[place].append(np.mean(shares))
al.plots.lines(
    range(clf.layers),
    stream,
    xlabel="after layer",
    ylabel="margin restored, %",
    marks=True,
)

# %% [markdown]
# Up to layer 4 most of it stays at the word itself. From layer 2 on other tokens get a
# part of it. Only the last layer brings it to [CLS], where the answer is read. And
# L3H9? It stands in the middle. So we patch it at the same places.

# %% folded=true
# L3H9 patched at the word, at other tokens, at [CLS]
left_at = {name: [] for name in stream}
for pair in pairs:
    for name, tokens in places_of(pair).items():
        left_at[name].append(100 * patch(run, *pair, 3, 9, tokens))
found = {
    f"L3H9 at {name}": (np.mean(each), *statistics.mean_interval(each))
    for name, each in left_at.items()
}
al.plots.intervals(found, "margin restored, %", zero=True)

# %% [markdown]
# **L3H9 leaves its work at the word itself and at other tokens, and next to nothing at
# [CLS].** (Whether it fetched all of that from the word, and so spreads its opinion, we
# did not test: the values of all tokens were exchanged.) Later heads read it there,
# in layer 5 or already in layer 4, and in layer 5 it comes to [CLS] (appendix D).
#
# ### Is that so on real sentences?
#
# Twelve made-up pairs are no sample. So we silence L3H9 on the dev sentences of section
# 4: everywhere, only at [CLS], and only at all other tokens.


# %% folded=true
def muted(layer, head, tokens=slice(None)):
    """Hook a layer so that this head adds nothing at these tokens."""
    width = clf.model.config.hidden_size // clf.heads

    def hook(module, given):
        context = given[0].clone()
        context[:, tokens, head * width : (head + 1) * width] = 0
        return (context,)

    return layers[layer].attention.output.dense.register_forward_pre_hook(hook)


# %% folded=true
# the margins of many sentences, with all hooks that are set
@torch.inference_mode()
def margins():
    """The margins of the dev sentences, with all hooks that are set."""
    found = []
    for indices in batches:
        inputs = few.encoded.batch(indices)
        inputs = {name: part.to(clf.device) for name, part in inputs.items()}
        found.append(margin(al.heads.run(clf, inputs), labels[indices]))
    return torch.cat(found).cpu().numpy()


def with_interval(change):
    low, high = statistics.paired_bootstrap(change)
    return f"{change.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


# %%
cases = {"everywhere": (3, 9), "at [CLS] only": (3, 9, slice(1))}
cases["at all other tokens"] = (3, 9, slice(1, None))
start, silenced = margins(), {}
for name, which in cases.items():
    hook = muted(*which)
    change = margins() - start
    hook.remove()
    silenced[f"silent {name}"] = change.mean(), *statistics.paired_bootstrap(change)
al.plots.intervals(silenced, "change of the margin, logits", zero=True)

# %% [markdown]
# **L3H9 does nearly all its work at tokens other than [CLS], and that reaches [CLS]
# only through later heads.** (Through which? Appendix D patches the paths. Appendix C
# measures the direct route of every head.)
#
# ## 7. Does a map of attention explain the answer?
#
# A map shows where a head looks. Is that why the model answers as it does? Jain and
# Wallace (2019) argue: if quite other weights give the same answer, the map does not
# explain it.
#
# We try it in the last layer, where only the contexts at [CLS] count, one from each
# head. We replace them in four ways:
#
# - **uniform weights** on the same sentence;
# - **shuffled weights**: the same numbers, given to other tokens of the sentence;
# - **another sentence's contexts** (*resample ablation*, Chan et al. 2022);
# - **silent**.


# %% folded=true
def at_the_end(indices):
    """Weights (B, H, T), values (B, H, T, D), states at [CLS] (B, E), real (B, T)."""
    batch = few.encoded.batch(indices)
    batch = {name: part.to(clf.device) for name, part in batch.items()}
    record = al.heads.record(clf, batch, clf.settings())[last]
    with torch.no_grad():
        states = clf.model.bert(**batch, output_hidden_states=True).hidden_states
    real = batch["attention_mask"].bool()
    return record.weights[:, :, 0], record.values, states[last][:, 0], real


# %% folded=true
def answer(context, before):
    """Logits (B, 2) from the contexts (B, H, D) and the states before the layer."""
    layer = layers[last]
    attended = layer.attention.output(context.flatten(1), before)
    after = layer.output(layer.intermediate(attended), attended)
    return clf.model.classifier(clf.model.bert.pooler(after[:, None]))


# %% folded=true
# weights for other tokens
generator = torch.Generator().manual_seed(0)


def shuffled(weights, real):
    """The same weights, given to other tokens of the same sentence."""
    noise = torch.rand(weights.shape, generator=generator).to(weights.device)
    order = noise.masked_fill(~real[:, None], 2).argsort(-1)  # padding stays last
    return torch.gather(weights, -1, order.argsort(-1))


# %%
def contexts(weights, values, real):
    """What [CLS] gets from each head, (B, H, D), in five ways."""
    mixing = "bht,bhtd->bhd"
    trained = torch.einsum(mixing, weights, values)
    even = (real / real.sum(-1, keepdim=True))[:, None].expand_as(weights)
    yield "as trained", trained
    yield "uniform weights", torch.einsum(mixing, even, values)
    yield "shuffled weights", torch.einsum(mixing, shuffled(weights, real), values)
    yield "another sentence's contexts", trained.roll(1, 0)
    yield "silent", torch.zeros_like(trained)


# %% folded=true
# all sentences in all ways
ways, rows = {}, []
for indices in few.encoded.batches():
    weights, values, before, real = at_the_end(indices)
    rows.append(indices)
    with torch.inference_mode():
        for name, context in contexts(weights, values, real):
            ways.setdefault(name, []).append(answer(context, before).cpu())

# %% folded=true
# the picture: what each way changes
order = np.concatenate(rows).argsort()  # batches come sorted by length
scores = {
    name: al.evaluation.Score.of(torch.cat(found)[order], few.labels)
    for name, found in ways.items()
}
trained = scores.pop("as trained")
al.plots.forest(
    {name: few.compare(trained, score) for name, score in scores.items()},
    title=f"Layer {last} at [CLS], {trained.n} sentences",
)

# %% [markdown]
# Other weights on the same sentence, uniform or shuffled, show no clear change of
# accuracy and cost little margin. Contexts of *another* sentence cost far more answers
# than silence does.
#
# **In the last layer the values carry most of the opinion: mixed evenly or at random,
# they are right about as often, and lose little margin.** So a map of *this* layer is
# not *the* reason for the answer.
#
# Right as often does not mean the same answers. How many turn, in either direction?

# %%
for name, score in scores.items():
    turned = (score.correct != trained.correct).sum()
    print(f"{name}: {turned} of {trained.n} answers turn")

# %% [markdown]
# Uniform and shuffled weights, too, turn some answers, to wrong and to right alike.
# With another sentence's contexts far more turn.
#
# <details><summary>Why may weights matter so little here?</summary>
#
# A likely reason, not tested here: after five layers the vector of a token holds much
# of the whole sentence. The token looked at is no longer just its word.
#
# </details>
#
# <details><summary>Why is another sentence worse than silence?</summary>
#
# By margin the two cost about the same. But silence takes an opinion away, while the
# other sentence brings its own. About half of these have the other label, so what is
# left is close to a coin toss.
#
# </details>
#
# <details><summary>How far apart can weights be that give the same answer?</summary>
#
# Appendix F looks for the farthest ones, and finds some that share next to nothing with
# the true ones. It also asks four measures which *word* decided. But Wiegreffe and
# Pinter (2019) reply that the model never chose such weights; an adversary did.
#
# </details>
#
# ## 8. Can one pass replace 72 runs?
#
# To remove heads, we need an order, the least important first. Section 4 gives one, at
# the price of 72 runs. Can it be had for less?
#
# Suppose that turning a head from 1 to 0.99 costs 0.004 logits. Along a straight line,
# turning it off would cost a hundred times as much, 0.4. The slope of that line is the
# gradient by $s_h$. One forward and backward pass gives it for *all* heads. (With a
# second sentence in place of silence this is *attribution patching*, Nanda 2023.) The
# formula:
#
# $$
# L(s_h = 0) - L(s_h = 1) \;\approx\; - \frac{\partial L}{\partial s_h}\Big|_{s=1},
# \qquad L = \frac{1}{N} \sum_{i=1}^{N} \ell_i
# $$
#
# Here $\ell_i$ is the loss of sentence $i$: the cross-entropy, or any other number that
# is larger the worse the answer. A positive value means that the head helps.
# But $s = 0$ is far from $s = 1$, so we must check how good the straight line is.

# %% [markdown]
# ### Exercise 5: all heads in one pass
#
# *Difficulty 3 of 5, 9 minutes.*
#
# **Why.** The desk of section 1 gets its colours at once, in this way.
#
# **Given** is `loss_of(scale, batch)`. It runs a model whose heads are scaled by
# `scale (layers, heads)`, and returns the mean loss of the `len(batch)` sentences, as a
# tensor that gradients flow through. Batches need not be equally large.
#
# **Write** the right side of the formula for each head, with its sign. Call `loss_of`
# once for each batch.
#
# **It is right if** a loss of $3 - 2 s_h$ gives that head 2: without it the loss rises
# by 2. Other batches of the same sentences must change nothing.
#
# **Then** your function estimates all 72 heads of BERT, and its estimates decide which
# heads go first.


# %% exercise="head_importance" points=3
def head_importance(loss_of, batches, layers, heads):
    """What silencing each head would cost, to first order: (layers, heads), signed."""
    ### BEGIN SOLUTION
    sentences = sum(len(batch) for batch in batches)
    importance = torch.zeros(layers, heads)
    for batch in batches:
        scale = torch.ones(layers, heads, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss_of(scale, batch), scale)
        importance -= gradient * len(batch) / sentences
    return importance
    ### END SOLUTION


# %% check="head_importance"
al.checks.head_importance(head_importance)

# %% [markdown] hints="head_importance"
# The scales are a tensor of ones that requires gradients. After
# `loss_of(scale, batch).backward()` the gradient is in `scale.grad`;
# `torch.autograd.grad(loss, scale)` returns it instead.
#
# ---
# Which way does the loss go if the scale goes *down*, from 1 to 0? And by what must a
# batch's mean be multiplied so that all sentences count the same?
#
# ---
# `backward()` *adds* to `.grad`. Either let everything collect there, or begin each
# batch with a new tensor of scales; not half of each.

# %% [markdown]
# Your function gets minus the margin as its "loss". So a positive estimate is a margin
# that is lost.

# %% folded=true
# BERT as a loss_of
importance_of = al.checks.yours_or_ours("head_importance", head_importance)


def of_model(measure):
    """A function of scales and a batch of sentence numbers, for exercise 5."""

    def loss_of(scale, batch):
        settings = al.HeadSettings.of(scale, torch.ones_like(scale))
        inputs = {
            name: part.to(clf.device) for name, part in few.encoded.batch(batch).items()
        }
        return measure(al.heads.run(clf, inputs, settings), labels[batch]).mean()

    return loss_of


# %%
def minus_margin(logits, labels):
    return -margin(logits, labels)


estimated = importance_of(of_model(minus_margin), batches, clf.layers, clf.heads)

# %% [markdown]
# Each dot is a head: its estimate, and what silencing it really cost on dev. On the
# grey line both are equal.

# %% folded=true
# the picture: estimate against silencing
later = stats.spearmanr(estimated.numpy().ravel(), -again["margin_delta"]).statistic
print(f"estimate against silencing on test: ρ = {later:.2f}")
al.plots.head_scatter(
    {"margin lost on dev, logits": (estimated.numpy(), -sweep["margin_delta"])},
    xlabel="estimated by one pass",
    ylabel="when silenced",
    marked={"L3H9": followed},
    diagonal=True,
)

# %% [markdown]
# **One pass ranks the heads almost as 72 runs do,** also on test. For the largest the
# estimate is too low: those dots lie above the grey line. (By loss both do far worse on
# test: appendices H and A.)
#
# ## 9. How many heads can go?
#
# We silence more and more heads, the least important first, in three orders:
#
# - **margin, estimated**: your estimate;
# - **mean |gradient|** (Michel et al. 2019): each sentence's slope of the loss *without
#   its sign*, then the mean. So a head that helps here and harms there counts as
#   important;
# - **random**: the control. The band spans several random orders.
#
# The orders were found on dev. The damage is measured on test.

# %%
lots = range(1 if size.name == "ci" else 5)
shape = clf.layers, clf.heads
worth = {
    "margin, estimated": [estimated.numpy()],
    "mean |gradient|": [np.abs(few.gradients(per_sentence=True)).mean(axis=0)],
    "random": [np.random.default_rng(lot).random(shape) for lot in lots],
}


def least_first(values):
    """Heads (layer, head), the least worth first."""
    return [divmod(int(one), clf.heads) for one in values.ravel().argsort()]


# %% folded=true
# more and more heads silent, on test
rows, half, step = [], {}, 18 if size.name == "ci" else 6
for name, several in worth.items():
    for number, values in enumerate(several):
        order = least_first(values)
        for count in range(step, len(order) + 1, step):
            change = test.compare(base, without(*order[:count]))
            rows.append((name, count, 100 * change.delta, change.margin_delta))
            if 2 * count == len(order) and not number:
                half[name] = change
points, logits = "change of accuracy, points", "change of the margin, logits"
path = pd.DataFrame(rows, columns=["order", "heads off", points, logits])

# %% folded=true
# the picture: accuracy and margin as heads go
al.plots.removal_orders(path, half=len(sweep) / 2)

# %% [markdown]
# At the dotted line half of the heads are gone. Here is that point, with intervals that
# allow for other sentences. (*Random* is the first of the five orders.)

# %%
al.plots.forest(half, title=f"Half of the heads gone, {base.n} test sentences")

# %% [markdown]
# **Without half of the heads, in the order of mean |gradient|, accuracy falls by about
# two points, and the interval just reaches 0.** That does not prove that nothing is
# lost: a loss of four points fits the interval, too. The margin is clearly lower. And
# of the three orders this one keeps most answers on these very sentences, which
# flatters it.
#
# **Say what you want to keep.** The order by margin raises the margin at first and
# keeps more of it than *mean |gradient|* does. Of the answers *mean |gradient|* keeps
# most in the second half of the picture. (The two orders differ in two things, the
# measure and the sign. Which of them does it, this picture cannot say.)
#
# <details><summary>What others found</summary>
#
# Michel et al. found that two fifths of BERT-base's heads can go. (They also rescale
# the gradients in each layer.) *Redundant given the others* is not *useless*: both good
# orders were found with all other heads on.
#
# </details>
#
# ### Cut them out
#
# A silent head is still computed. `al.heads.prune` cuts it out of the weight matrices.
# We cut out the half that goes first by *mean |gradient|*.

# %%
least = least_first(worth["mean |gradient|"][0])[: clf.layers * clf.heads // 2]
smaller = al.heads.prune(clf, least)
sample = test_texts.texts[:64]
silenced, cut = clf.predict(sample, without(*least)), smaller.predict(sample)
difference = np.abs(silenced.probabilities - cut.probabilities).max()
print(f"silenced against cut out: largest difference {difference:.1e}")
assert difference < 1e-4
gone = 1 - smaller.parameters() / clf.parameters()
print(f"{clf.parameters():,} parameters, then {smaller.parameters():,}", end=" ")
print(f"({gone:.0%} fewer)")

# %% [markdown]
# The answers are the same, and the model is smaller, though only by a little: the
# vectors of words and the feed-forward networks hold nearly all the rest. And half of
# the heads is far from half of the time (appendix H).
#
# So was the silent head of no use? Accuracy alone cannot say. Its effect may lie in the
# margin, or show only when others are gone, too: the heads of layer 5 cost more margin
# together than the sum of each alone (appendix C). Lesson
# [07](07_attention_balance.ipynb) meets L3H9 again.

# %% [markdown]
# ## What to take away
#
# - Scale acts on what leaves a head, temperature on where it looks.
# - Say by which measure a head matters, and whether the ranking repeats. By margin it
#   does, while accuracy hardly notices a single head.
# - A lower mean margin can be plain loss of confidence: fit a factor, and look at what
#   is left.
# - A head can be needed for where it looks, for what it fetches, or for both: exchange
#   one and keep the other.
# - Patching shows where a head's work is found: L3H9 leaves it at tokens other than
#   [CLS], from where only later heads can bring it there.
# - A map of attention is no explanation until it is tested.
# - All this is *one* training. In other trainings of ours attention moved most in other
#   heads (lesson 05). The ways to measure carry over; the names of heads need not.
# - One backward pass ranks single heads by margin almost as silencing does. Many heads
#   at once are another matter.
#
# <details><summary>Sources</summary>
#
# Michel et al. 2019, *Are Sixteen Heads Really Better than One?* · Efron 1979
# (bootstrap) · Benjamini and Hochberg 1995, Benjamini and Yekutieli 2001 (false
# discoveries) · Chan et al. 2022, *Causal Scrubbing* · Elhage et al. 2021, *A
# Mathematical Framework for Transformer Circuits* · McGrath et al. 2023, *The Hydra
# Effect* · Rushing and Nanda 2024, *Explorations of Self-Repair* · Vig et al. 2020,
# *Causal Mediation Analysis* · Wang et al. 2022, *Interpretability in the Wild* ·
# Goldowsky-Dill et al. 2023, *Localizing Model Behavior with Path Patching* · Zhang
# and Nanda 2024, *Best Practices of Activation Patching* · Clark et al. 2019, *What
# Does BERT Look At?* · Xiao et al. 2024, *Attention Sinks* · Kobayashi et al. 2020,
# *Attention is Not Only a Weight* · Abnar and Zuidema 2020, *Quantifying Attention
# Flow* · Sundararajan et al. 2017, *Axiomatic Attribution* · Jain and Wallace 2019,
# *Attention is not Explanation* · Wiegreffe and Pinter 2019, *Attention is not not
# Explanation*.
#
# </details>

# %% [markdown]
# ## Three open problems
#
# From easy to hard, without solutions.
#
# 1. **Is it the sign or the measure?** Section 9 has *margin* with its sign and *loss*
#    without. Try the margin without its sign: the mean of |gradient| over sentences,
#    one sentence a batch in your `head_importance`. Your code is right if the mean
#    *with* its sign gives `estimated` again.
# 2. **Are two points the honest price of half of the heads?** The order was picked on
#    test. Choose on dev, with `dev.compare`, and measure the chosen order once on
#    `fresh_texts`. Your code is right if it repeats on test the number of the forest
#    plot above.
# 3. **Do the same later heads carry L3H9's work on real sentences?** Appendix D asks
#    made-up pairs. Take dev sentences, make L3H9 silent instead of patching it, and let
#    one later head at a time see that. You are right if a head in layer 3 or below
#    carries exactly 0, and the 24 changes add up to nearly what silence costs.

# %% [markdown]
# ## Going further
#
# Each appendix answers a question that came up on the way. Only H needs another one, A.
#
# | appendix | question | follows section |
# | --- | --- | --- |
# | A, with exercise 6 | Which heads look special by luck? Is it only confidence? | 4 |
# | B | Do the three ablation methods agree, on heads and on layers? | 5 |
# | C, with exercise 7 | What does each head say directly? Do single costs add up? | 6 |
# | D | Through which later heads does L3H9 reach the answer? | 6 |
# | E | Much weight falls on [CLS]. What comes of it? | 7 |
# | F | Which words decided? And can other weights give the same answer? | 7 |
# | G | Does the story of L3H9 hold on fresh sentences? | 4 |
# | H | What if heads go by the loss? Is the smaller model faster? | 8 and 9 |
#
# ## Appendix A. Many heads, many looks
#
# In section 4 we called a change more than luck if its interval excludes 0. That is
# fair for one head. For 72 heads it is not.
#
# A **p-value** says how often a head *without* effect would move the measure at least
# this far, on a sample like ours. With p < 0.05 up to one in twenty such heads looks
# special. Of 72 heads without effect these are about four, all of them **false
# discoveries**.
#
# <details><summary>Where do the p-values come from?</summary>
#
# "Without effect" means: on average over all such sentences.
#
# - Accuracy: such a head gains an answer as often as it loses one, so the changed
#   answers are tosses of a fair coin (McNemar's exact test). With few tosses the exact
#   test is cautious: fewer than one in twenty look special.
# - Margin: divide the change by its standard error (the width of the interval / 3.92)
#   and use the normal curve. This takes the interval as symmetric, so at the edge
#   interval and p-value may disagree.
#
# </details>
#
# **Benjamini and Hochberg** (1995) adjust the p-values. Keep the heads with an adjusted
# value of at most 0.05. Then on average at most 5 % of those kept are false
# discoveries.
#
# 1. Sort the $m$ p-values, the smallest first.
# 2. Multiply the one of rank $i$ by $m / i$.
# 3. Let no value exceed that of a larger p-value.
#
# Here is an example with four p-values. Step 3 changes one of them: 0.060 falls to the
# 0.043 beside it.
#
# | p-value | 0.010 | 0.030 | 0.032 | 0.600 |
# | --- | --- | --- | --- | --- |
# | rank $i$ | 1 | 2 | 3 | 4 |
# | $p \, m / i$ | 0.040 | 0.060 | 0.043 | 0.600 |
# | adjusted | 0.040 | 0.043 | 0.043 | 0.600 |
#
# <details><summary>As a formula; and why not Bonferroni?</summary>
#
# $q_{(i)} = \min_{j \ge i} \frac{m}{j} \, p_{(j)}$. The promise of 5 % holds for
# independent and for positively dependent tests. Our 72 tests share their sentences, so
# neither is sure. Benjamini and Yekutieli (2001) multiply once more, by $1 + \frac12 +
# \dots + \frac1m$, which is 4.9 for 72, and need no such condition.
#
# **Bonferroni** multiplies each p-value by their number $m$. Then even *one* false
# discovery is unlikely, but many true ones are missed.
#
# </details>

# %% [markdown]
# ### Exercise 6: many heads, many looks
#
# *Difficulty 3 of 5, 8 minutes.*
#
# **Why.** One head was framed in section 4, as better to be without. Was it one of
# those that luck alone would frame?
#
# **Given** are p-values, in any order.
#
# **Write** the adjusted values. Each belongs at the index of its p-value. Leave the
# given array as it is.
#
# **It is right if** the table's first row, in any order, gives its last.
#
# **Then** your function judges all 72 heads, by accuracy and by margin. Predict for
# both how many survive.


# %% exercise="adjust_for_many" points=2
def adjust_for_many(p_values):
    """Adjusted values (N,) of p-values (N,), by Benjamini and Hochberg."""
    ### BEGIN SOLUTION
    count = len(p_values)
    order = np.argsort(p_values)
    raw = p_values[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum.accumulate(raw[::-1])[::-1]  # from the largest down
    return adjusted
    ### END SOLUTION


# %% check="adjust_for_many"
al.checks.adjust_for_many(adjust_for_many)

# %% [markdown] hints="adjust_for_many"
# `order = np.argsort(p_values)` says where the smallest stands, the second, and so on;
# `p_values[order]` is sorted. Ranks begin at 1.
#
# ---
# You need the minimum of a value and all that come *after* it. `np.minimum.accumulate`
# runs from the left, so reverse the array with `[::-1]`, and reverse the result.
#
# ---
# `result[order] = ...` writes to the indices from which `x[order]` reads.

# %% [markdown]
# Your function adjusts the p-values of the 72 heads, once by accuracy and once by
# margin.

# %%
adjust = al.checks.yours_or_ours(
    "adjust_for_many", adjust_for_many, statistics.benjamini_hochberg
)
error = (sweep["margin_high"] - sweep["margin_low"]) / 3.92
p_margin = 2 * stats.norm.sf((sweep["margin_delta"] / error).abs())
for name, p_values in (("accuracy", sweep["p_value"].to_numpy()), ("margin", p_margin)):
    first, kept = (p_values < 0.05).sum(), (adjust(p_values) < 0.05).sum()
    print(f"{name:>8}: heads with p < 0.05: {first}, after adjusting: {kept}")

# %% [markdown]
# By accuracy no head survives, not even the framed one. By margin most do. But
# significant means not 0. It does not mean large.
#
# Does the framed head's gain at least repeat on test?

# %% folded=true
# the framed head, on dev and on test
framed = sweep["delta"].idxmax()
name = f"L{sweep['layer'][framed]}H{sweep['head'][framed]}"
dev_points, test_points = (100 * one["delta"][framed] for one in (sweep, again))
print(f"accuracy without {name}: {dev_points:+.1f} points on dev,", end=" ")
print(f"{test_points:+.1f} on test")

# %% [markdown]
# It does not: luck is enough to explain it. Now all 72 heads by margin, sorted. A head
# is coloured if it survives.

# %%
al.plots.effects(sweep, "margin_delta")

# %% [markdown]
# By margin most heads have an effect, and few have a large one.
#
# ### A third measure: the loss
#
# For the margin $m$ the **loss** is $\log(1 + e^{-m})$. It asks how bad the doubtful
# and the wrong answers are: a margin of 4 costs 0.02, one of 0 costs 0.69, one of −2
# costs 2.13. Does the ranking by loss repeat? Does it agree with that by margin? And
# does the loss of L3H9 repeat?

# %% folded=true
# the loss: does its ranking repeat?
measures = "loss_delta", "margin_delta"
repeats = [stats.spearmanr(sweep[one], again[one]).statistic for one in measures]
(here,), (there,) = sweep["loss_delta"][followed], again["loss_delta"][followed]
limit = 1.96 / np.sqrt(len(sweep) - 1)
print(f"loss, dev against test: ρ = {repeats[0]:+.2f}", end=" ")
print(f"(by chance up to ±{limit:.2f})")
print(f"loss without L3H9: {here:+.3f} nats on dev, {there:+.3f} on test")
most = np.sqrt(max(repeats[0], 0) * repeats[1])
agreed = sweep["margin_delta"].corr(-sweep["loss_delta"], method="spearman")
print(f"margin against loss on dev: {agreed:+.2f}", end=", ")
print(f"on different sentences {most:.2f} at most")

# %% [markdown]
# By loss no ranking is shown to repeat, and margin and loss rank the heads differently.
# Why does the loss hardly notice L3H9? We split the test sentences into those that the
# model answers rightly and those that it answers wrongly, with all heads on.
#
# <details><summary>For the expert: do margin and loss really disagree?</summary>
#
# A ranking that does not repeat needs no explanation. On *different* sentences, two
# measures can agree no better than about $\sqrt{\rho_1 \rho_2}$, where the two ρ say
# how well each repeats (Spearman 1904). As the loss's may well be 0, so may the bound.
#
# </details>

# %% folded=true
# the margin without L3H9, of right and of wrong answers
change, right = test.compare(base, without((3, 9))), base.correct
for name, which in (("right", right), ("wrong", ~right)):
    moved = change.margin_change[which]
    low, high = statistics.paired_bootstrap(moved) if len(moved) else (np.nan, np.nan)
    mean = moved.mean() if len(moved) else np.nan
    print(f"{which.sum()} answered {name}: margin {mean:+.2f}", end=" ")
    print(f"[{low:+.2f}, {high:+.2f}]")
print("loss {:+.3f} [{:+.3f}, {:+.3f}]".format(change.loss_delta, *change.loss_ci))

# %% [markdown]
# Where the model is right, the margin falls. Where it is wrong, the margin rises. So
# without L3H9 the model is less sure of both kinds of answer, and in the loss the two
# nearly cancel.
#
# ### Is it only less confidence?
#
# Multiply all margins by one factor between 0 and 1. Right answers lose, wrong ones
# gain, and no answer turns: the model is less sure of everything, and nothing else. How
# much of what a silent head does is such a factor?
#
# Let $m$ be a sentence's margin with all heads, and $m'$ without one of them. We take
# the factor that fits best over all sentences, and look at what is left:
#
# $$
# c = \frac{\sum m' \, m}{\sum m^2}, \qquad \text{left} = m' - c \, m
# $$
#
# From the margins 4 and −2 a head makes 3 and −1.5. Then $c = 15 / 20 = 0.75$, and
# nothing is left. If it makes 3 and −2.5, then $c = 17 / 20 = 0.85$, and −0.4 and −0.8
# are left.
#
# (Section 4 did that for six heads.) We silence each head once more, as now we need the
# margin of every sentence. The
# picture has the six heads of section 4. A filled dot is the mean change of the margin,
# and the hollow dot below it is what is left of that beyond the factor.

# %%
places, with_all = list(np.ndindex(clf.layers, clf.heads)), base.margins
alone = np.array([test.score(without(place)).margins for place in places])  # (72, N)
factors = alone @ with_all / (with_all @ with_all)  # by least squares
left_over = alone - factors[:, None] * with_all
spread = np.sqrt((left_over**2).mean(1))  # size on single sentences, (72,)
chosen = [places.index((layer, head)) for layer, head in top.tolist()]

# %% folded=true
# the picture: mean changes, and what is left beyond a factor
names = ["L{}H{}, factor {:.2f}".format(*places[i], factors[i]) for i in chosen]
kinds = {"change of the margin": alone - with_all, "left beyond a factor": left_over}
changed, left = (
    {
        name: (values[i].mean(), *statistics.paired_bootstrap(values[i]))
        for name, i in zip(names, chosen, strict=True)
    }
    for values in kinds.values()
)
label = "mean over test sentences, logits"
al.plots.intervals(changed, label, zero=True, hollow=left, names=tuple(kinds))

# %% [markdown]
# **On average nearly nothing is left.** The mean margin falls as if all margins were
# multiplied by one factor. So the mean margin cannot tell a head that is missed from a
# model that is less sure. (A head whose evidence grows with that of all others leaves
# the same trace, so the factor does not say why.)
#
# A mean of 0 can still hide large changes, up here and down there. So how much is left
# on *single* sentences? Below is the root of its mean square, for the heads where it is
# largest and for those that cost most margin. Then follows the mean rest of L3H9 in
# four groups of sentences.

# %% folded=true
# what is left on single sentences
for kind, some in (("largest", np.argsort(-spread)[:4]), ("most costly", chosen[:4])):
    told = ["L{}H{} {:.2f}".format(*places[i], spread[i]) for i in some]
    print(f"left on a single sentence, {kind}: {', '.join(told)} logits")
rest, positive = left_over[places.index((3, 9))], np.asarray(test.labels) == 1
groups = {"right answers": right, "wrong answers": ~right}
groups |= {"positive sentences": positive, "negative sentences": ~positive}
parts = {name: rest[which] for name, which in groups.items() if which.any()}
found = {
    name: (part.mean(), *statistics.paired_bootstrap(part))
    for name, part in parts.items()
}
al.plots.intervals(found, "left of L3H9's change, mean, logits", zero=True)

# %% [markdown]
# **L3H9 still stands out:** beyond its factor it moves single sentences by about half a
# logit, more than any other head. The three that come next in cost move them far less.
# They mostly make the answer louder.
#
# The last two rows say in which way. Without L3H9 positive sentences lose margin and
# negative ones gain it, so part of the rest is a common step towards *negative*.
# (Take this common step away, and about 0.4 of the 0.5 logits is left.) For the right
# and wrong answers it cancels out.
#
# <details><summary>Another factor; and does that hold on dev?</summary>
#
# The factor that gives all margins the same mean size as silence, instead of the one
# that fits best, changes no mean of the six by more than 0.04 logits. On dev sentences
# L3H9 has nearly the same factor, the same rest and the same step towards *negative*.
#
# Is a factor flexible enough to swallow anything? No. Had every margin fallen by 0.43,
# as the mean did without L3H9, the best factor would leave a mean of −0.19. (But each
# factor was fitted on the sentences that it is tested on. With one number fitted to
# 500, that flatters it little.)
#
# </details>

# %% [markdown]
# ## Appendix B. Do the three ablation methods agree?
#
# Section 5 replaced one head by zero, uniform weights or its mean. Here all 72 heads
# are replaced by each, with the package's own sweep (and a mean of its own at [CLS]).
# The table has the heads that lose most by zero, then those that lose most by uniform
# weights.

# %%
ways = {"zero": sweep["margin_delta"]}
for method in ("uniform", "mean"):
    ways[method] = al.ablate(fast, method=method)["margin_delta"]
ways = pd.DataFrame(ways, dtype=float)
ways.index = "L" + sweep["layer"].astype(str) + "H" + sweep["head"].astype(str)
lose = [head for name in ("zero", "uniform") for head in ways.nsmallest(3, name).index]
al.plots.table(ways.loc[list(dict.fromkeys(lose))], zero=2, uniform=2, mean=2)

# %% [markdown]
# How alike do two methods rank all 72 heads (Spearman's ρ, section 4)? Purple pairs
# rank them alike, orange ones the other way round.

# %%
al.plots.agreement(ways)

# %% [markdown]
# **Zero and mean rank the heads alike; uniform weights ask another question.**
#
# <details><summary>What we saw</summary>
#
# Zero and mean rank alike: it hardly matters whether nothing stands in a head's place
# or its average (although with nothing later layers get a sum that they never met in
# training). Uniform weights ask something else. Their ranking even runs slightly
# against that by zero (−0.26, just outside the ±0.23 of chance), and shows no trend
# with that by mean (−0.17).
#
# L5H0 is needed for what it fetches, and hardly for where it looks. L2H7 is not missed
# when silent, yet with uniform weights it does harm: what it then mixes in is worse
# than nothing. L3H9 is needed for both; on these 500 sentences uniform weights cost
# nearly half as much as silence.
#
# </details>
#
# ### And whole layers?
#
# Now all twelve heads of a layer at once, layer by layer: *silent*, or *uniform*, at a
# temperature so high that all weights are equal.

# %%
whole = {}
for layer in range(clf.layers):
    silent, uniform = clf.settings(), clf.settings()
    silent.scale[layer] = 0
    uniform.temperature[layer] = 1e6
    for name, settings in (("silent", silent), ("uniform", uniform)):
        whole[f"layer {layer} {name}"] = dev.compare(neutral, settings)
al.plots.forest(whole, title="One layer at a time")

# %% [markdown]
# Compare the last two rows. Layer 5 silent is by far the worst. Layer 5 uniform shows
# no clear change of accuracy and a small one of the margin. So nearly all of the margin
# hangs on *what* the last layer fetches, and little on where it looks.
#
# The next table has the difference of the two methods on the same sentences, with its
# interval. Above 0, silence costs more margin than uniform weights.

# %% folded=true
# the table: the difference of the two methods
rows = []
for layer in range(clf.layers):
    silent, uniform = (whole[f"layer {layer} {name}"] for name in ("silent", "uniform"))
    gap = uniform.margin_change - silent.margin_change
    ends = statistics.paired_bootstrap(gap)
    rows.append((layer, silent.margin_delta, uniform.margin_delta, gap.mean(), *ends))
columns = ["layer", "silent", "uniform", "uniform − silent", "from", "to"]
frame = pd.DataFrame(rows, columns=columns).set_index("layer")
al.plots.table(frame, **dict.fromkeys(columns[1:], 2))

# %% [markdown]
# Only in layer 1 do uniform weights clearly cost more margin than silence: a wrong
# mixture can be worse than none. In layer 4 they *raise* the margin, but not accuracy:
# surer, not better.
#
# ### What does the last layer's silence take away?
#
# After layer 5 only [CLS] is read. Silence takes two things from it: what its heads
# fetch from other tokens, and what they take from [CLS] itself. A control cuts one at a
# time. Each head's context at [CLS] is a sum over tokens, weight times value, so that
# either part can be left out. *Predict first:* which of the two costs the accuracy?

# %% folded=true
# positive minus negative logit of every sentence, if [CLS] gets something else
layer_5 = layers[last].attention.output.dense


def logits_if(cls_gets):
    found = np.zeros(len(few.labels))
    for indices in batches:
        inputs = few.encoded.batch(indices)
        inputs = {name: part.to(clf.device) for name, part in inputs.items()}
        record = al.heads.record(clf, inputs, clf.settings())[last]
        parts = record.weights[:, :, 0, :, None] * record.values  # (B, H, T, D)
        new = torch.zeros_like(parts[:, :, 0]) if cls_gets is None else cls_gets(parts)
        found[indices] = at_cls(inputs, new.flatten(1))
    return found


# %% folded=true
# the logits of a batch, with this context of all heads at [CLS], (B, E)
@torch.inference_mode()
def at_cls(inputs, new):
    def hook(module, given):
        return (torch.cat([new[:, None], given[0][:, 1:]], 1),)

    handle = layer_5.register_forward_pre_hook(hook)
    logits = al.heads.run(clf, inputs)
    handle.remove()
    return (logits[:, 1] - logits[:, 0]).cpu().numpy()


# %%
cls_gets = {
    "all (as trained)": lambda parts: parts.sum(2),
    "other tokens alone": lambda parts: parts[:, :, 1:].sum(2),
    "[CLS] alone": lambda parts: parts[:, :, 0],
    "nothing (silent)": None,
}
read_off = {name: logits_if(how) for name, how in cls_gets.items()}

# %% folded=true
# changes of accuracy, as trained and with the common step taken off
truth = np.asarray(few.labels)
intact = (read_off["all (as trained)"] > 0) == truth


def points(values):
    moves = ((values > 0) == truth).astype(float) - intact
    low, high = (100 * end for end in statistics.paired_bootstrap(moves))
    told = f"{100 * moves.mean():+.1f} ({low:+.1f} to {high:+.1f})"
    return told.replace("-", "−").replace("+0.0", "0.0")


# %% folded=true
# the table: margin, order, share of “positive”, and both changes of accuracy
rows = []
for name, values in read_off.items():
    sure = np.where(truth == 1, values, -values).mean()
    in_order = (values[truth == 1][:, None] > values[truth == 0]).mean()
    step = np.median(values)
    changes = points(values), points(values - step)
    rows.append((name, sure, in_order, (values > 0).mean(), *changes))
columns = ["fetched from", "margin", "in order", "called positive"]
columns += ["accuracy, points", "step taken off"]
frame = pd.DataFrame(rows, columns=columns).set_index("fetched from")
al.plots.table(frame, **dict.fromkeys(columns[1:4], 2))

# %% [markdown]
# *In order* is the share of pairs, a positive and a negative sentence, in which the
# positive one has the higher logit; guessing gives 0.50. The last two columns hold the
# change of accuracy on the same sentences, with its 95 % interval: as it is, and with a
# common step taken off (the median of the logits, which needs no labels).
#
# **Nearly all of the margin comes from other tokens. But their loss alone costs little
# accuracy: most of the order is there without it.**
#
# <details><summary>What we saw</summary>
#
# Without what [CLS] takes from itself nothing changes. Without what others bring, the
# margin is gone nearly as in silence. Yet accuracy loses only a point or two here, and
# the interval reaches from a loss of about 5 to across 0. Most of the order of the
# sentences has been brought by earlier layers; the last one makes the model sure.
#
# (The weight of [CLS] on itself still depends on all tokens, so that a trace of them
# passes. With a weight of 1 in its place none does; lesson 00 cuts in that way.)
#
# Silence leaves margins just as close to 0. There a small common step decides many
# answers, and silence makes one, towards *positive*. Take it off, and about half of the
# lost points return. So accuracy under silence mixes three things: order that is lost,
# a step that zeros bring in, and answers that lie near 0. The margin is the clearer
# witness here.
#
# </details>
#
# ## Appendix C. What does each head say directly?
#
# In the drawing of section 6 the direct route is the thick one: what a head adds at
# [CLS] is carried along the residual stream to the end. **Direct logit attribution**
# (Elhage et al. 2021) measures this route alone. Its parts add up to the margin
# exactly, once norms and tanh are held fast as below.
#
# ### How can one see through a norm?
#
# If every step of the direct route were linear, the margin would be a plain sum of what
# the parts add. The steps that are not linear are the layer norms, and a tanh at the
# very end (see the fold below). In BERT the norms stand on the stream itself
# (*post-norm*). A norm subtracts the mean of its input, divides by its size $\sigma$,
# multiplies by $\gamma$ and adds $\beta$.
#
# The division is the trouble, as $\sigma$ depends on the input. But on one sentence
# $\sigma$ is just a number. Hold it at that number, that is, **freeze** it, and the
# norm is linear.
#
# A small case: the input is $x = (3, 1)$, with $\gamma = (1, 1)$ and $\beta = 0$.
#
# - The mean is 2 and $\sigma$ is 1, so the norm gives $(1, -1)$.
# - We read this output along the direction $d = (2, 0)$, and get
#   $2 \cdot 1 + 0 \cdot (-1) = 2$.
# - In front of the norm the same can be read along another direction: $d$ minus its
#   mean, which is $(1, -1)$. Indeed $1 \cdot 3 - 1 \cdot 1 = 2$.
# - Now cut $x$ into the parts $(2, 0)$ and $(1, 1)$. The first says 2 and the second
#   says 0. Together they say 2.
#
# In general, a direction $d$ behind the norm becomes another direction, *reads*, in
# front of it:
#
# $$
# d \cdot \text{LN}(x) = \underbrace{\frac{1}{\sigma}
# \big(\gamma \odot d - \text{mean}(\gamma \odot d)\big)}_{\text{reads}} \cdot \, x
# \; + \; d \cdot \beta
# $$
#
# ($\gamma \odot d$ multiplies number by number.) If $x$ is a sum of parts, each part
# adds its own $\text{reads} \cdot \text{part}$. That is what it *says directly*. We
# start with the direction along which the margin is read, and go back from the answer,
# norm by norm.
#
# <details><summary>Where does $d$ start, and what about the tanh?</summary>
#
# At the classifier, with the right label's row minus the wrong one's. On the way down
# comes the tanh of the pooler, which is not linear either. It is frozen likewise: hold
# $\tanh(z)/z$, and it is a straight line through 0.
#
# </details>

# %% [markdown]
# ### Exercise 7: back through a frozen norm
#
# *Difficulty 3 of 5, 8 minutes.*
#
# **Why.** In our BERT's six layers twelve norms lie on the stream, two in each. To say
# what a head contributes directly, we must get back through all that lie behind it.
#
# **Given** are the norm, with its weight $\gamma$, bias $\beta$ and eps; what enters it
# on each sentence; and the direction along which its output is read.
#
# **Write** *reads* and $d \cdot \beta$ for each row. As you write, ask yourself why the
# mean may be subtracted from $\gamma \odot d$ instead of from $x$.
#
# **It is right if** the small case gives $(1, -1)$ and 0, and nothing is lost: however
# $x$ is cut into parts, what they say and $d \cdot \beta$ add up to
# $d \cdot \text{LN}(x)$.
#
# **Then** your function goes down through all twelve norms, and all parts of BERT must
# add up to its margin. A picture then shows which heads speak directly, and whether
# L3H9 is one of them.


# %% exercise="through_norm" points=2
def through_norm(norm, entering, direction):
    """(reads (B, E), bias (B,)) of a frozen layer norm.

    norm is an nn.LayerNorm with weight, bias and eps, entering (B, E) what it gets,
    direction (B, E) along which its output is read
    """
    ### BEGIN SOLUTION
    spread = entering.var(dim=-1, unbiased=False, keepdim=True)  # (B, 1)
    reads = direction * norm.weight / (spread + norm.eps).sqrt()
    return reads - reads.mean(dim=-1, keepdim=True), direction @ norm.bias
    ### END SOLUTION


# %% check="through_norm"
al.checks.through_norm(through_norm)

# %% [markdown] hints="through_norm"
# $\sigma = \sqrt{\text{variance} + \epsilon}$, one number for each row of `entering`.
# The variance divides by E (`unbiased=False`).
#
# ---
# Go through the norm backwards: the weight first, then the division, then the centring.
# None of these looks at `entering`, except for $\sigma$.
#
# ---
# Centring is a symmetric matrix, $I - \frac{1}{E} \mathbf{1}\mathbf{1}^\top$. So it may
# be applied to the direction or to the input.

# %% [markdown]
# ### What do the heads say?
#
# Now your function takes $d$ down through the two norms of a layer. (What enters them,
# and the way through all six layers, is folded.)


# %% folded=true
# your function, and hooks that note what enters the norms at [CLS]
through = al.checks.yours_or_ours(
    "through_norm", through_norm, al.transformer.through_norm
)


def keep(seen, key):
    """A hook that notes what a module is given at [CLS]."""

    def hook(module, given):
        seen[key] = given[0][:, 0].detach()

    return hook


# %% folded=true
def run_with_hooks(inputs):
    """Logits, and what enters three parts of each layer at [CLS]."""
    seen, hooks = {}, []
    for index, layer in enumerate(layers):
        inside, end = layer.attention.output, layer.output.LayerNorm
        modules = {"heads": inside.dense, "norm": inside.LayerNorm, "end": end}
        for name, module in modules.items():
            hooks.append(module.register_forward_pre_hook(keep(seen, (index, name))))
    logits = al.heads.run(clf, inputs)
    for hook in hooks:
        hook.remove()
    return logits, seen


# %%
def through_layer(layer, heads, entering, ending, towards):
    """The direction before a layer, what its heads say (H, B), and all else (B,)."""
    inside, total = layer.attention.output, 0
    towards, bias = through(layer.output.LayerNorm, ending, towards)
    forward = ending - inside.LayerNorm(entering)  # what the feed-forward adds
    total = total + bias + (towards * forward).sum(-1)
    towards, bias = through(inside.LayerNorm, entering, towards)
    slices = inside.dense.weight.unflatten(1, (clf.heads, -1))  # (E, H, D)
    brought = heads.unflatten(1, (clf.heads, -1))  # (B, H, D)
    said = torch.einsum("be,ehd,bhd->hb", towards, slices, brought)
    return towards, said, total + bias + towards @ inside.dense.bias


# %% folded=true
def direct(seen, labels):
    """What heads say, (L, H, B), reads, (L, B, E), and the sum of all, (B,)."""
    pooler, out = clf.model.bert.pooler.dense, clf.model.classifier
    before = pooler(layers[last].output.LayerNorm(seen[last, "end"]))
    towards = out.weight[labels] - out.weight[1 - labels]  # right minus wrong
    towards = towards * torch.where(before == 0, 1, before.tanh() / before)  # frozen
    total = out.bias[labels] - out.bias[1 - labels] + towards @ pooler.bias
    towards, said, read = towards @ pooler.weight, [], []
    for index in reversed(range(clf.layers)):
        own = (seen[index, name] for name in ("heads", "norm", "end"))
        towards, heads, rest = through_layer(layers[index], *own, towards)
        said, read = [heads, *said], [towards, *read]
        total = total + heads.sum(0) + rest
    words = seen[0, "norm"] - layers[0].attention.output.dense(seen[0, "heads"])
    return torch.stack(said), torch.stack(read), total + (towards * words).sum(-1)


# %% folded=true
def added_by_heads(seen):
    """What the heads of each layer add at [CLS] together, (L, B, E)."""
    maps = [layer.attention.output.dense.weight for layer in layers]  # W_O, no bias
    return torch.stack([seen[i, "heads"] @ each.T for i, each in enumerate(maps)])


# %% folded=true
@torch.inference_mode()
def directly():
    """Of all sentences: said (N, L, H), sizes (N, L, 3), margins and sums (N, 2)."""
    found = []
    for indices in batches:
        inputs = few.encoded.batch(indices)
        inputs = {name: part.to(clf.device) for name, part in inputs.items()}
        logits, seen = run_with_hooks(inputs)
        said, read, total = direct(seen, labels[indices])
        added = added_by_heads(seen)
        cosine = torch.cosine_similarity(read, added, dim=-1).abs()
        sizes = torch.stack([read.norm(dim=-1), added.norm(dim=-1), cosine], -1)
        both = torch.stack([margin(logits, labels[indices]), total], 1)
        found.append((said.permute(2, 0, 1), sizes.transpose(0, 1), both))
    return [torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True)]


# %% [markdown]
# Do all parts add up to the margin? And what do heads say directly, compared with what
# they cost when silenced? For each layer the picture adds up the sizes of its twelve
# heads' effects.

# %%
said, sizes, both = directly()
gap = np.abs(both[:, 0] - both[:, 1]).max()
print(f"sum of all parts against the margin: at most {gap:.1e} apart")
assert gap < 1e-2

# %% folded=true
# the picture: said directly, and lost when silenced, layer by layer
table = sweep.assign(direct=said.mean(0)[sweep["layer"], sweep["head"]])
table["silenced"] = -table["margin_delta"]
sums = table[["direct", "silenced"]].abs().groupby(table["layer"]).sum()
al.plots.lines(
    sums.index.to_numpy(),
    {"said directly": sums["direct"], "lost when silenced": sums["silenced"]},
    xlabel="layer",
    ylabel="sum over twelve heads, logits",
    marks=True,
)

# %% [markdown]
# The parts add up to the margin. Only layer 5 says much directly. The heads below it
# matter through later heads or feed-forward networks.
#
# In the picture each head is a dot, large and black in layer 5. On the grey line a head
# costs exactly what it says.

# %% folded=true
# the picture: said directly against lost when silenced
al.plots.head_scatter(
    {f"{len(few.labels)} dev sentences": (table["direct"], table["silenced"])},
    xlabel="said directly, logits",
    ylabel="margin lost when silenced, logits",
    marked={f"layer {last}": table["layer"] == last, "L3H9": followed},
    diagonal=True,
    ranks=False,
)

# %% [markdown]
# L3H9 costs the most margin, and says nothing directly. What do the heads of layer 5
# say when it is silent, as in section 6?

# %%
for name, which in cases.items():
    hook = muted(*which)
    then, _, _ = directly()
    hook.remove()
    change = (then - said)[:, last].sum(1)  # (N,), of all heads of the last layer
    print(f"L3H9 silent {name}: heads of layer {last} {with_interval(change)}")

# %% [markdown]
# They say less, by most of the margin lost. What a head is worth need not show in what
# it says itself.
#
# ### Why does only layer 5 speak directly?
#
# Three sizes for each layer help: how long the direction is that is read there
# (*reads*), how much its heads add together at [CLS], and how far the two are aligned.

# %%
columns = ["reads, length", "heads add, length", "|cosine| of the two"]
frame = pd.DataFrame(sizes.mean(0), columns=columns).rename_axis("layer")
al.plots.table(frame, **{columns[0]: 3, columns[1]: 1, columns[2]: 2})

# %% [markdown]
# The heads of layers 1 to 4 add far less at [CLS] than those of layer 5. What they add
# is nearly orthogonal to the direction that is read. (Random directions of this width
# have a cosine of about .04.) And with each layer further down that direction is
# shorter, by the norms on the stream.
#
# So dozens of dots lie at 0 in the picture. In GPT-2 norms stand on the branches, and
# early heads may speak directly.
#
# ### What do the others do when one is silent?
#
# In the picture most heads of layer 5 lie below the grey line: they cost less than they
# say. We silence one of them, L5H6, and ask what the others of its layer then say.

# %% folded=true
# L5H6 silent
hook = muted(5, 6)
then, _, after = directly()
hook.remove()
rest = np.delete((then - said)[:, last], 6, axis=1).sum(1)  # the other eleven
print(f"with all heads on, L5H6 itself says {with_interval(said[:, 5, 6])}")
print(f"without it the margin changes by {with_interval(after[:, 0] - both[:, 0])}")
print(f"    and the other heads of layer 5 say {with_interval(rest)} more")

# %% [markdown]
# **Without L5H6 the others of its layer count for more,** so the margin falls by less
# than L5H6 used to say. This is a simple **self-repair** (McGrath et al. 2023).
#
# <details><summary>Why do they count for more?</summary>
#
# The heads of a layer work side by side, so what the others *add* is the same as
# before. Only how it is read has changed: the norms behind divide by less, or the tanh
# is steeper. (Freezing one at its old value would tell.) Of the .375 that L5H6 says the
# others make up .092. All other parts of the sum lose .026, which leaves the .309 that
# silencing costs. Norms are a part of self-repair in language models, too (Rushing and
# Nanda 2024).
#
# </details>
#
# ### Where do single costs not add up?
#
# Do the heads of a layer depend on each other? We silence all of layer 5, and for
# comparison six heads at random. If heads did not depend on each other, the cost
# together would be the sum of the costs one by one, and the difference would be about
# 0.

# %% folded=true
# silent one by one, and together
draw = np.random.default_rng(1).permutation(len(sweep))[:6]
chosen = {
    "six at random": sweep[["layer", "head"]].to_numpy()[draw],
    f"layer {last}": [(last, head) for head in range(clf.heads)],
}
groups = {}
for name, some in chosen.items():
    groups[name] = test.compare(base, without(*some))
    alone = sum(test.compare(base, without(one)).margin_change for one in some)
    gap = groups[name].margin_change - alone
    print(f"{name}: one by one {alone.mean():+.2f} logits,", end=" ")
    print(f"together {groups[name].margin_delta:+.2f}, difference {with_interval(gap)}")
al.plots.forest(groups, title="Heads silenced together, test sentences")

# %% [markdown]
# The heads of layer 5 cost *more* together than one by one. So the loss of one is
# partly made up for as long as the others are there. The six at random show no such
# thing. (That is one draw, and it moves the margin far less, so a bend in norms and
# tanh would show less there, too.)
#
# The other way round, L3H9 works through later heads. So its cost cannot simply be
# added to theirs. We silence the six heads that cost most margin together, with and
# without L3H9.

# %% folded=true
# the top six, with and without L3H9
for skipped in ([], [(3, 9)]):
    team = [one for one in map(tuple, top.tolist()) if one not in skipped]
    alone = sum(test.compare(base, without(one)).margin_change for one in team)
    gap = test.compare(base, without(*team)).margin_change - alone
    name = "top six but L3H9" if skipped else "top six"
    print(f"{name}: one by one {alone.mean():+.2f} logits", end=", ")
    print(f"together minus that {with_interval(gap)}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The −0.08 of the top six hides two effects. The five without L3H9 cost 0.30 more
# together than singly. L3H9 acts through them, so part of its own loss is counted
# already, which saves about 0.22.
#
# </details>
#
# ## Appendix D. Through which later heads does L3H9 reach the answer?
#
# Section 6 left a gap: L3H9 writes at other tokens, and only later heads can bring that
# to [CLS]. Which ones? **Path patching** (Wang et al. 2022; Goldowsky-Dill et al. 2023)
# lets one later head at a time see what L3H9 does otherwise.

# %%
drawings.path_patching()

# %% [markdown]
# For each pair of sentences of section 6 there are two steps:
#
# 1. Run the second sentence with L3H9's contexts of the first. All other heads are
#    **frozen**: they keep what they fetched in the second run. But note what each of
#    them *would* fetch now.
# 2. Run the second sentence as it is, and give *one* later head what it would fetch.
#    The margin that comes back came through this head.


# %%
def would_fetch(first, second, layer, head):
    """The margin, and what heads would fetch, if one head is as in the first run."""
    clean, own, seen = {}, {}, {}
    run(first, clean.__setitem__)  # keep the contexts of each layer
    run(second, own.__setitem__)

    def frozen(index, contexts):
        seen[index] = contexts
        held = own[index].clone()
        if index == layer:
            held[:, head] = clean[index][:, head]
        return held

    return run(second, frozen), seen


# %%
def one_reader(seen, layer, head):
    """A hook for step 2: this head gets what it would fetch, the others go on."""

    def hook(index, contexts):
        if index == layer:
            contexts[:, head] = seen[index][:, head]
        return contexts

    return hook


# %%
readers = [(layer, head) for layer in (4, 5) for head in range(clf.heads)]
carried, straight = [], []
for first, second in pairs:
    past, seen = would_fetch(first, second, 3, 9)
    broken = run(second)
    whole = run(first) - broken
    margins_then = [run(second, one_reader(seen, *place)) for place in readers]
    carried.append((np.array(margins_then) - broken) / whole)
    straight.append((past - broken) / whole)
assert abs(run(second, one_reader(seen, 3, 0)) - broken) < 1e-4  # cannot have read it

# %% folded=true
# the picture: what comes back through each later head
paths = pd.DataFrame(readers, columns=["layer", "head"])
paths["restored"] = np.mean(carried, axis=0)
paths["ci_low"], paths["ci_high"] = statistics.paired_bootstrap(np.array(carried))
title = f"L3H9's work, read first by one later head; mean of {len(pairs)} pairs"
al.plots.patching(paths, title, intervals=True)

# %% [markdown]
# **There is no single next link.** Many heads read L3H9's work, and each carries a
# small part. Together those of layer 5 carry most. (The pairs share words and frames,
# so the intervals are somewhat too narrow, and they say nothing of other sentences.)
#
# Do the parts add up? To the 24 heads comes what passes by all of them, along the
# stream and through feed-forward networks: the margin of step 1. On the other side
# stands L3H9 patched for all at once, as in section 6.

# %% folded=true
# do the parts add up?
at_once = [
    patch(run, *pair, 3, 9, tokens)
    for pair, tokens in zip(pairs, everywhere, strict=True)
]
for layer, part in paths.groupby("layer")["restored"]:
    print(f"through heads of layer {layer}: {part.sum():.1%}")
print(f"past all later heads: {abs(np.mean(straight)):.1%}")
added = paths["restored"].sum() + np.mean(straight)
print(f"in all {added:.1%}, and for all heads at once {np.mean(at_once):.1%}")

# %% [markdown]
# The sum falls a little short of the whole. (Norms and softmax are not linear, so parts
# need not add up.) And next to nothing passes by the later heads.
#
# <details><summary>Which paths does a share count? And what of L5H9?</summary>
#
# Those on which the head is the *first* to read L3H9. A head of layer 4 may pass the
# work on to heads of layer 5; these react as usual. So each path is counted once.
#
# L5H9 brings back 14 % in the map of section 6, and here less than 1 %. At first hand
# it takes hardly anything from L3H9, though both matter.
#
# </details>
#
# ### Do the best heads together bring the answer back?
#
# In section 6 no single head brought back more than a part. Here the best six are
# patched together. (The package's own patching checks yours on the way.)

# %% folded=true
# the best six heads, patched together
ours = adaptive.patching_effects(clf, pairs)["restored"]
gap = (ours - patched["restored"]).abs().max()
print(f"your shares and those of the package: at most {gap:.0e} apart")
order = [(row.layer, row.head) for row in best.itertuples()]
curves = [adaptive.patching_curve(clf, *pair, order=order) for pair in pairs]
together = np.mean([curve["restored"].iloc[-1] for curve in curves])
print(f"the best six together: {together:+.0%} of the margin")
rank = stats.spearmanr(patched["restored"], -sweep["margin_delta"]).statistic
print(f"rank correlation of all heads with silencing, by margin: {rank:+.2f}")

# %% [markdown]
# Six heads together, picked on the same pairs, bring back most. Patching ranks the
# heads only partly as silencing does: ablation asks what a model needs in general,
# patching what tells these two sentences apart. (Patching the first run into the second
# is called *denoising*, the other way round *noising*. The two need not agree where
# heads stand in for each other: Zhang and Nanda 2024.)
#
# Heads that are picked and tested on the same pairs flatter themselves. So we pick six
# by the pairs of the first two frames, and patch them in those of the other two. Beside
# them stand six heads drawn at random, twenty times.


# %% folded=true
# six heads picked on some pairs, patched together in others
def together_in(some, six):
    """For each pair the share of the margin that these heads bring back together."""
    curves = [adaptive.patching_curve(clf, *pair, order=six) for pair in some]
    return np.array([curve["restored"].iloc[-1] for curve in curves])


starts = tuple(frame.split("{")[0] for frame in frames[:2])
first_two = [pair for pair in pairs if pair[0].startswith(starts)]
last_two = [pair for pair in pairs if pair not in first_two] or pairs
effects = adaptive.patching_effects(clf, first_two).nlargest(6, "restored")
picked = list(zip(effects["layer"], effects["head"], strict=True))
luck, draws = np.random.default_rng(0), 2 if size.name == "ci" else 20
by_chance = [luck.choice(len(places), 6, replace=False) for _ in range(draws)]

# %% folded=true
# both, in the other two frames
found = together_in(last_two, picked)
lots = [together_in(last_two, [places[i] for i in six]).mean() for six in by_chance]
low, high = statistics.mean_interval(found)
print("picked:", ", ".join(f"L{layer}H{head}" for layer, head in picked))
print(f"in the other frames: {found.mean():.0%} [{low:.0%}, {high:.0%}]", end="; ")
print(f"six at random: {np.mean(lots):.0%}, at most {max(lots):.0%}")

# %% [markdown]
# The six bring back as much in frames that did not pick them, and six heads at random a
# small part of it, never half. So the six are enough for most of the difference. (That
# does not say that each of them is needed. And the words are the same in all frames.)
#
# ## Appendix E. Much weight, little said: sinks
#
# Where do the heads look? Much of their weight falls on special tokens (Clark et al.
# 2019). What do these give in return?
#
# A token's **contribution** is its weight times the length of the vector that it offers
# to the head, its value through $W^O_h$ (Kobayashi et al. 2020). It is the dashed line
# at the right.

# %%
profile = al.evaluation.profiles(clf, few.dataset.texts)
al.plots.special_shares(profile)

# %% folded=true
# shares of the special tokens
share, made = profile["special"].mean(), profile["contribution_special"].mean()
cls, sep = profile["cls"].mean(), profile["sep"].mean()
print(f"[CLS] gets {cls:.0%} of the weight, [SEP] {sep:.0%}")
print(f"both together {share:.0%}; they make {made:.0%} of what heads add")
even = 2 / few.encoded.lengths.mean()  # two of T tokens, over all tokens
print(f"by their number alone they would get {even:.0%}")

# %% [markdown]
# [CLS] gets far more weight than its number would give it. Yet the special tokens make
# only 7 % of what heads add, hardly less than their number. Such a token is an
# **attention sink** (Xiao et al. 2024). The usual reading: softmax weights must sum to
# 1, so a head with nothing to fetch needs a place to put its weight. In ours that is
# [CLS], in BERT-base mostly [SEP].
#
# Do heads that mostly look at sinks matter less? Layer 5 has little sink and large
# effects, so we also compare within layers.

# %% folded=true
# sinks against effects
sunk = pd.DataFrame({"sink": profile["special"], "moved": sweep["margin_delta"].abs()})
inside = sunk.groupby(sweep["layer"]).rank()  # among the twelve of its layer
for name, ranks in (("all heads", sunk.rank()), ("within layers", inside)):
    rank = stats.pearsonr(ranks["sink"], ranks["moved"])
    print(f"sink against size of the margin's change, {name}:", end=" ")
    print(f"ρ = {rank.statistic:+.2f}, {statistics.p_text(rank.pvalue)}")

# %% [markdown]
# Heads that rest on sinks moved the margin less, also within layers: it is not only
# that layers differ. (The second p is slightly too small, as it does not count that six
# layers were set equal.) But a correlation shows no cause.
#
# ## Appendix F. Which words decided?
#
# Whoever uses the model asks which *words* decided. A map of attention seems to answer
# that. But other measures claim to answer it, too. We compare four:
#
# - **attention**: how much [CLS] looks at the word in the last layer, mean over heads;
# - **rollout**: attention multiplied through all layers, with half for the residual
#   stream (Abnar and Zuidema 2020);
# - **gradient × input**: the margin's slope along the word's vector, times that vector;
# - **ablation**: how much the log-probability of the answer falls when the word is
#   masked.
#
# The first two say where the model looks. The other two say how its answer reacts. A
# frame marks the largest number of each column.

# %%
clear = "The plot is thin, but the acting is a joy."
frame = al.evaluation.explanations(clf, clear)
print(f"{frame.attrs['label']}, {frame.attrs['probability']:.0%} sure")
al.plots.explanations(frame)

# %% [markdown]
# They name three different tokens: attention and ablation point to *joy*, the gradient
# to *a* and rollout to the full stop.
#
# Is that so on many sentences? We rank the words of each sentence by each measure,
# without signs, as attention has none. Then we correlate the ranks. *Removal* is
# ablation that takes the word out instead of masking it.

# %%
texts = test_texts.texts[: max(size.sweep_sentences // 5, 8)]
al.plots.agreement(al.evaluation.agreement(clf, texts))

# %% [markdown]
# Even ablation and removal, two versions of one question, agree only in part. With
# these two, attention agrees no worse than the gradient does. (Lesson
# [11](11_adaptive_attention.ipynb) tests which measure is faithful, by deleting words.)
#
# ### Integrated gradients
#
# The gradient is a slope at one point. **Integrated gradients** (Sundararajan et
# al. 2017) take its average on the way from [MASK] to the word, times the step between
# them. Then the words' shares add up to the change of the margin.

# %% folded=true
# integrated gradients of the words
(added,) = adaptive.integrated_gradients(clf, [clear])
frame["integrated"] = added[frame.index]
order = frame["integrated"].abs().sort_values(ascending=False).index[:4]
first = ", ".join(f"{frame['token'][i]} {frame['integrated'][i]:+.2f}" for i in order)
print(f"integrated gradients: {first}")
masked = clf.predict([" ".join(["[MASK]"] * len(frame))]).probabilities[0]
sure = frame.attrs["probability"], masked[clf.label_names.index(frame.attrs["label"])]
full, none = (np.log(share / (1 - share)) for share in sure)  # margins
print(f"sum of all words {added.sum():+.2f}, margin from {none:+.2f} to {full:+.2f}")

# %% [markdown]
# The largest shares set *joy* against *thin*, and all shares add up to the change from
# the sentence of [MASK]s to ours. That start is itself called positive; another start
# gives other shares.
#
# ### Can quite other weights give the same answer?
#
# In section 7 uniform and shuffled weights moved the margin a little. Now we look for
# weights in the last layer that are as far from the true ones as possible, yet change
# the answer's probability hardly at all: **adversarial attention** (Jain and Wallace
# 2019).
#
# How far two sets of weights are apart is a number from 0 to 1. It is 0 for the same
# weights, and 1 if no token that had weight keeps any.


# %% folded=true
def total_variation(a, b):
    """Half the sum of differences, 0 to 1, the mean over heads: (B,)."""
    return (a - b).abs().sum(-1).mean(-1) / 2


def probabilities(weights, values, before):
    """Of both labels (B, 2), with these weights in the last layer."""
    return answer(torch.einsum("bht,bhtd->bhd", weights, values), before).softmax(-1)


# %% [markdown]
# For each sentence of one batch, gradient ascent on the scores makes the distance as
# large as it can. A penalty sets in once a probability moves by more than 0.005.


# %%
def adversarial(weights, values, before, real, steps):
    """Weights far from these that leave the answer as it is; and how far it moves."""
    sure = probabilities(weights, values, before).detach()
    scores = torch.zeros_like(weights).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.3)
    for _ in range(steps):
        new = scores.masked_fill(~real[:, None], -1e9).softmax(-1)
        moved = (probabilities(new, values, before) - sure).abs().amax(-1)
        goal = total_variation(new, weights) - 20 * (moved - 0.005).clamp_min(0)
        (scores.grad,) = torch.autograd.grad(-goal.sum(), scores)
        optimizer.step()
    return new.detach(), moved.detach()


# %% [markdown]
# We compare them with uniform and with shuffled weights.

# %% folded=true
# the three kinds of weights
indices = batches[len(batches) // 2]  # one batch, of sentences of like length
weights, values, before, real = at_the_end(indices)
even = (real / real.sum(-1, keepdim=True))[:, None].expand_as(weights)
steps = 20 if size.name == "ci" else 300
new, _ = adversarial(weights, values, before, real, steps)
others = {"uniform": even, "shuffled": shuffled(weights, real), "adversarial": new}


# %% folded=true
def logits_with(weights):
    """Answers with these weights in the last layer."""
    return answer(torch.einsum("bht,bhtd->bhd", weights, values), before)


# %% folded=true
# how far apart the weights are, and the answers
with torch.inference_mode():
    own = logits_with(weights)
    for name, other in others.items():
        away, logits = total_variation(other, weights), logits_with(other)
        moved = (logits.softmax(-1) - own.softmax(-1)).abs().amax(-1)
        change = margin(logits, labels[indices]) - margin(own, labels[indices])
        print(f"{name:>11}: distance {away.median():.2f} (median, of 1)", end=", ")
        print(
            f"probability within .01 for {(moved < 0.01).sum()} of {len(moved)}", end=""
        )
        print(f", margin by {change.abs().median():.2f}")

# %% [markdown]
# Look at the last row: the adversarial weights share next to nothing with the true
# ones, and yet every probability moves by less than 0.01. Uniform weights do as well
# for some of the sentences. (This is the last layer. L3H9 was not tested so.)
#
# ## Appendix G. One prediction on fresh sentences
#
# L3H9 was picked with hindsight, so it deserves one test on sentences that no choice of
# this lesson has seen. The prediction, fixed beforehand: *of all 72 heads, silencing
# L3H9 costs the most margin, more than the runner-up of the dev sentences.*

# %% folded=true
# the test: L3H9 and the runners-up on fresh sentences
fresh = al.Evaluator(clf, fresh_texts, fast=True)
final, start = al.ablate(fresh), fresh.score()
place = final["margin_delta"].rank()[followed].item()
print(f"L3H9 is number {place:.0f} of {len(final)} by margin, on {start.n} sentences")
others = [one for one in map(tuple, top.tolist()) if one != (3, 9)][:3]
once = {
    f"without L{layer}H{head}": fresh.compare(start, without((layer, head)))
    for layer, head in [(3, 9), *others]
}
al.plots.forest(once, title="Fresh sentences, one head silenced")

# %% [markdown]
# First in rank is half of the prediction. The other half is the difference from the
# runner-up, on the same sentences.

# %% folded=true
# L3H9 against the runner-up
gap = fresh.compare(without(others[0]), without((3, 9)))
held = gap.margin_ci[1] < 0 and place == 1
runner_up = "L{}H{}".format(*others[0])
print(f"L3H9 against {runner_up}, paired: {with_interval(gap.margin_change)}")
print("the prediction", "holds" if held else "is not confirmed")

# %% [markdown]
# And accuracy? The last row takes all three samples together.

# %% folded=true
# accuracy without L3H9 on three samples
gained, lost, n = 0, 0, 0
for name, one in (("dev", fast), ("test", test), ("fresh", fresh)):
    answers = one.compare(None, without((3, 9))).test
    gained, lost, n = gained + answers.gained, lost + answers.lost, n + answers.n
    print(f"accuracy without L3H9, {name}: {100 * answers.delta:+.1f} points", end=" ")
    print(f"[{100 * answers.low:+.1f}, {100 * answers.high:+.1f}]")
low, high = statistics.paired_interval(gained, lost, n)
print(f"all {n}: {100 * (gained - lost) / n:+.1f} points", end=" ")
print(f"[{100 * low:+.1f}, {100 * high:+.1f}]", end=", ")
print(statistics.p_text(statistics.mcnemar(gained, lost)))

# %% [markdown]
# No sample alone shows a clear loss of answers.
#
# <details><summary>Is that proof of no loss?</summary>
#
# No. 500 sentences can show a change of about two points, all together about one.
# L3H9's change lies there, at the edge (interval and p-value come from two methods).
# Only *fresh* had no part in singling out L3H9, so the sum flatters it a little.
#
# </details>
#
# (By its *mean* margin, L3H9 could also be first in confidence alone. Appendix A takes
# the two apart.)
#
# ## Appendix H. Two more questions about half of the heads
#
# ### What if heads go by the loss?
#
# In section 8 your function estimated the margin that is lost. Given the loss itself,
# it estimates the loss that silence would cost. The forest plot adds the half that goes
# first by it.


# %% folded=true
def loss_of_each(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


by_loss = importance_of(of_model(loss_of_each), batches, *shape).numpy()
for name, one in (("dev", sweep), ("test", again)):
    rank = stats.spearmanr(by_loss.ravel(), one["loss_delta"]).statistic
    print(f"estimated loss against silencing on {name}: ρ = {rank:.2f}")
print(f"L3H9: estimate {by_loss[3, 9]:+.4f} nats, silenced on dev {here:+.4f}")
first_half = least_first(by_loss)[: len(sweep) // 2]
half["loss, estimated"] = test.compare(base, without(*first_half))
al.plots.forest(half, title=f"Half of the heads gone, {base.n} test sentences")

# %% [markdown]
# The pass ranks the heads like the sweep on the *same* sentences, but only weakly like
# that on test. (The sweep on dev is no safer guide, appendix A.) And as an order it
# misleads: it costs far more answers than the random one. An order without any meaning
# would be only as bad as random. So the desk of section 1 is coloured by margin.
#
# <details><summary>Why may the loss mislead? Our reading</summary>
#
# Near $s = 1$ a head that makes a slightly too sure model surer can look harmful, and
# then goes first. L3H9 may be such a head: its estimate is slightly below 0, while
# silencing it raised the loss on dev. (On test its cost in loss cannot be told from 0:
# appendix A.)
#
# </details>
#
# ### Is the model faster without half of its heads?
#
# Both models answer the same sentences, in rounds in which they run in turn. A busy
# moment then hits both.

# %% folded=true
# both models in turn
encoded, models = smaller.encode(sample), {"all heads": clf, "half": smaller}
times = {name: [] for name in models}
for _ in range(9):  # in turn, so that a busy moment hits both
    for name, one in models.items():
        start = time.perf_counter()
        one.logits(encoded)
        times[name].append(1000 * (time.perf_counter() - start))
ratio = np.array(times["half"]) / np.array(times["all heads"])  # of each round
faster, p = (ratio < 1).sum(), stats.binomtest((ratio < 1).sum(), len(ratio)).pvalue
print(f"with half of the heads: {np.median(ratio):.2f} of the time (median)", end=", ")
print(f"faster in {faster} of {len(ratio)} rounds, {statistics.p_text(p)}")

# %% [markdown]
# Half of the heads is far from half of the time: the feed-forward layers stay, with two
# thirds of each layer's weights. (Lesson [09](09_compression.ipynb) takes those, too.)
# On a busy machine nine rounds may be too few to show a gain at all.

# %%
al.checks.summary("head_mixing")
