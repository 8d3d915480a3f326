# %% [markdown]
# # 05 Fine-tune BERT
#
# **How does a model that knows English, but not your question, learn to answer it? How
# many labels does that take, and how do you know that the result is any good?**
#
# A model that has already learned from a lot of text is **pretrained**. To train it
# further on a question of your own is **fine-tuning**. A **label** is the right answer
# for one text, given by people. Here the question is whether a sentence about a film is
# *positive* or *negative*.
#
# Afterwards you can
#
# - write the parts of a training step;
# - write LoRA, put it into a model, and merge it;
# - compare methods at your number of labels, and tell differences from noise;
# - report on a classifier so that others can trust it, and calibrate it;
# - label single words, and count whole entities (appendix B).
#
# Time: about 130 minutes, 50 of them for five exercises. The appendices, with the last
# exercise, take 30 of the 130. Start **Run → Run All Cells** first; it takes some
# twenty minutes on one core. Where an exercise is empty, our function is used. You need
# [lesson 02](02_attention_from_scratch.ipynb), or to know attention.

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
# A model learns by changing its numbers, the **weights**, a little at each step. How
# large should these changes be? The **learning rate** sets that, and here you can try
# it out.
#
# `al.finetune` takes BERT and puts a layer of random weights on top. It trains both on
# a few labelled sentences. Some other sentences, called **dev**, are kept out of the
# training. They show whether the model has learned more than the sentences it saw.
#
# The first cell picks the sentences and prepares a plot. The training below will draw
# in it.

# %%
few = splits.sample(size.quick_sentences, size.sentences // 2)
quick_curve = al.TrainingCurve(dev_texts=len(few.dev))
quick_curve

# %% [markdown]
# How to read the two plots:
#
# - **Left: the loss.** It is high where the right answer gets a low probability. The
#   line is the loss during training, smoothed; the diamonds are the loss on dev. The
#   small plot below shows the learning rate, which changes during a training (section
#   4).
# - **Right: accuracy on dev**, the share of right answers. It is measured after each
#   **epoch**, which is one pass over the training sentences. The bars are 95 %
#   intervals.
#
# <details><summary>What is a 95 % interval?</summary>
#
# These dev sentences are a sample; others would give another accuracy. Take a hundred
# samples and compute such an interval (here Wilson's) from each: about 95 of them hold
# the accuracy over all sentences of this kind.
#
# </details>
#
# Now train, with a learning rate of `1e-4`, which is short for 0.0001.

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
# The right plot shows that after two epochs the model does clearly better than
# guessing, which would be right half of the time. Yet on the left the loss has barely
# moved: an answer turns long before the model is sure.
#
# Now set `learning_rate` to `3e-4`, then `1e-5`, then `1e-2`, and run the cell each
# time. Every run is drawn over the ones before. Two of these three learn hardly
# anything, for opposite reasons. How do their losses differ?
#
# <details><summary>What to expect</summary>
#
# At first the model guesses, and guessing between two classes has the loss $\ln 2
# \approx 0.69$. With too low a rate the loss falls too slowly from there. With too high
# a rate it jumps up and then stays near 0.69: the model gives nearly the same answer to
# everything.
#
# With 1e-4 the loss has barely moved after so few steps, and yet many answers are
# right. An answer turns long before the model is sure.
#
# </details>

# %% [markdown]
# ## 2. What can BERT do before the first label?
#
# That training was short, and it worked because BERT did not start from nothing. What
# could it do before it saw a single label?
#
# BERT turns each token of a text into a vector. In front of every text stands a special
# token, `[CLS]`. Two small layers make an answer from its vector: the **pooler**, and
# then the layer on top, which gives one number for each class.
#
# The next cell loads this model, untrained for our question, and draws its parts.

# %%
base = al.classification.fresh_classifier("minilm", splits.train.label_names)
drawings.fine_tuned_parts(6, ["negative", "positive"])

# %% [markdown]
# Two of these parts know nothing yet. The layer on top is new and random. In this BERT
# the pooler is untrained as well: its pretraining never used it (appendix D shows how
# to see that). Random layers can only guess, so we leave both out.
#
# What remains is BERT itself. Ours, all-MiniLM-L6-v2, was also trained to give similar
# vectors to sentences with similar meanings. That is enough for a first classifier:
#
# 1. Write one sentence for each class, such as *This film is bad* and *This film is
#    good*.
# 2. Take as the vector of a text the mean of BERT's token vectors.
# 3. Give every review the class of the sentence whose vector is nearer (larger cosine).
#
# This is **zero-shot** classification: no labelled review is needed.
#
# The next cell computes the vectors of step 2. The one after it tries three pairs of
# sentences, and counts the right answers on dev.


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
# Each line gives the accuracy, its 95 % interval, and the two sentences. All three
# pairs beat guessing. But could you have known which pair is best?
#
# <details><summary>What we saw</summary>
#
# The pair about the film (first line) does clearly better than the two bare words (last
# line). But only labels tell you which wording to take.
#
# </details>

# %% [markdown]
# ## 3. How do texts of different lengths go in together?
#
# From here on BERT learns from labels. It reads several texts at a time, a **batch**. A
# batch is a table of token ids with one row for each text. But the rows of a table are
# equally long, and texts are not.
#
# So shorter texts are filled up with a meaningless token, the **padding**, written
# `[PAD]`. No word should attend to it. Therefore the model also gets an **attention
# mask**, which has 1 for a real token and 0 for padding.
#
# Here are four texts as one batch, with its mask.

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
# shape `(B, T)`, where `B` is the number of lists and `T` the length of the longest.
# The first holds the ids, the second the mask. The lists themselves stay as they are.
# Do not tell padding by its id: some tokenizers use the same token for padding and for
# the end of a text, which is real.


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

# %% [markdown]
# Now your function makes the batch of our four texts. The cell also makes a fresh
# model, `learner`, which section 4 will train.

# %%
pad = al.checks.yours_or_ours("pad_batch", pad_batch)
torch.manual_seed(0)
learner = al.classification.fresh_classifier("minilm", ["negative", "positive"])
pad_id = learner.tokenizer.pad_token_id
ids, mask = (tensor.to(learner.device) for tensor in pad(token_rows, pad_id))
inputs = {"input_ids": ids, "attention_mask": mask}

# %% [markdown]
# What if you forget the mask? Here *A joy.* shares a batch with a long text. A
# classifier that is already trained reads it twice: with its mask, and with 1
# everywhere.

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
# A forgotten mask raises no error. Yet the answer turns from positive to negative,
# because real words now attend to padding. How much padding there is depends on the
# longest text in the batch. So the answer depends on the other texts, too.

# %% [markdown]
# ## 4. What happens in one training step?
#
# The batch is ready. How does a model learn from it? One **training step** has three
# parts: forward, backward, and the move of the weights.
#
# **Forward.** The model gives each text one number for each class. These numbers are
# the **logits** $z$. Softmax turns them into probabilities, and the **loss** of the
# text is minus the logarithm of the probability of its right class. Say the logits of a
# text are 1 and 3:
#
# - Softmax makes the probabilities .119 and .881 of them.
# - If the second class is right, the loss is $-\ln .881 = 0.13$.
# - If the first class is right, the loss is $-\ln .119 = 2.13$.
#
# The loss $L$ of a batch is the mean over its $n$ texts. In symbols, with $y_i$ for the
# right class of text $i$ and $\ell_i$ for its loss:
#
# $$ \ell_i = -\ln \text{softmax}(z_i)_{y_i}, \qquad
# L = \frac{1}{n} \sum_i \ell_i . $$
#
# The next cell computes the loss of our four texts, with PyTorch's function and by
# hand.

# %%
labels = torch.tensor([1, 0, 1, 0], device=learner.device)  # 1 is praise
model = learner.model
logits = model(**inputs).logits  # (B, 2)
loss = nn.functional.cross_entropy(logits, labels)
right = logits.softmax(-1)[range(4), labels]  # probability of the right class
print("right classes got", right.detach().cpu().numpy().round(3))
print(f"loss {loss:.4f}, by hand {-right.log().mean():.4f}, guessing {math.log(2):.4f}")

# %% [markdown]
# Both ways agree. Every right class gets about one half, and the loss is close to that
# of guessing: the layers on top are still random.
#
# **Backward.** How would the loss change if a weight changed a little? The **gradient**
# answers that, with one number for each weight. It is one long vector. If its length is
# above 1, it is shortened to 1. This is **clipping**; it limits the harm that one
# strange batch can do.
#
# **The move.** The optimizer, here AdamW, moves each weight against its gradient.
# Before that, it divides each gradient by the size that this weight's gradients usually
# have. So the learning rate says about how far each weight moves.
#
# <details><summary>What AdamW keeps and computes</summary>
#
# AdamW keeps two running means for each weight: of its gradient, and of the gradient's
# square. Both are corrected for their start at 0. It takes from the weight the learning
# rate times the first over the root of the second. Each step also pulls weights a
# little towards 0 (**weight decay**, .01 here).
#
# </details>
#
# How far should one step go? The next cell takes one step with each of eight learning
# rates, always from the same start. The cell after it draws the loss before and after.

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
# Left of the valley a step changes too little, right of it too much. A training has
# many steps, and they add up. So a whole run usually takes a lower rate than the best
# one for a single step. For all weights of BERT we take 1e-4.

# %% [markdown]
# ### What if a large batch does not fit into memory?
#
# Cut it into parts, and let each part go forward and backward by itself. `backward()`
# *adds* to the `.grad` of every parameter. So the gradients of all parts collect there,
# and only then one step is taken. This is **gradient accumulation**.
#
# The step should be exactly that of the whole batch, and here is a trap. Say one part
# holds two texts, with the losses 1 and 3. The other part holds one text, with the loss
# 8.
#
# - The means of the parts are 2 and 8.
# - The mean of these two means is 5.
# - But the mean of all three losses is 4.
#
# Write $n_k$ for the number of texts in part $k$. The loss function gives the mean over
# this part, $L_k = \frac{1}{n_k} \sum_{i \in k} \ell_i$. How do you get the gradient of
# $L$, the mean over all texts, from those of the $L_k$?

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
# ### The whole training
#
# One step is not enough to learn from. What repeats it, batch after batch, is the
# **training loop**. The next three cells write it, with both of your functions inside.
#
# First comes `Reader`. It takes a batch and returns its logits.
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


# %% [markdown]
# Next, `reading` prepares the texts. The function `part_of` that it returns makes one
# part of a batch, with your `pad_batch`.


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


# %% [markdown]
# The loop itself is `fit`. In each step it cuts a batch of 16 sentences into two parts,
# lets your `accumulate` compute the gradients, clips them, and moves the weights. The
# learning rate rises at first and then falls to 0.


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


# %% [markdown]
# Now train `learner`, and then measure it on dev.

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
# Your loop changes every weight. What does that cost, and can a model learn with less?
#
# While it trains, each weight needs three more numbers: its gradient, and the two
# running means that AdamW keeps. Each number takes 4 bytes. For a model with 7 billion
# weights that is $7 \cdot 10^9 \cdot 3 \cdot 4$ bytes, or 84 GB, beside the weights
# themselves.
#
# **LoRA** (*low-rank adaptation*, Hu et al. 2021) leaves every matrix $W$ as it is.
# Beside it, it learns a correction, which is the product of two narrow matrices $B$ and
# $A$:
#
# $$ \text{output} = W x + b + \frac{\alpha}{r} B A x . $$
#
# Here $x$ is the input and $b$ the bias. $A$ has $r$ rows, one column for each input,
# and $B$ has $r$ columns, one row for each output. The number $r$ is small, such as 8.
# The number $\alpha$ is fixed, and scales the correction.

# %% [markdown]
# **A small example.** Take $r = 1$, $A = (1\;\;2)$ and $B = \binom{3}{0}$, and the
# input $x = \binom{1}{1}$.
#
# - First $A$ makes one number of it: $Ax = 1 \cdot 1 + 2 \cdot 1 = 3$.
# - Then $B$ makes two numbers of that: $BAx = 3 \cdot \binom{3}{0} = \binom{9}{0}$.
#
# Whatever $x$ is, $BAx$ is a multiple of $B$. In general only $r$ numbers pass from $A$
# to $B$. In the words of linear algebra, the **rank** of the matrix $BA$ is at most
# $r$.
#
# The picture shows a matrix of our BERT with a LoRA of rank 8. The numbers in it count
# what learns and what stays. ($A$ and $B$ are drawn too thick.)

# %%
drawings.lora(384, 384, 8)

# %% [markdown]
# At the start $A$ is random and $B$ is all 0. So $BA$ is 0, and a fresh LoRA changes
# nothing. Still, a gradient reaches $B$, and learning can begin.
#
# After training, the correction can be added to $W$ once and for all. This is
# **merging**. The model then has its old shape again, and costs no extra time.
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
# Now your LoRA goes into BERT. Until it is right, the LoRA of the library peft stands
# in. The next cell wraps that one, so that it has the same three methods.


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

# %% [markdown]
# `add_lora` puts a LoRA around each matrix in BERT's layers and pooler. Only these and
# the layer on top learn from then on. `merge_lora` takes them out again, merged.


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


# %% [markdown]
# Train a fresh BERT like this, with the same sentences and steps as before. Then merge
# it, and see whether its logits stay the same.

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
# Few numbers learn, and merging changes the logits only by rounding. If 1.5 % of 7
# billion numbers learn, the 84 GB from above become 1.3 GB. In our run the accuracy
# lies inside the interval that your full training got in section 4. One run of each
# shows no difference between the two.
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
# its outputs. The direction gets a LoRA, the length learns directly: $m \cdot \frac{W +
# BA}{\lVert W + BA \rVert}$.
#
# </details>

# %% [markdown]
# ## 6. What is a label worth?
#
# You have two ways to train, and labels cost work. How many do they need, and would
# something cheaper do as well?
#
# We compare four methods, the cheapest first. The first two are **logistic
# regressions**: one layer with softmax, which learns from fixed numbers about the text.
#
# - **bag of words**: its numbers count the words of a text. Nothing is pretrained.
# - **frozen features**: its numbers are the mean of BERT's token vectors, as in section
#   2. BERT itself does not change.
# - **LoRA** of rank 8, with your loop.
# - **full** fine-tuning of all weights, with your loop.
#
# Each method gets 64, 256 and 1,024 labels. Each training is done three times, with
# three **seeds**. A seed is the number that random choices start from. Here it decides
# which sentences are drawn, how the layer on top begins, and in which order the model
# reads.
#
# <details><summary>How the comparison is set up</summary>
#
# LoRA and *full* take 48 steps of 16 sentences, or one epoch if that is more. Their
# dropout, too, depends on the seed. The bag of words counts single words and word
# pairs. Counts are damped, and weighted down for words that stand in many texts
# (*tf-idf*). The learning rates were fixed beforehand, at the package's defaults.
#
# </details>
#
# Three cells set up the comparison: the settings, a function that trains one
# classifier, and a function that measures all four methods.

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


# %% [markdown]
# Three more cells train, one for each number of labels. That takes some minutes. Guess
# meanwhile: which method wins with 64 labels?

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

# %% [markdown]
# The plot shows the mean over the seeds. The flat line is *zero-shot (mean)*, the mean
# over the three wordings of section 2, which needs no labels. The table below the plot
# holds the same numbers, and how many weights learn.

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
# With 64 labels most of the bars overlap. Which differences are more than the luck of a
# seed? A seed gives all methods the same sentences, so we subtract seed by seed. *A
# minus B* above 0 means that A is better.


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
# Each line gives the mean difference and, in brackets, its 95 % interval over three
# seeds. We call a difference *clear* if the interval leaves out 0. A difference that is
# not clear may still be there, as three seeds show a small one only if it is nearly the
# same with each seed.
#
# In our run
#
# - frozen features clearly beat the bag of words with 64 and with 256 labels;
# - training BERT clearly beat frozen features only with 1,024 labels, and only as
#   *full* fine-tuning;
# - LoRA and *full* did not differ clearly anywhere, but with 256 labels LoRA was
#   clearly worse than frozen features, by 1.3 points.
#
# So begin with the cheap methods. Then see whether more labels and more training pay.
#
# But be careful with the right end of the curve. LoRA and *full* see 64 labels twelve
# times, and 1,024 labels only once. So that end shows what one pass is worth. It does
# not show the most that 1,024 labels can give.
#
# <details><summary>What we saw</summary>
#
# - **With 64 labels nothing is clearly better than zero-shot**, whose mean is 66.3 %;
#   the bag of words is clearly worse. (The best wording, 71.6 %, was chosen on these
#   dev labels.)
# - **Pretraining counts.** With 64 and 256 labels frozen features are clearly better
#   than the bag of words. With 1,024 the difference is not clear.
# - **LoRA is not clearly better than frozen features** anywhere. With 256 labels it is
#   clearly worse, though only by 1.3 points, 6 or 7 sentences of 500. *Full* is clearly
#   better with 1,024 labels, by 3.5 points.
# - **LoRA and *full* do not differ clearly**, though LoRA trains 1.5 % of the numbers.
#   That does not make them equal: with 256 labels the interval reaches from 12.1 points
#   behind to 1.1 ahead.
#
# </details>
#
# <details><summary>How far can one trust this comparison?</summary>
#
# - *Frozen features* reads the mean over tokens, for which this BERT was trained. LoRA
#   and *full* read `[CLS]` through the pooler, which begins at random; LoRA can correct
#   it only by rank 8. So this does not compare the methods alone.
# - Each method has one learning rate, which was not searched for.
# - 64 labels are seen twelve times, 256 three times, 1,024 once. In section 4 three
#   passes over 320 sentences gave about as much as one pass over 1,024.
# - All intervals are about the same 500 dev sentences; about others they say nothing.
# - Of sixteen comparisons, one may be *clear* by luck. Nearest to 0 are the two
#   intervals of LoRA with 256 labels and of *full* with 1,024, against frozen features.
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
# Section 6 says which method is better. Is any of them good enough? An accuracy alone
# does not tell. What would a model reach without understanding, and how well do people
# agree with the labels?
#
# From here on we look at a classifier that comes with the course. It is the same BERT
# with LoRA of rank 8, trained on all 8,070 training sentences. `al.report` measures it
# on **test**: sentences that are kept apart for the report. They should be used neither
# to train nor to choose. (Three recipes were tried for this classifier, and their test
# accuracies were seen: 84.2, 85.8 and 85.3 %. The last was kept, as it was the fastest
# to train.)
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
# Our classifier beats the bag of words by 3.5 points. The interval of this difference
# leaves out 0, but it begins close to it.
#
# <details><summary>Where does the dashed line come from?</summary>
#
# Some twenty people rated each sentence, from −4 to 4; the label is the sign of their
# mean. Sentences whose mean is nearer to 0 than 0.5 were left out, which makes it
# easier for people and models alike. The line says how often one of them agrees with
# it, as if ratings were normally distributed. It comes from the ratings that made the
# label, so it is probably too high: a yardstick, not a limit.
#
# </details>
#
# Where one class is rare, accuracy can hide that it is hardly ever found. Appendix A
# shows that, with precision and recall.

# %% [markdown]
# ### Is it as sure as it should be?
#
# A user also wants to know which answers to trust. The **confidence** of an answer is
# the probability that the model gives to it. Of the answers with a confidence of 90 %,
# nine in ten should be right.
#
# Say ten answers have a confidence of about .9, and seven of them are right. Then the
# share of right answers is .7, and the gap is .2.
#
# To measure this for all answers, sort them into **bins** of equal width by their
# confidence. In each bin take the gap between mean confidence and accuracy. Average the
# gaps, each weighted by its bin's share of the answers. The result is the **expected
# calibration error** (ECE). With $n_b$ of the $n$ answers in bin $b$ it is
#
# $$ \text{ECE} = \sum_{b} \frac{n_b}{n} \, \bigl| \text{confidence}_b -
# \text{accuracy}_b \bigr| . $$
#
# The picture shows the bins of our classifier on test.

# %%
al.plots.calibration(report)

# %% [markdown]
# On the diagonal a bin is as sure as it is right. Points below it are overconfident: of
# the answers at 85 %, only 77 % are right.
#
# A common cure is one number (Guo et al. 2017). Divide all logits by a **temperature**
# $T$. Say the logits are 3 and 1:
#
# - With $T = 1$ nothing changes, and the model is 88 % sure.
# - With $T = 2$ they become 1.5 and 0.5, and it is 73 % sure.
#
# The larger logit stays the larger, so no answer changes.
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
# Which temperature is best? We take the one with the lowest loss on dev: the loss is
# smooth, and rewards honest probabilities. The plot shows what each temperature does to
# the calibration error, measured by your function.


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
# In our run the dot stands just right of 1. So on dev the classifier was hardly too
# sure. But which epoch to keep was decided on dev, too, so test has to confirm it.
#
# How large is an error that means nothing? Ten tosses of a fair coin give exactly five
# heads only one time in four, and in the same way even a perfectly calibrated model
# shows an error. To see how large, suppose that the stated probabilities are exactly
# right. Draw labels with these probabilities, and measure the error. Repeat this many
# times. Our error is a finding only if the drawn ones seldom exceed it.

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
# Before, our error on test was just above what chance explains; after, it is inside.
# But it fell by less than a point. This shows how the method works, and not that this
# classifier needed it.

# %% [markdown]
# ## 8. Where does it fail?
#
# ### Sentences of your own, worst first
#
# A report says how often the model is wrong, not on what. So give it sentences whose
# answer you know, each with a difficulty of its own. Read ours, and decide what *you*
# would say.

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

# %% [markdown]
# The next cell asks the classifier. It sorts by the loss, so that confident mistakes
# come first.

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
# Above a loss of 0.69 the answer is wrong: our label got less than half of the
# probability. Now write sentences of your own in the same form, and run both cells
# again.
#
# <details><summary>What we saw</summary>
#
# The model is sure of its worst mistake, the double negation. One guess is that it
# counts negative words. Test that: how does it read *It is true that the acting is
# good*, and *It is not true that the acting is bad*?
#
# On *expectation* and *question* it is nearly undecided. Irony and comparison came out
# right, but *broken* may give the comparison away: try *a splendid television*. Ten
# sentences prove nothing about all negations; for real mistakes take **dev**.
#
# </details>
#
# A mistake can also be the label's fault. Appendix C compares the model's mistakes with
# what people disagree on.

# %% [markdown]
# ### Does it work beyond films?
#
# The classifier has learned from films only. Here are product reviews, tweets and
# opinion pages, rated by the same kind of people. Will it still be right, and will it
# say so when it is not?

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
# Read along a row. First compare *accuracy* with *majority*, which is what one answer
# for all texts would reach. Then compare it with *mean confidence*, how sure the model
# is on average. Confidence and calibration error are at the temperature chosen above.
#
# In our run the accuracy is lower in every other domain, and on tweets it is no better
# than the majority. The confidence hardly warns you of that.
#
# <details><summary>What we saw</summary>
#
# On tweets the mean confidence is 82.7 %, though only 70.1 % of the answers are right.
# From films to tweets the confidence falls by 4.6 points, the accuracy by 15.2. The
# calibration error is largest there, too.
#
# In all three new domains the model calls too few texts positive. Compare *are
# positive* with *called positive*.
#
# </details>
#
# <details><summary>Is it the language, or that more tweets are positive?</summary>
#
# Two things differ between films and tweets: how people write, and how many texts are
# positive. On films as many are called positive as are, so the model misses about as
# many positive as negative texts. If that held on tweets, another mix would hardly
# change the accuracy. It does not hold: 29.9 % of the answers on tweets are wrong, and
# the positive answers are 28.3 points too few. Nearly all mistakes are then positive
# texts that are called negative. So the mix alone does not explain the fall. It makes
# it larger, because there are more positive texts to miss.
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
# ## 9. Which heads attend differently now?
#
# So far we looked at answers. What has fine-tuning changed inside? BERT has 6 layers
# with 12 **heads** each. For every token, a head spreads a weight of 1 over all tokens:
# its attention. We compare each head before and after.
#
# Say a head gave three tokens the weights .7, .2 and .1, and now gives .4, .5 and .1.
#
# - The differences are −.3, +.3 and 0.
# - Without their signs they add up to .6.
# - Half of that is .3: so much of the weight now sits elsewhere.
#
# This number is the **share moved** (also the *total variation distance*). It is 0 if
# nothing moved, and 1 if everything did. `moved_on` computes it for every head and
# text; the map shows the mean over sentences from dev.

# %%
before = al.classification.fresh_classifier("minilm", splits.train.label_names)


def moved_on(texts, after):
    """The share of each head's attention that moved, for each text: (N, L, H)."""
    shares = []
    for text in texts:
        old, new = before.attend(text).weights, after.attend(text).weights
        shares.append((new - old).abs().sum(-1).mean(-1) / 2)
    return torch.stack(shares).numpy()


# %%
found = moved_on(splits.dev.sample(size.sweep_sentences // 2).texts, clf)
al.plots.head_map(
    found.mean(0), title="Attention moved by fine-tuning", label="share moved"
)

# %% [markdown]
# In our run one head stands out: head 9 in layer 3, in short **L3H9**.
#
# Attention in layer 0 moved least. That alone does not say where the weights changed
# most: a higher layer also gets a changed input from the layers below, and then it
# attends differently, whatever its own weights do.
#
# Is the lead of this head luck? The highest of 72 numbers is partly the luckiest. So we
# name the head now, and measure it once on other sentences, beside the head that comes
# next there.
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
# On the other sentences the head leads again, and the interval of its lead leaves out
# 0. So for this classifier the sentences are not the reason.
#
# Would another training move the same head? Here are your LoRA models of section 6,
# with 1,024 labels each.

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
# In our run this head moved most in none of these models. So the finding is about
# *this* classifier.
#
# What has L3H9 changed? Here it is on a sentence of ours, after minus before. A row is
# the token that looks (the query), a column the token that is looked at (the key).
# Which words gain (red columns)? Do they decide what the sentence says?

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
# a token without meaning of its own, and in some rows also from *the second half is*,
# to these words. The row of [CLS] hardly changes: what is new here can reach [CLS] only
# in later layers. *Slow* and *stays* carry the opinion, *you* does not. One sentence is
# an illustration; the finding is the number above.
#
# In your models of section 6 L4H8 moved most in two of three. They differ from this
# classifier in several ways: seed, number of labels, steps. Which of these makes the
# difference, this does not show.
#
# </details>
#
# A head that moved most need not be one on which the answer depends. Lesson 06 tests
# that, so keep L3H9 in mind.

# %% [markdown]
# ## 10. Your own texts
#
# How do you do all this with texts of your own? A table with a column of texts and one
# of labels is all it takes:
#
# ```
# attnlab finetune reviews.csv --text comment --label topic --out runs/mine
# ```
#
# In Python it looks like this, with a table of 24 rows:

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
# <details><summary>Two texts at once, or an answer inside a text</summary>
#
# Two texts at once (does one follow from the other?) go in as one, with `[SEP]` between
# them. An answer *inside* a text is found by two numbers for each token: is it the
# start, is it the end?
#
# </details>
#
# <details><summary>On several GPUs</summary>
#
# `accelerate launch --num_processes 4 -m attnlab finetune …` shares each batch among
# four processes. Apart from rounding and from what dropout sets to 0, the weight
# updates are those of one process.
#
# </details>
#
# ## What you know now
#
# - A training step is: batch with its mask, forward, loss, backward, clip, move.
# - LoRA learns $\frac{\alpha}{r} BA$ beside each frozen $W$, and merging adds it in.
# - Compare methods at your number of labels, over seeds, by the interval of the
#   difference. Begin with the cheapest.
# - Read an accuracy beside baselines and raters, and in its domain. Calibration in one
#   domain says little about another: on tweets our classifier was far too sure.
# - After fine-tuning some heads attend very differently, others hardly. Which ones,
#   another training may change.
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

# %% [markdown]
# ## Appendix A. When a class is rare: precision and recall
#
# Section 7 judged by accuracy. Where one class is rare, accuracy can hide that it is
# hardly ever found. Take eight topics of news, with 10 test texts about *grain*. A bag
# of words calls three texts *grain*, and rightly. Three numbers describe that:
#
# - **Precision**: of the texts called *grain*, how many are? 3 of 3: 1.00.
# - **Recall**: of those that are, how many were found? 3 of 10: .30.
# - **F1**, the harmonic mean: $2 \cdot 1.00 \cdot .30 / (1.00 + .30) = .46$.
#
# The table holds them for every topic, the most frequent first.

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
# The two largest topics hold most of the texts and go well, so accuracy is high. The
# mean F1, where each topic counts the same, is far lower. The rarest topics have the
# lowest recall.
#
# <details><summary>How exact is a recall of ten texts?</summary>
#
# Hardly: the 95 % interval of 3 in 10 goes from 11 to 60 %.
#
# </details>
#
# <details><summary>Which class is taken for which?</summary>
#
# `pd.crosstab(news_labels, predictions)` counts it: the **confusion matrix**, a row for
# each true class.
#
# </details>

# %% [markdown]
# ## Appendix B. A label for each word
#
# Until now a whole text had one label. Where in a text are its dates and amounts? For
# this each word gets a label, called a **tag**. `B-` begins an entity, `I-` goes on
# with it, and `O` is outside. *On 3 March* has the tags `O B-DATE I-DATE`. The layer on
# top is now applied to every token, and the loss is the mean over words.
#
# But BERT reads **pieces** of words; *Zugspitze* has four. A word should count once, so
# only its first piece gets the tag. All other tokens get the label -100 (a dash in the
# picture), which PyTorch's cross-entropy leaves out.

# %%
words = ["Zugspitze", "paid", "$", "4.2", "million", "on", "3", "March"]
tags = ["O", "O", "B-AMOUNT", "I-AMOUNT", "I-AMOUNT", "O", "B-DATE", "I-DATE"]
drawings.tagged_pieces(words, [base.tokenizer.tokenize(word) for word in words], tags)

# %% [markdown]
# A tagger is judged by whole **entities**, the bottom row of the picture. A date with
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
# How well does BERT tag? We try it on financial news made from templates (**synthetic**
# data). Mixed in are things that look like dates and amounts but are not. There are two
# sets to measure on. *test* is written like the training sentences. *unseen* has
# templates and ways of writing that occur in none of them.
#
# BERT has two rivals. *Nothing* calls every word `O`. *Shapes of words* sees only
# shapes of words and of their neighbours, such as `00/00/00` or `$0.0`.
#
# Your function counts the entities. The measure is F1 (appendix A), which here is twice
# the entities that are right, divided by those there plus those found. If four are
# there and three found, two of them right, F1 is $2 \cdot 2 / (4 + 3) = .57$.

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


# %% [markdown]
# Next we train the tagger, and the rival that sees shapes.

# %%
newswire = al.datasets.news.splits(train=size.tagged_sentences)
tagger = al.finetune_tagger("minilm", newswire, epochs=size.epochs)
shapes = al.tagging.baseline(newswire.train)

# %% [markdown]
# The next three cells compare all three, on the same sentences. Intervals come from
# drawing the sentences again, with replacement, many times.


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
# *Nothing* shows why words are the wrong thing to count. Most belong to no entity, so
# it is right on four words in five and finds nothing.
#
# <details><summary>What we saw</summary>
#
# Where all is written as in training, shapes of words are enough: they make no mistake,
# and BERT is even slightly worse; *test* cannot show what BERT is good for. Where
# templates and ways of writing are new, both lose much, and BERT is far better. So ask
# how far from the training data a score was measured. (Each tagger was trained once;
# the intervals are about sentences only.)
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
# In a sentence of ours, 120,000 shares look like money but are not. Are they left
# alone?

# %%
text = "Sales rose to $4.2 million on 3 March, the firm said, lifting 120,000 shares."
for hit in tagger.tag([text])[0]:
    print(f"{hit.kind:7} {hit.text!r}, {hit.probability:.0%} sure")

# %% [markdown]
# In our run they are, and both entities are found.

# %% [markdown]
# ## Appendix C. Is it the model, or the label?
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
# Where raters agree the model is right clearly more often: the interval of the
# difference lies above 0.
#
# That does not show that wrong labels are the reason. Sentences that divide people may
# also be harder to read, and the table cannot separate the two. Where the raters are of
# one mind, the model's mistakes are its own.

# %% [markdown]
# ## Appendix D. The pooler, before and after
#
# **Before.** Section 2 said that the pooler of this BERT is untrained. How can one see
# that? Compare its numbers with those of BERT's last layer, which is trained. The
# **largest singular value** of a matrix is the most by which it can lengthen a vector.
# Of random numbers we know how large it is, printed here as *noise*.
#
# <details><summary>How large is it for random numbers?</summary>
#
# With standard deviation $\sigma$, $n$ rows and $m$ columns it is about $\sigma (\sqrt
# n + \sqrt m)$. Random numbers prefer no direction. A trained matrix lengthens some
# directions far more.
#
# </details>

# %%
bert = base.model.bert
parts = {"pooler": bert.pooler, "last layer": bert.encoder.layer[-1].output}
for name, part in parts.items():
    weight, bias = part.dense.weight.detach(), part.dense.bias.detach()
    noise = weight.std() * sum(side**0.5 for side in weight.shape)
    print(f"{name:>10}: largest bias {bias.abs().max():.2g},", end=" ")
    print(f"singular value {torch.linalg.matrix_norm(weight, 2):.2f}", end=" ")
    print(f"(noise: {noise:.2f})")

# %% [markdown]
# All biases of the pooler are exactly 0, as at the start of a training, and its largest
# singular value is just that of noise. The trained matrix is far above.
#
# <details><summary>Why is it untrained?</summary>
#
# MiniLM copied the attention and the values of a larger model (Wang et al. 2020); then
# sentences were compared by the mean of the token vectors (Reimers and Gurevych 2019).
# The pooler had no part in either.
#
# </details>
#
# **After.** How far did fine-tuning move each matrix of our classifier? The map shows
# the length of the change, divided by the size of the matrix.

# %%
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
# But the pooler is small. Without division by the size, 35 of the 36 matrices in the
# layers moved more. So "moved most" depends on the measure. That the pooler began at
# random and had all to learn may be another reason; this does not test it. The word
# embeddings stayed, because LoRA does not touch them.

# %%
al.checks.summary("finetune_bert")
