"""Each operator gives the reference's bits, with a kernel or on the host, whatever its attributes are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from synfire.engines import Engine
from synfire.engines.cuda import table
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Operator, Signal, Stateless
from synfire.ops.alif import ALIF
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv2d import Conv2d
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mat_mul import MatMul
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.parametric_lif import ParametricLIF
from synfire.ops.self_attention import SelfAttention
from synfire.testing.engines import check_engine, check_states_merge
from synfire.testing.operator_examples import EXAMPLES, Example
from synfire.testing.operators import draw_signal

STEPS, BATCH = 3, 2
PLACED = [
    each for each in EXAMPLES if table.shaped(*each.signals, each.operator.infer(*each.signals)) and each.draw is None
]


def fed(operator: Operator, *signals: Signal) -> Graph:
    inputs = {f"x{port}": signal for port, signal in enumerate(signals)}
    synapses = tuple(Synapse(name, "operator", port) for port, name in enumerate(inputs))
    return Graph({"operator": operator}, synapses, inputs, {"y": "operator"})


def drawn(signals: Sequence[Signal], steps: int = STEPS) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        f"x{port}": np.stack([draw_signal(signal, rng, BATCH) for _ in range(steps)])
        if signal.timed
        else draw_signal(signal, rng, BATCH)
        for port, signal in enumerate(signals)
    }


def check(engine: Engine, operator: Operator, *signals: Signal) -> None:
    graph = fed(operator, *signals)
    steps = graph.steps or (2 if isinstance(operator, Stateless) else STEPS)
    check_engine(engine, graph, drawn(signals, steps), steps)


@pytest.mark.parametrize("example", PLACED, ids=lambda each: each.name)
def test_every_operator_gives_the_reference_bits(engine: Engine, example: Example) -> None:
    check(engine, example.operator, *example.signals)


def test_neurons_with_parameters_of_their_own_give_the_reference_bits(engine: Engine) -> None:
    rng, signal = np.random.default_rng(1), Signal((5,))
    own = rng.uniform(0.3, 0.9, 5).astype(np.float32)
    for neuron in (LIF(tau=own + 1, threshold=own), IF(own), ParametricLIF(own, v_reset=own / 4), ALIF(own, own, own)):
        check(engine, neuron, signal)
        check_states_merge(engine, fed(neuron, signal), drawn([signal]), STEPS)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("neuron", [LIF, ParametricLIF])
def test_every_form_of_leaky_neurons_gives_the_reference_bits(
    engine: Engine, neuron: type[LIF | ParametricLIF], decay_input: bool, reset: str
) -> None:
    rate = {LIF: {"tau": 1.7}, ParametricLIF: {"inv_tau": 0.37}}[neuron]
    made = neuron(**rate, threshold=0.6, v_reset=-0.2, decay_input=decay_input, reset=reset, strict=reset == "soft")
    check(engine, made, Signal((7,)))


CHOICES = [
    each
    for each in itertools.product(
        ("relax", "relax_leak_first", "decay", "decay_sum"),
        ("hard", "soft", "none"),
        ("fire", "before_charge", "after_charge", "twice"),
    )
    if each[2] != "twice" or each[1] == "soft"
]


@pytest.mark.parametrize("choice", CHOICES[::5], ids="-".join)
def test_discrete_neurons_give_the_reference_bits(engine: Engine, choice: tuple[str, str, str]) -> None:
    integration, reset, reset_at = choice
    check(
        engine,
        DiscreteLIF(
            rate=0.3, gain=1.3, threshold=0.7, v_reset=-0.1, v_min=-0.4, v_start=0.2, strict=False,
            integration=integration, reset=reset, reset_at=reset_at,
        ),
        Signal((6,)),
    )  # fmt: skip


@pytest.mark.parametrize("order", ["current_first", "membrane_first", "jump"])
def test_current_based_neurons_give_the_reference_bits(engine: Engine, order: str) -> None:
    own = np.linspace(0.2, 0.9, 6).astype(np.float32)
    several = CubaLIF(rate=own, w_in=1.7, current_rate=0.4, threshold=0.3, spikes="multi", reset="soft", order=order)
    check(engine, several, Signal((6,)))
    check(engine, CubaLIF(current_integration="decay", integration="decay_sum", order=order), Signal((6,), Kind.SPIKE))


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_convolutions_give_the_reference_bits_for_odd_geometry(engine: Engine, kind: Kind) -> None:
    rng = np.random.default_rng(4)
    conv = Conv2d(
        rng.normal(size=(6, 1, 3, 2)),
        rng.normal(size=6),
        stride=(2, 1),
        padding=(1, 0, 2, 1),
        dilation=(1, 2),
        groups=2,
    )
    check(engine, conv, Signal((2, 7, 5), kind))


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_a_large_synapse_lists_what_is_active_and_gives_the_reference_bits(
    engine: Engine, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synfire.engines.cuda import synapses

    rng = np.random.default_rng(4)
    linear = Linear(rng.normal(size=(19, 36)), rng.normal(size=19))
    check(engine, linear, Signal((2, 36), kind))
    monkeypatch.setattr(synapses, "LARGE", 1)
    check(engine, linear, Signal((2, 36), kind))


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_products_of_matrices_give_the_reference_bits(engine: Engine, kind: Kind) -> None:
    for turn_a, turn_b in itertools.product((False, True), repeat=2):
        a, b = Signal((5, 3) if turn_a else (3, 5), kind), Signal((4, 5) if turn_b else (5, 4), kind)
        check(engine, MatMul(turn_a, turn_b), a, b)


@pytest.mark.parametrize("tokens", [3, 9])
def test_attention_gives_the_reference_bits_in_either_association(engine: Engine, tokens: int) -> None:
    spikes, counts = Signal((tokens, 8), Kind.SPIKE), Signal((8, tokens), Kind.COUNT)
    check(engine, SelfAttention(2, 0.1), spikes, spikes, spikes)
    check(engine, SelfAttention(4, 0.3, "channels_first"), counts, counts, counts)


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_pools_give_the_reference_bits_for_odd_geometry(engine: Engine, kind: Kind) -> None:
    signal = Signal((2, 7, 6), kind)
    check(engine, MaxPool2d((3, 2), (2, 1), (1, 1, 0, 1), dilation=(1, 2)), signal)
    check(engine, AvgPool2d((3, 2), (2, 2), (1, 0, 1, 0), ceil_mode=True, count_include_pad=False), signal)


def test_aggregation_over_a_graph_gives_the_reference_bits_on_either_clock(engine: Engine) -> None:
    edges = np.array([[0, 0, 3, 1], [1, 2, 0, 4]])
    aggregation = GraphAggregation.from_edges(edges, 5, hops=2, clip=True)
    check(engine, aggregation, Signal((5, 3)))
    check(engine, aggregation, Signal((5, 3), Kind.VALUE, Clock.REQUEST))
