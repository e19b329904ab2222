"""Layers one by one: fed a model's own spikes they give them back, and folding moves membranes within rounding only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synfire import zoo
from synfire.base.errors import UserError
from synfire.graph import Graph
from synfire.graph.passes import simplify
from synfire.ops import Array, Encoder
from synfire.ops.scale import Scale
from synfire.testing.layerwise import GIVEN, currents, forced, observed, rounding_bounds, run_forced
from synfire.testing.parity import membrane_before_firing, neuron_layers
from synfire.testing.zoo import answers

DIGITS = [name for name in zoo.names() if name.endswith("-digits")]


def emitted(graph: Graph, samples: int = 8) -> dict[str, Array]:
    images, _ = zoo.held_out_digits()
    return answers(observed(graph), images[:samples, None])


@pytest.mark.parametrize("name", DIGITS)
def test_layers_fed_a_models_own_spikes_give_them_back(name: str) -> None:
    graph = simplify(zoo.load(name))
    own = emitted(graph)
    alone = run_forced(graph, own)
    assert all(np.array_equal(alone[layer], own[layer]) for layer in neuron_layers(graph))
    assert any(own[layer].any() for layer in neuron_layers(graph))


@pytest.mark.parametrize("name", DIGITS)
def test_a_forced_graph_hands_no_spike_from_layer_to_layer(name: str) -> None:
    graph = forced(simplify(zoo.load(name)))
    layers = neuron_layers(graph)
    assert {s.source for s in graph.synapses}.isdisjoint(layers)
    assert not any(isinstance(each, Encoder) for each in graph.operators.values())
    assert all(source.startswith(GIVEN) for source in graph.inputs)


@pytest.mark.parametrize("name", DIGITS)
def test_folding_moves_no_membrane_by_more_than_the_rounding_bound(name: str) -> None:
    plain = zoo.load(name)
    own = emitted(plain)
    before, after = currents(plain, own), currents(simplify(plain), own)
    for layer, bound in rounding_bounds(plain, own, before).items():
        membranes = [membrane_before_firing(plain.operator(layer), x[layer], own[layer])[0] for x in (before, after)]
        assert (np.abs(membranes[0] - membranes[1]) <= bound).all()
        assert bound.max() < 1e-3


def test_an_operator_whose_magnitude_is_unknown_is_refused() -> None:
    graph = zoo.load("sgnn-digits")
    scaled = replace(graph, operators={**graph.operators, "hidden.1": Scale(-1.0)})
    own = emitted(scaled)
    with pytest.raises(UserError, match="add its kind Scale here"):
        rounding_bounds(scaled, own, {"hidden.2": own["hidden.2"]})
