"""Appliances from their current: which kind of device draws it, and which moments say so.

A series is cut into patches, as a picture is. A token of its own looks at all of them, and the
answer is read from that token and from four numbers about the whole series. Beside it stand two
ways without attention; on PLAID the forest on those four numbers is ahead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from attnlab.datasets.series import SeriesDataset
from attnlab.datasets.splits import Splits
from attnlab.device import device as default_device
from attnlab.errors import DataError, ModelError
from attnlab.inference import evaluating
from attnlab.statistics import paired_bootstrap
from attnlab.training.history import History
from attnlab.training.stepping import batches, train_steps
from attnlab.transformer import EncoderLayer

__all__ = [
    "PatchedSeries",
    "SeriesClassifier",
    "by_forest",
    "by_nearest",
    "removal_table",
    "series_table",
    "summary",
]

Answers = Callable[[Sequence[np.ndarray]], np.ndarray]  # series to indices of labels
_EVENLY = 300  # values to which a series is stretched before it is compared with others
_BINS = 32  # of each of the four numbers


def summary(series: Sequence[np.ndarray]) -> np.ndarray:
    """Mean, spread, minimum and maximum of each series: (N, 4)."""
    return np.array([[x.mean(), x.std(), x.min(), x.max()] for x in series], dtype=np.float32)


class PatchedSeries(nn.Module):
    """Attention over patches of a series, joined with four numbers about the whole of it.

    Parameters
    ----------
    classes : number of labels
    edges : Tensor (bins + 1, 4), between which each of the four numbers may lie
    patch, patches : values of a patch, and the most patches that are read
    d_model, heads, layers, dropout : of the encoder
    use_summary, use_attention : False for the variants: without the four numbers; or with the mean
        of the embedded patches instead of encoder and token

    The numbers go from millionths to hundreds, so each is written as how far it fills each of its
    bins, which hold as many training series each. Source: Gorishniy et al. 2022, "On embeddings
    for numerical features in tabular deep learning", section 3.2.
    """

    edges: Tensor

    def __init__(
        self,
        classes: int,
        edges: Tensor,
        patch: int = 20,
        patches: int = 25,
        d_model: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        use_summary: bool = True,
        use_attention: bool = True,
    ):
        super().__init__()
        self.patch, self.patches = patch, patches
        self.use_summary, self.use_attention = use_summary, use_attention
        self.register_buffer("edges", edges)
        self.embedding = nn.Linear(patch, d_model)
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches + 1, d_model))
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, d_model))
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, heads, 2 * d_model, dropout, fused=True, activation="gelu")
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.numbers = nn.Sequential(nn.Linear(edges[1:].numel(), d_model), nn.GELU())
        self.answer = nn.Sequential(
            nn.Linear(2 * d_model, d_model), nn.GELU(), nn.Dropout(2 * dropout)
        )
        self.classifier = nn.Linear(d_model, classes)

    def forward(
        self, values: Tensor, real: Tensor, numbers: Tensor, seen: list[Any] | None = None
    ) -> Tensor:
        """Answer series: logits (B, classes).

        Parameters
        ----------
        values : Tensor (B, patches, patch), each series with mean 0 and spread 1
        real : Tensor of bool (B, patches), False for patches that are padding or hidden
        numbers : Tensor (B, 4), see `summary`
        seen : a list that each layer's weights (B, heads, T, T) and values are added to; the token
            stands first
        """
        x = self.embedding(values)
        if self.use_attention:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
            mask = nn.functional.pad(real, (1, 0), value=True)[:, None]  # (B, 1, T)
            for layer in self.layers:
                x = layer(x, mask, seen=seen)
            shape = self.norm(x)[:, 0]
        else:
            share = real.float() / real.sum(1, keepdim=True).clamp_min(1)
            shape = self.norm((share[:, None] @ nn.functional.gelu(x))[:, 0])
        low, high = self.edges[:-1], self.edges[1:]
        filled = ((numbers[:, None] - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        whole = self.numbers(filled.flatten(1))
        if not self.use_summary:
            whole = torch.zeros_like(whole)
        return self.classifier(self.answer(torch.cat([shape, whole], dim=-1)))


class SeriesClassifier:
    """Says which label a series has, such as the appliance that draws this current.

    Parameters
    ----------
    model : PatchedSeries
    label_names : list of str
    """

    def __init__(self, model: PatchedSeries, label_names: list[str]):
        self.model, self.label_names = model, label_names
        self.history: History | None = None

    @classmethod
    def train(
        cls,
        splits: Splits,
        *,
        steps: int = 400,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
        model: dict[str, Any] | None = None,
        **options: Any,
    ) -> "SeriesClassifier":
        """Train on series; the best on dev is kept.

        Parameters
        ----------
        splits : of `SeriesDataset`
        steps, batch_size, learning_rate, weight_decay, seed, **options : of `training.train_steps`
        model : keywords of `PatchedSeries`

        Raises
        ------
        DataError : nothing to train on or for dev, or only one label
        """
        _check(splits)
        torch.manual_seed(seed)
        numbers = torch.from_numpy(summary(splits.train.series))
        edges = numbers.quantile(torch.linspace(0, 1, _BINS + 1), dim=0)
        names = splits.train.label_names
        made = cls(PatchedSeries(len(names), edges, **model or {}).to(default_device()), names)
        given, labels = made._read(splits.train.series), torch.tensor(splits.train.labels)
        wanted = torch.tensor(splits.dev.labels)

        def batch(indices: np.ndarray) -> dict[str, Tensor]:
            return made._placed(
                {name: part[indices] for name, part in (given | {"labels": labels}).items()}
            )

        def loss(model: PatchedSeries, labels: Tensor, **read: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(**read), labels, label_smoothing=0.05)

        def evaluate() -> dict[str, float]:
            sure = torch.from_numpy(made.log_probabilities(splits.dev.series))
            return {"dev_loss": float(nn.functional.nll_loss(sure, wanted))}

        made.history = train_steps(
            made.model,
            loss,
            len(labels),
            batch,
            evaluate,
            tokens=made.model.patches,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
            choose_by="dev_loss",
            **options,
        )
        return made

    def log_probabilities(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """How likely each label is: natural logarithms, (N, classes)."""
        return self._answer(self._read(series))

    def predict(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """The likeliest label of each series, as an index into ``label_names``: (N,)."""
        return self.log_probabilities(series).argmax(-1)

    def attend(self, series: Sequence[np.ndarray]) -> np.ndarray:
        """How much the token looks at each patch: (N, patches), 0 where there is none.

        The mean over the heads of the last layer; what is missing to a sum of 1, it gives itself.

        Raises
        ------
        ModelError : a model without attention
        """
        if not self.model.use_attention:
            raise ModelError(
                "This classifier takes the mean of its patches and attends to none. Train one with "
                "attention: model={'use_attention': True}."
            )
        found = []
        with evaluating(self.model), torch.inference_mode():
            for indices in batches(len(series)):
                seen: list[Any] = []
                read = self._read([series[index] for index in indices])
                self.model(**self._placed(read), seen=seen)
                found.append(seen[-1][0][:, :, 0, 1:].mean(1).cpu())
        return torch.cat(found).numpy()

    def explain(self, values: np.ndarray) -> pd.DataFrame:
        """Which moments decide: each patch is hidden in turn, the four numbers stay.

        Returns
        -------
        DataFrame with a row for each patch: ``start`` and ``end``, of its values; ``attention``;
        ``missed``, by how many nats the log-probability of the answer falls without it
        """
        read = self._read([values])
        count = int(read["real"].sum())
        hidden = read["real"].repeat(count, 1) & ~torch.eye(count, read["real"].shape[1]).bool()
        sure = self._answer(read)[0]
        without = self._answer(self._hiding(read, 0, hidden))
        start = np.arange(count) * self.model.patch
        return pd.DataFrame(
            {
                "start": start,
                "end": np.minimum(start + self.model.patch, len(values)),
                "attention": self.attend([values])[0, :count],
                "missed": sure.max() - without[:, sure.argmax()],
            }
        )

    def _read(self, series: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """What the model reads: each series with mean 0 and spread 1, in patches; and its numbers.

        A series that never changes becomes zeros. What is longer than all patches is cut off.
        """
        model, numbers = self.model, summary(series)
        values = np.zeros((len(series), model.patches * model.patch), dtype=np.float32)
        for row, whole, (mean, spread, *_) in zip(values, series, numbers, strict=True):
            part = whole[: len(row)]
            row[: len(part)] = (part - mean) / (spread if spread > 0 else 1)
        lengths = np.array([len(whole) for whole in series])
        real = np.arange(model.patches) * model.patch < lengths[:, None]
        patched = values.reshape(len(series), model.patches, model.patch)
        found = {"values": patched, "real": real, "numbers": numbers}
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def _answer(self, read: dict[str, Tensor]) -> np.ndarray:
        found = []
        with evaluating(self.model), torch.inference_mode():
            for rows in batches(len(read["real"])):
                some = {name: tensor[rows] for name, tensor in read.items()}
                found.append(self.model(**self._placed(some)).log_softmax(-1).cpu())
        return torch.cat(found).numpy()

    def _hiding(self, read: dict[str, Tensor], row: int, real: Tensor) -> dict[str, Tensor]:
        """One series, read as often as ``real`` (K, patches) has rows, each showing its patches."""
        return {
            name: tensor[[row]].expand(len(real), *tensor.shape[1:])
            for name, tensor in read.items()
        } | {"real": real}

    def _placed(self, read: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.model.edges.device) for name, tensor in read.items()}


def _check(splits: Splits) -> None:
    """Raise DataError for splits that no classifier of series can be trained on."""
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, SeriesDataset):
            raise DataError(f"{data!r} holds no series. Use al.datasets.load_series(file).")
        if not len(data):
            raise DataError(f"{splits!r} leaves nothing for {part}. Bring more series.")
    if len(set(splits.train.labels)) < 2:
        raise DataError(
            f"All {len(splits.train)} series to train on have the label "
            f"{splits.train.label_names[splits.train.labels[0]]!r}, so there is nothing to tell "
            "apart. Add series with other labels."
        )


# ── without attention ──────────────────────────────────────────────────────────────────────────


def by_nearest(train: SeriesDataset) -> Answers:
    """The label of the nearest training series, all being stretched to 300 values."""
    known = KNeighborsClassifier(1).fit(_stretched(train.series), train.labels)
    return lambda series: known.predict(_stretched(series))


def by_forest(train: SeriesDataset, trees: int = 300, seed: int = 0) -> Answers:
    """A forest on `summary`, which sees nothing but four numbers of each series."""
    forest = RandomForestClassifier(trees, random_state=seed)
    forest.fit(summary(train.series), train.labels)
    return lambda series: forest.predict(summary(series))


def _stretched(series: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(
        [np.interp(np.linspace(0, len(x) - 1, _EVENLY), range(len(x)), x) for x in series]
    )


# ── how it is measured ─────────────────────────────────────────────────────────────────────────


def series_table(
    ways: dict[str, Answers], data: SeriesDataset, baseline: str | None = None
) -> pd.DataFrame:
    """How often each way is right.

    Parameters
    ----------
    ways : by name
    baseline : with which the others are compared; default the first

    Returns
    -------
    DataFrame with ``way``, ``accuracy``, ``low``, ``high``; ``balanced``, the mean over labels of
    the share that is found; and ``more``, ``more_low``, ``more_high``, the difference to the
    baseline. Intervals are of 95 %, series drawn again; both sides answer the same series.
    """
    labels = np.array(data.labels)
    right = {name: (way(data.series) == labels).astype(float) for name, way in ways.items()}
    first = right[next(iter(ways)) if baseline is None else baseline]
    rows = []
    for name, own in right.items():
        (low, more_low), (high, more_high) = paired_bootstrap(np.stack([own, own - first], axis=1))
        rows.append(
            {
                "way": name,
                "accuracy": own.mean(),
                "low": low,
                "high": high,
                "balanced": np.mean([own[labels == label].mean() for label in np.unique(labels)]),
                "more": (own - first).mean(),
                "more_low": more_low,
                "more_high": more_high,
            }
        )
    return pd.DataFrame(rows)


def removal_table(
    classifier: SeriesClassifier,
    data: SeriesDataset,
    count: int = 3,
    draws: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """What happens to the answer when the most attended patches are hidden, or random ones.

    Parameters
    ----------
    classifier : with attention
    data : series of more patches than ``count``; the others are left out
    count : patches that are hidden
    draws : random choices for each series
    seed : of these

    Returns
    -------
    DataFrame with a row for each series: ``changed`` and ``missed`` without the most attended
    patches, ``changed_random`` and ``missed_random`` without random ones, the mean over the draws.
    Changed is 1 where another answer comes out; missed is the fall of its log-probability, in nats.
    """
    rng, rows = np.random.default_rng(seed), []
    read, weights = classifier._read(data.series), classifier.attend(data.series)
    sure = classifier._answer(read)
    for row, own in enumerate(sure):
        real = read["real"][row]
        there = int(real.sum())
        if there <= count:
            continue
        chosen = [np.argsort(-weights[row, :there], kind="stable")[:count]]
        chosen += [rng.choice(there, count, replace=False) for _ in range(draws)]
        shown = real.repeat(len(chosen), 1)
        for mask, hidden in zip(shown, chosen, strict=True):
            mask[hidden] = False
        found = classifier._answer(classifier._hiding(read, row, shown))
        changed = (found.argmax(-1) != own.argmax()).astype(float)
        missed = own.max() - found[:, own.argmax()]
        rows.append((row, changed[0], changed[1:].mean(), missed[0], missed[1:].mean()))
    columns = ["series", "changed", "changed_random", "missed", "missed_random"]
    return pd.DataFrame(rows, columns=columns).set_index("series")


def __dir__() -> list[str]:
    return sorted(__all__)
