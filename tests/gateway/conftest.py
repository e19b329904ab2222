"""A route over the reference engine, and a real server in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import uvloop

from synfire.base.keys import VARIABLE
from synfire.engines.reference import ReferenceEngine
from synfire.gateway.addresses import Addresses
from synfire.gateway.call import Call, Part
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.limits import Limits
from synfire.gateway.server import Server
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Plan, Stage

STEPS = 6


def spiking_graph(encoded: bool = True) -> Graph:
    """4 values → 3 LIF neurons → their mean rate, over 6 steps; or over as many as the request brings."""
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(3, 4)).astype(np.float32), np.full(3, 0.3, np.float32)
    operators: dict[str, Any] = {"fc": Linear(weight, bias), "lif": LIF(), "rate": MeanRate()}
    chain = ["fc", "lif", "rate"]
    if encoded:
        operators, chain = {"encode": ConstantCurrent(STEPS), **operators}, ["encode", *chain]
    synapses = tuple(Synapse(a, b) for a, b in zip(["x", *chain], chain, strict=False))
    clock = Clock.REQUEST if encoded else Clock.STEP
    return Graph(operators, synapses, {"x": Signal((4,), clock=clock)}, {"rate": "rate", "spikes": "lif"})


def plan_of(model: str, graph: Graph) -> Plan:
    stages = (Stage(name="all", operators=graph.order(), worker="here"),)
    return Plan(model=model, granularity="model", stages=stages, links=(), frame_steps=2)


class ReferenceRoute:
    """Answers in this process, two steps a part, and keeps sessions' states."""

    def __init__(self, graph: Graph, block: int = 2) -> None:
        self.graph = graph
        self.plan = plan_of("reference", graph)
        self._program = ReferenceEngine().build(graph)
        self._block = block
        self.states: dict[str, Any] = {}

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        timed = {name: each for name, each in call.inputs.items() if self.graph.inputs[name].timed}
        once = {name: each for name, each in call.inputs.items() if name not in timed}
        steps = self.graph.steps or len(next(iter(timed.values())))
        batch = next(iter(call.inputs.values())).shape[1 if timed else 0]
        known = call.session and not call.start
        state = self.states[call.session] if known else self._program.initial_state(batch)
        for first in range(0, steps, self._block):
            count = min(self._block, steps - first)
            block = {name: each[first : first + count] for name, each in timed.items()}
            state, outputs = self._program.run(state, {**block, **(once if not first else {})}, count)
            await asyncio.sleep(0)
            yield Part(outputs, first, count, first + count == steps)
        if call.session:
            self.states[call.session] = state
        if call.end:
            self.states.pop(call.session, None)


@dataclass
class GatedRoute:
    """Answers the echo once it is let go; says who waits, who was let go, and who was cancelled."""

    error: BaseException | None = None
    graph: Graph = field(default_factory=lambda: EchoRoute().graph)
    plan: Plan = field(default_factory=lambda: EchoRoute().plan)
    arrived: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    someone: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        self.arrived.append(call.id)
        self.someone.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(call.id)
            raise
        if self.error:
            raise self.error
        yield Part({"y": call.inputs["x"]}, last=True)


class FileRoute:
    """Takes one file and one event list, answers their lengths."""

    def __init__(self) -> None:
        inputs = {
            "image": Signal((), Kind.BYTES, Clock.REQUEST),
            "events": Signal((-1, 4), Kind.INDEX, Clock.REQUEST),
        }
        self.graph = Graph({}, (), inputs, {"image": "image", "events": "events"})
        self.plan = plan_of("file", self.graph)

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        yield Part(dict(call.inputs), last=True)


@dataclass
class Running:
    """A server in its own thread and event loop."""

    plane: DataPlane
    addresses: Addresses
    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def host_port(self) -> str:
        return self.addresses.url.removeprefix("http://")

    @property
    def port(self) -> int:
        return int(self.host_port.rpartition(":")[2])

    def do(self, coroutine: Any) -> Future[Any]:
        """Start a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the server's loop."""

        async def calling() -> Any:
            return function()

        return self.do(calling()).result(10)


@contextmanager
def running(routes: dict[str, Any], limits: Limits | None = None) -> Iterator[Running]:
    ready: Future[Running] = Future()
    stop = asyncio.Event()

    async def main() -> None:
        plane = DataPlane(limits)
        for name, route in routes.items():
            plane.add(name, route)
        server = Server(plane, port=0, grpc_port=0)
        ready.set_result(Running(plane, await server.start(), server, asyncio.get_running_loop()))
        await stop.wait()
        await server.stop()

    def thread() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread_ = threading.Thread(target=thread)
    thread_.start()
    here = ready.result(20)
    try:
        yield here
    finally:
        here.loop.call_soon_threadsafe(stop.set)
        thread_.join(20)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    """A server with an echo, a spiking model by request and by step, and a model that takes files."""
    routes = {
        "echo": EchoRoute(),
        "snn": ReferenceRoute(spiking_graph()),
        "stream": ReferenceRoute(spiking_graph(encoded=False)),
        "file": FileRoute(),
    }
    with running(routes) as here:
        yield here


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    """A server that asks for one of two keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "secret-1,secret-2")
        with running({"snn": ReferenceRoute(spiking_graph())}) as here:
            patch.undo()
            yield here


@pytest.fixture
def serving() -> Callable[..., Any]:
    """`serving({name: route}, limits)`: a server of one's own, as a context."""
    return running


@pytest.fixture
def gated() -> GatedRoute:
    return GatedRoute()


class Routes:
    """What tests build routes from."""

    spiking_graph = staticmethod(spiking_graph)
    reference = ReferenceRoute
    gated = GatedRoute
    file = FileRoute
    echo = EchoRoute


@pytest.fixture
def routes() -> type[Routes]:
    return Routes
