"""Whether a rule by which a name is to answer fits the models that it speaks of. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from synfire.base.errors import UserError
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Signal
from synfire.plan.variants import check_differ
from synfire.wire.traffic import Rule, Share


def as_served(rule: Rule, versions: Mapping[str, str]) -> Rule:
    """The rule with its models called as the deployment calls them, of which `versions` are given by name. Raises `UserError` for a name
    of which several versions are served."""
    shadow = rule.shadow
    return Rule(
        rule.name,
        tuple(Share(_as_served(each.model, versions), each.percent) for each in rule.sides),
        Share(_as_served(shadow.model, versions), shadow.percent) if shadow is not None else None,
        rule.operators,
    )


def _as_served(model: str, versions: Mapping[str, str]) -> str:
    name, _, version = model.partition("@")
    if model not in versions and versions.get(name) == version:
        return name
    found = [each for each in versions if each.partition("@")[0] == model]
    if found and model not in versions:
        raise UserError(f"{model} is served in several versions; say which is meant: {' or '.join(found)}")
    return model


def check_rule(rule: Rule, graph_of: Callable[[str], Graph]) -> None:
    """Raise `UserError` where the rule says nothing sensible, or its models do not take the same inputs, its sides do not give the
    same outputs, or they differ in more operators than it names; `UnknownName` for one of these that there is not; and what `graph_of` raises for a
    model that there is not."""
    rule.check()
    graphs = {model: graph_of(model) for model in rule.models}
    first, *others = rule.models
    for model in others:
        _check_same(rule.name, "takes", first, graphs[first].inputs, model, graphs[model].inputs)
    for side in rule.sides[1:]:
        given = graphs[first].output_signals(), graphs[side.model].output_signals()
        _check_same(rule.name, "gives", first, given[0], side.model, given[1])
    if rule.operators:
        check_differ(rule.operators, {model: simplify(flatten(graph)) for model, graph in graphs.items()})


def _check_same(
    name: str, does: str, first: str, of_first: Mapping[str, Signal], model: str, of_model: Mapping[str, Signal]
) -> None:
    if dict(of_first) != dict(of_model):
        raise UserError(
            f"{name}: {model} {does} {_words(of_model)}, and {first} {does} {_words(of_first)}; a call can only be answered by either "
            "where these are the same"
        )


def _words(signals: Mapping[str, Signal]) -> str:
    return ", ".join(f"{name}: {signal}" for name, signal in signals.items())
