"""Copies of calls for shadows: made once the caller has its answer, compared with that, and dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import msgspec

from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.gateway.comparison import Comparison
from synfire.gateway.request import Answer, Request
from synfire.gateway.side import Side
from synfire.gateway.traffic import Traffic, picked

MOST = 16
"""So many copies may be under way for a name; of calls that come meanwhile none is made. A shadow that is slower than the sides would
otherwise gather what memory there is."""

MOST_SESSIONS = 4096
"""Copies of so many sessions go on. Of one more, the one that was longest unused goes no further: some are never ended."""

OWN = "shadow of "
"""What the sessions of copies begin with: whoever calls the shadow by itself may have a session of the same name."""


@dataclass(frozen=True)
class Given:
    """What a caller has asked, and got: as a stream or whole, of a language model `texts`."""

    request: Request
    answers: Sequence[Answer]
    streamed: bool
    texts: bool


class Answering(Protocol):
    """What answers copies: the data plane."""

    def stream(self, request: Request) -> AsyncGenerator[Answer, None]: ...
    async def infer(self, request: Request) -> Answer: ...


class Shadows:
    """Made and used in one event loop, by `plane`."""

    def __init__(self, plane: Answering, traffic: Traffic) -> None:
        self._plane = plane
        self._traffic = traffic
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._sessions: OrderedDict[tuple[str, str], None] = OrderedDict()

    def copy(self, side: Side, given: Given) -> None:
        """Make a copy of a request that is answered, unless too many are under way, or one of an earlier call of its session is missing."""
        rule, request = side.rule, given.request
        if side.shadow or rule.shadow is None or not picked(rule, request.session or given.answers[0].id):
            return
        shadow, comparison = self._traffic.shadow(rule, rule.shadow.model)
        tasks = self._tasks.setdefault(rule.name, set())
        if not self._follows(rule.name, request, len(tasks) < MOST):
            comparison.left_out += 1
            return
        task = asyncio.create_task(self._compare(shadow, given, comparison), name=f"{OWN}{rule.name}")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def settled(self) -> None:
        """Wait until no copy is under way."""
        while tasks := [task for each in self._tasks.values() for task in each]:
            await asyncio.gather(*tasks)

    def _follows(self, name: str, request: Request, room: bool) -> bool:
        """Whether a copy can be made. One in a session goes on from those before, so when one is left out, all that follow are."""
        session = (name, request.session)
        if request.session and not request.start and session not in self._sessions:
            return False
        self._sessions.pop(session, None)
        if request.session and room and not request.end:
            self._sessions[session] = None
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return room

    async def _compare(self, shadow: Side, given: Given, comparison: Comparison) -> None:
        request = given.request
        own = f"{OWN}{shadow.rule.name}: {request.session}" if request.session else ""
        copied = msgspec.structs.replace(
            request, model=shadow.model, version="", id="", session=own, timeout_s=None, side=shadow
        )
        try:
            answers = await self._answers(copied, given.streamed)
        except SynfireError as error:  # counted by its kind, where calls are
            LOGGER.info("a copy was not answered by shadow %s: %s", shadow.model, error)
        else:
            comparison.add(given.answers, answers, given.texts)

    async def _answers(self, request: Request, streamed: bool) -> list[Answer]:
        if not streamed:
            return [await self._plane.infer(request)]
        async with aclosing(self._plane.stream(request)) as answers:
            return [answer async for answer in answers]
