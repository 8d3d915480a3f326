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
#   accuracy on sentences the model never saw;
# - say when a change is larger than chance.
#
# Choose **Run → Run All Cells**, then read on. Nothing here needs a network.

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
# sentences and run the cell again.

# %%
texts = [
    "The plot is thin, but the acting is a joy.",
    "Two hours of my life that I would like to have back.",
]
answers = clf.predict(texts)
for text, label, p in zip(texts, answers.labels, answers.probabilities, strict=True):
    print(f"{label} ({p.max():.0%})  {text}")

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
# - the **attention picture** of the layer you touched (weights × scale, which is what
#   the next layer receives);
# - the **answer** for your sentence, beside the answer of the untouched model;
# - **accuracy on held-out reviews**: at once a first-order estimate, which is a guess
#   far from neutral, then measured on more and more reviews, until all are. The bar
#   under it is the 95 % interval of the change: as long as it reaches across 0, chance
#   alone could explain it.
#
# After some seconds colours appear behind the faders: how much the loss depends on each
# head, to first order (lesson 06 says how one knows).

# %%
reviews = al.datasets.load("movie-sentiment").dev
desk = al.HeadMixer(clf, reviews, texts[0], sentences=al.device.profile().sentences)
desk

# %% [markdown]
# Things to try, a minute each:
#
# 1. **Silence one head.** Focus a fader and press `0`. Does accuracy move by more than
#    its interval? Try a few others. What do you conclude about a single head?
# 2. **Silence a whole layer**: the last one, then (after *All neutral*) the first.
#    Which of the two can the model do without?
# 3. **Random half.** Half of all heads go. Press it again for another half.
# 4. **Temperature.** Press *Temperature*: now the faders divide a head's scores before
#    the softmax. To the left a head looks at fewer tokens, to the right at all alike.
#    Turn one head far to the right; choose *map: head* and *difference from neutral*.
# 5. Write a sentence the model gets wrong. Can you find faders that mend it? Then look
#    at accuracy: what did your repair cost elsewhere?

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
# A desk that only *looked* connected would be worse than none. So the package proves it
# on this very model: neutral faders change nothing, scale 0 equals cutting the head's
# columns out of the model, and afterwards everything is as it was.

# %%
for what, difference in al.heads.self_check(clf).items():
    print(f"{difference:9.1e}  {what}")

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
# - The other lessons train a translator, fine-tune BERT, and treat attention as
#   something scarce: how evenly it is spread, what it costs, what can be taken away.
#   The README says which of them are there.
#
# In the lessons you write code. A cell such as `al.checks.softmax(softmax)` says what
# is right or what went wrong, and `al.checks.summary()` keeps the score.
#
# Each lesson is one notebook, and each has a module of the same subject in `attnlab`.
# The settings at the desk are yours to keep:

# %%
print(desk.settings.to_code())
