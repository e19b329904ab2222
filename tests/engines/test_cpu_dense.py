"""Synapses with one place have two kernels, and which of them sums changes no bit: event-driven, and dense where many inputs are active."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines.cpu import lines
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.engines import check_engine

KINDS = (Kind.SPIKE, Kind.COUNT, Kind.VALUE)


@pytest.fixture(autouse=True)
def registers_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower where they are not, and the same bits."""
    monkeypatch.setattr(lines, "fits_registers", lambda: True)


@contextmanager
def crossings(enter: int, leave: int) -> Iterator[None]:
    """Switch at so many thousandths of active inputs, whatever the size."""
    with mock.patch.object(lines, "CROSSINGS", {spikes: {1: (enter, leave)} for spikes in (True, False)}):
        yield


def layer(rng: np.random.Generator, inputs: int, outputs: int, kind: Kind, *, neurons: bool = False) -> Graph:
    operators = {"l": Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs)), "n": LIF()}
    synapses = (Synapse("x", "l"), Synapse("l", "n"))
    if neurons:
        return Graph(operators, synapses, {"x": Signal((inputs,), kind)}, {"y": "n"})
    return Graph({"l": operators["l"]}, synapses[:1], {"x": Signal((inputs,), kind)}, {"y": "l"})


def arriving(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...], density: float) -> Array:
    numbers = np.ones(shape) if kind is Kind.SPIKE else rng.integers(1, 4, shape)
    numbers = rng.normal(size=shape) if kind is Kind.VALUE else numbers
    return ((rng.random(shape) < density) * numbers).astype(kind.dtype)


def some_active(inputs: int, active: int, frames: int = 12) -> Array:
    """Frames of spikes of which the first `active` are 1."""
    return np.repeat((np.arange(inputs) < active).astype(np.uint8)[None, None], frames, axis=0)


def summed(program: CpuProgram, x: Array) -> tuple[int, int]:
    """How many frames of a block were summed by each kernel."""
    before = program.summed
    program.run(program.initial_state(x.shape[1]), {"x": x}, len(x))
    event, dense = (after - earlier for after, earlier in zip(program.summed, before, strict=True))
    return event, dense


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.sampled_from([1, 15, 64, 65, 130, 300]),
    outputs=st.sampled_from([1, 10, 16, 17, 40, 64, 70, 100, 128]),
    batch=st.sampled_from([1, 2, 3, 7, 20]),
    percent=st.sampled_from([0, 1, 10, 20, 30, 40, 50, 60, 80, 99, 100]),
    kind=st.sampled_from(KINDS),
    neurons=st.booleans(),
    enter=st.sampled_from([None, 0, 300, 10**6]),
)
def test_any_density_and_any_switch_give_the_reference_bits(
    seed: int, inputs: int, outputs: int, batch: int, percent: int, kind: Kind, neurons: bool, enter: int | None
) -> None:
    rng = np.random.default_rng(seed)
    graph = layer(rng, inputs, outputs, kind, neurons=neurons)
    x = arriving(rng, kind, (5, batch, inputs), percent / 100)
    if enter is None:
        check_engine(CpuEngine(), graph, {"x": x}, steps=5)
    else:
        with crossings(enter, enter * 2 // 3):
            check_engine(CpuEngine(), graph, {"x": x}, steps=5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), densities=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_a_program_that_switches_to_and_fro_gives_the_bits_of_one_that_never_does(
    seed: int, densities: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    graph = layer(rng, 90, 50, Kind.VALUE)
    with crossings(10**6, 10**6):
        never = CpuProgram(graph)
    with crossings(400, 300):
        switching = CpuProgram(graph)
    for density in densities:
        x = arriving(rng, Kind.VALUE, (6, 4, 90), density)
        found = [each.run(each.initial_state(4), {"x": x}, 6)[1]["y"] for each in (never, switching)]
        assert found[0].tobytes() == found[1].tobytes()
    assert never.summed == (24 * len(densities), 0)
    assert sum(switching.summed) == 24 * len(densities)


def test_frames_are_dense_from_one_density_on_and_stay_so_until_another() -> None:
    with crossings(500, 300):
        program = CpuProgram(layer(np.random.default_rng(0), 100, 64, Kind.SPIKE))
    event, dense = (12, 0), (0, 12)
    story = [(0, event), (49, event), (50, dense), (31, dense), (30, dense), (29, event), (49, event), (100, dense)]
    assert [(active, summed(program, some_active(100, active))) for active, _ in story] == story


def test_a_processor_of_few_registers_has_the_event_driven_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "fits_registers", lambda: False)
    graph, x = layer(np.random.default_rng(0), 100, 64, Kind.SPIKE), some_active(100, 100)
    assert summed(CpuProgram(graph), x) == (0, 0)
    check_engine(CpuEngine(), graph, {"x": x}, steps=12)


def test_frames_that_would_be_summed_for_nothing_are_in_the_balance() -> None:
    with crossings(400, 400):
        wide, narrow = (CpuProgram(layer(np.random.default_rng(0), 100, size, Kind.SPIKE)) for size in (64, 16))
    few = some_active(100, 100, 3)
    assert summed(wide, few) == (0, 3)  # six at a time: three of them for nothing
    assert summed(wide, few[:2]) == (2, 0)
    assert summed(narrow, few) == (3, 0)  # twelve at a time
    assert summed(narrow, some_active(100, 100, 5)) == (0, 5)


@pytest.mark.parametrize("outputs", [10, 30, 40, 60, 100])
@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_silence_is_event_driven_and_full_density_dense(outputs: int, kind: Kind) -> None:
    program = CpuProgram(layer(np.random.default_rng(0), 100, outputs, kind))
    x = some_active(100, 100).astype(kind.dtype)
    assert summed(program, x * 0) == (12, 0)
    assert summed(program, x) == (0, 12)


def test_what_stays_the_same_is_summed_once_for_all_steps() -> None:
    rng = np.random.default_rng(1)
    graph = Graph(
        {"encode": ConstantCurrent(5), "l": Linear(rng.normal(size=(30, 40)), rng.normal(size=30)), "n": LIF()},
        (Synapse("x", "encode"), Synapse("encode", "l"), Synapse("l", "n")),
        {"x": Signal((40,), clock=Clock.REQUEST)},
        {"y": "n"},
    )
    x = rng.normal(size=(12, 40)).astype(np.float32)
    check_engine(CpuEngine(), graph, {"x": x}, steps=5)
    program = CpuProgram(graph)
    program.run(program.initial_state(12), {"x": x}, 5)
    assert program.summed == (0, 12)


def test_adaptive_neurons_and_convolutions_of_one_place_give_the_reference_bits() -> None:
    rng = np.random.default_rng(2)
    alif = ALIF(*(rng.random(20).astype(np.float32) for _ in range(4)))
    operators = {"l": Linear(rng.normal(size=(20, 25)), rng.normal(size=20)), "n": alif}
    graph = Graph(
        operators, (Synapse("x", "l"), Synapse("l", "n")), {"x": Signal((25,), Kind.SPIKE)}, {"y": "n", "c": "l"}
    )
    check_engine(CpuEngine(), graph, {"x": arriving(rng, Kind.SPIKE, (4, 5, 25), 0.9)}, steps=4)
    conv = Conv2d(rng.normal(size=(20, 25, 3, 3)), rng.normal(size=20), padding=(1, 1, 1, 1))
    graph = Graph({"c": conv}, (Synapse("x", "c"),), {"x": Signal((25, 1, 1), Kind.SPIKE)}, {"y": "c"})
    x = arriving(rng, Kind.SPIKE, (4, 5, 25, 1, 1), 0.9)
    check_engine(CpuEngine(), graph, {"x": x}, steps=4)
    assert summed(CpuProgram(graph), x)[1] > 0


def test_threads_that_share_a_program_count_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.engines.cpu.chain.ENOUGH", 0)
    rng = np.random.default_rng(3)
    graph = layer(rng, 100, 64, Kind.SPIKE, neurons=True)
    x = arriving(rng, Kind.SPIKE, (12, 9, 100), 0.9)
    program = CpuProgram(graph, threads=2)
    for turn in range(1, 20):
        program.run(program.initial_state(9), {"x": x}, 12)
        assert sum(program.summed) == turn * 12 * 9


def test_counts_that_are_sums_of_spikes_are_summed_densely_as_well() -> None:
    rng = np.random.default_rng(4)
    signal = Signal((60,), Kind.SPIKE)
    operators = {"sum": Add(), "l": Linear(rng.normal(size=(33, 60)), rng.normal(size=33))}
    synapses = (Synapse("x", "sum"), Synapse("z", "sum", 1), Synapse("sum", "l"))
    graph = Graph(operators, synapses, {"x": signal, "z": signal}, {"y": "l"})
    spikes = {name: arriving(rng, Kind.SPIKE, (4, 6, 60), 0.8) for name in "xz"}
    check_engine(CpuEngine(), graph, spikes, steps=4)
    program = CpuProgram(graph)
    program.run(program.initial_state(6), spikes, 4)
    assert program.summed == (0, 24)
