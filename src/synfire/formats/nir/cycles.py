"""Where a recurrent graph waits for one step: NIR's edges have no delay, a graph of steps needs one in every cycle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from synfire.base.errors import UserError
from synfire.formats.nir.hdf5 import Edge


def delayed_edges(
    order: Iterable[str], edges: Collection[Edge], neurons: Collection[str], rule: str
) -> frozenset[Edge]:
    """The edges that get a delay of one step, so that no cycle is left without one.

    Cycles are found depth first from the nodes in `order`, along edges in the order given. By the rule "closing" the edge
    that leads back waits; by the rule "neuron" the last edge of the cycle that leaves a neuron.
    """
    order, waiting = tuple(order), set[Edge]()
    while cycle := _find_cycle(order, _successors(edge for edge in edges if edge not in waiting)):
        around = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        leaving = around if rule == "closing" else [edge for edge in around if edge[0] in neurons]
        if not leaving or not any(name in neurons for name in cycle):
            raise UserError(
                f"the cycle {' → '.join([*cycle, cycle[0]])} holds no neuron, so it never settles; remove it"
            )
        waiting.add(leaving[-1])
    return frozenset(waiting)


def _successors(edges: Iterable[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source, target in edges:
        found.setdefault(source, []).append(target)
    return found


def _find_cycle(order: tuple[str, ...], successors: Mapping[str, list[str]]) -> list[str] | None:
    """The first cycle met, from the node that is reached again to the one that leads back to it."""
    done: set[str] = set()
    for root in order:
        if root in done:
            continue
        path, stack = [root], [(root, iter(successors.get(root, ())))]
        while stack:
            name, children = stack[-1]
            child = next(children, None)
            if child is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif child in path:
                return path[path.index(child) :]
            elif child not in done:
                stack.append((child, iter(successors.get(child, ()))))
                path.append(child)
    return None
