"""A graph without graphs in it."""

from __future__ import annotations

from synfire.base.errors import UserError
from synfire.graph.graph import Graph, Synapse
from synfire.ops import Operator


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
