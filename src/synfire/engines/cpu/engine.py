"""The spiking engine for processors: compiled kernels over blocks of time steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import synfire.engines.cpu.neurons
import synfire.engines.cpu.shapes
import synfire.engines.cpu.synapses  # noqa: F401  (these three fill the table that `lower` reads)
from synfire.engines.cpu.step import FIRST, Step, lower, relayout
from synfire.engines.engine import Engine, Program
from synfire.engines.reference import delay_key, held_sources
from synfire.graph import Graph, Synapse, strong_components
from synfire.ops import Array, Signal, State


@dataclass(frozen=True)
class _Arrival:
    """One synapse as an operator's step finds it: where the block is, and what has to be done to it."""

    synapse: Synapse
    signal: Signal
    have: str
    want: str

    @property
    def key(self) -> str:
        return delay_key(self.synapse.source, self.synapse.target, self.synapse.port)

    def block(self, state: State, values: Mapping[str, Array], steps: int) -> Array:
        """The values that arrive in a block of `steps`, in the layout wanted."""
        source, delay = self.synapse.source, self.synapse.delay_steps
        if not delay:
            return (
                values[source]
                if self.have == self.want
                else relayout(values[source], self.signal, self.have, self.want)
            )
        block = np.moveaxis(state[self.key], 1, 0)[:steps]
        if steps > delay:
            block = np.concatenate([block, relayout(values[source][: steps - delay], self.signal, self.have, FIRST)])
        return relayout(block, self.signal, FIRST, self.want)

    def remember(self, state: State, values: Mapping[str, Array]) -> None:
        """Put a block's values on their way along a delayed synapse."""
        block = np.moveaxis(relayout(values[self.synapse.source], self.signal, self.have, FIRST), 0, 1)
        state[self.key] = np.concatenate([state[self.key], block], axis=1)[:, -self.synapse.delay_steps :]


@dataclass(frozen=True)
class _Node:
    """One operator in running order: its step, its arrivals by port, and its state's names in step and program."""

    name: str
    step: Step
    arrivals: tuple[_Arrival, ...]
    keys: tuple[tuple[str, str], ...]

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        arriving = [each.block(state, values, steps) for each in self.arrivals]
        after, values[self.name] = self.step.run({own: state[key] for own, key in self.keys}, arriving, steps)
        for own, key in self.keys:
            state[key] = after[own]


@dataclass(frozen=True)
class _Cycle:
    """Operators that feed each other: run together, one time step at a time."""

    nodes: tuple[_Node, ...]
    delayed: tuple[_Arrival, ...]

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        members = {node.name for node in self.nodes}
        outside = {a.synapse.source for node in self.nodes for a in node.arrivals} - members
        emitted: dict[str, list[Array]] = {node.name: [] for node in self.nodes}
        for t in range(steps):
            now = {source: values[source][t : t + 1] for source in outside}
            for node in self.nodes:
                node.run(state, now, 1)
                emitted[node.name].append(now[node.name])
            for arrival in self.delayed:
                arrival.remember(state, now)
        for name, blocks in emitted.items():
            values[name] = np.concatenate(blocks)


class CpuProgram(Program):
    """Runs operator after operator over a whole block of steps; only cycles go step by step.

    The state is the engine's own: membranes are kept in the layout of their kernel.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        signals = graph.signals()
        self._once = [name for name in graph.order() if not signals[name].timed]
        self._held = held_sources(graph)
        self._layouts = dict.fromkeys(graph.inputs, FIRST)
        steps = {name: self._lowered(name) for name in graph.order() if signals[name].timed}
        self._nodes = {name: self._node(name, step) for name, step in steps.items()}
        arrivals = [each for node in self._nodes.values() for each in node.arrivals]
        self._delayed = tuple(each for each in arrivals if each.synapse.delay_steps)
        self._schedule = self._scheduled()
        inside = {each.synapse for part in self._schedule if isinstance(part, _Cycle) for each in part.delayed}
        self._remembered = tuple(each for each in self._delayed if each.synapse not in inside)

    def initial_state(self, batch: int) -> State:
        state: State = {}
        for name, node in self._nodes.items():
            state |= {f"{name}/{key}": array for key, array in node.step.initial_state(batch).items()}
        for each in self._delayed:
            shape = (batch, each.synapse.delay_steps, *each.signal.shape)
            state[each.key] = np.zeros(shape, each.signal.kind.dtype)
        return state

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        state = dict(state)
        fresh = self._run_once(state, inputs)
        if not steps:
            return state, self._collect({}, fresh)
        held = {source: fresh[source] if source in fresh else state[f"held/{source}"] for source in self._held}
        values = {source: np.broadcast_to(array, (steps, *array.shape)) for source, array in held.items()}
        values |= {name: inputs[name] for name, signal in self.inputs.items() if signal.timed}
        for part in self._schedule:
            part.run(state, values, steps)
        for arrival in self._remembered:
            arrival.remember(state, values)
        return state, self._collect(values, fresh)

    def _lowered(self, name: str) -> Step:
        have = [self._layouts.get(s.source, FIRST) for s in self.graph.arriving(name)]
        signal = self.graph.signals()[name]
        step = lower(self.graph.operator(name), self.graph.signals_into(name), signal, have)
        self._layouts[name] = step.layout
        return step

    def _node(self, name: str, step: Step) -> _Node:
        pairs = zip(self.graph.arriving(name), self.graph.signals_into(name), step.layouts, strict=True)
        layout = {**dict.fromkeys(self.graph.operators, FIRST), **self._layouts}
        arrivals = tuple(_Arrival(s, signal, layout[s.source], want) for s, signal, want in pairs)
        return _Node(name, step, arrivals, tuple((key, f"{name}/{key}") for key in step.initial_state(1)))

    def _scheduled(self) -> tuple[_Node | _Cycle, ...]:
        """Nodes in running order, with those of a cycle gathered at the place of the first that can run."""
        position = {name: i for i, name in enumerate(self.graph.order())}
        sources = {name: [s.source for s in self.graph.arriving(name)] for name in self._nodes}
        schedule: list[_Node | _Cycle] = []
        for members in strong_components(sources):
            nodes = tuple(self._nodes[name] for name in sorted(members, key=position.__getitem__))
            arrivals = (each for node in nodes for each in node.arrivals)
            inner = tuple(each for each in arrivals if each.synapse.delay_steps and each.synapse.source in members)
            schedule.append(_Cycle(nodes, inner) if inner else nodes[0])
        return tuple(schedule)

    def _run_once(self, state: State, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What stands on the request clock, if this is a request's first block; the state holds it for later ones."""
        fresh = {name: inputs[name] for name, signal in self.inputs.items() if not signal.timed and name in inputs}
        for name in self._once:
            sources = [s.source for s in self.graph.arriving(name)]
            if all(source in fresh for source in sources):
                fresh[name] = self.graph.operator(name).step({}, *(fresh[source] for source in sources))[1]
        state |= {f"held/{source}": fresh[source] for source in self._held if source in fresh}
        return fresh

    def _collect(self, values: Mapping[str, Array], fresh: Mapping[str, Array]) -> dict[str, Array]:
        outputs: dict[str, Array] = {}
        for name, source in self.graph.outputs.items():
            signal = self.graph.signals()[source]
            if not signal.timed:
                outputs |= {name: fresh[source]} if source in fresh else {}
            elif source in values:
                outputs[name] = np.ascontiguousarray(relayout(values[source], signal, self._layouts[source], FIRST))
        return outputs


class CpuEngine(Engine):
    """Exact float32: the same bits as the reference engine, at the speed of compiled kernels."""

    name = "cpu"

    def build(self, graph: Graph) -> Program:
        return CpuProgram(graph)
