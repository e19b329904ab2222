"""Plans of models that an engine runs whole: nothing is cut or measured, each gets a worker of its own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from synfire.base.errors import UserError
from synfire.deploy.planned import Planned
from synfire.engines.engine import ENGINES
from synfire.engines.profiles.machine import free_bytes
from synfire.engines.profiles.offers import whole_engines
from synfire.engines.streaming import WholeEngine
from synfire.graph import Graph, flatten
from synfire.plan import Costs, Plan
from synfire.plan.costs import format_bytes
from synfire.plan.plan import GATEWAY, Link, Stage
from synfire.zoo import Model


def plan_wholes(
    models: Sequence[Model],
    limit_bytes: int | None,
    first_worker: int = 0,
    engines: Mapping[str, str] | None = None,
) -> tuple[Planned, ...]:
    """Each model on a worker of its own, `worker-N` from `first_worker` on: a crash of its engine ends that worker, and the engine
    uses its cores by itself. Those that share their weights, such as adapters of one model, are on one worker; replicas are not.

    `engines` say by name what runs a model where that is not the usual engine. Raises `UserError` where no engine runs a model, and,
    before anything is loaded, where memory does not suffice: a worker's `limit_bytes`, or this machine's.
    """
    workers: dict[Hashable, str] = {}
    found = []
    for model in models:
        graph = flatten(model.graph)
        engine = (engines or {}).get(model.name) or _engine_of(model.name, graph)
        shared = whole_engine(engine).shared(graph)
        worker = workers.setdefault(
            (engine, shared or model.name, model.name.partition("#")[2]), f"worker-{first_worker + len(workers)}"
        )
        found.append(plan_whole(model, worker, engine))
    _check_memory(found, limit_bytes)
    return tuple(found)


def whole_engine(name: str) -> type[WholeEngine]:
    """The engine for whole models of that name. Raises `UserError` for another one."""
    found = ENGINES[name]
    if not issubclass(found, WholeEngine):
        raise UserError(
            f"engine {name} runs operators, and no whole model; `synfire profiles MODEL` lists those that do"
        )
    return found


def engine_of(graph: Graph) -> str:
    """The usual engine of those that run a whole model. Raises `UserError` with what stands against each that there is."""
    refusals = {each.name: each.refusal(graph) for each in whole_engines()}
    able = [name for name, refusal in refusals.items() if not refusal]
    if not able:
        said = "; ".join(f"{name}: {refusal}" for name, refusal in refusals.items())
        raise UserError(f"no engine here runs this model ({said})")
    return able[0]


def plan_whole(model: Model, worker: str, engine: str = "") -> Planned:
    """One model on a worker, whatever memory there is, by the usual engine where none is named. Raises `UserError` where no engine runs
    it."""
    graph = flatten(model.graph)
    engine = engine or _engine_of(model.name, graph)
    name = "..".join(dict.fromkeys((graph.order()[0], graph.order()[-1])))
    memory = memory_of(graph, engine)
    stage = Stage(name=name, operators=graph.order(), worker=worker, memory_bytes=memory)
    links = (
        *(Link(source=each, sender=GATEWAY, receiver=name) for each in graph.inputs),
        *(Link(source=each, sender=name, receiver=GATEWAY) for each in dict.fromkeys(graph.outputs.values())),
    )
    reasons = (f"the model is run whole, by {engine}, on a worker of its own: it takes {format_bytes(memory)}",)
    plan = Plan(
        model=model.name,
        granularity="model",
        stages=(stage,),
        links=links,
        frame_steps=1,
        engine=engine,
        reasons=reasons,
    )
    return Planned(model, graph, Costs(), plan)


def memory_of(graph: Graph, engine: str = "") -> int:
    """What a flat graph takes to run whole, in bytes, by the usual engine where none is named."""
    return whole_engine(engine or engine_of(graph)).whole_bytes(graph)


def _engine_of(model: str, graph: Graph) -> str:
    try:
        return engine_of(graph)
    except UserError as error:
        raise UserError(f"{model}: {error}") from error


def _check_memory(planned: Sequence[Planned], limit_bytes: int | None) -> None:
    needed: dict[str, int] = {}
    for each in planned:  # on one worker are those alone that share their weights: they are counted once
        (worker,) = each.plan.workers
        needed[worker] = max(needed.get(worker, 0), memory_of(each.graph, each.plan.engine))
    names = {worker: "+".join(each.model.name for each in planned if worker in each.plan.workers) for worker in needed}
    for worker, size in needed.items():
        if limit_bytes is not None and size > limit_bytes:
            raise UserError(
                f"model {names[worker]} takes {format_bytes(size)} to run, and a worker may hold {format_bytes(limit_bytes)}; allow more "
                "with --memory, or use weights of fewer bits"
            )
    free = free_bytes()
    if sum(needed.values()) > free:
        sizes = ", ".join(f"{names[worker]} {format_bytes(size)}" for worker, size in needed.items())
        raise UserError(
            f"the models take {format_bytes(sum(needed.values()))} to run ({sizes}), and {format_bytes(free)} are free on this "
            "machine; serve fewer, use weights of fewer bits, or stop something else"
        )
