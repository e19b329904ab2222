"""Membranes with every discrete choice are compiled, fused with what feeds them, and give the bits of their reference steps."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines import ENGINES
from synfire.engines.cpu import CpuEngine, lines, tape
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Cycle, Link, Node, chains_of
from synfire.engines.cpu.writing import COUNTED
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.current_based import CURRENT_FIRST, JUMP, MEMBRANE_FIRST
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.linear import Linear
from synfire.ops.membrane import (
    AFTER_CHARGE,
    AT_FIRE,
    BEFORE_CHARGE,
    DECAY,
    DECAY_SUM,
    HARD,
    MULTI,
    NONE,
    RELAX,
    RELAX_LEAK_FIRST,
    SOFT,
    TWICE,
)
from synfire.ops.sum_pool2d import SumPool2d
from synfire.testing.engines import check_engine, check_states_merge, check_states_travel

STEPS = 6
FORMS, ORDERS = (RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM), (CURRENT_FIRST, MEMBRANE_FIRST, JUMP)
RESETS = [
    *product((HARD, SOFT, NONE), (AT_FIRE, BEFORE_CHARGE, AFTER_CHARGE)),
    (SOFT, TWICE),
]
KINDS = (DiscreteLIF, CubaLIF, LeakyIntegrator, CubaLI)


def chain(signal: Signal, *operators: Operator) -> Graph:
    named = {f"{k}": operator for k, operator in enumerate(operators)}
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *named]))
    return Graph(named, synapses, {"x": signal}, {"y": list(named)[-1]})


def values(shape: tuple[int, ...], seed: int = 7, steps: int = STEPS, batch: int = 2) -> Array:
    return np.random.default_rng(seed).normal(scale=0.8, size=(steps, batch, *shape)).astype(np.float32)


def spikes(shape: tuple[int, ...], density: float = 0.3, steps: int = STEPS, batch: int = 2) -> Array:
    return (np.random.default_rng(3).random((steps, batch, *shape)) < density).astype(np.uint8)


def check(graph: Graph, x: Array, kinds: tuple[int, ...] = ()) -> None:
    """Its bits, in every division of the work; all in one chain, whose lines between load and store are `kinds`, if given."""
    parts = CpuProgram(graph).parts
    assert [type(part) for part in parts] == [Link], f"{[type(part).__name__ for part in parts]} is not one chain"
    if kinds:
        (compiled,) = chains_of(parts)
        assert tuple(line.numbers[tape.KIND] for line in compiled.lines) == (tape.LOAD, *kinds, tape.STORE)
    check_engine(CpuEngine(), graph, {"x": x}, len(x))
    check_states_merge(CpuEngine(), graph, {"x": x}, len(x))
    check_states_travel(CpuEngine(), graph, {"x": x}, len(x), len(x) // 2)


@st.composite
def neurons(draw: st.DrawFn, shape: tuple[int, ...]) -> Operator:
    """Any of the four, with any choices, and parameters for all or for each."""
    kind = draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def parameter(low: float, high: float) -> Array | float:
        sizes = draw(st.sampled_from([(), (shape[0], *(1,) * (len(shape) - 1)), shape]))
        return rng.uniform(low, high, sizes).astype(np.float32) if sizes else float(rng.uniform(low, high))

    form = draw(st.sampled_from(FORMS))
    fields: dict[str, object] = {"integration": form, "rate": parameter(0, 1), "gain": parameter(0.5, 2)}
    fields |= {"v_start": parameter(-0.2, 0.2)}
    if form in (RELAX, RELAX_LEAK_FIRST):
        fields["v_leak"] = parameter(-0.2, 0.2)
    if kind in (CubaLIF, CubaLI):
        current, order = draw(st.sampled_from(FORMS)), draw(st.sampled_from(ORDERS))
        fields |= {"current_integration": current, "order": order}
        fields |= {"w_in": parameter(0.5, 2), "current_rate": parameter(0, 1)}
        if order != JUMP and current in (RELAX, RELAX_LEAK_FIRST):
            fields["current_leak"] = parameter(-0.2, 0.2)
    if kind in (DiscreteLIF, CubaLIF):
        several = draw(st.booleans())
        reset, reset_at = (
            (draw(st.sampled_from((HARD, SOFT, NONE))), AT_FIRE) if several else draw(st.sampled_from(RESETS))
        )
        fields |= {"reset": reset, "reset_at": reset_at, "strict": draw(st.booleans())}
        fields |= {"spikes": MULTI} if several else {}
        fields |= {"threshold": parameter(0.1, 0.6), "v_reset": parameter(-0.3, 0)}
        fields |= {"v_min": parameter(-0.5, -0.1)} if draw(st.booleans()) else {}
    return kind(**fields)


@settings(max_examples=150, deadline=None)
@given(neuron=neurons((3, 4, 5)), seed=st.integers(0, 2**32 - 1))
def test_any_neurons_by_themselves_are_compiled_and_give_the_reference_bits(neuron: Operator, seed: int) -> None:
    check(chain(Signal((3, 4, 5)), neuron), values((3, 4, 5), seed), (tape.NEURON,))


@settings(max_examples=100, deadline=None)
@given(neuron=neurons((5, 6, 7)), density=st.floats(0, 1))
def test_any_neurons_are_fused_with_a_convolution(neuron: Operator, density: float) -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d(rng.normal(size=(5, 3, 3, 3)), rng.normal(size=5), padding=(1, 1, 1, 1))
    x = spikes((3, 6, 7), density)
    parts = CpuProgram(chain(Signal((3, 6, 7), Kind.SPIKE), conv, neuron)).parts
    (compiled,) = chains_of(parts)
    assert [line.numbers[tape.KIND] for line in compiled.lines].count(tape.SYNAPSE) == 1
    check(chain(Signal((3, 6, 7), Kind.SPIKE), conv, neuron), x)
    assert not any(line.numbers[tape.KIND] == tape.NEURON for line in compiled.lines)


@settings(max_examples=60, deadline=None)
@given(neuron=neurons((37,)), still=st.booleans())
def test_any_neurons_are_fused_with_a_linear_layer(neuron: Operator, still: bool) -> None:
    rng = np.random.default_rng(1)
    linear = Linear(rng.normal(size=(37, 20)), rng.normal(size=37))
    x = spikes((20,), 0.4)
    check(chain(Signal((20,), Kind.SPIKE), linear, neuron), x, (tape.SYNAPSE,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 4, 15, 16, 23, 64])
def test_layers_that_fill_no_vector_are_compiled_to_the_bit(kind: type[Operator], size: int) -> None:
    own = np.linspace(0.1, 0.9, size).astype(np.float32)
    check(chain(Signal((size,)), kind()), values((size,)), (tape.NEURON,))
    check(chain(Signal((size,)), kind(rate=own)), values((size,)), (tape.NEURON,))


@settings(max_examples=60, deadline=None)
@given(neuron=neurons((6,)), seed=st.integers(0, 2**32 - 1))
def test_numbers_of_any_size_give_the_reference_bits(neuron: Operator, seed: int) -> None:
    """Zeros of both signs, numbers too small to be normal, and some that overflow."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice([0.0, -0.0, 1e-42, -1e-42, 0.5, -0.5, 2.0**-126, 3e38, -3e38, 70_000.0], size=(STEPS, 2, 6))
    with np.errstate(over="ignore", invalid="ignore"):
        check_engine(CpuEngine(), chain(Signal((6,)), neuron), {"x": numbers.astype(np.float32)}, STEPS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signal", [Kind.SPIKE, Kind.COUNT])
def test_spikes_and_counts_that_arrive_become_a_current(kind: type[Operator], signal: Kind) -> None:
    check(chain(Signal((9,), signal), kind()), (spikes((9,)) * 3).astype(signal.dtype), (tape.NEURON,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [False, True])
def test_neurons_behind_a_convolution_over_a_sequence_are_fused(kind: type[Operator], each: bool) -> None:
    rng = np.random.default_rng(1)
    rate = rng.uniform(0, 1, (7, 1)) if each else 0.3
    conv = Conv1d(rng.normal(size=(7, 4, 3)), rng.normal(size=7), padding=(1, 1))
    check(chain(Signal((4, 12), Kind.SPIKE), conv, kind(rate=rate)), spikes((4, 12)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [False, True])
def test_neurons_behind_tiles_are_fused(kind: type[Operator], each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "TILED_BYTES", 0)
    rng = np.random.default_rng(1)
    rate = rng.uniform(0, 1, (128, 1, 1)) if each else 0.3
    conv = Conv2d(rng.normal(size=(128, 3, 3, 3)), rng.normal(size=128))
    linear = Linear(rng.normal(size=(256, 30)), rng.normal(size=256))
    for graph, x in (
        (chain(Signal((3, 5, 6), Kind.SPIKE), conv, kind(rate=rate)), spikes((3, 5, 6))),
        (chain(Signal((30,), Kind.SPIKE), linear, kind(rate=np.resize(rate, 256) if each else 0.3)), spikes((30,))),
    ):
        (compiled,) = chains_of(CpuProgram(graph).parts)
        found = [line.numbers[tape.KIND] for line in compiled.lines]
        assert tape.TILED in found
        assert tape.NEURON not in found
        check(graph, x)


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_behind_a_layer_that_is_summed_densely_give_the_same_bits(
    kind: type[Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "fits_registers", lambda: True)
    rng = np.random.default_rng(1)
    linear = Linear(rng.normal(size=(20, 33)), rng.normal(size=20))
    graph = chain(Signal((33,), Kind.SPIKE), linear, kind())
    x = np.ones((15, 2, 33), np.uint8)
    program = CpuProgram(graph)
    program.run(program.initial_state(2), {"x": x}, len(x))
    assert program.summed[1] > 0
    check(graph, x, (tape.SYNAPSE,))


def sinabs() -> Graph:
    """Two layers as sinabs has them, whose counts are pooled."""
    rng = np.random.default_rng(1)
    layers = {
        "conv": Conv2d(rng.normal(size=(5, 2, 3, 3)), np.zeros(5), padding=(1, 1, 1, 1)),
        "iaf": DiscreteLIF(
            rate=1.0, integration=DECAY, spikes=MULTI, reset=SOFT, strict=False, threshold=0.5, v_min=-1.0
        ),
        "pool": SumPool2d((2, 2), (2, 2)),
        "again": Conv2d(rng.normal(size=(4, 5, 3, 3)), np.zeros(4)),
        "lif": CubaLIF(integration=DECAY, current_integration=DECAY_SUM, spikes=MULTI, reset=SOFT),
        "mean": AvgPool2d((2, 2), (1, 1)),
    }
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *layers]))
    return Graph(layers, synapses, {"x": Signal((2, 8, 8))}, {"y": "mean", "counts": "iaf"})


def test_counts_of_several_spikes_a_step_are_pooled_in_the_same_chain() -> None:
    check(sinabs(), values((2, 8, 8)))


@pytest.mark.parametrize("scale", [2.0, COUNTED / 4, 2.0 * COUNTED, 1e9, 1e30])
def test_neurons_that_run_away_give_the_reference_bits_and_states_go_on(scale: float) -> None:
    """One sample does, in the second step, with counts that float32 may not add up."""
    x = values((2, 8, 8))
    x[1, 1] *= np.float32(scale)
    with np.errstate(over="ignore", invalid="ignore"):
        check_engine(CpuEngine(), sinabs(), {"x": x}, STEPS)
        check_states_merge(CpuEngine(), sinabs(), {"x": x}, STEPS)
    quiet, program = values((2, 8, 8)), CpuEngine().build(sinabs())
    wanted = CpuEngine().build(sinabs()).run(program.initial_state(2), {"x": quiet}, STEPS)[1]
    with np.errstate(over="ignore", invalid="ignore"):
        program.run(program.initial_state(2), {"x": x}, STEPS)
    found = program.run(program.initial_state(2), {"x": quiet}, STEPS)[1]
    assert all(wanted[name].tobytes() == array.tobytes() for name, array in found.items())


def recurrent(neuron: Operator, size: int, delayed: str) -> Graph:
    rng = np.random.default_rng(2)
    operators = {
        "input": Linear(rng.normal(size=(size, 4)), rng.normal(size=size)),
        "current": Add(),
        "neuron": neuron,
        "back": Linear(rng.normal(size=(size, size)), np.full(size, 0.3)),
    }
    synapses = (
        Synapse("x", "input"),
        Synapse("input", "current", 0),
        Synapse("back", "current", 1, int(delayed == "closing")),
        Synapse("current", "neuron"),
        Synapse("neuron", "back", 0, int(delayed == "neuron")),
    )
    return Graph(operators, synapses, {"x": Signal((4,))}, {"s": "neuron"})


@pytest.mark.parametrize("neuron", [DiscreteLIF(), CubaLIF(), CubaLIF(rate=np.linspace(0.1, 0.9, 21), order=JUMP)])
def test_a_recurrent_layer_is_a_line(neuron: Operator) -> None:
    check(recurrent(neuron, 21, "closing"), values((4,)), (tape.SYNAPSE, tape.LOOP))


@pytest.mark.parametrize("neuron", [DiscreteLIF(spikes=MULTI), CubaLIF(), LeakyIntegrator(), CubaLI()])
@pytest.mark.parametrize("delayed", ["closing", "neuron"])
def test_neurons_in_any_other_cycle_are_compiled_too(neuron: Operator, delayed: str) -> None:
    graph = recurrent(neuron, 21, delayed)
    parts = CpuProgram(graph).parts
    within = [each for part in parts for each in (part.parts if isinstance(part, Cycle) else (part,))]
    assert not any(isinstance(part, Node) for part in within)
    check_engine(CpuEngine(), graph, {"x": values((4,))}, STEPS)
    check_states_merge(CpuEngine(), graph, {"x": values((4,))}, STEPS)


@pytest.mark.parametrize("engine", ["cpu-int8", "cpu-bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_neurons_behind_narrow_weights_are_fused_and_cuts_change_no_bit(engine: str, kind: type[Operator]) -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d(rng.normal(size=(5, 3, 3, 3)), rng.normal(size=5))
    program = ENGINES[engine]().build(chain(Signal((3, 6, 7), Kind.SPIKE), conv, kind()))
    (compiled,) = chains_of(program.parts)
    assert not any(line.numbers[tape.KIND] == tape.NEURON for line in compiled.lines)
    x, state = spikes((3, 6, 7)), program.initial_state(2)
    whole = program.run(state, {"x": x}, STEPS)[1]["y"]
    for t in range(STEPS):
        state, found = program.run(state, {"x": x[t : t + 1]}, 1)
        assert found["y"].tobytes() == whole[t : t + 1].tobytes()
    assert whole.any()


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_give_the_reference_bits(kind: type[Operator], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.engines.cpu.chain.ENOUGH", 0)
    monkeypatch.setattr(lines, "TILED_BYTES", 1 << 14)
    rng = np.random.default_rng(5)
    conv = Conv2d(rng.normal(size=(24, 3, 3, 3)), rng.normal(size=24), padding=(1, 1, 1, 1))
    tiled = Conv2d(rng.normal(size=(128, 24, 3, 3)), rng.normal(size=128), (2, 2), (1, 1, 1, 1))
    graph = chain(Signal((3, 6, 6), Kind.SPIKE), conv, kind(), tiled, kind())
    check_engine(CpuEngine(threads=2), graph, {"x": spikes((3, 6, 6), batch=7)}, STEPS)


def test_threads_that_share_a_program_see_that_neurons_run_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.engines.cpu.chain.ENOUGH", 0)
    x = values((2, 8, 8), batch=7)
    x[1, 5] *= np.float32(1e9)
    with np.errstate(over="ignore", invalid="ignore"):
        check_engine(CpuEngine(threads=2), sinabs(), {"x": x}, STEPS)
