"""Operators joined by synapses; a graph is itself an operator, so graphs nest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any

from synfire.base.errors import UserError
from synfire.graph.signals import signals_of
from synfire.ops import Encoder, Operator, Signal


@dataclass(frozen=True, order=True)
class Synapse:
    """An edge: the output of `source` arrives at input `port` of `target`, `delay_steps` time steps later.

    `source` names an operator or an input of the graph; `sub/out` names output `out` of a nested graph with several.
    A cycle must hold at least one delayed synapse; what arrives before the first value is zero.
    """

    source: str
    target: str
    port: int = 0
    delay_steps: int = 0


@dataclass(frozen=True)
class Graph:
    """A model: named operators (or nested graphs), synapses between them, named inputs and outputs.

    `inputs` maps a name to the signal that arrives there (in order: a nested graph's ports), `outputs` a name to the
    operator whose output leaves. `metadata` is free JSON (model card, labels, discretisation) and not part of any digest.
    Raises `UserError` at construction for a dangling, doubled or cyclic synapse.
    """

    operators: Mapping[str, Operator | Graph]
    synapses: tuple[Synapse, ...]
    inputs: Mapping[str, Signal]
    outputs: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("operators", "inputs", "outputs", "metadata"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "synapses", tuple(sorted(self.synapses)))
        _check(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.order())

    @property
    def flat(self) -> bool:
        """Whether no operator is a graph."""
        return all(isinstance(each, Operator) for each in self.operators.values())

    def operator(self, name: str) -> Operator:
        """The operator of that name in a flat graph."""
        found = self.operators[name]
        if isinstance(found, Graph):
            raise UserError(f"{name!r} is a nested graph; flatten the graph first (synfire.graph.flatten)")
        return found

    def arriving(self, name: str) -> tuple[Synapse, ...]:
        """The synapses that end at operator `name`, by port."""
        return self._by_target[name]

    def leaving(self, name: str) -> tuple[Synapse, ...]:
        """The synapses that start at operator or input `name`."""
        return tuple(each for each in self.synapses if each.source.split("/")[0] == name)

    def order(self) -> tuple[str, ...]:
        """Operator names such that every undelayed synapse points forward; ties keep the order of definition."""
        return self._order

    def signals(self) -> Mapping[str, Signal]:
        """The signal that each input and operator emits, by name (`sub/out` for nested outputs).

        Raises `UserError` naming the operator whose shape rule refuses its inputs.
        """
        return self._signals

    def signals_into(self, name: str) -> tuple[Signal, ...]:
        """The signals that arrive at operator `name`, by port."""
        return tuple(self._signals[each.source] for each in self.arriving(name))

    @property
    def steps(self) -> int | None:
        """Time steps of one request, set by the encoders; None when the request brings its own time axis."""
        found = set(_encoder_steps(self))
        if len(found) > 1:
            raise UserError(f"the graph's encoders disagree on the number of steps: {sorted(found)}; make them equal")
        return found.pop() if found else None

    def output_signals(self) -> dict[str, Signal]:
        """The signal of each output, by output name."""
        return {name: self._signals[source] for name, source in self.outputs.items()}

    @property
    def open_ended(self) -> bool:
        """Whether one of its operators makes time steps, and nobody knows beforehand how many."""
        return self._cached("open_ended", lambda: any(each.open_ended for each in self.operators.values()))

    @property
    def whole(self) -> bool:
        """Whether one of its operators is a whole model, which an engine of its own runs: nothing of it is measured, cut or fused."""
        return self._cached("whole", lambda: any(each.whole for each in self.operators.values()))

    @property
    def batches(self) -> bool:
        """Whether it takes several samples at a time, along an axis ahead of their own."""
        return self._cached("batches", lambda: all(each.batches for each in self.operators.values()))

    def structural_digest(self) -> str:
        """SHA-256 over the operators' structural digests and the synapses; names do not matter, order does."""
        return self._digest("structural")

    def content_digest(self) -> str:
        """SHA-256 over the operators' content digests and the synapses."""
        return self._digest("content")

    def _digest(self, level: str) -> str:
        index = {name: i for i, name in enumerate([*self.inputs, *self.order()])}

        def position(source: str) -> list[Any]:
            head, _, out = source.partition("/")
            return [index[head], out]

        def one(name: str) -> str:
            each = self.operators[name]
            if isinstance(each, Graph) or level == "content":
                return getattr(each, f"{level}_digest")()
            return each.structural_digest(*self.signals_into(name))

        parts = [
            [[s.shape, s.kind, s.clock] for s in self.inputs.values()],
            [one(name) for name in self.order()],
            sorted([*position(s.source), index[s.target], s.port, s.delay_steps] for s in self.synapses),
            [position(source) for source in self.outputs.values()],
        ]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()

    @property
    def _by_target(self) -> Mapping[str, tuple[Synapse, ...]]:
        return self._cached("by_target", lambda: _group_by_target(self))

    @property
    def _order(self) -> tuple[str, ...]:
        return self._cached("order", lambda: _order(self))

    @property
    def _signals(self) -> Mapping[str, Signal]:
        return self._cached("signals", lambda: signals_of(self))

    def _cached(self, name: str, make: Any) -> Any:
        cache = self.__dict__.setdefault("_cache", {})
        if name not in cache:
            cache[name] = make()
        return cache[name]


def _encoder_steps(graph: Graph) -> Iterator[int]:
    for each in graph.operators.values():
        if isinstance(each, Graph):
            yield from _encoder_steps(each)
        elif isinstance(each, Encoder):
            yield each.steps


def _check(graph: Graph) -> None:
    taken = set(graph.inputs) & set(graph.operators)
    if taken:
        raise UserError(f"{sorted(taken)} name both an input and an operator; rename one of them")
    for name in graph.operators:
        if not name or "/" in name:
            raise UserError(f"operator name {name!r} is empty or holds '/'; use letters, digits, '_', '-' and '.'")
    for source in [s.source for s in graph.synapses] + list(graph.outputs.values()):
        _check_source(graph, source)
    for s in graph.synapses:
        if s.target not in graph.operators:
            raise UserError(f"the synapse {s.source} → {s.target} dangles: there is no operator {s.target!r}")
        if s.delay_steps < 0:
            raise UserError(f"the synapse {s.source} → {s.target} has a delay of {s.delay_steps} steps; it must be ≥ 0")
    if not graph.outputs:
        raise UserError("the graph has no output; name the operator whose output is the answer")
    for name, each in graph.operators.items():
        ports = [s.port for s in graph.arriving(name)]
        expected = len(each.inputs) if isinstance(each, Graph) else each.ports
        if ports != list(range(len(ports))) or (expected is not None and len(ports) != expected):
            wanted = "one synapse a port, from port 0" if expected is None else f"exactly {expected}, one a port"
            raise UserError(f"operator {name!r} is reached at ports {ports}; it needs {wanted}")
        if expected is None and len(ports) < 2:
            raise UserError(f"operator {name!r} joins signals and needs two synapses or more; it has {len(ports)}")
    graph.order()
    graph.signals()


def _check_source(graph: Graph, source: str) -> None:
    head, slash, out = source.partition("/")
    if head not in graph.inputs and head not in graph.operators:
        raise UserError(
            f"a synapse or output starts at {source!r}, which does not exist: the edge dangles; remove or rename it"
        )
    nested = graph.operators.get(head)
    if isinstance(nested, Graph):
        if (slash and out not in nested.outputs) or (not slash and len(nested.outputs) != 1):
            raise UserError(f"nested graph {head!r} has outputs {sorted(nested.outputs)}; name one as '{head}/OUTPUT'")
    elif slash:
        raise UserError(f"{head!r} is not a nested graph, so {source!r} names nothing; drop '/{out}'")


def _group_by_target(graph: Graph) -> dict[str, tuple[Synapse, ...]]:
    found: dict[str, list[Synapse]] = {name: [] for name in graph.operators}
    for s in graph.synapses:
        found[s.target].append(s)
    return {name: tuple(sorted(each, key=lambda s: s.port)) for name, each in found.items()}


def _order(graph: Graph) -> tuple[str, ...]:
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(graph.operators, ()))
    for s in graph.synapses:
        head = s.source.partition("/")[0]
        if not s.delay_steps and head in graph.operators:
            sorter.add(s.target, head)
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        cycle = " → ".join(error.args[1])
        raise UserError(f"the cycle {cycle} has no delay; give one of its synapses delay_steps=1") from error
