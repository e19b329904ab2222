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
from synfire.ops import Array, State


@dataclass(frozen=True)
class _Cycle:
    """Operators that feed each other: stepped together, one time step at a time."""

    members: tuple[str, ...]
    synapses: tuple[Synapse, ...]


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
        self._steps: dict[str, Step] = {}
        for name in graph.order():
            if signals[name].timed:
                layouts = [self._layouts.get(s.source, FIRST) for s in graph.arriving(name)]
                step = lower(graph.operator(name), graph.signals_into(name), signals[name], layouts)
                self._steps[name], self._layouts[name] = step, step.layout
        self._delayed = tuple(s for s in graph.synapses if s.delay_steps)
        self._schedule = _schedule(graph, tuple(self._steps))
        self._keys = {name: tuple(step.initial_state(1)) for name, step in self._steps.items()}

    def initial_state(self, batch: int) -> State:
        state = {
            f"{name}/{key}": array
            for name, step in self._steps.items()
            for key, array in step.initial_state(batch).items()
        }
        for s in self._delayed:
            signal = self.graph.signals()[s.source]
            state[delay_key(s.source, s.target, s.port)] = np.zeros(
                (batch, s.delay_steps, *signal.shape), signal.kind.dtype
            )
        return state

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        state = dict(state)
        fresh = self._run_once(state, inputs)
        values = {f: np.broadcast_to(array, (steps, *array.shape)) for f, array in self._holding(state, fresh).items()}
        values |= {name: inputs[name] for name, signal in self.inputs.items() if signal.timed and steps}
        for each in self._schedule if steps else ():
            if isinstance(each, _Cycle):
                self._run_cycle(each, state, values, steps)
            else:
                self._run_step(each, state, values, steps)
        if steps:
            self._remember(self._delayed, state, values)
        return state, self._collect(values, fresh)

    def _run_once(self, state: State, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What stands on the request clock, if this is a request's first block; the state holds it for later ones."""
        fresh = {name: inputs[name] for name, signal in self.inputs.items() if not signal.timed and name in inputs}
        for name in self._once:
            sources = [s.source for s in self.graph.arriving(name)]
            if all(source in fresh for source in sources):
                fresh[name] = self.graph.operator(name).step({}, *(fresh[source] for source in sources))[1]
        state |= {f"held/{source}": fresh[source] for source in self._held if source in fresh}
        return fresh

    def _holding(self, state: State, fresh: Mapping[str, Array]) -> dict[str, Array]:
        return {source: fresh[source] if source in fresh else state[f"held/{source}"] for source in self._held}

    def _run_step(self, name: str, state: State, values: dict[str, Array], steps: int) -> None:
        step = self._steps[name]
        pairs = zip(self.graph.arriving(name), step.layouts, strict=True)
        arriving = [self._arriving(s, layout, state, values, steps) for s, layout in pairs]
        own = {key: state[f"{name}/{key}"] for key in self._keys[name]}
        after, values[name] = step.run(own, arriving, steps)
        state |= {f"{name}/{key}": array for key, array in after.items()}

    def _run_cycle(self, cycle: _Cycle, state: State, values: dict[str, Array], steps: int) -> None:
        emitted: dict[str, list[Array]] = {name: [] for name in cycle.members}
        for t in range(steps):
            now = {source: block[t : t + 1] for source, block in values.items()}
            for name in cycle.members:
                self._run_step(name, state, now, 1)
                emitted[name].append(now[name])
            self._remember(cycle.synapses, state, now)
        values |= {name: np.concatenate(blocks) for name, blocks in emitted.items()}

    def _arriving(self, s: Synapse, layout: str, state: State, values: Mapping[str, Array], steps: int) -> Array:
        signal, have = self.graph.signals()[s.source], self._layouts.get(s.source, FIRST)
        if not s.delay_steps:
            return relayout(values[s.source], signal, have, layout)
        block = np.moveaxis(state[delay_key(s.source, s.target, s.port)], 1, 0)[:steps]
        if steps > s.delay_steps:
            rest = relayout(values[s.source][: steps - s.delay_steps], signal, have, FIRST)
            block = np.concatenate([block, rest])
        return relayout(block, signal, FIRST, layout)

    def _remember(self, synapses: tuple[Synapse, ...], state: State, values: Mapping[str, Array]) -> None:
        """Put a block's values on their way along delayed synapses; those of a cycle are done by the cycle itself."""
        inside = {s for each in self._schedule if isinstance(each, _Cycle) for s in each.synapses}
        for s in synapses:
            if synapses is self._delayed and s in inside:
                continue
            key = delay_key(s.source, s.target, s.port)
            block = relayout(
                values[s.source], self.graph.signals()[s.source], self._layouts.get(s.source, FIRST), FIRST
            )
            state[key] = np.concatenate([state[key], np.moveaxis(block, 0, 1)], axis=1)[:, -s.delay_steps :]

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


def _schedule(graph: Graph, timed: tuple[str, ...]) -> tuple[str | _Cycle, ...]:
    """Operators in running order, with those of a cycle gathered at the place of its first member that can run."""
    components = strong_components({name: [s.source for s in graph.arriving(name)] for name in timed})
    position = {name: i for i, name in enumerate(graph.order())}
    schedule: list[str | _Cycle] = []
    for members in components:
        ordered = tuple(sorted(members, key=position.__getitem__))
        inner = tuple(s for s in graph.synapses if s.delay_steps and s.source in members and s.target in members)
        schedule.append(_Cycle(ordered, inner) if inner else ordered[0])
    return tuple(schedule)
