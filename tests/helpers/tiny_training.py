"""A model of a few numbers, its data, and a run of the training loop on them."""

from types import SimpleNamespace

import torch
from torch import nn

from attnlab.training import Recipe, train


class Tiny(nn.Module):
    """A model that learns whether the first number is positive, with dropout."""

    def __init__(self, dropout=0.2):
        super().__init__()
        torch.manual_seed(1)
        self.inner, self.norm = nn.Linear(4, 8), nn.LayerNorm(8)
        self.dropout, self.outer = nn.Dropout(dropout), nn.Linear(8, 2)

    def forward(self, x, labels):
        logits = self.outer(self.dropout(self.norm(self.inner(x)).relu()))
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


DATA = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))

LABELS = (DATA[:, 0] > 0).long()

LENGTHS = [3 + index % 7 for index in range(50)]


def batch(indices):
    return {"x": DATA[indices], "labels": LABELS[indices]}


def measure(model):
    def measured():
        with torch.no_grad():
            output = model(DATA, LABELS)
        right = (output.logits.argmax(-1) == LABELS).float().mean()
        return {"dev_accuracy": float(right), "dev_loss": float(output.loss)}

    return measured


def run(model=None, recipe=None, **options):
    model = model or Tiny()
    recipe = recipe or Recipe(epochs=3, batch_size=8, learning_rate=1e-2)
    return model, train(model, LENGTHS, batch, measure(model), recipe, **options)


def same_weights(one, other):
    return all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
