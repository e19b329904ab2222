"""An event loop whose time is virtual and whose order is drawn from a seed: asyncio code that runs the same way twice.

    loop = VirtualLoop(seed=7)
    answer = loop.run_until_complete(main())

Time stands still while anything can run, and then jumps to the next timer: an hour of waiting costs nothing. There are no
threads and no descriptors: what is handed to an executor runs here, a little later, and a reader is told by
`readable` of a number that stands for a descriptor. An exception that nobody takes ends the run.

Several processes share the loop, each a `Life`: tasks, timers and readers belong to the one that they were made in, and once
that is over none of them moves any more. That is a `kill -9`: no cleaning up, no last word.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context, ContextVar, copy_context
from functools import partial
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


class Life:
    """What runs in a context of it (`run`) is one process. Once it is `over`, nothing of it runs any more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.over = False
        self.signals: dict[int, Callable[[], object]] = {}
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.relics: list[asyncio.Task[Any]] = []
        self.missed: list[asyncio.Handle] = []
        self._context = copy_context()
        self._context.run(_LIFE.set, self)

    @staticmethod
    def here() -> Life | None:
        """Whose code is running; None for all that is not simulated as a process."""
        return _LIFE.get()

    def run(self, act: Callable[[*_Given], _T], *given: *_Given) -> _T:
        """Call `act` as code of this process."""
        return self._context.copy().run(act, *given)

    def end(self) -> None:
        """It is over. What it was at stays as it is: even its cleaning up must not run."""
        self.over = True
        self.relics = [task for task in self.tasks if not task.done()]


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in the order of asking, or, when `shuffled`, in an order drawn from the seed.

    A task's own steps keep their order either way, as they do in any loop. `steps` counts what has run; `alarm` is called
    before the `alarm_at`-th.
    """

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int = 0, shuffled: bool = False, max_steps: int = 1_000_000, max_s: float = 1e6) -> None:
        super().__init__()
        self.steps = 0
        self.alarm_at = -1
        self.alarm: Callable[[], None] | None = None
        self._rng = np.random.default_rng(seed)
        self._shuffled = shuffled
        self._max_steps, self._max_s = max_steps, max_s
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._readers: dict[Any, Callable[[], object]] = {}
        self._unread: set[int] = set()
        self._outside = copy_context()
        self._lost: list[BaseException] = []
        self._abandoned = False

    def __del__(self) -> None:
        """It has no selector and no thread: one that nobody has closed leaves nothing open, and no warning is due."""

    def time(self) -> float:
        return self._now_s

    def outside(self, act: Callable[[*_Given], _T], *given: *_Given) -> _T:
        """Call `act` as code of no process."""
        return self._outside.copy().run(act, *given)

    def later(self, delay_s: float, act: Callable[[*_Given], object], *given: *_Given) -> None:
        """Call `act` some time later, whichever process may be over by then."""
        self.call_at(self._now_s + delay_s, act, *given, context=self._outside)

    def abandon(self, lives: Iterable[Life] = (), most: int = 10_000) -> None:
        """Cancel all tasks and let them end, those of `lives` that were over, too, whatever they say."""
        self._abandoned, self.steps, self.alarm_at = True, 0, -1
        self._max_steps, self._max_s = most, float("inf")
        for life in lives:
            life.over = False
            self._ready.extend(life.missed)
        tasks = asyncio.all_tasks(self)

        async def ended() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(Stuck, Endless):
            self.run_until_complete(ended())

    def call_soon(
        self, callback: Callable[[*_Given], object], *args: *_Given, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*_Given], object], *args: *_Given, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def readable(self, descriptor: int) -> None:
        """Tell the reader of `descriptor`, as soon as there is one, that something has arrived."""
        self.call_soon(self._read, descriptor, context=self._outside)

    def add_reader(self, fd: Any, callback: Callable[[*_Given], Any], *args: *_Given) -> None:
        life = _LIFE.get()
        self._readers[fd] = partial(callback, *args) if life is None else partial(_unless_over, life, callback, *args)
        if fd in self._unread:
            self._unread.discard(fd)
            self.readable(fd)

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def add_signal_handler(self, sig: int, callback: Callable[[*_Given], object], *args: *_Given) -> None:
        life = Life.here()
        if life is None:
            raise RuntimeError("only a simulated process takes signals")
        life.signals[sig] = partial(life.run, callback, *args)

    def create_task(
        self,
        coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[_T]:
        task: asyncio.Task[_T] = asyncio.Task(coro, loop=self, name=name, context=context)  # type: ignore[arg-type]
        life = _LIFE.get()
        if life is not None:
            life.tasks.add(task)
        return task

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
        due = deque(batch)
        try:
            while due:
                handle = due.popleft()
                if not handle.cancelled():
                    self._step(handle)
        finally:
            self._ready.extendleft(reversed(due))  # a step has ended the run: who is abandoned has to end, too

    def _step(self, handle: asyncio.Handle) -> None:
        self.steps += 1
        if self.steps == self.alarm_at and self.alarm is not None:
            self.alarm()
        if self.steps > self._max_steps:
            raise Endless(f"{self.steps} steps were not enough")
        life = handle._context.get(_LIFE)  # type: ignore[attr-defined]
        if life is not None and life.over:
            life.missed.append(handle)
            return
        handle._run()
        if self._lost and not self._abandoned:
            raise self._lost[0]

    def _wait(self) -> None:
        """Let time pass until the next timer."""
        while self._timers:
            when_s, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now_s = max(self._now_s, when_s)
                if self._now_s > self._max_s:
                    raise Endless(f"{self._now_s:.0f} s of virtual time were not enough")
                self._ready.append(timer)
                return
        raise Stuck("nothing is ready, and no timer is left")

    def _read(self, descriptor: int) -> None:
        if descriptor in self._readers:
            self._readers[descriptor]()
        else:
            self._unread.add(descriptor)

    def _write_to_self(self) -> None:
        """There is nothing to wake: no other thread, and no selector."""


def _unless_over(life: Life, act: Callable[[*_Given], object], *given: *_Given) -> None:
    if not life.over:
        life.run(act, *given)
