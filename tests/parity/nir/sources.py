"""NIR graphs for the source frameworks, and what their layers did with them."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np

from synfire.formats.discretisation import Discretisation
from synfire.formats.nir import read_nir
from synfire.graph import Graph
from synfire.graph.reference import trace
from synfire.ops import Array, State
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.testing.parity import Flips, compare_spikes, require_parity

Recording = dict[str, tuple[list[Array], list[Any]]]


class Weights:
    """Random numbers: multiples of 1/16, whose sums are exact in any order, or any floats."""

    def __init__(self, seed: int, exact: bool) -> None:
        self.rng, self.exact = np.random.default_rng(seed), exact

    def __call__(self, *shape: int, scale: float = 1.0) -> Array:
        drawn = self.rng.standard_normal(shape) * scale
        return (np.rint(drawn * 16) / 16 if self.exact else drawn).astype(np.float32)

    def between(self, low: float, high: float, *shape: int) -> Array:
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def spikes(self, steps: int, batch: int, *shape: int, rate: float = 0.3) -> Array:
        return (self.rng.random((steps, batch, *shape)) < rate).astype(np.float32)


def full(shape: int | tuple[int, ...], value: float) -> Array:
    return np.full(shape, value, np.float32)


def chain(shape: tuple[int, ...], outputs: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    """Nodes one after the other between `input` and `output`."""
    every = {"input": nir.Input(np.array(shape)), **nodes, "output": nir.Output(np.array(outputs))}
    names = list(every)
    return nir.NIRGraph(every, list(pairwise(names)), type_check=False)


def imported(graph: nir.NIRGraph, folder: Path, choice: Discretisation | str, dt_s: float, allow: Any = ()) -> Graph:
    """The graph as synfire reads it from a file."""
    path = folder / "graph.nir"
    nir.write(path, graph)
    return read_nir(path, discretisation=choice, dt_s=dt_s, allow=allow)


def listen(modules: Mapping[str, Any]) -> Recording:
    """Each torch module's first input and its output, call by call."""
    heard: Recording = {name: ([], []) for name in modules}

    def hook(name: str) -> Callable[..., None]:
        def note(module: Any, inputs: Any, output: Any) -> None:
            heard[name][0].append(inputs[0].detach().numpy().copy())
            heard[name][1].append(output)

        return note

    for name, module in modules.items():
        module.register_forward_hook(hook(name))
    return heard


def replay(graph: Graph, name: str, x: Array) -> tuple[Array, Array, list[State], Array]:
    """Operator `name`, fed the source's own input `(steps, batch, *shape)`: spikes, charged membranes, states."""
    operator: Any = graph.operator(name)
    state = operator.initial_state(x.shape[1], *graph.signals_into(name))
    spikes, charged, states = [], [], []
    for current in x:
        charged.append(_charged(operator, state, current))
        state, output = operator.step(state, current)
        spikes.append(output)
        states.append(state)
    return np.stack(spikes), np.stack(charged), states, np.asarray(operator.threshold, np.float32)


def _charged(operator: Any, state: State, current: Array) -> Array:
    """H of this step; a hard reset leaves no trace of it in the state."""
    if isinstance(operator, IF):
        return state["v"] + current
    if isinstance(operator, LIF):
        return operator._charge(current, state["v"])
    before = operator.before_charge(state["v"])
    return operator.advance(state["i"], before, current)[1] if "i" in state else operator.charge(before, current)


def same_run(graph: Graph, x: Array, layers: Mapping[str, tuple[Array, Array]], exact: bool) -> int:
    """The whole graph against the source's recorded (input, spikes) of each neuron layer; returns the number of flips."""
    ours = trace(graph, {"input": x}).emitted
    compared: list[Flips] = []
    for name, (currents, spikes) in layers.items():
        _, charged, _, threshold = replay(graph, name, currents)
        compared.append(compare_spikes(spikes, ours[name], charged, threshold, name))
    flips = require_parity(compared)
    assert all(each.spikes > 20 for each in compared), "the layers must fire for the comparison to mean something"
    if exact:
        assert flips == 0
    return flips


def same_neuron(graph: Graph, name: str, x: Array, spikes: Array, membranes: Array) -> None:
    """Fed the source's own input, the neuron gives the source's spikes, and its membranes to the bit."""
    ours, _, states, _ = replay(graph, name, x)
    np.testing.assert_array_equal(ours, spikes)
    np.testing.assert_array_equal(np.stack([state["v"] for state in states]), membranes)
