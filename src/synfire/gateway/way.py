"""What the calls of one epoch travel along: a plan, and connections to its workers; and of these what one call does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from synfire.base.errors import Interrupted
from synfire.gateway.frames import Frames
from synfire.gateway.lanes import Lanes
from synfire.gateway.peer import Peer
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.plan.replicas import Lane, along

_MOST_LANES = 1024
"""So many lanes are remembered: there are as many as the product of what stages have of replicas."""


@dataclass(frozen=True)
class Way:
    """A plan with its workers reached, by their names and, in `homes`, by their stages: what the calls of one epoch travel along.

    Where stages have several replicas a call travels `through` one of each: that is a way, too, of a part of the plan. `lanes` are those
    of the whole, and `lane` is the part's own.
    """

    graph: Graph
    plan: Plan
    epoch: int
    frames: Frames
    peers: Mapping[str, Peer]
    homes: Mapping[str, Peer]
    lanes: Lanes
    lane: Lane = ()
    _through: dict[Lane, Way] = field(default_factory=dict, init=False)

    @classmethod
    def along(cls, graph: Graph, plan: Plan, peers: Mapping[str, Peer], epoch: int = 0) -> Way:
        """The way of a flat `graph`'s calls; `peers` may hold other workers than the plan's, and lack some that are gone."""
        return cls._of(graph, plan, peers, epoch, Lanes(plan))

    def through(self, lane: Lane) -> Way:
        """The way of calls that go through these replicas."""
        if not lane:
            return self
        if lane not in self._through:
            if len(self._through) >= _MOST_LANES:
                self._through.clear()
            self._through[lane] = self._of(self.graph, along(self.plan, lane), self.peers, self.epoch, self.lanes, lane)
        return self._through[lane]

    def able(self, worker: str) -> bool:
        """Whether a worker is there, and takes calls."""
        peer = self.peers.get(worker)
        return peer is not None and peer.lost is None and not peer.draining

    @classmethod
    def _of(cls, graph: Graph, plan: Plan, peers: Mapping[str, Peer], epoch: int, lanes: Lanes, lane: Lane = ()) -> Way:
        reached = {name: peers[name] for name in plan.workers if name in peers}
        homes = {stage.name: reached[stage.worker] for stage in plan.stages if stage.worker in reached}
        return cls(graph, plan, epoch, Frames(graph, plan), reached, homes, lanes, lane)

    @property
    def broken(self) -> bool:
        """Whether a worker of it is gone."""
        return self._torn or any(peer.lost is not None for peer in self.peers.values())

    @cached_property
    def engines(self) -> Mapping[str, str]:
        """The engine of each operator: answers are the same bits only as long as these stay the same."""
        return {name: self.plan.engine_of(stage) for stage in self.plan.stages for name in stage.operators}

    @cached_property
    def replicas(self) -> Mapping[str, str]:
        """What the replica of each stage is called that calls go through, where there is nothing to choose any more."""
        return {stage.original: stage.name for stage in self.plan.stages}

    def unlike(self, other: Way) -> Iterator[str]:
        """The stages of which operators run on another engine along the `other` way."""
        moved = {name for name, engine in self.engines.items() if other.engines[name] != engine}
        yield from (stage.name for stage in self.plan.stages if moved & set(stage.operators))

    @property
    def closing(self) -> bool:
        """Whether a worker of it is gone, or will leave: calls that it interrupts need another way."""
        return self.broken or any(peer.draining for peer in self.peers.values())

    def loss(self) -> Interrupted:
        """What calls are told where nobody replaces the workers that are gone, or will leave."""
        there = [name for name, peer in self.peers.items() if peer.lost is None and not peer.draining]
        missing = ", ".join(sorted(set(self.plan.workers) - set(there)))
        return Interrupted(
            f"worker {missing} is {'gone' if self.broken else 'leaving'}, and nothing replaces it; start the deployment "
            "again with `synfire serve …`"
        )

    def check(self) -> None:
        """Raise `Interrupted` when a worker of it was gone already when it was laid."""
        if self._torn:
            gone = sorted(set(self.plan.workers) - set(self.peers))
            raise Interrupted(f"worker {', '.join(gone)} of model {self.plan.model!r} cannot be reached; try again")

    @property
    def _torn(self) -> bool:
        return len(self.homes) < len(self.plan.stages)
