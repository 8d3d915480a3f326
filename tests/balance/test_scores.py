"""The ScoreRecorder: scores as the model's own softmax sees them, without disturbing a training."""

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier

from attnlab import balance, heads
from attnlab.errors import AttnlabError, DataError

PROBE = LITTLE


def recorded(clf, texts=PROBE):
    recorder = balance.ScoreRecorder(texts)
    recorder(clf, 0)
    table = recorder.table.pivot(index=["layer", "head"], columns="measure", values="value")
    return {name: table[name].to_numpy().reshape(clf.layers, clf.heads) for name in table}


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "albert-shared"])
def test_the_lead_is_that_of_the_logarithms_of_the_weights(family):
    clf = tiny_classifier(family)
    expected = np.zeros((clf.layers, clf.heads))
    encoded = clf.encode(PROBE)
    for indices in encoded.batches():
        inputs = encoded.batch(indices)
        for layer, found in enumerate(heads.record(clf, inputs, clf.settings())):
            for weights, length in zip(found.weights, inputs["attention_mask"].sum(1), strict=True):
                logs = weights[:, :length, :length].log()
                expected[layer] += (logs.amax(-1) - logs.mean(-1)).mean(-1).numpy() / len(PROBE)
    np.testing.assert_allclose(recorded(clf)["lead"], expected, rtol=1e-3)


def test_twice_the_query_weights_double_lead_score_and_norm_of_that_head():
    clf = tiny_classifier("bert")
    before, site = recorded(clf), heads.sites(clf.model)[0]
    own = slice(0, site.head_width)
    query = getattr(site.module, site.query)
    with torch.no_grad():
        query.weight[own] *= 2
        query.bias[own] *= 2
    after = recorded(clf)
    for name in ("score", "lead", "norm"):
        assert after[name][0, 0] == pytest.approx(2 * before[name][0, 0], rel=1e-4)
        np.testing.assert_allclose(after[name][0, 1:], before[name][0, 1:], rtol=1e-5)


def test_the_norm_is_the_spectral_norm_of_both_matrices_and_bounds_scores_without_bias():
    clf = tiny_classifier("bert")
    site = heads.sites(clf.model)[1]
    query, key = (getattr(site.module, name) for name in (site.query, site.key))
    own = slice(0, site.head_width)
    product = query.weight[own].T @ key.weight[own] / site.head_width**0.5
    expected = torch.linalg.matrix_norm(product.detach(), 2)
    assert recorded(clf)["norm"][1, 0] == pytest.approx(float(expected), rel=1e-4)


def test_the_input_lead_changes_with_what_enters_and_not_with_the_matrices():
    clf = tiny_classifier("bert")
    recorder = balance.ScoreRecorder(PROBE, every=1)
    recorder(clf, 0)
    site = heads.sites(clf.model)[1]
    with torch.no_grad():
        query = getattr(site.module, site.query)
        query.weight *= 2
        query.bias *= 2
    recorder(clf, 1)
    table = recorder.table[recorder.table["layer"] == 1]
    before, after = (
        table[table["step"] == step].pivot(index="head", columns="measure", values="value")
        for step in (0, 1)
    )
    np.testing.assert_allclose(before["input_lead"], before["lead"], rtol=1e-5)
    np.testing.assert_allclose(after["lead"], 2 * before["lead"], rtol=1e-4)
    np.testing.assert_allclose(after["input_lead"], before["lead"], rtol=1e-4)
    with torch.no_grad():  # what leaves layer 0 is what enters layer 1
        heads.sites(clf.model)[0].output.weight *= 3
    recorder(clf, 2)
    table = recorder.table.query("step == 2 and layer == 1")
    last = table.pivot(index="head", columns="measure", values="value")
    np.testing.assert_allclose(2 * last["input_lead"], last["lead"], rtol=1e-4)
    assert not np.allclose(last["input_lead"], before["lead"], rtol=1e-3)


def test_padding_changes_nothing():
    clf = tiny_classifier("bert")
    apart = [recorded(clf, [text]) for text in PROBE]
    together = recorded(clf)
    for name, combine in (("score", np.max), ("lead", np.mean)):
        expected = combine([one[name] for one in apart], axis=0)
        np.testing.assert_allclose(together[name], expected, rtol=1e-4)


def test_heads_removed_for_good_have_no_figures_and_the_others_keep_theirs():
    clf, gone = tiny_classifier("bert"), [(0, 1), *((2, head) for head in range(4))]
    silent = clf.settings()
    for place in gone:
        silent.scale[place] = 0
    with heads.applied(clf, silent):
        before = recorded(clf)
    after = recorded(heads.prune(clf, gone))
    for name, values in after.items():
        there = np.ones_like(values, bool)
        there[tuple(np.transpose(gone))] = False
        assert np.isnan(values[~there]).all()
        np.testing.assert_allclose(values[there], before[name][there], rtol=1e-4)


def test_it_leaves_gradients_dropout_and_random_numbers_alone():
    clf = tiny_classifier("bert")
    clf.model.train()
    clf.model(input_ids=torch.arange(5, 14)[None], labels=torch.tensor([0])).loss.backward()
    gradients = [one.grad.clone() for one in clf.model.parameters() if one.grad is not None]
    state = torch.random.get_rng_state()
    recorded(clf)
    assert clf.model.training
    assert torch.equal(state, torch.random.get_rng_state())
    after = [one.grad for one in clf.model.parameters() if one.grad is not None]
    assert all(torch.equal(*pair) for pair in zip(gradients, after, strict=True))
    assert not any(one._forward_hooks for one in clf.model.modules())


def test_it_measures_every_so_many_steps_and_a_run_that_begins_anew_begins_a_new_table():
    clf, recorder = tiny_classifier("bert"), balance.ScoreRecorder(PROBE, every=2)
    for step in range(5):
        recorder(clf, step)
    assert sorted(set(recorder.table["step"])) == [0, 2, 4]
    assert "3 measurements" in repr(recorder)
    recorder(clf, 0)
    assert set(recorder.table["step"]) == {0}


@pytest.mark.parametrize("texts", [[], "a text"])
def test_it_needs_texts(texts):
    with pytest.raises(DataError, match="list of some"):
        balance.ScoreRecorder(texts)


def test_it_says_what_it_cannot_do():
    with pytest.raises(AttnlabError, match="counts steps"):
        balance.ScoreRecorder(PROBE, every=0)
