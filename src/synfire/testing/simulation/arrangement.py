"""How a simulated deployment is arranged: all in one process, as `demo` and `bench` have it; `served` has the other way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol, Self

from synfire.base.clock import SystemClock
from synfire.control.controller import Controller
from synfire.control.order import OrderKind
from synfire.control.record import RecoveryLog
from synfire.deploy.local import LocalDeployment
from synfire.deploy.running import RunningWorker
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.request import Answer, Request
from synfire.gateway.routes import Routes
from synfire.testing.simulation.catalog import SimulatedCatalog
from synfire.testing.simulation.models import model
from synfire.testing.simulation.schedules import PATIENT_S, Asked, Schedule
from synfire.wire.recovery import RecoveryRecord

DEPLOYMENT = "simulated"


class Answering(Protocol):
    """A gateway as a caller sees it."""

    def parts(self, request: Request, streamed: bool) -> AsyncGenerator[Answer, None]:
        """The answer as it comes, or whole as one part."""
        ...


class Arrangement(Protocol):
    """A deployment from `async with` on, until the end of the block."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    @property
    def controller(self) -> Controller:
        """The one that lives, or the last one."""
        ...

    @property
    def gateways(self) -> Sequence[tuple[str, Routes, DataPlane]]:
        """Those that answer now."""
        ...

    @property
    def records(self) -> Sequence[RecoveryRecord]:
        """What the catalog has of recoveries."""
        ...

    @property
    def workers(self) -> Mapping[str, RunningWorker]:
        """Those that the controller counts on."""
        ...

    async def until_warm(self) -> None: ...

    async def gateway(self, asked: Asked) -> Answering:
        """Who takes the call, once somebody does."""
        ...

    def keeper(self, session: str) -> str:
        """The gateway with which the session would be lost."""
        ...

    async def add(self, name: str, workers: tuple[str, ...], frame_steps: int) -> None: ...
    async def remove(self, name: str) -> None: ...
    async def order(self, kind: OrderKind, worker: str) -> tuple[int, int]:
        """Carry out a planned move: how many stages have moved, and how many workers have ended."""
        ...

    def unrest(self) -> str:
        """What is still to come before all is at rest, beside what the controller knows of; empty when nothing is."""
        ...


class Together:
    """Controller, gateway and deployment in one process."""

    def __init__(self, schedule: Schedule) -> None:
        self._plane = DataPlane(Limits(timeout_s=PATIENT_S), SystemClock())
        self._catalog = SimulatedCatalog()
        self._fused = schedule.fused
        log = RecoveryLog(self._catalog)  # type: ignore[arg-type]
        self._deployment = LocalDeployment(schedule.models(), schedule.settings(), log=log, id=DEPLOYMENT)

    async def __aenter__(self) -> Self:
        await self._deployment.__aenter__()
        for name, route in self._deployment.routes.items():
            self._plane.add(name, route)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._deployment.stop()

    @property
    def controller(self) -> Controller:
        return self._deployment.healing.controller

    @property
    def gateways(self) -> Sequence[tuple[str, Routes, DataPlane]]:
        return (("gateway", self._deployment.gateway, self._plane),)

    @property
    def records(self) -> Sequence[RecoveryRecord]:
        return self._deployment.recoveries.recent(1000)

    async def until_warm(self) -> None:
        await self._deployment.until_warm()

    async def gateway(self, asked: Asked) -> Answering:
        return self

    async def parts(self, request: Request, streamed: bool) -> AsyncGenerator[Answer, None]:
        if not streamed:
            yield await self._plane.infer(request)
            return
        async with aclosing(self._plane.stream(request)) as parts:
            async for part in parts:
                yield part

    def keeper(self, session: str) -> str:
        return "gateway"

    async def add(self, name: str, workers: tuple[str, ...], frame_steps: int) -> None:
        await self._deployment.add(name, *model(name, workers, frame_steps, self._fused))
        self._plane.add(name, self._deployment.routes[name])

    async def remove(self, name: str) -> None:
        self._plane.remove(name)
        await self._deployment.remove(name)

    async def order(self, kind: OrderKind, worker: str) -> tuple[int, int]:
        done = await self._deployment.order(kind, worker)
        return len(done.moved), len(done.retired)

    @property
    def workers(self) -> Mapping[str, RunningWorker]:
        return self._deployment.workers

    def unrest(self) -> str:
        return ""
