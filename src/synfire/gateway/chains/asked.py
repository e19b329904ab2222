"""Chains that were asked for by HTTP, as the controller tells them: served where they fit together, and else awaited."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from synfire.chains import read_joined
from synfire.gateway.chains.route import serve_chain
from synfire.gateway.dataplane import DataPlane
from synfire.wire.chain import ChainState
from synfire.wire.wish import WishStatus


class AskedChains:
    """Those of one data plane. Made and used in one event loop."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def follow(self, state: ChainState) -> None:
        """Serve a chain so from now on. Calls that are under way go on as they began."""
        plane, name = self._plane, state.name
        known = plane.asked_chains.get(name, ChainState(name))
        if state == known:
            return
        if known.joined != state.joined or not state.content:
            self._end(name)
            if state.joined:
                serve_chain(read_joined(state.joined), plane)
        if state.content:
            plane.asked_chains[name] = state
        if state.content and not state.joined:
            plane.coming.expect(name, lambda: why_not_called(plane, state), held=not state.failure)

    def keep(self, names: Collection[str]) -> None:
        """Serve no others any more."""
        for name in set(self._plane.asked_chains) - set(names):
            self._end(name)

    def _end(self, name: str) -> None:
        known = self._plane.asked_chains.pop(name, None)
        if known is not None and known.joined:
            self._plane.remove(name)
        self._plane.coming.settle(name)


def why_not_called(plane: DataPlane, state: ChainState) -> str:
    """Why a chain that does not fit together cannot be called: it does not fit, or waits for models, of which is told how they are."""
    if state.failure:
        return state.failure
    return f"it waits for {', and '.join(_missing(plane, each) for each in state.missing)}"


def _missing(plane: DataPlane, model: str) -> str:
    wishes = plane.recoveries.wishes if plane.recoveries is not None else ()
    wished = next((each for each in wishes if each.name == model.partition("@")[0]), None)
    if model in plane.asked_chains:
        return f"chain {model!r}, which waits itself"
    if wished is None:
        return f"model {model!r}, which nobody has asked for yet"
    return f"model {model!r}, which {_HOW[wished.status]}" + f": {wished.reason}" * bool(wished.reason)


_HOW: Mapping[WishStatus, str] = {
    "loading": "is being loaded",
    "accepted": "is about to be served",
    "failed": "cannot be served",
    "leaving": "is being given up",
}
