"""Checks speak the learner's language: what held, what is wrong, and what is done."""

import os
import re
import subprocess
import sys

import pytest
import torch

from attnlab import languages
from attnlab.course import checks
from attnlab.course.said_in_python import CHECKED

HAN = re.compile(r"[\u4e00-\u9fff]")
LESSONS = [name for name in CHECKED if name in checks.LESSONS]


@pytest.fixture(autouse=True)
def chinese():
    with languages.speaking("zh_CN"):
        yield


def right(scores, temperature=1.0):
    exponentials = (scores / temperature - (scores / temperature).amax(-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda scores, temperature=1.0: scores.exp(), "它们的和不是 1"),
        (lambda scores, temperature=1.0: scores[..., 0], "权重的形状应为"),
        (lambda scores, temperature=1.0: torch.softmax(scores, -1), "现成的 softmax"),
        (lambda scores, temperature=1.0: scores + missing, "抛出了 NameError"),  # noqa: F821
        (lambda scores, temperature=1.0: None, "应当返回权重"),
        (7, "函数 softmax 本身"),
    ],
)
def test_a_failure_is_said_in_chinese(answer, words):
    with pytest.raises(checks.CheckFailed) as failed:
        checks.softmax(answer, seed=1)
    told = str(failed.value)
    assert words in told
    assert "al.checks.softmax(softmax, seed=1)" in told
    assert all(HAN.search(line) for line in told.splitlines()[1:])


def test_what_held_and_the_points_are_said_in_chinese(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLAB_PROGRESS", str(tmp_path / "progress.json"))
    checks.softmax(right)
    checks.summary("01")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("softmax: 正确，2 分")
    assert all(HAN.search(line) for line in said)


@pytest.mark.parametrize(
    "exercise",
    [one for one in checks.EXERCISES.values() if one.lesson in LESSONS],
    ids=lambda one: one.name,
)
def test_every_mistake_that_a_comparison_names_has_its_diagnosis_in_chinese(exercise):
    for mistake in exercise.mistakes:
        if mistake.compared:
            assert HAN.search(languages.tr(mistake.diagnosis)), mistake.diagnosis


def test_the_environment_alone_makes_a_check_speak_chinese():
    code = "import attnlab as al\nal.checks.softmax(lambda scores, temperature=1.0: scores)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ATTNLAB_LANG": "zh_CN", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert "用同样的数再试一次" in ended.stderr
