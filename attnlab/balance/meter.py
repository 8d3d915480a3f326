"""The balance meter: how evenly each head spreads its attention, and over which tokens.

One pass over the texts; nothing of a batch is kept but sums. Each measure is taken four times: over
all tokens and over those of the text alone, and of the attention weights and of the contributions,
weights × length of the value vector after the output projection (Kobayashi et al. 2020).
"""

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from attnlab.balance.divergence import jensen_shannon
from attnlab.balance.reading import Balance, from_sums
from attnlab.balance.rows import BatchRows
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.classification.encoding import characters
from attnlab.errors import ModelError
from attnlab.evaluation.inputs import is_special, tokenised
from attnlab.heads import (
    HeadSettings,
    LayerRecord,
    one_setting,
    record,
    refuse_decoder,
    removed,
)


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
    settings : HeadSettings, one for all texts; None takes those of an `applied` block, else neutral
        ones
    against : another Classifier with the same tokenizer and size, such as the one before
        fine-tuning: adds ``js_before``, how far each token's attention is from there. It runs with
        neutral settings.
    average : add ``js_average``, how far a text's attention is from the head's mean over these
        texts, both as shares of `rows.WHERE` weight can fall, since texts have no tokens in common.
        It takes a second pass.

    Returns
    -------
    Balance. Each text counts as one, with the mean of its rows (queries); special tokens are
    queries and keys for tokens="all" and neither for "text", where rows are divided by what is left
    of them. The measures:

    - ``entropy`` of a row divided by log of the number of keys, and ``keys`` = exp(entropy) (Hill
      1973)
    - ``largest`` share of a row
    - ``gini`` of what the tokens of a text receive, times n / (n - 1), so that all on one is 1
    - shares on [CLS], [SEP], punctuation, the token itself, the one before and after (of tokens
      that have one)
    - ``distance`` from query to key
    - ``js_uniform`` and the other two: Jensen-Shannon divergences in bits, 0 to 1 (Lin 1991), of
      weights only
    - ``contribution``, length of what the head adds to a token, with its scale

    Raises
    ------
    DataError : no texts, or a text that is empty
    SettingsError : settings of another size, or a stack
    ModelError : a model with a prefix; an ``against`` of another size or vocabulary
    """
    encoded, settings = tokenised(clf, texts), one_setting(clf, settings)
    meter = Meter(clf, settings, against, average)
    meter.feed_all(encoded)
    if average:
        meter.take_average()
        meter.feed_all(encoded)
    return meter.read()


def relative_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (a - b) / b, which grows without bound where b is near 0; a divergence does not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(a, dtype=float) - b) / b


class Meter:
    """Sums over texts, from which `read` makes a Balance whenever it is asked.

    Parameters
    ----------
    clf, settings, against, average : as for `measure`. For the last feed all texts, `take_average`,
        and feed them again.
    """

    def __init__(
        self,
        clf: Classifier,
        settings: HeadSettings,
        against: Classifier | None = None,
        average: bool = False,
    ):
        for measured in (clf, *([] if against is None else [against])):
            refuse_decoder(measured, "Balance of attention")
        if against is not None:
            _check_comparable(clf, against)
        self.clf, self.settings, self.against = clf, settings, against
        self.texts = self.tokens = 0
        self._sums: dict[str, Tensor] = {}  # measure to (6, variants, L, H)
        self._where: Tensor | None = None  # (L, H, kinds), a sum over texts
        self._average: Tensor | None = None  # its mean, once there is one
        self._averaging = average
        self._punctuation: dict[int, bool] = {}  # whether a token is some

    def feed(self, encoded: Encoded, indices: np.ndarray | None = None) -> Iterator[int]:
        """Measure these texts, batch by batch; yields how many were measured so far."""
        indices = np.arange(len(encoded)) if indices is None else indices
        done = 0
        for group in encoded.batches(indices):
            batch = encoded.batch(indices[group])
            inputs = {name: tensor.to(self.clf.device) for name, tensor in batch.items()}
            lengths = torch.as_tensor(encoded.lengths[indices[group]], device=self.clf.device)
            ids = inputs["input_ids"]
            self._add(inputs, BatchRows(ids, lengths, *self._marks(ids)))
            done += len(group)
            yield done

    def feed_all(self, encoded: Encoded) -> None:
        """Measure all these texts."""
        for _ in self.feed(encoded):
            pass

    def take_average(self) -> None:
        """From now on only measure how far texts are from the mean of what was fed."""
        if self._where is not None:
            self._average = self._where / self.texts

    def read(self) -> Balance:
        """What was measured so far."""
        scale = self.settings.scale.detach().cpu().double()
        return from_sums(self._sums, scale, removed(self.clf), self.texts, self.tokens)

    def _add(self, inputs: dict[str, Tensor], batch: BatchRows) -> None:
        """Add a batch to the sums."""
        records = record(self.clf, inputs, self.settings)
        if self._averaging:
            where = batch.where([layer.weights for layer in records])
            if self._average is not None:
                far = jensen_shannon(where, self._average.to(where))[:, None]
                self._note({"js_average": far}, batch.keys[:, :1])
                return
            total = where.sum(0).double().cpu()
            self._where = total if self._where is None else self._where + total
        self.texts += len(batch.keys)
        self.tokens += int(batch.keys[:, 0].sum())
        others: list[LayerRecord | None] = [None] * len(records)
        if self.against is not None:
            others = [*record(self.against, inputs, self.against.settings())]
        layers = [batch.measured(*pair) for pair in zip(records, others, strict=True)]
        stacked = {name: torch.stack([layer[name] for layer in layers], 2) for name in layers[0]}
        self._note(stacked, batch.keys)

    def _note(self, values: dict[str, Tensor], keys: Tensor) -> None:
        """Add measures (B, V, L, H), NaN where undefined, at texts of so many keys (B, V)."""
        noted = torch.stack(list(values.values())).double().cpu()  # (M, B, V, L, H)
        along = keys.double().cpu().log()[:, :, None, None].expand(noted.shape)
        known = torch.isfinite(noted) & torch.isfinite(along)
        v, x = noted.where(known, 0.0), along.where(known, 0.0)
        terms = (known.double(), v, v * v, x, x * x, x * v)
        sums = torch.stack([term.sum(1) for term in terms], 1)  # (M, 6, V, L, H)
        for name, added in zip(values, sums, strict=True):
            self._sums[name] = added + self._sums.get(name, 0.0)

    def _marks(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Which tokens are special, [CLS], [SEP] and punctuation, each (B, T)."""
        tokenizer, array = self.clf.tokenizer, ids.cpu().numpy()
        distinct, back = np.unique(array, return_inverse=True)
        for token in set(distinct.tolist()) - self._punctuation.keys():
            piece = characters(tokenizer, token)  # of a part of a character: U+FFFD
            marks = [unicodedata.category(letter)[0] in "PS" for letter in piece]
            self._punctuation[token] = any(marks) and all(marks) and "\ufffd" not in piece
        signs = np.array([self._punctuation[token] for token in distinct.tolist()])[back]
        special = is_special(self.clf, array)
        punctuation = signs.reshape(array.shape) & ~special
        return (
            torch.from_numpy(special).to(ids.device),
            ids == tokenizer.cls_token_id,
            ids == tokenizer.sep_token_id,
            torch.from_numpy(punctuation).to(ids.device),
        )


def _check_comparable(clf: Classifier, other: Classifier) -> None:
    """Raise ModelError unless the attention of two classifiers can be compared token by token."""
    if (clf.layers, clf.heads) != (other.layers, other.heads):
        raise ModelError(
            f"These models have {clf.layers} × {clf.heads} and {other.layers} × {other.heads} "
            "heads; attention can be compared head by head only between models of one size."
        )
    if clf.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise ModelError(
            "These models cut texts into different tokens, so their attention has no rows in "
            "common. Compare with the model this one was trained from."
        )
