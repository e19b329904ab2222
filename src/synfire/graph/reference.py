"""The meaning of a graph: every operator's reference step, one time step after the other, in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.graph.flatten import flatten
from synfire.graph.graph import Graph
from synfire.ops import Array, Clock, Signal, State


@dataclass(frozen=True)
class Trace:
    """What each operator emitted: `(steps, batch, *shape)`, or `(batch, *shape)` on the request clock; and the last states."""

    emitted: Mapping[str, Array]
    states: Mapping[str, State]


def run(graph: Graph, inputs: Mapping[str, Array], steps: int | None = None) -> dict[str, Array]:
    """The graph's outputs for one batch of fresh requests; a readout gives its last value, anything else all steps.

    `inputs` are `(batch, *shape)` per request, or `(steps, batch, *shape)` per step. `steps` is only needed when neither
    encoder nor input says how many.
    """
    flat = flatten(graph)
    emitted = {**inputs, **trace(flat, inputs, steps).emitted}
    clocks = {name: signal.clock for name, signal in flat.output_signals().items()}
    return {
        name: emitted[source][-1] if clocks[name] is Clock.RUNNING else emitted[source]
        for name, source in flat.outputs.items()
    }


def trace(graph: Graph, inputs: Mapping[str, Array], steps: int | None = None) -> Trace:
    """Everything that a flat graph's operators emit; see `run`."""
    signals = graph.signals()
    total = steps or graph.steps or _steps_of(graph, inputs)
    batch = _batch_of(graph, inputs)
    states = {name: graph.operator(name).initial_state(batch, *graph.signals_into(name)) for name in graph.operators}
    history: dict[str, list[Array]] = {name: [] for name in graph.operators}
    held: dict[str, Array] = {}

    def value(source: str, t: int, delay: int) -> Array:
        signal: Signal = signals[source]
        if not signal.timed:
            return inputs[source] if source in graph.inputs else held[source]
        if t - delay < 0:
            return np.zeros((batch, *signal.shape), signal.kind.dtype)
        return inputs[source][t - delay] if source in graph.inputs else history[source][t - delay]

    for t in range(total):
        for name in graph.order():
            if not signals[name].timed and name in held:
                continue
            arriving = [value(s.source, t, s.delay_steps) for s in graph.arriving(name)]
            states[name], output = graph.operator(name).step(states[name], *arriving)
            if signals[name].timed:
                history[name].append(output)
            else:
                held[name] = output
    return Trace({**held, **{name: np.stack(each) for name, each in history.items() if each}}, states)


def _batch_of(graph: Graph, inputs: Mapping[str, Array]) -> int:
    for name, signal in graph.inputs.items():
        return int(inputs[name].shape[1 if signal.timed else 0])
    raise UserError("the graph has no input, so the batch is unknown; give it one")


def _steps_of(graph: Graph, inputs: Mapping[str, Array]) -> int:
    for name, signal in graph.inputs.items():
        if signal.timed:
            return int(inputs[name].shape[0])
    raise UserError("neither an encoder nor an input says how many time steps to run; pass steps=")
