"""The real deployment in a simulated world: its doors to clock, processes, links and heartbeats lead into the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, Protocol, cast

from synfire.base.clock import SystemClock
from synfire.base.log import LOGGER
from synfire.control import events
from synfire.control.controller import Controller
from synfire.control.state import Recovery
from synfire.control.state import State as Known
from synfire.deploy.healing import Healing
from synfire.deploy.local import LocalDeployment
from synfire.engines import Program
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph
from synfire.ops import Array, State
from synfire.plan.plan import stage_graph
from synfire.testing.simulation.loop import Life, VirtualLoop
from synfire.testing.simulation.network import Network, SimulatedHeartbeat
from synfire.wire.graphs import pack_graph, unpack_graph
from synfire.worker.builder import Built, program_of

MOST_BLOCKS = 3000
"""How many blocks a program remembers."""

FOLDER = Path("/simulated")
"""Where the deployment's sockets would be."""


class Witness(Protocol):
    """Who is told what happens, when the controller's hands begin an action, and what an event has changed."""

    def tell(self, who: str, what: str) -> None: ...
    def acting(self, action: events.Action) -> None: ...
    def heard(self, event: events.Event, before: Known, after: Known) -> None: ...


class _WitnessedHealing(Healing):
    """The real hands, which tell what they begin."""

    def __init__(
        self, witness: Witness, deployment: LocalDeployment, spares: int, keep: Callable[[Recovery], None]
    ) -> None:
        super().__init__(deployment, spares, keep)
        self._witness = witness
        self.controller = _WitnessedController(self, keep, self.controller.state, self._witness)

    async def act(self, action: events.Action) -> events.Event:
        self._witness.tell("controller", f"begins {_words(action)}")
        self._witness.acting(action)
        life = Life.here()
        if life is not None and life.over:  # it was killed at this very action
            await asyncio.get_running_loop().create_future()
        return await super().act(action)


class _WitnessedController(Controller):
    """The real controller, which tells what it hears."""

    def __init__(self, hands: Healing, keep: Callable[[Recovery], None], state: Known, witness: Witness) -> None:
        super().__init__(hands, SystemClock(), keep, state)
        self._witness = witness

    def tell(self, event: events.Event) -> None:
        self._witness.tell("controller", f"hears {_words(event)}")
        before = self.state
        super().tell(event)
        self._witness.heard(event, before, self.state)


def _words(thing: Any) -> str:
    """An event or an action, without what the story tells anyway."""
    names = [each.name for each in fields(thing) if each.name not in ("at_s", "began_s", "plan")]
    return f"{type(thing).__name__}({', '.join(f'{name}={getattr(thing, name)}' for name in names)})"


def remembering(what: Callable[..., Any]) -> Callable[..., Any]:
    """`what`, for arguments that never change, by their identity where they are objects."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def recall(*given: Any) -> Any:
        key = tuple(id(each) if isinstance(each, Graph | Program) else each for each in given)
        if key not in known:
            known[key] = given, what(*given)
        return known[key][1]

    return recall


def _built(*given: Any) -> Built:
    """What `program_of` gives; its program remembers the blocks that it has run, of which few are unlike each other."""
    built = program_of(*given)
    program = built.program
    if program is not None:
        run = program.run
        known: dict[tuple[object, ...], tuple[State, dict[str, Array]]] = {}

        def recall(state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
            key = steps, _bits(state), _bits(inputs)
            if key not in known:
                if len(known) > MOST_BLOCKS:
                    known.clear()
                known[key] = run(state, inputs, steps)
            after, outputs = known[key]
            return dict(after), dict(outputs)

        program.run = recall  # type: ignore[method-assign]
    return built


def _bits(arrays: Mapping[str, Array]) -> tuple[tuple[str, tuple[int, ...], bytes], ...]:
    return tuple((name, array.shape, array.tobytes()) for name, array in arrays.items())


_stage_graph = remembering(stage_graph)
_remembered = remembering(_built)


def _program_of(engine: str, graph: Graph, digest: str, where: str, programs: object = None, threads: int = 1) -> Built:
    """All simulated workers run one program of a stage anyway."""
    return cast(Built, _remembered(engine, graph, digest, where))


_REMEMBERED = {
    "synfire.deploy.hosting.stage_graph": _stage_graph,
    "synfire.deploy.healing.stage_graph": _stage_graph,
    "synfire.gateway.peer.pack_graph": remembering(pack_graph),
    "synfire.worker.builder.unpack_graph": remembering(unpack_graph),
    "synfire.worker.builder.program_of": _program_of,
    "synfire.worker.worker.known_answer": remembering(known_answer),
}
"""Pure functions whose results, the same in every run, are remembered: they would take most of the time."""


@contextmanager
def simulated(loop: VirtualLoop, network: Network, witness: Witness, more: Mapping[str, Any]) -> Iterator[None]:
    """While the block lasts, the deployment's doors to the world lead to `network`, and its clocks show the loop's time.

    `more` are doors of other parts, by the name under which they are looked up.
    """
    with ExitStack() as doors:
        for where, what in {
            "synfire.base.clock.SystemClock.now_s": lambda _: loop.time(),
            "synfire.worker.worker.time": SimpleNamespace(monotonic=loop.time),
            "synfire.gateway.peer.connect": network.connect,
            "synfire.deploy.workers.WorkerProcess": network,
            "synfire.deploy.workers.Heartbeat": lambda settings, suspect, *_: SimulatedHeartbeat(network, suspect),
            "synfire.deploy.workers.unlink": lambda address: None,
            "synfire.deploy.workers.make_folder": lambda deployment: FOLDER,
            "synfire.deploy.workers.remove_folder": lambda folder: None,
            "synfire.deploy.local.Healing": partial(_WitnessedHealing, witness),
            **_REMEMBERED,
            **more,
        }.items():
            _replace(doors, where, what)
        LOGGER.disabled, before = True, LOGGER.disabled
        doors.callback(setattr, LOGGER, "disabled", before)
        yield


def _replace(doors: ExitStack, where: str, what: Any) -> None:
    """Put something else in the place of an attribute, until the doors are closed."""
    place, name = _found(where)
    doors.callback(setattr, place, name, getattr(place, name))
    setattr(place, name, what)


@cache
def _found(where: str) -> tuple[Any, str]:
    """The module, or class, and the name of an attribute of it."""
    place, _, name = where.rpartition(".")
    return resolve_name(place), name
