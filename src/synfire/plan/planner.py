"""From a graph, measured costs and workers to a plan with its reasons."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph, flatten
from synfire.plan.costs import Costs, memory_bytes
from synfire.plan.cut import Group, atoms, cut, join
from synfire.plan.place import DoesNotFit, Room, Work, place
from synfire.plan.plan import GATEWAY, Link, Plan, Stage
from synfire.plan.predict import Prediction, edges, predict
from synfire.plan.reasons import Candidate, reasons

GRANULARITIES = ("auto", "model", "block", "operator")

GAIN = 0.9
"""A cut, or a smaller frame, must bring the predicted latency below this share: predictions err by some percent."""


@dataclass(frozen=True)
class Demand:
    """A model that wants to be placed: `requests` are how many at a time it holds the state of.

    Operators that come to live on one worker are fused into one stage and pay no hop; `apart` keeps every stage of the cut.
    """

    model: str
    graph: Graph
    costs: Costs
    granularity: str = "auto"
    requests: int = 16
    engine: str = "cpu"
    apart: bool = False


def plan_model(demand: Demand, workers: Sequence[Room], load_s: Mapping[str, float] | None = None) -> Plan:
    """Cut and place one model.

    Raises `UserError` for an unknown granularity, for operators that reach no output, or when memory does not suffice.
    """
    if demand.granularity not in GRANULARITIES:
        raise UnknownName.among("granularity", demand.granularity, GRANULARITIES)
    _check_alive(demand)
    candidates = _candidates(demand, workers, load_s or {})
    best = _choose(candidates)
    graph, costs = flatten(demand.graph), demand.costs
    names = stage_names(best.groups)
    stages = tuple(
        Stage(
            name=name,
            operators=group,
            worker=worker,
            memory_bytes=memory_bytes(graph, group, demand.requests),
            busy_s=costs.block_s(group, 1),
        )
        for name, group, worker in zip(names, best.groups, best.workers, strict=True)
    )
    return Plan(
        model=demand.model,
        granularity=demand.granularity,
        stages=stages,
        links=links(graph, best.groups, names, costs),
        frame_steps=best.frame_steps,
        engine=demand.engine,
        latency_s=best.prediction.latency_s,
        requests_s=best.prediction.requests_s,
        reasons=reasons(graph, demand.granularity, candidates, best, costs),
    )


def plan_all(demands: Sequence[Demand], workers: Sequence[Room]) -> tuple[Plan, ...]:
    """Place many models on the same workers, the heaviest first, each where the work of those before leaves room.

    Plans come back in the order of `demands`.
    """
    load_s = {room.worker: 0.0 for room in workers}
    left = {room.worker: room.memory_bytes for room in workers}
    plans: dict[int, Plan] = {}
    for i in sorted(range(len(demands)), key=lambda i: -sum(demands[i].costs.operator_s.values())):
        least_busy_first = sorted(workers, key=lambda room: load_s[room.worker])
        offered = [Room(room.worker, room.device, left[room.worker]) for room in least_busy_first]
        plans[i] = plan_model(demands[i], offered, load_s)
        graph = flatten(demands[i].graph)
        for stage in plans[i].stages:
            load_s[stage.worker] += demands[i].costs.block_s(stage.operators, 1)
            free = left[stage.worker]
            if free is not None:
                left[stage.worker] = free - memory_bytes(graph, stage.operators, demands[i].requests)
    return tuple(plans[i] for i in range(len(demands)))


def explain(plan: Plan) -> str:
    """The plan's reasons, a line each."""
    return "\n".join(plan.reasons)


def frame_choices(steps: int) -> tuple[int, ...]:
    """Frame sizes worth a look: the whole request, its halves, … , one step."""
    sizes = [steps]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(sizes)


def _check_alive(demand: Demand) -> None:
    graph = flatten(demand.graph)
    read = {s.source for s in graph.synapses} | set(graph.outputs.values())
    dead = [name for name in graph.order() if name not in read]
    if dead:
        raise UserError(
            f"{demand.model}: nothing reads {', '.join(dead)}; leave them out (synfire.graph.passes.remove_dead)"
        )


def _candidates(demand: Demand, workers: Sequence[Room], load_s: Mapping[str, float]) -> list[Candidate]:
    """The cuts to compare: one for a named granularity; for `auto` the uncut model and the best run on 2, 3, … workers."""
    graph = flatten(demand.graph)
    work = Work(demand.costs, demand.requests, load_s, spread=demand.granularity != "auto")
    if work.spread:
        candidate = _candidate(graph, cut(graph, demand.granularity, demand.costs), workers, work)
        return [candidate if demand.apart else _fused(graph, candidate, work.costs)]
    found: list[Candidate] = []
    refused: list[DoesNotFit] = []
    for count in range(1, max(1, min(len(workers), len(atoms(graph)))) + 1):
        try:
            found += _balanced(graph, workers, count, work)
        except DoesNotFit as error:
            refused.append(error)
    if not found:
        raise refused[-1]
    return found


def _balanced(graph: Graph, workers: Sequence[Room], count: int, work: Work) -> list[Candidate]:
    """The best run of one stage each on the first `count` workers; for one the uncut model, on whichever has room."""
    if count == 1:
        return [_candidate(graph, (graph.order(),), workers, work)]
    groups = _merged(graph, atoms(graph), workers[:count], work)
    return [_candidate(graph, groups, workers[:count], work)] if len(groups) > 1 else []


def _merged(graph: Graph, fine: Sequence[Group], workers: Sequence[Room], work: Work) -> tuple[Group, ...]:
    """The balanced contiguous cut with one stage per worker."""
    placed = place(graph, fine, workers, work)
    return tuple(
        join(group for group, worker in zip(fine, placed, strict=True) if worker == each)
        for each in dict.fromkeys(placed)
    )


def _fused(graph: Graph, candidate: Candidate, costs: Costs) -> Candidate:
    """Neighbours on one worker become one stage."""
    runs = [
        (worker, join(group for _, group in run))
        for worker, run in itertools.groupby(
            zip(candidate.workers, candidate.groups, strict=True), key=lambda pair: pair[0]
        )
    ]
    groups, placed = tuple(group for _, group in runs), tuple(worker for worker, _ in runs)
    return _framed(graph, groups, placed, costs, pieces=len(candidate.groups))


def _candidate(graph: Graph, groups: tuple[Group, ...], workers: Sequence[Room], work: Work) -> Candidate:
    return _framed(graph, groups, place(graph, groups, workers, work), work.costs, pieces=len(groups))


def _framed(graph: Graph, groups: tuple[Group, ...], placed: tuple[str, ...], costs: Costs, pieces: int) -> Candidate:
    """The placed groups with the largest frame that is about as fast as any."""
    tried: dict[int, Prediction] = {
        frame_steps: predict(graph, groups, placed, costs, frame_steps) for frame_steps in frame_choices(costs.steps)
    }
    fastest_s = min(each.latency_s for each in tried.values())
    frame_steps = max(size for size in tried if GAIN * tried[size].latency_s <= fastest_s)
    return Candidate(groups, placed, frame_steps, tried, pieces)


def _choose(candidates: Sequence[Candidate]) -> Candidate:
    """The uncut model, where it fits, unless a cut is clearly faster."""
    uncut = candidates[0]
    fastest = min(candidates, key=lambda each: each.prediction.latency_s)
    if len(uncut.groups) > 1:
        return fastest
    worth = fastest.prediction.latency_s < GAIN * uncut.prediction.latency_s
    return fastest if worth else uncut


def stage_names(groups: Sequence[Group]) -> tuple[str, ...]:
    """An operator's own name, or `first..last`."""
    return tuple(group[0] if len(group) == 1 else f"{group[0]}..{group[-1]}" for group in groups)


def links(graph: Graph, groups: Sequence[Group], names: Sequence[str], costs: Costs) -> tuple[Link, ...]:
    """What crosses between the stages `groups`, called `names`, and the gateway."""
    ends = [*names, GATEWAY]  # place −1 is the gateway
    return tuple(
        Link(
            source=edge.source,
            sender=ends[edge.sender],
            receiver=ends[edge.receiver],
            bytes_per_step=costs.encoded(graph, edge.source).bytes,
        )
        for edge in edges(graph, groups)
    )
