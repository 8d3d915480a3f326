"""The latency table: what it predicts of a machine whose times are known, and what it refuses."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab.economics import sub_networks
from attnlab.economics.latency import LatencyTable
from attnlab.economics.shapes import Shape
from attnlab.economics.sub_networks import random_shapes
from attnlab.economics.timing import Times
from attnlab.errors import AttnlabError, AttnlabWarning

WHOLE = Shape.of(layers=4, heads=6, neurons=96, width=48, vocabulary=90, positions=64)
ALBERT = dataclasses.replace(WHOLE, family="albert", sharing=(0, 0, 0, 0))


def seconds_of(shape, tokens, batch):
    """What each pass takes on the made-up machine, in ms: additive in layers, heads, neurons."""
    layers = sum(0.5 + 0.2 * heads + 0.01 * neurons for heads, neurons in shape.layers)
    return 3 + 0.1 * tokens + 0.002 * tokens * batch * layers


class Machine:
    """Stands for building and timing models; each time it is asked it may run at another speed."""

    def __init__(self, monkeypatch, ms=seconds_of, speeds=(1,), noise=0.0, busy=1.0):
        self.ms, self.speeds, self.noise, self.busy = ms, list(speeds), noise, busy
        self.groups, self.seen = [], set()
        self.generator = np.random.default_rng(0)
        monkeypatch.setattr(sub_networks, "build", lambda shape, seed: shape)
        monkeypatch.setattr(sub_networks, "forward_pass", lambda *call: call)
        monkeypatch.setattr(sub_networks, "interleaved", self.interleaved)

    def interleaved(self, calls, rounds, seconds, threads):
        speed = self.speeds[len(self.groups) % len(self.speeds)]
        self.groups.append(list(calls.values()))
        self.seen |= {shape.layers for shape, *_ in calls.values()}
        times = np.array([[float(speed * self.ms(*call)) for call in calls.values()]] * rounds)
        times *= np.exp(self.noise * self.generator.standard_normal(times.shape))
        quiet = pd.DataFrame(times, columns=list(calls))
        return Times(quiet * self.busy, quiet)


def measured(monkeypatch, shape=WHOLE, tokens=(8, 32), batches=(1, 16), **machine):
    rig = Machine(monkeypatch, **machine)
    return LatencyTable.measure(shape, tokens, batches), rig


@pytest.mark.parametrize("shape", [WHOLE, ALBERT])
def test_of_an_additive_machine_every_sub_network_is_predicted_exactly(monkeypatch, shape):
    table, _ = measured(monkeypatch, shape)
    for one in random_shapes(shape, 20):
        for cell in ((8, 1), (32, 1), (8, 16), (32, 16)):
            assert table.predict(one, *cell) == pytest.approx(seconds_of(one, *cell), rel=1e-6)


def test_between_two_lengths_it_is_a_straight_line(monkeypatch):
    table, _ = measured(monkeypatch)
    low, high = table.predict(WHOLE, 8), table.predict(WHOLE, 32)
    assert table.predict(WHOLE, 14) == pytest.approx(low + (high - low) / 4)


def test_what_bends_between_the_sizes_is_followed_at_the_sizes(monkeypatch):
    def bent(shape, tokens, batch):
        return 1 + sum(heads**2 + max(neurons - 48, 0) for heads, neurons in shape.layers)

    table, _ = measured(monkeypatch, tokens=(8,), batches=(1,), ms=bent)
    for layers in (((6, 96),) * 4, ((3, 48),) * 4, ((1, 12), (4, 72), (0, 1))):
        shape = dataclasses.replace(WHOLE, layers=layers)
        assert table.predict(shape, 8) == pytest.approx(bent(shape, 8, 1), rel=1e-6)


def test_the_check_measures_other_sub_networks_and_reports_how_far_it_is_off(monkeypatch):
    table, rig = measured(monkeypatch)
    fitted, rig.ms = set(rig.seen), lambda *call: 1.25 * seconds_of(*call)
    rig.seen = set()
    found = table.check(12)
    assert len(found) == 12 * 4
    assert len(fitted & rig.seen) == 1  # the largest, which every group is measured with
    assert found["error"].to_numpy() == pytest.approx(1 / 1.25 - 1, abs=1e-6)
    errors = found.attrs["errors"]
    assert list(errors["tokens"]) == [8, 8, 32, 32]
    assert errors["median"].to_numpy() == pytest.approx(0.2, abs=1e-6)
    assert errors["drift"].to_numpy() == pytest.approx(1.25)
    assert errors["factor"].to_numpy() == pytest.approx(1.25)
    assert errors["relative"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_noise_makes_the_check_worse(monkeypatch):
    table, _ = measured(monkeypatch, noise=0.05)
    errors = table.check(30).attrs["errors"]
    assert errors["median"].between(0.001, 0.1).all()
    assert errors["relative"].between(0.001, 0.1).all()


def test_groups_that_run_at_another_speed_are_brought_to_one(monkeypatch):
    monkeypatch.setattr(sub_networks, "_TOGETHER", 5e5)
    table, rig = measured(monkeypatch, tokens=(8,), batches=(1,), speeds=(1, 1.5, 1.2))
    assert len(rig.groups) > 2
    assert all(group[0][0].layers == WHOLE.layers for group in rig.groups)
    shape = dataclasses.replace(WHOLE, layers=((2, 30), (5, 60)))
    whole = table.predict(WHOLE, 8)
    expected = whole * seconds_of(shape, 8, 1) / seconds_of(WHOLE, 8, 1)
    assert table.predict(shape, 8) == pytest.approx(expected, rel=1e-6)


def test_a_busy_machine_is_said(monkeypatch):
    with pytest.warns(AttnlabWarning, match="doing something else"):
        table, _ = measured(monkeypatch, busy=2.0)
    assert table.predict(WHOLE, 8) == pytest.approx(seconds_of(WHOLE, 8, 1), rel=1e-6)
    with pytest.warns(AttnlabWarning, match="doing something else"):
        table.check(3)


def test_the_blocks_add_up_to_the_prediction(monkeypatch):
    table, _ = measured(monkeypatch)
    blocks = table.blocks.query("tokens == 32 and batch == 16")
    rest = blocks.query("block == 'rest'")["ms"].item()
    layer = blocks.query("heads == 6 and neurons == 96")["ms"].item()
    assert rest + 4 * layer == pytest.approx(table.predict(WHOLE, 32, 16))
    assert (blocks["ms"] >= 0).all()
    assert {0, 1, 6} <= set(blocks["heads"].dropna())


@pytest.mark.filterwarnings("ignore:A forward pass took")
def test_nothing_is_ever_faster_for_being_larger(monkeypatch):
    table, _ = measured(monkeypatch, noise=0.3)
    for one in random_shapes(WHOLE, 20):
        more = tuple((min(6, heads + 1), min(96, neurons + 9)) for heads, neurons in one.layers)
        larger = dataclasses.replace(one, layers=more)
        assert table.predict(larger, 8) >= table.predict(one, 8) - 1e-9


def test_a_saved_table_predicts_the_same(monkeypatch, tmp_path):
    table, _ = measured(monkeypatch, ALBERT)
    again = LatencyTable.load(table.save(tmp_path / "latency.json"))
    assert again.shape == table.shape
    assert again.predict(ALBERT, 8, 16) == table.predict(ALBERT, 8, 16)
    pd.testing.assert_frame_equal(again.measured, table.measured, check_dtype=False)
    content = json.loads((tmp_path / "latency.json").read_text())
    content["about"]["cpu"] = "another"
    (tmp_path / "latency.json").write_text(json.dumps(content))
    with pytest.warns(AttnlabWarning, match=r"measured elsewhere \(cpu differ"):
        LatencyTable.load(tmp_path / "latency.json")
    (tmp_path / "latency.json").write_text("{}")
    with pytest.raises(AttnlabError, match="Measure again"):
        LatencyTable.load(tmp_path / "latency.json")


@given(st.integers(0, 1000))
def test_random_shapes_are_sub_networks(seed):
    for whole in (WHOLE, ALBERT):
        for shape in random_shapes(whole, 5, seed):
            assert 2 <= len(shape.layers) <= 4
            assert all(0 <= heads <= 6 and 1 <= neurons <= 96 for heads, neurons in shape.layers)
    assert random_shapes(WHOLE, 5, seed) == random_shapes(WHOLE, 5, seed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ((6, 96),) * 5}, "up to 4 layers.*has 5"),
        ({"layers": ((7, 96),)}, "up to 4 layers with 6 heads"),
        ({"layers": ((6, 97),)}, "96 neurons"),
        ({"family": "roberta"}, "family 'bert'"),
        ({"width": 64}, "width 48"),
        ({"ranks": (("0.up", 3),)}, "products of thin"),
    ],
)
def test_shapes_that_were_not_measured_are_refused(monkeypatch, changes, message):
    table, _ = measured(monkeypatch)
    shape = dataclasses.replace(WHOLE, **changes)
    with pytest.raises(AttnlabError, match=message):
        table.predict(shape, 8)
    with pytest.raises(AttnlabError, match=message):
        table.check([shape])


@pytest.mark.parametrize(("tokens", "batch"), [(7, 1), (33, 1), (8, 2)])
def test_texts_that_were_not_measured_are_refused(monkeypatch, tokens, batch):
    table, _ = measured(monkeypatch)
    with pytest.raises(AttnlabError, match=r"measured for 8 x 1, 8 x 16, 32 x 1, 32 x 16"):
        table.predict(WHOLE, tokens, batch)


def test_checking_nothing_is_refused(monkeypatch):
    table, _ = measured(monkeypatch)
    for nothing in (0, -3, True):
        with pytest.raises(AttnlabError, match="count is"):
            table.check(nothing)
    with pytest.raises(AttnlabError, match="no shapes"):
        table.check([])


def test_measuring_nothing_is_refused(monkeypatch):
    Machine(monkeypatch)
    with pytest.raises(AttnlabError, match="one length"):
        LatencyTable.measure(WHOLE, [], [1])
    with pytest.raises(AttnlabError, match="threads is 0"):
        LatencyTable.measure(WHOLE, threads=0)
    with pytest.raises(AttnlabError, match="products of thin"):
        LatencyTable.measure(dataclasses.replace(WHOLE, ranks=(("0.up", 3),)))
    monkeypatch.setattr(sub_networks, "interleaved", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(AttnlabError, match="rounds is 0"):
        LatencyTable.measure(WHOLE, rounds=0)


@pytest.mark.filterwarnings("ignore:A forward pass took")
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_real_models_are_built_timed_and_predicted(family):
    shape = Shape.of(
        layers=2, heads=2, neurons=16, width=16, vocabulary=50, positions=20, family=family
    )
    if family == "albert":
        shape = dataclasses.replace(shape, sharing=(0, 0))
    table = LatencyTable.measure(shape, (4,), (1,), rounds=3, seconds=0.01)
    assert table.predict(shape, 4) > 0
    found = table.check(2, rounds=3, seconds=0.01)
    assert np.isfinite(found["error"]).all()
    with pytest.raises(AttnlabError, match="21 tokens does not fit"):
        LatencyTable.measure(shape, (21,), (1,))
