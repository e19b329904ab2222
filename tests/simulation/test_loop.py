"""An event loop on virtual time: waiting costs nothing, order comes from a seed, and what can never happen is told."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from synfire.testing.simulation.loop import Endless, Stuck, VirtualLoop


def order_of(loop, count=20):
    """The order in which tasks that are ready at one time run."""
    found = []

    async def note(number):
        found.append(number)

    async def main():
        await asyncio.gather(*(note(i) for i in range(count)))

    loop.run_until_complete(main())
    return found


def test_hours_pass_at_once():
    loop = VirtualLoop()

    async def main():
        await asyncio.sleep(3600)
        async with asyncio.timeout(5):
            await asyncio.sleep(4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    loop.run_until_complete(main())
    assert loop.time() == 3614


def test_one_that_nobody_closes_leaves_nothing_open():
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert told == []


def test_tasks_run_in_the_order_of_asking_unless_shuffled():
    assert order_of(VirtualLoop(1)) == list(range(20))
    assert sorted(order_of(VirtualLoop(1, shuffled=True))) == list(range(20))
    assert order_of(VirtualLoop(1, shuffled=True)) != list(range(20))
    assert order_of(VirtualLoop(1, shuffled=True)) == order_of(VirtualLoop(1, shuffled=True))
    assert order_of(VirtualLoop(1, shuffled=True)) != order_of(VirtualLoop(2, shuffled=True))


def test_timers_come_in_their_order_and_cancelled_ones_not():
    loop, found = VirtualLoop(), []

    async def main():
        loop.call_later(2, found.append, "b")
        loop.call_later(1, found.append, "a")
        loop.call_later(1.5, found.append, "never").cancel()
        await asyncio.sleep(3)

    loop.run_until_complete(main())
    assert found == ["a", "b"]


def test_threads_are_simulated():
    async def main():
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(refuse)

    def refuse():
        raise ValueError("no")

    VirtualLoop().run_until_complete(main())


def test_waiting_for_what_never_comes_is_told():
    with pytest.raises(Stuck, match="no timer is left"):
        VirtualLoop().run_until_complete(asyncio.Event().wait())


@pytest.mark.parametrize("limits", [{"max_steps": 100}, {"max_s": 100.0}])
def test_endless_work_is_told(limits):
    async def main():
        while True:
            await asyncio.sleep(2)

    loop = VirtualLoop(**limits)
    with pytest.raises(Endless, match="not enough"):
        loop.run_until_complete(main())
    loop.abandon()


def test_exception_that_nobody_takes_ends_the_run():
    async def fail():
        raise KeyError("lost")

    async def main():
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(1)
        del task
        await asyncio.sleep(1)

    with pytest.raises(KeyError, match="lost"):
        VirtualLoop().run_until_complete(main())


def test_readers_are_told_until_they_are_removed():
    loop, found = VirtualLoop(), []

    async def main():
        loop.add_reader(7, found.append, "data")
        loop.readable(7)
        await asyncio.sleep(0)
        loop.readable(7)
        loop.remove_reader(7)
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert found == ["data"]


def test_alarm_rings_before_its_step():
    loop, found = VirtualLoop(), []
    loop.alarm, loop.alarm_at = lambda: found.append(loop.steps), 3

    async def main():
        for _ in range(6):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert found == [3]


def test_what_was_due_when_a_step_ended_the_run_is_ended_with_it():
    """Else Python finds tasks that never began, and says so when nobody expects it."""
    loop, tasks = VirtualLoop(), []

    async def begun():
        await asyncio.sleep(1)

    def fail():
        raise KeyError("lost")

    async def main():
        loop.call_soon(fail)
        tasks.append(asyncio.ensure_future(begun()))
        await asyncio.sleep(1)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(KeyError, match="lost"):
            loop.run_until_complete(main())
        loop.abandon()
        assert [each.cancelled() for each in tasks] == [True]
        tasks.clear()
        gc.collect()
    assert not [each for each in told if each.category is RuntimeWarning]
