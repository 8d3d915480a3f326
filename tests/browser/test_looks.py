"""How the desks look and are worked, on a page with no kernel: colours, room, words, keys."""

import numpy as np
import pandas as pd
import pytest
from desk_page import CONTRAST, mixer, open_desk
from jupyter_page import CUT, OUTSIDE, SCROLLS
from made_up_latency import Clock
from made_up_search import made_up_search
from tiny_classifiers import answering
from tiny_writer import tiny_writer

import attnlab as al

FADERS = (
    "() => window.model.get('faders').scale.map(row => row.filter(value => value === 0).length)"
)


@pytest.fixture
def page(context):
    return context.new_page()


def too_faint(page, selector):
    """What of these cannot be read, with its contrast."""
    return page.evaluate(
        f"""selector => [...document.querySelectorAll(selector)]
        .filter(e => e.offsetParent && !e.disabled && e.textContent.trim())
        .map(e => [e.textContent, ({CONTRAST})(e)]).filter(([_, contrast]) => contrast < 4.5)""",
        selector,
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_label_of_a_button_can_be_read_in_every_state(page, theme):
    mixer(page, theme, side="B", other={"scale": [[1] * 12] * 6, "temperature": [[1] * 12] * 6})
    assert too_faint(page, "button") == []
    for button in page.locator(".desk-bar button:enabled:visible").all():
        button.hover()
        button.focus()
        assert button.evaluate(CONTRAST) >= 4.5, (theme, button.text_content())
    page.locator(".desk-grid button").last.hover()
    assert too_faint(page, "button:hover") == []
    assert page.locator("[aria-pressed=true]").count() == 2  # they were among those
    page.locator("[data-action=json]").click()
    page.locator("[data-action=load]").hover()
    assert too_faint(page, "button") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_digits_can_be_read_on_every_colour_of_a_fader(page, theme):
    table = [[(0, 0.5, 2)[head % 3] for head in range(12)] for _ in range(6)]
    mixer(page, theme, faders={"scale": table, "temperature": [[1] * 12] * 6, "stamp": 1})
    assert page.locator(".fader output").count() == 72
    assert too_faint(page, ".fader output") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_digits_can_be_read_on_every_colour_of_a_map_of_heads(page, theme):
    softmax = al.SoftmaxDesk()
    open_desk(page, "softmax", ("charts", "softmax"), _state(softmax), theme)
    assert too_faint(page, "button, output, label, b") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900, 1600])
def test_the_peeler_can_be_read_at_every_width(page, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    clf, data = answering("albert")
    peeler = al.Peeler(clf, data).wait()
    open_desk(page, "peeler", ("charts", "peeler"), _state(peeler), theme)
    assert too_faint(page, "button, output, label, b, td span, small, .note, .remark") == []
    root = page.locator(".attnlab-peeler")
    assert [root.evaluate(check) for check in (CUT, OUTSIDE, SCROLLS)] == [[], [], []]
    kinds = page.get_by_label("What is removed").locator("option:disabled")
    assert kinds.all_text_contents() == ["layers (all share their weights)"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [250, 390, 620, 900, 1600])
def test_the_budget_explorer_can_be_read_at_every_width(page, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    clf, data = answering("bert")
    took = np.linspace(1, 5, 8)
    check = pd.DataFrame({"tokens": 32, "batch": 1, "predicted_ms": took, "ms_quiet": took + 0.1})
    found = made_up_search(clf, data, latency=Clock())
    desk = al.BudgetExplorer(found, check.assign(error=0.03))
    open_desk(page, "budget", ("charts", "budget"), _state(desk), theme)
    root = page.locator(".attnlab-budget")
    words = "button, output, label, b, .note, .remark, .remark span, .budget-parts span"
    for limit, fits in ((desk.settings["flops"], "true"), (1.0, "false")):
        desk.set(flops=limit)
        page.evaluate("report => window.model.set('report', report)", desk.report)
        page.wait_for_selector(f".attnlab-budget[data-fits={fits}]")
        assert too_faint(page, words) == []
        assert [root.evaluate(check) for check in (CUT, OUTSIDE, SCROLLS)] == [[], [], []]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [300, 390, 620, 880, 1600])
def test_the_sampling_desk_can_be_read_at_every_width(page, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    desk = al.SamplingDesk(tiny_writer()).step(70)
    desk.set(temperature=0.5, top_k=7, faders=[[0.0, 1.0, 0.5, 2.0], [1.0] * 4])
    state = _state(desk) | {name: getattr(desk, name) for name in ("size", "names", "palette")}
    open_desk(page, "sampling", ("mixer", "sampling"), state, theme)
    words = "button, output, label, b, .note, .remark, .written span, .candidate span, .kept"
    assert page.locator(".candidate.cut").count() == 5
    assert too_faint(page, words) == []
    root = page.locator(".attnlab-sampling")
    assert [root.evaluate(check) for check in (CUT, OUTSIDE, SCROLLS)] == [[], [], []]
    line = page.locator(".draw-line" if width > 390 else ".columns")
    before = line.bounding_box()
    page.get_by_role("slider", name="temperature").press("End")
    assert line.bounding_box() == before, "something jumped"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [300, 390, 620, 900, 1600])
def test_the_reading_desk_can_be_read_at_every_width(page, theme, width):
    page.set_viewport_size({"width": width, "height": 900})
    reader = al.applications.load_reader("printed")
    desk = al.ReadingDesk(reader, "The miller had 3 sons and a cat.", noise=4.0)
    state = _state(desk) | {name: getattr(desk, name) for name in ("size", "fonts", "noises")}
    open_desk(page, "reading", ("reading",), state, theme)
    words = "button, output, label, b, .note, .remark, .letter, .mark, .bars span"
    assert page.locator(".read .wrong").count() and page.locator(".read .unsure").count()
    assert too_faint(page, words) == []
    root = page.locator(".attnlab-reading")
    assert [root.evaluate(check) for check in (CUT, OUTSIDE, SCROLLS)] == [[], [], []]
    parts = [page.locator(part) for part in (".print", ".read", ".bars", ".remark")]
    before = [part.bounding_box() for part in parts]
    for index in (0, 3, 7):
        page.locator(".read button").nth(index).hover()
        assert page.locator(".bars > [role=row]").count() == 5
    assert [part.bounding_box() for part in parts] == before, "something jumped"


def _state(desk):
    return {name: getattr(desk, name) for name in ("settings", "start", "report", "code", "error")}


# Where every part stands, and in what colours and letters.
LOOKS = """() => [...document.querySelectorAll('.attnlab-widget, .attnlab-widget *')].map(one => {
  const { x, y, width, height } = one.getBoundingClientRect();
  const { color, backgroundColor, fontSize, whiteSpace, display } = getComputedStyle(one);
  const box = [x, y, width, height];
  return [...box, color, backgroundColor, fontSize, whiteSpace, display].join(' '); })"""


@pytest.mark.parametrize("width", [300, 900, 1700])
@pytest.mark.parametrize("name", ["mixer", "softmax"])
def test_a_desk_looks_the_same_whatever_desks_are_shown_after_it(page, name, width):
    page.set_viewport_size({"width": width, "height": 900})
    if name == "mixer":
        mixer(page)
    else:
        open_desk(page, "softmax", ("charts", "softmax"), _state(al.SoftmaxDesk()))
    before = page.evaluate(LOOKS)
    for desk in (al.TranslationDesk, al.TrainingCurve, al.BalanceMeter, al.TunerDesk, al.MaskDesk):
        page.add_style_tag(content=desk._css)
    page.wait_for_timeout(200)
    after = page.evaluate(LOOKS)
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("width", [262, 900])
def test_without_the_gradient_the_softmax_desk_draws_scores_and_weights_alone(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    desk = al.SoftmaxDesk(gradient=False)
    state = _state(desk) | {"gradient": desk.gradient}
    open_desk(page, "softmax", ("charts", "softmax"), state)
    root = page.locator(".attnlab-softmax")
    assert root.locator("svg.scores rect.bar").count() == 12
    assert root.locator("svg.weights rect.bar").count() == 12
    for hidden in ("svg.curve", ".meter", ".remark"):
        assert not root.locator(hidden).first.is_visible()
    for words in (".task", ".seen"):  # what to do, and what is seen
        assert root.locator(words).is_visible()
    chart = root.locator("svg.weights").bounding_box()
    assert chart["width"] > 0.8 * root.bounding_box()["width"]  # it has the room of what is hidden
    assert [root.evaluate(check) for check in (CUT, OUTSIDE, SCROLLS)] == [[], [], []]


@pytest.mark.parametrize("width", [262, 390, 900, 1700])
def test_the_softmax_desk_has_room_for_its_words(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_desk(page, "softmax", ("charts", "softmax"), _state(al.SoftmaxDesk()))
    root = page.locator(".attnlab-softmax")
    assert root.evaluate(CUT) == []
    assert root.evaluate(OUTSIDE) == []
    assert root.evaluate(SCROLLS) == []
    assert root.bounding_box()["width"] == width


def test_the_name_of_a_layer_or_head_sets_all_its_faders(page):
    mixer(page)
    page.get_by_role("button", name="Silence layer 3", exact=True).click()
    assert page.evaluate(FADERS) == [6, 6, 6, 12, 6, 6]
    first = page.evaluate("() => window.model.get('faders').gesture")
    page.get_by_role("button", name="Back to 1: layer 3").click()
    assert page.evaluate(FADERS) == [6, 6, 6, 0, 6, 6]
    assert page.evaluate("() => window.model.get('faders').gesture") > first  # undone apart
    page.get_by_role("button", name="Silence head 1 in every layer").click()
    assert page.evaluate(FADERS) == [7, 7, 7, 1, 7, 7]


def test_whole_layers_are_set_from_the_keyboard_too(page):
    mixer(page)
    stops = page.locator(".desk-grid [tabindex='0']")
    assert stops.count() == 2  # the names, and the faders
    stops.first.focus()
    page.keyboard.press("0")
    assert page.evaluate(FADERS)[0] == 12
    page.keyboard.press("1")
    assert page.evaluate(FADERS)[0] == 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate(FADERS)[1] == 12
    page.keyboard.press("Shift+ArrowRight")  # from a name to its first fader
    assert page.evaluate("() => ({ ...document.activeElement.dataset })") == {
        "layer": "1",
        "head": "0",
    }


def test_a_removed_head_is_left_as_it_is_when_its_layer_is_silenced(page):
    mixer(page, size={"layers": 6, "heads": 12, "removed": [[3, 1]]})
    page.get_by_role("button", name="Silence layer 3", exact=True).click()
    assert page.evaluate(FADERS)[3] == 11


def test_what_no_longer_belongs_to_the_choice_is_grey_at_once(page):
    mixer(page)
    picture = page.locator(".desk-picture")
    assert "stale" not in picture.get_attribute("class")
    page.get_by_label("Head shown").select_option("4")
    assert "stale" in picture.get_attribute("class")
    page.evaluate(
        "() => model.set('attention', { ...model.get('attention'), look: model.get('look') })"
    )
    assert "stale" not in picture.get_attribute("class")
    page.evaluate("() => model.set('text', 'Another.')")
    assert "stale" in picture.get_attribute("class")
    assert "stale" in page.locator(".desk-answer").get_attribute("class")


def test_a_map_of_fourteen_tokens_is_whole_and_says_what_its_colours_are(page):
    page.set_viewport_size({"width": 900, "height": 720})
    mixer(page)
    picture = page.locator(".desk-picture")
    assert picture.evaluate(
        "e => e.scrollHeight <= e.clientHeight && e.scrollWidth <= e.clientWidth"
    )
    assert picture.locator(".ramp").text_content() == "weight × scale0.000.50"
    assert picture.locator("svg text").last.text_content() == "[SEP]"


def test_the_desk_says_what_its_numbers_and_buttons_are(page):
    mixer(page)
    text = page.locator(".attnlab-desk").text_content()
    for words in (
        "95 %: 68.1 to 80.0",
        "blue = loss falls without it",
        "red = loss rises (estimate)",
        "Compare: keep this as A",
        "Silence L5H1",
        "Keep only head 1 in each layer",
        "now negative (should be positive): Good.",
        "now negative: Bad.",
        "36 of 72 heads on",
    ):
        assert words in text
    assert "±" not in text
    assert "not final" not in text
    for what in ("weights", "scaled", "contributions", "difference"):
        page.get_by_label("What is drawn").select_option(what)
        assert len(page.get_by_label("What is drawn").get_attribute("title")) > 30


def test_a_simple_desk_shows_few_controls_until_more_are_asked_for(page):
    page.set_viewport_size({"width": 900, "height": 720})
    mixer(page, size={"layers": 6, "heads": 12, "removed": [], "simple": True})
    rare = [
        "[data-mode=temperature]",
        "[data-action=json]",
        "[data-action=keep]",
        "[data-preset=keep-one]",
        "[data-preset=least-important]",
        ".desk-legend",
        "[aria-label='What is drawn']",
        "text=p < 0.001",
    ]
    usual = ["[data-preset=neutral]", "[data-preset=silence]", "[data-action=undo]", ".desk-answer"]
    ground = "() => getComputedStyle(document.querySelector('.fader')).backgroundColor"
    plain = page.evaluate(ground)
    for part in rare:
        assert page.locator(part).is_hidden(), part
    for part in usual:
        assert page.locator(part).is_visible(), part
    page.get_by_role("button", name="More controls").click()
    for part in rare + usual:
        assert page.locator(part).is_visible(), part
    assert page.evaluate(ground) != plain  # the colours are there
    page.get_by_role("button", name="Fewer controls").click()
    assert page.locator("[data-action=json]").is_hidden()
    mixer(page)
    assert page.locator("[data-action=json]").is_visible()
    assert page.locator("[data-action=more]").is_hidden()


def test_the_legend_says_whether_colours_are_of_the_loss_or_the_margin(page):
    mixer(page)
    page.evaluate(
        "() => model.set('first_order', { ...model.get('first_order'), colour: 'margin' })"
    )
    words = page.locator(".desk-legend").text_content()
    assert "blue = margin rises without it" in words
    assert "red = margin falls (estimate)" in words
    assert "loss" not in words


def test_a_p_value_of_a_part_of_the_sentences_is_not_final(page):
    mixer(page)
    page.evaluate(
        "() => model.set('accuracy', { ...model.get('accuracy'), state: 'partial', n: 48 })"
    )
    assert "lost so far; p is not final" in page.locator(".desk-change").text_content()


def test_settings_as_text_hang_over_the_desk_and_push_nothing(page):
    page.set_viewport_size({"width": 900, "height": 720})
    mixer(page)
    before = page.locator(".desk-columns").bounding_box()
    page.locator("[data-action=json]").click()
    assert page.locator(".desk-code textarea").is_visible()
    assert page.locator(".desk-columns").bounding_box() == before
    assert page.evaluate("() => document.documentElement.scrollHeight") <= 720
    page.locator(".desk-code textarea").press("Escape")
    assert page.locator(".desk-code").is_hidden()
    assert page.evaluate("() => document.activeElement.dataset.action") == "json"


@pytest.mark.parametrize("width", [280, 360, 480, 540, 680, 860, 1240, 1600, 1900])
def test_the_answer_stands_beside_the_faders_at_every_width(page, width):
    """A window of 1280 x 720 at 150 % leaves a notebook about 370 pixels of height."""
    page.set_viewport_size({"width": width, "height": 900})
    mixer(page)
    boxes = [page.locator(f".desk-{name}").bounding_box() for name in ("answer", "grid")]
    top = min(box["y"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    assert bottom - top <= 370
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    root = page.locator(".attnlab-desk").bounding_box()
    assert root["width"] >= width - 1
    assert width < 700 or root["height"] <= 590  # of a screen of 720, below JupyterLab's bars
