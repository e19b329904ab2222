"""Patience: many wait by one timer, and each is told when it has taken too long, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from synfire.gateway.patience import Patience
from synfire.testing.simulation.loop import VirtualLoop


class Waiter:
    """Notes when it was told."""

    def __init__(self) -> None:
        self.told_s: list[float] = []

    def overdue(self) -> None:
        self.told_s.append(round(asyncio.get_running_loop().time(), 6))


class LoopClock:
    """The time of the running loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()


def patience_of(grain_s: float = 0.001) -> Patience:
    return Patience(grain_s, LoopClock())


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    VirtualLoop().run_until_complete(story())


def test_each_is_told_at_its_time_whatever_the_order_of_beginning() -> None:
    late, soon, never = Waiter(), Waiter(), Waiter()

    async def story() -> None:
        patience = patience_of()
        patience.begin(late, 5.0)
        patience.begin(soon, 1.0)
        patience.begin(never, 3.0)
        await asyncio.sleep(2)
        patience.end(never)
        await asyncio.sleep(20)

    run(story)
    assert (soon.told_s, late.told_s, never.told_s) == ([1.0], [5.0], [])


def test_one_that_begins_anew_waits_from_then_on() -> None:
    waiter = Waiter()

    async def story() -> None:
        patience = patience_of()
        patience.begin(waiter, 2.0)
        await asyncio.sleep(1)
        patience.begin(waiter, 2.0)
        await asyncio.sleep(10)

    run(story)
    assert waiter.told_s == [3.0]


def test_who_ends_twice_or_after_it_was_told_is_no_error() -> None:
    waiter = Waiter()

    async def story() -> None:
        patience = patience_of()
        patience.end(waiter)
        patience.begin(waiter, 0.0)
        await asyncio.sleep(1)
        patience.end(waiter)
        patience.end(waiter)

    run(story)
    assert waiter.told_s == [0.0]


def test_a_thousand_that_end_in_time_cost_a_timer() -> None:
    async def story() -> None:
        patience, loop = patience_of(), asyncio.get_running_loop()
        waiters = [Waiter() for _ in range(1000)]
        for each in waiters:
            patience.begin(each, 60.0)
            patience.end(each)
        assert isinstance(loop, VirtualLoop)
        assert len(loop._timers) == 1
        await asyncio.sleep(100)
        assert not any(each.told_s for each in waiters)

    run(story)


@pytest.mark.parametrize(("grain_s", "told_s"), [(0.001, [1.0, 1.1, 1.2]), (1.0, [1.0, 2.0, 2.0])])
def test_looks_are_no_nearer_to_each_other_than_the_grain(grain_s: float, told_s: list[float]) -> None:
    waiters = [Waiter() for _ in range(3)]

    async def story() -> None:
        patience = patience_of(grain_s)
        for place, each in enumerate(waiters):
            patience.begin(each, 1.0 + place / 10)
        await asyncio.sleep(10)

    run(story)
    assert [each.told_s[0] for each in waiters] == told_s


def test_one_that_begins_another_when_it_is_told_is_waited_for_again() -> None:
    patience, waiter = patience_of(), Waiter()

    class Repeating:
        def overdue(self) -> None:
            patience.begin(waiter, 1.0)

    async def story() -> None:
        patience.begin(Repeating(), 1.0)
        await asyncio.sleep(5)

    run(story)
    assert waiter.told_s == [2.0]
