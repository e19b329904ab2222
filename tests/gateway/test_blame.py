"""Who is told of when workers cannot reach each other."""

from __future__ import annotations

from synfire.base.errors import OutOfReach
from synfire.gateway.blame import UNREACHABLE_S, Blame
from synfire.testing.clock import FakeClock
from synfire.wire.links.silence import SILENT_S

PLACE = "unix:w1"


def told_after(*times_s: float, for_s: float = 0.0) -> list[tuple[str, str, float]]:
    """What is told when `w0` fails to reach a worker at these times."""
    clock, told = FakeClock(), []
    blame = Blame(clock, lambda *what: told.append(what))
    now_s = 0.0
    for time_s in times_s:
        clock.advance(time_s - now_s)
        now_s = time_s
        blame.failed(OutOfReach(PLACE, "w0", for_s))
    return told


def test_a_worker_that_stays_out_of_reach_is_told_of_once_with_who_found_it() -> None:
    ((place, by, for_s),) = told_after(*(n * 0.05 for n in range(8)))
    assert (place, by) == (PLACE, "w0")
    assert UNREACHABLE_S <= for_s < UNREACHABLE_S + 0.1


def test_a_connection_that_breaks_now_and_then_is_nobodys_fault() -> None:
    assert told_after(*(n * 2 * UNREACHABLE_S for n in range(5))) == []


def test_a_connection_that_was_silent_for_long_is_told_of_at_once() -> None:
    assert told_after(0.0, for_s=SILENT_S) == [(PLACE, "w0", SILENT_S)]
    assert told_after(0.0, for_s=SILENT_S / 2) == []


def test_failures_of_different_ways_are_not_added_up() -> None:
    clock, told = FakeClock(), []
    blame = Blame(clock, lambda *what: told.append(what))
    for number in range(10):
        blame.failed(OutOfReach(f"unix:w{number}", "w0"))
        blame.failed(OutOfReach(PLACE, f"v{number}"))
        clock.advance(0.1)
    assert told == []
