"""What the calls of one epoch travel along: a plan, and connections to its workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from synfire.base.errors import Interrupted
from synfire.gateway.frames import Frames
from synfire.gateway.peer import Peer
from synfire.graph import Graph
from synfire.plan import Plan


@dataclass(frozen=True)
class Way:
    """A plan with its workers reached, by their names and, in `homes`, by their stages: what the calls of one epoch travel along."""

    plan: Plan
    epoch: int
    frames: Frames
    peers: Mapping[str, Peer]
    homes: Mapping[str, Peer]

    @classmethod
    def along(cls, graph: Graph, plan: Plan, peers: Mapping[str, Peer], epoch: int = 0) -> Way:
        """The way of a flat `graph`'s calls; `peers` may hold other workers than the plan's, and lack some that are gone."""
        reached = {name: peers[name] for name in plan.workers if name in peers}
        homes = {stage.name: reached[stage.worker] for stage in plan.stages if stage.worker in reached}
        return cls(plan, epoch, Frames(graph, plan), reached, homes)

    @property
    def broken(self) -> bool:
        """Whether a worker of it is gone."""
        return self._torn or any(peer.lost is not None for peer in self.peers.values())

    @cached_property
    def engines(self) -> Mapping[str, str]:
        """The engine of each operator: answers are the same bits only as long as these stay the same."""
        return {name: self.plan.engine_of(stage) for stage in self.plan.stages for name in stage.operators}

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
