"""Blocks that are recorded and replayed give the same bits. CUDA graphs need a GPU: without one a stand-in records."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from synfire.engines import Engine
from synfire.graph import Graph, Synapse
from synfire.ops import Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.ops.softmax import Softmax
from synfire.testing.engines import check_engine, check_states_merge


def net(softmax: bool = False) -> Graph:
    rng = np.random.default_rng(2)
    operators = {
        "layer": Linear(rng.normal(size=(5, 4)), np.full(5, 0.2)),
        "lif": LIF(threshold=0.5),
        "rate": MeanRate(),
    }
    operators |= {"chances": Softmax()} if softmax else {}
    chain = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(chain))
    return Graph(operators, synapses, {"x": Signal((4,))}, {"y": chain[-1]})


X = np.random.default_rng(1).normal(size=(6, 3, 4)).astype(np.float32)


class StandIn:
    """Does on replay what was recorded, on the memory that was recorded; counts both."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, advance: Any, given: Any, steps: int) -> StandIn.Recording:
        self.recorded += 1
        return self.Recording(self, advance, {name: each.clone() for name, each in given.items()}, steps)

    class Recording:
        def __init__(self, stand_in: StandIn, advance: Any, given: Any, steps: int) -> None:
            self.stand_in, self.advance, self.given, self.steps = stand_in, advance, given, steps
            self.found = {name: each.clone() for name, each in advance(given, steps).items()}

        def replay(self) -> None:
            self.stand_in.replayed += 1
            for name, each in self.advance(self.given, self.steps).items():
                self.found[name].copy_(each)


class Recording:
    """The engine, with a stand-in where there is no GPU."""

    def __init__(self, engine: Engine, record: Any) -> None:
        self.engine, self.record = engine, record

    def build(self, graph: Graph) -> Any:
        from synfire.engines.cuda.hardware import Emulation
        from synfire.engines.cuda.program import CudaProgram

        program = self.engine.build(graph)
        return CudaProgram(graph, Emulation(), recording=self.record) if not program._here.replays else program


def test_replayed_blocks_give_the_reference_bits(engine: Engine) -> None:
    stand_in = StandIn()
    check_engine(Recording(engine, stand_in), net(), {"x": X}, steps=6)  # type: ignore[arg-type]
    check_states_merge(Recording(engine, stand_in), net(), {"x": X}, steps=6)  # type: ignore[arg-type]


def test_a_shape_is_recorded_when_it_comes_again_and_replayed_from_then_on(engine: Engine) -> None:
    stand_in = StandIn()
    program = Recording(engine, stand_in).build(net())
    if program._here.replays:
        pytest.skip("a GPU records by itself")
    counts = []
    for _ in range(4):
        program.run(program.initial_state(3), {"x": X}, 6)
        counts.append((stand_in.recorded, stand_in.replayed))
    assert counts == [(0, 0), (1, 0), (1, 1), (1, 2)]
    program.run(program.initial_state(3), {"x": X[:5]}, 5)
    assert stand_in.replayed == 2


def test_large_blocks_are_not_recorded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from synfire.engines.cuda import recording

    monkeypatch.setattr(recording, "MOST_BYTES", 100)
    stand_in = StandIn()
    program = Recording(engine, stand_in).build(net())
    for _ in range(3):
        program.run(program.initial_state(3), {"x": X}, 6)
    assert stand_in.recorded == 0


def test_the_least_used_recordings_are_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from synfire.engines.cuda import recording

    monkeypatch.setattr(recording, "MOST_RECORDINGS", 1)
    stand_in = StandIn()
    program = Recording(engine, stand_in).build(net())
    for steps in (2, 2, 3, 2, 2):
        program.run(program.initial_state(3), {"x": X[:steps]}, steps)
    assert stand_in.recorded == (0 if program._here.replays else 2)


def test_a_stage_with_an_operator_on_the_host_is_not_recorded(engine: Engine) -> None:
    stand_in = StandIn()
    program = Recording(engine, stand_in).build(net(softmax=True))
    for _ in range(3):
        program.run(program.initial_state(3), {"x": X}, 6)
    assert stand_in.recorded == 0


def test_a_block_that_cannot_be_recorded_is_launched_kernel_by_kernel(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def refusing(advance: Any, given: Any, steps: int) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    program = Recording(engine, refusing).build(net())
    if program._here.replays:
        pytest.skip("a GPU records by itself")
    answers = [program.run(program.initial_state(3), {"x": X}, 6)[1]["y"].tobytes() for _ in range(3)]
    assert len(set(answers)) == 1
    assert "no CUDA graph can be made of it: operation not permitted" in caplog.text
