"""The patch desk without a browser: what is drawn, what is said, and what is refused."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import NAMES, answered, images, tiny_image_classifier

import attnlab as al
from attnlab import heads
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.show.widgets.patch_desk import MOST_PATCHES
from attnlab.show.widgets.patch_report import MOST_ANSWERS, chance, look_at, patch_report
from attnlab.show.wording import strict_percent
from attnlab.vision.looking import attention_rollout, cover_patches, occlusion, rank_agreement

START = {
    "model": 0,
    "index": 0,
    "layer": 2,
    "head": None,
    "patch": None,
    "covered": [],
    "cover": "mean",
    "answer": None,
}


@pytest.fixture(scope="module")
def clf():
    return tiny_image_classifier()


@pytest.fixture(scope="module")
def small():
    """The same labels, from patches of 2 x 2 pixels, fewer layers and fewer heads."""
    return tiny_image_classifier(patch_size=2, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def data(clf):
    return answered(clf)


@pytest.fixture
def desk(clf, small, data):
    return al.PatchDesk([clf, small], data)


def report_of(clf, image, truth=0, **changes):
    settings = START | changes
    given = {name: settings[name] for name in ("covered", "cover", "answer")}
    return patch_report(look_at(clf, image, truth, **given), settings)


def found(report, kind):
    return next(drawn for drawn in report["maps"] if drawn["kind"] == kind)


def numbers(text):
    return [float(one) for one in re.findall(r"\d+\.\d+", text)]


# ── the numbers ────────────────────────────────────────────────────────────────────────────────


def test_the_three_maps_are_attention_rollout_and_occlusion_of_this_picture(clf):
    image = images(1)[0]
    report = report_of(clf, image, layer=1, head=3)
    weights = clf.attend(image).weights
    attention = weights[1, 3, 0, 1:].reshape(2, 3)
    rollout = attention_rollout(weights)[0, 1:].reshape(2, 3)
    drop = occlusion(clf, image).drop
    for kind, expected in (("attention", attention), ("rollout", rollout), ("occlusion", drop)):
        assert np.array(found(report, kind)["values"]) == pytest.approx(
            np.asarray(expected), abs=6e-5
        )
    assert report["agreement"] == [
        pytest.approx(rank_agreement(attention.numpy(), drop), abs=6e-4),
        pytest.approx(rank_agreement(rollout.numpy(), drop), abs=6e-4),
    ]
    assert report["tokens"] == ["[CLS]", "0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    np.testing.assert_allclose(report["weights"], weights[1, 3], rtol=0, atol=6e-5)


def test_occlusion_is_centred_at_0_and_the_others_begin_there(clf):
    report = report_of(clf, images(1)[0])
    assert [drawn["signed"] for drawn in report["maps"]] == [False, False, True]
    for drawn in report["maps"]:
        values = np.array(drawn["values"])
        assert np.abs(values).max() <= drawn["high"] + 1e-4
        assert drawn["low"] == (-drawn["high"] if drawn["signed"] else 0)


def test_the_mean_is_over_the_heads_that_are_there(data):
    pruned = heads.prune(tiny_image_classifier(), [(2, 1), *[(1, head) for head in range(4)]])
    image = data.images[0]
    weights = pruned.attend(image).weights
    report = report_of(pruned, image)
    mean = weights[2, [0, 2, 3]].mean(0)
    np.testing.assert_allclose(report["weights"], mean, rtol=0, atol=6e-5)
    gone = report_of(pruned, image, layer=1)
    assert not np.any(gone["weights"])
    assert gone["agreement"][0] is None
    assert found(gone, "attention")["agreement"] == "ρ –"
    assert "no ranks to compare" in gone["remark"]


def test_the_picture_is_shown_with_what_is_covered(clf):
    image = images(1)[0]
    report = report_of(clf, image, covered=[[0, 1], [1, 2]], cover="white")
    data = base64.b64decode(report["image"].removeprefix("data:image/png;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(
        shown, cover_patches(image, [(0, 1), (1, 2)], (4, 4), cover="white")
    )
    colour = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    report = report_of(tiny_image_classifier(num_channels=3), colour)
    data = base64.b64decode(report["image"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), colour)


def test_covering_by_hand_changes_the_answers_and_they_say_where_they_were(clf):
    image = images(1)[0]
    covered = [[0, 0], [1, 1]]
    report = report_of(clf, image, truth=1, covered=covered, cover="black")
    whole = clf.predict([image]).probabilities[0]
    by_hand = image.copy()
    by_hand[:4, :4] = by_hand[4:, 4:8] = 0
    now = clf.predict([by_hand]).probabilities[0]
    assert [answer["whole"] for answer in report["answers"]] == pytest.approx(whole, abs=2e-5)
    assert [answer["now"] for answer in report["answers"]] == pytest.approx(now, abs=2e-5)
    assert [answer["name"] for answer in report["answers"]] == NAMES
    assert [answer["true"] for answer in report["answers"]] == [False, True, False]
    assert report["truth"] == NAMES[1]
    values = np.array(found(report, "occlusion")["values"])
    assert values[0, 0] == values[1, 1] == 0, "they are covered already"
    assert report["remark"].startswith("With 2 patches covered")


def test_attention_does_not_know_which_answer_is_asked_about_and_occlusion_does(clf):
    image = images(1)[0]
    own, other = (report_of(clf, image, answer=answer) for answer in (None, 1))
    asked = [[answer["asked"] for answer in report["answers"]] for report in (own, other)]
    assert asked[1] == [False, True, False]
    assert asked[0] == [label == occlusion(clf, image).label for label in range(3)]
    if asked[0] == asked[1]:
        other = report_of(clf, image, answer=2)
    for kind in ("attention", "rollout"):
        assert found(own, kind)["values"] == found(other, kind)["values"]
    assert found(own, "occlusion")["values"] != found(other, "occlusion")["values"]


def test_of_many_labels_the_likeliest_are_shown_and_the_true_one_always(data):
    names = [f"label {at}" for at in range(30)]
    many = tiny_image_classifier_of(names)
    image = data.images[0]
    chances = many.predict([image]).probabilities[0]
    truth = int(chances.argmin())
    report = report_of(many, image, truth=truth)
    shown = [answer["label"] for answer in report["answers"]]
    assert len(shown) == MOST_ANSWERS
    assert shown == sorted(shown)
    assert set(shown) == {truth, *np.argsort(-chances)[: MOST_ANSWERS - 1].tolist()}


def tiny_image_classifier_of(names):
    from tiny_images import tiny_vit

    from attnlab.vision import ImageClassifier

    labels = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    return ImageClassifier(tiny_vit(**labels), names)


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def test_each_token_says_where_it_looks_and_each_patch_what_the_maps_say_of_it(clf):
    image = images(1)[0]
    report = report_of(clf, image, layer=0, head=1)
    weights = clf.attend(image).weights[0, 1]
    best = int(weights[4, 1:].argmax())
    words = report["looks"][4]
    assert words.startswith(f"Patch 1,0 looks most at {report['tokens'][1 + best]} (")
    assert numbers(words)[0] == pytest.approx(float(weights[4, 1 + best]), abs=0.005)
    assert f"[CLS] {float(weights[4, 0]):.2f}, itself {float(weights[4, 4]):.2f}" in words
    assert report["looks"][0].startswith("[CLS] looks most at")
    drop = occlusion(clf, image).drop
    needed = int(drop.argmax())
    assert report["counts"][needed].endswith("(rank 1).")
    assert f"[CLS] gives it {float(weights[0, 1 + needed]):.2f} " in report["counts"][needed]


def test_the_remark_names_the_patch_that_the_answer_needs_most(clf):
    image = images(1)[0]
    found = occlusion(clf, image)
    row, column = np.unravel_index(found.drop.argmax(), found.drop.shape)
    assert found.drop.max() > 0.02
    remark = report_of(clf, image)["remark"]
    assert f"“{NAMES[found.label]}” needs patch {row},{column} most" in remark
    assert numbers(remark)[:2] == pytest.approx(
        [100 * found.before, 100 * found.after.min()], abs=0.06
    )


def test_where_no_patch_decides_the_remark_says_so():
    flat = tiny_image_classifier()
    with torch.no_grad():
        flat.model.classifier.weight.mul_(0)
    remark = report_of(flat, images(1)[0])["remark"]
    assert "No single patch decides" in remark
    assert "no ranks to compare" in remark


def test_agreement_is_called_so_only_beyond_what_chance_does(clf):
    generator = np.random.default_rng(0)
    pairs = generator.normal(size=(2000, 2, 16))
    by_chance = [abs(rank_agreement(first, second)) for first, second in pairs]
    assert np.mean(np.array(by_chance) > chance(16)) == pytest.approx(0.05, abs=0.015)
    assert chance(4) is None
    report = report_of(clf, images(1)[0])
    beyond = [abs(rho) > chance(6) for rho in report["agreement"]]
    words = {
        (True, True): "both beyond chance",
        (True, False): "only attention beyond",
        (False, True): "only rollout beyond",
        (False, False): "neither beyond chance",
    }
    assert words[tuple(beyond)] in report["remark"]
    coarse = tiny_image_classifier(image_size=(8, 8), patch_size=4)
    assert (
        "With 4 patches a rank agreement says nothing"
        in report_of(coarse, images(1, (8, 8))[0])["remark"]
    )


def test_no_probability_is_written_as_nothing_or_all_where_it_is_not():
    assert strict_percent(0.99996) == "> 99.9\u00a0%"
    assert strict_percent(1.0) == "100.0\u00a0%"
    assert strict_percent(0.9994) == "99.9\u00a0%"
    assert strict_percent(0.0004) == "< 0.1\u00a0%"


def test_the_desk_never_claims_that_attention_is_what_the_answer_rests_on(desk):
    told = " ".join([desk.report["remark"], desk.report["alt"], *desk.report["looks"]])
    assert not re.search(r"attention (shows|explains|is why)|because it looks", told)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_desk_shows_the_last_layer_from_which_the_answer_is_read(desk, clf, data):
    assert desk.settings == START
    assert desk.report == report_of(clf, data.images[0], data.labels[0])
    assert desk.error == ""
    assert [model["name"] for model in desk.models] == [
        "4 pixels (2 × 3 patches)",
        "2 pixels (4 × 6 patches)",
    ]
    assert desk.pictures == len(data)
    chosen = al.PatchDesk(clf, data, index=3, layer=0, head=2)
    assert chosen.settings == START | {"index": 3, "layer": 0, "head": 2}


def test_models_of_one_patch_size_are_told_apart(clf, data):
    desk = al.PatchDesk([clf, tiny_image_classifier()], data)
    assert len({model["name"] for model in desk.models}) == 2


def test_a_moved_control_redraws_everything(desk, clf, data):
    desk.settings = {**desk.settings, "layer": 0, "patch": [1, 2]}  # as the view sends it
    assert desk.report == report_of(clf, data.images[0], data.labels[0], layer=0, patch=[1, 2])
    desk.set(covered=[[0, 0]], cover="black", answer=1)
    assert desk.report["settings"] == START | {
        "layer": 0,
        "patch": [1, 2],
        "covered": [[0, 0]],
        "cover": "black",
        "answer": 1,
    }


def test_another_picture_begins_with_no_patch_covered_and_with_the_models_own_answer(desk):
    desk.set(covered=[[0, 0]], answer=1, patch=[1, 1])
    desk.set(index=4)
    assert desk.settings == START | {"index": 4, "patch": [1, 1]}
    desk.set(index=5, covered=[[1, 0]])
    assert desk.settings["covered"] == [[1, 0]]


def test_another_model_keeps_what_it_has_too(desk):
    desk.set(layer=2, head=3, patch=[1, 2], covered=[[0, 0]])
    desk.set(model=1)
    assert desk.settings == START | {"model": 1, "layer": 1}
    assert desk.report["grid"] == [4, 6]
    desk.set(layer=0, head=1)
    desk.set(model=0)
    assert desk.settings == START | {"layer": 0, "head": 1}


def test_models_may_number_their_labels_differently(data, clf):
    other = tiny_image_classifier_of(NAMES[::-1])
    desk = al.PatchDesk([clf, other], data)
    truth = data.label_names[data.labels[0]]
    assert desk.report["truth"] == truth
    desk.set(model=1)
    assert desk.report["truth"] == truth
    assert [answer["name"] for answer in desk.report["answers"]] == NAMES[::-1]


def test_the_next_mistake_is_the_next_picture_that_the_model_gets_wrong(desk, clf, data):
    answers = clf.predict(data.images).labels
    wrong = [at for at, label in enumerate(data.labels) if answers[at] != NAMES[label]]
    assert len(wrong) > 3
    desk.set(index=wrong[-2])
    desk._obey({"action": "mistake"})
    assert desk.settings["index"] == wrong[-1]
    desk._obey({"action": "mistake"})
    assert desk.settings["index"] == wrong[0], "after the last comes the first"
    right = data.select([at for at in range(len(data)) if at not in wrong])
    perfect = al.PatchDesk(clf, right)
    perfect._on_message(perfect, {"action": "mistake"}, [])
    assert "all 51 pictures right" in perfect.error


def test_going_back_asks_the_model_nothing(desk, clf, monkeypatch):
    desk.set(index=1)
    desk.set(layer=0)
    monkeypatch.setattr(type(clf), "logits", None)  # whoever asks fails
    monkeypatch.setattr(type(clf), "attend", None)
    for changes in ({"index": 0}, {"index": 1}, {"head": 2}, {"patch": [0, 1]}):
        desk.set(**changes)
    assert desk.settings["patch"] == [0, 1]


def test_what_goes_wrong_is_shown_at_the_desk_and_then_forgotten(desk):
    before = desk.report
    desk.settings = {**desk.settings, "layer": 9}
    assert "layer is 9" in desk.error
    assert "Reset" in desk.error
    assert desk.report == before
    desk.reset()
    assert desk.error == ""


def test_the_settings_as_code_bring_another_desk_to_the_same_place(desk, clf, small, data):
    other = al.PatchDesk([clf, small], data)
    desk.set(model=1, index=2, head=1, patch=[3, 5], covered=[[0, 0]], answer=2)
    exec(desk.code, {"desk": other})
    assert other.settings == desk.settings != other.start
    assert other.report == desk.report


def test_the_picture_of_the_desk_says_what_it_shows(desk):
    for changes in ({}, {"patch": [1, 1], "covered": [[0, 2]]}, {"model": 1, "head": 1}):
        desk.set(**changes)
        picture = desk.picture()
        assert picture.alt == desk.report["alt"]
        panels = [panel for panel in picture.figure.axes if len(panel.images) == 2]
        assert len(panels) == 4
        for panel, drawn in zip(panels[1:], desk.report["maps"], strict=True):
            np.testing.assert_array_equal(panel.images[1].get_array(), drawn["values"])
    desk.set(model=0, patch=[1, 1])
    drawn = desk.picture().figure.axes[0].images[1].get_array()
    np.testing.assert_array_equal(drawn, np.array(desk.report["weights"])[5, 1:].reshape(2, 3))


# ── what is refused ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"model": 2}, "model is 2; it is a whole number from 0 to 1"),
        ({"index": 60}, "index is 60; it is a whole number from 0 to 59"),
        ({"index": True}, "index is True"),
        ({"layer": 3}, "layer is 3; it is a whole number from 0 to 2"),
        ({"layer": None}, "layer is None"),
        ({"head": 4}, "head is 4; it is a whole number from 0 to 3, or None for the mean"),
        ({"head": "mean"}, "head is 'mean'"),
        ({"patch": [2, 0]}, "patch is [2, 0]; it is [row, column], from [0, 0] to [1, 2]"),
        ({"patch": 3}, "patch is 3"),
        ({"covered": [[0, 3]]}, "A covered patch is [0, 3]"),
        ({"covered": 1}, "covered is 1; it is a list of patches"),
        ({"covered": [0, 1]}, "A covered patch is 0"),
        ({"cover": "grey"}, "no cover 'grey'"),
        ({"cover": None}, "no cover None"),
        ({"answer": 3}, "answer is 3; it is the index of a label, from 0 to 2"),
        ({"colour": 1}, "it needs exactly model, index"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_nothing_moves(desk, bad, words):
    before = desk.settings
    with pytest.raises(SettingsError, match=re.escape(words)):
        desk.set(**bad)
    assert desk.settings == before


def test_anything_but_image_classifiers_and_pictures_is_refused(clf, data):
    with pytest.raises(SettingsError, match=r"given a str; .*load_image_classifier"):
        al.PatchDesk("mnist-5k", data)
    with pytest.raises(SettingsError, match="given no model"):
        al.PatchDesk([], data)
    with pytest.raises(SettingsError, match="given a int"):
        al.PatchDesk([clf, 3], data)
    with pytest.raises(SettingsError, match=r"given a ndarray; it needs an ImageDataset"):
        al.PatchDesk(clf, data.images)
    with pytest.raises(SettingsError, match="given no pictures"):
        al.PatchDesk(clf, data.select([]))


def test_pictures_and_labels_that_a_model_does_not_know_are_refused(clf, data):
    large = answered(tiny_image_classifier(image_size=(12, 12)))
    with pytest.raises(DataError, match="12 x 12"):
        al.PatchDesk(clf, large)
    strange = al.ImageDataset(data.images, data.labels, ["a", "b", "c"], "strange")
    with pytest.raises(AttnlabError):
        al.PatchDesk(clf, strange)
    with pytest.raises(SettingsError, match="index is 60"):
        al.PatchDesk(clf, data, index=60)


def test_too_many_patches_to_point_at_are_refused_with_another_way(data):
    fine = tiny_image_classifier(image_size=(21, 20), patch_size=1)
    assert fine.grid[0] * fine.grid[1] > MOST_PATCHES
    with pytest.raises(AttnlabError, match=r"420 patches.*400 at most.*image_maps"):
        al.PatchDesk(fine, data)


def test_labels_with_markup_stay_text(clf):
    for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert markup not in al.PatchDesk._esm
