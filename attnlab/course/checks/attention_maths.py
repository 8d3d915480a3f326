"""Checks of lesson 01, the mathematics of attention."""

import math
from collections.abc import Generator

import torch
from torch import Tensor

from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    a_tensor,
    compare,
    require,
    same,
    where,
)

Held = Generator[str, None, None]


def softmax(answer: Answer, draw: Draw) -> Held:
    """``softmax(scores, temperature=1.0)``: positive weights that sum to 1 over the last axis."""
    scores = draw.normal(6)
    compare(
        answer.tensor(scores, shape=(6,), what="weights"),
        scores.softmax(-1),
        {
            "The exponentials are right, but they do not sum to 1.\nDid you divide by their sum?": scores.exp,
            "Your weights are the shares of the scores themselves.\nWhere is the exponential?": (
                lambda: scores / scores.sum()
            ),
            "Small scores get the large weights.\nIs there a minus sign too many?": (
                lambda: (-scores).softmax(-1)
            ),
        },
        "For a single row of scores the weights are wrong.\nIs it exp(score) over the sum of all exp(score)?",
    )
    yield "one row: positive, and sums to 1"

    scores = draw.normal(4, 6)
    compare(
        answer.tensor(scores, shape=(4, 6), what="weights"),
        scores.softmax(-1),
        {
            "The columns of your weights sum to 1, not the rows.\n"
            "The keys are on the last axis: did you sum over it?": lambda: scores.softmax(-2),
            "All rows together sum to 1.\nDid you sum over the whole tensor instead of the last axis?": (
                lambda: scores.flatten().softmax(0).view(4, 6)
            ),
        },
        "For several rows the weights are wrong.\nDoes the sum keep its axis (keepdim=True)?",
    )
    scores = draw.normal(2, 4, 6)
    compare(
        answer.tensor(scores, shape=(2, 4, 6), what="weights"),
        scores.softmax(-1),
        {
            "Right for a matrix, but for a batch (B, T_q, T_k) you sum over axis 1.\nThe last axis is -1.": (
                lambda: scores.softmax(1)
            ),
            "Right for a matrix, but for a batch (B, T_q, T_k) you sum over axis 0.\nThe last axis is -1.": (
                lambda: scores.softmax(0)
            ),
        },
        "Right for a matrix, wrong for a batch of shape (B, T_q, T_k).\nThe last axis is -1.",
    )
    yield "each row by itself, in a batch too"

    large = torch.tensor([1000.0, 999.0, 900.0]) + draw.normal(3)
    weights = answer.tensor(large, shape=(3,), what="weights", may_be_nan=True)
    require(
        weights.isfinite().all(),
        "With scores near 1000 your weights are not finite: exp(1000) overflows.\n"
        "Adding the same number to all scores changes no weight. Which number would help?",
    )
    require(same(weights, large.softmax(-1), 1e-3), "With scores near 1000 your weights are wrong.")
    apart = torch.tensor([[1000.0, 999.0], [-1000.0, -999.0]]) + draw.normal(2, 2)
    weights = answer.tensor(apart, shape=(2, 2), what="weights", may_be_nan=True)
    require(
        weights.isfinite().all(),
        "Where one row has scores near 1000 and another near -1000, one of them is 0 / 0.\n"
        "Did you subtract the largest score of the whole tensor instead of each row's own?",
    )
    require(
        same(weights, apart.softmax(-1), 1e-3),
        "With rows at very different levels your weights are wrong.",
    )
    yield "stable at large scores"

    scores, temperature = draw.normal(3, 5), 0.25 + 0.5 * draw.whole(3, 5)
    compare(
        answer.tensor(scores, temperature=temperature, shape=(3, 5), what="weights"),
        (scores / temperature).softmax(-1),
        {
            "The temperature has no effect.\n"
            "Does it cancel, or is it not used? Divide the scores, before the "
            "exponential.": lambda: scores.softmax(-1),
            "A higher temperature makes your weights sharper; it should flatten them.\nMultiply, or divide?": (
                lambda: (scores * temperature).softmax(-1)
            ),
            "With a temperature your rows no longer sum to 1.\n"
            "Did you divide the weights instead of the scores?": (
                lambda: scores.softmax(-1) / temperature
            ),
        },
        f"With temperature {temperature} the weights are wrong.\n"
        "Did you divide the scores by it, before anything else?",
    )
    for temperature in (0.25, 2.25):
        weights = answer.tensor(
            large, temperature=temperature, shape=(3,), what="weights", may_be_nan=True
        )
        require(
            same(weights, (large / temperature).softmax(-1), 1e-3),
            f"With scores near 1000 and temperature {temperature} the weights are wrong.\n"
            "Do you divide by the temperature first, and then subtract the largest?",
        )
    yield "temperature divides the scores"

    answer.gradients(
        lambda scores, temperature: (scores / temperature).softmax(-1),
        draw.normal(2, 5),
        temperature=1.75,
    )
    yield "gradients pass through"


def scaled_dot_scores(answer: Answer, draw: Draw) -> Held:
    """``scaled_dot_scores(query, key)``: how well each key answers each query, at any width."""
    queries, keys, width = 5, 7, 64
    query, key = draw.normal(queries, width), draw.normal(keys, width)
    product = query @ key.T
    right = product / math.sqrt(width)
    scores = answer(query, key)
    require(
        not (isinstance(scores, Tensor) and tuple(scores.shape) == (keys, queries)),
        f"Your scores have shape ({keys}, {queries}): a row for each key.\n"
        "Queries ask: which of the two should be the rows?",
    )
    scores = a_tensor(scores, (queries, keys), "scores")
    spread = scores.std().item()
    seen = f"With d = {width} your scores have a standard deviation of {spread:.2g}; they should have about 1."
    compare(
        scores,
        right,
        {
            f"{seen}\nDid you divide by the square root of the width of a key?": lambda: product,
            f"{seen}\nDid you divide by the width itself instead of its square root?": lambda: (
                product / width
            ),
            f"{seen}\nDid you multiply by the square root of the width?": lambda: (
                product * math.sqrt(width)
            ),
            f"{seen}\nDid you divide by the root of the number of keys? The sum runs over the width.": (
                lambda: product / math.sqrt(keys)
            ),
            f"{seen}\nDid you divide by the root of the number of queries? The sum runs over the width.": (
                lambda: product / math.sqrt(queries)
            ),
            "These are weights: their rows sum to 1.\nScores come before the softmax.": (
                lambda: right.softmax(-1)
            ),
            f"{seen}\n`d**1/2` is d / 2, as `**` binds before `/`. The root is `d**0.5`.": (
                lambda: product / width**1 / 2
            ),
            "Your scores do not change if a query is twice as long.\n"
            "Did you normalise the vectors (cosine)? Only their "
            "width matters here.": lambda: torch.cosine_similarity(
                query[:, None], key[None], dim=-1
            ),
        },
        "The scores are wrong.\nIs it one dot product per pair of query and key?",
    )
    yield "one score per query and key"
    yield "a standard deviation of about 1, also at d = 64"
    for width in (1, 16, 256):
        query, key = draw.normal(2, width), draw.normal(3, width)
        compare(
            answer.tensor(query, key, shape=(2, 3), what="scores"),
            query @ key.T / math.sqrt(width),
            {
                f"Right at d = 64, wrong at d = {width}.\nIs there an 8 typed in where sqrt(d) should be?": (
                    lambda query=query, key=key: query @ key.T / 8
                )
            },
            f"Right at d = 64, wrong at d = {width}.\nDo you take the width from the shape of the key?",
        )
    for batch in ((2,), (2, 3)):
        query, key = draw.normal(*batch, 4, 8), draw.normal(*batch, 5, 8)
        names = "(B, T, D)" if len(batch) == 1 else "(B, H, T, D)"
        with where(f"Right for matrices, wrong for batches {names}: .T turns all axes round."):
            scores = answer.tensor(query, key, shape=(*batch, 4, 5), what="scores")
        product = query @ key.transpose(-2, -1)
        other = (
            "Right for matrices, but in a batch you scale by another axis.\nThe width is shape[-1]."
        )
        compare(
            scores,
            product / math.sqrt(8),
            {
                f"{other} (Yours: {size})": (
                    lambda size=size, product=product: product / math.sqrt(size)
                )
                for size in (2, 3, 4, 5)
            },
            f"Right for matrices, wrong for batches {names}.\nDo you count the axes from the end?",
        )
    answer.gradients(lambda q, k: q @ k.mT / math.sqrt(8), query, key)
    yield "any width, and batches"


def softmax_gradient(answer: Answer, draw: Draw) -> Held:
    """``softmax_gradient(weights, gradient)``: from dLoss/dweights back to dLoss/dscores."""
    scores, gradient = draw.normal(6).requires_grad_(), draw.normal(6)
    w = scores.softmax(-1)
    (right,) = torch.autograd.grad(w, scores, gradient)
    w = w.detach()
    mean = (w * gradient).sum(-1, keepdim=True)
    compare(
        answer.tensor(w, gradient, shape=(6,), what="gradient"),
        right,
        {
            "You let each weight depend on its own score only: w * g.\n"
            "Raising one score also lowers all other weights: "
            "which term says that?": lambda: w * gradient,
            "You use the diagonal of the Jacobian only: w (1 - w) g.\n"
            "What about the entries -w_i w_j beside it?": (lambda: w * (1 - w) * gradient),
            "You subtract the plain mean of the gradient.\nIs it a mean with all keys alike, or weighted?": (
                lambda: w * (gradient - gradient.mean())
            ),
            "You subtract the sum of the gradient.\nShould it not be weighted by w?": (
                lambda: w * (gradient - gradient.sum())
            ),
            "The weighted mean is taken off, but the factor w in front is missing.": lambda: (
                gradient - mean
            ),
            "The sign is turned round.\nWhich way does a weight go when its own score rises?": lambda: (
                -right
            ),
            "Twice the right answer, less w g: you add the weighted mean instead of taking it off.": (
                lambda: w * (gradient + mean)
            ),
        },
        "For one row the gradient is wrong; autograd says otherwise.\n"
        "Write the Jacobian out for two keys: what are its "
        "four entries?",
    )
    yield "one row: as autograd says"

    scores, gradient = draw.normal(3, 4, 5).requires_grad_(), draw.normal(3, 4, 5)
    w = scores.softmax(-1)
    (right,) = torch.autograd.grad(w, scores, gradient)
    w = w.detach()
    compare(
        answer.tensor(w, gradient, shape=(3, 4, 5), what="gradient"),
        right,
        {
            "Rows influence each other.\nDid you sum over the whole tensor instead of the last axis?": (
                lambda: w * (gradient - (w * gradient).sum())
            ),
            "You sum over the queries.\nWhich axis is normalised by the softmax?": (
                lambda: w * (gradient - (w * gradient).sum(-2, keepdim=True))
            ),
            "Right for one row; for a batch you sum over axis 0.\nThe last axis is -1.": (
                lambda: w * (gradient - (w * gradient).sum(0, keepdim=True))
            ),
        },
        "Right for one row, wrong for a batch.\nDoes the sum run over the last axis, with keepdim=True?",
    )
    yield "each row by itself"
    w, gradient = draw.weights(4, 6), draw.normal(4, 6)
    total = answer(w, gradient).sum(-1).abs().max().item()
    require(total < 1e-5, f"The gradient of a row should sum to 0, yours sums to {total:.2g}.")
    yield "sums to 0: the same added to all scores changes nothing"


def entropy(answer: Answer, draw: Draw) -> Held:
    """``entropy(weights)``: how widely each row is spread, in nats."""
    keys = draw.whole(3, 9)
    uniform = torch.full((1, keys), 1 / keys)
    right = math.log(keys)
    value = answer.tensor(uniform, shape=(1,), what="entropy").item()
    units = {
        math.log2(keys): "That is in bits.\nWhich logarithm gives nats?",
        right
        / keys: "You take the mean over the keys.\nThe weights already weigh: is a sum not enough?",
        -right: "It is negative: log w is below 0 for weights below 1.\nWhere does the minus sign go?",
        1.0: "Equal weights give 1: you divide by the largest value it can have.\n"
        "That is a good measure, but here the "
        "raw entropy is asked for.",
        float(
            keys
        ): "That is exp(entropy), the effective number of keys.\nIs there an exponential too many?",
    }
    for wrong, diagnosis in units.items():
        require(
            abs(value - right) < 1e-4 or abs(value - wrong) > 1e-4,
            f"{keys} equal weights should give log({keys}) = {right:.3f}; yours is {value:.3f}.\n"
            f"{diagnosis}",
        )
    for extra in (1e-1, 1e-2, 1e-3, 1e-4):
        added = -(uniform * (uniform + extra).log()).sum().item()
        require(
            abs(value - right) < 1e-4 or abs(value - added) > 1e-6,
            f"{keys} equal weights should give log({keys}) = {right:.4f}; yours is {value:.4f}.\n"
            f"Did you add {extra:g} to the weights to save the logarithm? It must be far smaller.",
        )
    require(
        abs(value - right) < 1e-4,
        f"{keys} equal weights should give log({keys}) = {right:.3f}; yours is {value:.3f}.\n"
        "Is it -sum(w log w)?",
    )
    yield f"{keys} equal weights give log({keys})"

    weights = draw.weights(4, 6)
    right = torch.special.entr(weights).sum(-1)
    result = answer(weights)
    require(
        not (isinstance(result, Tensor) and tuple(result.shape) == ()),
        "One number for all rows: each query has an entropy of its own.\nDid you sum over everything?",
    )
    require(
        not (isinstance(result, Tensor) and tuple(result.shape) == (6,)),
        "One number for each key, but it is queries that spread their weight.\nDid you sum over the wrong axis?",
    )
    compare(
        a_tensor(result, (4,), "entropy"),
        right,
        {},
        "For rows of different weights the entropy is wrong.",
        tolerance=1e-4,
    )
    weights = draw.weights(2, 3, 5)
    with where("Right for a matrix, wrong for a batch: the last axis is -1."):
        compare(
            answer.tensor(weights, shape=(2, 3), what="entropy"),
            torch.special.entr(weights).sum(-1),
            {},
            "The entropy differs.",
        )
    yield "one number for each query"

    sure = torch.eye(4)
    result = answer.tensor(sure, shape=(4,), what="entropy", may_be_nan=True)
    require(
        not result.isnan().any(),
        "With a weight of exactly 0 your entropy is NaN: 0 * log(0) is 0 * -inf.\n"
        "What should 0 log 0 be, and how do you keep the logarithm away from 0?",
    )
    require(
        same(result, torch.zeros(4), 1e-4),
        f"A query that looks at one key only has entropy 0; yours is {result.max().item():.3g}.\n"
        "Did you add something to the weights to save the logarithm? Then it must be far smaller.",
    )
    yield "a single key gives 0, without NaN"
    answer.gradients(lambda w: torch.special.entr(w).sum(-1), draw.weights(3, 5))
    yield "gradients pass through"


def additive_scores(answer: Answer, draw: Draw) -> Held:
    """``additive_scores(query, key, query_weight, key_weight, vector)``: a small network for each pair."""

    def reference(query: Tensor, key: Tensor, u: Tensor, w: Tensor, v: Tensor) -> Tensor:
        rows = [[v @ torch.tanh(q @ u + k @ w) for k in key] for q in query]
        return torch.stack([torch.stack(row) for row in rows])

    def shapes(queries: int, keys: int, d_q: int, d_k: int, hidden: int) -> list[Tensor]:
        return [
            draw.normal(queries, d_q),
            draw.normal(keys, d_k),
            draw.normal(d_q, hidden),
            draw.normal(d_k, hidden),
            draw.normal(hidden),
        ]

    a = b = torch.zeros(1, 6)
    while not 1 <= (a + b < 0).sum() <= 5:  # hidden sums of both signs, or ReLU could hide
        query, key, u, w, v = shapes(1, 1, 4, 4, 6)
        a, b = query @ u, key @ w
    v = 2 * v / ((a + b) @ v).abs()  # not so small that tanh does nothing
    inputs = query, key, u, w, v
    compare(
        answer.tensor(*inputs, shape=(1, 1), what="scores"),
        reference(*inputs),
        {
            "For one query and one key: the tanh is missing.\n"
            "Without it the score is a sum of two numbers that do not "
            "know of each other.": lambda: ((a + b) @ v)[:, None],
            "For one query and one key: the tanh comes after the vector.\nWhich of the two is the hidden layer?": (
                lambda: ((a + b) @ v).tanh()[:, None]
            ),
            "For one query and one key: that is a sigmoid.\nThe formula asks for tanh.": (
                lambda: ((a + b).sigmoid() @ v)[:, None]
            ),
            "For one query and one key: that is a ReLU.\nThe formula asks for tanh.": (
                lambda: ((a + b).relu() @ v)[:, None]
            ),
            "For one query and one key: you multiply what comes from the query and from the key.\n"
            "Why is it called "
            "additive?": lambda: ((a * b).tanh() @ v)[:, None],
            "For one query and one key: the two weight matrices have changed places.": (
                lambda: ((query @ w + key @ u).tanh() @ v)[:, None]
            ),
            "For one query and one key: you take tanh of each part and then add.\nAdd first.": (
                lambda: ((a.tanh() + b.tanh()) @ v)[:, None]
            ),
        },
        "For one query and one key the score is wrong.\n"
        "Is it vector · tanh(query_weight' query + key_weight' key)?",
    )
    yield "one query, one key"

    inputs = shapes(3, 5, 4, 4, 6)
    scores = answer(*inputs)
    require(
        not (isinstance(scores, Tensor) and tuple(scores.shape) == (5, 3)),
        "Your scores have a row for each key.\nQueries ask: should they not be the rows?",
    )
    compare(
        a_tensor(scores, (3, 5), "scores"),
        reference(*inputs),
        {},
        "With several queries and keys the scores are wrong.\nDoes every query meet every key?",
    )
    yield "every query meets every key"
    inputs = shapes(2, 4, 3, 8, 5)
    compare(
        answer.tensor(*inputs, shape=(2, 4), what="scores"),
        reference(*inputs),
        {},
        "Where queries and keys have different widths the scores are wrong.",
    )
    query, key, u, w, v = shapes(3, 4, 6, 6, 5)
    batch = torch.stack([query, query.flip(0)]), torch.stack([key, key.flip(0)])
    right = torch.stack([reference(q, k, u, w, v) for q, k in zip(*batch, strict=True)])
    with where("Right for matrices, wrong for a batch: do you count the axes from the end?"):
        scores = answer.tensor(*batch, u, w, v, shape=(2, 3, 4), what="scores")
        compare(scores, right, {}, "The scores differ.")
        heads = [one[:, None] for one in batch]
        scores = answer.tensor(*heads, u, w, v, shape=(2, 1, 3, 4), what="scores")
        compare(scores, right[:, None], {}, "The scores differ for (B, H, T, D).")
    answer.gradients(reference, query, key, u, w, v)
    yield "different widths, and batches"


def sinusoidal_positions(answer: Answer, draw: Draw) -> Held:
    """``sinusoidal_positions(length, width)``: sines in even columns, cosines in odd ones."""
    length, width = 2 * draw.whole(2, 4) + 1, 2 * draw.whole(2, 5)  # never the same
    rows = []
    for position in range(length):
        row = []
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    right = torch.tensor(rows)
    place = torch.arange(length)[:, None].float()
    pair = torch.arange(0, width, 2).float()

    def waves(angles: Tensor) -> Tensor:
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)

    angles = place / 10000 ** (pair / width)
    result = answer(length, width)
    require(
        not (isinstance(result, Tensor) and tuple(result.shape) == (width, length)),
        f"Shape ({width}, {length}): a row for each column of the width.\n"
        "A row should be a position; is one thing transposed?",
    )
    result = a_tensor(result, (length, width), "positions")
    compare(
        result[:1],
        right[:1],
        {
            "At position 0 all sines should be 0. Yours begins with another position.\n"
            "Does your count start at 1?": (
                lambda: waves((place + 1) / 10000 ** (pair / width))[:1]
            ),
            "All sines come first, then all cosines.\n"
            "Here they take turns: sine in even columns, cosine in odd ones.": (
                lambda: torch.cat([angles.sin(), angles.cos()], -1)[:1]
            ),
            "Sine and cosine have changed places: position 0 should begin with sin(0) = 0.": (
                lambda: torch.stack([angles.cos(), angles.sin()], -1).flatten(-2)[:1]
            ),
        },
        "Position 0 should be 0, 1, 0, 1, ...: sin(0) and cos(0) in turn.",
    )
    yield "position 0 is 0, 1, 0, 1, ..."
    compare(
        result,
        right,
        {
            "Your waves get slow too late: a pair shares one frequency.\n"
            "Is the exponent 2i / width, with i the number of "
            "the pair?": lambda: waves(place / 10000 ** (torch.arange(width // 2) / width)),
            "Your waves get faster from column to column; they should get slower.\n"
            "Divide the position by the power, or "
            "multiply?": lambda: waves(place * 10000 ** (pair / width)),
            "All columns have the same frequency.\nWhere does the number of the pair come in?": (
                lambda: waves(place.expand(length, width // 2))
            ),
            "The exponent is too large: 2i is divided by half of the width.": (
                lambda: waves(place / 10000 ** (2 * pair / width))
            ),
            "Sine and cosine of one pair have different frequencies: every column has its own.\n"
            "Did you use the number of "
            "the column instead of the pair's?": lambda: torch.stack(
                [angles.sin(), (place / 10000 ** ((pair + 1) / width)).cos()], -1
            ).flatten(-2),
            "The base is e instead of 10000.": lambda: waves(place / torch.exp(pair / width)),
            "The base is 1000 instead of 10000.": lambda: waves(place / 1000 ** (pair / width)),
        },
        "The frequencies are wrong.\nIs the angle position / 10000^(2i / width), with i the number of the pair?",
        tolerance=1e-4,
        loosely=3e-2,
    )
    yield "frequencies fall from 1 towards 1/10000"
    single = answer.tensor(1, 2, shape=(1, 2), what="positions")
    require(same(single, torch.tensor([[0.0, 1.0]])), "One position of width 2 should be [[0, 1]].")
    yield "a single position"


EXERCISES = [
    Exercise(
        "softmax", "attention_maths", 2, softmax, frozenset({"softmax", "log_softmax", "softmin"})
    ),
    Exercise(
        "scaled_dot_scores",
        "attention_maths",
        1,
        scaled_dot_scores,
        frozenset({"scaled_dot_scores"}),
    ),
    Exercise(
        "softmax_gradient",
        "attention_maths",
        3,
        softmax_gradient,
        frozenset(
            {"grad", "backward", "jacobian", "vjp", "jvp", "make_dual", "_softmax_backward_data"}
        ),
    ),
    Exercise(
        "entropy", "attention_maths", 1, entropy, frozenset({"entropy", "entr", "special_entr"})
    ),
    Exercise(
        "additive_scores", "attention_maths", 2, additive_scores, frozenset({"additive_scores"})
    ),
    Exercise(
        "sinusoidal_positions",
        "attention_maths",
        2,
        sinusoidal_positions,
        frozenset({"sinusoidal_positions"}),
    ),
]
