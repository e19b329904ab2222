"""An event loop whose time is virtual and whose order is drawn from a seed: asyncio code that runs the same way twice.

    loop = VirtualLoop(seed=7)
    answer = loop.run_until_complete(main())

Time stands still while anything can run, and then jumps to the next timer: an hour of waiting costs nothing. There are no
threads and no descriptors: what is handed to an executor runs here, a little later, and a reader is told by
`readable` of a number that stands for a descriptor. An exception that nobody takes ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import numpy as np

_T = TypeVar("_T")
_Given = TypeVarTuple("_Given")

EXECUTED_S = 0.001
"""How long what is handed to an executor takes at the mean, in virtual seconds."""


class Stuck(Exception):
    """Raised when what is waited for can never happen: nothing is ready, and no timer is left."""


class Endless(Exception):
    """Raised when more has happened than was allowed, or more time has passed."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in the order of asking, or, when `shuffled`, in an order drawn from the seed.

    A task's own steps keep their order either way, as they do in any loop. `steps` counts what has run; `alarm` is called
    before the `alarm_at`-th.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int = 0, shuffled: bool = False, max_steps: int = 1_000_000, max_s: float = 1e6) -> None:
        super().__init__()
        self.steps = 0
        self.alarm_at = -1
        self.alarm: Callable[[], None] | None = None
        self._rng = np.random.default_rng(seed)
        self._shuffled = shuffled
        self._max_steps, self._max_s = max_steps, max_s
        self._now_s = 0.0
        self._readers: dict[Any, Callable[[], object]] = {}
        self._lost: list[BaseException] = []
        self._abandoned = False

    def time(self) -> float:
        return self._now_s

    def abandon(self, most: int = 10_000) -> None:
        """Cancel all tasks and let them end, whatever they say."""
        self._abandoned, self.steps, self.alarm_at = True, 0, -1
        self._max_steps, self._max_s = most, float("inf")
        tasks = asyncio.all_tasks(self)

        async def ended() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(Stuck, Endless):
            self.run_until_complete(ended())

    def readable(self, descriptor: int) -> None:
        """Tell the reader of `descriptor`, if there is one by then, that something has arrived."""
        self.call_soon(self._read, descriptor)

    def add_reader(self, fd: Any, callback: Callable[[*_Given], Any], *args: *_Given) -> None:
        self._readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def run_in_executor(self, executor: Any, func: Callable[[*_Given], _T], *args: *_Given) -> asyncio.Future[_T]:
        """Call `func` here, after some virtual time."""
        future: asyncio.Future[_T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(float(self._rng.exponential(EXECUTED_S)), work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._lost.append(context.get("exception") or RuntimeError(context["message"]))

    def _run_once(self) -> None:
        """Run all that is ready now; what it makes ready belongs to the next turn."""
        if not self._ready:
            self._wait()
        batch = list(self._ready)
        self._ready.clear()
        if self._shuffled and len(batch) > 1:
            batch = [batch[i] for i in self._rng.permutation(len(batch))]
        for handle in batch:
            if not handle.cancelled():
                self._step(handle)

    def _step(self, handle: asyncio.Handle) -> None:
        self.steps += 1
        if self.steps == self.alarm_at and self.alarm is not None:
            self.alarm()
        if self.steps > self._max_steps:
            raise Endless(f"{self.steps} steps were not enough")
        handle._run()
        if self._lost and not self._abandoned:
            raise self._lost[0]

    def _wait(self) -> None:
        """Let time pass until the next timer."""
        while self._scheduled:
            timer = heapq.heappop(self._scheduled)
            if not timer.cancelled():
                self._now_s = max(self._now_s, timer.when())
                if self._now_s > self._max_s:
                    raise Endless(f"{self._now_s:.0f} s of virtual time were not enough")
                self._ready.append(timer)
                return
        raise Stuck("nothing is ready, and no timer is left")

    def _read(self, descriptor: int) -> None:
        if descriptor in self._readers:
            self._readers[descriptor]()

    def _write_to_self(self) -> None:
        """There is nothing to wake: no other thread, and no selector."""
