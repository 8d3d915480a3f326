"""An image classifier answers, looks, is saved and loaded; its parts belong together."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_images import NAMES, images, tiny_image_classifier, tiny_vit
from transformers import (
    AutoModelForImageClassification,
    BeitConfig,
    BeitForImageClassification,
    ViTModel,
)

import attnlab as al
from attnlab.errors import DataError, ModelError
from attnlab.vision import ImageClassifier
from attnlab.vision.pixels import ImageProcessor


def as_read(given, mean=0.5, std=0.5):
    """Pixels as Transformers' image processor makes them, written out."""
    shares = torch.tensor(given / 255.0, dtype=torch.float32)
    shares = shares[:, None] if shares.dim() == 3 else shares.permute(0, 3, 1, 2)
    return (shares - mean) / std


# ── asking ─────────────────────────────────────────────────────────────────────────────────────


def test_it_answers_as_the_plain_model():
    clf, given = tiny_image_classifier(), images()
    with torch.no_grad():
        logits = tiny_vit()(as_read(given)).logits
    found = clf.predict(given)
    assert torch.allclose(torch.from_numpy(found.probabilities), logits.softmax(-1), atol=1e-5)
    assert found.labels == [NAMES[index] for index in logits.argmax(-1)]
    assert len(set(found.labels)) > 1
    listed = clf.predict(list(given))
    assert np.array_equal(found.probabilities, listed.probabilities)
    assert (clf.layers, clf.heads, clf.grid, clf.patch) == (3, 4, (2, 3), (4, 4))
    assert "ImageClassifier(vit, 3 layers x 4 heads" in repr(clf)


def test_many_images_in_any_order_are_those_one_by_one():
    clf, given = tiny_image_classifier(), images(300)
    encoded = clf.encode(given)
    order = np.random.default_rng(0).permutation(300)
    logits = clf.logits(encoded, order)
    alone = clf.logits(clf.encode(given[order[7:8]]))
    assert torch.allclose(logits[7:8], alone, atol=1e-5)
    assert len(list(encoded.batches(max_tokens=70))) == 30  # 7 tokens each


def test_grey_pictures_are_read_by_a_model_of_colours():
    clf, given = tiny_image_classifier(num_channels=3), images()
    coloured = np.stack([given] * 3, axis=-1)
    assert np.array_equal(clf.predict(given).probabilities, clf.predict(coloured).probabilities)


@pytest.mark.parametrize("family, before", [("vit", ["[CLS]"]), ("deit", ["[CLS]", "[DIST]"])])
def test_maps_are_the_weights_of_the_model_over_its_patches(family, before):
    clf, given = tiny_image_classifier(family), images()
    maps = clf.attend(given[2])
    assert maps.tokens == [*before, "0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    assert maps.special.tolist() == [True] * len(before) + [False] * 6
    plain = tiny_vit(family)
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = torch.cat(plain(as_read(given[2:3]), output_attentions=True).attentions)
    assert torch.allclose(maps.weights, wanted, atol=1e-5)
    assert maps.neutral is None


def test_maps_with_settings_carry_the_neutral_ones():
    clf, given = tiny_image_classifier(), images()
    settings = clf.settings()
    settings.scale[0, 1], settings.temperature[1, 2] = 0, 3
    maps = clf.attend(given[0], settings)
    assert torch.equal(maps.neutral.weights, clf.attend(given[0]).weights)
    assert torch.equal(maps.weights[0], maps.neutral.weights[0])
    assert not torch.allclose(maps.weights[1, 2], maps.neutral.weights[1, 2], atol=1e-3)
    assert (maps.contributions[0, 1] == 0).all() and (maps.contributions[0, 0] > 0).any()
    with al.heads.applied(clf, settings):
        assert torch.equal(clf.attend(given[0]).weights, maps.weights)


@pytest.mark.parametrize(
    "given, told",
    [
        (images(shape=(12, 8)), "are 12 x 8 pixels and this model reads 8 x 12"),
        (images(shape=(8, 12, 3)), "in colour and this model reads grey"),
        (images().astype(np.float32), "float32 numbers"),
        ([images()[0], images(shape=(4, 4))[0]], "different shapes"),
        ("a text", "str"),
        (["a text"], "pixels|numbers"),
    ],
)
def test_other_than_its_images_is_refused(given, told):
    with pytest.raises(DataError, match=told):
        tiny_image_classifier().predict(given)


def test_what_is_for_texts_says_so():
    clf = tiny_image_classifier()
    with pytest.raises(ModelError, match="reads images and has no tokenizer"):
        _ = clf.tokenizer


def test_weights_that_are_not_finite_are_refused():
    clf = tiny_image_classifier()
    with torch.no_grad():
        clf.model.vit.layers[1].mlp.fc1.weight[0, 0] = torch.nan
    for ask in (clf.predict, lambda given: clf.attend(given[0])):
        with pytest.raises(ModelError, match="not finite"):
            ask(images())


# ── parts ──────────────────────────────────────────────────────────────────────────────────────


def test_parts_that_do_not_belong_together_are_refused():
    with pytest.raises(ModelError, match="There are 2 names of labels"):
        ImageClassifier(tiny_vit(), ["a", "b"])
    with pytest.raises(ModelError, match="same name"):
        ImageClassifier(tiny_vit(), ["a", "a", "b"])
    with pytest.raises(
        ModelError, match="28 x 28 pixels and 1 channels, and the model reads 8 x 12"
    ):
        ImageClassifier(tiny_vit(), NAMES, ImageProcessor(28, 28, 1))
    with pytest.raises(ModelError, match="got ViTModel"):
        ImageClassifier(ViTModel(tiny_vit().config), NAMES)
    beit = BeitConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    with pytest.raises(ModelError, match="got BeitForImageClassification"):
        ImageClassifier(BeitForImageClassification(beit), ["LABEL_0", "LABEL_1"])
    with pytest.raises(ModelError, match="chooses one label"):
        ImageClassifier(tiny_vit(problem_type="multi_label_classification"), NAMES)
    with pytest.raises(ModelError, match="The std of pixels"):
        ImageProcessor(8, 8, 1, std=(0.0,))
    with pytest.raises(ModelError, match=r"mean of pixels is .* 3 channels"):
        ImageProcessor(8, 8, 3, mean=(0.5, 0.5))


# ── files ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def saved(tmp_path):
    processor = ImageProcessor(8, 12, 1, mean=(0.3,), std=(0.2,))
    clf = ImageClassifier(tiny_vit(), NAMES, processor)
    return clf, clf.save(tmp_path / "saved")


def test_a_saved_one_is_loaded_with_the_same_answers(saved):
    clf, folder = saved
    again = al.load_image_classifier(folder)
    assert again.label_names == NAMES and again.processor == clf.processor
    assert again.loaded_from == str(folder)
    before, after = (one.predict(images()).probabilities for one in (clf, again))
    assert np.array_equal(before, after)
    assert not np.allclose(before, tiny_image_classifier().predict(images()).probabilities)


def test_transformers_reads_what_was_saved(saved):
    clf, folder = saved
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert model.config.id2label == dict(enumerate(NAMES))
    with torch.no_grad():
        logits = model(as_read(images(), 0.3, 0.2)).logits
    assert torch.allclose(logits, clf.logits(clf.encode(images())), atol=1e-5)
    record = json.loads((folder / "preprocessor_config.json").read_text())
    assert record["size"] == {"height": 8, "width": 12} and record["image_mean"] == [0.3]


def test_what_transformers_saved_is_loaded(tmp_path):
    model = tiny_vit(num_channels=3)
    model.save_pretrained(tmp_path)
    record = {
        "size": {"height": 8, "width": 12},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [1, 2, 3],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record))
    given = images(shape=(8, 12, 3))
    mean, std = (torch.tensor(record[name])[:, None, None] for name in ("image_mean", "image_std"))
    with torch.no_grad():
        logits = model(as_read(given, mean, std)).logits
    clf = al.load_image_classifier(tmp_path)
    assert torch.allclose(clf.logits(clf.encode(given)), logits, atol=1e-5)


@pytest.mark.parametrize(
    "changes, scale, mean, std",
    [
        ({"do_normalize": False}, 1 / 255, 0.0, 1.0),
        ({"do_rescale": False}, 1.0, 0.3, 0.2),
        ({"rescale_factor": 0.5}, 0.5, 0.3, 0.2),
        ({"size": {"shortest_edge": 8}}, 1 / 255, 0.3, 0.2),
        (
            {
                "size": {"height": 28, "width": 28},
                "do_center_crop": True,
                "crop_size": {"height": 8, "width": 12},
            },
            1 / 255,
            0.3,
            0.2,
        ),
    ],
)
def test_pixels_are_made_as_the_record_says(saved, changes, scale, mean, std):
    _, folder = saved
    changed_json(folder, "preprocessor_config.json", **changes)
    clf, given = al.load_image_classifier(folder), images()
    wanted = (torch.from_numpy(given).float()[:, None] * scale - mean) / std
    pixels = clf.encode(given).batch(range(6))["pixel_values"]
    assert torch.allclose(pixels, wanted, rtol=1e-5, atol=1e-5)


def test_labels_that_were_renamed_are_saved_so(tmp_path):
    clf = tiny_image_classifier()
    clf.label_names = ["x", "y", "z"]
    assert al.load_image_classifier(clf.save(tmp_path / "renamed")).label_names == ["x", "y", "z"]


@pytest.mark.parametrize("family", ["vit", "deit"])
@pytest.mark.parametrize("gone", [[(0, 1), (2, 3)], [(1, head) for head in range(4)]])
def test_heads_that_were_removed_stay_removed(tmp_path, gone, family):
    clf = al.heads.prune(tiny_image_classifier(family), gone)
    again = al.load_image_classifier(clf.save(tmp_path / "smaller"))
    assert al.heads.removed(again) == gone
    assert np.array_equal(
        clf.predict(images()).probabilities, again.predict(images()).probabilities
    )
    assert again.parameters() == clf.parameters() < tiny_image_classifier(family).parameters()


def changed_json(folder, file, **changes):
    path = folder / file
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def cut_off(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


DAMAGES = {
    "no processor": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "no preprocessor_config.json, so it is not known how pixels become numbers",
    ),
    "processor of another size": (
        lambda folder: changed_json(
            folder, "preprocessor_config.json", size={"height": 28, "width": 28}
        ),
        "says 28 x 28 pixels and config.json 8 x 12",
    ),
    "processor of other channels": (
        lambda folder: changed_json(folder, "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
        "one number for each of 1 channels",
    ),
    "processor cut off": (
        lambda folder: (folder / "preprocessor_config.json").write_text('{"size": {'),
        "preprocessor_config.json is no valid JSON",
    ),
    "weights cut off": (cut_off, "holds .* bytes and should hold"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "another size of image": (
        lambda folder: [
            changed_json(folder, "config.json", image_size=[12, 12]),
            changed_json(folder, "preprocessor_config.json", size={"height": 12, "width": 12}),
        ],
        "position_embeddings has shape .*1, 7, 32.* says .*1, 10, 32",
    ),
    "more layers than weights": (
        lambda folder: changed_json(folder, "config.json", num_hidden_layers=4),
        "lack 16 that its config.json asks for",
    ),
    "fewer layers than weights": (
        lambda folder: changed_json(folder, "config.json", num_hidden_layers=2),
        "hold 16 that have no place in it",
    ),
    "more labels than outputs": (
        lambda folder: changed_json(
            folder, "config.json", id2label={"0": "a", "1": "b", "2": "c", "3": "d"}, label2id={}
        ),
        "do not fit its config.json: classifier",
    ),
    "another family": (
        lambda folder: changed_json(folder, "config.json", model_type="bert"),
        "is a 'bert' model.*al.load_classifier",
    ),
    "says yes or no to each label": (
        lambda folder: changed_json(
            folder, "config.json", problem_type="multi_label_classification"
        ),
        "chooses one label",
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_parts_of_a_folder_that_do_not_belong_together_are_refused(saved, damage):
    _, folder = saved
    spoil, told = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(ModelError, match=told):
        al.load_image_classifier(folder)


def test_a_model_without_its_last_layer_is_refused(tmp_path, saved):
    _, folder = saved
    other = tmp_path / "encoder"
    tiny_vit().vit.save_pretrained(other)
    shutil.copy(folder / "preprocessor_config.json", other)
    changed_json(other, "config.json", architectures=["ViTForImageClassification"])
    with pytest.raises(
        ModelError, match="no finished image classifier: its weights lack classifier"
    ):
        al.load_image_classifier(other)


def test_a_name_of_nothing_is_refused():
    with pytest.raises(ModelError, match=r"no image classifier 'runs/nothing'.*train_image_class"):
        al.load_image_classifier("runs/nothing")
    with pytest.raises(ModelError, match="There is no image classifier 'minilm'"):
        al.load_image_classifier("minilm")


@pytest.mark.parametrize("name", ["mnist-5k", "mnist-5k-patch-4", "mnist-5k-patch-14"])
def test_classifiers_that_come_with_attnlab_are_loaded_by_name(name):
    clf = al.load_image_classifier(name)
    digits = al.datasets.load("mnist-5k").dev
    right = np.equal(clf.predict(digits.images).labels, np.array(digits.labels).astype(str))
    assert right.mean() > 0.95
    assert clf.patch[0] == int(name.rpartition("-patch-")[2] if "patch" in name else 7)
