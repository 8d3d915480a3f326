"""Narrower attention in real models: equal to masks by hand, and everything else still works."""

import threading

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, answering, random_settings, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import compression, economics
from attnlab.attention import entmax15, sparsemax, window_mask
from attnlab.errors import ModelError, SettingsError
from attnlab.heads import Narrow, narrow, narrowed_layers

FAMILIES = list(CONFIGS)
TEXTS = [*LITTLE, "it is an ending and never slow but dull it is", "film", "loud and slow"]
KINDS = [
    Narrow("window", window=2),
    Narrow("window", window=2, sinks=False),
    Narrow("window", window=1, dilation=2),
    Narrow("top-k", k=3),
    Narrow("hard"),
    Narrow("sparsemax"),
    Narrow("entmax"),
]
ALL = pytest.mark.parametrize("how", KINDS, ids=lambda how: f"{how.kind}-{how.sinks}")


@pytest.fixture(scope="module")
def clf():
    return tiny_classifier("bert")


def logits(clf, texts=TEXTS, settings=None):
    return clf.logits(clf.encode(texts), settings=settings)


def by_hand(clf, text, how, layers=None):
    """Logits of one text, each layer's weights narrowed by hand."""
    inputs = clf.encode([text]).batch([0])
    bert = clf.model.bert
    with torch.no_grad():
        hidden = bert.embeddings(inputs["input_ids"])
        for index, layer in enumerate(bert.encoder.layer):
            attention = layer.attention.self
            query, key, value = (
                part(hidden).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
                for part in (attention.query, attention.key, attention.value)
            )
            scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
            if layers is None or index in layers:
                weights = narrowed(scores, how)
            else:
                weights = scores.softmax(-1)
            context = (weights @ value).transpose(1, 2).flatten(2)
            between = layer.attention.output(context, hidden)
            hidden = layer.output(layer.intermediate(between), between)
        return clf.model.classifier(bert.pooler(hidden))[0]


def narrowed(scores, how):
    if how.kind in ("sparsemax", "entmax"):
        return (sparsemax if how.kind == "sparsemax" else entmax15)(scores)
    tokens = scores.shape[-1]
    if how.kind == "window":
        sinks = [0, tokens - 1] if how.sinks else []
        allowed = window_mask(tokens, how.window, sinks, how.dilation)
        return scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    k = min(1 if how.kind == "hard" else how.k, tokens)
    least = scores.sort(descending=True).values[..., k - 1 : k]
    return scores.masked_fill(scores < least, -torch.inf).softmax(-1)


@ALL
def test_it_answers_as_the_same_attention_by_hand(clf, how):
    narrower = narrow(clf, how)
    found = logits(narrower)
    for row, text in zip(found, TEXTS, strict=True):  # alone by hand, in padded batches here
        assert torch.allclose(row, by_hand(clf, text, how), atol=1e-5)
    assert not torch.allclose(found, logits(clf), atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_wide_enough_it_is_the_classifier_itself(family):
    clf = tiny_classifier(family)
    for how in (Narrow("window", window=40), Narrow("top-k", k=40)):
        assert torch.allclose(logits(narrow(clf, how)), logits(clf), atol=1e-5)


def test_images_are_read_through_a_window_too():
    clf = al.load_image_classifier("mnist-5k")
    images = al.datasets.load("mnist-5k").dev.images[:8]
    whole = clf.predict(images).probabilities
    wide = narrow(clf, Narrow("window", window=17)).predict(images).probabilities
    near = narrow(clf, Narrow("window", window=1)).predict(images).probabilities
    assert np.allclose(whole, wide, atol=1e-5)
    assert not np.allclose(whole, near, atol=1e-3)
    weights = narrow(clf, Narrow("window", window=1)).attend(images[0]).weights[0, 0]  # (T, T)
    assert (weights[5] > 0).nonzero()[:, 0].tolist() == [0, 4, 5, 6]  # [CLS] and neighbours


@ALL
def test_the_old_classifier_is_untouched_and_weights_are_shared(clf, how):
    before = logits(clf)
    narrower = narrow(clf, how)
    theirs = dict(narrower.model.named_parameters())
    assert all(theirs[name] is mine for name, mine in clf.model.named_parameters())
    assert torch.equal(logits(clf), before)
    assert narrowed_layers(clf.model) == []


@ALL
def test_maps_show_the_narrow_weights(clf, how):
    narrower = narrow(clf, how)
    weights = narrower.attend(TEXTS[1]).weights  # (L, H, T, T)
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
    tokens = weights.shape[-1]
    if how.kind == "window":
        allowed = window_mask(tokens, how.window, [0, -1] if how.sinks else [], how.dilation)
        assert (weights[:, :, ~allowed] == 0).all()
    if how.kind in ("top-k", "hard"):
        most = 1 if how.kind == "hard" else how.k
        assert ((weights > 0).sum(-1) <= most).all()


@ALL
def test_head_settings_act_and_do_not_hinder(clf, how):
    narrower, settings = narrow(clf, how), random_settings(clf)
    changed = logits(narrower, settings=settings)
    with al.heads.applied(narrower, settings):
        assert torch.equal(logits(narrower), changed)
    assert not torch.allclose(changed, logits(narrower), atol=1e-4)
    assert torch.allclose(
        logits(narrower, settings=narrower.settings()), logits(narrower), atol=1e-5
    )


def test_some_layers_may_be_narrow(clf):
    how = Narrow("top-k", k=2, layers=(1,))
    narrower = narrow(clf, how)
    assert narrowed_layers(narrower.model) == [1]
    found = logits(narrower, TEXTS[:1])[0]
    assert torch.allclose(found, by_hand(clf, TEXTS[0], how, layers=[1]), atol=1e-5)


def test_two_threads_ask_both_classifiers_at_once(clf):
    narrower = narrow(clf, Narrow("hard"))
    wanted = {id(each): logits(each) for each in (clf, narrower)}
    wrong = []

    def ask(which):
        for _ in range(10):
            if not torch.allclose(logits(which), wanted[id(which)], atol=1e-5):
                wrong.append(which)

    threads = [threading.Thread(target=ask, args=[each]) for each in (clf, narrower) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_ablation_measures_the_narrow_model():
    clf, data = answering("bert", 60)
    narrower = narrow(clf, Narrow("window", window=1))
    evaluator = al.Evaluator(narrower, data)
    right = (logits(narrower, data.texts).argmax(-1).numpy() == np.array(data.labels)).mean()
    assert evaluator.score().accuracy == pytest.approx(right)
    settings = narrower.settings()
    settings.scale[0, 1] = 0
    table = al.ablate(evaluator)
    one = table.query("layer == 0 and head == 1").iloc[0]
    silent = logits(narrower, data.texts, settings)
    accuracy = (silent.argmax(-1).numpy() == np.array(data.labels)).mean()
    assert one["accuracy"] == pytest.approx(accuracy)
    assert one["delta"] == pytest.approx(accuracy - right)


@ALL
def test_gradients_reach_the_weights(clf, how):
    narrower = narrow(clf, how)
    inputs = narrower.encode(TEXTS).batch(range(len(TEXTS)))
    loss = narrower.model(**inputs).logits.square().sum()
    query = narrower.model.bert.encoder.layer[0].attention.self.query.weight
    value = narrower.model.bert.encoder.layer[0].attention.self.value.weight
    slopes = torch.autograd.grad(loss, [query, value])
    assert all(slope.isfinite().all() for slope in slopes)
    assert slopes[1].abs().max() > 0
    assert (slopes[0].abs().max() > 0) == (how.kind != "hard")  # a choice has no gradient


@ALL
def test_while_training_weights_are_dropped(how):
    dropped = {"attention_probs_dropout_prob": 0.5, "hidden_dropout_prob": 0.0}
    narrower = narrow(tiny_classifier("bert", **dropped), how)
    inputs = narrower.encode(TEXTS).batch(range(len(TEXTS)))
    with torch.no_grad():
        first, second = (narrower.model.train()(**inputs).logits for _ in range(2))
        still, again = (narrower.model.eval()(**inputs).logits for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)
    assert torch.equal(still, again)


@ALL
def test_it_is_saved_and_comes_back_as_it_was(clf, how, tmp_path):
    narrower = narrow(clf, how)
    narrower.save(tmp_path / "narrow")
    again = al.load_classifier(tmp_path / "narrow")
    assert torch.allclose(logits(again), logits(narrower), atol=1e-6)
    assert narrowed_layers(again.model) == narrowed_layers(narrower.model)


def test_layers_and_heads_may_go_from_a_narrow_model(tmp_path):
    clf = tiny_classifier("bert", num_hidden_layers=4)
    narrower = narrow(clf, Narrow("top-k", k=2, layers=(1, 3)))
    smaller = compression.prune_layers(narrower, keep=[0, 3])
    assert narrowed_layers(smaller.model) == [1]
    pruned = al.heads.prune(smaller, [(1, 2)])
    pruned.save(tmp_path / "small")
    again = al.load_classifier(tmp_path / "small")
    assert narrowed_layers(again.model) == [1]
    assert torch.allclose(logits(again), logits(pruned), atol=1e-6)


def test_what_does_not_know_it_says_so(clf, tmp_path):
    narrower = narrow(clf, Narrow("hard"))
    with pytest.raises(ModelError, match="An export does not know narrower attention"):
        narrower.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ModelError, match="Counting what a model costs does not know"):
        economics.cost(narrower)


def test_what_cannot_be_is_refused(clf):
    with pytest.raises(SettingsError, match=r"no kind 'windows'.*'window'"):
        Narrow("windows")
    with pytest.raises(SettingsError, match="window is -1"):
        Narrow("window", window=-1)
    with pytest.raises(SettingsError, match="k is 0"):
        Narrow("top-k", k=0)
    with pytest.raises(SettingsError, match="no layer 7 to narrow"):
        narrow(clf, Narrow("hard", layers=(7,)))
    shared = tiny_classifier("albert-shared")
    with pytest.raises(SettingsError, match="share their weights and are narrowed together"):
        narrow(shared, Narrow("hard", layers=(0,)))
