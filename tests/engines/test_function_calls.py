"""Which calls of a function are computed, and together with which others."""

from __future__ import annotations

import threading

import pytest

from synfire.engines.functions.calls import Call, Calls


def waiting(calls: Calls, *names: str) -> Calls:
    for name in names:
        calls.add(Call(name, {}))
    return calls


def begun(calls: Calls) -> list[str]:
    return [each.name for each in calls.begin()]


def test_one_call_is_computed_at_a_time() -> None:
    calls = waiting(Calls(), "a", "b")
    assert begun(calls) == ["a"]
    assert begun(calls) == []
    assert calls.end("a")
    assert begun(calls) == ["b"]


def test_a_company_is_as_many_as_wait_and_ends_before_the_next_one() -> None:
    calls = waiting(Calls(3), "a", "b")
    assert begun(calls) == ["a", "b"]
    waiting(calls, "c", "d", "e", "f")
    assert calls.end("a")
    assert begun(calls) == []
    assert calls.end("b")
    assert begun(calls) == ["c", "d", "e"]


def test_calls_that_overlap_begin_as_soon_as_there_is_room() -> None:
    calls = waiting(Calls(2, overlap=True), "a", "b", "c")
    assert begun(calls) == ["a", "b"]
    assert calls.end("b")
    assert begun(calls) == ["c"]


@pytest.mark.parametrize("overlap", [False, True])
def test_calls_whose_process_ended_are_computed_once_more_each_alone(overlap: bool) -> None:
    calls = waiting(Calls(3, overlap), "a", "b", "c", "d")
    assert begun(calls) == ["a", "b", "c"]
    assert calls.lost() == []
    assert begun(calls) == ["a"]
    assert begun(calls) == []
    assert calls.lost() == ["a"], "it has had its tries"
    assert begun(calls) == ["b"]
    assert calls.end("b")
    assert begun(calls) == ["c"]
    assert begun(calls) == [], "one that was tried before is alone"
    assert calls.end("c")
    assert begun(calls) == ["d"]


def test_a_call_that_is_cancelled_is_not_begun_and_not_tried_again() -> None:
    calls = waiting(Calls(), "a", "b")
    assert begun(calls) == ["a"]
    assert not calls.cancel("b", lambda: None, 0)
    late = threading.Event()
    assert calls.cancel("a", late.set, 0)
    assert late.wait(10)
    assert calls.lost() == []
    assert not calls.waiting
    assert calls.idle


def test_a_cancelled_call_that_ends_in_time_stays_without_consequences() -> None:
    calls = waiting(Calls(), "a")
    assert begun(calls) == ["a"]
    before = threading.active_count()
    assert calls.cancel("a", lambda: pytest.fail("it ended in time"), 3600)
    assert not calls.cancel("a", lambda: None, 0), "it was cancelled before"
    assert not calls.end("a"), "nobody waits for it"
    while threading.active_count() > before:  # the timer is on its way to its end
        pass
