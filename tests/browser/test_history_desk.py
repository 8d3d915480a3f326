"""The history desk in a real JupyterLab: items out and in, reasons, keys."""

import pytest
from jupyter_page import drawn_anew, everyone_can_read, opened_on_cells

MADE = """import numpy as np, torch
import attnlab as al
from attnlab.applications import Recommender
torch.manual_seed(0)
films = al.datasets.load_histories("films")
model = al.LanguageModel(len(films.items) + 1, 16, 2, 1, positions="learned", max_length=20)
recommender = Recommender(model.eval(), films.items, 20)"""
DESK = """desk = al.HistoryDesk(recommender, films)
desk"""
ROOT = ".jp-OutputArea .attnlab-history"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-state='shown']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, start):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown^='{start}']")


def test_an_item_is_taken_out_by_key_and_put_back(notebook, desk):
    box = desk.locator(".past input").nth(2)
    box.focus()
    notebook.page.keyboard.press(" ")
    shown(notebook, "0 2 0 ")
    assert desk.locator(".past .event.out").count() == 1
    assert desk.locator(".past input").nth(2).evaluate("e => e === e.getRootNode().activeElement")
    assert notebook.run_cell(2, "print(desk.settings['out'])").strip() == "[2]"
    desk.locator("[data-action=undo]").click()
    shown(notebook, "0 all 0 ")
    assert desk.locator(".past .event.out").count() == 0


def test_a_film_is_put_in_by_a_part_of_its_name(notebook, desk):
    name = notebook.run_cell(2, "print(films.items[100])").strip()
    box = desk.locator("input[type=text]")
    box.fill(name[:-2])
    assert desk.locator("datalist option").count() >= 1
    box.fill(name)
    shown(notebook, "0 all 1 ")
    assert desk.locator(".event.added .item").text_content() == name
    desk.locator("[data-action=remove]").click()
    shown(notebook, "0 all 0 ")


def test_a_recommended_item_shows_what_it_rests_on(notebook, desk):
    chosen = desk.locator(".listed [aria-checked=true]")
    chosen.focus()
    notebook.page.keyboard.press("ArrowDown")
    second = desk.locator(".listed button").nth(1)
    name = second.get_attribute("data-item")
    notebook.page.wait_for_function(
        "([root, name]) => document.querySelector(root).dataset.shown.endsWith(name)",
        arg=[ROOT, name],
    )
    assert second.get_attribute("aria-checked") == "true"
    assert f"“{name}”" in desk.locator(".remark").text_content()
    before = desk.locator(".past .number").all_text_contents()
    desk.get_by_label("What the bars show").select_option("attention")
    assert desk.locator(".past .number").all_text_contents() != before


def test_the_list_can_be_reached_by_key_when_the_choice_has_left_it(notebook, desk):
    notebook.run_cell(
        2,
        "seen = {one['item'] for one in desk.report['list'] + desk.report['past']}\n"
        "desk.set(choice=next(name for name in films.items if name not in seen))",
    )
    notebook.page.wait_for_function(
        "root => !document.querySelector(root).dataset.shown.endsWith('first')", arg=ROOT
    )
    assert desk.locator(".listed [aria-checked=true]").count() == 0
    assert desk.locator(".listed button[tabindex='0']").count() == 1


def test_another_person(notebook, desk):
    desk.locator("[data-action=next]").click()
    shown(notebook, "1 all 0 ")
    assert "person 2 of 671" in desk.text_content()
    desk.locator("[data-action=reset]").click()
    shown(notebook, "0 all 0 ")


def test_everyone_can_read_it(notebook, desk):
    everyone_can_read(notebook.page, desk, "history", height=620, width=1000)
