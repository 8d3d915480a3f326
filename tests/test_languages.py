"""The words a learner sees, in the language that is asked for, and English where it has none."""

import ast
from pathlib import Path

import pytest

from attnlab import languages
from attnlab.languages import current, known, named, speaking, tr, words_of_scripts

CHINESE = "zh_CN"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in ("ATTNLAB_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    languages.use(None)
    yield
    languages.use(None)


def test_english_is_spoken_unless_another_language_is_asked_for(monkeypatch):
    assert current() == "en" and tr("not tried") == "not tried" and words_of_scripts() == {}
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert current() == "en", "the system's settings count only where that is asked for"


@pytest.mark.parametrize("asked", ["zh", "zh_CN", "zh-cn", "zh_CN.UTF-8", "ZH"])
def test_the_environment_chooses_a_language(monkeypatch, asked):
    monkeypatch.setenv("ATTNLAB_LANG", asked)
    assert current() == CHINESE
    assert tr("not tried") != "not tried"


def test_auto_takes_the_first_language_of_the_system_that_there_is(monkeypatch):
    monkeypatch.setenv("ATTNLAB_LANG", "auto")
    assert current() == "en"
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.setenv("LANGUAGE", "xx:zh_CN:en")
    assert current() == CHINESE


def test_a_language_there_is_not_is_english(monkeypatch):
    monkeypatch.setenv("ATTNLAB_LANG", "tlh")
    assert current() == "en" and named("tlh") is None


def test_a_text_without_translation_stays_english_and_is_filled_in():
    with speaking(CHINESE):
        assert tr("nobody has translated {this}") == "nobody has translated {this}"
        assert tr("nobody has translated {this:.1f}", this=2) == "nobody has translated 2.0"


def test_speaking_ends_with_its_block():
    with speaking(CHINESE):
        with speaking("en"):
            assert current() == "en"
        assert current() == CHINESE
    assert current() == "en"


def test_a_language_calls_itself_by_its_own_name():
    assert known() == {"en": "English", CHINESE: "简体中文"}


def test_a_text_that_is_chosen_or_joined_inside_tr_would_be_missing_from_the_catalogues():
    package = Path(languages.__file__).parent
    package = package if package.name == "attnlab" else package.parent
    calls = [
        (path.name, call)
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "tr"
    ]
    built = (ast.IfExp, ast.BinOp, ast.BoolOp, ast.JoinedStr)
    assert len(calls) > 100
    assert [
        f"{name}:{call.lineno}" for name, call in calls if isinstance(call.args[0], built)
    ] == []
