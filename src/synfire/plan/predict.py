"""How long a request takes through stages on workers, before anybody has run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synfire.graph import Graph
from synfire.plan.costs import Costs
from synfire.plan.cut import Group


@dataclass(frozen=True)
class Prediction:
    """`latency_s` of one request alone, and `requests_s` a second when every worker is kept busy."""

    latency_s: float
    requests_s: float


@dataclass(frozen=True)
class Edge:
    """One signal between two stages, by their places in the list of groups; −1 is the gateway."""

    source: str
    sender: int
    receiver: int


def edges(graph: Graph, groups: Sequence[Group]) -> tuple[Edge, ...]:
    """Every signal that crosses from the gateway to a stage, from stage to stage, and from a stage to the gateway."""
    home = {name: i for i, group in enumerate(groups) for name in group}
    found: dict[Edge, None] = {}
    for s in sorted(graph.synapses, key=lambda s: (home.get(s.source, -1), home[s.target])):
        edge = Edge(s.source, home.get(s.source, -1), home[s.target])
        if edge.sender != edge.receiver:
            found[edge] = None
    for source in graph.outputs.values():
        found[Edge(source, home.get(source, -1), -1)] = None
    return tuple(found)


def predict(
    graph: Graph, groups: Sequence[Group], workers: Sequence[str], costs: Costs, frame_steps: int
) -> Prediction:
    """Play one request through the stages, frame by frame; `workers[i]` runs `groups[i]`, one stage at a time.

    Stages work at the same time on different frames where they are on different workers: a pipeline over time steps.
    Half of a hop is its sender's work and half its receiver's.
    """
    frames = -(-costs.steps // frame_steps)
    busy_s = [costs.block_s(group, frames) for group in groups]
    hops = _hops(graph, groups, workers, costs, frame_steps)
    for (_, receiver), seconds in hops.items():
        if receiver >= 0:
            busy_s[receiver] += seconds / 2
    load = dict.fromkeys(workers, 0.0)
    for worker, seconds in zip(workers, busy_s, strict=True):
        load[worker] += seconds * frames
    for (sender, _), seconds in hops.items():
        if sender >= 0:
            load[workers[sender]] += seconds * frames / 2
    return Prediction(_play(busy_s, workers, hops, frames), 1 / max(*load.values(), 1e-9))


def _hops(
    graph: Graph, groups: Sequence[Group], workers: Sequence[str], costs: Costs, frame_steps: int
) -> dict[tuple[int, int], float]:
    """Seconds per frame of each pair of stages that are joined, by their places; −1 is the gateway."""
    hops: dict[tuple[int, int], float] = {}
    for edge in edges(graph, groups):
        ends = (edge.sender, edge.receiver)
        local = edge.sender >= 0 and edge.receiver >= 0 and workers[edge.sender] == workers[edge.receiver]
        steps = frame_steps if graph.signals()[edge.source].timed else 1
        seconds = costs.hop.seconds(steps * costs.encoded(graph, edge.source).bytes, local)
        hops[ends] = hops.get(ends, 0.0) + seconds
    return hops


def _play(busy_s: Sequence[float], workers: Sequence[str], hops: Mapping[tuple[int, int], float], frames: int) -> float:
    """When the last frame is back at the gateway: list scheduling, the frame that can start first goes first."""
    into: list[list[tuple[int, float]]] = [[] for _ in busy_s]
    for (sender, receiver), seconds in hops.items():
        if receiver >= 0:
            into[receiver].append((sender, seconds / 2))
    done: list[list[float]] = [[] for _ in busy_s]
    free = dict.fromkeys(workers, 0.0)
    for _ in range(frames * len(busy_s)):
        start, frame, i = min(_ready(into, done, free, workers, frames))
        done[i].append(start + busy_s[i])
        free[workers[i]] = done[i][frame]
    back = [done[sender][-1] + seconds for (sender, receiver), seconds in hops.items() if receiver < 0 <= sender]
    return max(back, default=0.0)


def _ready(
    into: Sequence[Sequence[tuple[int, float]]],
    done: Sequence[Sequence[float]],
    free: Mapping[str, float],
    workers: Sequence[str],
    frames: int,
) -> list[tuple[float, int, int]]:
    """`(earliest start, frame, stage)` of every stage whose next frame has arrived."""
    found = []
    for i, sources in enumerate(into):
        frame = len(done[i])
        if frame < frames and all(sender < 0 or len(done[sender]) > frame for sender, _ in sources):
            arrived = [seconds if sender < 0 else done[sender][frame] + seconds for sender, seconds in sources]
            found.append((max([free[workers[i]], *arrived]), frame, i))
    return found
