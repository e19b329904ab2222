"""What a crossbar of static synapses cannot do, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synfire.base.errors import UserError
from synfire.devices.darwin3.dynamics import is_neuron, neuron
from synfire.devices.darwin3.maps import is_linear
from synfire.graph import Graph, strong_components
from synfire.ops import Clock, Encoder, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.mat_mul import MatMul
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.multiply import Multiply
from synfire.ops.self_attention import SelfAttention

MAX_POOLS = (MaxPool1d, MaxPool2d)
PRODUCTS = (SelfAttention, MatMul, Multiply, AndNot)


def refusals(graph: Graph) -> dict[str, str]:
    """The operators of a flat, simplified graph that darwin3 cannot run, each with the reason; empty when it can run all.

    An operator that reads values is refused when they are analog: when they come from outside, or from a refused operator.
    Spikes may come from anywhere. What is left can run on the chip in one stage; a cut between two of its operators that only
    spikes cross changes nothing, and after another one each stage is to be asked again.
    """
    refused: dict[str, str] = {}
    while True:
        found = _refused(graph, refused)
        found |= _broken_cycles(graph, found)
        if len(found) == len(refused):
            return found
        refused = found


def _refused(graph: Graph, known: Mapping[str, str]) -> dict[str, str]:
    """One look at every operator in running order, when those of `known` are refused already."""
    refused = dict(known)
    analog = {name for name in (*graph.inputs, *known) if _values(graph, name)}
    for name in graph.order():
        if name not in refused and (reason := _reason(graph, name, analog)) is not None:
            refused[name] = reason
            analog |= {name} if _values(graph, name) else set()
    return refused


def _values(graph: Graph, name: str) -> bool:
    return graph.signals()[name].kind not in (Kind.SPIKE, Kind.COUNT)


def _broken_cycles(graph: Graph, refused: Mapping[str, str]) -> dict[str, str]:
    """What is in a cycle with a refused operator: a cycle's steps depend on each other, so it is not cut."""
    sources = {name: [s.source for s in graph.arriving(name)] for name in graph.operators}
    found: dict[str, str] = {}
    for members in strong_components(sources):
        missing = next((name for name in members if name in refused), None)
        if missing is not None:
            reason = f"it is in a cycle with {missing!r}, which darwin3 cannot run"
            found |= {name: reason for name in members if name not in refused}
    return found


def _reason(graph: Graph, name: str, analog: set[str]) -> str | None:
    operator, signal, arriving = graph.operator(name), graph.signals()[name], graph.signals_into(name)
    return _of_kind(operator, signal, arriving) or next(
        (
            f"it reads analog values from {s.source!r}; synapses take spikes, so the values stay where they are made"
            for s in graph.arriving(name)
            if s.source in analog
        ),
        None,
    )


def _of_kind(operator: Operator, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    """Why no stage on the chip can hold such an operator, whatever feeds it."""
    for test in (_off_clock, _product, _pool, _neuron, _unknown):
        reason = test(operator, signal, arriving)
        if reason is not None:
            return reason
    return None


Test = Callable[[Operator, Signal, tuple[Signal, ...]], str | None]


def _off_clock(operator: Operator, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    if isinstance(operator, Encoder):
        return "it encodes analog values, and the chip takes spikes"
    if signal.clock is Clock.REQUEST or any(each.clock is Clock.REQUEST for each in arriving):
        return "it works once a request, and the chip works time step by time step"
    if signal.clock is Clock.RUNNING:
        return "it is a readout over time, which the host computes from what leaves the chip"
    return None


def _product(operator: Operator, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    if isinstance(operator, PRODUCTS):
        return "it multiplies signals by each other, and a synapse's weight is fixed"
    return None


def _pool(operator: Operator, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    if isinstance(operator, MAX_POOLS) and arriving[0].kind is not Kind.SPIKE:
        return f"it takes the maximum of {arriving[0].kind}s, and only that of spikes is the work of a neuron (an OR)"
    return None


def _neuron(operator: Operator, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    if not is_neuron(operator):
        return None
    try:
        neuron(operator)
    except UserError as error:
        return str(error)
    return None


def _unknown(operator: Any, signal: Signal, arriving: tuple[Signal, ...]) -> str | None:
    if is_neuron(operator) or is_linear(operator) or isinstance(operator, (Add, *MAX_POOLS)):
        return None
    return f"{operator.kind} has no form of fixed synapses and integrating neurons that is known here"
