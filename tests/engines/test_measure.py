from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from synfire.engines import measure as module
from synfire.engines.engine import ENGINES, Engine, Program
from synfire.engines.measure import measure, measured
from synfire.engines.profiles.samples import own_samples
from synfire.engines.samples import Samples, Source
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Signal, State
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.image_decode import ImageDecode
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.zoo import sample


def graph(weight: float = 1.0) -> Graph:
    operators = {
        "encoder": ConstantCurrent(4),
        "fc": Linear(np.full((5, 3), weight, np.float32), np.zeros(5, np.float32)),
        "lif": LIF(),
        "rate": MeanRate(),
    }
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    return Graph(operators, synapses, {"x": Signal((3,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})


def test_every_operator_gets_its_time() -> None:
    costs = measure(graph(), ENGINES["cpu"](), sample(graph()))
    assert set(costs.operator_s) == set(graph().operators)
    assert all(seconds >= 0 for seconds in costs.operator_s.values())
    assert costs.call_s > 0
    assert costs.steps == 4


class Slow(Program):
    """Takes a millisecond for each operator, and a quarter for the call."""

    def initial_state(self, batch: int) -> State:
        return {}

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        until = time.perf_counter() + 0.25e-3 + 1e-3 * sum(name != "rate" for name in self.graph.operators)
        while time.perf_counter() < until:
            pass
        return state, {name: np.zeros((steps, 1, *signal.shape)) for name, signal in self.outputs.items()}


class SlowEngine(Engine):
    name = "slow"

    def build(self, graph: Graph) -> Program:
        return Slow(graph)


def test_an_operator_costs_what_it_adds_to_those_before_it() -> None:
    costs = measure(graph(), SlowEngine(), sample(graph()))
    whole_s = sum(costs.operator_s.values())
    assert whole_s + costs.call_s >= 3.25e-3
    assert costs.operator_s["lif"] / whole_s == pytest.approx(1 / 3, abs=0.15)
    assert costs.operator_s["rate"] / whole_s < 0.15
    assert costs.operator_s["encoder"] == costs.operator_s["fc"]  # they stay together


def test_densities_are_those_of_the_sample() -> None:
    always = measure(graph(100.0), ENGINES["cpu"](), sample(graph()))
    never = measure(graph(0.0), ENGINES["cpu"](), sample(graph()))
    assert always.density["lif"] == 1.0
    assert never.density["lif"] == 0.0


def test_densities_are_the_mean_of_several_requests() -> None:
    inputs = {"x": np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]], np.float32)}
    costs = measure(graph(100.0), ENGINES["cpu"](), inputs)
    assert costs.density["x"] == pytest.approx((0 + 1 / 3 + 1) / 3)
    assert costs.density["lif"] == pytest.approx(2 / 3)


def test_a_files_size_is_measured() -> None:
    decoding = Graph(
        {"decode": ImageDecode(1, 8, 8)}, (Synapse("file", "decode"),),
        {"file": Signal((), Kind.BYTES, Clock.REQUEST)}, {"y": "decode"},
    )  # fmt: skip
    inputs = sample(decoding)
    assert measure(decoding, ENGINES["cpu"](), inputs).payload == {"file": len(inputs["file"][0])}


def test_what_was_measured_is_remembered_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    first = measured(graph(), engine, own_samples(graph()))
    assert measured(graph(), engine, own_samples(graph())) == first
    measured(graph(2.0), engine, own_samples(graph()))
    assert len(list((tmp_path / "costs").iterdir())) == 2


def test_what_another_version_of_the_engines_took_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    measured(graph(), engine, own_samples(graph()))
    monkeypatch.setattr(module, "engines_version", lambda: "another")
    measured(graph(), engine, own_samples(graph()))
    assert len(list((tmp_path / "costs").iterdir())) == 2


def test_a_damaged_cache_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    measured(graph(), engine, own_samples(graph()))
    (file,) = (tmp_path / "costs").iterdir()
    file.write_text("{")
    assert measured(graph(), engine, own_samples(graph())).steps == 4
    assert file.read_text() != "{"


def test_a_cache_that_cannot_be_written_costs_time_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "file"))
    assert measured(graph(), ENGINES["cpu"](), own_samples(graph())).steps == 4


def test_other_samples_are_measured_by_themselves_and_read_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    read: list[str] = []

    def source(digest: str, level: float) -> Source:
        def samples(count: int | None) -> Samples:
            read.append(digest)
            return Samples.of(graph(), {"x": np.full((count or 1, 3), level, np.float32)})

        return Source(digest, digest, samples)

    engine = ENGINES["cpu"]()
    found = [measured(graph(100.0), engine, source(*each)) for each in (("bright", 1), ("dark", 0)) * 2]
    assert read == ["bright", "dark"]
    assert [each.density["lif"] for each in found] == [1, 0, 1, 0]


def test_what_threads_a_worker_has_is_measured_and_remembered_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    engine = ENGINES["cpu"]()
    alone, together = (measured(graph(), engine, own_samples(graph()), threads) for threads in (1, 2))
    assert (alone.threads, alone.calls) == (1, 1)
    assert (together.threads, together.calls) == (2, 2)  # a small model: each thread takes calls of its own
    assert len(list((tmp_path / "costs").iterdir())) == 2
