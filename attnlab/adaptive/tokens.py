"""Fewer tokens: after some layer a text goes on with those that matter, really shorter."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.adaptive.guides import Guide, Read, attention_of, by_chance, check_guide
from attnlab.adaptive.selecting import counts_of, merged, most_important
from attnlab.classification.base import Predictions
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Encoded, Indices, Text, shown, special_ids
from attnlab.compression.layer_by_layer import Layers, layers_of, packed_start, together
from attnlab.errors import ModelError, SettingsError
from attnlab.evaluation.inputs import tokenised
from attnlab.evaluation.packed import Packed
from attnlab.heads.settings import HeadSettings

if TYPE_CHECKING:
    from attnlab.adaptive.by_input import Easy
    from attnlab.adaptive.scoring import TokenScorer

__all__ = ["FewerTokens", "drop_tokens", "merge_tokens"]


def drop_tokens(
    clf: Classifier,
    schedule: Mapping[int, float],
    by: "Guide | TokenScorer" = "cls",
    seed: int = 0,
) -> "FewerTokens":
    """Let a classifier go on with fewer tokens after some of its layers.

    Parameters
    ----------
    clf : Classifier of BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT; its weights are shared
    schedule : layer, counted from 0, to the share of a text's tokens that go on after it, above 0
        and at most 1; each share is of the whole text. {0: .7, 2: .5}
    by : which tokens go on

        - "cls": those that [CLS] looks at in that layer, mean over heads;
        - "received": those that all tokens look at (Goyal et al. 2020, PoWER-BERT);
        - "norm": those with the longest hidden states;
        - "first": the first ones;
        - "random": by chance, the same for a text whatever else is asked;
        - a `TokenScorer`: those that it scores highest
    seed : of chance

    Returns
    -------
    FewerTokens, which predicts like a classifier. [CLS] and [SEP] always go on, and count.

    Raises
    ------
    SettingsError : a layer that is not there or is the last, a share outside of 0 to 1 or above the
        one before, another guide
    ModelError : a classifier of images, a model with a prefix
    """
    return FewerTokens(clf, schedule, by, seed)


def merge_tokens(clf: Classifier, schedule: Mapping[int, float]) -> "FewerTokens":
    """Let a classifier go on with fewer tokens, each the mean of several that are alike.

    Parameters and errors as for `drop_tokens`; at most half of the tokens can go after one layer.
    Source: Bolya et al. 2023, "Token merging: your ViT but faster"; here on texts and on hidden
    states, and a merged token does not count more than others.
    """
    return FewerTokens(clf, schedule, "merge")


class FewerTokens:
    """A classifier that goes on with fewer tokens after some layers; see `drop_tokens`.

    Its layers are copied at the first call: once the classifier has changed, make another.

    Attributes
    ----------
    clf : Classifier
    schedule : layer to share, in the order of layers
    by : guide or scorer; "merge" where tokens are merged
    easy : which texts go on with still fewer tokens; None for none
    """

    def __init__(
        self,
        clf: Classifier,
        schedule: Mapping[int, float],
        by: "Guide | TokenScorer | str" = "cls",
        seed: int = 0,
        easy: "Easy | None" = None,
    ):
        if getattr(clf, "reads", None) != "texts":
            raise ModelError(
                f"{type(clf).__name__} reads no texts, and tokens of texts are what can go. Give a "
                "Classifier: al.load_classifier(...)."
            )
        heads.refuse_prefix(clf, "Going on with fewer tokens")
        heads.refuse_decoder(clf, "Going on with fewer tokens")
        self.clf, self.by, self.seed, self.easy = clf, by, seed, easy
        self.schedule = _checked(schedule, clf.layers)
        self._reads = {layer: self._reading(layer) for layer in self.schedule}
        self._special = np.array(special_ids(clf.tokenizer))
        self._layers: Layers | None = None

    @property
    def label_names(self) -> list[str]:
        """Names of the labels."""
        return self.clf.label_names

    def parameters(self) -> int:
        """Return the number of parameters."""
        return self.clf.parameters()

    def kept(self, texts: Sequence[Text]) -> float:
        """Return the share of these texts' tokens that a layer computes, a mean over the layers."""
        _, seen = self._answers(tokenised(self.clf, texts))
        return float(seen.mean() / self.clf.layers)

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenise texts, as the classifier does."""
        return self.clf.encode(texts)

    def predict(self, texts: Sequence[Text]) -> Predictions:
        """Answer texts, or pairs: N label names and probabilities (N, C)."""
        probabilities = self.logits(self.encode(texts)).softmax(-1).numpy()
        labels = [self.label_names[label] for label in probabilities.argmax(-1)]
        return Predictions(labels, probabilities)

    def logits(
        self,
        encoded: Encoded,
        indices: Indices | None = None,
        shares: np.ndarray | None = None,
    ) -> Tensor:
        """Return logits (N, C), float32 on the CPU.

        Parameters
        ----------
        encoded : of `encode`
        indices : of N texts; default all
        shares : (N,), of each text, instead of those of the schedule and of the rule for easy texts

        Head settings of an `applied` block around the call hold; guides read attention without
        them.
        """
        return self._answers(encoded, indices, shares)[0]

    def trace(self, text: Text) -> pd.DataFrame:
        """Say how far each token of a text went.

        Returns
        -------
        DataFrame, a row per token: ``token``; ``layers``, through how many layers it went, all of
        them for those that stayed
        """
        encoded = tokenised(self.clf, [text])
        _, seen = self._answers(encoded)
        tokens = shown(self.clf.tokenizer, text, encoded.ids(0), self.clf.max_length)
        return pd.DataFrame({"token": tokens, "layers": seen})

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:g} after layer {at}" for at, share in self.schedule.items())
        by = self.by if isinstance(self.by, str) else type(self.by).__name__
        return f"FewerTokens({self.clf!r}, {shares}, by {by})"

    # --- inside ----------------------------------------------------------------------------------

    def _reading(self, layer: int) -> Read | None:
        """What reads importance off hidden states: those before the layer, or None."""
        if isinstance(self.by, str) and self.by != "merge":
            check_guide(self.by)
        if self.by in ("cls", "received"):
            return attention_of(self.clf, layer, self.by == "received")
        return None

    def _answers(
        self,
        encoded: Encoded,
        indices: Indices | None = None,
        shares: np.ndarray | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """Logits (N, C) on the CPU; layers that each token went through, in the order of texts."""
        indices = np.arange(len(encoded)) if indices is None else np.asarray(indices, dtype=int)
        logits = torch.empty(len(indices), len(self.label_names))
        ends = np.cumsum(encoded.lengths[indices])
        seen = np.full(ends[-1] if len(ends) else 0, self.clf.layers)
        if self._layers is None and len(indices):
            self._layers = layers_of(self.clf, encoded)
        settings = heads.in_force(self.clf)
        if settings is not None:
            settings = heads.one_setting(self.clf, settings)
        with torch.inference_mode():
            for texts in together(encoded, indices):
                logits[texts], layers = self._together(
                    encoded, indices[texts], settings, None if shares is None else shares[texts]
                )
                places = [
                    np.arange(ends[text] - size, ends[text])
                    for text, size in zip(texts, encoded.lengths[indices[texts]], strict=True)
                ]
                seen[np.concatenate(places)] = layers
        return logits, seen

    def _together(
        self,
        encoded: Encoded,
        texts: np.ndarray,
        settings: HeadSettings | None,
        shares: np.ndarray | None,
    ) -> tuple[Tensor, np.ndarray]:
        """Logits of some texts, and through how many layers each of their tokens went."""
        assert self._layers is not None, "made before the first text"
        steps, whole = self._layers, encoded.lengths[texts]
        column, starts = encoded.columns["input_ids"], encoded.starts
        ids = np.concatenate([column[starts[text] : starts[text + 1]] for text in texts])
        packed = packed_start(steps, encoded, texts)
        rows = np.arange(len(ids))  # which tokens are left
        seen = np.full(len(ids), self.clf.layers)
        sizes = packed.hidden.new_ones(len(ids))
        for layer in range(self.clf.layers):
            hidden = steps.packed_layer(layer, packed, settings)
            if layer == self.clf.layers - 1:
                break
            before, packed = packed, packed.with_hidden(hidden)
            if layer in self.schedule:
                counts = counts_of(whole, self._share(layer, packed, whole, shares))
                packed, left, sizes = self._fewer(layer, before, packed, counts, ids[rows], sizes)
                staying = rows[left.cpu().numpy()]
                seen[np.setdiff1d(rows, staying)] = layer + 1
                rows = staying
        return steps.answer(hidden).cpu(), seen

    def _share(
        self, layer: int, after: Packed, whole: np.ndarray, shares: np.ndarray | None
    ) -> float | np.ndarray:
        """The share of the tokens of each text that goes on after a layer."""
        if shares is not None:
            return shares
        share = self.schedule[layer]
        return share if self.easy is None else self.easy.shares(after, whole, share)

    def _fewer(
        self,
        layer: int,
        before: Packed,
        after: Packed,
        counts: np.ndarray,
        ids: np.ndarray,
        sizes: Tensor,
    ) -> tuple[Packed, Tensor, Tensor]:
        """The texts with the tokens that go on, which of the rows these are, and their sizes."""
        always = torch.from_numpy(np.isin(ids, self._special)).to(after.hidden.device)
        if self.by == "merge":
            hidden, lengths, rows, sizes = merged(
                after.hidden, after.lengths, counts, always, sizes
            )
            return Packed(hidden, lengths), rows, sizes
        importance = self._importance(layer, before, after, ids)
        rows, lengths = most_important(importance, after.lengths, counts, always)
        return Packed(after.hidden[rows], lengths), rows, sizes[rows]

    def _importance(self, layer: int, before: Packed, after: Packed, ids: np.ndarray) -> Tensor:
        """How much each token matters, (N,)."""
        device, reading = after.hidden.device, self._reads[layer]
        if reading is not None:
            return before.in_groups(before.hidden, reading)
        if self.by == "norm":
            return after.hidden.norm(dim=-1)
        if self.by == "first":
            return -torch.arange(len(ids), device=device).float()
        if self.by == "random":
            return by_chance(ids, after.lengths, self.seed).to(device)
        scorer: Any = self.by
        return scorer.scores(after.hidden, layer)


def _checked(schedule: Mapping[int, float], layers: int) -> dict[int, float]:
    """The schedule in the order of layers; SettingsError for one without sense."""
    if not isinstance(schedule, Mapping) or not schedule:
        raise SettingsError(
            f"The schedule is {schedule!r}; expected a layer and the share of tokens that go on "
            "after it, such as {1: 0.5}."
        )
    before = 1.0
    for layer, share in sorted(schedule.items()):
        if not 0 <= layer < layers - 1:
            raise SettingsError(
                f"Tokens cannot go after layer {layer}: of {layers} layers these are 0 to "
                f"{layers - 2}, as after the last one only [CLS] is asked."
            )
        if not 0 < share <= before:
            raise SettingsError(
                f"The share after layer {layer} is {share}; it is of the whole text, above 0 and "
                f"at most {before:g}, what is left by then."
            )
        before = share
    return dict(sorted(schedule.items()))


def __dir__() -> list[str]:
    return sorted(__all__)
