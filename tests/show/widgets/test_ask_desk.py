"""The ask desk without a browser: what it draws and says of a picture and a question."""

import json

import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.datasets import scenes
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError
from attnlab.show.widgets.ask_report import (
    EXAMPLES,
    OTHERS,
    covered,
    most_focused,
    to_faders,
)


@pytest.fixture(scope="module")
def answerer():
    return al.vision.load_answerer("scenes")


@pytest.fixture(scope="module")
def data():
    return scenes.ask(al.datasets.load("mnist-5k").dev, 40, seed=1)


@pytest.fixture
def desk(answerer, data):
    made = al.AskDesk(answerer, data)
    yield made
    made.close()


def test_it_opens_with_a_question_its_answer_and_the_most_telling_head(desk, answerer, data):
    report = desk.report
    json.dumps(report, allow_nan=False)
    assert report["settings"]["question"] == data.questions[0]
    answers = answerer.answer(data.images[:1], data.questions[:1])
    assert report["said"] == answers.labels[0]
    assert report["answers"][0]["share"] == pytest.approx(answers.probabilities.max(), abs=1e-4)
    assert report["truth"] == data.label_names[data.labels[0]]
    maps = answerer.attend(data.images[0], data.questions[0])
    place = most_focused(maps, data.images[0])
    assert report["settings"] | place == report["settings"]
    side = round(maps.weights.shape[-1] ** 0.5)
    size = len(data.images[0]) // side
    drawn = data.images[0].reshape(side, size, side, size).max((1, 3)).ravel() > 64
    assert 0 < drawn.sum() < len(drawn), "some patches are empty"
    weights = maps.weights[..., drawn]
    assert weights[place["layer"], place["head"], place["word"]].max() == weights.max()


def test_weights_are_those_of_the_heads_looked_at_times_their_scale(desk, answerer, data):
    weights = answerer.attend(data.images[0], data.questions[0]).weights
    desk.set(layer=None, head=None)
    np.testing.assert_allclose(desk.report["weights"], weights.mean((0, 1)), atol=6e-4)
    desk.set(layer=1, head=2)
    np.testing.assert_allclose(desk.report["weights"], weights[1, 2], atol=6e-4)
    looked = weights[1, 2, desk.report["settings"]["word"]]
    side = round(len(looked) ** 0.5)
    row, column = divmod(int(looked.argmax()), side)
    assert row != column, "else the test could not tell them apart"
    assert f"row {row + 1} of {side}, column {column + 1} of {side}" in desk.report["alt"]
    silent = answerer.settings()
    silent.scale[1, 2] = 0
    desk.head_settings = silent
    assert np.abs(desk.report["weights"]).max() == 0
    assert "looks nowhere" in desk.report["alt"]


def test_a_cover_is_black_and_the_answer_is_to_the_covered_picture(desk, answerer, data):
    desk.set(question="which digit is the largest?", covers=[[0, 0, 56, 28], [0, 28, 56, 28]])
    black = np.zeros_like(data.images[:1])
    chances = answerer.answer(black, ["which digit is the largest?"]).probabilities[0]
    assert desk.report["said"] == answerer.answers[int(chances.argmax())]
    plain = answerer.answer(data.images[:1], ["which digit is the largest?"]).probabilities[0]
    for shown in desk.report["answers"]:
        index = answerer.answers.index(shown["name"])
        assert shown["share"] == pytest.approx(chances[index], abs=1e-4)
        assert shown["before"] == pytest.approx(plain[index], abs=1e-4)
    image = covered(data.images[0], [[3, 4, 5, 6]])
    assert image[4:10, 3:8].max() == 0
    image[4:10, 3:8] = data.images[0][4:10, 3:8]
    assert (image == data.images[0]).all()


def test_faders_change_the_answer_as_the_same_settings_do(desk, answerer, data):
    settings = answerer.settings()
    settings.scale[:] = 0
    desk.head_settings = settings
    chances = answerer.answer(data.images[:1], data.questions[:1], settings).probabilities[0]
    assert desk.report["answers"][0]["share"] == pytest.approx(chances.max(), abs=1e-4)
    assert (desk.head_settings.scale == 0).all()
    assert "Before" in desk.report["remark"] or "same as before" in desk.report["remark"]


def test_temperatures_change_answer_and_map_as_the_same_settings_do(desk, answerer, data):
    settings = answerer.settings()
    settings.temperature[:] = 8
    settings.scale[0, 1] = 0.5
    desk.head_settings = settings
    desk.set(layer=1, head=2)
    chances = answerer.answer(data.images[:1], data.questions[:1], settings).probabilities[0]
    assert desk.report["answers"][0]["share"] == pytest.approx(chances.max(), abs=1e-4)
    maps = answerer.attend(data.images[0], data.questions[0], settings)
    np.testing.assert_allclose(desk.report["weights"], maps.weights[1, 2], atol=6e-4)
    assert desk.head_settings == settings
    desk.reset()
    assert desk.head_settings.is_neutral()


@pytest.mark.parametrize("which", ["image", "question", "both"])
def test_what_is_taken_away_is_replaced_by_that_of_others(desk, answerer, data, which, monkeypatch):
    asked = []
    answer = answerer.answer

    def spy(images, questions, settings=None):
        asked.append((np.asarray(images), list(questions)))
        return answer(images, questions, settings)

    monkeypatch.setattr(answerer, "answer", spy)
    desk.set(covers=[[0, 0, 9, 9]], replaced=which)
    images, questions = next(given for given in asked if len(given[1]) > 1)
    assert len(images) == len(questions) == OTHERS
    own = covered(data.images[0], [[0, 0, 9, 9]])
    same_picture = [np.array_equal(image, own) for image in images]
    same_question = [question == data.questions[0] for question in questions]
    assert any(same_picture) == all(same_picture) == (which == "question")
    assert any(same_question) == all(same_question) == (which == "image")
    assert not any(np.array_equal(image, data.images[0]) for image in images)
    chances = answer(images, questions).probabilities
    assert desk.report["answers"][0]["share"] == pytest.approx(chances.mean(0).max(), abs=1e-4)
    kept = answer(own[None], data.questions[:1]).probabilities[0].argmax()
    stays = int((chances.argmax(1) == kept).sum())
    assert f"in {stays} of {OTHERS}." in desk.report["remark"]


def test_a_model_that_cannot_see_shows_no_sign_of_the_picture(data):
    blind = al.vision.load_answerer("scenes")
    with torch.no_grad():
        for layer in blind.fusion.layers:
            layer.cross_attention.output.weight.zero_()
    desk = al.AskDesk(blind, data)
    desk.set(replaced="image")
    assert f"in {OTHERS} of {OTHERS}. No sign that the picture counts" in desk.report["remark"]
    desk.set(replaced="question")
    assert "The question counts here" in desk.report["remark"]
    desk.close()


def test_a_single_scene_has_none_to_take_the_place_of_its_own(answerer, data):
    desk = al.AskDesk(answerer, data.select([3]))
    with pytest.raises(SettingsError, match="No other scene has another picture"):
        desk.set(replaced="image")
    assert desk.settings["replaced"] is None
    desk.close()


def test_the_right_answer_is_always_among_those_shown(desk, data):
    for index in range(20):
        desk.set(index=index, question=data.questions[index], covers=[[0, 0, 56, 56]])
        truth = data.label_names[data.labels[index]]
        assert [shown["name"] for shown in desk.report["answers"] if shown["right"]] == [truth]


def test_what_is_typed_wrongly_is_told_and_nothing_is_lost(desk):
    before = desk.report
    desk.settings = desk.settings | {"question": "what is love?"}
    assert "is no question that can be answered here. Ask, for example" in desk.error
    assert desk.report == before
    desk.settings = desk.settings | {"question": "is there a 7"}
    assert desk.error == ""
    assert desk.report["words"] == ["is", "there", "a", "7"]
    desk.settings = desk.settings | {"question": ""}
    assert "The question is empty" in desk.error


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"index": 40}, "index is 40; it is a whole number from 0 to 39"),
        ({"word": -1}, "word is -1"),
        ({"layer": 2}, "layer is 2"),
        ({"head": 1.5}, "head is 1.5"),
        ({"covers": [[0, 0, 0, 5]]}, "does not lie in the picture"),
        ({"covers": [[50, 0, 10, 5]]}, "picture of 56 x 56"),
        ({"covers": ["all"]}, "x, y, width and height"),
        ({"faders": [[1.0]]}, "scale has shape"),
        ({"faders": "loud"}, "cannot be read"),
        ({"temperatures": [[0.0] * 4] * 2}, "temperature"),
        ({"replaced": "sound"}, "Choose one of: image, question, both"),
    ],
)
def test_settings_that_cannot_be_are_refused(desk, change, told):
    with pytest.raises(AttnlabError, match=told):
        desk.set(**change)


def test_other_models_and_data_are_refused(answerer, data):
    with pytest.raises(DataError, match="no pictures with questions"):
        al.AskDesk(answerer, al.datasets.load("mnist-5k").dev)
    with pytest.raises(SettingsError, match="index is 40"):
        al.AskDesk(answerer, data, index=40)
    body = al.vision.VisionTransformer(56, 8, 32, 4, 1, 10, pool="mean")
    pooled = al.vision.Answerer(body, answerer.answers, fusion="concatenation")
    with pytest.raises(ModelError, match="no cross-attention"):
        al.AskDesk(pooled, data)
    with pytest.raises(SettingsError, match="one setting, not 2"):
        to_faders(al.HeadSettings.stack([answerer.settings()] * 2))


def test_its_code_brings_it_back_and_its_picture_says_what_it_shows(desk, data, answerer):
    desk.set(question="how many 3s?", covers=[[0, 0, 10, 10]], layer=0, head=1)
    other = al.AskDesk(answerer, data)
    exec(desk.code, {"desk": other})
    assert other.report == desk.report
    assert "how many 3s?" in desk.picture().alt
    assert desk.report["remark"] in desk.picture().alt
    other.close()


def test_every_example_can_be_asked(desk):
    for example in EXAMPLES:
        desk.set(question=example)
        assert desk.report["words"] == scenes.words(example)


def test_a_body_with_a_class_token_shows_patches_only(data):
    torch.manual_seed(0)
    body = al.vision.VisionTransformer(56, 8, 32, 4, 1, 10, pool="cls")
    desk = al.AskDesk(al.vision.Answerer(body, scenes.ANSWERS), data)
    assert np.shape(desk.report["weights"])[1] == 49
    desk.close()
