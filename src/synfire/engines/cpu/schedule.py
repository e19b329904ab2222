"""The parts of a program in running order: single operators, cycles, and loops that have a kernel of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synfire.engines.cpu.neurons import LoopStep
from synfire.engines.cpu.step import FIRST, ElementwiseStep, Step, dense, relayout
from synfire.engines.cpu.synapses import LinearStep
from synfire.engines.reference import delay_key
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Kind, Signal, State
from synfire.ops.add import Add


@dataclass(frozen=True)
class Arrival:
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
class Node:
    """One operator in running order: its step, its arrivals by port, and its state's names in step and program."""

    name: str
    step: Step
    arrivals: tuple[Arrival, ...]
    keys: tuple[tuple[str, str], ...]

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        arriving = [each.block(state, values, steps) for each in self.arrivals]
        after, values[self.name] = self.step.run({own: state[key] for own, key in self.keys}, arriving, steps)
        for own, key in self.keys:
            state[key] = after[own]


@dataclass(frozen=True)
class Cycle:
    """Operators that feed each other: run together, one time step at a time."""

    nodes: tuple[Node, ...]
    delayed: tuple[Arrival, ...]

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


@dataclass(frozen=True)
class Loop:
    """The commonest cycle in one kernel: Add → neurons → Linear, whose output returns to the Add one step later."""

    add: Node
    neurons: Node
    linear: Node

    @classmethod
    def of(cls, graph: Graph, cycle: Cycle) -> Loop | None:
        """The cycle as a loop, if it is one and nothing outside reads what the kernel keeps to itself."""
        by_step = {type(node.step): node for node in cycle.nodes}
        neurons = [node for node in cycle.nodes if isinstance(node.step, LoopStep)]
        add, linear = by_step.get(ElementwiseStep), by_step.get(LinearStep)
        if len(cycle.nodes) != 3 or add is None or linear is None or len(neurons) != 1:
            return None
        loop = cls(add, neurons[0], linear)
        within = [
            Synapse(linear.name, add.name, 1, 1),
            Synapse(add.name, loop.neurons.name),
            Synapse(loop.neurons.name, linear.name),
        ]
        private = (*graph.leaving(linear.name), *graph.leaving(add.name))
        read = {linear.name, add.name} & set(graph.outputs.values())
        entering = add.arrivals[0].synapse
        alike = len(add.arrivals) == 2 and entering.source not in {node.name for node in cycle.nodes}
        fits = isinstance(graph.operator(add.name), Add) and alike and not entering.delay_steps and not read
        flat = len(linear.step.output.shape) == 1 and linear.step.inputs[0].kind is Kind.SPIKE
        same = add.arrivals[0].signal.shape == linear.step.output.shape
        return (
            loop if fits and flat and same and set(private) == set(within[:2]) and within[2] in _into(linear) else None
        )

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        arrival, key = self.add.arrivals[0], self.add.arrivals[1].key
        x = np.ascontiguousarray(dense(arrival.block(state, values, steps)), np.float32)
        own = {name: state[at].copy() for name, at in self.neurons.keys}
        fed_back = state[key][:, 0].copy()
        out = np.empty(x.shape, np.uint8)
        neurons, linear = self.neurons.step, self.linear.step
        assert isinstance(neurons, LoopStep)
        assert isinstance(linear, LinearStep)
        neurons.fire_loop(x, fed_back, linear.weight, linear.bias, own, out)
        state |= {at: own[name] for name, at in self.neurons.keys} | {key: fed_back[:, None]}
        values[self.neurons.name] = out


def _into(node: Node) -> tuple[Synapse, ...]:
    return tuple(arrival.synapse for arrival in node.arrivals)
