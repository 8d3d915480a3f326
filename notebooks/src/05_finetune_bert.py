# %% [markdown]
# # 05 Fine-tune BERT
#
# **How does a model that has only read learn to judge films? And how sure may we be of
# its answers?**
#
# A model that has already learned from a lot of text is **pretrained**. To train it
# further on a question of your own is **fine-tuning**. Here the question is whether a
# sentence about a film is *positive* or *negative*. The right answer for a text, given
# by people, is its **label**.
#
# We follow one learner and 320 labelled sentences: before its first label (sections 2
# and 3), in one step of training (4 and 5), in a whole training (6 and 7). Then we ask
# what more labels would bring (8), and how sure of its answers it may be (9).
#
# Afterwards you can
#
# - make the batch and the gradients of a training step, and read the rest;
# - write LoRA, put it into a model, and merge it;
# - compare methods at your number of labels, by the interval of the difference;
# - measure whether a classifier is as sure as it should be, and mend it.
#
# Time: about 135 minutes, 50 of them for five exercises. The appendices, with the last
# exercise, take 60 of the 135. You need [lesson 02](02_attention_from_scratch.ipynb),
# or to know attention.
#
# Run the first four cells, and try section 1. Then choose **Run → Run Selected Cell and
# All Below**: that takes some twenty minutes on one core, and you can read on
# meanwhile. Where an exercise is empty, our function runs. Once yours is right, run the
# cells from there to the end of its section again: that takes seconds (exercises 1 and
# 4), or a few minutes (2 and 3). Folded code need not be read; a click opens it.

# %% folded=true
# what the lesson uses
import math

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

import attnlab as al
from attnlab.show import drawings

# %%
size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
small_run = size.name == "ci"
labels_here = 32 if small_run else 320
splits = al.datasets.load("movie-sentiment")
few = splits.sample(labels_here, size.sentences // 2)
print(splits, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# A model learns by changing its numbers, the **weights**, a little at each step. How
# large should these changes be? The **learning rate** sets that.
#
# `al.finetune` takes BERT, puts a layer of random weights on top, and trains both on a
# few labelled sentences. Other sentences, called **dev** (the *validation set*), are
# kept out of the training.
# They show whether the model has learned more than the sentences it saw.
#
# The sentences come from film reviews. Some twenty people rated each, and the label
# says whether their mean is above 0 (Hutto and Gilbert 2014). The next cell prints six
# of them, if you write `True`.

# %%
read_some = False
if read_some:
    for text, label in zip(few.train.texts[:6], few.train.labels[:6], strict=True):
        print(f"{few.train.label_names[label]:>8} | {text}")

# %% [markdown]
# The next cell prepares a plot. The training after it draws in it.

# %%
quick_curve = al.TrainingCurve(dev_texts=len(few.dev), guessing=math.log(2))
quick_curve

# %% [markdown]
# - **Left: the loss.** It is high where the right answer gets a low probability. The
#   line is training, the diamonds are dev. The dashed line is the loss of a model that
#   only guesses. Below stands the learning rate, which changes on the way (section 6).
# - **Right: accuracy on dev**, the share of right answers. It is measured after each
#   **epoch**, which is one pass over the training sentences. The bars say how exact it
#   is (section 3).
#
# Now train, with a learning rate of `1e-4`, or 0.0001.

# %%
learning_rate = 1e-4
quick = al.finetune(
    "minilm",
    few,
    "full",
    epochs=1 if small_run else 2,
    learning_rate=learning_rate,
    callbacks=[quick_curve.run(f"rate {learning_rate:g}")],
)

# %% [markdown]
# After two epochs the model does clearly better than guessing, which would be right
# half of the time. Yet the loss is hardly below the dashed line: which class is ahead
# can change while both probabilities are still near one half.
#
# Now set `learning_rate` to `3e-4`, then `1e-5`, then `1e-2`, and run the cell each
# time. Two of these three learn hardly anything, for opposite reasons. How do their
# losses differ?
#
# <details><summary>What to expect</summary>
#
# Guessing between two classes has the loss $\ln 2 \approx 0.69$. With too low a rate
# the loss falls too slowly from there. With too high a rate it jumps up and then stays
# near 0.69: the model gives nearly the same answer to everything.
#
# </details>

# %% [markdown]
# ## 2. What can BERT do before the first label?
#
# BERT turns each token of a text into a vector. In front of every text stands a special
# token, `[CLS]`. Two small layers make an answer from its vector: the **pooler**, and
# then the layer on top (the *classification head*), which gives one number for each
# class. The next cell loads our
# BERT and draws these parts.

# %%
base = al.classification.fresh_classifier("minilm", splits.train.label_names)
drawings.fine_tuned_parts(6, ["negative", "positive"])

# %% [markdown]
# Two of these parts know nothing yet. The layer on top is new and random. The pooler of
# this BERT was never trained either (appendix G). So we leave both out.
#
# What remains is BERT itself. What has it learned? BERT's own training hides words, and
# the model guesses them: *The [MASK] was dull*. No label is needed for that. Ours is a
# small relative, all-MiniLM-L6-v2: half of the layers of a model that was made to
# imitate a larger one. Then it was trained once more, on pairs of texts that belong
# together, to give similar vectors to sentences with similar meanings. It has never
# been asked about praise and blame. Still, that is enough for a first classifier:
#
# 1. Write one sentence for each class, such as *This film is bad* and *This film is
#    good*.
# 2. Take as the vector of a text the mean of BERT's token vectors.
# 3. Give every review the class of the sentence whose vector is nearer (larger cosine).
#
# This is **zero-shot** classification: it needs no labelled review. The next two cells
# do steps 2 and 3, on reviews of dev.
#
# <details><summary>Would another BERT do this?</summary>
#
# Hardly. The pairs are why it works here; some of them were matched by people. The
# vectors of a BERT that has only guessed words say less about a sentence. So expect
# less from zero-shot, and from frozen features (section 8), with the original.
#
# </details>


# %% folded=true
def sentence_vectors(clf, texts):  # step 2
    """The mean of BERT's last layer over the tokens of each text: (N, D)."""
    encoded, rows = clf.encode(texts), []
    for start in range(0, len(texts), 32):
        batch = encoded.batch(range(start, min(start + 32, len(texts))))
        batch = {name: tensor.to(clf.device) for name, tensor in batch.items()}
        with torch.no_grad():
            hidden = clf.model.bert(**batch).last_hidden_state  # (B, T, D)
        real = batch["attention_mask"][..., None]  # 1, or 0 for padding: section 4
        rows.append(((hidden * real).sum(1) / real.sum(1)).cpu())
    return torch.cat(rows)


# %%
dev = splits.dev.sample(size.sentences // 2)
dev_labels, dev_vectors = np.array(dev.labels), sentence_vectors(base, dev.texts)


def nearer(pair):  # step 3
    """For each dev sentence: 0 or 1, which sentence of the pair is nearer."""
    ends = sentence_vectors(base, pair)
    cosines = nn.functional.cosine_similarity(dev_vectors[:, None], ends, dim=-1)
    return cosines.argmax(-1).numpy()


# %% [markdown]
# How often is the nearer one right? We try three pairs.

# %%
opposites = [
    ("This film is bad.", "This film is good."),
    ("I hated it.", "I loved it."),
    ("terrible", "wonderful"),
]
hits = [nearer(pair) == dev_labels for pair in opposites]  # right or wrong
for pair, right in zip(opposites, hits, strict=True):
    print(f"{right.mean():.1%} right with {pair}")

# %% [markdown]
# All three do better than guessing, without a single label. But is the first pair
# really better than the last, or was it lucky with these 500 sentences?

# %% [markdown]
# ## 3. How exact is such a number?
#
# Another 500 sentences would give another accuracy. How different could it be?
#
# We can imitate the choice, by drawing from the sentences we have. Say seven of ten
# answers are right. Write them on ten cards:
#
# - Draw a card, write down whether it says *right*, and put it back.
# - Do that ten times. You may have *right* eight times. That is one round.
# - The next round may give six.
# - In 96 of 100 rounds there are 4 to 9. So 7 of 10 is hardly exact.
#
# This is the **bootstrap**. (In lesson 06 you write it.) The next cell does 2,000
# rounds with our 500 answers to the first pair.

# %%
first, _, last = hits
rounds = 100 * al.statistics.bootstrap_means(first)
al.plots.resampling(rounds, "right answers in a round, %")

# %% [markdown]
# The middle 95 % of the rounds (blue) is the **95 % interval**. With 500 answers it is
# some 8 points wide.
#
# **To compare two methods**, ask both about the same sentences. Count 1 for right and 0
# for wrong, subtract sentence by sentence, and draw these differences again. We call a
# difference **clear** (*statistically significant*) if its interval leaves out 0.

# %%
interval_of = al.statistics.paired_bootstrap  # the middle 95 % of such rounds
gaps = 100.0 * first - 100.0 * last  # for each sentence: 100, 0 or -100
low, high = interval_of(gaps)
print(f"first minus last pair: {gaps.mean():+.1f} points [{low:+.1f}, {high:+.1f}]")

# %% [markdown]
# The pair about the film is clearly better than the two bare words. But only labels
# could tell you so.
#
# **On paper.** Two methods answer the same four sentences. The first is right on all
# four, the second on three. So the differences are 100, 0, 0 and 0, and a round draws
# four of them.
#
# - In what share of the rounds does it draw 0 four times?
# - The interval leaves out the lowest 2.5 % of the rounds. Is the difference clear?
# - What if the second method is right on two of the four, or on one?
# - Suppose that both methods are equally good. How often does chance alone give three
#   differences that all point one way?
#
# <details><summary>Answers</summary>
#
# One of the four differences is 100. So in $(3/4)^4 = 32$ % of the rounds all four
# draws are 0. The lowest 2.5 % are among them: the interval begins at 0, and the
# difference is not clear. With two of four, 50 points, it is still $(1/2)^4 = 6$ %, and
# not clear. With three it is $(1/4)^4 = 0.4$ %, less than 2.5 %, and the interval
# leaves out 0.
#
# But of two equally good methods each difference points to either side, like a coin.
# Three coins fall alike in one of four cases. So three differences of one sign prove
# nothing: **four sentences are too few for the bootstrap**. It cannot know what is not
# among the four. Take hundreds.
#
# </details>
#
# From here on, all brackets hold such intervals: what might we have got, had the choice
# fallen otherwise?
#
# <details><summary>What exactly does a 95 % interval promise?</summary>
#
# Take a hundred samples and make such an interval from each: about 95 of them hold the
# accuracy over all sentences of this kind. It says nothing about sentences of another
# kind.
#
# There are also formulas that need no drawing: Wilson's for one accuracy, Agresti and
# Min's for a difference on the same texts. On hundreds of texts they give nearly the
# same. They also work where every answer is right; there each round is the same, and
# drawing gives an interval of width 0. The package uses them in its reports and
# learning curves.
#
# </details>

# %% [markdown]
# ## 4. How do texts of different lengths go in together?
#
# Now the learner begins. BERT reads several texts at a time, a **batch**: a table of
# token ids with one row for each text. But the rows of a table are equally long, and
# texts are not.
#
# So shorter texts are filled up with a meaningless token, the **padding**, written
# `[PAD]`. No word should attend to it. Therefore the model also gets an **attention
# mask**, which has 1 for a real token and 0 for padding. Here are four texts and their
# mask.

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
# Rows that end in padding have 0 there in the mask, and 1 everywhere else.
#
# ### Exercise 1: a batch of unequal texts
#
# *Difficulty 2 of 5, 5 minutes.* Every batch of your training below comes from this
# function. `rows` holds lists of token ids. Return two tensors of shape `(B, T)`, where
# `B` is the number of lists and `T` the length of the longest: first the ids, then the
# mask.
#
# For `rows = [[7, 8], [9]]` and `pad_id = 0` the ids are `[[7, 8], [9, 0]]`, and the
# mask is `[[1, 1], [1, 0]]`.
#
# The check tries texts of any length, and texts in which `pad_id` is a real token: some
# tokenizers end each text with the token that also pads. The lists must stay as they
# are.


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
# Your function now makes the batch of our four texts, for a fresh model, `learner`.
# Section 5 takes single steps with it, and section 6 trains it.

# %%
pad = al.checks.yours_or_ours("pad_batch", pad_batch)
torch.manual_seed(0)
learner = al.classification.fresh_classifier("minilm", ["negative", "positive"])
pad_id = learner.tokenizer.pad_token_id
ids, mask = (tensor.to(learner.device) for tensor in pad(token_rows, pad_id))
inputs = {"input_ids": ids, "attention_mask": mask}

# %% [markdown]
# What if you forget the mask? A classifier that is already trained reads *A joy.* with
# more and more padding, as in batches with longer and longer texts. The mask says 1
# everywhere.

# %% folded=true
# how sure it is with each number of [PAD], and no mask
finished = al.load_classifier("movie-sentiment")  # comes with the course: appendix A
row, pads, sure = finished.encode(["A joy."]).ids(0), [2**k for k in range(9)], []
for added in [0, *pads]:
    read = torch.tensor([row + added * [pad_id]], device=finished.device)
    with torch.no_grad():
        logits = finished.model(read, attention_mask=torch.ones_like(read)).logits
    sure.append(100 * float(logits.softmax(-1)[0, 1]))

# %% folded=true
# the picture: how sure it is over the padding
al.plots.lines(
    pads,
    {"mask forgotten": sure[1:]},
    xlabel="padding after “A joy.”, tokens",
    ylabel="probability of positive, %",
    log="x",
    levels={"with its mask": sure[0]},
    marks=True,
)

# %% [markdown]
# A forgotten mask raises no error. Little padding does no visible harm, and that hides
# the mistake. With more of it the model gets less sure, and in the end the answer
# turns: the words attend to padding.

# %% [markdown]
# ## 5. What happens in one training step?
#
# A **training step** has three parts: forward, backward, and the move of the weights.
#
# **Forward.** The model gives each text one number for each class, the **logits** $z$.
# Softmax turns them into probabilities. The **loss** is minus the logarithm of the
# probability of the right class. Say the logits are 1 and 3:
#
# - Softmax makes the probabilities .119 and .881 of them.
# - If the second class is right, the loss is $-\ln .881 = 0.13$.
# - If the first class is right, the loss is $-\ln .119 = 2.13$.
#
# A batch of $n$ texts has the mean loss $L$. With $y_i$ for the right class of text
# $i$:
#
# $$ \ell_i = -\ln \text{softmax}(z_i)_{y_i}, \qquad L = \frac{1}{n} \sum_i \ell_i . $$
#
# The next cell computes it for our four texts, with PyTorch's function and by hand.

# %%
labels = torch.tensor([1, 0, 1, 0], device=learner.device)  # 1 is praise
model = learner.model
logits = model(**inputs).logits  # (B, 2)
loss = nn.functional.cross_entropy(logits, labels)
right = logits.softmax(-1)[range(4), labels]  # probability of the right class

# %% folded=true
print("right classes got", right.detach().cpu().numpy().round(3))
print(f"loss {loss:.4f}, by hand {-right.log().mean():.4f}, guessing {math.log(2):.4f}")

# %% [markdown]
# Both ways agree, and the loss is close to that of guessing: the layers on top are
# still random.
#
# **Backward.** How would the loss change if a weight changed a little? The **gradient**
# answers that, with one number for each weight. It begins at the logits, where it is
# simple: the probability of each class, minus 1 for the right one.
#
# $$ \frac{\partial \ell_i}{\partial z_i} = \text{softmax}(z_i) -
# \text{onehot}(y_i) . $$
#
# Take the logits 1 and 3 again, and let the first class be right: the gradient is
# $(.119 - 1,\; .881) = (-.881,\; .881)$. A step against it raises the first logit and
# lowers the second. From the logits the **chain rule** carries it back, layer by layer.

# %%
model.zero_grad()
logits.retain_grad()  # keep this one, too
loss.backward()
by_hand = (logits.softmax(-1) - nn.functional.one_hot(labels, 2)) / len(labels)
print(f"at the logits, off by at most {(logits.grad - by_hand).abs().max():.0e}")
gradients = torch.cat([weights.grad.flatten() for weights in model.parameters()])
zeros = (gradients == 0).float().mean()
print(f"{len(gradients):,} gradients, one for each weight; {zeros:.0%} are exactly 0")

# %% [markdown]
# Why are so many exactly 0? Half of the weights are vectors of words, and our four
# texts have some twenty words.
#
# **The move.** The optimizer, here AdamW, moves each weight against its gradient. The
# learning rate sets roughly how far.
#
# <details><summary>What AdamW keeps and computes</summary>
#
# AdamW keeps two running means for each weight: of its gradient, and of the gradient's
# square. Both are corrected for their start at 0. It takes from the weight the learning
# rate times the first over the root of the second. So each gradient is divided by the
# size that this weight's gradients usually have. Each step also pulls weights a little
# towards 0 (**weight decay**, .01 here).
#
# </details>
#
# <details><summary>What is clipping?</summary>
#
# All gradients together are one long vector. If its length is above 1, it is shortened
# to 1 before the move (`clip_grad_norm_`). That limits the harm that one strange batch
# can do.
#
# </details>
#
# **How far should one step go?** The next cell takes one step with each of nine
# learning rates, always from the same start. Each dot is the loss of the four texts
# after one of these steps.

# %%
start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
rates, after = [1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2], []
for rate in rates:
    model.load_state_dict(start)
    optimizer = torch.optim.AdamW(al.training.parameter_groups(model, 0.01), lr=rate)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        after.append(float(nn.functional.cross_entropy(model(**inputs).logits, labels)))
_ = model.load_state_dict(start)  # back to the beginning

# %% folded=true
al.plots.lines(  # the loss after one step, for each rate
    rates,
    {"after one step": after},
    xlabel="learning rate",
    ylabel="loss after one step",
    log="x",
    levels={"before": loss.item()},
    marks=True,
)

# %% [markdown]
# Left of the valley a step changes too little, right of it too much. The many steps of
# a training add up, so it usually takes a lower rate than the best one here: we take
# 1e-4.
#
# <details><summary>Two limits of this picture</summary>
#
# - In its very first step AdamW divides each gradient by its own size. So each weight
#   that has a gradient moves by about the learning rate, and clipping changes next to
#   nothing.
# - This is the loss of the very sentences the step was made for. For others even the
#   best rate here promises nothing.
#
# </details>

# %% [markdown]
# ## 6. How does a step become a training?
#
# A **training loop** repeats the step, batch after batch. If a batch does not fit into
# memory, cut it into parts, and let each go forward and backward by itself.
# `backward()` *adds* to the `.grad` of every parameter. So the gradients of all parts
# collect there, and only then one step is taken. This is **gradient accumulation**.
#
# The step should be that of the whole batch, and here is a trap. Say one part holds two
# texts, with the losses 1 and 3. The other part holds one text, with the loss 8.
#
# - The means of the parts are 2 and 8.
# - The mean of these two means is 5.
# - But the mean of all three losses is 4.
#
# ### Exercise 2: gradients in parts
#
# *Difficulty 3 of 5, 12 minutes.* With this function your loop below computes all its
# gradients. `parts` is a list of pairs `(inputs, labels)`;
# `loss_function(model(inputs), labels)` is the mean loss over one part. Leave in
# `.grad` the gradients of the mean over *all* texts, and return this mean, a plain
# number. For the example above it is 4.
#
# The check tries equal and unequal parts, and looks whether old gradients are
# forgotten. It lets you hold only one part in memory at a time. Take no step, clip
# nothing, and leave the model in its mode (training or evaluation).


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
# Part $k$ has $n_k$ texts and the mean loss $L_k$, so $n_k L_k$ is the sum over it. So
# $L$ is a sum of the $L_k$, each times a share: which? Multiply the loss by it *before*
# `backward()`, and the gradients follow.
#
# ---
# The number to return is added up the same way. A loss keeps everything it was computed
# from; `.item()` is only its number.

# %% [markdown]
# The loop will call your function, or ours where the exercise is empty.

# %%
gradients_of = al.checks.yours_or_ours("accumulate", accumulate)

# %% [markdown]
# Now we build the loop, in three small functions. The first, folded, makes one part of
# a batch, with your `pad_batch`.


# %% folded=true
def part_of(data, labels, places):
    """One part of a batch, (inputs, labels): the texts at these places, padded."""
    ids, mask = pad([data.ids(place) for place in places], pad_id)
    return {"input_ids": ids, "attention_mask": mask}, labels[places]


# %% [markdown]
# The second is the training step of section 5: forward and backward in your
# `accumulate`, then clipping and the move.


# %%
def take_step(logits_of, optimizer, parts, rate):
    """One training step with this learning rate; returns the loss before it."""
    loss = gradients_of(logits_of, nn.functional.cross_entropy, parts)
    nn.utils.clip_grad_norm_(logits_of.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return loss


# %% [markdown]
# The third repeats the step. It cuts each batch of 16 sentences into two parts. The
# learning rate rises at first and then falls to 0.


# %%
def fit(clf, train, rate, steps, seed=0):
    """Train what requires gradients, 16 sentences a step; return the losses."""
    data, labels = clf.encode(train.texts), torch.tensor(train.labels).to(clf.device)
    logits_of = al.training.LogitsOf(clf.model.train())  # dropout on
    optimizer = torch.optim.AdamW(al.training.parameter_groups(clf.model, 0.01))
    order, batches, losses = np.random.default_rng(seed), [], []
    for step in range(steps):  # an epoch is over when its batches are used up
        batches = batches or al.training.shuffled_batches(data.lengths, 16, order)
        halves = np.array_split(batches.pop(), 2)
        parts = [part_of(data, labels, half) for half in halves]
        now = rate * al.training.linear_schedule(step, steps, 0.06)
        losses.append(take_step(logits_of, optimizer, parts, now))
    clf.model.eval()  # dropout off
    return losses


# %% [markdown]
# <details><summary>Three things here are new</summary>
#
# - **Mixed precision**: `LogitsOf` computes products in `bfloat16` (16 bits) where the
#   processor is fast at it; weights and sums stay in float32.
# - **Sorted batches**: a batch holds sentences of like length, so little is padding.
# - **Warm-up**: the learning rate rises over the first 6 % of the steps, because AdamW
#   does not know the usual size of the gradients yet.
#
# </details>
#
# Train `learner` with it, and measure it on dev.

# %%
steps = 3 if small_run else 60
losses = fit(learner, few.train, 1e-4, steps)
once = al.Evaluator(learner, dev).score()

# %% folded=true
passes = 16 * steps / len(few.train)
print(f"full, learning rate 1e-4, {steps} steps, {passes:.1f} passes over", end=" ")
print(f"{len(few.train)} sentences: loss {np.mean(losses[:5]):.2f} ->", end=" ")
print(f"{np.mean(losses[-5:]):.2f}")
print("on dev:", once)

# %% [markdown]
# Your loop trains BERT: the loss falls, and dev is well above guessing. A model that
# had never judged a film now does. What has changed inside? Here are the mean vectors
# of the dev sentences (section 2), before and after. The two axes of each panel are the
# directions in which its vectors differ most (**principal components**).

# %%
trained_vectors = sentence_vectors(learner, dev.texts)
al.plots.sentence_map(
    {"before training": dev_vectors, f"after {steps} steps": trained_vectors},
    dev_labels,
    ["negative", "positive"],
)

# %% [markdown]
# Before, the two classes lie mixed, and the two axes show little of how the vectors
# differ: they differ in many ways. After, most of it lies along one curve, from
# blame to praise. The training has turned a space of many meanings towards one
# question. (That the curve is bent means little: such maps often bend a single line.)
#
# <details><summary>Why <code>train()</code> and <code>eval()</code>?</summary>
#
# In training, **dropout** sets random numbers inside the model to 0. Measured like
# that, it answers worse than it could, and differently each time.
#
# </details>
#
# <details><summary>When to stop</summary>
#
# Section 9 trains the learner for longer than is good for it. `al.finetune`, the same
# loop with checkpoints, resuming and several GPUs, keeps the epoch that was best on
# dev. With `patience` it stops soon after (**early stopping**).
#
# </details>

# %% [markdown]
# ## 7. Can it learn with fewer numbers?
#
# Your loop changes every weight. For that, each weight needs three more numbers: its
# gradient, and two running means that AdamW keeps. Each number takes 4 bytes. For a
# model with 7 billion weights that is $7 \cdot 10^9 \cdot 3 \cdot 4$ bytes, or 84 GB,
# beside the weights themselves.
#
# But how much has to change? Every matrix is a sum of matrices of the form column times
# row, the largest first (its **singular value decomposition**). $r$ of them make a
# matrix of **rank** $r$. We take what your training has added to the matrices that make
# the values in four layers, and ask how much of it the first $r$ terms hold.


# %% folded=true
# the share of a change that its largest terms hold
def share_of_first(change):
    """For each rank: the share of the squared numbers that its terms hold, in %."""
    squares = torch.linalg.svdvals(change.float().cpu()) ** 2
    return (100 * squares.cumsum(0) / squares.sum()).numpy()


def value_matrix(clf, layer):
    """The weights (D, D) that make the values of a layer."""
    return clf.model.bert.encoder.layer[layer].attention.self.value.weight.detach()


# %% folded=true
# the picture: shares of the change of four matrices, and of a random matrix
ranks, shares = [2**k for k in range(7)], {}
for layer in (5, 4, 2, 0):
    change = value_matrix(learner, layer) - value_matrix(base, layer).to(learner.device)
    shares[f"layer {layer}"] = share_of_first(change)
shares["random numbers"] = share_of_first(torch.randn(384, 384))
al.plots.lines(
    ranks,
    {name: [share[rank - 1] for rank in ranks] for name, share in shares.items()},
    xlabel="rank r",
    ylabel="share of the change, %",
    log="x",
    marks=True,
)

# %% [markdown]
# The change is far simpler than random numbers, most of all in the last layers: there
# eight terms hold most of it. In the first layer they hold less than half.
#
# **LoRA** (*low-rank adaptation*, Hu et al. 2021) uses that. It leaves every matrix $W$
# as it is.
# Beside it, it learns a correction: the product of two narrow matrices $B$ and $A$. The
# picture shows a matrix of our BERT. ($A$ and $B$ are drawn too thick.)

# %%
drawings.lora(384, 384, 8)

# %% [markdown]
# In one line, with the input $x$ and the bias $b$:
#
# $$ \text{output} = W x + b + \frac{\alpha}{r} B A x . $$
#
# $A$ has $r$ rows, and $B$ has $r$ columns; here $r$ is 8. The number $\alpha$ is
# fixed, and scales the correction.
#
# **A small example.** Take $r = \alpha = 1$, $A = (1\;\;2)$ and $B = \binom{3}{0}$, and
# the input $x = \binom{1}{1}$.
#
# - First $A$ makes one number of it: $Ax = 1 \cdot 1 + 2 \cdot 1 = 3$.
# - Then $B$ makes two numbers of that: $BAx = 3 \cdot \binom{3}{0} = \binom{9}{0}$.
#
# Whatever $x$ is, $BAx$ is a multiple of $B$. In general, only $r$ numbers pass from
# $A$ to $B$. The rank of the matrix $BA$ is at most $r$.
#
# At the start $A$ is random and $B$ is all 0. So a fresh LoRA changes nothing. Still,
# learning can begin: the gradient of $B$ contains $Ax$, which is not 0. That of $A$
# contains $B$, so $A$ waits for one step. Were both 0, neither would ever move.
#
# After training, the correction can be added to $W$ once and for all. This **merging**
# gives the model its old shape again.
#
# <details><summary>Why the factor α / r?</summary>
#
# It is meant to spare you a new search for the learning rate when you try another rank
# (Hu et al. 2021). For large ranks $\alpha / \sqrt r$ may serve better (Kalajdzievski
# 2023).
#
# </details>

# %% [markdown]
# ### Exercise 3: LoRA
#
# *Difficulty 3 of 5, 15 minutes.* In a moment this layer will replace every linear
# layer of BERT. `linear` is an `nn.Linear` with a bias. Fill three gaps:
#
# - `__init__` makes the parameters `self.A`, of shape `(rank, inputs)`, random, and
#   `self.B`, of shape `(outputs, rank)`, all 0.
# - `forward` gives the output, without ever computing the large matrix $BA$.
# - `merge` returns a new `nn.Linear` that computes the same as `forward`.
#
# In the example above let $W = \bigl(\begin{smallmatrix} 1 & 0 \\ 0 & 1
# \end{smallmatrix}\bigr)$ and $b = 0$. Then `forward` gives $\binom{1}{1} +
# \binom{9}{0} = \binom{10}{1}$. The merged matrix is $\bigl(\begin{smallmatrix} 4 & 6
# \\ 0 & 1 \end{smallmatrix}\bigr)$, which times $x$ is $\binom{10}{1}$, too.
#
# The check looks at each of the three, with its own $A$ and $B$, and whether `linear`
# stays as it was.


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
# BERT gets your layer, or ours where the exercise is empty.

# %%
Correction = al.checks.yours_or_ours("LoRA", LoRA)

# %% [markdown]
# `add_lora` puts your LoRA around each matrix in BERT's layers and pooler. Only these
# and the layer on top learn from then on. `merge_lora` takes them out again, merged.


# %%
def add_lora(model, rank=8, alpha=16):
    """Put LoRA around each linear layer of BERT; else only the layer on top learns."""
    model.requires_grad_(False)
    for name, module in list(model.bert.named_modules()):
        if isinstance(module, nn.Linear):
            around = Correction(module, rank, alpha).to(model.device)
            model.bert.set_submodule(name, around)
    model.classifier.requires_grad_(True)


# %% folded=true
def merge_lora(model):
    """Put the merged layers back in."""
    for name, module in list(model.bert.named_modules()):
        if isinstance(module, Correction):
            model.bert.set_submodule(name, module.merge().to(model.device))


# %% [markdown]
# Take a fresh BERT. How many of its numbers still learn?

# %%
adapted = al.classification.fresh_classifier("minilm", splits.train.label_names)
plain = sum(weights.numel() for weights in adapted.model.parameters())
add_lora(adapted.model)
learn = sum(one.numel() for one in adapted.model.parameters() if one.requires_grad)
print(f"{learn:,} of {plain:,} numbers learn, {learn / plain:.1%}:", end=" ")
print(f"a file of {4 * learn / 1e6:.1f} MB")

# %% [markdown]
# Train it with the same sentences and steps as before, but at ten times the learning
# rate, the package's default for LoRA, and merge it. The four texts of section 4 show
# whether merging changes the logits.

# %%
fit(adapted, few.train, 1e-3, steps)
with torch.no_grad():
    apart = adapted.model(**inputs).logits
    merge_lora(adapted.model)
    merged = adapted.model(**inputs).logits

# %% folded=true
print(f"LoRA, rank 8, learning rate 1e-3, {steps} steps")
print("on dev:", al.Evaluator(adapted, dev).score())
print(f"merged, the logits differ by at most {(merged - apart).abs().max():.0e}")

# %% [markdown]
# Few numbers learn, and merging changes the logits only by rounding. Of a square matrix
# of width $d$ LoRA trains $2r/d$: 4.2 % at our 384, as in the picture, and 0.4 % at
# 4,096, a usual width for 7 billion weights. (Half of our weights, the vectors of
# words, get no LoRA: that is why 1.5 % are left.) At 0.4 % the 84 GB from above become
# some 0.3 GB. What stays is the weights themselves, 28 GB at 4 bytes each, and what the
# backward pass keeps of each text.
#
# In our run the accuracy lies inside the interval of your full training in section 6.
# One run of each cannot tell whether they differ.
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
# ## 8. What is a label worth?
#
# Our learner had 320 labels. Labels cost work. How many do you need, and would
# something cheaper than training BERT do as well?
#
# We compare four methods, the cheapest first. The first two are **logistic
# regressions**: one layer with softmax, which learns from fixed numbers about the text.
#
# - **bag of words**: its numbers count the words of a text. Nothing is pretrained.
# - **frozen features** (a *linear probe*): its numbers are the mean of BERT's token
#   vectors (section 2). BERT itself does not change.
# - **LoRA** of rank 8, with your loop, at the learning rate 1e-3.
# - **full** fine-tuning of all weights, with your loop, at 1e-4.
#
# Each method gets 64, 256 and 1,024 labels, three times each, with three **seeds**. A
# seed is the number that random choices start from: which sentences are drawn, how the
# layer on top begins, in which order the model reads.
#
# <details><summary>How the comparison is set up</summary>
#
# LoRA and *full* take 48 steps of 16 sentences, or one epoch if that is more. Their
# dropout, too, depends on the seed. The bag of words counts single words and word
# pairs. Counts are damped, and weighted down for words that stand in many texts
# (*tf-idf*). The learning rates were fixed beforehand, at the package's defaults.
#
# </details>

# %%
counts = (16, 32) if small_run else (64, 256, 1024)
seeds = (1, 2) if small_run else (1, 2, 3)
lora_rank, rate_of = 8, {"LoRA": 1e-3, "full": 1e-4}

# %% [markdown]
# Three folded functions follow. `trained` trains one classifier with your loop,
# `cheap_answers` asks the two cheap methods, and `learn_from` lets all four learn from
# $n$ labels and notes their accuracies.


# %% folded=true
def trained(method, train, rate, seed):
    """A classifier, trained by your loop; LoRA is merged."""
    torch.manual_seed(seed)
    clf = al.classification.fresh_classifier("minilm", splits.train.label_names)
    if method == "LoRA":
        add_lora(clf.model, lora_rank)
    epoch = math.ceil(len(train) / 16)  # the steps of one
    fit(clf, train, rate, 2 if small_run else max(48, epoch), seed)
    merge_lora(clf.model)
    return clf


# %% folded=true
def cheap_answers(train):
    """The answers on dev of the two methods that do not train BERT."""
    words = al.evaluation.bag_of_words(train)
    probe = LogisticRegression(max_iter=1000)
    probe.fit(sentence_vectors(base, train.texts), train.labels)
    return {
        "bag of words": words.predict(dev.texts),
        "frozen features": probe.predict(dev_vectors),
    }


# %% folded=true
results, tuned = {}, {}


def learn_from(n):
    """Let all four methods learn from n labels, with each seed."""
    for seed in seeds:
        part = splits.train.sample(n, seed)
        right = {way: said == dev_labels for way, said in cheap_answers(part).items()}
        for way, rate in rate_of.items():
            tuned[way, seed] = trained(way, part, rate, seed)  # the last stay
            right[way] = al.Evaluator(tuned[way, seed], dev).score().correct
        results[n, seed] = {way: 100 * each.mean() for way, each in right.items()}


# %% [markdown]
# The next cells train, for some minutes. Guess meanwhile: which method wins with 64
# labels?

# %%
learn_from(counts[0])

# %%
learn_from(counts[1])

# %%
for n in counts[2:]:
    learn_from(n)

# %% [markdown]
# The plot shows the mean over the seeds, each method a little beside the others. The
# grey line is zero-shot, the mean over the three pairs of section 2.

# %% folded=true
table = pd.DataFrame(results).T.rename_axis(["labels", "seed"])  # (counts x seeds, 4)
lora_rate, full_rate = (al.plots.brief(rate) for rate in rate_of.values())
print(f"LoRA: rank {lora_rank}, learning rate {lora_rate};", end=" ")
print(f"full: learning rate {full_rate}; {len(seeds)} seeds each")
al.plots.over_seeds(
    table,
    xlabel="labelled sentences to train on",
    ylabel="accuracy on dev, %",
    log="x",
    levels={"zero-shot": 100 * np.mean(hits)},
)

# %% [markdown]
# All methods gain from more labels. BERT with frozen features is far ahead of the bag
# of words on the mean of three seeds where labels are few.
#
# Why is the right end no higher than sections 6 and 7, with 320 labels? LoRA and *full*
# read 64 labels twelve times here, 256 three times, and 1,024 only once. So the curves
# show what this number of steps is worth, and not the most that 1,024 labels can give.
# And a single run, as in sections 6 and 7, may be lucky. One more thing is unequal:
# *frozen features* reads the mean over tokens, for which this BERT was trained; LoRA
# and *full* read `[CLS]` through a pooler that begins at random.
#
# ### Which differences are more than the luck of a seed?
#
# Section 3 asked what other sentences would have given; now it is other seeds. A seed
# gives all methods the same sentences, so again we subtract first: one difference for
# each seed. Three are too few to draw from, so a formula gives the interval.
#
# The plot shows all twelve comparisons, a panel for each number of labels. Small ticks
# are seeds, dots are means, and lines are intervals. Before you look for colours: which
# of them would *you* call clear?
#
# <details><summary>The formula for few numbers</summary>
#
# It is Student's $t$. Say the three differences are 2, 3 and 4 points. Their mean is 3,
# their standard deviation 1. The interval reaches $4.3 \cdot 1 / \sqrt 3 = 2.5$ to each
# side, from 0.5 to 5.5. The 4.3 belongs to three numbers; for many it is 1.96. (It
# supposes that such differences are about normally distributed, which three cannot
# show.)
#
# </details>

# %% folded=true
pairs = [  # the four comparisons, for each number of labels
    ("frozen features", "bag of words"),
    ("LoRA", "frozen features"),
    ("full", "frozen features"),
    ("LoRA", "full"),
]
gaps = {}
for n in counts:
    at_n = table.loc[n]
    gaps[f"{n:,} labels"] = {f"{a} − {b}": at_n[a] - at_n[b] for a, b in pairs}
al.plots.differences(gaps, "difference of accuracy on dev, points (ticks: seeds)")

# %% [markdown]
# Blue means *clear*: the interval leaves out 0.
#
# But twelve looks are twelve chances to be lucky. The **p value** says how often chance
# would give such a difference, or a larger one, between two methods that are equally
# good. It is below .05 just where the interval leaves out 0. The **adjusted** p value
# allows for all twelve looks, so that few of the findings are false (the *false
# discovery rate*; you write this correction in lesson 06).

# %%
rows = [(count, *row) for count, four in gaps.items() for row in four.items()]
chances = [al.statistics.mean_p_value(by_seed) for *_, by_seed in rows]
adjusted = al.statistics.benjamini_hochberg(chances)

# %% folded=true
for (count, which, _), chance, fair in zip(rows, chances, adjusted, strict=True):
    if chance < 0.05:
        print(f"{count}, {which}: p {chance:.3f}, adjusted {fair:.3f}")
found = [sum(p < 0.05 for p in column) for column in (chances, adjusted)]
print(f"below .05: {found[0]} of {len(rows)}; adjusted: {found[1]}")

# %% [markdown]
# How far can you trust the clear ones?
#
# - **Adjusted for twelve looks, none of our run stays below .05.** Three seeds are too
#   few for that.
# - **A verdict near 0 may flip in the next run**, even with the same seeds.
# - **What is not clear may still be there.** With 256 labels *full* is ahead of LoRA
#   and of frozen features with each of the three seeds. Yet the interval of three seeds
#   contains 0.
# - **Clear over seeds is not clear over sentences.** LoRA is 1.5 points behind frozen
#   features with 256 labels, and that interval leaves out 0. But all seeds met the same
#   500 dev sentences, of which 1.5 points are seven or eight.
#
# Largest is the lead of frozen features over the bag of words with 64 and 256 labels:
# 11 or 12 points, with intervals that begin 4 or more above 0. Which method is best,
# our data do not settle. The cheap one on a pretrained model takes seconds: try it
# first, and see whether more labels and more training pay.
#
# <details><summary>Why can the same seed give another result?</summary>
#
# A seed does not fix how sums are rounded, which depends on processor, threads and
# version. Many steps make much of a little.
#
# </details>
#
# <details><summary>What does this comparison leave open?</summary>
#
# - LoRA can correct the random pooler only by rank 8. The third open problem below asks
#   for the same reading in all methods.
# - Each method has one learning rate, which was not searched for.
#
# </details>

# %% [markdown]
# ## 9. How sure may we be of one answer?
#
# Our learner has gone through its 320 sentences three times. What if it is trained once
# more, for as many steps again? (The learning rate rises and falls once more, too.) Is
# it right more often, and is it surer? We keep its first answers on **test**: sentences
# that it has not seen, and by which we have chosen nothing.

# %%
test = splits.test.sample(size.sentences)
early = learner.logits(learner.encode(test.texts))  # before
fit(learner, few.train, 1e-4, steps)
now = al.Evaluator(learner, dev).score()

# %% folded=true
print("its own sentences:", al.Evaluator(learner, few.train).score())
print("dev, before:      ", once)
print("dev, now:         ", now)
gaps = 100.0 * now.correct - 100.0 * once.correct
low, high = interval_of(gaps)
print(f"accuracy on dev, now minus before: {gaps.mean():+.1f} points", end=" ")
print(f"[{low:+.1f}, {high:+.1f}]")

# %% [markdown]
# It now knows its own sentences by heart: that is **overfitting**. On dev it is not
# right more often, perhaps less: the interval just contains 0. Yet the dev loss has
# risen: where the learner is wrong, it is now far too sure.
#
# The **confidence** of an answer is the probability that the model gives to it. Of
# the answers with a confidence of 90 %, nine in ten should be right. Is that so? The
# next cell sorts the answers on test by confidence into **bins**, and counts the right
# ones in each (a *reliability diagram*).

# %%
al.plots.calibration(al.report(learner, test, few.train))

# %% [markdown]
# On the diagonal a bin is as sure as it is right. A point below it says: too sure. Most
# answers stand at the right end, near 99 %, and there only some four in five are right.
#
# **One number for this picture** is the mean gap. Take four answers. Two have a
# confidence of .95, and one of these is right. Two have .65, and both are right.
#
# - At .95 half of the answers are right. The gap is $.95 - .50 = .45$.
# - At .65 all are right. The gap is $1.00 - .65 = .35$.
# - Each gap holds for half of the answers: $\frac12 \cdot .45 + \frac12 \cdot .35 =
#   .40$.
#
# This is the **expected calibration error** (ECE; the picture's title has it). With
# $n_b$ of the $n$ answers in bin $b$ it is
#
# $$ \text{ECE} = \sum_{b} \frac{n_b}{n} \, \bigl| \text{confidence}_b -
# \text{accuracy}_b \bigr| . $$
#
# **A cure is one number, too** (Guo et al. 2017). Divide all logits by a
# **temperature** $T$. Say they are 3 and 1. With $T = 1$ nothing changes, and the model
# is 88 % sure. With $T = 2$ they become 1.5 and 0.5, and it is 73 % sure. The larger
# logit stays the larger, so no answer changes.
#
# <details><summary>Why does training make a model too sure?</summary>
#
# When all training answers are right, more confidence still lowers the training loss.
# So nothing stops it.
#
# </details>
#
# ### Exercise 4: calibration error at a temperature
#
# *Difficulty 3 of 5, 10 minutes.* The plot below shows your number at 56 temperatures.
# Return the ECE of answers whose logits are divided by `temperature`. The bins divide
# the range from 0 to 1.
#
# The four answers above give .40 with ten bins and $T = 1$. (To try it: the logits $\ln
# .95$ and $\ln .05$ give a confidence of .95.)
#
# The check begins with one bin, then takes several, then a temperature, then more
# classes. A confidence of exactly 1 belongs to the last bin, and empty bins count
# nothing.


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
# Which temperature is best? We take the one with the lowest loss on dev. The loss is
# smooth, and rewards honest probabilities: if a share $p$ of some answers is right, and
# the model says $q$ each time, its mean loss $-p \ln q - (1-p) \ln(1-q)$ is lowest at
# $q = p$. (It is a *proper scoring rule*.)

# %%
error_of = al.checks.yours_or_ours("calibration_error", calibration_error)
logits_dev, logits_test = (learner.logits(learner.encode(d.texts)) for d in (dev, test))
labels_dev, labels_test = torch.tensor(dev.labels), torch.tensor(test.labels)
temperatures = np.linspace(0.5, 6, 56)
cross_entropy = nn.functional.cross_entropy
nats = [float(cross_entropy(logits_dev / t, labels_dev)) for t in temperatures]
best = float(temperatures[int(np.argmin(nats))])

# %% [markdown]
# The plot shows your calibration error at each temperature, with a dot at the chosen
# one. Even a perfectly calibrated model would not show 0: of ten tosses of a fair coin
# exactly five are heads only one time in four. The second line says how much that is.
#
# <details><summary>Where does the second line come from?</summary>
#
# Suppose that the stated probabilities are exactly right. Draw labels with these
# probabilities, and measure the error of that; here ten times, and the mean.
#
# </details>


# %% folded=true
def by_chance(logits, temperature, times, seed=0):  # the second line
    """Calibration errors (times,) with labels drawn from the stated probabilities."""
    generator = torch.Generator().manual_seed(seed)
    positive = (logits / temperature).softmax(-1)[:, 1].expand(times, -1)
    drawn = torch.bernoulli(positive, generator=generator).long()
    return np.array([error_of(logits, labels, temperature) for labels in drawn])


# %% folded=true
errors = [100 * error_of(logits_dev, labels_dev, float(t)) for t in temperatures]
chance = [100 * by_chance(logits_dev, float(t), 10).mean() for t in temperatures]
al.plots.lines(
    temperatures,
    {"learner": errors, "by chance alone": chance},
    points=([best], [100 * error_of(logits_dev, labels_dev, best)]),
    xlabel="temperature (dot: lowest loss on dev)",
    ylabel="expected calibration error on dev, %",
)

# %% [markdown]
# The error is largest at low temperatures, where the model is surest. The curve is
# jagged, because answers jump from bin to bin as the temperature changes. So we do not
# take its lowest point: the loss does not depend on bins.
#
# The temperature was chosen on dev. Does it help on sentences that had no part in the
# choice? It has a rival that needs no such number: to train less. So here are three
# learners on test: after the first training, after both, and after both with the
# temperature.

# %%
kinds = {
    "stopped early": (early, 1.0),
    "trained on": (logits_test, 1.0),
    "trained on, with T": (logits_test, best),
}

# %% folded=true
# the table: accuracy, loss and calibration of the three
rows = {
    name: {
        "T": t,
        "right, %": 100 * (z.argmax(-1) == labels_test).float().mean().item(),
        "loss": float(cross_entropy(z / t, labels_test)),
        "calibration error, %": 100 * error_of(z, labels_test, t),
    }
    for name, (z, t) in kinds.items()
}
rounded = {"T": 1, "right, %": 1, "loss": 3, "calibration error, %": 1}
al.plots.table(pd.DataFrame(rows).T.rename_axis("learner"), **rounded)

# %% [markdown]
# One number removes most of the error, and changes no answer. **But a shorter training
# does about as well**: in our run the early learner is right as often, its loss is the
# lowest of the three, and its calibration error is close to that with a temperature. So
# do not train for longer than dev asks for. The temperature is for classifiers that you
# cannot train again. (Appendix C asks whether the rest is more than chance.)
#
# How sure may we be, then? On average within a few points of what the model says, once
# labelled sentences have set its temperature. For some kinds of sentences it can still
# be too confident.
#
# That holds for sentences like these only. Appendix E shows how sure another classifier
# is of tweets, and how often it is wrong.

# %% [markdown]
# ## What you know now
#
# - A training step is: batch with its mask, forward, loss, backward, clip, move.
# - LoRA learns $\frac{\alpha}{r} BA$ beside each frozen $W$, and merging adds it in.
# - Compare methods at your number of labels, over seeds, by the interval of the
#   difference, and allow for the number of looks.
# - Our learner, trained for too long, was no more often right on dev, but far too sure.
#   One temperature mends most of that. To stop early would have spared it.
#
# The appendices take a finished classifier apart: its report (A), a label for each word
# (B, with exercise 5), its mistakes (D), other texts (E), its heads (F). Appendix H has
# the four lines for texts of your own. Appendix I repeats section 7 with the libraries
# that most people use.
#
# Fine-tuning changed the attention of some heads far more than that of others. Which of
# the heads does the work? That is [lesson 06](06_head_mixing.ipynb).
#
# ## Three open problems
#
# Nobody checks these, and we give no solution.
#
# 1. **A temperature for each domain** (easy, 20 minutes). What temperature has the
#    lowest loss on one half of the tweets, and does it lower the calibration error on
#    the other half? Start from `error_of` and `domains` (appendix E). *Right if* your
#    search, run on `logits_dev`, finds `best` again.
# 2. **Fair learning rates** (medium, 40 minutes). Is LoRA with 256 labels clearly
#    better at another rate, a third or three times as large? Start from `trained`, and
#    report `al.statistics.mean_interval` of the differences by seed. *Right if* the
#    rate 1e-3 gives the accuracies in `results` again, up to a few sentences.
# 3. **The same reading for all** (hard, 90 minutes). *Frozen features* reads the mean
#    of the token vectors, LoRA the vector of `[CLS]`. Does LoRA win with 64 labels if
#    it reads the mean, too? Start from `sentence_vectors`, and put a module of your own
#    in place of `LogitsOf`. *Right if* your model, with BERT frozen and no pooler,
#    comes near frozen features when its top layer is trained for long.
#
# <details><summary>Sources</summary>
#
# Devlin et al. 2019 (BERT) · Wang et al. 2020 (MiniLM) · Reimers and Gurevych 2019
# (sentence vectors) · Efron and Tibshirani 1993 (bootstrap) · Loshchilov and Hutter
# 2019 (AdamW) · Hu et al. 2021 (LoRA) · Kalajdzievski 2023 (LoRA's factor) · Dettmers
# et al. 2023 (QLoRA) · Liu et al. 2024 (DoRA) · Guo et al. 2017 (calibration) · Hutto
# and Gilbert 2014 (the rated sentences).
#
# </details>

# %% [markdown]
# ## Appendix A. A report on a finished classifier
#
# An accuracy alone says little. What would a model reach without understanding, and
# how well do people agree with the labels?
#
# `finished` is a classifier that comes with the course: the same BERT with LoRA of rank
# 8, trained on all 8,070 training sentences. `al.report` measures it on test. For this
# classifier test was not quite kept apart, as the fold tells.
#
# <details><summary>Was test really kept apart?</summary>
#
# Not quite. Three recipes were tried for this classifier, and their test accuracies
# were seen: 84.2, 85.8 and 85.3 %. The last was kept, as it was the fastest to train.
#
# This appendix *describes* the classifier, on test sentences. If you change the model
# because of what you see, you need new ones for the next report.
#
# </details>

# %%
al.plots.comparison(al.report(finished, test, splits.train))

# %% [markdown]
# The picture compares this classifier with
#
# - **majority**: always the more frequent label;
# - **tf-idf + logistic regression**: the bag of words. Whatever costs more has to beat
#   it;
# - **the raters** (dashed): how often a single human rater agrees with the label.
#
# The classifier beats the bag of words by 3.5 points. That is clear, but the interval
# begins close to 0.
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

# %% [markdown]
# ### When a class is rare: precision and recall
#
# Where one class is rare, accuracy can hide that it is hardly ever found. Take eight
# topics of news, with 10 test texts about *grain*. A bag of words calls three texts
# *grain*, and rightly. Three numbers describe that:
#
# - **Precision**: of the texts called *grain*, how many are? 3 of 3: 1.00.
# - **Recall**: of those that are, how many were found? 3 of 10: .30.
# - **F1**, the harmonic mean: $2 \cdot 1.00 \cdot .30 / (1.00 + .30) = .46$.
#
# The table holds them for every topic, the most frequent first.

# %% folded=true
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
# mean F1 (*macro F1*), where each topic counts the same, is far lower. The rarest
# topics have the lowest recall.
#
# <details><summary>How exact is a recall of ten texts?</summary>
#
# Hardly: the 95 % interval of 3 in 10 goes from 11 to 60 % (Wilson's formula).
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
# Where in a text are its dates and amounts? For this each word gets a label, called a
# **tag**. `B-` begins an entity, `I-` goes on with it, and `O` is outside. *On 3 March*
# has the tags `O B-DATE I-DATE`. The layer on top is now applied to every token, and
# the loss is the mean over words.
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
# *Difficulty 2 of 5, 8 minutes.* The scores below count what your function finds.
# Return a list of `(kind, first, end)`, in the order of the text, such that
# `tags[first:end]` are the tags of the entity. The picture's are `("AMOUNT", 2, 5)` and
# `("DATE", 6, 8)`.
#
# Read strictly: an `I-` goes on only with an entity of its own kind that stands right
# before it; otherwise it names nothing. So `["I-DATE", "B-DATE", "I-AMOUNT"]` holds
# only `("DATE", 1, 2)`.
#
# The check tries entities at the beginning, at the end, side by side, and such stray
# `I-`.


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
# data). *test* is written like the training sentences. *unseen* has templates and ways
# of writing that occur in none of them.
#
# BERT has two rivals. *Nothing* calls every word `O`. *Shapes of words* sees only
# shapes, such as `00/00/00` or `$0.0`.
#
# The measure is F1 (appendix A), which here is twice the entities that are right,
# divided by those there plus those found. If four are there and three found, two of
# them right, F1 is $2 \cdot 2 / (4 + 3) = .57$.

# %%
find = al.checks.yours_or_ours("entities", entities, al.datasets.tagged.spans)


# %% folded=true
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
# Folded cells compare all three, on the same sentences. For the intervals the
# sentences are drawn again, as in section 3.


# %% folded=true
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


# %% folded=true
def interval(values):
    """The 95 % interval that drawn values span."""
    return np.quantile(values, [0.025, 0.975])


# %% folded=true
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

# %% folded=true
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
# ## Appendix C. How large is a calibration error by chance?
#
# Section 9 found a calibration error on test. How large would it be if the model were
# perfectly calibrated? Draw labels with the stated probabilities, and measure the
# error. Repeat this many times. Our error is a finding only if the drawn ones seldom
# (one time in twenty) exceed it.

# %% folded=true
for name, temperature in {"before": 1.0, "after": best}.items():
    error = error_of(logits_test, labels_test, temperature)
    drawn = by_chance(logits_test, temperature, 10 if small_run else 200)
    limit = np.quantile(drawn, 0.95)
    verdict = "more than chance explains" if error > limit else "no more than chance"
    print(f"{name:>6} (T = {temperature:.1f}): error {error:.1%} on test,", end=" ")
    print(f"by chance {drawn.mean():.1%}, seldom above {limit:.1%}: {verdict}")

# %% [markdown]
# *Before* is far above what chance explains. *After* is much nearer to the limit; in
# our run still above it, so one temperature does not mend everything. On which side it
# falls may differ from run to run.

# %% [markdown]
# ## Appendix D. Where does it fail, and whose fault is it?
#
# A report says how often a model is wrong, not on what. So give the finished classifier
# sentences whose answer you know, each with a difficulty of its own. What would *you*
# say?

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
# The next cells ask the classifier. Wrong answers are coloured, and confident mistakes
# come first.

# %% folded=true
entries = [line.split("|") for line in sentences.strip().splitlines()]
asked = pd.DataFrame(entries, columns=["kind", "sentence", "we say"]).map(str.strip)
answers = finished.predict(asked["sentence"].tolist())
wanted = [finished.label_names.index(name) for name in asked["we say"]]
asked["it says"] = answers.labels
asked["sure of our label, %"] = 100 * answers.probabilities[range(len(asked)), wanted]

# %% folded=true
asked = asked.set_index("kind").sort_values("sure of our label, %")
wrong = asked["we say"] != asked["it says"]
al.plots.table(asked, wrong, **{"sure of our label, %": 0})

# %% [markdown]
# Where our label got less than half of the probability, the answer is wrong. Now write
# sentences of your own in the same form, and run that cell and the two folded ones
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

# %% [markdown]
# ### Is it the model, or the label?
#
# Some sentences divide people. Are those the ones the model gets wrong? From the
# ratings we estimate how likely a rater is to agree with the label, and cut the dev
# sentences into quarters by that.
#
# <details><summary>How do we estimate that?</summary>
#
# From mean and spread of a sentence's ratings, as if they were normally distributed:
# the share of ratings on the side of the label.
#
# </details>

# %% folded=true
score = al.Evaluator(finished, dev).score()
names = ("divided most", "second", "third", "of one mind")
spread = dev.ratings["std"].clip(lower=1e-9)
agree = stats.norm.cdf(dev.ratings["mean"].abs() / spread)
quarters = np.array_split(np.argsort(agree), 4)
rows = {}
for name, group in zip(names, quarters, strict=True):
    right = score.correct[group]
    low, high = 100 * np.array(interval_of(right))
    rows[name] = {
        "a rater agrees, %": 100 * agree[group].mean(),
        "model is right, %": 100 * right.mean(),
        "95 % interval": f"{low:.0f} to {high:.0f}",
        "mean loss": score.losses[group].mean(),
    }

# %% folded=true
al.plots.table(pd.DataFrame(rows).T.infer_objects(), **{"mean loss": 2})

# %% folded=true
worst = np.argsort(-score.losses)[: max(4, len(dev) // 20)]
print(f"raters agree with the label: {agree.mean():.1%} on all dev sentences,", end=" ")
print(f"{agree[worst].mean():.1%} on the {len(worst)} with the highest loss")

# %% [markdown]
# Where raters agree the model is right clearly more often: the intervals of the first
# and the last row lie apart.
#
# That does not show that wrong labels are the reason: such sentences may also be harder
# to read. Where the raters are of one mind, the model's mistakes are its own.

# %% [markdown]
# ## Appendix E. Does it work beyond films?
#
# The finished classifier has learned from films only. Here are product reviews, tweets
# and opinion pages, rated by the same kind of people. Will it still be right, and will
# it say so when it is not?

# %% folded=true
domains, rows = {"movie (test)": test}, {}
for name in ("product", "tweet", "editorial"):
    domains[name] = al.datasets.load(f"{name}-sentiment").test.sample(size.sentences)

# %% folded=true
for name, data in domains.items():
    logits, truth = finished.logits(finished.encode(data.texts)), np.array(data.labels)
    answers, sure = logits.argmax(-1).numpy(), logits.softmax(-1).amax(-1)
    low, high = 100 * np.array(interval_of(answers == truth))
    rows[name] = {
        "accuracy, %": 100 * (answers == truth).mean(),
        "95 % interval": f"{low:.1f} to {high:.1f}",
        "majority, %": 100 * np.bincount(truth).max() / len(truth),
        "confidence, %": 100 * float(sure.mean()),
        "ECE, %": 100 * error_of(logits, torch.tensor(truth), 1.0),
        "positive, %": 100 * truth.mean(),
        "called positive, %": 100 * answers.mean(),
    }

# %% folded=true
al.plots.table(pd.DataFrame(rows).T.infer_objects())

# %% [markdown]
# Read along a row. First compare *accuracy* with *majority*, which is what one answer
# for all texts would reach. Then compare it with *confidence*, which is how sure the
# model is on average.
#
# In our run the accuracy is lower in every other domain, and on tweets it is no better
# than the majority. The confidence hardly warns you of that.
#
# <details><summary>What we saw</summary>
#
# On tweets the mean confidence is 83.4 %, though only 70.1 % of the answers are right.
# From films to tweets the confidence falls by about 4.5 points, the accuracy by 15.2.
# The calibration error is largest there, too.
#
# In all three new domains the model calls too few texts positive: compare the last two
# columns.
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
# ## Appendix F. Which heads attend differently now?
#
# Our BERT has 6 layers with 12 **heads** each. For every token, a head spreads a weight
# of 1 over all tokens: its attention. We compare each head before and after the
# training of `finished`.
#
# Say a head gave three tokens the weights .7, .2 and .1, and now gives .4, .5 and .1.
#
# - The differences are −.3, +.3 and 0.
# - Without their signs they add up to .6.
# - Half of that is .3: so much of the weight now sits elsewhere.
#
# This number is the **share moved** (also the *total variation distance*). `moved_on`
# computes it for every head and text; the map shows the mean over sentences from dev.

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
found = moved_on(splits.dev.sample(size.sweep_sentences // 2).texts, finished)
al.plots.head_map(
    found.mean(0), title="Attention moved by fine-tuning", label="share moved"
)

# %% [markdown]
# In our run one head stands out: head 9 in layer 3, in short **L3H9**. Is its lead
# luck? The highest of 72 numbers is partly the luckiest. So we name the head now, and
# measure it once on other sentences, beside the next one there.

# %%
layer, head = divmod(int(found.mean(0).argmax()), finished.heads)
fresh = moved_on(splits.test.sample(size.sweep_sentences // 2).texts, finished)
leader = fresh[:, layer, head].copy()
fresh[:, layer, head] = 0  # so that the highest is the best of the others
next_one = fresh.reshape(len(fresh), -1)[:, fresh.mean(0).argmax()]

# %% folded=true
low, high = interval_of(leader - next_one)
print(f"on test: L{layer}H{head} {leader.mean():.2f},", end=" ")
print(f"next {next_one.mean():.2f};", end=" ")
print(f"difference {(leader - next_one).mean():+.2f} [{low:+.2f}, {high:+.2f}]")

# %% [markdown]
# On other sentences the head leads again in our run, and clearly. But that is about
# *this* classifier: in other trainings of ours other heads moved most (see below). Nor
# need the answer depend on a head that moved most. Lesson 06 tests that, so keep L3H9
# in mind.
#
# <details><summary>Where did attention move least?</summary>
#
# In layer 0. That alone does not say where the weights changed most: a higher layer
# also gets a changed input from the layers below, and then it attends differently,
# whatever its own weights do.
#
# </details>

# %% [markdown]
# ### What does head L3H9 attend to now?
#
# Here is this head on a sentence of ours, after minus before. A row is the token that
# looks (the query), a column the token that is looked at (the key). Which words gain
# (red columns)? Do they decide what the sentence says?

# %%
text = "The second half is slow, but the ending stays with you."
old, new = before.attend(text), finished.attend(text)
change = (new.weights - old.weights)[layer, head].numpy()

# %% folded=true
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
# </details>

# %% [markdown]
# **Would another training move the same head?** Here are your LoRA models of section 8,
# with 1,024 labels each.

# %% folded=true
few_texts = splits.dev.sample(size.sweep_sentences // 10).texts
for seed in seeds:
    again = moved_on(few_texts, tuned["LoRA", seed]).mean(0)
    most = divmod(int(again.argmax()), finished.heads)
    rank = 1 + int((again > again[layer, head]).sum())
    print(f"seed {seed}: L{most[0]}H{most[1]} moved most;", end=" ")
    print(f"L{layer}H{head} is number {rank} of {again.size}")

# %% [markdown]
# In our run this head moved most in none of these models. They differ from the finished
# classifier in several ways: seed, number of labels, steps. Which of these makes the
# difference, this does not show.

# %% [markdown]
# ## Appendix G. The pooler, before and after
#
# **Before.** How can one see that the pooler of this BERT is untrained? Compare it with
# a matrix of BERT's last layer, which is trained. The **largest singular value** of a
# matrix is the most by which it can lengthen a vector. For random numbers we know it,
# printed here as *noise*.
#
# <details><summary>How large is it for random numbers?</summary>
#
# With standard deviation $\sigma$, $n$ rows and $m$ columns it is about $\sigma (\sqrt
# n + \sqrt m)$. Random numbers prefer no direction. A trained matrix lengthens some
# directions far more.
#
# </details>

# %% folded=true
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
# **After.** How far did fine-tuning move each matrix of the finished classifier? The
# map shows the length of the change, divided by the size of the matrix.

# %% folded=true
moves = al.evaluation.layer_movement(before, finished).set_index("kind")
inside, own = moves.dropna(subset="layer"), moves.loc["pooler"]
more = (inside["moved"] > own["moved"]).sum()
print(f"size (norm): pooler {own['norm']:.1f}", end=", ")
print(f"layers {inside['norm'].min():.1f} to {inside['norm'].max():.1f};", end=" ")
print(f"{more} of {len(inside)} matrices in layers moved more than the pooler")
al.plots.movement(before, finished)

# %% [markdown]
# Relative to its size the pooler moved most by far. Inside the layers the values of
# layer 0 did.
#
# But the pooler is small. Without division by the size, 35 of the 36 matrices in the
# layers moved more. So "moved most" depends on the measure. That the pooler began at
# random and had all to learn may be another reason; this does not test it. The word
# embeddings stayed, because LoRA does not touch them.

# %% [markdown]
# ## Appendix H. Your own texts
#
# A table with a column of texts and one of labels is all it takes:
#
# ```
# attnlab finetune reviews.csv --text comment --label topic --out runs/mine
# ```
#
# In Python it takes four lines. First a table of 24 rows.

# %%
things = ("box", "cable", "lid", "lamp", "screen", "strap")
topics = {"broken": "fault", "bent": "fault", "fine": "praise", "perfect": "praise"}
rows = [(f"The {thing} is {how}.", topics[how]) for thing in things for how in topics]
ours = pd.DataFrame(rows, columns=["comment", "topic"])

# %% [markdown]
# Now the four lines. The last one asks about two comments with other words.

# %%
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

# %% [markdown]
# ## Appendix I. The same with transformers and peft
#
# In other people's code your loop is the `Trainer` of `transformers`, and your LoRA
# comes from `peft`. What you have written has these names there:
#
# | here | there |
# | --- | --- |
# | `LoRA` and `add_lora` | `LoraConfig` and `get_peft_model` |
# | the layer on top, which learns, too | `modules_to_save=["classifier"]` |
# | `pad_batch` | `DataCollatorWithPadding` |
# | `fit` | `Trainer` with `TrainingArguments` |
# | `accumulate` | the argument `gradient_accumulation_steps` |
# | `merge_lora` | `merge_and_unload()` |
#
# We train section 7 again with them. First a fresh BERT gets peft's LoRA. The pattern
# says which linear layers are meant: those of attention and feed-forward, and the
# pooler.

# %%
import warnings

from peft import LoraConfig, get_peft_model

warnings.simplefilter("ignore", FutureWarning)  # peft's, about names in transformers
torch.manual_seed(0)
peer = al.classification.fresh_classifier("minilm", splits.train.label_names)
every_linear = r"bert\..*\.(query|key|value|dense)"
config = LoraConfig(
    r=8, lora_alpha=16, target_modules=every_linear, modules_to_save=["classifier"]
)
wrapped = get_peft_model(peer.model, config)
theirs = sum(one.numel() for one in wrapped.parameters() if one.requires_grad)
print(f"{theirs:,} numbers learn with peft; {learn:,} learned in section 7")

# %% [markdown]
# Now the training, with the sentences, the steps and the learning rate of section 7.
# The data are rows of token ids and a label; padding is added batch by batch.

# %%
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

rows = [
    dict(peer.tokenizer(text), labels=label)
    for text, label in zip(few.train.texts, few.train.labels, strict=True)
]
collate = DataCollatorWithPadding(peer.tokenizer)

# %%
arguments = TrainingArguments(
    "runs/trainer",  # where checkpoints would go
    save_strategy="no",
    per_device_train_batch_size=16,
    learning_rate=1e-3,
    max_steps=steps,
    warmup_steps=math.ceil(0.06 * steps),
    weight_decay=0.01,
    logging_steps=max(1, steps // 3),
    use_cpu=peer.device.type == "cpu",
    dataloader_pin_memory=False,
)
trainer = Trainer(wrapped, arguments, data_collator=collate, train_dataset=rows)
_ = trainer.train()

# %% [markdown]
# Nobody told the `Trainer` to clip gradients at 1, or to let the learning rate fall to
# 0: it does both unless you say otherwise.
#
# Is peft's layer the one that you have written? Give another fresh BERT your LoRA, and
# put into it the $A$ and $B$ that peft has learned. Then ask both about the four texts
# of section 4.

# %%
twin = al.classification.fresh_classifier("minilm", splits.train.label_names)
add_lora(twin.model)
learned = wrapped.eval().state_dict()
prefix = "base_model.model."
for name, module in twin.model.named_modules():
    if isinstance(module, Correction):
        module.A.data = learned[f"{prefix}{name}.lora_A.default.weight"]
        module.B.data = learned[f"{prefix}{name}.lora_B.default.weight"]
top = wrapped.base_model.model.classifier.modules_to_save["default"]
_ = twin.model.classifier.load_state_dict(top.state_dict())

# %% folded=true
with torch.no_grad():
    apart = twin.model.eval()(**inputs).logits - wrapped(**inputs).logits
print(f"yours and peft's: logits differ by at most {apart.abs().max():.1g}")
peer.model = wrapped.merge_and_unload()
print("merged, on dev:", al.Evaluator(peer, dev).score())

# %% [markdown]
# It is the same layer, up to rounding. The accuracy is that of one more training, with
# other batches, other dropout and another random $A$ than in section 7.
#
# <details><summary>Which of them should you use?</summary>
#
# For a model in production: `Trainer` and peft, which many people test every day. They
# train on many machines, in many number formats, and know more methods. Before merging,
# `wrapped.save_pretrained("my-adapter")` writes the small file, and
# `PeftModel.from_pretrained(model, "my-adapter")` reads it. To understand a line of
# theirs, come back to yours.
#
# </details>

# %%
al.checks.summary("finetune_bert")
