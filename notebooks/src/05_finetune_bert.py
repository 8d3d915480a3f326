# %% [markdown]
# # 05 Fine-tune BERT
#
# **How does a model that has only read become one that answers your question, what does
# each choice on the way cost, and how do you know that it is any good?** You take BERT
# through single steps of training, let it run, compare six ways to do it, and then look
# hard at the result: where it fails, how sure it is, and what changed inside.
#
# Afterwards you can
#
# - follow one step of training from text to changed weights, and write its parts;
# - say what pretraining, learning rate and method are worth, with the noise of each
#   figure;
# - report on a classifier so that others can trust it: classes, calibration, floors and
#   ceiling, other domains;
# - label single words, and train on your own table.
#
# Time: about 110 minutes, 50 of them for six exercises. The cells together compute for
# some ten minutes on two processor cores; on a GPU they use all sentences. You need
# [lesson 02](02_attention_from_scratch.ipynb), or to have seen attention. Choose **Run
# → Run All Cells** first; exercises that are not written yet only say so.

# %%
import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

import attnlab as al

# %%
size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
splits = al.datasets.load("movie-sentiment")
print(splits, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# `al.finetune` takes a BERT that has read a lot of English and knows nothing of film
# reviews, puts a layer of random weights on top, and trains both on labelled sentences.
# (Ours is all-MiniLM-L6-v2: a small BERT that was taught by a larger one, and then to
# place sentences of like meaning near each other.) Here it gets only a few sentences,
# so it does not take long. Watch the curve while it runs.
#
# Then change `learning_rate` and run the second cell again, several times: `3e-4`,
# `1e-5`, `1e-2`. Each run is drawn over the ones before. Which rate learns fastest? Two
# of them learn hardly anything, for opposite reasons: how do their losses differ?

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
# The line is the loss of each batch, drawn as its trend. An untrained layer on top
# guesses, and the loss of guessing between two classes is $\ln 2 \approx 0.69$: that is
# about where the curve begins. The points are accuracy on **dev**, sentences that are
# not trained on, measured after each pass over the training sentences, an **epoch**.
# Their bars are 95 % intervals: with few dev sentences they are wide. Too low a rate
# falls, but slowly; with too high a rate the loss jumps up and then stays near 0.69,
# since the model gives nearly the same answer to everything. (In the profile `ci`,
# which only tests the notebooks, all runs are too short to learn.)

# %% [markdown]
# ## 2. One step in slow motion
#
# Four sentences of ours, two of praise and two of complaint. BERT has read such
# sentences; the layer on top has never seen one. First the text becomes a batch.

# %%
torch.manual_seed(0)
learner = al.classification.fresh_classifier("minilm", ["negative", "positive"])
texts = [
    "A warm, funny film.",
    "Dull, and far too long for what it has to say.",
    "I laughed from start to finish.",
    "The plot makes no sense.",
]
batch = learner.encode(texts).batch(range(4))  # a dictionary of tensors (B, T)
for row in batch["input_ids"]:
    print(" ".join(learner.tokenizer.convert_ids_to_tokens(row)))

# %% [markdown]
# A batch is a table of whole numbers, one row for each text, but texts differ in
# length. So shorter ones are filled up behind with a token that means nothing, whose id
# is the tokenizer's `pad_id`. The model has to know where each text ends, or it would
# attend to the filling: that is what the **attention mask** says, 1 for a real token, 0
# for padding. And since padding costs as much time as real tokens, a batch is no wider
# than its longest text.
#
# Do not trust the ids to tell you what is padding: some tokenizers use the same token
# for padding and for the end of a text, which is real.
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

# %% [markdown]
# What if the mask is forgotten? Nothing breaks, and that is the trouble: the answers
# are only different, and depend on the company a sentence is in.

# %%
inputs = {name: one.to(learner.device) for name, one in batch.items()}
blind = inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])}
with torch.no_grad():
    seen, unseen = (learner.model(**one).logits[0] for one in (inputs, blind))
print("first sentence, with its mask:   ", seen.cpu().numpy().round(4))
print("first sentence, mask forgotten:  ", unseen.cpu().numpy().round(4))
assert not torch.allclose(seen, unseen, atol=1e-4)

# %% [markdown]
# **Forward.** BERT turns each text into the vector of its `[CLS]` token, sends it
# through one more matrix, the **pooler**, and the layer on top makes of it one number
# for each class, the **logits** $z$. The loss of a text is minus the logarithm of the
# probability that its right class got, and the loss of a batch the mean:
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
assert torch.allclose(loss, -right.log().mean(), atol=1e-6)

# %% [markdown]
# **Backward.** For every weight: how would the loss change, if the weight did? These
# are the gradients. Here is how long they are, layer by layer.

# %%
model.zero_grad()
loss.backward()


def part_of(name):
    """The part of BERT that a parameter belongs to."""
    parts = name.split(".")
    return f"layer {parts[3]}" if "layer" in parts else parts[1].split("_")[0]


sizes = {}
for name, weights in model.named_parameters():
    part = part_of(name) if name.startswith("bert") else "classification layer"
    sizes[part] = math.hypot(sizes.get(part, 0), weights.grad.norm())
pd.Series(sizes, name="length of the gradient").to_frame().style.format("{:.2f}")

# %% [markdown]
# Notice: the gradient is longest near the top and short further down, but every layer
# is told what to change, down to the word embeddings. All gradients together are one
# long vector. If it is longer than 1 it is **clipped** to 1, so that one strange batch
# does not spoil the averages that the optimizer keeps.
#
# **The step.** The optimizer, AdamW, moves every weight against its gradient, by about
# the learning rate, however long the gradient is: it divides by a running measure of
# its size. So the learning rate says directly how far weights move. Too little, and
# nothing happens; too much, and what BERT has learned is overwritten. One step from the
# same start, with several rates, and the loss of the same four sentences afterwards:

# %%
start = {name: one.clone() for name, one in model.state_dict().items()}
rates = [1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
after = []
for rate in rates:
    model.load_state_dict(start)
    optimizer = torch.optim.AdamW(al.training.parameter_groups(model, 0.01), lr=rate)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        after.append(float(nn.functional.cross_entropy(model(**inputs).logits, labels)))
best_first = rates[int(np.argmin(after))]
brief = al.plots.brief  # 1e-4 and not 0.0001
_ = model.load_state_dict(start)  # back to the beginning

# %%
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
# Notice the valley. To its left the step is too timid, to its right it goes too far.
# Four sentences and one step are no judge of the best rate for a whole run. Section 4
# draws the picture for that; watch where its best rate is.

# %% [markdown]
# In its first steps AdamW knows the size of each gradient from one batch or two, so
# nearly every weight moves by the full learning rate, whether its direction is certain
# or not. Full steps would throw away what BERT knows. So the learning rate rises over a
# short **warm-up**, and then falls in a straight line. Where exactly does it begin and
# end? Computing gradients and then stepping with a rate of 0 is a step wasted. So the
# first step should move already, and the last one still. With 8 steps, 3 of them
# warm-up, these are the shares of the highest rate:
#
# | step | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 and later |
# | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
# | share | 1/3 | 2/3 | 1 | 1 | 4/5 | 3/5 | 2/5 | 1/5 | 0 |
#
# ### Exercise 2: the learning rate
#
# *Difficulty 2 of 5, 10 minutes.* Steps count from 0 to `steps - 1`; the first `warmup`
# of them are the warm-up; there may be no warm-up, or nothing but warm-up. At any later
# step the rate is 0.


# %% exercise="learning_rate_at" points=2
def learning_rate_at(step, steps, warmup, highest):
    """The learning rate at a step, a float from 0 to `highest`; warmup counts steps."""
    ### BEGIN SOLUTION
    if step < warmup:
        return highest * (step + 1) / warmup
    left = max(steps - step, 0)
    return highest * left / max(steps - warmup, 1)
    ### END SOLUTION


# %% check="learning_rate_at"
al.checks.learning_rate_at(learning_rate_at)

# %% [markdown] hints="learning_rate_at"
# Two straight lines: one for steps before the warm-up is over, one for those after. In
# the table: of what is 4/5 a share? How many steps are left when step 4 begins, and how
# many are there after the warm-up?
#
# ---
# While `step < warmup`, `step + 1` of `warmup` parts are reached. After that, `steps -
# step` of `steps - warmup` are left. What must not become negative, and what not 0?

# %% [markdown]
# Here is the rule as `attnlab` uses it, with the warm-up as a share of all steps.

# %%
steps = 100
share = [al.training.linear_schedule(step, steps, warmup=0.06) for step in range(steps)]
al.plots.lines(
    range(steps),
    {"6 % warm-up": share},
    xlabel="step",
    ylabel="share of the learning rate",
    alt="The rate rises in a straight line over the first 6 steps, then falls in a "
    "straight line until the last.",
)

# %% [markdown]
# A batch of $n$ texts has the loss $L = \frac{1}{n} \sum_{i=1}^{n} \ell_i$. If memory
# does not hold it, it goes through the model in parts: for each one forward, backward,
# and its intermediate results are forgotten. `backward()` *adds* to the `.grad` of
# every parameter, so the parts' gradients collect there, and then one step is taken. It
# should be exactly the step of the whole batch. But the loss function gives the mean
# over one part, $L_k = \frac{1}{n_k} \sum_{i \in k} \ell_i$, and the parts need not be
# equally large: the last one of an epoch rarely is. How do you get the gradient of $L$
# from those of the $L_k$?
#
# ### Exercise 3: gradients in parts
#
# *Difficulty 3 of 5, 15 minutes.* `parts` is a list of pairs `(inputs, labels)`;
# `loss_function(model(inputs), labels)` is the mean loss over one of them. Forget old
# gradients, leave in `.grad` those of the mean over all texts, and return this mean, a
# plain number. Only one part's intermediate results may be held in memory at a time. No
# step is taken here, nothing is clipped, and the model stays in its mode.


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

# %% [markdown]
# ## 3. The whole loop
#
# All parts are there. What follows is a complete fine-tuning, in three cells. First,
# what has to be ready: data, optimizer, and how many steps there will be. Weight decay
# draws *matrices* a little towards 0 at every step; biases and the scales of layer
# norms are left alone, because nothing is gained by making those small.

# %%
recipe = al.training.Recipe(epochs=size.epochs, learning_rate=1e-4)
train, dev = few.train, few.dev
data, targets = learner.encode(train.texts), torch.tensor(train.labels)
groups = al.training.parameter_groups(model, recipe.weight_decay)
optimizer = torch.optim.AdamW(groups)
steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
number_format = al.device.number_format(learner.device.type)
print(f"{len(train)} sentences, {steps} steps, computed in {number_format}")

# %% [markdown]
# `number_format` is worth a word. Many processors and GPUs multiply 16-bit numbers
# several times faster than 32-bit ones. `bfloat16` keeps the range of float32 and gives
# up digits, which training hardly notices. **Mixed precision** computes the products in
# it and keeps weights and sums in float32. `al.device.number_format` asks what the
# processor can do, and takes bfloat16 where it has circuits for it.


# %%
def take_step(places, number):
    """Forward, backward, clip, move the weights; return the loss."""
    inputs = {name: one.to(learner.device) for name, one in data.batch(places).items()}
    with al.device.autocast(learner.device, number_format):
        logits = model(**inputs).logits
    wanted = targets[places].to(learner.device)
    loss = nn.functional.cross_entropy(logits.float(), wanted)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
    share = al.training.linear_schedule(number, steps, recipe.warmup)
    for group in optimizer.param_groups:
        group["lr"] = share * recipe.learning_rate
    optimizer.step()
    return float(loss.detach())


# %%
generator, number = np.random.default_rng(0), 0
for epoch in range(recipe.epochs):
    losses = []
    model.train()  # dropout on
    order = al.training.shuffled_batches(data.lengths, recipe.batch_size, generator)
    for places in order:
        losses.append(take_step(places, number))
        number += 1
    model.eval()  # dropout off
    score = al.Evaluator(learner, dev).score()
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, dev {score.accuracy:.1%}")

# %% [markdown]
# That is all there is to it. One thing in it is for speed: `shuffled_batches` puts
# sentences of *like length* into a batch, so that little is padding. How much does that
# save, compared with batches as they come, and with filling every sentence up to one
# fixed length?

# %%
lengths = data.lengths
together = sum(len(places) * lengths[places].max() for places in order)
shuffled = generator.permutation(len(lengths))
as_they_come = sum(
    len(part) * lengths[part].max()
    for part in np.array_split(shuffled, math.ceil(len(lengths) / recipe.batch_size))
)
for name, tokens in {
    "real tokens": lengths.sum(),
    "batches of like length": together,
    "batches as they come": as_they_come,
    "everything filled up to 128": 128 * len(lengths),
}.items():
    print(f"{name:28} {tokens:7,} tokens to compute, {tokens / together:.1f} x")

# %% [markdown]
# How good is the model? The figure is simple: the share of texts whose class with the
# highest score is the right one,
#
# $$ \text{accuracy} = \frac{\text{texts that are right}}{\text{texts}} . $$
#
# Mistakes happen around it. **Dropout** sets random numbers to 0 while training; a
# model that is measured like that answers worse than it could, and differently each
# time. `model.eval()` switches it off; and if nobody switches it on again, the rest of
# the training runs without. **Gradients** are not needed, and what torch keeps for them
# only costs memory. And the last batch is smaller than the others.
#
# ### Exercise 4: measure and leave no trace
#
# *Difficulty 3 of 5, 10 minutes.* `batches` is a list of pairs `(inputs, labels)`;
# `model(inputs)` gives scores `(B, C)`, labels are `(B,)`. Return the accuracy over all
# texts, and leave the model as it was: weights and their number format, gradients, what
# requires them, and the mode, whichever it was.


# %% exercise="evaluate" points=3
def evaluate(model, batches):
    """Accuracy over all texts, a float from 0 to 1; the model stays as it was."""
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    right = texts = 0
    with torch.no_grad():
        for inputs, labels in batches:
            right += (model(inputs).argmax(dim=-1) == labels).sum().item()
            texts += len(labels)
    model.train(was_training)
    return right / texts
    ### END SOLUTION


# %% check="evaluate"
al.checks.evaluate(evaluate)

# %% [markdown] hints="evaluate"
# Before the loop: remember the mode, then switch to eval mode. In the loop: count.
# After the loop: put the mode back, divide. What has to be counted, so that a text in a
# small batch weighs no more than another?
#
# ---
# `model.training` is the mode, and `model.train(mode)` sets it for all layers.
# `model(inputs).argmax(dim=-1)` are the chosen classes. Inside `with torch.no_grad():`
# no graph is built, and after it everything is as before.

# %% [markdown]
# `al.finetune` runs this loop, with what a real run needs around it, and each piece of
# it is tested:
#
# - it keeps the best epoch on dev, and stops early if you ask for `patience`;
# - with a folder, `out=...`, a **checkpoint** is written every minute, and Ctrl-C (or
#   *Interrupt Kernel*) finishes the step, saves, and says how to go on. With
#   `resume=True` a run that was stopped or killed ends with the very weights of one
#   that never was (not for AdaLoRA, below);
# - if a GPU runs out of memory, the batch is computed in two parts (exercise 3), then
#   in four; the steps stay the same. A loss that is not a number stops the run and says
#   what to try.
#
# For text that does not fit, `gradient_checkpointing=True` forgets intermediate results
# and computes them again going backward. Everything that was seen is in
# `quick.history`:

# %%
al.plots.table(quick.history.steps_frame().tail(3), seconds=1)

# %% [markdown]
# One thing differs from run to run even with the same recipe and the same sentences:
# the **seed**, from which the weights of the layer on top, the order of the batches and
# the dropout are drawn. How much does that alone change?

# %%
by_seed = [
    al.finetune("minilm", few, "full", epochs=size.epochs, seed=seed)
    for seed in (1, 2, 3)
]
found = 100 * np.array([one.history.best["dev_accuracy"] for one in by_seed])
share = found.mean() / 100
error = 100 * (share * (1 - share) / len(few.dev)) ** 0.5
print(f"dev accuracy with three seeds: {found.round(1)}", end=", ")
print(f"standard deviation {found.std(ddof=1):.1f}")
print(f"standard error of one, from {len(few.dev)} sentences: {error:.1f} points")

# %% [markdown]
# So there are two kinds of noise: another dev set, and another run. Where nothing else
# is said, bars in this lesson show the first only. One run each ranks no methods.
#
# ## 4. What is worth what
#
# ### Pretraining
#
# Where does the ability come from: from our sentences, or from all that BERT read
# before? Three runs on the same sentences tell:
#
# - **random**: the same architecture, all weights random, everything trained;
# - **probe**: BERT as it is, frozen; only the layer on top is trained;
# - **fine-tuned**: BERT, everything trained.

# %%
part = splits.sample(size.training_sentences, size.sentences // 2)
kinds_curve = al.TrainingCurve(dev_texts=len(part.dev))
kinds_curve

# %%
kinds = {
    "random": {"method": "full", "pretrained": False},
    "probe": {"method": "frozen"},
    "fine-tuned": {"method": "full"},
}
runs = {}
for name, kind in kinds.items():
    live = [kinds_curve.run(name)]
    runs[name] = al.finetune("minilm", part, epochs=size.epochs, callbacks=live, **kind)

# %% [markdown]
# The probe shows how much of the answer can be read off the `[CLS]` vector as it is: a
# lower bound on what BERT knows, which may be kept elsewhere. The random model shows
# how far so few steps get *this architecture* without pretraining. That is not all
# these sentences have to teach, as a bag of words will show in a moment. The way from
# the probe to the top is what fine-tuning adds *to this way of reading*. Is that more
# than noise? The same dev sentences answered by two models can be compared in pairs,
# which is much sharper than comparing two accuracies. (`Evaluator` computes in float32,
# training and the points in the picture in the format printed in section 3. So the same
# model may differ between the two by an answer or two.)

# %%
answers = {name: al.Evaluator(one, part.dev).score() for name, one in runs.items()}
right = {
    name: score.predictions == np.array(part.dev.labels)
    for name, score in answers.items()
}


# %%
def ahead(a, b):
    """By how much right answers a are ahead of b, in points, with a 95 % interval."""
    test = al.statistics.paired_test(b, a)
    low, high, p = 100 * test.low, 100 * test.high, al.statistics.p_text(test.p_value)
    return f"{100 * test.delta:+.1f} points [{low:+.1f}, {high:+.1f}], {p}"


for a, b in (("probe", "random"), ("fine-tuned", "probe")):
    print(f"{a} ahead of {b}: {ahead(right[a], right[b])}")

# %% [markdown]
# (p is McNemar's exact test: if both models were equally good, gains and losses would
# be tosses of a coin. It compares two *trained models*, not two methods.)
#
# Does BERT keep more than its `[CLS]` vector says? Read it off elsewhere: the mean of
# the last layer over all tokens. The reader is the same for both, a logistic
# regression, so that only the place differs. And beside them a bag of words: whatever
# is trained on these sentences has to beat it.

# %%
base = al.classification.fresh_classifier("minilm")


def vectors(texts):
    """BERT's last layer for each text, at [CLS] and its mean over tokens: (N, 2, D)."""
    rows = []
    for text in texts:
        inputs = base.tokenizer(text, return_tensors="pt").to(base.device)
        with torch.no_grad():
            hidden = base.model.bert(**inputs).last_hidden_state[0]  # (T, D)
        rows.append(torch.stack([hidden[0], hidden.mean(0)]).cpu())
    return torch.stack(rows).numpy()


# %%
from sklearn.linear_model import LogisticRegression

learned, asked = vectors(part.train.texts), vectors(part.dev.texts)
words = al.evaluation.bag_of_words(part.train)
told = np.array(part.dev.labels)
right["bag of words"] = words.predict(part.dev.texts) == told
for place, name in enumerate(("[CLS]", "mean")):
    probe = LogisticRegression(max_iter=1000)
    probe.fit(learned[:, place], part.train.labels)
    right[f"{name}, regression"] = probe.predict(asked[:, place]) == told
for name, one in right.items():
    line = "" if name == "bag of words" else ahead(one, right["bag of words"])
    print(f"{name:18} {one.mean():.1%} on dev  {line}")

# %% [markdown]
# Beside each stands its lead over the bag of words on the same sentences. Look at
# *random* first: a model that is behind a bag of words has not shown what the sentences
# teach, only that it has hardly begun. Then at the two regressions: where you read a
# frozen model decides what you find. A probe that fails says nothing about the model
# before you have looked elsewhere.
#
# ### The learning rate
#
# Now for whole runs, in accuracy, so the valley is a hill: the same few sentences, five
# rates, three seeds each, measured on dev.

# %%
rates, seeds = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3], (1, 2, 3)
scores, firsts = np.zeros((len(rates), len(seeds))), {}
for row, rate in enumerate(rates):
    for column, seed in enumerate(seeds):
        recipe = {"epochs": size.epochs, "learning_rate": rate, "seed": seed}
        have = rate == 1e-4  # from section 3
        one = by_seed[column] if have else al.finetune("minilm", few, **recipe)
        scores[row, column] = 100 * al.Evaluator(one, part.dev).score().accuracy
        if not column:
            firsts[rate] = one
values, spread = scores.mean(1), scores.std(1, ddof=1)  # over seeds

# %%
order = np.argsort(-values)
best, second, worst = (rates[place] for place in order[[0, 1, -1]])
al.plots.lines(
    rates,
    {"mean of three seeds": values},
    errors={"mean of three seeds": spread},
    points=(np.repeat(rates, len(seeds)), scores.ravel()),
    xlabel="learning rate",
    ylabel="accuracy on dev, %\n(dots: runs, bars: ± standard deviation)",
    log="x",
    alt=f"Accuracy on dev for five rates, in the mean highest at {brief(best)} with"
    f" {values.max():.0f} %, lowest at {brief(worst)} with {values.min():.0f} %.",
)

# %%
gaps = scores[order[0]] - scores[order[1]]  # the same seeds
half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5
low, high = gaps.mean() - half, gaps.mean() + half
print(f"best rate after one step {brief(best_first)}, for whole runs {brief(best)},")
print(
    f"ahead of {brief(second)} by {gaps.mean():.1f} points [{low:.1f}, {high:.1f}]:",
    end="",
)
print(" clearly" if low > 0 else " not clearly")

# %% [markdown]
# Each dot is a run, and runs of one rate differ by nothing but the seed. In brackets
# stands the 95 % interval of the lead, over seeds. Three runs each say little about
# neighbours at the top: trust them where the gap is wide. And compare with section 2:
# the rate that is best for *one* step need not be best for many, since large steps add
# up. Of all settings this is the one to search first.

# %% [markdown]
# Which learning rate is best? Train with each and compare them on **dev**. The winner
# is the best, but also a bit lucky: of several noisy figures the highest tends to be
# too high. So its dev accuracy promises too much, and an honest figure needs texts that
# had no part in the choice. That is what **test** is for, and why it is looked at once,
# for the winner alone: once you have seen a test score, it sways later choices.
#
# ### Exercise 5: choose on dev, report on test
#
# *Difficulty 1 of 5, 5 minutes.* `dev_accuracy(candidate)` and
# `test_accuracy(candidate)` measure one candidate. Return the one that is best on dev,
# the first of equals, and its accuracy on test. Ask `test_accuracy` once.


# %% exercise="choose" points=1
def choose(candidates, dev_accuracy, test_accuracy):
    """The candidate that is best on dev, and its test accuracy."""
    ### BEGIN SOLUTION
    best = max(candidates, key=dev_accuracy)  # keeps the first of equals
    return best, test_accuracy(best)
    ### END SOLUTION


# %% check="choose"
al.checks.choose(choose)

# %% [markdown] hints="choose"
# Two steps that must not mix: first a choice, for which only dev is asked; then one
# question to test.
#
# ---
# `max(candidates, key=...)` compares candidates by what a function says of them. A loop
# that keeps the best so far does it as well; of equals it keeps the first if a later
# one has to be *better*.

# %%
test = splits.test.sample(size.sentences)
score = al.Evaluator(firsts[best], test).score()  # the first seed, not the luckiest
print(f"chosen on dev: rate {brief(best)}; with seed {seeds[0]} it has", end=" ")
print(f"{scores[order[0], 0]:.1f} % on dev, on test {score}")

# %% [markdown]
# For more than one knob there is `al.classification.search(splits, minutes=30,
# folder=...)`, on the command line `attnlab search`: it tries methods, rates and batch
# sizes, each where earlier trials promise most (Optuna's TPE), can be stopped and goes
# on, and never looks at test.

# %% [markdown]
# ### Six methods
#
# Training everything is not the only way, and for a large model often not a possible
# one: AdamW keeps two numbers for every weight it trains.
#
# - **full**: every weight;
# - **frozen-embeddings**: all but the word embeddings, half of this small BERT;
# - **frozen**: the layer on top alone, the probe;
# - **lora**: each matrix $W$, of shape $(m, n)$, stays as it is and learns a correction
#   of low rank $r$ (Hu et al. 2021): $W + \frac{\alpha}{r} B A$, with $B$ of shape $(m,
#   r)$ and $A$ of $(r, n)$; $r$ is small, 8 here. Afterwards the correction is added
#   into $W$, and costs nothing;
# - **adalora**: the same, but the rank is taken from matrices that need little and left
#   to those that need much (Zhang et al. 2023);
# - **prefix**: nothing in BERT changes; each layer gets a few extra keys and values to
#   look at, and those are learned (Li and Liang 2021).
#
# All six train the layer on top. Lesson 02 makes it plain why a prefix can do anything
# at all: whatever is among the keys and values takes part in the mixture. Two of them
# you have: *full* is the fine-tuned model from above, *frozen* the probe. Each method
# runs with a learning rate of its own, which the table shows: one rate for all would
# suit some and ruin others.

# %%
methods_curve = al.TrainingCurve(dev_texts=len(part.dev))
methods_curve

# %%
tuned = {"full": runs["fine-tuned"], "frozen": runs["probe"]}
for method in al.classification.LEARNING_RATES:
    if method not in tuned:
        live = [methods_curve.run(method)]
        tuned[method] = al.finetune(
            "minilm", part, method, epochs=size.epochs, callbacks=live
        )
histories = {name: one.history for name, one in tuned.items()}
al.plots.learning_curve(histories, dev_texts=len(part.dev))

# %%
rows = {}
for method, one in tuned.items():
    hits = al.Evaluator(one, part.dev).score().correct
    gap = al.statistics.paired_test(right["fine-tuned"], hits)
    rows[method] = {
        "learning rate": brief(al.classification.LEARNING_RATES[method]),
        "trained weights": one.history.trainable,
        "share, %": 100 * one.history.trainable / runs["fine-tuned"].parameters(),
        "MB to train them": 12 * one.history.trainable / 1e6,
        "seconds": one.history.rows[-1]["seconds"],
        "dev, %": 100 * hits.mean(),
        "minus full": 100 * gap.delta,
        "95 % interval": f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}",
    }

# %%
rows["full"]["95 % interval"] = "–"  # of a model with itself
table = pd.DataFrame(rows).T.infer_objects()
al.plots.table(table, **{"share, %": 2, "MB to train them": 1, "seconds": 0})

# %% [markdown]
# *MB to train them* is 12 bytes for each trained weight: 4 for its gradient, 8 for what
# AdamW remembers. Weights themselves and intermediate results come on top. (The loss of
# adalora starts higher because it holds a penalty, which keeps its corrections tidy.)
#
# Read accuracy together with what it cost. *minus full* compares with *full* sentence
# by sentence, and the interval is of this difference: whose interval holds 0 cannot be
# told from *full* here. (It knows of other sentences only. Another seed would add its
# own noise, and another rate more; this is one run each, so it ranks no methods. What
# *full*, and *lora* of rank 32, reach on all sentences, with three seeds, stands in
# [data/results.json](../data/results.json).) Then look at how many weights each
# trained. Methods that stay near the probe have not failed for good: more steps or
# another rate may help them.
#
# On a processor training few weights saves memory and disk, but not always time.
# *frozen* needs no backward pass through BERT; *lora* and its relatives do, and compute
# more on the way forward. (The seconds are of one run each, and count whatever else the
# machine did.)

# %% [markdown]
# ## 5. Is it any good?
#
# From here on we look at the classifier that comes with the course: the same BERT, the
# same method as above (LoRA), on all training sentences. A single accuracy says little.
# What would a model without any understanding reach? What is the most one could hope
# for? A report puts the figure between its floors and its ceiling.
#
# From here on the test sentences are read more than once: for this report, for
# calibration, beside other domains, and in search of weak spots. All of it *describes*
# one finished classifier; nothing is chosen by it. Whoever changes the model because of
# what stands there needs new sentences for the next report.

# %%
clf = al.load_classifier("movie-sentiment")
report = al.report(clf, test, splits.train)
al.plots.comparison(report)

# %%
print(f"ahead of a bag of words, {len(part.train):,} sentences, fine-tuned as above:")
print(f"  {ahead(right['fine-tuned'], right['bag of words'])} (dev)")
row = report.comparison.iloc[-1]  # the bag of words
low, high = 100 * row["ci_low"], 100 * row["ci_high"]
print(f"ahead of a bag of words, {len(splits.train):,} sentences, this classifier:")
print(f"  {100 * row['delta']:+.1f} points [{low:+.1f}, {high:+.1f}] (test)")

# %% [markdown]
# - **majority**: always the more frequent label;
# - **tf-idf + logistic regression**: counts of words and pairs of words, no order
#   beyond that, no pretraining, trained in a second. Whatever is more expensive has to
#   beat this first;
# - **the raters**: some twenty people rated each sentence; the label is their common
#   judgement, and sentences on which it was undecided were left out. The line is how
#   often one of them agrees with it, estimated from mean and spread of the ratings. It
#   is a yardstick, not a wall: what many agree on is easier to hit than what one says.
#
# The intervals here are 95 %. Below stands what pretraining is worth, measured against
# the bag of words, which has none: once with few sentences, once with all. The fewer
# labels there are, the more of the answer has to come from what was read before.

# %%
al.plots.table(report.classes)

# %% [markdown]
# **Precision**: of the sentences called positive, how many are? **Recall**: of those
# that are positive, how many were found? **F1** is their harmonic mean. With two
# classes of equal size they say little more than accuracy. With eight classes of very
# unequal size they are what you must look at, since a model may be right nearly always
# and still hardly ever find a rare class. The bag of words on news, for instance:

# %%
news = al.datasets.load("reuters-r8").sample(size.training_sentences)
words = al.evaluation.bag_of_words(news.train)
predictions, labels = words.predict(news.test.texts), np.array(news.test.labels)
by_class = al.evaluation.by_class(predictions, labels, news.test.label_names)
print(f"tf-idf on eight topics of news: accuracy {(predictions == labels).mean():.1%},")
print(f"mean F1 of the classes {by_class.f1.fillna(0).mean():.1%}")
by_class = by_class.sort_values("texts", ascending=False).set_index("label")
al.plots.table(by_class, precision=2, recall=2, f1=2)

# %% [markdown]
# A dash stands where a class was never predicted. Compare precision and recall in the
# rows below the first two. A rare class is easily missed, since it takes strong
# evidence to leave the frequent ones. (With ten texts, recall moves in steps of .1.)
#
# ### Is it as sure as it should be?
#
# A model that says "90 %" should be right nine times out of ten. Put the answers into
# bins by confidence, and compare with how often each bin was right: points on the
# diagonal are **calibrated**, points below it are overconfident.

# %%
al.plots.calibration(report)

# %% [markdown]
# Fine-tuned networks are often too sure: the training loss goes on falling when all
# answers are right already and only confidence grows. There is a cure of one number
# (Guo et al. 2017): divide the logits by a **temperature**, the same as in lesson 01,
# chosen on dev. It changes no answer, only how sure each is.

# %%
dev = splits.dev.sample(size.sentences)
dev_logits = clf.logits(clf.encode(dev.texts))
temperatures = np.linspace(0.5, 3, 51)
losses = [
    float(nn.functional.cross_entropy(dev_logits / one, torch.tensor(dev.labels)))
    for one in temperatures
]
best = temperatures[int(np.argmin(losses))]
logits, labels = clf.logits(clf.encode(test.texts)), np.array(test.labels)
shares = {
    "before": logits.softmax(-1).numpy(),
    "after": (logits / best).softmax(-1).numpy(),
}
print(f"temperature {best:.2f}, chosen on dev")

# %% [markdown]
# No error is ever 0 on so few texts. What would a model show that is calibrated
# perfectly? Draw labels with just the probabilities that it states, many times, and
# measure:

# %%
generator = np.random.default_rng(0)
for name, stated in shares.items():
    _, error = al.evaluation.calibration(stated, labels)
    honest = [
        al.evaluation.calibration(
            stated, (generator.random(len(stated)) < stated[:, 1]) * 1
        )[1]
        for _ in range(200)
    ]
    limit = np.quantile(honest, 0.95)
    verdict = "more than chance explains" if error > limit else "no more than chance"
    print(f"{name:>6}: calibration error {error:.1%} on test,", end=" ")
    print(f"by chance {np.mean(honest):.1%}, seldom above {limit:.1%}: {verdict}")

# %% [markdown]
# *By chance* is what a perfectly calibrated model of the same confidence shows on
# average, and *seldom* means one case in twenty. Only an error above that is a finding.
# Had both errors stayed below it, there would have been nothing to cure.

# %% [markdown]
# ## 6. Where it fails
#
# ### Other domains
#
# It learned from film reviews. Here it reads product reviews, tweets and opinion pages
# of a newspaper, rated by the same kind of people.

# %%
domains = {"movie (test)": test}
for name in ("product", "tweet", "editorial"):
    domains[name] = al.datasets.load(f"{name}-sentiment").test.sample(size.sentences)


# %%
def interval(hits, texts):
    """The 95 % interval of a share, in percent, as text."""
    low, high = al.statistics.share_interval(int(hits), texts)
    return f"{100 * low:.1f} to {100 * high:.1f}"


# %%
rows = {}
for name, texts in domains.items():
    shares = clf.logits(clf.encode(texts.texts)).softmax(-1).numpy()
    answers, labels = shares.argmax(-1), np.array(texts.labels)
    rows[name] = {
        "accuracy, %": 100 * (answers == labels).mean(),
        "95 % interval": interval((answers == labels).sum(), len(labels)),
        "majority, %": 100 * np.bincount(labels).max() / len(labels),
        "are positive, %": 100 * labels.mean(),
        "called positive, %": 100 * answers.mean(),
        "calibration error, %": 100 * al.evaluation.calibration(shares, labels)[1],
    }

# %%
al.plots.table(pd.DataFrame(rows).T.infer_objects())

# %% [markdown]
# Compare each accuracy with the majority of its own domain, not with the first row:
# where most texts are of one label, a constant answer looks good. Then compare *are*
# with *called positive*: away from film, does it lean to one side? And the last column:
# where it is wrong more often it should be less sure, and is it? A model does not know
# that it has left its domain, and a figure from one domain is no promise for another.
#
# ### Negation, contrast, and what stands between the lines
#
# Sentences of ours. Read them first and decide what *you* would say.

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
table = pd.DataFrame(entries, columns=["kind", "sentence", "we say"])
table = table.map(str.strip).set_index("kind")
answers = clf.predict(table["sentence"].tolist())
table["it says"] = answers.labels
table["sure, %"] = (100 * answers.probabilities.max(-1)).round().astype(int)


def bold(row):
    """Mark the rows in which it is wrong."""
    return ["font-weight: bold" * (row["we say"] != row["it says"])] * len(row)


table.style.apply(bold, axis=1)

# %% [markdown]
# Bold rows are mistakes, if there are any. Notice how sure it is in them. Ten sentences
# prove nothing about all negations; they are a place to look. Write some of your own.
#
# A sentence on which it is wrong *and* sure is worse than one near 50 %: a threshold
# catches only the second kind.
#
# Whether a suspicion holds, real sentences must say. Here are the test sentences,
# divided by what is in them:

# %%
hits = report.score.predictions == np.array(test.labels)
suspects = {
    "a negation": r"\b(not|no|never|nothing|hardly)\b|n't",
    "a contrast": r"\b(but|although|though|yet)\b",
    "25 words or more": r"(\S+\s+){24,}\S",
}
rows = {}
for name, pattern in suspects.items():
    inside = np.array([bool(re.search(pattern, one.lower())) for one in test.texts])
    groups = {"with": hits[inside], "without": hits[~inside]}
    rows[name] = {f"{k}, %": 100 * one.mean() for k, one in groups.items()}
    rows[name]["difference"] = rows[name]["with, %"] - rows[name]["without, %"]
    errors = [one.var() / max(len(one), 1) for one in groups.values()]
    rows[name]["its error"] = 100 * sum(errors) ** 0.5
pd.DataFrame(rows).T.style.format("{:.1f}")

# %% [markdown]
# A difference within twice its error is no finding, and of three suspects one may
# easily exceed that by chance; with three looks ask for 2.4 errors (that is
# Bonferroni's rule: 5 % shared out among three). Which suspects pass? Is negation among
# them? A handful of hand-picked sentences can make anything look bad.
#
# To read mistakes, take **dev**: whoever reads those on test and then mends the model
# has used test up.

# %%
dev = splits.dev.sample(size.sentences)
wrong = al.Evaluator(clf, dev).score().predictions != np.array(dev.labels)
mistakes = [text for text, bad in zip(dev.texts, wrong, strict=True) if bad]
print(f"{len(mistakes)} mistakes of {len(dev)}; read them with mistakes[:10]")

# %% [markdown]
# ### Long texts
#
# BERT reads a limited number of tokens, and attention costs with their square. Longer
# texts are **cut**: `attnlab` says how many, and `max_length=128` cuts earlier, for
# speed. How many postings to discussion groups does the limit of 512 touch?

# %%
news, postings = (al.datasets.load(name) for name in ("reuters-r8", "newsgroups-20"))
news, postings = (
    one.sample(size.training_sentences, None, size.sentences)
    for one in (news, postings)
)
for one in (news, postings):
    with warnings.catch_warnings(action="ignore", category=al.errors.AttnlabWarning):
        tokens = clf.encode(one.train.texts).lengths  # it would say how many it cuts
    most = (tokens >= 512).mean()
    print(
        f"{one.train.name}: median {np.median(tokens):.0f} tokens, {most:.0%} reach 512"
    )

# %% [markdown]
# What is lost depends on where the answer stands. A bag of words can tell what it loses
# itself, since it trains in a second: cut all texts after so many words, train,
# measure.


# %%
def cut(data, words):
    """The same texts, each up to so many words."""
    return replace(data, texts=[" ".join(one.split()[:words]) for one in data.texts])


longest = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
learned = {one.test.name: [] for one in (news, postings)}
for one in (news, postings):
    for words in longest:
        model = al.evaluation.bag_of_words(cut(one.train, words))
        answers = model.predict(cut(one.test, words).texts)
        learned[one.test.name].append(answers == np.array(one.test.labels))

# %%
shares = {name: [100 * one.mean() for one in row] for name, row in learned.items()}
al.plots.lines(
    longest,
    shares,
    errors={
        name: [100 * one.std() / len(one) ** 0.5 for one in row]
        for name, row in learned.items()
    },
    xlabel="words read of each text",
    ylabel="accuracy on test, %\n(bars: ± one standard error)",
    log="x",
    alt="Accuracy from 4 to 1,024 words read: "
    + "; ".join(f"{k} {row[0]:.0f} to {row[-1]:.0f} %" for k, row in shares.items()),
)

# %% [markdown]
# Where does each line become flat? What stands behind that point can be cut without
# loss for this reader, and BERT would save the time, since attention costs with the
# square of the length. (BERT itself may use more words or fewer; measure that before
# you cut.) If the answer may stand anywhere, cut a text into windows, answer each, and
# average the probabilities.

# %% [markdown]
# ## 7. What changed inside?
#
# Compare the weights before and after fine-tuning: how far did each matrix move,
# relative to its size?

# %%
before = al.classification.fresh_classifier("minilm", splits.train.label_names)
al.plots.movement(before, clf)

# %% [markdown]
# The numbers are percent of each matrix's own size. Inside the layers it is some
# percent for most. The exception stands below the picture: the **pooler**, the matrix
# between the vector of `[CLS]` and the layer on top. (LoRA leaves the embeddings
# alone.)
#
# Now attention itself. For every head: how much weight sits elsewhere than before, on
# average over sentences? (Half the sum of the absolute differences: 0 if nothing moved,
# 1 if everything did.)

# %%
sentences = splits.dev.sample(size.sweep_sentences).texts
moved = np.zeros((clf.layers, clf.heads))
for sentence in sentences:
    old, new = before.attend(sentence).weights, clf.attend(sentence).weights
    moved += (new - old).abs().sum(-1).mean(-1).numpy() / 2 / len(sentences)
al.plots.head_map(moved, title="Attention moved by fine-tuning", label="share moved")

# %%
matrices = al.evaluation.layer_movement(before, clf).groupby("layer")["relative"].mean()
columns = {
    "matrices, % of their size": 100 * matrices.to_numpy(),
    "attention, % of the weight": 100 * moved.mean(1),
}
al.plots.table(pd.DataFrame(columns).rename_axis("layer"))

# %% [markdown]
# Two columns with two units, so compare each with itself, from the first layer to the
# last. Do the matrices move more the deeper you look? Does attention? A layer's
# attention depends on its own matrices and on what all layers before it have changed.
#
# The head that moved most (the largest of all, so no typical one), on a sentence of
# ours, before, after, and the difference:

# %%
layer, head = (int(at) for at in np.unravel_index(moved.argmax(), moved.shape))
text = "The second half is slow, but the ending stays with you."
old, new = before.attend(text), clf.attend(text)
print(f"layer {layer}, head {head}, before:")
al.plots.attention_map(old, layer, head)

# %%
print(f"layer {layer}, head {head}, after:")
al.plots.attention_map(new, layer, head)

# %%
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
# And all heads of that layer in bertviz, before and after. Point at a token to see
# where it looks.

# %%
al.attention_view(old, layers=[layer])

# %%
al.attention_view(new, layers=[layer])

# %% [markdown]
# See which words gain. Do they decide what the sentence says? And be careful: that a
# head looks at a word does not mean that the answer hangs on it. Lesson 06 tests that,
# by silencing heads.

# %% [markdown]
# ## 8. A label for each word
#
# So far a text got one label. Many tasks want to know *where*: names, places, dates,
# amounts. The change is small: the layer on top is applied to every token, not to
# `[CLS]` alone, and the loss is the mean over words. The data need care, though. Ours
# are **synthetic**: financial news made from templates, with dates and amounts of money
# written in many ways by Babel, and things that look like them and are not. Labels are
# `B-` for the first word of an entity, `I-` for each further one, `O` for all others.

# %%
newswire = al.datasets.news.splits(train=size.tagged_sentences)
for place in range(3):
    words, tags = newswire.train.words[place], newswire.train.tags[place]
    names = [newswire.train.tag_names[tag] for tag in tags]
    print(
        " ".join(
            f"{w}/{t}" if t != "O" else w for w, t in zip(words, names, strict=True)
        )
    )

# %% [markdown]
# BERT reads **pieces**, not words: a long or rare word is cut into several. For each
# token `word_ids` says which word it belongs to, and None for `[CLS]`, `[SEP]` and
# padding:
#
# | token | `[CLS]` | from | zu | `##gs` | `##pit` | `##ze` | on | `[SEP]` |
# | --- | --- | --- | --- | --- | --- | --- | --- | --- |
# | word_ids | None | 0 | 1 | 1 | 1 | 1 | 2 | None |
#
# A word should count once, so its label goes to its first piece. All other tokens get
# -100, the number that PyTorch's cross-entropy leaves out. (0 would not do: it is a
# class like any other.) Long texts are read in windows, so the first number need not be
# 0, and a word that is nothing but an invisible character has no token at all.
#
# ### Exercise 6: labels for pieces
#
# *Difficulty 2 of 5, 5 minutes.* Return a list with one label for each token.


# %% exercise="align_labels" points=2
def align_labels(word_ids, labels):
    """A label for each token: its word's at a word's first piece, -100 elsewhere."""
    ### BEGIN SOLUTION
    aligned, before = [], None
    for word in word_ids:
        first = word is not None and word != before
        aligned.append(labels[word] if first else -100)
        before = word
    return aligned
    ### END SOLUTION


# %% check="align_labels"
al.checks.align_labels(align_labels)

# %% [markdown] hints="align_labels"
# Go through `word_ids` and remember the one before. When does a new word begin? Two
# neighbours may well have the same *label*.
#
# ---
# A token is the first piece of a word if its number is not None and differs from the
# one before. Its label is `labels[word]`: the number says which. Beware of `if word:`,
# since word 0 counts as false.

# %%
tagger = al.finetune_tagger("minilm", newswire, epochs=size.epochs)
shapes = al.tagging.baseline(newswire.train)
rows = {}
for kind in ("test", "unseen"):
    data = getattr(newswire, kind)
    nothing = np.concatenate(data.tags) == data.tag_names.index("O")
    rows[kind, "nothing"] = {"F1, %": 0.0, "right words, %": 100 * nothing.mean()}
    for name, one in (("shapes of words", shapes), ("BERT", tagger)):
        score = al.tagging.score(one, data)
        rows[kind, name] = {
            "F1, %": 100 * score.f1,
            "standard error": 100 * score.stderr,
            "right words, %": 100 * score.accuracy,
        }
al.plots.table(pd.DataFrame(rows).T[["F1, %", "standard error", "right words, %"]])

# %% [markdown]
# *test* is written like the training sentences; *unseen* has templates and ways of
# writing that they never show. *Nothing* calls every word O. *Shapes of words* is the
# floor: a logistic regression that sees of each word and its neighbours only what they
# look like, such as `00/00/00` or `$0.0`. Where everything is written as in training,
# there is little left for BERT to add; what it adds shows where something is new. So
# ask of every good score: how far from the training data was it measured?
#
# Scores count whole **entities**: a date of which one word is missing is wrong. The
# last column and the first row of each kind show why: most words belong to nothing, so
# by words a model looks good that finds nothing at all. (And an error of 0 beside 100 %
# is no certainty: if there is no mistake among $n$ entities, up to $3 / n$ of all may
# still be wrong, the *rule of three*.)

# %%
text = "Sales rose to $4.2 million on 3 March, the firm said, lifting 120,000 shares."
for found in tagger.tag([text])[0]:
    print(f"{found.kind:7} {found.text!r}, {found.probability:.0%} sure")

# %% [markdown]
# Were the 120,000 shares left alone? They look like money and are none.

# %% [markdown]
# ## 9. Your own texts
#
# A table with a column of texts and one of labels is all it takes. On the command line:
#
# ```
# attnlab finetune reviews.csv --text comment --label topic --out runs/mine
# ```
#
# and in Python the same in three lines. Here a little table of ours, made on the spot:

# %%
ours = pd.DataFrame(
    {
        "comment": [
            f"The {thing} is {how}."
            for thing in ("box", "cable", "lid", "lamp", "screen", "strap")
            for how in ("broken", "scratched", "fine", "perfect")
        ],
        "topic": ["fault", "fault", "praise", "praise"] * 6,
    }
)
mine = al.datasets.from_frame(ours, text="comment", label="topic")
own = al.datasets.split(mine, dev=4, test=4)
helper = al.finetune("minilm", own, "frozen", epochs=20)
helper.predict(["My new kettle arrived with a crack.", "I love this radio."]).labels

# %% [markdown]
# A table this small shows that it runs, no more: with four sentences to test on, any
# accuracy would be ± 25 points, and the sentences are all made alike.
#
# What `from_csv` and `finetune` look after: rows without text or label, a wrong
# encoding, copies of one text with different labels, labels too rare to be measured
# (they warn, or stop and say what to do); `class_weights="balanced"` gives rare labels
# as much say as common ones; a hundred thousand rows are tokenised a thousand at a
# time. Splits are stratified, the same on every machine, and keep copies together.
#
# ## 10. On larger machines
#
# The same notebook on a GPU takes the profile `gpu`: all sentences, more epochs.
# Several GPUs, or several machines:
#
# ```
# accelerate launch --num_processes 4 -m attnlab finetune movie-sentiment \ --method
# full --out runs/full
# ```
#
# Every process takes its share of each batch, so the steps are those of one process.
# `--tensorboard runs/board` writes the run where TensorBoard shows it beside others;
# `--resume` goes on after a power cut.
#
# ## What you know now
#
# - A step of training is: batch with its mask, forward, loss, backward, clip, move.
# - What pretraining is worth depends on how many labels you have: much with a thousand
#   sentences, less with all of them. The learning rate decides whether it survives, and
#   one or two percent of the weights can be enough to tune it.
# - A figure needs its error, its floors and its ceiling, and sentences that had no part
#   in any choice. It holds for its domain.
# - Fine-tuning moves most matrices by some percent of their size. What that does to
#   attention is another unit, and adds up from layer to layer.
#
# Which of the heads does the work? That is [lesson 06](06_head_mixing.ipynb).

# %%
al.checks.summary("finetune_bert")
