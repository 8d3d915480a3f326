# %% [markdown]
# # 03 Translation
#
# **Can a Transformer that starts from nothing learn to translate while you watch, and
# does it look where a person would?** You put attention, masks and positions together
# into the model that Vaswani et al. (2017) built for translation, train it on dates in
# nineteen languages, and step through its answers. Then you give it a real task with
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
# some ten minutes on two processor cores. You need [lesson
# 02](02_attention_from_scratch.ipynb). Choose **Run → Run All Cells** first; exercises
# that are not written yet only say so.

# %%
import inspect
import time

import pandas as pd
import torch

import attnlab as al

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
# token; at each step its own text asks *what did I write?*, and across, *what is there
# still to say?* Cross-attention is the same formula as ever, with queries from one text
# and keys and values from the other:
#
# $$ A = \text{softmax}\!\left(
# \frac{Q_{\text{target}}\, K_{\text{source}}^\top}{\sqrt{d_k}}\right), \qquad
# C = A\, V_{\text{source}} $$
#
# $A$ has a row for each target token and a column for each source token: it is an
# *alignment*, which translators drew by hand long before.
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
# models leave this out, and some learn the places. Both is in `al.Seq2SeqTransformer`,
# as `positions=`.)

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
# `around_attention` and its like. Besides, `past` keeps keys and values of earlier
# steps, `knobs` are the faders of your desk, and `seen` takes notes for the pictures.

# %%
print(inspect.getsource(al.transformer.DecoderLayer.forward).split('"""')[2])

# %% [markdown]
# ## 5. The loss
#
# At each step the model gives a score to every token of its vocabulary; the loss is the
# cross-entropy with the right one, the mean over all tokens of the batch, in nats. A
# model that knows nothing has a loss of about $\ln V$, and $e^{\text{loss}}$, the
# *perplexity*, says between how many tokens it still hesitates. Texts of a batch differ
# in length. What is filled up is not said, and must not be learned.

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
# which is the same for every model of this course. Dropout is off, since there are more
# dates than anyone could learn by heart. Watch the curve. What is easy comes first: how
# a date looks, hyphens and all, and that brings the loss far below $\ln V$ while no
# date is right. Exact match asks for all ten characters at once, so it comes late, and
# then quickly.

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
curve.picture()

# %%
answers = translator.translate(part.test.sources)
report = al.translation.scores.score(answers, part.test.targets)
low, high = report.exact_ci
print(f"exact match on {report.n:,} new dates: {report.exact:.1%}")
print(f"95 % interval {low:.1%} to {high:.1%}")

# %%
rows = zip(part.test.sources, answers, part.test.targets, strict=True)
wrong = [row for row in rows if row[1] != row[2]]
pd.DataFrame(wrong[:8], columns=["source", "found", "wanted"])

# %% [markdown]
# No test date stands in the training part. But every *way* of writing a date does. How
# about ways that training left out? The set `dates-held-out` has five kinds: ways that
# this language alone lacked in training (*left-out*), the year first where the language
# never wrote it first (*borrowed*), shapes that no language had (*new*), and two with
# day and month in the other order than the tag says: with a day above 12 only one
# reading is a date (*other-order*), below both are (*either-order*), and "right" means
# there that the tag was *not* followed.

# %%
held_out = al.datasets.load("dates-held-out").test
right = al.translation.exact_match(translator, held_out)
kinds = pd.DataFrame({"kind": held_out.kinds, "exact": right})
kinds.groupby("kind", sort=False)["exact"].agg(["mean", "size"]).round(3)

# %% [markdown]
# Compare the kinds. A way that only *this* language lacked is no trouble: other
# languages showed it, and the model joins what it knows of the language with what it
# knows of the shape. But the year in front after a tag that never had it there, or a
# day above 12 where the tag puts the month, comes out wrong nearly always, though a
# person would see at once that there is no month 28. The model has learned the habits
# that go with each tag, not what a date is. (In *either-order* a low figure is the good
# one: nothing but the tag can tell.) Many failures of learned systems are of this kind,
# and a test set that looks like the training set cannot show them.
#
# ## 7. Where it looks
#
# The weights of the cross-attention for one date, mean over all heads. Rows are the
# characters as they are written, columns the pieces of the source.

# %%
maps = translator.attend("en-GB: Wednesday, 3 March 2021")
al.plots.alignment(maps)

# %% [markdown]
# The bright cells need no legend: year, month and day are fetched from where they
# stand, in an order that is not the source's. Some weight is left over at every step,
# and much of it goes to a mark that says nothing, the colon here; lesson 06 finds the
# same in BERT, whose heads turn to [SEP].
#
# But a picture of one date is an anecdote. For dates the truth is known: when the model
# writes the year, a head that aligns should weigh most a piece of the year. So it can
# be counted, for every head, over many dates, beside what chance would give.

# %%
aligned = al.translation.alignment_accuracy(translator, part.test)
al.plots.alignment_accuracy(aligned)

# %%
best = aligned.loc[aligned.groupby("field")["accuracy"].idxmax()]
best[["field", "layer", "head", "accuracy", "chance", "n"]].round(2)

# %% [markdown]
# Different heads for different fields, and nobody assigned them. (A head may look at a
# field and not use it, as lesson 06 shows for BERT; so silence it.) The same maps work
# with bertviz: choose *cross*, and hover over the target.

# %%
al.translation_view(maps)

# %% [markdown]
# ## 8. Silence heads
#
# Each head in turn is multiplied by 0, and the dates are translated again.

# %%
few = part.test.sample(size.sweep_sentences)
silent = al.translation.ablate_heads(translator, few)
silent.sort_values("delta").head(6).round(3)

# %%
whole = {"nothing silenced": translator.settings()}
for kind in al.heads.settings.KINDS:
    whole[f"all of {kind}"] = translator.settings()
    getattr(whole[f"all of {kind}"], kind).scale[:] = 0
for name, settings in whole.items():
    share = al.translation.exact_match(translator, few, settings).mean()
    print(f"{name:18} exact match {share:.1%}")

# %% [markdown]
# Without cross-attention the decoder cannot know which date was meant; it still writes
# something that looks like one, for that much it has learned about the target alone.
# Now to the single heads. Here are those that align best, with what silencing them
# costs:

# %%
needed = best.merge(silent[silent["kind"] == "cross"], on=["layer", "head"])
needed[["field", "layer", "head", "accuracy", "delta", "ci_low", "ci_high"]].round(3)

# %% [markdown]
# Compare this with the table of the dearest heads above. A head can point at the right
# place nearly always and hardly be missed, because another one points there too: to
# look is not to be needed, as lesson 06 shows for BERT. And a head that no alignment
# would ever show can be worth half of all dates: the heads of the *decoder* see only
# what is written already.
#
# ## 9. A real task, and too little data
#
# `interface-fr` are some 3,000 strings of JupyterLab's user interface in English with
# their French translations, made by volunteers. No test string is a near copy of a
# training string. It is the real thing, with placeholders and all, and it is far too
# little: systems for translation learn from millions of pairs.

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
string_curve.picture()

# %% [markdown]
# Compare the two losses in the table below. That of the training pairs keeps falling;
# that of dev soon hardly does, far above it: what the model goes on learning is its own
# pairs, by heart. That is **overfitting**. (The two are not measured alike: *label
# smoothing*, which asks for a little probability on every token, raises the first. So
# the true gap is wider.)

# %%
history = french.history.to_frame()
history = history[["epoch", "train_loss", "dev_loss", "dev_chrf", "dev_accuracy"]]
history.iloc[:: max(1, len(history) // 6)].round(3)

# %% [markdown]
# A translation has no single right answer, so exact match is harsh. **BLEU** counts the
# words, pairs, triples and fours that a translation shares with the reference, times a
# penalty for being short (Papineni et al. 2002); **chrF** does so with characters
# (Popović 2015). Both are for comparing systems on one test set, and depend on how
# words are cut: so the *signature* belongs to the number. Two systems that know no
# French stand beside ours: copy the English, and take the translation of the training
# string that is most like it.

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
# Compare each figure with its interval, and ours with *nearest string* above all, which
# knows every training pair and no French. The test set is small, so the intervals are
# wide. (And they are over strings: another seed is another model, and moves BLEU by
# some points again.) To see what more data changes, you need not have it: take some
# away, and follow the curve.

# %%
amounts = {}
for share in (4, 2):
    less = strings.sample(len(real.train) // share, size.sentences)
    one = al.train_translator(less, **recipe)
    amounts[len(less.train)] = max(row["dev_chrf"] for row in one.history.rows)
amounts[len(real.train)] = french.history.best["dev_chrf"]
pd.Series(amounts, name="chrF on dev").rename_axis("training pairs").round(1).to_frame()

# %% [markdown]
# If each doubling still adds something, more pairs would help; how many of them until
# translations are good, this curve cannot say. (For scale, not for comparison: a
# Transformer of nine million parameters trained from nothing on the 29,000 captions of
# Multi30k is reported at about 36 BLEU from German into English.
# `al.datasets.multi30k()` fetches it where the network allows.) Now sentences that are
# nobody's interface:

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
# `al.transformer.beam` does. More beams find likelier sentences. Whether these are
# *better* is another question, and it can be asked:

# %%
pairs = {width: french.translate(real.test.sources, width) for width in (1, 2, 4, 8)}
compared = {
    width: al.translation.scores.compare(pairs[1], pairs[width], real.test.targets).loc[
        "chrf"
    ]
    for width in (2, 4, 8)
}
pd.DataFrame(compared).T.rename_axis("beams").round(2)

# %% [markdown]
# The columns compare with greedy on the same strings: the difference in chrF with its
# 95 % interval. If the interval holds 0, these strings cannot tell.
#
# Decoding has a cost of its own. Training sees all target tokens at once; decoding goes
# step by step, and naively each step computes all earlier ones anew. Their keys and
# values do not change (you saw that in section 3), so they are kept: a **cache**.

# %%
batch = al.translation.padded(translator.encode(part.test.sources[:100]))
marks = (translator.target_words.start, translator.target_words.end)
for cache in (False, True):
    began = time.perf_counter()
    al.transformer.greedy(translator.model, batch, *marks, max_length=12, cache=cache)
    print(f"cache {cache!s:5}: {1000 * (time.perf_counter() - began):.0f} ms")

# %% [markdown]
# ## 11. What depth, width and heads cost
#
# Parameters are memory; operations are time, more or less. Both follow from a formula:
# a layer of the encoder has $4d^2$ weights in its attention (query, key, value, output)
# and $2\,d\,d_{\text{ff}}$ in its network. The number of heads is in neither: heads
# divide the width, they do not multiply the work. The last two columns are measured:
# the time of a training step, and exact match on dev after a short training, the same
# for all.

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
short = part.sample(size.pairs // 4)
costs = {}
for name, change in changes.items():
    one = al.train_translator(short, **quick, **base | change)
    steps = one.history.steps_frame()["tokens_per_second"]
    costs[name] = {
        "parameters": al.transformer.parameters_of(one.model.size)["parameters"].sum(),
        "MFLOPs a pair": al.transformer.flops_of(one.model.size, 12, 11)["flops"].sum()
        / 1e6,
        "tokens / s": steps.median(),
        "exact match": one.history.best["dev_accuracy"],
    }

# %%
pd.DataFrame(costs).T.round({"MFLOPs a pair": 1, "tokens / s": -2, "exact match": 3})

# %% [markdown]
# Compare *1 head* with *16 heads*: the same parameters, the same operations. What
# differs is what they can learn in so short a time, and one run each is an anecdote:
# change `seed=` before you believe it. Look also at what *1 + 1 layers* loses, or wins,
# for half the work. Lesson 08 puts such a model under a budget.
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
# - With few real pairs a model learns them by heart; figures need intervals and a
#   baseline that knows nothing.
# - Beams find likelier sentences, a cache saves most of the work of decoding, and the
#   number of heads is free.
#
# In [lesson 05](05_finetune_bert.ipynb) nothing starts from nothing: a model that has
# read a lot is taught a task.

# %%
al.checks.summary("translation")
