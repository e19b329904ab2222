"""The spiking engine for processors: compiled kernels over blocks of time steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import synfire.engines.cpu.shapes  # noqa: F401  (it fills the table that `lower` reads)
from synfire.engines.cpu.schedule import Arrival, Cycle, Loop, Node
from synfire.engines.cpu.step import FIRST, Step, lower, relayout
from synfire.engines.engine import Engine, Program
from synfire.engines.reference import held_sources
from synfire.graph import Graph, strong_components
from synfire.ops import Array, Kind, State


class CpuProgram(Program):
    """Runs operator after operator over a whole block of steps; only cycles go step by step.

    The state is the engine's own: membranes are kept in the layout of their kernel.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        signals = graph.signals()
        self._once = [name for name in graph.order() if not signals[name].timed]
        self._held = held_sources(graph)
        self._fresh: dict[int, State] = {}
        self._layouts = dict.fromkeys(graph.inputs, FIRST)
        steps = {name: self._lowered(name) for name in graph.order() if signals[name].timed}
        self._nodes = {name: self._node(name, step) for name, step in steps.items()}
        arrivals = [each for node in self._nodes.values() for each in node.arrivals]
        self._delayed = tuple(each for each in arrivals if each.synapse.delay_steps)
        sources = {name: [s.source for s in graph.arriving(name)] for name in self._nodes}
        self._components = strong_components(sources)
        self._schedule = self._scheduled()
        home = {name: members for members in self._components for name in members}
        self._remembered = tuple(
            each for each in self._delayed if home.get(each.synapse.source) is not home[each.synapse.target]
        )

    def initial_state(self, batch: int) -> State:
        """Made once for a batch and read-only: what runs from it leaves it as it is."""
        if batch not in self._fresh:
            self._fresh = {batch: self._fresh_state(batch)}  # requests mostly come in one size
        return dict(self._fresh[batch])

    def _fresh_state(self, batch: int) -> State:
        state: State = {}
        for name, node in self._nodes.items():
            state |= {f"{name}/{key}": array for key, array in node.step.initial_state(batch).items()}
        for each in self._delayed:
            shape = (batch, each.synapse.delay_steps, *each.signal.shape)
            state[each.key] = np.zeros(shape, each.signal.kind.dtype)
        for array in state.values():
            array.flags.writeable = False
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

    def warm(self) -> None:
        """Run every part once on silence, so that its kernels are compiled and loaded."""
        signals = self.graph.signals()
        silent = {
            source: signals[source]
            for source in (*self.inputs, *self._held)
            if min(signals[source].shape, default=0) >= 0
        }
        values = {
            source: np.zeros((1, 1, *s.shape), s.kind.dtype) for source, s in silent.items() if s.kind is not Kind.BYTES
        }
        state = self.initial_state(1)
        for part in self._schedule:
            part.run(state, values, 1)

    def _lowered(self, name: str) -> Step:
        have = [self._layouts.get(s.source, FIRST) for s in self.graph.arriving(name)]
        signal = self.graph.signals()[name]
        step = lower(self.graph.operator(name), self.graph.signals_into(name), signal, have)
        self._layouts[name] = step.layout
        return step

    def _node(self, name: str, step: Step) -> Node:
        pairs = zip(self.graph.arriving(name), self.graph.signals_into(name), step.layouts, strict=True)
        layout = {**dict.fromkeys(self.graph.operators, FIRST), **self._layouts}
        arrivals = tuple(Arrival(s, signal, layout[s.source], want) for s, signal, want in pairs)
        return Node(name, step, arrivals, tuple((key, f"{name}/{key}") for key in step.initial_state(1)))

    def _scheduled(self) -> tuple[Node | Cycle | Loop, ...]:
        """Nodes in running order, with those of a cycle gathered at the place of the first that can run."""
        position = {name: i for i, name in enumerate(self.graph.order())}
        schedule: list[Node | Cycle | Loop] = []
        for members in self._components:
            nodes = tuple(self._nodes[name] for name in sorted(members, key=position.__getitem__))
            arrivals = (each for node in nodes for each in node.arrivals)
            inner = tuple(each for each in arrivals if each.synapse.delay_steps and each.synapse.source in members)
            cycle = Cycle(nodes, inner)
            schedule.append(Loop.of(self.graph, cycle) or cycle if inner else nodes[0])
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
