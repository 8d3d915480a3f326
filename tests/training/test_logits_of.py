"""A model as a function from a batch to its logits."""

import torch
from tiny_models import tiny

from attnlab.device import autocast, number_format
from attnlab.training import LogitsOf


def test_a_batch_goes_in_as_one_argument_and_the_weights_stay_shared():
    model = tiny("bert")
    ids = torch.randint(5, 20, (3, 7))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    logits_of = LogitsOf(model)
    logits = logits_of(batch)
    assert logits.dtype == torch.float32
    with autocast(model.device, number_format("cpu")):
        assert torch.equal(logits, model(**batch).logits.float())
    logits.sum().backward()
    assert all(a is b for a, b in zip(logits_of.parameters(), model.parameters(), strict=True))
    assert model.classifier.weight.grad is not None
    logits_of.zero_grad()
    assert model.classifier.weight.grad is None
