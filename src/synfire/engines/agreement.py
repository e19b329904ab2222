"""How far two engines agree about a stage: what it costs to replace a device by an unlike one."""

from __future__ import annotations

import numpy as np

from synfire.engines.engine import Engine
from synfire.engines.known_answer import steps_of, stimulus
from synfire.graph import Graph
from synfire.ops import Array, Kind


def spike_agreement(graph: Graph, one: Engine, other: Engine) -> float | None:
    """Of the spikes that either engine's neurons fire under the known-answer stimulus, the share that both fire.

    1.0 says that each neuron fires in the same steps. Spikes of all neuron layers count, also of those inside the stage.
    None where no stimulus can be made, or where no neuron fires.
    """
    layers = [name for name in graph.order() if _fires(graph, name)]
    if not layers:
        return None
    seen = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in layers})
    if (ours := _spikes(seen, one)) is None or (theirs := _spikes(seen, other)) is None:
        return None
    either = sum(int(np.count_nonzero(ours[name] | theirs[name])) for name in layers)
    both = sum(int(np.count_nonzero(ours[name] & theirs[name])) for name in layers)
    return both / either if either else None


def _spikes(graph: Graph, engine: Engine) -> dict[str, Array] | None:
    program = engine.build(graph)
    steps = steps_of(graph)
    inputs = stimulus(program.inputs, steps)
    return None if inputs is None else program.run(program.initial_state(1), inputs, steps)[1]


def _fires(graph: Graph, name: str) -> bool:
    """Whether it is a neuron layer: it has a state, and emits spikes."""
    state = graph.operator(name).initial_state(1, *graph.signals_into(name))
    return bool(state) and graph.signals()[name].kind is Kind.SPIKE
