"""Checks of lesson 07, attention balance."""

import functools
import math
import numbers
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    CheckFailed,
    Draw,
    Exercise,
    a_number,
    a_pair,
    a_tensor,
    compare,
    require,
    same,
    some_numbers,
    where,
)

Held = Generator[str, None, None]


# --- normalised_entropy --------------------------------------------------------------------------


def normalised_entropy(answer: Answer, draw: Draw) -> Held:
    """``normalised_entropy(weights, mask)``: how evenly each head spreads its weight, from 0 to 1."""
    tokens = 6
    weights, mask = _texts(draw, lengths=[tokens])
    nats = torch.special.entr(weights).sum(-1)  # (B, H, T)
    right = nats.mean((0, 2)) / math.log(tokens)
    added = {
        f"{extra:g} is added to the weights to save the logarithm; that is so much that it shows.\n"
        "How small can it be?": (
            lambda extra=extra: (
                -(weights * (weights + extra).log()).sum(-1).mean((0, 2)) / math.log(tokens)
            )
        )
        for extra in (0.1, 0.01, 0.001)
    }
    compare(
        _of_heads(answer, weights, mask),
        right,
        {
            "That is the entropy in nats, as it is: in a longer text it can be larger.\n"
            "How large can it be with n keys, and where do you divide by that?": (
                lambda: right * math.log(tokens)
            ),
            "That is the entropy in bits, as it is: in a longer text it can be larger.\n"
            "How large can it be with n keys, and where do you divide by that?": (
                lambda: right * math.log2(tokens)
            ),
            "The entropy is in bits, and what you divide by is in nats.\n"
            "Which logarithm must both have, so that the unit drops out?": (
                lambda: right / math.log(2)
            ),
            "The entropy is in nats, and what you divide by is in bits.\n"
            "Which logarithm must both have, so that the unit drops out?": (
                lambda: right * math.log(2)
            ),
            "It is negative: log w is below 0 for weights below 1.\nWhere does the minus sign go?": (
                lambda: -right
            ),
            "The entropy is divided by the number of keys.\n"
            "What is the entropy of n equal weights, n or log n?": lambda: (
                right * math.log(tokens) / tokens
            ),
            "You divide by log(n + 1), so that equal weights do not give 1.\n"
            "What is the entropy of n equal weights?": lambda: (
                right * math.log(tokens) / math.log(tokens + 1)
            ),
            "That is the effective number of keys, exp(entropy), as a share of all.\n"
            "A good measure, too; but which one does the docstring name?": (
                lambda: nats.exp().mean((0, 2)) / tokens
            ),
            "That is the effective number of keys, exp(entropy).\n"
            "A good measure, too; but which one does the docstring name?": (
                lambda: nats.exp().mean((0, 2))
            ),
            "The result is turned round: 1 for a head that looks at one key only.\n"
            "Which head should get 1?": lambda: 1 - right,
            "The queries are added up.\nA mean over them: by what must the sum be divided?": (
                lambda: right * tokens
            ),
            "The mean over the keys is taken where a sum is due.\n"
            "The weights weigh the keys already: what is left to divide by?": lambda: (
                right / tokens
            ),
            **added,
        },
        "For one text without padding the result is wrong.\n"
        "The entropy of each query, divided by the largest it can be, and the mean: which step differs?",
        tolerance=1e-4,
    )
    yield "without padding: entropy over its largest value, the mean of each head's queries"

    weights, mask = _texts(draw, lengths=[5, 2, 7, 4])
    tokens, lengths, count = weights.shape[-1], mask.sum(-1), mask.sum()
    nats = torch.special.entr(weights).sum(-1)  # (B, H, T)
    most = lengths.log()[:, None, None]
    share, real = nats / most, mask[:, None]

    def over(each: Tensor) -> Tensor:
        """The mean over texts of the mean over their real queries, (H,)."""
        return ((each * real).sum(2) / lengths[:, None]).mean(0)

    def total(each: Tensor) -> Tensor:
        return (each * real).sum((0, 2))  # (H,)

    result = _of_heads(answer, weights, mask)
    require(
        not result.isnan().any(),
        "With padding there is NaN: a padded key has weight 0, its logarithm is -inf, and 0 times that is NaN.\n"
        "What can you do to the weights before the logarithm, so that such a key adds 0?",
    )
    compare(
        result,
        over(share),
        {
            f"Padding is counted as keys: you divide by log {tokens}, the width of the batch, so that short texts "
            "never reach 1.\nAt how many keys can a query of a text look?": lambda: (
                over(nats) / math.log(tokens)
            ),
            "The rows of padding go into the mean. They look somewhere, too, but nobody reads them.\n"
            "Which rows does `mask` mark?": lambda: share.mean((0, 2)),
            "Padding is counted as keys, and its rows go into the mean.\n"
            "Where do you use `mask`?": lambda: nats.mean((0, 2)) / math.log(tokens),
            "The real queries are added up and divided by the number of all, padding and all.\n"
            "How many queries are there in the mean of a text?": lambda: (
                total(share) / mask.numel()
            ),
            "The rows of padding are added up, and the sum is divided by the number of real ones.\n"
            "Which rows does `mask` mark?": lambda: (share.sum(2) / lengths[:, None]).mean(0),
            "That is the mean over all real queries of the batch: a long text counts for more than a short one.\n"
            "If every text counts the same, which mean comes first?": lambda: total(share) / count,
            "Padding is counted as keys, and a long text counts for more than a short one.\n"
            "At how many keys can a query of a text look, and which mean comes first?": lambda: (
                total(nats) / count / math.log(tokens)
            ),
            "The mean entropy of the texts is divided by the mean of its largest values.\n"
            "Short texts have another largest value than long ones: when must you divide?": lambda: (
                over(nats) / most.mean()
            ),
            "The entropies of all queries are added up, and divided by the sum of their largest values.\n"
            "Short texts have another largest value than long ones: when must you divide?": lambda: (
                total(nats) / total(most.expand_as(nats))
            ),
            "The largest entropy is that of a text of mean length.\n"
            "Short texts have another largest value than long ones: when must you divide?": lambda: (
                over(nats) / lengths.float().mean().log()
            ),
            "The largest entropy is that over all real tokens of the batch.\n"
            "At how many keys can a query of a text look?": lambda: over(nats) / count.log(),
            "The texts are added up.\nA mean over them: by what must the sum be divided?": (
                lambda: over(share) * len(lengths)
            ),
        },
        "Right without padding, wrong with it.\n"
        "Two places need the mask: how many keys a text has, and which queries count. Which one differs?",
        tolerance=1e-4,
    )
    yield "with padding: each text by its own number of keys, and every text counts the same"

    weights, mask = _texts(draw, lengths=[4, 1, 5])
    shares = torch.stack(
        [
            torch.special.entr(one[:, :n]).sum(-1).mean(-1) / math.log(max(n, 2))
            for one, n in zip(weights, mask.sum(-1).tolist(), strict=True)
        ]
    )  # (B, H); the text of a single token has 0
    result = _of_heads(answer, weights, mask)
    require(
        result.isfinite().all(),
        "One text has a single token. Its entropy is 0, the largest it can be is log 1 = 0, and 0 / 0 is no "
        "number.\nThe docstring says what becomes of such a text: where do you see to it?",
    )
    compare(
        result,
        shares.sum(0) / 2,
        {
            "A text of a single token counts as 0, as if its heads had chosen to look at one key.\n"
            "It has no other: what does the docstring say becomes of it?": lambda: shares.mean(0),
            "A text of a single token counts as 1, as if its heads were spread evenly.\n"
            "What does the docstring say becomes of it?": lambda: (shares.sum(0) + 1) / 3,
        },
        "With a text of a single token the result is wrong.\nIs it left out, and out of the number of texts?",
        tolerance=1e-4,
    )
    yield "a text of a single token is left out"


def _texts(draw: Draw, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights (B, 3, T, T) as a model gives them, exactly 0 at padded keys, and the mask (B, T)."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    scores = 1.5 * draw.normal(len(lengths), 3, max(lengths), max(lengths))
    return scores.masked_fill(~mask[:, None, None], -math.inf).softmax(-1), mask


def _of_heads(answer: Answer, weights: Tensor, mask: Tensor) -> Tensor:
    """The answer's figures (H,)."""
    batch, heads, tokens, _ = weights.shape
    result = answer(weights, mask)
    shapes = {
        (): "One number came back for all heads.\nWhich axis of (B, H, T, T) must stay?",
        (batch,): "One number came back for each text.\nWhich axis of (B, H, T, T) must stay?",
        (batch, heads): "There is still a number for each text and head.\n"
        "Over what is a mean to be taken, besides the queries?",
        (batch, heads, tokens): "There is still a number for each query.\n"
        "Over which of them is the mean to be taken?",
        (heads, tokens): "There is still a number for each query.\n"
        "Over which of them is the mean to be taken?",
    }
    shapes.pop((heads,), None)
    told = shapes.get(_shape(result))
    require(told is None, f"The result has shape {_shape(result)}. {told}")
    return some_numbers(result, (heads,), "normalised entropy", may_be_nan=True)


# --- without_special -----------------------------------------------------------------------------


def without_special(answer: Answer, draw: Draw) -> Held:
    """``without_special(weights, special)``: one text's weights among its words, as if nothing else were there."""
    special = torch.tensor([True, False, False, False, False, True])
    weights = draw.weights(3, 6, 6)
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    words = part.shape[-1]
    compare(
        _words(answer, weights, special),
        part / total,
        {
            "The rows do not sum to 1 any more: what fell on special tokens is missing.\n"
            "By what must a row be divided?": lambda: part,
            "The columns sum to 1, not the rows.\nOver which axis do you add up?": lambda: (
                part / part.sum(-2, keepdim=True)
            ),
            "Each map as a whole sums to 1, not its rows.\nOver which axis do you add up?": lambda: (
                part / part.sum((-2, -1), keepdim=True)
            ),
            "The rows sum to 1, but they have become nearly equal: a softmax of weights is taken.\n"
            "It turns scores into weights. What do weights need, so that they sum to 1 again?": (
                lambda: part.softmax(-1)
            ),
            "What fell on special tokens is dealt out to all words alike.\n"
            "Should two weights that were as 3 to 1 not stay so?": lambda: (
                part + (1 - total) / words
            ),
            "As many tokens as there are words, but the first ones of the text.\n"
            "Which tokens does `special` mark?": lambda: _window(weights, 0, words),
            "The maps are transposed.\nRow i belongs to the word that looks: which axis is that?": lambda: (
                (part / total).mT
            ),
        },
        "The shape is right, the weights are not.\n"
        "Rows of words, columns of words, each row divided by its sum: which step differs?",
        tolerance=1e-4,
    )
    yield "special tokens out of rows and columns, each row divided by what is left of it"

    special = torch.tensor([True, False, False, True, False, False, True, True])
    special = special.roll(draw.whole(0, 1))
    weights = draw.weights(3, 8, 8)
    part = _among(weights, ~special)
    compare(
        _words(answer, weights, special, inner=True),
        part / part.sum(-1, keepdim=True),
        {
            "As many tokens as there are words, all those behind the first token.\n"
            "Here special tokens stand in the middle, too: what does `special` mark?": lambda: (
                _window(weights, 1, part.shape[-1])
            ),
        },
        "Where special tokens stand in the middle, too, as in a pair of sentences, the weights are wrong.\n"
        "Do you pick the words by `special`?",
        tolerance=1e-4,
    )
    yield "wherever the special tokens stand"

    special = torch.tensor([True, False, False, False, False, True])
    left = 1e-4  # of a row, for all words together
    weights = draw.weights(3, 6, 6)
    row = draw.whole(1, 4)
    inside = draw.weights(3, 4)
    weights[:, row] = torch.cat(
        [torch.full((3, 1), 0.5), left * inside, torch.full((3, 1), 0.5 - left)], 1
    )
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    told = (
        "A word looks nearly only at special tokens: {left:g} is left for words, and the row does not sum to 1.\n"
        "{asked}"
    )
    result = _words(answer, weights, special)
    small: dict[str, Callable[[], Tensor]] = {}
    for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        asked = f"Is {extra:g} added to the sum, to save the division? What could be done instead?"
        small[told.format(left=left, asked=asked)] = functools.partial(
            lambda extra: part / (total + extra), extra
        )
        asked = f"Is the sum never taken smaller than {extra:g}? Which sums are really in danger?"
        small[told.format(left=left, asked=asked)] = functools.partial(
            lambda extra: part / total.clamp_min(extra), extra
        )
    compare(
        result,
        part / total,
        small,
        told.format(left=left, asked="By what is it divided?"),
        tolerance=1e-3,
    )
    yield "a row that looks at words only faintly sums to 1, too"

    head = draw.whole(0, 2)
    weights = draw.weights(3, 6, 6)
    weights[head, row] = torch.tensor([0.25, 0.0, 0.0, 0.0, 0.0, 0.75])
    part = _among(weights, ~special)
    total = part.sum(-1, keepdim=True)
    right = torch.where(total > 0, part / total.clamp_min(1e-30), 0.0)

    def instead(new: Tensor) -> Tensor:
        changed = right.clone()
        changed[head, row - 1] = new
        return changed

    result = _words(answer, weights, special, may_be_nan=True)
    require(
        result.isfinite().all(),
        "A word looks at special tokens only: 0 is left for words, and 0 / 0 is no number.\n"
        "The docstring says what such a row should be: where do you see to it?",
    )
    compare(
        result,
        right,
        {
            "A word that looks at special tokens only is said to look at all words alike.\n"
            "The docstring asks for another row: which?": lambda: instead(torch.full((4,), 0.25)),
            "A word that looks at special tokens only is said to look at itself.\n"
            "The docstring asks for another row: which?": lambda: instead(torch.eye(4)[row - 1]),
        },
        "A word looks at special tokens only, and the result is wrong.\n"
        "Is its row zeros, and every other as it should be?",
        tolerance=1e-4,
    )
    yield "zeros for a word that looks at special tokens only"


def _among(weights: Tensor, keep: Tensor) -> Tensor:
    """The weights (H, n, n) among the tokens to keep."""
    places = keep.nonzero().flatten().tolist()
    rows = [torch.stack([weights[:, i, j] for j in places], -1) for i in places]
    return torch.stack(rows, -2)


def _window(weights: Tensor, start: int, count: int) -> Tensor:
    """Neighbouring tokens instead of those asked for, each row divided by its sum."""
    part = weights[:, start : start + count, start : start + count]
    return part / part.sum(-1, keepdim=True)


def _words(
    answer: Answer, weights: Tensor, special: Tensor, inner: bool = False, may_be_nan: bool = False
) -> Tensor:
    """The answer's maps (H, n, n)."""
    heads, tokens, _ = weights.shape
    words = int((~special).sum())
    result = answer(weights, special)
    shapes = {
        (heads, tokens, tokens): "All tokens are still there; zeros are weights, too.\n"
        "How do you leave rows and columns out, instead of setting them to 0?",
        (heads, tokens, words): "Special tokens have no columns any more, but still rows.\n"
        "Do they not look, too?",
        (heads, words, tokens): "Special tokens have no rows any more, but still columns.\n"
        "Are they not looked at, too?",
        (heads, words): "Two masks at once pick pairs of places: that is the diagonal.\n"
        "Can you pick the rows first, and the columns of that?",
        (heads, words * words): "The maps are flattened: a mask (T, T) picks single weights.\n"
        "Can you pick the rows first, and the columns of that?",
        (words, words): "There is one map only.\nWhich axis of (H, T, T) must stay as it is?",
        (heads, tokens - words, tokens - words): "It is the special tokens that are left.\n"
        "Which of the two does True mark?",
    }
    if inner:
        shapes[heads, tokens - 2, tokens - 2] = (
            "The first and the last token are left out, and no other; in a pair of sentences one stands in the "
            "middle, too.\nWhat does `special` mark?"
        )
    shapes.pop((heads, words, words), None)
    told = shapes.get(_shape(result))
    require(told is None, f"The result has shape {_shape(result)}. {told}")
    return some_numbers(result, (heads, words, words), "weights among words", may_be_nan)


# --- js_divergence -------------------------------------------------------------------------------


def js_divergence(answer: Answer, draw: Draw) -> Held:
    """``js_divergence(p, q)``: how different two distributions are, in bits, from 0 to 1."""
    keys = 5
    while True:
        p, q = draw.weights(2, keys).double()
        right = _js(p, q)
        if right > 0.05:
            break
    middle = (p + q) / 2
    to_q, to_p = _kl(p, q), _kl(q, p)
    from_p = _kl(p, middle)
    turned = (_kl(middle, p) + _kl(middle, q)) / 2
    compare(
        _divergence(answer, p, q),
        right,
        {
            "That is the divergence of Kullback and Leibler, from p to q: it has another value from q to p, and "
            "without end where q is 0.\nWith what are p and q both compared here?": lambda: to_q,
            "That is the divergence of Kullback and Leibler, from q to p: it has another value from p to q, and "
            "without end where p is 0.\nWith what are p and q both compared here?": lambda: to_p,
            "That is the divergence of Kullback and Leibler, and in nats.\n"
            "With what are p and q both compared here?": lambda: to_q * math.log(2),
            "That is the mean of Kullback and Leibler's divergences from p to q and from q to p; where only one "
            "is 0 it has no end.\nWith what are p and q both compared here?": lambda: (
                (to_q + to_p) / 2
            ),
            "That is the sum of Kullback and Leibler's divergences from p to q and from q to p; where only one "
            "is 0 it has no end.\nWith what are p and q both compared here?": lambda: to_q + to_p,
            "That is in nats.\nWhich logarithm gives bits?": lambda: right * math.log(2),
            "That is the square root: the distance, not the divergence. (SciPy's jensenshannon gives it.)\n"
            "Is there a root too many, or a square missing?": lambda: right.sqrt(),
            "That is the square root of the divergence in nats, which is SciPy's jensenshannon.\n"
            "How do you come from a distance to a divergence, and from nats to bits?": lambda: (
                right * math.log(2)
            ).sqrt(),
            "It is twice as large as it should be: the two parts are added up.\n"
            "What keeps the result from going beyond 1?": lambda: 2 * right,
            "Only p is compared with the middle: p and q cannot be exchanged.\n"
            "Where is the other half?": lambda: from_p,
            "Only p is compared with the middle, and taken half.\nWhere is the other half?": lambda: (
                from_p / 2
            ),
            "p and q are compared with their sum, which is no distribution.\n"
            "What lies in the middle between p and q?": lambda: right - 1,
            "It is negative.\nIn the logarithm, what is divided by what?": lambda: -right,
            "The middle is compared with p and q, instead of each of these with the middle.\n"
            "Which of the two stands in front of the logarithm? (F.kl_div takes it as its second argument.)": (
                lambda: turned
            ),
            "The middle is compared with p and q, instead of each of these with the middle, and in nats.\n"
            "Which of the two stands in front of the logarithm? (F.kl_div takes it as its second argument.)": (
                lambda: turned * math.log(2)
            ),
            "The mean over the keys is taken where a sum is due.\n"
            "The probabilities weigh the keys already: what is left to divide by?": lambda: (
                right / keys
            ),
            "The mean over the keys is taken where a sum is due, and in nats.\n"
            "F.kl_div does both, if nothing else is said: what can you say?": lambda: (
                right * math.log(2) / keys
            ),
            "It is turned round: 1 for equal distributions.\nWhat should equal ones have?": lambda: (
                1 - right
            ),
            "That is the total variation, half the sum of all differences.\n"
            "Where are the logarithms?": lambda: (p - q).abs().sum() / 2,
            "It is divided by the logarithm of the number of keys, as an entropy would be.\n"
            "How large can this divergence become, with many keys or few?": lambda: (
                right / math.log2(keys)
            ),
            **_near(p, q),
        },
        "For two distributions without zeros the divergence is wrong.\n"
        "The middle m of p and q, then half of KL(p, m) and half of KL(q, m): which step differs?",
        tolerance=1e-6,
        loosely=3e-7,
    )
    yield "half from p to the middle, half from q, in bits"

    p, q = torch.zeros(2, 8, dtype=torch.double)
    p[:4], q[2:6] = draw.weights(2, 4)  # two keys are shared, the last is nobody's
    p[6], q[3] = 5e-5, 1e-3  # weights may be small
    p, q = p / p.sum(), q / q.sum()
    result = _divergence(answer, p, q)
    require(
        not result.isnan().any(),
        "Where a probability is 0 there is NaN: 0 times log 0.\n"
        "What should a key add that gets no weight, and how do you keep its logarithm out?",
    )
    require(
        result.isfinite().all(),
        "Where only one of the two is 0 the result has no end.\n"
        "The middle is 0 only where both are: what do you divide by, and is it before or after the logarithm?",
    )
    compare(
        result,
        _js(p, q),
        _near(p, q),
        "Right without zeros, wrong with them.\nWhat should a key add that gets no weight from p? And from q?",
        tolerance=1e-6,
        loosely=3e-7,
    )
    apart = draw.weights(3).double()
    p, q = torch.zeros(2, 5, dtype=torch.double)
    p[:3], q[3:] = apart, torch.tensor([0.5, 0.5])
    for one, other, wanted in ((p, q, 1.0), (p, p, 0.0)):
        what = "nothing in common" if wanted else "everything in common"
        value = _divergence(answer, one, other)
        require(
            bool(abs(value - wanted) < 1e-5),
            f"Two distributions with {what} should give exactly {wanted:g}; yours is {value:.6f}.\n"
            "Is something added to the probabilities, or cut off from the result?",
        )
    yield "keys without weight add nothing: 1 for nothing in common, 0 for equal ones"

    p = draw.weights(2, 3, 4)
    p[0, 1, 2:] = 0
    p = p / p.sum(-1, keepdim=True)
    q = draw.weights(2, 3, 4)
    with where("Right for two rows, wrong for maps of several heads:"):
        compare(
            _divergence(answer, p, q),
            _js(p, q),
            {},
            "the numbers differ.\nIs every sum over the last axis?",
        )
    yield "one number for each row, whatever axes stand before"


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Kullback and Leibler's divergence over the last axis, in bits."""
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1) / math.log(2)


def _js(p: Tensor, q: Tensor) -> Tensor:
    """Jensen and Shannon's divergence, as entropy of the middle minus the mean entropy, in bits."""
    entropies = [torch.special.entr(one).sum(-1) for one in ((p + q) / 2, p, q)]
    return (entropies[0] - (entropies[1] + entropies[2]) / 2) / math.log(2)


def _js_of_logs(p: Tensor, q: Tensor, logs: Callable[[Tensor], Tensor]) -> Tensor:
    """The same with another logarithm."""
    middle = (p + q) / 2
    parts = [(one * (logs(one) - logs(middle))).sum(-1) for one in (p, q)]
    return sum(parts) / 2 / math.log(2)


_ADDED = {
    "is added in the logarithms": lambda p, q, extra: _js_of_logs(
        p, q, lambda one: (one + extra).log()
    ),
    "is added to all probabilities": lambda p, q, extra: _js_of_logs(
        p + extra, q + extra, torch.log
    ),
    "is the least that the logarithms take": lambda p, q, extra: _js_of_logs(
        p, q, lambda one: one.clamp_min(extra).log()
    ),
    "is the least that a probability can be": lambda p, q, extra: _js_of_logs(
        p.clamp_min(extra), q.clamp_min(extra), torch.log
    ),
    "is added to all probabilities, which are divided by their sum again": lambda p, q, extra: (
        _js_of_logs(
            (p + extra) / (1 + len(p) * extra), (q + extra) / (1 + len(q) * extra), torch.log
        )
    ),
}


def _near(p: Tensor, q: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What comes of saving the logarithm by something that is too large."""
    return {
        f"The result is near, but not right: {extra:g} {how}.\n"
        "Can you leave keys without weight out, instead of moving all others? (torch.xlogy(0, 0) is 0.)": (
            functools.partial(change, p, q, extra)
        )
        for extra in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
        for how, change in _ADDED.items()
    }


def _divergence(answer: Answer, p: Tensor, q: Tensor) -> Tensor:
    """The answer's divergences, one for each row; they may be NaN or infinite where a row has zeros."""
    result = answer(p, q)
    if p.dim() == 1:
        shapes = {(len(p),): "There is still a number for each key.\nOver what is the sum?"}
    else:
        shapes = {
            (): "One number came back for all rows.\nOver which axis is the sum?",
            tuple(p.shape[1:]): "The sum runs over the first axis.\nWhich axis holds the keys?",
            tuple(p.shape): "There is still a number for each key.\nOver which axis is the sum?",
        }
    told = shapes.get(_shape(result))
    require(told is None, f"The result has shape {_shape(result)}. {told}")
    zeros = bool((p == 0).any() or (q == 0).any())
    return some_numbers(result, tuple(p.shape[:-1]), "divergence", may_be_nan=zeros)


# --- robust_outliers -----------------------------------------------------------------------------

Rule = Callable[[np.ndarray, float], np.ndarray]
FACTOR = 1.4826  # the standard deviation of a normal distribution, in units of its MAD
OF_MEAN = 1.2533  # and in units of its mean distance from the median


def robust_outliers(answer: Answer, draw: Draw) -> Held:
    """``robust_outliers(values, threshold)``: which values are out of line, by median and MAD."""
    mistakes: dict[str, Rule] = {
        "Nothing is flagged.\nIs the distance compared with the threshold?": lambda x, t: np.zeros(
            len(x), bool
        ),
        "Mean and standard deviation judge here: the outliers have stretched both, and hide behind them.\n"
        "Which two figures stay where they are if a few values fly off?": lambda x, t: (
            np.abs(x - x.mean()) > t * x.std()
        ),
        "The distance from the median is measured in standard deviations, which the outliers have stretched.\n"
        "What is the median of the distances?": lambda x, t: _far(x) > t * x.std(),
        "The factor 1.4826 is missing: one MAD is less than one standard deviation, and too much is flagged.\n"
        "Where does it stand?": lambda x, t: _far(x) > t * _mad(x),
        "You divide by 1.4826 where the MAD should be made larger, and too much is flagged.\n"
        "One MAD holds half of the values, one standard deviation 68 %: which is longer?": lambda x, t: (
            _far(x) > t * _mad(x) / FACTOR
        ),
        "Only values above the median are flagged.\n"
        "Can a head not be out of line below, too? What is a distance?": lambda x, t: (
            x - np.median(x) > t * FACTOR * _mad(x)
        ),
        "Only values below the median are flagged.\n"
        "Can a head not be out of line above, too? What is a distance?": lambda x, t: (
            np.median(x) - x > t * FACTOR * _mad(x)
        ),
        "The distances are taken from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?": lambda x, t: (
            np.abs(x - x.mean()) > t * FACTOR * np.median(np.abs(x - x.mean()))
        ),
        "The MAD is made of distances from the mean, which the outliers have moved.\n"
        "From what should they be taken, both in the MAD and after?": lambda x, t: (
            _far(x) > t * FACTOR * np.median(np.abs(x - x.mean()))
        ),
        "The MAD is right, but what is compared with it is the distance from the mean, which the outliers have "
        "moved.\nFrom what should it be taken?": lambda x, t: (
            np.abs(x - x.mean()) > t * FACTOR * _mad(x)
        ),
        "The distances are averaged: that is the mean absolute deviation, and the outliers stretch it.\n"
        "What else could be taken of the distances?": lambda x, t: (
            _far(x) > t * FACTOR * _far(x).mean()
        ),
        "The distances are averaged, and 1.4826 is missing.\n"
        "What else could be taken of the distances?": lambda x, t: _far(x) > t * _far(x).mean(),
        "The values that are in line are flagged, and the others are not.\n"
        "Which way does the comparison go?": lambda x, t: _far(x) < t * FACTOR * _mad(x),
        "The distance itself is compared with the threshold, whatever the unit of the values.\n"
        "In units of what should it be measured?": lambda x, t: _far(x) > t,
        "The threshold is 3, whatever is asked for.\nWhere do you use `threshold`?": lambda x, t: (
            _outliers(x, 3)
        ),
        "Values beyond one and a half interquartile ranges from the quartiles are flagged: Tukey's rule.\n"
        "A good one, too; but which one does the docstring name?": _tukey,
    }
    several = _discerning(draw, mistakes)
    _same_flags(
        answer,
        several,
        3.5,
        mistakes,
        "The flags are wrong.\n"
        "Median, distances from it, their median times 1.4826, and what is more than 3.5 of that away: which step "
        "differs?",
    )
    yield "far from the median, in units of 1.4826 times the MAD, on either side"

    middles: dict[str, Rule] = {
        "For an even number of values the median is the lower of the two in the middle; torch.median does that.\n"
        "What is the median of 1 and 2?": lambda x, t: _by_middle(x, t, lambda n: (n - 1) // 2),
        "For an even number of values the median is the upper of the two in the middle.\n"
        "What is the median of 1 and 2?": lambda x, t: _by_middle(x, t, lambda n: n // 2),
    }
    _same_flags(
        answer,
        _discerning(draw, middles, count=8),
        3.5,
        middles,
        "Right for an odd number of values, wrong for an even one.\nWhat is their median?",
    )
    yield "an even number of values, too"

    fixed: dict[str, Rule] = {
        "The threshold is 3.5, whatever is asked for.\nWhere do you use `threshold`?": lambda x, t: (
            _outliers(x, 3.5)
        ),
    }
    sets = _discerning(draw, fixed, threshold=2.0)
    _same_flags(
        answer,
        sets,
        2.0,
        fixed,
        "With threshold 2 the flags are wrong.\nWhere do you use `threshold`?",
    )
    _same_flags(
        answer,
        several,
        None,
        {},
        "With no threshold given the flags are wrong.\nIs its default 3.5?",
    )
    yield "whatever the threshold"

    removed: dict[str, Rule] = {
        "With a removed head, whose value is NaN, nothing is flagged any more.\n"
        "The median of anything with NaN is NaN: how do you leave it out?": lambda x, t: np.zeros(
            len(x), bool
        ),
        "With a removed head, whose value is NaN, everything is flagged.\n"
        "The median of anything with NaN is NaN: how do you leave it out?": lambda x, t: np.ones(
            len(x), bool
        ),
        "Removed heads, whose value is NaN, are flagged.\n"
        "Every comparison with NaN is false: do you ask which values are *not* in line?": lambda x, t: (
            _outliers(x, t) | np.isnan(x)
        ),
        "Removed heads count as 0 in the median.\nHow do you leave them out of it?": lambda x, t: (
            _outliers(np.nan_to_num(x), t)
        ),
        "Removed heads count as 0 in the median, though they are not flagged.\n"
        "How do you leave them out of it?": lambda x, t: (
            _outliers(np.nan_to_num(x), t) & ~np.isnan(x)
        ),
    }
    sets = _discerning(draw, removed, nan=4)
    _same_flags(
        answer,
        sets,
        3.5,
        removed,
        "With removed heads, whose value is NaN, the flags are wrong.\n"
        "Are they left out of both medians, and in their places in the result?",
    )
    yield "removed heads are left out, and never flagged"

    alike: dict[str, Rule] = {
        "Where more than half of the values are equal, the MAD is 0, and nothing is flagged, however far it is.\n"
        "What does the docstring put in the place of the MAD?": lambda x, t: np.zeros(len(x), bool),
        "Where more than half of the values are equal, the MAD is 0, and whatever differs by a hair is flagged.\n"
        "What does the docstring put in the place of the MAD?": lambda x, t: _far(x) > 0,
        "Where more than half of the values are equal, the MAD is 0, and everything is flagged.\n"
        "0 is not more than 0: is there a >= for >, or a `not`?": lambda x, t: np.ones(
            len(x), bool
        ),
        "Where the MAD is 0, the mean distance takes its place, but without the factor 1.2533.\n"
        "How many mean distances is one standard deviation?": lambda x, t: (
            _far(x) > t * _far(x).mean()
        ),
        "Where the MAD is 0, the mean distance takes its place, but with the factor of the MAD.\n"
        "How many mean distances is one standard deviation?": lambda x, t: (
            _far(x) > t * FACTOR * _far(x).mean()
        ),
        "Where the MAD is 0, the standard deviation takes its place.\n"
        "What does the docstring put there, which outliers stretch less?": lambda x, t: (
            _far(x) > t * x.std()
        ),
    }
    _same_flags(
        answer,
        _discerning(draw, alike, equal=9),
        3.5,
        alike,
        "Where more than half of the values are equal, the MAD is 0, and the flags are wrong.\n"
        "What does the docstring put in the place of the MAD?",
    )
    _same_flags(
        answer,
        [np.full(9, draw.whole(1, 9) / 10)],
        3.5,
        {},
        "All values are equal, and yet something is flagged.\n"
        "0 is not more than 0: is there a >= for >, or a `not`?",
    )
    yield "where the MAD is 0: in units of 1.2533 times the mean distance"


def _far(values: np.ndarray) -> np.ndarray:
    return np.abs(values - np.median(values))


def _mad(values: np.ndarray) -> float:
    return float(np.median(_far(values)))


def _outliers(values: np.ndarray, threshold: float) -> np.ndarray:
    """The right flags, from sorted lists."""
    there = [float(one) for one in values if not math.isnan(one)]

    middle = _median(there)
    distances = [abs(one - middle) for one in there]
    unit = FACTOR * _median(distances) or OF_MEAN * sum(distances) / len(there)
    return np.array([abs(one - middle) > threshold * unit for one in values.tolist()])


def _median(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    return (ordered[half] + ordered[-half - 1]) / 2


def _tukey(values: np.ndarray, threshold: float) -> np.ndarray:
    low, high = np.quantile(values, [0.25, 0.75])
    return (values < low - 1.5 * (high - low)) | (values > high + 1.5 * (high - low))


def _by_middle(values: np.ndarray, threshold: float, place: Callable[[int], int]) -> np.ndarray:
    """Flags with another median: the value at one place of the sorted ones."""
    middle = np.sort(values)[place(len(values))]
    far = np.abs(values - middle)
    return far > threshold * FACTOR * np.sort(far)[place(len(values))]


def _discerning(
    draw: Draw,
    rules: dict[str, Rule],
    count: int = 15,
    threshold: float = 3.5,
    nan: int = 0,
    equal: int = 0,
) -> list[np.ndarray]:
    """Sets of values for which every rule flags others than the right one, and than every other rule."""
    sets: list[np.ndarray] = []
    found: list[bytes] = []
    while len(sets) < 2 or len(set(found)) < len(found):
        values = 8 + draw.normal(count).double().numpy()
        values[: count // 3] += 3 * draw.normal(count // 3).double().numpy()
        values[0] += draw.whole(10, 30)
        values[count - equal :] = 8
        values = values[torch.randperm(count, generator=draw.generator).numpy()]
        values[:nan] = np.nan
        there = values[~np.isnan(values)]
        unit = FACTOR * _mad(there) or OF_MEAN * _far(there).mean()
        if np.abs(_far(there) / unit - threshold).min() > 1e-3:
            sets.append(values)
            flags = [rule(values, threshold).tobytes() for rule in (_outliers, *rules.values())]
            found = [was + now for was, now in zip(found or [b""] * len(flags), flags, strict=True)]
    return sets


def _same_flags(
    answer: Answer,
    sets: list[np.ndarray],
    threshold: float | None,
    mistakes: dict[str, Rule],
    otherwise: str,
) -> None:
    """Fail unless the right values are flagged; the mistake that flags these very ones is named.

    With a threshold of None none is given, and 3.5 is expected.
    """
    limit = 3.5 if threshold is None else threshold
    flags = []
    for values in sets:
        copy = values.copy()
        result = answer(copy) if threshold is None else answer(copy, threshold)
        require(
            np.array_equal(values, copy, equal_nan=True),
            "Your function changes the array that it was given.\n"
            "Is there an assignment into it, a `-=`, or a .sort()?",
        )
        flags.append(_flags(result, values))

    def flagged_by(rule: Rule) -> bool:
        return all(
            np.array_equal(found, rule(values, limit))
            for found, values in zip(flags, sets, strict=True)
        )

    if flagged_by(_outliers):
        return
    for diagnosis, rule in mistakes.items():
        require(not flagged_by(rule), diagnosis)
    for found, values in zip(flags, sets, strict=True):
        right = _outliers(values, limit)
        require(
            np.array_equal(found, right),
            f"{otherwise}\nOf {values.round(2).tolist()} these should be flagged: "
            f"{values[right].round(2).tolist()}; yours are {values[found].round(2).tolist()}.",
        )


def _flags(result: object, values: np.ndarray) -> np.ndarray:
    """The answer's flags (N,), as an array of bool."""
    count = len(values)
    if isinstance(result, list | tuple) or hasattr(result, "__array__"):
        found = np.asarray(result.detach().cpu() if isinstance(result, Tensor) else result)
    else:
        found = a_tensor(result, (count,), "flags").numpy()
    if found.dtype != bool:
        told = "numbers"
        if found.shape == (count,):
            told = "distances"
        elif found.dtype.kind in "iu":
            told = "the places of values"
        elif found.dtype.kind == "f" and np.isin(found, values).all():
            told = "the values themselves"
        raise CheckFailed(
            f"These are {told}; decisions are asked for, true or false, one for each value.\n"
            "With what comparison could your function end?"
        )
    require(
        found.shape == (count,) or found.shape != (int((~np.isnan(values)).sum()),),
        "Removed heads, whose value is NaN, have no place in the result any more.\n"
        "How will the others find theirs?",
    )
    require(
        found.shape == (count,),
        f"For {count} values came flags of shape {found.shape}.\nIs there one for each value?",
    )
    return found


# --- guarded_choice ------------------------------------------------------------------------------

PARTS = ("tune", "guard", "test")
Table = dict[str, dict[str, float]]  # part to settings to accuracy


def guarded_choice(answer: Answer, draw: Draw) -> Held:
    """``guarded_choice(start, candidates, score)``: the best on tune, if guard agrees, and its test accuracy."""
    start, candidates, table = _settings(draw, passes=True)
    tune, guard, _ = (table[part] for part in PARTS)
    roles = _choices(start, candidates, table)
    best = roles.pop("tune")
    kept, figure, asked = _guarded(answer, start, candidates, table)
    told = {
        "test": "You kept what is best on test. Then its figure is too good: luck has been chosen with it.\n"
        "On which part may you choose?",
        "guard": "You kept what is best on guard, so nothing is left that the choice has not seen.\n"
        "Which part is there to choose on, and which to judge the choice?",
        "both": "You kept what is best on tune and guard together, so nothing is left that the choice has not "
        "seen.\nWhich part is there to choose on, and which to judge the choice?",
        "worst": "You kept the candidate with the lowest accuracy on tune.\n"
        "Is a < there for a >, or do you sort and take the wrong end?",
        "first": "You kept the first candidate, which is not the best on tune.\n"
        "Are the others compared with it? Is `return` inside the loop?",
        "last": "You kept the last candidate, which is not the best on tune.\n"
        "Do you keep the best so far, or the last one seen?",
        "largest": "You kept the last name in the alphabet.\n"
        "What is compared: the candidates, or what score says of them?",
        "start": f"You stayed with the start, though on guard the best on tune has {guard[best]:.3f}, the start "
        f"{guard[start]:.3f}.\nWhich two figures do you compare? Are both of the same part?",
    }
    for role, one in roles.items():
        require(kept != one, told[role])
    require(
        kept == best, f"You kept {kept!r}; on tune {best!r} is best.\nWhich figures do you compare?"
    )
    yield "the best on tune, where guard agrees"

    _right_figure(figure, best, start, table)
    yield "its own figure on test"

    others = set(asked["guard"]) - {best, start}
    require(
        not others,
        f"The choice is right, but guard was asked for {len(set(asked['guard']))} settings. Once figures are "
        "there, somebody will choose by them, and then nothing guards the choice.\n"
        "Which two do you need, once tune has chosen?",
    )
    require(
        set(asked["test"]) == {best},
        f"The choice is right, but test was asked for {len(set(asked['test']))} settings. Once figures are there, "
        "somebody will choose by them.\nWhen do you know which single one you need?",
    )
    require(
        len(asked["test"]) == 1,
        f"The choice is right, but test was asked {len(asked['test'])} times for it; once is enough.\n"
        "Where can you keep the figure?",
    )
    yield "guard is asked for two settings, test for one, once"

    start, candidates, table = _settings(draw, passes=False)
    tune, guard, _ = (table[part] for part in PARTS)
    best = max(candidates, key=tune.__getitem__)
    kept, figure, asked = _guarded(answer, start, candidates, table)
    if kept == best:
        figures = f"on guard it has {guard[best]:.3f}, the start {guard[start]:.3f}"
        require(
            best in asked["guard"],
            f"The best on tune is kept, but {figures}: it was lucky on tune.\nWhere do you ask guard?",
        )
        raise CheckFailed(
            f"The best on tune is kept, but {figures}. You asked guard, and yet it is kept.\n"
            "Which two figures do you compare? Are both of the same part?"
        )
    passing = [one for one in candidates if guard[one] > guard[start]]
    require(
        kept not in passing,
        "The best on tune does not pass the guard, and you kept another that does. Who tries until one passes, "
        "chooses by guard.\nWhat is left if guard is asked once, and says no?",
    )
    require(
        kept == start,
        f"The best on tune does not pass the guard, and you kept {kept!r}.\nWhat is there besides the candidates?",
    )
    _right_figure(figure, start, best, table)
    require(
        len(asked["test"]) == 1 and set(asked["guard"]) <= {best, start},
        "You stayed with the start, which is right, but more was asked for it than needed.\n"
        "Does a no from guard give you another question?",
    )
    yield "the start, where guard says no"

    table["guard"] = {**guard, best: guard[start]}
    kept, _, _ = _guarded(answer, start, candidates, table)
    require(
        kept == start,
        "On guard the best candidate is exactly as good as the start, and the start is given up for it.\n"
        "Is there a >= for >?",
    )
    equal = candidates[1:4]  # in no order of their names
    highest = max(tune.values())
    table["tune"] = {**tune, best: min(tune.values()), **dict.fromkeys(equal, highest)}
    table["guard"] = {**guard, **dict.fromkeys(equal, max(guard.values()))}
    kept, _, _ = _guarded(answer, start, candidates, table)
    require(
        kept == equal[0],
        f"{', '.join(equal)} are equally good on tune; you kept {kept!r}, and the first is asked for.\n"
        "Is there a >= for >, or do you sort and take the last?",
    )
    yield "equal on guard: the start; equal on tune: the first"


def _settings(draw: Draw, passes: bool) -> tuple[str, list[str], Table]:
    """A start, candidates and their figures, such that every mistake keeps another one."""
    count = 11
    names = [chr(ord("A") + one) for one in range(count)]
    while True:
        order = torch.randperm(count, generator=draw.generator).tolist()
        start, *candidates = (f"settings {names[one]}" for one in order)
        table: Table = {}
        for part in PARTS:
            places = torch.randperm(150, generator=draw.generator)[: count - 1].tolist()
            figures = [round(0.75 + place / 1000, 3) for place in places]
            table[part] = dict(zip(candidates, figures, strict=True)) | {start: 0.7}
        tune, guard, test = (table[part] for part in PARTS)
        best = max(candidates, key=lambda one: tune[one])
        step = draw.whole(3, 20) / 1000  # figures of different parts, if compared, say the opposite
        tune[start] = round(guard[best] + (step if passes else -step), 3)
        guard[start] = round(guard[best] - (step if passes else -step), 3)
        test[start] = round(0.75 + draw.whole(0, 140) / 1000, 3)
        kept, other = (best, start) if passes else (start, best)
        highest = max(test, key=lambda one: test[one])
        figures = [tune[kept], guard[kept], test[kept], test[other], test[highest]]
        roles = _choices(start, candidates, table)
        if (
            len(set(figures)) == len(figures)
            and len(set(roles.values())) == len(roles)
            and tune[start] < tune[best]
            and sum(guard[one] > guard[start] for one in candidates) >= 2
        ):
            return start, candidates, table


def _choices(start: str, candidates: list[str], table: Table) -> dict[str, str]:
    """What would be kept by tune alone, and by each mistake."""
    tune, guard, test = (table[part] for part in PARTS)
    return {
        "tune": max(candidates, key=lambda one: tune[one]),
        "test": max(candidates, key=lambda one: test[one]),
        "guard": max(candidates, key=lambda one: guard[one]),
        "both": max(candidates, key=lambda one: tune[one] + guard[one]),
        "worst": min(candidates, key=lambda one: tune[one]),
        "first": candidates[0],
        "last": candidates[-1],
        "largest": max(candidates),
        "start": start,
    }


def _guarded(
    answer: Answer, start: str, candidates: list[str], table: Table
) -> tuple[str, float, dict[str, list[str]]]:
    """What the answer keeps, the figure that comes with it, and for which settings it asked each part."""
    asked: dict[str, list[str]] = {part: [] for part in PARTS}

    def score(settings: object, part: object) -> float:
        require(
            settings not in PARTS,
            "score was called with the part first.\nIn which order does it take settings and part?",
        )
        require(
            isinstance(part, str) and part in PARTS,
            f"score was asked for the part {part!r}; there are {', '.join(PARTS)}.\nWhich one do you mean?",
        )
        require(
            isinstance(settings, str) and settings in table["tune"],
            "score was called with something that is neither the start nor a candidate.\n"
            "Is it the place of a candidate, or all of them at once?",
        )
        asked[part].append(settings)
        return table[part][settings]

    kept, figure = a_pair(answer(start, candidates, score), "settings", "test accuracy")
    require(
        not isinstance(figure, str),
        "The settings come second.\nIn which order does the docstring name the two?",
    )
    require(
        not isinstance(kept, numbers.Integral),
        "The place of a candidate came back, not the candidate.\nWhat stands at this place?",
    )
    require(
        isinstance(kept, str) and kept in table["tune"],
        f"As settings came a {type(kept).__name__} that is neither the start nor a candidate.\n"
        "What do you return first?",
    )
    return kept, a_number(figure, "test accuracy"), asked


def _right_figure(figure: float, kept: str, other: str, table: Table) -> None:
    """Fail unless the figure is the test accuracy of what is kept; name which one it is instead."""
    tune, guard, test = (table[part] for part in PARTS)
    figures = {
        "It is that of tune, on which the choice was made: of several, the best is partly lucky there.\n"
        "Which part has had no say?": tune[kept],
        "It is that of guard, which has decided what is kept.\nWhich part has had no say?": guard[
            kept
        ],
        "It is the highest on test, which other settings have.\nWhose figure is asked for?": max(
            test.values()
        ),
        "It is the test accuracy of what was not kept.\nWhose figure is asked for?": test[other],
        "It is the change on test, against what was not kept.\n"
        "A difference needs two looks; which single figure is asked for?": test[kept] - test[other],
        "It is the mean of all three parts.\nWhich part has had no say?": (
            (tune[kept] + guard[kept] + test[kept]) / 3
        ),
    }
    if abs(figure - test[kept]) < 1e-6:
        return
    for diagnosis, one in figures.items():
        require(abs(figure - one) > 1e-6, f"What is kept is right, but not its figure. {diagnosis}")
    raise CheckFailed(
        "What is kept is right, but not its figure.\n"
        f"Its test accuracy is {test[kept]:.3f}; you return {figure:.3f}. Whose is it?"
    )


# --- tune_rounds ---------------------------------------------------------------------------------

Event = tuple[str, int] | tuple[str, int, int]


def tune_rounds(answer: Answer, draw: Draw) -> Held:
    """``tune_rounds(start, propose, compare, rounds)``: several rounds of tuning, with rollback."""
    run = functools.partial(_same_run, answer, draw)
    run(
        "G",
        {
            "One round, and a gain: the start came back.\n"
            "Is the gain refused, or kept under another name than the one you return?": {
                "result": "start"
            },
            "compare got its two settings in the wrong order, so every change has the wrong sign.\n"
            "Which of them comes first?": {"swapped": True},
            "What is kept is not what was compared: propose is asked once more, and makes something new.\n"
            "Where can you keep the proposal until you know?": {"again": True},
            "One round is asked for, and two are made.\nHow often does range(rounds) run?": {
                "extra": 1
            },
            "One round is asked for, and none is made.\nHow often does range(rounds) run?": {
                "extra": -1
            },
            "One proposal was asked for and never compared.\nWhat tells you whether to keep it?": {
                "blind": True
            },
        },
        "One round, and a gain beyond noise: what comes back is wrong.",
    )
    yield "one round, one gain: kept"

    run(
        "GWBWGW",
        {
            "Every proposal is made from the start, so nothing adds up.\n"
            "What does propose change once there has been a gain?": {"base": "start"},
            "Proposals are compared with the start, not with what is kept: a loss hides behind an earlier gain.\n"
            "What would the model be without this proposal?": {"against": "start"},
            "Nothing is rolled back: what is worse beyond noise is kept.\n"
            "Which end of the interval tells that a proposal is better?": {"keep": lambda *_: True},
            "The last proposal comes back, though it was refused.\n"
            "Are there two names, for what is kept and for what is tried?": {"result": "last"},
            "The settings with the largest change come back.\n"
            "It was measured against what was kept then; what has been added since?": {
                "result": "best"
            },
            "The settings of the first round come back.\nWhich name do you return?": {
                "result": "first"
            },
            "After a refusal the next proposal begins from the refused settings.\n"
            "From what should propose begin?": {"base": "last"},
            "After a refusal you go on from the start, and an earlier gain is lost.\n"
            "To what should you roll back?": {"back": "start"},
            "After a refusal the next proposal is compared with the refused settings; to beat those is easy.\n"
            "With what is it to be compared?": {"against": "last"},
            "You stop at the first refusal.\nCould the next proposal not be a better one?": {
                "patience": 1
            },
            "You stop at the second refusal, but there was a gain between the two.\n"
            "When must the count begin again at 0?": {"resets": False},
            "You stop after the first round.\nIs `return` inside the loop?": {"only": 1},
        },
        "Gains and losses by turns: the rounds do not follow on each other as they should.",
    )
    yield "several: each begins from what is kept and is compared with it, losses are rolled back"

    run(
        "-",
        {
            "A loss inside the noise is kept, because it might be none.\n"
            "Only what is *better* beyond noise is kept: which end of the interval tells?": {
                "keep": lambda delta, low, high: high >= 0
            },
        },
        "One round, and a loss inside the noise: what comes back is wrong.",
    )
    run(
        "+",
        {
            "A change upwards is kept, though it is inside the noise: `delta` is judged, not its interval.\n"
            "Only what is better *beyond* noise is kept: which end of the interval tells?": {
                "keep": lambda delta, low, high: delta > 0
            },
        },
        "One round, and a change inside the noise: what comes back is wrong.",
    )
    run(
        "E",
        {
            "An interval that begins at 0 counts as a gain; it still holds 0.\nIs there a >= for >?": {
                "keep": lambda delta, low, high: low >= 0
            },
        },
        "One round, and an interval that begins at 0: what comes back is wrong.",
    )
    yield "what is inside the noise is rolled back, too"

    run(
        "GWWWGG",
        {
            "Two refusals in a row, and you go on to the last round.\n"
            "What do you count, and when do you stop?": {"patience": 99},
            "You stop after three refusals in a row.\nHow many are asked for?": {"patience": 3},
        },
        "Two refusals in a row: what you do then is wrong.",
    )
    run(
        "G+--GWWG",
        {
            "Only losses beyond noise are counted as refusals; inside the noise nothing is gained, either.\n"
            "Which rounds are refused?": {"counts": lambda delta, low, high: high < 0},
            "Only changes downwards are counted as refusals.\nWhich rounds are refused?": {
                "counts": lambda delta, low, high: delta < 0
            },
        },
        "Two refusals in a row, inside the noise: what you do then is wrong.",
    )
    yield "the end: two refusals in a row"

    model = _Model([25], 10)
    kept = _number(answer, model, draw, 0)
    require(
        kept == 0 and not model.events,
        "With rounds=0 a proposal is made.\nIs the number of rounds asked only after the first?",
    )
    yield "none, where no round is asked for"


@dataclass
class _Model:
    """What is tuned: settings by number, 0 for the start, their accuracy, and what was asked about them."""

    changes: list[int]  # of accuracy, in thousandths, by each proposal
    noise: int  # half of an interval
    accuracy: list[int] = field(default_factory=lambda: [0])
    events: list[Event] = field(default_factory=list)

    def propose(self, base: int) -> int:
        """The number of new settings, made from those with the number ``base``."""
        self.events.append(("propose", base))
        made = len(self.accuracy)
        change = self.changes[(made - 1) % len(self.changes)]
        self.accuracy.append(self.accuracy[base] + change)
        return made

    def compare(self, before: int, after: int) -> tuple[float, float, float]:
        """How accuracy changes, and the ends of its interval."""
        self.events.append(("compare", before, after))
        change = self.accuracy[after] - self.accuracy[before]
        return change / 1000, (change - self.noise) / 1000, (change + self.noise) / 1000


Judge = Callable[[float, float, float], bool]


def _tuned(
    model: _Model,
    rounds: int,
    keep: Judge = lambda delta, low, high: low > 0,
    counts: Judge = lambda delta, low, high: True,
    base: str = "kept",
    against: str = "kept",
    back: str = "kept",
    result: str = "kept",
    patience: int = 2,
    resets: bool = True,
    only: int = 99,
    extra: int = 0,
    swapped: bool = False,
    again: bool = False,
    blind: bool = False,
) -> int:
    """The number of the settings that tuning comes to, right by default, or with one mistake."""
    at = {"start": 0, "kept": 0, "last": 0, "best": 0, "first": 1}
    refused, highest = 0, -math.inf
    for _ in range(min(rounds + extra, only)):
        new = model.propose(at[base])
        if blind:
            return new
        pair = (at[against], new)
        change = model.compare(*(pair[::-1] if swapped else pair))
        at["last"] = new
        if change[0] > highest:
            at["best"], highest = new, change[0]
        if keep(*change):
            at["kept"] = model.propose(at["kept"]) if again else new
            refused = 0 if resets else refused
        else:
            at["kept"] = at[back]
            refused += counts(*change)
        if refused >= patience:
            break
    return at[result]


def _same_run(
    answer: Answer, draw: Draw, kinds: str, mistakes: dict[str, dict], otherwise: str
) -> None:
    """Fail unless the answer asks and keeps what it should; the mistake that does this very thing is named.

    ``kinds`` says what each proposal does to accuracy: B and G gain, W loses, + and - stay inside the noise, E
    just touches its edge.
    """
    noise, rounds = draw.whole(9, 12), len(kinds)
    sizes = {"B": 60, "G": draw.whole(20, 40), "W": -draw.whole(20, 40), "E": noise}
    sizes |= {"+": draw.whole(2, 6), "-": -draw.whole(2, 6)}
    changes = [sizes[kind] for kind in kinds]
    model = _Model(changes, noise)
    kept = _number(answer, model, draw, rounds)
    once = [
        event for place, event in enumerate(model.events) if event not in model.events[:place][-1:]
    ]

    right = _Model(changes, noise)
    wanted = _tuned(right, rounds)
    if (kept, model.events) == (wanted, right.events):
        return
    require(
        (kept, once) != (wanted, right.events) or once == model.events,
        "The result is right, but compare is asked more than once about the same proposal, and every time it runs "
        "the model on all sentences.\nWhere can you keep its three numbers?",
    )
    for diagnosis, mistake in mistakes.items():
        other = _Model(changes, noise)
        require((kept, once) != (_tuned(other, rounds, **mistake), other.events), diagnosis)
    made = len(right.accuracy) - 1
    told = ", ".join(f"{change / 1000:+.3f}" for change in changes[:made])
    proposals = max(len(model.accuracy), len(right.accuracy))
    names = ["the start", *(f"proposal {one}" for one in range(1, proposals))]
    raise CheckFailed(
        f"{otherwise}\nThe changes are {told}, each ± {noise / 1000:.3f}: of {rounds} rounds {made} should be "
        f"made, and {names[wanted]} kept; you made {len(model.accuracy) - 1} proposals and kept {names[kept]}.\n"
        "Which round goes another way than it should?"
    )


def _number(answer: Answer, model: _Model, draw: Draw, rounds: int) -> int:
    """Which settings the answer keeps: 0 for the start, or the number of the proposal."""
    known = [draw.normal(6)]
    most = 3 * rounds + 4

    def number(settings: object) -> int:
        require(
            isinstance(settings, Tensor) and settings.shape == known[0].shape,
            "propose and compare take settings as they are, the start or something proposed.\n"
            "What do you call them with?",
        )
        for place in reversed(range(len(known))):
            if same(settings, known[place], 1e-6):
                return place
        raise CheckFailed(
            "There are settings at work that were neither the start nor ever proposed.\n"
            "Do you change or mix settings yourself?"
        )

    def propose(settings: Tensor) -> Tensor:
        require(
            len(known) <= most,
            f"For rounds={rounds} propose was called {most} times, and there is no end.\n"
            "What makes your loop stop?",
        )
        model.propose(number(settings))
        known.append(draw.normal(6))
        return known[-1].clone()

    def compare(before: Tensor, after: Tensor) -> tuple[float, float, float]:
        return model.compare(number(before), number(after))

    result = answer(known[0], propose, compare, rounds)
    if isinstance(result, tuple | list):
        raise CheckFailed(
            f"A {type(result).__name__} of {len(result)} came back; only the settings that are kept are asked "
            "for.\n"
            "Does your function return just what the docstring says?"
        )
    return number(a_tensor(result, tuple(known[0].shape), "settings"))


# --- What several checks need ----------------------------------------------------------------------


def _shape(result: object) -> tuple[int, ...] | None:
    return tuple(result.shape) if isinstance(result, Tensor | np.ndarray | np.generic) else None


EXERCISES = [
    Exercise(
        "normalised_entropy",
        "attention_balance",
        3,
        normalised_entropy,
        frozenset({"attnlab.entropy"}),
    ),
    Exercise("without_special", "attention_balance", 2, without_special),
    Exercise("js_divergence", "attention_balance", 2, js_divergence),
    Exercise("robust_outliers", "attention_balance", 2, robust_outliers),
    Exercise("guarded_choice", "attention_balance", 2, guarded_choice),
    Exercise("tune_rounds", "attention_balance", 3, tune_rounds),
]
