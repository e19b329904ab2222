"""Those who call: they ask, take the parts of the answer, go away, and check everything that they get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from synfire.base.errors import SynfireError
from synfire.testing.simulation.arrangement import Answering as Gateway
from synfire.testing.simulation.arrangement import Arrangement
from synfire.testing.simulation.loop import VirtualLoop
from synfire.testing.simulation.processes import Broken
from synfire.testing.simulation.schedules import Asked
from synfire.testing.simulation.verdict import Answering, Facts


class Callers:
    """Everyone who calls. `answered` and `errors` count what they got, and `broken` how often their gateway died instead."""

    def __init__(
        self, arranged: Arrangement, facts: Facts, loop: VirtualLoop, tell: Callable[[str, str], None]
    ) -> None:
        self.answered = self.errors = self.broken = 0
        self._arranged = arranged
        self._facts = facts
        self._loop = loop
        self._tell = tell

    async def ask(self, requests: Sequence[Asked]) -> None:
        """Make all calls, those of a session one after the other. Raises `Violation` for an answer that must not be."""
        alone = [[each] for each in requests if not each.session]
        sessions = [[each for each in requests if each.session]]
        callers = [asyncio.create_task(self._in_turn(each)) for each in (*alone, *sessions) if each]
        try:
            await asyncio.gather(*callers)
        finally:
            for caller in callers:
                caller.cancel()

    async def _in_turn(self, requests: Sequence[Asked]) -> None:
        """The calls of one caller; a session of which a call failed begins afresh."""
        begun: tuple[Asked, ...] = ()
        since_s = 0.0
        for asked in requests:
            await asyncio.sleep(asked.at_s)
            gateway = await self._arranged.gateway(asked)
            since_s = since_s if begun else self._loop.time()
            answering = Answering(asked, begun, self._facts, self._loop, asked is requests[-1], since_s)
            self._tell(asked.name, f"asks {asked.model}")
            begun = (*begun, asked) if await self._ask_or_leave(answering, gateway) else ()

    async def _ask_or_leave(self, answering: Answering, gateway: Gateway) -> bool:
        """One call, of a caller that may go away at any time; whether it was answered whole."""
        asking = asyncio.create_task(self._ask(answering, gateway))
        if answering.asked.leaves_s:
            self._loop.call_later(answering.asked.leaves_s, asking.cancel)
        try:
            await asyncio.wait([asking])
        finally:
            asking.cancel()
        if asking.cancelled():
            self._tell(answering.asked.name, "goes away")
            return False
        return asking.result()

    async def _ask(self, answering: Answering, gateway: Gateway) -> bool:
        try:
            done = await self._take(answering, gateway)
        except Broken as error:
            self._tell(answering.asked.name, f"sees that {error}")
            self.broken += 1
            return False
        except SynfireError as error:
            self._tell(answering.asked.name, f"hears {type(error).__name__}: {error}")
            answering.refused(error)
            self.errors += 1
            return False
        self.answered += done
        return done

    async def _take(self, answering: Answering, gateway: Gateway) -> bool:
        """Take the parts as they come, and leave when the caller does; whether all have come."""
        name = answering.asked.name
        async with aclosing(gateway.parts(answering.request(), answering.streamed)) as parts:
            async for part in parts:
                answering.take(part)
                self._tell(name, f"gets steps {part.first_step}+{part.steps}{', the last' * part.last}")
                if answering.leaves:
                    self._tell(name, "goes away")
                    return False
        answering.end()
        return True
