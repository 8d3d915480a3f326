"""The balance meter: how evenly each head spreads its attention, over which tokens, and how heads differ.

One pass over the texts; nothing of a batch is kept but sums. Each measure is taken four times: over all tokens and
over those of the text alone, and of the attention weights and of the contributions, weights × length of the value
vector after the output projection (Kobayashi et al. 2020).
"""

import itertools
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attnlab import heads as _heads
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.errors import AttnlabError, ModelError, suggest
from attnlab.evaluation.measures import is_special, recorded, tokenised
from attnlab.heads import one_setting
from attnlab.heads.settings import HeadSettings

Tokens = Literal["all", "text"]
By = Literal["weights", "contributions"]
MEASURES: dict[str, str] = {
    "entropy": "entropy / log(keys), 0 to 1",
    "keys": "effective number of keys",
    "largest": "largest share of a row",
    "gini": "Gini of what tokens receive, 0 to 1",
    "cls": "share on [CLS]",
    "sep": "share on [SEP]",
    "punctuation": "share on punctuation",
    "self": "share on the token itself",
    "previous": "share on the token before",
    "next": "share on the token after",
    "distance": "mean distance, tokens",
    "js_uniform": "divergence from uniform, bits",
    "js_average": "divergence from the head's average, bits",
    "js_before": "divergence from before, bits",
    "contribution": "length of what is added to a token",
}
VARIANTS: tuple[tuple[Tokens, By], ...] = tuple(
    itertools.product(("all", "text"), ("weights", "contributions"))
)
STANDARD_KEYS = 16  # of the text that `adjusted` is for
MARKS = ("cls", "sep", "punctuation")
WHERE = ("cls", "sep", "self", "previous", "next", "punctuation", "before", "after")
_SIMILAR_TOKENS = 2048  # pairs of heads are compared on so many, or the texts' if those are fewer


# ── public ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Balance:
    """What the meter read.

    Attributes
    ----------
    table : DataFrame, a row per layer, head, measure, tokens ("all", or "text" without special ones) and by
        ("weights" or "contributions"): ``mean`` and ``std`` over the ``n`` texts where it is defined;
        ``adjusted``, the mean at a text of 16 keys, and ``slope``, the change per doubling of the text's
        length, both by linear regression on the logarithm of the number of keys (NaN where all texts have one
        length)
    overall : √(tokens × heads), 0 to 1: how evenly attention is spread, over tokens and over heads
    parts : "tokens", the normalised entropy of contributions over all tokens, each head counted by what it adds;
        "heads", the effective number of heads of a layer (exponential of the entropy of what each adds), as a
        share of those there are, mean over layers. 1 is perfectly even; all on one is near 0.
    layers, heads, texts, tokens : sizes
    """

    table: pd.DataFrame
    overall: float
    parts: dict[str, float]
    layers: int
    heads: int
    texts: int
    tokens: int

    def map(
        self,
        measure: str = "entropy",
        tokens: Tokens = "text",
        by: By = "weights",
        value: str = "mean",
    ) -> np.ndarray:
        """One measure of every head: array (L, H), NaN for heads removed for good."""
        rows = self._rows(tokens, by)
        known = sorted(rows["measure"].unique(), key=list(MEASURES).index)
        if measure not in known:
            raise AttnlabError(f"There is no {measure!r} here. {suggest(measure, known)}")
        _known(value, ("mean", "std", "adjusted", "slope", "n"))
        rows = rows[rows["measure"] == measure]
        found = np.full((self.layers, self.heads), np.nan)
        found[rows["layer"], rows["head"]] = rows[value]
        return found

    def wide(self, tokens: Tokens = "all", by: By = "weights", value: str = "mean") -> pd.DataFrame:
        """A row per head, with a column per measure."""
        _known(value, ("mean", "std", "adjusted", "slope", "n"))
        rows = self._rows(tokens, by)
        wide = rows.pivot(index=["layer", "head"], columns="measure", values=value)
        return (
            wide[[name for name in MEASURES if name in wide]]
            .rename_axis(None, axis=1)
            .reset_index()
        )

    def _rows(self, tokens: str, by: str) -> pd.DataFrame:
        _known(tokens, ("all", "text"))
        _known(by, ("weights", "contributions"))
        return self.table[(self.table["tokens"] == tokens) & (self.table["by"] == by)]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in self.parts.items())
        return f"Balance({self.overall:.2f}: {parts}; {self.texts:,} texts)"


def measure(
    clf: Classifier,
    texts: Sequence[Text],
    settings: HeadSettings | None = None,
    *,
    against: Classifier | None = None,
    average: bool = False,
) -> Balance:
    """Measure how evenly every head spreads its attention, on a set of texts.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str)
    settings : HeadSettings, one for all texts; None takes those of an `applied` block, else neutral ones
    against : another Classifier with the same tokenizer and size, such as the one before fine-tuning: adds
        ``js_before``, how far each token's attention is from there. It runs with neutral settings.
    average : add ``js_average``, how far a text's attention is from the head's mean over these texts, both as
        shares of `WHERE` weight can fall, since texts have no tokens in common. It takes a second pass.

    Returns
    -------
    Balance. Each text counts as one, with the mean of its rows (queries); special tokens are queries and keys for
    tokens="all" and neither for "text", where rows are divided by what is left of them. The measures:

    - ``entropy`` of a row divided by log of the number of keys, and ``keys`` = exp(entropy) (Hill 1973)
    - ``largest`` share of a row
    - ``gini`` of what the tokens of a text receive, times n / (n - 1), so that all on one is 1
    - shares on [CLS], [SEP], punctuation, the token itself, the one before and after (of tokens that have one)
    - ``distance`` from query to key
    - ``js_uniform`` and the other two: Jensen-Shannon divergences in bits, 0 to 1 (Lin 1991), of weights only
    - ``contribution``, length of what the head adds to a token, with its scale

    Raises
    ------
    DataError : no texts, or a text that is empty
    SettingsError : settings of another size, or a stack
    ModelError : a model with a prefix; an ``against`` of another size or vocabulary
    """
    encoded, settings = tokenised(clf, texts), one_setting(clf, settings)
    meter = Meter(clf, settings, against, average)
    for _ in meter.feed(encoded):
        pass
    if average:
        meter.take_average()
        for _ in meter.feed(encoded):
            pass
    return meter.read()


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike heads are, P = L × H of them.

    Attributes
    ----------
    js : array (P, P), mean Jensen-Shannon divergence of their rows, bits: 0 for heads that look alike
    cka : array (P, P), linear CKA of what they fetch, before the output projection: 1 for the same up to rotation
        and size (Kornblith et al. 2019)
    places : (layer, head) of each
    """

    js: np.ndarray
    cka: np.ndarray
    places: list[tuple[int, int]]

    def doubles(self, most: int = 10) -> pd.DataFrame:
        """Return the pairs of heads that look most alike: first, second, js, cka."""
        rows = [
            (self.places[a], self.places[b], self.js[a, b], self.cka[a, b])
            for a, b in itertools.combinations(range(len(self.places)), 2)
        ]
        table = pd.DataFrame(rows, columns=["first", "second", "js", "cka"])
        return table.sort_values("js", ignore_index=True).head(most)


def similarity(
    clf: Classifier, texts: Sequence[Text], settings: HeadSettings | None = None
) -> Similarity:
    """Compare every head with every other: where they look, and what they fetch.

    Rows are compared for the first 2,048 tokens or so, whole batches, since every pair of heads costs a pass over
    them; CKA takes all texts. Heads removed for good are NaN. Errors as for `measure`.
    """
    encoded, settings = tokenised(clf, texts), one_setting(clf, settings)
    count = clf.layers * clf.heads
    divergence, seen = torch.zeros(count, count, dtype=torch.float64), 0
    total, products, tokens = 0.0, 0.0, 0
    for group, _, records in recorded(clf, encoded, settings):
        lengths = torch.as_tensor(encoded.lengths[group], device=clf.device)
        real = torch.arange(lengths.max(), device=clf.device) < lengths[:, None]  # (B, T)
        if seen < _SIMILAR_TOKENS:
            rows = torch.cat([one.weights.transpose(0, 1)[:, real] for one in records])  # (P, R, T)
            divergence += _pairs(rows.float()).cpu()
            seen += rows.shape[1]
        fetched = [(one.weights @ one.values).transpose(0, 1)[:, real] for one in records]
        widest = max(one.shape[-1] for one in fetched)  # a layer without heads has none
        padded = [nn.functional.pad(one, (0, widest - one.shape[-1])) for one in fetched]
        flat = torch.cat(padded).transpose(0, 1).flatten(1).float()  # (R, P D)
        total = total + flat.sum(0).double()
        products = products + (flat.T @ flat).double()
        tokens += len(flat)
    covariance = products - total[:, None] * total / tokens
    blocks = covariance.reshape(count, -1, count, covariance.shape[0] // count)
    size = blocks.square().sum((1, 3)).cpu()  # (P, P)
    own = size.diagonal().sqrt()
    cka, js = (size / (own[:, None] * own)).numpy(), (divergence / seen).numpy()
    places = list(itertools.product(range(clf.layers), range(clf.heads)))
    gone = [places.index(place) for place in _heads.removed(clf)]
    for table in (js, cka):
        table[gone], table[:, gone] = np.nan, np.nan
    return Similarity(js, cka, places)


def relative_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a - b) / b, which grows without bound where b is near 0. Here to show that; use a divergence."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(a, dtype=float) - b) / b


# ── a pass ─────────────────────────────────────────────────────────────────────────────────────


class Meter:
    """Sums over texts, from which `read` makes a Balance whenever it is asked.

    Parameters
    ----------
    clf, settings, against, average : as for `measure`. For the last feed all texts, `take_average`, and feed them
        again.
    """

    def __init__(
        self,
        clf: Classifier,
        settings: HeadSettings,
        against: Classifier | None = None,
        average: bool = False,
    ):
        if against is not None:
            _comparable(clf, against)
        self.clf, self.settings, self.against = clf, settings, against
        self.texts = self.tokens = 0
        self._sums: dict[str, Tensor] = {}  # measure to (6, variants, L, H)
        self._where: Tensor | float | None = (
            0.0 if average else None
        )  # (L, H, kinds), a sum over texts
        self._average: Tensor | None = None
        self._signs: dict[int, bool] = {}  # whether a token is punctuation

    def feed(self, encoded: Encoded, places: np.ndarray | None = None) -> Iterator[int]:
        """Measure these texts, batch by batch; yields how many were measured so far."""
        places = np.arange(len(encoded)) if places is None else places
        done = 0
        for group in encoded.batches(places):
            batch = encoded.batch(places[group])
            inputs = {name: one.to(self.clf.device) for name, one in batch.items()}
            lengths = torch.as_tensor(encoded.lengths[places[group]], device=self.clf.device)
            self._add(
                inputs, _Batch(inputs["input_ids"], lengths, *self._marks(inputs["input_ids"]))
            )
            done += len(group)
            yield done

    def take_average(self) -> None:
        """From now on only measure how far texts are from the mean of what was fed."""
        self._average = self._where / self.texts

    def _add(self, inputs: dict[str, Tensor], batch: "_Batch") -> None:
        """Add a batch to the sums."""
        records = _heads.record(self.clf, inputs, self.settings)
        if self._where is not None:
            where = batch.where([one.weights for one in records])
            if self._average is not None:
                far = _js(where, self._average.to(where))[:, None]
                self._note({"js_average": far}, batch.keys[:, :1])
                return
            self._where = self._where + where.sum(0).double().cpu()
        self.texts += len(batch.keys)
        self.tokens += int(batch.keys[:, 0].sum())
        others: list[Any] = [None] * len(records)
        if self.against is not None:
            others = _heads.record(self.against, inputs, self.against.settings())
        each = [batch.measured(*pair) for pair in zip(records, others, strict=True)]
        self._note(
            {name: torch.stack([one[name] for one in each], 2) for name in each[0]}, batch.keys
        )

    def _note(self, values: dict[str, Tensor], keys: Tensor) -> None:
        """Add measures (B, variants, L, H), NaN where undefined, at texts of so many keys (B, variants)."""
        noted = torch.stack(list(values.values())).double().cpu()  # (M, B, variants, L, H)
        along = keys.double().cpu().log()[:, :, None, None].expand(noted.shape)
        known = torch.isfinite(noted) & torch.isfinite(along)
        v, x = noted.where(known, 0.0), along.where(known, 0.0)
        sums = torch.stack([one.sum(1) for one in (known.double(), v, v * v, x, x * x, x * v)], 1)
        for name, one in zip(values, sums, strict=True):
            self._sums[name] = one + self._sums.get(name, 0.0)

    def _marks(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Which tokens are special, [CLS], [SEP] and punctuation, each (B, T)."""
        tokenizer, array = self.clf.tokenizer, ids.cpu().numpy()
        each, back = np.unique(array, return_inverse=True)
        for one in set(each.tolist()) - self._signs.keys():
            word = tokenizer.convert_ids_to_tokens(one).lstrip("▁Ġ")
            word = word.removeprefix("##") or word
            self._signs[one] = all(unicodedata.category(letter)[0] in "PS" for letter in word)
        special = is_special(self.clf, array)
        signs = np.array([self._signs[one] for one in each.tolist()])[back].reshape(array.shape)
        special, signs = (
            torch.from_numpy(one).to(ids.device) for one in (special, signs & ~special)
        )
        return special, ids == tokenizer.cls_token_id, ids == tokenizer.sep_token_id, signs

    def read(self) -> Balance:
        """What was measured so far."""
        size = (self.clf.layers, self.clf.heads)
        scale, gone = self.settings.scale.detach().cpu().double(), _heads.removed(self.clf)
        layer, head = (axis.ravel() for axis in np.indices(size))
        frames, means = [], {}
        for name in [name for name in MEASURES if name in self._sums]:
            values = _from_sums(self._sums[name])
            if name == "contribution":
                values |= {one: values[one] * scale for one in ("mean", "std", "adjusted", "slope")}
            for number, (tokens, by) in enumerate(VARIANTS[: len(values["n"])]):
                there = {one: value[number].flatten().numpy() for one, value in values.items()}
                if there["n"].any():
                    means[name, tokens, by] = values["mean"][number]
                    named = {
                        "layer": layer,
                        "head": head,
                        "measure": name,
                        "tokens": tokens,
                        "by": by,
                    }
                    frames.append(pd.DataFrame(named | there))
        table = pd.concat(frames, ignore_index=True).astype({"n": int})
        removed = pd.MultiIndex.from_frame(table[["layer", "head"]]).isin(gone)
        table.loc[removed, ["mean", "std", "adjusted", "slope"]] = np.nan
        parts = _parts(
            *(means[name, "all", "contributions"] for name in ("entropy", "contribution")), gone
        )
        overall = math.sqrt(parts["tokens"] * parts["heads"])
        return Balance(table, overall, parts, *size, self.texts, self.tokens)


class _Batch:
    """The texts of a batch, and what their attention measures. B texts, T tokens, V = 4 variants."""

    def __init__(
        self, ids: Tensor, lengths: Tensor, special: Tensor, cls: Tensor, sep: Tensor, signs: Tensor
    ):
        at = torch.arange(ids.shape[1], device=ids.device)
        real = at < lengths[:, None]
        word = real & ~special
        self.visible = torch.stack([real, real, word, word], 1).float()  # (B, V, T)
        self.keys = self.visible.sum(-1)  # (B, V)
        self.marked = torch.stack([cls, sep, signs], -1) * real[..., None].float()  # (B, T, marks)
        self.far = (at[:, None] - at).abs().float()  # (T, T)
        self._rooms: dict[str, Tensor] = {}  # that all layers share: new memory is slow

    def where(self, weights: list[Tensor]) -> Tensor:
        """Shares of the weight of each text that fall where, (B, L, H, kinds), from L maps (B, H, T, T)."""
        at = torch.arange(len(self.far), device=self.far.device)
        step = at - at[:, None]  # key minus query
        kinds = torch.where(step < 0, WHERE.index("before"), WHERE.index("after"))
        kinds = kinds.expand(len(self.keys), -1, -1)
        beside = {"self": 0, "previous": -1, "next": 1}
        for name in ("punctuation", "next", "previous", "sep", "cls", "self"):  # the last one wins
            mark = self.marked[:, None, :, MARKS.index(name)] > 0 if name in MARKS else None
            here = step == beside[name] if mark is None else mark
            kinds = kinds.masked_fill(here, WHERE.index(name))
        one_hot = nn.functional.one_hot(kinds, len(WHERE)) * self.visible[:, 0, :, None, None]
        found = [one.float().flatten(2) @ one_hot.flatten(1, 2) for one in weights]
        return torch.stack(found, 1) / self.keys[:, :1, None, None]

    def measured(
        self, record: _heads.LayerRecord, other: _heads.LayerRecord | None
    ) -> dict[str, Tensor]:
        """Each measure of a layer's heads on each text: name to (B, V, H), NaN where it is undefined.

        With w the weights of a row, and k which keys are visible, times the norms for contributions, the row is
        x = w k. All sums over keys of x, of x log x and of x × distance are products of the matrices w, w log w
        and w × distance with k and k log k, so that four variants cost little more than one.
        """
        weights, norms = record.weights.float(), record.norms.float()
        keys = self.visible[:, None].repeat(1, weights.shape[1], 1, 1)  # (B, H, V, T)
        keys[:, :, 1::2] *= norms[:, :, None]
        total = keys @ weights.mT  # (B, H, V, T)
        row = self.visible[:, None] * (total > 0)  # queries that count
        queries = row.sum(-1)  # (B, H, V)
        total *= row
        share = row / total.clamp_min(1e-30)
        room = self._room("logs", weights)
        logs = torch.clamp_min(weights, 1e-30, out=room).log_().mul_(weights)
        spread = keys @ logs.mT + (keys * keys.clamp_min(1e-30).log()) @ weights.mT
        entropy = (total.clamp_min(1e-30).log() * row - spread * share).clamp_min(0)
        received = (share @ weights).mul_(keys)  # (B, H, V, T)
        fallen = received @ self.marked[:, None]  # (B, H, V, marks)
        turned = weights.permute(3, 0, 1, 2)  # keys first: to run over them is much faster
        turned = self._room("turned", turned).copy_(turned)  # (T, B, H, T)
        sums = {  # over queries, (B, H, V): all that follow are 0 for those that do not count
            "entropy": entropy.sum(-1) / self.keys[:, None].log(),
            "keys": entropy.exp().sum(-1) - (row.shape[-1] - queries),
            "largest": (self._largest(turned, norms) * share).sum(-1),
            "distance": (keys @ torch.mul(weights, self.far, out=room).mT).mul_(share).sum(-1),
            "js_uniform": self._from_uniform(turned, share, entropy).sum(-1),
            "contribution": total.sum(-1),
        }
        sums |= dict(zip(MARKS, fallen.unbind(-1), strict=True))
        found = {name: (one / queries).transpose(1, 2) for name, one in sums.items()}
        found["contribution"][:, ::2] = torch.nan  # of weights it is 1
        for name in ("cls", "sep"):
            found[name][:, 2:] = torch.nan  # the text has none
        found["gini"] = self._gini(received)
        for name, offset in (("self", 0), ("previous", -1), ("next", 1)):
            found[name] = self._beside(weights, keys, share, row, offset)
        if other is not None:
            between = self._between(weights, other.weights.float()) * row
            found["js_before"] = (between.sum(-1) / queries).transpose(1, 2)
        return found

    def _room(self, name: str, like: Tensor) -> Tensor:
        if name not in self._rooms or self._rooms[name].shape != like.shape:
            self._rooms[name] = torch.empty(like.shape, device=like.device, dtype=like.dtype)
        return self._rooms[name]

    def _over_keys(self, number: int) -> Tensor:
        """Which keys are visible in a variant, beside (T, B, H, T) with keys first."""
        return self.visible[:, number].T[:, :, None, None]

    def _largest(self, turned: Tensor, norms: Tensor) -> Tensor:
        """The largest of each row before it is divided, (B, H, V, T)."""
        room, words = self._room("middle", turned), self._over_keys(2)
        added = torch.mul(turned, norms.permute(2, 0, 1)[..., None], out=room)
        largest = [turned.amax(0), added.amax(0), added.mul_(words).amax(0)]
        largest.insert(2, torch.mul(turned, words, out=room).amax(0))
        return torch.stack(largest, 2)

    def _gini(self, received: Tensor) -> Tensor:
        """Gini of what the visible tokens receive, from (B, H, V, T), times n / (n - 1): (B, V, H)."""
        width, n = received.shape[-1], self.keys[:, None]  # (B, 1, V)
        ordered = _sorted(received)  # invisible ones are 0 and come first
        rank = torch.arange(1, width + 1, device=received.device).to(received)
        gini = 2 * (ordered @ rank) / ordered.sum(-1) - 2 * (width - n) - n - 1
        return (gini / (n - 1)).where(n > 1, torch.nan).transpose(1, 2)

    def _from_uniform(self, turned: Tensor, share: Tensor, entropy: Tensor) -> Tensor:
        """Divergence of each row from the uniform one, bits, (B, H, V, T); of weights only."""
        found = torch.full_like(entropy, torch.nan)
        middle, logs = self._room("middle", turned), self._room("middle logs", turned)
        for number in range(0, len(VARIANTS), 2):
            visible, keys = self._over_keys(number), self.keys[:, None, None, number]
            even = visible / (2 * keys) + 1e-30
            if number:
                torch.mul(turned, share[:, :, number] / 2, out=middle).mul_(visible).add_(even)
            else:  # rows of all tokens sum to 1
                torch.add(even, turned, alpha=0.5, out=middle)
            middles = -torch.log(middle, out=logs).mul_(middle).sum(0)
            between = middles - entropy[:, :, number] / 2 - keys.log() / 2
            seen = share[:, :, number] > 0
            found[:, :, number] = (between / math.log(2)).clamp(0, 1) * seen
        return found

    def _between(self, weights: Tensor, other: Tensor) -> Tensor:
        """Divergence of each row from another model's, bits, (B, H, V, T); of weights only."""
        found = weights.new_full((*weights.shape[:2], len(VARIANTS), weights.shape[2]), torch.nan)
        for number in range(0, len(VARIANTS), 2):
            visible = self.visible[:, None, None, number]
            rows = [one * visible for one in (weights, other)]
            found[:, :, number] = _js(
                *(one / one.sum(-1, keepdim=True).clamp_min(1e-30) for one in rows)
            )
        return found

    def _beside(
        self, weights: Tensor, keys: Tensor, share: Tensor, row: Tensor, offset: int
    ) -> Tensor:
        """Share of the token so many places on, mean over the queries that have one there, (B, V, H)."""
        before, after = max(0, -offset), max(0, offset)
        width = weights.shape[-1]
        queries, looked_at = slice(before, width - after), slice(after, width - before)
        weight = weights.diagonal(offset, -2, -1)[:, :, None]
        part = weight * keys[..., looked_at] * share[..., queries]
        there = row[..., queries] * self.visible[:, None, :, looked_at]
        return (part.sum(-1) / there.sum(-1)).transpose(1, 2)


def _sorted(rows: Tensor) -> Tensor:
    """Rows in ascending order; NumPy sorts short ones eight times as fast as torch."""
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=-1))
    return rows.sort(-1).values


def _sum_of_logs(rows: Tensor) -> Tensor:
    """Sum of p log p over the last axis; a p of 0 adds 0."""
    return (rows * rows.clamp_min(1e-30).log()).sum(-1)


def _js(a: Tensor, b: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last axis, bits."""
    between = _sum_of_logs(a) / 2 + _sum_of_logs(b) / 2 - _sum_of_logs((a + b) / 2)
    return (between / math.log(2)).clamp(0, 1)


def _pairs(rows: Tensor) -> Tensor:
    """Divergence of every head from every other, summed over rows (P, R, T): (P, P)."""
    own = _sum_of_logs(rows).sum(1)  # (P,)
    found = rows.new_zeros(len(rows), len(rows))
    for number, one in enumerate(rows):
        middle = _sum_of_logs((rows[number:] + one) / 2).sum(1)
        found[number, number:] = found[number:, number] = (own[number:] + own[number]) / 2 - middle
    return (found / math.log(2)).clamp_min(0).fill_diagonal_(0)


# ── from sums to figures ───────────────────────────────────────────────────────────────────────


def _from_sums(sums: Tensor) -> dict[str, Tensor]:
    """Mean, spread and dependence on length from (6, V, L, H): count, Σv, Σv², Σx, Σx², Σxv, x = log keys."""
    n, v, vv, x, xx, xv = sums
    mean, middle = v / n, x / n
    variance = ((vv - n * mean * mean) / (n - 1)).clamp_min(0)
    wide = xx - n * middle * middle
    slope = ((xv - n * mean * middle) / wide).where(wide > 1e-9 * n, torch.nan)
    step = math.log(STANDARD_KEYS) - middle
    return {
        "mean": mean,
        "std": variance.sqrt().where(n > 1, torch.nan),
        "adjusted": mean + slope * step,
        "slope": slope * math.log(2),
        "n": n,
    }


def _parts(entropy: Tensor, added: Tensor, gone: Sequence[tuple[int, int]]) -> dict[str, float]:
    """The two parts of the overall figure, from normalised entropies and lengths of contributions (L, H)."""
    there = torch.ones_like(added, dtype=torch.bool)
    for place in gone:
        there[place] = False
    added = added.where(there & torch.isfinite(added), torch.zeros_like(added))
    share = added / added.sum(1, keepdim=True).clamp_min(1e-30)  # of a layer
    effective = (-_sum_of_logs(share)).exp() * (added.sum(1) > 0)
    present = there.sum(1).clamp_min(1)
    speaking = added > 0
    tokens = (entropy.where(speaking, torch.zeros_like(entropy)) * share).sum() / share.sum()
    return {
        "tokens": float(tokens.nan_to_num()),
        "heads": float((effective / present).mean()),
    }


def _comparable(clf: Classifier, other: Classifier) -> None:
    """Raise ModelError unless the attention of two classifiers can be compared token by token."""
    if (clf.layers, clf.heads) != (other.layers, other.heads):
        raise ModelError(
            f"These models have {clf.layers} × {clf.heads} and {other.layers} × {other.heads} heads; attention "
            "can be compared head by head only between models of one size."
        )
    if clf.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise ModelError(
            "These models cut texts into different tokens, so their attention has no rows in common. Compare "
            "with the model this one was trained from."
        )


def _known(value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise AttnlabError(f"There is no {value!r} here. {suggest(value, allowed)}")
