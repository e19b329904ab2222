"""Makes the parts of a program: as many operators as can go into one chain do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from synfire.engines.cpu.chain import Chain
from synfire.engines.cpu.neurons import loop
from synfire.engines.cpu.schedule import Arrival, Cycle, Link, Node, Part
from synfire.engines.cpu.step import lower
from synfire.engines.cpu.tape import TARGET, WIDE
from synfire.engines.cpu.writing import Line, Refusal, Value, Writer, write
from synfire.engines.reference import delay_key
from synfire.graph import Graph, Synapse, strong_components
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.parametric_lif import ParametricLIF

_RINGS = (IF, LIF, ParametricLIF, ALIF, DiscreteLIF, CubaLIF)
"""Neurons that a loop may have."""


class Linking:
    """A chain that grows, operator by operator, until one does not fit."""

    def __init__(self, graph: Graph, narrow: int = WIDE, counted: bool = True) -> None:
        self._graph = graph
        self._writer = Writer(narrow, counted)
        self._values: dict[str, Value] = {}
        self._members: set[str] = set()
        self._arrivals: list[Arrival] = []
        self._given: dict[tuple[str, str], Value] = {}

    def take(self, name: str) -> bool:
        """Add an operator; whether it fits."""
        arriving = self._graph.arriving(name)
        if any(each.delay_steps and each.source in self._members for each in arriving):
            return False
        signal = self._graph.signals()[name]
        return self._attempt(
            name, {name}, lambda: write(self._writer, self._graph.operator(name), self._all(arriving), signal)
        )

    def take_loop(self, add: str, neurons: str, synapse: str) -> bool:
        """Add three operators that are a loop; whether they fit."""
        operator, signal = self._graph.operator(synapse), self._graph.signals()[neurons]
        assert isinstance(operator, Linear)
        entering, delayed = self._graph.arriving(add)[0], delay_key(synapse, add, 1)
        return self._attempt(
            neurons,
            {add, neurons, synapse},
            lambda: loop(self._writer, self._graph.operator(neurons), operator, self._value(entering), signal, delayed),
        )

    def done(self) -> Iterator[Link]:
        """The chain, if it holds anything."""
        if not self._members:
            return
        outputs = [name for name in self._values if self._read_outside(name)]
        for name in outputs:
            self._writer.store(self._values[name])
        signals = self._graph.signals()
        key = "chain/" + next(iter(self._values))
        inputs = [each.signal for each in self._arrivals]
        yield Link(Chain(self._writer, key, inputs, [(name, signals[name]) for name in outputs]), tuple(self._arrivals))

    def _attempt(self, name: str, members: set[str], make: Callable[[], Value]) -> bool:
        """Write what `make` writes, or nothing when it refuses."""
        lines, arrivals, given = len(self._writer.lines), len(self._arrivals), dict(self._given)
        try:
            value = make()
        except Refusal:
            del self._writer.lines[lines:], self._arrivals[arrivals:]
            self._given = given
            return False
        self._sign(self._writer.lines[lines:], value, name, members)
        self._keep(name, value, members)
        return True

    def _sign(self, written: Sequence[Line], value: Value, name: str, members: set[str]) -> None:
        """Put operators' names to the lines written for them, or to the line that they joined, and to what these remember."""
        joined = [line for line in self._writer.lines if line.ports[TARGET].place == value.place]
        for line in written or joined:
            line.operators += sorted(members)
            line.memories = [each.of(name) for each in line.memories]

    def _all(self, synapses: Sequence[Synapse]) -> list[Value]:
        """What arrives along synapses: values of the chain, or ones that are loaded."""
        return [self._value(each) for each in synapses]

    def _value(self, synapse: Synapse) -> Value:
        source = synapse.source
        if not synapse.delay_steps and source in self._values:
            return self._values[source]
        signal = self._graph.signals()[source]
        arrival = Arrival(synapse, signal)
        key = (source, arrival.key if synapse.delay_steps else "")
        if key not in self._given:
            self._given[key] = self._writer.load(signal, not signal.timed and not synapse.delay_steps)
            self._arrivals.append(arrival)
        return self._given[key]

    def _keep(self, name: str, value: Value, members: set[str]) -> None:
        self._members |= members
        self._values[name] = value
        leaving = self._graph.leaving(name)
        if name in self._graph.outputs.values() or len(leaving) != 1 or leaving[0].delay_steps:
            self._writer.shared.add(value.place)

    def _read_outside(self, name: str) -> bool:
        leaving = self._graph.leaving(name)
        elsewhere = any(each.target not in self._members or each.delay_steps for each in leaving)
        looped = any(each.target in self._members and each.delay_steps for each in leaving)
        return name in self._graph.outputs.values() or elsewhere or looped


def parts_of(graph: Graph, narrow: int = WIDE, counted: bool = True) -> tuple[Part, ...]:
    """The timed operators of a flat graph, in running order; `narrow` and `counted` as `synfire.engines.cpu.writing.Writer` has them."""
    return tuple(_parts(graph, narrow, counted))


def _parts(graph: Graph, narrow: int, counted: bool) -> Iterator[Part]:
    signals = graph.signals()
    order = {name: k for k, name in enumerate(name for name in graph.order() if signals[name].timed)}
    linking = Linking(graph, narrow, counted)
    for members in strong_components({name: [s.source for s in graph.arriving(name)] for name in order}):
        names = sorted(members, key=order.__getitem__)
        cyclic = any(s.delay_steps and s.source in members for name in names for s in graph.arriving(name))
        ring = _ring(graph, names) if cyclic else None
        if (not cyclic and linking.take(names[0])) or (ring and linking.take_loop(*ring)):
            continue
        yield from linking.done()
        linking = Linking(graph, narrow, counted)
        if cyclic:
            yield Cycle(tuple(names), tuple(_alone(graph, name, counted) for name in names))
        elif not linking.take(names[0]):
            yield node(graph, names[0])
            linking = Linking(graph, narrow, counted)
    yield from linking.done()


def _alone(graph: Graph, name: str, counted: bool) -> Part:
    """One operator, for a place in a cycle: everything that it gives is read from outside."""
    watched = Graph(graph.operators, graph.synapses, graph.inputs, {**graph.outputs, "": name})
    linking = Linking(watched, counted=counted)
    return next(linking.done()) if linking.take(name) else node(graph, name)


def node(graph: Graph, name: str) -> Node:
    """An operator by itself, with its own step."""
    signals, inputs = graph.signals(), graph.signals_into(name)
    step = lower(graph.operator(name), inputs, signals[name])
    arrivals = tuple(Arrival(s, signal) for s, signal in zip(graph.arriving(name), inputs, strict=True))
    return Node(name, step, arrivals, tuple((key, f"{name}/{key}") for key in step.initial_state(1)))


def _ring(graph: Graph, names: Sequence[str]) -> tuple[str, str, str] | None:
    """(add, neurons, synapse) of the commonest cycle, if it is one and nobody outside reads what stays within."""
    kinds = {type(graph.operator(name)): name for name in names}
    neurons = [name for name in names if isinstance(graph.operator(name), _RINGS)]
    add, synapse = kinds.get(Add), kinds.get(Linear)
    if len(names) != 3 or add is None or synapse is None or len(neurons) != 1:
        return None
    (ring,) = neurons
    signals, within = graph.signals(), {Synapse(synapse, add, 1, 1), Synapse(add, ring)}
    arriving = graph.arriving(add)
    private = {*graph.leaving(synapse), *graph.leaving(add)} == within and Synapse(ring, synapse) in graph.arriving(
        synapse
    )
    read = {add, synapse} & set(graph.outputs.values())
    entering = len(arriving) == 2 and arriving[0].source not in names and not arriving[0].delay_steps
    flat = len(signals[synapse].shape) == 1 and signals[arriving[0].source].shape == signals[synapse].shape
    return (add, ring, synapse) if private and entering and flat and not read else None
