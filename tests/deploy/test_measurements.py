"""Variants of a model are measured once, and others by themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synfire.deploy import measurements
from synfire.deploy.measurements import Measurements, shared_part
from synfire.deploy.samples import keep_samples
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.plan import Costs, Hop


def net(backbone: int, head: int, outputs: int = 8) -> Graph:
    first, last = np.random.default_rng(backbone), np.random.default_rng(head)
    return Graph(
        {
            "a": Linear(first.normal(size=(64, 32)), first.normal(size=64)),
            "n": LIF(),
            "head": Linear(last.normal(size=(outputs, 64)), last.normal(size=outputs)),
        },
        (Synapse("x", "a"), Synapse("a", "n"), Synapse("n", "head")),
        {"x": Signal((32,), Kind.VALUE, Clock.STEP)},
        {"y": "head"},
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that were measured."""
    found: list[Graph] = []

    def measure(graph: Graph, *_: object) -> Costs:
        found.append(graph)
        return Costs(operator_s=dict.fromkeys(graph, 1e-6 * len(found)))

    monkeypatch.setattr(measurements, "measured", measure)
    return found


def test_variants_are_measured_once(measured: list[Graph]) -> None:
    known = Measurements(Hop())
    costs = [known.of(net(0, head), "cpu") for head in range(5)]
    assert len(measured) == 1
    assert all(each == costs[0] for each in costs)


@pytest.mark.parametrize("other", [net(1, 1), net(0, 0, outputs=9), replace(net(0, 0), outputs={"y": "n"})])
def test_another_model_is_measured_by_itself(measured: list[Graph], other: Graph) -> None:
    known = Measurements(Hop())
    assert known.of(net(0, 0), "cpu") != known.of(other, "cpu")
    assert len(measured) == 2


def test_each_engine_is_measured(measured: list[Graph]) -> None:
    known = Measurements(Hop())
    known.of(net(0, 0), "cpu")
    known.of(net(0, 1), "reference")
    assert len(measured) == 2


def test_a_variant_with_samples_of_its_own_is_measured(
    measured: list[Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    np.savez(tmp_path / "own.npz", x=np.zeros((2, 4, 32), np.float32))
    keep_samples(net(0, 1), tmp_path / "own.npz")
    known = Measurements(Hop())
    assert known.of(net(0, 0), "cpu") == known.of(net(0, 2), "cpu") != known.of(net(0, 1), "cpu")
    assert len(measured) == 2


def test_the_hop_is_that_of_the_machine(measured: list[Graph]) -> None:
    hop = Hop(frame_s=1.0)
    assert Measurements(hop).of(net(0, 0), "cpu").hop == hop


def test_the_part_that_is_shared_is_counted_by_bytes() -> None:
    graph = net(0, 0)
    own = graph.operator("head").parameter_bytes
    total = sum(graph.operator(name).parameter_bytes for name in graph)
    assert shared_part(graph, net(0, 1)) == pytest.approx((total - own) / total)
    assert shared_part(graph, graph) == 1.0
    assert shared_part(graph, net(1, 1)) < 0.01
