"""What a deployment's controller wants of gateways, whether in its own process or behind links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from synfire.base.errors import SynfireError
from synfire.gateway.route import Again
from synfire.graph import Graph
from synfire.plan import Plan


class Gateways(Protocol):
    """All gateways of a deployment: what is awaited returns when each of them has done it, or is no longer counted on.

    `synfire.gateway.routes.Routes` is one in this process; `synfire.deploy.remote.RemoteGateways` are processes.
    """

    def on_cut(self, act: Callable[[str, str, float], None]) -> None:
        """Call `act` with a worker's name when a gateway has lost its connection to it. When another worker cannot reach it, also
        with that one's name, and for how many seconds it has tried; else these are empty, and 0. One that is found elsewhere by that one than
        from here is called by that address."""
        ...

    async def reach(self, worker: str, address: str, url: str = "") -> None:
        """Connect to a worker, which answers HTTP at `url`."""
        ...

    def part(self, worker: str) -> None:
        """Close the connection to a worker."""
        ...

    async def serve(self, model: str, graph: Graph, plan: Plan, epoch: int = 0) -> None:
        """Send calls of a model along `plan` from now on."""
        ...

    async def suspend(self, model: str, epoch: int) -> None:
        """Fence: interrupt the model's calls and hold them, for a way of `epoch`."""
        ...

    async def resume(self, model: str, plan: Plan, epoch: int) -> Again:
        """Send the model's calls along another way; what begins again there."""
        ...

    async def fail(self, model: str, epoch: int, error: SynfireError) -> None:
        """Answer the model's calls by an error, until `resume`."""
        ...

    async def remove(self, model: str) -> None:
        """Serve the model no longer; its calls in flight fail."""
        ...
