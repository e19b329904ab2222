"""Variants of a model, which differ from it in a few operators: which these are, and a plan in which all others share its stages. Pure.

A variant is a model of its own. Where its stages that are the same lie beside the other's, on the same workers, each of these runs both by one
program; so what a variant takes is its own operators, and calls of both go through the same workers but for those.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph, flatten
from synfire.plan.plan import Plan, Stage
from synfire.plan.replicas import bare, ranged
from synfire.store.names import of_replica


def differing(first: str, graph: Graph, model: str, other: Graph) -> tuple[str, ...]:
    """The operators of a `model`, by their names, that are others than those of the `first` one: in parameters, attributes, or kind.

    Reads all weights of both. Raises `UserError` where the two are not the same operators, joined in the same way, with the same signals
    between them.
    """
    graph, other = flatten(graph), flatten(other)
    mine, theirs = set(graph.order()), set(other.order())
    if mine != theirs:
        odd = min(mine ^ theirs)
        has, lacks = (first, model) if odd in mine else (model, first)
        raise _unlike(first, model, f"{has} has an operator {odd}, and {lacks} has none")
    if _ways(graph) != _ways(other):
        raise _unlike(first, model, "their operators are joined otherwise")
    given, others = graph.signals(), other.signals()
    for name in (*graph.inputs, *graph.order()):
        if given[name] != others[name]:
            raise _unlike(first, model, f"{name} of {first} gives {given[name]}, and that of {model} {others[name]}")
    return tuple(
        name for name in graph.order() if graph.operator(name).content_digest() != other.operator(name).content_digest()
    )


def check_differ(operators: Collection[str], models: Mapping[str, Graph]) -> None:
    """Raise `UserError` where one of the models differs from the first in more than these operators, `UnknownName` for one that there is not;
    and as `differing` does."""
    (first, graph), *others = models.items()
    known = flatten(graph).order()
    for each in operators:
        if each not in known:
            raise UnknownName.among(f"operator of {first}", each, known)
    for model, other in others:
        more = [name for name in differing(first, graph, model, other) if name not in operators]
        if more:
            raise UserError(
                f"{model} differs from {first} in {', '.join(more)}, and not in {', '.join(operators)} alone; name these operators, too, or make "
                "a variant that has them as they are"
            )


def changed_stages(plan: Plan, changed: Collection[str]) -> tuple[Stage, ...]:
    """The stages, with their replicas, that hold some of these operators."""
    return tuple(each for each in plan.stages if not set(changed).isdisjoint(each.operators))


def beside(plan: Plan, model: str, changed: Collection[str], worker: str) -> Plan:
    """The plan of a variant, along another model's `plan`: each stage once, where that has it, or its first replica, but for those with `changed` operators,
    which are on `worker`."""
    once = ranged(bare(plan), {})
    own = {each.name for each in changed_stages(once, changed)}
    stages = tuple(msgspec.structs.replace(each, worker=worker) if each.name in own else each for each in once.stages)
    named = ", ".join(each.name for each in once.stages if each.name in own)
    reason = (
        f"it is cut as {of_replica(plan.model)} is, and shares all of its stages{f' but for {named}' if named else ''}"
    )
    return msgspec.structs.replace(once, model=model, stages=stages, reasons=(reason,))


def _ways(graph: Graph) -> tuple[object, ...]:
    """How its operators are joined, by names."""
    return graph.synapses, set(graph.inputs), dict(graph.outputs)


def _unlike(first: str, model: str, why: str) -> UserError:
    return UserError(
        f"{model} is no variant of {first}: {why}; a variant has the same operators, joined in the same way, with the same signals between "
        "them, and other parameters"
    )
