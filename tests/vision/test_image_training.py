"""Training a vision Transformer on images: it learns, stops and goes on, and repeats itself."""

import json

import numpy as np
import pytest
import torch
from tiny_images import bar_splits, images
from torch import nn

import attnlab as al
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, DataError, ModelError
from attnlab.training import Callback
from attnlab.vision import Augmentation, fit, train_image_classifier, untrained

SMALL = {"patch": 4, "d_model": 16, "heads": 2, "layers": 1}
SHORT = {"steps": 20, "batch_size": 16, "learning_rate": 3e-3}


def weights(model):
    return torch.cat([tensor.detach().flatten() for tensor in model.state_dict().values()])


def test_it_learns_and_answers_as_it_was_measured(tmp_path):
    splits = bar_splits()
    clf = train_image_classifier(
        splits, tmp_path / "bars", **SMALL, steps=150, batch_size=16, learning_rate=3e-3
    )
    best = clf.history.best
    assert best["dev_accuracy"] > 0.9
    dev = al.Evaluator(clf, splits.dev).score()
    assert dev.accuracy == best["dev_accuracy"]
    assert dev.loss == pytest.approx(best["dev_loss"], rel=1e-3)
    again = al.load_image_classifier(tmp_path / "bars")
    given = splits.test.images
    assert np.array_equal(again.predict(given).probabilities, clf.predict(given).probabilities)
    assert {file.name for file in (tmp_path / "bars").iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


def test_it_takes_exactly_so_many_steps_and_measures_each_epoch():
    """96 images in batches of 16 are 6 steps an epoch: 20 steps are 3 epochs and 2 steps."""
    counted = []

    class Counting(Callback):
        def on_step(self, run):
            counted.append(run.step)

    clf = train_image_classifier(bar_splits(), **SMALL, **SHORT, callbacks=[Counting()])
    assert counted == list(range(1, 21))
    assert [row["epoch"] for row in clf.history.rows] == [1, 2, 3, 4]
    losses = [step["loss"] for step in clf.history.steps]
    assert clf.history.rows[-1]["train_loss"] == pytest.approx(np.mean(losses[18:]), rel=1e-5)


def test_a_seed_says_it_all_and_another_seed_says_another():
    first, same, other = (
        train_image_classifier(bar_splits(), **SMALL, **SHORT, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(weights(first.model), weights(same.model))
    assert not torch.allclose(weights(first.model), weights(other.model), atol=1e-3)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = train_image_classifier(bar_splits(), **SMALL, **SHORT)
    options = {"out": tmp_path / "run", **SMALL, **SHORT}

    class Stopping(Callback):
        def on_step(self, run):
            if run.step == 14:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_image_classifier(bar_splits(), **options, callbacks=[Stopping()])
    with pytest.raises(AttnlabError, match="unfinished run"):
        train_image_classifier(bar_splits(), **options)
    with pytest.raises(AttnlabError, match="was another one: dev_images"):
        other = Splits(bar_splits().train, bar_splits().dev.select(range(40)), bar_splits().test)
        train_image_classifier(other, **options, resume=True)
    with pytest.raises(AttnlabError, match="was another one: augment"):
        train_image_classifier(bar_splits(), **options, resume=True, augment=None)
    again = train_image_classifier(bar_splits(), **options, resume=True)
    assert torch.equal(weights(again.model), weights(whole.model))
    without_time = [
        [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in clf.history.rows
        ]
        for clf in (again, whole)
    ]
    assert without_time[0] == without_time[1]
    with pytest.raises(ModelError, match="finished"):
        train_image_classifier(bar_splits(), **options)
    with pytest.raises(ModelError, match=r"finished. al.load_image_classifier\("):
        train_image_classifier(bar_splits(), **options, resume=True)


@pytest.mark.parametrize("kind", [{"pool": "mean", "stem": True}, {"pool": "attention"}])
def test_kinds_that_transformers_does_not_have_are_trained_as_they_are(kind):
    splits = bar_splits()
    model = untrained(splits, **SMALL, **kind)
    before = weights(model)
    history = fit(model, splits, **SHORT)
    assert len(history.rows) == 4 and not torch.equal(weights(model), before)
    assert history.best["dev_loss"] < history.rows[0]["train_loss"]


def test_colour_pictures_are_learned_from():
    splits = bar_splits()
    coloured = Splits(
        *(
            ImageDataset(np.stack([part.images] * 3, -1), part.labels, part.label_names, part.name)
            for part in (splits.train, splits.dev, splits.test)
        )
    )
    clf = train_image_classifier(coloured, **SMALL, **SHORT)
    assert clf.processor.channels == clf.model.config.num_channels == 3


def only_rows(splits):
    """The same splits, from a folder with one class in it."""
    rows = [index for index, label in enumerate(splits.train.labels) if label]
    images = splits.train.images[rows]
    train = ImageDataset(images, [0] * len(rows), ["row"], "rows")
    return Splits(train, train, train)


def test_splits_that_cannot_be_learned_from_are_refused(tmp_path):
    splits = bar_splits()
    texts = al.TextDataset(["a"], [0], ["b"], "reviews")
    one = splits.train.select([i for i, label in enumerate(splits.train.labels) if label])
    wide = ImageDataset(images(4), [0, 1, 0, 1], ["column", "row"], "wide")
    for given, told in (
        (Splits(texts, texts, texts), "holds no labelled images"),
        (Splits(splits.train, splits.dev.select([]), splits.test), "leaves nothing for dev"),
        (Splits(splits.train, wide, wide), "Bring all to one size"),
        (Splits(one, splits.dev, splits.test), "have one label.*more images of each label"),
        (only_rows(splits), "have one label.*images with other labels"),
    ):
        with pytest.raises(DataError, match=told):
            train_image_classifier(given, **SMALL, **SHORT)
    with pytest.raises(ModelError, match="no stem=True"):
        train_image_classifier(splits, **SMALL, **SHORT, model={"stem": True})
    with pytest.raises(AttnlabError, match="8 x 8 pixels cannot be cut"):
        train_image_classifier(splits, patch=7, steps=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other files"):
        train_image_classifier(splits, tmp_path, **SMALL, **SHORT)
    with pytest.raises(AttnlabError, match="max_steps is 0"):
        train_image_classifier(splits, **SMALL, steps=0)


def test_a_learner_is_shown_to_callbacks():
    seen = []

    class Watching(Callback):
        def on_start(self, run):
            seen.append((type(run.learner).__name__, run.steps, json.dumps(run.identity())))

    train_image_classifier(bar_splits(), **SMALL, steps=3, callbacks=[Watching()])
    assert seen[0][:2] == ("VisionTransformer", 3)


# ── augmentation ───────────────────────────────────────────────────────────────────────────────


def test_no_change_is_the_image():
    given = torch.randn(3, 2, 9, 13)
    assert torch.allclose(Augmentation(0, 0)(given), given, atol=1e-5)


def test_a_shift_moves_by_its_share_and_a_turn_keeps_the_centre():
    torch.manual_seed(0)
    given = torch.zeros(200, 1, 20, 40)
    given[:, :, 9:11, 19:21] = 1

    def centres(changed):
        mass = changed.sum((1, 2, 3))
        down = (changed.sum((1, 3)) * torch.arange(20)).sum(1) / mass
        right = (changed.sum((1, 2)) * torch.arange(40)).sum(1) / mass
        return down - 9.5, right - 19.5

    down, right = centres(Augmentation(shift=0.2, degrees=0)(given))
    assert 3.5 < float(down.abs().max()) <= 4.01  # 0.2 * 20
    assert 7 < float(right.abs().max()) <= 8.01  # 0.2 * 40
    down, right = centres(Augmentation(shift=0, degrees=90)(given))
    assert max(float(down.abs().max()), float(right.abs().max())) < 0.05


def test_a_turn_keeps_shapes_in_pictures_that_are_no_squares():
    """A bar of 9 pixels that is turned by a right angle has 9 pixels in the other direction."""
    given = torch.zeros(1, 1, 15, 31)
    given[:, :, 7, 11:20] = 1
    draws = [torch.ones(3, 1)]
    wanted = torch.zeros(15, 31)
    wanted[3:12, 15] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_: draws[0])
        turned = Augmentation(shift=0, degrees=90)(given)
    assert torch.allclose(turned[0, 0], wanted, atol=1e-4)


def test_outside_the_edge_is_repeated():
    assert torch.allclose(Augmentation(0.3, 45)(torch.full((4, 1, 8, 8), 0.7)), torch.tensor(0.7))


@pytest.mark.parametrize("options", [{"shift": 1}, {"shift": -0.1}, {"degrees": 181}])
def test_changes_without_sense_are_refused(options):
    with pytest.raises(AttnlabError, match="expected a share"):
        Augmentation(**options)


def test_another_objective_is_not_needed_for_the_loss():
    """The loss of the loop is the cross-entropy of what the model answers."""
    splits = bar_splits()
    model = untrained(splits, **SMALL)
    clf = al.vision.ImageClassifier(
        al.vision.to_transformers(model, splits.train.label_names), splits.train.label_names
    )
    logits = clf.logits(clf.encode(splits.dev.images))
    wanted = nn.functional.cross_entropy(logits, torch.tensor(splits.dev.labels))
    history = fit(model, splits, steps=1, batch_size=16, learning_rate=1e-9, augment=None)
    assert history.rows[0]["dev_loss"] == pytest.approx(float(wanted), rel=1e-4)
