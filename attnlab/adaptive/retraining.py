"""A short retraining in which the classifier already goes on with fewer tokens."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from attnlab.adaptive.guides import attention_of
from attnlab.adaptive.padded import PaddedLayers
from attnlab.adaptive.tokens import FewerTokens
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import special_ids
from attnlab.classification.fitting import fit
from attnlab.classification.methods import prepared
from attnlab.compression.copies import copied
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, SettingsError
from attnlab.training.recipe import Recipe

__all__ = ["picked", "retrain"]


def retrain(
    few: FewerTokens,
    train_data: TextDataset,
    dev: TextDataset,
    *,
    texts: int | None = 2000,
    epochs: int = 1,
    learning_rate: float = 3e-5,
    batch_size: int = 32,
    seed: int = 0,
) -> FewerTokens:
    """Train every weight but the word embeddings a little further, with fewer tokens in force.

    Parameters
    ----------
    few : of `drop_tokens`; stays as it is. A scorer keeps its weights.
    train_data, dev : texts to learn from, and texts on which the best epoch is chosen
    texts : how many texts are learned from, drawn at random; None for all
    epochs, learning_rate, batch_size, seed : as in `training.Recipe`

    Returns
    -------
    FewerTokens around the trained classifier, whose ``clf`` has ``.history``

    Raises
    ------
    DataError : no labelled texts
    SettingsError : tokens that are merged, or easy texts: neither is trained with
    """
    if few.by == "merge" or few.easy is not None:
        what = "merged tokens" if few.by == "merge" else "easy texts"
        raise SettingsError(f"Retraining does not know {what}. Give it drop_tokens(clf, ...).")
    for name, part in (("train", train_data), ("dev", dev)):
        if not isinstance(part, TextDataset) or not len(part):
            raise DataError(f"Retraining needs labelled texts in {name}; got {part!r}.")
    drawn = train_data if texts is None else train_data.sample(texts, seed)
    clf = copied(few.clf)
    prepared(clf.model.requires_grad_(True), "frozen-embeddings", 0, 0, [])
    held, right = clf.encode(dev.texts), torch.tensor(dev.labels_in(clf.label_names))

    def measured() -> dict[str, float]:
        logits = FewerTokens(clf, few.schedule, few.by, few.seed).logits(held)
        accuracy = float((logits.argmax(-1) == right).double().mean())
        return {"dev_accuracy": accuracy, "dev_loss": float(F.cross_entropy(logits, right))}

    clf.history = fit(
        clf,
        Splits(drawn, dev, dev.select([])),
        clf.encode(drawn.texts),
        Recipe(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed),
        _Shorter(clf, few),
        dtype=None,
        folder=None,
        resume=False,
        identity={},
        measure=measured,
    )
    clf.model.requires_grad_(True).eval()
    return FewerTokens(clf, few.schedule, few.by, few.seed)


class _Shorter(nn.Module):
    """A classifier that goes on with fewer tokens, as the training room sees it."""

    def __init__(self, clf: Classifier, few: FewerTokens):
        super().__init__()
        self.model, self.clf, self.few = clf.model, clf, few
        self.steps = PaddedLayers(clf)
        self.special = torch.tensor(special_ids(clf.tokenizer))

    def forward(self, labels: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """The loss and logits (B, C) of texts with these labels."""
        special = torch.isin(inputs["input_ids"], self.special.to(labels.device))
        hidden, real = self.steps.start(inputs)
        whole = real.sum(-1)
        for layer in range(self.clf.layers):
            before, hidden = hidden, self.steps.layer(layer, hidden, real)
            if layer in self.few.schedule:
                importance = self._importance(layer, before, hidden, real)
                counts = (whole * self.few.schedule[layer] - 1e-6).ceil().long()
                index, real = picked(importance, real, counts, special)
                wide = index[:, :, None].expand(-1, -1, hidden.shape[-1])
                hidden, special = hidden.gather(1, wide), special.gather(1, index)
        logits = self.steps.answer(hidden).float()
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)

    @torch.no_grad()
    def _importance(self, layer: int, before: Tensor, after: Tensor, real: Tensor) -> Tensor:
        """How much each token matters, (B, T); by chance, other numbers at each step."""
        by: Any = self.few.by
        if by in ("cls", "received"):
            read = attention_of(self.clf, layer, by == "received")
            return read(before, real[:, None, None, :])
        if by == "norm":
            return after.norm(dim=-1)
        if by == "first":
            return -torch.arange(real.shape[1], device=real.device).expand(real.shape).float()
        return torch.rand_like(after[..., 0]) if by == "random" else by.scores(after, layer)


def picked(
    importance: Tensor, real: Tensor, counts: Tensor, always: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose the most important tokens of each text in a padded batch, in their order.

    Parameters
    ----------
    importance : (B, T)
    real : bool (B, T), where tokens are and no padding
    counts : int (B,), how many of each text may stay
    always : bool (B, T), tokens that stay in any case; they count

    Returns
    -------
    index : int (B, S), where each token that stays stood; S is the largest number of them
    real : bool (B, S)
    """
    counts = counts.maximum((always & real).sum(-1)).minimum(real.sum(-1))
    ranked = importance.float().masked_fill(always, torch.inf).masked_fill(~real, -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    size = int(counts.max())
    staying = torch.arange(real.shape[1], device=real.device) < counts[:, None]
    keep = torch.zeros_like(real).scatter(1, order, staying)
    index = (~keep).long().argsort(dim=-1, stable=True)[:, :size]
    return index, torch.arange(size, device=real.device) < counts[:, None]


def __dir__() -> list[str]:
    return sorted(__all__)
