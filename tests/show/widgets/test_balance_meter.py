"""The balance meter without a browser: what is drawn and said, as `measure` measures it."""

import json
import time

import numpy as np
import pytest

import attnlab as al
from attnlab.balance.meter import measure
from attnlab.balance.reading import MEASURES
from attnlab.errors import AttnlabError, SettingsError
from attnlab.show.widgets import balance_meter
from attnlab.show.widgets.balance_meter import BalanceMeter
from attnlab.show.widgets.balance_report import meter_report

TEXT = "A warm, funny film."
START = {
    "measure": "entropy",
    "tokens": "text",
    "by": "weights",
    "value": "mean",
    "layer": 2,
    "head": 1,
    "text": TEXT,
}
SIZE = (6, 12)


@pytest.fixture(scope="module")
def flat(clf):
    """The same model with queries so small that every head looks more evenly."""
    import copy

    other = clf.with_model(copy.deepcopy(clf.model))
    for layer in other.model.bert.encoder.layer:
        layer.attention.self.query.weight.data.mul_(0.5)
    return other


@pytest.fixture(scope="module")
def read(clf, some):
    return measure(clf, some.texts)


@pytest.fixture(scope="module")
def before(flat, some):
    return measure(flat, some.texts)


@pytest.fixture(scope="module")
def meter(clf, flat, some):
    """A meter that has measured everything; tests put it back."""
    made = BalanceMeter(clf, some, TEXT, before=flat).wait()
    assert made.error == ""
    return made


@pytest.fixture(autouse=True)
def as_at_first(request):
    yield
    if "meter" in request.fixturenames:
        meter = request.getfixturevalue("meter")
        meter.reset()
        meter.wait()


def report(read, before=None, **changes):
    made = meter_report(
        read, START | changes, SIZE, before, 0 if read is None else read.texts, before is not None
    )
    json.dumps(made, allow_nan=False)
    return made


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def test_before_the_first_reading_there_is_a_dial_and_an_empty_map():
    made = report(None)
    assert made["state"] == "waiting"
    assert made["dial"]["value"] == "–"
    assert made["map"]["values"] is None
    assert "not measured yet" in made["map"]["alt"]


def test_the_dial_shows_the_overall_figure_and_its_parts(read):
    dial = report(read)["dial"]
    assert dial["overall"] == read.overall
    assert [part["share"] for part in dial["parts"]] == [read.parts["tokens"], read.parts["heads"]]
    assert f"overall balance {read.overall:.2f} of 1" in dial["alt"]
    assert dial["before"] is None


@pytest.mark.parametrize("value", ["mean", "std", "adjusted", "slope"])
def test_the_map_holds_the_measure_of_every_head(read, value):
    made = report(read, measure="distance", tokens="all", by="contributions", value=value)
    drawn = np.array(made["map"]["values"])
    expected = read.map("distance", "all", "contributions", value)
    np.testing.assert_allclose(drawn, expected, rtol=1e-3)
    low, high = made["map"]["low"], made["map"]["high"]
    assert low <= drawn.min()
    assert drawn.max() <= high * 1.001
    assert made["map"]["signed"] == (value == "slope")


def test_the_change_is_now_minus_before(read, before):
    made = report(read, before, value="change")
    np.testing.assert_allclose(made["map"]["values"], read.map() - before.map(), atol=1e-4)
    assert made["map"]["low"] == -made["map"]["high"]
    assert made["dial"]["before"] == before.overall
    assert made["head"]["columns"] == ["measure", "mean ± texts", "before"]


def test_a_measure_that_was_not_taken_so_is_shown_as_it_was(read):
    made = report(read, measure="cls")
    assert made["shown"]["tokens"] == "all"
    assert made["settings"]["tokens"] == "text"  # and comes back with another measure
    assert "with all tokens" in made["remark"]
    assert ["text", "without special tokens", False] in made["menus"]["tokens"]


def test_every_choice_of_every_menu_can_be_drawn(read, before):
    menus = report(read, before)["menus"]
    for name, choices in menus.items():
        for one, _, _ in choices:
            made = report(read, before, **{name: one})
            assert made["shown"][name] == one or not {c[0]: c[2] for c in made["menus"][name]}[one]


def test_the_head_looked_at_has_all_its_numbers(read):
    made = report(read, layer=2, head=1)["head"]
    assert made["name"] == "Layer 2, head 1"
    entropy = read.map()[2, 1]
    rows = {row[0]: row[1] for row in made["rows"]}
    assert rows["normalised entropy"].startswith(f"{entropy:.2f} ±")
    rank = int((read.map() < entropy).sum()) + 1
    assert made["note"].startswith(f"rank {rank} of 72")


def test_removed_heads_are_gaps(read):
    import dataclasses

    table = read.table.copy()
    gone = (table["layer"] == 2) & (table["head"] == 1)
    table.loc[gone, ["mean", "std", "adjusted", "slope"]] = np.nan
    made = report(dataclasses.replace(read, table=table))
    assert made["map"]["values"][2][1] is None
    assert made["head"]["note"] == "not there"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measure": "entropi"}, "no measure 'entropi'"),
        ({"value": "change"}, "before=other"),
        ({"measure": "js_before"}, "before=other"),
        ({"layer": 6}, "layer is 6"),
        ({"head": True}, "head is True"),
        ({"text": "  "}, "sentence is empty"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_cure(read, changes, says):
    with pytest.raises(SettingsError, match=says):
        report(read, **changes)


# ── the meter ──────────────────────────────────────────────────────────────────────────────────


def test_it_reads_what_measure_does(meter, read):
    assert meter.balance.overall == pytest.approx(read.overall, abs=1e-5)
    np.testing.assert_allclose(meter.balance.map(), read.map(), atol=1e-5)
    assert meter.report["state"] == "measured"
    assert meter.report["n"] == 40
    far = meter.balance.map("js_before")
    assert 0 < far.mean() < 1


def test_a_small_sample_is_shown_before_all_is_measured(clf, some):
    seen = []
    made = BalanceMeter(clf, some.texts, TEXT)
    made.observe(lambda change: seen.append((change["new"]["state"], change["new"]["n"])), "report")
    made.wait()
    assert ("partial", balance_meter.FIRST) in seen
    assert seen[-1] == ("measured", 40)
    made.close()


def test_choosing_a_head_draws_its_map_on_the_sentence(meter, clf):
    meter.set(layer=3, head=4)
    meter.wait()
    weights = clf.attend(TEXT).weights[3, 4]
    np.testing.assert_allclose(meter.sentence["values"], weights, atol=1e-3)
    assert "layer 3, head 4" in meter.sentence["alt"]


def test_the_change_of_a_head_is_shown_on_the_sentence(meter, clf, flat):
    meter.set(layer=3, head=4, value="change")
    meter.wait()
    change = clf.attend(TEXT).weights[3, 4] - flat.attend(TEXT).weights[3, 4]
    np.testing.assert_allclose(meter.sentence["values"], change, atol=1e-3)
    assert meter.sentence["signed"]


def test_what_goes_wrong_is_said_in_the_meter_and_goes_away(meter):
    meter.settings = meter.settings | {"text": ""}
    assert "Type one" in meter.error
    meter.settings = meter.settings | {"text": "Fine."}
    meter.wait()
    assert meter.error == ""
    assert meter.sentence["tokens"][1] == "fine"
    with pytest.raises(AttnlabError, match="no measure"):
        meter.set(measure="warmth")


def test_its_settings_can_be_copied_as_code(meter):
    meter.set(measure="distance")
    assert "measure='distance'" in meter.code


def test_its_picture_shows_the_same_and_stays(meter):
    meter.set(measure="sep", value="change")
    picture = meter.picture()
    assert MEASURES["sep"] in picture.alt
    assert "Change from it" in picture.alt
    bundle = meter._repr_mimebundle_()[0]
    assert '<img alt="Overall balance' in bundle["text/html"]


def test_models_of_another_size_and_no_texts_are_refused(clf, some):
    from types import SimpleNamespace

    with pytest.raises(AttnlabError, match="models of one size"):
        BalanceMeter(clf, some, before=SimpleNamespace(layers=2, heads=12))
    with pytest.raises(AttnlabError, match="no texts"):
        BalanceMeter(clf, [])


def test_the_meter_answers_while_it_measures(clf, movies):
    made = BalanceMeter(clf, movies.dev, TEXT)
    began = time.monotonic()
    while made.balance is None:
        assert time.monotonic() - began < 20
        time.sleep(0.01)
    made.set(measure="largest")
    assert made.report["shown"]["measure"] == "largest"
    assert made.report["state"] == "partial"
    made.close()
    assert made._work.wait(10)


def test_it_is_one_of_the_names_of_the_package():
    assert al.BalanceMeter is BalanceMeter
