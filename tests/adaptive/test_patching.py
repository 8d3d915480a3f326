"""Patching equals a forward pass by hand with the clean run's head outputs."""

import numpy as np
import pytest
import torch
from tiny_classifiers import tiny_classifier
from tiny_images import images, tiny_image_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import adaptive
from attnlab.adaptive.attributions import margin_of
from attnlab.compression.layer_by_layer import layer_modules
from attnlab.errors import AttnlabError, DataError
from attnlab.evaluation.layers import classification_head, embedded

CLEAN, DISTURBED = "a slow start and the ending", "a dull film and the loud"
FAMILIES = list(CONFIGS)


def everything(clf):
    return [(layer, head) for layer in range(clf.layers) for head in range(clf.heads)]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_heads_at_the_first_token_give_back_the_clean_answer(family):
    """What [CLS] is at the end depends on the words through the outputs of its heads alone."""
    clf = tiny_classifier(family)
    curve = adaptive.patching_curve(clf, CLEAN, DISTURBED + " it", everything(clf), "cls")
    # the two margins of some tiny models are less than 0.001 apart, and rounded in float32
    assert curve["restored"].iloc[0] == pytest.approx(0, abs=2e-3)
    assert curve["restored"].iloc[-1] == pytest.approx(1, abs=2e-3)


def test_a_head_of_the_last_layer_restores_what_it_does_by_hand():
    clf = tiny_classifier("bert")
    *earlier, last = layer_modules(clf.model)
    hidden, mixed = {}, {}
    with torch.no_grad():
        for text in (CLEAN, DISTURBED):
            inputs = clf.encode([text]).batch([0])
            inputs.pop("attention_mask")
            states = embedded(clf.model.base_model, inputs)
            for module in earlier:
                output = module(states, None)
                states = output[0] if isinstance(output, tuple) else output
            attention = last.attention.self
            values = attention.value(states).unflatten(-1, (clf.heads, -1))[0]  # (T, H, D)
            weights = clf.attend(text).weights[-1]  # (H, T, T)
            mixed[text] = torch.einsum("hts,shd->thd", weights, values)
            hidden[text] = states

        def answer(heads):
            head = heads.flatten(-2)[None]
            between = last.attention.output(head, hidden[DISTURBED])
            return classification_head(clf.model)(last.output(last.intermediate(between), between))

        label = clf.logits(clf.encode([CLEAN])).argmax(-1)
        clean, disturbed = (
            float(margin_of(clf.logits(clf.encode([text])), label)) for text in (CLEAN, DISTURBED)
        )
        by_hand = []
        for head in range(clf.heads):
            patched = mixed[DISTURBED].clone()
            patched[:, head] = mixed[CLEAN][:, head]
            margin = float(margin_of(answer(patched), label))
            by_hand.append((margin - disturbed) / (clean - disturbed))
    table = adaptive.patch_heads(clf, CLEAN, DISTURBED)
    assert table.attrs["patched"] == 1
    assert table.attrs["clean"] == pytest.approx(clean, abs=1e-4)
    found = table[table["layer"] == clf.layers - 1]["restored"]
    assert np.allclose(found, by_hand, atol=1e-3)


def test_patching_leaves_the_model_as_it_was():
    clf = tiny_classifier("bert")
    before = clf.logits(clf.encode([CLEAN]))
    adaptive.patch_heads(clf, CLEAN, DISTURBED)
    assert torch.equal(clf.logits(clf.encode([CLEAN])), before)
    hooks = [module._forward_pre_hooks for module in clf.model.modules()]
    assert not any(hooks)


def test_heads_that_are_gone_restore_nothing():
    clf = tiny_classifier("bert")
    clf = al.heads.prune(clf, [(1, 2), *[(0, head) for head in range(clf.heads)]])
    table = adaptive.patch_heads(clf, CLEAN, DISTURBED).set_index(["layer", "head"])["restored"]
    assert table[1, 2] == pytest.approx(0, abs=1e-5)
    assert np.allclose(table[0], 0, atol=1e-5)
    assert (table.abs() > 1e-3).sum() >= clf.heads


def test_only_shared_words_are_patched_and_it_says_how_many():
    clf = tiny_classifier("bert")
    table = adaptive.patch_heads(clf, "a slow start", "a slow start but never dull")
    assert table.attrs["patched"] == pytest.approx(5 / 8)  # three words, [CLS] and [SEP]


def test_effects_are_means_of_single_tables_with_an_interval():
    clf = tiny_classifier("bert")
    pairs = [(CLEAN, DISTURBED), ("a slow film", "a dull film"), ("it is", "it never")]
    table = adaptive.patching_effects(clf, pairs)
    each = np.stack([adaptive.patch_heads(clf, *pair)["restored"] for pair in pairs])
    assert np.allclose(table["restored"], each.mean(0))
    assert (table["ci_low"] <= table["restored"]).all()
    assert (table["restored"] <= table["ci_high"]).all()


def test_images_can_be_patched():
    clf, (one, other) = tiny_image_classifier(), images(2)
    curve = adaptive.patching_curve(clf, one, other, everything(clf), "cls")
    assert curve["restored"].iloc[-1] == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_patched_is_refused():
    clf = tiny_classifier("bert")
    with pytest.raises(DataError, match="nothing to restore"):
        adaptive.patch_heads(clf, CLEAN, CLEAN)
    with pytest.raises(AttnlabError, match="no head"):
        adaptive.patching_curve(clf, CLEAN, DISTURBED, [(9, 0)])
    with pytest.raises(AttnlabError, match="'all'"):
        adaptive.patch_heads(clf, CLEAN, DISTURBED, "all")
    with pytest.raises(DataError, match="no pairs"):
        adaptive.patching_effects(clf, [])
