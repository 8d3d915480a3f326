"""The budget explorer without a browser: what fits, what is drawn and said, and a live search."""

import json
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_latency import Clock
from made_up_search import made_up_search
from tiny_classifiers import answering

import attnlab as al
from attnlab.datasets.splits import Splits
from attnlab.economics.budgets import COSTS, Budget, costs_of
from attnlab.economics.flops import flops_by_part
from attnlab.economics.frontier import frontier, shadow_prices
from attnlab.economics.results import SearchResult
from attnlab.economics.shapes import PARTS, parameters_by_part, shape_of
from attnlab.errors import AttnlabError, SettingsError
from attnlab.show.widgets.budget_explorer import BudgetExplorer
from attnlab.show.widgets.budget_report import budget_report, first_settings
from attnlab.show.widgets.budget_words import Scale
from attnlab.statistics import paired_test


@pytest.fixture(scope="module")
def little():
    return answering("bert", 120)


@pytest.fixture(scope="module")
def found(little):
    return made_up_search(*little, latency=Clock())


@pytest.fixture
def desk(found):
    made = BudgetExplorer(found)
    yield made
    made.close()


def report(found, last=None, state="finished", check=None, **changes):
    settings = first_settings(found.budget) | changes
    made = budget_report(found, shape_of(found.clf), settings, last, state, check=check)
    json.dumps(made, allow_nan=False)
    return made


def most_accurate(found, **limits):
    """By hand: the most accurate inside all limits, and of those the one with the lowest loss."""
    fitting = [
        row
        for row, point in enumerate(found.points)
        if all(point.costs[name] <= limit for name, limit in limits.items())
    ]
    return max(fitting, key=lambda row: (found.points[row].accuracy, -found.points[row].loss),
               default=None)  # fmt: skip


def off(**limits):
    return dict.fromkeys(COSTS) | limits


def shares(found, name, *parts):
    """Limits at these parts of what the whole classifier costs."""
    return [part * found.points[0].costs[name] for part in parts]


# ── what fits ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", COSTS)
def test_the_most_accurate_inside_a_limit_is_chosen(found, name):
    rows = set()
    for limit in shares(found, name, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        row = report(found, **off(**{name: limit}))["row"]
        assert row == most_accurate(found, **{name: limit})
        rows.add(row)
    assert len(rows) > 2


def test_several_limits_hold_together(found):
    for part in (0.6, 0.75, 0.9):
        limits = {name: shares(found, name, part)[0] for name in ("flops", "latency_ms")}
        limits["parameters"] = shares(found, "parameters", 0.85)[0]
        assert report(found, **off(**limits))["row"] == most_accurate(found, **limits)


def test_without_limits_all_that_was_measured_is_inside(found):
    shown = report(found, **off())
    assert shown["row"] == most_accurate(found)
    assert all(point["inside"] for point in shown["chart"]["points"])
    assert shown["chart"]["limit"] is None
    assert [one["told"] for one in shown["sliders"]] == ["no limit"] * 4


def test_where_nothing_fits_the_least_is_told_and_the_last_choice_stays_in_view(found):
    (limit,) = shares(found, "flops", 0.05)
    fine = report(found)
    shown = report(found, last=fine["row"], flops=limit)
    least = min(point.costs["flops"] for point in found.points)
    assert shown["row"] is None and not shown["fits"]
    assert shown["remark"].startswith("Nothing that was measured fits these limits.")
    assert (
        f"The least is {least / 1e6:.2f}\u00a0MFLOPs (limit {limit / 1e6:.2f})" in shown["remark"]
    )
    assert shown["map"]["layers"] == fine["map"]["layers"]
    assert shown["map"]["name"] == "What stays: the last that fitted"
    assert shown["split"]["bars"][1][0] == "the last that fitted"
    assert report(found, flops=limit)["map"]["layers"] == []
    assert not any(point["chosen"] or point["inside"] for point in shown["chart"]["points"])


def test_limits_that_can_be_kept_one_by_one_only_name_the_nearest(found):
    points = found.points
    cheapest = min(points, key=lambda point: point.costs["flops"])
    lightest = min(points, key=lambda point: point.costs["parameters"])
    other = replace(lightest, costs=lightest.costs | {"flops": 2 * cheapest.costs["flops"]})
    two = replace(found, points=(points[0], replace(cheapest, costs=cheapest.costs | {
        "parameters": 2 * lightest.costs["parameters"]}), other))  # fmt: skip
    limits = {"flops": cheapest.costs["flops"], "parameters": lightest.costs["parameters"]}
    said = report(two, **off(**limits))["remark"]
    assert "Each of them can be kept, but not all at once." in said
    assert "The nearest takes" in said
    assert "The least" not in said


# ── sliders ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "whole"),
    [(name, whole) for name in ("parameters", "flops") for whole in (3e4, 2e6, 22_713_986.0, 2e10)]
    + [(name, whole) for name in ("megabytes", "latency_ms") for whole in (0.12, 3.2, 90.9, 1e4)],
)
@pytest.mark.parametrize("least", [0.0, 0.02, 0.6, 1.0])
def test_a_slider_reaches_the_whole_classifier_in_even_steps(name, whole, least):
    scale = Scale.of(name, least * whole, whole)
    stops = scale.stops
    assert 3 < len(stops) <= 125
    assert stops[0] <= max(least * whole, scale.step * scale.size) and stops[-1] >= whole
    assert np.allclose(np.diff(stops), scale.step * scale.size, rtol=1e-6)
    for place, stop in enumerate(stops):
        Budget(**{name: stop})
        assert scale.position(stop) == place
    told = [scale.bare(stop) for stop in stops]
    assert len(set(told)) == len(told)
    assert scale.position(1e30) == len(stops) - 1 and scale.position(0) == 0


def test_costs_are_told_in_units_of_a_readable_size():
    scales = [
        Scale.of("parameters", 1.2e7, 22_713_986),
        Scale.of("flops", 1e7, 6.9e8),
        Scale.of("megabytes", 48, 90.9),
        Scale.of("latency_ms", 0, 4.6),
    ]
    told = [
        scale.told_of(0.5 * whole, whole)
        for scale, whole in zip(scales, (22_713_986, 6.9e8, 90.9, 4.6), strict=True)
    ]
    assert [words.replace("\u00a0", " ") for words in told] == [
        "11.4 of 22.7 M parameters",
        "0.34 of 0.69 GFLOPs",
        "45.5 of 90.9 MB",
        "2.30 of 4.60 ms",
    ]


def test_milliseconds_that_nobody_knows_cannot_be_limited(little):
    unknown = made_up_search(*little)
    shown = report(unknown)
    slider = shown["sliders"][COSTS.index("latency_ms")]
    assert "give the search latency=" in slider["why"] and not slider["on"]
    assert shown["costs"][-1][2] is False
    assert "ms" not in shown["remark"]
    desk = BudgetExplorer(unknown)
    before = dict(desk.settings)
    for changes in ({"latency_ms": 3.0}, {"cost": "latency_ms"}):
        with pytest.raises(SettingsError, match="Milliseconds are not known"):
            desk.set(**changes)
    assert desk.settings == before
    desk.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flops": 0}, "flops=0 is no limit"),
        ({"flops": float("nan")}, "flops=nan is no limit"),
        ({"megabytes": "10"}, "megabytes='10' is no limit"),
        ({"cost": "euros"}, "There is no cost 'euros'"),
        ({"gigabytes": 1}, "it needs exactly parameters, flops"),
    ],
)
def test_a_setting_that_there_is_not_is_refused_and_nothing_moves(desk, changes, said):
    before, shown = dict(desk.settings), desk.report
    with pytest.raises(AttnlabError, match=re.escape(said)):
        desk.set(**changes)
    assert desk.settings == before and desk.report == shown


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cost", COSTS)
def test_the_frontier_is_that_of_the_search(found, cost):
    chart = report(found, cost=cost)["chart"]
    expected = frontier(found.table, found.correct, cost)
    marked = [row for row, point in enumerate(chart["points"]) if point["frontier"]]
    assert marked == sorted(expected.index)
    assert [pair[1] for pair in chart["path"]] == pytest.approx(expected["accuracy"].tolist(), 1e-4)
    assert chart["path"] == sorted(chart["path"])
    for point, row in zip(chart["points"], found.table.itertuples(), strict=True):
        assert (point["y"], point["low"], point["high"]) == pytest.approx(
            (row.accuracy, row.ci_low, row.ci_high), 1e-4
        )
        across, up = chart["across"], chart["up"]
        assert across["from"] <= point["x"] <= across["to"]
        assert up["from"] <= point["low"] <= point["y"] <= point["high"] <= up["to"]


def test_points_say_who_chose_them(found):
    kinds = [point["kind"] for point in report(found)["chart"]["points"]]
    names = {"whole": "whole", "random": "chance"}
    assert kinds == [names.get(point.origin, "search") for point in found.points]
    assert set(kinds) == {"whole", "chance", "search"}


def test_axes_stay_when_a_limit_moves(found):
    first = report(found)["chart"]
    for limit in shares(found, "flops", 0.1, 0.5, 1.0):
        other = report(found, flops=limit)["chart"]
        assert (other["across"], other["up"]) == (first["across"], first["up"])


def test_ticks_tell_what_they_stand_at(found):
    for cost in COSTS:
        for told in report(found, cost=cost)["chart"]["across"]["ticks"]:
            assert float(told[1].replace(",", "")) == pytest.approx(told[0])


def test_the_map_is_the_plan_of_the_chosen_one(found):
    whole = found.points[0].plan
    shown = report(found, flops=shares(found, "flops", 0.5)[0])
    plan = found.points[shown["row"]].plan
    assert len(shown["map"]["layers"]) == 3
    for layer, row in enumerate(shown["map"]["layers"]):
        stays = layer in plan.layers
        heads = [head for head, here in enumerate(row["heads"]) if here]
        assert heads == (list(plan.heads[layer]) if stays else [])
        assert row["neurons"] == (len(plan.neurons[layer]) if stays else 0)
        assert row["most"] == len(whole.neurons[layer])
        assert (row["told"] == "gone") == (not stays)


def test_a_head_that_the_classifier_never_had_is_no_head_that_went(little):
    clf, data = little
    pruned = al.compression.prune_heads(clf, heads_gone=[(1, 0)])
    shown = report(made_up_search(pruned, data, count=2), **off())
    assert shown["map"]["layers"][1]["heads"][0] is None


@pytest.mark.parametrize("cost", COSTS)
def test_parts_add_up_to_the_cost_of_the_whole_and_of_the_chosen_one(found, cost):
    shown = report(found, cost=cost)
    plan, shape = found.points[shown["row"]].plan, shape_of(found.clf)
    count = (
        (lambda one: flops_by_part(one, 32, 1))
        if cost in ("flops", "latency_ms")
        else parameters_by_part
    )
    whole, left = count(shape), count(plan.shape(shape))
    drawn = {part["name"]: part["shares"] for part in shown["split"]["parts"]}
    assert set(drawn) == {part for part in PARTS if whole[part]}
    for part, parts in drawn.items():
        total = sum(whole.values())
        assert parts == pytest.approx([whole[part] / total, left[part] / total])


def test_before_anything_is_measured_there_is_something_to_see(found):
    nothing = report(replace(found, points=()), state="searching")
    assert nothing["fits"] and nothing["row"] is None
    assert nothing["remark"].startswith("Nothing is measured yet")
    assert nothing["split"]["bars"][0][0] == "whole" and len(nothing["split"]["bars"]) == 1


# ── what is said ───────────────────────────────────────────────────────────────────────────────


def test_the_difference_from_the_whole_one_is_paired(found):
    shown = report(found, flops=shares(found, "flops", 0.5)[0])
    test = paired_test(found.correct[0], found.correct[shown["row"]])
    assert test.high < 0
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (test.low, test.high))
    assert (
        f"It costs {-100 * test.delta:.1f} points of accuracy (95\u00a0%: {low} to {high})"
        in shown["remark"]
    )
    accuracy = f"Accuracy on dev {100 * found.points[shown['row']].accuracy:.1f}\u00a0%"
    assert accuracy in shown["remark"]


def test_what_more_of_a_cost_buys_is_the_next_step_of_the_frontier(found):
    shown = report(found, flops=shares(found, "flops", 0.5)[0])
    spent = found.points[shown["row"]].costs["flops"]
    steps = shadow_prices(found.table, found.correct, "flops")
    step = steps[steps["cost_to"] > spent].iloc[0]
    told = re.search(
        r"from (\S+) to (\S+)\u00a0MFLOPs, each (\S+)\u00a0MFLOPs buys (\S+) points",
        shown["remark"],
    )
    ends = [float(end) * 1e6 for end in told.groups()[:2]]
    assert ends == pytest.approx([step["cost_from"], step["cost_to"]], rel=0.02)
    assert float(told[4]) == pytest.approx(100 * step["price"] * float(told[3]) * 1e6, abs=0.051)
    dearest = report(found, **off(flops=max(point.costs["flops"] for point in found.points)))
    assert "buys" not in dearest["remark"]


def test_a_choice_that_a_cheaper_one_may_equal_is_said_to_be_off_the_frontier(found):
    rows = {}
    for limit in shares(found, "flops", *np.linspace(0.3, 1, 40)):
        shown = report(found, flops=limit)
        if shown["row"] is not None:
            on = shown["chart"]["points"][shown["row"]]["frontier"]
            rows[on] = True
            assert ("It is not on the frontier" in shown["remark"]) == (not on)
    assert set(rows) == {True, False}


def test_the_whole_classifier_is_not_compared_with_itself(found):
    alone = report(replace(found, points=found.points[:1]), **off())
    assert alone["remark"].startswith("The whole classifier is the best.")
    assert "points" not in alone["remark"]


def in_int8(found, *places):
    """The same search, with these sub-networks measured in int8; as a search, without their ms."""
    shape, points = shape_of(found.clf), list(found.points)
    for place in places:
        point = points[place]
        small = costs_of(point.plan.shape(shape), number_format="int8")
        del small["latency_ms"]
        points[place] = replace(point, costs=small, number_format="int8")
    return replace(found, points=points)


def test_a_sub_network_in_int8_is_said_to_be_one(found):
    row = report(found, **off(flops=shares(found, "flops", 0.6)[0]))["row"]
    mixed = in_int8(found, row)
    limit = off(megabytes=mixed.points[row].costs["megabytes"])
    shown = report(mixed, **limit)
    assert shown["row"] == row
    told = f"{mixed.points[row].costs['megabytes']:.3f} of {found.points[0].costs['megabytes']:.3f}"
    assert f"{told}\u00a0MB, in int8. Accuracy" in shown["remark"]
    assert shown["map"]["title"].endswith("of the neurons, int8")
    words = [point["words"] for point in shown["chart"]["points"]]
    assert [place for place, told in enumerate(words) if ", int8: " in told] == [row]
    # its megabytes by part are not known: parameters are shown
    split = report(mixed, **limit | {"cost": "megabytes"})["split"]
    assert split["title"] == "Parameters by part" and split["unit"] != "MB"
    assert "int8" not in report(found)["remark"] + report(found)["map"]["title"]


def test_milliseconds_that_are_not_known_of_every_sub_network_are_not_known(found):
    mixed = in_int8(found, 3)
    shown = report(mixed)
    assert shown["costs"][-1][2] is False and "\u00a0ms" not in shown["remark"]
    assert shown["sliders"][-1]["told"] == "not known"
    with pytest.raises(SettingsError, match="Milliseconds are not known"):
        report(mixed, cost="latency_ms")


def test_the_slider_of_megabytes_reaches_down_to_int8(found):
    cheapest = min(range(1, len(found.points)), key=lambda row: found.points[row].costs["flops"])
    plain, mixed = (
        report(one)["sliders"][COSTS.index("megabytes")]["stops"]
        for one in (found, in_int8(found, cheapest))
    )
    spent = in_int8(found, cheapest).points[cheapest].costs["megabytes"]
    assert mixed[0] <= spent < plain[0] < plain[-1] == pytest.approx(mixed[-1], rel=0.02)


# ── predicted and measured milliseconds ────────────────────────────────────────────────────────


def checks(*cells):
    rows = [
        {"tokens": tokens, "batch": batch, "ms_quiet": took, "predicted_ms": told,
         "error": told / took - 1}
        for tokens, batch, took, told in cells
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_machine_at_another_speed_is_told_from_wrong_predictions(found):
    half_as_fast = checks((32, 1, 2.0, 1.0), (32, 1, 4.4, 2.2), (32, 1, 3.0, 1.5))
    note = report(found, check=half_as_fast)["check"]["note"]
    assert "Median error 50.0\u00a0%" in note
    assert "With all predictions times 2.00: 0.0\u00a0%." in note


def test_the_median_error_is_that_of_the_texts_of_the_budget(found):
    check = checks((32, 1, 2.0, 2.2), (32, 1, 4.0, 3.9), (32, 1, 5.0, 5.2), (64, 8, 9.0, 1.0))
    shown = report(found, check=check)["check"]
    assert "Median error 4.0\u00a0%, 3 sub-networks, 32 tokens." in shown["note"]
    assert "With all predictions times 0.96: 5.8\u00a0%." in shown["note"]  # medians by hand
    assert [pair[:2] for pair in shown["points"]] == [[2.2, 2.0], [3.9, 4.0], [5.2, 5.0]]
    assert all(0 <= end <= shown["axis"]["to"] for pair in shown["points"] for end in pair[:2])
    other = report(found, check=check.iloc[3:])["check"]
    assert other["note"].endswith("1 sub-network, 8 texts of 64 tokens.")
    assert report(found)["check"] is None


@pytest.mark.parametrize("given", [3, pd.DataFrame({"ms": [1.0]}), checks((1, 1, 1, 1)).iloc[:0]])
def test_another_table_than_that_of_a_check_is_refused(found, given):
    with pytest.raises(AttnlabError, match=r"LatencyTable\.check"):
        BudgetExplorer(found, given)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_search_is_refused(little):
    with pytest.raises(AttnlabError, match="got a Classifier"):
        BudgetExplorer(little[0])


def test_the_result_is_the_search_inside_the_limits_of_the_desk(desk, found):
    assert desk.result.chosen == found.chosen
    (limit,) = shares(found, "flops", 0.5)
    desk.set(flops=limit, parameters=shares(found, "parameters", 0.9)[0])
    row = most_accurate(found, flops=limit, parameters=desk.settings["parameters"])
    assert desk.result.chosen == desk.report["row"] == row
    assert desk.result.plan == found.points[row].plan
    assert costs_of(shape_of(desk.result.best))["flops"] == found.points[row].costs["flops"]
    assert desk.result is desk.result  # test is looked at once
    made = {"al": al}
    exec(desk.code, made)
    assert made["budget"] == desk.budget
    desk.set(**off())
    assert desk.budget is None
    assert desk.code == "budget = None  # no limits"
    desk.reset()
    assert desk.budget == found.budget


def test_the_last_choice_is_that_of_the_desk(desk, found):
    limit, nothing = shares(found, "flops", 0.5, 0.01)
    desk.set(flops=limit)
    before = desk.report["map"]["layers"]
    desk.set(flops=nothing)
    assert desk.error == ""
    assert desk.report["map"]["layers"] == before and not desk.report["fits"]
    with pytest.raises(AttnlabError, match="No sub-network inside the budget"):
        _ = desk.result.best
    desk.set(flops=limit)
    assert desk.report["fits"]


def test_its_picture_says_what_is_chosen_and_where_the_limits_are(desk, found):
    desk.set(flops=shares(found, "flops", 0.5)[0])
    alt = desk.picture().alt
    for words in ("Limits: FLOPs", "Accuracy on dev", "What stays", "feed-forward", "MFLOPs"):
        assert words in alt
    desk.set(flops=shares(found, "flops", 0.01)[0])
    assert "Nothing that was measured fits" in desk.picture().alt


def test_a_picture_of_nothing_says_so(found):
    empty = BudgetExplorer(replace(found, points=()))
    with pytest.raises(AttnlabError, match="Nothing is measured yet"):
        empty.picture()
    empty.close()


# ── a search that goes on ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def searched(little):
    """What a search is given: a classifier, its data, and a budget."""
    clf, data = little
    budget = Budget(flops=0.6 * costs_of(shape_of(clf))["flops"])
    return clf, Splits(data.select(range(40)), data.select(range(40, 100)), None), budget


@pytest.fixture
def held(searched):
    """A desk whose search waits, after each sub-network, until it is told to go on."""
    gate, arrived = threading.Semaphore(0), threading.Semaphore(0)

    def hold(_result):
        arrived.release()
        assert gate.acquire(timeout=60)

    desk = BudgetExplorer.search(*searched, minutes=1, most=6, steps=4, callback=hold)
    yield desk, gate, arrived
    desk.close()
    gate.release(99)


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_search_beside_the_cell_finds_what_a_search_in_it_finds(searched):
    desk = BudgetExplorer.search(*searched, minutes=1, most=6, steps=4).wait()
    plain = al.economics.search(*searched, minutes=1, most=6, steps=4)
    assert desk.error == ""
    assert desk.report["state"] == "finished" and not desk.report["can_stop"]
    assert [point.plan for point in desk.result.points] == [point.plan for point in plain.points]
    assert desk.report["row"] == plain.chosen
    assert desk.result.clf is searched[0]  # and not the copy that was searched
    desk.close()


def test_limits_move_while_sub_networks_arrive(held):
    desk, gate, arrived = held
    for count in (1, 2, 3):
        assert arrived.acquire(timeout=60)
        wait_until(lambda count=count: desk.report["count"] == count)
        gate.release()
    assert arrived.acquire(timeout=60)  # the search waits again, with four
    wait_until(lambda: desk.report["count"] == 4)
    assert desk.report["state"] == "searching" and desk.busy()
    assert desk.report["progress"].startswith("4 sub-networks, ")
    desk.set(**off())
    assert desk.report["row"] == most_accurate(desk.result)
    assert desk.report["state"] == "searching"
    gate.release(99)
    assert desk.wait().report["state"] == "finished"
    assert desk.settings == off() | {"cost": "flops"}


def test_stop_keeps_what_is_measured(held):
    desk, gate, arrived = held
    for _ in range(2):
        assert arrived.acquire(timeout=60)
        gate.release()
    assert arrived.acquire(timeout=60)
    desk._on_message(desk, {"action": "stop"}, [])  # as the button does
    assert desk.report["state"] == "stopping" and not desk.report["can_stop"]
    gate.release(99)
    desk.wait()
    assert desk.report["state"] == "stopped" and desk.error == ""
    assert desk.report["count"] == 3 and desk.result.interrupted
    assert "inside the limits. The search was stopped." in desk.report["progress"]


def test_a_desk_that_is_closed_ends_its_search(held):
    desk, gate, arrived = held
    assert arrived.acquire(timeout=60)
    desk.close()
    gate.release(99)
    desk.wait(60)
    assert not desk.busy() and desk.report["count"] <= 2


def test_a_budget_that_nothing_fits_is_told_in_the_desk(searched):
    clf, splits, _ = searched
    desk = BudgetExplorer.search(clf, splits, Budget(parameters=10), minutes=1).wait()
    assert "Nothing fits this budget: it allows 10 parameters" in desk.error
    assert desk.report["state"] == "stopped" and desk.report["remark"] == "Nothing is measured."
    desk.close()


def test_a_search_in_a_cell_is_shown_as_it_goes(searched):
    clf, splits, budget = searched
    desk, seen = BudgetExplorer(SearchResult(clf, splits, splits.dev, budget, ())), []

    def told(result):
        desk.take(result)
        seen.append(desk.report["count"])

    result = al.economics.search(clf, splits, budget, minutes=1, most=4, steps=4, callback=told)
    wait_until(lambda: desk.report["count"] == len(result.points))
    assert seen[0] == 1
    assert desk.report["row"] == result.chosen
    desk.close()
