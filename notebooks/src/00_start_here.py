# %% [markdown]
# # Start here: look inside a BERT, then change it
#
# **How does a Transformer, the kind of network behind today's chatbots, get from words
# to an answer, and what does a wrong answer depend on?** You take one sentence that
# a real model gets wrong, and follow it through the model step by step. Then you turn
# parts of the model down, and see which of them the answer needs.
#
# Afterwards you can
#
# - say what tokens, vectors, queries, keys, values and attention weights are;
# - read a picture of attention;
# - turn single heads down, and say whether a change is larger than chance.
#
# Time: 25 minutes to read, 20 for the tasks. You need no other lesson, and you may skip
# the code. Choose **Run → Run All Cells**, then read.

# %% [markdown]
# ## 1. The model makes a mistake
#
# Our model, MiniLM, is a small relative of *BERT*: it reads a whole text at once. It
# has learned to tell praise from complaint in film reviews. The next cell loads it, and
# asks what it makes of two sentences.

# %%
import numpy as np

import attnlab as al

clf = al.load_classifier("movie-sentiment")
meant = {
    "Two hours of my life that I would like to have back.": "negative",
    "The plot is thin, but the acting is a joy.": "positive",
}
texts = list(meant)
answers = clf.predict(texts)
al.plots.answers(texts, answers.probabilities, clf.label_names, meant.values())

# %% [markdown]
# The first sentence is a complaint: its writer wants the two hours back. The model
# takes it for praise. Why? We stay with this sentence to the end.
#
# You may add sentences of your own *below* these two, each with its right label.

# %% [markdown]
# ## 2. How do words become an answer?
#
# How did the model get from these words to *positive*? Each row of the picture is one
# piece of the sentence, on its way from left to right.

# %%
from attnlab.show import drawings

drawings.whole_path(clf.layers, clf.heads, clf.model.config.hidden_size)

# %% [markdown]
# - **1 Tokens.** The text is cut into *tokens*: words, pieces of rare words, and marks
#   such as the full stop. Two more are added: `[CLS]` before the text, and `[SEP]`
#   after it.
# - **2 Vectors.** Each token becomes a *vector*, a list of 384 numbers. A second
#   vector, which stands for the token's position in the text, is added to it.
# - **3 to 5 Attention.** The tokens exchange what they hold. Twelve **heads** do this
#   side by side, each in its own way. What they find is added to the token's vector, at
#   the first `+`.
# - **Feed-forward.** A small neural network with one hidden layer works on each token
#   alone. Its result is added at the second `+`.
# - **Six layers.** Attention and feed-forward together are a *layer*. The six have the
#   same form, but each has learned numbers of its own.
# - **6 Answer.** A small trained network, the *read-out*, turns the last vector of
#   `[CLS]` into a probability for each label.
#
# Notice that the answer is read off `[CLS]` alone. So whatever the answer depends on
# must in the end reach `[CLS]`, along a dark line of some layer, perhaps by way of
# other tokens.
#
# <details><summary>What does the picture leave out?</summary>
#
# Most of the tokens, and all but a few numbers of each vector (their colours are
# invented). All tokens are in lower case here.
#
# After each `+` the sum is brought back to a standard size (*LayerNorm*, lesson 02).
# The read-out first makes a number for each label, a *logit* (appendix B); a *softmax*
# (section 3) turns these into probabilities.
#
# `[SEP]` has a further use: BERT can also read two texts at a time, and it stands
# between them; a third vector, added at the start, says which text a token belongs to.
#
# </details>

# %% [markdown]
# ## 3. What does one head do?
#
# How can anything reach `[CLS]` from the other words? Only heads carry something from
# one token to another.
#
# A head works like a library. You bring a question, the **query**. Each book has a
# title, the **key**, and a text inside, the **value**. The better a title fits your
# question, the more you read of that book. In BERT every token asks, and every token is
# also a book.
#
# In the picture one token asks, and the books are *hours*, *life* and *back*. The
# numbers are invented. A query, key or value has 2 of them here; in our model it has
# 32, made from the token's 384.

# %%
drawings.head_by_hand()

# %% [markdown]
# - **3 Query, keys, values.** Three *matrices*, tables of learned numbers, turn each
#   token's vector into three new ones: what it looks for (query), what it can be found
#   by (key), and what it passes on (value).
# - **4 Scores.** How well does the key of *hours* fit the query? Multiply number by
#   number and add up: that is the *dot product*. Then divide by √2, the root of how
#   many numbers a vector holds here (lesson 01 says why).
#   - dot product: 2 · 1 + 1 · 1 = 3
#   - score: 3 / √2 = 2.12
# - **4 Weights.** The *softmax* turns scores into **attention weights**, which are
#   positive and sum to 1. It raises e = 2.718… to the power of each score, and takes
#   each one's share of the sum.
#   - powers: 8.34 for *hours*, 2.03 for *life*, 4.11 for *back*
#   - their sum: 14.48
#   - weight of *hours*: 8.34 / 14.48 = 0.58
# - **5 Mixture.** The token that asked gets all three values, each times its weight,
#   added up.
#   - 0.58 · (2, 0) + 0.14 · (0, 2) + 0.28 · (1, 1) = (1.44, 0.56)
#
# Most of the mixture comes from *hours*, whose key fits best.
#
# <details><summary>How do 12 mixtures become one vector again?</summary>
#
# Each of the 12 heads makes such a mixture, of 32 numbers. (Lessons 01 and 02 call it
# the *context*.) Side by side they are 384
# again. One more matrix, $W_O$, mixes them, and the result goes to the `+`.
#
# </details>

# %% [markdown]
# ## 4. Step through your sentence
#
# Here are the model's own numbers, in the same six steps, at a *desk*: a picture that
# you can work. (Where nothing runs, you see all steps side by side.)
#
# You look into head 9 of layer 3, *head 3.9* for short. Counting starts at 0, for
# layers and heads alike. Each thin stripe is one number of a vector: red above 0, blue
# below.
#
# Press *Next*, and read the line above the picture. Then type a sentence of your own,
# and click a word in it: at first `[CLS]` looks.

# %%
steps = al.FlowDesk(clf, texts[0], layer=3, head=9)
steps

# %% [markdown]
# Three things to notice:
#
# - **Step 3.** The value of `[CLS]` is pale: its numbers are near 0. A token that looks
#   at `[CLS]` takes almost nothing from it here (more in lessons 02 and 06).
# - **Step 4.** The word *I* (token *i*) looks, and gives its largest weight, 0.32, to
#   *hours*. Click another token: it shares out its attention in another way.
# - **Step 6.** The read-out is tried after each layer (a *logit lens*, lesson 04), and
#   stays near 50 % until the last. It was trained for that one only: earlier layers may
#   still know something.
#
# <details><summary>Why this head, and why are most queries so pale?</summary>
#
# Its attention weights changed most when *this* model learned to judge reviews (lesson
# 05). After another training it could be another head. The menus choose others.
#
# The queries of tokens that do not look just now are veiled, whatever their numbers.
#
# </details>

# %% [markdown]
# ## 5. Which words does the answer need?
#
# Where a head looks does not tell what the answer depends on. To find that out, change
# something and measure: leave out each word in turn, and ask again.
#
# *Predict first:* which word matters most? Write it into the first cell. The second
# cell measures.

# %%
prediction = ""  # write a word of the sentence between the quotation marks

# %%
words = texts[0].replace(".", " .").split()
shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
whole = clf.predict(texts[:1]).probabilities[0, 1]
change = 100 * (clf.predict(shorter).probabilities[:, 1] - whole)
label = "change of “positive” without the word (percentage points)"
al.plots.word_changes(words, {"left out": change}, turn=50 - 100 * whole, label=label)

# %% [markdown]
# Each bar is the sentence without that word. To the left “positive” falls, to the right
# it rises. At the dotted line it has fallen from 75 % to 50 %: beyond it the answer
# turns to “negative”. How large is the bar of your word?

# %%
from attnlab.course import feedback

feedback.word(prediction, words, change)

# %% [markdown]
# Only *life* and *I* turn the answer, *life* most of all. *Back*, the word that makes
# this a complaint, hardly counts. (Is it the word, or the gap that it leaves? Appendix
# C puts something in the gap: both words still turn the answer.)

# %% [markdown]
# ## 6. What do heads look at?
#
# Words reach `[CLS]` through heads. Look at them before you change them. Here is head
# 3.9 again, drawn by the library *bertviz*.
#
# A line runs from a token on the left to one that it looks at on the right: the
# stronger, the more weight. Point at a token to see its lines alone. Beside it the same
# weights are a **heat map**: a row for each token that looks, a column for each one
# looked at. Its colour scale is stretched, so that small weights show.

# %%
maps = clf.attend(texts[0])
al.attention_view(maps, layer=3, heads=[9], stretched=True)

# %% [markdown]
# `[CLS]` gives 0.97 of its weight to itself, so here it takes almost nothing from other
# tokens. The head can still matter, by a detour: it changes the other tokens, and in
# later layers `[CLS]` looks at those.
#
# Now all 72 heads, six layers of 12. Each is a small heat map, in which bright means
# more weight. *Predict first:* which token is looked at most?

# %%
al.plots.attention_grid(maps, framed=[(0, 2), (3, 9)])

# %% [markdown]
# Look for two patterns: a bright **column** (all tokens look at the same one), and a
# bright **diagonal** (each token looks at itself or at a neighbour).
#
# <details><summary>What we saw</summary>
#
# Most columns are at the left edge of a map: many tokens look at `[CLS]`. Over all
# heads it gets 0.42 of the weight on average; an even share would be 1 of 15, 0.07.
#
# </details>
#
# Framed are head 3.9 and the clearest diagonal, head 0.2. Here it is large:

# %%
al.plots.attention_map(maps, layer=0, head=2, stretched=True)

# %% [markdown]
# Each token looks at the one before it (`[CLS]`, which has none, at itself): head 0.2
# is a *previous-token head*. (Lesson 02 measures such heads; lesson 04 shows what one
# is good for.)
#
# **Your turn.** In another head most tokens look at the *next* token. Does that
# diagonal run above or below the one through the corners? Find the head in the grid,
# and write its name into the cell:

# %%
my_head = ""  # layer and head, such as "0.2"
feedback.diagonal(maps, my_head)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Above: the next token is one column further to the right. It is head 1.8, in which a
# token gives 0.80 of its weight to the next one, on average.
#
# </details>
#
# So far you have only looked. Which heads does the answer *need*?

# %% [markdown]
# ## 7. Change it: the mixing desk
#
# What becomes of the answer when a head falls silent? The mixing desk has a *fader*, a
# slider, for each head. At 1 the head is as trained, at 0 it is silent, at 2 it counts
# double.
#
# Press *All neutral* first: after *Run All* head 3.9 is silent already. Look at the
# **answer** for your sentence, at the upper right. *Predict first:* will the answer
# turn? Then click the fader of head 3.9 and press `0`. A mark keeps the answer of the
# untouched model.

# %%
reviews = al.datasets.load("movie-sentiment").dev
count = al.device.profile().sentences
desk = al.HeadMixer(clf, reviews, texts[0], sentences=count)
desk.look = desk.look | {"layer": 3, "head": 9}  # whose attention is shown
desk

# %% [markdown]
# The answer turns to “negative”. So for this sentence it depends on head 3.9. (Or on
# the gap that the head leaves: see the fold of section 9.)
#
# <details><summary>What else does the desk show?</summary>
#
# **The lines** are the attention of a layer, its weights times the faders: a head at 0
# has none. Where nothing runs, they are left out.
#
# **The colour behind a fader** estimates how the *loss* would change without this head:
# red, it would rise; blue, it would fall. The loss is minus the logarithm of the
# probability given to the right label, on average. So it is small where the right label
# gets a high probability. Its unit is the *nat*. The numbers are small: no colour
# proves anything.
#
# **Accuracy** is for section 8. (*p* is how often luck alone would give a change at
# least as large.) *Temperature*, *JSON* and *Compare* are not needed here. A quick
# estimate comes first, which is unreliable for large changes. The measurement then
# takes its place. *Gained* and *lost* are the answers that became right, and wrong.
#
# </details>

# %% [markdown]
# ## 8. Is the change more than chance?
#
# One sentence is no evidence about reviews in general. So the desk also counts the
# **accuracy**: how many held-out reviews, which the model was not trained on, it gets
# right.
#
# With other reviews the change would be a little different. So the desk draws a bar
# around it, its **95 % interval**. Of 100 such bars about 95 cover the true change.
# **If the bar contains 0, the choice of reviews alone could explain the change.**
#
# The next cell sets head 3.9 to 0 in code, waits, and reads the interval off the desk.
# (A *point* is 1 of 100 reviews.)

# %%
desk.preset("silence", place=(3, 9))
found = desk.wait().accuracy
delta, low, high = (100 * found[name] for name in ("delta", "low", "high"))
print(f"Head 3.9 at 0: {delta:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}.")
if low <= 0 <= high:
    print("The interval contains 0: the choice of reviews alone could explain this.")
else:
    print("The interval leaves out 0, as for 1 in 20 heads by chance alone.")
answer = clf.predict(texts[:1], desk.settings)
print(f"“{texts[0]}” is now {answer.labels[0]} ({answer.probabilities[0].max():.0%}).")

# %% [markdown]
# The interval contains 0. You can check its width: of 1,000 answers 17 were gained and
# 22 lost, 39 in all. If each were gained or lost by the toss of a coin, their balance
# would be typically √39, about 6, away from 0. Twice that, 12 of 1,000 or 1.2 points,
# is half the bar. (On fewer reviews the counts are others.) An interval that contains 0
# does not prove that the head does nothing: any change inside it fits what we saw.
#
# <details><summary>Could a finer measure find an effect?</summary>
#
# Yes. Accuracy changes only where an answer crosses 50 %. Lesson 06 measures how sure
# the model is; there this head stands out.
#
# </details>
#
# <details><summary>Why choose a head before you look at its result?</summary>
#
# Of 72 heads without any true effect on accuracy, three or four intervals would still
# leave out 0, by luck. So decide *first* which head you ask about. For this sentence we
# did look first, at all 72 (section 9): what 3.9 does to it is no evidence about
# reviews. The held-out change is.
#
# </details>

# %% [markdown]
# ## 9. Is 3.9 the only head that turns this answer?
#
# Here is each of the 72 heads at 0, one at a time. The number says by how many points
# “positive” changes for our sentence: below 0 it falls, as in section 5.

# %%
alone = np.zeros((clf.layers, clf.heads))
for layer, head in np.ndindex(alone.shape):
    settings = clf.settings()
    settings.scale[layer, head] = 0
    without = clf.predict(texts[:1], settings).probabilities[0, 1]
    alone[layer, head] = 100 * (without - whole)
title = "Change of “positive” without each head (blue: it falls, red: it rises)"
al.plots.head_map(alone, label="change, percentage points", title=title)

# %% [markdown]
# To turn the answer, “positive” must fall by about 25 points. Only without 3.9 does it
# fall that far, by 32.6.
#
# <details><summary>What does silencing a head leave open?</summary>
#
# Whether what 3.9 *knew* is now missing. A silent head passes on zeros, which the model
# never met in training, so the gap itself may do harm. Another test puts the head's
# *mean* over many texts there: it takes away what the head says about this text, and
# keeps what it says about all. The two tests can disagree (lesson 06).
#
# And a head without which nothing changes may do what another one does as well.
#
# </details>

# %% [markdown]
# ## 10. Now you
#
# In each task first write down what you expect, in points of held-out accuracy. Then
# run the cell: it moves the faders of your desk, measures, and puts your number beside
# the model's. Nothing is graded. (By hand: press *All neutral* at the desk, then move.)
#
# **1. Silence one head.** Replace `None` by the change that you expect, such as `-2`.
# Take another head if you like. Does the interval leave out 0?

# %%
expected = {"5.9": None}  # head: change of accuracy in points
feedback.silenced(desk, expected)

# %% [markdown]
# **2. Silence all heads of a layer**, the first and the last. Which layer's heads cost
# more?

# %%
expected = {"0": None, "5": None}  # layer: change of accuracy in points
feedback.silenced(desk, expected)

# %% [markdown]
# **3. Silence a random half** of the heads, four times. What does a half cost?

# %%
expected = None  # change of accuracy in points
feedback.halves(desk, expected)

# %% [markdown]
# **4. Repair the mistake** without head 3.9: find other faders that turn the answer to
# “negative”. Start from the map of section 9, and add up until “positive” has fallen by
# 25 points. A head at 0 counts as the map says; at 2 it counts the other way round, if
# its effect grows in proportion to the fader. Do the effects of several heads add up?
# And what does your repair cost?

# %%
faders, expected = {}, None  # such as {"1.11": 2}, and the points that it costs
desk.text = texts[0]  # if you have typed another one
feedback.repair(desk, faders, expected, alone)

# %% [markdown]
# <details><summary>What we saw, on all 1,000 held-out reviews</summary>
#
# (On another machine an answer or two may differ.)
#
# 1. With `-2` for head 5.9, the darkest red at the desk, the cell says: *−0.7 points
#    (95 % interval −1.7 to +0.3, contains 0). You said −2.0: outside.* For head 0.2,
#    the previous-token head, it says −0.4 (−1.3 to +0.5). Lesson 06 tries all 72.
# 2. The last layer's: −12 points (−14 to −9). The first's: −1.6 (−3.3 to +0.1), a loss
#    neither shown nor ruled out.
# 3. Eight random halves: from −3 to −14 points, no interval contains 0. It matters much
#    which half it is.
#
# </details>
#
# <details><summary>A repair that we found for task 4</summary>
#
# At 0, only head 3.9 turns the answer alone. These do it together:
# `{"3.2": 0, "4.3": 0, "1.11": 2}`. By the map “positive” would go to 46 %; it goes to
# 43 %: the effects do not quite add up. The cost is −0.2 points (−1.1 to +0.7). That
# repairs one sentence, not the model.
#
# </details>

# %% [markdown]
# ## 11. What you have found
#
# - **How words become an answer:** tokens become vectors; in each layer heads mix
#   values by attention weights, and a feed-forward network works on each token alone;
#   the read-out takes the vector of `[CLS]`.
# - **On which words this wrong answer depends:** most on *life*, then on *I*. Take away
#   one of the two, and it turns.
# - **On which heads it depends:** of 72 heads, silenced one at a time, only 3.9 turns
#   it. Others move it by up to about 10 points; three of them together, two silent and
#   one doubled, turn it as well (task 4).
# - **Not found:** why it turns. One trace: *back*, which makes this a complaint, hardly
#   counts. What the model takes for praise comes from training (lessons 05 and 06).

# %% [markdown]
# ## 12. Try for yourself
#
# Three open problems. We give no answers; each says how you know that you are right.
#
# 1. **Fool the model.** Write a complaint without a word of blame that it takes for
#    praise, and name the word that it depends on. Start from the cells of sections 1
#    and 5. You are right if, without that word, the answer turns.
# 2. **Two heads.** Is there a pair of heads, without 3.9, that turns our answer when
#    both are silent? Start from the loop of section 9. You are right if you can name a
#    pair, or have tried all 2,485.
# 3. **Any text?** Does head 0.2 look at the token before in *every* text: in nonsense,
#    in one word ten times over? Write down what you expect, then call `clf.attend`. You
#    are right if `maps.weights[0, 2].diagonal(-1).mean()`, the mean weight on the token
#    before, bears you out.

# %% [markdown]
# ## 13. The lessons
#
# In the lessons you write the code yourself, and a cell such as
# `al.checks.softmax(softmax)` says what is right or wrong. Take the twelve in this
# order, or pick.

# %% [markdown]
# | lesson | you learn | minutes |
# | --- | --- | --- |
# | [01 Maths](01_attention_maths.ipynb) | what a head computes, derived | 180 |
# | [02 From scratch](02_attention_from_scratch.ipynb) | BERT's layers, rebuilt | 120 |
# | [03 Translation](03_translation.ipynb) | encoder and decoder | 120 |
# | [04 Language model](04_language_model.ipynb) | a small GPT, trained | 150 |
# | [05 Fine-tuning](05_finetune_bert.ipynb) | to teach BERT a task | 130 |
# | [06 Head mixing](06_head_mixing.ipynb) | which heads matter | 150 |
# | [07 Balance](07_attention_balance.ipynb) | how attention is spread | 80 |
# | [08 Economics](08_attention_economics.ipynb) | the best in a budget | 150 |
# | [09 Compression](09_compression.ipynb) | what can be taken away | 140 |
# | [10 Beyond text](10_beyond_text.ipynb) | attention to pictures | 150 |
# | [11 Adaptive](11_adaptive_attention.ipynb) | attention that adapts | 150 |
# | [12 Capstone](12_capstone.ipynb) | to judge claims and results | 120 |
#
# **Next:** [lesson 01](01_attention_maths.ipynb) derives what a head computes. The
# appendices below are for those who want to move faders in code, or to check ours.

# %% [markdown]
# ## Appendix A. Faders in code
#
# Faders can also be set in code; *Copy as code* on the desk writes it. Every call
# inside the `with` block uses the changed model.
#
# Here all heads of the last layer are silent, just before the read-out. *Predict
# first:* what becomes of the two answers?

# %%
settings = clf.settings()
settings.scale[clf.layers - 1] = 0  # all heads of the last layer

with al.heads.applied(clf, settings):
    changed = clf.predict(texts)
print("“positive”, as trained and with the heads of the last layer silent:")
pairs = zip(texts, answers.probabilities, changed.probabilities, strict=True)
for text, before, after in pairs:
    print(f"{before[1]:.0%} -> {after[1]:.0%}  {text}")

# %%
held_out = reviews.sample(count)
print(f"On {len(held_out):,} held-out reviews:")
for name, how in {"as trained": None, "last layer's heads silent": settings}.items():
    found = clf.predict(held_out.texts, how).probabilities
    right = (found.argmax(1) == held_out.labels).mean()
    print(f"{right:.0%} right, on average {found.max(1).mean():.0%} sure ({name})")
commoner = np.bincount(held_out.labels).max() / len(held_out)
print(f"{commoner:.0%} right (always the commoner label)")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Both probabilities fall to about 50 %. Is the model guessing now? No: far more answers
# are right than if it always gave the same one.
#
# </details>
#
# So part of the answer reaches `[CLS]` without these heads. But most of its *certainty*
# depends on them.
#
# Without them nearly all answers are unsure, right or wrong. So this tells nothing that
# is special to our one mistake.
#
# To keep what you found at the desk, move something there, then run this cell again:

# %%
print(desk.settings.to_code())

# %% [markdown]
# ## Appendix B. Is the control real?
#
# All this rests on faders that do what they say. `self_check` tries the faders of one
# head of this model on made-up tokens. It compares **logits**, the numbers for the
# labels before they become probabilities. Three of the differences should be 0, and one
# should not:

# %%
found = al.heads.self_check(clf)
for name, told in {
    "neutral - untouched": "all faders at 1, against the untouched model",
    "scale 0 - columns removed": "a head at 0, against that head cut out by hand",
    "scale 0 - neutral": "a head at 0, against all at 1 (must not be 0)",
    "afterwards - before": "the model afterwards, against the model before",
}.items():
    print(f"largest difference of a logit {found[name]:.2g}: {told}")

# %% [markdown]
# So for the head it tried, 3.0, the control is real: faders at 1 change nothing, silent
# is as good as cut out, and afterwards the model is as before. The same code works the
# fader of 3.9, which this check did not try.

# %% [markdown]
# ## Appendix C. The word, or the gap that it leaves?
#
# Without *I* the sentence of section 5 is no longer English: the gap itself may confuse
# the model. So we put `[MASK]` in the word's place. While BERT, from which models like
# ours descend, learned to read, words were hidden behind `[MASK]`. It says that a word
# stands here, but not which. *Predict first:* do *life* and *I* still turn the answer?

# %%
masked = [" ".join([*words[:i], "[MASK]", *words[i + 1 :]]) for i in range(len(words))]
hidden = 100 * (clf.predict(masked).probabilities[:, 1] - whole)
both = {"left out": change, "[MASK] instead": hidden}
label = "change of “positive” (percentage points)"
al.plots.word_changes(words, both, turn=50 - 100 * whole, label=label)

# %% [markdown]
# A bar is the sentence without that word, a ring the one with `[MASK]` in its place.
# *life* and *I* turn the answer either way; *I* only just with `[MASK]`, and *that*
# nearly does.
#
# Where bar and ring agree, the gap alone is hardly the reason, though `[MASK]` may
# disturb the model too. For *like* and *that* they differ much: there, how the word is
# taken away counts. Why *life* and *I* turn the answer, this does not show.
