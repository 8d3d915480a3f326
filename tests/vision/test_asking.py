"""Questions about pictures: words and padding, maps, what each fusion can use, training."""

import numpy as np
import pytest
import torch
from tiny_scenes import digits, tiny_body

import attnlab as al
from attnlab.datasets import scenes
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, ModelError, SettingsError
from attnlab.vision.answer_training import train_answerer
from attnlab.vision.asking import Answerer, load_answerer
from attnlab.vision.bodies import Windows
from attnlab.vision.fusion import FUSIONS
from attnlab.vision.modality import modality_use

SIDE = 28


@pytest.fixture(scope="module")
def asked():
    parts = digits(), digits(seed=1), digits(seed=2)
    return scenes.questions(
        Splits(*parts), SIDE, train=96, dev=60, test=60, held_out=4, kinds=("position", "count")
    )


def made(fusion="cross-attention", **options):
    body = tiny_body(SIDE, classes=10)
    torch.manual_seed(1)
    model = Answerer(body, scenes.ANSWERS, fusion=fusion, **options).eval()
    with torch.no_grad():  # large enough that everything matters
        for parameter in model.fusion.parameters():
            parameter.mul_(2 if parameter.dim() > 1 else 1)
    return model


@pytest.mark.parametrize("fusion", FUSIONS)
def test_longer_questions_beside_it_do_not_change_an_answer(fusion, asked):
    model, images = made(fusion), asked.dev.images[:3]
    questions = ["how many 3s?", "which digit is at the top left?", "which digit is the largest?"]
    together = model.answer(images, questions).probabilities
    for index, question in enumerate(questions):
        alone = model.answer(images[index : index + 1], [question]).probabilities[0]
        np.testing.assert_allclose(alone, together[index], atol=1e-5)


def test_words_look_at_patches(asked):
    model = made()
    maps = model.attend(asked.dev.images[0], "how many 3s?")
    assert maps.target == ["how", "many", "3", "s"]
    assert maps.source[:2] == ["0,0", "0,1"] and maps.source[-1] == "6,6"
    assert maps.weights.shape == maps.contributions.shape == (2, 4, 4, 49)
    torch.testing.assert_close(maps.weights.sum(-1), torch.ones(2, 4, 4))
    assert maps.neutral is None


def test_a_fader_moves_the_answer_and_its_head(asked):
    model, image = made(), asked.dev.images[0]
    settings = model.settings()
    settings.scale[0, 1] = 0
    maps = model.attend(image, "how many 3s?", settings)
    assert not maps.contributions[0, 1].any() and maps.contributions[0, 0].any()
    torch.testing.assert_close(maps.weights[0], maps.neutral.weights[0])
    assert (maps.weights[1] - maps.neutral.weights[1]).abs().max() > 1e-5  # a later layer
    neutral, moved = (
        model.answer(image[None], ["how many 3s?"], given).probabilities
        for given in (model.settings(), settings)
    )
    np.testing.assert_allclose(
        neutral, model.answer(image[None], ["how many 3s?"]).probabilities, atol=1e-6
    )
    assert np.abs(neutral - moved).max() > 1e-3
    with pytest.raises(SettingsError):
        model.answer(image[None], ["how many 3s?"], type(settings)(3, 4))


@pytest.mark.parametrize("fusion, unused", [("question", "image"), ("image", "question")])
def test_one_modality_alone_does_not_use_the_other(fusion, unused, asked):
    model = made(fusion)

    def answer(images, questions):
        return model.answer(images, questions).probabilities.argmax(-1)

    use = modality_use(answer, asked.dev.images, asked.dev.questions, asked.dev.labels)
    rows = use.table.set_index("replaced")
    assert rows.changed[unused] == 0 and rows.delta[unused] == 0


@pytest.fixture(scope="module")
def trained(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answerer")
    options = {"steps": 60, "batch_size": 32, "learning_rate": 3e-3, "modality_dropout": 0.2}
    return train_answerer(asked, tiny_body(SIDE, classes=10), folder, **options), folder


def test_training_lowers_the_loss_and_measures_each_kind(trained):
    model, _ = trained
    rows = model.history.rows
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert {"dev_accuracy", "dev_loss", "dev_position", "dev_count"} <= rows[0].keys()


def test_a_saved_answerer_answers_alike(trained, asked, tmp_path):
    model, folder = trained
    given = asked.test.images, asked.test.questions
    for path in (folder, model.save(tmp_path / "one.safetensors")):
        loaded = load_answerer(path)
        assert loaded.options == model.options
        np.testing.assert_array_equal(
            loaded.answer(*given).probabilities, model.answer(*given).probabilities
        )


def test_a_frozen_body_stays_as_it_was(asked):
    body = tiny_body(SIDE, classes=10)
    before = body.embedding.linear.weight.clone()
    for freeze in (True, False):
        model = train_answerer(asked, body, freeze=freeze, steps=3)
        assert torch.equal(model.body.embedding.linear.weight, before) == freeze
    assert torch.equal(body.embedding.linear.weight, before)  # a copy is trained


def test_what_cannot_be_asked_is_refused(asked):
    model, images = made(), asked.dev.images[:1]
    with pytest.raises(DataError, match="does not know the word 'cat'"):
        model.answer(images, ["is there a cat?"])
    with pytest.raises(DataError, match="has no words"):
        model.answer(images, ["?"])
    with pytest.raises(DataError, match="1 pictures and 2 questions"):
        model.answer(images, ["how many 3s?"] * 2)
    with pytest.raises(DataError, match="list of questions"):
        model.answer(images, "how many 3s?")
    with pytest.raises(ModelError, match="cross-attention"):
        made("late").attend(images[0], "how many 3s?")
    with pytest.raises(ModelError, match="Did you mean 'cross-attention'"):
        made("cross-atention")
    with pytest.raises(ModelError, match="no attention"):
        made("image").settings()


def test_windows_that_are_read_alike_are_told_apart(asked):
    torch.manual_seed(1)
    model = Answerer(Windows(tiny_body(SIDE // 2, classes=10, patch=7)), scenes.ANSWERS).eval()
    with torch.no_grad():  # as large as training may make them
        model.places.mul_(50)
    image = asked.dev.images[:1]
    swapped = np.roll(image, SIDE // 2, axis=2)  # its left half is on the right now
    question = ["which digit is at the top left?"]
    before, after = (model.answer(one, question).probabilities for one in (image, swapped))
    assert np.abs(before - after).max() > 1e-3


def test_the_body_may_learn_faster_than_what_is_above_it(asked):
    body = tiny_body(SIDE, classes=10)
    options = {"steps": 4, "batch_size": 32, "seed": 0}
    slow, plain = (
        train_answerer(asked, body, head_lr_multiplier=rate, **options) for rate in (1e-6, 1.0)
    )
    torch.manual_seed(0)
    start = Answerer(body, asked.train.label_names)

    def moved(model, name):
        return (model.state_dict()[name].cpu() - start.state_dict()[name]).abs().max()

    for name in ("words.tokens.weight", "fusion.output.weight"):
        assert moved(slow, name) < 1e-3 * moved(plain, name)
    name = "body.layers.0.feed_forward.0.weight"
    assert moved(slow, name) > 0.1 * moved(plain, name)


def test_answerers_that_come_with_attnlab_are_loaded_by_name():
    assert "scenes" in al.vision.answerers()
    model = al.vision.load_answerer("scenes")
    data = al.datasets.scenes.ask(al.datasets.load("mnist-5k").dev, 200)
    answers = model.answer(data.images, data.questions).labels
    right = [
        answer == data.label_names[label]
        for answer, label in zip(answers, data.labels, strict=True)
    ]
    assert sum(right) / len(right) > 0.6
    with pytest.raises(ModelError, match="Did you mean 'scenes'"):
        al.vision.load_answerer("scene")
