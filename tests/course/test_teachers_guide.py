"""What the guide for teachers says of lessons, exercises and checks is what their sources say."""

import re
from pathlib import Path

import pytest

from attnlab.course import notebooks
from attnlab.course.checks import EXERCISES
from attnlab.course.checks.capstone.report import KEYS

GUIDE = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text()
SOURCES = {path.stem[:2]: path.read_text() for path in notebooks.sources(notebooks.folder())}
EXERCISE = re.compile(r'^# %% exercise="(\w+)" points=(\d+)', re.M)
TIME = re.compile(r"^# Time: about two hours|^# Time: (?:about )?(\d+) minutes", re.M)
SUMS = re.compile(r"^\*\*\d\d .*\*\*: (\d+) exercises, (\d+) points, (\d+) minutes", re.M)
EFFORT = re.compile(r"\*Difficulty (\d) of 5, (\d+) minutes")


def exercises(lesson):
    """Name, points, minutes and difficulty of each exercise of a lesson, as its source says."""
    flowing = SOURCES[lesson].replace("\n# ", " ")
    efforts = EFFORT.findall(flowing)
    marked = EXERCISE.findall(SOURCES[lesson])
    assert len(efforts) == len(marked)
    return [
        (name, int(points), int(minutes), int(difficulty))
        for (name, points), (difficulty, minutes) in zip(marked, efforts, strict=True)
    ]


def minutes(lesson):
    """How long a lesson takes, as it says itself."""
    said = re.search(
        r"^# Time: about two hours|^# Time: (?:about )?(\d+) minutes", SOURCES[lesson], re.M
    )
    return int(said[1] or 120)


@pytest.mark.parametrize("lesson", SOURCES)
def test_the_plan_has_the_minutes_and_points_of_the_lessons(lesson):
    row = re.search(rf"^\| +\d+ \| {lesson} \| (\d+) \| (\d+) \| (\d+) \|", GUIDE, re.M)
    found = exercises(lesson)
    wanted = minutes(lesson), sum(e[2] for e in found), sum(e[1] for e in found)
    assert tuple(map(int, row.groups())) == wanted


def test_the_plan_has_twelve_weeks():
    weeks = re.findall(r"^\| +(\d+) \| \d\d \|", GUIDE, re.M)
    assert list(dict.fromkeys(map(int, weeks))) == list(range(1, 13))


def test_the_tables_list_all_exercises_as_the_sources_do():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d) \|", GUIDE, re.M)
    listed = [(name, *map(int, numbers)) for name, *numbers in rows]
    assert listed == [entry for lesson in SOURCES for entry in exercises(lesson)]
    sums = re.findall(
        r"^\*\*\d\d .*\*\*: (\d+) exercises, (\d+) points, (\d+) minutes", GUIDE, re.M
    )
    wanted = [exercises(lesson) for lesson in SOURCES if exercises(lesson)]
    assert [tuple(map(int, entry)) for entry in sums] == [
        (len(found), sum(e[1] for e in found), sum(e[2] for e in found)) for found in wanted
    ]


def quotes():
    rows = re.findall(r"^\| `(\w+)` \| \d+ \| \d+ \| \d \| (.*) \|$", GUIDE, re.M)
    return [(name, quote) for name, text in rows for quote in text.split(" · ") if quote.strip()]


@pytest.mark.parametrize(("name", "quote"), quotes())
def test_a_common_mistake_is_quoted_as_the_check_says_it(name, quote):
    known = [" ".join(mistake.diagnosis.split()) for mistake in EXERCISES[name].mistakes]
    assert any(quote.replace("\\|", "|") in diagnosis for diagnosis in known), known


def test_all_but_court_cases_have_a_common_mistake():
    quoted = {name for name, _ in quotes()}
    assert {name for name in EXERCISES if not name.startswith("trial_")} == quoted


def test_presets_name_exercises_of_their_lesson():
    lines = re.findall(r"^attnlab assignment (\d\d) --out ../course(.*)$", GUIDE, re.M)
    assert len(lines) >= 5
    for lesson, options in lines:
        known = {name for name, *_ in exercises(lesson)}
        chosen = re.search(r"--only ([\w,]+)", options)
        assert not chosen or set(chosen[1].split(",")) <= known
        assert set(re.findall(r"--points (\w+)=", options)) <= known


def test_the_rubric_has_every_part_of_the_report():
    rubric = GUIDE.split("## A rubric for the capstone")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \| .* \| .* \| (\d) \|$", rubric, re.M)
    assert sum(int(points) for _, points in rows) == 20
    assert sorted(re.findall(r"`(\w+)`", " ".join(parts for parts, _ in rows))) == sorted(KEYS)


def test_all_commands_find_the_course_where_the_first_one_makes_it():
    told = GUIDE.split("## Hand out assignments and grade them")[1]
    made = re.search(r"^attnlab assignment 01 --out (\S+)$", told, re.M)[1]
    named = re.findall(
        r"^attnlab (?:grade|similar|scores) (\S+)|^attnlab assignment .*--out (\S+)|"
        r"sqlite:///(\S+)/gradebook",
        told,
        re.M,
    )
    assert len(named) > 8
    assert {next(filter(None, names)) for names in named} == {made}
