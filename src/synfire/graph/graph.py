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
from synfire.ops import Clock, Encoder, Operator, Signal


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
        found = {each.steps for each in flatten(self).operators.values() if isinstance(each, Encoder)}
        if len(found) > 1:
            raise UserError(f"the graph's encoders disagree on the number of steps: {sorted(found)}; make them equal")
        return found.pop() if found else None

    def output_signals(self) -> dict[str, Signal]:
        """The signal of each output, by output name."""
        return {name: self._signals[source] for name, source in self.outputs.items()}

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
        return self._cached("signals", lambda: _infer(self))

    def _cached(self, name: str, make: Any) -> Any:
        cache = self.__dict__.setdefault("_cache", {})
        if name not in cache:
            cache[name] = make()
        return cache[name]


def flatten(graph: Graph) -> Graph:
    """The same model without nested graphs; an operator `b` inside graph `a` is then called `a.b`."""
    if graph.flat:
        return graph
    operators: dict[str, Operator | Graph] = {}
    synapses: list[Synapse] = []
    inside: dict[str, str] = {}  # source in the nested graph -> flat source
    into: dict[tuple[str, int], list[tuple[str, int, int]]] = {}  # (sub, port) -> [(flat target, port, delay)]
    for name, each in graph.operators.items():
        if not isinstance(each, Graph):
            operators[name] = each
            continue
        sub = flatten(each)
        operators |= {f"{name}.{inner}": sub.operators[inner] for inner in sub.operators}
        ports = list(sub.inputs)
        for s in sub.synapses:
            if s.source in sub.inputs:
                into.setdefault((name, ports.index(s.source)), []).append((f"{name}.{s.target}", s.port, s.delay_steps))
            else:
                synapses.append(Synapse(f"{name}.{s.source}", f"{name}.{s.target}", s.port, s.delay_steps))
        for out, source in sub.outputs.items():
            if source in sub.inputs:
                raise UserError(
                    f"nested graph {name!r} hands its input {source!r} straight to its output; join the synapses"
                )
            inside[f"{name}/{out}"] = inside[name] = f"{name}.{source}"
    for s in graph.synapses:
        source = inside.get(s.source, s.source)
        for target, port, delay in into.get((s.target, s.port), [(s.target, s.port, 0)]):
            if target not in operators:
                continue  # an input that the nested graph does not use
            synapses.append(Synapse(source, target, port, s.delay_steps + delay))
    outputs = {out: inside.get(source, source) for out, source in graph.outputs.items()}
    return Graph(operators, tuple(synapses), graph.inputs, outputs, graph.metadata)


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
        expected = len(each.inputs) if isinstance(each, Graph) else each.inputs
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


def _infer(graph: Graph) -> dict[str, Signal]:
    return _complete(graph, dict(graph.inputs), list(graph.order()))


def _complete(graph: Graph, signals: dict[str, Signal], pending: list[str]) -> dict[str, Signal]:
    while pending:
        left = [name for name in pending if not _infer_one(graph, name, signals)]
        if left == pending:
            return _guess(graph, signals, pending)
        pending = left
    for s in graph.synapses:
        _check_delayed(graph, s, signals)
    return signals


def _guess(graph: Graph, signals: dict[str, Signal], pending: list[str]) -> dict[str, Signal]:
    """A cycle in which only delayed synapses reach some operator: it is taken to receive a signal that is known elsewhere,
    or as many values as its weight matrix takes, and the rest of the cycle must agree."""
    for name in pending:
        each, arriving = graph.operators[name], graph.arriving(name)
        if isinstance(each, Graph) or any(not s.delay_steps and s.source not in signals for s in arriving):
            continue
        stated = [Signal(array.shape[-1:]) for array in each.parameters().values() if array.ndim == 2]
        for candidate in [*stated, *reversed(dict.fromkeys(signals.values()))]:
            try:
                guess = each.infer(*(signals.get(s.source, candidate) for s in arriving))
                return _complete(graph, signals | {name: guess}, [other for other in pending if other != name])
            except UserError:
                continue
    raise UserError(f"the shapes of {pending} depend on each other; state one of them (an input, or a weight matrix)")


def _infer_one(graph: Graph, name: str, signals: dict[str, Signal]) -> bool:
    each, sources = graph.operators[name], [s.source for s in graph.arriving(name)]
    known = [signals[source] for source in sources if source in signals]
    delayed = [s for s in graph.arriving(name) if s.source not in signals]
    if any(not s.delay_steps for s in delayed):
        return False
    if delayed and (isinstance(each, Graph) or not known):
        return False
    # A port fed by a cycle is first taken to carry what the other ports carry; `_check_delayed` looks again at the end.
    arriving = tuple(signals.get(source, known[0]) if known else signals[source] for source in sources)
    try:
        if isinstance(each, Graph):
            _check_nested(name, each, arriving)
            inner = each.output_signals()
            signals |= {f"{name}/{out}": signal for out, signal in inner.items()}
            if len(inner) == 1:
                signals[name] = next(iter(inner.values()))
        else:
            signals[name] = each.infer(*arriving)
    except UserError as error:
        raise UserError(f"operator {name!r}: {error}") from error
    return True


def _check_nested(name: str, graph: Graph, arriving: tuple[Signal, ...]) -> None:
    for (port, wanted), got in zip(graph.inputs.items(), arriving, strict=True):
        if (wanted.shape, wanted.clock) != (got.shape, got.clock):
            raise UserError(f"input {port!r} of nested graph {name!r} is {wanted}, but {got} arrives; mend the shapes")


def _check_delayed(graph: Graph, synapse: Synapse, signals: dict[str, Signal]) -> None:
    each = graph.operators[synapse.target]
    if not synapse.delay_steps or isinstance(each, Graph):
        return
    if signals[synapse.source].clock is not Clock.STEP:
        raise UserError(f"the delayed synapse {synapse.source} → {synapse.target} must carry a signal per step")
    try:
        again = each.infer(*(signals[s.source] for s in graph.arriving(synapse.target)))
    except UserError as error:
        raise UserError(f"operator {synapse.target!r}, fed back by {synapse.source!r}: {error}") from error
    if again.shape != signals[synapse.target].shape:
        raise UserError(f"the cycle through {synapse.source} → {synapse.target} does not keep its shape")


def strong_components(sources: Mapping[str, list[str]]) -> list[frozenset[str]]:
    """The strongly connected components of `{target: sources}`, each after those that it is fed by (Tarjan).

    Names that are no key of `sources` are left out.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(root: str) -> None:
        work = [(root, iter(sources[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            name, rest = work[-1]
            for source in rest:
                if source not in sources:
                    continue
                if source not in index:
                    index[source] = low[source] = len(index)
                    stack.append(source)
                    work.append((source, iter(sources[source])))
                    break
                if source in stack:
                    low[name] = min(low[name], index[source])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    cut = stack.index(name)
                    found.append(frozenset(stack[cut:]))
                    del stack[cut:]

    for name in sources:
        if name not in index:
            visit(name)
    return found
