"""What a NIR file becomes is one compiled program on a processor, whatever the preset, and has the bits of the reference steps."""

import nir
import numpy as np
import pytest
from sheets import affine, chain, conv2d, full, recurrent, write

from synfire.engines.cpu import CpuEngine, tape
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Cycle, Link, Node, chains_of
from synfire.formats.discretisation import PRESETS
from synfire.formats.nir import read_nir
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.ops import Kind
from synfire.testing.engines import check_engine

SHAPE = (3, 4, 6)
LEAKY = {"tau": 0.01, "r": 1.0, "v_leak": 0.0}
SYNAPTIC = {"tau_syn": 0.005, "tau_mem": 0.01, "r": 10.0, "v_leak": 0.0, "w_in": 5.0}
FIRING = {"v_threshold": 0.4, "v_reset": 0.0}
NEURONS = {
    "IF": (nir.IF, {"r": 1000.0, **FIRING}), "I": (nir.I, {"r": 1.0}), "LIF": (nir.LIF, {**LEAKY, **FIRING}),
    "LI": (nir.LI, LEAKY), "CubaLIF": (nir.CubaLIF, {**SYNAPTIC, **FIRING}), "CubaLI": (nir.CubaLI, SYNAPTIC),
}  # fmt: skip


def neuron(kind: str, shape: tuple[int, ...]):
    node, values = NEURONS[kind]
    return node(**{name: full(shape, value) for name, value in values.items()})


def read(graph, path, preset):
    found = read_nir(write(graph, path / "graph.nir"), discretisation=preset, dt_s=1e-3, allow=("r", "v_leak"))
    return simplify(flatten(found))


def arriving(graph, batch=2, steps=6):
    rng = np.random.default_rng(0)
    return {
        name: (rng.random((steps, batch, *signal.shape)) < 0.4).astype(signal.kind.dtype)
        for name, signal in graph.inputs.items()
    }


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", NEURONS)
def test_a_net_of_any_neurons_is_one_program(kind, preset, tmp_path):
    pool = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    sheet = chain(
        (2, 6, 8), (4,),
        c=conv2d((3, 2, 3, 3)), n=neuron(kind, SHAPE), p=nir.SumPool2d(**pool), s=nir.Scale(full((3, 2, 3), 0.5)),
        t=nir.Threshold(full((3, 2, 3), 0.25)), f=nir.Flatten({"input": np.array([3, 2, 3])}, 0, -1), a=affine(5, 18),
        m=neuron(kind, (5,)), b=affine(4, 5), l=neuron("LI", (4,)),
    )  # fmt: skip
    graph = read(sheet, tmp_path, preset)
    parts = CpuProgram(graph).parts
    assert [type(part) for part in parts] == [Link]
    lines = [line for each in chains_of(parts) for line in each.lines]
    assert not any(line.numbers[tape.KIND] == tape.NEURON for line in lines), "every layer is fused with its synapse"
    check_engine(CpuEngine(), graph, arriving(graph), 6)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_a_recurrent_layer_is_compiled(kind, preset, tmp_path):
    graph = read(recurrent(neuron(kind, (7,)), 7), tmp_path, preset)
    parts = CpuProgram(graph).parts
    every = [each for part in parts for each in (part.parts if isinstance(part, Cycle) else (part,))]
    assert not any(isinstance(part, Node) for part in every)
    lines = [line.numbers[tape.KIND] for each in chains_of(parts) for line in each.lines]
    spikes = graph.signals()["n"].kind is Kind.SPIKE
    assert (tape.LOOP in lines) == (spikes and PRESETS[preset].recurrence == "closing")
    check_engine(CpuEngine(), graph, arriving(graph), 6)
