"""Scores arrive in the columns by which Moodle and Canvas know students and grades."""

import csv

import pandas as pd
import pytest
from course_commands import run

from attnlab.course.grading.platforms import platform_scores, write_platform_scores
from attnlab.course.grading.scores import COLUMNS, write_scores
from attnlab.errors import AttnlabError

ROWS = [
    ("ann@x.edu", "01_attention_maths", "softmax", 2, 2, ""),
    ("ann@x.edu", "01_attention_maths", "entropy", 0.5, 1, "=wrong"),
    ("ben@x.edu", "01_attention_maths", "softmax", 0, 2, "not submitted"),
    ("ben@x.edu", "01_attention_maths", "entropy", 0, 1, "not submitted"),
    ("ann@x.edu", "02_attention_from_scratch", "attention", 0, 2, "The scores are not scaled."),
    ("ben@x.edu", "02_attention_from_scratch", "attention", 2, 2, ""),
]
MOODLE = (
    "First name,Last name,ID number,Email address,Course total\n"
    "Ann,Smith,0012,ann@x.edu,-\nBen,Li,0013,Ben@x.edu,-\nAnn,Smith,0014,ann2@x.edu,-\n"
)
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Old work (77)\n"
    "    Points Possible,,,,,10\n"
    '"Smith, Ann",501,u12,ann@x.edu,S1,3\n"Li, Ben",502,u13,ben@x.edu,S1,\n'
)


@pytest.fixture
def course(tmp_path):
    write_scores(tmp_path, pd.DataFrame(ROWS, columns=list(COLUMNS)))
    return tmp_path


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_moodle_gets_an_identifier_and_a_column_for_each_lesson(course):
    table, left_out = platform_scores(course, "moodle")
    assert read(write_platform_scores(course / "out.csv", table)) == [
        ["Email address", "01_attention_maths", "02_attention_from_scratch"],
        ["ann@x.edu", "2.5", "0"],
        ["ben@x.edu", "", "2"],  # nothing handed in is no grade
    ]
    assert left_out == []


def test_canvas_gets_its_columns_in_order_and_what_each_is_worth(course):
    table, _ = platform_scores(course, "canvas", by_exercise=True, zeros=True)
    rows = read(write_platform_scores(course / "out.csv", table))
    assert rows[0][:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert rows[0][5:] == ["01 softmax", "01 entropy", "02 attention"]
    assert rows[1] == ["    Points Possible", "", "", "", "", "2", "1", "2"]
    assert rows[2] == ["ann@x.edu", "", "", "ann@x.edu", "", "2", "0.5", "0"]
    assert rows[3][5:] == ["0", "0", "2"]


def renamed(course, **names):
    rows = [(names.get(row[0][:3], row[0]), *row[1:]) for row in ROWS]
    write_scores(course, pd.DataFrame(rows, columns=list(COLUMNS)))


def test_a_roster_finds_folders_by_number_address_or_full_name(course):
    (course / "moodle.csv").write_text("\ufeff" + MOODLE, encoding="utf-8")
    (course / "canvas.csv").write_text(CANVAS)
    renamed(course, ann="0012", ben="ben  LI")
    table, left_out = platform_scores(course, "moodle", roster=course / "moodle.csv")
    assert list(table["Email address"]) == ["ann@x.edu", "Ben@x.edu"]  # Moodle minds the case
    assert left_out == []
    renamed(course, ann="Ann Smith", ben="u13")
    table, left_out = platform_scores(course, "canvas", roster=course / "canvas.csv")
    assert table.iloc[1:, :5].values.tolist() == [
        ["Smith, Ann", "501", "u12", "ann@x.edu", "S1"],
        ["Li, Ben", "502", "u13", "ben@x.edu", "S1"],
    ]


def test_two_of_one_name_and_strangers_are_left_out_and_named(course):
    (course / "moodle.csv").write_text(MOODLE)
    renamed(course, ann="Ann Smith", ben="ben@x.edu")
    table, left_out = platform_scores(course, "moodle", roster=course / "moodle.csv")
    assert left_out == ["Ann Smith"]  # there are two
    assert list(table["Email address"]) == ["Ben@x.edu"]
    renamed(course, ann="eve", ben="fay")
    with pytest.raises(AttnlabError, match="None of the 2 students was found: eve, fay"):
        platform_scores(course, "moodle", roster=course / "moodle.csv")


def test_no_cell_is_a_formula(course):
    (course / "canvas.csv").write_text(CANVAS.replace('"Li, Ben"', "=1+1"))
    renamed(course, ann="=cmd", ben="ben@x.edu")
    for roster in (None, course / "canvas.csv"):
        table, left_out = platform_scores(course, "canvas", roster=roster)
        assert left_out == ["=cmd"]
        rows = read(write_platform_scores(course / "out.csv", table))
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_what_cannot_be_used_is_named_with_the_cure(course, tmp_path_factory):
    with pytest.raises(AttnlabError, match="Grade first: attnlab grade"):
        platform_scores(tmp_path_factory.mktemp("empty"), "moodle")
    (course / "roster.csv").write_text("Vorname,Nachname\nAnn,Smith\n")
    with pytest.raises(AttnlabError, match=r"Vorname, Nachname\. Export the gradebook in English"):
        platform_scores(course, "moodle", roster=course / "roster.csv")
    with pytest.raises(AttnlabError, match=r"no\.csv cannot be read"):
        platform_scores(course, "moodle", roster=course / "no.csv")


def test_the_command_writes_beside_the_scores(course, capsys):
    run("scores", course, "--lms", "canvas")
    assert "Points Possible" in (course / "scores_canvas.csv").read_text()
    assert "scores_canvas.csv" in capsys.readouterr().out.replace("\n", "")
