"""Check of ``normalised_entropy``."""

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    Answer,
    Draw,
    Exercise,
    compare,
    require,
    some_numbers,
)


def check(answer: Answer, draw: Draw) -> Generator[str, None, None]:
    """``normalised_entropy(weights, mask)``: how evenly each head spreads its weight, from 0 to "
    "1."""
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
        "The entropy of each query, divided by the largest it can be, and the mean: which step "
        "differs?",
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
        "With padding there is NaN: a padded key has weight 0, its logarithm is -inf, and 0 times "
        "that is NaN.\n"
        "What can you do to the weights before the logarithm, so that such a key adds 0?",
    )
    compare(
        result,
        over(share),
        {
            f"Padding is counted as keys: you divide by log {tokens}, the width of the batch, so "
            f"that short texts "
            "never reach 1.\nAt how many keys can a query of a text look?": lambda: (
                over(nats) / math.log(tokens)
            ),
            "The rows of padding go into the mean. They look somewhere, too, but nobody reads "
            "them.\n"
            "Which rows does `mask` mark?": lambda: share.mean((0, 2)),
            "Padding is counted as keys, and its rows go into the mean.\n"
            "Where do you use `mask`?": lambda: nats.mean((0, 2)) / math.log(tokens),
            "The real queries are added up and divided by the number of all, padding and all.\n"
            "How many queries are there in the mean of a text?": lambda: (
                total(share) / mask.numel()
            ),
            "The rows of padding are added up, and the sum is divided by the number of real ones.\n"
            "Which rows does `mask` mark?": lambda: (share.sum(2) / lengths[:, None]).mean(0),
            "That is the mean over all real queries of the batch: a long text counts for more "
            "than a short one.\n"
            "If every text counts the same, which mean comes first?": lambda: total(share) / count,
            "Padding is counted as keys, and a long text counts for more than a short one.\n"
            "At how many keys can a query of a text look, and which mean comes first?": lambda: (
                total(nats) / count / math.log(tokens)
            ),
            "The mean entropy of the texts is divided by the mean of its largest values.\n"
            "Short texts have another largest value than long ones: when must you divide?": lambda: (
                over(nats) / most.mean()
            ),
            "The entropies of all queries are added up, and divided by the sum of their largest "
            "values.\n"
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
        "Two places need the mask: how many keys a text has, and which queries count. Which one "
        "differs?",
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
        "One text has a single token. Its entropy is 0, the largest it can be is log 1 = 0, and 0 "
        "/ 0 is no "
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
        "With a text of a single token the result is wrong.\nIs it left out, and out of the "
        "number of texts?",
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
    told = shapes.get(shape_of(result))
    require(told is None, f"The result has shape {shape_of(result)}. {told}")
    return some_numbers(result, (heads,), "normalised entropy", may_be_nan=True)


EXERCISE = Exercise(
    "normalised_entropy", "attention_balance", 3, check, frozenset({"attnlab.entropy"})
)
