"""A chain as a graph: an operator for each output of each step. It tells callers and pictures what there is; nothing computes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from synfire.base.errors import Bug
from synfire.chains.chain import OUTPUTS, REQUEST, Place, Step
from synfire.chains.conditions import places_in
from synfire.chains.functions import once
from synfire.chains.joined import Joined
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Operator, Signal
from synfire.ops.operator import State


@dataclass(frozen=True, eq=False)
class ChainStep(Operator):
    """yₒ = stepₒ(x₀ … xₙ₋₁): one output of a chain's step; `does` says in words what it does, and `when`."""

    does: str
    reads: int
    signal: tuple[tuple[int, ...], str, str]
    """Shape, kind and clock of what it gives."""

    when: str = ""
    batched: bool = True

    @property
    def batches(self) -> bool:
        return self.batched

    @property
    def ports(self) -> int:
        return self.reads

    def infer(self, *inputs: Signal) -> Signal:
        shape, kind, clock = self.signal
        return Signal(shape, Kind(kind), Clock(clock))

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        raise Bug(f"a chain's step ({self.does}) is run by a gateway, and has no reference step")


@dataclass(frozen=True, eq=False)
class OpenChainStep(ChainStep):
    """A step of a chain that a language model takes part in: nobody knows beforehand how long its answer gets."""

    open_ended: ClassVar[bool] = True


def graph_of(joined: Joined) -> Graph:
    """The chain as callers see it. Operators are called `step`, or `step.output` where it gives several. A chain of models that take no
    batches takes none."""
    operators: dict[str, Operator | Graph] = {}
    synapses: list[Synapse] = []
    batched = not joined.chain.called or set(joined.plain) != set(joined.chain.called)

    def add(name: str, does: str, read: Iterable[Place], signal: Signal, when: str = "") -> None:
        sources = list(dict.fromkeys(_called(joined, place) for place in read))
        told = (signal.shape, str(signal.kind), str(signal.clock))
        operators[name] = (OpenChainStep if joined.open_ended else ChainStep)(does, len(sources), told, when, batched)
        synapses.extend(Synapse(source, name, port) for port, source in enumerate(sources))

    for step in map(joined.chain.step, joined.order):
        for output, signal in joined.gives[step.name].items():
            seen = signal if step.name == joined.streams else once(signal)
            add(_called(joined, Place(step.name, output)), str(step.does), _read(step), seen, step.when)
    leaving = {}
    for name, source in joined.chain.outputs.items():
        leaving[name] = _called(joined, source.places[0]) if len(source.places) == 1 else f"{OUTPUTS}.{name}"
        if len(source.places) != 1:
            add(leaving[name], f"first of {source}", source.places, joined.outputs[name])
    about = joined.chain.description or joined.chain.name
    return Graph(operators, tuple(synapses), joined.inputs, leaving, {"chain": about})


def _read(step: Step) -> Iterator[Place]:
    """The places that a step reads."""
    for source in step.inputs.values():
        yield from source.places
    for condition in step.conditions:
        yield from places_in(condition)


def _called(joined: Joined, place: Place) -> str:
    """What the graph calls a place: an input, or an operator."""
    if place.step == REQUEST:
        return place.output
    (only, *more) = joined.gives[place.step]
    return f"{place.step}.{place.output or only}" if more else place.step
