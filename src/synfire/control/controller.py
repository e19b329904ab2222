"""The loop around the pure core: events in, actions out, nothing decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from synfire.base.clock import Clock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.apply import apply, starting
from synfire.control.decide import decide
from synfire.control.events import Action, Event, Kept, Start
from synfire.control.events import Keep as KeepAction
from synfire.control.state import Recovery, State


class Hands(Protocol):
    """What does a controller's actions: a deployment, or a test."""

    async def act(self, action: Action) -> Event:
        """Do it, and return the event that it ends in. Cancelled when the controller is closed."""
        ...


class Controller:
    """Keeps what runs in line with what is wanted. Made and used in one event loop.

    `keep` writes a finished recovery down; it may take long, and is called in a thread.
    """

    def __init__(
        self, hands: Hands, clock: Clock, keep: Callable[[Recovery], None], state: State | None = None
    ) -> None:
        self.state = state or State()
        self._hands = hands
        self._clock = clock
        self._keep = keep
        self._running: dict[Action, asyncio.Task[None]] = {}
        self._told = asyncio.Event()

    def tell(self, event: Event) -> None:
        """Something has happened; what follows from it is begun before this returns."""
        self.state = apply(self.state, event)
        for action in decide(self.state):
            if action not in self._running:
                self._begin(action)
        self._told.set()
        self._told = asyncio.Event()

    async def until(self, holds: Callable[[State], bool]) -> State:
        """Wait for a state in which `holds` is true, and return it."""
        while not holds(self.state):
            await self._told.wait()
        return self.state

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, action: Action) -> None:
        if isinstance(action, Start):
            self.state = starting(self.state, action.worker)
        self._running[action] = asyncio.create_task(self._run(action), name=f"control: {type(action).__name__}")

    async def _run(self, action: Action) -> None:
        try:
            event = await (self._write(action) if isinstance(action, KeepAction) else self._hands.act(action))
        except SynfireError as error:  # the loss behind it is told on its own; what is still wanted is asked for again
            LOGGER.warning("control: %s came to nothing: %s", action, error)
            event = None
        finally:
            del self._running[action]
        if event is not None:
            self.tell(event)

    async def _write(self, action: KeepAction) -> Event:
        for recovery in self.state.finished:
            if recovery.id == action.id:
                await asyncio.to_thread(self._keep, recovery)
        return Kept(self._clock.now_s(), action.id)
