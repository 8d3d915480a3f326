"""Sizes, parameters and FLOPs by formula: equal to what real models have, and torch counts."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_classifiers import tiny_classifier
from tiny_models import CONFIGS, padded
from tiny_tokenizers import CORPUS, subword_classifier
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab import compression
from attnlab.economics.flops import crossing, flops, flops_by_part, growth
from attnlab.economics.passes import build, forward_pass
from attnlab.economics.shapes import (
    PARTS,
    Shape,
    megabytes,
    parameters,
    parameters_by_part,
    shape_of,
)
from attnlab.errors import AttnlabError, ModelError
from attnlab.heads import sharing_layers

SMALL = Shape.of(layers=3, heads=4, neurons=64, width=32, vocabulary=60, positions=40, classes=3)
TRANSLATORS = [
    {},
    {"norm": "post", "tie": "none"},
    {"positions": "learned", "encoder_layers": 1, "heads": 2, "max_length": 40},
    {"tie": "all", "source_vocabulary": 13, "d_model": 24, "feed_forward": 7},
    {"decoder_layers": 1, "fused": True, "tie": "none"},
]


def pruned_heads(clf, seed=0):
    """Some heads gone, all of the first layer's among them."""
    generator, gone = np.random.default_rng(seed), set()
    for layer in range(clf.layers):
        if sharing_layers(clf.model, layer)[0] == layer:
            some = range(4) if layer == 0 else generator.permutation(4)[: generator.integers(4)]
            for other in sharing_layers(clf.model, layer):
                gone |= {(other, int(head)) for head in some}
    return compression.prune_heads(clf, heads_gone=sorted(gone))


def pruned_neurons(clf):
    counts = [(7, 64, 1)[sharing_layers(clf.model, layer)[0]] for layer in range(clf.layers)]
    return compression.prune_neurons(clf, keep=[range(count) for count in counts])


def pruned_layers(clf):
    return compression.prune_layers(clf, keep=[0, 2])


def everything(clf):
    return pruned_layers(pruned_neurons(pruned_heads(clf)))


def shared(clf):
    return compression.share_layers(clf, [[0, 2]])


def products(clf):
    return compression.factorize(clf, rank=2, parts=["query", "up"])


WAYS = [lambda clf: clf, pruned_heads, pruned_neurons, pruned_layers, everything, shared]
CASES = [
    pytest.param(family, way, id=f"{family}-{number}")
    for family in CONFIGS
    for number, way in enumerate(WAYS)
    if "albert" not in family or number < 3  # whose layers are one
]


def counted(model, call):
    """What torch counts: FLOPs in all, and those of products of two activations."""
    model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    operations = counter.get_flop_counts()["Global"]
    scores = sum(n for name, n in operations.items() if "bmm" in str(name))
    return counter.get_total_flops(), scores


@pytest.mark.parametrize(("family", "way"), CASES)
def test_formulas_equal_what_a_model_has_and_what_torch_counts(family, way):
    clf = way(tiny_classifier(family))
    shape = shape_of(clf)
    assert parameters(shape) == sum(one.numel() for one in clf.model.parameters())
    assert megabytes(shape) == pytest.approx(4 * parameters(shape) / 1e6, rel=1e-12)
    for rows, tokens in ((1, 1), (3, 11), (2, 6)):
        batch = padded(clf.model, rows, tokens)
        total, scores = counted(clf.model, lambda batch=batch: clf.model(**batch))
        assert flops(shape, tokens, rows) == total
        assert flops_by_part(shape, tokens, rows)["attention scores"] == scores


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("part", ["query", "value", "output", "up", "down"])
def test_products_of_thin_matrices_are_counted_as_such(family, part):
    clf = compression.factorize(tiny_classifier(family), rank=3, parts=[part])
    shape = shape_of(clf)
    assert len(shape.ranks) == 3
    assert parameters(shape) == clf.parameters()
    batch = padded(clf.model)
    assert flops(shape, 11, 3) == counted(clf.model, lambda: clf.model(**batch))[0]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_a_trimmed_vocabulary_is_counted(family):
    clf = subword_classifier(family)
    smaller = compression.trim_vocabulary(clf, CORPUS[:2])
    before, after = shape_of(clf), shape_of(smaller)
    assert after.vocabulary < before.vocabulary
    assert dataclasses.replace(before, vocabulary=after.vocabulary) == after
    assert parameters(after) == smaller.parameters()
    assert flops(after) == flops(before)  # a lookup is no product


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "albert"])
def test_parts_are_those_of_the_linear_layers(family):
    clf = pruned_neurons(pruned_heads(tiny_classifier(family)))
    sums, names = dict.fromkeys(PARTS, 0), {id(m): name for name, m in clf.model.named_modules()}
    inside = ("query", "key", "value", "attention.output.dense", "attention.dense", "_lin")

    def part(name):
        if name.rpartition(".")[2] in ("pre_classifier", "classifier", "out_proj", "pooler"):
            return "classifier"
        if "pooler" in name or name.startswith("classifier"):
            return "classifier"
        if "embedding" in name:
            return "embedding"
        return "attention projections" if any(one in name for one in inside) else "feed-forward"

    def add(module, args, output):
        sums[part(names[id(module)])] += 2 * output.numel() * module.in_features

    hooks = [m.register_forward_hook(add) for m in clf.model.modules() if isinstance(m, nn.Linear)]
    clf.model(**padded(clf.model))
    for hook in hooks:
        hook.remove()
    found = flops_by_part(shape_of(clf), 11, 3)
    assert sums | {"attention scores": found["attention scores"]} == found


@pytest.mark.parametrize("changes", TRANSLATORS)
def test_the_encoder_decoder_is_counted_too(changes):
    size = {"source_vocabulary": 13, "target_vocabulary": 13, "d_model": 16, "feed_forward": 20}
    model = al.Seq2SeqTransformer(**size | {"heads": 4, "max_length": 30} | changes).eval()
    assert parameters(model.size) == sum(one.numel() for one in model.parameters())
    for rows, s, t in ((1, 1, 1), (3, 7, 6), (2, 5, 9)):
        source, target = torch.full((rows, s), 4), torch.full((rows, t), 5)
        total, scores = counted(model, lambda s=source, t=target: model(s, t))
        assert flops(model.size, s, rows, target_tokens=t) == total
        assert flops_by_part(model.size, s, rows, t)["attention scores"] == scores
    assert flops(model.size, 5) == flops(model.size, 5, target_tokens=5)


LAYERS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 70)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=25)
@given(LAYERS, st.sampled_from(["bert", "roberta", "electra", "distilbert"]), st.integers(2, 5))
def test_any_shape_can_be_built_and_is_then_what_it_was(layers, family, classes):
    types, embedding = 0 if family == "distilbert" else 2, 16 if family == "electra" else None
    shape = Shape(tuple(layers), 32, 8, 60, 40, types, classes, family, embedding)
    model = build(shape)
    assert shape_of(model) == shape
    assert forward_pass(model, 5, 2)().shape == (2, classes)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_shape_of_a_real_classifier_can_be_built(family):
    clf = pruned_neurons(pruned_heads(tiny_classifier(family)))
    shape = shape_of(clf)
    assert shape_of(build(shape)) == shape
    if "albert" not in family:
        both = shape_of(products(shared(tiny_classifier(family))))
        assert both.sharing
        assert both.ranks
        assert shape_of(build(both)) == both


def test_the_same_seed_builds_the_same_model_and_moves_no_other_chance():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = build(SMALL, 1), build(SMALL, 1), build(SMALL, 2)
    assert torch.rand(1) == expected
    word = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(first.state_dict()[word], again.state_dict()[word])
    assert not torch.equal(first.state_dict()[word], other.state_dict()[word])


def test_parts_add_up_and_scores_alone_grow_with_the_square():
    assert list(parameters_by_part(SMALL)) == list(flops_by_part(SMALL)) == list(PARTS)
    table = growth(SMALL, tokens=[8, 16, 32])
    assert (table["flops"] == [flops(SMALL, length) for length in (8, 16, 32)]).all()
    assert list(table["attention scores"] / table["attention scores"][0]) == [1, 4, 16]
    assert list(table["feed-forward"] / table["feed-forward"][0]) == [1, 2, 4]
    assert table["classifier"].nunique() == 1
    assert (table["scores_share"] * table["flops"]).to_numpy() == pytest.approx(
        table["attention scores"].to_numpy()
    )


@given(LAYERS, st.sampled_from([None, "attention projections", "feed-forward", "classifier"]))
def test_the_crossing_is_the_first_length_at_which_scores_cost_as_much(layers, part):
    shape = dataclasses.replace(SMALL, layers=tuple(layers))
    first = crossing(shape, part)
    lengths = range(1, first + 20)
    counts = [flops_by_part(shape, length) for length in lengths]
    others = [
        sum(row.values()) - row["attention scores"] if part is None else row[part] for row in counts
    ]
    reached = [row["attention scores"] >= rest for row, rest in zip(counts, others, strict=True)]
    assert reached == [length >= first for length in lengths]


def test_a_shape_is_written_in_one_way():
    same = dataclasses.replace(SMALL, embedding=32, sharing=(0, 1, 2))
    assert same == SMALL
    assert hash(same) == hash(SMALL)


def test_without_heads_a_layer_costs_its_scores_and_biases_still():
    none = dataclasses.replace(SMALL, layers=((0, 64),))
    one = dataclasses.replace(SMALL, layers=((1, 64),))
    found = flops_by_part(none), flops_by_part(one)
    assert found[0]["attention projections"] == 0
    assert found[0]["attention scores"] == found[1]["attention scores"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, "no layers"),
        ({"layers": ((4, 0),)}, "neurons of layer 0 is 0"),
        ({"layers": ((-1, 4),)}, "heads of layer 0 is -1"),
        ({"layers": ((1.5, 4),)}, "heads of layer 0 is 1.5"),
        ({"layers": ((1, 4, 2),)}, "Layer 0 is"),
        ({"width": 0}, "width is 0"),
        ({"classes": True}, "classes is True"),
        ({"types": -1}, "types is -1"),
        ({"embedding": 0}, "embedding is 0"),
        ({"sharing": (0, 0)}, "first one with"),
        ({"sharing": (0, 2, 2)}, "first one with"),
        ({"layers": ((1, 4), (2, 4)), "sharing": (0, 0)}, "share their weights"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(AttnlabError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_bad_questions_are_refused():
    with pytest.raises(AttnlabError, match="do not divide"):
        Shape.of(layers=2, heads=5, neurons=4, width=32)
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(AttnlabError, match="tokens is"):
            flops(SMALL, wrong)
        with pytest.raises(AttnlabError, match="batch is"):
            flops(SMALL, 3, wrong)
    with pytest.raises(AttnlabError, match="encoder-decoder"):
        flops(SMALL, target_tokens=3)
    for what in ({}, "bert", None):
        with pytest.raises(AttnlabError, match=r"model\.size"):
            parameters(what)
    for part in ("attention scores", "heads"):
        with pytest.raises(AttnlabError, match="no part"):
            crossing(SMALL, part)
    with pytest.raises(ModelError, match="can be built"):
        build(dataclasses.replace(SMALL, layers=((5, 64),)))


def test_a_model_with_more_in_it_than_its_sizes_say_is_refused():
    clf = tiny_classifier("bert")
    clf.model.bert.extra = nn.Linear(3, 3)
    with pytest.raises(ModelError, match=r"30,127 parameters.*30,115"):
        shape_of(clf)
    with pytest.raises(ModelError, match="got int"):
        shape_of(3)
