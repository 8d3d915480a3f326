"""Heads, neurons and layers that go for good: equal to a smaller model made by hand."""

import copy

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, answering, tiny_classifier
from tiny_models import CONFIGS
from transformers import AutoModelForSequenceClassification

import attnlab as al
from attnlab import heads
from attnlab.classification.structure import STRUCTURE
from attnlab.compression.choices import head_scores, layer_scores, neuron_scores
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError

FAMILIES = list(CONFIGS)
WITH_LAYERS = [family for family in FAMILIES if not family.startswith("albert")]
TEXTS = [*LITTLE, "it is an ending and never slow", "the start is loud but worth the film"]


def logits(clf, texts=TEXTS):
    return clf.logits(clf.encode(texts))


def down(clf, layer):
    return heads.feed_forwards(clf.model)[layer].down


@pytest.mark.parametrize("family", FAMILIES)
def test_without_neurons_a_model_answers_as_with_their_outputs_at_zero(family, tmp_path):
    clf = tiny_classifier(family)
    keep = list(range(0, 64, 3))
    smaller = al.compression.prune_neurons(clf, keep=[keep] * clf.layers)
    silenced = copy.deepcopy(clf.model)
    gone = [neuron for neuron in range(64) if neuron not in keep]
    with torch.no_grad():
        for block in heads.feed_forwards(silenced):
            block.down.weight[:, gone] = 0
    torch.testing.assert_close(logits(smaller), logits(clf.with_model(silenced)), rtol=0, atol=1e-6)
    assert down(smaller, 0).in_features == len(keep) and down(clf, 0).in_features == 64
    smaller.save(tmp_path / "small")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "small")
    loaded = al.load_classifier(tmp_path / "small")
    assert torch.equal(logits(loaded), logits(smaller))
    # the same number everywhere: plain Transformers reads it, too
    assert torch.equal(logits(clf.with_model(plain)), logits(smaller))


@pytest.mark.parametrize("family", WITH_LAYERS)
def test_layers_may_keep_different_numbers_of_neurons(family, tmp_path):
    clf = tiny_classifier(family)
    keep = [range(5), range(64), range(10, 30)]
    smaller = al.compression.prune_neurons(clf, keep=keep)
    assert [down(smaller, layer).in_features for layer in range(3)] == [5, 64, 20]
    smaller.save(tmp_path)
    assert torch.equal(logits(al.load_classifier(tmp_path)), logits(smaller))


@pytest.mark.parametrize("family", WITH_LAYERS)
@pytest.mark.parametrize("keep", [[0, 2], [1], [0, 1, 2]])
def test_without_layers_a_model_is_the_one_built_of_the_others(family, keep, tmp_path):
    clf = tiny_classifier(family)
    smaller = al.compression.prune_layers(clf, keep=keep)
    config = copy.deepcopy(clf.model.config)
    config.num_hidden_layers = len(keep)
    by_hand = AutoModelForSequenceClassification.from_config(config).eval()
    state, mine = clf.model.state_dict(), by_hand.state_dict()
    for name in mine:
        parts = name.split(".")
        if "layer" in parts:
            at = parts.index("layer") + 1
            parts[at] = str(keep[int(parts[at])])
        mine[name] = state[".".join(parts)]
    by_hand.load_state_dict(mine)
    assert torch.equal(logits(smaller), logits(clf.with_model(by_hand)))
    assert (smaller.layers, clf.layers) == (len(keep), 3)
    smaller.save(tmp_path)
    assert torch.equal(logits(al.load_classifier(tmp_path)), logits(smaller))


def test_what_was_removed_from_a_layer_goes_with_its_number(tmp_path):
    clf = tiny_classifier("bert")
    clf = al.compression.prune_heads(clf, heads_gone=[(0, 1), (2, 0), (2, 3)])
    clf = al.compression.prune_neurons(clf, keep=[range(5), range(64), range(7)])
    smaller = al.compression.prune_layers(clf, keep=[1, 2])
    assert heads.removed(smaller) == [(1, 0), (1, 3)]
    assert getattr(smaller.model.config, STRUCTURE)["neurons"] == [64, 7]
    smaller.save(tmp_path)
    loaded = al.load_classifier(tmp_path)
    assert torch.equal(logits(loaded), logits(smaller))
    assert al.compression.steps(loaded) == [
        {
            "step": "prune_heads",
            "gone": [[0, 1], [2, 0], [2, 3]],
            "by": "named",
            "repaired": False,
        },
        {"step": "prune_neurons", "kept": [5, 64, 7], "by": "named", "repaired": False},
        {"step": "prune_layers", "kept": [1, 2], "by": "named"},
    ]
    assert al.compression.steps(tiny_classifier("bert")) == []


def test_a_smaller_model_can_be_mixed_measured_and_ablated():
    clf, data = answering("bert", 40)
    smaller = al.compression.prune_neurons(clf, share=0.5, by="magnitude")
    smaller = al.compression.prune_layers(smaller, keep=[0, 2])
    evaluator = al.Evaluator(smaller, data)
    assert evaluator.current_engine() is not None
    torch.testing.assert_close(evaluator.logits(), logits(smaller, data.texts), rtol=0, atol=1e-5)
    assert len(al.ablate(evaluator)) == 2 * 4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", ["heads", "neurons"])
def test_repair_brings_the_layers_outputs_nearer(family, what):
    """Least squares: on the calibration texts no other matrix of that size comes nearer."""
    clf, data = answering(family, 120)
    texts = data.texts

    def cut(repair):
        if what == "neurons":
            return al.compression.prune_neurons(clf, share=0.7, by="magnitude", repair=repair)
        gone = [(layer, head) for layer in range(clf.layers) for head in (0, 1)]
        return al.compression.prune_heads(clf, heads_gone=gone, repair=repair)

    def first_block_output(model):
        """Of the first layer that was cut, before anything above it differs."""
        seen = []
        if what == "neurons":
            module = heads.feed_forwards(model.model)[0].down
        else:
            module = heads.sites(model.model)[0].output
        handle = module.register_forward_hook(lambda module, inputs, out: seen.append(out))
        batch = model.encode(texts[:30]).batch(range(30))
        heads.run(model, batch, None)
        handle.remove()
        return seen[0][batch["attention_mask"].bool()]

    whole, plain, repaired = (first_block_output(one) for one in (clf, cut(None), cut(texts)))
    assert (repaired - whole).square().mean() < 0.8 * (plain - whole).square().mean()


def test_repair_with_nothing_gone_changes_nothing():
    clf = tiny_classifier("bert")
    same = al.compression.prune_neurons(clf, share=0, repair=TEXTS)
    assert torch.equal(logits(same), logits(clf))
    same = al.compression.prune_heads(clf, share=0.0, repair=TEXTS)
    assert torch.equal(logits(same), logits(clf))


def test_repair_solves_least_squares():
    """With tokens enough the new matrix is numpy's own solution."""
    clf, data = answering("bert", 300)
    keep = [range(0, 64, 2)] * 3
    repaired = al.compression.prune_neurons(clf, keep=keep, repair=data.texts)
    seen = []
    old = down(clf, 0)
    handle = old.register_forward_hook(lambda module, inputs, out: seen.append((inputs[0], out)))
    encoded = clf.encode(data.texts)
    for group in encoded.batches():
        batch = encoded.batch(group)
        real = batch["attention_mask"].bool()
        heads.run(clf, batch, None)
        seen[-1] = tuple(one[real].detach().double() for one in seen[-1])
    handle.remove()
    inputs = torch.cat([one for one, _ in seen])[:, list(keep[0])]
    outputs = torch.cat([one for _, one in seen])
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).numpy()
    residual = outputs.numpy() - extended @ np.linalg.lstsq(extended, outputs.numpy())[0]
    new = down(repaired, 0)
    mine = outputs - (inputs @ new.weight.T.double() + new.bias.double())
    assert float(mine.square().mean()) == pytest.approx(np.square(residual).mean(), rel=0.02)


@pytest.mark.parametrize("by", ["magnitude", "activation", "gradient", "random"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "albert"])
def test_neurons_without_effect_have_the_lowest_scores(by, family):
    clf, data = answering(family, 40)
    dead = [3, 17, 40]
    with torch.no_grad():
        for block in heads.feed_forwards(clf.model):
            block.down.weight[:, dead] = 0
    scores = neuron_scores(clf, by, data)
    assert [len(score) for score in scores] == [64] * clf.layers
    if by != "random":
        for score in scores:
            assert set(np.argsort(score)[:3]) == set(dead)
            assert (score[dead] == 0).all() and (np.delete(score, dead) > 0).all()


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_first_order_scores_of_neurons_are_the_slopes_of_their_gates(family):
    """|activation x gradient|, summed over tokens, is the slope with respect to a gate."""
    clf, data = answering(family, 3)
    scores = neuron_scores(clf, "gradient", data)
    expected, albert = np.zeros(64), family.startswith("albert")
    layer = clf.layers - 1 if not albert else 0
    for text, label in zip(data.texts, data.labels, strict=True):
        gates = torch.ones(64, requires_grad=True)
        module = down(clf, layer)
        calls = []

        def gated(module, inputs, gates=gates, calls=calls):
            calls.append(0)
            return (inputs[0] * gates,) if len(calls) == layer + 1 or not albert else None

        handle = module.register_forward_pre_hook(gated)
        out = clf.model(**clf.encode([text]).batch([0])).logits
        torch.nn.functional.cross_entropy(out, torch.tensor([label])).backward()
        handle.remove()
        expected += gates.grad.abs().numpy()
    np.testing.assert_allclose(scores[layer], expected / 3, rtol=1e-4, atol=1e-8)


def test_scores_of_heads_are_those_of_the_evaluator():
    clf, data = answering("bert", 40)
    evaluator = al.Evaluator(clf, data)
    table = al.ablate(evaluator)
    margins = head_scores(clf, "margin", data)
    assert np.isfinite(margins).all()
    rank = np.corrcoef(margins.ravel(), -table["margin_delta"])[0, 1]
    assert rank > 0.99  # the scores are measured in a short number format
    pruned = al.compression.prune_heads(clf, heads_gone=[(1, 2)])
    for by in ("margin", "gradient", "random"):
        scores = head_scores(pruned, by, data)
        assert np.isnan(scores[1, 2]) and np.isfinite(scores).sum() == 11


def test_the_share_that_goes_is_that_of_the_lowest_scores():
    clf, data = answering("bert", 40)
    scores = head_scores(clf, "margin", data)
    smaller = al.compression.prune_heads(clf, share=0.25, data=data)
    lowest = {tuple(map(int, np.unravel_index(at, (3, 4)))) for at in scores.argsort(None)[:3]}
    assert set(heads.removed(smaller)) == lowest
    layers = layer_scores(clf, "ablation", data)
    fewer = al.compression.prune_layers(clf, 1, data=data)
    (step,) = al.compression.steps(fewer)
    assert step["kept"] == sorted(set(range(3)) - {int(layers.argmin())})
    for seed in (0, 1):
        again = [
            al.compression.prune_neurons(clf, share=0.5, by="random", seed=seed) for _ in range(2)
        ]
        assert torch.equal(logits(again[0]), logits(again[1]))


@pytest.mark.parametrize("by", ["margin", "gradient", "random"])
def test_layers_that_share_their_weights_lose_the_same_heads(by):
    clf, data = answering("albert-shared", 30)
    smaller = al.compression.prune_heads(clf, share=0.5, by=by, data=data)
    gone = heads.removed(smaller)
    assert len(gone) == 6 and len({head for _, head in gone}) == 2


@pytest.mark.parametrize("by", ["activation", "gradient", "magnitude", "random"])
@pytest.mark.parametrize("alike", [True, False])
def test_layers_that_share_their_weights_lose_the_same_neurons(by, alike):
    clf, data = answering("albert-shared", 30)
    smaller = al.compression.prune_neurons(
        clf, share=0.5, by=by, data=data, everywhere_alike=alike, repair=data.texts
    )
    assert [down(smaller, layer).in_features for layer in range(3)] == [32] * 3


def test_shares_over_all_layers_leave_each_a_neuron():
    clf, data = answering("bert", 20)
    with torch.no_grad():
        down(clf, 1).weight.mul_(1e-6)
    smaller = al.compression.prune_neurons(clf, share=0.6, data=data, everywhere_alike=False)
    left = [down(smaller, layer).in_features for layer in range(3)]
    assert sum(left) == round(0.4 * 192) and min(left) >= 1
    nearly_all = al.compression.prune_neurons(clf, share=0.999, by="magnitude")
    assert [down(nearly_all, layer).in_features for layer in range(3)] == [1, 1, 1]


def test_a_model_without_any_heads_still_answers(tmp_path):
    clf, _ = answering("bert", 20)
    none = al.compression.prune_heads(clf, share=1, by="random")
    assert len(heads.removed(none)) == 12
    none.save(tmp_path)
    assert torch.equal(logits(al.load_classifier(tmp_path)), logits(none))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c: c.prune_neurons, "Say either how large a share"),
        (lambda c: lambda clf: c.prune_neurons(clf, 1.0), "share=1.0 is out of range"),
        (lambda c: lambda clf: c.prune_neurons(clf, -0.1), "share=-0.1 is out of range"),
        (lambda c: lambda clf: c.prune_neurons(clf, float("nan")), "out of range"),
        (lambda c: lambda clf: c.prune_heads(clf, 1.2), "share=1.2 is out of range"),
        (lambda c: lambda clf: c.prune_heads(clf, 0.5), "needs labelled texts"),
        (lambda c: lambda clf: c.prune_heads(clf, 0.5, by="luck"), "There is no by='luck'"),
        (lambda c: lambda clf: c.prune_heads(clf, heads_gone=[(9, 0)]), "There is no head (9, 0)"),
        (lambda c: lambda clf: c.prune_neurons(clf, 0.5), "Calibration texts are missing"),
        (lambda c: lambda clf: c.prune_neurons(clf, keep=[[0], [0]]), "for 2 layers"),
        (lambda c: lambda clf: c.prune_neurons(clf, keep=[[0], [], [64]]), "for layer 1"),
        (lambda c: lambda clf: c.prune_layers(clf, 3), "cannot go"),
        (lambda c: lambda clf: c.prune_layers(clf, keep=[]), "each once and in order"),
        (lambda c: lambda clf: c.prune_layers(clf, keep=[2, 0]), "each once and in order"),
        (lambda c: lambda clf: c.prune_layers(clf, keep=[0, 7]), "layers from 0 to 2"),
    ],
)
def test_what_cannot_be_removed_is_said(call, message):
    with pytest.raises(AttnlabError) as told:
        call(al.compression)(tiny_classifier("bert"))
    assert message in str(told.value)


def test_a_calibration_without_texts_is_refused():
    clf = tiny_classifier("bert")
    for nothing in ([], "a slow start", None):
        with pytest.raises((DataError, AttnlabError)):
            al.compression.prune_neurons(clf, share=0.5, data=nothing)
    with pytest.raises(DataError):
        al.compression.prune_neurons(clf, share=0.5, by="magnitude", repair=[])


def test_a_single_class_among_the_texts_is_enough_to_choose_by():
    clf, data = answering("bert", 40)
    one = [index for index, label in enumerate(data.labels) if label == data.labels[0]]
    alone = TextDataset(
        [data.texts[index] for index in one], [data.labels[0]] * len(one), data.label_names, "one"
    )
    smaller = al.compression.prune_heads(clf, share=0.25, data=alone)
    assert len(heads.removed(smaller)) == 3


def test_layers_of_albert_cannot_go_alone():
    clf = tiny_classifier("albert")
    for call in (
        lambda: al.compression.prune_layers(clf, keep=[0]),
        lambda: al.compression.share_layers(clf, [[0, 1]]),
    ):
        with pytest.raises(ModelError, match="share their weights"):
            call()


def test_fine_tuning_does_not_start_from_a_model_that_was_taken_apart(tmp_path, movies):
    clf = tiny_classifier("bert")
    al.compression.prune_neurons(clf, keep=[range(5), range(6), range(7)]).save(tmp_path)
    with pytest.raises(ModelError, match=r"compressed.*distil"):
        al.finetune(tmp_path, movies, epochs=1)


def test_what_was_packed_and_trained_is_written_whole_and_said(tmp_path):
    clf = al.compression.quantize(tiny_classifier("bert"), bits=4)
    with torch.no_grad():
        down(clf, 1).weight.add_(0.01 * torch.randn(32, 64))
    with pytest.warns(AttnlabWarning, match=r"1 matrices \(1\.down\) have changed"):
        clf.save(tmp_path)
    assert torch.equal(logits(al.load_classifier(tmp_path)), logits(clf))


@pytest.mark.parametrize(
    ("prune", "scores", "by", "amount", "fault"),
    [
        (al.compression.prune_heads, head_scores, "gradient", 0.5, lambda known: known[:, :-1]),
        (al.compression.prune_neurons, neuron_scores, "activation", 0.5, lambda known: known[:-1]),
        (al.compression.prune_layers, layer_scores, "ablation", 1, lambda known: known[:-1]),
    ],
)
def test_scores_can_be_computed_once_for_many_amounts(prune, scores, by, amount, fault):
    clf, data = answering("bert", count=30)
    known = scores(clf, by, data)
    once, anew = prune(clf, amount, by=by, scores=known), prune(clf, amount, by=by, data=data)
    assert al.compression.steps(once) == al.compression.steps(anew)
    assert all(
        torch.equal(mine, other)
        for mine, other in zip(once.model.parameters(), anew.model.parameters(), strict=True)
    )
    with pytest.raises(AttnlabError, match="Compute them for this one"):
        prune(clf, amount, by=by, scores=fault(known))
