"""Heads that no longer do what heads do are found and named, and heads that work are not."""

import copy
from contextlib import nullcontext as nothing

import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier

import attnlab as al
from attnlab import balance, heads
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabWarning, ModelError

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert-shared"]

D = 32  # width of a head of the bundled model
FIRST = (1, 9)
SECOND = (4, 7)


def _keyed_by_position(parts, rows):
    """Every query looks at the token whose key is large, which only the first one's is made."""
    query, key = parts["query"], parts["key"]
    query.weight[rows], query.bias[rows] = 0, 0
    query.bias[rows.start] = 300
    key.weight[rows], key.bias[rows] = 0, 0
    key.weight[rows.start] = parts["cls"]


def _zero(*names, bias=True):
    def change(parts, rows):
        for name in names:
            parts[name].weight[rows] = 0
            if bias:
                parts[name].bias[rows] = 0

    return change


def _output(factor):
    def change(parts, rows):
        parts["output"].weight[:, rows] *= factor

    return change


def _copied(*names):
    def change(parts, rows):
        other = slice(rows.stop, rows.stop + D)
        for name in names:
            parts[name].weight[rows] = parts[name].weight[other]
            parts[name].bias[rows] = parts[name].bias[other]
        if "value" in names:
            parts["output"].weight[:, rows] = parts["output"].weight[:, other]

    return change


def _sharp(parts, rows):
    parts["query"].weight[rows] *= 30
    parts["query"].bias[rows] *= 30


def _filled(name, number):
    def change(parts, rows):
        parts[name].weight[rows.start, 3] = number

    return change


def _scaled(factor, *names):
    def change(parts, rows):
        for name in names:
            parts[name].weight[rows] *= factor
            parts[name].bias[rows] *= factor

    return change


def _at_random(parts, rows):
    """As a model begins."""
    generator = torch.Generator().manual_seed(0)
    for name in ("query", "key", "value"):
        parts[name].weight[rows].normal_(0, 0.02, generator=generator)
        parts[name].bias[rows] = 0
    parts["output"].weight[:, rows].normal_(0, 0.02, generator=generator)


def _reordered(parts, rows):
    _copied("query", "key", "value")(parts, rows)
    for name in ("query", "key", "value"):
        parts[name].weight[rows] = parts[name].weight[rows].flip(0)
        parts[name].bias[rows] = parts[name].bias[rows].flip(0)
    parts["output"].weight[:, rows] = parts["output"].weight[:, rows].flip(1)


def _bias_not_finite(parts, rows):
    parts["key"].bias[rows.start] = float("nan")


WAYS = {
    "looks everywhere alike": (_zero("query"), "constant"),
    "keys all the same": (_zero("key", bias=False), "constant"),
    "always looks at the first token": (_keyed_by_position, "constant"),
    "values all the same": (_zero("value", bias=False), "constant"),
    "values zero": (_zero("value"), "no effect"),
    "output zero": (_output(0.0), "no effect"),
    "output a hundredth": (_output(0.01), "no effect"),
    "sharpened": (_sharp, "saturated"),
    "copy of its neighbour": (_copied("query", "key", "value"), "same output"),
    "looks where its neighbour does": (_copied("query", "key"), "same attention"),
    "queries a millionth": (_scaled(1e-6, "query"), "constant"),
    "all a millionth": (_scaled(1e-6, "query", "key", "value"), "no effect"),
    "at random": (_at_random, "constant"),
    "keys large": (_scaled(30, "key"), "saturated"),
    "copy with its parts in another order": (_reordered, "same output"),
    "NaN in a bias alone": (_bias_not_finite, "not finite"),
    "NaN in a query weight": (_filled("query", float("nan")), "not finite"),
    "infinity in a value weight": (_filled("value", float("inf")), "not finite"),
}


def tampered(clf, where, change):
    """A copy of the classifier in which one head was changed by hand."""
    changed = copy.copy(clf)
    changed.model = copy.deepcopy(clf.model)
    layer, head = where
    attention = changed.model.bert.encoder.layer[layer].attention
    parts = {name: getattr(attention.self, name) for name in ("query", "key", "value")}
    hidden = clf.model.bert(
        **clf.tokenizer("a film", return_tensors="pt"), output_hidden_states=True
    )
    states = hidden.hidden_states[layer][0]
    cls = states[0] - states.mean(0)
    with torch.no_grad():
        parts |= {"output": attention.output.dense, "cls": cls / cls.norm()}
        change(parts, slice(head * D, (head + 1) * D))
    return changed


@pytest.mark.parametrize("where", [FIRST, SECOND])
@pytest.mark.parametrize("way", WAYS)
def test_a_broken_head_is_found_and_named_and_no_other_is(clf, some, way, where):
    change, fault = WAYS[way]
    found = balance.faults(tampered(clf, where, change), some.texts[:20])
    mine = found[(found["layer"] == where[0]) & (found["head"] == where[1])]
    assert fault in set(mine["fault"])
    named = set(zip(found["layer"], found["head"], strict=True))
    assert named <= {where, (where[0], where[1] + 1)}
    if fault.startswith("same"):
        assert set(mine["other"]) == {where[1] + 1}


def test_heads_that_work_have_no_faults(clf, some):
    assert balance.faults(clf, some.texts[:20]).empty


def test_a_dead_head_is_found_in_a_model_of_dead_heads(clf, some):
    settings = clf.settings()
    settings.scale[:] = 0
    found = balance.faults(clf, some.texts[:20], settings)
    silent = found[found["fault"] == "no effect"]
    assert len(silent) == clf.layers * clf.heads


@pytest.mark.parametrize("way", ["looks everywhere alike", "values zero"])
def test_broken_heads_are_found_in_a_model_of_broken_heads(clf, some, way):
    change, fault = WAYS[way]
    changed = clf
    for layer in range(clf.layers):
        for head in range(clf.heads):
            changed = tampered(changed, (layer, head), change)
    expected = pytest.warns(AttnlabWarning, match="72 of 72") if fault == "constant" else nothing()
    with expected:
        found = balance.faults(changed, some.texts[:8])
    named = found[found["fault"] == fault]
    assert len(named) == len(named[["layer", "head"]].drop_duplicates()) == 72


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_model_with_random_weights_it_is_said_why_its_heads_are_constant(family):
    torch.manual_seed(0)
    clf = tiny_classifier(family)
    clf.model.init_weights()
    for module in clf.model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, 0, 0.02)
    with pytest.warns(AttnlabWarning, match="12 of 12 heads are constant.*until they are trained"):
        found = balance.faults(clf, LITTLE)
    assert set(found["fault"]) <= {"constant", "no effect"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 11])
def test_a_fine_tuned_model_has_no_faults(movies, seed):
    data = Splits(
        movies.train.sample(160, seed), movies.dev.sample(16, seed), movies.test.sample(16, seed)
    )
    rate = {0: None, 11: 1e-4}[seed]  # the usual one, and a bold one
    clf = al.finetune("minilm", data, "full", epochs=2, batch_size=8, seed=seed, learning_rate=rate)
    assert balance.faults(clf, movies.dev.sample(20, seed + 200).texts).empty


def test_heads_removed_for_good_have_no_faults(clf, some):
    assert balance.faults(heads.prune(clf, [(0, 3), (5, 1)]), some.texts[:20]).empty


def test_weights_outside_the_heads_that_are_not_finite_are_refused(clf, some):
    changed = copy.copy(clf)
    changed.model = copy.deepcopy(clf.model)
    with torch.no_grad():
        changed.model.bert.encoder.layer[2].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"layer\.2\.output\.dense\.weight holds NaN or infinity"):
        balance.faults(changed, some.texts[:20])
