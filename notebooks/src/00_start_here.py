# %% [markdown]
# # Start here: look inside a BERT, then change it
#
# **How does a Transformer, the kind of network behind today's chatbots, get from words
# to an answer, and what does a wrong answer depend on?** You take one sentence that a
# real model gets wrong and follow it through the model step by step. Then you turn
# parts of the model down and see which of them the answer needs.
#
# By the end you will be able to
#
# - say what tokens, vectors, queries, keys, values and attention weights are;
# - read a picture of attention;
# - turn down single heads, the parts through which words exchange information, and say
#   whether a change of accuracy is more than chance.
#
# Time: 75 minutes for the tour, sections 1 to 10, and 40 for its tasks. A close-up at
# the end, for those who want to know more about one head, takes another hour. You need
# no other lesson.
#
# Choose **Run → Run All Cells**, then read from the top. Where it says *Predict first*,
# the result is folded: write your guess into the cell that waits for it, run from there
# down to the result, and open it. You may skip the code. On a static page, such as
# GitHub's, interactive pictures are still, and some parts that the text names are
# missing.

# %% [markdown]
# ## 1. The model makes a mistake
#
# Our model, MiniLM, is a small relative of *BERT*, a model that reads a whole text at
# once. Ours has learned to tell praise from complaint in sentences of film reviews
# (from here on: *reviews*). The next cell loads it and asks what it makes of two
# sentences.
#
# Like every *neural network* it turns numbers into numbers, by combining them with
# numbers of its own, here millions. *Training* has set these: first on general text, by
# imitating a larger model, and on pairs of sentences that belong together; last on
# reviews with their *labels*, the right answers. After every few reviews its numbers
# were moved a little, so that its answers came closer to the labels. Here they stay as
# they are.
#
# A chatbot's model is larger and trained further, but built of the same kinds of parts
# (lesson 04 builds a small one).

# %%
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
# takes it for praise. What does this mistake depend on: on which words, and on which
# parts of the model? We chose the sentence because it fools the model, and stay with it
# to the end; section 10 says what we found, and the close-up how common such a case is.
#
# You may add sentences of your own *below* these two, each with its right label.

# %% [markdown]
# ## 2. How do words become an answer?
#
# How does a model get from words to *positive* or *negative*? The simplest idea is a
# fixed score for each word, added up. Could our model work like that?

# %%
for text in ("Bad.", "Not bad.", "Good, not bad.", "Bad, not good."):
    print(f"{clf.predict([text]).probabilities[0, 1]:4.0%} “positive”: {text}")

# %% [markdown]
# No: the last two have the same words and so would have the same sum. What *not* does
# depends on the words around it and on their order. A Transformer tells each word its
# position and lets words read each other. In the picture each row is one piece of our
# sentence, on its way from left to right.

# %% folded=true
# the drawing
from attnlab.show import drawings

drawings.whole_path(clf.layers, clf.heads, clf.model.config.hidden_size)

# %% [markdown]
# - **1 Tokens.** The text is cut into *tokens*: words, pieces of rare words, and marks
#   such as the full stop. Two are added: `[CLS]`, for *classification*, before the
#   text, and `[SEP]`, the *separator*, after it.
# - **2 Vectors.** Each token becomes a *vector*, here a list of 384 numbers. It depends
#   on the token and on its position in the text.
# - **3 to 5 Attention.** The tokens exchange information, along the purple lines.
#   Twelve **heads** do this side by side, each in its own way: one looks at the token
#   before, others spread over many tokens.
# - **6 New vector.** What the heads bring is added to the token's vector. Then a small
#   network works on each token alone, and what it makes is added, too.
# - **Layer.** Steps 3 to 6 are one *layer*. Six of them follow one another; what one
#   makes, the next one reads.
# - **7 Answer.** One more small network, the *read-out*, turns the last vector of
#   `[CLS]` into a probability for each label.
#
# (What else the picture names, section 4 explains.)
#
# Notice that the answer is read off `[CLS]` alone. At the start the vector of `[CLS]`
# is the same for every text. So whatever tells one review from another must reach it
# through a head (the dark purple lines), perhaps by way of other tokens.

# %% [markdown]
# ## 3. What does one head do?
#
# Only heads carry something from one token to another. How does one do it?
#
# A head works like a library. You bring a question, the **query**. Each book has a
# title, the **key**, and a text inside, the **value**. The better a title fits your
# question, the more you read of that book. In BERT every token asks, and every token is
# also a book.
#
# In the picture one token asks (its vector is on the left), and the books are *hours*,
# *life* and *back*. The numbers are invented. Here a vector has 3 of them, and a query,
# key or value has 2; in our model it is 384 and 32.

# %% folded=true
# the drawing
drawings.head_by_hand()

# %% [markdown]
# - **Query, keys, values.** Three *matrices*, tables of learned numbers called $W_Q$,
#   $W_K$ and $W_V$, turn each token's vector into three new ones: what it looks for
#   (query), what it can be found by (key), and what it passes on (value). What a token
#   looks for need not be what it offers. Here keys and values are given. For the query,
#   multiply each number of the vector by its row of $W_Q$, and add up each column:
#   - first number: 1 · 0 + 2 · 1 + 0 · 3 = 2
#   - second number: 1 · 1 + 2 · 0 + 0 · 2 = 1
# - **Scores.** How well does the key of *hours* fit the query? Multiply number by
#   number and add up: that is the *dot product*. Then divide by √2, the square root of
#   how many numbers a query has: here 2, in our model 32. (A sum of more products
#   spreads further; lesson 01 tells why the division keeps the weights from going to
#   one token alone.)
#   - dot product: 2 · 1 + 1 · 1 = 3
#   - score: 3 / √2 = 2.12
# - **Weights.** The *softmax* turns scores into **attention weights**, which are
#   positive and sum to 1. It raises e = 2.718… to the power of each score, which makes
#   8.34, 2.03 and 4.11 (from the unrounded scores), and divides each by their sum,
#   14.48.
#   - *hours* gets 8.34 / 14.48 = 0.58
# - **Mixture.** The token that asked gets all three values, each times its weight,
#   added up.
#   - first number: 0.58 · 2 + 0.14 · 0 + 0.28 · 1 = 1.44
#   - second number: 0.58 · 0 + 0.14 · 3 + 0.28 · 0 = 0.42
#
# Most of the weight goes to *hours*, whose key fits best, and its value supplies most
# of the first number of the mixture. The second comes from *life* alone, little as its
# weight is: only there is the value not 0.
#
# **Your turn.** Another token asks the same three books, with the query (1, 2) in place
# of (2, 1). What are the three weights now? You can use the powers above again.

# %%
from attnlab.course import feedback

my_weights = []  # of hours, life and back, such as [0.5, 0.25, 0.25]
feedback.weights(my_weights, query=[1, 2], keys=[[1, 1], [0, 1], [1, 0]])

# %% [markdown]
# ### See it move
#
# Two numbers are a point in a plane: so many to the right, so many up. Here is the same
# head once more, with everything in reach. On the left query and keys are arrows. A dot
# on the line of the query shows how far each key reaches in its direction; that, times
# the length of the query, is the dot product. On the right the mixture lies among the
# values, and each draws it to itself by its weight.
#
# Drag the tip of the query to (1, 2): were your weights right? Then guess each of these
# before you try it:
#
# - *Reset*, and make the query twice as long (*Query × 2*). Do the weights become more
#   even, or less?
# - Turn the query away from all three keys. Which word gets most weight now?
# - Where must the query be for all three weights to be the same?
# - Can the mixture leave the triangle of the values?

# %%
al.QueryDesk()

# %% [markdown]
# <details><summary>What we saw</summary>
#
# - **(1, 2):** the dot products are 3, 2 and 1, where they were 3, 1 and 2. So *hours*
#   keeps 0.58, and *life* and *back* change places: 0.28 and 0.14.
# - **Twice as long:** all scores are twice as large, and so are their distances. The
#   softmax makes the weights less even: 0.77, 0.05 and 0.19 (rounded).
# - **Turned away**, as at (−1, −1): *life* and *back*, 0.40 each. Their dot products
#   are negative, but less so than that of *hours*. Weights sum to 1 even where no key
#   fits.
# - **All the same:** at (0, 0). There all scores are 0.
# - **The triangle:** the mixture cannot leave it, as weights are positive and sum to 1.
#
# </details>
#
# ### From one head to twelve
#
# In one line, with a query $q$ as a row of $d$ numbers, the keys as the rows of $K$,
# and the values as the rows of $V$:
#
# $$\text{mixture} = \text{softmax}\left(q K^\top / \sqrt{d}\right) V$$
#
# $K^\top$ is $K$ with rows and columns exchanged, so that $q K^\top$ holds the dot
# product of $q$ with each key.
#
# Each of the 12 heads has its own $W_Q$, $W_K$ and $W_V$, so that each can look for
# something else. One more matrix, $W_O$, turns what they bring, 12 mixtures of 32
# numbers, into the 384 that are added to the token's vector. Here are two heads with
# mixtures of 2 numbers, and vectors of 3:

# %% folded=true
# the drawing
w_o = [[1, 0, 1], [0, 1, 0], [0, 1, 2], [1, 0, 0]]
drawings.heads_add_up([[2, 1], [1, 3]], w_o, name="$W_O$", first=0)

# %% [markdown]
# On the left the mixtures stand side by side and meet all of $W_O$. On the right each
# head meets its own rows only, and the results are added: it is the same. So each head
# adds a part of its own, and so the desk of section 4 draws it. The full name of all
# this is *multi-head self-attention*: *self*, because the tokens of one text look at
# each other.
#
# <details><summary>What is left out here?</summary>
#
# To queries, keys and values, and to what $W_O$ makes, a learned vector is added, a
# *bias*, the same for all tokens.
#
# </details>

# %% [markdown]
# ## 4. Step through our sentence
#
# Here are the model's own numbers, at a *desk*: an interactive picture in eight steps.
# It follows the token *i* (the word *I*) through head 9 of layer 3, *L3H9* for short
# (counting starts at 0). Why this head? When the model learned to judge reviews, no
# other head's attention changed as much (lesson 05 measures that). Why *i*? L3H9 adds
# more to it than any other head of its layer.
#
# Press *Next* for each step. The words above the picture say what it shows, and ask a
# question. Look for the answer in the picture, then press *Show*. A purple line leads
# from a token that is looked at, on the left, to the one that looks, on the right. A
# thin stripe is one number: red above 0, blue below, white near 0. The *length* of a
# vector is the root of the sum of its squares.

# %%
al.FlowDesk(clf, texts[0], layer=3, head=9, questions=True)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# - **0.** In each layer the thickest line of *i* comes from `[CLS]`. Click `[CLS]`: it
#   looks at others in layers 0 and 5, and hardly in between (section 6).
# - **1, 2.** The first vector of a token is the sum of two: its *embedding*, which is
#   its row in a table that was learned in training, and the vector of its position.
#   (BERT adds a third one, the same for all tokens here.)
# - **3.** The value of `[CLS]` in L3H9 is white: its numbers are all near 0.
# - **4.** *i* gives *hours* a weight of 0.32 and *back* 0.18. An even share of 15
#   tokens would be 0.07.
# - **5.** Those of *hours* and *back*: together they have half of the weight.
# - **6.** The feed-forward network adds most. What L3H9 adds is a little more than a
#   quarter as long as the old vector, 3.1 against 11.1. Does the answer need it?
#   Section 7 tries.
# - **7.** Read off after each layer (a *logit lens*, lesson 04), the answer stays near
#   50 % until the last. That need not mean that nothing has arrived before: what reads
#   it off was trained only on the last layer's vectors. Before layer 0 `[CLS]` has met
#   no word: its 52 % is the same for every text.
#
# </details>
#
# At the top of the desk you can type a sentence of your own. A rare word, as in
# *Unforgettably dull.*, is cut into pieces.
#
# ### What step 6 adds up
#
# Attention does not replace a token's vector: the old one goes past it, and what the
# heads bring is added. That is called a *residual connection*. Then a *feed-forward
# network* works on each token alone. It turns the 384 numbers into 1,536, pushes
# negative ones towards 0, and turns them back into 384, which are added as well. After
# each sum *LayerNorm* rescales the numbers, so that they do not grow from layer to
# layer.
#
# <details><summary>More about these parts</summary>
#
# The six layers have the same form, but each has learned numbers of its own; two thirds
# of them are in its feed-forward network. *LayerNorm* first brings the numbers to a
# mean of 0 and a standard size, then stretches and shifts them by learned numbers
# (lesson 02). Another one stands before the first layer.
#
# In step 6 the feed-forward network adds a vector of length 12.7 to a sum that
# LayerNorm has brought to 14.5. Lengths do not add up: parts can point in different
# directions.
#
# The read-out first makes a number for each label, a *logit*; a softmax turns these
# into probabilities.
#
# </details>
#
# ### A weight is only half of what is carried
#
# The other half is the value. How much would a token add if it got all the weight?
# Multiply its value by the head's rows of $W_O$, and measure the length of the result.
# In **step 0**, set *lines* to “weight × length of (value × W_O)”. What is left of the
# thick lines from `[CLS]` to *i*? Then click `[CLS]`: in which layer does it get most?
#
# <details><summary>Answer</summary>
#
# The lines from `[CLS]` to *i* are no longer the thickest in any layer: its values are
# short. What `[CLS]` itself gets from others is most in layer 5, by far. So weights
# alone do not show what is carried. Nor is length the last word: what is added can
# cancel, or be of no use to the answer. Sections 5 to 9 test that.
#
# </details>
#
# ### The same in code
#
# Does the formula of section 3 give the 0.32 of step 4? The next cell takes the queries
# and keys of L3H9 out of the model. It uses PyTorch, the library that runs the model:

# %%
import torch

inputs = clf.tokenizer(texts[0], return_tensors="pt").to(clf.device)
attention = clf.model.bert.encoder.layer[3].attention.self
head_9 = slice(9 * 32, 10 * 32)  # its numbers among the 384
with torch.no_grad():
    vectors = clf.model.bert(**inputs, output_hidden_states=True).hidden_states[3]
    queries = attention.query(vectors)[0][:, head_9]  # vectors: as they enter layer 3
    keys = attention.key(vectors)[0][:, head_9]
weights = torch.softmax(keys @ queries[7] / 32**0.5, dim=0)  # token 7 is "i"
print(f"“i” looks at “hours”, token 2, with a weight of {weights[2]:.2f}")

# %% [markdown]
# ## 5. Which words does the answer need?
#
# Where a head looks does not tell us what the answer depends on. To find that out,
# change something and measure: leave out each word in turn and ask again.
#
# *Predict first:* which word matters most? Write it between the quotation marks, and
# run the cells down to the result.

# %%
prediction = ""  # a word of the sentence

# %%
words = texts[0].replace(".", " .").split()
shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
whole = clf.predict(texts[:1]).probabilities[0, 1]
change = 100 * (clf.predict(shorter).probabilities[:, 1] - whole)

# %% folded=true
# the picture: a bar for each word that is left out
label = "change of “positive” without the word (percentage points)"
bars = {"left out": change}
feedback.folded(al.plots.word_changes(words, bars, turn=50 - 100 * whole, label=label))

# %% [markdown]
# Each bar is the sentence without that word. To the left the probability of “positive”
# falls, to the right it rises; a *point* is a percentage point, as from 75 % to 74 %.
# (Nothing can rise above 100 %, so bars to the right are squeezed; the close-up has a
# scale without this limit.) At the dotted line it has fallen from 75 % to 50 %: beyond
# it the answer turns to “negative” (dark bars). How large is the bar of your word?

# %%
feedback.word(prediction, words, change)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Only without *life* or without *I* does the answer turn, without *life* most of all.
# *Like*, which sounds like praise, counts less. Without *back* the sentence is hardly a
# complaint any more. But the model's answer is the same with it and without it: to
# leave out the word on which the meaning hangs makes no difference here. (Other words
# may do its work: we take away one at a time.)
#
# Is it the word, or the gap that it leaves? Appendix C puts a neutral mark in the gap:
# then *life* still turns the answer, and *I* only just.
#
# </details>

# %% [markdown]
# ## 6. What do heads look at?
#
# Words reach `[CLS]` through heads. Here is L3H9 once more, now for all tokens that
# look, as a **heat map**: a row for each token that looks, a column for each one looked
# at; the darker, the more weight. Its colour scale is stretched, so that small weights
# show. In a running notebook the library *bertviz* draws the same weights as lines. The
# token that looks is on the left (in step 0 it was on the right); hover over a token.
# The coloured squares are the layer's heads, 0 to 11 from the left.

# %%
maps = clf.attend(texts[0])
al.attention_view(maps, layer=3, heads=[9], stretched=True, cmap="Purples")

# %% [markdown]
# Among the words, the columns of *hours* and *my* are the darkest. In section 5
# “positive” fell most without *life*, whose column is paler; without *hours* it even
# rose. So dark columns are not simply the words that the answer needs. (But leaving a
# word out takes it from all heads. The close-up hides each word from L3H9 only.)
#
# And `[CLS]` looks almost only at itself: in the corner it keeps nearly all its weight.
#
# ### What do all 72 heads look at?
#
# Here are the six layers of 12 heads. Each is a small heat map with its name above it.

# %%
al.plots.attention_grid(maps, framed=[(0, 2), (3, 9)], cmap="Purples")

# %% [markdown]
# Look for two patterns: a dark **column** (all tokens look at the same one), and a dark
# **diagonal** (each token looks at itself or at a neighbour).
#
# Most columns are at the left edge of a map: many tokens look at `[CLS]`. What share of
# all weight is that?

# %%
share = maps.weights.mean((0, 1, 2))  # of each token, over all heads and all who look
print(f"[CLS]: {share[0]:.2f} of all weight. An even share: {1 / len(share):.2f}.")

# %% [markdown]
# So much weight need not mean that `[CLS]` says much: its value can be near 0, as you
# saw in section 4 (Kobayashi et al. 2020). A token that draws weight whatever it says
# is called an *attention sink* (Xiao et al. 2023). One explanation: weights must sum to
# 1, and a head that has nothing to fetch can put them there (Clark et al. 2019, for
# `[SEP]`). Lesson 02 measures this.
#
# L3H9 and the clearest diagonal, L0H2, have a frame. How much weight lies on that
# diagonal?

# %%
feedback.diagonal(maps, "L0H2")

# %% [markdown]
# In L0H2 each token looks at the one before it: it is a *previous-token head*. (Only
# `[CLS]` has none before it. It looks at itself, and so “itself” has a mean of 1/15.)
# Lesson 02 measures such heads; lesson 04 shows what one is good for.
#
# **Your turn.** In another head most tokens look at the *next* token. Does that
# diagonal run above or below the main diagonal? Try the dark diagonals of layers 0 to
# 2: write a head's name into the cell and run it.

# %%
my_head = ""  # layer and head, such as "L0H2"
feedback.diagonal(maps, my_head)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# Above: the next token is one column further to the right. It is L1H8. Write it into
# the cell to see how much weight a token gives to the next one there.
#
# </details>
#
# ### How do words reach `[CLS]`?
#
# In step 0 of section 4 the lines from other tokens into `[CLS]` were faint in the
# middle layers. How much of its weight does `[CLS]` give to itself, to `[SEP]`, and to
# everything between? Here are the means over the heads of each layer:

# %%
import pandas as pd

itself, mark = maps.weights[:, :, 0, 0].mean(1), maps.weights[:, :, 0, -1].mean(1)
to = {"itself": itself, "[SEP]": mark, "between": 1 - itself - mark}
al.plots.table(pd.DataFrame(to).rename_axis("layer"), **dict.fromkeys(to, 2))

# %% [markdown]
# `[CLS]` gives the words and the full stop a quarter of its weight in layer 0, little
# in layers 1 to 4 (0.11 at most), and most of it in the last layer. (In layer 0 its
# strongest lines come from `[SEP]` and the full stop, which have met no word by then.)
# Step through one of the heads of layer 5, L5H9, with `[CLS]` as the token that looks:

# %%
al.FlowDesk(clf, texts[0], layer=5, head=9, token=0, step="weights")

# %% [markdown]
# Here `[CLS]` looks at words: it gives 0.34 of its weight to *two* and 0.15 to *back*
# (and keeps 0.24). In step 6 all 12 heads add to its vector.
#
# But what arrives is not the bare word *two*. Its vector has been through five layers,
# and each of them has added something; L3H9 is one of the 60 heads that did. So which
# heads does the answer need? Weights cannot tell. An experiment tells more.

# %% [markdown]
# ## 7. Change it: the mixing desk
#
# What happens to the answer when a head falls silent? The mixing desk has a *fader*, a
# slider, for each head. At 1 the head is as trained, at 0 it is silent, at 2 it counts
# double. Taking a part away and measuring is called *ablation*; with zeros in its
# place, *zero ablation*.
#
# On the upper right the desk shows the **answer** for our sentence; a mark shows the
# answer of the untouched model. On the lower left it shows the **accuracy**: the share
# of *held-out* reviews, on which the model was not trained (`dev`, for *development*),
# that it gets right.
#
# *Predict first:* does our answer turn without L3H9? And by how many points does the
# accuracy change: less than 1, 1 to 5, or more? Then press *Silence L3H9*, or click its
# fader and press `0`.

# %%
reviews = al.datasets.load("movie-sentiment").dev
count = al.device.profile().sentences
desk = al.HeadMixer(clf, reviews, texts[0], sentences=count, simple=True)
desk.look = {"kind": "head", "layer": 3, "head": 9, "what": "weights"}  # its lines
desk

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The answer turns to “negative”: “positive” falls from 75 % to 42 %. And yet the
# accuracy changes by only about half a point. Is that more than chance? Section 8 asks.
#
# </details>
#
# <details><summary>What else does the desk show?</summary>
#
# **The lines** are the weights of L3H9. Its own fader does not change where it looks,
# only how much of what it carries counts: so they stay. (Heads in later layers may look
# elsewhere, since what they read has changed.)
#
# **Accuracy:** a quick estimate comes first, which is unreliable for large changes. The
# measurement then takes its place. *Gained* and *lost* are the answers that became
# right, and wrong. *Neutral* means that all faders are at 1. The interval below the
# accuracy itself is wide: it says how many of *all* reviews the model may get right.
# The one beside it is that of the change (section 8).
#
# </details>
#
# *Predict first:* how many of the other 71 heads also turn the answer when silenced
# alone?

# %%
guess_heads = ""  # how many of the other 71?

# %% [markdown]
# In code, one head's effect takes a few lines: silence it, ask, and subtract.


# %%
def effect(text, layer, head):
    """Change of “positive” when this head is silent, in points."""
    silent = clf.settings()
    silent.scale[layer, head] = 0
    before, after = clf.predict([text]), clf.predict([text], silent)
    return 100 * (after.probabilities[0, 1] - before.probabilities[0, 1])


# %% [markdown]
# The picture has a number for each head. A negative one means that “positive” falls; to
# turn the answer it must fall by about 25 points.

# %% folded=true
# the picture: the effect of every head
import numpy as np

alone = np.zeros((clf.layers, clf.heads))
for layer, head in np.ndindex(alone.shape):
    alone[layer, head] = effect(texts[0], layer, head)
title = "Change of “positive” without each head (blue: it falls, red: it rises)"
picture = al.plots.head_map(alone, label="change, percentage points", title=title)
turned = (alone < 50 - 100 * whole).sum() - (alone[3, 9] < 50 - 100 * whole)
feedback.folded(picture, guess_heads, measured=f"{turned} of the other 71")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# **Of the 72 heads, only L3H9 turns the answer when silenced alone: “positive” falls by
# 32.6 points.**
#
# How far it falls depends on what stands in the head's place. In training no head was
# ever zero at every token at once. With its average there “positive” falls by 17
# points, and no head turns the answer alone; but L3H9 still moves it most (close-up).
# Nor does a small number prove that a head is useless: when one is silent, others may
# do its work.
#
# </details>
#
# ### By which path does it count?
#
# In L3H9 `[CLS]` looks almost only at itself (section 6). And yet the answer, which is
# read off `[CLS]`, needs this head. How does that go together? Silence it for some
# tokens only: a **hook** makes that possible. PyTorch hands it what a part of the model
# has made, and it may change that before the next part reads it.
#
# *Predict first:* “positive” falls by 32.6 points. How far does it fall if L3H9 is
# silent for `[CLS]` alone (A)? And how far if it is silent for all other tokens (B)?

# %%
guess_paths = ""  # such as "A: -30, B: -5"

# %% folded=true
# the parts of the model, and what is asked
parts = [layer.attention.self for layer in clf.model.bert.encoder.layer]
# attention, from section 4, is parts[3]: it makes all mixtures of layer 3


def in_points():
    return 100 * (clf.predict(texts[:1]).probabilities[0, 1] - whole)


# %% folded=true
# what is asked, while a part makes something else for some tokens
def replaced(part, tokens, new, columns=head_9, ask=in_points):
    def hook(module, inputs, output):  # what this part made, before the next reads it
        made = output[0] if module in parts else output  # (texts, tokens, heads x 32)
        made[:, tokens, columns] = new

    handle = part.register_forward_hook(hook)  # from now on, it is in the model
    try:
        return ask()
    finally:  # whatever happens, the model stays as it was
        handle.remove()


# %%
only_cls, others = slice(0, 1), slice(1, None)  # [CLS], and all other tokens
a, b = (replaced(attention, tokens, 0) for tokens in (only_cls, others))
found = f"A, silent for [CLS] alone: {a:+.1f} points\n"
found += f"B, silent for all others: {b:+.1f} points"
feedback.folded(found.replace("-", "−"), guess_paths)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# A does nearly nothing: `[CLS]` looks at itself, and its value is near 0, so there was
# little to silence. **L3H9 counts by a detour:** it changes the vectors of the other
# tokens, and later layers carry that to `[CLS]`. By which of their heads, we have not
# tested.
#
# </details>

# %% [markdown]
# ## 8. Does the head matter for other reviews?
#
# For our sentence the change is certain: ask again, and it is the same. But one
# sentence is no evidence about reviews in general. For that we have the accuracy, which
# changed by about half a point. Is this due to the head, or could it be an accident of
# the reviews that we happen to have?
#
# With 1,000 other reviews the change would come out a little different. So the desk
# draws a bar around it, its **95 % interval**. Make such a bar 100 times, each time
# with other reviews: about 95 of the bars contain the true change, the one in all
# reviews of this kind. **If the bar contains 0, the choice of reviews alone could
# explain the change.**
#
# The next cell silences L3H9 in code, waits until the desk has measured, and puts the
# fader back. On the left is our answer, with black marks where it was before, on the
# right the change of the accuracy with its bar.

# %%
silent = clf.settings()
silent.scale[3, 9] = 0  # L3H9
desk.text, desk.settings = texts[0], silent
shown = desk.wait().picture(faders=False)
desk.undo()
shown

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The bar reaches from about −1.7 to +0.7 points (on other machines each end may differ
# by a tenth). It contains 0: we have no evidence of a change in accuracy. But a loss of
# much more than 2 points would fit these reviews badly, too.
#
# Accuracy is a coarse measure: it changes only where an answer crosses 50 %. The
# close-up has a finer one, and does find a change.
#
# </details>
#
# <details><summary>Check the width of the bar by hand</summary>
#
# About 40 of 1,000 answers changed. If each were gained or lost by the toss of a coin,
# their balance would typically be about √40 ≈ 6 away from 0. Twice that, 12 of 1,000 or
# 1.2 points, is half the bar.
#
# </details>
#
# <details><summary>Why choose a head before you look at its result?</summary>
#
# Of 72 heads without any true effect on accuracy, three or four intervals would still
# exclude 0, by luck. So decide *first* which head you ask about. L3H9 was chosen
# because training changed its attention most (section 4), before its effect on accuracy
# was measured. Its effect on our sentence is another matter: that is the largest of 72,
# and tells nothing about reviews.
#
# </details>

# %% [markdown]
# ## 9. Which layers does `[CLS]` need?
#
# In section 6 `[CLS]` looked at words a little in layer 0, and above all in layer 5.
# Does the answer need what it gets there? Cut off what heads bring to `[CLS]` from
# other tokens: in layers 0 to 4 (cut 1 in the picture), or in layer 5 (cut 3). There
# `[CLS]` gets its own value alone, as if it looked at nothing else. All other tokens
# keep what they get. (Cut 2 is that of section 7.)

# %% folded=true
# the drawing
drawings.three_cuts()

# %% [markdown]
# *Predict first:* of 250 reviews the untouched model gets 222 right, and one that
# always says *negative* 131. Where will each of the two cuts bring it: near 131, near
# 222, or halfway?

# %%
guess_early = ""  # nothing in layers 0 to 4: near "131", near "222", or "halfway"
guess_late = ""  # nothing in layer 5


# %% folded=true
# in the mixtures of [CLS] (row 0): its own value, as if it looked at itself alone
def only_itself(module, inputs, output):
    output[0][0, 0] = module.value(inputs[0])[0, 0]  # of all heads, side by side


# %% folded=true
# “positive” in texts where [CLS] gets nothing from other tokens in these layers
def without_others_for_cls(texts, layers):
    stack = [clf.model.bert.encoder.layer[i].attention.self for i in layers]
    handles = [part.register_forward_hook(only_itself) for part in stack]  # section 7
    try:
        return np.array([clf.predict([text]).probabilities[0, 1] for text in texts])
    finally:  # whatever happens, the model stays as it was
        for handle in handles:
            handle.remove()


# %% folded=true
# the result, once your guess is there
cuts = {"no layer": [], "layer 0": [0], "layers 1 to 4": range(1, 5)}
cuts |= {"layers 0 to 4": range(5), "layer 5": [5], "all layers": range(6)}
both = {"our sentence": texts[0], "the other": texts[1]}
some = reviews.sample(250)
left = feedback.left_over(without_others_for_cls, both, some, cuts)
right = left["right of 250"]
measured = f"{right['layers 0 to 4']} with nothing in layers 0 to 4, "
measured += f"{right['layer 5']} with nothing in layer 5"
left.index.name = "nothing for [CLS] in"
feedback.folded(al.plots.table(left), f"{guess_early} {guess_late}", measured)

# %% [markdown]
# The first two columns hold the probability of “positive” in the two sentences, the
# brackets the 95 % interval of the change: wide where many answers change. The last
# column is the mean probability of the answers to the 250 reviews.
#
# <details><summary>What we saw</summary>
#
# - **Only layer 5 brings something:** both answers stay, and 222 of 250 reviews are
#   right, as many as before.
# - **Only layers 0 to 4 bring something:** 218 are right. But the model is much less
#   sure: 59 % on average, where it was 87 %. Ours is on the edge.
# - **No layer brings anything:** 131, as if it always said *negative*, and 45 % for
#   both sentences. That had to be, since now nothing of the text reaches `[CLS]`.
#
# So words reach `[CLS]` by two routes, in layer 5 and before. For most reviews either
# of them is enough to be right (though without layer 5 the interval reaches to a loss
# of 6 points). Most of the certainty comes with layer 5. (What a cut leaves is new to
# the model and may do harm of its own.)
#
# </details>

# %% [markdown]
# ## 10. What the tour has found
#
# Here are the three cuts once more, with what each leaves of “positive” in our
# sentence. The first changes almost nothing:

# %% folded=true
# the picture: three cuts, and what each leaves of “positive”
early, late = left.loc[["layers 0 to 4", "layer 5"]].iloc[:, 0] / 100
drawings.three_cuts((whole, whole + alone[3, 9] / 100, early, late))

# %% [markdown]
# - **How words become an answer:** tokens become vectors; in each layer heads mix
#   values by attention weights, and a feed-forward network works on each token alone;
#   the read-out takes the vector of `[CLS]`.
# - **How words reach `[CLS]`:** by two routes. What the heads of layer 5 bring is
#   enough for both answers to stay, and for as many reviews to be right. Without it 218
#   of 250 are right, where it was 222: what comes in earlier layers is nearly enough,
#   too, but most of the certainty is gone.
# - **By which path L3H9 counts:** it adds to the vectors of other tokens, and later
#   layers carry that to `[CLS]`.
# - **On which words this wrong answer depends:** left out one at a time, most on
#   *life*, then on *I*. Without one of the two it turns. Without *back*, on which the
#   meaning hangs, it stays the same.
# - **On which heads it depends:** silenced one at a time, only L3H9 of 72 turns it.
#   Others move it by up to about 10 points. With averages in place of zeros L3H9 still
#   moves it most, but no head turns it.
# - **Whether L3H9 matters for other reviews:** in accuracy our 1,000 give no evidence
#   of it. By a finer measure it does.
#
# The close-up (section 14) takes L3H9 apart as a researcher would: it has the averages
# and the finer measure, and silences feed-forward networks, which hold most of the
# learned numbers of a layer and which the answer needs, too.

# %% [markdown]
# ## 11. Now you
#
# Six tasks, 40 minutes in all. Nothing is graded; take those you like.
#
# **1. On paper** (9 minutes). Back to the picture of section 3.
#
# - Another token has the vector (0, 1, 1). What is its query? How do its weights differ
#   from those in the picture?
# - Move the value of *back* from (1, 0) to (2, 0). What is the mixture of the picture
#   now?
# - In the picture of section 2, suppose the old vector is (3, 0), all heads together
#   add (1, 2), and then the feed-forward network adds (−2, 1). What is the new vector,
#   without LayerNorm? What would be left of the old one if parts replaced it instead?
# - A friend says: “In L3H9 most weight among the words goes to *hours*. So the answer
#   depends most on *hours*.” Which experiment of this lesson speaks against it, and
#   what has the friend overlooked? Answer in two sentences.
#
# <details><summary>Hint</summary>
#
# For a query: row by row, as in section 3. For weights: work out the three dot products
# first. Which three numbers does the softmax get now?
#
# </details>
#
# <details><summary>Answers</summary>
#
# - (4, 2): 0 · 0 + 1 · 1 + 1 · 3 and 0 · 1 + 1 · 0 + 1 · 2. That is twice the query in
#   the picture. So all scores are twice as large, and the weights less even: 0.77, 0.05
#   and 0.19.
# - (1.72, 0.42): values are no part of the scores, so that the weights stay, and the
#   first number becomes 0.58 · 2 + 0.14 · 0 + 0.28 · 2. Try it at the desk.
# - (3, 0) + (1, 2) + (−2, 1) = (2, 3). If each part replaced the vector, only (−2, 1)
#   would be left. Of (3, 0) there would be only what the parts have made of it.
# - Section 5: without *hours* “positive” even rises, while without *life* it falls
#   most. A weight says where one head looks, and not how much of what it carries, or of
#   what other heads carry, the answer needs.
#
# </details>

# %% [markdown]
# **2. Write a head** (5 minutes). Section 3 did it for one token that looks. Let
# `mixture` do it for all at once: each argument has a row for every token. The cell
# gives it the numbers of L3H9 and compares with what the model itself makes. (`A @ B`
# multiplies each row of A with each column of B, number by number, and adds up; `A.T`
# has rows and columns exchanged.)


# %%
def mixture(queries, keys, values):  # each (tokens, 32)
    return None  # three lines: scores, weights, mixtures


feedback.mixture(clf, texts[0], mixture)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Row i of the scores holds those of token i with every key: `queries @ keys.T`. What
# are they divided by?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The weights of each row have to sum to 1. Along which `dim` (PyTorch's word for an
# axis) is the softmax?
#
# </details>
#
# <details><summary>Answer</summary>
#
# ```python
# scores = queries @ keys.T / 32**0.5
# weights = torch.softmax(scores, dim=1)
# return weights @ values
# ```
#
# </details>

# %% [markdown]
# **3. Predict, then measure** (4 minutes). How does accuracy on the held-out reviews
# change without these heads? Each line of the cell names what falls silent. Replace its
# `None` by the change that you expect, a loss with a minus: `"L5H9": -2,` says that
# without L5H9 the model gets 2 fewer reviews in 100 right. The cell then moves the
# faders of your desk. Which intervals exclude 0? And compare the last one with cut 3 of
# section 9: what does the desk take away that the cut did not?

# %%
expected = {
    "L5H9": None,  # head 9 of layer 5
    "L0": None,  # all heads of layer 0, the first
    "L5": None,  # all heads of layer 5, the last
}
feedback.silenced(desk, expected)

# %% [markdown]
# <details><summary>What we saw, on all 1,000 held-out reviews</summary>
#
# The interval of L5H9 contains 0. Without the heads of the first layer a point or two
# is lost, and the interval just reaches 0: a loss neither shown nor ruled out. Without
# those of the last layer about 12 points are lost, and the interval is far from 0.
# After layer 5 only `[CLS]` is read. So the difference from section 9, apart from that
# of the reviews, is what `[CLS]` takes from itself. That brings no word that had not
# reached it before, and yet it counts. How much of the loss is due to the zeros
# themselves, this does not tell (section 14). Lesson 06 tries all heads.
#
# </details>

# %% [markdown]
# **4. Design a mistake** (6 minutes). Write a complaint that the model takes for
# praise, ideally one where a single word decides. Say what the model will answer before
# you run the cell.

# %%
my_text = ""  # your complaint
guess = ""  # what will the model answer: "negative" or "positive"?
feedback.designed(clf, my_text, "negative", guess)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A person needs to understand the complaint, but it must contain no word of blame. What
# do you praise when you cannot praise the film?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Praise something other than the film: the seats, your own sofa, the moment when it
# ended. If no single word turns the answer, you have praised too much: use one friendly
# word.
#
# </details>
#
# <details><summary>Two that we found</summary>
#
# “My favourite scene was the end credits.” hangs on *My* or *favourite*. “It made me
# love my own sofa, my own kitchen and silence.” hangs on *love*.
#
# </details>

# %% [markdown]
# **5. Write a loop** (8 minutes). Which heads does the answer to *your* sentence need?
# Fill `ranked` with the names of all 72 heads, such as `"L3H9"`, the largest effect
# first, whether “positive” falls or rises. Six short lines will do; `effect` of section
# 7 measures one head. Is L3H9 first for your sentence too?

# %%
sentence = my_text or "My favourite scene was the end credits."
ranked = []
# your lines

feedback.ranking(clf, sentence, ranked)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two loops, one inside the other: over `range(clf.layers)` and `range(clf.heads)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Collect pairs in a list: the size `abs(effect(sentence, layer, head))`, and the name
# `f"L{layer}H{head}"`.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# `sorted(pairs, reverse=True)` puts the pair with the largest size first. Then keep the
# names only.
#
# </details>
#
# <details><summary>One way to write it, and what we saw</summary>
#
# ```python
# pairs = []
# for layer in range(clf.layers):
#     for head in range(clf.heads):
#         size = abs(effect(sentence, layer, head))
#         pairs.append((size, f"L{layer}H{head}"))
# ranked = [name for size, name in sorted(pairs, reverse=True)]
# ```
#
# For “My favourite scene was the end credits.” other heads lead, and none turns the
# answer alone. Which heads an answer needs depends on the sentence, and on how far its
# answer is from 50 %.
#
# </details>

# %% [markdown]
# **6. Search for a repair** (7 minutes). Turn our first sentence to “negative” without
# using L3H9's fader. Do the effects of several heads add up? And how does accuracy on
# the held-out reviews change? Write an expected loss with a minus sign, as in task 3.

# %%
faders, expected = {}, None  # such as {"L1H11": 2}, and the change in points: -1
desk.text = texts[0]  # if you have typed another one
feedback.repair(desk, faders, expected, alone)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start from the map of section 7. Which heads, silent, move “positive” down most? Put
# three of them at 0: their numbers have to add up to about −25.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A head whose number is red is of use as well: doubled, it should lower “positive”
# about as much as silence raises it.
#
# </details>
#
# <details><summary>A repair that we found</summary>
#
# `{"L3H2": 0, "L4H3": 0, "L1H11": 2}`. By the map “positive” would go to 46 %; it goes
# to about 43 %. Most of the difference is L1H11: doubled it moves the answer by 10.6
# points, not by the 8.6 that the map suggests. With the three effects measured one at a
# time the sum is 44 %, close to what the three do together.
#
# Its cost on the reviews is small, with 0 inside the interval. That repairs one
# sentence, not the model.
#
# </details>

# %% [markdown]
# ## 12. Try it yourself
#
# Two problems without answers here; each says how you know that you are right.
#
# 1. **Two heads.** Is there a pair of heads, without L3H9, that turns our answer when
#    both are silent? Start from `effect` of section 7. You are right if you can name a
#    pair, or have tried all 2,485.
# 2. **Any text?** Does L0H2 look at the token before in *every* text: in nonsense, in
#    one word ten times over? Its weights on the token before are
#    `clf.attend(text).weights[0, 2].diagonal(-1)`. Search for a text in which their
#    mean is below 0.9. You are done when you can show one, or have tried 20 texts of
#    three kinds and name the lowest mean.

# %% [markdown]
# ## 13. The lessons
#
# In the lessons you write the code yourself, and a cell such as
# `al.checks.softmax(softmax)` says what is right or wrong. Take all twelve in this
# order, or choose.

# %% [markdown]
# | lesson | you learn | minutes |
# | --- | --- | --- |
# | [01 Maths](01_attention_maths.ipynb) | what a head computes, derived | 180 |
# | [02 From scratch](02_attention_from_scratch.ipynb) | BERT's layers, rebuilt | 120 |
# | [03 Translation](03_translation.ipynb) | to read one language, write another | 120 |
# | [04 Language model](04_language_model.ipynb) | a small model that writes | 150 |
# | [05 Fine-tuning](05_finetune_bert.ipynb) | to teach BERT a task | 135 |
# | [06 Head mixing](06_head_mixing.ipynb) | which heads matter | 150 |
# | [07 Balance](07_attention_balance.ipynb) | how attention is spread | 80 |
# | [08 Economics](08_attention_economics.ipynb) | the best within a budget | 150 |
# | [09 Compression](09_compression.ipynb) | what can be taken away | 140 |
# | [10 Beyond text](10_beyond_text.ipynb) | attention to pictures | 150 |
# | [11 Adaptive](11_adaptive_attention.ipynb) | attention that adapts | 150 |
# | [12 Capstone](12_capstone.ipynb) | to judge claims and results | 120 |
#
# **Next:** [lesson 01](01_attention_maths.ipynb) derives what a head computes. Below
# stand the close-up of L3H9, and appendices for those who want to move faders in code
# or to check ours.
#
# **Where this comes from:**
#
# - the models: the Transformer ([Vaswani et al.
#   2017](https://arxiv.org/abs/1706.03762)), BERT ([Devlin et al.
#   2019](https://arxiv.org/abs/1810.04805)), MiniLM ([Wang et al.
#   2020](https://arxiv.org/abs/2002.10957));
# - looking: *What Does BERT Look At?* ([Clark et al.
#   2019](https://arxiv.org/abs/1906.04341)), bertviz ([Vig
#   2019](https://arxiv.org/abs/1906.05714)), weights times values ([Kobayashi et al.
#   2020](https://arxiv.org/abs/2004.10102)), attention sinks ([Xiao et al.
#   2023](https://arxiv.org/abs/2309.17453)), the logit lens (nostalgebraist 2020);
# - doubting: *Attention is not Explanation* ([Jain and Wallace
#   2019](https://arxiv.org/abs/1902.10186)) and *Attention is not not Explanation*
#   ([Wiegreffe and Pinter 2019](https://arxiv.org/abs/1908.04626));
# - changing: heads taken away ([Michel et al. 2019](https://arxiv.org/abs/1905.10650)),
#   patching ([Zhang and Nanda 2024](https://arxiv.org/abs/2309.16042)).

# %% [markdown]
# ## 14. Close-up: what does L3H9 do?
#
# An hour for those who want to know more about one head, and how to find it out.
#
# ### Four ways to cut
#
# A fader silences a head everywhere at once. The hooks of section 7 cut finer. Here are
# four ways to cut L3H9; A and B are those of section 7:

# %% folded=true
# the drawing
drawings.cuts_in_a_head()

# %% [markdown]
# On the left of each picture are the values of the tokens, on the right what the head
# makes of them for each token that looks.
#
# ### Where does it read, and where does it write? (C and D)
#
# Two experiments with each token. Set its *value* in L3H9 to 0, for all that look at it
# (C): does the head read there? And silence the head for this token alone (D): does it
# write there? *Predict first:* at which word does the head look most (section 6)? Is
# that the word it reads?

# %%
guess_word = ""  # the word whose value counts most

# %%
every = range(len(maps.tokens))
read = [replaced(attention.value, token, 0) for token in every]
written = [replaced(attention, token, 0) for token in every]

# %% folded=true
# the picture: a bar and a dot for each token, with its mean weight
looked = maps.weights[3, 9, 1:].mean(0)  # over all who look but [CLS]
named = [
    f"{name}  {weight:.2f}" for name, weight in zip(maps.tokens, looked, strict=True)
]
ways = {"C, its value at 0 (read)": read, "D, head silent for it (written)": written}
label = "change of “positive” (percentage points)"
picture = al.plots.word_changes(named, ways, label=label)
feedback.folded(picture, guess_word, measured=f"“{maps.tokens[np.argmin(read)]}”")

# %% [markdown]
# The number after each token is its mean weight, over all tokens that look except
# `[CLS]`.
#
# <details><summary>What we saw</summary>
#
# **What it takes from *life*, *my* and *of* matters most** (bars). **What it brings
# counts a little at nearly every token,** most at *two* and *hours* (dots), though it
# brings more to *i*: a length of 3.1, against 2.7 at *hours* (step 6 of section 4). No
# single token turns the answer. *Back* again counts for little. (By layer 3 the vector
# at *life* has taken something from other tokens, too.)
#
# *Hours* gets the most weight, 0.19, yet without its value “positive” falls by only 2
# points; *life* gets 0.10, and without its value “positive” falls by 9. **An attention
# weight says where a head looks, not how much the answer needs it.**
#
# </details>
#
# ### Gone, or as on average?
#
# In training this head was never zero at all tokens at once. In B it is, at all but
# `[CLS]`. So the gap may do harm of its own. A second test, *mean ablation*, fills it
# with what the head makes on average, over all tokens but `[CLS]` of 200 reviews that
# it was trained on.

# %% folded=true
# the mean mixtures of all heads, and the mean values of layer 3
made = {part: ([], []) for part in (*parts, attention.value)}  # [CLS], other tokens


def keep(module, inputs, output):
    rows = (output[0] if module in parts else output)[0]
    made[module][0].append(rows[:1])
    made[module][1].append(rows[1:])


# %% folded=true
# what they make of 200 reviews
train = al.datasets.load("movie-sentiment").train
handles = [part.register_forward_hook(keep) for part in made]
for review in train.sample(200).texts:
    clf.predict([review])
for handle in handles:
    handle.remove()
cls_means, means = (
    {part: torch.cat(kept[which]).mean(0) for part, kept in made.items()}
    for which in (0, 1)
)

# %%
of_my_life, two_hours = (
    [maps.tokens.index(word) for word in phrase.split()]
    for phrase in ("of my life", "two hours")
)
rest = [token for token in every if token not in (0, *of_my_life)]
cuts = {
    "head, for all but [CLS]": (attention, others),
    "head, for “two” and “hours”": (attention, two_hours),
    "values of “of”, “my”, “life”": (attention.value, of_my_life),
    "all other values but [CLS]": (attention.value, rest),
}

# %%
zeros, averages = (
    [
        replaced(part, tokens, share * means[part][head_9])
        for part, tokens in cuts.values()
    ]
    for share in (0, 1)
)

# %% folded=true
# the picture: four cuts, with zeros and with means, and both numbers behind each
ways = {"with zeros": zeros, "with means": averages}
named = [
    f"{name}  {zero:.0f}, {average:.0f}".replace("-", "−")
    for name, zero, average in zip(cuts, zeros, averages, strict=True)
]
al.plots.word_changes(named, ways, turn=50 - 100 * whole, label=label)

# %% [markdown]
# **With its mean in its place “positive” falls little more than half as far, and the
# answer does not turn** (that takes 25 points). Neither number is *the* effect: zeros
# and one mean for all tokens are both unlike what the model meets. Rely only on what
# both say: the head, what it takes from *of*, *my* and *life*, and what it makes for
# *two* and *hours* raise “positive”. About the other values they disagree: even the
# sign differs. (Lesson 06 compares the two tests for all heads. A third one, patching,
# comes at the end: it puts in what the head makes in a *real* sentence.)
#
# Is L3H9 still the only head that counts so much? Each head at its mean (`[CLS]` gets
# the mean of all `[CLS]`):

# %%
at_mean = np.zeros((clf.layers, clf.heads))
for layer, head in np.ndindex(at_mean.shape):
    part, columns = parts[layer], slice(32 * head, 32 * head + 32)
    rest_of_it = means[part][columns].expand(len(maps.tokens) - 1, -1)
    new = torch.cat([cls_means[part][None, columns], rest_of_it])
    at_mean[layer, head] = replaced(part, slice(None), new, columns)

# %% folded=true
# the picture: the effect of every head at its mean
title = "Change of “positive” with each head at its mean"
al.plots.head_map(at_mean, label="change, percentage points", title=title)

# %% [markdown]
# Now no head turns the answer alone. L3H9 still moves it most: by −16.9 points, not
# quite twice the −9.1 of L1H8. (With zeros it was more than three times the next.) Mind
# the scale: this picture's deepest blue is half of section 7's.

# %% [markdown]
# ### Does it matter for other reviews?
#
# Accuracy changes only where an answer crosses 50 %. The **log-odds** of “positive” are
# a finer measure: log(p / (1 − p)), if p is its probability (log is the natural
# logarithm, to base e). They are 0 at 50 % and grow without bound towards 100 %. Our
# 75 % is log-odds of 1.08; without L3H9 they fall by 1.40 to −0.32, which is 42 %.
# (They are the difference of two **logits**, the numbers that the read-out makes for
# the labels.)
#
# How far do the log-odds move without L3H9, in praise and in complaints? And without
# the other heads of its layer?
# %%
from attnlab.statistics import mean_interval

few = reviews.sample(min(count, 250))


def log_odds(texts, settings=None):
    p = clf.predict(texts, settings).probabilities
    return np.log(p[:, 1] / p[:, 0])  # of “positive”


# %%
before, moved = log_odds(few.texts), {}
for head in range(clf.heads):
    without = clf.settings()
    without.scale[3, head] = 0
    moved[f"L3H{head}"] = log_odds(few.texts, without) - before

# %% folded=true
# the picture: the mean change in praise and in complaints, for each head of the layer
praised = np.array(few.labels) == 1
kinds = {"reviews of praise": praised, "complaints": ~praised}
ways = {
    f"in {which.sum()} {kind}": [head[which].mean() for head in moved.values()]
    for kind, which in kinds.items()
}
al.plots.word_changes(list(moved), ways, label="mean change of the log-odds")

# %% [markdown]
# For comparison, our sentence, a complaint:

# %% folded=true
# our sentence, and how many reviews fall as far
ours = (log_odds(texts[:1], silent) - log_odds(texts[:1]))[0]
print(f"our sentence, L3H9 silent: {ours:+.2f}. Falling as far:".replace("-", "−"))
as_far = moved["L3H9"] <= ours
print(f"  {as_far[praised].mean():.0%} of the reviews of praise")
print(f"  {as_far[~praised].mean():.0%} of the complaints")

# %% [markdown]
# **So the head does matter for other reviews: with zeros in its place “positive” falls
# where there is praise.** With any other head of its layer silent it falls less than a
# fifth as far. In complaints none of these heads moves the mean much. (Our sentence, a
# complaint, falls further than most reviews of praise.)
#
# Is that the head, or the zeros in its place? Fill it with its mean, too, and with more
# reviews:

# %%
held_out, cut = reviews.sample(count), {}
untouched = log_odds(held_out.texts)
for name, share in {"with zeros": 0, "with means": 1}.items():
    new = share * means[attention][head_9]
    after = replaced(attention, others, new, ask=lambda: log_odds(held_out.texts))
    cut[f"L3H9 {name}, for all but [CLS]"] = after - untouched


# %% folded=true
# a table of changes: the mean in praise and in complaints, each with its interval
def by_kind(cut, labels):
    rows, kinds = [], {"reviews of praise": labels == 1, "complaints": labels == 0}
    for name, moves in cut.items():
        rows.append([name])
        for which in kinds.values():
            mean, (low, high) = moves[which].mean(), mean_interval(moves[which])
            told = f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"
            rows[-1].append(told.replace("-0.00", "0.00").replace("-", "−"))
    columns = ["head", *(f"{which.sum()} {kind}" for kind, which in kinds.items())]
    return al.plots.table(pd.DataFrame(rows, columns=columns)).hide(axis="index")


# %%
by_kind(cut, np.array(held_out.labels))

# %% [markdown]
# Each cell is the mean change of the log-odds of “positive”, with its 95 % interval in
# brackets. How far apart do praise and complaints stand, and how does each cut change
# that?


# %% folded=true
# the distance of praise and complaints, and how each cut changes it
def gap(values):
    praised = np.array(held_out.labels) == 1
    high, low = values[praised], values[~praised]
    error = 2 * np.sqrt(high.var() / len(high) + low.var() / len(low))
    return f"{high.mean() - low.mean():+.2f} ± {error:.2f}".replace("-", "−")


print("distance of praise and complaints, untouched:", gap(untouched))
for name, change_of_it in cut.items():
    print(f"change of this distance, {name}:", gap(change_of_it))

# %% [markdown]
# (± is about the 95 % interval again.)
#
# In both kinds of reviews zeros lower “positive” by some 0.38 more than means do: that
# is roughly the effect of the head's average output, which zeros remove as well. In
# complaints the two disagree: with zeros “positive” hardly moves, with means it rises.
#
# On the distance between praise and complaints they agree. Untouched it is 5.01
# log-odds; each cut makes it smaller by 0.87 or 0.88, about a sixth. Both put the same
# numbers at every token of every review and so remove the same thing, all that varies:
# their agreement is no second proof. **What the head makes differently from review to
# review, and from token to token, drives praise and complaints apart.**
#
# And how typical is our sentence? Take the wrong answers among the 250 reviews, and
# silence each head in turn:

# %%
given = clf.predict(few.texts).probabilities.argmax(1)
wrong = np.flatnonzero(given != few.labels)
mended = np.zeros((clf.layers, clf.heads, len(wrong)), dtype=bool)
for layer, head in np.ndindex(clf.layers, clf.heads):
    without = clf.settings()
    without.scale[layer, head] = 0
    now = clf.predict([few.texts[i] for i in wrong], without).probabilities.argmax(1)
    mended[layer, head] = now != given[wrong]

print(f"{len(wrong)} wrong answers of {len(few)}")
print(f"{mended.any((0, 1)).sum()} of them turn without some single head,", end=" ")
print(
    f"{mended[3, 9].sum()} without L3H9; no head turns more than {mended.sum(2).max()}"
)

# %% [markdown]
# No single head, when silenced, corrects more of the 28 than L3H9 does, and that is 3.
# Ours is a clear case, not a common one. But 9 of the 28 turn without *some* head, the
# best of 72 tries for each.
#
# ### And the other half of a layer?
#
# Heads are only one part. *Predict first:* in how many of the six layers does the
# answer change more without the heads than without the feed-forward network?

# %%
guess_half = ""  # in how many of the 6 layers do the heads count for more?

# %%
everywhere, stack = slice(None), clf.model.bert.encoder.layer
added = {
    "feed-forward at 0": [layer.output.dense for layer in stack],
    "all heads at 0": [layer.attention.output.dense for layer in stack],
}
ways = {
    name: [replaced(part, everywhere, 0, everywhere) for part in made_by]
    for name, made_by in added.items()
}

# %% folded=true
# the picture: a bar and a dot for each layer
layers = [f"layer {number}" for number in range(clf.layers)]
picture = al.plots.word_changes(layers, ways, turn=50 - 100 * whole, label=label)
networks, heads = np.abs(list(ways.values()))
more = f"in {(heads > networks).sum()} of {clf.layers} layers"
feedback.folded(picture, guess_half, measured=more)

# %% [markdown]
# <details><summary>What we saw</summary>
#
# **For this sentence both halves count:** “positive” falls furthest without the
# feed-forward network of layer 2, before L3H9 is reached; in layers 0 and 3 to 5 it
# falls further without the heads. (These are zeros again, and many at once.)
#
# </details>
#
# ### Is it the word *life*?
#
# Put another noun in its place. *Predict first:* with which of these does the model no
# longer fall for the sentence? The next cell lists them.

# %%
nouns = ["day", "evening", "family", "job", "life", "lunch"]
nouns += ["money", "salary", "sleep", "time", "week", "world"]
guess_nouns = ""  # such as "day, lunch"
swapped = [texts[0].replace("life", noun) for noun in nouns]


def above_half():
    return 100 * clf.predict(swapped).probabilities[:, 1] - 50


new = means[attention][head_9]
above = {
    "as trained": above_half(),
    "L3H9 at its mean": replaced(attention, others, new, ask=above_half),
}

# %% folded=true
# the picture: twelve nouns, with L3H9 as trained and at its mean
label = "probability of “positive”, points above 50 %"
picture = al.plots.word_changes(nouns, above, label=label)
turned = [n for n, points in zip(nouns, above["as trained"], strict=True) if points < 0]
feedback.folded(picture, guess_nouns, measured=", ".join(turned))

# %% [markdown]
# To the right of 0 the answer is “positive” (bars as trained, dots with L3H9 at its
# mean).
#
# <details><summary>What we saw</summary>
#
# **Some other nouns do what *life* does**, such as *time* or *day*; with *salary* or
# *money* the answer turns. (We chose them by hand, so five of eleven says nothing about
# nouns in general.) With L3H9 at its mean “positive” falls with all six that fool the
# model, so the head does not respond to *life* alone. It also falls with *job* and
# *week*. With *lunch*, *money*, *salary* and *sleep* it hardly moves: there the head's
# difference from its average hardly matters for the answer.
#
# </details>
#
# ### Why these words?
#
# The model has learned what counts as praise, first from general text, then from
# reviews. Those we can count: how many of the reviews with the word *life* are praise?

# %%
import re

praise = np.array(train.labels)  # 1: praise, 0: complaint
written_in = [set(re.findall(r"\w+", text.lower())) for text in train.texts]
holds = np.array([[word.lower() in text for text in written_in] for word in words[:-1]])

# %% folded=true
# the picture: the share of praise for each word, beside section 5
al.plots.word_shares(
    words[:-1],
    holds @ praise,
    holds.sum(1),
    change[:-1],
    overall=praise.mean(),
    labels=(
        "praise in reviews with it (%)",
        "change of “positive” without it (points)",
    ),
)

# %% [markdown]
# Left: the share of praise among the reviews with the word (in brackets: how many),
# with its 95 % interval; the dotted line is the share among all reviews. A share is
# *clear* if its interval does not include the dotted line. Right: the bars for each
# word left out. A word *fits* if “positive” falls without a word of praise, or rises
# without one of complaint.
#
# *Life*, the word that counts most, occurs mostly in praise, *would* and *hours* mostly
# in complaints: in these three the two pictures agree. *Back* appears in both about
# equally and does nothing, though for us it turns the meaning. But *I* and *like* stand
# mostly in complaints, and yet “positive” falls without them. Of eight words with a
# clear share five fit, which a coin could do, too. So this is at most a *correlation*,
# two things that go together, and not all that the model has learned. To prove a cause,
# change the reviews and train again.

# %% [markdown]
# ### Your turn: patch a head (20 minutes)
#
# Zeros and means are made up. So borrow from a real sentence: with *salary* in place of
# *life* the model no longer falls for it. Which head carries the difference? Run our
# sentence, but with what **one** head makes in the other, at every token. That is
# *activation patching* (an *activation* is what a part makes). Write down first how
# much of the difference goes through L3H9, and with how many of eight such *twins* it
# carries most.

# %%
twin = texts[0].replace("life", "salary")
for text in (texts[0], twin):
    print(f"{clf.predict([text]).probabilities[0, 1]:.0%} “positive”: {text}")
drawings.patching("… my salary that …", "… my life that …", "“positive”")


# %%
def patched(text, twin, layer, head):
    """Change of “positive” in points, with this head's mixtures taken from twin."""
    # the part: clf.model.bert.encoder.layer[layer].attention.self
    # its output[0]: (1, tokens, 384); this head's columns: 32 * head to 32 * (head + 1)
    # a hook that keeps them while the model reads twin
    # a hook that writes them into output[0] while it reads text
    return None


feedback.patched(clf, texts[0], twin, patched)

# %%
my_points, my_count = None, None  # through L3H9, a fall with a minus; twins of eight

# %% folded=true
# the picture, once your guess is there: your patch for each head, or ours
from IPython.display import display

title = "Change of “positive” with one head from the other sentence"
if my_points is None:
    print("Write your two guesses into the cell above first.")
else:
    grid = feedback.patches(clf, texts[0], twin, patched)
    display(al.plots.head_map(grid, label="change, percentage points", title=title))

# %% folded=true
# the table, once your guess is there: eight twins that we chose by hand
rows = []
for word in ["salary", "money", "wife", "week", "house", "time", "day", "weekend"]:
    if my_count is None:
        break
    other = texts[0].replace("life", word)
    grid = feedback.patches(clf, texts[0], other, patched, told=False)
    leads = np.unravel_index(np.abs(grid).argmax(), grid.shape)
    points = 100 * (clf.predict([other]).probabilities[0, 1] - whole)
    rows.append([word, points, grid[3, 9], f"L{leads[0]}H{leads[1]}", grid[leads]])
columns = ["noun", "difference", "through L3H9", "leading head", "its part"]
if rows:
    display(al.plots.table(pd.DataFrame(rows, columns=columns)).hide(axis="index"))

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A hook is a function of `(module, inputs, output)`. It is in the model from
# `handle = attention.register_forward_hook(hook)` until `handle.remove()`. Between the
# two, let the model read: `clf.predict([twin])`. `replaced` above is an example.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep a copy: `kept.append(output[0].clone())`, with `kept = []` before. The second
# hook has one line: `output[0][:, :, columns] = kept[0][:, :, columns]`.
#
# </details>
#
# <details><summary>Hint 3</summary>
#
# Ask for “positive” in `text` before any hook is in the model, and again while the
# second one is. Points are hundredths.
#
# </details>
#
# <details><summary>Answer</summary>
#
# ```python
# attention = clf.model.bert.encoder.layer[layer].attention.self
# columns = slice(32 * head, 32 * (head + 1))
# kept, before = [], clf.predict([text]).probabilities[0, 1]
# def keep(module, inputs, output):
#     kept.append(output[0].clone())
# def put(module, inputs, output):
#     output[0][:, :, columns] = kept[0][:, :, columns]
# handle = attention.register_forward_hook(keep)
# clf.predict([twin])
# handle.remove()
# handle = attention.register_forward_hook(put)
# after = clf.predict([text]).probabilities[0, 1]
# handle.remove()
# return 100 * (after - before)
# ```
#
# </details>
#
# <details><summary>What we saw</summary>
#
# Of the 49 points between the two sentences, L3H9 alone accounts for 17, more than any
# other head; L5H10 and L4H3 follow with about 10 each. The 72 numbers need not add up
# to 49: a change in an early layer also passes through the heads after it, and near
# 50 % a small change of the logits moves the probability more than near 100 %.
#
# L3H9 leads with six of the eight twins, not with *day* and *weekend*. One twin would
# not have told you that. (*Salary* is in no review that the model was trained on.)
#
# The other way round, `patched(twin, texts[0], 3, 9)`, what L3H9 makes of *life* brings
# back 8 of the 49 points. In neither direction does L3H9 alone turn the answer: it
# carries a part of the difference.
#
# </details>

# %% [markdown]
# ### What the close-up adds
#
# Section 10 says what the tour has found. Why does the model take this complaint for
# praise? With the close-up and the tasks you can say more:
#
# - **shown:** what L3H9 takes from *of*, *my* and *life* raises “positive”, by 24
#   points with zeros and 15 with means. Its mean in its place does not turn the answer;
# - **for other reviews:** yes, it matters. Without all that it makes differently from
#   review to review and from token to token, the log-odds of praise and of complaints
#   lie about a sixth closer together. But silencing a single head turns at most 3 of 28
#   mistakes;
# - **seen with nouns that we chose by hand:** some do what *life* does; patched alone,
#   L3H9 moves the answer most with six of eight (patching);
# - **only a correlation:** in the training reviews *life* occurs mostly in praise; but
#   *I* and *like* do not fit;
# - **other heads can do it together:** two silent and one doubled turn the answer
#   without L3H9 (task 6);
# - **the other half:** with zeros for the feed-forward network of layer 2, “positive”
#   falls by more than without all heads of any one layer;
# - **open:** how the words work together, by which later heads the work of L3H9 reaches
#   `[CLS]`, and what the feed-forward networks compute.

# %% [markdown]
# ## Appendix A. Faders in code
#
# Faders can also be set in code. Every call inside the `with` block uses the changed
# model.
#
# Here all heads of the last layer are silent.

# %%
settings = clf.settings()
settings.scale[clf.layers - 1] = 0  # all heads of the last layer

with al.heads.applied(clf, settings):
    changed = clf.predict(texts)

# %% folded=true
# both answers, before and after
print("“positive”, as trained and with the heads of the last layer silent:")
pairs = zip(texts, answers.probabilities, changed.probabilities, strict=True)
for text, before, after in pairs:
    print(f"{before[1]:.0%} -> {after[1]:.0%}  {text}")

# %% folded=true
# the same on held-out reviews
print(f"On {len(held_out):,} held-out reviews:")
for name, how in {"as trained": None, "last layer's heads silent": settings}.items():
    found = clf.predict(held_out.texts, how).probabilities
    right = (found.argmax(1) == held_out.labels).mean()
    print(f"{right:.0%} right, on average {found.max(1).mean():.0%} sure ({name})")
commoner = np.bincount(held_out.labels).max() / len(held_out)
print(f"{commoner:.0%} right (always the commoner label)")

# %% [markdown]
# Both probabilities fall to about 50 %. Is the model guessing now? No: far more answers
# are right than if it always gave the same one.
#
# So part of the answer reaches `[CLS]` without these heads. But most of its *certainty*
# depends on them, or is lost to zeros that the model never met (section 14).
#
# Without them nearly all answers are unsure, right or wrong. So this tells nothing that
# is special to our one mistake.
#
# To keep what you found at the desk of section 7, move something there, then run this
# cell (or press *More controls* and *Copy as code* at the desk):

# %%
print(desk.settings.to_code())

# %% [markdown]
# ## Appendix B. Is the control real?
#
# All this rests on faders that do what they say. `self_check` tries the fader of L3H9
# on made-up tokens. It compares logits, the numbers that the read-out makes. Three of
# the differences should be 0, and one should not:

# %%
found = al.heads.self_check(clf, head_id=(3, 9))

# %% folded=true
# the four differences
for name, told in {
    "neutral - untouched": "all faders at 1, against the untouched model",
    "scale 0 - columns removed": "a head at 0, against that head cut out by hand",
    "scale 0 - neutral": "a head at 0, against all at 1 (must not be 0)",
    "afterwards - before": "the model afterwards, against the model before",
}.items():
    print(f"largest difference of a logit {found[name]:.2g}: {told}")

# %% [markdown]
# So the control of L3H9 is real: faders at 1 change nothing, silent is as good as cut
# out, and afterwards the model is as before.

# %% [markdown]
# ## Appendix C. The word, or the gap that it leaves?
#
# Without *I* the sentence of section 5 is no longer English, and all later words move
# up one place: the gap itself may confuse the model. So we put `[MASK]` in the word's
# place, which also keeps the places. BERT, from which models like ours descend, learned
# to read with words hidden behind `[MASK]`. Ours was trained further on whole
# sentences, and may have forgotten what it stands for: take it as a blank.

# %%
masked = [" ".join([*words[:i], "[MASK]", *words[i + 1 :]]) for i in range(len(words))]
hidden = 100 * (clf.predict(masked).probabilities[:, 1] - whole)

# %% folded=true
# the picture: left out beside masked
both = {"left out": change, "[MASK] instead": hidden}
label = "change of “positive” (percentage points)"
al.plots.word_changes(words, both, turn=50 - 100 * whole, label=label)

# %% [markdown]
# A bar is the sentence without that word, a dot the one with `[MASK]` in its place.
# *life* and *I* turn the answer either way; *I* only just with `[MASK]`, and *that*
# nearly does.
#
# Where bar and dot agree, the shift of the later words explains little, though `[MASK]`
# may disturb the model too. For *like* and *that* they differ much: there, how the word
# is taken away counts. This does not show why *life* and *I* turn the answer.
