"""The flow desk in a real JupyterLab: steps by button and key, tokens, heads, your own sentence."""

import json

import pytest
from jupyter_page import (
    ASKED_FOR,
    SHOTS,
    choose_theme,
    drawn_anew,
    everyone_can_read,
    opened_on_cells,
)
from matplotlib.colors import to_rgb

MADE = """import attnlab as al
clf = al.load_classifier("movie-sentiment")"""
DESK = """desk = al.FlowDesk(clf, "The plot is thin, the acting a joy.", layer=3, head=9, token=0)
desk"""
ROOT = ".jp-OutputArea .attnlab-flow"
STEPS = ["model", "tokens", "vectors", "projections", "weights", "mixture", "update", "answer"]


@pytest.fixture(scope="module")
def notebook(browser, lab):
    with opened_on_cells(browser, lab, [MADE, DESK, ""]) as opened:
        yield opened


@pytest.fixture
def desk(notebook):
    with drawn_anew(notebook, f"{ROOT}[data-shown^='model 3 9 0 ']"):
        yield notebook.page.locator(ROOT).first


def shown(notebook, stamp):
    notebook.page.wait_for_selector(f"{ROOT}[data-shown^='{stamp} ']")


def of_python(notebook, expression):
    return json.loads(notebook.run_cell(2, f"import json; print(json.dumps({expression}))"))


def test_next_and_back_lead_through_all_steps_and_stop_at_the_ends(notebook, desk):
    back, following = (desk.locator(f"[data-action={name}]") for name in ("back", "next"))
    assert back.is_disabled()
    heard = []
    for step in STEPS:
        shown(notebook, f"{step} 3 9 0")
        # the small drawing of the model is not beside the large one
        assert desk.locator(".depth").is_visible() == (step != "model")
        assert desk.locator(".depth .here").count() == (step != "model")
        inside = [] if step in ("model", "tokens", "answer") else ["3"]
        assert desk.locator(".depth .here .tag").all_text_contents() == inside
        heard.append(desk.locator(".remark").text_content())
        if step != STEPS[-1]:
            following.click()
    assert following.is_disabled()
    assert len(set(heard)) == len(STEPS)
    assert heard == of_python(notebook, "[words[0] for words in desk.report['words'].values()]")
    back.click()
    shown(notebook, "update 3 9 0")
    assert not desk.locator("[data-action=undo]").is_enabled(), "looking is no change"


def test_the_arrow_keys_change_the_step_and_the_token_that_looks(notebook, desk):
    page = notebook.page
    desk.locator("[data-action=step-model]").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    shown(notebook, "weights 3 9 0")
    assert page.evaluate("() => document.activeElement.dataset.action") == "step-weights"
    desk.locator("[role=option][tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    shown(notebook, "weights 3 9 2")
    page.keyboard.press("ArrowRight")
    shown(notebook, "mixture 3 9 2")
    page.keyboard.press("End")
    last = len(of_python(notebook, "desk.report['tokens']")) - 1
    shown(notebook, f"mixture 3 9 {last}")  # a key and a cell reach the kernel by two ways
    assert of_python(notebook, "desk.report['settings']['token']") == last


def test_the_token_in_focus_has_a_ring_round_its_name_and_not_across_the_picture(notebook, desk):
    desk.locator("[role=option][tabindex='0']").focus()
    notebook.page.keyboard.press("ArrowDown")
    shown(notebook, "model 3 9 1")
    drawn = "one => [getComputedStyle(one).stroke, getComputedStyle(one).outlineStyle]"
    rings = desk.locator(".row .ring")
    assert [rings.nth(row).evaluate(drawn)[0] != "none" for row in (0, 1, 2)] == [
        False,
        True,
        False,
    ]
    row = desk.locator(".row").nth(1)
    assert row.evaluate(drawn)[1] == "none"
    assert rings.nth(1).bounding_box()["width"] < row.bounding_box()["width"] / 4


def test_a_click_on_a_token_shows_its_weights(notebook, desk):
    desk.locator("[data-action=step-weights]").click()
    desk.locator("[role=option]").nth(4).click()
    shown(notebook, "weights 3 9 4")
    report = of_python(notebook, "desk.report")
    bars = desk.locator(".stage .bar").evaluate_all(
        "all => all.map(one => one.width.baseVal.value)"
    )
    track = desk.locator(".stage .track").first.evaluate("one => one.width.baseVal.value")
    assert [bar / track for bar in bars] == pytest.approx(report["weights"][4], abs=2e-3)


def lines_between_rows(desk):
    """Where each line begins and ends, and how wide it is; and the middle of each row."""
    lines = desk.locator(".stage .ribbon").evaluate_all(
        "all => all.map(one => {"
        " const [first, last] = [0, one.getTotalLength()].map(at => one.getPointAtLength(at));"
        " return [first.y, last.y, Number(one.getAttribute('stroke-width'))]; })"
    )
    rows = desk.locator(".row .catch").evaluate_all(
        "all => all.map(one => one.y.baseVal.value + one.height.baseVal.value / 2)"
    )
    return lines, rows


def test_the_query_goes_to_every_key_alike(notebook, desk):
    desk.locator("[data-action=step-weights]").click()
    desk.locator("[role=option]").nth(4).click()
    shown(notebook, "weights 3 9 4")
    lines, rows = lines_between_rows(desk)
    assert [line[1] for line in lines] == pytest.approx(rows, abs=0.1)
    assert [line[0] for line in lines] == pytest.approx([rows[4]] * len(rows), abs=0.1)
    assert len({line[2] for line in lines}) == 1
    of_query = desk.locator(".stage .heading.query").first.evaluate(
        "one => getComputedStyle(one).fill"
    )
    of_lines = desk.locator(".stage .ribbon").evaluate_all(
        "all => all.map(one => getComputedStyle(one).stroke)"
    )
    assert set(of_lines) == {of_query}  # and not that of the weights


def test_a_line_leads_to_each_value_as_wide_as_its_weight(notebook, desk):
    desk.locator("[data-action=step-mixture]").click()
    desk.locator("[role=option]").nth(4).click()
    shown(notebook, "mixture 3 9 4")
    weights = of_python(notebook, "desk.report['weights'][4]")
    lines, rows = lines_between_rows(desk)
    seen = [(row, weight) for row, weight in zip(rows, weights, strict=True) if weight >= 0.005]
    for end in (0, 1):
        assert [line[end] for line in lines] == pytest.approx([row for row, _ in seen], abs=0.1)
    wide = [0.5 + 12 * weight for _, weight in seen]
    assert [line[2] for line in lines] == pytest.approx(wide, abs=0.02)


def test_the_sum_has_the_colours_of_the_values(notebook, desk):
    desk.locator("[data-action=step-mixture]").click()
    shown(notebook, "mixture 3 9 0")
    rows = of_python(notebook, "desk.report['values']")
    values = [value for row in rows for value in row]
    of_values = colours(desk.locator(".stage .strip[data-is^='value ']"))
    known = list(zip(values, of_values, strict=True))
    mixture = of_python(notebook, "desk.report['mixtures'][0]")
    for value, colour in zip(mixture, colours(desk.locator(".stage .sum .strip")), strict=True):
        like = min(known, key=lambda pair: abs(pair[0] - value))[1]
        assert max(abs(a - b) for a, b in zip(rgb(colour), rgb(like), strict=True)) < 20


def rgb(colour):
    return [round(255 * part) for part in to_rgb(colour)]


def colours(group):
    return group.locator("rect:not(.edge)").evaluate_all(
        "all => all.map(one => one.getAttribute('fill'))"
    )


def test_a_scale_says_which_colour_is_which_number(notebook, desk):
    desk.locator("[data-action=step-vectors]").click()
    shown(notebook, "vectors 3 9 0")
    low, high = desk.locator(".stage .scale text").all_text_contents()
    limit = of_python(notebook, "desk.report['limits']['vectors']")
    assert (low, high) == (f"≤ −{limit:.1f}", f"≥ {limit:.1f}")
    scale = colours(desk.locator(".stage .scale"))
    strip = colours(desk.locator(".stage .strip").first)
    first = of_python(notebook, "desk.report['vectors'][0]")
    for value, colour in zip(first, strip, strict=True):
        if abs(value) >= limit:
            assert colour == scale[0 if value < 0 else -1]
    assert max(map(abs, first)) >= limit  # its largest number is beyond the scale
    assert len(set(scale)) == len(scale)


def test_the_new_vector_begins_with_the_old_one_and_follows_the_token(notebook, desk):
    desk.locator("[data-action=step-vectors]").click()
    shown(notebook, "vectors 3 9 0")
    old = [colours(desk.locator(".stage .strip").nth(token)) for token in (2, 4)]
    desk.locator("[data-action=step-update]").click()
    for token, before in zip((2, 4), old, strict=True):
        desk.locator("[role=option]").nth(token).click()
        shown(notebook, f"update 3 9 {token}")
        assert colours(desk.locator(".stage .strip").first) == before
        assert "".join(desk.locator(".stage .sign").all_text_contents()) == "++=→+="
        parts = of_python(notebook, "desk.report['update']")
        told = desk.locator(".stage").text_content()
        for part in parts:
            assert part["name"] in told
            times = part["times"][token]
            assert times == 1 or f"× {times:.{int(times < 10)}f}" in told


def test_the_whole_model_has_a_line_for_each_weight_of_the_token_in_each_layer(notebook, desk):
    desk.locator("[role=option]").nth(4).locator("text").click()
    shown(notebook, "model 3 9 4")
    between = of_python(notebook, "desk.report['between']['weights']")
    for layer, weights in enumerate(between):
        lines = desk.locator(f".stage .layer[data-layer='{layer}'] .strong").evaluate_all(
            "all => all.map(one => Number(one.getAttribute('stroke-width')))"
        )
        wide = [weight for weight in weights[4] if weight >= 0.005]
        assert len(lines) == len(wide)
        steps = [round((line - 0.2) / weight, 1) for line, weight in zip(lines, wide, strict=True)]
        assert max(steps) - min(steps) < 1.5  # one scale for all
    told = desk.locator(".stage").text_content()
    assert all(one["text"] in told for one in of_python(notebook, "desk.report['answers']"))


def test_lines_can_be_as_wide_as_what_is_carried(notebook, desk):
    def widest():
        lines = desk.locator(".stage .layer[data-layer='2'] .strong")
        return max(
            lines.evaluate_all("all => all.map(one => Number(one.getAttribute('stroke-width')))")
        )

    before = widest()
    desk.get_by_label("Width of the lines").select_option("carried")
    shares = of_python(notebook, "desk.report['between']")
    ratio = max(shares["carried"][2][0]) / max(shares["weights"][2][0])
    assert (widest() - 0.2) / (before - 0.2) == pytest.approx(ratio, abs=0.05)
    assert "the length of value × W_O" in desk.locator(".remark").text_content()
    desk.locator("[data-action=next]").click()
    assert not desk.get_by_label("Width of the lines").is_visible()


def test_a_click_on_a_layer_looks_into_it_and_its_picture_takes_the_place_of_the_model(
    notebook, desk
):
    desk.locator(".stage .layer[data-layer='5'] text").click()
    shown(notebook, "vectors 5 9 0")
    notebook.page.wait_for_selector(f"{ROOT} .leaving", state="detached")
    assert desk.locator("svg[role=figure] > g").count() == 2  # the tokens' names, and one picture
    desk.locator("[data-action=step-model]").click()
    shown(notebook, "model 5 9 0")
    desk.locator(".stage .layer.chosen text").click()
    shown(notebook, "vectors 5 9 0")


def test_what_two_steps_share_moves_and_nothing_moves_where_that_is_not_wanted(notebook, desk):
    def moved(step):
        desk.locator(f"[data-action=step-{step}]").click()
        shown(notebook, f"{step} 3 9 0")
        marks = desk.locator(".stage .moved")
        return set(marks.evaluate_all("all => all.map(one => one.dataset.is.split(' ')[0])"))

    moved("vectors")
    assert moved("projections") == {"vector", "query", "key", "value"}
    assert moved("weights") == {"key", "the"}  # the query goes below the keys
    assert moved("mixture") == {"weight"}
    assert moved("update") == {"part"}
    notebook.page.emulate_media(reduced_motion="reduce")
    try:
        assert moved("weights") == set()
        assert moved("model") == set()
        assert desk.locator(".leaving").count() == 0
    finally:
        notebook.page.emulate_media(reduced_motion="no-preference")


def test_each_matrix_stands_above_what_it_makes(notebook, desk):
    desk.locator("[data-action=step-projections]").click()
    shown(notebook, "projections 3 9 0")
    place = "one => [one.x.baseVal.value, one.width.baseVal.value]"
    for index, part in enumerate(("query", "key", "value")):
        matrix = desk.locator(".stage .matrix image").nth(index)
        below = desk.locator(f".stage [data-is='{part} 0'] .edge")
        assert matrix.evaluate(place) == below.evaluate(place)
    high = "one => one.querySelector('rect:not(.edge)').getBoundingClientRect().height"
    heights = [desk.locator(f".stage [data-is='query {row}']").evaluate(high) for row in (0, 1)]
    assert heights[1] < heights[0] / 2  # queries of those that do not look are thin


def test_a_step_is_played_to_its_end_and_not_again_for_another_token(notebook, desk):
    desk.locator("[data-action=step-update]").click()
    shown(notebook, "update 3 9 0")
    assert of_python(notebook, "desk.settings['step']") == "update"  # its answer has been drawn
    assert desk.locator(".stage.play").count() == 1
    desk.locator("[role=option]").nth(2).click()
    shown(notebook, "update 3 9 2")
    assert desk.locator(".stage.play").count() == 0


def test_the_query_of_the_token_that_looks_stands_below_the_keys_number_by_number(notebook, desk):
    desk.locator("[data-action=step-projections]").click()
    desk.locator("[role=option]").nth(4).click()
    shown(notebook, "projections 3 9 4")
    query = colours(desk.locator(".stage [data-is='query 4']"))
    desk.locator("[data-action=step-weights]").click()
    shown(notebook, "weights 3 9 4")
    strips = desk.locator(".stage .strip")
    below, products = strips.nth(strips.count() - 2), strips.last
    assert colours(below) == query
    place = "one => [one.x.baseVal.value, one.width.baseVal.value]"
    first, *others = (
        one.locator(".edge").evaluate(place) for one in (strips.first, below, products)
    )
    assert others == [first, first]
    report = of_python(notebook, "desk.report")
    best = max(range(len(report["tokens"])), key=report["weights"][4].__getitem__)
    pairs = zip(report["queries"][4], report["keys"][best], strict=True)
    told = f"sum to {sum(one * other for one, other in pairs):.1f}; / √32"
    assert told in desk.locator(".stage").text_content().replace("−", "-")


def test_another_head_and_another_sentence(notebook, desk):
    page = notebook.page
    desk.locator("[data-action=step-answer]").click()
    desk.get_by_label("Layer", exact=True).select_option("5")
    desk.get_by_label("Head", exact=True).select_option("2")
    shown(notebook, "answer 5 2 0")
    desk.get_by_label("Your sentence").fill("A </script><b> joy.")
    script = f"{ROOT} [role=option][aria-label=script]"
    page.wait_for_selector(script, state="attached")  # in this step no token is drawn
    wanted = of_python(notebook, "[one['text'] for one in desk.report['answers']]")
    told = desk.locator(".stage").text_content()
    assert all(share in told for share in wanted)
    desk.get_by_label("Your sentence").fill("word " * 40)
    page.locator(".attnlab-flow .complaint", has_text="24 at most").wait_for()
    desk.locator("[data-action=reset]").click()
    shown(notebook, "model 3 9 0")
    page.wait_for_function("() => !document.querySelector('.attnlab-flow .complaint').textContent")


def test_with_questions_what_is_found_waits_until_it_is_asked_for(notebook, desk):
    page = notebook.page
    asked = of_python(
        notebook, "[desk.report['asked'][step][0] for step in ('weights', 'mixture')]"
    )
    notebook.run_cell(1, DESK.replace("token=0", 'token=0, questions=True, step="weights"'))
    asking = page.locator(f"{ROOT}:has(.asked)")
    reveal = asking.locator("[data-action=reveal]")
    for name, (shown_now, question, found) in enumerate(asked):
        assert asking.locator("p.remark").text_content() == shown_now
        assert asking.locator(".asked b").text_content() == question
        assert found not in asking.text_content()
        reveal.click()
        assert asking.locator(".asked span").text_content() == found
        assert reveal.is_hidden()
        if name == 0:
            asking.locator("[data-action=next]").click()
            page.wait_for_selector(f"{ROOT}:has(.asked)[data-shown^='mixture ']")
    everyone_can_read(page, asking, "flow-asks", height=600, width=1000)
    choose_theme(page, "JupyterLab Light")
    notebook.run_cell(1, DESK)  # as the other tests find it


@pytest.mark.parametrize("step", STEPS)
def test_everyone_can_read_and_work_it_in_both_themes(notebook, desk, step):
    desk.locator(f"[data-action=step-{step}]").click()
    shown(notebook, f"{step} 3 9 0")
    everyone_can_read(notebook.page, desk, f"flow-{step}", height=600, width=1000)
    choose_theme(notebook.page, "JupyterLab Light")


def test_a_picture_with_words_stays_where_no_kernel_runs(notebook, desk):
    notebook.run_cell(2, "desk.picture()")
    picture = notebook.show(f"img[alt*='on its way through layer 3']{ASKED_FOR}")
    if SHOTS.is_dir():
        picture.screenshot(path=SHOTS / "flow-picture.png")
