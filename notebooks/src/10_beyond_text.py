# %% [markdown]
# # 10 Beyond text: pictures, places, and questions about pictures
#
# **Attention knows nothing of words: it reads a row of vectors, whatever they stand
# for. What if they stand for pieces of a picture?** You cut pictures into patches and
# read them with the layers of the earlier lessons. Then one model says what is in a
# picture *and* where, and another lets the words of a question look at a picture. At
# the end you find out whether it looked at all.
#
# Afterwards you can
#
# - turn a picture into a row of tokens, and say why these need positions;
# - train a vision Transformer, and say what it needs where simpler methods do better;
# - tell where a model looks from what its answer depends on;
# - train one model for two answers, a class and a box, and weigh them;
# - let words attend to patches, and compare that with simpler ways to join the two;
# - design an experiment that shows which of two inputs an answer used.
#
# Time: about 150 minutes, 60 of them for six exercises. The cells together compute for
# ten minutes or more on two processor cores. You need lessons
# [02](02_attention_from_scratch.ipynb) and [06](06_head_mixing.ipynb). Choose **Run →
# Run All Cells** first; exercises that are not written yet only say so.

# %%
import copy
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F

# %%
import attnlab as al
from attnlab.datasets import scenes
from attnlab.datasets.splits import Splits
from attnlab.statistics import paired_bootstrap, share_interval

# %%
clf = al.load_image_classifier("mnist-5k")
digits = al.datasets.load("mnist-5k")
size = al.device.profile()
small_run = size.name == "ci"
digits = digits.sample(500, 100, 100) if small_run else digits
print(clf, "| profile", size.name, "on", al.device.device())
print(digits)

# %% [markdown]
# ## 1. Move something first
#
# These classifiers read handwritten digits. Each cuts a picture into square **patches**
# and treats them as a sentence of that many tokens. In front stands a token `[CLS]`,
# as in BERT, and the answer is read from it.

# %%
sizes = ["mnist-5k", "mnist-5k-patch-14", "mnist-5k-patch-4"]
desk = al.PatchDesk([al.load_image_classifier(name) for name in sizes], digits.dev)
desk

# %% [markdown]
# Point at a patch to see where it looks. Go through the layers and heads. Then cover a
# patch: which one changes the answer most, and did the maps tell you so beforehand? And
# what becomes of a digit in patches of 14 pixels, which are four tokens?
#
# ## 2. From pixels to tokens
#
# A picture of $H \times W$ pixels with $C$ channels (1 if it is grey, 3 for red, green
# and blue) is cut into patches of $P \times P$ pixels. There are $N = HW/P^2$ of them,
# and each is a list of $CP^2$ numbers. A linear map turns every list into a vector of
# the model's width. That is all: from here on a patch is a token.


# %%
def pixels(images):
    """Uint8 images (N, 28, 28) as the models read them: -1 to 1, (N, 1, 28, 28)."""
    return torch.tensor(images)[:, None].float() / 127.5 - 1


image, patch = digits.dev.images[0], 7
cells = al.vision.patchify(pixels(image[None]), patch)[0]  # (N, P * P)
with torch.no_grad():
    tokens = clf.model.vit.embeddings(pixels(image[None]))[0]  # (1 + N, E)

# %% folded=true
vlag = sns.color_palette("vlag", as_cmap=True)
figure, axes = plt.subplot_mosaic("ABC", figsize=(9, 2.6), layout="constrained")
axes["A"].imshow(image, cmap="gray")
axes["A"].set(title="28 x 28 pixels", xticks=range(0, 28, 7), yticks=range(0, 28, 7))
axes["A"].grid(color="tab:orange")
axes["B"].imshow(cells, cmap="gray", aspect="auto")
axes["B"].set(title="16 patches of 49 numbers", xlabel="pixel", ylabel="patch")
axes["C"].imshow(tokens, cmap=vlag, aspect="auto", vmin=-3, vmax=3)
axes["C"].set(title="17 tokens, 64 wide", xlabel="component", ylabel="token")
al.plots.show(
    figure, alt="A digit cut into 4 x 4 patches, the patches as rows, tokens."
)

# %% [markdown]
# ### Exercise 1: cut pictures into patches
#
# *Difficulty 2 of 5, 8 minutes.* `images` has shape `(B, C, H, W)`, and `patch` divides
# both H and W. Return `(B, N, C * patch * patch)`: the patches row after row, from the
# upper left, and in each patch the numbers of the first channel, row after row, then
# those of the next. Use no loop: `reshape` and `permute` do it (`reshape` alone does
# not).


# %% exercise="patchify" points=2
def patchify(images, patch):
    """Cut images (B, C, H, W) into patches (B, N, C * patch * patch)."""
    ### BEGIN SOLUTION
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    cells = images.reshape(batch, channels, rows, patch, columns, patch)
    cells = cells.permute(0, 2, 4, 1, 3, 5)  # (B, rows, columns, C, patch, patch)
    return cells.reshape(batch, rows * columns, channels * patch * patch)
    ### END SOLUTION


# %% check="patchify"
al.checks.patchify(patchify)

# %% [markdown] hints="patchify"
# A picture of 28 x 28 pixels in patches of 7: give height and width two axes each, one
# for the patch and one for the pixel inside of it. In which order do they come?
#
# ---
# `images.reshape(B, C, rows, patch, columns, patch)`. In the result, `rows` and
# `columns` must stand side by side, and so must C and both `patch` axes.
#
# ---
# `permute(0, 2, 4, 1, 3, 5)`, then one more `reshape`.

# %%
try:
    own = patchify(pixels(digits.dev.images), 7)  # (500, 16, 49)
    kernel = clf.model.vit.embeddings.patch_embeddings.projection  # a convolution
    by_linear = own @ kernel.weight.flatten(1).T + kernel.bias
    by_kernel = kernel(pixels(digits.dev.images)).flatten(2).transpose(1, 2)
    apart = (by_linear - by_kernel).abs().max()
    print(
        f"your patches, then a linear map, against the model's convolution: {apart:.0e}"
    )
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# Libraries write this step as a **convolution** whose kernel is as large as a patch and
# moves by a whole patch each time. It is the same map.

# %% [markdown]
# What reads these tokens is an encoder that you know. The classifier is a
# `ViTForImageClassification` of the Transformers library. Its weights fit into the
# encoder layers that lesson [03](03_translation.ipynb) translated with, and give the
# same answers:

# %%
ours = al.vision.from_transformers(clf.model)
layer = ours.layers[0]
print(f"{type(layer).__module__}.{type(layer).__name__}:")
print(", ".join(part for part, _ in layer.named_children()))
with torch.no_grad():
    theirs = clf.model(pixels(digits.dev.images)).logits
    apart = (ours(pixels(digits.dev.images)) - theirs).abs().max()
print(f"{len(digits.dev)} digits, largest difference of a logit: {apart:.0e}")
maps = clf.attend(image)
print(
    "attention weights:", tuple(maps.weights.shape), "(layers, heads, tokens, tokens)"
)

# %% [markdown]
# So what worked on the heads of BERT works on these. Turn one down, and accuracy on
# held-out digits follows:

# %%
held_out = digits.dev.sample(100 if small_run else 500)
mixer = al.HeadMixer(clf, held_out)
mixer

# %%
al.plots.effects(al.ablate(al.Evaluator(clf, held_out)))

# %% [markdown]
# ## 3. Where is a patch?
#
# Attention compares every token with every other, wherever they stand. Without
# positions a picture would be a bag of patches. To see what that means, shuffle the
# patches of each picture, in the same order for all.

# %%
order = torch.randperm(16, generator=torch.Generator().manual_seed(1))


def shuffled(images, order=order, patch=7):
    """Uint8 images (N, 28, 28) with their patches in another order."""
    cells = al.vision.patchify(torch.tensor(images)[:, None].float(), patch)
    mixed = al.vision.unpatchify(cells[:, order], 28, 28, patch)
    return mixed[:, 0].byte().numpy()


some = digits.dev.sample(8, seed=3)
al.plots.images(
    np.concatenate([some.images, shuffled(some.images)]),
    alt="Eight digits, and below them the same with their 16 patches shuffled.",
)

# %% [markdown]
# *Predict first:* someone trains four models, each from nothing. Two are vision
# Transformers with positions, one of which sees only shuffled digits. One has no
# positions. The last is a convolutional network that sees only shuffled digits. Which
# of them will read badly?
#
# One loop trains all of them. Small shifts and turns (**augmentation**) make many
# pictures out of few; the patches are shuffled afterwards.


# %%
def small_cnn():
    """Two convolutions and two linear maps: the usual rival."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


usual = al.vision.Augmentation()  # shifts by up to 8 %, turns by up to 12 degrees


def small_vit(**options):
    """A vision Transformer as large as the one above."""
    return al.vision.VisionTransformer(28, 7, 64, 4, 4, 10, **options)


# %%
def batches(data, steps, augment, order):
    """So many batches of 64 images with their labels, changed at random."""
    x, y = pixels(data.images), torch.tensor(data.labels)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        batch = augment(x[rows]) if augment else x[rows]
        if order is not None:
            cells = al.vision.patchify(batch, 7)[:, order]
            batch = al.vision.unpatchify(cells, 28, 28, 7)
        yield batch, y[rows]


# %%
def train(make, data, steps, augment=usual, order=None, rate=2e-3):
    """Train a new model for so many steps, and return it."""
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for images, labels in batches(data, steps, augment, order):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


# %%
def right(model, images, labels):
    """Which images a model reads correctly: bool array (N,)."""
    with torch.no_grad():
        return (model(pixels(images)).argmax(-1) == torch.tensor(labels)).numpy()


# %%
steps = 3 if small_run else 500
models = {
    "ViT": train(small_vit, digits.train, steps),
    "ViT, shuffled": train(small_vit, digits.train, steps, order=order),
    "ViT, no positions": train(
        lambda: small_vit(positions="none"), digits.train, steps
    ),
    "CNN": train(small_cnn, digits.train, steps),
    "CNN, shuffled": train(small_cnn, digits.train, steps, order=order),
}

# %%
views = {"as they are": digits.dev.images, "shuffled": shuffled(digits.dev.images)}
rows = {
    name: [
        100 * right(model, images, digits.dev.labels).mean()
        for images in views.values()
    ]
    for name, model in models.items()
}
columns = [f"dev digits {view} (%)" for view in views]
pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(1)

# %%
with torch.no_grad():
    plain, mixed = (models["ViT, no positions"](pixels(v)) for v in views.values())
    positions = models["ViT"].positions[0]
print(f"no positions: answers differ by at most {(plain - mixed).abs().max():.0e}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Without positions, a model gives shuffled digits exactly the answers that it gives
# whole ones. It still reads many of them, since some strokes are telling by themselves.
#
# A Transformer *with* positions that was trained on shuffled digits reads these about
# as well as the other one reads whole digits. It does not know which patches are
# neighbours. It has a vector for each place, and learns from data what they have to do
# with each other; one order is as good as another.
#
# Did you expect the convolutional network to fail? Its first layers look at
# neighbouring pixels only. But within a patch neighbours are still neighbours, and its
# last linear maps see all places at once.
#
# </details>

# %% [markdown]
# ### Exercise 2: positions in two dimensions
#
# *Difficulty 3 of 5, 10 minutes.* In lesson [01](01_attention_maths.ipynb) a position
# $p$ became sines and cosines of $p\,\omega_i$. A patch has two positions, its row and
# its column. Give half of the width to each: the first half of a vector tells the row,
# the second half the column. Within a half of width $m$ the components are,
# alternately, $\sin(p\,\omega_i)$ and $\cos(p\,\omega_i)$ with $\omega_i =
# 10000^{-2i/m}$, $i = 0, 1, \dots, m/2 - 1$. Return a float32 tensor `(rows * columns,
# width)`, row after row of patches; `width` is a multiple of 4. The ready-made
# `sinusoidal_positions_2d` is not allowed; you may write a helper function.


# %% exercise="positions_2d" points=3
def positions_2d(rows, columns, width):
    """Sinusoidal positions of patches: (rows * columns, width), float32."""
    ### BEGIN SOLUTION
    half = width // 2
    rates = 10000.0 ** (-torch.arange(0, half, 2) / half)  # (half / 2,)

    def along(count):
        angles = torch.arange(count)[:, None] * rates  # (count, half / 2)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    of_row = along(rows)[:, None].expand(rows, columns, half)
    of_column = along(columns)[None].expand(rows, columns, half)
    return torch.cat([of_row, of_column], dim=-1).flatten(0, 1).float()
    ### END SOLUTION


# %% check="positions_2d"
al.checks.positions_2d(positions_2d)

# %% [markdown] hints="positions_2d"
# Write the one-dimensional positions first, `(count, width // 2)`, and use them twice.
#
# ---
# Every patch of a row has the same first half: repeat it along the columns with
# `[:, None].expand(rows, columns, half)`. And the second half?
#
# ---
# `torch.cat([of_row, of_column], -1)` is `(rows, columns, width)`; flatten the first
# two axes. `torch.stack([sin, cos], -1).flatten(1)` makes sines and cosines take turns.

# %%
try:
    ours_2d, whose = positions_2d(4, 4, 64), "yours"
except Exception:  # whatever your answer does, the lesson goes on
    ours_2d, whose = al.attention.sinusoidal_positions_2d(4, 4, 64), "ours, for now"
alike = {
    f"written ({whose})": F.cosine_similarity(ours_2d[5:6], ours_2d, dim=-1),
    "learned": F.cosine_similarity(positions[-11:-10], positions[-16:], dim=-1),
}
al.plots.image_maps(
    digits.dev.images[0],
    {name: row.reshape(4, 4).detach().numpy() for name, row in alike.items()},
    label="cosine similarity to row 1, column 1",
    alt="How similar positions are to that in row 1, column 1.",
)

# %% [markdown]
# What is written down is alike along rows and columns before anything was learned. Can
# you see the same in the positions that training found?

# %% [markdown]
# ## 4. Few pictures
#
# The first vision Transformers were trained on hundreds of millions of photographs.
# Here are 4,000 digits. How do they fare against what is simple? The rivals are the
# nearest training picture (**1-nearest-neighbour**), logistic regression on pixels, and
# the convolutional network, which took as many steps. Two variants of the Transformer
# stand beside them: one without augmentation, and one with a convolutional **stem**,
# small convolutions in front of the patches, which build in some knowledge of
# neighbours.

# %%
parts = {part: getattr(digits, part) for part in ("train", "dev", "test")}
flat = {part: data.images.reshape(-1, 784) / 255 for part, data in parts.items()}
labels = {part: np.array(data.labels) for part, data in parts.items()}
nearest = KNeighborsClassifier(1).fit(flat["train"], labels["train"])
linear = LogisticRegression(max_iter=300).fit(flat["train"], labels["train"])
answers = {
    "1-nearest-neighbour": nearest.predict(flat["dev"]) == labels["dev"],
    "logistic regression": linear.predict(flat["dev"]) == labels["dev"],
}

# %%
few = digits.train.sample(100 if small_run else 1000)
models |= {
    "ViT, no augmentation": train(small_vit, digits.train, steps, augment=None),
    "ViT, stem": train(lambda: small_vit(stem=True), digits.train, steps),
    "ViT, a quarter of the data": train(small_vit, few, steps),
    "CNN, a quarter of the data": train(small_cnn, few, steps),
}
answers |= {
    name: right(model, digits.dev.images, labels["dev"])
    for name, model in models.items()
    if "shuffled" not in name
}


# %%
def beside(answers, name):
    """Accuracy in %, and its difference to that of ``name`` on the same images."""
    rows = []
    for rival, correct in answers.items():
        change = 100.0 * correct - 100.0 * answers[name]
        rows.append(
            (rival, 100 * correct.mean(), change.mean(), *paired_bootstrap(change))
        )
    columns = ["", "accuracy (%)", f"beside {name} (points)", "from", "to (95 %)"]
    return pd.DataFrame(rows, columns=columns).set_index("").round(1)


# %%
answers["ViT, 5,000 steps"] = right(
    lambda x: clf.model(x).logits, digits.dev.images, labels["dev"]
)
beside(answers, "ViT")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The convolutional network wins, and a stem of small convolutions takes the Transformer
# to about where it is. That is what knowledge of neighbours is worth when training is
# short. The plain Transformer does no better here than the nearest training picture.
#
# Compare that with augmentation and with four times the data. In so few steps neither
# makes a difference that this table can show. Ten times as many steps do bring the
# Transformer on.
#
# These are 500 pictures, so that 1 point is five of them. Where the interval holds 0,
# the table shows no difference.
#
# </details>

# %% [markdown]
# We chose by looking at dev. For the record, test is opened once, for four of them:

# %%
test = {
    "1-nearest-neighbour": nearest.predict(flat["test"]) == labels["test"],
    "CNN": right(models["CNN"], digits.test.images, labels["test"]),
    "ViT": right(models["ViT"], digits.test.images, labels["test"]),
    "ViT, 5,000 steps": np.equal(
        clf.predict(digits.test.images).labels, labels["test"].astype(str)
    ),
}
beside(test, "ViT")

# %% [markdown]
# ## 5. Where it looks, and what its answer depends on
#
# A map of attention over a picture looks like an explanation. Is it one? Here are three
# maps for the same answer:
#
# - **attention** of `[CLS]` to the patches in the last layer, the mean of its heads;
# - **attention rollout**, which follows attention down through all layers. In every
#   layer half of a token is what it was before (the residual connection) and half is
#   what it attends to, so the matrices $\tfrac12 (A + I)$ are multiplied;
# - **occlusion**: cover one patch after another and see how far the probability of the
#   answer falls. This is no map of attention at all, but an intervention.


# %%
def rollout(weights):
    """Attention through all layers: (layers, heads, T, T) to (T, T)."""
    through = torch.eye(weights.shape[-1])
    for layer in weights.mean(1):  # over heads
        through = (layer + torch.eye(len(layer))) / 2 @ through
    return through


# %%
def occlusion(clf, image):
    """Fall of the answer's probability for each covered patch: (rows, columns)."""
    rows, columns = clf.grid
    covered = np.repeat(image[None], 1 + rows * columns, axis=0)
    for index in range(rows * columns):
        y, x = (index // columns) * clf.patch[0], (index % columns) * clf.patch[1]
        covered[1 + index, y : y + clf.patch[0], x : x + clf.patch[1]] = 0
    chances = clf.predict(covered).probabilities
    return (chances[0] - chances[1:])[:, chances[0].argmax()].reshape(rows, columns)


# %%
def three_maps(image):
    """Attention, rollout and occlusion, each (rows, columns)."""
    weights = clf.attend(image).weights
    last, through = weights[-1].mean(0)[0, 1:], rollout(weights)[0, 1:]
    maps = {"attention": last, "rollout": through}
    maps = {name: row.reshape(clf.grid).numpy() for name, row in maps.items()}
    return maps | {"occlusion": occlusion(clf, image)}


# %%
found = three_maps(some.images[0])
shares = {
    name: np.maximum(values, 0) / np.maximum(values, 0).sum()
    for name, values in found.items()
}
al.plots.image_maps(
    some.images[0],
    shares,
    label="share of the map",
    alt="A digit and three maps of it.",
)

# %% [markdown]
# One picture proves nothing. Over many, compare each map with occlusion, patch by patch
# (rank correlation). As a trivial rival take **ink**: how bright the patch is. It knows
# nothing of the model.

# %%
sample = digits.dev.sample(10 if small_run else 200, seed=5)
rows = []
for image in sample.images:
    maps = three_maps(image)
    maps["ink"] = image.reshape(4, 7, 4, 7).mean((1, 3))
    told = maps.pop("occlusion").ravel()
    rows.append(
        {name: spearmanr(values.ravel(), told)[0] for name, values in maps.items()}
    )
ranks = pd.DataFrame(rows).dropna()
low, high = paired_bootstrap(ranks.to_numpy())
pd.DataFrame(
    {"rank correlation with occlusion": ranks.mean(), "from": low, "to": high}
).round(2)

# %% [markdown]
# And a test that favours no map: cover the three patches that a map ranks highest, and
# see how far the probability of the answer falls. A good map names patches without
# which the answer is gone.


# %%
def fall(image, values, most=3):
    """Fall of the answer's probability without the patches ranked highest."""
    covered = image.copy()
    for index in np.argsort(-values.ravel())[:most]:
        y, x = divmod(int(index), 4)
        covered[7 * y : 7 * y + 7, 7 * x : 7 * x + 7] = 0
    before, after = clf.predict(np.stack([image, covered])).probabilities
    return (before - after)[before.argmax()]


# %%
draw, rows = np.random.default_rng(0), []
for image in sample.images:
    maps = three_maps(image)
    maps["ink"] = image.reshape(4, 7, 4, 7).mean((1, 3))
    maps["random"] = draw.random((4, 4))
    rows.append({name: fall(image, values) for name, values in maps.items()})
falls = pd.DataFrame(rows)
low, high = paired_bootstrap(falls.to_numpy())
pd.DataFrame({"fall of the probability": falls.mean(), "from": low, "to": high}).round(
    2
)

# %%
ink = np.stack(
    [image.reshape(4, 7, 4, 7).mean((1, 3)).ravel() for image in sample.images]
)
focus = np.stack(
    [clf.attend(image).weights.mean(1)[:, 0, 1:] for image in sample.images]
)
for layer in range(clf.layers):
    ranks = [spearmanr(a, b)[0] for a, b in zip(focus[:, layer], ink, strict=True)]
    print(f"layer {layer}: rank correlation of attention and ink {np.mean(ranks):+.2f}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# How closely attention follows the strokes differs from layer to layer, so "the model
# looks at the digit" depends on the layer that one shows.
#
# Compare each map with *ink* before you believe it. Rollout names patches that matter,
# and so does plain brightness, which knows nothing of the model: that is no evidence
# about the model. Attention of the last layer does worse than ink. Occlusion asks the
# model itself; it comes out highest, by little. It covers one patch at a time, and
# where two patches say the same, covering either changes nothing.
#
# So weights show where a model looks. What an answer depends on, only a change shows.
#
# </details>

# %% [markdown]
# ## 6. What and where
#
# Now a digit of any size lies anywhere among bits of others. The answer has two parts:
# *what* it is, one of ten classes, and *where* it is, a **bounding box** of four
# numbers: $x$ and $y$ of its upper left corner, width and height.

# %%
many = 100 if small_run else 8000
rest = {"dev": 40, "test": 40} if small_run else {"dev": 200, "test": 1000}
canvases = scenes.canvas(digits, train=many, **rest)
shown = canvases.dev.select(range(8))
names = [shown.label_names[label] for label in shown.labels]
al.plots.images(
    shown.images,
    names,
    {"true box": shown.boxes},
    alt="Eight canvases with their boxes.",
)

# %% [markdown]
# How good is a box? **Intersection over union** (IoU) divides the area that two boxes
# share by the area that they cover together. It is 1 for equal boxes and 0 for boxes
# apart, however far. That is a fine score and a poor loss: where boxes do not meet, it
# is flat, and a flat loss teaches nothing. The **generalised** IoU subtracts the share
# of the smallest box around both that neither covers.

# %% [markdown]
# ### Exercise 3: IoU with a slope
#
# *Difficulty 3 of 5, 10 minutes.* `boxes` and `targets` have shape `(N, 4)`: x and y of
# the upper left corner, width and height. Return the generalised IoU of each pair,
# `(N,)`,
#
# $$ \text{GIoU} = \frac{\lvert A \cap B \rvert}{\lvert A \cup B \rvert} -
#    \frac{\lvert C \rvert - \lvert A \cup B \rvert}{\lvert C \rvert}, $$
#
# where $C$ is the smallest box around both. It is 1 for equal boxes and tends to $-1$
# for boxes far apart. Gradients must flow to both, and both must stay as they were.
# Boxes without area have an IoU of 0 with anything, and no result may be NaN. The
# ready-made functions of `al.vision` and torchvision are not allowed.


# %% exercise="giou" points=3
def giou(boxes, targets):
    """Generalised IoU of pairs of boxes: (N, 4) and (N, 4) to (N,)."""
    ### BEGIN SOLUTION
    first, second = boxes[:, :2], targets[:, :2]  # upper left corners
    first_end, second_end = first + boxes[:, 2:], second + targets[:, 2:]
    shared = torch.minimum(first_end, second_end) - torch.maximum(first, second)
    shared = shared.clamp_min(0).prod(-1)  # apart: no area, whatever the two sides say
    union = boxes[:, 2:].prod(-1) + targets[:, 2:].prod(-1) - shared
    around = torch.maximum(first_end, second_end) - torch.minimum(first, second)
    around = around.prod(-1)
    tiny = torch.finfo(around.dtype).tiny
    return shared / union.clamp_min(tiny) - (around - union) / around.clamp_min(tiny)
    ### END SOLUTION


# %% check="giou"
al.checks.giou(giou)

# %% [markdown] hints="giou"
# First compute the lower right corners. The shared part begins at the larger of the two
# left edges and ends at the smaller of the two right edges.
#
# ---
# If boxes are apart, "end minus begin" is negative. Set it to 0 *before* you multiply:
# two negative sides make a positive area.
#
# ---
# `union = area + area - shared`. C begins at the smaller of the two left edges and ends
# at the larger of the two right edges. Divide by at least
# `torch.finfo(union.dtype).tiny`, so that empty boxes give no NaN.

# %%
apart = torch.linspace(0, 40, 81)  # how far the second box lies to the right
still, moving = torch.zeros(81, 4), torch.zeros(81, 4)
still[:, 2:], moving[:, 2:], moving[:, 0] = 10, 10, apart
try:
    curves = {"GIoU (yours)": giou(moving, still)}
except Exception:  # whatever your answer does, the lesson goes on
    curves = {"GIoU (ours, for now)": al.vision.boxes.giou(moving, still)}
curves["IoU"] = al.vision.boxes.iou(moving, still)

# %% folded=true
al.plots.lines(
    apart,
    {name: curve.detach().numpy() for name, curve in curves.items()},
    xlabel="distance of two boxes of 10 x 10 (pixels)",
    ylabel="value",
    alt="IoU falls to 0 at a distance of 10 and stays there; GIoU goes on falling.",
)

# %% [markdown]
# The loss of the whole answer is a sum,
#
# $$ \text{loss} = \underbrace{-\log p_\text{class}}_\text{what} + w \,\bigl(
#    \underbrace{\lVert b - \hat b \rVert_1 + 1 - \text{GIoU}(b, \hat b)}_\text{where}
#    \bigr), $$
#
# with boxes in shares of the picture. Both answers are read from the same vector, the
# mean of all patches. How should $w$ be chosen? Too small, and the model does not
# bother with boxes. Too large, and it does not care what is in them. Or does it help to
# know where a thing is, if one is to say what it is? *Predict first.*

# %%
recipe = {"patch": 8, "batch_size": 32, "learning_rate": 1e-3}
short = 3 if small_run else 300
by_weight = {}
for weight in (0.1, 1.0, 10.0):
    model = al.vision.train_locator(canvases, box_weight=weight, steps=short, **recipe)
    by_weight[weight] = al.vision.score_located(
        model.locate(canvases.dev.images), canvases.dev
    )
rows = {w: (100 * s.accuracy, s.mean_iou, 100 * s.found) for w, s in by_weight.items()}
columns = ["class (%)", "mean IoU", "IoU > 0.5 (%)"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(2).rename_axis("w")

# %% [markdown]
# The weight is a trade-off: the vector that both answers are read from learns first
# what counts most in the loss. That was a short training. Here is a longer one, with
# both parts equal.

# %%
locator = al.vision.train_locator(canvases, steps=5 if small_run else 1200, **recipe)
print(locator)
al.plots.learning_curve(locator.history)

# %% [markdown]
# Beside it stands the trivial rival, which always says the mean box and the most
# frequent class. And since the locator knows where the digit is, it can look twice: cut
# out the box, and give it to the classifier of section 1, which saw only digits that
# fill the picture. *Predict:* does the second look help?

# %%
data, found = canvases.test, locator.locate(canvases.test.images)
mean_box = np.tile(canvases.train.boxes.mean(0), (len(data), 1))
most = canvases.train.label_names[np.bincount(canvases.train.labels).argmax()]
second = clf.predict(al.vision.cut_out(data.images, found.boxes, 28)).labels
truth = [data.label_names[label] for label in data.labels]
looked = {
    "the same for all": ([most] * len(data), mean_box),
    "at a glance": (found.labels, found.boxes),
    "a second look": (second, found.boxes),
}

# %%
overlaps, rows = {}, []
for name, (said, boxes) in looked.items():
    pair = (torch.tensor(boxes).float(), torch.tensor(data.boxes))
    overlaps[name] = al.vision.boxes.iou(*pair).numpy()
    correct = np.equal(said, truth)
    low, high = share_interval(int(correct.sum()), len(correct))
    rows.append((name, correct.mean(), low, high, (overlaps[name] > 0.5).mean()))
columns = ["", "class", "from", "to (95 %)", "IoU > 0.5"]
(100 * pd.DataFrame(rows, columns=columns).set_index("")).round(1).add_suffix(" (%)")

# %%
worst = np.argsort(overlaps["at a glance"])[:: max(1, len(data) // 8)][:8]
al.plots.images(
    data.images[worst],
    [f"{found.labels[row]} ({overlaps['at a glance'][row]:.2f})" for row in worst],
    {"true": data.boxes[worst], "found": found.boxes[worst]},
    alt="Eight canvases from the worst box to the best, with true and found boxes.",
)

# %% [markdown]
# Each title is the class that was found and the IoU of its box, from the worst of all
# to the best. Where does it go wrong, and is it the class or the box?
#
# The second look does *worse*. The reader was trained on whole digits in the middle of
# a black picture. A cut-out may lie a little askew, lose an edge, or bring a piece of
# clutter along. To find out which, give it the true boxes.
#
# For several things in one picture there are learned queries, one for each answer,
# which are matched with the true boxes before the loss is taken
# (`al.vision.train_detector`, after DETR).

# %% [markdown]
# ## 7. Words that look at a picture
#
# Now a picture holds several digits, and a question says which of them matters: *which
# digit is at the top left? is there a 3? how many 7s are there? which digit is the
# largest?*

# %%
answerer = al.vision.load_answerer("scenes")
few_asked = 30 if small_run else 1000
counts = {"dev": few_asked, "test": few_asked, "held_out": few_asked}
asked = scenes.questions(digits, train=20, **counts)
print(answerer)
for row in range(3):
    data = asked.dev
    print(data.questions[row], "→", data.label_names[data.labels[row]])

# %% [markdown]
# The decoder of lesson 03 let the words of one language attend to those of another.
# Nothing in it says that the other side must be a language. Here queries come from the
# words of a question, and keys and values from the patches:
#
# $$ \text{CrossAttention}(X, P) = \text{softmax}\!\left(\frac{(X W_Q)(P W_K)^\top}
#    {\sqrt{d_k}}\right) P W_V, \qquad X: \text{words}, \quad P: \text{patches}. $$
#
# The softmax runs over the patches, for each word and head by itself. Below, a line
# from a word to a patch is as strong as its weight, the mean of the heads of the last
# layer.

# %% folded=true
picture, question = asked.dev.images[0], "which digit is at the top left?"
maps = answerer.attend(picture, question)
weights = maps.weights[-1].mean(0)  # over heads: (words, patches)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.imshow(picture, cmap="gray", extent=(8, 16, 0, 8))
for row, word in enumerate(maps.target):
    y = 7.5 - 1.1 * row
    axes.text(1.8, y, word, ha="right", va="center")
    for patch in weights[row].topk(12).indices.tolist():
        place = (8.5 + patch % 8, 7.5 - patch // 8)
        dark = float(weights[row, patch] / weights.max())
        axes.plot([2, place[0]], [y, place[1]], color="tab:orange", alpha=dark)
axes.set(xlim=(-1, 16), ylim=(-0.5, 8.5))
axes.axis("off")
al.plots.show(figure, alt="Words of a question, and lines to the patches they look at.")

# %% [markdown]
# ### Exercise 4: words attend to patches
#
# *Difficulty 3 of 5, 10 minutes.* `words` is `(B, T, E)`, `patches` is `(B, N, E)`, and
# the four weight matrices are `(E, E)`; multiply from the right, `words @ w_q`. E is
# divided among `heads`: head 0 has the first `E / heads` columns of the projections,
# head 1 the next, and so on. Concatenate the heads in this order and multiply by `w_o`.
# Return the result, `(B, T, E)`, and the weights, `(B, heads, T, N)`. Ready-made
# attention is not allowed.


# %% exercise="cross_attend" points=3
def cross_attend(words, patches, w_q, w_k, w_v, w_o, heads):
    """Multi-head cross-attention: the result (B, T, E) and weights (B, heads, T, N)."""

    ### BEGIN SOLUTION
    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, length, d_k)

    q, k, v = split(words @ w_q), split(patches @ w_k), split(patches @ w_v)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, T, N)
    weights = scores.softmax(-1)  # over patches
    mixed = (weights @ v).transpose(1, 2).flatten(2)  # (B, T, E)
    return mixed @ w_o, weights
    ### END SOLUTION


# %% check="cross_attend"
al.checks.cross_attend(cross_attend)

# %% [markdown] hints="cross_attend"
# Which of the three, queries, keys and values, come from the words, and which from the
# patches?
#
# ---
# Split the last axis into `(heads, E // heads)` and bring `heads` in front of the
# length, as in lesson 02. Words and patches differ in length, so the table of scores is
# not square.
#
# ---
# Scale by the square root of the width of a head, softmax over the last axis. Then
# `(weights @ v).transpose(1, 2).flatten(2) @ w_o`.

# %%
block = copy.deepcopy(answerer.fusion.layers[0].cross_attention)
for projection in (block.query, block.key, block.value, block.output):
    nn.init.zeros_(projection.bias)  # which the exercise leaves out
with torch.no_grad():
    words = torch.randn(1, 7, 64)
    seen = answerer.body.encode(pixels(asked.dev.images[:1]))  # patches of a scene
    theirs, _ = block(words, seen, return_weights=True)
    parts = (block.query, block.key, block.value, block.output)
    try:
        yours, _ = cross_attend(words, seen, *(part.weight.T for part in parts), 4)
        apart = (yours - theirs).abs().max()
        print(f"yours with the answerer's weights: {apart:.0e} away from its own")
    except Exception as problem:  # whatever your answer does, the lesson goes on
        print(f"not yet: {type(problem).__name__}: {problem}")

# %%
ask = al.AskDesk(answerer, asked.dev)
ask

# %% [markdown]
# Ask something. Point at a word and see where it looks, silence a head, cover a digit
# with the mouse. Then press *Without the picture* and *Without the question*: what does
# the model answer now, and how sure is it?
#
# How much is owed to cross-attention? Words and patches can be joined in simpler ways,
# and each of these reads the same patches from the same body, which learned to read
# single digits first:
#
# - **concatenation**: one row of words and patches, with self-attention over all;
# - **pooled**: the mean word and the mean patch, side by side;
# - **late**: two answers, one from the words and one from the patches, averaged;
# - **question** alone and **image** alone.

# %%
steps = 3 if small_run else 400
singles = scenes.canvas(
    digits, 28, clutter=0, sides=(15, 28), train=10 * steps, dev=few_asked, test=10
)
body = al.vision.untrained(singles, patch=7, d_model=64, heads=4, layers=2, pool="mean")
history = al.vision.fit(body, singles, steps=steps)
print(f"single digits of all sizes, dev: {history.rows[-1]['dev_accuracy']:.1%}")

# %%
learn = scenes.questions(digits, train=20 * steps, **counts)
windows = al.vision.Windows(body)  # reads a picture in four parts, each like one digit
fused = {
    fusion: al.vision.train_answerer(
        learn, windows, fusion=fusion, steps=steps, freeze=True, learning_rate=2e-3
    )
    for fusion in al.vision.FUSIONS
}


# %%
def by_kind(model, data):
    """Which questions a model answers correctly, and the mean for each kind in %."""
    said = model.answer(data.images, data.questions).labels
    correct = np.equal(said, [data.label_names[label] for label in data.labels])
    means = pd.Series(100.0 * correct).groupby(np.array(data.kinds)).mean()
    return correct, means


scored = {name: by_kind(model, learn.dev) for name, model in fused.items()}
table = pd.DataFrame({name: means for name, (_, means) in scored.items()}).T
table["all"] = [100 * correct.mean() for correct, _ in scored.values()]
table.round(1)

# %%
best = scored["cross-attention"][0]
for rival in ("concatenation", "pooled", "question", "image"):
    change = 100.0 * best - 100.0 * scored[rival][0]
    low, high = paired_bootstrap(change)
    print(f"ahead of {rival}: {change.mean():+.1f} points [{low:.1f}, {high:.1f}]")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Look at *question* alone and *image* alone before you admire anything: what can be
# guessed without looking, or without reading, is no achievement. After so few steps
# *position* is hardly more than that for any of them.
#
# The two that let every word meet every patch, cross-attention and concatenation, are
# ahead of the pooled vectors, above all in *size*. Between those two cross-attention
# has no lead, though it is the one built for the task; the interval says who is ahead.
# What it does have is a map of words by patches, and less work: its patches do not
# attend to each other once more.
#
# The answerer at the desk has the same parts, but its body read single digits for
# longer and went on learning with the rest, for twenty times as many steps.
#
# </details>

# %% [markdown]
# ### Combinations that training never showed
#
# In training, some digits never stood in one picture: those that are five apart, such
# as 2 and 7. The part `held_out` has such pairs in every picture. It is the usual way
# to ask whether a model has learned the parts or the wholes. But there is more than one
# way to hold out. In another set digit $d$ never stands in one of the four quarters.

# %%
places = scenes.questions(digits, train=20 * steps, hold_out="places", **counts)
other = al.vision.train_answerer(
    places, windows, steps=steps, freeze=True, learning_rate=2e-3
)
model = fused["cross-attention"]
tests = {
    "pairs, as in training": (model, learn.test),
    "pairs, held out": (model, learn.held_out),
    "places, as in training": (other, places.test),
    "places, held out": (other, places.held_out),
}
pd.DataFrame({name: by_kind(*pair)[1] for name, pair in tests.items()}).T.round(1)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# New pairs cost little beside what new places cost. Look at *position*: in training
# there never was a 0 at the top left, so "if it is the top left, it is no 0" was always
# true, and the model learned it. It is almost never right, and it was not asked to
# forget. *Held out* says little until one says what was held out.
#
# </details>

# %% [markdown]
# ## 8. Which of the two was used?
#
# A model has two inputs and is right. Did it need both? The weights of cross-attention
# cannot say: they sum to 1 whether or not the result is used. Ask by intervention once
# more: give it the picture of another example, or the question of another.

# %% [markdown]
# ### Exercise 5: design the experiment
#
# *Difficulty 4 of 5, 12 minutes.* `answer(images, questions)` returns predicted labels
# `(N,)` for an array of pictures and a list of questions. Find out which of the two it
# uses. Give it, for one modality at a time, the one of *another example*: shuffle the
# pictures among the examples with `numpy.random.default_rng(seed).permutation` and
# leave the questions where they are; then the other way round. Nothing else changes,
# and every picture and every question is still a real one.
#
# Return a dict with the keys `"image"` and `"question"`. Each holds `(drop, low,
# high)`: how far accuracy falls (0.2 if it falls from 0.9 to 0.7), and the 95 %
# interval of this difference. Both answers are to the *same* examples, so draw
# examples, not accuracies: `al.statistics.paired_bootstrap` does it.


# %% exercise="modality_experiment" points=3
def modality_experiment(answer, images, questions, labels, seed=0):
    """Drop of accuracy without each modality: {"image": (drop, low, high), ...}."""
    ### BEGIN SOLUTION
    labels = np.asarray(labels)
    right = np.asarray(answer(images, questions)) == labels
    order = np.random.default_rng(seed).permutation(len(labels))
    others = {
        "image": (images[order], questions),
        "question": (images, [questions[row] for row in order]),
    }
    found = {}
    for name, inputs in others.items():
        change = right.astype(float) - (np.asarray(answer(*inputs)) == labels)
        found[name] = (change.mean(), *paired_bootstrap(change))
    return found
    ### END SOLUTION


# %% check="modality_experiment"
al.checks.modality_experiment(modality_experiment)

# %% [markdown] hints="modality_experiment"
# You need three calls of `answer`: with everything as it is, with shuffled pictures,
# and with shuffled questions.
#
# ---
# For each example note 1 or 0 for a right answer before and after. The drop is the mean
# of the differences; `paired_bootstrap(differences)` gives its interval.
#
# ---
# `images[order]` shuffles an array, `[questions[row] for row in order]` a list. The
# labels stay where they are.


# %%
def answer(images, questions, model=answerer):
    """Indices of answers."""
    return model.answer(images, list(questions)).probabilities.argmax(-1)


test = asked.test
use = al.vision.modality_use(
    answer, test.images, test.questions, test.labels, test.kinds
)
columns = ["accuracy", "replaced_accuracy", "delta", "ci_low", "ci_high"]
(100 * use.table.set_index(["kind", "replaced"])[columns]).round(1)

# %% [markdown]
# This model uses both, as it should. Now one that need not. In the next data set a
# careless author asks "is there a 3?" only about pictures where the answer happens to
# be *yes* for odd digits and *no* for even ones.


# %%
def careless(data):
    """Only those questions of presence that their own digit answers."""
    rows = [
        row
        for row, (kind, text) in enumerate(zip(data.kinds, data.questions, strict=True))
        if kind == "presence"
        and (int(text[-2]) % 2 == 1) == (data.label_names[data.labels[row]] == "yes")
    ]
    return data.select(rows)


# %%
presence = scenes.questions(digits, train=10 * steps, kinds=["presence"], **counts)
honest = (presence.train, presence.dev, presence.test)
biased = Splits(*(careless(part) for part in honest))
for row in range(3):
    data = biased.train
    print(data.questions[row], "→", data.label_names[data.labels[row]])

# %%
lazy = al.vision.train_answerer(
    biased, windows, steps=steps, freeze=True, learning_rate=2e-3
)
rows = {
    "careless questions": by_kind(lazy, biased.test)[0].mean(),
    "honest questions": by_kind(lazy, presence.test)[0].mean(),
}
for name, share in rows.items():
    print(f"{name}: {share:.0%} right")

# %%
data = biased.test
use = al.vision.modality_use(
    lambda images, questions: answer(images, questions, lazy),
    data.images,
    data.questions,
    data.labels,
)
(100 * use.table.set_index("replaced")[columns]).round(1)

# %% [markdown]
# It is right about careless questions and never looks: another picture changes nothing.
# A table of its attention would look like any other. Honest questions show what it
# knows of pictures, about as much as a coin.

# %% [markdown]
# ## 9. Pictures and words in one space
#
# A classifier knows the ten answers that it was trained on. CLIP does without a list.
# It has one encoder for pictures and one for texts, each followed by a linear map into
# the *same* space. Training pulls a picture towards its own text and away from the
# texts of other pictures. Then any text can be searched for.

# %% [markdown]
# ### Exercise 6: a contrastive loss
#
# *Difficulty 3 of 5, 10 minutes.* Row $i$ of `images` and row $i$ of `texts`, both
# `(B, E)` and not normalised yet, belong together. Scale every row to length 1. The
# logits are the similarities of all pairs, divided by the temperature
# `log_temperature.exp()`, a parameter that is learned like the others. For each picture
# its own text is the right one of B classes, and for each text its own picture. Return
# the mean of both cross-entropies.


# %% exercise="contrastive" points=2
def contrastive(images, texts, log_temperature):
    """Symmetric contrastive loss of B pairs: a scalar, in nats."""
    ### BEGIN SOLUTION
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    logits = images @ texts.T / log_temperature.exp()  # (B, B)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    ### END SOLUTION


# %% check="contrastive"
al.checks.contrastive(contrastive)

# %% [markdown] hints="contrastive"
# `images @ texts.T` is a table `(B, B)`. Where in it are the pairs that belong
# together?
#
# ---
# On the diagonal. So row $i$ is a classification among B texts, with label $i$:
# `F.cross_entropy(logits, torch.arange(B))`. The other direction reads the columns.

# %% [markdown]
# Both encoders below stay as they are: the classifier of section 1, of which the vector
# of `[CLS]` is taken, and MiniLM, of which the mean of all tokens is taken. Only the
# two linear maps and the temperature are trained, on four phrases for each digit. A
# batch holds each digit once: two sevens in a batch would count as wrong for each
# other.

# %%
encoder = al.classification.fresh_classifier("minilm")


def text_vectors(texts):
    """Mean vectors of all tokens of each text, (N, 384)."""
    with torch.no_grad():
        inputs = [encoder.tokenizer(text, return_tensors="pt") for text in texts]
        hidden = [encoder.model.bert(**one).last_hidden_state for one in inputs]
    return torch.cat([vectors.mean(1) for vectors in hidden])


def image_vectors(images):
    """Vectors of [CLS] after the last layer, (N, 64)."""
    with torch.no_grad():
        return clf.model.vit(pixels(images)).last_hidden_state[:, 0]


# %%
names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
forms = ["{}", "the number {}", "a handwritten {}", "the digit {}"]
texts = text_vectors([form.format(name) for form in forms for name in names])
texts, pictures = texts.reshape(len(forms), 10, -1), image_vectors(digits.train.images)
of_digit = [np.flatnonzero(labels["train"] == digit) for digit in range(10)]

# %%
torch.manual_seed(0)
space = al.vision.SharedSpace(64, 384, width=32)
optimizer = torch.optim.Adam(space.parameters(), lr=3e-3)
draw = np.random.default_rng(0)
for step in range(20 if small_run else 600):
    rows = [draw.choice(of_digit[digit]) for digit in range(10)]
    pairs = space(pictures[rows], texts[step % len(forms)])
    loss = al.vision.contrastive_loss(*pairs, space.temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
queries = ["a seven", "photo of the numeral seven", "7", "the number after six"]
with torch.no_grad():
    first, second = space(image_vectors(digits.dev.images), text_vectors(queries))
alike = second @ first.T  # (queries, pictures)
best = alike.topk(8).indices
titles = [f"{queries[row // 8]:.16}" if row % 8 == 0 else "" for row in range(32)]
al.plots.images(
    digits.dev.images[best.flatten()],
    titles,
    alt="The eight nearest digits for each of " + ", ".join(queries) + ".",
)

# %%
for query, row in zip(queries, best, strict=True):
    share = np.mean(labels["dev"][row] == 7)
    print(f"{query:>26}: {share:.0%} of the nearest eight are sevens")

# %% [markdown]
# No list of classes was asked. Phrases near those of training find their digit; others
# show what the text encoder knows, and what it does not. It never saw a picture.
#
# ## 10. Formulas that circulate and are wrong
#
# Popular articles on attention contain formulas that look right. You need not argue:
# each makes a prediction, and a small experiment tells. *Predict each result first.*
#
# **"In $QK^\top / \sqrt{d_k}$, $d_k$ is the number of heads."** Here there are 4 heads,
# each 16 wide. What would the other divisor do to a model that was trained with the
# right one? Dividing by $\sqrt 4$ instead of $\sqrt{16}$ is a temperature of one half.

# %%
settings = clf.settings()
settings.temperature[:] = math.sqrt(clf.heads) / math.sqrt(64 / clf.heads)
ev = al.Evaluator(clf, digits.dev.sample(100 if small_run else 500))
score = ev.compare(clf.settings(), settings)
print(score)

# %% [markdown]
# The answers hardly change, since the two divisors, 2 and 4, are not far apart and this
# model forgives a temperature of one half. That is how such a formula survives. Only
# the reason tells which is right: the variance of a dot product grows with the *width*
# (lesson [01](01_attention_maths.ipynb)), however many heads there are.
#
# **"The weights of the heads are normalised across heads"**, so that heads compete for
# each pair of tokens. Take scores of 4 heads for 17 tokens and normalise either way.

# %%
scores = torch.randn(4, 17, 17, generator=torch.Generator().manual_seed(0))
for name, axis in (("over keys", -1), ("over heads", 0)):
    weights = scores.softmax(axis)
    total = weights.sum(-1)  # what each query spends on all keys
    longer = torch.cat([scores, scores], -1).softmax(axis).sum(-1)  # each key twice
    print(
        f"{name:>10}: a query spends {total.min():.2f} to {total.max():.2f},"
        f" and {longer.mean() / total.mean():.1f} x as much if there are twice the keys"
    )

# %% [markdown]
# **"A class token for each head."** Each head should ask its own question, so each
# would need a token of its own. Does it? Here is how much the heads of one layer differ
# in where the *one* `[CLS]` looks: the Jensen-Shannon divergence of pairs of heads,
# which is 0 for equal maps and 1 bit for maps without a common patch.


# %%
def js_bits(p, q):
    """Jensen-Shannon divergence of distributions over the last axis, in bits."""
    mean = (p + q) / 2
    both = sum((a * (a / mean).clamp_min(1e-12).log2()).sum(-1) for a in (p, q))
    return both / 2


# %%
some_images = sample.images[:20]
looks = torch.stack([clf.attend(image).weights[:, :, 0] for image in some_images])
for layer in range(clf.layers):
    heads = looks[:, layer].unbind(
        1
    )  # where [CLS] looks: (images, tokens) for each head
    pairs = [js_bits(heads[a], heads[b]) for a in range(4) for b in range(a)]
    print(f"layer {layer}: {torch.stack(pairs).mean():.2f} bits between two heads")

# %% [markdown]
# One token has many questions: each head has its own $W_Q$.
#
# **"Accuracy, the mean binary cross-entropy."** A loss is no accuracy. Take the answers
# of one model, and make it more or less sure of them without changing a single one:

# %%
with torch.no_grad():
    logits = clf.model(pixels(digits.dev.images)).logits
hot = F.one_hot(torch.tensor(labels["dev"]), 10).float()
for factor in (0.1, 1.0, 10.0):
    loss = F.binary_cross_entropy(torch.softmax(factor * logits, -1), hot)
    accuracy = (logits.argmax(-1).numpy() == labels["dev"]).mean()
    print(f"logits x {factor:4}: 1 - mean BCE {1 - loss:6.3f}, accuracy {accuracy:.3f}")

# %% [markdown]
# ## What you have seen
#
# - A picture becomes a row of tokens by cutting and one linear map. The encoder, its
#   heads and everything that you did to them stay as they were.
# - Without positions a picture is a bag of patches; what neighbours are must be
#   learned. Where training is short, networks that have it built in win.
# - Maps of attention show where a model looks, and a trivial map may agree as well with
#   what the answer depends on. Cover, replace, and measure.
# - One vector can answer *what* and *where*; their weight in the loss decides what it
#   is good at.
# - Words look at patches as words look at words. Whether both were needed, only an
#   experiment says.
#
# Your own pictures: a folder for each class, and six lines from disk to desk, are in
# the [guide](../docs/engineers.md).
#
# **Sources.** Dosovitskiy et al. 2021, *An image is worth 16 × 16 words*; Xiao et al.
# 2021, *Early convolutions help Transformers see better*; Abnar and Zuidema 2020,
# *Quantifying attention flow*; Rezatofighi et al. 2019, *Generalized IoU*; Carion et
# al. 2020 (DETR); Radford et al. 2021 (CLIP); Jain and Wallace 2019, *Attention is not
# explanation*.

# %%
al.checks.summary("beyond_text")
