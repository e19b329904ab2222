"""A model of two stages with several replicas each, on workers that take their time by waiting: the route is real, and so is its choice.

Each worker works on one frame after the other, as a worker's compute thread does, and sends it on to the replica of the next stage that the
frame's lane names.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError
from synfire.gateway.lanes import Lanes
from synfire.gateway.peer import Inbox
from synfire.gateway.route import WorkerRoute
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Signal
from synfire.ops.identity import Identity
from synfire.plan import Link, Plan, Stage
from synfire.plan.plan import GATEWAY
from synfire.plan.replicas import Lane, along, replicated
from synfire.wire.messages import Frame, Restore
from synfire.wire.stream import Packet

COUNTS: Mapping[str, int] = {"front": 4, "back": 2}
"""How many replicas each stage has."""

SHARES: Mapping[str, float] = {"front": 1.0, "back": 0.5}
"""How long a stage takes for a time step, beside the longest: so all workers are equally busy."""

FRAME_STEPS = 16
"""Time steps of a frame, as plans of long requests have them: the second stage begins when the first has made so many."""


class InTurns(Lanes):
    """Of each stage the next replica, whatever its worker has to do."""

    def _chosen_of(self, place: int, kept: Mapping[str, str], able: Callable[[str], bool]) -> int:
        group = self._groups[place]
        number = self._chosen.get(group[0].original, -1) + 1
        self._chosen[group[0].original] = number
        return number % len(group)


class FewestCalls(Lanes):
    """The replica whose worker has the fewest calls, however long these are."""

    def take(self, plan: Plan, work: float) -> None:
        super().take(plan, 1.0)

    def give_back(self, plan: Plan, work: float) -> None:
        super().give_back(plan, 1.0)


def routed(model: str, kind: type[Lanes], step_s: float) -> WorkerRoute:
    """The route of such a model, by `kind` of choice; a step of its longest stage takes `step_s`."""
    graph = Graph(
        {name: Identity() for name in COUNTS},
        (Synapse("x", "front"), Synapse("front", "back")),
        {"x": Signal((1,), clock=Clock.STEP)},
        {"y": "back"},
    )
    plan = _plan(model, step_s)
    workers: dict[str, Waiting] = {}
    for stage in plan.stages:
        workers[stage.worker] = Waiting(stage.worker, plan, step_s * SHARES[stage.original], workers)
    route = WorkerRoute(graph, plan, workers, "bench")
    route._way = replace(route._way, lanes=kind(plan))
    return route


def _plan(model: str, step_s: float) -> Plan:
    """Every replica on a worker of its own."""
    stages = tuple(Stage(name=name, operators=(name,), worker=name, busy_s=step_s * SHARES[name]) for name in COUNTS)
    ends = itertools.pairwise((GATEWAY, *COUNTS, GATEWAY))
    links = tuple(
        Link(source="x" if sender == GATEWAY else sender, sender=sender, receiver=receiver) for sender, receiver in ends
    )
    once = Plan(model=model, granularity="operator", stages=stages, links=links, frame_steps=FRAME_STEPS)
    return replicated(once, {name: [f"{name}-{n}" for n in range(count)] for name, count in COUNTS.items()})


class Waiting:
    """A worker as routes see it, with one stage that takes `step_s` for each time step."""

    lost: SynfireError | None = None
    draining = False

    def __init__(self, name: str, plan: Plan, step_s: float, workers: Mapping[str, Waiting]) -> None:
        self.name = name
        self._plan = plan
        self._step_s = step_s
        self._workers = workers
        self._inboxes: dict[str, Inbox] = {}
        self._onward: dict[tuple[Lane, str], Link] = {}
        self._free_s = 0.0
        self._now_s = SystemClock().now_s

    def register(self, request: str, inbox: Inbox) -> None:
        """Whose answers of this request are."""
        self._inboxes[request] = inbox

    def release(self, request: str) -> None:
        """Nobody waits for it any more."""
        self._inboxes.pop(request, None)

    async def restore(self, restore: Restore, state: Mapping[str, Array]) -> None:
        """There is no state."""

    def send(self, packet: Packet) -> None:
        """Take a frame; what else there is to say to a worker changes nothing here."""
        frame = packet.message
        if not isinstance(frame, Frame):
            return
        now_s = self._now_s()
        self._free_s = max(self._free_s, now_s) + self._step_s * frame.steps
        (array,) = packet.arrays.values()
        asyncio.get_running_loop().call_later(self._free_s - now_s, self._pass_on, frame, array)

    def _pass_on(self, frame: Frame, array: Array) -> None:
        """The stage is through with the frame."""
        way = frame.lane, frame.receiver
        link = self._onward.get(way)
        if link is None:
            links = along(self._plan, frame.lane).links
            link = self._onward[way] = next(each for each in links if each.sender == frame.receiver)
        onward = msgspec.structs.replace(frame, sender=link.sender, receiver=link.receiver)
        if link.receiver != GATEWAY:
            self._workers[self._plan.stage(link.receiver).worker].send(Packet(onward, {link.source: array}))
        elif (inbox := self._inboxes.get(frame.request)) is not None:
            inbox.put(onward, {link.source: array})
