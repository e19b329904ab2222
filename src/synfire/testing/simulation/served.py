"""A simulated deployment as `synfire serve` arranges it: the real supervisor, controller and gateways, each a process.

The controller and the gateways may be killed at any step. The supervisor, which begins them again, never dies here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import msgspec

from synfire.base.clock import SystemClock
from synfire.control.controller import Controller
from synfire.control.order import Order, OrderKind
from synfire.control.record import RecoveryLog
from synfire.deploy import door
from synfire.deploy.ledger import Ledger, Wanted, read_ledger, write_ledger
from synfire.deploy.listening import Listening
from synfire.deploy.roles.controller import Control
from synfire.deploy.roles.supervisor import CONTROLLER, Supervisor
from synfire.deploy.running import RunningWorker
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.neighbours import Neighbours
from synfire.gateway.routes import Routes
from synfire.graph import Graph, flatten
from synfire.testing.simulation.arrangement import DEPLOYMENT, Answering
from synfire.testing.simulation.catalog import SimulatedCatalog
from synfire.testing.simulation.deployment import FOLDER, remembering
from synfire.testing.simulation.loop import Life
from synfire.testing.simulation.models import graph_of, model
from synfire.testing.simulation.network import Network
from synfire.testing.simulation.processes import Machine, SimulatedPorts, SimulatedServer
from synfire.testing.simulation.schedules import PATIENT_S, Asked, Schedule
from synfire.wire.graphs import pack_graph, unpack_graph
from synfire.wire.messages import AnyMessage, Load, Move, Unload
from synfire.wire.recovery import RecoveryRecord

WAIT_S = 0.02
"""How often who finds no gateway looks again."""

ORDER_S = 120.0
"""How long an order may take."""


class Served:
    """A supervisor with a controller and `schedule.gateways` gateways."""

    def __init__(self, schedule: Schedule, network: Network) -> None:
        self.machine = Machine(network)
        self.control: Control | None = None
        self.life: Life | None = None
        self._count = schedule.gateways
        self._schedule = schedule
        self._catalog = SimulatedCatalog()
        self._routes: dict[str, Routes] = {}
        self._numbers = itertools.count(1)

    @property
    def doors(self) -> Mapping[str, Any]:
        """What has to be replaced of the real code, by the name under which it is looked up."""
        network, machine = self.machine.network, self.machine
        return {
            "synfire.control.record.Catalog": lambda *_: self._catalog,
            "synfire.deploy.crew.born": machine.born,
            "synfire.deploy.crew.starved": lambda pid: False,
            "synfire.deploy.door.SocketLink": _as_it_is,
            "synfire.deploy.door.listen": network.listen,
            "synfire.deploy.door.unlink": lambda address: None,
            "synfire.deploy.ledger.Catalog": lambda *_: self._catalog,
            "synfire.deploy.roles.controller.Control": partial(_witnessed, self),
            "synfire.deploy.roles.controller.MirroredStore": lambda folder, lasting: None,
            "synfire.deploy.roles.controller.SocketLink": _as_it_is,
            "synfire.deploy.roles.controller.socket": SimpleNamespace(socket=lambda fileno: network.ends[fileno]),
            "synfire.deploy.roles.controller.stored_graph": _stored_graph,
            "synfire.deploy.roles.gateway.DataPlane": lambda: DataPlane(Limits(timeout_s=PATIENT_S), SystemClock()),
            "synfire.deploy.roles.gateway.MirroredStore": lambda folder, lasting: None,
            "synfire.deploy.roles.gateway.Routes": partial(_known, self._routes),
            "synfire.deploy.roles.gateway.Server": partial(SimulatedServer, machine),
            "synfire.deploy.roles.gateway.garbage": SimpleNamespace(look_seldom=lambda: None),
            "synfire.deploy.roles.gateway.socket": SimpleNamespace(socket=lambda fileno: None),
            "synfire.deploy.roles.gateway.uuid": SimpleNamespace(
                uuid4=lambda: SimpleNamespace(hex=f"{next(self._numbers):06x}")
            ),
            "synfire.deploy.roles.lifeline.socket": SimpleNamespace(socket=machine.lifeline),
            "synfire.deploy.roles.supervisor.ChildProcess": machine,
            "synfire.deploy.roles.supervisor.Ports": SimulatedPorts,
            "synfire.deploy.roles.supervisor.SocketLink": _as_it_is,
            "synfire.deploy.roles.supervisor.WorkerProcess": network,
            "synfire.deploy.roles.supervisor.unlink": lambda address: None,
            "synfire.gateway.follower.connect": network.connect,
            "synfire.gateway.follower.stored_graph": _stored_graph,
            "synfire.gateway.neighbours.SocketLink": _as_it_is,
            "synfire.gateway.neighbours.connect": network.connect,
            "synfire.gateway.neighbours.listen": network.listen,
            "synfire.gateway.neighbours.unlink": lambda address: None,
        }

    async def __aenter__(self) -> Self:
        settings, models = self._schedule.settings(), self._schedule.models()
        wanted = tuple(_wanted(name, plan, settings.priorities.get(name, 0)) for name, (_, plan) in models.items())
        write_ledger(Ledger(deployment=DEPLOYMENT, settings=settings, models=wanted))
        self._supervisor = Supervisor(DEPLOYMENT, FOLDER, settings, Listening(), self._count)
        await self._supervisor.start({worker: "" for _, plan in models.values() for worker in plan.workers})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._supervisor.stop()

    @property
    def controller(self) -> Controller:
        assert self.control is not None
        return self.control._deployment.healing.controller

    @property
    def gateways(self) -> Sequence[tuple[str, Routes, DataPlane]]:
        doors = sorted(self.machine.doors.items())
        return [(name, self._routes[name], server.plane) for name, server in doors]

    @property
    def records(self) -> Sequence[RecoveryRecord]:
        return RecoveryLog().recent(1000)

    @property
    def workers(self) -> Mapping[str, RunningWorker]:
        assert self.control is not None
        return self.control._deployment.workers

    async def until_warm(self) -> None:
        """It has begun with that."""

    async def gateway(self, asked: Asked) -> Answering:
        """The one to which the caller is drawn, if that takes calls; else another one, or the first that does again."""
        while not self.machine.doors:
            await asyncio.sleep(WAIT_S)
        drawn = f"gateway-{sum(asked.name.encode()) % self._count}"
        return self.machine.doors.get(drawn) or next(iter(self.machine.doors.values()))

    def keeper(self, session: str) -> str:
        names = tuple(f"gateway-{n}" for n in range(self._count))
        return Neighbours("", names, FOLDER, DEPLOYMENT, self).keeper(session)  # type: ignore[arg-type]

    async def add(self, name: str, workers: tuple[str, ...], frame_steps: int) -> None:
        _, plan = model(name, workers, frame_steps, self._schedule.fused)
        wanted = _wanted(name, plan)
        await self._ask(Load(name, wanted.version, wanted.source, wanted.digest, plan))

    async def remove(self, name: str) -> None:
        await self._ask(Unload(name))

    async def order(self, kind: OrderKind, worker: str) -> tuple[int, int]:
        done = _ORDERS.decode(await self._ask(Move(kind, worker)))
        return len(done.moved), len(done.retired)

    def unrest(self) -> str:
        """Who is not there, or not up to date, though it should be."""
        control, children = self.control, self.machine.children
        away = sorted(name for name, child in children.items() if child.life.over)
        if away or control is None or self.life is not children[CONTROLLER].life or not control._begun.is_set():
            return f"{', '.join(away) or CONTROLLER} is not back yet"
        attending = [who for who, each in control._gateways.attending.items() if each.caught_up]
        if len(self.machine.doors) < self._count or len(attending) < self._count:
            return f"only {sorted(self.machine.doors)} answer, and {sorted(attending)} follow the controller"
        if read_ledger(DEPLOYMENT) != control._present():
            return "the ledger is not what the controller knows"
        return ""

    async def _ask(self, order: AnyMessage) -> str:
        """Have the controller carry out an order, as `synfire.deploy.door.ask` does."""
        link = self.machine.network.connect(f"unix:{FOLDER / door.NAME}", "the controller", owner="operator")
        return await asyncio.wait_for(door._asked(link, DEPLOYMENT, order), ORDER_S)  # type: ignore[arg-type]


_ORDERS = msgspec.json.Decoder(Order)

_PACKED: dict[str, bytes] = {}
"""The graphs in the store, by model: the simulation's digests are names."""

_unpack_graph = remembering(unpack_graph)


def _stored_graph(digest: str, store: None) -> Graph:
    return _unpack_graph(_PACKED[digest])


def _as_it_is(connection: Any, *_: object) -> Any:
    return connection


def _wanted(name: str, plan: Any, priority: int = 0) -> Wanted:
    return Wanted(name=name, version="1", source=name, digest=_digest(name), plan=plan, priority=priority)


def _digest(name: str) -> str:
    if name not in _PACKED:
        _PACKED[name] = pack_graph(flatten(graph_of(name)))
    return name


def _witnessed(served: Served, *given: Any) -> Control:
    """The controller's control, of which the simulation knows from now on."""
    served.control, served.life = Control(*given), Life.here()
    return served.control


def _known(routes: dict[str, Routes], who: str, *given: Any) -> Routes:
    life = Life.here()
    assert life is not None
    routes[life.name] = made = Routes(who, *given)
    return made
