"""Plans of models that an engine runs whole: nothing is cut or measured, each gets a worker of its own."""

from __future__ import annotations

from collections.abc import Sequence

from synfire.base.errors import UserError
from synfire.deploy.planned import Planned
from synfire.engines.engine import ENGINES
from synfire.engines.profiles.machine import free_bytes
from synfire.engines.streaming import WholeEngine
from synfire.graph import Graph, flatten
from synfire.ops.language_model import LanguageModel
from synfire.plan import Costs, Plan
from synfire.plan.costs import format_bytes
from synfire.plan.plan import GATEWAY, Link, Stage
from synfire.zoo import Model


def plan_wholes(models: Sequence[Model], limit_bytes: int | None, first_worker: int = 0) -> tuple[Planned, ...]:
    """Each model on a worker of its own, `worker-N` from `first_worker` on: a crash of its engine ends that worker, and the engine
    uses its cores by itself.

    Raises `UserError` where no engine runs a model, and, before anything is loaded, where memory does not suffice: a worker's
    `limit_bytes`, or this machine's.
    """
    found = tuple(_planned(model, f"worker-{first_worker + n}") for n, model in enumerate(models))
    _check_memory(found, limit_bytes)
    return found


def engine_of(graph: Graph) -> str:
    """The engine that runs a whole model. Raises `UserError` with what stands against each that there is."""
    refusals = {name: ENGINES[name].refusal(graph) for name in ENGINES if issubclass(ENGINES[name], WholeEngine)}
    able = [name for name, refusal in refusals.items() if not refusal]
    if not able:
        said = "; ".join(f"{name}: {refusal}" for name, refusal in refusals.items())
        raise UserError(f"no engine here runs this model ({said})")
    return able[0]


def _planned(model: Model, worker: str) -> Planned:
    graph = flatten(model.graph)
    try:
        engine = engine_of(graph)
    except UserError as error:
        raise UserError(f"{model.name}: {error}") from error
    name, memory = "..".join(graph.order()), memory_of(graph)
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


def memory_of(graph: Graph) -> int:
    """What the language models of a flat graph take to run, in bytes."""
    return sum(each.memory_bytes for each in graph.operators.values() if isinstance(each, LanguageModel))


def _check_memory(planned: Sequence[Planned], limit_bytes: int | None) -> None:
    needed = {each.model.name: memory_of(each.graph) for each in planned}
    for name, size in needed.items():
        if limit_bytes is not None and size > limit_bytes:
            raise UserError(
                f"model {name} takes {format_bytes(size)} to run, and a worker may hold {format_bytes(limit_bytes)}; allow more "
                "with --memory, or use weights of fewer bits"
            )
    free = free_bytes()
    if sum(needed.values()) > free:
        sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in needed.items())
        raise UserError(
            f"the models take {format_bytes(sum(needed.values()))} to run ({sizes}), and {format_bytes(free)} are free on this "
            "machine; serve fewer, use weights of fewer bits, or stop something else"
        )
