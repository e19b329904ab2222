"""Graphs refuse what makes no sense, flatten without changing their meaning, and are known by their digests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.reference import run
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.bernoulli import Bernoulli
from synfire.ops.concatenate import Concatenate
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.flatten import Flatten
from synfire.ops.identity import Identity
from synfire.ops.last import Last
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.ops.scale import Scale
from synfire.ops.threshold import Threshold

X = Signal((2,), Kind.VALUE, Clock.REQUEST)
STEP = Signal((2,))


def linear(*rows: list[float]) -> Linear:
    return Linear(np.array(rows), np.zeros(len(rows)))


def chain(inputs: Mapping[str, Signal], *operators: tuple[str, Operator | Graph]) -> Graph:
    """Operators one after the other, from the first input to the output `y`."""
    names = [next(iter(inputs)), *(name for name, _ in operators)]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(dict(operators), synapses, inputs, {"y": names[-1]})


def spiking(weight: float = 1.0) -> Graph:
    return chain({"x": STEP}, ("synapses", linear([weight, 0.0], [0.0, 1.0])), ("neurons", LIF()))


def test_an_input_may_be_an_output_too() -> None:
    x = np.ones((1, 2, 2), np.float32)
    passing = Graph(
        {"f": Flatten()}, (Synapse("x", "f"),), {"x": Signal((2, 2), clock=Clock.REQUEST)}, {"y": "f", "x": "x"}
    )
    found = run(passing, {"x": x}, steps=1)
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["y"], x.reshape(1, 4))


def test_a_graph_runs_its_operators_step_by_step() -> None:
    graph = chain({"x": X}, ("in", ConstantCurrent(4)), ("neurons", LIF(tau=1.0)), ("out", MeanRate()))
    # tau = 1 charges to X at once: 1.5 fires at every step, 0.5 never.
    assert run(graph, {"x": np.array([[1.5, 0.5]], np.float32)})["y"].tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"synapses": (Synapse("nowhere", "a"),)}, "dangles; remove or rename"),
        ({"synapses": (Synapse("x", "a"), Synapse("x", "nowhere"))}, "no operator 'nowhere'"),
        ({"synapses": (Synapse("x", "a"), Synapse("x", "a"))}, "reached at ports .0, 0.; it needs exactly 1"),
        ({"synapses": (Synapse("x", "a", port=1),)}, "reached at ports .1.; it needs exactly 1"),
        ({"synapses": ()}, "reached at ports ..; it needs exactly 1"),
        ({"synapses": (Synapse("x", "a", delay_steps=-1),)}, "must be ≥ 0"),
        ({"outputs": {}}, "name the operator whose output is the answer"),
        ({"outputs": {"y": "a/out"}}, "drop '/out'"),
        ({"outputs": {"y": "nowhere"}}, "dangles"),
        ({"operators": {"a": Identity(), "x": Identity()}}, "rename one of them"),
        ({"operators": {"a/b": Identity()}}, "use letters, digits"),
        ({"operators": {"a": Add()}}, "needs two synapses or more; it has 1"),
        ({"operators": {"a": linear([1.0, 2.0, 3.0])}}, "operator 'a': Linear takes 3 inputs"),
    ],
)
def test_a_graph_refuses_what_does_not_hang_together(change: dict[str, object], cure: str) -> None:
    fields: dict[str, object] = {
        "operators": {"a": Identity()},
        "synapses": (Synapse("x", "a"),),
        "inputs": {"x": STEP},
        "outputs": {"y": "a"},
    }
    with pytest.raises(UserError, match=cure):
        Graph(**{**fields, **change})  # type: ignore[arg-type]


def test_a_cycle_without_a_delay_is_refused_and_named() -> None:
    synapses = (Synapse("x", "add", 0), Synapse("b", "add", 1), Synapse("add", "a"), Synapse("a", "b"))
    with pytest.raises(UserError, match=r"(add → a → b|a → b → add|b → add → a) .*delay_steps=1"):
        Graph({"add": Add(), "a": Identity(), "b": Identity()}, synapses, {"x": STEP}, {"y": "b"})


def test_encoders_must_agree_on_the_number_of_steps() -> None:
    graph = Graph(
        {"a": ConstantCurrent(2), "b": ConstantCurrent(3), "sum": Add()},
        (Synapse("x", "a"), Synapse("x", "b"), Synapse("a", "sum", 0), Synapse("b", "sum", 1)),
        {"x": X},
        {"y": "sum"},
    )
    with pytest.raises(UserError, match=r"\[2, 3\]; make them equal"):
        _ = graph.steps


def recurrent(delay: int = 1) -> Graph:
    """s(t) = [x(t) + s(t − delay) ≥ 2] for the second element, [x(t) ≥ 1] and so on through a swap of the two."""
    return Graph(
        {"sum": Add(), "fire": Threshold(1.0), "swap": linear([0.0, 1.0], [1.0, 0.0])},
        (Synapse("x", "sum", 0), Synapse("swap", "sum", 1), Synapse("sum", "fire"), Synapse("fire", "swap", 0, delay)),
        {"x": STEP},
        {"y": "fire"},
    )


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_delayed_cycle_brings_spikes_back_after_its_delay(delay: int) -> None:
    x = np.zeros((7, 1, 2), np.float32)
    x[0, 0, 0] = 1.0
    y = run(recurrent(delay), {"x": x})["y"][:, 0].tolist()
    expected = [[0, 0] for _ in range(7)]
    for bounce, t in enumerate(range(0, 7, delay)):
        expected[t][bounce % 2] = 1
    assert y == expected


def test_a_cycle_must_keep_its_shape() -> None:
    with pytest.raises(UserError, match="fed back by 'grow'"):
        Graph(
            {"sum": Add(), "grow": linear([1.0, 0.0], [1.0, 0.0], [1.0, 1.0])},
            (Synapse("x", "sum", 0), Synapse("grow", "sum", 1, 1), Synapse("sum", "grow")),
            {"x": STEP},
            {"y": "grow"},
        )


def test_a_delayed_synapse_may_come_from_an_operator_further_down() -> None:
    graph = Graph(
        {
            "fire": Threshold(1.0),
            "sum": Add(),
            "both": Concatenate(),
            "half": Scale(0.5),
            "three": linear(*[[1, 0]] * 3),
        },
        (
            Synapse("x", "fire"),
            Synapse("x", "half"),
            Synapse("half", "three"),
            Synapse("fire", "sum", 0),
            Synapse("half", "sum", 1, 1),
            Synapse("fire", "both", 0),
            Synapse("three", "both", 1, 2),
        ),
        {"x": STEP},
        {"both": "both", "sum": "sum"},
    )
    assert graph.order().index("both") < graph.order().index("three")
    assert graph.output_signals() == {"both": Signal((5,)), "sum": Signal((2,))}


def test_values_that_come_back_to_a_sum_of_spikes_make_it_give_values() -> None:
    graph = Graph(
        {"fire": Threshold(1.0), "sum": Add(), "same": Identity(), "half": Scale(0.5)},
        (
            Synapse("x", "fire"),
            Synapse("fire", "sum", 0),
            Synapse("half", "sum", 1, 1),
            Synapse("sum", "same"),
            Synapse("same", "half"),
        ),
        {"x": STEP},
        {"y": "same"},
    )
    assert graph.output_signals() == {"y": Signal((2,), Kind.VALUE)}
    y = run(graph, {"x": np.ones((3, 1, 2), np.float32)})["y"]
    assert y.dtype == np.float32
    assert y[:, 0, 0].tolist() == [1.0, 1.5, 1.75]


def nested() -> Graph:
    return chain({"x": X}, ("in", ConstantCurrent(3)), ("body", spiking(3.0)), ("out", MeanRate()))


def test_flatten_joins_names_with_a_dot_and_keeps_the_meaning() -> None:
    flat = flatten(nested())
    assert flat.flat
    assert set(flat.operators) == {"in", "body.synapses", "body.neurons", "out"}
    x = np.array([[1.0, 4.0]], np.float32)
    by_hand = chain(
        {"x": X},
        ("in", ConstantCurrent(3)),
        ("synapses", linear([3.0, 0.0], [0.0, 1.0])),
        ("n", LIF()),
        ("out", MeanRate()),
    )
    assert run(flat, {"x": x})["y"].tobytes() == run(by_hand, {"x": x})["y"].tobytes()
    assert flatten(flat) is flat


def test_flatten_goes_down_every_level() -> None:
    deeper = chain({"x": STEP}, ("inner", spiking()), ("last", Identity()))
    deepest = chain({"x": STEP}, ("deep", deeper), ("end", Identity()))
    assert set(flatten(deepest).operators) == {"deep.inner.synapses", "deep.inner.neurons", "deep.last", "end"}


def test_nested_graphs_may_have_several_inputs_and_outputs() -> None:
    both = Graph(
        {"sum": Add(), "double": Scale(2.0)},
        (Synapse("a", "sum", 0), Synapse("b", "sum", 1), Synapse("b", "double")),
        {"a": STEP, "b": STEP},
        {"total": "sum", "twice": "double"},
    )
    graph = Graph(
        {"both": both, "last": Last()},
        (Synapse("x", "both", 0), Synapse("z", "both", 1), Synapse("both/twice", "last")),
        {"x": STEP, "z": STEP},
        {"total": "both/total", "last": "last"},
    )
    x, z = np.full((2, 1, 2), 1.0, np.float32), np.full((2, 1, 2), 10.0, np.float32)
    answers = run(graph, {"x": x, "z": z})
    assert answers["total"].tolist() == (x + z).tolist()
    assert answers["last"].tolist() == [[20.0, 20.0]]


def test_an_output_of_a_nested_graph_with_several_must_be_named() -> None:
    two = Graph(
        {"a": Identity(), "b": Identity()}, (Synapse("x", "a"), Synapse("x", "b")), {"x": STEP}, {"a": "a", "b": "b"}
    )
    with pytest.raises(UserError, match="name one as 'two/OUTPUT'"):
        Graph({"two": two}, (Synapse("x", "two"),), {"x": STEP}, {"y": "two"})


def test_a_nested_graph_refuses_another_shape() -> None:
    with pytest.raises(UserError, match="mend the shapes"):
        Graph({"sub": spiking()}, (Synapse("x", "sub"),), {"x": Signal((5,))}, {"y": "sub"})


def test_digests_tell_structure_from_content() -> None:
    a, same, other = spiking(1.0), spiking(1.0), spiking(2.0)
    assert a.content_digest() == same.content_digest()
    assert a.content_digest() != other.content_digest()
    assert a.structural_digest() == other.structural_digest()


def test_digests_do_not_depend_on_names() -> None:
    renamed = chain({"input": STEP}, ("p", linear([1.0, 0.0], [0.0, 1.0])), ("q", LIF()))
    assert renamed.content_digest() == spiking(1.0).content_digest()


@pytest.mark.parametrize(
    "other",
    [
        chain({"x": STEP}, ("synapses", linear([1.0, 0.0], [0.0, 1.0])), ("neurons", LIF(strict=True))),
        chain({"x": STEP}, ("neurons", LIF()), ("synapses", linear([1.0, 0.0], [0.0, 1.0]))),
        chain({"x": Signal((4, 2))}, ("synapses", linear([1.0, 0.0], [0.0, 1.0])), ("neurons", LIF())),
    ],
    ids=["an attribute", "the order", "the input"],
)
def test_structural_digest_changes_with_the_structure(other: Graph) -> None:
    assert other.structural_digest() != spiking(1.0).structural_digest()


def test_delays_are_part_of_the_digest() -> None:
    assert recurrent(1).structural_digest() != recurrent(2).structural_digest()


def test_a_graph_without_steps_asks_for_them() -> None:
    graph = chain({"x": X}, ("same", Identity()))
    with pytest.raises(UserError, match="pass steps="):
        run(graph, {"x": np.zeros((1, 2), np.float32)})


def test_requests_in_one_batch_do_not_see_each_other() -> None:
    graph = chain({"x": X}, ("in", Bernoulli(8, seed=1)), ("neurons", LIF(tau=1.0)), ("out", MeanRate()))
    x = np.random.default_rng(0).random((4, 2)).astype(np.float32)
    whole = run(graph, {"x": x})["y"]
    alone = [run(graph, {"x": x[b : b + 1]})["y"] for b in range(4)]
    assert whole.tobytes() == np.concatenate(alone).tobytes()
