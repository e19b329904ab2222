"""The parts of a program in running order: chains of operators, single operators, and cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from synfire.engines.cpu.chain import Chain
from synfire.engines.cpu.step import Step
from synfire.engines.reference import delay_key
from synfire.graph import Synapse
from synfire.ops import Array, Signal, State


@dataclass(frozen=True)
class Arrival:
    """One synapse as what it ends at finds it: where the block is."""

    synapse: Synapse
    signal: Signal

    @property
    def key(self) -> str:
        return delay_key(self.synapse.source, self.synapse.target, self.synapse.port)

    def block(self, state: State, values: Mapping[str, Array], steps: int) -> Array:
        """The values that arrive in a block of `steps`; a cycle keeps what was delayed ahead of it under the key."""
        source, delay = self.synapse.source, self.synapse.delay_steps
        if not delay:
            return values[source]
        if self.key in values:
            return values[self.key]
        block = np.moveaxis(state[self.key], 1, 0)[:steps]
        return np.concatenate([block, values[source][: steps - delay]]) if steps > delay else block

    def remember(self, state: State, values: Mapping[str, Array]) -> None:
        """Put a block's values on their way along a delayed synapse."""
        block = np.moveaxis(values[self.synapse.source], 0, 1)
        state[self.key] = np.concatenate([state[self.key], block], axis=1)[:, -self.synapse.delay_steps :]


class Part(Protocol):
    """What runs a block of steps: it reads and writes `values` `(steps, batch, ...)` by operator, and replaces states."""

    @property
    def arrivals(self) -> Sequence[Arrival]: ...

    def initial_state(self, batch: int) -> State: ...

    def run(self, state: State, values: dict[str, Array], steps: int) -> None: ...


@dataclass(frozen=True)
class Node:
    """One operator by itself: its step, its arrivals by port, and its state's names in step and program."""

    name: str
    step: Step
    arrivals: tuple[Arrival, ...]
    keys: tuple[tuple[str, str], ...]

    def initial_state(self, batch: int) -> State:
        fresh = self.step.initial_state(batch)
        return {key: fresh[own] for own, key in self.keys}

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        arriving = [each.block(state, values, steps) for each in self.arrivals]
        after, values[self.name] = self.step.run({own: state[key] for own, key in self.keys}, arriving, steps)
        for own, key in self.keys:
            state[key] = after[own]


@dataclass(frozen=True)
class Link:
    """A chain in its place: what arrives at its operators from others, in the order of its inputs."""

    chain: Chain
    arrivals: tuple[Arrival, ...]

    def initial_state(self, batch: int) -> State:
        return {self.chain.key: self.chain.initial_state(batch)} if self.chain.remembers else {}

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        arriving = [each.block(state, values, steps) for each in self.arrivals]
        before = state[self.chain.key] if self.chain.remembers else self.chain.initial_state(arriving[0].shape[1])
        after, found = self.chain.run(before, arriving, steps)
        values |= found
        if self.chain.remembers:
            state[self.chain.key] = after


@dataclass(frozen=True)
class Cycle:
    """Operators that feed each other: run together, one time step at a time."""

    members: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        return tuple(each for part in self.parts for each in part.arrivals)

    @property
    def inside(self) -> tuple[Arrival, ...]:
        """The delayed synapses by which the operators feed each other."""
        return tuple(each for each in self.arrivals if each.synapse.source in self.members and each.synapse.delay_steps)

    def initial_state(self, batch: int) -> State:
        return {key: array for part in self.parts for key, array in part.initial_state(batch).items()}

    def run(self, state: State, values: dict[str, Array], steps: int) -> None:
        outside = [each for each in self.arrivals if each.synapse.source not in self.members]
        ahead = {
            each.key if each.synapse.delay_steps else each.synapse.source: each.block(state, values, steps)
            for each in outside
        }
        emitted: dict[str, list[Array]] = {name: [] for name in self.members}
        for t in range(steps):
            now = {source: block[t : t + 1] for source, block in ahead.items()}
            for part in self.parts:
                part.run(state, now, 1)
            for arrival in self.inside:
                arrival.remember(state, now)
            for name, blocks in emitted.items():
                blocks.append(now[name])
        for name, blocks in emitted.items():
            values[name] = np.concatenate(blocks)


def chains_of(parts: Iterable[Part]) -> Iterator[Chain]:
    """The chains among the parts, and among those of their cycles."""
    for part in parts:
        if isinstance(part, Link):
            yield part.chain
        elif isinstance(part, Cycle):
            yield from chains_of(part.parts)
