"""What an answer used is found by ablation, for models of which it is known."""

import numpy as np
import pytest

from attnlab.errors import DataError
from attnlab.vision.modality import modality_use

N = 400
GENERATOR = np.random.default_rng(0)
SHADES = GENERATOR.integers(0, 4, N)
IMAGES = np.repeat(SHADES[:, None], 6, 1) * 10 + GENERATOR.integers(0, 9, (N, 6))
QUESTIONS = [f"add {number}" for number in GENERATOR.integers(0, 3, N)]
ANSWERS = SHADES + np.array([int(question[-1]) for question in QUESTIONS])


def by_image(images, questions):
    return np.asarray(images)[:, 0] // 10


def by_question(images, questions):
    return np.array([int(question[-1]) for question in questions])


def by_both(images, questions):
    return by_image(images, questions) + by_question(images, questions)


def table(answer, **options):
    found = modality_use(answer, IMAGES, QUESTIONS, ANSWERS, **options)
    return found.table.set_index(["kind", "replaced"]), found


def test_a_model_of_the_picture_alone_does_not_change_with_the_question():
    rows, found = table(by_image)
    assert rows.changed["all", "question"] == 0 and not found.changed["question"].any()
    assert rows.delta["all", "question"] == 0
    assert rows.changed["all", "image"] > 0.5
    assert rows.changed["all", "both"] > 0.5


def test_a_model_of_the_question_alone_does_not_change_with_the_picture():
    rows, _ = table(by_question)
    assert rows.changed["all", "image"] == 0
    assert rows.changed["all", "question"] == 1  # the question drawn is always another one


def test_a_model_of_both_loses_by_either():
    rows, _ = table(by_both)
    assert rows.accuracy["all", "image"] == 1
    for replaced in ("image", "question"):
        row = rows.loc["all", replaced]
        assert row.ci_high < 0 and row.ci_low <= row.delta <= row.ci_high
        assert row.replaced_accuracy == pytest.approx(row.accuracy + row.delta)
    assert rows.replaced_accuracy["all", "question"] == 0  # another number to add: never right


def test_each_kind_of_question_has_its_rows():
    kinds = ["zero" if question == "add 0" else "more" for question in QUESTIONS]

    def sometimes_blind(images, questions):
        added = by_question(images, questions)
        return np.where(added == 0, 0, added + by_image(images, questions))

    rows, _ = table(sometimes_blind, kinds=kinds)
    assert rows.changed["zero", "image"] == 0 and rows.changed["more", "image"] > 0.5
    assert rows.n["zero", "image"] + rows.n["more", "image"] == rows.n["all", "image"] == N


def test_the_interval_of_the_change_is_that_of_pairs():
    """It covers the truth about as often as it says, and narrows with the number of examples."""
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        images, questions = np.arange(150), [str(number) for number in range(150)]
        answers = (rng.random(150) < 0.3).astype(int)  # a third needs the picture

        def answer(shown, asked, answers=answers):
            kept = np.asarray(shown) == [int(question) for question in asked]
            return np.where(kept, answers, 0)

        row = modality_use(answer, images, questions, answers, seed=trial, draws=2).table.iloc[0]
        covered += row.ci_low <= -0.3 <= row.ci_high
    assert 50 <= covered <= 60


def test_a_seed_gives_the_same_table():
    first, second = (table(by_both, seed=3)[0] for _ in range(2))
    assert first.equals(second)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"questions": QUESTIONS[:-1]}, "as many of each"),
        ({"kinds": ["one"]}, "as many of each"),
        ({"images": np.zeros((N, 6))}, "All pictures are alike"),
        ({"questions": ["what?"] * N}, "All questions are alike"),
        ({"draws": 0}, "at least 1 draw"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, words):
    given = {"images": IMAGES, "questions": QUESTIONS, "answers": ANSWERS} | change
    with pytest.raises(DataError, match=words):
        modality_use(by_both, **given)
