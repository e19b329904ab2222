"""Every compiled neuron gives the bits of its operator's reference step."""

from dataclasses import replace

import numpy as np
import pytest

from synfire.engines.cpu import CpuEngine
from synfire.graph import Graph, Synapse
from synfire.ops import Operator, Signal
from synfire.ops.alif import ALIF
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.parametric_lif import ParametricLIF
from synfire.testing.engines import check_engine, check_states_merge

SHAPE = (3, 4, 5)
RNG = np.random.default_rng(11)
PER_NEURON = {
    "tau": RNG.uniform(1, 4, (3, 1, 1)),
    "inv_tau": RNG.uniform(0, 1, (3, 1, 1)),
    "threshold": RNG.uniform(0.5, 1, SHAPE),
    "v_reset": RNG.uniform(-0.2, 0, (3, 1, 1)),
}


def variants() -> list[tuple[str, Operator]]:
    found: list[tuple[str, Operator]] = []
    for kind in (IF, LIF, ParametricLIF):
        fields = set(kind.__dataclass_fields__)
        for flags in range(16):
            reset, strict = ("hard", "soft")[flags & 1], bool(flags & 2)
            options = {name: value for name, value in PER_NEURON.items() if flags & 4 and name in fields}
            if "decay_input" in fields:
                options["decay_input"] = bool(flags & 8)
            elif flags & 8:
                continue
            found.append((f"{kind.__name__}-{flags:04b}", kind(reset=reset, strict=strict, **options)))
    adaptive = {"alpha": RNG.uniform(0.5, 1, SHAPE), "rho": RNG.uniform(0.5, 1, (3, 1, 1)), "b0": 0.1, "beta": 0.7}
    return [*found, ("ALIF", ALIF()), ("ALIF-per-neuron", ALIF(**adaptive, strict=True))]


@pytest.mark.parametrize("neuron", [pytest.param(each, id=name) for name, each in variants()])
def test_a_neuron_gives_the_reference_bits(neuron: Operator) -> None:
    x = np.random.default_rng(7).normal(scale=0.8, size=(6, 2, *SHAPE)).astype(np.float32)
    graph = Graph({"neuron": neuron}, (Synapse("x", "neuron"),), {"x": Signal(SHAPE)}, {"spikes": "neuron"})
    check_engine(CpuEngine(), graph, {"x": x}, steps=6)
    check_states_merge(CpuEngine(), graph, {"x": x}, steps=6)


@pytest.mark.parametrize("size", [1, 3, 4, 15, 16, 23, 37])
@pytest.mark.parametrize("neuron", [LIF(tau=3.0), LIF(tau=3.0, decay_input=False, reset="soft"), IF()])
@pytest.mark.parametrize("alike", [True, False])
def test_layers_that_fill_no_vector_give_the_reference_bits(size: int, neuron: Operator, alike: bool) -> None:
    if not alike:
        neuron = replace(neuron, threshold=np.random.default_rng(size).uniform(0.5, 1, size))
    x = np.random.default_rng(7).normal(scale=0.8, size=(4, 3, size)).astype(np.float32)
    graph = Graph({"neuron": neuron}, (Synapse("x", "neuron"),), {"x": Signal((size,))}, {"spikes": "neuron"})
    check_engine(CpuEngine(), graph, {"x": x}, steps=4)
