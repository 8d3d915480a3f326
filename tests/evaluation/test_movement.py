"""How far weights moved: planted changes are found where they were planted, and nothing else is."""

import copy
import math

import pandas as pd
import pytest
import torch
from tiny_models import CONFIGS, tiny

import attnlab as al
from attnlab.classification.loading import load_base
from attnlab.errors import ModelError
from attnlab.evaluation.movement import KINDS, layer_movement

LAYERS = {"albert-shared": 1}  # its layers share their weights; the others have 3


@pytest.fixture
def two():
    """A tiny BERT and a copy of it to change."""
    before = tiny("bert")
    return before, copy.deepcopy(before)


def moved(table):
    """Where the table says that something moved."""
    hits = table[table["relative"] > 1e-12]
    return {(None if row.layer is pd.NA else row.layer, row.kind) for row in hits.itertuples()}


def test_a_planted_change_is_found_in_its_place_with_its_size(two):
    before, after = two
    weight = after.bert.encoder.layer[1].attention.self.key.weight
    with torch.no_grad():
        weight.mul_(1.25)
    table = layer_movement(before, after)
    assert moved(table) == {(1, "key")}
    row = table[(table["layer"] == 1) & (table["kind"] == "key")].iloc[0]
    assert row.relative == pytest.approx(0.25)
    assert row.norm == pytest.approx(float(weight.detach().norm()) / 1.25)
    assert row.moved == pytest.approx(0.25 * row.norm)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_has_every_kind_in_every_layer(family):
    model = tiny(family)
    table = layer_movement(model, model)
    inside = table.dropna(subset="layer")
    layers = LAYERS.get(family, 3)
    assert inside["layer"].tolist() == [layer for layer in range(layers) for _ in KINDS]
    assert inside["kind"].tolist() == layers * list(KINDS)
    assert {"word embeddings", "position embeddings"} <= set(table["kind"])
    assert (table["relative"] == 0).all()
    assert (table["norm"] > 0).all()


@pytest.mark.parametrize("family", CONFIGS)
def test_each_kind_is_the_matrix_of_that_name(family):
    """Each matrix of a layer is scaled by its own factor, which must return under its kind."""
    words = {
        "query": ("query", "q_lin"),
        "key": ("key", "k_lin"),
        "value": ("value", "v_lin"),
        "attention output": ("attention_out.dense", "out_lin", "attention.dense"),
        "feed-forward up": ("intermediate.dense", "lin1", "ffn.weight"),
        "feed-forward down": ("output.dense", "lin2", "ffn_output"),
    }
    model = tiny(family)
    after = model.state_dict()
    for factor, names in enumerate(words.values(), 2):
        for name, tensor in model.state_dict().items():
            inner = name.replace("attention.output", "attention_out")
            in_layer = any(part.isdigit() for part in name.split("."))
            if in_layer and tensor.dim() == 2 and any(one in inner for one in names):
                after[name] = tensor * factor
    table = layer_movement(model, after).dropna(subset="layer")
    found = table.groupby("kind")["relative"].mean()
    assert {kind: found[kind] for kind in words} == pytest.approx(
        {kind: float(factor) for factor, kind in enumerate(words, 1)}
    )


def test_an_encoder_is_compared_with_the_classifier_made_from_it(two):
    before, after = two
    with torch.no_grad():
        after.bert.pooler.dense.weight.add_(1)
        after.classifier.weight.add_(1)  # the base has no such thing
    assert moved(layer_movement(before.bert, after)) == {(None, "pooler")}


def test_models_state_dicts_and_classifiers_are_all_taken(two):
    before, after = two
    with torch.no_grad():
        after.bert.encoder.layer[0].output.dense.weight.add_(0.1)
    plain = layer_movement(before, after)
    states = layer_movement(before.state_dict(), after.half().state_dict())
    assert states["relative"].tolist() == pytest.approx(plain["relative"].tolist(), abs=1e-3)


def test_our_classifier_moved_in_its_layers_and_kept_its_embeddings(clf):
    base, _, _ = load_base("minilm", 2)
    table = layer_movement(base, clf).set_index("kind")
    assert table.loc["word embeddings", "relative"] == 0  # LoRA leaves them
    assert (table.loc[list(KINDS), "relative"] > 0.001).all()


def test_another_size_is_refused_with_both_shapes(two):
    before, _ = two
    state = before.state_dict()
    name = "bert.encoder.layer.2.attention.self.value.weight"
    state[name] = state[name][:24]
    with pytest.raises(
        ModelError, match=r"value matrix of layer 2 has the shape \(32, 32\) before and \(24, 32\)"
    ):
        layer_movement(before, state)


@pytest.mark.parametrize("given", [3, "minilm", None, [1]])
def test_what_has_no_weights_is_refused(two, given):
    with pytest.raises(ModelError, match="has no weights to compare"):
        layer_movement(given, two[0])


def test_models_without_a_layer_in_common_are_refused(two):
    with pytest.raises(ModelError, match="no layer of a BERT-family encoder in common"):
        layer_movement(two[0], torch.nn.Linear(2, 2))


def test_adapters_that_are_not_merged_are_refused_and_not_called_still(two):
    from peft import LoraConfig, get_peft_model

    before, after = two
    adapted = get_peft_model(after, LoraConfig(target_modules=["query", "key", "value", "dense"]))
    with pytest.raises(ModelError, match="merge_and_unload"):
        layer_movement(before, adapted)


def test_a_matrix_of_zeros_has_no_relative_change(two):
    before, after = two
    with torch.no_grad():
        before.bert.pooler.dense.weight.zero_()
    table = layer_movement(before, after).set_index("kind")
    assert math.isnan(table.loc["pooler", "relative"])
    assert table.loc["pooler", "moved"] > 0


def test_the_name_is_public():
    assert al.evaluation.layer_movement is layer_movement
