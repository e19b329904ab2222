"""A program's operators are timed where they run, and it computes the same meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.bench.frameworks import cases
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Link
from synfire.engines.cpu.timing import REST, Stopwatch, operator_seconds
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear


@pytest.mark.slow
@pytest.mark.parametrize("model", ["svgg-digits", "srnn-digits", "stransformer-digits"])
def test_every_operator_that_does_something_is_in_one_piece(model: str) -> None:
    case = next(iter(cases([model])))
    found = operator_seconds(case.graph, case.inputs, case.steps, rounds=3)
    pieces = [name for piece in found for name in piece]
    assert len(pieces) == len(set(pieces))
    nothing_to_do = {
        name for name in case.graph.order() if case.graph.operator(name).kind in ("ConstantCurrent", "Reshape")
    }
    assert set(case.graph.order()) - set(pieces) <= nothing_to_do
    assert REST in found
    assert all(len(seconds) == 3 for seconds in found.values())
    assert all(second >= 0 for piece, seconds in found.items() if piece != REST for second in seconds)


def test_neurons_share_the_piece_of_the_synapse_before_them() -> None:
    case = next(iter(cases(["svgg-digits"])))
    assert ("features.3", "features.5") in operator_seconds(case.graph, case.inputs, case.steps, rounds=1)


def test_a_timed_chain_gives_the_same_bits() -> None:
    for case in cases(["sresnet-digits"]):
        program = CpuProgram(case.graph)
        plain = program.run(program.initial_state(case.batch), case.inputs, case.steps)[1]
        watches = [Stopwatch(part.chain) for part in program.parts if isinstance(part, Link)]
        timed = program.run(program.initial_state(case.batch), case.inputs, case.steps)[1]
        assert watches
        assert sum(sum(watch.take().values()) for watch in watches) > 0
        assert all(np.array_equal(plain[name], timed[name]) for name in plain)


def test_a_silent_stopwatch_gives_every_operator_nothing_but_zeros() -> None:
    ones, twos = np.ones((3, 4), np.float32), np.full(3, 2, np.float32)
    layers = {"a": Linear(ones, twos), "a.sn": LIF(), "b": Linear(ones[:, :3], np.zeros(3, np.float32)), "b.sn": LIF()}
    synapses = (Synapse("x", "a"), Synapse("a", "a.sn"), Synapse("a.sn", "b"), Synapse("b", "b.sn"))
    graph = Graph(layers, synapses, {"x": Signal((4,), Kind.SPIKE)}, {"a": "a.sn", "y": "b.sn"})
    program, spikes = CpuProgram(graph), {"x": np.ones((5, 2, 4), np.uint8)}
    for part in program.parts:
        assert isinstance(part, Link)
        Stopwatch(part.chain, silent=True)
    found = program.run(program.initial_state(2), spikes, 5)[1]
    plain = CpuEngine().build(graph)
    assert plain.run(plain.initial_state(2), spikes, 5)[1]["y"].all()
    assert not found["y"].any()
