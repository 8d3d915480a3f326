# %% [markdown]
# # 03 Translation
#
# **Can a Transformer that starts from nothing learn to translate while you watch, and
# does it look where a person would?** You put attention, masks and positions together
# into the model that Vaswani et al. (2017) built for translation, train it on dates in
# eighteen languages, and step through its answers. Then you give it a real task with
# too little data, and see what that looks like.
#
# Afterwards you can
#
# - say what encoder, decoder and the attention between them do, and write the parts
#   that people get wrong;
# - train a sequence-to-sequence model, read its curves, and tell learning from learning
#   by heart;
# - read an alignment off cross-attention, check it against the truth, and silence the
#   heads that carry it;
# - choose a translation by beam search, and judge it by BLEU, chrF and exact match with
#   their uncertainty.
#
# Time: about 120 minutes, 55 of them for six exercises. The cells together compute for
# some fifteen minutes on two processor cores. You need [lesson
# 02](02_attention_from_scratch.ipynb). Choose **Run → Run All Cells** first; exercises
# that are not written yet only say so.

# %%
import inspect
import re
import time

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab.statistics import share_interval

size = al.device.profile()  # how large the experiments are: ci, cpu or gpu
dates = al.datasets.load("dates")
print(dates, "| profile", size.name, "on", al.device.device())

# %% [markdown]
# ## 1. Move something first
#
# People write one and the same day in many ways; ISO 8601 writes it in one. That is a
# small translation with one right answer, in many languages and several scripts, and
# there are as many examples as anyone wants. The tag in front names the locale, since
# `03/04/2021` is one day in London and another in New York.

# %%
shown = dates.test.select(range(6))
pd.DataFrame({"source": shown.sources, "target": shown.targets})

# %% [markdown]
# Below is a model that was trained on such pairs; in section 6 you train one yourself.
# It has read the source and writes the target one character at a time. Move the
# **step**: the source is shaded by where the model looks while it writes this
# character, and the bars say what it considers. Then pull a head of the
# *cross*-attention down to 0 and see whether the date still comes out, and how many of
# the held-out dates do. Write a date of your own, in words.

# %%
ready = al.load_translator("dates")
desk = al.TranslationDesk(ready, dates.dev.sample(size.sweep_sentences // 5))
desk

# %% [markdown]
# Notice that the model does not read from left to right as it writes: for the year it
# looks at the end of `3 March 2021`, and at the beginning of `2021年3月3日`. Nobody told
# it where a year stands. It had nothing but pairs of texts.
#
# ## 2. Two texts, three kinds of attention
#
# Lesson 02 ended with a layer of BERT: tokens of one text look at each other.
# Translation has two texts, and three questions.
#
# | | queries from | keys and values from | may look at |
# | --- | --- | --- | --- |
# | encoder | source | source | everything |
# | decoder | target | target | what is written already |
# | **cross** | target | source, as the encoder left it | everything |
#
# The **encoder** reads the source once. The **decoder** writes the target token by
# token; at each step self-attention asks what has been written, and cross-attention,
# what remains to be translated. Cross-attention is the same formula as ever, with
# queries from one text and keys and values from the other:
#
# $$ A = \text{softmax}\!\left(
# \frac{Q_{\text{target}}\, K_{\text{source}}^\top}{\sqrt{d_k}}\right), \qquad
# C = A\, V_{\text{source}} $$
#
# $A$ has a row for each target token and a column for each source token: it is an
# *alignment* of the two texts.
#
# ## 3. What the decoder is fed
#
# In training the right translation is known. So the decoder need not wait for its own
# words: it is fed the right ones, all at once, and for each is asked for the next. That
# is **teacher forcing**. It reads `start 2 0 2 1`, and is to say `2 0 2 1 -`: the same
# text, one place later.

# %% [markdown]
# ### Exercise 1: teacher forcing
#
# *Difficulty 1 of 5, 5 minutes.* The decoder writes one token after the other. In
# training it need not wait for its own words: it reads the *right* ones, and at each
# place is to say the one that comes next. Given the ids of a target without marks,
# return what it reads and what it is to say, two lists of the same length. It reads the
# start mark first, and learns to say the end mark last.


# %% exercise="teacher_forcing" points=1
def teacher_forcing(ids, start, end):
    """(fed, labels): what the decoder reads, and what it is to say at each place.

    ids: list of ids without marks; start, end: ids of the marks
    """
    ### BEGIN SOLUTION
    return [start, *ids], [*ids, end]
    ### END SOLUTION


# %% check="teacher_forcing"
al.checks.teacher_forcing(teacher_forcing)

# %% [markdown] hints="teacher_forcing"
# Write the whole sentence down, with its two marks: `[start, *ids, end]`. When token 2
# has been read, token 3 is to be said. Which token is never said? Which is never read?
#
# ---
# What is read is the whole sentence without its last token, the labels are the whole
# sentence without its first. New lists, please: `ids` stays as it is.

# %% [markdown]
# Two things could go wrong. If the decoder could see the *next* token, it would copy
# it, reach a loss of 0, and be of no use, since at the time of writing there is no next
# token. And if it could see padding, its answer would depend on which other texts are
# in the batch. A mask rules out both, and now they have to hold at once: **causal** and
# **padding**.

# %% [markdown]
# ### Exercise 2: the mask of the decoder
#
# *Difficulty 2 of 5, 10 minutes.* All places are learned at once, so token `t` must not
# see what comes after it: there stand the answers. It may look at itself and at what
# came before, but never at padding, wherever that stands. One mask for each sentence,
# True where looking is allowed; rows are queries, columns are keys.


# %% exercise="decoder_mask" points=2
def decoder_mask(target, padding):
    """Bool, (B, T, T): may the query (row) look at the key (column)?

    target (B, T): ids that the decoder reads; padding: the id that fills up
    """
    ### BEGIN SOLUTION
    position = torch.arange(target.shape[1])
    causal = position[None, :] <= position[:, None]  # (T, T)
    return causal & (target != padding)[:, None, :]  # (B, 1, T)
    ### END SOLUTION


# %% check="decoder_mask"
al.checks.decoder_mask(decoder_mask)

# %% [markdown] hints="decoder_mask"
# Two masks, joined with `&`. The causal one, `(T, T)`, is that of lesson 02, and the
# same for all sentences. Which keys are no padding is another one for each sentence.
#
# ---
# `target != padding` is `(B, T)`. As *keys* its tokens belong on the last axis; the
# axis of the queries goes between: `(B, 1, T)`. Then it broadcasts against `(T, T)`.

# %% [markdown]
# Whether a model really cannot see ahead is not a matter of trust: change the last
# token that is fed, and nothing before it may move.

# %%
torch.manual_seed(0)
fresh = al.Seq2SeqTransformer(len(ready.source_words), len(ready.target_words))
fresh.eval()
source = torch.tensor(ready.encode(["fr: 3 mars 2021"]))
target = torch.tensor(
    [[ready.target_words.start, *ready.target_words.encode("2021-03-03")]]
)
other = target.clone()
other[0, -1] = ready.target_words.encode("7")[-1]
with torch.no_grad():
    moved = (
        (fresh(source, target).logits - fresh(source, other).logits).abs().amax(-1)[0]
    )
for place, much in enumerate(moved.tolist()):
    print(f"step {place}: logits moved by {much:.4f}")

# %% [markdown]
# Only the last step moves. That is why all steps of a translation can be trained in a
# single pass, and why your desk could show every step at once: what is computed for a
# step stays true whatever comes later.
#
# ## 4. Tokens, places, layers
#
# Words are cut into **sub-words**: pieces that occur often, found in the training texts
# alone (byte pair encoding, Sennrich et al. 2016). Digits stay single, or `2021` would
# be a word of its own that tells nothing about `2022`.

# %%
for text in [
    "en-GB: Wednesday, 3 March 2021",
    "fi: 3. maaliskuuta 2021",
    "ja: 2021年3月3日",
]:
    print(" ".join(ready.source_words.tokens(ready.source_words.encode(text))))

# %% [markdown]
# Attention does not know order (lesson 01), so each token's vector gets the vector of
# its place added. The sines of a place have a size of about 1, those of a token are
# initialised smaller, so they are multiplied by $\sqrt{d_{\text{model}}}$ first. (Some
# models learn the positions instead: `positions="learned"` in `al.Seq2SeqTransformer`.)

# %% [markdown]
# ### Exercise 3: from ids to vectors
#
# *Difficulty 1 of 5, 5 minutes.* A row of the table for each id, times the square root
# of its width $E$; then the positions. The table starts with numbers of size $1 /
# \sqrt{E}$, since it is also used to say words; times $\sqrt{E}$ they are as large as
# the positions, which are *not* multiplied. Token `t` gets row `t`, beginning at 0.


# %% exercise="embed" points=1
def embed(ids, table, positions):
    """(B, T, E): embeddings times the root of their width, plus positions.

    ids (B, T); table (V, E); positions (longest, E), one row for each place
    """
    ### BEGIN SOLUTION
    tokens, width = ids.shape[1], table.shape[1]
    return table[ids] * width**0.5 + positions[:tokens]
    ### END SOLUTION


# %% check="embed"
al.checks.embed(embed)

# %% [markdown] hints="embed"
# A tensor of ids is an index: `table[ids]` is `(B, T, E)`. Of the positions only as
# many rows are needed as there are tokens, the first ones.
#
# ---
# `positions[:T]` is `(T, E)` and broadcasts over the sentences. Only the embeddings are
# multiplied: mind the brackets.

# %% [markdown]
# A layer of the decoder has three parts, and each *adds* to what is there: what was
# written before, what the source says, and a small network for each token alone. The
# norm stands before each part (**pre-norm**), which leaves a path from the loss to
# every layer that nothing rescales; in the paper it stood after the sum, and training
# needed more care (Xiong et al. 2020).

# %% [markdown]
# ### Exercise 4: a layer of the decoder
#
# *Difficulty 3 of 5, 10 minutes.* Three parts, in this order: self-attention under
# `target_mask`, attention to the source (`memory`) under `source_mask`, feed-forward.
# Each reads *its* norm of x, `layer.norms[0]`, `[1]`, `[2]`, and what it says is added
# to x as it was: "pre-norm". The encoder has normalised the memory already. Attention
# is called as `layer.attention(query, key, value, mask=...)`, and returns the output.


# %% exercise="decoder_layer" points=3
def decoder_layer(x, memory, layer, target_mask, source_mask):
    """x of the next layer, (B, T, E).

    x (B, T, E); memory (B, S, E); masks bool, (B, T, T) and (B, 1, S). layer has norms
    (three), attention, cross_attention and feed_forward, each of them called like f(x).
    """
    ### BEGIN SOLUTION
    first, second, third = layer.norms
    y = first(x)
    x = x + layer.attention(y, y, y, mask=target_mask)
    y = second(x)
    x = x + layer.cross_attention(y, memory, memory, mask=source_mask)
    return x + layer.feed_forward(third(x))
    ### END SOLUTION


# %% check="decoder_layer"
al.checks.decoder_layer(decoder_layer)

# %% [markdown] hints="decoder_layer"
# Three lines of one form: `x = x + part(norm(x))`. Each goes on with the x that the one
# before has made.
#
# ---
# In cross-attention the target asks and the source answers. So the queries are `y`, the
# normed x, and keys and values are `memory`. The mask is about the keys: whose padding
# must not be seen?

# %% [markdown]
# Here is ours, in full. What you wrote three times, norm, part and sum, is in
# `around_attention` and its like. Besides, `cache` keeps keys and values of earlier
# steps, `heads` are the faders of your desk, and `seen` takes notes for the pictures.

# %%
print(inspect.getsource(al.transformer.DecoderLayer.forward).split('"""')[2])

# %% [markdown]
# ## 5. The loss
#
# At each step the model gives a score to every token of its vocabulary; the loss is the
# cross-entropy with the right one, the mean over all tokens of the batch, in nats. A
# model that knows nothing has a loss of about $\ln V$, and $e^{\text{loss}}$, the
# *perplexity*, says between how many tokens it still hesitates. Texts of a batch differ
# in length. Padding does not count in the loss.

# %% [markdown]
# ### Exercise 5: the loss
#
# *Difficulty 2 of 5, 10 minutes.* How surprised is the model at the right tokens? The
# mean of minus their log-probabilities, in nats, over all tokens of the batch that are
# not padding: every token counts the same, in a long sentence or a short one.


# %% exercise="sequence_loss" points=2
def sequence_loss(logits, labels, padding=0):
    """Mean cross-entropy in nats over the labels that are not padding; no axes.

    logits (B, T, V); labels (B, T), ids; padding: the id that fills up
    """
    ### BEGIN SOLUTION
    logs = logits.log_softmax(-1)  # (B, T, V)
    right = logs.gather(-1, labels[:, :, None])[:, :, 0]  # (B, T)
    return -right[labels != padding].mean()
    ### END SOLUTION


# %% check="sequence_loss"
al.checks.sequence_loss(sequence_loss)

# %% [markdown] hints="sequence_loss"
# `log_softmax` over the words; of each row only the number of the label is needed.
# `gather(-1, index)` picks it, if the index has as many axes as the logs: `labels[:, :,
# None]`. Or use `torch.nn.functional.cross_entropy`: it takes logits, not
# probabilities.
#
# ---
# A mask as an index, `right[labels != padding]`, keeps the real tokens of all sentences
# in one row. `cross_entropy` wants the words on axis 1, so flatten the first two axes,
# or let two change places; `ignore_index` leaves padding out of sum *and* count.

# %% [markdown]
# ## 6. Train it
#
# Everything is there: batches of pairs, the model, the loss, and the loop of lesson 05,
# which is the same for every model of this course. Dropout is off; whether the model
# learns its pairs by heart, new dates will show. Watch the curve. Exact match asks for
# all ten characters at once: a single wrong one, and the date does not count.

# %%
curve = al.TrainingCurve(dev_texts=len(dates.dev))
curve

# %%
part = dates.sample(size.pairs, size.sentences, size.sentences)
began = time.perf_counter()
translator = al.train_translator(
    part,
    epochs=size.pair_epochs,
    learning_rate=2e-3,
    dropout=0.0,
    callbacks=[curve.run("dates")],
)
print(f"{translator} after {time.perf_counter() - began:.0f} s")

# %%
learned = translator.history.to_frame()
learned = learned[["epoch", "train_loss", "dev_loss", "dev_accuracy"]]
al.plots.table(learned, train_loss=4, dev_loss=4, dev_accuracy=3)

# %% [markdown]
# Compare the first epochs: how far has the loss come, and how many dates are right? Now
# the test part. None of its source texts stands in the training part, but the day
# itself may, written in another way. So count apart the days that training never saw.

# %%
answers = translator.translate(part.test.sources)
assert not set(part.train.sources) & set(part.test.sources)
known = set(part.train.targets)
both = list(zip(answers, part.test.targets, strict=True))
fresh_days = [pair for pair in both if pair[1] not in known]
for name, pairs in {"all": both, "days never seen": fresh_days}.items():
    hits = sum(found == wanted for found, wanted in pairs)
    low, high = share_interval(hits, len(pairs))
    print(f"{name}: {hits:,} of {len(pairs):,} right, {hits / len(pairs):.1%}", end=" ")
    print(f"(95 % interval {low:.1%} to {high:.1%})")

# %%
rows = zip(part.test.sources, answers, part.test.targets, strict=True)
wrong = [row for row in rows if row[1] != row[2]]
pd.DataFrame(wrong[:8], columns=["source", "found", "wanted"])

# %% [markdown]
# Every *way* of writing a date in the test part occurs in the training part too. How
# about ways that training left out? The set `dates-held-out` has five kinds: ways that
# this language alone lacked in training (*left-out*), the year first where the language
# never wrote it first (*borrowed*), shapes that no language had (*new*), and two with
# day and month in the other order than the tag says: with a day above 12 only one
# reading is a date (*other-order*), below both are (*either-order*), and "right" means
# there that the tag was *not* followed.

# %%
held_out = al.datasets.load("dates-held-out").test
right = al.translation.exact_match(translator, held_out)
kinds = pd.DataFrame({"kind": held_out.kinds, "right": right})
kinds = kinds.groupby("kind", sort=False)["right"].agg(["sum", "size"])
kinds[["low", "high"]] = [share_interval(*row) for row in kinds.itertuples(index=False)]
kinds["exact"] = kinds["sum"] / kinds["size"]
al.plots.table(kinds[["size", "exact", "low", "high"]])

# %% [markdown]
# Compare the kinds, with their 95 % intervals. Is a way that only *this* language
# lacked any trouble? Other languages showed it, and a model may join what it knows of
# the language with what it knows of the shape. Now look at the year in front after a
# tag that never had it there, and at a day above 12 where the tag puts the month: a
# person would see at once that there is no month 28. A model that fails there has
# learned the habits that go with each tag, not what a date is. (In *either-order* a low
# figure is the good one: nothing but the tag can tell.) A test set that looks like the
# training set cannot show such failures.
#
# ## 7. Where it looks
#
# The weights of the cross-attention for one date, mean over all heads. Rows are the
# characters as they are written, columns the pieces of the source.

# %%
maps = translator.attend("en-GB: Wednesday, 3 March 2021")
al.plots.alignment(maps)

# %% [markdown]
# Follow the bright cells: year, month and day are fetched from where they stand, in an
# order that is not the source's. Not all weight goes there. Which pieces get most of
# it, over all steps, layers and heads?

# %%
shares = maps.cross.of("scaled").mean((0, 1, 2))
most = shares.argsort(descending=True)[:6]
print(", ".join(f"{maps.cross.source[n]!r} {shares[n]:.0%}" for n in most.tolist()))

# %% [markdown]
# Marks, spaces or the tag may be among them: a softmax has to put its weight somewhere,
# also at steps at which a head has nothing to fetch.
#
# But a picture of one date is an anecdote. For dates the truth is known: when the model
# writes the year, a head that aligns should weigh most a piece of the year. So it can
# be counted, for every head, over many dates, beside what chance would give.

# %%
aligned = al.translation.alignment_accuracy(translator, part.test)
al.plots.alignment_accuracy(aligned)

# %%
best = aligned.loc[aligned.groupby("field")["accuracy"].idxmax()]
al.plots.table(best[["field", "layer", "head", "accuracy", "chance", "n"]])

# %% [markdown]
# Nobody assigned a head to a field: do all three fields have the same best head, or
# each its own? (A head may look at a field and not use it; so silence it, below.) The
# same maps work with bertviz: choose *cross*, and hover over the target.

# %%
al.translation_view(maps)

# %% [markdown]
# ## 8. Silence heads
#
# Each head in turn is multiplied by 0, and the dates are translated again.

# %%
few = part.test.sample(size.sweep_sentences)
silent = al.translation.ablate_heads(translator, few)
al.plots.table(silent.sort_values("delta").head(6), delta=3)

# %%
whole = {"nothing silenced": translator.settings()}
for kind in al.heads.settings.KINDS:
    whole[f"all of {kind}"] = translator.settings()
    getattr(whole[f"all of {kind}"], kind).scale[:] = 0
for name, settings in whole.items():
    found = translator.translate(few.sources, settings=settings)
    hits = np.mean([a == b for a, b in zip(found, few.targets, strict=True)])
    shaped = np.mean([bool(re.fullmatch(r"\d{4}-\d\d-\d\d", a)) for a in found])
    print(f"{name:16} right {hits:4.0%}, shaped like a date {shaped:4.0%}", end=", ")
    print(f"{len(set(found)):3} different, such as {found[0]}")

# %% [markdown]
# Without cross-attention the decoder cannot know which date was meant, so all its
# answers are the same; whether they still look like a date says what it has learned
# about the target alone. Now to the single heads. Here are those that align best, with
# what silencing them costs, beside the head that costs most of all:

# %%
needed = best.merge(silent[silent["kind"] == "cross"], on=["layer", "head"])
shown = ["field", "layer", "head", "accuracy", "delta", "ci_low", "ci_high"]
dearest = silent.loc[silent["delta"].idxmin()]
print("dearest: {kind} layer {layer} head {head}".format(**dearest), end=", ")
print(f"{100 * dearest['delta']:+.0f} points")
al.plots.table(needed[shown], delta=3)

# %% [markdown]
# Does a head that points at the right place nearly always also cost most? If it is
# hardly missed, perhaps others that point there stand in for it. That can be tested:
# silence the heads that align best with a field together, one more each time, and
# compare with the sum of what each costs alone. As a control, silence as many of those
# that align worst.


# %%
def lost(heads):
    """Change of exact match without these heads of cross-attention, in points."""
    settings = translator.settings()
    for layer, head in heads:
        settings.cross.scale[layer, head] = 0
    after = al.translation.exact_match(translator, few, settings)
    return 100 * (after.mean() - al.translation.exact_match(translator, few).mean())


# %%
rows = []
alone = silent[silent["kind"] == "cross"].set_index(["layer", "head"])["delta"]
for field, found in aligned.groupby("field"):
    order = found.sort_values("accuracy", ascending=False)[["layer", "head"]]
    heads = [tuple(pair) for pair in order.to_numpy()]
    for n in (2, 3):
        alike, sums = lost(heads[:n]), 100 * sum(alone[pair] for pair in heads[:n])
        rows.append((field, n, alike, sums, lost(heads[-n:])))

# %%
names = ["field", "heads", "best together", "best, sum of each", "worst together"]
joint = pd.DataFrame(rows, columns=names)
al.plots.table(joint, **dict.fromkeys(names[2:], 1))

# %% [markdown]
# Where the best *together* cost clearly more than the sum of each, they stood in for
# one another: to look is not to be needed, as lesson 06 shows for BERT. And compare
# with the table of the dearest heads above: heads of the encoder and of the decoder,
# which see only one of the two texts and which no alignment shows, can be needed more.
#
# ## 9. A real task, and too little data
#
# `interface-fr` are some 3,000 strings of JupyterLab's user interface in English with
# their French translations, made by volunteers. No test string is a near copy of a
# training string. It is the real thing, with placeholders and all, and it is far too
# little: the paper's English-German model learned from 4.5 million pairs.

# %%
strings = al.datasets.load("interface-fr")
print(strings)
real = strings.sample(size.strings, size.sentences, size.sentences)
string_curve = al.TrainingCurve(dev_texts=len(real.dev))
string_curve

# %%
recipe = {"batch_size": 16, "learning_rate": 2e-3, "label_smoothing": 0.1}
recipe["epochs"] = size.string_epochs
french = al.train_translator(
    real, callbacks=[string_curve.run("interface-fr")], **recipe
)

# %% [markdown]
# Compare the two losses in the table below, and how fast each still falls towards the
# end. (They are not measured alike: *label smoothing*, which asks for a little
# probability on every token, raises the first.)

# %%
history = french.history.to_frame()
history = history[["epoch", "train_loss", "dev_loss", "dev_chrf", "dev_accuracy"]]
al.plots.table(history.iloc[:: max(1, len(history) // 6)])

# %% [markdown]
# Now alike: what does the finished model make of pairs it has learned, and of pairs it
# has not?

# %%
for name, pairs in (("train", real.train.sample(len(real.dev))), ("dev", real.dev)):
    report = al.translation.scores.score(french.translate(pairs.sources), pairs.targets)
    low, high = report.exact_ci
    print(f"{name:5}: chrF {report.chrf:.0f}, exact match {report.exact:.0%}", end=" ")
    print(f"(95 % interval {low:.0%} to {high:.0%})")

# %% [markdown]
# The gap between the two is what was learned by heart: **overfitting**. It need not
# mean that dev gets worse; dev may go on getting better, slowly, while training pairs
# become much better.

# %% [markdown]
# A translation has no single right answer, so exact match is harsh. **BLEU** counts the
# words, pairs, triples and fours that a translation shares with the reference, times a
# penalty for being short (Papineni et al. 2002); **chrF** does so with characters
# (Popović 2015). Both are for comparing systems on one test set, and depend on how
# words are cut: so the *signature* belongs to the number. Two systems that know no
# French stand beside ours: copy the English, and take the translation of the training
# string that is most like it (*nearest string*).

# %%
found = {
    "copy the source": al.translation.scores.copy_source(real),
    "nearest string": al.translation.scores.nearest_string(real),
    "ours, greedy": french.translate(real.test.sources),
    "ours, 4 beams": french.translate(real.test.sources, num_beams=4),
}
scored = {
    name: al.translation.scores.score(texts, real.test.targets)
    for name, texts in found.items()
}
tables = {name: one.to_frame() for name, one in scored.items()}
print(*scored["ours, greedy"].signature.values(), sep="\n")
pd.concat(tables).round(3)

# %% [markdown]
# The test set is small, so the intervals are wide. Two that overlap do not say whether
# the systems differ; the interval of the *difference* on the same strings does. Ours
# minus *nearest string*, which knows every training pair and no French:

# %%
change = al.translation.scores.compare(
    found["nearest string"], found["ours, greedy"], real.test.targets
)
for measure, row in change.iterrows():
    print("{difference:+.3f}, from {low:+.3f} to {high:+.3f}".format(**row), end=" ")
    clear = row["low"] > 0 or row["high"] < 0
    print(f"{measure}: {'a difference' if clear else 'these strings cannot tell'}")

# %% [markdown]
# (The intervals are over strings. Another seed is another model, and how much that
# moves the scores one run cannot say.) To see what more data changes, you need not have
# it: take some away. A quarter of the pairs, seen as often, also means a quarter of the
# updates; so give it as many updates as all pairs had, too.

# %%
amounts = {}
quarter = strings.sample(len(real.train) // 4, size.sentences)
longer = {"epochs": 4 * recipe["epochs"]}
for name, changed in (("as many epochs", {}), ("as many updates", longer)):
    one = al.train_translator(quarter, **recipe | changed)
    key = f"{len(quarter.train):,} pairs, {name}"
    amounts[key] = one.history.best["dev_chrf"]
amounts[f"{len(real.train):,} pairs"] = french.history.best["dev_chrf"]
pd.Series(amounts, name="chrF on dev").round(1).to_frame()

# %% [markdown]
# From the first row to the second only the updates change, from the second to the third
# only the pairs and the sub-words learned from them. (Each figure is that of the best
# epoch on dev, of which the second run has more to choose from.) If the last step is
# large, more pairs would help; how many of them until translations are good, this table
# cannot say. (`al.datasets.multi30k()` fetches
# 29,000 captions of pictures in German and English, where the network allows.) Now
# sentences that are nobody's interface:

# %%
own = [
    "Open the file",
    "Delete all cells",
    "The kernel is restarting",
    "I love my old bicycle",
]
pd.DataFrame(
    {
        "English": own,
        "greedy": french.translate(own),
        "4 beams": french.translate(own, 4),
    }
)

# %% [markdown]
# ## 10. Choosing a translation
#
# Greedy decoding takes the likeliest token at each step and never goes back. The
# likeliest *sentence* may begin with a token that is not the likeliest. **Beam search**
# keeps several beginnings alive, the *beams*: each is continued by every token, the
# log-probabilities are added up, and the best few are kept, whichever beam they come
# from.

# %% [markdown]
# ### Exercise 6: beam search
#
# *Difficulty 4 of 5, 15 minutes.* Begin with `[start]`, log-probability 0. At each step
# extend every beginning that has not ended by every token. Of all these *and* those
# that have ended, keep the `width` with the largest log-probability: the sum over the
# tokens, the end mark included, not divided by the length. Stop when none goes on, or
# after `longest` tokens; what has not ended by then counts as it is.


# %% exercise="beam_search" points=4
def beam_search(next_log_probabilities, start, end, width, longest):
    """(ids without start and end, log-probability as a float) of the best sequence.

    next_log_probabilities(prefixes) -> (n, V), for n lists of ids that begin with start
    and have not ended
    """
    ### BEGIN SOLUTION
    beams = [(0.0, [start])]
    for _ in range(longest):
        alive = [beam for beam in beams if beam[1][-1] != end]
        if not alive:
            break
        beams = [beam for beam in beams if beam[1][-1] == end]
        logs = next_log_probabilities([ids for _, ids in alive]).tolist()
        for (total, ids), row in zip(alive, logs, strict=True):
            beams += [(total + log, [*ids, token]) for token, log in enumerate(row)]
        beams = sorted(beams, reverse=True)[:width]
    total, ids = beams[0]
    return [token for token in ids if token not in (start, end)], total
    ### END SOLUTION


# %% check="beam_search"
al.checks.beam_search(beam_search)

# %% [markdown] hints="beam_search"
# Keep a list of pairs (log-probability, ids with start mark). One step: part the pairs
# into those whose last id is the end mark and the others; ask for the others only; make
# a new pair for each beginning and each token; sort all, and cut off after `width`.
#
# ---
# Log-probabilities of tokens are *added*: `total + log`. The cut comes after all ways
# have been put into one list together with those that have ended, not beam by beam.
#
# ---
# `sorted(pairs, reverse=True)` compares the first number of each pair. Leave the loop
# when no beginning goes on, or as soon as the best pair has ended: going on, the others
# can only fall. In the end cut off the marks: the first id always, the last one only if
# it is the end mark.

# %% [markdown]
# Since each token makes a sentence less likely, the likeliest one tends to be short, so
# in practice scores are divided by a power of the length (Wu et al. 2016);
# `al.transformer.beam` does. Do more beams find likelier sentences? And are these
# *better*? Those are two questions, and both can be asked:

# %%
batch = al.translation.padded(french.encode(real.test.sources)).to(french.device)
words, best_of = french.target_words, {}
for beams in (1, 2, 4, 8):
    found = al.transformer.beam(
        french.model, batch, words.start, words.end, beams, french.default_max_length
    )
    best_of[beams] = [hypotheses[0] for hypotheses in found]

texts = {n: [words.decode(one.ids) for one in best] for n, best in best_of.items()}
logs = {n: np.array([one.log_probability for one in best_of[n]]) for n in best_of}

# %%
rows = {}
for beams in (2, 4, 8):
    gain = logs[beams] - logs[1]
    row = al.translation.scores.compare(texts[1], texts[beams], real.test.targets)
    rows[beams] = {
        "log-probability": gain.mean(),
        "likelier": (gain > 1e-4).mean(),
        "less likely": (gain < -1e-4).mean(),
        "tokens": np.mean([len(one.ids) for one in best_of[beams]]),
        **row.loc["chrf", ["difference", "low", "high"]].add_prefix("chrF "),
    }
al.plots.table(pd.DataFrame(rows).T.rename_axis("beams"))

# %% [markdown]
# Everything is compared with one beam, which is greedy, on the same strings: the mean
# change of log-probability, the shares of strings whose translation became likelier or
# less likely (a beam search may lose a good beginning, too), and the difference in chrF
# with its 95 % interval. Where the interval contains 0, likelier is not shown to be
# better.
#
# Decoding has a cost of its own. Training sees all target tokens at once; decoding goes
# step by step, and naively each step computes all earlier ones anew. Their keys and
# values do not change (you saw that in section 3), so they are kept: a **cache**. Count
# the operations of matrix products, and measure the time on one thread:


# %%
def decode(cache):
    marks = translator.target_words.start, translator.target_words.end
    return al.transformer.greedy(translator.model, batch, *marks, 12, cache=cache)


batch = al.translation.padded(translator.encode(part.test.sources[:100]))
batch, cost = batch.to(translator.device), {}
for cache in (False, True):
    with FlopCounterMode(display=False) as counter:
        decode(cache)
    shortest = al.device.seconds(lambda cache=cache: decode(cache), repeats=3)
    cost[cache] = np.array([counter.get_total_flops(), shortest])
operations, time_share = cost[True] / cost[False]
print(f"with a cache {operations:.0%} of the operations, {time_share:.0%} of the time")

# %% [markdown]
# ## 11. What depth, width and heads cost
#
# Parameters are memory; operations are time, more or less. Both follow from a formula:
# a layer of the encoder has $4d^2$ weights in its attention (query, key, value, output)
# and $2\,d\,d_{\text{ff}}$ in its network. The number of heads is in neither: heads
# divide the width. (Each has a table of weights of its own, though, and its softmax;
# that is no matrix product, but it takes time.) The last two columns are measured: the
# time of a training step on one thread, the shortest of five, and exact match on dev
# after a short training, the same for all.

# %%
base = {"d_model": 128, "heads": 4, "feed_forward": 512}
base |= {"encoder_layers": 2, "decoder_layers": 2}
changes = {
    "as above": {},
    "1 head": {"heads": 1},
    "16 heads": {"heads": 16},
    "1 + 1 layers": {"encoder_layers": 1, "decoder_layers": 1},
    "half the width": {"d_model": 64, "feed_forward": 256},
}
quick = {"epochs": size.pair_epochs // 2 or 1, "learning_rate": 2e-3, "dropout": 0.0}


# %%
def training_step(one):
    """Milliseconds forward and backward for 64 pairs."""
    source, labels = (
        al.translation.padded(rows).to(one.device)
        for rows in (
            one.encode(part.train.sources[:64]),
            one.encode_targets(part.train.targets[:64]),
        )
    )
    fed = labels.roll(1, 1)
    fed[:, 0] = one.target_words.start
    return 1000 * al.device.seconds(
        lambda: one.model(source, fed, labels).loss.backward()
    )


# %%
short = part.sample(size.pairs // 4)
costs = {}
for name, change in changes.items():
    one = al.train_translator(short, **quick, **base | change)
    operations = al.transformer.flops_of(one.model.size, 12, 11)["flops"].sum()
    costs[name] = {
        "parameters": al.transformer.parameters_of(one.model.size)["parameters"].sum(),
        "MFLOPs a pair": operations / 1e6,
        "ms a step": training_step(one),
        "exact match": one.history.best["dev_accuracy"],
    }
al.plots.table(pd.DataFrame(costs).T)

# %% [markdown]
# Compare *1 head* with *16 heads*: the same parameters, the same operations; the time
# of a step says what their tables cost here. What they learn in so short a time
# differs, but one run each is an anecdote: change `seed=` before you believe it. Look
# also at what *1 + 1 layers* loses, or wins, for half the work.
#
# ## What you have seen
#
# - A decoder that is fed the right answer one place late, behind a mask that is causal
#   and knows padding, is trained on all steps at once.
# - Cross-attention is attention with queries from the target. In a task whose truth is
#   known its heads can be counted as alignments, and silenced to see whether they are
#   needed.
# - Near-perfect on a test set that looks like training is not understanding: ways of
#   writing that were left out show it.
# - With few real pairs a model learns them by heart; figures need intervals, of the
#   difference where two systems are compared, and a baseline that knows nothing.
# - Beams mostly find likelier sentences, which need not be better; a cache saves
#   computing earlier steps anew; the number of heads changes neither parameters nor the
#   operations of matrix products.
#
# In [lesson 05](05_finetune_bert.ipynb) nothing starts from nothing: a model that has
# read a lot is taught a task.

# %%
al.checks.summary("translation")
