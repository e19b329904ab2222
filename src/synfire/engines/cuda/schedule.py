"""The timed operators of a program in running order: one by one, and cycles step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from synfire.engines.cuda.hardware import Hardware, Tensors
from synfire.engines.cuda.step import Step, lower
from synfire.engines.reference import delay_key
from synfire.graph import Graph, Synapse, strong_components


@dataclass(frozen=True)
class Arrival:
    """One synapse as what it ends at finds it: where the block is."""

    synapse: Synapse

    @property
    def key(self) -> str:
        return delay_key(self.synapse.source, self.synapse.target, self.synapse.port)

    def block(self, state: Tensors, values: Mapping[str, torch.Tensor], steps: int) -> torch.Tensor:
        """The values that arrive in a block of `steps`; a cycle keeps what was delayed ahead of it under the key."""
        source, delay = self.synapse.source, self.synapse.delay_steps
        if not delay:
            return values[source]
        if self.key in values:
            return values[self.key]
        waiting = state[self.key].transpose(0, 1)[:steps]
        return torch.cat([waiting, values[source][: steps - delay]]) if steps > delay else waiting

    def remember(self, state: Tensors, values: Mapping[str, torch.Tensor]) -> None:
        """Put a block's values on their way along a delayed synapse."""
        block = values[self.synapse.source].transpose(0, 1)
        state[self.key] = torch.cat([state[self.key], block], dim=1)[:, -self.synapse.delay_steps :]


class Part(Protocol):
    """What runs a block of steps: it reads and writes `values` `(steps, batch, ...)` by operator, and replaces states."""

    @property
    def arrivals(self) -> tuple[Arrival, ...]: ...

    @property
    def on_host(self) -> bool: ...

    def run(self, state: Tensors, values: Tensors, steps: int) -> None: ...


@dataclass(frozen=True)
class Node:
    """One operator: its step, its arrivals by port, and its state's names in step and program."""

    name: str
    step: Step
    arrivals: tuple[Arrival, ...]
    keys: tuple[tuple[str, str], ...]

    @property
    def on_host(self) -> bool:
        return self.step.on_host

    def run(self, state: Tensors, values: Tensors, steps: int) -> None:
        arriving = [each.block(state, values, steps) for each in self.arrivals]
        after, values[self.name] = self.step.run({own: state[key] for own, key in self.keys}, arriving, steps)
        for own, key in self.keys:
            state[key] = after[own]


@dataclass(frozen=True)
class Cycle:
    """Operators that feed each other: run together, one time step at a time."""

    nodes: tuple[Node, ...]

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        return tuple(each for node in self.nodes for each in node.arrivals)

    @property
    def inside(self) -> tuple[Arrival, ...]:
        """The delayed synapses by which the operators feed each other."""
        return tuple(each for each in self.arrivals if self._within(each) and each.synapse.delay_steps)

    @property
    def on_host(self) -> bool:
        return any(node.on_host for node in self.nodes)

    def run(self, state: Tensors, values: Tensors, steps: int) -> None:
        ahead = {
            each.key if each.synapse.delay_steps else each.synapse.source: each.block(state, values, steps)
            for each in self.arrivals
            if not self._within(each)
        }
        emitted: dict[str, list[torch.Tensor]] = {node.name: [] for node in self.nodes}
        for t in range(steps):
            now = {source: block[t : t + 1] for source, block in ahead.items()}
            for node in self.nodes:
                node.run(state, now, 1)
            for arrival in self.inside:
                arrival.remember(state, now)
            for name, blocks in emitted.items():
                blocks.append(now[name])
        values |= {name: torch.cat(blocks) for name, blocks in emitted.items()}

    def _within(self, arrival: Arrival) -> bool:
        return any(node.name == arrival.synapse.source for node in self.nodes)


def parts_of(graph: Graph, here: Hardware) -> tuple[Part, ...]:
    """The timed operators of a flat graph, in running order."""
    return tuple(_parts(graph, here))


def remembered(parts: tuple[Part, ...]) -> tuple[Arrival, ...]:
    """The delayed synapses that no cycle remembers for itself."""
    inside = {each for part in parts if isinstance(part, Cycle) for each in part.inside}
    delayed = (each for part in parts for each in part.arrivals if each.synapse.delay_steps)
    return tuple(each for each in delayed if each not in inside)


def _parts(graph: Graph, here: Hardware) -> Iterator[Part]:
    signals = graph.signals()
    order = {name: k for k, name in enumerate(name for name in graph.order() if signals[name].timed)}
    for members in strong_components({name: [s.source for s in graph.arriving(name)] for name in order}):
        names = sorted(members, key=order.__getitem__)
        nodes = tuple(_node(graph, name, here) for name in names)
        cyclic = any(s.delay_steps and s.source in members for name in names for s in graph.arriving(name))
        if cyclic:
            yield Cycle(nodes)
        else:
            yield from nodes


def _node(graph: Graph, name: str, here: Hardware) -> Node:
    inputs = graph.signals_into(name)
    step = lower(graph.operator(name), inputs, graph.signals()[name], here)
    keys = graph.operator(name).initial_state(1, *inputs)
    return Node(
        name, step, tuple(Arrival(each) for each in graph.arriving(name)), tuple((key, f"{name}/{key}") for key in keys)
    )
