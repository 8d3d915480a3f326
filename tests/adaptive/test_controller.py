"""The controller: down at once, up slowly, never below its floor, and no swinging."""

from dataclasses import replace

import numpy as np
import pytest
from queueing import Simulated, poisson

from attnlab.adaptive import Controller, FixedPoint, LoadMonitor, OperatingPoint, Oracle, Shedding
from attnlab.errors import SettingsError

POINTS = [
    OperatingPoint("full", 0.86, 10.0),
    OperatingPoint("half", 0.84, 6.0, 0.6),
    OperatingPoint("least", 0.80, 3.0, 0.3),
]
QUIET = LoadMonitor().reading()


def reading(p95=50.0, waiting=0, rate=10.0):
    return replace(QUIET, p95_ms=p95, waiting=waiting, arrivals_per_second=rate)


class Clock:
    """Seconds that go by when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


def made(**options):
    """A controller with a clock of its own."""
    return Controller(POINTS, **({"target_ms": 200, "patience": 3} | options), clock=Clock())


@pytest.fixture
def controller():
    return made()


def names(controller, *readings, seconds=1.0):
    """The point after each reading; so many seconds lie between two."""
    found = []
    for each in readings:
        controller._clock.now += seconds
        found.append(controller.observe(each).name)
    return found


def test_it_begins_with_the_dearest_whatever_the_order():
    assert Controller(POINTS[::-1], 200).point.name == "full"


def test_a_broken_promise_is_answered_at_once_by_the_dearest_point_that_keeps_up(controller):
    assert names(controller, reading(p95=201, rate=110)) == ["half"]
    other = made()
    assert names(other, reading(p95=201, rate=200)) == ["least"]


def test_what_waits_counts_before_latencies_say_so(controller):
    assert names(controller, reading(waiting=10)) == ["full"]  # 100 ms of work
    assert names(controller, reading(waiting=11)) == ["half"]


def test_it_goes_up_one_by_one_after_calm_readings(controller):
    names(controller, reading(p95=500, rate=300))
    assert controller.point.name == "least"
    found = names(controller, *[reading(p95=100)] * 6)
    assert found == ["least", "least", "half", "half", "half", "full"]


def test_a_reading_that_is_not_calm_begins_the_count_anew(controller):
    names(controller, reading(p95=500, rate=300))
    found = names(controller, *map(reading, (100, 100, 150, 100, 100, 100)))
    assert found == ["least"] * 5 + ["half"]


def test_silence_is_calm(controller):
    names(controller, reading(p95=500, rate=300))
    quiet = replace(QUIET, arrivals_per_second=0.0)
    assert names(controller, *[quiet] * 3) == ["least", "least", "half"]


def test_it_does_not_go_up_to_a_point_that_could_not_keep_up(controller):
    names(controller, reading(p95=500, rate=120))
    assert controller.point.name == "half"
    assert set(names(controller, *[reading(p95=20, rate=120)] * 30)) == {"half"}


def test_old_latencies_are_no_reason_for_a_second_step(controller):
    names(controller, reading(p95=900, rate=110))
    assert set(names(controller, *[reading(p95=900, rate=110)] * 10)) == {"half"}
    assert names(controller, reading(p95=900, rate=110)) == ["least"]  # they should be gone


def test_asked_again_and_again_it_does_not_take_old_latencies_for_new_ones(controller):
    """While too much waits a service asks many times a second."""
    often = [reading(p95=900, rate=110)] * 80
    assert set(names(controller, *often, seconds=0.1)) == {"half"}


def test_it_never_goes_below_its_floor():
    controller = made(floor=0.83)
    assert set(names(controller, *[reading(p95=900, rate=900, waiting=900)] * 5)) == {"half"}
    with pytest.raises(SettingsError, match=r"the floor, 0\.900; the best has 0\.860"):
        Controller(POINTS, 200, floor=0.9)


def test_a_point_that_fails_is_left_for_a_while():
    controller = made(patience=1, barred_s=60)
    controller.failed("full", ValueError("broken"))
    assert controller.point.name == "half"
    assert names(controller, *[reading(p95=10)] * 5) == ["half"] * 5
    assert "full failed: ValueError: broken" in controller.log()["why"].iloc[0]
    controller._clock.now = 61
    assert names(controller, reading(p95=10)) == ["full"]


def test_where_cheaper_points_fail_the_dearer_one_answers():
    controller = made()
    names(controller, reading(p95=900, rate=300))
    controller.failed("least", RuntimeError("x"))
    assert controller.point.name == "half"
    for name in ("half", "full", "least"):
        controller.failed(name, RuntimeError("x"))
    assert controller.point.name in ("full", "half", "least")  # nothing better is left


def test_a_point_that_proves_no_quicker_is_passed_over(controller):
    for _ in range(60):
        controller.measured("half", 12.0)
    assert names(controller, reading(p95=900, rate=60)) == ["least"]


def test_the_log_says_when_from_where_to_where_and_why(controller):
    names(controller, reading(p95=300, rate=110))
    (step,) = controller.log().to_dict("records")
    assert (step["before"], step["after"]) == ("full", "half")
    assert step["why"] == "p95 300 ms is above 200"


def steps(controller):
    return len(controller.log())


def test_a_load_between_two_points_does_not_make_it_swing():
    """105 requests a second: too many for "full", few enough that "half" looks calm."""
    controller = Controller(POINTS, 200, patience=3, headroom=0.7)
    world = Simulated(controller, poisson([105] * 120))
    controller._clock = world.clock
    _, latencies, _ = world.run(120)
    assert steps(controller) <= 4
    assert np.quantile(latencies, 0.95) < 200


def test_a_step_up_that_fails_makes_it_more_patient(controller):
    controller.points = [replace(point, ms=0.1) for point in POINTS]  # it believes all keep up
    controller.points = [replace(p, ms=p.ms - k / 100) for k, p in enumerate(controller.points)]
    waits = []
    for _ in range(4):
        names(controller, *[reading(p95=900, rate=1)] * 12)
        count = 0
        while controller.point.name == "least":
            names(controller, reading(p95=20))
            count += 1
        waits.append(count)
    assert waits[0] < waits[1] <= waits[2] <= waits[3] <= 8 * 3


def test_a_rush_that_takes_two_steps_down_doubles_the_patience_once(controller):
    names(controller, reading(p95=900, rate=110))
    assert names(controller, *[reading(p95=20)] * 3)[-1] == "full"
    names(controller, reading(waiting=11, rate=110), reading(waiting=40, rate=200))
    assert controller.point.name == "least"
    assert names(controller, *[reading(p95=20)] * 6) == ["least"] * 5 + ["half"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_promise_holds_where_a_fixed_point_breaks_it(seed):
    rates = [60] * 30 + [110] * 40 + [60] * 30  # full answers 100 a second
    arrivals = poisson(rates, seed)

    def windows(policy):
        world = Simulated(policy, arrivals)
        if hasattr(policy, "_clock"):
            policy._clock = world.clock
        at, latencies, chosen = world.run(100)
        cut = np.arange(0, 100, 10)
        p95 = [np.quantile(latencies[(at >= low) & (at < low + 10)], 0.95) for low in cut]
        accuracy = np.mean([next(p.accuracy for p in POINTS if p.name == name) for name in chosen])
        return np.mean(np.array(p95) <= 500), accuracy, world.refused

    held, accuracy, _ = windows(Controller(POINTS, 500, patience=3))
    fixed, _, _ = windows(FixedPoint(POINTS[0]))
    oracle, best, _ = windows(Oracle(POINTS, arrivals, clock=lambda: 0.0))
    shed, _, refused = windows(Shedding(POINTS[0], 500))
    assert held >= 0.9 > fixed
    assert accuracy > POINTS[1].accuracy
    assert oracle == 1 and best >= POINTS[1].accuracy
    assert shed == 1 and refused > 200


def test_numbers_without_sense_are_refused():
    with pytest.raises(SettingsError, match="target_ms is 0"):
        Controller(POINTS, 0)
    with pytest.raises(SettingsError, match=r"named \[\]"):
        Controller([], 200)
    with pytest.raises(SettingsError, match="each with a name of its own"):
        Controller([POINTS[0], POINTS[0]], 200)
    with pytest.raises(SettingsError, match="headroom is 1"):
        Controller(POINTS, 200, headroom=1)
    with pytest.raises(SettingsError, match=r"accuracy 1\.2"):
        OperatingPoint("x", 1.2, 3)
