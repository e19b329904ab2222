"""Neuron layers in the engine, one by one and all together, and how far rounding may move what they compute.

Where a source framework and synfire compute one membrane H in float32 in two orders, each is off the exact value by at most

    bound = λ · √n · u · M,    u = 2⁻²⁴,  λ = 6

n being the number of roundings that a term passes through and M the sum of the terms' magnitudes (Higham and Mary 2019,
doi:10.1137/18M1226312, theorem 2.4: with probability 1 − 2n·exp(−λ²/2) for rounding errors of mean zero; the worst case
has n in place of λ√n). So the two fire differently only where the threshold lies between their membranes, which is where
the source's own is within 2 · bound of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from synfire.base.errors import UserError
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.graph.passes import remove_dead
from synfire.ops import Array, Encoder, Operator
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.alif import ALIF
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.testing.parity import membrane_before_firing, neuron_layers

UNIT = 2.0**-24
LAMBDA = 6.0

ROUNDINGS_OF_NEURON = 6
"""Roundings of one time step of a neuron, the most that any has."""

GIVEN = "given:"
"""Before the name of an encoder or neuron layer: the input of a `forced` graph that stands for its output."""


def observed(graph: Graph) -> Graph:
    """The flat graph with what its encoders and neuron layers emit as outputs too, under their names."""
    return replace(graph, outputs={**graph.outputs, **{name: name for name in _cut(graph)}})


def forced(graph: Graph) -> Graph:
    """The flat graph cut at each encoder and neuron layer: who reads one reads the input `given:NAME` instead.

    Its outputs are those of `graph` and each neuron layer's spikes. Fed what a source's own layers emitted, no difference in
    one layer reaches another (teacher forcing), whatever passes have done to the synapses between.
    """
    signals, cut = graph.signals(), set(_cut(graph))
    kept = {
        name: each for name, each in graph.operators.items() if signals[name].timed and name not in _encoders(graph)
    }
    synapses = [
        replace(s, source=GIVEN + s.source) if s.source in cut else s for s in graph.synapses if s.target in kept
    ]
    read = {s.source for s in synapses}
    inputs = {name: signal for name, signal in graph.inputs.items() if signal.timed}
    inputs |= {GIVEN + name: signals[name] for name in _cut(graph) if GIVEN + name in read}
    outputs = {**graph.outputs, **{name: name for name in neuron_layers(graph)}}
    return Graph(kept, tuple(synapses), inputs, outputs, graph.metadata)


def run_forced(graph: Graph, emitted: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of `forced(graph)` in the cpu engine, fed `emitted`: by layer, `(steps, batch, *shape)`."""
    return _run(forced(graph), emitted)


def currents(graph: Graph, emitted: Mapping[str, Array]) -> dict[str, Array]:
    """What each neuron layer of `forced(graph)` receives, `(steps, batch, *shape)`, fed `emitted` in the cpu engine."""
    return _run(_up_to_neurons(graph), emitted)


def rounding_bounds(graph: Graph, emitted: Mapping[str, Array], received: Mapping[str, Array]) -> dict[str, Array]:
    """For each neuron layer the bound on |H_source − H_ours|, `(steps, batch, *shape)`: 2 · λ · √n · u · M.

    `graph` holds the operators as the source computes them (nothing folded); `emitted` is what its encoder and layers emitted,
    `received` what its neurons received. M is the graph's own arithmetic on magnitudes: |weight|, |bias|, |input|.
    """
    sums = _run(_magnitudes(graph), {name: np.abs(array) for name, array in emitted.items()})
    roundings = _roundings(graph)
    bounds = {}
    for name, magnitude in sums.items():
        membrane = _membrane_magnitude(graph.operator(name), magnitude, received[name], emitted[name])
        steps = np.arange(1, len(membrane) + 1).reshape(-1, *(1,) * (membrane.ndim - 1))
        count = roundings[name] + ROUNDINGS_OF_NEURON * steps
        bounds[name] = 2 * LAMBDA * np.sqrt(count) * UNIT * membrane
    return bounds


def _encoders(graph: Graph) -> list[str]:
    return [name for name in graph.order() if isinstance(graph.operators[name], Encoder)]


def _cut(graph: Graph) -> list[str]:
    return [*_encoders(graph), *neuron_layers(graph)]


def _run(graph: Graph, emitted: Mapping[str, Array]) -> dict[str, Array]:
    given = {
        name: np.ascontiguousarray(emitted[name.removeprefix(GIVEN)], signal.kind.dtype)
        for name, signal in graph.inputs.items()
    }
    steps, batch = next(iter(given.values())).shape[:2]
    program = CpuEngine().build(graph)
    return program.run(program.initial_state(batch), given, steps)[1]


def _up_to_neurons(graph: Graph) -> Graph:
    cut = forced(graph)
    received = {name: cut.arriving(name)[0].source for name in neuron_layers(graph)}
    return remove_dead(replace(cut, outputs=received))


def _magnitudes(graph: Graph) -> Graph:
    """`forced(graph)` on magnitudes, up to what each neuron layer receives."""
    cut = _up_to_neurons(graph)
    return replace(cut, operators={name: _absolute(name, cut.operator(name)) for name in cut.operators})


def _absolute(name: str, each: Operator) -> Operator:
    """The operator that sums magnitudes. Raises `UserError` where a negative parameter leaves that open."""
    if isinstance(each, (Linear, Conv1d, Conv2d)):
        return replace(each, weight=np.abs(each.weight), bias=np.abs(each.bias))
    if isinstance(each, BatchNorm):
        return replace(each, mean=-np.abs(each.mean), gain=np.abs(each.gain), shift=np.abs(each.shift))
    if any(np.any(array < 0) for array in each.parameters().values()):
        raise UserError(f"operator {name!r} has negative parameters and no magnitude; add its kind {each.kind} here")
    return each


def _roundings(graph: Graph) -> dict[str, int]:
    """How many roundings a term passes through at most, from the source's spikes to what each operator emits."""
    cut = forced(graph)
    depth = dict.fromkeys(cut.inputs, 0)
    for name in cut.order():
        arriving = [s.source for s in cut.arriving(name)]
        before = max((depth[source] for source in arriving), default=0)
        if name in neuron_layers(graph):
            depth[name] = before
        else:
            depth[name] = before + _own_roundings(cut.operator(name), cut.signals()[arriving[0]].size)
    return depth


def _own_roundings(each: Operator, inputs: int) -> int:
    if isinstance(each, (Linear, Conv1d, Conv2d)):
        return each.weight[0].size + 1
    if isinstance(each, (AvgPool1d, AvgPool2d)):
        return int(np.prod(each.kernel)) + 1
    if isinstance(each, (AdaptiveAvgPool2d, GlobalAvgPool, MeanRate)):
        return inputs + 1
    return 6  # the affine map of a BatchNorm has that many, what else stands between fewer


def _membrane_magnitude(neuron: Operator, magnitude: Array, received: Array, spikes: Array) -> Array:
    """M of the membrane: as if nothing were ever reset, and what resets subtract were added."""
    _, threshold = membrane_before_firing(neuron, received, spikes)
    if isinstance(neuron, ALIF):
        return _adaptive_magnitude(neuron, magnitude, threshold, spikes)
    membrane, _ = membrane_before_firing(neuron, magnitude, np.zeros_like(spikes))
    resets = np.abs(neuron.parameters()["v_reset"]) + (
        np.abs(threshold) if neuron.attributes()["reset"] == "soft" else 0
    )
    seen = np.arange(1, len(membrane) + 1).reshape(-1, *(1,) * (membrane.ndim - 1))
    return np.asarray(membrane + resets * seen)


def _adaptive_magnitude(neuron: ALIF, magnitude: Array, threshold: Array, spikes: Array) -> Array:
    """Of u and B together, since ALIF compares the two."""
    alpha = np.asarray(neuron.alpha, np.float64)
    u, s = np.zeros(magnitude.shape[1:]), np.zeros(magnitude.shape[1:])
    total = np.empty(magnitude.shape)
    for t in range(len(magnitude)):
        u = alpha * u + (1 - alpha) * magnitude[t] + np.abs(threshold[t]) * s
        total[t], s = u + np.abs(threshold[t]), spikes[t]
    return total
