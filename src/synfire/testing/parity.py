"""Comparison with a source framework, spike by spike.

A framework sums in another order than synfire, so a membrane may come out a rounding error apart. Where that membrane lies
within rounding of the threshold the spike may differ: a **flip**. A flip anywhere else is a mistake of the conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse
from synfire.graph.reference import Trace
from synfire.ops import Array, Clock, Operator
from synfire.ops.alif import ALIF
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF, SOFT
from synfire.ops.parametric_lif import ParametricLIF

EPSILON = 1e-5
"""How near to the threshold a membrane must lie for a flip to be rounding, as a part of the layer's scale: float32 has
6e-8, and sums of some thousand terms lose two digits of it."""

LIMIT = 1e-5
"""How many flips there may be per spike of the source."""


@dataclass(frozen=True)
class Flips:
    """How the spikes of one layer compare. `places` are neurons × steps × samples, `spikes` the source's own."""

    layer: str
    places: int
    spikes: int
    flips: int
    unexplained: int
    """Flips whose membrane does not lie within rounding of the threshold."""
    furthest: float
    """The largest distance of a flip's membrane from the threshold, as a part of the layer's scale."""

    def __str__(self) -> str:
        return (
            f"{self.layer}: {self.flips} flips among {self.spikes} spikes in {self.places} places, {self.unexplained} of them "
            f"not by rounding (furthest {self.furthest:.1e} of the scale)"
        )


def compare_spikes(
    source: Array, ours: Array, membrane: Array, threshold: Array | float, layer: str = "", epsilon: float = EPSILON
) -> Flips:
    """Count where `ours` differs from `source`, and where rounding explains it.

    All are `(steps, batch, *shape)`; `membrane` is the source's own before firing (see `membrane_before_firing`). The
    scale is the largest of |threshold| and the layer's root mean square membrane. Raises `UserError` for unlike shapes.
    """
    if source.shape != ours.shape:
        raise UserError(f"layer {layer!r} has shape {source.shape} in the source and {ours.shape} in synfire")
    differs = (source != 0) != (ours != 0)
    scale = max(float(np.max(np.abs(threshold))), float(np.sqrt(np.mean(np.square(membrane, dtype=np.float64)))))
    distance = np.abs(membrane - np.asarray(threshold, np.float64))[differs] / scale
    furthest = float(distance.max()) if distance.size else 0.0
    unexplained = int((distance > epsilon).sum())
    return Flips(layer, source.size, int((source != 0).sum()), int(differs.sum()), unexplained, furthest)


def membrane_before_firing(neuron: Operator, x: Array, spikes: Array) -> tuple[Array, Array]:
    """H(t) and the threshold of the source in float64, from its own recorded input and spikes, `(steps, batch, *shape)`.

    Following the source's spikes, not synfire's, keeps one flip from spoiling the steps after it. For IF, LIF, ParametricLIF
    and ALIF; raises `UserError` for other neurons.
    """
    if isinstance(neuron, ALIF):
        return _adaptive(neuron, x, spikes)
    soft, rest, rate, decays = _dynamics(neuron)
    threshold = np.asarray(neuron.parameters()["threshold"], np.float64)
    v = np.broadcast_to(rest, x.shape[1:]).astype(np.float64)
    membrane = np.empty(x.shape)
    for t in range(len(x)):
        current = x[t].astype(np.float64)
        h = v + ((current - (v - rest)) * rate if decays else current - (v - rest) * rate)
        membrane[t] = h
        v = np.where(spikes[t] != 0, h - threshold if soft else rest, h)
    return membrane, threshold


def teacher_forced(operator: Operator, graph: Graph, name: str, *inputs: Array) -> Array:
    """What the operator called `name` emits for the source's own inputs `(steps, batch, *shape)`, from a fresh state.

    Inputs are cast to the kind that the graph's signals state (a source keeps its spikes as floats).
    """
    signals = graph.signals_into(name)
    state = operator.initial_state(inputs[0].shape[1], *signals)
    emitted = []
    for t in range(len(inputs[0])):
        arriving = (each[t].astype(signal.kind.dtype) for each, signal in zip(inputs, signals, strict=True))
        state, output = operator.step(state, *arriving)
        emitted.append(output)
    return np.stack(emitted)


def compare_layers(graph: Graph, trace: Trace, recorded: Mapping[str, tuple[Array, Array]]) -> list[Flips]:
    """Each neuron layer of a whole run against the source's `recorded` (input, output), end to end.

    A flip in a layer changes what the next ones receive, so only `flips` mean something in the layers after a first one.
    """
    return [_compared(graph, name, recorded, trace.emitted[name]) for name in neuron_layers(graph)]


def compare_neurons(graph: Graph, recorded: Mapping[str, tuple[Array, Array]]) -> list[Flips]:
    """Each neuron layer, fed what the source's own received (teacher forcing), so that no flip reaches another layer."""
    return [
        _compared(
            graph, name, recorded, teacher_forced(graph.operator(name), graph, name, received(graph, name, recorded))
        )
        for name in neuron_layers(graph)
    ]


def received(graph: Graph, name: str, recorded: Mapping[str, tuple[Array, Array]]) -> Array:
    """The input of the source's neuron layer `name`, `(steps, batch, *shape)`.

    Where a layer of the source holds its own feedback, the sum `name.…` in the graph stands for what its neurons receive.
    """
    (synapse,) = graph.arriving(name)
    if not synapse.source.startswith(f"{name}."):
        return recorded[name][0]
    parts = [_delivered(graph, each, recorded) for each in graph.arriving(synapse.source)]
    return teacher_forced(graph.operator(synapse.source), graph, synapse.source, *parts)


def neuron_layers(graph: Graph) -> list[str]:
    """The names of the IF, LIF, parametric LIF and ALIF layers that fire at each step."""
    return [
        name
        for name in graph.order()
        if isinstance(graph.operators[name], (IF, LIF, ParametricLIF, ALIF))
        and graph.signals()[name].clock is Clock.STEP
    ]


def require_parity(compared: Iterable[Flips], limit: float = LIMIT) -> int:
    """The number of flips. Raises `AssertionError` listing the layers when one is unexplained or they are too many."""
    layers = list(compared)
    flips, spikes = sum(each.flips for each in layers), sum(each.spikes for each in layers)
    wrong = [str(each) for each in layers if each.unexplained]
    if wrong:
        raise AssertionError("spikes differ by more than rounding: " + "; ".join(wrong))
    if flips > limit * spikes:
        raise AssertionError(
            f"{flips} flips among {spikes} spikes, more than {limit:g} of them: " + "; ".join(map(str, layers))
        )
    return flips


def _compared(graph: Graph, name: str, recorded: Mapping[str, tuple[Array, Array]], ours: Array) -> Flips:
    spikes = recorded[name][1]
    membrane, threshold = membrane_before_firing(graph.operator(name), received(graph, name, recorded), spikes)
    return compare_spikes(spikes, ours, membrane, threshold, name)


def _delivered(graph: Graph, synapse: Synapse, recorded: Mapping[str, tuple[Array, Array]]) -> Array:
    """What arrives by `synapse` in the source; feedback is computed from the spikes that it starts at."""
    if not synapse.delay_steps:
        return recorded[synapse.source][1]
    given = [recorded[each.source][1] for each in graph.arriving(synapse.source)]
    sent = teacher_forced(graph.operator(synapse.source), graph, synapse.source, *given)
    late = np.zeros_like(sent)
    late[synapse.delay_steps :] = sent[: -synapse.delay_steps]
    return late


def _adaptive(neuron: ALIF, x: Array, spikes: Array) -> tuple[Array, Array]:
    alpha, rho, b0, beta = (
        np.asarray(neuron.parameters()[name], np.float64) for name in ("alpha", "rho", "b0", "beta")
    )
    u, b, s = (np.zeros(x.shape[1:]) for _ in range(3))
    membrane, threshold = np.empty(x.shape), np.empty(x.shape)
    for t in range(len(x)):
        b = rho * b + (1 - rho) * s
        threshold[t] = b0 + beta * b
        u = alpha * u + (1 - alpha) * x[t] - threshold[t] * s
        membrane[t], s = u, (spikes[t] != 0).astype(np.float64)
    return membrane, threshold


def _dynamics(neuron: Operator) -> tuple[bool, Array, Array, bool]:
    """(soft reset, resting membrane, rate of decay, whether the input decays too)."""
    if isinstance(neuron, IF):
        rate, decays = np.zeros(()), False
    elif isinstance(neuron, LIF):
        rate, decays = 1.0 / np.asarray(neuron.tau, np.float64), neuron.decay_input
    elif isinstance(neuron, ParametricLIF):
        rate, decays = np.asarray(neuron.inv_tau, np.float64), neuron.decay_input
    else:
        raise UserError(f"{neuron.kind} is no IF, LIF, ParametricLIF or ALIF; record the membrane in the source itself")
    soft = neuron.reset == SOFT
    rest = np.zeros(()) if soft else np.asarray(neuron.v_reset, np.float64)
    return soft, rest, rate, decays
