"""From a graph, measured costs and workers to a plan with its reasons."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph, flatten
from synfire.plan.costs import Costs, memory_bytes
from synfire.plan.cut import Group, atoms, cut, join
from synfire.plan.parts import joined, stage_name
from synfire.plan.place import DoesNotFit, Room, Work, place
from synfire.plan.plan import GATEWAY, Link, Plan, Stage
from synfire.plan.predict import edges
from synfire.plan.reasons import Candidate, reasons
from synfire.plan.search import AS_FAST, Search, framed

GRANULARITIES = ("auto", "model", "block", "operator")


@dataclass(frozen=True)
class Demand:
    """A model that wants to be placed: `requests` are how many at a time it holds the state of.

    Operators that come to live on one worker are fused into one stage and pay no hop; `apart` keeps every stage of the cut.
    `auto` looks for the least `latency` of a request alone, or for the most requests a second (`throughput`). `rate` is how many a second
    it is to bear, 0 where nobody says.
    """

    model: str
    graph: Graph
    costs: Costs
    granularity: str = "auto"
    requests: int = 16
    engine: str = "cpu"
    apart: bool = False
    objective: str = "latency"
    rate: float = 0.0


def plan_model(demand: Demand, workers: Sequence[Room], load_s: Mapping[str, float] | None = None) -> Plan:
    """Cut and place one model.

    Raises `UserError` for an unknown granularity, for operators that reach no output, or when memory does not suffice.
    """
    if demand.granularity not in GRANULARITIES:
        raise UnknownName.among("granularity", demand.granularity, GRANULARITIES)
    _check_alive(demand)
    candidates = _candidates(demand, workers, load_s or {})
    return _planned(demand, candidates, _choose(candidates, demand.objective))


def plan_cut(demand: Demand, groups: Sequence[Group], workers: Sequence[str]) -> Plan:
    """The model in these stages, on a worker each, whatever they cost; only the frames are chosen. Raises as `plan_model` does."""
    _check_alive(demand)
    work = Work(demand.costs, demand.requests, objective=demand.objective)
    given = framed(flatten(demand.graph), tuple(groups), tuple(workers), work, pieces=groups)
    return _planned(replace(demand, granularity="given"), [given], given)


def _planned(demand: Demand, candidates: Sequence[Candidate], best: Candidate) -> Plan:
    graph, costs = flatten(demand.graph), demand.costs
    stages = tuple(
        _stage(graph, demand, group, worker, [piece for piece in best.pieces if set(piece) <= set(group)])
        for group, worker in zip(best.groups, best.workers, strict=True)
    )
    return Plan(
        model=demand.model,
        granularity=demand.granularity,
        stages=stages,
        links=links(graph, best.groups, [stage.name for stage in stages], costs, best.frame_steps),
        seams=links(graph, best.pieces, [stage_name(each) for each in best.pieces], costs, best.frame_steps)
        if any(stage.parts for stage in stages)
        else (),
        frame_steps=best.frame_steps,
        engine=demand.engine,
        latency_s=best.prediction.latency_s,
        requests_s=best.prediction.requests_s,
        reasons=reasons(graph, demand.granularity, candidates, best, costs),
    )


def _stage(graph: Graph, demand: Demand, group: Group, worker: str, pieces: Sequence[Group]) -> Stage:
    """A group as a stage, with the pieces of the cut as its parts where it has several."""
    if len(pieces) > 1:
        whole = joined([_stage(graph, demand, piece, worker, ()) for piece in pieces])
        return msgspec.structs.replace(whole, busy_s=demand.costs.block_s(group, 1))
    return Stage(
        name=stage_name(group),
        operators=group,
        worker=worker,
        memory_bytes=memory_bytes(graph, group, demand.requests),
        busy_s=demand.costs.block_s(group, 1),
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
    work = Work(demand.costs, demand.requests, load_s, demand.granularity != "auto", demand.objective)
    if work.spread:
        candidate = _candidate(graph, cut(graph, demand.granularity, demand.costs), workers, work)
        return [candidate if demand.apart else _fused(graph, candidate, work)]
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
    """The best runs on the first `count` workers; for one the uncut model, on whichever has room.

    Beside other models it is the run that balances all work.
    """
    if count == 1:
        uncut = _candidate(graph, (graph.order(),), workers, work)
        return [replace(uncut, pieces=atoms(graph))]
    alone = not any(work.load_s.values())
    fine = atoms(graph)
    placed = place(graph, fine, workers[:count], replace(work, spread=True) if alone else work)
    used = tuple(dict.fromkeys(placed))
    search = Search(graph, fine, [room for name in used for room in workers if room.worker == name], work)
    bounds = tuple(placed.index(each) for each in used[1:])
    if not bounds:
        return []
    return [search.best(bounds) if alone else search.candidate(bounds)]


def _fused(graph: Graph, candidate: Candidate, work: Work) -> Candidate:
    """Neighbours on one worker become one stage."""
    runs = [
        (worker, join(group for _, group in run))
        for worker, run in itertools.groupby(
            zip(candidate.workers, candidate.groups, strict=True), key=lambda pair: pair[0]
        )
    ]
    groups, placed = tuple(group for _, group in runs), tuple(worker for worker, _ in runs)
    return framed(graph, groups, placed, work, pieces=candidate.groups)


def _candidate(graph: Graph, groups: tuple[Group, ...], workers: Sequence[Room], work: Work) -> Candidate:
    return framed(graph, groups, place(graph, groups, workers, work), work, pieces=groups)


def _choose(candidates: Sequence[Candidate], objective: str = "latency") -> Candidate:
    """The uncut model, where it fits, unless a cut is clearly faster."""
    uncut = candidates[0]
    fastest = min(candidates, key=lambda each: each.least_s(objective))
    as_fast = uncut.prediction.seconds(objective) <= AS_FAST * fastest.least_s(objective)
    return uncut if as_fast and len(uncut.groups) == 1 else fastest


def links(
    graph: Graph, groups: Sequence[Group], names: Sequence[str], costs: Costs, frame_steps: int
) -> tuple[Link, ...]:
    """What crosses between the stages `groups`, called `names`, and the gateway, in frames of so many steps."""
    ends = [*names, GATEWAY]  # place −1 is the gateway
    return tuple(
        Link(
            source=edge.source,
            sender=ends[edge.sender],
            receiver=ends[edge.receiver],
            bytes_per_step=costs.encoded(graph, edge.source).bytes,
            busy_s=_busy_s(graph, edge.source, costs, frame_steps),
        )
        for edge in edges(graph, groups)
    )


def _busy_s(graph: Graph, source: str, costs: Costs, frame_steps: int) -> float:
    """For how long a request keeps each end busy with a signal between two workers."""
    size = costs.encoded(graph, source).bytes
    if not graph.signals()[source].timed:
        return costs.hop.busy_s(size)
    return -(-costs.steps // frame_steps) * costs.hop.busy_s(frame_steps * size)
