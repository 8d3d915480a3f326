"""Heads of a vision Transformer: one mechanism with those of texts, from settings to curves."""

import copy

import numpy as np
import pytest
import torch
from tiny_images import answered, images, tiny_image_classifier, tiny_vit
from transformers import BeitConfig, BeitForImageClassification, ViTModel

import attnlab as al
from attnlab import heads
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, ModelError

families = pytest.mark.parametrize("family", ["vit", "deit"])


@pytest.fixture(scope="module")
def clf():
    return tiny_image_classifier()


@pytest.fixture(scope="module")
def data(clf):
    return answered(clf)


def random_settings(clf, seed=0):
    generator = torch.Generator().manual_seed(seed)
    settings = clf.settings()
    settings.scale[:] = 2 * torch.rand(settings.scale.shape, generator=generator)
    settings.temperature[:] = 0.5 + torch.rand(settings.scale.shape, generator=generator)
    return settings


@families
def test_self_check_holds(family):
    report = heads.self_check(tiny_vit(family))
    assert report["neutral - untouched"] == report["afterwards - before"] == 0
    assert report["scale 0 - neutral"] > 1e-3
    assert heads.self_check(tiny_image_classifier(family)).keys() == report.keys()


@families
def test_scale_and_temperature_are_those_of_the_projections_changed_by_hand(family):
    clf, given = tiny_image_classifier(family), images()
    settings = clf.settings()
    settings.scale[1, 2], settings.temperature[1, 2] = 1.7, 0.4
    found = clf.predict(given, settings).probabilities
    model = tiny_vit(family)
    attention, rows = model.base_model.layers[1].attention, slice(16, 24)
    with torch.no_grad():
        attention.q_proj.weight[rows] /= 0.4
        attention.q_proj.bias[rows] /= 0.4
        attention.o_proj.weight[:, rows] *= 1.7
        model.set_attn_implementation("eager")
        wanted = model(**clf.encode(given).batch(range(6))).logits.softmax(-1)
    assert np.allclose(found, wanted, atol=1e-5)
    assert not np.allclose(found, clf.predict(given).probabilities, atol=1e-3)
    with heads.applied(clf, settings):
        assert np.array_equal(clf.predict(given).probabilities, found)


@families
@pytest.mark.parametrize("gone", [[(0, 1), (2, 3), (2, 0)], [(1, head) for head in range(4)]])
def test_removing_heads_is_silencing_them(family, gone):
    clf, given = tiny_image_classifier(family), images()
    settings = clf.settings()
    for head in gone:
        settings.scale[head] = 0
    smaller = heads.prune(clf, gone)
    wanted = clf.predict(given, settings).probabilities
    assert np.allclose(smaller.predict(given).probabilities, wanted, atol=1e-5)
    assert smaller.parameters() < clf.parameters()
    maps = smaller.attend(given[0])
    for head in gone:
        assert (maps.weights[head] == 0).all()


def test_one_setting_for_each_image(clf):
    given, each = images(3), [random_settings(clf, seed) for seed in range(3)]
    together = clf.predict(given, al.HeadSettings.stack(each)).probabilities
    for row, settings in enumerate(each):
        alone = clf.predict(given[row : row + 1], settings).probabilities
        assert np.allclose(together[row], alone[0], atol=1e-5)


def test_settings_follow_their_images_through_batches(clf):
    """More images than a batch takes when the call may be stopped, in another order."""
    given, count = images(200), 200
    each = [random_settings(clf, seed) for seed in range(2)]
    stack = al.HeadSettings.stack([each[index // 100] for index in range(count)])
    order = np.random.default_rng(0).permutation(count)
    encoded = clf.encode(given)
    found = clf.logits(encoded, order, stack, stop=lambda: False)
    for part, settings in zip((slice(0, 100), slice(100, 200)), each, strict=True):
        alone = clf.logits(encoded, order[part], settings)
        assert torch.allclose(found[part], alone, atol=1e-4)


def test_families_that_cannot_be_reached_are_refused():
    config = BeitConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    with pytest.raises(ModelError, match=r"'beit' model cannot be reached.*vit"):
        heads.attach(BeitForImageClassification(config))
    bare = ViTModel(tiny_vit().config)
    assert heads.size(bare) == (3, 4)


# ── measured ───────────────────────────────────────────────────────────────────────────────────


def test_an_evaluator_measures_what_the_classifier_answers(clf, data):
    ev = al.Evaluator(clf, data)
    score = ev.score()
    right = np.array(clf.predict(data.images).labels) == np.array(data.label_names)[data.labels]
    assert score.accuracy == right.mean() and 0.8 < score.accuracy < 1
    settings = random_settings(clf)
    changed = ev.score(settings)
    logits = clf.logits(clf.encode(data.images), settings=settings)
    assert changed.loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, torch.tensor(data.labels))), rel=1e-4
    )
    comparison = ev.compare(score, changed)
    assert list(comparison.flips.columns) == ["label", "before", "after"]
    flipped = np.flatnonzero(score.predictions != changed.predictions)
    assert comparison.flips.index.tolist() == flipped.tolist() and len(flipped)
    assert "normalise before attention" in ev.why_no_engine


def test_labels_are_matched_by_name(clf, data):
    names = data.label_names[::-1]
    turned = ImageDataset(data.images, [2 - label for label in data.labels], names, "turned")
    assert al.Evaluator(clf, turned).score().accuracy == al.Evaluator(clf, data).score().accuracy


def test_ablation_is_each_setting_measured(clf, data):
    ev = al.Evaluator(clf, data)
    table = al.ablate(ev)
    assert len(table) == 12
    for row in table.iloc[[0, 5, 11]].itertuples():
        settings = clf.settings()
        settings.scale[row.layer, row.head] = 0
        score = ev.score(settings)
        assert (row.accuracy, row.loss) == pytest.approx((score.accuracy, score.loss), abs=1e-5)
    assert table["loss_delta"].abs().max() > 1e-3


@pytest.mark.parametrize("target", ["layer", "all_but_one"])
def test_whole_layers_are_ablated(clf, data, target):
    table = al.ablate(al.Evaluator(clf, data), target, "scale", [0.5, 2])
    assert len(table) == 2 * (3 if target == "layer" else 12)


@pytest.mark.parametrize("method", ["mean", "uniform"])
def test_ablation_that_needs_another_forward_pass_says_so(clf, data, method):
    with pytest.raises(ModelError, match="whose forward pass we know"):
        al.ablate(al.Evaluator(clf, data), method=method)


def test_an_ablation_goes_on_only_with_the_same_images(clf, data, tmp_path):
    file = tmp_path / "ablation.safetensors"
    first = al.ablate(al.Evaluator(clf, data), resume=file)
    assert al.ablate(al.Evaluator(clf, data), resume=file).equals(first)
    other = copy.copy(data)
    object.__setattr__(other, "images", data.images[::-1].copy())
    with pytest.raises(al.AttnlabError):
        al.ablate(al.Evaluator(clf, other), resume=file)


@pytest.mark.parametrize("knob", ["scale", "temperature"])
def test_gradients_are_the_slopes_of_the_loss(clf, data, knob):
    ev = al.Evaluator(clf, data)
    found = ev.gradients(knob)
    assert found.shape == (3, 4)
    for place in ((0, 1), (2, 3)):
        losses = []
        for step in (1e-2, -1e-2):
            settings = clf.settings()
            getattr(settings, knob)[place] += step
            losses.append(ev.score(settings).loss)
        slope = (losses[0] - losses[1]) / 2e-2
        assert -slope == pytest.approx(found[place], rel=0.05, abs=2e-4)


def test_a_pruning_curve_ends_without_heads(clf, data):
    ev = al.Evaluator(clf, data)
    for order in ("use", "weights", "random"):
        curve = al.pruning_curve(ev, order, steps=3)
        assert curve["heads_off"].tolist() == [0, 4, 8, 12]
        silent = clf.settings()
        silent.scale[:] = 0
        assert curve["accuracy"].iloc[-1] == ev.score(silent).accuracy
        assert curve["accuracy"].iloc[0] == ev.score().accuracy


def test_a_report_sets_it_beside_what_needs_no_attention(clf, data):
    train = answered(clf, 90)
    found = al.report(clf, data, train)
    assert found.score.accuracy == al.Evaluator(clf, data).score().accuracy
    table = found.comparison.set_index("name")
    assert list(table.index) == [
        "this classifier",
        "majority",
        "logistic regression of pixels",
        "nearest image",
    ]
    flat = train.images.reshape(90, -1).astype(float)
    distances = ((data.images.reshape(60, 1, -1).astype(float) - flat) ** 2).sum(-1)
    nearest = np.array(train.labels)[distances.argmin(1)]
    assert table["accuracy"]["nearest image"] == (nearest == np.array(data.labels)).mean()
    assert np.isnan(found.ceiling)
    with pytest.raises(DataError, match="4 x 4 pixels and this model reads 8 x 12"):
        al.report(
            clf, data, ImageDataset(images(6, (4, 4)), [0, 1, 2] * 2, data.label_names, "small")
        )


def test_a_report_takes_grey_and_coloured_images_together():
    clf, grey = tiny_image_classifier(num_channels=3), images(30)
    coloured = np.stack([grey] * 3, axis=-1)
    labels = [index % 3 for index in range(30)]
    test = ImageDataset(coloured, labels, clf.label_names, "coloured")
    train = ImageDataset(grey, labels, clf.label_names, "grey")
    table = al.report(clf, test, train).comparison.set_index("name")
    assert table["accuracy"]["nearest image"] == 1


def test_measures_of_tokens_are_not_for_images(clf, data):
    with pytest.raises(ModelError, match="over the tokens of texts, and ImageClassifier reads im"):
        al.evaluation.profiles(clf, data.images)


def test_other_data_is_refused(clf, data):
    texts = TextDataset(["a text"], [0], ["bad"], "reviews")
    with pytest.raises(
        DataError, match="holds no labelled images, and this classifier reads images"
    ):
        al.Evaluator(clf, texts)
    with pytest.raises(DataError, match="Give one of them, such as"):
        al.Evaluator(clf, al.datasets.split(data))
    with pytest.raises(DataError, match="has no images in this part"):
        al.Evaluator(clf, data.select([]))
    named = ImageDataset(data.images, data.labels, ["x", "y", "z"], "odd")
    with pytest.raises(DataError, match="is not among them"):
        al.Evaluator(clf, named)


def test_a_classifier_of_texts_refuses_images(data):
    from tiny_classifiers import tiny_classifier

    with pytest.raises(DataError, match="holds no texts, and this classifier reads texts"):
        al.Evaluator(tiny_classifier("bert"), data)
