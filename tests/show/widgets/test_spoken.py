"""Desks in the learner's language, without a browser."""

import re

import pytest

from attnlab import languages
from attnlab.show.widgets.softmax_desk import SoftmaxDesk

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def nothing_chosen():
    yield
    languages.use(None)


def test_a_desk_says_everything_in_the_language_of_the_environment(monkeypatch):
    monkeypatch.setenv("ATTNLAB_LANG", "zh_CN")
    desk = SoftmaxDesk()
    assert desk.language == "zh_CN"
    assert HAN.search(desk.words["Scores"])
    said = [desk.report["remark"], *desk.report["alt"].values()]
    said += [meter["label"] for meter in desk.report["meters"]]
    assert all(HAN.search(text) for text in said)
    desk.settings = {**desk.settings, "keys": 1}
    assert desk.error.endswith("或者按“重置”。")


def test_an_english_desk_sends_no_words_but_offers_other_languages():
    desk = SoftmaxDesk()
    assert (desk.language, desk.words) == ("en", {})
    assert desk.languages == languages.known()


def test_a_choice_in_the_menu_holds_for_this_desk_at_once_and_for_what_comes():
    desk = SoftmaxDesk(temperature=2)
    english = desk.report
    desk.set_state({"language": "zh_CN"})
    assert HAN.search(desk.report["remark"]) and HAN.search(desk.words["Scores"])
    assert SoftmaxDesk().language == "zh_CN"
    desk.set_state({"language": "en"})
    assert desk.report == english and desk.words == {}


def test_a_picture_speaks_english_as_fonts_of_figures_lack_other_signs(monkeypatch):
    english = SoftmaxDesk().picture().alt
    monkeypatch.setenv("ATTNLAB_LANG", "zh_CN")
    assert SoftmaxDesk().picture().alt == english
