"""Exercise ``normalised_entropy``: how evenly each head spreads its attention, from 0 to 1."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import entropy
from attnlab.course.checks.attention_balance.shapes import shape_of
from attnlab.course.checks.examiner import (
    Answer,
    Call,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    not_finite,
    require,
    same_shape,
    some_numbers,
)

SMALL = (
    "Where many keys share a hundred-thousandth of the weight the result is wrong.\n"
    "Is a weight changed or left out that is small, but not 0?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``normalised_entropy(weights, mask)``: how evenly each head spreads its weight, 0 to 1."""
    compared = Comparison(answer, reference, MISTAKES, read=_read, tolerance=1e-4)

    def texts(*lengths: int) -> Callable[[], Call]:
        return lambda: Call(*_texts(draw, lengths))

    compared.on(
        texts(6),
        "For one text without padding the result is wrong.\n"
        "The entropy of each query, divided by the largest it can be, and the mean: which step "
        "differs?",
        facts=_facts,
    )
    yield "without padding: entropy over its largest value, the mean of each head's queries"

    compared.on(
        texts(5, 2, 7, 4),
        "Right without padding, wrong with it.\n"
        "The mask is needed twice: for the number of keys of a text, and for the queries that "
        "count. Which one differs?",
        facts=_facts,
    )
    yield "with padding: each text by its own number of keys, and every text counts the same"

    def many_keys() -> Call:
        weights = torch.full((1, 2, 40, 40), 1e-5 / 40, dtype=torch.double)
        weights[..., draw.whole(0, 39)] += 1 - 1e-5
        return Call(weights, torch.ones(1, 40, dtype=torch.bool))

    exact = Comparison(answer, reference, read=_read, tolerance=1e-6, draws=1)
    exact.on(many_keys, SMALL)
    yield "however small the weights"

    compared.on(
        texts(4, 1, 5, 1),
        "With texts of a single token the result is wrong.\n"
        "Are they left out, and out of the number of texts?",
        facts=_facts,
    )
    yield "a text of a single token is left out"


def reference(weights: Tensor, mask: Tensor) -> Tensor:
    """Text by text, with its padding cut off, (H,)."""
    shares = [
        torch.special.entr(text[:, real][:, :, real]).sum(-1).mean(-1) / math.log(real.sum())
        for text, real in zip(weights, mask, strict=True)
        if real.sum() > 1
    ]
    return torch.stack(shares).mean(0)


def _texts(draw: Draw, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights (B, 3, T, T) as a model gives them, exactly 0 at padded keys, and the mask (B, T)."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    scores = 1.5 * draw.normal(len(lengths), 3, max(lengths), max(lengths))
    return scores.masked_fill(~mask[:, None, None], -math.inf).softmax(-1), mask


def _read(result: Any, right: Tensor) -> Tensor:
    """A number for each head."""
    numbers = some_numbers(result, tuple(right.shape), "normalised entropy", may_be_nan=True)
    require(not numbers.isnan().any(), "There is NaN in the result.\nIs something 0 / 0 or log(0)?")
    return numbers


def _facts(call: Call, result: Any) -> dict[str, Any]:
    return {"shape": shape_of(result), "tokens": call.arguments[1].shape[1]}


# --- What learners write instead -----------------------------------------------------------------


def _nats(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(-1)  # (B, H, T)


def _keys(mask: Tensor) -> Tensor:
    return mask.sum(-1)[:, None, None]  # (B, 1, 1)


def _log_of_keys(mask: Tensor) -> Tensor:
    return _keys(mask).log()


def _log_of_width(mask: Tensor) -> Tensor:
    return torch.tensor(mask.shape[1]).log()


def _real_queries(share: Tensor, mask: Tensor) -> Tensor:
    return (share * mask[:, None]).sum(2) / mask.sum(-1, keepdim=True)  # (B, H)


def _several_keys(texts: Tensor, mask: Tensor) -> Tensor:
    return texts[mask.sum(-1) > 1].mean(0)


def _one(mask: Tensor) -> Tensor:
    return torch.ones(())


def _spreading(
    entropy: Callable[[Tensor], Tensor] = _nats,
    most: Callable[[Tensor], Tensor] = _log_of_keys,
    queries: Callable[[Tensor, Tensor], Tensor] = _real_queries,
    texts: Callable[[Tensor, Tensor], Tensor] = _several_keys,
    finish: Callable[[Tensor], Tensor] = lambda figures: figures,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Normalised entropy with a part exchanged."""

    def answer(weights: Tensor, mask: Tensor) -> Tensor:
        return finish(texts(queries(entropy(weights) / most(mask), mask), mask))

    return answer


def _over_all_queries(most: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Every query of the batch counts the same."""

    def answer(weights: Tensor, mask: Tensor) -> Tensor:
        share = _nats(weights) / most(mask) * mask[:, None]
        return share.sum((0, 2)) / mask.sum()

    return answer


def _ratio_of_means(weights: Tensor, mask: Tensor) -> Tensor:
    return _real_queries(_nats(weights), mask).mean(0) / _log_of_keys(mask).mean()


def _ratio_of_sums(weights: Tensor, mask: Tensor) -> Tensor:
    most = _log_of_keys(mask).expand(weights.shape[:3]) * mask[:, None]
    return (_nats(weights) * mask[:, None]).sum((0, 2)) / most.sum((0, 2))


def _single_token_as(figure: float) -> Callable[[Tensor, Tensor], Tensor]:
    def texts(means: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask.sum(-1, keepdim=True) > 1, means, figure).mean(0)

    return texts


def _shifted_entropy(extra: float, weights: Tensor) -> Tensor:
    return -(weights * (weights + extra).log()).sum(-1)


def _keep(figures: Tensor, mask: Tensor) -> Tensor:
    return figures


NO_UNIT = "Which logarithm must both have, so that the unit drops out?"
LARGEST = "How large can it be with n keys, and where do you divide by that?"
ANOTHER = "A good measure, too; but which one does the docstring name?"
WHEN = "Short texts have another largest value than long ones: when must you divide?"
HOW_MANY_KEYS = "At how many keys can a query of a text look?"

ONE_TEXT = [  # mistakes that give a wrong result without padding, too
    Mistake(
        lambda weights, mask: _spreading()(weights, ~mask),
        "There is NaN, though nothing is padded: of no token nothing is left to be a mean of.\n"
        "Is the mask turned round? It is True at real tokens.",
        alike=not_finite,
    ),
    Mistake(
        _spreading(most=_one),
        f"That is the entropy in nats, as it is: in a longer text it can be larger.\n{LARGEST}",
    ),
    Mistake(
        _spreading(most=_one, finish=lambda figures: figures / math.log(2)),
        f"That is the entropy in bits, as it is: in a longer text it can be larger.\n{LARGEST}",
    ),
    Mistake(
        _spreading(finish=lambda figures: figures / math.log(2)),
        f"The entropy is in bits, and what you divide by is in nats.\n{NO_UNIT}",
    ),
    Mistake(
        _spreading(finish=lambda figures: figures * math.log(2)),
        f"The entropy is in nats, and what you divide by is in bits.\n{NO_UNIT}",
    ),
    Mistake(
        _spreading(finish=torch.neg),
        "It is negative: log w is below 0 for weights below 1.\nWhere does the minus sign go?",
    ),
    Mistake(
        _spreading(most=_keys),
        "The entropy is divided by the number of keys.\n"
        "What is the entropy of n equal weights, n or log n?",
    ),
    Mistake(
        _spreading(most=lambda mask: (_keys(mask) + 1).log()),
        "You divide by log(n + 1), so that equal weights do not give 1.\n"
        "What is the entropy of n equal weights?",
    ),
    Mistake(
        _spreading(entropy=lambda weights: _nats(weights).exp(), most=_keys),
        f"That is the effective number of keys, exp(entropy), as a share of all.\n{ANOTHER}",
    ),
    Mistake(
        _spreading(entropy=lambda weights: _nats(weights).exp(), most=_one),
        f"That is the effective number of keys, exp(entropy).\n{ANOTHER}",
    ),
    Mistake(
        _spreading(finish=lambda figures: 1 - figures),
        "The scale is reversed: 1 for a head that looks at one key only.\nWhich head should get 1?",
    ),
    Mistake(
        _spreading(queries=lambda share, mask: share.sum(2)),
        "The queries are added up.\nA mean over them: by what must the sum be divided?",
    ),
    Mistake(
        _spreading(entropy=lambda weights: torch.special.entr(weights).mean(-1)),
        "The mean over the keys is taken where a sum is due.\n"
        "The weights weigh the keys already: what is left to divide by?",
    ),
    *(
        Mistake(
            _spreading(entropy=functools.partial(_shifted_entropy, extra)),
            f"{extra:g} is added to the weights to save the logarithm; that is so much that it "
            "shows.\nHow small can it be?",
        )
        for extra in (0.1, 0.01, 0.001)
    ),
    Mistake(
        _spreading(finish=torch.mean),
        "The result has shape {shape}. One number came back for all heads.\n"
        "Which axis of (B, H, T, T) must stay?",
        alike=same_shape,
    ),
    Mistake(
        _spreading(queries=lambda share, mask: share.mean((1, 2)), texts=_keep),
        "The result has shape {shape}. One number came back for each text.\n"
        "Which axis of (B, H, T, T) must stay?",
        alike=same_shape,
    ),
    Mistake(
        _spreading(texts=_keep),
        "The result has shape {shape}. There is still a number for each text and head.\n"
        "Over what is a mean to be taken, besides the queries?",
        alike=same_shape,
    ),
    Mistake(
        _spreading(queries=_keep, texts=_keep),
        "The result has shape {shape}. There is still a number for each query.\n"
        "Over which of them is the mean to be taken?",
        alike=same_shape,
    ),
    Mistake(
        _spreading(queries=_keep, texts=lambda share, mask: share.mean(0)),
        "The result has shape {shape}. There is still a number for each head and query.\n"
        "Over which queries is the mean to be taken?",
        alike=same_shape,
    ),
]
PADDING = [
    Mistake(
        _spreading(entropy=lambda weights: -(weights * weights.log()).sum(-1)),
        "With padding there is NaN: a padded key has weight 0, its logarithm is -inf, and 0 times "
        "that is NaN.\nWhat can you do to the weights before the logarithm, so that such a key "
        "adds 0?",
        alike=not_finite,
    ),
    Mistake(
        _spreading(most=_log_of_width),
        "Padding is counted as keys: you divide by log {tokens}, the width of the batch, so that "
        f"short texts never reach 1.\n{HOW_MANY_KEYS}",
    ),
    Mistake(
        _spreading(queries=lambda share, mask: share.mean(2)),
        "The rows of padding go into the mean. They look somewhere, too, but nobody reads them.\n"
        "Which rows does `mask` mark?",
    ),
    Mistake(
        _spreading(most=_log_of_width, queries=lambda share, mask: share.mean(2)),
        "Padding is counted as keys, and its rows go into the mean.\nWhere do you use `mask`?",
    ),
    Mistake(
        _spreading(queries=lambda share, mask: (share * mask[:, None]).mean(2)),
        "The real queries are added up and divided by the number of all, padding included.\n"
        "How many queries are there in the mean of a text?",
    ),
    Mistake(
        _spreading(queries=lambda share, mask: share.sum(2) / mask.sum(-1, keepdim=True)),
        "The rows of padding are added up, and the sum is divided by the number of real ones.\n"
        "Which rows does `mask` mark?",
    ),
    Mistake(
        _over_all_queries(_log_of_keys),
        "That is the mean over all real queries of the batch: a long text counts for more than a "
        "short one.\nIf every text counts the same, which mean comes first?",
    ),
    Mistake(
        _over_all_queries(_log_of_width),
        "Padding is counted as keys, and a long text counts for more than a short one.\n"
        "At how many keys can a query of a text look, and which mean comes first?",
    ),
    Mistake(
        _ratio_of_means,
        f"The mean entropy of the texts is divided by the mean of its largest values.\n{WHEN}",
    ),
    Mistake(
        _ratio_of_sums,
        "The entropies of all queries are added up, and divided by the sum of their largest "
        f"values.\n{WHEN}",
    ),
    Mistake(
        _spreading(most=lambda mask: mask.sum(-1).float().mean().log()),
        f"The largest entropy is that of a text of mean length.\n{WHEN}",
    ),
    Mistake(
        _spreading(most=lambda mask: mask.sum().log()),
        f"The largest entropy is that over all real tokens of the batch.\n{HOW_MANY_KEYS}",
    ),
    Mistake(
        _spreading(texts=lambda means, mask: means.sum(0)),
        "The texts are added up.\nA mean over them: by what must the sum be divided?",
    ),
]
SINGLE_TOKEN = [
    Mistake(
        _spreading(texts=lambda means, mask: means.mean(0)),
        "One text has a single token. Its entropy is 0, the largest it can be is log 1 = 0, and "
        "0 / 0 is no number.\n"
        "The docstring says what becomes of such a text: where do you see to it?",
        alike=not_finite,
    ),
    Mistake(
        _spreading(texts=_single_token_as(0.0)),
        "A text of a single token counts as 0, as if its heads had chosen to look at one key.\n"
        "It has no other: what does the docstring say becomes of it?",
    ),
    Mistake(
        _spreading(texts=_single_token_as(1.0)),
        "A text of a single token counts as 1, as if its heads were spread evenly.\n"
        "What does the docstring say becomes of it?",
    ),
]
MISTAKES = [*ONE_TEXT, *PADDING, *SINGLE_TOKEN]


def _ours(weights: Tensor, mask: Tensor) -> Tensor:
    """By the package's own entropy."""
    share = entropy(weights, mask[:, None, None], normalised=True)
    texts = (share * mask[:, None]).sum(-1) / mask.sum(-1, keepdim=True)
    return texts[mask.sum(-1) > 1].mean(0)


EXERCISE = Exercise(
    "normalised_entropy", "attention_balance", 3, check, mistakes=MISTAKES, ours=_ours
)
