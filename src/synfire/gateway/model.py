"""A model as a gateway serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from synfire.gateway.call import Call, Part, Route
from synfire.gateway.gate import Gate
from synfire.gateway.inputs import Intake
from synfire.gateway.outputs import Outlet
from synfire.gateway.protection import Protection
from synfire.gateway.sessions import Sessions
from synfire.gateway.side import Side
from synfire.gateway.statistics import Statistics
from synfire.plan import Plan


@dataclass(frozen=True)
class Model:
    """A served model: its route and what the gateway keeps beside it."""

    name: str
    version: str
    route: Route
    intake: Intake
    outlet: Outlet
    gate: Gate
    sessions: Sessions
    longest_s: float
    """How long a call may take that names no deadline, and the longest that one may name."""
    priority: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    side: Side | None = None
    """The part in which it is called, where it answers for a name by a rule."""

    @property
    def counted(self) -> tuple[Statistics, ...]:
        """Where its calls are counted."""
        return (self.statistics,) if self.side is None else (self.statistics, self.side.statistics)

    @property
    def ready(self) -> bool:
        """Whether the route can answer now; one that does not say always can."""
        return bool(getattr(self.route, "ready", True))

    @property
    def whole(self) -> Callable[[Call], Awaitable[list[Part]]] | None:
        """Gives all parts of a call together, which takes less than one by one; None for a route that has only its `answer`."""
        return getattr(self.route, "whole", None)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans that its calls follow now, one for each of its replicas."""
        return tuple(getattr(self.route, "plans", (self.route.plan,)))

    @property
    def calls(self) -> tuple[str, ...]:
        """The models that its calls are made of, where it is a chain."""
        return tuple(getattr(self.route, "calls", ()))

    @property
    def failure(self) -> str:
        """Why calls are answered by an error; empty while they are not."""
        return str(getattr(self.route, "failure", None) or "")

    @property
    def protection(self) -> Protection | None:
        """What is kept of sessions, so that they outlive workers; None for a route that has none."""
        return getattr(self.route, "sessions", None)
