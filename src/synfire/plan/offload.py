"""Plans over unlike devices: what one device refuses stays on the processor, the rest goes there."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from synfire.base.errors import UserError
from synfire.devices.cores import NO_CORES, Cores, together
from synfire.graph import Graph, flatten
from synfire.ops import Kind
from synfire.plan.costs import format_bytes, memory_bytes
from synfire.plan.cut import Group, atoms, join
from synfire.plan.parts import stage_name
from synfire.plan.place import DoesNotFit, Room
from synfire.plan.plan import Plan, Stage, stage_graph
from synfire.plan.planner import Demand, links


def plan_offloaded(
    demand: Demand,
    workers: Sequence[Room],
    engine: str,
    refused: Mapping[str, str],
    remarks: Mapping[str, str] | None = None,
    cores: Callable[[Graph], Cores | None] = lambda graph: None,
) -> Plan:
    """The model with every run of operators that the engine's device takes as a stage there, and the others on `cpu`.

    `refused` gives the reason for each operator that the device cannot run, and `remarks` say what is to be known of some that
    it takes. `cores` tells what a stage takes of the device. Stages of the processor live on the first worker, the others in turn on those
    of the rest that have the cores for them. No latency is predicted: nothing of the device was measured.
    Raises `UserError` when the device takes nothing of the model, or no worker has the cores for a stage, and `DoesNotFit` when a worker may
    hold less than its stages need.
    """
    graph = flatten(demand.graph)
    runs = _runs(graph, refused)
    if not any(taken for taken, _ in runs):
        raise UserError(
            f"{demand.model}: {engine} can run none of its neurons; the first reason: "
            + next((f"{name}: {why}" for name, why in refused.items()), "it has none")
        )
    groups = [group for _, group in runs]
    names = [stage_name(group) for group in groups]
    frame_steps = graph.steps or demand.costs.steps
    needs = [cores(stage_graph(graph, group)) if taken else None for taken, group in runs]
    homes = _homes(demand.model, names, [taken for taken, _ in runs], needs, workers)
    stages = tuple(
        Stage(
            name=name,
            operators=group,
            worker=home,
            engine=engine if taken else "",
            memory_bytes=memory_bytes(graph, group, demand.requests),
            busy_s=demand.costs.block_s(group, 1),
            cores=need,
        )
        for name, (taken, group), need, home in zip(names, runs, needs, homes, strict=True)
    )
    _check_room(demand.model, stages, workers)
    return Plan(
        model=demand.model,
        granularity=demand.granularity,
        stages=stages,
        links=links(graph, groups, names, demand.costs, frame_steps),
        frame_steps=frame_steps,
        engine=demand.engine,
        reasons=_reasons(engine, stages, refused, remarks or {}),
    )


def _homes(
    model: str, names: Sequence[str], taken: Sequence[bool], needs: Sequence[Cores | None], workers: Sequence[Room]
) -> list[str]:
    """The worker of each stage: the first one's for what is not taken, else the next in turn that has the cores for it."""
    turns, held = deque(workers[1:] or workers[:1]), {room.worker: NO_CORES for room in workers}
    found: list[str] = []
    for name, there, need in zip(names, taken, needs, strict=True):
        able = [room for room in turns if together([held[room.worker], need]).fit(room.cores)]
        if there and not able:
            raise UserError(_too_few(model, name, need or NO_CORES, turns, held))
        home = able[0] if there else workers[0]
        if there:
            turns.remove(home)
            turns.append(home)
            held[home.worker] += need or NO_CORES
        found.append(home.worker)
    return found


def _too_few(model: str, name: str, need: Cores, turns: Iterable[Room], held: Mapping[str, Cores]) -> str:
    left = ", ".join(f"{room.worker} {room.cores - held[room.worker]}" for room in turns if room.cores is not None)
    return (
        f"{model}: stage {name} takes {need}, and no worker has so many left: {left}; add workers (--workers), let each use more, or leave it on "
        "cpu"
    )


def _check_room(model: str, stages: Sequence[Stage], workers: Sequence[Room]) -> None:
    for room in workers:
        needed = sum(stage.memory_bytes for stage in stages if stage.worker == room.worker)
        if needed > room.limit_bytes:
            raise DoesNotFit(
                f"{model}: its stages on {room.worker} need {format_bytes(needed)}, which may hold {format_bytes(int(room.limit_bytes))}: "
                "raise the workers' limit, or add workers"
            )


def _runs(graph: Graph, refused: Mapping[str, str]) -> list[tuple[bool, Group]]:
    """Neighbours of one device together; a run without neurons is not worth the way to another device."""
    taken = [not any(name in refused for name in group) for group in atoms(graph)]
    runs = _joined(zip(taken, atoms(graph), strict=True))
    return _joined((on and any(_fires(graph, name) for name in group), group) for on, group in runs)


def _joined(parts: Iterable[tuple[bool, Group]]) -> list[tuple[bool, Group]]:
    return [(on, join(group for _, group in pairs)) for on, pairs in itertools.groupby(parts, lambda pair: pair[0])]


def _fires(graph: Graph, name: str) -> bool:
    """Whether it is a neuron layer: it has a state, and emits spikes."""
    state = graph.operator(name).initial_state(1, *graph.signals_into(name))
    return bool(state) and graph.signals()[name].kind is Kind.SPIKE


def _reasons(
    engine: str, stages: Sequence[Stage], refused: Mapping[str, str], remarks: Mapping[str, str]
) -> tuple[str, ...]:
    there = [stage for stage in stages if stage.engine]
    operators = sum(len(stage.operators) for stage in there)
    said = [f"{len(there)} stage{'s' * (len(there) > 1)} with {operators} operators on {engine}, the rest on cpu"]
    said += [f"{name} stays on cpu: {why}" for name, why in refused.items()]
    placed = {name for stage in there for name in stage.operators}
    said += [f"{name} {remark}" for name, remark in remarks.items() if name in placed]
    left = [name for stage in stages if not stage.engine for name in stage.operators if name not in refused]
    return (*said, *(f"{name} stays on cpu: there is no neuron between it and what {engine} refuses" for name in left))
