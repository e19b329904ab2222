"""Programs for processors: compiled kernels over blocks of time steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from synfire.engines.cpu import recordings as recordings  # its steps enter the table
from synfire.engines.cpu.compiling import parts_of
from synfire.engines.cpu.schedule import Cycle, chains_of
from synfire.engines.cpu.step import lower
from synfire.engines.cpu.tape import WIDE
from synfire.engines.cpu.team import ENOUGH, Team
from synfire.engines.cpu.writing import Uncounted
from synfire.engines.engine import Program
from synfire.engines.reference import held_sources
from synfire.graph import Graph
from synfire.ops import Array, Kind, State
from synfire.ops.sharing import shared


class CpuProgram(Program):
    """Runs whole blocks of steps, chain after chain of operators; only cycles go step by step.

    The state is the engine's own: membranes are kept in the layout of their kernel. A block with counts that are too large to be
    summed as float32 goes by a program in which operators that add up counts run by their own steps.
    """

    def __init__(self, graph: Graph, narrow: int = WIDE, threads: int = 1, counted: bool = True) -> None:
        super().__init__(graph)
        self._narrow = narrow
        signals = graph.signals()
        self._once = {
            name: lower(graph.operator(name), graph.signals_into(name), signals[name])
            for name in graph.order()
            if not signals[name].timed
        }
        self._held = held_sources(graph)
        self._fresh: tuple[int, State] = 0, {}
        self.parts = parts_of(graph, narrow, counted)
        for chain in chains_of(self.parts if threads > 1 else ()):
            chain.team = Team(threads)
        self._timed = tuple(name for name, signal in self.inputs.items() if signal.timed)
        self._given_once = tuple(name for name, signal in self.inputs.items() if not signal.timed)
        self._outputs = tuple((name, source, signals[source].timed) for name, source in graph.outputs.items())
        arrivals = [each for part in self.parts for each in part.arrivals]
        self._delayed = tuple(each for each in arrivals if each.synapse.delay_steps)
        within = {each for part in self.parts if isinstance(part, Cycle) for each in part.inside}
        self._remembered = tuple(each for each in self._delayed if each not in within)

    def grant(self, threads: int) -> None:
        """Threads share each operator where that pays for a single sample; else each call is one thread's, from start to end."""
        chains = tuple(chains_of(self.parts))
        if threads > 1 and any(each.operations * (self.graph.steps or 1) >= ENOUGH for each in chains):
            for chain in chains:
                chain.team = Team(threads)
        else:
            self.calls = threads

    @property
    def summed(self) -> tuple[int, int]:
        counted = [each.frames for each in chains_of(self.parts)]
        return sum(int(each[0]) for each in counted), sum(int(each[1]) for each in counted)

    def initial_state(self, batch: int) -> State:
        """Made once for the largest batch so far, of which others are the beginning; read-only, and what runs from it leaves it."""
        if batch > self._fresh[0]:
            room = 1 << (batch - 1).bit_length()
            self._fresh = room, self._fresh_state(room)
        room, fresh = self._fresh
        return dict(fresh) if batch == room else {name: array[:batch] for name, array in fresh.items()}

    def _fresh_state(self, batch: int) -> State:
        state: State = {}
        for each in self._delayed:
            shape = (batch, each.synapse.delay_steps, *each.signal.shape)
            state[each.key] = np.zeros(shape, each.signal.kind.dtype)
        for part in self.parts:
            state |= part.initial_state(batch)
        return {name: shared(array) for name, array in state.items()}

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        try:
            return self._run(state, inputs, steps)
        except Uncounted:
            other = self._uncounted
            after, outputs = other.run(other.own(self.portable(state)), inputs, steps)
            return self.own(other.portable(after)), outputs

    @cached_property
    def _uncounted(self) -> CpuProgram:
        """A program that takes counts of any size, with states of its own."""
        return CpuProgram(self.graph, self._narrow, counted=False)

    def _run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        state = dict(state)
        fresh = self._run_once(state, inputs)
        if not steps:
            return state, self._collect({}, fresh)
        held = {source: fresh[source] if source in fresh else state[f"held/{source}"] for source in self._held}
        values = {source: _at_each_step(array, steps) for source, array in held.items()}
        values |= {name: inputs[name] for name in self._timed}
        for part in self.parts:
            part.run(state, values, steps)
        for arrival in self._remembered:
            arrival.remember(state, values)
        return state, self._collect(values, fresh)

    def portable(self, state: State) -> State:
        chains = {each.key: each for each in chains_of(self.parts)}
        found: State = {}
        for name, array in state.items():
            found |= chains[name].portable(array) if name in chains else {name: array}
        return found

    def own(self, portable: State) -> State:
        chained = {each.key: each.own(portable) for each in chains_of(self.parts) if each.remembers}
        apart = self.initial_state(1).keys() - chained.keys()
        return chained | {name: array for name, array in portable.items() if name in apart or name.startswith("held/")}

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
        for part in self.parts:
            part.run(state, values, 1)
        for step in self._once.values():
            step.warm()

    def _run_once(self, state: State, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What stands on the request clock, if this is a request's first block; the state holds it for later ones."""
        fresh = {name: inputs[name] for name in self._given_once if name in inputs}
        for name, step in self._once.items():
            sources = [s.source for s in self.graph.arriving(name)]
            if all(source in fresh for source in sources):
                fresh[name] = step.run({}, [fresh[source][None] for source in sources], 1)[1][0]
        state |= {f"held/{source}": fresh[source] for source in self._held if source in fresh}
        return fresh

    def _collect(self, values: Mapping[str, Array], fresh: Mapping[str, Array]) -> dict[str, Array]:
        outputs: dict[str, Array] = {}
        for name, source, timed in self._outputs:
            if not timed:
                outputs |= {name: fresh[source]} if source in fresh else {}
            elif source in values:
                outputs[name] = np.ascontiguousarray(values[source])
        return outputs


def _at_each_step(array: Array, steps: int) -> Array:
    """The array again and again, without a copy: what `np.broadcast_to` gives, in a fifth of its 3 µs."""
    if not array.flags.c_contiguous:
        return np.broadcast_to(array, (steps, *array.shape))
    return np.ndarray((steps, *array.shape), array.dtype, array, 0, (0, *array.strides))
