"""States travel by operator: between cuts of one graph, and as the reference engine keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines import ENGINES
from synfire.engines.known_answer import steps_of, stimulus
from synfire.engines.reference import part_of
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan.plan import stage_graph
from synfire.testing.engines import check_states_travel
from synfire.testing.graphs import random_graph, random_inputs, random_plan
from synfire.zoo import load

SEEDS = st.integers(0, 2**32 - 1)
EXACT = ("cpu", "reference")
STEPS = 7


def steps_and_inputs(graph, seed, batch):
    inputs = random_inputs(graph, seed, batch, STEPS)
    return graph.steps or STEPS, inputs


@pytest.mark.slow
@pytest.mark.parametrize("engine", EXACT)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 3))
def test_a_state_that_travels_is_the_reference_engines(engine, seed, batch):
    graph = random_graph(seed)
    steps, inputs = steps_and_inputs(graph, seed, batch)
    check_states_travel(ENGINES[engine](), graph, inputs, steps, max(1, steps // 2))


@pytest.mark.parametrize("model", ["svgg-digits", "sresnet-digits", "srnn-digits", "stransformer-digits", "sgnn-cora"])
def test_states_of_the_zoo_travel(model):
    graph = simplify(flatten(load(model)))
    steps = steps_of(graph)
    inputs = stimulus(graph.inputs, steps)
    if inputs is not None:
        check_states_travel(ENGINES["cpu"](), graph, inputs, steps, steps // 2)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 3))
def test_stages_that_were_one_before_go_on_from_what_that_remembered(seed, batch):
    graph, engine = random_graph(seed), ENGINES["cpu"]()
    steps, inputs = steps_and_inputs(graph, seed, batch)
    whole, after = engine.build(graph), inputs
    state, _ = whole.run(whole.initial_state(batch), inputs, steps)
    travelled = whole.portable(state)
    _, wanted = whole.run(state, after, steps)
    values, kept = dict(after), {}
    for stage in random_plan(graph, seed + 1).stages:
        part = stage_graph(graph, stage.operators)
        program, own = engine.build(part), part_of(travelled, part)
        kept |= own
        given_ = {name: values[name] for name in part.inputs}
        _, outputs = program.run(program.own(own), given_, steps)
        values |= outputs
    for name, source in graph.outputs.items():
        assert values[source].tobytes() == np.ascontiguousarray(wanted[name]).tobytes()
    assert kept.keys() == travelled.keys()


def test_what_is_not_a_programs_own_is_left_aside():
    graph = random_graph(3)
    steps, inputs = steps_and_inputs(graph, 3, 2)
    program = ENGINES["cpu"]().build(graph)
    state, _ = program.run(program.initial_state(2), inputs, steps)
    travelled = program.portable(state)
    again = program.own({**travelled, "somebody/else": np.zeros((2, 5), np.float32)})
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: np.ascontiguousarray(array).tobytes() for name, array in state.items()
    }
