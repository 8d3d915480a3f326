"""The translation desk in a real JupyterLab: the stepper, the map, the faders, and exact match."""

import json

import pytest
from jupyter_page import ASKED_FOR, everyone_can_read, opened_on_cells

# An untrained model whose cross-attention is loud says much and learns nothing; the data are its
# own answers, so that every text is right until a head is silenced. The seed is the first whose
# answers have a middling length.
DATA = """import torch
import attnlab as al
from attnlab.translation import Translator
texts = [f"{d}.{m}.{y}" for y in (1987, 2021) for m in range(1, 13) for d in (1, 9, 14, 28)]
words = al.transformer.Subwords.train(texts, 40)
def made(seed):
    torch.manual_seed(seed)
    model = al.transformer.Seq2SeqTransformer(
        len(words), len(words), d_model=32, heads=4, encoder_layers=3, decoder_layers=2,
        feed_forward=64)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "cross" in name and one.dim() == 2:
                one *= 6
    return Translator(model, words, words)
for seed in range(100):
    translator = made(seed)
    said = translator.translate(texts)
    silent = translator.settings()
    silent.cross.scale[1, 2] = 0
    other = translator.translate(texts, settings=silent)
    moved = [text for text, a, b in zip(texts, said, other) if a != b and 5 <= len(a) <= 14]
    if moved:
        break
data = al.datasets.ParallelDataset(texts, said, "its own answers")"""
DESK = """desk = al.TranslationDesk(translator, data, moved[0], n=60)
desk"""
ROOT = ".jp-OutputArea .attnlab-translation"
# where the parts stand: nothing may move while somebody works the desk
PLACES = """root => [...root.querySelectorAll(
    '.stepper, .fed, .read, .looks, .align-map, .bars, .words, .faders, .score')].map(one => {
  const box = one.getBoundingClientRect(), from = root.getBoundingClientRect();
  const place = [one.className, box.x - from.x, box.y - from.y, box.width];
  if (one.className !== 'bars') place.push(box.height); // there may be a sixth
  return place.map(part => typeof part === 'number' ? Math.round(part) : part); })"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook with a translator; each test draws its desk in the second cell."""
    with opened_on_cells(browser, lab, [DATA, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    """A fresh desk, once exact match is measured."""
    notebook.complaints.clear()
    assert "Error" not in notebook.run_cell(1)
    root = notebook.page.locator(ROOT).first
    measured(notebook.page)
    yield root
    assert notebook.complaints == []


def measured(page):
    page.wait_for_selector(f"{ROOT} .score[data-state='measured']")


def at_step(page, step):
    page.wait_for_selector(f"{ROOT}[data-step='{step}']")


def score(root):
    return int(root.locator(".score-head b").text_content().split()[0])


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def test_the_stepper_moves_by_keyboard_buttons_and_the_map_and_all_follows(notebook, desk):
    page = notebook.page
    report = of_python(notebook, "desk.report")
    last = len(report["steps"]) - 1
    assert last >= 4
    slider = page.get_by_label("Output position", exact=True)
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    at_step(page, 2)
    page.get_by_label("Next position").click()
    at_step(page, 3)
    page.get_by_label("Previous position").press("Enter")
    at_step(page, 2)
    frame = desk.locator(".align-map .frame")
    assert frame.get_attribute("data-step") == "2"
    row = desk.locator(".align-map rect[data-row='2']").first
    assert row.get_attribute("y") == frame.get_attribute("y")
    assert desk.locator(".bars > div").count() in (5, 6)
    chosen = desk.locator(".bars .chosen [role=rowheader]")
    assert chosen.text_content() == report["target"][2]
    assert desk.locator(".fed .now").text_content() == report["target"][2]
    assert desk.locator(".fed .past").all_text_contents() == ["[start]", *report["target"][:2]]
    assert desk.locator(".words").text_content() == report["steps"][2]["words"]
    shades = desk.locator(".read span").evaluate_all(
        "all => all.map(one => Number(one.style.getPropertyValue('--share')))"
    )
    wanted = [0.6 * min(1, one / report["limit"]) for one in report["weights"][2]]
    assert shades == pytest.approx(wanted, abs=1e-3)

    desk.locator(".align-map text[data-row='1']").click()
    at_step(page, 1)
    slider.press("End")
    at_step(page, last)
    assert page.get_by_label("Next position").is_disabled()
    assert slider.get_attribute("aria-valuetext") == f"{last} of 0–{last}"
    page.wait_for_function("() => true")
    assert of_python(notebook, "desk.settings['step']") == last
    assert not page.locator("[data-action=undo]").is_enabled(), "looking is no change"


def test_the_menus_choose_whose_attention_is_shown(notebook, desk):
    page = notebook.page
    page.get_by_label("Head of the cross-attention").select_option("2")
    page.wait_for_selector(f"{ROOT}[data-shown='1 2']")
    assert "layer 1, head 2" in desk.locator(".align-map svg").get_attribute("aria-label")
    page.get_by_label("Layer of the cross-attention").select_option("all")
    page.wait_for_selector(f"{ROOT}[data-shown='all all']")
    assert "mean over all heads" in desk.locator(".align-map svg").get_attribute("aria-label")


def test_a_fader_changes_the_translation_and_exact_match_and_undo_takes_it_back(notebook, desk):
    page = notebook.page
    said = desk.locator(".said").text_content()
    assert score(desk) == 100
    before = desk.evaluate(PLACES)
    fader = page.get_by_label("cross layer 1 head 2", exact=True)
    fader.focus()
    fader.press("0")
    page.wait_for_function(
        "said => document.querySelector('.attnlab-translation .said').textContent !== said",
        arg=said,
    )
    page.wait_for_function(
        "() => document.querySelector('.attnlab-translation .score b').textContent !== '100 %'"
    )
    measured(page)
    low = score(desk)
    assert low < 100
    assert "lost" in desk.locator(".score-words").text_content()
    assert fader.get_attribute("aria-valuetext") == "0"
    assert of_python(notebook, "desk.head_settings.changed()") == [["cross", 1, 2]]
    assert of_python(notebook, "desk.code").endswith("settings.cross.scale[1, 2] = 0")
    assert desk.evaluate(PLACES) == before, "something jumped"

    page.locator("[data-action=undo]").click()
    page.wait_for_function(
        "said => document.querySelector('.attnlab-translation .said').textContent === said",
        arg=said,
    )
    page.wait_for_function(
        "() => document.querySelector('.attnlab-translation .score b').textContent === '100 %'"
    )
    assert of_python(notebook, "desk.head_settings.changed()") == []


def test_a_double_click_silences_a_head_and_another_brings_it_back(notebook, desk):
    page = notebook.page
    fader = page.get_by_label("encoder layer 2 head 1", exact=True)
    fader.dblclick()
    page.wait_for_function(
        "one => one.getAttribute('aria-valuetext') === '0'", arg=fader.element_handle()
    )
    measured(page)
    assert of_python(notebook, "desk.head_settings.changed()") == [["encoder", 2, 1]]
    page.wait_for_timeout(600)  # or it would be a click of the same series
    fader.dblclick()
    page.wait_for_function(
        "one => one.getAttribute('aria-valuetext') === '1'", arg=fader.element_handle()
    )
    measured(page)
    assert of_python(notebook, "desk.head_settings.changed()") == []


def test_dragging_a_fader_moves_nothing_else_and_ends_with_its_last_value(notebook, desk):
    page = notebook.page
    desk.evaluate("one => one.scrollIntoView({ block: 'start' })")
    before = desk.evaluate(PLACES)
    fader = page.get_by_label("decoder layer 0 head 3", exact=True)
    box = fader.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.6, 0.75, 0.9, 1.0):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert desk.evaluate(PLACES) == before, "something jumped"
    page.mouse.up()
    assert fader.get_attribute("aria-valuetext") == "2"
    measured(page)
    assert of_python(notebook, "desk.score['faders']['decoder'][0]") == [1, 1, 1, 2]
    page.locator("[data-action=reset]").click()
    page.wait_for_function(
        "one => one.getAttribute('aria-valuetext') === '1'", arg=fader.element_handle()
    )


def test_another_text_is_translated_and_an_empty_one_is_said_to_be_empty(notebook, desk):
    page = notebook.page
    text = page.get_by_label("Text to translate")
    text.fill("14.12.1987 </script><b>")
    page.wait_for_function(
        "() => document.querySelector('.attnlab-translation .read')"
        ".textContent.includes('14.12.1987')"
    )
    wanted = of_python(notebook, "translator.translate(['14.12.1987 </script><b>'])[0]")
    assert desk.locator(".said").text_content() == wanted
    at_step(page, 0)
    text.fill("")
    page.wait_for_function(
        "() => document.querySelector('.attnlab-translation .complaint')"
        ".textContent.includes('Type one')"
    )
    text.fill("1.1.2021")
    page.wait_for_function(
        "() => document.querySelector('.attnlab-translation .complaint').textContent === ''"
    )


def test_everyone_can_read_and_work_it_in_both_themes(notebook, desk):
    page = notebook.page
    page.get_by_label("cross layer 1 head 2", exact=True).press("0")
    measured(page)
    page.get_by_label("Next position").click()
    everyone_can_read(page, desk, "translation", height=620)


def test_a_picture_with_words_stays_where_no_kernel_runs(notebook, desk):
    saved = notebook.page.evaluate(
        "() => jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.toJSON()"
        ".flatMap(output => output.data?.['text/html'] ?? []).join('')"
    )
    assert "becomes “" in saved
    assert "Heat map of cross-attention" in saved
    notebook.run_cell(2, "desk.picture()")
    notebook.show(f"img[alt*='Heat map of cross-attention']{ASKED_FOR}")


def test_bertviz_shows_all_three_kinds_of_attention(notebook, desk):
    tokens = of_python(notebook, "[len(desk.report['target']), len(desk.report['tokens'])]")
    notebook.run_cell(2, "al.translation_view(translator.attend(moved[0]))")
    frame = notebook.show("iframe[title*='Attention of a translation']")
    inside = frame.content_frame
    inside.locator("#vis line").first.wait_for(state="attached")
    counts = {}
    for part, layers in (("1", 2), ("2", 3), ("0", 2)):
        inside.locator("#part").select_option(part)
        assert inside.locator("#layer option").count() == layers
        counts[part] = inside.locator("#vis line").count()
    assert counts["0"] == 4 * tokens[0] * tokens[1]
    assert counts["1"] == 4 * tokens[0] ** 2
    assert counts["2"] == 4 * tokens[1] ** 2
    inside.locator("#layer").select_option("1")
    assert inside.locator("#vis line").count() == counts["0"]
    notebook.run_cell(2, "al.translation_view(translator.attend(moved[0]), 'model')")
    frame = notebook.show("iframe[title*='Attention of a translation']")
    inside = frame.content_frame
    inside.locator("#vis line").first.wait_for(state="attached")
    assert inside.locator("#vis line").count() == 2 * counts["0"]
