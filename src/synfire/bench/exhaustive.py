"""The best of all ways to spread a model's operators over two workers, found by looking at every one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synfire.graph import Graph
from synfire.plan import Costs, atoms, predict
from synfire.plan.cut import Group, join
from synfire.plan.search import bound_s, frame_choices

WORKERS = ("worker-0", "worker-1")


@dataclass(frozen=True)
class Best:
    """The least of `Prediction.seconds` over all cuts and frames; `looked_at` cuts were played, the others cannot be better."""

    seconds: float
    groups: tuple[Group, ...]
    looked_at: int


def best_of_all(graph: Graph, costs: Costs, objective: str = "latency") -> Best:
    """Every way to give each atom, in the graph's order, to one of two workers; neighbours on one worker are one stage.

    The ways with k cuts are not played where none of them can be better, see `synfire.plan.search.bound_s`.
    """
    fine, best = atoms(graph), Best(math.inf, (), 0)
    for cuts in range(len(fine)):
        if bound_s(graph, costs, cuts + 1, len(WORKERS), objective) >= best.seconds:
            continue
        for groups in _ways(fine, cuts):
            seconds = _seconds(graph, groups, costs, objective)
            better = seconds < best.seconds
            best = Best(min(seconds, best.seconds), groups if better else best.groups, best.looked_at + 1)
    return best


def _ways(fine: Sequence[Group], cuts: int) -> Iterator[tuple[Group, ...]]:
    for bounds in itertools.combinations(range(1, len(fine)), cuts):
        yield tuple(join(fine[a:b]) for a, b in itertools.pairwise([0, *bounds, len(fine)]))


def _seconds(graph: Graph, groups: tuple[Group, ...], costs: Costs, objective: str) -> float:
    """With the frames that suit it best, and the workers in turns."""
    placed = [WORKERS[i % len(WORKERS)] for i in range(len(groups))]
    return min(predict(graph, groups, placed, costs, size).seconds(objective) for size in frame_choices(costs.steps))
