from __future__ import annotations

import pytest
from hypothesis import given
from planned_graphs import chain, graphs, linear, recurrent, residual, vgg

from synfire.base.errors import UnknownName, UserError
from synfire.graph import Graph, Synapse
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.delay import Delay
from synfire.ops.lif import LIF
from synfire.plan import atoms, cut, stage_graph
from synfire.plan.costs import Costs


def test_model_is_one_stage_with_every_operator() -> None:
    assert cut(vgg(), "model") == (vgg().order(),)


def test_operator_parts_everything_but_the_encoder_from_its_consumer() -> None:
    groups = cut(vgg(), "operator")
    assert groups[0] == ("encoder", "conv1")
    assert all(len(group) == 1 for group in groups[1:])


def test_block_cuts_behind_the_pool_where_it_sends_less_than_the_neurons() -> None:
    assert [group[-1] for group in cut(vgg(), "block")] == ["pool1", "pool2", "rate"]


def test_block_cuts_behind_the_neurons_where_their_spikes_are_sparser_than_the_pool() -> None:
    sparse = Costs(density={"lif1": 0.001, "pool1": 0.9})
    assert next(iter(cut(vgg(), "block", sparse)))[-1] == "lif1"


def test_block_keeps_a_residual_block_whole() -> None:
    assert cut(residual(), "block") == (("encoder", "conv1", "lif1"), ("conv2", "lif2", "add"), ("conv3", "lif3"))


def test_a_cycle_stays_in_one_stage_at_every_granularity() -> None:
    for granularity in ("model", "block", "operator"):
        homes = [group for group in cut(recurrent(), granularity) if {"join", "lif1", "back"} & set(group)]
        assert len(homes) == 1


def test_an_encoder_that_nobody_reads_is_a_stage() -> None:
    graph = chain({"encoder": ConstantCurrent(2)}, (3,))
    assert atoms(graph) == (("encoder",),)


def test_an_encoder_with_two_consumers_goes_with_the_first() -> None:
    graph = Graph(
        {"encoder": ConstantCurrent(2), "a": linear(4, 4), "b": linear(4, 4)},
        (Synapse("x", "encoder"), Synapse("encoder", "a"), Synapse("encoder", "b")),
        chain({"a": linear(4, 4)}, (4,)).inputs,
        {"a": "a", "b": "b"},
    )
    assert atoms(graph) == (("encoder", "a"), ("b",))


def test_an_unknown_granularity_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="known: auto, block, model, operator"):
        cut(vgg(), "layer")


def test_a_stage_that_would_part_a_cycle_is_refused() -> None:
    with pytest.raises(UserError, match="keep cycles inside a stage"):
        stage_graph(recurrent(), ("encoder", "into", "join", "lif1"))


def test_a_delay_that_closes_no_cycle_may_be_cut() -> None:
    graph = Graph(
        {"encoder": ConstantCurrent(3), "lif": LIF(), "head": linear(4, 2)},
        (Synapse("x", "encoder"), Synapse("encoder", "lif"), Synapse("lif", "head", 0, 2)),
        chain({"a": linear(4, 4)}, (4,)).inputs,
        {"y": "head"},
    )
    part = stage_graph(graph, ("head",))
    assert part.synapses == (Synapse("lif", "head", 0, 2),)


def test_the_delay_operator_is_a_stage_like_any_other() -> None:
    graph = chain({"encoder": ConstantCurrent(3), "lif": LIF(), "delay": Delay(1), "head": linear(4, 2)}, (4,))
    assert ("delay",) in cut(graph, "operator")


@given(graphs())
def test_every_operator_is_in_exactly_one_stage(graph: Graph) -> None:
    for granularity in ("model", "block", "operator"):
        placed = [name for group in cut(graph, granularity) for name in group]
        assert sorted(placed) == sorted(graph.operators)


@given(graphs())
def test_every_synapse_between_stages_points_forward(graph: Graph) -> None:
    for granularity in ("block", "operator"):
        home = {name: i for i, group in enumerate(cut(graph, granularity)) for name in group}
        assert all(home[s.source] <= home[s.target] for s in graph.synapses if s.source in home)


@given(graphs())
def test_every_stage_is_a_graph_of_its_own(graph: Graph) -> None:
    for group in cut(graph, "operator"):
        assert set(stage_graph(graph, group).operators) == set(group)
