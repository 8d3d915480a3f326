# %% [markdown]
# # 09 Compression and efficient inference
#
# **What can be taken away from a model, and is it really smaller and faster?** You
# write the parts yourself: weights rounded to few steps, neurons cut out, a codebook,
# the loss of a student, an early exit, and a benchmark that is fair.
#
# Time: 55 minutes for six exercises. You need [lesson 05](05_finetune_bert.ipynb).
# Choose **Run → Run All Cells** first; exercises that are not written yet only say so.

# %%
import statistics

import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al

clf = al.load_classifier("movie-sentiment")
block = clf.model.bert.encoder.layer[2]
up, down = block.intermediate.dense, block.output.dense
print(f"one feed-forward block: {up.out_features} neurons, {up.in_features} wide")

# %% [markdown]
# ## Fewer bits
#
# A weight of `b` bits is one of few whole numbers, times a **step**. Take a row whose
# weights are 0.9, -0.2 and -1.4, and 3 bits. The largest absolute weight, 1.4, becomes
# $2^{b-1} - 1 = 3$ steps, so a step is 0.467. The three weights are 1.93, -0.43 and -3
# steps long; rounded 2, 0 and -3; and back in weights 0.933, 0 and -1.4. Quantisation
# is *symmetric* here: 0 stays 0, and the steps are alike on both sides.
#
# ### Exercise 1: few bits, and the error they make
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

# %%
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
# ## Fewer neurons
#
# A feed-forward block is two matrices with a GELU between them,
# $\mathrm{down}(\mathrm{GELU}(\mathrm{up}(x)))$. A **neuron** is one number in the
# middle. Multiplying it by 0 costs as much as multiplying it by anything else, so a
# mask makes nothing faster. It has to be cut out, on both sides.
#
# ### Exercise 2: cut neurons out of both matrices
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
# ## Few values, shared by all weights
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
# ## Learning from a teacher
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
# ## Leaving early
#
# An easy text is clear after two layers. Put a small **exit head** after every layer;
# a text whose answer has a small entropy leaves with it, and the others go on. Time is
# won only if those who have left are not computed on any more: the batch is
# **regrouped** after each layer.
#
# ### Exercise 5: leave early, regroup, and put the answers back in order
#
# *Difficulty 4 of 5, 14 minutes.* `layers[i](hidden, mask)` returns the next hidden
# states of the texts it is given, `exits[i](pooled)` the logits `(B, C)` for the mean
# over real tokens `(B, E)` of what layer `i` returned. A text leaves where the entropy
# of its answer, in nats, is *below* the threshold; with threshold 0 nobody leaves
# early. At the last layer all leave. Return the logits in the original order, and for
# each text the layer at which it left, from 0. Each layer is called at most once, with
# all texts that are still there and no others, and not at all when nobody is left. Very
# sure answers have probabilities that are 0 in the computer; $0 \log 0$ counts as 0.


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
# ## Is it faster?
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
al.checks.summary("compression")
