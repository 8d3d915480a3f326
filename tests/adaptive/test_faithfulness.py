"""Attributions sum to what they explain, and the curves tell a faithful ranking from chance."""

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier
from tiny_models import CONFIGS

from attnlab import adaptive, heads
from attnlab.adaptive.attributions import margin_of
from attnlab.errors import AttnlabError, DataError

LONG = [text for text in LITTLE if " " in text]


def masked(clf, text):
    ids = torch.tensor([clf.encode([text]).ids(0)])
    bare = ids.clone()
    bare[:, 1:-1] = clf.tokenizer.mask_token_id
    return ids, bare


def margins(clf, ids, label):
    with torch.no_grad():
        logits = clf.model(input_ids=ids).logits
    return margin_of(logits, label.expand(len(ids)))


def test_attributions_sum_to_the_difference_of_margins(clf):
    text = "A slow start, yet the ending is worth every minute."
    (found,) = adaptive.integrated_gradients(clf, [text], steps=96)
    ids, bare = masked(clf, text)
    label = clf.logits(clf.encode([text])).argmax(-1)
    whole = float(margins(clf, ids, label) - margins(clf, bare, label))
    assert found.sum() == pytest.approx(whole, abs=0.02)
    assert found[0] == found[-1] == 0
    assert abs(found).max() > 0.1


@pytest.mark.parametrize("baseline", ["mask", "zero"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "albert"])
def test_attributions_equal_captums(family, baseline):
    attr = pytest.importorskip("captum.attr")
    clf = tiny_classifier(family)
    best = clf.logits(clf.encode(LONG)).topk(2).indices
    ours = adaptive.integrated_gradients(clf, LONG, baseline, steps=20)
    embed = clf.model.get_input_embeddings()
    for text, (label, second), found in zip(LONG, best.tolist(), ours, strict=True):
        ids, bare = masked(clf, text)
        start = embed(bare).detach()
        if baseline == "zero":
            start[:, 1:-1] = 0

        def margin(words, label=label, second=second):
            logits = clf.model(inputs_embeds=words).logits
            return logits[:, label] - logits[:, second]

        theirs = attr.IntegratedGradients(margin).attribute(
            embed(ids).detach(), start, n_steps=20, method="gausslegendre"
        )
        assert np.allclose(found, theirs.sum(-1)[0].detach().numpy(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_curves_start_and_end_at_the_text_and_at_masks_alone(family):
    clf = tiny_classifier(family)
    curves = adaptive.deletion_curves(clf, LITTLE, steps=3)
    assert set(curves["text"]) == {0, 1, 2}  # the last has one word
    assert set(curves["method"]) == {*adaptive.RANKINGS}
    labels = clf.logits(clf.encode(LITTLE)).argmax(-1)
    for index, text in enumerate(LONG):
        ends = [
            float(margin_of(heads.run(clf, {"input_ids": ids}).detach(), labels[index : index + 1]))
            for ids in masked(clf, text)
        ]
        own = curves[curves["text"] == index].set_index(["kind", "share"])["margin"]
        assert np.allclose(own["deletion", 0.0], ends[0], atol=1e-4)
        assert np.allclose(own["deletion", 1.0], ends[1], atol=1e-4)
        assert np.allclose(own["insertion", 0.0], ends[1], atol=1e-4)
        assert np.allclose(own["insertion", 1.0], ends[0], atol=1e-4)


def test_one_step_of_deletion_by_ablation_is_the_largest_single_fall():
    clf = tiny_classifier("bert")
    text = "a slow start but never dull"
    curves = adaptive.deletion_curves(clf, [text], ["ablation"], steps=6)
    first = curves[(curves["kind"] == "deletion") & (curves["method"] == "ablation")]
    ids, _ = masked(clf, text)
    variants = ids.repeat(6, 1)
    variants[range(6), range(1, 7)] = clf.tokenizer.mask_token_id
    label = clf.logits(clf.encode([text])).argmax(-1)
    with torch.no_grad():
        chances = clf.model(input_ids=variants).logits.softmax(-1)[:, int(label)]
    assert first["probability"].iloc[1] == pytest.approx(float(chances.min()), abs=1e-5)


def test_areas_are_those_of_the_trapezoidal_rule_and_random_beats_itself_by_nothing():
    clf = tiny_classifier("bert")
    curves = adaptive.deletion_curves(clf, LONG, steps=4)
    table = adaptive.areas(curves).set_index(["kind", "method"])
    mean = curves.groupby(["kind", "method", "share"])["margin"].mean()
    heights = mean["deletion", "gradient"].to_numpy()
    by_hand = ((heights[1:] + heights[:-1]) / 2).mean()
    assert table.loc[("deletion", "gradient"), "area"] == pytest.approx(by_hand, abs=1e-5)
    assert (table.xs("random", level="method")["better"] == 0).all()
    gap = table.loc[("deletion", "random"), "area"] - by_hand
    assert table.loc[("deletion", "gradient"), "better"] == pytest.approx(gap, abs=1e-5)


def test_ablation_finds_what_a_real_answer_rests_on_better_than_chance(clf, some):
    curves = adaptive.deletion_curves(clf, some.texts[:12], ["ablation"], steps=5)
    table = adaptive.areas(curves).set_index(["kind", "method"])
    assert table.loc[("deletion", "ablation"), "ci_low"] > 0
    assert table.loc[("insertion", "ablation"), "ci_low"] > 0


def test_bad_input_is_refused_by_name():
    clf = tiny_classifier("bert")
    with pytest.raises(AttnlabError, match=r"'gradients'.*gradient"):
        adaptive.deletion_curves(clf, LONG, ["gradients"])
    with pytest.raises(AttnlabError, match="steps is 1"):
        adaptive.deletion_curves(clf, LONG, steps=1)
    with pytest.raises(DataError, match="two tokens"):
        adaptive.deletion_curves(clf, ["dull"])
    with pytest.raises(AttnlabError, match="baseline 'pad'"):
        adaptive.integrated_gradients(clf, LONG, "pad")
    with pytest.raises(AttnlabError, match="measure 'loss'"):
        adaptive.areas(adaptive.deletion_curves(clf, LONG, ["gradient"], steps=2), "loss")
