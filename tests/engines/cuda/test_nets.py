"""Whole nets give the reference's bits: any blocks, batches and delays, and states that are merged and split."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.engines import Engine
from synfire.graph import Graph, Synapse
from synfire.ops import Signal
from synfire.ops.add import Add
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.softmax import Softmax
from synfire.testing.engines import check_engine, check_states_merge
from synfire.testing.graphs import random_graph, random_inputs


@pytest.mark.parametrize("seed", [2, 3, 11])
def test_random_nets_give_the_reference_bits(engine: Engine, seed: int) -> None:
    graph = random_graph(seed)
    steps = min(graph.steps or 3, 4)
    inputs = random_inputs(graph, seed, 2, steps)
    check_engine(engine, graph, inputs, steps, seed)
    check_states_merge(engine, graph, inputs, min(steps, 2))


def recurrent(delay_steps: int) -> Graph:
    rng = np.random.default_rng(5)
    operators = {
        "input": Linear(rng.normal(size=(7, 4)), rng.normal(size=7)),
        "join": Add(),
        "lif": LIF(threshold=0.5),
        "recurrent": Linear(rng.normal(size=(7, 7)), np.zeros(7)),
        "readout": Linear(rng.normal(size=(3, 7)), np.zeros(3)),
        "chances": Softmax(),
    }
    synapses = (
        Synapse("x", "input"),
        Synapse("input", "join", 0),
        Synapse("recurrent", "join", 1, delay_steps),
        Synapse("join", "lif"),
        Synapse("lif", "recurrent"),
        Synapse("lif", "readout", 0, 2),
        Synapse("readout", "chances"),
    )
    return Graph(operators, synapses, {"x": Signal((4,))}, {"y": "readout", "s": "lif", "p": "chances"})


@pytest.mark.parametrize("delay_steps", [1, 3])
def test_a_recurrent_net_with_an_operator_on_the_host_gives_the_reference_bits(
    engine: Engine, delay_steps: int
) -> None:
    x = np.random.default_rng(0).normal(size=(6, 2, 4)).astype(np.float32)
    check_engine(engine, recurrent(delay_steps), {"x": x}, steps=6)
    check_states_merge(engine, recurrent(delay_steps), {"x": x}, steps=6)


def test_warming_leaves_no_trace_in_later_answers(engine: Engine) -> None:
    program, x = engine.build(recurrent(1)), np.ones((3, 2, 4), np.float32)
    before = program.run(program.initial_state(2), {"x": x}, 3)[1]
    program.warm()
    after = program.run(program.initial_state(2), {"x": x}, 3)[1]
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
