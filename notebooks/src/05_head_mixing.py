# %% [markdown]
# # 05 Head mixing: which heads matter?
#
# **If you silence an attention head and the model still answers well, was the head of
# no use?** You scale, sharpen and silence heads of a fine-tuned BERT, measure on
# sentences it never saw, and learn to tell an effect from chance.
#
# Afterwards you can
#
# - write down where scale and temperature enter the formula of attention, and predict
#   what each can and cannot move;
# - sweep over all heads of a model and read the result with its noise;
# - take heads out for good, and say what that saves.
#
# Time: 40 minutes. You need: [Start here](00_start_here.ipynb).

# %%
import numpy as np

import attnlab as al

clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()

# %% [markdown]
# ## 1. Two knobs in one formula
#
# Head $h$ mixes value vectors with weights that come from a softmax, and the layer adds
# up what its heads bring, each through its own slice $W^O_h$ of the output projection:
#
# $$
# \text{layer}(x) = \sum_h s_h \;
# \underbrace{\text{softmax}\!\Big(\frac{1}{\tau_h}
# \frac{Q_h K_h^\top}{\sqrt{d_k}}\Big)}_{A_h} \, V_h \, W^O_h + b^O
# $$
#
# **Scale** $s_h$ stands in front: it makes the head louder or softer, and at 0 the head
# is gone. **Temperature** $\tau_h$ stands inside: below 1 it sharpens the weights
# $A_h$, above 1 it flattens them. At 1 both are as trained.
#
# From the formula follows something that is easy to get wrong. *Scale cannot change the
# weights of its own layer*: $A_h$ does not contain $s_h$. Later layers read another
# input, so their weights may move. Temperature changes its own layer's weights at once.

# %%
text = "A slow start, yet the ending is worth every minute."
settings = clf.settings()
settings.scale[2, 4] = 0

maps = clf.attend(text, settings)
moved = (maps.weights - maps.neutral.weights).abs().amax(dim=(1, 2, 3))
for layer, change in enumerate(moved):
    print(f"layer {layer}: weights moved by at most {change:.4f}")
assert (moved[:3] == 0).all()  # up to and with the layer of the silenced head
assert (moved[3:] > 0).all()

# %% [markdown]
# Now temperature, at the same place. The row for layer 2 is no longer 0.

# %%
settings = clf.settings()
settings.temperature[2, 4] = 4

maps = clf.attend(text, settings)
moved = (maps.weights - maps.neutral.weights).abs().amax(dim=(1, 2, 3))
for layer, change in enumerate(moved):
    print(f"layer {layer}: weights moved by at most {change:.4f}")
assert moved[2] > 0

# %%
al.plots.before_after(maps, layer=2, head=4)

# %% [markdown]
# ## 2. Weight is not contribution
#
# A large weight on a token matters little if the vector fetched from there is short.
# Kobayashi et al. (2020) therefore look at the length of what is really added,
# $\lVert s_h A_{h,ij} \, v_j W^O_h \rVert$. Compare the two for one layer: much weight
# on `[CLS]`, `[SEP]` or a full stop often contributes less than it seems to.

# %%
al.attention_view(maps.neutral, layers=[3], what="weights")

# %%
al.attention_view(maps.neutral, layers=[3], what="contributions")

# %%
special = maps.special
for what in ("weights", "contributions"):
    picture = maps.neutral.of(what)
    share = picture[..., special].sum() / picture.sum()
    print(f"{what}: {share:.0%} falls on [CLS] and [SEP]")

# %% [markdown]
# ## 3. The desk
#
# Silence heads one at a time and watch the interval of the change. Then silence a whole
# layer. What is different?

# %%
desk = al.HeadMixer(clf, splits.dev, text, sentences=size.sentences)
desk

# %% [markdown]
# ## 4. One head at a time
#
# Now systematically: silence each head in turn and measure. For every head the same
# sentences are used, so the change is *paired*, and its interval is narrower than that
# of two separate scores.

# %%
ev = al.Evaluator(clf, splits.dev.sample(size.sweep_sentences))
print(ev.score())
sweep = ev.sweep(scale=0.0, mode="fast")

# %%
al.plots.head_map(sweep, title="Silencing one head at a time")

# %% [markdown]
# Count before you believe. With this many heads, some would fall outside a 95 %
# interval even if none of them did anything.

# %%
heads = len(sweep)
outside = ((sweep["ci_low"] > 0) | (sweep["ci_high"] < 0)).sum()
print(f"{outside} of {heads} intervals exclude 0; chance alone gives about")
print(f"{0.05 * heads:.1f} on average (fewer with few sentences: answers come whole)")
print(f"smallest p {sweep['p_value'].min():.3f}; for {heads} looks it should be below")
print(f"{0.05 / heads:.4f} (Bonferroni) before we call any head special")

# %% [markdown]
# Accuracy moves in whole answers, so small effects hide in its noise. The *loss* moves
# with every probability and sees more. Which heads raise it?

# %%
sweep.nlargest(5, "loss_delta")[["layer", "head", "delta", "loss_delta"]].round(4)

# %% [markdown]
# ## 5. Many heads at once
#
# If single heads are mostly noise, are heads useless? Silence whole layers. From here
# on we measure on *test* sentences, which the sweep has not seen: heads will be chosen
# by it, and a choice looks better on the sentences it was made with.

# %%
whole = al.Evaluator(clf, splits.test.sample(size.sentences), fast=True)
neutral = whole.score()
for layer in range(clf.layers):
    settings = clf.settings()
    settings.scale[layer] = 0
    print(f"layer {layer} silent:", whole.compare(neutral, settings))

# %% [markdown]
# The last layer is a different matter from any single head: heads cover for each other,
# layers cannot always. A head that is *redundant given the others* is not the same as a
# head that *does nothing*.
#
# And louder is not better, either:

# %%
for factor in (0.25, 0.5, 1, 2, 3):
    settings = clf.settings()
    settings.scale[:] = factor
    print(f"all heads x {factor:<4g}", whole.score(settings))

# %% [markdown]
# ## 6. From fader to real structure
#
# A head at scale 0 still costs its multiplications. `al.heads.prune` cuts it out of the
# weight matrices: the same answers, fewer parameters. Here the half of the heads whose
# silence raises the loss least goes.

# %%
least = sweep.nsmallest(heads // 2, "loss_delta")[["layer", "head"]]
places = [tuple(map(int, place)) for place in least.to_numpy()]
smaller = al.heads.prune(clf, places)

settings = clf.settings()
for layer, head in places:
    settings.scale[layer, head] = 0
silenced = clf.predict(splits.dev.texts[:20], settings).probabilities
cut = smaller.predict(splits.dev.texts[:20]).probabilities
print(f"silenced v cut out: largest difference {np.abs(silenced - cut).max():.1e}")
print(f"parameters: {clf.parameters():,} before, {smaller.parameters():,} after")

# %%
print(whole.compare(neutral, settings))

# %% [markdown]
# Was the choice any good? A random half is the yardstick: if it does as well, the order
# of the sweep was worth little.

# %%
rng = np.random.default_rng(0)
for trial in range(3):
    settings = clf.settings()
    gone = rng.permutation(clf.layers * clf.heads)[: heads // 2]
    settings.scale.view(-1)[gone] = 0
    print(f"random half {trial}:", whole.compare(neutral, settings))

# %% [markdown]
# ## What to take along
#
# - Scale acts on what leaves a head, temperature on where it looks.
# - One head silenced is mostly noise. Say so, with the interval; look at the loss as
#   well; count how many heads you looked at.
# - Redundant is not useless, and a large weight is not a large contribution.
