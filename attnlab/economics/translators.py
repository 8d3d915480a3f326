"""A translator inside limits, by three routes: heads that close, heads that go, other sizes.

`close_heads` trains weights and gates together, so that a head must be worth what it is charged;
`keep_heads` removes the least important heads of a translator that is trained; `train_within` looks
for sizes that a budget allows, and trains from nothing.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.datasets.pairs import ParallelDataset
from attnlab.datasets.splits import Splits
from attnlab.economics.budgets import Budget
from attnlab.economics.flops import flops
from attnlab.economics.gates import HeadGates
from attnlab.economics.shapes import encoder_decoder_size, megabytes, parameters
from attnlab.errors import AttnlabError, DataError, suggest
from attnlab.heads.settings import Seq2SeqSettings
from attnlab.transformer import Seq2SeqTransformer, build_in, prune
from attnlab.translation import Translator, fit, mean_loss, untrained
from attnlab.translation.batches import PairBatches

__all__ = [
    "SIZES",
    "SizeSearch",
    "close_heads",
    "head_importance",
    "keep_heads",
    "sizes_inside",
    "train_within",
]

SIZES: dict[str, tuple[int, ...]] = {
    "d_model": (16, 24, 32, 48, 64, 96, 128),
    "heads": (1, 2, 4, 8),
    "encoder_layers": (1, 2),
    "decoder_layers": (1, 2),
    "feed_forward": (32, 64, 128, 256, 512),
}
_COSTS = ("parameters", "flops", "megabytes")
_NEAR = 0.75  # of the most that a size spends of a budget; sizes that spend less are not drawn


# --- heads that close -----------------------------------------------------------------------------


class _Gated(nn.Module):
    """A model with a gate on each head, whose loss charges for those that are open."""

    def __init__(self, model: Seq2SeqTransformer, penalty: float):
        super().__init__()
        self.model, self.penalty = model, penalty
        self.gates = HeadGates(model).to(next(model.parameters()).device)

    def settings(self) -> Seq2SeqSettings:
        return self.gates.settings()

    def forward(self, source: Tensor, target: Tensor, labels: Tensor) -> Any:
        output: Any = self.model(source, target, labels, settings=self.settings())
        output.loss = output.loss + self.penalty * self.gates.expected()
        return output


def close_heads(
    translator: Translator,
    splits: Splits,
    penalty: float,
    *,
    epochs: int = 3,
    learning_rate: float = 1e-3,
    gate_rate: float = 100.0,
    **options: Any,
) -> Translator:
    """Train a translator together with gates on its heads, and remove the heads that close.

    Parameters
    ----------
    translator : Translator, trained or `translation.untrained`; stays as it is
    splits : of `ParallelDataset`, with train and dev parts
    penalty : nats a target token that an open head costs: the loss of a batch is the task's plus
        this times the expected number of open heads (L0)
    epochs, learning_rate, **options : of `translation.fit`
    gate_rate : how many times faster gates learn than weights

    Returns
    -------
    Translator without the heads whose gate is 0; the gates of the others are built into its
    weights. ``.history`` is that of the model with its gates, which dev was translated with.

    Raises
    ------
    AttnlabError : a penalty below 0

    Source: Louizos et al. 2018; Voita et al. 2019, section 5.
    """
    if not (math.isfinite(penalty) and penalty >= 0):
        raise AttnlabError(f"penalty is {penalty}; expected the nats a head costs, 0 or more.")
    made: list[_Gated] = []

    def around(model: Seq2SeqTransformer) -> nn.Module:
        made.append(_Gated(model, penalty))
        return made[0]

    trained = fit(
        translator,
        splits,
        around=around,
        choose_by="epoch",  # gates close as training goes on: an earlier epoch has more of them
        epochs=epochs,
        learning_rate=learning_rate,
        head_lr_multiplier=gate_rate,
        **{"weight_decay": 0.0} | options,  # which would pull gates towards being half open
    )
    with torch.no_grad():
        settings = made[0].settings().copy()
    return trained.with_model(build_in(trained.model, settings))


# --- heads that go afterwards ---------------------------------------------------------------------


def head_importance(translator: Translator, pairs: ParallelDataset) -> pd.DataFrame:
    """Measure what each head saves: how much the loss rises when it is silenced (zero ablation).

    Parameters
    ----------
    translator : Translator
    pairs : to measure on, a hundred or more

    Returns
    -------
    DataFrame, a row for each head that is there: ``kind``, ``layer``, ``head``, and ``importance``
        in nats a target token; below 0 where the model is better without
    """
    if not isinstance(pairs, ParallelDataset) or not len(pairs):
        raise DataError(
            "Importance is measured on pairs of texts, such as some hundred of "
            "al.datasets.load('dates').train."
        )
    data, rows = PairBatches(translator, pairs), []
    before = mean_loss(translator, data)
    for kind, layers in translator.model.active.items():
        for layer, head in ((layer, head) for layer, own in enumerate(layers) for head in own):
            settings = translator.settings()
            getattr(settings, kind).scale[layer, head] = 0
            rise = mean_loss(translator, data, settings) - before
            rows.append({"kind": kind, "layer": layer, "head": head, "importance": rise})
    return pd.DataFrame(rows, columns=["kind", "layer", "head", "importance"])


def keep_heads(translator: Translator, pairs: ParallelDataset, count: int) -> Translator:
    """Remove the head whose loss rises least, again and again, until so many are left.

    Nothing is retrained: `translation.fit` does that. After each head the others are measured anew,
    which costs a forward pass of all pairs for each head that is left.

    Parameters
    ----------
    translator : Translator, stays as it is
    pairs : to measure on, see `head_importance`; a hundred of training will do
    count : heads that stay, of encoder, decoder and cross-attention together

    Raises
    ------
    AttnlabError : more heads than there are, or fewer than 0
    """
    there = sum(len(own) for layers in translator.model.active.values() for own in layers)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= there:
        raise AttnlabError(
            f"count is {count!r}: this translator has {there} heads, so 0 to {there} can stay."
        )
    smaller = translator
    for _ in range(there - count):
        table = head_importance(smaller, pairs)
        least = table.loc[table["importance"].idxmin()]
        head = (str(least["kind"]), int(least["layer"]), int(least["head"]))
        smaller = smaller.with_model(prune(smaller.model, [head]))
    return smaller


# --- sizes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SizeSearch:
    """What `train_within` found.

    Attributes
    ----------
    best : Translator, trained
    table : DataFrame, the sizes that were tried, the best first, as `sizes_inside` has them, with
        ``dev_loss`` and ``dev_accuracy`` after the short training; a single size is not tried first
    """

    best: Translator
    table: pd.DataFrame


def sizes_inside(
    budget: Budget,
    base: Mapping[str, Any],
    choices: Mapping[str, Sequence[int]] | None = None,
) -> pd.DataFrame:
    """List the sizes of an encoder-decoder that a budget allows.

    Parameters
    ----------
    budget : of parameters, FLOPs and megabytes; its tokens are those of source and target
    base : a size, ``model.size``, for all that is not chosen, such as the vocabularies
    choices : for each name of a size the values to choose from; default `SIZES`. Widths that heads
        do not divide are left out.

    Returns
    -------
    DataFrame, a row per size: the names chosen, ``parameters``, ``flops``, ``megabytes``, and
    ``spent``, the share of the budget, the largest first

    Raises
    ------
    AttnlabError : nothing fits, with the least that would do; a limit of latency; names or values
        that a size does not have

    Examples
    --------
    >>> base = Seq2SeqTransformer(200, 15).size
    >>> table = sizes_inside(Budget(parameters=20_000, tokens=12), base)
    >>> dict(table.drop(columns=["flops", "megabytes", "spent"]).iloc[0])["d_model"].item()
    24
    """
    base, choices = encoder_decoder_size(base) | {"removed": []}, dict(choices or SIZES)
    _check_choices(base, choices)
    if budget.latency_ms is not None:
        raise AttnlabError(
            "Milliseconds of an encoder-decoder cannot be told from its sizes. Limit parameters=, "
            "flops= or megabytes=, and measure with al.economics.latency."
        )
    rows = []
    for values in itertools.product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        size = base | chosen
        if size["d_model"] % size["heads"] == 0:
            rows.append(chosen | _costs(size, budget))
    if not rows:
        raise AttnlabError(
            "No number of heads divides a width in these choices. Give heads=1 among them, or "
            "widths that the heads divide."
        )
    least = min(rows, key=budget.spent)
    budget.require({name: least[name] for name in _COSTS})
    table = pd.DataFrame([row | {"spent": budget.spent(row)} for row in rows if budget.allows(row)])
    return table.sort_values("spent", ascending=False, kind="stable", ignore_index=True)


def train_within(
    splits: Splits,
    budget: Budget,
    *,
    choices: Mapping[str, Sequence[int]] | None = None,
    vocabulary: int = 1000,
    tries: int = 4,
    short: int = 1,
    epochs: int = 8,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> SizeSearch:
    """Train a translator from nothing inside a budget: try some sizes for a short time, keep one.

    Parameters
    ----------
    splits : of `ParallelDataset`, with train and dev parts
    budget, choices : see `sizes_inside`
    vocabulary : sub-words of each language, at most; their embeddings count in the budget
    tries : sizes to try, drawn from those that spend nearly all of the budget
    short : epochs of each try; the lowest loss on dev wins
    epochs : of the final training, from nothing
    seed : of which sizes are tried, and of the weights
    progress : called after each try with its row
    **options : of `translation.fit`, such as learning_rate and batch_size

    Raises
    ------
    AttnlabError : as for `sizes_inside`; no tries
    """
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise AttnlabError(f"tries is {tries!r}; expected at least 1 size to try.")
    start = untrained(splits, vocabulary=vocabulary, dropout=0.0, seed=seed)
    names = list(choices or SIZES)
    table = sizes_inside(budget, start.model.size, choices)
    near = max(tries, int((table["spent"] >= _NEAR * table["spent"].max()).sum()))
    drawn = np.random.default_rng(seed).permutation(len(table[:near]))[:tries]

    def trained(row: Mapping[str, Any], epochs: int) -> Translator:
        chosen = start.model.size | {name: int(row[name]) for name in names}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Seq2SeqTransformer(**chosen).to(start.device)
            return fit(start.with_model(model), splits, epochs=epochs, seed=seed, **options)

    rows: list[dict[str, Any]] = []
    for row in table.iloc[sorted(drawn.tolist())].to_dict("records"):
        if len(drawn) > 1:
            history: Any = trained(row, short).history
            row |= {name: history.rows[-1][name] for name in ("dev_loss", "dev_accuracy")}
        rows.append(row)
        if progress is not None:
            progress(row)
    tried = pd.DataFrame(rows)
    if len(drawn) > 1:
        tried = tried.sort_values("dev_loss", kind="stable", ignore_index=True)
    return SizeSearch(trained(tried.loc[0], epochs), tried)


# --- helpers --------------------------------------------------------------------------------------


def _costs(size: Mapping[str, Any], budget: Budget) -> dict[str, float]:
    costs = (parameters(size), flops(size, budget.tokens, budget.batch), megabytes(size))
    return dict(zip(_COSTS, costs, strict=True))


def _check_choices(base: Mapping[str, Any], choices: Mapping[str, Sequence[int]]) -> None:
    for name, values in choices.items():
        if name not in SIZES:
            raise AttnlabError(f"There is no size {name!r} to choose. {suggest(name, SIZES)}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise AttnlabError(
                    f"{name} is to be {value!r}; expected whole numbers of at least 1."
                )
        if not len(values):
            raise AttnlabError(f"{name} has no values to choose from; give one or more.")


def __dir__() -> list[str]:
    return sorted(__all__)
