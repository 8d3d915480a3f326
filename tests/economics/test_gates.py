"""Hard-concrete gates have the distribution and the slopes of their formulas, and close."""

import math

import numpy as np
import pytest
import torch
from tiny_classifiers import answering
from torch import nn

from attnlab import heads
from attnlab.economics.gates import HardConcrete, HeadGates, l2_penalty, learn_gates
from attnlab.errors import AttnlabError, DataError
from attnlab.transformer import Seq2SeqTransformer, prune


def sampled(log_alpha, draws=200_001, beta=2 / 3, low=-0.1, high=1.1):
    """Gates by the paper's equations, over an even grid of the noise."""
    u = (np.arange(draws) + 0.5) / draws
    s = 1 / (1 + np.exp(-(np.log(u / (1 - u)) + log_alpha) / beta))
    return np.clip(s * (high - low) + low, 0, 1)


@pytest.mark.parametrize("log_alpha", [-3.0, -0.4, 0.0, 1.7])
def test_gates_are_open_as_often_as_the_formula_says(log_alpha):
    gates = HardConcrete(2)
    with torch.no_grad():
        gates.log_alpha.fill_(log_alpha)
    expected = sampled(log_alpha)
    torch.manual_seed(0)
    drawn = gates(torch.rand(100_000, 2)).detach().numpy()
    assert gates.probability()[0].item() == pytest.approx((expected > 0).mean(), abs=1e-4)
    for measure in (lambda z: (z > 0).mean(), lambda z: (z == 1).mean(), np.mean):
        assert measure(drawn) == pytest.approx(measure(expected), abs=0.01)
    middle = np.clip(1.2 / (1 + math.exp(-log_alpha)) - 0.1, 0, 1)
    assert gates.eval()()[0].item() == pytest.approx(middle, abs=1e-6)


def test_the_slope_of_a_mean_over_gates_is_that_of_the_integral():
    gates = HardConcrete(1)
    with torch.no_grad():
        gates.log_alpha.fill_(0.3)
    grid = ((torch.arange(100_001) + 0.5) / 100_001)[:, None]
    (gates(grid) - 0.7).square().mean().backward()
    means = [np.square(sampled(0.3 + step) - 0.7).mean() for step in (-1e-3, 1e-3)]
    assert gates.log_alpha.grad.item() == pytest.approx((means[1] - means[0]) / 2e-3, rel=1e-2)


def test_gates_start_as_open_as_asked():
    gates = HardConcrete(3, 4, openness=0.8)
    assert gates.probability().flatten().tolist() == pytest.approx([0.8] * 12)
    for bad in ({"openness": 1}, {"temperature": 0}, {"low": 0.1}, {"high": 0.9}):
        with pytest.raises(AttnlabError, match="expected openness"):
            HardConcrete(2, **bad)


def test_the_expected_number_of_open_heads_leaves_out_those_removed():
    clf, _ = answering("bert", 20)
    assert HeadGates(clf, openness=0.5).expected().item() == pytest.approx(6)
    smaller = heads.prune(clf, [(0, 1), (2, 3)])
    gates = HeadGates(smaller, openness=0.5)
    assert gates.expected().item() == pytest.approx(5)
    with torch.no_grad():
        gates.gates["heads"].log_alpha.fill_(-9)
    assert len(gates.closed()) == 10 and (0, 1) not in gates.closed()


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_gates_close_the_heads_that_give_nothing(family):
    """Heads whose output is cut off must close, whatever the others do; none is in the way."""
    clf, data = answering(family, 200)
    idle = [(0, 2), (1, 0), (1, 3), (2, 1)]
    with torch.no_grad():
        for layer, head in idle:
            heads.sites(clf.model)[layer].output.weight[:, head * 8 : head * 8 + 8] = 0
    data = type(data)(
        data.texts,
        clf.logits(clf.encode(data.texts)).argmax(-1).tolist(),
        clf.label_names,
        "made up",
    )
    before = {name: weight.clone() for name, weight in clf.model.state_dict().items()}
    seen = []
    gates = learn_gates(
        clf, data, penalty=0.02, epochs=60, progress=lambda epoch, count: seen.append(count)
    )
    assert set(idle) <= set(gates.closed()) and len(gates.closed()) < 12
    assert len(seen) == 60 and seen[-1] < seen[0]
    assert all(torch.equal(weight, before[name]) for name, weight in clf.model.state_dict().items())
    assert all(weight.grad is None for weight in clf.model.parameters())
    smaller = heads.prune(clf, gates.closed())
    with torch.no_grad():
        closed = gates.settings()
    for layer, head in gates.closed():
        assert closed.scale[layer, head] == 0
    kept = closed.copy()
    kept.scale = (closed.scale > 0).float()
    encoded = clf.encode(data.texts)
    torch.testing.assert_close(
        smaller.logits(encoded), clf.logits(encoded, settings=kept), rtol=0, atol=1e-5
    )


def test_the_penalty_decides_how_many_stay():
    clf, data = answering("bert", 120)
    few = learn_gates(clf, data, penalty=5, epochs=60)
    many = learn_gates(clf, data, penalty=0, epochs=20)
    assert len(few.closed()) == 12 and len(many.closed()) < 6
    again = learn_gates(clf, data, penalty=0, epochs=20)
    assert again.expected().item() == many.expected().item()


def test_an_encoder_decoder_learns_with_its_gates():
    """The gates of cross-attention are in the loss: their slope is that of the loss by scale."""
    torch.manual_seed(0)
    model = Seq2SeqTransformer(
        9, 9, d_model=8, heads=2, encoder_layers=2, decoder_layers=1, feed_forward=16, dropout=0.0
    )
    gates = HeadGates(model, openness=0.5)
    assert {kind: tuple(gate.log_alpha.shape) for kind, gate in gates.gates.items()} == {
        "encoder": (2, 2),
        "decoder": (1, 2),
        "cross": (1, 2),
    }
    assert gates.expected().item() == pytest.approx(4)
    ids = torch.tensor([[1, 4, 5, 2], [1, 7, 2, 0]])
    gates.eval()
    loss = model(ids, ids, labels=ids, settings=gates.settings()).loss
    (loss + 0.1 * gates.expected()).backward()
    slope = gates.gates["cross"].log_alpha.grad[0, 1].item()

    def total(step):
        with torch.no_grad():
            gates.gates["cross"].log_alpha[0, 1] += step
            found = model(ids, ids, labels=ids, settings=gates.settings()).loss
            found = found + 0.1 * gates.expected()
            gates.gates["cross"].log_alpha[0, 1] -= step
        return found.item()

    assert slope == pytest.approx((total(1e-2) - total(-1e-2)) / 2e-2, rel=0.02)
    with torch.no_grad():
        gates.gates["encoder"].log_alpha[1, 0] = -9
    assert gates.closed() == [("encoder", 1, 0)]


def test_a_small_l2_norm_is_no_small_cost():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    expected = sum(weight.square().sum().item() for weight in model.parameters())
    assert l2_penalty(model).item() == pytest.approx(expected)
    l2_penalty(model).backward()
    assert torch.equal(model[0].weight.grad, 2 * model[0].weight)


def test_gates_need_texts_and_sense():
    clf, data = answering("bert", 20)
    with pytest.raises(DataError, match="labelled texts"):
        learn_gates(clf, data.texts)
    for bad in ({"penalty": -1}, {"penalty": float("nan")}, {"epochs": 0}):
        with pytest.raises(AttnlabError, match="expected a penalty"):
            learn_gates(clf, data, **bad)


def test_gates_leave_out_heads_of_an_encoder_decoder_that_were_removed():
    whole = Seq2SeqTransformer(9, 9, d_model=8, heads=2, feed_forward=16)
    gates = HeadGates(prune(whole, [("cross", 1, 0), ("encoder", 0, 1)]), openness=0.5)
    assert gates.expected().item() == pytest.approx(5)
    with torch.no_grad():
        gates.gates["cross"].log_alpha.fill_(-9)
    assert gates.closed() == [("cross", 0, 0), ("cross", 0, 1), ("cross", 1, 1)]
