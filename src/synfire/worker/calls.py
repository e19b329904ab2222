"""Calls of single stages and operators that come from another thread of the worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Mapping

import numpy as np

from synfire.base.errors import UnknownName
from synfire.ops import Array
from synfire.plan.plan import GATEWAY, stage_graph
from synfire.store.names import of_replica
from synfire.wire.messages import Arrival, Failure, Frame, Host, Hosted, error_of
from synfire.wire.stream import Packet
from synfire.worker.stage import Stage
from synfire.worker.worker import Worker

_ORIGIN = "http"


class StageCalls:
    """Hands calls from the HTTP thread to the worker's thread, and the answers back."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ids = itertools.count(1)
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Packet]]] = {}
        worker.local_origins[_ORIGIN] = self._answer

    async def stage(self, name: str) -> Stage:
        """The stage called `MODEL.STAGE`, or one made of the operator `MODEL.OPERATOR`. Raises `UnknownName`."""
        stages = list(self._worker.core.stages.values())
        called = {_shared_name(each): each for each in stages} | {each.name: each for each in stages}
        if name in called:
            return called[name]
        for stage in stages:
            operator = name.removeprefix(f"{stage.host.model}.")
            if operator != name and operator in stage.graph.operators:
                return await self._operator(stage, operator)
        raise UnknownName.among(f"stage or operator on worker {self._worker.name}", name, self.names())

    def names(self) -> list[str]:
        """What can be asked for: `MODEL.STAGE` and `MODEL.OPERATOR`, in alphabetical order."""
        stages = [stage for stage in self._worker.core.stages.values() if "/" not in stage.host.stage]
        names = {each for stage in stages for each in (stage.name, _shared_name(stage))}
        return sorted(names | {f"{stage.host.model}.{each}" for stage in stages for each in stage.graph.operators})

    async def infer(self, stage: Stage, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The stage's outputs for inputs of a fresh request, over all time steps."""
        request = f"{self._worker.name}-{_ORIGIN}-{next(self._ids)}"
        steps = next((inputs[name].shape[0] for name, s in stage.inputs.items() if s.timed and inputs[name].ndim), 0)
        frame = Frame(stage.host.model, GATEWAY, stage.host.stage, request, _ORIGIN, 0, 0, steps, alone=True)
        queue: asyncio.Queue[Packet] = asyncio.Queue()
        self._waiting[request] = asyncio.get_running_loop(), queue
        try:
            self._worker.post(lambda: self._worker.take_in(Packet(frame, inputs)))
            return await self._gather(stage, queue)
        except BaseException:
            self._worker.post(lambda: self._worker.core.cancel(request))
            raise
        finally:
            del self._waiting[request]

    async def _gather(self, stage: Stage, queue: asyncio.Queue[Packet]) -> dict[str, Array]:
        packets: list[Packet] = []
        last = False
        while not last:
            packet = await queue.get()
            if isinstance(packet.message, Failure):
                raise error_of(packet.message)
            packets.append(packet)
            last = isinstance(packet.message, Frame) and packet.message.last
        return {
            name: np.concatenate([each.arrays[name] for each in packets]) if signal.timed else packets[0].arrays[name]
            for name, signal in stage.outputs.items()
        }

    async def _operator(self, stage: Stage, operator: str) -> Stage:
        """A stage that is this operator alone, built when it is first asked for."""
        key = (stage.host.model, f"{stage.host.stage}/{operator}")
        if key not in self._worker.core.stages:
            graph = stage_graph(stage.graph, (operator,))
            arrivals = (Arrival(GATEWAY, tuple(graph.inputs)),)
            host = Host(*key, stage.host.engine, stage.host.frame_steps, arrivals, (), stage.host.steps)
            loop = asyncio.get_running_loop()
            built: asyncio.Future[Hosted] = loop.create_future()
            self._worker.build(host, graph, lambda hosted: _settle(loop, built, hosted))
            hosted = await built
            if hosted.kind:
                raise error_of(hosted)
        return self._worker.core.stages[key]

    def _answer(self, packet: Packet) -> None:
        message = packet.message
        if isinstance(message, (Frame, Failure)) and message.request in self._waiting:
            loop, queue = self._waiting[message.request]
            with contextlib.suppress(RuntimeError):  # the HTTP loop has closed: its client is gone
                loop.call_soon_threadsafe(queue.put_nowait, packet)


def _shared_name(stage: Stage) -> str:
    """What all replicas of a stage are called."""
    return f"{stage.host.model}.{of_replica(stage.host.stage)}"


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Hosted], hosted: Hosted) -> None:
    loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(hosted))
