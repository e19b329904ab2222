"""Who is told of when workers cannot reach each other."""

from __future__ import annotations

from synfire.base.errors import OutOfReach
from synfire.gateway.blame import LAPSE_S, MOST_TIMES, UNREACHABLE_S, Blame
from synfire.gateway.routes import Routes
from synfire.plan import Link, Plan, Stage
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


def test_a_way_that_is_tried_seldom_and_never_works_is_told_of() -> None:
    """Where stages have replicas the next try of a call takes another way, and the broken one comes to its turn a second later."""
    ((place, by, for_s),) = told_after(*(n * 1.0 for n in range(MOST_TIMES)))
    assert (place, by, for_s) == (PLACE, "w0", MOST_TIMES - 1.0)
    assert told_after(*(n * 1.0 for n in range(MOST_TIMES - 1))) == []
    assert told_after(0.0, 0.1, 1.0, 1.1) == [], "twice, with two tries each"


def test_what_has_come_along_a_way_speaks_for_it() -> None:
    clock, told = FakeClock(), []
    blame = Blame(clock, lambda *what: told.append(what))
    for _ in range(3 * MOST_TIMES):
        blame.failed(OutOfReach(PLACE, "w0"))
        assert set(blame.doubted) == {(PLACE, "w0")}
        blame.passed((PLACE, "w0"))
        assert not blame.doubted
        clock.advance(1.0)
    assert told == []


def test_failures_of_long_ago_say_nothing() -> None:
    assert told_after(*(n * (LAPSE_S + 1) for n in range(2 * MOST_TIMES))) == []


def routes_with(**addresses: str) -> Routes:
    found = Routes("g", "d")
    found._addresses.update(addresses)
    return found


def plan_through(*workers: str) -> Plan:
    """A stage on each of these workers, one after the other."""
    stages = tuple(Stage(name=f"s{n}", operators=(f"s{n}",), worker=each) for n, each in enumerate(workers))
    links = tuple(Link(source=f"s{n}", sender=f"s{n}", receiver=f"s{n + 1}") for n in range(len(workers) - 1))
    return Plan(model="m", granularity="operator", stages=stages, links=links, frame_steps=4)


def test_a_call_that_is_answered_speaks_for_the_ways_that_it_took_and_for_no_others() -> None:
    routes = routes_with(w0="unix:w0", w1=PLACE, w2="unix:w2")
    for _ in range(2):
        routes._failed(OutOfReach(PLACE, "w0"))
        routes._failed(OutOfReach(PLACE, "w2"))
    routes._passed(plan_through("w0", "w2"))
    routes._passed(plan_through("w1", "w0"))
    assert set(routes._blame.doubted) == {(PLACE, "w0"), (PLACE, "w2")}, "none of them has reached w1"
    routes._passed(plan_through("w0", "w1"))
    assert set(routes._blame.doubted) == {(PLACE, "w2")}


def test_a_worker_that_is_called_otherwise_from_elsewhere_may_be_any_that_was_reached() -> None:
    routes = routes_with(w0="unix:w0", w1="unix:w1")
    routes._failed(OutOfReach("tls:10.0.0.1:7000", "w0"))
    routes._passed(plan_through("w1", "w0"))
    assert routes._blame.doubted
    routes._passed(plan_through("w0", "w1"))
    assert not routes._blame.doubted
