"""The φ-accrual failure detector: no clock, no worker, only times of arrival."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.control.suspicion import Heartbeats, Suspicion

intervals = st.floats(0.025, 0.1)
"""Every 25 to 100 ms, as workers beat."""

any_arrivals = st.lists(st.floats(0, 1), max_size=100).map(lambda gaps: list(itertools.accumulate(gaps)))


def after(arrivals: list[float], settings: Heartbeats | None = None) -> Suspicion:
    known = Suspicion(settings or Heartbeats())
    for at_s in arrivals:
        known = known.heard(at_s)
    return known


def regular(interval_s: float, count: int = 50, settings: Heartbeats | None = None) -> Suspicion:
    return after([interval_s * i for i in range(count)], settings or Heartbeats(interval_s))


def test_phi_is_the_surprise_at_a_normal_interval() -> None:
    known = after([0.0, 0.05, 0.2, 0.25, 0.4])
    mean_s, deviation_s = 0.1, 0.05
    for silence_s in (0.0, 0.05, 0.1, 0.2, 0.3):
        tail = 1 - NormalDist(mean_s, deviation_s).cdf(silence_s)
        assert known.phi(0.4 + silence_s) == pytest.approx(-math.log10(tail), rel=1e-6)


def test_a_silence_of_a_mean_interval_has_even_odds() -> None:
    known = regular(0.05)
    assert known.phi(known.last_s + known.mean_s) == pytest.approx(math.log10(2))


@given(any_arrivals, st.floats(0, 100), st.floats(0, 100))
def test_phi_only_grows_while_the_worker_is_silent(arrivals: list[float], one_s: float, other_s: float) -> None:
    known = after([0.0, *arrivals])
    earlier, later = sorted((known.last_s + one_s, known.last_s + other_s))
    assert 0 <= known.phi(earlier) <= known.phi(later)


def test_phi_grows_without_a_step_down_where_its_series_takes_over() -> None:
    known = regular(0.05)
    takes_over_s = known.last_s + known.mean_s + 30 * known.deviation_s
    ticks = [known.phi(takes_over_s + tick * 1e-9) for tick in range(-1000, 1000)]
    assert ticks == sorted(ticks)
    assert known.phi(known.last_s + 3600) > 1e6


@given(any_arrivals)
def test_a_worker_is_suspected_when_phi_reaches_the_threshold_or_at_the_bound(arrivals: list[float]) -> None:
    known = after([0.0, *arrivals])
    at_s = known.suspected_at_s()
    assert known.last_s < at_s <= known.last_s + 0.3
    if at_s < known.last_s + 0.3:
        assert known.phi(at_s) == pytest.approx(8, rel=1e-6)
    else:
        assert known.phi(at_s) <= 8 + 1e-6


@given(intervals, st.integers(0, 200))
def test_a_dead_worker_is_suspected_within_300_ms(interval_s: float, beats: int) -> None:
    known = regular(interval_s, beats + 1)
    assert known.suspected_at_s() - known.last_s <= 0.3


@given(intervals, st.lists(st.floats(0, 0.1), min_size=1, max_size=150))
def test_regular_beats_that_come_up_to_100_ms_late_are_never_suspected(interval_s: float, late_s: list[float]) -> None:
    known = regular(interval_s, 1)
    for lateness_s in late_s:
        at_s = known.last_s + interval_s + lateness_s
        assert at_s < known.suspected_at_s()
        known = known.heard(at_s)


@given(intervals, st.lists(st.booleans(), min_size=1, max_size=150))
def test_a_single_lost_beat_is_never_suspected(interval_s: float, lost: list[bool]) -> None:
    known = regular(interval_s, 1)
    for skip in lost:
        at_s = known.last_s + interval_s * (2 if skip else 1)
        assert at_s < known.suspected_at_s()
        known = known.heard(at_s)


@given(intervals, st.floats(0.03, 0.1))
def test_a_jittery_worker_is_given_more_time(interval_s: float, jitter_s: float) -> None:
    gaps = [interval_s + jitter_s * (i % 2) for i in range(100)]
    steady, jittery = regular(interval_s, 101), after(list(itertools.accumulate(gaps)), Heartbeats(interval_s))
    patience = [known.suspected_at_s() - known.last_s for known in (steady, jittery)]
    assert patience[0] < patience[1] or patience == [0.3, 0.3]
    assert jittery.phi(jittery.last_s + 0.25) < steady.phi(steady.last_s + 0.25)


def test_a_worker_that_calms_down_is_soon_judged_as_strictly_as_before() -> None:
    steady = regular(0.05)
    shaken = after([*(0.2 * i for i in range(20)), *(3.8 + 0.05 * i for i in range(1, 66))])
    assert shaken.suspected_at_s() - shaken.last_s == pytest.approx(steady.suspected_at_s() - steady.last_s)


def test_the_least_deviation_keeps_a_quiet_machine_from_being_suspected_at_a_hiccup() -> None:
    strict = regular(0.025, settings=Heartbeats(0.025, least_deviation_s=0.001))
    patient = regular(0.025)
    assert strict.suspected_at_s() - strict.last_s < 0.035
    assert patient.suspected_at_s() - patient.last_s > 0.15


def test_an_outage_is_not_learnt_as_an_interval() -> None:
    before = regular(0.05)
    back = before.heard(before.last_s + 20)
    assert back.intervals_s == before.intervals_s
    assert back.suspected_at_s() - back.last_s == pytest.approx(before.suspected_at_s() - before.last_s)


def test_beats_that_arrive_together_do_not_make_the_next_one_suspect() -> None:
    settings = Heartbeats(interval_s=5.0, within_s=20.0)
    suspicion = after([0.0, 0.001, 0.002], settings)  # the first beat follows at once, whatever the interval
    assert suspicion.suspected_at_s() > 5.0


def test_nothing_is_suspected_before_the_first_beat() -> None:
    assert Suspicion().phi(1e9) == 0
    assert Suspicion().suspected_at_s() == math.inf


def test_a_worker_that_beats_once_and_never_again_is_suspected() -> None:
    assert 10.1 < Suspicion().heard(10.0).suspected_at_s() <= 10.3


def test_a_beat_that_was_overtaken_adds_nothing() -> None:
    known = regular(0.05)
    assert known.heard(known.last_s - 0.01) is known


def test_hearing_changes_nothing_that_was_known() -> None:
    known = regular(0.05)
    at_s = known.suspected_at_s()
    known.heard(known.last_s + 0.2)
    assert known.suspected_at_s() == at_s


def test_only_the_latest_intervals_are_remembered() -> None:
    assert len(regular(0.05, 500).intervals_s) == Heartbeats().window


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ({"interval_s": 0.15}, "beat every 0.12 s or faster, or allow 0.375 s"),
        ({"interval_s": 0.0}, "above 0"),
        ({"within_s": math.inf}, "above 0"),
        ({"threshold": -1.0}, "above 0"),
        ({"threshold": 400.0}, "8 is cautious"),
        ({"least_deviation_s": math.nan}, "above 0"),
        ({"window": 0}, "give 1 interval or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, float], cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        Heartbeats(**setting)  # type: ignore[arg-type]
