"""How far two engines agree, in spikes."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.engines import ENGINES, Engine, Program
from synfire.engines.agreement import spike_agreement
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.darwin3 import Darwin3Engine
from synfire.engines.reference import ReferenceEngine
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

WIDTH = 16


def two_layers(scale: float = 1.0, kind: Kind = Kind.SPIKE) -> Graph:
    rng = np.random.default_rng(0)
    operators = {
        "fc": Linear(rng.normal(0, 0.5, (WIDTH, WIDTH)) * scale, np.zeros(WIDTH)),
        "lif": LIF(),
        "out": Linear(rng.normal(0, 0.5, (WIDTH, WIDTH)), np.zeros(WIDTH)),
    }
    synapses = (Synapse("x", "fc"), Synapse("fc", "lif"), Synapse("lif", "out"))
    return Graph(operators, synapses, {"x": Signal((WIDTH,), kind)}, {"y": "out"})


class Deaf(Engine):
    """Fires where the processor fires, but for the first half of the neurons."""

    name = "deaf"

    def build(self, graph: Graph) -> Program:
        program = CpuEngine().build(graph)
        run = program.run

        def halved(state, inputs, steps):  # type: ignore[no-untyped-def]
            state, outputs = run(state, inputs, steps)
            outputs["lif"][..., : WIDTH // 2] = 0
            return state, outputs

        program.run = halved  # type: ignore[method-assign]
        return program


def test_exact_engines_agree_in_every_spike() -> None:
    assert spike_agreement(two_layers(), CpuEngine(), ReferenceEngine()) == 1.0


def test_a_chip_agrees_but_for_its_rounding() -> None:
    share = spike_agreement(two_layers(), Darwin3Engine(), CpuEngine())
    assert share is not None
    assert 0.8 < share <= 1
    assert share == spike_agreement(two_layers(), CpuEngine(), Darwin3Engine())


def test_what_only_one_of_them_fires_counts_against_them() -> None:
    share = spike_agreement(two_layers(), Deaf(), CpuEngine())
    assert share is not None
    assert 0.2 < share < 0.8


@pytest.mark.parametrize("graph", [two_layers(scale=0.0), two_layers(kind=Kind.INDEX)])
def test_where_nothing_fires_or_can_be_asked_there_is_no_share(graph: Graph) -> None:
    assert spike_agreement(graph, CpuEngine(), ReferenceEngine()) is None


def test_only_engines_of_other_devices_are_compared() -> None:
    assert {name: (ENGINES[name].exact, ENGINES[name].device) for name in ("cpu", "reference", "darwin3")} == {
        "cpu": (True, "cpu"),
        "reference": (True, "cpu"),
        "darwin3": (False, "darwin3"),
    }
