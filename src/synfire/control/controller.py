"""The loop around the pure core: events in, actions out, nothing decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from synfire.base.clock import Clock
from synfire.base.errors import Bug, SynfireError
from synfire.base.log import LOGGER
from synfire.control.apply import apply
from synfire.control.decide import decide
from synfire.control.events import Action, Adopt, Event, Kept, Nothing, Start
from synfire.control.events import Keep as KeepAction
from synfire.control.losses import adopted, adopting, starting
from synfire.control.state import Recovery, State

PAUSE_S = 0.2
"""After how long something that came to nothing is tried again, in seconds: what it failed of is told long before."""

LONGEST_S = 5.0
"""The longest such pause, in seconds: a disk that is full, say, is not called upon all the time."""


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
        self._again: asyncio.TimerHandle | None = None
        self._in_vain = 0
        self._listening = False
        self._told = asyncio.Event()
        self.failure: Exception | None = None

    def tell(self, event: Event) -> None:
        """Something has happened; what follows from it is begun before this returns.

        Raises whatever the core raises, which is a bug of it. Nothing is decided from then on: `until` raises, too.
        """
        if self.failure is not None:
            return
        try:
            self.state = apply(self.state, event)
            if not self._listening:
                self._act()
        except Exception as error:
            LOGGER.critical("control: the core cannot go on after %s", event, exc_info=error)
            self.failure = error
            raise
        finally:
            self._told.set()
            self._told = asyncio.Event()

    def take_over(self, state: State, told: Iterable[Event]) -> None:
        """Go on from where another controller was. Until `go_on`, what is told is heard, and nothing is decided."""
        self.state, self._listening = state, True
        for event in told:
            self.tell(event)

    def go_on(self) -> None:
        """Decide from now on: all that is gone is known by now, and nothing is wanted of it."""
        self._listening = False
        self.tell(Nothing(self._clock.now_s()))

    async def until(self, holds: Callable[[State], bool]) -> State:
        """Wait for a state in which `holds` is true, and return it. Raises `Bug` when the core cannot go on."""
        while not holds(self.state):
            if self.failure is not None:
                raise Bug(f"the controller has stopped: {self.failure}; see the log, and report it") from self.failure
            await self._told.wait()
        return self.state

    async def close(self) -> None:
        """Stop what is under way."""
        if self._again is not None:
            self._again.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _act(self) -> None:
        """Begin whatever is decided and not under way yet."""
        for action in decide(self.state):
            if action not in self._running:
                self._begin(action)

    def _begin(self, action: Action) -> None:
        if isinstance(action, Start):
            self.state = starting(self.state, action.worker, action.kind)
        if isinstance(action, Adopt):
            self.state = adopting(self.state, action)
        self._running[action] = asyncio.create_task(self._run(action), name=f"control: {type(action).__name__}")

    async def _run(self, action: Action) -> None:
        event: Event | None = None
        try:
            event = await (self._write(action) if isinstance(action, KeepAction) else self._hands.act(action))
        except Bug as error:
            LOGGER.error("control: %s failed", action, exc_info=error)
        except SynfireError as error:  # the loss behind it is told on its own
            LOGGER.warning("control: %s came to nothing: %s", action, error)
        except Exception as error:
            LOGGER.error("control: %s failed", action, exc_info=error)
        finally:
            del self._running[action]
            if isinstance(action, Adopt):
                self.state = adopted(self.state, action)
        if event is None or isinstance(event, Nothing):
            self._look_again()
        else:
            self._in_vain = 0
            self.tell(event)

    def _look_again(self) -> None:
        """What came to nothing is asked for again after a pause, if it is still wanted then; the longer, the more often."""
        if self._again is None:
            pause_s = min(PAUSE_S * 2**self._in_vain, LONGEST_S)
            self._again = asyncio.get_running_loop().call_later(pause_s, self._remind)
            self._in_vain = min(self._in_vain + 1, 10)

    def _remind(self) -> None:
        self._again = None
        self.tell(Nothing(self._clock.now_s()))

    async def _write(self, action: KeepAction) -> Event:
        for recovery in self.state.finished:
            if recovery.id == action.id:
                await asyncio.to_thread(self._keep, recovery)
        return Kept(self._clock.now_s(), action.id)
