"""Named sessions: streams of calls that go on from one another's state, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from synfire.base.clock import Clock
from synfire.base.errors import Overloaded, UserError
from synfire.gateway.deadline import Deadline
from synfire.gateway.limits import Limits


@dataclass
class Session:
    """What the gateway knows of a session; its state lives at the route."""

    batch: int
    used_s: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0
    """Calls that run or wait."""
    ended: bool = False
    """Whether the newest call ends it."""
    whole: bool = False
    """Whether the route holds the state that the last call left."""


class Sessions:
    """The sessions of one model."""

    def __init__(self, model: str, limits: Limits, clock: Clock) -> None:
        self._model = model
        self._limits = limits
        self._clock = clock
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, name: str) -> bool:
        session = self._open.get(name)
        return session is not None and not session.ended

    @asynccontextmanager
    async def turn(self, name: str, start: bool, end: bool, batch: int, deadline: Deadline) -> AsyncIterator[Session]:
        """Wait for the calls that came before in the session `name`.

        The block sets `whole` to False before it touches the state; only a block without error sets it to True again.
        Raises `UserError` when the session was not started, or lost its state, or has another batch; `Overloaded` when
        there are too many.
        """
        session = self._arrive(name, start, end, batch)
        try:
            with deadline("while it waited for its session's earlier calls"):
                await session.turn.acquire()
            try:
                if start:
                    session.whole = False
                elif not session.whole:
                    raise UserError(f"{self._named(name)} lost its state when a call of it failed; {_BEGIN}")
                yield session
                session.whole = True
            finally:
                session.turn.release()
        finally:
            self._leave(name, session)

    def _arrive(self, name: str, start: bool, end: bool, batch: int) -> Session:
        self._forget_idle(name)
        session = self._open.get(name)
        if session is None or session.ended:
            if not start:
                raise UserError(
                    f"{self._named(name)} is not open (it closes after {self._limits.session_idle_s:g} s without a call); "
                    f"{_BEGIN}"
                )
            self._make_room()
        if session is None:
            session = self._open[name] = Session(batch, self._clock.now_s())
        if start:
            session.batch = batch
        if session.batch != batch:
            raise UserError(f"{self._named(name)} has a batch of {session.batch}, this call has {batch}; keep it equal")
        session.calls += 1
        session.ended = end
        return session

    def _leave(self, name: str, session: Session) -> None:
        session.calls -= 1
        session.used_s = self._clock.now_s()
        if not session.calls and (session.ended or not session.whole):
            del self._open[name]

    def _make_room(self) -> None:
        if len(self._open) >= self._limits.sessions:
            self._forget_idle(*self._open)
        if len(self._open) >= self._limits.sessions:
            raise Overloaded(
                f"model {self._model!r} has {len(self._open)} open sessions, the limit sessions={self._limits.sessions}; "
                "end some with sequence_end",
                self._limits.retry_after_s,
            )

    def _forget_idle(self, *names: str) -> None:
        """Workers forget an idle session's state after as long, so nothing is left to tell them."""
        oldest_s = self._clock.now_s() - self._limits.session_idle_s
        for name in names:
            session = self._open.get(name)
            if session is not None and not session.calls and session.used_s < oldest_s:
                del self._open[name]

    def _named(self, name: str) -> str:
        return f"session {name!r} of model {self._model!r}"


_BEGIN = "begin it with sequence_start=true"
