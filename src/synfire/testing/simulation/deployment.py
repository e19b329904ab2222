"""The real deployment in a simulated world: its doors to clock, processes, links and heartbeats lead into the simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

from synfire.base.clock import SystemClock
from synfire.base.errors import Bug
from synfire.base.log import LOGGER
from synfire.control import events
from synfire.control.controller import Controller
from synfire.control.record import RecoveryLog
from synfire.control.state import Recovery, State
from synfire.deploy.healing import Healing
from synfire.deploy.local import LocalDeployment, Settings
from synfire.engines import Program
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.plan.plan import stage_graph
from synfire.testing.simulation.loop import VirtualLoop
from synfire.testing.simulation.network import Network, SimulatedHeartbeat
from synfire.wire.graphs import pack_graph, unpack_graph
from synfire.wire.recovery import RecoveryRecord
from synfire.worker.builder import program_of


class Witness(Protocol):
    """Who is told what happens, when the controller's hands begin an action, and what an event has changed."""

    def tell(self, who: str, what: str) -> None: ...
    def acting(self, action: events.Action) -> None: ...
    def heard(self, before: State, after: State) -> None: ...


class SimulatedDeployment(LocalDeployment):
    """The real deployment, with names that are the same in every run. `records` are its recoveries."""

    def __init__(self, models: Mapping[str, tuple[Graph, Plan]], settings: Settings, witness: Witness) -> None:
        self.witness = witness
        self.records: list[RecoveryRecord] = []
        super().__init__(models, settings, log=_Records(self.records), id="simulated")

    @property
    def controller(self) -> Controller:
        if self._healing is None:
            raise Bug("a simulated deployment heals; its settings say that it does not")
        return self._healing.controller

    def _run_directory(self) -> Path:
        return Path("/simulated")


class _Records(RecoveryLog):
    """A log of recoveries that touches no file."""

    def __init__(self, records: list[RecoveryRecord]) -> None:
        self._records = records

    def append(self, record: RecoveryRecord) -> None:
        self._records.append(record)

    def recent(self, count: int) -> tuple[RecoveryRecord, ...]:
        return tuple(self._records[-count:])


class _WitnessedHealing(Healing):
    """The real hands, which tell what they begin."""

    def __init__(self, deployment: SimulatedDeployment, spares: int, keep: Callable[[Recovery], None]) -> None:
        super().__init__(deployment, spares, keep)
        self._witness = deployment.witness
        self.controller = _WitnessedController(self, keep, self.controller.state, self._witness)

    async def act(self, action: events.Action) -> events.Event:
        self._witness.tell("controller", f"begins {_words(action)}")
        self._witness.acting(action)
        return await super().act(action)


class _WitnessedController(Controller):
    """The real controller, which tells what it hears."""

    def __init__(self, hands: Healing, keep: Callable[[Recovery], None], state: State, witness: Witness) -> None:
        super().__init__(hands, SystemClock(), keep, state)
        self._witness = witness

    def tell(self, event: events.Event) -> None:
        self._witness.tell("controller", f"hears {_words(event)}")
        before = self.state
        super().tell(event)
        self._witness.heard(before, self.state)


def _words(thing: Any) -> str:
    """An event or an action, without what the story tells anyway."""
    names = [each.name for each in fields(thing) if each.name not in ("at_s", "began_s", "plan")]
    return f"{type(thing).__name__}({', '.join(f'{name}={getattr(thing, name)}' for name in names)})"


def _remembering(what: Callable[..., Any]) -> Callable[..., Any]:
    """`what`, for arguments that never change, by their identity where they are objects."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def recall(*given: Any) -> Any:
        key = tuple(id(each) if isinstance(each, Graph | Program) else each for each in given)
        if key not in known:
            known[key] = given, what(*given)
        return known[key][1]

    return recall


_stage_graph = _remembering(stage_graph)

_REMEMBERED = {
    "synfire.deploy.hosting.stage_graph": _stage_graph,
    "synfire.deploy.healing.stage_graph": _stage_graph,
    "synfire.gateway.peer.pack_graph": _remembering(pack_graph),
    "synfire.worker.builder.unpack_graph": _remembering(unpack_graph),
    "synfire.worker.builder.program_of": _remembering(program_of),
    "synfire.worker.worker.known_answer": _remembering(known_answer),
}
"""Pure functions whose results, the same in every run, are remembered: they would take most of the time."""


@contextmanager
def simulated(loop: VirtualLoop, network: Network) -> Iterator[None]:
    """While the block lasts, the deployment's doors to the world lead to `network`, and its clocks show the loop's time."""
    with ExitStack() as doors:
        for where, what in {
            "synfire.base.clock.SystemClock.now_s": lambda _: loop.time(),
            "synfire.worker.worker.time": SimpleNamespace(monotonic=loop.time),
            "synfire.gateway.peer.connect": network.connect,
            "synfire.deploy.local.WorkerProcess": network,
            "synfire.deploy.local.Heartbeat": lambda settings, suspect, *_: SimulatedHeartbeat(network, suspect),
            "synfire.deploy.local.unlink": lambda address: None,
            "synfire.deploy.local.Healing": _WitnessedHealing,
            **_REMEMBERED,
        }.items():
            doors.enter_context(patch(where, what))
        LOGGER.disabled, before = True, LOGGER.disabled
        doors.callback(setattr, LOGGER, "disabled", before)
        yield
