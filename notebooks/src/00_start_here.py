# %% [markdown]
# # Start here: a BERT on the mixing desk
#
# **What does a language model look at when it reads, and what happens if you change
# that?** Here is a real BERT that has learned to tell praise from complaint in film
# reviews. In the next ten minutes you look into its attention, and then you take hold
# of it: one fader for every attention head.
#
# Afterwards you can
#
# - read a picture of attention, as lines and as a map;
# - scale, sharpen and silence single heads, and see what that does to one answer and to
#   accuracy on sentences the model was not trained on;
# - say when a change is larger than chance.
#
# Choose **Run → Run All Cells**, then read on. Once the data are there (the command in
# the README fetches them), nothing here needs a network.

# %% [markdown]
# ## 1. Meet the model

# %%
import attnlab as al

clf = al.load_classifier("movie-sentiment")
clf

# %% [markdown]
# That is BERT: every sentence passes through its layers one after another, and each
# layer holds several *attention heads* side by side. A head decides, for every token,
# which other tokens to take information from. Ask the model something; change the
# sentences, and what they mean, and run the cell again.

# %%
meant = {
    "The plot is thin, but the acting is a joy.": "positive",
    "Two hours of my life that I would like to have back.": "negative",
}
texts = list(meant)
answers = clf.predict(texts)
for text, label, p in zip(texts, answers.labels, answers.probabilities, strict=True):
    verdict = "right" if label == meant[text] else f"wrong, should be {meant[text]}"
    print(f"{label} ({p.max():.0%}, {verdict})  {text}")

# %% [markdown]
# Not every answer is right, and a high probability does not make it so: *wrong* says
# that a reader would judge otherwise. How often that happens the desk below measures,
# on reviews the model was not trained on. Keep a wrong answer for its last experiment.

# %% [markdown]
# ## 2. See what it looks at
#
# For each token a head spreads a weight of 1 over all tokens. In the picture each line
# runs from a token (left) to one it looks at (right); the stronger the line, the more
# weight. Every colour is a head. Point at a word to see its lines alone, double-click a
# coloured square to see one head, and choose another layer at the top.
#
# `[CLS]` and `[SEP]` mark the beginning and the end. The answer is read off `[CLS]`
# after the last layer.

# %%
maps = clf.attend(texts[0])
al.attention_view(maps, layer=clf.layers - 1)

# %% [markdown]
# ## 3. Take hold of it
#
# This is the mixing desk. Each fader is one head of one layer. At 1 it is as trained;
# at 0 its voice is gone; at 2 it is twice as loud. Move one with the mouse or the arrow
# keys. At once you see
#
# - the **attention picture** of the layer you touched: weights × scale, by which the
#   values of the tokens are mixed into what a head adds. (The next layer receives more:
#   what all heads add, on top of what was there before.)
# - the **answer** for your sentence, beside the answer of the untouched model;
# - **accuracy on held-out reviews**: first a quick estimate (unreliable for large
#   changes), then a measurement on more and more reviews, finally on all of them. The
#   bar under it is the 95 % interval of the change: while it contains 0, chance alone
#   could explain the change.
#
# Meanwhile the desk estimates, to first order, what silencing each head would do to the
# loss, and then colours the faders: red = needed, blue = better without. Lesson 06 says
# how far such an estimate can be trusted.

# %%
reviews = al.datasets.load("movie-sentiment").dev
desk = al.HeadMixer(clf, reviews, texts[0], sentences=al.device.profile().sentences)
desk

# %% [markdown]
# Things to try, a minute each:
#
# 1. **Silence one head.** Focus a fader and press `0`. Does the interval of the change
#    leave out 0? Try a few others. What do you conclude about a single head?
# 2. **Silence a whole layer**: click its name at the left of the faders, first that of
#    the last layer, then (after *All neutral*) that of the first. Which of the two can
#    the model do without?
# 3. **Silence a random half.** Half of all heads go. Press the button again for another
#    half.
# 4. **Temperature.** Press *Temperature*: now the faders divide a head's scores before
#    the softmax. To the left a head looks at fewer tokens, to the right at all alike.
#    Turn one head far to the right; choose *map: head* and *difference from neutral*.
# 5. Write a sentence the model gets wrong (or take the one from above). Can you find
#    faders that mend it? Then look at accuracy: what did your repair cost elsewhere?

# %% [markdown]
# ## 4. All heads at a glance
#
# How widely does each head look? *Entropy* says it in one number: 0 if every token
# looks at a single token, the logarithm of the number of tokens if all are looked at
# alike. Bright heads spread their attention, dark ones point.

# %%
weights = maps.weights  # (layers, heads, tokens, tokens)
entropy = al.attention.entropy(weights).mean(-1)
al.plots.head_map(entropy, label="mean entropy, nats", title="How widely heads look")

# %% [markdown]
# Pick the head with the lowest entropy and see where it points.

# %%
layer, head = divmod(int(entropy.argmin()), clf.heads)
al.plots.attention_map(maps, layer, head)

# %% [markdown]
# ## 5. Is the control real?
#
# A desk that only *looked* connected would be worse than none. So `self_check` proves
# on this very model that it is, and raises an error if not. Each line is the largest
# difference between two passes over the same tokens, and what it should be:
#
# | line | what is compared |
# | --- | --- |
# | own attention - sdpa | our attention and PyTorch's own |
# | neutral - untouched | neutral faders and none at all |
# | scale 0 - columns removed | a fader at 0, and its head cut out of the weights |
# | scale 0 - neutral | that fader at 0 and at 1: it does something |
# | ... weights under scale | a scale acts after its layer's attention weights |
# | ... weights under temperature | a temperature acts before them |
# | afterwards - before | the model after all this and before it |
# | as you call it: ... | that fader again in `clf` itself; the others used a copy |

# %%
al.heads.self_check(clf)

# %% [markdown]
# The faders are a few lines of code as well. *Copy as code* on the desk gives you them;
# inside the block the model really is changed, whatever you do with it.

# %%
settings = clf.settings()
settings.scale[clf.layers - 1] = 0  # the whole last layer

with al.heads.applied(clf, settings):
    changed = clf.predict(texts)
for before, after in zip(answers.probabilities, changed.probabilities, strict=True):
    print(f"positive: {before[1]:.0%} before, {after[1]:.0%} without the last layer")

# %% [markdown]
# ## 6. Where to go from here
#
# - **[01 The mathematics of attention](01_attention_maths.ipynb)** derives what a head
#   computes, from a look-up table to the last gradient.
# - **[02 Attention from scratch](02_attention_from_scratch.ipynb)** writes it, and
#   rebuilds this very BERT.
# - **[06 Head mixing](06_head_mixing.ipynb)** asks which heads matter, and how one
#   would know.
# - **[03 Translation](03_translation.ipynb)** trains a translator,
#   **[05 Fine-tuning BERT](05_finetune_bert.ipynb)** teaches BERT a task, and
#   **[07 Attention balance](07_attention_balance.ipynb)** asks how evenly attention is
#   spread, and how to find heads that are out of line.
#
# In the lessons you write code. A cell such as `al.checks.softmax(softmax)` says what
# is right or what went wrong, and `al.checks.summary()` keeps the score.
#
# The settings at the desk are yours to keep:

# %%
print(desk.settings.to_code())
