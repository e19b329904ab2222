"""A graph becomes a NIR file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import nir
import numpy as np

from synfire.base.errors import UserError
from synfire.formats.discretisation import Discretisation
from synfire.formats.nir.cycles import delayed_edges
from synfire.formats.nir.hdf5 import Edge, Node
from synfire.formats.nir.losses import Losses
from synfire.formats.nir.neurons import NEURONS
from synfire.formats.nir.nodes import proposals
from synfire.formats.nir.reading import to_operator
from synfire.graph import Graph, flatten
from synfire.ops.add import Add
from synfire.ops.delay import Delay
from synfire.ops.identity import Identity
from synfire.ops.operator import Operator
from synfire.ops.signal import Clock, Signal


def write_nir(
    graph: Graph,
    path: str | Path,
    *,
    discretisation: Discretisation | None = None,
    dt_s: float | None = None,
) -> None:
    """Write `graph` as a `.nir` file that `read_nir` with the same discretisation reads back as the same model.

    The discretisation is the one given, else the graph's own (`metadata["discretisation"]`); a graph that has none, with
    neurons or delays in it, needs one. Raises `UserError` naming the first operator that NIR has no node for, or whose
    dynamics no NIR node gives under the discretisation; nothing is then written. Nested graphs are written flat.
    """
    choice = _choice(graph, discretisation, dt_s)
    sheet = _Sheet(flatten(graph), choice)
    _write(Path(path), sheet.to_nir())


def _choice(graph: Graph, given: Discretisation | None, dt_s: float | None) -> Discretisation:
    if given is None:
        stored = graph.metadata.get("discretisation")
        given = Discretisation.from_json(stored) if isinstance(stored, Mapping) else Discretisation("euler")
    return given if dt_s is None else given.with_(dt_s=dt_s)


class _Sheet:
    """A flat graph as NIR nodes and edges."""

    def __init__(self, graph: Graph, choice: Discretisation) -> None:
        self.graph, self.choice = graph, choice
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self._add_nodes()
        self._add_edges()

    def to_nir(self) -> nir.NIRGraph:
        """The nir package's own graph; it checks nothing, as it infers shapes wrongly for kernels that are not square."""
        signals, graph = self.graph.signals(), self.graph
        nodes: dict[str, nir.NIRNode] = {
            name: nir.Input(np.array(signal.shape)) for name, signal in graph.inputs.items()
        }
        nodes |= {name: _nir_node(node) for name, node in self.nodes.items()}
        nodes |= {
            self._output(name): nir.Output(np.array(signals[source].shape)) for name, source in graph.outputs.items()
        }
        metadata: dict[str, str | float] = {"written_by": "synfire"}
        if self.choice.dt_s is not None:
            metadata |= {"discretisation": self.choice.name, "dt_s": self.choice.dt_s}
        return nir.NIRGraph(nodes, self.edges, metadata=metadata, type_check=False)

    def _add_nodes(self) -> None:
        for name, signal in self.graph.inputs.items():
            if signal.clock is not Clock.STEP:
                raise UserError(
                    f"input {name!r} takes {signal}, but NIR models run per step; cut the encoder off first"
                )
        for name in self.graph.operators:
            operator = self.graph.operator(name)
            if not isinstance(operator, (Add, Identity)):
                self.nodes[name] = self._node(name, operator)

    def _node(self, name: str, operator: Operator) -> Node:
        (arriving,) = self.graph.signals_into(name) if operator.inputs == 1 else (None,)
        reasons = []
        for node in proposals(name, operator, arriving, self.choice) if arriving else ():
            try:
                again = to_operator(node, self.choice, Losses(frozenset()))
            except UserError as error:
                reasons.append(str(error))
                continue
            differing = _differences(operator, again, arriving) if arriving else []
            if not differing:
                return node
            reasons.append(f"a NIR {node.type} differs in {', '.join(differing)}")
        if not reasons:
            raise UserError(f"operator {name!r}: NIR has no node for {operator.kind}; write a bundle instead")
        raise UserError(
            f"operator {name!r} ({operator.kind}) cannot be written so that {self.choice.name!r} reads it back the same: "
            f"{'; '.join(reasons)}; name another discretisation, or write a bundle"
        )

    def _add_edges(self) -> None:
        wires = [
            (source, name, delay + s.delay_steps)
            for name in self.nodes
            for s in self.graph.arriving(name)
            for source, delay in self._sources(s.source)
        ]
        wires += [
            (source, self._output(name), delay)
            for name, start in self.graph.outputs.items()
            for source, delay in self._sources(start)
        ]
        pairs = [(source, target) for source, target, _ in wires]
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise UserError(
                    f"{pair[0]!r} feeds {pair[1]!r} twice, which NIR's edges cannot say; put a Scale between"
                )
        implied = self._implied(wires)
        for source, target, delay in wires:
            if delay == (1 if (source, target) in implied else 0):
                self.edges.append((source, target))
            else:
                self._add_delay(source, target, delay)

    def _sources(self, source: str) -> list[tuple[str, int]]:
        """Where a signal comes from once sums and identities are taken out, and how many steps late."""
        if source not in self.graph.operators or source in self.nodes:
            return [(source, 0)]
        return [
            (origin, delay + s.delay_steps)
            for s in self.graph.arriving(source)
            for origin, delay in self._sources(s.source)
        ]

    def _implied(self, wires: list[tuple[str, str, int]]) -> frozenset[Edge]:
        """The delayed edges that the reader finds by itself, once Delay nodes stand on all other delayed ones."""
        neurons = {name for name, node in self.nodes.items() if node.type in NEURONS}
        order = [*sorted(self.graph.inputs), *sorted(self.nodes)]
        late = {(source, target): delay for source, target, delay in wires if delay}
        explicit = {edge for edge, delay in late.items() if delay > 1}
        while True:
            edges = [(source, target) for source, target, _ in wires if (source, target) not in explicit]
            try:
                found = delayed_edges(order, edges, neurons, self.choice.recurrence)
            except UserError:
                return frozenset()
            if not found <= set(late):
                return frozenset()
            if explicit == set(late) - found:
                return found
            explicit |= set(late) - found

    def _add_delay(self, source: str, target: str, steps: int) -> None:
        signal: Signal = self.graph.signals()[source]
        name = f"{source}.{target}.delay"
        self.nodes[name] = self._delay_node(name, steps, signal)
        self.edges += [(source, name), (name, target)]

    def _delay_node(self, name: str, steps: int, signal: Signal) -> Node:
        return next(iter(proposals(name, Delay(steps), signal, self.choice)))

    def _output(self, name: str) -> str:
        """An output may be called as an operator, which NIR's nodes may not."""
        taken = name in self.graph.operators or name in self.graph.inputs
        return f"{name}.output" if taken else name


def _differences(left: Operator, right: Operator, arriving: Signal) -> list[str]:
    """The fields in which two operators on the same input differ."""
    if left.kind != right.kind:
        return ["kind"]
    return [
        field.name
        for field in dataclasses.fields(left)
        if not _same(getattr(left, field.name), getattr(right, field.name), arriving)
    ]


def _same(left: object, right: object, arriving: Signal) -> bool:
    """Whether two fields mean the same: an array may stand for one number that all its elements are."""
    if not any(isinstance(each, (float, np.ndarray)) for each in (left, right)):
        return left == right
    if left is None or right is None:
        return left is right
    a, b = np.asarray(left), np.asarray(right)
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        a, b = a.astype(np.float32), b.astype(np.float32)
    return (a.shape == b.shape and np.array_equal(a, b)) or _broadcast_equal(a, b, arriving.shape)


def _broadcast_equal(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> bool:
    try:
        return np.array_equal(np.broadcast_to(a, shape), np.broadcast_to(b, shape))
    except ValueError:
        return False


def _nir_node(node: Node) -> nir.NIRNode:
    return getattr(nir, node.type)(**node.fields)


def _write(path: Path, graph: nir.NIRGraph) -> None:
    """Beside the target first, then in its place: a reader never meets half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        nir.write(draft, graph)
        os.replace(draft, path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); choose a folder that is yours"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
