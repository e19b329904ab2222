"""Where to cut for `auto`: bounds between runs of atoms are moved and added while the prediction says that it gains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from synfire.graph import Graph
from synfire.plan.costs import Costs, memory_bytes
from synfire.plan.cut import Group, join
from synfire.plan.place import Room, Work
from synfire.plan.predict import Prediction, predict
from synfire.plan.reasons import Candidate

AS_FAST = 1.03
"""What is predicted to take up to so many times the least is as fast: then the uncut model and large frames are preferred, since
they keep fewer workers busy."""
GAIN = 0.99
"""One more cut must bring what is wanted below this share."""
FEW = 7
"""Of so many atoms there are 64 ways."""
PART = 8
"""Parts of more atoms are not tried on another worker."""

Bounds = tuple[int, ...]
"""The first atom of every run but the first."""


def framed(
    graph: Graph, groups: Sequence[Group], placed: Sequence[str], work: Work, pieces: Sequence[Group]
) -> Candidate:
    """The placed groups with the largest frame that is about as fast as any."""
    tried: dict[int, Prediction] = {
        size: predict(graph, groups, placed, work.costs, size) for size in frame_choices(work.costs.steps)
    }
    least_s = min(each.seconds(work.objective) for each in tried.values())
    frame_steps = max(size for size in tried if tried[size].seconds(work.objective) <= AS_FAST * least_s)
    return Candidate(tuple(groups), tuple(placed), frame_steps, tried, tuple(pieces))


def frame_choices(steps: int) -> tuple[int, ...]:
    """Frame sizes worth a look: the whole request, its halves, … , one step."""
    sizes = [steps]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(sizes)


def bound_s(graph: Graph, costs: Costs, stages: int, workers: int, objective: str) -> float:
    """What no way into so many stages can go below: the workers share all work evenly, and nobody waits.

    Work is the operators', a call for each stage, and both ends of a hop into each stage that the gateway does not feed.
    """
    fed = sum(s.source in graph.inputs for s in graph.synapses)
    hops_s = max(stages - fed, 0) * 2 * costs.hop.busy_s(0)
    own_s = sum(costs.operator_s.values()) + stages * costs.call_s
    work_s = own_s / (1 if objective == "latency" else costs.calls) + hops_s
    return work_s / workers + (costs.hop.request_s if objective == "latency" else 0.0)


@dataclass(frozen=True)
class Search:
    """Runs of the atoms `fine` in their order, on the workers in turns; see `best`."""

    graph: Graph
    fine: Sequence[Group]
    rooms: Sequence[Room]
    work: Work

    def best(self, bounds: Bounds) -> Candidate:
        """From these bounds on, the best neighbour is taken until none gains; of few atoms all ways are looked at.

        A balanced start does not see how a pipeline fills, nor that a worker may run two parts.
        """
        found = self.candidate(bounds)
        if len(self.fine) <= FEW:
            every = self._best_of(self._every(found.least_s(self.work.objective)), found, GAIN)
            return every[1] if every else found
        while True:
            moved = self._best_of(self._moved(bounds), found, 1.0)
            added = self._best_of(self._added(bounds), moved[1] if moved else found, GAIN)
            if moved is None and added is None:
                return found
            bounds, found = added or moved or (bounds, found)

    def candidate(self, bounds: Bounds) -> Candidate:
        """The runs between these bounds, with their frames."""
        groups = [join(self.fine[a:b]) for a, b in itertools.pairwise((0, *bounds, len(self.fine)))]
        return framed(self.graph, groups, self._placed(len(groups)), self.work, pieces=self.fine)

    def _best_of(self, ways: Iterator[Bounds], found: Candidate, share: float) -> tuple[Bounds, Candidate] | None:
        objective = self.work.objective
        tried = [(bounds, self.candidate(bounds)) for bounds in ways if self._fits(bounds)]
        best = min(tried, key=lambda each: each[1].least_s(objective), default=None)
        return best if best and best[1].least_s(objective) < share * found.least_s(objective) else None

    def _moved(self, bounds: Bounds) -> Iterator[Bounds]:
        """With one bound elsewhere between its neighbours."""
        for i, (before, after) in enumerate(zip((0, *bounds), (*bounds[1:], len(self.fine)), strict=False)):
            for at in range(before + 1, after):
                if at != bounds[i]:
                    yield (*bounds[:i], at, *bounds[i + 1 :])

    def _every(self, least_s: float) -> Iterator[Bounds]:
        """All ways that could take less."""
        for count in range(1, len(self.fine)):
            if bound_s(self.graph, self.work.costs, count + 1, len(self.rooms), self.work.objective) < least_s:
                yield from itertools.combinations(range(1, len(self.fine)), count)

    def _added(self, bounds: Bounds) -> Iterator[Bounds]:
        """With one bound more, or two, or two in place of one, where so many stages can be better at all."""
        costs, objective = self.work.costs, self.work.objective
        least_s = self.candidate(bounds).least_s(objective)
        without = [(*bounds[:i], *bounds[i + 1 :]) for i in range(len(bounds))]
        for kept, more in ((bounds, 1), *((each, 2) for each in without), (bounds, 2)):
            if bound_s(self.graph, costs, len(kept) + 1 + more, len(self.rooms), objective) < least_s:
                for added in itertools.combinations(sorted(set(range(1, len(self.fine))) - set(kept)), more):
                    if added[-1] - added[0] <= PART:
                        yield tuple(sorted((*kept, *added)))

    def _placed(self, stages: int) -> list[str]:
        return [self.rooms[i % len(self.rooms)].worker for i in range(stages)]

    def _fits(self, bounds: Bounds) -> bool:
        """Whether every worker has the memory for its runs."""
        held = [0] * len(self.rooms)
        for i, (a, b) in enumerate(itertools.pairwise((0, *bounds, len(self.fine)))):
            held[i % len(self.rooms)] += sum(self._sizes[a:b])
        return all(size <= room.limit_bytes for size, room in zip(held, self.rooms, strict=True))

    @cached_property
    def _sizes(self) -> list[int]:
        return [memory_bytes(self.graph, group, self.work.requests) for group in self.fine]
