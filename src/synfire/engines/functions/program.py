"""A function as a worker hosts it: calls wait for its process, which is begun anew when it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from synfire.base.errors import Bug, PermanentError, SynfireError, UserError
from synfire.base.log import LOGGER
from synfire.engines.functions.calls import Call, Calls
from synfire.engines.functions.child import FunctionChild
from synfire.engines.streaming import Given, StreamingProgram
from synfire.functions.messages import Ended, Message
from synfire.graph import Graph
from synfire.ops import Array
from synfire.ops.python_function import PythonFunction

GRACE_S = 1.0
"""How long a function may still compute what nobody waits for any more. Then its process is begun anew."""

SHORT_LIFE_S = 5.0
"""A process that ends sooner, and without a call to compute, is begun anew by the next call: else it might do nothing but begin."""

COMPANY = 32
"""How many calls are handed over together at most, to those that take several, and computed at a time, by those that wait for others."""


class FunctionProgram(StreamingProgram):
    """One function in a process of its own, which is begun anew when it ends; see `Calls` for what becomes of its calls."""

    def __init__(self, graph: Graph, functions: Mapping[str, PythonFunction]) -> None:
        super().__init__(graph)
        first, self._function = next(iter(functions.items()))
        self._feeds = {s.source: self._function.takes[s.port][0] for s in graph.arriving(first)}
        self._fetches = {name: functions[source].gives[0] for name, source in graph.outputs.items()}
        self._threads = 1
        self._child: FunctionChild | None = None
        self._prepared = False
        self._launched_s = 0.0
        self._epoll: select.epoll | None = None
        self._bell = -1
        self._calls = _calls_of(self._function)
        self._ready: deque[Given] = deque()

    @property
    def capacity(self) -> int:
        return self._calls.most

    @property
    def pid(self) -> int | None:
        """The function's process; None while there is none."""
        return self._child.pid if self._child is not None else None

    def grant(self, threads: int) -> None:
        self._threads = threads

    def warm(self) -> None:
        """Load the function, where it is not loaded. Raises `UserError` for files that are gone or changed, and `PermanentError` for
        a process that does not get so far."""
        if self._epoll is not None and self._child is not None and self._child.alive:
            return
        self.rest()
        self._epoll, self._bell = select.epoll(), os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        try:
            self._launch()
            while not self._prepared:
                self._epoll.poll()
                self._hear()
        except BaseException:
            self.rest()
            raise

    def rest(self) -> None:
        idle = self._prepared and self._calls.idle
        self._calls.lost()
        self._calls.drop()
        self._ready.clear()
        if self._child is not None:
            self._child.end(idle)
            self._child = None
        if self._epoll is not None:
            self._epoll.close()
            os.close(self._bell)
            self._epoll = None

    def __del__(self) -> None:
        with contextlib.suppress(
            Exception
        ):  # at the interpreter's end what it needs may be gone; the lifeline ends the child
            self.rest()

    def fileno(self) -> int:
        return self._watched.fileno()

    def begin(self, call: str, inputs: Mapping[str, Array]) -> None:
        batched = self._function.batched
        arrays = {self._feeds[name]: x if batched else x.reshape(x.shape[1:]) for name, x in inputs.items()}
        self._calls.add(Call(call, arrays))
        self._go_on()

    def cancel(self, call: str) -> None:
        child = self._child
        if child is not None and self._calls.cancel(call, child.kill, GRACE_S):
            child.cancel(call)

    def given(self) -> list[Given]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        try:
            self._hear()
        except SynfireError as error:  # it cannot be loaded again: whoever waits is told so
            self._fail(error)
        self._go_on()
        found = list(self._ready)
        self._ready.clear()
        return found

    def gather(self, quiet: bool) -> None:
        """Whatever it gives is the end of an answer, which shall not wait."""

    @property
    def _watched(self) -> select.epoll:
        if self._epoll is None:
            raise Bug(f"function {self._function.function} is not loaded; warm the program first")
        return self._epoll

    def _launch(self) -> None:
        """Begin its process; what it says comes later."""
        self._prepared, self._launched_s = False, time.monotonic()
        self._child = FunctionChild(self._function, self._threads)
        for descriptor in (self._child.fileno(), self._child.ended):
            self._watched.register(descriptor, select.EPOLLIN)

    def _go_on(self) -> None:
        """Hand the process the next calls, where it can take them; begin it, where there is none."""
        if self._calls.waiting and self._child is None:
            try:
                self._launch()
            except SynfireError as error:
                self._fail(error)
        if self._prepared and self._child is not None:
            begun = self._calls.begin()
            self._child.ask({call.name: call.arrays for call in begun})
        self._look_for_room()
        if self._ready:
            os.eventfd_write(self._bell, 1)

    def _look_for_room(self) -> None:
        if self._child is not None:
            unsent = select.EPOLLOUT if self._child.unsent else 0
            self._watched.modify(self._child.fileno(), select.EPOLLIN | unsent)

    def _hear(self) -> None:
        """Take in what the process has said. Raises what it said instead of being ready, and how it ended before that."""
        child = self._child
        if child is None:
            return
        child.flush()
        gone = child.gone
        try:
            for message in child.come():
                self._take(child, message)
        except Ended:
            gone = True
        if gone:
            self._lost(child)

    def _take(self, child: FunctionChild, message: Message) -> None:
        said = message.said
        if "error" in said:
            self._drop(child)
            raise UserError(said["error"])
        if "ready" in said:
            self._prepared = True
        elif self._calls.end(said["call"]):
            self._ready.append(self._told(said["call"], message))

    def _told(self, call: str, message: Message) -> Given:
        said: dict[str, Any] = message.said
        if "refused" in said:
            return Given(call, {}, True, UserError(said["refused"]))
        if "failed" in said:
            LOGGER.warning("function %s failed: %s", self._function.function, said["failed"])
            return Given(call, {}, True, PermanentError(f"function {self._function.function} failed: {said['failed']}"))
        found = {name: message.arrays[each] for name, each in self._fetches.items()}
        return Given(call, found if self._function.batched else {name: x[None] for name, x in found.items()}, True)

    def _lost(self, child: FunctionChild) -> None:
        """Its process has ended: begin it anew, and try the calls again that it had. Raises where it had not got so far."""
        words, prepared = child.obituary(), self._prepared
        LOGGER.warning("function %s: %s", self._function.function, words)
        self._drop(child)
        if not prepared:
            raise PermanentError(f"function {self._function.function} cannot be loaded: {words}")
        for call in self._calls.lost():
            said = f"function {self._function.function} did not survive this call, twice: {words}"
            self._ready.append(Given(call, {}, True, PermanentError(said)))
        if self._calls.waiting or time.monotonic() - self._launched_s > SHORT_LIFE_S:
            self._launch()

    def _drop(self, child: FunctionChild) -> None:
        for descriptor in (child.fileno(), child.ended):
            self._watched.unregister(descriptor)
        self._child, self._prepared = None, False
        child.end()

    def _fail(self, error: SynfireError) -> None:
        """Tell all that wait."""
        self._ready.extend(Given(call, {}, True, error) for call in self._calls.drop())


def _calls_of(function: PythonFunction) -> Calls:
    together = bool(function.triton) and json.loads(function.triton)["company"]
    return Calls(COMPANY if together or function.overlapping else 1, function.overlapping)
