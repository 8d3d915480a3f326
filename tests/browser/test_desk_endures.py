"""The mixing desk under people who do everything at once: one notebook, worked without mercy."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_page import SHOTS, opened_on_cells

CELLS = [
    "import attnlab as al, asyncio, time\n"
    "clf = al.load_classifier('movie-sentiment')\n"
    "data = al.datasets.load('movie-sentiment').dev.sample(200)\n"
    "desk = al.HeadMixer(clf, data, 'A fine film.')\ndesk",
    "",
    "",
]
STATE = "(root = document) => ({ ...root.querySelector('.desk-accuracy').dataset })"


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """A desk alone in a notebook, gradients and all, shared by the tests of this file."""
    with opened_on_cells(browser, lab, CELLS) as opened:
        opened.show(".attnlab-desk")
        opened.page.wait_for_selector(".attnlab-desk[data-estimates=ready]")
        yield opened


@pytest.fixture
def page(notebook):
    """The desk at neutral, nothing compared, and at the end no error that nobody saw."""
    end = notebook.page.locator("[data-action=end]")
    if end.is_visible():
        end.click()
    notebook.page.locator("[data-preset=neutral]").click()
    notebook.show(".attnlab-desk")
    measured(notebook.page)
    yield notebook.page
    assert notebook.complaints == []
    assert notebook.page.locator(".desk-error[role=alert]").text_content() == ""


def measured(page):
    page.wait_for_function(
        """() => { const root = document.querySelector('.attnlab-desk');
        const own = (name) => root.querySelector(`.desk-${name}`).dataset;
        return own('accuracy').state === 'measured'
          && ['accuracy', 'answer', 'picture']
            .every(name => own(name).stamp === root.dataset.stamp); }"""
    )


def press(page, layer, head, *keys):
    fader = page.locator(f"input[data-layer='{layer}'][data-head='{head}']")
    fader.focus()
    for key in keys:
        fader.press(key)
    return fader


def said(page, part):
    return page.locator(f".desk-{part}").first.text_content()


def test_the_estimate_is_there_before_the_key_is_up_and_the_measured_value_takes_its_place(
    page, notebook
):
    page.evaluate("""() => {
        const root = document.querySelector('.attnlab-desk');
        const panel = root.querySelector('.desk-accuracy');
        window.sizes = [];
        const note = () => window.sizes.push([
          panel.dataset.state, panel.querySelector('.desk-status').textContent,
          ...['.desk-accuracy', '.desk-grid', '.desk-flips', '.desk-sentence', '.desk-change']
            .map(name => Math.round(root.querySelector(name).getBoundingClientRect().top)),
          root.offsetHeight]);
        window.watch = new MutationObserver(note);
        window.watch.observe(panel, { attributes: true, childList: true, subtree: true }); }""")
    at_once = page.evaluate("""() => {
        const fader = document.querySelector("input[data-layer='3'][data-head='9']");
        fader.value = 0;
        fader.dispatchEvent(new Event('input', { bubbles: true }));
        const panel = document.querySelector('.desk-accuracy');
        const text = (part) => panel.querySelector(`.desk-${part}`).textContent;
        return [panel.dataset.state, text('big'), text('change')]; }""")
    assert at_once[0] == "estimate"
    assert "estimate" in at_once[1]
    assert "far from neutral a guess" in at_once[2]
    measured(page)
    sizes = page.evaluate("() => { window.watch.disconnect(); return window.sizes; }")
    states = [state for state, *_ in sizes]
    assert states.index("estimate") < states.index("partial") < states.index("measured")
    words = {state: text for state, text, *_ in sizes}
    assert words["estimate"].startswith("first-order estimate")
    assert words["partial"].startswith("measured so far")
    assert words["measured"].startswith("measured on all 200 sentences")
    assert len({tuple(places) for _, _, *places in sizes}) == 1, "something jumped"
    printed = notebook.run_cell(
        1, "print(al.Evaluator(clf, data).preview(desk.settings), desk.accuracy['accuracy'])"
    )
    preview, accuracy = map(float, printed.split())
    number = float(re.match(r"[\d.]+", at_once[1])[0]) / 100
    assert number == pytest.approx(preview, abs=0.011)  # two sentences, for the short format
    assert said(page, "big").startswith(f"{100 * accuracy:.1f} %")


def test_200_key_presses_one_upon_the_other_end_in_the_last_setting(page):
    before = said(page, "big"), said(page, "answer")
    fader = press(page, 5, 0)
    page.evaluate(
        """() => { window.states = new Set();
        const panel = document.querySelector('.desk-accuracy');
        window.watch = new MutationObserver(() => window.states.add(panel.dataset.state));
        window.watch.observe(panel, { attributes: true }); }"""
    )
    for count in range(200):  # as fast as they go: on a quiet machine well within ten seconds
        page.keyboard.press("ArrowLeft" if count % 40 < 25 else "ArrowRight")
    last = fader.input_value()
    measured(page)
    assert fader.input_value() == last != "1"
    assert "estimate" in page.evaluate("() => { window.watch.disconnect(); return [...states]; }")
    page.locator("[data-action=undo]").click()  # one run of presses, one step back
    page.wait_for_function(
        "() => document.querySelector(\"input[data-layer='5'][data-head='0']\").value === '1'"
    )
    measured(page)
    assert (said(page, "big"), said(page, "answer")) == before


def test_the_least_important_heads_go_and_the_budget_counts_them(page):
    assert said(page, "budget") == "72 of 72 heads on"
    page.get_by_label("How many heads to silence").fill("11")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('.desk-budget').textContent === '61 of 72 heads on'"
    )
    silent, others = page.evaluate("""() => {
        const cells = [...document.querySelectorAll('.fader:not(.gone)')];
        const of = (wanted) => cells.filter(c => c.classList.contains('silent') === wanted)
          .map(c => Number(c.dataset.use));
        return [of(true), of(false)]; }""")
    assert len(silent) == 11
    assert max(silent) <= min(others)
    colour = "() => getComputedStyle(document.querySelectorAll('.fader')[45]).backgroundColor"
    heated = page.evaluate(colour)
    page.get_by_label("importance").uncheck()
    assert page.evaluate(colour) != heated
    page.get_by_label("importance").check()
    assert page.evaluate(colour) == heated


def test_a_and_b_are_heard_in_turn_and_b_is_shown_against_a(page):
    press(page, 2, 2, "0")
    page.locator("[data-action=keep]").click()
    page.wait_for_selector("[data-side=B][aria-pressed=true]")
    press(page, 5, 5, "0")
    page.wait_for_function(
        "() => document.querySelector('.desk-change').textContent.includes('B against A')"
    )
    measured(page)
    change = said(page, "change")
    assert "Held-out accuracy of B" in said(page, "accuracy")
    assert page.locator(".fader .ghost:visible").count() == 1  # where A stands
    if SHOTS.is_dir():
        page.locator(".attnlab-desk").screenshot(path=SHOTS / "a-and-b.png")
    page.locator("[data-side=A]").click()
    page.wait_for_selector("[data-side=A][aria-pressed=true]")
    measured(page)
    assert page.locator("input[data-layer='5'][data-head='5']").input_value() == "1"
    assert page.locator("input[data-layer='2'][data-head='2']").input_value() == "0"
    assert said(page, "change") == change
    page.locator("[data-action=end]").click()
    page.wait_for_function(
        "() => document.querySelector('.desk-change').textContent.includes('against neutral')"
    )


def test_what_is_pressed_right_after_a_fader_moved_is_about_the_moved_fader(page):
    page.locator("input[data-layer='3'][data-head='3']").focus()
    page.evaluate("""() => {
        const fader = document.querySelector("input[data-layer='4'][data-head='1']");
        fader.focus();  // the look is on its way, and the fader waits for it
        fader.dispatchEvent(new KeyboardEvent("keydown", { key: "0", bubbles: true }));
        document.querySelector("[data-action=keep]").click(); }""")
    page.wait_for_selector("[data-side=B][aria-pressed=true]")
    measured(page)
    assert page.locator("input[data-layer='4'][data-head='1']").input_value() == "0"
    assert page.locator(".fader .ghost:visible").count() == 0  # A has it, too


def test_settings_go_out_as_json_and_come_back(page):
    press(page, 1, 4, "0")
    page.locator("[data-action=json]").click()
    area = page.locator(".desk-code textarea")
    text = area.input_value()
    assert json.loads(text)["scale"][1][4] == 0
    for bad, words in (
        ("{oops", "These are no head settings"),
        ('{"scale": [[1]], "temperature": [[1]]}', "6 layers of 12 heads"),
    ):
        area.fill(bad)
        page.locator("[data-action=load]").click()
        page.wait_for_function(
            "(words) => document.querySelector('.desk-error').textContent.includes(words)",
            arg=words,
        )
        assert page.locator("input[data-layer='1'][data-head='4']").input_value() == "0"
    page.locator("[data-preset=neutral]").click()
    page.wait_for_function("() => document.querySelector('.desk-error').textContent === ''")
    area.fill(text)
    found = Axe().run(page, context=".attnlab-desk").response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.locator("[data-action=load]").click()
    page.wait_for_function(
        "() => document.querySelector(\"input[data-layer='1'][data-head='4']\").value === '0'"
    )
    page.locator("[data-action=json]").click()
    assert area.is_hidden()
    measured(page)


@pytest.mark.parametrize(
    ("sentence", "token"),
    [
        ("😀 👩‍👩‍👧‍👦 great", "great"),
        ("סרט מצוין מאוד", "["),
        ("فيلم رائع جدا", "["),
        ("这部电影很好看", "部"),
        ("</script><img src=x onerror='window.broken=1'><b>dull</b>", "script"),
        ("good " * 600, "good"),
        ("", ""),
    ],
    ids=["emoji", "hebrew", "arabic", "chinese", "markup", "600 words", "empty"],
)
def test_any_sentence_is_drawn_or_explained(page, sentence, token):
    page.get_by_label("Kind of picture").select_option("map" if token else "layer")
    text = page.get_by_label("Sentence to classify")
    text.fill(sentence)
    if not sentence:
        page.wait_for_function(
            "() => document.querySelector('.desk-sentence')"
            ".textContent.includes('Type a sentence.')"
        )
        text.fill("A fine film.")
        page.wait_for_function(
            "() => !document.querySelector('.desk-sentence').textContent.includes('Type a')"
        )
        return
    page.wait_for_function(
        "(token) => { const svg = document.querySelector('.desk-picture svg');"
        " return svg?.textContent.includes(token) && !svg.textContent.includes('fine'); }",
        arg=token,
    )
    measured(page)
    assert page.evaluate("() => window.broken") is None
    assert page.locator(".desk-picture img").count() == 0
    too_long = "Only the first 512 tokens" in said(page, "sentence")
    assert too_long == (len(sentence) > 600)
    # what is said of a text that is too long takes a line of its own
    assert page.locator(".attnlab-desk").bounding_box()["height"] <= (606 if too_long else 590)
    text.fill("A fine film.")


@pytest.mark.parametrize("cell", ["", "time.sleep(20)"], ids=["kernel idle", "cell running"])
def test_an_interrupt_during_an_evaluation_leaves_the_desk_working(page, notebook, cell):
    page.evaluate(
        """(source) => { const nb = jupyterapp.shell.currentWidget.content; window.ran = false;
        nb.widgets[1].model.sharedModel.setSource(source); nb.deselectAll(); nb.activeCellIndex = 1;
        jupyterapp.commands.execute('notebook:run-cell')
          .finally(() => { window.ran = true; }); }""",
        cell,
    )
    page.wait_for_timeout(300)
    press(page, 4, 4, "0", "ArrowRight")
    page.wait_for_timeout(100)
    page.evaluate(
        "() => { const { sessionContext } = jupyterapp.shell.currentWidget.context;"
        " sessionContext.session.kernel.interrupt(); }"
    )
    page.wait_for_function("() => window.ran", timeout=15_000)
    measured(page)  # what was under way is finished
    press(page, 4, 4, "ArrowRight")
    measured(page)
    assert page.locator("input[data-layer='4'][data-head='4']").input_value() == "0.1"


def test_two_desks_on_one_model_answer_for_themselves(page, notebook):
    printed = notebook.run_cell(
        1,
        "second = al.HeadMixer(clf, data, 'A dull film.')\ndisplay(second)\n"
        "desk.preset('silence', (5, 0)); second.preset('keep-one', (0, 1))\n"
        "desk.wait(); second.wait()\n"
        "ev = al.Evaluator(clf, data, fast=True)\n"
        "print([mixer.accuracy['accuracy'] == ev.score(mixer.settings).accuracy\n"
        "       for mixer in (desk, second)])",
    )
    assert "[True, True]" in printed
    for cell, heads_on in ((1, 6), (0, 71)):  # the page draws what is in view
        page.evaluate(f"() => {{ jupyterapp.shell.currentWidget.content.scrollToItem({cell}); }}")
        page.wait_for_function(
            "(words) => [...document.querySelectorAll('.desk-budget')]"
            ".some(budget => budget.textContent === words)",
            arg=f"{heads_on} of 72 heads on",
        )
    notebook.run_cell(1, "second.close()")


def test_a_desk_closed_during_an_evaluation_leaves_nothing_behind(page, notebook):
    printed = notebook.run_cell(
        1,
        "third = al.HeadMixer(clf, data)\ndisplay(third)\nawait asyncio.sleep(0.5)\n"
        "third.preset('random-half'); await asyncio.sleep(0.05); third.close()\n"
        "third.wait(); await asyncio.sleep(0.5); print('quiet')",
    )
    assert "quiet" in printed
    assert "Error" not in printed
    notebook.show(".attnlab-desk")
    press(page, 0, 0, "0")
    measured(page)
