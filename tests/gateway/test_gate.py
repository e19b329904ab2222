"""The gate: places are handed over in order, and none is lost with a call that is ended."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from synfire.base.errors import DeadlineExceeded, Overloaded
from synfire.gateway.deadline import Deadline
from synfire.gateway.gate import Gate
from synfire.gateway.limits import Limits


class Calls:
    """Calls at a gate with one place, which is taken; each says when it has it, and keeps it until it is let go."""

    def __init__(self, names: str) -> None:
        self.gate = Gate("m", Limits(in_flight=1, queued=10))
        self.gate.enter()
        self.gate.take()
        self.order: list[str] = []
        self.done = asyncio.Event()
        self.tasks = {name: asyncio.ensure_future(self._call(name)) for name in names}

    async def _call(self, name: str) -> None:
        self.gate.enter()
        try:
            with closing(Deadline(name, 20)) as deadline:
                assert self.gate.full
                await self.gate.wait(deadline)
            self.order.append(name)
            await self.done.wait()
            self.gate.give_back()
        finally:
            self.gate.leave()


def run(story):
    return asyncio.run(asyncio.wait_for(story(), 20))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_places_are_handed_over_in_the_order_of_asking():
    async def story():
        calls = Calls("abc")
        await settle()
        assert (calls.gate.running, calls.gate.queued, calls.order) == (1, 3, [])
        calls.done.set()
        calls.gate.give_back()
        await asyncio.gather(*calls.tasks.values())
        assert calls.order == ["a", "b", "c"]
        assert (calls.gate.running, calls.gate.accepted) == (0, 1)

    run(story)


@pytest.mark.parametrize("settled", [True, False], ids=["ended before", "ended in the same turn"])
def test_a_waiting_call_that_is_ended_keeps_no_place(settled):
    async def story():
        calls = Calls("ab")
        await settle()
        calls.tasks["a"].cancel()
        if settled:
            await settle()
        calls.gate.give_back()
        await settle()
        assert calls.order == ["b"]
        assert (calls.gate.running, calls.gate.accepted) == (1, 2)

    run(story)


def test_a_place_that_was_handed_to_a_call_which_ends_just_then_goes_on_to_the_next():
    async def story():
        calls = Calls("ab")
        await settle()
        calls.gate.give_back()
        calls.tasks["a"].cancel()
        await settle()
        assert calls.order == ["b"]
        calls.done.set()
        await settle()
        assert (calls.gate.running, calls.gate.full) == (0, False)

    run(story)


def test_one_that_waits_for_too_long_is_told_and_leaves_the_queue():
    async def story():
        calls = Calls("")
        with closing(Deadline("r", 0.01)) as deadline, pytest.raises(DeadlineExceeded, match="waited in the queue"):
            await calls.gate.wait(deadline)
        calls.gate.give_back()
        assert (calls.gate.running, calls.gate.full) == (0, False)

    run(story)


def test_the_queue_has_an_end():
    gate = Gate("m", Limits(in_flight=1, queued=0, retry_after_s=3))
    gate.enter()
    with pytest.raises(Overloaded, match=r"limits in_flight=1, queued=0\); retry later"):
        gate.enter()
