"""The lessons as a learner meets them: something to move, and checks that answer."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_page import SHOTS, Notebook

CHECKED = {  # the last check that is tried here; what follows it is run elsewhere
    "01_attention_maths": "softmax",
    "02_attention_from_scratch": "split_heads",
    "05_finetune_bert": "accumulate",
}


@pytest.fixture(scope="module")
def lesson(shared_context, lab):
    """Opens a lesson and runs it as far as its tests go: once, for all tests of this file."""
    run = {}

    def opened(name):
        if name not in run:
            run[name] = Notebook.open(shared_context, lab.address(f"{name}.ipynb"))
            run[name].run_all(above=run[name].cell("check", CHECKED[name]))
        run[name].page.bring_to_front()
        return run[name]

    yield opened
    for name in run:
        lab.end_kernels(f"{name}.ipynb")


def move(page, root, name, key, times=1):
    """Press a key on a slider and wait until the desk has drawn the new setting."""
    before = page.locator(root).first.get_attribute("data-stamp")
    slider = page.locator(f"{root} input[name={name}]").first
    slider.focus()
    for _ in range(times):
        slider.press(key)
    page.wait_for_function(
        "([root, before]) => document.querySelector(root).dataset.stamp !== before",
        arg=[root, before],
    )
    page.wait_for_timeout(300)  # the last of several presses


def wrong_then_right(notebook, name, wrong, words, right):
    """A wrong answer fails with a diagnosis and no traceback, a right one passes."""
    exercise, check = notebook.cell("exercise", name), notebook.cell("check", name)
    assert "not written yet" in notebook.run_cell(check)
    notebook.run_cell(exercise, wrong)
    said = notebook.run_cell(check)
    assert said.startswith(f"CheckFailed: {name}")
    assert words in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 6
    notebook.run_cell(exercise, right)
    assert f"{name}: right" in notebook.run_cell(check)


def test_lesson_01_has_a_desk_that_moves_and_checks_that_answer(lesson, shared_context):
    notebook = lesson("01_attention_maths")
    page = notebook.page
    root = ".attnlab-softmax.weights-only"  # the first of its two desks
    desk = notebook.show(f"{root}[data-stamp]")  # once it is drawn
    assert desk.bounding_box()["height"] < 500
    weights = page.locator(f"{root} svg.weights").first
    before = weights.get_attribute("aria-label"), weights.inner_html()
    move(page, root, "temperature", "ArrowLeft", 20)
    after = weights.get_attribute("aria-label"), weights.inner_html()
    assert after[0] != before[0], "the words did not follow"
    assert after[1] != before[1], "the picture did not follow"
    undo = page.locator(f"{root} [data-action=undo]").first
    assert undo.is_enabled()
    for _ in range(20):  # a run of quick presses is one step, slow ones are several
        if undo.is_enabled():
            undo.click()
            page.wait_for_timeout(100)
    page.wait_for_function(
        "([root, alt]) => document.querySelector(`${root} svg.weights`)"
        ".getAttribute('aria-label') === alt",
        arg=[root, before[0]],
    )
    desk.screenshot(path=SHOTS / "softmax-desk.png")

    wrong_then_right(
        notebook,
        "softmax",
        "def softmax(scores, temperature=1.0):\n    powers = (scores / temperature).exp()\n"
        "    return powers / powers.sum()",
        "All rows together",
        "def softmax(scores, temperature=1.0):\n    scores = scores / temperature\n"
        "    powers = (scores - scores.amax(-1, keepdim=True)).exp()\n"
        "    return powers / powers.sum(-1, keepdim=True)",
    )
    last = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length") - 1
    assert "Lesson 01: 2 of 11 points" in notebook.run_cell(last)
    assert shared_context.strangers == []


def test_folded_code_is_a_line_that_a_click_opens(lesson):
    page = lesson("01_attention_maths").page
    page.evaluate(
        """() => { const nb = jupyterapp.shell.currentWidget.content;
        nb.activeCellIndex = nb.widgets.findIndex(cell => cell.inputHidden);
        nb.scrollToItem(nb.activeCellIndex); }"""
    )
    cell = page.locator(".jp-CodeCell.jp-mod-active")
    line = cell.locator(".jp-InputPlaceholder")
    line.wait_for()
    assert cell.locator(".cm-line").count() == 0
    line.click()
    cell.locator(".cm-line").first.wait_for()
    assert cell.locator(".cm-line").count() > 1


def test_lesson_02_has_masks_to_move_and_checks_that_answer(lesson, shared_context):
    notebook = lesson("02_attention_from_scratch")
    page = notebook.page
    desk = notebook.show(".attnlab-mask[data-stamp]")
    stamp = desk.get_attribute("data-stamp")
    page.locator(".attnlab-mask input[name=causal]").first.check()
    page.wait_for_function(
        "stamp => document.querySelector('.attnlab-mask').dataset.stamp !== stamp", arg=stamp
    )
    desk.screenshot(path=SHOTS / "mask-desk.png")
    wrong_then_right(
        notebook,
        "split_heads",
        "def split_heads(x, heads):\n    return x.reshape(len(x), heads, x.shape[1], -1)",
        "pieces of several tokens",
        "def split_heads(x, heads):\n    return x.unflatten(-1, (heads, -1)).transpose(1, 2)",
    )
    assert "Error" not in notebook.run_cell(notebook.cell_with("al.attention_view("))
    notebook.show("iframe[title^='Attention']")
    assert shared_context.strangers == []


def test_lesson_05_draws_its_curve_and_checks_answers(lesson, shared_context):
    notebook = lesson("05_finetune_bert")
    page = notebook.page
    curve = notebook.show(".attnlab-curve[data-state=finished]")
    assert "best dev accuracy" in curve.locator(".curve-remark").text_content()
    wrong_then_right(
        notebook,
        "accumulate",
        "def accumulate(model, loss_function, parts):\n    model.zero_grad()\n    mean = 0.0\n"
        "    for inputs, labels in parts:\n"
        "        loss = loss_function(model(inputs), labels) / len(parts)\n"
        "        loss.backward()\n        mean += loss.item()\n    return mean",
        "mean of the parts' means",
        "def accumulate(model, loss_function, parts):\n    model.zero_grad()\n"
        "    texts, mean = sum(len(labels) for _, labels in parts), 0.0\n"
        "    for inputs, labels in parts:\n"
        "        loss = loss_function(model(inputs), labels) * len(labels) / texts\n"
        "        loss.backward()\n        mean += loss.item()\n    return mean",
    )
    last = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length") - 1
    assert "Lesson 05: 3 of 13 points" in notebook.run_cell(last)
    assert shared_context.strangers == []


@pytest.mark.parametrize(
    "name, root",
    [("01_attention_maths", ".attnlab-softmax"), ("02_attention_from_scratch", ".attnlab-mask")],
)
def test_the_desks_of_the_lessons_can_be_used_by_everyone(lesson, name, root):
    notebook = lesson(name)
    notebook.show(root)
    answered = f"{root}[data-stamp]"  # one that is off the screen is drawn when it comes into view
    notebook.page.wait_for_selector(answered)
    found = Axe().run(notebook.page, context=answered)
    assert found.violations_count == 0, found.generate_report()


def test_hints_unfold_one_by_one(lesson):
    notebook = lesson("01_attention_maths")
    page = notebook.page
    cell = notebook.cell("hints", "softmax")
    page.evaluate(f"() => {{ jupyterapp.shell.currentWidget.content.scrollToItem({cell}); }}")
    hints = page.locator(".jp-Cell").nth(cell).locator(".jp-RenderedMarkdown details")
    hints.first.wait_for()
    assert hints.first.get_attribute("open") is None
    text = hints.first.locator("p").first
    assert not text.is_visible()
    hints.first.locator("summary").click()
    assert text.is_visible()
    titles = [hints.nth(n).locator("summary").inner_text() for n in range(3)]
    assert titles == ["Hint 1", "Hint 2", "Solution"]
