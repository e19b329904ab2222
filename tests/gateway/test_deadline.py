"""Deadlines: they end what waits, once, and leave other cancellations alone."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from synfire.base.errors import DeadlineExceeded
from synfire.gateway.deadline import Deadline


def run(story):
    return asyncio.run(asyncio.wait_for(story(), 20))


def test_it_ends_what_waits_and_the_task_goes_on():
    async def story():
        with closing(Deadline("r", 0.01)) as deadline:
            with (
                pytest.raises(
                    DeadlineExceeded, match="request r passed its deadline while it slept; allow it more time"
                ),
                deadline("while it slept"),
            ):
                await asyncio.Event().wait()
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            with pytest.raises(DeadlineExceeded), deadline("again"):
                raise AssertionError("a block after the deadline is not entered")

    run(story)


def test_what_ends_in_time_is_left_alone():
    async def story():
        with closing(Deadline("r", 60)) as deadline:
            with deadline("first"):
                await asyncio.sleep(0)
            with pytest.raises(KeyError), deadline("second"):
                raise KeyError

    run(story)


def test_a_cancellation_by_another_stays_a_cancellation():
    async def waiting():
        with closing(Deadline("r", 60)) as deadline, deadline("while it waited"):
            await asyncio.Event().wait()

    async def story():
        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story)


def test_it_may_pass_between_blocks_without_disturbing_anything():
    async def story():
        with closing(Deadline("r", 0)) as deadline:
            for _ in range(3):
                await asyncio.sleep(0)
            with pytest.raises(DeadlineExceeded), deadline("later"):
                pass

    run(story)
