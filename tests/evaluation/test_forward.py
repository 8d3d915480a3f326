"""The written-out forward pass answers as the model does: every family, change and setting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONFIGS
from tiny_models import tiny as without_biases
from torch.nn.functional import scaled_dot_product_attention as attend

from attnlab import device, heads
from attnlab.classification.classifier import Encoded
from attnlab.errors import ModelError
from attnlab.evaluation import forward
from attnlab.evaluation.forward import Ablation, Engine
from attnlab.heads.settings import HeadSettings

_OF_HEADS = tuple(f"{one}.bias" for one in ("query", "key", "value", "q_lin", "k_lin", "v_lin"))


def tiny(family):
    """A tiny model whose heads have biases, which in a new one are 0."""
    model = without_biases(family)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if name.endswith(_OF_HEADS):
                one.add_(0.3 * torch.randn(one.shape, generator=generator))
    return model


class Wordless:
    """What the engine asks of a Classifier, around a model that has no tokenizer."""

    def __init__(self, model):
        self.model = heads.attach(model)
        self.layers, self.heads = heads.size(model)

    @property
    def device(self):
        return self.model.device


def texts(model, lengths=(11, 7, 4, 11), seed=1):
    ids = np.random.default_rng(seed).integers(5, 60, sum(lengths)).astype(np.int32)
    starts = np.cumsum([0, *lengths])
    return Encoded({"input_ids": ids}, starts, {"input_ids": model.config.pad_token_id or 0})


def plain(model, encoded, places, one):
    batch = encoded.batch(places)
    with torch.no_grad():
        return model(**batch, **heads.keywords(model, one)).logits


def drawn(seed, layers=3, per_layer=4, batch=()):
    generator = torch.Generator().manual_seed(seed)
    scale = 2 * torch.rand(*batch, layers, per_layer, generator=generator)
    scale = scale * (torch.rand(scale.shape, generator=generator) > 0.2)
    temperature = torch.exp(torch.randn(*batch, layers, per_layer, generator=generator))
    return HeadSettings.of(scale, temperature)


@pytest.fixture(scope="module", params=list(CONFIGS))
def family(request):
    clf = Wordless(tiny(request.param))
    return clf, Engine(clf, torch.float32)


def test_every_family_answers_as_its_model_with_any_settings(family):
    clf, engine = family
    encoded, places = texts(clf.model), [0, 1, 2, 3]
    for one in [HeadSettings(3, 4), *(drawn(seed) for seed in range(5)), drawn(9, batch=(4,))]:
        with torch.no_grad():
            mine = engine.logits(*engine.start(encoded, places), one)
        assert torch.allclose(mine, plain(clf.model, encoded, places, one), atol=2e-5)


def test_the_engine_multiplies_with_the_kernel_of_the_processor(family, monkeypatch):
    clf, engine = family
    encoded, kernel, calls = texts(clf.model), device._onednn, []
    monkeypatch.setattr(device, "float32_kernel", lambda: "onednn")
    monkeypatch.setattr(device, "_onednn", lambda *a, **o: calls.append(1) or kernel(*a, **o))
    with torch.no_grad():
        hidden, mask = engine.start(encoded, [0, 1, 2, 3])
        calls.clear()
        mine = engine.logits(hidden, mask)
    # of each layer: output, feed-forward up and down; queries, keys and values but for the last
    assert len(calls) == 3 * 3 + 2
    assert torch.allclose(
        mine, plain(clf.model, encoded, [0, 1, 2, 3], HeadSettings(3, 4)), atol=2e-5
    )


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 64, 65])
@pytest.mark.parametrize("padded", [True, False])
def test_short_texts_attend_as_exactly_as_with_the_fused_kernel(tokens, padded, monkeypatch):
    monkeypatch.setattr(forward, "float32_kernel", lambda: "onednn")
    generator = torch.Generator().manual_seed(tokens)
    qkv = 2 * torch.randn(3, 5, tokens, 4, 8, generator=generator).transpose(2, 3)
    query, key, value = qkv.bfloat16()
    mask = None
    if padded:
        mask = torch.arange(tokens) < torch.tensor([tokens, 1, 1, 1, 1])[:, None, None, None]
    exact = attend(query.double(), key.double(), value.double(), mask)
    theirs = (attend(query, key, value, mask) - exact).abs().mean()
    with torch.no_grad():
        mine = forward._scaled_dot_product(query, key, value, mask)
    assert mine.dtype == torch.bfloat16
    assert (mine - exact).abs().mean() < 2 * theirs + 1e-6


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(3, 20), min_size=1, max_size=5),
    st.integers(0, 3),
)
def test_starting_above_what_did_not_change_gives_the_same(seed, lengths, start):
    clf = Wordless(_bert())
    engine, encoded = Engine(clf, torch.float32), texts(_bert(), lengths, seed)
    one = drawn(seed)
    one.scale[:start], one.temperature[:start] = 1, 1
    places = range(len(lengths))
    with torch.no_grad():
        hidden, mask = engine.start(encoded, places)
        for at in range(min(start, 2)):
            hidden = engine.layer(at, hidden, mask, None)
        mine = engine.logits(hidden, mask, one, start=min(start, 2))
    assert torch.allclose(mine, plain(clf.model, encoded, places, one), atol=2e-5)


_models = {}


def _bert():
    return _models.setdefault("bert", tiny("bert"))


def setter(ablation, one, layer, changed):
    if ablation.method == "uniform":
        one.temperature[layer, changed] = 1e9
    elif ablation.method == "temperature":
        one.temperature[layer, changed] = ablation.value
    else:
        one.scale[layer, changed] = ablation.value


@pytest.mark.parametrize("target", ["head", "layer", "all_but_one"])
@pytest.mark.parametrize(
    "ablation",
    [Ablation(), Ablation("scale", 1.5), Ablation("temperature", 0.4), Ablation("uniform")],
    ids=str,
)
def test_an_ablation_is_what_settings_give_one_by_one(family, target, ablation):
    clf, engine = family
    encoded, places = texts(clf.model), [0, 1, 2, 3]
    seen = []
    with torch.no_grad():
        found = list(engine.ablate(*engine.start(encoded, places), ablation, target, most_rows=60))
    for layer, answers in found[:-1]:
        for row in range(len(answers)):
            changed = torch.arange(4) == row
            changed = {"head": changed, "all_but_one": ~changed, "layer": torch.ones(4).bool()}[
                target
            ]
            one = HeadSettings(3, 4)
            setter(ablation, one, layer, changed)
            wanted = plain(clf.model, encoded, places, one)
            assert torch.allclose(answers[row], wanted, atol=3e-5)
            seen.append(
                float((wanted - plain(clf.model, encoded, places, HeadSettings(3, 4))).abs().max())
            )
    layer, (neutral,) = found[-1]
    assert layer == 3
    assert torch.allclose(neutral, plain(clf.model, encoded, places, HeadSettings(3, 4)), atol=2e-5)
    assert len(seen) == (3 if target == "layer" else 12)
    assert min(seen) > 3e-5  # every one of them does change the answer


def test_means_are_put_in_place_of_a_heads_output():
    """Against a model whose attention function is told to do just that."""
    model = _bert()
    clf = Wordless(model)
    engine, encoded = Engine(clf, torch.float32), texts(model)
    generator = torch.Generator().manual_seed(3)
    means = tuple(torch.randn(2, 4, 8, generator=generator) for _ in range(3))
    with torch.no_grad():
        hidden, mask = engine.start(encoded, [0, 1])
        found = dict(
            list(engine.ablate(hidden, mask, Ablation("mean", means=means), "head", 1000))[:-1]
        )
    for layer, head in [(0, 1), (1, 3), (2, 0)]:
        module = heads.sites(model)[layer].output

        def put(_module, args, layer=layer, head=head):
            context = args[0].unflatten(-1, (4, 8)).clone()
            context[:, 0, head], context[:, 1:, head] = means[layer][0, head], means[layer][1, head]
            return (context.flatten(-2),)

        hook = module.register_forward_pre_hook(put)
        wanted = plain(model, encoded, [0, 1], HeadSettings(3, 4))
        hook.remove()
        assert torch.allclose(found[layer][head], wanted, atol=3e-5)


def test_gradients_reach_the_settings_of_every_text(family):
    clf, engine = family
    encoded, places = texts(clf.model), [0, 1, 2]
    knobs = [torch.ones(3, 3, 4, requires_grad=True) for _ in range(2)]
    value = engine.logits(*engine.start(encoded, places), HeadSettings.of(*knobs))[:, 0].sum()
    mine = torch.autograd.grad(value, knobs)
    again = [torch.ones(3, 3, 4, requires_grad=True) for _ in range(2)]
    batch = encoded.batch(places)
    keywords = heads.keywords(clf.model, HeadSettings.of(*again))
    theirs = torch.autograd.grad(clf.model(**batch, **keywords).logits[:, 0].sum(), again)
    for one, other in zip(mine, theirs, strict=True):
        assert other.abs().max() > 1e-3
        assert torch.allclose(one, other, atol=1e-4 * float(1 + other.abs().max()))


@pytest.mark.parametrize("name", ["bert", "distilbert", "albert-shared"])
def test_heads_that_were_removed_stay_removed(name):
    gone = [(layer, head) for layer in range(3) for head in (0, 2)]
    gone += [] if name == "albert-shared" else [(1, 1), (1, 3)]  # the middle layer has none left
    model = heads.prune(tiny(name), gone)
    clf = Wordless(model)
    engine, encoded = Engine(clf, torch.float32), texts(model)
    one = drawn(4)
    with torch.no_grad():
        mine = engine.logits(*engine.start(encoded, [0, 1]), one)
        found = list(engine.ablate(*engine.start(encoded, [0, 1]), Ablation(), "head", 1000))
    assert torch.allclose(mine, plain(model, encoded, [0, 1], one), atol=2e-5)
    for layer, answers in found[:-1]:
        for row, head in enumerate(heads.active_heads(model, layer)):
            one = HeadSettings(3, 4)
            one.scale[layer, head] = 0
            assert torch.allclose(answers[row], plain(model, encoded, [0, 1], one), atol=2e-5)


def test_a_model_made_of_other_parts_is_refused(clf, movies):
    quantised = torch.ao.quantization.quantize_dynamic(tiny("bert"), {torch.nn.Linear})
    with pytest.raises(ModelError, match="where a Linear with a bias was expected"):
        Engine(Wordless(quantised), torch.float32)
