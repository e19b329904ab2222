"""Plans over unlike devices: what one device refuses stays on the processor, the rest goes there."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from synfire.base.errors import UserError
from synfire.devices.cores import NO_CORES, Cores
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
    events: Callable[[Graph], float] = lambda graph: 0.0,
) -> Plan:
    """The model with every run of operators that the engine's device takes as a stage there, and the others on `cpu`.

    `refused` gives the reason for each operator that the device cannot run, and `remarks` say what is to be known of some that
    it takes. `cores` tells what a stage takes of the device, and `events` how many a time step brings it there. Stages of the
    processor live on the first worker, the others in turn on those of the rest that have the cores for them, and for the events of the
    demand's rate. No latency is predicted: nothing of the device was measured.
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
    stages = tuple(
        Stage(
            name=name,
            operators=group,
            worker=workers[0].worker,
            engine=engine if taken else "",
            memory_bytes=memory_bytes(graph, group, demand.requests),
            busy_s=demand.costs.block_s(group, 1),
            cores=cores(part) if taken else None,
            events=events(part) * frame_steps if taken else 0.0,
        )
        for name, (taken, group) in zip(names, runs, strict=True)
        for part in (stage_graph(graph, group),)
    )
    plan = Plan(
        model=demand.model,
        granularity=demand.granularity,
        stages=stages,
        links=links(graph, groups, names, demand.costs, frame_steps),
        frame_steps=frame_steps,
        engine=demand.engine,
        rate=demand.rate,
        reasons=_reasons(engine, stages, refused, remarks or {}),
    )
    plan = _housed(plan, workers)
    _check_room(demand.model, plan.stages, workers)
    return msgspec.structs.replace(plan, reasons=(*plan.reasons, *_loads(plan)))


def _housed(plan: Plan, workers: Sequence[Room]) -> Plan:
    """The plan with each stage of the device on the next worker in turn that has the cores for it; the others stay on the first."""
    turns, held = deque(workers[1:] or workers[:1]), {room.worker: NO_CORES for room in workers}
    stages: list[Stage] = []
    for stage in plan.stages:
        if stage.engine:
            need = plan.need(stage) or NO_CORES
            home = next((room for room in turns if (held[room.worker] + need).fit(room.cores)), None)
            if home is None:
                raise UserError(_too_few(plan.model, stage.name, need, turns, held))
            turns.remove(home)
            turns.append(home)
            held[home.worker] += need
            stage = msgspec.structs.replace(stage, worker=home.worker)
        stages.append(stage)
    return msgspec.structs.replace(plan, stages=tuple(stages))


def _too_few(model: str, name: str, need: Cores, turns: Iterable[Room], held: Mapping[str, Cores]) -> str:
    left = ", ".join(f"{room.worker} {room.cores - held[room.worker]}" for room in turns if room.cores is not None)
    rate = ", lower its rate" if need.keps else ""
    return (
        f"{model}: stage {name} takes {need}, and no worker has so much left: {left}; add workers (--workers), let each use more{rate}, or leave "
        "it on cpu"
    )


def _check_room(model: str, stages: Sequence[Stage], workers: Sequence[Room]) -> None:
    for room in workers:
        needed = sum(stage.memory_bytes for stage in stages if stage.worker == room.worker)
        if needed > room.limit_bytes:
            raise DoesNotFit(
                f"{model}: its stages on {room.worker} need {format_bytes(needed)}, which may hold {format_bytes(int(room.limit_bytes))}: "
                "raise the workers' limit, or add workers"
            )


def _loads(plan: Plan) -> Iterable[str]:
    """What the plan's rate asks of the device, in words."""
    for stage in plan.stages:
        need = plan.need(stage)
        if need is not None and need.keps is not None:
            yield f"{stage.name} asks for {need.keps} KEPS: {plan.rate:g} requests a second, each of {stage.events:.0f} events"


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
