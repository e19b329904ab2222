"""Models of the store, loaded when somebody calls them: the hands of `synfire.control.residence`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import Bug, SynfireError
from synfire.base.log import LOGGER
from synfire.control.residence import Resident, Room, making_room, next_due_s, overdue
from synfire.deploy.ledger import Wanted
from synfire.deploy.settings import StoreSettings
from synfire.plan.costs import format_bytes
from synfire.wire.messages import Loaded, Residents, Unwanted, Uses, Want, error_words

LOADS = 4
"""How many models are loaded at a time: each reads its file, and has a process begun, which takes a core for a while."""

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
    """Loads several models at a time, `at_a_time` at most, and unloads them. Made and used in one event loop; `run` is its life.

    What it holds after a restart of the controller is told by `holds`; who calls, by the gateways. Models that are not among
    `priorities` have 0.
    """

    def __init__(
        self,
        settings: StoreSettings,
        hands: Hands,
        clock: Clock | None = None,
        priorities: Mapping[str, int] | None = None,
        at_a_time: int = LOADS,
    ) -> None:
        self.residents: dict[str, Resident] = {}
        self._settings = settings
        self._hands = hands
        self._clock = clock or SystemClock()
        self._priorities = priorities or {}
        self._at_a_time = at_a_time
        self._wanted: dict[str, Found | None] = {}
        self._loading: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._memory_bytes = settings.memory_bytes

    def holds(self, models: Mapping[str, int]) -> None:
        """These models are there already, and take so many bytes each."""
        now_s = self._clock.now_s()
        for name, size in models.items():
            self.residents[name] = self._resident(name, size, now_s, self._settings.keep_alive_s)
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

    def find(self, model: str) -> Found:
        """A model of the store as it would be served. Takes a while, and may be called from any thread. Raises what is wrong with it."""
        return self._hands.find(model)

    def forget(self, model: str) -> None:
        """Somebody else has unloaded it."""
        self.residents.pop(model, None)
        self._changed.set()

    async def run(self) -> None:
        """Load what is wanted, and unload what nobody calls, until cancelled."""
        if self._memory_bytes is None:
            held = sum(each.bytes for each in self.residents.values())
            self._memory_bytes = self._hands.free_bytes() + held
        try:
            while True:
                self._changed.clear()
                await self._unload_overdue()
                for model in list(self._wanted):
                    await self._further(model)
                self._hands.reside(self._told())
                await self._until_changed()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

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

    async def _further(self, model: str) -> None:
        """The next thing to do for a model that is wanted: read it, have room made, load it; nothing while one of these is under way."""
        if model in self.residents:
            self._settle(model, None)
        elif model not in self._tasks and len(self._tasks) < self._at_a_time:
            found = self._wanted[model]
            if found is None:
                self._begin(model, self._find(model))
            elif await self._has_room(found):
                self._loading[model] = found.bytes
                self._begin(model, self._load(found))

    def _begin(self, model: str, doing: Coroutine[Any, Any, None]) -> None:
        """Do it beside other things; errors are told to whoever waits for the model."""

        async def told() -> None:
            try:
                await doing
            except SynfireError as error:
                self._refuse(model, error)
            except Exception as error:
                LOGGER.error("loading model %s failed", model, exc_info=error)
                self._refuse(
                    model, Bug(f"loading model {model!r} failed: {type(error).__name__}: {error}; please report it")
                )
            finally:
                self._loading.pop(model, None)
                del self._tasks[model]
                self._changed.set()

        self._tasks[model] = asyncio.create_task(told(), name=f"load {model}")

    async def _find(self, model: str) -> None:
        """Read the model, once for as long as it is wanted."""
        self._wanted[model] = await asyncio.to_thread(self._hands.find, model)

    async def _load(self, found: Found) -> None:
        model, began_s = found.wanted.name, self._clock.now_s()
        await self._hands.load(found.wanted)
        now_s = self._clock.now_s()
        LOGGER.info("model %s is loaded, in %.2f s", model, now_s - began_s)
        self.residents[model] = self._resident(model, found.bytes, now_s, max(self._settings.keep_alive_s, GRACE_S))
        self._settle(model, None)

    async def _has_room(self, found: Found) -> bool:
        """Whether there is room for a model now; it is refused where there never will be."""
        try:
            return await self._make_room(found)
        except SynfireError as error:
            self._refuse(found.wanted.name, error)
            return False

    def _refuse(self, model: str, error: SynfireError) -> None:
        LOGGER.warning("model %s is not loaded: %s", model, error)
        self._hands.refuse(Unwanted(model, *error_words(error), getattr(error, "retry_after_s", 1.0)))
        self._settle(model, error)

    async def _make_room(self, found: Found) -> bool:
        """Unload who has to go for it; False where that is busy."""
        settings, free_bytes = self._settings, self._hands.free_bytes() - sum(self._loading.values())
        room = Room(self._memory_bytes or 0, free_bytes, settings.most_models, settings.model_bytes)
        name = found.wanted.name
        going = making_room(name, found.bytes, self._present(), room, self._priorities.get(name, 0))
        if going is None:
            return False
        results = [await self._unload(each, 0.0) for each in going]
        return all(results)

    def _present(self) -> list[Resident]:
        """The models that have room, or are about to: one that is being loaded is busy."""
        there = [replace(each, busy=bool(self._busy.get(name))) for name, each in self.residents.items()]
        now_s = self._clock.now_s()
        return there + [
            replace(self._resident(name, size, now_s, math.inf), busy=True) for name, size in self._loading.items()
        ]

    def _resident(self, name: str, size: int, used_s: float, keep_s: float) -> Resident:
        return Resident(name, size, used_s, keep_s, priority=self._priorities.get(name, 0))

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
