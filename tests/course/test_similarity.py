"""Copied answers stand out however they are disguised; independent ones hardly ever do."""

import json
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from copied_answers import authors, disguised, inlined
from course_commands import run

from attnlab.course import notebooks, similarity
from attnlab.course.similarity import ALIKE, PIECES, SOLUTION, WHOLE, compare, pieces
from attnlab.errors import AttnlabError

ANSWERS = sorted(Path(__file__).parent.glob("answers_*.py"))
LESSON = "11_adaptive_attention"
GUIDE = Path(__file__).parents[2] / "docs" / "teachers.md"
CODE = """
def spread(weights):
    \"\"\"How widely.\"\"\"
    total = weights.sum(-1)
    largest = weights.max(-1)
    for step in range(3):
        total += largest * step
    return torch.exp(total) + largest
"""


def stands_out(pair):
    return pair.alike >= ALIKE and pair.shared >= PIECES


@pytest.fixture(scope="module")
def course():
    """By exercise: the cell as handed out, the course's solution, and independent authors'."""
    cells = {}
    for source in notebooks.sources(notebooks.folder()):
        cells |= similarity.holes(source)
    found = {}
    for file in ANSWERS:
        for exercise, written in authors(file).items():
            given, solved = cells[exercise]
            own = {author: pieces(code, given) for author, code in written.items()}
            found[exercise] = (given, {SOLUTION: pieces(solved, given), **own}, written)
    return found


def share_found(course, disguise):
    """How many copies there are, and how many of them stand out; then those of long answers."""
    found, of_long = [], []
    for given, class_, written in course.values():
        for author, code in written.items():
            copy = pieces(disguise(code), given)
            (pair,) = (
                pair
                for pair in compare(class_ | {"copy": copy})
                if {pair.one, pair.other} == {author, "copy"}
            )
            found.append(stands_out(pair))
            if class_[author].total() >= 30:
                of_long.append(stands_out(pair))
    return len(found), sum(found), len(of_long), sum(of_long)


def test_copies_with_other_names_comments_and_order_stand_out(course):
    number, found, of_long, found_long = share_found(course, lambda code: disguised(code, 1))
    assert number >= 200
    assert found / number > 0.8  # an answer of two lines cannot stand out
    assert found_long / of_long > 0.93
    stated = re.search(r"(\d+) of (\d+) disguised copies", GUIDE.read_text())
    assert abs(int(stated[1]) / int(stated[2]) - found / number) < 0.02


def test_copies_whose_lines_were_put_together_mostly_stand_out(course):
    number, found, _, _ = share_found(course, lambda code: inlined(disguised(code, 1)))
    assert found / number > 0.7


def test_independent_right_answers_hardly_ever_stand_out(course):
    pairs = [pair for _, class_, _ in course.values() for pair in compare(class_)]
    false = [pair for pair in pairs if stands_out(pair)]
    assert len(pairs) > 300
    assert len(false) / len(pairs) < 0.01, false
    stated = re.search(r"(\d+) of (\d+) pairs of independent answers", GUIDE.read_text())
    assert abs(int(stated[1]) / int(stated[2]) - len(false) / len(pairs)) < 0.01


def test_what_a_disguise_changes_plays_no_part():
    other = """
def scatter(w, /):  # my own
    m = w.max(dim=-1)

    s: "Tensor" = w.sum(-1)
    for i in range(3):
        s = i * m + s
    return m + s.exp()
"""
    assert pieces(other) == pieces(CODE)
    assert pieces(CODE.replace("exp", "log")) != pieces(CODE)
    assert pieces(CODE.replace("-1", "-2")) != pieces(CODE)


def test_what_the_exercise_gives_is_left_out():
    given = notebooks.with_hole(
        CODE.replace("    total", "    ### BEGIN SOLUTION\n    total", 1) + "    ### END SOLUTION\n"
    )
    assert not pieces(given, given)
    assert 0 < pieces(CODE, given).total() < pieces(CODE).total()


@pytest.mark.parametrize("code", ["def f(", "x = " + "-" * 3000 + "1", "\0", ""])
def test_code_that_cannot_be_read_has_no_pieces(code):
    assert not pieces(code)


def test_what_everybody_writes_counts_for_nothing():
    same = pieces(CODE)
    for class_ in ({}, {"three": same}, {"three": same, SOLUTION: same}):
        pair = compare({"one": same, "two": same, **class_})[0]
        assert pair.shared == (0 if class_ else same.total())


def named(exercise, code):
    """An answer under the name that the exercise asks for."""
    return re.sub(r"def \w+", f"def {exercise}", code, count=1)


def submission(*answers):
    """A notebook of the lesson with these exercises answered."""
    book = nbformat.read(notebooks.folder() / f"{LESSON}.ipynb", as_version=4)
    for name, code in answers:
        for cell in book.cells:
            if cell.metadata.get("attnlab", {}).get("exercise") == name:
                cell.source = code
    return book


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ann and Ben wrote two answers each; Dan has one of Ann's, and Eve none."""
    place = tmp_path_factory.mktemp("class")
    written = authors(Path(__file__).parent / "answers_adaptive_attention.py")
    exercises = ("window_attention", "drop_tokens")
    by = {
        name: {
            exercise: named(exercise, [*written[exercise].values()][number])
            for exercise in exercises
        }
        for number, name in enumerate(("ann", "ben"))
    }
    copy = disguised(by["ann"]["drop_tokens"], 5)
    by["=dan"] = {"drop_tokens": named("drop_tokens", copy)}
    by["eve"] = {}
    for name, answers in by.items():
        path = place / "submitted" / name / LESSON
        path.mkdir(parents=True)
        book = submission(*answers.items())
        if name == "=dan":  # an editor that knows no marks
            for cell in book.cells:
                cell.metadata.clear()
            book.cells[0].source = "\x1b[2J"
        (path / f"{LESSON}.ipynb").write_text(nbformat.writes(book))
    (place / "submitted" / "fay" / LESSON).mkdir(parents=True)
    (place / "submitted" / "fay" / LESSON / f"{LESSON}.ipynb").write_text(json.dumps([]))
    return place


def test_a_copied_answer_is_found_in_a_folder_of_submissions(folder):
    table = similarity.similar(folder)
    assert {frozenset(pair) for pair in zip(table.one, table.other, strict=True)} == {
        frozenset({"ann", "=dan"})
    }
    assert "drop_tokens" in set(table.exercise)
    row = table[table.exercise == "drop_tokens"].iloc[0]
    assert row.alike > 0.9
    assert row.usual < 0.5
    assert row.answers == 3
    assert set(table.exercise) <= {"drop_tokens", WHOLE}


def test_the_commands_say_look_and_print_both_answers(folder, tmp_path, capsys):
    run("similar", folder, "--lesson", "11", "--out", tmp_path / "pairs.csv")
    said = capsys.readouterr().out
    assert "Look at these" in said
    assert "drop_tokens" in said
    written = pd.read_csv(tmp_path / "pairs.csv", dtype=str)
    assert "'=dan" in {*written.one, *written.other}
    run("similar", folder, "--show", "drop_tokens", "ann", "=dan")
    said = capsys.readouterr().out
    assert "def drop" in said
    assert "my_" in said


def test_what_cannot_be_compared_is_named(folder, tmp_path):
    for place, message in ((tmp_path / "no", "no folder"), (tmp_path, "No submission of")):
        with pytest.raises(AttnlabError, match=message):
            similarity.similar(place)
    with pytest.raises(AttnlabError, match=r"'dan' has no answer to drop_tokens.*'=dan'"):
        similarity.side_by_side(folder, "drop_tokens", "ann", "dan")
    with pytest.raises(AttnlabError, match="Did you mean 'drop_tokens'"):
        similarity.side_by_side(folder, "drop_token", "ann", "=dan")
