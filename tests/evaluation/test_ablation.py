"""Ablations, gradients, previews and pruning curves of an Evaluator."""

import copy
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.nn.utils.prune import l1_unstructured

import attnlab as al
from attnlab.classification.base import Stopped
from attnlab.errors import AttnlabError, AttnlabWarning, ModelError
from attnlab.evaluation import ablation
from attnlab.evaluation.forward import Ablation
from attnlab.evaluation.gradients import TextGradients, text_gradients
from attnlab.evaluation.pruning_curves import weight_sizes

COLUMNS = (
    "accuracy delta ci_low ci_high p_value q_value loss loss_delta loss_low loss_high "
    "margin_delta margin_low margin_high"
)


@pytest.fixture(scope="module")
def ev(clf, some):
    return al.Evaluator(clf, some)


@pytest.fixture(scope="module")
def few(clf, some):
    return al.Evaluator(clf, some.select(range(6)))


@pytest.fixture(scope="module")
def silenced(few):
    return al.ablate(few)


def silent(clf, *places):
    settings = clf.settings()
    for layer, head in places:
        settings.scale[layer, head] = 0
    return settings


# ── ablations ────────────────────────────────────────────────────────────────────────────────────


def test_an_ablation_changes_one_head_at_a_time(clf, few, silenced):
    assert list(silenced.columns) == ["layer", "head", *COLUMNS.split()]
    places = list(zip(silenced["layer"], silenced["head"], strict=True))
    assert places == list(itertools.product(range(6), range(12)))
    neutral = few.score()
    for layer, head in [(0, 0), (3, 7), (5, 11)]:
        score = few.score(silent(clf, (layer, head)))
        change = few.compare(neutral, score)
        row = silenced[(silenced["layer"] == layer) & (silenced["head"] == head)].iloc[0]
        assert row["accuracy"] == score.accuracy
        assert row["loss"] == pytest.approx(score.loss, abs=1e-6)
        assert (row["delta"], row["p_value"]) == (change.delta, change.p_value)
        assert (row["ci_low"], row["ci_high"]) == change.ci
        assert row["loss_delta"] == pytest.approx(change.loss_delta, abs=1e-6)
        assert (row["loss_low"], row["loss_high"]) == pytest.approx(change.loss_ci, abs=1e-5)
        assert row["margin_delta"] == pytest.approx(change.margin_delta, abs=1e-5)
        assert (row["margin_low"], row["margin_high"]) == pytest.approx(change.margin_ci, abs=1e-4)
    assert silenced["loss_delta"].abs().max() > 1e-4
    assert (silenced["q_value"] >= silenced["p_value"]).all()
    assert silenced.attrs["n"] == 6
    assert silenced.attrs["accuracy"] == neutral.accuracy


def test_layers_and_all_but_one(clf, few):
    layers = al.ablate(few, "layer", "scale", 0.5)
    assert list(layers.columns) == ["layer", *COLUMNS.split()]
    settings = clf.settings()
    settings.scale[4] = 0.5
    assert layers["loss"][4] == pytest.approx(few.score(settings).loss, abs=1e-6)
    others = al.ablate(few, "all_but_one")
    assert len(others) == 72
    settings = clf.settings()
    settings.scale[2] = 0
    settings.scale[2, 5] = 1
    assert others["loss"][2 * 12 + 5] == pytest.approx(few.score(settings).loss, abs=1e-6)


def test_several_values_make_a_row_each(clf, few, silenced):
    table = al.ablate(few, method="scale", value=[0.0, 2.0])
    assert len(table) == 2 * 72
    assert list(table.columns[:3]) == ["layer", "head", "scale"]
    row = table[(table["scale"] == 2) & (table["layer"] == 3) & (table["head"] == 2)].iloc[0]
    settings = clf.settings()
    settings.scale[3, 2] = 2
    assert row["loss"] == pytest.approx(few.score(settings).loss, abs=1e-6)
    assert np.allclose(table[table["scale"] == 0]["loss"], silenced["loss"], atol=1e-6)
    sharper = al.ablate(few, method="temperature", value=[1.0, 0.5])
    assert list(sharper.columns[:3]) == ["layer", "head", "temperature"]
    row = sharper[(sharper["temperature"] == 0.5) & (sharper["layer"] == 3)].iloc[2]
    settings = clf.settings()
    settings.temperature[3, 2] = 0.5
    assert row["loss"] == pytest.approx(few.score(settings).loss, abs=1e-6)
    assert sharper[sharper["temperature"] == 1]["loss_delta"].abs().max() < 1e-6


def test_uniform_weights_are_a_very_high_temperature(clf, few):
    table = al.ablate(few, method="uniform")
    for layer, head in [(1, 4), (5, 0)]:
        settings = clf.settings()
        settings.temperature[layer, head] = 1e9
        row = table[(table["layer"] == layer) & (table["head"] == head)].iloc[0]
        assert row["loss"] == pytest.approx(few.score(settings).loss, abs=1e-5)


def test_a_mean_context_is_that_of_these_texts(clf, few):
    """One text alone: at [CLS] its own context is the mean, so the last layer loses nothing."""
    alone = al.ablate(al.Evaluator(clf, few.dataset.select([0])), method="mean")
    assert alone[alone["layer"] == 5]["loss_delta"].abs().max() < 1e-5
    assert alone[alone["layer"] < 5]["loss_delta"].abs().max() > 1e-4
    several = al.ablate(few, method="mean")
    assert several[several["layer"] == 5]["loss_delta"].abs().max() > 1e-4


def test_a_scale_of_one_changes_nothing_and_leaves_removed_heads_out(clf, some):
    smaller = al.heads.prune(clf, [(layer, head) for layer in range(5) for head in range(12)])
    table = al.ablate(al.Evaluator(smaller, some.select(range(4))), method="scale", value=1.0)
    assert len(table) == 12
    assert (table["layer"] == 5).all()
    assert (table["delta"] == 0).all()
    assert table["loss_delta"].abs().max() < 1e-6


def test_a_fast_table_says_so_and_how_often_it_agrees(clf, few, silenced):
    evaluator = al.Evaluator(clf, few.dataset, fast=True)
    fast = al.ablate(evaluator)
    assert 0.5 < fast.attrs["agreement"] <= 1
    assert f"torch.{fast.attrs['number_format']}" == str(evaluator.dtype)
    assert silenced.attrs["number_format"] == "float32"
    assert (silenced.attrs["target"], silenced.attrs["method"]) == ("head", "zero")
    assert "agreement" not in silenced.attrs
    assert np.corrcoef(fast["loss_delta"], silenced["loss_delta"])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "heads"}, "Did you mean 'head'"),
        ({"method": "unifrom"}, "Did you mean 'uniform'"),
        ({"method": "scale"}, "needs a value"),
        ({"method": "temperature", "value": []}, "needs a value"),
        ({"method": "scale", "value": -1}, "scale is -1"),
        ({"method": "temperature", "value": [1, 0]}, "temperature is 0"),
        ({"value": 0.5}, "no use for value=0.5.*method='scale'"),
        ({"method": "uniform", "value": [0, 0.5]}, "no use for value"),
    ],
)
def test_what_cannot_be_ablated_is_refused_with_its_cure(few, arguments, words):
    with pytest.raises(AttnlabError, match=words):
        al.ablate(few, **arguments)


def test_answers_are_those_of_the_plain_forward_pass(clf, ev):
    generator = torch.Generator().manual_seed(0)
    for lowest in (0, 2, 4, 5):
        settings = clf.settings()
        shape = settings.scale[lowest:].shape
        settings.scale[lowest:] = 2 * torch.rand(shape, generator=generator)
        settings.temperature[lowest:] = torch.exp(torch.randn(shape, generator=generator))
        logits = clf.logits(ev.encoded, settings=settings).numpy()
        plain = logits[range(40), ev.labels] - logits[range(40), 1 - ev.labels]
        score = ev.score(settings)
        assert np.abs(score.margins - plain).max() < 5e-5
        assert ((score.margins > 0) == score.correct).all()
        assert ((score.predictions == logits.argmax(-1)) | (np.abs(plain) < 1e-4)).all()
    sharp = clf.settings()  # and where nothing but a temperature is moved
    sharp.temperature[3, 2] = 0.1
    logits = clf.logits(ev.encoded, settings=sharp).numpy()
    plain = logits[range(40), ev.labels] - logits[range(40), 1 - ev.labels]
    assert np.abs(ev.score(sharp).margins - plain).max() < 5e-5
    assert np.abs(ev.score().margins - plain).max() > 1e-3


# ── stopped, resumed, shared ─────────────────────────────────────────────────────────────────────


def test_a_stopped_ablation_goes_on_and_does_nothing_twice(
    clf, few, silenced, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(ablation, "tokens_per_batch", lambda _: 60)
    file, asked = tmp_path / "ablation.safetensors", []

    def stop():
        asked.append(True)
        return len(asked) > 1

    with pytest.raises(Stopped):
        al.ablate(few, stop=stop, resume=file)
    steps, asked = [], []
    again = al.ablate(
        few, resume=file, progress=lambda *step: steps.append(step), stop=lambda: asked.append(True)
    )
    assert len(asked) == len(steps) - 1 > 0
    capfd.readouterr()
    al.ablate(few, resume=file, progress=True)
    assert "100%" in capfd.readouterr().err
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert np.allclose(again["loss"], silenced["loss"], atol=1e-6)
    assert (again["accuracy"] == silenced["accuracy"]).all()
    al.ablate(few, resume=file, stop=lambda: True)  # all is there: nothing is asked for
    with pytest.raises(AttnlabError, match="another ablation"):
        al.ablate(few, method="scale", value=0.5, resume=file)
    with pytest.raises(AttnlabError, match="another ablation"):
        al.ablate(al.Evaluator(clf, few.dataset.select(range(5))), resume=file)
    file.write_bytes(b"something else")
    with pytest.raises(AttnlabError, match="holds no ablation"):
        al.ablate(few, resume=file)


@pytest.mark.thorough
def test_two_processes_share_an_ablation(few, silenced, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "import attnlab as al\n"
        "from attnlab.evaluation import ablation\n"
        "ablation.tokens_per_batch = lambda clf: 60\n"
        "some = al.datasets.load('movie-sentiment').dev.sample(40).select(range(6))\n"
        "few = al.Evaluator(al.load_classifier('movie-sentiment'), some)\n"
        "steps = []\n"
        "table = al.ablate(few, progress=lambda *step: steps.append(step))\n"
        "import torch.distributed as d\n"
        "table.to_csv(sys.argv[1] + f'{d.get_rank()}.csv', index=False)\n"
        "pathlib.Path(sys.argv[1] + f'{d.get_rank()}.txt').write_text(str(len(steps)))\n"
        "d.destroy_process_group()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path / "table")],
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "1",
            "PYTHONPATH": str(Path(al.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        assert int((tmp_path / f"table{rank}.txt").read_text()) > 0  # steps computed
        table = pd.read_csv(tmp_path / f"table{rank}.csv")
        assert np.allclose(table["loss"], silenced["loss"], atol=1e-6)
        assert (table["accuracy"] == silenced["accuracy"]).all()


# ── gradients and previews ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("of", ["scale", "temperature"])
def test_gradients_are_the_slope_of_the_loss(clf, few, of):
    gradients = few.gradients(of)
    assert gradients.shape == (6, 12)
    for layer, head in [(0, 3), (4, 1), (5, 7)]:
        ends = []
        for step in (-0.05, 0.05):
            settings = clf.settings()
            getattr(settings, of)[layer, head] += step
            ends.append(few.score(settings).loss)
        assert gradients[layer, head] == pytest.approx(
            -(ends[1] - ends[0]) / 0.1, abs=2e-4, rel=0.05
        )


def test_each_text_has_its_gradients_and_their_mean_is_the_importance(few):
    each = few.gradients(per_sentence=True)
    assert each.shape == (6, 6, 12)
    assert np.allclose(each.mean(0), few.gradients())
    alone = al.Evaluator(few.clf, few.dataset.select([2])).gradients()
    assert np.allclose(each[2], alone, atol=1e-4)


def test_of_two_labels_the_loss_follows_from_the_margin(few):
    """loss = log(1 + exp(-margin)): its gradient is that of the margin times sigmoid(-margin)."""
    margins = few.score().margins
    weight = 1 / (1 + np.exp(margins))
    expected = weight[:, None, None] * few.gradients(objective="margin", per_sentence=True)
    assert np.allclose(few.gradients(per_sentence=True), expected, atol=1e-5)


def test_importances_foretell_what_silencing_does(ev):
    table = al.ablate(al.Evaluator(ev.clf, ev.dataset, fast=True))
    linear, moved = (
        stats.spearmanr(one.ravel(), table["loss_delta"]).statistic
        for one in (ev.gradients(), ev.estimate())
    )
    assert linear > 0.6
    assert moved > 0.9


def test_a_preview_moves_every_margin_along_its_gradient(clf, ev):
    neutral = ev.score()
    assert ev.preview(clf.settings()) == neutral.accuracy
    settings = clf.settings()
    settings.scale[5], settings.temperature[4] = 0.3, 2.0
    slopes = {
        of: ev.gradients(of, objective="margin", per_sentence=True).reshape(
            len(neutral.margins), -1
        )
        for of in ("scale", "temperature")
    }
    margins = neutral.margins + slopes["scale"] @ (settings.scale.numpy().ravel() - 1)
    margins += slopes["temperature"] @ np.log(settings.temperature.numpy().ravel())
    assert ev.preview(settings) == pytest.approx((margins > 0).mean(), abs=1 / len(margins))
    small = clf.settings()
    small.scale[:] = 0.97
    assert ev.preview(small) == pytest.approx(ev.score(small).accuracy, abs=1 / len(margins))


def test_an_estimate_moves_the_log_odds_and_takes_the_loss_there(few):
    """With two labels log-odds are margins."""
    score, slopes = few.score(), few.gradients(objective="margin", per_sentence=True)
    moved = np.log1p(np.exp(-(score.margins[:, None, None] - slopes)))
    assert few.estimate() == pytest.approx(moved.mean(0) - score.loss, abs=1e-5)


def test_estimate_and_use_follow_from_the_log_odds_in_small_parts(clf, some):
    """With three labels, where log-odds and margin differ."""
    model = type(clf.model)(
        type(clf.model.config)(**(clf.model.config.to_dict() | {"num_labels": 3}))
    )
    three = al.Classifier(model.eval(), clf.tokenizer, ["negative", "so-so", "positive"])
    ev = al.Evaluator(three, some.select(range(10)))
    parts = [text_gradients(ev, "log_odds", part) for part in np.array_split(np.arange(10), 3)]
    log_odds = TextGradients.joined(parts)
    assert log_odds.loss_rise() == pytest.approx(ev.estimate(), abs=1e-5)
    losses = np.log1p(np.exp(-log_odds.value))
    assert losses == pytest.approx(ev.score().losses, abs=1e-4)
    wanted = np.abs(ev.gradients(per_sentence=True)).mean(0)
    assert log_odds.use() == pytest.approx(wanted, abs=1e-5)


def test_gradients_of_heads_that_are_gone_are_zero(clf, some):
    smaller = al.heads.prune(clf, [(3, 1), (5, 0)])
    found = al.Evaluator(smaller, some.select(range(4))).gradients()
    assert found[3, 1] == found[5, 0] == 0
    assert np.count_nonzero(found) == 70


def test_unknown_gradients_are_refused(few):
    with pytest.raises(AttnlabError, match="Did you mean 'scale'"):
        few.gradients("scales")
    with pytest.raises(AttnlabError, match="Did you mean 'margin'"):
        few.gradients(objective="margins")


# ── pruning curves ───────────────────────────────────────────────────────────────────────────────


def test_a_path_takes_heads_away_one_after_the_other(clf, few):
    order = [(5, head) for head in range(12)] + [(0, 0)]
    path = al.pruning_curve(few, order, steps=4)
    assert path["heads_off"].tolist() == [0, 3, 6, 10, 13]
    assert (path["heads_on"] + path["heads_off"] == 72).all()
    for count, loss in zip(path["heads_off"], path["loss"], strict=True):
        assert loss == pytest.approx(few.score(silent(clf, *order[:count])).loss, abs=1e-6)


def test_orders_put_the_least_important_first(few, silenced):
    one_by_one = al.pruning_curve(few, "ablation", steps=72)
    least = silenced["loss_delta"].min()
    assert one_by_one["loss"][1] - one_by_one["loss"][0] == pytest.approx(least, abs=2e-3)
    by_gradient = al.pruning_curve(few, "gradient", steps=2)
    assert by_gradient["heads_off"].tolist() == [0, 36, 72]
    used = np.abs(few.gradients(per_sentence=True)).mean(0)
    least = np.unravel_index(np.argsort(used, axis=None)[:36], used.shape)
    by_use = al.pruning_curve(few, "use", steps=2)
    settings = silent(few.clf, *zip(*least, strict=True))
    assert by_use["loss"][1] == pytest.approx(few.score(settings).loss, abs=1e-5)
    by_weight = al.pruning_curve(few, "weights", steps=1)
    assert by_weight["loss"].iloc[-1] == pytest.approx(by_gradient["loss"].iloc[-1])  # all are gone
    random = al.pruning_curve(few, "random", seeds=(0, 1, 2), steps=2)
    assert random.groupby("seed").size().tolist() == [3, 3, 3]
    assert random[random["heads_off"] == 36]["loss"].nunique() == 3


def test_an_order_can_be_chosen_on_other_texts(clf, few, movies):
    other = al.Evaluator(clf, movies.train.sample(20))
    path = al.pruning_curve(few, "gradient", chosen_on=other, steps=6)
    gradients = other.gradients()
    least = np.unravel_index(np.argsort(gradients, axis=None)[:12], gradients.shape)
    settings = silent(clf, *zip(*least, strict=True))
    assert path["loss"][1] == pytest.approx(few.score(settings).loss, abs=1e-5)


@pytest.mark.parametrize("wrong", [[(0, 99)], [(0, 1), (0, 1)], []])
def test_strange_orders_are_refused(few, wrong):
    with pytest.raises(AttnlabError, match="each once"):
        al.pruning_curve(few, wrong)


def test_the_size_of_a_head_is_that_of_its_value_and_output_matrices(clf):
    sizes = weight_sizes(clf)
    attention = clf.model.bert.encoder.layer[2].attention
    value = attention.self.value.weight[3 * 32 : 4 * 32]
    output = attention.output.dense.weight[:, 3 * 32 : 4 * 32]
    assert sizes[2, 3] == pytest.approx(float((output @ value).detach().norm()), rel=1e-5)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_kept_has_a_limit_and_never_changes_an_answer(clf, some):
    settings = silent(clf, (3, 4), (5, 1))
    whole, none = al.Evaluator(clf, some), al.Evaluator(clf, some, cache_mb=0)
    little = al.Evaluator(clf, some, cache_mb=1.5)
    scores = [one.score(settings) for one in (none, little, whole, whole)]
    for score in scores[1:]:
        assert np.allclose(score.losses, scores[0].losses, atol=1e-5)
    whole.score()
    tokens = int(whole.encoded.lengths.sum())
    assert none.cache.nbytes == 0 < little.cache.nbytes <= 1.5 * 2**20
    assert whole.cache.nbytes <= 1.5 * 6 * tokens * 384 * 4


def test_new_weights_are_noticed(clf, some):
    own = clf.with_model(copy.deepcopy(clf.model))
    ev = al.Evaluator(own, some)
    before, importance = ev.score(), ev.gradients()
    own.model.bert.encoder.layer[1].output.dense.weight.data[:, :200] = 0  # behind torch's back
    fresh = al.Evaluator(own, some)
    assert np.array_equal(ev.score().losses, fresh.score().losses)
    assert ev.score().loss != before.loss
    assert not np.allclose(ev.gradients(), importance)


def test_a_model_the_engine_does_not_know_is_measured_all_the_same(clf, some, tmp_path):
    splits = al.datasets.Splits(some, some.sample(8), some)
    own = al.finetune("minilm", splits, "prefix", epochs=1, virtual_tokens=3)
    ev = al.Evaluator(own, some.select(range(4)))
    score = ev.score()
    answers = own.predict(some.texts[:4]).probabilities
    assert np.allclose(score.losses, -np.log(answers[range(4), ev.labels]), atol=1e-4)
    with pytest.warns(AttnlabWarning, match="plain forward pass, which is slower: A model with"):
        table = al.ablate(ev)
    settings = silent(own, (4, 4))
    assert table["loss"][4 * 12 + 4] == pytest.approx(ev.score(settings).loss, abs=1e-5)
    step = own.settings()
    step.scale[4, 4] = 0.9
    slope = (ev.score(step).loss - score.loss) / 0.1
    assert ev.gradients()[4, 4] == pytest.approx(slope, abs=1e-3, rel=0.2)
    with pytest.raises(ModelError, match="method='zero' works"):
        al.ablate(ev, method="mean")


# ── nothing wrong is said silently ───────────────────────────────────────────────────────────────


def test_texts_that_another_process_computes_now_are_not_counted_twice(
    clf, few, silenced, tmp_path, monkeypatch
):
    """Each of two ranks has a file with everything, as after a change of how texts are shared."""
    engine = few.current_engine()
    run = ablation.AblationRun(clf, few.encoded, engine, False, "head", [Ablation()])
    monkeypatch.setattr(ablation, "tokens_per_batch", lambda _: 60)
    run.logits(file=tmp_path / "run")
    parts = []
    monkeypatch.setattr(
        ablation, "summed_over_processes", lambda logits: parts.append(logits.clone()) or logits
    )
    for rank in range(2):
        (tmp_path / f"run.{rank}-of-2").write_bytes((tmp_path / "run").read_bytes())
        monkeypatch.setattr(ablation, "rank_and_processes", lambda rank=rank: (rank, 2))
        run.logits(file=tmp_path / "run")
    whole = ablation.compared(sum(parts), few.labels, run.rows)
    assert np.allclose(whole["loss"], silenced["loss"], atol=1e-6)


def test_answers_that_are_no_numbers_are_not_scored(clf, some):
    own = clf.with_model(copy.deepcopy(clf.model))
    own.model.classifier.bias.data[0] = torch.nan
    ev = al.Evaluator(own, some)
    with pytest.raises(AttnlabError, match=r"classifier\.bias \(1 of 2 numbers\)"):
        ev.score()


def test_a_stack_around_the_call_is_refused_like_one_in_it(clf, few):
    stack = al.HeadSettings.stack([clf.settings()] * 6)
    with al.heads.applied(clf, stack), pytest.raises(AttnlabError, match="not a stack"):
        few.score()


def test_agreement_is_that_of_the_weights_as_they_are(clf, some, monkeypatch):
    own = clf.with_model(copy.deepcopy(clf.model))
    ev = al.Evaluator(own, some)
    ev.agreement()
    ev._remembered["agreement"] = 0.123
    own.model.classifier.weight.data *= -1
    assert ev.agreement() > 0.5


def test_a_mask_of_torchs_own_pruning_is_noticed(clf, some):
    own = clf.with_model(copy.deepcopy(clf.model))
    layer = own.model.bert.encoder.layer[3].output.dense
    l1_unstructured(layer, "weight", 0.3)
    ev = al.Evaluator(own, some)
    ev.score()
    l1_unstructured(layer, "weight", 0.8)
    own.model(**own.tokenizer("a film", return_tensors="pt"))  # applies the mask
    assert np.allclose(ev.score().losses, al.Evaluator(own, some).score().losses, atol=1e-5)


def test_a_model_in_training_is_measured_without_dropout(clf, few):
    wanted = few.score()
    clf.model.train()
    try:
        assert np.array_equal(few.score().losses, wanted.losses)
        assert all(module.training for module in clf.model.modules())
    finally:
        clf.model.eval()


def test_an_evaluator_first_used_in_inference_mode_has_gradients_all_the_same(clf, some):
    ev = al.Evaluator(clf, some.select(range(4)))
    with torch.inference_mode():
        ev.score()
    assert np.count_nonzero(ev.gradients()) == 72


def test_what_would_be_ignored_or_lost_is_refused(clf, few, tmp_path):
    with pytest.raises(AttnlabError, match="There is no folder"):
        al.ablate(few, resume=tmp_path / "nowhere" / "ablation.safetensors")
    with pytest.raises(AttnlabError, match="at least 1 text"):
        few.stream(first=0)
    with pytest.raises(AttnlabError, match="1 seed"):
        al.pruning_curve(few, "random", seeds=())
    bare = al.heads.prune(clf, list(itertools.product(range(6), range(12))))
    ev = al.Evaluator(bare, few.dataset)
    assert not ev.gradients().any()
    with pytest.raises(ModelError, match="Every head"):
        al.ablate(ev)
