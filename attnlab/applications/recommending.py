"""Recommendation by self-attention over a history: what may a person want next?

A history is read like a text: items are the words, and a decoder with causal attention says after
each which may come next. Beside it stand two ways without attention, and `rank_targets` shows how
much of a result is made by the way it is measured.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.datasets.histories import Histories, item_numbers
from attnlab.device import device as default_device
from attnlab.errors import AttnlabError, suggest
from attnlab.language.model import LanguageModel
from attnlab.statistics import paired_bootstrap
from attnlab.training.history import History
from attnlab.training.stepping import batches, train_steps

__all__ = [
    "Recommender",
    "by_neighbours",
    "by_popularity",
    "hits",
    "ndcg",
    "rank_targets",
    "ranking_table",
]

Scorer = Callable[[Sequence[np.ndarray]], np.ndarray]
PROTOCOLS = ("full", "sampled", "shuffled")
_NEGATIVES = 100
_BEFORE = 0  # the number of what stands before the first item; items follow from 1


class Recommender:
    """Says which item may come next, from the items so far.

    Parameters
    ----------
    model : LanguageModel over the items and one sign for the start
    items : names of the items
    length : how many past items it reads at most

    Source: Kang and McAuley 2018, "Self-attentive sequential recommendation" (SASRec); trained with
    the softmax over all items (Klenitskiy and Vasilev 2023) where the paper draws one negative.
    """

    def __init__(self, model: LanguageModel, items: list[str], length: int):
        self.model, self.items, self.length = model, items, length
        self.history: History | None = None

    @classmethod
    def train(
        cls,
        histories: Histories,
        *,
        length: int = 50,
        d_model: int = 64,
        heads: int = 2,
        layers: int = 2,
        dropout: float = 0.4,
        steps: int = 1600,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.1,
        seed: int = 0,
        **options: Any,
    ) -> "Recommender":
        """Train on what came before the last two items of each person; best on dev is kept.

        Parameters
        ----------
        histories : whose order is learned
        length : past items that are read at most; longer histories are cut into pieces
        d_model, heads, layers, dropout : of the `LanguageModel`
        steps, batch_size, learning_rate, weight_decay, seed, **options : of `training.train_steps`
        """
        torch.manual_seed(seed)
        model = LanguageModel(
            len(histories.items) + 1,
            d_model,
            heads,
            layers,
            positions="learned",
            max_length=length,
            dropout=dropout,
        ).to(default_device())
        made = cls(model, list(histories.items), length)
        given, wanted = _pieces(histories.before("train"), length)

        def batch(indices: np.ndarray) -> dict[str, Tensor]:
            device = next(model.parameters()).device
            return {"ids": given[indices].to(device), "wanted": wanted[indices].to(device)}

        def loss(model: LanguageModel, ids: Tensor, wanted: Tensor) -> Tensor:
            # flat: with items in the last dimension it takes a ninth of the time
            return nn.functional.cross_entropy(model(ids).flatten(0, 1), wanted.flatten())

        def evaluate() -> dict[str, float]:
            ranks = rank_targets(made.scores, histories, "dev")
            return {"dev_ndcg": float(ndcg(ranks, 10).mean())}

        made.history = train_steps(
            model,
            loss,
            len(given),
            batch,
            evaluate,
            tokens=length,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
            choose_by="dev_ndcg",
            **options,
        )
        return made

    @torch.no_grad()
    def scores(self, pasts: Sequence[np.ndarray]) -> np.ndarray:
        """How likely each item is to come next: logits, shape (people, items)."""
        device, found = next(self.model.parameters()).device, []
        self.model.eval()
        for indices in batches(len(pasts)):
            some = [self._read(pasts[index]) for index in indices]
            ids = nn.utils.rnn.pad_sequence(some, batch_first=True).to(device)
            last = torch.tensor([len(one) - 1 for one in some], device=device)
            logits = self.model(ids)  # padding stands behind, where nobody looks
            found.append(logits[torch.arange(len(some)), last, 1:].cpu())
        return torch.cat(found).numpy()

    def recommend(self, past: Sequence[str], count: int = 10) -> list[str]:
        """The most likely next items, those of ``past`` left out.

        Raises
        ------
        DataError : an item that it does not know
        """
        numbers = item_numbers(self.items, past)
        scores = self.scores([numbers])[0]
        scores[numbers] = -np.inf
        count = min(count, len(self.items) - len(set(past)))  # there may be no more
        return [self.items[index] for index in np.argsort(-scores, kind="stable")[:count]]

    @torch.no_grad()
    def explain(self, past: Sequence[str], item: str) -> pd.DataFrame:
        """Which past items the answer looks at, and which it misses when they are taken out.

        Returns
        -------
        DataFrame with a row for each past item that was read: ``item``; ``attention``, the weight
        it gets from the last place in the last layer, mean over heads; ``missed``, by how many nats
        the log-probability of ``item`` falls without it
        """
        numbers = item_numbers(self.items, past)[-(self.length - 1) :]
        (target,) = item_numbers(self.items, [item])
        seen: list[Any] = []
        device = next(self.model.parameters()).device
        self.model.eval()(self._read(numbers)[None].to(device), seen=seen)
        weights = seen[-1][0][0, :, -1, 1:].mean(0).cpu()
        without = [numbers, *(np.delete(numbers, place) for place in range(len(numbers)))]
        sure = torch.as_tensor(self.scores(without)).log_softmax(-1)[:, int(target)].numpy()
        return pd.DataFrame(
            {
                "item": [self.items[number] for number in numbers],
                "attention": weights.numpy(),
                "missed": sure[0] - sure[1:],
            }
        )

    def _read(self, past: np.ndarray) -> Tensor:
        """The numbers that the model reads: the sign for the start, then the last items."""
        recent = np.asarray(past, dtype=np.int64)[-(self.length - 1) :]
        return torch.from_numpy(np.r_[_BEFORE, recent + 1])


def _pieces(sequences: Sequence[np.ndarray], length: int) -> tuple[Tensor, Tensor]:
    """Pieces of histories, (pieces, length), and after each item the one that came next.

    A piece begins with the sign for the start; where a longer history was cut, pieces overlap by
    half, and only their second half is learned from. -100 stands where there is nothing to learn.
    """
    given, wanted = [], []
    for sequence in sequences:
        step = length // 2
        for start in range(0, max(1, len(sequence) - step), step):
            piece = sequence[start : start + length] + 1
            ids, following = np.zeros(length, dtype=np.int64), np.full(length, -100)
            ids[1 : len(piece)], following[: len(piece)] = piece[:-1], piece
            if start:
                following[:step] = -100
            given.append(ids)
            wanted.append(following)
    return torch.from_numpy(np.stack(given)), torch.from_numpy(np.stack(wanted))


# ── without attention ──────────────────────────────────────────────────────────────────────────


def by_popularity(histories: Histories) -> Scorer:
    """Everybody gets what most people had, in the training part."""
    counts = _table(histories).sum(0)
    return lambda pasts: np.tile(counts, (len(pasts), 1))


def by_neighbours(histories: Histories, recent: int | None = None) -> Scorer:
    """Items whose people are those of the past items: the cosine of their columns, added up.

    Parameters
    ----------
    histories : whose training part is counted
    recent : how many of the last items count; None for all

    Source: Sarwar et al. 2001, "Item-based collaborative filtering".
    """
    table = _table(histories)
    lengths = np.sqrt(table.sum(0)).clip(1)
    alike = (table.T @ table) / np.outer(lengths, lengths)
    np.fill_diagonal(alike, 0)

    def scores(pasts: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([alike[past[-recent if recent else 0 :]].sum(0) for past in pasts])

    return scores


def _table(histories: Histories) -> np.ndarray:
    """Who had what in the training part: (people, items), 0 or 1."""
    table = np.zeros((len(histories), len(histories.items)), dtype=np.float32)
    for row, sequence in zip(table, histories.before("train"), strict=True):
        row[sequence] = 1
    return table


# ── how it is measured ─────────────────────────────────────────────────────────────────────────


def rank_targets(
    scorer: Scorer, histories: Histories, part: str = "test", protocol: str = "full", seed: int = 0
) -> np.ndarray:
    """The place of each person's next item among the candidates: 1 is best.

    Parameters
    ----------
    scorer : scores of all items, from the items so far
    part : whose items are asked for, "dev" or "test"
    protocol : "full", among all items that the person has not had; "sampled", among 100 of them
        drawn at random; "shuffled", as "full", with the order of the past lost
    seed : of what is drawn

    Returns
    -------
    array (people,), float: with equal scores the mean of the places that they share
    """
    if protocol not in PROTOCOLS:
        raise AttnlabError(f"There is no protocol {protocol!r}. {suggest(protocol, PROTOCOLS)}")
    rng = np.random.default_rng(seed)
    pasts, targets = histories.before(part), histories.targets(part)
    read = [rng.permutation(past) for past in pasts] if protocol == "shuffled" else pasts
    scores = np.array(scorer(read), dtype=float)
    own = scores[np.arange(len(targets)), targets]
    ranks = np.empty(len(targets))
    for person, (past, target) in enumerate(zip(pasts, targets, strict=True)):
        others = np.ones(len(histories.items), dtype=bool)
        others[past] = others[target] = False
        rivals = np.flatnonzero(others)
        if protocol == "sampled":
            rivals = rng.choice(rivals, min(_NEGATIVES, len(rivals)), replace=False)
        found = scores[person, rivals]
        ranks[person] = 1 + (found > own[person]).sum() + (found == own[person]).sum() / 2
    return ranks


def hits(ranks: np.ndarray, count: int = 10) -> np.ndarray:
    """1 for each person whose item is among the first ``count``: the mean is the hit rate, HR."""
    return (ranks <= count).astype(float)


def ndcg(ranks: np.ndarray, count: int = 10) -> np.ndarray:
    """1 / log2(1 + rank) among the first ``count``, else 0: one item is right, so this is NDCG."""
    return np.where(ranks <= count, 1 / np.log2(1 + ranks), 0.0)


def ranking_table(
    scorers: dict[str, Scorer],
    histories: Histories,
    part: str = "test",
    protocols: Sequence[str] = PROTOCOLS,
    baseline: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Hit rate and NDCG at 10 of some ways to recommend, under each protocol.

    Parameters
    ----------
    scorers : by name
    baseline : whose hit rate the others are compared with; default the first

    Returns
    -------
    DataFrame with ``protocol``, ``way``, ``hit_rate``, ``low``, ``high``, ``ndcg``, and against the
    baseline ``more_hits``, ``more_low``, ``more_high``: intervals of 95 % over people, who are
    drawn again; the same people stand on both sides of a difference
    """
    baseline = next(iter(scorers)) if baseline is None else baseline
    rows = []
    for protocol in protocols:
        ranks = {
            name: rank_targets(scorer, histories, part, protocol, seed)
            for name, scorer in scorers.items()
        }
        for name, own in ranks.items():
            low, high = paired_bootstrap(hits(own))
            more = hits(own) - hits(ranks[baseline])
            more_low, more_high = paired_bootstrap(more)
            rows.append(
                {
                    "protocol": protocol,
                    "way": name,
                    "hit_rate": hits(own).mean(),
                    "low": float(low),
                    "high": float(high),
                    "ndcg": ndcg(own).mean(),
                    "more_hits": more.mean(),
                    "more_low": float(more_low),
                    "more_high": float(more_high),
                }
            )
    return pd.DataFrame(rows)


def __dir__() -> list[str]:
    return sorted(__all__)
