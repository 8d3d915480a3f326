# %% [markdown]
# # Start here: look inside a BERT, then change it
#
# **How does a language model get from words to an answer, and what does a wrong answer
# depend on?** BERT is a model that reads a whole text at once. Ours is MiniLM, a small
# relative of the same design, which has learned to tell praise from complaint in film
# reviews. You follow a sentence through it, then change its attention.
#
# Afterwards you can
#
# - say what tokens, vectors, queries, keys, values and attention weights are;
# - read a picture of attention;
# - turn single heads down, and say whether a change is larger than chance.
#
# Time: 25 minutes to read, 20 for the tasks. You need no other lesson. Choose **Run →
# Run All Cells**, then read.

# %% [markdown]
# ## 1. A mistake
#
# Does the model judge these two sentences as you would? Add your own below them, with
# labels, and run the second cell again. (The text that follows speaks of the first.)

# %%
import matplotlib.pyplot as plt
import numpy as np

import attnlab as al

clf = al.load_classifier("movie-sentiment")
print(clf)

# %%
meant = {
    "Two hours of my life that I would like to have back.": "negative",
    "The plot is thin, but the acting is a joy.": "positive",
}
texts = list(meant)
answers = clf.predict(texts)
for text, label, p in zip(texts, answers.labels, answers.probabilities, strict=True):
    verdict = "right" if label == meant[text] else f"wrong, should be {meant[text]}"
    print(f"{label} ({p.max():.0%}, {verdict})  {text}")

# %% [markdown]
# The first sentence is a complaint, and the model takes it for praise. Why?
#
# ## 2. How the model reads
#
# How does a sentence become an answer? The upper half of the picture shows the whole
# path, the lower half one **head**, the part in which tokens look at each other.

# %%
from attnlab.show import drawings

drawings.whole_path(clf.layers, clf.heads, clf.model.config.hidden_size)

# %% [markdown]
# The upper half, from left to right:
#
# - **Tokens** are words, pieces of rare words, and marks such as the full stop, here
#   all in lower case. `[CLS]` marks the beginning of the text, `[SEP]` its end.
# - Each token becomes a **vector**, a list of numbers, here 384. A vector for its
#   position in the text is added.
# - In each **layer** the heads work side by side. Then a *feed-forward network* works
#   on each token alone. At each `+` the result is added to the token's vector, and the
#   sum brought back to a standard size (*LayerNorm*, lesson 02).
# - The **read-out**, a small trained network, turns the vector of `[CLS]` after the
#   last layer into a number for each label, and these into probabilities.
#
# A head is like a library. You bring a question (the **query**). Each book has a title
# (the **key**) and a text inside (the **value**). The better a title fits, the more you
# read of that book. In BERT every token asks, and every token is a book. The lower
# half, with 2 numbers to a vector instead of 32:
#
# 1. The head multiplies each token's vector by three *matrices*, tables of learned
#    numbers. That makes its query (what it looks for), its key (what it can be found
#    by) and its value (what it passes on).
# 2. A token looks: its query, (2, 1), is compared with every key. That of *hours* is
#    (1, 1). Multiply number by number, add up (the *dot product*), and divide by the
#    square root of how many numbers there are: (2 · 1 + 1 · 1) / √2 = 2.12. *life*
#    scores 0.71, *back* 1.41.
# 3. The **softmax** turns scores into positive **attention weights** that sum to 1. It
#    raises $e$ to each score: 8.3, 2.0 and 4.1, together 14.5. *hours* gets its share,
#    8.3 / 14.5 = 0.58.
# 4. The head hands the token all values, mixed by these weights: 0.58 · (2, 0) + 0.14 ·
#    (0, 2) + 0.28 · (1, 1) = (1.44, 0.56).
# 5. The mixtures of all 12 heads, 32 numbers each, stand side by side: 384 again. One
#    more matrix, $W_O$, mixes them, and the result goes to the `+`.
#
# ## 3. Step through your sentence
#
# Here is the same path with the model's own numbers, in six steps. Press *Next*, and
# read the line above the picture. Then type a sentence of your own. (Where nothing
# runs, a picture shows all six side by side.)
#
# You look into head 9 of layer 3, *head 3.9* for short; both are counted from 0. Its
# attention weights changed most when *this* model learned to judge reviews (lesson 05;
# in another run it could be another head). The menus choose others.

# %%
steps = al.FlowDesk(clf, texts[0], layer=3, head=9)
steps

# %% [markdown]
# What to notice (red is above 0, blue below):
#
# - **Step 3.** The value of `[CLS]` is pale: in this head it is nearly empty. A token
#   that looks at `[CLS]` takes almost nothing from it (more in lessons 02 and 06).
# - **Step 4.** *i* looks, and *hours* gets the largest weight, 0.32. Click other
#   tokens: each shares out its attention in its own way.
# - **Step 6.** The read-out is tried after each layer, but was trained for the last one
#   only. Where it stays near 50 %, the layer may still know something.

# %% [markdown]
# ## 4. Which words make the answer?
#
# Attention shows where the model looks, not what its answer depends on. To find that
# out, change something and measure. Leave out each word in turn, and ask again.
# *Predict first:* which word matters most?

# %%
words = texts[0].replace(".", " .").split()
shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
masked = [" ".join([*words[:i], "[MASK]", *words[i + 1 :]]) for i in range(len(words))]
whole = clf.predict(texts[:1]).probabilities[0, 1]
change = 100 * (clf.predict(shorter).probabilities[:, 1] - whole)
half = 50 - 100 * whole  # a change beyond this turns the answer
turns = (change < half) == (half < 0)
turns_masked = (clf.predict(masked).probabilities[:, 1] < 0.5) == (half < 0)
print("turns with [MASK] for:", ", ".join(np.array(words)[turns_masked]) or "no word")

# %%
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.barh(range(len(words)), change, color=np.where(turns, "0.13", "0.65"))
axes.set_yticks(range(len(words)), words)
axes.invert_yaxis()
axes.axvline(0, color="0.3", lw=1)
axes.axvline(half, color="0.3", lw=1, ls=":")
place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
axes.annotate("50 %", (half, 1), (0, 5), ha="center", fontsize=9, **place)
axes.set(xlabel="change of “positive” without the word (percentage points)")
axes.spines[["top", "right", "left"]].set_visible(False)
turning = ", ".join(np.array(words)[turns]) or "no word"
alt = f"Change of “positive” ({whole:.0%}) without each word; turning: {turning}."
al.plots.show(figure, alt=alt)

# %% [markdown]
# A bar to the left is a word that “positive” needs; without one to the right the answer
# would be more positive still. Dark bars pass the dotted line at 50 %: without one of
# these words the answer turns. Even a large bar may come from the hole: without *I*
# this is no longer English. So each word was also replaced by `[MASK]`, BERT's sign for
# a hidden word. The same two turn the answer; why, this does not show.

# %% [markdown]
# ## 5. One head, and all of them
#
# What do heads look at? Here is head 3.9 again, drawn by *bertviz*. A line runs from a
# token (left) to one it looks at (right); the stronger, the more weight. Point at a
# token to see its lines alone. (Where nothing runs, a heat map of the same weights
# stands here: each row is a token that looks, each column one looked at.)

# %%
maps = clf.attend(texts[0])
al.attention_view(maps, layer=3, heads=[9])

# %% [markdown]
# `[CLS]`, from which the answer is read, gives 0.97 of its weight to itself, a nearly
# empty value. What this head does reaches the answer through the other tokens, at which
# `[CLS]` looks in later layers.
#
# Now all 72 heads at a glance, each as a small heat map. Bright means more weight, on a
# scale that shows small weights too. *Predict first:* which token is looked at most?

# %%
al.plots.attention_grid(maps)

# %% [markdown]
# Look for two patterns. A bright **column**: all tokens look at the same one, in this
# model mostly at `[CLS]`, the left edge of a map. A bright **diagonal**: each token
# looks at itself or at a neighbour. The clearest is head 0.2. Here it is large:

# %%
al.plots.attention_map(maps, layer=0, head=2)

# %% [markdown]
# Each token looks at the one before it: a *previous-token head*. Lessons 02 and 07 say
# what such heads do.

# %% [markdown]
# ## 6. Change it: the mixing desk
#
# What becomes of the answers when a head changes? The mixing desk has a *fader*, a
# slider, for each. At 1 the head is as trained, at 0 silent, at 2 it counts double.
# Move one, and you see
#
# - the **attention** of that head: weights × scale (at 0 the map is dark);
# - the **answer** for your sentence; a mark shows that of the untouched model;
# - **accuracy on held-out reviews**, which the model was not trained on: first a quick
#   estimate (unreliable for large changes), then a measurement. *Gained* and *lost* are
#   the answers that became right, and wrong.
#
# The bar is the **95 % interval** of the change, in percentage points. With other
# reviews the change would be a little different; of 100 such bars about 95 cover the
# true one. If the bar contains 0, the choice of reviews alone could explain the change.
#
# The colour behind a fader estimates how the **loss** would change without this head:
# red, it would rise; blue, it would fall. (The loss is minus the logarithm of the
# probability given to the right label, on average, in *nats*.) The numbers are small:
# no colour proves anything.

# %%
reviews = al.datasets.load("movie-sentiment").dev
count = al.device.profile().sentences
desk = al.HeadMixer(clf, reviews, texts[0], sentences=count)
desk.look = desk.look | {"layer": 3, "head": 9}  # whose attention is shown
desk

# %% [markdown]
# One case, worked: head 3.9 at 0. (After *Run All* the desk above shows it already.)
# Decide which head you ask about *before* you look. Of 72 heads without any true effect
# on accuracy, three or four intervals would still leave out 0, by luck. For this
# sentence we did look first, at all 72: so what 3.9 does to it is no evidence about
# reviews. The held-out change is.

# %%
desk.preset("silence", place=(3, 9))
found = desk.wait().accuracy
delta, low, high = (100 * found[name] for name in ("delta", "low", "high"))
print(f"Head 3.9 at 0: {delta:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}.")
if low <= 0 <= high:
    print("The interval contains 0: the choice of reviews alone could explain this.")
else:
    print("The interval leaves out 0, as for 1 in 20 heads by chance alone.")
answer = clf.predict(texts[:1], desk.settings)
print(f"“{texts[0]}” is now {answer.labels[0]} ({answer.probabilities[0].max():.0%}).")

# %% [markdown]
# An interval that contains 0 does not prove “no effect”: accuracy changes only where an
# answer crosses 50 %. Lesson 06 measures how sure the model is; there this head stands
# out. And in this sentence? Here is each of the 72 heads at 0, one at a time:

# %%
fall = np.zeros((clf.layers, clf.heads))
for layer, head in np.ndindex(fall.shape):
    settings = clf.settings()
    settings.scale[layer, head] = 0
    without = clf.predict(texts[:1], settings).probabilities[0, 1]
    fall[layer, head] = 100 * (whole - without)
title = "How far “positive” falls without each head (red: the answer needs it)"
al.plots.head_map(fall, label="fall, percentage points", title=title)

# %% [markdown]
# Only without 3.9 does it fall below 50 %. A change need not be the loss of what a head
# knew: a silent head also sends on something that the model never met in training
# (lesson 06).
#
# Now you. Press *All neutral* before each task.
#
# 1. **Silence one head.** Say what you expect, click on its fader and press `0`. Does
#    the interval leave out 0?
# 2. **Silence all heads of a layer**: click its name at the left. Try the last layer,
#    then the first. Which layer's heads cost more?
# 3. **Silence a random half** of the heads, several times.
# 4. **Repair the mistake** without head 3.9: find other faders that turn the answer to
#    “negative”. What does your repair cost on the held-out reviews?
#
# <details><summary>What we saw, on all 1,000 held-out reviews</summary>
#
# 1. Head 5.9, the darkest red: −0.7 points (−1.7 to +0.3). Head 0.2, the previous-token
#    head: −0.4 (−1.3 to +0.5). Both intervals contain 0. Lesson 06 tries all 72.
# 2. The last layer's: −12 points (−14 to −9). The first's: −1.7, with an interval that
#    just reaches 0: a loss is neither shown nor ruled out.
# 3. Eight random halves: from −3 to −14 points, no interval contains 0. It matters much
#    which half it is.
# 4. Only head 3.9 turns the answer alone. Heads 3.2 and 4.3 at 0 and head 1.11 at 2 do
#    it together, at −0.1 points (−1.0 to +0.8): 9 reviews gained, 10 lost. That repairs
#    one sentence, not the model.
#
# </details>

# %% [markdown]
# ## 7. Is the control real?
#
# Does a fader do what it says? `self_check` tries the faders of one head of this model
# on made-up tokens, and compares **logits**, the numbers for the labels before they
# become probabilities.

# %%
found = al.heads.self_check(clf)
for name, words in {
    "neutral - untouched": "all faders at 1, against the untouched model",
    "scale 0 - columns removed": "a head at 0, against that head cut out by hand",
    "scale 0 - neutral": "a head at 0, against all at 1 (must not be 0)",
    "afterwards - before": "the model afterwards, against the model before",
}.items():
    print(f"largest difference of a logit {found[name]:.2g}: {words}")

# %% [markdown]
# So for the head it tried the control is real: neutral faders change nothing, silent is
# as good as cut out, and afterwards the model is as before. Faders can also be set in
# code; *Copy as code* on the desk writes it. Every call inside the `with` block uses
# the changed model. *Predict first:* what becomes of the two answers without the heads
# of the last layer?

# %%
settings = clf.settings()
settings.scale[clf.layers - 1] = 0  # all heads of the last layer

with al.heads.applied(clf, settings):
    changed = clf.predict(texts)
print("“positive”, as trained and with the heads of the last layer silent:")
pairs = zip(texts, answers.probabilities, changed.probabilities, strict=True)
for text, before, after in pairs:
    print(f"{before[1]:.0%} -> {after[1]:.0%}  {text}")

# %%
held_out = reviews.sample(count)
print(f"On {len(held_out):,} held-out reviews:")
for name, how in {"as trained": None, "last layer's heads silent": settings}.items():
    found = clf.predict(held_out.texts, how).probabilities
    right = (found.argmax(1) == held_out.labels).mean()
    print(f"{right:.0%} right, on average {found.max(1).mean():.0%} sure ({name})")
commoner = np.bincount(held_out.labels).max() / len(held_out)
print(f"{commoner:.0%} right (always the commoner label)")

# %% [markdown]
# Both probabilities fall to about 50 %. That is not guessing: far more answers are
# right than if always the same were given. So part of the answer reaches `[CLS]`
# without these heads. But most of its *certainty* depends on them.
#
# ## 8. What you have found
#
# - **How words become an answer:** tokens and vectors; in layer after layer queries,
#   keys, values, weights and mixtures; then the read-out of `[CLS]`.
# - **What this wrong answer depends on:** most on *life* and *I* (without either it
#   turns), less on others; of 72 heads only 3.9 turns it alone. Without the last
#   layer's heads nearly all answers are unsure, right or wrong: they are no reason for
#   this mistake.
# - **Not found:** why these words count as praise. That comes from training (lessons 05
#   and 06).
#
# ## 9. The lessons
#
# Take the twelve in this order, or pick.
#
# | lesson | you learn | minutes |
# | --- | --- | --- |
# | [01 Maths](01_attention_maths.ipynb) | what a head computes, derived | 180 |
# | [02 From scratch](02_attention_from_scratch.ipynb) | to rebuild BERT | 120 |
# | [03 Translation](03_translation.ipynb) | encoder and decoder | 120 |
# | [04 Language model](04_language_model.ipynb) | a small GPT, trained | 150 |
# | [05 Fine-tuning](05_finetune_bert.ipynb) | to teach BERT a task | 130 |
# | [06 Head mixing](06_head_mixing.ipynb) | which heads matter | 150 |
# | [07 Balance](07_attention_balance.ipynb) | how attention is spread | 80 |
# | [08 Economics](08_attention_economics.ipynb) | the best in a budget | 150 |
# | [09 Compression](09_compression.ipynb) | what can be taken away | 140 |
# | [10 Beyond text](10_beyond_text.ipynb) | attention to pictures | 150 |
# | [11 Adaptive](11_adaptive_attention.ipynb) | attention that adapts | 150 |
# | [12 Capstone](12_capstone.ipynb) | to judge claims and results | 120 |
#
# In the lessons you write code, and a cell such as `al.checks.softmax(softmax)` says
# what is right or wrong.
#
# **Next:** [lesson 01](01_attention_maths.ipynb) derives what a head computes. To keep
# what you found at the desk, move something there, then run this cell again:

# %%
print(desk.settings.to_code())
