"""A NIR file becomes a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.formats.discretisation import Discretisation, discretisation
from synfire.formats.nir.cycles import delayed_edges
from synfire.formats.nir.flat import Flat, flatten_sheet, shape_of
from synfire.formats.nir.hdf5 import Edge, Node, read_hdf5
from synfire.formats.nir.layers import layer
from synfire.formats.nir.losses import Losses
from synfire.formats.nir.neurons import NEURONS, neuron
from synfire.graph import Graph, Synapse
from synfire.ops.add import Add
from synfire.ops.delay import Delay
from synfire.ops.identity import Identity
from synfire.ops.operator import Operator
from synfire.ops.signal import Signal

FIELDS: Mapping[str, frozenset[str]] = {
    "Affine": frozenset({"weight", "bias"}),
    "Linear": frozenset({"weight"}),
    "Conv1d": frozenset({"input_shape", "weight", "stride", "padding", "dilation", "groups", "bias"}),
    "Conv2d": frozenset({"input_shape", "weight", "stride", "padding", "dilation", "groups", "bias"}),
    "SumPool2d": frozenset({"kernel_size", "stride", "padding"}),
    "AvgPool2d": frozenset({"kernel_size", "stride", "padding"}),
    "Flatten": frozenset({"input_type", "start_dim", "end_dim"}),
    "Scale": frozenset({"scale"}),
    "Threshold": frozenset({"threshold"}),
    "Delay": frozenset({"delay"}),
    "I": frozenset({"r"}),
    "IF": frozenset({"r", "v_threshold", "v_reset"}),
    "LI": frozenset({"tau", "r", "v_leak"}),
    "LIF": frozenset({"tau", "r", "v_leak", "v_threshold", "v_reset"}),
    "CubaLI": frozenset({"tau_syn", "tau_mem", "r", "v_leak", "w_in"}),
    "CubaLIF": frozenset({"tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"}),
}
"""What each NIR 1.0 node type may hold."""


def read_nir(
    path: str | Path,
    *,
    discretisation: Discretisation | str,
    dt_s: float | None = None,
    allow: str | Iterable[str] = (),
) -> Graph:
    """The graph in a `.nir` file, in time steps by the choices of `discretisation` (a preset's name, or one's own).

    `dt_s` is the length of a time step in seconds: NIR files don't hold it, and there is no default. Inputs and outputs are
    called as the file's Input and Output nodes, and take values per step. Shapes are inferred anew: what NIR writes
    of them (wrong for kernels that are not square) is not read. Raises `UserError` for what is wrong with the file, and
    `LossyImport` where the choices cannot express a node, unless `allow` names the loss
    (`synfire.formats.nir.losses`).
    """
    choice = _chosen(discretisation, dt_s)
    losses = Losses.of(allow)
    try:
        sheet, version = read_hdf5(path)
        metadata = {"discretisation": choice.to_json(), "source": {"format": "nir", "version": version}}
        if sheet.metadata:
            metadata["nir"] = dict(sheet.metadata)
        return _build(flatten_sheet(sheet), choice, losses, metadata)
    except UserError as error:
        if str(path) not in str(error):
            error.args = (f"{path}: {error}",)
        raise


_chosen = discretisation


def to_operator(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    """The operator of one NIR node. Raises `UserError` naming the node."""
    if node.type not in FIELDS:
        raise node.error(f"NIR 1.0 has no such node type; known: {', '.join(sorted(FIELDS))}")
    unknown = sorted(set(node.fields) - FIELDS[node.type])
    if unknown:
        losses.accept(
            "unknown_fields", f"NIR node {node.name!r} ({node.type}) holds fields {unknown} that NIR 1.0 lacks"
        )
    try:
        return (neuron if node.type in NEURONS else layer)(node, choice, losses)
    except UserError as error:
        if repr(node.name) not in str(error):
            raise node.error(str(error)) from error
        raise


@dataclass(frozen=True)
class _Wire:
    source: str
    target: str
    delay_steps: int = 0


def _build(flat: Flat, choice: Discretisation, losses: Losses, metadata: Mapping[str, Any]) -> Graph:
    operators = {name: to_operator(node, choice, losses) for name, node in flat.nodes.items()}
    inputs = {name: Signal(_input_shape(name, node, flat)) for name, node in flat.inputs.items()}
    wires = _wires(flat, operators, choice)
    synapses: list[Synapse] = []
    outputs: dict[str, str] = {}
    for target in [*operators, *flat.outputs]:
        arriving = [wire for wire in wires if wire.target == target]
        if not arriving:
            raise UserError(f"NIR node {target!r} is reached by no edge; connect or remove it")
        end = target
        if len(arriving) > 1 or (target in flat.outputs and not _is_operator(arriving[0], operators)):
            end = f"{target}.sum" if len(arriving) > 1 else f"{target}.pass"
            operators[end] = Add() if len(arriving) > 1 else Identity()
        if target in flat.outputs:
            outputs[target] = end if end != target else arriving[0].source
        elif end != target:
            synapses.append(Synapse(end, target))
        if end != target or target not in flat.outputs:
            synapses += [Synapse(wire.source, end, port, wire.delay_steps) for port, wire in enumerate(arriving)]
    graph = Graph(operators, tuple(synapses), inputs, outputs, metadata)
    _check_neurons(graph, flat)
    _check_outputs(graph, flat)
    return graph


def _is_operator(wire: _Wire, operators: Mapping[str, Operator]) -> bool:
    return wire.source in operators and not wire.delay_steps


def _wires(flat: Flat, operators: dict[str, Operator], choice: Discretisation) -> list[_Wire]:
    """The edges with their delays: one step in each cycle, or what a Delay node within the cycle says."""
    wires = _fold_delays([_Wire(*edge) for edge in flat.edges], operators)
    neurons = {name for name, node in flat.nodes.items() if node.type in NEURONS}
    free: list[Edge] = [(wire.source, wire.target) for wire in wires if not wire.delay_steps]
    waiting = delayed_edges([*sorted(flat.inputs), *sorted(flat.nodes)], free, neurons, choice.recurrence)
    return [
        _Wire(wire.source, wire.target, 1) if not wire.delay_steps and (wire.source, wire.target) in waiting else wire
        for wire in wires
    ]


def _fold_delays(wires: list[_Wire], operators: dict[str, Operator]) -> list[_Wire]:
    """Delay nodes that lie on a cycle become the delay of the synapses through them."""
    for name in [name for name, each in operators.items() if isinstance(each, Delay) and _on_cycle(name, wires)]:
        delay = operators[name]
        if not isinstance(delay, Delay) or not isinstance(delay.steps, int) or delay.steps < 1:
            continue
        before = [wire.source for wire in wires if wire.target == name]
        after = [wire for wire in wires if wire.source == name]
        del operators[name]
        wires = [wire for wire in wires if name not in (wire.source, wire.target)]
        wires += [_Wire(source, wire.target, wire.delay_steps + delay.steps) for wire in after for source in before]
    return wires


def _on_cycle(name: str, wires: list[_Wire]) -> bool:
    seen: set[str] = set()
    pending = [wire.target for wire in wires if wire.source == name]
    while pending:
        here = pending.pop()
        if here == name:
            return True
        if here not in seen:
            seen.add(here)
            pending += [wire.target for wire in wires if wire.source == here]
    return False


def _input_shape(name: str, node: Node, flat: Flat) -> tuple[int, ...]:
    """What the Input node says, else what the first layer behind it takes."""
    stated = shape_of(node)
    if stated is not None:
        return stated
    for source, target in flat.edges:
        behind = flat.nodes.get(target)
        if source == name and behind is not None:
            if behind.type in ("Affine", "Linear"):
                return (int(behind.array("weight").shape[-1]),)
            if behind.type in NEURONS:
                return tuple(int(size) for size in behind.array("r").shape)
    raise node.error("it has no shape, and the layer behind it does not tell; write the shape into the file")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _check_neurons(graph: Graph, flat: Flat) -> None:
    """Every parameter of a neuron must fit what arrives, also one that is the same for all and so kept as one number."""
    for name, node in flat.nodes.items():
        for field in sorted(node.fields) if node.type in NEURONS else ():
            shape, arriving = node.array(field).shape, graph.signals_into(name)[0].shape
            if not _broadcasts(shape, arriving):
                raise node.error(
                    f"{field} has shape {shape}, but {arriving} arrives; mend the layer before or the neuron"
                )


def _check_outputs(graph: Graph, flat: Flat) -> None:
    """An Output's stated shape must be the inferred one; kernels that are not square excuse it: NIR infers those wrongly."""
    convolutions = [node.array("weight").shape for node in flat.nodes.values() if node.type == "Conv2d"]
    if any(shape[-1] != shape[-2] for shape in convolutions):
        return
    for name, signal in graph.output_signals().items():
        stated = shape_of(flat.outputs[name])
        if stated is not None and stated != signal.shape:
            raise flat.outputs[name].error(f"it states the shape {stated}, but {signal.shape} arrives; mend the graph")
