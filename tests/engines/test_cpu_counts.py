"""Counts that come from outside are added up in compiled code, and those that float32 may not hold by the operators' own steps."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.engines import ENGINES
from synfire.engines.cpu import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Link
from synfire.engines.cpu.writing import COUNTED
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.passes import simplify
from synfire.ops import Kind, Signal
from synfire.ops.add import Add
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.plan import cut, stage_graph
from synfire.testing.engines import check_engine, run_in_blocks
from synfire.zoo import load

STEPS, BATCH, SHAPE = 4, 2, (4, 5, 6)


def residual() -> Graph:
    """The second of two residual blocks: counts arrive, go through neurons, and are added to what comes out of these."""
    rng = np.random.default_rng(0)
    weight = rng.normal(scale=0.2, size=(4, 4, 3, 3)).astype(np.float32)
    operators = {
        "sum": Add(),
        "conv": Conv2d(weight, np.zeros(4, np.float32), padding=(1, 1, 1, 1)),
        "lif": LIF(),
        "again": Add(),
    }
    synapses = (
        Synapse("x", "sum"),
        Synapse("z", "sum", 1),
        Synapse("sum", "conv"),
        Synapse("conv", "lif"),
        Synapse("lif", "again"),
        Synapse("sum", "again", 1),
    )
    inputs = {"x": Signal(SHAPE, Kind.COUNT), "z": Signal(SHAPE, Kind.SPIKE)}
    return Graph(operators, synapses, inputs, {"counts": "again", "spikes": "lif"})


def inputs(count: int) -> dict[str, np.ndarray]:
    """Small counts, but for one in the second step of the second sample."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (STEPS, BATCH, *SHAPE)).astype(np.int32)
    x[1, 1, 2, 3, 4] = count
    return {"x": x, "z": rng.integers(0, 2, (STEPS, BATCH, *SHAPE)).astype(np.uint8)}


def test_counts_from_outside_are_added_up_in_the_chain() -> None:
    assert [type(part) for part in CpuProgram(residual()).parts] == [Link]


@pytest.mark.parametrize("count", [3, COUNTED - 1, COUNTED, 2**24 + 1, 2**31 - 2, -3])
@pytest.mark.parametrize("engine", ["cpu", "cpu-bf16"])
def test_counts_of_any_size_give_the_reference_bits_and_states_go_on(count: int, engine: str) -> None:
    graph = residual()
    if ENGINES[engine].exact:
        check_engine(CpuEngine(), graph, inputs(count), STEPS)
    program, given = ENGINES[engine]().build(graph), inputs(count)
    _, whole = run_in_blocks(program, given, [STEPS])
    for blocks in ([1] * STEPS, [1, 1, 2]):
        _, parted = run_in_blocks(program, given, blocks)
        assert all(whole[name].tobytes() == array.tobytes() for name, array in parted.items())


@pytest.mark.parametrize("model", ["stransformer-digits", "sresnet-digits"])
def test_a_model_cut_at_its_counts_is_as_many_chains_as_stages(model: str) -> None:
    graph = simplify(flatten(load(model)))
    stages = [stage_graph(graph, group) for group in cut(graph, "block")]
    assert any(each.kind is Kind.COUNT for stage in stages for each in stage.inputs.values())
    for stage in stages:
        parts = CpuProgram(stage).parts
        assert [type(part) for part in parts] == [Link], f"{list(stage.operators)} in {len(parts)} parts"
