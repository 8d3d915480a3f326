# %% [markdown]
# # 05 Fine-tune BERT
#
# **How does a model that has only read become one that answers your question, how many
# labels does that take, and how do you know that the result is any good?** You build
# one step of training and LoRA, count what a label is worth, and then look hard at the
# finished classifier: where it fails, how sure it is, and what changed inside.
#
# Afterwards you can
#
# - follow one step of training from text to changed weights, and write its parts;
# - write LoRA, put it into a model, and merge it;
# - compare methods at the number of labels you have, with the noise of each figure;
# - report on a classifier so that others can trust it, and mend its confidence;
# - label single words and count whole entities.
#
# Time: about 130 minutes, 50 of them for five exercises. The cells together compute for
# some twenty minutes on one core; start **Run → Run All Cells** first. If an exercise
# is still empty, its check says so and our function is used instead. You need [lesson
# 02](02_attention_from_scratch.ipynb), or to have seen attention.

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
# `al.finetune` takes a BERT that has read a lot of English, puts a layer of random
# weights on top, and trains both on labelled sentences about films. (Our BERT is
# all-MiniLM-L6-v2, a small one that was also trained to give similar vectors to
# sentences with similar meanings.) Here it gets a few sentences only.
#
# Then change `learning_rate` and run the second cell again: `3e-4`, `1e-5`, `1e-2`.
# Each run is drawn over the ones before. Two of these rates learn hardly anything, for
# opposite reasons. How do their losses differ?

# %%
few = splits.sample(size.quick_sentences, size.sentences // 2)
quick_curve = al.TrainingCurve(dev_texts=len(few.dev))
quick_curve

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
# The line is the **loss**, smoothed: high where the model gives the right answer a low
# probability. Each step takes a **batch**, some sentences together. The points are
# accuracy on **dev**, sentences that are not trained on, after each pass over the
# training sentences (an **epoch**). Their bars are **95 % intervals** (Wilson's): of a
# hundred such intervals, each from other sentences, about 95 hold the accuracy over all
# sentences of this kind.
#
# <details><summary>What to expect</summary>
#
# An untrained layer guesses, and guessing between two classes has the loss $\ln 2
# \approx 0.69$: there the curve begins. With too low a rate it falls too slowly. With
# too high a rate it jumps up and then stays near 0.69: the model gives nearly the same
# answer to everything. With 1e-4 the loss has barely moved after so few steps, yet dev
# accuracy has risen: an answer turns long before the model is sure. Judge the other
# rates by both panels.
#
# </details>
#
# ## 2. Before the first label
#
# What is there to begin with? BERT and the pooler have read before; the pink layer is
# new and random:

# %%
drawings.fine_tuned_parts(6, ["negative", "positive"])

# %% [markdown]
# Does BERT need labels at all? Sentences with similar meanings have similar vectors. So
# write down one sentence for each class, and give every review the class of the
# sentence that is nearer (whose vector has the larger cosine with its own). This is
# **zero-shot** classification. As the vector of a text we take the mean over its
# tokens, because this BERT was trained to be read that way.


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
base = al.classification.fresh_classifier("minilm", splits.train.label_names)
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
# Guessing would be right half of the time. In brackets stands the interval.
#
# <details><summary>What we saw</summary>
#
# All three do better than guessing, and two sentences about the film do clearly better
# than two bare words: their intervals do not even overlap. But only labels show that.
# Without them nothing tells you which wording to take.
#
# </details>
#
# ## 3. A batch
#
# Models read many texts at once, as a table of token ids, one row for each text. But
# texts differ in length, so shorter ones are filled up with a token that means nothing,
# the **padding**. The **attention mask** says which tokens are real. Without it every
# word would attend to the padding, too.

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
# Padding costs time, so a batch is no wider than its longest text. Do not trust ids to
# tell you what is padding: some tokenizers use one token both for padding and for the
# end of a text, which is real.
#
# ### Exercise 1: a batch of unequal texts
#
# *Difficulty 2 of 5, 5 minutes.* `rows` holds lists of token ids. Return two tensors
# `(B, T)`, T being the length of the longest: the ids, and the mask. The lists
# themselves stay as they are.


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
# A forgotten mask raises no error, and that is the trouble. The answer is merely
# different, and it depends on the other sentences in the batch: here on one that is
# long.
#
# ## 4. One step, and the loop
#
# **Forward.** The layer on top gives each text one number for each class, the
# **logits** $z$. Softmax turns them into probabilities: logits of 1 and 3 become .119
# and .881. The loss of a text is minus the logarithm of the probability of its right
# class. If that is the second one, the loss is $-\ln .881 = 0.13$; if it is the first,
# $-\ln .119 = 2.13$. The loss of a batch is the mean over its texts:
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
# **Backward.** For every weight: how would the loss change if the weight did? These
# numbers together are one long vector, the gradient. If its length is above 1 it is
# **clipped**: shortened to 1, so that one strange batch does no harm.
#
# **The step.** The optimizer, AdamW, moves each weight against its gradient. It divides
# by a running measure of the gradient's size, so the learning rate says directly how
# far weights move. Each step also pulls weights a little towards 0 (**weight decay**,
# .01 below). Here is one step from the same start with several rates.

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
# To the left of the valley a step changes too little. To the right it goes too far.
# Many steps add up, so a whole run takes a lower rate, such as 1e-4.
#
# A large batch may not fit into memory. Then it goes through the model in parts. Each
# part goes forward and backward, and its intermediate results are forgotten.
# `backward()` *adds* to the `.grad` of every parameter, so the gradients of the parts
# collect there, and then one step is taken. It should be exactly the step of the whole
# batch. But the loss function gives the mean over one part, $L_k = \frac{1}{n_k}
# \sum_{i \in k} \ell_i$, and parts need not be equally large. Say one part has the
# losses 1 and 3 and the other has one text with 8. The parts' means are 2 and 8; the
# mean of all three losses is 4, and not 5. How do you get the gradient of $L$ from
# those of the $L_k$?
#
# ### Exercise 2: gradients in parts
#
# *Difficulty 3 of 5, 12 minutes.* `parts` is a list of pairs `(inputs, labels)`;
# `loss_function(model(inputs), labels)` is the mean loss over one of them. Forget old
# gradients, leave in `.grad` those of the mean over all texts, and return this mean, a
# plain number. Only one part's intermediate results may be in memory at a time. Take no
# step, clip nothing, and leave the model in its mode.


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
# Here is the whole training, with nothing hidden. Your two functions work in it. Three
# things are new:
#
# - products are computed in `bfloat16` where the processor is fast at it; weights and
#   sums stay in float32 (**mixed precision**);
# - the learning rate rises over the first 6 % of the steps (**warm-up**), since AdamW
#   does not know the size of gradients yet, and then falls to 0;
# - a batch holds sentences of like length, so that little is padding.


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
    """The number of tokens of each text, and what makes a part of a batch of some."""
    data, labels = clf.encode(train.texts), torch.tensor(train.labels)

    def part_of(places):
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
# Mind `train()` and `eval()`. **Dropout** sets random numbers to 0 while training; a
# model that is measured like that answers worse than it could, and differently each
# time. `al.finetune` runs the same loop with what a long run needs around it:
# checkpoints, resuming, several GPUs. When dev gets worse while the training loss still
# falls, a model learns its sentences by heart (**overfitting**); so it keeps the epoch
# that was best on dev, and with `patience` stops soon after it (**early stopping**).
#
# ## 5. LoRA: learn the correction only
#
# Full fine-tuning needs, for each weight, its gradient and two numbers of AdamW: three
# numbers of 4 bytes for each of 7 billion weights, 84 GB. **LoRA** (Hu et al. 2021)
# leaves every matrix $W$ as it is and learns a correction to it that is the product of
# two narrow matrices:
#
# $$ \text{output} = W x + b + \frac{\alpha}{r} B A x . $$
#
# $A$ has shape $(r, n)$ and $B$ has $(m, r)$. Take $r = 1$, $n = m = 2$, $A = (1\;\;2)$
# and $B = \binom{3}{0}$. The input $x = \binom{1}{1}$ becomes one number, $Ax = 3$, and
# that becomes $BAx = \binom{9}{0}$. So $BA$ is the matrix with the rows $(3\;\;6)$ and
# $(0\;\;0)$, and the correction is a multiple of $B$, whatever $x$ is. In general only
# $r$ numbers pass from $A$ to $B$: the product has at most **rank** $r$. Here is a
# matrix of our BERT with $r = 8$. Lengths are in proportion; in truth $A$ and $B$ are
# thinner still:

# %%
drawings.lora(384, 384, 8)

# %% [markdown]
# $B$ begins at 0 and $A$ at random: so a fresh LoRA changes nothing, and still a
# gradient reaches $B$. The factor $\alpha / r$ keeps the correction alike in size when
# you try another rank. When training is over, add the correction into $W$. This is
# called **merging**: the model has its old shape, and costs no more time.
#
# ### Exercise 3: LoRA
#
# *Difficulty 3 of 5, 15 minutes.* `linear` is an `nn.Linear` with a bias. Fill three
# gaps. In `__init__` make the parameters `self.A`, of shape `(rank, inputs)`, random,
# and `self.B`, of shape `(outputs, rank)`, all 0. `forward` gives the output, without
# ever computing the large table $BA$. `merge` returns a new `nn.Linear` that computes
# the same as `forward`, and leaves `linear` as it was.


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
# Now it goes into BERT. Until your class is right, the one of the library peft stands
# in.


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
# A hundred tasks need one BERT and a hundred such small files. The backward pass takes
# nearly as long as before, since gradients still go through all layers. What LoRA saves
# is memory.
#
# **QLoRA** (Dettmers et al. 2023) also shrinks what stays. $W$ is stored in 4 bits a
# number, in NF4 (*4-bit NormalFloat*), whose 16 levels suit weights that are normally
# distributed. For each product it is turned back into 16 bits; $A$ and $B$ stay in 16
# bits. So a model of 65 billion weights can be tuned on one GPU of 48 GB.
#
# **DoRA** (Liu et al. 2024) writes each $W$ as a direction and a length for each of its
# outputs, gives the direction a LoRA, and lets the lengths learn directly: $m \cdot
# \frac{W + BA}{\lVert W + BA \rVert}$. That is one more number for each output.
#
# ## 6. What is a label worth?
#
# Labels cost money. How many do you need, and what should learn from them? Here are
# four ways, from the cheapest up, and zero-shot from section 2 as a fifth line:
#
# - **bag of words**: for each word and pair of words how often it occurs, damped, and
#   weighted down if many texts have it (tf-idf); a logistic regression; nothing read
#   before;
# - **frozen features**: BERT as it is; a logistic regression on the mean over tokens;
# - **LoRA** of rank 8, and **full**: your loop from above.
#
# Guess first: who wins with 64 labels? By how much is LoRA behind *full*? Each is
# trained three times, for 48 steps of 16 sentences, or one epoch if that is more. A
# **seed** draws the sentences, the layer on top, the order and the dropout.

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
means["zero-shot"] = np.mean(zero_shot)  # over its wordings
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
    ("LoRA", "bag of words"),
    ("LoRA", "full"),
]
for n in counts:
    for one, other in pairs:
        gaps = table.loc[n, one] - table.loc[n, other]  # same seed, same sentences
        print(f"{n:5,} labels: {one} ahead of {other} by {lead(gaps)}")

# %% [markdown]
# In brackets stands the 95 % interval of the difference, over three seeds. It is wide:
# a difference that is not clear may still be there.
#
# <details><summary>What we saw</summary>
#
# - **With 64 labels none of the means is above two sentences written for free** (71.6 %
#   with the best of our three wordings in section 2; frozen features come to 67.0).
# - **What was read before counts.** With 64 and with 256 labels frozen features are
#   clearly ahead of the bag of words.
# - **LoRA is not clearly better than frozen features** at any of these numbers; with
#   256 labels it is slightly behind. But two things differ between these rows. *Frozen
#   features* reads the mean over tokens, for which this BERT was trained; LoRA and
#   *full* read [CLS] through the pooler, which that training did not use, and part of
#   their few steps goes into learning to read there. To compare methods alone, give all
#   three the same vector. Until then: frozen features are cheap and hard to beat with
#   few labels.
# - **LoRA and *full* do not differ clearly** anywhere, though LoRA trains 1.5 % of the
#   numbers.
# - **Mind the passes.** 64 labels are seen twelve times, 256 three times, 1,024 once.
#   In section 4 three passes over 320 sentences gave more than one over 1,024 does
#   here. So the right end shows what one pass gives, not what 1,024 labels are worth.
#
# These are twelve comparisons: one of them may be *clear* by luck.
#
# </details>
#
# Of all settings the learning rate is the one to search first. Ours were fixed
# beforehand, at the package's defaults. LoRA takes a higher one than *full*: $B$ begins
# at 0, and few numbers have to do all the moving. Were the two rates fair? Design the
# experiment: how many rates for each method, which seeds, and on which sentences do you
# compare? `rate_of` is the place to change them. (`rank=1` in `add_lora` asks another
# question: how narrow may the correction be?)
#
# <details><summary>One way to do it</summary>
#
# Three rates for each method, a factor of 3 apart, the middle number of labels, the
# same three seeds for all. If a neighbouring rate is clearly ahead, the curve above was
# unfair to that method by about so much. The best of several rates on dev is also
# partly the luckiest. That is what **test** is for: you look at it once, for the
# winner.
#
# </details>
#
# ## 7. Is it any good?
#
# From here on we look at the classifier that comes with the course: the same BERT and
# LoRA of rank 8, on all training sentences. What would a model without understanding
# reach, and what is the most one could hope for?
#
# Everything below *describes* this one classifier on test sentences. If you change the
# model because of what you see there, you need new sentences for the next report.

# %%
clf = al.load_classifier("movie-sentiment")
test = splits.test.sample(size.sentences)
report = al.report(clf, test, splits.train)
al.plots.comparison(report)

# %% [markdown]
# - **majority**: always the more frequent label;
# - **tf-idf + logistic regression**: the bag of words. Whatever costs more has to beat
#   it first;
# - **the raters**: some twenty people rated each sentence; the label is their common
#   judgement. The line is how often one of them agrees with it, estimated from mean and
#   spread of the ratings. It is a yardstick, not a limit.
#
# With all 8,070 labels the classifier is still ahead of the bag of words, by an
# interval that leaves out 0.
#
# With two classes of equal size accuracy says most. With eight of very unequal size a
# model can be right nearly always and still hardly ever find a rare class.
# **Precision**: of the texts called *grain*, how many are? **Recall**: of those that
# are, how many were found? **F1** is their harmonic mean. The bag of words on news:

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
# Which class is taken for which? `pd.crosstab(news_labels, predictions)` counts it: the
# **confusion matrix**, a row for each true class.
#
# ### Is it as sure as it should be?
#
# A model that says "90 %" should be right nine times out of ten. Say ten answers have a
# confidence of about .9, and seven of them are right: the gap is .2. Put all answers
# into **bins** of equal width by their confidence, take the gap of each, and average
# them, each bin with the share of answers it holds. That is the **expected calibration
# error**:
#
# $$ \text{ECE} = \sum_{b} \frac{n_b}{n} \, \bigl| \text{confidence}_b -
# \text{accuracy}_b \bigr| . $$

# %%
al.plots.calibration(report)

# %% [markdown]
# Points below the diagonal are overconfident. Fine-tuned networks often are: the
# training loss goes on falling when all answers are right and only confidence grows.
# The cure is one number (Guo et al. 2017): divide all logits by a **temperature** $T$.
# With logits 3 and 1 the model is 88 % sure; with $T = 2$ they are 1.5 and 0.5, and it
# is 73 % sure. No answer changes.
#
# ### Exercise 4: calibration error at a temperature
#
# *Difficulty 3 of 5, 10 minutes.* Return the expected calibration error of answers
# whose logits are divided by `temperature`. Confidence is the probability of the class
# that is answered. The bins divide the range from 0 to 1; a confidence of exactly 1
# belongs to the last one, and empty bins count nothing.


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
# The temperature is chosen on dev, by the loss, which is smooth and asks for honest
# probabilities. What does it do to your calibration error?


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
# No error is ever 0 on so few texts. What would a perfectly calibrated model show? Draw
# labels with just the probabilities that it states, many times, and measure. Only an
# error that this seldom exceeds is a finding.

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
# The best temperature is just above 1: the classifier was hardly too sure. Before, its
# error on test is just above what chance explains, and afterwards it is just inside.
# That shows how the method works, not that this classifier needed it.
#
# </details>
#
# ## 8. Where it fails
#
# ### Own sentences, worst first
#
# To find weak spots, sort by loss: mistakes made with confidence come first. Read the
# sentences and decide what *you* would say. Then write some of your own.

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
# Above a loss of 0.69 the answer is wrong. Ten sentences prove nothing about all
# negations. To read real mistakes take **dev**: once you have mended the model by those
# on test, test is used up.
#
# <details><summary>What we saw</summary>
#
# The double negation comes first, and the model is sure of its mistake, as if it had
# counted negative words. Test it: how does it read *It is true that the acting is
# good*, and *It is not true that the acting is bad*? On *It should have been great* and
# on the question it is close to undecided. Irony and comparison came out right, but
# *broken* may give the comparison away. Write *a splendid television*, and see.
#
# </details>
#
# ### Is it the model, or the label?
#
# Some sentences divide people, too. Their label is noisy, and no model can be right
# about it every time. From mean and spread of the twenty ratings we estimate how likely
# a single rater is to agree with the label, and divide the dev sentences by it.

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
print("of one mind against divided most: right more often by", end=" ")
print(f"{gap:+.1f} points [{gap - half:+.1f}, {gap + half:+.1f}]")

# %% [markdown]
# Does the model fail most where raters differ? And where they are of one mind?
#
# <details><summary>What we saw</summary>
#
# Where raters agree the model is right clearly more often: the interval of the
# difference lies above 0. But sentences that divide people may also be harder to read,
# and the table cannot separate the two. Where the raters are of one mind, the model's
# mistakes are its own.
#
# </details>
#
# ### Other domains
#
# It learned from film reviews. Here it reads product reviews, tweets and opinion pages,
# rated by the same kind of people.

# %%
domains = {"movie (test)": test}
for name in ("product", "tweet", "editorial"):
    domains[name] = al.datasets.load(f"{name}-sentiment").test.sample(size.sentences)

# %%
rows = {}
for name, data in domains.items():
    logits, truth = clf.logits(clf.encode(data.texts)), torch.tensor(data.labels)
    right = logits.argmax(-1) == truth
    low, high = al.statistics.share_interval(int(right.sum()), len(right))
    rows[name] = {
        "accuracy, %": 100 * float(right.float().mean()),
        "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "majority, %": 100 * float(truth.bincount().max() / len(truth)),
        "are positive, %": 100 * float(truth.float().mean()),
        "called positive, %": 100 * float(logits.argmax(-1).float().mean()),
        "calibration error, %": 100 * error_of(logits, truth, best),
    }

# %%
al.plots.table(pd.DataFrame(rows).T.infer_objects())

# %% [markdown]
# Compare each accuracy with the majority of its own domain, and *are* with *called
# positive*. The last column is at the temperature from above.
#
# <details><summary>What we saw</summary>
#
# Accuracy falls in every other domain. On tweets it is no better than always answering
# *positive*, because the model calls far too few of them positive. Its confidence falls
# less than its accuracy, so the calibration error grows. Nothing in an answer warns
# you.
#
# </details>
#
# ## 9. What changed inside?
#
# Compare the matrices before and after fine-tuning: how far did each move, relative to
# its size?

# %%
before = al.classification.fresh_classifier("minilm", splits.train.label_names)
al.plots.movement(before, clf)

# %% [markdown]
# The pooler moved most by far: it is the part that had to learn to read [CLS]. Inside
# the layers the values of layer 0 moved most. Word embeddings did not move, because
# LoRA does not touch them.
#
# And attention? For each head: what share of its weight sits elsewhere than before, on
# average over sentences? (Half the sum of the absolute differences: 0 if nothing moved,
# 1 if everything did.)


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
# The highest of 72 numbers is partly the luckiest. So name the head now, and measure it
# once on other sentences. Does fine-tuning move the same head again? We have your
# classifiers from section 6.

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
print(f"ahead by {(own - second).mean():+.2f} [{low:+.2f}, {high:+.2f}]")

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
# Keep this head in mind for lesson 06 (in our run it is layer 3, head 9, in short
# L3H9). Here it is on a sentence of ours: after minus before.

# %%
text = "The second half is slow, but the ending stays with you."
old, new = before.attend(text), clf.attend(text)
change = (new.weights - old.weights)[layer, head].numpy()
al.plots.matrix(
    change,
    rows=new.tokens,
    columns=new.tokens,
    xlabel="is looked at",
    ylabel="looks",
    label="weight, after − before",
    alt=f"Change of attention, from {change.min():+.2f} to {change.max():+.2f}. Most is"
    f" won by {new.tokens[change.sum(0).argmax()]!r}, most lost by"
    f" {new.tokens[change.sum(0).argmin()]!r}.",
)

# %% [markdown]
# Which words gain? Do they decide what the sentence says?
#
# <details><summary>What we saw</summary>
#
# *Slow*, *stays* and *you* win, and `[CLS]` loses most: the head turns from a token
# without meaning of its own to words that carry the opinion, and to a few that do not.
# One sentence is an illustration. The finding is the number above.
#
# It is a finding about *this* classifier. In your three models of section 6 other heads
# moved most. Another run can move another head; with our 1,024 labels L4H8 moved most
# in two of three. Whether seed or number of labels makes the difference, this does not
# show.
#
# </details>
#
# That a head looks at a word does not mean that the answer depends on it, nor that the
# head which moved most matters most. Lesson 06 tests that, by silencing heads.
#
# ## 10. A label for each word
#
# Many tasks want to know *where*: names, places, dates, amounts. The change is small:
# the layer on top is applied to every token, and the loss is the mean over words. BERT
# reads **pieces** of words, though. A word should count once, so only its first piece
# is asked for the tag; all others get the label -100, which PyTorch's cross-entropy
# leaves out. Tags say `B-` for the first word of an entity, `I-` for each further one,
# `O` outside.

# %%
words = ["Zugspitze", "paid", "$", "4.2", "million", "on", "3", "March"]
tags = ["O", "O", "B-AMOUNT", "I-AMOUNT", "I-AMOUNT", "O", "B-DATE", "I-DATE"]
drawings.tagged_pieces(words, [base.tokenizer.tokenize(word) for word in words], tags)

# %% [markdown]
# A tagger is judged by whole **entities**, the bottom row: a date of which one word is
# missing is wrong. So tags have to become entities first.
#
# ### Exercise 5: from tags to entities
#
# *Difficulty 2 of 5, 8 minutes.* Return a list of `(kind, first, end)`, in the order of
# the text, such that `tags[first:end]` are the tags of the entity. The drawing's are
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
# Our data are **synthetic**: financial news made from templates, with dates and amounts
# of money that Babel, a library for the customs of many countries, writes in many ways,
# and things that look like them but are not. *test* is written like the training
# sentences; *unseen* has templates and ways of writing that occur in no training
# sentence. BERT's rival is a simple tagger that sees only shapes of words and of their
# neighbours, such as `00/00/00` or `$0.0`. Your function counts, and **F1** is twice
# the entities that are right, divided by those there plus those found.

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
    ahead = rows[kind, "BERT"][0] - rows[kind, "shapes of words"][0]
    low, high = interval(values["BERT"] - values["shapes of words"])
    print(f"{kind}: BERT ahead by {ahead:+.1f} points [{low:+.1f}, {high:+.1f}]")

# %%
columns = ["F1, %", "95 % interval", "right words, %"]
table = pd.DataFrame(rows, index=columns).T.infer_objects()
al.plots.table(table, **{"F1, %": 1, "right words, %": 1})

# %% [markdown]
# *Nothing* calls every word `O`. It shows why words are the wrong thing to count: most
# of them belong to no entity. Where nothing varies, drawing again shows no spread; that
# is no certainty. No mistake in $n$ sentences still allows a rate of about $3 / n$.
#
# <details><summary>What we saw</summary>
#
# Where all is written as in training, the shapes of words are enough: the rival makes
# no mistake, and BERT is even slightly behind. Where templates and ways of writing are
# new both lose much, and BERT is far ahead. So ask of every good score how far from the
# training data it was measured.
#
# </details>

# %%
text = "Sales rose to $4.2 million on 3 March, the firm said, lifting 120,000 shares."
for hit in tagger.tag([text])[0]:
    print(f"{hit.kind:7} {hit.text!r}, {hit.probability:.0%} sure")

# %% [markdown]
# Were the 120,000 shares left alone? They look like money but are not.
#
# ## 11. Your own texts
#
# A table with a column of texts and one of labels is all it takes:
#
# ```
# attnlab finetune reviews.csv --text comment --label topic --out runs/mine
# ```
#
# In Python, with a little table made on the spot:

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
# A table this small shows that it runs, no more. On several GPUs `accelerate launch
# --num_processes 4 -m attnlab finetune …` gives the same weight updates as one process.
#
# ## What you know now
#
# - A step of training is: batch with its mask, forward, loss, backward, clip, move.
# - LoRA learns $\frac{\alpha}{r} BA$ beside each frozen $W$, and merging adds it in.
# - Compare methods at the number of labels you have, over seeds: does the interval of
#   the difference leave out 0? Begin with the cheapest method.
# - A figure needs its floors, its ceiling and its domain. One temperature, chosen on
#   dev, can mend confidence in that domain; ours hardly needed it, and on tweets it did
#   not hold. The model fails more where raters differ; part of that may be the labels',
#   part that such sentences are harder.
# - Fine-tuning moves attention, more in some heads than in others.
#
# Which of the heads does the work? That is [lesson 06](06_head_mixing.ipynb).

# %%
al.checks.summary("finetune_bert")
