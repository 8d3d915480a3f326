# %% [markdown]
# # 05 Fine-tune BERT
#
# **How does a model that knows English, but not your question, learn to answer it? How
# many labels does that take, and how do you know that the result is any good?**
#
# Afterwards you can
#
# - write the parts of a training step;
# - write LoRA, put it into a model, and merge it;
# - compare methods at your number of labels, and tell differences from noise;
# - report on a classifier so that others can trust it, and calibrate it;
# - label single words, and count whole entities.
#
# Time: about 130 minutes, 50 of them for five exercises. Start **Run → Run All Cells**
# first; it takes some twenty minutes on one core. Where an exercise is empty, our
# function is used. You need [lesson 02](02_attention_from_scratch.ipynb), or to know
# attention.

# %%
import math

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, inject_adapter_in_model
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

import attnlab as al
from attnlab.show import drawings

# %%
size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
small_run = size.name == "ci"
splits = al.datasets.load("movie-sentiment")
print(splits, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# How fast should a model learn? `al.finetune` takes a BERT that has read a lot of
# English, puts a layer of random weights on top, and trains both on a few sentences
# about films, labelled *positive* or *negative*. The **learning rate** says how far a
# step moves the weights.

# %%
few = splits.sample(size.quick_sentences, size.sentences // 2)
quick_curve = al.TrainingCurve(dev_texts=len(few.dev))
quick_curve

# %% [markdown]
# How to read the two plots (**dev** are sentences that are not trained on):
#
# - **Left: the loss**, high where the right answer gets a low probability. The line is
#   training, smoothed; diamonds are dev. Below it is the learning rate (section 4).
# - **Right: accuracy on dev** after each **epoch**, one pass over the training
#   sentences. Bars are 95 % intervals.
#
# <details><summary>What is a 95 % interval?</summary>
#
# These dev sentences are a sample; others would give another accuracy. Take a hundred
# samples and compute such an interval (here Wilson's) from each: about 95 of them hold
# the accuracy over all sentences of this kind.
#
# </details>

# %%
learning_rate = 1e-4
quick = al.finetune(
    "minilm",
    few,
    "full",
    epochs=size.epochs,
    learning_rate=learning_rate,
    callbacks=[quick_curve.run(f"rate {learning_rate:g}")],
)

# %% [markdown]
# Run the cell again with `learning_rate` at `3e-4`, `1e-5` and `1e-2`; each run is
# drawn over the ones before. Two of these three learn hardly anything, for opposite
# reasons. How do their losses differ?
#
# <details><summary>What to expect</summary>
#
# At first the model guesses, and guessing between two classes has the loss
# $\ln 2 \approx 0.69$. With too low a rate the loss falls too slowly from there. With
# too high a rate it jumps up and then stays near 0.69: the model gives nearly the same
# answer to everything. With 1e-4 the loss has barely moved after so few steps, yet dev
# accuracy has risen: an answer turns long before the model is sure.
#
# </details>

# %% [markdown]
# ## 2. What can BERT do before the first label?
#
# That model did not start from nothing. BERT turns each token into a vector. The
# **pooler**, a small layer, takes the vector of `[CLS]`, the token in front of every
# text. BERT is pretrained. The layer on top (pink in the picture) is new and random.
# And the pooler? Compare its numbers with those of BERT's last layer:

# %%
base = al.classification.fresh_classifier("minilm", splits.train.label_names)
bert = base.model.bert
parts = {"pooler": bert.pooler, "last layer": bert.encoder.layer[-1].output}
for name, part in parts.items():
    weight, bias = part.dense.weight.detach(), part.dense.bias.detach()
    noise = weight.std() * sum(side**0.5 for side in weight.shape)
    print(f"{name:>10}: largest bias {bias.abs().max():.2g},", end=" ")
    print(f"singular value {torch.linalg.matrix_norm(weight, 2):.2f}", end=" ")
    print(f"(noise: {noise:.2f})")
drawings.fine_tuned_parts(6, ["negative", "positive"])

# %% [markdown]
# All biases of the pooler are exactly 0, as at the start of a training. In this BERT
# the pooler is random, too: neither part of its pretraining used it.
#
# <details><summary>What does the singular value tell?</summary>
#
# The largest singular value of a matrix is the most by which it can lengthen a vector.
# Random numbers prefer no direction. With standard deviation $\sigma$, $n$ rows and $m$
# columns theirs is about $\sigma (\sqrt n + \sqrt m)$, printed as *noise*. The pooler's
# is just that. The trained matrix lengthens some directions far more.
#
# MiniLM copied the attention and the values of a larger model (Wang et al. 2020); then
# sentences were compared by the mean of the token vectors (Reimers and Gurevych 2019).
# The pooler had no part in either.
#
# </details>
#
# Random layers can only guess, so leave both out. Our BERT, all-MiniLM-L6-v2, was also
# trained to give similar vectors to sentences with similar meanings. That is enough for
# a first classifier:
#
# 1. Write one sentence for each class, such as *This film is bad* and *This film is
#    good*.
# 2. The vector of a text is the mean of BERT's token vectors.
# 3. Give every review the class of the sentence whose vector is nearer (larger cosine).
#
# This is **zero-shot** classification: no labelled review is needed.


# %%
def sentence_vectors(clf, texts):
    """The mean of BERT's last layer over the tokens of each text: (N, D)."""
    encoded, rows = clf.encode(texts), []
    for start in range(0, len(texts), 32):
        batch = encoded.batch(range(start, min(start + 32, len(texts))))
        batch = {name: tensor.to(clf.device) for name, tensor in batch.items()}
        with torch.no_grad():
            hidden = clf.model.bert(**batch).last_hidden_state  # (B, T, D)
        real = batch["attention_mask"][..., None]
        rows.append(((hidden * real).sum(1) / real.sum(1)).cpu())
    return torch.cat(rows)


# %%
dev = splits.dev.sample(size.sentences // 2)
dev_labels, dev_vectors = np.array(dev.labels), sentence_vectors(base, dev.texts)
unit = nn.functional.normalize
zero_shot = []
for pair in (
    ["This film is bad.", "This film is good."],
    ["I hated it.", "I loved it."],
    ["terrible", "wonderful"],
):
    nearness = unit(dev_vectors) @ unit(sentence_vectors(base, pair)).T  # cosines
    right = nearness.argmax(-1).numpy() == dev_labels
    low, high = al.statistics.share_interval(int(right.sum()), len(right))
    zero_shot.append(100 * right.mean())
    print(f"{right.mean():.1%} [{low:.1%}, {high:.1%}] with {pair}")

# %% [markdown]
# Each line gives the accuracy, its 95 % interval, and the two sentences. Could you have
# known which wording is best?
#
# <details><summary>What we saw</summary>
#
# All three beat guessing, which is right half of the time. Two sentences about the film
# do clearly better than two bare words. But only labels tell you which wording to take.
#
# </details>

# %% [markdown]
# ## 3. How do texts of different lengths go in together?
#
# To learn from labels, a model reads several texts at a time, a **batch**: a table of
# token ids, one row for each text. Shorter texts are filled up with a meaningless
# token, the **padding** (`[PAD]`). The **attention mask** has 1 for a real token and 0
# for padding, so that words do not attend to padding.

# %%
texts = [
    "A joy.",
    "Dull, and far too long.",
    "I laughed from start to finish.",
    "The plot makes no sense.",
]
token_rows = [base.encode(texts).ids(place) for place in range(len(texts))]
as_tokens = base.tokenizer.convert_ids_to_tokens
drawings.padded_batch([as_tokens(row) for row in token_rows])

# %% [markdown]
# Padding costs time, so a batch is no wider than its longest text.
#
# ### Exercise 1: a batch of unequal texts
#
# *Difficulty 2 of 5, 5 minutes.* `rows` holds lists of token ids. Return two tensors of
# shape `(B, T)`, T being the length of the longest list: first the ids, then the mask.
# The lists themselves stay as they are. Do not tell padding by its id: some tokenizers
# use the same token for padding and for the end of a text, which is real.


# %% exercise="pad_batch" points=2
def pad_batch(rows, pad_id):
    """input_ids (B, T), long, and attention_mask (B, T), 1 where a token is real."""
    ### BEGIN SOLUTION
    longest = max(len(row) for row in rows)
    ids = [row + [pad_id] * (longest - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
    ### END SOLUTION


# %% check="pad_batch"
al.checks.pad_batch(pad_batch)

# %% [markdown] hints="pad_batch"
# For each row: how many places are missing to the longest? And how can you tell a real
# token from padding without looking at its id?
#
# ---
# Lists can be joined and repeated: `[1] * 3 + [0] * 2` is `[1, 1, 1, 0, 0]`. `a + b`
# makes a new list, `a += b` changes the old one. When all rows have one length,
# `torch.tensor` makes a table of them.


# %%
pad = al.checks.yours_or_ours("pad_batch", pad_batch)
torch.manual_seed(0)
learner = al.classification.fresh_classifier("minilm", ["negative", "positive"])
pad_id = learner.tokenizer.pad_token_id
ids, mask = (tensor.to(learner.device) for tensor in pad(token_rows, pad_id))
inputs = {"input_ids": ids, "attention_mask": mask}

# %% [markdown]
# What if you forget the mask? Here *A joy.* shares a batch with a long text.

# %%
finished = al.load_classifier("movie-sentiment")  # section 7 looks at it closely
encoded = finished.encode(["A joy.", 60 * "The plot makes no sense. "])
wide = pad([encoded.ids(0), encoded.ids(1)], pad_id)
ids, mask = (tensor.to(finished.device) for tensor in wide)
for name, seen in {"with its mask": mask, "forgotten": torch.ones_like(mask)}.items():
    with torch.no_grad():
        sure = finished.model(ids, attention_mask=seen).logits.softmax(-1)[0, 1]
    print(f"{name:>13}: 'A joy.' is positive with {sure:.1%}")

# %% [markdown]
# A forgotten mask raises no error. The answer changes, and now depends on the other
# texts in the batch.

# %% [markdown]
# ## 4. What happens in one training step?
#
# A step takes a batch, goes forward, then backward, then moves the weights.
#
# **Forward.** The model gives each text one number for each class, the **logits** $z$.
# Softmax turns them into probabilities: logits of 1 and 3 become .119 and .881. The
# loss of a text is minus the logarithm of the probability of its right class $y$. If
# that is the second class, the loss is $-\ln .881 = 0.13$; if it is the first,
# $-\ln .119 = 2.13$. The loss of a batch is the mean over its $n$ texts:
#
# $$ \ell_i = -\ln \text{softmax}(z_i)_{y_i}, \qquad
# L = \frac{1}{n} \sum_i \ell_i . $$

# %%
labels = torch.tensor([1, 0, 1, 0], device=learner.device)  # 1 is praise
model = learner.model
logits = model(**inputs).logits  # (B, 2)
loss = nn.functional.cross_entropy(logits, labels)
right = logits.softmax(-1)[range(4), labels]  # probability of the right class
print("right classes got", right.detach().cpu().numpy().round(3))
print(f"loss {loss:.4f}, by hand {-right.log().mean():.4f}, guessing {math.log(2):.4f}")

# %% [markdown]
# **Backward.** For every weight: how would the loss change if the weight did? Together
# these numbers are the **gradient**, one long vector. If its length is above 1 it is
# shortened to 1 (**clipped**), so that one strange batch does no harm.
#
# **The step.** The optimizer, AdamW, moves each weight against its gradient, divided by
# the gradient's usual size. So the learning rate says about how far each weight moves.
#
# <details><summary>What AdamW keeps and computes</summary>
#
# AdamW keeps two running means for each weight: of its gradient, and of the gradient's
# square. It takes from the weight the learning rate times the first over the root of
# the second. Each step also pulls weights a little towards 0 (**weight decay**, .01
# here).
#
# </details>
#
# Here is one step from the same start, with several learning rates.

# %%
model.zero_grad()
loss.backward()
start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
rates, after = [1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2], []
for rate in rates:
    model.load_state_dict(start)
    optimizer = torch.optim.AdamW(al.training.parameter_groups(model, 0.01), lr=rate)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        after.append(float(nn.functional.cross_entropy(model(**inputs).logits, labels)))
_ = model.load_state_dict(start)  # back to the beginning

# %%
brief = al.plots.brief  # 1e-4 and not 0.0001
best_first = rates[int(np.argmin(after))]
al.plots.lines(
    rates,
    {"after one step": after, "before": [loss.item()] * len(rates)},
    xlabel="learning rate",
    ylabel="loss of the four sentences",
    log="x",
    alt=f"The loss was {loss.item():.2f}; after one step it is lowest with rate"
    f" {brief(best_first)}, {min(after):.2f}, and {after[-1]:.2f} with the highest.",
)

# %% [markdown]
# Left of the valley a step changes too little, right of it too much. Many steps add up,
# so a whole run takes a lower rate, such as 1e-4.

# %% [markdown]
# ### What if a large batch does not fit into memory?
#
# Cut it into parts, and let each go forward and backward by itself. `backward()` *adds*
# to the `.grad` of every parameter, so the gradients of all parts collect there until
# one step is taken. This is **gradient accumulation**.
#
# The step should be exactly that of the whole batch. Say one part has the losses 1 and
# 3, the other only 8. The means of the parts are 2 and 8, and the mean of these is 5.
# But the mean of all three losses is 4.
#
# The loss function gives the mean over part $k$,
# $L_k = \frac{1}{n_k} \sum_{i \in k} \ell_i$. How do you get the gradient of $L$ from
# those of the $L_k$?

# %% [markdown]
# ### Exercise 2: gradients in parts
#
# *Difficulty 3 of 5, 12 minutes.* `parts` is a list of pairs `(inputs, labels)`;
# `loss_function(model(inputs), labels)` is the mean loss over one part. Forget old
# gradients, leave in `.grad` those of the mean over all texts, and return this mean, a
# plain number. Only one part's intermediate results may be in memory at a time. Take no
# step, clip nothing, and leave the model in its mode (training or evaluation).


# %% exercise="accumulate" points=3
def accumulate(model, loss_function, parts):
    """Leave gradients of the mean loss over all texts in .grad; return it, a float."""
    ### BEGIN SOLUTION
    texts = sum(len(labels) for _, labels in parts)
    mean = 0.0
    model.zero_grad()
    for inputs, labels in parts:
        loss = loss_function(model(inputs), labels) * len(labels) / texts
        loss.backward()  # adds to .grad, and forgets what this part needed
        mean += loss.item()
    return mean
    ### END SOLUTION


# %% check="accumulate"
al.checks.accumulate(accumulate)

# %% [markdown] hints="accumulate"
# First `model.zero_grad()`, once. Then a loop over the parts, with a forward and a
# `backward()` in it. Is the mean of two means the mean of all, if one is over 7 texts
# and the other over 2?
#
# ---
# $n_k L_k$ is the sum over part $k$. So $L$ is a sum of the $L_k$, each times a share:
# which? Multiply the loss by it *before* `backward()`, and the gradients follow.
#
# ---
# The number to return is added up the same way. A loss keeps everything it was computed
# from; `.item()` is only its number.


# %%
gradients_of = al.checks.yours_or_ours("accumulate", accumulate)

# %% [markdown]
# Now the whole training. `reading` makes parts with your `pad_batch`; `fit` is the loop
# and uses your `accumulate`. The learning rate rises at first, and then falls to 0.
#
# <details><summary>Three things in this code are new</summary>
#
# - **Mixed precision**: products are computed in `bfloat16` (16 bits) where the
#   processor is fast at it; weights and sums stay in float32.
# - **Sorted batches**: a batch holds sentences of like length, so little is padding.
# - **Warm-up**: the learning rate rises over the first 6 % of the steps, because AdamW
#   does not know the usual size of the gradients yet.
#
# </details>


# %%
class Reader(nn.Module):
    """From a batch to its logits, in the number format that is quick here."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.format = al.device.number_format(model.device.type)

    def forward(self, inputs):
        with al.device.autocast(self.model.device, self.format):
            return self.model(**inputs).logits.float()


# %%
def reading(clf, train):
    """Return the length of each text in tokens, and the function `part_of` below."""
    data, labels = clf.encode(train.texts), torch.tensor(train.labels)

    def part_of(places):
        """Return one part, (inputs, labels): the texts at these places, padded."""
        ids, mask = pad([data.ids(place) for place in places], pad_id)
        inputs = {
            "input_ids": ids.to(clf.device),
            "attention_mask": mask.to(clf.device),
        }
        return inputs, labels[places].to(clf.device)

    return data.lengths, part_of


# %%
def fit(clf, train, rate, steps, seed=0):
    """Train what requires gradients, 16 sentences a step; return the losses."""
    optimizer = torch.optim.AdamW(al.training.parameter_groups(clf.model, 0.01))
    reader, order = Reader(clf.model.train()), np.random.default_rng(seed)  # dropout on
    (lengths, part_of), batches, losses = reading(clf, train), [], []
    for step in range(steps):  # an epoch is over when its batches are used up
        batches = batches or al.training.shuffled_batches(lengths, 16, order)
        parts = [part_of(half) for half in np.array_split(batches.pop(), 2)]
        losses.append(gradients_of(reader, nn.functional.cross_entropy, parts))
        nn.utils.clip_grad_norm_(clf.model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * al.training.linear_schedule(step, steps, 0.06)
        optimizer.step()
    clf.model.eval()  # dropout off
    return losses


# %%
steps = 3 if small_run else 60
losses = fit(learner, few.train, 1e-4, steps)
score = al.Evaluator(learner, dev).score()
passes = 16 * steps / len(few.train)
print(f"{steps} steps, {passes:.1f} passes over {len(few.train)} sentences:", end=" ")
print(f"loss {np.mean(losses[:5]):.2f} -> {np.mean(losses[-5:]):.2f}")
print(score)

# %% [markdown]
# Your loop trains BERT: the loss falls, and dev is well above guessing.
#
# <details><summary>Why <code>train()</code> and <code>eval()</code>?</summary>
#
# In training, **dropout** sets random numbers inside the model to 0. Measured like
# that, it answers worse than it could, and differently each time.
#
# </details>
#
# <details><summary>When to stop: overfitting and early stopping</summary>
#
# When dev gets worse while the training loss still falls, a model learns its sentences
# by heart (**overfitting**). So `al.finetune`, the same loop with checkpoints, resuming
# and several GPUs, keeps the epoch that was best on dev. With `patience` it stops soon
# after (**early stopping**).
#
# </details>

# %% [markdown]
# ## 5. LoRA: learn the correction only
#
# Your loop changes every weight, and that takes memory: three more numbers for each,
# its gradient and the two running means that AdamW keeps. At 4 bytes a number, 7
# billion weights need 84 GB more.
#
# **LoRA** (*low-rank adaptation*, Hu et al. 2021) leaves every matrix $W$ as it is and
# learns a correction beside it, the product of two narrow matrices:
#
# $$ \text{output} = W x + b + \frac{\alpha}{r} B A x . $$
#
# $A$ has shape $(r, d_\text{in})$, and $B$ has $(d_\text{out}, r)$.

# %% [markdown]
# **A small example.** Take $r = 1$, $A = (1\;\;2)$ and $B = \binom{3}{0}$. The input
# $x = \binom{1}{1}$ becomes one number, $Ax = 3$, and that becomes
# $BAx = \binom{9}{0}$. Whatever $x$ is, $BAx$ is a multiple of $B$. In general only $r$
# numbers pass from $A$ to $B$, so the matrix $BA$ has at most **rank** $r$.
#
# Here is a matrix of our BERT with $r = 8$. ($A$ and $B$ are drawn too thick.)

# %%
drawings.lora(384, 384, 8)

# %% [markdown]
# $B$ begins at 0 and $A$ at random: a fresh LoRA changes nothing, and still a gradient
# reaches $B$. After training, add the correction to $W$ (**merging**): the model has
# its old shape again, and costs no extra time.
#
# <details><summary>Why the factor α / r?</summary>
#
# It is meant to spare you a new search for the learning rate when you try another rank
# (Hu et al. 2021). For large ranks $\alpha / \sqrt r$ may serve better (Kalajdzievski
# 2023).
#
# </details>
#
# ### Exercise 3: LoRA
#
# *Difficulty 3 of 5, 15 minutes.* `linear` is an `nn.Linear` with a bias. Fill three
# gaps:
#
# - `__init__` makes the parameters `self.A`, of shape `(rank, inputs)`, random, and
#   `self.B`, of shape `(outputs, rank)`, all 0.
# - `forward` gives the output, without ever computing the large matrix $BA$.
# - `merge` returns a new `nn.Linear` that computes the same as `forward`, and leaves
#   `linear` as it was.


# %% exercise="LoRA" points=3
class LoRA(nn.Module):
    """A linear layer that stays as it is, and a correction of low rank that learns."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.factor = alpha / rank
        outputs, inputs = linear.weight.shape
        ### BEGIN SOLUTION
        self.A = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.B = nn.Parameter(torch.zeros(outputs, rank))
        ### END SOLUTION

    def forward(self, x):
        """From (..., inputs) to (..., outputs)."""
        ### BEGIN SOLUTION
        return self.linear(x) + self.factor * (x @ self.A.T @ self.B.T)
        ### END SOLUTION

    def merge(self):
        """A new nn.Linear that computes the same."""
        ### BEGIN SOLUTION
        outputs, inputs = self.linear.weight.shape
        merged = nn.Linear(inputs, outputs)
        correction = self.factor * self.B.data @ self.A.data
        merged.weight.data = self.linear.weight.data + correction
        merged.bias.data = self.linear.bias.data.clone()
        return merged
        ### END SOLUTION


# %% check="LoRA"
al.checks.LoRA(LoRA)

# %% [markdown] hints="LoRA"
# Texts stand in rows, so $A x$ is `x @ A.T`. Follow the shapes: `(..., inputs)`, then
# `(..., rank)`, then `(..., outputs)`. What stands for $Wx + b$ already?
#
# ---
# `nn.Parameter(tensor)` makes a tensor that learns; `torch.randn(rank, inputs)` is
# rather large, so divide by the root of `inputs`. In `forward` add two terms, the
# second with its factor.
#
# ---
# For `merge`: which matrix $M$ has $Mx = Wx + \frac{\alpha}{r} B A x$? Make an
# `nn.Linear` of the same size and put $M$ and the old bias into its `.weight.data` and
# `.bias.data`.

# %% [markdown]
# Now your LoRA goes around every matrix of BERT. Until it is right, the one of the
# library peft stands in.


# %%
class TheirLoRA(nn.Module):
    """The layer of the library peft, with the three methods of ours."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"])
        around = inject_adapter_in_model(settings, nn.Sequential(linear))
        self.layer = around[0]

    def forward(self, x):
        return self.layer(x)

    def merge(self):
        self.layer.merge()
        return self.layer.get_base_layer()


# %%
Correction = al.checks.yours_or_ours("LoRA", LoRA, TheirLoRA)


# %%
def add_lora(model, rank=8, alpha=16):
    """Put LoRA around each matrix of BERT; nothing else learns but the layer on top."""
    model.requires_grad_(False)
    for name, module in list(model.bert.named_modules()):
        if isinstance(module, nn.Linear):
            around = Correction(module, rank, alpha).to(model.device)
            model.bert.set_submodule(name, around)
    model.classifier.requires_grad_(True)


def merge_lora(model):
    """Put the merged layers back in."""
    for name, module in list(model.bert.named_modules()):
        if isinstance(module, Correction):
            model.bert.set_submodule(name, module.merge().to(model.device))


# %%
adapted = al.classification.fresh_classifier("minilm", splits.train.label_names)
plain = sum(weights.numel() for weights in adapted.model.parameters())
add_lora(adapted.model)
learn = [one.numel() for one in adapted.model.parameters() if one.requires_grad]
fit(adapted, few.train, 1e-3, steps)
with torch.no_grad():
    apart = adapted.model(**inputs).logits
    merge_lora(adapted.model)
    merged = adapted.model(**inputs).logits
print(f"{sum(learn):,} of {plain:,} numbers learn, {sum(learn) / plain:.1%}:", end=" ")
print(f"a file of {4 * sum(learn) / 1e6:.1f} MB")
print(f"after {steps} steps: {al.Evaluator(adapted, dev).score()}")
print(f"merged, the logits differ by at most {(merged - apart).abs().max():.0e}")

# %% [markdown]
# Few numbers learn, and merging changes the logits only by rounding.
#
# <details><summary>What LoRA saves, and what it does not</summary>
#
# A hundred tasks need one BERT and a hundred such small files. LoRA saves memory, and
# some time: gradients still go back through all layers, but those of the large matrices
# themselves, about a third of all products, are not computed. (Hu et al. report 25 %
# more speed for GPT-3; not measured here.)
#
# </details>
#
# <details><summary>For the expert: QLoRA and DoRA</summary>
#
# **QLoRA** (Dettmers et al. 2023) stores $W$ in only 4 bits a number, in NF4 (*4-bit
# NormalFloat*), whose 16 levels suit normally distributed weights. For each product $W$
# is turned back into 16 bits, the format of $A$ and $B$.
#
# **DoRA** (Liu et al. 2024) writes each $W$ as a direction and a length $m$ for each of
# its outputs. The direction gets a LoRA, the length learns directly:
# $m \cdot \frac{W + BA}{\lVert W + BA \rVert}$.
#
# </details>

# %% [markdown]
# ## 6. What is a label worth?
#
# How many labels do your two ways to train need, and would something cheaper do as
# well? Four methods, the cheapest first:
#
# - **bag of words**: a logistic regression on word counts; nothing is pretrained;
# - **frozen features**: a logistic regression on the mean of BERT's token vectors;
# - **LoRA** of rank 8, and **full** fine-tuning: your loop.
#
# The plot adds *zero-shot (mean)*, the mean over the three wordings of section 2. It
# uses no labels, so its line is flat. Guess first: who wins with 64 labels?
#
# <details><summary>How the comparison is set up</summary>
#
# Each method is trained with three seeds. A seed draws the sentences, the layer on top,
# the order and the dropout. LoRA and *full* take 48 steps of 16 sentences, or one epoch
# if that is more. The bag of words counts single words and word pairs. Counts are
# damped, and weighted down for words that stand in many texts (*tf-idf*).
#
# </details>

# %%
counts = (16, 32) if small_run else (64, 256, 1024)
seeds = (1, 2) if small_run else (1, 2, 3)
rate_of = {"LoRA": 1e-3, "full": 1e-4}


# %%
def steps_for(n):
    """At least 48 steps, at least one epoch."""
    return 2 if small_run else max(48, math.ceil(n / 16))


def trained(method, train, rate, seed):
    """A classifier, trained by your loop; LoRA is merged."""
    torch.manual_seed(seed)
    clf = al.classification.fresh_classifier("minilm", splits.train.label_names)
    if method == "LoRA":
        add_lora(clf.model)
    fit(clf, train, rate, steps_for(len(train)), seed)
    merge_lora(clf.model)
    return clf


# %%
def accuracies(train, seed):
    """What all four reach on dev, in percent; and the two fine-tuned classifiers."""
    words = al.evaluation.bag_of_words(train).predict(dev.texts)
    probe = LogisticRegression(max_iter=1000)
    probe.fit(sentence_vectors(base, train.texts), train.labels)
    cheap = {"bag of words": words, "frozen features": probe.predict(dev_vectors)}
    right = {way: answers == dev_labels for way, answers in cheap.items()}
    models = {way: trained(way, train, rate, seed) for way, rate in rate_of.items()}
    right |= {
        way: al.Evaluator(one, dev).score().correct for way, one in models.items()
    }
    return {way: 100 * hits.mean() for way, hits in right.items()}, models


# %%
results, tuned = {}, {}


def learn_from(n):
    """What all four make of n labels, with each seed."""
    for seed in seeds:
        part = splits.train.sample(n, seed)
        results[n, seed], models = accuracies(part, seed)
        tuned[seed] = models["LoRA"]  # in the end those of the most labels


learn_from(counts[0])

# %%
learn_from(counts[1])

# %%
for n in counts[2:]:
    learn_from(n)

# %%
table = pd.DataFrame(results).T.rename_axis(["labels", "seed"])  # (counts x seeds, 4)
by_count = table.groupby("labels")
means, spread = by_count.mean(), by_count.std()

# %%
means["zero-shot (mean)"] = np.mean(zero_shot)  # over its three wordings
al.plots.lines(
    counts,
    {way: means[way] for way in means},
    errors={way: spread[way] for way in spread},
    xlabel="labelled sentences to train on",
    ylabel="accuracy on dev, %\n(bars: ± standard deviation over seeds)",
    log="x",
    alt="Accuracy on dev by number of labels: "
    + "; ".join(f"{w} {y.iloc[0]:.0f} to {y.iloc[-1]:.0f} %" for w, y in means.items()),
)

# %%
settings = {
    "LoRA": (brief(rate_of["LoRA"]), "8", f"{sum(learn):,}"),
    "full": (brief(rate_of["full"]), "–", f"{plain:,}"),
}
rows = {}
for way in table:
    rate, rank, learns = settings.get(way, ("–", "–", "–"))
    rows[way] = {"rate": rate, "rank": rank, "numbers that learn": learns}
    for n in counts:
        result = f"{means[way][n]:.1f} ± {spread[way][n]:.1f}"
        rows[way][f"{n:,} labels, %"] = result
al.plots.table(pd.DataFrame(rows).T)

# %% [markdown]
# Are the differences more than the luck of a **seed**, the number that random choices
# start from? A seed gives all methods the same sentences, so we subtract seed by seed.
# *A minus B* above 0 means that A is better.


# %%
def lead(gaps):
    """A mean gap over seeds with its 95 % interval, in points."""
    half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5
    low, high = gaps.mean() - half, gaps.mean() + half
    clear = "clear" if low > 0 or high < 0 else "not clear"
    return f"{gaps.mean():+5.1f} points [{low:+.1f}, {high:+.1f}], {clear}"


# %%
pairs = [
    ("frozen features", "bag of words"),
    ("LoRA", "frozen features"),
    ("full", "frozen features"),
    ("LoRA", "full"),
]
for n in counts:
    for one, other in pairs:
        gaps = table.loc[n, one] - table.loc[n, other]  # same seed, same sentences
        print(f"{n:5,} labels: {one} minus {other}: {lead(gaps)}")
fewest, zero = counts[0], np.mean(zero_shot)
for way in table:
    ahead = lead(table[way][fewest] - zero)
    print(f"{fewest:5,} labels: {way} minus zero-shot: {ahead}")

# %% [markdown]
# Brackets hold the 95 % interval of the difference over three seeds; a *clear* one
# leaves out 0. A difference that is not clear may still be there.
#
# In our run pretraining clearly paid with 64 and 256 labels. Training BERT itself
# clearly beat frozen features only with 1,024 labels, and only as *full* fine-tuning.
#
# Two warnings about the curve. LoRA and *full* see 64 labels twelve times, but 1,024
# only once, so its right end shows what one pass is worth. And both read through a
# pooler that begins at random; frozen features do not.
#
# <details><summary>What we saw</summary>
#
# - **With 64 labels nothing is clearly better than zero-shot**, whose mean is 66.3 %;
#   the bag of words is clearly worse. (The best wording, 71.6 %, was chosen on these
#   dev labels.)
# - **Pretraining counts.** With 64 and 256 labels frozen features are clearly better
#   than the bag of words.
# - **LoRA is not clearly better than frozen features** anywhere. With 256 labels it is
#   1.3 points worse, 6 or 7 sentences of 500. *Full* is clearly better with 1,024
#   labels, by 3.5 points.
# - **LoRA and *full* do not differ clearly** anywhere, though LoRA trains 1.5 % of the
#   numbers.
#
# </details>
#
# <details><summary>How far can one trust this comparison?</summary>
#
# - *Frozen features* reads the mean over tokens, for which this BERT was trained. LoRA
#   and *full* read `[CLS]` through the pooler, which begins at random; LoRA can correct
#   it only by rank 8. So this does not compare the methods alone.
# - 64 labels are seen twelve times, 256 three times, 1,024 once. So the right end shows
#   what one pass gives, not what 1,024 labels are worth: in section 4 three passes over
#   320 sentences gave no less.
# - All intervals are about the same 500 dev sentences; about others they say nothing.
# - Of sixteen comparisons, one may be *clear* by luck.
#
# </details>

# %% [markdown]
# **Design an experiment.** Were the two learning rates in `rate_of` fair? How many
# rates would you try for each method, with which seeds, and on which sentences?
#
# <details><summary>One way to do it</summary>
#
# The rate is the first setting to search; ours were fixed beforehand, at the package's
# defaults. Three rates for each method, a factor of 3 apart, the middle number of
# labels, the same three seeds for all. If a neighbouring rate is clearly better, the
# curve above was unfair by about so much. But the best of several rates on dev is
# partly the luckiest. That is what **test** is for: you look at it once, for the
# winner.
#
# </details>

# %% [markdown]
# ## 7. Is it any good?
#
# We compared methods, but is any of them good enough? An accuracy alone says little:
# what would a model without understanding reach, and what could one hope for at most?
# From here on we look at the classifier that comes with the course: the same BERT with
# LoRA of rank 8, trained on all 8,070 training sentences.
#
# <details><summary>What may you do with this report?</summary>
#
# This section *describes* the classifier, on test sentences. If you change the model
# because of what you see, you need new ones for the next report.
#
# </details>

# %%
clf = al.load_classifier("movie-sentiment")
test = splits.test.sample(size.sentences)
report = al.report(clf, test, splits.train)
al.plots.comparison(report)

# %% [markdown]
# The picture compares this classifier with
#
# - **majority**: always the more frequent label;
# - **tf-idf + logistic regression**: the bag of words. Whatever costs more has to beat
#   it;
# - **the raters** (dashed): how often a single human rater agrees with the label.
#
# Our classifier beats the bag of words by little, but the interval of the difference
# leaves out 0.
#
# <details><summary>Where does the dashed line come from?</summary>
#
# Some twenty people rated each sentence; the label is their common judgement. The line
# says how often one of them agrees with it, as if ratings were normally distributed. It
# comes from the ratings that made the label, so it is probably too high: a yardstick,
# not a limit.
#
# </details>

# %% [markdown]
# ### Does it find the rare classes?
#
# Where one class is rare, accuracy can hide that it is hardly ever found. Take eight
# topics of news, with 10 test texts about *grain*. A bag of words calls three texts
# *grain*, and rightly.
#
# - **Precision**: of the texts called *grain*, how many are? 3 of 3: 1.00.
# - **Recall**: of those that are, how many were found? 3 of 10: .30.
# - **F1**, the harmonic mean: $2 \cdot 1.00 \cdot .30 / (1.00 + .30) = .46$.

# %%
news = al.datasets.load("reuters-r8").sample(size.training_sentences)
predictions = al.evaluation.bag_of_words(news.train).predict(news.test.texts)
news_labels = np.array(news.test.labels)
by_class = al.evaluation.by_class(predictions, news_labels, news.test.label_names)
print(f"accuracy {(predictions == news_labels).mean():.1%},", end=" ")
print(f"mean F1 of the classes {by_class.f1.fillna(0).mean():.1%}")
by_class = by_class.sort_values("texts", ascending=False).set_index("label")
al.plots.table(by_class, precision=2, recall=2, f1=2)

# %% [markdown]
# Frequent topics go well, so accuracy is high. The mean F1, where each topic counts the
# same, is far lower.
#
# <details><summary>Which class is taken for which?</summary>
#
# `pd.crosstab(news_labels, predictions)` counts it: the **confusion matrix**, a row for
# each true class.
#
# </details>

# %% [markdown]
# ### Is it as sure as it should be?
#
# A user also wants to know which answers to trust. A model that says "90 %" should be
# right nine times out of ten. Say ten answers have a **confidence** (the probability of
# the class that is answered) of about .9, and seven of them are right: the gap is .2.
#
# Put all answers into **bins** of equal width by their confidence, and average the
# bins' gaps, each weighted by its share of the answers. That is the **expected
# calibration error**:
#
# $$ \text{ECE} = \sum_{b} \frac{n_b}{n} \, \bigl| \text{confidence}_b -
# \text{accuracy}_b \bigr| . $$

# %%
al.plots.calibration(report)

# %% [markdown]
# Points below the diagonal are overconfident: of the answers at 85 %, only 77 % are
# right.
#
# The cure is one number (Guo et al. 2017): divide all logits by a **temperature** $T$.
# With logits 3 and 1 the model is 88 % sure; with $T = 2$ they are 1.5 and 0.5, and it
# is 73 % sure. No answer changes.
#
# <details><summary>Why are fine-tuned networks often overconfident?</summary>
#
# When all training answers are right, more confidence still lowers the loss.
#
# </details>
#
# ### Exercise 4: calibration error at a temperature
#
# *Difficulty 3 of 5, 10 minutes.* Return the expected calibration error of answers
# whose logits are divided by `temperature`. The bins divide the range from 0 to 1; a
# confidence of exactly 1 belongs to the last one, and empty bins count nothing.


# %% exercise="calibration_error" points=3
def calibration_error(logits, labels, temperature, bins=10):
    """Expected calibration error, a float from 0 to 1; logits (N, C), labels (N,)."""
    ### BEGIN SOLUTION
    confidence, answers = (logits / temperature).softmax(-1).max(-1)
    right = (answers == labels).float()
    place = (confidence * bins).long().clamp(max=bins - 1)
    error = 0.0
    for number in place.unique():
        inside = place == number
        gap = confidence[inside].mean() - right[inside].mean()
        error += inside.float().mean().item() * abs(gap.item())
    return error
    ### END SOLUTION


# %% check="calibration_error"
al.checks.calibration_error(calibration_error)

# %% [markdown] hints="calibration_error"
# In this order: temperature, softmax, the largest probability of each row and which
# class has it, right or wrong, the number of the bin, one gap for each bin.
#
# ---
# `.max(-1)` gives confidences and answers at once. The number of the bin is the whole
# part of confidence times `bins`; what does that give for a confidence of 1?
#
# ---
# `inside = place == number` says which answers are in a bin. Its mean is their share.
# Leave out bins in which there are none.

# %% [markdown]
# We choose the temperature with the lowest loss on dev: the loss is smooth, and rewards
# honest probabilities. What does it do to your calibration error?


# %%
def our_error(logits, labels, temperature, bins=10):
    stated = (logits / temperature).softmax(-1).numpy()
    return al.evaluation.calibration(stated, labels.numpy(), bins)[1]


error_of = al.checks.yours_or_ours("calibration_error", calibration_error, our_error)
logits_dev, logits_test = (clf.logits(clf.encode(part.texts)) for part in (dev, test))
labels_dev, labels_test = torch.tensor(dev.labels), torch.tensor(test.labels)
temperatures = np.linspace(0.5, 3, 51)
cross_entropy = nn.functional.cross_entropy
nats = [float(cross_entropy(logits_dev / t, labels_dev)) for t in temperatures]
best = float(temperatures[int(np.argmin(nats))])
errors = [100 * error_of(logits_dev, labels_dev, float(t)) for t in temperatures]

# %%
al.plots.lines(
    temperatures,
    {"calibration error": errors},
    points=([best], [100 * error_of(logits_dev, labels_dev, best)]),
    xlabel="temperature (dot: lowest loss on dev)",
    ylabel="expected calibration error on dev, %",
    alt=f"Calibration error on dev by temperature, from {min(errors):.1f} to"
    f" {max(errors):.1f} %; the loss is lowest at {best:.2f}.",
)

# %% [markdown]
# Even a perfectly calibrated model shows an error, as ten tosses of a fair coin seldom
# give exactly five heads. How large is it? Draw labels with just the probabilities that
# our model states, and measure; repeat many times. Our error is a finding only if these
# errors seldom exceed it.

# %%
generator = torch.Generator().manual_seed(0)
for name, temperature in {"before": 1.0, "after": best}.items():
    error = error_of(logits_test, labels_test, temperature)
    positive = (logits_test / temperature).softmax(-1)[:, 1]
    draws = positive.expand(10 if small_run else 200, -1)
    drawn = torch.bernoulli(draws, generator=generator).long()
    honest = [error_of(logits_test, labels, temperature) for labels in drawn]
    limit = np.quantile(honest, 0.95)
    verdict = "more than chance explains" if error > limit else "no more than chance"
    print(f"{name:>6} (T = {temperature:.2f}): error {error:.1%} on test,", end=" ")
    print(f"by chance {np.mean(honest):.1%}, seldom above {limit:.1%}: {verdict}")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The temperature chosen on dev is just above 1: the classifier was hardly too sure. Its
# error on test goes from just above what chance explains to inside it. That shows how
# the method works, not that this classifier needed it.
#
# </details>

# %% [markdown]
# ## 8. Where does it fail?
#
# ### Sentences of your own, worst first
#
# A report says how often the model is wrong, not on what. Sorted by loss, confident
# mistakes come first. Read our sentences, decide what *you* would say, and then write
# your own.

# %%
sentences = """
plain             | The acting is good.                                   | positive
negated           | The acting is not good.                               | negative
negated twice     | It is not true that the acting is not good.           | positive
negated from afar | Nobody in their right mind would call this good.      | negative
contrast          | A weak start, but the ending is wonderful.            | positive
contrast turned   | A wonderful ending, but the rest is weak.             | negative
comparison        | I have seen better films on a broken television.      | negative
irony             | Just what the world needed: another talking dog.      | negative
expectation       | It should have been great.                            | negative
question          | Who could possibly dislike this film?                 | positive
"""

# %%
entries = [line.split("|") for line in sentences.strip().splitlines()]
own = pd.DataFrame(entries, columns=["kind", "sentence", "we say"]).map(str.strip)
answers = clf.predict(own["sentence"].tolist())
own["it says"] = answers.labels
wanted = [clf.label_names.index(name) for name in own["we say"]]
own["sure of our label, %"] = 100 * answers.probabilities[range(len(own)), wanted]
own["loss"] = -np.log(own["sure of our label, %"] / 100)
own = own.sort_values("loss", ascending=False).set_index("kind")
al.plots.table(own, **{"sure of our label, %": 0, "loss": 2})

# %% [markdown]
# Above a loss of 0.69 the answer is wrong.
#
# <details><summary>What we saw</summary>
#
# The model is sure of its worst mistake, the double negation, as if it counted negative
# words. Test that: how does it read *It is true that the acting is good*, and *It is
# not true that the acting is bad*? On *expectation* and *question* it is nearly
# undecided. Irony and comparison came out right, but *broken* may give the comparison
# away: try *a splendid television*. Ten sentences prove nothing about all negations;
# for real mistakes take **dev**.
#
# </details>

# %% [markdown]
# ### Is it the model, or the label?
#
# Some sentences divide people, too. Are those the ones the model gets wrong? From the
# ratings we estimate how likely a rater is to agree with the label. Sorted by this
# number, the dev sentences are cut into quarters.
#
# <details><summary>How do we estimate that?</summary>
#
# From mean and spread of a sentence's ratings, as if they were normally distributed:
# the share of ratings on the side of the label.
#
# </details>

# %%
score = al.Evaluator(clf, dev).score()
names = ("divided most", "second", "third", "of one mind")
spread = dev.ratings["std"].clip(lower=1e-9)
agree = stats.norm.cdf(dev.ratings["mean"].abs() / spread)
quarters = np.array_split(np.argsort(agree), 4)
rows = {}
for name, group in zip(names, quarters, strict=True):
    right = score.correct[group]
    low, high = al.statistics.share_interval(int(right.sum()), len(group))
    rows[name] = {
        "a rater agrees, %": 100 * agree[group].mean(),
        "model is right, %": 100 * right.mean(),
        "95 % interval": f"{100 * low:.0f} to {100 * high:.0f}",
        "mean loss": score.losses[group].mean(),
    }

# %%
al.plots.table(pd.DataFrame(rows).T.infer_objects(), **{"mean loss": 2})

# %%
worst = np.argsort(-score.losses)[: max(4, len(dev) // 20)]
print(f"raters agree with the label: {agree.mean():.1%} on all dev sentences,", end=" ")
print(f"{agree[worst].mean():.1%} on the {len(worst)} with the highest loss")
least, most = (100 * score.correct[quarters[end]] for end in (0, -1))
gap = most.mean() - least.mean()
half = 1.96 * math.sqrt(most.var() / len(most) + least.var() / len(least))
print("right, of one mind minus divided most:", end=" ")
print(f"{gap:+.1f} points [{gap - half:+.1f}, {gap + half:+.1f}]")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Where raters agree the model is right clearly more often: the interval of the
# difference lies above 0. But sentences that divide people may also be harder to read,
# and the table cannot separate the two. Where the raters are of one mind, the model's
# mistakes are its own.
#
# </details>

# %% [markdown]
# ### Does it work beyond films?
#
# Here are product reviews, tweets and opinion pages, rated by the same kind of people.

# %%
domains = {"movie (test)": test}
for name in ("product", "tweet", "editorial"):
    domains[name] = al.datasets.load(f"{name}-sentiment").test.sample(size.sentences)

# %%
rows = {}
for name, data in domains.items():
    logits, truth = clf.logits(clf.encode(data.texts)), torch.tensor(data.labels)
    sure, right = (logits / best).softmax(-1).amax(-1), logits.argmax(-1) == truth
    low, high = al.statistics.share_interval(int(right.sum()), len(right))
    rows[name] = {
        "accuracy, %": 100 * float(right.float().mean()),
        "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "mean confidence, %": 100 * float(sure.mean()),
        "majority, %": 100 * float(truth.bincount().max() / len(truth)),
        "are positive, %": 100 * float(truth.float().mean()),
        "called positive, %": 100 * float(logits.argmax(-1).float().mean()),
        "calibration error, %": 100 * error_of(logits, truth, best),
    }

# %%
al.plots.table(pd.DataFrame(rows).T.infer_objects())

# %% [markdown]
# Compare along each row: *accuracy* with *mean confidence* and with *majority*, then
# *are positive* with *called positive*. Confidence and calibration error are at the
# temperature chosen above.
#
# <details><summary>What we saw</summary>
#
# Accuracy falls in every other domain. On tweets it is no better than always answering
# *positive*: the model calls far too few of them positive. The calibration error grows:
# on tweets the mean confidence is 82.7 %, though only 70.1 % of the answers are right.
# The confidence hardly warns you: from films to tweets it falls by 4.6 points, accuracy
# by 15.2.
#
# </details>
#
# <details><summary>Why is the error not just confidence minus accuracy?</summary>
#
# The mean confidence can be right while some bins are too sure and others not sure
# enough. The calibration error adds up the gaps of the bins without their signs, so it
# is at least as large as the difference of the two columns.
#
# </details>

# %% [markdown]
# ## 9. What changed inside?
#
# So far we looked at answers; now at the model itself. First the weights: how far did
# fine-tuning move each matrix, relative to its size?

# %%
before = al.classification.fresh_classifier("minilm", splits.train.label_names)
moves = al.evaluation.layer_movement(before, clf).set_index("kind")
inside, own = moves.dropna(subset="layer"), moves.loc["pooler"]
more = (inside["moved"] > own["moved"]).sum()
print(f"size (norm): pooler {own['norm']:.1f}", end=", ")
print(f"layers {inside['norm'].min():.1f} to {inside['norm'].max():.1f};", end=" ")
print(f"{more} of {len(inside)} matrices in layers moved more than the pooler")
al.plots.movement(before, clf)

# %% [markdown]
# Relative to its size the pooler moved most by far. Inside the layers the values of
# layer 0 did.
#
# <details><summary>Why these?</summary>
#
# The pooler began at random (section 2), so it had all to learn. And it is small:
# without division by the size, 35 of the 36 matrices in the layers moved more. Word
# embeddings stayed, because LoRA does not touch them.
#
# </details>
#
# And attention? Say a head gave three tokens the weights .7, .2 and .1, and now gives
# .4, .5 and .1. Then .3 of its weight sits elsewhere. This **share moved** is half the
# sum of the absolute differences (the *total variation distance*): 0 if nothing moved,
# 1 if everything did. The map shows its mean for each head.


# %%
def moved_on(texts, after):
    """The share of each head's attention that moved, for each text: (N, L, H)."""
    shares = []
    for text in texts:
        old, new = before.attend(text).weights, after.attend(text).weights
        shares.append((new - old).abs().sum(-1).mean(-1) / 2)
    return torch.stack(shares).numpy()


found = moved_on(splits.dev.sample(size.sweep_sentences // 2).texts, clf)
al.plots.head_map(
    found.mean(0), title="Attention moved by fine-tuning", label="share moved"
)

# %% [markdown]
# The highest of 72 numbers is partly the luckiest. So we name the head now, and measure
# it once on other sentences, beside the head that comes next there.
#
# <details><summary>What do the brackets hold?</summary>
#
# A **bootstrap** interval (lesson 06): sentences are drawn again, with replacement,
# many times.
#
# </details>

# %%
layer, head = divmod(int(found.mean(0).argmax()), clf.heads)
fresh = moved_on(splits.test.sample(size.sweep_sentences // 2).texts, clf)
flat = fresh.reshape(len(fresh), -1)
own = fresh[:, layer, head]
others = np.delete(flat, layer * clf.heads + head, axis=1)
second = others[:, others.mean(0).argmax()]
low, high = al.statistics.paired_bootstrap(own - second)
print(f"on dev layer {layer}, head {head} moved most, {found.mean(0).max():.2f};")
print(f"on test: {own.mean():.2f}, the next one {second.mean():.2f};", end=" ")
print(f"first minus next: {(own - second).mean():+.2f} [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# Does another training move the same head? Here are your LoRA models of section 6.

# %%
few_texts = splits.dev.sample(size.sweep_sentences // 10).texts
for seed in seeds:
    again = moved_on(few_texts, tuned[seed]).mean(0)
    first = divmod(int(again.argmax()), clf.heads)
    rank = 1 + int((again > again[layer, head]).sum())
    print(
        f"{counts[-1]:,} labels, seed {seed}: layer {first[0]}, head {first[1]}", end=""
    )
    print(f" moved most; layer {layer}, head {head} is number {rank} of {again.size}")

# %% [markdown]
# In our run it did not. Keep our head in mind for lesson 06: layer 3, head 9, in short
# **L3H9**. Here it is on a sentence of ours, after minus before. A row is the token
# that looks (the query), a column the token that is looked at (the key). Which words
# gain (red columns)? Do they decide what the sentence says?

# %%
text = "The second half is slow, but the ending stays with you."
old, new = before.attend(text), clf.attend(text)
change = (new.weights - old.weights)[layer, head].numpy()
al.plots.matrix(
    change,
    rows=new.tokens,
    columns=new.tokens,
    xlabel="key (is looked at)",
    ylabel="query (looks)",
    label="weight, after minus before",
    alt=f"Change of attention, from {change.min():+.2f} to {change.max():+.2f}. Most is"
    f" won by {new.tokens[change.sum(0).argmax()]!r}, most lost by"
    f" {new.tokens[change.sum(0).argmin()]!r}.",
)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# *You* gains most, then *slow* and *stays*, and `[CLS]` loses most: the head turns from
# a token without meaning of its own to words of the sentence. *Slow* and *stays* carry
# the opinion, *you* does not. One sentence is an illustration; the finding is the
# number above.
#
# And it is about *this* classifier. In your models of section 6 other heads moved most,
# L4H8 in two of three. Whether seed or number of labels makes the difference, this does
# not show.
#
# </details>
#
# That a head moved most does not mean that the answer depends on it. Lesson 06 tests
# that.

# %% [markdown]
# ## 10. A label for each word
#
# Until now a whole text had one label. Where in a text are its dates and amounts? Each
# word gets a **tag**: `B-` begins an entity, `I-` goes on with it, `O` is outside. *On
# 3 March* has the tags `O B-DATE I-DATE`. The layer on top is now applied to every
# token, and the loss is the mean over words.
#
# But BERT reads **pieces** of words; *Zugspitze* has four. A word should count once, so
# only its first piece gets the tag. All other tokens get the label -100 (a dash in the
# picture), which PyTorch's cross-entropy leaves out.

# %%
words = ["Zugspitze", "paid", "$", "4.2", "million", "on", "3", "March"]
tags = ["O", "O", "B-AMOUNT", "I-AMOUNT", "I-AMOUNT", "O", "B-DATE", "I-DATE"]
drawings.tagged_pieces(words, [base.tokenizer.tokenize(word) for word in words], tags)

# %% [markdown]
# A tagger is judged by whole **entities**, the bottom row of the picture: a date with
# one word missing is wrong.
#
# ### Exercise 5: from tags to entities
#
# *Difficulty 2 of 5, 8 minutes.* Return a list of `(kind, first, end)`, in the order of
# the text, such that `tags[first:end]` are the tags of the entity. The picture's are
# `("AMOUNT", 2, 5)` and `("DATE", 6, 8)`. Read strictly: an `I-` goes on only with an
# entity of its own kind that stands right before it; otherwise it names nothing.


# %% exercise="entities" points=2
def entities(tags):
    """The entities that tags such as "B-DATE" name: a list of (kind, first, end)."""
    ### BEGIN SOLUTION
    found, kind, first = [], None, 0
    for place, tag in enumerate([*tags, "O"]):
        if kind is not None and tag != f"I-{kind}":
            found.append((kind, first, place))
            kind = None
        if tag.startswith("B-"):
            kind, first = tag[2:], place
    return found
    ### END SOLUTION


# %% check="entities"
al.checks.entities(entities)

# %% [markdown] hints="entities"
# Walk through the tags and remember which entity is open, if any. Which tags close it?
# Which open one? What is to be done when the tags are over?
#
# ---
# Of an open entity remember kind and first word. Any tag but the `I-` of its own kind
# closes it. Add one more `O` at the end, and the last entity closes like all others.

# %% [markdown]
# How well does BERT tag financial news made from templates (**synthetic** data)? Mixed
# in are things that look like dates and amounts but are not. *test* is written like the
# training sentences; *unseen* has templates and ways of writing that occur in none of
# them.
#
# BERT has two rivals. *Nothing* calls every word `O`. *Shapes of words* sees only
# shapes of words and of their neighbours, such as `00/00/00` or `$0.0`.
#
# Your function counts. **F1** is twice the entities that are right, divided by those
# there plus those found. If four are there and three found, two of them right, F1 is
# $2 \cdot 2 / (4 + 3) = .57$.

# %%
find = al.checks.yours_or_ours("entities", entities, al.datasets.tagged.spans)


def entity_counts(truth, guess):
    """For each sentence: entities that are right; those there plus those found."""
    both = [[{*map(tuple, find(tags))} for tags in side] for side in (truth, guess)]
    pairs = zip(*both, strict=True)
    return np.array([(len(own & said), len(own) + len(said)) for own, said in pairs])


def f1_of(counts):
    """F1 over whole entities, in percent: counts (..., sentences, 2)."""
    right, both = np.moveaxis(counts.sum(-2), -1, 0)
    return 200 * right / np.maximum(both, 1)


# %%
newswire = al.datasets.news.splits(train=size.tagged_sentences)
tagger = al.finetune_tagger("minilm", newswire, epochs=size.epochs)
shapes = al.tagging.baseline(newswire.train)


# %%
def share_right(truth, guess):
    """The share of words with the right tag, in percent."""
    pairs = zip(truth, guess, strict=True)
    right = [tag == own for pair in pairs for tag, own in zip(*pair, strict=True)]
    return 100 * np.mean(right)


def compared(data):
    """Three taggers: entity counts for each sentence, and the share of right words."""
    truth = [data.named(index) for index in range(len(data))]
    said = {"nothing": [["O"] * len(words) for words in data.words]}
    said |= {"shapes of words": shapes.predict(data.words)}
    said |= {"BERT": tagger.predict(data.words)}
    counts = {name: entity_counts(truth, tags) for name, tags in said.items()}
    return counts, {name: share_right(truth, tags) for name, tags in said.items()}


# %%
def interval(values):
    """The 95 % interval that drawn values span."""
    return np.quantile(values, [0.025, 0.975])


# %%
rows, generator = {}, np.random.default_rng(0)
for kind in ("test", "unseen"):
    found_by, right_words = compared(getattr(newswire, kind))
    n = len(found_by["BERT"])
    drawn = generator.integers(n, size=(1000, n))  # the same sentences for all three
    values = {name: f1_of(one[drawn]) for name, one in found_by.items()}
    for name, one in found_by.items():
        low, high = interval(values[name])
        rows[kind, name] = [f1_of(one), f"{low:.1f} to {high:.1f}", right_words[name]]
    gap = rows[kind, "BERT"][0] - rows[kind, "shapes of words"][0]
    low, high = interval(values["BERT"] - values["shapes of words"])
    print(f"{kind}: BERT minus shapes: {gap:+.1f} points [{low:+.1f}, {high:+.1f}]")

# %%
columns = ["F1, %", "95 % interval", "right words, %"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table, **{"F1, %": 1, "right words, %": 1})

# %% [markdown]
# *Nothing* shows why words are the wrong thing to count: most belong to no entity.
#
# <details><summary>What we saw</summary>
#
# Where all is written as in training, shapes of words are enough: they make no mistake,
# and BERT is even slightly worse; *test* cannot show what BERT is good for. Where
# templates and ways of writing are new, both lose much, and BERT is far better. So ask
# how far from the training data a score was measured.
#
# </details>
#
# <details><summary>How can an interval have width 0?</summary>
#
# It is no certainty: where nothing varies, a bootstrap shows no spread. No mistake in
# $n$ sentences still allows a rate of about $3 / n$.
#
# </details>
#
# In our own sentence, 120,000 shares look like money but are not. Are they left alone?

# %%
text = "Sales rose to $4.2 million on 3 March, the firm said, lifting 120,000 shares."
for hit in tagger.tag([text])[0]:
    print(f"{hit.kind:7} {hit.text!r}, {hit.probability:.0%} sure")

# %% [markdown]
# ## 11. Your own texts
#
# A table with a column of texts and one of labels is all it takes:
#
# ```
# attnlab finetune reviews.csv --text comment --label topic --out runs/mine
# ```
#
# In Python, with a little table:

# %%
things = ("box", "cable", "lid", "lamp", "screen", "strap")
states = {"broken": "fault", "bent": "fault", "fine": "praise", "perfect": "praise"}
ours = pd.DataFrame(
    [
        {"comment": f"The {thing} is {state}.", "topic": topic}
        for thing in things
        for state, topic in states.items()
    ]
)
mine = al.datasets.from_frame(ours, text="comment", label="topic")
parts = al.datasets.split(mine, dev=4, test=4)
helper = al.finetune("minilm", parts, "frozen", epochs=20)
helper.predict(["My new kettle arrived with a crack.", "I love this radio."]).labels

# %% [markdown]
# A table this small shows that it runs, no more.
#
# Two texts at once (does one follow from the other?) go in as one, with `[SEP]` between
# them. An answer *inside* a text is found by two numbers for each token: is it the
# start, is it the end?
#
# <details><summary>On several GPUs</summary>
#
# `accelerate launch --num_processes 4 -m attnlab finetune …` gives the same weight
# updates as one process.
#
# </details>
#
# ## What you know now
#
# - A training step is: batch with its mask, forward, loss, backward, clip, move.
# - LoRA learns $\frac{\alpha}{r} BA$ beside each frozen $W$, and merging adds it in.
# - Compare methods at your number of labels, over seeds, by the interval of the
#   difference. Begin with the cheapest.
# - Read an accuracy beside baselines and raters, and in its domain. A temperature
#   chosen on dev can calibrate it there; on tweets ours did not hold.
# - Fine-tuning moves attention, more in some heads than in others.
#
# Which of the heads does the work? That is [lesson 06](06_head_mixing.ipynb).
#
# <details><summary>Sources</summary>
#
# Devlin et al. 2019 (BERT) · Wang et al. 2020 (MiniLM) · Reimers and Gurevych 2019
# (sentence vectors) · Loshchilov and Hutter 2019 (AdamW) · Hu et al. 2021 (LoRA) ·
# Kalajdzievski 2023 (LoRA's factor) · Dettmers et al. 2023 (QLoRA) · Liu et al. 2024
# (DoRA) · Guo et al. 2017 (calibration) · Hutto and Gilbert 2014 (the rated sentences).
#
# </details>

# %%
al.checks.summary("finetune_bert")
