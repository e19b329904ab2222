"""Which operators form cycles."""

from __future__ import annotations

from collections.abc import Mapping


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
