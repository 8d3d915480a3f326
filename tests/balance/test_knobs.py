"""Every way of adjusting heads does what it says: it helps, or it is nearest; and it says no."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from tiny_classifiers import answering, damage

import attnlab as al
from attnlab import heads
from attnlab.balance import measure
from attnlab.balance import task as tasks
from attnlab.balance.knobs import WAYS, adjust
from attnlab.balance.layerwise import evened
from attnlab.balance.task import Objective, Task
from attnlab.errors import AttnlabError, ModelError, SettingsError


@pytest.fixture(scope="module")
def task():
    return answering("bert")


# ── gradient ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert-shared"])
def test_gradient_descent_undoes_damage_on_texts_it_has_not_seen(family):
    clf, data = answering(family)
    start, held_out = damage(clf), al.Evaluator(clf, data.select(range(160, 240)))
    before = {name: one.clone() for name, one in clf.model.state_dict().items()}
    found = adjust(clf, data.select(range(160)), start=start, epochs=4)
    one, two = held_out.score(start), held_out.score(found.settings)
    assert two.accuracy >= one.accuracy + 0.25
    assert two.loss < 0.6 * one.loss
    assert found.history["loss"].tail(5).mean() < 0.8 * found.history["loss"].head(3).mean()
    assert list(found.history) == ["step", "seconds", "loss", "objective"]
    assert all(torch.equal(one, before[name]) for name, one in clf.model.state_dict().items())
    assert all(one.grad is None for one in clf.model.parameters())


def test_no_epochs_return_where_gradient_descent_would_begin(task):
    clf, data = task
    ev, start = al.Evaluator(clf, data), damage(clf)
    begun = adjust(clf, data, start=start, epochs=0)
    assert begun.settings.temperature.equal(start.temperature)  # no knob has been turned yet
    assert len(begun.history) == 0
    assert "gradient" in repr(begun)
    after = adjust(clf, data, start=start, epochs=4)
    assert ev.score(after.settings).loss < ev.score(begun.settings).loss < ev.score(start).loss


def test_a_model_that_the_engine_refuses_is_adjusted_through_its_own_forward_pass(task):
    class Own(torch.nn.Linear):
        """Another class, the same answers."""

    _, data = task
    clf, _ = answering("bert")
    known = adjust(clf, data, start=damage(clf), epochs=2, seed=3)
    dense = clf.model.bert.encoder.layer[1].output.dense
    dense.__class__ = Own
    found = adjust(clf, data, start=damage(clf), epochs=2, seed=3)
    ev = al.Evaluator(clf, data)
    assert ev.score(found.settings).loss < 0.5 * ev.score(damage(clf)).loss
    assert known.settings != found.settings  # that one began at the evened start
    with pytest.raises(ModelError, match="whose forward pass we know: Own"):
        adjust(clf, data, "least-squares")


@pytest.mark.parametrize("way", [one for one in WAYS if one != "greedy"])
def test_heads_that_are_off_stay_off_and_keep_their_temperature(task, way):
    clf, data = task
    start = damage(clf)
    start.scale[0, 1] = start.scale[2, :3] = 0
    start.temperature[2, 0] = 3
    few = {"gradient": {"epochs": 2}, "random": {"trials": 20}}.get(way, {})
    found = adjust(clf, data, way, start, **few).settings
    assert torch.equal(found.scale == 0, start.scale == 0)
    off = start.scale == 0
    assert torch.equal(found.temperature[off], start.temperature[off])
    assert found != start
    found.validate(3, 4)


def test_heads_removed_for_good_are_left_out(task):
    clf, data = task
    smaller = heads.prune(clf, [(0, 1), *((1, head) for head in range(4))])
    start = damage(clf)
    for way in ("gradient", "least-squares", "greedy"):
        options = {"gradient": {"epochs": 2}, "greedy": {"most": 2}}.get(way, {})
        found = adjust(smaller, data, way, start, **options).settings
        assert torch.equal(found.scale[1], start.scale[1])
        assert found.scale[0, 1] == start.scale[0, 1]
        assert not torch.equal(found.scale, start.scale)


def test_leaving_out_heads_that_are_off_changes_no_answer(task):
    clf, data = task
    task = Task(clf, data, damage(clf), Objective(), 0, None)
    settings = damage(clf, seed=4)
    settings.scale[:, 1] = settings.scale[1] = 0
    narrow = tasks._narrowed(task.whole, settings.scale > 0)
    assert [len(layer.active_heads) for layer in narrow.layers] == [3, 0, 3]
    places = np.arange(40)
    with torch.no_grad():
        one, two = (task.of_batch(places, settings, engine) for engine in (task.whole, narrow))
    assert float(one[0]) == pytest.approx(float(two[0]), rel=0.02)


def test_the_same_seed_finds_the_same_and_another_seed_something_else(task):
    clf, data = task
    data, start = data.select(range(60)), damage(clf)
    for way, options in (
        ("gradient", {"epochs": 1}),
        ("random", {"trials": 8}),
    ):
        found = [adjust(clf, data, way, start, seed=seed, **options) for seed in (5, 5, 6)]
        assert found[0].settings == found[1].settings != found[2].settings
        assert found[0].history["loss"].equals(found[1].history["loss"])


@pytest.mark.parametrize(
    ("way", "options"), [("gradient", {"epochs": 2}), ("random", {"trials": 4})]
)
def test_progress_is_told_at_each_step(task, way, options):
    clf, data = task
    told = []
    adjust(clf, data, way, damage(clf), progress=lambda *step: told.append(step), **options)
    assert len(told) > 1
    assert told == [(step, len(told)) for step in range(1, len(told) + 1)]


# ── without labels ───────────────────────────────────────────────────────────────────────────────


def brought(clf, texts, settings):
    """What each head brings to every real token, (N, h, D) a layer, by hooks on the model."""
    inputs = clf.encode(texts).batch(range(len(texts)))
    real, found = inputs["attention_mask"].bool(), []
    hooks = [
        site.output.register_forward_pre_hook(
            lambda _, args: found.append(args[0][real].unflatten(-1, (clf.heads, -1)))
        )
        for site in {id(site.output): site for site in heads.sites(clf.model)}.values()
    ]
    with torch.no_grad():
        clf.model(**inputs, **heads.keywords(clf.model, settings))
    for hook in hooks:
        hook.remove()
    return found, real


def projected(clf, layer, context):
    """What each head adds, (N, h, E)."""
    weight = heads.sites(clf.model)[layer].output.weight.detach().unflatten(1, (clf.heads, -1))
    return torch.einsum("nhd,ehd->nhe", context, weight)


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert-shared"])
def test_evened_heads_add_as_much_as_their_neighbours(family):
    clf, data = answering(family, count=60)
    start = damage(clf)
    start.scale[1, 2] = 0
    task = Task(clf, data, start, Objective(), 0, None)
    found = evened(task, task.engine)
    first = [int(at) for at in np.cumsum([0, *clf.encode(data.texts).lengths[:-1]])]
    for layer, context in enumerate(brought(clf, data.texts, found)[0]):
        last = layer == clf.layers - 1  # there only [CLS] answers
        added = projected(clf, layer, context[first] if last else context)
        size = added.square().sum(-1).mean(0).sqrt()
        size = size[found.scale[layer] > 0]
        assert (size / size.mean() - 1).abs().max() < 0.03
    one, two = (measure(clf, data.texts, each).parts["heads"] for each in (start, found))
    assert two > one


def test_least_squares_with_nothing_removed_leaves_all_at_one(task):
    clf, data = task
    found = adjust(clf, data, "least-squares").settings
    assert torch.allclose(found.scale, torch.ones(3, 4), atol=1e-3)
    assert torch.equal(found.temperature, torch.ones(3, 4))


def test_least_squares_doubles_a_head_whose_double_is_off(monkeypatch):
    monkeypatch.setattr("attnlab.balance.layerwise.RIDGE", 1e-6)
    clf, data = answering("bert")
    for layer in (0, 1, 2):  # head 3 does what head 1 does
        site = heads.sites(clf.model)[layer]
        with torch.no_grad():
            for name in (site.query, site.key, site.value):
                linear = getattr(site.module, name)
                linear.weight[24:] = linear.weight[8:16]
                linear.bias[24:] = linear.bias[8:16]
            site.output.weight[:, 24:] = site.output.weight[:, 8:16]
    start = clf.settings()
    start.scale[:, 3] = 0
    expected = torch.tensor([1.0, 2.0, 1.0, 0.0]).expand(3, 4)
    found = adjust(clf, data, "least-squares", start).settings
    assert torch.allclose(found.scale, expected, atol=0.02)


def test_least_squares_finds_what_scipy_finds_on_the_written_out_problem(monkeypatch):
    monkeypatch.setattr("attnlab.balance.layerwise.RIDGE", 1e-9)
    clf, data = answering("bert", count=60)
    start = clf.settings()
    start.scale[0, [0, 2]] = 0
    start.scale[1, 3] = 0
    found = adjust(clf, data, "least-squares", start).settings
    known = clf.settings()
    known.scale[0] = found.scale[0]  # the second layer sees what the first one now brings
    ours, _ = brought(clf, data.texts, known)
    theirs, _ = brought(clf, data.texts, clf.settings())
    inputs = clf.encode(data.texts).batch(range(60))
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        states = [
            clf.model(
                **inputs, **heads.keywords(clf.model, one), output_hidden_states=True
            ).hidden_states
            for one in (known, clf.settings())
        ]
    for layer, on in ((0, [1, 3]), (1, [0, 1, 2])):
        parts = projected(clf, layer, ours[layer])[:, on]  # at scale 1, or with layer 0's own scale
        parts = parts / (known.scale[layer, on][None, :, None])
        goal = projected(clf, layer, theirs[layer]).sum(1)
        goal = goal + (states[1][layer] - states[0][layer])[real]
        matrix = parts.permute(0, 2, 1).flatten(0, 1).double().numpy()
        wanted = lsq_linear(matrix, goal.flatten().double().numpy(), bounds=(0, np.inf)).x
        assert np.allclose(found.scale[layer, on], wanted, atol=0.03)
    assert (found.scale >= 0).all()


# ── search ───────────────────────────────────────────────────────────────────────────────────────


def test_greed_takes_heads_away_as_long_as_the_objective_falls(task):
    clf, data = task
    data, objective = data.select(range(80)), Objective(heads=36.0)
    found = adjust(clf, data, "greedy", objective=objective)
    assert (found.settings.scale == 0).sum() >= 2
    assert (found.history["objective"].diff().dropna() < 0).all()
    assert len(found.history) == 1 + int((found.settings.scale == 0).sum())
    loss = al.Evaluator(clf, data, fast=True).score(found.settings).loss
    share = float((found.settings.scale > 0).float().mean())
    assert found.history["objective"].iloc[-1] == pytest.approx(loss + 36 * share, rel=1e-4)
    one = adjust(clf, data, "greedy", objective=objective, most=1).settings
    assert (one.scale == 0).sum() == 1


def test_greed_turns_a_head_on_again_where_that_helps(task):
    clf, data = task
    start = clf.settings()
    start.scale[1] = 0
    found = adjust(clf, data.select(range(80)), "greedy", start).settings
    assert (found.scale[1] > 0).any()
    assert found.scale.unique().tolist() in ([0.0, 1.0], [1.0])


@pytest.mark.parametrize("way", ["greedy", "random"])
def test_a_search_is_never_worse_than_where_it_began(task, way):
    clf, data = task
    ev = al.Evaluator(clf, data, fast=True)
    few = {"trials": 6} if way != "greedy" else {"most": 2}
    for start in (clf.settings(), damage(clf)):
        found = adjust(clf, data, way, start, **few)
        assert found.history["loss"].iloc[0] == pytest.approx(ev.score(start).loss, rel=1e-5)
        assert ev.score(found.settings).loss <= ev.score(start).loss + 1e-6


# ── objectives ───────────────────────────────────────────────────────────────────────────────────


def test_an_objective_is_a_weighted_sum_and_needs_a_weight():
    assert Objective(2, 0.5).value(0.3, 0.4) == pytest.approx(0.6 + 0.2)
    for weights in ((0, 0), (-1, 0), (math.nan, 1)):
        with pytest.raises(AttnlabError, match="has no use"):
            Objective(*weights)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("way", "options", "words"),
    [
        ("gradiant", {}, "Did you mean 'gradient'"),
        ("gradient", {"epoch": 3}, "Did you mean 'epochs'"),
        ("gradient", {"epochs": -1}, "must be 0 or more"),
        ("gradient", {"scale_spread": 0}, "must be above 0"),
        ("least-squares", {"trials": 3}, "has no option 'trials'. It has none"),
        ("random", {"trials": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(task, way, options, words):
    with pytest.raises(AttnlabError, match=words):
        adjust(*task, way, **options)


def test_a_model_or_settings_that_cannot_be_adjusted_are_refused(task):
    tiny, data = task
    off = tiny.settings()
    off.scale[:] = 0
    with pytest.raises(ModelError, match="off or was removed"):
        adjust(tiny, data, start=off)
    with pytest.raises(SettingsError, match="3 layers of 4 heads"):
        adjust(tiny, data, start=al.HeadSettings(2, 2))
