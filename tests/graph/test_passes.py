"""Passes keep the meaning: bit-identical for dead, identity and constants, within float32 rounding for BatchNorm."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synfire.graph import Graph, Synapse
from synfire.graph.passes import fold_batch_norm, fold_constants, remove_dead, simplify
from synfire.graph.reference import run
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.constant import Constant
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.identity import Identity
from synfire.ops.last import Last
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.lookup import Lookup
from synfire.ops.scale import Scale
from synfire.ops.select_row import SelectRow
from synfire.ops.sparse_constant import SparseConstant
from synfire.ops.threshold import Threshold


def norm(rng: np.random.Generator, channels: int, axis: int = 0) -> BatchNorm:
    mean, gain, shift = rng.normal(size=(3, channels))
    return BatchNorm(mean, rng.uniform(0.5, 2, channels), gain, shift, axis=axis)


def chain(signal: Signal, *operators: Operator) -> Graph:
    names = ["x", *(f"{i}{each.kind}" for i, each in enumerate(operators))]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(dict(zip(names[1:], operators, strict=True)), synapses, {"x": signal}, {"y": names[-1]})


def values(rng: np.random.Generator, signal: Signal) -> np.ndarray:
    return rng.uniform(-1, 1, (3, 2, *signal.shape)).astype(np.float32)


def synaptic(rng: np.random.Generator, kind: str, padding: int) -> tuple[Operator, Signal, int]:
    """An operator with 4 output channels, its input, and the channel axis of what it emits."""
    match kind:
        case "linear":
            return Linear(rng.normal(size=(4, 6)), rng.normal(size=4)), Signal((3, 6)), -1
        case "conv1d":
            conv = Conv1d(rng.normal(size=(4, 3, 2)), rng.normal(size=4), padding=(padding, 0), groups=2)
            return conv, Signal((6, 5)), 0
    conv = Conv2d(rng.normal(size=(4, 3, 2, 3)), rng.normal(size=4), padding=(0, padding, 0, padding), groups=2)
    return conv, Signal((6, 4, 4)), 0


@given(seed=st.integers(0, 999), kind=st.sampled_from(["linear", "conv1d", "conv2d"]), padding=st.integers(0, 1))
def test_batch_norm_folds_into_the_synapses_before_it(seed: int, kind: str, padding: int) -> None:
    rng = np.random.default_rng(seed)
    operator, signal, axis = synaptic(rng, kind, padding)
    graph = chain(signal, operator, norm(rng, 4, axis), norm(rng, 4, axis), LIF(tau=1.0))
    folded = fold_batch_norm(graph)
    assert [each.kind for each in folded.operators.values()] == [operator.kind, "LIF"]
    assert "0" + operator.kind in folded.operators
    x = {"x": values(rng, signal)}
    membrane = chain(signal, operator, graph.operator("1BatchNorm"), graph.operator("2BatchNorm"))
    whole = run(membrane, x)["y"]
    assert np.abs(run(fold_batch_norm(membrane), x)["y"] - whole).max() <= 1e-5 * max(1, np.abs(whole).max())


@given(seed=st.integers(0, 999), kind=st.sampled_from(["linear", "conv1d", "conv2d"]))
def test_batch_norm_folds_into_unpadded_synapses_after_it(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    operator, signal, axis = synaptic(rng, kind, 0)
    graph = chain(signal, norm(rng, 6, axis), operator)
    folded = fold_batch_norm(graph)
    assert list(folded.operators) == ["1" + operator.kind]
    x = {"x": values(rng, signal)}
    whole = run(graph, x)["y"]
    assert np.abs(run(folded, x)["y"] - whole).max() <= 1e-5 * max(1, np.abs(whole).max())


def test_batch_norm_stays_before_a_padded_convolution() -> None:
    rng = np.random.default_rng(0)
    operator, signal, axis = synaptic(rng, "conv2d", 1)
    graph = chain(signal, norm(rng, 6, axis), operator)
    assert fold_batch_norm(graph) is graph


def test_batch_norm_stays_where_others_read_the_synapses() -> None:
    rng = np.random.default_rng(0)
    operator, signal, _ = synaptic(rng, "linear", 0)
    graph = chain(signal, operator, norm(rng, 4, -1))
    shared = Graph(graph.operators, graph.synapses, graph.inputs, {"y": "1BatchNorm", "raw": "0Linear"})
    assert fold_batch_norm(shared) is shared


def test_batch_norm_stays_across_a_delay() -> None:
    rng = np.random.default_rng(0)
    operator, signal, _ = synaptic(rng, "linear", 0)
    late = Graph(
        {"a": operator, "b": norm(rng, 4, -1)},
        (Synapse("x", "a"), Synapse("a", "b", 0, 1)),
        {"x": signal},
        {"y": "b"},
    )
    assert fold_batch_norm(late) is late


def test_batch_norm_stays_when_its_axis_is_not_the_channels() -> None:
    rng = np.random.default_rng(0)
    graph = chain(Signal((3, 6)), Linear(rng.normal(size=(3, 6)), np.zeros(3)), norm(rng, 3, axis=0))
    assert fold_batch_norm(graph) is graph


def with_dead_ends() -> Graph:
    return Graph(
        {
            "first": Identity(),
            "neurons": LIF(),
            "unread": Scale(2.0),
            "further": Identity(),
            "second": Identity(),
        },
        (
            Synapse("x", "first"),
            Synapse("first", "neurons", 0, 1),
            Synapse("neurons", "second", 0, 2),
            Synapse("neurons", "unread"),
            Synapse("unread", "further"),
        ),
        {"x": Signal((2,)), "ignored": Signal((1,))},
        {"y": "second", "z": "neurons"},
    )


def test_dead_operators_and_identities_go_without_a_trace_in_the_bits() -> None:
    graph = with_dead_ends()
    left = remove_dead(graph)
    assert set(left.operators) == {"neurons", "second"}
    assert left.arriving("neurons") == (Synapse("x", "neurons", 0, 1),)
    assert left.inputs == graph.inputs
    rng = np.random.default_rng(0)
    x = {"x": rng.uniform(0, 3, (6, 2, 2)).astype(np.float32), "ignored": np.zeros((6, 2, 1), np.float32)}
    before, after = run(graph, x), run(left, x)
    assert all(before[name].tobytes() == after[name].tobytes() for name in ("y", "z"))


def test_an_identity_between_input_and_output_stays() -> None:
    graph = chain(Signal((2,)), Identity())
    assert remove_dead(graph) is graph
    assert list(remove_dead(chain(Signal((2,)), Identity(), Identity())).operators) == ["1Identity"]


def test_dead_cycles_go_too() -> None:
    graph = Graph(
        {"keep": LIF(), "sum": Add(), "back": Scale(0.5)},
        (Synapse("x", "keep"), Synapse("x", "sum", 0), Synapse("back", "sum", 1, 1), Synapse("sum", "back")),
        {"x": Signal((2,))},
        {"y": "keep"},
    )
    assert list(remove_dead(graph).operators) == ["keep"]


NODE = Signal((), Kind.INDEX, Clock.REQUEST)


def served_graph_network() -> Graph:
    """A node's id → the stored features, aggregated → its row → two steps of current."""
    rng = np.random.default_rng(0)
    edges = np.argwhere(np.triu(rng.random((9, 9)) < 0.4, 1)).T
    features = (rng.random((9, 5)) < 0.3).astype(np.float32)
    return Graph(
        {
            "features": SparseConstant.of(features),
            "aggregate": GraphAggregation.from_edges(edges, 9, hops=2, clip=True),
            "row": SelectRow(),
            "current": ConstantCurrent(2),
            "out": Last(),
        },
        (
            Synapse("node", "features"),
            Synapse("features", "aggregate"),
            Synapse("aggregate", "row", 0),
            Synapse("node", "row", 1),
            Synapse("row", "current"),
            Synapse("current", "out"),
        ),
        {"node": NODE},
        {"y": "out"},
    )


def test_a_stored_graph_is_aggregated_once_and_served_as_a_table() -> None:
    graph = served_graph_network()
    simple = simplify(graph)
    assert [each.kind for each in simple.operators.values()] == ["Lookup", "ConstantCurrent", "Last"]
    nodes = {"node": np.arange(9)}
    assert run(simple, nodes)["y"].tobytes() == run(graph, nodes)["y"].tobytes()
    assert isinstance(simple.operator("row"), Lookup)


def test_constants_of_whole_numbers_fold_and_spikes_do_not() -> None:
    x = Signal((1,), Kind.VALUE, Clock.REQUEST)
    indices = fold_constants(chain(x, Constant(np.array([[1, 2]])), Identity()))
    assert [each.kind for each in indices.operators.values()] == ["Constant", "Constant"]
    stepwise = chain(Signal((1,)), Constant(np.array([1.0])), LIF())
    assert fold_constants(stepwise) is stepwise


def test_a_readout_of_a_constant_keeps_its_clock() -> None:
    graph = chain(Signal((1,)), Constant(np.array([1.0])), Last())
    assert fold_constants(graph) is graph


def test_simplify_returns_a_simple_graph_as_it_is() -> None:
    graph = simplify(served_graph_network())
    assert simplify(graph) is graph


@pytest.mark.parametrize("depth", [1, 3])
def test_simplify_runs_to_a_fixed_point(depth: int) -> None:
    rng = np.random.default_rng(0)
    operators: list[Operator] = [Linear(rng.normal(size=(4, 4)), rng.normal(size=4))]
    for _ in range(depth):
        operators += [Identity(), norm(rng, 4), Identity()]
    assert list(simplify(chain(Signal((4,)), *operators)).operators) == ["0Linear"]


def random_graph(rng: np.random.Generator) -> Graph:
    """Neurons, thresholds, sums and identities over two inputs, with delays, some of it unread."""
    operators: dict[str, Operator] = {}
    synapses: list[Synapse] = []
    sources = ["a", "b"]
    for i in range(int(rng.integers(1, 12))):
        made: list[Operator] = [LIF(tau=1.5), Threshold(0.5), Add(), Identity(), Identity(), Scale(0.7)]
        operators[f"n{i}"] = made[int(rng.integers(len(made)))]
        for port in range(2 if isinstance(operators[f"n{i}"], Add) else 1):
            source = sources[int(rng.integers(len(sources)))]
            synapses.append(Synapse(source, f"n{i}", port, int(rng.integers(0, 3))))
        sources.append(f"n{i}")
    outputs = {f"y{i}": sources[int(rng.integers(2, len(sources)))] for i in range(2)}
    return Graph(operators, tuple(synapses), {"a": Signal((3,)), "b": Signal((3,))}, outputs)


@example(seed=90)  # a delayed synapse from an operator that comes later in the order
@given(seed=st.integers(0, 10_000))
def test_any_graph_of_exact_operators_is_simplified_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x = {name: rng.uniform(-1, 3, (5, 2, 3)).astype(np.float32) for name in ("a", "b")}
    before, after = run(graph, x), run(simplify(graph), x)
    assert {name: array.tobytes() for name, array in before.items()} == {n: a.tobytes() for n, a in after.items()}
