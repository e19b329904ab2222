"""The reference engine: every operator's own step, unhurried. What other engines are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.engines.engine import ENGINES, Engine, Program
from synfire.graph import Graph
from synfire.ops import Array, State


def delay_key(source: str, target: str, port: int) -> str:
    """The state's name for the values that are on their way along a delayed synapse, oldest first."""
    return f"delayed/{source}>{target}:{port}"


def held_sources(graph: Graph) -> tuple[str, ...]:
    """Inputs and operators on the request clock whose value timed operators read: the state holds it between blocks."""
    signals = graph.signals()
    found = {s.source: None for s in graph.synapses if not signals[s.source].timed and signals[s.target].timed}
    return tuple(found)


def part_of(state: Mapping[str, Array], graph: Graph) -> State:
    """What of a portable state the operators of `graph` remember, which may be some of those that it is of."""
    delayed = {delay_key(s.source, s.target, s.port) for s in graph.synapses}
    held = {f"held/{source}" for source in held_sources(graph)}
    known = {*graph.operators, *delayed, *held}
    return {name: array for name, array in state.items() if name in known or name.rpartition("/")[0] in known}


class ReferenceProgram(Program):
    """Steps through the graph operator by operator."""

    def initial_state(self, batch: int) -> State:
        state: State = {}
        for name in self.graph.order():
            fresh = self.graph.operator(name).initial_state(batch, *self.graph.signals_into(name))
            state |= {f"{name}/{key}": array for key, array in fresh.items()}
        for s in self.graph.synapses:
            signal = self.graph.signals()[s.source]
            if s.delay_steps:
                key = delay_key(s.source, s.target, s.port)
                state[key] = np.zeros((batch, s.delay_steps, *signal.shape), signal.kind.dtype)
        return state

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        state = dict(state)
        now: dict[str, Array] = {}
        self._once(state, inputs, now)
        history: dict[str, list[Array]] = {source: [] for source in self.graph.outputs.values()}
        for t in range(steps):
            self._step(state, inputs, now, t)
            for source, values in history.items():
                if self.graph.signals()[source].timed:
                    values.append(now[source])
        outputs = {}
        for name, source in self.graph.outputs.items():
            if self.graph.signals()[source].timed:
                if steps:
                    outputs[name] = np.stack(history[source])
            elif source in now:
                outputs[name] = now[source]
        return state, outputs

    def _once(self, state: State, inputs: Mapping[str, Array], now: dict[str, Array]) -> None:
        """Run what stands on the request clock, and keep in the state what later blocks read of it."""
        signals = self.graph.signals()
        now |= {name: inputs[name] for name, signal in self.inputs.items() if not signal.timed and name in inputs}
        for name in self.graph.order():
            sources = [s.source for s in self.graph.arriving(name)]
            if not signals[name].timed and all(source in now for source in sources):
                now[name] = self.graph.operator(name).step({}, *(now[source] for source in sources))[1]
        for source in held_sources(self.graph):
            if source in now:
                state[f"held/{source}"] = now[source]
            else:
                now[source] = state[f"held/{source}"]

    def _step(self, state: State, inputs: Mapping[str, Array], now: dict[str, Array], t: int) -> None:
        signals = self.graph.signals()
        now |= {name: inputs[name][t] for name, signal in self.inputs.items() if signal.timed}
        for name in self.graph.order():
            if not signals[name].timed:
                continue
            arriving = [
                state[delay_key(s.source, name, s.port)][:, 0] if s.delay_steps else now[s.source]
                for s in self.graph.arriving(name)
            ]
            own = {key.removeprefix(f"{name}/"): array for key, array in state.items() if key.startswith(f"{name}/")}
            after, now[name] = self.graph.operator(name).step(own, *arriving)
            state |= {f"{name}/{key}": array for key, array in after.items()}
        for s in self.graph.synapses:
            if s.delay_steps:
                key = delay_key(s.source, s.target, s.port)
                state[key] = np.concatenate([state[key][:, 1:], now[s.source][:, None]], axis=1)


class ReferenceEngine(Engine):
    """Plain numpy; slow, and right by definition."""

    name = "reference"

    def build(self, graph: Graph) -> Program:
        return ReferenceProgram(graph)


ENGINES.add(ReferenceEngine.name, ReferenceEngine)
