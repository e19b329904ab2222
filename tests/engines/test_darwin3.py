"""The engine of the emulated chip keeps the engines' contract; the bits are its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire import zoo
from synfire.base.errors import UserError
from synfire.devices.darwin3.faults import CoreDead
from synfire.engines import ENGINES, merge_states, split_state
from synfire.engines.darwin3 import Darwin3Engine, Darwin3Program
from synfire.graph import Graph, Synapse
from synfire.graph.passes import simplify
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.darwin3_reference import random_stage
from synfire.testing.engines import run_in_blocks


def given_to(graph: Graph, steps: int, batch: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: (rng.random((steps, batch, *s.shape)) < 0.4).astype(np.uint8) for name, s in graph.inputs.items()}


def assert_same(got: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def test_the_engine_is_registered_and_says_that_it_is_emulated() -> None:
    assert ENGINES["darwin3"] is Darwin3Engine
    assert "emulated" in (Darwin3Engine.__doc__ or "").lower()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.sets(st.integers(1, 5)))
def test_any_blocks_give_the_same_bits(seed: int, cuts: set[int]) -> None:
    graph = random_stage(seed)
    program, inputs = Darwin3Engine().build(graph), given_to(graph, 6, 3, seed % 100)
    _, wanted = run_in_blocks(program, inputs, [6])
    blocks = [b - a for a, b in itertools.pairwise([0, *sorted(cuts), 6])]
    assert_same(run_in_blocks(program, inputs, blocks)[1], wanted)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_requests_merge_and_split_between_blocks_without_a_trace(seed: int) -> None:
    graph = random_stage(seed)
    program, inputs = Darwin3Engine().build(graph), given_to(graph, 4, 3, seed % 100)
    before = {name: array.copy() for name, array in inputs.items()}
    _, wanted = run_in_blocks(program, inputs, [4])
    states = [program.initial_state(1) for _ in range(3)]
    for b in range(3):  # each for itself, for two steps
        alone = {name: array[:2, b : b + 1] for name, array in inputs.items()}
        states[b], found = program.run(states[b], alone, 2)
        assert_same(found, {name: array[:2, b : b + 1] for name, array in wanted.items()})
    merged, found = program.run(merge_states(states), {name: array[2:] for name, array in inputs.items()}, 2)
    assert_same(found, {name: array[2:] for name, array in wanted.items()})
    assert len(split_state(merged, [1, 2])) == 2
    assert_same(inputs, before)


def test_states_and_requests_leave_no_trace_on_the_chip() -> None:
    graph = random_stage(3)
    program, inputs = Darwin3Engine().build(graph), given_to(graph, 5, 2, 0)
    fresh, wanted = program.run(program.initial_state(2), inputs, 5)
    kept = {name: array.copy() for name, array in fresh.items()}
    program.run(fresh, inputs, 5)
    assert_same(fresh, kept)
    assert_same(program.run(program.initial_state(2), inputs, 5)[1], wanted)


def test_no_steps_change_nothing_and_answer_nothing() -> None:
    graph = random_stage(3)
    program = Darwin3Engine().build(graph)
    state = program.initial_state(2)
    after, outputs = program.run(state, given_to(graph, 0, 2, 0), 0)
    assert outputs == {}
    assert_same(after, state)


def test_counts_are_as_many_spikes() -> None:
    rng = np.random.default_rng(0)
    operators = {"fc": Linear(rng.normal(size=(6, 5)), np.zeros(6)), "lif": LIF()}
    synapses = (Synapse("x", "fc"), Synapse("fc", "lif"))
    counts = Graph(operators, synapses, {"x": Signal((5,), Kind.COUNT, Clock.STEP)}, {"y": "lif", "sum": "fc"})
    program = Darwin3Engine().build(counts)
    x = rng.integers(0, 4, (3, 2, 5)).astype(np.int32)
    found = program.run(program.initial_state(2), {"x": x}, 3)[1]["sum"]
    np.testing.assert_allclose(found, x @ operators["fc"].weight.T, atol=0.1)


def test_it_recovers_from_a_dead_core_with_the_same_bits() -> None:
    graph = random_stage(4)
    program, inputs = Darwin3Engine().build(graph), given_to(graph, 4, 2, 0)
    assert isinstance(program, Darwin3Program)
    _, wanted = program.run(program.initial_state(2), inputs, 4)
    dead = next(iter(program.compiled.linked.places.values()))
    program.chip.inject(CoreDead(dead))
    bytes_before = program.chip.written_bytes
    relinked = program.recover()
    assert program.chip.written_bytes - bytes_before == 16 * relinked.words
    assert dead not in program.compiled.linked.cores
    assert_same(program.run(program.initial_state(2), inputs, 4)[1], wanted)


def test_warming_leaves_no_trace() -> None:
    graph = random_stage(5)
    program, inputs = Darwin3Engine().build(graph), given_to(graph, 4, 2, 0)
    _, wanted = program.run(program.initial_state(2), inputs, 4)
    program.warm()
    assert_same(program.run(program.initial_state(2), inputs, 4)[1], wanted)


def test_a_whole_model_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="darwin3 cannot run operator 'encoder': it encodes analog values"):
        Darwin3Engine().build(simplify(zoo.load("scnn-digits")))
