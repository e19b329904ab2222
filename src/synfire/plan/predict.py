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

    def seconds(self, objective: str) -> float:
        """What the `objective` wants little of: seconds of a request alone (`latency`), or for each of many (`throughput`)."""
        return self.latency_s if objective == "latency" else 1 / self.requests_s


@dataclass(frozen=True)
class Edge:
    """One signal between two stages, by their places in the list of groups; −1 is the gateway."""

    source: str
    sender: int
    receiver: int


@dataclass(frozen=True)
class Crossing:
    """The frames from one stage to another: each keeps both ends busy for `busy_s`, and is `delay_s` on its way between.

    `once` where they carry nothing that has time steps: then there is one a request.
    """

    sender: int
    receiver: int
    busy_s: float
    delay_s: float
    once: bool


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

    Stages work at the same time on different frames where they are on different workers: a pipeline over time steps. The first
    frame's way from the gateway and the last one's way back are part of what a request costs there. With many requests the
    threads of a worker compute at the same time; frames are sent and taken by one of them.
    """
    frames = -(-costs.steps // frame_steps)
    blocks_s = [costs.block_s(group, frames) for group in groups]
    crossings = _crossings(graph, groups, workers, costs, frame_steps)
    load = dict.fromkeys(workers, 0.0)
    for worker, seconds in zip(workers, blocks_s, strict=True):
        load[worker] += seconds * frames / costs.at_a_time(seconds)
    for each in crossings:
        for end in (each.sender, each.receiver):
            if end >= 0:
                load[workers[end]] += each.busy_s * (1 if each.once else frames)
    latency_s = _gateway_s(graph, costs) + _play(blocks_s, workers, crossings, frames)
    return Prediction(latency_s, 1 / max(*load.values(), 1e-9))


def _gateway_s(graph: Graph, costs: Costs) -> float:
    """What a request pays at the gateway, with the way of all its inputs."""
    steps = {name: costs.steps if signal.timed else 1 for name, signal in graph.inputs.items()}
    payload = sum(count * costs.encoded(graph, name).bytes for name, count in steps.items())
    return costs.hop.request_s + payload * costs.hop.request_byte_s


def _crossings(
    graph: Graph, groups: Sequence[Group], workers: Sequence[str], costs: Costs, frame_steps: int
) -> list[Crossing]:
    """The frames between each two stages that are joined, and between stages and the gateway."""
    signals, loads, timed = graph.signals(), dict[tuple[int, int], float](), set[tuple[int, int]]()
    for edge in edges(graph, groups):
        ends, signal = (edge.sender, edge.receiver), signals[edge.source]
        array_bytes = float(abs(signal.size) * signal.kind.dtype.itemsize)
        size = array_bytes if _local(ends, workers) else costs.encoded(graph, edge.source).bytes
        loads[ends] = loads.get(ends, 0.0) + size * (frame_steps if signal.timed else 1)
        timed |= {ends} if signal.timed else set()
    return [_crossing(ends, size, ends not in timed, workers, costs) for ends, size in loads.items()]


def _local(ends: tuple[int, int], workers: Sequence[str]) -> bool:
    """Whether both ends are stages of one worker."""
    return min(ends) >= 0 and workers[ends[0]] == workers[ends[1]]


def _crossing(ends: tuple[int, int], frame_bytes: float, once: bool, workers: Sequence[str], costs: Costs) -> Crossing:
    """Inside a worker it is all work; the delay to and from the gateway belongs to the request."""
    if _local(ends, workers):
        return Crossing(*ends, costs.hop.seconds(frame_bytes, same_worker=True) / 2, 0.0, once)
    busy_s = costs.hop.busy_s(frame_bytes)
    delay_s = costs.hop.seconds(frame_bytes, same_worker=False) - 2 * busy_s if min(ends) >= 0 else 0.0
    return Crossing(*ends, busy_s, delay_s, once)


def _play(blocks_s: Sequence[float], workers: Sequence[str], crossings: Sequence[Crossing], frames: int) -> float:
    """When the last frame has left for the gateway: list scheduling, the frame that can start first goes first."""
    first_s, later_s = _busy_s(blocks_s, crossings)
    into = [[each for each in crossings if each.receiver == i and each.sender >= 0] for i in range(len(blocks_s))]
    done: list[list[float]] = [[] for _ in blocks_s]
    free = dict.fromkeys(workers, 0.0)
    for _ in range(frames * len(blocks_s)):
        start, frame, i = min(_ready(into, done, free, workers, frames))
        done[i].append(start + (later_s[i] if frame else first_s[i]))
        free[workers[i]] = done[i][frame]
    return max((each[-1] for each in done), default=0.0)


def _busy_s(blocks_s: Sequence[float], crossings: Sequence[Crossing]) -> tuple[list[float], list[float]]:
    """For how long a request's first frame, and each later one, keeps a stage's worker busy.

    What one frame to and from the gateway costs is part of the request's price there, and left out here.
    """
    first_s, later_s = list(blocks_s), list(blocks_s)
    for each in crossings:
        inner = min(each.sender, each.receiver) >= 0
        for end in {each.sender, each.receiver} - {-1}:
            first_s[end] += each.busy_s if inner else 0.0
            later_s[end] += 0.0 if each.once else each.busy_s
    return first_s, later_s


def _ready(
    into: Sequence[Sequence[Crossing]],
    done: Sequence[Sequence[float]],
    free: Mapping[str, float],
    workers: Sequence[str],
    frames: int,
) -> list[tuple[float, int, int]]:
    """`(earliest start, frame, stage)` of every stage whose next frame has arrived."""
    found = []
    for i, crossings in enumerate(into):
        frame = len(done[i])
        awaited = [(done[each.sender], 0 if each.once else frame, each.delay_s) for each in crossings]
        if frame < frames and all(len(sent) > number for sent, number, _ in awaited):
            arrived = [sent[number] + delay_s for sent, number, delay_s in awaited]
            found.append((max([free[workers[i]], *arrived]), frame, i))
    return found
