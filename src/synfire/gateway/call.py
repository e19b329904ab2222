"""What every protocol translates to and from: one call, answered in parts by a route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from synfire.graph import Graph
from synfire.ops import Array
from synfire.plan import Plan


class Call(msgspec.Struct, frozen=True):
    """One accepted request.

    `inputs` are checked against the graph: `(batch, *shape)` on the request clock, `(steps, batch, *shape)` on the step
    clock. A call with a `session` goes on from the state that the session's last call left; `start` begins it afresh and
    `end` forgets it afterwards. `deadline_s` is on the route's clock (`synfire.base.clock`), None for none. A part of the
    answer holds `part_steps` time steps, or as many as the plan's frames when that is 0.
    """

    id: str
    model: str
    inputs: Mapping[str, Array]
    session: str = ""
    start: bool = False
    end: bool = False
    deadline_s: float | None = None
    part_steps: int = 0


class Part(msgspec.Struct, frozen=True):
    """The outputs of some steps of a call: `(steps, batch, *shape)`, or `(batch, *shape)` on the request clock."""

    outputs: Mapping[str, Array] = {}
    first_step: int = 0
    steps: int = 0
    last: bool = False


class Route(Protocol):
    """The way of one served model's calls through its stages."""

    graph: Graph

    @property
    def plan(self) -> Plan:
        """The plan that calls follow now; it changes when operators move."""
        ...

    def answer(self, call: Call) -> AsyncIterator[Part]:
        """Yield the call's parts in order; the last has `last`.

        Raises a `SynfireError` when a stage refused the call, its deadline passed, or a worker was lost. Closing the
        iterator early cancels the call and frees its state at every stage.
        """
        ...
