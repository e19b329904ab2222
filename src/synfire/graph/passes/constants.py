"""Computes once what does not depend on the request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synfire.graph.graph import Graph, Synapse
from synfire.graph.passes.rewire import to_fixed_point
from synfire.ops import Operator, Stateless
from synfire.ops.constant import Constant
from synfire.ops.lookup import Lookup
from synfire.ops.select_row import SelectRow
from synfire.ops.sparse_constant import SparseConstant

_DTYPES = (np.dtype(np.float32), np.dtype(np.int64))


def fold_constants(graph: Graph) -> Graph:
    """The flat graph with every memoryless operator that only constants feed made a Constant of its result. Bit-identical.

    A SparseConstant is unpacked, and SelectRow from a constant becomes a Lookup of its rows. So `SparseConstant →
    GraphAggregation → SelectRow` is stored sparse, aggregated at load, and served as one table.
    """
    return to_fixed_point(graph, _fold_one)


def _fold_one(graph: Graph) -> Graph | None:
    for name in graph.order():
        folded = _folded(graph, name)
        if folded is not None:
            return folded
    return None


def _folded(graph: Graph, name: str) -> Graph | None:
    each, arriving = graph.operator(name), graph.arriving(name)
    if isinstance(each, SparseConstant):
        return _rewired(graph, name, Constant(each.dense()), arriving[0])
    sources = [graph.operators.get(s.source) for s in arriving]
    if isinstance(each, SelectRow) and isinstance(sources[0], Constant) and sources[0].value.dtype == np.float32:
        return _rewired(graph, name, Lookup(sources[0].value), arriving[1])
    constants = [source for source in sources if isinstance(source, Constant)]
    if not isinstance(each, Stateless) or len(constants) < len(arriving) or any(s.delay_steps for s in arriving):
        return None
    result = each.apply(*(constant.value[None] for constant in constants))[0]
    if result.dtype not in _DTYPES or graph.signals()[name].clock is not graph.signals()[arriving[0].source].clock:
        return None
    # The new constant reads what the first one read, and learns batch and clock from it.
    return _rewired(graph, name, Constant(result), graph.arriving(arriving[0].source)[0])


def _rewired(graph: Graph, name: str, operator: Operator, arriving: Synapse) -> Graph:
    """The graph with `operator` under `name`, fed by the source of `arriving` alone."""
    others = tuple(s for s in graph.synapses if s.target != name)
    synapse = replace(arriving, target=name, port=0)
    return replace(graph, operators={**graph.operators, name: operator}, synapses=(*others, synapse))
