"""All passes, until none finds anything to do."""

from __future__ import annotations

from synfire.graph.flatten import flatten
from synfire.graph.graph import Graph
from synfire.graph.passes.batch_norm import fold_batch_norm
from synfire.graph.passes.constants import fold_constants
from synfire.graph.passes.dead import remove_dead


def simplify(graph: Graph) -> Graph:
    """The flat graph after `remove_dead`, `fold_constants` and `fold_batch_norm`, again and again until nothing changes.

    The meaning stays, up to the float32 rounding of `fold_batch_norm`. A graph that is simple already is returned as it is.
    """
    before, graph = None, flatten(graph)
    while graph is not before:
        before = graph
        graph = fold_batch_norm(fold_constants(remove_dead(graph)))
    return graph
