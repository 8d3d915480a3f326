# %% [markdown]
# # 04 Fine-tune BERT

# %%
import torch

import attnlab as al

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
# The first gradients of a fine-tuning are large and point here and there: the layer on
# top is random, and AdamW has only begun to learn how large gradients are. Full steps
# would throw away what BERT knows. So the learning rate rises over a short **warm-up**,
# and then falls in a straight line, to come to rest. Where exactly does it begin and
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
# of them are the warm-up, and there may be none, or nothing else. Whoever goes on after
# the last step gets 0.


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
# A batch of $n$ texts has the loss $L = \frac{1}{n} \sum_{i=1}^{n} \ell_i$. If memory
# does not hold it, it goes through the model in parts: for each one forward, backward,
# and its intermediate results are forgotten. `backward()` *adds* to the `.grad` of
# every parameter, so the parts' gradients collect there, and then one step is taken. It
# should be the very step of the whole batch. But the loss function gives the mean over
# one part, $L_k = \frac{1}{n_k} \sum_{i \in k} \ell_i$, and the parts need not be
# equally large: the last one of an epoch rarely is. How do you get the gradient of $L$
# from those of the $L_k$?
#
# ### Exercise 3: gradients in parts
#
# *Difficulty 3 of 5, 15 minutes.* `parts` is a list of pairs `(inputs, labels)`;
# `loss_function(model(inputs), labels)` is the mean loss over one of them. Forget old
# gradients, leave in `.grad` those of the mean over all texts, and return this mean, a
# plain number. Only one part at a time may be held in memory. No step is taken here.


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
# How good is the model? The figure is simple: the share of texts whose class with the
# highest score is the right one,
#
# $$ \text{accuracy} = \frac{\text{texts that are right}}{\text{texts}} . $$
#
# What goes wrong is around it. **Dropout** sets random numbers to 0 while training; a
# model that is measured like that answers worse than it could, and differently each
# time. `model.eval()` switches it off; and if nobody switches it on again, the rest of
# the training runs without. **Gradients** are not needed, and what torch keeps for
# them only costs memory. And the last batch is smaller than the others.
#
# ### Exercise 4: measure and leave no trace
#
# *Difficulty 3 of 5, 10 minutes.* `batches` is a list of pairs `(inputs, labels)`;
# `model(inputs)` gives scores `(B, C)`, labels are `(B,)`. Return the accuracy over all
# texts, and leave the model as it was: weights, what requires gradients, and the mode,
# whichever it was.


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
# Which learning rate is best? Train with each and compare them on **dev**. The winner
# is the best, but also a bit lucky: of several noisy figures the highest tends to be
# too high. So its dev accuracy promises too much, and an honest figure needs texts that
# had no part in the choice. That is what **test** is for, and why it is looked at once,
# for the winner alone: figures that are there have a way of being used.
#
# ### Exercise 5: choose on dev, report on test
#
# *Difficulty 1 of 5, 5 minutes.* `dev_accuracy(candidate)` and
# `test_accuracy(candidate)` measure one candidate. Return the one that is best on dev,
# the first of equals, and its accuracy on test.


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

# %% [markdown]
# Some tasks want a label for each *word*: is it part of a person's name, of a place's,
# or neither? But BERT reads **pieces**, and a long or rare word is cut into several.
# For each token `word_ids` says which word it belongs to, and None for `[CLS]`, `[SEP]`
# and padding:
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
al.checks.summary("04")
