"""One namespace under the controller's care: it is looked at when something there has changed, and now and then.

A model that a user has just made or changed is asked for at once, whatever else there is to do: a round may have thousands of objects to write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError
from synfire.kubernetes.controller.decide import decide, hasten
from synfire.kubernetes.controller.decision import Ask
from synfire.kubernetes.controller.deployment import Deployed
from synfire.kubernetes.controller.hands import Hands, Reach
from synfire.kubernetes.controller.memory import Memory
from synfire.kubernetes.controller.observed import Document, Observed

LOGGER = logging.getLogger(__name__)

GATHER_S = 0.05
"""Changes that come so shortly after each other are looked at together, in seconds."""

POLL_S = 1.0
"""How often the deployment is asked how it is: failover does not wait for that, objects do."""

REST = 9.0
"""So many times as long as an answer took nothing is asked: a deployment of thousands of stages takes a while to tell them."""

MOST_ACTIONS = 2000
"""So many are done in one round. What comes of many more is judged in one go, which held everything else up for most of a second when there were 20,000."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
"""How long is waited after a round in which something was not done, when nothing changes meanwhile; twice as long each time."""

AGAIN_S = 300.0
"""How often what was refused is tried again."""


class Space:
    """`observe` tells what is there but for the deployment; `may_act` whether we are the one who acts."""

    def __init__(
        self,
        namespace: str,
        observe: Callable[[str], Observed],
        hands: Hands,
        reach: Reach,
        may_act: Callable[[], bool],
    ) -> None:
        self.rounds = 0
        self.settled = asyncio.Event()
        self._namespace = namespace
        self._observe = observe
        self._hands = hands
        self._reach = reach
        self._may_act = may_act
        self._clock = SystemClock()
        self._memory = Memory()
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._urgent: set[str] = set()
        self._turn = asyncio.Lock()
        self._unseen = False
        self._deployed: Deployed | None = None
        self._silence = ""

    @property
    def refused(self) -> int:
        """How many things were refused lately."""
        return len(self._hands.refusals)

    def touch(self, found: Document | None = None) -> None:
        """Something is other than before; where that is one object that somebody has made or changed, `found` is it."""
        if found is not None and found["kind"] == "SynfireModel" and not _is_told(found):
            self._urgent.add(found["metadata"]["name"])
            self._hurry.set()
        self.settled.clear()
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work())
            group.create_task(self._hasten())
            group.create_task(self._poll())
            group.create_task(self._forgive())

    async def step(self) -> bool:
        """Look, decide, act. Returns whether everything was done that had to be. After work it is looked again: one thing leads to
        another, and it has ended when there is nothing to do."""
        if not self._may_act():
            return True
        if self._unseen:
            await self.look()
        async with self._turn:
            self.rounds += 1
            actions = decide(self.observed(), self._memory)[:MOST_ACTIONS]
        if not actions:
            return True
        whole = await self._hands.carry_out(actions, self._may_act)
        if any(isinstance(each, Ask) for each in actions):
            await self.look()
        if whole:
            self.touch()
        return whole

    async def hasten(self) -> None:
        """Ask for what is urgent. What comes to nothing is left to the rounds: whatever is urgent has touched us as well."""
        async with self._turn:
            names, self._urgent = self._urgent, set()
            if not self._may_act():
                return
            actions = hasten(self.observed(), names, self._memory)
            await self._hands.carry_out(actions, self._may_act)
            self._unseen = self._unseen or any(isinstance(each, Ask) for each in actions)

    async def look(self) -> None:
        """Ask the deployment how it is."""
        self._unseen = False
        found: Deployed | None
        try:
            found, silence = await self._reach.look(), ""
        except SynfireError as error:
            found, silence = None, str(error)
        if (found, silence) != (self._deployed, self._silence):
            self._deployed, self._silence = found, silence
            self.touch()

    def observed(self) -> Observed:
        """The namespace as it is known now."""
        known = self._observe(self._namespace)
        return replace(
            known,
            now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            deployed=None if known.unseen else self._deployed,
            silence=self._silence,
            refusals=dict(self._hands.refusals),
            has_keys=self._hands.has_keys,
        )

    async def _work(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            if await self.step():
                pause_s = FIRST_PAUSE_S
                if not self._changed.is_set():
                    self.settled.set()
                continue
            await asyncio.sleep(FIRST_PAUSE_S)
            with suppress(TimeoutError):  # what failed waits; what is new does not
                await asyncio.wait_for(self._changed.wait(), pause_s - FIRST_PAUSE_S)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self.touch()

    async def _hasten(self) -> None:
        while True:
            await self._hurry.wait()
            self._hurry.clear()
            await self.hasten()

    async def _poll(self) -> None:
        while True:
            took_s = self._clock.now_s()
            if self._may_act():
                await self.look()
            took_s = self._clock.now_s() - took_s
            await asyncio.sleep(max(POLL_S, took_s * REST))

    async def _forgive(self) -> None:
        """What was refused may be allowed by now."""
        while True:
            await asyncio.sleep(AGAIN_S)
            self._hands.forgive()
            self.touch()


def _is_told(model: Document) -> bool:
    """Whether its status is that of what it asks for now."""
    generation: object = model.get("status", {}).get("observedGeneration")
    return generation is not None and generation == model["metadata"].get("generation")
