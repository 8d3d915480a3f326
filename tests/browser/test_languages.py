"""A desk in Chinese in a real JupyterLab, and the menu that chooses a language."""

import json
import re

import pytest
from jupyter_page import drawn_anew, opened_on_cells

MADE = """import os
os.environ["ATTNLAB_LANG"] = "zh_CN"
import attnlab as al"""
DESK = """desk = al.SoftmaxDesk()
desk"""
ROOT = ".jp-OutputArea .attnlab-softmax"
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-stamp]"):
        yield notebook.page.locator(ROOT).first


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def test_a_desk_speaks_chinese_where_the_environment_says_so(notebook, desk):
    titles = desk.locator(".panel-head b").all_text_contents()
    assert titles[0] == "得分" and all(HAN.search(title) for title in titles)
    assert desk.locator("[data-action=reset]").text_content() == "重置"
    assert HAN.search(desk.locator(".remark").text_content())
    assert HAN.search(desk.locator("svg.scores").get_attribute("aria-label"))


def test_the_menu_changes_the_language_and_keeps_the_settings(notebook, desk):
    page = notebook.page
    desk.locator("[data-action=draw]").click()
    page.wait_for_selector(f"{ROOT}[data-stamp$=' 12']")
    desk.locator("select.language").select_option("en")
    page.wait_for_selector(f"{ROOT} [data-action=reset]:text-is('Reset')")
    page.wait_for_selector(f"{ROOT}[data-stamp$=' 12']")
    assert not HAN.search(desk.locator(".remark").text_content())
    assert of_python(notebook, "[desk.language, desk.settings['seed']]") == ["en", 12]
    desk.locator("select.language").select_option("zh_CN")
    page.wait_for_selector(f"{ROOT} [data-action=reset]:text-is('重置')")
    assert page.locator(ROOT).count() == 1
