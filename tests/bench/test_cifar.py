"""`synfire bench cifar`: its nets have the layers of the originals, and spike as often as asked."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.bench import BENCHMARKS, Settings
from synfire.bench.benchmark import report
from synfire.bench.cifar_nets import STEPS, Net, images, sew_resnet18
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph.passes import simplify
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.testing.layerwise import observed
from synfire.testing.parity import neuron_layers


def test_a_layer_reaches_its_density() -> None:
    net = Net.begun(0)
    first = net.spiking("first", "encoder", 16, 0.1)
    last = net.add("last", LIF(), net.linear("linear", net.add("flat", Flatten(), first), 32, 0.05))
    assert net.emitted[first].mean() == pytest.approx(0.1, abs=0.01)
    assert net.emitted[last].mean() == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
def test_the_resnet_spikes_as_trained_nets_do_on_other_images() -> None:
    graph = observed(simplify(sew_resnet18(0)))
    program = CpuEngine().build(graph)
    _, found = program.run(program.initial_state(4), {"input": images(4, 1)}, STEPS)
    densities = np.array([found[name].mean() for name in neuron_layers(graph)])
    assert len(densities) == 20
    assert np.all((densities > 0.004) & (densities < 0.14))


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="torch and spikingjelly cannot be imported"):
        BENCHMARKS["cifar"].measure(Settings(quick=True), print)


def test_its_page_shows_the_density_of_each_layer() -> None:
    layers = [{"model": "net", "layer": "first", "density": 0.05, "spikes": 5, "flips": 0, "unexplained": 0}]
    rows = [{"model": "net", "batch": 1, "framework": "synfire", "threads": 2, "median_s": 0.001, "speedup": 1.0}]
    found = report("cifar", Settings(quick=True), {"layers": layers}, rows, [])
    (text,) = BENCHMARKS["cifar"].documents(found).values()
    assert "| net | first | 0.05 | 5 | 0 | 0 |" in text
