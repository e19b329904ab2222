"""Models of the store, loaded when somebody calls them: the hands of `synfire.control.residence`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.residence import Resident, Room, making_room, next_due_s, overdue
from synfire.deploy.ledger import Wanted
from synfire.deploy.settings import StoreSettings
from synfire.plan.costs import format_bytes
from synfire.wire.messages import Loaded, Residents, Unwanted, Uses, Want, error_words

GRACE_S = 1.0
"""A model that was loaded stays for so long at least: whoever waited for it is about to call it."""


@dataclass(frozen=True)
class Found:
    """A model of the store as it would be served, and what it takes then, in bytes."""

    wanted: Wanted
    bytes: int


class Hands(Protocol):
    """What is done for it."""

    def find(self, model: str) -> Found:
        """Read a model of the store, and plan it. Takes a while. Raises what is wrong with it."""
        ...

    async def load(self, wanted: Wanted) -> None:
        """Serve it everywhere. Raises what stands against it."""
        ...

    async def unload(self, model: str, idle_s: float) -> bool:
        """Serve it no longer, if nobody calls it or has for so many seconds; whether that is so now."""
        ...

    def refuse(self, refusal: Unwanted) -> None:
        """Tell whoever waits why it cannot be loaded."""
        ...

    def reside(self, residents: Residents) -> None:
        """Tell which models are there."""
        ...

    def free_bytes(self) -> int:
        """The memory that no program has now."""
        ...


class OnDemand:
    """Loads and unloads, one model after the other. Made and used in one event loop; `run` is its life.

    What it holds after a restart of the controller is told by `holds`; who calls, by the gateways.
    """

    def __init__(self, settings: StoreSettings, hands: Hands, clock: Clock | None = None) -> None:
        self.residents: dict[str, Resident] = {}
        self._settings = settings
        self._hands = hands
        self._clock = clock or SystemClock()
        self._wanted: dict[str, Found | None] = {}
        self._busy: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._memory_bytes = settings.memory_bytes

    def holds(self, models: Mapping[str, int]) -> None:
        """These models are there already, and take so many bytes each."""
        now_s = self._clock.now_s()
        for name, size in models.items():
            self.residents[name] = Resident(name, size, now_s, self._settings.keep_alive_s)
        self._changed.set()

    def hear(self, gateway: str, message: Want | Uses) -> None:
        """A gateway's callers want a model, or this is how they use those that are there."""
        if isinstance(message, Want):
            self._wanted.setdefault(message.model, None)
        else:
            self._note(gateway, message)
        self._changed.set()

    async def load(self, model: str) -> None:
        """Load a model, and wait for it. Raises what stands against it."""
        if model in self.residents:
            return
        waiting = self._waiting.setdefault(model, asyncio.get_running_loop().create_future())
        self._wanted.setdefault(model, None)
        self._changed.set()
        await asyncio.shield(waiting)

    def forget(self, model: str) -> None:
        """Somebody else has unloaded it."""
        self.residents.pop(model, None)
        self._changed.set()

    async def run(self) -> None:
        """Load what is wanted, and unload what nobody calls, until cancelled."""
        if self._memory_bytes is None:
            held = sum(each.bytes for each in self.residents.values())
            self._memory_bytes = self._hands.free_bytes() + held
        while True:
            self._changed.clear()
            await self._unload_overdue()
            for model in list(self._wanted):
                await self._serve(model)
            self._hands.reside(self._told())
            await self._until_changed()

    async def _until_changed(self) -> None:
        """Wait for news, or until the time of a model is over."""
        due_s = next_due_s(self.residents.values())
        timeout_s = None if math.isinf(due_s) else max(due_s - self._clock.now_s(), 0.001)
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _unload_overdue(self) -> None:
        for each in overdue(self.residents.values(), self._clock.now_s()):
            await self._unload(each, min(each.keep_s, self._clock.now_s() - each.used_s))

    async def _unload(self, resident: Resident, idle_s: float) -> bool:
        """Unload a model, if nobody calls it; else that is tried again a little later."""
        gone = False
        try:
            gone = await self._hands.unload(resident.name, idle_s)
        except SynfireError as error:
            LOGGER.warning("model %s is not unloaded: %s", resident.name, error)
        if gone:
            LOGGER.info("model %s is unloaded, which gives back %s", resident.name, format_bytes(resident.bytes))
            self.residents.pop(resident.name, None)
        elif resident.name in self.residents:
            again_s = self._clock.now_s() + GRACE_S
            self.residents[resident.name] = replace(resident, used_s=max(resident.used_s, again_s - resident.keep_s))
        return gone

    async def _serve(self, model: str) -> None:
        """Load a model that is wanted, or leave it to wait for room."""
        if model in self.residents:
            self._settle(model, None)
            return
        try:
            found = await self._found(model)
            if not await self._make_room(found):
                return
            began_s = self._clock.now_s()
            await self._hands.load(found.wanted)
        except SynfireError as error:
            LOGGER.warning("model %s is not loaded: %s", model, error)
            self._hands.refuse(Unwanted(model, *error_words(error), getattr(error, "retry_after_s", 1.0)))
            self._settle(model, error)
            return
        now_s = self._clock.now_s()
        LOGGER.info("model %s is loaded, in %.2f s", model, now_s - began_s)
        keep_s = self._settings.keep_alive_s
        self.residents[model] = Resident(model, found.bytes, now_s, max(keep_s, GRACE_S))
        self._settle(model, None)

    async def _found(self, model: str) -> Found:
        """The model, read once for as long as it is wanted."""
        known = self._wanted.get(model)
        if known is not None:
            return known
        found = await asyncio.to_thread(self._hands.find, model)
        self._wanted[model] = found
        return found

    async def _make_room(self, found: Found) -> bool:
        """Unload who has to go for it; False where that is busy."""
        room = Room(self._memory_bytes or 0, self._hands.free_bytes(), self._settings.most_models)
        going = making_room(found.wanted.name, found.bytes, self._present(), room)
        if going is None:
            return False
        results = [await self._unload(each, 0.0) for each in going]
        return all(results)

    def _present(self) -> list[Resident]:
        return [replace(each, busy=bool(self._busy.get(name))) for name, each in self.residents.items()]

    def _settle(self, model: str, error: SynfireError | None) -> None:
        self._wanted.pop(model, None)
        waiting = self._waiting.pop(model, None)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)

    def _note(self, gateway: str, uses: Uses) -> None:
        now_s = self._clock.now_s()
        for callers in self._busy.values():
            callers.discard(gateway)
        for use in uses.models:
            if use.busy:
                self._busy.setdefault(use.model, set()).add(gateway)
            known = self.residents.get(use.model)
            if known is not None:
                kept_s = self._settings.keep_alive_s if use.keep_s is None else use.keep_s
                used_s = max(known.used_s, now_s - use.idle_s)
                self.residents[use.model] = replace(known, used_s=used_s, keep_s=math.inf if kept_s < 0 else kept_s)
        self.residents = {name: replace(each, busy=bool(self._busy.get(name))) for name, each in self.residents.items()}

    def _told(self) -> Residents:
        """The models that are there, with when they go, by the clock on the wall, to the second."""
        ahead_s = time.time() - self._clock.now_s()
        return Residents(
            tuple(
                Loaded(
                    name, each.bytes, None if math.isinf(each.keep_s) else round(each.used_s + each.keep_s + ahead_s, 1)
                )
                for name, each in self.residents.items()
            )
        )
