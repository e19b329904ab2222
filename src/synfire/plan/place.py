"""Which worker runs which stage: contiguous runs of stages, balanced, under memory limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from synfire.base.errors import UserError
from synfire.devices import Cores
from synfire.graph import Graph
from synfire.plan.costs import Costs, format_bytes, memory_bytes
from synfire.plan.cut import Group, boundaries, crossing, join, packed


@dataclass(frozen=True)
class Room:
    """A worker as the planner sees it: what it is called, what it runs on, what it may hold, and how many `cores` of a device it may use."""

    worker: str
    device: str = "cpu"
    memory_bytes: int | None = None
    cores: Cores | None = None

    @property
    def limit_bytes(self) -> float:
        return math.inf if self.memory_bytes is None else self.memory_bytes


@dataclass(frozen=True)
class Work:
    """What is to be placed: a model's costs, how many requests it holds the state of at a time, and what surrounds it.

    `load_s` is what workers already do for other models. `spread` uses every worker, as somebody who asked for a cut
    expects; without it a hop must pay for itself. `objective` is what cuts and frames are chosen for: `latency` or `throughput`.
    """

    costs: Costs
    requests: int = 1
    load_s: Mapping[str, float] = field(default_factory=dict)
    spread: bool = False
    objective: str = "latency"


class DoesNotFit(UserError):
    """Raised when the workers' memory does not suffice for a cut; a finer one may still fit."""


def rooms(count: int, memory_bytes: int | None = None, device: str = "cpu") -> tuple[Room, ...]:
    """`worker-0`, `worker-1`, …, all alike. Raises `UserError` for a count below one."""
    if count < 1:
        raise UserError(f"{count} workers can run nothing; ask for 1 or more")
    return tuple(Room(f"worker-{i}", device, memory_bytes) for i in range(count))


def place(
    graph: Graph,
    groups: Sequence[Group],
    workers: Sequence[Room],
    work: Work,
) -> tuple[str, ...]:
    """The worker of each group, such that the busiest worker is as little busy as contiguous runs allow.

    Exact: dynamic programming over (stages placed, workers used), in the order of `workers`. A worker may stay empty,
    unless `work.spread` asks for all of them and there is a stage for each.
    Raises `DoesNotFit` with the sizes when memory does not suffice.
    """
    sizes = [memory_bytes(graph, group, work.requests) for group in groups]
    runs = _Runs(
        sizes=tuple(itertools.accumulate(sizes, initial=0)),
        seconds=tuple(itertools.accumulate((work.costs.block_s(group, 1) for group in groups), initial=0.0)),
        hops=(0.0, *(_hop_s(graph, groups[: i + 1], work.costs) for i in range(len(groups) - 1)), 0.0),
    )
    placed = _spread(graph, groups, runs, workers[: len(groups)], work) if work.spread else None
    placed = placed or _partition(runs, workers, work.load_s, False)
    if placed is None:
        raise DoesNotFit(_too_big(groups, sizes, workers))
    return placed


def _spread(
    graph: Graph, groups: Sequence[Group], runs: _Runs, workers: Sequence[Room], work: Work
) -> tuple[str, ...] | None:
    """A stage for every worker, with packed spikes alone between workers where the graph has places enough for that."""
    places = [packed(graph, crossed) for crossed in boundaries(graph, groups)]
    barred = (False, *(not each for each in places), False)
    spikes_only = replace(runs, hops=tuple(math.inf if bar else s for s, bar in zip(runs.hops, barred, strict=True)))
    found = _partition(spikes_only, workers, work.load_s, True) if sum(places) >= len(workers) - 1 else None
    return found or _partition(runs, workers, work.load_s, True)


@dataclass(frozen=True)
class _Runs:
    """Sums over the first stages: their bytes, their seconds; and the seconds of the hop behind each of them."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    hops: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.sizes) - 1


def _partition(
    runs: _Runs, workers: Sequence[Room], load_s: Mapping[str, float], every: bool
) -> tuple[str, ...] | None:
    """The best contiguous partition; None when none fits into memory. `every` worker gets a stage, or may stay empty."""
    best: list[tuple[float, float]] = [(0.0, 0.0), *[_NEVER] * runs.count]
    choices: list[list[int]] = []
    for room in workers:
        row = [_NEVER] * len(best) if every else list(best)
        came = list(range(len(best)))
        for end in range(1, len(best)):
            for start in range(end):
                reached = _with_run(best[start], runs, start, end, room, load_s.get(room.worker, 0.0))
                if reached < row[end]:
                    row[end], came[end] = reached, start
        best = row
        choices.append(came)
    return None if best[-1] == _NEVER else _trace_back(choices, workers, runs.count)


_NEVER = (math.inf, math.inf)


def _with_run(
    before: tuple[float, float], runs: _Runs, start: int, end: int, room: Room, busy_s: float
) -> tuple[float, float]:
    """`(seconds of the busiest worker, seconds of all hops)` when `room` runs the stages from `start` to `end`."""
    if before == _NEVER or runs.sizes[end] - runs.sizes[start] > room.limit_bytes:
        return _NEVER
    own_s = runs.seconds[end] - runs.seconds[start] + (runs.hops[start] + runs.hops[end]) / 2
    if own_s == math.inf:
        return _NEVER
    return max(before[0], busy_s + own_s), before[1] + runs.hops[start]


def _trace_back(choices: Sequence[Sequence[int]], workers: Sequence[Room], count: int) -> tuple[str, ...]:
    placed: list[str] = []
    end = count
    for came, room in zip(reversed(choices), reversed(workers), strict=True):
        placed += [room.worker] * (end - came[end])
        end = came[end]
    return tuple(reversed(placed))


def _hop_s(graph: Graph, groups: Sequence[Group], costs: Costs) -> float:
    """Seconds per request for what crosses behind the last of `groups`, sent in one frame."""
    seconds = 0.0
    for source in crossing(graph, join(groups)):
        steps = costs.steps if graph.signals()[source].timed else 1
        seconds += costs.hop.seconds(steps * costs.encoded(graph, source).bytes, same_worker=False)
    return seconds


def _too_big(groups: Sequence[Group], sizes: Sequence[int], workers: Sequence[Room]) -> str:
    largest = max(range(len(groups)), key=lambda i: sizes[i])
    limits = ", ".join(
        f"{room.worker} {format_bytes(room.limit_bytes)}" for room in workers if room.memory_bytes is not None
    )
    return (
        f"the stages need {format_bytes(sum(sizes))} of memory, the largest ({groups[largest][0]}) "
        f"{format_bytes(sizes[largest])}; the workers may hold {limits}: add workers, raise their limit, or cut finer "
        "(--granularity operator)"
    )
