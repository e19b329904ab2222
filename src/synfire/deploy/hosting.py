"""A plan as `Host` messages: what each worker is told to build. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from synfire.base.errors import UserError
from synfire.gateway.route import WINDOW
from synfire.graph import Graph
from synfire.plan.plan import GATEWAY, Link, Plan, Stage, stage_graph
from synfire.plan.replicas import forks
from synfire.wire.messages import Arrival, Departure, Host, Relink

Parts = dict[str, tuple[Graph, str]]
"""Stages' graphs with their content digests, by stage name."""


@dataclass(frozen=True)
class Hosting:
    """One stage, the worker that it goes to, and its graph."""

    worker: str
    host: Host
    graph: Graph


def hostings(
    graph: Graph,
    plan: Plan,
    addresses: Mapping[str, str],
    services: Mapping[str, str] | None = None,
    window: int = WINDOW,
    epoch: int = 0,
    parts: Parts | None = None,
    outside: Mapping[str, Mapping[str, str]] | None = None,
    resting: Collection[str] = (),
) -> list[Hosting]:
    """The stages of `plan` in topological order.

    `graph` is flat, `addresses` are the workers' by name; `outside` has, for those that find others elsewhere, where. `services` names stages that a foreign Open Inference
    Protocol service computes, with the URL of its model; the stage's worker then only calls it. `parts` is filled with the
    stages' graphs, and read where it holds them already: they stay the same wherever stages go. Stages that are `resting` are left out, and
    links to them: they are nowhere.
    Raises `UserError` when such a stage keeps state, which a foreign service would not keep for us.
    """
    services = services or {}
    unknown = sorted(set(services) - {stage.name for stage in plan.stages})
    if unknown:
        raise UserError(f"the plan of {plan.model!r} has no stage {unknown[0]!r}, so no service can compute it")
    parts = {} if parts is None else parts
    for stage in plan.stages:
        if stage.name not in parts and stage.original in parts:
            parts[stage.name] = parts[stage.original]
        elif stage.name not in parts:
            part = stage_graph(graph, stage.operators)
            parts[stage.name] = part, part.content_digest()
    found_by = {worker: {**addresses, **(outside or {}).get(worker, {})} for worker in plan.workers}
    away = {stage.name for stage in plan.stages if stage.original in resting}
    reached = msgspec.structs.replace(plan, links=tuple(link for link in plan.links if link.receiver not in away))
    found = [
        _hosting(
            graph.steps, reached, stage, parts[stage.name], found_by[stage.worker], services.get(stage.original, "")
        )
        for stage in _ordered(graph, plan)
        if stage.name not in away
    ]
    return [replace(each, host=msgspec.structs.replace(each.host, window=window, epoch=epoch)) for each in found]


def relinks(found: Iterable[Hosting], hosted: Iterable[str]) -> dict[str, Relink]:
    """For each worker the message that takes those of its stages that are `hosted` already into the epoch of `found`."""
    known = set(hosted)
    messages: dict[str, Relink] = {}
    for each in found:
        if each.host.stage in known:
            before = messages.get(each.worker)
            stages = ((each.host.stage, each.host.arrivals, each.host.departures),)
            messages[each.worker] = Relink(
                each.host.model, each.host.epoch, (*before.stages, *stages) if before else stages
            )
    return messages


def _hosting(
    steps: int | None, plan: Plan, stage: Stage, made: tuple[Graph, str], addresses: Mapping[str, str], url: str
) -> Hosting:
    part, digest = made
    if url and any(part.operator(name).initial_state(1, *part.signals_into(name)) for name in part):
        raise UserError(
            f"stage {plan.model}.{stage.name} keeps state from step to step; a foreign service cannot host it"
        )
    workers, lanes = {each.name: each.worker for each in plan.stages}, forks(plan)

    def address(receiver: str) -> str:
        local = receiver == GATEWAY or workers[receiver] == stage.worker
        return "" if local else addresses[workers[receiver]]

    arriving = _by((link.sender, link) for link in plan.links if link.receiver == stage.name)
    leaving = _by((link.receiver, link) for link in plan.links if link.sender == stage.name)
    host = Host(
        plan.model,
        stage.name,
        plan.engine_of(stage),
        plan.frame_steps,
        tuple(Arrival(sender, sources, *lanes.get(sender, ())) for sender, sources in arriving),
        tuple(
            Departure(receiver, sources, address(receiver), *lanes.get(receiver, ())) for receiver, sources in leaving
        ),
        steps,
        digest=digest,
        url=url,
    )
    return Hosting(stage.worker, host, part)


def _ordered(graph: Graph, plan: Plan) -> list[Stage]:
    position = {name: i for i, name in enumerate(graph.order())}
    return sorted(plan.stages, key=lambda stage: min(position[name] for name in stage.operators))


def _by(pairs: Iterable[tuple[str, Link]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, link in pairs:
        found[name] = (*found.get(name, ()), link.source)
    return iter(found.items())
