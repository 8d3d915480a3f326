# %% [markdown]
# # 09 Compression: what can be taken away?
#
# **A classifier of 91 MB tells praise from complaint. How much of it is needed, and
# does a smaller one really answer faster?** You take the classifier of lesson 05 apart
# piece by piece, measure the price of each piece, and end with a file that is a
# fraction of the size, answers many times as fast, and needs no PyTorch.
#
# Afterwards you can
#
# - say where the weights of a BERT are, and which of them cost memory, which time;
# - remove heads, neurons, layers and word pieces for good, and repair what is left;
# - store weights in few bits, and say what that buys and what it does not;
# - train a small model on the answers of a large one, and let easy texts leave early;
# - time models fairly, and read a claim such as "60 % faster" with the right questions.
#
# Time: about 140 minutes, 55 of them for six exercises. The cells together compute for
# some ten minutes on two processor cores. You need lessons
# [05](05_finetune_bert.ipynb) and [06](06_head_mixing.ipynb). Choose **Run → Run All
# Cells** first; exercises that are not written yet only say so.

# %%
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al
from attnlab import compression

# %%
clf = al.load_classifier("movie-sentiment")
splits = al.datasets.load("movie-sentiment")
size = al.device.profile()
seconds = 1 if size.name == "ci" else 20  # that a comparison takes
dev = splits.dev.sample(size.sentences)
calibration = splits.train.sample(
    size.sweep_sentences, seed=1
)  # to choose and to repair by
print(clf, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# The peeler: choose what to remove, how much of it, and who chooses. Each rectangle is
# a part of the model, drawn to scale; what is gone turns pale. Beside it stand
# accuracy, size and time of the smaller model and of the untouched one.
#
# Remove half of the feed-forward neurons, first by *activation*, then by *random*. Then
# set half of the weights to zero. In which of the three cases does the time change?

# %%
desk = al.Peeler(clf, dev.sample(min(len(dev), 250)), calibration=calibration)
desk

# %% [markdown]
# ## 2. Where the weights are
#
# Before you take anything away, look at what there is. Which part of this model holds
# most of its weights: attention, the feed-forward blocks, or the table of word pieces?

# %%
parts = compression.describe(clf)
by_part = parts.groupby("part", sort=False)["parameters"].sum()
print((by_part / 1e6).round(2).to_string())

# %%
al.plots.weights_by_part(parts)

# %% [markdown]
# The table of word pieces is the largest part. Every text looks up a few of its rows,
# so it costs memory and hardly any time. The layers are the other way round: every
# token goes through all of their weights.
#
# Film reviews use only some of the 30,522 word pieces. The others can go, together with
# their rows. Pieces of one letter stay, so that a new word can still be spelled.

# %%
trimmed = compression.trim_vocabulary(clf, splits.train.texts)
for word in ("film", "unwatchable", "photosynthesis"):
    before, after = (one.tokenizer.tokenize(word) for one in (clf, trimmed))
    print(f"{word:>15}: {' '.join(before)}  ->  {' '.join(after)}")
before, after = (len(one.tokenizer) for one in (clf, trimmed))
sizes = [f"{one.parameters() / 1e6:.1f}" for one in (clf, trimmed)]
print(f"{before:,} -> {after:,} pieces, {' -> '.join(sizes)} M weights")

# %%
whole, small = (one.logits(one.encode(dev.texts)) for one in (clf, trimmed))
same = (whole - small).abs().amax(1) < 1e-4
print(f"the same numbers for {same.float().mean():.1%} of {len(dev)} dev sentences,")
print(f"the same answer for {(whole.argmax(1) == small.argmax(1)).float().mean():.1%}")

# %% [markdown]
# A sentence whose pieces all occur in the training texts gets the very same numbers as
# before. Others are spelled with shorter pieces, which the model knows less well.
#
# ## 3. Is it really faster?
#
# In lesson 06 a head was silenced with a scale of 0. Its products were still computed.
# `prune_heads` cuts its rows and columns out of the matrices instead: the answers stay
# the same, and there is less to multiply.

# %%
half = compression.prune_heads(clf, share=0.5, data=calibration)
silenced = clf.settings()
for layer, head in al.heads.removed(half):
    silenced.scale[layer, head] = 0
few = dev.sample(min(len(dev), 64))
masked, cut = clf.predict(few.texts, silenced), half.predict(few.texts)
apart = np.abs(masked.probabilities - cut.probabilities).max()
print(f"largest difference of a probability: {apart:.1e}")

# %%
ids = clf.encode(few.texts[:32])
batch = ids.batch(range(len(few.texts[:32])))


def run(one, settings=None):
    """Answer one batch that is tokenised already."""
    with torch.inference_mode():
        return al.heads.run(one, batch, settings)


# %%
times = {
    "untouched": al.device.seconds(lambda: run(clf)),
    "half of the heads silenced": al.device.seconds(lambda: run(clf, silenced)),
    "half of the heads removed": al.device.seconds(lambda: run(half)),
}
for name, one in times.items():
    print(f"{name:>27}: {one / times['untouched']:.2f} times as long")

# %% [markdown]
# A mask saves nothing. Removal does, but less than half of the heads sounds like, as
# the feed-forward block has twice as many weights as attention and is still whole.
# Michel et al. (2019) report 17.5 % more speed for half of BERT's heads, at a batch of
# 64.
#
# ### The price list
#
# A number of milliseconds is easily wrong: the first call is slow, a second model finds
# a warm machine, a batch of 32 short texts is not one text. `compression.compare` asks
# all models in turn, over and over, on one machine in one run, and lets each answer
# something before its time counts. At the end of this lesson you write such a benchmark
# yourself.

# %%
block = clf.model.bert.encoder.layer[2]
up, down = block.intermediate.dense, block.output.dense
print(f"one feed-forward block: {up.out_features} neurons, {up.in_features} wide")

# %% [markdown]
# ## 4. Fewer neurons
#
# A feed-forward block is two matrices with a GELU between them,
# $\mathrm{down}(\mathrm{GELU}(\mathrm{up}(x)))$. A **neuron** is one number in the
# middle. Multiplying it by 0 costs as much as multiplying it by anything else, so a
# mask makes nothing faster. It has to be cut out, on both sides.
#
# ### Exercise 1: cut neurons out of both matrices
#
# *Difficulty 2 of 5, 8 minutes.* Return two new, smaller `nn.Linear`, so that neuron
# `i` of the small block is neuron `keep[i]` of the large one, in the order of `keep`.
# The small block answers as the large one would with all other neurons silent. Both
# layers have a bias. The layers that you are given stay as they are, and the new ones
# have numbers of their own: they will be trained, and training them must not change the
# old ones. `in_features` and `out_features` say the new sizes.


# %% exercise="cut_neurons" points=2
def cut_neurons(up, down, keep):
    """Two new nn.Linear, up' and down', with only the neurons in the list `keep`."""
    ### BEGIN SOLUTION
    small_up = nn.Linear(up.in_features, len(keep))
    small_down = nn.Linear(len(keep), down.out_features)
    with torch.no_grad():
        small_up.weight.copy_(up.weight[keep])
        small_up.bias.copy_(up.bias[keep])
        small_down.weight.copy_(down.weight[:, keep])
        small_down.bias.copy_(down.bias)
    return small_up, small_down
    ### END SOLUTION


# %% check="cut_neurons"
al.checks.cut_neurons(cut_neurons)

# %% [markdown] hints="cut_neurons"
# There are four parts, two weights and two biases. Which of them have a number, a row
# or a column for each neuron? The weight of `nn.Linear(a, b)` is `(b, a)`.
#
# ---
# A neuron is a row of `up.weight`, a number of `up.bias` and a column of `down.weight`.
# The bias of `down` belongs to the outputs, which all stay.
#
# ---
# Make the two layers in their new sizes, then fill them under `torch.no_grad()`:
# `small.weight.copy_(...)` copies numbers and leaves the parameter what it is. With
# `small.bias = down.bias` the old one would get a second name.

# %%
try:
    x, keep = torch.randn(3, up.in_features), list(range(0, up.out_features, 3))
    mask = torch.zeros(up.out_features)
    mask[keep] = 1
    with torch.no_grad():
        silent = down(F.gelu(up(x)) * mask)
        small_up, small_down = cut_neurons(up, down, keep)
        apart = (small_down(F.gelu(small_up(x))) - silent).abs().max()
    print(f"{small_up.out_features} neurons, largest difference {apart:.0e}")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# ## 5. Who chooses better than chance?
#
# Something has to say *which* heads or neurons go. Every such score needs a baseline:
# chance. Half of the neurons of each layer, chosen in four ways, on the dev sentences.

# %%
reference = al.Evaluator(clf, dev, fast=True)
base = reference.score()


def change(smaller):
    """Change of accuracy against the untouched model, in points, with its interval."""
    score = al.Evaluator(smaller, dev, fast=True).score()
    found = reference.compare(base, score)
    low, high = (100 * end for end in found.ci)
    return 100 * found.delta, low, high


print("untouched", base)

# %%
rows = []
for by in ("activation", "gradient", "magnitude", "random"):
    scores = compression.neuron_scores(clf, by, calibration)
    for repair in (None, calibration.texts):
        kind = "repaired" if repair else "as cut"
        smaller = compression.prune_neurons(
            clf, 0.5, by=by, scores=scores, repair=repair
        )
        rows.append((by, kind, *change(smaller)))
neurons = pd.DataFrame(rows, columns=["by", "kind", "points", "low", "high"])
print("half of the neurons gone: change in points, with its 95 % interval")
print(neurons.round(1).to_string(index=False))

# %% [markdown]
# *Repair* needs no training. The neurons that stay are asked to say what all of them
# said: the second matrix is fitted anew, by least squares, on texts without labels
# (Kwon et al. 2022). With $x$ the outputs of all neurons and $x_S$ those that stay,
#
# $$ W' = \arg\min_{W'} \; \mathbb{E}\, \lVert W x - W' x_S \rVert^2
#    = W \, \mathbb{E}[x x_S^\top] \; \mathbb{E}[x_S x_S^\top]^{-1} . $$
#
# How far can one go? The share that is gone, against accuracy, for neurons that chance
# chose and for those with the least activation, repaired or not.

# %%
shares = (0.5, 0.9) if size.name == "ci" else (0.25, 0.5, 0.75, 0.9)
rows = []
for by, repair in (
    ("random", None),
    ("activation", None),
    ("activation", calibration.texts),
):
    scores = compression.neuron_scores(clf, by, calibration)
    for share in shares:
        smaller = compression.prune_neurons(
            clf, share, by=by, scores=scores, repair=repair
        )
        name = f"{by}, repaired" if repair else by
        rows.append((name, 100 * share, *change(smaller)))
curve = pd.DataFrame(rows, columns=["chosen by", "gone", "points", "low", "high"])

# %% folded=true
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for place, (name, part) in enumerate(curve.groupby("chosen by", sort=False)):
    around = np.abs(part[["low", "high"]].to_numpy().T - part["points"].to_numpy())
    axes.errorbar(
        part["gone"] + place - 1, part["points"], around, marker="o", label=name
    )
axes.axhline(0, color="grey", linewidth=0.8)
axes.set(xlabel="neurons gone (%)", ylabel="change of accuracy (points)")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
last = curve[curve["gone"] == 90].set_index("chosen by")["points"].round(1).to_dict()
al.plots.show(figure, alt=f"Change of accuracy against share gone; at 90 %: {last}.")

# %% [markdown]
# Layers can go as a whole. What reads a layer is the next one, and it was not made for
# what the one before gives. Which three of six would you keep?

# %%
rows = []
for gone in (1, 2, 3):
    for by in ("ablation", "random"):
        smaller = compression.prune_layers(clf, gone, by=by, data=calibration)
        kept = compression.steps(smaller)[-1]["kept"]
        rows.append((gone, by, str(kept), *change(smaller)))
layers = pd.DataFrame(rows, columns=["gone", "by", "kept", "points", "low", "high"])
print(layers.round(1).to_string(index=False))

# %% [markdown]
# ## 6. Fewer bits
#
# A weight of `b` bits is one of few whole numbers, times a **step**. Take a row whose
# weights are 0.9, -0.2 and -1.4, and 3 bits. The largest absolute weight, 1.4, becomes
# $2^{b-1} - 1 = 3$ steps, so a step is 0.467. The three weights are 1.93, -0.43 and -3
# steps long; rounded 2, 0 and -3; and back in weights 0.933, 0 and -1.4. Quantisation
# is *symmetric* here: 0 stays 0, and the steps are alike on both sides.
#
# ### Exercise 2: few bits, and the error they make
#
# *Difficulty 1 of 5, 5 minutes.* "Fake" quantisation returns the rounded weights as
# floats again, so that the model runs as before and you can see what the rounding does
# to it. Each row of `(rows, columns)` has its own step. A row of zeros stays a row of
# zeros; any other row keeps its precision, however small its weights are. The result
# has the shape and dtype of `weight`, and `weight` stays as it is. Which way a weight
# goes that lies exactly in the middle does not matter. A loop over rows is fine.


# %% exercise="fake_quantize" points=1
def fake_quantize(weight, bits):
    """Weights (rows, columns), each rounded to a whole number of its row's steps."""
    ### BEGIN SOLUTION
    largest = weight.abs().amax(dim=1, keepdim=True)
    step = largest / (2 ** (bits - 1) - 1)
    step = torch.where(step > 0, step, 1)  # a row of zeros: any step will do
    return (weight / step).round() * step
    ### END SOLUTION


# %% check="fake_quantize"
al.checks.fake_quantize(fake_quantize)

# %% [markdown] hints="fake_quantize"
# Three steps: how long is a step of each row, how many of them is each weight, and how
# long is that? Only the middle one rounds.
#
# ---
# The largest *absolute* weight of each row: `abs()`, then `amax` over one axis, with
# `keepdim=True` so that it divides the rows.
#
# ---
# A row of zeros has a step of 0, and 0 / 0 is NaN. Put another step there, with
# `torch.where`, and only there: a smallest step such as 1e-8 would swallow rows of very
# small weights.

# %%
weight, errors = up.weight.detach(), {}
try:
    for bits in range(8, 1, -1):
        error = fake_quantize(weight, bits) - weight
        errors[bits] = float(error.norm() / weight.norm())
        print(f"{bits} bits: error {errors[bits]:.1%} of the weights' own length")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")
    errors = {bits: 0.01 * 2 ** (8 - bits) for bits in range(8, 3, -1)}
    print("so the picture shows the rule of thumb: a bit less doubles the error")

# %% folded=true
al.plots.lines(
    list(errors),
    {"relative error": list(errors.values())},
    xlabel="bits for each weight",
    ylabel="error (share of the length)",
    alt="The error of the rounded weights against the number of bits for each: it"
    " grows as bits are taken away.",
    log="y",
)

# %% [markdown]
# The whole model at several widths. Files are really written and weighed; *codebook* is
# what you build next.


# %%
def megabytes(one):
    """Size of the weights of a classifier when it is saved."""
    with tempfile.TemporaryDirectory() as folder:
        one.save(Path(folder) / "model")
        return (Path(folder) / "model" / "model.safetensors").stat().st_size / 1e6


# %%
rows = []
for bits in (8, 4) if size.name == "ci" else (8, 6, 4, 3):
    for name, operation in (
        ("whole numbers", compression.quantize),
        ("codebook", compression.share_weights),
    ):
        smaller = operation(clf, bits)
        rows.append((bits, name, megabytes(smaller), *change(smaller)))
bits = pd.DataFrame(rows, columns=["bits", "kind", "MB", "points", "low", "high"])
print(f"untouched: {megabytes(clf):.1f} MB")
print(bits.round(1).to_string(index=False))

# %% [markdown]
# ### Few values, shared by all weights
#
# Steps need not be equal. Keep a **codebook** of, say, 16 values, and for each weight
# only the number of its value, a **code** of 4 bits. Which 16? *k-means* improves any
# 16 in rounds: each weight goes to its nearest entry, then each entry moves to the mean
# of its weights.
#
# ### Exercise 3: a codebook by k-means
#
# *Difficulty 3 of 5, 10 minutes.* Begin with the codebook that you are given, do
# `rounds` rounds, and return the codebook and the codes. All weights choose before any
# entry of the round moves. The codes are those of the *final* codebook, also with
# `rounds = 0`. An entry that no weight chooses stays where it is. The codebook need not
# be sorted, and entries keep their places; what you were given stays as it is. A table
# of weights × entries is fine, a table of weights × weights is not.


# %% exercise="kmeans_codebook" points=2
def kmeans_codebook(weights, codebook, rounds):
    """Codebook (K,) after k-means of weights (N,), and the code of each weight (N,)."""
    ### BEGIN SOLUTION
    codebook = codebook.clone()
    for _ in range(rounds):
        codes = (weights[:, None] - codebook).abs().argmin(dim=1)
        for entry in codes.unique():
            codebook[entry] = weights[codes == entry].mean()
    return codebook, (weights[:, None] - codebook).abs().argmin(dim=1)
    ### END SOLUTION


# %% check="kmeans_codebook"
al.checks.kmeans_codebook(kmeans_codebook)

# %% [markdown] hints="kmeans_codebook"
# A round has two halves, and the first is needed once more at the end: to which entry
# is each weight nearest?
#
# ---
# `weights[:, None] - codebook` is `(N, K)`. The smallest *absolute* difference of each
# row has a place, `argmin`, and this is the code.
#
# ---
# `weights[codes == entry]` are the weights of an entry. `codes.unique()` lists the
# entries that have any. Begin with `codebook.clone()`: into a copy you may write.

# %%
try:
    some, entries = weight[:64].flatten(), 8
    start = torch.linspace(float(some.min()), float(some.max()), entries)
    for rounds in (0, 1, 5, 20):
        book, codes = kmeans_codebook(some, start, rounds)
        error = (book[codes] - some).norm() / some.norm()
        print(f"{rounds:2} rounds, {entries} values: error {error:.1%}")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# ### What a smaller file does not buy
#
# PyTorch computes with these weights in float32, as before: the file is small, the time
# is not. The same holds for zeros. Half of the weights at zero is half as much work on
# paper, and the processor multiplies the zeros all the same.

# %%
rows = {}
for share in (0.0, 0.5, 0.9):
    sparse = compression.prune_weights(
        clf, share, by="activation", texts=calibration.texts
    )
    points, low, high = change(sparse)
    rows[f"{share:.0%} zeros"] = {
        "MB": round(megabytes(sparse), 1),
        "points": f"{points:+.1f} [{low:+.1f}, {high:+.1f}]",
        "time": round(
            al.device.seconds(lambda one=sparse: run(one)) / times["untouched"], 2
        ),
    }
pd.DataFrame(rows).T

# %% [markdown]
# To gain time from 8 bits, the *products* have to be made of whole numbers. ONNX
# Runtime does that: `clf.export` writes the model as a graph that it can run, with
# `quantize="int8"` one of whole numbers. Whether that pays depends on the processor.
# One with VNNI (`avx512_vnni` or `avx_vnni` among its flags) multiplies four pairs of
# whole numbers and adds them up in one step. On others such sums could overflow, and
# attnlab has ONNX Runtime take slower ways there that cannot: the file is as small, and
# the time has to be seen. Compare the last two rows, and the flags above them.

# %%
models = Path(tempfile.mkdtemp())
clf.export(models / "float32")
clf.export(models / "int8", quantize="int8")
exported = {name: al.load_classifier(models / name) for name in ("float32", "int8")}
table = compression.compare(
    {"PyTorch": clf, **exported}, dev, seconds=seconds, memory=False
)
for name in ("threads", "cpu_flags", "rounds"):
    print(f"{name}: {table.attrs[name]}")

# %%
shown = ["name", "accuracy", "delta", "megabytes", "ms_batch_1", "ms_batch_32"]
table[shown].round(3)

# %% [markdown]
# ## 7. A large model teaches a small one
#
# Three of the six layers, cut out and left alone, answer badly. Trained on, they
# recover. On what should they train? **Distillation** (Hinton et al. 2015) asks a
# *teacher*, the large model.
#
# A small student learns more from what a large teacher *answers* than from the label
# alone: 70 % against 30 % says more than "positive". Both answers are softened by a
# **temperature** $T$, so that small probabilities count. With the logits $t$ of the
# teacher and $s$ of the student,
#
# $$
# L = T^2 \cdot \mathrm{KL}\big(\mathrm{softmax}(t / T) \,\|\,
#     \mathrm{softmax}(s / T)\big) + w \cdot \mathrm{CE}(s, y),
# \qquad \mathrm{KL}(p \,\|\, q) = \sum_c p_c \, (\log p_c - \log q_c) .
# $$
#
# Gradients of the first part shrink as $1 / T^2$; the factor makes that good. (Others
# write $(1 - w)$ before the first part; here it always counts fully.)
#
# ### Exercise 4: the distillation loss
#
# *Difficulty 3 of 5, 8 minutes.* Return $L$, a tensor with one number, the mean over
# the texts. The cross-entropy with the labels is at temperature 1. Only the student is
# trained: no gradient may reach the teacher, and every part of the loss reaches the
# student. Logits may lie hundreds apart, where a probability is 0 in the computer.
# Everything in `torch.nn.functional` may be used.


# %% exercise="distillation_loss" points=2
def distillation_loss(student, teacher, labels, temperature, label_weight):
    """The loss of logits (B, C), given the teacher's (B, C) and labels (B,)."""
    ### BEGIN SOLUTION
    divergence = F.kl_div(
        (student / temperature).log_softmax(dim=-1),
        (teacher.detach() / temperature).log_softmax(dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(student, labels)
    return temperature**2 * divergence + label_weight * hard
    ### END SOLUTION


# %% check="distillation_loss"
al.checks.distillation_loss(distillation_loss)

# %% [markdown] hints="distillation_loss"
# Two parts, each a mean over texts. Write the first for a temperature of 1, then divide
# both models' logits by the temperature, then multiply by its square.
#
# ---
# `log_softmax` gives logarithms that stay finite. The log of a `softmax` does not, and
# a small number added to it makes the loss wrong where a model is sure.
#
# ---
# `F.kl_div(log_q, log_p, log_target=True)` is $\mathrm{KL}(p \,\|\, q)$: the student
# comes first. `reduction="batchmean"` divides by the number of texts, `"mean"` by texts
# times classes. `teacher.detach()` has the teacher's numbers and no history.

# %% [markdown]
# Your loss at work: three layers of the classifier, a batch of real sentences, and six
# steps of gradient descent towards what all six layers answer.

# %%
learner = compression.prune_layers(clf, keep=[0, 2, 5])
ids32 = clf.encode(calibration.texts[:32])
wanted = clf.logits(ids32)
given = torch.tensor(calibration.labels_in(clf.label_names)[:32])
try:
    optimizer = torch.optim.AdamW(learner.model.requires_grad_().parameters(), 1e-4)
    for step in range(6):
        logits = learner.model(**ids32.batch(range(len(wanted)))).logits
        loss = distillation_loss(logits, wanted, given, 2.0, 0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.3f}")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# Does the teacher help? The same student (layers 0, 2 and 5), the same sentences, the
# same number of steps, once with the teacher's answers and once with labels alone.

# %%
taught_by = al.datasets.Splits(
    splits.train.sample(min(size.distilled_sentences, len(splits.train))),
    dev,
    splits.test,
)
student = compression.prune_layers(clf, keep=[0, 2, 5])
taught = compression.distil(clf, student, taught_by, epochs=size.epochs)

# %%
alone = compression.distil(None, student, taught_by, epochs=size.epochs)

# %%
for name, one in (
    ("cut out", student),
    ("labels alone", alone),
    ("with teacher", taught),
):
    points, low, high = change(one)
    print(f"{name:>13}: {points:+.1f} points [{low:+.1f}, {high:+.1f}]")
ev = al.Evaluator(taught, dev, fast=True)
with_teacher, without = ev.score(), al.Evaluator(alone, dev, fast=True).score()
print("what the teacher adds:", ev.compare(without, with_teacher))

# %% [markdown]
# The last line compares the two students directly, on the same sentences. Does its
# interval hold 0? Then this run has not shown that the teacher helps, whatever the
# lines above seem to say. It is one run each: another seed gives other numbers.

# %% [markdown]
# ## 8. Leaving early
#
# An easy text is clear after two layers. Put a small **exit head** after every layer;
# a text whose answer has a small entropy leaves with it, and the others go on. Time is
# won only if those who have left are not computed on any more: the batch is
# **regrouped** after each layer.
#
# ### Exercise 5: leave early, regroup, and put the answers back in order
#
# *Difficulty 4 of 5, 14 minutes.* A `layer` of `layers`, called as `layer(hidden,
# mask)`, returns the next hidden states of the texts it is given. Its head, the one at
# the same place in `exits`, takes the mean over real tokens `(B, E)` of what the layer
# returned and gives logits `(B, C)`. A text leaves where the entropy of its answer, in
# nats, is *below* the threshold; with threshold 0 nobody leaves early. At the last
# layer all leave. Return the logits in the original order, and for each text the layer
# at which it left, from 0. Each layer is called at most once, with all texts that are
# still there and no others, and not at all when nobody is left. Very sure answers have
# probabilities that are 0 in the computer; $0 \log 0$ counts as 0.


# %% exercise="answer_early" points=3
def answer_early(layers, exits, hidden, mask, threshold):
    """Logits (B, C), and the layer at which each text left (B,).

    hidden (B, T, E), mask (B, T), bool, False at padding (at the end or in front)
    """
    ### BEGIN SOLUTION
    here = torch.arange(len(hidden))  # the rows of the batch that are still there
    left = torch.full((len(hidden),), len(layers) - 1)
    answers = None
    for number, (layer, head) in enumerate(zip(layers, exits, strict=True)):
        hidden = layer(hidden, mask)
        real = mask[..., None]
        logits = head((hidden * real).sum(dim=1) / real.sum(dim=1))
        answers = torch.empty(len(here), logits.shape[1]) if number == 0 else answers
        answers[here], left[here] = logits, number  # written over if the text goes on
        stays = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1) >= threshold
        here, hidden, mask = here[stays], hidden[stays], mask[stays]
        if len(here) == 0:
            break
    return answers, left
    ### END SOLUTION


# %% check="answer_early"
al.checks.answer_early(answer_early)

# %% [markdown] hints="answer_early"
# Once some have left, row 0 of `hidden` is another text than before. So keep a list of
# who is still there: it begins as `torch.arange(B)`.
#
# ---
# After each layer: logits of those still there, their entropies, who stays. Write the
# logits to `answers[here]`, then let `here`, `hidden` and `mask` keep only those who
# stay. At the last layer there is nothing left to decide.
#
# ---
# `torch.special.entr(p)` is $-p \log p$, with 0 for $p = 0$; the entropy is its sum
# over classes. The mean over real tokens divides by *their* number, which differs from
# text to text.

# %% [markdown]
# On the real model: exits on the mean of the tokens, fitted to the training sentences
# with the encoder as it is. First your function with the first five layers of BERT, on
# one batch; then all dev sentences. How many layers does a text need on average, and
# what does leaving cost?

# %%
early = compression.early_exit(clf, taught_by, threshold=0.0)


def without_keywords(layer):
    """A layer of BERT as your function calls it."""
    return lambda hidden, mask: layer(hidden, mask[:, None, None, :])


layers_here = [without_keywords(layer) for layer in clf.model.bert.encoder.layer[:-1]]
exits_here = [
    lambda mean, weight=weight, bias=bias: F.linear(mean, weight, bias)
    for weight, bias in zip(early.weights, early.biases, strict=True)
]

# %%
inputs = {name: part for name, part in batch.items() if name != "attention_mask"}
mask = batch["attention_mask"].bool()
try:
    with torch.inference_mode():
        hidden = clf.model.bert.embeddings(**inputs)
        _, left = answer_early(layers_here, exits_here, hidden, mask, 0.3)
    print("your function: texts that left after layer 1 to 5:", end=" ")
    print(torch.bincount(left, minlength=5).tolist())
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %%
labels = np.array(dev.labels_in(clf.label_names))
right = clf.logits(clf.encode(dev.texts)).argmax(-1).numpy() == labels
rows = []
for threshold in (0.1, 0.3, 0.5):
    early.threshold = threshold
    answers = early.predict(dev.texts)
    now = np.array([clf.label_names.index(label) for label in answers.labels])
    found = al.statistics.paired_test(right, now == labels)
    layers_used = np.mean(answers.exits) + 1
    points = (100 * end for end in (found.delta, found.low, found.high))
    rows.append((threshold, layers_used, *points))
exits = pd.DataFrame(rows, columns=["entropy below", "layers", "points", "low", "high"])
print(exits.round(2).to_string(index=False))

# %% [markdown]
# A threshold that looks free here may not be: of several that are tried on the same
# sentences, one looks good by chance. `early_exit` itself chooses the one with the
# fewest layers whose *interval* stays above half a point lost, on dev; test sentences
# then say what it costs.
#
# ## 9. The chain
#
# Now all of it in one line each: fewer layers and neurons, no word pieces that occur in
# fewer than two training sentences, taught by the large model, in whole numbers, as a
# graph. The teacher comes after the cuts, so that the student learns with what is left.

# %%
small = compression.prune_layers(clf, keep=[0, 2, 5])
small = compression.prune_neurons(
    small, 2 / 3, data=calibration, repair=calibration.texts
)
small = compression.trim_vocabulary(small, splits.train.texts, at_least=2)
small = compression.distil(clf, small, taught_by, epochs=size.epochs)
small.export(models / "small", quantize="int8")
for step in compression.steps(small):
    print(step["step"])

# %%
chance = compression.prune_neurons(
    student, 2 / 3, by="random", repair=calibration.texts
)
models_here = {
    "untouched": clf,
    "float32 graph": exported["float32"],
    "int8 graph": exported["int8"],
    "half of the heads": half,
    "3 layers, taught": taught,
    "3 layers, labels alone": alone,
    "3 layers, random neurons": chance,
    "small, int8 graph": al.load_classifier(models / "small"),
}

# %%
table = compression.compare(models_here, dev, seconds=seconds, memory=False)
table[shown].round(3)

# %%
al.plots.compression_frontier(table)

# %% [markdown]
# Read the picture from the left: which models has none that is both faster and better?
# These are the **frontier**. The bars are intervals of the accuracy; the change against
# the untouched model, which is paired and narrower, stands in the table as *delta*.
#
# So far everything was looked at on dev sentences. The test sentences once, for the one
# that goes out of the house:

# %%
goes_out = al.load_classifier(models / "small")
test = splits.test.sample(size.sentences)
final = compression.compare(
    {"untouched": clf, "small, int8 graph": goes_out},
    test,
    seconds=seconds,
    memory=False,
)

# %%
first, last = final.iloc[0], final.iloc[1]
points = " ".join(
    f"{100 * last[end]:+.1f}" for end in ("delta", "delta_low", "delta_high")
)
faster = first["ms_batch_1"] / last["ms_batch_1"]
print(f"accuracy {first['accuracy']:.3f} -> {last['accuracy']:.3f}")
print(f"change in points, and the ends of its interval: {points}")
print(f"file {first['megabytes']:.1f} -> {last['megabytes']:.1f} MB")
print(f"one text {faster:.1f} times as fast as in PyTorch")

# %% [markdown]
# Whoever gets the folder needs ONNX Runtime and a tokenizer, no PyTorch, and none of
# our code: the folder holds the graph, the word pieces, the labels, and a card that
# says what was done.

# %% [markdown]
# ## 10. A fair benchmark
#
# A colleague compares models with this function and finds what he hoped for. A model
# has two methods: `encode(text)` prepares a text, `run(inputs)` answers what came out.


# %%
def hasty_benchmark(models, texts, clock, repeats):
    result = {}
    for name, model in models.items():
        seconds = []
        for _ in range(repeats):
            start = clock()
            for text in texts:
                model.run(model.encode(text))
            seconds.append(clock() - start)
        result[name] = 1000 * sum(seconds) / repeats
    return result


# %% [markdown]
# ### Exercise 6: find the bugs in a benchmark
#
# *Difficulty 3 of 5, 10 minutes.* It times the wrong things. Write it so that it is
# fair, which means:
#
# - what is timed is `run` on all texts, short and long, and nothing else; when and how
#   often you `encode` does not matter, if it is not timed;
# - each model has answered at least once before its first time counts;
# - in each of `repeats` rounds each model has its turn, so that a machine that becomes
#   slower during the measurement treats all alike;
# - a model's figure is the median of its rounds, so that a round that was interrupted
#   or hurried does not count;
# - it is in milliseconds for each text: a round's time, divided by the number of texts;
# - `texts` may be a generator, which can be gone through only once.
#
# `models` is a dictionary of names and models, and so is what you return, of names and
# milliseconds. `clock()` gives seconds; use no other clock.


# %% exercise="benchmark" points=3
def benchmark(models, texts, clock, repeats):
    """The median milliseconds for each text: {name: milliseconds}."""
    ### BEGIN SOLUTION
    texts = list(texts)
    inputs = {name: [model.encode(t) for t in texts] for name, model in models.items()}
    for name, model in models.items():
        model.run(inputs[name][0])
    seconds = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            start = clock()
            for each in inputs[name]:
                model.run(each)
            seconds[name].append(clock() - start)
    per_text = 1000 / len(texts)
    return {name: per_text * statistics.median(seconds[name]) for name in models}
    ### END SOLUTION


# %% check="benchmark"
al.checks.benchmark(benchmark)

# %% [markdown] hints="benchmark"
# Go through the list line by line and ask of the colleague's function: what lies
# between the two readings of the clock? What has happened before the first? In which
# order do the models come? What is made of several rounds?
#
# ---
# `list(texts)` once, then the encoded inputs of every model, then one answer of every
# model. Only then do rounds begin.
#
# ---
# The loop over rounds is the outer one, that over the models the inner one. Keep a list
# of times for each name, and take `statistics.median` of it at the end.


# %%
def timed(one):
    """A classifier as your benchmark wants it."""
    return SimpleNamespace(encode=lambda text: one.encode([text]), run=one.logits)


real = {"untouched": clf, "half of the heads": half, "3 layers": student}
try:
    asked = {name: timed(one) for name, one in real.items()}
    found = benchmark(asked, few.texts[:8], time.perf_counter, 5)
    for name, milliseconds in found.items():
        print(f"{name:>18}: {milliseconds:.1f} ms a sentence")
except Exception as problem:  # whatever your answer does, the lesson goes on
    print(f"not yet: {type(problem).__name__}: {problem}")

# %% [markdown]
# ## 11. Three claims, measured
#
# Published figures were measured on other models, other texts and other machines. Ask
# of each: what was compared with what, at which batch size, with how many seeds, and is
# it the file, the memory or the time that became smaller?

# %%
took = {
    name: al.device.seconds(lambda one=one: run(one))
    for name, one in {"whole": clf, "heads": half, "layers": student}.items()
}

# %%
zeros = {
    by: change(compression.prune_weights(clf, 0.5, by=by, texts=calibration.texts))
    for by in ("magnitude", "activation")
}
# %%
more = {name: 100 * (took["whole"] / one - 1) for name, one in took.items()}
share = with_teacher.accuracy / base.accuracy
points = [f"{by} {zeros[by][0]:+.1f} points" for by in zeros]

print("half of the heads gone: 17.5 % more speed (Michel et al. 2019)")
print(f"    here {more['heads']:.0f} % more")
print(
    "half of the layers, distilled: 60 % faster, 97 % of the score (Sanh et al. 2019)"
)
print(f"    here {more['layers']:.0f} % more speed, {share:.0%} of the accuracy")
print("half of the weights zero: activation beats magnitude (Sun et al. 2023)")
print(f"    here {', '.join(points)}")

# %% [markdown]
# The models differ, so that a figure that differs refutes nobody. Sun et al. measured
# language models with billions of weights, in which some inputs are a hundred times
# larger than others; Sanh et al. count seven of nine tasks and a distillation on all of
# Wikipedia. Which of the three would you repeat for your own model, and how?
#
# ## What you have seen
#
# - Memory and time are in different parts: half of the weights of this model are a
#   table of word pieces, which costs hardly any time.
# - Removal saves time, a mask does not. Zeros and codebooks make a small file and
#   nothing else; whole numbers make it faster where the processor adds their products
#   in one step.
# - Every choice needs chance beside it, every change its interval, and every benchmark
#   the plain way in the same run.
# - A small model trained on a large one's answers, trimmed and in whole numbers, keeps
#   most of the accuracy in a fraction of the size and time.
#
# **Where the lesson ends.** One set of film reviews, one small BERT, two processor
# cores. Larger models have more to spare, and other hardware other prices.
#
# To read on: Ganesh et al. 2021, *Compressing large-scale Transformer-based models: a
# case study on BERT*; Tunstall, von Werra and Wolf, *Natural Language Processing with
# Transformers*, chapter 8, which goes the same way with other tools; Kwon et al. 2022,
# *A fast post-training pruning framework for Transformers*.

# %%
al.checks.summary("compression")
