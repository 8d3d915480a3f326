"""Scenes: the boxes lie along the ink, the answers are true, and neither side gives them away."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab as al
from attnlab.datasets import Splits, scenes
from attnlab.errors import DataError

NAMES = list("0123456789")
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = (
    "top left",
    "top right",
    "bottom left",
    "bottom right",
)


def toy(part=0):
    """Ten squares instead of digits: their brightness says which digit, and of which part."""
    images = np.zeros((10, 24, 24), np.uint8)
    for digit in range(10):
        images[digit, 3:19, 4:20] = 100 + 15 * digit + part
    return al.ImageDataset(images, list(range(10)), NAMES, "toy")


def toy_splits():
    return Splits(toy(0), toy(1), toy(2))


def read(image):
    """What is in each quarter of a scene of squares, from its pixels: digit, part, side."""
    half = len(image) // 2
    for name, rows, columns in (
        (TOP_LEFT, slice(half), slice(half)),
        (TOP_RIGHT, slice(half), slice(half, None)),
        (BOTTOM_LEFT, slice(half, None), slice(half)),
        (BOTTOM_RIGHT, slice(half, None), slice(half, None)),
    ):
        quarter = image[rows, columns].astype(int)
        if quarter.max():
            digit, part = divmod(quarter.max() - 100, 15)
            yield name, digit, part, round((quarter > 0).sum() ** 0.5)


def answered(question, image):
    """The answer to a question, from the pixels of a scene of squares."""
    seen = list(read(image))
    if place := re.fullmatch(r"which digit is at the (.+)\?", question):
        (answer,) = (digit for name, digit, _, _ in seen if name == place[1])
        return str(answer)
    if question == "which digit is the largest?":
        sides = sorted((side, digit) for _, digit, _, side in seen)
        assert sides[-1][0] > 1.2 * sides[-2][0]
        return str(sides[-1][1])
    asked = re.fullmatch(r"is there an? (\d)\?|how many (\d)s\?", question)
    count = sum(digit == int(asked[1] or asked[2]) for _, digit, _, _ in seen)
    return ("yes" if count else "no") if asked[1] else str(count)


@pytest.fixture(scope="module", params=["pairs", "places"])
def hold_out(request):
    return request.param


@pytest.fixture(scope="module")
def asked(hold_out):
    """Four thousand questions about squares."""
    return scenes.ask(toy(), 4000, hold_out=hold_out)


@pytest.fixture(scope="module")
def held_out(hold_out):
    return scenes.ask(toy(), 2000, hold_out=hold_out, held_out=True)


# ── what and where ─────────────────────────────────────────────────────────────────────────────


def test_a_box_lies_along_the_ink_and_the_label_says_what_is_in_it():
    digits = al.datasets.load("mnist-5k").dev
    data = scenes.place(digits, 60, clutter=0)
    assert data.images.shape == (60, 56, 56)
    for image, (x, y, width, height) in zip(data.images, data.boxes.astype(int), strict=True):
        rows, columns = (np.flatnonzero(image.max(axis)) for axis in (1, 0))
        found = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert np.abs(np.subtract(found, (x, y, x + width, y + height))).max() <= 1
        assert 16 <= max(width, height) <= 32
    assert len({tuple(box) for box in data.boxes.tolist()}) > 50
    squares = scenes.place(toy(), 40, 40, clutter=0, sides=(5, 9))
    for image, label in zip(squares.images, squares.labels, strict=True):
        assert image.max() == 100 + 15 * label
    assert {*squares.labels} == {*range(10)}


def test_clutter_is_bits_of_other_digits_and_the_digit_stays_whole():
    plain = np.zeros((1, 20, 20), np.uint8)
    plain[0, 2:18, 2:18] = 200
    data = scenes.place(al.ImageDataset(plain, [0], ["square"], "toy"), 50, 80, clutter=3)
    for image, (x, y, width, height) in zip(data.images, data.boxes.astype(int), strict=True):
        assert (image[y : y + height, x : x + width] == 200).all()
        outside = (image > 0).sum() - width * height
        assert 0 <= outside <= 3 * 8 * 8
    bare = scenes.place(al.ImageDataset(plain, [0], ["square"], "toy"), 50, 80, clutter=0)
    assert data.images.mean() > bare.images.mean()


def test_several_digits_do_not_overlap():
    data = scenes.several(toy(), 200, most=5, clutter=0)
    assert {len(labels) for labels in data.labels} == {1, 2, 3, 4, 5}
    for image, labels, boxes in zip(data.images, data.labels, data.boxes, strict=True):
        covered = np.zeros(image.shape, int)
        for label, (x, y, width, height) in zip(labels, boxes.astype(int), strict=True):
            part = np.s_[y : y + height, x : x + width]
            covered[part] += 1
            assert (image[part] == 100 + 15 * label).all()
        assert covered.max() == 1
        assert ((image > 0) == (covered > 0)).all()


def test_where_there_is_no_room_there_are_fewer():
    data = scenes.several(toy(), 30, 20, most=9, clutter=0, sides=(12, 20))
    assert {len(labels) for labels in data.labels} == {1}


@pytest.mark.parametrize("make", [scenes.canvas, scenes.questions])
def test_each_part_is_drawn_from_its_own_digits_and_a_seed(make):
    sizes = {"train": 30, "dev": 20, "test": 10}
    splits = make(toy_splits(), clutter=2, **sizes)
    assert {part: len(getattr(splits, part)) for part in sizes} == sizes
    for number, part in enumerate(sizes):
        brightness = {*getattr(splits, part).images.max((1, 2)).tolist()}
        assert {(value - 100) % 15 for value in brightness} == {number}
    again, other = (
        make(toy_splits(), clutter=2, **sizes),
        make(toy_splits(), clutter=2, seed=1, **sizes),
    )
    assert (splits.train.images == again.train.images).all()
    assert splits.test.labels == again.test.labels
    assert (splits.train.images != other.train.images).any()
    assert (splits.train.images[:10] != splits.test.images).any()


# ── questions ──────────────────────────────────────────────────────────────────────────────────


def test_answers_are_true_as_the_pixels_say(asked, held_out):
    for data in (asked, held_out):
        for question, label, image in zip(data.questions, data.labels, data.images, strict=True):
            assert answered(question, image) == data.label_names[label]


def test_boxes_of_a_scene_lie_along_its_digits(asked):
    for image, labels, boxes in zip(
        asked.images[:200], asked.scenes.labels, asked.scenes.boxes, strict=False
    ):
        seen = {(name, digit) for name, digit, _, _ in read(image)}
        assert len(seen) == len(labels) in (3, 4)
        for label, (x, y, width, height) in zip(labels, boxes.astype(int), strict=True):
            assert (image[y : y + height, x : x + width] == 100 + 15 * label).all()
        assert (image > 0).sum() == sum(boxes[:, 2] * boxes[:, 3])


def shares(values):
    return {value: count / len(values) for value, count in Counter(values).items()}


def test_the_question_does_not_tell_the_answer(asked):
    answers = {kind: [] for kind in scenes.KINDS}
    for kind, label in zip(asked.kinds, asked.labels, strict=True):
        answers[kind].append(scenes.ANSWERS[label])
    assert max(shares(asked.kinds).values()) < 0.28
    assert shares(answers["presence"])["yes"] == pytest.approx(0.5, abs=0.05)
    for count in "0123":
        assert shares(answers["count"])[count] == pytest.approx(0.25, abs=0.05)
    assert max(shares(answers["size"]).values()) < 0.15
    for place in scenes.POSITIONS:
        question = scenes.Question("position", place).text
        found = [
            label
            for label, text in zip(asked.labels, asked.questions, strict=True)
            if text == question
        ]
        assert max(shares(found).values()) < 0.22  # seven or eight digits may stand there


def test_the_picture_does_not_tell_the_question(asked):
    """Where one kind had other pictures, "how many" could be answered without being asked."""
    repeats = {kind: [] for kind in scenes.KINDS}
    numbers = {kind: [] for kind in scenes.KINDS}
    for kind, labels in zip(asked.kinds, asked.scenes.labels, strict=True):
        repeats[kind].append(max(Counter(labels).values()))
        numbers[kind].append(len(labels))
    for kind in scenes.KINDS:
        for count in (1, 2, 3):
            assert shares(repeats[kind])[count] == pytest.approx(1 / 3, abs=0.05)
        assert np.mean(numbers[kind]) == pytest.approx(3 + 2 / 3, abs=0.06)


def kept_out_places(seen):
    """Digits at positions where training never has them: those of seen."""
    kept_out = {
        *((TOP_LEFT, digit) for digit in (0, 4, 8)),
        *((TOP_RIGHT, digit) for digit in (1, 5, 9)),
        *((BOTTOM_LEFT, digit) for digit in (2, 6)),
        *((BOTTOM_RIGHT, digit) for digit in (3, 7)),
    }
    assert kept_out == scenes.HELD_OUT_PLACES
    return {digit for name, digit, _, _ in seen if (name, digit) in kept_out}


def kept_out_pairs(seen):
    """Digits that training never has in one picture: those of seen."""
    assert {
        frozenset(pair) for pair in ((0, 5), (1, 6), (2, 7), (3, 8), (4, 9))
    } == scenes.HELD_OUT_PAIRS
    digits = {digit for _, digit, _, _ in seen}
    return {digit for digit in digits if (digit + 5) % 10 in digits}


def test_what_is_held_out_never_stands_in_training_and_decides_the_answer_there(
    asked, held_out, hold_out
):
    kept_out = {"pairs": kept_out_pairs, "places": kept_out_places}[hold_out]
    assert not any(kept_out(read(image)) for image in asked.images)
    shown = {(name, digit) for image in asked.images for name, digit, _, _ in read(image)}
    everywhere = {(name, digit) for name in scenes.POSITIONS for digit in range(10)}
    assert shown == everywhere - (scenes.HELD_OUT_PLACES if hold_out == "places" else set())
    for kind, label, question, image in zip(
        held_out.kinds, held_out.labels, held_out.questions, held_out.images, strict=True
    ):
        there = kept_out(read(image))
        answer = scenes.ANSWERS[label]
        assert there
        if kind in ("position", "size"):
            assert int(answer) in there
        elif answer not in ("no", "0"):
            asked_for = int(re.search(r"\d", question)[0])
            assert asked_for in there
            if kind == "presence":  # or it could be seen where training has it
                assert [digit for _, digit, _, _ in read(image)].count(asked_for) == 1
    counts = [
        scenes.ANSWERS[label]
        for label, kind in zip(held_out.labels, held_out.kinds, strict=True)
        if kind == "count"
    ]
    assert max(shares(counts).values()) < 0.32


@settings(max_examples=25, deadline=None)
@given(
    st.integers(28, 90), st.sampled_from(["pairs", "places"]), st.booleans(), st.integers(0, 1000)
)
def test_scenes_of_every_size_stay_readable(size, hold_out, held_out, seed):
    data = scenes.ask(toy(), 6, size, hold_out=hold_out, held_out=held_out, seed=seed)
    for question, label, image in zip(data.questions, data.labels, data.images, strict=True):
        assert answered(question, image) == data.label_names[label]


def test_kinds_can_be_chosen_and_rows_selected():
    data = scenes.ask(toy(), 50, kinds=["count"])
    assert {*data.kinds} == {"count"}
    part = data.select([7, 3])
    assert part.questions == [data.questions[7], data.questions[3]]
    assert (part.images == data.images[[7, 3]]).all()
    assert part.labels == [data.labels[7], data.labels[3]]
    assert part.scenes.labels == [data.scenes.labels[7], data.scenes.labels[3]]
    splits = scenes.questions(toy_splits(), train=4, dev=3, test=2, held_out=1)
    assert repr(splits) == ("QuestionSplits('toy': 4 train, 3 dev, 2 test, 1 held out)")
    assert len(splits.sample(train=2).train) == 2


# ── the grammar ────────────────────────────────────────────────────────────────────────────────


def test_every_question_is_understood_as_it_is_asked():
    assert len({question.text for question in scenes.QUESTIONS}) == 25
    for question in scenes.QUESTIONS:
        assert scenes.parse(question.text) == question
        assert {*scenes.words(question.text)} <= {*scenes.VOCABULARY}


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("  IS there a 8 ", scenes.Question("presence", "8")),
        ("Which digit is at the  Top Left ?", scenes.Question("position", TOP_LEFT)),
        ("how many 4 s", scenes.Question("count", "4")),
    ],
)
def test_ways_of_writing_do_not_matter(text, question):
    assert scenes.parse(text) == question


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("is there a 7 left of a 3?", "is no question that can be answered here"),
        ("which digit is at the top?", "Did you mean 'which digit is at the top left"),
        ("how many 12s?", "Did you mean 'how many"),
        ("", "Ask, for example"),
    ],
)
def test_other_questions_are_refused_with_the_nearest(text, words):
    with pytest.raises(DataError, match=words):
        scenes.parse(text)


def test_what_has_no_answer_is_none():
    boxes = np.array([[0, 0, 4, 6], [10, 0, 6, 3], [1, 1, 2, 2]])
    size = (20, 20)

    def answer(text):
        return scenes.answer(scenes.parse(text), [7, 3, 7], boxes, size)

    assert answer("which digit is at the top right?") == "3"
    assert answer("which digit is at the top left?") is None  # two
    assert answer("which digit is at the bottom left?") is None  # none
    assert answer("which digit is the largest?") is None  # two as large
    assert answer("how many 7s?") == "2"
    assert scenes.answer(scenes.parse("which digit is the largest?"), [], [], size) is None
    assert scenes.answer(scenes.parse("is there a 1?"), [], [], size) == "no"


# ── what cannot be drawn ───────────────────────────────────────────────────────────────────────


def black():
    return al.ImageDataset(np.zeros((10, 8, 8), np.uint8), list(range(10)), NAMES, "night")


def coloured():
    return al.ImageDataset(np.ones((10, 8, 8, 3), np.uint8), list(range(10)), NAMES, "toy")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: scenes.place(black(), 1), "Picture 0 of night has nothing brighter than 32"),
        (lambda: scenes.place(coloured(), 1), "has colours"),
        (lambda: scenes.place(toy().select([]), 1), "has none"),
        (lambda: scenes.place(toy(), -1), "n is -1. Give a whole number from 0"),
        (lambda: scenes.place(toy(), 1, clutter=0.5), "clutter is 0.5"),
        (lambda: scenes.place(toy(), 1, sides=(9, 8)), r"sides is \(9, 8\)"),
        (lambda: scenes.place(toy(), 1, 30), r"sides is \(16, 32\) and size is 30"),
        (lambda: scenes.several(toy(), 1, most=0), "most is 0. Give a whole number from 1"),
        (lambda: scenes.ask(toy(), 1, 27), "size is 27. Give a whole number from 28"),
        (lambda: scenes.ask(toy(), 1, kinds=["place"]), "kinds is .*Did you mean|Choose one"),
        (lambda: scenes.ask(toy(), 1, hold_out="pair"), "hold_out is 'pair'. Did you mean 'pairs'"),
        (lambda: scenes.ask(toy(), 1, kinds=[]), "Give some of position"),
        (lambda: scenes.ask(toy().select([1, 2]), 1), "does not show all of the ten digits"),
    ],
)
def test_what_cannot_be_drawn_is_said(make, words):
    with pytest.raises(DataError, match=words):
        make()


def test_nothing_is_drawn_where_nothing_is_wanted():
    assert len(scenes.place(toy(), 0)) == len(scenes.ask(toy(), 0)) == 0
    data = scenes.ask(toy(), 1).scenes
    with pytest.raises(DataError, match="1 pictures and 2 questions"):
        scenes.QuestionDataset(data, ["a", "b"], [0, 1], list(scenes.ANSWERS), "toy")
