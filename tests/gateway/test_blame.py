"""Who is told of when workers cannot reach each other."""

from __future__ import annotations

from synfire.gateway.blame import UNREACHABLE_S, Blame
from synfire.testing.clock import FakeClock


def told_after(*times_s: float) -> list[str]:
    clock, told = FakeClock(), []
    blame = Blame(clock, told.append)
    now_s = 0.0
    for time_s in times_s:
        clock.advance(time_s - now_s)
        now_s = time_s
        blame.failed("unix:w1")
    return told


def test_a_worker_that_stays_out_of_reach_is_told_of_once() -> None:
    steps = [n * 0.05 for n in range(8)]
    assert told_after(*steps) == ["unix:w1"]


def test_a_connection_that_breaks_now_and_then_is_nobodys_fault() -> None:
    assert told_after(*(n * 2 * UNREACHABLE_S for n in range(5))) == []


def test_failures_of_different_workers_are_not_added_up() -> None:
    clock, told = FakeClock(), []
    blame = Blame(clock, told.append)
    for number in range(10):
        blame.failed(f"unix:w{number}")
        clock.advance(0.1)
    assert told == []
