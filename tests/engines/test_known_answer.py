"""A corrupted program is told by its answer, and a sound one always answers the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines import ENGINES
from synfire.engines.cpu import tape
from synfire.engines.known_answer import known_answer
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.passes import simplify
from synfire.ops import Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.graphs import random_graph
from synfire.zoo import load


def model(weight):
    operators = {"l": Linear(weight, np.zeros(8, np.float32)), "n": LIF()}
    signal = Signal((weight.shape[1],), Kind.SPIKE, Clock.STEP)
    return Graph(operators, (Synapse("x", "l"), Synapse("l", "n")), {"x": signal}, {"y": "n"})


def answer(graph, engine="cpu"):
    return known_answer(ENGINES[engine]().build(graph))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_two_hosts_of_a_stage_answer_alike(seed):
    graph = random_graph(seed)
    assert answer(graph) == answer(graph) != ""


@given(st.integers(0, 31), st.integers(0, 63))
@settings(max_examples=60, deadline=None)
def test_a_high_bit_that_flips_in_a_weight_that_is_used_is_told(bit, place):
    weight = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    program = ENGINES["cpu"]().build(model(weight))
    sound = known_answer(program)
    synapse = next(line for line in program.parts[0].chain.lines if tape.WEIGHT in line.arrays)
    held = synapse.arrays[tape.WEIGHT]  # the engine's own copy, which a fault in memory does not ask for leave
    held.flags.writeable = True
    row = held[0, 0, 0][place].view(np.uint32)
    row[3] ^= np.uint32(1 << bit)
    stimulated = np.random.default_rng(0).random((4, 1, 64), np.float32)[:, 0, place] < 0.25
    if bit >= 23 and stimulated.any():
        assert known_answer(program) != sound
    row[3] ^= np.uint32(1 << bit)
    assert known_answer(program) == sound


@pytest.mark.parametrize("name", ["svgg-digits", "srnn-digits", "stransformer-digits"])
def test_zoo_models_have_an_answer(name):
    assert len(answer(simplify(flatten(load(name))))) == 64


def test_files_have_none():
    assert answer(simplify(flatten(load("srnn-spoken")))) == ""
