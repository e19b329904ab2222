"""Variants of a model: in which operators they differ, what is no variant, and where their stages go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_graphs import vgg

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph, Synapse
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.plan import Demand, Plan, assumed, plan_cut
from synfire.plan.replicas import Range, groups, ranged, ranges, replicated
from synfire.plan.variants import beside, changed_stages, check_differ, differing
from synfire.testing.graphs import in_several_places, random_graph, random_plan

SEEDS = st.integers(0, 2**32 - 1)


def tuned(graph: Graph, name: str = "head") -> Graph:
    """The graph with other weights in one synaptic layer."""
    operator = graph.operator(name)
    assert isinstance(operator, Linear)
    other = Linear(np.asarray(operator.weight) + np.float32(0.5), operator.bias)
    return replace(graph, operators={**graph.operators, name: other})


def planned() -> Plan:
    """A model in three stages, on a worker each."""
    groups_of = [("encoder", "conv1", "lif1", "pool1"), ("conv2", "lif2", "pool2"), ("flatten", "head", "rate")]
    return plan_cut(Demand("m", vgg(), assumed(vgg())), groups_of, ["w0", "w1", "w2"])


def test_a_variant_differs_in_the_operators_that_have_other_weights_or_attributes() -> None:
    graph = vgg()
    assert differing("a", graph, "b", vgg()) == ()
    assert differing("a", graph, "b", tuned(graph)) == ("head",)
    leaky = replace(graph, operators={**tuned(graph).operators, "lif1": LIF(threshold=0.5)})
    assert differing("a", graph, "b", leaky) == ("lif1", "head")


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_model_is_a_variant_of_itself_and_of_no_other_shape(seed: int) -> None:
    graph = random_graph(seed)
    assert differing("a", graph, "b", random_graph(seed)) == ()
    behind = Synapse(graph.order()[-1], "odd")
    more = replace(graph, operators={**graph.operators, "odd": LIF()}, synapses=(*graph.synapses, behind))
    with pytest.raises(UserError, match="b has an operator odd, and a has none; a variant has the same operators"):
        differing("a", graph, "b", more)


def test_what_is_joined_otherwise_or_gives_other_signals_is_no_variant() -> None:
    graph = vgg()
    head = graph.operator("head")
    assert isinstance(head, Linear)
    wide = Linear(np.vstack([head.weight, head.weight]), np.concatenate([head.bias, head.bias]))
    with pytest.raises(UserError, match=r"b is no variant of a: head of a gives .*, and that of b .*; a variant has"):
        differing("a", graph, "b", replace(graph, operators={**graph.operators, "head": wide}))
    late = tuple(replace(each, delay_steps=1) if each.target == "lif2" else each for each in graph.synapses)
    with pytest.raises(UserError, match="their operators are joined otherwise"):
        differing("a", graph, "b", replace(graph, synapses=late))


def test_more_differences_than_said_and_unknown_operators_are_refused() -> None:
    graph = vgg()
    check_differ(["head"], {"a": graph, "b": tuned(graph), "c": graph})
    leaky = replace(graph, operators={**graph.operators, "lif1": LIF(threshold=0.5)})
    with pytest.raises(UserError, match="c differs from a in lif1, and not in head alone; name these operators, too"):
        check_differ(["head"], {"a": graph, "b": tuned(graph), "c": leaky})
    check_differ(["head", "lif1"], {"a": graph, "b": tuned(graph), "c": leaky})
    with pytest.raises(UnknownName, match="no operator of a named 'fc9'; known: conv1"):
        check_differ(["fc9"], {"a": graph, "b": graph})


def test_a_variant_is_where_the_other_is_but_for_what_differs() -> None:
    plan = planned()
    found = beside(plan, "n", ["lif2"], "w9")
    assert [(each.name, each.operators, each.worker) for each in found.stages] == [
        (each.name, each.operators, "w9" if "lif2" in each.operators else each.worker) for each in plan.stages
    ]
    assert (found.model, found.links, found.frame_steps) == ("n", plan.links, plan.frame_steps)
    assert found.reasons == (f"it is cut as m is, and shares all of its stages but for {plan.stages[1].name}",)
    assert beside(plan, "n", [], "w9").stages == plan.stages
    assert [each.name for each in changed_stages(plan, ["lif2", "rate"])] == [each.name for each in plan.stages[1:]]


def test_a_variant_has_each_stage_once_however_many_replicas_the_other_has() -> None:
    plan = planned()
    middle = plan.stages[1].name
    several = ranged(replicated(plan, {middle: ["w1", "w3"]}), {middle: Range(2, 3)})
    assert groups(several)
    found = beside(several, "n", ["head"], "w4")
    assert [each.worker for each in found.stages] == ["w0", "w1", "w4"]
    assert ranges(found) == {}


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_each_stage_of_a_variant_is_where_the_other_has_its_first_replica(seed: int) -> None:
    plan = in_several_places(random_plan(random_graph(seed), seed), seed)
    found = beside(plan, "n", plan.stages[0].operators[:1], "apart")
    home = {each.name: each.worker for each in plan.stages if not each.replica_of}
    own = plan.stages[0].original
    assert {each.name: each.worker for each in found.stages} == {**home, own: "apart"}
